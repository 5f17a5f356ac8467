/* mailbox: one user's view: the merge, by position, of their own list and of those parts of their
 * audiences' lists that they belonged to.
 *
 *   own                 ──┐
 *   conversation A      ──┤
 *   conversation B      ──┼─▶ heap by the position each stands on ─▶ fn
 *   #topic, @followed   ──┤
 *   * (since born)      ──┘
 *
 * A list whose newest entry is not after the cursor costs one look at its head and no block; topics,
 * those whom they follow and everyone together one look, when none of the app has news.
 * SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>
#include <string.h>

#include "mailbox/mailbox_in.h"

/* lists with news that need no allocation: nearly always enough when live */
enum { WALKS_FIRST = 8 };

struct merge {
    struct list_walk first[WALKS_FIRST], *walks;
    size_t n, cap;
    struct cells *cells;
    struct bytes app;
    uint64_t after, to;
};

static void merge_add(struct merge *m, char tag, struct bytes owner, uint64_t after, uint64_t to) {
    if (m->n == m->cap) {
        struct list_walk *more = must_alloc(2 * m->cap * sizeof *more);
        memcpy(more, m->walks, m->n * sizeof *more);
        if (m->walks != m->first) free(m->walks);
        m->walks = more;
        m->cap *= 2;
    }
    if (list_walk_begin(&m->walks[m->n], m->cells, tag, m->app, owner, after, to)) m->n++;
}

static uint64_t later(uint64_t a, uint64_t b) { return a > b ? a : b; }
static bool merge_membership(void *arg, struct bytes record) {
    struct merge *m = arg;
    struct membership g = membership_read(record);
    if (!g.to || g.to > m->after)
        merge_add(m, 's', g.audience, later(g.from, m->after), g.to && g.to < m->to ? g.to : m->to);
    return true;
}

static void merge_begin(
    struct merge *m, struct cells *c, struct bytes app, uint64_t after, uint64_t to) {
    m->walks = m->first;
    m->n = 0;
    m->cap = WALKS_FIRST;
    m->cells = c;
    m->app = app;
    m->after = after;
    m->to = to;
}

static void merge_special(struct merge *m, struct bytes user) {
    struct list_head h;
    if (mailbox_newest_shared(m->cells, m->app) <= m->after) return;
    packed_each(m->cells, &PACKED_TOPICS, m->app, user, merge_membership, m);
    if (list_head_find(m->cells, 'm', m->app, user, &h))
        merge_add(m, 's', EVERYONE, later(h.born, m->after), m->to);
}

static uint64_t standing(const struct merge *m, size_t i) { return m->walks[i].entry.position; }

static void sift(struct merge *m, size_t i) {
    for (;;) {
        size_t child = 2 * i + 1;
        if (child >= m->n) return;
        if (child + 1 < m->n && standing(m, child + 1) < standing(m, child)) child++;
        if (standing(m, i) <= standing(m, child)) return;
        struct list_walk w = m->walks[i];
        m->walks[i] = m->walks[child];
        m->walks[child] = w;
        i = child;
    }
}

static size_t merge_run(struct merge *m, size_t limit,
    bool (*fn)(void *, const struct entry *, struct bytes), void *arg) {
    size_t given = 0;
    for (size_t i = m->n / 2; i > 0; i--) sift(m, i - 1);
    while (m->n && given < limit) {
        given++;
        if (!fn(arg, &m->walks[0].entry, m->walks[0].owner)) break;
        if (!list_walk_next(&m->walks[0])) m->walks[0] = m->walks[--m->n];
        sift(m, 0);
    }
    if (m->walks != m->first) free(m->walks);
    return given;
}

struct plain {
    bool (*fn)(void *, const struct entry *);
    void *arg;
};
static bool hear_plain(void *arg, const struct entry *e, struct bytes audience) {
    const struct plain *p = arg;
    (void)audience;
    return p->fn(p->arg, e);
}

size_t mailbox_walk(struct cells *c, struct bytes app, struct bytes user, uint64_t after,
    size_t limit, bool (*fn)(void *, const struct entry *), void *arg) {
    struct merge m;
    struct plain p = {fn, arg};
    merge_begin(&m, c, app, after, UINT64_MAX);
    merge_add(&m, 'm', user, after, UINT64_MAX);
    packed_each(c, &PACKED_MEMBERSHIPS, app, user, merge_membership, &m);
    merge_special(&m, user);
    return merge_run(&m, limit, hear_plain, &p);
}

size_t mailbox_walk_shared(struct cells *c, struct bytes app, struct bytes user, uint64_t after,
    uint64_t to, bool (*fn)(void *, const struct entry *, struct bytes), void *arg) {
    struct merge m;
    merge_begin(&m, c, app, after, to);
    merge_special(&m, user);
    return merge_run(&m, SIZE_MAX, fn, arg);
}

struct telling {
    struct cells *cells;
    struct bytes app;
    uint64_t told, in;
};
static bool telling_add(void *arg, struct bytes record) {
    struct telling *t = arg;
    struct membership g = membership_read(record);
    t->in = t->in * 31 + g.from + g.to;
    if (!g.to) t->told += list_head_get(t->cells, 's', t->app, g.audience).count;
    return true;
}

uint64_t mailbox_shared_told(
    struct cells *c, struct bytes app, struct bytes user, uint64_t *out_in) {
    struct telling t = {c, app, list_head_get(c, 's', app, EVERYONE).count, 0};
    packed_each(c, &PACKED_TOPICS, app, user, telling_add, &t);
    *out_in = t.in;
    return t.told;
}

struct extent {
    struct cells *cells;
    struct bytes app;
    uint64_t position;
};

static bool extent_last(void *arg, struct bytes record) {
    struct extent *x = arg;
    struct membership g = membership_read(record);
    if (g.to && g.to <= x->position) return true;
    uint64_t last =
        list_last_in(x->cells, 's', x->app, g.audience, g.from, g.to ? g.to : UINT64_MAX);
    if (last > x->position) x->position = last;
    return true;
}

uint64_t mailbox_last(struct cells *c, struct bytes app, struct bytes user) {
    struct list_head h = list_head_get(c, 'm', app, user);
    struct extent x = {c, app, h.last};
    packed_each(c, &PACKED_MEMBERSHIPS, app, user, extent_last, &x);
    if (mailbox_newest_shared(c, app) <= x.position) return x.position;
    packed_each(c, &PACKED_TOPICS, app, user, extent_last, &x);
    /* `born` of who is not known is 0, and says nothing */
    uint64_t all =
        mailbox_known(c, app, user) ? list_last_in(c, 's', app, EVERYONE, h.born, UINT64_MAX) : 0;
    return later(all, x.position);
}

static bool extent_trimmed(void *arg, struct bytes record) {
    struct extent *x = arg;
    struct membership g = membership_read(record);
    uint64_t trimmed = list_head_get(x->cells, 's', x->app, g.audience).trimmed;
    if (g.to && trimmed > g.to) trimmed = g.to;
    if (trimmed > g.from && trimmed > x->position) x->position = trimmed;
    return true;
}

uint64_t mailbox_first_kept(struct cells *c, struct bytes app, struct bytes user) {
    struct list_head h = list_head_get(c, 'm', app, user), all;
    struct extent x = {c, app, h.trimmed};
    packed_each(c, &PACKED_MEMBERSHIPS, app, user, extent_trimmed, &x);
    packed_each(c, &PACKED_TOPICS, app, user, extent_trimmed, &x);
    if (mailbox_known(c, app, user) && list_head_find(c, 's', app, EVERYONE, &all) &&
        all.trimmed > h.born)
        x.position = later(all.trimmed, x.position);
    return x.position + 1;
}
