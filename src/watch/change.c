/* watch: change: what came to a histogram, of several threads, since it was last asked.
 * Keeps: of a line of buckets only the sum is looked at, until it is another one: in a second few are.
 * SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "watch/watch_in.h"

/* The sum of a line's buckets, of all threads: a hint, whether to look closer. One that is wrong, as
 * its buckets are written just then, is found wrong again a second later; so it is read as is quickest. */
typedef uint64_t lanes __attribute__((vector_size(16), aligned(8), may_alias));

__attribute__((no_sanitize("thread"))) static uint64_t line_sum(
    const struct hist *const *of, size_t count, size_t line) {
    lanes sum = {0};
    for (size_t i = 0; i < count; i++) {
        const lanes *l = (const lanes *)&of[i]->buckets[line * CHANGE_LINE];
        sum += (l[0] + l[1]) + (l[2] + l[3]);
    }
    return sum[0] + sum[1];
}

/* The line's buckets, one by one. Gives how much came to them. */
static uint64_t line_take(
    struct change *c, size_t line, const struct hist *const *of, size_t count) {
    uint64_t now[CHANGE_LINE] = {0}, *before = &c->buckets[line * CHANGE_LINE],
             *came = &c->came[line * CHANGE_LINE], whole = 0, n = 0;
    for (size_t i = 0; i < count; i++)
#pragma GCC unroll 8
        for (unsigned b = 0; b < CHANGE_LINE; b++)
            now[b] += __atomic_load_n(&of[i]->buckets[line * CHANGE_LINE + b], __ATOMIC_RELAXED);
#pragma GCC unroll 8
    for (unsigned b = 0; b < CHANGE_LINE; b++) {
        n += came[b] = now[b] - before[b];
        whole += before[b] = now[b];
    }
    c->lines[line] = whole;
    return n;
}

/* The value that `rank` of what came do not exceed; as hist_percentile says it. */
static uint64_t at_rank(const struct change *c, size_t changed, uint64_t rank) {
    uint64_t below = 0;
    for (size_t i = 0; i < changed; i++) {
        unsigned b = c->changed[i].line * CHANGE_LINE;
        if (below + c->changed[i].n < rank) {
            below += c->changed[i].n;
            continue;
        }
        while ((below += c->came[b]) < rank) b++;
        uint64_t top = hist_bucket_top(b);
        return top < c->max ? top : c->max;
    }
    return c->max;
}

/* Up to the longest since the start, as above it there is nothing. */
void change_take(
    struct change *c, const struct hist *const *of, size_t count, struct change_sums *out) {
    size_t changed = 0;
    uint64_t n = 0;
    for (size_t i = 0; i < count; i++) {
        uint64_t max = __atomic_load_n(&of[i]->max, __ATOMIC_RELAXED);
        if (max > c->max) c->max = max;
    }
    for (size_t line = 0, last = hist_bucket(c->max) / CHANGE_LINE; line <= last; line++) {
        if (line_sum(of, count, line) == c->lines[line]) continue;
        uint64_t came = line_take(c, line, of, count);
        c->changed[changed].line = (uint32_t)line;
        c->changed[changed++].n = came;
        n += came;
    }
    out->n = n;
    out->p50 = n ? at_rank(c, changed, (n + 1) / 2) : 0;
    out->p99 = n ? at_rank(c, changed, n - n / 100) : 0;
}
