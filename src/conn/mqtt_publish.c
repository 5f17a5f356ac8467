/* conn: MQTT's PUBLISH: to a conversation it is a request like any other, to a plain channel
 * channels.c's. Acknowledgements leave in the order of the PUBLISHes (MQTT 4.6).
 * SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>
#include <string.h>

#include "conn/limits.h"
#include "conn/mqtt_in.h"

/* ---- acknowledgements, in the order of the PUBLISHes ---- */
bool must_wait(const struct conn *c) {
    return c->ack_count >= ACKS_MAX || c->suback_count >= SUBACKS_MAX;
}

void input_unblock(struct shard *s, struct conn *c) {
    if (!c->in_blocked || must_wait(c)) return;
    c->in_blocked = false;
    conn_read_again(s, c);
}

static void acks_flush(struct shard *s, struct conn *c) {
    while (c->ack_count && c->acks[c->ack_head].done) {
        struct ack_slot *a = &c->acks[c->ack_head];
        if (a->qos)
            mqtt_encode_ack(&c->out, c->version, a->qos == 1 ? MQTT_PUBACK : MQTT_PUBREC, a->packet,
                a->reason, c->problem_info ? a->words : NULL);
        free(a->words);
        if (a->qos == 1) c->ack_owed--;
        *a = (struct ack_slot){0};
        c->ack_head = (uint16_t)((c->ack_head + 1) % c->ack_cap);
        c->ack_count--;
        conn_touch(s, c);
    }
    input_unblock(s, c);
}

static uint32_t ack_begin(struct conn *c, uint16_t packet, uint8_t qos) {
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
    c->acks[at] = (struct ack_slot){.packet = packet, .qos = qos};
    if (qos == 1) c->ack_owed++;
    return packet;
}

/* ---- QoS 2: packet ids from PUBLISH to PUBREL. Of a kept session the log knows them too, for what
 * went to plain channels. ---- */
enum { FOR_CHANNEL = 1, FOR_RELEASE, FOR_FORGET };

static struct publisher *publisher_of(struct conn *c) {
    if (!c->publisher) c->publisher = must_alloc(sizeof *c->publisher);
    return c->publisher;
}

static bool received_drop(struct conn *c, uint16_t packet) {
    struct publisher *p = c->publisher;
    for (uint16_t i = 0; p && i < p->received_count; i++)
        if (p->received[i] == packet) {
            p->received[i] = p->received[--p->received_count];
            return true;
        }
    return false;
}

/* false: it is there already, so that this PUBLISH is a repetition. */
static bool received_add(struct conn *c, uint16_t packet) {
    struct publisher *p = publisher_of(c);
    for (uint16_t i = 0; i < p->received_count; i++)
        if (p->received[i] == packet) return false;
    if (p->received_count == p->received_cap) {
        p->received_cap = p->received_cap ? (uint16_t)(p->received_cap * 2) : 4;
        p->received = must_realloc(p->received, p->received_cap * sizeof *p->received);
    }
    p->received[p->received_count++] = packet;
    return true;
}

static void released(struct shard *s, struct conn *c, uint16_t packet) {
    mqtt_encode_ack(&c->out, c->version, MQTT_PUBCOMP, packet, R_OK, NULL);
    conn_touch(s, c);
}

static void release_store(struct shard *s, struct conn *c, uint16_t packet, uint8_t purpose) {
    struct job *j = job_make(s, JOB_MQTT);
    j->conn = c->index;
    j->generation = c->generation;
    j->slot = packet;
    j->purpose = purpose;
    j->request.who.app = arena_copy(&j->arena, c->who.app);
    j->request.now_ms = s->now_ms;
    j->plan.partition =
        session_partition(c->who.app, c->who.user, c->who.device, s->server->partitions);
    j->plan.kind = KIND_CHANNEL_RELEASE;
    channel_release_record(&j->plan.body, c->who.user, c->who.device, packet);
    job_start(s, j);
}

/* The sender forgets the packet id when it is told so: a kept one's must be forgotten here, for
 * good, before. */
void release_take(struct shard *s, struct conn *c, uint16_t packet) {
    received_drop(c, packet);
    if (c->expiry_s) release_store(s, c, packet, FOR_RELEASE);
    else released(s, c, packet);
}

static struct ack_slot *ack_find(struct conn *c, uint32_t packet) {
    for (uint16_t i = 0; i < c->ack_count; i++) {
        struct ack_slot *a = &c->acks[(c->ack_head + i) % c->ack_cap];
        if (a->packet == packet && !a->done) return a;
    }
    return NULL;
}

/* Beside the problem it says which PUBLISH of which device it is about: all of the user's devices hear. */
static void error_told(struct shard *s, struct conn *c, uint32_t packet, const struct answer *a) {
    if (!c->who.user.n) return;
    struct buf topic = {0}, payload = {0};
    buf_fmt(&topic, "users/%.*s/errors", (int)c->who.user.n, (const char *)c->who.user.p);
    answer_problem_json(a, &payload);
    payload.n--; /* the object's end */
    struct json_out o = {&payload, true};
    jo_key(&o, "device");
    jo_str(&o, c->who.device);
    if (packet) { /* QoS 0 has none */
        jo_key(&o, "packet_id");
        jo_u64(&o, packet);
    }
    jo_close_obj(&o);
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
    if (a->problem && c->version != 5) error_told(s, c, packet, a);
    struct ack_slot *slot = ack_find(c, packet);
    if (!slot) return;
    if (a->problem && slot->qos == 2 && c->version == 5) {
        received_drop(c, slot->packet);
        /* told so, the sender may use the id again; what it sent before may have stored it */
        if (c->expiry_s) release_store(s, c, slot->packet, FOR_FORGET);
    }
    slot->done = true;
    if (c->version == 5 && a->problem) slot->reason = problem_reason(a->problem);
    if (a->problem && c->version == 5) slot->words = words_of(a);
    acks_flush(s, c);
}

void mqtt_answered(struct shard *s, struct conn *c, const struct job *j) {
    if (c->closing) return;
    if (j->purpose == FOR_FORGET) return;
    if (j->purpose == FOR_RELEASE && j->answer.problem) {
        /* not stored: its PUBREL comes again with the next connection */
        mqtt_end(
            s, c, problem_reason(j->answer.problem), "the release could not be stored just now");
        return;
    }
    if (j->purpose == FOR_RELEASE) {
        released(s, c, (uint16_t)j->slot);
        return;
    }
    if (j->purpose == FOR_CHANNEL) c->publisher->stored--;
    publish_done(s, c, j->slot, &j->answer);
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
    j->slot = ack_begin(c, p->packet_id, p->qos);
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
    if (r->who.server && !(r->who.scopes & route->scope)) scope_refuse(&j->answer, route->scope);
    else if (!r->has_json)
        answer_problem(&j->answer, PROBLEM_MALFORMED, "", "the payload is not JSON (RFC 8259): %s",
            json_trouble(s->json));
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
    publish_done(s, c, ack_begin(c, p->packet_id, p->qos), &a);
}

/* `$` is the server's own (4.7.2). The code says it all: there are clients that take no more words. */
static void publish_to_server(struct shard *s, struct conn *c, const struct mqtt_packet *p) {
    struct answer a = {0};
    uint32_t packet = ack_begin(c, p->packet_id, p->qos);
    ack_find(c, packet)->reason = c->version == 5 ? R_NOT_AUTHORIZED : R_OK;
    publish_done(s, c, packet, &a);
}

static void publish_refuse(
    struct shard *s, struct conn *c, const struct mqtt_packet *p, const char *words) {
    struct answer a = {0};
    answer_problem(&a, PROBLEM_FORBIDDEN, "", "%s", words);
    publish_done(s, c, ack_begin(c, p->packet_id, p->qos), &a);
}

/* MQTT 5 is told of its rate, and then not read either; QoS 0 and 3.1.1 can only be slowed. */
bool rate_refused(struct shard *s, struct conn *c, const struct mqtt_packet *p) {
    struct answer a = {0};
    if (limits_request(s, &c->who, &a)) return false;
    publish_done(s, c, ack_begin(c, p->packet_id, p->qos), &a);
    limits_slow(s, c, a.retry_after_s * 1000);
    return true;
}

/* ---- plain channels ---- */
/* An alias stands for a topic of this connection (5.0, 3.3.2.3.4). false: it ends. */
static bool alias_resolve(
    struct shard *s, struct conn *c, const struct mqtt_packet *p, struct bytes *topic) {
    *topic = p->topic;
    if (!p->properties.has_topic_alias) return true;
    struct publisher *own = publisher_of(c);
    uint16_t alias = p->properties.topic_alias;
    if (!alias || alias > ALIASES_IN_MAX) {
        mqtt_end(s, c, R_ALIAS, "a topic alias is from 1 to what CONNACK said");
        return false;
    }
    char **at = &own->aliases[alias - 1];
    if (topic->n && topic->n <= CHANNEL_TOPIC_MAX) {
        free(*at);
        *at = strndup((const char *)topic->p, topic->n);
    } else if (!topic->n && !*at) {
        mqtt_end(s, c, R_PROTOCOL, "this topic alias stands for no topic yet");
        return false;
    } else if (!topic->n) {
        *topic = bytes_str(*at);
    }
    return true;
}

static void channel_publish(
    struct shard *s, struct conn *c, const struct mqtt_packet *p, struct bytes topic) {
    struct answer a = {0};
    struct buf forward = {0};
    uint32_t slot = ack_begin(c, p->packet_id, p->qos);
    measure_add(&s->measure, COUNTER_channel_messages_received, 1);
    if (!channel_may(s->rules, &c->who, CHANNEL_PUBLISH, topic)) {
        answer_problem(&a, PROBLEM_FORBIDDEN, "",
            "this topic is not open to you: a channel rule of your app must allow it");
        return publish_done(s, c, slot, &a);
    }
    if (p->properties.raw.n) mqtt_properties_forward(p->properties.raw, &forward);
    struct channel_message m = {.topic = topic,
        .payload = p->payload,
        .properties = buf_view(&forward),
        .user = c->who.user,
        .device = c->who.device,
        .qos = p->qos,
        .retain = p->retain,
        .at_ms = s->now_ms,
        .turn = s->turn++,
        .expiry_s = p->properties.has_message_expiry ? p->properties.message_expiry_s : 0};
    bool once = p->qos == 2 && c->expiry_s;
    struct channel_targets to;
    if (!channel_must_store(s, &c->who, &m, once, c->publisher && c->publisher->stored, &to)) {
        channel_live(s, c->who.app, &m);
        publish_done(s, c, slot, &a);
    } else if (s->draining) {
        answer_problem(
            &a, PROBLEM_DRAINING, "", "nothing was stored; this server is shutting down");
        publish_done(s, c, slot, &a);
    } else {
        struct job *j = job_make(s, JOB_MQTT);
        j->conn = c->index;
        j->generation = c->generation;
        j->slot = slot;
        j->purpose = FOR_CHANNEL;
        publisher_of(c)->stored++;
        channel_store(s, j, &c->who, &m, once, p->packet_id, &to);
    }
    buf_done(&forward);
}

/* true: it was had before, and is only acknowledged again. */
static bool is_repeated(struct shard *s, struct conn *c, const struct mqtt_packet *p) {
    if (p->qos != 2 || received_add(c, p->packet_id)) return false;
    mqtt_encode_ack(&c->out, c->version, MQTT_PUBREC, p->packet_id, R_OK, NULL);
    conn_touch(s, c);
    return true;
}

void publish_take(struct shard *s, struct conn *c, const struct mqtt_packet *p) {
    struct bytes id, own = {0}, topic;
    size_t owed = c->ack_owed + (c->publisher ? c->publisher->received_count : 0u);
    if (p->qos && owed >= RECEIVE_MAXIMUM && c->version == 5)
        return mqtt_end(s, c, R_RECEIVE_MAX, "more PUBLISHes under way than the receive maximum");
    if (!alias_resolve(s, c, p, &topic) || is_repeated(s, c, p)) return;
    if (p->retain && !channel_is_plain(topic)) {
        publish_refuse(s, c, p, "only plain channels retain messages; a conversation keeps all");
    } else if (topic_split(topic, "conversations/", "/messages", &id)) {
        request_publish(s, c, p, s->server->message_route, id);
    } else if (bytes_is(topic, "notifications") && c->who.server) {
        request_publish(s, c, p, s->server->notify_route, (struct bytes){0});
    } else if (topic_split(topic, "conversations/", "/receipts", &id) && c->who.user.n) {
        request_publish(s, c, p, s->server->receipt_route, id);
    } else if (topic_split(topic, "conversations/", "/typing", &id) && c->who.user.n) {
        live_publish(s, c, p, id);
    } else if (topic_split(topic, "users/", "/presence", &own) && c->who.user.n &&
               bytes_eq(own, c->who.user)) {
        live_publish(s, c, p, (struct bytes){0});
    } else if (channel_is_plain(topic)) {
        channel_publish(s, c, p, topic);
    } else if (topic.p[0] == '$') {
        publish_to_server(s, c, p);
    } else {
        publish_refuse(s, c, p,
            topic.n > CHANNEL_TOPIC_MAX
                ? "a topic has at most 512 bytes"
                : "this topic is not open to you; devices publish to conversations/{id}/messages");
    }
}
