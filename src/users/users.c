/* users: profiles, relations, devices, tokens and erasing, in the user's partition.
 *
 *   'u' 'v' 'w' 'Z'       profile, devices, zones: person/person.h
 *   'f' app user / 'F' app user    packed ids: whom they follow / who follows them, oldest first
 *   'k' app user device   prekeys (prekeys.c);   'Y' app user   answers kept (once.c)
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "users/users.h"

#include <string.h>

#include "template/template.h"
#include "users/users_in.h"
#include "zone/zone.h"

static struct cell *cell2(struct cells *c, char tag, struct bytes app, struct bytes id) {
    uint8_t room[300];
    return cells_get(c, key2(room, tag, app, id));
}
static struct bytes view_of(const struct cell *c) { return bytes_of(c->data, c->size); }

bool user_known(struct cells *c, struct bytes app, struct bytes user) {
    struct person_profile p;
    return (person_profile_get(c, app, user, &p) && p.created_ms) || mailbox_known(c, app, user);
}

void user_missing(struct answer *a, struct bytes user) {
    answer_problem(
        a, PROBLEM_NOT_FOUND, "", "there is no user '%.*s'", (int)user.n, (const char *)user.p);
}

/* Of the 'v' cell: tokens of the device that were issued until then are refused. */
static bool is_revoked(struct cells *c, const struct principal *who, struct bytes device_cell) {
    struct person_profile p;
    int64_t revoked_ms = person_revoked_ms(device_cell);
    if (revoked_ms && revoked_ms >= who->issued_ms) return true;
    return person_profile_get(c, who->app, who->user, &p) && p.erased_ms &&
           p.erased_ms >= who->issued_ms;
}

bool users_revoked(struct cells *c, const struct principal *who) {
    uint8_t room[300];
    struct buf cell = {0};
    if (who->device.n) cells_peek(c, key3(room, 'v', who->app, who->user, who->device), &cell);
    bool revoked = is_revoked(c, who, buf_view(&cell));
    buf_done(&cell);
    return revoked;
}

void users_viewer(struct cells *c, const struct principal *who, struct viewer *out) {
    uint8_t room[300];
    *out = (struct viewer){.known = user_known(c, who->app, who->user)};
    out->blocks = mailbox_block_list(c, who->app, who->user);
    struct bytes device = {0};
    if (who->device.n)
        device = view_of(cells_get(c, key3(room, 'v', who->app, who->user, who->device)));
    out->revoked = is_revoked(c, who, device);
}

/* ---- profile ---- */
static const char *const FIELD_NAMES[PROFILE_FIELDS] = {
    "name", "avatar", "locale", "timezone", "email", "metadata"};

void profile_json(
    struct json_out *o, struct bytes user, const struct person_profile *p, bool whole) {
    jo_open_obj(o);
    jo_key(o, "id");
    jo_str(o, user);
    for (int i = 0; i < (whole ? PROFILE_FIELDS : 2); i++) {
        if (!p->f[i].n) continue;
        jo_key(o, FIELD_NAMES[i]);
        if (i == PROFILE_METADATA) jo_raw(o, p->f[i]);
        else jo_str(o, p->f[i]);
    }
    if (whole && p->created_ms) {
        jo_key(o, "created_at");
        jo_time(o, p->created_ms);
    }
    jo_close_obj(o);
}

/* Who waits for hours of the day by their clocks looks again (notify/wishes.c). Without wishes nobody does. */
static void moved(struct step *s, struct bytes user) {
    struct buf b = {0};
    if (!mailbox_look(s->cells, s->app, user).wishes) return;
    pack_bytes(&b, user);
    step_relay(s, s->partition, KIND_USER_MOVED, buf_view(&b));
    buf_done(&b);
}

static void apply_user_put(struct step *s) {
    struct unpack u = unpack_of(s->body);
    struct bytes user = unpack_bytes(&u);
    struct person_profile p;
    bool known = user_known(s->cells, s->app, user);
    bool had = person_profile_get(s->cells, s->app, user, &p);
    /* tokens of before stay refused */
    if (!had || !p.created_ms)
        p = (struct person_profile){.created_ms = s->time_ms, .erased_ms = p.erased_ms};
    for (int i = 0; i < PROFILE_FIELDS; i++) p.f[i] = arena_copy(s->arena, p.f[i]);
    struct bytes zone_before = p.f[PROFILE_TIMEZONE];
    uint8_t set = unpack_u8(&u);
    for (int i = 0; i < PROFILE_FIELDS; i++) {
        struct bytes v = unpack_bytes(&u);
        if (set >> i & 1) p.f[i] = v;
    }
    struct bytes zone = {0}; /* none in records of before there were zones */
    if (unpack_more(&u)) zone = unpack_bytes(&u);
    check(!u.bad);
    if (zone.n) person_zone_set(s, p.f[PROFILE_TIMEZONE], zone);
    person_profile_set(s, user, &p);
    mailbox_ensure(s, user);
    if (!bytes_eq(zone_before, p.f[PROFILE_TIMEZONE])) moved(s, user);
    answer_ok(s->answer, known ? 200 : 201);
    struct json_out o = {&s->answer->body, false};
    if (s->wanted) profile_json(&o, user, &p, true);
}

/* What a mail server would be asked for is looked at when it is sent; these can be in no address. */
static bool email_is(struct bytes v) {
    const uint8_t *at = v.n ? memchr(v.p, '@', v.n) : NULL;
    for (size_t i = 0; i < v.n; i++)
        if (v.p[i] < ' ' || strchr("<>()[],;:\\\"", v.p[i])) return false;
    return at && at > v.p && at + 1 < v.p + v.n && !memchr(v.p, ' ', v.n) &&
           !memchr(at + 1, '@', (size_t)(v.p + v.n - at - 1));
}

/* What only ICU knows is asked here, and its answer travels in the record. */
static bool profile_check(
    const struct request *r, const struct json_value *f, struct buf *zone, struct answer *a) {
    struct template_kit *kit = r->tools->kit;
    struct bytes given[PROFILE_FIELDS] = {{0}};
    for (int i = 0; i < PROFILE_METADATA; i++)
        if (f[i].present && !f[i].is_null) given[i] = json_string(f[i].v);
    bool locale = f[PROFILE_LOCALE].present && !f[PROFILE_LOCALE].is_null,
         timezone = f[PROFILE_TIMEZONE].present && !f[PROFILE_TIMEZONE].is_null,
         email = f[PROFILE_EMAIL].present && !f[PROFILE_EMAIL].is_null;
    if (locale && !template_locale_valid(kit, given[PROFILE_LOCALE]))
        answer_problem(a, PROBLEM_INVALID_VALUE, "locale",
            "'locale' must be a BCP 47 tag such as en or pt-BR");
    else if (timezone && (!template_zone_valid(kit, given[PROFILE_TIMEZONE]) ||
                             !template_zone_table(
                                 kit, given[PROFILE_TIMEZONE], r->now_ms, ZONE_YEARS_MAX, zone)))
        answer_problem(a, PROBLEM_INVALID_VALUE, "timezone",
            "'timezone' must be the IANA name of a time zone such as Europe/Berlin");
    else if (email && !email_is(given[PROFILE_EMAIL]))
        answer_problem(a, PROBLEM_INVALID_VALUE, "email",
            "'email' must be an address such as ann@example.com");
    return !a->problem;
}

/* USER_PUT body: varbytes user · u8 which are set · the six fields, varbytes each · varbytes table of
 * the time zone that is set (zone/zone.h) */
static enum err plan_user_put(struct request *r, struct plan *p, struct answer *a) {
    static const struct json_field F[] = {{"name", JSON_STRING, false, true, 256},
        {"avatar", JSON_STRING, false, true, 2048}, {"locale", JSON_STRING, false, true, 35},
        {"timezone", JSON_STRING, false, true, 64}, {"email", JSON_STRING, false, true, 254},
        {"metadata", JSON_OBJECT, false, true, 16384}};
    struct json_value f[PROFILE_FIELDS];
    struct buf zone = {0}, raw = {0};
    if (!request_object(r, F, PROFILE_FIELDS, f, a)) return REFUSED;
    bool good = profile_check(r, f, &zone, a);
    uint8_t set = 0;
    for (int i = 0; i < PROFILE_FIELDS; i++) set |= (uint8_t)(f[i].present << i);
    user_plan(r, p, KIND_USER_PUT);
    pack_u8(&p->body, set);
    for (int i = 0; i < PROFILE_FIELDS; i++) {
        buf_reset(&raw);
        if (f[i].present && !f[i].is_null && i == PROFILE_METADATA) json_raw(f[i].v, &raw);
        else if (f[i].present && !f[i].is_null) buf_bytes(&raw, json_string(f[i].v));
        pack_bytes(&p->body, buf_view(&raw));
    }
    pack_bytes(&p->body, buf_view(&zone));
    buf_done(&raw);
    buf_done(&zone);
    return good ? OK : REFUSED;
}

void user_plan(struct request *r, struct plan *p, uint8_t kind) {
    p->partition = partition_of_user(r->who.app, r->params[0], r->partitions);
    p->kind = kind;
    if (kind) pack_bytes(&p->body, r->params[0]);
}

static void query_user(struct query *q) {
    const struct request *r = q->request;
    struct bytes user = r->params[0];
    struct person_profile p;
    person_profile_get(q->cells, r->who.app, user, &p);
    if (!user_known(q->cells, r->who.app, user)) {
        user_missing(q->answer, user);
        return;
    }
    answer_ok(q->answer, 200);
    struct json_out o = {&q->answer->body, false};
    profile_json(&o, user, &p, r->who.server || bytes_eq(r->who.user, user));
}
static enum err plan_user_get(struct request *r, struct plan *p, struct answer *a) {
    (void)a;
    user_plan(r, p, 0);
    p->query = query_user;
    return OK;
}

/* ---- relations: follows, blocks, mutes ---- */
enum { FOLLOW, BLOCK, MUTE };

static bool ids_set(struct step *s, struct cell *cell, struct bytes id, bool on) {
    struct unpack u = unpack_of(view_of(cell));
    while (unpack_more(&u)) {
        const uint8_t *at = u.p;
        if (!bytes_eq(unpack_bytes(&u), id)) continue;
        if (!on)
            cells_splice(s->cells, cell, (uint32_t)(at - cell->data), (uint32_t)(u.p - at),
                (struct bytes){0});
        return !on;
    }
    if (!on) return false;
    struct buf b = {0};
    pack_bytes(&b, id);
    cells_append(s->cells, cell, buf_view(&b));
    buf_done(&b);
    return true;
}

bool packed_holds(struct bytes packed, struct bytes id) {
    struct unpack u = unpack_of(packed);
    while (unpack_more(&u))
        if (bytes_eq(unpack_bytes(&u), id)) return true;
    return false;
}

static void followed_relay(struct step *s, struct bytes user, struct bytes other, bool on) {
    struct buf b = {0};
    pack_bytes(&b, other);
    pack_bytes(&b, user);
    pack_u8(&b, on);
    step_relay(s, partition_of_user(s->app, other, s->partitions), KIND_FOLLOWED, buf_view(&b));
    buf_done(&b);
}

/* Takes `user` from whom the follower follows: who is erased, or blocks them. */
static void unfollow_relay(struct step *s, struct bytes follower, struct bytes user) {
    struct buf b = {0};
    pack_bytes(&b, follower);
    pack_bytes(&b, user);
    pack_u8(&b, FOLLOW);
    pack_u8(&b, false);
    step_relay(s, partition_of_user(s->app, follower, s->partitions), KIND_RELATION, buf_view(&b));
    buf_done(&b);
}

/* Whom they follow, and with it the audience of what that one's followers are told. true: changed. */
static bool follow_set(struct step *s, struct bytes user, struct bytes other, bool on) {
    uint8_t room[1 + 64];
    struct buf audience = {room, 0, sizeof room};
    if (!ids_set(s, cell2(s->cells, 'f', s->app, user), other, on)) return false;
    check(other.n < sizeof room); /* an id */
    buf_char(&audience, '@');
    buf_bytes(&audience, other);
    if (on) mailbox_join(s, user, buf_view(&audience));
    else mailbox_leave(s, user, buf_view(&audience));
    return true;
}

static void apply_relation(struct step *s) {
    struct unpack u = unpack_of(s->body);
    struct bytes user = unpack_bytes(&u), other = unpack_bytes(&u);
    uint8_t what = unpack_u8(&u);
    bool on = unpack_u8(&u) != 0, changed = true;
    /* a relay comes when `other` was erased: it must not make who was erased too */
    if (on || !s->relay) mailbox_ensure(s, user);
    if (what == FOLLOW) {
        changed = follow_set(s, user, other, on);
        if (changed) followed_relay(s, user, other, on);
    } else if (what == BLOCK) {
        changed = !mailbox_blocks(s->cells, s->app, user, other);
        mailbox_set_block(s, user, other, on);
        if (on && follow_set(s, user, other, false)) followed_relay(s, user, other, false);
        if (on && ids_set(s, cell2(s->cells, 'F', s->app, user), other, false))
            unfollow_relay(s, other, user);
    } else {
        changed = !mailbox_mutes(s->cells, s->app, user, other);
        mailbox_set_mute(s, user, other, on);
    }
    answer_ok(s->answer, on ? (changed ? 201 : 200) : 204);
    if (s->wanted && on)
        buf_fmt(&s->answer->body, "{\"id\":\"%.*s\"}", (int)other.n, (const char *)other.p);
}

static void apply_followed(struct step *s) {
    struct unpack u = unpack_of(s->body);
    struct bytes user = unpack_bytes(&u), by = unpack_bytes(&u);
    bool on = unpack_u8(&u) != 0;
    answer_ok(s->answer, 200);
    if (on && mailbox_blocks(s->cells, s->app, user, by)) {
        unfollow_relay(s, by, user);
        return;
    }
    if (on) mailbox_ensure(s, user);
    ids_set(s, cell2(s->cells, 'F', s->app, user), by, on);
}

static enum err relation_plan(
    struct request *r, struct plan *p, struct answer *a, uint8_t what, bool on) {
    if (bytes_eq(r->params[0], r->params[1]))
        return answer_problem(
                   a, PROBLEM_INVALID_VALUE, "other", "nobody follows, blocks or mutes themselves"),
               REFUSED;
    if (on && !request_empty(r, a)) return REFUSED;
    user_plan(r, p, KIND_RELATION);
    pack_bytes(&p->body, r->params[1]);
    pack_u8(&p->body, what);
    pack_u8(&p->body, on);
    return OK;
}
#define RELATION(name, what, on)                                                                   \
    static enum err name(struct request *r, struct plan *p, struct answer *a) {                    \
        return relation_plan(r, p, a, what, on);                                                   \
    }
RELATION(plan_follow, FOLLOW, true)
RELATION(plan_unfollow, FOLLOW, false)
RELATION(plan_block, BLOCK, true)
RELATION(plan_unblock, BLOCK, false)
RELATION(plan_mute, MUTE, true)
RELATION(plan_unmute, MUTE, false)

/* Lists, newest first: the packed list is oldest first. A cursor is "<epoch>-<place>-<id>" of the
 * last one shown: its place counts from the oldest, so what is added meanwhile repeats nothing;
 * should its own place have moved because older ones went, its id tells. */
struct relations {
    char tag;
    unsigned limit;
    uint64_t below; /* places below this one are still to be shown; 0: from the newest */
    struct bytes last;
};
static uint64_t relations_left(const struct relations *l, const struct bytes *ids, uint64_t n) {
    if (!l->last.n) return n;
    for (uint64_t at = l->below < n ? l->below + 1 : n; at; at--)
        if (bytes_eq(ids[at - 1], l->last)) return at - 1;
    return l->below < n ? l->below : n;
}
static void query_relations(struct query *q) {
    const struct request *r = q->request;
    const struct relations *l = r->args;
    if (!user_known(q->cells, r->who.app, r->params[0])) {
        user_missing(q->answer, r->params[0]);
        return;
    }
    struct unpack u = unpack_of(view_of(cell2(q->cells, l->tag, r->who.app, r->params[0])));
    struct bytes *ids = arena_alloc(r->arena, ((size_t)(u.end - u.p) / 2 + 1) * sizeof *ids);
    size_t n = 0;
    while (unpack_more(&u)) ids[n++] = unpack_bytes(&u);
    struct json_out o = {&q->answer->body, false};
    answer_ok(q->answer, 200);
    buf_str(o.b, "{\"items\":[");
    uint64_t left = relations_left(l, ids, n), stop = left > l->limit ? left - l->limit : 0;
    for (; left > stop; left--) {
        jo_open_obj(&o);
        jo_key(&o, "id");
        jo_str(&o, ids[left - 1]);
        jo_close_obj(&o);
    }
    buf_str(o.b, "],\"next\":");
    if (left) {
        buf_char(o.b, '"');
        cursor_format(o.b, r->epoch, left);
        buf_char(o.b, '-');
        buf_bytes(o.b, ids[left]);
        buf_str(o.b, "\"}");
    } else {
        buf_str(o.b, "null}");
    }
}
static enum err relations_plan(struct request *r, struct plan *p, struct answer *a, char tag) {
    struct relations *l = arena_zero(r->arena, sizeof *l);
    l->tag = tag;
    if (!request_limit(r, a, &l->limit)) return REFUSED;
    struct bytes cursor = request_query(r, "cursor");
    enum err e = cursor_parse_after(cursor, r->epoch, &l->below, &l->last);
    if (e == STALE)
        return answer_problem(a, PROBLEM_GONE, "cursor",
                   "this cursor is of a time before a restore; begin without a cursor"),
               REFUSED;
    if (e != OK)
        return answer_problem(a, PROBLEM_MALFORMED, "cursor", "this is not a cursor of this list"),
               REFUSED;
    r->args = l;
    user_plan(r, p, 0);
    p->query = query_relations;
    return OK;
}
#define RELATIONS(name, tag)                                                                       \
    static enum err name(struct request *r, struct plan *p, struct answer *a) {                    \
        return relations_plan(r, p, a, tag);                                                       \
    }
RELATIONS(plan_follows, 'f')
RELATIONS(plan_followers, 'F')
RELATIONS(plan_blocks, 'b')
RELATIONS(plan_mutes, 'z')

/* ---- erasing ---- */
static void erase_relays(struct step *s, struct bytes user) {
    struct buf b = {0};
    pack_bytes(&b, user);
    /* their places in conversations, which are not ours to know */
    step_relay(s, s->partition, KIND_USER_LEAVES, buf_view(&b));
    /* and their name, wherever a notification brought it */
    pack_u64(&b, (uint64_t)s->time_ms);
    for (uint16_t p = 0; p < s->partitions; p++) step_relay(s, p, KIND_USER_GONE, buf_view(&b));
    buf_done(&b);
    struct unpack u = unpack_of(arena_copy(s->arena, view_of(cell2(s->cells, 'f', s->app, user))));
    while (unpack_more(&u)) followed_relay(s, user, unpack_bytes(&u), false);
    u = unpack_of(arena_copy(s->arena, view_of(cell2(s->cells, 'F', s->app, user))));
    while (unpack_more(&u)) unfollow_relay(s, unpack_bytes(&u), user);
}

static void apply_user_erase(struct step *s) {
    struct unpack u = unpack_of(s->body);
    struct bytes user = unpack_bytes(&u);
    answer_ok(s->answer, 204);
    if (!user_known(s->cells, s->app, user)) return;
    erase_relays(s, user);
    devices_erase(s, user);
    mailbox_erase(s, user);
    for (const char *tag = "fFY"; *tag; tag++)
        cells_put(s->cells, cell2(s->cells, *tag, s->app, user), (struct bytes){0});
    struct person_profile gone = {.erased_ms = s->time_ms};
    person_profile_set(s, user, &gone);
    struct delivery d = {.kind = DELIVER_REVOKE, .user = user};
    step_deliver(s, &d);
}
static enum err plan_user_erase(struct request *r, struct plan *p, struct answer *a) {
    (void)a;
    user_plan(r, p, KIND_USER_ERASE);
    return OK;
}

static const struct record_rule RULES[] = {{KIND_USER_PUT, apply_user_put},
    {KIND_USER_ERASE, apply_user_erase}, {KIND_USER_ENSURE, apply_user_ensure},
    {KIND_RELATION, apply_relation}, {KIND_FOLLOWED, apply_followed},
    {KIND_DEVICE_PUT, apply_device_put}, {KIND_DEVICE_DELETE, apply_device_delete},
    {KIND_PUSH_GONE, apply_push_gone}, {KIND_KEYS_PUT, apply_keys_put},
    {KIND_KEYS_CLAIM, apply_keys_claim}};

#define U "/v1/users/{id}"
#define R SCOPE_READ
#define W SCOPE_WRITE
static const struct route ROUTES[] = {
    {"PUT", U, W, TOKEN_SELF, SPECIAL_NONE, plan_user_put, NULL},
    {"GET", U, R, TOKEN_ANY, SPECIAL_NONE, plan_user_get, NULL},
    {"DELETE", U, W, TOKEN_NEVER, SPECIAL_NONE, plan_user_erase, NULL},
    {"GET", U "/export", R, TOKEN_NEVER, SPECIAL_EXPORT, NULL, NULL},
    {"PUT", U "/follows/{other}", W, TOKEN_SELF, SPECIAL_NONE, plan_follow, NULL},
    {"DELETE", U "/follows/{other}", W, TOKEN_SELF, SPECIAL_NONE, plan_unfollow, NULL},
    {"PUT", U "/blocks/{other}", W, TOKEN_SELF, SPECIAL_NONE, plan_block, NULL},
    {"DELETE", U "/blocks/{other}", W, TOKEN_SELF, SPECIAL_NONE, plan_unblock, NULL},
    {"PUT", U "/mutes/{other}", W, TOKEN_SELF, SPECIAL_NONE, plan_mute, NULL},
    {"DELETE", U "/mutes/{other}", W, TOKEN_SELF, SPECIAL_NONE, plan_unmute, NULL},
    {"GET", U "/follows", R, TOKEN_SELF, SPECIAL_NONE, plan_follows, NULL},
    {"GET", U "/followers", R, TOKEN_SELF, SPECIAL_NONE, plan_followers, NULL},
    {"GET", U "/blocks", R, TOKEN_SELF, SPECIAL_NONE, plan_blocks, NULL},
    {"GET", U "/mutes", R, TOKEN_SELF, SPECIAL_NONE, plan_mutes, NULL},
    {"POST", U "/tokens", SCOPE_TOKENS, TOKEN_NEVER, SPECIAL_NONE, plan_token, finish_token},
    {"PUT", U "/devices/{device}", W, TOKEN_SELF, SPECIAL_NONE, plan_device_put, NULL},
    {"DELETE", U "/devices/{device}", W, TOKEN_SELF, SPECIAL_NONE, plan_device_delete, NULL},
    {"GET", U "/devices", R | SCOPE_OPERATE, TOKEN_SELF, SPECIAL_NONE, plan_devices, NULL},
    {"PUT", U "/keys/{device}", W, TOKEN_SELF, SPECIAL_NONE, plan_keys_put, NULL},
    {"POST", U "/keys/claim", W, TOKEN_ANY, SPECIAL_NONE, plan_keys_claim, NULL},
};
const struct surface users_surface = {
    "users", RULES, sizeof RULES / sizeof *RULES, ROUTES, sizeof ROUTES / sizeof *ROUTES};
