/* wire: WebSocket (RFC 6455), the server's side, on wslay's frames, included here only: wslay reads
 * and unmasks one frame; what goes across frames (messages, control frames between their parts,
 * UTF-8, closing) is here.
 *
 * Keeps: an idle connection costs its struct and no more. A frame context of wslay is 4 KiB, so one
 * lives for one call only; a frame whose end is still to come goes on, in the next call, as a frame
 * of what is left of it, under its mask turned by what was read:
 *
 *   81 fe 01 00 [m0 m1 m2 m3] + 5 bytes of 256   ->   81 fe 00 fb [m1 m2 m3 m0] + 251 bytes
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include <string.h>
#include <wslay/wslay.h>

#include "wire/wire.h"

#define MAGIC "258EAFA5-E914-47DA-95CA-C5AB0DC85B11" /* RFC 6455, 1.3 */

enum { FIN = 0x80, MASKED = 0x80, RESERVED = 0x70, LENGTH_16 = 126, LENGTH_64 = 127 };
enum { OP_CONTINUE = 0, OP_CLOSE = 8, OP_PING = 9, OP_PONG = 10 };
enum { KEY_CHARS = 24, KEY_BYTES = 16, ACCEPT_CHARS = 28 };

void websocket_init(struct websocket *w, uint64_t message_max, bool takes_text) {
    *w = (struct websocket){.message_max = message_max, .takes_text = takes_text};
}

void websocket_done(struct websocket *w) { buf_done(&w->control); }

static enum err fail(struct websocket *w, uint16_t code) {
    w->close = code;
    return MALFORMED;
}

/* ---- the head of a frame ---- */
static unsigned length_size(const struct websocket *w) {
    uint8_t length = w->head[1] & 0x7f;
    return length == LENGTH_16 ? 2 : length == LENGTH_64 ? 8 : 0;
}
static unsigned head_size(const struct websocket *w) {
    if (w->head_n < 2) return 2;
    return 2 + length_size(w) + ((w->head[1] & MASKED) ? 4 : 0);
}
static bool is_control(const struct websocket *w) { return w->head[0] & 0x08; }

static uint64_t length_of(const struct websocket *w) {
    uint64_t n = 0;
    if (!length_size(w)) return w->head[1] & 0x7f;
    for (unsigned i = 0; i < length_size(w); i++) n = n << 8 | w->head[2 + i];
    return n;
}

static void put_length(uint8_t *head, unsigned *at, uint64_t n) {
    unsigned size = n < LENGTH_16 ? 0 : n <= UINT16_MAX ? 2 : 8;
    head[1] = (uint8_t)(size == 0 ? n : size == 2 ? LENGTH_16 : LENGTH_64);
    for (unsigned i = 0; i < size; i++) head[2 + i] = (uint8_t)(n >> (8 * (size - 1 - i)));
    *at = 2 + size;
}

static enum err control_begin(struct websocket *w, uint8_t opcode) {
    if (opcode > OP_PONG || !(w->head[0] & FIN) || w->left > WEBSOCKET_CONTROL_MAX)
        return fail(w, WEBSOCKET_PROTOCOL);
    return OK;
}

static enum err data_begin(struct websocket *w, uint8_t opcode) {
    bool goes_on = opcode == OP_CONTINUE;
    if (opcode > WEBSOCKET_BINARY || goes_on != w->in_message) return fail(w, WEBSOCKET_PROTOCOL);
    if (opcode == WEBSOCKET_TEXT && !w->takes_text) return fail(w, WEBSOCKET_UNSUPPORTED);
    if (!goes_on) {
        w->kind = opcode;
        w->message = 0;
        w->in_message = true;
    }
    if (w->message_max && w->left > w->message_max - w->message) return fail(w, WEBSOCKET_TOO_BIG);
    w->message += w->left;
    return OK;
}

/* Its head is whole. */
static enum err frame_begin(struct websocket *w) {
    uint8_t opcode = w->head[0] & 0x0f;
    w->left = length_of(w);
    if ((w->head[0] & RESERVED) || !(w->head[1] & MASKED) || w->left > INT64_MAX)
        return fail(w, WEBSOCKET_PROTOCOL);
    w->in_frame = true;
    return is_control(w) ? control_begin(w, opcode) : data_begin(w, opcode);
}

/* ---- payload ---- */
/* The head and some payload, as wslay asks for them. */
struct feed {
    struct bytes parts[2];
};
static ssize_t feed_give(uint8_t *to, size_t room, int flags, void *arg) {
    (void)flags;
    struct feed *f = arg;
    struct bytes *from = f->parts[0].n ? &f->parts[0] : &f->parts[1];
    size_t n = from->n < room ? from->n : room;
    if (!n) return -1; /* nothing for now */
    memcpy(to, from->p, n);
    *from = bytes_of(from->p + n, from->n - n);
    return (ssize_t)n;
}

/* Takes in.n bytes of the frame's payload, unmasked, to *out. false: wslay finds the frame wrong. */
static bool frame_take(struct websocket *w, struct bytes in, struct buf *out) {
    static const struct wslay_frame_callbacks CALLS = {.recv_callback = feed_give};
    struct feed feed = {{bytes_of(w->head, w->head_n), in}};
    struct wslay_frame_iocb part;
    wslay_frame_context_ptr frame;
    size_t got = 0;
    check(wslay_frame_context_init(&frame, &CALLS, &feed) == 0);
    ssize_t n = 0;
    do {
        n = wslay_frame_recv(frame, &part);
        if (n > 0) buf_add(out, part.data, (size_t)n);
        if (n > 0) got += (size_t)n;
    } while (n > 0 && got < in.n);
    wslay_frame_context_free(frame);
    return got == in.n && (n >= 0 || n == WSLAY_ERR_WANT_READ);
}

/* The head becomes that of a frame of what is left, see above. */
static void head_turn(struct websocket *w, size_t taken) {
    uint8_t mask[4];
    unsigned at;
    memcpy(mask, w->head + w->head_n - 4, 4);
    w->left -= taken;
    put_length(w->head, &at, w->left);
    w->head[1] |= MASKED;
    for (unsigned i = 0; i < 4; i++) w->head[at + i] = mask[(i + taken) & 3];
    w->head_n = (uint8_t)(at + 4);
}

/* ---- UTF-8 that comes in pieces (RFC 3629, 4) ---- */
static bool utf8_lead(struct websocket *w, uint8_t c) {
    w->low = c == 0xe0 ? 0xa0 : c == 0xf0 ? 0x90 : 0x80;
    w->high = c == 0xed ? 0x9f : c == 0xf4 ? 0x8f : 0xbf;
    w->need = c < 0x80 ? 0 : c < 0xe0 ? 1 : c < 0xf0 ? 2 : 3;
    return c < 0x80 || (c >= 0xc2 && c <= 0xf4);
}

static bool utf8_goes_on(struct websocket *w, struct bytes v) {
    for (size_t i = 0; i < v.n; i++) {
        uint8_t c = v.p[i];
        if (!w->need) {
            if (c >= 0x80 && !utf8_lead(w, c)) return false;
            continue;
        }
        if (c < w->low || c > w->high) return false;
        w->low = 0x80;
        w->high = 0xbf;
        w->need--;
    }
    return true;
}

/* ---- ends of frames ---- */
static bool code_is_valid(uint16_t code) { /* RFC 6455, 7.4, and IANA's registry */
    return (code >= 1000 && code <= 1003) || (code >= 1007 && code <= 1014) ||
           (code >= 3000 && code <= 4999);
}

static enum err close_take(struct websocket *w) {
    struct bytes v = buf_view(&w->control);
    uint16_t code = WEBSOCKET_NO_CODE;
    if (v.n == 1) return fail(w, WEBSOCKET_PROTOCOL);
    if (v.n) {
        code = (uint16_t)(v.p[0] << 8 | v.p[1]);
        if (!code_is_valid(code)) return fail(w, WEBSOCKET_PROTOCOL);
        if (!utf8_valid(bytes_of(v.p + 2, v.n - 2))) return fail(w, WEBSOCKET_INVALID);
    }
    w->close = code;
    return STALE;
}

static void write_head(struct buf *b, uint8_t opcode, uint64_t n) {
    uint8_t head[WEBSOCKET_HEAD_MAX];
    unsigned size;
    head[0] = FIN | opcode;
    put_length(head, &size, n);
    buf_add(b, head, size);
}

static enum err control_end(struct websocket *w, struct buf *replies) {
    uint8_t opcode = w->head[0] & 0x0f;
    enum err e = AGAIN;
    if (opcode == OP_CLOSE) {
        e = close_take(w);
    } else if (opcode == OP_PING) {
        write_head(replies, OP_PONG, w->control.n);
        buf_bytes(replies, buf_view(&w->control));
    }
    buf_done(&w->control);
    return e;
}

/* OK: a message is whole; AGAIN: the next frame. */
static enum err frame_end(struct websocket *w, struct buf *replies) {
    w->in_frame = false;
    w->head_n = 0;
    if (is_control(w)) return control_end(w, replies);
    if (!(w->head[0] & FIN)) return AGAIN;
    w->in_message = false;
    return w->kind == WEBSOCKET_TEXT && w->need ? fail(w, WEBSOCKET_INVALID) : OK;
}

static enum err payload_take(struct websocket *w, struct bytes in, struct buf *payload) {
    struct buf *to = is_control(w) ? &w->control : payload;
    size_t before = to->n;
    if (!frame_take(w, in, to)) return fail(w, WEBSOCKET_PROTOCOL);
    if (!is_control(w) && w->kind == WEBSOCKET_TEXT &&
        !utf8_goes_on(w, bytes_of(to->p + before, to->n - before)))
        return fail(w, WEBSOCKET_INVALID);
    head_turn(w, in.n);
    return OK;
}

enum err websocket_read(
    struct websocket *w, struct bytes in, size_t *used, struct buf *payload, struct buf *replies) {
    size_t at = *used = 0;
    check(!w->close);
    for (enum err e = AGAIN; e == AGAIN;) {
        if (!w->in_frame) {
            while (at < in.n && w->head_n < head_size(w)) w->head[w->head_n++] = in.p[at++];
            *used = at;
            if (w->head_n < head_size(w)) return AGAIN;
            if ((e = frame_begin(w)) != OK) return e;
        }
        size_t n = w->left < in.n - at ? (size_t)w->left : in.n - at;
        if ((n || !w->left) && (e = payload_take(w, bytes_of(in.p + at, n), payload)) != OK)
            return e;
        *used = at += n;
        if (w->left) return AGAIN;
        if ((e = frame_end(w, replies)) != AGAIN) return e;
    }
    return AGAIN;
}

/* ---- writing ---- */
void websocket_write_head(struct buf *b, uint8_t kind, uint64_t n) { write_head(b, kind, n); }

void websocket_write_close(struct buf *b, uint16_t code) {
    bool says = code != WEBSOCKET_NO_CODE;
    write_head(b, OP_CLOSE, says ? 2 : 0);
    if (!says) return;
    buf_char(b, (char)(code >> 8));
    buf_char(b, (char)(code & 0xff));
}

/* ---- the handshake ---- */
static bool key_is_valid(struct bytes key) {
    struct buf raw = {0};
    bool ok = key.n == KEY_CHARS && base64url_decode(&raw, key) == OK && raw.n == KEY_BYTES;
    buf_done(&raw);
    return ok;
}

static void accept_write(struct buf *lines, struct bytes key) {
    struct buf text = {0}, accept = {0};
    uint8_t hash[20];
    buf_bytes(&text, key);
    buf_str(&text, MAGIC);
    sha1(buf_view(&text), hash);
    base64url_encode(&accept, bytes_of(hash, sizeof hash));
    for (size_t i = 0; i < accept.n; i++) /* the handshake has the older alphabet, and padding */
        accept.p[i] = accept.p[i] == '-' ? '+' : accept.p[i] == '_' ? '/' : accept.p[i];
    buf_char(&accept, '=');
    check(accept.n == ACCEPT_CHARS);
    buf_fmt(lines, "Sec-WebSocket-Accept: %.*s\r\n", (int)accept.n, (char *)accept.p);
    buf_done(&text);
    buf_done(&accept);
}

int websocket_upgrade(const struct http_request *q, const char *protocol, struct buf *lines) {
    if (!q->wants_websocket || !bytes_is(q->websocket_version, "13")) {
        buf_str(lines, "Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n");
        return 426;
    }
    if (!key_is_valid(q->websocket_key)) {
        buf_str(lines, "'Sec-WebSocket-Key' must be 16 bytes in base64 (RFC 6455, 4.1)");
        return 400;
    }
    if (q->body.n) {
        buf_str(lines, "a request for an upgrade has no body");
        return 400;
    }
    if (!http_list_has(q->websocket_protocols, protocol)) {
        buf_fmt(lines, "'Sec-WebSocket-Protocol' must offer '%s'", protocol);
        return 400;
    }
    buf_str(lines, "Upgrade: websocket\r\nConnection: Upgrade\r\n");
    accept_write(lines, q->websocket_key);
    buf_fmt(lines, "Sec-WebSocket-Protocol: %s\r\n", protocol);
    return 101;
}
