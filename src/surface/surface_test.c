/* surface: problems and answers as RFC 9457 has them, what a step collects, and the parts of a
 * request that every route reads.
 * SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "surface/surface.h"

/* ---- kinds are stored: docs/format/records.md lists the ranges ---- */
static void kinds_keep_their_numbers(void **state) {
    (void)state;
    assert_true(KIND_USER_PUT == 16 && KIND_KEYS_CLAIM == 24 && KIND_CONV_PUT == 40 &&
                KIND_MESSAGE == 43 && KIND_MEMBER_ERASE == 50);
    assert_true(KIND_COPY_JOIN == 70 && KIND_COPY_MESSAGE == 73 && KIND_USER_LEAVES == 78 &&
                KIND_SESSION_OPEN == 100 && KIND_SESSION_END == 104);
}

/* ---- problems ---- */
static void every_problem_is_whole(void **state) {
    (void)state;
    for (int p = PROBLEM_NONE + 1; p <= PROBLEM_DRAINING; p++) {
        enum problem k = (enum problem)p;
        int status = problem_status(k);
        assert_true(status >= 400 && status <= 599 && problem_reason(k) >= 0x80);
        assert_true(problem_title(k)[0] && problem_code(k)[0] &&
                    !strpbrk(problem_code(k), " _/ABCDEFGHIJKLMNOPQRSTUVWXYZ"));
        /* what may pass is worth sending again */
        assert_true(problem_permanent(k) == (status < 500 && status != 429));
        for (int q = PROBLEM_NONE + 1; q < p; q++)
            assert_string_not_equal(problem_code(k), problem_code((enum problem)q));
    }
}

static void problems_are_json_whatever_is_in_them(void **state) {
    (void)state;
    struct json_reader *reader = json_reader_create();
    struct rng r = {3};
    struct buf text = {0}, out = {0};
    for (int i = 0; i < 500; i++) {
        struct answer a = {0};
        struct json v, member;
        buf_reset(&text);
        buf_reset(&out);
        while (text.n < rng_below(&r, 600))
            buf_str(&text, (const char *[]){"\xf0\x9f\x98\x80", "\"", "\\", "\n", "a",
                               "\xe2\x82\xac", "%s"}[rng_below(&r, 7)]);
        buf_char(&text, 0);
        buf_str(&a.body, "what stood there");
        answer_problem(&a, PROBLEM_INVALID_VALUE, (const char *)text.p, "%s", (const char *)text.p);
        assert_int_equal(a.body.n, 0);
        answer_problem_json(&a, &out);
        /* a cut leaves no half character */
        assert_int_equal(json_parse(reader, buf_view(&out), &v), OK);
        assert_true(json_get(v, "type", &member) &&
                    bytes_is(json_string(member), "/problems/invalid-value"));
        assert_true(json_get(v, "status", &member) && json_i64(member) == 422);
        assert_true(json_get(v, "detail", &member) &&
                    memcmp(json_string(member).p, text.p, json_string(member).n) == 0);
        assert_true(json_get(v, "field", &member) == (text.n > 1));
        buf_done(&a.body);
    }
    buf_done(&text);
    buf_done(&out);
    json_reader_free(&reader);
}

/* ---- steps ---- */
static void steps_keep_copies_of_all(void **state) {
    (void)state;
    struct arena arena = {0};
    struct step s = {.arena = &arena};
    char id[8] = "";
    for (int i = 0; i < 100; i++) {
        id[0] = (char)i;
        struct delivery d = {.kind = DELIVER_ENTRY,
            .user = bytes_of(id, 1),
            .audience = bytes_of(id, 2),
            .entry = {.position = (uint64_t)i, .from = bytes_of(id, 3)}};
        step_relay(&s, (uint16_t)i, KIND_MARK, bytes_of(id, 8));
        step_deliver(&s, &d);
    }
    memset(id, 'x', sizeof id); /* theirs no more */
    assert_true(s.relay_count == 100 && s.delivery_count == 100);
    for (int i = 0; i < 100; i++) {
        assert_true(s.relays[i].to == i && s.relays[i].body.n == 8 && s.relays[i].body.p[0] == i &&
                    s.relays[i].body.p[7] == 0);
        assert_true(s.deliveries[i].user.p[0] == i &&
                    s.deliveries[i].entry.position == (uint64_t)i &&
                    s.deliveries[i].entry.from.n == 3);
    }
    arena_done(&arena);
}

/* ---- requests ---- */
static void limits_are_from_1_to_200(void **state) {
    (void)state;
    static const struct {
        const char *text;
        unsigned want; /* 0: refused */
    } CASES[] = {{"", 50}, {"1", 1}, {"200", 200}, {"007", 7}, {"0", 0}, {"201", 0}, {"-1", 0},
        {"1.5", 0}, {" 1", 0}, {"1e1", 0}, {"4294967297", 0}, {"99999999999999999999", 0}};
    for (size_t i = 0; i < sizeof CASES / sizeof *CASES; i++) {
        struct request r = {.query_names = {BYTES("other"), BYTES("limit")},
            .query_values = {BYTES("9"), bytes_str(CASES[i].text)},
            .query_count = 2};
        struct answer a = {0};
        unsigned n = 0;
        assert_int_equal(request_limit(&r, &a, &n), CASES[i].want != 0);
        if (CASES[i].want) assert_int_equal(n, CASES[i].want);
        else assert_true(a.status == 422 && strcmp(a.field, "limit") == 0);
    }
}

static void cursors_of_before_a_restore_are_gone(void **state) {
    (void)state;
    struct request r = {.query_names = {BYTES("cursor")}, .query_count = 1, .epoch = 5};
    struct answer a = {0};
    uint64_t position = 9;
    r.query_values[0] = BYTES("5-a");
    assert_true(request_cursor(&r, &a, &position) && position == 10);
    r.query_values[0] = BYTES("4-a");
    assert_false(request_cursor(&r, &a, &position));
    assert_int_equal(a.status, 410);
    r.query_values[0] = BYTES("5:a");
    assert_false(request_cursor(&r, &a, &position));
    assert_int_equal(a.status, 400);
    r.query_count = 0;
    assert_true(request_cursor(&r, &a, &position) && position == 0);
}

static void bodies_are_refused_by_what_is_wrong(void **state) {
    (void)state;
    static const struct json_field FIELDS[] = {
        {"id", JSON_ID, true, false, 0}, {"name", JSON_STRING, false, true, 3}};
    static const struct {
        const char *text;
        int status;
        const char *code, *field;
    } CASES[] = {{"{\"id\":\"a\"}", 0, "", ""}, {"[]", 400, "wrong-type", ""},
        {"{\"id\":\"a\",\"x\":1}", 400, "unknown-field", "x"},
        {"{\"id\":\"a\",\"id\":\"a\"}", 400, "unknown-field", "id"},
        {"{\"id\":1}", 400, "wrong-type", "id"}, {"{}", 422, "invalid-value", "id"},
        {"{\"id\":\"a b\"}", 422, "invalid-value", "id"},
        {"{\"id\":\"a\",\"name\":\"long\"}", 413, "too-large", "name"},
        {"{\"id\":\"a\",\"name\":null}", 0, "", ""}};
    struct json_reader *reader = json_reader_create();
    struct json_value out[2];
    for (size_t i = 0; i < sizeof CASES / sizeof *CASES; i++) {
        struct request r = {.has_json = true};
        struct answer a = {0};
        assert_int_equal(json_parse(reader, bytes_str(CASES[i].text), &r.json), OK);
        assert_int_equal(request_object(&r, FIELDS, 2, out, &a), CASES[i].status == 0);
        if (a.status != CASES[i].status || strcmp(problem_code(a.problem), CASES[i].code) ||
            strcmp(a.field, CASES[i].field))
            fail_msg("%s: %d %s '%s'", CASES[i].text, a.status, problem_code(a.problem), a.field);
    }
    struct request none = {0};
    struct answer a = {0};
    assert_false(request_object(&none, FIELDS, 2, out, &a));
    assert_int_equal(a.status, 400);
    json_reader_free(&reader);
}

static void viewers_know_whom_they_block(void **state) {
    (void)state;
    struct viewer v = {.blocks = BYTES("\3ann\3bob")};
    assert_true(viewer_blocks(&v, BYTES("ann")) && viewer_blocks(&v, BYTES("bob")));
    assert_false(viewer_blocks(&v, BYTES("an")) || viewer_blocks(&v, BYTES("annb")) ||
                 viewer_blocks(&v, (struct bytes){0}));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(kinds_keep_their_numbers),
        cmocka_unit_test(every_problem_is_whole),
        cmocka_unit_test(problems_are_json_whatever_is_in_them),
        cmocka_unit_test(steps_keep_copies_of_all),
        cmocka_unit_test(limits_are_from_1_to_200),
        cmocka_unit_test(cursors_of_before_a_restore_are_gone),
        cmocka_unit_test(bodies_are_refused_by_what_is_wrong),
        cmocka_unit_test(viewers_know_whom_they_block),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
