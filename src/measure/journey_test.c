/* measure: tests of journeys: what is timed, what is kept, what becomes an event; with a clock that
 * the test moves. SPDX-License-Identifier: Apache-2.0 */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "measure/journey_in.h"

#define MS 1000000
/* A counter that stands still, or was looked at too long ago. */
static struct ticker CLOCK;
#define clock_ns CLOCK.ns
static int64_t now(void) { return clock_ns; }

static struct fixture {
    struct measure *m;
    struct journeys *j;
    uint64_t position; /* of the last record appended; partition 3 */
} f;

static int begin(void **state) {
    (void)state;
    CLOCK = (struct ticker){ticker_ticks(), 0, 1000000000, 0, 0, 1, now};
    f.m = must_alloc(sizeof *f.m);
    f.j = journeys_create(0, f.m, &CLOCK);
    f.position = 0;
    return 0;
}
static int end(void **state) {
    (void)state;
    journeys_free(&f.j);
    free(f.m);
    return 0;
}

static void tick(int64_t ns) {
    clock_ns += ns;
    journeys_clock(f.j, clock_ns);
}

static const struct journey_about HELLO = {
    {(const uint8_t *)"demo", 4}, {(const uint8_t *)"ann-bob", 7}, {(const uint8_t *)"m1", 2}, {0}};

static void append(void) { journey_appended(f.j, 3, ++f.position, clock_ns - 1 * MS); }
static struct journey_origin apply(uint64_t position, const struct journey_about *about) {
    journey_applied(f.j, &(struct journey_record){3, 43, position, clock_ns, 17}, about);
    return journey_origin(f.j);
}

static void stages_add_up(void **state) {
    (void)state;
    struct journey out[4];
    append(); /* came 1 ms before */
    tick(2 * MS);
    int64_t durable = clock_ns;
    tick(3 * MS);
    journey_applied(f.j, &(struct journey_record){3, 43, 1, durable, 17}, &HELLO);
    struct journey_origin origin = journey_origin(f.j);
    assert_true(origin.kept && origin.source_position == 1 && origin.made_ns == clock_ns);
    journey_wrote(f.j, 3, 1, BYTES("bob"), BYTES("phone"));
    journey_waits(f.j);
    tick(4 * MS);
    journeys_turn_end(f.j, clock_ns);
    assert_int_equal(f.m->stages[TIMED_admit].max, 1 * MS);
    assert_int_equal(f.m->stages[TIMED_durable].max, 2 * MS);
    assert_int_equal(f.m->stages[TIMED_apply].max, 3 * MS);
    assert_int_equal(f.m->stages[TIMED_write].max, 4 * MS);
    assert_int_equal(f.m->stages[TIMED_accepted].max, 10 * MS);
    assert_int_equal(f.m->stages[TIMED_delivered].max, 10 * MS);
    assert_int_equal(journeys_find(f.j, BYTES("demo"), BYTES("m1"), out, 4), 1);
    assert_true(out[0].devices == 1 && out[0].waiting == 1 && out[0].kind == 43 && !out[0].slow);
    assert_string_equal(out[0].conversation, "ann-bob");
    assert_int_equal(journeys_find(f.j, BYTES("other"), BYTES("m1"), out, 4), 0);
    char conversation[JOURNEY_NAME_MAX + 1];
    assert_true(journeys_place(f.j, BYTES("demo"), BYTES("m1"), conversation));
    assert_string_equal(conversation, "ann-bob");
    assert_false(journeys_place(f.j, BYTES("other"), BYTES("m1"), conversation));
    assert_int_equal(journeys_read(f.j, true, 0, out, 4), 0);
    assert_int_equal(journeys_slow_count(f.j), 0);
}

/* A relay goes on with its record's beginning, and is kept when that was. */
static void relays_go_on(void **state) {
    (void)state;
    struct journey out[4];
    int64_t came = clock_ns - 1 * MS;
    append();
    struct journey_origin origin = apply(1, &HELLO);
    tick(5 * MS);
    journey_relayed(f.j, 9, 77, 3, &origin);
    journeys_turn_end(f.j, clock_ns);
    tick(30 * MS);
    journey_applied(f.j, &(struct journey_record){9, 73, 77, clock_ns, 17}, &HELLO);
    journey_wrote(f.j, 9, 77, BYTES("bob"), BYTES("phone"));
    journeys_turn_end(f.j, clock_ns);
    assert_int_equal(f.m->stages[TIMED_relay].max, 5 * MS);
    assert_int_equal(hist_count(&f.m->stages[TIMED_accepted]), 1);
    assert_int_equal(journeys_find(f.j, BYTES("demo"), BYTES("m1"), out, 4), 2);
    assert_int_equal(journeys_read(f.j, true, 0, out, 4), 1); /* 36 ms in all */
    assert_true(out[0].slow && out[0].began_ns == came && out[0].source == 3 &&
                out[0].source_position == 1 && out[0].position == 77);
    assert_int_equal(journeys_slow_count(f.j), 1);
}

static void devices_are_kept(void **state) {
    (void)state;
    struct journey_device d[JOURNEY_DEVICES + 10];
    append();
    apply(1, &HELLO);
    for (int i = 0; i < JOURNEY_DEVICES + 5; i++) {
        char name[8];
        snprintf(name, sizeof name, "d%d", i);
        journey_wrote(f.j, 3, 1, BYTES("bob"), bytes_str(name));
    }
    journeys_turn_end(f.j, clock_ns);
    assert_int_equal(journeys_devices(f.j, 3, 1, d, JOURNEY_DEVICES + 10), JOURNEY_DEVICES);
    assert_string_equal(d[0].device, "d63");
    tick(9 * MS);
    journey_acked(f.j, 3, 1, BYTES("bob"), BYTES("d5"));
    journey_acked(f.j, 3, 1, BYTES("eve"), BYTES("d6"));
    journeys_devices(f.j, 3, 1, d, JOURNEY_DEVICES + 10);
    for (int i = 0; i < JOURNEY_DEVICES; i++)
        assert_true(strcmp(d[i].device, "d5") == 0 ? d[i].acked_ns == d[i].written_ns + 9 * MS
                                                   : !d[i].acked_ns);
    /* one that was away: at another turn */
    journey_wrote(f.j, 3, 1, BYTES("cid"), BYTES("tab"));
    assert_int_equal(journeys_devices(f.j, 3, 1, d, JOURNEY_DEVICES + 10), JOURNEY_DEVICES + 1);
    assert_string_equal(d[0].user, "cid");
    /* of what is not kept nothing is */
    journey_wrote(f.j, 4, 1, BYTES("cid"), BYTES("tab"));
    assert_int_equal(journeys_devices(f.j, 4, 1, d, 1), 0);
}

/* ---- runs: however records come together, each counts with its own times ---- */
struct one {
    int64_t came, began, appended, durable, applied;
    bool outside, written;
};
static struct {
    struct hist stages[TIMED_COUNT];
    uint64_t slow;
} model;

static void model_add(enum measure_stage s, int64_t from, int64_t to) {
    hist_record(&model.stages[s], (uint64_t)(to - from));
}

static void model_end(const struct one *o) {
    model_add(o->outside ? TIMED_admit : TIMED_relay, o->came, o->appended);
    model_add(TIMED_durable, o->appended, o->durable);
    model_add(TIMED_apply, o->durable, o->applied);
    if (!o->began) return;
    if (o->outside) model_add(TIMED_accepted, o->came, clock_ns);
    if (o->written) model_add(TIMED_write, o->applied, clock_ns);
    if (o->written) model_add(TIMED_delivered, o->began, clock_ns);
    model.slow += clock_ns - (o->written ? o->began : o->came) >= JOURNEY_SLOW_NS;
}

static struct one one_append(struct rng *r) {
    int64_t before = clock_ns - (int64_t)rng_below(r, 2) * 3 * MS;
    bool awaited = rng_below(r, 4) != 0;
    struct one o = {.came = before, .appended = clock_ns, .outside = rng_below(r, 2) == 0};
    if (o.outside) {
        o.began = before;
        journey_appended(f.j, 3, ++f.position, o.began);
    } else {
        o.began = awaited ? before - (int64_t)rng_below(r, 2) * 9 * MS : 0;
        struct journey_origin origin = {o.began, before, 5, !awaited}; /* kept ones are all timed */
        journey_relayed(f.j, 3, ++f.position, 7, &origin);
    }
    return o;
}

static void runs_add_up(void **state) {
    (void)state;
    static struct one of[82];
    struct rng r = {11};
    memset(&model, 0, sizeof model);
    for (int turn = 0; turn < 400; turn++) {
        size_t n = 1 + (size_t)rng_below(&r, 80);
        f.j->sample.tokens = 1000; /* all are timed, and told at so few a second */
        uint64_t first = f.position + 1;
        for (size_t i = 0; i < n; i++) {
            if (rng_below(&r, 6) == 0) tick((int64_t)rng_below(&r, 9 * MS));
            of[i] = one_append(&r);
        }
        tick(1 * MS);
        for (size_t i = 0; i < n; i++) {
            if (rng_below(&r, 6) == 0) tick((int64_t)rng_below(&r, 9 * MS));
            of[i].durable = clock_ns - (int64_t)rng_below(&r, 2) * MS / 2;
            of[i].applied = clock_ns;
            journey_applied(
                f.j, &(struct journey_record){3, 43, first + i, of[i].durable, 17}, &HELLO);
            of[i].written = rng_below(&r, 3) == 0;
            if (of[i].written) journey_wrote(f.j, 3, first + i, BYTES("u"), BYTES("d"));
        }
        tick((int64_t)rng_below(&r, 9 * MS));
        journeys_turn_end(f.j, clock_ns);
        for (size_t i = 0; i < n; i++) model_end(&of[i]);
    }
    for (int s = 0; s <= TIMED_delivered; s++) {
        assert_true(hist_count(&model.stages[s]) > 1000);
        assert_memory_equal(&f.m->stages[s], &model.stages[s], sizeof(struct hist));
    }
    assert_true(model.slow > 1000);
    assert_int_equal(journeys_slow_count(f.j), model.slow);
}

/* `n` turns, each with a record that somebody waits for, 1 ms on its way, and four that nobody does, which
 * are stored by the turn before: for 2 ms. */
static void turns_of_both(int n) {
    for (int turn = 0; turn < n; turn++) {
        append();
        for (uint16_t p = 4; p < 8; p++) journey_appended(f.j, p, f.position, 0);
        tick(1 * MS);
        apply(f.position, &HELLO);
        tick(1 * MS);
        for (uint16_t p = 4; p < 8; p++) {
            journey_applied(f.j, &(struct journey_record){p, 90, f.position, clock_ns, 17}, &HELLO);
            struct journey_origin origin = journey_origin(f.j);
            assert_true(origin.began_ns == 0 && origin.made_ns <= clock_ns);
            assert_true(origin.made_ns >= clock_ns - 2 * MS); /* not timed: about when */
        }
        journeys_turn_end(f.j, clock_ns);
    }
}

/* While there is room to keep some, all are timed; then what nobody waits for in part, which stands for
 * all of it. */
static void a_part_stands_for_all(void **state) {
    (void)state;
    const struct hist *durable = &f.m->stages[TIMED_durable],
                      *accepted = &f.m->stages[TIMED_accepted];
    turns_of_both(50);
    assert_int_equal(hist_count(durable), 250);
    turns_of_both(60000);
    assert_in_range(hist_count(accepted), 60050 - 1500, 60050 + 1500);
    assert_int_equal(journeys_slow_count(f.j), 0);
    assert_in_range(hist_count(durable), 5 * 60050 - 3000, 5 * 60050 + 3000);
    uint64_t all = 60050 * (uint64_t)MS * (1 + 4 * 2);
    assert_in_range(hist_sum(durable), all - all / 50, all + all / 50);
}

/* One after the other; all of them are accounted for. Returns of how many one was told at last. */
static uint32_t told_at(int64_t each_ns, int n) {
    memset(f.m->stages, 0, sizeof f.m->stages);
    for (int i = 0; i < n; i++) {
        append();
        tick(each_ns);
        apply(f.position, &HELLO);
        journeys_turn_end(f.j, clock_ns);
    }
    const struct hist *h = &f.m->stages[TIMED_accepted];
    uint64_t all = hist_count(h);
    assert_in_range(all, n - n / 20 - 16, n + n / 20 + 16);
    return f.j->told_of;
}

/* The more there are, the smaller the part that is told; its number stands for all. */
static void fewer_are_told_of_more(void **state) {
    (void)state;
    assert_int_equal(told_at(3 * MS, 2000), 1);
    assert_int_equal(hist_count(&f.m->stages[TIMED_accepted]), 2000);
    told_at(1 * MS / 4, 1000);
    assert_int_equal(told_at(1 * MS / 4, 20000), 10);
    told_at(MS / 100, 100000);
    assert_int_equal(told_at(MS / 100, 200000), 16);
    told_at(3 * MS, 200);
    assert_int_equal(told_at(3 * MS, 2000), 1);
    assert_int_equal(hist_count(&f.m->stages[TIMED_accepted]), 2000);
}

/* However few of the others are told, none of the slow ones is passed over. */
static void slow_ones_count_each(void **state) {
    (void)state;
    turns_of_both(2000);
    for (int i = 0; i < 1000; i++) {
        append();
        tick(19 * MS); /* and 1 ms before it was looked at */
        apply(f.position, &HELLO);
        journeys_turn_end(f.j, clock_ns);
        assert_int_equal(journeys_slow_count(f.j), i + 1);
    }
}

/* Those that are kept as slow have their names: the first ones, and later the slowest. */
static void slow_ones_have_names(void **state) {
    (void)state;
    struct journey *out = must_alloc(JOURNEYS_SLOW_MAX * sizeof *out);
    for (int turn = 0; turn < 200; turn++) {
        uint64_t first = f.position + 1;
        for (int i = 0; i < 500; i++) append();
        tick((30 + turn * turn / 20) * MS); /* slower and slower */
        for (uint64_t i = 0; i < 500; i++) apply(first + i, &HELLO);
        tick(1 * MS);
        journeys_turn_end(f.j, clock_ns);
    }
    assert_int_equal(journeys_slow_count(f.j), 100000);
    size_t n = journeys_read(f.j, true, 0, out, JOURNEYS_SLOW_MAX);
    assert_in_range(n, 150, 1500); /* in some 130 s */
    for (size_t i = 0; i < n; i++) assert_string_equal(out[i].item, "m1");
    free(out);
}

static void places_of_names_of_all_lengths(void **state) {
    (void)state;
    char app[] = "abcdefghijkl", conversation[71], item[16], found[JOURNEY_NAME_MAX + 1];
    for (int round = 0; round < 2; round++)
        for (size_t n = 0; n <= 70; n++) {
            for (size_t i = 0; i < n; i++) conversation[i] = (char)('a' + (i * 7 + n) % 26);
            conversation[n] = 0;
            snprintf(item, sizeof item, "%d-%d", round, (int)n);
            struct journey_about about = {
                bytes_of((uint8_t *)app, n % 13), bytes_str(conversation), bytes_str(item), {0}};
            append();
            apply(f.position, &about);
            journeys_turn_end(f.j, clock_ns);
        }
    for (size_t n = 0; n <= 70; n++) {
        for (size_t i = 0; i < n; i++) conversation[i] = (char)('a' + (i * 7 + n) % 26);
        conversation[n < JOURNEY_NAME_MAX ? n : JOURNEY_NAME_MAX] = 0;
        snprintf(item, sizeof item, "1-%d", (int)n);
        struct bytes of = bytes_of((uint8_t *)app, n % 13);
        assert_true(journeys_place(f.j, of, bytes_str(item), found));
        assert_string_equal(found, conversation);
        of.n = (n + 1) % 13;
        assert_false(journeys_place(f.j, of, bytes_str(item), found));
    }
}

/* Nobody waits for a cursor: however long it takes, it is not slow, and what follows is not. */
static void quiet_ones_are_never_slow(void **state) {
    (void)state;
    struct journey_about none = {.app = BYTES("demo")};
    journey_appended(f.j, 3, 1, 0);
    tick(500 * MS);
    struct journey_origin origin = apply(1, &none);
    journey_relayed(f.j, 9, 1, 3, &origin);
    tick(500 * MS);
    journey_applied(f.j, &(struct journey_record){9, 73, 1, clock_ns, 17}, &none);
    journeys_turn_end(f.j, clock_ns);
    assert_int_equal(journeys_slow_count(f.j), 0);
    assert_int_equal(hist_count(&f.m->stages[TIMED_accepted]), 0);
    assert_int_equal(hist_count(&f.m->stages[TIMED_durable]), 2);
}

/* Records of an earlier run come first, and belong to nobody. */
static void replayed_records_have_none(void **state) {
    (void)state;
    f.position = 10;
    append();
    for (uint64_t p = 1; p <= 10; p++) {
        struct journey_origin origin = apply(p, &HELLO);
        assert_true(!origin.began_ns && !origin.kept);
        assert_int_equal(
            origin.made_ns, clock_ns); /* what follows from it did not wait since ever */
    }
    assert_int_equal(apply(11, &HELLO).began_ns, clock_ns - 1 * MS);
    journeys_turn_end(f.j, clock_ns);
    assert_int_equal(hist_count(&f.m->stages[TIMED_accepted]), 1);
}

/* What follows from a record may make the queue grow while the record is being told. */
static void queue_grows_under_the_current_one(void **state) {
    (void)state;
    struct journey one;
    append();
    apply(1, &HELLO);
    for (int i = 0; i < 1000; i++) append();
    journey_wrote(f.j, 3, 1, BYTES("bob"), BYTES("phone"));
    journey_waits(f.j);
    journeys_turn_end(f.j, clock_ns);
    assert_int_equal(journeys_read(f.j, false, 0, &one, 1), 1);
    assert_true(one.devices == 1 && one.waiting == 1);
}

/* Any number may be under way, in and out by turns. */
static void queue_grows(void **state) {
    (void)state;
    struct rng r = {5};
    uint64_t done = 0, ended = 0;
    while (done < 20000) {
        f.j->sample.tokens = 1000; /* all are timed, and told at so few a second */
        for (uint32_t n = (uint32_t)rng_below(&r, 900); n > 0; n--) append();
        for (uint32_t n = (uint32_t)rng_below(&r, 900); n > 0 && done < f.position; n--) {
            done++;
            assert_true(apply(done, &HELLO).source_position == done);
        }
        journeys_turn_end(f.j, clock_ns);
        ended = done;
        assert_int_equal(hist_count(&f.m->stages[TIMED_accepted]), ended);
    }
}

/* The slowest of a bad minute are kept, not its first; all are counted. */
static void slow_ones_are_bounded(void **state) {
    (void)state;
    enum { N = 20000 };
    struct journey *out = must_alloc(JOURNEYS_SLOW_MAX * sizeof *out);
    for (int i = 1; i <= N; i++) {
        int64_t took = 21 * MS + (i % 1000) * 1000 + (i == N - 500) * 1000ll * MS;
        journey_other(f.j, JOURNEY_REQUEST, clock_ns - took, clock_ns, &HELLO);
        tick(1 * MS);
    }
    assert_int_equal(journeys_slow_count(f.j), N);
    size_t n = journeys_read(f.j, true, 0, out, JOURNEYS_SLOW_MAX);
    assert_in_range(n, 128, 600);
    bool found = false;
    for (size_t i = 0; i < n; i++) found |= out[i].written_ns - out[i].came_ns > 1000ll * MS;
    assert_true(found);
    int64_t since = out[n - 1].written_ns;
    assert_in_range(journeys_read(f.j, true, since, out, JOURNEYS_SLOW_MAX), 1, 5);
    free(out);
}

static size_t events_of(enum event_kind kind, struct event *out) {
    struct event all[64];
    size_t n = events_read(&f.m->events, 0, INT64_MAX, all, 64), found = 0;
    for (size_t i = 0; i < n; i++)
        if (all[i].kind == kind) out[found++] = all[i];
    return found;
}

/* Its relays go to many partitions, each with a part of the devices. */
static void a_fan_out_is_an_event(void **state) {
    (void)state;
    struct event e[64];
    append();
    struct journey_origin origin = apply(1, &HELLO);
    for (uint16_t part = 0; part < 40; part++) {
        journey_relayed(f.j, part, 9, 3, &origin);
        journey_applied(f.j, &(struct journey_record){part, 73, 9, clock_ns, 17}, &HELLO);
        for (int i = 0; i < 10; i++) journey_wrote(f.j, part, 9, BYTES("u"), BYTES("d"));
    }
    tick(7 * MS);
    journeys_turn_end(f.j, clock_ns);
    assert_int_equal(events_of(EVENT_fanout, e), 1);
    assert_true(e[0].a == 400 && e[0].duration_ns == 7 * MS);
    assert_string_equal(e[0].names[1], "ann-bob");
}

/* Members are added: a record for each, of one. */
static void relays_of_one_record_are_an_event(void **state) {
    (void)state;
    struct event e[64];
    append();
    struct journey_origin origin = apply(1, &HELLO);
    for (uint16_t i = 0; i < 300; i++) {
        journey_relayed(f.j, i % 64, 20 + i, 3, &origin);
        journey_applied(f.j, &(struct journey_record){i % 64, 73, 20 + i, clock_ns, 17},
            &(struct journey_about){0});
    }
    tick(12 * MS);
    journeys_turn_end(f.j, clock_ns);
    assert_int_equal(events_of(EVENT_fanout, e), 1);
    assert_true(e[0].a == 300 && e[0].b == 1 && e[0].duration_ns == 12 * MS);
}

static void a_hot_partition_is_an_event(void **state) {
    (void)state;
    struct event e[64];
    for (int i = 0; i < 200; i++) append();
    for (int i = 0; i < 200; i++) apply((uint64_t)i + 1, &HELLO);
    tick(6 * MS);
    journeys_turn_end(f.j, clock_ns);
    assert_int_equal(events_of(EVENT_queue, e), 1);
    assert_true(e[0].a == 200 && e[0].b == 3);
    assert_string_equal(e[0].names[1], "ann-bob");
    /* evenly spread: none; relays of one partition, with few to a record: it is hot */
    for (int round = 0; round < 2; round++) {
        for (uint16_t p = 0; p < 200; p++) {
            struct journey_origin of = {clock_ns, clock_ns, 5000 + p / 4u, false};
            if (round) journey_relayed(f.j, p, 1000 + (uint64_t)round, 7, &of);
            else journey_appended(f.j, p, 1000 + (uint64_t)round, clock_ns);
        }
        for (uint16_t p = 0; p < 200; p++) {
            journey_applied(
                f.j, &(struct journey_record){p, 43, 1000 + (uint64_t)round, clock_ns, 17}, &HELLO);
        }
        tick(6 * MS);
        journeys_turn_end(f.j, clock_ns);
        assert_int_equal(events_of(EVENT_queue, e), 1 + round);
    }
    assert_string_equal(e[1].names[1], "ann-bob");
    assert_true(e[1].a == 200 && e[1].b == 7);
}

static void who_sends_again_and_again_is_an_event(void **state) {
    (void)state;
    struct event e[64];
    struct journey_about again = HELLO;
    again.repeated_by = BYTES("bot");
    for (int i = 0; i < 19; i++) append(), apply(f.position, &again), tick(1 * MS);
    assert_int_equal(events_of(EVENT_retries, e), 0);
    append(), apply(f.position, &again);
    assert_int_equal(events_of(EVENT_retries, e), 1);
    assert_string_equal(e[0].names[1], "bot");
    assert_int_equal(e[0].a, 20);
    for (int i = 0; i < 40; i++) append(), apply(f.position, &again), tick(100 * MS);
    assert_int_equal(events_of(EVENT_retries, e), 1); /* ten a second are none */
    for (int i = 0; i < 1000; i++) append(), apply(f.position, &again);
    assert_int_equal(events_of(EVENT_retries, e), 7); /* 20, 40, 80 ... 640: room for others */
}

int main(void) {
#define T(t) cmocka_unit_test_setup_teardown(t, begin, end)
    const struct CMUnitTest tests[] = {T(stages_add_up), T(relays_go_on), T(runs_add_up),
        T(a_part_stands_for_all), T(fewer_are_told_of_more), T(slow_ones_count_each),
        T(slow_ones_have_names), T(places_of_names_of_all_lengths), T(devices_are_kept),
        T(quiet_ones_are_never_slow), T(replayed_records_have_none), T(queue_grows),
        T(queue_grows_under_the_current_one), T(slow_ones_are_bounded), T(a_fan_out_is_an_event),
        T(relays_of_one_record_are_an_event), T(a_hot_partition_is_an_event),
        T(who_sends_again_and_again_is_an_event)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
