/* inbox, inside: what its files give each other.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef KITH_INBOX_IN_H
#define KITH_INBOX_IN_H

#include "inbox/inbox.h"

/* ---- inbox.c ---- */
/* A copy at the end; its n is set. Pointers to rows end here. */
struct row *inbox_append(struct inbox *i, const struct row *r);
struct row *inbox_bump(struct inbox *i, struct row *r); /* to the end; pointers to rows end here */
/* Loaded rows; NULL: none. Not hidden ones. */
struct row *inbox_by_id(struct inbox *i, struct bytes id);
struct row *inbox_by_group(struct inbox *i, struct bytes workflow, uint64_t group);
struct row *inbox_by_collapse(struct inbox *i, uint64_t collapse);
void inbox_trim_look(struct inbox *i); /* what saving would trim is there no more */
/* The stored row that stands at a place. false: trimmed, or moved. */
bool inbox_row_at(
    struct cells *c, struct bytes app, struct bytes user, uint64_t n, struct row *out);

/* ---- group.c ---- */
/* What it shows from now on: this trigger. */
void row_shows(struct inbox *i, struct row *r, struct bytes trigger);

/* ---- tell.c ---- */
/* What a mailbox entry of type NOTIFICATION says, in its `extra`; seq: place of a row + 1, or 0. */
enum said { SAID_ROW = 1, SAID_SHARED, SAID_MARKS, SAID_GONE };
void inbox_tell_marks(
    struct step *s, struct bytes user, enum mark mark, struct bytes ids, struct bytes upto);

/* ---- counts.c: what a thread keeps ---- */
/* Some 48 bytes each, touched only where someone is connected. Of a set the one used longest ago gives
 * way. */
enum { MEMO_SETS = 1 << 15, MEMO_WAYS = 4, RENDERED_SLOTS = 16 };
struct merged { /* an inbox, as far as it was merged without being stored */
    uint64_t who, stamp, upto;
    uint64_t told, in; /* of mailbox_shared_told, then */
    int64_t next_expiry;
    uint32_t unseen, unread, used;
};
struct rendered { /* last, for those who share an entry */
    const struct cells *cells;
    uint64_t position, trigger, words, locale; /* several triggers may stand at one position */
    struct buf text;
};
struct inbox_memo {
    struct merged *merged;
    struct rendered rendered[RENDERED_SLOTS];
    unsigned next;
    uint32_t turn;
    struct arena arena;
};
struct counts {
    uint32_t unseen, unread;
};
/* Nothing about the person, or in the workflow, makes what an audience gets other than one more row. */
bool plain_person(struct cells *c, struct bytes app, struct bytes user);
bool plain_content(
    struct cells *c, struct bytes app, const struct content *k, struct workflow *out);
/* one: the position of a plain entry for an audience that is being shown; or 0. */
struct counts counts_now(struct tools *t, struct cells *c, struct bytes app, struct bytes user,
    uint64_t one, int64_t now_ms);
void counts_json(struct buf *out, struct counts n);

#endif
