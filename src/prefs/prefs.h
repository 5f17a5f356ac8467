/* prefs: how a person wishes to be told: which channels of which workflow, quiet hours, a pause; and the
 * link in a mail by which one click ends mails of its kind. A service of the rooms that notify.
 *
 *   PUT, a click on a link ─▶ PREFERENCES_PUT ─▶ notify, which folds the inbox ─▶ preferences_put ─▶ cell
 *   what is about to leave ─▶ preferences_off? preferences_quiet_until?
 *
 * Invariants: it says what is wished, and who asks acts on it: nothing here holds or drops a notification.
 * A wish is for what leaves after it. Quiet hours begin and end by the clocks where the person lives. A
 * person who was erased is not made anew by a link. Cells: '%' app user (preferences.c). Records:
 *   PREFERENCES_PUT varbytes user, u8 what is given, u16 from, u16 to, u8 days, i64 paused until,
 *                  repeated { varbytes workflow, u8 channels given, u8 set, u8 on }   in the user's partition
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef KITH_PREFS_H
#define KITH_PREFS_H

#include "surface/surface.h"

/* ---- routes; notify.c joins them to its own ---- */
extern const struct surface_part preferences_part, unsubscribing_part;

/* ---- preferences.c ---- */
/* Applies a PREFERENCES_PUT. What audiences of this person got before must be in their inbox by then: it
 * holds by what was wished when it came. */
void preferences_put(struct step *s);
/* Channels of the workflow that the user opted out of (bits). */
uint8_t preferences_off(
    struct cells *c, struct bytes app, struct bytes user, struct bytes workflow);
/* When push and mail may leave again: the end of quiet hours or of a pause that holds at `now_ms`,
 * whichever is later (both over); 0: now. In the user's zone (person_zone). */
int64_t preferences_quiet_until(
    struct cells *c, struct bytes app, struct bytes user, int64_t now_ms);
/* Do they have any at all? Else all of the above is: nothing. One look. */
bool preferences_any(struct cells *c, struct bytes app, struct bytes user);
/* A PREFERENCES_PUT's body: this channel of the workflow is off. Who is not known is not made by it. */
void preferences_pack_off(struct buf *b, struct bytes user, struct bytes workflow, uint8_t channel);
void preferences_erase(struct step *s, struct bytes user);
/* As GET answers them. */
void preferences_json(
    struct cells *c, struct bytes app, struct bytes user, int64_t now_ms, struct json_out *o);
bool preferences_whole(struct bytes value); /* of a '%' cell, for kith check */
struct quiet_hours {
    uint16_t from, to; /* minutes of the day; equal: none */
    uint8_t days;      /* on which they begin: bit 0 is Monday */
};
enum { QUIET_ALL = 0xff /* of days: all, as nothing else was said */ };
/* When the quiet hours that hold at `now_ms` end; 0: none do. */
int64_t quiet_end(struct bytes zone, const struct quiet_hours *q, int64_t now_ms);

/* ---- unsubscribe.c ---- */
/* Is this target of a request a link by which one unsubscribes from a mail of ours? */
enum preferences_link { LINK_NONE, LINK_HOLDS, LINK_FORGED };
enum preferences_link preferences_link_of(const struct tools *t, struct bytes target);
void preferences_link_refuse(struct answer *a); /* LINK_FORGED in words */

#endif
