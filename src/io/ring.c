/* io: the bounded ring of pointers between one producing and one consuming thread.
 *
 *   consumer's line: head, and the tail it saw last │ producer's line: tail, and the head it saw last
 *
 * Keeps: head <= tail <= head + slots. Each side remembers the other's last index, so that the
 * shared lines move between cores only when a side believes the ring empty or full.
 * SPDX-License-Identifier: Apache-2.0 */
#include <stdatomic.h>
#include <stdlib.h>

#include "io/io.h"

enum { LINE = 64, SLOTS_MIN = 16 };

struct ring {
    _Alignas(LINE) _Atomic size_t head;
    size_t tail_seen;
    _Alignas(LINE) _Atomic size_t tail;
    size_t head_seen;
    _Alignas(LINE) size_t mask; /* read only after creation */
    void **slots;
};

struct ring *ring_create(size_t capacity) {
    size_t n = SLOTS_MIN;
    while (n < capacity) n *= 2;
    struct ring *r = aligned_alloc(LINE, sizeof *r);
    check(r);
    atomic_init(&r->head, 0);
    atomic_init(&r->tail, 0);
    r->tail_seen = r->head_seen = 0;
    r->mask = n - 1;
    r->slots = must_alloc(n * sizeof *r->slots);
    return r;
}

void ring_free(struct ring **pr) {
    if (!*pr) return;
    free((*pr)->slots);
    free(*pr);
    *pr = NULL;
}

bool ring_put(struct ring *r, void *p) {
    size_t t = atomic_load_explicit(&r->tail, memory_order_relaxed);
    if (t - r->head_seen > r->mask) {
        r->head_seen = atomic_load_explicit(&r->head, memory_order_acquire);
        if (t - r->head_seen > r->mask) return false;
    }
    r->slots[t & r->mask] = p;
    atomic_store_explicit(&r->tail, t + 1, memory_order_release);
    return true;
}

void *ring_take(struct ring *r) {
    size_t h = atomic_load_explicit(&r->head, memory_order_relaxed);
    if (h == r->tail_seen) {
        r->tail_seen = atomic_load_explicit(&r->tail, memory_order_acquire);
        if (h == r->tail_seen) return NULL;
    }
    void *p = r->slots[h & r->mask];
    atomic_store_explicit(&r->head, h + 1, memory_order_release);
    return p;
}

/* Head first: the tail read after it can only be further on, so that the difference is never
 * negative. */
size_t ring_count(const struct ring *r) {
    size_t h = atomic_load_explicit(&r->head, memory_order_acquire);
    return atomic_load_explicit(&r->tail, memory_order_acquire) - h;
}
