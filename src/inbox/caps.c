/* inbox: how often a workflow told this person something in an hour, a day or a week of theirs; behind the head
 * of their inbox.
 * SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "inbox/inbox_in.h"
#include "person/person.h"
#include "zone/zone.h"

enum { CAP_BYTES = 12 };
static uint32_t cap_window(const struct inbox *i, const struct workflow *w, int64_t now_ms) {
    struct bytes zone = person_zone(i->cells, i->app, i->user);
    if (w->cap_per == CAP_HOUR) return (uint32_t)((now_ms + zone_offset(zone, now_ms)) / 3600000);
    int64_t day = zone_day(zone, now_ms);
    return (uint32_t)(w->cap_per == CAP_WEEK ? (day + 3) / 7 : day); /* 1970-01-01: a Thursday */
}

/* The place of the workflow's count; caps.n: it has none. */
static size_t cap_find(const struct inbox *i, uint32_t hash) {
    size_t at = 0;
    for (uint32_t h; at < i->caps.n; at += CAP_BYTES) {
        memcpy(&h, i->caps.p + at, sizeof h);
        if (h == hash) break;
    }
    return at;
}

bool inbox_cap_reached(
    struct inbox *i, const struct workflow *w, struct bytes workflow, int64_t now_ms) {
    if (w->cap_per == CAP_NONE) return false;
    size_t at = cap_find(i, (uint32_t)hash64(workflow));
    uint32_t window, count;
    if (at == i->caps.n) return w->cap_count == 0;
    memcpy(&window, i->caps.p + at + 4, sizeof window);
    memcpy(&count, i->caps.p + at + 8, sizeof count);
    return window == cap_window(i, w, now_ms) && count >= w->cap_count;
}

void inbox_cap_use(
    struct inbox *i, const struct workflow *w, struct bytes workflow, int64_t now_ms) {
    if (w->cap_per == CAP_NONE) return;
    uint32_t key = (uint32_t)hash64(workflow);
    size_t at = cap_find(i, key);
    uint32_t now = cap_window(i, w, now_ms), window, count = 0;
    uint8_t *caps = arena_alloc(i->arena, i->caps.n + CAP_BYTES);
    if (i->caps.n) memcpy(caps, i->caps.p, i->caps.n);
    if (at < i->caps.n) {
        memcpy(&window, caps + at + 4, sizeof window);
        if (window == now) memcpy(&count, caps + at + 8, sizeof count);
    }
    count++;
    memcpy(caps + at, &key, 4);
    memcpy(caps + at + 4, &now, 4);
    memcpy(caps + at + 8, &count, 4);
    i->caps = bytes_of(caps, at < i->caps.n ? i->caps.n : i->caps.n + CAP_BYTES);
}
