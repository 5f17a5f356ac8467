/* drive: a device that speaks Socket.IO, protocol 5 over Engine.IO 4, over WebSocket only: it says
 * its password as the token of its handshake, is ready when the server has taken it into the main
 * namespace, answers pings, and hands on events. Nothing here sends events. Frames are masked, as a
 * client's must be, by zeros, as in web.c.
 *
 *   server  0{"sid":...}            Engine.IO: open
 *   client  40{"token":"..."}       Socket.IO: CONNECT
 *   server  40{"sid":...}  | 44...  connected | refused
 *   server  42["name",{...}]        an event
 *   server  2      client  3        ping, pong
 * SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "drive/drive_in.h"

enum { TEXT = 0x81, MASKED = 0x80, REFUSED_BY_PEER = 0x87 };

void socketio_ask(struct device *d) {
    buf_fmt(&d->out,
        "GET /socket.io/?EIO=4&transport=websocket HTTP/1.1\r\nHost: %s\r\nConnection: Upgrade\r\n"
        "Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: "
        "dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
        d->fleet->address);
}

static void text_send(struct device *d, struct bytes text) {
    size_t at = d->out.n;
    websocket_write_head(&d->out, WEBSOCKET_TEXT, text.n);
    d->out.p[at + 1] |= MASKED;
    buf_add(&d->out, "\0\0\0", 4);
    buf_bytes(&d->out, text);
    device_dirty(d);
}

static void connect_send(struct device *d) {
    struct buf said = {0};
    buf_fmt(&said, "40{\"token\":\"%.*s\"}", (int)d->password.n,
        d->password.n ? (const char *)d->password.p : "");
    text_send(d, buf_view(&said));
    buf_done(&said);
}

static void packet_take(struct device *d, struct bytes p) {
    if (bytes_starts(p, "42")) {
        if (d->fleet->event) d->fleet->event(d, bytes_of(p.p + 2, p.n - 2));
    } else if (bytes_is(p, "2")) {
        text_send(d, BYTES("3"));
    } else if (bytes_starts(p, "0")) {
        connect_send(d);
    } else if (bytes_starts(p, "40")) {
        if (d->state == DEVICE_CONNECTING) device_ready(d, false);
    } else if (bytes_starts(p, "4")) {
        device_refused(d, REFUSED_BY_PEER, p);
    }
}

/* One frame from *at on; the server's are whole messages of text. */
static enum err frame_take(struct device *d, struct bytes in, size_t *at) {
    const uint8_t *p = in.p + *at;
    size_t have = in.n - *at, size = 2;
    if (have < size) return AGAIN;
    uint64_t n = p[1] & 0x7f;
    size += n == 126 ? 2 : n == 127 ? 8 : 0;
    if (have < size) return AGAIN;
    if (size > 2) n = 0;
    for (size_t i = 2; i < size; i++) n = n << 8 | p[i];
    if (p[0] != TEXT || (p[1] & MASKED)) return MALFORMED;
    if (have - size < n) return AGAIN;
    packet_take(d, bytes_of(p + size, (size_t)n));
    *at += size + (size_t)n;
    return OK;
}

enum err socketio_take(struct device *d, struct bytes in, size_t *at) {
    enum err e = OK;
    if (!d->web.open) {
        const uint8_t *end = in.n ? memmem(in.p, in.n, "\r\n\r\n", 4) : NULL;
        if (!end) return AGAIN;
        if (!bytes_starts(in, "HTTP/1.1 101 ")) return MALFORMED;
        *at = (size_t)(end - in.p) + 4;
        d->web.open = true;
    }
    while (e == OK && d->state < DEVICE_GONE) e = frame_take(d, in, at);
    return e;
}
