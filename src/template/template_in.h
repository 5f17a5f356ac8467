/* template, inside: what the one file that knows ICU gives the others, and the form of a program.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef KITH_TEMPLATE_IN_H
#define KITH_TEMPLATE_IN_H

#ifdef __cplusplus
extern "C" {
#endif
#include "template/template.h"

/* ---- template_icu.cc ---- */
/* A part of a parsed text, as ICU's MessagePattern has them; places are bytes of the text. */
enum icu_part_type {
    ICU_MESSAGE_START,
    ICU_MESSAGE_LIMIT,
    ICU_SKIP,
    ICU_INSERT,
    ICU_HASH,
    ICU_ARG_START,
    ICU_ARG_LIMIT,
    ICU_ARG_NUMBER,
    ICU_ARG_NAME,
    ICU_ARG_TYPE,
    ICU_ARG_STYLE,
    ICU_SELECTOR,
    ICU_INT,
    ICU_DOUBLE
};
enum icu_arg_type { ICU_PLAIN, ICU_SIMPLE, ICU_CHOICE, ICU_PLURAL, ICU_SELECT, ICU_ORDINAL };
struct icu_part {
    uint8_t type, arg; /* arg: of ARG_START */
    uint32_t at, n;
    uint32_t limit; /* of a start: the part that ends it */
    double value;   /* of INT and DOUBLE; of a plural's ARG_START its offset */
};
/* Adds parts to *out, which is an array of struct icu_part. */
enum err icu_parse(struct bytes text, struct buf *out, struct template_fault *fault) must_use;

/* ICU's own rules for names of locales; NULL: not a language tag. The result is canonical, with the
 * script where the region asks for another than the language's usual. */
bool icu_locale_canonical(struct bytes tag, char out[TEMPLATE_LOCALE_MAX]);
/* Its parent, in place; false: the root. */
struct icu_parents;
struct icu_parents *icu_parents_create(void);
void icu_parents_free(struct icu_parents **);
bool icu_locale_parent(const struct icu_parents *p, char name[TEMPLATE_LOCALE_MAX]);

struct icu_zones; /* time zones that were asked for */
struct icu_zones *icu_zones_create(void);
void icu_zones_free(struct icu_zones **);
bool icu_zone_offset(struct icu_zones *z, struct bytes name, int64_t ms, int64_t *out_ms);
/* A table (zone/zone.h) of its changes from `from_ms` until before `until_ms`; kept. */
bool icu_zone_table(
    struct icu_zones *z, struct bytes name, int64_t from_ms, int64_t until_ms, struct buf *out);
/* The same as ICU finds them: what tests hold tables to. false: none behind `after_ms`. */
bool icu_zone_next(struct icu_zones *z, struct bytes name, int64_t after_ms, int64_t *out_ms);
/* Names of all zones that ICU knows, packed bytes. */
void icu_zone_names(struct buf *out);

struct icu_locale; /* rules and usual formats of one locale */
struct icu_locale *icu_locale_open(const char *canonical);
void icu_locale_close(struct icu_locale **);
enum plural {
    PLURAL_ZERO,
    PLURAL_ONE,
    PLURAL_TWO,
    PLURAL_FEW,
    PLURAL_MANY,
    PLURAL_OTHER,
    PLURAL_NONE
};
enum plural icu_plural_named(struct bytes keyword); /* PLURAL_NONE: no such category */

/* A number as a value: an integer, or else a double. */
struct icu_value {
    bool is_integer;
    int64_t integer;
    double number;
};
struct icu_format; /* number, date, time and kin, with a style */
/* NULL: no such type or style; *out_takes: kinds of values. */
struct icu_format *icu_format_create(struct icu_locale *l, struct bytes type, struct bytes style,
    uint8_t *out_takes, const char **out_why);
void icu_format_free(struct icu_format **);
/* f NULL: as the locale writes numbers. */
bool icu_number(
    struct icu_locale *l, const struct icu_format *f, struct icu_value v, struct buf *out);
enum plural icu_plural(
    struct icu_locale *l, const struct icu_format *f, bool ordinal, struct icu_value v);
/* f NULL: short date and time. false: no such zone. */
bool icu_time(struct icu_locale *l, struct icu_format *f, struct icu_zones *z, int64_t ms,
    struct bytes zone, struct buf *out);

/* The same by ICU's MessageFormat from end to end, slowly: what tests and the fuzzer hold our
 * rendering to. false: ICU refuses. Dates are only given their zone outside of cases. */
bool icu_reference(const char *canonical, struct bytes text, const struct template_arg *args,
    size_t n, struct buf *out);

#ifdef __cplusplus
}
#endif

/* ---- programs ---- */
/* Steps of all messages, one after the other; a message is steps[from..to). */
enum step_kind { STEP_TEXT, STEP_VALUE, STEP_FORMAT, STEP_HASH, STEP_PLURAL, STEP_SELECT };
struct step {
    uint8_t kind, variable;
    bool ordinal, is_time; /* of PLURAL; of FORMAT */
    int16_t format;        /* into formats; -1: the locale's own */
    uint32_t at, n;        /* TEXT: of texts; PLURAL and SELECT: cases */
    double offset;
};
struct branch {
    uint8_t category;     /* enum plural; PLURAL_NONE: explicit, or a select's word */
    double value;         /* explicit */
    uint32_t at, n;       /* a select's word, in texts */
    uint32_t from, until; /* its message's steps */
};
struct variable {
    uint32_t at, n; /* in texts */
    uint8_t takes;
};
struct template_program {
    struct template_kit *kit;
    struct icu_locale *locale; /* of the kit */
    struct buf texts, steps, branches;
    struct icu_format **formats;
    size_t format_count;
    struct variable variables[TEMPLATE_VARIABLES_MAX];
    size_t variable_count;
    uint32_t from, until; /* the outermost message */
};
struct pick; /* pick.c: what was picked before */
struct pick *picks_create(void);
void picks_free(struct pick **);
struct template_kit {
    struct pick *picks;
    struct icu_parents *parents;
    struct icu_zones *zones;
    struct kit_locale {
        char name[TEMPLATE_LOCALE_MAX];
        struct icu_locale *locale;
    } * locales;
    size_t locale_count;
};

#endif
