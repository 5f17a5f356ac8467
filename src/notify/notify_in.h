/* notify, inside: what its files give each other, its cells and its records.
 *
 * Records (pack_* calls in the order written; stored, never changed):
 *   WORKFLOW_..., WEBHOOK_...: workflow/workflow.h     PREFERENCES_PUT: prefs/prefs.h
 *   NOTIFY         repeated varbytes { content, targets }: triggers, in the partition of their id
 *   NOTIFY_COPY    repeated varbytes { content, varbytes users (packed ids; none: its audience) }
 *   NOTIFY_CANCEL  varbytes trigger;  NOTIFY_CANCELLED  varbytes trigger          relay
 *   NOTIFY_MARKS   varbytes user, u8 mark, varbytes ids (packed), varbytes upto
 *   TOPIC_USERS    varbytes topic (none: they are made only), varbytes add (packed ids), varbytes remove
 *
 * Cells, all with the app first:
 *   '#' '$'  src/workflow     '%'  src/prefs     '&' ',' '"'  src/content     '<' '='  src/outbox     '>' '~'  src/relevance
 *   '(' trigger      of a trigger with its own partition: what was asked, whom it went to (home.c)
 *   ')' user         inbox head      '*' user n    rows, 32 to a key         (inbox.c)
 *   '+' user n       actors of a grouped row beyond those in it (group.c)
 *   '-' user         digests that are open    '/' user       what is held   (later.c)
 *   '@' user         i64 when they were erased: their name is told no more (topics.c)
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef KITH_NOTIFY_IN_H
#define KITH_NOTIFY_IN_H

#include "content/content.h"
#include "notify/notify.h"
#include "outbox/outbox.h"
#include "prefs/prefs.h"
#include "relevance/relevance.h"
#include "template/template.h"
#include "workflow/workflow.h"

/* ---- parts of the surface; notify.c joins them, and those of other rooms' faces ---- */
extern const struct surface_part notify_wishes, notify_topics, notify_triggers, notify_homes,
    notify_receiving, notify_inboxes, notify_cancelling, notify_messages, notify_later;

/* ---- inbox.c: a person's rows ---- */
enum {
    ROW_NEWEST_MAX = 5,
    ROW_BEFORE_MAX = 4,
    INBOX_BLOCK = 32,
    INBOX_BLOCKS = 32 /* rows kept: about 1,024 */
};
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
    /* packed { varbytes id, varbytes name } of actors, newest first, at most ROW_NEWEST_MAX */
    struct bytes newest;
    /* packed ids of triggers that were the newest before, the last first, at most ROW_BEFORE_MAX: when the
     * newest is taken out, one of them is shown. Not of those merged in memory only */
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
void row_encode(struct buf *b, const struct row *r);
void row_decode(struct bytes v, uint64_t n, struct row *r); /* views into v */
bool row_read(struct bytes v, uint64_t n, struct row *r);   /* likewise; false: it is damaged */
void inbox_open(struct inbox *i, struct cells *c, struct bytes app, struct bytes user,
    int64_t now_ms, struct arena *arena);
/* Hints (cells_ahead): the head; then, when it came near, where rows go. */
void inbox_ahead(struct cells *c, struct bytes app, struct bytes user);
void inbox_rows_ahead(struct cells *c, struct bytes app, struct bytes user);
void inbox_load(struct inbox *i); /* the stored rows */
/* A copy at the end; its n is set. Pointers to rows end here. */
struct row *inbox_append(struct inbox *i, const struct row *r);
/* Around each change of a row: counts follow. */
void row_begin(struct inbox *i, struct row *r);
void row_end(struct inbox *i, struct row *r);
struct row *inbox_bump(struct inbox *i, struct row *r); /* to the end; pointers to rows end here */
/* Loaded rows; NULL: none. Not hidden ones. */
struct row *inbox_by_id(struct inbox *i, struct bytes id);
struct row *inbox_by_group(struct inbox *i, struct bytes workflow, uint64_t group);
struct row *inbox_by_collapse(struct inbox *i, uint64_t collapse);
bool row_counts(const struct row *r, int64_t now_ms); /* shown, not archived, not expired */
/* All of the cap's window is used. */
bool inbox_cap_reached(
    struct inbox *i, const struct workflow *w, struct bytes workflow, int64_t now_ms);
void inbox_cap_use(
    struct inbox *i, const struct workflow *w, struct bytes workflow, int64_t now_ms);
void inbox_save(struct step *s, struct inbox *i);
void inbox_trim_look(struct inbox *i); /* what saving would trim is there no more */
void inbox_erase(struct step *s, struct bytes user);
/* The stored row that stands at a place. false: trimmed, or moved. */
bool inbox_row_at(
    struct cells *c, struct bytes app, struct bytes user, uint64_t n, struct row *out);
uint64_t inbox_folded(struct cells *c, struct bytes app, struct bytes user); /* of its head */
/* What can be asked of a notification by its owner: seen, read, archived, clicked. */
enum mark { MARK_SEEN = 1, MARK_READ, MARK_ARCHIVED, MARK_CLICKED };
/* What a mailbox entry of type NOTIFICATION says, in its `extra`; seq: place of a row + 1, or 0. */
enum said {
    SAID_ROW = 1 /* its seq */,
    SAID_SHARED /* varbytes trigger, for an audience, var where it lies */,
    SAID_MARKS /* u8 mark, varbytes ids (packed), varbytes upto */,
    SAID_GONE /* varbytes notification, u8 why, repeated varbytes further ones */
};
void inbox_tell_gone(struct step *s, struct bytes user, struct bytes id, enum why why);
void audience_tell_gone(struct step *s, struct bytes audience, struct bytes id, enum why why);

/* ---- group.c: who acted ---- */
uint64_t group_of(const struct workflow *w, const struct content *k); /* 0: not grouped */
/* k's actor is one of the row's from now on; the row's counts and names follow. step NULL: only
 * looked at, nothing stored (fold.c, when reading). */
void actors_join(struct step *s, struct inbox *i, struct row *r, const struct content *k);
void actors_leave(struct step *s, struct inbox *i, struct row *r, const struct content *k);
/* What it shows from now on: this trigger. */
void row_shows(struct inbox *i, struct row *r, struct bytes trigger);
void actors_forget(struct step *s, struct inbox *i, const struct row *r); /* its actors */
void actors_first(
    struct inbox *i, struct row *r, const struct content *k); /* a row of one trigger */

/* ---- receive.c: what becomes of a trigger for one person ---- */
/* k's texts outlive the step's edits. false: something was appended to their mailbox at this position
 * already: another record must. */
bool receive(struct step *s, struct bytes user, const struct content *k);
/* channels: that did not take it on, where it stands in the inbox; 0: it is in none. */
void refused(
    struct step *s, struct bytes user, const struct content *k, enum why why, uint8_t channels);
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
struct placed place(struct step *s, struct inbox *i, const struct placing *p);
void leave(struct step *s, struct inbox *i, const struct workflow *w, const struct content *k,
    const struct row *digest);

/* Packed ids, from a record of its own: told of a trigger that is kept, or if it was cancelled no more. */
void users_later(struct step *s, struct bytes id, struct bytes users);
/* Through an audience, some at a time: to receive, or to take back. */
enum sweep_mode { SWEEP_RECEIVE = 1, SWEEP_CANCEL };
void sweep_begin(struct step *s, const struct content *k, enum sweep_mode mode);

/* ---- cancel.c ---- */
/* Takes it from an inbox, if it was not seen. false: as receive. */
bool withdraw(struct step *s, struct bytes user, const struct content *k, enum why why);
void cancel_here(struct step *s, struct bytes id); /* in this partition */

/* ---- home.c: triggers in the partition of their id ---- */
uint16_t trigger_home(struct bytes app, struct bytes id, uint16_t partitions);
struct trigger_home {
    bool cancelled, waits, audience; /* waits: for send_at */
    int64_t created_ms;
    uint64_t recipients; /* named ones */
    struct bytes item;   /* what waits: its content, and varbytes users */
};
bool trigger_home_read(
    struct cells *c, struct bytes app, struct bytes id, struct trigger_home *out);
/* What a trigger cannot be: no such workflow, a variable that it lacks. false: the answer says so. */
bool trigger_fits(struct cells *c, struct bytes app, const struct content *k, struct workflow *out,
    struct answer *a);
void trigger_result(struct buf *out, const struct answer *a); /* of one item of a record */

/* ---- later.c: digests, what is held, escalations ---- */
/* true: it waits in the digest. */
bool digest_take(struct step *s, struct inbox *i, const struct workflow *w, const struct content *k,
    bool unlikely);
void digests_erase(struct step *s, struct inbox *i);
void hold(struct step *s, struct bytes user, struct bytes notification, const struct content *k,
    uint8_t channels, int64_t until_ms);
void held_again(struct step *s, struct bytes user);
/* When it expires in an inbox, its devices are told. at_ms 0: never; no user: an audience's. */
void expiry_tells(struct step *s, struct bytes user, struct bytes notification, int64_t at_ms);
bool held_whole(struct bytes value); /* of a cell '/' */
void held_erase(struct step *s, struct bytes user);
void escalations_begin(struct step *s, struct bytes user, struct bytes notification,
    const struct workflow *w, const struct content *k);

/* ---- fold.c: what an audience got, merged into one inbox ---- */
/* Entries for audiences that the user was in become rows. step NULL: in memory only. true: there were
 * any. */
bool inbox_fold(struct inbox *i, struct step *s);
/* Before anything else happens to a user's inbox or wishes. */
void fold(struct step *s, struct bytes user);
/* A content for an audience is kept here, and told to those of it who are here. */
void fold_shared(struct step *s, const struct content *k);

/* ---- topics.c ---- */
/* When a user was erased, wherever they lived: the name that triggers of before brought along is told
 * no more. 0: never. */
int64_t person_gone_ms(struct cells *c, struct bytes app, struct bytes user);

/* ---- view.c: words of a notification ---- */
enum { ARGS_MAX = 80 };
/* Arguments of its templates: actor, count, others, object, keys of data. Views into row and content.
 */
size_t notification_args(struct cells *c, struct bytes app, const struct workflow *w,
    struct bytes zone, const struct row *r, const struct content *k,
    struct template_arg out[static ARGS_MAX]);
/* Members of the API's notification object, without braces. w: its workflow; NULL: it is deleted. */
struct reader { /* whose words they are; empty: not known */
    struct bytes locale, zone;
};
struct reader reader_of(struct cells *c, struct bytes app, struct bytes user);
void notification_json(struct tools *t, struct cells *c, struct bytes app,
    const struct reader *reader, const struct row *r, const struct content *k,
    const struct workflow *w, struct buf *out);

/* ---- totals.c: a trigger as its owner sees it ---- */
enum err plan_cancel(struct request *r, struct plan *p, struct answer *a);
enum err plan_totals(struct request *r, struct plan *p, struct answer *a);
enum err plan_why(struct request *r, struct plan *p, struct answer *a);

#endif
