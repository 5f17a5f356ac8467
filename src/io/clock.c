/* io: the clocks and the secret randomness of the real machine. SPDX-License-Identifier: Apache-2.0
 * */
#include <errno.h>
#include <sys/random.h>
#include <time.h>

#include "io/io.h"

int64_t clock_wall_ms(void) {
    struct timespec t;
    check(clock_gettime(CLOCK_REALTIME, &t) == 0);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

int64_t clock_mono_ns(void) {
    struct timespec t;
    check(clock_gettime(CLOCK_MONOTONIC, &t) == 0);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

/* More than 256 bytes may come in parts, or be interrupted by a signal. */
void random_secret(void *p, size_t n) {
    for (size_t done = 0; done < n;) {
        ssize_t r = getrandom((char *)p + done, n - done, 0);
        check(r > 0 || errno == EINTR);
        if (r > 0) done += (size_t)r;
    }
}

/* ---- ticker ---- */
#if defined(__x86_64__)
static uint64_t ticks_now(void) { return __builtin_ia32_rdtsc(); }
#else
static uint64_t ticks_now(void) { return 0; } /* so that the scale is never known */
#endif

int64_t ticker_set(struct ticker *t) {
    enum { SURE_NS = 10000000, ANEW_NS = 1000000000 };
    int64_t now = clock_mono_ns(), since = now - t->from_ns;
    uint64_t ticks = ticks_now(), passed = ticks - t->from_ticks;
    if (t->from_ns && since >= SURE_NS && passed && passed >> 40 == 0)
        t->scale = (uint64_t)(((unsigned __int128)(uint64_t)since << 32) / passed);
    if (!t->from_ns || since >= ANEW_NS) {
        t->from_ns = now;
        t->from_ticks = ticks;
    }
    t->ns = now;
    t->ticks = ticks;
    return now;
}

/* A counter that jumped, or a turn of more than a second, is no matter for it. */
int64_t ticker_now(const struct ticker *t) {
    uint64_t passed = ticks_now() - t->ticks;
    if (!t->scale || passed >> 31) return clock_mono_ns();
    return t->ns + (int64_t)(passed * t->scale >> 32);
}
