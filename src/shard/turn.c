/* shard: one core's turn, read aloud: wait, read, take from the others, apply what is durable,
 * deliver, write, wake the log.
 * SPDX-License-Identifier: Apache-2.0 */
#include <string.h>
#include <unistd.h>

#include "chat/chat.h"
#include "shard/shard_in.h"

#define EVENTS_MAX 512
#define APPLY_MAX 4096
#define CURSORS_MS 250
#define IDLE_WAIT_MS 100
#define TICKS_MS 50

static const struct door *door_of(const struct server *v, const void *tag) {
    for (int i = 0; i < DOORS; i++)
        if (tag == &v->doors[i]) return tag;
    return tag == &v->control ? tag : NULL;
}

/* Between a turn and waiting; one writer. */
static void turn_mark(struct shard *s) {
    uint32_t turns = atomic_load_explicit(&s->turns, memory_order_relaxed);
    atomic_store_explicit(&s->turns, turns + 1, memory_order_relaxed);
}

static void events_take(struct shard *s, int wait_ms) {
    struct loop_event events[EVENTS_MAX];
    struct server *v = s->server;
    struct note *late = notes_late(s);
    turn_mark(s);
    size_t n = loop_wait(s->loop, late ? 0 : wait_ms, events, EVENTS_MAX);
    turn_mark(s);
    pace_waited(s, late ? 0 : wait_ms);
    s->events = events; /* a connection that leaves in there blanks its own (conn_detach) */
    s->event_count = n;
    jobs_from_rings(s); /* first: what others know must not come after what their clients then do */
    for (size_t i = 0; i < n; i++) {
        void *tag = events[i].tag;
        if (!tag) continue;
        const struct door *d = door_of(v, tag);
        if (d) conn_accept(s, d);
        else conn_event(s, tag, events[i].what);
    }
    s->event_count = 0;
    notes_late_take(s, late);
}

/* What falls due is looked at every so often, and each turn while something is due. */
static void ticks_turn(struct shard *s) {
    bool now = s->due_ms <= s->now_ms || s->mono_ms - s->last_ticks_ms >= TICKS_MS;
    if (!now || !s->recovered || s->draining) return;
    s->last_ticks_ms = s->mono_ms;
    s->due_ms = engine_ticks(s->engine, s->now_ms);
}

/* A tick that is under way wakes the shard when it is durable. */
static int rest_ms(const struct shard *s) {
    int most = limits_wait_ms(s, IDLE_WAIT_MS);
    int64_t left = s->due_ms - s->now_ms;
    return left > 0 && left < most ? (int)left : most;
}

static void housekeeping(struct shard *s) {
    uint64_t secrets = admit_generation(s->server->admit);
    if (secrets != s->secrets_seen) {
        s->secrets_seen = secrets;
        conn_recheck(s);
    }
    if (s->mono_ms - s->last_cursors_ms >= CURSORS_MS) {
        s->last_cursors_ms = s->mono_ms;
        deliver_store_cursors(s->deliver, false);
    }
    if (s->mono_ms - s->last_sweep_ms >= SWEEP_MS) {
        s->last_sweep_ms = s->mono_ms;
        conn_sweep(s);
        conn_figures(s);
        figures_sweep(s);
        tell_turn(s);
        channels_turn(s);
    }
    conn_accept_again(s);
    memory_look(s);
    limits_turn(s);
    tables_hand(s);
    health_turn(s);
    ticks_turn(s);
}

static void listen_begin(struct shard *s) {
    struct server *v = s->server;
    channels_recovered(s);
    s->recovered = true;
    deliver_recovered(s->deliver);
    if (atomic_fetch_add(&v->recovered, 1) + 1 != v->shards) return;
    /* every shard accepts; the kernel wakes one of them */
    for (unsigned i = 0; i < v->shards; i++) {
        struct loop *l = v->shard[i].loop;
        for (struct door *d = v->doors; d < v->doors + DOORS; d++)
            if (d->fd >= 0) check(loop_add(l, d->fd, LOOP_READ, d) == OK);
    }
    check(loop_add(v->shard[0].loop, v->control.fd, LOOP_READ, &v->control) == OK);
    tell_recovered(v);
}

/* What another shard does not take waits here, in memory: senders wait too then. */
static void crowd_look(struct shard *s) {
    enum { CROWDED = 16384 };
    size_t waiting = jobs_waiting(s);
    atomic_store_explicit(&s->gauges.jobs, waiting, memory_order_relaxed);
    bool crowded = waiting > CROWDED;
    pace_crowded(s, crowded);
    if (crowded == s->crowded) return;
    s->crowded = crowded;
    conn_touch_all(s);
}

/* true: something is left to do at once. */
static bool shard_turn(struct shard *s, int wait_ms) {
    events_take(s, wait_ms);
    conn_leftovers(s);
    jobs_from_rings(s);
    jobs_parked(s);
    pace_phase(&s->pace, PHASE_read);
    bool more = engine_turn(s->engine, APPLY_MAX, s->mono_ms);
    pace_phase(&s->pace, PHASE_apply);
    deliver_turn(s->deliver);
    pace_phase(&s->pace, PHASE_deliver);
    more |= sends_turn(s);
    housekeeping(s);
    shards_wake(s);
    pace_phase(&s->pace, PHASE_keep);
    conn_write_all(s);
    counts_take(s);
    more |= job_flush_overflow(s);
    crowd_look(s);
    shards_wake(s);
    s->server->log->calls->kick(s->server->log, s->index);
    pace_end(s);
    return more || s->late || s->read_again_count || deliver_is_ready(s->deliver);
}

static void drain_begin(struct shard *s) {
    struct server *v = s->server;
    s->draining = true;
    for (const struct door *d = v->doors; d < v->doors + DOORS; d++) {
        if (d->fd < 0) continue;
        conn_accept(s, d); /* who waits at the door is answered too */
        loop_remove(s->loop, d->fd);
    }
}

/* On a full disk nothing is waited for: the next start applies the log again. */
static bool batch_waits(struct shard *s) {
    return !atomic_load(&s->server->tables.disk_full) && engine_batch_ready(s->engine);
}

/* Everything promised is kept: acknowledged records applied, relays settled, cursors stored, tables
 * written. */
static void drain(struct shard *s) {
    enum { DRAIN_MS = 10000, SENDS_MS = 3000 }; /* what is not answered by then is sent again */
    int64_t until = clock_mono_ns() / 1000000 + DRAIN_MS, sends_until = until - DRAIN_MS + SENDS_MS;
    drain_begin(s);
    tell_draining(s);
    deliver_store_cursors(s->deliver, true);
    unsigned quiet = 0;
    while (quiet < 20 && s->mono_ms < until) {
        bool busy = shard_turn(s, 5) || s->jobs_out || engine_outbox_count(s->engine) ||
                    batch_waits(s) || (sends_are_out(s) && s->mono_ms < sends_until);
        conn_drain(s); /* behind the turn: it reads what came before the signal */
        quiet = busy ? 0 : quiet + 1;
    }
    atomic_fetch_add(&s->server->drained, 1);
    while (atomic_load(&s->server->drained) < s->server->shards && s->mono_ms < until)
        shard_turn(s, 5);
    for (int i = 0; i < 200; i++) { /* the last batch */
        shard_turn(s, 5);
        if (!batch_waits(s) &&
            (!engine_dirty_bytes(s->engine) || atomic_load(&s->server->tables.disk_full)))
            break;
    }
}

void *shard_main(void *arg) {
    struct shard *s = arg;
    bool more = true;
    s->turns = 1;
    s->tid = (int)gettid();
    pace_begin(s);
    pace_waited(s, 0);
    s->last_freeze_ms = s->mono_ms;
    while (!atomic_load(&s->server->stop)) {
        more = shard_turn(s, more                     ? 0
                             : s->behind || s->parked ? 1 /* memory is given back in turns */
                                                      : rest_ms(s));
        if (!s->recovered && engine_caught_up(s->engine)) listen_begin(s);
    }
    if (s->recovered) drain(s);
    pace_done(s);
    return NULL;
}
