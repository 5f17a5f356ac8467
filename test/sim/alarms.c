/* sim: a surface that only sets alarms, so that what falls due is there to be looked at: an alarm is a
 * record; it rings when a tick says so, some of them three times, each ring sets the next one; and
 * each tells another partition. What must hold: none rings before its time, none twice for one time,
 * none that was acknowledged stays silent, and none rings in another app.
 *
 *   '!' app number   u32 rings · i64 at_ms      in the alarm's partition
 *   '?' app number   u32 rings                  in the partition that is told
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "due/due.h"
#include "sim.h"

enum { KIND_ALARM_SET = 250, KIND_ALARM_RING, KIND_ALARM_RANG, AHEAD_MS = 20000 };
struct stored {
    int64_t at_ms;
    uint32_t rings, zero;
};

static uint16_t home_of(uint32_t number) { return number % PARTITIONS; }
static uint16_t told_by(uint32_t number) { return (uint16_t)((number * 5 + 3) % PARTITIONS); }
static uint32_t rings_of(uint32_t number) { return number % 3 ? 1 : 3; }

static struct cell *cell_of(struct cells *c, char tag, struct bytes app, uint32_t number) {
    uint8_t room[300];
    char text[12];
    sprintf(text, "%u", number);
    return cells_get(c, key2(room, tag, app, bytes_str(text)));
}
static uint32_t number_in(struct bytes body) {
    uint32_t number;
    check(body.n >= sizeof number);
    memcpy(&number, body.p, sizeof number);
    return number;
}

/* ---- its rules ---- */
static void apply_set(struct step *s) {
    uint32_t number = number_in(s->body);
    struct stored a = {0};
    memcpy(&a.at_ms, s->body.p + sizeof number, sizeof a.at_ms);
    cells_put(s->cells, cell_of(s->cells, '!', s->app, number), bytes_of(&a, sizeof a));
    due_add(s, a.at_ms, KIND_ALARM_RING, bytes_of(&number, sizeof number));
    answer_ok(s->answer, 200);
}

/* The time of a ring that was early stays to be seen. */
static void apply_ring(struct step *s) {
    uint32_t number = number_in(s->body);
    struct cell *cell = cell_of(s->cells, '!', s->app, number);
    struct stored a;
    check(cell->size == sizeof a);
    memcpy(&a, cell->data, sizeof a);
    a.rings++;
    if (s->time_ms < a.at_ms) a.rings += 1000;
    cells_put(s->cells, cell, bytes_of(&a, sizeof a));
    step_relay(s, told_by(number), KIND_ALARM_RANG, s->body);
    if (a.rings < rings_of(number)) due_add(s, s->time_ms - 1000, KIND_ALARM_RING, s->body);
    answer_ok(s->answer, 200);
}

static void apply_rang(struct step *s) {
    struct cell *cell = cell_of(s->cells, '?', s->app, number_in(s->body));
    uint32_t rings = 0;
    if (cell->size) memcpy(&rings, cell->data, sizeof rings);
    rings++;
    cells_put(s->cells, cell, bytes_of(&rings, sizeof rings));
    answer_ok(s->answer, 200);
}

static const struct record_rule RULES[] = {
    {KIND_ALARM_SET, apply_set}, {KIND_ALARM_RING, apply_ring}, {KIND_ALARM_RANG, apply_rang}};
const struct surface alarms_surface = {
    .name = "alarms", .records = RULES, .record_count = sizeof RULES / sizeof *RULES};

/* ---- who sets them ---- */
void alarm_step(struct sim *s) {
    uint32_t number = s->alarm_count;
    if (number == ALARMS_MAX) return;
    struct alarm *a = &s->alarms[number];
    *a = (struct alarm){.app = (uint8_t)below(s, APPS),
        .at_ms = s->now_ms - 500 + (int64_t)below(s, chance(s, 50) ? 1000 : AHEAD_MS)};
    struct buf b = {0};
    buf_add(&b, &number, sizeof number);
    buf_add(&b, &a->at_ms, sizeof a->at_ms);
    struct ticket t = {.kind = TICKET_ALARM, .sent = number};
    if (node_append(s, home_of(number), KIND_ALARM_SET, a->app, buf_view(&b), &t) == OK)
        s->alarm_count++;
    buf_done(&b);
}

void alarm_answered(struct sim *s, const struct ticket *t) {
    if (t->kind != TICKET_ALARM) return;
    s->alarms[t->sent].acked = true;
    s->counts[COUNT_ALARMS]++;
}

/* ---- what must hold ---- */
static uint32_t told(struct sim *s, unsigned app, uint32_t number) {
    const struct cell *cell = cell_of(node_cells(s, told_by(number)), '?', app_name(app), number);
    uint32_t rings = 0;
    if (cell->size) memcpy(&rings, cell->data, sizeof rings);
    return rings;
}

static void alarm_check(struct sim *s, uint32_t number, bool complete) {
    const struct alarm *a = &s->alarms[number];
    struct cells *home = node_cells(s, home_of(number));
    const struct cell *cell = cell_of(home, '!', app_name(a->app), number);
    struct stored now = {0};
    if (cell->size) memcpy(&now, cell->data, sizeof now);
    else if (a->acked) violated(s, "alarm %u was acknowledged and is lost", number);
    if (now.rings >= 1000) violated(s, "alarm %u rang before its time", number);
    if (now.rings > rings_of(number)) violated(s, "alarm %u rang %u times", number, now.rings);
    if (complete && cell->size && now.rings != rings_of(number))
        violated(s, "alarm %u rang %u times and should have %u times", number, now.rings,
            rings_of(number));
    uint32_t heard = told(s, a->app, number);
    if (heard > now.rings || (complete && heard != now.rings))
        violated(s, "alarm %u rang %u times, %u were told", number, now.rings, heard);
    if (told(s, !a->app, number)) violated(s, "alarm %u was told in another app", number);
    s->counts[COUNT_RUNG] += complete ? now.rings : 0;
}

void check_alarms(struct sim *s, bool complete) {
    struct buf why = {0};
    for (uint32_t i = 0; i < s->alarm_count; i++) alarm_check(s, i, complete);
    for (uint16_t p = 0; p < PARTITIONS; p++)
        if (!due_check(node_cells(s, p), &why))
            violated(s, "partition %u: %.*s", p, (int)why.n, (const char *)why.p);
    buf_done(&why);
}

enum { SOON_MS = 30 * 1000 }; /* behind it lies what is tried again, and what is kept for weeks */
/* true: something waits that a tick will take. */
bool alarms_wait(struct sim *s) {
    for (uint16_t p = 0; s->ticking && p < PARTITIONS; p++)
        if (due_next(node_cells(s, p)) < s->now_ms + SOON_MS) return true;
    return false;
}

int64_t alarms_next_ms(struct sim *s) {
    int64_t next = INT64_MAX;
    for (uint16_t p = 0; p < PARTITIONS; p++) {
        int64_t due = due_next(node_cells(s, p));
        if (due < next) next = due;
    }
    return next < s->now_ms + SOON_MS ? next : INT64_MAX;
}

void alarms_tick(struct sim *s, unsigned percent) {
    for (unsigned i = 0; s->ticking && i < s->lanes; i++)
        if (chance(s, percent)) (void)engine_ticks(s->engine[i], s->now_ms);
}
