/* table: cells against a model, over the store's twin: edits, freezes and flushes in any
 * interleaving, evictions, crashes; scans and the state hash see memory and store as one.
 * SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "table/table.h"

enum { KEYS = 150, BATCHES_MAX = 400, PARTITION = 3 };

/* ---- the model ---- */
struct state {
    struct buf v[KEYS];
};
struct world {
    struct rng rng;
    struct store *store;
    struct cells *cells;
    struct cells_total total;
    uint64_t budget;
    struct state now;
    /* [generations]: the state as of each freeze; 0 is the empty one */
    struct state *frozen;
    struct table_batch *batches; /* [generations] */
    uint64_t generations, written, synced, flushed;
};

static struct bytes key_of(uint8_t room[80], unsigned k) {
    struct rng r = {k};
    size_t n = 1 + k % 40;
    room[0] = (uint8_t)('a' + k % 5);
    for (size_t i = 1; i < n; i++) room[i] = (uint8_t)rng_next(&r);
    if (n < 3) n = 3, room[1] = (uint8_t)k, room[2] = 0;
    return bytes_of(room, n);
}

static void copy(struct state *to, const struct state *from) {
    for (int k = 0; k < KEYS; k++) {
        buf_reset(&to->v[k]);
        buf_bytes(&to->v[k], buf_view(&from->v[k]));
    }
}
static void state_done(struct state *s) {
    for (int k = 0; k < KEYS; k++) buf_done(&s->v[k]);
}

static struct bytes random_bytes(struct world *w, uint8_t *room, size_t max) {
    size_t n = rng_below(&w->rng, max + 1);
    for (size_t i = 0; i < n; i++) room[i] = (uint8_t)rng_next(&w->rng);
    return bytes_of(room, n);
}

/* ---- acts ---- */
static void act_edit(struct world *w) {
    uint8_t room[80], value[600];
    unsigned k = (unsigned)rng_below(&w->rng, KEYS);
    struct buf *m = &w->now.v[k];
    struct cell *c = cells_get(w->cells, key_of(room, k));
    assert_true(bytes_eq(bytes_of(c->data, c->size), buf_view(m)));
    switch (rng_below(&w->rng, 6)) {
    case 0:
        buf_reset(m);
        cells_put(w->cells, c, (struct bytes){0});
        break;
    case 1: {
        struct bytes v = random_bytes(w, value, 600);
        buf_reset(m);
        buf_bytes(m, v);
        cells_put(w->cells, c, v);
        break;
    }
    case 2: {
        struct bytes v = random_bytes(w, value, 60);
        buf_bytes(m, v);
        cells_append(w->cells, c, v);
        break;
    }
    case 3:
        if (!m->n) break;
        {
            size_t i = rng_below(&w->rng, m->n);
            cells_edit(w->cells, c)[i] ^= 0x55;
            m->p[i] ^= 0x55;
        }
        break;
    default: {
        size_t at = rng_below(&w->rng, m->n + 1), remove = rng_below(&w->rng, m->n - at + 1);
        struct bytes v = random_bytes(w, value, 90);
        struct buf next = {0};
        buf_add(&next, m->p, at);
        buf_bytes(&next, v);
        if (m->n) buf_add(&next, m->p + at + remove, m->n - at - remove);
        buf_done(m);
        *m = next;
        cells_splice(w->cells, c, (uint32_t)at, (uint32_t)remove, v);
        break;
    }
    }
    assert_true(bytes_eq(bytes_of(c->data, c->size), buf_view(m)));
}

static void act_freeze(struct world *w) {
    if (w->generations + 1 == BATCHES_MAX) return;
    uint64_t g = ++w->generations, told = cells_dirty_bytes(w->cells), added = 0;
    cells_freeze(w->cells, &w->batches[g], g);
    assert_int_equal(cells_dirty_bytes(w->cells), 0);
    struct unpack u = unpack_of(buf_view(&w->batches[g].data));
    struct table_change c;
    while (table_batch_next(&u, &c)) added += c.key.n + c.value.n;
    assert_int_equal(told, added);
    copy(&w->frozen[g], &w->now);
}

/* What the table thread does, one step at a time: write, sync, say so. */
static void act_table_thread(struct world *w) {
    if (w->written < w->generations && rng_below(&w->rng, 3))
        assert_int_equal(w->store->calls->write(w->store, &w->batches[++w->written]), OK);
    else if (w->flushed < w->written && rng_below(&w->rng, 2))
        cells_flushed(w->cells, w->flushed = w->written);
    else if (rng_below(&w->rng, 3) == 0) {
        assert_int_equal(w->store->calls->sync(w->store), OK);
        w->synced = w->written;
    }
}

static void act_crash(struct world *w) {
    uint64_t keep = rng_below(&w->rng, w->written - w->synced + 1);
    cells_free(&w->cells);
    assert_int_equal(store_memory_unsynced(w->store), w->written - w->synced);
    store_memory_crash(w->store, keep);
    w->generations = w->written = w->flushed = w->synced = w->synced + keep;
    for (uint64_t g = w->generations + 1; g < BATCHES_MAX; g++) {
        buf_reset(&w->batches[g].data);
        w->batches[g].changes = 0;
    }
    copy(&w->now, &w->frozen[w->generations]);
    w->cells = cells_create(w->store, PARTITION, w->budget);
    w->total = (struct cells_total){0};
    cells_total(w->cells, &w->total);
    cells_flushed(w->cells, w->flushed);
}

struct scanning {
    struct world *w;
    struct bytes prefix;
    uint8_t last[80];
    size_t last_n, count, stop_at;
    bool seen[KEYS];
};
static bool scan_one(void *arg, struct bytes key, struct bytes value) {
    struct scanning *s = arg;
    uint8_t room[80];
    unsigned k = 0;
    while (k < KEYS && !bytes_eq(key_of(room, k), key)) k++;
    assert_true(k < KEYS && !s->seen[k] && bytes_eq(value, buf_view(&s->w->now.v[k])) && value.n);
    assert_true(!s->count || bytes_cmp(bytes_of(s->last, s->last_n), key) < 0);
    assert_true(
        key.n >= s->prefix.n && (!s->prefix.n || memcmp(key.p, s->prefix.p, s->prefix.n) == 0));
    s->seen[k] = true;
    memcpy(s->last, key.p, s->last_n = key.n);
    return ++s->count != s->stop_at;
}

static void scan_check(struct world *w, struct bytes prefix, size_t stop_at) {
    struct scanning s = {.w = w, .prefix = prefix, .stop_at = stop_at};
    uint8_t room[80];
    size_t all = 0;
    cells_scan(w->cells, prefix, scan_one, &s);
    for (unsigned k = 0; k < KEYS; k++) {
        struct bytes key = key_of(room, k);
        all += w->now.v[k].n && key.n >= prefix.n &&
               (!prefix.n || memcmp(key.p, prefix.p, prefix.n) == 0);
    }
    assert_int_equal(s.count, stop_at && stop_at < all ? stop_at : all);
}

/* The hash does not depend on what is cached, nor on which way the state came about. */
static void hash_check(struct world *w) {
    struct store *other = store_create_memory();
    struct cells *fresh = cells_create(other, PARTITION, 1 << 20);
    uint8_t room[80];
    for (unsigned k = KEYS; k-- > 0;)
        if (w->now.v[k].n)
            cells_put(fresh, cells_get(fresh, key_of(room, k)), buf_view(&w->now.v[k]));
    uint64_t h = cells_state_hash(fresh);
    assert_int_equal(cells_state_hash(w->cells), h);
    cells_put(fresh, cells_get(fresh, BYTES("one more")), BYTES("x"));
    assert_int_not_equal(cells_state_hash(fresh), h);
    cells_free(&fresh);
    other->calls->close(other);
}

static void story(uint64_t seed, uint64_t budget) {
    struct world w = {.rng = {seed}, .budget = budget};
    w.store = store_create_memory();
    w.cells = cells_create(w.store, PARTITION, budget);
    cells_total(w.cells, &w.total);
    w.frozen = must_alloc(BATCHES_MAX * sizeof *w.frozen);
    w.batches = must_alloc(BATCHES_MAX * sizeof *w.batches);
    /* another partition's cell of the same key must not be seen */
    struct table_batch stranger = {0};
    uint8_t room[80];
    table_batch_add(&stranger, PARTITION + 1, key_of(room, 1), BYTES("other"));
    assert_int_equal(w.store->calls->write(w.store, &stranger), OK);
    assert_int_equal(w.store->calls->sync(w.store), OK);
    for (int i = 0; i < 3000; i++) {
        uint64_t what = rng_below(&w.rng, 100);
        if (what < 70) act_edit(&w);
        else if (what < 78) cells_turn_end(w.cells);
        else if (what < 82) act_freeze(&w);
        else if (what < 97) act_table_thread(&w);
        else if (what < 98)
            scan_check(
                &w, rng_below(&w.rng, 2) ? BYTES("b") : (struct bytes){0}, rng_below(&w.rng, 30));
        else if (what < 99) hash_check(&w);
        else if (rng_below(&w.rng, 4) == 0) act_crash(&w);
        assert_int_equal(w.total.held_bytes, cells_held_bytes(w.cells));
        assert_int_equal(w.total.dirty_bytes, cells_dirty_bytes(w.cells));
        assert_true(w.total.over || w.total.held_bytes <= budget);
    }
    scan_check(&w, (struct bytes){0}, 0);
    for (int g = 0; g < BATCHES_MAX; g++) {
        state_done(&w.frozen[g]);
        buf_done(&w.batches[g].data);
    }
    buf_done(&stranger.data);
    state_done(&w.now);
    free(w.frozen);
    free(w.batches);
    cells_free(&w.cells);
    w.store->calls->close(w.store);
}

static void cells_are_a_map(void **state) {
    (void)state;
    for (uint64_t seed = 1; seed <= 40; seed++) story(seed, seed % 2 ? 6000 : 1 << 20);
}

/* ---- by hand ---- */
static void budget_is_kept_and_dirty_cells_stay(void **state) {
    (void)state;
    struct store *store = store_create_memory();
    struct cells *cells = cells_create(store, 0, 100000);
    struct table_batch b = {0};
    uint8_t value[1000] = {7}, key[4];
    struct cells_total total = {0};
    cells_total(cells, &total);
    for (uint32_t i = 0; i < 1000; i++) {
        memcpy(key, &i, 4);
        cells_put(cells, cells_get(cells, bytes_of(key, 4)), bytes_of(value, sizeof value));
        if (i < 50) assert_false(total.over);
    }
    assert_true(total.over && total.dirty_bytes == cells_dirty_bytes(cells));
    for (int i = 0; i < 1000; i++) assert_true(cells_turn_end(cells));
    assert_true(cells_bytes(cells) > 1000000); /* nothing may go: nothing is stored yet */
    assert_true(cells_dirty_bytes(cells) > 1000000);
    cells_freeze(cells, &b, 1);
    for (int i = 0; i < 1000; i++) cells_turn_end(cells);
    assert_true(cells_bytes(cells) > 1000000); /* in flight */
    assert_int_equal(store->calls->write(store, &b), OK);
    cells_flushed(cells, 1);
    for (int i = 0; i < 1000; i++) (void)cells_turn_end(cells);
    assert_false(cells_turn_end(cells));
    assert_true(cells_bytes(cells) < 100000 + 2048 * 16); /* the table of slots is not given back */
    total.over = false;
    assert_int_equal(total.held_bytes, cells_held_bytes(cells));
    for (uint32_t i = 0; i < 1000; i++) {
        memcpy(key, &i, 4);
        assert_int_equal(cells_get(cells, bytes_of(key, 4))->size, sizeof value);
    }
    assert_true(total.over); /* who only reads is told too */
    buf_done(&b.data);
    cells_free(&cells);
    cells_free(&cells);
    store->calls->close(store);
}

/* What was stored before is not written again. */
static void only_what_was_appended_is_written(void **state) {
    (void)state;
    struct store *store = store_create_memory();
    struct cells *cells = cells_create(store, 0, 1000);
    struct table_batch b = {0};
    struct table_change c;
    struct buf v = {0};
    cells_append(cells, cells_get(cells, BYTES("k")), BYTES("first,"));
    cells_freeze(cells, &b, 1);
    cells_append(cells, cells_get(cells, BYTES("k")), BYTES("second,"));
    cells_append(cells, cells_get(cells, BYTES("k")), BYTES("third"));
    assert_int_equal(cells_dirty_bytes(cells), 1 + 12);
    struct table_batch more = {0};
    cells_freeze(cells, &more, 2);
    struct unpack u = unpack_of(buf_view(&more.data));
    assert_true(table_batch_next(&u, &c) && c.append && bytes_is(c.key, "k") &&
                bytes_is(c.value, "second,third") && !unpack_more(&u));
    assert_int_equal(store->calls->write(store, &b), OK);
    assert_int_equal(store->calls->write(store, &more), OK);
    assert_int_equal(store->calls->get(store, 0, BYTES("k"), &v), OK);
    assert_true(bytes_is(buf_view(&v), "first,second,third"));
    cells_edit(cells, cells_get(cells, BYTES("k")))[0] = 'F'; /* from here the whole */
    cells_append(cells, cells_get(cells, BYTES("k")), BYTES("!"));
    buf_reset(&more.data);
    cells_freeze(cells, &more, 3);
    u = unpack_of(buf_view(&more.data));
    assert_true(table_batch_next(&u, &c) && !c.append && bytes_is(c.value, "First,second,third!"));
    buf_done(&b.data);
    buf_done(&more.data);
    buf_done(&v);
    cells_free(&cells);
    store->calls->close(store);
}

static void frozen_is_what_was_then(void **state) {
    (void)state;
    struct store *store = store_create_memory();
    struct cells *cells = cells_create(store, 0, 1000);
    struct table_batch b = {0};
    struct buf v = {0};
    cells_put(cells, cells_get(cells, BYTES("k")), BYTES("then"));
    cells_freeze(cells, &b, 1);
    cells_put(cells, cells_get(cells, BYTES("k")), BYTES("now"));
    assert_int_equal(store->calls->write(store, &b), OK);
    cells_flushed(cells, 1);
    for (int i = 0; i < 100; i++) cells_turn_end(cells);
    assert_int_equal(store->calls->get(store, 0, BYTES("k"), &v), OK);
    assert_true(bytes_is(buf_view(&v), "then"));
    struct cell *c = cells_get(cells, BYTES("k"));
    assert_true(bytes_is(bytes_of(c->data, c->size), "now"));
    buf_done(&v);
    buf_done(&b.data);
    cells_free(&cells);
    store->calls->close(store);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(cells_are_a_map),
        cmocka_unit_test(budget_is_kept_and_dirty_cells_stay),
        cmocka_unit_test(only_what_was_appended_is_written),
        cmocka_unit_test(frozen_is_what_was_then),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
