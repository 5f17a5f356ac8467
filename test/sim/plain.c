/* sim: plain channels as clients know them: publishers (clean and kept, at QoS 1 and 2) who send
 * again what was not acknowledged, and what devices remember of packet ids (MQTT 4.3). Of each app
 * publisher 0 is clean at QoS 1, 1 clean at QoS 2, 2 kept at QoS 1, 3 kept at QoS 2; device n of a
 * user subscribes at QoS n + 1.
 * SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "sim.h"

enum { TOPICS = 8, TOPIC_SHARED = 3, TOPIC_RETAINED = 4, FILTER_SHARED = 6, PACKETS = 6 };
static const char *const TOPIC[TOPICS] = {
    "s/a", "s/b/c", "s/b/d", "w/x", "r/0", "r/1", "r/2", "r/3"};
static const char *const FILTER[PLAIN_FILTERS] = {
    "s/a", "s/+", "s/#", "s/b/+", "+/b/c", "r/#", "$share/g/w/#", "s/b/#"};
static const char *const INNER[PLAIN_FILTERS] = {
    "s/a", "s/+", "s/#", "s/b/+", "+/b/c", "r/#", "w/#", "s/b/#"};
static const char *const PUBLISHER[PUBLISHERS] = {"p0", "p1", "p2", "p3"};

static bool is_kept(const struct plain *m) { return m->publisher >= 2; }
static bool is_once(const struct plain *m) { return m->publisher == 3; }
static uint8_t qos_of(const struct plain *m) { return m->publisher & 1 ? 2 : 1; }
static unsigned place(const struct device *d) { return d->user * (unsigned)DEVICES + d->n; }

/* ---- publishing ---- */
static bool has_pending(const struct sim *s, unsigned app, unsigned publisher) {
    for (uint32_t i = 0; i < s->plain_count; i++) {
        const struct plain *m = &s->plain[i];
        if (m->app == app && m->publisher == publisher && m->state == PLAIN_PENDING) return true;
    }
    return false;
}

static void publish(struct sim *s, uint32_t i) {
    struct plain *m = &s->plain[i];
    char text[16];
    snprintf(text, sizeof text, "p%u", i);
    struct channel_message c = {.topic = bytes_str(TOPIC[m->topic]),
        .payload = bytes_str(text),
        .user = user_name(m->publisher),
        .device = bytes_str(PUBLISHER[m->publisher]),
        .qos = qos_of(m),
        .retain = m->topic >= TOPIC_RETAINED,
        .at_ms = s->now_ms,
        .turn = i};
    struct ticket t = {.kind = TICKET_PLAIN, .sent = i};
    bool stored, counted = !m->tries || !is_once(m);
    m->tries += counted; /* what is live only comes at once */
    enum err e = channels_publish(
        s, m->app, &c, is_once(m), has_pending(s, m->app, m->publisher), m->packet, &t, &stored);
    if (e != OK) {
        m->tries -= counted;
        /* it may be there from before: only an acknowledgement frees the packet id */
        m->state = is_once(m) && m->tries ? PLAIN_UNKNOWN : PLAIN_REFUSED;
        return;
    }
    m->state = stored ? PLAIN_PENDING : PLAIN_ACKED;
    s->counts[COUNT_PLAIN_LIVE] += !stored;
}

static void owe(struct sim *s, struct plain *m) {
    struct bytes topic = bytes_str(TOPIC[m->topic]);
    for (unsigned k = 0; k < LISTENERS; k++) {
        uint8_t filters = s->device[m->app][k / DEVICES][k % DEVICES].plain.filters;
        for (unsigned f = 0; f < PLAIN_FILTERS; f++) {
            if (!(filters >> f & 1) || !mqtt_filter_matches(bytes_str(INNER[f]), topic)) continue;
            if (f == FILTER_SHARED) m->group_owed = s->group_generation[m->app] + 1;
            else m->owed[k] |= (uint8_t)(1u << f);
        }
    }
}

/* 0: none is free. */
static uint16_t packet_free(struct sim *s, unsigned app) {
    uint16_t packet = (uint16_t)(1 + below(s, PACKETS));
    for (uint32_t i = 0; i < s->plain_count; i++) {
        const struct plain *m = &s->plain[i];
        if (m->app == app && is_once(m) && m->packet == packet && m->release < 3 &&
            m->state != PLAIN_REFUSED)
            return 0;
    }
    return packet;
}

static void publish_new(struct sim *s, unsigned app, unsigned publisher) {
    if (s->plain_count == PLAIN_MAX) return;
    struct plain *m = &s->plain[s->plain_count];
    *m = (struct plain){.app = (uint8_t)app,
        .publisher = (uint8_t)publisher,
        .topic = (uint8_t)below(s, TOPIC_RETAINED + 1)};
    if (m->topic == TOPIC_RETAINED) m->topic = (uint8_t)(TOPIC_RETAINED + publisher);
    if (is_once(m) && !(m->packet = packet_free(s, app))) return;
    owe(s, m);
    publish(s, s->plain_count++);
}

/* The oldest that is not known to have arrived. false: there is none. */
static bool publish_again(struct sim *s, unsigned app, unsigned publisher) {
    for (uint32_t i = 0; i < s->plain_count; i++) {
        const struct plain *m = &s->plain[i];
        if (m->app != app || m->publisher != publisher || m->state != PLAIN_UNKNOWN) continue;
        s->counts[COUNT_PLAIN_AGAIN]++;
        publish(s, i);
        return true;
    }
    return false;
}

static bool release_one(struct sim *s, unsigned app) {
    for (uint32_t i = 0; i < s->plain_count; i++) {
        struct plain *m = &s->plain[i];
        if (m->app != app || m->release != 1) continue;
        struct bytes name = app_name(app), user = user_name(m->publisher),
                     device = bytes_str(PUBLISHER[m->publisher]);
        struct buf b = {0};
        struct ticket t = {.kind = TICKET_RELEASE, .sent = i};
        channel_release_record(&b, user, device, m->packet);
        if (node_append(s, session_partition(name, user, device, PARTITIONS), KIND_CHANNEL_RELEASE,
                app, buf_view(&b), &t) == OK)
            m->release = 2;
        buf_done(&b);
        return true;
    }
    return false;
}

void plain_step(struct sim *s) {
    unsigned app = (unsigned)below(s, APPS), publisher = (unsigned)below(s, PUBLISHERS);
    if (publisher == 3 && chance(s, 50) && release_one(s, app)) return;
    if (!publish_again(s, app, publisher)) publish_new(s, app, publisher);
}

void plain_answered(struct sim *s, const struct ticket *t, const struct answer *a) {
    if (t->kind != TICKET_PLAIN && t->kind != TICKET_RELEASE) return;
    struct plain *m = &s->plain[t->sent];
    if (a->problem) violated(s, "p%u is refused: %s", t->sent, a->detail);
    if (t->kind == TICKET_RELEASE) {
        m->release = 3;
        return;
    }
    if (is_once(m) && chance(s, s->faults ? 15 : 0)) {
        m->state = PLAIN_UNKNOWN; /* the line broke, and it never heard: it is sent again */
        return;
    }
    s->counts[COUNT_PLAIN_ACKED]++;
    m->state = PLAIN_ACKED;
    if (is_once(m)) m->release = 1;
}

void plain_crashed(struct sim *s) {
    for (uint32_t i = 0; i < s->plain_count; i++) {
        struct plain *m = &s->plain[i];
        if (m->state == PLAIN_PENDING) m->state = is_kept(m) ? PLAIN_UNKNOWN : PLAIN_LOST;
        if (m->release == 2) m->release = 1;
    }
}

bool plain_finish(struct sim *s) {
    bool idle = true;
    for (unsigned a = 0; a < APPS; a++) {
        for (unsigned p = 0; p < PUBLISHERS; p++)
            for (unsigned n = 0; n < 8 && publish_again(s, a, p); n++) idle = false;
        for (unsigned n = 0; n < 8 && release_one(s, a); n++) idle = false;
    }
    return idle;
}

/* ---- devices: what they hear ---- */
static void first_check(struct sim *s, const struct device *d, uint32_t i) {
    struct plain *m = &s->plain[i];
    uint32_t *newest = &s->device[d->app][d->user][d->n].plain.newest[m->publisher][m->topic];
    if (m->got[place(d)]) return;
    if (*newest > i + 1)
        violated(s, "u%u device %u: p%u came first after p%u", d->user, d->n, i, *newest - 1);
    *newest = i + 1;
    m->got[place(d)] = 1;
}

/* The device takes it for new. */
static void fresh_count(struct sim *s, const struct device *d, uint32_t i) {
    struct plain *m = &s->plain[i];
    unsigned all = 0;
    m->fresh[place(d)]++;
    for (unsigned k = 0; k < LISTENERS; k++)
        if (k == place(d) || m->topic == TOPIC_SHARED) all += m->fresh[k];
    if (all > m->tries)
        violated(s, "%s u%u device %u: p%u came %u times, published %u times",
            d->app ? "other" : "demo", d->user, d->n, i, all, m->tries);
    s->counts[COUNT_PLAIN_SHARED] += m->topic == TOPIC_SHARED;
}

static void todo_add(struct sim *s, struct device *d, uint8_t type, uint16_t packet) {
    struct listener *l = &d->plain;
    if (l->todo_count == sizeof l->todo / sizeof *l->todo) violated(s, "too much in flight");
    l->todo[l->todo_count++] = (struct todo){type, packet};
}

static struct held_packet *held_find(struct listener *l, uint16_t packet) {
    for (unsigned i = 0; i < l->held_count; i++)
        if (l->held[i].packet == packet) return &l->held[i];
    return NULL;
}

static void twice_take(struct sim *s, struct device *d, const struct mqtt_packet *p, uint32_t i) {
    struct listener *l = &d->plain;
    struct held_packet *h = held_find(l, p->packet_id);
    s->counts[COUNT_PLAIN_TWICE]++;
    todo_add(s, d, MQTT_PUBREC, p->packet_id);
    if (h && h->plain != i)
        violated(s, "u%u device %u: p%u comes by packet id %u, which p%u still has", d->user, d->n,
            i, p->packet_id, h->plain);
    if (h && !p->dup) violated(s, "u%u device %u: p%u again without DUP", d->user, d->n, i);
    if (h) return;
    if (l->held_count == DELIVER_WINDOW_MAX) violated(s, "too much in flight");
    l->held[l->held_count++] = (struct held_packet){p->packet_id, i};
    if (p->retain) return;
    first_check(s, d, i);
    fresh_count(s, d, i);
}

static void released_take(struct sim *s, struct device *d, uint16_t packet) {
    struct listener *l = &d->plain;
    struct held_packet *h = held_find(l, packet);
    s->counts[COUNT_PLAIN_RELEASED]++;
    if (h) *h = l->held[--l->held_count];
    todo_add(s, d, MQTT_PUBCOMP, packet);
}

void listener_take(struct sim *s, struct device *d, const struct mqtt_packet *p) {
    if (p->type == MQTT_PUBREL) {
        released_take(s, d, p->packet_id);
        return;
    }
    char text[16] = {0};
    unsigned i;
    memcpy(text, p->payload.p, p->payload.n < 15 ? p->payload.n : 15);
    if (sscanf(text, "p%u", &i) != 1 || i >= s->plain_count)
        violated(s, "u%u device %u got what nobody published: %s", d->user, d->n, text);
    const struct plain *m = &s->plain[i];
    unsigned most = d->n + 1u, qos = qos_of(m) < most ? qos_of(m) : most;
    if (m->app != d->app || !bytes_is(p->topic, TOPIC[m->topic]) || p->qos != qos)
        violated(s, "u%u device %u got p%u of another app or topic, or at QoS %u", d->user, d->n, i,
            p->qos);
    s->counts[COUNT_PLAIN_RETAINED] += p->retain;
    if (qos == 2) {
        twice_take(s, d, p, i);
        return;
    }
    s->counts[COUNT_PLAIN_ONCE]++;
    todo_add(s, d, MQTT_PUBACK, p->packet_id);
    if (p->retain) return;
    first_check(s, d, i);
    if (!p->dup) fresh_count(s, d, i);
}

void listener_answer(struct sim *s, struct device *d, unsigned n) {
    struct listener *l = &d->plain;
    struct deliver *to = s->deliver[d->lane];
    while (n-- && l->todo_count) {
        unsigned i = chance(s, 85) ? 0 : (unsigned)below(s, l->todo_count);
        struct todo t = l->todo[i];
        memmove(&l->todo[i], &l->todo[i + 1], (--l->todo_count - i) * sizeof *l->todo);
        enum err e = t.type == MQTT_PUBACK   ? deliver_acked(to, d->session, t.packet)
                     : t.type == MQTT_PUBREC ? deliver_received(to, d->session, t.packet, 0)
                                             : deliver_completed(to, d->session, t.packet);
        /* a release of what it does not have is answered, too */
        if (e != OK && t.type != MQTT_PUBCOMP)
            violated(s, "u%u device %u: its answer %u to packet %u is refused", d->user, d->n,
                t.type, t.packet);
    }
}

/* ---- devices: what they want to hear ---- */
static void give_up(struct sim *s, const struct device *d, unsigned f) {
    if (f == FILTER_SHARED) s->group_generation[d->app]++;
    for (uint32_t i = 0; i < s->plain_count; i++)
        if (s->plain[i].app == d->app) s->plain[i].owed[place(d)] &= (uint8_t) ~(1u << f);
}

void listener_step(struct sim *s, struct device *d) {
    struct listener *l = &d->plain;
    unsigned f = (unsigned)below(s, PLAIN_FILTERS);
    bool on = !(l->filters >> f & 1);
    if (l->pending || (!on && chance(s, 70))) return;
    struct bytes text = bytes_str(FILTER[f]);
    struct session_filter wish = {text, (uint8_t)(d->n + 1), 0};
    l->pending = (uint8_t)(f + 1);
    l->pending_on = on;
    if (!on) {
        l->filters &= (uint8_t) ~(1u << f);
        give_up(s, d, f);
        s->counts[COUNT_PLAIN_GIVEN_UP]++;
    }
    enum err e = on ? deliver_subscribe(s->deliver[d->lane], d->session, &wish, 1, f + 1)
                    : deliver_unsubscribe(s->deliver[d->lane], d->session, &text, 1, f + 1);
    if (e != OK) l->pending = 0;
}

void listener_subscribed(struct sim *s, struct device *d, uint32_t cookie, enum err e) {
    struct listener *l = &d->plain;
    if (l->pending != cookie) violated(s, "an answer to no SUBSCRIBE");
    if (e == OK && l->pending_on) l->filters |= (uint8_t)(1u << (cookie - 1));
    l->pending = 0;
}

void listener_left(struct device *d) {
    d->plain.todo_count = 0;
    d->plain.pending = 0;
}

void listener_forget(struct sim *s, struct device *d) {
    for (unsigned f = 0; f < PLAIN_FILTERS; f++) give_up(s, d, f);
    for (uint32_t i = 0; i < s->plain_count; i++) {
        if (s->plain[i].app != d->app) continue;
        s->plain[i].got[place(d)] = s->plain[i].fresh[place(d)] = 0;
    }
    memset(&d->plain, 0, sizeof d->plain);
}

/* ---- what must hold ---- */
static void arrived_check(struct sim *s, uint32_t i) {
    const struct plain *m = &s->plain[i];
    bool any = false;
    for (unsigned k = 0; k < LISTENERS; k++) {
        any |= m->got[k];
        if (m->owed[k] && !m->got[k])
            violated(s, "%s u%u device %u never got p%u to %s: filters %02x",
                m->app ? "other" : "demo", k / DEVICES, k % DEVICES, i, TOPIC[m->topic],
                m->owed[k]);
    }
    if (!any && m->group_owed == s->group_generation[m->app] + 1)
        violated(s, "no member of the group got p%u", i);
}

/* The last acknowledged one, or one that came later. */
static void retained_check(struct sim *s, unsigned app, unsigned publisher) {
    struct bytes topic = bytes_str(TOPIC[TOPIC_RETAINED + publisher]);
    struct channel_message c;
    uint32_t from = 0;
    for (uint32_t i = 0; i < s->plain_count; i++) {
        const struct plain *m = &s->plain[i];
        if (m->app == app && m->topic == TOPIC_RETAINED + publisher && m->state == PLAIN_ACKED)
            from = i + 1;
    }
    unsigned i = 0;
    bool there =
        channel_retained(node_cells(s, partition_of_topic(app_name(app), topic, PARTITIONS)),
            app_name(app), topic, s->now_ms, &c);
    char text[16] = {0};
    if (there) memcpy(text, c.payload.p, c.payload.n < 15 ? c.payload.n : 15);
    if (there && sscanf(text, "p%u", &i) != 1) violated(s, "what is retained is %s", text);
    if (from && (!there || i + 1 < from))
        violated(s, "%s %s retains %s, and p%u was acknowledged", app ? "other" : "demo",
            TOPIC[TOPIC_RETAINED + publisher], there ? text : "nothing", from - 1);
}

/* Called when nothing is under way. */
void check_plain(struct sim *s, bool complete) {
    for (unsigned a = 0; a < APPS; a++)
        for (unsigned p = 0; p < PUBLISHERS; p++) retained_check(s, a, p);
    for (uint32_t i = 0; i < s->plain_count && complete; i++)
        if (s->plain[i].state == PLAIN_ACKED) arrived_check(s, i);
}
