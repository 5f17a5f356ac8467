/* users: devices, their tokens and push addresses, and the export of a user.
 * SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "admit/admit.h"
#include "users/users_in.h"

#define TTL_DEFAULT_MS (24ll * 3600 * 1000)
#define TTL_MAX_MS (365ll * 24 * 3600 * 1000)

static struct bytes view_of(const struct cell *c) { return bytes_of(c->data, c->size); }
static struct cell *device_cell(
    struct cells *c, char tag, struct bytes app, struct bytes user, struct bytes device) {
    uint8_t room[300];
    return cells_get(c, key3(room, tag, app, user, device));
}

static size_t device_count(struct cells *c, struct bytes app, struct bytes user) {
    struct unpack u = unpack_of(view_of(person_devices(c, app, user)));
    size_t n = 0;
    while (unpack_more(&u)) {
        unpack_bytes(&u);
        n++;
    }
    return n;
}

bool device_ensure(struct step *s, struct bytes user, struct bytes device) {
    struct person_device d;
    person_device_get(s->cells, s->app, user, device, &d);
    if (d.there) return true;
    if (device_count(s->cells, s->app, user) >= DEVICES_MAX) {
        answer_problem(s->answer, PROBLEM_LIMIT_REACHED, "device",
            "a user has at most %d devices; delete one first", DEVICES_MAX);
        return false;
    }
    d.there = true;
    d.push = arena_copy(s->arena, d.push);
    person_device_set(s, user, device, &d);
    struct buf b = {0};
    pack_bytes(&b, device);
    cells_append(s->cells, person_devices(s->cells, s->app, user), buf_view(&b));
    buf_done(&b);
    return true;
}

/* ---- tokens ----
 *   USER_ENSURE body      varbytes user, device, ttl_ms as i64 · once (once.c)
 *   its answer            var issued_ms
 *
 * The token itself is in neither: a credential is not kept. The same user, device, ttl and time of
 * issue are signed again to the same bytes. */

/* What ended the tokens of before, in this millisecond too, does not end one issued then. */
static int64_t issue_time(struct step *s, struct bytes user, struct bytes name) {
    struct person_profile p;
    struct person_device d;
    int64_t ended_ms = person_profile_get(s->cells, s->app, user, &p) ? p.erased_ms : 0;
    person_device_get(s->cells, s->app, user, name, &d);
    if (d.revoked_ms > ended_ms) ended_ms = d.revoked_ms;
    return ended_ms < s->time_ms ? s->time_ms : ended_ms + 1;
}

void apply_user_ensure(struct step *s) {
    struct unpack u = unpack_of(s->body);
    struct bytes user = unpack_bytes(&u), asked = bytes_of(u.p, (size_t)(u.end - u.p)), first;
    struct bytes device = unpack_bytes(&u), ttl = unpack_bytes(&u), key = unpack_bytes(&u);
    if (ttl.n) asked.n = (size_t)(ttl.p + ttl.n - asked.p);
    struct once now = once_of(s, key, asked);
    enum err before = key.n ? once_find(s, user, &now, &first) : MISSING;
    if (before == EXISTS) return;
    if (before == OK) {
        answer_ok(s->answer, 201);
        buf_bytes(&s->answer->body, first);
        return;
    }
    mailbox_ensure(s, user);
    if (device.n && !device_ensure(s, user, device)) return;
    answer_ok(s->answer, 201);
    pack_var(&s->answer->body, (uint64_t)issue_time(s, user, device));
    if (key.n) once_keep(s, user, &now, buf_view(&s->answer->body));
}

struct token_args {
    struct bytes device;
    int64_t ttl_ms;
};
enum err plan_token(struct request *r, struct plan *p, struct answer *a) {
    static const struct json_field F[] = {
        {"device", JSON_ID, true, false, 0}, {"ttl", JSON_STRING, false, false, 16}};
    struct json_value f[2];
    struct token_args *t = arena_zero(r->arena, sizeof *t);
    if (!request_object(r, F, 2, f, a)) return REFUSED;
    t->ttl_ms = TTL_DEFAULT_MS;
    if (f[1].present && (duration_parse(json_string(f[1].v), &t->ttl_ms) != OK || !t->ttl_ms ||
                            t->ttl_ms > TTL_MAX_MS))
        return answer_problem(a, PROBLEM_INVALID_VALUE, "ttl",
                   "'ttl' must be a duration such as 15m or 24h, at most 365d"),
               REFUSED;
    t->device = arena_copy(r->arena, json_string(f[0].v));
    r->args = t;
    user_plan(r, p, KIND_USER_ENSURE);
    struct buf ttl = {0};
    pack_u64(&ttl, (uint64_t)t->ttl_ms);
    pack_bytes(&p->body, t->device);
    pack_bytes(&p->body, buf_view(&ttl));
    once_pack(r, KIND_USER_ENSURE, &p->body);
    buf_done(&ttl);
    return OK;
}

void finish_token(const struct request *r, struct admit *admit, struct answer *a) {
    const struct token_args *t = r->args;
    struct buf token = {0};
    struct unpack u = unpack_of(buf_view(&a->body));
    int64_t expires_ms, issued_ms = (int64_t)unpack_var(&u);
    buf_reset(&a->body);
    if (admit_token_create(admit, r->who.app, r->params[0], t->device, t->ttl_ms, issued_ms, &token,
            &expires_ms) != OK) {
        answer_problem(
            a, PROBLEM_INTERNAL, "", "the signing secret cannot be written to the data folder");
        return;
    }
    struct json_out o = {&a->body, false};
    jo_open_obj(&o);
    jo_key(&o, "token");
    jo_str(&o, buf_view(&token));
    jo_key(&o, "expires_at");
    jo_time(&o, expires_ms);
    jo_close_obj(&o);
    buf_done(&token);
}

/* ---- devices ---- */
void apply_device_put(struct step *s) {
    struct unpack u = unpack_of(s->body);
    struct bytes user = unpack_bytes(&u), device = unpack_bytes(&u);
    uint8_t set = unpack_u8(&u);
    struct bytes push = unpack_bytes(&u);
    struct person_device d;
    person_device_get(s->cells, s->app, user, device, &d);
    bool was = d.there;
    mailbox_ensure(s, user);
    if (!device_ensure(s, user, device)) return;
    person_device_get(s->cells, s->app, user, device, &d);
    if (set) d.push_ms = push.n ? s->time_ms : 0;
    d.push = set ? push : arena_copy(s->arena, d.push);
    person_device_set(s, user, device, &d);
    answer_ok(s->answer, was ? 200 : 201);
    if (s->wanted)
        buf_fmt(&s->answer->body, "{\"id\":\"%.*s\",\"push\":%s}", (int)device.n,
            (const char *)device.p, d.push.n ? "true" : "false");
}

/* PUSH_GONE body: varbytes user, device · u64 since: a provider said that the address which the device
 * had then is no more. One that was set later is another. */
void apply_push_gone(struct step *s) {
    struct unpack u = unpack_of(s->body);
    struct bytes user = unpack_bytes(&u), device = unpack_bytes(&u);
    int64_t since_ms = (int64_t)unpack_u64(&u);
    struct person_device d;
    check(!u.bad);
    answer_ok(s->answer, 200);
    person_device_get(s->cells, s->app, user, device, &d);
    if (!d.push.n || d.push_ms >= since_ms) return;
    d.push = (struct bytes){0};
    d.push_ms = 0;
    person_device_set(s, user, device, &d);
}

static void device_forget(struct step *s, struct bytes user, struct bytes device) {
    struct person_device gone = {.revoked_ms = s->time_ms};
    person_device_set(s, user, device, &gone);
    cells_put(s->cells, device_cell(s->cells, 'k', s->app, user, device), (struct bytes){0});
    /* the kept session (deliver) */
    cells_put(s->cells, device_cell(s->cells, 'D', s->app, user, device), (struct bytes){0});
    struct delivery d = {.kind = DELIVER_REVOKE, .user = user, .device = device};
    step_deliver(s, &d);
}

void apply_device_delete(struct step *s) {
    struct unpack body = unpack_of(s->body);
    struct bytes user = unpack_bytes(&body), device = unpack_bytes(&body);
    struct cell *list = person_devices(s->cells, s->app, user);
    struct unpack u = unpack_of(view_of(list));
    answer_ok(s->answer, 204);
    device_forget(s, user, device);
    while (unpack_more(&u)) {
        const uint8_t *at = u.p;
        if (!bytes_eq(unpack_bytes(&u), device)) continue;
        cells_splice(
            s->cells, list, (uint32_t)(at - list->data), (uint32_t)(u.p - at), (struct bytes){0});
        return;
    }
}

void devices_erase(struct step *s, struct bytes user) {
    uint8_t room[300];
    struct cell *list = person_devices(s->cells, s->app, user);
    struct unpack u = unpack_of(arena_copy(s->arena, view_of(list)));
    while (unpack_more(&u)) {
        struct bytes device = unpack_bytes(&u);
        device_forget(s, user, device);
        /* the profile's erased time refuses its tokens */
        cells_put(s->cells, device_cell(s->cells, 'v', s->app, user, device), (struct bytes){0});
    }
    cells_put(s->cells, list, (struct bytes){0});
    /* of deliver: a kept session may be of a device that nobody has named */
    struct cell *sessions = cells_get(s->cells, key2(room, 'e', s->app, user));
    u = unpack_of(arena_copy(s->arena, view_of(sessions)));
    while (unpack_more(&u))
        cells_put(s->cells, device_cell(s->cells, 'D', s->app, user, unpack_bytes(&u)),
            (struct bytes){0});
    cells_put(s->cells, cells_get(s->cells, key2(room, 'e', s->app, user)), (struct bytes){0});
}

/* ---- push addresses ---- */
static bool push_wrong(struct answer *a, const char *field, const char *words) {
    answer_problem(a, PROBLEM_INVALID_VALUE, field, "%s", words);
    return false;
}

/* first: of its bytes; 0: any */
static bool decodes_to(struct bytes text, size_t size, uint8_t first) {
    struct buf b = {0};
    bool good = base64url_decode(&b, text) == OK && b.n == size && (!first || b.p[0] == first);
    buf_done(&b);
    return good;
}
static bool visible(struct bytes v) { /* ASCII without spaces */
    for (size_t i = 0; i < v.n; i++)
        if (v.p[i] <= ' ' || v.p[i] >= 0x7f) return false;
    return v.n != 0;
}
static bool hex_pairs(struct bytes v) {
    for (size_t i = 0; i < v.n; i++) {
        uint8_t c = v.p[i] | 0x20;
        if (!(v.p[i] >= '0' && v.p[i] <= '9') && !(c >= 'a' && c <= 'f')) return false;
    }
    return v.n && v.n % 2 == 0;
}

/* What the browser's PushSubscription has (RFC 8030, RFC 8291 section 3); `expirationTime` (Push API) is
 * taken and not used: a subscription that ended is one that the push service refuses. */
static bool webpush_read(struct json v, struct answer *a) {
    static const struct json_field WEBPUSH[] = {{"endpoint", JSON_STRING, true, false, 2048},
        {"keys", JSON_OBJECT, true, false, 0}, {"expirationTime", JSON_F64, false, true, 0}};
    static const struct json_field KEYS[] = {
        {"p256dh", JSON_STRING, true, false, 256}, {"auth", JSON_STRING, true, false, 256}};
    struct json_value one[3], keys[2];
    if (!request_inside(v, "push.webpush", WEBPUSH, 3, one, a) ||
        !request_inside(one[1].v, "push.webpush.keys", KEYS, 2, keys, a))
        return false;
    struct bytes endpoint = json_string(one[0].v);
    if (!visible(endpoint) || !bytes_starts(endpoint, "https://") || endpoint.n < 9 ||
        endpoint.p[8] == '/')
        return push_wrong(
            a, "push.webpush.endpoint", "'endpoint' must be the push service's https URL");
    if (!decodes_to(json_string(keys[0].v), 65, 4))
        return push_wrong(a, "push.webpush.keys.p256dh",
            "'p256dh' must be a P-256 public key: 65 bytes, the first 0x04, as base64url");
    if (!decodes_to(json_string(keys[1].v), 16, 0))
        return push_wrong(a, "push.webpush.keys.auth", "'auth' must be 16 bytes as base64url");
    return true;
}

static bool push_read(struct json push, struct answer *a) {
    static const struct json_field KINDS[] = {{"webpush", JSON_OBJECT, false, false, 0},
        {"apns", JSON_OBJECT, false, false, 0}, {"fcm", JSON_OBJECT, false, false, 0}};
    static const struct json_field TOKEN[] = {{"token", JSON_STRING, true, false, 2048}};
    struct json_value kinds[3], one[1];
    if (!request_inside(push, "push", KINDS, 3, kinds, a)) return false;
    if (json_count(push) != 1)
        return push_wrong(
            a, "push", "'push' holds one of webpush {endpoint, keys}, apns {token}, fcm {token}");
    if (kinds[0].present) return webpush_read(kinds[0].v, a);
    bool apns = kinds[1].present;
    if (!request_inside(kinds[apns ? 1 : 2].v, apns ? "push.apns" : "push.fcm", TOKEN, 1, one, a))
        return false;
    if (apns && !hex_pairs(json_string(one[0].v)))
        return push_wrong(
            a, "push.apns.token", "'token' must be the device's token as hexadecimal digits");
    if (!apns && !visible(json_string(one[0].v)))
        return push_wrong(
            a, "push.fcm.token", "'token' must be the registration token as FCM gave it");
    return true;
}

enum err plan_device_put(struct request *r, struct plan *p, struct answer *a) {
    static const struct json_field F[] = {{"push", JSON_OBJECT, false, true, 4096}};
    struct json_value f[1] = {{0}};
    if (r->has_json && !request_object(r, F, 1, f, a)) return REFUSED;
    if (f[0].present && !f[0].is_null && !push_read(f[0].v, a)) return REFUSED;
    user_plan(r, p, KIND_DEVICE_PUT);
    pack_bytes(&p->body, r->params[1]);
    pack_u8(&p->body, f[0].present);
    struct buf raw = {0};
    if (f[0].present && !f[0].is_null) json_raw(f[0].v, &raw);
    pack_bytes(&p->body, buf_view(&raw));
    buf_done(&raw);
    return OK;
}
enum err plan_device_delete(struct request *r, struct plan *p, struct answer *a) {
    (void)a;
    user_plan(r, p, KIND_DEVICE_DELETE);
    pack_bytes(&p->body, r->params[1]);
    return OK;
}

/* Devices from .. from + limit - 1, oldest first; true when there are more. */
static bool devices_json(struct cells *c, struct bytes app, struct bytes user, uint64_t from,
    uint64_t limit, struct json_out *o) {
    struct unpack u = unpack_of(view_of(person_devices(c, app, user)));
    bool more = false;
    jo_open_arr(o);
    for (uint64_t i = 0; unpack_more(&u) && !more; i++) {
        struct person_device d;
        struct bytes id = unpack_bytes(&u);
        if (i < from) continue;
        more = i - from == limit;
        if (more) break;
        person_device_get(c, app, user, id, &d);
        jo_open_obj(o);
        jo_key(o, "id");
        jo_str(o, id);
        jo_key(o, "push");
        jo_bool(o, d.push.n != 0);
        jo_close_obj(o);
    }
    jo_close_arr(o);
    return more;
}

struct devices_page {
    uint64_t from;
    unsigned limit;
};

static void query_devices(struct query *q) {
    const struct request *r = q->request;
    const struct devices_page *page = r->args;
    struct json_out o = {&q->answer->body, false};
    if (!user_known(q->cells, r->who.app, r->params[0])) {
        user_missing(q->answer, r->params[0]);
        return;
    }
    answer_ok(q->answer, 200);
    jo_open_obj(&o);
    jo_key(&o, "items");
    bool more = devices_json(q->cells, r->who.app, r->params[0], page->from, page->limit, &o);
    jo_key(&o, "next");
    if (more) {
        buf_char(o.b, '"');
        cursor_format(o.b, r->epoch, page->from + page->limit);
        buf_char(o.b, '"');
    } else {
        jo_null(&o);
    }
    jo_close_obj(&o);
}
enum err plan_devices(struct request *r, struct plan *p, struct answer *a) {
    struct devices_page *page = arena_zero(r->arena, sizeof *page);
    if (!request_limit(r, a, &page->limit) || !request_cursor(r, a, &page->from)) return REFUSED;
    r->args = page;
    user_plan(r, p, 0);
    p->query = query_devices;
    return OK;
}

/* ---- export ---- */
static void packed_json(struct json_out *o, const char *key, struct bytes packed) {
    struct unpack u = unpack_of(packed);
    jo_key(o, key);
    jo_open_arr(o);
    while (unpack_more(&u)) jo_str(o, unpack_bytes(&u));
    jo_close_arr(o);
}

static void devices_export(
    struct cells *c, struct bytes app, struct bytes user, struct json_out *o) {
    struct unpack u = unpack_of(view_of(person_devices(c, app, user)));
    jo_open_arr(o);
    while (unpack_more(&u)) {
        struct person_device d;
        struct bytes id = unpack_bytes(&u);
        person_device_get(c, app, user, id, &d);
        jo_open_obj(o);
        jo_key(o, "id");
        jo_str(o, id);
        jo_key(o, "push");
        if (d.push.n) jo_raw(o, d.push);
        else jo_null(o);
        keys_export(c, app, user, id, o);
        jo_close_obj(o);
    }
    jo_close_arr(o);
}

/* What begins with another letter is whom they follow. */
static bool topic_export(void *arg, struct bytes audience, uint64_t from) {
    (void)from;
    if (audience.p[0] == '#') jo_str(arg, bytes_of(audience.p + 1, audience.n - 1));
    return true;
}

bool users_export(struct query *q, struct json_out *o) {
    const struct request *r = q->request;
    struct bytes app = r->who.app, user = r->params[0];
    struct person_profile p;
    uint8_t room[300];
    if (!user_known(q->cells, app, user)) {
        user_missing(q->answer, user);
        return false;
    }
    person_profile_get(q->cells, app, user, &p);
    jo_key(o, "user");
    profile_json(o, user, &p, true);
    packed_json(o, "follows", view_of(cells_get(q->cells, key2(room, 'f', app, user))));
    packed_json(o, "followers", view_of(cells_get(q->cells, key2(room, 'F', app, user))));
    packed_json(o, "blocks", mailbox_block_list(q->cells, app, user));
    packed_json(o, "mutes", mailbox_mute_list(q->cells, app, user));
    jo_key(o, "topics");
    jo_open_arr(o);
    mailbox_topics(q->cells, app, user, topic_export, o);
    jo_close_arr(o);
    jo_key(o, "devices");
    devices_export(q->cells, app, user, o);
    return true;
}
