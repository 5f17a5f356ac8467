/* mailbox: what must hold of the stored lists, looked at by `kith check`: each entry can be read,
 * positions rise, and there are as many as the head says; who is in an audience and what the audience
 * is for them name each other; everyone is in "*". Reads; apply never calls it.
 * SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "mailbox/mailbox_in.h"

struct looking {
    struct cells *cells;
    struct buf *why;
    bool sound;
    char tag;
    struct bytes app, owner;
    uint64_t users, everyone; /* of all apps: with a list of their own, and among "*" */
};

static const char *list_name(char tag) {
    switch (tag) {
    case 'm': return "mailbox of";
    case 's': return "entries of conversation";
    case 'l': return "members of";
    default: return "memberships of";
    }
}

static void wrong(struct looking *l, const char *what, uint64_t found, uint64_t belongs) {
    buf_fmt(l->why, "%s %.*s of app %.*s: %s: %llu is stored, %llu belongs there\n",
        list_name(l->tag), (int)l->owner.n, (const char *)l->owner.p, (int)l->app.n,
        (const char *)l->app.p, what, (unsigned long long)found, (unsigned long long)belongs);
    l->sound = false;
}

/* Adds its entries to *count and moves *last on; false: words were said. */
static bool block_look(struct looking *l, uint64_t block, uint64_t *count, uint64_t *last) {
    uint8_t room[300];
    const struct cell *cell =
        cells_get(l->cells, key2n(room, l->tag == 'm' ? 'M' : 'S', l->app, l->owner, block));
    uint32_t n;
    for (uint32_t at = 0; at < cell->size; at += (uint32_t)sizeof n + n, ++*count) {
        struct entry e;
        if (cell->size - at < sizeof n) return wrong(l, "bytes of a block", cell->size, at), false;
        memcpy(&n, cell->data + at, sizeof n);
        if (n > cell->size - at - sizeof n ||
            entry_decode(bytes_of(cell->data + at + sizeof n, n), &e) != OK)
            return wrong(l, "an entry that cannot be read, in block", block, block), false;
        if (e.position <= *last)
            return wrong(l, "the order of positions", e.position, *last + 1), false;
        *last = e.position;
    }
    return true;
}

static void list_look(struct looking *l) {
    struct list_head h = list_head_get(l->cells, l->tag, l->app, l->owner);
    uint64_t count = h.first_block * LIST_BLOCK, last = 0;
    for (uint64_t block = h.first_block; h.count && block <= (h.count - 1) / LIST_BLOCK; block++) {
        if (!block_look(l, block, &count, &last)) return;
        cells_turn_end(l->cells);
    }
    if (count != h.count) wrong(l, "entries", count, h.count);
    else if (h.count && last != h.last) wrong(l, "the last position", last, h.last);
}

/* ---- who is in what ---- */
struct slots {
    struct looking *l;
    uint32_t slot; /* the record's is the one before */
    uint64_t count;
};
static bool member_look(void *arg, struct bytes user) {
    struct slots *w = arg;
    struct looking *l = w->l;
    struct list_head h;
    uint32_t member = UINT32_MAX, membership;
    w->count++;
    if (!bytes_eq(l->owner, EVERYONE))
        member_slots(l->cells, l->app, user, l->owner, &member, &membership);
    else if (list_head_find(l->cells, 'm', l->app, user, &h)) member = h.slot;
    if (member != w->slot - 1) wrong(l, "the slot of a member", member, w->slot - 1);
    return l->sound;
}
static bool membership_look(void *arg, struct bytes record) {
    struct slots *w = arg;
    struct looking *l = w->l;
    struct membership g = membership_read(record);
    uint32_t member, membership = UINT32_MAX;
    w->count++;
    if (g.to) return true;
    member_slots(l->cells, l->app, l->owner, g.audience, &member, &membership);
    if (membership != w->slot - 1) wrong(l, "the slot of a membership", membership, w->slot - 1);
    return l->sound;
}
static void packed_look(struct looking *l, const struct packed *k) {
    enum { SOME = 256 };
    struct slots w = {l, 0, 0};
    bool members = k == &PACKED_MEMBERS;
    while (packed_some(l->cells, k, l->app, l->owner, &w.slot, SOME,
               members ? member_look : membership_look, &w) == SOME)
        cells_turn_end(l->cells);
    uint64_t count = packed_count(l->cells, k, l->app, l->owner);
    if (l->sound && w.count != count) wrong(l, "records", count, w.count);
    if (members && bytes_eq(l->owner, EVERYONE)) l->everyone += count;
}

static bool head_note(void *arg, struct bytes key, struct bytes value) {
    (void)value;
    pack_bytes(arg, key);
    return true;
}

static void heads_look(
    struct looking *l, const struct packed *k, char tag, void (*look)(struct looking *)) {
    struct buf heads = {0};
    l->tag = tag;
    cells_scan(l->cells, bytes_of(&tag, 1), head_note, &heads);
    struct unpack u = unpack_of(buf_view(&heads));
    while (unpack_more(&u)) {
        if (!key2_read(unpack_bytes(&u), &l->app, &l->owner)) continue;
        if (k) packed_look(l, k);
        else look(l);
        cells_turn_end(l->cells);
    }
    buf_done(&heads);
}

static void user_look(struct looking *l) {
    l->users++;
    list_look(l);
}

bool mailbox_check(struct cells *c, struct buf *why) {
    struct looking l = {.cells = c, .why = why, .sound = true};
    heads_look(&l, NULL, 'm', user_look);
    heads_look(&l, NULL, 's', list_look);
    heads_look(&l, &PACKED_MEMBERS, PACKED_MEMBERS.head, NULL);
    heads_look(&l, &PACKED_MEMBERSHIPS, PACKED_MEMBERSHIPS.head, NULL);
    heads_look(&l, &PACKED_TOPICS, PACKED_TOPICS.head, NULL);
    if (l.sound && l.users != l.everyone) {
        buf_fmt(why, "users: %llu have a mailbox, %llu are among everyone\n",
            (unsigned long long)l.users, (unsigned long long)l.everyone);
        l.sound = false;
    }
    return l.sound;
}
