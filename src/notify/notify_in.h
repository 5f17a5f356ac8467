/* notify, inside: what its files give each other, its cells and its records.
 *
 * Records (pack_* calls in the order written; stored, never changed):
 *   WORKFLOW_..., WEBHOOK_...: workflow/workflow.h     PREFERENCES_PUT: prefs/prefs.h     NOTIFY_MARKS: inbox/marks.c
 *   NOTIFY, COPY, CANCEL, CANCELLED: trigger/trigger.h
 *
 * Cells, all with the app first:
 *   '#' '$'  src/workflow     '%'  src/prefs     '&' ',' '"'  src/content     '<' '='  src/outbox
 *   '>' '~'  src/relevance     ')' '*' '+'  src/inbox     '('  src/trigger     '@'  src/person
 *   '-' user         digests that are open (digest.c)     '/' user       what is held (later.c)
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef KITH_NOTIFY_IN_H
#define KITH_NOTIFY_IN_H

#include "content/content.h"
#include "inbox/inbox.h"
#include "notify/notify.h"
#include "outbox/outbox.h"
#include "prefs/prefs.h"
#include "relevance/relevance.h"
#include "trigger/trigger.h"
#include "workflow/workflow.h"

/* ---- parts of the surface; notify.c joins them, and those of other rooms' faces ---- */
extern const struct surface_part notify_wishes, notify_copies, notify_cancelling, notify_erasing,
    notify_messages, notify_later;

/* ---- receive.c: what becomes of a trigger for one person ---- */
/* k's texts outlive the step's edits. false: something was appended to their mailbox at this position
 * already: another record must. */
bool receive(struct step *s, struct bytes user, const struct content *k);
bool receive_by(
    struct step *s, const struct workflow *w, struct bytes user, const struct content *k);
/* Its workflow was deleted since: nobody is told. */
void workflow_gone(struct step *s, struct bytes user, const struct content *k);
/* Nothing stands against it: to the inbox, outside, and what is to follow. digest: what was collected; or NULL. */
void leave(struct step *s, struct inbox *i, const struct workflow *w, const struct content *k,
    const struct row *digest);

/* To their addresses, by each of the channels. hidden: it is not in the inbox: who has no address for any of them
 * is counted, unless another step follows. */
void send_by(struct step *s, const struct outgoing *o, uint8_t channels, const struct workflow *w,
    bool hidden);

/* ---- copy.c: what comes of triggers ---- */
/* Packed ids, from a record of its own: told of a trigger that is kept, or if it was cancelled no more. */
void users_later(struct step *s, struct bytes id, struct bytes users);
/* Through an audience, some at a time: to receive, or to take back. */
enum sweep_mode { SWEEP_RECEIVE = 1, SWEEP_CANCEL };
void sweep_begin(struct step *s, const struct content *k, enum sweep_mode mode);

/* ---- cancel.c ---- */
/* Takes it from an inbox, if it was not seen. false: as receive. */
bool withdraw(struct step *s, struct bytes user, const struct content *k, enum why why);

/* ---- digest.c ---- */
/* true: it waits in the digest. */
bool digest_take(struct step *s, struct inbox *i, const struct workflow *w, const struct content *k,
    bool unlikely);
void digests_erase(struct step *s, struct bytes user);
/* Its window ended: the rest of a NOTIFY_DUE. false: as receive. */
bool digest_due(struct step *s, struct bytes user, struct unpack *u);

/* ---- later.c: what is held, escalations, expiry ---- */
enum { DUE_DIGEST = 1, DUE_HELD, DUE_ESCALATE, DUE_LOOK, DUE_EXPIRE };
void hold(struct step *s, struct bytes user, struct bytes notification, const struct content *k,
    uint8_t channels, int64_t until_ms);
void held_again(struct step *s, struct bytes user);
/* When it expires in an inbox, its devices are told. at_ms 0: never; no user: an audience's. */
void expiry_tells(struct step *s, struct bytes user, struct bytes notification, int64_t at_ms);
bool held_whole(struct bytes value); /* of a cell '/' */
void held_erase(struct step *s, struct bytes user);
void escalations_begin(struct step *s, struct bytes user, struct bytes notification,
    const struct workflow *w, const struct content *k);

#endif
