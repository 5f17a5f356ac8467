/* chat, member side: this partition's copy of a conversation's messages, one however many members
 * live here.
 *
 *   'c' app conv         struct copy
 *   'C' app conv         varbytes name · varbytes metadata
 *   'B' app conv seq/64  varbytes message, seq ascending
 *
 * Keeps: a message is in the copy at most once; the copy has every message of the times when
 * somebody here was a member, and of those before that changed since, where they may be seen. SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "chat/member_in.h"

static struct cell *cell2(struct cells *c, char tag, struct bytes app, struct bytes id) {
    uint8_t room[300];
    return cells_get(c, key2(room, tag, app, id));
}
static struct bytes view_of(const struct cell *c) { return bytes_of(c->data, c->size); }
static struct cell *block_cell(struct cells *c, struct bytes app, struct bytes conv, uint64_t seq) {
    uint8_t room[300];
    return cells_get(c, key2n(room, 'B', app, conv, seq / BLOCK_MESSAGES));
}

bool packed_has(struct bytes packed, struct bytes id) {
    struct unpack u = unpack_of(packed);
    while (unpack_more(&u))
        if (bytes_eq(unpack_bytes(&u), id)) return true;
    return false;
}

bool copy_get(struct cells *c, struct bytes app, struct bytes conv, struct copy *out) {
    struct cell *cell = cell2(c, 'c', app, conv);
    if (cell->size != sizeof *out) return false;
    memcpy(out, cell->data, sizeof *out);
    return true;
}
void copy_set(struct step *s, struct bytes conv, const struct copy *v) {
    cells_put(s->cells, cell2(s->cells, 'c', s->app, conv), bytes_of(v, sizeof *v));
}

struct bytes copy_name(
    struct cells *c, struct bytes app, struct bytes conv, struct bytes *out_metadata) {
    struct cell *cell = cell2(c, 'C', app, conv);
    struct unpack u = unpack_of(view_of(cell));
    *out_metadata = (struct bytes){0};
    if (!cell->size) return (struct bytes){0};
    struct bytes name = unpack_bytes(&u);
    *out_metadata = unpack_bytes(&u);
    return name;
}
void copy_name_set(struct step *s, struct bytes conv, struct bytes name, struct bytes metadata) {
    struct buf b = {0};
    pack_bytes(&b, name);
    pack_bytes(&b, metadata);
    struct cell *cell = cell2(s->cells, 'C', s->app, conv);
    /* each who joins brings it again */
    if (!bytes_eq(view_of(cell), buf_view(&b))) cells_put(s->cells, cell, buf_view(&b));
    buf_done(&b);
}

bool copy_message(
    struct cells *c, struct bytes app, struct bytes conv, uint64_t seq, struct message *out) {
    uint32_t at, size;
    return block_find(view_of(block_cell(c, app, conv, seq)), seq, out, &at, &size);
}

void copy_append(struct step *s, struct bytes conv, uint64_t seq, struct bytes packed) {
    uint8_t key[300], room[10];
    bool first = seq % BLOCK_MESSAGES == 0; /* of its block */
    struct cell *cell =
        first ? cells_new(s->cells, key2n(key, 'B', s->app, conv, seq / BLOCK_MESSAGES))
              : block_cell(s->cells, s->app, conv, seq);
    struct buf length = {room, 0, sizeof room};
    pack_var(&length, packed.n);
    cells_append(s->cells, cell, buf_view(&length));
    cells_append(s->cells, cell, packed);
}

bool copy_replace(struct step *s, struct bytes conv, uint64_t seq, struct bytes packed) {
    struct cell *cell = block_cell(s->cells, s->app, conv, seq);
    struct message old;
    uint32_t at, size;
    if (!block_find(view_of(cell), seq, &old, &at, &size)) return false;
    struct buf b = {0};
    pack_bytes(&b, packed);
    cells_splice(s->cells, cell, at, size, buf_view(&b));
    buf_done(&b);
    return true;
}

/* Where it stands in its block, or would. */
static uint32_t block_place(struct bytes block, uint64_t seq) {
    struct unpack u = unpack_of(block);
    const uint8_t *at = u.p;
    for (; unpack_more(&u); at = u.p) {
        struct unpack one = unpack_of(unpack_bytes(&u));
        if (unpack_var(&one) >= seq) break;
    }
    return (uint32_t)(at - block.p);
}

void copy_insert(struct step *s, struct bytes conv, uint64_t seq, struct bytes packed) {
    struct cell *cell = block_cell(s->cells, s->app, conv, seq);
    struct buf b = {0};
    pack_bytes(&b, packed);
    cells_splice(s->cells, cell, block_place(view_of(cell), seq), 0, buf_view(&b));
    buf_done(&b);
}

/* Sender and seq stand before the rest of a message: nothing else is read of those of others. */
static bool is_senders(struct bytes packed, struct bytes sender, uint64_t from, uint64_t to) {
    struct unpack u = unpack_of(packed);
    uint64_t seq = unpack_var(&u);
    unpack_var(&u);
    unpack_bytes(&u);
    return seq >= from && seq <= to && bytes_eq(unpack_bytes(&u), sender);
}

static bool block_has(struct bytes block, struct bytes sender, uint64_t from, uint64_t to) {
    struct unpack u = unpack_of(block);
    while (unpack_more(&u))
        if (is_senders(unpack_bytes(&u), sender, from, to)) return true;
    return false;
}

/* The block again, with stubs for what the sender wrote. */
static void block_blanked(struct bytes block, struct bytes sender, uint64_t from, uint64_t to,
    int64_t now_ms, struct buf *out) {
    struct unpack u = unpack_of(block);
    struct buf one = {0};
    while (unpack_more(&u)) {
        struct bytes packed = unpack_bytes(&u);
        struct message m;
        if (is_senders(packed, sender, from, to)) {
            check(message_decode(packed, &m) == OK);
            struct message stub = {.seq = m.seq,
                .id = m.id,
                .from = m.from,
                .created_ms = m.created_ms,
                .deleted_ms = m.deleted_ms ? m.deleted_ms : now_ms};
            buf_reset(&one);
            message_encode(&one, &stub);
            packed = buf_view(&one);
        }
        pack_bytes(out, packed);
    }
    buf_done(&one);
}

void copy_blank(
    struct step *s, struct bytes conv, uint64_t from, uint64_t to, struct bytes sender) {
    struct buf b = {0};
    for (uint64_t block = from / BLOCK_MESSAGES; block <= to / BLOCK_MESSAGES; block++) {
        struct cell *cell = block_cell(s->cells, s->app, conv, block * BLOCK_MESSAGES);
        if (!block_has(view_of(cell), sender, from, to)) continue;
        buf_reset(&b);
        block_blanked(view_of(cell), sender, from, to, s->time_ms, &b);
        cells_put(s->cells, cell, buf_view(&b));
    }
    buf_done(&b);
}
