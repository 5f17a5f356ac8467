/* mailbox: one user's view: the merge, by position, of their own list and of those parts of their
 * audiences' lists that they belonged to.
 *
 *   own          ──┐
 *   audience A   ──┼─▶ heap by the position each stands on ─▶ fn
 *   audience B   ──┘
 *
 * A list whose newest entry is not after the cursor costs one look at its head and no block.
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
    uint64_t after;
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

static bool merge_membership(void *arg, struct bytes record) {
    struct merge *m = arg;
    struct membership g = membership_read(record);
    if (!g.to || g.to > m->after)
        merge_add(
            m, 's', g.audience, g.from > m->after ? g.from : m->after, g.to ? g.to : UINT64_MAX);
    return true;
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

size_t mailbox_walk(struct cells *c, struct bytes app, struct bytes user, uint64_t after,
    size_t limit, bool (*fn)(void *, const struct entry *), void *arg) {
    struct merge m;
    m.walks = m.first;
    m.n = 0;
    m.cap = WALKS_FIRST;
    m.cells = c;
    m.app = app;
    m.after = after;
    merge_add(&m, 'm', user, after, UINT64_MAX);
    packed_each(c, &PACKED_MEMBERSHIPS, app, user, merge_membership, &m);
    for (size_t i = m.n / 2; i > 0; i--) sift(&m, i - 1);
    size_t given = 0;
    while (m.n && given < limit) {
        given++;
        if (!fn(arg, &m.walks[0].entry)) break;
        if (!list_walk_next(&m.walks[0])) m.walks[0] = m.walks[--m.n];
        sift(&m, 0);
    }
    if (m.walks != m.first) free(m.walks);
    return given;
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
    struct extent x = {c, app, list_head_get(c, 'm', app, user).last};
    packed_each(c, &PACKED_MEMBERSHIPS, app, user, extent_last, &x);
    return x.position;
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
    struct extent x = {c, app, list_head_get(c, 'm', app, user).trimmed};
    packed_each(c, &PACKED_MEMBERSHIPS, app, user, extent_trimmed, &x);
    return x.position + 1;
}
