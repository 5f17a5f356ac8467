/* The answer to a PUT of a setting waits for every partition, asks only those that do not have it yet,
 * and gives up in time. SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <cmocka.h>

#include "workflow/workflow.h"

enum { PARTITIONS = 8 };
static void first_half(struct bytes value, struct buf *out) { buf_add(out, value.p, value.n / 2); }
static const struct settings THINGS = {"thing", "#things", '#', 1, 2, NULL, first_half};

struct waiting {
    struct arena arena;
    struct request r;
    struct plan p;
    struct answer a;
};

/* Home stored it as version 7. */
static bool stored(struct waiting *w) {
    struct answer home = {.status = 201};
    w->r = (struct request){
        .arena = &w->arena, .partitions = PARTITIONS, .who = {.app = BYTES("demo")}};
    pack_u64(&home.body, 7);
    buf_str(&home.body, "{}");
    bool more = settings_stored(&THINGS, &w->r, &w->p, &home, &w->a);
    buf_done(&home.body);
    return more;
}

/* Another round, in which those parts have it whose bits are set. */
static bool round_of(struct waiting *w, unsigned have) {
    struct answer parts[PARTITIONS] = {0};
    for (size_t i = 0; i < w->p.part_count; i++) parts[i].status = have >> i & 1 ? 200 : 202;
    return w->p.gather(&w->r, &w->p, parts, &w->a);
}

static void done(struct waiting *w) {
    plan_done(&w->p);
    buf_done(&w->a.body);
    arena_done(&w->arena);
}

static void waits_for_all(void **state) {
    struct waiting w = {0};
    bool seen[PARTITIONS] = {false};
    (void)state;
    assert_true(stored(&w));
    assert_int_equal(w.p.part_count, PARTITIONS - 1);
    for (size_t i = 0; i < w.p.part_count; i++) {
        assert_false(seen[w.p.parts[i].partition]);
        seen[w.p.parts[i].partition] = true;
    }
    assert_false(seen[settings_home(&THINGS, BYTES("demo"), PARTITIONS)]);
    uint16_t third = w.p.parts[2].partition, last = w.p.parts[6].partition;
    assert_true(round_of(&w, 0x3b)); /* all but those two */
    assert_int_equal(w.p.part_count, 2);
    assert_true(w.p.parts[0].partition == third && w.p.parts[1].partition == last);
    assert_true(round_of(&w, 2));
    assert_int_equal(w.p.part_count, 1);
    assert_int_equal(w.p.parts[0].partition, third);
    assert_false(round_of(&w, 1));
    assert_true(w.a.status == 201 && !w.a.problem && bytes_is(buf_view(&w.a.body), "{}"));
    done(&w);
}

static void gives_up_in_time(void **state) {
    struct waiting w = {0};
    int64_t waited_ms = 0;
    (void)state;
    for (bool more = stored(&w); more; more = round_of(&w, 0)) {
        assert_true(w.p.again_ms >= 1 && w.p.again_ms <= 64);
        waited_ms += w.p.again_ms;
    }
    assert_true(w.a.problem == PROBLEM_OVERLOADED && w.a.retry_after_s);
    assert_true(waited_ms >= 9000 && waited_ms <= 12000);
    done(&w);
}

/* A partition has what its list says, not what its cell says: a later change may have taken that away. */
static void later_changes_count(void **state) {
    struct waiting w = {0};
    struct store *store = store_create_memory();
    struct cells *cells = cells_create(store, 0, 1 << 20);
    uint8_t room[300];
    (void)state;
    assert_true(stored(&w));
    for (uint64_t newest = 6; newest <= 8; newest++) {
        struct buf list = {0};
        struct answer a = {0};
        pack_u64(&list, newest);
        cells_put(cells, cells_get(cells, key2(room, '#', BYTES("demo"), (struct bytes){0})),
            buf_view(&list));
        struct query q = {.cells = cells, .request = &w.r, .answer = &a};
        w.p.parts[0].query(&q);
        assert_int_equal(a.status, newest < 7 ? 202 : 200);
        buf_done(&list);
    }
    cells_free(&cells);
    store->calls->close(store);
    done(&w);
}

/* Its home keeps all of it, the others get what they need. */
static void only_what_is_needed_travels(void **state) {
    struct store *store = store_create_memory();
    struct cells *cells = cells_create(store, 0, 1 << 20);
    struct arena arena = {0};
    struct answer a = {0};
    uint64_t version;
    (void)state;
    struct step s = {.cells = cells,
        .partition = 3,
        .partitions = PARTITIONS,
        .position = 7,
        .app = BYTES("demo"),
        .arena = &arena,
        .answer = &a};
    assert_true(settings_set(&s, &THINGS, BYTES("a"), BYTES("words and source")));
    assert_true(
        bytes_is(settings_find(cells, &THINGS, s.app, BYTES("a"), &version), "words and source"));
    assert_int_equal(s.relay_count, PARTITIONS - 1);
    for (size_t i = 0; i < s.relay_count; i++) {
        struct unpack u = unpack_of(s.relays[i].body);
        assert_true(bytes_is(unpack_bytes(&u), "a") && unpack_u64(&u) == 7);
        assert_true(bytes_is(unpack_bytes(&u), "words an") && !unpack_more(&u));
    }
    s.position = 8;
    s.relay_count = 0;
    assert_true(settings_set(&s, &THINGS, BYTES("a"), (struct bytes){0})); /* deleted */
    assert_int_equal(s.relay_count, PARTITIONS - 1);
    buf_done(&a.body);
    arena_done(&arena);
    cells_free(&cells);
    store->calls->close(store);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(waits_for_all),
        cmocka_unit_test(gives_up_in_time), cmocka_unit_test(later_changes_count),
        cmocka_unit_test(only_what_is_needed_travels)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
