/* measure, inside: what journeys are made of. Records under way stand in a queue, in the order in which
 * they were appended, which is the order in which they come back from the log:
 *
 *   head (oldest of this turn) ─▶ applied ─▶ ... ─▶ tail (newest appended)
 *
 * journey.c takes the times on the way, journey_end.c records them at a turn's end, and copies some to
 * the rings of kept ones, which other threads read (journey_read.c, slots.h).
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef KITH_JOURNEY_IN_H
#define KITH_JOURNEY_IN_H

#include "measure/measure.h"
#include "measure/slots.h"

enum {
    NAMED_MAX = 256,    /* of a turn */
    NAMED_NS = 4000000, /* old: of a turn's first ones those that may become slow in it */
    FILTER = 1024,      /* kept positions that devices may still get */
    REPEATERS = 8,      /* senders whose repetitions are counted */
};
#define MIX 0x9e3779b97f4a7c15u
#define seldom __attribute__((noinline))
#define inlined static inline __attribute__((always_inline))
_Static_assert(sizeof(struct journey) % 8 == 0 && sizeof(struct journey_device) % 8 == 0, "words");

struct under_way {
    struct journey_origin from; /* a record's from outside: when it came, twice; 0: nobody waits */
    uint64_t position;
    int64_t appended_ns, durable_ns, applied_ns, wall_ms; /* as they were told: see times_of */
    uint32_t devices, waiting;
    uint16_t partition, source, name; /* name: of the turn, from 1; 0: none */
    uint8_t kind, stands_for;         /* stands_for: records, itself among them */
};
enum { /* what is timed of it */
    SORT_OUTSIDE = 1,
    SORT_AWAITED = 2,
    SORT_WRITTEN = 4, /* to devices; at the turn's end only */
    SORTS = 8
};
struct times { /* in order */
    int64_t came, appended, durable, applied;
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
    uint64_t source_position; /* no record's while there are no devices */
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
    struct under_way *queue;            /* ring */
    uint32_t mask, head, applied, tail; /* mask: its size, less 1 */
    struct under_way *current;
    unsigned appends, applies;  /* until the next look at the clock; 0: of this turn none yet */
    uint32_t untimed, untold;   /* until the next that is timed, and told, where a part is */
    uint32_t told_for, told_of; /* that one is told for so many; the next one for so many */
    uint64_t chance;
    uint32_t refilled_head;
    int64_t refilled_ns;
    bool look;         /* at each of this turn */
    int64_t oldest_ns; /* none of this turn that somebody waits for began earlier */
    int64_t old_before_ns, name_before_ns; /* began before: old, and given its names (old, too) */
    struct names *named;                   /* [NAMED_MAX] of this turn */
    uint16_t named_count, named_slow;
    uint16_t shard;
    struct bucket sample, slow, places_left;
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

/* ---- of all three ---- */
static inline void bucket_fill(struct bucket *b, int64_t now_ns) {
    int64_t since = now_ns - b->at_ns;
    if (since < b->each_ns) return;
    int64_t more = since / b->each_ns;
    b->tokens = b->tokens + more < b->most ? b->tokens + more : b->most;
    b->at_ns += more * b->each_ns;
}

/* Several times a second: what may be kept becomes more, and another second of the slowest begins. */
void journeys_refill(struct journeys *j);
inlined bool refill_due(const struct journeys *j, int64_t now_ns) {
    return now_ns - j->slow.at_ns >= j->slow.each_ns;
}

inlined struct under_way *queue_at(const struct journeys *j, uint32_t nth) {
    return &j->queue[nth & j->mask];
}

/* How far it is to the next, where one of `n` is chosen by chance: neither the order of records nor their
 * kinds have a say. */
inlined uint32_t next_of(struct journeys *j, uint32_t n) {
    j->chance = j->chance * MIX + 1;
    return 1 + (uint32_t)((j->chance >> 32) * (2 * n - 1) >> 32);
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

static inline bool device_read(const struct journeys *j, uint64_t n, struct journey_device *out) {
    size_t i = n & (JOURNEY_DEVICES_MAX - 1);
    return slot_read(&j->devices[i].turn, n, j->devices[i].words, out, sizeof *out);
}

static inline bool name_is(const char *name, struct bytes b) {
    return strlen(name) == b.n && (!b.n || memcmp(name, b.p, b.n) == 0);
}

#endif
