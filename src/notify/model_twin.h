/* notify, tested: a slow and obvious twin of what is decided about people: arrays, no cells, nothing
 * merged, counts counted when they are asked for. Written from what the API promises; notify_test.c
 * drives it beside the real thing.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef KITH_NOTIFY_MODEL_TWIN_H
#define KITH_NOTIFY_MODEL_TWIN_H

#include <stdio.h>
#include <string.h>

#include "due/due.h"
#include "notify/notify_in.h"
#include "zone/zone.h"

enum { USERS = 5, ACTORS = 9, TOPICS = 2, FLOWS = 12, TRIGGERS_MOST = 600, DUES_MOST = 4000 };
enum { AUDIENCES = TOPICS + ACTORS + 1, AUDIENCE_ALL = AUDIENCES - 1 };
enum { OBJECTS = 3, KEYS = 3 /* 0: none */, MEMBERS_MOST = 80, WHYS_MOST = 600, ROWS_MOST = 400 };

struct m_flow { /* what a workflow says */
    const char *id, *json;
    uint8_t channels, at_once;
    bool high, grouped, first_at_once;
    int64_t digest_ms, expires_ms;
    int cap;
    enum cap_per per;
    struct {
        int64_t after_ms;
        uint8_t channel, unless;
    } escalate[2];
};
struct m_trigger {
    char id[24];
    int flow, actor /* -1: none */, object, key, audience /* -1: named */;
    bool named[USERS] /* or in the audience, when it came */, direct, cancelled, merges;
    int64_t created_ms, send_at_ms, expires_ms;
    int total[TOTAL_COUNT];
    bool odd; /* somebody whom it was for was erased: what it held is nobody's */
};
struct m_row {
    int first, member[MEMBERS_MOST], members; /* triggers in it, oldest first */
    int newest;                               /* shown */
    bool hidden, taken, left /* some were taken out */;
    int64_t created_ms, at_ms, seen_ms, read_ms, archived_ms, clicked_ms, expires_ms;
    int group; /* -1: none */
    int key;
};
struct m_digest {
    bool open, any;
    uint64_t serial;
    struct m_row row;
};
struct m_why {
    int trigger;
    enum why code;
    uint8_t channels;
    int64_t until_ms;
};
struct m_user {
    bool known, blocks[ACTORS], mutes[ACTORS], in[AUDIENCES];
    int64_t left_ms[AUDIENCES];             /* when they left it last; 0: never */
    uint64_t since[AUDIENCES], made;        /* which membership, which life: counted */
    uint8_t off[FLOWS + 1], set[FLOWS + 1]; /* the last: of all other workflows */
    struct quiet_hours quiet;
    int64_t paused_until_ms;
    struct bytes zone;
    struct m_row row[ROWS_MOST];
    int rows;
    int pending[TRIGGERS_MOST], pendings; /* of audiences, not merged yet */
    int64_t pending_at[TRIGGERS_MOST];
    struct m_digest digest[FLOWS][OBJECTS + 1];
    struct {
        int flow;
        int64_t window;
    } left[TRIGGERS_MOST]; /* what used caps */
    int lefts;
    struct m_why why[WHYS_MOST];
    int whys;
};
enum m_due_kind { M_SEND_AT, M_SWEEP, M_DIGEST, M_HELD, M_ESCALATE };
struct m_due {
    int64_t at_ms;
    enum m_due_kind kind;
    int user, trigger, first, group;
    uint8_t channels, unless;
    uint64_t serial, made;
    bool done;
};
struct model {
    const struct m_flow *flows;
    struct m_user user[USERS];
    struct m_trigger trigger[TRIGGERS_MOST];
    int triggers;
    struct m_due due[DUES_MOST];
    int dues;
    uint64_t serial;
    int64_t now_ms;
};

static inline void m_say(
    struct m_user *u, int trigger, enum why code, uint8_t channels, int64_t until) {
    check(u->whys < WHYS_MOST);
    u->why[u->whys++] = (struct m_why){trigger, code, channels, until};
}
static inline int64_t m_expiry(const struct model *m, const struct m_trigger *t) {
    int64_t after = m->flows[t->flow].expires_ms;
    int64_t from = t->send_at_ms > t->created_ms ? t->send_at_ms : t->created_ms;
    return t->expires_ms ? t->expires_ms : after ? from + after : 0;
}
static inline uint8_t m_off(const struct m_user *u, int flow) {
    return (uint8_t)(u->off[flow] | (u->off[FLOWS] & ~u->set[flow]));
}
static inline bool m_row_stands(const struct m_row *r, int64_t now) {
    return !r->hidden && !r->archived_ms && (!r->expires_ms || r->expires_ms > now);
}

/* ---- wishes ---- */
static inline enum why m_forbidden(
    const struct model *m, const struct m_user *u, const struct m_trigger *t) {
    int64_t expires = m_expiry(m, t);
    if (t->cancelled) return WHY_CANCELLED;
    if (expires && expires <= m->now_ms) return WHY_EXPIRED;
    if (t->actor >= 0 && u->blocks[t->actor]) return WHY_BLOCKED;
    if (t->actor >= 0 && u->mutes[t->actor]) return WHY_MUTED;
    if (!(m->flows[t->flow].channels & ~m_off(u, t->flow))) return WHY_OPTED_OUT;
    return (enum why)0;
}
static inline void m_refused(
    struct m_user *u, struct m_trigger *t, int n, enum why why, uint8_t channels) {
    static const enum total OF[] = {[WHY_BLOCKED] = TOTAL_BLOCKED,
        [WHY_MUTED] = TOTAL_MUTED,
        [WHY_OPTED_OUT] = TOTAL_OPTED_OUT,
        [WHY_CAPPED] = TOTAL_CAPPED,
        [WHY_EXPIRED] = TOTAL_EXPIRED,
        [WHY_CANCELLED] = TOTAL_CANCELLED};
    t->total[OF[why]]++;
    m_say(u, n, why, channels, 0);
}
/* When a night, a pause or what follows them at once is over; 0: nothing holds. */
static inline int64_t m_quiet_until(const struct m_user *u, int64_t now) {
    const int64_t DAY = 86400000, MINUTE = 60000;
    int64_t at = u->paused_until_ms > now ? u->paused_until_ms : now;
    for (bool more = u->quiet.from != u->quiet.to; more;) {
        more = false;
        for (int64_t day = zone_day(u->zone, at) - 3; day <= zone_day(u->zone, at); day++) {
            if (!(u->quiet.days >> zone_weekday(day) & 1)) continue;
            int64_t from = zone_moment(u->zone, day * DAY + u->quiet.from * MINUTE);
            int64_t to = zone_moment(
                u->zone, (day + (u->quiet.to < u->quiet.from)) * DAY + u->quiet.to * MINUTE);
            if (from > at || at >= to) continue;
            at = to;
            more = true;
        }
    }
    return at == now ? 0 : at;
}

/* ---- caps ---- */
static inline int64_t m_window(const struct m_user *u, enum cap_per per, int64_t now) {
    int64_t local = now + zone_offset(u->zone, now), day = local / 86400000;
    return per == CAP_HOUR ? local / 3600000 : per == CAP_WEEK ? (day - 4) / 7 : day;
}
static inline bool m_capped(const struct model *m, const struct m_user *u, int flow) {
    const struct m_flow *f = &m->flows[flow];
    int64_t now = m_window(u, f->per, m->now_ms);
    int n = 0;
    if (!f->per) return false;
    for (int k = 0; k < u->lefts; k++) n += u->left[k].flow == flow && u->left[k].window == now;
    return n >= f->cap;
}

/* ---- who acted ---- */
static inline int m_actors(
    const struct model *m, const struct m_row *r, int newest[static MEMBERS_MOST], int *names) {
    int n = 0, count = 0;
    for (int k = r->members; k-- > 0;) {
        int actor = m->trigger[r->member[k]].actor;
        bool there = false;
        for (int j = 0; j < n; j++) there |= newest[j] == actor;
        if (actor < 0) count++;
        else if (!there) newest[n++] = actor;
    }
    *names = n;
    return n + count;
}

/* ---- rows ---- */
static inline struct m_row *m_row_add(struct m_user *u, const struct m_row *r) {
    check(u->rows < ROWS_MOST);
    u->row[u->rows] = *r;
    return &u->row[u->rows++];
}
static inline struct m_row *m_to_the_end(struct m_user *u, struct m_row *r) {
    struct m_row copy = *r;
    memmove(r, r + 1, (size_t)(&u->row[u->rows] - r - 1) * sizeof *r);
    u->row[u->rows - 1] = copy;
    return &u->row[u->rows - 1];
}
struct m_placed {
    struct m_row *row;
    bool joined;
    int replaced; /* first trigger of that row; -1: none */
};
static inline struct m_placed m_place(struct model *m, struct m_user *u, int n,
    const struct m_row *digest, bool hidden, int64_t at, bool told) {
    struct m_trigger *t = &m->trigger[n];
    const struct m_flow *f = &m->flows[t->flow];
    int group = f->grouped ? t->object : -1;
    struct m_placed p = {.replaced = -1};
    for (int k = u->rows; k-- > 0 && group >= 0 && !digest && !hidden;) {
        struct m_row *r = &u->row[k];
        if (r->group != group || m->trigger[r->first].flow != t->flow || r->read_ms ||
            !m_row_stands(r, m->now_ms))
            continue;
        check(r->members < MEMBERS_MOST);
        r->member[r->members++] = r->newest = n;
        r->at_ms = at;
        r->seen_ms = 0;
        r->expires_ms = m_expiry(m, t);
        return (struct m_placed){m_to_the_end(u, r), true, -1};
    }
    for (int k = u->rows; k-- > 0 && t->key && p.replaced < 0;) {
        struct m_row *r = &u->row[k];
        if (r->key != t->key || m->trigger[r->first].flow != t->flow || r->seen_ms ||
            !m_row_stands(r, m->now_ms))
            continue;
        r->hidden = r->taken = true;
        p.replaced = r->first;
        if (!told) break;
        m->trigger[r->newest].total[TOTAL_DELIVERED] -=
            m->trigger[r->newest].total[TOTAL_DELIVERED] > 0; /* not counted of audiences */
        m->trigger[r->newest].total[TOTAL_COLLAPSED]++;
        m_say(u, r->newest, WHY_REPLACED, 0, 0);
    }
    struct m_row fresh = {.first = n, .members = 1, .member = {n}};
    if (digest) fresh = *digest;
    fresh.newest = n;
    fresh.hidden = hidden;
    fresh.created_ms = fresh.at_ms = at;
    fresh.expires_ms = m_expiry(m, t);
    fresh.group = group;
    fresh.key = t->key;
    p.row = m_row_add(u, &fresh);
    return p;
}

/* What audiences got becomes rows. told: for good, else only looked at. */
static inline void m_fold(struct model *m, struct m_user *u, bool told) {
    for (int k = 0; k < u->pendings; k++) {
        int n = u->pending[k];
        struct m_trigger *t = &m->trigger[n];
        enum why why = m_forbidden(m, u, t);
        if (why && told) m_refused(u, t, n, why, 0);
        if (why) continue;
        struct m_placed p = m_place(m, u, n, NULL, false, u->pending_at[k], told);
        if (!p.joined || !told) continue;
        t->total[TOTAL_GROUPED]++;
        m_say(u, n, WHY_GROUPED, 0, 0);
    }
    u->pendings = 0;
}

/* ---- leaving ---- */
static inline struct m_due *m_due_add(struct model *m, int64_t at, enum m_due_kind kind, int user) {
    check(m->dues < DUES_MOST);
    m->due[m->dues] = (struct m_due){
        .at_ms = at, .kind = kind, .user = user, .made = user < 0 ? 0 : m->user[user].made};
    return &m->due[m->dues++];
}
static inline void m_hold(
    struct model *m, struct m_user *u, int n, int first, uint8_t channels, int64_t until) {
    struct m_due *d = m_due_add(m, until, M_HELD, (int)(u - m->user));
    d->trigger = n;
    d->first = first;
    d->channels = channels;
    m->trigger[n].total[TOTAL_HELD]++;
    m_say(u, n, WHY_HELD_QUIET, channels, until);
}
static inline void m_send(struct model *m, struct m_user *u, int n, uint8_t channels, bool hidden) {
    for (uint8_t one = CHANNEL_PUSH; one <= CHANNEL_WEBHOOK; one = (uint8_t)(one << 1))
        if (channels & one) m_say(u, n, WHY_NO_ADDRESS, one, 0);
    bool steps = m->flows[m->trigger[n].flow].escalate[0].after_ms;
    if (channels && hidden && !steps) m->trigger[n].total[TOTAL_NO_ADDRESS]++;
}
static inline void m_leave(struct model *m, struct m_user *u, int n, const struct m_row *digest) {
    struct m_trigger *t = &m->trigger[n];
    const struct m_flow *f = &m->flows[t->flow];
    uint8_t now = f->at_once & (uint8_t)~m_off(u, t->flow), not_now = f->at_once & (uint8_t)~now;
    bool inapp = now & CHANNEL_INAPP;
    if (f->per) {
        u->left[u->lefts].flow = t->flow;
        u->left[u->lefts++].window = m_window(u, f->per, m->now_ms);
    }
    struct m_placed p = m_place(m, u, n, digest, !inapp, m->now_ms, true);
    if (inapp) {
        if (!digest) t->total[TOTAL_DELIVERED]++;
        if (p.joined) t->total[TOTAL_GROUPED]++;
        if (p.joined) m_say(u, n, WHY_GROUPED, 0, 0);
        else if (p.replaced >= 0) m_say(u, n, WHY_COLLAPSED, 0, 0);
    }
    if (not_now) m_say(u, n, WHY_OPTED_OUT, not_now, 0);
    int first = p.row->first;
    uint8_t outside = now & (uint8_t)~CHANNEL_INAPP;
    int64_t until = f->high ? 0 : m_quiet_until(u, m->now_ms);
    if (outside && until) m_hold(m, u, n, first, outside, until);
    else m_send(m, u, n, outside, !inapp);
    for (int k = 0; k < 2 && f->escalate[k].after_ms; k++) {
        struct m_due *d =
            m_due_add(m, m->now_ms + f->escalate[k].after_ms, M_ESCALATE, (int)(u - m->user));
        d->trigger = n;
        d->first = first;
        d->channels = f->escalate[k].channel;
        d->unless = f->escalate[k].unless;
    }
}
/* true: it waits. */
static inline bool m_collect(struct model *m, struct m_user *u, int n) {
    struct m_trigger *t = &m->trigger[n];
    const struct m_flow *f = &m->flows[t->flow];
    int group = f->grouped ? t->object : OBJECTS;
    struct m_digest *d = &u->digest[t->flow][group];
    bool opened = !d->open;
    if (opened) {
        struct m_due *due = m_due_add(m, m->now_ms + f->digest_ms, M_DIGEST, (int)(u - m->user));
        due->trigger = t->flow;
        due->group = group;
        *d = (struct m_digest){.open = true, .serial = due->serial = ++m->serial};
        if (f->first_at_once) return false;
    }
    int64_t until = 0;
    for (int k = 0; k < m->dues; k++)
        if (m->due[k].kind == M_DIGEST && m->due[k].serial == d->serial) until = m->due[k].at_ms;
    if (!d->any) d->row = (struct m_row){.first = n};
    d->any = true;
    check(d->row.members < MEMBERS_MOST);
    d->row.member[d->row.members++] = n;
    t->total[TOTAL_DIGESTED]++;
    t->total[TOTAL_HELD]++;
    m_say(u, n, opened ? WHY_DIGEST_OPENED : WHY_DIGEST_JOINED, 0, until);
    return true;
}
static inline void m_make(struct model *m, struct m_user *u) {
    if (u->known) return;
    u->known = u->in[AUDIENCE_ALL] = true;
    u->made = ++m->serial;
}
static inline void m_receive(struct model *m, struct m_user *u, int n) {
    struct m_trigger *t = &m->trigger[n];
    const struct m_flow *f = &m->flows[t->flow];
    m_make(m, u);
    t->total[TOTAL_RECIPIENTS]++;
    m_fold(m, u, true);
    enum why why = m_forbidden(m, u, t);
    if (!why && m_capped(m, u, t->flow)) why = WHY_CAPPED;
    if (why) m_refused(u, t, n, why, 0);
    else if (f->high || !f->digest_ms || !m_collect(m, u, n)) m_leave(m, u, n, NULL);
}

/* To those whom it is for; through an audience whose inboxes do not merge it by the next tick. */
static inline void m_spread(struct model *m, int n) {
    struct m_trigger *t = &m->trigger[n];
    if (t->audience >= 0 && !t->merges) {
        m_due_add(m, m->now_ms, M_SWEEP, -1)->trigger = n;
        for (int k = 0; k < USERS; k++) t->named[k] = m->user[k].in[t->audience];
        return;
    }
    for (int k = 0; k < USERS; k++) {
        struct m_user *u = &m->user[k];
        if (t->audience < 0 ? !t->named[k] : !u->in[t->audience]) continue;
        if (t->audience < 0) {
            m_receive(m, u, n);
            continue;
        }
        t->total[TOTAL_RECIPIENTS]++;
        u->pending_at[u->pendings] = m->now_ms;
        u->pending[u->pendings++] = n;
    }
}

/* ---- what falls due ---- */
static inline struct m_row *m_row_of(struct m_user *u, int first) {
    for (int k = u->rows; k-- > 0;)
        if (u->row[k].first == first) return &u->row[k];
    return NULL;
}
static inline void m_go_on(struct model *m, struct m_user *u, int n, int first, uint8_t channels) {
    struct m_trigger *t = &m->trigger[n];
    enum why why = m_forbidden(m, u, t);
    uint8_t off = m_off(u, t->flow);
    int64_t until = m->flows[t->flow].high ? 0 : m_quiet_until(u, m->now_ms);
    if (why) {
        m_refused(u, t, n, why, channels);
        return;
    }
    if (off & channels) m_say(u, n, WHY_OPTED_OUT, off & channels, 0);
    channels &= (uint8_t)~off;
    if (channels && until) m_hold(m, u, n, first, channels, until);
    else m_send(m, u, n, channels, m_row_of(u, first)->hidden);
}
/* Quiet hours or the pause were changed: what is held leaves when they end now, if that is sooner. */
static inline void m_held_again(struct model *m, struct m_user *u) {
    int64_t until = m_quiet_until(u, m->now_ms);
    for (int k = 0; k < m->dues; k++) {
        struct m_due *d = &m->due[k];
        if (d->kind != M_HELD || d->done || d->user != (int)(u - m->user) || d->made != u->made)
            continue;
        if (!until) until = m->now_ms;
        if (d->at_ms > until) d->at_ms = until;
    }
}
static inline void m_held_due(struct model *m, struct m_user *u, const struct m_due *d) {
    struct m_trigger *t = &m->trigger[d->trigger];
    const struct m_row *r = m_row_of(u, d->first);
    t->total[TOTAL_HELD]--;
    if (r->taken || r->seen_ms || r->read_ms || r->archived_ms)
        m_say(u, d->trigger, WHY_WITHDRAWN, d->channels, 0);
    else if (r->newest != d->trigger) m_say(u, d->trigger, WHY_GROUPED, d->channels, 0);
    else m_go_on(m, u, d->trigger, d->first, d->channels);
}
static inline void m_escalate_due(struct model *m, struct m_user *u, const struct m_due *d) {
    const struct m_row *r = m_row_of(u, d->first);
    bool done = r->read_ms || r->archived_ms || (d->unless == ESCALATE_UNLESS_SEEN && r->seen_ms);
    if (done || r->taken) {
        m_say(u, d->trigger, WHY_NOT_ESCALATED, d->channels, 0);
        return;
    }
    m_say(u, d->trigger, WHY_ESCALATED, d->channels, 0);
    m_go_on(m, u, d->trigger, d->first, d->channels);
}
/* Of those that are left the newest that was not taken back is shown. */
static inline void m_take_out(const struct model *m, struct m_row *r, int n) {
    for (int k = 0; k < r->members; k++)
        if (r->member[k] == n) {
            memmove(
                &r->member[k], &r->member[k + 1], (size_t)(r->members - k - 1) * sizeof *r->member);
            r->members--;
            r->left = true;
            for (k = r->members; k-- > 0 && r->newest == n;)
                if (!m->trigger[r->member[k]].cancelled) r->newest = r->member[k];
            return;
        }
}
static inline void m_digest_due(struct model *m, struct m_user *u, const struct m_due *d) {
    struct m_digest *g = &u->digest[d->trigger][d->group];
    if (!g->open || g->serial != d->serial) return;
    struct m_row row = g->row, all = g->row;
    bool any = g->any;
    *g = (struct m_digest){0};
    if (!any) return;
    m_fold(m, u, true);
    int newest = -1;
    for (int k = 0; k < all.members; k++) {
        struct m_trigger *t = &m->trigger[all.member[k]];
        enum why why = m_forbidden(m, u, t);
        t->total[TOTAL_HELD]--;
        if (why) {
            m_refused(u, t, all.member[k], why, 0);
            m_take_out(m, &row, all.member[k]);
            continue;
        }
        m_say(u, all.member[k], WHY_DIGEST_SENT, 0, 0);
        t->total[TOTAL_DELIVERED] +=
            (m->flows[t->flow].at_once & ~m_off(u, t->flow) & CHANNEL_INAPP) != 0;
        newest = all.member[k];
    }
    if (newest >= 0) m_leave(m, u, newest, &row);
}
static inline void m_due(struct model *m, const struct m_due *d) {
    struct m_user *u = d->user < 0 ? NULL : &m->user[d->user];
    if (d->kind == M_SWEEP) {
        for (int k = 0; k < USERS; k++)
            if (m->trigger[d->trigger].named[k] && m->user[k].in[m->trigger[d->trigger].audience])
                m_receive(m, &m->user[k], d->trigger);
        return;
    }
    if (d->kind == M_SEND_AT) {
        struct m_trigger *t = &m->trigger[d->trigger];
        if (!t->cancelled) m_spread(m, d->trigger);
        else if (t->direct)
            for (int k = 0; k < USERS; k++)
                if (t->named[k] && m->user[k].known) m_fold(m, &m->user[k], true);
        return;
    }
    if (!u->known || u->made != d->made) return; /* they were erased meanwhile */
    if (d->kind == M_DIGEST) m_digest_due(m, u, d);
    else if (d->kind == M_HELD) m_held_due(m, u, d);
    else m_escalate_due(m, u, d);
}
static inline int64_t m_next_due(const struct model *m) {
    int64_t next = INT64_MAX;
    for (int k = 0; k < m->dues; k++)
        if (!m->due[k].done && m->due[k].at_ms < next) next = m->due[k].at_ms;
    return next;
}
/* All that is due by now, by its time and then by when it was added; what that adds comes after it, and
 * so does what had to wait where its id lives. */
static inline void m_ticks(struct model *m) {
    while (m_next_due(m) <= m->now_ms) {
        int dues = m->dues, away[64], n = 0;
        for (;;) {
            int first = -1;
            for (int k = 0; k < dues; k++)
                if (!m->due[k].done && m->due[k].at_ms <= m->now_ms &&
                    (first < 0 || m->due[k].at_ms < m->due[first].at_ms))
                    first = k;
            if (first < 0) break;
            m->due[first].done = true;
            if (m->due[first].kind == M_SEND_AT && !m->trigger[m->due[first].trigger].direct)
                away[n++] = first;
            else m_due(m, &m->due[first]);
        }
        for (int k = 0; k < n; k++) m_due(m, &m->due[away[k]]);
    }
}

/* ---- cancelling ---- */
static inline void m_withdraw(struct model *m, struct m_user *u, int n) {
    struct m_trigger *t = &m->trigger[n];
    m_fold(m, u, true);
    for (int k = u->rows; k-- > 0;) {
        struct m_row *r = &u->row[k];
        bool in = false;
        for (int j = 0; j < r->members; j++) in |= r->member[j] == n;
        if (!in) continue;
        if (r->hidden || r->seen_ms) return;
        m_take_out(m, r, n);
        if (r->members) r->expires_ms = m_expiry(m, &m->trigger[r->newest]);
        r->hidden = r->taken = !r->members;
        t->total[TOTAL_DELIVERED] -= t->audience < 0 || !t->merges; /* else it is reckoned */
        t->total[TOTAL_CANCELLED]++;
        m_say(u, n, WHY_CANCELLED, 0, 0);
        return;
    }
}
static inline void m_cancel(struct model *m, int n) {
    struct m_trigger *t = &m->trigger[n];
    if (t->cancelled) return;
    t->cancelled = true;
    bool waits = t->send_at_ms > m->now_ms && !t->direct; /* nobody has heard of it */
    bool never_left = t->send_at_ms > t->created_ms && !t->total[TOTAL_RECIPIENTS];
    if (t->audience >= 0 && t->merges && !t->total[TOTAL_RECIPIENTS]) return;
    for (int k = 0; k < USERS; k++) {
        struct m_user *u = &m->user[k];
        int64_t day = t->created_ms / 86400000;
        bool look = t->audience < 0
                        ? t->named[k]
                        : u->in[t->audience] || u->left_ms[t->audience] / 86400000 >= day;
        if (!u->known || waits || !look) continue;
        if (!never_left) {
            m_withdraw(m, u, n);
            continue;
        }
        t->total[TOTAL_RECIPIENTS]++;
        m_refused(u, t, n, WHY_CANCELLED, 0);
    }
}

/* ---- what people do ---- */
static inline void m_mark_row(struct model *m, struct m_row *r, enum mark mark) {
    int *total = m->trigger[r->newest].total;
    struct {
        bool on;
        int64_t *at;
        enum total total;
    } set[] = {{mark != MARK_ARCHIVED, &r->seen_ms, TOTAL_SEEN},
        {mark == MARK_READ || mark == MARK_CLICKED, &r->read_ms, TOTAL_READ},
        {mark == MARK_CLICKED, &r->clicked_ms, TOTAL_CLICKED},
        {mark == MARK_ARCHIVED, &r->archived_ms, TOTAL_ARCHIVED}};
    for (int k = 0; k < 4; k++) {
        if (!set[k].on || *set[k].at) continue;
        *set[k].at = m->now_ms;
        total[set[k].total]++;
    }
}
/* upto: the row of that trigger and all older ones; else only it. */
static inline void m_mark(struct model *m, struct m_user *u, int first, enum mark mark, bool upto) {
    m_make(m, u);
    m_fold(m, u, true);
    int at = -1;
    for (int k = 0; k < u->rows; k++)
        if (u->row[k].first == first && !u->row[k].hidden) at = k;
    for (int k = upto ? 0 : at; k >= 0 && k <= at; k++)
        if (!u->row[k].hidden) m_mark_row(m, &u->row[k], mark);
}
static inline void m_erase(struct model *m, int n) {
    struct bytes zone = m->user[n].zone;
    struct m_user *u = &m->user[n];
    for (int k = 0; k < m->triggers; k++) {
        bool touched = m->trigger[k].named[n] && m->trigger[k].send_at_ms <= m->now_ms;
        if (touched || m->trigger[k].audience >= 0) m->trigger[k].odd = true;
    }
    memset(u, 0, sizeof *u);
    u->zone = zone;
}
#endif
