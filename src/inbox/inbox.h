/* inbox: a person's notifications: rows in the order in which they came or were joined last, with what was done
 * with each, and exact counts. A service of the rooms that notify: they decide what comes and goes.
 *
 *   inbox_place ─▶ a row, or the one that it joins (group.c), or whose place it takes ─▶ inbox_tell_row ─▶ devices
 *   audience_tell ─▶ one entry for all ─▶ inbox_fold: rows, in memory to read, for good before anything else
 *   seen, read, archived, clicked ─▶ MARKS (marks.c)          a mailbox entry ─▶ inbox_entry_json, with counts
 *
 * Invariants: counts are those of rows shown, not archived and not expired. A row that moves leaves its place
 * behind, so that places never change; a notification stands at one place. Reading shows what folding would
 * store. Marks are set once and only forward. About 1,024 rows are kept.
 * Lifetime: a struct inbox lies in the arena it was opened with; what was changed in it is stored by inbox_save,
 * by whoever opened it. Pointers to rows end where a row is appended.
 * Cells, all with the app first:
 *   ')' user         inbox head (content/content.h), then the caps (caps.c)
 *   '*' user n       rows, 32 to a key                                    (inbox.c, row.c)
 *   '+' user n       actors of a grouped row beyond those in it           (group.c)
 * Records: NOTIFY_MARKS (marks.c). Entries of a mailbox: tell.c.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef KITH_INBOX_H
#define KITH_INBOX_H

#include "content/content.h"
#include "mailbox/mailbox.h"
#include "template/template.h"
#include "workflow/workflow.h"

/* ---- rules and routes; notify.c joins them to its own ---- */
extern const struct surface_part inbox_part;

/* ---- inbox.c: a person's rows ---- */
enum { INBOX_BLOCK = 32, INBOX_BLOCKS = 32 /* rows kept: about 1,024 */ };
enum {
    ROW_MOVED = 1,  /* its place only: it stands again further on */
    ROW_HIDDEN = 2, /* replaced, cancelled, withdrawn; or only sent outside */
    ROW_TAKEN = 32, /* the former: it stood in the inbox, and was taken from it */
    ROW_LEFT = 64   /* a trigger was taken out of it */
};
struct row {
    uint64_t n;        /* its place in the inbox, from 0 */
    uint64_t position; /* of the mailbox entry that told of it last */
    uint8_t flags;
    bool changed;         /* in memory only */
    struct bytes id;      /* the notification's: that of the trigger that began it */
    struct bytes trigger; /* the newest: its content is what is shown, and where that lies */
    uint64_t lies;
    struct bytes workflow;
    int64_t created_ms, at_ms;                                     /* at: of the newest trigger */
    int64_t seen_ms, read_ms, archived_ms, clicked_ms, expires_ms; /* 0: not */
    uint64_t group, collapse;                                      /* hashes; 0: none */
    uint32_t triggers,
        actors; /* grouped in it; actors: distinct ones, or triggers without actors */
    /* packed { varbytes id, varbytes name } of actors, newest first, a few */
    struct bytes newest;
    /* packed ids of triggers that were the newest before, the last first, a few: when the newest is taken out, one of
     * them is shown. Not of those merged in memory only */
    struct bytes before;
};
/* One person's inbox in memory, while it is changed or shown. */
struct inbox {
    struct cells *cells;
    struct bytes app, user;
    struct arena *arena;
    int64_t now_ms;
    struct mailbox_facts person;
    struct cell *cell; /* the head's */
    struct inbox_head head;
    struct bytes caps; /* packed { u32 hash of workflow, u32 window, u32 count } */
    uint64_t stored;   /* head.rows as stored */
    struct row *row;   /* those in memory, by their place; without the moved */
    size_t count, cap;
    bool loaded; /* all stored ones are in memory */
    /* hashes of actors that joined rows in a merge that is not stored (group.c) */
    uint64_t *joined;
    size_t joined_count, joined_cap;
};
void inbox_open(struct inbox *i, struct cells *c, struct bytes app, struct bytes user,
    int64_t now_ms, struct arena *arena);
void inbox_load(struct inbox *i); /* the stored rows */
void inbox_save(struct step *s, struct inbox *i);
void inbox_erase(struct step *s, struct bytes user);
/* The row of a notification, a hidden one too; NULL: none. Loads. */
struct row *inbox_find(struct inbox *i, struct bytes id);
/* Around each change of a row: counts follow. */
void row_begin(struct inbox *i, struct row *r);
void row_end(struct inbox *i, struct row *r);
bool row_counts(const struct row *r, int64_t now_ms); /* shown, not archived, not expired */
uint64_t inbox_folded(struct cells *c, struct bytes app, struct bytes user); /* of its head */
/* Hints (cells_ahead): the head; then, when it came near, where rows go. */
void inbox_ahead(struct cells *c, struct bytes app, struct bytes user);
void inbox_rows_ahead(struct cells *c, struct bytes app, struct bytes user);

/* ---- row.c: its bytes, for who keeps one elsewhere ---- */
void row_encode(struct buf *b, const struct row *r);
void row_decode(struct bytes v, uint64_t n, struct row *r); /* views into v */
bool row_read(struct bytes v, uint64_t n, struct row *r);   /* likewise; false: it is damaged */

/* ---- caps.c ---- */
/* All of the cap's window is used. */
bool inbox_cap_reached(
    struct inbox *i, const struct workflow *w, struct bytes workflow, int64_t now_ms);
void inbox_cap_use(
    struct inbox *i, const struct workflow *w, struct bytes workflow, int64_t now_ms);

/* ---- place.c ---- */
/* A row for what leaves, or the one that it joins; and what of it was replaced. step NULL: in memory
 * only. */
struct placing {
    const struct workflow *w;
    const struct content *k;
    const struct row *digest; /* what was collected; NULL: one trigger */
    uint64_t position;
    int64_t at_ms;
    bool hidden; /* not for the inbox: only what is sent outside */
};
struct placed {
    struct row *row;
    bool joined;
    struct bytes replaced; /* the id of a notification; or empty */
};
struct placed inbox_place(struct step *s, struct inbox *i, const struct placing *p);

/* ---- group.c: who acted ---- */
uint64_t group_of(const struct workflow *w, const struct content *k); /* 0: not grouped */
/* k's actor is one of the row's from now on; the row's counts and names follow. step NULL: only
 * looked at, nothing stored (fold.c, when reading). */
void actors_join(struct step *s, struct inbox *i, struct row *r, const struct content *k);
void actors_leave(struct step *s, struct inbox *i, struct row *r, const struct content *k);
void actors_forget(struct step *s, struct inbox *i, const struct row *r); /* its actors */
void actors_first(
    struct inbox *i, struct row *r, const struct content *k); /* a row of one trigger */

/* ---- fold.c: what an audience got, merged into one inbox ---- */
/* Entries for audiences that the user was in become rows. step NULL: in memory only. true: there were
 * any. */
bool inbox_fold(struct inbox *i, struct step *s);
/* The same, and stores it: before anything else happens to a user's inbox or wishes. */
void inbox_fold_all(struct step *s, struct bytes user);

/* ---- marks.c ---- */
/* What can be asked of a notification by its owner: seen, read, archived, clicked. */
enum mark { MARK_SEEN = 1, MARK_READ, MARK_ARCHIVED, MARK_CLICKED };

/* ---- tell.c: what devices are told ---- */
/* Of the row at a place; replaced: the notification whose place it takes, or empty. */
void inbox_tell_row(struct step *s, struct bytes user, uint64_t place, enum entry_event event,
    struct bytes replaced);
/* more: packed ids of further ones, or empty */
void inbox_tell_gone(
    struct step *s, struct bytes user, struct bytes id, struct bytes more, enum why why);
/* A content for an audience is kept here, and told to those of it who are here. */
void audience_tell(struct step *s, const struct content *k);
void audience_tell_gone(struct step *s, struct bytes audience, struct bytes id, enum why why);
/* Is this entry what audience_tell appended? *out_trigger: of what; a view. */
bool said_shared(const struct entry *e, struct bytes *out_trigger);

/* ---- words.c ---- */
/* Arguments of its templates: actor, count, others, object, keys of data. Views into row and content.
 */
size_t notification_args(struct cells *c, struct bytes app, const struct workflow *w,
    struct bytes zone, const struct row *r, const struct content *k,
    struct template_arg out[static ARGS_MAX]);
struct reader { /* whose words they are; empty: not known */
    struct bytes locale, zone;
};
struct reader reader_of(struct cells *c, struct bytes app, struct bytes user);
/* Members of the API's notification object, without braces. w: its workflow; NULL: it is deleted. */
void notification_json(struct tools *t, struct cells *c, struct bytes app,
    const struct reader *reader, const struct row *r, const struct content *k,
    const struct workflow *w, struct buf *out);

/* ---- entry.c, counts.c: when it is delivered ---- */
/* What a mailbox entry of type NOTIFICATION shows to this user now: members of the JSON object without
 * braces, `counts` among them. false: it must not be delivered (superseded, expired, cancelled,
 * forbidden meanwhile). */
bool inbox_entry_json(struct tools *t, struct cells *c, struct bytes app, const struct view *v,
    const struct entry *e, struct buf *out, bool *shared);
/* One thread's memory of inboxes that it has merged: a cache and no state. */
struct inbox_memo *inbox_memo_create(void);
void inbox_memo_free(struct inbox_memo **);

/* ---- check.c ---- */
/* Of kith check: a line in *why for each inbox of a partition that is not as it must be. */
bool inboxes_sound(struct cells *c, struct buf *why);

#endif
