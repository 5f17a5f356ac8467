/* chat: finds a message by the id that its sender chose, for ever and at a flat cost.
 *
 *   'i' app conv   u32 fingerprints of the newest ids (at most TAIL), in order;  'j' app conv
 *                  their u32 seqs
 *   'I' app conv (level << 32 | n)   a sorted run of u64 (fingerprint << 32 | seq); eight runs of a
 *                                    level become one of the next
 *
 * Which runs exist follows from the count of flushes alone (its base-8 digits). A fingerprint may
 * lie: the message itself is asked.
 * SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>
#include <string.h>

#include "chat/conv_in.h"

enum { TAIL = 1024, FAN = 8, LEVEL_TOP = 3 };

static uint32_t fingerprint(struct bytes id) { return (uint32_t)(hash64(id) >> 32); }

static struct cell *tail_cell(struct cells *c, char tag, struct bytes app, struct bytes conv) {
    uint8_t room[300];
    return cells_get(c, key2(room, tag, app, conv));
}
static struct cell *run_cell(
    struct cells *c, struct bytes app, struct bytes conv, uint64_t level, uint64_t n) {
    uint8_t room[300];
    return cells_get(c, key2n(room, 'I', app, conv, level << 32 | n));
}

static int u64_cmp(const void *a, const void *b) {
    uint64_t x, y;
    memcpy(&x, a, 8);
    memcpy(&y, b, 8);
    return (x > y) - (x < y);
}

/* Runs of a level while `flushes` tails have been written. */
static uint64_t runs_at(uint64_t flushes, unsigned level) {
    uint64_t per = 1;
    for (unsigned i = 0; i < level; i++) per *= FAN;
    return level == LEVEL_TOP ? flushes / per : flushes / per % FAN;
}

static void merge_up(struct step *s, struct bytes conv, unsigned level, uint64_t into) {
    struct buf all = {0};
    for (uint64_t i = 0; i < FAN; i++) {
        struct cell *run = run_cell(s->cells, s->app, conv, level, i);
        buf_add(&all, run->data, run->size);
        cells_put(s->cells, run, (struct bytes){0});
    }
    qsort(all.p, all.n / 8, 8, u64_cmp);
    cells_put(s->cells, run_cell(s->cells, s->app, conv, level + 1, into), buf_view(&all));
    buf_done(&all);
}

static void tail_flush(struct step *s, struct bytes conv, struct conv *v) {
    struct cell *fps = tail_cell(s->cells, 'i', s->app, conv),
                *seqs = tail_cell(s->cells, 'j', s->app, conv);
    uint64_t *run = arena_alloc(s->arena, TAIL * 8);
    for (uint32_t i = 0; i < TAIL; i++) {
        uint32_t fp, seq;
        memcpy(&fp, fps->data + i * 4, 4);
        memcpy(&seq, seqs->data + i * 4, 4);
        run[i] = (uint64_t)fp << 32 | seq;
    }
    qsort(run, TAIL, 8, u64_cmp);
    uint64_t before = v->id_flushes;
    cells_put(
        s->cells, run_cell(s->cells, s->app, conv, 0, runs_at(before, 0)), bytes_of(run, TAIL * 8));
    cells_put(s->cells, fps, (struct bytes){0});
    cells_put(s->cells, seqs, (struct bytes){0});
    v->id_tail = 0;
    v->id_flushes++;
    for (unsigned level = 0; level < LEVEL_TOP && runs_at(before, level) == FAN - 1; level++)
        merge_up(s, conv, level, runs_at(before, level + 1));
}

void idindex_add(struct step *s, struct bytes conv, struct conv *v, struct bytes id, uint64_t seq) {
    uint32_t fp = fingerprint(id), low = (uint32_t)seq;
    check(seq <= UINT32_MAX);
    cells_append(s->cells, tail_cell(s->cells, 'i', s->app, conv), bytes_of(&fp, 4));
    cells_append(s->cells, tail_cell(s->cells, 'j', s->app, conv), bytes_of(&low, 4));
    if (++v->id_tail == TAIL) tail_flush(s, conv, v);
}

static bool is_it(
    struct cells *c, struct bytes app, struct bytes conv, uint64_t seq, struct bytes id) {
    struct message m;
    return message_get(c, app, conv, seq, &m) && bytes_eq(m.id, id);
}

static uint64_t run_at(const struct cell *run, size_t i) {
    uint64_t v;
    memcpy(&v, run->data + i * 8, 8);
    return v;
}

/* First of the run whose fingerprint is not below. Fingerprints are evenly spread: where it should
 * be is a few steps from where it is, where halving would touch ten cache lines. */
static size_t run_lower(const struct cell *run, uint32_t fp) {
    size_t n = run->size / 8, lo, hi, step = 8;
    size_t guess = (size_t)(((uint64_t)fp * n) >> 32);
    if (run_at(run, guess) >> 32 < fp) {
        for (lo = guess; (hi = lo + step) < n && run_at(run, hi) >> 32 < fp; step *= 2) lo = hi;
        if (hi > n) hi = n;
        lo++;
    } else {
        for (hi = guess; hi > step && run_at(run, hi - step) >> 32 >= fp; step *= 2) hi -= step;
        lo = hi > step ? hi - step : 0;
    }
    while (lo < hi) {
        size_t mid = (lo + hi) / 2;
        if (run_at(run, mid) >> 32 < fp) lo = mid + 1;
        else hi = mid;
    }
    return lo;
}

static uint64_t run_find(struct cells *c, struct bytes app, struct bytes conv,
    const struct cell *run, uint32_t fp, struct bytes id) {
    if (!run->size) return 0;
    for (size_t i = run_lower(run, fp); i < run->size / 8; i++) {
        uint64_t v = run_at(run, i);
        if (v >> 32 != fp) return 0;
        if (is_it(c, app, conv, v & UINT32_MAX, id)) return v & UINT32_MAX;
    }
    return 0;
}

/* Sixteen at a time, without a branch among them, so that the compiler uses wide registers. */
static bool sixteen_have(const uint32_t *list, uint32_t fp) {
    uint32_t hit = 0;
    for (int k = 0; k < 16; k++) hit |= list[k] == fp;
    return hit;
}

uint64_t idindex_find(
    struct cells *c, struct bytes app, struct bytes conv, const struct conv *v, struct bytes id) {
    uint32_t fp = fingerprint(id), seq;
    if (v->id_tail) {
        struct cell *fps = tail_cell(c, 'i', app, conv);
        const uint32_t *list = (const uint32_t *)(const void *)fps->data; /* malloc'ed: aligned */
        for (uint32_t i = 0; i < v->id_tail; i++) {
            while (i + 16 <= v->id_tail && !sixteen_have(list + i, fp)) i += 16;
            if (i == v->id_tail || list[i] != fp) continue;
            memcpy(&seq, tail_cell(c, 'j', app, conv)->data + i * 4, 4);
            if (is_it(c, app, conv, seq, id)) return seq;
        }
    }
    for (unsigned level = 0; level <= LEVEL_TOP; level++)
        for (uint64_t n = runs_at(v->id_flushes, level); n-- > 0;) {
            uint64_t found = run_find(c, app, conv, run_cell(c, app, conv, level, n), fp, id);
            if (found) return found;
        }
    return 0;
}
