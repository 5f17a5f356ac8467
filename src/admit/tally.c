/* admit: how many there are of each key at once (connections of an address, an app), exactly, for
 * all shards. What nobody holds takes no room: the table is as large as what is held.
 * SPDX-License-Identifier: Apache-2.0 */
#include <pthread.h>
#include <stdlib.h>

#include "admit/admit.h"
#include "measure/measure.h"

enum { TABLE_MIN = 64 };

struct held {
    uint64_t key;
    unsigned count; /* 0: free */
};
struct admit_tally {
    pthread_mutex_t lock;
    size_t cap, used; /* cap: a power of two, at most half used */
    struct held *table;
};

struct admit_tally *admit_tally_create(void) {
    struct admit_tally *t = must_alloc(sizeof *t);
    pthread_mutex_init(&t->lock, NULL);
    t->cap = TABLE_MIN;
    t->table = must_alloc(t->cap * sizeof *t->table);
    return t;
}

void admit_tally_free(struct admit_tally **pt) {
    if (!*pt) return;
    pthread_mutex_destroy(&(*pt)->lock);
    free((*pt)->table);
    free(*pt);
    *pt = NULL;
}

/* Where the key is, or would be. Linear probing: there is always a free place. */
static size_t place(const struct admit_tally *t, uint64_t key) {
    size_t at = key & (t->cap - 1);
    while (t->table[at].count && t->table[at].key != key) at = (at + 1) & (t->cap - 1);
    return at;
}

static void resize(struct admit_tally *t, size_t cap) {
    struct held *old = t->table;
    size_t n = t->cap;
    t->cap = cap;
    t->table = must_alloc(cap * sizeof *t->table);
    for (size_t i = 0; i < n; i++)
        if (old[i].count) t->table[place(t, old[i].key)] = old[i];
    free(old);
}

bool admit_tally_take(struct admit_tally *t, uint64_t key, unsigned most) {
    locked(&t->lock, LOCK_LIMITS);
    if ((t->used + 1) * 2 > t->cap) resize(t, t->cap * 2);
    struct held *h = &t->table[place(t, key)];
    bool ok = h->count < most;
    if (ok) {
        t->used += !h->count;
        h->key = key;
        h->count++;
    }
    pthread_mutex_unlock(&t->lock);
    return ok;
}

/* Closes the gap that a freed place leaves, so that none behind it is lost. */
static void gap_close(struct admit_tally *t, size_t gap) {
    size_t mask = t->cap - 1;
    for (size_t at = (gap + 1) & mask; t->table[at].count; at = (at + 1) & mask) {
        size_t home = t->table[at].key & mask;
        if (((at - home) & mask) < ((at - gap) & mask)) continue;
        t->table[gap] = t->table[at];
        t->table[at] = (struct held){0};
        gap = at;
    }
}

void admit_tally_give(struct admit_tally *t, uint64_t key) {
    locked(&t->lock, LOCK_LIMITS);
    size_t at = place(t, key);
    check(t->table[at].count);
    if (!--t->table[at].count) {
        t->used--;
        gap_close(t, at);
        if (t->cap > TABLE_MIN && t->used * 8 < t->cap) resize(t, t->cap / 2);
    }
    pthread_mutex_unlock(&t->lock);
}
