/* template, measured: renders a second on one core: plain replacement, the contract's example,
 * numbers, dates, HTML; the same by ICU's MessageFormat parsed each time, which is what a server
 * without compiled programs would do; and compiling. Prints; nothing here can fail.
 * SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "template/template_in.h"
#include "zone/zone.h"

enum { ROUNDS = 5 };
#define SPAN_NS 100000000ll

static int64_t now_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return t.tv_sec * 1000000000ll + t.tv_nsec;
}

struct job {
    const char *name, *locale, *words;
    enum template_escape escape;
};
static const struct job JOBS[] = {
    {"plain {name}", "en", "{actor} sent you a photo", TEMPLATE_PLAIN},
    {"plain, HTML", "en", "<p><b>{actor}</b> sent you a photo</p>", TEMPLATE_HTML},
    {"the contract's example", "en",
        "{others, plural, =0 {{actor} liked it} one {{actor} and # other liked it} other {{actor} "
        "and # others liked it}}",
        TEMPLATE_PLAIN},
    {"the same in Polish", "pl",
        "{others, plural, =0 {{actor} lubi to} one {{actor} i # inna osoba} few {{actor} i # inne "
        "osoby} other {{actor} i # innych os\u00f3b}}",
        TEMPLATE_PLAIN},
    {"a large number", "en", "{large} views", TEMPLATE_PLAIN},
    {"a date and time", "en", "at {when, date, medium}, {when, time, short}", TEMPLATE_PLAIN}};

static const struct template_arg ARGS[] = {{.name = {(const uint8_t *)"actor", 5},
                                               .kind = TEMPLATE_TEXT,
                                               .text = {(const uint8_t *)"Ann Smith", 9}},
    {.name = {(const uint8_t *)"others", 6}, .kind = TEMPLATE_INTEGER, .integer = 12},
    {.name = {(const uint8_t *)"large", 5}, .kind = TEMPLATE_INTEGER, .integer = 1234567},
    {.name = {(const uint8_t *)"when", 4},
        .kind = TEMPLATE_TIME,
        .integer = 1767323045678,
        .text = {(const uint8_t *)"Europe/Paris", 12}}};
enum { ARG_COUNT = sizeof ARGS / sizeof *ARGS };

struct rendering {
    struct template_program *program;
    enum template_escape escape;
};
static void one_render(void *p, struct buf *out) {
    struct template_fault fault;
    const struct rendering *r = p;
    buf_reset(out);
    check(template_render(r->program, ARGS, ARG_COUNT, r->escape, out, &fault) == OK);
}
static void one_reference(void *p, struct buf *out) {
    const struct job *j = p;
    buf_reset(out);
    check(icu_reference(j->locale, bytes_str(j->words), ARGS, ARG_COUNT, out));
}
struct again {
    struct template_kit *k;
    const struct job *j;
};
static void one_compile(void *p, struct buf *out) {
    const struct again *a = p;
    struct template_program *program;
    struct template_fault fault;
    (void)out;
    check(template_compile(
              a->k, bytes_str(a->j->locale), bytes_str(a->j->words), &program, &fault) == OK);
    template_free(&program);
}

static double best_ns(void (*fn)(void *, struct buf *), void *arg) {
    double best = 1e18;
    struct buf out = {0};
    for (int r = 0; r < ROUNDS; r++) {
        int64_t from = now_ns(), n = 0, took;
        do {
            for (int i = 0; i < 64; i++) fn(arg, &out);
            n += 64;
            took = now_ns() - from;
        } while (took < SPAN_NS);
        double each = (double)took / (double)n;
        if (each < best) best = each;
    }
    buf_done(&out);
    return best;
}

/* Tables of zones: the first one of a year, the same again, and an offset by it. */
#define MORNING 1795200000000
static void one_table(void *p, struct buf *out) {
    buf_reset(out);
    check(template_zone_table(p, BYTES("Africa/Casablanca"), MORNING, 20, out));
}
static void one_offset(void *p, struct buf *out) {
    (void)out;
    struct buf *table = p;
    check(zone_offset(buf_view(table), MORNING + 17 * 365 * 86400000ll) >= 0);
}
static void zones(void) {
    double first = 0;
    struct buf table = {0}, names = {0};
    struct template_kit *k = template_kit_create();
    icu_zone_names(&names);
    struct unpack u = unpack_of(buf_view(&names));
    while (unpack_more(&u)) {
        struct bytes name = unpack_bytes(&u);
        int64_t from = now_ns();
        buf_reset(&table);
        check(template_zone_table(k, name, MORNING, 20, &table));
        double took = (double)(now_ns() - from);
        if (took > first) first = took;
    }
    one_table(k, &table);
    printf(
        "zones, ns: %.0f for the slowest table the first time, %.0f when kept, %.0f for an offset "
        "by %zu bytes\n",
        first, best_ns(one_table, k), best_ns(one_offset, &table), table.n);
    buf_done(&table);
    buf_done(&names);
    template_kit_free(&k);
}

int main(void) {
    struct template_kit *k = template_kit_create();
    printf("%-24s %10s %12s %10s %10s %8s\n", "one core", "render ns", "a second", "ICU ns",
        "compile ns", "bytes");
    for (size_t i = 0; i < sizeof JOBS / sizeof *JOBS; i++) {
        struct template_program *p;
        struct template_fault fault;
        struct job j = JOBS[i];
        check(template_compile(k, bytes_str(j.locale), bytes_str(j.words), &p, &fault) == OK);
        struct rendering r = {p, j.escape};
        struct again a = {k, &j};
        double ns = best_ns(one_render, &r);
        printf("%-24s %10.0f %12.0f %10.0f %10.0f %8zu\n", j.name, ns, 1e9 / ns,
            best_ns(one_reference, &j), best_ns(one_compile, &a), template_memory(p));
        template_free(&p);
    }
    template_kit_free(&k);
    zones();
    return 0;
}
