/* operate: flow: what operators see of the whole server. Feeds the watch (watch/watch.h) with gauges,
 * and tells its history with what is now: stages, partitions, shards, threads, doors.
 * Keeps: nothing here waits for a shard or the log: numbers are those that they leave where all may
 * read, a moment apart.
 * SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "operate/operate.h"
#include "watch/watch.h"

struct flow {
    struct watch *watch;
    const struct measure **measures; /* [shards], log, tables */
    struct watch_thread *threads;    /* [shards], log, tables */
    _Atomic int log_tid;
    /* [partitions], by the watch's thread: as the log says, and what is applied */
    uint64_t *first, *appended, *durable, *applied;
    _Atomic uint64_t *shown_first, *shown_appended, *shown_durable, *shown_applied;
    _Atomic uint64_t gauges[WATCH_GAUGE_COUNT];
    struct {
        _Atomic uint64_t free, size;
    } disks[DISKS];
    /* of the watching thread: bytes as jemalloc said so many looks ago, when so many were resident */
    uint64_t allocated, allocated_resident, allocated_looks;
};

/* jemalloc's, where it is linked. */
extern int mallctl(const char *name, void *old, size_t *old_size, void *new, size_t new_size)
    __attribute__((weak));

static uint64_t allocated_bytes(void) {
    uint64_t epoch = 1;
    size_t allocated = 0, size = sizeof allocated;
    if (!mallctl || mallctl("epoch", NULL, NULL, &epoch, sizeof epoch) ||
        mallctl("stats.allocated", &allocated, &size, NULL, 0))
        return 0;
    return allocated;
}

static uint64_t above(uint64_t a, uint64_t b) { return a > b ? a - b : 0; }

/* What is applied is read first: it never seems to be ahead. */
static void partitions_look(struct server *v, uint64_t *g, struct log_look *log) {
    struct flow *f = v->flow;
    for (uint16_t p = 0; p < v->partitions; p++)
        f->applied[p] = engine_applied(v->shard[p % v->shards].engine, p);
    v->log->calls->look(v->log, f->first, f->appended, f->durable, log);
    for (uint16_t p = 0; p < v->partitions; p++) {
        uint64_t behind = above(f->appended[p], f->durable[p]),
                 waits = above(f->durable[p], f->applied[p]);
        g[GAUGE_log_waiting] += behind;
        g[GAUGE_apply_waiting] += waits;
        if (behind > g[GAUGE_log_lag]) g[GAUGE_log_lag] = behind;
        if (waits > g[GAUGE_apply_lag]) g[GAUGE_apply_lag] = waits;
        f->shown_first[p] = f->first[p];
        f->shown_appended[p] = f->appended[p];
        f->shown_durable[p] = f->durable[p];
        f->shown_applied[p] = f->applied[p];
    }
}

static uint64_t jobs_between(const struct server *v, unsigned to) {
    uint64_t n = v->shard[to].gauges.jobs;
    for (unsigned from = 0; from < v->shards; from++) n += ring_count(v->shard[to].inbox[from]);
    return n;
}

static void shards_look(const struct server *v, uint64_t *g) {
    for (unsigned i = 0; i < v->shards; i++) {
        const struct shard *s = &v->shard[i];
        g[GAUGE_connections] += s->gauges.connections;
        g[GAUGE_sessions] += s->gauges.sessions;
        g[GAUGE_relays_waiting] += s->gauges.relays;
        g[GAUGE_jobs_waiting] += jobs_between(v, i);
        g[GAUGE_output_kib] += s->gauges.output_bytes;
        g[GAUGE_dirty_kib] += s->gauges.dirty_bytes;
        g[GAUGE_cells_kib] += s->gauges.cell_bytes;
        g[GAUGE_buffers_kib] += s->gauges.connection_bytes;
    }
}

static void disks_look(struct server *v) {
    char log[600];
    snprintf(log, sizeof log, "%s/log", v->dir);
    const char *const PATHS[DISKS] = {v->dir, log};
    for (int i = 0; i < DISKS; i++) {
        struct statvfs of;
        if (statvfs(PATHS[i], &of) != 0) continue;
        v->flow->disks[i].free = of.f_bavail * of.f_frsize;
        v->flow->disks[i].size = of.f_blocks * of.f_frsize;
    }
}

/* Of all that is looked at each second the dearest; and it moves slowly, or what is resident does too. */
static void allocated_look(struct flow *f, uint64_t resident) {
    enum { OFTEN = 5, SELDOM = 30, PART = 16 };
    uint64_t looks = f->allocated_looks++, before = f->allocated_resident;
    uint64_t moved = resident > before ? resident - before : before - resident;
    if (before && looks < (moved > before / PART ? OFTEN : SELDOM)) return;
    f->allocated = allocated_bytes();
    f->allocated_resident = resident;
    f->allocated_looks = 1;
}

static void look(void *arg, uint64_t g[static WATCH_GAUGE_COUNT]) {
    struct server *v = arg;
    struct log_look log;
    uint64_t size;
    partitions_look(v, g, &log);
    shards_look(v, g);
    disks_look(v);
    v->flow->log_tid = log.tid;
    g[GAUGE_log_queue_kib] = log.queued_bytes;
    g[GAUGE_log_kib] = log.disk_bytes;
    g[GAUGE_tables_kib] = v->store->calls->bytes_used(v->store);
    g[GAUGE_store_kib] = v->store->calls->bytes_held(v->store);
    g[GAUGE_disk_free_mib] = disk_real()->free_bytes(disk_real(), v->dir);
    memory_of_process(&size, &g[GAUGE_resident_kib]);
    allocated_look(v->flow, g[GAUGE_resident_kib]);
    g[GAUGE_allocated_kib] = v->flow->allocated;
    for (size_t i = 0; i < WATCH_GAUGE_COUNT; i++) v->flow->gauges[i] = g[i];
    health_look(v);
}

/* ---- life ---- */
static void threads_name(struct server *v) {
    struct watch_thread *t = v->flow->threads;
    for (unsigned i = 0; i < v->shards; i++, t++) {
        *t = (struct watch_thread){
            .number = i, .tid = &v->shard[i].tid, .turns = &v->shard[i].turns};
        snprintf(t->name, sizeof t->name, "shard-%u", i);
    }
    *t++ = (struct watch_thread){"log", THREAD_LOG, &v->flow->log_tid, NULL};
    *t = (struct watch_thread){"tables", THREAD_TABLES, &v->tables.tid, NULL};
}

void flow_create(struct server *v) {
    struct flow *f = v->flow = must_alloc(sizeof *f);
    size_t n = v->partitions;
    f->measures = must_alloc((v->shards + 2) * sizeof *f->measures);
    for (unsigned i = 0; i < v->shards; i++) f->measures[i] = &v->shard[i].measure;
    f->measures[v->shards] = v->log_measure;
    f->measures[v->shards + 1] = v->tables.measure;
    f->threads = must_alloc((v->shards + 2) * sizeof *f->threads);
    threads_name(v);
    f->first = must_alloc(n * sizeof *f->first);
    f->appended = must_alloc(n * sizeof *f->appended);
    f->durable = must_alloc(n * sizeof *f->durable);
    f->applied = must_alloc(n * sizeof *f->applied);
    f->shown_first = must_alloc(n * sizeof *f->shown_first);
    f->shown_appended = must_alloc(n * sizeof *f->shown_appended);
    f->shown_durable = must_alloc(n * sizeof *f->shown_durable);
    f->shown_applied = must_alloc(n * sizeof *f->shown_applied);
    struct watch_options o = {.measures = f->measures,
        .measure_count = v->shards + 2,
        .threads = f->threads,
        .thread_count = v->shards + 2,
        .look = look,
        .arg = v};
    f->watch = watch_create(&o);
}

void flow_start(struct server *v) {
    if (watch_start(v->flow->watch) == OK) return;
    trace(TRACE_WARNING, "no thread can be made to watch the others: there is no history");
}

void flow_free(struct server *v) {
    struct flow *f = v->flow;
    if (!f) return;
    watch_free(&f->watch);
    free((void *)f->shown_first);
    free((void *)f->shown_appended);
    free((void *)f->shown_durable);
    free((void *)f->shown_applied);
    free(f->first);
    free(f->appended);
    free(f->durable);
    free(f->applied);
    free(f->threads);
    free(f->measures);
    free(f);
    v->flow = NULL;
}

struct watch *flow_watch(struct server *v) {
    return v->flow->watch;
}

struct flow_disk flow_disk(const struct server *v, int i) {
    return (struct flow_disk){v->flow->disks[i].free, v->flow->disks[i].size};
}
uint64_t flow_gauge(const struct server *v, unsigned gauge) { return v->flow->gauges[gauge]; }

/* ---- the answer ---- */
static void ms(struct json_out *o, const char *key, uint64_t ns) {
    char room[32];
    snprintf(room, sizeof room, "%llu.%03llu", (unsigned long long)(ns / 1000000),
        (unsigned long long)(ns / 1000 % 1000));
    jo_key(o, key);
    jo_raw(o, bytes_str(room));
}

static void number(struct json_out *o, const char *key, uint64_t n) {
    jo_key(o, key);
    jo_u64(o, n);
}

static void word(struct json_out *o, const char *key, const char *v) {
    jo_key(o, key);
    jo_str(o, bytes_str(v));
}

/* What waits before the stage: a gauge's number; -1: nothing does. */
static int queue_of(size_t stage) {
    switch (stage) {
    case TIMED_admit: return GAUGE_jobs_waiting;
    case TIMED_relay: return GAUGE_relays_waiting;
    case TIMED_durable: return GAUGE_log_waiting;
    case TIMED_apply: return GAUGE_apply_waiting;
    case TIMED_write: return GAUGE_output_kib; /* here in bytes */
    default: return -1;
    }
}

static void stages(const struct flow *f, struct json_out *o) {
    struct watch_stage list[TIMED_COUNT];
    size_t n = watch_stages(f->watch, list);
    jo_key(o, "stages");
    jo_open_arr(o);
    for (size_t i = 0; i < n; i++) {
        int queue = queue_of(i);
        jo_open_obj(o);
        word(o, "stage", list[i].name);
        number(o, "per_s", list[i].per_s);
        ms(o, "p50_ms", list[i].p50_ns);
        ms(o, "p99_ms", list[i].p99_ns);
        if (queue >= 0)
            number(o, queue == GAUGE_output_kib ? "queue_bytes" : "queue", f->gauges[queue]);
        jo_close_obj(o);
    }
    jo_close_arr(o);
}

static void partitions(const struct server *v, struct json_out *o) {
    const struct flow *f = v->flow;
    jo_key(o, "partitions");
    jo_open_arr(o);
    for (uint16_t p = 0; p < v->partitions; p++) {
        uint64_t applied = f->shown_applied[p], durable = f->shown_durable[p];
        jo_open_obj(o);
        number(o, "partition", p);
        number(o, "shard", p % v->shards);
        number(o, "first", f->shown_first[p]);
        number(o, "last", f->shown_appended[p]);
        number(o, "applied", applied);
        number(o, "log_lag", above(f->shown_appended[p], durable));
        number(o, "apply_lag", above(durable, applied));
        jo_close_obj(o);
    }
    jo_close_arr(o);
}

static void shards(const struct server *v, struct json_out *o) {
    jo_key(o, "shards");
    jo_open_arr(o);
    for (unsigned i = 0; i < v->shards; i++) {
        const struct shard *s = &v->shard[i];
        jo_open_obj(o);
        number(o, "shard", i);
        number(o, "connections", s->gauges.connections);
        number(o, "sessions", s->gauges.sessions);
        number(o, "relays_waiting", s->gauges.relays);
        number(o, "jobs_waiting", jobs_between(v, i));
        number(o, "dirty_bytes", s->gauges.dirty_bytes);
        number(o, "cells_bytes", s->gauges.cell_bytes);
        number(o, "buffers_bytes", s->gauges.connection_bytes);
        number(o, "output_bytes", s->gauges.output_bytes);
        jo_close_obj(o);
    }
    jo_close_arr(o);
}

static void threads(const struct server *v, struct json_out *o) {
    jo_key(o, "threads");
    jo_open_arr(o);
    for (size_t i = 0; i < v->shards + 3; i++) { /* log, tables, and the watch itself */
        struct watch_load l = watch_load(v->flow->watch, i);
        jo_open_obj(o);
        word(o, "thread", l.name);
        number(o, "used_millicores", l.used_millicores);
        number(o, "waited_millicores", l.waited_millicores);
        jo_close_obj(o);
    }
    jo_close_arr(o);
}

static void doors(const struct server *v, struct json_out *o) {
    static const char *const NAMES[DOORS] = {"http", "mqtt", "https", "mqtts", "console"};
    jo_key(o, "listeners");
    jo_open_arr(o);
    for (int i = 0; i < DOORS; i++) {
        if (v->doors[i].fd < 0) continue;
        jo_open_obj(o);
        word(o, "listener", NAMES[i]);
        number(o, "port", v->doors[i].port);
        jo_key(o, "tls");
        jo_bool(o, v->doors[i].tls);
        jo_close_obj(o);
    }
    jo_close_arr(o);
}

/* Those whose names begin so, since the start. */
struct counted {
    const char *key, *prefix, *name, *value;
};
static void counters(const struct server *v, struct json_out *o, const struct counted *k) {
    size_t skip = strcmp(k->prefix, "limit_") == 0 ? 0 : strlen(k->prefix);
    jo_key(o, k->key);
    jo_open_arr(o);
    for (unsigned c = 0; c < COUNTER_COUNT; c++) {
        const char *name = measure_name((enum measure_counter)c);
        uint64_t n = 0;
        if (!bytes_starts(bytes_str(name), k->prefix)) continue;
        for (unsigned i = 0; i < v->shards; i++)
            n += measure_get(&v->shard[i].measure, (enum measure_counter)c);
        jo_open_obj(o);
        word(o, k->name, name + skip);
        word(o, "words", measure_help((enum measure_counter)c));
        number(o, k->value, n);
        jo_close_obj(o);
    }
    jo_close_arr(o);
}

static void sizes(const struct flow *f, struct json_out *o) {
    static const struct {
        const char *name;
        enum watch_gauge gauge;
    } MEMORY[] = {{"resident", GAUGE_resident_kib}, {"allocated", GAUGE_allocated_kib},
        {"cells", GAUGE_cells_kib}, {"store", GAUGE_store_kib}, {"buffers", GAUGE_buffers_kib},
        {"log_queue", GAUGE_log_queue_kib}},
      DISK[] = {
          {"free", GAUGE_disk_free_mib}, {"log", GAUGE_log_kib}, {"tables", GAUGE_tables_kib}};
    jo_key(o, "memory_bytes");
    jo_open_obj(o);
    for (size_t i = 0; i < sizeof MEMORY / sizeof *MEMORY; i++)
        number(o, MEMORY[i].name, f->gauges[MEMORY[i].gauge]);
    jo_close_obj(o);
    jo_key(o, "disk_bytes");
    jo_open_obj(o);
    for (size_t i = 0; i < sizeof DISK / sizeof *DISK; i++)
        number(o, DISK[i].name, f->gauges[DISK[i].gauge]);
    jo_close_obj(o);
}

static bool since_read(struct job *j, uint64_t *out) {
    struct bytes v = request_query(&j->request, "since");
    *out = 0;
    for (size_t i = 0; i < v.n; i++) {
        if (v.p[i] < '0' || v.p[i] > '9' || i > 15) {
            answer_problem(&j->answer, PROBLEM_MALFORMED, "since",
                "'since' is the number of the last point that you have");
            return false;
        }
        *out = *out * 10 + (uint64_t)(v.p[i] - '0');
    }
    return true;
}

void flow_json(struct shard *s, struct job *j) {
    struct server *v = s->server;
    struct json_out o = {&j->answer.body, false};
    uint64_t since;
    if (!since_read(j, &since)) return;
    jo_open_obj(&o);
    word(&o, "version", v->o.version ? v->o.version : "");
    jo_key(&o, "started_at");
    jo_time(&o, v->started_ms);
    jo_key(&o, "at");
    jo_time(&o, s->now_ms);
    stages(v->flow, &o);
    shards(v, &o);
    threads(v, &o);
    partitions(v, &o);
    doors(v, &o);
    counters(v, &o, &(struct counted){"limits", "limit_", "limit", "hit"});
    counters(v, &o, &(struct counted){"notifications", "notify_", "outcome", "count"});
    sizes(v->flow, &o);
    jo_key(&o, "history");
    buf_char(o.b, '{');
    watch_history(v->flow->watch, since, o.b);
    buf_str(o.b, "}}");
}
