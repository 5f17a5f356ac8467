/* deliver: from an entry to the sessions that it concerns: those of one user, or those of an
 * audience's members in the partition.
 *
 * An audience is gone through from its shorter side: its members, each looked up among the sessions,
 * or the sessions of the partition's users, each asked whether they are in it. So a topic of a
 * million people costs what are connected.
 * Keeps: `here` holds every session with a user, by partition, and nothing else.
 * SPDX-License-Identifier: Apache-2.0 */
#include "deliver/deliver_in.h"

void here_add(struct deliver *d, struct session *s) {
    struct here *h = &d->here[s->partition];
    s->next_here = h->first;
    s->at_here = &h->first;
    if (h->first) h->first->at_here = &s->next_here;
    h->first = s;
    h->count++;
}

void here_drop(struct deliver *d, struct session *s) {
    if (!s->at_here) return;
    *s->at_here = s->next_here;
    if (s->next_here) s->next_here->at_here = s->at_here;
    s->at_here = NULL;
    d->here[s->partition].count--;
}

static void session_notify(struct deliver *d, struct session *s, const struct entry *e) {
    if (!s->open) return;
    if (s->caught_up && session_send(d, s, e)) {
        if (s->kept) dirty_add(d, s);
        return;
    }
    if (s->caught_up && s->flight_count >= s->window_max) s->late = true;
    if (s->out->n >= DELIVER_OUTPUT_MAX) s->late = true;
    s->caught_up = false;
    journey_waits(d->o.journeys);
    ready_add(d, s);
}

void deliver_ahead(const struct deliver *d, struct bytes app, struct bytes user, bool near) {
    enum { LINE = 64 };
    const struct session *s = session_find(d, app, user);
    if (!s) return;
    for (size_t at = 0; !near && at < sizeof *s; at += LINE)
        __builtin_prefetch((const char *)s + at);
    if (!near) return;
    __builtin_prefetch(s->user.p);
    __builtin_prefetch(s->filters);
    __builtin_prefetch(s->out);
    __builtin_prefetch(s->conn);
}

struct spread {
    struct deliver *d;
    struct bytes app;
    const struct entry *e;
};

static bool spread_user(void *arg, struct bytes user) {
    struct spread *w = arg;
    for (struct session *s = session_find(w->d, w->app, user), *next; s; s = next) {
        next = s->next;
        if (session_is_of(s, w->app, user)) session_notify(w->d, s, w->e);
    }
    return true;
}

enum { FEW = 64 };
static void spread_audience(struct spread *w, uint16_t partition, struct bytes audience) {
    struct deliver *d = w->d;
    struct cells *c = engine_cells(d->o.engine, partition);
    /* one who is looked up among sessions costs less than one whose row is asked for, perhaps of the
     * store: groups always go by their members */
    if (mailbox_member_count(c, w->app, audience) <= FEW + 4 * d->here[partition].count) {
        mailbox_members(c, w->app, audience, spread_user, w);
        return;
    }
    for (struct session *s = d->here[partition].first, *next; s; s = next) {
        next = s->next_here;
        if (bytes_eq(s->app, w->app) && mailbox_is_in(c, w->app, s->user, audience))
            session_notify(d, s, w->e);
    }
}

void spread_entry(
    struct deliver *d, uint16_t partition, struct bytes app, const struct delivery *v) {
    struct spread w = {d, app, &v->entry};
    if (v->user.n) spread_user(&w, v->user);
    else spread_audience(&w, partition, v->audience);
}
