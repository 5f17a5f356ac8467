/* admit: token buckets for rates, one table a shard. Bounded: four buckets share a set, and the
 * fullest makes room, since to forget it gives away least.
 * SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>

#include "admit/admit.h"

enum { WAYS = 4 };
#define RETRY_MAX_S 3600 /* a rate so low that a token takes longer is answered with this */

struct bucket {
    uint64_t key;
    double tokens;
    int64_t at_ns; /* 0: the bucket is free */
};
struct admit_rates {
    double per_second, burst;
    size_t sets;
    struct bucket (*table)[WAYS];
};

struct admit_rates *admit_rates_create(double per_second, double burst, size_t keys_max) {
    struct admit_rates *r = must_alloc(sizeof *r);
    r->per_second = per_second;
    r->burst = burst < 1 ? 1 : burst;
    r->sets = (keys_max + WAYS - 1) / WAYS;
    if (!r->sets) r->sets = 1;
    r->table = must_alloc(r->sets * sizeof *r->table);
    return r;
}

void admit_rates_free(struct admit_rates **pr) {
    if (!*pr) return;
    free((*pr)->table);
    free(*pr);
    *pr = NULL;
}

static double filled(const struct admit_rates *r, const struct bucket *b, int64_t now_ns) {
    double t =
        b->tokens + (now_ns > b->at_ns ? (double)(now_ns - b->at_ns) / 1e9 * r->per_second : 0);
    return t > r->burst ? r->burst : t;
}

static struct bucket *bucket_of(struct admit_rates *r, uint64_t key, int64_t now_ns) {
    struct bucket *set = r->table[key % r->sets], *fullest = NULL;
    for (int i = 0; i < WAYS; i++) {
        if (set[i].at_ns && set[i].key == key) return &set[i];
        if (fullest && !fullest->at_ns) continue;
        if (!fullest || !set[i].at_ns || filled(r, &set[i], now_ns) > filled(r, fullest, now_ns))
            fullest = &set[i];
    }
    *fullest = (struct bucket){key, r->burst, now_ns ? now_ns : 1};
    return fullest;
}

bool admit_rate_take(struct admit_rates *r, uint64_t key, int64_t now_ns, int *out_retry_after_s) {
    if (r->per_second <= 0) return true; /* no limit */
    struct bucket *b = bucket_of(r, key, now_ns);
    b->tokens = filled(r, b, now_ns);
    if (now_ns > b->at_ns) b->at_ns = now_ns;
    if (b->tokens >= 1) {
        b->tokens -= 1;
        return true;
    }
    double wait_s = (1 - b->tokens) / r->per_second;
    *out_retry_after_s = wait_s >= RETRY_MAX_S ? RETRY_MAX_S : 1 + (int)wait_s;
    return false;
}
