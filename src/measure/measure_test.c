/* measure: tests of the text: the figures are the sum of the shards, and the forms are
 * OpenMetrics 1.0 and the one before it. SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "measure/measure.h"

enum { SHARDS = 3 };
struct fixture {
    struct measure *m[SHARDS];
    struct journeys *j[SHARDS];
    struct buf text;
};

static int fixture_init(void **state) {
    struct fixture *f = must_alloc(sizeof *f);
    for (int i = 0; i < SHARDS; i++) f->m[i] = must_alloc(sizeof *f->m[i]);
    *state = f;
    return 0;
}
static int fixture_done(void **state) {
    struct fixture *f = *state;
    for (int i = 0; i < SHARDS; i++) free(f->m[i]);
    buf_done(&f->text);
    free(f);
    return 0;
}
static void render_as(struct fixture *f, bool open) {
    static const char *const NAMES[SHARDS] = {"0", "1", "2"};
    struct metrics t = {.out = &f->text, .open = open};
    struct metrics_of of[SHARDS];
    for (int i = 0; i < SHARDS; i++) of[i] = (struct metrics_of){NAMES[i], f->m[i], f->j[i]};
    buf_reset(&f->text);
    metrics_measures(&t, of, SHARDS);
    buf_char(&f->text, 0);
}
static void render(struct fixture *f) { render_as(f, true); }
static bool says(struct fixture *f, const char *line) {
    size_t n = strlen(line);
    for (const char *p = (const char *)f->text.p; p; p = strchr(p, '\n'), p += p != NULL)
        if (strncmp(p, line, n) == 0 && p[n] == '\n') return true;
    return false;
}

static void counters_are_summed(void **state) {
    struct fixture *f = *state;
    for (unsigned i = 0; i < SHARDS; i++) {
        measure_add(f->m[i], COUNTER_http_requests, 10u + i);
        measure_add(f->m[i], COUNTER_bytes_in, 1ull << 62);
        measure_add(f->m[i], COUNTER_notify_triggers, 1);
        measure_add(f->m[i], COUNTER_notify_opted_out, 2);
    }
    render(f);
    assert_true(says(f, "kith_notify_triggers_total 3"));
    assert_true(says(f, "# TYPE kith_notify_decisions counter"));
    assert_true(says(f, "kith_notify_decisions_total{outcome=\"opted_out\"} 6"));
    assert_false(says(f, "kith_notify_opted_out_total 6"));
    assert_true(says(f, "# TYPE kith_http_requests counter"));
    assert_true(says(f, "# HELP kith_http_requests HTTP requests answered."));
    assert_true(says(f, "kith_http_requests_total 33"));
    assert_true(says(f, "kith_bytes_in_total 13835058055282163712"));
    assert_true(says(f, "kith_limit_request_size_total 0"));
}

/* The older form has a counter's `_total` in its TYPE and HELP. */
static void counters_have_their_older_form(void **state) {
    struct fixture *f = *state;
    measure_add(f->m[1], COUNTER_http_requests, 10);
    render_as(f, false);
    assert_true(says(f, "# TYPE kith_http_requests_total counter"));
    assert_true(says(f, "# HELP kith_http_requests_total HTTP requests answered."));
    assert_true(says(f, "kith_http_requests_total 10"));
    assert_null(strstr((const char *)f->text.p, "# UNIT"));
}

static void stages_are_cumulative(void **state) {
    struct fixture *f = *state;
    measure_time(f->m[1], TIMED_durable, 65536); /* on a bound: belongs to it */
    measure_time(f->m[1], TIMED_durable, 65537); /* just past it */
    measure_time(f->m[1], TIMED_durable, 450000);
    measure_time(f->m[1], TIMED_durable, 3600000000000); /* an hour, past the last bound */
    render(f);
#define LINE(kind, rest) says(f, "kith_stage_seconds_" kind "{stage=\"durable\",shard=\"1\"" rest)
    assert_true(says(f, "# TYPE kith_stage_seconds histogram") &&
                says(f, "# UNIT kith_stage_seconds seconds"));
    assert_true(LINE("bucket", ",le=\"0.000065536\"} 1"));
    assert_true(LINE("bucket", ",le=\"0.000131072\"} 2"));
    assert_true(LINE("bucket", ",le=\"0.000262144\"} 2"));
    assert_true(LINE("bucket", ",le=\"0.000524288\"} 3"));
    assert_true(LINE("bucket", ",le=\"17.179869184\"} 3"));
    assert_true(LINE("bucket", ",le=\"+Inf\"} 4"));
    assert_true(LINE("count", "} 4"));
    double sum = atof(strstr((const char *)f->text.p, "_sum{stage=\"durable\",shard=\"1\"} ") + 31);
    assert_true(sum > 3600 * 63 / 64 && sum < 3600 * 65 / 64);
#undef LINE
    assert_null(strstr((const char *)f->text.p, "shard=\"0\"")); /* never timed */
}

/* Random times: each bucket line says exactly how many values do not exceed its bound. */
static void bucket_lines_count_exactly(void **state) {
    struct fixture *f = *state;
    enum { N = 4000 };
    static uint64_t v[N];
    struct rng r = {2};
    for (int i = 0; i < N; i++) {
        v[i] = rng_next(&r) >> (24 + rng_below(&r, 40));
        if (rng_below(&r, 4) == 0) v[i] = (1ull << rng_below(&r, 40)) + rng_below(&r, 2);
        measure_time(f->m[2], TIMED_apply, v[i]);
    }
    render(f);
    static const int POWERS[] = {
        14, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 30, 32, 34};
    for (size_t k = 0; k < sizeof POWERS / sizeof *POWERS; k++) {
        uint64_t want = 0, bound = 1ull << POWERS[k];
        for (int i = 0; i < N; i++) want += v[i] <= bound;
        char line[120];
        snprintf(line, sizeof line,
            "kith_stage_seconds_bucket{stage=\"apply\",shard=\"2\",le=\"%llu.%09llu\"} %llu",
            (unsigned long long)(bound / 1000000000), (unsigned long long)(bound % 1000000000),
            (unsigned long long)want);
        assert_true(says(f, line));
    }
}

/* Each sample follows the TYPE of its family and families are not interleaved; no name comes twice;
 * no line is empty; there are as many as was said. */
static void form_is_right(struct fixture *f, bool open) {
    for (int i = 0; i < SHARDS; i++)
        for (int s = 0; s < TIMED_COUNT; s++) measure_time(f->m[i], (enum measure_stage)s, 1);
    render_as(f, open);
    char family[80] = "", seen[100][80];
    size_t families = 0, samples = 0;
    for (char *line = strtok((char *)f->text.p, "\n"); line; line = strtok(NULL, "\n")) {
        if (sscanf(line, "# HELP %79s", family) == 1) {
            for (size_t i = 0; i < families; i++) assert_string_not_equal(seen[i], family);
            assert_true(families < 100);
            memcpy(seen[families++], family, sizeof family);
        }
        samples += line[0] != '#';
        const char *name = strncmp(line, "# ", 2) == 0 ? line + 7 : line;
        assert_int_equal(strncmp(name, family, strlen(family)), 0);
        assert_non_null(strchr(" _{", name[strlen(family)]));
    }
    size_t decisions = 0; /* one family */
    for (unsigned c = 0; c < COUNTER_COUNT; c++)
        decisions += strncmp(measure_name((enum measure_counter)c), "notify_", 7) == 0;
    decisions--;
    assert_int_equal(families, COUNTER_COUNT - decisions + 2);
    assert_int_equal(samples, COUNTER_COUNT + TIMED_COUNT * METRICS_SERIES * SHARDS);
}
static void form_is_openmetrics(void **state) { form_is_right(*state, true); }
static void form_is_the_older_one(void **state) { form_is_right(*state, false); }

static void events_are_counted_by_kind(void **state) {
    struct fixture *f = *state;
    struct event e = {.kind = EVENT_commit};
    const struct events *rings[SHARDS];
    struct metrics t = {.out = &f->text};
    for (int i = 0; i < SHARDS; i++) event_add(&f->m[i]->events, &e), rings[i] = &f->m[i]->events;
    metrics_events(&t, rings, SHARDS);
    buf_char(&f->text, 0);
    assert_true(says(f, "kith_events_total{kind=\"commit\"} 3"));
    assert_true(says(f, "kith_events_total{kind=\"clock\"} 0"));
}

static int64_t now_ns;
static int64_t now(void) { return now_ns; }
static const struct ticker CLOCK = {.real = now}; /* without a scale it asks that */

/* A bucket has a journey that is in it as its exemplar, the newest; the older form has none. */
static void buckets_have_exemplars(void **state) {
    struct fixture *f = *state;
    const struct journey_about about = {BYTES("demo"), BYTES("ann-bob"), BYTES("m1"), {0}};
    struct journey kept;
    char trace[33], line[200];
    now_ns = 1000000000;
    f->j[1] = journeys_create(1, f->m[1], &CLOCK);
    for (uint64_t position = 1; position <= 3; position++) {
        journeys_clock(f->j[1], now_ns);
        journey_appended(f->j[1], 5, position, now_ns - 40000);
        now_ns += 300000;
        journeys_clock(f->j[1], now_ns);
        journey_applied(f->j[1], &(struct journey_record){5, 43, position, now_ns, 17}, &about);
        journeys_turn_end(f->j[1], now_ns);
    }
    assert_int_equal(journeys_find(f->j[1], BYTES("demo"), BYTES("m1"), &kept, 1), 1);
    journey_trace_id(&kept, trace);
    assert_int_equal(strlen(trace), 32);
    render(f);
    snprintf(line, sizeof line,
        "kith_stage_seconds_bucket{stage=\"durable\",shard=\"1\",le=\"0.000524288\"} 3 # "
        "{trace_id=\"%s\"} 0.000300000 1.000900000",
        trace);
    assert_true(says(f, line));
    assert_true(
        says(f, "kith_stage_seconds_bucket{stage=\"durable\",shard=\"1\",le=\"0.001048576\"} 3"));
    assert_null(strstr((const char *)f->text.p, "demo"));
    render_as(f, false);
    assert_null(strstr((const char *)f->text.p, " # "));
    journeys_free(&f->j[1]);
}

/* An item's record and relays are one trace, another item's another. */
static void an_item_is_a_trace(void **state) {
    (void)state;
    struct journey a = {.began_ns = 1, .app = "demo", .conversation = "c", .item = "m1"}, b = a;
    char x[33], y[33];
    b.source = 4;
    b.began_ns = 2;
    journey_trace_id(&a, x);
    journey_trace_id(&b, y);
    assert_string_equal(x, y);
    b.item[1] = '2';
    journey_trace_id(&b, y);
    assert_string_not_equal(x, y);
    a.item[0] = b.item[0] = 0;
    journey_trace_id(&a, x);
    journey_trace_id(&b, y);
    assert_string_not_equal(x, y);
}

static void families_have_their_form(void **state) {
    struct fixture *f = *state;
    struct metrics t = {.out = &f->text, .open = true};
    metrics_gauge(&t, "kith_connections", "Connections open now", 7);
    metrics_family(&t, METRIC_GAUGE, "kith_memory_bytes", "Memory by owner");
    metrics_value(&t, "owner=\"state\"", 8);
    metrics_family(&t, METRIC_INFO, "kith_build", "The program");
    metrics_value(&t, "version=\"1\"", 1);
    metrics_family(&t, METRIC_COUNTER, "process_cpu_seconds", "Time");
    metrics_ns(&t, NULL, 1050000000);
    metrics_end(&t);
    assert_true(bytes_is(buf_view(&f->text),
        "# HELP kith_connections Connections open now.\n# TYPE kith_connections gauge\n"
        "kith_connections 7\n# HELP kith_memory_bytes Memory by owner.\n"
        "# TYPE kith_memory_bytes gauge\n# UNIT kith_memory_bytes bytes\n"
        "kith_memory_bytes{owner=\"state\"} 8\n# HELP kith_build The program.\n"
        "# TYPE kith_build info\nkith_build_info{version=\"1\"} 1\n"
        "# HELP process_cpu_seconds Time.\n# TYPE process_cpu_seconds counter\n"
        "# UNIT process_cpu_seconds seconds\nprocess_cpu_seconds_total 1.050000000\n# EOF\n"));
    buf_reset(&f->text);
    t.open = false;
    metrics_family(&t, METRIC_INFO, "kith_build", "The program");
    metrics_value(&t, "version=\"1\"", 1);
    assert_true(bytes_is(buf_view(&f->text),
        "# HELP kith_build_info The program.\n# TYPE kith_build_info gauge\n"
        "kith_build_info{version=\"1\"} 1\n"));
}

int main(void) {
#define T(t) cmocka_unit_test_setup_teardown(t, fixture_init, fixture_done)
    const struct CMUnitTest tests[] = {
        T(counters_are_summed),
        T(counters_have_their_older_form),
        T(stages_are_cumulative),
        T(bucket_lines_count_exactly),
        T(form_is_openmetrics),
        T(form_is_the_older_one),
        T(families_have_their_form),
        T(events_are_counted_by_kind),
        T(buckets_have_exemplars),
        T(an_item_is_a_trace),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
