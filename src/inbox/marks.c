/* inbox: an inbox as its owner sees it: the list, and what they do with it: seen, read, archived,
 * clicked.
 *
 *   NOTIFY_MARKS  varbytes user, u8 mark, varbytes ids (packed), varbytes upto
 *
 * Keeps: marks are set once and only forward; a click is a read, a read is a look.
 * SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "inbox/inbox_in.h"
#include "outbox/outbox.h"
#include "relevance/relevance.h"

/* ---- marking ---- */
static const char *const EVENTS[] = {
    "", "notification.seen", "notification.read", "notification.archived", "notification.clicked"};

static bool set_once(struct step *s, int64_t *at, struct bytes trigger, enum total total) {
    if (*at) return false;
    *at = s->time_ms;
    content_count(s, trigger, total, 1);
    return true;
}

/* false: it was so already. */
static bool mark_row(struct step *s, struct inbox *i, struct row *r, enum mark mark) {
    bool changed = false;
    row_begin(i, r);
    if (mark != MARK_ARCHIVED) changed |= set_once(s, &r->seen_ms, r->trigger, TOTAL_SEEN);
    if (mark == MARK_READ || mark == MARK_CLICKED)
        changed |= set_once(s, &r->read_ms, r->trigger, TOTAL_READ);
    if (mark == MARK_CLICKED) changed |= set_once(s, &r->clicked_ms, r->trigger, TOTAL_CLICKED);
    if (mark == MARK_ARCHIVED) changed |= set_once(s, &r->archived_ms, r->trigger, TOTAL_ARCHIVED);
    bool told = r->changed;
    row_end(i, r);
    if (!changed) r->changed = told;
    return changed;
}

static void marked(struct step *s, struct inbox *i, const struct row *r, enum mark mark) {
    sends_event(s, EVENTS[mark], i->user, r->id);
    if (mark != MARK_SEEN) sends_withdraw(s, i->user, r->id);
    if (mark == MARK_READ || mark == MARK_CLICKED)
        relevance_opened(s, i->user, &(struct judged){r->id, r->trigger, r->workflow});
}

static size_t mark_ids(struct step *s, struct inbox *i, struct bytes ids, enum mark mark) {
    struct unpack u = unpack_of(ids);
    size_t n = 0;
    while (unpack_more(&u)) {
        struct row *r = inbox_by_id(i, unpack_bytes(&u));
        if (!r || !mark_row(s, i, r, mark)) continue;
        marked(s, i, r, mark);
        n++;
    }
    return n;
}

static size_t mark_upto(struct step *s, struct inbox *i, const struct row *last, enum mark mark) {
    size_t n = 0;
    uint64_t place = last->n;
    for (size_t k = 0; k < i->count; k++) {
        struct row *r = &i->row[k];
        if (r->n > place || r->flags & (ROW_MOVED | ROW_HIDDEN) || !mark_row(s, i, r, mark))
            continue;
        marked(s, i, r, mark);
        n++;
    }
    return n;
}

static void apply_marks(struct step *s) {
    struct unpack u = unpack_of(arena_copy(s->arena, s->body));
    struct bytes user = unpack_bytes(&u);
    enum mark mark = (enum mark)unpack_u8(&u);
    struct bytes ids = unpack_bytes(&u), upto = unpack_bytes(&u);
    struct inbox i;
    size_t n = 0;
    mailbox_ensure(s, user);
    inbox_open(&i, s->cells, s->app, user, s->time_ms, s->arena);
    inbox_fold(&i, s);
    inbox_load(&i);
    if (upto.n) {
        const struct row *last = inbox_by_id(&i, upto);
        if (!last) {
            inbox_save(s, &i); /* what was merged has been counted */
            answer_problem(s->answer, PROBLEM_NOT_FOUND, "upto",
                "this inbox has no notification '%.*s'", (int)upto.n, (const char *)upto.p);
            return;
        }
        n = mark_upto(s, &i, last, mark);
    } else {
        n = mark_ids(s, &i, ids, mark);
    }
    if (s->planted == BUG_COUNT_KEPT) i.head.unseen += n > 0;
    inbox_save(s, &i);
    if (n) inbox_tell_marks(s, user, mark, ids, upto);
    answer_ok(s->answer, 200);
    if (!s->wanted) return;
    buf_fmt(&s->answer->body, "{\"changed\":%zu,\"counts\":{\"unseen\":%u,\"unread\":%u}}", n,
        i.head.unseen, i.head.unread);
}

static enum err plan_marks(struct request *r, struct plan *p, struct answer *a, enum mark mark) {
    static const struct json_field F[] = {
        {"ids", JSON_ARRAY, false, false, 0}, {"upto", JSON_ID, false, false, 0}};
    enum { IDS_MAX = 1000 };
    struct json_value f[2];
    struct buf ids = {0};
    uint64_t n = 0;
    if (!request_object(r, F, 2, f, a)) return REFUSED;
    if (f[0].present == f[1].present)
        return answer_problem(
                   a, PROBLEM_INVALID_VALUE, "ids", "give either {\"ids\":[...]} or {\"upto\":id}"),
               REFUSED;
    bool good = !f[0].present || request_ids(f[0].v, "ids", &ids, &n, a);
    if (good && n > IDS_MAX) {
        answer_problem(a, PROBLEM_TOO_LARGE, "ids", "'ids' takes at most %d", IDS_MAX);
        good = false;
    }
    p->partition = partition_of_user(r->who.app, r->params[0], r->partitions);
    p->kind = KIND_NOTIFY_MARKS;
    pack_bytes(&p->body, r->params[0]);
    pack_u8(&p->body, (uint8_t)mark);
    pack_bytes(&p->body, buf_view(&ids));
    pack_bytes(&p->body, f[1].present ? json_string(f[1].v) : (struct bytes){0});
    buf_done(&ids);
    return good ? OK : REFUSED;
}
static enum err plan_seen(struct request *r, struct plan *p, struct answer *a) {
    return plan_marks(r, p, a, MARK_SEEN);
}
static enum err plan_read(struct request *r, struct plan *p, struct answer *a) {
    return plan_marks(r, p, a, MARK_READ);
}
static enum err plan_archived(struct request *r, struct plan *p, struct answer *a) {
    return plan_marks(r, p, a, MARK_ARCHIVED);
}
static enum err plan_clicked(struct request *r, struct plan *p, struct answer *a) {
    return plan_marks(r, p, a, MARK_CLICKED);
}

/* ---- the list ---- */
enum state { STATE_ALL, STATE_UNSEEN, STATE_UNREAD, STATE_ARCHIVED, STATE_UNARCHIVED };
struct page {
    unsigned limit;
    uint64_t before; /* places below it; 0: from the newest */
    enum state state;
};

static bool on_page(const struct row *r, enum state state, int64_t now_ms) {
    if (r->flags & (ROW_MOVED | ROW_HIDDEN)) return false;
    if (r->expires_ms && r->expires_ms <= now_ms) return false;
    switch (state) {
    case STATE_UNSEEN: return !r->seen_ms && !r->archived_ms;
    case STATE_UNREAD: return !r->read_ms && !r->archived_ms;
    case STATE_ARCHIVED: return r->archived_ms != 0;
    case STATE_UNARCHIVED: return !r->archived_ms;
    default: return true;
    }
}

static bool row_add(struct query *q, const struct row *r, const struct reader *reader, bool first) {
    struct content k;
    struct bytes app = q->request->who.app;
    struct buf *b = &q->answer->body;
    if (!content_find_at(q->cells, app, r->trigger, r->lies, &k)) return false;
    buf_str(b, first ? "{" : ",{");
    struct workflow w;
    bool there = workflow_find(q->cells, app, k.workflow, &w);
    notification_json(q->tools, q->cells, app, reader, r, &k, there ? &w : NULL, b);
    buf_char(b, '}');
    return true;
}

static void query_list(struct query *q) {
    const struct request *r = q->request;
    const struct page *p = r->args;
    struct inbox i;
    struct buf *b = &q->answer->body;
    struct bytes app = r->who.app, user = r->params[0];
    struct reader reader = reader_of(q->cells, app, user);
    inbox_open(&i, q->cells, app, user, r->now_ms, r->arena);
    inbox_fold(&i, NULL);
    inbox_load(&i);
    if (p->before && p->before <= i.head.first && i.head.first) {
        answer_problem(q->answer, PROBLEM_GONE, "cursor",
            "what came before this cursor is no longer kept; begin without a cursor");
        return;
    }
    answer_ok(q->answer, 200);
    buf_str(b, "{\"items\":[");
    unsigned shown = 0;
    uint64_t last = 0;
    bool more = false;
    for (size_t k = i.count; k > 0 && !more; k--) {
        const struct row *row = &i.row[k - 1];
        if ((p->before && row->n >= p->before) || !on_page(row, p->state, r->now_ms)) continue;
        if (shown == p->limit) more = true;
        else if (row_add(q, row, &reader, !shown)) {
            shown++;
            last = row->n;
        }
    }
    buf_str(b, "],\"next\":");
    if (more) {
        buf_char(b, '"');
        cursor_format(b, r->epoch, last);
        buf_char(b, '"');
    } else {
        buf_str(b, "null");
    }
    buf_fmt(b, ",\"counts\":{\"unseen\":%u,\"unread\":%u}}", i.head.unseen, i.head.unread);
}

static bool state_read(struct bytes v, enum state *out) {
    static const char *const NAMES[] = {"", "unseen", "unread", "archived", "unarchived"};
    for (unsigned k = 0; k < sizeof NAMES / sizeof *NAMES; k++)
        if (bytes_is(v, NAMES[k])) {
            *out = (enum state)k;
            return true;
        }
    return bytes_is(v, "all");
}

static enum err plan_list(struct request *r, struct plan *p, struct answer *a) {
    struct page *page = arena_zero(r->arena, sizeof *page);
    if (!request_limit(r, a, &page->limit) || !request_cursor(r, a, &page->before)) return REFUSED;
    if (!state_read(request_query(r, "state"), &page->state))
        return answer_problem(a, PROBLEM_INVALID_VALUE, "state",
                   "'state' is unseen, unread, archived or unarchived"),
               REFUSED;
    p->partition = partition_of_user(r->who.app, r->params[0], r->partitions);
    p->query = query_list;
    r->args = page;
    return OK;
}

static const struct record_rule RULES[] = {{KIND_NOTIFY_MARKS, apply_marks}};
#define INBOX "/v1/users/{id}/notifications"
static const struct route ROUTES[] = {
    {"GET", INBOX, SCOPE_READ, TOKEN_SELF, SPECIAL_NONE, plan_list, NULL},
    {"POST", INBOX "/seen", SCOPE_WRITE, TOKEN_SELF, SPECIAL_NONE, plan_seen, NULL},
    {"POST", INBOX "/read", SCOPE_WRITE, TOKEN_SELF, SPECIAL_NONE, plan_read, NULL},
    {"POST", INBOX "/archived", SCOPE_WRITE, TOKEN_SELF, SPECIAL_NONE, plan_archived, NULL},
    {"POST", INBOX "/clicked", SCOPE_WRITE, TOKEN_SELF, SPECIAL_NONE, plan_clicked, NULL},
};
const struct surface_part inbox_part = {
    RULES, sizeof RULES / sizeof *RULES, ROUTES, sizeof ROUTES / sizeof *ROUTES};
