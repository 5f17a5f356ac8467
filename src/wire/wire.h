/* wire: codecs only: MQTT 3.1.1 and 5.0, HTTP/1.1, WebSocket, Server-Sent Events, JSON, the PROXY
 * protocol. Bytes in, values out; no sockets, no meaning.
 *
 * Decoded strings are views into the input. Decoders take any bytes: AGAIN needs more, MALFORMED
 * and LIMIT end the connection.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef KITH_WIRE_H
#define KITH_WIRE_H

#include "base/base.h"

#ifdef __cplusplus
extern "C" {
#endif

/* ---- JSON reading (RFC 8259; strict UTF-8; depth at most 64) ---- */
struct json_reader;
struct json { /* a value; valid until the reader's next parse */
    uint64_t opaque[2];
};
enum json_kind {
    JSON_NULL = 1,
    JSON_BOOL,
    JSON_I64,
    JSON_F64,
    JSON_STRING,
    JSON_ARRAY,
    JSON_OBJECT,
    JSON_ID /* schemas only */,
    JSON_ANY /* schemas only */
};
struct json_reader *json_reader_create(void);
void json_reader_free(struct json_reader **);
/* copies the text; MALFORMED */
enum err json_parse(struct json_reader *r, struct bytes text, struct json *out) must_use;
/* What was wrong with the text that was not taken last, after "is not JSON (RFC 8259): ". */
const char *json_trouble(const struct json_reader *r);
enum json_kind json_kind_of(struct json v);
struct bytes json_string(struct json v); /* empty when it is none */
int64_t json_i64(struct json v);
double json_f64(struct json v);
bool json_bool(struct json v);
bool json_get(struct json object, const char *key, struct json *out);
/* false stops; key is empty in arrays */
typedef bool json_each_fn(void *arg, struct bytes key, struct json value);
void json_each(struct json v, json_each_fn *fn, void *arg);
size_t json_count(struct json v);              /* of an array or object */
void json_raw(struct json v, struct buf *out); /* minified text */

struct json_field {
    const char *name;
    uint8_t kind;
    bool required, nullable;
    /* of strings (text) and of ANY, ARRAY, OBJECT (minified); 0: 64 for ids, else unlimited */
    size_t max_bytes;
};
struct json_value {
    bool present, is_null;
    struct json v;
};
struct json_fault {
    enum {
        FAULT_NONE,
        FAULT_UNKNOWN,
        FAULT_TYPE,
        FAULT_MISSING,
        FAULT_LONG,
        FAULT_VALUE,
        FAULT_DUPLICATE
    } kind;
    char field[64];
    char words[160];
};
/* One object against a schema. Unknown and repeated members, wrong types: MALFORMED; what cannot
 * be: REFUSED. out has n values. */
enum err json_read_object(struct json object, const struct json_field *fields, size_t n,
    struct json_value *out, struct json_fault *fault) must_use;

/* ---- JSON writing ---- */
struct json_out {
    struct buf *b;
    bool comma;
};
void json_str(struct buf *b, struct bytes v); /* quoted and escaped */
void jo_open_obj(struct json_out *o);
void jo_close_obj(struct json_out *o);
void jo_open_arr(struct json_out *o);
void jo_close_arr(struct json_out *o);
/* Of a key that is written out where it is called, the compiler knows the length. */
static inline void jo_key(struct json_out *o, const char *key) {
    size_t n = strlen(key);
    buf_reserve(o->b, n + 4);
    uint8_t *p = o->b->p + o->b->n;
    if (o->comma) *p++ = ',';
    *p++ = '"';
    memcpy(p, key, n);
    p[n] = '"';
    p[n + 1] = ':';
    o->b->n = (size_t)(p + n + 2 - o->b->p);
    o->comma = false;
}
void jo_str(struct json_out *o, struct bytes v);
/* Of any origin: where it is not UTF-8, each byte beyond ASCII becomes '?'. */
void jo_str_any(struct json_out *o, struct bytes v);
void jo_i64(struct json_out *o, int64_t v);
void jo_u64(struct json_out *o, uint64_t v);
void jo_bool(struct json_out *o, bool v);
void jo_null(struct json_out *o);
void jo_raw(struct json_out *o, struct bytes json);
void jo_time(struct json_out *o, int64_t ms);

/* ---- Server-Sent Events (HTML standard, 9.2) ---- */
void sse_write_event(struct buf *b, struct bytes id, struct bytes event, struct bytes data);
void sse_write_comment(struct buf *b, struct bytes text);

/* ---- MQTT ---- */
enum mqtt_type {
    MQTT_CONNECT = 1,
    MQTT_CONNACK,
    MQTT_PUBLISH,
    MQTT_PUBACK,
    MQTT_PUBREC,
    MQTT_PUBREL,
    MQTT_PUBCOMP,
    MQTT_SUBSCRIBE,
    MQTT_SUBACK,
    MQTT_UNSUBSCRIBE,
    MQTT_UNSUBACK,
    MQTT_PINGREQ,
    MQTT_PINGRESP,
    MQTT_DISCONNECT,
    MQTT_AUTH
};
enum { MQTT_FILTERS_MAX = 64, MQTT_PACKET_MAX = 256 * 1024, MQTT_SUBSCRIPTION_IDS_MAX = 8 };
/* The properties that kith uses; others are checked and skipped. */
struct mqtt_properties {
    bool has_session_expiry, has_receive_maximum, has_maximum_packet_size, has_topic_alias,
        has_topic_alias_maximum, has_message_expiry, has_server_keep_alive, no_problem_info,
        has_auth_method;
    uint32_t session_expiry_s, maximum_packet_size, message_expiry_s, will_delay_s;
    uint16_t receive_maximum, topic_alias, topic_alias_maximum, server_keep_alive_s;
    uint32_t subscription_ids[MQTT_SUBSCRIPTION_IDS_MAX];
    uint8_t subscription_id_count;
    struct bytes reason_string, assigned_client_id, content_type, response_topic, correlation;
    struct bytes server_reference;
    /* all properties as they came; and, to be written, those that mqtt_properties_forward gave */
    struct bytes raw, forward;
    /* CONNACK only: what the server does not do */
    bool no_retain, no_shared, has_maximum_qos;
    uint8_t maximum_qos;
};
/* Adds a user property (5.0, 2.2.2.2), for `forward`. */
void mqtt_user_property(struct buf *out, const char *name, struct bytes value);
void mqtt_properties_add_subscription_id(struct mqtt_properties *p, uint32_t id);
/* Adds, of well-formed properties, those that a receiver of the message gets as they are: payload
 * format, content type, response topic, correlation data, user properties in their order (5.0,
 * 3.3.2.3). */
void mqtt_properties_forward(struct bytes raw, struct buf *out);
struct mqtt_filter {
    struct bytes filter;
    uint8_t options;
};
struct mqtt_packet {
    uint8_t type, qos;
    bool dup, retain;
    uint16_t packet_id;
    uint8_t reason; /* acknowledgements, DISCONNECT, CONNACK */
    bool session_present;
    struct mqtt_properties properties;
    /* CONNECT */
    uint8_t version;
    bool clean, has_username, has_password, has_will;
    uint16_t keep_alive_s;
    struct bytes client_id, username, password, will_topic, will_payload;
    uint8_t will_qos;
    bool will_retain;
    struct mqtt_properties will;
    /* PUBLISH */
    struct bytes topic, payload;
    /* SUBSCRIBE, UNSUBSCRIBE; SUBACK codes */
    uint16_t filter_count;
    struct mqtt_filter filters[MQTT_FILTERS_MAX];
    struct bytes codes;
};
/* version: 0 before CONNECT, then 4 or 5. *used: bytes of the packet. On MALFORMED and LIMIT
 * *reason is the MQTT 5 reason code to say. */
enum err mqtt_decode(struct bytes in, uint8_t version, size_t packet_max, struct mqtt_packet *out,
    size_t *used, uint8_t *reason) must_use;
bool mqtt_filter_valid(struct bytes filter);
bool mqtt_topic_valid(struct bytes topic);
bool mqtt_filter_matches(struct bytes filter, struct bytes topic);
/* Every topic that `inner` matches, `outer` matches too. */
bool mqtt_filter_covers(struct bytes outer, struct bytes inner);
/* Some topic is matched by both. */
bool mqtt_filters_meet(struct bytes a, struct bytes b);
void mqtt_encode_publish(struct buf *b, uint8_t version, struct bytes topic, struct bytes payload,
    uint8_t qos, bool dup, bool retain, uint16_t packet_id, const struct mqtt_properties *p);
/* PUBACK and kin; reason and words only travel in version 5. */
void mqtt_encode_ack(struct buf *b, uint8_t version, uint8_t type, uint16_t packet_id,
    uint8_t reason, const char *words);
void mqtt_encode_connack(struct buf *b, uint8_t version, bool session_present, uint8_t reason,
    const struct mqtt_properties *p);
void mqtt_encode_suback(struct buf *b, uint8_t version, uint8_t type, uint16_t packet_id,
    const uint8_t *codes, size_t n);
/* server_reference: where to go instead (5.0, 4.13), or NULL */
void mqtt_encode_disconnect(struct buf *b, uint8_t version, uint8_t reason, const char *words,
    const char *server_reference);
void mqtt_encode_simple(struct buf *b, uint8_t type); /* PINGREQ, PINGRESP */
/* clients */
void mqtt_encode_connect(struct buf *b, uint8_t version, bool clean, uint16_t keep_alive_s,
    struct bytes client_id, struct bytes username, struct bytes password, uint32_t session_expiry_s,
    uint16_t receive_maximum);
void mqtt_encode_subscribe(
    struct buf *b, uint8_t version, uint16_t packet_id, struct bytes filter, uint8_t options);

/* ---- HTTP/1.1, the server's side ---- */
enum {
    HTTP_HEAD_MAX = 16 * 1024,
    HTTP_BODY_MAX = 1024 * 1024,
    HTTP_SEGMENTS_MAX = 12,
    HTTP_QUERY_MAX = 16
};
struct http_request {
    struct bytes method;
    struct bytes segments[HTTP_SEGMENTS_MAX]; /* of the path, percent-decoded */
    uint8_t segment_count, query_count;
    struct bytes query_names[HTTP_QUERY_MAX], query_values[HTTP_QUERY_MAX];
    struct bytes host, authorization, content_type, idempotency_key, last_event_id, origin, accept,
        accept_language;
    struct bytes websocket_key, websocket_version, websocket_protocols;
    struct bytes if_none_match, fetch_site; /* Sec-Fetch-Site (Fetch Metadata) */
    struct bytes body;
    bool keep_alive, expect_continue;
    bool wants_websocket; /* HTTP/1.1 with Connection: upgrade and Upgrade: websocket */
    /* what the request's framing deserves: 0 well formed, else 400, 413, 414, 431, 417, 501, 505 */
    int status;
};
struct http_reader;
struct http_reader *http_reader_create(void);
void http_reader_free(struct http_reader **);
/* Takes bytes up to the end of one request. OK: *out is whole (views until http_reader_next).
 * AGAIN: needs more (*used were taken). MALFORMED: out->status says; answer and close.
 * *wants_continue: the client waits for "100 Continue". */
enum err http_read(struct http_reader *r, struct bytes in, size_t *used,
    const struct http_request **out, bool *wants_continue) must_use;
void http_reader_next(struct http_reader *r);
bool http_reader_is_empty(const struct http_reader *r); /* between requests */
bool http_reader_has_head(const struct http_reader *r); /* the body is awaited */
size_t http_reader_bytes(const struct http_reader *r);  /* that it holds */
/* Of the head that is there; a view until http_reader_next. */
struct bytes http_reader_authorization(const struct http_reader *r);
struct bytes http_reader_origin(const struct http_reader *r);
struct bytes http_reader_target(const struct http_reader *r); /* as it came, with its escapes */
/* length < 0: no Content-Length (a stream until close). extra: header lines, each ending in CRLF,
 * or NULL. */
void http_write_head(struct buf *b, int status, bool keep_alive, const char *content_type,
    int64_t length, const char *extra);

/* ---- HTTP/1.1, a client's side (generator and tests): one response with Content-Length ---- */
enum err http_read_response(
    struct bytes in, int *out_status, struct bytes *out_body, size_t *used) must_use;

/* Is it one of a comma list's elements, in any case of letters (RFC 9110, 5.6.1)? */
bool http_list_has(struct bytes list, const char *token);

/* ---- WebSocket (RFC 6455), the server's side ---- */
enum { WEBSOCKET_HEAD_MAX = 14, WEBSOCKET_CONTROL_MAX = 125 };
enum { WEBSOCKET_TEXT = 1, WEBSOCKET_BINARY = 2 };
enum websocket_code {
    WEBSOCKET_NORMAL = 1000,
    WEBSOCKET_GOING_AWAY = 1001,
    WEBSOCKET_PROTOCOL = 1002,
    WEBSOCKET_UNSUPPORTED = 1003,
    WEBSOCKET_NO_CODE = 1005, /* a close frame that says none */
    WEBSOCKET_INVALID = 1007,
    WEBSOCKET_TOO_BIG = 1009
};
/* Reading of one connection. Between two calls it holds no buffer, but for the payload of a control
 * frame that is not whole yet. */
struct websocket {
    uint64_t left;                 /* of the frame's payload, to come */
    uint64_t message, message_max; /* bytes of the message so far; 0 at most: any number */
    struct buf control;            /* payload of a control frame */
    uint16_t close;                /* the code to close with, once reading has ended */
    uint8_t head[WEBSOCKET_HEAD_MAX], head_n;
    uint8_t kind;            /* WEBSOCKET_TEXT or _BINARY: the message under way, or just ended */
    uint8_t need, low, high; /* UTF-8: bytes to come of a character, bounds of the next one */
    bool in_frame, in_message, takes_text;
};
void websocket_init(struct websocket *w, uint64_t message_max, bool takes_text);
void websocket_done(struct websocket *w);
/* Takes bytes up to the end of one message and adds their payload to *payload, pongs to *replies.
 * OK: a message of w->kind is whole. AGAIN: all is taken, more is needed. STALE: the peer closes;
 * MALFORMED: it broke the rules: nothing more is read, write a close frame with w->close. */
enum err websocket_read(struct websocket *w, struct bytes in, size_t *used, struct buf *payload,
    struct buf *replies) must_use;
/* The head of a whole message; n bytes of payload follow. */
void websocket_write_head(struct buf *b, uint8_t kind, uint64_t n);
void websocket_write_close(struct buf *b, uint16_t code);
/* What a request for an upgrade deserves: 101, 400 or 426. 101, 426: *lines is given header lines
 * for http_write_head; 400: words. protocol: the subprotocol that must be offered. */
int websocket_upgrade(const struct http_request *q, const char *protocol, struct buf *lines);

/* ---- PROXY protocol, version 2 (HAProxy's specification, 2.2) ---- */
enum { PROXY_HEAD = 16, PROXY_MAX = 536 };
struct proxy {
    bool local;     /* the proxy speaks for itself: the socket's own address holds */
    uint8_t ip[16]; /* of the client; IPv4 mapped into IPv6 */
};
/* How many bytes of the header are still to come after these, as far as they tell; 0: it is whole,
 * or wrong. Reading no more than that leaves what follows to others. */
size_t proxy_wants(struct bytes in);
/* AGAIN: not whole; MALFORMED: not a header that we take. */
enum err proxy_decode(struct bytes in, struct proxy *out, size_t *used) must_use;

#ifdef __cplusplus
}
#endif
#endif
