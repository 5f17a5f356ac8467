/* zone: reads tables of a zone's offsets, and makes them.
 * Keeps: what a table says is bounded (OFFSET_MAX), so that nothing overflows that is reckoned with it.
 * SPDX-License-Identifier: Apache-2.0 */
#include "zone/zone.h"

#define MINUTE_MS 60000ll
#define DAY_MS 86400000ll
#define MOMENT_MAX (INT64_MAX / 4) /* what is given is held to it, either way */
enum { OFFSET_MAX = 26 * 60 /* minutes: no clock was ever as far from UTC */ };

static uint64_t zigzag(int64_t v) { return (uint64_t)v << 1 ^ (uint64_t)(v >> 63); }
static int64_t unzigzag(uint64_t v) { return (int64_t)(v >> 1) ^ -(int64_t)(v & 1); }

static int64_t held(int64_t ms) {
    return ms > MOMENT_MAX ? MOMENT_MAX : ms < -MOMENT_MAX ? -MOMENT_MAX : ms;
}
/* Downwards, before 1970 too. */
static int64_t whole(int64_t ms, int64_t unit) { return ms / unit - (ms % unit < 0); }

int64_t zone_offset(struct bytes table, int64_t ms) {
    struct unpack u = unpack_of(table);
    if (!table.n) return 0;
    int64_t now = whole(held(ms), MINUTE_MS), offset = unzigzag(unpack_var(&u)), here = offset;
    bool first = true;
    for (int64_t at = 0; unpack_more(&u); first = false) {
        uint64_t v = unpack_var(&u);
        at = (int64_t)((uint64_t)at + (first ? (uint64_t)unzigzag(v) : v));
        here = unzigzag(unpack_var(&u));
        if (at > now) break;
        offset = here;
    }
    if (u.bad || offset > OFFSET_MAX || offset < -OFFSET_MAX) return 0;
    return offset * MINUTE_MS;
}

int64_t zone_moment(struct bytes table, int64_t local_ms) {
    int64_t local = held(local_ms);
    int64_t before = zone_offset(table, local - DAY_MS), after = zone_offset(table, local + DAY_MS);
    if (zone_offset(table, local - before) == before) return local - before; /* the first of two */
    if (zone_offset(table, local - after) == after) return local - after;
    return local - before; /* skipped: the old offset leads beyond the gap by as much */
}

int64_t zone_day(struct bytes table, int64_t ms) {
    return whole(held(ms) + zone_offset(table, ms), DAY_MS);
}

int64_t zone_day_start(struct bytes table, int64_t day) {
    int64_t most = MOMENT_MAX / DAY_MS;
    return zone_moment(table, (day > most ? most : day < -most ? -most : day) * DAY_MS);
}

unsigned zone_minute(struct bytes table, int64_t ms) {
    int64_t minutes = whole(held(ms) + zone_offset(table, ms), MINUTE_MS);
    return (unsigned)(minutes - whole(minutes, 24 * 60) * 24 * 60);
}

unsigned zone_weekday(int64_t day) {
    return (unsigned)((day % 7 + 7 + 3) % 7); /* 1970 began on a Thursday */
}

void zone_pack(const struct zone_change *changes, size_t n, struct buf *out) {
    int64_t last = 0, offset = 0;
    size_t packed = 0;
    for (size_t i = 0; i < n; i++) {
        int64_t at = whole(changes[i].at_ms, MINUTE_MS), now = changes[i].offset_ms / MINUTE_MS;
        if (i && now == offset) continue; /* another name for the same time */
        if (packed) pack_var(out, packed == 1 ? zigzag(at) : (uint64_t)(at - last));
        pack_var(out, zigzag(now));
        offset = now;
        last = at;
        packed++;
    }
}
