/* template: a text becomes a program: ICU's parts are walked once, variables numbered, formats
 * made, limits held. And kits with their locales.
 * SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "template/template_in.h"
#include "zone/zone.h"

#define DAY_MS (24 * 3600 * 1000ll)
enum { LOCALES_MAX = 256 /* of a kit; each costs some 40 KB */ };

/* ---- kits ---- */
struct template_kit *template_kit_create(void) {
    struct template_kit *k = must_alloc(sizeof *k);
    k->picks = picks_create();
    k->parents = icu_parents_create();
    k->zones = icu_zones_create();
    return k;
}

void template_kit_free(struct template_kit **pk) {
    struct template_kit *k = *pk;
    if (!k) return;
    for (size_t i = 0; i < k->locale_count; i++) icu_locale_close(&k->locales[i].locale);
    picks_free(&k->picks);
    icu_zones_free(&k->zones);
    icu_parents_free(&k->parents);
    free(k->locales);
    free(k);
    *pk = NULL;
}

static enum err fail(struct template_fault *f, enum err e, size_t at, const char *words) {
    f->at = at;
    snprintf(f->words, sizeof f->words, "%s", words);
    return e;
}

static enum err locale_open(struct template_kit *k, struct bytes tag, struct icu_locale **out,
    struct template_fault *fault) {
    char name[TEMPLATE_LOCALE_MAX];
    if (!icu_locale_canonical(tag, name))
        return fail(fault, MALFORMED, 0, "the locale is not a language tag such as en or pt-BR");
    for (size_t i = 0; i < k->locale_count; i++)
        if (!strcmp(k->locales[i].name, name)) {
            *out = k->locales[i].locale;
            return OK;
        }
    if (k->locale_count == LOCALES_MAX)
        return fail(fault, LIMIT, 0, "templates are in more than 256 locales");
    struct icu_locale *l = icu_locale_open(name);
    if (!l) return fail(fault, MALFORMED, 0, "ICU has no rules for this locale");
    k->locales = must_realloc(k->locales, (k->locale_count + 1) * sizeof *k->locales);
    struct kit_locale *at = &k->locales[k->locale_count++];
    memcpy(at->name, name, sizeof name);
    *out = at->locale = l;
    return OK;
}

bool template_locale_valid(struct template_kit *k, struct bytes tag) {
    char name[TEMPLATE_LOCALE_MAX];
    (void)k;
    return icu_locale_canonical(tag, name);
}

size_t template_locale_pick(
    struct template_kit *k, struct bytes wanted, const struct bytes *available, size_t n) {
    char name[TEMPLATE_LOCALE_MAX], other[TEMPLATE_LOCALE_MAX];
    if (!icu_locale_canonical(wanted, name)) return n;
    do {
        for (size_t i = 0; i < n; i++)
            if (icu_locale_canonical(available[i], other) && !strcmp(name, other)) return i;
    } while (icu_locale_parent(k->parents, name));
    return n;
}

/* ---- zones ---- */
bool template_zone_offset(struct template_kit *k, struct bytes zone, int64_t ms, int64_t *out_ms) {
    return zone.n && zone.n < TEMPLATE_LOCALE_MAX && icu_zone_offset(k->zones, zone, ms, out_ms);
}

bool template_zone_valid(struct template_kit *k, struct bytes zone) {
    int64_t offset;
    return template_zone_offset(k, zone, 0, &offset);
}

bool template_zone_moment(
    struct template_kit *k, struct bytes zone, int64_t local_ms, int64_t *out_ms) {
    int64_t before, after, then;
    if (!template_zone_offset(k, zone, local_ms - DAY_MS, &before) ||
        !template_zone_offset(k, zone, local_ms + DAY_MS, &after) ||
        !template_zone_offset(k, zone, local_ms - before, &then))
        return false;
    *out_ms = local_ms - before;
    if (then == before) return true; /* of two moments this is the first */
    if (!template_zone_offset(k, zone, local_ms - after, &then)) return false;
    if (then == after) *out_ms = local_ms - after;
    return true; /* else it is skipped: the old offset leads beyond the gap by as much */
}

/* The beginning of the year before, UTC. */
static int64_t year_before(int64_t ms) {
    char text[24], start[32];
    int64_t out = 0;
    time_format(ms, text);
    text[4] = 0;
    int n = snprintf(start, sizeof start, "%04d-01-01T00:00:00Z", atoi(text) - 1);
    return time_parse(bytes_of(start, (size_t)n), &out) == OK ? out : 0;
}

bool template_zone_table(
    struct template_kit *k, struct bytes zone, int64_t from_ms, unsigned years, struct buf *out) {
    const int64_t earliest = 5 * 366 * DAY_MS; /* clocks that differ by seconds are history */
    if (!zone.n || zone.n >= TEMPLATE_LOCALE_MAX || years > ZONE_YEARS_MAX) return false;
    if (from_ms < earliest) from_ms = earliest;
    int64_t from = year_before(from_ms);
    return icu_zone_table(k->zones, zone, from, from + (years + 1) * 366 * DAY_MS, out);
}

/* ---- compiling ---- */
struct compiling {
    struct template_program *p;
    struct bytes text;
    const struct icu_part *parts;
    size_t part_count;
    struct template_fault *fault;
};
struct message {
    uint32_t from, until;
};

static struct bytes words_of(const struct compiling *c, size_t part) {
    return bytes_of(c->text.p + c->parts[part].at, c->parts[part].n);
}

static enum err wrong(struct compiling *c, enum err e, size_t part, const char *words) {
    return fail(c->fault, e, c->parts[part].at, words);
}

static enum err variable_use(struct compiling *c, size_t part, uint8_t takes, uint8_t *out) {
    struct template_program *p = c->p;
    struct bytes name = words_of(c, part);
    size_t i = 0;
    while (i < p->variable_count && !bytes_eq(name, template_variable_at(p, i).name)) i++;
    if (i == p->variable_count) {
        if (i == TEMPLATE_VARIABLES_MAX)
            return wrong(c, LIMIT, part, "a template has at most 64 variables");
        p->variables[p->variable_count++] =
            (struct variable){(uint32_t)p->texts.n, (uint32_t)name.n, TEMPLATE_TAKES_ALL};
        buf_bytes(&p->texts, name);
    }
    if (!(p->variables[i].takes & takes))
        return wrong(c, MALFORMED, part, "no value can be all that this variable is used as");
    p->variables[i].takes &= takes;
    *out = (uint8_t)i;
    return OK;
}

static void text_add(struct compiling *c, struct buf *steps, size_t from, size_t until) {
    struct template_program *p = c->p;
    if (until <= from) return;
    struct step *last = steps->n ? (struct step *)(void *)(steps->p + steps->n) - 1 : NULL;
    bool joins = last && last->kind == STEP_TEXT && last->at + last->n == p->texts.n;
    if (joins) {
        last->n += (uint32_t)(until - from);
    } else {
        struct step s = {.kind = STEP_TEXT,
            .format = -1,
            .at = (uint32_t)p->texts.n,
            .n = (uint32_t)(until - from)};
        buf_add(steps, &s, sizeof s);
    }
    buf_add(&p->texts, c->text.p + from, until - from);
}

/* A simple argument's format, from its parts TYPE and perhaps STYLE. */
static enum err format_add(
    struct compiling *c, size_t type, size_t limit, int16_t *out, uint8_t *takes) {
    struct template_program *p = c->p;
    const char *why = NULL;
    struct bytes style = {0};
    if (type + 1 < limit && c->parts[type + 1].type == ICU_ARG_STYLE) style = words_of(c, type + 1);
    struct icu_format *f = icu_format_create(p->locale, words_of(c, type), style, takes, &why);
    if (!f) return wrong(c, MALFORMED, style.n ? type + 1 : type, why);
    p->formats = must_realloc(p->formats, (p->format_count + 1) * sizeof *p->formats);
    p->formats[p->format_count] = f;
    *out = (int16_t)p->format_count++;
    return OK;
}

static enum err message_compile(
    struct compiling *c, size_t start, int depth, struct message *out) must_use;

static enum err branch_selector(struct compiling *c, uint8_t arg, size_t *part, struct branch *b) {
    struct bytes word = words_of(c, *part);
    *b = (struct branch){.category = PLURAL_NONE};
    if (arg == ICU_SELECT) {
        b->at = (uint32_t)c->p->texts.n;
        b->n = (uint32_t)word.n;
        buf_bytes(&c->p->texts, word);
    } else if (c->parts[*part + 1].type == ICU_INT || c->parts[*part + 1].type == ICU_DOUBLE) {
        b->value = c->parts[++*part].value;
    } else if ((b->category = (uint8_t)icu_plural_named(word)) == PLURAL_NONE) {
        return wrong(c, MALFORMED, *part,
            "a case of plural is =N, zero, one, two, few, many or other; this can never be met");
    }
    ++*part;
    return OK;
}

/* The cases of plural and select, from part `at` to the argument's limit. */
static enum err branches_compile(
    struct compiling *c, uint8_t arg, size_t at, size_t limit, int depth, struct step *s) {
    struct buf all = {0};
    enum err e = OK;
    /* an offset comes first, as a number */
    if (arg != ICU_SELECT && (c->parts[at].type == ICU_INT || c->parts[at].type == ICU_DOUBLE))
        at++;
    while (e == OK && at < limit) {
        struct branch b;
        struct message m = {0};
        e = branch_selector(c, arg, &at, &b);
        if (e == OK) e = message_compile(c, at, depth + 1, &m);
        b.from = m.from;
        b.until = m.until;
        buf_add(&all, &b, sizeof b);
        if (e == OK) at = c->parts[at].limit + 1;
    }
    s->at = (uint32_t)(c->p->branches.n / sizeof(struct branch));
    s->n = (uint32_t)(all.n / sizeof(struct branch));
    buf_bytes(&c->p->branches, buf_view(&all));
    buf_done(&all);
    return e;
}

/* MessageFormat chooses the case by the number as it is first written directly in the case `other`:
 * by `#`, by `{same name}` or by `{same name, number, ...}`. Gives the part of the last one's TYPE;
 * 0: it is not that. */
static size_t plural_number_in(const struct compiling *c, size_t start, struct bytes name) {
    for (size_t i = start + 1; i < c->parts[start].limit; i++) {
        if (c->parts[i].type == ICU_HASH) return 0;
        if (c->parts[i].type != ICU_ARG_START) continue;
        uint8_t arg = c->parts[i].arg;
        if ((arg == ICU_PLAIN || arg == ICU_SIMPLE) && bytes_eq(words_of(c, i + 1), name))
            return arg == ICU_SIMPLE ? i + 2 : 0;
        i = c->parts[i].limit;
    }
    return 0;
}

static enum err plural_number(
    struct compiling *c, size_t at, size_t limit, struct bytes name, int16_t *out) {
    uint8_t takes = 0;
    while (at < limit) {
        bool other = c->parts[at].type == ICU_SELECTOR && bytes_is(words_of(c, at), "other");
        while (c->parts[at].type != ICU_MESSAGE_START) at++;
        size_t type = other ? plural_number_in(c, at, name) : 0;
        if (other && type) return format_add(c, type, c->parts[type - 2].limit, out, &takes);
        if (other) return OK;
        at = c->parts[at].limit + 1;
    }
    return OK;
}

static enum err argument_compile(struct compiling *c, size_t start, int depth, struct buf *steps) {
    const struct icu_part *a = &c->parts[start];
    struct step s = {.format = -1, .offset = a->value, .ordinal = a->arg == ICU_ORDINAL};
    uint8_t takes = TEMPLATE_TAKES_ALL;
    enum err e = OK;
    switch (a->arg) {
    case ICU_PLAIN: s.kind = STEP_VALUE; break;
    case ICU_SIMPLE:
        s.kind = STEP_FORMAT;
        e = format_add(c, start + 2, a->limit, &s.format, &takes);
        s.is_time = takes == TEMPLATE_TAKES_TIMES;
        break;
    case ICU_PLURAL:
    case ICU_ORDINAL:
        s.kind = STEP_PLURAL;
        takes = TEMPLATE_TAKES_NUMBERS;
        e = plural_number(c, start + 2, a->limit, words_of(c, start + 1), &s.format);
        break;
    case ICU_SELECT:
        s.kind = STEP_SELECT;
        takes = TEMPLATE_TAKES_WORDS;
        break;
    default: return wrong(c, MALFORMED, start, "choice is not taken here: plural does its work");
    }
    if (e == OK) e = variable_use(c, start + 1, takes, &s.variable);
    if (e == OK && (s.kind == STEP_PLURAL || s.kind == STEP_SELECT))
        e = branches_compile(c, a->arg, start + 2, a->limit, depth, &s);
    if (e == OK) buf_add(steps, &s, sizeof s);
    return e;
}

static enum err message_compile(struct compiling *c, size_t start, int depth, struct message *out) {
    struct buf steps = {0};
    enum err e = OK;
    size_t text = c->parts[start].at + c->parts[start].n, i = start + 1;
    if (depth > TEMPLATE_NESTING_MAX)
        return wrong(c, LIMIT, start, "cases lie within cases more than 8 deep");
    for (; e == OK; i++) {
        const struct icu_part *part = &c->parts[i];
        text_add(c, &steps, text, part->at);
        if (part->type == ICU_MESSAGE_LIMIT) break;
        text = part->at + part->n;
        if (part->type == ICU_HASH) {
            struct step s = {.kind = STEP_HASH, .format = -1};
            buf_add(&steps, &s, sizeof s);
        } else if (part->type == ICU_ARG_START) {
            e = argument_compile(c, i, depth, &steps);
            i = part->limit;
            text = c->parts[i].at + c->parts[i].n;
        }
    }
    out->from = (uint32_t)(c->p->steps.n / sizeof(struct step));
    buf_bytes(&c->p->steps, buf_view(&steps));
    out->until = (uint32_t)(c->p->steps.n / sizeof(struct step));
    buf_done(&steps);
    return e;
}

enum err template_compile(struct template_kit *k, struct bytes locale, struct bytes text,
    struct template_program **out, struct template_fault *fault) {
    struct icu_locale *l;
    *fault = (struct template_fault){0};
    if (text.n > TEMPLATE_BYTES_MAX)
        return fail(fault, LIMIT, TEMPLATE_BYTES_MAX, "a template has at most 16384 bytes");
    if (!utf8_valid(text)) return fail(fault, MALFORMED, 0, "the template is not UTF-8");
    enum err e = locale_open(k, locale, &l, fault);
    if (e != OK) return e;
    struct buf parts = {0};
    struct template_program *p = must_alloc(sizeof *p);
    struct message m = {0};
    *p = (struct template_program){.kit = k, .locale = l};
    e = icu_parse(text, &parts, fault);
    if (e == OK) {
        struct compiling c = {p, text, (const struct icu_part *)(const void *)parts.p,
            parts.n / sizeof(struct icu_part), fault};
        e = message_compile(&c, 0, 0, &m);
    }
    buf_done(&parts);
    p->from = m.from;
    p->until = m.until;
    if (e == OK) *out = p;
    else template_free(&p);
    return e;
}

void template_free(struct template_program **pp) {
    struct template_program *p = *pp;
    if (!p) return;
    for (size_t i = 0; i < p->format_count; i++) icu_format_free(&p->formats[i]);
    free(p->formats);
    buf_done(&p->texts);
    buf_done(&p->steps);
    buf_done(&p->branches);
    free(p);
    *pp = NULL;
}

size_t template_memory(const struct template_program *p) {
    return sizeof *p + p->texts.cap + p->steps.cap + p->branches.cap +
           p->format_count * sizeof *p->formats;
}

size_t template_variable_count(const struct template_program *p) { return p->variable_count; }
struct template_variable template_variable_at(const struct template_program *p, size_t i) {
    const struct variable *v = &p->variables[i];
    return (struct template_variable){bytes_of(p->texts.p + v->at, v->n), v->takes};
}
