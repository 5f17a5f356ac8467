/* export: tests of what is sent: URLs, spans of journeys with hostile names, the bound on what waits.
 * SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "export/export_in.h"
#include "wire/wire.h"

static const struct spans_about ABOUT = {"1.2.3", "here:8080", 1000000000000};

static void urls_are_taken_apart(void **state) {
    (void)state;
    static const struct {
        const char *url, *address, *path; /* address NULL: refused */
    } CASES[] = {{"http://127.0.0.1:4318/v1/traces", "127.0.0.1:4318", "/v1/traces"},
        {"http://collector/v1/traces", "collector:4318", "/v1/traces"},
        {"HTTP://collector:80", "collector:80", "/v1/traces"},
        {"http://[::1]:4318/x/y?z=1", "[::1]:4318", "/x/y?z=1"},
        {"http://[::1]/", "[::1]:4318", "/v1/traces"}, {"https://collector/v1/traces", NULL, NULL},
        {"collector:4318", NULL, NULL}, {"http://", NULL, NULL}, {"http:///v1/traces", NULL, NULL},
        {"http://user:word@collector/", NULL, NULL}, {"http://a\r\nb/", NULL, NULL},
        {"http://a b/", NULL, NULL}, {"", NULL, NULL}};
    for (size_t i = 0; i < sizeof CASES / sizeof *CASES; i++) {
        struct collector c;
        struct buf why = {0};
        enum err e = collector_parse(CASES[i].url, &c, &why);
        assert_int_equal(e, CASES[i].address ? OK : MALFORMED);
        assert_true(e == OK || why.n > 10);
        if (e == OK) assert_string_equal(c.address, CASES[i].address);
        if (e == OK) assert_string_equal(c.path, CASES[i].path);
        buf_done(&why);
    }
    char *large = must_alloc(2000);
    memset(large, 'a', 1999);
    memcpy(large, "http://", 7);
    struct buf why = {0};
    assert_false(export_url_valid(large, &why));
    buf_done(&why);
    free(large);
}

static struct journey record(void) {
    return (struct journey){.what = JOURNEY_RECORD,
        .position = 7,
        .partition = 3,
        .source = UINT16_MAX,
        .began_ns = 1000,
        .came_ns = 1000,
        .appended_ns = 2000,
        .durable_ns = 3000,
        .applied_ns = 4000,
        .written_ns = 5000,
        .app = "demo",
        .conversation = "a\"b\\c\n\x01",
        .item = "\xff\xfe"};
}

static struct json in(struct json from, const char *key) {
    struct json out;
    assert_true(json_get(from, key, &out));
    return out;
}
static bool first_of(void *arg, struct bytes key, struct json v) {
    (void)key;
    *(struct json *)arg = v;
    return false;
}
static struct json first(struct json list) {
    struct json out = {0};
    json_each(list, first_of, &out);
    return out;
}

/* Whatever the names: it is JSON; and however much there is to say of one span, it is bounded. */
static void spans_are_json_and_bounded(void **state) {
    (void)state;
    enum { MANY = 200 };
    struct spans s = {0};
    struct journey j = record();
    struct journey_device *devices = must_alloc(MANY * sizeof *devices);
    struct event *events = must_alloc(MANY * sizeof *events);
    for (int i = 0; i < MANY; i++) {
        devices[i] = (struct journey_device){.written_ns = 4500, .acked_ns = 4600};
        memset(devices[i].device, '"', JOURNEY_NAME_MAX);
        events[i] = (struct event){.kind = EVENT_commit, .start_ns = 2000, .duration_ns = 500};
    }
    spans_begin(&s, &ABOUT);
    spans_add(&s, &ABOUT, &j, devices, MANY, events, MANY);
    size_t once = s.body.n;
    spans_add(&s, &ABOUT, &j, NULL, 0, NULL, 0);
    spans_end(&s);
    spans_end(&s);
    assert_int_equal(s.count, 10); /* two of a span and four stages */
    assert_in_range(once, 1000, 32000);
    struct json_reader *reader = json_reader_create();
    struct json root;
    assert_int_equal(json_parse(reader, buf_view(&s.body), &root), OK);
    struct json spans = in(first(in(first(in(root, "resourceSpans")), "scopeSpans")), "spans");
    assert_int_equal(json_count(spans), 10);
    struct json of = first(spans);
    assert_int_equal(json_count(in(of, "events")), 16 + 2 * 16);
    assert_int_equal(json_string(in(of, "traceId")).n, 32);
    assert_true(bytes_is(json_string(in(of, "startTimeUnixNano")), "1000000001000"));
    assert_true(bytes_is(json_string(in(of, "endTimeUnixNano")), "1000000005000"));
    json_reader_free(&reader);
    buf_done(&s.body);
    free(devices);
    free(events);
}

/* Small ones wait together, as long as it takes; large ones up to the bound, then the oldest go. */
static void what_waits_is_bounded(void **state) {
    (void)state;
    struct batches *b = must_alloc(sizeof *b);
    struct journey j = record();
    uint64_t dropped, all = 0, lost = 0;
    assert_null(batches_first(b));
    for (int second = 0; second < 100; second++) {
        spans_add(batches_open(b, &ABOUT, &dropped), &ABOUT, &j, NULL, 0, NULL, 0);
        assert_int_equal(dropped, 0);
    }
    assert_int_equal(b->count, 1);
    assert_true(batches_first(b)->ended); /* tried, and not taken */
    spans_add(batches_open(b, &ABOUT, &dropped), &ABOUT, &j, NULL, 0, NULL, 0);
    assert_int_equal(b->count, 2);
    while (b->count) batches_drop(b);
    for (int i = 0; i < 20000; i++) {
        struct spans *s = batches_open(b, &ABOUT, &dropped);
        lost += dropped;
        spans_add(s, &ABOUT, &j, NULL, 0, NULL, 0);
        all += 5;
    }
    assert_true(lost > 0);
    assert_int_equal(batches_spans(b) + lost, all);
    size_t bytes = 0;
    for (size_t i = 0; i < BATCHES_MOST; i++) bytes += b->ring[i].body.n;
    assert_in_range(bytes, 7 << 20, 9 << 20);
    while (b->count) batches_drop(b);
    free(b);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(urls_are_taken_apart),
        cmocka_unit_test(spans_are_json_and_bounded),
        cmocka_unit_test(what_waits_is_bounded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
