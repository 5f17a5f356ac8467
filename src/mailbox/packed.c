/* mailbox: packed lists: records without order, so many to a key, each in a numbered slot. Adding
 * and removing cost one chunk, however long the list is.
 *
 *   head tag, app, owner          u32 count
 *   chunk tag, app, owner, n      varbytes record, for the slots n * per .. n * per + per - 1
 *
 * Keeps: slots are 0 .. count - 1 without holes: the last record moves into the place of one that
 * goes. SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "mailbox/mailbox_in.h"

const struct packed PACKED_MEMBERS = {'l', 'L', 256}, PACKED_MEMBERSHIPS = {'g', 'G', 64};

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

static uint32_t count_of(const struct cell *head) {
    uint32_t n = 0;
    if (head->size) memcpy(&n, head->data, sizeof n);
    return n;
}
static void count_set(struct cells *c, struct cell *head, uint32_t n) {
    cells_put(c, head, bytes_of(&n, n ? sizeof n : 0));
}

uint32_t packed_count(
    struct cells *c, const struct packed *k, struct bytes app, struct bytes owner) {
    uint8_t room[300];
    const struct cell *head = cells_find(c, key2(room, k->head, app, owner));
    return head ? count_of(head) : 0;
}

uint32_t packed_add(struct cells *c, const struct packed *k, struct bytes app, struct bytes owner,
    struct bytes record) {
    struct cell *head = head_cell(c, k, app, owner);
    uint32_t slot = count_of(head);
    struct buf b = {0};
    pack_bytes(&b, record);
    cells_append(c, chunk_cell(c, k, app, owner, slot / k->per), buf_view(&b));
    buf_done(&b);
    count_set(c, head, slot + 1);
    return slot;
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

bool packed_remove(struct step *s, const struct packed *k, struct bytes owner, uint32_t slot,
    struct bytes *out_moved) {
    struct cell *head = head_cell(s->cells, k, s->app, owner);
    uint32_t last = count_of(head) - 1, at, size;
    check(slot <= last);
    struct cell *end = chunk_cell(s->cells, k, s->app, owner, last / k->per);
    struct bytes moved = arena_copy(s->arena, nth(end, last % k->per, &at, &size));
    cells_splice(s->cells, end, at, size, (struct bytes){0});
    count_set(s->cells, head, last);
    if (slot == last) return false;
    struct cell *chunk = chunk_cell(s->cells, k, s->app, owner, slot / k->per);
    struct buf b = {0};
    pack_bytes(&b, moved);
    nth(chunk, slot % k->per, &at, &size);
    cells_splice(s->cells, chunk, at, size, buf_view(&b));
    buf_done(&b);
    *out_moved = moved;
    return true;
}

void packed_each(struct cells *c, const struct packed *k, struct bytes app, struct bytes owner,
    bool (*fn)(void *, struct bytes), void *arg) {
    uint32_t n = packed_count(c, k, app, owner);
    for (uint32_t first = 0; first < n; first += k->per) {
        const struct cell *chunk = chunk_cell(c, k, app, owner, first / k->per);
        struct unpack u = unpack_of(bytes_of(chunk->data, chunk->size));
        while (unpack_more(&u))
            if (!fn(arg, unpack_bytes(&u))) return;
    }
}

void packed_clear(struct cells *c, const struct packed *k, struct bytes app, struct bytes owner) {
    struct cell *head = head_cell(c, k, app, owner);
    uint32_t n = count_of(head);
    for (uint32_t first = 0; first < n; first += k->per)
        cells_put(c, chunk_cell(c, k, app, owner, first / k->per), (struct bytes){0});
    if (n) count_set(c, head, 0);
}
