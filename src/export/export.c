/* export: the thread: each second it reads what the shards have kept since, makes batches of it, and
 * sends them; what cannot be sent waits, longer each time, and gives way when there is too much.
 * SPDX-License-Identifier: Apache-2.0 */
#include "export/export.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "export/export_in.h"
#include "io/io.h"
#include "wire/wire.h"

enum {
    EVERY_MS = 1000,
    SETTLE_MS = 2000, /* after its end, so that devices have acknowledged */
    READ_MOST = 1024, /* journeys of one ring at once */
    EVENTS_READ = 256,
    TIMEOUT_MS = 5000,
    LAST_MS = 1000, /* at the end */
    RETRY_FIRST_MS = 1000,
    RETRY_MOST_MS = 30000
};

struct export {
    const struct journeys **rings;
    const struct events **event_rings;
    size_t ring_count, event_ring_count;
    char version[40], instance[128];
    struct collector collector;
    struct spans_about about;
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t wake;
    bool stop;        /* atomic */
    int64_t taken_ns; /* journeys that ended before it are in batches, or dropped */
    struct batches batches;
    int64_t retry_at_ms, retry_ms;
    struct rng rng;
    struct json_reader *json;
    struct journey *journeys;
    struct event *events;
    size_t event_count;
    uint64_t sent, dropped, failures; /* atomic */
};

bool export_url_valid(const char *url, struct buf *why) {
    struct collector c;
    return collector_parse(url, &c, why) == OK;
}

static void bump(uint64_t *cell, uint64_t by) { __atomic_fetch_add(cell, by, __ATOMIC_RELAXED); }

/* ---- from rings to batches ---- */
/* Those of all threads that touch the time; a slow journey's only: of others they explain nothing. */
static size_t events_of(struct export *x, int64_t from_ns, int64_t to_ns, struct event *out) {
    size_t n = 0;
    for (size_t i = 0; i < x->event_count && n < EVENTS_READ; i++)
        if (x->events[i].start_ns <= to_ns &&
            x->events[i].start_ns + x->events[i].duration_ns >= from_ns)
            out[n++] = x->events[i];
    return n;
}

static void events_gather(struct export *x, int64_t from_ns, int64_t to_ns) {
    x->event_count = 0;
    for (size_t i = 0; i < x->event_ring_count; i++)
        x->event_count +=
            events_read(x->event_rings[i], from_ns, to_ns, x->events + x->event_count, EVENTS_READ);
}

static void journey_add(struct export *x, size_t shard, const struct journey *j) {
    struct journey_device devices[JOURNEY_DEVICES];
    struct event events[EVENTS_READ];
    size_t device_count = 0, event_count = 0;
    uint64_t dropped;
    struct spans *batch = batches_open(&x->batches, &x->about, &dropped);
    bump(&x->dropped, dropped);
    if (j->what == JOURNEY_RECORD)
        device_count =
            journeys_devices(x->rings[shard], j->partition, j->position, devices, JOURNEY_DEVICES);
    if (j->slow) event_count = events_of(x, j->came_ns, j->written_ns, events);
    spans_add(batch, &x->about, j, devices, device_count, events, event_count);
}

/* What ended between the last look and `until`. A slow record of an item is among the sampled too. */
static void gather(struct export *x, int64_t until_ns) {
    x->about.wall_less_mono_ns = clock_wall_ms() * 1000000 - clock_mono_ns();
    events_gather(x, x->taken_ns - (int64_t)RETRY_MOST_MS * 1000000, until_ns);
    for (size_t i = 0; i < x->ring_count; i++)
        for (int slow = 0; slow < 2; slow++) {
            size_t n = journeys_read(x->rings[i], slow, x->taken_ns, x->journeys, READ_MOST);
            for (size_t k = 0; k < n; k++) {
                const struct journey *j = &x->journeys[k];
                bool twice = slow && j->what == JOURNEY_RECORD && j->item[0];
                if (j->written_ns >= x->taken_ns && j->written_ns < until_ns && !twice)
                    journey_add(x, i, j);
            }
        }
    x->taken_ns = until_ns;
}

/* ---- to the collector ---- */

/* What it took the batch and threw away (partialSuccess). */
static uint64_t rejected(struct export *x, struct bytes body) {
    struct json root, partial, n;
    if (!body.n || json_parse(x->json, body, &root) != OK ||
        !json_get(root, "partialSuccess", &partial) || !json_get(partial, "rejectedSpans", &n))
        return 0;
    struct bytes text = json_string(n); /* 64-bit numbers are strings in this form */
    char digits[24] = "";
    if (text.n && text.n < sizeof digits) memcpy(digits, text.p, text.n);
    return text.n ? strtoull(digits, NULL, 10) : (uint64_t)json_i64(n);
}

static void later(struct export *x, int64_t now_ms, int asked_s) {
    int64_t wait = x->retry_ms ? x->retry_ms * 2 : RETRY_FIRST_MS;
    x->retry_ms = wait > RETRY_MOST_MS ? RETRY_MOST_MS : wait;
    /* not all servers of a fleet at once */
    wait = x->retry_ms / 2 + (int64_t)rng_below(&x->rng, (uint64_t)x->retry_ms / 2 + 1);
    if (asked_s > 0 && asked_s * 1000ll > wait)
        wait = asked_s * 1000ll > RETRY_MOST_MS * 10 ? RETRY_MOST_MS * 10 : asked_s * 1000ll;
    x->retry_at_ms = now_ms + wait;
}

static void send_all(struct export *x, int timeout_ms, const bool *stop) {
    struct post_answer a = {0};
    while (x->batches.count && clock_mono_ns() / 1000000 >= x->retry_at_ms) {
        const struct spans *s = batches_first(&x->batches);
        enum err e =
            post(&x->collector, x->about.version, buf_view(&s->body), timeout_ms, stop, &a);
        if (e != OK) bump(&x->failures, 1);
        if (e == AGAIN) {
            later(x, clock_mono_ns() / 1000000, a.retry_s);
            break;
        }
        uint64_t lost = e == OK ? rejected(x, buf_view(&a.body)) : s->count;
        if (lost > s->count) lost = s->count;
        bump(&x->dropped, lost);
        bump(&x->sent, s->count - lost);
        x->retry_ms = 0;
        batches_drop(&x->batches);
    }
    buf_done(&a.body);
}

static bool rest(struct export *x) {
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += EVERY_MS / 1000;
    pthread_mutex_lock(&x->lock);
    if (!x->stop) pthread_cond_timedwait(&x->wake, &x->lock, &until);
    bool stop = x->stop;
    pthread_mutex_unlock(&x->lock);
    return !stop;
}

static void *export_main(void *arg) {
    struct export *x = arg;
    pthread_setname_np(pthread_self(), "export");
    static const bool NEVER = false;
    while (rest(x)) {
        gather(x, clock_mono_ns() - (int64_t)SETTLE_MS * 1000000);
        send_all(x, TIMEOUT_MS, &x->stop);
    }
    gather(x, clock_mono_ns());
    if (!x->retry_ms) send_all(x, LAST_MS, &NEVER);
    bump(&x->dropped, batches_spans(&x->batches));
    return NULL;
}

enum err export_start(const struct export_options *o, struct export **out, struct buf *why) {
    struct export *x = must_alloc(sizeof *x);
    enum err e = collector_parse(o->url, &x->collector, why);
    if (e != OK) return free(x), e;
    snprintf(x->version, sizeof x->version, "%s", o->version);
    snprintf(x->instance, sizeof x->instance, "%s", o->instance);
    x->about = (struct spans_about){.version = x->version, .instance = x->instance};
    x->ring_count = o->journeys_count;
    x->rings = must_alloc((o->journeys_count + 1) * sizeof(void *));
    for (size_t i = 0; i < o->journeys_count; i++) x->rings[i] = o->journeys[i];
    x->event_ring_count = o->events_count;
    x->event_rings = must_alloc((o->events_count + 1) * sizeof(void *));
    for (size_t i = 0; i < o->events_count; i++) x->event_rings[i] = o->events[i];
    x->taken_ns = clock_mono_ns();
    x->rng.s = (uint64_t)x->taken_ns;
    x->json = json_reader_create();
    x->journeys = must_alloc(READ_MOST * sizeof *x->journeys);
    x->events = must_alloc((o->events_count + 1) * EVENTS_READ * sizeof *x->events);
    pthread_mutex_init(&x->lock, NULL);
    pthread_cond_init(&x->wake, NULL);
    check(pthread_create(&x->thread, NULL, export_main, x) == 0);
    *out = x;
    return OK;
}

void export_stop(struct export **px) {
    struct export *x = *px;
    if (!x) return;
    pthread_mutex_lock(&x->lock);
    __atomic_store_n(&x->stop, true, __ATOMIC_RELAXED);
    pthread_cond_broadcast(&x->wake);
    pthread_mutex_unlock(&x->lock);
    pthread_join(x->thread, NULL);
    while (x->batches.count) batches_drop(&x->batches);
    json_reader_free(&x->json);
    free(x->journeys);
    free(x->events);
    free(x->rings);
    free(x->event_rings);
    pthread_cond_destroy(&x->wake);
    pthread_mutex_destroy(&x->lock);
    free(x);
    *px = NULL;
}

struct export_counts export_counts(const struct export *x) {
    return (struct export_counts){__atomic_load_n(&x->sent, __ATOMIC_RELAXED),
        __atomic_load_n(&x->dropped, __ATOMIC_RELAXED),
        __atomic_load_n(&x->failures, __ATOMIC_RELAXED)};
}
