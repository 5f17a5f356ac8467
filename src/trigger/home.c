/* trigger: those in the partition of their id: those whose id was given, which happen once, and those
 * for many. From here they go to the partitions of their recipients, now or at send_at.
 *
 *   '(' app trigger   u64 hash of what was asked, u8 flags, var created_ms, var recipients, then, while it
 *                     waits for send_at, varbytes item. Once it waits no more it is kept for as long
 *                     as what it said (content/forget.c): an id happens once
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "due/due.h"
#include "trigger/trigger_in.h"

enum { HOME_CANCELLED = 1, HOME_AUDIENCE = 2 };

uint16_t trigger_home(struct bytes app, struct bytes id, uint16_t partitions) {
    uint64_t n = message_id_seq(id);
    if (n >> TRIGGER_ID_SHIFT && n % (1u << TRIGGER_ID_SHIFT) < partitions)
        return (uint16_t)(n % (1u << TRIGGER_ID_SHIFT));
    return partition_of_conversation(app, id, partitions);
}

static struct cell *home_cell(struct cells *c, struct bytes app, struct bytes id) {
    uint8_t room[300];
    return cells_get(c, key2(room, '(', app, id));
}

/* ---- to the recipients ---- */
struct spread {
    struct step *s;
    struct buf *to; /* by partition: items; and the users of the item at hand */
    struct buf *users;
};

static void spread_begin(struct spread *w, struct step *s) {
    w->s = s;
    w->to = arena_zero(s->arena, s->partitions * sizeof *w->to);
    w->users = arena_zero(s->arena, s->partitions * sizeof *w->users);
}

static void item_add(struct buf *to, struct bytes content, struct bytes users) {
    struct buf item = {0};
    buf_reserve(&item, content.n + users.n + 8);
    buf_bytes(&item, content);
    pack_bytes(&item, users);
    pack_bytes(to, buf_view(&item));
    buf_done(&item);
}

static void spread_item(struct spread *w, const struct content *k, struct bytes users) {
    const struct step *s = w->s;
    struct buf content = {0};
    content_encode(&content, k);
    struct unpack u = unpack_of(users);
    while (unpack_more(&u)) {
        struct bytes user = unpack_bytes(&u);
        pack_bytes(&w->users[partition_of_user(s->app, user, s->partitions)], user);
    }
    for (uint16_t p = 0; p < s->partitions; p++) {
        if (!w->users[p].n && !k->audience.n) continue;
        item_add(&w->to[p], buf_view(&content), buf_view(&w->users[p]));
        buf_reset(&w->users[p]);
    }
    buf_done(&content);
}

static void spread_end(struct spread *w) {
    for (uint16_t p = 0; p < w->s->partitions; p++) {
        if (w->to[p].n) step_relay(w->s, p, KIND_NOTIFY_COPY, buf_view(&w->to[p]));
        buf_done(&w->to[p]);
        buf_done(&w->users[p]);
    }
}

/* Naming makes: whom a trigger is for is there while it waits. */
static void users_make(struct step *s, struct bytes users) {
    struct buf *of = arena_zero(s->arena, s->partitions * sizeof *of);
    struct unpack u = unpack_of(users);
    while (unpack_more(&u)) {
        struct bytes user = unpack_bytes(&u);
        pack_bytes(&of[partition_of_user(s->app, user, s->partitions)], user);
    }
    for (uint16_t p = 0; p < s->partitions; p++) {
        if (!of[p].n) continue;
        struct buf b = {0};
        pack_bytes(&b, (struct bytes){0}); /* of no topic */
        pack_bytes(&b, buf_view(&of[p]));
        pack_bytes(&b, (struct bytes){0});
        step_relay(s, p, KIND_TOPIC_USERS, buf_view(&b));
        buf_done(&b);
        buf_done(&of[p]);
    }
}

/* ---- triggers ---- */
/* Of what was asked: when, and what the actor was called then, do not count. */
static uint64_t asked_hash(const struct content *k, struct bytes users) {
    struct content asked = *k;
    asked.created_ms = 0;
    asked.actor_name = (struct bytes){0};
    struct buf b = {0};
    content_encode(&b, &asked);
    buf_bytes(&b, users);
    uint64_t h = hash64(buf_view(&b));
    buf_done(&b);
    return h;
}

static void home_store(struct step *s, struct cell *c, uint64_t hash, const struct content *k,
    struct bytes users, struct bytes item) {
    struct buf b = {0};
    struct unpack u = unpack_of(users);
    uint64_t n = 0;
    for (; unpack_more(&u); n++) (void)unpack_bytes(&u);
    pack_u64(&b, hash);
    pack_u8(&b, k->audience.n ? HOME_AUDIENCE : 0);
    pack_var(&b, (uint64_t)k->created_ms);
    pack_var(&b, n);
    if (k->send_at_ms > s->time_ms) pack_bytes(&b, item);
    cells_put(s->cells, c, buf_view(&b));
    buf_done(&b);
}

/* What a trigger cannot be, in *a; true: nothing stands against it. */
bool trigger_fits(struct cells *c, struct bytes app, const struct content *k, struct workflow *out,
    struct answer *a) {
    struct template_arg args[ARGS_MAX];
    if (!workflow_find(c, app, k->workflow, out)) {
        answer_problem(a, PROBLEM_NOT_FOUND, "workflow",
            "there is no workflow '%.*s'; PUT /v1/workflows/{id} makes one", (int)k->workflow.n,
            (const char *)k->workflow.p);
        return false;
    }
    return !out->needs.n || workflow_args_fit(out, args, args_unpack(k->args, args, ARGS_MAX), a);
}

void trigger_result(struct buf *out, const struct answer *a) {
    pack_u8(out, (uint8_t)a->problem);
    pack_bytes(out, bytes_str(a->field));
    pack_bytes(out, bytes_str(a->detail));
}

static void home_take(struct step *s, struct spread *w, struct bytes item, struct answer *a) {
    struct unpack u = unpack_of(item);
    struct content k;
    check(content_decode(&u, &k) == OK);
    struct bytes users = unpack_bytes(&u);
    struct cell *c = home_cell(s->cells, s->app, k.id);
    uint64_t hash = asked_hash(&k, users), before;
    if (c->size) {
        memcpy(&before, c->data, sizeof before);
        if (before != hash)
            answer_problem(a, PROBLEM_CONFLICT, "id",
                "a trigger with this id exists and asked for something else");
        return;
    }
    struct workflow flow;
    if (!trigger_fits(s->cells, s->app, &k, &flow, a)) return;
    home_store(s, c, hash, &k, users, item);
    step_tally(s, CONTENT_TALLY_triggers, 1);
    if (k.send_at_ms > s->time_ms) {
        due_add(s, k.send_at_ms, KIND_NOTIFY_SEND_AT, k.id);
        users_make(s, users);
    } else {
        forget_later(s, FORGET_TRIGGER, k.id);
        spread_item(w, &k, users);
    }
}

static void apply_notify(struct step *s) {
    struct spread w;
    struct unpack u = unpack_of(s->body);
    answer_ok(s->answer, 202);
    spread_begin(&w, s);
    while (unpack_more(&u)) {
        struct answer one = {0};
        home_take(s, &w, unpack_bytes(&u), &one);
        trigger_result(&s->answer->body, &one);
    }
    spread_end(&w);
}

/* What waited for send_at; nothing when it was cancelled. */
static struct bytes item_take(struct step *s, struct bytes id) {
    struct cell *c = home_cell(s->cells, s->app, id);
    struct unpack u = unpack_of(arena_copy(s->arena, bytes_of(c->data, c->size)));
    const uint8_t *begin = u.p;
    if (!c->size) return (struct bytes){0};
    (void)unpack_u64(&u);
    uint8_t flags = unpack_u8(&u);
    (void)unpack_var(&u);
    (void)unpack_var(&u);
    uint32_t at = (uint32_t)(u.p - begin);
    struct bytes item = unpack_more(&u) ? unpack_bytes(&u) : (struct bytes){0};
    if (item.n) {
        cells_splice(s->cells, c, at, c->size - at, (struct bytes){0});
        forget_later(s, FORGET_TRIGGER, id);
    }
    return flags & HOME_CANCELLED ? (struct bytes){0} : item;
}

static void apply_send_at(struct step *s) {
    struct spread w;
    struct content k;
    struct bytes item = item_take(s, s->body);
    if (!item.n) return;
    struct unpack u = unpack_of(item);
    check(content_decode(&u, &k) == OK);
    spread_begin(&w, s);
    spread_item(&w, &k, unpack_bytes(&u));
    spread_end(&w);
}

/* ---- cancelling ---- */
bool trigger_home_cancel(struct step *s, struct bytes id) {
    struct cell *c = home_cell(s->cells, s->app, id);
    if (!c->size) return false;
    if (c->data[8] & HOME_CANCELLED) return true;
    cells_edit(s->cells, c)[8] |= HOME_CANCELLED;
    (void)item_take(s, id);
    for (uint16_t p = 0; p < s->partitions; p++) step_relay(s, p, KIND_NOTIFY_CANCELLED, id);
    return true;
}

bool trigger_home_read(
    struct cells *c, struct bytes app, struct bytes id, struct trigger_home *out) {
    const struct cell *cell = home_cell(c, app, id);
    if (!cell->size) return false;
    struct unpack u = unpack_of(bytes_of(cell->data, cell->size));
    (void)unpack_u64(&u);
    uint8_t flags = unpack_u8(&u);
    out->cancelled = flags & HOME_CANCELLED;
    out->audience = flags & HOME_AUDIENCE;
    out->created_ms = (int64_t)unpack_var(&u);
    out->recipients = unpack_var(&u);
    out->waits = unpack_more(&u);
    out->item = out->waits ? unpack_bytes(&u) : (struct bytes){0};
    return true;
}

static const struct record_rule RULES[] = {
    {KIND_NOTIFY, apply_notify}, {KIND_NOTIFY_SEND_AT, apply_send_at}};
const struct surface_part homes_part = {RULES, sizeof RULES / sizeof *RULES, NULL, 0};
