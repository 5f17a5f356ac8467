/* mailbox: who belongs to which audience, and from when to when.
 *
 *   'r' app user audience   u32 slot among the audience's members · u32 slot among the user's
 *                           memberships, while in
 *
 * Memberships of topics and of followers lie apart from those of conversations: who is in a thousand
 * groups and in no topic is not asked about them. Everyone ("*") is no membership: the user's head
 * says since when, and which slot they have.
 * Keeps: a user is in an audience exactly when there is a row, and the membership that it names is
 * the open one. A membership through which nothing was ever seen is forgotten when it ends, so
 * coming and going leaves nothing behind but, for some weeks, a line of left.c. SPDX-License-Identifier: Apache-2.0 */
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

/* ---- memberships ---- */
struct membership membership_read(struct bytes record) {
    struct unpack u = unpack_of(record);
    struct membership g = {.audience = unpack_bytes(&u)};
    g.from = unpack_u64(&u);
    g.to = unpack_u64(&u);
    check(!u.bad);
    return g;
}

bool member_slots(struct cells *c, struct bytes app, struct bytes user, struct bytes audience,
    uint32_t *out_member, uint32_t *out_membership) {
    const struct cell *cell = row_cell(c, app, user, audience);
    if (cell->size != sizeof(struct row)) return false;
    struct row r = row_read(cell);
    *out_member = r.member;
    *out_membership = r.membership;
    return true;
}

static const struct packed *memberships_of(struct bytes audience) {
    return audience_is_special(audience) ? &PACKED_TOPICS : &PACKED_MEMBERSHIPS;
}

bool mailbox_is_in(struct cells *c, struct bytes app, struct bytes user, struct bytes audience) {
    if (bytes_eq(audience, EVERYONE)) return mailbox_known(c, app, user);
    return row_cell(c, app, user, audience)->size != 0;
}

bool mailbox_was_in(struct cells *c, struct bytes app, struct bytes user, struct bytes audience,
    uint64_t position) {
    if (bytes_eq(audience, EVERYONE)) {
        struct list_head h;
        return list_head_find(c, 'm', app, user, &h) && h.born < position;
    }
    const struct cell *cell = row_cell(c, app, user, audience);
    struct cell *at_cell;
    uint32_t at;
    if (!cell->size) return false;
    struct row r = row_read(cell);
    struct bytes record =
        packed_at(c, memberships_of(audience), app, user, r.membership, &at_cell, &at);
    return membership_read(record).from < position;
}

uint64_t mailbox_member_count(struct cells *c, struct bytes app, struct bytes audience) {
    return packed_count(c, &PACKED_MEMBERS, app, audience);
}

void mailbox_members(struct cells *c, struct bytes app, struct bytes audience,
    bool (*fn)(void *, struct bytes), void *arg) {
    packed_each(c, &PACKED_MEMBERS, app, audience, fn, arg);
}
size_t mailbox_members_from(struct cells *c, struct bytes app, struct bytes audience,
    uint32_t *slot, size_t max, bool (*fn)(void *, struct bytes), void *arg) {
    return packed_some(c, &PACKED_MEMBERS, app, audience, slot, max, fn, arg);
}

struct audiences {
    bool (*fn)(void *, struct bytes, uint64_t);
    void *arg;
};
static bool audience_open(void *arg, struct bytes record) {
    const struct audiences *w = arg;
    struct membership g = membership_read(record);
    return g.to || w->fn(w->arg, g.audience, g.from);
}
void mailbox_topics(struct cells *c, struct bytes app, struct bytes user,
    bool (*fn)(void *, struct bytes, uint64_t), void *arg) {
    struct audiences w = {fn, arg};
    packed_each(c, &PACKED_TOPICS, app, user, audience_open, &w);
}

bool mailbox_join(struct step *s, struct bytes user, struct bytes audience) {
    uint8_t room[300];
    struct list_head h;
    check(!bytes_eq(audience, EVERYONE)); /* nobody comes or goes: they are there */
    /* of who was made by this very record nothing can be stored: many are, when a topic is filled */
    bool fresh = list_head_find(s->cells, 'm', s->app, user, &h) && h.born == s->position;
    struct cell *cell = fresh ? cells_new(s->cells, key3(room, 'r', s->app, user, audience))
                              : row_cell(s->cells, s->app, user, audience);
    struct row r;
    if (cell->size) return false;
    r.member = packed_add(s->cells, &PACKED_MEMBERS, s->app, audience, user, false);
    struct buf b = {0};
    pack_bytes(&b, audience);
    pack_u64(&b, s->position);
    pack_u64(&b, 0);
    r.membership =
        packed_add(s->cells, memberships_of(audience), s->app, user, buf_view(&b), fresh);
    buf_done(&b);
    cells_put(s->cells, cell, bytes_of(&r, sizeof r));
    return true;
}

static void membership_end(
    struct step *s, struct bytes user, struct bytes audience, uint32_t slot) {
    const struct packed *list = memberships_of(audience);
    struct cell *cell;
    uint32_t at;
    struct bytes record = packed_at(s->cells, list, s->app, user, slot, &cell, &at);
    if (list_head_get(s->cells, 's', s->app, audience).last <= membership_read(record).from)
        packed_remove(s->cells, list, s->app, user, slot);
    else
        memcpy(cells_edit(s->cells, cell) + at + record.n - sizeof s->position, &s->position,
            sizeof s->position);
}

static bool leave(struct step *s, struct bytes user, struct bytes audience) {
    struct cell *cell = row_cell(s->cells, s->app, user, audience);
    if (!cell->size) return false;
    struct row r = row_read(cell);
    packed_remove(s->cells, &PACKED_MEMBERS, s->app, audience, r.member);
    cells_put(s->cells, cell, (struct bytes){0});
    membership_end(s, user, audience, r.membership);
    return true;
}

bool mailbox_leave(struct step *s, struct bytes user, struct bytes audience) {
    if (!leave(s, user, audience)) return false;
    if (audience_is_special(audience)) left_note(s, user, audience);
    return true;
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
static void list_forget(struct step *s, const struct packed *list, struct bytes user) {
    size_t most = packed_count(s->cells, list, s->app, user);
    struct names l = {s->arena, arena_alloc(s->arena, (most + 1) * sizeof *l.list), 0};
    packed_each(s->cells, list, s->app, user, name_membership, &l);
    for (size_t i = 0; i < l.n; i++) leave(s, user, l.list[i]);
    packed_clear(s->cells, list, s->app, user);
}
void members_forget(struct step *s, struct bytes user) {
    list_forget(s, &PACKED_MEMBERSHIPS, user);
    list_forget(s, &PACKED_TOPICS, user);
    left_forget(s, user);
}
