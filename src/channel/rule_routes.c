/* channel: the access list of an app as records and routes. Pure.
 *
 * Bodies: RULE_PUT varbytes id, u8 set (1 topic, 2 publish, 4 subscribe), varbytes topic, u8 who,
 *                  varbytes users, u8 who, varbytes users
 *         RULE_DELETE varbytes id
 * SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "channel/channel_in.h"

enum { SET_TOPIC = 1, SET_PUBLISH = 2, SET_SUBSCRIBE = 4 };

static struct cell *rules_cell(struct cells *c, struct bytes app) {
    uint8_t room[300];
    return cells_get(c, key2(room, '7', app, (struct bytes){0}));
}
static struct bytes view_of(const struct cell *c) { return bytes_of(c->data, c->size); }

/* ---- apply ---- */
/* Copies all other rules to *b; the one with the id to *out. Gives how many there are besides. */
static size_t rules_without(
    struct bytes all, struct bytes id, struct buf *b, struct rule *out, bool *found) {
    struct unpack u = unpack_of(all);
    size_t n = 0;
    *found = false;
    while (unpack_more(&u)) {
        struct rule r;
        check(rule_unpack(&u, &r));
        if (bytes_eq(r.id, id)) {
            *out = r;
            *found = true;
            continue;
        }
        rule_pack(b, &r);
        n++;
    }
    return n;
}

static void rules_store(struct step *s, struct bytes packed) {
    cells_put(s->cells, rules_cell(s->cells, s->app), packed);
    struct delivery d = {.kind = DELIVER_RULES, .body = packed};
    step_deliver(s, &d);
}

static void who_json(
    struct json_out *o, const char *key, const struct rule *r, enum channel_act act) {
    jo_key(o, key);
    if (r->who[act] != WHO_LISTED) {
        jo_bool(o, r->who[act] == WHO_ALL);
        return;
    }
    jo_open_arr(o);
    for (struct unpack u = unpack_of(r->users[act]); unpack_more(&u);) jo_str(o, unpack_bytes(&u));
    jo_close_arr(o);
}

static void rule_json(struct json_out *o, const struct rule *r) {
    jo_open_obj(o);
    jo_key(o, "id");
    jo_str(o, r->id);
    jo_key(o, "topic");
    jo_str(o, r->topic);
    who_json(o, "publish", r, CHANNEL_PUBLISH);
    who_json(o, "subscribe", r, CHANNEL_SUBSCRIBE);
    jo_close_obj(o);
}

void apply_rule_put(struct step *s) {
    struct unpack u = unpack_of(s->body);
    struct rule given = {.id = unpack_bytes(&u)}, r = {0};
    uint8_t set = unpack_u8(&u);
    given.topic = unpack_bytes(&u);
    for (int act = 0; act < 2; act++) {
        given.who[act] = unpack_u8(&u);
        given.users[act] = unpack_bytes(&u);
    }
    check(!u.bad);
    struct buf b = {0};
    bool found;
    struct bytes all = arena_copy(s->arena, view_of(rules_cell(s->cells, s->app)));
    size_t n = rules_without(all, given.id, &b, &r, &found);
    r.id = given.id;
    if (set & SET_TOPIC) r.topic = given.topic;
    for (int act = 0; act < 2; act++)
        if (set & (SET_PUBLISH << act)) {
            r.who[act] = given.who[act];
            r.users[act] = given.users[act];
        }
    if (!r.topic.n) {
        answer_problem(s->answer, PROBLEM_INVALID_VALUE, "topic",
            "a rule needs a topic: a filter such as news/# or rooms/{user}/+");
    } else if (n >= CHANNEL_RULES_MAX) {
        answer_problem(s->answer, PROBLEM_LIMIT_REACHED, "", "an app has at most %d channel rules",
            CHANNEL_RULES_MAX);
    } else {
        rule_pack(&b, &r);
        rules_store(s, buf_view(&b));
        answer_ok(s->answer, found ? 200 : 201);
        struct json_out o = {&s->answer->body, false};
        if (s->wanted) rule_json(&o, &r);
    }
    buf_done(&b);
}

void apply_rule_delete(struct step *s) {
    struct unpack u = unpack_of(s->body);
    struct buf b = {0};
    struct rule r;
    bool found;
    struct bytes all = arena_copy(s->arena, view_of(rules_cell(s->cells, s->app)));
    rules_without(all, unpack_bytes(&u), &b, &r, &found);
    if (found) rules_store(s, buf_view(&b));
    buf_done(&b);
    answer_ok(s->answer, 204);
}

/* ---- routes ---- */
static uint16_t home(const struct request *r) {
    return partition_of_conversation(r->who.app, BYTES("channel-rules"), r->partitions);
}

enum err plan_rule_put(struct request *r, struct plan *p, struct answer *a) {
    static const struct json_field F[] = {{"topic", JSON_STRING, false, false, CHANNEL_TOPIC_MAX},
        {"publish", JSON_ANY, false, true, 16384}, {"subscribe", JSON_ANY, false, true, 16384}};
    static const char *const NAMES[] = {"publish", "subscribe"};
    struct json_value f[3];
    struct rule rule = {.id = r->params[0]};
    struct buf users[2] = {{0}};
    if (!request_object(r, F, 3, f, a)) return REFUSED;
    if (f[0].present) rule.topic = json_string(f[0].v);
    enum err e = OK;
    if (f[0].present && !rule_topic_valid(rule.topic)) {
        answer_problem(a, PROBLEM_INVALID_VALUE, "topic",
            "'topic' must be a filter of plain channels: not of users/, conversations/, "
            "notifications or $; {user} and {device} may stand for a level");
        e = REFUSED;
    }
    for (int act = 0; act < 2 && e == OK; act++) {
        if (f[act + 1].present && !f[act + 1].is_null &&
            !rule_who_read(f[act + 1].v, NAMES[act], &rule, (enum channel_act)act, &users[act], a))
            e = REFUSED;
        rule.users[act] = buf_view(&users[act]);
    }
    if (e == OK) {
        p->partition = home(r);
        p->kind = KIND_CHANNEL_RULE_PUT;
        pack_bytes(&p->body, rule.id);
        pack_u8(
            &p->body, (uint8_t)((f[0].present ? SET_TOPIC : 0) | (f[1].present ? SET_PUBLISH : 0) |
                                (f[2].present ? SET_SUBSCRIBE : 0)));
        pack_bytes(&p->body, rule.topic);
        for (int act = 0; act < 2; act++) {
            pack_u8(&p->body, rule.who[act]);
            pack_bytes(&p->body, rule.users[act]);
        }
    }
    buf_done(&users[0]);
    buf_done(&users[1]);
    return e;
}

enum err plan_rule_delete(struct request *r, struct plan *p, struct answer *a) {
    p->partition = home(r);
    p->kind = KIND_CHANNEL_RULE_DELETE;
    pack_bytes(&p->body, r->params[0]);
    return OK;
}

static void query_rule(struct query *q) {
    struct unpack u = unpack_of(view_of(rules_cell(q->cells, q->request->who.app)));
    struct rule r;
    while (unpack_more(&u)) {
        check(rule_unpack(&u, &r));
        if (!bytes_eq(r.id, q->request->params[0])) continue;
        struct json_out o = {&q->answer->body, false};
        answer_ok(q->answer, 200);
        rule_json(&o, &r);
        return;
    }
    answer_problem(q->answer, PROBLEM_NOT_FOUND, "", "there is no channel rule of this id");
}

enum err plan_rule_get(struct request *r, struct plan *p, struct answer *a) {
    p->partition = home(r);
    p->query = query_rule;
    return OK;
}

/* All of them: there are at most CHANNEL_RULES_MAX, so that a page holds them. */
static void query_rules(struct query *q) {
    struct unpack u = unpack_of(view_of(rules_cell(q->cells, q->request->who.app)));
    struct json_out o = {&q->answer->body, false};
    struct rule r;
    answer_ok(q->answer, 200);
    jo_open_obj(&o);
    jo_key(&o, "items");
    jo_open_arr(&o);
    while (unpack_more(&u)) {
        check(rule_unpack(&u, &r));
        rule_json(&o, &r);
    }
    jo_close_arr(&o);
    jo_key(&o, "next");
    jo_null(&o);
    jo_close_obj(&o);
}

enum err plan_rule_list(struct request *r, struct plan *p, struct answer *a) {
    unsigned limit;
    if (!request_limit(r, a, &limit)) return REFUSED;
    p->partition = home(r);
    p->query = query_rules;
    return OK;
}
