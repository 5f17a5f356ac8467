/* wire: JSON, read and written, by RFC 8259: what is taken, what is refused, and that what is
 * written reads back the same. Server-Sent Events, by the standard's own way of reading them.
 * SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "wire/wire.h"

static struct json_reader *R;

static bool parses(struct bytes text) {
    struct json v;
    return json_parse(R, text, &v) == OK;
}
#define T(lit) BYTES(lit)

static void takes_what_the_grammar_allows(void **state) {
    (void)state;
    static const char *const TEXTS[] = {"{}", "[]", "null", "true", "false", "\"\"", "0", "-0", "1",
        "-1", "0.5", "-0.5e-3", "1E+2", " \t\r\n1 \t\r\n", "[1,2,[3,{\"a\":[]}]]", "{\"\":0}",
        "{\"a\":1,\"a\":2}", "\"\\\"\\\\\\/\\b\\f\\n\\r\\t\\u00e9\"", "\"\\ud83d\\ude00\"",
        "\"\\u0000\"", "\"\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80\"", "\"\x7f\"", "\"\xef\xbf\xbf\"",
        "\"\xf4\x8f\xbf\xbf\"", "\"\xed\x9f\xbf\xee\x80\x80\"", "9223372036854775807",
        "-9223372036854775808", "18446744073709551615", "1.7976931348623157e308", "5e-324", "0e1",
        "0e+1", "1e-400", "[[[[]]]]", "{\"a\":{},\"b\":[]}", "{\"\\u0000\":1}",
        /* noncharacters and the byte order mark are text; none is refused, none is dropped */
        "\"\\uFFFE\\uFFFF\\uFDD0\"", "\"\xef\xbb\xbf\"", "\"\xef\xb7\x90\xef\xbf\xbe\"",
        "\"\\uDBFF\\uDFFF\"", "\"\xc2\x80\xdf\xbf\xe0\xa0\x80\xf0\x90\x80\x80\""};
    for (size_t i = 0; i < sizeof TEXTS / sizeof *TEXTS; i++)
        if (!parses(bytes_str(TEXTS[i]))) fail_msg("refused: %s", TEXTS[i]);
}

static void refuses_what_it_does_not(void **state) {
    (void)state;
    static const char *const TEXTS[] = {" ", "{", "}", "[", "]", "[1,]", "[,1]", "[1 2]", "{\"a\"}",
        "{\"a\":}", "{a:1}", "{'a':1}", "{\"a\":1,}", "{\"a\":1}}", "1 2", "nul", "nulll", "True",
        "NaN", "Infinity", "-", "+1", "01", "-01", "1.", ".5", "1e", "1e+", "0x10", "1_000", "\"",
        "\"a", "a\"", "\"\\\"", "\"\\x41\"", "\"\\u12\"", "\"\\u12g4\"", "\"\n\"", "\"\t\"",
        "\"\x01\"", "\"\x1f\"", "/* */1", "1//",
        ("\xc2\xa0"
         "1"),
        "[1]\v", "[1]\f", "'a'", "undefined", "[\"a\",\"b\"", "{\"a\":[}", "[}", "--1", "1-1",
        "- 1", "1a", "1e1.0", "1.2.3", "0e", "1.e1", "0.e1", "-.1", "-Infinity", "-NaN", "1 000",
        "00", "0o7", "\xef\xbc\x91", "[,]", "[1,,2]", "[1;2]", "[1}", "{\"a\"::1}", "{\"a\" 1}",
        "{\"a\":1 \"b\":2}", "{,}", "{null:1}", "{1:1}", "{\"a\":1,,\"b\":2}", "\"\\a\"", "\"\\0\"",
        "\"\\'\"", "\"\\u\"", "\"\\u00e\"", "\"\\U0041\"", "\"\r\"", "`a`", "#", "1#", "\\u0031",
        "\xef\xbb\xbf{}", "{}\x1a", "\xe2\x81\xa0{}", "truee", "TRUE", "None", "fals",
        /* halves of surrogate pairs, alone or in the wrong order */
        "\"\\ud800\"", "\"\\udbff\"", "\"\\udc00\"", "\"\\udfff\"", "\"\\udc00\\ud800\"",
        "\"\\ud800\\ud800\"", "\"\\ud800x\"", "\"\\ud800\\n\"", "\"\\ud83d\\u0041\"",
        /* numbers that no double holds */
        "1e400", "-1e400", "123456789012345678901234567890"};
    for (size_t i = 0; i < sizeof TEXTS / sizeof *TEXTS; i++)
        if (parses(bytes_str(TEXTS[i]))) fail_msg("taken: %s", TEXTS[i]);
    assert_false(parses((struct bytes){0}));
    assert_false(parses(T("1\0")));
    assert_false(parses(T("\"\0\"")));
    assert_false(parses(T("\0")));
}

static void refuses_what_is_not_utf8(void **state) {
    (void)state;
    static const char *const BAD[] = {/* overlong */
        "\x80", "\xbf", "\xc0\xaf", "\xc1\xbf", "\xe0\x80\xaf", "\xe0\x9f\xbf", "\xf0\x80\x80\xaf",
        "\xf0\x8f\xbf\xbf",
        /* surrogates */
        "\xed\xa0\x80", "\xed\xbf\xbf", "\xed\xa0\x80\xed\xb0\x80",
        /* above 10FFFF */
        "\xf4\x90\x80\x80", "\xf5\x80\x80\x80", "\xf7\xbf\xbf\xbf", "\xf8\x88\x80\x80\x80", "\xfe",
        "\xff",
        /* cut short */
        "\xc3", "\xe2\x82", "\xf0\x9f\x98", "\xc3\x41", "\xe2\x82\x41"};
    char text[200];
    for (size_t i = 0; i < sizeof BAD / sizeof *BAD; i++)
        /* at any place of the blocks that the reader works in */
        for (size_t before = 0; before < 130; before += 13) {
            int n = snprintf(text, sizeof text, "\"%0*d%s\"", (int)before + 1, 0, BAD[i]);
            if (parses(bytes_of(text, (size_t)n)))
                fail_msg("taken: case %zu behind %zu", i, before);
            assert_false(utf8_valid(bytes_str(BAD[i])));
        }
}

/* What is nested 64 deep is taken, 65 is not; neither costs more than its bytes. */
static void nests_to_a_limit(void **state) {
    (void)state;
    struct buf b = {0};
    for (int depth = 1; depth < 2000; depth = depth < 70 ? depth + 1 : depth * 2) {
        buf_reset(&b);
        for (int i = 0; i < depth; i++) buf_str(&b, i % 2 ? "[" : "{\"a\":");
        buf_char(&b, '1');
        for (int i = depth; i--;) buf_char(&b, i % 2 ? ']' : '}');
        if (parses(buf_view(&b)) != (depth <= 64)) fail_msg("depth %d", depth);
    }
    buf_done(&b);
}

static void numbers_keep_their_values(void **state) {
    (void)state;
    struct json v;
    struct buf b = {0};
    static const int64_t I64[] = {0, 1, -1, 9007199254740993, INT64_MAX, INT64_MIN};
    for (size_t i = 0; i < sizeof I64 / sizeof *I64; i++) {
        struct json_out o = {&b, false};
        buf_reset(&b);
        jo_i64(&o, I64[i]);
        assert_int_equal(json_parse(R, buf_view(&b), &v), OK);
        assert_int_equal(json_kind_of(v), JSON_I64);
        assert_true(json_i64(v) == I64[i]);
    }
    assert_int_equal(json_parse(R, T("18446744073709551615"), &v), OK);
    assert_int_equal(json_kind_of(v), JSON_F64);
    assert_true(json_f64(v) == 18446744073709551615.0 && json_i64(v) == 0);
    buf_reset(&b);
    json_raw(v, &b);
    assert_true(bytes_is(buf_view(&b), "18446744073709551615"));
    assert_int_equal(json_parse(R, T("[1.5,1e2,-0.0,0.1]"), &v), OK);
    buf_reset(&b);
    json_raw(v, &b);
    assert_int_equal(json_parse(R, buf_view(&b), &v), OK);
    assert_int_equal(json_count(v), 4);
    assert_int_equal(json_parse(R, T("1.0"), &v), OK);
    assert_int_equal(json_kind_of(v), JSON_F64);
    buf_done(&b);
}

/* ---- random values: written, read back, written again: the same bytes ---- */
static void random_text(struct rng *r, struct buf *b) {
    for (uint64_t n = rng_below(r, 12); n--;) {
        uint64_t k = rng_below(r, 5);
        if (k == 0) buf_char(b, (char)rng_below(r, 0x20));
        else if (k == 1)
            buf_str(
                b, (const char *[]){"\"", "\\", "/", "\x7f", "\xc2\x80", "\xe2\x80\xa8",
                       "\xef\xbf\xbf", "\xf0\x90\x80\x80", "\xf4\x8f\xbf\xbf"}[rng_below(r, 9)]);
        else buf_char(b, (char)(0x20 + rng_below(r, 0x5f)));
    }
}

static void random_value(struct rng *r, struct json_out *o, int depth) {
    struct buf text = {0};
    uint64_t k = rng_below(r, depth > 5 ? 5 : 7), n = rng_below(r, 5);
    random_text(r, &text);
    switch (k) {
    case 0: jo_null(o); break;
    case 1: jo_bool(o, rng_below(r, 2)); break;
    case 2:
        jo_i64(o, (int64_t)(rng_next(r) >> rng_below(r, 64)) * (rng_below(r, 2) ? 1 : -1));
        break;
    case 3: jo_time(o, (int64_t)rng_below(r, 253402300799999)); break;
    case 4: jo_str(o, buf_view(&text)); break;
    case 5:
        jo_open_arr(o);
        while (n--) random_value(r, o, depth + 1);
        jo_close_arr(o);
        break;
    default:
        jo_open_obj(o);
        while (n--) {
            char key[8];
            snprintf(key, sizeof key, "k%u", (unsigned)rng_below(r, 1000));
            jo_key(o, key);
            random_value(r, o, depth + 1);
        }
        jo_close_obj(o);
    }
    buf_done(&text);
}

static void what_is_written_reads_back(void **state) {
    (void)state;
    struct rng r = {7};
    struct buf b = {0}, again = {0};
    struct json v;
    for (int i = 0; i < 3000; i++) {
        struct json_out o = {&b, false};
        buf_reset(&b);
        buf_reset(&again);
        random_value(&r, &o, 0);
        assert_int_equal(json_parse(R, buf_view(&b), &v), OK);
        json_raw(v, &again);
        if (!bytes_eq(buf_view(&b), buf_view(&again)))
            fail_msg("round %d: %.*s became %.*s", i, (int)b.n, (const char *)b.p, (int)again.n,
                (const char *)again.p);
        /* no value but a number is whole when it is cut short */
        for (size_t cut = 0; cut < b.n; cut += 1 + cut / 7)
            if (b.p[0] == '{' || b.p[0] == '[' || b.p[0] == '"')
                assert_false(parses(bytes_of(b.p, cut)));
    }
    buf_done(&b);
    buf_done(&again);
}

/* Any damage gives a value or a refusal; what is taken is text that is UTF-8 all through. */
static bool text_is_utf8(void *arg, struct bytes key, struct json v) {
    assert_true(utf8_valid(key));
    assert_true(utf8_valid(json_string(v)));
    json_each(v, text_is_utf8, arg);
    return true;
}

static void damage_is_refused_or_harmless(void **state) {
    (void)state;
    struct rng r = {8};
    struct buf b = {0}, again = {0};
    struct json v;
    unsigned taken = 0;
    for (int i = 0; i < 20000; i++) {
        struct json_out o = {&b, false};
        buf_reset(&b);
        buf_reset(&again);
        random_value(&r, &o, 1);
        for (uint64_t n = 1 + rng_below(&r, 3); n--;)
            b.p[rng_below(&r, b.n)] = (uint8_t)rng_next(&r);
        if (json_parse(R, buf_view(&b), &v) != OK) continue;
        taken++;
        text_is_utf8(NULL, (struct bytes){0}, v);
        json_raw(v, &again);
        assert_true(utf8_valid(buf_view(&again)) && parses(buf_view(&again)));
    }
    assert_true(taken > 100);
    buf_done(&b);
    buf_done(&again);
}

/* ---- schemas ---- */
static const struct json_field FIELDS[] = {{"id", JSON_ID, true, false, 0},
    {"name", JSON_STRING, false, true, 5}, {"n", JSON_I64, false, false, 0},
    {"x", JSON_F64, false, false, 0}, {"ok", JSON_BOOL, false, true, 0},
    {"list", JSON_ARRAY, false, false, 8}, {"any", JSON_ANY, false, false, 8}};
enum { N = sizeof FIELDS / sizeof *FIELDS };

static void objects_are_held_to_their_schema(void **state) {
    (void)state;
    static const struct {
        const char *text;
        enum err err;
        int fault;
        const char *field;
    } CASES[] = {
        {"{\"id\":\"a\"}", OK, FAULT_NONE, ""},
        {"{\"id\":\"a\",\"name\":null,\"ok\":null,\"n\":-3,\"x\":4,\"list\":[1,2],\"any\":null}",
            OK, FAULT_NONE, ""},
        {"{\"id\":\"a\",\"x\":0.5,\"name\":\"\\u00e9\\u00e9\"}", OK, FAULT_NONE, ""},
        {"[]", MALFORMED, FAULT_TYPE, ""},
        {"1", MALFORMED, FAULT_TYPE, ""},
        {"null", MALFORMED, FAULT_TYPE, ""},
        {"{}", REFUSED, FAULT_MISSING, "id"},
        {"{\"name\":\"a\"}", REFUSED, FAULT_MISSING, "id"},
        {"{\"id\":\"a\",\"Id\":1}", MALFORMED, FAULT_UNKNOWN, "Id"},
        {"{\"id\":\"a\",\"i\\u0064\":\"a\"}", MALFORMED, FAULT_DUPLICATE, "id"},
        {"{\"id\":\"a\",\"name\":null,\"name\":\"b\"}", MALFORMED, FAULT_DUPLICATE, "name"},
        {"{\"id\":null}", MALFORMED, FAULT_TYPE, "id"},
        {"{\"id\":7}", MALFORMED, FAULT_TYPE, "id"},
        {"{\"id\":\"a\",\"n\":null}", MALFORMED, FAULT_TYPE, "n"},
        {"{\"id\":\"a\",\"n\":1.0}", MALFORMED, FAULT_TYPE, "n"},
        {"{\"id\":\"a\",\"n\":9223372036854775808}", MALFORMED, FAULT_TYPE, "n"},
        {"{\"id\":\"a\",\"n\":\"1\"}", MALFORMED, FAULT_TYPE, "n"},
        {"{\"id\":\"a\",\"ok\":0}", MALFORMED, FAULT_TYPE, "ok"},
        {"{\"id\":\"\"}", REFUSED, FAULT_VALUE, "id"},
        {"{\"id\":\"a b\"}", REFUSED, FAULT_VALUE, "id"},
        {"{\"id\":\"\\u00e9\"}", REFUSED, FAULT_VALUE, "id"},
        {"{\"id\":\"a\",\"name\":\"abcdef\"}", REFUSED, FAULT_LONG, "name"},
        {"{\"id\":\"a\",\"name\":\"\\u00e9\\u00e9\\u00e9\"}", REFUSED, FAULT_LONG, "name"},
        {"{\"id\":\"a\",\"list\":[1, 2, 34, 5]}", REFUSED, FAULT_LONG, "list"},
        {"{\"id\":\"a\",\"list\":[1,  2,  3]}", OK, FAULT_NONE, ""},
        {"{\"id\":\"a\",\"any\":{\"a\":12}}", OK, FAULT_NONE, ""},
        {"{\"id\":\"a\",\"any\":{\"a\":123}}", REFUSED, FAULT_LONG, "any"},
    };
    struct json v;
    struct json_value out[N];
    struct json_fault f;
    for (size_t i = 0; i < sizeof CASES / sizeof *CASES; i++) {
        assert_int_equal(json_parse(R, bytes_str(CASES[i].text), &v), OK);
        enum err e = json_read_object(v, FIELDS, N, out, &f);
        if (e != CASES[i].err || (int)f.kind != CASES[i].fault || strcmp(f.field, CASES[i].field))
            fail_msg("%s: %s, '%s': %s", CASES[i].text, err_name(e), f.field, f.words);
        assert_true((e == OK) == (f.words[0] == 0));
    }
    assert_int_equal(json_parse(R, T("{\"id\":\"a\",\"name\":null}"), &v), OK);
    assert_int_equal(json_read_object(v, FIELDS, N, out, &f), OK);
    assert_true(out[0].present && bytes_is(json_string(out[0].v), "a") && out[1].present &&
                out[1].is_null && !out[2].present);
}

/* The name of a field that is to blame is the client's: whatever it is, the fault holds a short
 * string of ours. */
static void faults_hold_any_name(void **state) {
    (void)state;
    struct rng r = {3};
    struct json v;
    struct json_value out[N];
    struct json_fault f;
    struct buf b = {0}, name = {0};
    for (int i = 0; i < 300; i++) {
        struct json_out o = {&b, false};
        buf_reset(&b);
        buf_reset(&name);
        while (name.n < rng_below(&r, 200)) random_text(&r, &name);
        buf_str(&name, "\xf0\x9f\x98\x80");
        buf_char(&b, '{');
        jo_str(&o, buf_view(&name));
        buf_str(&b, ":1}");
        assert_int_equal(json_parse(R, buf_view(&b), &v), OK);
        assert_int_equal(json_read_object(v, FIELDS, N, out, &f), MALFORMED);
        assert_true(
            f.kind == FAULT_UNKNOWN && strlen(f.field) <= 60 && memchr(f.field, 0, sizeof f.field));
        assert_true(utf8_valid(bytes_str(f.field)));
    }
    buf_done(&b);
    buf_done(&name);
}

/* ---- Server-Sent Events, read as the HTML standard says (9.2.6) ---- */
struct event {
    struct buf id, name, data;
    unsigned given; /* events dispatched */
};

static void line_read(struct event *e, struct bytes line) {
    const uint8_t *colon = line.n ? memchr(line.p, ':', line.n) : NULL;
    size_t n = colon ? (size_t)(colon - line.p) : line.n, from = colon ? n + 1 : n;
    if (colon && from < line.n && line.p[from] == ' ') from++;
    struct bytes field = bytes_of(line.p, n), value = bytes_of(line.p + from, line.n - from);
    if (!line.n) {
        if (e->data.n) e->data.n--, e->given++;
    } else if (bytes_is(field, "data")) {
        buf_bytes(&e->data, value);
        buf_char(&e->data, '\n');
    } else if (bytes_is(field, "id")) {
        buf_reset(&e->id);
        buf_bytes(&e->id, value);
    } else if (bytes_is(field, "event")) {
        buf_reset(&e->name);
        buf_bytes(&e->name, value);
    }
}

static void stream_read(struct event *e, struct bytes in) {
    size_t from = 0;
    for (size_t i = 0; i < in.n; i++) {
        if (in.p[i] != '\n' && in.p[i] != '\r') continue;
        line_read(e, bytes_of(in.p + from, i - from));
        if (in.p[i] == '\r' && i + 1 < in.n && in.p[i + 1] == '\n') i++;
        from = i + 1;
    }
    assert_int_equal(from, in.n); /* nothing hangs over */
}

static void event_reset(struct event *e) {
    buf_done(&e->id);
    buf_done(&e->name);
    buf_done(&e->data);
    *e = (struct event){0};
}

static void events_read_back(void **state) {
    (void)state;
    struct rng r = {5};
    struct buf b = {0}, data = {0};
    for (int i = 0; i < 2000; i++) {
        struct event e = {0};
        buf_reset(&b);
        buf_reset(&data);
        for (uint64_t n = 1 + rng_below(&r, 20); n--;)
            buf_char(&data, "ab: \n\r\0\xff{"[rng_below(&r, 9)]);
        sse_write_comment(&b, T("hold"));
        sse_write_event(&b, T("1-a"), T("message"), buf_view(&data));
        stream_read(&e, buf_view(&b));
        assert_int_equal(e.given, 1);
        assert_true(bytes_is(buf_view(&e.id), "1-a") && bytes_is(buf_view(&e.name), "message"));
        struct buf want = {0}; /* every line end of the data comes out as one \n */
        for (size_t k = 0; k < data.n; k++) {
            if (data.p[k] == '\n' && k && data.p[k - 1] == '\r') continue;
            buf_char(&want, data.p[k] == '\r' ? '\n' : (char)data.p[k]);
        }
        assert_true(bytes_eq(buf_view(&e.data), buf_view(&want)));
        buf_done(&want);
        event_reset(&e);
    }
    buf_done(&b);
    buf_done(&data);
}

static void comments_stay_comments(void **state) {
    (void)state;
    struct buf b = {0};
    struct event e = {0};
    sse_write_comment(&b, T("a\nid: evil\r\ndata: evil\rdata: worse"));
    stream_read(&e, buf_view(&b));
    assert_true(e.given == 0 && e.id.n == 0 && e.data.n == 0);
    buf_done(&b);
}

/* Byte by byte, as RFC 8259 says it. */
static void str_plainly(struct buf *b, struct bytes v) {
    buf_char(b, '"');
    for (size_t i = 0; i < v.n; i++) {
        uint8_t c = v.p[i];
        if (c == '"' || c == '\\') buf_fmt(b, "\\%c", c);
        else if (c == '\n') buf_str(b, "\\n");
        else if (c == '\r') buf_str(b, "\\r");
        else if (c == '\t') buf_str(b, "\\t");
        else if (c == '\b') buf_str(b, "\\b");
        else if (c == '\f') buf_str(b, "\\f");
        else if (c < 0x20) buf_fmt(b, "\\u%04x", c);
        else buf_char(b, (char)c);
    }
    buf_char(b, '"');
}

/* Every byte at every place of texts that are longer than the steps in which they are looked at. */
static void strings_are_escaped_everywhere(void **state) {
    (void)state;
    struct buf got = {0}, want = {0};
    uint8_t text[27];
    for (int c = 0; c < 256; c++)
        for (size_t at = 0; at < sizeof text; at++)
            for (size_t n = at + 1; n <= sizeof text; n += 5) {
                memset(text, at % 2 ? 'x' : 0xe9, sizeof text);
                text[at] = (uint8_t)c;
                buf_reset(&got);
                buf_reset(&want);
                json_str(&got, bytes_of(text, n));
                str_plainly(&want, bytes_of(text, n));
                assert_true(bytes_eq(buf_view(&got), buf_view(&want)));
            }
    buf_done(&got);
    buf_done(&want);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(strings_are_escaped_everywhere),
        cmocka_unit_test(takes_what_the_grammar_allows),
        cmocka_unit_test(refuses_what_it_does_not),
        cmocka_unit_test(refuses_what_is_not_utf8),
        cmocka_unit_test(nests_to_a_limit),
        cmocka_unit_test(numbers_keep_their_values),
        cmocka_unit_test(what_is_written_reads_back),
        cmocka_unit_test(damage_is_refused_or_harmless),
        cmocka_unit_test(objects_are_held_to_their_schema),
        cmocka_unit_test(faults_hold_any_name),
        cmocka_unit_test(events_read_back),
        cmocka_unit_test(comments_stay_comments),
    };
    R = json_reader_create();
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    json_reader_free(&R);
    return failed;
}
