/* admit: token buckets for rates, one table a shard; a full table forgets the bucket in its way, which only errs to the caller's favour.
 * SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>

#include "admit/admit.h"

struct bucket {
    uint64_t key;
    double tokens;
    int64_t at_ns;
};
struct admit_rates {
    double per_second, burst;
    size_t slots;
    struct bucket *table;
};

struct admit_rates *admit_rates_create(double per_second, double burst, size_t keys_max) {
    struct admit_rates *r = must_alloc(sizeof *r);
    r->per_second = per_second;
    r->burst = burst;
    r->slots = keys_max ? keys_max : 1;
    r->table = must_alloc(r->slots * sizeof *r->table);
    return r;
}

void admit_rates_free(struct admit_rates **pr) {
    if (!*pr) return;
    free((*pr)->table);
    free(*pr);
    *pr = NULL;
}

bool admit_rate_take(struct admit_rates *r, uint64_t key, int64_t now_ns, int *out_retry_after_s) {
    struct bucket *b = &r->table[key % r->slots];
    if (b->key != key) *b = (struct bucket){key, r->burst, now_ns};
    b->tokens += (double)(now_ns - b->at_ns) / 1e9 * r->per_second;
    if (b->tokens > r->burst) b->tokens = r->burst;
    b->at_ns = now_ns;
    if (b->tokens >= 1) {
        b->tokens -= 1;
        return true;
    }
    *out_retry_after_s = 1 + (int)((1 - b->tokens) / r->per_second);
    return false;
}
