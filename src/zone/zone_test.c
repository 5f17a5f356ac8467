/* zone, tested by itself: tables made by hand, days and minutes reckoned with them, and bytes that
 * are no table. That tables say what ICU says is tested where they are made (template).
 * SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>

#include "zone/zone.h"

#define HOUR 3600000ll
#define DAY (24 * HOUR)

static int64_t at(const char *text) {
    int64_t ms;
    check(time_parse(bytes_str(text), &ms) == OK);
    return ms;
}

static struct bytes table_of(const struct zone_change *c, size_t n) {
    static struct buf b;
    buf_reset(&b);
    if (!c) buf_done(&b);
    else zone_pack(c, n, &b);
    return buf_view(&b);
}

static int done(void **state) {
    (void)table_of(NULL, 0);
    return 0;
}

static void no_table_is_utc(void **state) {
    struct bytes none = {0};
    int64_t now = at("2026-11-21T17:30:00Z");
    assert_int_equal(zone_offset(none, now), 0);
    assert_int_equal(zone_moment(none, now), now);
    assert_int_equal(zone_minute(none, now), 17 * 60 + 30);
    assert_int_equal(zone_weekday(zone_day(none, now)), 5);
    assert_int_equal(zone_day_start(none, zone_day(none, now)), at("2026-11-21T00:00:00Z"));
    assert_int_equal(zone_day(none, -1), -1);
    assert_int_equal(zone_minute(none, -1), 24 * 60 - 1);
    assert_int_equal(zone_weekday(-1), 2);
    assert_int_equal(zone_weekday(0), 3);
}

static void one_offset_always(void **state) {
    struct bytes kathmandu = table_of(&(struct zone_change){0, 345 * 60000}, 1);
    assert_int_equal(kathmandu.n, 2);
    int64_t now = at("2026-11-21T18:30:00Z");
    assert_int_equal(zone_offset(kathmandu, now), 345 * 60000);
    assert_int_equal(zone_offset(kathmandu, -now), 345 * 60000);
    assert_int_equal(zone_minute(kathmandu, now), 15);
    assert_int_equal(zone_day(kathmandu, now), zone_day((struct bytes){0}, now) + 1);
    assert_int_equal(zone_day_start(kathmandu, zone_day(kathmandu, now)), now - 15 * 60000);
}

/* Paris in 2026. */
static void clocks_change(void **state) {
    const struct zone_change c[] = {
        {0, HOUR}, {at("2026-03-29T01:00:00Z"), 2 * HOUR}, {at("2026-10-25T01:00:00Z"), HOUR}};
    struct bytes paris = table_of(c, 3);
    static const struct {
        const char *local, *moment;
    } FACTS[] = {{"2026-01-15T22:00:00Z", "2026-01-15T21:00:00Z"},
        {"2026-03-29T01:59:59Z", "2026-03-29T00:59:59Z"},
        {"2026-03-29T02:30:00Z", "2026-03-29T01:30:00Z"}, /* skipped: is 03:30 */
        {"2026-03-29T03:00:00Z", "2026-03-29T01:00:00Z"},
        {"2026-10-25T02:30:00Z", "2026-10-25T00:30:00Z"}, /* twice: the first */
        {"2026-10-25T03:00:00Z", "2026-10-25T02:00:00Z"}};
    for (size_t i = 0; i < sizeof FACTS / sizeof *FACTS; i++)
        assert_int_equal(zone_moment(paris, at(FACTS[i].local)), at(FACTS[i].moment));
    assert_int_equal(zone_offset(paris, c[1].at_ms - 1), HOUR);
    assert_int_equal(zone_offset(paris, c[1].at_ms), 2 * HOUR);
    int64_t day = zone_day(paris, at("2026-03-28T23:00:00Z"));
    assert_int_equal(zone_day_start(paris, day + 1) - zone_day_start(paris, day), 23 * HOUR);
    day = zone_day(paris, at("2026-10-24T22:00:00Z"));
    assert_int_equal(zone_day_start(paris, day + 1) - zone_day_start(paris, day), 25 * HOUR);
}

/* Samoa had no 30 December 2011. */
static void a_day_that_never_was(void **state) {
    const struct zone_change c[] = {{0, -10 * HOUR}, {at("2011-12-30T10:00:00Z"), 14 * HOUR}};
    struct bytes apia = table_of(c, 2);
    int64_t gone = zone_day((struct bytes){0}, at("2011-12-30T00:00:00Z"));
    assert_int_equal(zone_day(apia, c[1].at_ms - 1), gone - 1);
    assert_int_equal(zone_day(apia, c[1].at_ms), gone + 1);
    assert_int_equal(zone_day_start(apia, gone), c[1].at_ms);
    assert_int_equal(zone_day_start(apia, gone + 1), c[1].at_ms);
    assert_int_equal(zone_day_start(apia, gone + 2), c[1].at_ms + DAY);
    assert_int_equal(zone_moment(apia, at("2011-12-30T12:00:00Z")), at("2011-12-30T22:00:00Z"));
}

/* Clocks that go from 00:00 to 01:00: the day begins at one. */
static void a_day_without_midnight(void **state) {
    const struct zone_change c[] = {{0, 2 * HOUR}, {at("2026-04-23T22:00:00Z"), 3 * HOUR}};
    struct bytes cairo = table_of(c, 2);
    int64_t day = zone_day(cairo, c[1].at_ms);
    assert_int_equal(zone_day(cairo, c[1].at_ms - 1), day - 1);
    assert_int_equal(zone_day_start(cairo, day), c[1].at_ms);
    assert_int_equal(zone_minute(cairo, c[1].at_ms), 60);
}

static void a_change_of_name_only_is_left_out(void **state) {
    const struct zone_change c[] = {
        {0, HOUR}, {0, HOUR}, {0, 2 * HOUR}, {HOUR, 2 * HOUR}, {2 * HOUR, HOUR}};
    const struct zone_change same[] = {{0, HOUR}, {0, 2 * HOUR}, {2 * HOUR, HOUR}};
    uint8_t kept[32];
    struct bytes t = table_of(c, 5);
    size_t n = t.n;
    assert_in_range(n, 3, sizeof kept);
    for (size_t i = 0; i < n; i++) kept[i] = t.p[i];
    assert_true(bytes_eq(bytes_of(kept, n), table_of(same, 3)));
    assert_int_equal(zone_offset(table_of(c, 5), -1), HOUR);
    assert_int_equal(zone_offset(table_of(c, 5), 0), 2 * HOUR);
    assert_int_equal(zone_offset(table_of(c, 5), 2 * HOUR), HOUR);
}

static void any_bytes_may_be_given(void **state) {
    struct rng r = {11};
    static const int64_t ENDS[] = {INT64_MIN, INT64_MIN + 1, -1, 0, 1, INT64_MAX - 1, INT64_MAX};
    for (int round = 0; round < 20000; round++) {
        uint8_t bytes[24];
        size_t n = rng_below(&r, sizeof bytes + 1);
        for (size_t i = 0; i < n; i++)
            bytes[i] = (uint8_t)(rng_next(&r) & (rng_below(&r, 3) ? 0xff : 0x7f));
        struct bytes t = bytes_of(bytes, n);
        int64_t ms = rng_below(&r, 2) ? ENDS[rng_below(&r, 7)] : (int64_t)rng_next(&r);
        int64_t offset = zone_offset(t, ms);
        assert_true(offset >= -26 * HOUR && offset <= 26 * HOUR);
        assert_in_range(zone_minute(t, ms), 0, 1439);
        assert_in_range(zone_weekday(ms), 0, 6);
        (void)zone_moment(t, ms);
        (void)zone_day_start(t, zone_day(t, ms));
        (void)zone_day_start(t, ms);
    }
}

int main(void) {
    const struct CMUnitTest all[] = {cmocka_unit_test(no_table_is_utc),
        cmocka_unit_test(one_offset_always), cmocka_unit_test(clocks_change),
        cmocka_unit_test(a_day_that_never_was), cmocka_unit_test(a_day_without_midnight),
        cmocka_unit_test(a_change_of_name_only_is_left_out),
        cmocka_unit_test(any_bytes_may_be_given)};
    return cmocka_run_group_tests(all, NULL, done);
}
