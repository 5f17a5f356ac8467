/* relevance: whether a person opens what they are told, learned from what they did before; what they would
 * hardly open waits for a digest. A service of the rooms that notify: it predicts and learns (src/learn has
 * the model), they act on it.
 *
 *   a trigger ─▶ relevance_waits ─▶ now, or in a digest ─▶ relevance_opened, or NOTIFY_LEARN falls due ─▶ learned
 *
 * Invariants: of a person without a state nothing is awaited. Each trigger is learned of at most once, and of a row
 * its first one and its newest. What waits in a digest is not judged before that leaves. Who is erased is
 * learned of no more.
 * Cells: '>' app user, '>' app user notification, '~' app workflow (relevance.c). Records: NOTIFY_LEARN, due.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef KITH_RELEVANCE_H
#define KITH_RELEVANCE_H

#include "content/content.h"
#include "workflow/workflow.h"

/* ---- rules; notify.c joins them to its own ---- */
extern const struct surface_part relevance_part;

/* Would they hardly open it, so that it waits for a digest? Learns what is asked for. */
bool relevance_waits(
    struct step *s, struct bytes user, const struct workflow *w, const struct content *k);
/* How long a digest of this workflow stays open; of what they would hardly open, where it says none. */
int64_t relevance_window(const struct workflow *w);

/* A row, as far as it matters here. */
struct judged {
    struct bytes notification, trigger /* its newest */, workflow;
};
/* Another trigger is about to be its newest. */
void relevance_joins(struct step *s, struct bytes user, const struct judged *r);
void relevance_opened(struct step *s, struct bytes user, const struct judged *r);
void relevance_erase(struct step *s, struct bytes user);
struct bytes relevance_state(struct cells *c, struct bytes app, struct bytes user); /* for export */

#endif
