/* mailbox: who left a topic, or whom they followed, in the last weeks: what is taken back of before must
 * be taken from them too, wherever it reached them.
 *
 *   '[' app audience       u64 first day kept, u64 last;  '[' app audience day   packed ids of who left on it
 *   ']' app user           packed { varbytes audience, var day }: where they stand in those lists
 *
 * Keeps: a user stands once in the list of a day; who is erased in none. Days past retention go when
 * someone else leaves.
 * SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "mailbox/mailbox_in.h"

enum { DAY_MS = 86400000 };

static struct cell *audience_cell(struct cells *c, struct bytes app, struct bytes audience) {
    uint8_t room[300];
    return cells_get(c, key2(room, '[', app, audience));
}
static struct cell *day_cell(
    struct cells *c, struct bytes app, struct bytes audience, uint64_t day) {
    uint8_t room[300];
    return cells_get(c, key2n(room, '[', app, audience, day));
}
static struct cell *user_cell(struct cells *c, struct bytes app, struct bytes user) {
    uint8_t room[300];
    return cells_get(c, key2(room, ']', app, user));
}

static uint64_t day_of(int64_t ms) { return ms > 0 ? (uint64_t)ms / DAY_MS : 0; }
/* What came before it is kept no more. */
static uint64_t day_kept(int64_t now_ms) {
    return mailbox_retention_ms ? day_of(now_ms - mailbox_retention_ms - DAY_MS) : 0;
}

/* Notes it among the places of the user, without those of days that are over. false: it stands there. */
static bool place_note(struct step *s, struct bytes user, struct bytes audience, uint64_t day) {
    struct cell *cell = user_cell(s->cells, s->app, user);
    struct unpack u = unpack_of(bytes_of(cell->data, cell->size));
    struct buf b = {0};
    bool there = false;
    while (unpack_more(&u)) {
        struct bytes its = unpack_bytes(&u);
        uint64_t at = unpack_var(&u);
        there |= at == day && bytes_eq(its, audience);
        if (at < day_kept(s->time_ms)) continue;
        pack_bytes(&b, its);
        pack_var(&b, at);
    }
    check(!u.bad);
    pack_bytes(&b, audience);
    pack_var(&b, day);
    if (!there) cells_put(s->cells, cell, buf_view(&b));
    buf_done(&b);
    return !there;
}

struct days { /* stored as it is */
    uint64_t first, last;
};
/* Those that are kept, this one among them. */
static void days_note(struct step *s, struct bytes audience, uint64_t day) {
    const struct cell *cell = audience_cell(s->cells, s->app, audience);
    struct days d = {day, day}, before = {0};
    uint64_t kept = day_kept(s->time_ms);
    if (cell->size) memcpy(&d, cell->data, sizeof d), before = d;
    for (; d.first < kept && d.first <= d.last; d.first++)
        cells_put(s->cells, day_cell(s->cells, s->app, audience, d.first), (struct bytes){0});
    if (d.first > d.last) d = (struct days){day, day};
    if (day < d.first) d.first = day;
    if (day > d.last) d.last = day;
    if (d.first == before.first && d.last == before.last) return;
    cells_put(s->cells, audience_cell(s->cells, s->app, audience), bytes_of(&d, sizeof d));
}

void left_note(struct step *s, struct bytes user, struct bytes audience) {
    uint64_t day = day_of(s->time_ms);
    struct buf b = {0};
    if (!place_note(s, user, audience, day)) return;
    days_note(s, audience, day);
    pack_bytes(&b, user);
    cells_append(s->cells, day_cell(s->cells, s->app, audience, day), buf_view(&b));
    buf_done(&b);
}

static void day_without(struct step *s, struct bytes audience, uint64_t day, struct bytes user) {
    struct cell *cell = day_cell(s->cells, s->app, audience, day);
    struct unpack u = unpack_of(bytes_of(cell->data, cell->size));
    while (unpack_more(&u)) {
        const uint8_t *from = u.p;
        if (!bytes_eq(unpack_bytes(&u), user)) continue;
        cells_splice(s->cells, cell, (uint32_t)(from - cell->data), (uint32_t)(u.p - from),
            (struct bytes){0});
        break;
    }
    if (cell->size) return;
    struct days d = {0};
    cell = audience_cell(s->cells, s->app, audience);
    if (cell->size) memcpy(&d, cell->data, sizeof d);
    if (d.first == day && d.last == day) cells_put(s->cells, cell, (struct bytes){0});
}

void left_forget(struct step *s, struct bytes user) {
    struct cell *cell = user_cell(s->cells, s->app, user);
    struct unpack u = unpack_of(arena_copy(s->arena, bytes_of(cell->data, cell->size)));
    while (unpack_more(&u)) {
        struct bytes audience = unpack_bytes(&u);
        day_without(s, audience, unpack_var(&u), user);
    }
    cells_put(s->cells, user_cell(s->cells, s->app, user), (struct bytes){0});
}

void mailbox_left(struct cells *c, struct bytes app, struct bytes audience, int64_t since_ms,
    bool (*fn)(void *arg, struct bytes user), void *arg) {
    const struct cell *cell = audience_cell(c, app, audience);
    uint64_t day = day_of(since_ms);
    struct days d;
    if (!cell->size) return;
    memcpy(&d, cell->data, sizeof d);
    for (day = day > d.first ? day : d.first; day <= d.last; day++) {
        const struct cell *of = day_cell(c, app, audience, day);
        struct unpack u = unpack_of(bytes_of(of->data, of->size));
        while (unpack_more(&u))
            if (!fn(arg, unpack_bytes(&u))) return;
    }
}
