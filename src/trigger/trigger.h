/* trigger: what an app asks for: triggers, for whom, and what became of them; topics, which are what most are for.
 * A service of notify, which decides about each person.
 *
 *   POST ─▶ records, in the recipient's partition (COPY) or the id's (NOTIFY) ─▶ home: once, now or at send_at
 *        ─▶ COPY to each partition ─▶ notify
 *   DELETE ─▶ CANCEL ─▶ notify, which asks trigger_home_cancel        GET, why ─▶ gathered of the partitions
 *
 * Invariants: an id happens once, for as long as what it said is kept. What waits for send_at leaves from its
 * home, and not when it was cancelled there. Nothing here decides about a person.
 * Cells: '(' app trigger (home.c). Records (pack_* calls in the order written; stored, never changed):
 *   NOTIFY         repeated varbytes { content, targets }: triggers, in the partition of their id
 *   NOTIFY_COPY    repeated varbytes { content, varbytes users (packed ids; none: its audience) }
 *   NOTIFY_SEND_AT the id                                       due
 *   NOTIFY_CANCEL  varbytes trigger;  NOTIFY_CANCELLED  varbytes trigger          relay
 *   TOPIC_USERS    varbytes topic (none: they are made only), varbytes add (packed ids), varbytes remove
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef KITH_TRIGGER_H
#define KITH_TRIGGER_H

#include "content/content.h"
#include "workflow/workflow.h"

/* ---- rules and routes; notify.c joins them to its own ---- */
extern const struct surface_part triggers_part, homes_part, topics_part;

/* ---- home.c: in the partition of their id ---- */
uint16_t trigger_home(struct bytes app, struct bytes id, uint16_t partitions);
/* Taken back: it leaves no more, and every partition learns of it (NOTIFY_CANCELLED). false: it has no home of
 * its own: it is for one recipient, here. */
bool trigger_home_cancel(struct step *s, struct bytes id);
/* What a trigger cannot be: no such workflow, a variable that it lacks. false: the answer says so. */
bool trigger_fits(struct cells *c, struct bytes app, const struct content *k, struct workflow *out,
    struct answer *a);
void trigger_result(struct buf *out, const struct answer *a); /* of one item of a record */
struct trigger_home {
    bool cancelled, waits, audience; /* waits: for send_at */
    int64_t created_ms;
    uint64_t recipients; /* named ones */
    struct bytes item;   /* what waits: its content, and varbytes users */
};
bool trigger_home_read(
    struct cells *c, struct bytes app, struct bytes id, struct trigger_home *out);

#endif
