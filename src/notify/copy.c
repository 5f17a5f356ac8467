/* notify: what comes to a partition of triggers: each content is kept once, and told to those whom it names, to
 * an audience that merges it, or to one that is gone through, some at a time.
 *
 *   NOTIFY_LATER  varbytes trigger, varbytes users (packed)        due: at send_at, or as a mailbox takes one a position
 *   NOTIFY_SWEEP  varbytes trigger, u64 who was a member at this position, u8 mode, var slot to go on from      due
 *
 * Keeps: nobody is told of two things at one position: what would be waits for a record of its own.
 * SPDX-License-Identifier: Apache-2.0 */
#include "due/due.h"
#include "notify/notify_in.h"
#include "person/person.h"

/* Whom one record told of something by an audience. A bit that two share defers one of them, which is
 * harmless; who was told by name is known exactly, by their mailbox. */
enum { TOUCHED_BITS = 4096, AUDIENCE_LOOKED_AT = 64 };
struct touched {
    uint64_t bits[TOUCHED_BITS / 64];
    bool all;                /* an audience too large to be looked at */
    bool any, named, anyone; /* by an audience, by name, at all */
};
struct touching {
    struct step *s;
    struct touched *t;
    bool clash;
};

static bool touched_has(const struct touched *t, struct bytes user) {
    uint64_t at = hash64(user) % TOUCHED_BITS;
    return t->all || (t->any && t->bits[at / 64] >> at % 64 & 1);
}

static bool member_clashes(void *arg, struct bytes user) {
    struct touching *w = arg;
    w->clash = touched_has(w->t, user) ||
               (w->t->named && mailbox_look(w->s->cells, w->s->app, user).last == w->s->position);
    return !w->clash;
}
static bool member_touch(void *arg, struct bytes user) {
    struct touching *w = arg;
    uint64_t at = hash64(user) % TOUCHED_BITS;
    w->t->bits[at / 64] |= 1ull << at % 64;
    return true;
}

/* true: someone of it was told of something at this position already. */
static bool touch_audience(struct step *s, struct touched *t, struct bytes audience) {
    struct touching w = {s, t, false};
    if (mailbox_member_count(s->cells, s->app, audience) > AUDIENCE_LOOKED_AT) {
        if (t->anyone) return true;
        t->all = true;
    } else if (t->anyone) {
        mailbox_members(s->cells, s->app, audience, member_clashes, &w);
        if (w.clash) return true;
    }
    if (!t->all) mailbox_members(s->cells, s->app, audience, member_touch, &w);
    t->any = t->anyone = true;
    return false;
}

/* In-app at once and nothing else: an inbox can merge it when it is read. */
static bool merges(const struct workflow *w) {
    return w->channels == CHANNEL_INAPP && w->at_once == CHANNEL_INAPP && !w->digest_ms &&
           !w->learned && w->cap_per == CAP_NONE;
}

static void defer(struct buf *later, const struct content *k, struct bytes users) {
    struct buf item = {0};
    content_encode(&item, k);
    pack_bytes(&item, users);
    pack_bytes(later, buf_view(&item));
    buf_done(&item);
}

static void users_receive(struct step *s, struct touched *t, const struct workflow *w,
    const struct content *k, struct bytes users, struct buf *later) {
    struct unpack u = unpack_of(users);
    struct buf clash = {0};
    while (unpack_more(&u)) {
        struct bytes user = unpack_bytes(&u);
        if (touched_has(t, user) || !receive_by(s, w, user, k)) pack_bytes(&clash, user);
        t->named = t->anyone = true;
    }
    if (clash.n) defer(later, k, buf_view(&clash));
    buf_done(&clash);
}

static void sweep_next(struct step *s, const struct content *k, enum sweep_mode mode,
    uint64_t position, uint32_t slot) {
    struct buf b = {0};
    pack_bytes(&b, k->id);
    pack_u64(&b, position);
    pack_u8(&b, (uint8_t)mode);
    pack_var(&b, slot);
    due_add(s, s->time_ms, KIND_NOTIFY_SWEEP, buf_view(&b));
    buf_done(&b);
}

void sweep_begin(struct step *s, const struct content *k, enum sweep_mode mode) {
    /* who left it is looked at when it ends */
    if (mode == SWEEP_CANCEL || mailbox_member_count(s->cells, s->app, k->audience))
        sweep_next(s, k, mode, s->position, 0);
}

static bool single(struct bytes users) {
    struct unpack u = unpack_of(users);
    (void)unpack_bytes(&u);
    return !unpack_more(&u);
}

static void later_begin(struct step *s, const struct content *k, struct bytes users) {
    struct buf b = {0};
    struct unpack u = unpack_of(users); /* naming makes, also what is for later */
    while (unpack_more(&u)) mailbox_ensure(s, unpack_bytes(&u));
    pack_bytes(&b, k->id);
    pack_bytes(&b, users);
    due_add(s, k->send_at_ms, KIND_NOTIFY_LATER, buf_view(&b));
    buf_done(&b);
}

static void item_take(struct step *s, struct touched *t, const struct workflow *w,
    struct content *k, struct bytes users, struct buf *later) {
    /* put off here, and taken back meanwhile */
    k->cancelled =
        s->relay && s->source == s->partition && content_cancelled(s->cells, s->app, k->id);
    if (k->cancelled && k->audience.n) return;
    if (!k->audience.n) {
        content_keep(s, k, users, single(users) ? KEEP_ONE : KEEP_MANY);
        if (k->send_at_ms > s->time_ms) later_begin(s, k, users);
        else users_receive(s, t, w, k, users, later);
    } else if (!merges(w)) {
        content_keep(s, k, (struct bytes){0}, KEEP_MANY);
        sweep_begin(s, k, SWEEP_RECEIVE);
    } else if (touch_audience(s, t, k->audience)) {
        defer(later, k, users);
    } else {
        audience_tell(s, k);
        expiry_tells(s, (struct bytes){0}, k->id, expiry_of(w, k));
    }
}

/* Deleted since it was triggered. */
static void item_drop(struct step *s, const struct content *k, struct bytes users) {
    if (k->audience.n) return;
    content_keep(s, k, users, single(users) ? KEEP_ONE : KEEP_MANY);
    for (struct unpack u = unpack_of(users); unpack_more(&u);) {
        struct bytes user = unpack_bytes(&u);
        mailbox_ensure(s, user);
        workflow_gone(s, user, k);
    }
}

static void apply_copy(struct step *s) {
    struct touched t = {0};
    struct buf later = {0};
    struct unpack all = unpack_of(s->body);
    struct buf *out = &s->answer->body;
    answer_ok(s->answer, 202);
    while (unpack_more(&all)) {
        struct unpack u = unpack_of(unpack_bytes(&all));
        struct content k;
        check(content_decode(&u, &k) == OK);
        struct bytes users = unpack_bytes(&u);
        struct answer one = {0};
        struct workflow w;
        if (s->relay ? workflow_find(s->cells, s->app, k.workflow, &w)
                     : trigger_fits(s->cells, s->app, &k, &w, &one))
            item_take(s, &t, &w, &k, users, &later);
        else if (s->relay) item_drop(s, &k, users);
        if (s->relay) continue;
        step_tally(s, CONTENT_TALLY_triggers, !one.problem);
        trigger_result(out, &one);
    }
    if (later.n) step_relay(s, s->partition, KIND_NOTIFY_COPY, buf_view(&later));
    buf_done(&later);
}

void users_later(struct step *s, struct bytes id, struct bytes users) {
    struct buf b = {0};
    pack_bytes(&b, id);
    pack_bytes(&b, users);
    due_add(s, s->time_ms, KIND_NOTIFY_LATER, buf_view(&b));
    buf_done(&b);
}

static void apply_later(struct step *s) {
    struct unpack u = unpack_of(arena_copy(s->arena, s->body));
    struct bytes id = unpack_bytes(&u), users = unpack_bytes(&u);
    struct content k;
    struct buf clash = {0};
    if (!content_copy(s, id, &k)) return;
    bool cancelled = content_cancelled(s->cells, s->app, id);
    struct unpack list = unpack_of(users);
    while (unpack_more(&list)) {
        struct bytes user = unpack_bytes(&list);
        if (!(cancelled ? withdraw(s, user, &k, WHY_CANCELLED) : receive(s, user, &k)))
            pack_bytes(&clash, user);
    }
    if (clash.n) users_later(s, id, buf_view(&clash));
    buf_done(&clash);
}

/* ---- an audience that is gone through, some at a time ---- */
enum { SWEEP_STEP = 64 };
struct sweep {
    struct step *s;
    struct content k;
    uint64_t position; /* who belonged to it then */
    enum sweep_mode mode;
    struct buf users;
};

static bool sweep_note(void *arg, struct bytes user) {
    struct sweep *w = arg;
    pack_bytes(&w->users, user);
    return true;
}

/* false: as receive. */
static bool sweep_one(struct sweep *w, struct bytes user) {
    struct step *s = w->s;
    if (w->mode == SWEEP_CANCEL) return withdraw(s, user, &w->k, WHY_CANCELLED);
    if (!mailbox_known(s->cells, s->app, user) ||
        !mailbox_was_in(s->cells, s->app, user, w->k.audience, w->position))
        return true;
    return receive(s, user, &w->k);
}

/* Those whom it may have reached before they left: told so too, some at a time. */
static void left_sweep(struct step *s, struct sweep *w) {
    buf_reset(&w->users);
    mailbox_left(s->cells, s->app, w->k.audience, w->k.created_ms, sweep_note, w);
    struct unpack u = unpack_of(buf_view(&w->users));
    while (unpack_more(&u)) {
        const uint8_t *from = u.p;
        for (int n = 0; n < SWEEP_STEP && unpack_more(&u); n++) (void)unpack_bytes(&u);
        users_later(s, w->k.id, bytes_of(from, (size_t)(u.p - from)));
    }
}

static void apply_sweep(struct step *s) {
    struct unpack u = unpack_of(arena_copy(s->arena, s->body));
    struct sweep w = {.s = s};
    struct bytes id = unpack_bytes(&u);
    w.position = unpack_u64(&u);
    w.mode = (enum sweep_mode)unpack_u8(&u);
    uint32_t slot = (uint32_t)unpack_var(&u);
    if (!content_copy(s, id, &w.k)) return;
    if (w.mode == SWEEP_RECEIVE && content_cancelled(s->cells, s->app, id)) return;
    size_t n =
        mailbox_members_from(s->cells, s->app, w.k.audience, &slot, SWEEP_STEP, sweep_note, &w);
    struct buf clash = {0};
    struct unpack list = unpack_of(buf_view(&w.users));
    while (unpack_more(&list)) {
        struct bytes user = unpack_bytes(&list);
        if (!sweep_one(&w, user)) pack_bytes(&clash, user);
    }
    if (clash.n) users_later(s, id, buf_view(&clash));
    if (n == SWEEP_STEP) sweep_next(s, &w.k, w.mode, w.position, slot);
    else if (w.mode == SWEEP_CANCEL) left_sweep(s, &w);
    buf_done(&clash);
    buf_done(&w.users);
}

/* ---- what apply_copy will ask for ---- */
enum { ITEMS_AHEAD = 8, USERS_AHEAD = 8 };
static void member_ahead(void *arg, struct bytes user) {
    const struct ahead *a = arg;
    inbox_ahead(a->cells, a->app, user);
    mailbox_member_ahead(a->cells, a->app, user);
    person_ahead(a->cells, a->app, user);
    if (a->user) a->user(a->arg, a->app, user, false);
}

static void user_ahead(const struct ahead *a, struct bytes user) {
    if (a->user) a->user(a->arg, a->app, user, a->round > 0);
    if (a->round) {
        inbox_rows_ahead(a->cells, a->app, user);
        mailbox_own_ahead(a->cells, a->app, user);
    } else {
        inbox_ahead(a->cells, a->app, user);
        mailbox_ahead(a->cells, a->app, user);
        person_ahead(a->cells, a->app, user);
    }
}

static void copy_ahead(const struct ahead *a) {
    struct unpack all = unpack_of(a->body);
    content_ahead(a->cells, a->app, a->round);
    for (int n = 0; n < ITEMS_AHEAD && unpack_more(&all); n++) {
        struct unpack u = unpack_of(unpack_bytes(&all));
        struct content k;
        if (content_decode(&u, &k) != OK) return;
        struct unpack users = unpack_of(unpack_bytes(&u));
        for (int i = 0; i < USERS_AHEAD && unpack_more(&users); i++)
            user_ahead(a, unpack_bytes(&users));
        if (!k.audience.n) continue;
        if (a->round)
            mailbox_members_near(
                a->cells, a->app, k.audience, USERS_AHEAD, member_ahead, (void *)a);
        else mailbox_audience_ahead(a->cells, a->app, k.audience);
    }
}

const struct ahead_rule notify_aheads[NOTIFY_AHEADS] = {{KIND_NOTIFY_COPY, copy_ahead}};

static const struct record_rule RULES[] = {{KIND_NOTIFY_COPY, apply_copy},
    {KIND_NOTIFY_LATER, apply_later}, {KIND_NOTIFY_SWEEP, apply_sweep}};
const struct surface_part notify_copies = {RULES, sizeof RULES / sizeof *RULES, NULL, 0};
