/* trigger: one trigger as it was asked for, read and checked.
 * SPDX-License-Identifier: Apache-2.0 */
#include "trigger/trigger_in.h"

enum { USERS_MAX = 10000, DATA_MAX = 16384 };

void ask_refuse(struct ask *k, struct arena *arena, const struct answer *a) {
    k->problem = a->problem;
    k->field = arena_copy(arena, bytes_str(a->field));
    k->words = arena_copy(arena, bytes_str(a->detail));
}

static void data_read(struct request *r, struct ask *k, const struct json_value *v) {
    if (!v->present || v->is_null) return;
    struct buf b = {0};
    json_raw(v->v, &b);
    k->k.data = arena_copy(r->arena, buf_view(&b));
    buf_reset(&b);
    args_pack(v->v, &b);
    k->k.args = arena_copy(r->arena, buf_view(&b));
    buf_done(&b);
}

static struct bytes prefixed(struct request *r, const char *mark, struct bytes id) {
    struct buf b = {0};
    buf_str(&b, mark);
    buf_bytes(&b, id);
    struct bytes out = arena_copy(r->arena, buf_view(&b));
    buf_done(&b);
    return out;
}

/* Each once, in the order in which they are named first: nobody is told twice. */
static struct bytes users_once(struct arena *arena, struct bytes packed, uint64_t *count) {
    size_t cap = 4;
    while (cap < 2 * *count) cap *= 2;
    struct bytes *seen = arena_zero(arena, cap * sizeof *seen);
    struct buf once = {0};
    struct unpack u = unpack_of(packed);
    *count = 0;
    while (unpack_more(&u)) {
        struct bytes user = unpack_bytes(&u);
        size_t at = (size_t)hash64(user) & (cap - 1);
        while (seen[at].n && !bytes_eq(seen[at], user)) at = (at + 1) & (cap - 1);
        if (seen[at].n) continue;
        seen[at] = user;
        pack_bytes(&once, user);
        ++*count;
    }
    struct bytes out = arena_copy(arena, buf_view(&once));
    buf_done(&once);
    return out;
}

static bool users_read(struct request *r, struct ask *k, struct json list, struct answer *a) {
    struct buf packed = {0};
    bool good = request_ids(list, "to.users", &packed, &k->user_count, a);
    if (good && (!k->user_count || k->user_count > USERS_MAX)) {
        answer_problem(a, k->user_count ? PROBLEM_TOO_LARGE : PROBLEM_INVALID_VALUE, "to.users",
            "name 1 to %d users; for more, use a topic", USERS_MAX);
        good = false;
    }
    if (good && k->user_count > 1)
        k->users = users_once(r->arena, buf_view(&packed), &k->user_count);
    else if (good) k->users = arena_copy(r->arena, buf_view(&packed));
    buf_done(&packed);
    return good;
}

static bool to_read(struct request *r, struct ask *k, struct json to, struct answer *a) {
    static const struct json_field F[] = {{"users", JSON_ARRAY, false, false, 0},
        {"followers_of", JSON_ID, false, false, 0}, {"topic", JSON_ID, false, false, 0},
        {"everyone", JSON_BOOL, false, false, 0}};
    struct json_value f[4];
    if (!request_part(to, F, 4, f, a)) return false;
    if (f[0].present + f[1].present + f[2].present + f[3].present != 1 ||
        (f[3].present && !json_bool(f[3].v))) {
        answer_problem(a, PROBLEM_INVALID_VALUE, "to",
            "'to' is one of {\"users\":[...]}, {\"followers_of\":id}, {\"topic\":id}, "
            "{\"everyone\":true}");
        return false;
    }
    if (f[1].present) k->k.audience = prefixed(r, "@", json_string(f[1].v));
    if (f[2].present) k->k.audience = prefixed(r, "#", json_string(f[2].v));
    if (f[3].present) k->k.audience = BYTES("*");
    return !f[0].present || users_read(r, k, f[0].v, a);
}

static bool moment_read(
    const struct json_value *v, const char *field, int64_t *out, struct answer *a) {
    if (!v->present || v->is_null || time_parse(json_string(v->v), out) == OK) return true;
    answer_problem(a, PROBLEM_INVALID_VALUE, field,
        "'%s' must be a time such as 2026-01-02T03:04:05.678Z (RFC 3339)", field);
    return false;
}

static struct bytes text_of(struct request *r, const struct json_value *v) {
    if (!v->present || v->is_null) return (struct bytes){0};
    return arena_copy(r->arena, json_string(v->v));
}

bool ask_read(struct request *r, struct json item, struct ask *k, struct answer *a) {
    static const struct json_field F[] = {{"id", JSON_ID, false, true, 0},
        {"workflow", JSON_ID, true, false, 0}, {"to", JSON_OBJECT, true, false, 0},
        {"actor", JSON_ID, false, true, 0}, {"object", JSON_STRING, false, true, 256},
        {"data", JSON_OBJECT, false, true, DATA_MAX}, {"send_at", JSON_STRING, false, true, 64},
        {"expires_at", JSON_STRING, false, true, 64},
        {"collapse_key", JSON_STRING, false, true, 256}};
    enum { COUNT = sizeof F / sizeof *F };
    struct json_value f[COUNT];
    if (!request_part(item, F, COUNT, f, a)) return false;
    k->k.id = text_of(r, &f[0]);
    k->own_id = k->k.id.n != 0;
    if (k->own_id && trigger_is_direct(k->k.id)) {
        answer_problem(a, PROBLEM_INVALID_VALUE, "id",
            "'id' has the form of those that the server makes; choose another");
        return false;
    }
    k->k.workflow = text_of(r, &f[1]);
    if (!to_read(r, k, f[2].v, a)) return false;
    k->k.actor = text_of(r, &f[3]);
    k->k.object = text_of(r, &f[4]);
    data_read(r, k, &f[5]);
    if (!moment_read(&f[6], "send_at", &k->k.send_at_ms, a) ||
        !moment_read(&f[7], "expires_at", &k->k.expires_ms, a))
        return false;
    k->k.collapse_key = text_of(r, &f[8]);
    k->k.created_ms = r->now_ms;
    int64_t leaves = k->k.send_at_ms > r->now_ms ? k->k.send_at_ms : r->now_ms;
    if (k->k.expires_ms && k->k.expires_ms <= leaves) {
        answer_problem(a, PROBLEM_INVALID_VALUE, "expires_at",
            "'expires_at' lies before the notification would leave");
        return false;
    }
    return true;
}
