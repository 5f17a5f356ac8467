/* notify: notifications: whom a trigger is for, what becomes of it for each of them, and their inboxes.
 *
 *   trigger ─▶ its partition (id known? whom for?) ─▶ each recipient's partition ─▶ decide ─▶ inbox row, mailbox entry
 *           └─ one recipient, id made here: at once ─────────▶                        ├─▶ held, digest (due)
 *                                                                                      └─▶ send: push, mail, webhook
 *
 * Invariants: one writer a person: all that is decided about someone is decided in apply, in their
 * partition, in the order of its log. What is for an audience (a topic, followers, everyone) and only
 * in-app is stored once a partition, and merged into an inbox when it is read, or when something else
 * happens to that inbox. Records, relays and cells: notify_in.h.
 *
 * It stands on services: workflow (what apps set), prefs (what people wish), content (what triggers say,
 * and every decision), outbox (what is to leave the server).
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef KITH_NOTIFY_H
#define KITH_NOTIFY_H

#include "mailbox/mailbox.h"

/* Its parts, as the shard's table takes them; returns how many. */
enum { NOTIFY_SURFACES_MAX = 18 };
size_t notify_surfaces(struct surface out[static NOTIFY_SURFACES_MAX]);
enum { NOTIFY_AHEADS = 1 };
extern const struct ahead_rule notify_aheads[NOTIFY_AHEADS];

/* What a DELIVER_SEND delivery (body: u64 n, u8 0) asks to be sent: rendered in the user's language, addressed.
 * The task's id is n, its cookie now_ms; its result comes back as a record of its app
 * (notify_sent_record). NULL: *instead is to be stored, and buf_done by the caller. */
struct send_task;
struct send_result;
struct send_instead {
    /* 0: it is not to be sent any more, and nothing is stored. NOTIFY_SENT: its result, at once.
     * NOTIFY_SEND_DUE: something stands against it by now, and decides when this is applied; it may
     * be told of again. */
    uint8_t kind;
    char app[65];
    struct buf body;
};
struct send_task *notify_send_task(struct tools *t, struct json_reader *json, struct cells *c,
    uint64_t n, int64_t now_ms, struct send_instead *instead);
/* The body of a KIND_NOTIFY_SENT record. */
void notify_sent_record(const struct send_result *r, struct buf *out);

/* Does the app have a workflow `message`? So that chat tells of messages to those who are away. */
bool notify_wants_messages(struct cells *c, struct bytes app);
/* Members of the object that GET /v1/users/{id}/export answers. */
bool notify_export(struct query *q, struct json_out *o);
/* Looks at all that a partition keeps of notifications: false, and a line in *why for each thing that must
 * hold and does not. */
bool notify_check(struct cells *c, struct buf *why);

#endif
