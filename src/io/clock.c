/* io: the clocks and the secret randomness of the real machine. SPDX-License-Identifier: Apache-2.0
 * */
#include <errno.h>
#include <sys/random.h>
#include <time.h>

#include "io/io.h"
#include "measure/measure.h"

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
int64_t ticker_set(struct ticker *t) {
    enum { SURE_NS = 10000000, ANEW_NS = 1000000000 };
    int64_t now = clock_mono_ns(), since = now - t->from_ns;
    uint64_t ticks = ticker_ticks(), passed = ticks - t->from_ticks;
    if (t->from_ns && now - t->scaled_ns >= SURE_NS && passed && passed >> 40 == 0) {
        t->scale = (uint64_t)(((unsigned __int128)(uint64_t)since << 32) / passed);
        t->scaled_ns = now;
    }
    if (!t->from_ns || since >= ANEW_NS) {
        t->from_ns = t->scaled_ns = now;
        t->from_ticks = ticks;
    }
    t->ns = now;
    t->ticks = ticks;
    t->real = clock_mono_ns;
    return now;
}
