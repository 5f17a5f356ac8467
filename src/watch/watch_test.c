/* Tests of watch: made-up threads and clocks are judged; an hour of points comes back whole; the
 * thread itself takes little. SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "io/io.h"
#include "watch/watch_in.h"

#define MS 1000000ll

/* ---- delays ---- */
struct story {
    struct delay delay;
    struct delay_thread threads[2];
    uint32_t numbers[2];
    struct delay_sample samples[2], self;
    struct events events;
    int64_t now_ns, wall_ms;
};

static struct story *story_begin(void) {
    struct story *s = calloc(1, sizeof *s);
    s->numbers[1] = THREAD_LOG;
    s->delay = (struct delay){.threads = s->threads, .numbers = s->numbers, .count = 2};
    s->samples[0].known = s->samples[1].known = s->self.known = true;
    s->now_ns = 1000 * MS;
    s->wall_ms = 5000000;
    struct delay_look l = {s->now_ns, s->now_ns, s->wall_ms, s->samples, s->self, false};
    delay_take(&s->delay, &l, &s->events);
    return s;
}

/* A look, `late` after 20 ms; since the last one the first thread waited so long. */
static void look_at(struct story *s, int64_t waited_ms, int64_t late_ms) {
    int64_t due = s->now_ns + LOOK_NS;
    s->now_ns = due + late_ms * MS;
    s->wall_ms += 20 + late_ms;
    s->samples[0].waited_ns += waited_ms * MS;
    struct delay_look l = {due, s->now_ns, s->wall_ms, s->samples, s->self, false};
    delay_take(&s->delay, &l, &s->events);
}

static size_t told(const struct story *s, struct event *out) {
    return events_read(&s->events, 0, INT64_MAX, out, 16);
}

static void delays_are_told_as_one(void **state) {
    (void)state;
    struct story *s = story_begin();
    struct event e[16];
    look_at(s, 0, 0);
    look_at(s, 3, 0); /* as every scheduler does */
    look_at(s, 12, 0);
    look_at(s, 20, 0);
    assert_int_equal(told(s, e), 0); /* it goes on */
    look_at(s, 0, 0);
    assert_int_equal(told(s, e), 1);
    assert_int_equal(e[0].kind, EVENT_run_delay);
    assert_int_equal(e[0].thread, 0);
    assert_int_equal(e[0].start_ns, 1040 * MS);
    assert_int_equal(e[0].duration_ns, 40 * MS);
    assert_int_equal(e[0].a, 32 * MS);
    free(s);
}

static void long_delay_comes_in_pieces(void **state) {
    (void)state;
    struct story *s = story_begin();
    struct event e[16];
    for (int i = 0; i < 125; i++) look_at(s, 15, 0);
    assert_int_equal(told(s, e), 2); /* of 2.5 s */
    assert_int_equal(e[0].duration_ns, 1000 * MS);
    assert_int_equal(e[1].start_ns, e[0].start_ns + e[0].duration_ns);
    look_at(s, 0, 0);
    assert_int_equal(told(s, e), 3);
    assert_int_equal(e[2].duration_ns, 500 * MS);
    free(s);
}

/* While a thread waits, the kernel's number stands still. */
static void long_wait_began_before(void **state) {
    (void)state;
    struct story *s = story_begin();
    struct event e[16];
    for (int i = 0; i < 4; i++) look_at(s, 0, 0);
    look_at(s, 95, 0);
    look_at(s, 5, 0);
    look_at(s, 0, 0);
    assert_int_equal(told(s, e), 1);
    assert_int_equal(e[0].start_ns, 1100 * MS - 95 * MS);
    assert_int_equal(e[0].duration_ns, (95 + 20) * MS);
    assert_int_equal(e[0].a, 100 * MS);
    free(s);
}

static void stop_is_a_stop(void **state) {
    (void)state;
    struct story *s = story_begin();
    struct event e[16];
    look_at(s, 0, 40);
    assert_int_equal(told(s, e), 0);
    look_at(s, 0, 300);
    assert_int_equal(told(s, e), 1);
    assert_int_equal(e[0].kind, EVENT_stopped);
    assert_int_equal(e[0].start_ns, s->now_ns - 300 * MS);
    assert_int_equal(e[0].duration_ns, 300 * MS);
    free(s);
}

static void crowded_core_is_no_stop(void **state) {
    (void)state;
    struct story *s = story_begin();
    struct event e[16];
    look_at(s, 290, 300); /* a thread had no core all the while */
    look_at(s, 0, 0);
    assert_int_equal(told(s, e), 1);
    assert_int_equal(e[0].kind, EVENT_run_delay);
    s->self.waited_ns += 200 * MS; /* nor had we */
    look_at(s, 0, 250);
    assert_int_equal(told(s, e), 1);
    free(s);
}

static void clock_jumps_are_told(void **state) {
    (void)state;
    struct story *s = story_begin();
    struct event e[16];
    s->wall_ms += 40;
    look_at(s, 0, 0);
    assert_int_equal(told(s, e), 0);
    s->wall_ms -= 5000;
    look_at(s, 0, 0);
    look_at(s, 0, 0);
    assert_int_equal(told(s, e), 1);
    assert_int_equal(e[0].kind, EVENT_clock);
    assert_int_equal(e[0].a, -5000);
    free(s);
}

static void thread_that_ends_or_begins_waits_for_nothing(void **state) {
    (void)state;
    struct story *s = story_begin();
    struct event e[16];
    s->samples[0].known = false;
    look_at(s, 0, 0);
    s->samples[0] = (struct delay_sample){true, 0, 900 * MS}; /* before we knew it */
    look_at(s, 0, 0);
    look_at(s, 0, 0);
    assert_int_equal(told(s, e), 0);
    free(s);
}

/* ---- history ---- */
static const char *member(const struct buf *b, const char *name) {
    char room[80];
    snprintf(room, sizeof room, "\"%s\":", name);
    const char *p = memmem(b->p, b->n, room, strlen(room));
    assert_non_null(p);
    return p + strlen(room);
}

/* A column's numbers, differences added up, as many as there are points. */
static size_t column(const struct buf *b, const char *name, size_t points, int64_t *out) {
    const char *p = member(b, name);
    int64_t sum = 0;
    size_t n = 0;
    assert_int_equal(*p++, '[');
    while (*p != ']') {
        char *end;
        sum += strtoll(p, &end, 10);
        assert_true(n < points);
        out[n++] = sum;
        p = *end == ',' ? end + 1 : end;
    }
    size_t said = n;
    while (n < points) out[n++] = sum;
    return said;
}

static void hour_comes_back_whole(void **state) {
    (void)state;
    struct past h;
    past_init(&h, 2);
    strcpy(h.names[0], "a");
    strcpy(h.names[1], "b");
    int64_t got[WATCH_POINTS];
    for (uint64_t i = 1; i <= 4000; i++)
        past_add(&h, (int64_t)i * 1000, (uint64_t[]){i * i % 977, i < 3990 ? 7 : 9});
    struct buf b = {0};
    past_json(&h, 0, &b);
    buf_char(&b, 0);
    assert_int_equal(atoi(member(&b, "first")), 401);
    assert_int_equal(atoi(member(&b, "count")), WATCH_POINTS);
    column(&b, "a", WATCH_POINTS, got);
    for (int64_t i = 0; i < WATCH_POINTS; i++)
        assert_int_equal(got[i], (i + 401) * (i + 401) % 977);
    assert_int_equal(column(&b, "b", WATCH_POINTS, got), 3590); /* the rest has not moved */
    assert_int_equal(got[0], 7);
    assert_int_equal(got[WATCH_POINTS - 1], 9);
    column(&b, "at", WATCH_POINTS, got);
    assert_int_equal(got[WATCH_POINTS - 1], 4000000);
    buf_done(&b);
    past_done(&h);
}

static void since_gives_what_is_newer(void **state) {
    (void)state;
    struct past h;
    struct buf b = {0};
    int64_t got[8];
    past_init(&h, 1);
    strcpy(h.names[0], "a");
    past_json(&h, 0, &b); /* nothing yet */
    assert_int_equal(atoi(member(&b, "count")), 0);
    for (uint64_t i = 1; i <= 10; i++)
        past_add(&h, (int64_t)i, (uint64_t[]){i == 10 ? 1ull << 40 : i});
    buf_reset(&b);
    past_json(&h, 8, &b);
    buf_char(&b, 0);
    assert_int_equal(atoi(member(&b, "first")), 9);
    assert_int_equal(atoi(member(&b, "count")), 2);
    column(&b, "a", 2, got);
    assert_int_equal(got[0], 9);
    assert_int_equal(got[1], UINT32_MAX); /* as high as it goes */
    buf_reset(&b);
    past_json(&h, 10, &b);
    assert_int_equal(atoi(member(&b, "count")), 0);
    buf_reset(&b);
    past_json(&h, 5000, &b); /* of a server before this one */
    assert_int_equal(atoi(member(&b, "count")), 10);
    buf_done(&b);
    past_done(&h);
}

/* A busy server's hour: rates and times that move by a tenth from second to second. */
static void hour_weighs_below_a_megabyte(void **state) {
    (void)state;
    enum { COLUMNS = 84, BUSY = 55 };
    struct past h;
    struct buf b = {0};
    uint64_t values[COLUMNS] = {0};
    past_init(&h, COLUMNS);
    srandom(1);
    for (int c = 0; c < COLUMNS; c++) snprintf(h.names[c], COLUMN_NAME_MAX, "column_%d_per_s", c);
    for (int i = 0; i < WATCH_POINTS; i++) {
        for (int c = 0; c < BUSY; c++) {
            uint64_t usual = c < 25 ? 300 : c < 50 ? 4000 : 60000; /* us, messages, KiB */
            values[c] = usual * (90 + (uint64_t)random() % 21) / 100;
        }
        past_add(&h, 1790000000000 + i * 1000, values);
    }
    struct timespec before, after;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &before);
    past_json(&h, 0, &b);
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &after);
    printf("an hour: %zu bytes, made in %lld us\n", b.n,
        (long long)((after.tv_sec - before.tv_sec) * 1000000 +
                    (after.tv_nsec - before.tv_nsec) / 1000));
    assert_true(b.n < 1000000);
    buf_done(&b);
    past_done(&h);
}

/* ---- what came to histograms ---- */
struct
    twice { /* histograms of three threads, and of the last second alone, as hist.c tells of it */
    struct hist threads[3], second;
    struct change change;
};

/* It is said as by a histogram of the last second, up to the bucket's end that the longest ever sets. */
static void assert_told(struct twice *t, uint64_t longest) {
    const struct hist *const OF[] = {&t->threads[0], &t->threads[1], &t->threads[2]};
    struct change_sums got;
    change_take(&t->change, OF, 3, &got);
    uint64_t n = hist_count(&t->second);
    assert_int_equal(got.n, n);
    t->second.max = longest;
    assert_int_equal(got.p50, n ? hist_percentile(&t->second, 50) : 0);
    if (n % 100 == 0) assert_int_equal(got.p99, n ? hist_percentile(&t->second, 99) : 0);
    memset(&t->second, 0, sizeof t->second);
}

static void seconds_are_told_apart(void **state) {
    (void)state;
    struct twice *t = calloc(1, sizeof *t);
    uint64_t longest = 0;
    srandom(3);
    for (int second = 0; second < 300; second++) {
        int n = second % 7 == 3 ? 0 : 100 * (1 + (int)random() % 20);
        for (int i = 0; i < n; i++) {
            uint64_t value = (uint64_t)random() % (2ull << random() % 40);
            hist_record(&t->threads[random() % 3], value);
            hist_record(&t->second, value);
            if (value > longest) longest = value;
        }
        assert_told(t, longest);
    }
    free(t);
}

static void smallest_and_largest_are_told(void **state) {
    (void)state;
    struct twice *t = calloc(1, sizeof *t);
    for (int i = 0; i < 100; i++) hist_record(&t->threads[1], 0), hist_record(&t->second, 0);
    assert_told(t, 0);
    hist_record_times(&t->threads[2], UINT64_MAX, 100);
    hist_record_times(&t->second, UINT64_MAX, 100);
    assert_told(t, UINT64_MAX);
    assert_told(t, UINT64_MAX); /* none */
    free(t);
}

/* ---- the thread ---- */
static void gauges(void *arg, uint64_t g[static WATCH_GAUGE_COUNT]) {
    (void)arg;
    g[GAUGE_connections] = 42;
    g[GAUGE_resident_kib] = 2048 * 1024;
}

static void thread_makes_points_and_takes_little(void **state) {
    (void)state;
    struct measure *m = calloc(1, sizeof *m);
    const struct measure *list[] = {m};
    _Atomic int tid = (int)gettid();
    struct watch_thread threads[] = {{"shard-0", 0, &tid, NULL}};
    struct watch_options o = {list, 1, threads, 1, gauges, NULL, false};
    struct watch *w = watch_create(&o);
    struct buf b = {0};
    struct watch_stage stages[TIMED_COUNT];
    int64_t got[8];
    int64_t began = clock_mono_ns();
    assert_int_equal(watch_start(w), OK);
    usleep(200000);
    for (int i = 0; i < 1000; i++) measure_time(m, TIMED_apply, 2000000);
    measure_add(m, COUNTER_messages_accepted, 500);
    size_t count = 0;
    for (int i = 0; i < 600 && count < 2; i++) {
        usleep(50000);
        buf_reset(&b);
        watch_history(w, 0, &b);
        buf_char(&b, 0);
        count = (size_t)atoi(member(&b, "count"));
        if (count != 1) continue;
        watch_stages(w, stages);
        /* 1,000 in a good second, or in as much more as the machine was busy */
        assert_in_range(
            stages[TIMED_apply].per_s, 1000 * MS * 900 / (clock_mono_ns() - began), 1010);
        assert_true(stages[TIMED_apply].p99_ns >= 2000000);
        assert_true(stages[TIMED_apply].p99_ns < 2100000);
    }
    assert_int_equal(count, 2);
    column(&b, "apply_p50_us", 2, got);
    assert_in_range(got[0], 2000, 2100);
    assert_int_equal(got[1], 0); /* none since */
    column(&b, "messages_accepted_per_s", 2, got);
    assert_in_range(got[0], 1000 * MS * 450 / (clock_mono_ns() - began), 505);
    column(&b, "connections", 2, got);
    assert_int_equal(got[1], 42);
    column(&b, "resident_kib", 2, got);
    assert_int_equal(got[1], 2048);
    uint64_t used = watch_cpu_ns(w);
    assert_true(used > 0);
    printf("watching two threads for 2 s took %llu us\n", (unsigned long long)used / 1000);
    watch_free(&w);
    buf_done(&b);
    free(m);
}

/* A kernel without schedstat: who is in one turn for long and uses no CPU had no core. */
static void turns_stand_in_for_schedstat(void **state) {
    (void)state;
    struct measure *m = calloc(1, sizeof *m);
    const struct measure *list[] = {m};
    _Atomic int tid = (int)gettid();
    _Atomic uint32_t turns = 2; /* it waits for something to do */
    struct watch_thread threads[] = {{"shard-0", 7, &tid, &turns}};
    struct watch_options o = {list, 1, threads, 1, gauges, NULL, true};
    struct watch *w = watch_create(&o);
    struct event e[16];
    assert_int_equal(watch_start(w), OK);
    usleep(150000);
    assert_int_equal(events_read(watch_events(w), 0, INT64_MAX, e, 16), 0);
    int64_t began = clock_mono_ns();
    turns = 3;
    usleep(200000);
    turns = 4;
    int64_t took = clock_mono_ns() - began;
    usleep(100000);
    size_t n = events_read(watch_events(w), 0, INT64_MAX, e, 16);
    int64_t waited = 0;
    for (size_t i = 0; i < n; i++)
        if (e[i].kind == EVENT_run_delay && e[i].thread == 7) waited += e[i].a;
    assert_in_range(waited, 120 * MS, took + 200 * MS);
    assert_true(watch_cpu_ns(w) > 0);
    watch_free(&w);
    free(m);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(delays_are_told_as_one),
        cmocka_unit_test(long_delay_comes_in_pieces), cmocka_unit_test(long_wait_began_before),
        cmocka_unit_test(stop_is_a_stop), cmocka_unit_test(crowded_core_is_no_stop),
        cmocka_unit_test(clock_jumps_are_told),
        cmocka_unit_test(thread_that_ends_or_begins_waits_for_nothing),
        cmocka_unit_test(hour_comes_back_whole), cmocka_unit_test(since_gives_what_is_newer),
        cmocka_unit_test(hour_weighs_below_a_megabyte), cmocka_unit_test(seconds_are_told_apart),
        cmocka_unit_test(smallest_and_largest_are_told),
        cmocka_unit_test(thread_makes_points_and_takes_little),
        cmocka_unit_test(turns_stand_in_for_schedstat)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
