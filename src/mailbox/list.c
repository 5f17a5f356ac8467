/* mailbox: lists of entries in blocks of 64 to a key: own ones ('m', 'M') and those of an audience ('s', 'S'). Positions rise within a list.
 * SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "mailbox/mailbox_in.h"

struct list_head list_head_get(struct cells *c, char tag, struct bytes app, struct bytes owner) {
    uint8_t room[300];
    struct list_head h = {0};
    struct cell *cell = cells_get(c, key2(room, tag, app, owner));
    if (cell->size) {
        check(cell->size == sizeof h);
        memcpy(&h, cell->data, sizeof h);
    }
    return h;
}

void list_head_set(struct cells *c, char tag, struct bytes app, struct bytes owner, const struct list_head *h) {
    uint8_t room[300];
    struct cell *cell = cells_get(c, key2(room, tag, app, owner));
    if (cell->size == sizeof *h) memcpy(cells_edit(c, cell), h, sizeof *h);
    else cells_put(c, cell, bytes_of(h, sizeof *h));
}

struct cell *list_block(struct cells *c, char tag, struct bytes app, struct bytes owner, uint64_t block) {
    uint8_t room[300];
    return cells_get(c, key2n(room, tag, app, owner, block));
}

void list_append(struct step *s, char head_tag, struct bytes owner, const struct entry *e) {
    char block_tag = head_tag == 'm' ? 'M' : 'S';
    struct list_head h = list_head_get(s->cells, head_tag, s->app, owner);
    check(e->position > h.last);
    uint8_t stack[320];
    struct buf one = {stack, 0, sizeof stack}, heap = {0};
    size_t size = 64 + e->conversation.n + e->from.n + e->extra.n;
    struct buf *b = size <= sizeof stack ? &one : &heap;
    entry_encode(b, e);
    struct cell *cell = list_block(s->cells, block_tag, s->app, owner, h.count / LIST_BLOCK);
    uint8_t length[4] = {(uint8_t)b->n, (uint8_t)(b->n >> 8), (uint8_t)(b->n >> 16), (uint8_t)(b->n >> 24)};
    cells_append(s->cells, cell, bytes_of(length, 4));
    cells_append(s->cells, cell, buf_view(b));
    buf_done(&heap);
    h.count++;
    h.last = e->position;
    list_head_set(s->cells, head_tag, s->app, owner, &h);
}

/* One entry of a block at *at; false at the end. */
static bool block_next(const struct cell *cell, uint32_t *at, struct entry *e) {
    if (*at + 4 > cell->size) return false;
    uint32_t n;
    memcpy(&n, cell->data + *at, 4);
    check(entry_decode(bytes_of(cell->data + *at + 4, n), e) == OK);
    *at += 4 + n;
    return true;
}

static uint64_t block_first(struct list_walk *w, uint64_t block) {
    uint32_t at = 0;
    struct entry e;
    return block_next(list_block(w->cells, w->tag, w->app, w->owner, block), &at, &e) ? e.position : UINT64_MAX;
}

bool list_walk_next(struct list_walk *w) {
    while (w->block * LIST_BLOCK < w->count) {
        const struct cell *cell = list_block(w->cells, w->tag, w->app, w->owner, w->block);
        while (block_next(cell, &w->at, &w->entry))
            if (w->entry.position > w->after) return w->entry.position <= w->to;
        w->block++;
        w->at = 0;
    }
    return false;
}

/* Positioned on the first entry with after < position <= to. false: there is none. */
bool list_walk_begin(struct list_walk *w, struct cells *c, char head_tag, struct bytes app, struct bytes owner, uint64_t after, uint64_t to) {
    struct list_head h = list_head_get(c, head_tag, app, owner);
    if (!h.count || h.last <= after) return false;
    *w = (struct list_walk){.cells = c, .tag = head_tag == 'm' ? 'M' : 'S', .app = app, .owner = owner, .after = after, .to = to, .count = h.count};
    uint64_t lo = h.first_block, hi = (h.count - 1) / LIST_BLOCK; /* last block whose first position is <= after */
    while (lo < hi) {
        uint64_t mid = (lo + hi + 1) / 2;
        if (block_first(w, mid) <= after) lo = mid;
        else hi = mid - 1;
    }
    w->block = lo;
    return list_walk_next(w);
}
