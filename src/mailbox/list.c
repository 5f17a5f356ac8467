/* mailbox: entries in the order of their positions, 64 to a key: a user's own ('m' head, 'M'
 * blocks) and an audience's ('s', 'S').
 *
 *   head   u64 count · u64 last position · u64 first block kept · u64 newest position trimmed · of a
 *          user: u64 position at which they were made · u32 slot among everyone · u32 wishes
 *   block  u32 size · entry, for the entries 64 n .. 64 n + 63
 *
 * Keeps: positions rise; a block is whole or gone. What is old is asked only when a block begins,
 * so appending stays O(1). SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "mailbox/mailbox_in.h"

#define TRIM_MAX 4u /* blocks a step: bounded, and still faster than blocks are made */

static struct cell *head_cell(struct cells *c, char tag, struct bytes app, struct bytes owner) {
    uint8_t room[300];
    return cells_get(c, key2(room, tag, app, owner));
}

static struct list_head head_read(const struct cell *cell) {
    struct list_head h = {0};
    if (!cell->size) return h;
    check(cell->size == sizeof h);
    memcpy(&h, cell->data, sizeof h);
    return h;
}

struct list_head list_head_get(struct cells *c, char tag, struct bytes app, struct bytes owner) {
    return head_read(head_cell(c, tag, app, owner));
}

bool list_head_find(
    struct cells *c, char tag, struct bytes app, struct bytes owner, struct list_head *out) {
    uint8_t room[300];
    const struct cell *cell = cells_find(c, key2(room, tag, app, owner));
    if (!cell || !cell->size) return false;
    *out = head_read(cell);
    return true;
}

void list_head_set(
    struct cells *c, char tag, struct bytes app, struct bytes owner, const struct list_head *h) {
    cells_put(c, head_cell(c, tag, app, owner), bytes_of(h, sizeof *h));
}

static struct cell *block_cell(
    struct cells *c, char tag, struct bytes app, struct bytes owner, uint64_t block) {
    uint8_t room[300];
    return cells_get(c, key2n(room, tag == 'm' ? 'M' : 'S', app, owner, block));
}

/* Where the next entry goes. */
static struct cell *end_cell(
    struct cells *c, char tag, struct bytes app, struct bytes owner, uint64_t count) {
    uint8_t room[300];
    if (count % LIST_BLOCK) return block_cell(c, tag, app, owner, count / LIST_BLOCK);
    return cells_new(c, key2n(room, tag == 'm' ? 'M' : 'S', app, owner, count / LIST_BLOCK));
}

static uint64_t last_block(uint64_t count) { return (count - 1) / LIST_BLOCK; }

/* Bytes of the entry at *at, which moves behind it; false at the end. */
static bool block_step(const struct cell *cell, uint32_t *at, struct bytes *out) {
    uint32_t n;
    if (*at + sizeof n > cell->size) return false;
    memcpy(&n, cell->data + *at, sizeof n);
    check(n <= cell->size - *at - sizeof n);
    *out = bytes_of(cell->data + *at + sizeof n, n);
    *at += (uint32_t)sizeof n + n;
    return true;
}

/* Its position stands first in an entry, so that it can be asked without reading the rest. */
static uint64_t position_of(struct bytes entry) {
    struct unpack u = unpack_of(entry);
    return unpack_var(&u);
}

/* ---- appending ---- */
/* Trims the first block if nothing in it is as young as `since`: the block after it begins before
 * that time. */
static bool trim_one(
    struct step *s, char tag, struct bytes owner, struct list_head *h, int64_t since) {
    uint32_t at = 0;
    struct bytes one;
    struct entry e;
    if (h->first_block >= last_block(h->count)) return false;
    if (!block_step(block_cell(s->cells, tag, s->app, owner, h->first_block + 1), &at, &one))
        return false;
    check(entry_decode(one, &e) == OK);
    if (e.at_ms >= since) return false;
    struct cell *old = block_cell(s->cells, tag, s->app, owner, h->first_block);
    for (at = 0; block_step(old, &at, &one);) h->trimmed = position_of(one);
    cells_put(s->cells, old, (struct bytes){0});
    h->first_block++;
    return true;
}

bool list_append(
    struct step *s, char tag, struct bytes owner, const struct entry *e, int64_t retention_ms) {
    struct cell *cell = head_cell(s->cells, tag, s->app, owner);
    struct list_head h = head_read(cell);
    if (tag == 'm' && !cell->size) return false;
    check(e->position > h.last);
    if (retention_ms && h.count && h.count % LIST_BLOCK == 0)
        for (unsigned i = 0; i < TRIM_MAX && trim_one(s, tag, owner, &h, s->time_ms - retention_ms);
             i++)
            continue;
    uint32_t bound = 96 + (uint32_t)(e->conversation.n + e->from.n + e->extra.n), size;
    /* never grows: the size and seven numbers of at most 10 bytes fit in 96 */
    struct buf b = {arena_alloc(s->arena, bound), sizeof size, bound};
    entry_encode(&b, e);
    check(b.cap == bound);
    size = (uint32_t)(b.n - sizeof size);
    memcpy(b.p, &size, sizeof size);
    cells_append(s->cells, end_cell(s->cells, tag, s->app, owner, h.count), buf_view(&b));
    h.count++;
    h.last = e->position;
    cells_put(s->cells, cell, bytes_of(&h, sizeof h));
    return true;
}

/* ---- finding ---- */
static uint64_t block_first(
    struct cells *c, char tag, struct bytes app, struct bytes owner, uint64_t block) {
    uint32_t at = 0;
    struct bytes one;
    check(block_step(block_cell(c, tag, app, owner, block), &at, &one));
    return position_of(one);
}

/* The last block that begins at or before a position, else the first kept. The last is asked first:
 * most who ask have read nearly all. */
static uint64_t block_find_position(struct cells *c, char tag, struct bytes app, struct bytes owner,
    const struct list_head *h, uint64_t position) {
    uint64_t lo = h->first_block, hi = last_block(h->count);
    uint64_t mid = hi;
    while (lo < hi) {
        if (block_first(c, tag, app, owner, mid) <= position) lo = mid;
        else hi = mid - 1;
        mid = (lo + hi + 1) / 2;
    }
    return lo;
}

bool list_walk_next(struct list_walk *w) {
    struct bytes one;
    for (; w->block * LIST_BLOCK < w->count; w->block++, w->at = 0) {
        const struct cell *cell = block_cell(w->cells, w->tag, w->app, w->owner, w->block);
        while (block_step(cell, &w->at, &one)) {
            if (position_of(one) <= w->after) continue;
            check(entry_decode(one, &w->entry) == OK);
            return w->entry.position <= w->to;
        }
    }
    return false;
}

bool list_walk_begin(struct list_walk *w, struct cells *c, char tag, struct bytes app,
    struct bytes owner, uint64_t after, uint64_t to) {
    struct list_head h = list_head_get(c, tag, app, owner);
    if (!h.count || h.last <= after) return false;
    *w = (struct list_walk){.cells = c,
        .tag = tag,
        .app = app,
        .owner = owner,
        .after = after,
        .to = to,
        .count = h.count};
    w->block = block_find_position(c, tag, app, owner, &h, after);
    return list_walk_next(w);
}

uint64_t list_last_in(
    struct cells *c, char tag, struct bytes app, struct bytes owner, uint64_t from, uint64_t to) {
    struct list_head h = list_head_get(c, tag, app, owner);
    if (!h.count || h.last <= from) return 0;
    if (h.last <= to) return h.last;
    uint64_t last = 0;
    uint32_t at = 0;
    struct bytes one;
    const struct cell *cell =
        block_cell(c, tag, app, owner, block_find_position(c, tag, app, owner, &h, to));
    while (block_step(cell, &at, &one) && position_of(one) <= to) last = position_of(one);
    return last > from ? last : 0;
}

void list_clear(struct cells *c, char tag, struct bytes app, struct bytes owner) {
    struct list_head h = list_head_get(c, tag, app, owner);
    for (uint64_t b = h.first_block; b * LIST_BLOCK < h.count; b++)
        cells_put(c, block_cell(c, tag, app, owner, b), (struct bytes){0});
    cells_put(c, head_cell(c, tag, app, owner), (struct bytes){0});
}
