/* wire: JSON writing, and objects read against a schema. SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <string.h>

#include "wire/wire.h"

static const char HEX[] = "0123456789abcdef";

static void escape(struct buf *b, uint8_t c) {
    switch (c) {
    case '"': buf_str(b, "\\\""); return;
    case '\\': buf_str(b, "\\\\"); return;
    case '\b': buf_str(b, "\\b"); return;
    case '\f': buf_str(b, "\\f"); return;
    case '\n': buf_str(b, "\\n"); return;
    case '\r': buf_str(b, "\\r"); return;
    case '\t': buf_str(b, "\\t"); return;
    default: {
        char u[6] = {'\\', 'u', '0', '0', HEX[c >> 4], HEX[c & 15]};
        buf_add(b, u, 6);
    }
    }
}

/* Eight bytes at once: is none of them below 0x20, a quote or a backslash? (Mycroft's test for a zero
 * byte.) */
static bool eight_are_plain(const uint8_t *p) {
    const uint64_t ones = 0x0101010101010101u, tops = 0x8080808080808080u;
    uint64_t w, quote, back;
    memcpy(&w, p, sizeof w);
    quote = w ^ ones * '"';
    back = w ^ ones * '\\';
    return !(
        (((w - ones * 0x20) & ~w) | ((quote - ones) & ~quote) | ((back - ones) & ~back)) & tops);
}

void json_str(struct buf *b, struct bytes v) {
    buf_reserve(b, v.n + 2);
    buf_char(b, '"');
    size_t from = 0;
    for (size_t i = 0; i < v.n; i++) {
        while (i + 8 <= v.n && eight_are_plain(v.p + i)) i += 8;
        if (i == v.n) break;
        uint8_t c = v.p[i];
        if (c >= 0x20 && c != '"' && c != '\\') continue;
        buf_add(b, v.p + from, i - from);
        escape(b, c);
        from = i + 1;
    }
    if (v.n > from) buf_add(b, v.p + from, v.n - from);
    buf_char(b, '"');
}

static void comma(struct json_out *o) {
    if (o->comma) buf_char(o->b, ',');
    o->comma = true;
}
void jo_open_obj(struct json_out *o) {
    comma(o);
    buf_char(o->b, '{');
    o->comma = false;
}
void jo_close_obj(struct json_out *o) {
    buf_char(o->b, '}');
    o->comma = true;
}
void jo_open_arr(struct json_out *o) {
    comma(o);
    buf_char(o->b, '[');
    o->comma = false;
}
void jo_close_arr(struct json_out *o) {
    buf_char(o->b, ']');
    o->comma = true;
}
void jo_str(struct json_out *o, struct bytes v) {
    comma(o);
    json_str(o->b, v);
}
void jo_str_any(struct json_out *o, struct bytes v) {
    if (utf8_valid(v)) return jo_str(o, v);
    struct buf ascii = {0};
    for (size_t i = 0; i < v.n; i++) buf_char(&ascii, v.p[i] < 0x80 ? (char)v.p[i] : '?');
    jo_str(o, buf_view(&ascii));
    buf_done(&ascii);
}
void jo_i64(struct json_out *o, int64_t v) {
    comma(o);
    if (v < 0) buf_char(o->b, '-');
    buf_u64dec(o->b, v < 0 ? 0 - (uint64_t)v : (uint64_t)v);
}
void jo_u64(struct json_out *o, uint64_t v) {
    comma(o);
    buf_u64dec(o->b, v);
}
void jo_bool(struct json_out *o, bool v) {
    comma(o);
    buf_str(o->b, v ? "true" : "false");
}
void jo_null(struct json_out *o) {
    comma(o);
    buf_str(o->b, "null");
}
void jo_raw(struct json_out *o, struct bytes json) {
    comma(o);
    buf_bytes(o->b, json);
}
void jo_time(struct json_out *o, int64_t ms) {
    char t[26] = "\"";
    time_format(ms, t + 1);
    t[25] = '"';
    comma(o);
    buf_add(o->b, t, 26);
}

/* ---- schemas ---- */
#define FIELD_SHOWN_MAX 60 /* bytes of a name of the client's that a fault shows */

struct reading {
    const struct json_field *fields;
    size_t n;
    struct json_value *out;
    struct json_fault *fault;
    enum err err;
};

static const char *kind_words(uint8_t k) {
    static const char *const W[] = {"", "null", "true or false", "an integer", "a number",
        "a string", "an array", "an object", "an id", "any value"};
    return k < sizeof W / sizeof *W ? W[k] : "";
}

static bool fault_at(
    struct reading *r, enum err e, int kind, struct bytes field, const char *words) {
    r->err = e;
    r->fault->kind = (unsigned)kind;
    if (field.n > FIELD_SHOWN_MAX) field.n = FIELD_SHOWN_MAX;
    while (field.n && !utf8_valid(field)) field.n--; /* no half character */
    snprintf(r->fault->field, sizeof r->fault->field, "%.*s", (int)field.n,
        field.n ? (const char *)field.p : "");
    snprintf(r->fault->words, sizeof r->fault->words, "%s", words);
    return false;
}

static bool type_fits(uint8_t want, struct json v) {
    enum json_kind k = json_kind_of(v);
    if (want == JSON_ANY) return true;
    if (want == JSON_ID) return k == JSON_STRING;
    return k == want || (want == JSON_F64 && k == JSON_I64);
}

static bool value_fits(
    struct reading *r, const struct json_field *f, struct bytes key, struct json v) {
    char words[160];
    if (!type_fits(f->kind, v)) {
        snprintf(words, sizeof words, "'%s' must be %s", f->name, kind_words(f->kind));
        return fault_at(r, MALFORMED, FAULT_TYPE, key, words);
    }
    if (f->kind == JSON_ID && !id_valid(json_string(v))) {
        snprintf(words, sizeof words, "'%s' must be 1 to 64 of A-Z a-z 0-9 _ . : -", f->name);
        return fault_at(r, REFUSED, FAULT_VALUE, key, words);
    }
    if (!f->max_bytes) return true;
    size_t n = json_string(v).n;
    if (f->kind == JSON_ANY || f->kind == JSON_ARRAY || f->kind == JSON_OBJECT) {
        struct buf raw = {0};
        json_raw(v, &raw);
        n = raw.n;
        buf_done(&raw);
    }
    if (n <= f->max_bytes) return true;
    snprintf(words, sizeof words, "'%s' has %zu bytes; %zu are allowed", f->name, n, f->max_bytes);
    return fault_at(r, REFUSED, FAULT_LONG, key, words);
}

/* With the names that there are, as many as fit. */
static bool unknown(struct reading *r, struct bytes key) {
    char words[160];
    if (!r->n)
        return fault_at(r, MALFORMED, FAULT_UNKNOWN, key,
            "this field is not known here: leave the body out, or send {}");
    int n = snprintf(words, sizeof words, "this field is not known here; known: ");
    for (size_t i = 0; i < r->n; i++) {
        size_t room = sizeof words - (size_t)n, wanted = strlen(r->fields[i].name) + sizeof ", ...";
        if (room < wanted) {
            snprintf(words + n, room, "...");
            break;
        }
        n += snprintf(words + n, room, "%s%s", r->fields[i].name, i + 1 < r->n ? ", " : "");
    }
    return fault_at(r, MALFORMED, FAULT_UNKNOWN, key, words);
}

static bool read_member(void *arg, struct bytes key, struct json v) {
    struct reading *r = arg;
    size_t i = 0;
    while (i < r->n && !bytes_is(key, r->fields[i].name)) i++;
    if (i == r->n) return unknown(r, key);
    struct json_value *out = &r->out[i];
    if (out->present)
        return fault_at(r, MALFORMED, FAULT_DUPLICATE, key, "this field is there twice");
    out->present = true;
    out->v = v;
    out->is_null = json_kind_of(v) == JSON_NULL && r->fields[i].kind != JSON_ANY;
    if (out->is_null && r->fields[i].nullable) return true;
    return value_fits(r, &r->fields[i], key, v);
}

enum err json_read_object(struct json object, const struct json_field *fields, size_t n,
    struct json_value *out, struct json_fault *fault) {
    memset(out, 0, n * sizeof *out);
    memset(fault, 0, sizeof *fault);
    struct reading r = {fields, n, out, fault, OK};
    if (json_kind_of(object) != JSON_OBJECT) {
        fault_at(&r, MALFORMED, FAULT_TYPE, (struct bytes){0}, "the body must be a JSON object");
        return r.err;
    }
    json_each(object, read_member, &r);
    for (size_t i = 0; i < n && r.err == OK; i++)
        if (fields[i].required && !out[i].present) {
            char words[160];
            snprintf(words, sizeof words, "'%s' is required", fields[i].name);
            fault_at(&r, REFUSED, FAULT_MISSING, bytes_str(fields[i].name), words);
        }
    return r.err;
}

/* ---- Server-Sent Events ---- */
/* `text` as lines that begin with `prefix`; \n, \r and \r\n each end a line for the reader, so each
 * begins a new one here. */
static void sse_lines(struct buf *b, const char *prefix, struct bytes text) {
    size_t from = 0;
    for (size_t i = 0; i <= text.n; i++) {
        if (i < text.n && text.p[i] != '\n' && text.p[i] != '\r') continue;
        buf_str(b, prefix);
        if (i > from) buf_add(b, text.p + from, i - from);
        buf_char(b, '\n');
        if (i + 1 < text.n && text.p[i] == '\r' && text.p[i + 1] == '\n') i++;
        from = i + 1;
    }
}

void sse_write_event(struct buf *b, struct bytes id, struct bytes event, struct bytes data) {
    if (id.n) sse_lines(b, "id: ", id);
    if (event.n) sse_lines(b, "event: ", event);
    sse_lines(b, "data: ", data);
    buf_char(b, '\n');
}

void sse_write_comment(struct buf *b, struct bytes text) {
    sse_lines(b, ": ", text);
    buf_char(b, '\n');
}
