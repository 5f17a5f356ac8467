/* measure: journeys. Records under way stand in a queue, in the order in which they were appended,
 * which is the order in which they come back from the log:
 *
 *   head (oldest of this turn) ─▶ applied ─▶ ... ─▶ tail (newest appended)
 *
 * A turn's end records the times of those between head and applied, and copies some of them to the
 * rings of kept ones, which other threads read (slots.h).
 *
 * It stands on every record's way, so what can be done once for many is: records that came and went
 * together have the same times, and are recorded as one run of so many; names are copied for those
 * that may be kept, and a few others. Of what nobody waits for (cursors, acknowledgements: more than
 * half of a chat's records) a busy shard times a part only, by chance; each stands for as many.
 * SPDX-License-Identifier: Apache-2.0 */
#include "measure/journey.h"

#include <stdio.h>
#include <stdlib.h>

#include "measure/measure.h"
#include "measure/slots.h"

enum {
    UNDER_WAY_MAX = 1 << 16, /* beyond it records have no journey */
    NAMED_MAX = 256,         /* of a turn */
    NAMED_FIRST = 2,         /* of them neither kept nor slow: more become so for one reason */
    NAMED_NS = 2000000,      /* old: of a turn's first ones those that may become slow in it */
    NAMED_FANOUT = 16,       /* devices of one record: its next relay is named */
    FILTER = 1024,           /* kept positions that devices may still get */
    FEW = 2,                 /* records of a turn */
    CLOCK_EVERY = 32,        /* records between two looks at the clock */
    PART_BITS = 3,           /* one of 8 is timed, of what nobody waits for */
    STEPS_BITS = 2,          /* one of 4 has its steps timed, of those that go alone */
    FANOUT_MIN = 256,        /* devices of one record that are an event */
    FANOUT_NS = 100000000,   /* relays of one record within it are one fan-out */
    QUEUE_MIN = 64,          /* records of a turn */
    QUEUE_NS = 5000000,      /* that have waited so long */
    ACK_ROWS = 256,          /* of devices, from the first of a journey on, that are looked at */
    REPEATERS = 8,           /* senders whose repetitions are counted */
    RETRIES_MIN = 20         /* of one in a second that are an event */
};
#define MIX 0x9e3779b97f4a7c15u
#define seldom __attribute__((noinline))
#define inlined static inline __attribute__((always_inline))
_Static_assert(sizeof(struct journey) % 8 == 0 && sizeof(struct journey_device) % 8 == 0, "words");

struct under_way {
    uint64_t position, source_position;
    int64_t began_ns, came_ns, appended_ns, durable_ns, applied_ns, wall_ms;
    uint32_t devices, waiting;
    uint16_t partition, source, name; /* name: of the turn, from 1; 0: none */
    uint8_t kind, sort, stands_for;   /* stands_for: records, itself among them */
    bool kept;
};
enum { /* what is timed of it */
    SORT_OUTSIDE = 1,
    SORT_AWAITED = 2, /* began_ns is not 0 */
    SORT_WRITTEN = 4, /* to devices; at the turn's end only */
    SORTS = 8
};
struct run { /* records of a sort, of this turn, with the same times */
    const struct under_way *first;
    int64_t took_ns; /* 0: nobody waits for them */
    uint64_t count, sort;
};
struct names {
    char app[JOURNEY_NAME_MAX + 1], conversation[JOURNEY_NAME_MAX + 1], item[JOURNEY_NAME_MAX + 1];
};
struct kept_slot {
    uint64_t turn, words[sizeof(struct journey) / 8];
};
struct kept_ring {
    uint64_t count;
    uint32_t mask;
    struct kept_slot *slots;
};
struct bucket {                    /* of tokens: how many may be kept */
    int64_t tokens, most, each_ns; /* each: until the next token */
    int64_t at_ns;
};
struct fanout { /* relays of one record: it reaches several partitions */
    uint32_t devices;
    uint16_t source;
    uint64_t source_position;
    int64_t start_ns;
    struct names names;
};
struct repeater {
    uint64_t who; /* hash of app and user */
    uint32_t times;
    int64_t since_ns;
};
struct item_place {
    uint64_t who; /* hash of app and item */
    char conversation[JOURNEY_NAME_MAX + 8];
};
struct place_slot {
    uint64_t turn, words[sizeof(struct item_place) / 8];
};
struct journeys {
    struct measure *measure;
    const struct ticker *clock;
    int64_t now_ns;
    struct under_way *queue; /* ring */
    uint32_t cap, head, applied, tail;
    struct under_way *next; /* queue[applied], the next that comes back; NULL: none */
    struct under_way *current;
    unsigned appends, applies; /* left until the next look at the clock */
    struct names *named;       /* [NAMED_MAX] of this turn */
    uint16_t named_count, named_slow;
    int64_t name_over_ns; /* what takes longer is given its names */
    uint16_t shard;
    struct bucket sample, slow;
    int64_t slowest_ns, slowest_since_ns; /* of this second */
    int64_t slow_over_ns;                 /* what takes longer is to be kept */
    struct run runs[SORTS];
    unsigned sorts; /* a bit for each that has a run */
    struct fanout fanout;
    struct repeater repeaters[REPEATERS];
    struct kept_ring sampled, slows;
    struct place_slot *places;
    uint64_t place_count;
    struct {
        uint64_t place, first_device; /* partition and position; row of the first device */
    } filter[FILTER];                 /* kept ones */
    uint64_t device_count;
    struct {
        uint64_t turn, words[sizeof(struct journey_device) / 8];
    } devices[JOURNEY_DEVICES_MAX];
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
    j->named = must_alloc(NAMED_MAX * sizeof *j->named);
    j->sample =
        (struct bucket){10 * KEPT_PER_S, 10 * KEPT_PER_S, 1000000000 / KEPT_PER_S, j->now_ns};
    j->slow = (struct bucket){128, 128, 1000000000 / SLOW_PER_S, j->now_ns};
    j->slow_over_ns = JOURNEY_SLOW_NS - 1;
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

static void bucket_fill(struct bucket *b, int64_t now_ns) {
    int64_t since = now_ns - b->at_ns;
    if (since < b->each_ns) return;
    int64_t more = since / b->each_ns;
    b->tokens = b->tokens + more < b->most ? b->tokens + more : b->most;
    b->at_ns += more * b->each_ns;
}

/* ---- the queue ---- */
static uint32_t queue_mask(const struct journeys *j) { return j->cap - 1; }

static bool queue_grow(struct journeys *j) {
    if (j->cap == UNDER_WAY_MAX) return false;
    struct under_way *now = must_alloc(2 * j->cap * sizeof *now);
    for (uint32_t i = j->head; i != j->tail; i++)
        now[i & (2 * j->cap - 1)] = j->queue[i & queue_mask(j)];
    free(j->queue);
    j->queue = now;
    j->cap *= 2;
    if (j->next) j->next = &now[j->applied & queue_mask(j)];
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
    u->kind = 0;
    u->stands_for = stands_for;
    u->devices = u->waiting = 0;
    u->wall_ms = 0;
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

/* One of 2^bits, by chance: neither the order of records nor the kinds of a partition have a say. */
inlined bool chosen(uint16_t partition, uint64_t position, unsigned bits) {
    return (position + partition) * MIX >> (64 - bits) == 0;
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
    j->next = j->applied == j->tail ? NULL : &j->queue[j->applied & queue_mask(j)];
    j->current = u;
    u->durable_ns = r->durable_ns < u->appended_ns ? u->appended_ns : r->durable_ns;
    return u;
}

void journey_passed(struct journeys *j, const struct journey_record *r) {
    struct under_way *u = j ? came_back(j, r) : NULL;
    if (u) u->applied_ns = u->durable_ns;
}

static inline uint64_t load(const uint8_t *p) {
    uint64_t w;
    memcpy(&w, p, 8);
    return w;
}
static inline uint64_t load4(const uint8_t *p) {
    uint32_t w;
    memcpy(&w, p, 4);
    return w;
}

/* Names are short: in words, of which the last two may overlap, instead of by a call. */
static inline void name_set(char *to, struct bytes from) {
    size_t n = from.n < JOURNEY_NAME_MAX ? from.n : JOURNEY_NAME_MAX, i = 0;
    to[n] = 0;
    for (; i + 8 < n; i += 8) memcpy(to + i, from.p + i, 8);
    if (n >= 8) memcpy(to + n - 8, from.p + n - 8, 8);
    else if (n >= 4) {
        memcpy(to, from.p, 4);
        memcpy(to + n - 4, from.p + n - 4, 4);
    } else
        for (; i < n; i++) to[i] = (char)from.p[i];
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

static inline uint64_t mixed(uint64_t h) {
    h *= MIX;
    return h ^ h >> 32;
}

/* All of the item; of the app as much as tells most of them apart: whoever finds an item asks for it in
 * its own app. In words, as ids are short. */
static inline uint64_t item_hash(struct bytes app, struct bytes item) {
    uint64_t some = 0;
    if (app.n >= 8) some = load(app.p) ^ load(app.p + app.n - 8) << 8;
    else if (app.n >= 4) some = load4(app.p) << 32 ^ load4(app.p + app.n - 4);
    else if (app.n)
        some = (uint64_t)app.p[0] << 16 ^ (uint64_t)app.p[1 % app.n] << 8 ^ app.p[app.n - 1];
    if (item.n < 8) return hash64(item) ^ (some + app.n) * MIX;
    uint64_t h = (some + app.n) * MIX ^ item.n;
    for (size_t i = 0; i + 8 < item.n; i += 8) h = mixed(h ^ load(item.p + i));
    return mixed(h ^ load(item.p + item.n - 8));
}

/* As slot_write would, but from where the name stands, and its words only: what is behind its end is
 * an older one's. */
static seldom void place_keep(struct journeys *j, const struct journey_about *about) {
    uint64_t nth = j->place_count, last = 0;
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
    if (about->item.n && u->sort & SORT_OUTSIDE) place_keep(j, about);
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
    else if (about->item.n && u->sort & SORT_OUTSIDE) place_keep(j, about);
}

inlined void applied_look(struct journeys *j, int64_t now_ns) {
    j->applies = CLOCK_EVERY;
    j->now_ns = now_ns;
    bucket_fill(&j->sample, now_ns);
    bool first = j->applied - 1 == j->head,
         fanout = j->fanout.devices >= NAMED_FANOUT && !j->fanout.names.app[0];
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

static bool device_read(const struct journeys *j, uint64_t n, struct journey_device *out) {
    size_t i = n & (JOURNEY_DEVICES_MAX - 1);
    return slot_read(&j->devices[i].turn, n, j->devices[i].words, out, sizeof *out);
}

static bool name_is(const char *name, struct bytes b) {
    return strlen(name) == b.n && (!b.n || memcmp(name, b.p, b.n) == 0);
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

/* ---- the turn's end ---- */
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

static void slow_look(struct journeys *j) {
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

static void journey_fill(const struct journeys *j, const struct under_way *u, struct journey *out) {
    *out = (struct journey){.what = JOURNEY_RECORD,
        .position = u->position,
        .source_position = u->source_position,
        .partition = u->partition,
        .source = u->source,
        .shard = j->shard,
        .kind = u->kind,
        .began_ns = u->began_ns,
        .came_ns = u->came_ns,
        .appended_ns = u->appended_ns,
        .durable_ns = u->durable_ns,
        .applied_ns = u->applied_ns,
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
}

/* Relays of one record. */
static void fanout_note(struct journeys *j, const struct under_way *u) {
    struct fanout *f = &j->fanout;
    bool same = f->devices && j->now_ns - f->start_ns < FANOUT_NS && f->source == u->source &&
                f->source_position == u->source_position;
    if (!same) {
        f->devices = 0;
        f->start_ns = u->applied_ns;
        f->source = u->source;
        f->source_position = u->source_position;
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
    enum { SOME = 256 };
    uint32_t votes = 0, asked = 0, mask = queue_mask(j), n = j->applied - j->head;
    uint16_t most = 0;
    for (uint32_t i = 0; i < n; i += n / SOME | 1) {
        const struct under_way *u = &j->queue[(j->head + i) & mask];
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
        const struct under_way *u = &j->queue[i & queue_mask(j)];
        w->all += u->stands_for;
        if (work_of(u) != w->partition) continue;
        w->count += u->stands_for;
        if (u->name) w->named = u;
        if (u->source == UINT16_MAX) continue;
        w->relays += u->stands_for;
        w->records += !u->source_position || u->source_position != source;
        source = u->source_position;
    }
}

/* Most of a turn's records relays of few others, of one partition (members that were added, say), or
 * at least for one partition. */
static seldom void queue_look(struct journeys *j) {
    enum { EACH = 64 }; /* relays of one record */
    struct work w = {0};
    const struct under_way *first = &j->queue[j->head & queue_mask(j)];
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

/* So many, with the times of one until it was applied: in order (append, came_back, applied). */
inlined void way_tell(struct journeys *j, const struct under_way *u, uint64_t n) {
    struct hist *stages = j->measure->stages;
    hist_record_times(&stages[u->sort & SORT_OUTSIDE ? TIMED_admit : TIMED_relay],
        (uint64_t)(u->appended_ns - u->came_ns), n);
    hist_record_times(&stages[TIMED_durable], (uint64_t)(u->durable_ns - u->appended_ns), n);
    hist_record_times(&stages[TIMED_apply], (uint64_t)(u->applied_ns - u->durable_ns), n);
}

/* And until this turn's end. */
inlined void end_tell(struct journeys *j, const struct under_way *u, size_t sort, uint64_t n) {
    if (!(sort & SORT_AWAITED)) return;
    if (sort & SORT_OUTSIDE) end_time(j, TIMED_accepted, u->came_ns, n);
    if (!(sort & SORT_WRITTEN)) return;
    end_time(j, TIMED_write, u->applied_ns, n);
    end_time(j, TIMED_delivered, u->began_ns, n);
}

inlined bool alike(const struct under_way *u, const struct under_way *v) {
    return u->applied_ns == v->applied_ns && u->came_ns == v->came_ns &&
           u->appended_ns == v->appended_ns && u->durable_ns == v->durable_ns;
}

static void run_tell(struct journeys *j, struct run *r) {
    way_tell(j, r->first, r->count);
    end_tell(j, r->first, r->sort, r->count);
    if (r->took_ns >= JOURNEY_SLOW_NS) measure_add(j->measure, COUNTER_slow, r->count);
    r->count = 0;
}

inlined int64_t took_of(const struct journeys *j, const struct under_way *u, size_t sort) {
    if (!(sort & SORT_AWAITED)) return 0;
    return j->now_ns - (sort & SORT_WRITTEN ? u->began_ns : u->came_ns);
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
    return u->sort | (u->devices ? SORT_WRITTEN : 0u);
}

/* A relay to one device begins no fan-out. */
inlined void one_look(struct journeys *j, const struct under_way *u, size_t sort, int64_t took) {
    const struct fanout *f = &j->fanout;
    if ((sort & (SORT_WRITTEN | SORT_OUTSIDE)) == SORT_WRITTEN &&
        (u->devices > 1 || (f->devices && f->source_position == u->source_position)))
        fanout_note(j, u);
    if (u->kept || took > j->slow_over_ns) one_keep(j, u, took);
}

inlined void one_end(struct journeys *j, const struct under_way *u) {
    size_t sort = sort_of(u);
    struct run *r = &j->runs[sort];
    const struct under_way *f = r->first;
    if (!r->count || !alike(f, u) || f->began_ns != u->began_ns) run_begin(j, r, u);
    r->count += u->stands_for;
    one_look(j, u, sort, r->took_ns);
}

/* One of few: to look for a run takes longer than to be one. */
inlined void few_one(struct journeys *j, const struct under_way *u) {
    size_t sort = sort_of(u);
    int64_t took = took_of(j, u, sort);
    end_tell(j, u, sort, u->stands_for);
    if (took >= JOURNEY_SLOW_NS) measure_add(j->measure, COUNTER_slow, 1);
    one_look(j, u, sort, took);
}

/* Who is awaited is told of exactly, when it came to an end; of the steps to there, on a busy shard, a
 * part is told for all. */
inlined void few_way(struct journeys *j, const struct under_way *u, uint64_t n) {
    if (u->stands_for == 1 && !j->sample.tokens) {
        if (!chosen(u->partition, u->position, STEPS_BITS)) return;
        n <<= STEPS_BITS;
    }
    way_tell(j, u, n);
}

/* One, or two: often the relays of one message to its two people. */
static void few_end(struct journeys *j) {
    const struct under_way *u = &j->queue[j->head & queue_mask(j)],
                           *v = &j->queue[(j->head + 1) & queue_mask(j)];
    bool two = j->applied - j->head == 2,
         both = two && u->sort == v->sort && u->stands_for == v->stands_for && alike(u, v);
    few_way(j, u, both ? 2u * u->stands_for : u->stands_for);
    few_one(j, u);
    if (!two) return;
    if (!both) few_way(j, v, v->stands_for);
    few_one(j, v);
}

static void many_end(struct journeys *j) {
    const struct under_way *u = &j->queue[j->head & queue_mask(j)], *end = j->queue + j->cap;
    if (j->applied - j->head >= QUEUE_MIN) queue_look(j);
    for (uint32_t left = j->applied - j->head; left > 0; left--) {
        one_end(j, u);
        if (++u == end) u = j->queue;
    }
    for (; j->sorts; j->sorts &= j->sorts - 1) run_tell(j, &j->runs[__builtin_ctz(j->sorts)]);
}

void journeys_clock(struct journeys *j, int64_t now_ns) {
    if (!j) return;
    j->now_ns = now_ns;
}

static seldom void turn_tell(struct journeys *j) {
    /* before it, nothing is new */
    if (j->now_ns - j->slow.at_ns >= j->slow.each_ns) slow_look(j);
    if (j->applied - j->head > FEW) many_end(j);
    else few_end(j);
    j->head = j->applied;
    fanout_tell(j);
    j->named_count = j->named_slow = 0;
}

void journeys_turn_end(struct journeys *j, int64_t now_ns) {
    if (!j) return;
    j->now_ns = now_ns;
    j->appends = j->applies = 0;
    j->current = NULL;
    if (j->head != j->applied) turn_tell(j);
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
    slow_look(j);
    if (done_ns - came_ns > j->slow_over_ns) slow_keep(j, &one, done_ns - came_ns);
}

/* ---- readers ---- */
static bool kept_read(const struct kept_ring *r, uint64_t n, struct journey *out) {
    const struct kept_slot *s = &r->slots[n & r->mask];
    return slot_read(&s->turn, n, s->words, out, sizeof *out);
}

size_t journeys_read(
    const struct journeys *j, bool slow, int64_t since_ns, struct journey *out, size_t cap) {
    const struct kept_ring *r = slow ? &j->slows : &j->sampled;
    uint64_t end = __atomic_load_n(&r->count, __ATOMIC_ACQUIRE),
             kept = end <= r->mask ? end : r->mask + 1;
    size_t n = 0;
    for (uint64_t i = end; i-- > end - kept && n < cap; n++)
        if (!kept_read(r, i, &out[n]) || out[n].written_ns < since_ns) break;
    for (size_t i = 0; i < n / 2; i++) {
        struct journey first = out[i];
        out[i] = out[n - 1 - i];
        out[n - 1 - i] = first;
    }
    return n;
}

size_t journeys_find(const struct journeys *j, struct bytes app, struct bytes item,
    struct journey *out, size_t cap) {
    const struct kept_ring *r = &j->sampled; /* the slow ones with an item are there too */
    uint64_t end = __atomic_load_n(&r->count, __ATOMIC_ACQUIRE),
             kept = end <= r->mask ? end : r->mask + 1;
    size_t n = 0;
    for (uint64_t i = end; i-- > end - kept && n < cap;) {
        if (!kept_read(r, i, &out[n])) break;
        n += name_is(out[n].item, item) && name_is(out[n].app, app);
    }
    return n;
}

bool journeys_place(const struct journeys *j, struct bytes app, struct bytes item,
    char out[static JOURNEY_NAME_MAX + 1]) {
    uint64_t end = __atomic_load_n(&j->place_count, __ATOMIC_ACQUIRE), who = item_hash(app, item);
    uint64_t kept = end < JOURNEY_PLACES ? end : JOURNEY_PLACES;
    struct item_place p;
    out[0] = 0;
    for (uint64_t i = end; i-- > end - kept;) {
        const struct place_slot *s = &j->places[i & (JOURNEY_PLACES - 1)];
        if (__atomic_load_n(&s->words[0], __ATOMIC_RELAXED) != who) continue;
        if (!slot_read(&s->turn, i, s->words, &p, sizeof p)) continue;
        memcpy(out, p.conversation, JOURNEY_NAME_MAX + 1);
        out[JOURNEY_NAME_MAX] = 0;
        return true;
    }
    return false;
}

size_t journeys_devices(const struct journeys *j, uint16_t partition, uint64_t position,
    struct journey_device *out, size_t cap) {
    uint64_t end = __atomic_load_n(&j->device_count, __ATOMIC_ACQUIRE),
             kept = end < JOURNEY_DEVICES_MAX ? end : JOURNEY_DEVICES_MAX;
    size_t n = 0;
    for (uint64_t i = end; i-- > end - kept && n < cap;) {
        if (!device_read(j, i, &out[n])) break;
        n += out[n].position == position && out[n].partition == partition;
    }
    return n;
}

void journey_trace_id(const struct journey *j, char out[static 33]) {
    char names[3 * (JOURNEY_NAME_MAX + 2)];
    int n = j->item[0] ? snprintf(names, sizeof names, "%s/%s/%s", j->app, j->conversation, j->item)
                       : snprintf(names, sizeof names, "%s//%lld", j->app, (long long)j->began_ns);
    uint64_t high = hash64(bytes_of((const uint8_t *)names, (size_t)n));
    names[n] = '.'; /* the other half: of one byte more */
    uint64_t low = hash64(bytes_of((const uint8_t *)names, (size_t)n + 1));
    snprintf(out, 33, "%016llx%016llx", (unsigned long long)high, (unsigned long long)low);
}

uint64_t journeys_slow_count(const struct journeys *j) {
    return measure_get(j->measure, COUNTER_slow);
}
