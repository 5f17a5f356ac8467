/* notify: what waits for a person: what quiet hours hold, escalations, expiry; digests are in digest.c. Each falls
 * due (src/due) and asks then whether it may still leave.
 *
 *   '/' app user                  what quiet hours or a pause hold: repeated { var until, varbytes
 *                                 notification, varbytes trigger, u8 channels }
 *
 *   NOTIFY_DUE  u8 what, varbytes user, then: DIGEST varbytes workflow, u64 group, u64 serial;
 *               HELD varbytes notification, varbytes trigger, u8 channels (of stores of before);
 *               ESCALATE likewise and u8 unless;  LOOK nothing: at what is held until now;
 *               EXPIRE varbytes notification: of an audience, whose trigger it is, without a user
 * SPDX-License-Identifier: Apache-2.0 */
#include "due/due.h"
#include "notify/notify_in.h"

enum { LOOK_STEP = 64 }; /* released by one record */

/* ---- held by quiet hours or a pause ---- */
struct held {
    int64_t until_ms;
    struct bytes notification, trigger;
    uint8_t channels;
};
static struct held held_unpack(struct unpack *u) {
    struct held h = {.until_ms = (int64_t)unpack_var(u)};
    h.notification = unpack_bytes(u);
    h.trigger = unpack_bytes(u);
    h.channels = unpack_u8(u);
    return h;
}
bool held_whole(struct bytes value) {
    struct unpack u = unpack_of(value);
    bool whole = true;
    while (unpack_more(&u) && whole) whole = held_unpack(&u).channels != 0;
    return whole && !u.bad;
}
static void held_pack(struct buf *b, const struct held *h) {
    pack_var(b, (uint64_t)h->until_ms);
    pack_bytes(b, h->notification);
    pack_bytes(b, h->trigger);
    pack_u8(b, h->channels);
}
static struct cell *held_cell(struct cells *c, struct bytes app, struct bytes user) {
    uint8_t room[300];
    return cells_get(c, key2(room, '/', app, user));
}

static void look_add(struct step *s, struct bytes user, int64_t at_ms) {
    struct buf b = {0};
    pack_u8(&b, DUE_LOOK);
    pack_bytes(&b, user);
    due_add(s, at_ms, KIND_NOTIFY_DUE, buf_view(&b));
    buf_done(&b);
}

void hold(struct step *s, struct bytes user, struct bytes notification, const struct content *k,
    uint8_t channels, int64_t until_ms) {
    struct buf b = {0};
    held_pack(&b, &(struct held){until_ms, notification, k->id, channels});
    cells_append(s->cells, held_cell(s->cells, s->app, user), buf_view(&b));
    buf_done(&b);
    look_add(s, user, until_ms);
    content_count(s, k->id, TOTAL_HELD, 1);
    why_add(s, user, k->id, WHY_HELD_QUIET, channels, until_ms, (struct bytes){0});
}

/* Quiet hours or a pause were changed: what they hold no more leaves, or sooner. What they hold for longer
 * is held again when it is looked at. */
void held_again(struct step *s, struct bytes user) {
    struct cell *c = held_cell(s->cells, s->app, user);
    if (!c->size) return;
    int64_t until = preferences_quiet_until(s->cells, s->app, user, s->time_ms);
    struct unpack u = unpack_of(arena_copy(s->arena, bytes_of(c->data, c->size)));
    struct buf b = {0};
    bool sooner = false;
    if (!until) until = s->time_ms;
    while (unpack_more(&u)) {
        struct held h = held_unpack(&u);
        sooner |= h.until_ms > until;
        if (h.until_ms > until) h.until_ms = until;
        held_pack(&b, &h);
    }
    if (sooner) {
        cells_put(s->cells, held_cell(s->cells, s->app, user), buf_view(&b));
        look_add(s, user, until);
    }
    buf_done(&b);
}

struct waiting { /* what falls due */
    struct bytes user, notification, trigger;
    uint8_t channels, unless;
    struct content k;
    struct workflow w;
};

static bool waiting_read(struct step *s, struct unpack *u, struct waiting *h) {
    h->notification = unpack_bytes(u);
    h->trigger = unpack_bytes(u);
    h->channels = unpack_u8(u);
    return !u->bad && mailbox_known(s->cells, s->app, h->user) &&
           content_copy(s, h->trigger, &h->k) &&
           workflow_find(s->cells, s->app, h->k.workflow, &h->w);
}

/* Wishes of now; quiet hours may have been changed, and hold it again. */
static void go_on(struct step *s, struct waiting *h, bool hidden) {
    enum why why = forbidden(s->cells, s->app, h->user, true, &h->w, &h->k, s->time_ms);
    if (why) {
        refused(s, h->user, &h->k, why, h->channels);
        return;
    }
    uint8_t off = 0;
    int64_t until = 0;
    if (preferences_any(s->cells, s->app, h->user)) {
        off = preferences_off(s->cells, s->app, h->user, h->k.workflow);
        until = preferences_quiet_until(s->cells, s->app, h->user, s->time_ms);
    }
    if (off & h->channels)
        why_add(s, h->user, h->trigger, WHY_OPTED_OUT, off & h->channels, 0, (struct bytes){0});
    h->channels &= (uint8_t)~off;
    if (!h->channels) return;
    if (until && h->w.priority != PRIORITY_HIGH) {
        hold(s, h->user, h->notification, &h->k, h->channels, until);
        return;
    }
    send_by(
        s, &(struct outgoing){h->user, h->notification, h->trigger, 0}, h->channels, &h->w, hidden);
}

static bool row_of(struct step *s, const struct waiting *h, struct row *out) {
    struct inbox i;
    inbox_open(&i, s->cells, s->app, h->user, s->time_ms, s->arena);
    const struct row *r = inbox_find(&i, h->notification);
    if (r) *out = *r;
    return r != NULL;
}

static void held_due(struct step *s, struct bytes user, struct unpack *u) {
    struct waiting h = {.user = user};
    struct row r;
    if (!waiting_read(s, u, &h)) return;
    content_count(s, h.trigger, TOTAL_HELD, -1);
    if (!row_of(s, &h, &r)) return; /* trimmed, or its owner was erased */
    bool withdrawn = r.flags & ROW_TAKEN;
    if (withdrawn || r.seen_ms || r.read_ms || r.archived_ms) {
        why_add(s, user, h.trigger, WHY_WITHDRAWN, h.channels, 0, (struct bytes){0});
        return;
    }
    if (!bytes_eq(r.trigger, h.trigger)) { /* what came to it later tells of all */
        why_add(s, user, h.trigger, WHY_GROUPED, h.channels, 0, r.id);
        return;
    }
    go_on(s, &h, r.flags & ROW_HIDDEN);
}

/* What is held no longer than until now; each of it has a look of its own, so that nothing is missed. */
static void look_due(struct step *s, struct bytes user) {
    struct cell *c = held_cell(s->cells, s->app, user);
    struct unpack u = unpack_of(arena_copy(s->arena, bytes_of(c->data, c->size)));
    struct buf stays = {0}, goes = {0};
    unsigned n = 0;
    bool more = false;
    while (unpack_more(&u)) {
        struct held h = held_unpack(&u);
        bool now = h.until_ms <= s->time_ms && n < LOOK_STEP;
        more |= h.until_ms <= s->time_ms && !now;
        n += now;
        if (!now) held_pack(&stays, &h);
        else {
            pack_bytes(&goes, h.notification);
            pack_bytes(&goes, h.trigger);
            pack_u8(&goes, h.channels);
        }
    }
    if (n) cells_put(s->cells, c, buf_view(&stays));
    struct unpack each = unpack_of(arena_copy(s->arena, buf_view(&goes)));
    while (n--) held_due(s, user, &each);
    if (more) look_add(s, user, s->time_ms);
    buf_done(&stays);
    buf_done(&goes);
}

void held_erase(struct step *s, struct bytes user) {
    struct cell *c = held_cell(s->cells, s->app, user);
    if (c->size) cells_put(s->cells, c, (struct bytes){0});
}

/* ---- escalations ---- */
void escalations_begin(struct step *s, struct bytes user, struct bytes notification,
    const struct workflow *w, const struct content *k) {
    struct unpack u = unpack_of(w->escalate);
    while (unpack_more(&u)) {
        int64_t after = (int64_t)unpack_var(&u);
        uint8_t channels = unpack_u8(&u), unless = unpack_u8(&u);
        struct buf b = {0};
        pack_u8(&b, DUE_ESCALATE);
        pack_bytes(&b, user);
        pack_bytes(&b, notification);
        pack_bytes(&b, k->id);
        pack_u8(&b, channels);
        pack_u8(&b, unless);
        due_add(s, s->time_ms + after, KIND_NOTIFY_DUE, buf_view(&b));
        buf_done(&b);
    }
}

static void escalate_due(struct step *s, struct bytes user, struct unpack *u) {
    struct waiting h = {.user = user};
    struct row r;
    if (!waiting_read(s, u, &h)) return;
    h.unless = unpack_u8(u);
    if (!row_of(s, &h, &r)) return; /* trimmed */
    bool withdrawn = r.flags & ROW_TAKEN;
    bool done = r.read_ms || r.archived_ms || (h.unless == ESCALATE_UNLESS_SEEN && r.seen_ms);
    if (withdrawn || done) {
        why_add(s, user, h.trigger, WHY_NOT_ESCALATED, h.channels, 0, (struct bytes){0});
        return;
    }
    why_add(s, user, h.trigger, WHY_ESCALATED, h.channels, 0, (struct bytes){0});
    go_on(s, &h, r.flags & ROW_HIDDEN);
}

/* ---- expired in the inbox ---- */
void expiry_tells(struct step *s, struct bytes user, struct bytes notification, int64_t at_ms) {
    struct buf b = {0};
    if (!at_ms) return;
    pack_u8(&b, DUE_EXPIRE);
    pack_bytes(&b, user);
    pack_bytes(&b, notification);
    due_add(s, at_ms, KIND_NOTIFY_DUE, buf_view(&b));
    buf_done(&b);
}

/* Its devices show it, and count it, until they are told. false: as receive. */
static bool expire_due(struct step *s, struct bytes user, struct unpack *u) {
    struct waiting h = {.user = user, .notification = unpack_bytes(u)};
    struct content k;
    struct row r;
    if (!user.n) {
        if (content_copy(s, h.notification, &k) && !k.cancelled)
            audience_tell_gone(s, k.audience, k.id, WHY_EXPIRED);
        return true;
    }
    if (!mailbox_known(s->cells, s->app, user)) return true;
    if (mailbox_look(s->cells, s->app, user).last == s->position) return false;
    if (!row_of(s, &h, &r) || r.flags & ROW_HIDDEN || r.archived_ms || !r.expires_ms ||
        r.expires_ms > s->time_ms)
        return true; /* taken back, or another came to it, with a time of its own */
    inbox_tell_gone(s, user, h.notification, (struct bytes){0}, WHY_EXPIRED);
    return true;
}

static void apply_due(struct step *s) {
    struct bytes body = arena_copy(s->arena, s->body);
    struct unpack u = unpack_of(body);
    uint8_t what = unpack_u8(&u);
    struct bytes user = unpack_bytes(&u);
    if (what == DUE_LOOK) look_due(s, user);
    else if (what == DUE_HELD) held_due(s, user, &u);
    else if (what == DUE_ESCALATE) escalate_due(s, user, &u);
    else if (!(what == DUE_EXPIRE ? expire_due(s, user, &u) : digest_due(s, user, &u)))
        due_add(s, s->time_ms, KIND_NOTIFY_DUE, body);
}

static const struct record_rule RULES[] = {{KIND_NOTIFY_DUE, apply_due}};
const struct surface_part notify_later = {RULES, sizeof RULES / sizeof *RULES, NULL, 0};
