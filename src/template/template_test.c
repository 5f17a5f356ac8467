/* template: tests: the example of the contract, plural categories of eight languages as CLDR has
 * them, numbers and dates, faults with their places, limits, escaping, locale fallback; and random
 * templates that must come out as ICU's MessageFormat writes them.
 * SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "template/template_in.h"

#define LIKED                                                                                      \
    "{others, plural, =0 {{actor} liked it} one {{actor} and # other liked it} other {{actor} "    \
    "and # others liked it}}"

static struct template_arg text(const char *name, const char *v) {
    return (struct template_arg){
        .name = bytes_str(name), .kind = TEMPLATE_TEXT, .text = bytes_str(v)};
}
static struct template_arg integer(const char *name, int64_t v) {
    return (struct template_arg){.name = bytes_str(name), .kind = TEMPLATE_INTEGER, .integer = v};
}
static struct template_arg number(const char *name, double v) {
    return (struct template_arg){.name = bytes_str(name), .kind = TEMPLATE_NUMBER, .number = v};
}
static struct template_arg moment(const char *name, int64_t ms, const char *zone) {
    return (struct template_arg){
        .name = bytes_str(name), .kind = TEMPLATE_TIME, .integer = ms, .text = bytes_str(zone)};
}

struct made {
    struct template_kit *k;
    struct buf out;
    struct template_fault fault;
};
static int setup(void **state) {
    struct made *m = must_alloc(sizeof *m);
    m->k = template_kit_create();
    *state = m;
    return 0;
}
static int teardown(void **state) {
    struct made *m = *state;
    template_kit_free(&m->k);
    buf_done(&m->out);
    free(m);
    return 0;
}

static enum err render(struct made *m, const char *locale, const char *words,
    const struct template_arg *a, size_t n, enum template_escape escape) {
    struct template_program *p = NULL;
    buf_reset(&m->out);
    enum err e = template_compile(m->k, bytes_str(locale), bytes_str(words), &p, &m->fault);
    if (e != OK) return e;
    e = template_render(p, a, n, escape, &m->out, &m->fault);
    template_free(&p);
    return e;
}
static const char *said(struct made *m) {
    buf_char(&m->out, 0);
    return (const char *)m->out.p;
}
#define GIVES(locale, shape, want, ...)                                                            \
    do {                                                                                           \
        struct template_arg a_[] = {__VA_ARGS__};                                                  \
        enum err e_ = render(m, locale, shape, a_, sizeof a_ / sizeof *a_, TEMPLATE_PLAIN);        \
        if (e_ != OK) print_error("%s: %s\n", shape, m->fault.words);                              \
        assert_int_equal(e_, OK);                                                                  \
        assert_string_equal(said(m), want);                                                        \
    } while (0)

static void the_contracts_example(void **state) {
    struct made *m = *state;
    GIVES("en", LIKED, "Ann liked it", text("actor", "Ann"), integer("others", 0));
    GIVES("en", LIKED, "Ann and 1 other liked it", text("actor", "Ann"), integer("others", 1));
    GIVES("en", LIKED, "Ann and 12 others liked it", text("actor", "Ann"), integer("others", 12));
    GIVES("en", LIKED, "Ann and 1,234 others liked it", text("actor", "Ann"),
        integer("others", 1234));
    GIVES("de", LIKED, "Ann and 1.234 others liked it", text("actor", "Ann"),
        integer("others", 1234));
}

#define CASES "zero{zero}one{one}two{two}few{few}many{many}other{other}}"
static void plurals_are_cldrs(void **state) {
    struct made *m = *state;
    static const struct {
        const char *locale, *kind, *of;
    } FACTS[] = {/* number category, ... */
        {"en", "plural", "0 other 1 one 2 other 11 other 21 other 101 other"},
        {"pl", "plural",
            "0 many 1 one 2 few 4 few 5 many 11 many 12 many 14 many 21 many 22 few 112 many 122 "
            "few"},
        {"ar", "plural",
            "0 zero 1 one 2 two 3 few 10 few 11 many 99 many 100 other 102 other 103 few 111 many"},
        {"ru", "plural",
            "0 many 1 one 2 few 4 few 5 many 11 many 12 many 14 many 21 one 22 few 111 many 121 "
            "one"},
        {"ja", "plural", "0 other 1 other 2 other 100 other"},
        {"fr", "plural", "0 one 1 one 2 other 17 other 1000000 many"},
        {"he", "plural", "0 other 1 one 2 two 3 other 11 other 100 other"},
        {"cy", "plural", "0 zero 1 one 2 two 3 few 4 other 5 other 6 many 7 other 100 other"},
        {"en", "selectordinal",
            "1 one 2 two 3 few 4 other 11 other 12 other 13 other 21 one 22 two 23 few 101 one 111 "
            "other"},
        {"cy", "selectordinal", "0 zero 1 one 2 two 3 few 4 few 5 many 6 many 7 zero 10 other"},
        {"fr", "selectordinal", "1 one 2 other"}, {"ja", "selectordinal", "1 other"}};
    for (size_t i = 0; i < sizeof FACTS / sizeof *FACTS; i++) {
        char words[200], facts[200], *rest = NULL;
        snprintf(words, sizeof words, "{n, %s, " CASES, FACTS[i].kind);
        snprintf(facts, sizeof facts, "%s", FACTS[i].of);
        for (char *n = strtok_r(facts, " ", &rest); n; n = strtok_r(NULL, " ", &rest))
            GIVES(FACTS[i].locale, words, strtok_r(NULL, " ", &rest), integer("n", atoll(n)));
    }
    /* digits after the point count: "1.5" is one in French, many things in Polish */
    GIVES("fr", "{n, plural, " CASES, "one", number("n", 1.5));
    GIVES("pl", "{n, plural, " CASES, "other", number("n", 1.5));
    GIVES("en", "{n, plural, " CASES, "one", number("n", 1.0));
    GIVES("en", "{n, plural, one{# or {n, number,.00}} other{{n, number,.00} of them}}",
        "1.00 of them", integer("n", 1));
}

static void plurals_have_offsets_and_nest(void **state) {
    struct made *m = *state;
    const char *guests = "{n, plural, offset:1 =0{nobody} =1{{who}} one{{who} and # other} "
                         "other{{who} and # others}}";
    GIVES("en", guests, "nobody", text("who", "Ann"), integer("n", 0));
    GIVES("en", guests, "Ann", text("who", "Ann"), integer("n", 1));
    GIVES("en", guests, "Ann and 1 other", text("who", "Ann"), integer("n", 2));
    GIVES("en", guests, "Ann and 2,000 others", text("who", "Ann"), integer("n", 2001));
    const char *nested = "{sex, select, female {her {n, plural, one{# post} other{# posts}}} male "
                         "{his {n, plural, one{# post} other{# posts}}} other {their posts}} #";
    GIVES("en", nested, "her 1 post #", text("sex", "female"), integer("n", 1));
    GIVES("en", nested, "his 3 posts #", text("sex", "male"), integer("n", 3));
    GIVES("en", nested, "their posts #", text("sex", "x"), integer("n", 3));
    GIVES("en", "{n, select, 1{one}other{more}}", "one", integer("n", 1));
    GIVES("en", "the {n, selectordinal, one{#st} two{#nd} few{#rd} other{#th}} time",
        "the 23rd time", integer("n", 23));
    GIVES("en", "it''s '{'{x}'}' '#' don't {n, plural, other{'#' #}}", "it's {y} '#' don't # 5",
        text("x", "y"), integer("n", 5));
}

/* CLDR may use a narrow or an ordinary space before AM and PM: both are right. */
static void spaces_even(struct buf *b) {
    uint8_t *at;
    while (b->n >= 3 && (at = memmem(b->p, b->n, "\u202f", 3))) {
        *at = ' ';
        memmove(at + 1, at + 3, b->n - (size_t)(at + 3 - b->p));
        b->n -= 2;
    }
}
#define TELLS(locale, words, want, ...)                                                            \
    do {                                                                                           \
        struct template_arg a_[] = {__VA_ARGS__};                                                  \
        assert_int_equal(render(m, locale, words, a_, 1, TEMPLATE_PLAIN), OK);                     \
        spaces_even(&m->out);                                                                      \
        assert_string_equal(said(m), want);                                                        \
    } while (0)
#define MORNING 1767323045678 /* 2026-01-02T03:04:05.678Z */
#define SUMMER 1782961490000  /* 2026-07-02T03:04:05Z */

static void numbers_and_times_follow_the_locale(void **state) {
    struct made *m = *state;
    TELLS("en", "{n}", "1,234,567", integer("n", 1234567));
    TELLS("de", "{n}", "1.234.567,891", number("n", 1234567.891));
    TELLS("hi", "{n}", "12,34,567", integer("n", 1234567));
    TELLS("fa", "{n}", "\u06f4\u06f2", integer("n", 42));
    TELLS("en", "{n, number, integer}", "3", number("n", 2.7));
    TELLS("en", "{n, number, percent}", "25%", number("n", 0.25));
    TELLS("en", "{n, number, ::compact-short}", "12K", integer("n", 12345));
    TELLS("en", "{n, number, ::currency/EUR}", "\u20ac1.50", number("n", 1.5));
    TELLS("en", "{n, number,#,##0.00}", "1,234.50", number("n", 1234.5));
    TELLS("en", "{n, spellout}", "forty-two", integer("n", 42));
    TELLS("en", "{t, date, medium}", "Jan 2, 2026", moment("t", MORNING, ""));
    TELLS("en", "{t, date, full}", "Friday, January 2, 2026", moment("t", MORNING, "Etc/UTC"));
    TELLS("en", "{t, time, short}", "3:04 AM", moment("t", MORNING, ""));
    TELLS("en", "{t, time, short}", "4:04 AM", moment("t", MORNING, "Europe/Paris"));
    TELLS("fr", "{t, time, short}", "05:04", moment("t", SUMMER, "Europe/Paris"));
    TELLS("en", "{t, date, short}", "1/1/26", moment("t", MORNING, "America/New_York"));
    TELLS("ja", "{t, date, long}", "2026\u5e741\u67082\u65e5", moment("t", MORNING, "Asia/Tokyo"));
    TELLS("de", "{t, date, ::yMMMMd}", "2. Januar 2026", moment("t", MORNING, ""));
    TELLS("en", "{t, date,EEE HH:mm}", "Fri 03:04", integer("t", MORNING));
    TELLS("en", "{t}", "1/2/26, 3:04 AM", moment("t", MORNING, ""));
    TELLS("en", "{t, time, short} {t, time, short}", "4:04 AM 4:04 AM",
        moment("t", MORNING, "Europe/Paris"));
}

/* One program, two zones in turn: what a format remembers of the last one does no harm. */
static void zones_take_turns(void **state) {
    struct made *m = *state;
    struct template_program *p = NULL;
    static const char *const ZONES[] = {"Europe/Paris", "", "Asia/Kolkata", "Europe/Paris"},
                             *const WANT[] = {"04:04", "03:04", "08:34", "04:04"};
    assert_int_equal(
        template_compile(m->k, BYTES("en"), BYTES("{t, time,HH:mm}"), &p, &m->fault), OK);
    for (int i = 0; i < 4; i++) {
        struct template_arg a = moment("t", MORNING, ZONES[i]);
        buf_reset(&m->out);
        assert_int_equal(template_render(p, &a, 1, TEMPLATE_PLAIN, &m->out, &m->fault), OK);
        assert_string_equal(said(m), WANT[i]);
    }
    struct template_arg a = moment("t", MORNING, "Mars/Olympus");
    buf_reset(&m->out);
    assert_int_equal(template_render(p, &a, 1, TEMPLATE_PLAIN, &m->out, &m->fault), MALFORMED);
    assert_string_equal(m->fault.words, "the time zone of 't' is not known");
    assert_int_equal(m->out.n, 0);
    template_free(&p);
}

static void html_escapes_values_only(void **state) {
    struct made *m = *state;
    const char *words = "<b>{who}</b> & {n, plural, one{<i>#</i>} other{<i>#</i> {who}}}";
    struct template_arg a[] = {text("who", "<Ann & \"Bob's\">"), integer("n", 2)};
    assert_int_equal(render(m, "en", words, a, 2, TEMPLATE_HTML), OK);
    assert_string_equal(said(m), "<b>&lt;Ann &amp; &quot;Bob&#39;s&quot;&gt;</b> & <i>2</i> "
                                 "&lt;Ann &amp; &quot;Bob&#39;s&quot;&gt;");
    struct template_arg t = moment("n", MORNING, "");
    assert_int_equal(render(m, "en", "{n, date,yyyy '<'d'>'}", &t, 1, TEMPLATE_HTML), OK);
    assert_string_equal(said(m), "2026 &lt;2&gt;");
}

static void variables_are_listed(void **state) {
    struct made *m = *state;
    static const struct {
        const char *name;
        uint8_t takes;
    } WANT[] = {{"others", TEMPLATE_TAKES_NUMBERS}, {"actor", TEMPLATE_TAKES_ALL},
        {"when", TEMPLATE_TAKES_TIMES}, {"sex", TEMPLATE_TAKES_WORDS}};
    struct template_program *p = NULL;
    assert_int_equal(
        template_compile(m->k, BYTES("en"),
            BYTES(LIKED " {when, date} {sex, select, other{{actor} {others}}}"), &p, &m->fault),
        OK);
    assert_int_equal(template_variable_count(p), 4);
    for (size_t i = 0; i < 4; i++) {
        struct template_variable v = template_variable_at(p, i);
        assert_true(bytes_is(v.name, WANT[i].name));
        assert_int_equal(v.takes, WANT[i].takes);
    }
    assert_true(template_memory(p) < 8192);
    struct template_arg a[] = {text("actor", "Ann")};
    assert_int_equal(template_render(p, a, 1, TEMPLATE_PLAIN, &m->out, &m->fault), MISSING);
    assert_string_equal(m->fault.words, "there is no value for 'others'");
    struct template_arg b[] = {
        text("actor", "Ann"), text("others", "many"), integer("when", MORNING), text("sex", "x")};
    assert_int_equal(template_render(p, b, 4, TEMPLATE_PLAIN, &m->out, &m->fault), MALFORMED);
    assert_string_equal(m->fault.words, "'others' must be a number");
    assert_int_equal(m->out.n, 0);
    template_free(&p);
}

static void faults_have_words_and_places(void **state) {
    struct made *m = *state;
    static const struct {
        const char *words;
        size_t at;
        const char *part; /* of what is said */
    } FACTS[] = {{"héé {a", 6, "brace"}, {"é {a, plural, one{x}}", 3, "other"},
        {"{a, select}", 0, ""}, {"{a, plural, one{{b, select, x{}}} other{}}", 16, "other"},
        {"é {a, plural, on{x} other{y}}", 15, "never be met"}, {"{a, colour}", 4, "types are"},
        {"{a, number, ::nonsense}", 11, "style"}, {"{a, choice, 0#x|1#y}", 0, "choice"},
        {"{a b}", 1, "name"}, {"{}", 1, "name"}, {"{a, date} {a, select, other{}}", 0, NULL},
        {"{a, date} {a, number, .0} {a, spellout} x", 0, NULL}};
    for (size_t i = 0; i < sizeof FACTS / sizeof *FACTS; i++) {
        enum err e = render(m, "en", FACTS[i].words, NULL, 0, TEMPLATE_PLAIN);
        if (!FACTS[i].part) { /* an integer is all of these: it compiles */
            assert_int_equal(e, MISSING);
            continue;
        }
        assert_int_equal(e, MALFORMED);
        assert_non_null(strstr(m->fault.words, FACTS[i].part));
        if (FACTS[i].at) assert_int_equal(m->fault.at, FACTS[i].at);
    }
    assert_int_equal(render(m, "en", "\xff", NULL, 0, TEMPLATE_PLAIN), MALFORMED);
    assert_int_equal(render(m, "not a tag", "x", NULL, 0, TEMPLATE_PLAIN), MALFORMED);
    assert_int_equal(render(m, "", "x", NULL, 0, TEMPLATE_PLAIN), MALFORMED);
}

static void limits_hold(void **state) {
    struct made *m = *state;
    struct buf big = {0};
    struct template_program *p = NULL;
    for (int i = 0; i <= TEMPLATE_BYTES_MAX; i++) buf_char(&big, 'x');
    assert_int_equal(template_compile(m->k, BYTES("en"), buf_view(&big), &p, &m->fault), LIMIT);
    big.n--;
    assert_int_equal(template_compile(m->k, BYTES("en"), buf_view(&big), &p, &m->fault), OK);
    template_free(&p);
    buf_reset(&big);
    for (int i = 0; i < 1000; i++) buf_str(&big, "{a,select,other{");
    for (int i = 0; i < 1000; i++) buf_str(&big, "");
    assert_int_not_equal(template_compile(m->k, BYTES("en"), buf_view(&big), &p, &m->fault), OK);
    for (int depth = TEMPLATE_NESTING_MAX; depth <= TEMPLATE_NESTING_MAX + 1; depth++) {
        buf_reset(&big);
        for (int i = 0; i < depth; i++) buf_str(&big, "{a,select,other{");
        for (int i = 0; i < depth; i++) buf_str(&big, "}}");
        assert_int_equal(template_compile(m->k, BYTES("en"), buf_view(&big), &p, &m->fault),
            depth > TEMPLATE_NESTING_MAX ? LIMIT : OK);
        template_free(&p);
    }
    buf_reset(&big);
    for (int i = 0; i <= TEMPLATE_VARIABLES_MAX; i++) buf_fmt(&big, "{v%d}", i);
    assert_int_equal(template_compile(m->k, BYTES("en"), buf_view(&big), &p, &m->fault), LIMIT);
    buf_reset(&big);
    for (int i = 0; i < TEMPLATE_OUTPUT_MAX / 16; i++) buf_str(&big, "16 bytes of text");
    struct template_arg a = text("a", "");
    a.text = buf_view(&big);
    assert_int_equal(render(m, "en", "{a}", &a, 1, TEMPLATE_PLAIN), OK);
    assert_int_equal(render(m, "en", "{a}.", &a, 1, TEMPLATE_PLAIN), LIMIT);
    assert_int_equal(m->out.n, 0);
    buf_done(&big);
}

static void locales_fall_back_as_cldr_says(void **state) {
    struct made *m = *state;
    static const char *const HAVE[] = {"en", "en-001", "pt", "pt-PT", "es", "es-419", "zh",
        "zh-Hant", "sr", "sr-Latn", "nb", "zh-Hant-HK"};
    enum { N = sizeof HAVE / sizeof *HAVE };
    static const char *const FACTS[][2] = {{"en", "en"}, {"en-US", "en"}, {"en-GB", "en-001"},
        {"EN_au", "en-001"}, {"pt-BR", "pt"}, {"pt-AO", "pt-PT"}, {"es-MX", "es-419"},
        {"es-ES", "es"}, {"zh-Hant-TW", "zh-Hant"}, {"zh-TW", "zh-Hant"}, {"zh-HK", "zh-Hant-HK"},
        {"zh-MO", "zh-Hant-HK"}, {"uz-Cyrl", ""}, {"hi-Latn", "en-001"}, {"zh-CN", "zh"},
        {"zh-Hans-CN", "zh"}, {"sr-ME", "sr-Latn"}, {"sr-RS", "sr"}, {"nb-NO", "nb"}, {"de-AT", ""},
        {"uz-Arab", ""}, {"", ""}, {"not a tag", ""}, {"pt-BR-u-nu-latn", "pt"}};
    struct bytes have[N];
    for (size_t i = 0; i < N; i++) have[i] = bytes_str(HAVE[i]);
    for (size_t i = 0; i < sizeof FACTS / sizeof *FACTS; i++) {
        size_t at = template_locale_pick(m->k, bytes_str(FACTS[i][0]), have, N);
        if (strcmp(at < N ? HAVE[at] : "", FACTS[i][1]) != 0) print_error("%s\n", FACTS[i][0]);
        assert_string_equal(at < N ? HAVE[at] : "", FACTS[i][1]);
    }
    /* remembered it is the same, whatever else takes its place meanwhile */
    struct buf packed = {0}, fewer = {0};
    for (size_t i = 0; i < N; i++) pack_bytes(&packed, have[i]);
    pack_bytes(&fewer, BYTES("zz"));
    for (int round = 0; round < 3; round++)
        for (size_t i = 0; i < sizeof FACTS / sizeof *FACTS; i++) {
            struct bytes wanted = bytes_str(FACTS[i][0]);
            size_t at = template_locale_pick(m->k, wanted, have, N);
            assert_int_equal(template_locale_pick_kept(m->k, wanted, buf_view(&packed)),
                at == N ? SIZE_MAX : at);
            assert_int_equal(template_locale_pick_kept(m->k, wanted, buf_view(&fewer)), SIZE_MAX);
        }
    for (int i = 0; i < 3000; i++) { /* more than there are places */
        char tag[32];
        snprintf(tag, sizeof tag, "pt-x-%d", i);
        size_t at = template_locale_pick(m->k, bytes_str(tag), have, N);
        assert_int_equal(template_locale_pick_kept(m->k, bytes_str(tag), buf_view(&packed)), at);
    }
    buf_done(&packed);
    buf_done(&fewer);
    /* without zh-Hant, zh is not shown to who reads traditional script */
    assert_int_equal(
        template_locale_pick(m->k, BYTES("zh-TW"), (struct bytes[]){BYTES("zh")}, 1), 1);
    assert_true(template_locale_valid(m->k, BYTES("de-CH")));
    assert_false(template_locale_valid(m->k, BYTES("de CH")));
    /* an unknown language is the root, whatever the process's own is */
    GIVES("xx", "{n} {n, plural, one{one} other{other}}", "1,234 other", integer("n", 1234));
}

/* ---- against ICU's own MessageFormat ---- */
static const char *const LOCALES[] = {"en", "pl", "ar", "ru", "ja", "fr", "he", "cy", "de_CH", "fa",
    "hi", "es", "pt_BR", "my", "bn", "en_IN", "sv"};

static void random_message(struct rng *r, struct buf *b, int depth) {
    static const char *const PIECES[] = {"liked ", "it''s ", "'{' ", "#", " ", "ñ\u4f60\U0001f600",
        "{a}", "{b}", "{n}", "{x}", "{n, number}", "{x, number, integer}", "{n, number, #,##0.0}",
        "{x, number, percent}", "don't", "{n, number, ::compact-short}", "{a}{b}"};
    enum { P = sizeof PIECES / sizeof *PIECES };
    for (uint64_t i = rng_below(r, 4); i < 5; i++) {
        uint64_t what = rng_below(r, P + (depth < 3 ? 5 : 0));
        if (what < P) {
            buf_str(b, PIECES[what]);
            continue;
        }
        bool words = what == P, ordinal = what == P + 1;
        static const char *const CASE[] = {"=0", "=1", "=2.5", "one", "two", "few", "many", "zero"};
        buf_fmt(b, "{%s, %s,",
            words             ? "a"
            : rng_below(r, 2) ? "n"
                              : "x",
            words     ? "select"
            : ordinal ? "selectordinal"
                      : "plural");
        if (!words && rng_below(r, 3) == 0) buf_fmt(b, " offset:%d", (int)rng_below(r, 3));
        for (uint64_t c = rng_below(r, 4); c; c--) {
            buf_fmt(b, " %s{", words ? (rng_below(r, 2) ? "Ann" : "x") : CASE[rng_below(r, 8)]);
            random_message(r, b, depth + 1);
            buf_char(b, '}');
        }
        buf_str(b, " other {");
        random_message(r, b, depth + 1);
        buf_str(b, "}}");
    }
}

static int64_t random_integer(struct rng *r) {
    int64_t v = (int64_t)(rng_next(r) >> rng_below(r, 64));
    return rng_below(r, 4) ? (int64_t)rng_below(r, 130) : rng_below(r, 2) ? v / 4 : -(v / 4);
}

static void random_templates_are_as_icus(void **state) {
    struct made *m = *state;
    struct rng r = {11};
    struct buf words = {0}, want = {0};
    int same = 0;
    for (int i = 0; i < 1500; i++) {
        const char *locale = LOCALES[rng_below(&r, sizeof LOCALES / sizeof *LOCALES)];
        struct template_program *p = NULL;
        buf_reset(&words);
        random_message(&r, &words, 0);
        enum err e = template_compile(m->k, bytes_str(locale), buf_view(&words), &p, &m->fault);
        if (e != OK) print_error("%.*s\n%s\n", (int)words.n, words.p, m->fault.words);
        assert_int_equal(e, OK);
        for (int k = 0; k < 3; k++) {
            struct template_arg a[] = {text("a", rng_below(&r, 2) ? "Ann" : "Zoë {x} '"),
                text("b", ""), integer("n", random_integer(&r)),
                number("x", (double)random_integer(&r) / (double)(1 << rng_below(&r, 8)))};
            buf_reset(&want);
            buf_reset(&m->out);
            assert_true(icu_reference(locale, buf_view(&words), a, 4, &want));
            assert_int_equal(template_render(p, a, 4, TEMPLATE_PLAIN, &m->out, &m->fault), OK);
            if (!bytes_eq(buf_view(&want), buf_view(&m->out)))
                fprintf(stderr, "%s, n %lld, x %.17g\n%.*s\nICU:  %.*s\nours: %.*s\n", locale,
                    (long long)a[2].integer, a[3].number, (int)words.n, words.p, (int)want.n,
                    want.p, (int)m->out.n, m->out.p);
            assert_true(bytes_eq(buf_view(&want), buf_view(&m->out)));
            same++;
        }
        template_free(&p);
    }
    assert_int_equal(same, 4500);
    buf_done(&words);
    buf_done(&want);
}

/* Small integers do not ask ICU; they are the same for every language in the list. */
static void small_integers_are_as_icus(void **state) {
    struct made *m = *state;
    struct buf want = {0};
    for (size_t i = 0; i < sizeof LOCALES / sizeof *LOCALES; i++)
        for (int64_t n = 0; n < 1020; n += i % 3 ? 1 : 7) {
            struct template_arg a = integer("n", n);
            buf_reset(&want);
            assert_true(icu_reference(LOCALES[i], BYTES("{n}"), &a, 1, &want));
            assert_int_equal(render(m, LOCALES[i], "{n}", &a, 1, TEMPLATE_PLAIN), OK);
            assert_true(bytes_eq(buf_view(&want), buf_view(&m->out)));
        }
    buf_done(&want);
}

static void zones_know_when_clocks_change(void **state) {
    struct made *m = *state;
    static const struct {
        const char *zone, *local, *moment;
    } FACTS[] = {{"Europe/Paris", "2026-01-15T22:00:00Z", "2026-01-15T21:00:00Z"},
        {"Europe/Paris", "2026-07-15T22:00:00Z", "2026-07-15T20:00:00Z"},
        {"Europe/Paris", "2026-03-29T01:59:59Z", "2026-03-29T00:59:59Z"},
        {"Europe/Paris", "2026-03-29T02:30:00Z", "2026-03-29T01:30:00Z"}, /* skipped: is 03:30 */
        {"Europe/Paris", "2026-03-29T03:00:00Z", "2026-03-29T01:00:00Z"},
        {"Europe/Paris", "2026-10-25T02:30:00Z", "2026-10-25T00:30:00Z"}, /* twice: the first */
        {"Europe/Paris", "2026-10-25T03:00:00Z", "2026-10-25T02:00:00Z"},
        {"America/New_York", "2026-11-01T01:30:00Z", "2026-11-01T05:30:00Z"},
        {"America/New_York", "2026-03-08T02:00:00Z", "2026-03-08T07:00:00Z"},
        {"Asia/Kolkata", "2026-03-08T02:00:00Z", "2026-03-07T20:30:00Z"},
        {"Australia/Lord_Howe", "2026-04-05T01:45:00Z", "2026-04-04T14:45:00Z"},
        {"Etc/UTC", "2026-03-08T02:00:00Z", "2026-03-08T02:00:00Z"}};
    for (size_t i = 0; i < sizeof FACTS / sizeof *FACTS; i++) {
        int64_t local, want, got = 0;
        check(time_parse(bytes_str(FACTS[i].local), &local) == OK);
        check(time_parse(bytes_str(FACTS[i].moment), &want) == OK);
        assert_true(template_zone_moment(m->k, bytes_str(FACTS[i].zone), local, &got));
        if (got != want) print_error("%s %s\n", FACTS[i].zone, FACTS[i].local);
        assert_int_equal(got, want);
    }
    /* every hour of three years comes back from where it was shown, but in the hours shown twice */
    struct bytes zone = BYTES("Europe/Berlin");
    int twice = 0;
    for (int64_t ms = MORNING; ms < MORNING + 3 * 365 * 86400000ll; ms += 3600000) {
        int64_t offset, back;
        assert_true(template_zone_offset(m->k, zone, ms, &offset));
        assert_true(template_zone_moment(m->k, zone, ms + offset, &back));
        twice += back != ms;
        assert_true(back == ms || back == ms - 3600000);
    }
    assert_int_equal(twice, 3);
    assert_true(template_zone_valid(m->k, BYTES("Europe/Kyiv")));
    assert_false(template_zone_valid(m->k, BYTES("Mars/Olympus")));
    assert_false(template_zone_valid(m->k, BYTES("")));
}

static void programs_are_kept_by_their_text(void **state) {
    struct made *m = *state;
    struct template_cache *c = template_cache_create(m->k, 64);
    struct template_program *p = NULL, *again = NULL;
    assert_int_equal(template_cache_get(c, BYTES("en"), BYTES("{a} x"), &p, &m->fault), OK);
    assert_int_equal(template_cache_get(c, BYTES("en"), BYTES("{a} x"), &again, &m->fault), OK);
    assert_ptr_equal(p, again);
    assert_int_equal(template_cache_get(c, BYTES("de"), BYTES("{a} x"), &again, &m->fault), OK);
    assert_ptr_not_equal(p, again);
    assert_int_equal(template_cache_compiled(c), 2);
    assert_int_equal(template_cache_get(c, BYTES("en"), BYTES("{a"), &again, &m->fault), MALFORMED);
    for (int i = 0; i < 500; i++) { /* far more than there is room for; each is the right one */
        char words[32], want[32];
        struct template_arg a = integer("a", i);
        snprintf(words, sizeof words, "{a} of %d", i * 7 % 100);
        snprintf(want, sizeof want, "%d of %d", i, i * 7 % 100);
        buf_reset(&m->out);
        assert_int_equal(template_cache_get(c, BYTES("en"), bytes_str(words), &p, &m->fault), OK);
        assert_int_equal(template_render(p, &a, 1, TEMPLATE_PLAIN, &m->out, &m->fault), OK);
        assert_string_equal(said(m), want);
    }
    template_cache_free(&c);
}

int main(void) {
    /* what the process is set to must not matter */
    setenv("LC_ALL", "de_DE.UTF-8", 1);
    setenv("TZ", "Asia/Tokyo", 1);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(the_contracts_example, setup, teardown),
        cmocka_unit_test_setup_teardown(plurals_are_cldrs, setup, teardown),
        cmocka_unit_test_setup_teardown(plurals_have_offsets_and_nest, setup, teardown),
        cmocka_unit_test_setup_teardown(numbers_and_times_follow_the_locale, setup, teardown),
        cmocka_unit_test_setup_teardown(zones_take_turns, setup, teardown),
        cmocka_unit_test_setup_teardown(html_escapes_values_only, setup, teardown),
        cmocka_unit_test_setup_teardown(variables_are_listed, setup, teardown),
        cmocka_unit_test_setup_teardown(faults_have_words_and_places, setup, teardown),
        cmocka_unit_test_setup_teardown(limits_hold, setup, teardown),
        cmocka_unit_test_setup_teardown(locales_fall_back_as_cldr_says, setup, teardown),
        cmocka_unit_test_setup_teardown(random_templates_are_as_icus, setup, teardown),
        cmocka_unit_test_setup_teardown(small_integers_are_as_icus, setup, teardown),
        cmocka_unit_test_setup_teardown(zones_know_when_clocks_change, setup, teardown),
        cmocka_unit_test_setup_teardown(programs_are_kept_by_their_text, setup, teardown)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
