/* conn: MQTT's CONNECT: who it is, where its session lives, what it is told.
 * SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>
#include <string.h>

#include "conn/limits.h"
#include "conn/mqtt_in.h"
#include "conn/transport.h"
#include "users/users.h"

static uint8_t reason_v4(uint8_t reason) {
    return reason == R_OK                                    ? 0
           : reason == R_VERSION                             ? 1
           : reason == R_CLIENT_ID                           ? 2
           : reason == R_BAD_LOGIN                           ? 4
           : reason == R_NOT_AUTHORIZED || reason == R_TOPIC ? 5
                                                             : 3;
}

void connect_refuse(struct shard *s, struct conn *c, uint8_t reason, const char *words) {
    struct mqtt_properties p = {.reason_string = bytes_str(words)};
    if (reason == R_ELSEWHERE) p.server_reference = bytes_str(s->server->o.mqtt_redirect);
    mqtt_encode_connack(
        &c->out, c->version, false, c->version == 5 ? reason : reason_v4(reason), &p);
    conn_finish(s, c);
}

/* In --dev a page that went away is soon missed: but of who can be told so, and wants to be missed. */
static uint16_t keep_alive_of(const struct shard *s, const struct conn *c) {
    enum { DEV_MOST_S = 60 };
    uint16_t wish = c->wish->keep_alive_s, most = s->server->o.mqtt_keepalive_max_s;
    if (!most && s->server->o.dev) return c->version == 5 && wish > DEV_MOST_S ? DEV_MOST_S : wish;
    return most && (!wish || wish > most) ? most : wish;
}

/* Where the session goes on, for a client that may come back another way: by a stream, or when the
 * session has expired. */
static void cursor_told(struct shard *s, const struct conn *c, struct buf *out) {
    const struct connect_wish *w = c->wish;
    if (!c->who.user.n || !w->expiry_s || (w->packet_max && w->packet_max < WORDS_PACKET)) return;
    struct buf cursor = {0};
    cursor_format(&cursor, s->server->epoch, deliver_position(c->session));
    mqtt_user_property(out, "kith-cursor", buf_view(&cursor));
    buf_done(&cursor);
}

static void connect_accept(struct shard *s, struct conn *c, bool present) {
    const struct connect_wish *w = c->wish;
    struct mqtt_properties p = {.has_receive_maximum = true,
        .receive_maximum = RECEIVE_MAXIMUM,
        .has_maximum_packet_size = true,
        .maximum_packet_size = MQTT_PACKET_MAX,
        .has_topic_alias_maximum = true,
        .topic_alias_maximum = ALIASES_IN_MAX};
    if (c->who.server && c->version == 5) p.has_session_expiry = true; /* of 0 */
    if (w->assigned) p.assigned_client_id = c->who.device;
    c->keep_alive_s = keep_alive_of(s, c);
    if (c->keep_alive_s != w->keep_alive_s) {
        p.has_server_keep_alive = true;
        p.server_keep_alive_s = c->keep_alive_s;
    }
    c->connected = c->fresh = true;
    atomic_fetch_add(&s->gauges.fresh, 1);
    struct buf more = {0};
    if (c->version == 5) cursor_told(s, c, &more);
    p.forward = buf_view(&more);
    mqtt_encode_connack(&c->out, c->version, present, R_OK, &p);
    buf_done(&more);
    conn_touch(s, c);
    if (c->in.n) conn_read_again(s, c); /* what came behind the CONNECT */
    c->expiry_s = w->expiry_s;
    free(c->wish);
    c->wish = NULL;
}

static uint32_t expiry_of(const struct mqtt_packet *p) {
    if (p->version == 5)
        return p->properties.has_session_expiry ? p->properties.session_expiry_s : 0;
    return p->clean ? 0 : SESSION_EXPIRY_NEVER;
}

/* Of a client that is no user's device: any name that a level of a topic can be. */
static bool client_id_free(struct bytes id) {
    return id.n && id.n <= 64 && utf8_valid(id) && mqtt_topic_valid(id) && !memchr(id.p, '/', id.n);
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
    return who->user.n ? id_valid(who->device) : client_id_free(who->device);
}

/* A will is published as the device publishes: to plain channels that it may. false: refused. */
static bool will_take(
    struct shard *s, struct conn *c, const struct mqtt_packet *p, const struct principal *who) {
    if (!channel_is_plain(p->will_topic))
        connect_refuse(s, c, R_TOPIC, "a will goes to a plain channel, of at most 512 bytes");
    else if (!channel_may(s->rules, who, CHANNEL_PUBLISH, p->will_topic))
        connect_refuse(s, c, R_NOT_AUTHORIZED, "the will's topic is not open to this client");
    else c->will = will_make(p, who);
    return c->will != NULL;
}

/* In --dev who names nobody is let into plain channels. */
static enum err who_is_it(struct shard *s, const struct mqtt_packet *p, struct arena *a,
    struct principal *who, struct buf *why) {
    if (p->has_password && p->password.n)
        return admit_check(s->server->admit, p->password, clock_wall_ms(), a, who, why);
    *who = (struct principal){.app = BYTES("demo")};
    return OK;
}

/* Checks who it is; false: refused. */
static bool connect_admit(struct shard *s, struct conn *c, const struct mqtt_packet *p) {
    struct buf why = {0}, id = {0};
    struct arena a = {0};
    struct principal who;
    enum err e = who_is_it(s, p, &a, &who, &why);
    buf_char(&why, 0);
    bool ok = e == OK && client_id_take(&who, p, &id, &c->wish->assigned);
    if (ok && p->has_will) ok = will_take(s, c, p, &who);
    else if (e != OK) connect_refuse(s, c, R_BAD_LOGIN, (const char *)why.p);
    else if (!ok)
        connect_refuse(s, c, R_CLIENT_ID,
            "the client id must be the token's device: 1 to 64 of A-Z a-z 0-9 _ . : -");
    if (ok) conn_is(c, &who);
    buf_done(&why);
    buf_done(&id);
    arena_done(&a);
    return ok;
}

void connect_take(struct shard *s, struct conn *c, const struct mqtt_packet *p) {
    c->version = p->version;
    c->problem_info = !p->properties.no_problem_info;
    struct connect_wish *w = c->wish = must_alloc(sizeof *w);
    *w = (struct connect_wish){.came_ns = transport_is_tls(c) ? c->since_ms * 1000000
                                                              : s->came_ns, /* with its handshake */
        .clean = p->clean,
        .expiry_s = expiry_of(p),
        .keep_alive_s = p->keep_alive_s,
        .version = p->version,
        .receive_maximum = p->properties.has_receive_maximum ? p->properties.receive_maximum : 0,
        .alias_max = p->properties.topic_alias_maximum,
        .packet_max =
            p->properties.has_maximum_packet_size ? p->properties.maximum_packet_size : 0};
    if (w->packet_max && w->packet_max < WORDS_PACKET) c->problem_info = false;
    if (s->draining)
        return connect_refuse(s, c, s->server->o.mqtt_redirect ? R_ELSEWHERE : R_DRAINING,
            "this server is shutting down; connect again in a moment");
    if (p->properties.has_auth_method)
        return connect_refuse(s, c, R_BAD_METHOD,
            "no extended authentication is offered; send the token as password");
    if ((!p->has_password || !p->password.n) && !s->server->o.dev)
        return connect_refuse(
            s, c, R_NOT_AUTHORIZED, "send a device token, or a server key, as the password");
    if (!connect_admit(s, c, p)) return;
    if (!limits_known(s, c, c->who.device))
        return connect_refuse(s, c, R_QUOTA, "too many connections of this app or device");
    if (c->who.server) c->wish->expiry_s = 0; /* a backend has no session to keep */
    unsigned to = session_partition(c->who.app, c->who.user, c->who.device, s->server->partitions) %
                  s->server->shards;
    if (to != s->index) conn_move(s, c, to);
    else mqtt_moved(s, c);
}

/* On the shard where the user's mailbox is. */
void mqtt_moved(struct shard *s, struct conn *c) {
    uint16_t at = partition_of_user(c->who.app, c->who.user, s->server->partitions);
    if (c->who.user.n && users_revoked(engine_cells(s->engine, at), &c->who))
        return connect_refuse(
            s, c, R_NOT_AUTHORIZED, "this token was revoked; ask your application for a new one");
    if (!limits_user(s, c, c->who.device))
        return connect_refuse(s, c, R_QUOTA, "this user has too many devices connected");
    const struct connect_wish *w = c->wish;
    will_end(s, &c->who, w->clean);
    struct session_open o = {.app = c->who.app,
        .user = c->who.user,
        .device = c->who.device,
        .kind = SESSION_MQTT,
        .version = w->version,
        .clean = w->clean,
        .expiry_s = w->expiry_s,
        .receive_maximum = w->receive_maximum,
        .packet_max = w->packet_max,
        .alias_max = w->alias_max,
        .server = c->who.server,
        .lent = true,
        .scopes = c->who.scopes,
        .conn = c,
        .out = &c->out};
    c->session = deliver_open(s->deliver, &o);
}

void mqtt_opened(void *arg, void *conn, bool present, enum err err) {
    struct shard *s = arg;
    struct conn *c = conn;
    if (c->protocol == PROTO_HTTP || c->connected) return;
    struct journey_about about = {
        .app = c->who.app, .conversation = c->who.user, .item = c->who.device};
    if (c->wish)
        journey_other(s->journeys, JOURNEY_CONNECT, c->wish->came_ns, clock_mono_ns(), &about);
    if (err == OK) connect_accept(s, c, present);
    else if (err == REFUSED)
        connect_refuse(
            s, c, R_QUOTA, "this user has too many kept sessions; delete a device first");
    else
        connect_refuse(
            s, c, R_BUSY, "the session could not be stored just now; connect again in a moment");
}
