/* chat, member side: what a user sees of it: entries rendered from the partition's copy, the list
 * of conversations, unread counts.
 * SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>
#include <string.h>

#include "chat/conv_in.h"
#include "chat/member_in.h"

void chat_mark_body(struct buf *b, struct bytes conversation, struct bytes user, uint64_t delivered,
    uint64_t read) {
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

/* A stored object without its braces, so that more members may follow. */
static bool object_members(struct buf *b, struct bytes raw) {
    bool braced = raw.n >= 2 && raw.p[0] == '{';
    buf_bytes(b, braced ? bytes_of(raw.p + 1, raw.n - 2) : raw);
    return raw.n != 0;
}

/* Who joined after a message, where history is not shown, does not learn of its edits. */
static bool before_their_time(
    struct cells *c, struct bytes app, struct bytes user, const struct entry *e) {
    struct place p;
    return place_get(c, app, user, e->conversation, &p) && !p.history_all && e->seq <= p.joined_seq;
}

static bool message_members(struct cells *c, struct bytes app, const struct view *v,
    const struct entry *e, struct buf *out, bool *shared) {
    struct message m;
    struct copy head;
    if (!copy_get(c, app, e->conversation, &head) ||
        !copy_message(c, app, e->conversation, e->seq, &m))
        return false;
    bool anyone = !mailbox_is_blocked(c, app, m.from),
         always = e->event == EVENT_CREATED || e->seq > head.newest_join;
    /* asked at the last moment */
    if (!anyone && mailbox_blocks(c, app, v->user, m.from)) return false;
    if (!always && before_their_time(c, app, v->user, e)) return false;
    message_json_members(out, e->conversation, &m, v);
    *shared = anyone && always && !m.ciphertexts.n;
    return true;
}

bool chat_entry_json(struct cells *c, struct bytes app, const struct view *v, const struct entry *e,
    struct buf *out, bool *shared) {
    *shared = false;
    switch (e->type) {
    case ENTRY_MESSAGE: return message_members(c, app, v, e, out, shared);
    case ENTRY_RECEIPT:
        if (bytes_eq(e->from, v->user) || mailbox_blocks(c, app, v->user, e->from)) return false;
        receipt_members(out, e);
        return true;
    case ENTRY_CONVERSATION:
    case ENTRY_ERROR: return object_members(out, e->extra);
    default: return false;
    }
}

/* ---- GET mailbox ---- */
struct mailbox_page {
    uint64_t after;
    unsigned limit;
};
struct rendering {
    struct query *q;
    struct buf *b;
    uint64_t last;
    unsigned shown;
    bool more;
};
static bool render_entry(void *arg, const struct entry *e) {
    struct rendering *w = arg;
    const struct request *r = w->q->request;
    struct view v = {.user = r->params[0], .device = r->who.device, .now_ms = r->now_ms};
    const char *type = entry_type_name(e->type);
    bool shared;
    size_t before = w->b->n;
    buf_str(w->b, w->shown ? ",{\"cursor\":\"" : "{\"cursor\":\"");
    cursor_format(w->b, r->epoch, e->position);
    char at[24];
    time_format(e->at_ms, at);
    buf_str(w->b, "\",\"at\":\"");
    buf_add(w->b, at, sizeof at);
    buf_fmt(w->b, "\",\"type\":\"%s\",\"event\":\"%s\",\"%s\":{", type, entry_event_name(e->event),
        type);
    struct tools *t = w->q->tools;
    bool theirs = t->entry_json(t, w->q->cells, r->who.app, &v, e, w->b, &shared);
    /* one past the page: only that it is there is told */
    w->more = theirs && w->shown == ((const struct mailbox_page *)r->args)->limit;
    if (!theirs || w->more) {
        w->b->n = before;
        return !w->more;
    }
    buf_str(w->b, "}}");
    w->shown++;
    w->last = e->position;
    return true;
}

/* Of a user whom nobody named it is empty and not missing: who has just been named elsewhere, as a
 * member, is known here only when the relay has come. */
static void query_mailbox(struct query *q) {
    const struct request *r = q->request;
    const struct mailbox_page *p = r->args;
    struct bytes app = r->who.app, user = r->params[0];
    struct rendering w = {.q = q, .b = &q->answer->body};
    if (p->after && p->after + 1 < mailbox_first_kept(q->cells, app, user)) {
        answer_problem(q->answer, PROBLEM_GONE, "cursor",
            "what came after this cursor is past retention; begin without a cursor");
        return;
    }
    answer_ok(q->answer, 200);
    buf_str(w.b, "{\"items\":[");
    mailbox_walk(q->cells, app, user, p->after, SIZE_MAX, render_entry, &w);
    buf_str(w.b, "],\"next\":");
    if (w.more) {
        buf_char(w.b, '"');
        cursor_format(w.b, r->epoch, w.last);
        buf_str(w.b, "\"}");
    } else {
        buf_str(w.b, "null}");
    }
}

/* ---- export: places and, a page at a time, the mailbox, which holds what they sent too ---- */
struct exporting {
    struct query *q;
    struct json_out *o;
};
static bool export_place(void *arg, struct bytes conv) {
    struct exporting *w = arg;
    const struct request *r = w->q->request;
    struct place p;
    if (!place_get(w->q->cells, r->who.app, r->params[0], conv, &p)) return true;
    jo_open_obj(w->o);
    jo_key(w->o, "id");
    jo_str(w->o, conv);
    jo_key(w->o, "type");
    jo_str(w->o, bytes_str(conv_type_name(p.type)));
    jo_key(w->o, "member");
    jo_bool(w->o, p.in);
    jo_key(w->o, "joined_at");
    jo_time(w->o, p.joined_ms);
    jo_key(w->o, "read");
    jo_u64(w->o, p.read);
    jo_key(w->o, "delivered");
    jo_u64(w->o, p.delivered);
    if (p.muted_until_ms) {
        jo_key(w->o, "muted_until");
        jo_time(w->o, p.muted_until_ms);
    }
    jo_key(w->o, "archived");
    jo_bool(w->o, p.archived);
    jo_close_obj(w->o);
    return true;
}

bool chat_export(struct query *q, struct json_out *o) {
    enum { EXPORT_ENTRIES = 200 };
    struct request *r = (struct request *)q->request;
    struct exporting w = {q, o};
    struct mailbox_page *page = arena_zero(r->arena, sizeof *page);
    page->limit = EXPORT_ENTRIES;
    r->args = page;
    if (!request_cursor(r, q->answer, &page->after)) return false;
    jo_key(o, "conversations");
    jo_open_arr(o);
    chat_conversations_of(q->cells, r->who.app, r->params[0], export_place, &w);
    chat_conversations_left(q->cells, r->who.app, r->params[0], export_place, &w);
    jo_close_arr(o);
    jo_key(o, "mailbox");
    query_mailbox(q);
    o->comma = true;
    return !q->answer->problem;
}

enum err plan_mailbox(struct request *r, struct plan *p, struct answer *a) {
    struct mailbox_page *page = arena_zero(r->arena, sizeof *page);
    if (!request_limit(r, a, &page->limit) || !request_cursor(r, a, &page->after)) return REFUSED;
    r->args = page;
    p->partition = partition_of_user(r->who.app, r->params[0], r->partitions);
    p->query = query_mailbox;
    return OK;
}

/* ---- GET conversations: newest first. Its cursor is "<epoch>-<ms>-<id>": where the last one shown
 * stood. What moves up meanwhile is not shown twice. ---- */
struct row {
    struct bytes conv;
    int64_t at_ms; /* of the newest message that they may see, else of joining */
};
struct rows_page {
    struct row after; /* no conversation: from the newest */
    unsigned limit;
};
struct rows {
    struct query *q;
    struct row *list;
    size_t n, cap;
};

static int row_cmp(const void *a, const void *b) {
    const struct row *x = a, *y = b;
    if (x->at_ms != y->at_ms) return x->at_ms < y->at_ms ? 1 : -1;
    return bytes_cmp(x->conv, y->conv);
}

static bool row_take(void *arg, struct bytes conv) {
    struct rows *l = arg;
    const struct request *r = l->q->request;
    const struct rows_page *page = r->args;
    struct copy c;
    struct place p;
    check(copy_get(l->q->cells, r->who.app, conv, &c) &&
          place_get(l->q->cells, r->who.app, r->params[0], conv, &p));
    struct row row = {conv, c.last_seq > p.joined_seq ? c.last_ms : p.joined_ms};
    if (page->after.conv.n && row_cmp(&row, &page->after) <= 0) return true;
    if (l->n == l->cap) {
        l->cap = l->cap ? l->cap * 2 : 32;
        l->list = must_realloc(l->list, l->cap * sizeof *l->list);
    }
    l->list[l->n++] = row;
    return true;
}

static void last_message(struct query *q, struct json_out *o, struct bytes conv,
    const struct copy *c, const struct place *p) {
    const struct request *r = q->request;
    struct message m;
    jo_key(o, "last");
    /* an older copy has not the last */
    bool theirs = c->last_seq > p->joined_seq || (p->history_all && c->last_seq == p->joined_seq);
    if (!theirs || !copy_message(q->cells, r->who.app, conv, c->last_seq, &m)) {
        jo_null(o);
        return;
    }
    struct view v = {.user = r->params[0],
        .device = r->who.device,
        .now_ms = r->now_ms,
        .hidden = mailbox_blocks(q->cells, r->who.app, r->params[0], m.from)};
    buf_char(o->b, '{');
    message_json_members(o->b, conv, &m, &v);
    buf_char(o->b, '}');
    o->comma = true;
}

static void row_json(struct query *q, struct json_out *o, struct bytes conv) {
    const struct request *r = q->request;
    struct copy c;
    struct place p;
    struct bytes metadata, name = copy_name(q->cells, r->who.app, conv, &metadata);
    check(copy_get(q->cells, r->who.app, conv, &c) &&
          place_get(q->cells, r->who.app, r->params[0], conv, &p));
    jo_open_obj(o);
    jo_key(o, "id");
    jo_str(o, conv);
    jo_key(o, "type");
    jo_str(o, bytes_str(conv_type_name(c.type)));
    if (name.n) {
        jo_key(o, "name");
        jo_str(o, name);
    }
    jo_key(o, "member_count");
    jo_u64(o, c.member_count);
    last_message(q, o, conv, &c, &p);
    jo_key(o, "unread");
    jo_u64(o, place_unread(q->cells, r->who.app, r->params[0], conv, &p, r->now_ms));
    jo_key(o, "read");
    jo_u64(o, p.read);
    jo_key(o, "delivered");
    jo_u64(o, p.delivered);
    if (p.muted_until_ms > r->now_ms) {
        jo_key(o, "muted_until");
        jo_time(o, p.muted_until_ms);
    }
    if (place_archived(q->cells, r->who.app, r->params[0], conv, &p, r->now_ms)) {
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
    const struct rows_page *page = r->args;
    struct rows l = {.q = q};
    chat_conversations_of(q->cells, r->who.app, r->params[0], row_take, &l);
    if (l.n) qsort(l.list, l.n, sizeof *l.list, row_cmp);
    struct json_out o = {&q->answer->body, false};
    answer_ok(q->answer, 200);
    buf_str(o.b, "{\"items\":[");
    size_t end = page->limit < l.n ? page->limit : l.n;
    for (size_t i = 0; i < end; i++) row_json(q, &o, l.list[i].conv);
    buf_str(o.b, "],\"next\":");
    if (end < l.n) {
        buf_char(o.b, '"');
        cursor_format(o.b, r->epoch, (uint64_t)l.list[end - 1].at_ms);
        buf_char(o.b, '-');
        buf_bytes(o.b, l.list[end - 1].conv);
        buf_str(o.b, "\"}");
    } else {
        buf_str(o.b, "null}");
    }
    free(l.list);
}

static enum err rows_cursor_parse(struct bytes v, uint64_t epoch, struct row *out) {
    uint64_t ms;
    struct bytes conv;
    enum err e = cursor_parse_after(v, epoch, &ms, &conv);
    if (e == OK) *out = (struct row){conv, (int64_t)ms};
    return e;
}

enum err plan_conversations(struct request *r, struct plan *p, struct answer *a) {
    struct rows_page *page = arena_zero(r->arena, sizeof *page);
    struct bytes cursor = arena_copy(r->arena, request_query(r, "cursor"));
    if (!request_limit(r, a, &page->limit) ||
        !cursor_good(rows_cursor_parse(cursor, r->epoch, &page->after), a))
        return REFUSED;
    r->args = page;
    p->partition = partition_of_user(r->who.app, r->params[0], r->partitions);
    p->query = query_conversations;
    return OK;
}

/* ---- PUT preferences ---- */
enum err plan_prefs(struct request *r, struct plan *p, struct answer *a) {
    static const struct json_field FIELDS[] = {
        {"muted_until", JSON_STRING, false, true, 40}, {"archived", JSON_BOOL, false, true, 0}};
    struct json_value f[2];
    int64_t muted = 0;
    if (!request_object(r, FIELDS, 2, f, a)) return REFUSED;
    if (f[0].present && !f[0].is_null && time_parse(json_string(f[0].v), &muted) != OK)
        return answer_problem(a, PROBLEM_INVALID_VALUE, "muted_until",
                   "'muted_until' must be an RFC 3339 time in UTC, such as 2026-01-02T03:04:05Z"),
               REFUSED;
    p->partition = partition_of_user(r->who.app, r->params[0], r->partitions);
    p->kind = KIND_CONV_PREFS;
    pack_bytes(&p->body, r->params[0]);
    pack_bytes(&p->body, r->params[1]);
    pack_u8(&p->body, (uint8_t)(f[0].present | f[1].present << 1));
    pack_var(&p->body, (uint64_t)muted);
    pack_u8(&p->body, f[1].present && !f[1].is_null && json_bool(f[1].v));
    return OK;
}
