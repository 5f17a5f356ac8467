/* fuzz: HTTP: requests that come whole and cut in pieces are read the same; every answer is a
 * status of ours; a client's side takes any response. The first byte says how the rest is cut.
 * SPDX-License-Identifier: Apache-2.0 */
#include "fuzz.h"

#include <string.h>

#include "wire/wire.h"

void fuzz_seeds(void (*give)(void *arg, struct bytes seed), void *arg) {
    static const char *const TEXTS[] = {
        "\x01GET /v1/users/ann?limit=2&cursor=a-b HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer "
        "x\r\nAccept: */*\r\n\r\n",
        "\x03POST /v1/conversations/c/messages HTTP/1.1\r\nHost: h:80\r\nContent-Type: "
        "application/json\r\nContent-Length: 13\r\n\r\n{\"body\":\"hi\"}GET / HTTP/1.1\r\nHost: "
        "h\r\n\r\n",
        "\x07PUT /a%2fb//%F0%9F%98%80?x=%26+1&&y HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: "
        "chunked\r\nIdempotency-Key: k\r\n\r\n3;x=y\r\nabc\r\n10\r\n0123456789abcdef\r\n0\r\nT: "
        "1\r\n\r\n",
        "\x40GET http://other/a#f HTTP/1.1\r\nHost: h\r\nConnection: close\r\nX:\r\n "
        "folded\r\n\r\n",
        "\x02POST / HTTP/1.0\r\nExpect: 100-continue\r\nContent-Length: 1\r\n\r\nx",
        ("\x05"
         "DELETE / HTTP/1.1\nHost: h\nLast-Event-ID: 1-2\nOrigin: null\n\n"),
        "\x09HTTP/1.1 200 OK\r\nContent-Type: a\r\nContent-Length: 2\r\n\r\n{}",
        "\x01POST / HTTP/1.1\r\nHost: h\r\nContent-Length : 1\r\nTransfer-Encoding: "
        "chunked\r\n\r\n0\r\n\r\n",
        "\x21HEAD / HTTP/1.1\r\nHost: h\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n",
        "\x0bGET /mqtt HTTP/1.1\r\nHost: h\r\nConnection: keep-alive, Upgrade\r\nUpgrade: "
        "websocket\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: "
        "13\r\nSec-WebSocket-Protocol: mqttv3.1 , mqtt\r\n\r\n"};
    for (size_t i = 0; i < sizeof TEXTS / sizeof *TEXTS; i++) give(arg, bytes_str(TEXTS[i]));
}

static uint64_t mix(uint64_t h, struct bytes v) {
    return (h ^ hash64(v)) * 0x9e3779b97f4a7c15u + v.n;
}

static uint64_t request_hash(uint64_t h, const struct http_request *q) {
    check(q->segment_count <= HTTP_SEGMENTS_MAX && q->query_count <= HTTP_QUERY_MAX &&
          q->body.n <= HTTP_BODY_MAX && !q->status);
    for (uint8_t i = 0; i < q->segment_count; i++) {
        check(utf8_valid(q->segments[i]) &&
              (!q->segments[i].n || !memchr(q->segments[i].p, 0, q->segments[i].n)));
        h = mix(h, q->segments[i]);
    }
    for (uint8_t i = 0; i < q->query_count; i++) {
        check(utf8_valid(q->query_names[i]) && utf8_valid(q->query_values[i]));
        h = mix(mix(h, q->query_names[i]), q->query_values[i]);
    }
    const struct bytes REST[] = {q->method, q->host, q->authorization, q->content_type,
        q->idempotency_key, q->last_event_id, q->origin, q->accept, q->body, q->websocket_key,
        q->websocket_version, q->websocket_protocols};
    for (size_t i = 0; i < sizeof REST / sizeof *REST; i++) h = mix(h, REST[i]);
    struct buf lines = {0};
    int status = websocket_upgrade(q, "mqtt", &lines);
    check(status == 101 || status == 400 || status == 426);
    buf_done(&lines);
    return h + q->keep_alive + (uint64_t)status;
}

/* Reads all of it, `piece` bytes at a time; gives what it made of it. */
static uint64_t read_all(struct bytes in, size_t piece) {
    struct http_reader *r = http_reader_create();
    uint64_t h = 0;
    int status = 0;
    for (size_t at = 0, end = 0; end < in.n && !status;) {
        end = end + piece < in.n ? end + piece : in.n;
        while (at < end && !status) {
            const struct http_request *q;
            size_t used;
            bool wants;
            enum err e = http_read(r, bytes_of(in.p + at, end - at), &used, &q, &wants);
            check(used <= end - at);
            at += used;
            if (e == OK) {
                h = request_hash(h, q);
                http_reader_next(r);
            } else if (e == MALFORMED) {
                status = q->status;
                check(status >= 400 && status <= 505);
            } else {
                check(e == AGAIN && at == end);
            }
        }
    }
    /* where two things are wrong, either may be told first */
    h = h * 4 + (status ? 2u : 0u) + http_reader_is_empty(r);
    http_reader_free(&r);
    return h;
}

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n) {
    if (!n) return 0;
    struct bytes in = bytes_of(p + 1, n - 1), body;
    uint64_t whole = read_all(in, in.n + 1);
    check(read_all(in, 1) == whole);
    check(read_all(in, 1 + p[0]) == whole);
    int status;
    size_t used;
    enum err e = http_read_response(in, &status, &body, &used);
    check(e == OK || e == AGAIN || e == MALFORMED);
    if (e == OK) check(used <= in.n && body.n <= used && status >= 0 && status <= 999);
    return 0;
}
