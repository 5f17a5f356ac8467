/* notify: a person's wishes change (src/prefs keeps them): before they do, what their audiences got
 * becomes rows of the inbox, so that what came before holds by what was wished before; and then what quiet
 * hours hold no more leaves; also when they live by other clocks from now on.
 * SPDX-License-Identifier: Apache-2.0 */
#include "notify/notify_in.h"

/* Of whom nothing is known there is nothing to fold. */
static void apply_put(struct step *s) {
    struct unpack u = unpack_of(s->body);
    struct bytes user = unpack_bytes(&u);
    if (mailbox_known(s->cells, s->app, user)) inbox_fold_all(s, user);
    preferences_put(s);
    held_again(s, user);
}

/* Their quiet hours are other hours now. */
static void apply_moved(struct step *s) {
    struct unpack u = unpack_of(s->body);
    held_again(s, unpack_bytes(&u));
}

static const struct record_rule RULES[] = {
    {KIND_PREFERENCES_PUT, apply_put}, {KIND_USER_MOVED, apply_moved}};
const struct surface_part notify_wishes = {RULES, sizeof RULES / sizeof *RULES, NULL, 0};
