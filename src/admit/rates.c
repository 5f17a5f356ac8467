/* admit: token buckets for rates, for all shards. Bounded: four buckets share a set, and the fullest
 * makes room, since to forget it gives away least. A set is locked by its stripe.
 * SPDX-License-Identifier: Apache-2.0 */
#include <pthread.h>
#include <stdlib.h>

#include "admit/admit.h"
#include "measure/measure.h"

enum { WAYS = 4, STRIPES = 32 };
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
    pthread_mutex_t locks[STRIPES];
};

struct admit_rates *admit_rates_create(double per_second, double burst, size_t keys_max) {
    struct admit_rates *r = must_alloc(sizeof *r);
    r->per_second = per_second;
    r->burst = burst < 1 ? 1 : burst;
    r->sets = (keys_max + WAYS - 1) / WAYS;
    if (!r->sets) r->sets = 1;
    r->table = must_alloc(r->sets * sizeof *r->table);
    for (int i = 0; i < STRIPES; i++) pthread_mutex_init(&r->locks[i], NULL);
    return r;
}

void admit_rates_free(struct admit_rates **pr) {
    if (!*pr) return;
    for (int i = 0; i < STRIPES; i++) pthread_mutex_destroy(&(*pr)->locks[i]);
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

/* Takes the cost if it is there; when borrowing also if not, so that the bucket owes it. The seconds
 * until it is, or the debt is paid; 0: at once. */
static double spend(struct admit_rates *r, uint64_t key, double cost, bool borrow, int64_t now_ns) {
    pthread_mutex_t *lock = &r->locks[key % r->sets % STRIPES];
    locked(lock, LOCK_LIMITS);
    struct bucket *b = bucket_of(r, key, now_ns);
    b->tokens = filled(r, b, now_ns);
    if (now_ns > b->at_ns) b->at_ns = now_ns;
    double left = b->tokens - cost;
    if (left >= 0 || borrow) b->tokens = left;
    pthread_mutex_unlock(lock);
    return left >= 0 ? 0 : -left / r->per_second;
}

bool admit_rate_take(struct admit_rates *r, uint64_t key, int64_t now_ns, int *out_retry_after_s) {
    if (r->per_second <= 0) return true; /* no limit */
    double wait_s = spend(r, key, 1, false, now_ns);
    if (wait_s <= 0) return true;
    *out_retry_after_s = wait_s >= RETRY_MAX_S ? RETRY_MAX_S : 1 + (int)wait_s;
    return false;
}

int admit_rate_spend(struct admit_rates *r, uint64_t key, double cost, int64_t now_ns) {
    if (r->per_second <= 0) return 0;
    double wait_s = spend(r, key, cost, true, now_ns);
    if (wait_s >= RETRY_MAX_S) return RETRY_MAX_S * 1000;
    return wait_s > 0 ? 1 + (int)(wait_s * 1000) : 0;
}
