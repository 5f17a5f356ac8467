/* Quiet hours against a model that reads the clock of each minute, in zones whose clocks change, by an
 * hour, by half an hour, by a whole day. SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <cmocka.h>

#include "prefs/prefs.h"
#include "template/template.h"
#include "zone/zone.h"

#define MINUTE_MS 60000ll
#define DAY_MS 86400000ll
enum { DAYS = 14, MINUTES = DAYS * 1440 };

/* Some days of a zone: what its clocks show at each minute. */
struct days {
    int64_t begin_ms;
    int64_t offset_ms[MINUTES];
    struct buf table;
};

static void days_make(struct days *d, struct template_kit *k, const char *zone, const char *begin) {
    struct zone_change changes[16];
    size_t n = 0;
    assert_int_equal(time_parse(bytes_str(begin), &d->begin_ms), OK);
    for (int i = 0; i < MINUTES; i++) {
        int64_t at = d->begin_ms + i * MINUTE_MS;
        assert_true(template_zone_offset(k, bytes_str(zone), at, &d->offset_ms[i]));
        if (i && d->offset_ms[i] == d->offset_ms[i - 1]) continue;
        assert_true(n < 16);
        changes[n++] = (struct zone_change){at, d->offset_ms[i]};
    }
    d->table.n = 0;
    zone_pack(changes, n, &d->table);
}

static int64_t shown(const struct days *d, int i) {
    return d->begin_ms + i * MINUTE_MS + d->offset_ms[i];
}

/* The first minute whose clock shows it. What none shows is as much later as the clocks were put
 * forward. */
static int64_t moment(const struct days *d, int64_t local_ms) {
    for (int i = 0; i < MINUTES; i++)
        if (shown(d, i) == local_ms) return d->begin_ms + i * MINUTE_MS;
    for (int i = 1; i < MINUTES; i++)
        if (shown(d, i) > local_ms) return local_ms - d->offset_ms[i - 1];
    fail();
    return 0;
}

static int64_t model_end(const struct days *d, const struct quiet_hours *q, int64_t now_ms) {
    int64_t end = 0, middle = shown(d, MINUTES / 2) / DAY_MS;
    for (int64_t day = middle - 4; day <= middle + 4; day++) {
        int weekday = (int)((day + 3) % 7); /* 1970 began on a Thursday */
        if (!(q->days >> weekday & 1)) continue;
        int64_t from = moment(d, day * DAY_MS + q->from * MINUTE_MS);
        int64_t to = moment(d, (day + (q->to < q->from)) * DAY_MS + q->to * MINUTE_MS);
        if (from <= now_ms && now_ms < to && to > end) end = to;
    }
    return end;
}

static void around(const char *zone, const char *begin) {
    static struct days d;
    struct template_kit *k = template_kit_create();
    struct rng rng = {7};
    int inside = 0;
    days_make(&d, k, zone, begin);
    for (int i = 0; i < 400; i++) {
        struct quiet_hours q = {
            .days = (uint8_t)(rng_below(&rng, 3) ? 0xff : rng_below(&rng, 128))};
        q.from = (uint16_t)rng_below(&rng, 1440);
        q.to = (uint16_t)rng_below(&rng, 1440);
        if (rng_below(&rng, 2)) { /* most clocks change then */
            q.from = (uint16_t)(rng_below(&rng, 2) ? 22 * 60 : rng_below(&rng, 240));
            q.to = (uint16_t)rng_below(&rng, 240);
        }
        int64_t now = d.begin_ms + (DAYS / 2 - 1) * DAY_MS + (int64_t)rng_below(&rng, 2 * DAY_MS);
        int64_t want = q.from == q.to ? 0 : model_end(&d, &q, now);
        int64_t got = quiet_end(buf_view(&d.table), &q, now);
        if (got != want)
            print_error("%s: from %u to %u, days %x, at %lld: %lld, not %lld\n", zone, q.from, q.to,
                q.days, (long long)now, (long long)got, (long long)want);
        assert_int_equal(got, want);
        inside += want != 0;
    }
    assert_true(inside > 50 && inside < 350);
    buf_done(&d.table);
    template_kit_free(&k);
}

static void matches_the_model(void **state) {
    static const struct {
        const char *zone, *begin; /* seven days before its clocks change */
    } CASES[] = {{"Europe/Berlin", "2026-03-22T00:00:00Z"},
        {"Europe/Berlin", "2026-10-18T00:00:00Z"}, {"America/New_York", "2026-03-01T06:00:00Z"},
        {"America/New_York", "2026-10-25T06:00:00Z"},
        {"Australia/Lord_Howe", "2026-03-28T15:00:00Z"},
        {"Australia/Lord_Howe", "2026-09-26T15:00:00Z"}, {"Asia/Kathmandu", "2026-06-01T00:00:00Z"},
        {"Pacific/Apia", "2011-12-23T10:00:00Z"}, {"America/Havana", "2026-03-01T05:00:00Z"},
        {"UTC", "2026-01-01T00:00:00Z"}};
    (void)state;
    for (size_t i = 0; i < sizeof CASES / sizeof *CASES; i++) around(CASES[i].zone, CASES[i].begin);
}

/* A night that begins on Friday is Friday's, after midnight too. */
static void midnight_belongs_to_the_day_before(void **state) {
    struct quiet_hours q = {22 * 60, 7 * 60 + 30, 1 << 4};
    int64_t friday, t;
    (void)state;
    assert_int_equal(time_parse(BYTES("2026-01-02T00:00:00Z"), &friday), OK);
    t = friday + 22 * 60 * MINUTE_MS;
    assert_int_equal(quiet_end((struct bytes){0}, &q, t - 1), 0);
    assert_int_equal(quiet_end((struct bytes){0}, &q, t), friday + DAY_MS + 450 * MINUTE_MS);
    t = friday + DAY_MS + 449 * MINUTE_MS;
    assert_int_equal(quiet_end((struct bytes){0}, &q, t), t + MINUTE_MS);
    assert_int_equal(quiet_end((struct bytes){0}, &q, t + MINUTE_MS), 0);
    assert_int_equal(quiet_end((struct bytes){0}, &q, t + 16 * 60 * MINUTE_MS), 0); /* Saturday's */
    assert_int_equal(quiet_end((struct bytes){0}, &q, friday + 60 * MINUTE_MS), 0); /* Thursday's */
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(matches_the_model), cmocka_unit_test(midnight_belongs_to_the_day_before)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
