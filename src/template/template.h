/* template: the words of notifications: ICU MessageFormat, compiled once and rendered often.
 *
 * A program is the compiled form of one template in one locale. ICU parses the text and knows the
 * plural rules, numbers and dates of each language; what is walked when rendering is our own, in
 * UTF-8. Same program, same arguments, same version of ICU: same bytes. Arguments have names.
 *
 * Invariants: pure: no clock, files, environment or locale of the process. A kit and its programs
 * belong to one thread. A render that fails adds nothing to its output.
 * Lifetimes: a program holds no pointer to its text, and must be freed before its kit.
 * Source: ICU User Guide, "Formatting Messages"; plural rules and parent locales of Unicode CLDR.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef KITH_TEMPLATE_H
#define KITH_TEMPLATE_H

#include "base/base.h"

enum {
    TEMPLATE_BYTES_MAX = 16 * 1024,
    TEMPLATE_OUTPUT_MAX = 64 * 1024,
    TEMPLATE_NESTING_MAX = 8, /* cases within cases */
    TEMPLATE_VARIABLES_MAX = 64,
    TEMPLATE_LOCALE_MAX = 64 /* bytes of a language tag */
};

/* What is wrong, in words, and where in the template (bytes from its beginning). */
struct template_fault {
    size_t at;
    char words[192];
};

/* What programs share: the rules and formats of each locale in use, time zones, CLDR's parents. */
struct template_kit;
struct template_kit *template_kit_create(void);
void template_kit_free(struct template_kit **);

/* ---- locales: BCP 47 tags ("pt-BR"; "pt_BR" is taken too) ---- */
/* Which of n locales serves best someone who wants `wanted`: itself, or the nearest of its parents
 * as CLDR has them (pt-BR, pt; es-MX, es-419, es; zh-TW is zh-Hant-TW, then zh-Hant, and never zh).
 * n: none of them, take the default. */
size_t template_locale_pick(
    struct template_kit *k, struct bytes wanted, const struct bytes *available, size_t n);
/* The same of at most 64, packed as varbytes: asked again, it is remembered. SIZE_MAX: none. */
size_t template_locale_pick_kept(struct template_kit *k, struct bytes wanted, struct bytes packed);
bool template_locale_valid(struct template_kit *k, struct bytes tag);

/* ---- time zones, by ICU's data: quiet hours and calendar days are reckoned with them ---- */
/* Names of the tz database ("Europe/Paris"). Their rules change with releases of ICU, so what apply
 * needs of them travels in the record. */
bool template_zone_valid(struct template_kit *k, struct bytes zone);
/* How far clocks there are ahead of UTC at that moment. false: no such zone. */
bool template_zone_offset(
    struct template_kit *k, struct bytes zone, int64_t ms, int64_t *out_ms) must_use;
/* The moment at which clocks there show `local_ms`, a date and time written as if it were UTC. What
 * is shown twice in autumn: the first time; what is skipped in spring: as much later as is skipped. */
bool template_zone_moment(
    struct template_kit *k, struct bytes zone, int64_t local_ms, int64_t *out_ms) must_use;

/* Its offsets from UTC as a table that needs no ICU to be read (zone/zone.h): right from the beginning
 * of the year before from_ms on, for `years` years, at most ZONE_YEARS_MAX. The same bytes for every
 * moment of a year: kept, so that only the first one costs. Adds to *out. false: no such zone. */
bool template_zone_table(struct template_kit *k, struct bytes zone, int64_t from_ms, unsigned years,
    struct buf *out) must_use;

/* ---- programs ---- */
struct template_program;
/* MALFORMED: not a template, or not a language tag; LIMIT: too long, too deep, too many variables.
 * Both fill *fault. */
enum err template_compile(struct template_kit *k, struct bytes locale, struct bytes text,
    struct template_program **out, struct template_fault *fault) must_use;
void template_free(struct template_program **);
size_t template_memory(const struct template_program *p); /* bytes, but for ICU's formats */

/* A value's kinds, and as bits (1 << kind) what a variable takes. */
enum template_kind { TEMPLATE_TEXT, TEMPLATE_INTEGER, TEMPLATE_NUMBER, TEMPLATE_TIME };
enum {
    TEMPLATE_TAKES_NUMBERS = 1 << TEMPLATE_INTEGER | 1 << TEMPLATE_NUMBER,
    TEMPLATE_TAKES_TIMES = 1 << TEMPLATE_INTEGER | 1 << TEMPLATE_TIME,
    TEMPLATE_TAKES_WORDS = 1 << TEMPLATE_TEXT | 1 << TEMPLATE_INTEGER,
    TEMPLATE_TAKES_ALL = 15
};
/* The variables that it uses, each once, in the order in which they first appear. A workflow whose
 * data has no such name, or a value of another kind, can be refused when it is stored. */
struct template_variable {
    struct bytes name; /* a view into the program */
    uint8_t takes;
};
size_t template_variable_count(const struct template_program *p);
struct template_variable template_variable_at(const struct template_program *p, size_t i);

struct template_arg {
    struct bytes name;
    enum template_kind kind;
    struct bytes text; /* of TEXT: UTF-8; of TIME: the zone ("Europe/Paris"); empty: UTC */
    int64_t integer;   /* of INTEGER; of TIME: ms since 1970. An INTEGER as time is UTC */
    double number;     /* of NUMBER; finite */
};
struct template_arg template_integer(struct bytes name, int64_t v);
/* HTML: values are escaped (& < > " '), the template's own text is not. */
enum template_escape { TEMPLATE_PLAIN, TEMPLATE_HTML };
/* Adds to *out. MISSING: a variable is not among the arguments; MALFORMED: a value of a kind that
 * its use does not take, or an unknown zone; LIMIT: over TEMPLATE_OUTPUT_MAX. Each fills *fault
 * (its place is 0). */
enum err template_render(struct template_program *p, const struct template_arg *args, size_t n,
    enum template_escape escape, struct buf *out, struct template_fault *fault) must_use;

/* ---- programs kept by their text, for one thread ---- */
struct template_cache;
/* At most about so many programs, of some 2 KB each. To be freed before its kit. */
struct template_cache *template_cache_create(struct template_kit *kit, size_t programs);
void template_cache_free(struct template_cache **);
/* As template_compile, if it is not kept from before. *out is the cache's, until the next call. */
enum err template_cache_get(struct template_cache *c, struct bytes locale, struct bytes text,
    struct template_program **out, struct template_fault *fault) must_use;
uint64_t template_cache_compiled(const struct template_cache *c); /* how often it was not kept */

#endif
