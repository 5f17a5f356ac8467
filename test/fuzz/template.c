/* fuzz: templates: what compiles is rendered as ICU's MessageFormat renders it, stays within its
 * limits, and escaped it has no mark of a value's; what does not compile says where. The first byte
 * says the locale, the second the values.
 * SPDX-License-Identifier: Apache-2.0 */
#include "fuzz.h"

#include <string.h>

#include "template/template_in.h"

static const char *const LOCALES[] = {"en", "pl", "ar", "fr", "ja", "de-CH", "xx", "hi"};

void fuzz_seeds(void (*give)(void *arg, struct bytes seed), void *arg) {
    static const char *const TEXTS[] = {"\0\1{others, plural, =0 {{actor} liked it} one {{actor} "
                                        "and # other liked it} other {{actor} "
                                        "and # others liked it}}",
        "\1\2{n, plural, offset:1 =1{a}few{# '#' '{'}other{''#}} {s, select, a{x}other{{t}}}",
        "\2\3{n, selectordinal, one{#st}other{#th}} {n, number, ::percent} {m, number,#.0}",
        "\3\4{t, date, full} {t, time, ::Hms} {t, date,yyyy-MM-dd}", "\4\5{0} {1,number} don't '{x",
        "\5\6{n, spellout} {n, ordinal} {n, duration} {x, choice, 0#a|1#b}",
        "\6\7{n, plural, =2.5{x} other{{n, plural, other{{n, plural, other{#}}}}}}"};
    for (size_t i = 0; i < sizeof TEXTS / sizeof *TEXTS; i++)
        give(arg, bytes_of(TEXTS[i], 2 + strlen(TEXTS[i] + 2)));
}

static struct template_arg value_for(struct template_variable v, uint8_t seed) {
    struct template_arg a = {.name = v.name, .integer = seed * seed % 1111 - 5};
    if (v.takes & 1 << TEMPLATE_TEXT && seed & 1) {
        a.kind = TEMPLATE_TEXT;
        a.text = BYTES("<Zo\u00eb & 'x'>");
    } else if (v.takes & 1 << TEMPLATE_NUMBER && seed & 2) {
        a.kind = TEMPLATE_NUMBER;
        a.number = seed / 8.0;
    } else if (v.takes & 1 << TEMPLATE_INTEGER) {
        a.kind = TEMPLATE_INTEGER;
    } else {
        a.kind = TEMPLATE_TIME;
    }
    return a;
}

static void render(
    struct template_program *p, const char *locale, struct bytes text, uint8_t seed) {
    struct template_arg args[TEMPLATE_VARIABLES_MAX];
    struct template_fault fault;
    struct buf out = {0}, escaped = {0}, want = {0};
    size_t n = template_variable_count(p);
    for (size_t i = 0; i < n; i++) {
        args[i] = value_for(template_variable_at(p, i), (uint8_t)(seed + i));
    }
    enum err e = template_render(p, args, n, TEMPLATE_PLAIN, &out, &fault);
    check(e == OK || e == LIMIT || e == MALFORMED);
    check((e == OK) == !fault.words[0] && utf8_valid(buf_view(&out)));
    check(out.n <= TEMPLATE_OUTPUT_MAX && (e == OK || !out.n));
    if (e == OK && icu_reference(locale, text, args, n, &want))
        check(bytes_eq(buf_view(&out), buf_view(&want)));
    if (template_render(p, args, n, TEMPLATE_HTML, &escaped, &fault) == OK)
        check(e == OK && escaped.n >= out.n);
    buf_done(&out);
    buf_done(&escaped);
    buf_done(&want);
}

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n) {
    static struct template_kit *kit; /* locales are costly to open, and hold nothing of an input */
    struct template_program *program;
    struct template_fault fault;
    if (!kit) kit = template_kit_create();
    if (n < 2) return 0;
    const char *locale = LOCALES[p[0] % (sizeof LOCALES / sizeof *LOCALES)];
    struct bytes text = bytes_of(p + 2, n - 2);
    enum err e = template_compile(kit, bytes_str(locale), text, &program, &fault);
    check(e == OK || e == MALFORMED || e == LIMIT);
    check((e == OK) == !fault.words[0] && fault.at <= text.n);
    (void)template_locale_pick(kit, text, (struct bytes[]){BYTES("en"), text}, 2);
    if (e != OK) return 0;
    render(program, locale, text, p[1]);
    template_free(&program);
    return 0;
}
