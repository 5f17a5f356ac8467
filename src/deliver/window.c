/* deliver: the window: what was sent at QoS 1 and 2 and what the device says of it.
 * Keeps: acked rises over entries in their order; of a kept session nothing is released (PUBREL)
 * before its PUBREC is durable: the device forgets the packet id then, and could not know the
 * message again.
 * SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>
#include <string.h>

#include "deliver/deliver_in.h"

static struct flight *flight_at(const struct session *s, uint16_t i) {
    return &s->window[(s->flight_head + i) % s->window_cap];
}

void window_clear(struct session *s) {
    for (uint16_t i = 0; i < s->flight_count; i++) free(flight_at(s, i)->conversation);
    free(s->window);
    free(s->released);
    s->window = NULL;
    s->released = NULL;
    s->released_count = 0;
    s->window_cap = s->flight_count = s->flight_head = s->live_flights = 0;
}

bool room_left(const struct session *s) {
    return s->flight_count < s->window_max && s->out->n < DELIVER_OUTPUT_MAX;
}

struct flight *flight_add(struct session *s, uint64_t position, uint16_t packet, uint8_t qos) {
    if (s->flight_count == s->window_cap) {
        uint16_t cap = s->window_cap ? (uint16_t)(s->window_cap * 2) : 8;
        struct flight *w = must_alloc(sizeof *w * cap);
        for (uint16_t i = 0; i < s->flight_count; i++) w[i] = *flight_at(s, i);
        free(s->window);
        s->window = w;
        s->window_cap = cap;
        s->flight_head = 0;
    }
    struct flight *f = &s->window[(s->flight_head + s->flight_count++) % s->window_cap];
    *f = (struct flight){.position = position, .packet = packet, .qos = qos};
    if (!position) s->live_flights++;
    return f;
}

static bool packet_taken(const struct session *s, uint16_t packet) {
    for (uint16_t i = 0; i < s->flight_count; i++)
        if (flight_at(s, i)->packet == packet) return true;
    return false;
}

/* Made of the position, so that what is sent again on another connection has the same (MQTT 4.4);
 * the next one when the window is so wide that it is taken. */
uint16_t packet_of(struct session *s, uint64_t position) {
    uint16_t packet = (uint16_t)(position % PACKETS_LISTED + 1);
    if (!s->flight_count ||
        (!s->shifted && !s->live_flights && position - flight_at(s, 0)->position < PACKETS_LISTED))
        return packet;
    while (packet_taken(s, packet)) {
        packet = packet == PACKETS_LISTED ? 1 : (uint16_t)(packet + 1);
        s->shifted = true;
    }
    return packet;
}

/* In turn: the window is narrower than there are such ids. Those that an earlier connection left may
 * still be held by the device (QoS 2), who would take another message for the old one: before the
 * first use on a resumed session it is told to let go, which it answers without harm (MQTT 5,
 * 4.3.3). */
uint16_t packet_live(struct session *s, uint8_t qos) {
    struct live *l = s->live;
    if (!l->next_packet || l->next_packet == UINT16_MAX) {
        l->wrapped = l->next_packet != 0;
        l->next_packet = PACKETS_LISTED;
    }
    l->next_packet++;
    if (qos == 2 && s->stored && s->kept && !l->wrapped)
        mqtt_encode_ack(s->out, s->version, MQTT_PUBREL, l->next_packet, 0, NULL);
    return l->next_packet;
}

static void mark_note(
    struct deliver *d, struct session *s, const char *conversation, uint64_t seq) {
    for (size_t i = 0; i < s->mark_count; i++)
        if (strcmp(s->marks[i].conversation, conversation) == 0) {
            if (seq > s->marks[i].seq) s->marks[i].seq = seq;
            return;
        }
    if (s->mark_count == MARKS_MAX) ack_store(d, s, 0);
    /* the log refuses: the next acknowledgement of this conversation says more */
    if (s->mark_count == MARKS_MAX) return;
    if (!s->marks) s->marks = must_alloc(sizeof *s->marks * MARKS_MAX);
    struct pending_mark *m = &s->marks[s->mark_count++];
    memcpy(m->conversation, conversation, strlen(conversation) + 1);
    m->seq = seq;
}

static struct flight *flight_find(const struct session *s, uint16_t packet) {
    for (uint16_t i = 0; i < s->flight_count; i++) {
        struct flight *f = flight_at(s, i);
        if (f->packet == packet && !f->acked) return f;
    }
    return NULL;
}

static void flight_done(struct deliver *d, struct session *s, struct flight *done) {
    bool entries = s->flight_count > s->live_flights;
    done->acked = true;
    while (s->flight_count && flight_at(s, 0)->acked) {
        struct flight *f = flight_at(s, 0);
        if (f->position) {
            s->acked = f->position;
            journey_acked(d->o.journeys, s->partition, f->position, s->user, s->device);
        } else s->live_flights--;
        if (f->conversation) mark_note(d, s, f->conversation, f->seq);
        free(f->conversation);
        f->conversation = NULL;
        s->flight_head = (uint16_t)((s->flight_head + 1) % s->window_cap);
        s->flight_count--;
    }
    if (!s->flight_count) {
        if (entries) s->acked = s->sent;
        s->shifted = false;
    }
    if (entries) dirty_add(d, s);
    if (s->live) live_pump(d, s);
    if (!s->caught_up) ready_add(d, s);
}

enum err deliver_acked(struct deliver *d, struct session *s, uint16_t packet_id) {
    struct flight *f = flight_find(s, packet_id);
    if (!f || f->qos != 1) return MISSING;
    flight_done(d, s, f);
    return OK;
}

static void release(struct deliver *d, struct session *s, uint16_t packet) {
    mqtt_encode_ack(s->out, s->version, MQTT_PUBREL, packet, 0, NULL);
    d->o.output(d->o.arg, s->conn);
}

enum err deliver_received(
    struct deliver *d, struct session *s, uint16_t packet_id, uint8_t reason) {
    struct flight *f = flight_find(s, packet_id);
    if (!f || f->qos != 2) return MISSING;
    if (reason >= 0x80) {
        flight_done(d, s, f);
    } else if (!f->position || !s->kept || f->released || d->o.planted == BUG_RELEASED_EARLY) {
        f->released = true;
        release(d, s, packet_id);
    } else {
        record_begin(d, s);
        pack_var(&d->body, f->position);
        /* refused just now: the device sends its PUBREC again on its next connection */
        (void)!d->o.append(d->o.arg, s->partition, KIND_SESSION_RELEASED, s->app,
            buf_view(&d->body), s->id, PURPOSE_RELEASED, packet_id);
    }
    return OK;
}

void released_done(struct deliver *d, struct session *s, uint16_t packet) {
    struct flight *f = flight_find(s, packet);
    if (!f) return;
    f->released = true;
    release(d, s, packet);
}

enum err deliver_completed(struct deliver *d, struct session *s, uint16_t packet_id) {
    struct flight *f = flight_find(s, packet_id);
    if (!f || f->qos != 2 || !f->released) return MISSING;
    flight_done(d, s, f);
    return OK;
}

bool is_released(const struct session *s, uint64_t position) {
    for (uint16_t i = 0; i < s->released_count; i++)
        if (s->released[i] == position) return true;
    return false;
}

/* The device had it before its last connection ended: only its PUBCOMP is awaited. */
void release_again(struct deliver *d, struct session *s, uint64_t position) {
    struct flight *f = flight_add(s, position, packet_of(s, position), 2);
    f->released = true;
    release(d, s, f->packet);
}
