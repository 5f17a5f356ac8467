/* send: the thread, the rings to and from the shards, and what others may ask.
 *
 * Keeps: the providers, their lanes and flights belong to the thread from send_start to send_free. A
 * shard counts what it put and has not taken, and never has more out than its ring of results holds: so
 * a result always finds room, and the thread never waits for a shard.
 * SPDX-License-Identifier: Apache-2.0 */
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "send/send_in.h"

enum { EVENTS_MAX = 256, WAIT_MAX_MS = 1000 };

struct side { /* of a shard */
    struct ring *tasks, *results;
    size_t out; /* the shard's own */
    bool told;  /* the thread's own: in this turn */
};
struct posted { /* a task on its way into the thread */
    struct send_task *task;
    int64_t put_ns;
};
struct send {
    struct send_options o;
    struct settings settings;
    struct side *sides;
    struct runner runner;
    struct channel_figures figures[SEND_CHANNELS];
    struct buf webpush_key, webhook_key;
    pthread_t thread;
    bool started;
    bool making; /* the thread's: has work for when there is none */
    _Atomic bool stop;
};

/* ---- which provider ---- */
/* The index-th of the channel that serves the app; the last argument counts them. */
static struct provider *provider_of(const struct send *s, enum send_channel c, struct bytes app,
    unsigned index, unsigned *out_count) {
    struct provider *found = NULL;
    *out_count = 0;
    for (size_t i = 0; i < s->settings.n; i++) {
        struct provider *p = s->settings.list[i];
        if (p->channel != c || (p->app[0] && !bytes_is(app, p->app))) continue;
        if (*out_count == index) found = p;
        ++*out_count;
    }
    return found;
}

unsigned send_provider_count(const struct send *s, enum send_channel c, struct bytes app) {
    unsigned n;
    (void)provider_of(s, c, app, 0, &n);
    return n;
}

/* ---- the thread ---- */
static int64_t now_of(const struct send *s) {
    return s->o.now_ms ? s->o.now_ms() : clock_wall_ms();
}

static void flight_ended(void *arg, struct flight *f, struct send_result *r) {
    struct send *s = arg;
    struct side *side = &s->sides[f->shard];
    unsigned n;
    (void)provider_of(s, f->task->channel, f->task->app, 0, &n);
    r->provider = n ? f->task->provider % n : 0;
    r->next_provider = r->failover && n ? (r->provider + 1) % n : r->provider;
    r->failover = r->failover && r->provider + 1 < n;
    check(ring_put(side->results, r)); /* a shard has no more out than it holds */
    side->told = true;
    flight_free(&s->runner, f);
}

static void task_take(struct send *s, unsigned shard, struct posted *posted, int64_t now_ms) {
    struct flight *f = flight_create(&s->runner, posted->task);
    unsigned n;
    f->shard = shard;
    f->put_ns = posted->put_ns;
    free(posted);
    struct send_task *t = f->task;
    (void)provider_of(s, t->channel, t->app, 0, &n);
    struct provider *p = n ? provider_of(s, t->channel, t->app, t->provider % n, &n) : NULL;
    if (p) provider_take(p, &s->runner, f, now_ms);
    else flight_refuse(&s->runner, f, OUTWARD_GIVE_UP, "no provider of this channel is configured");
}

static int wait_of(const struct send *s) {
    int64_t wait = WAIT_MAX_MS, now = clock_mono_ns() / 1000000;
    for (size_t i = 0; i < s->settings.n; i++) {
        int64_t due = provider_due_ms(s->settings.list[i], now);
        if (due >= 0 && due - now < wait) wait = due > now ? due - now : 0;
    }
    return (int)wait;
}

/* true: there is more to be made ready. */
static bool idle(struct send *s) {
    bool more = false;
    for (size_t i = 0; i < s->settings.n; i++) more |= provider_idle(s->settings.list[i]);
    return more;
}

static void turn(struct send *s) {
    struct loop_event events[EVENTS_MAX];
    size_t n = loop_wait(s->runner.loop, s->making ? 0 : wait_of(s), events, EVENTS_MAX);
    int64_t now_ms = now_of(s), mono_ms = clock_mono_ns() / 1000000;
    for (size_t i = 0; i < n; i++) carry_event(events[i].tag, events[i].what);
    for (unsigned i = 0; i < s->o.shards; i++)
        for (struct posted *p; (p = ring_take(s->sides[i].tasks));) task_take(s, i, p, now_ms);
    for (size_t i = 0; i < s->settings.n; i++)
        provider_turn(s->settings.list[i], &s->runner, now_ms, mono_ms);
    for (unsigned i = 0; i < s->o.shards; i++) {
        bool told = s->sides[i].told;
        s->sides[i].told = false;
        if (told && s->o.wake) s->o.wake(s->o.arg, i);
    }
    s->making = !n && idle(s);
}

static void *thread_main(void *arg) {
    struct send *s = arg;
    pthread_setname_np(pthread_self(), "send");
    while (!atomic_load(&s->stop)) turn(s);
    return NULL;
}

/* ---- beginning and end ---- */
static void keys_show(struct send *s) {
    struct buf raw = {0};
    for (size_t i = s->settings.n; i-- > 0;) { /* the first's stands */
        const struct provider *p = s->settings.list[i];
        if (p->channel == SEND_WEBHOOK) {
            buf_reset(&s->webhook_key);
            webhook_public(p->key, &s->webhook_key);
        } else if (p->channel == SEND_WEBPUSH) {
            buf_reset(&raw);
            buf_reset(&s->webpush_key);
            outward_key_public(p->key, &raw);
            base64url_encode(&s->webpush_key, buf_view(&raw));
        }
    }
    buf_done(&raw);
}

enum err send_create(const struct send_options *o, struct send **out, struct buf *why) {
    struct send *s = must_alloc(sizeof *s);
    s->o = *o;
    enum err e = settings_read(o, &s->settings, why);
    if (e != OK) return free(s), e;
    carry_begin();
    s->runner = (struct runner){
        .loop = loop_create(), .figures = s->figures, .arg = s, .ended = flight_ended};
    s->sides = must_alloc(o->shards * sizeof *s->sides);
    for (unsigned i = 0; i < o->shards; i++) {
        s->sides[i].tasks = ring_create(SEND_OUT_MAX);
        s->sides[i].results = ring_create(SEND_OUT_MAX);
    }
    for (size_t i = 0; i < s->settings.n; i++) provider_start(s->settings.list[i], &s->runner);
    keys_show(s);
    *out = s;
    return OK;
}

void send_start(struct send *s) {
    check(pthread_create(&s->thread, NULL, thread_main, s) == 0);
    s->started = true;
}

static void side_done(struct side *side) {
    for (struct posted *p; (p = ring_take(side->tasks)); free(p)) send_task_free(&p->task);
    for (struct send_result *r; (r = ring_take(side->results));) send_result_free(&r);
    ring_free(&side->tasks);
    ring_free(&side->results);
}

void send_free(struct send **ps) {
    struct send *s = *ps;
    if (!s) return;
    atomic_store(&s->stop, true);
    loop_wake(s->runner.loop);
    if (s->started) pthread_join(s->thread, NULL);
    while (s->runner.flights) flight_free(&s->runner, s->runner.flights);
    for (size_t i = 0; i < s->settings.n; i++) provider_stop(s->settings.list[i]);
    settings_done(&s->settings);
    for (unsigned i = 0; i < s->o.shards; i++) side_done(&s->sides[i]);
    loop_free(&s->runner.loop);
    buf_done(&s->webpush_key);
    buf_done(&s->webhook_key);
    free(s->sides);
    free(s);
    *ps = NULL;
}

/* ---- a shard's side ---- */
bool send_put(struct send *s, unsigned shard, struct send_task *t) {
    struct side *side = &s->sides[shard];
    if (side->out >= SEND_OUT_MAX) return false;
    struct posted *p = must_alloc(sizeof *p);
    *p = (struct posted){t, clock_mono_ns()};
    check(ring_put(side->tasks, p));
    side->out++;
    loop_wake(s->runner.loop);
    return true;
}

struct send_result *send_take(struct send *s, unsigned shard) {
    struct send_result *r = ring_take(s->sides[shard].results);
    if (r) s->sides[shard].out--;
    return r;
}

size_t send_out(const struct send *s, unsigned shard) { return s->sides[shard].out; }

/* ---- to be told ---- */
struct bytes send_webpush_key(const struct send *s) {
    return buf_view(&s->webpush_key);
}
struct bytes send_webhook_key(const struct send *s) {
    return buf_view(&s->webhook_key);
}
struct bytes send_unsubscribe_key(const struct send *s) {
    return buf_view(&s->settings.unsubscribe_key);
}

bool send_webhooks_private(const struct send *s) {
    bool any = false;
    for (size_t i = 0; i < s->settings.n; i++) {
        const struct provider *p = s->settings.list[i];
        any |= p->channel == SEND_WEBHOOK && !p->carry.public_only;
    }
    return any;
}

static void record_put(
    const struct provider *p, const struct outward_key *k, const char *suffix, struct buf *out) {
    buf_fmt(out, "%s%s._domainkey.%s TXT ", p->dkim_selector, suffix, p->dkim_domain);
    dkim_record(k, out);
    buf_char(out, '\n');
}

void send_dkim_records(const struct send *s, struct buf *out) {
    for (size_t i = 0; i < s->settings.n; i++) {
        const struct provider *p = s->settings.list[i];
        bool said = false;
        for (size_t k = 0; k < i && p->dkim_rsa; k++) {
            const struct provider *o = s->settings.list[k];
            said |= o->dkim_rsa && strcmp(o->dkim_domain, p->dkim_domain) == 0 &&
                    strcmp(o->dkim_selector, p->dkim_selector) == 0;
        }
        if (!p->dkim_rsa || said) continue;
        record_put(p, p->dkim_rsa, DKIM_RSA_SUFFIX, out);
        record_put(p, p->dkim_ed25519, DKIM_ED25519_SUFFIX, out);
    }
}

static uint64_t seen(const uint64_t *cell) { return __atomic_load_n(cell, __ATOMIC_RELAXED); }

void send_counts(const struct send *s, enum send_channel c, struct send_counts *out) {
    const struct channel_figures *f = &s->figures[c];
    *out = (struct send_counts){.sent = seen(&f->sent),
        .retried = seen(&f->retried),
        .dropped = seen(&f->dropped),
        .gave_up = seen(&f->gave_up),
        .renewed = seen(&f->renewed),
        .paused = seen(&f->paused),
        .waiting = seen(&f->waiting),
        .flying = seen(&f->flying),
        .latency_ns = &f->latency};
}
