/* mailbox, inside: lists in blocks, and walking them. SPDX-License-Identifier: Apache-2.0 */
#ifndef KITH_MAILBOX_IN_H
#define KITH_MAILBOX_IN_H

#include "mailbox/mailbox.h"

#define LIST_BLOCK 64u
#define MEMBERS_CHUNK 256u
#define MEMBERSHIPS_CHUNK 64u

struct list_head { /* stored as it is */
    uint64_t count, last, first_block;
};
struct list_walk {
    struct cells *cells;
    char tag;
    struct bytes app, owner;
    uint64_t after, to, count, block;
    uint32_t at;
    struct entry entry; /* the one it stands on */
};
struct list_head list_head_get(struct cells *c, char tag, struct bytes app, struct bytes owner);
void list_head_set(struct cells *c, char tag, struct bytes app, struct bytes owner, const struct list_head *h);
struct cell *list_block(struct cells *c, char tag, struct bytes app, struct bytes owner, uint64_t block);
void list_append(struct step *s, char head_tag, struct bytes owner, const struct entry *e);
bool list_walk_begin(struct list_walk *w, struct cells *c, char head_tag, struct bytes app, struct bytes owner, uint64_t after, uint64_t to);
bool list_walk_next(struct list_walk *w);

/* memberships of a user; fn false stops */
struct membership {
    struct bytes audience;
    uint64_t from, to; /* to: 0 while in */
};
void memberships_each(struct cells *c, struct bytes app, struct bytes user, bool (*fn)(void *, const struct membership *), void *arg);

#endif
