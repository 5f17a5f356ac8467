/* conn: MQTT on a connection: bytes to packets, and each packet to whom it concerns.
 * SPDX-License-Identifier: Apache-2.0 */
#include "conn/limits.h"
#include "conn/mqtt_in.h"

void mqtt_end(struct shard *s, struct conn *c, uint8_t reason, const char *words) {
    if (c->closing) return;
    const char *to = reason == R_ELSEWHERE ? s->server->o.mqtt_redirect : NULL;
    if (c->connected && c->version == 5) mqtt_encode_disconnect(&c->out, 5, reason, words, to);
    if (c->session) {
        struct session *session = c->session;
        c->session = NULL;
        deliver_close(s->deliver, session);
    }
    if (c->will) will_leave(s, c);
    conn_finish(s, c);
}

/* ---- packets ---- */
static void disconnect_take(struct shard *s, struct conn *c, const struct mqtt_packet *p) {
    /* 5.0, 3.14.2.2.2 */
    if (p->properties.has_session_expiry && p->properties.session_expiry_s && !c->expiry_s)
        return mqtt_end(s, c, R_PROTOCOL, "this session was to end with its connection");
    if (c->session && p->properties.has_session_expiry)
        deliver_set_expiry(s->deliver, c->session, c->expiry_s = p->properties.session_expiry_s);
    if (c->will && p->reason != R_WITH_WILL) {
        will_free(c->will);
        c->will = NULL;
    }
    conn_hangup(s, c);
}

/* PUBREC: of an unknown packet it is told so, that the sender forgets it (5.0, 4.3.3). */
static void received_take(struct shard *s, struct conn *c, const struct mqtt_packet *p) {
    if (c->session && deliver_received(s->deliver, c->session, p->packet_id,
                          c->version == 5 ? p->reason : 0) == OK)
        return;
    if (c->version == 5 && p->reason >= R_UNSPECIFIED) return;
    mqtt_encode_ack(
        &c->out, c->version, MQTT_PUBREL, p->packet_id, c->version == 5 ? R_NO_PACKET : R_OK, NULL);
    conn_touch(s, c);
}

/* false: the connection is gone or ending. */
static bool packet_take(struct shard *s, struct conn *c, const struct mqtt_packet *p) {
    switch (p->type) {
    case MQTT_PUBLISH: publish_take(s, c, p); break;
    case MQTT_PUBACK:
        /* of an unknown packet: nothing to do */
        if (c->session) (void)deliver_acked(s->deliver, c->session, p->packet_id);
        break;
    case MQTT_PUBREC: received_take(s, c, p); break;
    case MQTT_PUBREL: release_take(s, c, p->packet_id); break;
    case MQTT_PUBCOMP:
        if (c->session) (void)!deliver_completed(s->deliver, c->session, p->packet_id);
        break;
    case MQTT_SUBSCRIBE: subscribe_take(s, c, p); break;
    case MQTT_UNSUBSCRIBE: unsubscribe_take(s, c, p); break;
    case MQTT_PINGREQ:
        mqtt_encode_simple(&c->out, MQTT_PINGRESP);
        conn_touch(s, c);
        break;
    case MQTT_DISCONNECT: disconnect_take(s, c, p); return false;
    default: mqtt_end(s, c, R_PROTOCOL, "this packet is not expected here"); break;
    }
    return !c->closing;
}

static const char *fault_words(uint8_t reason) {
    return reason == R_TOO_LARGE  ? "a packet has at most 256 KiB"
           : reason == R_TOPIC    ? "this is not a topic to publish to"
           : reason == R_PROTOCOL ? "the protocol does not allow this packet"
                                  : "the packet is malformed";
}

void mqtt_input(struct shard *s, struct conn *c) {
    static _Thread_local struct mqtt_packet p;
    size_t at = 0;
    bool alive = !c->closing;
    while (alive && at < c->in.n && (c->connected || !c->wish) && !must_wait(c)) {
        size_t used;
        uint8_t reason;
        enum err e =
            mqtt_decode(bytes_of(c->in.p + at, c->in.n - at), c->connected ? c->version : 0,
                c->connected ? MQTT_PACKET_MAX : 8192, &p, &used, &reason);
        if (e == AGAIN) break;
        if (e != OK) {
            if (!c->connected && reason == R_VERSION) {
                c->version = 4;
                connect_refuse(s, c, R_VERSION, NULL);
            } else if (c->connected) {
                if (reason == R_TOO_LARGE) measure_add(&s->measure, COUNTER_limit_request_size, 1);
                mqtt_end(s, c, reason, fault_words(reason));
            } else {
                conn_hangup(s, c);
                return;
            }
            break;
        }
        bool publish = c->connected && p.type == MQTT_PUBLISH, told = c->version == 5 && p.qos;
        if (publish && !limits_publish(s, c, told)) break;
        at += used;
        measure_add(&s->measure, COUNTER_mqtt_packets_in, 1);
        if (!c->connected) {
            struct buf rest = {0}; /* the connection may leave for another shard in there */
            buf_add(&rest, c->in.p + at, c->in.n - at);
            struct buf first = c->in;
            c->in = rest;
            connect_take(s, c, &p);
            buf_done(&first);
            return;
        }
        if (publish && told && rate_refused(s, c, &p)) continue;
        alive = packet_take(s, c, &p);
        if (!alive && p.type == MQTT_DISCONNECT) return;
    }
    buf_cut(&c->in, at);
    c->in_blocked = must_wait(c);
    if (!c->in.n && c->in.cap > 4096) buf_done(&c->in);
    if (c->read_paused) conn_touch(s, c);
}
