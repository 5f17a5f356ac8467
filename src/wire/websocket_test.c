/* wire: WebSocket frames by RFC 6455: messages in parts, control frames between them, what breaks
 * the rules and the code it gets, UTF-8 in pieces, lengths, limits, the handshake.
 * SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "wire/wire.h"

enum { TEXT = 1, BINARY = 2, CONTINUE = 0, CLOSE = 8, PING = 9, PONG = 10, FIN = 0x80 };

/* One masked frame, as a client sends it. */
static void frame(struct buf *b, unsigned first, struct bytes payload) {
    static const uint8_t MASK[4] = {0x37, 0xfa, 0x21, 0x3d};
    buf_char(b, (char)first);
    if (payload.n < 126) {
        buf_char(b, (char)(0x80 | payload.n));
    } else if (payload.n <= UINT16_MAX) {
        buf_char(b, (char)(0x80 | 126));
        for (int i = 1; i >= 0; i--) buf_char(b, (char)(payload.n >> (8 * i)));
    } else {
        buf_char(b, (char)(0x80 | 127));
        for (int i = 7; i >= 0; i--) buf_char(b, (char)((uint64_t)payload.n >> (8 * i)));
    }
    buf_add(b, MASK, 4);
    for (size_t i = 0; i < payload.n; i++) buf_char(b, (char)(payload.p[i] ^ MASK[i & 3]));
}

/* What was made of some bytes, given `piece` at a time: a line for each message, the payload of one
 * that is not whole, the replies, the code. */
static void told(struct bytes in, size_t piece, uint64_t max, bool takes_text, struct buf *out) {
    struct websocket w;
    struct buf payload = {0}, replies = {0};
    enum err e = AGAIN;
    websocket_init(&w, max, takes_text);
    for (size_t at = 0, end = 0; end < in.n && (e == OK || e == AGAIN);) {
        end = end + piece < in.n ? end + piece : in.n;
        while (at < end && (e == OK || e == AGAIN)) {
            size_t used = SIZE_MAX;
            e = websocket_read(&w, bytes_of(in.p + at, end - at), &used, &payload, &replies);
            assert_true(used <= end - at);
            at += used;
            if (e == AGAIN) assert_int_equal(at, end);
            if (e != OK) continue;
            buf_fmt(out, "%s[%.*s] ", w.kind == WEBSOCKET_TEXT ? "text" : "binary", (int)payload.n,
                payload.p ? (char *)payload.p : "");
            buf_reset(&payload);
        }
    }
    if (payload.n && !w.close) buf_fmt(out, "part[%.*s] ", (int)payload.n, (char *)payload.p);
    for (size_t i = 0; i < replies.n; i++) buf_fmt(out, "%02x", replies.p[i]);
    if (w.close) buf_fmt(out, "%s%u", e == STALE ? " closed " : " broken ", w.close);
    buf_char(out, 0);
    buf_done(&payload);
    buf_done(&replies);
    websocket_done(&w);
}

static void expect(struct buf *in, uint64_t max, bool takes_text, const char *want) {
    struct buf out = {0};
    for (size_t piece = 1; piece <= in->n; piece = piece < 40 ? piece + 1 : in->n * 2) {
        buf_reset(&out);
        told(buf_view(in), piece, max, takes_text, &out);
        assert_string_equal((char *)out.p, want);
    }
    buf_done(&out);
    buf_done(in);
}

static void messages_come_whole_and_in_parts(void **state) {
    (void)state;
    struct buf b = {0};
    frame(&b, FIN | BINARY, BYTES("one"));
    frame(&b, FIN | BINARY, BYTES(""));
    frame(&b, TEXT, BYTES("Hel"));
    frame(&b, CONTINUE, BYTES(""));
    frame(&b, FIN | CONTINUE, BYTES("lo"));
    expect(&b, 0, true, "binary[one] binary[] text[Hello] ");
    frame(&b, BINARY, BYTES("par"));
    expect(&b, 0, true, "part[par] ");
}

static void pings_are_answered_between_parts(void **state) {
    (void)state;
    struct buf b = {0};
    frame(&b, BINARY, BYTES("a"));
    frame(&b, FIN | PING, BYTES("hi"));
    frame(&b, FIN | PONG, BYTES("unasked"));
    frame(&b, FIN | PING, BYTES(""));
    frame(&b, FIN | CONTINUE, BYTES("b"));
    expect(&b, 0, false,
        "binary[ab] 8a026869"
        "8a00");
}

static void closing_echoes_the_code(void **state) {
    (void)state;
    struct buf b = {0};
    frame(&b, FIN | CLOSE, BYTES("\x03\xe8 bye"));
    frame(&b, FIN | BINARY, BYTES("never read"));
    expect(&b, 0, false, " closed 1000");
    frame(&b, FIN | CLOSE, BYTES(""));
    expect(&b, 0, false, " closed 1005");
    frame(&b, FIN | CLOSE, BYTES("\x0f\xa0"));
    expect(&b, 0, false, " closed 4000");
}

static void what_breaks_the_rules_is_named(void **state) {
    (void)state;
    static char big[126];
    struct bytes empty = BYTES(""), x = BYTES("x");
    const struct {
        unsigned first;
        struct bytes payload;
        const char *want;
    } CASES[] = {{FIN | 0x40 | BINARY, x, " broken 1002"}, {FIN | 0x20 | PING, x, " broken 1002"},
        {FIN | 0x10 | BINARY, empty, " broken 1002"}, {FIN | 3, x, " broken 1002"},
        {FIN | 7, empty, " broken 1002"}, {FIN | 11, x, " broken 1002"},
        {FIN | 15, empty, " broken 1002"}, {FIN | CONTINUE, x, " broken 1002"},
        {CONTINUE, x, " broken 1002"}, {PING, x, " broken 1002"},
        {FIN | PING, bytes_of(big, 126), " broken 1002"},
        {FIN | CLOSE, bytes_of(big, 126), " broken 1002"}, {FIN | CLOSE, x, " broken 1002"},
        {FIN | CLOSE, BYTES("\x03\xe7"), " broken 1002"},
        {FIN | CLOSE, BYTES("\x03\xed"), " broken 1002"},
        {FIN | CLOSE, BYTES("\x03\xf8"), " broken 1002"},
        {FIN | CLOSE, BYTES("\x0b\xb7"), " broken 1002"},
        {FIN | CLOSE, BYTES("\xff\xff"), " broken 1002"},
        {FIN | CLOSE, BYTES("\x03\xe8\xce\xba\xff"), " broken 1007"},
        {FIN | TEXT, x, " broken 1003"}};
    for (size_t i = 0; i < sizeof CASES / sizeof *CASES; i++) {
        struct buf b = {0};
        frame(&b, CASES[i].first, CASES[i].payload);
        expect(&b, 0, false, CASES[i].want);
    }
    struct buf b = {0};
    frame(&b, BINARY, x);
    frame(&b, FIN | BINARY, x); /* a new message inside of one */
    expect(&b, 0, false, " broken 1002");
    buf_add(&b, "\x82\x01x", 3); /* not masked */
    expect(&b, 0, false, " broken 1002");
    buf_add(&b,
        "\x82\xfe\x00\x01"
        "0000x",
        9); /* a length that is longer than it need be */
    expect(&b, 0, false, " broken 1002");
    buf_add(&b,
        "\x82\xff\x80\0\0\0\0\0\0\0"
        "0000x",
        15); /* or above what there can be */
    expect(&b, 0, false, " broken 1002");
}

static void text_must_be_utf8(void **state) {
    (void)state;
    static const char *const GOOD[] = {"\xce\xba\xe1\xbd\xb9\xcf\x83\xce\xbc\xce\xb5",
        "\xf4\x8f\xbf\xbf", "\xed\x9f\xbf\xee\x80\x80", "\xf0\x90\x80\x80", ""};
    static const char *const BAD[] = {"\xce\xba\xed\xa0\x80x", "\xc0\xaf", "\xf4\x90\x80\x80",
        "\x80", "\xe0\x80\xaf", "\xf8\x88\x80\x80\x80", "\xff", "\xce"};
    for (size_t i = 0; i < sizeof GOOD / sizeof *GOOD; i++) {
        struct buf b = {0};
        char want[40];
        frame(&b, TEXT, bytes_of(GOOD[i], strlen(GOOD[i]) / 2)); /* may cut a character */
        frame(&b, FIN | CONTINUE, bytes_str(GOOD[i] + strlen(GOOD[i]) / 2));
        snprintf(want, sizeof want, "text[%s] ", GOOD[i]);
        expect(&b, 0, true, want);
    }
    for (size_t i = 0; i < sizeof BAD / sizeof *BAD; i++) {
        struct buf b = {0};
        frame(&b, FIN | TEXT, bytes_str(BAD[i]));
        expect(&b, 0, true, " broken 1007");
    }
    struct buf b = {0}; /* said at the first wrong byte, not at the end of the message */
    frame(&b, TEXT, BYTES("\xf4\x90"));
    expect(&b, 0, true, " broken 1007");
}

static void limits_count_the_whole_message(void **state) {
    (void)state;
    struct buf b = {0};
    frame(&b, BINARY, BYTES("12345"));
    frame(&b, FIN | CONTINUE, BYTES("678"));
    expect(&b, 8, false, "binary[12345678] ");
    frame(&b, BINARY, BYTES("12345"));
    frame(&b, FIN | CONTINUE, BYTES("6789"));
    expect(&b, 8, false, " broken 1009");
    buf_add(&b,
        "\x82\xff\0\0\0\1\0\0\0\0"
        "0000",
        14); /* refused by what it says; nothing is made for it */
    expect(&b, 1 << 20, false, " broken 1009");
}

/* Each size at which the head changes, and cuts inside of the payload that turn the mask. */
static void long_frames_are_read_in_pieces(void **state) {
    (void)state;
    static uint8_t data[70000];
    static const size_t SIZES[] = {125, 126, 127, 4095, 4096, 4097, 65535, 65536, 70000};
    for (size_t i = 0; i < sizeof data; i++) data[i] = (uint8_t)(i * 7 + i / 256);
    for (size_t i = 0; i < sizeof SIZES / sizeof *SIZES; i++) {
        struct buf in = {0}, payload = {0}, replies = {0};
        struct websocket w;
        frame(&in, FIN | BINARY, bytes_of(data, SIZES[i]));
        websocket_init(&w, 0, false);
        size_t used, step = 1 + i * 37;
        enum err e = AGAIN;
        for (size_t at = 0; at < in.n; at += used) {
            size_t n = at + step < in.n ? step : in.n - at;
            e = websocket_read(&w, bytes_of(in.p + at, n), &used, &payload, &replies);
            assert_int_equal(used, n);
        }
        assert_int_equal(e, OK);
        assert_int_equal(payload.n, SIZES[i]);
        assert_memory_equal(payload.p, data, SIZES[i]);
        buf_done(&in);
        buf_done(&payload);
        websocket_done(&w);
    }
}

static void frames_are_written(void **state) {
    (void)state;
    struct buf b = {0};
    websocket_write_head(&b, WEBSOCKET_BINARY, 125);
    websocket_write_head(&b, WEBSOCKET_TEXT, 126);
    websocket_write_head(&b, WEBSOCKET_BINARY, 65536);
    websocket_write_close(&b, WEBSOCKET_GOING_AWAY);
    websocket_write_close(&b, WEBSOCKET_NO_CODE);
    assert_int_equal(b.n, 2 + 4 + 10 + 4 + 2);
    assert_memory_equal(b.p,
        "\x82\x7d"
        "\x81\x7e\x00\x7e"
        "\x82\x7f\0\0\0\0\0\1\0\0"
        "\x88\x02\x03\xe9"
        "\x88\x00",
        b.n);
    buf_done(&b);
}

static int upgrade(struct http_request q, struct buf *lines) {
    buf_reset(lines);
    int status = websocket_upgrade(&q, "mqtt", lines);
    buf_char(lines, 0);
    return status;
}

static void the_handshake_is_by_the_book(void **state) {
    (void)state;
    struct buf lines = {0};
    struct http_request q = {.wants_websocket = true,
        .websocket_key = BYTES("dGhlIHNhbXBsZSBub25jZQ=="), /* RFC 6455, 1.3 */
        .websocket_version = BYTES("13"),
        .websocket_protocols = BYTES("chat, mqtt")};
    assert_int_equal(upgrade(q, &lines), 101);
    assert_string_equal((char *)lines.p,
        "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: "
        "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\nSec-WebSocket-Protocol: mqtt\r\n");
    struct http_request other = q;
    other.websocket_version = BYTES("8");
    assert_int_equal(upgrade(other, &lines), 426);
    assert_non_null(strstr((char *)lines.p, "Sec-WebSocket-Version: 13\r\n"));
    other = q;
    other.wants_websocket = false;
    assert_int_equal(upgrade(other, &lines), 426);
    static const char *const KEYS[] = {"", "dGhlIHNhbXBsZSBub25jZQ=", "dGhlIHNhbXBsZSBub25jZQ",
        "dGhlIHNhbXBsZSBub25jZVhY", "!GhlIHNhbXBsZSBub25jZQ=="};
    for (size_t i = 0; i < sizeof KEYS / sizeof *KEYS; i++) {
        other = q;
        other.websocket_key = bytes_str(KEYS[i]);
        assert_int_equal(upgrade(other, &lines), 400);
    }
    other = q;
    other.websocket_protocols = BYTES("mqttv3.1, xmqtt");
    assert_int_equal(upgrade(other, &lines), 400);
    other = q;
    other.body = BYTES("x");
    assert_int_equal(upgrade(other, &lines), 400);
    buf_done(&lines);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(messages_come_whole_and_in_parts),
        cmocka_unit_test(pings_are_answered_between_parts),
        cmocka_unit_test(closing_echoes_the_code),
        cmocka_unit_test(what_breaks_the_rules_is_named),
        cmocka_unit_test(text_must_be_utf8),
        cmocka_unit_test(limits_count_the_whole_message),
        cmocka_unit_test(long_frames_are_read_in_pieces),
        cmocka_unit_test(frames_are_written),
        cmocka_unit_test(the_handshake_is_by_the_book),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
