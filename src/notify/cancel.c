/* notify: a trigger is taken back: what was not seen goes from the inbox, what waits does not leave (it
 * asks content_cancelled), what is being sent is given up.
 * SPDX-License-Identifier: Apache-2.0 */
#include "due/due.h"
#include "notify/notify_in.h"

/* The notification that it is in: another's, where a decision says that it joined that one; none while
 * a digest has it, when it was refused there, or taken out before. What only a channel did not take on is
 * in the inbox still. */
static void joined_note(void *arg, const struct decision *d) {
    if (d->code == WHY_DIGEST_OPENED || d->code == WHY_DIGEST_JOINED ||
        (d->code == WHY_CANCELLED && !d->channels))
        *(struct bytes *)arg = (struct bytes){0};
    if (d->code == WHY_GROUPED || d->code == WHY_DIGEST_SENT) *(struct bytes *)arg = d->detail;
}
static struct row *row_of(struct step *s, struct inbox *i, const struct content *k) {
    struct bytes id = k->id;
    why_each(s->cells, s->app, i->user, k->id, joined_note, &id);
    return inbox_find(i, id);
}

/* One of several was taken out: what is left is shown and told, if it is in the inbox still. */
static bool left_told(struct step *s, struct inbox *i, const struct workflow *w, struct row *r) {
    struct content k;
    if (r->flags & ROW_HIDDEN || !content_find(s->cells, s->app, r->trigger, &k)) return false;
    row_begin(i, r);
    r->expires_ms = expiry_of(w, &k);
    r->position = s->position;
    row_end(i, r);
    return row_counts(r, s->time_ms);
}

bool withdraw(struct step *s, struct bytes user, const struct content *k, enum why why) {
    struct workflow w;
    struct inbox i;
    if (!mailbox_known(s->cells, s->app, user)) return true;
    if (mailbox_look(s->cells, s->app, user).last == s->position) return false;
    if (!workflow_find(s->cells, s->app, k->workflow, &w)) w = (struct workflow){0};
    inbox_open(&i, s->cells, s->app, user, s->time_ms, s->arena);
    inbox_fold(&i, s);
    inbox_load(&i);
    struct row *r = row_of(s, &i, k);
    if (!r || r->seen_ms || r->flags & ROW_HIDDEN) {
        if (r) sends_withdraw(s, user, r->id);
        inbox_save(s, &i);
        return true;
    }
    if (r->triggers > 1) {
        actors_leave(s, &i, r, k);
    } else {
        row_begin(&i, r);
        if (s->planted != BUG_CANCELLED_SHOWN) r->flags |= ROW_HIDDEN | ROW_TAKEN;
        row_end(&i, r);
    }
    bool gone = r->flags & ROW_HIDDEN, left = left_told(s, &i, &w, r);
    struct bytes id = r->id;
    uint64_t place = r->n;
    inbox_save(s, &i);
    content_count(s, k->id, TOTAL_DELIVERED, -1);
    content_count(s, k->id, why == WHY_CANCELLED ? TOTAL_CANCELLED : TOTAL_EXPIRED, 1);
    why_add(s, user, k->id, why, 0, 0, (struct bytes){0});
    if (gone) sends_withdraw(s, user, id);
    if (gone) inbox_tell_gone(s, user, id, (struct bytes){0}, why);
    else if (left) inbox_tell_row(s, user, place, EVENT_UPDATED, (struct bytes){0});
    return true;
}

/* It waited for its time: whom it names is told why it never came. */
static void never_left(struct step *s, const struct content *k, struct unpack users) {
    while (unpack_more(&users)) {
        struct bytes user = unpack_bytes(&users);
        if (!mailbox_known(s->cells, s->app, user)) continue;
        content_count(s, k->id, TOTAL_RECIPIENTS, 1);
        refused(s, user, k, WHY_CANCELLED, 0);
    }
}

static void cancel_here(struct step *s, struct bytes id) {
    struct content k;
    if (!content_cancel(s, id)) return;
    if (!content_copy(s, id, &k)) return;
    if (k.audience.n) {
        sweep_begin(s, &k, SWEEP_CANCEL);
        return;
    }
    struct unpack u = unpack_of(arena_copy(s->arena, content_users(s->cells, s->app, id)));
    struct buf clash = {0};
    if (k.send_at_ms > k.created_ms && !content_total(s->cells, s->app, id, TOTAL_RECIPIENTS)) {
        never_left(s, &k, u);
        return;
    }
    while (unpack_more(&u)) {
        struct bytes user = unpack_bytes(&u);
        if (!withdraw(s, user, &k, WHY_CANCELLED)) pack_bytes(&clash, user);
    }
    if (clash.n) users_later(s, id, buf_view(&clash)); /* told of something in this record */
    buf_done(&clash);
}

static void apply_cancel(struct step *s) {
    answer_ok(s->answer, 204);
    if (!trigger_home_cancel(s, s->body)) cancel_here(s, s->body);
}
static void apply_cancelled(struct step *s) { cancel_here(s, s->body); }

static const struct record_rule RULES[] = {
    {KIND_NOTIFY_CANCEL, apply_cancel}, {KIND_NOTIFY_CANCELLED, apply_cancelled}};
const struct surface_part notify_cancelling = {RULES, sizeof RULES / sizeof *RULES, NULL, 0};
