/* log: the durable log of all partitions, behind one small table of calls (drivers: file, memory;
 * Kafka has its place).
 *
 *   shard (lane) ──append──▶ queue ──log_commit(): pwrite + fdatasync──▶ durable ──poll──▶ shard: apply
 *
 * Invariants: poll gives each partition's records in position order, without gaps, each once, and
 * only what is durable. Positions start at 1. What poll gave once is never lost by a crash. Append
 * is not a promise: what was never polled may be gone after a crash. A failed fsync is never
 * retried: the driver ends the process through `fatal` (fsync's error state is forgotten by the
 * kernel). The next opening writes again whatever is not proven durable, because what reads back
 * after a failed fsync may not be on the disk. A lane is one shard: append and poll of a lane are
 * called by one thread only; lanes run side by side; every partition belongs to one lane.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef KITH_LOG_H
#define KITH_LOG_H

#include "base/base.h"

struct disk; /* io/io.h */
struct log;

struct log_record {
    uint16_t partition;
    uint64_t position;
    struct bytes data; /* valid until the lane's next poll */
    int64_t
        durable_ns; /* when, by options.mono_ns; 0: the log does not know, or held it at start */
};
struct log_commit {                      /* one group commit; times by options.mono_ns */
    int64_t began_ns, sync_ns, ended_ns; /* sync: how long it took */
    uint64_t bytes;
};

struct log_look {
    uint64_t queued_bytes; /* appended, and not durable */
    uint64_t disk_bytes;   /* as of the last look that saw the list of segments */
    int tid;               /* of the thread that commits; 0: there is none */
};
struct log_calls {
    /* Copies the record into the lane's queue. LIMIT: the disk is full (also see `room`). AGAIN:
     * the queue's bound (log_options.queue_bytes) is reached. `must`: records that keep promises
     * already made (relays, cursors, ticks): they may use the reserve kept for them. At most 2 MiB
     * each (check). *out_position (NULL: not asked): where poll will give it. */
    enum err (*append)(struct log *, unsigned lane, uint16_t partition, struct bytes record,
        bool must, uint64_t *out_position);
    /* Wakes the log thread if the lane has appended since; call once a turn. No-op where there is
     * no thread. */
    void (*kick)(struct log *, unsigned lane);
    /* Up to max durable records of the lane's partitions. First those of `from` onward that the log
     * held at start, then the live ones. */
    size_t (*poll)(struct log *, unsigned lane, struct log_record *out, size_t max);
    /* True once poll has given all that was in the log when it was opened. */
    bool (*caught_up)(struct log *, unsigned lane);
    /* Positions below are held by the tables (synced). Old segments go when every partition's
     * records in them are below AND older than the retention. Any thread. Call it now and then also
     * when nothing is written: it closes a segment that has been filled for an eighth of the
     * retention, so that its records can go. */
    void (*trim)(struct log *, const uint64_t *below);
    /* Bytes that ordinary appends may still take; 0: full. */
    uint64_t (*room)(struct log *);
    /* First position kept and last durable position; 0 when there is none. */
    void (*range)(struct log *, uint16_t partition, uint64_t *out_first, uint64_t *out_last);
    /* What there is now, for people to look at: fills the arrays, [partitions] each. Waits for
     * nothing, so `first` may stay what it was, and the numbers are a moment apart. Any thread. */
    void (*look)(
        struct log *, uint64_t *first, uint64_t *appended, uint64_t *durable, struct log_look *out);
    /* Durable records from..to of one partition, from disk, for rebuild, check and backup. STALE
     * when trimmed. */
    enum err (*read)(struct log *, uint16_t partition, uint64_t from, uint64_t to,
        bool (*fn)(void *arg, const struct log_record *), void *arg);
    /* Between keep(true) and keep(false) nothing is trimmed. Any thread. */
    void (*keep)(struct log *, bool);
    /* Writes what is durable now into the folder `to`, which opens as this log would after a crash.
     * Call it between keep(true) and keep(false); any thread. */
    enum err (*copy)(struct log *, const char *to, struct buf *why);
    /* One group commit by hand (simulation, or options.thread == false): true if something was made
     * durable. */
    bool (*commit)(struct log *);
    /* Stops the thread after a last commit, closes. */
    void (*close)(struct log *);
};
struct log {
    const struct log_calls *calls;
};

/* Planted bugs, for the simulator to find; numbers apart from those of other rooms. */
enum log_bug { BUG_TORN_TAIL_ACCEPTED = 64, BUG_FSYNC_ERROR_IGNORED, BUG_ACK_BEFORE_SYNC };

struct log_options {
    const char *dir;
    struct disk *disk; /* borrowed for the life of the log */
    uint16_t partitions;
    unsigned lanes;
    uint16_t (*lane_of)(void *arg, uint16_t partition);
    void *lane_arg;
    const uint64_t *from;   /* [partitions] first position that poll must give; copied */
    uint64_t segment_bytes; /* 0: 64 MiB */
    uint64_t queue_bytes;   /* 0: 16 MiB a lane */
    /* 0: 8 MiB, or an eighth of a segment if that is less: kept back for `must` records */
    uint64_t reserve_bytes;
    int64_t retention_ms; /* segments younger than this stay; 0: trim at once */
    bool thread;          /* run a log thread; else commit() by hand */
    /* called by the log thread when a lane has something to poll */
    void (*wake)(void *arg, unsigned lane);
    /* never returns in production; in simulation it marks the node dead, and the log does nothing
     * more */
    void (*fatal)(void *arg, const char *what);
    void *arg;
    int64_t (*now_ms)(void *arg);
    /* for what people look at only; NULL: nothing is timed. observed: by who commits, after each */
    int64_t (*mono_ns)(void);
    void (*observed)(void *arg, const struct log_commit *c);
    unsigned planted; /* enum log_bug; 0: none */
};
/* CORRUPT with words in *why when a checksum fails before the end of what was durable, or `from`
 * lies before the first record kept or behind the end; a torn tail is cut off silently (it was
 * never acknowledged). What poll gives afterwards is durable already. */
enum err log_open_file(const struct log_options *, struct log **out, struct buf *why) must_use;
/* All in memory; `commit` moves appended to durable; survives log_memory_crash, which drops what
 * was not committed. */
enum err log_open_memory(const struct log_options *, struct log **out) must_use;
void log_memory_crash(struct log *, const uint64_t *from); /* polling begins again at from[] */
/* Reads every segment under dir: checksums, sequence, positions without gaps; and, where `from` is
 * given, that all from there on is kept: see log_options. Words in *why. Takes no lock. */
enum err log_check(const char *dir, struct disk *, uint16_t partitions, const uint64_t *from,
    struct buf *why, uint64_t *out_records) must_use;

#endif
