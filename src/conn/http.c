/* conn: HTTP on a connection: a request becomes a job, its answer is written; one request at a
 * time, in order, so that pipelining keeps its order.
 * SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "conn/browser.h"
#include "conn/limits.h"
#include "operate/operate.h"
#include "pages/pages.h"
#include "prefs/prefs.h"
#include "conn/conn_in.h"
#include "conn/web.h"
#include "users/users.h"

#define STREAM_TYPE "text/event-stream"
#define PROBLEM_TYPE "application/problem+json"

enum { EXTRA_MAX = 1400, PAGE_LINES_MAX = 640 };
/* Header lines beyond the usual: the time, which whoever has a clock tells (RFC 9110, 6.6.1),
 * `more`, and who may read the answer. */
static const char *extra_lines(
    const struct shard *s, const struct conn *c, const char *more, char out[static EXTRA_MAX]) {
    char date[30];
    time_format_http(s->now_ms, date);
    int n = snprintf(out, EXTRA_MAX, "Date: %s\r\n%s", date, more);
    cors_lines(s, c, out + n, EXTRA_MAX - (size_t)n);
    return out;
}

static void write_body(struct shard *s, struct conn *c, int status, const char *type,
    struct bytes body, const char *more) {
    char extra[EXTRA_MAX];
    http_write_head(&c->out, status, c->keep_alive, body.n ? type : NULL,
        status == 304 ? -1 : (int64_t)body.n, extra_lines(s, c, more, extra));
    if (!c->head_only) buf_bytes(&c->out, body);
    measure_add(&s->measure, COUNTER_http_requests, 1);
    if (!c->keep_alive) conn_finish(s, c);
    conn_touch(s, c);
}

void http_problem(struct shard *s, struct conn *c, const struct answer *a, const char *allow) {
    struct buf b = {0};
    char more[80] = "";
    if (a->retry_after_s) snprintf(more, sizeof more, "Retry-After: %d\r\n", a->retry_after_s);
    else if (a->problem == PROBLEM_UNAUTHORIZED)
        snprintf(more, sizeof more, "WWW-Authenticate: Bearer\r\n");
    else if (a->problem == PROBLEM_UPGRADE)
        snprintf(more, sizeof more,
            "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n");
    else if (a->problem == PROBLEM_METHOD) snprintf(more, sizeof more, "Allow: %s\r\n", allow);
    answer_problem_json(a, &b);
    measure_add(&s->measure, COUNTER_http_errors, 1);
    write_body(s, c, a->status, PROBLEM_TYPE, buf_view(&b), more);
    buf_done(&b);
}

static const char *type_of(const struct job *j) {
    if (j->answer.page) return "text/html; charset=utf-8";
    if (!j->route || j->route->special != SPECIAL_METRICS) return "application/json";
    return j->open_metrics ? "application/openmetrics-text; version=1.0.0; charset=utf-8"
                           : "text/plain; version=0.0.4; charset=utf-8";
}

/* A browser asks before it lets a page of another origin in (Fetch standard, 3.2). */
static void preflight_answer(struct shard *s, struct conn *c, const char *methods) {
    char more[400];
    snprintf(more, sizeof more,
        "Allow: %s\r\nAccess-Control-Allow-Methods: %s\r\nAccess-Control-Allow-Headers: "
        "Authorization, Content-Type, Idempotency-Key, Last-Event-ID\r\n"
        "Access-Control-Max-Age: 600\r\n",
        methods, methods);
    write_body(s, c, 204, NULL, (struct bytes){0}, more);
}

static void page_write(struct shard *s, struct conn *c, const struct job *j) {
    const struct page *p = j->page;
    char more[PAGE_LINES_MAX];
    struct bytes body = {0};
    if (j->answer.status == 200) body = bytes_of(p->data, p->size);
    page_lines(p, more, sizeof more);
    write_body(s, c, j->answer.status, p->type, body, more);
}

static void stream_begin(struct shard *s, struct conn *c, const struct job *j);

/* What needed a record has a journey of its own. */
static void request_timed(struct shard *s, const struct job *j) {
    if (!j->route || j->plan.kind || !s->journeys) return;
    struct journey_about about = {.app = j->request.who.app, .item = bytes_str(j->route->path)};
    journey_other(s->journeys, JOURNEY_REQUEST, j->came_ns, clock_mono_ns(), &about);
}

void http_answered(struct shard *s, struct conn *c, const struct job *j) {
    c->busy = false;
    request_timed(s, j);
    if (c->half_closed && !c->in.n) c->keep_alive = false;
    if (j->route && j->route->special == SPECIAL_STREAM && !j->answer.problem && !c->head_only) {
        stream_begin(s, c, j);
        return;
    }
    if (j->answer.status == 101) {
        upgrade_begin(s, c, &j->answer);
        return;
    }
    if (s->draining) c->keep_alive = false;
    if (j->answer.problem) http_problem(s, c, &j->answer, j->allow);
    else if (j->page) page_write(s, c, j);
    else if (j->allow[0]) preflight_answer(s, c, j->allow);
    else
        write_body(s, c, j->answer.status, type_of(j), buf_view(&j->answer.body),
            j->answer.page ? j->answer.page : "");
    http_reader_next(c->http);
    c->since_ms = s->mono_ms;
    if (c->in.n && !c->closing) conn_read_again(s, c);
}

/* ---- live stream ---- */
static void stream_begin(struct shard *s, struct conn *c, const struct job *j) {
    const struct request *r = &j->request;
    c->streaming = true;
    c->stream_after = j->stream_after;
    struct principal who = r->who;
    who.user = r->params[0];
    conn_is(c, &who);
    unsigned to =
        partition_of_user(r->who.app, r->params[0], s->server->partitions) % s->server->shards;
    if (to != s->index) conn_move(s, c, to);
    else http_stream_moved(s, c);
}

/* One that begins now is told where that is, so that it can go on behind it though no event came. */
static void stream_head(struct shard *s, struct conn *c) {
    struct buf more = {0};
    char extra[EXTRA_MAX];
    buf_str(&more, "Cache-Control: no-cache\r\nX-Accel-Buffering: no\r\n");
    if (c->stream_after == UINT64_MAX) {
        uint16_t at = partition_of_user(c->who.app, c->who.user, s->server->partitions);
        buf_str(&more, "Kith-Cursor: ");
        cursor_format(&more, s->server->epoch, engine_applied(s->engine, at));
        buf_str(&more, "\r\n");
    }
    buf_char(&more, 0);
    http_write_head(
        &c->out, 200, true, STREAM_TYPE, -1, extra_lines(s, c, (const char *)more.p, extra));
    buf_done(&more);
    sse_write_comment(&c->out, BYTES("kith"));
}

/* On the shard where the user's mailbox is. */
void http_stream_moved(struct shard *s, struct conn *c) {
    struct viewer v = {0};
    if (!c->who.server)
        users_viewer(engine_cells(s->engine,
                         partition_of_user(c->who.app, c->who.user, s->server->partitions)),
            &c->who, &v);
    if (v.revoked || !admit_holds(s->server->admit, &c->who)) { /* since the request was checked */
        struct answer a = {0};
        answer_problem(&a, PROBLEM_UNAUTHORIZED, "", "this access was ended just now");
        c->keep_alive = false;
        http_problem(s, c, &a, "");
        return;
    }
    if (!limits_known(s, c, c->who.device) || !limits_user(s, c, (struct bytes){0})) {
        struct answer a = {.retry_after_s = 10};
        answer_problem(&a, PROBLEM_RATE_LIMITED, "", "too many connections of this app or user");
        c->keep_alive = false;
        http_problem(s, c, &a, "");
        return;
    }
    c->since_ms = s->mono_ms;
    stream_head(s, c);
    struct session_open o = {.app = c->who.app,
        .user = c->who.user,
        .device = c->who.device,
        .kind = SESSION_STREAM,
        .clean = true,
        .after = c->stream_after,
        .conn = c,
        .out = &c->out};
    c->session = deliver_open(s->deliver, &o);
    conn_touch(s, c);
}

/* ---- from request to job ---- */
static bool bearer(const struct http_request *q, const struct request *r, struct bytes *out) {
    if (q->authorization.n > 7 &&
        strncasecmp((const char *)q->authorization.p, "bearer ", 7) == 0) {
        *out = bytes_of(q->authorization.p + 7, q->authorization.n - 7);
        return true;
    }
    *out = request_query(r, "access_token");
    return out->n != 0;
}

static bool authenticate(
    struct shard *s, struct conn *c, const struct http_request *q, struct job *j) {
    struct request *r = &j->request;
    struct bytes credential;
    struct buf why = {0};
    bool stream = j->route->special == SPECIAL_STREAM;
    if (j->route->scope & SCOPE_OPEN) return true;
    (void)c;
    if (!bearer(q, r, &credential) || (!q->authorization.n && !stream)) {
        answer_problem(&j->answer, PROBLEM_UNAUTHORIZED, "",
            "send 'Authorization: Bearer' with a server key or a device token");
        return false;
    }
    enum err e = admit_check(s->server->admit, credential, r->now_ms, &j->arena, &r->who, &why);
    if (e != OK)
        answer_problem(
            &j->answer, PROBLEM_UNAUTHORIZED, "", "%.*s", (int)why.n, (const char *)why.p);
    buf_done(&why);
    if (e != OK) return false;
    if (r->who.server && request_query(r, "user").n) {
        r->who.user = request_query(r, "user");
        if (!id_valid(r->who.user))
            return answer_problem(
                       &j->answer, PROBLEM_INVALID_VALUE, "user", "'user' must be a user id"),
                   false;
    }
    return true;
}

void scope_refuse(struct answer *a, uint32_t scopes) {
    struct buf names = {0};
    admit_scopes_text(&names, scopes);
    bool several = names.n && memchr(names.p, ',', names.n);
    answer_problem(a, PROBLEM_FORBIDDEN, "",
        "this server key lacks the scope for this; make one with --scope %.*s%s", (int)names.n,
        (const char *)names.p, several ? " (one of them is enough)" : "");
    buf_done(&names);
}

static bool authorise(struct job *j) {
    const struct request *r = &j->request;
    const struct route *route = j->route;
    if (route->scope & SCOPE_OPEN) return true;
    if (r->who.server) {
        if (r->who.scopes & route->scope) return true;
        scope_refuse(&j->answer, route->scope);
        return false;
    }
    if (route->token == TOKEN_ANY ||
        (route->token == TOKEN_SELF && bytes_eq(r->params[0], r->who.user)))
        return true;
    answer_problem(&j->answer, PROBLEM_FORBIDDEN, "",
        route->token == TOKEN_SELF ? "a device token acts on its own user's paths only"
                                   : "this needs a server key");
    return false;
}

static bool host_is(struct bytes name, const char *host, size_t n) {
    return name.n == n && strncasecmp((const char *)name.p, host, n) == 0;
}

static bool host_allowed(const struct shard *s, struct bytes host) {
    const char *list = s->server->o.hosts;
    size_t n = 0;
    if (!list && !s->server->o.dev) return true;
    const uint8_t *colon = host.n ? memrchr(host.p, ':', host.n) : NULL;
    n = colon && host.p[host.n - 1] != ']' ? (size_t)(colon - host.p) : host.n;
    struct bytes name = bytes_of(host.p, n);
    if (bytes_is(name, "127.0.0.1") || host_is(name, "localhost", 9) || bytes_is(name, "[::1]"))
        return true;
    while (list && *list) {
        size_t len = strcspn(list, ", ");
        if (len && host_is(name, list, len)) return true;
        list += len + (list[len] != 0);
    }
    return false;
}

/* What queries and stages need of the request outlives the reader's buffer. */
static void request_fill(struct shard *s, struct job *j, const struct http_request *q) {
    struct request *r = &j->request;
    r->method = bytes_is(q->method, "HEAD") ? BYTES("GET") : arena_copy(&j->arena, q->method);
    for (size_t i = 0; i < q->query_count; i++) {
        r->query_names[i] = arena_copy(&j->arena, q->query_names[i]);
        r->query_values[i] = arena_copy(&j->arena, q->query_values[i]);
    }
    r->query_count = q->query_count;
    if (q->last_event_id.n && r->query_count < 16) {
        r->query_names[r->query_count] = BYTES("last-event-id");
        r->query_values[r->query_count++] = arena_copy(&j->arena, q->last_event_id);
    }
    r->body = q->body;
    r->idempotency_key = arena_copy(&j->arena, q->idempotency_key);
    r->languages = arena_copy(&j->arena, q->accept_language);
    r->wants_page = http_list_has(q->accept, "text/html");
    r->now_ms = clock_wall_ms();
    r->epoch = s->server->epoch;
    r->partitions = s->server->partitions;
}

/* Not a look only, and for whom no credential speaks: what its path holds does. */
static bool is_by_link(const struct route *r) { return r->scope & SCOPE_OPEN && !r->special; }

static bool body_parse(struct shard *s, struct job *j) {
    struct request *r = &j->request;
    if (!r->body.n || is_by_link(j->route)) return true; /* a form's: it says nothing more */
    r->has_json = json_parse(s->json, r->body, &r->json) == OK;
    if (!r->has_json)
        answer_problem(&j->answer, PROBLEM_MALFORMED, "", "the body is not JSON (RFC 8259): %s",
            json_trouble(s->json));
    return r->has_json;
}

static bool stream_plan(struct job *j) {
    struct request *r = &j->request;
    struct bytes last = request_query(r, "last-event-id");
    enum err e = last.n ? cursor_parse(last, r->epoch, &j->stream_after) : OK;
    if (!last.n) j->stream_after = UINT64_MAX;
    if (e == STALE)
        answer_problem(&j->answer, PROBLEM_GONE, "Last-Event-ID",
            "this event is of a time before a restore; begin without it");
    else if (e != OK)
        answer_problem(
            &j->answer, PROBLEM_MALFORMED, "Last-Event-ID", "this is not the id of an event");
    return e == OK;
}

static bool live_plan(struct shard *s, struct job *j) {
    static const struct json_field ONLINE[] = {{"online", JSON_BOOL, true, false, 0}};
    struct request *r = &j->request;
    struct json_value f[1];
    if (j->route->special == SPECIAL_STREAM) {
        if (!stream_plan(j)) return false;
    } else if (j->route->special == SPECIAL_PRESENCE) {
        if (!request_object(r, ONLINE, 1, f, &j->answer)) return false;
        j->online = json_bool(f[0].v);
    } else if (j->route->special == SPECIAL_TYPING && !request_empty(r, &j->answer)) {
        return false;
    } else if (!r->who.user.n && j->route->special == SPECIAL_TYPING) {
        answer_problem(&j->answer, PROBLEM_INVALID_VALUE, "user",
            "a server key names who is typing by ?user=");
        return false;
    }
    struct bytes user = j->route->special == SPECIAL_TYPING ? r->who.user : r->params[0];
    j->plan.partition = partition_of_user(r->who.app, user, s->server->partitions);
    return true;
}

/* What goes first when there is too much load. One thing is read as long as anything is. */
static enum shed shed_of(const struct route *r) {
    if (r->special == SPECIAL_TYPING || r->special == SPECIAL_PRESENCE) return SHED_LIVE;
    if (strcmp(r->method, "GET") != 0) return SHED_WRITES;
    bool one = r->path[strlen(r->path) - 1] == '}';
    return (r->special && r->special != SPECIAL_EXPORT) || one ? SHED_NEVER : SHED_LISTS;
}

/* What is for operators has its own door, if there is one, and that door has nothing else. */
static bool door_has(const struct server *v, const struct conn *c, const struct route *r) {
    if (v->doors[DOOR_CONSOLE].fd < 0 || r->special == SPECIAL_HEALTH ||
        r->special == SPECIAL_READY || r->special == SPECIAL_OPENAPI)
        return true;
    return c->operators ? r->scope & SCOPE_OPERATE : r->scope != SCOPE_OPERATE;
}

/* true: on its way; false: j->answer says why not, or what. */
static bool dispatch(struct shard *s, struct conn *c, struct job *j, const struct http_request *q) {
    struct request *r = &j->request;
    request_fill(s, j, q);
    if (!host_allowed(s, q->host))
        return answer_problem(&j->answer, PROBLEM_FORBIDDEN, "",
                   "this Host is not served here; allow it with --hosts"),
               false;
    bool demo = demo_take(s, c, j, q);
    if (!demo && page_take(s, c, j, q)) return false;
    if (!demo) j->route = route_match(s->server, q, r, &j->answer);
    if (!demo && j->answer.problem == PROBLEM_METHOD)
        route_methods(s->server, q, j->allow, sizeof j->allow);
    if (j->answer.problem == PROBLEM_METHOD && s->server->o.cors_origin &&
        bytes_is(q->method, "OPTIONS"))
        return answer_ok(&j->answer, 204), false;
    if (!demo && j->route && !door_has(s->server, c, j->route)) {
        j->route = NULL;
        answer_problem(&j->answer, PROBLEM_NOT_FOUND, "",
            c->operators ? "this listener serves operators only"
                         : "this is served by the operators' listener only (--console)");
    }
    if (!j->route || j->answer.problem) return false;
    if ((!(j->route->scope & SCOPE_OPEN) || is_by_link(j->route)) &&
        !limits_address(s, c, &j->answer))
        return false;
    c->trusted = (demo || authenticate(s, c, q, j)) && r->who.app.n;
    if (j->answer.problem || !authorise(j)) return false;
    if (s->draining && !bytes_is(r->method, "GET")) {
        answer_problem(
            &j->answer, PROBLEM_DRAINING, "", "nothing was stored; try again in a moment");
        j->answer.retry_after_s = DRAIN_RETRY_S;
        return false;
    }
    if (limits_shed(s, shed_of(j->route), &j->answer)) return false;
    if (!limits_request(s, &r->who, &j->answer) ||
        !limits_body(s, &r->who, r->body.n, &j->answer) || !body_parse(s, j))
        return false;
    if (j->route->special == SPECIAL_TYPING || j->route->special == SPECIAL_PRESENCE ||
        j->route->special == SPECIAL_STREAM || j->route->special == SPECIAL_EXPORT ||
        j->route->special == SPECIAL_USER_SESSIONS) {
        if (!live_plan(s, j)) return false;
    } else if (j->route->special == SPECIAL_SESSIONS) {
        return sessions_plan(s, j);
    } else if (j->route->special == SPECIAL_JOURNEY) {
        return journey_plan(s, j);
    } else if (j->route->special == SPECIAL_WEBSOCKET) {
        upgrade_check(s, q, &j->answer);
        return false;
    } else if (j->route->special) {
        /* the one large answer to strangers */
        size_t large = j->route->special == SPECIAL_OPENAPI ? OPENAPI_SIZE : 0;
        j->open_metrics = metrics_open_asked(q->accept);
        if (!large || limits_stranger(s, c, large, &j->answer)) special_answer(s, j);
        return false;
    } else if (j->route->plan(r, &j->plan, &j->answer) != OK) {
        return false;
    }
    return true;
}

static void request_begin(struct shard *s, struct conn *c, const struct http_request *q) {
    struct job *j = job_make(s, JOB_HTTP);
    j->conn = c->index;
    j->generation = c->generation;
    c->keep_alive = q->keep_alive;
    c->head_only = bytes_is(q->method, "HEAD");
    c->busy = true;
    if (dispatch(s, c, j, q)) {
        job_start(s, j);
        return;
    }
    job_count(s, j);
    http_answered(s, c, j);
    job_free(s, j);
}

static void framing_problem(struct shard *s, struct conn *c, int status) {
    struct answer a = {0};
    if (status == 413 || status == 414 || status == 431)
        measure_add(&s->measure, COUNTER_limit_request_size, 1);
    answer_problem(&a, status == 413 ? PROBLEM_TOO_LARGE : PROBLEM_MALFORMED, "",
        status == 413                    ? "a request body has at most 1 MiB"
        : status == 408                  ? "the rest of this request did not come in time"
        : status == 431 || status == 414 ? "the request's head has at most 16 KiB"
                                         : "this is not a well-formed HTTP/1.1 request");
    a.status = status;
    c->keep_alive = c->head_only = false;
    http_problem(s, c, &a, "");
}

void http_late(struct shard *s, struct conn *c) { framing_problem(s, c, 408); }

/* A body is kept for who has a credential that holds, or a link that we gave away, and for nobody else:
 * what is not known costs its head only. */
static bool body_allowed(struct shard *s, struct conn *c) {
    struct bytes v = http_reader_authorization(c->http);
    struct arena arena = {0};
    c->trusted = false;
    enum preferences_link link = preferences_link_of(&s->tools, http_reader_target(c->http));
    if (link == LINK_HOLDS) return true;
    struct principal who;
    struct buf why = {0};
    bool ok = v.n > 7 && strncasecmp((const char *)v.p, "bearer ", 7) == 0 &&
              admit_check(s->server->admit, bytes_of(v.p + 7, v.n - 7), clock_wall_ms(), &arena,
                  &who, &why) == OK;
    arena_done(&arena);
    buf_done(&why);
    c->trusted = ok;
    if (ok) return true;
    struct answer a = {0};
    if (link == LINK_FORGED) preferences_link_refuse(&a);
    else
        answer_problem(&a, PROBLEM_UNAUTHORIZED, "",
            "send 'Authorization: Bearer' with a server key or a device token, and then the body");
    c->keep_alive = c->head_only = false;
    http_problem(s, c, &a, "");
    return false;
}

/* The answers before are not taken: nothing more is done for who does not read them. */
bool http_answers_wait(const struct conn *c) {
    enum { ANSWERS_MAX = 64 * 1024 };
    return c->out.n - c->out_at > ANSWERS_MAX;
}

/* What has come, up to the end of one request: others have their turn too. */
static void request_read(struct shard *s, struct conn *c) {
    const struct http_request *q;
    size_t used;
    bool wants_continue, was_empty = http_reader_is_empty(c->http);
    enum err e = http_read(c->http, buf_view(&c->in), &used, &q, &wants_continue);
    buf_cut(&c->in, used);
    if (was_empty && !http_reader_is_empty(c->http)) c->since_ms = s->mono_ms;
    if (e == AGAIN && http_reader_has_head(c->http) && !body_allowed(s, c)) return;
    if (wants_continue) {
        buf_str(&c->out, "HTTP/1.1 100 Continue\r\n\r\n");
        conn_touch(s, c);
    }
    if (e == OK) request_begin(s, c, q);
    else if (e == MALFORMED) framing_problem(s, c, q->status);
}

void http_input(struct shard *s, struct conn *c) {
    if (c->streaming) {
        buf_reset(&c->in);
        return;
    }
    if (!c->http) c->http = http_reader_create();
    if (c->in.n && !c->busy && !c->closing && !http_answers_wait(c)) request_read(s, c);
    /* in the middle of a request the reader holds what came: not here too */
    if (!c->in.n && (c->in.cap > 4096 || (c->http && !http_reader_is_empty(c->http))))
        buf_done(&c->in);
    if (c->half_closed && !c->busy && !c->closing && !c->in.n) conn_finish(s, c);
    if (c->read_paused) conn_touch(s, c);
}
