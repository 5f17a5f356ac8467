/* measure: journeys: when one record of the log came, was stored, applied and written to devices.
 *
 *   came ─▶ appended ─▶ durable ─▶ applied ─▶ written          the record of a message
 *                                     └▶ appended ─▶ durable ─▶ applied ─▶ written ─▶ acknowledged
 *                                                                  its relay, in a member's partition
 *
 * Of every record the times are taken and recorded in the shard's histograms; kept, for people to
 * look at, are the slow ones and a sample: up to KEPT_PER_S a second, so that on a quiet server it is
 * all of them. A relay is kept when its record was.
 *
 * `came` is corrected for coordinated omission: a shard that was busy or did not run finds what came
 * meanwhile all at once when it looks at its sockets, so what it finds without having waited counts
 * from its look before (never too low; at most one turn too high).
 *
 * Invariants: one writer (the shard); any thread reads what is kept, and gets whole journeys only.
 * Memory is constant but for records under way. Times are nanoseconds of CLOCK_MONOTONIC, 0: not
 * (yet), except where it says wall.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef KITH_JOURNEY_H
#define KITH_JOURNEY_H

#include "base/base.h"

enum {
    JOURNEYS_KEPT = 4096, /* of each shard, of two kinds: slow, and sampled */
    JOURNEYS_SLOW = 1024,
    JOURNEY_DEVICES_KEPT = 4096, /* deliveries to devices, of kept journeys, of each shard */
    JOURNEY_DEVICES = 64,        /* of one journey; the rest are counted */
    KEPT_PER_S = 50,
    JOURNEY_NAME_MAX = 64
};
#define JOURNEY_SLOW_NS 20000000 /* at least this slow, to be kept as slow */

enum journey_what {
    JOURNEY_RECORD,  /* of the log; conversation and item as far as it has them */
    JOURNEY_REQUEST, /* over HTTP, that needed no record; item: its route, cut to fit */
    JOURNEY_CONNECT, /* MQTT, from the first byte to CONNACK; conversation: user, item: device */
    JOURNEY_DEVICE   /* what a connected device took late; conversation: user, item: device */
};
struct journey {
    uint8_t what; /* enum journey_what; all but records have came, applied (done) and written */
    uint64_t position, source_position; /* source: of the record that made this relay */
    uint16_t partition, source;         /* UINT16_MAX: it came from outside */
    uint16_t shard;
    uint8_t kind; /* of the record: enum record_kind */
    bool slow;
    int64_t began_ns; /* when the first record of the chain came; for one from outside: came_ns */
    int64_t came_ns;  /* bytes could be read; a relay: made by its source's apply */
    int64_t appended_ns, durable_ns, applied_ns, written_ns;
    int64_t wall_ms;  /* admission, by the record; Unix time */
    uint32_t devices; /* that it was written to */
    uint32_t waiting; /* that could not take it at once (window full, output full, away) */
    char app[JOURNEY_NAME_MAX + 1], conversation[JOURNEY_NAME_MAX + 1], item[JOURNEY_NAME_MAX + 1];
};

/* One device's part of a kept journey. */
struct journey_device {
    uint64_t position;
    uint16_t partition;
    int64_t written_ns, acked_ns; /* acked 0: not yet, or QoS 0 */
    char user[JOURNEY_NAME_MAX + 1], device[JOURNEY_NAME_MAX + 1];
};

struct journeys; /* of one shard */

/* ---- readers: any thread ---- */
enum journey_which { JOURNEYS_OF_SLOW, JOURNEYS_SAMPLED };
/* Those written since `since_ns`, oldest first; at most `cap`, the newest. A relay and its record are
 * journeys of their own, with one `item`. */
size_t journeys_read(const struct journeys *j, enum journey_which which, int64_t since_ns,
    struct journey *out, size_t cap);
/* Of the item, slow or sampled; at most `cap`. app empty: any. */
size_t journeys_find(
    const struct journeys *j, struct bytes app, struct bytes item, struct journey *out, size_t cap);
/* Of the record at the position. */
size_t journeys_devices(const struct journeys *j, uint16_t partition, uint64_t position,
    struct journey_device *out, size_t cap);

#endif
