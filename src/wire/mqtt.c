/* wire: MQTT 3.1.1 (OASIS 2014) and 5.0 (OASIS 2019), reading. Strict: what the standards call malformed is MALFORMED with their reason code.
 *
 *   fixed header: type << 4 | flags · remaining length (1 to 4 bytes, minimal) · variable header · payload
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "wire/wire.h"

enum { R_MALFORMED = 0x81, R_PROTOCOL = 0x82, R_VERSION = 0x84, R_TOO_LARGE = 0x95, R_TOPIC = 0x90, R_FILTER = 0x8f, R_QOS = 0x9b };

struct cursor {
    const uint8_t *p, *end;
    bool bad;
};

static uint8_t u8(struct cursor *c) {
    if (c->bad || c->p >= c->end) {
        c->bad = true;
        return 0;
    }
    return *c->p++;
}
static uint16_t u16(struct cursor *c) {
    uint16_t hi = u8(c);
    return (uint16_t)(hi << 8 | u8(c));
}
static uint32_t u32(struct cursor *c) {
    uint32_t hi = u16(c);
    return hi << 16 | u16(c);
}
static struct bytes binary(struct cursor *c) {
    size_t n = u16(c);
    if (c->bad || (size_t)(c->end - c->p) < n) {
        c->bad = true;
        return (struct bytes){0};
    }
    struct bytes v = bytes_of(c->p, n);
    c->p += n;
    return v;
}
static struct bytes string(struct cursor *c) {
    struct bytes v = binary(c);
    if (!utf8_valid(v) || (v.n && memchr(v.p, 0, v.n))) c->bad = true;
    return v;
}
static uint32_t varint(struct cursor *c) {
    uint32_t v = 0;
    for (unsigned shift = 0; shift < 28; shift += 7) {
        uint8_t b = u8(c);
        v |= (uint32_t)(b & 0x7f) << shift;
        if (!(b & 0x80)) {
            if (b == 0 && shift) c->bad = true; /* not minimal */
            return v;
        }
    }
    c->bad = true;
    return 0;
}

/* ---- properties (5.0, 2.2.2) ---- */
static bool property(struct cursor *c, uint8_t id, struct mqtt_properties *p) {
    switch (id) {
    case 0x01: case 0x19: case 0x24: case 0x25: case 0x28: case 0x29: case 0x2a: u8(c); return true;
    case 0x17: p->no_problem_info = u8(c) == 0; return true;
    case 0x02: p->has_message_expiry = true; p->message_expiry_s = u32(c); return true;
    case 0x03: p->content_type = string(c); return true;
    case 0x08: p->response_topic = string(c); return true;
    case 0x09: p->correlation = binary(c); return true;
    case 0x0b: {
        uint32_t id_value = varint(c);
        if (!id_value) c->bad = true;
        mqtt_properties_add_subscription_id(p, id_value);
        return true;
    }
    case 0x11: p->has_session_expiry = true; p->session_expiry_s = u32(c); return true;
    case 0x12: p->assigned_client_id = string(c); return true;
    case 0x13: p->has_server_keep_alive = true; p->server_keep_alive_s = u16(c); return true;
    case 0x15: p->has_auth_method = true; string(c); return true;
    case 0x16: binary(c); return true;
    case 0x18: u32(c); return true;
    case 0x1a: case 0x1c: string(c); return true;
    case 0x1f: p->reason_string = string(c); return true;
    case 0x21: p->has_receive_maximum = true; p->receive_maximum = u16(c); if (!p->receive_maximum) c->bad = true; return true;
    case 0x22: p->has_topic_alias_maximum = true; p->topic_alias_maximum = u16(c); return true;
    case 0x23: p->has_topic_alias = true; p->topic_alias = u16(c); return true;
    case 0x26: string(c); string(c); return true;
    case 0x27: p->has_maximum_packet_size = true; p->maximum_packet_size = u32(c); if (!p->maximum_packet_size) c->bad = true; return true;
    default: return false;
    }
}

void mqtt_properties_add_subscription_id(struct mqtt_properties *p, uint32_t id) {
    if (p->subscription_id_count < 4) p->subscription_ids[p->subscription_id_count++] = id;
}

static void properties(struct cursor *c, struct mqtt_properties *p) {
    uint32_t n = varint(c);
    if (c->bad || (size_t)(c->end - c->p) < n) {
        c->bad = true;
        return;
    }
    struct cursor in = {c->p, c->p + n, false};
    uint64_t seen = 0;
    while (in.p < in.end && !in.bad) {
        uint8_t id = u8(&in);
        bool repeats = id == 0x26 || id == 0x0b;
        if (id > 0x2a || (!repeats && (seen >> id & 1)) || !property(&in, id, p)) in.bad = true;
        else seen |= 1ull << id;
    }
    c->p += n;
    if (in.bad) c->bad = true;
}

/* ---- packets ---- */
static uint8_t read_connect(struct cursor *c, struct mqtt_packet *o) {
    struct bytes name = string(c);
    o->version = u8(c);
    if (c->bad) return R_MALFORMED;
    if (!bytes_is(name, "MQTT") || (o->version != 4 && o->version != 5)) return R_VERSION;
    uint8_t flags = u8(c);
    if (flags & 1) return R_MALFORMED;
    o->clean = flags & 2;
    o->has_will = flags & 4;
    o->has_password = flags & 0x40;
    o->has_username = flags & 0x80;
    uint8_t will_qos = flags >> 3 & 3;
    if (will_qos == 3 || (!o->has_will && (flags & 0x38)) || (o->version == 4 && o->has_password && !o->has_username)) return R_MALFORMED;
    o->keep_alive_s = u16(c);
    if (o->version == 5) properties(c, &o->properties);
    o->client_id = string(c);
    if (o->has_will) {
        struct mqtt_properties will = {0};
        if (o->version == 5) properties(c, &will);
        o->will_topic = string(c);
        o->will_payload = binary(c);
    }
    if (o->has_username) o->username = string(c);
    if (o->has_password) o->password = binary(c);
    return c->bad || c->p != c->end ? R_MALFORMED : 0;
}

static uint8_t read_publish(struct cursor *c, uint8_t version, uint8_t flags, struct mqtt_packet *o) {
    o->qos = flags >> 1 & 3;
    o->dup = flags & 8;
    o->retain = flags & 1;
    if (o->qos == 3 || (o->dup && !o->qos)) return R_MALFORMED;
    o->topic = string(c);
    if (o->qos) {
        o->packet_id = u16(c);
        if (!o->packet_id) return R_PROTOCOL;
    }
    if (version == 5) properties(c, &o->properties);
    if (c->bad) return R_MALFORMED;
    if (!mqtt_topic_valid(o->topic) && !(o->topic.n == 0 && o->properties.has_topic_alias)) return R_TOPIC;
    o->payload = bytes_of(c->p, (size_t)(c->end - c->p));
    return 0;
}

static uint8_t read_ack(struct cursor *c, uint8_t version, struct mqtt_packet *o) {
    o->packet_id = u16(c);
    if (version == 5 && c->p < c->end) o->reason = u8(c);
    if (version == 5 && c->p < c->end) properties(c, &o->properties);
    if (c->bad || c->p != c->end) return R_MALFORMED;
    return o->packet_id ? 0 : R_PROTOCOL;
}

static uint8_t read_filters(struct cursor *c, uint8_t version, struct mqtt_packet *o) {
    o->packet_id = u16(c);
    if (version == 5) properties(c, &o->properties);
    if (!c->bad && !o->packet_id) return R_PROTOCOL;
    while (c->p < c->end && !c->bad) {
        if (o->filter_count == MQTT_FILTERS_MAX) return R_TOO_LARGE;
        struct mqtt_filter *f = &o->filters[o->filter_count++];
        f->filter = string(c);
        f->options = 0;
        if (o->type == MQTT_SUBSCRIBE) {
            f->options = u8(c);
            if ((f->options & 3) == 3 || (f->options & (version == 5 ? 0xc0 : 0xfc)) || (f->options & 0x30) == 0x30) return R_PROTOCOL;
        }
    }
    if (c->bad) return R_MALFORMED;
    return o->filter_count ? 0 : R_PROTOCOL;
}

static uint8_t read_connack(struct cursor *c, uint8_t version, struct mqtt_packet *o) {
    uint8_t flags = u8(c);
    o->session_present = flags & 1;
    o->reason = u8(c);
    if (version == 5) properties(c, &o->properties);
    return c->bad || (flags & 0xfe) ? R_MALFORMED : 0;
}

static uint8_t read_codes(struct cursor *c, uint8_t version, struct mqtt_packet *o) {
    o->packet_id = u16(c);
    if (version == 5) properties(c, &o->properties);
    if (c->bad) return R_MALFORMED;
    o->codes = bytes_of(c->p, (size_t)(c->end - c->p));
    return 0;
}

static uint8_t read_disconnect(struct cursor *c, uint8_t version, struct mqtt_packet *o) {
    if (version == 5 && c->p < c->end) o->reason = u8(c);
    if (version == 5 && c->p < c->end) properties(c, &o->properties);
    return c->bad || c->p != c->end ? R_MALFORMED : 0;
}

static uint8_t read_body(struct cursor *c, uint8_t version, uint8_t flags, struct mqtt_packet *o) {
    static const uint8_t FLAGS[16] = {[MQTT_PUBREL] = 2, [MQTT_SUBSCRIBE] = 2, [MQTT_UNSUBSCRIBE] = 2};
    if (o->type != MQTT_PUBLISH && flags != FLAGS[o->type]) return R_MALFORMED;
    switch (o->type) {
    case MQTT_CONNECT: return read_connect(c, o);
    case MQTT_CONNACK: return read_connack(c, version, o);
    case MQTT_PUBLISH: return read_publish(c, version, flags, o);
    case MQTT_PUBACK: case MQTT_PUBREC: case MQTT_PUBREL: case MQTT_PUBCOMP: return read_ack(c, version, o);
    case MQTT_SUBSCRIBE: case MQTT_UNSUBSCRIBE: return read_filters(c, version, o);
    case MQTT_SUBACK: case MQTT_UNSUBACK: return read_codes(c, version, o);
    case MQTT_PINGREQ: case MQTT_PINGRESP: return c->p == c->end ? 0 : R_MALFORMED;
    case MQTT_DISCONNECT: case MQTT_AUTH: return read_disconnect(c, version, o);
    default: return R_MALFORMED;
    }
}

enum err mqtt_decode(struct bytes in, uint8_t version, size_t packet_max, struct mqtt_packet *out, size_t *used, uint8_t *reason) {
    if (in.n < 2) return AGAIN;
    struct cursor c = {in.p + 1, in.p + in.n, false};
    size_t have = in.n - 1, digits = 0;
    while (digits < have && digits < 4 && (c.p[digits] & 0x80)) digits++;
    *reason = R_MALFORMED;
    if (digits == 4) return MALFORMED;
    if (digits == have) return AGAIN;
    uint32_t n = varint(&c);
    if (c.bad) return MALFORMED;
    size_t head = (size_t)(c.p - in.p);
    if (head + n > packet_max) {
        *reason = R_TOO_LARGE;
        return LIMIT;
    }
    if (in.n < head + n) return AGAIN;
    c.end = c.p + n;
    memset(out, 0, offsetof(struct mqtt_packet, filters));
    out->codes = (struct bytes){0};
    out->type = in.p[0] >> 4;
    *used = head + n;
    if (!version && out->type != MQTT_CONNECT) {
        *reason = R_PROTOCOL;
        return MALFORMED;
    }
    uint8_t fault = read_body(&c, version, in.p[0] & 15, out);
    if (!fault) return OK;
    *reason = fault;
    return MALFORMED;
}

/* ---- topics and filters (4.7) ---- */
bool mqtt_topic_valid(struct bytes t) {
    return t.n > 0 && !memchr(t.p, '+', t.n) && !memchr(t.p, '#', t.n);
}

bool mqtt_filter_valid(struct bytes f) {
    if (!f.n) return false;
    for (size_t i = 0; i < f.n; i++) {
        bool alone = (i == 0 || f.p[i - 1] == '/') && (i + 1 == f.n || f.p[i + 1] == '/');
        if (f.p[i] == '+' && !alone) return false;
        if (f.p[i] == '#' && (!alone || i + 1 != f.n)) return false;
    }
    return true;
}

bool mqtt_filter_matches(struct bytes f, struct bytes t) {
    if (t.n && t.p[0] == '$' && f.n && (f.p[0] == '+' || f.p[0] == '#')) return false;
    size_t i = 0, k = 0;
    while (i < f.n) {
        if (f.p[i] == '#') return true;
        if (f.p[i] == '+') {
            while (k < t.n && t.p[k] != '/') k++;
            i++;
            continue;
        }
        if (k >= t.n) return f.n - i == 2 && f.p[i] == '/' && f.p[i + 1] == '#'; /* "a/#" takes "a" */
        if (f.p[i] != t.p[k]) return false;
        i++;
        k++;
    }
    return k == t.n;
}
