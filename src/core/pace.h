/* core: the pace of a core's turns: when each began, what its phases took, and what of the time the
 * thread had no core. Feeds journeys with the turn's clock, and writes the events of turns
 * (measure/event.h).
 *
 * Keeps: came_ns of what a look at the sockets finds is never later than it really came. When the
 * thread did not wait, it may have come since the look before; when it waited, and then had to wait
 * for a core or was stopped, since that began. (Coordinated omission: Tene, "How NOT to measure
 * latency".) SPDX-License-Identifier: Apache-2.0 */
#ifndef KITH_PACE_H
#define KITH_PACE_H

#include "io/io.h"
#include "measure/measure.h"

struct pace {
    struct ticker clock;
    int schedstat;      /* this thread's, kept open; -1: this kernel has none */
    int64_t delayed_ns; /* by it: ready to run, without a core, ever */
    int64_t asked_ns;   /* when it was asked */
    int64_t ran_ns;     /* by it: with a core, ever; 0: not known */
    int64_t ran_lately_ns,
        locked_ns;                 /* between the last two times it was asked; locked_ns() then */
    int64_t look_ns;               /* the last look at the sockets */
    int64_t end_ns;                /* of the last turn */
    uint64_t borders[PHASE_COUNT]; /* where each phase ended, in ticks */
    int64_t handshakes_ns;         /* of this turn */
    unsigned handshakes;
    int64_t held_since_ns, crowded_since_ns; /* 0: not now; of the part that is not told yet */
    int64_t held_from_ns; /* when it began; until what waited meanwhile has been looked at. 0: no */
};

struct shard;
void pace_begin(struct shard *s); /* on the shard's own thread */
void pace_done(struct shard *s);
/* After the wait for events, of at most wait_ms: sets s->came_ns, now_ns of journeys, and clocks. */
void pace_waited(struct shard *s, int wait_ms);
/* The last is ended by pace_end. */
static inline void pace_phase(struct pace *p, enum turn_phase ended) {
    p->borders[ended] = ticker_ticks();
}
void pace_end(struct shard *s); /* of the turn */
/* Senders are held back, or another shard takes nothing, from now on or no longer. */
void pace_held(struct shard *s, bool held);
void pace_crowded(struct shard *s, bool crowded);

#endif
