/* notify: sends: what leaves the server. Nobody has an address yet that this room could send to: each
 * is told so. SPDX-License-Identifier: Apache-2.0 */
#include "notify/notify_in.h"

void sends_add(struct step *s, const struct outgoing *o) {
    why_add(s, o->user, o->trigger, WHY_NO_ADDRESS, o->channel, 0, (struct bytes){0});
}
void sends_event(struct step *s, const char *event, struct bytes user, struct bytes notification) {}
void sends_withdraw(struct step *s, struct bytes user, struct bytes notification) {}
