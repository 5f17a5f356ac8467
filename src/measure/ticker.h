/* measure: a clock for what people look at, read often: between two looks at the real one it goes by
 * the processor's counter (x86: TSC; ARM: CNTVCT), some ten instructions instead of sixty. Each look
 * sets it right, so that it is wrong by what the counter strays within one turn at most. On other
 * processors it is the real one.
 *
 * The looks are io's (ticker_set, io/clock.c): nothing else touches the machine's clocks.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef KITH_TICKER_H
#define KITH_TICKER_H

#include <stdbool.h>
#include <stdint.h>

struct ticker {
    uint64_t ticks, from_ticks;
    int64_t ns, from_ns, scaled_ns; /* from: what the scale is taken from */
    uint64_t scale;        /* ns a tick, 32 bits of it behind the point; 0: not known (yet) */
    int64_t (*real)(void); /* CLOCK_MONOTONIC, in nanoseconds */
};

/* What the counter says, in a unit of its own; 0 where there is none. */
static inline uint64_t ticker_ticks(void) {
#if defined(__x86_64__)
    return __builtin_ia32_rdtsc();
#elif defined(__aarch64__)
    uint64_t ticks;
    __asm__ volatile("mrs %0, cntvct_el0" : "=r"(ticks));
    return ticks;
#else
    return 0;
#endif
}
/* How far the counter went since the last look; false: ask the real clock. A counter that jumped, or a
 * look of more than a second ago, is told so. */
static inline bool ticker_passed(const struct ticker *t, uint64_t *out_ticks) {
    *out_ticks = ticker_ticks() - t->ticks;
    return __builtin_expect(t->scale && !(*out_ticks >> 31), 1);
}
static inline int64_t ticker_at(const struct ticker *t, uint64_t passed) {
    return t->ns + (int64_t)(passed * t->scale >> 32);
}
static inline int64_t ticker_now(const struct ticker *t) {
    uint64_t passed;
    return ticker_passed(t, &passed) ? ticker_at(t, passed) : t->real();
}

#endif
