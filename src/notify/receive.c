/* notify: what becomes of a trigger for one person: refused, collected, grouped, told, held, sent.
 *
 *   receive ─▶ forbidden? ─▶ capped? ─▶ a digest's? ─▶ leave ─▶ row and mailbox entry
 *                                                          ├──▶ held until quiet hours end (later.c)
 *                                                          ├──▶ escalations (later.c)
 *                                                          └──▶ sends (outbox/sends.c)
 *
 * Keeps: a mailbox gets one entry a position. What a person forbids is asked when it leaves, and again
 * when what was held leaves. High priority passes quiet hours and digests, and never an opt-out.
 * SPDX-License-Identifier: Apache-2.0 */
#include "notify/notify_in.h"

/* ---- leaving ---- */
static void told_why(
    struct step *s, struct inbox *i, const struct content *k, const struct placed *p) {
    if (p->joined) {
        content_count(s, k->id, TOTAL_GROUPED, 1);
        why_add(s, i->user, k->id, WHY_GROUPED, 0, 0, p->row->id);
    } else if (p->replaced.n) {
        why_add(s, i->user, k->id, WHY_COLLAPSED, 0, 0, p->replaced);
    } /* else its row says it: one line less for each */
}

void send_by(struct step *s, const struct outgoing *o, uint8_t channels, const struct workflow *w,
    bool hidden) {
    struct outgoing by = *o;
    bool any = false;
    for (by.channel = CHANNEL_PUSH; by.channel <= CHANNEL_WEBHOOK;
         by.channel = (uint8_t)(by.channel << 1))
        if (channels & by.channel) any |= sends_add(s, &by);
    if (!any && hidden && !w->escalate.n) content_count(s, o->trigger, TOTAL_NO_ADDRESS, 1);
}

static void send_outside(struct step *s, struct inbox *i, const struct workflow *w,
    const struct content *k, struct bytes notification, uint8_t channels, bool hidden) {
    int64_t until = 0;
    if (w->priority != PRIORITY_HIGH && i->person.wishes)
        until = preferences_quiet_until(s->cells, s->app, i->user, s->time_ms);
    if (until && s->planted != BUG_QUIET_IGNORED) {
        hold(s, i->user, notification, k, channels, until);
        return;
    }
    send_by(s, &(struct outgoing){i->user, notification, k->id, 0}, channels, w, hidden);
}

void leave(struct step *s, struct inbox *i, const struct workflow *w, const struct content *k,
    const struct row *digest) {
    uint8_t off = 0;
    if (i->person.wishes) off = preferences_off(s->cells, s->app, i->user, k->workflow);
    uint8_t outside = w->at_once & (uint8_t) ~(off | CHANNEL_INAPP);
    uint8_t unwanted = w->at_once & off;
    bool inapp = w->at_once & ~off & CHANNEL_INAPP;
    inbox_cap_use(i, w, k->workflow, s->time_ms);
    struct placed p =
        inbox_place(s, i, &(struct placing){w, k, digest, s->position, s->time_ms, !inapp});
    if (inapp) {
        enum entry_event event = p.joined ? EVENT_UPDATED : EVENT_CREATED;
        inbox_tell_row(s, i->user, p.row->n, event, p.replaced);
        if (!digest) content_count(s, k->id, TOTAL_DELIVERED, 1); /* else digest_settle does */
        told_why(s, i, k, &p);
    }
    if (unwanted) why_add(s, i->user, k->id, WHY_OPTED_OUT, unwanted, 0, (struct bytes){0});
    struct bytes id = p.row->id;
    if (inapp) expiry_tells(s, i->user, id, p.row->expires_ms);
    if (outside) send_outside(s, i, w, k, id, outside, !inapp);
    if (w->escalate.n) escalations_begin(s, i->user, id, w, k);
}

bool receive_by(
    struct step *s, const struct workflow *w, struct bytes user, const struct content *k) {
    struct inbox i;
    inbox_open(&i, s->cells, s->app, user, s->time_ms, s->arena);
    if (!i.person.known) {
        mailbox_ensure(s, user);
        i.person = mailbox_look(s->cells, s->app, user);
    }
    if (i.person.last == s->position) return false;
    content_count(s, k->id, TOTAL_RECIPIENTS, 1);
    inbox_fold(&i, s);
    enum why why = forbidden(s->cells, s->app, user, i.person.wishes, w, k, s->time_ms);
    if (s->planted == BUG_OPT_OUT_IGNORED && why == WHY_OPTED_OUT) why = 0;
    if (!why && inbox_cap_reached(&i, w, k->workflow, s->time_ms)) why = WHY_CAPPED;
    if (why) refused(s, user, k, why, 0);
    else {
        bool unlikely =
            w->learned && w->priority != PRIORITY_HIGH && relevance_waits(s, user, w, k);
        if (w->priority == PRIORITY_HIGH || !(w->digest_ms || unlikely) ||
            !digest_take(s, &i, w, k, unlikely))
            leave(s, &i, w, k, NULL);
    }
    inbox_save(s, &i);
    return true;
}

void workflow_gone(struct step *s, struct bytes user, const struct content *k) {
    content_count(s, k->id, TOTAL_RECIPIENTS, 1);
    refused(s, user, k, WHY_WORKFLOW_GONE, 0);
}

bool receive(struct step *s, struct bytes user, const struct content *k) {
    struct workflow w;
    if (workflow_find(s->cells, s->app, k->workflow, &w)) return receive_by(s, &w, user, k);
    if (mailbox_known(s->cells, s->app, user)) workflow_gone(s, user, k);
    return true;
}
