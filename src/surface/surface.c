/* surface: outcomes of a step, problems and answers, and what every plan needs of a request.
 * SPDX-License-Identifier: Apache-2.0 */
#include "surface/surface.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct {
    const char *code, *title;
    int status;
    uint8_t reason;
    bool permanent;
} TABLE[] = {{"", "", 200, 0, true},
#define X(name, code, status, reason, permanent, title) {code, title, status, reason, permanent},
    PROBLEMS(X)
#undef X
};
int problem_status(enum problem p) { return TABLE[p].status; }
uint8_t problem_reason(enum problem p) { return TABLE[p].reason; }
bool problem_permanent(enum problem p) { return TABLE[p].permanent; }
const char *problem_code(enum problem p) { return TABLE[p].code; }
const char *problem_title(enum problem p) { return TABLE[p].title; }

void answer_ok(struct answer *a, int status) {
    a->status = status;
    a->problem = PROBLEM_NONE;
}

/* A cut must not leave half a character. */
static void whole_text(char *text) {
    size_t n = strlen(text);
    while (n && !utf8_valid(bytes_of(text, n))) text[--n] = 0;
}

void answer_problem(struct answer *a, enum problem p, const char *field, const char *fmt, ...) {
    a->problem = p;
    a->status = TABLE[p].status;
    snprintf(a->field, sizeof a->field, "%s", field ? field : "");
    whole_text(a->field);
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(a->detail, sizeof a->detail, fmt, ap);
    va_end(ap);
    whole_text(a->detail);
    buf_reset(&a->body);
}

void answer_problem_json(const struct answer *a, struct buf *out) {
    struct json_out o = {out, false};
    jo_open_obj(&o);
    jo_key(&o, "type");
    char type[80];
    snprintf(type, sizeof type, "/problems/%s", TABLE[a->problem].code);
    jo_str(&o, bytes_str(type));
    jo_key(&o, "title");
    jo_str(&o, bytes_str(TABLE[a->problem].title));
    jo_key(&o, "status");
    jo_i64(&o, a->status);
    jo_key(&o, "detail");
    jo_str(&o, bytes_str(a->detail));
    if (a->field[0]) {
        jo_key(&o, "field");
        jo_str(&o, bytes_str(a->field));
    }
    jo_close_obj(&o);
}

/* ---- outcomes ---- */
static void *grow(struct step *s, void *list, size_t *cap, size_t size) {
    size_t want = *cap ? *cap * 2 : 8;
    void *bigger = arena_alloc(s->arena, want * size);
    if (*cap) memcpy(bigger, list, *cap * size);
    *cap = want;
    return bigger;
}

void step_relay(struct step *s, uint16_t to, uint8_t kind, struct bytes body) {
    if (s->relay_count == s->relay_cap)
        s->relays = grow(s, s->relays, &s->relay_cap, sizeof *s->relays);
    s->relays[s->relay_count++] = (struct relay){to, kind, s->app, arena_copy(s->arena, body)};
}

void step_deliver(struct step *s, const struct delivery *d) {
    if (s->delivery_count == s->delivery_cap)
        s->deliveries = grow(s, s->deliveries, &s->delivery_cap, sizeof *s->deliveries);
    struct delivery *c = &s->deliveries[s->delivery_count++];
    *c = *d;
    c->user = arena_copy(s->arena, d->user);
    c->audience = arena_copy(s->arena, d->audience);
    c->device = arena_copy(s->arena, d->device);
    c->body = arena_copy(s->arena, d->body);
    c->entry.conversation = arena_copy(s->arena, d->entry.conversation);
    c->entry.from = arena_copy(s->arena, d->entry.from);
    c->entry.extra = arena_copy(s->arena, d->entry.extra);
}

/* ---- requests ---- */
bool viewer_blocks(const struct viewer *v, struct bytes user) {
    struct unpack u = unpack_of(v->blocks);
    while (unpack_more(&u))
        if (bytes_eq(unpack_bytes(&u), user)) return true;
    return false;
}

struct bytes request_query(const struct request *r, const char *name) {
    for (size_t i = 0; i < r->query_count; i++)
        if (bytes_is(r->query_names[i], name)) return r->query_values[i];
    return (struct bytes){0};
}

bool request_limit(const struct request *r, struct answer *a, unsigned *out) {
    struct bytes v = request_query(r, "limit");
    *out = 50;
    if (!v.n) return true;
    unsigned n = 0;
    for (size_t i = 0; i < v.n; i++)
        n = v.p[i] < '0' || v.p[i] > '9' || n > 1000 ? 1001 : n * 10 + (v.p[i] - '0');
    *out = n;
    if (n >= 1 && n <= 200) return true;
    answer_problem(a, PROBLEM_INVALID_VALUE, "limit", "limit must be a whole number from 1 to 200");
    return false;
}

bool cursor_good(enum err e, struct answer *a) {
    if (e == STALE)
        answer_problem(a, PROBLEM_GONE, "cursor",
            "this cursor is of a time before a restore; begin without a cursor");
    else if (e != OK)
        answer_problem(a, PROBLEM_MALFORMED, "cursor", "this is not a cursor of this list");
    return e == OK;
}

bool request_cursor(const struct request *r, struct answer *a, uint64_t *out) {
    return cursor_good(cursor_parse(request_query(r, "cursor"), r->epoch, out), a);
}

bool request_object(const struct request *r, const struct json_field *fields, size_t n,
    struct json_value *out, struct answer *a) {
    if (r->has_json) return request_part(r->json, fields, n, out, a);
    answer_problem(a, PROBLEM_MALFORMED, "", "a JSON object is needed as the body");
    return false;
}

bool request_empty(const struct request *r, struct answer *a) {
    struct json_value none;
    return !r->has_json || request_part(r->json, NULL, 0, &none, a);
}

struct id_list {
    const char *field;
    struct buf *packed;
    uint64_t n;
    struct answer *a;
    bool good;
};
static bool id_take(void *arg, struct bytes key, struct json v) {
    (void)key;
    struct id_list *l = arg;
    struct bytes id = json_string(v);
    if (json_kind_of(v) != JSON_STRING) {
        answer_problem(l->a, PROBLEM_WRONG_TYPE, l->field, "'%s' is a list of strings", l->field);
        return l->good = false;
    }
    if (!id_valid(id)) {
        answer_problem(l->a, PROBLEM_INVALID_VALUE, l->field,
            "'%s' is a list of ids: 1 to 64 of A-Z a-z 0-9 _ . : -", l->field);
        return l->good = false;
    }
    pack_bytes(l->packed, id);
    l->n++;
    return true;
}

bool request_ids(
    struct json list, const char *field, struct buf *packed, uint64_t *out_n, struct answer *a) {
    struct id_list l = {field, packed, 0, a, true};
    json_each(list, id_take, &l);
    *out_n = l.n;
    return l.good;
}

bool request_part(struct json object, const struct json_field *fields, size_t n,
    struct json_value *out, struct answer *a) {
    struct json_fault f;
    enum err e = json_read_object(object, fields, n, out, &f);
    if (e == OK) return true;
    enum problem p = f.kind == FAULT_UNKNOWN || f.kind == FAULT_DUPLICATE ? PROBLEM_UNKNOWN_FIELD
                     : f.kind == FAULT_TYPE                               ? PROBLEM_WRONG_TYPE
                     : f.kind == FAULT_LONG                               ? PROBLEM_TOO_LARGE
                                                                          : PROBLEM_INVALID_VALUE;
    answer_problem(a, p, f.field, "%s", f.words);
    return false;
}

void field_inside(char out[static FIELD_BYTES], const char *path, struct bytes name) {
    size_t at = strlen(path);
    if (at > FIELD_BYTES - 2) at = FIELD_BYTES - 2;
    memcpy(out, path, at);
    out[at++] = '.';
    if (name.n > FIELD_BYTES - 1 - at) name.n = FIELD_BYTES - 1 - at;
    if (name.n) memcpy(out + at, name.p, name.n);
    out[at + name.n] = 0;
    whole_text(out);
}

bool request_inside(struct json object, const char *path, const struct json_field *fields, size_t n,
    struct json_value *out, struct answer *a) {
    char leaf[FIELD_BYTES];
    if (json_kind_of(object) != JSON_OBJECT) {
        answer_problem(a, PROBLEM_WRONG_TYPE, path, "'%s' is an object", path);
        return false;
    }
    if (request_part(object, fields, n, out, a)) return true;
    memcpy(leaf, a->field, sizeof leaf);
    field_inside(a->field, path, bytes_str(leaf));
    return false;
}

struct plan_part *plan_part(struct plan *p, uint16_t partition) {
    if (p->part_count == p->part_cap) {
        p->part_cap = p->part_cap ? p->part_cap * 2 : 8;
        p->parts = must_realloc(p->parts, p->part_cap * sizeof *p->parts);
    }
    struct plan_part *part = &p->parts[p->part_count++];
    *part = (struct plan_part){.partition = partition};
    return part;
}

void plan_parts_reset(struct plan *p) {
    for (size_t i = 0; i < p->part_count; i++) buf_done(&p->parts[i].body);
    p->part_count = 0;
}

void plan_done(struct plan *p) {
    plan_parts_reset(p);
    free(p->parts);
    buf_done(&p->body);
    *p = (struct plan){0};
}
