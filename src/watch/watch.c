/* watch: the thread: asks the kernel about the others, and makes a point of each second.
 * Keeps: descriptors of /proc are opened once, when a thread has begun; a look is one pread a thread.
 * With very many threads it looks less often rather than take more of a core.
 * SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "io/io.h"
#include "watch/watch_in.h"

#define SECOND_NS 1000000000
#define THREADS_EACH_LOOK 64 /* of some 700 ns each */

/* What becomes a column: so much a second. */
static const enum measure_counter COUNTED[] = {COUNTER_connections_opened, COUNTER_http_requests,
    COUNTER_http_errors, COUNTER_mqtt_packets_in, COUNTER_messages_accepted,
    COUNTER_messages_refused, COUNTER_messages_delivered, COUNTER_channel_messages_received,
    COUNTER_channel_messages_dropped, COUNTER_relays_sent, COUNTER_records_applied,
    COUNTER_bytes_in, COUNTER_bytes_out, COUNTER_tls_handshakes, COUNTER_tls_failed};
static const char *const COUNTER_NAMES[] = {
#define X(name, ...) #name,
    MEASURE_COUNTERS(X)
#undef X
};
static const char *const STAGE_NAMES[] = {
#define X(name, ...) #name,
    MEASURE_STAGES(X)
#undef X
};
static const struct {
    const char *name;
    uint64_t unit;
} GAUGES[] = {
#define X(name, unit, help) {#name, unit},
    WATCH_GAUGES(X)
#undef X
};

enum { LOADS = 6 };          /* columns about threads: see loads_take */
enum { SCHEDSTAT_MAX = 80 }; /* three numbers of 64 bits, and some */
struct looked {              /* a thread */
    int fd;                  /* of its schedstat; -1: not open, or not there */
    bool asked;
    char text[SCHEDSTAT_MAX]; /* as it was last */
    size_t used_digits;
    struct delay_sample now, second; /* second: when the last point was made */
    uint32_t turns;                  /* as it was, for kernels without schedstat */
    _Atomic uint32_t used_millicores, waited_millicores;
};
struct stage_now {
    _Atomic uint32_t per_s;
    _Atomic uint64_t p50_ns, p99_ns;
};
struct watch {
    struct watch_options o;
    pthread_t thread;
    bool runs;
    _Atomic bool stop;
    _Atomic int tid;
    _Atomic uint64_t cpu_ns;
    struct looked *threads; /* [thread_count], and one more for its own */
    struct delay_sample *samples;
    uint32_t *numbers;
    struct delay delay;
    struct events events;
    struct past past;
    struct change *changes;     /* [TIMED_COUNT] */
    const struct hist **timing; /* [measure_count]; of one stage */
    enum measure_counter counted[COUNTER_COUNT];
    size_t counted_count;
    uint64_t counters[COUNTER_COUNT], *values;
    struct stage_now stages[TIMED_COUNT];
    int64_t second_ns; /* when the last point was made */
    int64_t each_ns;   /* between looks */
};

/* ---- columns ---- */
static void column_name(struct watch *w, size_t *at, const char *name, const char *more) {
    snprintf(w->past.names[(*at)++], COLUMN_NAME_MAX, "%s%s", name, more);
}

static void columns_name(struct watch *w) {
    static const char *const LOAD_NAMES[LOADS] = {"shards_millicores", "shard_most_millicores",
        "shards_waited_millicores", "log_millicores", "tables_millicores", "watch_millicores"};
    size_t at = 0;
    for (size_t s = 0; s < TIMED_COUNT; s++) {
        column_name(w, &at, STAGE_NAMES[s], "_per_s");
        column_name(w, &at, STAGE_NAMES[s], "_p50_us");
        column_name(w, &at, STAGE_NAMES[s], "_p99_us");
    }
    for (size_t c = 0; c < w->counted_count; c++)
        column_name(w, &at, COUNTER_NAMES[w->counted[c]], "_per_s");
    for (size_t g = 0; g < WATCH_GAUGE_COUNT; g++) column_name(w, &at, GAUGES[g].name, "");
    for (size_t i = 0; i < LOADS; i++) column_name(w, &at, LOAD_NAMES[i], "");
    check(at == w->past.columns);
}

static void counted_choose(struct watch *w) {
    for (size_t i = 0; i < sizeof COUNTED / sizeof *COUNTED; i++)
        w->counted[w->counted_count++] = COUNTED[i];
    for (unsigned c = 0; c < COUNTER_COUNT; c++)
        if (strncmp(COUNTER_NAMES[c], "limit_", 6) == 0 ||
            strncmp(COUNTER_NAMES[c], "notify_", 7) == 0)
            w->counted[w->counted_count++] = (enum measure_counter)c;
}

struct watch *watch_create(const struct watch_options *o) {
    struct watch *w = must_alloc(sizeof *w);
    size_t n = o->thread_count;
    w->o = *o;
    w->threads = must_alloc((n + 1) * sizeof *w->threads);
    for (size_t i = 0; i <= n; i++) w->threads[i].fd = -1;
    w->samples = must_alloc((n + 1) * sizeof *w->samples);
    w->numbers = must_alloc((n + 1) * sizeof *w->numbers);
    for (size_t i = 0; i < n; i++) w->numbers[i] = o->threads[i].number;
    w->delay = (struct delay){.threads = must_alloc((n + 1) * sizeof *w->delay.threads),
        .numbers = w->numbers,
        .count = n};
    w->changes = must_alloc(TIMED_COUNT * sizeof *w->changes);
    w->timing = must_alloc((o->measure_count + 1) * sizeof *w->timing);
    w->each_ns = (int64_t)(1 + n / THREADS_EACH_LOOK) * LOOK_NS;
    counted_choose(w);
    past_init(&w->past, 3 * TIMED_COUNT + w->counted_count + WATCH_GAUGE_COUNT + LOADS);
    w->values = must_alloc(w->past.columns * sizeof *w->values);
    columns_name(w);
    return w;
}

void watch_free(struct watch **pw) {
    struct watch *w = *pw;
    if (!w) return;
    watch_stop(w);
    for (size_t i = 0; i <= w->o.thread_count; i++)
        if (w->threads[i].fd >= 0) close(w->threads[i].fd);
    past_done(&w->past);
    free(w->threads);
    free(w->samples);
    free(w->numbers);
    free(w->delay.threads);
    free(w->changes);
    free(w->timing);
    free(w->values);
    free(w);
    *pw = NULL;
}

/* ---- threads ---- */
/* Gives where it ends. */
static const char *digits_read(const char *p, int64_t *out) {
    uint64_t v = 0;
    for (unsigned digit; (digit = (unsigned)(*p - '0')) <= 9; p++) v = v * 10 + digit;
    *out = (int64_t)v;
    return p;
}

/* "used waited slices", in ns (Linux, Documentation/scheduler/sched-stats.rst). By hand: of all that
 * looking costs, sscanf would be the most. What was used is skipped, as it is asked once a second
 * (used_take); it never gets shorter. */
static bool schedstat_read(struct looked *l) {
    ssize_t n = pread(l->fd, l->text, sizeof l->text - 1, 0);
    if (n <= (ssize_t)l->used_digits) return false;
    l->text[n] = 0;
    const char *p = l->text + l->used_digits;
    while (*p >= '0' && *p <= '9') p++;
    l->used_digits = (size_t)(p - l->text);
    if (*p != ' ') return false;
    digits_read(p + 1, &l->now.waited_ns);
    return l->now.known = true;
}
static void used_take(struct looked *l) {
    if (l->fd >= 0 && l->now.known) digits_read(l->text, &l->now.used_ns);
}

/* A clock of another thread's CPU time: the kernel's numbers for them (CLOCKFD and kin), as
 * pthread_getcpuclockid makes them of a pthread_t. */
static clockid_t cpu_clock(int tid) { return (clockid_t)(~(unsigned)tid << 3 | 6u); }

/* Without schedstat: who has been in one turn since the last look, and used less than half of the
 * time, did not run: for want of a core, as a shard waits for little else. */
static bool turn_look(const struct watch_thread *t, int tid, struct looked *l, int64_t span_ns) {
    struct timespec at;
    if (clock_gettime(cpu_clock(tid), &at)) return false;
    uint32_t turns = t->turns ? atomic_load_explicit(t->turns, memory_order_relaxed) : 0;
    int64_t used = (int64_t)at.tv_sec * SECOND_NS + at.tv_nsec, ran = used - l->now.used_ns;
    bool held = l->now.known && (turns & 1) && turns == l->turns && ran * 2 < span_ns;
    l->turns = turns;
    l->now = (struct delay_sample){true, used, l->now.waited_ns + (held ? span_ns - ran : 0)};
    return true;
}

static void thread_look(
    const struct watch *w, const struct watch_thread *t, struct looked *l, int64_t span_ns) {
    int tid = atomic_load_explicit(t->tid, memory_order_acquire);
    if (!tid) return;
    if (!l->asked && !w->o.without_schedstat) {
        char path[64];
        snprintf(path, sizeof path, "/proc/self/task/%d/schedstat", tid);
        l->fd = open(path, O_RDONLY | O_CLOEXEC);
        l->asked = true;
    }
    if (l->fd >= 0 && schedstat_read(l)) return;
    if (l->fd < 0 && turn_look(t, tid, l, span_ns)) return;
    l->now.known = false; /* it has ended */
}

static void threads_look(struct watch *w, int64_t due_ns, int64_t now_ns) {
    const struct watch_thread self = {.number = THREAD_WATCH, .tid = &w->tid};
    size_t n = w->o.thread_count;
    int64_t span_ns = now_ns - w->delay.last_ns;
    for (size_t i = 0; i <= n; i++) {
        thread_look(w, i < n ? &w->o.threads[i] : &self, &w->threads[i], span_ns);
        w->samples[i] = w->threads[i].now;
    }
    struct delay_look l = {
        due_ns, now_ns, clock_wall_ms(), w->samples, w->samples[n], w->threads[n].fd < 0};
    delay_take(&w->delay, &l, &w->events);
}

/* ---- points ---- */
static uint64_t per_second(uint64_t n, int64_t span_ns) {
    return (uint64_t)((double)n * SECOND_NS / (double)span_ns + 0.5);
}

/* Of all threads that time it. */
static void stage_take(struct watch *w, size_t s, int64_t span_ns, uint64_t *out) {
    struct change_sums came;
    size_t threads = 0;
    for (unsigned i = 0; i < w->o.measure_count; i++) {
        const struct hist *h = &w->o.measures[i]->stages[s];
        if (__atomic_load_n(&h->max, __ATOMIC_RELAXED) ||
            __atomic_load_n(&h->buckets[0], __ATOMIC_RELAXED))
            w->timing[threads++] = h;
    }
    change_take(&w->changes[s], w->timing, threads, &came);
    out[0] = per_second(came.n, span_ns);
    out[1] = (came.p50 + 999) / 1000;
    out[2] = (came.p99 + 999) / 1000;
    atomic_store_explicit(&w->stages[s].per_s, (uint32_t)out[0], memory_order_relaxed);
    atomic_store_explicit(&w->stages[s].p50_ns, came.p50, memory_order_relaxed);
    atomic_store_explicit(&w->stages[s].p99_ns, came.p99, memory_order_relaxed);
}

static uint64_t counter_take(struct watch *w, enum measure_counter c, int64_t span_ns) {
    uint64_t sum = 0;
    for (unsigned i = 0; i < w->o.measure_count; i++) sum += measure_get(w->o.measures[i], c);
    uint64_t n = sum - w->counters[c];
    w->counters[c] = sum;
    return per_second(n, span_ns);
}

static uint64_t millicores(int64_t ns, int64_t span_ns) {
    return ns <= 0 ? 0 : (uint64_t)((double)ns * 1000 / (double)span_ns + 0.5);
}

static void loads_take(struct watch *w, int64_t span_ns, uint64_t out[static LOADS]) {
    for (size_t i = 0; i <= w->o.thread_count; i++) {
        struct looked *l = &w->threads[i];
        used_take(l);
        uint32_t number = i < w->o.thread_count ? w->numbers[i] : THREAD_WATCH;
        bool known = l->now.known && l->second.known;
        uint64_t used = known ? millicores(l->now.used_ns - l->second.used_ns, span_ns) : 0,
                 waited = known ? millicores(l->now.waited_ns - l->second.waited_ns, span_ns) : 0;
        l->second = l->now;
        atomic_store_explicit(&l->used_millicores, (uint32_t)used, memory_order_relaxed);
        atomic_store_explicit(&l->waited_millicores, (uint32_t)waited, memory_order_relaxed);
        if (number == THREAD_LOG) out[3] += used;
        else if (number == THREAD_TABLES) out[4] += used;
        else if (number == THREAD_WATCH) out[5] += used;
        else {
            out[0] += used;
            out[1] = used > out[1] ? used : out[1];
            out[2] += waited;
        }
    }
}

static void point_take(struct watch *w, int64_t now_ns) {
    int64_t span_ns = now_ns - w->second_ns;
    uint64_t *v = w->values, gauges[WATCH_GAUGE_COUNT] = {0};
    bool first = !w->second_ns;
    memset(v, 0, w->past.columns * sizeof *v);
    for (size_t s = 0; s < TIMED_COUNT; s++, v += 3) stage_take(w, s, span_ns, v);
    for (size_t c = 0; c < w->counted_count; c++) *v++ = counter_take(w, w->counted[c], span_ns);
    w->o.look(w->o.arg, gauges);
    for (size_t g = 0; g < WATCH_GAUGE_COUNT; g++) *v++ = gauges[g] / GAUGES[g].unit;
    loads_take(w, span_ns, v);
    atomic_store_explicit(
        &w->cpu_ns, (uint64_t)w->threads[w->o.thread_count].now.used_ns, memory_order_relaxed);
    w->second_ns = now_ns;
    if (!first) past_add(&w->past, clock_wall_ms(), w->values);
}

/* ---- its thread ---- */
static void sleep_until(int64_t at_ns) {
    struct timespec t = {at_ns / SECOND_NS, at_ns % SECOND_NS};
    while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &t, NULL) == EINTR) {
    }
}

/* Where a look is missed it is left out: the times stay whole steps after the first. */
static void *watch_main(void *arg) {
    struct watch *w = arg;
    int64_t due = clock_mono_ns(), point = due;
    atomic_store(&w->tid, (int)gettid());
    pthread_setname_np(pthread_self(), "watch");
    while (!atomic_load(&w->stop)) {
        sleep_until(due);
        int64_t now = clock_mono_ns();
        threads_look(w, due, now);
        if (now >= point) {
            point_take(w, now);
            do point += SECOND_NS;
            while (point <= now);
        }
        /* what our own work took is no lateness */
        now = clock_mono_ns();
        do due += w->each_ns;
        while (due <= now);
    }
    return NULL;
}

enum err watch_start(struct watch *w) {
    w->runs = pthread_create(&w->thread, NULL, watch_main, w) == 0;
    return w->runs ? OK : IO;
}

void watch_stop(struct watch *w) {
    if (!w->runs) return;
    atomic_store(&w->stop, true);
    pthread_join(w->thread, NULL);
    w->runs = false;
}

/* ---- readers ---- */
const struct events *watch_events(const struct watch *w) { return &w->events; }

uint64_t watch_cpu_ns(const struct watch *w) {
    return atomic_load_explicit(&w->cpu_ns, memory_order_relaxed);
}

size_t watch_stages(const struct watch *w, struct watch_stage out[static TIMED_COUNT]) {
    for (size_t s = 0; s < TIMED_COUNT; s++) {
        const struct stage_now *n = &w->stages[s];
        out[s] = (struct watch_stage){STAGE_NAMES[s],
            atomic_load_explicit(&n->per_s, memory_order_relaxed),
            atomic_load_explicit(&n->p50_ns, memory_order_relaxed),
            atomic_load_explicit(&n->p99_ns, memory_order_relaxed)};
    }
    return TIMED_COUNT;
}

struct watch_load watch_load(const struct watch *w, size_t thread) {
    check(thread <= w->o.thread_count);
    const struct looked *l = &w->threads[thread];
    return (struct watch_load){thread < w->o.thread_count ? w->o.threads[thread].name : "watch",
        atomic_load_explicit(&l->used_millicores, memory_order_relaxed),
        atomic_load_explicit(&l->waited_millicores, memory_order_relaxed)};
}

void watch_history(const struct watch *w, uint64_t since, struct buf *out) {
    past_json(&w->past, since, out);
}
