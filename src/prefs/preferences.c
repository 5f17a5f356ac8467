/* prefs: how a person wants to be told: which channels of which workflow, quiet hours, a pause.
 *
 *   '%' app user   u16 from, u16 to (minutes of the day; equal: no quiet hours), u8 days (bit 0: Monday;
 *                  QUIET_ALL: they were not said), i64 paused until (0: not), repeated { varbytes
 *                  workflow ("*": all others), u8 channels that are set, u8 those of them that are on }
 *
 * Quiet hours that pass midnight belong to the day on which they begin. They begin and end by the
 * clocks where the person lives, in a night in which these change too.
 * SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <string.h>

#include "mailbox/mailbox.h"
#include "person/person.h"
#include "prefs/prefs.h"
#include "workflow/workflow.h"
#include "zone/zone.h"

#define MINUTE_MS 60000ll
#define DAY_MS 86400000ll
enum { WORKFLOWS_MAX = 500, HEAD_BYTES = 13, ENDS_MAX = 16 };
enum {
    GIVEN_QUIET = 1,
    GIVEN_PAUSE = 2,
    GIVEN_NO_WORKFLOWS = 4, /* all of them are cleared */
    GIVEN_BY_LINK = 8 /* of a mail: who was erased is not made anew, and it is never refused */
};
static const char *const DAYS[] = {"mon", "tue", "wed", "thu", "fri", "sat", "sun"};
static const char *const CHANNELS[] = {"inapp", "push", "email", "webhook"};

struct wish {
    struct bytes workflow;
    uint8_t set, on;
};
struct preferences {
    struct quiet_hours quiet;
    int64_t paused_until_ms;
    struct unpack wishes;
};

static struct cell *cell_of(struct cells *c, struct bytes app, struct bytes user) {
    uint8_t room[300];
    return cells_get(c, key2(room, '%', app, user));
}

static void quiet_pack(struct buf *b, const struct quiet_hours *q) {
    pack_u16(b, q->from);
    pack_u16(b, q->to);
    pack_u8(b, q->days);
}

static struct quiet_hours quiet_unpack(struct unpack *u) {
    struct quiet_hours q = {.from = unpack_u16(u)};
    q.to = unpack_u16(u);
    q.days = unpack_u8(u);
    return q;
}

static struct preferences preferences_get(struct cells *c, struct bytes app, struct bytes user) {
    const struct cell *cell = cell_of(c, app, user);
    struct preferences p = {.wishes = unpack_of(bytes_of(cell->data, cell->size))};
    if (!cell->size) return p;
    p.quiet = quiet_unpack(&p.wishes);
    p.paused_until_ms = (int64_t)unpack_u64(&p.wishes);
    check(!p.wishes.bad);
    return p;
}

static struct wish wish_unpack(struct unpack *u) {
    struct wish w = {.workflow = unpack_bytes(u)};
    w.set = unpack_u8(u);
    w.on = unpack_u8(u);
    check(!u->bad);
    return w;
}

bool preferences_whole(struct bytes value) {
    struct unpack u = unpack_of(value);
    struct quiet_hours q = quiet_unpack(&u);
    bool whole = q.from < 1440 && q.to < 1440;
    (void)unpack_u64(&u);
    while (unpack_more(&u)) {
        unpack_bytes(&u);
        uint8_t set = unpack_u8(&u), on = unpack_u8(&u);
        whole = whole && set && !(set & ~CHANNELS_ALL) && !(on & ~set);
    }
    return whole && !u.bad;
}

bool preferences_any(struct cells *c, struct bytes app, struct bytes user) {
    return cell_of(c, app, user)->size != 0;
}

uint8_t preferences_off(
    struct cells *c, struct bytes app, struct bytes user, struct bytes workflow) {
    struct preferences p = preferences_get(c, app, user);
    struct wish own = {0}, all = {0};
    while (unpack_more(&p.wishes)) {
        struct wish w = wish_unpack(&p.wishes);
        if (bytes_eq(w.workflow, workflow)) own = w;
        else if (bytes_is(w.workflow, "*")) all = w;
    }
    return (uint8_t)((own.set & ~own.on) | (all.set & ~all.on & ~own.set));
}

/* ---- quiet hours ---- */
struct clock { /* of where the person lives; around a moment */
    struct bytes zone;
    bool steady; /* nothing changes for days: */
    int64_t offset_ms;
};

static struct clock clock_around(struct bytes zone, int64_t ms) {
    struct clock k = {zone, true, zone_offset(zone, ms)};
    if (zone.n)
        k.steady = zone_offset(zone, ms - 4 * DAY_MS) == k.offset_ms &&
                   zone_offset(zone, ms + 4 * DAY_MS) == k.offset_ms;
    return k;
}

static int64_t clock_moment(const struct clock *k, int64_t day, unsigned minute) {
    int64_t local = day * DAY_MS + minute * MINUTE_MS;
    return k->steady ? local - k->offset_ms : zone_moment(k->zone, local);
}

int64_t quiet_end(struct bytes zone, const struct quiet_hours *q, int64_t now_ms) {
    if (q->from == q->to) return 0;
    struct clock k = clock_around(zone, now_ms);
    int64_t today = zone_day(zone, now_ms), end = 0;
    /* two days back: where a day was skipped, the night before it ends today */
    for (int64_t day = today - 2; day <= today; day++) {
        if (!(q->days >> zone_weekday(day) & 1)) continue;
        int64_t until = clock_moment(&k, day + (q->to < q->from), q->to);
        if (clock_moment(&k, day, q->from) <= now_ms && now_ms < until && until > end) end = until;
    }
    return end;
}

int64_t preferences_quiet_until(
    struct cells *c, struct bytes app, struct bytes user, int64_t now_ms) {
    struct preferences p = preferences_get(c, app, user);
    if (p.quiet.from == p.quiet.to && p.paused_until_ms <= now_ms) return 0;
    struct bytes zone = p.quiet.from == p.quiet.to ? (struct bytes){0} : person_zone(c, app, user);
    int64_t at = p.paused_until_ms > now_ms ? p.paused_until_ms : now_ms;
    /* where clocks change, one night's end may be in the next one */
    for (int i = 0; i < ENDS_MAX; i++) {
        int64_t end = quiet_end(zone, &p.quiet, at);
        if (!end) break;
        at = end;
    }
    return at == now_ms ? 0 : at;
}

/* ---- JSON ---- */
static void minute_json(struct json_out *o, const char *name, unsigned minute) {
    char text[16];
    snprintf(text, sizeof text, "%02u:%02u", minute / 60 % 24, minute % 60);
    jo_key(o, name);
    jo_str(o, bytes_str(text));
}

static void quiet_json(struct json_out *o, const struct quiet_hours *q) {
    jo_key(o, "quiet_hours");
    jo_open_obj(o);
    minute_json(o, "from", q->from);
    minute_json(o, "to", q->to);
    if (q->days != QUIET_ALL) {
        jo_key(o, "days");
        jo_open_arr(o);
        for (int i = 0; i < 7; i++)
            if (q->days >> i & 1) jo_str(o, bytes_str(DAYS[i]));
        jo_close_arr(o);
    }
    jo_close_obj(o);
}

void preferences_json(
    struct cells *c, struct bytes app, struct bytes user, int64_t now_ms, struct json_out *o) {
    struct preferences p = preferences_get(c, app, user);
    char name[72];
    jo_open_obj(o);
    jo_key(o, "workflows");
    jo_open_obj(o);
    while (unpack_more(&p.wishes)) {
        struct wish w = wish_unpack(&p.wishes);
        snprintf(name, sizeof name, "%.*s", (int)w.workflow.n, (const char *)w.workflow.p);
        jo_key(o, name);
        jo_open_obj(o);
        for (int i = 0; i < 4; i++) {
            if (!(w.set >> i & 1)) continue;
            jo_key(o, CHANNELS[i]);
            jo_bool(o, w.on >> i & 1);
        }
        jo_close_obj(o);
    }
    jo_close_obj(o);
    if (p.quiet.from != p.quiet.to) quiet_json(o, &p.quiet);
    if (p.paused_until_ms > now_ms) {
        jo_key(o, "paused_until");
        jo_time(o, p.paused_until_ms);
    }
    jo_close_obj(o);
}

/* ---- apply ---- */
struct change {
    struct bytes workflow;
    uint8_t given, set, on;
};

static struct change change_unpack(struct unpack *u) {
    struct change c = {.workflow = unpack_bytes(u)};
    c.given = unpack_u8(u);
    c.set = unpack_u8(u);
    c.on = unpack_u8(u);
    check(!u->bad);
    return c;
}

/* The wish as it will be: what is not given stays, what is given and not set is cleared. */
static struct wish wish_change(struct wish w, struct unpack changes) {
    while (unpack_more(&changes)) {
        struct change c = change_unpack(&changes);
        if (!bytes_eq(c.workflow, w.workflow)) continue;
        w.set = (uint8_t)((w.set & ~c.given) | c.set);
        w.on = (uint8_t)((w.on & ~c.given) | c.on);
    }
    return w;
}

/* Neither wished for before, nor named by one of the changes before `until`. */
static bool workflow_is_new(
    struct unpack wishes, struct unpack changes, const uint8_t *until, struct bytes workflow) {
    while (unpack_more(&wishes))
        if (bytes_eq(wish_unpack(&wishes).workflow, workflow)) return false;
    while (changes.p < until)
        if (bytes_eq(change_unpack(&changes).workflow, workflow)) return false;
    return true;
}

static bool wish_pack(struct buf *b, struct wish w) {
    if (!w.set) return false;
    pack_bytes(b, w.workflow);
    pack_u8(b, w.set);
    pack_u8(b, w.on);
    return true;
}

/* false: they would be more than there may be, and than there were: links in mails add to the most. */
static bool wishes_merge(struct buf *out, struct unpack old, struct unpack changes, bool by_link) {
    unsigned n = 0, before = 0;
    for (struct unpack u = old; unpack_more(&u); before++)
        n += wish_pack(out, wish_change(wish_unpack(&u), changes));
    for (struct unpack u = changes; unpack_more(&u);) {
        const uint8_t *at = u.p;
        struct wish w = {.workflow = change_unpack(&u).workflow};
        if (workflow_is_new(old, changes, at, w.workflow))
            n += wish_pack(out, wish_change(w, changes));
    }
    return n <= WORKFLOWS_MAX || n <= before || by_link;
}

static void preferences_set(struct step *s, struct bytes user, const struct preferences *p,
    struct unpack changes, bool by_link) {
    struct buf b = {0};
    quiet_pack(&b, &p->quiet);
    pack_u64(&b, (uint64_t)p->paused_until_ms);
    if (!wishes_merge(&b, p->wishes, changes, by_link)) {
        answer_problem(s->answer, PROBLEM_LIMIT_REACHED, "workflows",
            "preferences name at most %d workflows; \"*\" is for all others", WORKFLOWS_MAX);
    } else {
        bool none = b.n == HEAD_BYTES && p->quiet.from == p->quiet.to && !p->paused_until_ms;
        cells_put(
            s->cells, cell_of(s->cells, s->app, user), none ? (struct bytes){0} : buf_view(&b));
        answer_ok(s->answer, 200);
    }
    buf_done(&b);
}

void preferences_put(struct step *s) {
    struct unpack u = unpack_of(s->body);
    struct bytes user = unpack_bytes(&u);
    uint8_t given = unpack_u8(&u);
    struct quiet_hours quiet = quiet_unpack(&u);
    int64_t paused_until_ms = (int64_t)unpack_u64(&u);
    check(!u.bad);
    answer_ok(s->answer, 200);
    if (given & GIVEN_BY_LINK && !mailbox_known(s->cells, s->app, user)) return;
    mailbox_ensure(s, user);
    mailbox_note_wishes(s, user);
    struct preferences p = preferences_get(s->cells, s->app, user);
    if (given & GIVEN_QUIET) p.quiet = quiet;
    if (given & GIVEN_PAUSE) p.paused_until_ms = paused_until_ms;
    if (p.paused_until_ms <= s->time_ms) p.paused_until_ms = 0;
    if (given & GIVEN_NO_WORKFLOWS) p.wishes = (struct unpack){0};
    preferences_set(s, user, &p, u, given & GIVEN_BY_LINK);
    struct json_out o = {&s->answer->body, false};
    if (s->wanted && !s->answer->problem) preferences_json(s->cells, s->app, user, s->time_ms, &o);
}

void preferences_pack_off(
    struct buf *b, struct bytes user, struct bytes workflow, uint8_t channel) {
    const struct quiet_hours none = {0};
    pack_bytes(b, user);
    pack_u8(b, GIVEN_BY_LINK);
    quiet_pack(b, &none);
    pack_u64(b, 0);
    pack_bytes(b, workflow);
    pack_u8(b, channel);
    pack_u8(b, channel);
    pack_u8(b, 0);
}

void preferences_erase(struct step *s, struct bytes user) {
    struct cell *cell = cell_of(s->cells, s->app, user);
    if (cell->size) cells_put(s->cells, cell, (struct bytes){0});
}

/* ---- PUT ---- */
static bool minute_read(struct json v, const char *field, uint16_t *out, struct answer *a) {
    struct bytes t = json_string(v);
    bool good = t.n == 5 && t.p[2] == ':';
    for (size_t i = 0; good && i < 5; i++) good = i == 2 || (t.p[i] >= '0' && t.p[i] <= '9');
    if (good) {
        unsigned hour = (t.p[0] - '0') * 10u + (t.p[1] - '0');
        unsigned minute = (t.p[3] - '0') * 10u + (t.p[4] - '0');
        *out = (uint16_t)(hour * 60 + minute);
        good = hour < 24 && minute < 60;
    }
    if (!good)
        answer_problem(a, PROBLEM_INVALID_VALUE, field,
            "'%s' is a time of the day from 00:00 to 23:59, such as 22:00", field);
    return good;
}

struct days_reading {
    uint8_t days;
    struct answer *a;
};
static bool day_read(void *arg, struct bytes key, struct json v) {
    struct days_reading *d = arg;
    (void)key;
    for (int i = 0; i < 7; i++)
        if (bytes_is(json_string(v), DAYS[i])) {
            d->days |= (uint8_t)(1 << i);
            return true;
        }
    answer_problem(d->a,
        json_kind_of(v) == JSON_STRING ? PROBLEM_INVALID_VALUE : PROBLEM_WRONG_TYPE,
        "quiet_hours.days", "'days' is a list of mon, tue, wed, thu, fri, sat, sun");
    return false;
}

static bool quiet_read(struct json v, struct quiet_hours *q, struct answer *a) {
    static const struct json_field F[] = {{"from", JSON_STRING, true, false, 0},
        {"to", JSON_STRING, true, false, 0}, {"days", JSON_ARRAY, false, true, 0}};
    struct json_value f[3];
    struct days_reading d = {0, a};
    if (!request_inside(v, "quiet_hours", F, 3, f, a) ||
        !minute_read(f[0].v, "quiet_hours.from", &q->from, a) ||
        !minute_read(f[1].v, "quiet_hours.to", &q->to, a))
        return false;
    if (q->from == q->to)
        answer_problem(a, PROBLEM_INVALID_VALUE, "quiet_hours.to",
            "quiet hours end at another time than they begin; 'paused_until' is for whole days");
    q->days = QUIET_ALL;
    if (!f[2].present || f[2].is_null) return !a->problem;
    json_each(f[2].v, day_read, &d);
    if (!a->problem && !d.days)
        answer_problem(a, PROBLEM_INVALID_VALUE, "quiet_hours.days",
            "'days' names at least one day; without it all are meant");
    q->days = d.days;
    return !a->problem;
}

struct wishes_reading {
    struct buf *out;
    struct answer *a;
    unsigned n;
};
static bool wish_read(void *arg, struct bytes key, struct json v) {
    static const struct json_field F[] = {{"inapp", JSON_BOOL, false, true, 0},
        {"push", JSON_BOOL, false, true, 0}, {"email", JSON_BOOL, false, true, 0},
        {"webhook", JSON_BOOL, false, true, 0}};
    struct wishes_reading *w = arg;
    struct json_value f[4] = {{0}};
    char field[FIELD_BYTES];
    uint8_t given = 0, set = 0, on = 0;
    field_inside(field, "workflows", key);
    if (!id_valid(key) && !bytes_is(key, "*"))
        answer_problem(w->a, PROBLEM_INVALID_VALUE, field,
            "'workflows' is by workflow: an id, or \"*\" for all others");
    else if (++w->n > WORKFLOWS_MAX)
        answer_problem(w->a, PROBLEM_INVALID_VALUE, "workflows",
            "preferences name at most %d workflows; \"*\" is for all others", WORKFLOWS_MAX);
    else if (json_kind_of(v) == JSON_NULL) given = CHANNELS_ALL;
    else (void)request_inside(v, field, F, 4, f, w->a);
    if (w->a->problem) return false;
    for (int i = 0; i < 4; i++) {
        if (!f[i].present) continue;
        given |= (uint8_t)(1 << i);
        if (f[i].is_null) continue;
        set |= (uint8_t)(1 << i);
        on |= (uint8_t)(json_bool(f[i].v) << i);
    }
    pack_bytes(w->out, key);
    pack_u8(w->out, given);
    pack_u8(w->out, set);
    pack_u8(w->out, on);
    return true;
}

static enum err plan_put(struct request *r, struct plan *p, struct answer *a) {
    static const struct json_field F[] = {{"workflows", JSON_OBJECT, false, true, 0},
        {"quiet_hours", JSON_OBJECT, false, true, 0},
        {"paused_until", JSON_STRING, false, true, 40}};
    struct json_value f[3];
    struct quiet_hours quiet = {0};
    int64_t paused_until_ms = 0;
    if (!request_object(r, F, 3, f, a)) return REFUSED;
    if (f[1].present && !f[1].is_null && !quiet_read(f[1].v, &quiet, a)) return REFUSED;
    if (f[2].present && !f[2].is_null && time_parse(json_string(f[2].v), &paused_until_ms) != OK)
        return answer_problem(a, PROBLEM_INVALID_VALUE, "paused_until",
                   "'paused_until' must be an RFC 3339 time in UTC, such as 2026-01-02T03:04:05Z"),
               REFUSED;
    p->partition = partition_of_user(r->who.app, r->params[0], r->partitions);
    p->kind = KIND_PREFERENCES_PUT;
    pack_bytes(&p->body, r->params[0]);
    pack_u8(
        &p->body, (uint8_t)((f[1].present ? GIVEN_QUIET : 0) | (f[2].present ? GIVEN_PAUSE : 0) |
                            (f[0].is_null ? GIVEN_NO_WORKFLOWS : 0)));
    quiet_pack(&p->body, &quiet);
    pack_u64(&p->body, (uint64_t)paused_until_ms);
    struct wishes_reading w = {&p->body, a, 0};
    if (f[0].present && !f[0].is_null) json_each(f[0].v, wish_read, &w);
    return a->problem ? REFUSED : OK;
}

/* ---- GET ---- */
static void query_preferences(struct query *q) {
    const struct request *r = q->request;
    struct bytes user = r->params[0];
    struct json_out o = {&q->answer->body, false};
    if (!mailbox_answers(q)) return;
    answer_ok(q->answer, 200);
    preferences_json(q->cells, r->who.app, user, r->now_ms, &o);
}

static enum err plan_get(struct request *r, struct plan *p, struct answer *a) {
    p->partition = partition_of_user(r->who.app, r->params[0], r->partitions);
    p->query = query_preferences;
    return OK;
}

#define PREFERENCES "/v1/users/{id}/preferences"
static const struct route ROUTES[] = {
    {"PUT", PREFERENCES, SCOPE_WRITE, TOKEN_SELF, SPECIAL_NONE, plan_put, NULL},
    {"GET", PREFERENCES, SCOPE_READ, TOKEN_SELF, SPECIAL_NONE, plan_get, NULL},
};

const struct surface_part preferences_part = {NULL, 0, ROUTES, sizeof ROUTES / sizeof *ROUTES};
