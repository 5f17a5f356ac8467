/* measure: journeys on their way: what is appended, comes back applied, and reaches devices.
 *
 * It stands on every record's way, so names are copied for those only that may be kept, and a few others.
 * Of what nobody waits for (cursors, acknowledgements: more than half of a chat's records) a busy shard
 * times a part, by chance; each stands for as many. SPDX-License-Identifier: Apache-2.0 */
#include "measure/journey_in.h"

#include <stdlib.h>

enum {
    UNDER_WAY_MAX = 1 << 16, /* beyond it records have no journey */
    NAMED_FIRST = 2,         /* of them neither kept nor slow: more become so for one reason */
    NAMED_FANOUT = 16,       /* devices of one record: its next relay is named */
    CLOCK_EVERY = 32,        /* records between two looks at the clock */
    PART_BITS = 4,           /* one of 16 is timed, of what nobody waits for */
    ACK_ROWS = 256,          /* of devices, from the first of a journey on, that are looked at */
    RETRIES_MIN = 20,        /* of one in a second that are an event */
};

static void ring_create_of(struct kept_ring *r, uint32_t n) {
    r->mask = n - 1;
    r->slots = must_alloc(n * sizeof *r->slots);
}

struct journeys *journeys_create(uint16_t shard, struct measure *m, const struct ticker *clock) {
    struct journeys *j = must_alloc(sizeof *j);
    j->measure = m;
    j->clock = clock;
    j->shard = shard;
    j->now_ns = ticker_now(clock);
    j->cap = 256;
    j->queue = must_alloc(j->cap * sizeof *j->queue);
    j->queue_end = j->queue + j->cap;
    j->named = must_alloc(NAMED_MAX * sizeof *j->named);
    j->sample =
        (struct bucket){10 * KEPT_PER_S, 10 * KEPT_PER_S, 1000000000 / KEPT_PER_S, j->now_ns};
    j->slow = (struct bucket){128, 128, 1000000000 / SLOW_PER_S, j->now_ns};
    j->places_left =
        (struct bucket){JOURNEY_PLACES, JOURNEY_PLACES, 1000000000 / PLACES_PER_S, j->now_ns};
    j->slow_over_ns = JOURNEY_SLOW_NS - 1;
    j->name_over_ns = NAMED_NS;
    j->places = must_alloc(JOURNEY_PLACES * sizeof *j->places);
    for (unsigned sort = 0; sort < SORTS; sort++) j->runs[sort].sort = sort;
    ring_create_of(&j->sampled, JOURNEYS_SAMPLED_MAX);
    ring_create_of(&j->slows, JOURNEYS_SLOW_MAX);
    return j;
}

void journeys_free(struct journeys **pj) {
    struct journeys *j = *pj;
    if (!j) return;
    free(j->queue);
    free(j->named);
    free(j->places);
    free(j->sampled.slots);
    free(j->slows.slots);
    free(j);
    *pj = NULL;
}

static bool queue_grow(struct journeys *j) {
    if (j->cap == UNDER_WAY_MAX) return false;
    struct under_way *now = must_alloc(2 * j->cap * sizeof *now);
    for (uint32_t i = j->head; i != j->tail; i++)
        now[i & (2 * j->cap - 1)] = j->queue[i & queue_mask(j)];
    free(j->queue);
    j->queue = now;
    j->cap *= 2;
    j->queue_end = now + j->cap;
    if (j->next) j->next = &now[j->applied & queue_mask(j)];
    if (j->current) j->current = &now[(j->applied - 1) & queue_mask(j)];
    return true;
}

inlined void append(struct journeys *j, uint16_t partition, uint64_t position, int64_t came_ns,
    uint16_t source, const struct journey_origin *origin, uint8_t stands_for) {
    struct under_way *u = &j->queue[j->tail++ & queue_mask(j)];
    if (!j->next) j->next = u;
    u->position = position;
    u->partition = partition;
    u->source = source;
    u->name = 0;
    u->stands_for = stands_for;
    u->devices = u->waiting = 0;
    if (origin) {
        came_ns = origin->made_ns;
        u->source_position = origin->source_position;
        u->began_ns = origin->began_ns;
        u->kept = origin->kept;
        u->sort = origin->began_ns ? SORT_AWAITED : 0;
    } else {
        u->source_position = 0;
        u->began_ns = came_ns;
        u->kept = false;
        u->sort = came_ns ? SORT_OUTSIDE | SORT_AWAITED : SORT_OUTSIDE;
    }
    if (!came_ns) came_ns = j->now_ns;
    u->came_ns = came_ns;
    u->appended_ns = came_ns > j->now_ns ? came_ns : j->now_ns; /* of another shard's clock */
}

/* How many records it stands for; 0: it is not timed. All are while there is room to keep some. */
inlined uint8_t part_of(const struct journeys *j, uint16_t partition, uint64_t position,
    int64_t came_ns, const struct journey_origin *origin) {
    if (origin ? origin->began_ns || origin->kept : came_ns != 0) return 1;
    if (j->sample.tokens) return 1;
    return chosen(partition, position, PART_BITS) ? 1 << PART_BITS : 0;
}

/* Apart, as are others that are seldom needed: what is called needs registers, and to save them takes
 * longer than all the rest. */
static seldom void append_anew(struct journeys *j, uint16_t partition, uint64_t position,
    int64_t came_ns, uint16_t source, const struct journey_origin *origin) {
    if (j->tail - j->head == j->cap && !queue_grow(j)) return;
    j->now_ns = ticker_now(j->clock);
    append(j, partition, position, came_ns, source, origin,
        part_of(j, partition, position, came_ns, origin));
}

void journey_appended(struct journeys *j, uint16_t partition, uint64_t position, int64_t came_ns,
    uint16_t source, const struct journey_origin *origin) {
    uint8_t stands_for = j ? part_of(j, partition, position, came_ns, origin) : 0;
    if (!stands_for) return;
    bool full = j->tail - j->head == j->cap;
    uint64_t passed = 0;
    if (full || (!j->appends && !ticker_passed(j->clock, &passed))) {
        append_anew(j, partition, position, came_ns, source, origin);
        return;
    }
    if (!j->appends) {
        j->appends = CLOCK_EVERY;
        j->now_ns = ticker_at(j->clock, passed);
    }
    j->appends--;
    append(j, partition, position, came_ns, source, origin, stands_for);
}

/* Is it the oldest under way? */
inlined struct under_way *came_back(struct journeys *j, const struct journey_record *r) {
    struct under_way *u = j->next;
    j->current = NULL;
    if (!u || u->position != r->position || u->partition != r->partition) return NULL;
    j->applied++;
    struct under_way *after = u + 1 == j->queue_end ? j->queue : u + 1;
    j->next = j->applied == j->tail ? NULL : after;
    j->current = u;
    u->durable_ns = r->durable_ns < u->appended_ns ? u->appended_ns : r->durable_ns;
    return u;
}

void journey_passed(struct journeys *j, const struct journey_record *r) {
    struct under_way *u = j ? came_back(j, r) : NULL;
    if (!u) return;
    u->kind = r->kind;
    u->wall_ms = r->wall_ms;
    u->applied_ns = u->durable_ns;
}

/* At the turn's end nothing is left to take a name from. Those that may then be kept need theirs: as
 * many slow ones as there is room for, and what is slower than all of this second. Of others a few do,
 * for events and for what becomes slow in this turn: the first ones that are not young, one at each
 * later look at the clock, and one of what becomes a fan-out. What nobody waits for needs none. */
static void name_over_set(struct journeys *j) {
    bool room = j->named_slow < j->slow.tokens || j->slowest_ns < JOURNEY_SLOW_NS;
    j->name_over_ns = j->named_count == NAMED_MAX    ? INT64_MAX
                      : j->named_count < NAMED_FIRST ? NAMED_NS
                      : room                         ? JOURNEY_SLOW_NS - 1
                                                     : j->slowest_ns;
}

static inline bool name_wanted(const struct journeys *j, const struct under_way *u) {
    return u->sort & SORT_AWAITED && u->applied_ns - u->began_ns > j->name_over_ns;
}

static void name_take(struct journeys *j, struct under_way *u, const struct journey_about *about) {
    if (j->named_count == NAMED_MAX) return;
    struct names *n = &j->named[j->named_count++];
    u->name = j->named_count;
    name_set(n->app, about->app);
    name_set(n->conversation, about->conversation);
    name_set(n->item, about->item);
    if (u->began_ns && u->applied_ns - u->began_ns >= JOURNEY_SLOW_NS) j->named_slow++;
    name_over_set(j);
}

/* As slot_write would, but from where the name stands, and its words only: what is behind its end is
 * an older one's. */
static seldom void place_keep(struct journeys *j, const struct journey_about *about) {
    uint64_t nth = j->place_count, last = 0;
    j->places_left.tokens--;
    struct place_slot *s = &j->places[nth & (JOURNEY_PLACES - 1)];
    struct bytes name = about->conversation;
    size_t n = name.n < JOURNEY_NAME_MAX ? name.n : JOURNEY_NAME_MAX, i = 0;
    __atomic_store_n(&s->turn, 2 * nth + 1, __ATOMIC_RELAXED);
    __atomic_store_n(&s->words[0], item_hash(about->app, about->item), __ATOMIC_RELEASE);
    for (; i + 8 <= n; i += 8)
        __atomic_store_n(&s->words[1 + i / 8], load(name.p + i), __ATOMIC_RELEASE);
    /* what is left, and zeros: of the last 8 bytes those that are not written yet */
    if (n >= 8 && n > i) last = load(name.p + n - 8) >> (8 * (8 - (n - i)));
    else
        for (size_t b = i; b < n; b++) last |= (uint64_t)name.p[b] << (8 * (b - i));
    __atomic_store_n(&s->words[1 + i / 8], last, __ATOMIC_RELEASE);
    __atomic_store_n(&s->turn, 2 * nth + 2, __ATOMIC_RELEASE);
    __atomic_store_n(&j->place_count, nth + 1, __ATOMIC_RELEASE);
}

static uint64_t place(uint16_t partition, uint64_t position) {
    return (uint64_t)partition << 48 ^ position;
}
static size_t filter_at(uint64_t place) { return (place ^ place >> 42) & (FILTER - 1); }

/* Counts a second of each; whoever comes takes the place of another with the same hash. */
static seldom void repeated(struct journeys *j, const struct journey_about *about) {
    uint64_t who = hash64(about->app) ^ hash64(about->repeated_by) * 31;
    struct repeater *r = &j->repeaters[who % REPEATERS];
    if (r->who != who || j->now_ns - r->since_ns > 1000000000)
        *r = (struct repeater){.who = who, .since_ns = j->now_ns};
    uint32_t n = ++r->times / RETRIES_MIN;
    if (r->times % RETRIES_MIN || n & (n - 1)) return; /* at 20, 40, 80 ...: the ring is for all */
    struct event e = {.kind = EVENT_retries,
        .thread = j->shard,
        .start_ns = r->since_ns,
        .duration_ns = j->now_ns - r->since_ns,
        .a = r->times};
    event_name_set(&e, 0, about->app);
    event_name_set(&e, 1, about->repeated_by);
    event_add(&j->measure->events, &e);
}

static bool slow_so_far(const struct under_way *u) {
    return u->began_ns && u->applied_ns - u->came_ns >= JOURNEY_SLOW_NS;
}

static void filter_set(struct journeys *j, const struct under_way *u) {
    uint64_t at = place(u->partition, u->position);
    j->filter[filter_at(at)].place = at;
    j->filter[filter_at(at)].first_device = j->device_count;
}

/* What not every record needs. */
static seldom void applied_more(
    struct journeys *j, struct under_way *u, const struct journey_about *about) {
    if (u->kept) filter_set(j, u);
    if (u->kept || name_wanted(j, u)) name_take(j, u, about);
    if (about->repeated_by.n) repeated(j, about);
    if (about->item.n && u->sort & SORT_OUTSIDE && j->places_left.tokens) place_keep(j, about);
}

inlined void applied(struct journeys *j, struct under_way *u, const struct journey_record *r,
    const struct journey_about *about, struct journey_origin *out) {
    u->kind = r->kind;
    u->wall_ms = r->wall_ms;
    u->applied_ns = j->now_ns < u->durable_ns ? u->durable_ns : j->now_ns;
    /* what has no item is of no use to who asks for one */
    if (!u->kept && j->sample.tokens && (about->item.n || slow_so_far(u))) {
        j->sample.tokens--;
        u->kept = true;
    }
    out->began_ns = u->began_ns;
    out->made_ns = u->applied_ns;
    out->source_position = u->position;
    out->kept = u->kept;
    if (u->kept || about->repeated_by.n || name_wanted(j, u)) applied_more(j, u, about);
    else if (about->item.n && u->sort & SORT_OUTSIDE && j->places_left.tokens) place_keep(j, about);
}

inlined void applied_look(struct journeys *j, int64_t now_ns) {
    j->applies = CLOCK_EVERY;
    j->now_ns = now_ns;
    bucket_fill(&j->sample, now_ns);
    bool first = j->applied - 1 == j->head;
    if (first && j->fanout.devices < NAMED_FANOUT) return; /* it is NAMED_NS since the last turn */
    bool fanout = j->fanout.devices >= NAMED_FANOUT && !j->fanout.names.app[0];
    if (j->named_count < NAMED_MAX) j->name_over_ns = first && !fanout ? NAMED_NS : INT64_MIN;
}
static seldom void applied_anew(struct journeys *j, struct under_way *u,
    const struct journey_record *r, const struct journey_about *about, struct journey_origin *out) {
    applied_look(j, j->clock->real());
    applied(j, u, r, about, out);
}

void journey_applied(struct journeys *j, const struct journey_record *r,
    const struct journey_about *about, struct journey_origin *out) {
    if (!j) return;
    struct under_way *u = came_back(j, r);
    if (!u) {
        out->made_ns = j->now_ns;
        return;
    }
    if (!j->applies) {
        uint64_t passed;
        if (!ticker_passed(j->clock, &passed)) {
            applied_anew(j, u, r, about, out);
            return;
        }
        applied_look(j, ticker_at(j->clock, passed));
    }
    j->applies--;
    applied(j, u, r, about, out);
}

/* ---- devices ---- */
static bool is_kept(struct journeys *j, uint16_t partition, uint64_t position) {
    uint64_t at = place(partition, position);
    return j->filter[filter_at(at)].place == at;
}

static seldom void device_keep(struct journeys *j, uint16_t partition, uint64_t position,
    struct bytes user, struct bytes device) {
    struct journey_device d = {.partition = partition, .position = position};
    d.written_ns = j->now_ns;
    name_set(d.user, user);
    name_set(d.device, device);
    uint64_t n = j->device_count;
    size_t i = n & (JOURNEY_DEVICES_MAX - 1);
    slot_write(&j->devices[i].turn, n, j->devices[i].words, &d, sizeof d);
    __atomic_store_n(&j->device_count, n + 1, __ATOMIC_RELEASE);
}

void journey_wrote(struct journeys *j, uint16_t partition, uint64_t position, struct bytes user,
    struct bytes device) {
    if (!j) return;
    struct under_way *u = j->current;
    if (u && u->position == position && u->partition == partition) {
        if (++u->devices > JOURNEY_DEVICES || !u->kept) return;
    } else if (!is_kept(j, partition, position)) return;
    device_keep(j, partition, position, user, device);
}

void journey_waits(struct journeys *j) {
    if (j && j->current) j->current->waiting++;
}

static seldom void device_acked(struct journeys *j, uint16_t partition, uint64_t position,
    struct bytes user, struct bytes device) {
    uint64_t first = j->filter[filter_at(place(partition, position))].first_device;
    struct journey_device d;
    for (uint64_t n = first; n < j->device_count && n < first + ACK_ROWS; n++) {
        if (!device_read(j, n, &d)) return;
        if (d.position != position || d.partition != partition || !name_is(d.device, device) ||
            !name_is(d.user, user))
            continue;
        /* one word: a reader has it or not */
        size_t i = n & (JOURNEY_DEVICES_MAX - 1),
               word = offsetof(struct journey_device, acked_ns) / 8;
        __atomic_store_n(
            &j->devices[i].words[word], (uint64_t)ticker_now(j->clock), __ATOMIC_RELEASE);
        return;
    }
}

void journey_acked(struct journeys *j, uint16_t partition, uint64_t position, struct bytes user,
    struct bytes device) {
    if (j && is_kept(j, partition, position)) device_acked(j, partition, position, user, device);
}
