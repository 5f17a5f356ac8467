/* template: a program and arguments become text. Integers and words go straight into the output;
 * only dates, fractions and large numbers ask ICU.
 * SPDX-License-Identifier: Apache-2.0 */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "template/template_in.h"

struct rendering {
    struct template_program *p;
    const struct template_arg *args[TEMPLATE_VARIABLES_MAX]; /* of each variable */
    enum template_escape escape;
    struct buf *out;
    size_t begin; /* of our text in *out */
    struct template_fault *fault;
};
static enum err fail(struct rendering *r, enum err e, const char *what, struct bytes name) {
    size_t n = name.n < 64 ? name.n : 64;
    while (n && !utf8_valid(bytes_of(name.p, n))) n--; /* no half character */
    snprintf(r->fault->words, sizeof r->fault->words, what, (int)n, (const char *)name.p);
    return e;
}
static struct bytes name_of(const struct rendering *r, const struct step *s) {
    return template_variable_at(r->p, s->variable).name;
}

/* ---- values ---- */
static const char *entity(uint8_t c) {
    switch (c) {
    case '&': return "&amp;";
    case '<': return "&lt;";
    case '>': return "&gt;";
    case '"': return "&quot;";
    case '\'': return "&#39;";
    default: return NULL;
    }
}

static void value_put(struct rendering *r, struct bytes v) {
    if (r->escape == TEMPLATE_PLAIN) {
        buf_bytes(r->out, v);
        return;
    }
    size_t from = 0;
    for (size_t i = 0; i < v.n; i++) {
        const char *e = entity(v.p[i]);
        if (!e) continue;
        buf_add(r->out, v.p + from, i - from);
        buf_str(r->out, e);
        from = i + 1;
    }
    if (from < v.n) buf_add(r->out, v.p + from, v.n - from);
}

/* What ICU wrote behind `from` is a value as well. */
static void value_end(struct rendering *r, size_t from) {
    if (r->escape == TEMPLATE_PLAIN) return;
    bool any = false;
    for (size_t i = from; i < r->out->n && !any; i++) any = entity(r->out->p[i]) != NULL;
    if (!any) return;
    struct buf copy = {0};
    buf_add(&copy, r->out->p + from, r->out->n - from);
    r->out->n = from;
    value_put(r, buf_view(&copy));
    buf_done(&copy);
}

static struct icu_value number_of(const struct template_arg *a) {
    return a->kind == TEMPLATE_INTEGER
               ? (struct icu_value){.is_integer = true, .integer = a->integer}
               : (struct icu_value){.number = a->number};
}
static double as_double(struct icu_value v) { return v.is_integer ? (double)v.integer : v.number; }
static bool is_number(const struct template_arg *a) {
    return a->kind == TEMPLATE_INTEGER || (a->kind == TEMPLATE_NUMBER && isfinite(a->number));
}

static enum err time_put(
    struct rendering *r, const struct step *s, struct icu_format *f, const struct template_arg *a) {
    struct bytes zone = a->kind == TEMPLATE_TIME ? a->text : (struct bytes){0};
    if (!icu_time(r->p->locale, f, r->p->kit->zones, a->integer, zone, r->out))
        return fail(r, MALFORMED, "the time zone of '%.*s' is not known", name_of(r, s));
    return OK;
}

static enum err value_render(struct rendering *r, const struct step *s) {
    const struct template_arg *a = r->args[s->variable];
    struct icu_format *f = s->format < 0 ? NULL : r->p->formats[s->format];
    size_t from = r->out->n;
    bool as_time = f ? s->is_time : a->kind == TEMPLATE_TIME;
    enum err e = OK;
    if (!(r->p->variables[s->variable].takes & 1 << a->kind))
        return fail(r, MALFORMED, "'%.*s' is used as what its value is not", name_of(r, s));
    if (a->kind == TEMPLATE_TEXT) {
        value_put(r, a->text);
        return OK;
    }
    if (as_time) e = time_put(r, s, f, a);
    else if (!is_number(a) || !icu_number(r->p->locale, f, number_of(a), r->out))
        e = fail(r, MALFORMED, "'%.*s' cannot be written as a number", name_of(r, s));
    value_end(r, from);
    return e;
}

/* ---- cases ---- */
static enum err message_render(
    struct rendering *r, uint32_t from, uint32_t until, const struct icu_value *hash);

static const struct branch *branches_of(const struct rendering *r, const struct step *s) {
    return (const struct branch *)(const void *)r->p->branches.p + s->at;
}

/* An explicit case wins over a category, wherever it stands; of two the same, the first. */
static const struct branch *plural_pick(
    const struct branch *b, uint32_t n, double number, enum plural category) {
    const struct branch *found = NULL;
    for (uint32_t i = 0; i < n; i++)
        if (b[i].category == PLURAL_NONE && b[i].value == number) return &b[i];
    for (uint32_t i = 0; i < n && !found; i++)
        if (b[i].category == category) found = &b[i];
    for (uint32_t i = 0; i < n && !found; i++)
        if (b[i].category == PLURAL_OTHER) found = &b[i];
    return found;
}

static enum err plural_render(struct rendering *r, const struct step *s) {
    const struct template_arg *a = r->args[s->variable];
    const struct icu_format *format = s->format < 0 ? NULL : r->p->formats[s->format];
    if (!is_number(a)) return fail(r, MALFORMED, "'%.*s' must be a number", name_of(r, s));
    struct icu_value v = number_of(a);
    double number = as_double(v), less = number - s->offset;
    if (s->offset != 0) {
        bool whole =
            v.is_integer && fabs(number) < 0x1p53 && less == floor(less) && fabs(less) < 0x1p53;
        v = whole ? (struct icu_value){.is_integer = true, .integer = (int64_t)less}
                  : (struct icu_value){.number = less};
    }
    enum plural category = icu_plural(r->p->locale, format, s->ordinal, v);
    const struct branch *b = plural_pick(branches_of(r, s), s->n, number, category);
    check(b); /* compiling refuses a plural without `other` */
    return message_render(r, b->from, b->until, &v);
}

static enum err select_render(
    struct rendering *r, const struct step *s, const struct icu_value *hash) {
    const struct template_arg *a = r->args[s->variable];
    const struct branch *b = branches_of(r, s), *found = NULL, *other = NULL;
    char digits[24];
    struct bytes word = a->text;
    if (a->kind == TEMPLATE_INTEGER)
        word = bytes_of(
            digits, (size_t)snprintf(digits, sizeof digits, "%lld", (long long)a->integer));
    else if (a->kind != TEMPLATE_TEXT)
        return fail(r, MALFORMED, "'%.*s' must be a text or an integer", name_of(r, s));
    for (uint32_t i = 0; i < s->n && !found; i++) {
        struct bytes w = bytes_of(r->p->texts.p + b[i].at, b[i].n);
        if (bytes_eq(w, word)) found = &b[i];
        if (!other && bytes_is(w, "other")) other = &b[i];
    }
    if (!found) found = other;
    check(found);
    return message_render(r, found->from, found->until, hash);
}

static enum err hash_render(struct rendering *r, const struct icu_value *hash) {
    size_t from = r->out->n;
    check(hash);
    if (!icu_number(r->p->locale, NULL, *hash, r->out))
        return fail(r, MALFORMED, "%.*s cannot be written as a number", BYTES("#"));
    value_end(r, from);
    return OK;
}

static enum err message_render(
    struct rendering *r, uint32_t from, uint32_t until, const struct icu_value *hash) {
    const struct step *steps = (const struct step *)(const void *)r->p->steps.p;
    for (uint32_t i = from; i < until; i++) {
        const struct step *s = &steps[i];
        enum err e = OK;
        switch (s->kind) {
        case STEP_TEXT: buf_add(r->out, r->p->texts.p + s->at, s->n); break;
        case STEP_HASH: e = hash_render(r, hash); break;
        case STEP_PLURAL: e = plural_render(r, s); break;
        case STEP_SELECT: e = select_render(r, s, hash); break;
        default: e = value_render(r, s);
        }
        if (e != OK) return e;
        if (r->out->n - r->begin > TEMPLATE_OUTPUT_MAX)
            return fail(r, LIMIT, "the text would have more than 65536 bytes%.*s", BYTES(""));
    }
    return OK;
}

enum err template_render(struct template_program *p, const struct template_arg *args, size_t n,
    enum template_escape escape, struct buf *out, struct template_fault *fault) {
    struct rendering r = {.p = p, .escape = escape, .out = out, .begin = out->n, .fault = fault};
    enum err e = OK;
    fault->at = 0;
    fault->words[0] = 0;
    for (size_t i = 0; i < p->variable_count && e == OK; i++) {
        struct bytes name = template_variable_at(p, i).name;
        size_t a = 0;
        while (a < n && !bytes_eq(args[a].name, name)) a++;
        if (a == n) e = fail(&r, MISSING, "there is no value for '%.*s'", name);
        else r.args[i] = &args[a];
    }
    if (e == OK) e = message_render(&r, p->from, p->until, NULL);
    if (e != OK) out->n = r.begin;
    return e;
}

struct template_arg template_integer(struct bytes name, int64_t v) {
    return (struct template_arg){
        .name = name, .kind = TEMPLATE_INTEGER, .integer = v, .number = (double)v};
}
