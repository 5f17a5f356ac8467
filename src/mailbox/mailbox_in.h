/* mailbox, inside: rows of entries in blocks, and packed lists whose records stay in their slots.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef KITH_MAILBOX_IN_H
#define KITH_MAILBOX_IN_H

#include "mailbox/mailbox.h"

/* ---- list.c: entries in the order of their positions, 64 to a key: a user's own ('m', 'M') or an
 * audience's ('s', 'S') ---- */
#define LIST_BLOCK 64u

struct list_head {        /* stored as it is */
    uint64_t count;       /* ever appended; the newest lies in block (count - 1) / 64 */
    uint64_t last;        /* newest position */
    uint64_t first_block; /* oldest block kept */
    uint64_t trimmed;     /* newest position that retention took; 0: none */
    /* of a user: the position at which they were made, their slot among everyone, and whether they
     * ever said whom or what they do not want to hear; else 0 */
    uint64_t born;
    uint32_t slot, wishes;
};
struct list_walk {
    struct cells *cells;
    char tag; /* the head's */
    struct bytes app, owner;
    uint64_t after, to, count, block;
    uint32_t at;
    struct entry entry; /* the one it stands on */
};
struct list_head list_head_get(struct cells *c, char tag, struct bytes app, struct bytes owner);
/* false: there is none, and nothing of it is kept in memory. */
bool list_head_find(
    struct cells *c, char tag, struct bytes app, struct bytes owner, struct list_head *out);
void list_head_set(
    struct cells *c, char tag, struct bytes app, struct bytes owner, const struct list_head *h);
/* false: of a user who is not known. e has its position and time. Drops old blocks when one begins: those with no entry younger than
 * retention_ms; 0 keeps all. */
bool list_append(
    struct step *s, char tag, struct bytes owner, const struct entry *e, int64_t retention_ms);
/* Stands on the first entry with after < position <= to. false: there is none. */
bool list_walk_begin(struct list_walk *w, struct cells *c, char tag, struct bytes app,
    struct bytes owner, uint64_t after, uint64_t to);
bool list_walk_next(struct list_walk *w);
/* Newest position with from < position <= to; 0: none. */
uint64_t list_last_in(
    struct cells *c, char tag, struct bytes app, struct bytes owner, uint64_t from, uint64_t to);
void list_clear(struct cells *c, char tag, struct bytes app, struct bytes owner);

/* ---- packed.c: unordered records, so many to a key; a slot is a record's place, and stays ---- */
struct packed {
    char head, chunk; /* tags */
    uint32_t per;     /* records to a chunk */
};
/* Of an audience: who lives here. Of a user: conversations; topics and whom they follow. */
extern const struct packed PACKED_MEMBERS, PACKED_MEMBERSHIPS, PACKED_TOPICS;
uint32_t packed_count(
    struct cells *c, const struct packed *k, struct bytes app, struct bytes owner);
/* its slot; the record does not begin with a zero byte. fresh: the store has no such list, and is not
 * asked */
uint32_t packed_add(struct cells *c, const struct packed *k, struct bytes app, struct bytes owner,
    struct bytes record, bool fresh);
/* The record in a slot; *out_cell and *out_at say where its bytes lie, to be edited in place. */
struct bytes packed_at(struct cells *c, const struct packed *k, struct bytes app,
    struct bytes owner, uint32_t slot, struct cell **out_cell, uint32_t *out_at);
void packed_remove(
    struct cells *c, const struct packed *k, struct bytes app, struct bytes owner, uint32_t slot);
/* fn false stops; the records must not be edited. */
void packed_each(struct cells *c, const struct packed *k, struct bytes app, struct bytes owner,
    bool (*fn)(void *arg, struct bytes record), void *arg);
/* From *slot on, at most max of them; *slot is where to go on. How many fn was given. */
size_t packed_some(struct cells *c, const struct packed *k, struct bytes app, struct bytes owner,
    uint32_t *slot, size_t max, bool (*fn)(void *arg, struct bytes record), void *arg);
void packed_clear(struct cells *c, const struct packed *k, struct bytes app, struct bytes owner);

/* ---- members.c ---- */
#define EVERYONE BYTES("*")
/* "#topic", "@user", "*": what is no conversation. */
static inline bool audience_is_special(struct bytes audience) {
    return audience.n && (*audience.p == '#' || *audience.p == '@' || *audience.p == '*');
}
struct membership {
    struct bytes audience; /* begins the record */
    uint64_t from, to;     /* to: 0 while in */
};
struct membership membership_read(struct bytes record);
/* Their places while in; false: they are not. */
bool member_slots(struct cells *c, struct bytes app, struct bytes user, struct bytes audience,
    uint32_t *out_member, uint32_t *out_membership);
/* Ends every membership of a user and forgets them all. */
void members_forget(struct step *s, struct bytes user);

/* ---- left.c ---- */
void left_note(struct step *s, struct bytes user, struct bytes audience);
void left_forget(struct step *s, struct bytes user);

#endif
