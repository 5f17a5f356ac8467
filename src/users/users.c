/* users: the tables of records and routes; tokens; what a user's partition says of who asks. SPDX-License-Identifier: Apache-2.0 */
#include "users/users.h"

#include <string.h>

#include "admit/admit.h"
#include "users/users_in.h"

#define TTL_DEFAULT_MS (24ll * 3600 * 1000)
#define TTL_MAX_MS (365ll * 24 * 3600 * 1000)

/* ---- shared ---- */
struct cell *users_cell(struct cells *c, char tag, struct bytes app, struct bytes id) {
    uint8_t room[300];
    return cells_get(c, key2(room, tag, app, id));
}

bool user_known(struct cells *c, struct bytes app, struct bytes user) { return mailbox_known(c, app, user); }

void user_missing(struct answer *a, struct bytes user) {
    answer_problem(a, PROBLEM_NOT_FOUND, "", "there is no user '%.*s'", (int)user.n, (const char *)user.p);
}

void user_plan(const struct request *r, struct plan *p, uint8_t kind) {
    p->partition = partition_of_user(r->who.app, r->params[0], r->partitions);
    p->kind = kind;
    if (kind) pack_bytes(&p->body, r->params[0]);
}

void request_args(const struct request *r, void *args) { ((struct request *)(uintptr_t)r)->args = args; }

bool request_cursor(const struct request *r, struct answer *a, uint64_t *out) {
    enum err e = cursor_parse(request_query(r, "cursor"), r->epoch, out);
    if (e == STALE) answer_problem(a, PROBLEM_GONE, "cursor", "this cursor is of a time before a restore; begin without a cursor");
    else if (e != OK) answer_problem(a, PROBLEM_MALFORMED, "cursor", "this is not a cursor of this list");
    return e == OK;
}

void next_json(struct json_out *o, const struct request *r, uint64_t next) {
    struct buf cursor = {0};
    jo_key(o, "next");
    if (next) cursor_format(&cursor, r->epoch, next);
    if (next) jo_str(o, buf_view(&cursor));
    else jo_null(o);
    buf_done(&cursor);
}

/* ---- who asks ---- */
void users_viewer(struct cells *c, const struct principal *who, struct viewer *out) {
    struct profile p;
    profile_get(c, who->app, who->user, &p);
    int64_t revoked = p.revoked_ms, device = who->device.n ? device_revoked_ms(c, who->app, who->user, who->device) : 0;
    if (device > revoked) revoked = device;
    *out = (struct viewer){.known = user_known(c, who->app, who->user), .revoked = revoked && who->issued_ms <= revoked};
    out->blocks = mailbox_block_list(c, who->app, who->user);
}

/* ---- tokens: the record makes user and device, and tells the answer when the token counts as issued: after whatever was revoked ---- */
struct token_args {
    struct bytes device;
    int64_t ttl_ms;
};

static enum err plan_token(const struct request *r, struct plan *p, struct answer *a) {
    static const struct json_field F[] = {{"device", JSON_ID, true, false, 0}, {"ttl", JSON_STRING, false, false, 16}};
    struct json_value f[2];
    struct token_args *t = arena_zero(r->arena, sizeof *t);
    if (!request_object(r, F, 2, f, a)) return REFUSED;
    t->ttl_ms = TTL_DEFAULT_MS;
    if (f[1].present && (duration_parse(json_string(f[1].v), &t->ttl_ms) != OK || t->ttl_ms <= 0 || t->ttl_ms > TTL_MAX_MS))
        return answer_problem(a, PROBLEM_INVALID_VALUE, "ttl", "'ttl' must be a duration such as 15m or 24h, at most 365d"), REFUSED;
    t->device = arena_copy(r->arena, json_string(f[0].v));
    request_args(r, t);
    user_plan(r, p, KIND_USER_ENSURE);
    pack_bytes(&p->body, t->device);
    return OK;
}

static void apply_user_ensure(struct step *s) {
    struct unpack u = unpack_of(s->body);
    struct bytes user = unpack_bytes(&u), device = unpack_bytes(&u);
    struct profile p;
    check(!u.bad);
    mailbox_ensure(s, user);
    if (!device_ensure(s, user, device)) return;
    profile_get(s->cells, s->app, user, &p);
    int64_t issued = s->time_ms, gone = device_revoked_ms(s->cells, s->app, user, device);
    if (issued <= p.revoked_ms) issued = p.revoked_ms + 1;
    if (issued <= gone) issued = gone + 1;
    answer_ok(s->answer, 201);
    if (s->wanted) pack_u64(&s->answer->body, (uint64_t)issued);
}

static void finish_token(const struct request *r, struct admit *admit, struct answer *a) {
    const struct token_args *t = r->args;
    struct unpack u = unpack_of(buf_view(&a->body));
    int64_t issued = (int64_t)unpack_u64(&u), expires_ms;
    struct buf token = {0};
    check(!u.bad);
    buf_reset(&a->body);
    if (admit_token_create(admit, r->who.app, r->params[0], t->device, t->ttl_ms, issued, &token, &expires_ms) != OK) {
        answer_problem(a, PROBLEM_INTERNAL, "", "the signing secret cannot be written to the data folder");
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

/* ---- the tables ---- */
static const struct record_rule RULES[] = {{KIND_USER_PUT, apply_user_put}, {KIND_USER_ERASE, apply_user_erase}, {KIND_USER_ENSURE, apply_user_ensure},
    {KIND_RELATION, apply_relation}, {KIND_FOLLOWED, apply_followed}, {KIND_DEVICE_PUT, apply_device_put}, {KIND_DEVICE_DELETE, apply_device_delete},
    {KIND_KEYS_PUT, apply_keys_put}, {KIND_KEYS_CLAIM, apply_keys_claim}};

#define U "/v1/users/{id}"
#define ROUTE(method, path, scope, token, plan) {method, path, scope, token, SPECIAL_NONE, plan, NULL}
static const struct route ROUTES[] = {
    ROUTE("PUT", U, SCOPE_WRITE, TOKEN_SELF, plan_user_put),
    ROUTE("GET", U, SCOPE_READ, TOKEN_ANY, plan_user_get),
    ROUTE("DELETE", U, SCOPE_WRITE, TOKEN_NEVER, plan_user_erase),
    ROUTE("GET", U "/export", SCOPE_READ, TOKEN_NEVER, plan_export),
    ROUTE("PUT", U "/follows/{other}", SCOPE_WRITE, TOKEN_SELF, plan_follow),
    ROUTE("DELETE", U "/follows/{other}", SCOPE_WRITE, TOKEN_SELF, plan_unfollow),
    ROUTE("PUT", U "/blocks/{other}", SCOPE_WRITE, TOKEN_SELF, plan_block),
    ROUTE("DELETE", U "/blocks/{other}", SCOPE_WRITE, TOKEN_SELF, plan_unblock),
    ROUTE("PUT", U "/mutes/{other}", SCOPE_WRITE, TOKEN_SELF, plan_mute),
    ROUTE("DELETE", U "/mutes/{other}", SCOPE_WRITE, TOKEN_SELF, plan_unmute),
    ROUTE("GET", U "/follows", SCOPE_READ, TOKEN_SELF, plan_follows),
    ROUTE("GET", U "/followers", SCOPE_READ, TOKEN_SELF, plan_followers),
    ROUTE("GET", U "/blocks", SCOPE_READ, TOKEN_SELF, plan_blocks),
    ROUTE("GET", U "/mutes", SCOPE_READ, TOKEN_SELF, plan_mutes),
    {"POST", U "/tokens", SCOPE_TOKENS, TOKEN_NEVER, SPECIAL_NONE, plan_token, finish_token},
    ROUTE("GET", U "/devices", SCOPE_READ, TOKEN_SELF, plan_devices),
    ROUTE("PUT", U "/devices/{device}", SCOPE_WRITE, TOKEN_SELF, plan_device_put),
    ROUTE("DELETE", U "/devices/{device}", SCOPE_WRITE, TOKEN_SELF, plan_device_delete),
    ROUTE("POST", U "/keys/claim", SCOPE_WRITE, TOKEN_ANY, plan_keys_claim), /* anyone who may write to them needs their keys */
    ROUTE("PUT", U "/keys/{device}", SCOPE_WRITE, TOKEN_SELF, plan_keys_put),
};
const struct surface users_surface = {"users", RULES, sizeof RULES / sizeof *RULES, ROUTES, sizeof ROUTES / sizeof *ROUTES};
