/* measure: tests of the ring of spans, alone and while it is written.
 * SPDX-License-Identifier: Apache-2.0 */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "measure/measure.h"

/* All fields follow from the number, so that a torn copy shows. */
static struct span span_of(uint64_t n) {
    return (struct span){n * 3, n * 5, n * 7, (enum measure_stage)(n % TIMED_COUNT)};
}
static bool span_is(const struct span *s, uint64_t n) {
    struct span want = span_of(n);
    return s->id == want.id && s->start_ns == want.start_ns && s->duration_ns == want.duration_ns &&
           s->stage == want.stage;
}

static void ring_keeps_the_last(void **state) {
    (void)state;
    struct measure *m = must_alloc(sizeof *m);
    struct span *out = must_alloc(SPAN_RING * sizeof *out);
    assert_int_equal(measure_spans(m, out, SPAN_RING), 0);
    for (uint64_t n = 0; n < 3 * SPAN_RING + 7; n++) {
        struct span s = span_of(n);
        measure_span(m, &s);
        if (n % 97) continue;
        uint64_t want = n + 1 < SPAN_RING ? n + 1 : SPAN_RING;
        assert_int_equal(measure_spans(m, out, SPAN_RING), want);
        for (uint64_t i = 0; i < want; i++) assert_true(span_is(&out[i], n + 1 - want + i));
    }
    assert_int_equal(measure_spans(m, out, 2), 2);
    assert_true(span_is(&out[1], 3 * SPAN_RING + 6));
    uint64_t timed = 0;
    for (int s = 0; s < TIMED_COUNT; s++) timed += hist_count(&m->stages[s]);
    assert_true(timed == 3 * SPAN_RING + 7 && m->stages[TIMED_parse].sum > 0);
    free(out);
    free(m);
}

static void text_is_a_line_a_span(void **state) {
    (void)state;
    struct measure *m = must_alloc(sizeof *m);
    struct buf b = {0};
    measure_spans_text(m, &b);
    assert_int_equal(b.n, 0);
    measure_span(m, &(struct span){0xab, 10, 20, TIMED_accept});
    measure_span(m, &(struct span){UINT64_MAX, 30, 40, TIMED_write});
    measure_spans_text(m, &b);
    assert_true(bytes_is(buf_view(&b),
        "{\"id\":\"00000000000000ab\",\"stage\":\"accept\",\"start_ns\":10,\"duration_ns\":20}\n"
        "{\"id\":\"ffffffffffffffff\",\"stage\":\"write\",\"start_ns\":30,\"duration_ns\":40}\n"));
    buf_done(&b);
    free(m);
}

struct race {
    struct measure *m;
    uint64_t written;
    bool stop;
};
static void *writer(void *arg) {
    struct race *r = arg;
    for (; !__atomic_load_n(&r->stop, __ATOMIC_RELAXED); r->written++) {
        struct span s = span_of(r->written);
        measure_span(r->m, &s);
        measure_add(r->m, COUNTER_bytes_in, 2);
    }
    return NULL;
}

/* Whatever a reader gets is whole, in order and without gaps, and never older than what it got
 * before. */
static void readers_never_see_half_a_span(void **state) {
    (void)state;
    /* both: a reader that is done before the writer began proves nothing */
    enum { READS = 3000, LAPS = 8000 };
    struct race r = {.m = must_alloc(sizeof *r.m)};
    struct span *out = must_alloc(SPAN_RING * sizeof *out);
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, writer, &r), 0);
    bool whole = true;
    uint64_t last = 0;
    for (int read = 0;
         read < READS || __atomic_load_n(&r.m->span_count, __ATOMIC_RELAXED) < LAPS * SPAN_RING;
         read++) {
        size_t n = measure_spans(r.m, out, SPAN_RING);
        for (size_t i = 0; i < n; i++)
            whole =
                whole && span_is(&out[i], out[i].id / 3) && (!i || out[i].id == out[i - 1].id + 3);
        if (!n) continue;
        whole = whole && out[n - 1].id / 3 >= last;
        last = out[n - 1].id / 3;
    }
    __atomic_store_n(&r.stop, true, __ATOMIC_RELAXED);
    pthread_join(thread, NULL); /* before any assertion: a failing one leaves at once */
    assert_true(whole);
    assert_true(r.m->counters[COUNTER_bytes_in] == 2 * r.written);
    assert_int_equal(measure_spans(r.m, out, SPAN_RING), SPAN_RING);
    assert_true(span_is(&out[SPAN_RING - 1], r.written - 1));
    free(out);
    free(r.m);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ring_keeps_the_last),
        cmocka_unit_test(text_is_a_line_a_span),
        cmocka_unit_test(readers_never_see_half_a_span),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
