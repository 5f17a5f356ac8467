/* due, measured: adding and taking of what waits, where each lies at a moment of its own (escalations,
 * expiries) and where all lie at one (digests at nine); and the look that drivers take.
 * SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <time.h>

#include "due/due.h"

enum { ITEMS = 200000, BODY = 60 };
#define MORNING 1795200000000

static double now_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

static struct step step_of(struct cells *c, struct arena *a, struct answer *answer, int64_t ms) {
    arena_reset(a);
    return (struct step){.cells = c,
        .partitions = 64,
        .time_ms = ms,
        .app = BYTES("app"),
        .arena = a,
        .answer = answer};
}

/* spread_ms: over how long they lie. */
static void measure(const char *what, uint64_t spread_ms) {
    struct store *store = store_create_memory();
    struct cells *c = cells_create(store, 0, UINT64_C(1) << 30);
    struct arena a = {0};
    struct answer answer = {0};
    struct rng r = {1};
    uint8_t body[BODY] = {0};
    double from = now_ns();
    for (int i = 0; i < ITEMS; i++) {
        struct step s = step_of(c, &a, &answer, MORNING);
        due_add(&s, MORNING + (int64_t)rng_below(&r, spread_ms), 200, bytes_of(body, sizeof body));
    }
    double added = now_ns();
    uint64_t taken = 0, ticks = 0;
    for (int64_t next; (next = due_next(c)) != INT64_MAX; ticks++) {
        struct step s = step_of(c, &a, &answer, next + 1000);
        due_surface.records[0].apply(&s);
        taken += s.relay_count;
    }
    double took = now_ns(), looks = 0;
    for (int i = 0; i < ITEMS; i++) looks += due_next(c) == INT64_MAX;
    check(taken == ITEMS && looks == ITEMS);
    printf("%-22s add %.0f ns, take %.0f ns (%.0f a tick), look %.0f ns\n", what,
        (added - from) / ITEMS, (took - added) / ITEMS, (double)ITEMS / (double)ticks,
        (now_ns() - took) / ITEMS);
    arena_done(&a);
    cells_free(&c);
    store->calls->close(store);
}

int main(void) {
    measure("over a day", 86400000);
    measure("over an hour", 3600000);
    measure("all at one moment", 1);
    return 0;
}
