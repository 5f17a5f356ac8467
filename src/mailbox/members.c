/* mailbox: who belongs to which audience, from when to when, and each user's conversations.
 *
 *   'r' app user audience   u32 slot + 1 among the audience's members · u32 slot + 1 among the user's memberships · u32 slot + 1 among the user's ties
 *
 * Keeps: a user is in an audience exactly when their row names a member slot, and then their newest membership of it is the one that the row names and is open.
 * A membership through which nothing was ever seen is forgotten when it ends, so coming and going leaves nothing behind. SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "mailbox/mailbox_in.h"

struct row { /* stored as it is; 0: none */
    uint32_t member, membership, tie;
};

static struct cell *row_cell(struct cells *c, struct bytes app, struct bytes user, struct bytes audience) {
    uint8_t room[300];
    return cells_get(c, key3(room, 'r', app, user, audience));
}
static struct row row_read(const struct cell *cell) {
    struct row r = {0};
    if (!cell->size) return r;
    check(cell->size == sizeof r);
    memcpy(&r, cell->data, sizeof r);
    return r;
}
static void row_write(struct cells *c, struct cell *cell, struct row r) {
    bool any = r.member || r.membership || r.tie;
    cells_put(c, cell, bytes_of(&r, any ? sizeof r : 0));
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
    return row_read(row_cell(c, app, user, audience)).member != 0;
}
uint64_t mailbox_member_count(struct cells *c, struct bytes app, struct bytes audience) { return packed_count(c, &PACKED_MEMBERS, app, audience); }

void mailbox_members(struct cells *c, struct bytes app, struct bytes audience, bool (*fn)(void *, struct bytes), void *arg) {
    packed_each(c, &PACKED_MEMBERS, app, audience, fn, arg);
}

void mailbox_join(struct step *s, struct bytes user, struct bytes audience) {
    struct cell *cell = row_cell(s->cells, s->app, user, audience);
    struct row r = row_read(cell);
    if (r.member) return;
    r.member = 1 + packed_add(s->cells, &PACKED_MEMBERS, s->app, audience, user);
    struct buf b = {0};
    pack_bytes(&b, audience);
    pack_u64(&b, s->position);
    pack_u64(&b, 0);
    r.membership = 1 + packed_add(s->cells, &PACKED_MEMBERSHIPS, s->app, user, buf_view(&b));
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
    r.membership = slot + 1;
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
    memcpy(cells_edit(s->cells, cell) + at + record.n - sizeof s->position, &s->position, sizeof s->position);
}

void mailbox_leave(struct step *s, struct bytes user, struct bytes audience) {
    struct cell *cell = row_cell(s->cells, s->app, user, audience);
    struct row r = row_read(cell);
    struct bytes moved;
    if (!r.member) return;
    if (packed_remove(s, &PACKED_MEMBERS, audience, r.member - 1, &moved)) {
        struct cell *other = row_cell(s->cells, s->app, moved, audience);
        struct row o = row_read(other);
        o.member = r.member;
        row_write(s->cells, other, o);
    }
    uint32_t membership = r.membership - 1;
    r.member = r.membership = 0;
    row_write(s->cells, cell, r);
    membership_end(s, user, membership);
}

/* ---- ties ---- */
static struct tie tie_read(struct bytes record) {
    struct unpack u = unpack_of(record);
    struct tie t = {.type = unpack_u8(&u)};
    t.conversation = unpack_bytes(&u);
    t.peer = unpack_bytes(&u);
    check(!u.bad);
    return t;
}

void mailbox_tie(struct step *s, struct bytes user, const struct tie *t) {
    struct cell *cell = row_cell(s->cells, s->app, user, t->conversation);
    struct row r = row_read(cell);
    if (r.tie) return;
    struct buf b = {0};
    pack_u8(&b, t->type);
    pack_bytes(&b, t->conversation);
    pack_bytes(&b, t->peer);
    r.tie = 1 + packed_add(s->cells, &PACKED_TIES, s->app, user, buf_view(&b));
    buf_done(&b);
    row_write(s->cells, cell, r);
}

void mailbox_untie(struct step *s, struct bytes user, struct bytes conversation) {
    struct cell *cell = row_cell(s->cells, s->app, user, conversation);
    struct row r = row_read(cell);
    struct bytes moved;
    if (!r.tie) return;
    if (packed_remove(s, &PACKED_TIES, user, r.tie - 1, &moved)) {
        struct cell *other = row_cell(s->cells, s->app, user, tie_read(moved).conversation);
        struct row o = row_read(other);
        o.tie = r.tie;
        row_write(s->cells, other, o);
    }
    r.tie = 0;
    row_write(s->cells, cell, r);
}

uint64_t mailbox_tie_count(struct cells *c, struct bytes app, struct bytes user) { return packed_count(c, &PACKED_TIES, app, user); }

struct ties_each {
    bool (*fn)(void *, const struct tie *);
    void *arg;
};
static bool tie_give(void *arg, struct bytes record) {
    struct ties_each *w = arg;
    struct tie t = tie_read(record);
    return w->fn(w->arg, &t);
}
void mailbox_ties(struct cells *c, struct bytes app, struct bytes user, bool (*fn)(void *, const struct tie *), void *arg) {
    struct ties_each w = {fn, arg};
    packed_each(c, &PACKED_TIES, app, user, tie_give, &w);
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
static bool name_tie(void *arg, const struct tie *t) {
    struct names *l = arg;
    l->list[l->n++] = arena_copy(l->arena, t->conversation);
    return true;
}

void members_forget(struct step *s, struct bytes user) {
    size_t most = packed_count(s->cells, &PACKED_MEMBERSHIPS, s->app, user), ties = packed_count(s->cells, &PACKED_TIES, s->app, user);
    struct names l = {s->arena, arena_alloc(s->arena, (most > ties ? most : ties) * sizeof *l.list + 1), 0};
    packed_each(s->cells, &PACKED_MEMBERSHIPS, s->app, user, name_membership, &l);
    for (size_t i = 0; i < l.n; i++) mailbox_leave(s, user, l.list[i]);
    packed_clear(s->cells, &PACKED_MEMBERSHIPS, s->app, user);
    l.n = 0;
    mailbox_ties(s->cells, s->app, user, name_tie, &l);
    for (size_t i = 0; i < l.n; i++) mailbox_untie(s, user, l.list[i]);
}
