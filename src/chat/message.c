/* chat, conversation side: messages: order, ids, edits and stubs, and the pages that show them. The
 * hot path is apply_message.
 *
 *   MESSAGE body: varbytes conv · varbytes by (empty: server key) · varbytes from · varbytes id ·
 *     u8 has body · varbytes body, data, media, reply_to,
 *                 mentions, ciphertexts
 *   EDIT body:    varbytes conv, by, id · u8 which (1 body 2 data 4 media) · u8 has body · varbytes
 *                 body, data, media
 *   DELETE body:  varbytes conv, by, id
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "chat/conv_in.h"
#include "workflow/workflow.h"

#define MESSAGE_MAX (64u * 1024)

static struct cell *block_cell(struct cells *c, struct bytes app, struct bytes conv, uint64_t seq) {
    uint8_t room[300];
    return cells_get(c, key2n(room, 'K', app, conv, seq / BLOCK_MESSAGES));
}
/* Where the message goes that is the newest. */
static struct cell *end_cell(struct cells *c, struct bytes app, struct bytes conv, uint64_t seq) {
    uint8_t room[300];
    if (seq % BLOCK_MESSAGES) return block_cell(c, app, conv, seq);
    return cells_new(c, key2n(room, 'K', app, conv, seq / BLOCK_MESSAGES));
}
static struct cell *replies_cell(
    struct cells *c, struct bytes app, struct bytes conv, uint64_t seq) {
    uint8_t room[300];
    return cells_get(c, key2n(room, 'T', app, conv, seq));
}

static struct cell *reactions_cell(struct step *s, struct bytes conv, uint64_t seq) {
    uint8_t room[300];
    return cells_get(s->cells, key2n(room, 'R', s->app, conv, seq));
}
void reactions_clear(struct step *s, struct bytes conv, uint64_t seq) {
    cells_put(s->cells, reactions_cell(s, conv, seq), (struct bytes){0});
}

/* First seq that a member sees: a server key (joined_seq 0) and `history: all` see everything. */
static uint64_t first_seen(const struct conv *v, const struct member *m) {
    return v->history_all ? 1 : m->joined_seq + 1;
}

bool message_get(
    struct cells *c, struct bytes app, struct bytes conv, uint64_t seq, struct message *out) {
    struct cell *cell = block_cell(c, app, conv, seq);
    uint32_t at, size;
    return seq && block_find(bytes_of(cell->data, cell->size), seq, out, &at, &size);
}

uint64_t message_seq_of(
    struct cells *c, struct bytes app, struct bytes conv, const struct conv *v, struct bytes id) {
    struct message m;
    uint64_t seq = message_id_seq(id);
    if (seq && seq <= v->seq && message_get(c, app, conv, seq, &m) && bytes_eq(m.id, id))
        return seq;
    return idindex_find(c, app, conv, v, id);
}

void message_replace(struct step *s, struct bytes conv, const struct conv *v,
    const struct message *m, uint8_t event) {
    struct cell *cell = block_cell(s->cells, s->app, conv, m->seq);
    struct message old;
    uint32_t at, size;
    check(block_find(bytes_of(cell->data, cell->size), m->seq, &old, &at, &size));
    struct buf one = {0}, packed = {0};
    message_encode(&one, m);
    pack_bytes(&packed, buf_view(&one));
    /* m's views may point into the cell: they are encoded before */
    cells_splice(s->cells, cell, at, size, buf_view(&packed));
    if (v) {
        buf_reset(&packed);
        pack_bytes(&packed, conv);
        pack_u8(&packed, v->type);
        pack_u8(&packed, event);
        pack_bytes(&packed, buf_view(&one));
        conv_broadcast(s, conv, v, KIND_COPY_UPDATE, buf_view(&packed));
    }
    buf_done(&one);
    buf_done(&packed);
}

void message_answer(struct step *s, struct bytes conv, const struct message *m, int status) {
    answer_ok(s->answer, status);
    if (!s->wanted) return;
    struct view v = {.now_ms = s->time_ms};
    buf_char(&s->answer->body, '{');
    message_json_members(&s->answer->body, conv, m, &v);
    buf_char(&s->answer->body, '}');
}

/* ---- sending ---- */
struct sending {
    struct bytes conv, by;
    struct message m;
};

static void sending_read(struct step *s, struct sending *p) {
    struct unpack u = unpack_of(s->body);
    p->conv = unpack_bytes(&u);
    p->by = unpack_bytes(&u);
    p->m.from = unpack_bytes(&u);
    p->m.id = unpack_bytes(&u);
    p->m.has_body = unpack_u8(&u) != 0;
    p->m.body = unpack_bytes(&u);
    p->m.data = unpack_bytes(&u);
    p->m.media = unpack_bytes(&u);
    p->m.reply_to = unpack_bytes(&u);
    p->m.mentions = unpack_bytes(&u);
    p->m.ciphertexts = unpack_bytes(&u);
    check(!u.bad);
}

static uint64_t content_hash(const struct message *m) {
    const struct bytes parts[] = {
        m->body, m->data, m->media, m->reply_to, m->mentions, m->ciphertexts};
    struct buf b = {0};
    pack_u8(&b, m->has_body);
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) pack_bytes(&b, parts[i]);
    uint64_t hash = hash64(buf_view(&b));
    buf_done(&b);
    return hash ? hash : 1;
}
static uint64_t first_hash(const struct message *m) {
    return m->first || m->deleted_ms ? m->first : content_hash(m);
}

/* b is what is sent now. Of an erased sender nothing is kept. */
static bool same_content(const struct message *a, const struct message *b) {
    if (!bytes_eq(a->from, b->from)) return false;
    if (a->deleted_ms || a->edited_ms) return !a->first || a->first == content_hash(b);
    return a->has_body == b->has_body && bytes_eq(a->body, b->body) && bytes_eq(a->data, b->data) &&
           bytes_eq(a->media, b->media) && bytes_eq(a->reply_to, b->reply_to) &&
           bytes_eq(a->mentions, b->mentions) && bytes_eq(a->ciphertexts, b->ciphertexts);
}

struct peer {
    struct step *s;
    struct bytes conv, from;
    bool blocks;
};
static bool peer_blocks(void *arg, struct bytes user) {
    struct peer *p = arg;
    struct member m;
    if (!bytes_eq(user, p->from) && member_get(p->s->cells, p->s->app, p->conv, user, &m) &&
        m.blocks)
        p->blocks = true;
    return true;
}

/* In a direct conversation: the other may block this one. Answers then. */
static bool is_blocked(struct step *s, struct bytes conv, const struct conv *v, struct bytes from) {
    struct peer w = {s, conv, from, false};
    if (v->type == CONV_DIRECT) members_each(s->cells, s->app, conv, peer_blocks, &w);
    if (w.blocks)
        answer_problem(s->answer, PROBLEM_BLOCKED, "",
            "the recipient does not take messages from '%.*s'", (int)from.n, (const char *)from.p);
    return w.blocks;
}

static bool sender_in(struct step *s, const struct sending *p, bool there, struct member *out) {
    if (there && member_get(s->cells, s->app, p->conv, p->m.from, out)) return true;
    if (there && !p->by.n)
        answer_problem(s->answer, PROBLEM_NOT_A_MEMBER, "from",
            "'%.*s' is not in this conversation; add them first", (int)p->m.from.n,
            (const char *)p->m.from.p);
    else
        answer_problem(s->answer, PROBLEM_NOT_FOUND, "", "there is no conversation '%.*s'",
            (int)p->conv.n, (const char *)p->conv.p);
    return false;
}

static bool may_send(
    struct step *s, const struct sending *p, const struct conv *v, const struct member *sender) {
    if (v->type == CONV_CHANNEL && p->by.n && sender->role < ROLE_ADMIN) {
        answer_problem(
            s->answer, PROBLEM_FORBIDDEN, "", "in a channel its admins and owners write");
        return false;
    }
    return !is_blocked(s, p->conv, v, p->m.from);
}

#define ID_OF_KEY "idem-" /* of a message that was given an Idempotency-Key and no id */

/* true: it was sent before; the answer is given. */
static bool sent_before(struct step *s, const struct sending *p, const struct conv *v) {
    struct message old;
    uint64_t seq = p->m.id.n ? message_seq_of(s->cells, s->app, p->conv, v, p->m.id) : 0;
    if (!seq || !message_get(s->cells, s->app, p->conv, seq, &old)) return false;
    s->repeated_by = p->m.from;
    if (same_content(&old, &p->m)) message_answer(s, p->conv, &old, 201);
    else if (bytes_starts(p->m.id, ID_OF_KEY))
        answer_problem(s->answer, PROBLEM_CONFLICT, "",
            "this Idempotency-Key was used for a message with other content or another sender");
    else
        answer_problem(s->answer, PROBLEM_CONFLICT, "id",
            "a message with this id is there already, with other content or another sender");
    return true;
}

static bool thread_note(
    struct step *s, const struct sending *p, const struct conv *v, const struct member *sender) {
    if (!p->m.reply_to.n) return true;
    uint64_t to = message_seq_of(s->cells, s->app, p->conv, v, p->m.reply_to);
    if (!to || (p->by.n && to < first_seen(v, sender))) {
        answer_problem(s->answer, PROBLEM_INVALID_VALUE, "reply_to",
            "there is no message '%.*s' here", (int)p->m.reply_to.n, (const char *)p->m.reply_to.p);
        return false;
    }
    cells_append(s->cells, replies_cell(s->cells, s->app, p->conv, to), bytes_of(&p->m.seq, 8));
    return true;
}

/* Webhooks of the app hear of it, where there are such: notify says to which it goes. One look else.
 *   NOTIFY_MESSAGE_STORED  varbytes conv, varbytes id, u64 created_ms */
static void webhooks_tell(struct step *s, const struct sending *p) {
    struct buf b = {0};
    if (!webhooks_want(s->cells, s->app, "message.created")) return;
    pack_bytes(&b, p->conv);
    pack_bytes(&b, p->m.id);
    pack_u64(&b, (uint64_t)p->m.created_ms);
    step_relay(s, s->partition, KIND_NOTIFY_MESSAGE_STORED, buf_view(&b));
    buf_done(&b);
}

void apply_message(struct step *s) {
    struct sending p = {0};
    struct conv v = {0};
    struct member sender;
    sending_read(s, &p);
    s->conversation = p.conv;
    s->item = p.m.id;
    bool there = conv_get(s->cells, s->app, p.conv, &v);
    if (!sender_in(s, &p, there, &sender) || sent_before(s, &p, &v) ||
        !may_send(s, &p, &v, &sender))
        return;
    p.m.seq = v.seq + 1; /* as it will be, for the thread */
    p.m.created_ms = s->time_ms;
    if (v.disappear_ms) p.m.expires_ms = s->time_ms + v.disappear_ms;
    if (!thread_note(s, &p, &v, &sender)) return;
    v.seq += s->planted == BUG_SEQ_GAP && v.seq == 3 ? 2 : 1;
    p.m.seq = v.seq;
    struct buf id = {0};
    if (p.m.id.n) {
        idindex_add(s, p.conv, &v, p.m.id, v.seq);
    } else {
        message_id_make(&id, s->time_ms, v.seq);
        s->item = p.m.id = arena_copy(s->arena, buf_view(&id));
    }
    conv_set(s, p.conv, &v);
    struct buf one = id, relay = {0};
    buf_reset(&one);
    message_encode(&one, &p.m);
    pack_bytes(&relay, buf_view(&one));
    cells_append(s->cells, end_cell(s->cells, s->app, p.conv, v.seq), buf_view(&relay));
    buf_reset(&relay);
    pack_bytes(&relay, p.conv);
    pack_u8(&relay, v.type);
    pack_var(&relay, v.member_count);
    pack_bytes(&relay, buf_view(&one));
    conv_broadcast(s, p.conv, &v, KIND_COPY_MESSAGE, buf_view(&relay));
    webhooks_tell(s, &p);
    message_answer(s, p.conv, &p.m, 201);
    buf_done(&one);
    buf_done(&relay);
}

struct ciphertexts {
    struct buf *b;
    struct answer *a;
    bool bad;
};
static bool ciphertext_take(void *arg, struct bytes key, struct json v) {
    static const struct json_field F[] = {{"user", JSON_ID, true, false, 0},
        {"device", JSON_ID, true, false, 0}, {"data", JSON_STRING, true, false, 65536}};
    (void)key;
    struct ciphertexts *c = arg;
    struct json_value f[3];
    struct json_fault fault;
    c->bad = json_read_object(v, F, 3, f, &fault) != OK;
    if (c->bad) {
        bool odd = fault.kind == FAULT_UNKNOWN || fault.kind == FAULT_DUPLICATE;
        char field[FIELD_BYTES] = "ciphertexts";
        if (odd) field_inside(field, "ciphertexts", bytes_str(fault.field));
        answer_problem(c->a, odd ? PROBLEM_UNKNOWN_FIELD : PROBLEM_INVALID_VALUE, field,
            "each of 'ciphertexts' is {user, device, data}: %s", fault.words);
    }
    for (int i = 0; i < 3 && !c->bad; i++) pack_bytes(c->b, json_string(f[i].v));
    return !c->bad;
}

enum { F_ID, F_FROM, F_BODY, F_DATA, F_MEDIA, F_REPLY, F_MENTIONS, F_CIPHER, F_COUNT };

static bool sender_of(
    const struct request *r, const struct json_value *f, struct bytes *out, struct answer *a) {
    *out = f[F_FROM].present ? json_string(f[F_FROM].v) : r->who.user;
    if (!out->n)
        answer_problem(
            a, PROBLEM_INVALID_VALUE, "from", "a server key must name the sender in 'from'");
    else if (!r->who.server && !bytes_eq(*out, r->who.user))
        answer_problem(a, PROBLEM_FORBIDDEN, "from", "a device token sends as its own user");
    else return true;
    return false;
}

/* The id: the sender's, else one made of the Idempotency-Key so that the same again finds the
 * first. */
static struct bytes id_of(const struct request *r, const struct json_value *f, struct bytes from) {
    if (f[F_ID].present) return json_string(f[F_ID].v);
    if (!r->idempotency_key.n) return (struct bytes){0};
    struct buf b = {0}, text = {0};
    /* a backend's keys are its own, whomever it sends for: another sender is a conflict */
    pack_bytes(&b, r->who.server ? (struct bytes){0} : from);
    pack_bytes(&b, r->idempotency_key);
    uint64_t one = hash64(buf_view(&b));
    pack_u64(&b, one);
    buf_fmt(&text, ID_OF_KEY "%016llx%016llx", (unsigned long long)one,
        (unsigned long long)hash64(buf_view(&b)));
    struct bytes id = arena_copy(r->arena, buf_view(&text));
    buf_done(&b);
    buf_done(&text);
    return id;
}

enum err plan_message_post(struct request *r, struct plan *p, struct answer *a) {
    static const struct json_field FIELDS[F_COUNT] = {{"id", JSON_ID, false, false, 0},
        {"from", JSON_ID, false, false, 0}, {"body", JSON_STRING, false, false, MESSAGE_MAX},
        {"data", JSON_ANY, false, false, MESSAGE_MAX},
        {"media", JSON_ARRAY, false, false, MESSAGE_MAX}, {"reply_to", JSON_ID, false, false, 0},
        {"mentions", JSON_ARRAY, false, false, 8192}, {"ciphertexts", JSON_ARRAY, false, false, 0}};
    struct json_value f[F_COUNT];
    struct bytes from;
    if (!request_object(r, FIELDS, F_COUNT, f, a) || !sender_of(r, f, &from, a)) return REFUSED;
    if (!f[F_BODY].present && !f[F_DATA].present && !f[F_MEDIA].present && !f[F_CIPHER].present)
        return answer_problem(a, PROBLEM_INVALID_VALUE, "body",
                   "a message needs at least one of body, data, media, ciphertexts"),
               REFUSED;
    struct buf mentioned = {0};
    uint64_t mentions;
    bool good = !f[F_MENTIONS].present ||
                request_ids(f[F_MENTIONS].v, "mentions", &mentioned, &mentions, a);
    buf_done(&mentioned); /* stored as it was sent */
    if (!good) return REFUSED;
    p->partition = conv_partition(r);
    p->kind = KIND_MESSAGE;
    struct buf *b = &p->body, raw = {0};
    buf_reserve(b, 256); /* most have room in it */
    pack_bytes(b, r->params[0]);
    pack_bytes(b, r->who.server ? (struct bytes){0} : r->who.user);
    pack_bytes(b, from);
    pack_bytes(b, id_of(r, f, from));
    pack_u8(b, f[F_BODY].present);
    pack_bytes(b, f[F_BODY].present ? json_string(f[F_BODY].v) : (struct bytes){0});
    for (int i = F_DATA; i <= F_CIPHER; i++) {
        buf_reset(&raw);
        struct ciphertexts c = {&raw, a, false};
        if (f[i].present && i == F_CIPHER) json_each(f[i].v, ciphertext_take, &c);
        else if (f[i].present && i == F_REPLY) buf_bytes(&raw, json_string(f[i].v));
        else if (f[i].present) json_raw(f[i].v, &raw);
        pack_bytes(b, buf_view(&raw));
        if (c.bad) {
            buf_done(&raw);
            return REFUSED;
        }
    }
    buf_done(&raw);
    if (b->n > MESSAGE_MAX + 512)
        return answer_problem(a, PROBLEM_TOO_LARGE, "", "a message has at most 64 KiB"), REFUSED;
    return OK;
}

/* ---- editing and deleting ---- */
static void target_plan(struct request *r, struct plan *p, uint8_t kind) {
    p->partition = conv_partition(r);
    p->kind = kind;
    pack_bytes(&p->body, r->params[0]);
    /* a server key that acts for a user may what that user may */
    pack_bytes(&p->body, r->who.user);
    pack_bytes(&p->body, r->params[1]);
}

/* The conversation, who acts, and the message; answers when one is missing. Views of *m are copied
 * to the arena, as it will be rewritten. */
static bool target(struct step *s, struct unpack *u, struct bytes *conv, struct bytes *by,
    struct conv *v, struct member *actor, struct message *m) {
    *conv = unpack_bytes(u);
    *by = unpack_bytes(u);
    struct bytes id = unpack_bytes(u);
    bool there = conv_get(s->cells, s->app, *conv, v);
    if (!actor_in(s, *conv, there ? v : NULL, *by, actor)) return false;
    uint64_t seq = message_seq_of(s->cells, s->app, *conv, v, id);
    if (seq >= first_seen(v, actor) && message_get(s->cells, s->app, *conv, seq, m)) {
        struct buf b = {0};
        message_encode(&b, m);
        check(message_decode(arena_copy(s->arena, buf_view(&b)), m) == OK);
        buf_done(&b);
        return true;
    }
    answer_problem(s->answer, PROBLEM_NOT_FOUND, "",
        "there is no message '%.*s' in this conversation", (int)id.n, (const char *)id.p);
    return false;
}

void apply_message_edit(struct step *s) {
    struct unpack u = unpack_of(s->body);
    struct bytes conv, by;
    struct conv v;
    struct member actor;
    struct message m;
    if (!target(s, &u, &conv, &by, &v, &actor, &m)) return;
    if (message_gone(&m, s->time_ms)) {
        answer_problem(s->answer, PROBLEM_NOT_FOUND, "", "this message was deleted");
        return;
    }
    if (by.n && !bytes_eq(by, m.from)) {
        answer_problem(s->answer, PROBLEM_FORBIDDEN, "", "only its sender may edit a message");
        return;
    }
    m.first = first_hash(&m);
    uint8_t which = unpack_u8(&u);
    bool has_body = unpack_u8(&u) != 0;
    struct bytes body = unpack_bytes(&u), data = unpack_bytes(&u), media = unpack_bytes(&u);
    if (which & 1) {
        m.has_body = has_body;
        m.body = body;
    }
    if (which & 2) m.data = data;
    if (which & 4) m.media = media;
    if (!m.has_body && !m.data.n && !m.media.n && !m.ciphertexts.n) {
        answer_problem(s->answer, PROBLEM_INVALID_VALUE, "body",
            "nothing would be left of the message; delete it instead");
        return;
    }
    if (m.body.n + m.data.n + m.media.n + m.ciphertexts.n > MESSAGE_MAX) {
        answer_problem(s->answer, PROBLEM_TOO_LARGE, "", "a message has at most 64 KiB");
        return;
    }
    m.edited_ms = s->time_ms;
    message_replace(s, conv, &v, &m, EVENT_UPDATED);
    message_answer(s, conv, &m, 200);
}

enum err plan_message_patch(struct request *r, struct plan *p, struct answer *a) {
    static const struct json_field FIELDS[] = {{"body", JSON_STRING, false, true, MESSAGE_MAX},
        {"data", JSON_ANY, false, false, MESSAGE_MAX},
        {"media", JSON_ARRAY, false, true, MESSAGE_MAX}};
    struct json_value f[3];
    if (!request_object(r, FIELDS, 3, f, a)) return REFUSED;
    if (!f[0].present && !f[1].present && !f[2].present)
        return answer_problem(a, PROBLEM_MALFORMED, "",
                   "nothing to change is given; give one of body, data, media"),
               REFUSED;
    target_plan(r, p, KIND_MESSAGE_EDIT);
    struct buf *b = &p->body, raw = {0};
    pack_u8(b, (uint8_t)(f[0].present | f[1].present << 1 | f[2].present << 2));
    pack_u8(b, f[0].present && !f[0].is_null);
    pack_bytes(b, f[0].present && !f[0].is_null ? json_string(f[0].v) : (struct bytes){0});
    for (int i = 1; i < 3; i++) {
        buf_reset(&raw);
        if (f[i].present && json_kind_of(f[i].v) != JSON_NULL) json_raw(f[i].v, &raw);
        pack_bytes(b, buf_view(&raw));
    }
    buf_done(&raw);
    return OK;
}

void apply_message_delete(struct step *s) {
    struct unpack u = unpack_of(s->body);
    struct bytes conv, by;
    struct conv v;
    struct member actor;
    struct message m;
    if (!target(s, &u, &conv, &by, &v, &actor, &m)) return;
    if (by.n && !bytes_eq(by, m.from) && (actor.role < ROLE_ADMIN || v.type == CONV_DIRECT)) {
        answer_problem(s->answer, PROBLEM_FORBIDDEN, "",
            "only its sender, admins and owners may delete a message");
        return;
    }
    answer_ok(s->answer, 204);
    if (m.deleted_ms) return;
    m = (struct message){.seq = m.seq,
        .id = m.id,
        .from = m.from,
        .created_ms = m.created_ms,
        .deleted_ms = s->time_ms,
        .first = first_hash(&m)};
    reactions_clear(s, conv, m.seq);
    message_replace(s, conv, &v, &m, EVENT_DELETED);
}

enum err plan_message_delete(struct request *r, struct plan *p, struct answer *a) {
    (void)a;
    target_plan(r, p, KIND_MESSAGE_DELETE);
    return OK;
}

/* ---- reading ---- */
struct page {
    uint64_t before, after;
    bool forward, by_id;
    unsigned limit;
};

static void show(struct query *q, struct json_out *o, const struct message *m) {
    const struct request *r = q->request;
    struct view v = {.user = r->who.user,
        .device = r->who.device,
        .now_ms = r->now_ms,
        .hidden = viewer_blocks(&r->viewer, m->from)};
    if (o->comma) buf_char(o->b, ',');
    buf_char(o->b, '{');
    message_json_members(o->b, r->params[0], m, &v);
    buf_char(o->b, '}');
    o->comma = true;
}

static uint64_t unread(struct query *q, const struct conv *v, const struct member *m) {
    const struct request *r = q->request;
    struct unread_of w = {r->who.user, r->viewer.blocks, m->read, r->now_ms};
    uint64_t n = 0;
    for (uint64_t block = (m->read + 1) / BLOCK_MESSAGES;
         m->read < v->seq && block <= v->seq / BLOCK_MESSAGES; block++) {
        const struct cell *cell =
            block_cell(q->cells, r->who.app, r->params[0], block * BLOCK_MESSAGES);
        n += block_unread(bytes_of(cell->data, cell->size), &w);
    }
    return n;
}

void conv_mine_json(
    struct query *q, struct json_out *o, const struct conv *v, const struct member *m) {
    struct message last;
    jo_key(o, "last");
    if (v->seq >= first_seen(v, m) &&
        message_get(q->cells, q->request->who.app, q->request->params[0], v->seq, &last)) {
        o->comma = false;
        show(q, o, &last);
    } else {
        jo_null(o);
    }
    if (!q->request->who.user.n) return;
    jo_key(o, "unread");
    jo_u64(o, unread(q, v, m));
    jo_key(o, "read");
    jo_u64(o, m->read);
    jo_key(o, "delivered");
    jo_u64(o, m->delivered);
}

static void page_end(struct query *q, const char *param, uint64_t next) {
    struct buf *b = &q->answer->body;
    if (!next) {
        buf_str(b, "],\"next\":null}");
        return;
    }
    buf_fmt(b, "],\"next\":\"%s", param);
    cursor_format(b, q->request->epoch, next);
    buf_str(b, "\"}");
}

static void query_messages(struct query *q) {
    const struct request *r = q->request;
    const struct page *p = r->args;
    struct conv v;
    struct member me;
    struct message m;
    if (!viewer_in(q, r->params[0], &me, &v)) return;
    uint64_t first = first_seen(&v, &me), left = p->limit, seq;
    answer_ok(q->answer, 200);
    buf_str(&q->answer->body, "{\"items\":[");
    struct json_out o = {&q->answer->body, false};
    if (p->forward) {
        seq = p->after + 1 > first ? p->after + 1 : first;
        for (; seq <= v.seq && left; seq++, left--)
            if (message_get(q->cells, r->who.app, r->params[0], seq, &m)) show(q, &o, &m);
        page_end(q, "a", seq <= v.seq ? seq - 1 : 0);
        return;
    }
    seq = p->before && p->before <= v.seq ? p->before - 1 : v.seq;
    for (; seq >= first && seq && left; seq--, left--)
        if (message_get(q->cells, r->who.app, r->params[0], seq, &m)) show(q, &o, &m);
    page_end(q, "b", seq >= first && seq ? seq + 1 : 0);
}

static bool seq_param(
    const struct request *r, const char *name, uint64_t *out, bool *present, struct answer *a) {
    struct bytes v = request_query(r, name);
    *present = v.n != 0;
    *out = 0;
    for (size_t i = 0; i < v.n; i++) {
        if (v.p[i] < '0' || v.p[i] > '9' || v.n > 15)
            return answer_problem(a, PROBLEM_MALFORMED, name, "'%s' must be a seq", name), false;
        *out = *out * 10 + (v.p[i] - '0');
    }
    return true;
}

static bool page_cursor(const struct request *r, struct page *p, struct answer *a) {
    struct bytes c = request_query(r, "cursor");
    if (!c.n) return true;
    uint64_t at = 0;
    enum err e = c.p[0] == 'a' || c.p[0] == 'b'
                     ? cursor_parse(bytes_of(c.p + 1, c.n - 1), r->epoch, &at)
                     : MALFORMED;
    if (!cursor_good(e, a)) return false;
    p->forward = c.p[0] == 'a';
    if (p->forward) p->after = at;
    else p->before = at;
    return true;
}

enum err plan_message_list(struct request *r, struct plan *p, struct answer *a) {
    struct page *page = arena_zero(r->arena, sizeof *page);
    bool before, after;
    if (!request_limit(r, a, &page->limit) || !seq_param(r, "before", &page->before, &before, a) ||
        !seq_param(r, "after", &page->after, &after, a))
        return REFUSED;
    if (before && after)
        return answer_problem(a, PROBLEM_INVALID_VALUE, "after", "give either 'before' or 'after'"),
               REFUSED;
    if (before && !page->before) page->before = 1; /* nothing is before the first */
    page->forward = after;
    if (!page_cursor(r, page, a)) return REFUSED;
    r->args = page;
    p->partition = conv_partition(r);
    p->query = query_messages;
    return OK;
}

static bool message_shown(struct query *q, struct conv *v, struct member *me, struct message *m) {
    const struct request *r = q->request;
    if (!viewer_in(q, r->params[0], me, v)) return false;
    uint64_t seq = message_seq_of(q->cells, r->who.app, r->params[0], v, r->params[1]);
    if (seq >= first_seen(v, me) && message_get(q->cells, r->who.app, r->params[0], seq, m))
        return true;
    answer_problem(q->answer, PROBLEM_NOT_FOUND, "",
        "there is no message '%.*s' in this conversation", (int)r->params[1].n,
        (const char *)r->params[1].p);
    return false;
}

static void query_message(struct query *q) {
    struct conv v;
    struct member me;
    struct message m;
    if (!message_shown(q, &v, &me, &m)) return;
    answer_ok(q->answer, 200);
    struct json_out o = {&q->answer->body, false};
    show(q, &o, &m);
}
enum err plan_message_get(struct request *r, struct plan *p, struct answer *a) {
    (void)a;
    p->partition = conv_partition(r);
    p->query = query_message;
    return OK;
}

bool chat_message_json(struct cells *c, struct bytes app, struct bytes conversation,
    struct bytes id, int64_t now_ms, struct buf *out) {
    struct conv head;
    struct message m;
    struct view v = {.now_ms = now_ms};
    if (!conv_get(c, app, conversation, &head)) return false;
    uint64_t seq = message_seq_of(c, app, conversation, &head, id);
    if (!seq || !message_get(c, app, conversation, seq, &m)) return false;
    buf_char(out, '{');
    message_json_members(out, conversation, &m, &v);
    buf_char(out, '}');
    return true;
}

static void query_replies(struct query *q) {
    const struct request *r = q->request;
    const struct page *p = r->args;
    struct conv v;
    struct member me;
    struct message m;
    if (!message_shown(q, &v, &me, &m)) return;
    struct cell *cell = replies_cell(q->cells, r->who.app, r->params[0], m.seq);
    uint64_t n = cell->size / 8, at = p->before && p->before <= n ? p->before - 1 : n,
             left = p->limit, seq;
    answer_ok(q->answer, 200);
    buf_str(&q->answer->body, "{\"items\":[");
    struct json_out o = {&q->answer->body, false};
    for (; at && left; at--) {
        memcpy(&seq, cell->data + (at - 1) * 8, 8);
        if (seq < first_seen(&v, &me) || !message_get(q->cells, r->who.app, r->params[0], seq, &m))
            continue;
        show(q, &o, &m);
        left--;
    }
    page_end(q, "b", at ? at + 1 : 0);
}
enum err plan_replies(struct request *r, struct plan *p, struct answer *a) {
    struct page *page = arena_zero(r->arena, sizeof *page);
    if (!request_limit(r, a, &page->limit) || !page_cursor(r, page, a)) return REFUSED;
    r->args = page;
    p->partition = conv_partition(r);
    p->query = query_replies;
    return OK;
}

/* ---- reactions: 'R' app conv seq holds repeated { varbytes user, varbytes emoji } ---- */
enum { REACTION_KINDS_MAX = 64 };
static void reactions_count(struct step *s, const struct cell *cell, struct message *m) {
    struct unpack u = unpack_of(bytes_of(cell->data, cell->size));
    struct {
        struct bytes emoji;
        uint64_t n;
    } counts[REACTION_KINDS_MAX];
    size_t kinds = 0;
    while (unpack_more(&u)) {
        unpack_bytes(&u);
        struct bytes emoji = unpack_bytes(&u);
        size_t i = 0;
        while (i < kinds && !bytes_eq(counts[i].emoji, emoji)) i++;
        if (i == kinds) {
            check(kinds < REACTION_KINDS_MAX);
            counts[kinds].emoji = emoji;
            counts[kinds++].n = 0;
        }
        counts[i].n++;
    }
    struct buf b = {0};
    for (size_t i = 0; i < kinds; i++) {
        pack_bytes(&b, counts[i].emoji);
        pack_var(&b, counts[i].n);
    }
    m->reactions = arena_copy(s->arena, buf_view(&b));
    buf_done(&b);
}

static void reaction_answer(struct step *s, struct bytes message, struct bytes user,
    struct bytes emoji, bool on, bool was) {
    answer_ok(s->answer, !on ? 204 : was ? 200 : 201);
    if (!on || !s->wanted) return;
    struct json_out o = {&s->answer->body, false};
    jo_open_obj(&o);
    jo_key(&o, "message");
    jo_str(&o, message);
    jo_key(&o, "user");
    jo_str(&o, user);
    jo_key(&o, "emoji");
    jo_str(&o, emoji);
    jo_close_obj(&o);
}

void reactions_forget(
    struct step *s, struct bytes conv, const struct conv *v, struct message *m, struct bytes user) {
    struct cell *cell = reactions_cell(s, conv, m->seq);
    struct unpack u = unpack_of(bytes_of(cell->data, cell->size));
    struct buf rest = {0};
    while (unpack_more(&u)) {
        struct bytes who = unpack_bytes(&u), emoji = unpack_bytes(&u);
        if (bytes_eq(who, user)) continue;
        pack_bytes(&rest, who);
        pack_bytes(&rest, emoji);
    }
    bool changed = rest.n != cell->size;
    if (changed) cells_put(s->cells, cell, buf_view(&rest));
    buf_done(&rest);
    if (!changed) return;
    reactions_count(s, cell, m);
    message_replace(s, conv, v, m, EVENT_UPDATED);
}

/* Where one user's reaction stands in the list; size 0: it is not there. */
static void reaction_find(const struct cell *cell, struct bytes user, struct bytes emoji,
    uint32_t *out_at, uint32_t *out_size) {
    struct unpack list = unpack_of(bytes_of(cell->data, cell->size));
    *out_at = *out_size = 0;
    while (unpack_more(&list)) {
        const uint8_t *from = list.p;
        struct bytes who = unpack_bytes(&list), what = unpack_bytes(&list);
        if (!bytes_eq(who, user) || !bytes_eq(what, emoji)) continue;
        *out_at = (uint32_t)(from - cell->data);
        *out_size = (uint32_t)(list.p - from);
    }
}

static bool reaction_fits(
    const struct message *m, const struct cell *cell, struct bytes emoji, size_t more) {
    enum { REACTIONS_MAX = 256 * 1024 };
    struct unpack u = unpack_of(m->reactions);
    unsigned kinds = 0;
    bool has = false;
    for (; unpack_more(&u); unpack_var(&u), kinds++) has = bytes_eq(unpack_bytes(&u), emoji) || has;
    return cell->size + more <= REACTIONS_MAX && (has || kinds < REACTION_KINDS_MAX);
}

static void reaction_change(struct step *s, struct cell *cell, const struct message *m,
    struct bytes user, struct bytes emoji, bool on) {
    struct buf b = {0};
    uint32_t at, size;
    pack_bytes(&b, user);
    pack_bytes(&b, emoji);
    reaction_find(cell, user, emoji, &at, &size);
    if (!on) cells_splice(s->cells, cell, at, size, (struct bytes){0});
    else if (reaction_fits(m, cell, emoji, b.n)) cells_append(s->cells, cell, buf_view(&b));
    else
        answer_problem(s->answer, PROBLEM_LIMIT_REACHED, "",
            "this message has all the reactions it can hold: %d kinds", REACTION_KINDS_MAX);
    buf_done(&b);
}

void apply_reaction(struct step *s) {
    struct unpack u = unpack_of(s->body);
    struct bytes conv, by;
    struct conv v;
    struct member actor;
    struct message m;
    if (!target(s, &u, &conv, &by, &v, &actor, &m)) return;
    struct bytes user = unpack_bytes(&u), emoji = unpack_bytes(&u);
    bool on = unpack_u8(&u) != 0;
    if (on && message_gone(&m, s->time_ms)) {
        answer_problem(s->answer, PROBLEM_NOT_FOUND, "", "this message was deleted");
        return;
    }
    if (on && is_blocked(s, conv, &v, user)) return;
    struct cell *cell = reactions_cell(s, conv, m.seq);
    uint32_t at, size;
    reaction_find(cell, user, emoji, &at, &size);
    reaction_answer(s, m.id, user, emoji, on, size != 0);
    if ((size != 0) == on) return;
    reaction_change(s, cell, &m, user, emoji, on);
    if (s->answer->problem) return;
    reactions_count(s, cell, &m);
    message_replace(s, conv, &v, &m, EVENT_UPDATED);
}

enum { EMOJI_BYTES_MAX = 64 }; /* two people with skin tones who kiss are 35 */
static enum err reaction_plan(struct request *r, struct plan *p, struct answer *a, bool on) {
    struct bytes emoji = r->params[2];
    if (!r->who.user.n)
        return answer_problem(
                   a, PROBLEM_INVALID_VALUE, "user", "a server key names who reacts by ?user="),
               REFUSED;
    if (!emoji.n || emoji.n > EMOJI_BYTES_MAX || !utf8_valid(emoji))
        return answer_problem(a, PROBLEM_INVALID_VALUE, "emoji",
                   "a reaction has 1 to %d bytes of UTF-8", EMOJI_BYTES_MAX),
               REFUSED;
    if (on && !request_empty(r, a)) return REFUSED;
    target_plan(r, p, KIND_REACTION);
    pack_bytes(&p->body, r->who.user);
    pack_bytes(&p->body, emoji);
    pack_u8(&p->body, on);
    return OK;
}
enum err plan_reaction_put(struct request *r, struct plan *p, struct answer *a) {
    return reaction_plan(r, p, a, true);
}
enum err plan_reaction_delete(struct request *r, struct plan *p, struct answer *a) {
    return reaction_plan(r, p, a, false);
}
