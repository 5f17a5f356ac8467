/* wire: JSON reading on simdjson, the only file that includes it; its face is C, no exception
 * leaves. A json value is the library's tape reference, two words.
 * SPDX-License-Identifier: Apache-2.0 */
#include <simdjson.h>

#include <cstring>
#include <new>
#include <string>

extern "C" {
#include "base/base.h"
}
#include "wire/wire.h"

using simdjson::dom::element;
using simdjson::dom::element_type;

static const size_t REFUSED_DEPTH = 65; /* the library takes what is less deep than it is told */

struct json_reader {
    simdjson::dom::parser parser;
    simdjson::error_code trouble = simdjson::SUCCESS;
    bool marked = false; /* it began with a byte order mark */
    json_reader() : parser(2u << 20) {}
};

static_assert(sizeof(element) == sizeof(struct json), "a value is two words");

static element in(struct json v) {
    element e;
    std::memcpy(static_cast<void *>(&e), &v, sizeof e);
    return e;
}
static struct json out(element e) {
    struct json v;
    std::memcpy(&v, static_cast<void *>(&e), sizeof v);
    return v;
}
static struct bytes view(std::string_view s) { return bytes_of(s.data(), s.size()); }

extern "C" struct json_reader *json_reader_create(void) {
    json_reader *r = new (std::nothrow) json_reader();
    check(r);
    return r;
}

extern "C" void json_reader_free(struct json_reader **r) {
    delete *r;
    *r = nullptr;
}

extern "C" enum err json_parse(struct json_reader *r, struct bytes text, struct json *o) {
    r->trouble = simdjson::EMPTY;
    if (!text.n) return MALFORMED;
    r->marked = text.n > 2 && std::memcmp(text.p, "\xef\xbb\xbf", 3) == 0;
    if (r->parser.max_depth() != REFUSED_DEPTH && r->parser.allocate(64u << 10, REFUSED_DEPTH))
        return NOMEM;
    element e;
    r->trouble = r->parser.parse(text.p, text.n, true).get(e);
    if (r->trouble) return MALFORMED;
    *o = out(e);
    return OK;
}

extern "C" const char *json_trouble(const struct json_reader *r) {
    switch (r->trouble) {
    case simdjson::EMPTY: return "there is nothing in it";
    case simdjson::UTF8_ERROR: return "it is not UTF-8";
    case simdjson::DEPTH_ERROR: return "it is nested deeper than 64";
    case simdjson::NUMBER_ERROR:
        return "a number in it is written wrong, or beyond what 64 bits or a double hold";
    case simdjson::STRING_ERROR: return "a string in it has an escape that is none";
    case simdjson::UNESCAPED_CHARS: return "a control character in a string must be escaped";
    case simdjson::UNCLOSED_STRING: return "a string in it does not end";
    default:
        return r->marked ? "it begins with a byte order mark"
                         : "a brace, comma, colon, quote or value is missing, wrong or too much";
    }
}

extern "C" enum json_kind json_kind_of(struct json v) {
    switch (in(v).type()) {
    case element_type::ARRAY: return JSON_ARRAY;
    case element_type::OBJECT: return JSON_OBJECT;
    case element_type::STRING: return JSON_STRING;
    case element_type::BOOL: return JSON_BOOL;
    case element_type::NULL_VALUE: return JSON_NULL;
    case element_type::INT64: return JSON_I64;
    default: return JSON_F64;
    }
}

extern "C" struct bytes json_string(struct json v) {
    std::string_view s;
    return in(v).get_string().get(s) ? bytes{nullptr, 0} : view(s);
}
extern "C" int64_t json_i64(struct json v) {
    int64_t n;
    return in(v).get_int64().get(n) ? 0 : n;
}
extern "C" double json_f64(struct json v) {
    double n;
    return in(v).get_double().get(n) ? 0 : n;
}
extern "C" bool json_bool(struct json v) {
    bool b;
    return in(v).get_bool().get(b) ? false : b;
}

extern "C" bool json_get(struct json object, const char *key, struct json *o) {
    element e;
    if (in(object).at_key(key).get(e)) return false;
    *o = out(e);
    return true;
}

extern "C" void json_each(struct json v, json_each_fn *fn, void *arg) {
    simdjson::dom::object object;
    simdjson::dom::array array;
    if (!in(v).get_object().get(object)) {
        for (auto field : object)
            if (!fn(arg, view(field.key), out(field.value))) return;
    } else if (!in(v).get_array().get(array)) {
        for (element e : array)
            if (!fn(arg, bytes{nullptr, 0}, out(e))) return;
    }
}

extern "C" size_t json_count(struct json v) {
    simdjson::dom::object object;
    simdjson::dom::array array;
    if (!in(v).get_object().get(object)) return object.size();
    return in(v).get_array().get(array) ? 0 : array.size();
}

/* A number that is no integer of 64 bits: the library finds its shortest text. */
static void raw_number(element e, struct buf *o) {
    simdjson::internal::string_builder<> b;
    b.append(e);
    std::string_view s = b.str();
    buf_add(o, s.data(), s.size());
}

static void raw(element e, struct buf *o);

static void raw_object(simdjson::dom::object object, struct buf *o) {
    char before = '{';
    for (auto field : object) {
        buf_char(o, before);
        json_str(o, view(field.key));
        buf_char(o, ':');
        raw(field.value, o);
        before = ',';
    }
    if (before == '{') buf_char(o, '{');
    buf_char(o, '}');
}

static void raw_array(simdjson::dom::array array, struct buf *o) {
    char before = '[';
    for (element e : array) {
        buf_char(o, before);
        raw(e, o);
        before = ',';
    }
    if (before == '[') buf_char(o, '[');
    buf_char(o, ']');
}

static void raw(element e, struct buf *o) {
    struct json_out j = {o, false};
    switch (e.type()) {
    case element_type::ARRAY: raw_array(e.get_array().value_unsafe(), o); return;
    case element_type::OBJECT: raw_object(e.get_object().value_unsafe(), o); return;
    case element_type::STRING: json_str(o, view(e.get_string().value_unsafe())); return;
    case element_type::BOOL: jo_bool(&j, e.get_bool().value_unsafe()); return;
    case element_type::NULL_VALUE: jo_null(&j); return;
    case element_type::INT64: jo_i64(&j, e.get_int64().value_unsafe()); return;
    default: raw_number(e, o);
    }
}

extern "C" void json_raw(struct json v, struct buf *o) { raw(in(v), o); }
