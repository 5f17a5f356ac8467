/* conn: web: see web.h. SPDX-License-Identifier: Apache-2.0 */
#include "conn/web.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "pages/pages.h"
#include "conn/limits.h"

#define DEMO_APP "demo"
#define DEMO_TTL "12h"

/* The path as pages_find knows it; empty: too long, or a segment with a slash of its own in it. */
static struct bytes path_joined(struct arena *arena, const struct http_request *q) {
    struct buf b = {0};
    bool plain = true;
    for (size_t i = 0; i < q->segment_count; i++) {
        plain &= !q->segments[i].n || !memchr(q->segments[i].p, '/', q->segments[i].n);
        if (i) buf_char(&b, '/');
        buf_bytes(&b, q->segments[i]);
    }
    struct bytes path = plain ? arena_copy(arena, buf_view(&b)) : (struct bytes){0};
    buf_done(&b);
    return path;
}

static const struct page *page_of(
    const struct shard *s, const struct conn *c, struct job *j, const struct http_request *q) {
    bool console = bytes_is(q->segments[0], "console"),
         icon = bytes_is(q->segments[0], "icon.svg") || bytes_is(q->segments[0], "favicon.ico");
    if (s->server->doors[DOOR_CONSOLE].fd >= 0 && !icon && console != c->operators) return NULL;
    bool dev = s->server->o.dev, top = q->segment_count == 1 && !q->segments[0].n;
    if (top) return dev ? pages_find(BYTES("demo")) : NULL;
    if (bytes_is(q->segments[0], "demo") && !dev) return NULL;
    if (q->segment_count == 1 && bytes_is(q->segments[0], "favicon.ico"))
        return pages_find(BYTES("icon.svg"));
    return pages_find(path_joined(&j->arena, q));
}

bool page_take(struct shard *s, const struct conn *c, struct job *j, const struct http_request *q) {
    const struct page *p = page_of(s, c, j, q);
    if (!p) return false;
    if (!bytes_is(j->request.method, "GET")) { /* HEAD is GET there */
        memcpy(j->allow, "GET, HEAD", sizeof "GET, HEAD");
        answer_problem(&j->answer, PROBLEM_METHOD, "", "this is a page; it can be read only");
        return true;
    }
    bool known = page_is_known(p, q->if_none_match);
    if (!known && !limits_stranger(s, c, p->size, &j->answer)) return true;
    j->page = p;
    answer_ok(&j->answer, known ? 304 : 200);
    return true;
}

/* Nothing of others is run, shown or asked; nobody frames it. A style that a script sets on an
 * element is no inline style. */
#define POLICY                                                                                     \
    "default-src 'self'; connect-src 'self' ws: wss:; img-src 'self' data:; object-src 'none'; "   \
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

void page_lines(const struct page *p, char *out, size_t size) {
    snprintf(out, size,
        "ETag: %s\r\nCache-Control: no-cache\r\nContent-Security-Policy: " POLICY
        "\r\nX-Content-Type-Options: nosniff\r\nReferrer-Policy: no-referrer\r\n"
        "Cross-Origin-Opener-Policy: same-origin\r\nCross-Origin-Resource-Policy: same-origin\r\n",
        p->etag);
}

/* ---- the demo's calls ---- */
static bool is_loopback(const struct address *a) {
    static const uint8_t V4[12] = {[10] = 0xff, [11] = 0xff}, ONE[16] = {[15] = 1};
    return memcmp(a->ip, ONE, 16) == 0 || (memcmp(a->ip, V4, 12) == 0 && a->ip[12] == 127);
}

/* "http://127.0.0.1:8080" of "127.0.0.1:8080", or https. */
static bool origin_is_own(const struct http_request *q) {
    static const char *const SCHEMES[] = {"http://", "https://"};
    for (int i = 0; i < 2; i++) {
        size_t n = strlen(SCHEMES[i]);
        if (q->origin.n == n + q->host.n && memcmp(q->origin.p, SCHEMES[i], n) == 0 &&
            strncasecmp((const char *)q->origin.p + n, (const char *)q->host.p, q->host.n) == 0)
            return true;
    }
    return false;
}

/* A browser says at least one of both; who says none is no page, and can ask with a key. */
static bool from_own_page(const struct http_request *q) {
    if (q->fetch_site.p && !bytes_is(q->fetch_site, "same-origin")) return false;
    return q->origin.p ? origin_is_own(q) : q->fetch_site.p != NULL;
}

/* What stands for the call: the path without "/demo/api", under /v1. */
static const struct route *demo_route(
    const struct server *v, struct job *j, const struct http_request *q) {
    static const struct {
        const char *method, *path;
    } CALLS[] = {
        {"POST", "/v1/users/{id}/tokens"},
        {"GET", "/v1/items/{id}/journey"},
        {"POST", "/v1/notifications"},
    };
    struct http_request inner = *q;
    inner.segments[0] = BYTES("v1");
    inner.segment_count--;
    memmove(inner.segments + 1, inner.segments + 2,
        (inner.segment_count - 1u) * sizeof *inner.segments);
    const struct route *r = route_match(v, &inner, &j->request, &j->answer);
    for (size_t i = 0; r && i < sizeof CALLS / sizeof *CALLS; i++)
        if (strcmp(r->method, CALLS[i].method) == 0 && strcmp(r->path, CALLS[i].path) == 0)
            return r;
    if (r) answer_problem(&j->answer, PROBLEM_NOT_FOUND, "", "the demo's page has no such call");
    return NULL;
}

/* The device comes in the query: bodies are taken of who has a credential only. */
static bool token_body(struct job *j, const struct http_request *q) {
    struct bytes device = request_query(&j->request, "device");
    struct buf b = {0};
    if (q->body.n || !id_valid(device)) {
        answer_problem(&j->answer, PROBLEM_INVALID_VALUE, "device",
            "'device' in the query must be a device id, and there is no body");
        return false;
    }
    buf_fmt(&b, "{\"device\":\"%.*s\",\"ttl\":\"" DEMO_TTL "\"}", (int)device.n,
        (const char *)device.p);
    j->request.body = arena_copy(&j->arena, buf_view(&b));
    buf_done(&b);
    return true;
}

/* What the demo's backend triggers: who did it, to whom and a number are in the query, the rest is
 * fixed. */
static void trigger_json(
    struct buf *b, const char *more, const char *data, const struct request *r) {
    struct bytes to = request_query(r, "to"), actor = request_query(r, "actor"),
                 n = request_query(r, "n");
    bool number = n.n == 1 && n.p[0] >= '0' && n.p[0] <= '9';
    if (to.n) buf_fmt(b, "\"to\":{\"users\":[\"%.*s\"]},", (int)to.n, (const char *)to.p);
    else buf_str(b, "\"to\":{\"everyone\":true},");
    buf_fmt(b, "\"actor\":\"%.*s\",%s\"data\":{\"n\":%c%s}}", (int)actor.n, (const char *)actor.p,
        more, number ? n.p[0] : '0', data);
}

static bool trigger_body(struct job *j, const struct http_request *q) {
    static const struct {
        const char *what, *more, *data;
    } TRIGGERS[] = {
        {"like", "\"object\":\"photo-lake\",", ",\"photo\":\"The lake path\""},
        {"comment", "\"object\":\"photo-lake\",", ",\"photo\":\"The lake path\""},
        {"train", "\"collapse_key\":\"train\",", ""},
        {"announcement", "", ",\"words\":\"The lake path is open again\""},
    };
    const struct request *r = &j->request;
    struct bytes what = request_query(r, "what"), to = request_query(r, "to");
    size_t i = 0, count = sizeof TRIGGERS / sizeof *TRIGGERS;
    while (i < count && !bytes_is(what, TRIGGERS[i].what)) i++;
    if (q->body.n || i == count || (to.n && !id_valid(to)) ||
        !id_valid(request_query(r, "actor"))) {
        answer_problem(&j->answer, PROBLEM_INVALID_VALUE, "what",
            "the query says 'what' (like, comment, train, announcement), 'actor' and 'to' (all, "
            "without), and there is no body");
        return false;
    }
    struct buf b = {0};
    buf_fmt(&b, "{\"workflow\":\"%s\",", TRIGGERS[i].what);
    trigger_json(&b, TRIGGERS[i].more, TRIGGERS[i].data, r);
    j->request.body = arena_copy(&j->arena, buf_view(&b));
    buf_done(&b);
    return true;
}

/* The body of the call that this one stands for. false: the answer says what is wrong. */
static bool inner_body(struct job *j, const struct http_request *q) {
    if (!bytes_is(j->request.method, "POST")) return true;
    return strcmp(j->route->path, "/v1/notifications") == 0 ? trigger_body(j, q) : token_body(j, q);
}

bool demo_take(struct shard *s, const struct conn *c, struct job *j, const struct http_request *q) {
    struct request *r = &j->request;
    if (!s->server->o.dev || q->segment_count < 3 || !bytes_is(q->segments[0], "demo") ||
        !bytes_is(q->segments[1], "api"))
        return false;
    if (!is_loopback(&c->peer) || !from_own_page(q)) {
        answer_problem(&j->answer, PROBLEM_FORBIDDEN, "",
            "this is for the demo's own page; others use /v1 with a server key");
        return true;
    }
    j->route = demo_route(s->server, j, q);
    if (!j->route || !inner_body(j, q)) return true;
    r->who = (struct principal){.server = true,
        .scopes = SCOPE_TOKENS | SCOPE_OPERATE | SCOPE_WRITE,
        .app = BYTES(DEMO_APP),
        .key = BYTES("demo-page")};
    return true;
}
