/* due, tested: stories of order and bounds; then random adds and ticks against a list that is kept
 * sorted, with restarts between them, and what `kith check` says all the while.
 * SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "due/due.h"

enum { KIND_TOLD = 200, PARTITION = 3 };
#define NOW 1700000000000

struct world {
    struct store *store;
    struct cells *cells;
    struct arena arena;
    uint64_t position, generation, budget;
    struct step step;
    struct answer answer;
};

static int setup(void **state) {
    struct world *w = *state = must_alloc(sizeof *w);
    w->budget = 1 << 20;
    w->store = store_create_memory();
    w->cells = cells_create(w->store, PARTITION, w->budget);
    return 0;
}
static int teardown(void **state) {
    struct world *w = *state;
    struct buf why = {0};
    bool sound = due_check(w->cells, &why);
    if (!sound) print_error("%.*s", (int)why.n, (const char *)why.p);
    assert_true(sound);
    buf_done(&why);
    cells_free(&w->cells);
    w->store->calls->close(w->store);
    arena_done(&w->arena);
    free(w);
    return 0;
}

static struct step *act(struct world *w, int64_t time_ms, struct bytes app) {
    arena_reset(&w->arena);
    w->answer = (struct answer){0};
    w->step = (struct step){.cells = w->cells,
        .partition = PARTITION,
        .partitions = 8,
        .position = ++w->position,
        .time_ms = time_ms,
        .app = app,
        .arena = &w->arena,
        .answer = &w->answer};
    return &w->step;
}

static void flush(struct world *w) {
    struct table_batch b = {0};
    cells_freeze(w->cells, &b, ++w->generation);
    assert_int_equal(w->store->calls->write(w->store, &b), OK);
    buf_done(&b.data);
    cells_flushed(w->cells, w->generation);
    cells_turn_end(w->cells);
}

static void restart(struct world *w) {
    flush(w);
    cells_free(&w->cells);
    w->cells = cells_create(w->store, PARTITION, w->budget);
    w->generation = 0;
}

static void add(struct world *w, int64_t at_ms, const char *text) {
    due_add(act(w, NOW, BYTES("app")), at_ms, KIND_TOLD, bytes_str(text));
}

/* What a tick at that time made, as text: bodies with a blank between. */
static const char *tick(struct world *w, int64_t time_ms) {
    static char all[4096];
    struct step *s = act(w, time_ms, (struct bytes){0});
    size_t n = 0;
    assert_int_equal(due_surface.record_count, 1);
    assert_int_equal(due_surface.records[0].kind, KIND_TICK);
    due_surface.records[0].apply(s);
    assert_int_equal(s->answer->status, 200);
    assert_int_equal(s->app.n, 0);
    all[0] = 0;
    for (size_t i = 0; i < s->relay_count && n < sizeof all - 100; i++) {
        assert_int_equal(s->relays[i].to, PARTITION);
        assert_int_equal(s->relays[i].kind, KIND_TOLD);
        n += (size_t)sprintf(all + n, "%s%.*s", i ? " " : "", (int)s->relays[i].body.n,
            (const char *)s->relays[i].body.p);
    }
    return all;
}

/* ---- stories ---- */
static void nothing_waits_at_first(void **state) {
    assert_true(due_next(((struct world *)*state)->cells) == INT64_MAX);
    assert_string_equal(tick(*state, NOW), "");
    assert_int_equal(cells_dirty_bytes(((struct world *)*state)->cells), 0);
}

static void what_is_due_comes_in_order_and_not_before(void **state) {
    struct world *w = *state;
    add(w, NOW + 5000, "later");
    add(w, NOW + 120, "soon");
    add(w, NOW + 101, "soon too"); /* rounded to the same */
    add(w, NOW + 100, "first");
    add(w, NOW + 40ll * 365 * 86400 * 1000, "old age");
    assert_int_equal(due_next(w->cells), NOW + 100);
    assert_string_equal(tick(w, NOW + 99), "");
    assert_string_equal(tick(w, NOW + 100), "first");
    assert_string_equal(tick(w, NOW + 199), "");
    assert_int_equal(due_next(w->cells), NOW + 200);
    assert_string_equal(tick(w, NOW + 6000), "soon soon too later");
    assert_int_equal(due_next(w->cells), NOW + 40ll * 365 * 86400 * 1000);
    assert_string_equal(tick(w, INT64_MAX), "old age");
    assert_true(due_next(w->cells) == INT64_MAX);
}

static void the_past_is_due_at_once_and_the_end_of_time_never(void **state) {
    struct world *w = *state;
    add(w, INT64_MAX, "never");
    assert_true(due_next(w->cells) > NOW + 3000ll * 365 * 86400 * 1000);
    add(w, INT64_MIN, "long ago");
    add(w, NOW - 1000, "ago");
    assert_true(due_next(w->cells) <= NOW);
    assert_string_equal(tick(w, NOW), "long ago ago");
    assert_string_equal(tick(w, NOW), "");
}

static void each_item_keeps_its_app(void **state) {
    struct world *w = *state;
    due_add(act(w, NOW, BYTES("one")), NOW, KIND_TOLD, BYTES("x"));
    due_add(act(w, NOW, BYTES("another")), NOW, KIND_TOLD + 1, BYTES(""));
    struct step *s = act(w, NOW, (struct bytes){0});
    due_surface.records[0].apply(s);
    assert_int_equal(s->relay_count, 2);
    assert_true(bytes_is(s->relays[0].app, "one") && bytes_is(s->relays[1].app, "another"));
    assert_int_equal(s->relays[1].kind, KIND_TOLD + 1);
    assert_int_equal(s->relays[1].body.n, 0);
}

/* 5,000 at one moment: in their order, 256 a tick, and no tick writes much. */
static void a_crowd_is_taken_in_portions(void **state) {
    struct world *w = *state;
    enum { CROWD = 5000, PAD = 100 };
    char text[PAD + 1], want[PAD + 1];
    for (int i = 0; i < CROWD; i++) {
        sprintf(text, "%0*d", PAD, i);
        add(w, NOW, text);
        if (i % 700 == 0) restart(w);
    }
    flush(w);
    add(w, NOW, "late");
    unsigned next = 0, ticks = 0;
    while (due_next(w->cells) <= NOW) {
        struct step *s = act(w, NOW, (struct bytes){0});
        due_surface.records[0].apply(s);
        assert_in_range(s->relay_count, 1, DUE_TICK_MAX);
        for (size_t i = 0; i < s->relay_count; i++, next++) {
            sprintf(want, "%0*u", PAD, next);
            assert_true(bytes_is(s->relays[i].body, next < CROWD ? want : "late"));
        }
        assert_true(cells_dirty_bytes(w->cells) < 40000);
        flush(w);
        ticks++;
    }
    assert_int_equal(next, CROWD + 1);
    assert_int_equal(ticks, CROWD / DUE_TICK_MAX + 1);
}

static void large_bodies_make_smaller_portions(void **state) {
    struct world *w = *state;
    struct buf body = {0};
    buf_reserve(&body, DUE_BODY_MAX);
    memset(body.p, 'x', DUE_BODY_MAX);
    body.n = DUE_BODY_MAX;
    for (int i = 0; i < 12; i++) due_add(act(w, NOW, BYTES("a")), NOW, KIND_TOLD, buf_view(&body));
    size_t all = 0;
    for (int i = 0; i < 4 && all < 12; i++) {
        struct step *s = act(w, NOW, (struct bytes){0});
        due_surface.records[0].apply(s);
        assert_in_range(s->relay_count, 1, 4);
        for (size_t k = 0; k < s->relay_count; k++)
            assert_true(bytes_eq(s->relays[k].body, buf_view(&body)));
        all += s->relay_count;
    }
    assert_int_equal(all, 12);
    buf_done(&body);
}

static void a_damaged_index_is_found(void **state) {
    struct world *w = *state;
    add(w, NOW, "x");
    struct cell *first = cells_get(w->cells, BYTES("\x04"
                                                   "due"));
    uint8_t whole[8];
    memcpy(whole, first->data, 8);
    cells_edit(w->cells, first)[0] ^= 1;
    struct buf why = {0};
    assert_false(due_check(w->cells, &why));
    assert_true(why.n > 20);
    cells_put(w->cells, first, bytes_of(whole, 8));
    buf_reset(&why);
    assert_true(due_check(w->cells, &why));
    buf_done(&why);
}

/* ---- random acts against a list ---- */
struct expected {
    int64_t bucket;
    uint64_t number;
};
struct model {
    struct expected list[2048]; /* sorted */
    size_t n;
};

static int64_t rounded(int64_t at) { return at <= 0 ? 0 : (at + 99) / 100; }

static void model_add(struct model *m, int64_t at, uint64_t number) {
    size_t i = m->n++;
    while (i && m->list[i - 1].bucket > rounded(at)) {
        m->list[i] = m->list[i - 1];
        i--;
    }
    m->list[i] = (struct expected){rounded(at), number};
}

static int64_t some_time(struct rng *r, int64_t now) {
    static const int64_t AWAY[] = {1, 300, 7000, 40000, 7200000, 30ll * 86400000, INT64_C(1) << 40};
    int64_t span = AWAY[rng_below(r, 7)];
    return now - span / 20 + (int64_t)rng_below(r, (uint64_t)span + 1);
}

static void model_tick(struct world *w, struct model *m, int64_t now) {
    struct step *s = act(w, now, (struct bytes){0});
    due_surface.records[0].apply(s);
    for (size_t i = 0; i < s->relay_count; i++) {
        uint64_t number;
        assert_true(i < m->n && m->list[i].bucket * 100 <= now);
        memcpy(&number, s->relays[i].body.p, sizeof number);
        assert_int_equal(number, m->list[i].number);
    }
    m->n -= s->relay_count;
    memmove(m->list, m->list + s->relay_count, m->n * sizeof *m->list);
    if (s->relay_count < DUE_TICK_MAX) assert_true(!m->n || m->list[0].bucket * 100 > now);
}

static void random_acts_are_as_a_sorted_list(void **state) {
    struct world *w = *state;
    struct model *m = must_alloc(sizeof *m);
    struct rng r = {7};
    int64_t now = NOW;
    uint64_t number = 0;
    struct buf body = {0}, why = {0};
    w->budget = 4096; /* evicts all the time */
    restart(w);
    for (int round = 0; round < 40000; round++) {
        uint64_t what = rng_below(&r, 100);
        if (what < 60 && m->n < 2000) {
            int64_t at = some_time(&r, now);
            buf_reset(&body);
            buf_add(&body, &number, sizeof number);
            size_t pad = rng_below(&r, rng_below(&r, 50) ? 20 : 5000);
            buf_reserve(&body, pad);
            memset(body.p + body.n, 0, pad);
            body.n += pad;
            due_add(act(w, now, BYTES("app")), at, KIND_TOLD, buf_view(&body));
            model_add(m, at, number++);
        } else if (what < 90) {
            now += (int64_t)rng_below(&r, rng_below(&r, 200) ? 4000 : 3000000000);
            if (m->n >= 1900) now = m->list[1500].bucket * 100;
            model_tick(w, m, now);
        } else if (what < 98) {
            flush(w);
        } else {
            restart(w);
        }
        int64_t next = m->n ? m->list[0].bucket * 100 : INT64_MAX;
        assert_true(due_next(w->cells) == next);
        if (round % 5000 == 0) assert_true(due_check(w->cells, &why));
    }
    assert_true(number > 15000);
    buf_done(&body);
    buf_done(&why);
    free(m);
}

int main(void) {
    const struct CMUnitTest all[] = {
        cmocka_unit_test_setup_teardown(nothing_waits_at_first, setup, teardown),
        cmocka_unit_test_setup_teardown(what_is_due_comes_in_order_and_not_before, setup, teardown),
        cmocka_unit_test_setup_teardown(
            the_past_is_due_at_once_and_the_end_of_time_never, setup, teardown),
        cmocka_unit_test_setup_teardown(each_item_keeps_its_app, setup, teardown),
        cmocka_unit_test_setup_teardown(a_crowd_is_taken_in_portions, setup, teardown),
        cmocka_unit_test_setup_teardown(large_bodies_make_smaller_portions, setup, teardown),
        cmocka_unit_test_setup_teardown(a_damaged_index_is_found, setup, teardown),
        cmocka_unit_test_setup_teardown(random_acts_are_as_a_sorted_list, setup, teardown)};
    return cmocka_run_group_tests(all, NULL, NULL);
}
