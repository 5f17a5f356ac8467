/* chat, conversation side: the list of members, in the order in which they joined.
 *
 *   'P' app conv user    struct member: its slot says where in the list it stands
 *   'p' app conv chunk   { u8 slot % 256 · varbytes user } of the slots 256 chunk .. 256 chunk + 255 that are taken, ascending
 *   'Q' app conv         u32 for each partition: how many members live there
 *
 * Keeps: a slot is given once and never moves, so a page that stopped at one goes on behind it whoever came and went; coming and going cost one chunk each.
 * A conversation that has members has an owner, except a direct one. SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "chat/conv_in.h"

#define CHUNK 256u

static struct bytes view_of(const struct cell *c) { return bytes_of(c->data, c->size); }
static struct cell *member_cell(struct cells *c, struct bytes app, struct bytes conv, struct bytes user) {
    uint8_t room[300];
    return cells_get(c, key3(room, 'P', app, conv, user));
}
static struct cell *chunk_cell(struct cells *c, struct bytes app, struct bytes conv, uint64_t chunk) {
    uint8_t room[300];
    return cells_get(c, key2n(room, 'p', app, conv, chunk));
}

bool member_get(struct cells *c, struct bytes app, struct bytes conv, struct bytes user, struct member *out) {
    struct cell *cell = member_cell(c, app, conv, user);
    if (cell->size != sizeof *out) return false;
    memcpy(out, cell->data, sizeof *out);
    return true;
}
void member_set(struct step *s, struct bytes conv, struct bytes user, const struct member *m) {
    struct cell *cell = member_cell(s->cells, s->app, conv, user);
    if (cell->size == sizeof *m) memcpy(cells_edit(s->cells, cell), m, sizeof *m);
    else cells_put(s->cells, cell, bytes_of(m, sizeof *m));
}

void members_each(struct cells *c, struct bytes app, struct bytes conv, const struct conv *v, bool (*fn)(void *, struct bytes), void *arg) {
    for (uint64_t chunk = v->first_chunk; chunk * CHUNK < v->slots; chunk++) {
        struct unpack u = unpack_of(view_of(chunk_cell(c, app, conv, chunk)));
        while (unpack_more(&u)) {
            unpack_u8(&u);
            if (!fn(arg, unpack_bytes(&u))) return;
        }
    }
}

void members_newest(struct cells *c, struct bytes app, struct bytes conv, const struct conv *v, uint64_t below, bool (*fn)(void *, uint64_t, struct bytes), void *arg) {
    if (!below || below > v->slots) below = v->slots;
    for (uint64_t chunk = (below + CHUNK - 1) / CHUNK; chunk-- > v->first_chunk;) {
        struct unpack u = unpack_of(view_of(chunk_cell(c, app, conv, chunk)));
        struct bytes user[CHUNK];
        uint64_t slot[CHUNK];
        unsigned n = 0;
        while (unpack_more(&u)) {
            check(n < CHUNK);
            slot[n] = chunk * CHUNK + unpack_u8(&u);
            user[n] = unpack_bytes(&u);
            n += slot[n] < below;
        }
        while (n--)
            if (!fn(arg, slot[n], user[n])) return;
    }
}

/* ---- how many members live where ---- */
/* Gives how many there are now. */
static uint32_t partition_count(struct step *s, struct bytes conv, struct bytes user, int by) {
    uint8_t room[300];
    struct cell *cell = cells_get(s->cells, key2(room, 'Q', s->app, conv));
    size_t n = s->partitions * 4u;
    if (cell->size != n) cells_put(s->cells, cell, bytes_of(arena_zero(s->arena, n), n));
    uint8_t *at = cells_edit(s->cells, cell) + 4u * partition_of_user(s->app, user, s->partitions);
    uint32_t count;
    memcpy(&count, at, 4);
    count = (uint32_t)((int)count + by);
    memcpy(at, &count, 4);
    return count;
}

/* ---- joining and leaving ---- */
/* Where all may see what was before, the copy of a partition that had no member till now begins with the newest message. */
static void newest_given(struct step *s, struct bytes conv, const struct conv *v, struct buf *b) {
    struct message m;
    struct buf one = {0};
    if (v->history_all && message_get(s->cells, s->app, conv, v->seq, &m)) message_encode(&one, &m);
    pack_bytes(b, buf_view(&one));
    buf_done(&one);
}

void member_add(struct step *s, struct bytes conv, struct conv *v, struct bytes user, uint8_t role, struct bytes peer, struct bytes by) {
    if (v->type != CONV_DIRECT && !v->owners) role = ROLE_OWNER;
    struct member m = {.role = role, .slot = v->slots, .joined_seq = v->seq, .delivered = v->seq, .read = v->seq, .joined_ms = s->time_ms};
    member_set(s, conv, user, &m);
    struct buf b = {0};
    pack_u8(&b, (uint8_t)(v->slots % CHUNK));
    pack_bytes(&b, user);
    cells_append(s->cells, chunk_cell(s->cells, s->app, conv, v->slots / CHUNK), buf_view(&b));
    check(v->slots != UINT32_MAX);
    v->slots++;
    v->member_count++;
    v->owners += role == ROLE_OWNER;
    bool first_there = partition_count(s, conv, user, 1) == 1;
    struct bytes metadata, name = conv_name(s->cells, s->app, conv, &metadata);
    buf_reset(&b);
    pack_bytes(&b, conv);
    pack_u8(&b, v->type);
    pack_bytes(&b, user);
    pack_u8(&b, role);
    pack_bytes(&b, peer);
    pack_var(&b, v->seq);
    pack_u8(&b, v->history_all);
    pack_var(&b, v->member_count);
    pack_bytes(&b, name);
    pack_bytes(&b, metadata);
    pack_bytes(&b, by);
    if (first_there) newest_given(s, conv, v, &b);
    step_relay(s, partition_of_user(s->app, user, s->partitions), KIND_COPY_JOIN, buf_view(&b));
    buf_done(&b);
}

static void slot_free(struct step *s, struct bytes conv, struct conv *v, uint32_t slot) {
    struct cell *chunk = chunk_cell(s->cells, s->app, conv, slot / CHUNK);
    struct unpack u = unpack_of(view_of(chunk));
    for (;;) {
        check(unpack_more(&u));
        uint32_t at = (uint32_t)(u.p - chunk->data);
        bool found = unpack_u8(&u) == slot % CHUNK;
        unpack_bytes(&u);
        if (!found) continue;
        cells_splice(s->cells, chunk, at, (uint32_t)(u.p - chunk->data) - at, (struct bytes){0});
        break;
    }
    v->member_count--;
    while (v->first_chunk < v->slots / CHUNK && !chunk_cell(s->cells, s->app, conv, v->first_chunk)->size) v->first_chunk++;
}

void member_role_set(struct step *s, struct bytes conv, struct conv *v, struct bytes user, struct member *m, uint8_t role) {
    v->owners = v->owners - (m->role == ROLE_OWNER) + (role == ROLE_OWNER);
    m->role = role;
    member_set(s, conv, user, m);
}

static bool first_of(void *arg, struct bytes user) {
    *(struct bytes *)arg = user;
    return false;
}

void member_drop(struct step *s, struct bytes conv, struct conv *v, struct bytes user) {
    struct member m;
    if (!member_get(s->cells, s->app, conv, user, &m)) return;
    cells_put(s->cells, member_cell(s->cells, s->app, conv, user), (struct bytes){0});
    slot_free(s, conv, v, m.slot);
    v->owners -= m.role == ROLE_OWNER;
    partition_count(s, conv, user, -1);
    struct buf b = {0};
    pack_bytes(&b, conv);
    pack_bytes(&b, user);
    pack_var(&b, v->seq);
    pack_var(&b, v->member_count);
    step_relay(s, partition_of_user(s->app, user, s->partitions), KIND_COPY_LEAVE, buf_view(&b));
    buf_done(&b);
    struct bytes heir = {0};
    if (v->type == CONV_DIRECT || v->owners || !v->member_count) return;
    members_each(s->cells, s->app, conv, v, first_of, &heir); /* the one who has been in it for longest */
    heir = arena_copy(s->arena, heir);
    check(member_get(s->cells, s->app, conv, heir, &m));
    member_role_set(s, conv, v, heir, &m, ROLE_OWNER);
}
