/* template, its tables of zones, held to ICU over all zones that ICU knows: random moments, and the
 * minutes round every change of the years that a table is for.
 * SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "template/template_in.h"
#include "zone/zone.h"

#define MINUTE 60000ll
#define DAY 86400000ll
enum { YEARS = 20, MOMENTS = 60 };

static int64_t at(const char *text) {
    int64_t ms;
    check(time_parse(bytes_str(text), &ms) == OK);
    return ms;
}

struct looking {
    struct template_kit *k;
    struct bytes zone;
    struct buf table;
    uint64_t looks, changes;
};

static void same_at(struct looking *l, int64_t ms) {
    int64_t want, moment;
    assert_true(template_zone_offset(l->k, l->zone, ms, &want));
    int64_t got = zone_offset(buf_view(&l->table), ms);
    if (got != want)
        print_error("%.*s at %lld\n", (int)l->zone.n, (const char *)l->zone.p, (long long)ms);
    assert_int_equal(got, want);
    /* any moment will do as what clocks show; those near to changes are shown twice or never */
    assert_true(template_zone_moment(l->k, l->zone, ms + want, &moment));
    assert_int_equal(zone_moment(buf_view(&l->table), ms + want), moment);
    assert_true(template_zone_moment(l->k, l->zone, ms, &moment));
    assert_int_equal(zone_moment(buf_view(&l->table), ms), moment);
    l->looks++;
}

static void round_a_change(struct looking *l, int64_t ms) {
    static const int64_t AWAY[] = {-26 * 60 * MINUTE, -60 * MINUTE, -30 * MINUTE, -1, 0, 1,
        15 * MINUTE, 30 * MINUTE, 60 * MINUTE, 61 * MINUTE, 25 * 60 * MINUTE};
    for (size_t i = 0; i < sizeof AWAY / sizeof *AWAY; i++) same_at(l, ms + AWAY[i]);
    /* the hours that clocks show as UTC would: what is skipped or shown twice */
    int64_t offset;
    assert_true(template_zone_offset(l->k, l->zone, ms - 1, &offset));
    for (int i = -4; i <= 4; i++) {
        int64_t want, local = ms + offset + i * 15 * MINUTE;
        assert_true(template_zone_moment(l->k, l->zone, local, &want));
        assert_int_equal(zone_moment(buf_view(&l->table), local), want);
    }
    l->changes++;
}

static void zone_look(struct looking *l, struct rng *r, int64_t from, int64_t until) {
    buf_reset(&l->table);
    assert_true(template_zone_table(l->k, l->zone, from, YEARS, &l->table));
    assert_in_range(l->table.n, 1, 400);
    for (int i = 0; i < MOMENTS; i++)
        same_at(l, from + (int64_t)rng_below(r, (uint64_t)(until - from)));
    for (int64_t ms = from; icu_zone_next(l->k->zones, l->zone, ms, &ms) && ms < until;)
        round_a_change(l, ms);
    /* days are whole, in order, and begin where they begin */
    struct bytes t = buf_view(&l->table);
    for (int i = 0; i < 20; i++) {
        int64_t ms = from + (int64_t)rng_below(r, (uint64_t)(until - from)), day = zone_day(t, ms);
        int64_t start = zone_day_start(t, day), next = zone_day_start(t, day + 1);
        assert_true(start <= ms && ms < next + 60 * MINUTE);
        assert_true(zone_day(t, start) == day && zone_day(t, start - 1) == day - 1);
        assert_in_range(next - start, 22 * 60 * MINUTE, 26 * 60 * MINUTE);
    }
}

static void tables_say_what_icu_says(void **state) {
    struct looking l = {.k = template_kit_create()};
    struct buf names = {0};
    struct rng r = {2040};
    icu_zone_names(&names);
    struct unpack u = unpack_of(buf_view(&names));
    size_t zones = 0;
    for (; unpack_more(&u); zones++) {
        l.zone = unpack_bytes(&u);
        zone_look(&l, &r, at("2020-01-01T00:00:00Z"), at("2040-01-01T00:00:00Z"));
    }
    assert_true(zones > 400 && l.changes > 3000 && l.looks > 60000);
    buf_done(&names);
    buf_done(&l.table);
    template_kit_free(&l.k);
}

static void the_odd_ones(void **state) {
    struct looking l = {.k = template_kit_create()};
    static const char *const NAMES[] = {"Australia/Lord_Howe", "Africa/Casablanca", "Pacific/Apia",
        "America/St_Johns", "Africa/Cairo", "Pacific/Chatham", "Asia/Gaza", "Antarctica/Troll"};
    for (size_t i = 0; i < sizeof NAMES / sizeof *NAMES; i++) {
        struct rng r = {i};
        l.zone = bytes_str(NAMES[i]);
        buf_reset(&l.table);
        int64_t from = at("2008-06-01T00:00:00Z"), until = at("2028-01-01T00:00:00Z"), ms = from;
        assert_true(template_zone_table(l.k, l.zone, from, YEARS, &l.table));
        while (icu_zone_next(l.k->zones, l.zone, ms, &ms) && ms < until) round_a_change(&l, ms);
        for (int k = 0; k < 2000; k++)
            same_at(&l, from + (int64_t)rng_below(&r, (uint64_t)(until - from)));
    }
    assert_true(l.changes > 150);
    buf_done(&l.table);
    template_kit_free(&l.k);
}

static void a_year_has_one_table(void **state) {
    struct template_kit *k = template_kit_create();
    struct buf a = {0}, b = {0};
    assert_true(template_zone_table(k, BYTES("Europe/Paris"), at("2026-01-01T00:00:00Z"), 3, &a));
    assert_true(template_zone_table(k, BYTES("Europe/Paris"), at("2026-12-31T23:59:59Z"), 3, &b));
    assert_true(bytes_eq(buf_view(&a), buf_view(&b)));
    assert_int_equal(zone_offset(buf_view(&a), at("2025-01-01T00:00:00Z")), 60 * MINUTE);
    assert_int_equal(zone_offset(buf_view(&a), at("2025-07-01T00:00:00Z")), 120 * MINUTE);
    assert_int_equal(zone_offset(buf_view(&a), at("2028-07-01T00:00:00Z")), 120 * MINUTE);
    size_t n = a.n;
    assert_false(template_zone_table(k, BYTES("Mars/Olympus"), 0, 3, &a));
    assert_false(template_zone_table(k, BYTES(""), 0, 3, &a));
    assert_false(template_zone_table(k, BYTES("Etc/UTC"), 0, ZONE_YEARS_MAX + 1, &a));
    assert_int_equal(a.n, n);
    assert_true(template_zone_table(k, BYTES("Europe/Paris"), INT64_MIN, 20, &a));
    assert_true(template_zone_table(k, BYTES("Europe/Paris"), INT64_MAX, 20, &a));
    buf_done(&a);
    buf_done(&b);
    template_kit_free(&k);
}

int main(void) {
    const struct CMUnitTest all[] = {cmocka_unit_test(tables_say_what_icu_says),
        cmocka_unit_test(the_odd_ones), cmocka_unit_test(a_year_has_one_table)};
    return cmocka_run_group_tests(all, NULL, NULL);
}
