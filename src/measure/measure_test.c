/* measure: tests of the text: the figures are the sum of the shards, and the form is OpenMetrics
 * 1.0. SPDX-License-Identifier: Apache-2.0 */
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
static void render(struct fixture *f) {
    buf_reset(&f->text);
    measure_text((const struct measure *const *)f->m, SHARDS, &f->text);
    buf_char(&f->text, 0);
}
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
    }
    render(f);
    assert_true(says(f, "# TYPE kith_http_requests counter"));
    assert_true(says(f, "# HELP kith_http_requests HTTP requests answered."));
    assert_true(says(f, "kith_http_requests_total 33"));
    assert_true(says(f, "kith_bytes_in_total 13835058055282163712"));
    assert_true(says(f, "kith_limit_request_size_total 0"));
}

static void stages_are_summed_and_cumulative(void **state) {
    struct fixture *f = *state;
    measure_time(f->m[0], TIMED_durable, 1024); /* on a bound: belongs to it */
    measure_time(f->m[1], TIMED_durable, 1025); /* just past it */
    measure_time(f->m[1], TIMED_durable, 450000);
    measure_time(f->m[2], TIMED_durable, 3600000000000); /* an hour, past the last bound */
    render(f);
    assert_true(says(f, "# TYPE kith_stage_seconds histogram") &&
                says(f, "# UNIT kith_stage_seconds seconds"));
    assert_true(says(f, "kith_stage_seconds_bucket{stage=\"durable\",le=\"0.000001024\"} 1"));
    assert_true(says(f, "kith_stage_seconds_bucket{stage=\"durable\",le=\"0.000002048\"} 2"));
    assert_true(says(f, "kith_stage_seconds_bucket{stage=\"durable\",le=\"0.000262144\"} 2"));
    assert_true(says(f, "kith_stage_seconds_bucket{stage=\"durable\",le=\"0.000524288\"} 3"));
    assert_true(says(f, "kith_stage_seconds_bucket{stage=\"durable\",le=\"17.179869184\"} 3"));
    assert_true(says(f, "kith_stage_seconds_bucket{stage=\"durable\",le=\"+Inf\"} 4"));
    assert_true(says(f, "kith_stage_seconds_count{stage=\"durable\"} 4"));
    assert_true(says(f, "kith_stage_seconds_sum{stage=\"durable\"} 3600.000452049"));
    assert_null(strstr((const char *)f->text.p, "stage=\"parse\"")); /* never timed */
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
        measure_time(f->m[rng_below(&r, SHARDS)], TIMED_apply, v[i]);
    }
    render(f);
    for (unsigned k = 10; k <= 34; k++) {
        uint64_t want = 0, bound = 1ull << k;
        for (int i = 0; i < N; i++) want += v[i] <= bound;
        char line[120];
        snprintf(line, sizeof line,
            "kith_stage_seconds_bucket{stage=\"apply\",le=\"%llu.%09llu\"} %llu",
            (unsigned long long)(bound / 1000000000), (unsigned long long)(bound % 1000000000),
            (unsigned long long)want);
        assert_true(says(f, line));
    }
}

/* Each sample follows the TYPE of its family and families are not interleaved; no name comes twice;
 * no line is empty. */
static void form_is_openmetrics(void **state) {
    struct fixture *f = *state;
    for (int s = 0; s < TIMED_COUNT; s++) measure_time(f->m[0], (enum measure_stage)s, 1);
    render(f);
    char family[80] = "", seen[100][80];
    size_t families = 0, lines = 0;
    for (char *line = strtok((char *)f->text.p, "\n"); line; line = strtok(NULL, "\n"), lines++) {
        if (sscanf(line, "# TYPE %79s", family) == 1) {
            for (size_t i = 0; i < families; i++) assert_string_not_equal(seen[i], family);
            assert_true(families < 100);
            memcpy(seen[families++], family, sizeof family);
        }
        const char *name = strncmp(line, "# ", 2) == 0 ? line + 7 : line;
        assert_int_equal(strncmp(name, family, strlen(family)), 0);
        assert_true(name[strlen(family)] == ' ' || name[strlen(family)] == '_');
    }
    assert_int_equal(families, COUNTER_COUNT + 1);
    /* bounded: 26 buckets, count and sum for a stage */
    assert_int_equal(lines, COUNTER_COUNT * 3 + 3 + TIMED_COUNT * 28);
}

static void gauges_have_their_form(void **state) {
    struct fixture *f = *state;
    measure_gauge(&f->text, "connections", "Connections open now", 7);
    assert_true(
        bytes_is(buf_view(&f->text), "# TYPE kith_connections gauge\n# HELP kith_connections "
                                     "Connections open now.\nkith_connections 7\n"));
}

int main(void) {
#define T(t) cmocka_unit_test_setup_teardown(t, fixture_init, fixture_done)
    const struct CMUnitTest tests[] = {
        T(counters_are_summed),
        T(stages_are_summed_and_cumulative),
        T(bucket_lines_count_exactly),
        T(form_is_openmetrics),
        T(gauges_have_their_form),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
