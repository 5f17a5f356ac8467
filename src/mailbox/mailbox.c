/* mailbox: users made and erased, what is appended to them, whom they block and mute. Pure where a
 * step is given.
 * Keeps: 'y' counts, for each user, who in this partition blocks them.
 * SPDX-License-Identifier: Apache-2.0 */
#include "mailbox/mailbox.h"

#include <string.h>

#include "mailbox/mailbox_in.h"

const int64_t mailbox_retention_ms = 30ll * 24 * 3600 * 1000;

static struct cell *cell_of(struct cells *c, char tag, struct bytes app, struct bytes id) {
    uint8_t room[300];
    return cells_get(c, key2(room, tag, app, id));
}
static struct bytes view_of(const struct cell *cell) { return bytes_of(cell->data, cell->size); }

bool mailbox_known(struct cells *c, struct bytes app, struct bytes user) {
    return cell_of(c, 'm', app, user)->size != 0;
}

bool mailbox_ensure(struct step *s, struct bytes user) {
    if (mailbox_known(s->cells, s->app, user)) return false;
    struct list_head h = {.born = s->position,
        .slot = packed_add(s->cells, &PACKED_MEMBERS, s->app, EVERYONE, user, false)};
    list_head_set(s->cells, 'm', s->app, user, &h);
    return true;
}

bool mailbox_answers(struct query *q) {
    const struct request *r = q->request;
    struct bytes user = r->params[0];
    bool own = !r->who.server && bytes_eq(r->who.user, user);
    if (own || mailbox_known(q->cells, r->who.app, user)) return true;
    answer_problem(q->answer, PROBLEM_NOT_FOUND, "", "there is no user '%.*s'", (int)user.n,
        (const char *)user.p);
    return false;
}

struct mailbox_facts mailbox_look(struct cells *c, struct bytes app, struct bytes user) {
    const struct cell *cell = cell_of(c, 'm', app, user);
    struct list_head h = {0};
    if (!cell->size) return (struct mailbox_facts){.wishes = true};
    memcpy(&h, cell->data, sizeof h);
    return (struct mailbox_facts){true, h.wishes != 0, h.last};
}

void mailbox_note_wishes(struct step *s, struct bytes user) {
    struct list_head h;
    if (!list_head_find(s->cells, 'm', s->app, user, &h) || h.wishes) return;
    h.wishes = 1;
    list_head_set(s->cells, 'm', s->app, user, &h);
}

static void append(
    struct step *s, char tag, struct bytes owner, struct delivery *d, const struct entry *e) {
    d->kind = DELIVER_ENTRY;
    d->entry = *e;
    d->entry.position = s->position;
    d->entry.at_ms = s->time_ms;
    if (list_append(s, tag, owner, &d->entry, mailbox_retention_ms)) step_deliver(s, d);
}

void mailbox_append(struct step *s, struct bytes user, const struct entry *e) {
    struct delivery d = {.user = user};
    append(s, 'm', user, &d, e);
}

void mailbox_append_shared(struct step *s, struct bytes audience, const struct entry *e) {
    struct delivery d = {.audience = audience};
    append(s, 's', audience, &d, e);
    if (audience_is_special(audience))
        cells_put(s->cells, cell_of(s->cells, 'X', s->app, (struct bytes){0}),
            bytes_of(&s->position, sizeof s->position));
}

uint64_t mailbox_newest_shared(struct cells *c, struct bytes app) {
    const struct cell *cell = cell_of(c, 'X', app, (struct bytes){0});
    uint64_t position = 0;
    if (cell->size) memcpy(&position, cell->data, sizeof position);
    return position;
}

/* ---- blocks and mutes: packed ids ---- */
static bool ids_have(struct bytes packed, struct bytes id, uint32_t *out_at, uint32_t *out_size) {
    struct unpack u = unpack_of(packed);
    while (unpack_more(&u)) {
        const uint8_t *at = u.p;
        if (!bytes_eq(unpack_bytes(&u), id)) continue;
        *out_at = (uint32_t)(at - packed.p);
        *out_size = (uint32_t)(u.p - at);
        return true;
    }
    return false;
}

/* false: it was so already. */
static bool ids_set(struct step *s, char tag, struct bytes user, struct bytes other, bool on) {
    struct cell *c = cell_of(s->cells, tag, s->app, user);
    uint32_t at = 0, size = 0;
    if (ids_have(view_of(c), other, &at, &size) == on) return false;
    mailbox_note_wishes(s, user);
    struct buf b = {0};
    pack_bytes(&b, other);
    if (on) cells_append(s->cells, c, buf_view(&b));
    else cells_splice(s->cells, c, at, size, (struct bytes){0});
    buf_done(&b);
    return true;
}

static void blockers_count(struct step *s, struct bytes other, bool more) {
    struct cell *c = cell_of(s->cells, 'y', s->app, other);
    uint32_t n = 0;
    if (c->size) memcpy(&n, c->data, sizeof n);
    check(more || n);
    n = more ? n + 1 : n - 1;
    cells_put(s->cells, c, bytes_of(&n, n ? sizeof n : 0));
}

/* The surface that owns conversations reads this: varbytes conversation, varbytes who blocks the
 * other in it, u8 on. */
static void block_relay(struct step *s, struct bytes user, struct bytes conversation, bool on) {
    struct buf b = {0};
    pack_bytes(&b, conversation);
    pack_bytes(&b, user);
    pack_u8(&b, on);
    step_relay(s, partition_of_conversation(s->app, conversation, s->partitions), KIND_CONV_BLOCK,
        buf_view(&b));
    buf_done(&b);
}

void mailbox_set_block(struct step *s, struct bytes user, struct bytes other, bool on) {
    if (s->planted == BUG_BLOCK_IGNORED || !ids_set(s, 'b', user, other, on)) return;
    blockers_count(s, other, on);
    struct unpack u = unpack_of(view_of(cell_of(s->cells, 'x', s->app, user)));
    while (unpack_more(&u)) {
        struct bytes who = unpack_bytes(&u), conversation = unpack_bytes(&u);
        if (bytes_eq(who, other)) block_relay(s, user, conversation, on);
    }
}

void mailbox_set_direct(
    struct step *s, struct bytes user, struct bytes other, struct bytes conversation, bool on) {
    struct cell *c = cell_of(s->cells, 'x', s->app, user);
    struct unpack u = unpack_of(view_of(c));
    struct buf b = {0};
    pack_bytes(&b, other);
    pack_bytes(&b, conversation);
    uint32_t at = 0, size = 0;
    while (unpack_more(&u) && !size) {
        const uint8_t *from = u.p;
        struct bytes who = unpack_bytes(&u), which = unpack_bytes(&u);
        if (!bytes_eq(who, other) || !bytes_eq(which, conversation)) continue;
        at = (uint32_t)(from - c->data);
        size = (uint32_t)(u.p - from);
    }
    if (on && !size) cells_append(s->cells, c, buf_view(&b));
    else if (!on && size) cells_splice(s->cells, c, at, size, (struct bytes){0});
    buf_done(&b);
    if (on && mailbox_blocks(s->cells, s->app, user, other))
        block_relay(s, user, conversation, true);
}
void mailbox_set_mute(struct step *s, struct bytes user, struct bytes other, bool on) {
    ids_set(s, 'z', user, other, on);
}
struct bytes mailbox_block_list(struct cells *c, struct bytes app, struct bytes user) {
    return view_of(cell_of(c, 'b', app, user));
}
struct bytes mailbox_mute_list(struct cells *c, struct bytes app, struct bytes user) {
    return view_of(cell_of(c, 'z', app, user));
}
bool mailbox_mutes(struct cells *c, struct bytes app, struct bytes user, struct bytes other) {
    uint32_t at, size;
    return ids_have(mailbox_mute_list(c, app, user), other, &at, &size);
}
bool mailbox_blocks(struct cells *c, struct bytes app, struct bytes user, struct bytes other) {
    uint32_t at, size;
    return ids_have(mailbox_block_list(c, app, user), other, &at, &size);
}
bool mailbox_is_blocked(struct cells *c, struct bytes app, struct bytes other) {
    return cell_of(c, 'y', app, other)->size != 0;
}

/* The surface that owns conversations reads this: varbytes conversation, varbytes who is erased. */
struct erasing {
    struct step *s;
    struct bytes user;
};
static void erase_relay(const struct erasing *e, struct bytes conversation) {
    struct buf b = {0};
    pack_bytes(&b, conversation);
    pack_bytes(&b, e->user);
    step_relay(e->s, partition_of_conversation(e->s->app, conversation, e->s->partitions),
        KIND_MEMBER_ERASE, buf_view(&b));
    buf_done(&b);
}
static bool erase_membership(void *arg, struct bytes record) {
    const struct erasing *e = arg;
    struct membership g = membership_read(record);
    /* of two times in it the open one speaks */
    if (!g.to || !mailbox_is_in(e->s->cells, e->s->app, e->user, g.audience))
        erase_relay(e, g.audience);
    return true;
}
static void erase_told(struct step *s, struct bytes user) {
    struct erasing e = {s, user};
    packed_each(s->cells, &PACKED_MEMBERSHIPS, s->app, user, erase_membership, &e);
    struct unpack u = unpack_of(view_of(cell_of(s->cells, 'x', s->app, user)));
    while (unpack_more(&u)) {
        unpack_bytes(&u);
        erase_relay(&e, unpack_bytes(&u));
    }
}

void mailbox_erase(struct step *s, struct bytes user) {
    struct list_head h;
    if (list_head_find(s->cells, 'm', s->app, user, &h))
        packed_remove(s->cells, &PACKED_MEMBERS, s->app, EVERYONE, h.slot);
    erase_told(s, user);
    members_forget(s, user);
    struct unpack u = unpack_of(mailbox_block_list(s->cells, s->app, user));
    while (unpack_more(&u)) blockers_count(s, unpack_bytes(&u), false);
    list_clear(s->cells, 'm', s->app, user);
    cells_put(s->cells, cell_of(s->cells, 'b', s->app, user), (struct bytes){0});
    cells_put(s->cells, cell_of(s->cells, 'z', s->app, user), (struct bytes){0});
    cells_put(s->cells, cell_of(s->cells, 'x', s->app, user), (struct bytes){0});
}
