/* measure: journeys: when one record of the log came, was stored, applied and written to devices.
 *
 *   came ─▶ appended ─▶ durable ─▶ applied ─▶ written          the record of a message
 *                                     └▶ appended ─▶ durable ─▶ applied ─▶ written ─▶ acknowledged
 *                                                                  its relay, in a member's partition
 *
 * Kept, for people to look at, are the slow ones and a sample: up to KEPT_PER_S a second, so that on a
 * quiet server it is all of them. A relay is kept when its record was.
 *
 * Times are recorded in the shard's histograms: of the slow ones each; of the others, where each
 * instruction counts, a part that stands for all, chosen by chance: beyond some 400 records a second one
 * in 2, 3, ... at most 16. Of what nobody waits for (cursors, acknowledgements) one in 8 is timed, beyond
 * KEPT_PER_S, and told likewise.
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

#include <stddef.h>

#include "base/base.h"

enum {
    JOURNEYS_SAMPLED_MAX = 4096, /* of each shard; powers of two */
    JOURNEYS_SLOW_MAX = 2048,
    JOURNEY_DEVICES_MAX = 4096, /* deliveries to devices, of kept journeys */
    JOURNEY_DEVICES = 64,       /* of one journey; the rest are counted */
    JOURNEY_PLACES = 16384,     /* items of which at least the conversation is known */
    PLACES_PER_S = 500,         /* beyond the first of them, so that they cover half a minute */
    KEPT_PER_S = 50,            /* sampled */
    SLOW_PER_S = 8, /* beyond the first 128: then only much slower ones than of this second */
    JOURNEY_NAME_MAX = 64
};
#define JOURNEY_SLOW_NS 20000000 /* what takes longer is slow */

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
/* Those that came to an end at `since_ns` or later, oldest first; at most `cap`, the newest. A relay
 * and its record are journeys of their own, with one `item`. */
size_t journeys_read(
    const struct journeys *j, bool slow, int64_t since_ns, struct journey *out, size_t cap);
/* Of the item, slow or sampled, each once; at most `cap`. */
size_t journeys_find(
    const struct journeys *j, struct bytes app, struct bytes item, struct journey *out, size_t cap);
/* The conversation of an item that came lately, kept or not. *out is "" when it is not known. */
bool journeys_place(const struct journeys *j, struct bytes app, struct bytes item,
    char out[static JOURNEY_NAME_MAX + 1]);
/* Devices that got what stands at the position. */
size_t journeys_devices(const struct journeys *j, uint16_t partition, uint64_t position,
    struct journey_device *out, size_t cap);
/* The trace that the journey belongs to (W3C Trace Context: 32 hex digits): one of an item, by a hash
 * of its names; without an item, of the chain of records. */
void journey_trace_id(const struct journey *j, char out[static 33]);
uint64_t journeys_slow_count(const struct journeys *j); /* since the start, kept or not */

/* ---- the writer: the shard's thread. j NULL: nothing is recorded, at the cost of the question ---- */
struct measure;
struct ticker; /* measure/ticker.h */
/* The clock is the writer's thread's, borrowed, and was looked at. */
struct journeys *journeys_create(uint16_t shard, struct measure *m, const struct ticker *clock);
void journeys_free(struct journeys **);

void journeys_clock(
    struct journeys *j, int64_t now_ns); /* what the time is now, for what follows */
/* What a relay takes with it to its destination. */
struct journey_origin {
    int64_t began_ns, made_ns;
    uint64_t source_position;
    bool kept;
};
/* A record went to the log: from outside, since when it was there (0: nobody waits for it, as for a
 * cursor, so it is never slow, nor is what follows from it); or a relay, of partition `source`. */
void journey_appended(struct journeys *j, uint16_t partition, uint64_t position, int64_t came_ns);
void journey_relayed(struct journeys *j, uint16_t partition, uint64_t position, uint16_t source,
    const struct journey_origin *origin);
/* A record that came back from the log. */
struct journey_record {
    uint16_t partition;
    uint8_t kind;
    uint64_t position;
    int64_t durable_ns, wall_ms;
};
struct journey_about {
    struct bytes app, conversation, item;
    struct bytes repeated_by; /* who sent what was stored already; empty: it was new */
};
/* It is applied; views are copied. What is told to devices until the next call is its doing. Records of
 * an earlier run, and those that are not timed, have no journey. */
void journey_applied(
    struct journeys *j, const struct journey_record *r, const struct journey_about *about);
/* For the relays of what was applied last; without a journey it says the time only. */
struct journey_origin journey_origin(const struct journeys *j);
/* It had been told before, so it is not applied. */
void journey_passed(struct journeys *j, const struct journey_record *r);
/* Told to a device, or left for later because it could take no more. */
void journey_wrote(struct journeys *j, uint16_t partition, uint64_t position, struct bytes user,
    struct bytes device);
void journey_waits(struct journeys *j);
void journey_acked(struct journeys *j, uint16_t partition, uint64_t position, struct bytes user,
    struct bytes device);
/* All that was applied in this turn is written to sockets. */
void journeys_turn_end(struct journeys *j, int64_t now_ns);
/* Anything but a record, if it was slow: what came, when it was answered, and its names. */
void journey_other(struct journeys *j, enum journey_what what, int64_t came_ns, int64_t done_ns,
    const struct journey_about *about);

#endif
