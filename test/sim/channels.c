/* sim: plain channels on the way between lanes, as a node's shards carry them: what is published is
 * stored where kept sessions wait for it, else told to whoever listens. What shards tell each other
 * arrives at once here.
 * SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>
#include <string.h>

#include "sim.h"

struct lanes_way {
    struct sim *s;
    struct bytes app;
    const struct channel_message *m;
};

static void shared_tell(void *arg, const struct group_pick *p) {
    struct lanes_way *w = arg;
    if (!p->kept) deliver_channel_shared(w->s->deliver[p->shard], w->app, p->share, w->m);
}

static void tell(
    struct sim *s, unsigned lane, struct bytes app, const struct channel_message *m, bool stored) {
    struct lanes_way w = {s, app, m};
    uint64_t to = interest_shards(s->interest, app, m->topic);
    for (unsigned i = 0; i < s->lanes; i++)
        if (to >> i & 1) deliver_channel(s->deliver[i], app, m, stored);
    deliver_groups_match(s->deliver[lane], app, m, shared_tell, &w);
}

void channels_spread(void *arg, struct bytes app, struct bytes message) {
    struct lane_arg *l = arg;
    struct channel_message m;
    struct unpack u = unpack_of(message);
    check(channel_unpack(&u, &m));
    tell(l->s, l->lane, app, &m, true);
}

void channels_group_changed(
    void *arg, struct bytes app, struct bytes share, const struct group_change *c) {
    struct lane_arg *l = arg;
    for (unsigned i = 0; i < l->s->lanes && !l->s->closing; i++)
        if (i != l->lane) deliver_group_changed(l->s->deliver[i], l->lane, app, share, c);
}

bool channels_may(void *arg, const struct principal *who, struct bytes filter) {
    (void)arg;
    (void)who;
    (void)filter;
    return true;
}

/* ---- retained ---- */
struct giving {
    struct sim *s;
    unsigned lane;
    uint64_t session;
    struct bytes app;
    uint8_t options;
    uint32_t id;
};

static bool give(void *arg, uint16_t partition, struct bytes topic) {
    struct giving *g = arg;
    struct channel_message m;
    if (channel_retained(node_cells(g->s, partition), g->app, topic, g->s->now_ms, &m))
        deliver_retained(g->s->deliver[g->lane], g->session, &m, g->options, g->id);
    return true;
}

void channels_want_retained(void *arg, uint64_t session, struct bytes app, struct bytes filter,
    uint8_t options, uint32_t subscription_id) {
    struct lane_arg *l = arg;
    struct giving g = {l->s, l->lane, session, app, options, subscription_id};
    for (unsigned i = 0; i < l->s->lanes; i++)
        retained_match(l->s->retained[i], app, filter, give, &g);
}

/* ---- starting ---- */
void channels_open(struct sim *s) {
    s->interest = interest_create(s->lanes, PARTITIONS);
    for (unsigned i = 0; i < s->lanes; i++) {
        s->retained[i] = retained_create();
        s->lane_arg[i] = (struct lane_arg){s, i};
    }
}

void channels_close(struct sim *s) {
    interest_free(&s->interest);
    for (unsigned i = 0; i < s->lanes; i++) retained_free(&s->retained[i]);
}

void channels_recovered(struct sim *s) {
    for (uint16_t p = 0; p < PARTITIONS; p++) {
        retained_scan(s->retained[p % s->lanes], node_cells(s, p), p);
        deliver_scan(s->deliver[p % s->lanes], p);
    }
}

bool channels_delivered(
    struct sim *s, uint16_t partition, struct bytes app, const struct delivery *v) {
    if (v->kind != DELIVER_RETAINED) return false;
    retained_set(s->retained[partition % s->lanes], app, v->body, partition,
        v->entry.event != EVENT_DELETED);
    return true;
}

/* ---- publishing ---- */
struct targets {
    struct channel_target list[2 * CHANNEL_TARGETS_MAX];
    size_t n;
    struct bytes app;
};

static void target_group(void *arg, const struct group_pick *p) {
    struct targets *t = arg;
    if (p->kept)
        t->list[t->n++] =
            (struct channel_target){p->partition, channel_group_key(t->app, p->share)};
}

static void targets_find(struct sim *s, unsigned lane, struct bytes app,
    const struct channel_message *m, struct targets *out) {
    uint16_t partitions[CHANNEL_TARGETS_MAX];
    *out = (struct targets){.app = app};
    size_t n = interest_partitions(s->interest, app, m->topic, partitions);
    for (size_t i = 0; i < n; i++) out->list[out->n++] = (struct channel_target){partitions[i], 0};
    deliver_groups_match(s->deliver[lane], app, m, target_group, out);
}

enum err channels_publish(struct sim *s, unsigned app, const struct channel_message *m, bool once,
    bool durable, uint16_t packet, const struct ticket *ticket, bool *out_stored) {
    static struct targets t;
    struct bytes name = app_name(app);
    uint16_t home = session_partition(name, m->user, m->device, PARTITIONS);
    targets_find(s, home % s->lanes, name, m, &t);
    *out_stored = m->retain || once || durable || t.n;
    if (!*out_stored) {
        tell(s, home % s->lanes, name, m, false);
        return OK;
    }
    struct buf b = {0};
    channel_record(&b, m, once ? CHANNEL_ONCE : 0, packet, t.list, t.n);
    enum err e = node_append(s, once ? home : partition_of_topic(name, m->topic, PARTITIONS),
        KIND_CHANNEL, app, buf_view(&b), ticket);
    buf_done(&b);
    return e;
}
