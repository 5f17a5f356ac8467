/* replay: playing a trace: sending in order, resending after a lost connection, checking what
 * arrives. SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "replay/play.h"

/* messages due and not answered at full speed: more would only wait in memory */
#define AHEAD_MAX 8192u
#define AGAIN_NS (50 * MILLI_NS)
#define LINGER_NS (500 * MILLI_NS) /* after the last arrival: for what should not come */

static struct play *play_of(struct device *d) {
    return ((struct play *)(void *)((char *)d->fleet - offsetof(struct play, fleet)));
}
static uint32_t person_of(const struct device *d) { return (uint32_t)(d - d->fleet->devices); }
static bool alone(const struct trace_conversation *c) { return c->people[0] == c->people[1]; }

/* ---- sending ---- */
static void list_put(struct play *p, uint32_t conversation) {
    struct play_conversation *c = &p->conversations[conversation];
    if (c->listed) return;
    c->listed = true;
    p->list[(p->list_at + p->list_count++) % p->trace->conversation_count] = conversation;
}

static void message_write(struct play *p, uint32_t m, struct buf *topic, struct buf *payload) {
    buf_fmt(topic, "conversations/%s.c%u/messages", p->run, p->trace->messages[m].conversation);
    buf_fmt(
        payload, "{\"id\":\"%s.m%u\",\"body\":\"line %u\"}", p->run, m, p->trace->messages[m].line);
}

static void flight_add(struct player *who, uint32_t m, uint16_t packet) {
    if (who->count == who->cap) {
        who->cap = (uint16_t)(who->cap ? who->cap * 2 : 4);
        who->flights = must_realloc(who->flights, who->cap * sizeof *who->flights);
    }
    who->flights[who->count++] = (struct flight){m, packet};
}

static bool message_send(struct play *p, uint32_t conversation, int64_t now) {
    struct play_conversation *c = &p->conversations[conversation];
    uint32_t m = c->head,
             who = p->trace->conversations[conversation].people[p->trace->messages[m].by_second];
    struct device *d = &p->fleet.devices[who];
    struct buf topic = {0}, payload = {0};
    if (p->under_way >= p->inflight || d->state != DEVICE_READY ||
        d->outstanding >= p->fleet.receive_maximum || now < c->not_before_ns)
        return false;
    message_write(p, m, &topic, &payload);
    flight_add(&p->players[who], m, device_publish(d, buf_view(&topic), buf_view(&payload)));
    buf_done(&topic);
    buf_done(&payload);
    if (p->speed == 0) p->messages[m].due_ns = now;
    else
        hist_record(&p->lateness,
            (uint64_t)(now > p->messages[m].due_ns ? now - p->messages[m].due_ns : 0));
    p->messages[m].place = c->accepted + 1;
    c->under_way = true;
    p->under_way++;
    return true;
}

static void list_send(struct play *p) {
    int64_t now = clock_mono_ns();
    for (size_t n = p->list_count; n && p->under_way < p->inflight; n--) {
        uint32_t conversation = p->list[p->list_at];
        p->list_at = (p->list_at + 1) % p->trace->conversation_count;
        p->list_count--;
        p->conversations[conversation].listed = false;
        if (!message_send(p, conversation, now)) list_put(p, conversation);
    }
}

/* Messages that are due join their conversation. Returns when the next one will be. */
static int64_t due_take(struct play *p) {
    int64_t now = clock_mono_ns();
    for (; p->next < p->trace->message_count; p->next++) {
        const struct trace_message *t = &p->trace->messages[p->next];
        if (p->speed == 0 && p->waiting >= AHEAD_MAX) return INT64_MAX;
        if (p->speed > 0) {
            double after = t->at_s / p->speed * 1e9;
            int64_t due = p->begun_ns + (after < 9e18 ? (int64_t)after : 0);
            if (due > now) return due;
            p->messages[p->next].due_ns = due;
        }
        struct play_conversation *c = &p->conversations[t->conversation];
        c->queued++;
        p->waiting++;
        if (!c->under_way) list_put(p, t->conversation);
    }
    return INT64_MAX;
}

static void answered(struct play *p, uint32_t m, uint8_t reason) {
    uint32_t conversation = p->trace->messages[m].conversation;
    struct play_conversation *c = &p->conversations[conversation];
    c->under_way = false;
    p->under_way--;
    if (reason >= 0x80 && reason_is_temporary(reason)) {
        c->not_before_ns = clock_mono_ns() + AGAIN_NS;
        return list_put(p, conversation);
    }
    if (reason >= 0x80) {
        if (!p->refused++)
            snprintf(p->refusal, sizeof p->refusal,
                "the message of line %u was refused with reason 0x%02x", p->trace->messages[m].line,
                reason);
        p->messages[m].flags |= PLAY_REFUSED;
    } else {
        p->messages[m].flags |= PLAY_ACCEPTED;
        p->accepted++;
        c->accepted++;
        p->expected += alone(&p->trace->conversations[conversation]) ? 1 : 2;
    }
    p->answered++;
    p->waiting--;
    c->queued--;
    c->head = p->trace->messages[m].next;
    if (c->queued) list_put(p, conversation);
}

static void on_acked(struct device *d, uint16_t packet, uint8_t reason) {
    struct play *p = play_of(d);
    struct player *who = &p->players[person_of(d)];
    for (uint16_t i = 0; i < who->count; i++) {
        if (who->flights[i].packet != packet) continue;
        uint32_t m = who->flights[i].message;
        memmove(&who->flights[i], &who->flights[i + 1],
            (size_t)(who->count - i - 1) * sizeof *who->flights);
        who->count--;
        p->moved_ns = clock_mono_ns();
        hist_record(&p->ack, (uint64_t)(p->moved_ns - p->messages[m].due_ns));
        return answered(p, m, reason);
    }
}

static void on_ready_again(struct device *d, bool present) {
    struct play *p = play_of(d);
    struct player *who = &p->players[person_of(d)];
    if (!present) p->sessions_lost++;
    p->moved_ns = clock_mono_ns();
    for (uint16_t i = 0; i < who->count; i++) {
        struct buf topic = {0}, payload = {0};
        message_write(p, who->flights[i].message, &topic, &payload);
        device_resend(d, who->flights[i].packet, buf_view(&topic), buf_view(&payload));
        buf_done(&topic);
        buf_done(&payload);
    }
}

/* ---- checking ---- */
static bool number_after(struct bytes v, const char *run, char letter, uint32_t *out) {
    size_t n = strlen(run), i = n + 2;
    uint64_t value = 0;
    if (v.n <= n + 2 || memcmp(v.p, run, n) != 0 || v.p[n] != '.' || v.p[n + 1] != letter)
        return false;
    for (; i < v.n; i++) {
        if (v.p[i] < '0' || v.p[i] > '9' || value > UINT32_MAX) return false;
        value = value * 10 + (uint64_t)(v.p[i] - '0');
    }
    *out = (uint32_t)value;
    return value <= UINT32_MAX;
}

static bool field_is(struct json root, const char *key, const char *text) {
    struct json v;
    return json_get(root, key, &v) && bytes_is(json_string(v), text);
}

/* Once at each member, and there one after the other from seq 1. */
static void arrived(
    struct play *p, uint32_t person, uint32_t conversation, uint32_t m, int64_t seq, bool dup) {
    const struct trace_conversation *t = &p->trace->conversations[conversation];
    struct play_conversation *c = &p->conversations[conversation];
    unsigned side = t->people[0] == person ? 0 : 1;
    uint8_t got = side ? GOT_SECOND : GOT_FIRST;
    if (t->people[side] != person || p->trace->messages[m].conversation != conversation) {
        p->strays++;
        return;
    }
    if (p->messages[m].flags & got) {
        if (dup) p->redelivered++;
        else p->repeated++;
        return;
    }
    p->messages[m].flags |= got;
    p->delivered++;
    p->moved_ns = p->last_ns = clock_mono_ns();
    hist_record(&p->delivery,
        (uint64_t)(p->last_ns > p->messages[m].due_ns ? p->last_ns - p->messages[m].due_ns : 0));
    if (seq != (int64_t)c->seen[side] + 1 || seq != (int64_t)p->messages[m].place) p->reordered++;
    if (seq > c->seen[side] && seq < UINT32_MAX) c->seen[side] = (uint32_t)seq;
}

static void on_published(struct device *d, const struct mqtt_packet *packet) {
    struct play *p = play_of(d);
    struct json root, conversation, id, seq;
    uint32_t c, m;
    size_t n = packet->topic.n;
    if (n < 9 || memcmp(packet->topic.p + n - 9, "/messages", 9) != 0) return;
    if (json_parse(p->json, packet->payload, &root) != OK ||
        !json_get(root, "conversation", &conversation) || !json_get(root, "id", &id) ||
        !json_get(root, "seq", &seq) || !field_is(root, "event", "created"))
        return;
    /* other traffic of this user */
    if (!number_after(json_string(conversation), p->run, 'c', &c)) return;
    if (c >= p->trace->conversation_count || !number_after(json_string(id), p->run, 'm', &m) ||
        m >= p->trace->message_count) {
        p->strays++;
        return;
    }
    arrived(p, person_of(d), c, m, json_i64(seq), packet->dup);
}

/* ---- running ---- */
static void loss_count(struct play *p) {
    for (size_t m = 0; m < p->trace->message_count; m++) {
        uint8_t flags = p->messages[m].flags;
        if (!(flags & (PLAY_ACCEPTED | PLAY_REFUSED))) p->unsent++;
        if (!(flags & PLAY_ACCEPTED)) continue;
        if (!(flags & GOT_FIRST)) p->lost++;
        if (!(flags & GOT_SECOND) &&
            !alone(&p->trace->conversations[p->trace->messages[m].conversation]))
            p->lost++;
    }
}

static void play_begin(struct play *p) {
    const struct trace *t = p->trace;
    p->messages = must_alloc(t->message_count * sizeof *p->messages);
    p->conversations = must_alloc(t->conversation_count * sizeof *p->conversations);
    p->players = must_alloc(t->people_count * sizeof *p->players);
    p->list = must_alloc(t->conversation_count * sizeof *p->list);
    p->json = json_reader_create();
    for (size_t i = 0; i < t->conversation_count; i++)
        p->conversations[i].head = t->conversations[i].first;
    p->fleet.published = on_published;
    p->fleet.acked = on_acked;
    p->fleet.ready_again = on_ready_again;
    p->begun_ns = p->moved_ns = p->last_ns = clock_mono_ns();
}

void play_run(
    struct play *p, double patience_s, void (*moved)(void *arg, uint64_t delivered), void *arg) {
    int64_t patience = (int64_t)(patience_s * 1e9);
    play_begin(p);
    for (;;) {
        int64_t due = due_take(p);
        list_send(p);
        fleet_flush(&p->fleet);
        bool all = p->next == p->trace->message_count && !p->waiting && p->delivered >= p->expected;
        int64_t now = clock_mono_ns(), soon = now + (p->list_count ? 10 : 100) * MILLI_NS;
        if (all && now - p->moved_ns > LINGER_NS) break;
        if (!all && due == INT64_MAX && now - p->moved_ns > patience) break;
        /* Waiting for the next line's time is no silence, unless what went before stays unanswered.
         * */
        if (due != INT64_MAX && !p->waiting && p->delivered >= p->expected) p->moved_ns = now;
        if (due != INT64_MAX && now - p->moved_ns > patience) break;
        fleet_turn(&p->fleet, due < soon ? due : soon);
        moved(arg, p->delivered);
    }
    loss_count(p);
}

bool play_is_clean(const struct play *p) {
    return !p->lost && !p->repeated && !p->reordered && !p->refused && !p->unsent && !p->strays;
}

void play_done(struct play *p) {
    for (size_t i = 0; p->players && i < p->trace->people_count; i++) free(p->players[i].flights);
    free(p->players);
    free(p->messages);
    free(p->conversations);
    free(p->list);
    json_reader_free(&p->json);
}
