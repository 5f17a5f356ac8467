/* prefs, inside the room: the page that a mail's link leads to.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef KITH_PREFS_IN_H
#define KITH_PREFS_IN_H

#include "prefs/prefs.h"

struct template_kit;
/* The language that the page has for someone of the locale `own` (or empty), whose browser sends
 * `accepted` (Accept-Language, or empty). */
unsigned page_language(struct template_kit *k, struct bytes own, struct bytes accepted);
/* Fills the answer. CUT: no link of ours, 404. `workflow`: an id. */
enum page_kind { PAGE_ASK, PAGE_DONE, PAGE_CUT };
void page_put(struct answer *a, enum page_kind kind, unsigned language, struct bytes workflow);

#endif
