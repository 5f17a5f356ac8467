/* measure: events: what took long on a thread, or happened to it, and may be why a request was slow.
 * A commit's sync, a turn of 40 ms, a lock waited for, a device that does not read.
 *
 * A ring for each thread that writes, of the last EVENTS_KEPT; any thread may read. Only what is
 * worth a word is written (each kind says from when on), so a quiet server's ring lasts for hours and
 * a bad minute fits in.
 *
 * Invariants: one writer a ring; recording never allocates, locks or fails; a reader gets whole
 * events only. Zero-initialised is valid. Times are nanoseconds of CLOCK_MONOTONIC.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef KITH_EVENT_H
#define KITH_EVENT_H

#include <pthread.h>

#include "base/base.h"

/* name; what it is, from when on it is written, and what a, b and the names mean (of others names are
 * not kept) */
#define EVENT_KINDS(X)                                                                             \
    X(turn, "a shard's turn of 1 ms and more; a: phase that took most, b: ns of that phase")       \
    X(fanout, "a record for 256 devices and more; a: devices; names: app, conversation; or, b is " \
              "1, records with 64 relays and more each; a: relays")                                \
    X(commit, "the log wrote and synced a batch in 2 ms and more; a: bytes, b: ns of the sync")    \
    X(table_write, "RocksDB took a batch in 5 ms and more; a: bytes")                              \
    X(table_sync, "RocksDB flushed in 100 ms and more")                                            \
    X(held_back, "senders were not read, as memory waited for the tables")                         \
    X(lock, "a lock was waited for, 1 ms and more; a: enum event_lock")                            \
    X(handshakes, "TLS handshakes took 1 ms and more of a turn; a: how many, b: their ns")         \
    X(reader, "a device took nothing for 100 ms and more; a: bytes; names: app, user, device")     \
    X(run_delay, "the thread could run, but others had the core; a: ns of that")                   \
    X(stopped, "nothing of the process ran: stopped, or the machine was paused")                   \
    X(clock, "the wall clock jumped; a: ms, signed")                                               \
    X(retries,                                                                                     \
        "a sender sent again what was stored, 20 times a second; a: times; names: app, user")      \
    X(crowded, "a shard did not take what was sent to it; a: jobs that waited, b: that shard")     \
    X(queue,                                                                                       \
        "64 records of a turn and more, most of them, were of one partition, or relays of its "    \
        "records; a: records, b: partition; names: app, conversation of the last")
enum event_kind {
#define X(name, help) EVENT_##name,
    EVENT_KINDS(X)
#undef X
        EVENT_KIND_COUNT
};
const char *event_name(enum event_kind k);
const char *event_help(enum event_kind k);

/* A shard's turn, in order (shard/turn.c). */
#define TURN_PHASES(X)                                                                             \
    X(read, "reading sockets and other shards, parsing, admitting")                                \
    X(apply, "applying durable records")                                                           \
    X(deliver, "delivering to devices")                                                            \
    X(keep, "housekeeping")                                                                        \
    X(write, "writing to sockets")
enum turn_phase {
#define X(name, help) PHASE_##name,
    TURN_PHASES(X)
#undef X
        PHASE_COUNT
};
const char *phase_name(enum turn_phase p);
const char *phase_help(enum turn_phase p);

enum event_lock {
    LOCK_ADMIT,
    LOCK_LIMITS,
    LOCK_LOG,
    LOCK_CHANNELS,
    LOCK_TABLES,
    LOCK_TLS,
    LOCK_ELSEWHERE /* no lock of ours: it slept, and nothing says for what */
};
const char *lock_name(enum event_lock l);

/* Whose ring it is. Shards have their own number. */
enum { THREAD_LOG = 1000, THREAD_TABLES, THREAD_WATCH };

#define EVENT_NAMES 3
#define EVENT_NAME_MAX 64
struct event {
    uint32_t kind;   /* enum event_kind */
    uint32_t thread; /* shard, or THREAD_* */
    int64_t start_ns, duration_ns;
    int64_t a, b;
    char names[EVENT_NAMES][EVENT_NAME_MAX + 1]; /* as the kind says; "" where there is none */
};

#define EVENTS_KEPT 4096u /* a power of two; 1 MiB */
struct events {
    uint64_t count; /* ever written */
    uint64_t of_kind[EVENT_KIND_COUNT];
    struct event_slot {
        uint64_t turn; /* 2n + 1 while the nth is written, 2n + 2 when it is whole */
        uint64_t words[(sizeof(struct event) + 7) / 8];
    } slots[EVENTS_KEPT];
};
/* The writer's thread only. */
void event_add(struct events *ring, const struct event *e);
/* The ring of the thread that calls, for what has no other way to it (locked); NULL: none. */
void events_here(struct events *ring, uint32_t thread);
/* pthread_mutex_lock, with an event when it had to wait long. */
void locked(pthread_mutex_t *m, enum event_lock which);
int64_t locked_ns(void); /* that this thread has waited for such, ever */
/* For names: cut to EVENT_NAME_MAX. */
void event_name_set(struct event *e, unsigned which, struct bytes name);
uint64_t events_of_kind(const struct events *ring, enum event_kind k); /* ever; any thread */
/* Those that touch [from_ns, to_ns], oldest first, at most `cap` (the newest of them). Any thread. */
size_t events_read(
    const struct events *ring, int64_t from_ns, int64_t to_ns, struct event *out, size_t cap);

#endif
