/* measure: the ring of spans. The owner overwrites the oldest; readers of other threads copy a slot
 * and keep the copy only when its turn was whole before and the same after (a sequence lock). Each
 * step is a release or an acquire of its own instead of a fence, which costs nothing on x86 and
 * lets ThreadSanitizer follow it.
 * SPDX-License-Identifier: Apache-2.0 */
#include "measure/measure.h"

#include <stdlib.h>

_Static_assert((SPAN_RING & (SPAN_RING - 1)) == 0, "a slot is found by a mask");

static const char *const STAGES[] = {
#define X(name) #name,
    MEASURE_STAGES(X)
#undef X
};

void measure_span(struct measure *m, const struct span *s) {
    measure_time(m, s->stage, s->duration_ns);
    uint64_t n = __atomic_load_n(&m->span_count, __ATOMIC_RELAXED);
    struct span_slot *slot = &m->spans[n & (SPAN_RING - 1)];
    __atomic_store_n(&slot->turn, 2 * n + 1, __ATOMIC_RELAXED);
    /* each release keeps the odd turn before it */
    __atomic_store_n(&slot->id, s->id, __ATOMIC_RELEASE);
    __atomic_store_n(&slot->start_ns, s->start_ns, __ATOMIC_RELEASE);
    __atomic_store_n(&slot->duration_ns, s->duration_ns, __ATOMIC_RELEASE);
    __atomic_store_n(&slot->stage, (uint64_t)s->stage, __ATOMIC_RELEASE);
    __atomic_store_n(&slot->turn, 2 * n + 2, __ATOMIC_RELEASE);
    __atomic_store_n(&m->span_count, n + 1, __ATOMIC_RELEASE);
}

/* False when the nth span is no longer there, or is overwritten now. */
static bool span_read(const struct measure *m, uint64_t n, struct span *out) {
    const struct span_slot *slot = &m->spans[n & (SPAN_RING - 1)];
    if (__atomic_load_n(&slot->turn, __ATOMIC_ACQUIRE) != 2 * n + 2) return false;
    struct span s = {
        /* each acquire keeps the second look at the turn after it */
        .id = __atomic_load_n(&slot->id, __ATOMIC_ACQUIRE),
        .start_ns = __atomic_load_n(&slot->start_ns, __ATOMIC_ACQUIRE),
        .duration_ns = __atomic_load_n(&slot->duration_ns, __ATOMIC_ACQUIRE),
        .stage = (enum measure_stage)__atomic_load_n(&slot->stage, __ATOMIC_ACQUIRE),
    };
    if (__atomic_load_n(&slot->turn, __ATOMIC_RELAXED) != 2 * n + 2) return false;
    *out = s;
    return true;
}

size_t measure_spans(const struct measure *m, struct span *out, size_t cap) {
    uint64_t end = __atomic_load_n(&m->span_count, __ATOMIC_ACQUIRE),
             kept = end < SPAN_RING ? end : SPAN_RING;
    if (kept > cap) kept = cap;
    size_t n = 0;
    /* one lost: those before it are, or soon will be */
    for (uint64_t i = end - kept; i < end; i++) n = span_read(m, i, &out[n]) ? n + 1 : 0;
    return n;
}

void measure_spans_text(const struct measure *m, struct buf *out) {
    struct span *s = must_alloc(SPAN_RING * sizeof *s);
    size_t n = measure_spans(m, s, SPAN_RING);
    for (size_t i = 0; i < n; i++)
        buf_fmt(out,
            "{\"id\":\"%016llx\",\"stage\":\"%s\",\"start_ns\":%llu,\"duration_ns\":%llu}\n",
            (unsigned long long)s[i].id, STAGES[s[i].stage], (unsigned long long)s[i].start_ns,
            (unsigned long long)s[i].duration_ns);
    free(s);
}
