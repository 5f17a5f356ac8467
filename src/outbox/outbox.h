/* outbox: what is to leave the server, until it is delivered or given up: leases, retries, dead letters. A
 * service of notify, which decides who is told and makes the words (notify/dispatch.c).
 *
 * A send is one message to one address: a device's push address, the user's mail, one webhook. It is a
 * cell '<' n (n: counted in its partition) from sends_add to its end:
 *
 *   sends_add ─▶ cell, due SEND_DUE (a lease), DELIVER_SEND ─▶ core: notify_send_task ─▶ src/send
 *   its result ─▶ NOTIFY_SENT record ─▶ delivered: totals, why, the cell goes
 *                                    ├▶ again later: due SEND_DUE (exponential, jitter by a hash of n and attempt)
 *                                    ├▶ another provider: at once
 *                                    ├▶ address is no more: PUSH_GONE relay to users, the cell goes
 *                                    └▶ given up: a dead letter ('=' n), listed newest first, sent again when asked
 *   SEND_DUE, the cell still there: forbidden() is asked again, then DELIVER_SEND again. So what was
 *   under way when the server ended is sent once its lease is over; or at once, when a replay tells of it.
 *
 * Invariants: nothing is lost with the process: a send is a cell until its end. What is wished is asked
 * whenever it is about to leave. One address is one send; totals count people. Cells and records: outbox_in.h.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef KITH_OUTBOX_H
#define KITH_OUTBOX_H

#include "content/content.h"

/* ---- rules and routes; notify.c joins them to its own ---- */
extern const struct surface_part sends_part, letters_part;

/* ---- sends.c: to make and to end them ---- */
struct outgoing {
    struct bytes user, notification /* row id */, trigger;
    uint8_t channel; /* one of CHANNEL_PUSH, EMAIL, WEBHOOK */
};
/* Each address of the user for this channel becomes a send of its own; false: none, and why_add says so
 * (WHY_NO_ADDRESS). Asks nobody's wishes: who calls has. */
bool sends_add(struct step *s, const struct outgoing *o);
/* The app's webhooks that want this event ("notification.read"). Cheap when there are none. */
void sends_event(struct step *s, const char *event, struct bytes user, struct bytes notification);
/* Webhooks that hear of messages are told of this one; in its conversation's partition. */
void sends_message(struct step *s, struct bytes conversation, struct bytes id, int64_t created_ms);
/* Those not yet sent are given up: seen or read elsewhere, cancelled. Cheap when there are none. */
void sends_withdraw(struct step *s, struct bytes user, struct bytes notification);
void sends_erase(struct step *s, struct bytes user); /* none is sent any more, none is listed */

/* ---- sends.c: to hand one over ---- */
struct sending {   /* views of its cell */
    uint32_t turn; /* rises with each change: what fell due for an earlier one is nothing */
    uint32_t attempts;
    uint8_t channel, provider;
    uint8_t counted; /* COUNTED_*: of this person, whichever of their addresses it was */
    bool waits;      /* until it falls due: it is not to be handed over */
    int64_t created_ms;
    struct bytes app, user, notification, trigger;
    struct bytes to;    /* push: the device; a webhook: its id */
    struct bytes event; /* of a webhook that is told of something: "notification.read" */
};
static inline bool sending_of_message(const struct sending *x) { return !x->user.n; }
bool sending_find(struct cells *c, uint64_t n, struct sending *out);
/* Its texts lie in the arena. */
bool sending_copy(struct cells *c, uint64_t n, struct arena *arena, struct sending *out);
/* What stands against it now: wishes are asked whenever it is about to leave. 0: nothing; *until: it is
 * held until then, or 0. */
enum why sending_against(
    struct cells *c, const struct sending *x, int64_t now_ms, unsigned planted, int64_t *until);
/* Body of a NOTIFY_SEND_DUE. */
void sending_ask_record(uint64_t n, uint32_t turn, struct buf *out);

/* ---- sends_check.c ---- */
/* Of kith check: a line in *why for each send and dead letter that is not as it must be. */
bool sends_sound(struct cells *c, struct buf *why);

#endif
