/* watch, inside: the judgement of delays, what came to histograms and the history, apart from the thread
 * that feeds them.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef KITH_WATCH_IN_H
#define KITH_WATCH_IN_H

#include "watch/watch.h"

/* ---- delay.c: from what threads used and waited for, to events ---- */
#define LOOK_NS 20000000          /* how often threads are looked at */
#define LATE_NS 50000000          /* our own wake-up: later than that is told */
#define CLOCK_MS 50               /* so is a wall clock that moved by more against the other */
#define DELAY_PIECE_NS 1000000000 /* a longer delay is told in pieces */

struct delay_sample { /* of one thread, since it began */
    bool known;       /* it runs, and could be asked */
    int64_t used_ns, waited_ns;
};
struct delay_look {
    int64_t due_ns, now_ns; /* monotonic: when it should have been, and is */
    int64_t wall_ms;
    const struct delay_sample *threads; /* [count] */
    struct delay_sample self;
    bool guessed; /* waits are: whoever is late may have stood still or lacked a core, who knows */
};
struct delay_thread {
    struct delay_sample last;
    int64_t from_ns, to_ns, waited_ns; /* of the delay under way; waited 0: none */
};
struct delay {
    struct delay_thread *threads;
    const uint32_t *numbers; /* [count] of the threads, for events */
    size_t count;
    struct delay_sample self;
    int64_t last_ns, wall_offset_ms;
    bool begun;
};
void delay_take(struct delay *d, const struct delay_look *l, struct events *ring);

/* ---- change.c: what came to a histogram of several threads since it was last asked ---- */
#define CHANGE_LINE 8 /* buckets: 64 bytes */
#define CHANGE_LINES (HIST_BUCKETS / CHANGE_LINE)
struct change {                     /* zero-initialised is valid */
    uint64_t lines[CHANGE_LINES];   /* sums of the buckets */
    uint64_t buckets[HIST_BUCKETS]; /* as they were, all threads' */
    uint64_t max;                   /* ever */
    uint64_t came[HIST_BUCKETS];    /* of the lines in `changed` */
    struct {
        uint32_t line;
        uint64_t n; /* came to it */
    } changed[CHANGE_LINES];
};
struct change_sums {
    uint64_t n, p50, p99;
};
void change_take(
    struct change *c, const struct hist *const *of, size_t count, struct change_sums *out);

/* ---- past.c: columns of the last hour ---- */
/* Readers look at the last WATCH_POINTS; as a point comes once a second, these more keep the writer
 * off what is being read. */
#define PAST_SLOTS (WATCH_POINTS + 8)
#define COLUMN_NAME_MAX 48
struct past {
    size_t columns;
    char (*names)[COLUMN_NAME_MAX];
    uint32_t *values; /* [columns][PAST_SLOTS] */
    int64_t *at_ms;   /* [PAST_SLOTS] */
    uint64_t count;   /* ever */
};
void past_init(struct past *h, size_t columns);
void past_done(struct past *h);
void past_add(struct past *h, int64_t at_ms, const uint64_t *values); /* cut to 32 bits */
void past_json(const struct past *h, uint64_t since, struct buf *out);

#endif
