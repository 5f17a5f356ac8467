/* mailbox: who belongs to which audience, and from when to when.
 *
 *   'r' app user audience   u32 slot among the audience's members · u32 slot among the user's
 *                           memberships, while in
 *
 * Keeps: a user is in an audience exactly when there is a row, and the membership that it names is
 * the open one. A membership through which nothing was ever seen is forgotten when it ends, so
 * coming and going leaves nothing behind. SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "mailbox/mailbox_in.h"

struct row { /* stored as it is */
    uint32_t member, membership;
};

static struct cell *row_cell(
    struct cells *c, struct bytes app, struct bytes user, struct bytes audience) {
    uint8_t room[300];
    return cells_get(c, key3(room, 'r', app, user, audience));
}
static struct row row_read(const struct cell *cell) {
    struct row r;
    check(cell->size == sizeof r);
    memcpy(&r, cell->data, sizeof r);
    return r;
}
static void row_write(struct cells *c, struct cell *cell, struct row r) {
    cells_put(c, cell, bytes_of(&r, sizeof r));
}

/* ---- memberships ---- */
struct membership membership_read(struct bytes record) {
    struct unpack u = unpack_of(record);
    struct membership g = {.audience = unpack_bytes(&u)};
    g.from = unpack_u64(&u);
    g.to = unpack_u64(&u);
    check(!u.bad);
    return g;
}

bool mailbox_is_in(struct cells *c, struct bytes app, struct bytes user, struct bytes audience) {
    return row_cell(c, app, user, audience)->size != 0;
}
uint64_t mailbox_member_count(struct cells *c, struct bytes app, struct bytes audience) {
    return packed_count(c, &PACKED_MEMBERS, app, audience);
}

void mailbox_members(struct cells *c, struct bytes app, struct bytes audience,
    bool (*fn)(void *, struct bytes), void *arg) {
    packed_each(c, &PACKED_MEMBERS, app, audience, fn, arg);
}

void mailbox_join(struct step *s, struct bytes user, struct bytes audience) {
    struct cell *cell = row_cell(s->cells, s->app, user, audience);
    struct row r;
    if (cell->size) return;
    r.member = packed_add(s->cells, &PACKED_MEMBERS, s->app, audience, user);
    struct buf b = {0};
    pack_bytes(&b, audience);
    pack_u64(&b, s->position);
    pack_u64(&b, 0);
    r.membership = packed_add(s->cells, &PACKED_MEMBERSHIPS, s->app, user, buf_view(&b));
    buf_done(&b);
    row_write(s->cells, cell, r);
}

static void membership_forget(struct step *s, struct bytes user, uint32_t slot) {
    struct bytes moved;
    if (!packed_remove(s, &PACKED_MEMBERSHIPS, user, slot, &moved)) return;
    struct membership g = membership_read(moved);
    if (g.to) return; /* rows name only the open ones */
    struct cell *cell = row_cell(s->cells, s->app, user, g.audience);
    struct row r = row_read(cell);
    r.membership = slot;
    row_write(s->cells, cell, r);
}

static void membership_end(struct step *s, struct bytes user, uint32_t slot) {
    struct cell *cell;
    uint32_t at;
    struct bytes record = packed_at(s->cells, &PACKED_MEMBERSHIPS, s->app, user, slot, &cell, &at);
    struct membership g = membership_read(record);
    if (list_head_get(s->cells, 's', s->app, g.audience).last <= g.from) {
        membership_forget(s, user, slot);
        return;
    }
    memcpy(cells_edit(s->cells, cell) + at + record.n - sizeof s->position, &s->position,
        sizeof s->position);
}

void mailbox_leave(struct step *s, struct bytes user, struct bytes audience) {
    struct cell *cell = row_cell(s->cells, s->app, user, audience);
    struct bytes moved;
    if (!cell->size) return;
    struct row r = row_read(cell);
    if (packed_remove(s, &PACKED_MEMBERS, audience, r.member, &moved)) {
        struct cell *other = row_cell(s->cells, s->app, moved, audience);
        struct row o = row_read(other);
        o.member = r.member;
        row_write(s->cells, other, o);
    }
    cells_put(s->cells, cell, (struct bytes){0});
    membership_end(s, user, r.membership);
}

/* ---- erasing ---- */
struct names { /* copied first: leaving changes the lists that are walked */
    struct arena *arena;
    struct bytes *list;
    size_t n;
};
static bool name_membership(void *arg, struct bytes record) {
    struct names *l = arg;
    struct membership g = membership_read(record);
    if (!g.to) l->list[l->n++] = arena_copy(l->arena, g.audience);
    return true;
}
void members_forget(struct step *s, struct bytes user) {
    size_t most = packed_count(s->cells, &PACKED_MEMBERSHIPS, s->app, user);
    struct names l = {s->arena, arena_alloc(s->arena, (most + 1) * sizeof *l.list), 0};
    packed_each(s->cells, &PACKED_MEMBERSHIPS, s->app, user, name_membership, &l);
    for (size_t i = 0; i < l.n; i++) mailbox_leave(s, user, l.list[i]);
    packed_clear(s->cells, &PACKED_MEMBERSHIPS, s->app, user);
}
