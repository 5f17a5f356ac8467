/* notify: what waits for a person: digests, what quiet hours hold, escalations. Each falls due (src/due)
 * and asks then whether it may still leave.
 *
 *   '-' app user workflow group   an open digest: var until, u64 serial, varbytes row (empty: nothing
 *                                 collected), repeated varbytes trigger
 *   '-' app user                  which of them are open: repeated { varbytes workflow, u64 group }
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

enum { DUE_DIGEST = 1, DUE_HELD, DUE_ESCALATE, DUE_LOOK, DUE_EXPIRE };
enum { LOOK_STEP = 64 }; /* released by one record */
enum { DIGEST_TRIGGERS_MAX = 1024 };

/* ---- digests ---- */
struct digest {
    int64_t until_ms;
    uint64_t serial; /* the position at which it was opened */
    struct row row;
    bool empty; /* nothing collected yet */
    struct bytes triggers;
};

static struct cell *digest_cell(
    struct cells *c, struct bytes app, struct bytes user, struct bytes workflow, uint64_t group) {
    uint8_t room[300];
    return cells_get(c, key3n(room, '-', app, user, workflow, group));
}

static void digest_read(const struct cell *c, struct arena *arena, struct digest *d) {
    struct unpack u = unpack_of(arena_copy(arena, bytes_of(c->data, c->size)));
    *d = (struct digest){.until_ms = (int64_t)unpack_var(&u)};
    d->serial = unpack_u64(&u);
    struct bytes row = unpack_bytes(&u);
    d->empty = !row.n;
    if (row.n) row_decode(row, 0, &d->row);
    d->triggers = bytes_of(u.p, (size_t)(u.end - u.p));
    check(!u.bad);
}

static void digest_write(
    struct step *s, struct cell *c, const struct digest *d, const struct bytes *another) {
    struct buf b = {0}, row = {0};
    if (!d->empty) row_encode(&row, &d->row);
    pack_var(&b, (uint64_t)d->until_ms);
    pack_u64(&b, d->serial);
    pack_bytes(&b, buf_view(&row));
    buf_bytes(&b, d->triggers);
    if (another) pack_bytes(&b, *another);
    cells_put(s->cells, c, buf_view(&b));
    buf_done(&b);
    buf_done(&row);
}

/* Which are open, so that those of who is erased can go. */
static struct cell *open_cell(struct cells *c, struct bytes app, struct bytes user) {
    uint8_t room[300];
    return cells_get(c, key2(room, '-', app, user));
}
static void open_note(
    struct step *s, struct bytes user, struct bytes workflow, uint64_t group, bool on) {
    struct cell *c = open_cell(s->cells, s->app, user);
    struct buf b = {0};
    pack_bytes(&b, workflow);
    pack_u64(&b, group);
    if (on) {
        cells_append(s->cells, c, buf_view(&b));
    } else {
        for (struct unpack u = unpack_of(bytes_of(c->data, c->size)); unpack_more(&u);) {
            uint32_t at = (uint32_t)(u.p - c->data);
            (void)unpack_bytes(&u);
            (void)unpack_u64(&u);
            if (!bytes_eq(bytes_of(c->data + at, (size_t)(u.p - c->data) - at), buf_view(&b)))
                continue;
            cells_splice(s->cells, c, at, (uint32_t)b.n, (struct bytes){0});
            break;
        }
    }
    buf_done(&b);
}

void digests_erase(struct step *s, struct bytes user) {
    struct cell *list = open_cell(s->cells, s->app, user);
    struct inbox i;
    if (!list->size) return;
    inbox_open(&i, s->cells, s->app, user, s->time_ms, s->arena);
    struct unpack u = unpack_of(arena_copy(s->arena, bytes_of(list->data, list->size)));
    while (unpack_more(&u)) {
        struct bytes workflow = unpack_bytes(&u);
        struct cell *c = digest_cell(s->cells, s->app, user, workflow, unpack_u64(&u));
        struct digest d;
        if (!c->size) continue;
        digest_read(c, s->arena, &d);
        if (!d.empty) actors_forget(s, &i, &d.row);
        for (struct unpack t = unpack_of(d.triggers); unpack_more(&t);)
            content_blank(s, unpack_bytes(&t));
        cells_put(s->cells, c, (struct bytes){0});
    }
    cells_put(s->cells, list, (struct bytes){0});
}

static void due_digest(struct step *s, struct bytes user, const struct content *k, uint64_t group,
    const struct digest *d) {
    struct buf b = {0};
    pack_u8(&b, DUE_DIGEST);
    pack_bytes(&b, user);
    pack_bytes(&b, k->workflow);
    pack_u64(&b, group);
    pack_u64(&b, d->serial);
    due_add(s, d->until_ms, KIND_NOTIFY_DUE, buf_view(&b));
    buf_done(&b);
}

/* The row of a digest is not in the inbox yet: hidden, so that nothing counts it. */
static void collect(struct step *s, struct inbox *i, const struct workflow *w, struct digest *d,
    const struct content *k) {
    if (!d->empty) {
        if (w->learned)
            relevance_joins(
                s, i->user, &(struct judged){d->row.id, d->row.trigger, d->row.workflow});
        actors_join(s, i, &d->row, k);
        return;
    }
    d->empty = false;
    d->row = (struct row){.flags = ROW_HIDDEN,
        .id = k->id,
        .trigger = k->id,
        .workflow = k->workflow,
        .created_ms = s->time_ms,
        .at_ms = s->time_ms};
    actors_first(i, &d->row, k);
}

static size_t triggers_of(struct bytes packed) {
    struct unpack u = unpack_of(packed);
    size_t n = 0;
    for (; unpack_more(&u); n++) (void)unpack_bytes(&u);
    return n;
}

bool digest_take(struct step *s, struct inbox *i, const struct workflow *w, const struct content *k,
    bool unlikely) {
    uint64_t group = group_of(w, k);
    struct cell *c = digest_cell(s->cells, s->app, i->user, k->workflow, group);
    struct digest d;
    bool opened = !c->size;
    if (opened) {
        d = (struct digest){.empty = true, .serial = s->position};
        d.until_ms = s->time_ms + relevance_window(w);
        due_digest(s, i->user, k, group, &d);
        open_note(s, i->user, k->workflow, group, true);
        if (w->first_at_once && !unlikely) {
            digest_write(s, c, &d, NULL);
            return false;
        }
    } else {
        digest_read(c, s->arena, &d);
        if (triggers_of(d.triggers) >= DIGEST_TRIGGERS_MAX) { /* counted, and not asked again */
            collect(s, i, w, &d, k);
            digest_write(s, c, &d, NULL);
            return true;
        }
    }
    collect(s, i, w, &d, k);
    digest_write(s, c, &d, &k->id);
    content_count(s, k->id, TOTAL_DIGESTED, 1);
    content_count(s, k->id, TOTAL_HELD, 1);
    why_add(s, i->user, k->id, opened ? WHY_DIGEST_OPENED : WHY_DIGEST_JOINED, 0, d.until_ms,
        (struct bytes){0});
    return true;
}

/* Takes those out that may leave no more; *newest is the last that may. false: none is left. */
static bool digest_settle(struct step *s, struct inbox *i, const struct workflow *w,
    struct digest *d, struct content *newest) {
    struct unpack u = unpack_of(d->triggers);
    struct content k;
    uint8_t off = preferences_off(s->cells, s->app, i->user, d->row.workflow);
    bool any = false;
    while (unpack_more(&u)) {
        struct bytes id = unpack_bytes(&u);
        if (!content_copy(s, id, &k)) continue;
        content_count(s, id, TOTAL_HELD, -1);
        enum why why = forbidden(s->cells, s->app, i->user, i->person.wishes, w, &k, s->time_ms);
        if (why) {
            refused(s, i->user, &k, why, 0);
            actors_leave(s, i, &d->row, &k);
            continue;
        }
        if (w->at_once & ~off & CHANNEL_INAPP) content_count(s, id, TOTAL_DELIVERED, 1);
        why_add(s, i->user, id, WHY_DIGEST_SENT, 0, 0, d->row.id);
        *newest = k;
        any = true;
    }
    return any;
}

/* Its workflow was deleted: nobody knows how to tell it. */
static void digest_drop(struct step *s, struct bytes user, const struct digest *d) {
    struct unpack u = unpack_of(d->triggers);
    struct content k;
    while (unpack_more(&u)) {
        if (!content_copy(s, unpack_bytes(&u), &k)) continue;
        content_count(s, k.id, TOTAL_HELD, -1);
        refused(s, user, &k, WHY_WORKFLOW_GONE, 0);
    }
}

/* false: another record must (receive.c). */
static bool digest_due(struct step *s, struct bytes user, struct unpack *u) {
    struct bytes workflow = unpack_bytes(u);
    uint64_t group = unpack_u64(u), serial = unpack_u64(u);
    struct cell *c = digest_cell(s->cells, s->app, user, workflow, group);
    struct digest d;
    struct inbox i;
    struct workflow w;
    struct content newest;
    if (!c->size) return true;
    digest_read(c, s->arena, &d);
    if (d.serial != serial) return true;
    bool known = mailbox_known(s->cells, s->app, user);
    if (known && !d.empty && mailbox_look(s->cells, s->app, user).last == s->position) return false;
    cells_put(s->cells, c, (struct bytes){0});
    open_note(s, user, workflow, group, false);
    if (d.empty || !known) return true;
    if (!workflow_find(s->cells, s->app, workflow, &w)) {
        digest_drop(s, user, &d);
        return true;
    }
    inbox_open(&i, s->cells, s->app, user, s->time_ms, s->arena);
    inbox_fold(&i, s);
    if (digest_settle(s, &i, &w, &d, &newest)) leave(s, &i, &w, &newest, &d.row);
    inbox_save(s, &i);
    return true;
}

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
static void go_on(struct step *s, struct waiting *h) {
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
    for (uint8_t one = CHANNEL_PUSH; one <= CHANNEL_WEBHOOK; one = (uint8_t)(one << 1))
        if (h->channels & one)
            sends_add(s, &(struct outgoing){h->user, h->notification, h->trigger, one});
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
    go_on(s, &h);
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
    go_on(s, &h);
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
