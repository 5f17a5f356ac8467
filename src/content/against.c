/* content: what stands against telling someone of a trigger, as it is now: asked when it comes, and again
 * whenever something of it is about to leave.
 * SPDX-License-Identifier: Apache-2.0 */
#include "content/content.h"
#include "mailbox/mailbox.h"
#include "prefs/prefs.h"

int64_t expiry_of(const struct workflow *w, const struct content *k) {
    if (k->expires_ms) return k->expires_ms;
    if (!w->expires_ms) return 0;
    return (k->send_at_ms > k->created_ms ? k->send_at_ms : k->created_ms) + w->expires_ms;
}

enum why forbidden(struct cells *c, struct bytes app, struct bytes user, bool wishes,
    const struct workflow *w, const struct content *k, int64_t now_ms) {
    int64_t expires = expiry_of(w, k);
    if (k->cancelled) return WHY_CANCELLED;
    if (expires && expires <= now_ms) return WHY_EXPIRED;
    if (!wishes) return 0;
    if (k->actor.n) {
        if (mailbox_blocks(c, app, user, k->actor)) return WHY_BLOCKED;
        if (mailbox_mutes(c, app, user, k->actor)) return WHY_MUTED;
    }
    if (preferences_any(c, app, user) &&
        !(w->channels & ~preferences_off(c, app, user, k->workflow)))
        return WHY_OPTED_OUT;
    return 0;
}

enum total total_of(enum why why) {
    switch (why) {
    case WHY_BLOCKED: return TOTAL_BLOCKED;
    case WHY_MUTED: return TOTAL_MUTED;
    case WHY_OPTED_OUT: return TOTAL_OPTED_OUT;
    case WHY_CAPPED: return TOTAL_CAPPED;
    case WHY_EXPIRED: return TOTAL_EXPIRED;
    default: return TOTAL_CANCELLED;
    }
}

void refused(
    struct step *s, struct bytes user, const struct content *k, enum why why, uint8_t channels) {
    content_count(s, k->id, total_of(why), 1);
    why_add(s, user, k->id, why, channels, 0, (struct bytes){0});
}
