/* due: what falls due in a partition, and the ticks that apply it.
 *
 *   a rule ──due_add(at)──▶ cells ──(the clock has come there)──▶ TICK record ──▶ the rules of the items
 *
 * An item is {app, kind, body}: when its time has come it is applied as if it were a record of that
 * kind, in this partition, with the tick's time. Whoever drives an engine looks at due_next and
 * appends a TICK (no app, no body, no ticket) when that has come.
 *
 * Invariants: pure; all of it lies in cells. No item is applied before its time; of two whose times
 * differ by 100 ms or more the earlier goes first, within these in the order in which they were
 * added. Each is applied once. Nothing is ever taken back: the rule that runs asks whether it still
 * matters. A tick applies DUE_TICK_MAX items at most and none that was added while it was applied:
 * what is left waits for the next one.
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
 * body is copied. The answer of its rule goes nowhere; relays and deliveries go as ever. */
void due_add(struct step *s, int64_t at_ms, uint8_t kind, struct bytes body);
/* When a tick has something to apply; INT64_MAX: nothing waits. One cell is looked at. */
int64_t due_next(struct cells *c);
/* Is what lies there whole? Adds words to *out, a line for each fault, and returns their number.
 * Reads all of it: slow. */
uint64_t due_check(struct cells *c, struct buf *out);

extern const struct surface due_surface;

#endif
