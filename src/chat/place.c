/* chat, member side: a member's place in a conversation: since when, marks, preferences; and the
 * lists that lead to it.
 *
 *   'H' app user conv   u64 joined_seq, left_seq, delivered, read · u64 muted_until_ms · u8 in,
 *                       role, archived, history_all, type · 3 reserved ·
 *                       varbytes peer · u64 joined_ms · [var archived_seq · [var told_seq]]
 *   'h' app user        varbytes conversations that the user is in;   'o' app user   that the user
 *                       left (what they wrote there is erased with them)
 *   'd' app conv        direct: varbytes members who live here
 *
 * Keeps: a conversation is in 'h' exactly while the place says `in`; read is never below
 * joined_seq, so it alone says what is unread. SPDX-License-Identifier: Apache-2.0 */
#include <stddef.h>
#include <string.h>

#include "chat/member_in.h"

enum { PLACE_FIXED = 48 };
_Static_assert(offsetof(struct place, peer) == PLACE_FIXED, "what is stored as it is");

static struct cell *place_cell(
    struct cells *c, struct bytes app, struct bytes user, struct bytes conv) {
    uint8_t room[300];
    return cells_get(c, key3(room, 'H', app, user, conv));
}

bool place_get(
    struct cells *c, struct bytes app, struct bytes user, struct bytes conv, struct place *out) {
    struct cell *cell = place_cell(c, app, user, conv);
    if (!cell->size) return false;
    check(cell->size > PLACE_FIXED);
    memcpy(out, cell->data, PLACE_FIXED);
    struct unpack u = unpack_of(bytes_of(cell->data + PLACE_FIXED, cell->size - PLACE_FIXED));
    out->peer = unpack_bytes(&u);
    out->joined_ms = (int64_t)unpack_u64(&u);
    out->archived_seq = unpack_more(&u) ? unpack_var(&u) : 0;
    out->told_seq = unpack_more(&u) ? unpack_var(&u) : 0;
    check(!u.bad);
    return true;
}

void place_set(struct step *s, struct bytes user, struct bytes conv, const struct place *p) {
    struct cell *cell = place_cell(s->cells, s->app, user, conv);
    struct buf b = {0};
    buf_add(&b, p, PLACE_FIXED);
    pack_bytes(&b, p->peer); /* may view this very cell: copied before the cell changes */
    pack_u64(&b, (uint64_t)p->joined_ms);
    if (p->archived_seq || p->told_seq) pack_var(&b, p->archived_seq);
    if (p->told_seq) pack_var(&b, p->told_seq);
    cells_put(s->cells, cell, buf_view(&b));
    buf_done(&b);
}

void place_forget(struct step *s, struct bytes user, struct bytes conv) {
    cells_put(s->cells, place_cell(s->cells, s->app, user, conv), (struct bytes){0});
}

/* ---- lists ---- */
static void listed(struct step *s, char tag, struct bytes owner, struct bytes id, bool on) {
    uint8_t room[300];
    struct cell *cell = cells_get(s->cells, key2(room, tag, s->app, owner));
    struct unpack u = unpack_of(bytes_of(cell->data, cell->size));
    while (unpack_more(&u)) {
        const uint8_t *at = u.p;
        if (!bytes_eq(unpack_bytes(&u), id)) continue;
        if (!on)
            cells_splice(s->cells, cell, (uint32_t)(at - cell->data), (uint32_t)(u.p - at),
                (struct bytes){0});
        return;
    }
    if (!on) return;
    struct buf b = {0};
    pack_bytes(&b, id);
    cells_append(s->cells, cell, buf_view(&b));
    buf_done(&b);
}

void place_list(struct step *s, struct bytes user, struct bytes conv, uint8_t type, bool on) {
    listed(s, 'h', user, conv, on);
    if (on) listed(s, 'o', user, conv, false);
    if (type == CONV_DIRECT) listed(s, 'd', conv, user, on);
}

void place_left(struct step *s, struct bytes user, struct bytes conv) {
    listed(s, 'o', user, conv, true);
}

void place_lists_forget(struct step *s, struct bytes user) {
    uint8_t room[300];
    cells_put(s->cells, cells_get(s->cells, key2(room, 'h', s->app, user)), (struct bytes){0});
    cells_put(s->cells, cells_get(s->cells, key2(room, 'o', s->app, user)), (struct bytes){0});
}

static void given(struct bytes packed, bool (*fn)(void *, struct bytes), void *arg) {
    struct unpack u = unpack_of(packed);
    while (unpack_more(&u))
        if (!fn(arg, unpack_bytes(&u))) return;
}

bool chat_is_member(
    struct cells *c, struct bytes app, struct bytes user, struct bytes conversation) {
    struct place p;
    return place_get(c, app, user, conversation, &p) && p.in;
}

void chat_local_members(struct cells *c, struct bytes app, struct bytes conversation,
    bool (*fn)(void *, struct bytes), void *arg) {
    uint8_t room[300];
    struct cell *cell = cells_get(c, key2(room, 'd', app, conversation));
    if (cell->size) given(bytes_of(cell->data, cell->size), fn, arg);
    else mailbox_members(c, app, conversation, fn, arg);
}

void chat_conversations_of(struct cells *c, struct bytes app, struct bytes user,
    bool (*fn)(void *, struct bytes), void *arg) {
    uint8_t room[300];
    struct cell *cell = cells_get(c, key2(room, 'h', app, user));
    given(bytes_of(cell->data, cell->size), fn, arg);
}

void chat_conversations_left(struct cells *c, struct bytes app, struct bytes user,
    bool (*fn)(void *, struct bytes), void *arg) {
    uint8_t room[300];
    struct cell *cell = cells_get(c, key2(room, 'o', app, user));
    given(bytes_of(cell->data, cell->size), fn, arg);
}

/* ---- unread ---- */
uint64_t block_unread(struct bytes block, const struct unread_of *w) {
    struct unpack u = unpack_of(block);
    uint64_t n = 0;
    while (unpack_more(&u)) {
        struct message m;
        check(message_decode(unpack_bytes(&u), &m) == OK);
        n += m.seq > w->after && !bytes_eq(m.from, w->user) && !message_gone(&m, w->now_ms) &&
             !packed_has(w->blocks, m.from);
    }
    return n;
}

static uint64_t news(struct cells *c, struct bytes app, struct bytes user, struct bytes conv,
    uint64_t after, int64_t now_ms) {
    struct copy head;
    if (!copy_get(c, app, conv, &head) || after >= head.last_seq) return 0;
    struct unread_of w = {user, mailbox_block_list(c, app, user), after, now_ms};
    uint64_t n = 0;
    for (uint64_t block = (after + 1) / BLOCK_MESSAGES; block <= head.last_seq / BLOCK_MESSAGES;
         block++) {
        uint8_t room[300];
        struct cell *cell = cells_get(c, key2n(room, 'B', app, conv, block));
        n += block_unread(bytes_of(cell->data, cell->size), &w);
    }
    return n;
}

uint64_t place_unread(struct cells *c, struct bytes app, struct bytes user, struct bytes conv,
    const struct place *p, int64_t now_ms) {
    return news(c, app, user, conv, p->read, now_ms);
}

bool place_archived(struct cells *c, struct bytes app, struct bytes user, struct bytes conv,
    const struct place *p, int64_t now_ms) {
    return p->archived &&
           (p->muted_until_ms > now_ms || !news(c, app, user, conv, p->archived_seq, now_ms));
}
