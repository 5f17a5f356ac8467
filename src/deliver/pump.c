/* deliver, the sending half: which entries a session sees, and how they are written.
 * Keeps: sent rises; nothing is written past the durable mark, the window or the output bound.
 * SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>
#include <string.h>

#include "deliver/deliver_in.h"
#include "wire/wire.h"

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

/* May a kept session be sent what stands at the position? Asks for more in time. */
bool mark_allows(struct deliver *d, struct session *s, uint64_t position) {
    if (!s->kept) return true;
    if (position + d->o.mark_ahead / 2 > s->mark) session_want_mark(d, s);
    return position <= s->mark;
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
    if (!d->o.tools->entry_json(
            d->o.tools, engine_cells(d->o.engine, s->partition), s->app, &v, e, b, &shared))
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

/* It is in the connection's output. */
static void written(struct deliver *d, struct session *s, const struct entry *e) {
    d->counts.delivered++;
    journey_wrote(d->o.journeys, s->partition, e->position, s->user, s->device);
    if (!s->late || !d->o.journeys) return;
    struct journey_about about = {.app = s->app, .conversation = s->user, .item = s->device};
    int64_t now = d->o.mono_ns();
    journey_other(d->o.journeys, JOURNEY_DEVICE, now - (d->o.now_ms(d->o.arg) - e->at_ms) * 1000000,
        now, &about);
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
    if (!d->o.tools->entry_json(
            d->o.tools, engine_cells(d->o.engine, s->partition), s->app, &v, e, b, &shared))
        return;
    buf_str(b, "}}");
    buf_reset(&d->topic);
    cursor_format(&d->topic, d->o.epoch, e->position);
    sse_write_event(s->out, buf_view(&d->topic), bytes_str(entry_type_name(e->type)), buf_view(b));
    written(d, s, e);
    d->o.output(d->o.arg, s->conn);
}

static void flight_message(struct session *s, const struct entry *e, uint16_t packet) {
    struct flight *f = flight_add(s, e->position, packet, 1);
    f->seq = e->seq;
    if (e->type == ENTRY_MESSAGE && e->event == EVENT_CREATED && !bytes_eq(e->from, s->user))
        f->conversation = strndup((const char *)e->conversation.p, e->conversation.n);
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
    if (qos) flight_message(s, e, packet);
    written(d, s, e);
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
        if (qos && !mark_allows(d, s, e->position)) return false;
        if (payload_make(d, s, e)) mqtt_write(d, s, e, qos, subscription);
    }
    s->sent = e->position;
    if (!s->flight_count) s->acked = s->sent;
    return true;
}

struct walk {
    struct deliver *d;
    struct session *s;
    bool stopped, plain;
};

static bool pump_plain(void *arg, uint64_t position, const struct channel_message *m, bool shared) {
    struct walk *w = arg;
    if (plain_entry(w->d, w->s, position, m, shared)) return true;
    w->stopped = true;
    return false;
}

/* What plain channels have in the partition's list up to the position. */
static bool pump_list(struct walk *w, uint64_t to) {
    const struct session *s = w->s;
    if (!w->plain) return true;
    if (to > s->list_to) to = s->list_to;
    return channel_walk(engine_cells(w->d->o.engine, s->partition), s->app, s->user, s->device,
        s->sent, to, pump_plain, w);
}

static bool pump_one(void *arg, const struct entry *e) {
    struct walk *w = arg;
    if (pump_list(w, e->position - 1) && session_send(w->d, w->s, e)) return true;
    w->stopped = true;
    return false;
}

static bool hears_list(const struct session *s) {
    for (const struct subscription *f = s->filters; f && s->list_to > s->sent; f = f->next)
        if (f->plain && (f->options & 3)) return true;
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
    struct walk w = {d, s, false, hears_list(s)};
    while (room_left(s)) {
        uint64_t applied = engine_applied(d->o.engine, s->partition);
        size_t n =
            s->user.n ? mailbox_walk(c, s->app, s->user, s->sent, PUMP_BATCH, pump_one, &w) : 0;
        if (w.stopped) return;
        if (n < PUMP_BATCH) {
            if (!pump_list(&w, applied)) return;
            s->caught_up = true;
            s->late = false;
            if (applied > s->sent) s->sent = applied;
            if (!s->flight_count) s->acked = s->sent;
            return;
        }
    }
}
