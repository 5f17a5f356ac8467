/* notify: its parts as the shard's table takes them: a line for each file with records or routes.
 * SPDX-License-Identifier: Apache-2.0 */
#include "notify/notify.h"

#include "notify/notify_in.h"

static const struct {
    const char *name;
    const struct surface_part *part;
} PARTS[] = {
    {"notify, workflows", &workflows_part},
    {"notify, topics", &topics_part},
    {"notify, triggers", &triggers_part},
    {"notify, homes", &homes_part},
    {"notify, copies", &notify_copies},
    {"notify, later", &notify_later},
    {"notify, cancelling", &notify_cancelling},
    {"notify, inboxes", &inbox_part},
    {"notify, erasing", &notify_erasing},
    {"notify, forgetting", &forgetting_part},
    {"notify, messages", &notify_messages},
    {"notify, relevance", &relevance_part},
    {"notify, wishes", &notify_wishes},
    {"notify, preferences", &preferences_part},
    {"notify, unsubscribing", &unsubscribing_part},
    {"notify, webhooks", &webhooks_part},
    {"notify, sends", &sends_part},
    {"notify, dead letters", &letters_part},
};

bool notify_wants_messages(struct cells *c, struct bytes app) {
    struct workflow w;
    return workflow_find(c, app, BYTES("message"), &w);
}

size_t notify_surfaces(struct surface out[static NOTIFY_SURFACES_MAX]) {
    enum { COUNT = sizeof PARTS / sizeof *PARTS };
    _Static_assert((int)COUNT <= (int)NOTIFY_SURFACES_MAX, "each part needs its place");
    for (size_t i = 0; i < COUNT; i++) {
        const struct surface_part *p = PARTS[i].part;
        out[i] =
            (struct surface){PARTS[i].name, p->rules, p->rule_count, p->routes, p->route_count};
    }
    return COUNT;
}
