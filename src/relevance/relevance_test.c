/* What is learned of people as notifications come and go: who is opened leaves at once and who is not
 * waits; a digest is not judged before it left; a row is learned of once for its first trigger and once
 * for its newest; and of who is erased nothing comes back.
 * SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "due/due.h"
#include "learn/learn.h"
#include "relevance/relevance.h"

#define APP BYTES("app")
#define USER BYTES("u1")
#define FLOW BYTES("likes")
#define HOUR 3600000ll
#define DAY (24 * HOUR)

struct world {
    struct store *store;
    struct cells *cells;
    struct arena arena, taken;
    uint64_t position;
    int64_t now_ms;
    struct step step;
    struct answer answer;
    struct workflow w;
};

static int setup(void **state) {
    struct world *v = *state = must_alloc(sizeof *v);
    v->store = store_create_memory();
    v->cells = cells_create(v->store, 0, 1 << 20);
    v->now_ms = 1795200000000;
    v->w = (struct workflow){.learned = true,
        .channels = CHANNEL_INAPP | CHANNEL_PUSH,
        .at_once = CHANNEL_INAPP | CHANNEL_PUSH,
        .target_milli = 5000,
        .explore = 0};
    return 0;
}
static int teardown(void **state) {
    struct world *v = *state;
    cells_free(&v->cells);
    v->store->calls->close(v->store);
    arena_done(&v->arena);
    arena_done(&v->taken);
    free(v);
    return 0;
}

static struct step *act(struct world *v) {
    arena_reset(&v->arena);
    v->step = (struct step){.cells = v->cells,
        .partitions = 1,
        .position = ++v->position,
        .time_ms = v->now_ms,
        .app = APP,
        .arena = &v->arena,
        .answer = &v->answer};
    return &v->step;
}

/* true: it waits for the digest. */
static bool offer(struct world *v, const char *id, const char *actor) {
    struct step *s = act(v);
    struct content k = {.id = bytes_str(id), .workflow = FLOW, .actor = bytes_str(actor)};
    return relevance_waits(s, USER, &v->w, &k);
}
static struct judged row_of(const char *id, const char *trigger) {
    return (struct judged){bytes_str(id), bytes_str(trigger), FLOW};
}
static void open_row(struct world *v, const char *id, const char *trigger) {
    struct judged r = row_of(id, trigger);
    relevance_opened(act(v), USER, &r);
}

/* Time passes, and what falls due in it is applied. */
static void pass(struct world *v, int64_t ms) {
    for (v->now_ms += ms; due_next(v->cells) <= v->now_ms;) {
        struct step *s = act(v);
        due_surface.records[0].apply(s);
        struct buf bodies = {0};
        for (size_t i = 0; i < s->relay_count; i++)
            if (s->relays[i].kind == KIND_NOTIFY_LEARN) pack_bytes(&bodies, s->relays[i].body);
        struct unpack u = unpack_of(buf_view(&bodies));
        while (unpack_more(&u)) {
            s = act(v);
            s->body = unpack_bytes(&u);
            relevance_part.rules[0].apply(s);
        }
        buf_done(&bodies);
    }
}

static void learned(struct world *v, uint32_t opened, uint32_t of) {
    uint8_t room[300];
    uint32_t got[2] = {0};
    const struct cell *c = cells_get(v->cells, key2(room, '~', APP, FLOW));
    if (c->size) memcpy(got, c->data, sizeof got);
    assert_int_equal(got[0], opened);
    assert_int_equal(got[1], of);
}

static void who_is_opened_leaves_at_once(void **state) {
    struct world *v = *state;
    unsigned at_once[2] = {0};
    for (int n = 0; n < 800; n++) {
        char id[16];
        bool ann = n % 4 == 0;
        sprintf(id, "t%d", n);
        bool waits = offer(v, id, ann ? "ann" : "ben");
        if (n >= 600) at_once[ann] += !waits;
        if (ann) open_row(v, id, id);
        pass(v, HOUR);
    }
    assert_in_range(at_once[1], 40, 50); /* of 50 */
    assert_in_range(at_once[0], 0, 15);  /* of 150 */
}

static void a_digest_is_judged_when_it_has_left(void **state) {
    struct world *v = *state;
    v->w.digest_ms = 3 * DAY;
    (void)offer(v, "t1", "ann");
    pass(v, 4 * DAY - 1000);
    learned(v, 0, 0);
    open_row(v, "t1", "t1");
    learned(v, 1, 1);
    pass(v, 2 * DAY);
    learned(v, 1, 1);
    (void)offer(v, "t2", "ann");
    pass(v, 4 * DAY + 1000);
    learned(v, 1, 2);
}

static void what_leaves_at_once_is_judged_a_day_later(void **state) {
    struct world *v = *state;
    assert_false(offer(v, "t1", "ann"));
    pass(v, DAY - 1000);
    learned(v, 0, 0);
    pass(v, 2000);
    learned(v, 0, 1);
    open_row(v, "t1", "t1"); /* too late */
    learned(v, 0, 1);
}

static void a_row_is_its_first_and_its_newest(void **state) {
    struct world *v = *state;
    (void)offer(v, "t1", "ann");
    (void)offer(v, "t2", "ben");
    struct judged r = row_of("t1", "t1");
    relevance_joins(act(v), USER, &r);
    (void)offer(v, "t3", "cem");
    r = row_of("t1", "t2");
    relevance_joins(act(v), USER, &r);
    open_row(v, "t1", "t3");
    learned(v, 2, 2);
    pass(v, 3 * DAY);
    learned(v, 2, 2); /* nothing is held against ben */
}

static void targets_stand_beside_each_other(void **state) {
    struct world *v = *state;
    for (int n = 0; n < 12; n++) {
        char id[16];
        sprintf(id, "t%d", n);
        v->w.target_milli = n % 2 ? 5000 : 1000;
        (void)offer(v, id, "ann");
        size_t size = relevance_state(v->cells, APP, USER).n;
        assert_int_equal(size, LEARN_STATE_BYTES + (n > 0) * LEARN_TARGET_BYTES);
        open_row(v, id, id);
        assert_int_equal(relevance_state(v->cells, APP, USER).n, size);
        pass(v, HOUR);
    }
    learned(v, 12, 12);
}

static bool note(void *arg, struct bytes key, struct bytes value) {
    (void)key;
    (void)value;
    ++*(unsigned *)arg;
    return true;
}
static void who_is_erased_does_not_come_back(void **state) {
    struct world *v = *state;
    unsigned left = 0;
    (void)offer(v, "t1", "ann");
    (void)offer(v, "t2", "ann");
    cells_scan(v->cells, BYTES(">"), note, &left);
    assert_int_equal(left, 3);
    relevance_erase(act(v), USER);
    pass(v, 3 * DAY);
    left = 0;
    cells_scan(v->cells, BYTES(">"), note, &left);
    assert_int_equal(left, 0);
    learned(v, 0, 0);
}

int main(void) {
    const struct CMUnitTest all[] = {
        cmocka_unit_test_setup_teardown(who_is_opened_leaves_at_once, setup, teardown),
        cmocka_unit_test_setup_teardown(a_digest_is_judged_when_it_has_left, setup, teardown),
        cmocka_unit_test_setup_teardown(what_leaves_at_once_is_judged_a_day_later, setup, teardown),
        cmocka_unit_test_setup_teardown(a_row_is_its_first_and_its_newest, setup, teardown),
        cmocka_unit_test_setup_teardown(targets_stand_beside_each_other, setup, teardown),
        cmocka_unit_test_setup_teardown(who_is_erased_does_not_come_back, setup, teardown)};
    return cmocka_run_group_tests(all, NULL, NULL);
}
