/* measure: reading histograms. Recording is in the face, because it is on every message's way.
 * SPDX-License-Identifier: Apache-2.0 */
#include "measure/measure.h"

uint64_t hist_bucket_top(unsigned bucket) {
    const unsigned subs = 1u << HIST_SUB_BITS;
    if (bucket < subs) return bucket + 1;
    unsigned shift = (bucket >> HIST_SUB_BITS) - 1;
    uint64_t top = (uint64_t)(subs + bucket % subs + 1) << shift;
    return top ? top : UINT64_MAX; /* the last bucket's end is 2^64 */
}

void hist_merge(struct hist *into, const struct hist *from) {
    for (unsigned i = 0; i < HIST_BUCKETS; i++)
        into->buckets[i] += __atomic_load_n(&from->buckets[i], __ATOMIC_RELAXED);
    uint64_t max = __atomic_load_n(&from->max, __ATOMIC_RELAXED);
    if (max > into->max) into->max = max;
}

/* The count is the buckets' sum rather than a cell of its own: so it agrees with them, whenever it
 * is read. */
uint64_t hist_count(const struct hist *h) {
    uint64_t n = 0;
    for (unsigned i = 0; i < HIST_BUCKETS; i++)
        n += __atomic_load_n(&h->buckets[i], __ATOMIC_RELAXED);
    return n;
}

/* A bucket's values go from the top of the one below it, without that, up to its own. */
uint64_t hist_sum(const struct hist *h) {
    uint64_t sum = 0, below = UINT64_MAX; /* so that the first one has 0 and 1 */
    for (unsigned i = 0; i < HIST_BUCKETS; i++) {
        uint64_t top = hist_bucket_top(i), width = top - below;
        sum += __atomic_load_n(&h->buckets[i], __ATOMIC_RELAXED) * (top - (width - 1) / 2);
        below = top;
    }
    return sum;
}

/* Up to the bucket of the maximum: above it there is nothing, or what is written just now. */
uint64_t hist_percentile(const struct hist *h, double percent) {
    uint64_t max = __atomic_load_n(&h->max, __ATOMIC_RELAXED), count = 0, below = 0;
    unsigned end = hist_bucket(max) + 1;
    for (unsigned i = 0; i < end; i++) count += __atomic_load_n(&h->buckets[i], __ATOMIC_RELAXED);
    if (!count) return 0;
    double exact = (double)count * (percent < 0 ? 0 : percent > 100 ? 100 : percent) / 100;
    uint64_t rank = (uint64_t)exact;
    if ((double)rank < exact || rank == 0) rank++;
    for (unsigned i = 0; i < end; i++) {
        below += __atomic_load_n(&h->buckets[i], __ATOMIC_RELAXED);
        if (below < rank) continue;
        uint64_t top = hist_bucket_top(i);
        return top < max ? top : max;
    }
    return max;
}
