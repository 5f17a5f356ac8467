/* workflow: the words of a workflow's templates in someone's language, and the values that they show.
 *
 *   templates   u8 place of the default set · varbytes { varbytes locale of each set } · for each set
 *               varbytes { varbytes title, body, subject, text, html }
 * SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "workflow/workflow.h"

/* ---- values ---- */
static bool arg_pack(void *arg, struct bytes key, struct json v) {
    struct buf *out = arg;
    enum json_kind kind = json_kind_of(v);
    if (kind == JSON_NULL || kind == JSON_ARRAY || kind == JSON_OBJECT) return true;
    pack_bytes(out, key);
    pack_u8(out, kind == JSON_I64   ? TEMPLATE_INTEGER
                 : kind == JSON_F64 ? TEMPLATE_NUMBER
                                    : TEMPLATE_TEXT);
    if (kind == JSON_I64) {
        pack_u64(out, (uint64_t)json_i64(v));
    } else if (kind == JSON_F64) {
        struct template_arg a = {.number = json_f64(v)};
        uint64_t bits;
        memcpy(&bits, &a.number, sizeof bits);
        pack_u64(out, bits);
    } else if (kind == JSON_BOOL) {
        pack_bytes(out, json_bool(v) ? BYTES("true") : BYTES("false"));
    } else {
        pack_bytes(out, json_string(v));
    }
    return true;
}

void args_pack(struct json data, struct buf *out) { json_each(data, arg_pack, out); }

size_t args_unpack(struct bytes packed, struct template_arg *out, size_t most) {
    struct unpack u = unpack_of(packed);
    size_t n = 0;
    while (n < most && unpack_more(&u)) {
        struct template_arg *a = &out[n++];
        *a = (struct template_arg){.name = unpack_bytes(&u)};
        a->kind = (enum template_kind)unpack_u8(&u);
        if (a->kind == TEMPLATE_TEXT) {
            a->text = unpack_bytes(&u);
            continue;
        }
        uint64_t bits = unpack_u64(&u);
        if (a->kind == TEMPLATE_NUMBER) memcpy(&a->number, &bits, sizeof bits);
        else a->integer = (int64_t)bits;
    }
    check(!u.bad);
    return n;
}

static struct template_arg *arg_find(struct template_arg *args, size_t n, struct bytes name) {
    for (size_t i = 0; i < n; i++)
        if (bytes_eq(args[i].name, name)) return &args[i];
    return NULL;
}

static bool arg_fits(struct template_arg *a, uint8_t takes) {
    if (takes & 1u << a->kind) return true;
    if (a->kind != TEMPLATE_TEXT || !(takes & 1u << TEMPLATE_TIME) ||
        time_parse(a->text, &a->integer) != OK)
        return false;
    a->kind = TEMPLATE_TIME;
    a->text = (struct bytes){0};
    return true;
}

bool workflow_args_fit(
    const struct workflow *w, struct template_arg *args, size_t n, struct answer *a) {
    struct unpack u = unpack_of(w->needs);
    while (unpack_more(&u)) {
        struct bytes name = unpack_bytes(&u);
        uint8_t takes = unpack_u8(&u);
        struct template_arg *arg = arg_find(args, n, name);
        if (arg && arg_fits(arg, takes)) continue;
        const char *kind = takes & 1u << TEMPLATE_TEXT     ? "a text"
                           : takes & 1u << TEMPLATE_NUMBER ? "a number"
                           : takes & 1u << TEMPLATE_TIME   ? "a time such as 2026-01-02T03:04:05Z"
                                                           : "a whole number";
        answer_problem(a, PROBLEM_INVALID_VALUE, "data",
            "the workflow's templates need '%.*s' in 'data': %s", (int)name.n, (const char *)name.p,
            kind);
        return false;
    }
    return true;
}

static bool is_time(uint8_t takes) {
    return takes & 1u << TEMPLATE_TIME && !(takes & (1u << TEMPLATE_TEXT | 1u << TEMPLATE_NUMBER));
}

void workflow_args_settle(
    const struct workflow *w, struct bytes zone, struct template_arg *args, size_t n) {
    struct unpack u = unpack_of(w->needs);
    while (unpack_more(&u)) {
        struct bytes name = unpack_bytes(&u);
        uint8_t takes = unpack_u8(&u);
        struct template_arg *arg = is_time(takes) ? arg_find(args, n, name) : NULL;
        if (!arg || !arg_fits(arg, takes)) continue;
        arg->kind = TEMPLATE_TIME;
        arg->text = zone;
    }
}

bool workflow_tells_times(const struct workflow *w) {
    struct unpack u = unpack_of(w->needs);
    bool any = false;
    while (!any && unpack_more(&u)) {
        (void)unpack_bytes(&u);
        any = is_time(unpack_u8(&u));
    }
    return any;
}

bool workflow_has_choice(const struct workflow *w) {
    struct unpack u = unpack_of(w->templates);
    (void)unpack_u8(&u);
    u = unpack_of(unpack_bytes(&u));
    (void)unpack_bytes(&u);
    return unpack_more(&u);
}

/* ---- words ---- */
struct set {
    struct bytes locale, parts;
};

static struct set set_for(struct tools *t, const struct workflow *w, struct bytes locale) {
    struct unpack u = unpack_of(w->templates);
    size_t fallback = unpack_u8(&u);
    struct bytes names = unpack_bytes(&u);
    struct unpack n = unpack_of(names);
    struct set s = {0};
    size_t at = template_locale_pick_kept(t->kit, locale, names);
    if (at == SIZE_MAX) at = fallback;
    for (size_t i = 0; i <= at; i++) {
        s.locale = unpack_bytes(&n);
        s.parts = unpack_bytes(&u);
    }
    check(!u.bad && !n.bad);
    return s;
}

struct bytes workflow_words_locale(struct tools *t, const struct workflow *w, struct bytes locale) {
    return set_for(t, w, locale).locale;
}

/* Some of its variables have no value, or one of another kind, as the workflow was changed since: they
 * show nothing, or 0. */
static enum err render_missing(struct template_program *p, const struct template_arg *args,
    size_t n, enum template_escape escape, struct buf *out, struct template_fault *fault) {
    struct template_arg all[TEMPLATE_VARIABLES_MAX];
    size_t count = template_variable_count(p);
    for (size_t i = 0; i < count; i++) {
        struct template_variable v = template_variable_at(p, i);
        all[i] = (struct template_arg){.name = v.name,
            .kind = v.takes & 1u << TEMPLATE_TEXT ? TEMPLATE_TEXT : TEMPLATE_INTEGER};
        for (size_t k = n; k; k--)
            if (bytes_eq(args[k - 1].name, v.name) && v.takes & 1u << args[k - 1].kind)
                all[i] = args[k - 1];
    }
    return template_render(p, all, count, escape, out, fault);
}

bool workflow_words(struct tools *t, const struct workflow *w, struct bytes locale,
    const char *part, const struct template_arg *args, size_t n, struct buf *out,
    struct template_fault *fault) {
    struct set set = set_for(t, w, locale);
    struct unpack u = unpack_of(set.parts);
    struct template_program *p;
    for (int i = 0; i < TEMPLATE_PART_COUNT; i++) {
        struct bytes text = unpack_bytes(&u);
        if (strcmp(TEMPLATE_PARTS[i], part) != 0) continue;
        if (!text.n) return true;
        enum template_escape escape = strcmp(part, "html") == 0 ? TEMPLATE_HTML : TEMPLATE_PLAIN;
        if (template_cache_get(t->programs, workflow_locale(set.locale), text, &p, fault) != OK)
            return false;
        size_t before = out->n;
        enum err e = template_render(p, args, n, escape, out, fault);
        if (e == MISSING || e == MALFORMED) out->n = before;
        if (e == MISSING || e == MALFORMED) e = render_missing(p, args, n, escape, out, fault);
        return e == OK;
    }
    check(false);
    return false;
}
