/* workflow: workflows: how one sort of notification behaves. A change is laid over what is stored, the
 * whole is checked where ICU is, and stored if nobody else changed it meanwhile.
 *
 *   PUT ─▶ ask home for what is there ─▶ merge, check ─▶ record at home ─▶ copies (settings.c) ─▶ answer
 *               ▲─────────── it changed meanwhile ──────────────┘
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "workflow/workflow.h"

static void workflow_travels(struct bytes value, struct buf *out);
static const struct settings WORKFLOWS = {
    "workflow", "#workflows", '#', KIND_WORKFLOW_COPY, 1000, NULL, workflow_travels};

bool workflow_find(struct cells *c, struct bytes app, struct bytes id, struct workflow *out) {
    struct bytes v = settings_find(c, &WORKFLOWS, app, id, &out->version);
    if (!v.n) return false;
    check(definition_unpack(v, out));
    return true;
}

/* But for its source, which is half of it: requests ask its home. */
static void workflow_travels(struct bytes value, struct buf *out) {
    struct workflow w;
    check(definition_unpack(value, &w));
    buf_add(out, value.p, (size_t)(w.templates.p + w.templates.n - value.p));
    pack_bytes(out, (struct bytes){0});
}

static bool workflow_whole(struct bytes value) {
    struct workflow w;
    return definition_unpack(value, &w);
}
bool workflows_sound(struct cells *c, struct buf *why) {
    return settings_sound(c, &WORKFLOWS, workflow_whole, why);
}

static void workflow_json(struct json_out *o, struct bytes id, struct bytes value, int64_t now_ms) {
    struct workflow w;
    check(definition_unpack(value, &w));
    jo_open_obj(o);
    jo_key(o, "id");
    jo_str(o, id);
    if (w.source.n > 2) { /* its members */
        buf_char(o->b, ',');
        buf_add(o->b, w.source.p + 1, w.source.n - 2);
    }
    jo_close_obj(o);
}

/* ---- apply ---- */
static void apply_put(struct step *s) {
    struct unpack u = unpack_of(s->body);
    struct bytes id = unpack_bytes(&u);
    uint64_t follows = unpack_u64(&u), version;
    struct bytes definition = unpack_bytes(&u);
    check(!u.bad);
    (void)settings_find(s->cells, &WORKFLOWS, s->app, id, &version);
    if (definition.n && version != follows) {
        answer_problem(s->answer, PROBLEM_CONFLICT, "", "it was changed meanwhile");
        return;
    }
    if (!settings_set(s, &WORKFLOWS, id, definition) || !s->wanted || !definition.n) return;
    struct json_out o = {&s->answer->body, false};
    workflow_json(&o, id, definition, s->time_ms);
}

static void apply_copy(struct step *s) { settings_copied(s, &WORKFLOWS); }

/* ---- PUT ---- */
enum { PUT_TRIES_MAX = 20 };
struct put {
    bool given[DEFINITION_FIELD_COUNT];
    struct bytes now[DEFINITION_FIELD_COUNT]; /* JSON; empty: cleared */
    unsigned tries;
};

static void query_stored(struct query *q) {
    const struct request *r = q->request;
    uint64_t version;
    struct workflow w;
    struct bytes v = settings_find(q->cells, &WORKFLOWS, r->who.app, r->params[0], &version);
    answer_ok(q->answer, 200);
    pack_u64(&q->answer->body, version);
    if (v.n) {
        check(definition_unpack(v, &w));
        buf_bytes(&q->answer->body, w.source);
    }
}

static bool gather_found(
    struct request *r, struct plan *p, const struct answer *parts, struct answer *a);
static void put_begin(const struct request *r, struct plan *p) {
    plan_parts_reset(p);
    plan_part(p, settings_home(&WORKFLOWS, r->who.app, r->partitions))->query = query_stored;
    p->gather = gather_found;
}

static bool gather_put(
    struct request *r, struct plan *p, const struct answer *parts, struct answer *a) {
    struct put *put = r->args;
    if (parts[0].problem != PROBLEM_CONFLICT)
        return settings_stored(&WORKFLOWS, r, p, &parts[0], a);
    if (++put->tries == PUT_TRIES_MAX) {
        answer_problem(a, PROBLEM_OVERLOADED, "",
            "others keep changing this workflow; nothing was stored; try again");
        a->retry_after_s = 1;
        return false;
    }
    put_begin(r, p);
    return true;
}

static bool gather_found(
    struct request *r, struct plan *p, const struct answer *parts, struct answer *a) {
    const struct put *put = r->args;
    struct unpack u = unpack_of(buf_view(&parts[0].body));
    struct buf merged = {0}, definition = {0};
    uint64_t version = unpack_u64(&u);
    check(!u.bad);
    definition_merge(bytes_of(u.p, (size_t)(u.end - u.p)), put->now, put->given, &merged);
    bool good = definition_read(r->tools, buf_view(&merged), &definition, a);
    if (good) {
        plan_parts_reset(p);
        struct plan_part *part = plan_part(p, settings_home(&WORKFLOWS, r->who.app, r->partitions));
        part->kind = KIND_WORKFLOW_PUT;
        pack_bytes(&part->body, r->params[0]);
        pack_u64(&part->body, version);
        pack_bytes(&part->body, buf_view(&definition));
        p->gather = gather_put;
    }
    buf_done(&merged);
    buf_done(&definition);
    return good;
}

static enum err plan_put(struct request *r, struct plan *p, struct answer *a) {
    struct json_value f[DEFINITION_FIELD_COUNT];
    if (!request_object(r, DEFINITION_FIELDS, DEFINITION_FIELD_COUNT, f, a)) return REFUSED;
    struct put *put = arena_zero(r->arena, sizeof *put);
    struct buf raw = {0};
    for (int i = 0; i < DEFINITION_FIELD_COUNT; i++) {
        put->given[i] = f[i].present;
        if (!f[i].present || json_kind_of(f[i].v) == JSON_NULL) continue;
        buf_reset(&raw);
        json_raw(f[i].v, &raw);
        put->now[i] = arena_copy(r->arena, buf_view(&raw));
    }
    buf_done(&raw);
    r->args = put;
    put_begin(r, p);
    return OK;
}

/* ---- DELETE ---- */
static bool gather_deleted(
    struct request *r, struct plan *p, const struct answer *parts, struct answer *a) {
    return settings_stored(&WORKFLOWS, r, p, &parts[0], a);
}

static enum err plan_delete(struct request *r, struct plan *p, struct answer *a) {
    struct plan_part *part = plan_part(p, settings_home(&WORKFLOWS, r->who.app, r->partitions));
    part->kind = KIND_WORKFLOW_PUT;
    pack_bytes(&part->body, r->params[0]);
    pack_u64(&part->body, 0);
    pack_bytes(&part->body, (struct bytes){0});
    p->gather = gather_deleted;
    return OK;
}

/* ---- GET ---- */
static void workflow_missing(struct answer *a, struct bytes id) {
    answer_problem(
        a, PROBLEM_NOT_FOUND, "", "there is no workflow '%.*s'", (int)id.n, (const char *)id.p);
}

static void query_workflow(struct query *q) {
    const struct request *r = q->request;
    uint64_t version;
    struct bytes v = settings_find(q->cells, &WORKFLOWS, r->who.app, r->params[0], &version);
    if (!v.n) {
        workflow_missing(q->answer, r->params[0]);
        return;
    }
    struct json_out o = {&q->answer->body, false};
    answer_ok(q->answer, 200);
    workflow_json(&o, r->params[0], v, r->now_ms);
}

static enum err plan_get(struct request *r, struct plan *p, struct answer *a) {
    p->partition = settings_home(&WORKFLOWS, r->who.app, r->partitions);
    p->query = query_workflow;
    return OK;
}

static enum err plan_list(struct request *r, struct plan *p, struct answer *a) {
    return settings_plan_list(&WORKFLOWS, workflow_json, r, p, a);
}

/* ---- preview ---- */
struct preview {
    struct bytes locale, args; /* packed: of data, and behind them what else was given */
};

static bool arg_is_there(const struct template_arg *args, size_t n, const char *name) {
    for (size_t i = 0; i < n; i++)
        if (bytes_is(args[i].name, name)) return true;
    return false;
}

static int64_t arg_integer(
    const struct template_arg *args, size_t n, const char *name, int64_t none) {
    for (size_t i = 0; i < n; i++)
        if (bytes_is(args[i].name, name) && args[i].kind == TEMPLATE_INTEGER)
            return args[i].integer;
    return none;
}

/* Of actor, count, others and object, those that follow from the others or are left out. */
static size_t args_complete(struct template_arg *args, size_t n) {
    int64_t others = arg_integer(args, n, "others", 0);
    int64_t count = arg_integer(args, n, "count", others < INT64_MAX ? others + 1 : others);
    const struct template_arg rest[] = {
        {.name = BYTES("count"), .kind = TEMPLATE_INTEGER, .integer = count},
        {.name = BYTES("others"), .kind = TEMPLATE_INTEGER, .integer = count > 0 ? count - 1 : 0}};
    for (size_t i = 0; i < 2; i++)
        if (!arg_is_there(args, n, i ? "others" : "count")) args[n++] = rest[i];
    return n;
}

/* Title and body stand before all parts as well: they are what every channel shows. */
static void preview_json(
    struct json_out *o, struct bytes locale, const struct buf words[static TEMPLATE_PART_COUNT]) {
    jo_open_obj(o);
    jo_key(o, "locale");
    jo_str(o, locale);
    for (int i = 0; i < 2; i++) {
        jo_key(o, TEMPLATE_PARTS[i]);
        jo_str(o, buf_view(&words[i]));
    }
    jo_key(o, "templates");
    jo_open_obj(o);
    for (int i = 0; i < TEMPLATE_PART_COUNT; i++) {
        if (!words[i].n && i > 1) continue; /* of a mail's, only those that there are */
        jo_key(o, TEMPLATE_PARTS[i]);
        jo_str(o, buf_view(&words[i]));
    }
    jo_close_obj(o);
    jo_close_obj(o);
}

static void preview_render(struct query *q, const struct workflow *w, struct bytes locale,
    const struct template_arg *args, size_t n) {
    struct json_out o = {&q->answer->body, false};
    struct template_fault fault = {0};
    struct buf words[TEMPLATE_PART_COUNT] = {{0}};
    bool good = true;
    for (int i = 0; good && i < TEMPLATE_PART_COUNT; i++)
        good = workflow_words(q->tools, w, locale, TEMPLATE_PARTS[i], args, n, &words[i], &fault);
    if (good) {
        answer_ok(q->answer, 200);
        preview_json(&o, workflow_words_locale(q->tools, w, locale), words);
    } else {
        answer_problem(q->answer, PROBLEM_INVALID_VALUE, "data", "%s", fault.words);
    }
    for (int i = 0; i < TEMPLATE_PART_COUNT; i++) buf_done(&words[i]);
}

static void query_preview(struct query *q) {
    enum { ROOM = 128 };
    const struct request *r = q->request;
    const struct preview *v = r->args;
    struct workflow w;
    if (!workflow_find(q->cells, r->who.app, r->params[0], &w)) {
        workflow_missing(q->answer, r->params[0]);
        return;
    }
    struct template_arg *args = arena_alloc(r->arena, (ROOM + 2) * sizeof *args);
    size_t n = args_complete(args, args_unpack(v->args, args, ROOM));
    if (workflow_args_fit(&w, args, n, q->answer)) preview_render(q, &w, v->locale, args, n);
}

static void arg_text(struct buf *b, struct bytes name, struct bytes text) {
    pack_bytes(b, name);
    pack_u8(b, TEMPLATE_TEXT);
    pack_bytes(b, text);
}

static enum err plan_preview(struct request *r, struct plan *p, struct answer *a) {
    static const struct json_field F[] = {{"locale", JSON_STRING, false, true, 64},
        {"data", JSON_OBJECT, false, true, 65536}, {"actor", JSON_STRING, false, true, 1024},
        {"count", JSON_I64, false, true, 0}, {"object", JSON_STRING, false, true, 1024}};
    struct json_value f[5];
    struct preview *v = arena_zero(r->arena, sizeof *v);
    struct buf b = {0};
    if (!request_object(r, F, 5, f, a)) return REFUSED;
    bool has[5];
    for (int i = 0; i < 5; i++) has[i] = f[i].present && !f[i].is_null;
    if (has[0]) v->locale = arena_copy(r->arena, json_string(f[0].v));
    /* what is said outside of data goes first, and so wins */
    if (has[2]) arg_text(&b, BYTES("actor"), json_string(f[2].v));
    if (has[4]) arg_text(&b, BYTES("object"), json_string(f[4].v));
    if (has[3]) {
        pack_bytes(&b, BYTES("count"));
        pack_u8(&b, TEMPLATE_INTEGER);
        pack_u64(&b, (uint64_t)json_i64(f[3].v));
    }
    if (has[1]) args_pack(f[1].v, &b);
    v->args = arena_copy(r->arena, buf_view(&b));
    buf_done(&b);
    r->args = v;
    p->partition = settings_home(&WORKFLOWS, r->who.app, r->partitions);
    p->query = query_preview;
    return OK;
}

static const struct record_rule RULES[] = {
    {KIND_WORKFLOW_PUT, apply_put}, {KIND_WORKFLOW_COPY, apply_copy}};

static const struct route ROUTES[] = {
    {"PUT", "/v1/workflows/{id}", SCOPE_WRITE, TOKEN_NEVER, SPECIAL_NONE, plan_put, NULL},
    {"GET", "/v1/workflows/{id}", SCOPE_READ, TOKEN_NEVER, SPECIAL_NONE, plan_get, NULL},
    {"DELETE", "/v1/workflows/{id}", SCOPE_WRITE, TOKEN_NEVER, SPECIAL_NONE, plan_delete, NULL},
    {"GET", "/v1/workflows", SCOPE_READ, TOKEN_NEVER, SPECIAL_NONE, plan_list, NULL},
    {"POST", "/v1/workflows/{id}/preview", SCOPE_READ, TOKEN_NEVER, SPECIAL_NONE, plan_preview,
        NULL},
};

const struct surface_part workflows_part = {
    RULES, sizeof RULES / sizeof *RULES, ROUTES, sizeof ROUTES / sizeof *ROUTES};
