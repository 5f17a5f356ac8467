/* deliver: who is away: members whom a message of others reached while no device of theirs that listens
 * was connected here. Their partition is this shard's, and so is every device of theirs, so the sessions
 * here say it all.
 *
 * What holds: a message that is applied is told at once; one that was sent to a device, or waited for it,
 * when the device went away without acknowledging it: phones vanish, and are missed only a while later.
 * A crash may come before the record that it becomes is durable; so a start tells again what was
 * applied last, when nobody can be connected: the messages of the last REPLAY_MS, at most REPLAYED_MAX
 * of them. Whoever takes it must know what was told before, and what was delivered or read; then nobody
 * is told twice, nobody who was away is missed, and who was connected when the server died, and had not
 * acknowledged the message, is told of it, as they are away now. SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>

#include "deliver/deliver_in.h"

enum { AWAY_MAX = 256, LEFT_MAX = 1000 /* entries looked at */, REPLAY_MS = 5000 };

struct away {
    struct deliver *d;
    uint16_t partition;
    struct bytes app;
    const struct entry *e;
    size_t count;
};

static void away_flush(struct away *w) {
    struct deliver *d = w->d;
    if (w->count) d->o.away(d->o.arg, w->partition, w->app, w->e, buf_view(&d->body));
    buf_reset(&d->body);
    w->count = 0;
}
/* Would it be sent a message? What is only about to open will be. */
static bool hears(const struct session *s) {
    uint8_t qos;
    uint32_t subscription;
    return !s->open || s->kind == SESSION_STREAM ||
           session_floor(s, ENTRY_MESSAGE, &qos, &subscription) != UINT64_MAX;
}
static bool is_here(
    struct deliver *d, struct bytes app, struct bytes user, const struct session *but) {
    for (const struct session *s = session_find(d, app, user); s; s = s->next)
        if (s != but && session_is_of(s, app, user) && hears(s)) return true;
    return false;
}
static bool away_member(void *arg, struct bytes user) {
    struct away *w = arg;
    if (bytes_eq(user, w->e->from) || is_here(w->d, w->app, user, NULL)) return true;
    pack_bytes(&w->d->body, user);
    if (++w->count == AWAY_MAX) away_flush(w);
    return true;
}

static bool is_message(const struct entry *e) {
    return e->type == ENTRY_MESSAGE && e->event == EVENT_CREATED;
}
static bool away_is_about(const struct deliver *d, const struct delivery *v) {
    return d->o.away && v->kind == DELIVER_ENTRY && is_message(&v->entry);
}

void away_tell(struct deliver *d, uint16_t partition, struct bytes app, const struct delivery *v) {
    if (!away_is_about(d, v)) return;
    struct away w = {d, partition, app, &v->entry, 0};
    struct cells *c = engine_cells(d->o.engine, partition);
    buf_reset(&d->body);
    if (v->user.n) away_member(&w, v->user); /* nearly always connected, or the sender: no cell */
    if (v->user.n && !w.count) return;
    if (!d->o.away_wanted(c, app, v->entry.conversation)) return;
    if (!v->user.n) mailbox_members(c, app, v->audience, away_member, &w);
    away_flush(&w);
}

/* ---- a device that goes ---- */
struct left {
    struct deliver *d;
    const struct session *s;
    struct cells *cells;
};
static bool is_acked(const struct session *s, uint64_t position) {
    for (size_t i = 0; i < s->flight_count; i++) {
        const struct flight *f = &s->window[(s->flight_head + i) % s->window_cap];
        if (f->position == position) return f->acked;
    }
    return false;
}
static bool left_entry(void *arg, const struct entry *e) {
    const struct left *w = arg;
    const struct session *s = w->s;
    struct deliver *d = w->d;
    if (!is_message(e) || bytes_eq(e->from, s->user) || is_acked(s, e->position) ||
        !d->o.away_wanted(w->cells, s->app, e->conversation))
        return true;
    buf_reset(&d->body);
    pack_bytes(&d->body, s->user);
    d->o.away(d->o.arg, s->partition, s->app, e, buf_view(&d->body));
    return true;
}

void away_left(struct deliver *d, const struct session *s) {
    if (!d->o.away || !s->user.n || !s->open || (s->caught_up && !s->flight_count)) return;
    if (!hears(s) || is_here(d, s->app, s->user, s)) return;
    struct left w = {d, s, engine_cells(d->o.engine, s->partition)};
    mailbox_walk(w.cells, s->app, s->user, s->acked, LEFT_MAX, left_entry, &w);
}

/* ---- after a crash ---- */
void deliver_replayed(
    struct deliver *d, uint16_t partition, struct bytes app, const struct delivery *v) {
    if (!away_is_about(d, v)) return;
    if (!d->replayed) d->replayed = must_alloc(REPLAYED_MAX * sizeof *d->replayed);
    struct replayed *r = &d->replayed[d->replayed_count++ % REPLAYED_MAX];
    const struct bytes names[] = {app, v->user, v->audience, v->entry.conversation, v->entry.from};
    r->partition = partition;
    r->at_ms = v->entry.at_ms;
    r->seq = v->entry.seq;
    buf_reset(&r->names);
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) pack_bytes(&r->names, names[i]);
}

void deliver_recovered(struct deliver *d) {
    size_t n = d->replayed_count, first = n > REPLAYED_MAX ? n - REPLAYED_MAX : 0;
    int64_t newest = n ? d->replayed[(n - 1) % REPLAYED_MAX].at_ms : 0;
    for (size_t i = first; i < n; i++) {
        const struct replayed *r = &d->replayed[i % REPLAYED_MAX];
        if (r->at_ms < newest - REPLAY_MS) continue;
        struct unpack u = unpack_of(buf_view(&r->names));
        struct delivery v = {.kind = DELIVER_ENTRY};
        struct bytes app = unpack_bytes(&u);
        v.user = unpack_bytes(&u);
        v.audience = unpack_bytes(&u);
        v.entry = (struct entry){
            .type = ENTRY_MESSAGE, .event = EVENT_CREATED, .at_ms = r->at_ms, .seq = r->seq};
        v.entry.conversation = unpack_bytes(&u);
        v.entry.from = unpack_bytes(&u);
        away_tell(d, r->partition, app, &v);
    }
    replayed_free(d);
}

void replayed_free(struct deliver *d) {
    if (!d->replayed) return;
    for (size_t i = 0; i < REPLAYED_MAX; i++) buf_done(&d->replayed[i].names);
    free(d->replayed);
    d->replayed = NULL;
    d->replayed_count = 0;
}
