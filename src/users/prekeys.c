/* users: prekeys: the public keys with which others begin an encrypted session with a device. They
 * are opaque here; what counts is that each one-time key is handed out once, and that a last resort
 * takes the place of those that have run out. A device whose PUT was not answered puts the same keys
 * again; those that were handed out in between are not taken a second time.
 *
 *   'k' app user device   SINGLES x varbytes raw JSON (empty: absent) · POOLS x { var n, varbytes
 *                         of n varbytes raw JSON } · u64 hash of each key handed out, oldest first
 *   KEYS_PUT body         varbytes user, device · u8 which singles, u8 which pools are set · as in
 *                         the cell
 *   KEYS_CLAIM body       varbytes user · var n · n x varbytes device (none: all) · once (once.c)
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "users/users_in.h"

enum {
    SINGLES = 5,
    POOLS = 3,
    IDENTITY = 0,
    LAST_RESORT = 3 /* pool p, from 1, falls back to single LAST_RESORT + p - 1 */
};
#define KEYS_MAX 200   /* of one pool: a device that is not opened for a week does not run dry */
#define HANDED_MAX 600 /* hashes remembered: as many as the pools of one PUT have keys */
#define KEY_BYTES_MAX 8192u
#define POOL_BYTES_MAX (256u << 10)

static const struct json_field FIELDS[SINGLES + POOLS] = {
    {"identity_key", JSON_ANY, false, false, KEY_BYTES_MAX},
    {"registration_id", JSON_I64, false, true, 0},
    {"signed_prekey", JSON_ANY, false, false, KEY_BYTES_MAX},
    {"kem_last_resort", JSON_ANY, false, false, KEY_BYTES_MAX},
    {"key_package_last_resort", JSON_ANY, false, false, KEY_BYTES_MAX},
    {"one_time_keys", JSON_ARRAY, false, true, POOL_BYTES_MAX},
    {"kem_one_time_keys", JSON_ARRAY, false, true, POOL_BYTES_MAX},
    {"key_packages", JSON_ARRAY, false, true, POOL_BYTES_MAX}};
static const char *const HANDED[POOLS] = {"one_time_key", "kem_one_time_key", "key_package"};

struct keys {
    struct bytes single[SINGLES], pool[POOLS];
    uint64_t count[POOLS];
    struct bytes handed; /* u64 each */
};

static struct cell *keys_cell(
    struct cells *c, struct bytes app, struct bytes user, struct bytes device) {
    uint8_t room[300];
    return cells_get(c, key3(room, 'k', app, user, device));
}

static void keys_encode(struct buf *b, const struct keys *k) {
    for (int i = 0; i < SINGLES; i++) pack_bytes(b, k->single[i]);
    for (int i = 0; i < POOLS; i++) {
        pack_var(b, k->count[i]);
        pack_bytes(b, k->pool[i]);
    }
    buf_bytes(b, k->handed);
}

static void keys_decode(struct unpack *u, struct keys *k) {
    for (int i = 0; i < SINGLES; i++) k->single[i] = unpack_bytes(u);
    for (int i = 0; i < POOLS; i++) {
        k->count[i] = unpack_var(u);
        k->pool[i] = unpack_bytes(u);
    }
    check(!u->bad);
    k->handed = bytes_of(u->p, (size_t)(u->end - u->p));
}

/* A copy, as the cell will be rewritten; false when there is none. */
static bool keys_get(struct step *s, struct bytes user, struct bytes device, struct keys *out) {
    const struct cell *cell = keys_cell(s->cells, s->app, user, device);
    *out = (struct keys){0};
    if (!cell->size) return false;
    struct unpack u = unpack_of(arena_copy(s->arena, bytes_of(cell->data, cell->size)));
    keys_decode(&u, out);
    return true;
}

static void keys_set(struct step *s, struct bytes user, struct bytes device, const struct keys *k) {
    struct buf b = {0};
    keys_encode(&b, k);
    cells_put(s->cells, keys_cell(s->cells, s->app, user, device), buf_view(&b));
    buf_done(&b);
}

/* ---- PUT ---- */
static bool pool_take(void *arg, struct bytes key, struct json v) {
    (void)key;
    struct buf raw = {0};
    json_raw(v, &raw);
    pack_bytes(arg, buf_view(&raw));
    buf_done(&raw);
    return true;
}

enum err plan_keys_put(struct request *r, struct plan *p, struct answer *a) {
    struct json_value f[SINGLES + POOLS];
    struct buf values[SINGLES + POOLS] = {{0}};
    struct keys k = {0};
    uint8_t singles = 0, pools = 0;
    if (!request_object(r, FIELDS, SINGLES + POOLS, f, a)) return REFUSED;
    for (int i = SINGLES; i < SINGLES + POOLS; i++)
        if (f[i].present && !f[i].is_null && json_count(f[i].v) > KEYS_MAX)
            return answer_problem(a, PROBLEM_LIMIT_REACHED, FIELDS[i].name,
                       "at most %d keys are kept here", KEYS_MAX),
                   REFUSED;
    for (int i = 0; i < SINGLES; i++) {
        if (f[i].present && json_kind_of(f[i].v) != JSON_NULL) json_raw(f[i].v, &values[i]);
        singles |= (uint8_t)(f[i].present << i);
        k.single[i] = buf_view(&values[i]);
    }
    for (int i = 0; i < POOLS; i++) {
        const struct json_value *v = &f[SINGLES + i];
        if (v->present && !v->is_null) {
            json_each(v->v, pool_take, &values[SINGLES + i]);
            k.count[i] = json_count(v->v);
        }
        pools |= (uint8_t)(v->present << i);
        k.pool[i] = buf_view(&values[SINGLES + i]);
    }
    user_plan(r, p, KIND_KEYS_PUT);
    pack_bytes(&p->body, r->params[1]);
    pack_u8(&p->body, singles);
    pack_u8(&p->body, pools);
    keys_encode(&p->body, &k);
    for (int i = 0; i < SINGLES + POOLS; i++) buf_done(&values[i]);
    return OK;
}

static void counts_answer(struct step *s, struct bytes device, const struct keys *k) {
    struct json_out o = {&s->answer->body, false};
    jo_open_obj(&o);
    jo_key(&o, "device");
    jo_str(&o, device);
    for (int i = 0; i < POOLS; i++) {
        jo_key(&o, FIELDS[SINGLES + i].name);
        jo_u64(&o, k->count[i]);
    }
    jo_close_obj(&o);
}

/* ---- which were handed out ---- */
static bool handed_holds(struct bytes handed, uint64_t hash) {
    for (struct unpack u = unpack_of(handed); unpack_more(&u);)
        if (unpack_u64(&u) == hash) return true;
    return false;
}

/* What the device sent of pool i, without what was handed out, and each key once. */
static void pool_put(struct step *s, struct keys *k, int i, struct bytes sent) {
    struct buf pool = {0}, seen = {0};
    k->count[i] = 0;
    for (struct unpack u = unpack_of(sent); unpack_more(&u);) {
        struct bytes key = unpack_bytes(&u);
        uint64_t hash = hash64(key);
        if (handed_holds(k->handed, hash) || handed_holds(buf_view(&seen), hash)) continue;
        pack_u64(&seen, hash);
        pack_bytes(&pool, key);
        k->count[i]++;
    }
    k->pool[i] = arena_copy(s->arena, buf_view(&pool));
    buf_done(&pool);
    buf_done(&seen);
}

static void handed_add(struct step *s, struct keys *k, const struct bytes one[POOLS]) {
    struct buf b = {0};
    buf_bytes(&b, k->handed);
    for (int i = 0; i < POOLS; i++)
        if (one[i].n) pack_u64(&b, hash64(one[i]));
    struct bytes all = buf_view(&b);
    size_t keep = HANDED_MAX * sizeof(uint64_t);
    if (all.n > keep) all = bytes_of(all.p + (all.n - keep), keep);
    k->handed = arena_copy(s->arena, all);
    buf_done(&b);
}

void apply_keys_put(struct step *s) {
    struct unpack u = unpack_of(s->body);
    struct bytes user = unpack_bytes(&u), device = unpack_bytes(&u);
    uint8_t singles = unpack_u8(&u), pools = unpack_u8(&u);
    struct keys k, sent;
    keys_decode(&u, &sent);
    bool had = keys_get(s, user, device, &k);
    for (int i = 0; i < SINGLES; i++)
        if (singles >> i & 1) k.single[i] = sent.single[i];
    for (int i = 0; i < POOLS; i++)
        if (pools >> i & 1) pool_put(s, &k, i, sent.pool[i]);
    if (!k.single[IDENTITY].n) {
        answer_problem(s->answer, PROBLEM_INVALID_VALUE, "identity_key",
            "'identity_key' is required: no session begins without it");
        return;
    }
    mailbox_ensure(s, user);
    if (!device_ensure(s, user, device)) return;
    keys_set(s, user, device, &k);
    answer_ok(s->answer, had ? 200 : 201);
    if (s->wanted) counts_answer(s, device, &k);
}

static void raw_field(struct json_out *o, const char *name, struct bytes raw) {
    if (!raw.n) return;
    jo_key(o, name);
    jo_raw(o, raw);
}

void keys_export(
    struct cells *c, struct bytes app, struct bytes user, struct bytes device, struct json_out *o) {
    const struct cell *cell = keys_cell(c, app, user, device);
    struct unpack u = unpack_of(bytes_of(cell->data, cell->size));
    struct keys k;
    if (!cell->size) return;
    keys_decode(&u, &k);
    jo_key(o, "keys");
    jo_open_obj(o);
    for (int i = 0; i < SINGLES; i++) raw_field(o, FIELDS[i].name, k.single[i]);
    for (int i = 0; i < POOLS; i++) {
        struct unpack pool = unpack_of(k.pool[i]);
        jo_key(o, FIELDS[SINGLES + i].name);
        jo_open_arr(o);
        while (unpack_more(&pool)) jo_raw(o, unpack_bytes(&pool));
        jo_close_arr(o);
    }
    jo_close_obj(o);
}

/* ---- claiming ---- */

static bool pool_next(struct keys *k, int pool, struct bytes *out) {
    struct unpack u = unpack_of(k->pool[pool]);
    if (!k->count[pool]) return false;
    *out = unpack_bytes(&u);
    check(!u.bad);
    k->pool[pool] = bytes_of(u.p, (size_t)(u.end - u.p));
    k->count[pool]--;
    return true;
}

static void bundle_claim(
    struct step *s, struct bytes user, struct bytes device, struct json_out *o) {
    struct keys k;
    struct bytes one[POOLS] = {{0}};
    bool taken = false;
    if (!keys_get(s, user, device, &k)) return;
    jo_open_obj(o);
    jo_key(o, "device");
    jo_str(o, device);
    for (int i = 0; i < LAST_RESORT; i++) raw_field(o, FIELDS[i].name, k.single[i]);
    for (int i = 0; i < POOLS; i++) {
        bool there = pool_next(&k, i, &one[i]);
        taken |= there;
        if (there) raw_field(o, HANDED[i], one[i]);
        else if (i) raw_field(o, FIELDS[LAST_RESORT + i - 1].name, k.single[LAST_RESORT + i - 1]);
    }
    jo_close_obj(o);
    if (!taken) return;
    handed_add(s, &k, one);
    keys_set(s, user, device, &k);
}

void apply_keys_claim(struct step *s) {
    struct unpack u = unpack_of(s->body), all;
    struct bytes user = unpack_bytes(&u);
    const uint8_t *asked = u.p;
    uint64_t named = unpack_var(&u);
    struct json_out o = {&s->answer->body, false};
    if (!mailbox_known(s->cells, s->app, user)) {
        user_missing(s->answer, user);
        return;
    }
    struct unpack tail = u;
    for (uint64_t i = 0; i < named && !tail.bad; i++) (void)unpack_bytes(&tail);
    struct bytes devices = bytes_of(asked, (size_t)(tail.p - asked)), key = unpack_bytes(&tail);
    struct once now = once_of(s, key, devices);
    struct bytes first;
    enum err before = key.n ? once_find(s, user, &now, &first) : MISSING;
    if (before == EXISTS) return;
    answer_ok(s->answer, 200);
    if (before == OK) {
        buf_bytes(&s->answer->body, first);
        return;
    }
    jo_open_obj(&o);
    jo_key(&o, "items");
    jo_open_arr(&o);
    const struct cell *list = person_devices(s->cells, s->app, user);
    all = unpack_of(arena_copy(s->arena, bytes_of(list->data, list->size)));
    while (!named && unpack_more(&all)) bundle_claim(s, user, unpack_bytes(&all), &o);
    for (uint64_t i = 0; i < named && !u.bad; i++) bundle_claim(s, user, unpack_bytes(&u), &o);
    jo_close_arr(&o);
    jo_close_obj(&o);
    if (key.n) once_keep(s, user, &now, buf_view(&s->answer->body));
}

/* One bundle a device, however often it is named. */
static uint64_t named_once(struct bytes packed, struct buf *out) {
    uint64_t n = 0;
    for (struct unpack u = unpack_of(packed); unpack_more(&u);) {
        struct bytes id = unpack_bytes(&u);
        if (packed_holds(buf_view(out), id)) continue;
        pack_bytes(out, id);
        n++;
    }
    return n;
}

enum err plan_keys_claim(struct request *r, struct plan *p, struct answer *a) {
    static const struct json_field F[] = {{"devices", JSON_ARRAY, false, false, 8192}};
    struct json_value f[1] = {{0}};
    struct buf packed = {0}, once = {0};
    uint64_t n = 0;
    if (r->has_json && !request_object(r, F, 1, f, a)) return REFUSED;
    bool good = !f[0].present || request_ids(f[0].v, "devices", &packed, &n, a);
    if (good && (n = named_once(buf_view(&packed), &once)) > DEVICES_MAX) {
        answer_problem(
            a, PROBLEM_LIMIT_REACHED, "devices", "'devices' names at most %d", DEVICES_MAX);
        good = false;
    }
    if (good) {
        user_plan(r, p, KIND_KEYS_CLAIM);
        pack_var(&p->body, n);
        buf_bytes(&p->body, buf_view(&once));
        once_pack(r, KIND_KEYS_CLAIM, &p->body);
    }
    buf_done(&packed);
    buf_done(&once);
    return good ? OK : REFUSED;
}
