/* conn: browser: see browser.h. An Origin is compared with a list as it stands; with the Host
 * without its scheme, as a proxy may have ended TLS. SPDX-License-Identifier: Apache-2.0 */
#include "conn/browser.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "conn/transport.h"

/* The entry of a comma list that is this origin, or "*"; NULL: none. */
static const char *listed(const char *list, struct bytes origin, size_t *out_n) {
    while (list && *list) {
        list += strspn(list, ", ");
        size_t n = strcspn(list, ", ");
        if ((n == 1 && *list == '*') || (n && n == origin.n && memcmp(list, origin.p, n) == 0)) {
            *out_n = n;
            return list;
        }
        list += n;
    }
    return NULL;
}

void cors_lines(const struct shard *s, const struct conn *c, char *out, size_t size) {
    const char *list = s->server->o.cors_origin;
    struct bytes origin = c->http ? http_reader_origin(c->http) : (struct bytes){0};
    size_t n = 0;
    if (!list) return;
    const char *allowed = listed(list, origin, &n);
    bool any = allowed && *allowed == '*';
    snprintf(out, size, "%s%.*s%s%s", allowed ? "Access-Control-Allow-Origin: " : "", (int)n,
        allowed ? allowed : "",
        allowed ? "\r\nAccess-Control-Expose-Headers: Retry-After, Kith-Cursor\r\n" : "",
        any ? "" : "Vary: Origin\r\n");
}

/* "host" of "https://host" and "host:443"; the default port of either scheme is left out. */
static struct bytes host_only(struct bytes v) {
    const uint8_t *scheme = v.n ? memmem(v.p, v.n, "://", 3) : NULL;
    if (scheme) v = bytes_of(scheme + 3, v.n - (size_t)(scheme + 3 - v.p));
    static const char *const PORTS[] = {":443", ":80"};
    for (int i = 0; i < 2; i++) {
        size_t n = strlen(PORTS[i]);
        if (v.n > n && memcmp(v.p + v.n - n, PORTS[i], n) == 0) return bytes_of(v.p, v.n - n);
    }
    return v;
}

static bool origin_allowed(const struct shard *s, const struct http_request *q) {
    const struct server_options *o = &s->server->o;
    struct bytes from = host_only(q->origin), here = host_only(q->host);
    size_t n;
    if (!q->origin.p) return true; /* no browser */
    if (from.n && from.n == here.n &&
        strncasecmp((const char *)from.p, (const char *)here.p, from.n) == 0)
        return true;
    return listed(o->ws_origins ? o->ws_origins : o->cors_origin, q->origin, &n) != NULL;
}

void upgrade_check(const struct shard *s, const struct http_request *q, struct answer *a) {
    int status = bytes_is(q->method, "GET") ? websocket_upgrade(q, "mqtt", &a->body) : 426;
    if (status == 426)
        answer_problem(
            a, PROBLEM_UPGRADE, "", "this path speaks MQTT over WebSocket, version 13 (RFC 6455)");
    else if (status == 400)
        answer_problem(a, PROBLEM_MALFORMED, "", "%.*s", (int)a->body.n, (char *)a->body.p);
    else if (!origin_allowed(s, q))
        answer_problem(a, PROBLEM_FORBIDDEN, "",
            "pages of this Origin may not connect; allow it with --ws-origins");
    else if (s->draining) {
        answer_problem(a, PROBLEM_DRAINING, "", "connect again in a moment");
        a->retry_after_s = DRAIN_RETRY_S;
    } else a->status = status;
}

void upgrade_begin(struct shard *s, struct conn *c, const struct answer *a) {
    struct buf lines = {0};
    buf_bytes(&lines, buf_view(&a->body));
    buf_char(&lines, 0);
    http_write_head(&c->out, 101, true, NULL, -1, (const char *)lines.p);
    buf_done(&lines);
    http_reader_free(&c->http);
    measure_add(&s->measure, COUNTER_http_requests, 1);
    c->protocol = PROTO_MQTT;
    c->since_ms = s->mono_ms;
    enum err e = transport_upgrade(s, c);
    conn_touch(s, c);
    if (c->in.n) conn_read_again(s, c);
    if (e != OK || c->half_closed) conn_hangup(s, c);
}
