/* doctor: the first cause of a slow journey. Long turns and commits are judged once, by what
 * happened within them; then each stage of a journey is laid over them and over what else kept its
 * threads from running, and the cause that covers most is named.
 * SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>
#include <string.h>

#include "doctor/doctor.h"

#define MS 1000000ll
#define EXPLAINS_PERCENT 30     /* of the journey, at least, or the cause is unknown */
#define AFTERMATH_NS (500 * MS) /* acknowledgements of a large fan-out come so long after it */
#define BULK_BYTES (4 << 20)    /* of one commit: the disk may take its time */
#define BULK_PER_S (64 << 20)
#define HANDSHAKES_SHARE 30 /* percent of a turn */
#define FAN_OUT_WIDE 1000   /* devices */
#define QUEUE_LONG 256      /* records of one conversation, near a turn that does not say so */

const char *cause_name(enum cause c) {
    static const char *const NAMES[] = {
#define X(name, words, help) #name,
        CAUSES(X)
#undef X
    };
    return NAMES[c];
}
const char *cause_words(enum cause c) {
    static const char *const WORDS[] = {
#define X(name, words, help) words,
        CAUSES(X)
#undef X
    };
    return WORDS[c];
}
const char *cause_help(enum cause c) {
    static const char *const HELP[] = {
#define X(name, words, help) help,
        CAUSES(X)
#undef X
    };
    return HELP[c];
}
const char *spent_name(enum spent s) {
    static const char *const NAMES[] = {
#define X(name, words) #name,
        SPENTS(X)
#undef X
    };
    return NAMES[s];
}
const char *spent_words(enum spent s) {
    static const char *const WORDS[] = {
#define X(name, words) words,
        SPENTS(X)
#undef X
    };
    return WORDS[s];
}

/* ---- intervals ---- */
struct window {
    int64_t from, to;
};
static int64_t overlap(const struct event *e, struct window w) {
    int64_t from = e->start_ns > w.from ? e->start_ns : w.from, end = e->start_ns + e->duration_ns,
            to = end < w.to ? end : w.to;
    return to > from ? to - from : 0;
}
static int64_t window_ns(struct window w) { return w.to - w.from; }
static struct window window_of(const struct event *e) {
    return (struct window){e->start_ns, e->start_ns + e->duration_ns};
}

static bool touches(const struct event *e, struct window w) {
    return e->start_ns <= w.to && e->start_ns + e->duration_ns >= w.from;
}

/* Calls fn for each event that touches the window. */
typedef void touch_fn(void *arg, size_t i);
static size_t first_reaching(const struct history *h, int64_t from_ns) {
    size_t low = 0, high = h->count;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (h->reach[middle] < from_ns) low = middle + 1;
        else high = middle;
    }
    return low;
}
static void touching(const struct history *h, struct window w, touch_fn *fn, void *arg) {
    for (size_t k = 0; k < h->lasting_count; k++)
        if (touches(&h->events[h->lasting[k]], w)) fn(arg, h->lasting[k]);
    for (size_t i = first_reaching(h, w.from); i < h->count && h->events[i].start_ns <= w.to; i++)
        if (h->events[i].duration_ns <= HISTORY_SHORT_NS && touches(&h->events[i], w)) fn(arg, i);
}

struct touched {
    uint32_t *at;
    size_t count;
};
static void touched_add(void *arg, size_t i) {
    struct touched *t = arg;
    t->at[t->count++] = (uint32_t)i;
}

/* The same, of the seldom ones only. */
static bool is_seldom(const struct event *e) {
    return e->kind == EVENT_retries || e->kind == EVENT_fanout || e->kind == EVENT_queue ||
           e->kind == EVENT_clock || e->kind == EVENT_crowded;
}
static void touching_seldom(const struct history *h, struct window w, touch_fn *fn, void *arg) {
    size_t low = 0, high = h->seldom_count;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (h->reach[h->seldom[middle]] < w.from) low = middle + 1;
        else high = middle;
    }
    for (size_t k = 0; k < h->lasting_count; k++) {
        const struct event *e = &h->events[h->lasting[k]];
        if (is_seldom(e) && touches(e, w)) fn(arg, h->lasting[k]);
    }
    for (; low < h->seldom_count; low++) {
        const struct event *e = &h->events[h->seldom[low]];
        if (e->start_ns > w.to) return;
        if (e->duration_ns <= HISTORY_SHORT_NS && touches(e, w)) fn(arg, h->seldom[low]);
    }
}

/* How long of the window the thread waited for a core. The event says how long in all, not when:
 * where that is half of its time and more it may all lie here; where it is little, most of it lies
 * elsewhere. */
static int64_t delayed(const struct event *e, struct window w) {
    int64_t part = overlap(e, w), all = e->a < e->duration_ns ? e->a : e->duration_ns;
    int64_t most = part < all ? part : all;
    if (e->duration_ns <= 0 || all <= 0) return 0;
    double share = 2.0 * (double)all / (double)e->duration_ns;
    return share >= 1 ? most : (int64_t)((double)most * share);
}

/* ---- a turn, a commit: what made it long ---- */
struct judging {
    const struct history *h;
    size_t of;
    struct window window;
    int64_t ns[CAUSE_COUNT], best[CAUSE_COUNT];
    uint32_t why[CAUSE_COUNT];
};
static void blame(struct judging *j, enum cause c, size_t i, int64_t ns) {
    if (ns <= 0) return;
    j->ns[c] += ns;
    if (ns <= j->best[c]) return;
    j->best[c] = ns;
    j->why[c] = (uint32_t)i;
}

/* A wait for a lock, a handshake, lasts longer when the core is gone meanwhile: what was told twice
 * is taken from them. */
static void twice_told(struct judging *j) {
    int64_t sum = 0, had = window_ns(j->window);
    for (int c = 0; c < CAUSE_COUNT; c++) sum += j->ns[c];
    static const enum cause SOFT[] = {CAUSE_handshake_storm, CAUSE_lock};
    for (int i = 0; i < 2 && sum > had; i++) {
        int64_t less = sum - had < j->ns[SOFT[i]] ? sum - had : j->ns[SOFT[i]];
        j->ns[SOFT[i]] -= less;
        sum -= less;
    }
}

static bool same_thread(const struct judging *j, const struct event *e) {
    return e->thread == j->h->events[j->of].thread;
}

static void part_weigh(void *arg, size_t i) {
    struct judging *j = arg;
    const struct event *e = &j->h->events[i];
    if (e->kind == EVENT_stopped) return blame(j, CAUSE_stopped, i, overlap(e, j->window));
    if (!same_thread(j, e)) return;
    switch (e->kind) {
    case EVENT_run_delay: blame(j, CAUSE_cpu_taken, i, delayed(e, j->window)); break;
    case EVENT_lock: blame(j, CAUSE_lock, i, overlap(e, j->window)); break;
    case EVENT_handshakes: blame(j, CAUSE_handshake_storm, i, e->b); break;
    default: break;
    }
}

static int64_t explained(const struct judging *j) {
    int64_t sum = 0;
    for (int c = 0; c < CAUSE_COUNT; c++) sum += j->ns[c];
    return sum;
}

static enum cause most_of(const int64_t ns[static CAUSE_COUNT]) {
    enum cause most = CAUSE_unknown;
    for (enum cause c = 0; c < CAUSE_unknown; c++)
        if (ns[c] > ns[most]) most = c;
    return most;
}

/* What a turn did that nothing within it explains by its own time: much for one conversation, what
 * a large fan-out leaves behind it, what one client sends again and again. Each is told by the turn
 * that applied it; the turns that read it before, and took its acknowledgements after, belong to it.
 */
struct work {
    const struct history *h;
    const struct event *turn;
    struct window near;
    size_t queue, fanout, retries; /* index + 1 */
    int64_t queued;                /* records of the same conversation or partition as `queue` */
    int64_t queued_all;            /* and of all such */
    bool queued_here;              /* in the turn itself */
};
static bool same_queue(const struct event *a, const struct event *b) {
    if (a->names[1][0] || b->names[1][0])
        return strcmp(a->names[0], b->names[0]) == 0 && strcmp(a->names[1], b->names[1]) == 0;
    return a->b == b->b;
}
static void work_see(void *arg, size_t i) {
    struct work *w = arg;
    const struct event *e = &w->h->events[i];
    if (e->kind == EVENT_retries) w->retries = i + 1;
    if (e->thread != w->turn->thread) return;
    if (e->kind == EVENT_fanout && overlap(e, w->near) &&
        (!w->fanout || e->a > w->h->events[w->fanout - 1].a))
        w->fanout = i + 1;
    if (e->kind == EVENT_queue && (!w->queue || e->a > w->h->events[w->queue - 1].a))
        w->queue = i + 1;
}
static void queue_sum(void *arg, size_t i) {
    struct work *w = arg;
    const struct event *e = &w->h->events[i];
    if (e->kind != EVENT_queue || e->thread != w->turn->thread) return;
    w->queued_all += e->a;
    if (!same_queue(e, &w->h->events[w->queue - 1])) return;
    w->queued += e->a;
    w->queued_here |= overlap(e, window_of(w->turn)) > 0;
}
static enum cause work_cause(const struct history *h, size_t of, uint32_t *why) {
    struct work w = {.h = h, .turn = &h->events[of], .near = window_of(&h->events[of])};
    struct window wide = {w.near.from - AFTERMATH_NS, w.near.to + AFTERMATH_NS};
    w.near.from -= AFTERMATH_NS;
    touching_seldom(h, wide, work_see, &w);
    if (w.queue) touching_seldom(h, wide, queue_sum, &w);
    /* one after the other hot is a machine that is full */
    if ((w.queued < QUEUE_LONG && !w.queued_here) || w.queued * 2 <= w.queued_all) w.queue = 0;
    /* a queue of messages to a group is both: the message that goes to very many is dearer */
    bool reaches_many = w.fanout && (!w.queue || h->events[w.fanout - 1].a >= FAN_OUT_WIDE);
    size_t found = w.retries ? w.retries : reaches_many ? w.fanout : w.queue;
    *why = (uint32_t)(found ? found - 1 : of);
    if (w.retries) return CAUSE_client_retries;
    if (reaches_many) return CAUSE_fan_out;
    return w.queue ? CAUSE_hot_conversation : CAUSE_load;
}

static enum cause rest_cause(const struct history *h, size_t of, uint32_t *why) {
    const struct event *e = &h->events[of];
    *why = (uint32_t)of;
    if (e->kind == EVENT_turn) return work_cause(h, of, why);
    if (e->kind != EVENT_commit) return CAUSE_tables_stall;
    bool bulk = e->a > BULK_BYTES && e->duration_ns > 0 &&
                (double)e->a / ((double)e->duration_ns / 1e9) > BULK_PER_S;
    return bulk ? CAUSE_load : CAUSE_disk_sync;
}

static struct judged judged_of(const struct history *h, size_t i);

static struct judged judge_new(const struct history *h, size_t of) {
    struct judging j = {.h = h, .of = of, .window = window_of(&h->events[of])};
    uint32_t why;
    touching(h, j.window, part_weigh, &j);
    twice_told(&j);
    /* more shows in handshakes than the time in them: each is read and written too */
    if (j.ns[CAUSE_handshake_storm] * 100 < h->events[of].duration_ns * HANDSHAKES_SHARE)
        j.ns[CAUSE_handshake_storm] = 0;
    int64_t rest = h->events[of].duration_ns - explained(&j);
    enum cause c = rest_cause(h, of, &why);
    if (rest > 0) {
        j.ns[c] += rest;
        if (!j.best[c]) j.why[c] = why;
    }
    c = most_of(j.ns);
    return (struct judged){(uint8_t)c, c == CAUSE_unknown ? (uint32_t)of : j.why[c]};
}

/* A lock that was waited for as its holder wrote to the disk, or had no core: that is to blame. */
struct holder {
    const struct history *h;
    const struct event *lock;
    int64_t most;
    struct judged found;
};
static void holder_see(void *arg, size_t i) {
    struct holder *x = arg;
    const struct event *e = &x->h->events[i];
    bool log = x->lock->a == LOCK_LOG && e->thread == THREAD_LOG && e->kind == EVENT_commit,
         tables = x->lock->a == LOCK_TABLES && e->thread == THREAD_TABLES &&
                  (e->kind == EVENT_table_write || e->kind == EVENT_table_sync);
    bool cpu =
        e->kind == EVENT_run_delay && (e->thread == THREAD_TABLES   ? x->lock->a == LOCK_TABLES
                                          : e->thread == THREAD_LOG ? x->lock->a == LOCK_LOG
                                                                    : x->lock->a != LOCK_TABLES);
    int64_t ns = cpu ? delayed(e, window_of(x->lock)) : overlap(e, window_of(x->lock));
    if ((!log && !tables && !cpu) || ns * 2 < x->lock->duration_ns || ns <= x->most) return;
    if (e->thread == x->lock->thread) return; /* what waits for a lock does not hold it */
    x->most = ns;
    x->found = cpu   ? (struct judged){CAUSE_cpu_taken, (uint32_t)i}
               : log ? judged_of(x->h, i)
                     : (struct judged){CAUSE_tables_stall, (uint32_t)i};
}
static struct judged lock_follow(const struct history *h, struct judged g) {
    struct holder x = {.h = h, .lock = &h->events[g.why], .found = g};
    if (g.cause != CAUSE_lock || x.lock->kind != EVENT_lock) return g;
    touching(h, window_of(x.lock), holder_see, &x);
    return x.found.cause == CAUSE_lock ? g : x.found; /* both waited for a third */
}

#define NOT_JUDGED UINT8_MAX
static struct judged judged_of(const struct history *h, size_t i) {
    struct judged *g = &h->judged[i];
    if (g->cause != NOT_JUDGED) return *g;
    *g = (struct judged){CAUSE_unknown, (uint32_t)i}; /* should it ask for itself */
    return *g = lock_follow(h, judge_new(h, i));
}

static bool is_whole(const struct event *e) { /* contains others */
    return e->kind == EVENT_turn || e->kind == EVENT_commit;
}

/* ---- order: a few runs, each nearly in order, as rings are; merged. What began at the same time stays
 * as it was. */
struct begun {
    int64_t start_ns;
    uint32_t at;
};
static void merge(
    const struct begun *a, size_t n, const struct begun *b, size_t m, struct begun *out) {
    size_t i = 0, k = 0;
    while (i < n && k < m) *out++ = b[k].start_ns < a[i].start_ns ? b[k++] : a[i++];
    while (i < n) *out++ = a[i++];
    while (k < m) *out++ = b[k++];
}

/* Moves each back by a few places, if that is where it belongs; where it is not, a run begins. ends[]:
 * of runs. */
static size_t runs_make(struct begun *all, size_t count, uint32_t *ends) {
    enum { BACK = 16 };
    size_t runs = 0, run = 0;
    for (size_t i = 1; i < count; i++) {
        struct begun x = all[i];
        size_t to = i;
        while (to > run && i - to < BACK && all[to - 1].start_ns > x.start_ns) to--;
        if (to > run && all[to - 1].start_ns > x.start_ns) {
            ends[runs++] = (uint32_t)i;
            run = i;
            continue;
        }
        if (to < i) memmove(&all[to + 1], &all[to], (i - to) * sizeof x);
        all[to] = x;
    }
    ends[runs++] = (uint32_t)count;
    return runs;
}

/* Gives which of the two has them in order. */
static struct begun *order(struct begun *all, struct begun *spare, size_t count, uint32_t *ends) {
    size_t runs = count ? runs_make(all, count, ends) : 0;
    while (runs > 1) {
        size_t from = 0, left = 0;
        for (size_t r = 0; r < runs; r += 2) {
            size_t middle = ends[r], to = r + 1 < runs ? ends[r + 1] : middle;
            merge(all + from, middle - from, all + middle, to - middle, spare + from);
            ends[left++] = (uint32_t)to;
            from = to;
        }
        struct begun *sorted = spare;
        spare = all;
        all = sorted;
        runs = left;
    }
    return all;
}

static struct event *events_order(struct event *events, size_t count, uint32_t *room) {
    struct begun *all = malloc(2 * (count + 1) * sizeof *all);
    struct event *out = malloc((count + 1) * sizeof *out);
    check(all && out);
    for (size_t i = 0; i < count; i++) all[i] = (struct begun){events[i].start_ns, (uint32_t)i};
    const struct begun *sorted = order(all, all + count + 1, count, room);
    for (size_t i = 0; i < count; i++) out[i] = events[sorted[i].at];
    free(all);
    free(events);
    return out;
}

static uint32_t *numbers(size_t count) {
    uint32_t *room = malloc((count + 1) * sizeof *room);
    check(room);
    return room;
}

void history_make(struct history *h, struct event *events, size_t count) {
    h->count = count;
    h->judged = must_alloc((count + 1) * sizeof *h->judged);
    h->reach = must_alloc((count + 1) * sizeof *h->reach);
    h->lasting = numbers(count);
    h->seldom = numbers(count);
    h->touched = numbers(count);
    h->lasting_count = h->seldom_count = 0;
    h->events = events_order(events, count, h->touched);
    int64_t reach = INT64_MIN;
    for (size_t i = 0; i < count; i++) {
        const struct event *e = &h->events[i];
        int64_t end = e->start_ns + e->duration_ns;
        if (is_seldom(e)) h->seldom[h->seldom_count++] = (uint32_t)i;
        if (e->duration_ns > HISTORY_SHORT_NS) h->lasting[h->lasting_count++] = (uint32_t)i;
        else if (end > reach) reach = end;
        h->reach[i] = reach;
        h->judged[i].cause = NOT_JUDGED;
    }
}

void history_done(struct history *h) {
    free(h->events);
    free(h->judged);
    free(h->reach);
    free(h->lasting);
    free(h->seldom);
    free(h->touched);
    h->events = NULL;
    h->judged = NULL;
    h->reach = NULL;
    h->lasting = h->seldom = h->touched = NULL;
    h->count = h->lasting_count = h->seldom_count = 0;
}

/* ---- a journey ---- */
struct stage {
    struct window window;
    uint32_t threads[3]; /* that had to run for it */
    unsigned thread_count;
    bool any_shard; /* it may have come over any */
};
struct weighing {
    const struct history *h;
    const struct journey *journey;
    const struct stage *stage;
    struct judging all;     /* over all stages; h and why of `events` */
    int64_t covered, loose; /* of this stage: by turns and commits; by what is beside them */
    bool others;            /* the second look: at the other shards */
    int64_t jumped_ns;      /* by the wall clock, at most, in all that time */
    uint32_t touched[CAUSE_COUNT];
};

static bool concerns(const struct weighing *w, const struct event *e) {
    const struct stage *s = w->stage;
    bool own = false;
    for (unsigned i = 0; i < s->thread_count; i++) own |= s->threads[i] == e->thread;
    return w->others ? !own && s->any_shard && e->thread < w->h->shards : own;
}

static void whole_weigh(void *arg, size_t i) {
    struct weighing *w = arg;
    const struct event *e = &w->h->events[i];
    if (!is_whole(e) || !concerns(w, e)) return;
    int64_t ns = overlap(e, w->stage->window);
    if (ns <= 0) return;
    struct judged g = judged_of(w->h, i);
    blame(&w->all, (enum cause)g.cause, g.why, ns);
    w->touched[g.cause]++;
    w->covered += ns;
}

/* Beside the turns: the thread did not run, or what was to be read was not looked at. */
static void loose_blame(struct weighing *w, enum cause c, size_t i, int64_t ns) {
    int64_t left = w->stage->window.to - w->stage->window.from - w->covered - w->loose;
    if (ns > left) ns = left;
    if (ns <= 0) return;
    blame(&w->all, c, i, ns);
    w->touched[c]++;
    w->loose += ns;
}

/* What the shard did that another waited for. */
struct busy {
    const struct weighing *w;
    uint32_t shard;
    int64_t most;
    struct judged found;
};
static void busy_see(void *arg, size_t i) {
    struct busy *b = arg;
    const struct event *e = &b->w->h->events[i];
    if (e->thread != b->shard || e->kind != EVENT_turn) return;
    int64_t ns = overlap(e, b->w->stage->window);
    if (ns <= b->most) return;
    b->most = ns;
    b->found = judged_of(b->w->h, i);
}
static void crowd_blame(struct weighing *w, size_t i) {
    const struct event *e = &w->h->events[i];
    struct busy b = {.w = w, .shard = (uint32_t)e->b, .found = {CAUSE_shard_busy, (uint32_t)i}};
    touching(w->h, w->stage->window, busy_see, &b);
    if (b.found.cause == CAUSE_load) b.found = (struct judged){CAUSE_shard_busy, (uint32_t)i};
    loose_blame(w, (enum cause)b.found.cause, b.found.why, overlap(e, w->stage->window));
}

static bool is_of(const struct event *e, const struct journey *j) {
    return strcmp(e->names[0], j->app) == 0 && strcmp(e->names[1], j->conversation) == 0 &&
           strcmp(e->names[2], j->item) == 0;
}

static void loose_weigh(void *arg, size_t i) {
    struct weighing *w = arg;
    const struct event *e = &w->h->events[i];
    int64_t ns = overlap(e, w->stage->window);
    if (e->kind == EVENT_stopped) return loose_blame(w, CAUSE_stopped, i, ns);
    if (e->kind == EVENT_held_back && !w->others) return loose_blame(w, CAUSE_tables_stall, i, ns);
    if (!concerns(w, e)) return;
    if (e->kind == EVENT_run_delay)
        loose_blame(w, CAUSE_cpu_taken, i, delayed(e, w->stage->window));
    if (e->kind == EVENT_crowded) crowd_blame(w, i);
    if (e->kind == EVENT_lock) loose_blame(w, CAUSE_lock, i, ns);
}

/* A device that reads slowly is why its own delivery is late, when the server had no other reason. */
static void reader_weigh(void *arg, size_t i) {
    struct weighing *w = arg;
    const struct event *e = &w->h->events[i];
    const struct journey *j = w->journey;
    if (e->kind != EVENT_reader || e->thread != j->shard) return;
    if (j->what == JOURNEY_DEVICE ? !is_of(e, j) : !j->waiting) return;
    loose_blame(w, CAUSE_slow_reader, i, overlap(e, w->stage->window));
}

static void each(struct weighing *w, touch_fn *fn, const struct touched *t) {
    for (size_t k = 0; k < t->count; k++) fn(w, t->at[k]);
}
static void stage_weigh(struct weighing *w, const struct stage *s, bool last) {
    int64_t took = s->window.to - s->window.from;
    w->stage = s;
    w->covered = w->loose = 0;
    w->others = false;
    struct touched t = {w->h->touched, 0};
    touching(w->h, s->window, touched_add, &t);
    each(w, whole_weigh, &t);
    each(w, loose_weigh, &t);
    if (last) each(w, reader_weigh, &t);
    if (!s->any_shard || (w->covered + w->loose) * 2 > took) return;
    w->others = true;
    each(w, whole_weigh, &t);
    each(w, loose_weigh, &t);
}

/* ---- the stages of a journey ---- */
static struct stage stage_of(int64_t from, int64_t to) {
    return (struct stage){.window = {from, to}};
}
static void needs(struct stage *s, uint32_t thread) {
    for (unsigned i = 0; i < s->thread_count; i++)
        if (s->threads[i] == thread) return;
    s->threads[s->thread_count++] = thread;
}

/* A step that was not taken (yet) ends where it began. */
static int64_t step(int64_t at, int64_t before) { return at > before ? at : before; }

static void record_stages(const struct journey *j, struct stage *s, const enum spent names[4]) {
    int64_t appended = step(j->appended_ns, j->came_ns), durable = step(j->durable_ns, appended),
            applied = step(j->applied_ns, durable), written = step(j->written_ns, applied);
    int64_t at[] = {j->came_ns, appended, durable, applied, written};
    for (int i = 0; i < 4 && names[i] != SPENT_COUNT; i++) {
        struct stage *x = &s[names[i]];
        *x = stage_of(at[i], at[i + 1]);
        if (i == 1) needs(x, THREAD_LOG);
        needs(x, j->shard);
    }
    s[names[0]].any_shard = true;
}

static void stages_cut(const struct journey *j, const struct journey *source, unsigned shards,
    struct stage s[static SPENT_COUNT]) {
    static const enum spent OWN[] = {SPENT_wait, SPENT_durable, SPENT_apply, SPENT_write},
                            FIRST[] = {SPENT_wait, SPENT_durable, SPENT_apply, SPENT_COUNT},
                            RELAY[] = {SPENT_hop, SPENT_hop_durable, SPENT_hop_apply, SPENT_write};
    memset(s, 0, SPENT_COUNT * sizeof *s);
    if (j->what != JOURNEY_RECORD) {
        int64_t done = step(j->applied_ns, j->came_ns);
        s[SPENT_wait] = stage_of(j->came_ns, done);
        s[SPENT_wait].any_shard = j->what != JOURNEY_DEVICE;
        s[SPENT_write] = stage_of(done, step(j->written_ns, done));
        needs(&s[SPENT_wait], j->shard);
        needs(&s[SPENT_write], j->shard);
    } else if (j->source == UINT16_MAX) {
        record_stages(j, s, OWN);
    } else {
        record_stages(j, s, RELAY);
        if (source) {
            record_stages(source, s, FIRST);
            needs(&s[SPENT_hop], source->shard);
        } else {
            s[SPENT_before] = stage_of(j->began_ns, step(j->came_ns, j->began_ns));
            needs(&s[SPENT_before], THREAD_LOG);
            if (shards) needs(&s[SPENT_before], j->source % shards);
            s[SPENT_before].any_shard = true;
        }
    }
}

static void crowd_see(void *arg, size_t i) {
    struct weighing *w = arg;
    const struct event *e = &w->h->events[i];
    if (e->kind != EVENT_crowded || !concerns(w, e)) return;
    w->all.why[CAUSE_shard_busy] = (uint32_t)i;
    w->touched[CAUSE_shard_busy]++;
}

/* Of one shard there was more to do than it does, while another one waited for it. */
static enum cause load_or_busy(struct weighing *w, const struct stage *stages) {
    w->others = false;
    for (const struct stage *s = stages; s < stages + SPENT_COUNT; s++) {
        w->stage = s;
        if (s->thread_count) touching_seldom(w->h, s->window, crowd_see, w);
    }
    return w->touched[CAUSE_shard_busy] ? CAUSE_shard_busy : CAUSE_load;
}

static void jump_see(void *arg, size_t i) {
    struct weighing *w = arg;
    const struct event *e = &w->h->events[i];
    if (e->kind != EVENT_clock) return;
    if (!w->touched[CAUSE_clock_jump]++ || e->a * MS > w->jumped_ns) {
        w->jumped_ns = e->a * MS;
        w->all.why[CAUSE_clock_jump] = (uint32_t)i;
    }
}

/* Nothing covers it: a device that did not take it, a jump of the clock in that time, or unknown. */
static enum cause last_resort(const struct weighing *w) {
    if (w->journey->what == JOURNEY_DEVICE) return CAUSE_slow_reader;
    return w->touched[CAUSE_clock_jump] ? CAUSE_clock_jump : CAUSE_unknown;
}

/* What a device got late is known by the wall clock: most of the time may be the clock's jump. */
static bool clock_did_it(struct weighing *w, const struct diagnosis *d) {
    touching_seldom(w->h, (struct window){d->began_ns, d->began_ns + d->took_ns}, jump_see, w);
    return w->journey->what == JOURNEY_DEVICE && w->jumped_ns * 2 >= d->took_ns && w->jumped_ns > 0;
}

void diagnose(const struct history *h, const struct journey *j, const struct journey *source,
    struct diagnosis *out) {
    struct stage stages[SPENT_COUNT];
    struct weighing w = {.h = h, .journey = j, .all = {.h = h}};
    *out = (struct diagnosis){.began_ns = INT64_MAX};
    int64_t end = 0;
    stages_cut(j, source, h->shards, stages);
    for (enum spent s = 0; s < SPENT_COUNT; s++) {
        int64_t ns = stages[s].window.to - stages[s].window.from;
        out->spent_ns[s] = ns;
        if (ns > out->spent_ns[out->most]) out->most = s;
        if (!stages[s].thread_count) continue;
        if (stages[s].window.from < out->began_ns) out->began_ns = stages[s].window.from;
        if (stages[s].window.to > end) end = stages[s].window.to;
        if (ns > 0) stage_weigh(&w, &stages[s], s == SPENT_write || j->what == JOURNEY_DEVICE);
    }
    out->took_ns = end - out->began_ns;
    bool jumped = clock_did_it(&w, out);
    out->cause = most_of(w.all.ns);
    out->explained_ns = w.all.ns[out->cause];
    if (out->explained_ns * 100 < out->took_ns * EXPLAINS_PERCENT || out->cause == CAUSE_unknown) {
        out->cause = last_resort(&w);
        out->explained_ns = out->cause == CAUSE_slow_reader ? out->took_ns : 0;
    }
    if (jumped) {
        out->cause = CAUSE_clock_jump;
        out->explained_ns = INT64_MAX; /* whatever else there was, is not that long */
    }
    if (out->cause == CAUSE_load) out->cause = load_or_busy(&w, stages);
    out->events = w.touched[out->cause];
    out->has_evidence = out->events && out->cause != CAUSE_unknown;
    if (out->has_evidence) out->evidence = h->events[w.all.why[out->cause]];
}
