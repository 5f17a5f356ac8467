/* trigger: POST notifications, one and many: read (read.c), given ids and the actors' names, and put into records
 * in as many partitions as they need.
 *
 *   names of actors (queries) ─▶ records ─▶ [estimate of an audience (queries)] ─▶ the answer
 *
 * One recipient and an id made here: the record is written in the recipient's partition and nothing is
 * relayed. Else it goes to the id's partition (home.c), which relays.
 * SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <string.h>

#include "mailbox/mailbox.h"
#include "person/person.h"
#include "trigger/trigger_in.h"

enum { BATCH_MAX = 1000, ITEMS_PER_RECORD = 16 };
enum round { ROUND_NAMES = 1, ROUND_RECORDS, ROUND_COUNTS };

struct actor {
    struct bytes id, name;
    uint16_t partition;
    size_t part;
};
struct batch {
    struct ask *ask;
    size_t n;
    bool single;
    enum round round;
    struct actor *actors;
    size_t actor_count;
    struct bytes *wanted; /* by part: packed ids whose names are asked for */
    uint64_t estimate;
};

/* ---- ids ---- */
/* The same for the same Idempotency-Key of the same asker: it happens once. */
static void id_of_key(struct request *r, struct ask *k, size_t index) {
    struct buf b = {0}, id = {0};
    pack_bytes(&b, r->who.key);
    pack_bytes(&b, r->idempotency_key);
    pack_var(&b, index);
    uint64_t one = hash64(buf_view(&b));
    pack_u8(&b, 1);
    uint64_t two = hash64(buf_view(&b));
    buf_fmt(&id, "key-%016llx%016llx", (unsigned long long)one, (unsigned long long)two);
    k->k.id = arena_copy(r->arena, buf_view(&id));
    k->own_id = k->of_key = true;
    buf_done(&b);
    buf_done(&id);
}

static void id_make(struct request *r, struct ask *k, uint16_t partition, bool direct) {
    struct buf b = {0};
    struct tools *t = r->tools;
    uint64_t unique = t->next_id & ((1ull << 36) - 1);
    t->next_id += t->id_step ? t->id_step : 1;
    unique |= (direct ? TRIGGER_DIRECT | TRIGGER_MADE : TRIGGER_MADE);
    message_id_make(&b, r->now_ms, unique << TRIGGER_ID_SHIFT | partition);
    k->k.id = arena_copy(r->arena, buf_view(&b));
    buf_done(&b);
}

/* ---- records ---- */
struct target { /* a part that is being filled */
    size_t part, items;
    bool there;
};

static void item_pack(struct buf *to, const struct ask *k) {
    struct buf item = {0};
    buf_reserve(&item, 256 + k->k.data.n + k->k.args.n + k->users.n);
    content_encode(&item, &k->k);
    pack_bytes(&item, k->users);
    pack_bytes(to, buf_view(&item));
    buf_done(&item);
}

static void put(struct plan *p, struct ask *k, struct target *t, uint16_t partition, uint8_t kind,
    size_t items_max) {
    if (!t->there || t->items == items_max) {
        plan_part(p, partition)->kind = kind;
        *t = (struct target){p->part_count - 1, 0, true};
    }
    t->items++;
    k->part = t->part;
    item_pack(&p->parts[t->part].body, k);
}

/* One recipient: straight to their partition. Else where the id lives; ids made here live together, a
 * few to a record, so that a relay carries several. */
static void records_plan(struct request *r, struct plan *p, struct batch *b) {
    struct target *direct = arena_zero(r->arena, r->partitions * sizeof *direct);
    struct target *home = arena_zero(r->arena, r->partitions * sizeof *home);
    uint16_t lot = 0;
    size_t in_lot = ITEMS_PER_RECORD;
    b->round = ROUND_RECORDS;
    for (size_t i = 0; i < b->n; i++) {
        struct ask *k = &b->ask[i];
        if (k->problem) continue;
        if (!k->own_id && k->user_count == 1) {
            struct unpack u = unpack_of(k->users);
            uint16_t at = partition_of_user(r->who.app, unpack_bytes(&u), r->partitions);
            id_make(r, k, at, true);
            put(p, k, &direct[at], at, KIND_NOTIFY_COPY, 64);
            continue;
        }
        if (!k->own_id) {
            if (in_lot++ == ITEMS_PER_RECORD) {
                lot = (uint16_t)(r->tools->next_id % r->partitions);
                in_lot = 1;
            }
            id_make(r, k, lot, false);
        }
        uint16_t at = trigger_home(r->who.app, k->k.id, r->partitions);
        put(p, k, &home[at], at, KIND_NOTIFY, ITEMS_PER_RECORD);
    }
}

static void results_take(
    struct request *r, struct plan *p, struct batch *b, const struct answer *parts) {
    struct unpack *at = arena_alloc(r->arena, p->part_count * sizeof *at);
    for (size_t i = 0; i < p->part_count; i++) at[i] = unpack_of(buf_view(&parts[i].body));
    for (size_t i = 0; i < b->n; i++) {
        struct ask *k = &b->ask[i];
        if (k->problem) continue;
        if (parts[k->part].problem) {
            ask_refuse(k, r->arena, &parts[k->part]);
            continue;
        }
        k->problem = (enum problem)unpack_u8(&at[k->part]);
        k->field = arena_copy(r->arena, unpack_bytes(&at[k->part]));
        k->words = arena_copy(r->arena, unpack_bytes(&at[k->part]));
    }
}

/* ---- names of actors ---- */
static void query_names(struct query *q) {
    const struct batch *b = q->request->args;
    struct unpack u = unpack_of(b->wanted[q->part]);
    answer_ok(q->answer, 200);
    while (unpack_more(&u)) {
        struct person who;
        struct bytes id = unpack_bytes(&u);
        bool known = person_find(q->cells, q->request->who.app, id, &who);
        pack_bytes(&q->answer->body, known ? who.name : (struct bytes){0});
    }
}

static size_t actor_index(
    struct request *r, struct batch *b, uint32_t *slots, size_t mask, struct bytes id) {
    for (size_t h = hash64(id) & mask;; h = (h + 1) & mask) {
        if (slots[h] && bytes_eq(b->actors[slots[h] - 1].id, id)) return slots[h] - 1;
        if (slots[h]) continue;
        b->actors[b->actor_count] =
            (struct actor){.id = id, .partition = partition_of_user(r->who.app, id, r->partitions)};
        slots[h] = (uint32_t)++b->actor_count;
        return b->actor_count - 1;
    }
}

/* false: nobody acts. */
static bool names_plan(struct request *r, struct plan *p, struct batch *b) {
    size_t mask = 1;
    while (mask < 2 * b->n) mask *= 2;
    uint32_t *slots = arena_zero(r->arena, mask * sizeof *slots);
    b->actors = arena_alloc(r->arena, b->n * sizeof *b->actors);
    for (size_t i = 0; i < b->n; i++)
        if (!b->ask[i].problem && b->ask[i].k.actor.n)
            b->ask[i].actor = actor_index(r, b, slots, mask - 1, b->ask[i].k.actor);
    if (!b->actor_count) return false;
    struct target *target = arena_zero(r->arena, r->partitions * sizeof *target);
    struct buf *wanted = arena_zero(r->arena, r->partitions * sizeof *wanted);
    for (size_t i = 0; i < b->actor_count; i++) {
        struct actor *a = &b->actors[i];
        struct target *t = &target[a->partition];
        if (!t->there) {
            plan_part(p, a->partition)->query = query_names;
            *t = (struct target){p->part_count - 1, 0, true};
        }
        a->part = t->part;
        pack_bytes(&wanted[a->partition], a->id);
    }
    b->wanted = arena_alloc(r->arena, p->part_count * sizeof *b->wanted);
    for (uint16_t at = 0; at < r->partitions; at++) {
        if (target[at].there)
            b->wanted[target[at].part] = arena_copy(r->arena, buf_view(&wanted[at]));
        buf_done(&wanted[at]);
    }
    b->round = ROUND_NAMES;
    return true;
}

static void names_take(
    struct request *r, struct plan *p, struct batch *b, const struct answer *parts) {
    struct unpack *at = arena_alloc(r->arena, p->part_count * sizeof *at);
    for (size_t i = 0; i < p->part_count; i++) at[i] = unpack_of(buf_view(&parts[i].body));
    for (size_t i = 0; i < b->actor_count; i++)
        b->actors[i].name = arena_copy(r->arena, unpack_bytes(&at[b->actors[i].part]));
    for (size_t i = 0; i < b->n; i++) {
        struct ask *k = &b->ask[i];
        if (!k->problem && k->k.actor.n) k->k.actor_name = b->actors[k->actor].name;
    }
}

/* ---- how many ---- */
static void query_count(struct query *q) {
    const struct batch *b = q->request->args;
    answer_ok(q->answer, 200);
    pack_u64(&q->answer->body,
        mailbox_member_count(q->cells, q->request->who.app, b->ask[0].k.audience));
}

static void counts_plan(struct request *r, struct plan *p, struct batch *b) {
    b->round = ROUND_COUNTS;
    for (uint16_t at = 0; at < r->partitions; at++) plan_part(p, at)->query = query_count;
}

/* ---- the answer ---- */
static void problem_of(const struct ask *k, struct answer *a) {
    answer_problem(a, k->problem, "", "%.*s", (int)k->words.n, (const char *)k->words.p);
    snprintf(a->field, sizeof a->field, "%.*s", (int)k->field.n, (const char *)k->field.p);
    if (a->status == 503 || a->status == 429) a->retry_after_s = 1;
}

static void answer_single(const struct batch *b, struct answer *a) {
    const struct ask *k = &b->ask[0];
    if (k->problem) {
        problem_of(k, a);
        return;
    }
    answer_ok(a, 202);
    struct json_out o = {&a->body, false};
    jo_open_obj(&o);
    jo_key(&o, "id");
    jo_str(&o, k->k.id);
    jo_key(&o, "recipients");
    jo_u64(&o, k->k.audience.n ? b->estimate : k->user_count);
    jo_close_obj(&o);
}

static void answer_batch(const struct batch *b, struct answer *a) {
    answer_ok(a, 202);
    struct json_out o = {&a->body, false};
    buf_reserve(&a->body, b->n * 32);
    jo_open_obj(&o);
    jo_key(&o, "items");
    jo_open_arr(&o);
    for (size_t i = 0; i < b->n; i++) {
        struct answer one = {0};
        struct buf text = {0};
        if (b->ask[i].problem) {
            problem_of(&b->ask[i], &one);
            answer_problem_json(&one, &text);
            jo_raw(&o, buf_view(&text));
            buf_done(&text);
            continue;
        }
        jo_open_obj(&o);
        jo_key(&o, "id");
        jo_str(&o, b->ask[i].k.id);
        jo_close_obj(&o);
    }
    jo_close_arr(&o);
    jo_close_obj(&o);
}

/* An acknowledgement of MQTT says yes or no: no, when it is so of any item. */
static void answer_packet(const struct batch *b, struct answer *a) {
    answer_ok(a, 202);
    for (size_t i = 0; i < b->n && !a->problem; i++) {
        const struct ask *k = &b->ask[i];
        if (k->problem)
            answer_problem(a, k->problem, "", "item %zu of %zu: %.*s", i + 1, b->n, (int)k->words.n,
                (const char *)k->words.p);
    }
}

/* The key was given with something else before, of which this is no repetition. */
static bool key_conflicts(const struct batch *b) {
    for (size_t i = 0; i < b->n; i++)
        if (b->ask[i].of_key && b->ask[i].problem == PROBLEM_CONFLICT) return true;
    return false;
}

static void answer_make(const struct request *r, const struct batch *b, struct answer *a) {
    if (key_conflicts(b))
        answer_problem(a, PROBLEM_CONFLICT, "Idempotency-Key",
            "this key was given before, with a request that asked for something else");
    else if (b->single) answer_single(b, a);
    else if (r->method.n) answer_batch(b, a);
    else answer_packet(b, a);
}

static bool gather(
    struct request *r, struct plan *p, const struct answer *parts, struct answer *a) {
    struct batch *b = r->args;
    enum round round = b->round;
    if (round == ROUND_NAMES) names_take(r, p, b, parts);
    else if (round == ROUND_RECORDS) results_take(r, p, b, parts);
    else
        for (size_t i = 0; i < p->part_count; i++) {
            struct unpack u = unpack_of(buf_view(&parts[i].body));
            b->estimate += unpack_u64(&u);
        }
    plan_parts_reset(p);
    if (round == ROUND_NAMES) records_plan(r, p, b);
    else if (round == ROUND_RECORDS && b->single && b->ask[0].k.audience.n && !b->ask[0].problem)
        counts_plan(r, p, b);
    if (p->part_count) return true;
    answer_make(r, b, a);
    return false;
}

static enum err batch_plan(struct request *r, struct plan *p, struct batch *b, struct answer *a) {
    r->args = b;
    p->gather = gather;
    for (size_t i = 0; i < b->n && r->idempotency_key.n; i++)
        if (!b->ask[i].own_id) id_of_key(r, &b->ask[i], i);
    if (!names_plan(r, p, b)) records_plan(r, p, b);
    if (p->part_count) return OK;
    answer_make(r, b, a); /* every item was refused */
    return REFUSED;
}

static enum err plan_notify_batch(struct request *r, struct plan *p, struct answer *a);

static enum err plan_notify(struct request *r, struct plan *p, struct answer *a) {
    struct batch *b = arena_zero(r->arena, sizeof *b);
    b->ask = arena_zero(r->arena, sizeof *b->ask);
    b->n = 1;
    b->single = true;
    struct json items;
    if (!r->has_json)
        return answer_problem(a, PROBLEM_MALFORMED, "", "the body must be a JSON object"), REFUSED;
    /* over MQTT both have one topic */
    if (!r->method.n && json_get(r->json, "items", &items)) return plan_notify_batch(r, p, a);
    if (!ask_read(r, r->json, &b->ask[0], a)) return REFUSED;
    return batch_plan(r, p, b, a);
}

struct reading {
    struct request *r;
    struct batch *b;
};
static bool item_read(void *arg, struct bytes key, struct json item) {
    (void)key;
    struct reading *w = arg;
    struct answer a = {0};
    struct ask *k = &w->b->ask[w->b->n++];
    if (!ask_read(w->r, item, k, &a)) ask_refuse(k, w->r->arena, &a);
    return true;
}

static enum err plan_notify_batch(struct request *r, struct plan *p, struct answer *a) {
    static const struct json_field F[] = {{"items", JSON_ARRAY, true, false, 0}};
    struct json_value f;
    if (!request_object(r, F, 1, &f, a)) return REFUSED;
    size_t n = json_count(f.v);
    if (!n || n > BATCH_MAX)
        return answer_problem(a, n ? PROBLEM_TOO_LARGE : PROBLEM_INVALID_VALUE, "items",
                   "'items' takes 1 to %d triggers", BATCH_MAX),
               REFUSED;
    struct batch *b = arena_zero(r->arena, sizeof *b);
    b->ask = arena_zero(r->arena, n * sizeof *b->ask);
    struct reading w = {r, b};
    json_each(f.v, item_read, &w);
    return batch_plan(r, p, b, a);
}

static const struct route ROUTES[] = {
    {"POST", "/v1/notifications", SCOPE_WRITE, TOKEN_NEVER, SPECIAL_NONE, plan_notify, NULL},
    {"POST", "/v1/notifications/batch", SCOPE_WRITE, TOKEN_NEVER, SPECIAL_NONE, plan_notify_batch,
        NULL},
    {"DELETE", "/v1/notifications/{trigger}", SCOPE_WRITE, TOKEN_NEVER, SPECIAL_NONE, plan_cancel,
        NULL},
    {"GET", "/v1/notifications/{trigger}", SCOPE_READ | SCOPE_OPERATE, TOKEN_NEVER, SPECIAL_NONE,
        plan_totals, NULL},
    {"GET", "/v1/notifications/{trigger}/why/{user}", SCOPE_READ | SCOPE_OPERATE, TOKEN_NEVER,
        SPECIAL_NONE, plan_why, NULL},
};
const struct surface_part triggers_part = {NULL, 0, ROUTES, sizeof ROUTES / sizeof *ROUTES};
