/* wire: MQTT writing. Lengths are known before the first byte goes out, so that nothing is moved.
 * SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "wire/wire.h"

static void u16(struct buf *b, uint16_t v) {
    uint8_t p[2] = {(uint8_t)(v >> 8), (uint8_t)v};
    buf_add(b, p, 2);
}
static void u32(struct buf *b, uint32_t v) {
    u16(b, (uint16_t)(v >> 16));
    u16(b, (uint16_t)v);
}
static void string(struct buf *b, struct bytes v) {
    check(v.n <= UINT16_MAX);
    u16(b, (uint16_t)v.n);
    buf_bytes(b, v);
}
static size_t varint_size(size_t n) { return n < 128 ? 1 : n < 16384 ? 2 : n < 2097152 ? 3 : 4; }

static void head(struct buf *b, uint8_t first, size_t length) {
    check(length < 268435456);
    buf_reserve(b, length + 5);
    buf_char(b, (char)first);
    pack_var(b, length); /* the same digits as LEB128 */
}

static void prop_string(struct buf *b, uint8_t id, struct bytes v) {
    if (!v.n) return;
    buf_char(b, (char)id);
    string(b, v);
}

void mqtt_user_property(struct buf *out, const char *name, struct bytes value) {
    prop_string(out, 0x26, bytes_str(name));
    string(out, value);
}

static void props_collect(struct buf *b, const struct mqtt_properties *p) {
    if (!p) return;
    if (p->has_message_expiry) {
        buf_char(b, 0x02);
        u32(b, p->message_expiry_s);
    }
    for (uint8_t i = 0; i < p->subscription_id_count; i++) {
        buf_char(b, 0x0b);
        pack_var(b, p->subscription_ids[i]);
    }
    if (p->has_session_expiry) {
        buf_char(b, 0x11);
        u32(b, p->session_expiry_s);
    }
    prop_string(b, 0x12, p->assigned_client_id);
    if (p->has_server_keep_alive) {
        buf_char(b, 0x13);
        u16(b, p->server_keep_alive_s);
    }
    prop_string(b, 0x1f, p->reason_string);
    if (p->has_receive_maximum) {
        buf_char(b, 0x21);
        u16(b, p->receive_maximum);
    }
    if (p->has_maximum_qos) {
        buf_char(b, 0x24);
        buf_char(b, (char)p->maximum_qos);
    }
    prop_string(b, 0x1c, p->server_reference);
    if (p->has_topic_alias_maximum) {
        buf_char(b, 0x22);
        u16(b, p->topic_alias_maximum);
    }
    if (p->has_topic_alias) {
        buf_char(b, 0x23);
        u16(b, p->topic_alias);
    }
    buf_bytes(b, p->forward);
    if (p->no_retain) buf_add(b, "\x25\x00", 2);
    if (p->has_maximum_packet_size) {
        buf_char(b, 0x27);
        u32(b, p->maximum_packet_size);
    }
    if (p->no_shared) buf_add(b, "\x2a\x00", 2);
}

void mqtt_encode_publish(struct buf *b, uint8_t version, struct bytes topic, struct bytes payload,
    uint8_t qos, bool dup, bool retain, uint16_t packet_id, const struct mqtt_properties *p) {
    struct buf props = {0};
    if (version == 5) props_collect(&props, p);
    size_t n = 2 + topic.n + (qos ? 2u : 0u) +
               (version == 5 ? varint_size(props.n) + props.n : 0u) + payload.n;
    head(b, (uint8_t)(MQTT_PUBLISH << 4 | (dup ? 8 : 0) | qos << 1 | (retain ? 1 : 0)), n);
    string(b, topic);
    if (qos) u16(b, packet_id);
    if (version == 5) pack_bytes(b, buf_view(&props));
    buf_bytes(b, payload);
    buf_done(&props);
}

void mqtt_encode_ack(struct buf *b, uint8_t version, uint8_t type, uint16_t packet_id,
    uint8_t reason, const char *words) {
    uint8_t first = (uint8_t)(type << 4 | (type == MQTT_PUBREL ? 2 : 0));
    if (version != 5 || (!reason && !words)) {
        head(b, first, 2);
        u16(b, packet_id);
        return;
    }
    size_t w = words ? strlen(words) : 0, props = w ? w + 3 : 0;
    head(b, first, 3 + varint_size(props) + props);
    u16(b, packet_id);
    buf_char(b, (char)reason);
    pack_var(b, props);
    prop_string(b, 0x1f, bytes_of(words, w));
}

void mqtt_encode_connack(struct buf *b, uint8_t version, bool session_present, uint8_t reason,
    const struct mqtt_properties *p) {
    struct buf props = {0};
    if (version == 5) props_collect(&props, p);
    head(b, MQTT_CONNACK << 4, 2 + (version == 5 ? varint_size(props.n) + props.n : 0u));
    buf_char(b, session_present);
    buf_char(b, (char)reason);
    if (version == 5) pack_bytes(b, buf_view(&props));
    buf_done(&props);
}

void mqtt_encode_suback(struct buf *b, uint8_t version, uint8_t type, uint16_t packet_id,
    const uint8_t *codes, size_t n) {
    size_t shown = type == MQTT_UNSUBACK && version != 5 ? 0 : n;
    head(b, (uint8_t)(type << 4), 2 + (version == 5 ? 1u : 0u) + shown);
    u16(b, packet_id);
    if (version == 5) buf_char(b, 0);
    buf_add(b, codes, shown);
}

void mqtt_encode_disconnect(struct buf *b, uint8_t version, uint8_t reason, const char *words,
    const char *server_reference) {
    if (version != 5) {
        head(b, MQTT_DISCONNECT << 4, 0);
        return;
    }
    struct bytes w = bytes_str(words), to = bytes_str(server_reference);
    size_t props = (w.n ? w.n + 3 : 0) + (to.n ? to.n + 3 : 0);
    head(b, MQTT_DISCONNECT << 4, 1 + varint_size(props) + props);
    buf_char(b, (char)reason);
    pack_var(b, props);
    prop_string(b, 0x1c, to);
    prop_string(b, 0x1f, w);
}

void mqtt_encode_simple(struct buf *b, uint8_t type) { head(b, (uint8_t)(type << 4), 0); }

void mqtt_encode_connect(struct buf *b, uint8_t version, bool clean, uint16_t keep_alive_s,
    struct bytes client_id, struct bytes username, struct bytes password, uint32_t session_expiry_s,
    uint16_t receive_maximum) {
    struct buf body = {0};
    string(&body, BYTES("MQTT"));
    buf_char(&body, (char)version);
    buf_char(&body, (char)((clean ? 2 : 0) | (username.n ? 0x80 : 0) | (password.n ? 0x40 : 0)));
    u16(&body, keep_alive_s);
    if (version == 5) {
        struct mqtt_properties p = {.has_session_expiry = session_expiry_s != 0,
            .session_expiry_s = session_expiry_s,
            .has_receive_maximum = receive_maximum != 0,
            .receive_maximum = receive_maximum};
        struct buf props = {0};
        props_collect(&props, &p);
        pack_bytes(&body, buf_view(&props));
        buf_done(&props);
    }
    string(&body, client_id);
    if (username.n) string(&body, username);
    if (password.n) string(&body, password);
    head(b, MQTT_CONNECT << 4, body.n);
    buf_bytes(b, buf_view(&body));
    buf_done(&body);
}

void mqtt_encode_subscribe(
    struct buf *b, uint8_t version, uint16_t packet_id, struct bytes filter, uint8_t options) {
    head(b, MQTT_SUBSCRIBE << 4 | 2, 2 + (version == 5 ? 1u : 0u) + 3 + filter.n);
    u16(b, packet_id);
    if (version == 5) buf_char(b, 0);
    string(b, filter);
    buf_char(b, (char)options);
}
