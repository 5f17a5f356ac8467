/* fuzz: JSON: what is taken is UTF-8 all through and, written, reads back the same; an object
 * against a schema ends in values or in a fault with words.
 * SPDX-License-Identifier: Apache-2.0 */
#include "fuzz.h"

#include <string.h>

#include "wire/wire.h"

void fuzz_seeds(void (*give)(void *arg, struct bytes seed), void *arg) {
    static const char *const TEXTS[] = {"{\"id\":\"m1\",\"body\":\"hi\",\"n\":1,\"x\":0.5,\"ok\":"
                                        "true,\"list\":[1,\"a\",null],\"any\":{\"a\":{}}}",
        "{\"type\":\"group\",\"members\":[\"ann\",\"bob\"],\"metadata\":{\"k\":\"v\"}}",
        "[[[[[[]]]]],{\"\":{}}]", "\"\\ud83d\\ude00\\u0000\\\"\\\\\\/\\b\\f\\n\\r\\t\"",
        "\"\xf0\x9f\x98\x80\xe2\x82\xac\"", "-9223372036854775808", "18446744073709551615",
        "1.7976931348623157e308", "[1e-400,-0,0.1e+1]", "{\"id\":\"a\",\"id\":\"b\"}",
        "{\"body\":null,\"ok\":null}", "  [ true , false ]  "};
    for (size_t i = 0; i < sizeof TEXTS / sizeof *TEXTS; i++) give(arg, bytes_str(TEXTS[i]));
}

static bool walk(void *arg, struct bytes key, struct json v) {
    size_t *members = arg, inside = 0;
    check(utf8_valid(key) && utf8_valid(json_string(v)));
    ++*members;
    json_each(v, walk, &inside);
    check(inside == json_count(v));
    struct json one;
    check(json_kind_of(v) == JSON_OBJECT || !json_get(v, "id", &one));
    return true;
}

static void schema(struct json v) {
    static const struct json_field FIELDS[] = {{"id", JSON_ID, true, false, 0},
        {"body", JSON_STRING, false, true, 8}, {"n", JSON_I64, false, false, 0},
        {"x", JSON_F64, false, false, 0}, {"ok", JSON_BOOL, false, true, 0},
        {"list", JSON_ARRAY, false, false, 16}, {"any", JSON_ANY, false, false, 16}};
    struct json_value out[7];
    struct json_fault f;
    enum err e = json_read_object(v, FIELDS, 7, out, &f);
    check(e == OK || e == MALFORMED || e == REFUSED);
    check((e == OK) == (f.kind == FAULT_NONE) && (e == OK) == !f.words[0] &&
          utf8_valid(bytes_str(f.field)));
    check(e != OK || (out[0].present && id_valid(json_string(out[0].v))));
}

/* Any text that is UTF-8 can be written as a string, and comes back. */
static void written(struct json_reader *r, struct bytes text) {
    struct buf b = {0};
    struct json v;
    json_str(&b, text);
    enum err e = json_parse(r, buf_view(&b), &v);
    check((e == OK) == utf8_valid(text));
    check(e != OK || bytes_eq(json_string(v), text));
    buf_done(&b);
}

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n) {
    struct json_reader *r = json_reader_create();
    struct buf once = {0}, twice = {0};
    struct json v;
    size_t members = 0;
    if (json_parse(r, bytes_of(p, n), &v) == OK) {
        check(utf8_valid(bytes_of(p, n)));
        walk(&members, (struct bytes){0}, v);
        schema(v);
        json_raw(v, &once);
        check(json_parse(r, buf_view(&once), &v) == OK);
        json_raw(v, &twice);
        check(bytes_eq(buf_view(&once), buf_view(&twice)));
    }
    written(r, bytes_of(p, n));
    buf_done(&once);
    buf_done(&twice);
    json_reader_free(&r);
    return 0;
}
