/* wire: MQTT 3.1.1 (OASIS 2014) and 5.0 (OASIS 2019), reading. Strict: what the standards call
 * malformed is MALFORMED with their reason code.
 *
 *   fixed header: type << 4 | flags · remaining length (1 to 4 bytes, minimal) · variable header ·
 *     payload
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "wire/wire.h"

enum {
    R_MALFORMED = 0x81,
    R_PROTOCOL = 0x82,
    R_VERSION = 0x84,
    R_TOO_LARGE = 0x95,
    R_TOPIC = 0x90,
    R_FILTER = 0x8f,
    R_QOS = 0x9b
};

struct cursor {
    const uint8_t *p, *end;
    uint8_t fault; /* the first one's reason code; reads give zeros from then on. 0: none */
};

static void fault(struct cursor *c, uint8_t reason) {
    if (!c->fault) c->fault = reason;
}
static uint8_t u8(struct cursor *c) {
    if (!c->fault && c->p < c->end) return *c->p++;
    fault(c, R_MALFORMED);
    return 0;
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
    if ((size_t)(c->end - c->p) < n) fault(c, R_MALFORMED);
    if (c->fault) return (struct bytes){0};
    struct bytes v = bytes_of(c->p, n);
    c->p += n;
    return v;
}
static struct bytes string(struct cursor *c) {
    struct bytes v = binary(c);
    if (!utf8_valid(v) || (v.n && memchr(v.p, 0, v.n))) fault(c, R_MALFORMED);
    return v;
}
static uint32_t varint(struct cursor *c) {
    uint32_t v = 0;
    for (unsigned shift = 0; shift < 28; shift += 7) {
        uint8_t b = u8(c);
        v |= (uint32_t)(b & 0x7f) << shift;
        if (b & 0x80) continue;
        if (b == 0 && shift) fault(c, R_MALFORMED); /* not minimal */
        return v;
    }
    fault(c, R_MALFORMED);
    return 0;
}

/* ---- properties (5.0, 2.2.2): what each is, and the packets that may carry it ---- */
enum kind { P_NONE, P_BOOL, P_U16, P_U32, P_VARINT, P_STRING, P_BINARY, P_PAIR };
enum { WILL = 0 }; /* a type of its own here: no packet has the number 0 */
#define IN(type) (1u << (type))
#define IN_MESSAGE (IN(MQTT_PUBLISH) | IN(WILL))
#define IN_OPENING (IN(MQTT_CONNECT) | IN(MQTT_CONNACK))
#define IN_ANSWER                                                                                  \
    (IN(MQTT_CONNACK) | IN(MQTT_PUBACK) | IN(MQTT_PUBREC) | IN(MQTT_PUBREL) | IN(MQTT_PUBCOMP) |   \
        IN(MQTT_SUBACK) | IN(MQTT_UNSUBACK) | IN(MQTT_DISCONNECT) | IN(MQTT_AUTH))
static const struct {
    uint8_t kind;
    uint32_t in;
} PROPERTIES[] = {
    [0x01] = {P_BOOL, IN_MESSAGE},
    [0x02] = {P_U32, IN_MESSAGE},
    [0x03] = {P_STRING, IN_MESSAGE},
    [0x08] = {P_STRING, IN_MESSAGE},
    [0x09] = {P_BINARY, IN_MESSAGE},
    [0x0b] = {P_VARINT, IN(MQTT_PUBLISH) | IN(MQTT_SUBSCRIBE)},
    [0x11] = {P_U32, IN_OPENING | IN(MQTT_DISCONNECT)},
    [0x12] = {P_STRING, IN(MQTT_CONNACK)},
    [0x13] = {P_U16, IN(MQTT_CONNACK)},
    [0x15] = {P_STRING, IN_OPENING | IN(MQTT_AUTH)},
    [0x16] = {P_BINARY, IN_OPENING | IN(MQTT_AUTH)},
    [0x17] = {P_BOOL, IN(MQTT_CONNECT)},
    [0x18] = {P_U32, IN(WILL)},
    [0x19] = {P_BOOL, IN(MQTT_CONNECT)},
    [0x1a] = {P_STRING, IN(MQTT_CONNACK)},
    [0x1c] = {P_STRING, IN(MQTT_CONNACK) | IN(MQTT_DISCONNECT)},
    [0x1f] = {P_STRING, IN_ANSWER},
    [0x21] = {P_U16, IN_OPENING},
    [0x22] = {P_U16, IN_OPENING},
    [0x23] = {P_U16, IN(MQTT_PUBLISH)},
    [0x24] = {P_BOOL, IN(MQTT_CONNACK)},
    [0x25] = {P_BOOL, IN(MQTT_CONNACK)},
    [0x26] = {P_PAIR, ~0u},
    [0x27] = {P_U32, IN_OPENING},
    [0x28] = {P_BOOL, IN(MQTT_CONNACK)},
    [0x29] = {P_BOOL, IN(MQTT_CONNACK)},
    [0x2a] = {P_BOOL, IN(MQTT_CONNACK)},
};
enum { PROPERTY_COUNT = sizeof PROPERTIES / sizeof *PROPERTIES };

static void property_keep(struct mqtt_properties *p, uint8_t id, uint32_t n, struct bytes v) {
    switch (id) {
    case 0x02:
        p->has_message_expiry = true;
        p->message_expiry_s = n;
        break;
    case 0x03: p->content_type = v; break;
    case 0x08: p->response_topic = v; break;
    case 0x09: p->correlation = v; break;
    case 0x0b: mqtt_properties_add_subscription_id(p, n); break;
    case 0x11:
        p->has_session_expiry = true;
        p->session_expiry_s = n;
        break;
    case 0x12: p->assigned_client_id = v; break;
    case 0x13:
        p->has_server_keep_alive = true;
        p->server_keep_alive_s = (uint16_t)n;
        break;
    case 0x15: p->has_auth_method = true; break;
    case 0x17: p->no_problem_info = !n; break;
    case 0x18: p->will_delay_s = n; break;
    case 0x1c: p->server_reference = v; break;
    case 0x1f: p->reason_string = v; break;
    case 0x21:
        p->has_receive_maximum = true;
        p->receive_maximum = (uint16_t)n;
        break;
    case 0x22:
        p->has_topic_alias_maximum = true;
        p->topic_alias_maximum = (uint16_t)n;
        break;
    case 0x23:
        p->has_topic_alias = true;
        p->topic_alias = (uint16_t)n;
        break;
    case 0x24:
        p->has_maximum_qos = true;
        p->maximum_qos = (uint8_t)n;
        break;
    case 0x25: p->no_retain = !n; break;
    case 0x27:
        p->has_maximum_packet_size = true;
        p->maximum_packet_size = n;
        break;
    case 0x2a: p->no_shared = !n; break;
    default: break; /* checked, and of no use here */
    }
}

static void property(struct cursor *c, uint8_t id, struct mqtt_properties *p) {
    uint32_t n = 0;
    struct bytes v = {0};
    switch (PROPERTIES[id].kind) {
    case P_BOOL:
        if ((n = u8(c)) > 1) fault(c, R_PROTOCOL);
        break;
    case P_U16: n = u16(c); break;
    case P_U32: n = u32(c); break;
    case P_VARINT: n = varint(c); break;
    case P_BINARY: v = binary(c); break;
    case P_PAIR:
        string(c);
        v = string(c);
        break;
    default: v = string(c); break;
    }
    /* these must not be zero */
    if (!n && (id == 0x0b || id == 0x21 || id == 0x27)) fault(c, R_PROTOCOL);
    if (!c->fault) property_keep(p, id, n, v);
}

void mqtt_properties_add_subscription_id(struct mqtt_properties *p, uint32_t id) {
    if (p->subscription_id_count < MQTT_SUBSCRIPTION_IDS_MAX)
        p->subscription_ids[p->subscription_id_count++] = id;
}

static void properties(struct cursor *c, uint8_t type, struct mqtt_properties *p) {
    uint32_t n = varint(c);
    if ((size_t)(c->end - c->p) < n) fault(c, R_MALFORMED);
    if (c->fault) return;
    struct cursor in = {c->p, c->p + n, 0};
    uint64_t seen = 0;
    p->raw = bytes_of(c->p, n);
    while (in.p < in.end && !in.fault) {
        uint8_t id = u8(&in);
        bool repeats = id == 0x26 || (id == 0x0b && type == MQTT_PUBLISH);
        if (id >= PROPERTY_COUNT || !PROPERTIES[id].kind || !(PROPERTIES[id].in & IN(type)))
            fault(&in, R_MALFORMED);
        else if (!repeats && (seen >> id & 1)) fault(&in, R_PROTOCOL);
        else property(&in, id, p);
        seen |= id < 64 ? 1ull << id : 0;
    }
    /* data for a method that is not named */
    if ((seen >> 0x16 & 1) && !(seen >> 0x15 & 1)) fault(&in, R_PROTOCOL);
    c->p += n;
    if (in.fault) fault(c, in.fault);
}

void mqtt_properties_forward(struct bytes raw, struct buf *out) {
    struct cursor in = {raw.p, raw.n ? raw.p + raw.n : raw.p, 0};
    struct mqtt_properties skipped = {0};
    while (in.p < in.end && !in.fault) {
        const uint8_t *at = in.p;
        uint8_t id = u8(&in);
        property(&in, id, &skipped);
        if (in.fault) return;
        if (id == 0x01 || id == 0x03 || id == 0x08 || id == 0x09 || id == 0x26)
            buf_add(out, at, (size_t)(in.p - at));
    }
}

/* ---- packets ---- */
static uint8_t ended(struct cursor *c) {
    if (c->p != c->end) fault(c, R_MALFORMED);
    return c->fault;
}

static uint8_t read_connect(struct cursor *c, struct mqtt_packet *o) {
    struct bytes name = string(c);
    o->version = u8(c);
    if (c->fault) return c->fault;
    if (!bytes_is(name, "MQTT") || (o->version != 4 && o->version != 5)) return R_VERSION;
    uint8_t flags = u8(c);
    if (flags & 1) return R_MALFORMED;
    o->clean = flags & 2;
    o->has_will = flags & 4;
    o->has_password = flags & 0x40;
    o->has_username = flags & 0x80;
    o->will_qos = flags >> 3 & 3;
    o->will_retain = flags & 0x20;
    if (o->will_qos == 3 || (!o->has_will && (flags & 0x38)) ||
        (o->version == 4 && o->has_password && !o->has_username))
        return R_MALFORMED;
    o->keep_alive_s = u16(c);
    if (o->version == 5) properties(c, o->type, &o->properties);
    o->client_id = string(c);
    if (o->has_will) {
        if (o->version == 5) properties(c, WILL, &o->will);
        o->will_topic = string(c);
        o->will_payload = binary(c);
        if (!c->fault && !mqtt_topic_valid(o->will_topic)) return R_TOPIC;
    }
    if (o->has_username) o->username = string(c);
    if (o->has_password) o->password = binary(c);
    return ended(c);
}

static uint8_t read_publish(
    struct cursor *c, uint8_t version, uint8_t flags, struct mqtt_packet *o) {
    o->qos = flags >> 1 & 3;
    o->dup = flags & 8;
    o->retain = flags & 1;
    if (o->qos == 3 || (o->dup && !o->qos)) return R_MALFORMED;
    o->topic = string(c);
    if (o->qos) {
        o->packet_id = u16(c);
        if (!c->fault && !o->packet_id) return R_PROTOCOL;
    }
    if (version == 5) properties(c, o->type, &o->properties);
    if (c->fault) return c->fault;
    if (!mqtt_topic_valid(o->topic) && !(o->topic.n == 0 && o->properties.has_topic_alias))
        return R_TOPIC;
    o->payload = bytes_of(c->p, (size_t)(c->end - c->p));
    return 0;
}

static uint8_t read_ack(struct cursor *c, uint8_t version, struct mqtt_packet *o) {
    o->packet_id = u16(c);
    if (version == 5 && c->p < c->end) o->reason = u8(c);
    if (version == 5 && c->p < c->end) properties(c, o->type, &o->properties);
    uint8_t reason = ended(c);
    return reason || o->packet_id ? reason : R_PROTOCOL;
}

static uint8_t read_filters(struct cursor *c, uint8_t version, struct mqtt_packet *o) {
    o->packet_id = u16(c);
    if (version == 5) properties(c, o->type, &o->properties);
    if (!c->fault && !o->packet_id) return R_PROTOCOL;
    while (c->p < c->end && !c->fault) {
        if (o->filter_count == MQTT_FILTERS_MAX) return R_TOO_LARGE;
        struct mqtt_filter *f = &o->filters[o->filter_count++];
        f->filter = string(c);
        f->options = 0;
        if (o->type == MQTT_SUBSCRIBE) {
            f->options = u8(c);
            if (c->fault) return c->fault;
            if ((f->options & 3) == 3 || (f->options & (version == 5 ? 0xc0 : 0xfc)) ||
                (f->options & 0x30) == 0x30)
                return R_PROTOCOL;
        }
    }
    if (c->fault) return c->fault;
    return o->filter_count ? 0 : R_PROTOCOL;
}

static uint8_t read_connack(struct cursor *c, uint8_t version, struct mqtt_packet *o) {
    uint8_t flags = u8(c);
    o->session_present = flags & 1;
    o->reason = u8(c);
    if (version == 5) properties(c, o->type, &o->properties);
    return flags & 0xfe ? R_MALFORMED : ended(c);
}

static uint8_t read_codes(struct cursor *c, uint8_t version, struct mqtt_packet *o) {
    o->packet_id = u16(c);
    if (version == 5) properties(c, o->type, &o->properties);
    if (c->fault) return c->fault;
    o->codes = bytes_of(c->p, (size_t)(c->end - c->p));
    return 0;
}

static uint8_t read_disconnect(struct cursor *c, uint8_t version, struct mqtt_packet *o) {
    if (version == 5 && c->p < c->end) o->reason = u8(c);
    if (version == 5 && c->p < c->end) properties(c, o->type, &o->properties);
    return ended(c);
}

static uint8_t read_body(struct cursor *c, uint8_t version, uint8_t flags, struct mqtt_packet *o) {
    static const uint8_t FLAGS[16] = {
        [MQTT_PUBREL] = 2, [MQTT_SUBSCRIBE] = 2, [MQTT_UNSUBSCRIBE] = 2};
    if (o->type != MQTT_PUBLISH && flags != FLAGS[o->type]) return R_MALFORMED;
    switch (o->type) {
    case MQTT_CONNECT: return read_connect(c, o);
    case MQTT_CONNACK: return read_connack(c, version, o);
    case MQTT_PUBLISH: return read_publish(c, version, flags, o);
    case MQTT_PUBACK:
    case MQTT_PUBREC:
    case MQTT_PUBREL:
    case MQTT_PUBCOMP: return read_ack(c, version, o);
    case MQTT_SUBSCRIBE:
    case MQTT_UNSUBSCRIBE: return read_filters(c, version, o);
    case MQTT_SUBACK:
    case MQTT_UNSUBACK: return read_codes(c, version, o);
    case MQTT_PINGREQ:
    case MQTT_PINGRESP: return c->p == c->end ? 0 : R_MALFORMED;
    case MQTT_AUTH:
        if (version != 5) return R_MALFORMED;
        return read_disconnect(c, version, o);
    case MQTT_DISCONNECT: return read_disconnect(c, version, o);
    default: return R_MALFORMED;
    }
}

enum err mqtt_decode(struct bytes in, uint8_t version, size_t packet_max, struct mqtt_packet *out,
    size_t *used, uint8_t *reason) {
    *reason = R_PROTOCOL;
    /* what speaks another protocol is told so before its "length" is awaited */
    if (in.n && !version && in.p[0] >> 4 != MQTT_CONNECT) return MALFORMED;
    if (in.n < 2) return AGAIN;
    struct cursor c = {in.p + 1, in.p + in.n, 0};
    size_t have = in.n - 1, digits = 0;
    while (digits < have && digits < 4 && (c.p[digits] & 0x80)) digits++;
    *reason = R_MALFORMED;
    if (digits == 4) return MALFORMED;
    if (digits == have) return AGAIN;
    uint32_t n = varint(&c);
    if (c.fault) return MALFORMED;
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
    *reason = read_body(&c, version, in.p[0] & 15, out);
    return *reason ? MALFORMED : OK;
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

static size_t level_end(struct bytes f, size_t at) {
    while (at < f.n && f.p[at] != '/') at++;
    return at;
}

bool mqtt_filter_covers(struct bytes outer, struct bytes inner) {
    size_t i = 0, k = 0;
    if (inner.n && inner.p[0] == '$' && outer.n && (outer.p[0] == '+' || outer.p[0] == '#'))
        return false;
    for (;;) {
        size_t i_end = level_end(outer, i), k_end = level_end(inner, k);
        struct bytes o = bytes_of(outer.p + i, i_end - i), n = bytes_of(inner.p + k, k_end - k);
        if (bytes_is(o, "#")) return true;
        if (bytes_is(n, "#") || (!bytes_is(o, "+") && !bytes_eq(o, n))) return false;
        if (k_end == inner.n) /* "a/#" takes "a" too */
            return i_end == outer.n || (outer.n - i_end == 2 && outer.p[outer.n - 1] == '#');
        if (i_end == outer.n) return false;
        i = i_end + 1;
        k = k_end + 1;
    }
}

bool mqtt_filters_meet(struct bytes a, struct bytes b) {
    size_t i = 0, k = 0;
    for (;;) {
        size_t i_end = level_end(a, i), k_end = level_end(b, k);
        struct bytes x = bytes_of(a.p + i, i_end - i), y = bytes_of(b.p + k, k_end - k);
        if (bytes_is(x, "#") || bytes_is(y, "#")) return true;
        if (!bytes_is(x, "+") && !bytes_is(y, "+") && !bytes_eq(x, y)) return false;
        bool a_ends = i_end == a.n, b_ends = k_end == b.n;
        if (a_ends && b_ends) return true;
        /* "a/#" takes "a" too */
        if (a_ends) return b.n - k_end == 2 && b.p[b.n - 1] == '#';
        if (b_ends) return a.n - i_end == 2 && a.p[a.n - 1] == '#';
        i = i_end + 1;
        k = k_end + 1;
    }
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
        /* "a/#" takes "a" */
        if (k >= t.n) return f.n - i == 2 && f.p[i] == '/' && f.p[i + 1] == '#';
        if (f.p[i] != t.p[k]) return false;
        i++;
        k++;
    }
    return k == t.n;
}
