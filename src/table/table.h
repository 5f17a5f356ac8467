/* table: stored key-value pairs behind a small table of calls, and the cells that a partition's
 * state lives in.
 *
 *   apply ──edit──▶ cells (memory, one set a partition) ──freeze──▶ batch ──table thread──▶ store (RocksDB)
 *
 * A partition's whole state is a map from short byte keys to byte values. Apply reads and edits
 * cells in memory; a miss is loaded from the store there and then (reads do not stall, writes do).
 * From time to time the shard freezes what is dirty into a batch, which a table thread writes: of a
 * cell that only grew since the last freeze, what was appended; of others the whole.
 *
 * Invariants: a store shows after a crash exactly the batches 1..k for some k no smaller than the
 * last synced batch (prefix consistent, each batch whole). A value of zero bytes is absence. State
 * never depends on what is cached.
 * Not here: meaning of keys. SPDX-License-Identifier: Apache-2.0 */
#ifndef KITH_TABLE_H
#define KITH_TABLE_H

#include "base/base.h"

/* ---- store ---- */
/* One change list, in order. Layout of `data`: repeated { u16 partition, u8 whether `value` goes to
 * the end of what is there, varint-bytes key, varint-bytes value }; an empty value that replaces
 * deletes. */
struct table_batch {
    struct buf data;
    uint32_t changes;
};
/* replaces */
void table_batch_add(
    struct table_batch *b, uint16_t partition, struct bytes key, struct bytes value);
/* adds to the end of what the store has by then */
void table_batch_append(
    struct table_batch *b, uint16_t partition, struct bytes key, struct bytes more);
/* Takes the change that *u stands at; false at the end. */
struct table_change {
    uint16_t partition;
    bool append;
    struct bytes key, value;
};
bool table_batch_next(struct unpack *u, struct table_change *out);

struct store;
struct store_calls {
    /* Appends the value to *out; MISSING when absent. Any thread. */
    enum err (*get)(struct store *, uint16_t partition, struct bytes key, struct buf *out);
    /* Makes the whole batch visible; not yet durable. One thread at a time. IO/LIMIT (disk full):
     * nothing of it is visible. */
    enum err (*write)(struct store *, const struct table_batch *);
    /* All written batches are durable when this returns OK. Same thread as write. LIMIT: disk full,
     * may be tried again. */
    enum err (*sync)(struct store *);
    /* Every pair of the partition in key order whose key starts with prefix; stops early when fn
     * returns false. */
    enum err (*scan)(struct store *, uint16_t partition, struct bytes prefix,
        bool (*fn)(void *arg, struct bytes key, struct bytes value), void *arg);
    /* A consistent copy of the synced state into the new directory `to` (hard links where it can).
     * */
    enum err (*checkpoint)(struct store *, const char *to);
    /* Every checksum read. CORRUPT, with words in *why. */
    enum err (*verify)(struct store *, struct buf *why);
    uint64_t (*bytes_used)(struct store *); /* on disk, estimate */
    uint64_t (*bytes_held)(struct store *); /* in memory, estimate. Any thread, both */
    void (*close)(struct store *);
};
struct store {
    const struct store_calls *calls;
};
struct store_options {
    const char *dir;
    uint64_t memtable_bytes; /* 0: 32 MiB */
    uint64_t cache_bytes;    /* 0: 64 MiB, block cache */
    bool read_only;
};
enum err store_open_rocksdb(
    const struct store_options *, struct store **out, struct buf *why) must_use;
/* The twin: an ordered map in memory. It keeps what was written and what was synced apart: crash(k)
 * goes back to the synced state plus the first k unsynced batches (k > count: all). fail_writes:
 * the next n writes or syncs return `e`. */
struct store *store_create_memory(void);
void store_memory_crash(struct store *, uint64_t keep_batches);
void store_memory_fail(struct store *, unsigned n, enum err e);
uint64_t store_memory_unsynced(const struct store *); /* batches */

/* ---- cells: write-back cache of one partition's state ---- */
struct cells;
/* A value as apply sees it. `data` may move at every cells_* edit of this cell; pointers to struct
 * cell stay valid until cells_turn_end(). */
struct cell {
    uint8_t *data;
    uint32_t size, capacity;
};
struct cells *cells_create(struct store *, uint16_t partition, uint64_t budget_bytes);
/* Before anything is asked of it: keys are found by this secret, so that nobody can choose keys that
 * meet. Without it all is found too, by one that everybody knows. */
void cells_key(struct cells *, const struct hash_secret *);
void cells_free(struct cells **);
/* Never NULL; size 0 when absent. A store error or corruption ends the process (state cannot be
 * guessed). */
struct cell *cells_get(struct cells *, struct bytes key);
/* NULL when absent, and then nothing is kept in memory: for what most do not have. */
const struct cell *cells_find(struct cells *, struct bytes key);
/* Copies the value to *out, and keeps nothing of it in memory: for what is asked once. false: absent.
 */
bool cells_peek(struct cells *, struct bytes key, struct buf *out);
/* The same for a key that the caller knows the store not to hold (the next of a counted row of
 * blocks, say): saves asking it. Builds with the address sanitizer ask, and check. */
struct cell *cells_new(struct cells *, struct bytes key);
/* Hints: what will be asked for soon. Several, then cells_ahead_end, bring those that are in memory near the
 * processor, all at once, where asking one by one would wait for each. Nothing is read from the store, and
 * nothing changes. At most CELLS_AHEAD at once; further ones are ignored. */
enum { CELLS_AHEAD = 64 };
void cells_ahead(struct cells *, struct bytes key);
void cells_ahead_end(struct cells *);
/* NULL: not in memory, which says nothing about the store. For hints that follow from hints. */
const struct cell *cells_near(const struct cells *, struct bytes key);
/* Edits. All mark the cell dirty. Key at most 1,024 bytes, value at most 16 MiB (check). The bytes
 * given are not a view of the cell itself. */
/* replace; empty deletes */
void cells_put(struct cells *, struct cell *, struct bytes value);
void cells_append(struct cells *, struct cell *, struct bytes more);
/* in place, same size; marks dirty */
uint8_t *cells_edit(struct cells *, struct cell *);
void cells_splice(struct cells *, struct cell *, uint32_t at, uint32_t remove, struct bytes insert);
/* Evicts clean cells above the budget (clock), a bounded number. Call once a turn, not inside
 * apply: all pointers to cells end here. true: they are above it still. */
bool cells_turn_end(struct cells *);
/* Of many partitions' cells, so that who has them need not ask each. The caller's, one thread's. */
struct cells_total {
    uint64_t held_bytes, dirty_bytes; /* the sums of cells_held_bytes and cells_dirty_bytes */
    bool over;                        /* some grew above the budget since the caller set it back */
};
/* Counts them in, from now on: before the first cell. */
void cells_total(struct cells *, struct cells_total *);
/* Adds every dirty cell to the batch and marks it in flight under `generation` (strictly rising):
 * it cannot be evicted until cells_flushed(generation). Editing it meanwhile is allowed: memory has
 * the newest, the batch has the frozen. */
void cells_freeze(struct cells *, struct table_batch *, uint64_t generation);
void cells_flushed(struct cells *, uint64_t generation);
uint64_t cells_dirty_bytes(const struct cells *); /* what a freeze would add to the batch */
uint64_t cells_bytes(const struct cells *);       /* memory held */
/* of it, by the cells themselves: what eviction brings down to the budget */
uint64_t cells_held_bytes(const struct cells *);
/* Order-free hash (sum of hash64(key, value)) over memory and store together: equal states, equal
 * hashes. Reads all: slow. */
uint64_t cells_state_hash(struct cells *);
/* Every pair, memory over store, in key order. For check, export and tests: slow. */
void cells_scan(struct cells *, struct bytes prefix,
    bool (*fn)(void *arg, struct bytes key, struct bytes value), void *arg);

#endif
