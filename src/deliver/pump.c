/* deliver, the sending half: which entries a session sees, and how they are written.
 * Keeps: sent rises; nothing is written past the durable mark, the window or the output bound.
 * SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>
#include <string.h>

#include "deliver/deliver_in.h"
#include "wire/wire.h"

static bool filter_takes(
    const struct session *s, const struct kept_filter *f, const char *type_topic) {
    /* users/{me}/ then '#', '+' or the type */
    const char *t = f->text;
    if (strncmp(t, "users/", 6) != 0) return false;
    t += 6;
    if (strncmp(t, (const char *)s->user.p, s->user.n) != 0) return false;
    t += s->user.n;
    if (t[0] == '/' && (strcmp(t + 1, "#") == 0 || strcmp(t + 1, "+") == 0)) return true;
    return t[0] == '/' && strcmp(t + 1, type_topic) == 0;
}

/* Position after which this session sees entries of the type; UINT64_MAX: none of its filters takes
 * them. */
uint64_t session_floor(
    const struct session *s, uint8_t type, uint8_t *out_qos, uint32_t *out_subscription) {
    uint64_t floor = UINT64_MAX;
    *out_qos = 0;
    *out_subscription = 0;
    for (size_t i = 0; i < s->filter_count; i++) {
        const struct kept_filter *f = &s->filters[i];
        if (!filter_takes(s, f, entry_type_topic(type))) continue;
        if (f->start < floor) floor = f->start;
        uint8_t qos = f->options & 3;
        if (qos > 1) qos = 1;
        if (qos > *out_qos) *out_qos = qos;
        if (f->subscription_id) *out_subscription = f->subscription_id;
    }
    return floor;
}

static bool room_left(const struct session *s) {
    return s->flight_count < s->window_max && s->out->n < DELIVER_OUTPUT_MAX;
}

void session_want_mark(struct deliver *d, struct session *s) {
    if (s->held) return;
    struct buf *b = &d->body;
    buf_reset(b);
    pack_bytes(b, s->user);
    pack_bytes(b, s->device);
    pack_var(b, engine_applied(d->o.engine, s->partition) + 2u * d->o.mark_ahead);
    s->held = d->o.append(d->o.arg, s->partition, KIND_SESSION_MARK, s->app, buf_view(b), s->id,
                  PURPOSE_MARK, 0) == OK;
}

static void flight_add(struct session *s, const struct entry *e, uint16_t packet) {
    if (s->flight_count == s->window_cap) {
        uint16_t cap = s->window_cap ? (uint16_t)(s->window_cap * 2) : 8;
        struct flight *w = must_alloc(sizeof *w * cap);
        for (uint16_t i = 0; i < s->flight_count; i++)
            w[i] = s->window[(s->flight_head + i) % s->window_cap];
        free(s->window);
        s->window = w;
        s->window_cap = cap;
        s->flight_head = 0;
    }
    struct flight *f = &s->window[(s->flight_head + s->flight_count++) % s->window_cap];
    *f = (struct flight){.position = e->position, .seq = e->seq, .packet = packet};
    if (e->type == ENTRY_MESSAGE && e->event == EVENT_CREATED && !bytes_eq(e->from, s->user))
        f->conversation = strndup((const char *)e->conversation.p, e->conversation.n);
}

static bool payload_make(struct deliver *d, struct session *s, const struct entry *e) {
    /* A caller walks one partition's positions: an entry that many share is rendered once. */
    if (d->cached_position == e->position && d->cached_partition == s->partition && d->payload.n)
        return true;
    struct view v = {.user = s->user, .device = s->device, .now_ms = d->o.now_ms(d->o.arg)};
    bool shared = false;
    struct buf *b = &d->payload;
    buf_reset(b);
    buf_char(b, '{');
    d->cached_position = 0;
    if (!d->o.render(engine_cells(d->o.engine, s->partition), s->app, &v, e, b, &shared))
        return false;
    buf_str(b, ",\"cursor\":\"");
    cursor_format(b, d->o.epoch, e->position);
    buf_str(b, "\",\"event\":\"");
    buf_str(b, entry_event_name(e->event));
    buf_str(b, "\"}");
    if (shared) {
        d->cached_position = e->position;
        d->cached_partition = s->partition;
    }
    return true;
}

static void stream_write(struct deliver *d, struct session *s, const struct entry *e) {
    struct view v = {.user = s->user, .device = s->device, .now_ms = d->o.now_ms(d->o.arg)};
    bool shared;
    struct buf *b = &d->payload;
    buf_reset(b);
    d->cached_position = 0;
    char at[24];
    buf_str(b, "{\"cursor\":\"");
    cursor_format(b, d->o.epoch, e->position);
    buf_str(b, "\",\"at\":\"");
    time_format(e->at_ms, at);
    buf_add(b, at, sizeof at);
    buf_fmt(b, "\",\"type\":\"%s\",\"event\":\"%s\",\"%s\":{", entry_type_name(e->type),
        entry_event_name(e->event), entry_type_name(e->type));
    if (!d->o.render(engine_cells(d->o.engine, s->partition), s->app, &v, e, b, &shared)) return;
    buf_str(b, "}}");
    buf_reset(&d->topic);
    cursor_format(&d->topic, d->o.epoch, e->position);
    sse_write_event(s->out, buf_view(&d->topic), bytes_str(entry_type_name(e->type)), buf_view(b));
    d->delivered++;
    d->o.output(d->o.arg, s->conn);
}

static bool packet_taken(const struct session *s, uint16_t packet) {
    for (uint16_t i = 0; i < s->flight_count; i++)
        if (s->window[(s->flight_head + i) % s->window_cap].packet == packet) return true;
    return false;
}

/* Made of the position, so that what is sent again on another connection has the same (MQTT 4.4);
 * the next one when the window is so wide that it is taken. */
static uint16_t packet_of(struct session *s, uint64_t position) {
    uint16_t packet = (uint16_t)(position % 65535 + 1);
    if (!s->flight_count || (!s->shifted && position - s->window[s->flight_head].position < 65535))
        return packet;
    while (packet_taken(s, packet)) {
        packet = packet == 65535 ? 1 : (uint16_t)(packet + 1);
        s->shifted = true;
    }
    return packet;
}

static void mqtt_write(struct deliver *d, struct session *s, const struct entry *e, uint8_t qos,
    uint32_t subscription) {
    uint16_t packet = qos ? packet_of(s, e->position) : 0;
    size_t before = s->out->n;
    struct buf *t = &d->topic;
    buf_reset(t);
    buf_str(t, "users/");
    buf_bytes(t, s->user);
    buf_char(t, '/');
    buf_str(t, entry_type_topic(e->type));
    bool dup = qos && e->position <= s->dup_to && d->o.planted != BUG_DUP_MISSING;
    struct mqtt_properties p, *props = NULL;
    if (s->version == 5 && subscription) {
        memset(&p, 0, sizeof p);
        mqtt_properties_add_subscription_id(&p, subscription);
        props = &p;
    }
    mqtt_encode_publish(
        s->out, s->version, buf_view(t), buf_view(&d->payload), qos, dup, false, packet, props);
    /* too long for it: dropped, as if it had been sent */
    if (s->packet_max && s->out->n - before > s->packet_max) {
        s->out->n = before;
        return;
    }
    if (qos) flight_add(s, e, packet);
    d->delivered++;
    d->o.output(d->o.arg, s->conn);
}

/* false: no room, or the mark must rise first; the entry was not sent and `sent` did not move. */
bool session_send(struct deliver *d, struct session *s, const struct entry *e) {
    if (e->position <= s->sent) return true;
    if (!room_left(s)) return false;
    if (s->kind == SESSION_STREAM) {
        stream_write(d, s, e);
        s->sent = e->position;
        return true;
    }
    uint8_t qos;
    uint32_t subscription;
    uint64_t floor = session_floor(s, e->type, &qos, &subscription);
    if (e->position > floor && floor != UINT64_MAX) {
        if (s->kept && qos) {
            if (e->position + d->o.mark_ahead / 2 > s->mark) session_want_mark(d, s);
            if (e->position > s->mark) return false;
        }
        if (payload_make(d, s, e)) mqtt_write(d, s, e, qos, subscription);
    }
    s->sent = e->position;
    if (!s->flight_count) s->acked = s->sent;
    return true;
}

struct walk {
    struct deliver *d;
    struct session *s;
    bool stopped;
};

static bool pump_one(void *arg, const struct entry *e) {
    struct walk *w = arg;
    if (session_send(w->d, w->s, e)) return true;
    w->stopped = true;
    return false;
}

/* A gap must not pass for the whole: what retention took is said before what it left. */
static void missed_told(struct deliver *d, struct session *s) {
    struct answer a = {0};
    s->missed = false;
    answer_problem(&a, PROBLEM_GONE, "",
        "what this session had not acknowledged is past retention in part; what is kept follows");
    buf_reset(&d->topic);
    buf_str(&d->topic, "users/");
    buf_bytes(&d->topic, s->user);
    buf_str(&d->topic, "/errors");
    buf_reset(&d->payload);
    d->cached_position = 0;
    answer_problem_json(&a, &d->payload);
    session_live(d, s, buf_view(&d->topic), buf_view(&d->payload));
}

void session_pump(struct deliver *d, struct session *s) {
    enum { PUMP_BATCH = 128 };
    if (!s->open || s->caught_up) return;
    if (s->missed) missed_told(d, s);
    struct cells *c = engine_cells(d->o.engine, s->partition);
    struct walk w = {d, s, false};
    while (room_left(s)) {
        uint64_t applied = engine_applied(d->o.engine, s->partition);
        size_t n = mailbox_walk(c, s->app, s->user, s->sent, PUMP_BATCH, pump_one, &w);
        if (w.stopped) return;
        if (n < PUMP_BATCH) {
            s->caught_up = true;
            if (applied > s->sent) s->sent = applied;
            return;
        }
    }
}
