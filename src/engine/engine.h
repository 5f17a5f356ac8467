/* engine: one shard's partitions: durable records in, state and outcomes out.
 *
 *   log_poll ─▶ apply (surface rules) ─▶ cells
 *                    ├─ relays ─▶ outbox ─▶ destination's log ─▶ its apply ─▶ ack ─▶ outbox shrinks
 *                    ├─ deliveries, answers ─▶ callbacks
 *                    └─ freeze ─▶ batch ─▶ (when its relays are durable elsewhere) tables thread ─▶ trim
 *
 * Invariants: apply runs only on durable records, in position order, and sees nothing but cells and
 * the record. Relay (source, destination, counter) takes effect once. After a start a relay that
 * the replay makes again goes out only when its destination, asked (KNOCK), said what it has: most
 * of them are there. No batch is handed out while a relay made at or before its positions is not
 * yet acknowledged. One thread; no clock of its own: the caller says what time it is.
 * Cells of its own: \x01 out (u64 last counter by destination), \x02 in (u64 last counter by
 * source); \x03 pos (u64, only in the store).
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef KITH_ENGINE_H
#define KITH_ENGINE_H

#include "log/log.h"
#include "measure/measure.h"
#include "surface/surface.h"
#include "table/table.h"

struct engine;

/* What engines of different lanes tell each other. Heap; the receiver frees with parcel_free. May
 * be lost, repeated or late: the protocol mends it. */
enum parcel_kind { PARCEL_RELAY = 1, PARCEL_ACK, PARCEL_ASK, PARCEL_KNOCK };
struct parcel {
    uint8_t kind;
    /* partitions: relay's source and destination; for the others the same pair, unswapped */
    uint16_t from, to;
    /* relay's; ACK: all up to it are applied; ASK: send again from it on; KNOCK: none, it asks for
     * an ACK */
    uint64_t counter;
    struct journey_origin origin; /* relay's: for the destination's journeys; not stored */
    uint32_t size;
    uint8_t data[]; /* relay: the whole record */
};
void parcel_free(struct parcel *);

struct engine_options {
    struct log *log;
    struct store *store;
    unsigned lane, lanes;
    uint16_t partitions; /* partition p belongs to lane p % lanes */
    const struct surface *const *surfaces;
    size_t surface_count;
    const struct ahead_rule *aheads; /* of some kinds of record; NULL: none */
    size_t ahead_count;
    uint64_t memory_bytes;            /* cells' budget for the whole engine */
    const struct hash_secret *secret; /* of the cells' tables; NULL: one that all know */
    void *arg;
    /* a->body may be taken (zero it) */
    void (*answered)(void *arg, uint64_t ticket, struct answer *a);
    void (*delivered)(void *arg, uint16_t partition, struct bytes app, const struct delivery *d);
    /* a hint: something will be delivered to this user (surface.h, struct ahead); NULL: nobody asks */
    void (*user_ahead)(void *arg, struct bytes app, struct bytes user, bool near);
    /* takes p on true; false: full, tried again next turn */
    bool (*send)(void *arg, unsigned lane, struct parcel *p);
    struct journeys *journeys; /* told of every record; NULL: nobody */
    /* Bugs on purpose, for the simulator to find; 0 in production */
    unsigned planted;
};
enum planted_bug { BUG_RELAY_DROPPED = 1, BUG_RELAY_TWICE, BUG_FLUSH_PAST_RELAY, BUG_APPS_MIXED };

enum err engine_create(
    const struct engine_options *, struct engine **out, struct buf *why) must_use;
void engine_free(struct engine **);
/* First position that the log must give, for each partition (applied position in the tables + 1).
 * Reads the store; call before the log is opened. */
enum err engine_start_positions(struct store *, uint16_t partitions, uint64_t *out_from) must_use;

/* Appends a record of the outside world. AGAIN or LIMIT: refused, nothing happened. `must`: see log
 * append. came_ns: since when it was there to be taken; 0: nobody waits for it (journey.h). */
struct outside {
    uint16_t partition;
    uint8_t kind;
    struct bytes app, body;
    int64_t time_ms, came_ns;
    uint64_t ticket;
    bool must;
};
enum err engine_append(struct engine *, const struct outside *record);
/* Appends a TICK (due/due.h) to each partition where something is due by now_ms, unless one is under
 * way there. To be called every DUE_RESOLUTION_MS / 2 or so once the replay is over: it looks at one
 * cell a partition. When to call it at the latest: what falls due next, at most now_ms when it is to
 * be called again in the next turn; INT64_MAX: nothing waits. */
int64_t engine_ticks(struct engine *, int64_t now_ms);
void engine_receive(struct engine *, struct parcel *p); /* takes p */
/* Polls and applies up to max records; sends relays and acks. true: there is more to do at once. */
bool engine_turn(struct engine *, size_t max, int64_t mono_ms);
struct cells *engine_cells(struct engine *, uint16_t partition);
uint64_t engine_applied(const struct engine *, uint16_t partition); /* any thread */
bool engine_caught_up(const struct engine *);                       /* recovery is over */
uint64_t engine_outbox_count(const struct engine *);
uint64_t engine_dirty_bytes(const struct engine *); /* what a freeze would hand over */
uint64_t engine_held_bytes(const struct engine *);  /* all cells in memory */
/* Since the engine was made. */
struct engine_counts {
    uint64_t records_appended, records_applied, relays_sent, relays_received, relays_duplicate,
        relays_gap, flushes;
    uint64_t tallies[STEP_TALLIES]; /* of what is not replayed */
};
const struct engine_counts *engine_counts(const struct engine *);
uint64_t engine_hash(struct engine *, uint16_t partition); /* state hash, order-free; slow */

/* Freezes what is dirty in the next `most` partitions, in turn (false: nothing, or a batch is out
 * already): a turn that froze all of many would stand for tens of milliseconds. When engine_batch_ready says so
 * (every relay it depends on is acknowledged), the caller writes it, then calls
 * engine_batch_written; after a later store sync the positions of the written batches count as held
 * (engine_synced). */
bool engine_freeze(struct engine *, unsigned most);
/* NULL: none, or it must wait; borrowed until written */
struct table_batch *engine_batch_ready(struct engine *);
void engine_batch_written(struct engine *);
/* fills below[p] for own partitions: written position + 1 */
void engine_positions(const struct engine *, uint64_t *below);

#endif
