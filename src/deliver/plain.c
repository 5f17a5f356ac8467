/* deliver: plain channels on the way to sessions: what is live straight, what is kept in its turn.
 *
 *   message ─▶ filters that match ─▶ hits: a session once, by its highest QoS, with all its ids ─▶ write
 *
 * Keeps: a session gets a message once, however many of its filters match. What does not fit the
 * window waits, LIVE_WAITING_MAX bytes at most; beyond, and for QoS 0 beyond LIVE_OUTPUT_MAX of
 * unwritten output, it is dropped and counted: a reader who does not read slows nobody.
 * SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>
#include <string.h>

#include "deliver/deliver_in.h"

struct app_channels {
    struct app_channels *next;
    char app[65];
    struct topics *topics; /* of subscriptions of this shard's sessions, shared ones apart */
};

struct app_channels *channels_of(struct deliver *d, struct bytes app, bool make) {
    struct app_channels *a = d->apps;
    while (a && !bytes_eq(bytes_str(a->app), app)) a = a->next;
    if (a || !make) return a;
    a = must_alloc(sizeof *a);
    check(app.n < sizeof a->app);
    memcpy(a->app, app.p, app.n);
    a->topics = topics_create();
    a->next = d->apps;
    return d->apps = a;
}

void channels_free(struct deliver *d) {
    while (d->apps) {
        struct app_channels *a = d->apps;
        d->apps = a->next;
        topics_free(&a->topics);
        free(a);
    }
    groups_free(&d->groups);
    free(d->hits);
    for (int i = 0; i < 8; i++) buf_done(&d->encoded[i >> 2][i >> 1 & 1][i & 1]);
}

void deliver_apps(struct deliver *d, void (*fn)(void *, struct bytes), void *arg) {
    for (const struct app_channels *a = d->apps; a; a = a->next) fn(arg, bytes_str(a->app));
}

enum err plain_index(struct deliver *d, struct subscription *sub) {
    const struct session *s = sub->session;
    struct bytes filter = bytes_of(sub->entry.text, sub->entry.size);
    if (sub->entry.text != sub->text) {
        group_join(d, sub);
    } else {
        enum err e = topics_add(channels_of(d, s->app, true)->topics, &sub->entry);
        if (e != OK) return e;
        interest_live(d->o.interest, d->o.shard, s->app, filter, 1);
    }
    sub->indexed = true;
    return OK;
}

void plain_unindex(struct deliver *d, struct subscription *sub) {
    const struct session *s = sub->session;
    sub->indexed = false;
    if (sub->group) {
        group_leave(d, sub);
        return;
    }
    topics_remove(channels_of(d, s->app, false)->topics, &sub->entry);
    interest_live(
        d->o.interest, d->o.shard, s->app, bytes_of(sub->entry.text, sub->entry.size), -1);
}

/* ---- one session's live part ---- */
static struct live *live_of(struct session *s) {
    if (!s->live) s->live = must_alloc(sizeof *s->live);
    return s->live;
}

void live_free(struct session *s) {
    if (!s->live) return;
    for (uint16_t i = 0; i < s->live->alias_count; i++) free(s->live->aliases[i]);
    buf_done(&s->live->waiting);
    free(s->live);
    s->live = NULL;
}

/* A topic that has an alias travels as it (MQTT 5, 3.3.2.3.4); gives what to write as the topic. */
static struct bytes alias_use(struct session *s, struct bytes topic, struct mqtt_properties *p) {
    uint16_t most = s->alias_max < ALIASES_MAX ? s->alias_max : ALIASES_MAX;
    if (!most || s->version != 5) return topic;
    struct live *l = live_of(s);
    p->has_topic_alias = true;
    for (uint16_t i = 0; i < l->alias_count; i++)
        if (bytes_eq(bytes_str(l->aliases[i]), topic)) {
            p->topic_alias = (uint16_t)(i + 1);
            return bytes_of("", 0);
        }
    p->has_topic_alias = l->alias_count < most;
    if (!p->has_topic_alias) return topic;
    l->aliases[l->alias_count] = strndup((const char *)topic.p, topic.n);
    p->topic_alias = ++l->alias_count;
    return topic;
}

/* ---- writing ---- */
struct writing {
    const struct channel_message *m;
    uint8_t qos;
    bool retain, dup;
    const uint32_t *ids;
    uint8_t id_count;
};

static bool too_long(struct session *s, size_t before) {
    if (!s->packet_max || s->out->n - before <= s->packet_max) return false;
    s->out->n = before;
    return true;
}

static bool encode(struct deliver *d, struct session *s, const struct writing *w, uint16_t packet) {
    struct mqtt_properties p;
    size_t before = s->out->n;
    memset(&p, 0, sizeof p);
    p.forward = w->m->properties;
    for (uint8_t i = 0; i < w->id_count; i++) mqtt_properties_add_subscription_id(&p, w->ids[i]);
    uint32_t left = channel_left_s(w->m, d->o.now_ms(d->o.arg));
    p.has_message_expiry = left != UINT32_MAX;
    p.message_expiry_s = left;
    uint16_t aliases = s->live ? s->live->alias_count : 0;
    struct bytes topic = alias_use(s, w->m->topic, &p);
    mqtt_encode_publish(s->out, s->version, topic, w->m->payload, w->qos, w->dup, w->retain, packet,
        s->version == 5 ? &p : NULL);
    if (!too_long(s, before)) return true;
    if (s->live && s->live->alias_count > aliases) free(s->live->aliases[--s->live->alias_count]);
    return false;
}

/* The same bytes for many: encoded once, the packet id written in. */
static bool copy(struct deliver *d, struct session *s, const struct writing *w, uint16_t packet) {
    struct buf *b = &d->encoded[s->version == 5][w->retain][w->qos > 0];
    size_t before = s->out->n;
    if (!b->n) {
        struct mqtt_properties p;
        memset(&p, 0, sizeof p);
        p.forward = w->m->properties;
        mqtt_encode_publish(b, s->version, w->m->topic, w->m->payload, w->qos ? 1 : 0, false,
            w->retain, 1, s->version == 5 ? &p : NULL);
    }
    buf_bytes(s->out, buf_view(b));
    if (too_long(s, before)) return false;
    uint8_t *at = s->out->p + before;
    if (w->qos == 2) at[0] = (uint8_t)((at[0] & ~6) | 4);
    if (w->qos) {
        while (*++at & 0x80) continue;
        at += 3 + w->m->topic.n;
        at[0] = (uint8_t)(packet >> 8);
        at[1] = (uint8_t)packet;
    }
    return true;
}

static void write_one(struct deliver *d, struct session *s, const struct writing *w,
    uint16_t packet, uint64_t position, bool shared_bytes) {
    bool plain =
        shared_bytes && !w->id_count && !w->m->expiry_s && !(s->version == 5 && s->alias_max);
    if (!(plain ? copy(d, s, w, packet) : encode(d, s, w, packet))) return;
    if (w->qos) flight_add(s, position, packet, w->qos);
    d->counts.delivered++;
    d->o.output(d->o.arg, s->conn);
}

/* ---- live ---- */
static void wait_for_room(struct deliver *d, struct session *s, const struct writing *w) {
    struct buf *b = &live_of(s)->waiting;
    if (b->n - s->live->waiting_at > LIVE_WAITING_MAX) {
        d->counts.dropped++;
        return;
    }
    struct buf one = {0};
    pack_u8(&one, w->qos);
    pack_u8(&one, w->retain);
    pack_bytes(&one, bytes_of(w->ids, w->id_count * sizeof *w->ids));
    channel_pack(&one, w->m);
    pack_bytes(b, buf_view(&one));
    buf_done(&one);
}

static void live_send(
    struct deliver *d, struct session *s, const struct writing *w, bool shared_bytes) {
    if (!s->open) return;
    if (!w->qos) {
        if (s->out->n < LIVE_OUTPUT_MAX) write_one(d, s, w, 0, 0, shared_bytes);
        else d->counts.dropped++;
        return;
    }
    struct live *l = live_of(s);
    if (l->waiting.n || s->flight_count >= s->window_max || s->out->n >= LIVE_OUTPUT_MAX)
        wait_for_room(d, s, w);
    else write_one(d, s, w, packet_live(s, w->qos), 0, shared_bytes);
}

void live_pump(struct deliver *d, struct session *s) {
    struct live *l = s->live;
    struct unpack u =
        unpack_of(bytes_of(l->waiting.p + l->waiting_at, l->waiting.n - l->waiting_at));
    while (unpack_more(&u) && s->flight_count < s->window_max && s->out->n < LIVE_OUTPUT_MAX) {
        struct unpack one = unpack_of(unpack_bytes(&u));
        struct channel_message m;
        uint32_t ids[MQTT_SUBSCRIPTION_IDS_MAX];
        struct writing w = {.m = &m, .qos = unpack_u8(&one), .retain = unpack_u8(&one), .ids = ids};
        struct bytes packed = unpack_bytes(&one);
        if (packed.n) memcpy(ids, packed.p, packed.n);
        w.id_count = (uint8_t)(packed.n / sizeof *ids);
        check(channel_unpack(&one, &m));
        l->waiting_at = (size_t)(u.p - l->waiting.p);
        if (channel_left_s(&m, d->o.now_ms(d->o.arg)))
            write_one(d, s, &w, packet_live(s, w.qos), 0, false);
    }
    if (l->waiting_at == l->waiting.n) {
        buf_done(&l->waiting);
        l->waiting_at = 0;
    } else if (l->waiting_at > LIVE_WAITING_MAX / 2) {
        buf_cut(&l->waiting, l->waiting_at);
        l->waiting_at = 0;
    }
}

static bool is_own(const struct subscription *sub, const struct channel_message *m) {
    const struct session *s = sub->session;
    return (sub->options & OPTION_NO_LOCAL) && bytes_eq(s->device, m->device) &&
           bytes_eq(s->user, m->user);
}

/* ---- whom a message reaches ---- */
struct finding {
    struct deliver *d;
    const struct channel_message *m;
};

void hit_add(struct deliver *d, struct subscription *sub) {
    struct session *s = sub->session;
    if (!s->hit) {
        if (d->hit_count == d->hit_cap) {
            d->hit_cap = d->hit_cap ? d->hit_cap * 2 : 64;
            d->hits = must_realloc(d->hits, d->hit_cap * sizeof *d->hits);
        }
        d->hits[d->hit_count++] = (struct hit){.session = s};
        s->hit = (uint32_t)d->hit_count;
    }
    struct hit *h = &d->hits[s->hit - 1];
    uint8_t qos = sub->options & 3;
    if (qos > h->qos) h->qos = qos;
    if (qos && s->kept) h->stored = true;
    if (sub->options & OPTION_AS_PUBLISHED) h->as_published = true;
    if (sub->id && h->id_count < MQTT_SUBSCRIPTION_IDS_MAX) h->ids[h->id_count++] = sub->id;
}

static void found(void *arg, struct topic_entry *e) {
    struct finding *f = arg;
    struct subscription *sub = (struct subscription *)e;
    if (!is_own(sub, f->m) && subscription_may(f->d, sub, f->m->topic)) hit_add(f->d, sub);
}

static void encoded_forget(struct deliver *d) {
    for (int i = 0; i < 8; i++) buf_reset(&d->encoded[i >> 2][i >> 1 & 1][i & 1]);
}

static void hits_find(struct deliver *d, struct bytes app, const struct channel_message *m) {
    const struct app_channels *a = channels_of(d, app, false);
    struct finding f = {d, m};
    d->hit_count = 0;
    if (a) topics_match(a->topics, m->topic, found, &f);
    for (size_t i = 0; i < d->hit_count; i++) d->hits[i].session->hit = 0;
}

static void hits_send(struct deliver *d, const struct channel_message *m, bool stored) {
    encoded_forget(d);
    for (size_t i = 0; i < d->hit_count; i++) {
        const struct hit *h = &d->hits[i];
        if (stored && h->stored && m->qos) continue;
        struct writing w = {.m = m,
            .qos = h->qos < m->qos ? h->qos : m->qos,
            .retain = h->as_published && m->retain,
            .ids = h->ids,
            .id_count = h->id_count};
        live_send(d, h->session, &w, true);
    }
}

void deliver_hits(struct deliver *d, const struct channel_message *m) { hits_send(d, m, false); }

void deliver_channel(
    struct deliver *d, struct bytes app, const struct channel_message *m, bool stored) {
    hits_find(d, app, m);
    hits_send(d, m, stored);
}

void deliver_retained(struct deliver *d, uint64_t session, const struct channel_message *m,
    uint8_t options, uint32_t subscription_id) {
    struct session *s = session_by_id(d, session);
    if (!s) return;
    struct writing w = {.m = m,
        .qos = (options & 3) < m->qos ? options & 3 : m->qos,
        .retain = true,
        .ids = &subscription_id,
        .id_count = subscription_id != 0};
    if (w.qos && s->flight_count < s->window_max) live_of(s);
    live_send(d, s, &w, false);
}

/* ---- kept ---- */
/* How the session's filters take it; false: they do not. */
static bool kept_hit(struct deliver *d, struct session *s, uint64_t position,
    const struct channel_message *m, bool shared, struct hit *out) {
    bool any = false;
    *out = (struct hit){.session = s};
    for (struct subscription *sub = s->filters; sub; sub = sub->next) {
        if (!sub->plain || !(sub->options & 3) || (sub->entry.text != sub->text) != shared)
            continue;
        if (position <= sub->start || is_own(sub, m)) continue;
        if (!mqtt_filter_matches(bytes_of(sub->entry.text, sub->entry.size), m->topic)) continue;
        if (!subscription_may(d, sub, m->topic)) continue;
        any = true;
        if ((sub->options & 3) > out->qos) out->qos = sub->options & 3;
        if (sub->options & OPTION_AS_PUBLISHED) out->as_published = true;
        if (sub->id && out->id_count < MQTT_SUBSCRIPTION_IDS_MAX)
            out->ids[out->id_count++] = sub->id;
    }
    return any;
}

bool plain_entry(struct deliver *d, struct session *s, uint64_t position,
    const struct channel_message *m, bool shared) {
    struct hit h;
    if (position <= s->sent) return true;
    /* what the device has is released, though its filter was given up or the message expired since:
     * else it would hold the packet id for good (MQTT 5, 3.10.4) */
    bool again = is_released(s, position);
    if (again ||
        (channel_left_s(m, d->o.now_ms(d->o.arg)) && kept_hit(d, s, position, m, shared, &h))) {
        if (!room_left(s) || !mark_allows(d, s, position)) return false;
        if (again) {
            release_again(d, s, position);
        } else {
            uint8_t qos = h.qos < m->qos ? h.qos : m->qos;
            struct writing w = {.m = m,
                .qos = qos,
                .retain = h.as_published && m->retain,
                .dup = position <= s->dup_to,
                .ids = h.ids,
                .id_count = h.id_count};
            write_one(d, s, &w, packet_of(s, position), position, false);
        }
    }
    s->sent = position;
    if (!s->flight_count) s->acked = s->sent;
    return true;
}

static void kept_notify(struct deliver *d, struct session *s, uint64_t position,
    const struct channel_message *m, bool shared) {
    if (!s->open || !s->kept) return;
    if (s->caught_up && plain_entry(d, s, position, m, shared)) {
        dirty_add(d, s);
        return;
    }
    s->caught_up = false;
    ready_add(d, s);
}

void plain_kept(struct deliver *d, uint16_t partition, struct bytes app, const struct delivery *v) {
    struct channel_message m;
    struct unpack u = unpack_of(v->body);
    check(channel_unpack(&u, &m));
    if (v->device.n) {
        struct session *s = session_find(d, app, v->user.n ? v->user : v->device);
        for (; s; s = s->next)
            if (session_is_of(s, app, v->user) && bytes_eq(s->device, v->device))
                kept_notify(d, s, v->entry.position, &m, true);
        return;
    }
    hits_find(d, app, &m);
    for (size_t i = 0; i < d->hit_count; i++)
        if (d->hits[i].session->partition == partition)
            kept_notify(d, d->hits[i].session, v->entry.position, &m, false);
}
