/* core: plain channels on the way (channels.h).
 * SPDX-License-Identifier: Apache-2.0 */
#include "core/core.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* ---- notes ---- */
static struct note *note_make(
    uint8_t kind, struct bytes app, struct bytes text, struct bytes message) {
    struct note *n = must_alloc(sizeof *n + app.n + text.n + message.n);
    *n = (struct note){.kind = kind,
        .app_n = (uint32_t)app.n,
        .text_n = (uint32_t)text.n,
        .n = app.n + text.n + message.n};
    memcpy(n->data, app.p, app.n);
    if (text.n) memcpy(n->data + app.n, text.p, text.n);
    if (message.n) memcpy(n->data + app.n + text.n, message.p, message.n);
    return n;
}

static bool message_of(struct bytes packed, struct channel_message *out) {
    struct unpack u = unpack_of(packed);
    return channel_unpack(&u, out);
}

/* ---- to whoever listens now ---- */
struct spreading {
    struct shard *s;
    struct bytes app;
    const struct channel_message *m;
    struct buf packed; /* made when another shard needs it */
};

static struct bytes packed_of(struct spreading *w) {
    if (!w->packed.n) channel_pack(&w->packed, w->m);
    return buf_view(&w->packed);
}

static void spread_shared(void *arg, const struct group_pick *p) {
    struct spreading *w = arg;
    if (p->kept) return; /* it has it stored */
    if (p->shard == w->s->index) {
        deliver_channel_shared(w->s->deliver, w->app, p->share, w->m);
        return;
    }
    note_send(w->s, p->shard, note_make(NOTE_SHARED, w->app, p->share, packed_of(w)));
}

/* Where someone may be about to listen. */
static uint64_t fresh_shards(const struct shard *s) {
    uint64_t bits = 0;
    for (unsigned i = 0; i < s->server->shards; i++)
        if (i != s->index && atomic_load(&s->server->shard[i].gauges.fresh)) bits |= 1ull << i;
    return bits;
}

static void spread(
    struct shard *s, struct bytes app, const struct channel_message *m, bool stored) {
    struct spreading w = {s, app, m, {0}};
    uint64_t shards = interest_shards(s->server->interest, app, m->topic) | fresh_shards(s);
    for (; shards; shards &= shards - 1) {
        unsigned to = (unsigned)__builtin_ctzll(shards);
        if (to == s->index) {
            deliver_channel(s->deliver, app, m, stored);
            continue;
        }
        struct note *n = note_make(NOTE_CHANNEL, app, (struct bytes){0}, packed_of(&w));
        n->stored = stored;
        note_send(s, to, n);
    }
    deliver_groups_match(s->deliver, app, m, spread_shared, &w);
    buf_done(&w.packed);
}

void channel_live(struct shard *s, struct bytes app, const struct channel_message *m) {
    spread(s, app, m, false);
}

void channels_spread(void *arg, struct bytes app, struct bytes message) {
    struct channel_message m;
    if (message_of(message, &m)) spread(arg, app, &m, true);
}

/* ---- by the log ---- */
static void target_group(void *arg, const struct group_pick *p) {
    struct channel_targets *t = arg;
    if (p->kept && t->n < 2 * CHANNEL_TARGETS_MAX)
        t->list[t->n++] =
            (struct channel_target){p->partition, channel_group_key(t->app, p->share)};
}

static void targets_find(struct shard *s, struct bytes app, const struct channel_message *m,
    struct channel_targets *out) {
    uint16_t partitions[CHANNEL_TARGETS_MAX];
    out->app = app;
    out->n = 0;
    if (!m->qos) return;
    size_t n = interest_partitions(s->server->interest, app, m->topic, partitions);
    for (size_t i = 0; i < n; i++) out->list[out->n++] = (struct channel_target){partitions[i], 0};
    deliver_groups_match(s->deliver, app, m, target_group, out);
}

bool channel_must_store(struct shard *s, const struct principal *who,
    const struct channel_message *m, bool once, bool durable, struct channel_targets *out) {
    targets_find(s, who->app, m, out);
    return m->retain || once || durable || out->n;
}

void channel_store(struct shard *s, struct job *j, const struct principal *who,
    const struct channel_message *m, bool once, uint16_t packet, const struct channel_targets *to) {
    struct request *r = &j->request;
    r->who = *who;
    r->who.app = arena_copy(&j->arena, who->app);
    r->who.user = r->who.device = r->who.key = (struct bytes){0};
    r->now_ms = s->now_ms;
    /* Of one topic all is in one place, so that who has a PUBACK finds what is retained; but packet
     * ids are known where the session is. */
    j->plan.partition =
        once ? session_partition(who->app, who->user, who->device, s->server->partitions)
             : partition_of_topic(who->app, m->topic, s->server->partitions);
    j->plan.kind = KIND_CHANNEL;
    channel_record(&j->plan.body, m, once ? CHANNEL_ONCE : 0, packet, to->list, to->n);
    job_start(s, j);
}

/* ---- what the engine tells ---- */
bool channels_delivered(
    struct shard *s, uint16_t partition, struct bytes app, const struct delivery *d) {
    if (d->kind == DELIVER_RETAINED)
        retained_set(s->retained, app, d->body, partition, d->entry.event != EVENT_DELETED);
    else if (d->kind == DELIVER_RULES) channel_board_set(s->server->board, app, d->body);
    else return false;
    return true;
}

void channels_recovered(struct shard *s) {
    for (uint16_t p = 0; p < s->server->partitions; p++) {
        if (p % s->server->shards != s->index) continue;
        struct cells *c = engine_cells(s->engine, p);
        retained_scan(s->retained, c, p);
        channel_board_scan(s->server->board, c);
        deliver_scan(s->deliver, p);
    }
}

/* ---- who may ---- */
bool channels_may(void *arg, const struct principal *who, struct bytes filter) {
    return channel_may(((struct shard *)arg)->rules, who, CHANNEL_SUBSCRIBE, filter);
}
bool channels_narrowed(void *arg, const struct principal *who, struct bytes filter) {
    return channel_is_narrowed(((struct shard *)arg)->rules, who, filter);
}
uint64_t channels_rules(void *arg) {
    return channel_board_generation(((struct shard *)arg)->server->board);
}

/* ---- retained ---- */
struct giving {
    struct shard *s;
    const struct note *ask;
    struct bytes app;
};

static bool give_one(void *arg, uint16_t partition, struct bytes topic) {
    struct giving *g = arg;
    struct channel_message m;
    if (!channel_retained(engine_cells(g->s->engine, partition), g->app, topic, g->s->now_ms, &m))
        return true;
    if (g->ask->origin == g->s->index) {
        deliver_retained(
            g->s->deliver, g->ask->session, &m, g->ask->options, g->ask->subscription_id);
        return true;
    }
    struct buf b = {0};
    channel_pack(&b, &m);
    struct note *n = note_make(NOTE_RETAINED, g->app, (struct bytes){0}, buf_view(&b));
    n->session = g->ask->session;
    n->options = g->ask->options;
    n->subscription_id = g->ask->subscription_id;
    note_send(g->s, g->ask->origin, n);
    buf_done(&b);
    return true;
}

static void retained_give(
    struct shard *s, const struct note *n, struct bytes app, struct bytes filter) {
    struct giving g = {s, n, app};
    retained_match(s->retained, app, filter, give_one, &g);
}

void channels_want_retained(void *arg, uint64_t session, struct bytes app, struct bytes filter,
    uint8_t options, uint32_t subscription_id) {
    struct shard *s = arg;
    for (unsigned i = 0; i < s->server->shards; i++) {
        struct note *n = note_make(NOTE_ASK_RETAINED, app, filter, (struct bytes){0});
        n->session = session;
        n->options = options;
        n->subscription_id = subscription_id;
        n->origin = s->index;
        if (i == s->index) note_take(s, n);
        else note_send(s, i, n);
    }
}

/* ---- members of shared subscriptions ---- */
void channels_group_changed(
    void *arg, struct bytes app, struct bytes share, const struct group_change *c) {
    struct shard *s = arg;
    if (atomic_load(&s->server->stop)) return;
    for (unsigned i = 0; i < s->server->shards; i++) {
        if (i == s->index) continue;
        struct note *n = note_make(NOTE_GROUP, app, share, (struct bytes){0});
        n->change = *c;
        n->origin = s->index;
        note_send(s, i, n);
    }
}

static void note_apply(struct shard *s, struct note *n) {
    struct bytes app = bytes_of(n->data, n->app_n), text = bytes_of(n->data + n->app_n, n->text_n);
    struct bytes rest = bytes_of(n->data + n->app_n + n->text_n, n->n - n->app_n - n->text_n);
    struct channel_message m;
    if (n->kind == NOTE_GROUP) {
        deliver_group_changed(s->deliver, n->origin, app, text, &n->change);
    } else if (n->kind == NOTE_ASK_RETAINED) {
        retained_give(s, n, app, text);
    } else {
        check(message_of(rest, &m));
        if (n->kind == NOTE_CHANNEL) deliver_channel(s->deliver, app, &m, n->stored);
        else if (n->kind == NOTE_SHARED) deliver_channel_shared(s->deliver, app, text, &m);
        else deliver_retained(s->deliver, n->session, &m, n->options, n->subscription_id);
    }
    free(n);
}

struct note *notes_late(struct shard *s) {
    struct note *list = s->late;
    s->late = NULL;
    s->late_end = NULL;
    s->late_waits = list != NULL;
    return list;
}

void notes_late_take(struct shard *s, struct note *list) {
    s->late_waits = false;
    while (list) {
        struct note *n = list;
        list = n->next;
        note_apply(s, n);
    }
}

/* In order: nothing overtakes what waits. */
static bool note_waits(struct shard *s, struct note *n) {
    if (n->kind != NOTE_CHANNEL && n->kind != NOTE_SHARED) return false;
    if (!s->late && !s->late_waits && !atomic_load(&s->gauges.fresh)) return false;
    n->next = NULL;
    if (s->late_end) *s->late_end = n;
    else s->late = n;
    s->late_end = &n->next;
    return true;
}

void note_take(struct shard *s, struct note *n) {
    if (!note_waits(s, n)) note_apply(s, n);
}

/* ---- wills (MQTT 5, 3.1.2.5): in memory, so that one does not outlive the server ---- */
static char *names_copy(struct principal *who) {
    char *names = must_alloc(who->app.n + who->user.n + who->device.n + 1), *p = names;
    struct bytes *of[] = {&who->app, &who->user, &who->device};
    for (int i = 0; i < 3; i++) {
        if (of[i]->n) memcpy(p, of[i]->p, of[i]->n);
        *of[i] = bytes_of(p, of[i]->n);
        p += of[i]->n;
    }
    who->key = (struct bytes){0};
    return names;
}

struct will *will_make(const struct mqtt_packet *p, const struct principal *who) {
    struct will *w = must_alloc(sizeof *w);
    struct buf forward = {0};
    mqtt_properties_forward(p->will.raw, &forward);
    struct channel_message m = {.topic = p->will_topic,
        .payload = p->will_payload,
        .properties = buf_view(&forward),
        .user = who->user,
        .device = who->device,
        .qos = p->will_qos,
        .retain = p->will_retain,
        .expiry_s = p->will.has_message_expiry ? p->will.message_expiry_s : 0};
    channel_pack(&w->packed, &m);
    w->delay_s = p->will.will_delay_s;
    buf_done(&forward);
    return w;
}

void will_free(struct will *w) {
    buf_done(&w->packed);
    free(w->names);
    free(w);
}

/* Asked again: the rules may have changed since CONNECT. */
static void will_tell(struct shard *s, struct will *w, const struct principal *who) {
    struct channel_message m;
    check(message_of(buf_view(&w->packed), &m));
    m.at_ms = s->now_ms;
    m.turn = s->turn++;
    if (channel_may(s->rules, who, CHANNEL_PUBLISH, m.topic)) {
        struct channel_targets to;
        if (channel_must_store(s, who, &m, false, false, &to)) {
            struct job *j = job_make(s, JOB_MQTT);
            j->conn = UINT32_MAX; /* nobody waits */
            channel_store(s, j, who, &m, false, 0, &to);
        } else {
            channel_live(s, who->app, &m);
        }
    }
    will_free(w);
}

void will_begin(struct shard *s, struct will *w, const struct principal *who, uint32_t expiry_s) {
    uint32_t delay = w->delay_s < expiry_s ? w->delay_s : expiry_s;
    if (s->draining) {
        will_free(w);
    } else if (!delay) {
        will_tell(s, w, who);
    } else {
        w->who = *who;
        w->names = names_copy(&w->who);
        w->due_ms = s->mono_ms + (int64_t)delay * 1000;
        w->next = s->wills;
        s->wills = w;
    }
}

void will_end(struct shard *s, const struct principal *who, bool clean) {
    for (struct will **at = &s->wills; *at;) {
        struct will *w = *at;
        if (!bytes_eq(w->who.device, who->device) || !bytes_eq(w->who.user, who->user) ||
            !bytes_eq(w->who.app, who->app)) {
            at = &w->next;
            continue;
        }
        *at = w->next;
        if (clean) will_tell(s, w, &w->who);
        else will_free(w);
    }
}

static void wills_due(struct shard *s) {
    for (struct will **at = &s->wills; *at;) {
        struct will *w = *at;
        if (w->due_ms > s->mono_ms) {
            at = &w->next;
            continue;
        }
        *at = w->next;
        will_tell(s, w, &w->who);
    }
}

/* ---- figures, for operators that listen here ---- */
static void figure(struct shard *s, struct bytes app, const char *topic, uint64_t value) {
    struct buf b = {0};
    buf_u64dec(&b, value);
    struct channel_message m = {
        .topic = bytes_str(topic), .payload = buf_view(&b), .at_ms = s->now_ms};
    deliver_channel(s->deliver, app, &m, false);
    buf_done(&b);
}

static void figures_tell(void *arg, struct bytes app) {
    struct shard *s = arg;
    const struct server *v = s->server;
    uint64_t open = 0, sessions = 0, delivered = 0, in = 0, dropped = 0;
    for (unsigned i = 0; i < v->shards; i++) {
        open += v->shard[i].gauges.connections;
        sessions += v->shard[i].gauges.sessions;
        delivered += v->shard[i].gauges.delivered;
        dropped += measure_get(&v->shard[i].measure, COUNTER_channel_messages_dropped);
        in += measure_get(&v->shard[i].measure, COUNTER_channel_messages_received);
    }
    figure(s, app, "$SYS/broker/uptime", (uint64_t)(s->now_ms - v->started_ms) / 1000);
    figure(s, app, "$SYS/broker/clients/connected", sessions);
    figure(s, app, "$SYS/broker/connections", open);
    figure(s, app, "$SYS/broker/publish/messages/received", in);
    figure(s, app, "$SYS/broker/publish/messages/sent", delivered);
    figure(s, app, "$SYS/broker/publish/messages/dropped", dropped);
}

void channels_turn(struct shard *s) {
    wills_due(s);
    if (s->mono_ms - s->last_figures_ms < SYS_MS) return;
    s->last_figures_ms = s->mono_ms;
    deliver_apps(s->deliver, figures_tell, s);
}

void channels_done(struct shard *s) {
    while (s->late) {
        struct note *n = s->late;
        s->late = n->next;
        free(n);
    }
    while (s->wills) {
        struct will *w = s->wills;
        s->wills = w->next;
        will_free(w);
    }
    retained_free(&s->retained);
    channel_rules_free(&s->rules);
}
