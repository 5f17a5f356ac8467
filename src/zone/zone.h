/* zone: a time zone's rules for some years as a table of a few hundred bytes, read without ICU: quiet
 * hours and calendar days are reckoned with it, in apply too.
 *
 * Who has ICU makes the table (template_zone_table) and sends it along in a record. The empty table
 * is UTC, and so is one that is damaged.
 *
 * Invariants: pure; any bytes may be given as a table. Before the first change of a table its first
 * offset holds, behind the last the last.
 * Layout: zigzag-var minutes ahead of UTC at first, then for each change
 *         { var minutes since the change before (the first: zigzag, since 1970) · zigzag-var minutes
 *         ahead of UTC from then on }
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef KITH_ZONE_H
#define KITH_ZONE_H

#include "base/base.h"

enum {
    ZONE_YEARS_MAX = 25,
    ZONE_TABLE_MAX = 512 /* bytes; none of so many years reaches it */
};

/* How far clocks there are ahead of UTC at that moment, ms. */
int64_t zone_offset(struct bytes table, int64_t ms);
/* The moment at which clocks there show `local_ms`, a date and time written as if it were UTC. What
 * is shown twice in autumn: the first time; what is skipped in spring: as much later as is skipped. */
int64_t zone_moment(struct bytes table, int64_t local_ms);
/* The calendar day there at that moment, as days since 1970-01-01; and its first moment. A day that a
 * zone skipped has that of the day behind it. */
int64_t zone_day(struct bytes table, int64_t ms);
int64_t zone_day_start(struct bytes table, int64_t day);
/* What clocks there show: minutes since midnight, 0 to 1439. */
unsigned zone_minute(struct bytes table, int64_t ms);
unsigned zone_weekday(int64_t day); /* 0 Monday to 6 Sunday */

/* ---- making one ---- */
/* In the order of their times, each at a whole minute. Adds to *out. */
struct zone_change {
    int64_t at_ms, offset_ms; /* the first one's time is not looked at: it holds from ever */
};
void zone_pack(const struct zone_change *changes, size_t n, struct buf *out);

#endif
