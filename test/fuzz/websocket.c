/* fuzz: WebSocket: frames that come whole and cut in pieces are read the same; nothing is made of
 * more than came; text is UTF-8; replies are whole control frames. The first byte says how the rest
 * is cut, its high bit that text is taken. SPDX-License-Identifier: Apache-2.0 */
#include "fuzz.h"

#include <string.h>

#include "wire/wire.h"

enum { MESSAGE_MAX = 4096, FIRST_PIECE = 127, TAKES_TEXT = 0x80 };

static void frame(struct buf *b, unsigned first, struct bytes v) {
    static const uint8_t MASK[4] = {1, 2, 0x80, 0xff};
    buf_char(b, (char)first);
    buf_char(b, (char)(0x80 | (v.n < 126 ? v.n : 126)));
    if (v.n >= 126) {
        buf_char(b, (char)(v.n >> 8));
        buf_char(b, (char)v.n);
    }
    buf_add(b, MASK, 4);
    for (size_t i = 0; i < v.n; i++) buf_char(b, (char)(v.p[i] ^ MASK[i & 3]));
}

void fuzz_seeds(void (*give)(void *arg, struct bytes seed), void *arg) {
    static const uint8_t LONG[300] = {'x'};
    struct buf b = {0};
    buf_char(&b, (char)(TAKES_TEXT | 3));
    frame(&b, 0x01, BYTES("caf\xc3"));
    frame(&b, 0x89, BYTES("ping"));
    frame(&b, 0x80, BYTES("\xa9"));
    frame(&b, 0x88, BYTES("\x03\xe8 bye"));
    give(arg, buf_view(&b));
    buf_reset(&b);
    buf_char(&b, 7);
    frame(&b, 0x02, bytes_of(LONG, sizeof LONG));
    frame(&b, 0x8a, BYTES(""));
    frame(&b, 0x80, BYTES("end"));
    frame(&b, 0x82, BYTES(""));
    frame(&b, 0x88, BYTES(""));
    give(arg, buf_view(&b));
    buf_reset(&b);
    buf_str(&b, "\x05\x82\xff");
    give(arg, buf_view(&b));
    buf_done(&b);
}

/* Replies are pongs, one after the other. */
static void replies_check(struct bytes v) {
    while (v.n) {
        check(v.n >= 2 && v.p[0] == 0x8a && v.p[1] <= WEBSOCKET_CONTROL_MAX && v.n >= 2u + v.p[1]);
        v = bytes_of(v.p + 2 + v.p[1], v.n - 2 - v.p[1]);
    }
}

static uint64_t read_all(struct bytes in, size_t piece, bool takes_text) {
    struct websocket w;
    struct buf payload = {0}, replies = {0};
    uint64_t h = 0;
    size_t total = 0, whole = 0; /* payload of whole messages: `payload` up to `whole` */
    enum err e = AGAIN;
    websocket_init(&w, MESSAGE_MAX, takes_text);
    for (size_t at = 0, end = 0; end < in.n && e <= AGAIN;) {
        end = end + piece < in.n ? end + piece : in.n;
        while (at < end && e <= AGAIN) {
            size_t used = SIZE_MAX;
            e = websocket_read(&w, bytes_of(in.p + at, end - at), &used, &payload, &replies);
            check(used <= end - at && (e != AGAIN || used == end - at));
            check(e == OK || e == AGAIN || e == STALE || e == MALFORMED);
            check((e == STALE || e == MALFORMED) == (w.close != 0));
            check(payload.n - whole <= MESSAGE_MAX && w.control.n <= WEBSOCKET_CONTROL_MAX);
            at += used;
            if (e != OK) continue;
            struct bytes message = bytes_of(payload.p + whole, payload.n - whole);
            if (w.kind == WEBSOCKET_TEXT)
                check(takes_text && utf8_valid(message.n ? message : (struct bytes){0}));
            h = (h ^ hash64(message)) * 0x9e3779b97f4a7c15u + w.kind;
            total += message.n;
            whole = payload.n;
        }
    }
    check(total <= in.n);
    replies_check(buf_view(&replies));
    h = (h ^ hash64(buf_view(&replies))) * 0x9e3779b97f4a7c15u + w.close;
    buf_done(&payload);
    buf_done(&replies);
    websocket_done(&w);
    return h;
}

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n) {
    if (!n) return 0;
    struct bytes in = bytes_of(p + 1, n - 1);
    bool takes_text = p[0] & TAKES_TEXT;
    uint64_t whole = read_all(in, in.n + 1, takes_text);
    check(read_all(in, 1, takes_text) == whole);
    check(read_all(in, 1u + (p[0] & FIRST_PIECE), takes_text) == whole);
    return 0;
}
