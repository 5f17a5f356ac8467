/* core: the pace of turns; see pace.h. SPDX-License-Identifier: Apache-2.0 */
#include "core/pace.h"

#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "core/core.h"

enum {
    TURN_LONG_NS = 1000000,  /* that is an event */
    LOOK_NS = 5000000,       /* a wait or a turn that is looked into: what is shorter is not slow */
    DELAY_MIN_NS = 1000000,  /* of a core, that is an event */
    AWAKE_NS = 20000,        /* who waited less did not sleep */
    LATE_NS = 20000000,      /* a timer's own lateness */
    SLEPT_MIN_NS = 10000000, /* run times are exact to a tick of 4 ms */
    SLICE_NS = 200000000     /* what goes on is told so often */
};

/* "run_ns delay_ns slices"; see sched-stats in the kernel's documentation. */
static int64_t delay_take(struct pace *p, int64_t now_ns) {
    char text[96];
    p->asked_ns = now_ns;
    ssize_t n = p->schedstat >= 0 ? pread(p->schedstat, text, sizeof text - 1, 0) : -1;
    if (n <= 0) return 0;
    text[n] = 0;
    char *second;
    int64_t ran = (int64_t)strtoull(text, &second, 10);
    p->ran_lately_ns = ran - p->ran_ns;
    p->ran_ns = ran;
    int64_t now = (int64_t)strtoull(second, NULL, 10), more = now - p->delayed_ns;
    p->delayed_ns = now;
    return more;
}

void pace_begin(struct shard *s) {
    struct pace *p = &s->pace;
    char path[64], name[16];
    snprintf(name, sizeof name, "shard %u", s->index);
    /* for who looks on: top -H, perf; the first shard's is the process's own name, by which it is found */
    if (s->index) pthread_setname_np(pthread_self(), name);
    snprintf(path, sizeof path, "/proc/self/task/%d/schedstat", (int)gettid());
    p->schedstat = open(path, O_RDONLY | O_CLOEXEC);
    (void)delay_take(p, clock_mono_ns());
    p->look_ns = p->end_ns = s->came_ns = clock_mono_ns();
    events_here(&s->measure.events, s->index);
}

void pace_done(struct shard *s) {
    if (s->pace.schedstat >= 0) close(s->pace.schedstat);
}

static void tell(
    struct shard *s, enum event_kind kind, int64_t start_ns, int64_t took, int64_t a, int64_t b) {
    struct event e = {.kind = kind,
        .thread = s->index,
        .start_ns = start_ns,
        .duration_ns = took,
        .a = a,
        .b = b};
    event_add(&s->measure.events, &e);
}

/* What of a wait was no waiting: for a core, or for the whole process to go on. */
static int64_t lost_in_wait(struct shard *s, int64_t waited, int wait_ms, int64_t now) {
    int64_t delay = delay_take(&s->pace, now), late = 0;
    if (delay > waited) delay = waited; /* the rest was before */
    if (wait_ms >= 0) late = waited - (int64_t)wait_ms * 1000000 - delay;
    if (delay >= DELAY_MIN_NS) tell(s, EVENT_run_delay, now - delay, delay, delay, 0);
    if (late < LATE_NS) return delay;
    tell(s, EVENT_stopped, now - delay - late, late, 0, 0);
    return delay + late;
}

void pace_waited(struct shard *s, int wait_ms) {
    struct pace *p = &s->pace;
    int64_t now = ticker_set(&p->clock), waited = now - p->end_ns;
    s->came_ns = waited < AWAKE_NS ? p->look_ns : now;
    if (waited >= LOOK_NS) s->came_ns = now - lost_in_wait(s, waited, wait_ms, now);
    if (p->held_from_ns && s->came_ns > p->held_from_ns) s->came_ns = p->held_from_ns;
    if (!p->held_since_ns) p->held_from_ns = 0; /* this look is the first after it */
    p->look_ns = now;
    p->handshakes_ns = 0;
    p->handshakes = 0;
    s->now_ms = clock_wall_ms();
    s->mono_ms = now / 1000000;
    journeys_clock(s->journeys, now);
}

/* Of the turn's time, as the counter parted it. */
static enum turn_phase longest(const struct pace *p, int64_t took, int64_t *out_ns) {
    enum turn_phase most = 0;
    uint64_t before = p->clock.ticks, all = p->borders[PHASE_COUNT - 1] - before, best = 0;
    for (int i = 0; i < PHASE_COUNT; i++) {
        uint64_t ticks = p->borders[i] - before;
        before = p->borders[i];
        if (ticks <= best) continue;
        best = ticks;
        most = (enum turn_phase)i;
    }
    *out_ns = all ? (int64_t)((double)took * (double)best / (double)all) : took;
    return most;
}

/* A turn that neither ran nor could: it slept, for a lock that is none of ours, memory or a disk. */
static void slept_look(struct shard *s, int64_t took, int64_t awake_ns) {
    struct pace *p = &s->pace;
    int64_t locked = locked_ns() - p->locked_ns, slept = awake_ns - p->ran_lately_ns - locked;
    p->locked_ns += locked;
    if (!p->ran_ns || slept < SLEPT_MIN_NS || slept * 2 < took) return;
    tell(s, EVENT_lock, p->look_ns + took - slept, slept, LOCK_ELSEWHERE, 0);
}

void pace_end(struct shard *s) {
    struct pace *p = &s->pace;
    journeys_turn_end(s->journeys, ticker_now(&p->clock));
    /* what comes after the writing is of the turn too: waking the log may wait for its lock */
    pace_phase(p, PHASE_write);
    p->end_ns = ticker_now(&p->clock);
    int64_t took = p->end_ns - p->look_ns;
    measure_time(&s->measure, TIMED_turn, (uint64_t)took);
    /* asked now and then, so that what short turns and waits were held up is not told of a long one */
    if (took < LOOK_NS && p->end_ns - p->asked_ns >= LOOK_NS) (void)delay_take(p, p->end_ns);
    if (took < TURN_LONG_NS) return;
    int64_t most_ns;
    enum turn_phase most = longest(p, took, &most_ns);
    tell(s, EVENT_turn, p->look_ns, took, most, most_ns);
    if (p->handshakes_ns >= TURN_LONG_NS)
        tell(s, EVENT_handshakes, p->look_ns, took, p->handshakes, p->handshakes_ns);
    int64_t delay = took >= LOOK_NS ? delay_take(p, p->end_ns) : 0;
    if (delay > took) delay = took; /* the rest was in short waits before */
    if (delay >= DELAY_MIN_NS) tell(s, EVENT_run_delay, p->look_ns, took, delay, 0);
    if (took >= LOOK_NS) slept_look(s, took, took - delay);
}

static void slice(struct shard *s, int64_t *since, bool on, enum event_kind kind) {
    int64_t now = s->pace.look_ns, took = *since ? now - *since : 0;
    if (*since && (took >= SLICE_NS || (!on && took > 0))) {
        tell(s, kind, *since, took, (int64_t)jobs_waiting(s), 0);
        *since = now;
    }
    if (!on) *since = 0;
    else if (!*since) *since = now;
}

void pace_held(struct shard *s, bool held) {
    if (held && !s->pace.held_from_ns) s->pace.held_from_ns = s->pace.look_ns;
    slice(s, &s->pace.held_since_ns, held, EVENT_held_back);
}
void pace_crowded(struct shard *s, bool crowded) {
    slice(s, &s->pace.crowded_since_ns, crowded, EVENT_crowded);
}
