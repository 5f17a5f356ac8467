/* channel: where someone listens, as a sketch: a slot for each hash of a filter's literal part, in
 * it a bit for each shard (live) or partition (kept).
 *
 *   a/b/c      exact: the whole          a/+/c, a/#   open: "a/", what stands before the wildcard
 *
 * A topic asks its whole and each of its beginnings. Counts belong to the one thread that writes
 * them; the bits are what others read. SPDX-License-Identifier: Apache-2.0 */
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "channel/channel.h"

enum { LIVE_SLOTS = 1 << 15, KEPT_SLOTS = 1 << 13, BEGINNINGS_MAX = 32 };

struct interest {
    unsigned shards;
    uint16_t partitions;
    size_t words;                            /* of 64 partitions */
    _Atomic uint64_t *live;                  /* [LIVE_SLOTS] */
    _Atomic uint64_t *kept;                  /* [KEPT_SLOTS][words] */
    uint32_t *live_count;                    /* [shards][LIVE_SLOTS] */
    uint32_t *kept_count;                    /* [partitions][KEPT_SLOTS] */
    _Atomic uint64_t kept_total, open_total; /* none: most topics need not be asked */
};

struct interest *interest_create(unsigned shards, uint16_t partitions) {
    struct interest *i = must_alloc(sizeof *i);
    check(shards <= 64 && partitions <= CHANNEL_TARGETS_MAX);
    i->shards = shards;
    i->partitions = partitions;
    i->words = (partitions + 63u) / 64;
    /* large and mostly untouched: pages come as they are used */
    i->live = must_alloc(LIVE_SLOTS * sizeof *i->live);
    i->kept = must_alloc(KEPT_SLOTS * i->words * sizeof *i->kept);
    i->live_count = must_alloc((size_t)shards * LIVE_SLOTS * sizeof *i->live_count);
    i->kept_count = must_alloc((size_t)partitions * KEPT_SLOTS * sizeof *i->kept_count);
    return i;
}

void interest_free(struct interest **pi) {
    struct interest *i = *pi;
    if (!i) return;
    free(i->live);
    free(i->kept);
    free(i->live_count);
    free(i->kept_count);
    free(i);
    *pi = NULL;
}

static uint64_t hash_of(struct bytes app, struct bytes literal, bool open) {
    uint64_t h = hash64(literal) ^ hash64(app) * 0x9e3779b97f4a7c15ull;
    h = (h ^ (open ? 0x5bd1e995u : 0)) * 0xff51afd7ed558ccdull;
    return h ^ h >> 33;
}

/* What stands before the first wildcard, cut at a level that a topic can ask for. */
static struct bytes literal_of(struct bytes filter, bool *open) {
    size_t n = 0, levels = 0, cut = 0;
    *open = false;
    for (; n < filter.n; n++) {
        if (filter.p[n] == '+' || filter.p[n] == '#') {
            *open = true;
            break;
        }
        if (filter.p[n] == '/' && ++levels < BEGINNINGS_MAX) cut = n + 1;
    }
    return *open ? bytes_of(filter.p, cut) : filter;
}

/* The first who listens sets the bit, the last one clears it. */
static void bit_count(uint32_t *count, int delta, _Atomic uint64_t *word, uint64_t bit) {
    check(delta > 0 || *count > 0);
    *count = (uint32_t)((int64_t)*count + delta);
    if (delta > 0 && *count == 1) atomic_fetch_or(word, bit);
    if (delta < 0 && *count == 0) atomic_fetch_and(word, ~bit);
}

static uint64_t filter_hash(struct interest *i, struct bytes app, struct bytes filter, int delta) {
    bool open;
    struct bytes literal = literal_of(filter, &open);
    if (open) atomic_fetch_add(&i->open_total, (uint64_t)(int64_t)delta);
    return hash_of(app, literal, open);
}

void interest_live(
    struct interest *i, unsigned shard, struct bytes app, struct bytes filter, int delta) {
    size_t slot = filter_hash(i, app, filter, delta) % LIVE_SLOTS;
    bit_count(
        &i->live_count[(size_t)shard * LIVE_SLOTS + slot], delta, &i->live[slot], 1ull << shard);
}

void interest_kept(
    struct interest *i, uint16_t partition, struct bytes app, struct bytes filter, int delta) {
    size_t slot = filter_hash(i, app, filter, delta) % KEPT_SLOTS;
    atomic_fetch_add(&i->kept_total, (uint64_t)(int64_t)delta);
    bit_count(&i->kept_count[(size_t)partition * KEPT_SLOTS + slot], delta,
        &i->kept[slot * i->words + partition / 64], 1ull << (partition & 63));
}

/* Hashes that the topic asks for. */
static size_t asked(const struct interest *i, struct bytes app, struct bytes t,
    uint64_t out[static BEGINNINGS_MAX + 2]) {
    size_t n = 0;
    char room[CHANNEL_TOPIC_MAX + 1];
    out[n++] = hash_of(app, t, false);
    if (!atomic_load(&i->open_total)) return n;
    out[n++] = hash_of(app, bytes_of(t.p, 0), true);
    for (size_t at = 0; at < t.n && n < BEGINNINGS_MAX; at++)
        if (t.p[at] == '/') out[n++] = hash_of(app, bytes_of(t.p, at + 1), true);
    if (t.n <= CHANNEL_TOPIC_MAX) { /* "a/#" takes "a" */
        memcpy(room, t.p, t.n);
        room[t.n] = '/';
        out[n++] = hash_of(app, bytes_of(room, t.n + 1), true);
    }
    return n;
}

uint64_t interest_shards(const struct interest *i, struct bytes app, struct bytes topic) {
    uint64_t hashes[BEGINNINGS_MAX + 2], bits = 0;
    size_t n = asked(i, app, topic, hashes);
    for (size_t k = 0; k < n; k++) bits |= atomic_load(&i->live[hashes[k] % LIVE_SLOTS]);
    return bits;
}

size_t interest_partitions(const struct interest *i, struct bytes app, struct bytes topic,
    uint16_t out[static CHANNEL_TARGETS_MAX]) {
    uint64_t hashes[BEGINNINGS_MAX + 2];
    if (!atomic_load(&i->kept_total)) return 0;
    size_t n = asked(i, app, topic, hashes), found = 0;
    for (size_t w = 0; w < i->words; w++) {
        uint64_t bits = 0;
        for (size_t k = 0; k < n; k++)
            bits |= atomic_load(&i->kept[hashes[k] % KEPT_SLOTS * i->words + w]);
        for (; bits; bits &= bits - 1)
            out[found++] = (uint16_t)(w * 64 + (size_t)__builtin_ctzll(bits));
    }
    return found;
}
