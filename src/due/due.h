/* due: what falls due in a partition, and the ticks that make records of it.
 *
 *   a rule ──due_add(at)──▶ cells ──(the clock has come there)──▶ TICK ──relay to itself──▶ a record
 *
 * An item is {app, kind, body}: when its time has come it becomes a record of that kind in this
 * partition, with the tick's time. It is a relay of the partition to itself: so it has a position of
 * its own, as mailboxes ask for, and takes effect once. Whoever drives an engine calls engine_ticks,
 * which appends a TICK (no app, no body, no ticket) where one is due.
 *
 * Invariants: pure; all of it lies in cells. No item is applied before its time; of two whose times
 * are not rounded to the same the earlier goes first, of others the one that was added first. Nothing
 * is ever taken back: the rule that runs asks whether it still matters. A tick takes DUE_TICK_MAX
 * items at most: what is left, and what their rules add, waits for the next one.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef KITH_DUE_H
#define KITH_DUE_H

#include "surface/surface.h"

enum {
    DUE_TICK_MAX = 256,      /* items to a tick */
    DUE_RESOLUTION_MS = 100, /* an item's time is rounded up to it */
    DUE_BODY_MAX = 256 * 1024
};

/* To be applied when the time has come, for the step's app. at_ms in the past: by the next tick.
 * body is copied, DUE_BODY_MAX at most. The rule sees a relay (s->relay) whose source is its own
 * partition; its answer goes nowhere. */
void due_add(struct step *s, int64_t at_ms, uint8_t kind, struct bytes body);
/* When a tick has something to apply; INT64_MAX: nothing waits. One cell is looked at. */
int64_t due_next(struct cells *c);
/* Can each item be read, is it found by its index, and is nothing due before due_next? Words in *why,
 * a line for each fault. Reads all of it: slow. */
bool due_check(struct cells *c, struct buf *why);

extern const struct surface due_surface;

#endif
