/* watch: past: columns of whole numbers, a point a second, an hour of them; and their text.
 * Keeps: one writer. Cells are relaxed atomics; a point can be read once `count` has it.
 * SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>
#include <string.h>

#include "watch/watch_in.h"

enum { NUMBER_MAX = 24 }; /* characters, with its comma */

void past_init(struct past *h, size_t columns) {
    *h = (struct past){.columns = columns,
        .names = must_alloc(columns * sizeof *h->names),
        .values = must_alloc(columns * PAST_SLOTS * sizeof *h->values),
        .at_ms = must_alloc(PAST_SLOTS * sizeof *h->at_ms)};
}

void past_done(struct past *h) {
    free(h->names);
    free(h->values);
    free(h->at_ms);
    *h = (struct past){0};
}

void past_add(struct past *h, int64_t at_ms, const uint64_t *values) {
    size_t slot = h->count % PAST_SLOTS;
    for (size_t c = 0; c < h->columns; c++) {
        uint32_t v = values[c] > UINT32_MAX ? UINT32_MAX : (uint32_t)values[c];
        __atomic_store_n(&h->values[c * PAST_SLOTS + slot], v, __ATOMIC_RELAXED);
    }
    __atomic_store_n(&h->at_ms[slot], at_ms, __ATOMIC_RELAXED);
    __atomic_store_n(&h->count, h->count + 1, __ATOMIC_RELEASE);
}

static void number(struct buf *b, int64_t v) {
    char room[NUMBER_MAX];
    char *p = room + sizeof room;
    uint64_t n = v < 0 ? 0 - (uint64_t)v : (uint64_t)v;
    do *--p = (char)('0' + n % 10);
    while (n /= 10);
    if (v < 0) *--p = '-';
    size_t size = (size_t)(room + sizeof room - p);
    memcpy(b->p + b->n, p, size); /* the caller has made room */
    b->n += size;
}

/* Differences that are 0 up to the end are left out: a column that does not move is one number. */
static void column_json(const uint32_t *values, uint64_t from, uint64_t to, struct buf *b) {
    int64_t before = 0;
    size_t end = b->n + 1;
    buf_reserve(b, (to - from) * NUMBER_MAX + 2);
    b->p[b->n++] = '[';
    for (uint64_t i = from; i < to; i++) {
        int64_t v = __atomic_load_n(&values[i % PAST_SLOTS], __ATOMIC_RELAXED);
        if (i > from) b->p[b->n++] = ',';
        number(b, v - before);
        if (v != before || i == from) end = b->n;
        before = v;
    }
    b->n = end;
    b->p[b->n++] = ']';
}

static void times_json(const struct past *h, uint64_t from, uint64_t to, struct buf *b) {
    int64_t before = 0;
    buf_reserve(b, (to - from) * NUMBER_MAX + 2);
    b->p[b->n++] = '[';
    for (uint64_t i = from; i < to; i++) {
        int64_t at = __atomic_load_n(&h->at_ms[i % PAST_SLOTS], __ATOMIC_RELAXED);
        if (i > from) b->p[b->n++] = ',';
        number(b, at - before);
        before = at;
    }
    b->p[b->n++] = ']';
}

void past_json(const struct past *h, uint64_t since, struct buf *b) {
    uint64_t to = __atomic_load_n(&h->count, __ATOMIC_ACQUIRE), from = since > to ? 0 : since;
    if (to - from > WATCH_POINTS) from = to - WATCH_POINTS;
    buf_fmt(b, "\"first\":%llu,\"count\":%llu,\"at\":", (unsigned long long)from + 1,
        (unsigned long long)(to - from));
    times_json(h, from, to, b);
    buf_str(b, ",\"columns\":{");
    for (size_t c = 0; c < h->columns; c++) {
        buf_fmt(b, "%s\"%s\":", c ? "," : "", h->names[c]);
        column_json(&h->values[c * PAST_SLOTS], from, to, b);
    }
    buf_char(b, '}');
}
