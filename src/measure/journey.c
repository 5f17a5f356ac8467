/* measure: journeys on their way: what is appended, comes back applied, and reaches devices.
 *
 * It stands on every record's way, so names are copied for those only that may be kept, and a few others.
 * Of what nobody waits for (cursors, acknowledgements: more than half of a chat's records) a busy shard
 * times a part, by chance, of which each stands for as many. SPDX-License-Identifier: Apache-2.0 */
#include "measure/journey_in.h"

#include <stdlib.h>

enum {
    UNDER_WAY_MAX = 1 << 16, /* beyond it records have no journey */
    NAMED_FIRST = 2,         /* of them neither kept nor slow: more become so for one reason */
    NAMED_FANOUT = 16,       /* devices of one record: its next relay is named */
    CLOCK_EVERY = 32,        /* records between two looks at the clock */
    PART = 8,                /* one of them is timed, of what nobody waits for */
    QUEUE_FIRST = 256,
    ACK_ROWS = 256,   /* of devices, from the first of a journey on, that are looked at */
    RETRIES_MIN = 20, /* of one in a second that are an event */
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
    j->mask = QUEUE_FIRST - 1;
    j->queue = must_alloc(QUEUE_FIRST * sizeof *j->queue);
    j->named = must_alloc(NAMED_MAX * sizeof *j->named);
    j->sample =
        (struct bucket){10 * KEPT_PER_S, 10 * KEPT_PER_S, 1000000000 / KEPT_PER_S, j->now_ns};
    j->slow = (struct bucket){128, 128, 1000000000 / SLOW_PER_S, j->now_ns};
    j->places_left =
        (struct bucket){JOURNEY_PLACES, JOURNEY_PLACES, 1000000000 / PLACES_PER_S, j->now_ns};
    j->slow_over_ns = JOURNEY_SLOW_NS - 1;
    j->untimed = j->untold = j->told_for = j->told_of = 1;
    j->refilled_ns = j->now_ns;
    j->fanout.source_position = UINT64_MAX;
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

inlined bool queue_full(const struct journeys *j) { return j->tail - j->head > j->mask; }

static bool queue_grow(struct journeys *j) {
    if (j->mask == UNDER_WAY_MAX - 1) return false;
    uint32_t mask = 2 * j->mask + 1;
    struct under_way *now = must_alloc((mask + 1) * sizeof *now);
    for (uint32_t i = j->head; i != j->tail; i++) now[i & mask] = *queue_at(j, i);
    free(j->queue);
    j->queue = now;
    j->mask = mask;
    if (j->current) j->current = queue_at(j, j->applied - 1);
    return true;
}

inlined void append(struct journeys *j, uint16_t partition, uint64_t position, uint16_t source,
    const struct journey_origin *from, uint8_t stands_for) {
    struct under_way *u = queue_at(j, j->tail++);
    u->from = *from;
    u->position = position;
    u->appended_ns = j->now_ns;
    u->devices = u->waiting = 0;
    u->partition = partition;
    u->source = source;
    u->name = 0;
    u->stands_for = stands_for;
}

/* How many records it stands for; 0: it is not timed. All are while there is room to keep some. */
inlined uint8_t part_of(struct journeys *j, const struct journey_origin *from) {
    if (from->began_ns || from->kept || j->sample.tokens) return 1;
    if (--j->untimed) return 0;
    j->untimed = next_of(j, PART);
    return PART;
}

/* Apart, as are others that are seldom needed: what is called needs registers, and to save them takes
 * longer than all the rest. */
static seldom void append_anew(struct journeys *j, uint16_t partition, uint64_t position,
    uint16_t source, const struct journey_origin *from, uint8_t stands_for) {
    if (queue_full(j) && !queue_grow(j)) return;
    j->now_ns = ticker_now(j->clock);
    append(j, partition, position, source, from, stands_for);
}

inlined void append_look(struct journeys *j, uint16_t partition, uint64_t position, uint16_t source,
    const struct journey_origin *from) {
    uint8_t stands_for = part_of(j, from);
    if (!stands_for) return;
    uint64_t passed = 0;
    bool look = !j->appends;
    if (queue_full(j) || (look && !ticker_passed(j->clock, &passed))) {
        append_anew(j, partition, position, source, from, stands_for);
        return;
    }
    if (look) {
        j->appends = CLOCK_EVERY;
        j->now_ns = ticker_at(j->clock, passed);
    }
    j->appends--;
    append(j, partition, position, source, from, stands_for);
}

void journey_appended(struct journeys *j, uint16_t partition, uint64_t position, int64_t came_ns) {
    struct journey_origin from = {.began_ns = came_ns, .made_ns = came_ns};
    if (j) append_look(j, partition, position, UINT16_MAX, &from);
}

void journey_relayed(struct journeys *j, uint16_t partition, uint64_t position, uint16_t source,
    const struct journey_origin *from) {
    if (j) append_look(j, partition, position, source, from);
}

/* Is it the oldest under way? Of what is not any more no position comes again. */
inlined struct under_way *came_back(struct journeys *j, const struct journey_record *r) {
    struct under_way *u = queue_at(j, j->applied);
    j->current = NULL;
    if (u->position != r->position || u->partition != r->partition) return NULL;
    j->applied++;
    j->current = u;
    u->kind = r->kind;
    u->wall_ms = r->wall_ms;
    u->durable_ns = r->durable_ns;
    return u;
}

void journey_passed(struct journeys *j, const struct journey_record *r) {
    struct under_way *u = j ? came_back(j, r) : NULL;
    if (!u) return;
    u->applied_ns = u->durable_ns;
    j->look = true;
}

/* At the turn's end nothing is left to take a name from. Those that may then be kept need theirs: as
 * many slow ones as there is room for, and what is slower than all of this second. Of others a few do,
 * for events and for what becomes slow in this turn: the first ones that are not young, one at each
 * later look at the clock, and one of what becomes a fan-out. What nobody waits for needs none. */
static void name_before_set(struct journeys *j) {
    bool room = j->named_slow < j->slow.tokens || j->slowest_ns < JOURNEY_SLOW_NS;
    int64_t over = j->named_count < NAMED_FIRST ? NAMED_NS
                   : room                       ? JOURNEY_SLOW_NS - 1
                                                : j->slowest_ns;
    j->name_before_ns = j->named_count == NAMED_MAX ? 0 : j->now_ns - over;
    j->old_before_ns = j->now_ns - NAMED_NS;
}

static void name_take(struct journeys *j, struct under_way *u, const struct journey_about *about) {
    if (j->named_count == NAMED_MAX) return;
    struct names *n = &j->named[j->named_count++];
    u->name = j->named_count;
    name_set(n->app, about->app);
    name_set(n->conversation, about->conversation);
    name_set(n->item, about->item);
    if (u->from.began_ns && u->applied_ns - u->from.began_ns >= JOURNEY_SLOW_NS) j->named_slow++;
    name_before_set(j);
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

static void filter_set(struct journeys *j, const struct under_way *u) {
    uint64_t at = place(u->partition, u->position);
    j->filter[filter_at(at)].place = at;
    j->filter[filter_at(at)].first_device = j->device_count;
}

/* What has no item is of no use to who asks for one. */
static bool keep_wanted(
    const struct journeys *j, const struct under_way *u, const struct journey_about *about) {
    if (!j->sample.tokens) return false;
    return about->item.n ||
           (u->from.began_ns && u->applied_ns - u->from.made_ns >= JOURNEY_SLOW_NS);
}

/* What not every record needs. */
static seldom void applied_more(
    struct journeys *j, struct under_way *u, const struct journey_about *about) {
    if (!u->from.kept && keep_wanted(j, u, about)) {
        j->sample.tokens--;
        u->from.kept = true;
    }
    if (u->from.kept) {
        j->look = true;
        filter_set(j, u);
    }
    if (u->from.kept || (u->from.began_ns && u->from.began_ns < j->name_before_ns))
        name_take(j, u, about);
    if (about->repeated_by.n) repeated(j, about);
    if (j->places_left.tokens && about->item.n && u->source == UINT16_MAX) place_keep(j, about);
}

inlined void applied(struct journeys *j, struct under_way *u, const struct journey_about *about) {
    int64_t began = u->from.began_ns;
    uint64_t more = u->from.kept | (uint64_t)j->sample.tokens | about->repeated_by.n;
    u->applied_ns = j->now_ns;
    if (u->from.source_position == j->fanout.source_position) j->look = true;
    if (began && began < j->old_before_ns) {
        if (began < j->oldest_ns) j->oldest_ns = began;
        more |= began < j->name_before_ns;
    }
    if (more != 0) applied_more(j, u, about);
    else if (j->places_left.tokens && about->item.n && u->source == UINT16_MAX)
        place_keep(j, about);
}

inlined void first_look(struct journeys *j, int64_t now_ns) {
    j->applies = j->appends = CLOCK_EVERY;
    j->now_ns = now_ns;
    j->oldest_ns = j->old_before_ns = j->name_before_ns = now_ns - NAMED_NS;
}

/* Another look of this turn, or one at a time that is seldom. */
static seldom void applied_anew(
    struct journeys *j, struct under_way *u, const struct journey_about *about) {
    int64_t now_ns = ticker_now(j->clock);
    bool first = j->applied - 1 == j->head;
    if (first) first_look(j, now_ns);
    j->applies = j->appends = CLOCK_EVERY;
    j->now_ns = now_ns;
    if (refill_due(j, now_ns)) journeys_refill(j);
    bool fanout = j->fanout.devices >= NAMED_FANOUT && !j->fanout.names.app[0];
    if (j->named_count < NAMED_MAX && (fanout || !first))
        j->old_before_ns = j->name_before_ns = INT64_MAX;
    applied(j, u, about);
}

void journey_applied(
    struct journeys *j, const struct journey_record *r, const struct journey_about *about) {
    struct under_way *u = j ? came_back(j, r) : NULL;
    if (!u) return;
    if (!j->applies) {
        uint64_t passed;
        bool known = ticker_passed(j->clock, &passed);
        int64_t now_ns = ticker_at(j->clock, passed);
        if (!known || refill_due(j, now_ns) || j->fanout.devices >= NAMED_FANOUT) {
            applied_anew(j, u, about);
            return;
        }
        first_look(j, now_ns);
    } else if (!--j->applies) {
        applied_anew(j, u, about);
        return;
    }
    applied(j, u, about);
}

struct journey_origin journey_origin(const struct journeys *j) {
    const struct under_way *u = j ? j->current : NULL;
    if (!u) return (struct journey_origin){.made_ns = j ? j->now_ns : 0};
    return (struct journey_origin){u->from.began_ns, u->applied_ns, u->position, u->from.kept};
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
        if (++u->devices > 1) j->look = true;
        if (!u->from.kept || u->devices > JOURNEY_DEVICES) return;
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
