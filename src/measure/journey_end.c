/* measure: journeys at a turn's end: their times are recorded, the slow ones and a sample are kept, and
 * what held up many is told of. Records that came and went together have the same times, and are recorded
 * as one run of so many. SPDX-License-Identifier: Apache-2.0 */
#include "measure/journey_in.h"

enum {
    FEW = 2,               /* records of a turn */
    TOLD_PER_S = 400,      /* about, of those that are not looked at */
    TOLD_OF_MAX = 16,      /* at least one of them */
    FANOUT_MIN = 256,      /* devices of one record that are an event */
    FANOUT_NS = 100000000, /* relays of one record within it are one fan-out */
    QUEUE_MIN = 64,        /* records of a turn */
    QUEUE_NS = 5000000,    /* that have waited so long */
};

static void keep(struct kept_ring *r, const struct journey *one) {
    uint64_t n = r->count;
    struct kept_slot *s = &r->slots[n & r->mask];
    slot_write(&s->turn, n, s->words, one, sizeof *one);
    __atomic_store_n(&r->count, n + 1, __ATOMIC_RELEASE);
}

/* From how long on a slow one is kept: all while there is room; then those slower by a quarter than
 * all of this second (in a queue that grows each is a little slower than the one before). */
static void slow_over_set(struct journeys *j) {
    int64_t slowest = j->slowest_ns + j->slowest_ns / 4;
    j->slow_over_ns = j->slow.tokens || slowest < JOURNEY_SLOW_NS ? JOURNEY_SLOW_NS - 1 : slowest;
}

static void told_set(struct journeys *j) {
    uint64_t ended = j->applied - j->refilled_head, each_ns = 1000000000 / TOLD_PER_S,
             took_ns = (uint64_t)(j->now_ns - j->refilled_ns) | 1,
             of = (ended * each_ns + took_ns / 2) / took_ns;
    j->told_of = of < 1 ? 1 : of > TOLD_OF_MAX ? TOLD_OF_MAX : (uint32_t)of;
    j->refilled_head = j->applied;
    j->refilled_ns = j->now_ns;
}

void journeys_refill(struct journeys *j) {
    told_set(j);
    bucket_fill(&j->sample, j->now_ns);
    bucket_fill(&j->places_left, j->now_ns);
    if (j->now_ns - j->slowest_since_ns > 1000000000) {
        j->slowest_since_ns = j->now_ns;
        j->slowest_ns = 0;
    }
    bucket_fill(&j->slow, j->now_ns);
    slow_over_set(j);
}

/* One over slow_over_ns. */
static void slow_keep(struct journeys *j, const struct journey *one, int64_t took) {
    if (j->slow.tokens) j->slow.tokens--;
    if (took > j->slowest_ns) j->slowest_ns = took;
    slow_over_set(j);
    keep(&j->slows, one);
}

/* Clocks of several threads made them: none is before the one before. */
inlined struct times times_of(const struct under_way *u) {
    struct times t = {u->from.made_ns, u->appended_ns, u->durable_ns, u->applied_ns};
    if (!t.came) t.came = t.appended;
    if (t.appended < t.came) t.appended = t.came;
    if (t.durable < t.appended) t.durable = t.appended;
    if (t.applied < t.durable) t.applied = t.durable;
    return t;
}

static void journey_fill(const struct journeys *j, const struct under_way *u, struct journey *out) {
    struct times t = times_of(u);
    *out = (struct journey){.what = JOURNEY_RECORD,
        .position = u->position,
        .source_position = u->from.source_position,
        .partition = u->partition,
        .source = u->source,
        .shard = j->shard,
        .kind = u->kind,
        .began_ns = u->from.began_ns,
        .came_ns = t.came,
        .appended_ns = t.appended,
        .durable_ns = t.durable,
        .applied_ns = t.applied,
        .written_ns = j->now_ns,
        .wall_ms = u->wall_ms,
        .devices = u->devices,
        .waiting = u->waiting};
    if (!u->name) return;
    const struct names *n = &j->named[u->name - 1];
    memcpy(out->app, n->app, sizeof n->app);
    memcpy(out->conversation, n->conversation, sizeof n->conversation);
    memcpy(out->item, n->item, sizeof n->item);
}

static void fanout_tell(struct journeys *j) {
    struct fanout *f = &j->fanout;
    if (f->devices < FANOUT_MIN) return;
    struct event e = {.kind = EVENT_fanout,
        .thread = j->shard,
        .start_ns = f->start_ns,
        .duration_ns = j->now_ns - f->start_ns,
        .a = f->devices};
    event_name_set(&e, 0, bytes_str(f->names.app));
    event_name_set(&e, 1, bytes_str(f->names.conversation));
    event_add(&j->measure->events, &e);
    f->devices = 0;
    f->source_position = UINT64_MAX;
}

/* Relays of one record. */
static void fanout_note(struct journeys *j, const struct under_way *u) {
    struct fanout *f = &j->fanout;
    bool same = f->devices && j->now_ns - f->start_ns < FANOUT_NS && f->source == u->source &&
                f->source_position == u->from.source_position;
    if (!same) {
        f->devices = 0;
        f->start_ns = times_of(u).applied;
        f->source = u->source;
        f->source_position = u->from.source_position;
        f->names.app[0] = f->names.conversation[0] = 0;
    }
    if (u->name && !f->names.app[0]) f->names = j->named[u->name - 1];
    f->devices += u->devices * u->stands_for;
}

/* Whose work it is: a conversation's messages are of its partition, their relays of many others. */
static uint16_t work_of(const struct under_way *u) {
    return u->source == UINT16_MAX ? u->partition : u->source;
}

/* What a turn's records were for. */
struct work {
    const struct under_way *named; /* the last of them with a name; NULL: none */
    uint32_t all, count, relays, records;
    uint16_t partition;
};

/* Which partition most of them could be for, by a vote among some; false: none. */
static bool work_vote(const struct journeys *j, struct work *w) {
    enum { SOME = 64 };
    uint32_t votes = 0, asked = 0, n = j->applied - j->head;
    uint16_t most = 0;
    for (uint32_t i = 0; i < n; i += n / SOME | 1) {
        const struct under_way *u = queue_at(j, j->head + i);
        uint16_t of = work_of(u);
        asked += u->stands_for;
        if (of == most) votes += u->stands_for;
        else if (votes >= u->stands_for) votes -= u->stands_for;
        else {
            most = of;
            votes = u->stands_for - votes;
        }
    }
    w->partition = most;
    return votes > asked / 16; /* more than half leave more than none */
}

static void work_count(const struct journeys *j, struct work *w) {
    uint64_t source = 0; /* of the relay before */
    for (uint32_t i = j->head; i != j->applied; i++) {
        const struct under_way *u = queue_at(j, i);
        w->all += u->stands_for;
        if (work_of(u) != w->partition) continue;
        w->count += u->stands_for;
        if (u->name) w->named = u;
        if (u->source == UINT16_MAX) continue;
        w->relays += u->stands_for;
        w->records += !u->from.source_position || u->from.source_position != source;
        source = u->from.source_position;
    }
}

/* Most of a turn's records relays of few others, of one partition (members that were added, say), or
 * at least for one partition. */
static seldom void queue_look(struct journeys *j) {
    enum { EACH = 64 }; /* relays of one record */
    struct work w = {0};
    const struct under_way *first = queue_at(j, j->head);
    if (j->now_ns - first->durable_ns < QUEUE_NS) return;
    if (!work_vote(j, &w)) return;
    work_count(j, &w);
    bool relays = w.all >= FANOUT_MIN && w.relays > w.all / 2 && w.relays >= w.records * EACH;
    bool hot = w.count >= QUEUE_MIN && w.count >= w.all / 5 * 3;
    if (!relays && !hot) return;
    struct event e = {.kind = relays ? EVENT_fanout : EVENT_queue,
        .thread = j->shard,
        .start_ns = first->durable_ns,
        .duration_ns = j->now_ns - first->durable_ns,
        .a = relays ? w.relays : w.count,
        .b = relays ? 1 : w.partition};
    if (!relays && w.named) {
        event_name_set(&e, 0, bytes_str(j->named[w.named->name - 1].app));
        event_name_set(&e, 1, bytes_str(j->named[w.named->name - 1].conversation));
    }
    event_add(&j->measure->events, &e);
}

/* Not below 0: the log's clock is another. */
inlined void end_time(struct journeys *j, enum measure_stage stage, int64_t from_ns, uint64_t n) {
    uint64_t took = j->now_ns > from_ns ? (uint64_t)(j->now_ns - from_ns) : 0;
    hist_record_times(&j->measure->stages[stage], took, n);
}

/* So many, with the times of one. */
inlined void tell(struct journeys *j, const struct under_way *u, size_t sort, uint64_t n) {
    struct hist *stages = j->measure->stages;
    struct times t = times_of(u);
    hist_record_times(&stages[sort & SORT_OUTSIDE ? TIMED_admit : TIMED_relay],
        (uint64_t)(t.appended - t.came), n);
    hist_record_times(&stages[TIMED_durable], (uint64_t)(t.durable - t.appended), n);
    hist_record_times(&stages[TIMED_apply], (uint64_t)(t.applied - t.durable), n);
    if (!(sort & SORT_AWAITED)) return;
    if (sort & SORT_OUTSIDE) end_time(j, TIMED_accepted, t.came, n);
    if (!(sort & SORT_WRITTEN)) return;
    end_time(j, TIMED_write, t.applied, n);
    end_time(j, TIMED_delivered, u->from.began_ns, n);
}

inlined bool alike(const struct under_way *u, const struct under_way *v) {
    return u->applied_ns == v->applied_ns && u->from.made_ns == v->from.made_ns &&
           u->appended_ns == v->appended_ns && u->durable_ns == v->durable_ns &&
           u->from.began_ns == v->from.began_ns;
}

static void run_tell(struct journeys *j, struct run *r) {
    tell(j, r->first, r->sort, r->count);
    if (r->took_ns >= JOURNEY_SLOW_NS) measure_add(j->measure, COUNTER_slow, r->count);
    r->count = 0;
}

inlined int64_t took_of(const struct journeys *j, const struct under_way *u, size_t sort) {
    if (!(sort & SORT_AWAITED)) return 0;
    return j->now_ns - (sort & SORT_WRITTEN ? u->from.began_ns : u->from.made_ns);
}

static seldom void run_begin(struct journeys *j, struct run *r, const struct under_way *u) {
    if (r->count) run_tell(j, r);
    j->sorts |= 1u << r->sort;
    r->first = u;
    r->took_ns = took_of(j, u, r->sort);
}

static seldom void one_keep(struct journeys *j, const struct under_way *u, int64_t took) {
    struct journey one;
    journey_fill(j, u, &one);
    one.slow = took >= JOURNEY_SLOW_NS;
    if (took > j->slow_over_ns) slow_keep(j, &one, took);
    if (one.item[0]) keep(&j->sampled, &one);
}

inlined size_t sort_of(const struct under_way *u) {
    return (u->source == UINT16_MAX ? SORT_OUTSIDE : 0u) | (u->from.began_ns ? SORT_AWAITED : 0u) |
           (u->devices ? SORT_WRITTEN : 0u);
}

/* A relay to one device begins no fan-out. */
inlined void one_look(struct journeys *j, const struct under_way *u, size_t sort, int64_t took) {
    if ((sort & (SORT_WRITTEN | SORT_OUTSIDE)) == SORT_WRITTEN &&
        (u->devices > 1 || j->fanout.source_position == u->from.source_position))
        fanout_note(j, u);
    if (u->from.kept || took > j->slow_over_ns) one_keep(j, u, took);
}

/* It may be slow, kept, or of a fan-out. What nobody waits for is not slow. */
inlined bool looked_at(const struct journeys *j, const struct under_way *u) {
    return u->from.kept || (j->now_ns - u->from.began_ns >= JOURNEY_SLOW_NS && u->from.began_ns) ||
           u->devices > 1 || j->fanout.source_position == u->from.source_position;
}

/* For how many it is told: of those that are not looked at, one for others too; 0: for none. */
inlined uint32_t count_of(struct journeys *j, const struct under_way *u, bool looked) {
    if (looked) return u->stands_for;
    if (--j->untold) return 0;
    uint32_t count = j->told_for * u->stands_for;
    j->told_for = j->told_of;
    j->untold = next_of(j, j->told_of);
    return count;
}

inlined void one_end(struct journeys *j, const struct under_way *u, bool look) {
    bool looked = look && looked_at(j, u);
    uint32_t count = count_of(j, u, looked);
    if (!count) return;
    size_t sort = sort_of(u);
    struct run *r = &j->runs[sort];
    if (!r->count || !alike(r->first, u)) run_begin(j, r, u);
    r->count += count;
    if (looked) one_look(j, u, sort, r->took_ns);
}

static void many_end(struct journeys *j, bool look) {
    if (j->applied - j->head >= QUEUE_MIN) queue_look(j);
    for (uint32_t i = j->head; i != j->applied; i++) one_end(j, queue_at(j, i), look);
    for (; j->sorts; j->sorts &= j->sorts - 1) run_tell(j, &j->runs[__builtin_ctz(j->sorts)]);
}

/* Of few: to look for a run takes longer than to be one. */
inlined void few_end(struct journeys *j, bool look) {
    for (uint32_t i = j->head; i != j->applied; i++) {
        const struct under_way *u = queue_at(j, i);
        bool looked = look && looked_at(j, u);
        uint32_t count = count_of(j, u, looked);
        if (!count) continue;
        size_t sort = sort_of(u);
        tell(j, u, sort, count);
        if (!looked) continue;
        int64_t took = took_of(j, u, sort);
        if (took >= JOURNEY_SLOW_NS) measure_add(j->measure, COUNTER_slow, 1);
        one_look(j, u, sort, took);
    }
}

void journeys_clock(struct journeys *j, int64_t now_ns) {
    if (!j) return;
    j->now_ns = now_ns;
}

static seldom void turn_tell(struct journeys *j, bool look) {
    if (refill_due(j, j->now_ns)) journeys_refill(j);
    if (j->applied - j->head > FEW) many_end(j, look);
    else few_end(j, look);
    fanout_tell(j);
    j->named_count = j->named_slow = 0;
    j->look = false;
    j->head = j->applied;
}

/* Most turns are of one or two records, of which none is told. */
void journeys_turn_end(struct journeys *j, int64_t now_ns) {
    if (!j) return;
    uint32_t n = j->applied - j->head;
    j->appends = j->applies = 0;
    if (!n) return;
    j->now_ns = now_ns;
    j->current = NULL;
    bool look = j->look || now_ns - j->oldest_ns >= JOURNEY_SLOW_NS;
    if (look || n >= j->untold || j->named_count || n >= QUEUE_MIN) {
        turn_tell(j, look);
        return;
    }
    j->untold -= n;
    j->head = j->applied;
}

void journey_other(struct journeys *j, enum journey_what what, int64_t came_ns, int64_t done_ns,
    const struct journey_about *about) {
    if (!j || done_ns - came_ns < JOURNEY_SLOW_NS) return;
    struct journey one = {.what = (uint8_t)what,
        .shard = j->shard,
        .source = UINT16_MAX,
        .slow = true,
        .began_ns = came_ns,
        .came_ns = came_ns,
        .applied_ns = done_ns,
        .written_ns = done_ns};
    name_set(one.app, about->app);
    name_set(one.conversation, about->conversation);
    name_set(one.item, about->item);
    measure_add(j->measure, COUNTER_slow, 1);
    if (refill_due(j, j->now_ns)) journeys_refill(j);
    if (done_ns - came_ns > j->slow_over_ns) slow_keep(j, &one, done_ns - came_ns);
}
