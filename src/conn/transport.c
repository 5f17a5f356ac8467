/* conn: transport: see transport.h. What is written to a WebSocket:
 *
 *   replies (the 101, pongs) | head | payload: the next bytes of c->out | replies | head | ...
 *
 * Keeps: replies go between frames, never inside of one; the close frame is the last thing. A piece
 * that was not taken is offered again with the same bytes, as TLS wants it.
 * SPDX-License-Identifier: Apache-2.0 */
#include "conn/transport.h"

#include <stdlib.h>
#include <string.h>

#include "conn/limits.h"

/* of frames: they are read as they come, so this bounds nothing but nonsense */
#define WEBSOCKET_MESSAGE_MAX (16u << 20)
#define FRAME_MAX                                                                                  \
    (32u << 10) /* payload written in one frame; with its head, less than read_buffer */

#define HANDSHAKE_FAIR_MS 1000 /* so long a handshake may take however many wait */

struct transport {
    struct tls *tls;  /* NULL: none */
    uint32_t shaking; /* its place in s->shaking, as long as it awaits its handshake */
    bool awaits_header, awaits_handshake, close_written;
    uint8_t head_n, head_at, head[WEBSOCKET_HEAD_MAX]; /* of the frame that is written */
    uint32_t frame_left;                               /* of c->out, in that frame */
    struct websocket *reading;                         /* NULL: it is no WebSocket */
    struct buf replies;
    size_t replies_at;
};

/* ---- handshakes under way ---- */
static void shaking_add(struct shard *s, struct conn *c) {
    if (!s->shaking) s->shaking = must_alloc(s->server->o.tls_handshakes_max * sizeof *s->shaking);
    check(s->shaking_count < s->server->o.tls_handshakes_max);
    c->transport->shaking = s->shaking_count;
    s->shaking[s->shaking_count++] = c;
}

static void shaking_drop(struct shard *s, struct transport *t) {
    if (!t->awaits_handshake) return;
    struct conn *last = s->shaking[--s->shaking_count];
    t->awaits_handshake = false;
    s->shaking[t->shaking] = last;
    last->transport->shaking = t->shaking;
}

bool transport_has_room(const struct shard *s, const struct door *d) {
    return !d->tls || s->shaking_count < s->server->o.tls_handshakes_max;
}

void transport_make_room(struct shard *s) {
    struct conn *oldest = s->shaking[0];
    for (uint32_t i = 1; i < s->shaking_count; i++)
        if (s->shaking[i]->since_ms < oldest->since_ms) oldest = s->shaking[i];
    if (s->mono_ms - oldest->since_ms < HANDSHAKE_FAIR_MS) return;
    measure_add(&s->measure, COUNTER_limit_handshake, 1);
    conn_close(s, oldest);
}

/* ---- coming and going ---- */
bool transport_begin(struct shard *s, struct conn *c, const struct door *d) {
    bool proxied = s->server->o.proxy_protocol && d->protocol != PROTO_CONTROL;
    if (!d->tls && !proxied) return true;
    struct transport *t = must_alloc(sizeof *t);
    if (d->tls && !(t->tls = tls_open(
                        s->server->tls, c->fd, d->protocol == PROTO_MQTT ? "mqtt" : "http/1.1"))) {
        free(t);
        return false;
    }
    t->awaits_header = proxied;
    t->awaits_handshake = d->tls;
    c->transport = t;
    if (d->tls) shaking_add(s, c);
    return true;
}

bool transport_is_ready(const struct conn *c) {
    const struct transport *t = c->transport;
    return !t || !(t->awaits_header || t->awaits_handshake);
}

bool transport_is_tls(const struct conn *c) { return c->transport && c->transport->tls; }

bool transport_is_websocket(const struct conn *c) { return c->transport && c->transport->reading; }

void transport_free(struct shard *s, struct conn *c) {
    struct transport *t = c->transport;
    if (!t) return;
    shaking_drop(s, t);
    tls_free(&t->tls);
    if (t->reading) websocket_done(t->reading);
    free(t->reading);
    buf_done(&t->replies);
    free(t);
    c->transport = NULL;
}

/* ---- the PROXY header and the handshake ---- */
/* Reads no byte beyond the header: what follows may be TLS's. */
static enum err header_take(struct shard *s, struct conn *c) {
    uint8_t room[PROXY_MAX];
    struct buf *head = &c->transport->replies; /* nothing is to be written yet */
    struct proxy p;
    size_t wants, n;
    while ((wants = proxy_wants(buf_view(head))) > 0) {
        enum err e = sock_read(c->fd, room, wants, &n);
        if (e != OK) return e;
        buf_add(head, room, n);
    }
    enum err e = proxy_decode(buf_view(head), &p, &n);
    buf_done(head);
    if (e != OK) {
        measure_add(&s->measure, COUNTER_proxy_refused, 1);
        return MALFORMED;
    }
    if (!p.local) memcpy(c->peer.ip, p.ip, sizeof c->peer.ip);
    c->transport->awaits_header = false;
    if (!c->transport->tls) transport_free(s, c);
    return limits_begin(s, c) ? OK : LIMIT;
}

static enum err shake(struct shard *s, struct transport *t) {
    int64_t began = clock_mono_ns();
    enum err e = tls_handshake(t->tls);
    s->pace.handshakes_ns += clock_mono_ns() - began;
    s->pace.handshakes += e != AGAIN;
    if (e == AGAIN) return e;
    shaking_drop(s, t);
    measure_add(&s->measure, e == OK ? COUNTER_tls_handshakes : COUNTER_tls_failed, 1);
    if (e == OK && tls_is_resumed(t->tls)) measure_add(&s->measure, COUNTER_tls_resumed, 1);
    return e;
}

enum err transport_read(struct shard *s, struct conn *c, void *p, size_t n, size_t *out_n) {
    enum err e = OK;
    if (c->transport && c->transport->awaits_header) e = header_take(s, c);
    if (e == OK && c->transport && c->transport->awaits_handshake) e = shake(s, c->transport);
    if (e != OK) return e;
    bool by_tls = c->transport && c->transport->tls;
    return by_tls ? tls_read(c->transport->tls, p, n, out_n) : sock_read(c->fd, p, n, out_n);
}

bool transport_waits_to_write(const struct conn *c) {
    return c->transport && c->transport->tls && tls_wants_write(c->transport->tls);
}

void transport_finish(const struct conn *c) {
    if (c->transport && c->transport->tls) tls_finish(c->transport->tls);
}

/* ---- writing ---- */
static bool in_frame(const struct transport *t) { return t->head_at < t->head_n || t->frame_left; }

size_t transport_replies(const struct conn *c) {
    return c->transport ? c->transport->replies.n - c->transport->replies_at : 0;
}

size_t transport_bytes(const struct conn *c) {
    const struct transport *t = c->transport;
    return t ? t->replies.cap + (t->reading ? t->reading->control.cap : 0) : 0;
}

bool transport_has_output(const struct conn *c) {
    const struct transport *t = c->transport;
    if (c->out_at < c->out.n) return true;
    return t && t->reading &&
           (transport_replies(c) || in_frame(t) || (c->closing && !t->close_written));
}

static void frame_begin(struct conn *c) {
    struct transport *t = c->transport;
    size_t n = c->out.n - c->out_at;
    uint8_t room[WEBSOCKET_HEAD_MAX];
    struct buf head = {0};
    t->frame_left = (uint32_t)(n < FRAME_MAX ? n : FRAME_MAX);
    websocket_write_head(&head, WEBSOCKET_BINARY, t->frame_left);
    check(head.n <= sizeof room);
    memcpy(t->head, head.p, head.n);
    t->head_n = (uint8_t)head.n;
    t->head_at = 0;
    buf_done(&head);
}

static uint16_t close_code(const struct shard *s, const struct transport *t) {
    return t->reading->close ? t->reading->close
           : s->draining     ? WEBSOCKET_GOING_AWAY
                             : WEBSOCKET_NORMAL;
}

/* The next bytes for the peer; empty: there are none. A frame's head and payload go together. */
static struct bytes piece_next(struct shard *s, struct conn *c) {
    struct transport *t = c->transport;
    if (!in_frame(t) && !transport_replies(c)) {
        if (c->out_at < c->out.n) {
            frame_begin(c);
        } else if (c->closing && !t->close_written) {
            websocket_write_close(&t->replies, close_code(s, t));
            t->close_written = true;
        }
    }
    if (!in_frame(t)) return bytes_of(t->replies.p + t->replies_at, transport_replies(c));
    size_t head = (size_t)(t->head_n - t->head_at);
    memcpy(s->read_buffer, t->head + t->head_at, head);
    memcpy(s->read_buffer + head, c->out.p + c->out_at, t->frame_left);
    return bytes_of(s->read_buffer, head + t->frame_left);
}

static void piece_written(struct conn *c, size_t n) {
    struct transport *t = c->transport;
    if (!in_frame(t)) {
        t->replies_at += n;
        if (transport_replies(c)) return;
        buf_done(&t->replies);
        t->replies_at = 0;
        return;
    }
    size_t head = (size_t)(t->head_n - t->head_at);
    if (head > n) head = n;
    t->head_at = (uint8_t)(t->head_at + head);
    t->frame_left -= (uint32_t)(n - head);
    c->out_at += (uint32_t)(n - head);
}

enum err transport_write(struct shard *s, struct conn *c, size_t *out_n) {
    struct transport *t = c->transport;
    bool framed = t && t->reading;
    struct bytes v =
        framed ? piece_next(s, c) : bytes_of(c->out.p + c->out_at, c->out.n - c->out_at);
    enum err e =
        t && t->tls ? tls_write(t->tls, v.p, v.n, out_n) : sock_write(c->fd, v.p, v.n, out_n);
    if (e != OK) return e;
    if (framed) piece_written(c, *out_n);
    else c->out_at += (uint32_t)*out_n;
    return OK;
}

/* ---- WebSocket ---- */
enum err transport_upgrade(struct shard *s, struct conn *c) {
    if (!c->transport) c->transport = must_alloc(sizeof *c->transport);
    struct transport *t = c->transport;
    struct buf early = c->in;
    t->reading = must_alloc(sizeof *t->reading);
    t->replies = c->out;
    t->replies_at = c->out_at;
    c->in = c->out = (struct buf){0};
    c->out_at = 0;
    websocket_init(t->reading, WEBSOCKET_MESSAGE_MAX, false);
    measure_add(&s->measure, COUNTER_websockets, 1);
    enum err e = transport_unframe(c, buf_view(&early));
    buf_done(&early);
    return e;
}

enum err transport_unframe(struct conn *c, struct bytes in) {
    struct transport *t = c->transport;
    size_t used;
    for (enum err e = OK; in.n && e == OK; in = bytes_of(in.p + used, in.n - used)) {
        e = websocket_read(t->reading, in, &used, &c->in, &t->replies);
        if (e == STALE || e == MALFORMED) return e;
    }
    return OK;
}
