/* doctor: of a running server: reads the rings of its shards and threads, judges each slow journey
 * once, and answers /v1/slow and /v1/doctor.
 *
 *   journeys, events of the last minutes ─▶ slow[] by time taken ─▶ a cause for each
 *                                              known from before ──┘   (else diagnosed now)
 *
 * Keeps: a journey is judged while what explains it is in the rings, which under load is some
 * seconds (doctor_look), and again until all that may explain it was written (SETTLED_NS); the
 * verdict that explains more stays. An answer judges JUDGED_MAX at most anew, the slowest first.
 * doctor_look comes each second, and so costs as little as it can: it judges each journey once, when
 * most is written (WRITTEN_NS), and reads of the rings only what was near those that it judges.
 * SPDX-License-Identifier: Apache-2.0 */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "doctor/doctor_in.h"
#include "io/io.h"

#define MS 1000000ll
#define SECOND (1000 * MS)
#define LOOK_BACK_NS (600 * SECOND)
#define SETTLED_NS (3 * SECOND)
#define JUDGED_MAX 1024
#define WRITTEN_NS (1200 * MS) /* of delays of a second and more, a part is told so long after */
#define NEAR_NS (600 * MS)     /* around a journey: events that may explain what explains it */
#define SPARE_NS (100 * MS)    /* of it, for turns that began before the journey */
#define BESIDE_NS SECOND       /* journeys that ended so long before others may be of one cause */
#define BADLY_PERCENT 60       /* what explains less is judged again */
#define FAST_EVENTS (EVENTS_KEPT / 4) /* of a ring between two looks: it is written over too soon */
#define KNOWN_MAX 16384
#define KNOWN_PROBES 8
#define TICK_MS 10000
#define TICKS 61 /* of LOOK_BACK_NS */

struct known { /* a verdict of before */
    uint64_t key;
    int64_t ended_ns; /* of the journey; 0: an empty place */
    int64_t judged_ns;
    struct diagnosis diagnosis;
};
struct doctor {
    pthread_mutex_t lock;
    struct doctor_sources sources;
    struct known *known; /* by key, in one of KNOWN_PROBES places; the newest stay */
    size_t known_cap;
    struct {
        int64_t mono_ms;
        uint64_t done, slow;
    } ticks[TICKS];
    uint64_t tick_count;
    _Atomic uint64_t done, slow;
    int64_t told_ns;       /* what ended up to then was given by doctor_look */
    uint64_t *ring_counts; /* [ring_count] when it looked */
};

struct slow { /* one slow journey */
    struct journey *journey;
    const struct journey *source; /* of its record, if that is here too */
    int64_t took_ns;
    uint64_t key, evidence; /* evidence: which event; 0: none */
    uint8_t cause;          /* CAUSE_COUNT: not judged */
};
struct gathered {
    struct history h;
    struct journey *journeys;
    struct slow *slow; /* the slowest first */
    size_t count;
    int64_t from_ns, now_ns;
    uint32_t causes[CAUSE_COUNT], judged;
};

struct doctor *doctor_create(const struct doctor_sources *s) {
    struct doctor *d = must_alloc(sizeof *d);
    d->sources = *s;
    d->known_cap = 1024;
    while (d->known_cap < KNOWN_MAX && d->known_cap < s->shards * JOURNEYS_SLOW_MAX)
        d->known_cap *= 2;
    d->known = must_alloc(d->known_cap * sizeof *d->known);
    d->ring_counts = must_alloc((s->ring_count + 1) * sizeof *d->ring_counts);
    pthread_mutex_init(&d->lock, NULL);
    return d;
}

void doctor_free(struct doctor **pd) {
    struct doctor *d = *pd;
    if (!d) return;
    pthread_mutex_destroy(&d->lock);
    free(d->known);
    free(d->ring_counts);
    free(d);
    *pd = NULL;
}

/* The shard that ticks never waits: whoever answers meanwhile is told by the next tick. */
void doctor_tick(struct doctor *d, int64_t mono_ms, uint64_t done, uint64_t slow) {
    d->done = done;
    d->slow = slow;
    if (pthread_mutex_trylock(&d->lock) != 0) return;
    uint64_t last = d->tick_count;
    if (!last || mono_ms - d->ticks[(last - 1) % TICKS].mono_ms >= TICK_MS) {
        d->ticks[last % TICKS].mono_ms = mono_ms;
        d->ticks[last % TICKS].done = done;
        d->ticks[last % TICKS].slow = slow;
        d->tick_count++;
    }
    pthread_mutex_unlock(&d->lock);
}

/* Records and requests in the time that is looked back to; or since the start, if that is less. */
static uint64_t oldest_tick(const struct doctor *d) {
    return (d->tick_count > TICKS ? d->tick_count - TICKS : 0) % TICKS;
}
static uint64_t done_lately(const struct doctor *d) {
    return d->done - (d->tick_count ? d->ticks[oldest_tick(d)].done : 0);
}
/* The rings keep no more than so many; of those that they keep each may be newer than the tick. */
static uint64_t slow_lately(const struct doctor *d, const struct gathered *g) {
    uint64_t all = d->slow - (d->tick_count ? d->ticks[oldest_tick(d)].slow : 0);
    return all > g->count ? all : g->count;
}

/* ---- what was judged before ---- */
static const struct known *known_find(const struct doctor *d, uint64_t key) {
    for (uint64_t i = key; i < key + KNOWN_PROBES; i++) {
        const struct known *k = &d->known[i & (d->known_cap - 1)];
        if (k->ended_ns && k->key == key) return k;
    }
    return NULL;
}
static void known_put(
    struct doctor *d, uint64_t key, int64_t ended_ns, int64_t now_ns, const struct diagnosis *x) {
    struct known *to = NULL;
    for (uint64_t i = key; i < key + KNOWN_PROBES; i++) {
        struct known *k = &d->known[i & (d->known_cap - 1)];
        if (k->ended_ns && k->key == key) {
            to = k;
            break;
        }
        if (!to || k->ended_ns < to->ended_ns) to = k;
    }
    *to = (struct known){key, ended_ns, now_ns, *x};
}

/* ---- gathering ---- */
static int64_t ended(const struct journey *j) {
    int64_t end = j->came_ns;
    if (j->durable_ns > end) end = j->durable_ns;
    if (j->applied_ns > end) end = j->applied_ns;
    return j->written_ns > end ? j->written_ns : end;
}
static uint64_t key_of(const struct journey *j) {
    uint64_t parts[] = {
        j->what, j->partition, j->position, j->shard, (uint64_t)j->came_ns, (uint64_t)ended(j)};
    return hash64(bytes_of(parts, sizeof parts));
}
static uint64_t evidence_key(const struct diagnosis *d) {
    uint64_t parts[] = {d->evidence.kind, d->evidence.thread, (uint64_t)d->evidence.start_ns};
    return d->has_evidence ? hash64(bytes_of(parts, sizeof parts)) | 1 : 0;
}

/* A shard that tells its own delays, to its turns, is not told of by the watch too. */
static size_t delays_once(struct event *all, size_t own, size_t n, size_t shards) {
    bool tells = false;
    size_t kept = own;
    for (size_t i = 0; i < own; i++) tells |= all[i].kind == EVENT_run_delay;
    for (size_t i = own; i < n; i++)
        if (!tells || all[i].kind != EVENT_run_delay || all[i].thread >= shards)
            all[kept++] = all[i];
    return kept;
}

static void events_gather(
    const struct doctor *d, struct gathered *g, int64_t from_ns, int64_t to_ns) {
    size_t n = 0, cap = d->sources.ring_count * EVENTS_KEPT;
    struct event *all = malloc((cap + 1) * sizeof *all);
    check(all);
    size_t own = 0;
    for (size_t i = 0; i < d->sources.ring_count; i++) {
        n += events_read(d->sources.rings[i], from_ns, to_ns, all + n, EVENTS_KEPT);
        if (i + 1 == d->sources.shards) own = n;
    }
    n = delays_once(all, own, n, d->sources.shards);
    history_make(&g->h, all, n);
}

static int slowest_first(const void *a, const void *b) {
    const struct slow *x = a, *y = b;
    if (x->took_ns != y->took_ns) return x->took_ns < y->took_ns ? 1 : -1;
    return (x->key > y->key) - (x->key < y->key);
}

/* By position, to find a relay's record. */
struct place {
    uint64_t position;
    uint16_t partition;
    const struct journey *journey;
};
static int by_place(const void *a, const void *b) {
    const struct place *x = a, *y = b;
    if (x->partition != y->partition) return x->partition < y->partition ? -1 : 1;
    return (x->position > y->position) - (x->position < y->position);
}
static void sources_find(struct gathered *g) {
    struct place *places = must_alloc((g->count + 1) * sizeof *places);
    size_t n = 0;
    for (size_t i = 0; i < g->count; i++)
        if (g->journeys[i].what == JOURNEY_RECORD)
            places[n++] =
                (struct place){g->journeys[i].position, g->journeys[i].partition, &g->journeys[i]};
    if (n) qsort(places, n, sizeof *places, by_place);
    for (size_t i = 0; i < g->count; i++) {
        const struct journey *j = g->slow[i].journey;
        struct place key = {j->source_position, j->source, NULL}, *at;
        if (j->what != JOURNEY_RECORD || j->source == UINT16_MAX) continue;
        at = n ? bsearch(&key, places, n, sizeof *places, by_place) : NULL;
        if (at) g->slow[i].source = at->journey;
    }
    free(places);
}

/* In the order of their shards. */
static void journeys_gather(const struct doctor *d, struct gathered *g) {
    g->journeys = malloc((d->sources.shards * JOURNEYS_SLOW_MAX + 1) * sizeof *g->journeys);
    check(g->journeys);
    for (size_t i = 0; i < d->sources.shards; i++)
        g->count += journeys_read(
            d->sources.journeys[i], true, g->from_ns, g->journeys + g->count, JOURNEYS_SLOW_MAX);
    g->slow = must_alloc((g->count + 1) * sizeof *g->slow);
    for (size_t i = 0; i < g->count; i++) {
        struct journey *j = &g->journeys[i];
        g->slow[i] = (struct slow){.journey = j,
            .took_ns = ended(j) - (j->began_ns ? j->began_ns : j->came_ns),
            .key = key_of(j),
            .cause = CAUSE_COUNT};
    }
}

/* Was all written when it was judged, or is it not all yet? */
static bool is_known(const struct known *k, const struct gathered *g, int64_t end_ns) {
    return k && g->now_ns - end_ns > SETTLED_NS && k->judged_ns - end_ns > SETTLED_NS;
}

/* The verdict that explains more. */
static struct diagnosis judge(
    struct doctor *d, struct gathered *g, const struct slow *s, const struct known *k) {
    struct diagnosis x;
    diagnose(&g->h, s->journey, s->source, &x);
    if (k && k->diagnosis.cause != CAUSE_unknown && x.explained_ns <= k->diagnosis.explained_ns)
        x = k->diagnosis;
    known_put(d, s->key, ended(s->journey), g->now_ns, &x);
    return x;
}

static void judge_all(struct doctor *d, struct gathered *g) {
    for (size_t i = 0; i < g->count; i++) {
        struct slow *s = &g->slow[i];
        const struct known *k = known_find(d, s->key);
        struct diagnosis x;
        bool anew = !is_known(k, g, ended(s->journey)) && g->judged++ < JUDGED_MAX;
        if (anew) x = judge(d, g, s, k);
        else if (k) x = k->diagnosis;
        else continue;
        s->cause = (uint8_t)x.cause;
        s->evidence = evidence_key(&x);
        g->causes[s->cause]++;
    }
}

static void gather_begin(struct doctor *d, int64_t usual_sync_ns, struct gathered *g) {
    *g = (struct gathered){.now_ns = clock_mono_ns()};
    g->h.shards = (unsigned)d->sources.shards;
    g->h.wall_minus_mono_ms = clock_wall_ms() - g->now_ns / MS;
    g->h.usual_sync_ns = usual_sync_ns;
}

static void gather(struct doctor *d, const struct doctor_facts *f, struct gathered *g) {
    gather_begin(d, f->usual_sync_ns, g);
    g->from_ns = g->now_ns - LOOK_BACK_NS;
    journeys_gather(d, g);
    if (g->count) qsort(g->slow, g->count, sizeof *g->slow, slowest_first);
    sources_find(g);
    events_gather(d, g, g->from_ns, g->now_ns);
    judge_all(d, g);
}
static void gathered_done(struct gathered *g) {
    history_done(&g->h);
    free(g->journeys);
    free(g->slow);
}

/* ---- GET /v1/slow ---- */
static void jo_word(struct json_out *o, const char *key, const char *v) {
    jo_key(o, key);
    jo_str(o, bytes_str(v));
}

static const char *path_of(const struct journey *j) {
    if (j->what == JOURNEY_DEVICE) return "delivered";
    if (j->what != JOURNEY_RECORD) return "answered";
    if (j->source == UINT16_MAX) return "stored";
    return j->devices ? "delivered" : "mailbox"; /* nobody was there to have it */
}

static void slow_names(struct json_out *o, const struct journey *j, const char *app) {
    static const char *const KEYS[][2] = {[JOURNEY_RECORD] = {"conversation", "id"},
        [JOURNEY_REQUEST] = {NULL, "route"},
        [JOURNEY_CONNECT] = {"user", "device"},
        [JOURNEY_DEVICE] = {"user", "device"}};
    jo_key(o, "app");
    if (!j->app[0] || (app && strcmp(app, j->app) != 0)) return jo_null(o);
    jo_str(o, bytes_str(j->app));
    if (KEYS[j->what][0] && j->conversation[0]) jo_word(o, KEYS[j->what][0], j->conversation);
    if (j->item[0]) jo_word(o, KEYS[j->what][1], j->item);
}

static void slow_cause(
    struct json_out *o, const struct gathered *g, const struct diagnosis *x, const char *app) {
    struct buf words = {0};
    diagnosis_words(&g->h, x, app, &words);
    jo_key(o, "cause");
    jo_open_obj(o);
    jo_word(o, "code", cause_name(x->cause));
    jo_key(o, "words");
    jo_str(o, buf_view(&words));
    buf_reset(&words);
    diagnosis_evidence(&g->h, x, app, &words);
    jo_key(o, "evidence");
    jo_raw(o, buf_view(&words));
    jo_word(o, "do", cause_help(x->cause));
    jo_close_obj(o);
    buf_done(&words);
}

static uint32_t waited_for(const struct gathered *g, uint64_t evidence) {
    uint32_t n = 0;
    for (size_t i = 0; evidence && i < g->count; i++) n += g->slow[i].evidence == evidence;
    return n;
}

static const char *what_of(const struct journey *j) {
    static const char *const WHAT[] = {"message", "request", "connect", "device"};
    return WHAT[j->what];
}

static void slow_item(struct json_out *o, const struct doctor *d, const struct gathered *g,
    const struct slow *s, const char *app) {
    const struct journey *j = s->journey;
    const struct known *known = known_find(d, s->key);
    struct diagnosis x;
    if (known) x = known->diagnosis;
    else diagnose(&g->h, j, s->source, &x);
    x.waited = waited_for(g, evidence_key(&x));
    jo_open_obj(o);
    jo_key(o, "at");
    jo_time(o, x.began_ns / MS + g->h.wall_minus_mono_ms);
    jo_word(o, "what", what_of(j));
    slow_names(o, j, app);
    json_ms(o, "took_ms", s->took_ns);
    jo_word(o, "path", path_of(j));
    jo_key(o, "stages");
    jo_open_arr(o);
    for (enum spent k = 0; k < SPENT_COUNT; k++) {
        if (x.spent_ns[k] <= 0) continue;
        jo_open_obj(o);
        jo_word(o, "stage", spent_name(k));
        json_ms(o, "ms", x.spent_ns[k]);
        jo_close_obj(o);
    }
    jo_close_arr(o);
    slow_cause(o, g, &x, app);
    jo_close_obj(o);
}

/* Most frequent first. */
static size_t causes_order(const struct gathered *g, enum cause out[static CAUSE_COUNT]) {
    size_t n = 0;
    for (enum cause c = 0; c < CAUSE_COUNT; c++) {
        if (!g->causes[c]) continue;
        size_t at = n++;
        for (; at && g->causes[out[at - 1]] < g->causes[c]; at--) out[at] = out[at - 1];
        out[at] = c;
    }
    return n;
}
static const struct slow *slowest_by(const struct gathered *g, enum cause c) {
    for (size_t i = 0; i < g->count; i++)
        if (g->slow[i].cause == c) return &g->slow[i];
    return NULL;
}
/* With the slowest of each, where d is given: it may not be among the slowest of all. */
static void causes_json(
    struct json_out *o, const struct doctor *d, const struct gathered *g, const char *app) {
    enum cause order[CAUSE_COUNT];
    size_t n = causes_order(g, order);
    jo_key(o, "causes");
    jo_open_arr(o);
    for (size_t i = 0; i < n; i++) {
        jo_open_obj(o);
        jo_word(o, "code", cause_name(order[i]));
        jo_key(o, "count");
        jo_u64(o, g->causes[order[i]]);
        jo_word(o, "words", cause_words(order[i]));
        const struct slow *slowest = d ? slowest_by(g, order[i]) : NULL;
        if (slowest) {
            jo_key(o, "slowest");
            slow_item(o, d, g, slowest, app);
        }
        jo_close_obj(o);
    }
    jo_close_arr(o);
}

/* The server may be younger than what is looked back to. */
static int64_t since_ms(const struct gathered *g, const struct doctor_facts *f) {
    int64_t from = g->from_ns / MS + g->h.wall_minus_mono_ms;
    return f->started_wall_ms > from ? f->started_wall_ms : from;
}

/* ---- a line about it ---- */
static void told_fill(const struct doctor *d, const struct gathered *g, const struct slow *s,
    struct doctor_told *out) {
    const struct known *known = known_find(d, s->key);
    struct diagnosis x;
    struct buf words = {0};
    if (known) x = known->diagnosis;
    else diagnose(&g->h, s->journey, s->source, &x);
    x.waited = waited_for(g, evidence_key(&x));
    diagnosis_words(&g->h, &x, "", &words);
    *out = (struct doctor_told){.what = what_of(s->journey),
        .path = path_of(s->journey),
        .cause = cause_name(x.cause),
        .took_ns = s->took_ns};
    snprintf(out->words, sizeof out->words, "%.*s", (int)words.n, (const char *)words.p);
    journey_trace_id(s->journey, out->trace);
    buf_done(&words);
}

/* Is a ring written so fast that it has to be read now? */
static bool rings_are_fast(struct doctor *d) {
    bool fast = false;
    for (size_t i = 0; i < d->sources.ring_count; i++) {
        uint64_t count = __atomic_load_n(&d->sources.rings[i]->count, __ATOMIC_ACQUIRE);
        fast |= count - d->ring_counts[i] > FAST_EVENTS;
        d->ring_counts[i] = count;
    }
    return fast;
}

/* Not yet, when most of what may explain it was written; or once more, as little explained it. */
static bool wants_judging(
    const struct known *k, const struct gathered *g, const struct slow *s, bool fast) {
    int64_t end = ended(s->journey);
    if (!k) return fast || g->now_ns - end > WRITTEN_NS;
    bool badly = k->diagnosis.cause == CAUSE_unknown ||
                 k->diagnosis.explained_ns < s->took_ns / 100 * BADLY_PERCENT;
    return badly && g->now_ns - end > SETTLED_NS && k->judged_ns - end <= SETTLED_NS;
}

/* Whose turn it is, first in g->slow; gives how many. *from: the earliest that matters to them. */
static size_t judged_first(struct doctor *d, struct gathered *g, int64_t *from_ns, int64_t *to_ns) {
    bool fast = rings_are_fast(d);
    size_t n = 0;
    *from_ns = INT64_MAX;
    *to_ns = 0;
    for (size_t i = 0; i < g->count; i++) {
        struct slow s = g->slow[i];
        int64_t end = ended(s.journey), began = end - s.took_ns;
        if (!wants_judging(known_find(d, s.key), g, &s, fast)) continue;
        if (began < *from_ns) *from_ns = began;
        if (end > *to_ns) *to_ns = end;
        g->slow[i] = g->slow[n];
        g->slow[n++] = s;
    }
    return n;
}

/* For few: they need no order. */
static const struct journey *source_of(const struct gathered *g, const struct journey *j) {
    bool relay = j->what == JOURNEY_RECORD && j->source != UINT16_MAX;
    for (const struct journey *s = g->journeys; relay && s < g->journeys + g->count; s++)
        if (s->position == j->source_position && s->partition == j->source &&
            s->what == JOURNEY_RECORD)
            return s;
    return NULL;
}

/* What touches the time and lasted beyond what was read around it was so long for a reason that may
 * lie there. */
static bool widen(const struct history *h, int64_t *from_ns, int64_t *to_ns) {
    int64_t from = *from_ns, to = *to_ns;
    for (size_t i = 0; i < h->count; i++) {
        const struct event *e = &h->events[i];
        int64_t end = e->start_ns + e->duration_ns;
        bool whole = e->kind == EVENT_turn || e->kind == EVENT_commit || e->kind == EVENT_lock;
        if (!whole || e->start_ns > *to_ns || end < *from_ns) continue;
        if (e->start_ns < from) from = e->start_ns;
        if (end > to) to = end;
    }
    bool wider = from < *from_ns - SPARE_NS || to > *to_ns + SPARE_NS;
    *from_ns = from;
    *to_ns = to;
    return wider;
}

static void judge_fresh(struct doctor *d, struct gathered *g) {
    int64_t from, to;
    size_t n = judged_first(d, g, &from, &to);
    if (n) {
        events_gather(d, g, from - NEAR_NS, to + NEAR_NS);
        if (widen(&g->h, &from, &to)) {
            history_done(&g->h);
            events_gather(d, g, from - NEAR_NS, to + NEAR_NS);
        }
    }
    for (size_t i = 0; i < n; i++) {
        g->slow[i].source = source_of(g, g->slow[i].journey);
        (void)judge(d, g, &g->slow[i], known_find(d, g->slow[i].key));
    }
}

/* Of those that ended in that time. */
static const struct slow *slowest_of(
    const struct gathered *g, int64_t after_ns, int64_t until_ns, size_t *count) {
    const struct slow *most = NULL;
    for (size_t i = 0; i < g->count; i++) {
        int64_t end = ended(g->slow[i].journey);
        if (end <= after_ns || end > until_ns) continue;
        ++*count;
        if (!most || slowest_first(&g->slow[i], most) < 0) most = &g->slow[i];
    }
    return most;
}

/* What each is known to have waited for. */
static void evidence_set(const struct doctor *d, struct gathered *g) {
    for (size_t i = 0; i < g->count; i++) {
        const struct known *k = known_find(d, g->slow[i].key);
        g->slow[i].evidence = k ? evidence_key(&k->diagnosis) : 0;
    }
}

bool doctor_look(struct doctor *d, struct doctor_told *out) {
    struct gathered g;
    size_t count = 0;
    pthread_mutex_lock(&d->lock);
    gather_begin(d, 0, &g);
    int64_t after_ns = d->told_ns, until_ns = g.now_ns - SETTLED_NS;
    g.from_ns = after_ns - BESIDE_NS;
    journeys_gather(d, &g);
    judge_fresh(d, &g);
    const struct slow *most = slowest_of(&g, after_ns, until_ns, &count);
    if (most) {
        evidence_set(d, &g);
        told_fill(d, &g, most, out);
    }
    d->told_ns = until_ns;
    gathered_done(&g);
    pthread_mutex_unlock(&d->lock);
    if (count) out->count = count;
    return count != 0;
}

void doctor_slow_json(struct doctor *d, const struct doctor_facts *f, const char *app, size_t limit,
    struct buf *out) {
    struct json_out o = {out, false};
    struct gathered g;
    pthread_mutex_lock(&d->lock);
    gather(d, f, &g);
    jo_open_obj(&o);
    jo_key(&o, "items");
    jo_open_arr(&o);
    for (size_t i = 0; i < g.count && i < limit; i++) slow_item(&o, d, &g, &g.slow[i], app);
    jo_close_arr(&o);
    causes_json(&o, d, &g, app);
    jo_key(&o, "slow");
    jo_u64(&o, slow_lately(d, &g));
    jo_key(&o, "done");
    jo_u64(&o, done_lately(d));
    jo_key(&o, "since");
    jo_time(&o, since_ms(&g, f));
    jo_close_obj(&o);
    gathered_done(&g);
    pthread_mutex_unlock(&d->lock);
}

/* ---- GET /v1/doctor ---- */
struct seen { /* of one kind of events */
    uint32_t count;
    int64_t total_ns, worst_ns;
    const struct event *worst;
};
static struct seen seen_of(const struct gathered *g, uint32_t kind, int64_t least_ns) {
    struct seen s = {0};
    for (size_t i = 0; i < g->h.count; i++) {
        const struct event *e = &g->h.events[i];
        int64_t ns = kind == EVENT_run_delay ? e->a : e->duration_ns;
        if (e->kind != kind || ns < least_ns) continue;
        s.count++;
        s.total_ns += ns;
        if (!s.worst || ns > s.worst_ns) s.worst = e, s.worst_ns = ns;
    }
    return s;
}

static void evidence_of(struct check *k, const struct gathered *g, const struct seen *s) {
    struct json_out o = {&k->evidence, false};
    jo_open_obj(&o);
    jo_key(&o, "events");
    jo_u64(&o, s->count);
    json_ms(&o, "total_ms", s->total_ns);
    json_ms(&o, "worst_ms", s->worst_ns);
    if (s->worst) {
        jo_key(&o, "worst_at");
        jo_time(&o, s->worst->start_ns / MS + g->h.wall_minus_mono_ms);
    }
    jo_close_obj(&o);
}

/* What took long, how often, and from which sum on within ten minutes it is a warning: less is what
 * any machine does now and then, at the start above all. */
static void check_events(const struct gathered *g, struct checks *c) {
    static const struct {
        const char *name;
        uint32_t kind;
        int64_t least_ns, warn_ns;
        uint32_t warn_count;
        enum cause cause;
        const char *words;
    } ASKED[] = {{"log-disk", EVENT_commit, 20 * MS, 1 * SECOND, 3, CAUSE_disk_sync,
                     "commits of the log of 20 ms and more"},
        {"core-waits", EVENT_run_delay, 5 * MS, 10 * SECOND, 50, CAUSE_cpu_taken,
            "times that a thread waited for a core for 5 ms and more"},
        {"stops", EVENT_stopped, 20 * MS, 1 * SECOND, 2, CAUSE_stopped,
            "times that the whole process stood still"},
        {"tables", EVENT_held_back, MS, 2 * SECOND, 1, CAUSE_tables_stall,
            "times that senders waited until the tables had taken what was in memory"},
        {"locks", EVENT_lock, 5 * MS, 1 * SECOND, 3, CAUSE_lock,
            "times that a lock was waited for, 5 ms and more"},
        {"handshakes", EVENT_handshakes, 5 * MS, 10 * SECOND, 100, CAUSE_handshake_storm,
            "turns filled with TLS handshakes"},
        {"fan-out", EVENT_fanout, 20 * MS, 10 * SECOND, 20, CAUSE_fan_out,
            "messages to so many devices that it took 20 ms and more"},
        {"other-shards", EVENT_crowded, 5 * MS, 2 * SECOND, 3, CAUSE_shard_busy,
            "times that a shard did not take what was sent to it"}};
    for (size_t i = 0; i < sizeof ASKED / sizeof *ASKED; i++) {
        struct seen s = seen_of(g, ASKED[i].kind, ASKED[i].least_ns);
        struct buf total = {0};
        words_ms(&total, s.total_ns);
        bool warn = s.total_ns >= ASKED[i].warn_ns && s.count >= ASKED[i].warn_count;
        struct check *k = check_say(c, ASKED[i].name, warn ? CHECK_WARNING : CHECK_OK,
            cause_help(ASKED[i].cause), "%s: %u", ASKED[i].words, s.count);
        if (s.count) buf_fmt(&k->words, ", %.*s together", (int)total.n, (char *)total.p);
        evidence_of(k, g, &s);
        buf_done(&total);
    }
}

/* Who was the worst, where the app may be told. */
static void reader_words(const struct event *e, const char *app, struct buf *b) {
    if (!e || !e->names[1][0] || (app && strcmp(app, e->names[0]) != 0)) return;
    struct buf took = {0};
    words_ms(&took, e->duration_ns);
    buf_fmt(b, ", for longest (%.*s) the device %s of the user %s, app %s", (int)took.n,
        (char *)took.p, e->names[2], e->names[1], e->names[0]);
    buf_done(&took);
}

static void check_clients(const struct gathered *g, const char *app, struct checks *c) {
    enum { READERS_MANY = 100 };
    struct seen r = seen_of(g, EVENT_reader, 0), j = seen_of(g, EVENT_clock, 0);
    struct check *k = check_say(c, "readers", r.count > READERS_MANY ? CHECK_WARNING : CHECK_OK,
        cause_help(CAUSE_slow_reader), "times that a device took nothing for 100 ms and more: %u",
        r.count);
    reader_words(r.worst, app, &k->words);
    evidence_of(k, g, &r);
    repeats_check(&g->h, app, c);
    k = check_say(c, "clock-jumps", j.count ? CHECK_WARNING : CHECK_OK,
        cause_help(CAUSE_clock_jump), "jumps of the wall clock: %u", j.count);
    if (j.worst) buf_fmt(&k->words, ", one of them by %+lld ms", (long long)j.worst->a);
    evidence_of(k, g, &j);
}

/* In how many seconds there were slow ones: a hiccup is one, or two. */
static unsigned seconds_slow(const struct gathered *g) {
    enum { MOST = LOOK_BACK_NS / SECOND + 1 };
    bool had[MOST] = {false};
    unsigned n = 0;
    for (size_t i = 0; i < g->count; i++) {
        int64_t s = (ended(g->slow[i].journey) - g->from_ns) / SECOND;
        if (s < 0 || s >= MOST || had[s]) continue;
        had[s] = true;
        n++;
    }
    return n;
}

static void check_slow(const struct doctor *d, const struct gathered *g, struct checks *c) {
    enum { FEW = 20, MANY = 200, SECONDS = 3 };
    enum cause order[CAUSE_COUNT];
    if (!d->sources.shards) {
        check_say(c, "slow-requests", CHECK_OK, NULL,
            "how many records and requests were slow is not known: --journeys is off");
        return;
    }
    size_t n = causes_order(g, order);
    uint64_t done = done_lately(d), slow = slow_lately(d, g);
    unsigned seconds = seconds_slow(g);
    double percent = done ? 100.0 * (double)slow / (double)done : 0;
    enum check_status s = slow >= MANY && percent > 20 && seconds >= SECONDS  ? CHECK_CRITICAL
                          : slow >= FEW && percent >= 1 && seconds >= SECONDS ? CHECK_WARNING
                                                                              : CHECK_OK;
    struct check *k = check_say(c, "slow-requests", s, n ? cause_help(order[0]) : NULL,
        "%llu of %llu records and requests were slow (20 ms and more)", (unsigned long long)slow,
        (unsigned long long)done);
    if (n)
        buf_fmt(&k->words, "; most of them (%u) as %s", g->causes[order[0]], cause_words(order[0]));
    buf_fmt(&k->evidence, "{\"slow\":%llu,\"done\":%llu,\"percent\":%.3f}",
        (unsigned long long)slow, (unsigned long long)done, percent);
}

/* What matters while it serves. The rest, whoever calls kith doctor is told. */
static struct machine machine_now(const struct doctor_facts *f) {
    struct machine m;
    machine_unknown(&m);
    memcpy(m.kernel, f->machine->kernel, sizeof m.kernel);
    m.landlock = 2; /* it was said at the start */
    m.cores = f->machine->cores;
    m.memory_bytes = f->machine->memory_bytes;
    m.descriptors = f->machine->descriptors;
    m.disk_bytes = f->machine->disk_bytes;
    m.disk_free_bytes = f->disk_free_bytes;
    return m;
}

static void check_room(const struct doctor_facts *f, struct checks *c) {
    uint64_t most = f->connections_max ? f->connections_max : 1;
    double percent = 100.0 * (double)f->connections / (double)most;
    struct check *k = check_say(c, "connections", percent >= 90 ? CHECK_WARNING : CHECK_OK,
        "Raise the limit of open files (LimitNOFILE=) and --connections-max, or use one more "
        "server.",
        "%llu of %llu connections are open", (unsigned long long)f->connections,
        (unsigned long long)most);
    buf_fmt(&k->evidence, "{\"open\":%llu,\"most\":%llu}", (unsigned long long)f->connections,
        (unsigned long long)most);
    if (f->disk_full)
        check_say(c, "disk-full", CHECK_CRITICAL,
            "Free space on the data folder's disk; kith goes on by itself then.",
            "the disk is full: writes are refused");
    struct machine m = machine_now(f);
    struct settings settings = *f->settings;
    settings.open_plain &= settings.proxy_protocol; /* how it is reached is no illness */
    settings.journeys_off = false;                  /* nor is what was not wanted: check_slow */
    machine_check(&m, &settings, c);
    settings_check(&m, &settings, c);
}

static void doctor_words(const struct checks *c, struct buf *out) {
    static const char *const FIRST[] = {
        "All is well.", "It works, and something needs a look: ", "Something is wrong: "};
    enum check_status worst = checks_worst(c);
    bool more = false;
    buf_str(out, FIRST[worst]);
    for (size_t i = 0; worst != CHECK_OK && i < c->count; i++) {
        if (c->items[i].status != worst) continue;
        if (more) buf_str(out, "; ");
        buf_bytes(out, buf_view(&c->items[i].words));
        more = true;
    }
    if (more) buf_char(out, '.');
}

void doctor_json(struct doctor *d, const struct doctor_facts *f, const char *app, struct buf *out) {
    struct json_out o = {out, false};
    struct checks *c = must_alloc(sizeof *c);
    struct buf words = {0};
    struct gathered g;
    pthread_mutex_lock(&d->lock);
    gather(d, f, &g);
    check_slow(d, &g, c);
    check_events(&g, c);
    check_clients(&g, app, c);
    check_room(f, c);
    doctor_words(c, &words);
    jo_open_obj(&o);
    jo_word(&o, "status", check_status_name(checks_worst(c)));
    jo_key(&o, "words");
    jo_str(&o, buf_view(&words));
    buf_reset(&words);
    checks_json(c, &words);
    jo_key(&o, "checks");
    jo_raw(&o, buf_view(&words));
    causes_json(&o, NULL, &g, NULL);
    jo_key(&o, "since");
    jo_time(&o, since_ms(&g, f));
    jo_close_obj(&o);
    buf_done(&words);
    checks_done(c);
    free(c);
    gathered_done(&g);
    pthread_mutex_unlock(&d->lock);
}
