/* notify, inside: what its files give each other, its cells and its records.
 *
 * Records (pack_* calls in the order written; stored, never changed):
 *   WORKFLOW_..., WEBHOOK_...: workflow/workflow.h     PREFERENCES_PUT: prefs/prefs.h     NOTIFY_MARKS: inbox/marks.c
 *   NOTIFY         repeated varbytes { content, targets }: triggers, in the partition of their id
 *   NOTIFY_COPY    repeated varbytes { content, varbytes users (packed ids; none: its audience) }
 *   NOTIFY_CANCEL  varbytes trigger;  NOTIFY_CANCELLED  varbytes trigger          relay
 *   TOPIC_USERS    varbytes topic (none: they are made only), varbytes add (packed ids), varbytes remove
 *
 * Cells, all with the app first:
 *   '#' '$'  src/workflow     '%'  src/prefs     '&' ',' '"'  src/content     '<' '='  src/outbox
 *   '>' '~'  src/relevance     ')' '*' '+'  src/inbox     '@'  src/person
 *   '(' trigger      of a trigger with its own partition: what was asked, whom it went to (home.c)
 *   '-' user         digests that are open    '/' user       what is held   (later.c)
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef KITH_NOTIFY_IN_H
#define KITH_NOTIFY_IN_H

#include "content/content.h"
#include "inbox/inbox.h"
#include "notify/notify.h"
#include "outbox/outbox.h"
#include "prefs/prefs.h"
#include "relevance/relevance.h"
#include "workflow/workflow.h"

/* ---- parts of the surface; notify.c joins them, and those of other rooms' faces ---- */
extern const struct surface_part notify_wishes, notify_topics, notify_triggers, notify_homes,
    notify_receiving, notify_cancelling, notify_erasing, notify_messages, notify_later;

/* ---- receive.c: what becomes of a trigger for one person ---- */
/* k's texts outlive the step's edits. false: something was appended to their mailbox at this position
 * already: another record must. */
bool receive(struct step *s, struct bytes user, const struct content *k);
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
void digests_erase(struct step *s, struct bytes user);
void hold(struct step *s, struct bytes user, struct bytes notification, const struct content *k,
    uint8_t channels, int64_t until_ms);
void held_again(struct step *s, struct bytes user);
/* When it expires in an inbox, its devices are told. at_ms 0: never; no user: an audience's. */
void expiry_tells(struct step *s, struct bytes user, struct bytes notification, int64_t at_ms);
bool held_whole(struct bytes value); /* of a cell '/' */
void held_erase(struct step *s, struct bytes user);
void escalations_begin(struct step *s, struct bytes user, struct bytes notification,
    const struct workflow *w, const struct content *k);

/* ---- totals.c: a trigger as its owner sees it ---- */
enum err plan_cancel(struct request *r, struct plan *p, struct answer *a);
enum err plan_totals(struct request *r, struct plan *p, struct answer *a);
enum err plan_why(struct request *r, struct plan *p, struct answer *a);

#endif
