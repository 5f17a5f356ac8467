/* deliver: shared subscriptions (MQTT 5, 4.8.2). Every shard knows of every group how many members
 * each shard has connected and each partition keeps, so that whoever publishes can say whose turn
 * it is; which member it is, the shard or the partition there says.
 *
 * Keeps: a message goes to one member. At QoS 1 and 2 one who is kept gets it stored; the others,
 * live. SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>
#include <string.h>

#include "deliver/deliver_in.h"

struct kept_in {
    uint16_t partition;
    int32_t count;
};
struct group {
    struct topic_entry entry; /* what is behind the group's name */
    struct group *next;
    char app[65];
    char *share; /* owned: the whole text */
    size_t share_n;
    int32_t *clean, *online; /* [shards] */
    struct kept_in *kept;
    size_t kept_n;
    int32_t clean_total, online_total, kept_total;
    uint32_t local_turn;
    struct subscription **local; /* members connected here */
    uint32_t local_n, local_cap;
};
struct groups_app {
    struct groups_app *next;
    char app[65];
    struct topics *topics;
};
struct groups {
    struct groups_app *apps;
    struct group *list;
};

static struct groups_app *app_of(struct groups *g, struct bytes app, bool make) {
    struct groups_app *a = g->apps;
    while (a && !bytes_eq(bytes_str(a->app), app)) a = a->next;
    if (a || !make) return a;
    a = must_alloc(sizeof *a);
    memcpy(a->app, app.p, app.n);
    a->topics = topics_create();
    a->next = g->apps;
    return g->apps = a;
}

static void group_free(struct group *g) {
    free(g->share);
    free(g->clean);
    free(g->online);
    free(g->kept);
    free(g->local);
    free(g);
}

void groups_free(struct groups **pg) {
    struct groups *g = *pg;
    if (!g) return;
    while (g->apps) {
        struct groups_app *a = g->apps;
        g->apps = a->next;
        topics_free(&a->topics);
        free(a);
    }
    while (g->list) {
        struct group *one = g->list;
        g->list = one->next;
        group_free(one);
    }
    free(g);
    *pg = NULL;
}

static bool is_share(void *arg, const struct topic_entry *e) {
    const struct group *g = (const struct group *)e;
    return bytes_eq(*(const struct bytes *)arg, bytes_of(g->share, g->share_n));
}

static struct group *group_find(
    struct deliver *d, struct bytes app, struct bytes share, bool make) {
    struct bytes name, filter;
    if (!d->groups) d->groups = must_alloc(sizeof *d->groups);
    struct groups_app *a = app_of(d->groups, app, make);
    check(channel_share_parse(share, &name, &filter));
    struct group *g = a ? (struct group *)topics_find(a->topics, filter, is_share, &share) : NULL;
    if (g || !make) return g;
    g = must_alloc(sizeof *g);
    memcpy(g->app, app.p, app.n);
    g->share = must_alloc(share.n);
    memcpy(g->share, share.p, share.n);
    g->share_n = share.n;
    g->entry.text = g->share + (share.n - filter.n);
    g->entry.size = (uint16_t)filter.n;
    g->clean = must_alloc(d->o.shards * sizeof *g->clean);
    g->online = must_alloc(d->o.shards * sizeof *g->online);
    g->next = d->groups->list;
    d->groups->list = g;
    /* one shape too many: it is kept count of, and nobody finds it */
    if (topics_add(a->topics, &g->entry) != OK) g->entry.text = NULL;
    return g;
}

static void group_drop(struct deliver *d, struct group *g) {
    if (g->online_total || g->kept_total || g->clean_total || g->local_n) return;
    if (g->entry.text)
        topics_remove(app_of(d->groups, bytes_str(g->app), false)->topics, &g->entry);
    struct group **at = &d->groups->list;
    while (*at != g) at = &(*at)->next;
    *at = g->next;
    group_free(g);
}

void deliver_group_changed(struct deliver *d, unsigned shard, struct bytes app, struct bytes share,
    const struct group_change *c) {
    struct group *g = group_find(d, app, share, true);
    g->clean[shard] += c->clean;
    g->clean_total += c->clean;
    g->online[shard] += c->online;
    g->online_total += c->online;
    g->kept_total += c->kept;
    size_t i = 0;
    while (i < g->kept_n && g->kept[i].partition != c->partition) i++;
    if (c->kept && i == g->kept_n) {
        g->kept = must_realloc(g->kept, (g->kept_n + 1) * sizeof *g->kept);
        g->kept[g->kept_n++] = (struct kept_in){c->partition, 0};
    }
    if (c->kept && (g->kept[i].count += c->kept) == 0) g->kept[i] = g->kept[--g->kept_n];
    group_drop(d, g);
}

/* ---- members connected here ---- */
static void tell(struct deliver *d, struct bytes app, struct bytes share, bool kept, int delta) {
    char room[CHANNEL_TOPIC_MAX + 600]; /* the group may go, and its text with it */
    struct group_change c = {.clean = kept ? 0 : delta, .online = delta};
    check(share.n <= sizeof room);
    memcpy(room, share.p, share.n);
    share.p = (uint8_t *)room;
    deliver_group_changed(d, d->o.shard, app, share, &c);
    if (d->o.group_changed) d->o.group_changed(d->o.arg, app, share, &c);
}

void group_join(struct deliver *d, struct subscription *sub) {
    struct bytes share = bytes_of(sub->text, sub->size);
    struct group *g = group_find(d, sub->session->app, share, true);
    if (g->local_n == g->local_cap) {
        g->local_cap = g->local_cap ? g->local_cap * 2 : 4;
        g->local = must_realloc(g->local, g->local_cap * sizeof *g->local);
    }
    sub->member = g->local_n;
    sub->group = g;
    g->local[g->local_n++] = sub;
    tell(d, sub->session->app, share, sub->session->kept, 1);
}

void group_leave(struct deliver *d, struct subscription *sub) {
    struct group *g = sub->group;
    g->local[sub->member] = g->local[--g->local_n];
    g->local[sub->member]->member = sub->member;
    sub->group = NULL;
    tell(d, sub->session->app, bytes_of(sub->text, sub->size), sub->session->kept, -1);
}

/* ---- whose turn ---- */
struct matching {
    const struct channel_message *m;
    void (*fn)(void *, const struct group_pick *);
    void *arg;
};

static void pick_shard(
    const struct matching *w, const struct group *g, const int32_t *counts, int32_t turn) {
    struct group_pick p = {.share = bytes_of(g->share, g->share_n)};
    while (turn >= counts[p.shard]) turn -= counts[p.shard++];
    w->fn(w->arg, &p);
}

static void pick(void *arg, struct topic_entry *e) {
    const struct matching *w = arg;
    struct group *g = (struct group *)e;
    int32_t live = w->m->qos && g->kept_total ? g->clean_total : g->online_total;
    int32_t all = live + (w->m->qos ? g->kept_total : 0);
    if (all <= 0) return;
    int32_t turn = (int32_t)(w->m->turn % (uint32_t)all);
    if (turn < live) {
        pick_shard(w, g, w->m->qos && g->kept_total ? g->clean : g->online, turn);
        return;
    }
    struct group_pick p = {.share = bytes_of(g->share, g->share_n), .kept = true};
    turn -= live;
    size_t i = 0;
    while (turn >= g->kept[i].count) turn -= g->kept[i++].count;
    p.partition = g->kept[i].partition;
    w->fn(w->arg, &p);
}

void deliver_groups_match(struct deliver *d, struct bytes app, const struct channel_message *m,
    void (*fn)(void *, const struct group_pick *), void *arg) {
    struct groups_app *a = d->groups ? app_of(d->groups, app, false) : NULL;
    struct matching w = {m, fn, arg};
    if (a) topics_match(a->topics, m->topic, pick, &w);
}

/* In turn among those who may still hear it; of a message at QoS 1 or 2, whoever is not kept. */
void deliver_channel_shared(
    struct deliver *d, struct bytes app, struct bytes share, const struct channel_message *m) {
    struct group *g = group_find(d, app, share, false);
    if (!g) return;
    bool clean_only = m->qos && g->kept_total;
    for (uint32_t i = 0; i < g->local_n; i++) {
        struct subscription *sub = g->local[g->local_turn++ % g->local_n];
        if ((clean_only && sub->session->kept) || !subscription_may(d, sub, m->topic)) continue;
        d->hit_count = 0;
        hit_add(d, sub);
        sub->session->hit = 0;
        deliver_hits(d, m);
        return;
    }
}
