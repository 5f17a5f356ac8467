/* shard: MQTT on a connection: CONNECT and the session, PUBLISH as a request like any other,
 * acknowledgements in order. A PUBLISH to conversations/{id}/messages runs the route POST
 * /v1/conversations/{id}/messages. SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "shard/limits.h"
#include "shard/shard_in.h"
#include "users/users.h"

/* QoS 1 PUBLISHes of one client that may be under way, as CONNACK says */
#define RECEIVE_MAXIMUM 512
/* no packet with a reason string is longer: a client that takes less gets none */
#define WORDS_PACKET 400

enum {
    R_OK = 0,
    R_UNSPECIFIED = 0x80,
    R_MALFORMED = 0x81,
    R_PROTOCOL = 0x82,
    R_VERSION = 0x84,
    R_CLIENT_ID = 0x85,
    R_BAD_LOGIN = 0x86,
    R_NOT_AUTHORIZED = 0x87,
    R_TOPIC = 0x90,
    R_RECEIVE_MAX = 0x93,
    R_QOS = 0x9b,
    R_FILTER = 0x8f,
    R_BUSY = 0x89,
    R_QUOTA = 0x97,
    R_BAD_METHOD = 0x8c,
    R_ALIAS = 0x94,
    R_TOO_LARGE = 0x95,
    R_RETAIN = 0x9a,
    R_SHARED = 0x9e,
    R_DRAINING = 0x8b
};

void mqtt_end(struct shard *s, struct conn *c, uint8_t reason, const char *words) {
    if (c->closing) return;
    if (c->connected && c->version == 5) mqtt_encode_disconnect(&c->out, 5, reason, words);
    if (c->session) {
        struct session *session = c->session;
        c->session = NULL;
        deliver_close(s->deliver, session);
    }
    conn_finish(s, c);
}

/* ---- CONNECT ---- */
static uint8_t reason_v4(uint8_t reason) {
    return reason == R_OK               ? 0
           : reason == R_VERSION        ? 1
           : reason == R_CLIENT_ID      ? 2
           : reason == R_BAD_LOGIN      ? 4
           : reason == R_NOT_AUTHORIZED ? 5
                                        : 3;
}

static void connect_refuse(struct shard *s, struct conn *c, uint8_t reason, const char *words) {
    struct mqtt_properties p = {.reason_string = bytes_str(words)};
    mqtt_encode_connack(
        &c->out, c->version, false, c->version == 5 ? reason : reason_v4(reason), &p);
    conn_finish(s, c);
}

static void connect_accept(struct shard *s, struct conn *c, bool present) {
    const struct connect_wish *w = c->wish;
    struct mqtt_properties p = {.has_receive_maximum = true,
        .receive_maximum = RECEIVE_MAXIMUM,
        .has_maximum_packet_size = true,
        .maximum_packet_size = MQTT_PACKET_MAX,
        .has_maximum_qos = true,
        .maximum_qos = 1,
        .no_retain = true,
        .no_shared = true};
    /* of 0: a backend has no session to keep */
    if (c->who.server && w->expiry_s && c->version == 5) p.has_session_expiry = true;
    if (w->assigned) p.assigned_client_id = c->who.device;
    uint16_t most = s->server->o.mqtt_keepalive_max_s;
    c->keep_alive_s = w->keep_alive_s;
    if (most && (!c->keep_alive_s || c->keep_alive_s > most)) {
        c->keep_alive_s = most;
        p.has_server_keep_alive = true;
        p.server_keep_alive_s = most;
    }
    c->connected = true;
    mqtt_encode_connack(&c->out, c->version, present, R_OK, &p);
    conn_touch(s, c);
    if (c->in.n) conn_read_again(s, c); /* what came behind the CONNECT */
    c->kept = w->expiry_s != 0;
    free(c->wish);
    c->wish = NULL;
}

static uint32_t expiry_of(const struct mqtt_packet *p) {
    if (p->version == 5)
        return p->properties.has_session_expiry ? p->properties.session_expiry_s : 0;
    return p->clean ? 0 : SESSION_EXPIRY_NEVER;
}

/* The client id becomes the device's name; room: for one that is made here. */
static bool client_id_take(
    struct principal *who, const struct mqtt_packet *p, struct buf *room, bool *assigned) {
    if (!p->client_id.n && who->device.n) return true;
    if (!p->client_id.n) {
        uint8_t raw[9];
        if (p->version == 4 && !p->clean) return false;
        random_secret(raw, sizeof raw);
        buf_str(room, "auto-");
        base64url_encode(room, bytes_of(raw, sizeof raw));
        who->device = buf_view(room);
        *assigned = true;
        return true;
    }
    if (who->device.n && !bytes_eq(who->device, p->client_id)) return false;
    who->device = p->client_id;
    return id_valid(who->device);
}

/* Checks who it is; false: refused. */
static bool connect_admit(struct shard *s, struct conn *c, const struct mqtt_packet *p) {
    struct buf why = {0}, id = {0};
    struct arena a = {0};
    struct principal who;
    enum err e = admit_check(s->server->admit, p->password, clock_wall_ms(), &a, &who, &why);
    buf_char(&why, 0);
    bool ok = e == OK && !p->has_will && client_id_take(&who, p, &id, &c->wish->assigned);
    if (ok) conn_is(c, &who);
    else if (e != OK) connect_refuse(s, c, R_BAD_LOGIN, (const char *)why.p);
    else if (p->has_will) connect_refuse(s, c, R_NOT_AUTHORIZED, "wills are not offered yet");
    else
        connect_refuse(s, c, R_CLIENT_ID,
            "the client id must be the token's device: 1 to 64 of A-Z a-z 0-9 _ . : -");
    buf_done(&why);
    buf_done(&id);
    arena_done(&a);
    return ok;
}

static void connect_take(struct shard *s, struct conn *c, const struct mqtt_packet *p) {
    c->version = p->version;
    c->problem_info = !p->properties.no_problem_info;
    struct connect_wish *w = c->wish = must_alloc(sizeof *w);
    *w = (struct connect_wish){.clean = p->clean,
        .expiry_s = expiry_of(p),
        .keep_alive_s = p->keep_alive_s,
        .version = p->version,
        .receive_maximum = p->properties.has_receive_maximum ? p->properties.receive_maximum : 0,
        .packet_max =
            p->properties.has_maximum_packet_size ? p->properties.maximum_packet_size : 0};
    if (w->packet_max && w->packet_max < WORDS_PACKET) c->problem_info = false;
    if (s->draining)
        return connect_refuse(
            s, c, R_DRAINING, "this server is shutting down; connect again in a moment");
    if (p->properties.has_auth_method)
        return connect_refuse(s, c, R_BAD_METHOD,
            "no extended authentication is offered; send the token as password");
    if (!p->has_password || !p->password.n)
        return connect_refuse(
            s, c, R_NOT_AUTHORIZED, "send a device token, or a server key, as the password");
    if (!connect_admit(s, c, p)) return;
    if (!limits_known(s, c, c->who.device))
        return connect_refuse(s, c, R_QUOTA, "too many connections of this app or device");
    if (c->who.server) {
        connect_accept(s, c, false); /* a backend: it publishes, and has no mailbox */
    } else {
        unsigned to =
            partition_of_user(c->who.app, c->who.user, s->server->partitions) % s->server->shards;
        if (to != s->index) conn_move(s, c, to);
        else mqtt_moved(s, c);
    }
}

/* On the shard where the user's mailbox is. */
void mqtt_moved(struct shard *s, struct conn *c) {
    struct viewer v;
    users_viewer(
        engine_cells(s->engine, partition_of_user(c->who.app, c->who.user, s->server->partitions)),
        &c->who, &v);
    if (v.revoked)
        return connect_refuse(
            s, c, R_NOT_AUTHORIZED, "this token was revoked; ask your application for a new one");
    if (!limits_user(s, c, c->who.device))
        return connect_refuse(s, c, R_QUOTA, "this user has too many devices connected");
    const struct connect_wish *w = c->wish;
    struct session_open o = {.app = c->who.app,
        .user = c->who.user,
        .device = c->who.device,
        .kind = SESSION_MQTT,
        .version = w->version,
        .clean = w->clean,
        .expiry_s = w->expiry_s,
        .receive_maximum = w->receive_maximum,
        .packet_max = w->packet_max,
        .conn = c,
        .out = &c->out};
    c->session = deliver_open(s->deliver, &o);
}

void mqtt_opened(void *arg, void *conn, bool present, enum err err) {
    struct shard *s = arg;
    struct conn *c = conn;
    if (c->protocol == PROTO_HTTP || c->connected) return;
    if (err == OK) connect_accept(s, c, present);
    else if (err == REFUSED)
        connect_refuse(
            s, c, R_QUOTA, "this user has too many kept sessions; delete a device first");
    else
        connect_refuse(
            s, c, R_BUSY, "the session could not be stored just now; connect again in a moment");
}

/* ---- acknowledgements, in the order of the PUBLISHes ---- */
static bool must_wait(const struct conn *c) {
    return c->ack_count >= ACKS_MAX || c->suback_count >= SUBACKS_MAX;
}

static void input_unblock(struct shard *s, struct conn *c) {
    if (!c->in_blocked || must_wait(c)) return;
    c->in_blocked = false;
    conn_read_again(s, c);
}

static void acks_flush(struct shard *s, struct conn *c) {
    while (c->ack_count && c->acks[c->ack_head].done) {
        struct ack_slot *a = &c->acks[c->ack_head];
        if (a->qos1)
            mqtt_encode_ack(&c->out, c->version, MQTT_PUBACK, a->packet, a->reason,
                c->problem_info ? a->words : NULL);
        free(a->words);
        if (a->qos1) c->ack_qos1--;
        *a = (struct ack_slot){0};
        c->ack_head = (uint16_t)((c->ack_head + 1) % c->ack_cap);
        c->ack_count--;
        conn_touch(s, c);
    }
    input_unblock(s, c);
}

static uint32_t ack_begin(struct conn *c, uint16_t packet, bool qos1) {
    if (c->ack_count == c->ack_cap) {
        uint16_t cap = c->ack_cap ? (uint16_t)(c->ack_cap * 2) : 4;
        struct ack_slot *n = must_alloc(cap * sizeof *n);
        for (uint16_t i = 0; i < c->ack_count; i++) n[i] = c->acks[(c->ack_head + i) % c->ack_cap];
        free(c->acks);
        c->acks = n;
        c->ack_cap = cap;
        c->ack_head = 0;
    }
    uint16_t at = (uint16_t)((c->ack_head + c->ack_count++) % c->ack_cap);
    c->acks[at] = (struct ack_slot){.packet = packet, .qos1 = qos1};
    if (qos1) c->ack_qos1++;
    return packet;
}

static struct ack_slot *ack_find(struct conn *c, uint32_t packet) {
    for (uint16_t i = 0; i < c->ack_count; i++) {
        struct ack_slot *a = &c->acks[(c->ack_head + i) % c->ack_cap];
        if (a->packet == packet && !a->done) return a;
    }
    return NULL;
}

static void error_told(struct shard *s, struct conn *c, const struct answer *a) {
    if (!c->who.user.n) return;
    struct buf topic = {0}, payload = {0};
    buf_fmt(&topic, "users/%.*s/errors", (int)c->who.user.n, (const char *)c->who.user.p);
    answer_problem_json(a, &payload);
    deliver_live(s->deliver, c->who.app, c->who.user, buf_view(&topic), buf_view(&payload));
    buf_done(&topic);
    buf_done(&payload);
}

/* The problem as a reason string, which has no other place for the field to blame. */
static char *words_of(const struct answer *a) {
    struct buf b = {0};
    if (a->field[0] && !strstr(a->detail, a->field)) buf_fmt(&b, "%s: ", a->field);
    buf_str(&b, a->detail[0] ? a->detail : problem_title(a->problem));
    buf_char(&b, 0);
    return (char *)b.p;
}

/* MQTT 3.1.1 cannot refuse: a permanent refusal is acknowledged and told apart; a temporary one
 * closes the connection, so that it is sent again. */
static void publish_done(struct shard *s, struct conn *c, uint32_t packet, const struct answer *a) {
    if (a->problem && c->version != 5 && !problem_permanent(a->problem)) {
        mqtt_end(s, c, R_BUSY, NULL);
        return;
    }
    if (a->problem && c->version != 5) error_told(s, c, a);
    struct ack_slot *slot = ack_find(c, packet);
    if (!slot) return;
    slot->done = true;
    slot->reason = c->version == 5 && a->problem ? problem_reason(a->problem) : R_OK;
    if (a->problem && c->version == 5) slot->words = words_of(a);
    acks_flush(s, c);
}

void mqtt_answered(struct shard *s, struct conn *c, struct job *j) {
    if (!c->closing) publish_done(s, c, j->slot, &j->answer);
}

/* ---- PUBLISH ---- */
static bool topic_split(
    struct bytes topic, const char *prefix, const char *suffix, struct bytes *id) {
    size_t a = strlen(prefix), b = strlen(suffix);
    if (topic.n <= a + b || !bytes_starts(topic, prefix) ||
        memcmp(topic.p + topic.n - b, suffix, b) != 0)
        return false;
    *id = bytes_of(topic.p + a, topic.n - a - b);
    return id_valid(*id);
}

static void request_publish(struct shard *s, struct conn *c, const struct mqtt_packet *p,
    const struct route *route, struct bytes conversation) {
    struct job *j = job_make(s, JOB_MQTT);
    struct request *r = &j->request;
    j->conn = c->index;
    j->generation = c->generation;
    j->slot = ack_begin(c, p->packet_id, p->qos == 1);
    j->route = route;
    r->who = c->who;
    r->who.app = arena_copy(&j->arena, c->who.app);
    r->who.user = arena_copy(&j->arena, c->who.user);
    r->who.device = arena_copy(&j->arena, c->who.device);
    r->who.key = (struct bytes){0};
    r->params[0] = arena_copy(&j->arena, conversation);
    r->now_ms = s->now_ms;
    r->epoch = s->server->epoch;
    r->partitions = s->server->partitions;
    r->has_json = json_parse(s->json, p->payload, &r->json) == OK;
    if (r->who.server && !(r->who.scopes & route->scope))
        answer_problem(&j->answer, PROBLEM_FORBIDDEN, "",
            "this server key lacks the scope for this; make one with it");
    else if (!r->has_json)
        answer_problem(&j->answer, PROBLEM_MALFORMED, "", "the payload is not JSON (RFC 8259)");
    else if (s->draining)
        answer_problem(
            &j->answer, PROBLEM_DRAINING, "", "nothing was stored; this server is shutting down");
    else if (route->plan(r, &j->plan, &j->answer) == OK) {
        job_start(s, j);
        return;
    }
    job_count(s, j);
    publish_done(s, c, j->slot, &j->answer);
    job_free(s, j);
}

static void live_publish(
    struct shard *s, struct conn *c, const struct mqtt_packet *p, struct bytes conversation) {
    struct answer a = {0};
    struct json root, online;
    if (limits_shed(s, SHED_LIVE, &a)) {
        /* live only: who cannot be told loses nothing that was promised */
        if (c->version != 5) a.problem = PROBLEM_NONE;
    } else if (conversation.n) {
        if (!live_typing(s, c->who.app, c->who.user, conversation))
            answer_problem(&a, PROBLEM_NOT_FOUND, "", "there is no such conversation");
    } else if (json_parse(s->json, p->payload, &root) != OK || !json_get(root, "online", &online) ||
               json_kind_of(online) != JSON_BOOL) {
        answer_problem(&a, PROBLEM_MALFORMED, "online",
            "presence is {\"online\": true} or {\"online\": false}");
    } else {
        live_presence(s, c->who.app, c->who.user, json_bool(online));
    }
    publish_done(s, c, ack_begin(c, p->packet_id, p->qos == 1), &a);
}

static void publish_refuse(
    struct shard *s, struct conn *c, const struct mqtt_packet *p, const char *words) {
    struct answer a = {0};
    answer_problem(&a, PROBLEM_FORBIDDEN, "", "%s", words);
    publish_done(s, c, ack_begin(c, p->packet_id, p->qos == 1), &a);
}

/* MQTT 5 is told of its rate, and then not read either; QoS 0 and 3.1.1 can only be slowed. */
static bool rate_refused(struct shard *s, struct conn *c, const struct mqtt_packet *p) {
    struct answer a = {0};
    if (limits_request(s, &c->who, &a)) return false;
    publish_done(s, c, ack_begin(c, p->packet_id, p->qos == 1), &a);
    limits_slow(s, c, a.retry_after_s * 1000);
    return true;
}

static void publish_take(struct shard *s, struct conn *c, const struct mqtt_packet *p) {
    struct bytes id, own = {0};
    if (p->qos > 1) return mqtt_end(s, c, R_QOS, "QoS 0 and 1 are offered");
    if (p->retain && c->version == 5)
        return mqtt_end(s, c, R_RETAIN, "retained messages are not offered");
    if (p->properties.has_topic_alias)
        return mqtt_end(s, c, R_ALIAS, "topic aliases are not offered");
    if (p->qos && c->ack_qos1 >= RECEIVE_MAXIMUM && c->version == 5)
        return mqtt_end(s, c, R_RECEIVE_MAX, "more PUBLISHes under way than the receive maximum");
    if (p->retain) { /* 3.1.1 did not hear that there are none */
        publish_refuse(s, c, p, "retained messages are not offered");
    } else if (topic_split(p->topic, "conversations/", "/messages", &id)) {
        request_publish(s, c, p, s->server->message_route, id);
    } else if (topic_split(p->topic, "conversations/", "/receipts", &id) && c->who.user.n) {
        request_publish(s, c, p, s->server->receipt_route, id);
    } else if (topic_split(p->topic, "conversations/", "/typing", &id) && c->who.user.n) {
        live_publish(s, c, p, id);
    } else if (topic_split(p->topic, "users/", "/presence", &own) && c->who.user.n &&
               bytes_eq(own, c->who.user)) {
        live_publish(s, c, p, (struct bytes){0});
    } else {
        publish_refuse(s, c, p,
            "this topic is not open to you; devices publish to conversations/{id}/messages");
    }
}

/* ---- SUBSCRIBE ---- */
static struct pending_suback *suback_make(struct conn *c, const struct mqtt_packet *p) {
    struct pending_suback *w = must_alloc(sizeof *w);
    w->cookie = ++c->subscribe_cookie;
    w->packet = p->packet_id;
    w->count = p->filter_count;
    w->unsubscribe = p->type == MQTT_UNSUBSCRIBE;
    w->next = c->subacks;
    c->subacks = w;
    c->suback_count++;
    return w;
}

static void suback_send(struct shard *s, struct conn *c, uint32_t cookie, enum err err) {
    for (struct pending_suback **at = &c->subacks; *at; at = &(*at)->next) {
        struct pending_suback *w = *at;
        if (w->cookie != cookie) continue;
        for (uint16_t i = 0; err != OK && i < w->count; i++)
            if (w->codes[i] < R_UNSPECIFIED)
                w->codes[i] = c->version == 5 ? R_QUOTA : R_UNSPECIFIED;
        mqtt_encode_suback(&c->out, c->version, w->unsubscribe ? MQTT_UNSUBACK : MQTT_SUBACK,
            w->packet, w->codes, w->count);
        *at = w->next;
        free(w);
        c->suback_count--;
        conn_touch(s, c);
        input_unblock(s, c);
        return;
    }
}

void mqtt_subscribed(void *arg, void *conn, uint32_t cookie, enum err err) {
    suback_send(arg, conn, cookie, err);
}

static uint8_t filter_code(const struct conn *c, const struct mqtt_filter *f) {
    if (bytes_starts(f->filter, "$share/")) return R_SHARED;
    enum err e = c->session ? deliver_filter_check(c->session, f->filter) : REFUSED;
    if (e == MALFORMED) return R_FILTER;
    if (e != OK) return R_NOT_AUTHORIZED;
    return (f->options & 3) > 1 ? 1 : f->options & 3;
}

static void subscribe_take(struct shard *s, struct conn *c, const struct mqtt_packet *p) {
    struct session_filter list[MQTT_FILTERS_MAX];
    struct pending_suback *w = suback_make(c, p);
    size_t n = 0;
    for (uint16_t i = 0; i < p->filter_count; i++) {
        uint8_t code = filter_code(c, &p->filters[i]);
        w->codes[i] = c->version == 5 || code < R_UNSPECIFIED ? code : R_UNSPECIFIED;
        if (code >= R_UNSPECIFIED) continue;
        list[n++] = (struct session_filter){p->filters[i].filter,
            (uint8_t)((p->filters[i].options & ~3) | code),
            p->properties.subscription_id_count ? p->properties.subscription_ids[0] : 0};
    }
    uint32_t cookie = w->cookie;
    enum err e = n ? deliver_subscribe(s->deliver, c->session, list, n, cookie) : OK;
    if (!n || e != OK) suback_send(s, c, cookie, e);
}

static void unsubscribe_take(struct shard *s, struct conn *c, const struct mqtt_packet *p) {
    struct bytes list[MQTT_FILTERS_MAX];
    struct pending_suback *w = suback_make(c, p);
    size_t n = 0;
    for (uint16_t i = 0; i < p->filter_count; i++) {
        bool had = c->session && deliver_has_filter(c->session, p->filters[i].filter);
        w->codes[i] = had ? R_OK : 0x11;
        if (had) list[n++] = p->filters[i].filter;
    }
    uint32_t cookie = w->cookie;
    enum err e = n ? deliver_unsubscribe(s->deliver, c->session, list, n, cookie) : OK;
    if (!n || e != OK) suback_send(s, c, cookie, e);
}

/* ---- packets ---- */
static void disconnect_take(struct shard *s, struct conn *c, const struct mqtt_packet *p) {
    /* 5.0, 3.14.2.2.2 */
    if (p->properties.has_session_expiry && p->properties.session_expiry_s && !c->kept)
        return mqtt_end(s, c, R_PROTOCOL, "this session was to end with its connection");
    if (c->session && p->properties.has_session_expiry)
        deliver_set_expiry(s->deliver, c->session, p->properties.session_expiry_s);
    conn_hangup(s, c);
}

/* false: the connection is gone or ending. */
static bool packet_take(struct shard *s, struct conn *c, const struct mqtt_packet *p) {
    switch (p->type) {
    case MQTT_PUBLISH: publish_take(s, c, p); break;
    case MQTT_PUBACK:
        /* of an unknown packet: nothing to do */
        if (c->session) (void)deliver_acked(s->deliver, c->session, p->packet_id);
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
