/* mailbox: packed lists: records without order, so many to a key, each in a numbered slot that is its
 * own as long as it is in the list. Adding and removing cost one chunk, however long the list is.
 *
 *   head tag, app, owner          u32 count · u32 slots ever used · u32 newest hole + 1 (0: none)
 *   chunk tag, app, owner, n      varbytes record, for the slots n * per .. n * per + per - 1
 *   hole                          a record of five bytes: 0 · u32 the hole before it + 1
 *
 * Keeps: a record never moves to another slot, so who walks the slots a few at a time, while others
 * come and go, meets everyone who stays, once. Who comes takes the newest hole; when the last one
 * goes, nothing is left. No record begins with a zero byte. SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "mailbox/mailbox_in.h"

const struct packed PACKED_MEMBERS = {'l', 'L', 256}, PACKED_MEMBERSHIPS = {'g', 'G', 64},
                    PACKED_TOPICS = {'t', 'V', 64};

struct head { /* stored as it is */
    uint32_t count, slots, hole;
};

static struct cell *head_cell(
    struct cells *c, const struct packed *k, struct bytes app, struct bytes owner) {
    uint8_t room[300];
    return cells_get(c, key2(room, k->head, app, owner));
}
static struct cell *chunk_cell(
    struct cells *c, const struct packed *k, struct bytes app, struct bytes owner, uint32_t chunk) {
    uint8_t room[300];
    return cells_get(c, key2n(room, k->chunk, app, owner, chunk));
}

static struct head head_read(const struct cell *cell) {
    struct head h = {0};
    if (!cell || !cell->size) return h;
    check(cell->size == sizeof h);
    memcpy(&h, cell->data, sizeof h);
    return h;
}
static void head_write(struct cells *c, struct cell *cell, struct head h) {
    cells_put(c, cell, bytes_of(&h, sizeof h));
}
static struct head head_find(
    struct cells *c, const struct packed *k, struct bytes app, struct bytes owner) {
    uint8_t room[300];
    struct bytes key = key2(room, k->head, app, owner);
    /* an audience without members here is asked for as often as something is told to it: that it has
     * none is kept in memory */
    return head_read(k == &PACKED_MEMBERS ? cells_get(c, key) : cells_find(c, key));
}
static bool is_hole(struct bytes record) { return record.n && !record.p[0]; }

uint32_t packed_count(
    struct cells *c, const struct packed *k, struct bytes app, struct bytes owner) {
    return head_find(c, k, app, owner).count;
}

/* The nth record of a chunk; *out_at and *out_size cover its length too. */
static struct bytes nth(
    const struct cell *chunk, uint32_t n, uint32_t *out_at, uint32_t *out_size) {
    struct unpack u = unpack_of(bytes_of(chunk->data, chunk->size));
    struct bytes record = {0};
    for (uint32_t i = 0; i <= n; i++) {
        *out_at = (uint32_t)(u.p - chunk->data);
        record = unpack_bytes(&u);
    }
    check(!u.bad);
    *out_size = (uint32_t)(u.p - chunk->data) - *out_at;
    return record;
}

struct bytes packed_at(struct cells *c, const struct packed *k, struct bytes app,
    struct bytes owner, uint32_t slot, struct cell **out_cell, uint32_t *out_at) {
    uint32_t at, size;
    struct cell *chunk = chunk_cell(c, k, app, owner, slot / k->per);
    struct bytes record = nth(chunk, slot % k->per, &at, &size);
    *out_cell = chunk;
    *out_at = (uint32_t)(record.p - chunk->data);
    return record;
}

/* Puts a record where another is. */
static void replace(struct cells *c, struct cell *chunk, uint32_t n, struct bytes record) {
    uint32_t at, size;
    struct buf b = {0};
    nth(chunk, n, &at, &size);
    pack_bytes(&b, record);
    cells_splice(c, chunk, at, size, buf_view(&b));
    buf_done(&b);
}

uint32_t packed_add(struct cells *c, const struct packed *k, struct bytes app, struct bytes owner,
    struct bytes record, bool fresh) {
    uint8_t room[300];
    struct cell *cell =
        fresh ? cells_new(c, key2(room, k->head, app, owner)) : head_cell(c, k, app, owner);
    struct head h = head_read(cell);
    uint32_t slot = h.hole ? h.hole - 1 : h.slots, at, size;
    struct cell *chunk = slot == h.slots && slot % k->per == 0
                             ? cells_new(c, key2n(room, k->chunk, app, owner, slot / k->per))
                             : chunk_cell(c, k, app, owner, slot / k->per);
    check(record.n && record.p[0]);
    if (h.hole) {
        struct bytes hole = nth(chunk, slot % k->per, &at, &size);
        check(is_hole(hole) && hole.n == 1 + sizeof h.hole);
        memcpy(&h.hole, hole.p + 1, sizeof h.hole);
        replace(c, chunk, slot % k->per, record);
    } else {
        struct buf b = {0};
        pack_bytes(&b, record);
        cells_append(c, chunk, buf_view(&b));
        buf_done(&b);
        h.slots++;
    }
    h.count++;
    head_write(c, cell, h);
    return slot;
}

void packed_remove(
    struct cells *c, const struct packed *k, struct bytes app, struct bytes owner, uint32_t slot) {
    struct cell *cell = head_cell(c, k, app, owner);
    struct head h = head_read(cell);
    uint8_t hole[1 + sizeof h.hole] = {0};
    check(slot < h.slots && h.count);
    if (h.count == 1) {
        packed_clear(c, k, app, owner);
        return;
    }
    struct cell *chunk = chunk_cell(c, k, app, owner, slot / k->per);
    h.count--;
    if (slot == h.slots - 1) { /* who came last goes first: as if they had never been */
        uint32_t at, size;
        nth(chunk, slot % k->per, &at, &size);
        cells_splice(c, chunk, at, size, (struct bytes){0});
        h.slots--;
    } else {
        memcpy(hole + 1, &h.hole, sizeof h.hole);
        replace(c, chunk, slot % k->per, bytes_of(hole, sizeof hole));
        h.hole = slot + 1;
    }
    head_write(c, cell, h);
}

/* NULL: the list ends before it. Its head is not needed: a chunk that is there has a record, and only the
 * last one has fewer than it could. */
static const struct cell *chunk_find(
    struct cells *c, const struct packed *k, struct bytes app, struct bytes owner, uint32_t chunk) {
    uint8_t room[300];
    struct bytes key = key2n(room, k->chunk, app, owner, chunk);
    const struct cell *cell =
        k == &PACKED_MEMBERS && !chunk ? cells_get(c, key) : cells_find(c, key);
    return cell && cell->size ? cell : NULL;
}

size_t packed_some(struct cells *c, const struct packed *k, struct bytes app, struct bytes owner,
    uint32_t *slot, size_t max, bool (*fn)(void *, struct bytes), void *arg) {
    size_t given = 0;
    bool more = true;
    while (more && given < max) {
        const struct cell *chunk = chunk_find(c, k, app, owner, *slot / k->per);
        if (!chunk) break;
        uint32_t n = *slot % k->per;
        struct unpack u = unpack_of(bytes_of(chunk->data, chunk->size));
        for (uint32_t skip = n; skip && unpack_more(&u); skip--) unpack_bytes(&u);
        for (; unpack_more(&u) && given < max; n++) {
            struct bytes record = unpack_bytes(&u);
            ++*slot;
            if (is_hole(record)) continue;
            given++;
            if (!fn(arg, record)) return given;
        }
        more = n == k->per;
    }
    return given;
}

void packed_each(struct cells *c, const struct packed *k, struct bytes app, struct bytes owner,
    bool (*fn)(void *, struct bytes), void *arg) {
    uint32_t slot = 0;
    packed_some(c, k, app, owner, &slot, SIZE_MAX, fn, arg);
}

void packed_clear(struct cells *c, const struct packed *k, struct bytes app, struct bytes owner) {
    struct cell *cell = head_cell(c, k, app, owner);
    uint32_t slots = head_read(cell).slots;
    for (uint32_t first = 0; first < slots; first += k->per)
        cells_put(c, chunk_cell(c, k, app, owner, first / k->per), (struct bytes){0});
    if (slots) cells_put(c, cell, (struct bytes){0});
}
