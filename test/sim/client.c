/* sim: what users and devices do, and what they remember of what they were told. Their requests are
 * records as the plans make them.
 * SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "sim.h"

enum { DIRECT = 1, GROUP, CHANNEL, BLOCK = 1 };
/* Conversations: c0 direct u0 u1 · c1 direct u2 u3 · c2 group of all · c3 group u0 u2 u4 (members
 * change) · c4 channel of all */
static const uint8_t CONV_TYPE[CONVS] = {DIRECT, DIRECT, GROUP, GROUP, CHANNEL};
static const uint8_t CONV_MEMBERS[CONVS][USERS] = {
    {1, 1}, {0, 0, 1, 1}, {1, 1, 1, 1, 1}, {1, 0, 1, 0, 1}, {1, 1, 1, 1, 1}};

struct bytes app_name(unsigned app) {
    return bytes_str(app ? "other" : "demo");
}
struct bytes user_name(unsigned user) {
    static const char *const NAMES[USERS] = {"u0", "u1", "u2", "u3", "u4"};
    return bytes_str(NAMES[user]);
}
struct bytes conv_name_of(unsigned conv) {
    static const char *const NAMES[CONVS] = {"c0", "c1", "c2", "c3", "c4"};
    return bytes_str(NAMES[conv]);
}
int user_of(struct bytes name) {
    return name.n == 2 && name.p[0] == 'u' && name.p[1] >= '0' && name.p[1] < '0' + USERS
               ? name.p[1] - '0'
               : -1;
}

static uint16_t home_of_conv(unsigned app, unsigned conv) {
    return partition_of_conversation(app_name(app), conv_name_of(conv), PARTITIONS);
}
static uint16_t home_of_user(unsigned app, unsigned user) {
    return partition_of_user(app_name(app), user_name(user), PARTITIONS);
}

/* ---- requests ---- */
static void conversation_make(struct sim *s, unsigned app, unsigned conv) {
    struct buf b = {0}, members = {0};
    uint64_t n = 0;
    for (unsigned u = 0; u < USERS; u++)
        if (CONV_MEMBERS[conv][u]) {
            pack_bytes(&members, user_name(u));
            n++;
        }
    pack_bytes(&b, conv_name_of(conv));
    pack_bytes(&b, (struct bytes){0});
    pack_u8(&b, 16); /* the type is given */
    pack_u8(&b, CONV_TYPE[conv]);
    pack_u8(&b, 0);
    pack_var(&b, 0);
    pack_bytes(&b, (struct bytes){0});
    pack_bytes(&b, (struct bytes){0});
    pack_var(&b, n);
    buf_bytes(&b, buf_view(&members));
    struct ticket t = {.kind = TICKET_OTHER};
    check(node_append(s, home_of_conv(app, conv), KIND_CONV_PUT, app, buf_view(&b), &t) == OK);
    buf_done(&b);
    buf_done(&members);
}

static void message_send(struct sim *s, uint32_t i) {
    struct sent *m = &s->sent[i];
    char id[16], text[32];
    snprintf(id, sizeof id, "m%u", i);
    snprintf(text, sizeof text, "said %u in %s", i, m->app ? "other" : "demo");
    struct buf b = {0};
    pack_bytes(&b, conv_name_of(m->conv));
    pack_bytes(&b, (struct bytes){0});
    pack_bytes(&b, user_name(m->from));
    pack_bytes(&b, bytes_str(id));
    pack_u8(&b, 1);
    pack_bytes(&b, bytes_str(text));
    for (int k = 0; k < 5; k++) pack_bytes(&b, (struct bytes){0});
    struct ticket t = {.kind = TICKET_MESSAGE, .sent = i};
    if (node_append(s, home_of_conv(m->app, m->conv), KIND_MESSAGE, m->app, buf_view(&b), &t) == OK)
        m->state = SENT_PENDING;
    buf_done(&b);
}

static void message_new(struct sim *s) {
    if (s->sent_count == SENT_MAX) return;
    struct sent *m = &s->sent[s->sent_count];
    *m = (struct sent){.app = (uint8_t)below(s, APPS),
        .conv = (uint8_t)below(s, CONVS),
        .from = (uint8_t)below(s, USERS),
        .state = SENT_UNKNOWN};
    while (!CONV_MEMBERS[m->conv][m->from]) m->from = (uint8_t)below(s, USERS);
    message_send(s, s->sent_count++);
}

static void message_again(struct sim *s) {
    if (!s->sent_count) return;
    uint32_t i = s->sent_count - 1 - (uint32_t)below(s, s->sent_count < 40 ? s->sent_count : 40);
    if (s->sent[i].state == SENT_PENDING) return;
    s->counts[COUNT_RETRIED]++;
    message_send(s, i);
}

static void message_change(struct sim *s) {
    if (!s->sent_count) return;
    uint32_t i = (uint32_t)below(s, s->sent_count);
    struct sent *m = &s->sent[i];
    if (m->state != SENT_ACKED) return;
    char id[16];
    snprintf(id, sizeof id, "m%u", i);
    struct buf b = {0};
    bool edit = chance(s, 60);
    pack_bytes(&b, conv_name_of(m->conv));
    pack_bytes(&b, (struct bytes){0});
    pack_bytes(&b, bytes_str(id));
    if (edit) {
        pack_u8(&b, 1);
        pack_u8(&b, 1);
        pack_bytes(&b, bytes_str(m->app ? "changed in other" : "changed in demo"));
        pack_bytes(&b, (struct bytes){0});
        pack_bytes(&b, (struct bytes){0});
    }
    struct ticket t = {.kind = TICKET_OTHER};
    if (node_append(s, home_of_conv(m->app, m->conv),
            edit ? KIND_MESSAGE_EDIT : KIND_MESSAGE_DELETE, m->app, buf_view(&b), &t) == OK)
        m->touched = true;
    buf_done(&b);
}

static void receipt_send(struct sim *s) {
    unsigned app = (unsigned)below(s, APPS), conv = (unsigned)below(s, CONVS),
             user = (unsigned)below(s, USERS);
    struct buf b = {0};
    uint64_t delivered = below(s, 40), read = below(s, 40);
    pack_bytes(&b, conv_name_of(conv));
    pack_bytes(&b, user_name(user));
    pack_var(&b, delivered);
    pack_var(&b, read);
    struct ticket t = {.kind = TICKET_OTHER};
    (void)!node_append(s, home_of_conv(app, conv), KIND_RECEIPT, app, buf_view(&b), &t);
    buf_done(&b);
}

static void block_toggle(struct sim *s) {
    struct ticket t = {.kind = TICKET_BLOCK,
        .app = (uint8_t)below(s, APPS),
        .user = (uint8_t)below(s, USERS),
        .other = (uint8_t)below(s, USERS)};
    uint8_t *state = &s->block[t.app][t.user][t.other];
    if (t.user == t.other) return;
    for (size_t i = 0; i < s->ticket_count; i++)
        if (s->tickets[i].kind == TICKET_BLOCK && s->tickets[i].app == t.app &&
            s->tickets[i].user == t.user && s->tickets[i].other == t.other)
            return;
    t.on = *state == 2 ? (uint8_t)below(s, 2) : !*state;
    struct buf b = {0};
    pack_bytes(&b, user_name(t.user));
    pack_bytes(&b, user_name(t.other));
    pack_u8(&b, BLOCK);
    pack_u8(&b, t.on);
    if (node_append(s, home_of_user(t.app, t.user), KIND_RELATION, t.app, buf_view(&b), &t) == OK) {
        *state = 2;
        if (t.on) s->ever_blocked[t.app][t.user][t.other] = true;
    }
    buf_done(&b);
}

static void member_change(struct sim *s) {
    unsigned app = (unsigned)below(s, APPS), user = (unsigned)below(s, USERS);
    bool in = chance(s, 60);
    struct buf b = {0};
    pack_bytes(&b, conv_name_of(3));
    pack_bytes(&b, (struct bytes){0});
    pack_bytes(&b, user_name(user));
    if (in) pack_u8(&b, 1);
    struct ticket t = {.kind = TICKET_OTHER};
    (void)!node_append(
        s, home_of_conv(app, 3), in ? KIND_MEMBER_PUT : KIND_MEMBER_DELETE, app, buf_view(&b), &t);
    buf_done(&b);
}

/* ---- answers ---- */
static void message_answered(struct sim *s, uint32_t i, const struct answer *a) {
    struct sent *m = &s->sent[i];
    if (a->problem) {
        if (m->acked_once) {
            /* A block that came later does not undo what was sent, but the same again may be told
             * so. */
            if (a->problem != PROBLEM_BLOCKED && a->problem != PROBLEM_NOT_A_MEMBER &&
                a->problem != PROBLEM_NOT_FOUND)
                violated(s, "m%u was acknowledged, and the same again gives %s: %s", i,
                    problem_code(a->problem), a->detail);
            m->state = SENT_ACKED;
            return;
        }
        if (a->problem == PROBLEM_CONFLICT) violated(s, "m%u: %s", i, a->detail);
        s->counts[a->problem == PROBLEM_BLOCKED ? COUNT_BLOCKED_REFUSED : COUNT_REFUSED]++;
        m->state = SENT_REFUSED;
        return;
    }
    char text[64 * 1024 + 1];
    size_t n = a->body.n < sizeof text - 1 ? a->body.n : sizeof text - 1;
    memcpy(text, a->body.p, n);
    text[n] = 0;
    const char *at = strstr(text, "\"seq\":");
    if (!at) violated(s, "the answer to m%u has no seq: %s", i, text);
    uint64_t seq = strtoull(at + 6, NULL, 10);
    if (m->acked_once && seq != m->seq)
        violated(s, "m%u had seq %llu, the same again has %llu", i, (unsigned long long)m->seq,
            (unsigned long long)seq);
    if (!m->acked_once) s->counts[COUNT_ACKED]++;
    m->acked_once = true;
    m->seq = seq;
    m->state = SENT_ACKED;
}

void client_answered(struct sim *s, const struct ticket *t, struct answer *a) {
    if (t->kind == TICKET_MESSAGE) message_answered(s, t->sent, a);
    plain_answered(s, t, a);
    alarm_answered(s, t);
    setting_answered(s, t, a);
    trigger_answered(s, t, a);
    send_answered(s, t, a);
    if (t->kind == TICKET_BLOCK) {
        if (a->problem) violated(s, "a block is refused: %s", a->detail);
        s->block[t->app][t->user][t->other] = t->on;
    }
}

/* ---- devices ---- */
static void got_set(struct device *d, uint64_t position) {
    if (position >= d->got_size) {
        size_t size = d->got_size ? d->got_size : 256;
        while (size <= position) size *= 2;
        d->got = must_realloc(d->got, size);
        memset(d->got + d->got_size, 0, size - d->got_size);
        d->got_size = size;
    }
    d->got[position] = 1;
}

static void publish_take(struct sim *s, struct device *d, const struct mqtt_packet *p) {
    char text[4096];
    size_t n = p->payload.n < sizeof text - 1 ? p->payload.n : sizeof text - 1;
    memcpy(text, p->payload.p, n);
    text[n] = 0;
    const char *cursor = strstr(text, "\"cursor\":\""), *from = strstr(text, "\"from\":\""),
               *body = strstr(text, "\"body\":\"");
    if (!cursor) violated(s, "a publish without a cursor: %s", text);
    uint64_t position;
    if (cursor_parse(bytes_of(cursor + 10, strcspn(cursor + 10, "\"")), 7, &position) != OK)
        violated(s, "a cursor that does not parse: %s", text);
    s->counts[COUNT_DELIVERED]++;
    s->counts[COUNT_DUP] += p->dup;
    if (position <= d->conn_last)
        violated(s, "%s u%u device %u: %llu came after %llu in one connection",
            d->app ? "other" : "demo", d->user, d->n, (unsigned long long)position,
            (unsigned long long)d->conn_last);
    if (position <= d->last && !p->dup)
        violated(s, "%s u%u device %u: %llu came again without DUP", d->app ? "other" : "demo",
            d->user, d->n, (unsigned long long)position);
    d->conn_last = position;
    if (position > d->last) d->last = position;
    got_set(d, position);
    if (d->unacked_count == DELIVER_WINDOW_MAX)
        violated(s, "more than the receive maximum in flight");
    d->unacked[d->unacked_count++] = p->packet_id;
    if (body && !strstr(body, d->app ? "other" : "demo"))
        violated(s, "a device of %s got %s", d->app ? "other" : "demo", text);
    int sender = from ? user_of(bytes_of(from + 8, 2)) : -1;
    if (body && sender >= 0 && !d->slow && s->block[d->app][d->user][sender] == 1)
        violated(s, "u%u blocks u%d and got %s", d->user, sender, text);
}

void device_take(struct sim *s, struct device *d) {
    struct mqtt_packet p;
    size_t at = 0, used;
    uint8_t reason;
    while (at < d->out.n) {
        enum err e = mqtt_decode(
            bytes_of(d->out.p + at, d->out.n - at), 5, MQTT_PACKET_MAX, &p, &used, &reason);
        if (e != OK || (p.type != MQTT_PUBLISH && p.type != MQTT_PUBREL))
            violated(s, "what was written to a device does not parse");
        if (p.type == MQTT_PUBLISH && bytes_starts(p.topic, "users/")) publish_take(s, d, &p);
        else listener_take(s, d, &p);
        at += used;
    }
    buf_reset(&d->out);
}

static void device_forget(struct device *d) {
    d->open = false;
    d->session = NULL;
    d->unacked_count = 0;
    d->conn_last = 0;
    listener_left(d);
    buf_reset(&d->out);
}

void device_ended(struct sim *s, struct device *d, uint8_t reason) {
    if (reason != 0x8e)
        violated(s, "u%u device %u was thrown out with %02x", d->user, d->n, reason);
    s->counts[COUNT_TAKEOVER]++;
    device_forget(d);
}

void device_opened(struct sim *s, struct device *d, bool present, enum err e) {
    if (e != OK) {
        d->refused = true;
        if (!d->session) return; /* still inside deliver_open */
        deliver_close(s->deliver[d->lane], d->session);
        device_forget(d);
        return;
    }
    if (d->sure && !present) violated(s, "u%u device %u: its kept session is gone", d->user, d->n);
    if (!d->sure && !present) { /* a new session: from now on */
        d->subscribed = false;
        d->cursor_seen = 0;
        listener_forget(s, d);
    }
    s->counts[COUNT_SESSION_RESUMED] += present;
    d->open = d->sure = true;
}

void device_subscribed(struct sim *s, struct device *d, uint32_t cookie, enum err e) {
    if (cookie) {
        listener_subscribed(s, d, cookie, e);
        return;
    }
    if (e != OK) return;
    if (!d->subscribed)
        d->must_from = engine_applied(s->engine[d->lane], home_of_user(d->app, d->user));
    d->subscribed = true;
}

static void device_connect(struct sim *s, struct device *d, bool clean) {
    char name[8];
    snprintf(name, sizeof name, "d%u", d->n);
    d->lane = home_of_user(d->app, d->user) % s->lanes;
    bool again = d->session != NULL;
    if (again && d->slow) device_take(s, d);
    struct session_open o = {.app = app_name(d->app),
        .user = user_name(d->user),
        .device = bytes_str(name),
        .kind = SESSION_MQTT,
        .version = 5,
        .clean = clean,
        .expiry_s = 30 * 86400,
        .receive_maximum = (uint16_t)(1 + below(s, 20)),
        .conn = d,
        .out = &d->out};
    if (clean) { /* it wants to forget, and so must be new to us until the server has said so */
        d->sure = d->subscribed = false;
        d->cursor_seen = 0;
        d->must_from = UINT64_MAX;
        listener_forget(s, d);
    }
    d->slow = chance(s, 10);
    d->refused = false;
    d->conn_last = 0;
    d->unacked_count = 0;
    listener_left(d);
    struct session *made = deliver_open(s->deliver[d->lane], &o);
    d->session = made;
    if (!d->refused) return;
    deliver_close(s->deliver[d->lane], made);
    device_forget(d);
}

static void device_subscribe(struct sim *s, struct device *d) {
    char filter[16];
    snprintf(filter, sizeof filter, "users/u%u/#", d->user);
    struct session_filter f = {bytes_str(filter), 1, 0};
    (void)!deliver_subscribe(s->deliver[d->lane], d->session, &f, 1, 0);
}

static void device_ack(struct sim *s, struct device *d, unsigned n) {
    while (n-- && d->unacked_count) {
        unsigned i = chance(s, 85) ? 0 : (unsigned)below(s, d->unacked_count);
        uint16_t packet = d->unacked[i];
        memmove(&d->unacked[i], &d->unacked[i + 1], (--d->unacked_count - i) * sizeof *d->unacked);
        if (deliver_acked(s->deliver[d->lane], d->session, packet) != OK)
            violated(s, "an acknowledgement of what was sent is refused");
    }
}

static void device_step(struct sim *s) {
    struct device *d = &s->device[below(s, APPS)][below(s, USERS)][below(s, DEVICES)];
    if (!d->session) {
        device_connect(s, d, chance(s, 3));
        return;
    }
    if (!d->open) return;
    if (d->slow && d->out.n && chance(s, 50)) {
        device_take(s, d);
        deliver_written(s->deliver[d->lane], d->session);
    }
    if (!d->subscribed && chance(s, 50)) device_subscribe(s, d);
    else if (chance(s, 4)) {
        deliver_close(s->deliver[d->lane], d->session);
        device_forget(d);
    } else if (chance(s, 2)) {
        /* the line broke, and it is back before the server noticed: a takeover */
        device_connect(s, d, false);
    } else {
        if (chance(s, 8)) listener_step(s, d);
        listener_answer(s, d, 1 + (unsigned)below(s, 6));
        device_ack(s, d, 1 + (unsigned)below(s, 6));
    }
}

/* ---- the whole ---- */
void clients_begin(struct sim *s) {
    s->sent = must_alloc(SENT_MAX * sizeof *s->sent);
    s->plain = must_alloc(PLAIN_MAX * sizeof *s->plain);
    for (unsigned a = 0; a < APPS; a++) {
        for (unsigned u = 0; u < USERS; u++)
            for (unsigned n = 0; n < DEVICES; n++)
                s->device[a][u][n] = (struct device){.app = (uint8_t)a,
                    .user = (uint8_t)u,
                    .n = (uint8_t)n,
                    .must_from = UINT64_MAX};
        for (unsigned c = 0; c < CONVS; c++) conversation_make(s, a, c);
    }
    triggers_begin(s);
    sends_begin(s);
}

void clients_step(struct sim *s) {
    if (!s->up || !s->recovered || s->dead) return;
    unsigned what = (unsigned)below(s, 100);
    if (what < 32) message_new(s);
    else if (what < 38) message_again(s);
    else if (what < 43) message_change(s);
    else if (what < 49) receipt_send(s);
    else if (what < 52) block_toggle(s);
    else if (what < 54) member_change(s);
    else if (what < 69) plain_step(s);
    else if (what < 72) alarm_step(s);
    else if (what < 74) setting_step(s);
    else if (what < 80) trigger_step(s);
    else if (what < 82) send_step(s);
    else device_step(s);
}

void clients_crashed(struct sim *s) {
    for (uint32_t i = 0; i < s->sent_count; i++)
        if (s->sent[i].state == SENT_PENDING)
            s->sent[i].state = s->sent[i].acked_once ? SENT_ACKED : SENT_UNKNOWN;
    plain_crashed(s);
    triggers_crashed(s);
    sends_crashed(s);
    for (unsigned a = 0; a < APPS; a++)
        for (unsigned u = 0; u < USERS; u++)
            for (unsigned n = 0; n < DEVICES; n++) device_forget(&s->device[a][u][n]);
}

static bool all_sent(struct sim *s) {
    bool all = true;
    for (uint32_t i = 0; i < s->sent_count; i++)
        if (s->sent[i].state == SENT_UNKNOWN) {
            message_send(s, i);
            all = false;
        }
    return all;
}

static bool devices_idle(struct sim *s) {
    bool idle = true;
    for (unsigned a = 0; a < APPS; a++)
        for (unsigned u = 0; u < USERS; u++)
            for (unsigned n = 0; n < DEVICES; n++) {
                struct device *d = &s->device[a][u][n];
                if (!d->session) device_connect(s, d, false);
                if (!d->open) {
                    idle = false;
                    continue;
                }
                device_take(s, d);
                d->slow = false;
                deliver_written(s->deliver[d->lane], d->session);
                if (!d->subscribed) device_subscribe(s, d);
                if (d->unacked_count || !d->subscribed || d->plain.todo_count) idle = false;
                if (d->plain.pending) idle = false;
                listener_answer(s, d, d->plain.todo_count);
                device_ack(s, d, d->unacked_count);
            }
    return idle;
}

void clients_finish(struct sim *s) {
    enum { ROUNDS = 400 };
    for (unsigned round = 0; round < ROUNDS; round++) {
        bool sent = all_sent(s), plain = plain_finish(s), triggers = triggers_finish(s);
        bool idle = devices_idle(s);
        sent = sent && plain && triggers;
        node_settle(s, 3000, "draining");
        if (sent && idle && sends_finish(s) && devices_idle(s)) return;
    }
    violated(s, "the clients do not come to rest");
}

void clients_free(struct sim *s) {
    free(s->sent);
    free(s->plain);
    for (unsigned a = 0; a < APPS; a++)
        for (unsigned u = 0; u < USERS; u++)
            for (unsigned n = 0; n < DEVICES; n++) {
                free(s->device[a][u][n].got);
                buf_done(&s->device[a][u][n].out);
            }
}
