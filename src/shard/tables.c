/* shard: the tables thread. Shards hand it frozen batches; it writes them, syncs now and then, and
 * lets the log be trimmed to what is synced.
 * Keeps: positions count as held only after a sync that began after their batch was written.
 * SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "shard/data.h"
#include "shard/shard_in.h"

#define SYNC_BYTES (48u << 20) /* of batches: keeps the replayed tail short */
#define SYNC_MS 15000
#define FREEZE_BYTES (24u << 20)
#define FREEZE_MS 3000 /* each partition, so often */
#define TABLES_NICE 10 /* whoever serves takes the core from it */
#define RETRY_S 1
#define TRIM_MS 1000
#define IDLE_S 2

enum { IDLE, DUE, WRITTEN };

static void positions_take(struct server *v, uint64_t *below) {
    for (uint16_t p = 0; p < v->partitions; p++) below[p] = atomic_load(&v->written[p]) + 1;
}

/* A full disk is waited out: state stays in memory and in the log. Anything else ends the process.
 * */
static enum err full_or_die(enum err e, const char *what) {
    if (e == OK || e == LIMIT) return e;
    trace(TRACE_FATAL, "the tables cannot be written", TRACE_TEXT("call", bytes_str(what)),
        TRACE_TEXT("error", bytes_str(err_name(e))));
    abort();
}

static void tell(
    struct tables *t, enum event_kind kind, int64_t began_ns, int64_t least_ns, uint64_t bytes) {
    int64_t took = clock_mono_ns() - began_ns;
    if (took < least_ns) return;
    struct event e = {.kind = kind,
        .thread = THREAD_TABLES,
        .start_ns = began_ns,
        .duration_ns = took,
        .a = (int64_t)bytes};
    event_add(&t->measure->events, &e);
}

static enum err sync_store(struct server *v) {
    enum { LONG_NS = 100000000 };
    int64_t began = clock_mono_ns();
    uint64_t *below = must_alloc(sizeof *below * v->partitions);
    positions_take(v, below);
    enum err e = full_or_die(v->store->calls->sync(v->store), "sync");
    tell(&v->tables, EVENT_table_sync, began, LONG_NS, v->tables.unsynced_bytes);
    if (e == OK) {
        memcpy(v->tables.below, below, sizeof *below * v->partitions);
        v->tables.unsynced_bytes = 0;
        v->tables.last_sync_ms = clock_mono_ns() / 1000000;
    }
    free(below);
    return e;
}

static enum err batch_write(struct server *v, unsigned lane) {
    enum { LONG_NS = 5000000 };
    struct table_batch *b = v->tables.due[lane];
    int64_t began = clock_mono_ns();
    enum err e = full_or_die(v->store->calls->write(v->store, b), "write");
    tell(&v->tables, EVENT_table_write, began, LONG_NS, b->data.n);
    if (e != OK) return e; /* it stays due */
    v->tables.unsynced_bytes += b->data.n;
    atomic_store(&v->tables.state[lane], WRITTEN);
    loop_wake(v->shard[lane].loop);
    return OK;
}

static int due_lane(struct server *v) {
    for (unsigned i = 0; i < v->shards; i++)
        if (atomic_load(&v->tables.state[i]) == DUE) return (int)i;
    return -1;
}

static void rest(struct tables *t, int seconds) {
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += seconds;
    pthread_cond_timedwait(&t->wake, &t->lock, &until);
}

/* Also when nothing is written any more: what was erased leaves the log when its time has passed.
 * */
static void trim(struct server *v) {
    int64_t now = clock_mono_ns() / 1000000;
    if (now - v->tables.last_trim_ms < TRIM_MS) return;
    v->tables.last_trim_ms = now;
    v->log->calls->trim(v->log, v->tables.below);
}

static bool sync_due(const struct tables *t) {
    return t->unsynced_bytes > SYNC_BYTES ||
           (t->unsynced_bytes && clock_mono_ns() / 1000000 - t->last_sync_ms > SYNC_MS);
}

/* Who asks for a sync hears of a full disk. A stop does not wait for space: the log holds what the
 * tables do not. */
static void *tables_main(void *arg) {
    struct server *v = arg;
    struct tables *t = &v->tables;
    bool full = false;
    events_here(&t->measure->events, THREAD_TABLES);
    t->tid = (int)gettid();
    pthread_setname_np(pthread_self(), "tables");
    (void)setpriority(PRIO_PROCESS, (id_t)t->tid, TABLES_NICE);
    pthread_mutex_lock(&t->lock);
    for (;;) {
        if (full || (due_lane(v) < 0 && !t->sync_now)) {
            if (t->stop) break;
            rest(t, full ? RETRY_S : IDLE_S);
        }
        int lane = due_lane(v);
        bool asked = t->sync_now && lane < 0;
        pthread_mutex_unlock(&t->lock);
        /* goes before all else that would take the room: without it the next start could fail */
        enum err e = reserve_keep(v->dir) ? OK : LIMIT;
        if (e == OK && lane >= 0) e = batch_write(v, (unsigned)lane);
        if (e == OK && (asked || sync_due(t))) e = sync_store(v);
        full = e != OK;
        trim(v);
        atomic_store(&t->disk_full, full);
        pthread_mutex_lock(&t->lock);
        if (asked || (full && t->sync_now)) {
            t->sync_now = false;
            t->sync_err = e;
            t->sync_count++;
            pthread_cond_broadcast(&t->wake);
        }
    }
    pthread_mutex_unlock(&t->lock);
    return NULL;
}

enum err tables_start(struct server *v) {
    struct tables *t = &v->tables;
    t->measure = must_alloc(sizeof *t->measure);
    t->due = must_alloc(sizeof *t->due * v->shards);
    t->state = must_alloc(sizeof *t->state * v->shards);
    pthread_mutex_init(&t->lock, NULL);
    pthread_cond_init(&t->wake, NULL);
    t->last_sync_ms = clock_mono_ns() / 1000000;
    t->below = must_alloc(sizeof *t->below * v->partitions);
    positions_take(v, t->below); /* what was stored when it was opened */
    return pthread_create(&t->thread, NULL, tables_main, v) ? IO : OK;
}

void tables_stop(struct server *v) {
    struct tables *t = &v->tables;
    pthread_mutex_lock(&t->lock);
    t->stop = true;
    pthread_cond_broadcast(&t->wake);
    pthread_mutex_unlock(&t->lock);
    pthread_join(t->thread, NULL);
    free(t->below);
    free(t->due);
    free((void *)t->state);
}

enum err tables_sync_all(struct server *v) {
    struct tables *t = &v->tables;
    pthread_mutex_lock(&t->lock);
    uint64_t want = t->sync_count + 1;
    t->sync_now = true;
    pthread_cond_broadcast(&t->wake);
    while (t->sync_count < want) pthread_cond_wait(&t->wake, &t->lock);
    enum err e = t->sync_err;
    pthread_mutex_unlock(&t->lock);
    return e;
}

/* What is dirty cannot leave memory before the tables thread has written it: whoever sends faster
 * than that is slowed, and memory stays bounded. On a full disk writes are refused anyway. */
void memory_look(struct shard *s) {
    struct server *v = s->server;
    if (s->mono_ms == s->last_memory_ms) return;
    s->last_memory_ms = s->mono_ms;
    uint64_t budget = server_memory(v) / v->shards,
             most = s->behind ? budget + budget / 4 : budget + budget / 2;
    bool behind = !atomic_load(&v->tables.disk_full) && engine_held_bytes(s->engine) > most;
    if (behind && !s->behind) {
        measure_add(&s->measure, COUNTER_limit_memory, 1);
        atomic_fetch_add(&v->tables.behind, 1);
    } else if (s->behind && !behind) {
        atomic_fetch_sub(&v->tables.behind, 1);
    }
    s->behind = behind;
    bool held = atomic_load(&v->tables.behind) != 0 && !s->draining;
    pace_held(s, held);
    if (held == s->held_back) return;
    s->held_back = held;
    conn_touch_all(s);
}

/* One partition at a time, evenly: a turn stands still meanwhile, and the tables thread shares the cores
 * with all turns. All at once where nobody waits for the turn to end, or memory must be had back. */
static void freeze_look(struct shard *s) {
    unsigned all = s->server->partitions, most = 1;
    if (s->draining || s->behind) most = all;
    else if (s->mono_ms - s->last_freeze_ms < FREEZE_MS * (int64_t)s->server->shards / all &&
             engine_dirty_bytes(s->engine) <= FREEZE_BYTES)
        return;
    (void)engine_freeze(s->engine, most);
    s->last_freeze_ms = s->mono_ms;
}

void tables_hand(struct shard *s) {
    struct server *v = s->server;
    struct tables *t = &v->tables;
    int state = atomic_load(&t->state[s->index]);
    if (state == WRITTEN) {
        engine_batch_written(s->engine);
        uint64_t *below = must_alloc(sizeof *below * v->partitions);
        engine_positions(s->engine, below);
        for (uint16_t p = 0; p < v->partitions; p++)
            if (below[p]) atomic_store(&v->written[p], below[p] - 1);
        free(below);
        atomic_store(&t->state[s->index], IDLE);
        state = IDLE;
    }
    if (state != IDLE) return;
    freeze_look(s);
    struct table_batch *b = engine_batch_ready(s->engine);
    if (!b) return;
    locked(&t->lock, LOCK_TABLES);
    t->due[s->index] = b;
    atomic_store(&t->state[s->index], DUE);
    pthread_cond_broadcast(&t->wake);
    pthread_mutex_unlock(&t->lock);
}
