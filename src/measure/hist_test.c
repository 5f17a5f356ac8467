/* measure: tests of the histogram against sorted values. SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "measure/measure.h"

/* Every bucket begins right after the one before ends, and holds what is in it. */
static void buckets_join_without_gaps(void **state) {
    (void)state;
    assert_int_equal(hist_bucket(0), 0);
    assert_int_equal(hist_bucket(UINT64_MAX), HIST_BUCKETS - 1);
    assert_true(hist_bucket_top(HIST_BUCKETS - 1) == UINT64_MAX);
    for (unsigned i = 0; i + 1 < HIST_BUCKETS; i++) {
        uint64_t top = hist_bucket_top(i);
        assert_int_equal(hist_bucket(top), i);
        assert_int_equal(hist_bucket(top + 1), i + 1);
        assert_true(hist_bucket_top(i + 1) > top);
    }
    for (unsigned k = HIST_SUB_BITS; k < 64; k++)
        assert_true(hist_bucket_top(hist_bucket(1ull << k)) == 1ull << k);
}

static int ascending(const void *a, const void *b) {
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

/* Values of all sizes in several histograms, merged; asked at many percentiles. */
static void percentiles_are_those_of_sorted_values(void **state) {
    (void)state;
    enum { N = 5000 };
    static struct hist part[3], all;
    static uint64_t v[N];
    static const double ASK[] = {0, 0.01, 1, 10, 25, 50, 75, 90, 99, 99.9, 99.99, 100};
    struct rng r = {1};
    for (int round = 0; round < 40; round++) {
        memset(part, 0, sizeof part);
        memset(&all, 0, sizeof all);
        uint64_t sum = 0, got_sum;
        size_t n = 1 + (size_t)rng_below(&r, N);
        for (size_t i = 0; i < n; i++) {
            v[i] = rng_next(&r) >> (20 + rng_below(&r, 44)); /* to 4.9 hours */
            sum += v[i];
            hist_record(&part[rng_below(&r, 3)], v[i]);
        }
        for (int i = 0; i < 3; i++) hist_merge(&all, &part[i]);
        qsort(v, n, sizeof *v, ascending);
        assert_true(hist_count(&all) == n && all.max == v[n - 1]);
        got_sum = hist_sum(&all);
        assert_true(got_sum >= sum - sum / 64 && got_sum <= sum + sum / 64);
        for (size_t i = 0; i < sizeof ASK / sizeof *ASK; i++) {
            double exact = (double)n * ASK[i] / 100;
            size_t rank = (size_t)exact;
            if ((double)rank < exact || rank == 0) rank++;
            uint64_t want = v[rank - 1], got = hist_percentile(&all, ASK[i]);
            assert_true(got >= want && got <= want + want / 32 + 1);
        }
        assert_true(hist_percentile(&all, 100) == v[n - 1]);
    }
}

static void nothing_and_the_ends_are_answered(void **state) {
    (void)state;
    static struct hist h;
    assert_true(hist_percentile(&h, 50) == 0 && hist_count(&h) == 0);
    hist_record(&h, 0);
    assert_true(hist_percentile(&h, 50) == 0 && hist_count(&h) == 1 && h.max == 0);
    hist_record(&h, UINT64_MAX);
    assert_true(hist_percentile(&h, 100) == UINT64_MAX && hist_percentile(&h, 200) == UINT64_MAX &&
                hist_percentile(&h, -1) == hist_percentile(&h, 0));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(buckets_join_without_gaps),
        cmocka_unit_test(percentiles_are_those_of_sorted_values),
        cmocka_unit_test(nothing_and_the_ends_are_answered),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
