/* chat, member side: what a user sees of it: entries rendered from the partition's copy, the list of conversations, unread counts.
 * SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>
#include <string.h>

#include "chat/member_in.h"

static struct cell *cell2(struct cells *c, char tag, struct bytes app, struct bytes id) {
    uint8_t room[300];
    return cells_get(c, key2(room, tag, app, id));
}

static bool packed_has(struct bytes packed, struct bytes id) {
    struct unpack u = unpack_of(packed);
    while (unpack_more(&u))
        if (bytes_eq(unpack_bytes(&u), id)) return true;
    return false;
}

void chat_mark_body(struct buf *b, struct bytes conversation, struct bytes user, uint64_t delivered, uint64_t read) {
    pack_bytes(b, conversation);
    pack_bytes(b, user);
    pack_var(b, delivered);
    pack_var(b, read);
}

static void receipt_members(struct buf *b, const struct entry *e) {
    struct unpack u = unpack_of(e->extra);
    uint64_t delivered = unpack_var(&u), read = unpack_var(&u);
    struct json_out o = {b, false};
    jo_key(&o, "conversation");
    jo_str(&o, e->conversation);
    jo_key(&o, "user");
    jo_str(&o, e->from);
    jo_key(&o, "delivered");
    jo_u64(&o, delivered);
    jo_key(&o, "read");
    jo_u64(&o, read);
}

bool chat_entry_json(struct cells *c, struct bytes app, const struct view *v, const struct entry *e, struct buf *out, bool *shared) {
    *shared = false;
    if (e->type == ENTRY_CONVERSATION || e->type == ENTRY_ERROR) {
        buf_bytes(out, e->extra);
        return true;
    }
    if (e->type == ENTRY_RECEIPT) {
        if (bytes_eq(e->from, v->user)) return false;
        receipt_members(out, e);
        return true;
    }
    struct message m;
    struct bytes blocks = mailbox_block_list(c, app, v->user);
    if (e->type != ENTRY_MESSAGE || !copy_message(c, app, e->conversation, e->seq, &m)) return false;
    if (blocks.n && packed_has(blocks, e->from)) return false; /* asked at the last moment */
    message_json_members(out, e->conversation, &m, v);
    *shared = !m.ciphertexts.n && !blocks.n;
    return true;
}

bool chat_is_member(struct cells *c, struct bytes app, struct bytes user, struct bytes conversation) {
    struct place p;
    struct bytes peer;
    return place_get(c, app, user, conversation, &p, &peer) && p.in;
}

void chat_local_members(struct cells *c, struct bytes app, struct bytes conversation, bool (*fn)(void *, struct bytes), void *arg) {
    struct cell *cell = cell2(c, 'd', app, conversation);
    struct unpack u = unpack_of(bytes_of(cell->data, cell->size));
    while (unpack_more(&u))
        if (!fn(arg, unpack_bytes(&u))) return;
    mailbox_members(c, app, conversation, fn, arg);
}

void chat_conversations_of(struct cells *c, struct bytes app, struct bytes user, bool (*fn)(void *, struct bytes), void *arg) {
    struct cell *cell = cell2(c, 'h', app, user);
    struct unpack u = unpack_of(bytes_of(cell->data, cell->size));
    while (unpack_more(&u))
        if (!fn(arg, unpack_bytes(&u))) return;
}

uint64_t copy_unread(struct cells *c, struct bytes app, struct bytes user, struct bytes conv, const struct place *p, int64_t now_ms) {
    struct copy head;
    if (!copy_get(c, app, conv, &head)) return 0;
    struct bytes blocks = mailbox_block_list(c, app, user);
    uint64_t from = p->read > p->joined_seq ? p->read : p->joined_seq, n = 0;
    for (uint64_t block = from / BLOCK_MESSAGES; block <= head.last_seq / BLOCK_MESSAGES; block++) {
        uint8_t room[300];
        struct cell *cell = cells_get(c, key2n(room, 'B', app, conv, block));
        struct unpack u = unpack_of(bytes_of(cell->data, cell->size));
        while (unpack_more(&u)) {
            struct message m;
            check(message_decode(unpack_bytes(&u), &m) == OK);
            if (m.seq > from && !bytes_eq(m.from, user) && !message_gone(&m, now_ms) && !packed_has(blocks, m.from)) n++;
        }
    }
    return n;
}

/* ---- GET mailbox ---- */
struct mailbox_page {
    uint64_t after;
    unsigned limit;
};
struct rendering {
    struct query *q;
    struct json_out o;
    uint64_t last;
    unsigned shown;
};
static bool render_entry(void *arg, const struct entry *e) {
    struct rendering *w = arg;
    const struct request *r = w->q->request;
    struct buf *b = w->o.b;
    struct view v = {.user = r->params[0], .device = r->who.device, .now_ms = r->now_ms};
    bool shared;
    size_t before = b->n;
    w->last = e->position;
    if (w->shown) buf_char(b, ',');
    buf_str(b, "{\"cursor\":\"");
    cursor_format(b, r->epoch, e->position);
    char at[24];
    time_format(e->at_ms, at);
    buf_str(b, "\",\"at\":\"");
    buf_add(b, at, sizeof at);
    buf_fmt(b, "\",\"type\":\"%s\",\"event\":\"%s\",\"%s\":{", entry_type_name(e->type), entry_event_name(e->event), entry_type_name(e->type));
    if (chat_entry_json(w->q->cells, r->who.app, &v, e, b, &shared)) {
        buf_str(b, "}}");
        w->shown++;
    } else {
        b->n = before;
    }
    return w->shown < ((const struct mailbox_page *)r->args)->limit;
}

static void query_mailbox(struct query *q) {
    const struct request *r = q->request;
    const struct mailbox_page *p = r->args;
    struct bytes app = r->who.app, user = r->params[0];
    struct rendering w = {.q = q, .o = {&q->answer->body, false}, .last = p->after};
    if (!mailbox_known(q->cells, app, user)) {
        answer_problem(q->answer, PROBLEM_NOT_FOUND, "", "there is no user '%.*s'", (int)user.n, (const char *)user.p);
        return;
    }
    if (p->after && p->after + 1 < mailbox_first_kept(q->cells, app, user)) {
        answer_problem(q->answer, PROBLEM_GONE, "cursor", "what came after this cursor is past retention; begin without a cursor");
        return;
    }
    answer_ok(q->answer, 200);
    buf_str(&q->answer->body, "{\"items\":[");
    mailbox_walk(q->cells, app, user, p->after, SIZE_MAX, render_entry, &w);
    buf_str(&q->answer->body, "],\"next\":");
    if (mailbox_last(q->cells, app, user) > w.last) {
        buf_char(&q->answer->body, '"');
        cursor_format(&q->answer->body, r->epoch, w.last);
        buf_str(&q->answer->body, "\"}");
    } else {
        buf_str(&q->answer->body, "null}");
    }
}

enum err plan_mailbox(const struct request *r, struct plan *p, struct answer *a) {
    struct mailbox_page *page = arena_zero(r->arena, sizeof *page);
    if (!request_limit(r, a, &page->limit)) return REFUSED;
    enum err e = cursor_parse(request_query(r, "cursor"), r->epoch, &page->after);
    if (e == STALE) return answer_problem(a, PROBLEM_GONE, "cursor", "this cursor is of a time before a restore; begin without a cursor"), REFUSED;
    if (e != OK) return answer_problem(a, PROBLEM_MALFORMED, "cursor", "this is not a cursor"), REFUSED;
    ((struct request *)(uintptr_t)r)->args = page;
    p->partition = partition_of_user(r->who.app, r->params[0], r->partitions);
    p->query = query_mailbox;
    return OK;
}

/* ---- GET conversations ---- */
struct row {
    struct bytes conv;
    int64_t last_ms;
};
struct rows {
    struct query *q;
    struct row *list;
    size_t n, cap;
};
static bool row_take(void *arg, struct bytes conv) {
    struct rows *l = arg;
    struct copy c = {0};
    if (l->n == l->cap) {
        l->cap = l->cap ? l->cap * 2 : 32;
        l->list = must_realloc(l->list, l->cap * sizeof *l->list);
    }
    copy_get(l->q->cells, l->q->request->who.app, conv, &c);
    l->list[l->n++] = (struct row){conv, c.last_ms};
    return true;
}
static int row_cmp(const void *a, const void *b) {
    const struct row *x = a, *y = b;
    if (x->last_ms != y->last_ms) return x->last_ms < y->last_ms ? 1 : -1;
    return bytes_cmp(x->conv, y->conv);
}

static void last_message(struct query *q, struct json_out *o, struct bytes conv, const struct copy *c, const struct place *p) {
    const struct request *r = q->request;
    struct message m;
    jo_key(o, "last");
    if (!c->last_seq || c->last_seq <= p->joined_seq || !copy_message(q->cells, r->who.app, conv, c->last_seq, &m)) {
        jo_null(o);
        return;
    }
    struct view v = {.user = r->params[0], .device = r->who.device, .now_ms = r->now_ms,
                     .hidden = mailbox_blocks(q->cells, r->who.app, r->params[0], m.from)};
    buf_char(o->b, '{');
    message_json_members(o->b, conv, &m, &v);
    buf_char(o->b, '}');
    o->comma = true;
}

static void row_json(struct query *q, struct json_out *o, struct bytes conv) {
    static const char *const TYPES[] = {"", "direct", "group", "channel"};
    const struct request *r = q->request;
    struct copy c = {0};
    struct place p = {0};
    struct bytes peer;
    copy_get(q->cells, r->who.app, conv, &c);
    place_get(q->cells, r->who.app, r->params[0], conv, &p, &peer);
    struct cell *cell = cell2(q->cells, 'C', r->who.app, conv);
    struct unpack u = unpack_of(bytes_of(cell->data, cell->size));
    struct bytes name = unpack_bytes(&u), metadata = unpack_bytes(&u);
    jo_open_obj(o);
    jo_key(o, "id");
    jo_str(o, conv);
    jo_key(o, "type");
    jo_str(o, bytes_str(TYPES[c.type]));
    if (name.n) {
        jo_key(o, "name");
        jo_str(o, name);
    }
    jo_key(o, "member_count");
    jo_u64(o, c.member_count);
    last_message(q, o, conv, &c, &p);
    jo_key(o, "unread");
    jo_u64(o, copy_unread(q->cells, r->who.app, r->params[0], conv, &p, r->now_ms));
    jo_key(o, "read");
    jo_u64(o, p.read);
    jo_key(o, "delivered");
    jo_u64(o, p.delivered);
    if (p.muted_until_ms > r->now_ms) {
        jo_key(o, "muted_until");
        jo_time(o, p.muted_until_ms);
    }
    if (p.archived) {
        jo_key(o, "archived");
        jo_bool(o, true);
    }
    if (metadata.n) {
        jo_key(o, "metadata");
        jo_raw(o, metadata);
    }
    jo_close_obj(o);
}

static void query_conversations(struct query *q) {
    const struct request *r = q->request;
    const struct mailbox_page *page = r->args;
    struct rows l = {.q = q};
    if (!mailbox_known(q->cells, r->who.app, r->params[0])) {
        answer_problem(q->answer, PROBLEM_NOT_FOUND, "", "there is no user '%.*s'", (int)r->params[0].n, (const char *)r->params[0].p);
        return;
    }
    chat_conversations_of(q->cells, r->who.app, r->params[0], row_take, &l);
    if (l.n) qsort(l.list, l.n, sizeof *l.list, row_cmp);
    struct json_out o = {&q->answer->body, false};
    answer_ok(q->answer, 200);
    buf_str(o.b, "{\"items\":[");
    size_t i = page->after < l.n ? (size_t)page->after : l.n, end = i + page->limit < l.n ? i + page->limit : l.n;
    for (; i < end; i++) row_json(q, &o, l.list[i].conv);
    buf_str(o.b, "],\"next\":");
    if (end < l.n) {
        buf_char(o.b, '"');
        cursor_format(o.b, r->epoch, end);
        buf_str(o.b, "\"}");
    } else {
        buf_str(o.b, "null}");
    }
    free(l.list);
}

enum err plan_conversations(const struct request *r, struct plan *p, struct answer *a) {
    if (plan_mailbox(r, p, a) != OK) return REFUSED; /* the same partition, limit and cursor */
    p->query = query_conversations;
    return OK;
}

enum err plan_prefs(const struct request *r, struct plan *p, struct answer *a) {
    static const struct json_field FIELDS[] = {{"muted_until", JSON_STRING, false, true, 40}, {"archived", JSON_BOOL, false, true, 0}};
    struct json_value f[2];
    int64_t muted = 0;
    if (!request_object(r, FIELDS, 2, f, a)) return REFUSED;
    if (f[0].present && !f[0].is_null && time_parse(json_string(f[0].v), &muted) != OK)
        return answer_problem(a, PROBLEM_INVALID_VALUE, "muted_until", "'muted_until' must be an RFC 3339 time in UTC, such as 2026-01-02T03:04:05Z"), REFUSED;
    p->partition = partition_of_user(r->who.app, r->params[0], r->partitions);
    p->kind = KIND_CONV_PREFS;
    pack_bytes(&p->body, r->params[0]);
    pack_bytes(&p->body, r->params[1]);
    pack_u8(&p->body, (uint8_t)(f[0].present | f[1].present << 1));
    pack_var(&p->body, (uint64_t)muted);
    pack_u8(&p->body, f[1].present && !f[1].is_null && json_bool(f[1].v));
    return OK;
}
