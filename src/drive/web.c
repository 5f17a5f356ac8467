/* drive: MQTT over WebSocket (RFC 6455), a client's side. Its frames are masked, as they must be, by
 * zeros: the server's work is the same, and ours is none. SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "drive/drive.h"

enum { BINARY = 0x82, CLOSE = 0x88, MASKED = 0x80, HEAD_MAX = 14, MASK = 4 };

void web_ask(struct web *w, struct buf *out, const char *host) {
    buf_fmt(out,
        "GET /mqtt HTTP/1.1\r\nHost: %s\r\nConnection: Upgrade\r\nUpgrade: "
        "websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: "
        "dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: mqtt\r\n\r\n",
        host);
    w->framed = out->n;
}

void web_frame(struct web *w, struct buf *out) {
    size_t n = out->n - w->framed;
    struct buf head = {0};
    if (!n) return;
    websocket_write_head(&head, WEBSOCKET_BINARY, n);
    head.p[1] |= MASKED;
    buf_add(&head, "\0\0\0", MASK);
    buf_reserve(out, head.n);
    memmove(out->p + w->framed + head.n, out->p + w->framed, n);
    memcpy(out->p + w->framed, head.p, head.n);
    out->n += head.n;
    w->framed = out->n;
    buf_done(&head);
}

/* One frame from the front; AGAIN: it is not whole. */
static enum err frame_take(struct web *w, size_t *at, struct buf *out) {
    const uint8_t *p = w->in.p + *at;
    size_t have = w->in.n - *at, size = 2;
    if (have < size) return AGAIN;
    uint64_t n = p[1] & 0x7f;
    size += n == 126 ? 2 : n == 127 ? 8 : 0;
    if (have < size) return AGAIN;
    if (size > 2) n = 0;
    for (size_t i = 2; i < size; i++) n = n << 8 | p[i];
    if (p[0] == CLOSE || (p[1] & MASKED)) return MALFORMED;
    if (have - size < n) return AGAIN;
    if (p[0] == BINARY) buf_add(out, p + size, (size_t)n);
    *at += size + (size_t)n;
    return OK;
}

enum err web_take(struct web *w, struct bytes in, struct buf *out) {
    size_t at = 0;
    enum err e = OK;
    buf_bytes(&w->in, in);
    if (!w->open) {
        const uint8_t *end = memmem(w->in.p, w->in.n, "\r\n\r\n", 4);
        if (!end) return OK;
        if (!bytes_starts(buf_view(&w->in), "HTTP/1.1 101 ")) return MALFORMED;
        at = (size_t)(end - w->in.p) + 4;
        w->open = true;
    }
    while (e == OK) e = frame_take(w, &at, out);
    buf_cut(&w->in, at);
    return e == AGAIN ? OK : e;
}

void web_done(struct web *w) {
    buf_done(&w->in);
    *w = (struct web){0};
}
