/* notify: messages to those who were away become notifications by the app's workflow `message`; what
 * they have read elsewhere is taken back.
 *
 * chat sends NOTIFY_MESSAGE and NOTIFY_MESSAGE_READ (chat/away.c says what is in them), to the member's
 * own partition. Templates see the sender as `actor`, the conversation as `object`, and `text`, `name`
 * (of the conversation), `conversation`, `message`, `type` of data.
 * SPDX-License-Identifier: Apache-2.0 */
#include "notify/notify_in.h"

static const char *const TYPES[] = {"", "direct", "group", "channel"};

struct told { /* of NOTIFY_MESSAGE */
    struct bytes user, conversation, message, from, from_name, text, name;
    uint64_t seq;
    uint8_t type;
};

static void text_arg(struct buf *b, const char *name, struct bytes v) {
    pack_bytes(b, bytes_str(name));
    pack_u8(b, TEMPLATE_TEXT);
    pack_bytes(b, v);
}

static void args_of(const struct told *m, struct buf *b) {
    text_arg(b, "conversation", m->conversation);
    text_arg(b, "message", m->message);
    text_arg(b, "text", m->text);
    text_arg(b, "name", m->name);
    text_arg(b, "type", bytes_str(TYPES[m->type < 4 ? m->type : 0]));
    pack_bytes(b, BYTES("seq"));
    pack_u8(b, TEMPLATE_INTEGER);
    pack_u64(b, m->seq);
}

static void data_of(const struct told *m, struct buf *b) {
    struct json_out o = {b, false};
    jo_open_obj(&o);
    jo_key(&o, "conversation");
    jo_str(&o, m->conversation);
    jo_key(&o, "message");
    jo_str(&o, m->message);
    jo_key(&o, "seq");
    jo_u64(&o, m->seq);
    jo_key(&o, "type");
    jo_str(&o, bytes_str(TYPES[m->type < 4 ? m->type : 0]));
    if (m->name.n) {
        jo_key(&o, "name");
        jo_str_any(&o, m->name);
    }
    jo_key(&o, "text");
    jo_str_any(&o, m->text);
    jo_close_obj(&o);
}

static void apply_message(struct step *s) {
    struct unpack u = unpack_of(s->body);
    struct told m = {.user = unpack_bytes(&u)};
    m.conversation = unpack_bytes(&u);
    m.seq = unpack_u64(&u);
    m.message = unpack_bytes(&u);
    m.from = unpack_bytes(&u);
    m.from_name = unpack_bytes(&u);
    m.text = unpack_bytes(&u);
    m.name = unpack_bytes(&u);
    m.type = unpack_u8(&u);
    int64_t expires_ms = (int64_t)unpack_u64(&u);
    check(!u.bad);
    struct buf id = {0}, args = {0}, data = {0};
    message_id_make(&id, s->time_ms,
        (TRIGGER_OWN | TRIGGER_DIRECT | TRIGGER_MADE | (s->position & (TRIGGER_MADE - 1)))
                << TRIGGER_ID_SHIFT |
            s->partition);
    args_of(&m, &args);
    data_of(&m, &data);
    struct content k = {.id = buf_view(&id),
        .workflow = BYTES("message"),
        .actor = m.from,
        .actor_name = m.from_name,
        .object = m.conversation,
        .data = buf_view(&data),
        .args = buf_view(&args),
        .created_ms = s->time_ms,
        .expires_ms = expires_ms};
    struct buf users = {0};
    pack_bytes(&users, m.user);
    content_keep(s, &k, buf_view(&users), KEEP_ONE);
    step_tally(s, CONTENT_TALLY_triggers, 1);
    receive(s, m.user, &k); /* the only thing in this record: nothing was told in it before */
    buf_done(&users);
    buf_done(&id);
    buf_done(&args);
    buf_done(&data);
}

struct taken_back {                          /* of NOTIFY_MESSAGE_READ */
    struct bytes user, conversation, sender; /* sender: of deleted ones; else empty */
    uint64_t from, upto;
};
static void taken_back_read(struct bytes body, struct taken_back *t) {
    struct unpack u = unpack_of(body);
    *t = (struct taken_back){.user = unpack_bytes(&u)};
    t->conversation = unpack_bytes(&u);
    t->upto = unpack_u64(&u);
    if (unpack_more(&u)) {
        t->from = unpack_u64(&u);
        t->sender = unpack_bytes(&u);
    }
    check(!u.bad);
}

/* Is it of one of these messages? */
static bool covers(const struct content *k, const struct taken_back *t) {
    struct template_arg args[ARGS_MAX];
    size_t n = args_unpack(k->args, args, ARGS_MAX);
    if (!bytes_is(k->workflow, "message") || !bytes_eq(k->object, t->conversation) ||
        (t->sender.n && !bytes_eq(k->actor, t->sender)))
        return false;
    for (size_t i = 0; i < n; i++)
        if (bytes_is(args[i].name, "seq"))
            return (uint64_t)args[i].integer <= t->upto && (uint64_t)args[i].integer >= t->from;
    return false;
}
/* What was read here, and not elsewhere, stays; what is deleted does not. */
static bool may_stand(const struct row *r, const struct taken_back *t) {
    return r->flags & ROW_MOVED || (t->sender.n ? r->flags & ROW_HIDDEN : r->read_ms != 0) ||
           !bytes_is(r->workflow, "message");
}

static void tell_read(struct step *s, struct bytes user, struct bytes ids) {
    struct unpack u = unpack_of(ids);
    struct bytes first = unpack_bytes(&u);
    inbox_tell_gone(s, user, first, bytes_of(u.p, (size_t)(u.end - u.p)), WHY_WITHDRAWN);
}

static void apply_message_read(struct step *s) {
    struct taken_back t;
    struct inbox i;
    struct buf gone = {0};
    taken_back_read(arena_copy(s->arena, s->body), &t);
    struct bytes user = t.user;
    if (!mailbox_known(s->cells, s->app, user)) return;
    inbox_open(&i, s->cells, s->app, user, s->time_ms, s->arena);
    inbox_fold(&i, s);
    inbox_load(&i);
    for (size_t n = 0; n < i.count; n++) {
        struct row *r = &i.row[n];
        struct content k;
        if (may_stand(r, &t) || !content_find(s->cells, s->app, r->trigger, &k) || !covers(&k, &t))
            continue;
        bool shown = !(r->flags & ROW_HIDDEN);
        row_begin(&i, r);
        r->flags |= ROW_HIDDEN;
        r->read_ms = s->time_ms; /* so that it is not taken back again */
        row_end(&i, r);
        why_add(s, user, r->trigger, WHY_WITHDRAWN, 0, 0, (struct bytes){0});
        sends_withdraw(s, user, r->id);
        if (shown) pack_bytes(&gone, r->id);
    }
    inbox_save(s, &i);
    if (gone.n) tell_read(s, user, buf_view(&gone));
    buf_done(&gone);
}

/* In the conversation's partition, where it was stored (chat/message.c says what is in it). */
static void apply_stored(struct step *s) {
    struct unpack u = unpack_of(s->body);
    struct bytes conversation = unpack_bytes(&u), id = unpack_bytes(&u);
    int64_t created_ms = (int64_t)unpack_u64(&u);
    check(!u.bad);
    answer_ok(s->answer, 200);
    sends_message(s, conversation, id, created_ms);
}

static const struct record_rule RULES[] = {{KIND_NOTIFY_MESSAGE, apply_message},
    {KIND_NOTIFY_MESSAGE_READ, apply_message_read}, {KIND_NOTIFY_MESSAGE_STORED, apply_stored}};
const struct surface_part notify_messages = {RULES, sizeof RULES / sizeof *RULES, NULL, 0};
