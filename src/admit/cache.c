/* admit: tokens that were verified, by their SHA-256, so that a busy device's token costs one hash.
 * Bounded: the slot's oldest use makes room.
 * Keeps: an entry is found only under the secrets it was verified with, and until it expires.
 * SPDX-License-Identifier: Apache-2.0 */
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "admit/admit_in.h"
#include "measure/measure.h"

enum { STRIPES = 16, SETS = 64 /* in a stripe */, WAYS = 4 };

struct cached {
    uint8_t hash[HASH_BYTES];
    uint64_t generation, used, issuer;
    int64_t until_ms, issued_ms;
    uint8_t app_n, user_n, device_n;
    uint8_t text[3 * 64]; /* app, user, device: ids */
};
struct stripe {
    pthread_mutex_t lock;
    uint64_t uses;
    struct cached entries[SETS][WAYS];
};
struct cache {
    struct stripe stripes[STRIPES];
};

struct cache *cache_create(void) {
    struct cache *c = must_alloc(sizeof *c);
    for (int i = 0; i < STRIPES; i++) pthread_mutex_init(&c->stripes[i].lock, NULL);
    return c;
}

void cache_free(struct cache **pc) {
    if (!*pc) return;
    for (int i = 0; i < STRIPES; i++) pthread_mutex_destroy(&(*pc)->stripes[i].lock);
    free(*pc);
    *pc = NULL;
}

static struct stripe *stripe_of(struct cache *c, const uint8_t *hash) {
    return &c->stripes[hash[0] % STRIPES];
}
static struct cached *set_of(struct stripe *s, const uint8_t *hash) {
    return s->entries[hash[1] % SETS];
}

bool cache_find(struct cache *c, const uint8_t hash[HASH_BYTES], uint64_t generation,
    int64_t now_ms, struct arena *arena, struct principal *out) {
    struct stripe *s = stripe_of(c, hash);
    struct cached *e = set_of(s, hash);
    bool found = false;
    locked(&s->lock, LOCK_ADMIT);
    for (int i = 0; i < WAYS && !found; i++, e++) {
        if (e->generation != generation || now_ms >= e->until_ms ||
            memcmp(e->hash, hash, HASH_BYTES) != 0)
            continue;
        const uint8_t *t = e->text;
        out->app = arena_copy(arena, bytes_of(t, e->app_n));
        out->user = arena_copy(arena, bytes_of(t + e->app_n, e->user_n));
        out->device = arena_copy(arena, bytes_of(t + e->app_n + e->user_n, e->device_n));
        out->issued_ms = e->issued_ms;
        out->until_ms = e->until_ms;
        out->issuer = e->issuer;
        e->used = ++s->uses;
        found = true;
    }
    pthread_mutex_unlock(&s->lock);
    return found;
}

void cache_add(struct cache *c, const uint8_t hash[HASH_BYTES], uint64_t generation,
    const struct principal *who) {
    struct stripe *s = stripe_of(c, hash);
    locked(&s->lock, LOCK_ADMIT);
    struct cached *set = set_of(s, hash), *e = set;
    for (int i = 1; i < WAYS; i++)
        if (set[i].used < e->used) e = &set[i];
    memcpy(e->hash, hash, HASH_BYTES);
    e->generation = generation;
    e->used = ++s->uses;
    e->until_ms = who->until_ms;
    e->issued_ms = who->issued_ms;
    e->issuer = who->issuer;
    e->app_n = (uint8_t)who->app.n;
    e->user_n = (uint8_t)who->user.n;
    e->device_n = (uint8_t)who->device.n;
    memcpy(e->text, who->app.p, who->app.n);
    memcpy(e->text + who->app.n, who->user.p, who->user.n);
    if (who->device.n) memcpy(e->text + who->app.n + who->user.n, who->device.p, who->device.n);
    pthread_mutex_unlock(&s->lock);
}
