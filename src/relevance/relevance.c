/* relevance: where a workflow says `relevance: learned`: what is predicted, and what came of it.
 *
 *   '>' app user        what was learned (learn/learn.h)
 *   '>' app user id     a notification whose end is awaited: LEARN_KEY_BYTES, u32 propensity; till it is
 *                       opened, or LEARN_WAIT_MS have passed since it could be
 *   '~' app workflow    how often it is opened in this partition
 *
 *   NOTIFY_LEARN  varbytes user, varbytes notification, varbytes workflow      due: was it opened?
 * SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "due/due.h"
#include "learn/learn.h"
#include "person/person.h"
#include "relevance/relevance.h"
#include "zone/zone.h"

/* of what would hardly be opened, when the workflow says no window */
static const int64_t UNLIKELY_WINDOW_MS = 24 * 3600 * 1000;
static const int64_t LEARN_WAIT_MS = 24 * 3600 * 1000;

static struct cell *state_cell(struct cells *c, struct bytes app, struct bytes user) {
    uint8_t room[300];
    return cells_get(c, key2(room, '>', app, user));
}
static struct cell *awaited_cell(
    struct cells *c, struct bytes app, struct bytes user, struct bytes id) {
    uint8_t room[300];
    return cells_get(c, key3(room, '>', app, user, id));
}
static struct cell *rate_cell(struct cells *c, struct bytes app, struct bytes workflow) {
    uint8_t room[300];
    return cells_get(c, key2(room, '~', app, workflow));
}
static struct bytes view_of(const struct cell *c) { return bytes_of(c->data, c->size); }

/* "12.3 % against 20.0 %: hour -0.41, workflow +0.30, ..." */
static void terms_words(
    const struct learn_prediction *p, const struct learn_choice *choice, struct buf *out) {
    int32_t one = LEARN_ONE;
    buf_fmt(out, "%d.%d %% against %d.%d %%", p->chance * 100 / one, p->chance * 1000 / one % 10,
        choice->threshold * 100 / one, choice->threshold * 1000 / one % 10);
    if (choice->explored)
        buf_fmt(out, ", by a coin of %d.%02d %%", choice->propensity * 100 / one,
            (int)((int64_t)choice->propensity * 10000 / one % 100));
    for (int i = 0; i < 4; i++) {
        int32_t w = p->terms[i].weight;
        if (i && !w) break;
        uint32_t size = w < 0 ? -(uint32_t)w : (uint32_t)w;
        buf_fmt(out, "%s%s %c%u.%02u", i ? ", " : ": ", learn_term_name(p->terms[i].term),
            w < 0 ? '-' : '+', size / LEARN_ONE,
            (unsigned)((uint64_t)size * 100 / LEARN_ONE % 100));
    }
}

int64_t relevance_window(const struct workflow *w) {
    return w->digest_ms ? w->digest_ms : UNLIKELY_WINDOW_MS;
}

/* What waits in a digest cannot be opened before that leaves. */
static void await(struct step *s, struct bytes user, const struct workflow *w,
    const struct content *k, const struct learn_prediction *p, const struct learn_choice *choice) {
    struct buf b = {0};
    int64_t from_ms = s->time_ms + (w->digest_ms || !choice->now ? relevance_window(w) : 0);
    buf_add(&b, p->key, sizeof p->key);
    pack_u32(&b, (uint32_t)choice->propensity);
    cells_put(s->cells, awaited_cell(s->cells, s->app, user, k->id), buf_view(&b));
    buf_reset(&b);
    pack_bytes(&b, user);
    pack_bytes(&b, k->id);
    pack_bytes(&b, k->workflow);
    due_add(s, from_ms + LEARN_WAIT_MS, KIND_NOTIFY_LEARN, buf_view(&b));
    buf_done(&b);
}

bool relevance_waits(
    struct step *s, struct bytes user, const struct workflow *w, const struct content *k) {
    struct cell *state = state_cell(s->cells, s->app, user);
    struct bytes zone = person_zone(s->cells, s->app, user);
    struct learn_features f = {.workflow = k->workflow,
        .actor = k->actor,
        .hour = zone_minute(zone, s->time_ms) / 60,
        .channel = w->at_once,
        .now_ms = s->time_ms,
        .rate = view_of(rate_cell(s->cells, s->app, k->workflow))};
    struct learn_target target = {
        .per_day_milli = w->target_milli, .explore = w->explore, .trigger = k->id, .user = user};
    struct learn_prediction p;
    struct learn_choice choice;
    uint8_t now[LEARN_STATE_MAX];
    size_t n = learn_turn(view_of(state), &target, now);
    struct bytes person = bytes_of(now, LEARN_STATE_BYTES);
    struct buf words = {0};
    learn_predict(person, &f, &p);
    learn_wants(person, &p, &target, s->time_ms, &choice, now);
    cells_put(s->cells, state, bytes_of(now, n));
    terms_words(&p, &choice, &words);
    why_add(s, user, k->id,
        choice.explored ? WHY_EXPLORED
        : choice.now    ? WHY_LIKELY
                        : WHY_UNLIKELY,
        0, 0, buf_view(&words));
    buf_done(&words);
    await(s, user, w, k, &p, &choice);
    if (!choice.now) content_count(s, k->id, TOTAL_UNLIKELY, 1);
    return !choice.now;
}

/* What came of it; nothing when that is known already. */
static void learn(
    struct step *s, struct bytes user, struct bytes id, struct bytes workflow, bool opened) {
    struct cell *awaited = awaited_cell(s->cells, s->app, user, id);
    struct cell *state = state_cell(s->cells, s->app, user);
    struct cell *rate = rate_cell(s->cells, s->app, workflow);
    uint8_t now[LEARN_STATE_MAX], then[LEARN_RATE_BYTES];
    if (!awaited->size) return;
    if (!state->size) { /* erased meanwhile */
        cells_put(s->cells, awaited, (struct bytes){0});
        return;
    }
    uint32_t propensity;
    memcpy(&propensity, awaited->data + LEARN_KEY_BYTES, sizeof propensity);
    learn_update(view_of(state), bytes_of(awaited->data, LEARN_KEY_BYTES), opened,
        (int32_t)propensity, s->time_ms, now);
    size_t n = state->size < sizeof now ? state->size : sizeof now;
    if (n > LEARN_STATE_BYTES)
        memcpy(now + LEARN_STATE_BYTES, state->data + LEARN_STATE_BYTES, n - LEARN_STATE_BYTES);
    cells_put(s->cells, state, bytes_of(now, n > LEARN_STATE_BYTES ? n : LEARN_STATE_BYTES));
    learn_rate_add(view_of(rate), opened, then);
    cells_put(s->cells, rate, bytes_of(then, sizeof then));
    cells_put(s->cells, awaited, (struct bytes){0});
}

static bool awaits(struct cells *c, struct bytes app, struct bytes user, struct bytes id) {
    uint8_t room[300];
    return cells_find(c, key3(room, '>', app, user, id)) != NULL;
}

void relevance_joins(struct step *s, struct bytes user, const struct judged *r) {
    if (!bytes_eq(r->notification, r->trigger) && awaits(s->cells, s->app, user, r->trigger))
        cells_put(s->cells, awaited_cell(s->cells, s->app, user, r->trigger), (struct bytes){0});
}

void relevance_opened(struct step *s, struct bytes user, const struct judged *r) {
    if (awaits(s->cells, s->app, user, r->notification))
        learn(s, user, r->notification, r->workflow, true);
    if (!bytes_eq(r->notification, r->trigger) && awaits(s->cells, s->app, user, r->trigger))
        learn(s, user, r->trigger, r->workflow, true);
}

static void apply_learn(struct step *s) {
    struct unpack u = unpack_of(arena_copy(s->arena, s->body));
    struct bytes user = unpack_bytes(&u), id = unpack_bytes(&u), workflow = unpack_bytes(&u);
    if (!u.bad) learn(s, user, id, workflow, false);
}

struct bytes relevance_state(struct cells *c, struct bytes app, struct bytes user) {
    return view_of(state_cell(c, app, user));
}

void relevance_erase(struct step *s, struct bytes user) {
    cells_put(s->cells, state_cell(s->cells, s->app, user), (struct bytes){0});
}

static const struct record_rule RULES[] = {{KIND_NOTIFY_LEARN, apply_learn}};
const struct surface_part relevance_part = {RULES, sizeof RULES / sizeof *RULES, NULL, 0};
