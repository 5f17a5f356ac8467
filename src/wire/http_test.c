/* wire: HTTP/1.1, read and written: requests cut at every byte, framing that could be read in two
 * ways, limits, targets (RFC 9110, 9112, 3986).
 * SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "wire/wire.h"

/* ---- what a reader made of some bytes, as text: a line for each request, then how it ended ----
 * */
static void part(struct buf *b, const char *name, struct bytes v) {
    if (v.p) buf_fmt(b, " %s=[%.*s]", name, (int)v.n, (const char *)v.p);
}

static void request_tell(struct buf *b, const struct http_request *q) {
    buf_bytes(b, q->method);
    for (uint8_t i = 0; i < q->segment_count; i++)
        buf_fmt(b, "/%.*s", (int)q->segments[i].n, (const char *)q->segments[i].p);
    for (uint8_t i = 0; i < q->query_count; i++)
        buf_fmt(b, "%s%.*s=%.*s", i ? "&" : "?", (int)q->query_names[i].n,
            (const char *)q->query_names[i].p, (int)q->query_values[i].n,
            (const char *)q->query_values[i].p);
    part(b, "host", q->host);
    part(b, "authorization", q->authorization);
    part(b, "content-type", q->content_type);
    part(b, "idempotency-key", q->idempotency_key);
    part(b, "last-event-id", q->last_event_id);
    part(b, "origin", q->origin);
    part(b, "accept", q->accept);
    part(b, "accept-language", q->accept_language);
    part(b, "ws-key", q->websocket_key);
    part(b, "ws-version", q->websocket_version);
    part(b, "ws-protocols", q->websocket_protocols);
    if (q->wants_websocket) buf_str(b, " websocket");
    buf_fmt(b, " keep=%d body=%zu:%.*s\n", q->keep_alive, q->body.n,
        (int)(q->body.n > 200 ? 200 : q->body.n), (const char *)q->body.p);
}

struct reading {
    struct http_reader *r;
    struct buf told;
    int status; /* of what ended it; 0: nothing did */
    unsigned continues;
};

/* Gives the reader `in`, as a connection does: again and again until all is used. */
static void feed(struct reading *g, struct bytes in) {
    while (in.n && !g->status) {
        const struct http_request *q;
        size_t used = 0;
        bool wants;
        enum err e = http_read(g->r, in, &used, &q, &wants);
        assert_true(used <= in.n);
        g->continues += wants;
        in = bytes_of(in.p + used, in.n - used);
        if (e == OK) {
            request_tell(&g->told, q);
            http_reader_next(g->r);
            assert_true(http_reader_is_empty(g->r));
        } else if (e == MALFORMED) {
            g->status = q->status;
            assert_true(g->status >= 400 && g->status <= 505);
        } else {
            assert_int_equal(e, AGAIN);
            assert_int_equal(in.n, 0); /* AGAIN took all there was */
        }
    }
}

static struct reading reading_begin(void) { return (struct reading){.r = http_reader_create()}; }
static void reading_end(struct reading *g) {
    http_reader_free(&g->r);
    buf_done(&g->told);
}

static int status_of(struct bytes in) {
    struct reading g = reading_begin();
    feed(&g, in);
    int status = g.status;
    if (!status && !http_reader_is_empty(g.r)) status = -1; /* waits for more */
    reading_end(&g);
    return status;
}

static void tells(struct bytes in, const char *want) {
    struct reading g = reading_begin();
    feed(&g, in);
    buf_char(&g.told, 0);
    if (g.status || strcmp((const char *)g.told.p, want))
        fail_msg("%.*s\ngave %d\n%s\nnot\n%s", (int)in.n, (const char *)in.p, g.status,
            (const char *)g.told.p, want);
    reading_end(&g);
}

#define HOST "Host: h\r\n"
#define GET(target) "GET " target " HTTP/1.1\r\n" HOST "\r\n"

static void reads_targets(void **state) {
    (void)state;
    tells(BYTES(GET("/")), "GET/ host=[h] keep=1 body=0:\n");
    tells(BYTES(GET("/a/b%2Fc/%F0%9F%98%80")),
        "GET/a/b/c/\xf0\x9f\x98\x80 host=[h] keep=1 body=0:\n");
    tells(BYTES(GET("/a+b/?x=1+2&y&z=%3d%26&&=3&w=a=b")),
        "GET/a+b/?x=1 2&y=&z==&&=3&w=a=b host=[h] keep=1 body=0:\n");
    tells(BYTES(GET("/a?#frag")), "GET/a host=[h] keep=1 body=0:\n");
    tells(BYTES(GET("/a?b=c#frag?d=e")), "GET/a?b=c host=[h] keep=1 body=0:\n");
    tells(BYTES(GET("/a#frag?x=y")), "GET/a host=[h] keep=1 body=0:\n");
    tells(BYTES(GET("//a//")), "GET//a// host=[h] keep=1 body=0:\n");
    /* A server takes the absolute form too, and its authority in the place of Host (RFC 9112,
     * 3.2.2). */
    tells(BYTES(GET("http://other:80/a?b=c")), "GET/a?b=c host=[other:80] keep=1 body=0:\n");
    tells(BYTES(GET("HTTPS://other")), "GET/ host=[other] keep=1 body=0:\n");
    tells(BYTES(GET("http://other?b=c")), "GET/?b=c host=[other] keep=1 body=0:\n");
    static const char *const BAD[] = {"/%", "/%4", "/%zz", "/a%00b", "/?a=%00", "/%c3",
        "/%ed%a0%80", "/%c0%af", "/?%ff=1", "*", "/1/2/3/4/5/6/7/8/9/10/11/12/13",
        "/?a&b&c&d&e&f&g&h&i&j&k&l&m&n&o&p&q", "http://", "http:///a", "http://user@host/",
        "ftp:/a"};
    for (size_t i = 0; i < sizeof BAD / sizeof *BAD; i++) {
        char text[200];
        int n = snprintf(text, sizeof text, "GET %s HTTP/1.1\r\n" HOST "\r\n", BAD[i]);
        if (status_of(bytes_of(text, (size_t)n)) != 400) fail_msg("taken: %s", BAD[i]);
    }
}

static const struct {
    int status;
    const char *text;
} FRAMING[] = {
    {0, "GET / HTTP/1.1\r\nHost: h\r\n\r\n"},
    {0, "\r\n\r\nGET / HTTP/1.1\r\nHost: h\r\n\r\n"},
    {0, "GET / HTTP/1.0\r\n\r\n"},
    {0, "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n\r\n"},
    {400, "GET / HTTP/1.1\r\n\r\n"}, /* no Host */
    {400, "GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n"},
    {400, "GET / HTTP/1.0\r\nHost: a\r\nHost: b\r\n\r\n"},
    /* lengths */
    {400, "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\nContent-Length: 3\r\n\r\nabc"},
    {400, "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabc"},
    {400, "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 3, 3\r\n\r\nabc"},
    {400, "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: +3\r\n\r\nabc"},
    {400, "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: -3\r\n\r\nabc"},
    {400, "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 0x3\r\n\r\nabc"},
    {400, "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 3 3\r\n\r\nabc"},
    {400, "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: \r\n\r\n"},
    {400, "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 99999999999999999999999\r\n\r\n"},
    {400, "POST / HTTP/1.1\r\nHost: h\r\nContent-Length : 3\r\n\r\nabc"},
    {413, "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 1048577\r\n\r\n"},
    /* chunks */
    {0, "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"},
    {0, "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: "
        "Chunked\r\n\r\n3;x=y\r\nabc\r\nA\r\n0123456789\r\n0\r\nTrailer: x\r\n\r\n"},
    {-1, "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n"},
    {400, "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\nContent-Length: "
          "3\r\n\r\n0\r\n\r\n"},
    {400, "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\nTransfer-Encoding: "
          "chunked\r\n\r\n0\r\n\r\n"},
    {400, "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: "
          "chunked\r\n\r\n0\r\n\r\n"},
    {400, "POST / HTTP/1.0\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"},
    {501, "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n"},
    {501, "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: gzip,chunked\r\n\r\n0\r\n\r\n"},
    {400, "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: identity\r\n\r\n"},
    {400, "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n"},
    {400, "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked, gzip\r\n\r\n0\r\n\r\n"},
    {400, "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n"},
    {400, "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: , chunked\r\n\r\n0\r\n\r\n"},
    {400, "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: gzip chunked\r\n\r\n0\r\n\r\n"},
    {400, "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding:\r\n\r\n0\r\n\r\n"},
    {400, "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding : chunked\r\n\r\n0\r\n\r\n"},
    {400, "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabcd\r\n0\r\n\r\n"},
    {400, "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n-3\r\nabc\r\n0\r\n\r\n"},
    {400, "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n\r\n0\r\n\r\n"},
    {400, "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n1ffffffffffffffff\r\n"},
    {413, "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n100001\r\n"},
/* chunks, where the parser is lenient */
#define CHUNKS(s) "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n" s
    {0, CHUNKS("000000000000000000000000003\r\nabc\r\n00\r\n\r\n")},
    {0, CHUNKS("3 ;a=\"b;c\"\r\nabc\r\n0;x\r\nA: b\r\nC:d\r\n\r\n")},
    {400, CHUNKS("3 \r\nabc\r\n0\r\n\r\n")},
    {400, CHUNKS("3\nabc\r\n0\r\n\r\n")},
    {400, CHUNKS("3\rXabc\r\n0\r\n\r\n")},
    {400, CHUNKS("3\r\nabcXX0\r\n\r\n")},
    {400, CHUNKS("3\r\nabc\rX0\r\n\r\n")},
    {400, CHUNKS("3\r\nabc\n0\r\n\r\n")},
    {400, CHUNKS("3;a\nabc\r\n0\r\n\r\n")},
    {400, CHUNKS("3;a\nb\r\nabc\r\n0\r\n\r\n")},
    {400, CHUNKS("3;a\rb\r\nabc\r\n0\r\n\r\n")},
    {400, CHUNKS("3\r\nabc\r\n0\r\n\rX")},
    {400, CHUNKS("3\r\nabc\r\n0\r\n\n")},
    {400, CHUNKS("3\r\nabc\r\n0\n\r\n")},
    {400, CHUNKS("3\r\nabc\r\n0\r\nA: b\n\r\n")},
    {400, CHUNKS("3\r\nabc\r\n0\r\nA: b\r\n c\r\n\r\n")},
    {400, CHUNKS("3\r\nabc\r\n0\r\nA : b\r\n\r\n")},
    {400, CHUNKS("3\r\nabc\r\n0\r\nGET / HTTP/1.1\r\n\r\n")},
    /* lines that end in less than CRLF, and blanks that the parser skips */
    {400, "GET / HTTP/1.1\nHost: h\r\n\r\n"},
    {400, "GET / HTTP/1.1\r\nHost: h\n\r\n"},
    {400, "GET / HTTP/1.1\r\nHost: h\r\n\n"},
    {400, "GET / HTTP/1.1\r\nHost: h\r\n\rX"},
    {400, "GET / HTTP/1.1\r\nHost: h\rXA: b\r\n\r\n"},
    {400, "\nGET / HTTP/1.1\r\nHost: h\r\n\r\n"},
    {400, "\rGET / HTTP/1.1\r\nHost: h\r\n\r\n"},
    {400, "GET / HXTP/1.1\r\nHost: h\r\n\r\n"},
    {400, "GET / HTT9/1.1\r\nHost: h\r\n\r\n"},
    {400, "GET  / HTTP/1.1\r\nHost: h\r\n\r\n"},
    {400, "GET /  HTTP/1.1\r\nHost: h\r\n\r\n"},
    {400, "GET / HTTP/1.2\r\n\r\n"},
    {0, "GET / HTTP/1.2\r\nHost: h\r\n\r\n"},
    /* hosts */
    {0, "GET / HTTP/1.1\r\nHost:\r\n\r\n"},
    {0, "GET / HTTP/1.1\r\nHost: [::1]:80\r\n\r\n"},
    {0, "GET / HTTP/1.1\r\nHost: a-b.c_d:\r\n\r\n"},
    {400, "GET / HTTP/1.1\r\nHost: a b\r\n\r\n"},
    {400, "GET / HTTP/1.1\r\nHost: a, b\r\n\r\n"},
    {400, "GET / HTTP/1.1\r\nHost: a@b\r\n\r\n"},
    {400, "GET / HTTP/1.1\r\nHost: a/b\r\n\r\n"},
    {400, "GET / HTTP/1.1\r\nHost: a:b\r\n\r\n"},
    {400, "GET / HTTP/1.1\r\nHost: [::1\r\n\r\n"},
    {400, "GET / HTTP/1.1\r\nHost: [::1]x\r\n\r\n"},
    {400, "GET / HTTP/1.1\r\nHost: [x]\r\n\r\n"},
    {400, "GET / HTTP/1.1\r\nHost: \xc3\xa4\r\n\r\n"},
    {400, "GET http://a/ HTTP/1.1\r\nHost: a b\r\n\r\n"},
    {400, "GET http://a:b/ HTTP/1.1\r\nHost: h\r\n\r\n"},
    /* lines */
    {400, "GET / HTTP/1.1\r\n Host: h\r\n\r\n"},
    {400, "GET / HTTP/1.1\r\nHost: h\r\nX: a\r\n b\r\n\r\n"}, /* folded */
    {400, "GET / HTTP/1.1\r\nHost: h\r\nX: a\r\n\tb\r\n\r\n"},
    {400, "GET / HTTP/1.1\r\nHost: h\r\nX:\r\n b\r\n\r\n"},
    {0, "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 6\r\n\r\n\n a\n b"}, /* not in the body */
    {400, "GET / HTTP/1.1\r\nHost: h\r\nX\r\n\r\n"},
    {400, "GET / HTTP/1.1\r\nHost: h\r\n: x\r\n\r\n"},
    {400, "GET / HTTP/1.1\r\nHost: h\r\nX Y: x\r\n\r\n"},
    {400, "GET / HTTP/1.1\r\nHost: h\r\nX: a\rb\r\n\r\n"},
    {400, "GET / HTTP/1.1\r\nHost: h\r\nX: a\x01"
          "b\r\n\r\n"},
    {400, "GET /a b HTTP/1.1\r\nHost: h\r\n\r\n"},
    {400, "GET / HTTP/1.1 \r\nHost: h\r\n\r\n"},
    {400, "GET / http/1.1\r\nHost: h\r\n\r\n"},
    {505, "GET /\r\n\r\n"}, /* HTTP/0.9 */
    {505, "GET / HTTP/2.0\r\nHost: h\r\n\r\n"},
    {501, "FROB / HTTP/1.1\r\nHost: h\r\n\r\n"},
    {417, "POST / HTTP/1.1\r\nHost: h\r\nExpect: tea\r\nContent-Length: 1\r\n\r\n"},
    /* what names who asks, twice: a proxy in front may have looked at the other one */
    {400,
        "GET / HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer a\r\nAuthorization: Bearer b\r\n\r\n"},
    {400, "GET / HTTP/1.1\r\nHost: h\r\nIdempotency-Key: a\r\nIdempotency-Key: b\r\n\r\n"},
    {400, "GET / HTTP/1.1\r\nHost: h\r\nOrigin: a\r\nOrigin: b\r\n\r\n"},
    {0, "GET / HTTP/1.1\r\nHost: h\r\nAccept: a\r\nAccept: b\r\n\r\n"},
};

static void framing_has_one_reading(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof FRAMING / sizeof *FRAMING; i++) {
        struct bytes text = bytes_str(FRAMING[i].text);
        int got = status_of(text);
        if (got != FRAMING[i].status)
            fail_msg("%s\ngave %d, not %d", FRAMING[i].text, got, FRAMING[i].status);
    }
    for (size_t i = 0; i < sizeof FRAMING / sizeof *FRAMING; i++) {
        struct bytes text = bytes_str(FRAMING[i].text);
        for (size_t cut = 0; cut <= text.n; cut++) {
            struct reading g = reading_begin();
            feed(&g, bytes_of(text.p, cut));
            feed(&g, bytes_of(text.p + cut, text.n - cut));
            int status = g.status ? g.status : http_reader_is_empty(g.r) ? 0 : -1;
            if (status != FRAMING[i].status)
                fail_msg("cut at %zu: %d\n%s", cut, status, FRAMING[i].text);
            reading_end(&g);
        }
    }
    assert_int_equal(status_of(BYTES("GET / HTTP/1.1\r\nHost: h\r\nX: a\0b\r\n\r\n")), 400);
    assert_int_equal(status_of(BYTES("GET /\0 HTTP/1.1\r\nHost: h\r\n\r\n")), 400);
}

static void connections_are_kept_as_told(void **state) {
    (void)state;
    tells(BYTES("GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n"),
        "GET/ host=[h] keep=0 body=0:\n");
    tells(BYTES("GET / HTTP/1.0\r\n\r\n"), "GET/ keep=0 body=0:\n");
    tells(BYTES("GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n"), "GET/ keep=1 body=0:\n");
    tells(BYTES("GET / HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"),
        "GET/ host=[h] websocket keep=0 body=0:\n");
    tells(BYTES("GET /mqtt HTTP/1.1\r\nHost: h\r\nConnection: keep-alive , UPGRADE\r\nUpgrade: "
                "h2c,WebSocket\r\nSec-WebSocket-Key: k\r\nSec-WebSocket-Version: "
                "13\r\nSec-WebSocket-Protocol: a, mqtt\r\n\r\n"),
        "GET/mqtt host=[h] ws-key=[k] ws-version=[13] ws-protocols=[a, mqtt] websocket keep=0 "
        "body=0:\n");
    tells(BYTES("GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\nUpgrade: websocket\r\n\r\n"),
        "GET/ host=[h] keep=0 body=0:\n");
    assert_int_equal(
        status_of(BYTES("GET / HTTP/1.1\r\nHost: h\r\nSec-WebSocket-Key: a\r\nSec-WebSocket-Key: "
                        "b\r\n\r\n")),
        400);
}

static void waits_to_be_told_to_go_on(void **state) {
    (void)state;
    struct reading g = reading_begin();
    feed(&g,
        BYTES("POST / HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n"));
    assert_true(g.continues == 1 && !g.told.n);
    feed(&g, BYTES("ab"));
    feed(&g, BYTES("c"));
    assert_true(g.continues == 1 && g.told.n);
    reading_end(&g);
    g = reading_begin(); /* a client of 1.0 does not know of it (RFC 9110, 10.1.1) */
    feed(&g, BYTES("POST / HTTP/1.0\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n"));
    assert_int_equal(g.continues, 0);
    reading_end(&g);
}

/* ---- limits: the last that fits, and the first that does not ---- */
static int head_of(size_t header_bytes, unsigned headers, size_t target_bytes) {
    struct buf b = {0};
    buf_str(&b, "GET /");
    while (target_bytes-- > 1) buf_char(&b, 'a');
    buf_str(&b, " HTTP/1.1\r\nHost:h\r\n");
    for (unsigned i = 1; i < headers; i++) {
        buf_str(&b, "X:");
        for (size_t k = header_bytes / headers; k--;) buf_char(&b, 'v');
        buf_str(&b, "\r\n");
    }
    buf_str(&b, "\r\n");
    int status = status_of(buf_view(&b));
    buf_done(&b);
    return status;
}

static void limits_have_their_answers(void **state) {
    (void)state;
    assert_int_equal(head_of(0, 64, 1), 0);
    assert_int_equal(head_of(0, 65, 1), 431);
    assert_int_equal(head_of(0, 1, HTTP_HEAD_MAX - 5), 0);
    assert_int_equal(head_of(0, 1, HTTP_HEAD_MAX + 1), 414);
    assert_int_equal(head_of(HTTP_HEAD_MAX, 2, 1), 0);
    assert_int_equal(head_of(2 * HTTP_HEAD_MAX + 2, 2, 1), 431);
    for (size_t n = HTTP_BODY_MAX - 1; n <= HTTP_BODY_MAX + 1; n++)
        for (int chunked = 0; chunked < 2; chunked++) {
            struct buf b = {0};
            buf_str(&b, "POST / HTTP/1.1\r\n" HOST);
            if (chunked) buf_fmt(&b, "Transfer-Encoding: chunked\r\n\r\n%zx\r\n", n);
            else buf_fmt(&b, "Content-Length: %zu\r\n\r\n", n);
            buf_reserve(&b, n);
            memset(b.p + b.n, 'x', n);
            b.n += n;
            if (chunked) buf_str(&b, "\r\n0\r\n\r\n");
            assert_int_equal(status_of(buf_view(&b)), n > HTTP_BODY_MAX ? 413 : 0);
            buf_done(&b);
        }
}

/* ---- random requests, behind one another, cut anywhere: one reading ---- */
static void random_request(struct rng *r, struct buf *b) {
    static const char *const METHODS[] = {"GET", "POST", "PUT", "DELETE", "PATCH", "HEAD"},
                             *const TARGETS[] = {"/", "/v1/users/a%20b?x=1&y", "/a//b?#z",
                                 "/%E2%82%AC"},
                             *const HEADERS[] = {"Accept: */*\r\n",
                                 "X-Long: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\r\n",
                                 "Authorization: Bearer x.y.z\r\n", "Empty:\r\n",
                                 "Content-Type: application/json \r\n", "Idempotency-Key:\t k\r\n",
                                 "Connection: keep-alive\r\n"};
    if (rng_below(r, 6) == 0) buf_str(b, "\r\n");
    buf_fmt(b, "%s %s HTTP/1.%d\r\n" HOST, METHODS[rng_below(r, 6)], TARGETS[rng_below(r, 4)], 1);
    unsigned seen = 0;
    for (uint64_t n = rng_below(r, 4); n--;) {
        uint64_t k = rng_below(r, 7);
        if (!(seen >> k & 1)) buf_str(b, HEADERS[k]);
        seen |= 1u << k;
    }
    uint64_t body = rng_below(r, 3), n = rng_below(r, 40);
    if (body == 1) {
        buf_fmt(b, "Content-Length: %d\r\n\r\n%.*s", (int)n, (int)n,
            "0\r\n\r\nGET / HTTP/1.1\r\n\r\n{\"a\": [1,2,3]}     ");
    } else if (body == 2) {
        buf_str(b, "Transfer-Encoding: chunked\r\n\r\n");
        for (; n; n = n > 7 ? n - 7 : 0)
            buf_fmt(b, "%x\r\n%.*s\r\n", (unsigned)(n > 7 ? 7 : n), (int)(n > 7 ? 7 : n),
                "\r\n0\r\nab");
        buf_str(b, "0\r\n\r\n");
    } else {
        buf_str(b, "\r\n");
    }
}

static void requests_read_the_same_however_they_are_cut(void **state) {
    (void)state;
    struct rng r = {11};
    struct buf b = {0};
    for (int i = 0; i < 60; i++) {
        buf_reset(&b);
        for (int n = 0; n < 3; n++) random_request(&r, &b);
        /* and so do damaged ones */
        if (i % 3 == 2) b.p[rng_below(&r, b.n)] = (uint8_t)rng_next(&r);
        struct reading whole = reading_begin();
        feed(&whole, buf_view(&b));
        if (i % 3 != 2) assert_true(!whole.status && whole.told.n);
        for (size_t cut = 0; cut <= b.n; cut++) {
            struct reading two = reading_begin();
            feed(&two, bytes_of(b.p, cut));
            feed(&two, bytes_of(b.p + cut, b.n - cut));
            if (!bytes_eq(buf_view(&whole.told), buf_view(&two.told)) || whole.status != two.status)
                fail_msg("round %d, cut at %zu of %zu\n%.*s\n%.*s%d\n%.*s%d", i, cut, b.n, (int)b.n,
                    (const char *)b.p, (int)whole.told.n, (const char *)whole.told.p, whole.status,
                    (int)two.told.n, (const char *)two.told.p, two.status);
            reading_end(&two);
        }
        struct reading bytes = reading_begin();
        for (size_t at = 0; at < b.n; at++) feed(&bytes, bytes_of(b.p + at, 1));
        assert_true(
            bytes_eq(buf_view(&whole.told), buf_view(&bytes.told)) && whole.status == bytes.status);
        reading_end(&bytes);
        reading_end(&whole);
    }
    buf_done(&b);
}

/* ---- answers ---- */
static void answers_read_back(void **state) {
    (void)state;
    struct buf b = {0};
    int status;
    struct bytes body;
    size_t used;
    http_write_head(&b, 201, true, "application/json", 2, "X: y\r\n");
    buf_str(&b, "{}");
    size_t first = b.n;
    http_write_head(&b, 204, false, NULL, 0, NULL);
    assert_true(bytes_starts(buf_view(&b),
        "HTTP/1.1 201 Created\r\nContent-Type: application/json\r\nContent-Length: "
        "2\r\nX: y\r\n\r\n{}HTTP/1.1 204 No Content\r\nConn"));
    for (size_t n = 0; n < first; n++)
        assert_int_equal(http_read_response(bytes_of(b.p, n), &status, &body, &used), AGAIN);
    assert_int_equal(http_read_response(buf_view(&b), &status, &body, &used), OK);
    assert_true(status == 201 && bytes_is(body, "{}") && used == first);
    assert_int_equal(
        http_read_response(bytes_of(b.p + used, b.n - used), &status, &body, &used), OK);
    assert_true(status == 204 && body.n == 0 && first + used == b.n);
    buf_done(&b);
    static const char *const BAD[] = {"HTTP/1.1 \r\n\r\n", "HTTP/1.1 2x0 OK\r\n\r\n",
        "HTTP/2 200 OK\r\n\r\n", "HTTP/1.1 200 OK\r\nContent-Length: 18446744073709551615\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999999\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 2 2\r\n\r\nab"};
    for (size_t i = 0; i < sizeof BAD / sizeof *BAD; i++)
        if (http_read_response(bytes_str(BAD[i]), &status, &body, &used) != MALFORMED)
            fail_msg("taken: %s", BAD[i]);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_targets),
        cmocka_unit_test(framing_has_one_reading),
        cmocka_unit_test(connections_are_kept_as_told),
        cmocka_unit_test(waits_to_be_told_to_go_on),
        cmocka_unit_test(limits_have_their_answers),
        cmocka_unit_test(requests_read_the_same_however_they_are_cut),
        cmocka_unit_test(answers_read_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
