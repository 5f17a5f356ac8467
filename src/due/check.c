/* due: what must hold of its cells, looked at by `kith check`. Reads; apply never calls it.
 * SPDX-License-Identifier: Apache-2.0 */
#include "due/due_in.h"

struct looking {
    struct buf *why;
    struct buf buckets;                                          /* u64 each */
    uint64_t things[LEVEL_CHUNK + 1], children[LEVEL_CHUNK + 1]; /* by level */
    unsigned level;
    bool sound;
};

static void wrong(struct looking *l, const char *what, uint64_t found, uint64_t belongs) {
    buf_fmt(l->why, "what falls due: %s: %llu is stored, %llu belongs there\n", what,
        (unsigned long long)found, (unsigned long long)belongs);
    l->sound = false;
}

static uint64_t number_of(struct bytes key) {
    uint64_t n = 0;
    for (size_t i = 2; i < 10 && i < key.n; i++) n = n << 8 | key.p[i];
    return n;
}

static void items_look(struct looking *l, uint64_t bucket, struct bytes items) {
    struct unpack u = unpack_of(items);
    while (unpack_more(&u)) {
        struct item i = item_read(&u);
        if (!u.bad && i.kind && i.kind != KIND_TICK) continue;
        wrong(l, "an item that cannot be read, in bucket", bucket, bucket);
        return;
    }
    if (!items.n) wrong(l, "a bucket without items", bucket, bucket);
}

static bool look(void *arg, struct bytes key, struct bytes value) {
    struct looking *l = arg;
    l->things[l->level]++;
    if (l->level == 0) {
        uint64_t bucket = number_of(key);
        buf_add(&l->buckets, &bucket, sizeof bucket);
        if (value.n < HEADER) return wrong(l, "bytes of a bucket", value.n, HEADER), true;
        struct header h = header_of(value);
        l->children[LEVEL_CHUNK] += h.last - h.first;
        items_look(l, bucket, bytes_of(value.p + HEADER, value.n - HEADER));
    } else if (l->level == LEVEL_CHUNK) {
        items_look(l, number_of(key), value);
    } else if (value.n != NODE_BYTES) {
        wrong(l, "bytes of a node", value.n, NODE_BYTES);
    } else {
        for (size_t i = 0; i < value.n; i++)
            l->children[l->level - 1] += (uint64_t)__builtin_popcount(value.p[i]);
    }
    return true;
}

bool due_check(struct cells *c, struct buf *why) {
    struct looking l = {.why = why, .sound = true};
    for (l.level = 0; l.level <= LEVEL_CHUNK; l.level++) {
        uint8_t prefix[] = {DUE_TAG, (uint8_t)l.level};
        cells_scan(c, bytes_of(prefix, sizeof prefix), look, &l);
    }
    uint64_t first = UINT64_MAX, bucket;
    for (size_t i = 0; i < l.buckets.n; i += sizeof bucket) {
        memcpy(&bucket, l.buckets.p + i, sizeof bucket);
        if (bucket < first) first = bucket;
        for (unsigned level = 1; level <= LEVELS; level++)
            if (!child_is_there(node_of(c, level, bucket), child_of(level, bucket)))
                wrong(&l, "a bucket that its index does not have", bucket, bucket);
        cells_turn_end(c);
    }
    for (unsigned level = 0; level < LEVELS; level++)
        if (l.things[level] != l.children[level])
            wrong(&l, "cells that the index has", l.children[level], l.things[level]);
    if (l.things[LEVEL_CHUNK] != l.children[LEVEL_CHUNK])
        wrong(&l, "chunks", l.things[LEVEL_CHUNK], l.children[LEVEL_CHUNK]);
    int64_t next = due_next(c), want = l.buckets.n ? time_of(first) : INT64_MAX;
    if (next != want) wrong(&l, "what falls due next", (uint64_t)next, (uint64_t)want);
    buf_done(&l.buckets);
    return l.sound;
}
