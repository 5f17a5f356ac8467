/* base: tests of text: UTF-8 against the grammar of RFC 3629, times against a calendar walked day
 * by day, base64url against RFC 4648.
 * SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "base/base.h"

/* ---- UTF-8 ---- */
static bool in(uint8_t c, uint8_t low, uint8_t high) { return c >= low && c <= high; }

/* The ABNF of RFC 3629 section 4, line by line; returns the length of the first character, 0 when
 * there is none. */
static size_t character(const uint8_t *p, size_t n) {
    static const uint8_t LINES[][5] = {/* first byte from, to; second byte from, to; bytes */
        {0xc2, 0xdf, 0x80, 0xbf, 2}, {0xe0, 0xe0, 0xa0, 0xbf, 3}, {0xe1, 0xec, 0x80, 0xbf, 3},
        {0xed, 0xed, 0x80, 0x9f, 3}, {0xee, 0xef, 0x80, 0xbf, 3}, {0xf0, 0xf0, 0x90, 0xbf, 4},
        {0xf1, 0xf3, 0x80, 0xbf, 4}, {0xf4, 0xf4, 0x80, 0x8f, 4}};
    if (n && p[0] <= 0x7f) return 1;
    for (size_t i = 0; n && i < sizeof LINES / sizeof *LINES; i++) {
        const uint8_t *l = LINES[i];
        if (!in(p[0], l[0], l[1])) continue;
        if (n < l[4] || !in(p[1], l[2], l[3])) return 0;
        for (size_t k = 2; k < l[4]; k++)
            if (!in(p[k], 0x80, 0xbf)) return 0;
        return l[4];
    }
    return 0;
}
static bool utf8_model(struct bytes v) {
    for (size_t at = 0, n; at < v.n; at += n)
        if (!(n = character(v.p + at, v.n - at))) return false;
    return true;
}

static void utf8_follows_the_grammar(void **state) {
    (void)state;
    assert_true(utf8_valid((struct bytes){0}));
    static const uint8_t EDGES[] = {0x00, 'a', 0x7f, 0x80, 0x8f, 0x90, 0x9f, 0xa0, 0xbf, 0xc0, 0xc1,
        0xc2, 0xdf, 0xe0, 0xe1, 0xec, 0xed, 0xee, 0xef, 0xf0, 0xf1, 0xf3, 0xf4, 0xf5, 0xff};
    enum { E = sizeof EDGES };
    for (unsigned i = 0; i < E * E * E * E; i++) { /* every four bytes made of the edges */
        uint8_t v[4] = {EDGES[i % E], EDGES[i / E % E], EDGES[i / E / E % E], EDGES[i / E / E / E]};
        for (size_t n = 1; n <= 4; n++)
            assert_int_equal(utf8_valid(bytes_of(v, n)), utf8_model(bytes_of(v, n)));
    }
    struct rng r = {6};
    for (int i = 0; i < 20000; i++) { /* long text, mostly ASCII, with a few edges in it */
        size_t n = (size_t)rng_below(&r, 40), wild = (size_t)rng_below(&r, 5);
        uint8_t *v = malloc(n ? n : 1);
        for (size_t k = 0; k < n; k++) v[k] = (uint8_t)rng_below(&r, 128);
        for (size_t k = 0; n && k < wild; k++) v[rng_below(&r, n)] = EDGES[rng_below(&r, E)];
        assert_int_equal(utf8_valid(bytes_of(v, n)), utf8_model(bytes_of(v, n)));
        free(v);
    }
}

static void ids_keep_to_their_letters(void **state) {
    (void)state;
    char s[66];
    memset(s, 'a', sizeof s);
    assert_true(!id_valid((struct bytes){0}) && id_valid(bytes_of(s, 1)) &&
                id_valid(bytes_of(s, 64)) && !id_valid(bytes_of(s, 65)));
    for (unsigned c = 0; c < 256; c++) {
        s[10] = (char)c;
        bool want =
            c &&
            strchr("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_.:-", (int)c);
        assert_int_equal(id_valid(bytes_of(s, 20)), want);
    }
}

/* ---- times ---- */
static bool parses(const char *s, int64_t *ms) { return time_parse(bytes_str(s), ms) == OK; }

/* Every day of the years 0000 to 9999, counted without arithmetic of eras. */
static void times_follow_the_calendar(void **state) {
    (void)state;
    static const int DAYS[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    int64_t day = -719528; /* 0000-01-01 */
    struct rng r = {7};
    for (int y = 0; y <= 9999; y++) {
        bool leap = (y % 4 == 0 && y % 100 != 0) || y % 400 == 0;
        for (int m = 0; m < 12; m++)
            for (int d = 1; d <= DAYS[m] + (m == 1 && leap); d++, day++) {
                int64_t in_day = (int64_t)rng_below(&r, 86400000), ms = day * 86400000 + in_day,
                        back = 0;
                char want[64], got[24];
                int s = (int)(in_day / 1000);
                if (d == 1 || d > 27) { /* the ends of months; between them nothing turns */
                    snprintf(want, sizeof want, "%04d-%02d-%02dT%02d:%02d:%02d.%03dZ", y, m + 1, d,
                        s / 3600, s / 60 % 60, s % 60, (int)(in_day % 1000));
                    time_format(ms, got);
                    assert_memory_equal(got, want, 24);
                    assert_true(time_parse(bytes_of(got, 24), &back) == OK && back == ms);
                }
            }
    }
    assert_int_equal(day, 2932897); /* 10000-01-01 */
}

static void times_out_of_the_form_are_held(void **state) {
    (void)state;
    char got[24];
    time_format(INT64_MAX, got);
    assert_memory_equal(got, "9999-12-31T23:59:59.999Z", 24);
    time_format(INT64_MIN, got);
    assert_memory_equal(got, "0000-01-01T00:00:00.000Z", 24);
    time_format(-1, got);
    assert_memory_equal(got, "1969-12-31T23:59:59.999Z", 24);
}

static void times_of_http_are_those_of_the_calendar(void **state) {
    (void)state;
    char got[30], want[40];
    time_format_http(784111777123, got);
    assert_string_equal(got, "Sun, 06 Nov 1994 08:49:37 GMT"); /* the RFC's own */
    for (int64_t day = -719528; day < 2932897; day += 97) {
        time_t at = day * 86400 + (day & 0xffff);
        struct tm tm;
        gmtime_r(&at, &tm);
        size_t n = strftime(want, sizeof want, "%a, %d %b %Y %H:%M:%S GMT", &tm);
        time_format_http(at * 1000 + 999, got);
        if (tm.tm_year >= -900 && n == 29) assert_string_equal(got, want);
    }
    time_format_http(INT64_MAX, got);
    assert_string_equal(got, "Fri, 31 Dec 9999 23:59:59 GMT");
    time_format_http(INT64_MIN, got);
    assert_string_equal(got, "Sat, 01 Jan 0000 00:00:00 GMT");
}

static void times_are_read_strictly(void **state) {
    (void)state;
    int64_t ms = 0;
    assert_true(parses("1970-01-01T00:00:00Z", &ms) && ms == 0);
    assert_true(parses("1970-01-01t00:00:01.5z", &ms) && ms == 1500);
    assert_true(parses("1970-01-01T00:00:01.123456789Z", &ms) && ms == 1123);
    assert_true(parses("2016-12-31T23:59:60Z", &ms) && ms == 1483228800000); /* a leap second */
    assert_true(parses("2024-02-29T00:00:00Z", &ms) && parses("2000-02-29T00:00:00Z", &ms));
    static const char *const BAD[] = {"", "1970-01-01", "1970-01-01T00:00:00",
        "1970-01-01T00:00:00.Z", "1970-01-01T00:00:00.1234567890Z", "1970-01-01T00:00:00ZZ",
        "1970-01-01T00:00:00+00:00", "1970-01-01 00:00:00Z", "1970-1-01T00:00:00ZZ",
        "1970-00-01T00:00:00Z", "1970-13-01T00:00:00Z", "1970-01-00T00:00:00Z",
        "1970-01-32T00:00:00Z", "1970-04-31T00:00:00Z", "2023-02-29T00:00:00Z",
        "1900-02-29T00:00:00Z", "1970-01-01T24:00:00Z", "1970-01-01T00:60:00Z",
        "1970-01-01T00:00:60Z", "1970-01-01T00:00:61Z", "-970-01-01T00:00:00Z",
        "1970-01-01T00:00:0aZ", "1970-01-01T00:00:00.5", "1970-01-01T00:00:00.5aZ"};
    for (size_t i = 0; i < sizeof BAD / sizeof *BAD; i++) {
        ms = 77;
        if (parses(BAD[i], &ms)) fail_msg("%s was taken", BAD[i]);
        assert_int_equal(ms, 77);
    }
}

static void durations_have_one_unit_and_an_end(void **state) {
    (void)state;
    static const struct {
        const char *text;
        int64_t ms; /* -1: malformed */
    } CASES[] = {{"30s", 30000}, {"15m", 900000}, {"24h", 86400000}, {"7d", 604800000}, {"0s", 0},
        {"3650d", 315360000000}, {"3651d", -1}, {"87600h", 315360000000}, {"87601h", -1},
        {"315360000s", 315360000000}, {"315360001s", -1}, {"999999999s", -1}, {"9999999999s", -1},
        {"5256000m", 315360000000}, {"5256001m", -1}, {"", -1}, {"s", -1}, {"30", -1}, {"30S", -1},
        {"1h30m", -1}, {"-1s", -1}, {"+1s", -1}, {" 1s", -1}, {"1 s", -1}, {"1.5h", -1},
        {"1w", -1}};
    for (size_t i = 0; i < sizeof CASES / sizeof *CASES; i++) {
        int64_t ms = -1;
        enum err e = duration_parse(bytes_str(CASES[i].text), &ms);
        if (ms != CASES[i].ms || (e == OK) != (CASES[i].ms >= 0))
            fail_msg("%s gave %lld", CASES[i].text, (long long)ms);
    }
}

/* ---- base64url ---- */
static void base64url_has_the_published_values(void **state) {
    (void)state;
    static const char *const PAIRS[][3] = {{"", "", ""}, {"f", "Zg", "Zg=="}, {"fo", "Zm8", "Zm8="},
        {"foo", "Zm9v", "Zm9v"}, {"foob", "Zm9vYg", "Zm9vYg=="}, {"fooba", "Zm9vYmE", "Zm9vYmE="},
        {"foobar", "Zm9vYmFy", "Zm9vYmFy"}, {"\xfb\xff\xfe", "-__-", "+//+"}};
    for (size_t i = 0; i < sizeof PAIRS / sizeof *PAIRS; i++) {
        struct buf text = {0}, back = {0};
        base64url_encode(&text, bytes_str(PAIRS[i][0]));
        assert_true(bytes_is(buf_view(&text), PAIRS[i][1]));
        for (int form = 1; form <= 2; form++) {
            buf_reset(&back);
            assert_int_equal(base64url_decode(&back, bytes_str(PAIRS[i][form])), OK);
            assert_true(bytes_is(buf_view(&back), PAIRS[i][0]));
        }
        buf_done(&text);
        buf_done(&back);
    }
}

static void base64url_comes_back(void **state) {
    (void)state;
    struct rng r = {8};
    for (size_t n = 0; n < 300; n++) {
        uint8_t *v = malloc(n ? n : 1);
        for (size_t i = 0; i < n; i++) v[i] = (uint8_t)rng_next(&r);
        struct buf text = {0}, back = {0};
        buf_str(&text, "kept");
        buf_str(&back, "kept");
        base64url_encode(&text, bytes_of(v, n));
        assert_int_equal(text.n, 4 + (n * 4 + 2) / 3);
        assert_int_equal(base64url_decode(&back, bytes_of(text.p + 4, text.n - 4)), OK);
        assert_true(bytes_starts(buf_view(&back), "kept") &&
                    bytes_eq(bytes_of(back.p + 4, back.n - 4), bytes_of(v, n)));
        free(v);
        buf_done(&text);
        buf_done(&back);
    }
}

static void base64url_refuses_and_adds_nothing(void **state) {
    (void)state;
    static const char *const BAD[] = {"A", "AAAAA", "=",
        "==", "====", "A===", "AA=", "AAA==", "AA==AA", "AAAA====", "AB", "AAB", "Zg=", "A A",
        "AA\n", "AA.A", "\xff\xff", "Zm9vYg=", "Zm9v*mFy"};
    struct buf b = {0};
    buf_str(&b, "kept");
    for (size_t i = 0; i < sizeof BAD / sizeof *BAD; i++) {
        if (base64url_decode(&b, bytes_str(BAD[i])) != MALFORMED) fail_msg("%s was taken", BAD[i]);
        assert_true(bytes_is(buf_view(&b), "kept"));
    }
    for (unsigned c = 0; c < 256; c++) {
        char s[] = {'A', 'A', 'A', (char)c};
        bool want =
            c &&
            strchr("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_+/=", (int)c);
        buf_reset(&b);
        assert_int_equal(base64url_decode(&b, bytes_of(s, 4)) == OK, want);
    }
    buf_done(&b);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(utf8_follows_the_grammar),
        cmocka_unit_test(ids_keep_to_their_letters),
        cmocka_unit_test(times_follow_the_calendar),
        cmocka_unit_test(times_out_of_the_form_are_held),
        cmocka_unit_test(times_of_http_are_those_of_the_calendar),
        cmocka_unit_test(times_are_read_strictly),
        cmocka_unit_test(durations_have_one_unit_and_an_end),
        cmocka_unit_test(base64url_has_the_published_values),
        cmocka_unit_test(base64url_comes_back),
        cmocka_unit_test(base64url_refuses_and_adds_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
