/* due: items in buckets of 100 ms, and an index over them: a tree of bitmaps, 256 children to a node.
 * The cells are drawn in due_in.h.
 * Keeps: a node or a bucket is there only if it holds something; items are added behind the last
 * chunk and taken from the bucket itself, into which the first chunk moves when it is empty. So a
 * tick rewrites a chunk at most, whatever the bucket holds.
 * SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "due/due_in.h"

enum {
    CHUNK_BYTES = 16 * 1024,      /* one that is as long takes no more */
    TICK_BYTES = 4 * DUE_BODY_MAX /* a tick that has as much takes no more */
};
/* Year 5456: what is later never comes. */
#define BUCKET_LAST ((UINT64_C(1) << (LEVELS * CHILD_BITS)) - 1)

static const struct bytes KEY_FIRST = {(const uint8_t *)"\x04"
                                                        "due",
    4};

/* ---- the index ---- */
/* The lowest one; the node is not empty. */
static unsigned bit_first(const struct cell *node) {
    unsigned i = 0;
    while (!node->data[i]) i++;
    return i * 8 + (unsigned)__builtin_ctz(node->data[i]);
}

/* A node that was there already is known to those above it. */
static void index_add(struct cells *c, uint64_t bucket) {
    for (unsigned level = 1; level <= LEVELS; level++) {
        static const uint8_t NONE[NODE_BYTES];
        struct cell *node = node_of(c, level, bucket);
        bool known = node->size != 0;
        if (!known) cells_put(c, node, bytes_of(NONE, sizeof NONE));
        unsigned i = child_of(level, bucket);
        cells_edit(c, node)[i / 8] |= (uint8_t)(1u << i % 8);
        if (known) return;
    }
}

/* Removes the first one. *out: the one behind it, which lies below the lowest node that stays; false:
 * nothing waits any more. */
static bool index_step(struct cells *c, uint64_t first, uint64_t *out) {
    unsigned level = 1;
    struct cell *node;
    for (;; level++) {
        node = node_of(c, level, first);
        unsigned i = child_of(level, first);
        uint8_t *bits = cells_edit(c, node), any = 0;
        bits[i / 8] &= (uint8_t) ~(1u << i % 8);
        for (int k = 0; k < NODE_BYTES; k++) any |= bits[k];
        if (any) break;
        cells_put(c, node, (struct bytes){0});
        if (level == LEVELS) return false;
    }
    uint64_t bucket = first >> (CHILD_BITS * level) << (CHILD_BITS * level);
    for (;; node = node_of(c, --level, bucket)) {
        check(node->size);
        bucket |= (uint64_t)bit_first(node) << (CHILD_BITS * (level - 1));
        if (level == 1) break;
    }
    *out = bucket;
    return true;
}

/* ---- the first one ---- */
static bool first_get(struct cells *c, uint64_t *out) {
    const struct cell *cell = cells_get(c, KEY_FIRST);
    if (!cell->size) return false;
    memcpy(out, cell->data, sizeof *out);
    return true;
}
static void first_set(struct cells *c, bool any, uint64_t bucket) {
    cells_put(c, cells_get(c, KEY_FIRST), bytes_of(&bucket, any ? sizeof bucket : 0));
}

static uint64_t bucket_of(int64_t at_ms) {
    if (at_ms <= 0) return 0;
    uint64_t b = (uint64_t)at_ms / DUE_RESOLUTION_MS + (at_ms % DUE_RESOLUTION_MS != 0);
    return b < BUCKET_LAST ? b : BUCKET_LAST;
}

int64_t due_next(struct cells *c) {
    uint64_t bucket;
    return first_get(c, &bucket) ? time_of(bucket) : INT64_MAX;
}

/* ---- buckets ---- */
static void bucket_append(struct cells *c, uint64_t bucket, struct bytes item) {
    uint8_t room[KEY_ROOM];
    bool known = child_is_there(node_of(c, 1, bucket), child_of(1, bucket));
    struct bytes key = key_of(room, 0, bucket);
    struct cell *b = known ? cells_get(c, key) : cells_new(c, key);
    if (!known) {
        cells_put(c, b, bytes_of(&(struct header){0}, HEADER));
        index_add(c, bucket);
    }
    struct header h = header_of(bytes_of(b->data, b->size));
    if (h.first == h.last && b->size < HEADER + CHUNK_BYTES) {
        cells_append(c, b, item);
        return;
    }
    struct cell *chunk =
        h.first == h.last ? NULL : cells_get(c, chunk_key(room, bucket, h.last - 1));
    if (!chunk || chunk->size >= CHUNK_BYTES) {
        chunk = cells_new(c, chunk_key(room, bucket, h.last++));
        memcpy(cells_edit(c, b), &h, sizeof h);
    }
    cells_append(c, chunk, item);
}

/* What was taken goes; when all is gone the first chunk takes its place, or else the bucket goes too:
 * false. */
static bool bucket_cut(struct cells *c, uint64_t bucket, struct cell *b, uint32_t taken) {
    struct header h = header_of(bytes_of(b->data, b->size));
    if (taken < b->size - HEADER) {
        cells_splice(c, b, HEADER, taken, (struct bytes){0});
        return true;
    }
    if (h.first == h.last) {
        cells_put(c, b, (struct bytes){0});
        return false;
    }
    uint8_t room[KEY_ROOM];
    struct cell *chunk = cells_get(c, chunk_key(room, bucket, h.first++));
    if (h.first == h.last) h = (struct header){0};
    cells_splice(c, b, 0, b->size, bytes_of(&h, sizeof h));
    cells_append(c, b, bytes_of(chunk->data, chunk->size));
    cells_put(c, chunk, (struct bytes){0});
    return true;
}

void due_add(struct step *s, int64_t at_ms, uint8_t kind, struct bytes body) {
    check(kind && kind != KIND_TICK && body.n <= DUE_BODY_MAX);
    enum { PREFIXES = 2 * 10 + 1 };
    size_t most = s->app.n + body.n + PREFIXES;
    struct buf item = {.p = arena_alloc(s->arena, most), .cap = most}; /* never grows */
    pack_bytes(&item, s->app);
    pack_u8(&item, kind);
    pack_bytes(&item, body);
    uint64_t bucket = bucket_of(at_ms), first;
    bucket_append(s->cells, bucket, buf_view(&item));
    if (!first_get(s->cells, &first) || bucket < first) first_set(s->cells, true, bucket);
}

/* ---- a tick ---- */
/* How many it may take still. */
struct room {
    size_t items, bytes;
};

/* Each becomes a record: step_relay takes the step's app along, so that is the item's meanwhile. */
static uint32_t items_relay(struct step *s, struct bytes items, struct room *r) {
    struct unpack u = unpack_of(items);
    const uint8_t *from = u.p;
    while (unpack_more(&u) && r->items && r->bytes) {
        const uint8_t *at = u.p;
        struct item i = item_read(&u);
        check(!u.bad);
        s->app = i.app;
        step_relay(s, s->partition, i.kind, i.body);
        size_t n = (size_t)(u.p - at);
        r->bytes -= n < r->bytes ? n : r->bytes;
        r->items--;
    }
    return (uint32_t)(u.p - from);
}

static void apply_tick(struct step *s) {
    struct room room = {DUE_TICK_MAX, TICK_BYTES};
    struct bytes app = s->app;
    uint64_t bucket;
    int64_t until = s->planted == BUG_DUE_EARLY ? s->time_ms + 300 : s->time_ms;
    while (room.items && room.bytes && first_get(s->cells, &bucket) && time_of(bucket) <= until) {
        uint8_t key[KEY_ROOM];
        struct cell *b = cells_get(s->cells, key_of(key, 0, bucket));
        check(b->size > HEADER);
        /* relays keep views of their apps: what is cut from a cell moves */
        struct bytes items = arena_copy(s->arena, bytes_of(b->data + HEADER, b->size - HEADER));
        uint32_t taken = items_relay(s, items, &room);
        if (s->planted == BUG_DUE_KEPT && s->position % 16 == 0) break;
        if (bucket_cut(s->cells, bucket, b, taken)) continue;
        bool any = index_step(s->cells, bucket, &bucket);
        first_set(s->cells, any, any ? bucket : 0);
    }
    s->app = app;
    answer_ok(s->answer, 200);
}

static const struct record_rule RULES[] = {{KIND_TICK, apply_tick}};
const struct surface due_surface = {
    .name = "due", .records = RULES, .record_count = sizeof RULES / sizeof *RULES};
