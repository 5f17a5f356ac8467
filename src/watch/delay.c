/* watch: delays: a thread that could run and had no core, a process that did not run at all, a clock
 * that jumped.
 * Keeps: a delay is told once it is over, or has lasted a second; delays of looks that follow each
 * other are one. SPDX-License-Identifier: Apache-2.0 */
#include "watch/watch_in.h"

/* Of each look, this part must have been waited for: 4 ms of 20, as the scheduler lets others run
 * for about three. */
#define WORTH_PART 5

static void delay_tell(struct delay_thread *t, uint32_t number, struct events *ring) {
    if (!t->waited_ns) return;
    struct event e = {.kind = EVENT_run_delay,
        .thread = number,
        .start_ns = t->from_ns,
        .duration_ns = t->to_ns - t->from_ns,
        .a = t->waited_ns};
    event_add(ring, &e);
    t->waited_ns = 0;
}

static void thread_take(
    struct delay *d, size_t i, const struct delay_look *l, struct events *ring) {
    struct delay_thread *t = &d->threads[i];
    const struct delay_sample *s = &l->threads[i];
    int64_t span = l->now_ns - d->last_ns,
            waited = s->known && t->last.known ? s->waited_ns - t->last.waited_ns : 0;
    t->last = *s;
    if (waited * WORTH_PART < span || waited <= 0) return delay_tell(t, d->numbers[i], ring);
    /* the kernel counts a wait when it is over: a long one comes all at once */
    int64_t from_ns = waited > span ? l->now_ns - waited : d->last_ns;
    if (!t->waited_ns || from_ns < t->from_ns) t->from_ns = from_ns;
    t->to_ns = l->now_ns;
    t->waited_ns += waited;
    if (t->to_ns - t->from_ns >= DELAY_PIECE_NS) delay_tell(t, d->numbers[i], ring);
}

/* Did somebody wait for a core for most of the time that we are late? Then it is no stop. */
static bool somebody_waited(const struct delay *d, const struct delay_look *l, int64_t late_ns) {
    for (size_t i = 0; i < d->count; i++)
        if (l->threads[i].known && d->threads[i].last.known &&
            l->threads[i].waited_ns - d->threads[i].last.waited_ns > late_ns / 2)
            return true;
    return l->self.known && d->self.known && l->self.waited_ns - d->self.waited_ns > late_ns / 2;
}

static void stop_look(const struct delay *d, const struct delay_look *l, struct events *ring) {
    int64_t late = l->now_ns - l->due_ns;
    if (late <= LATE_NS || l->guessed || somebody_waited(d, l, late)) return;
    struct event e = {
        .kind = EVENT_stopped, .thread = THREAD_WATCH, .start_ns = l->due_ns, .duration_ns = late};
    event_add(ring, &e);
}

/* Slow steering of the clock stays below what is told in 20 ms. */
static void clock_look(struct delay *d, const struct delay_look *l, struct events *ring) {
    int64_t offset = l->wall_ms - l->now_ns / 1000000, moved = offset - d->wall_offset_ms;
    d->wall_offset_ms = offset;
    if (moved <= CLOCK_MS && moved >= -CLOCK_MS) return;
    struct event e = {.kind = EVENT_clock,
        .thread = THREAD_WATCH,
        .start_ns = d->last_ns,
        .duration_ns = l->now_ns - d->last_ns,
        .a = moved};
    event_add(ring, &e);
}

void delay_take(struct delay *d, const struct delay_look *l, struct events *ring) {
    if (d->begun) {
        stop_look(d, l, ring);
        clock_look(d, l, ring);
        for (size_t i = 0; i < d->count; i++) thread_take(d, i, l, ring);
    } else {
        for (size_t i = 0; i < d->count; i++) d->threads[i].last = l->threads[i];
        d->wall_offset_ms = l->wall_ms - l->now_ns / 1000000;
    }
    d->self = l->self;
    d->last_ns = l->now_ns;
    d->begun = true;
}
