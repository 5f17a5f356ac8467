/* measure: tests of the ring of events, alone and while it is written, and of locks that are waited
 * for. SPDX-License-Identifier: Apache-2.0 */
#include "measure/event.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

/* All fields follow from the number, so that a torn copy shows; one kind of three has names. */
static struct event event_of(uint64_t n) {
    struct event e = {.kind = n % 3   ? EVENT_turn
                              : n % 2 ? EVENT_reader
                                      : EVENT_queue,
        .thread = (uint32_t)(n * 3),
        .start_ns = (int64_t)n * 10,
        .duration_ns = 5,
        .a = (int64_t)n * 7,
        .b = -(int64_t)n};
    char name[EVENT_NAME_MAX + 1];
    memset(name, 'a' + (int)(n % 26), sizeof name - 1);
    for (unsigned i = 0; i < EVENT_NAMES && n % 3 == 0; i++)
        event_name_set(&e, i, bytes_of(name, n % (EVENT_NAME_MAX + 1)));
    return e;
}
static bool event_is(const struct event *e, uint64_t n) {
    struct event want = event_of(n);
    bool same = memcmp(e, &want, offsetof(struct event, names)) == 0;
    for (unsigned i = 0; i < EVENT_NAMES; i++)
        same = same && strcmp(e->names[i], want.names[i]) == 0;
    return same;
}

static void ring_keeps_the_last(void **state) {
    (void)state;
    struct events *ring = must_alloc(sizeof *ring);
    struct event *out = must_alloc(EVENTS_KEPT * sizeof *out);
    assert_int_equal(events_read(ring, 0, INT64_MAX, out, EVENTS_KEPT), 0);
    uint64_t last = 3 * EVENTS_KEPT + 6;
    for (uint64_t n = 0; n <= last; n++) {
        struct event e = event_of(n);
        event_add(ring, &e);
    }
    assert_int_equal(events_read(ring, 0, INT64_MAX, out, EVENTS_KEPT), EVENTS_KEPT);
    for (uint64_t i = 0; i < EVENTS_KEPT; i++)
        assert_true(event_is(&out[i], last + 1 - EVENTS_KEPT + i));
    assert_int_equal(events_read(ring, 0, INT64_MAX, out, 2), 2);
    assert_true(event_is(&out[0], last - 1) && event_is(&out[1], last));
    free(out);
    free(ring);
}

/* What touches the time that is asked for, ends included. */
static void time_is_a_filter(void **state) {
    (void)state;
    struct events *ring = must_alloc(sizeof *ring);
    struct event out[10];
    for (uint64_t n = 0; n < 10; n++) {
        struct event e = event_of(n); /* [10 n, 10 n + 5] */
        event_add(ring, &e);
    }
    assert_int_equal(events_read(ring, 25, 30, out, 10), 2);
    assert_true(event_is(&out[0], 2) && event_is(&out[1], 3));
    assert_int_equal(events_read(ring, 26, 29, out, 10), 0);
    free(ring);
}

/* A ring is read back until many in a row ended long before: one that was written late hides none. */
static void one_told_late_hides_none(void **state) {
    (void)state;
    enum { SECOND = 1000000000, OLD = 100, NEW = 40 };
    struct events *ring = must_alloc(sizeof *ring);
    struct event out[NEW + 1];
    for (int i = 0; i < OLD; i++) event_add(ring, &(struct event){.start_ns = i, .duration_ns = 5});
    for (int i = 0; i < NEW; i++) {
        event_add(ring, &(struct event){.start_ns = 60ll * SECOND + i, .duration_ns = 5});
        event_add(ring, &(struct event){.start_ns = 10ll * SECOND + i, .duration_ns = 5});
    }
    assert_int_equal(events_read(ring, 60ll * SECOND, INT64_MAX, out, NEW + 1), NEW);
    assert_true(out[0].start_ns == 60ll * SECOND);
    free(ring);
}

static void names_are_cut(void **state) {
    (void)state;
    struct event e = {0};
    char longer[200];
    memset(longer, 'x', sizeof longer);
    event_name_set(&e, 2, bytes_of(longer, sizeof longer));
    assert_int_equal(strlen(e.names[2]), EVENT_NAME_MAX);
    event_name_set(&e, 2, (struct bytes){0});
    assert_string_equal(e.names[2], "");
}

enum { WRITTEN = 200000 };
static void *writer(void *arg) {
    for (uint64_t n = 0; n < WRITTEN; n++) {
        struct event e = event_of(n);
        event_add(arg, &e);
    }
    return NULL;
}

static void readers_get_whole_events(void **state) {
    (void)state;
    struct events *ring = must_alloc(sizeof *ring);
    struct event *out = must_alloc(EVENTS_KEPT * sizeof *out);
    pthread_t t;
    assert_int_equal(pthread_create(&t, NULL, writer, ring), 0);
    uint64_t seen = 0;
    while (seen < WRITTEN) {
        size_t n = events_read(ring, 0, INT64_MAX, out, EVENTS_KEPT);
        for (size_t i = 0; i < n; i++) {
            uint64_t number = (uint64_t)out[i].start_ns / 10;
            assert_true(event_is(&out[i], number));
            if (i) assert_int_equal(out[i].start_ns, out[i - 1].start_ns + 10);
        }
        if (n) seen = (uint64_t)out[n - 1].start_ns / 10 + 1;
    }
    pthread_join(t, NULL);
    free(out);
    free(ring);
}

struct held {
    pthread_mutex_t lock;
    _Atomic bool is;
};

static void *holder(void *arg) {
    struct held *h = arg;
    pthread_mutex_lock(&h->lock);
    h->is = true;
    usleep(30000);
    pthread_mutex_unlock(&h->lock);
    return NULL;
}

static void a_lock_waited_for_is_an_event(void **state) {
    (void)state;
    static struct held m = {.lock = PTHREAD_MUTEX_INITIALIZER};
    struct events *ring = must_alloc(sizeof *ring);
    struct event e;
    pthread_t t;
    events_here(ring, 7);
    locked(&m.lock, LOCK_ADMIT);
    pthread_mutex_unlock(&m.lock);
    assert_int_equal(ring->count, 0); /* free: no event */
    while (!ring->count) {            /* on a busy machine it is free again before we ask */
        m.is = false;
        assert_int_equal(pthread_create(&t, NULL, holder, &m), 0);
        while (!m.is) usleep(100);
        locked(&m.lock, LOCK_LOG);
        pthread_mutex_unlock(&m.lock);
        pthread_join(t, NULL);
    }
    assert_int_equal(events_read(ring, 0, INT64_MAX, &e, 1), 1);
    assert_true(e.kind == EVENT_lock && e.thread == 7 && e.a == LOCK_LOG);
    assert_true(e.duration_ns > 0);
    events_here(NULL, 0);
    free(ring);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(ring_keeps_the_last),
        cmocka_unit_test(time_is_a_filter), cmocka_unit_test(one_told_late_hides_none),
        cmocka_unit_test(names_are_cut), cmocka_unit_test(readers_get_whole_events),
        cmocka_unit_test(a_lock_waited_for_is_an_event)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
