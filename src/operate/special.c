/* operate: routes that no surface owns: health, the OpenAPI document, typing and presence.
 * SPDX-License-Identifier: Apache-2.0 */
#include "chat/chat.h"
#include "notify/notify.h"
#include "operate/operate.h"
#include "send/send.h"
#include "users/users.h"

/* What a page subscribes to Web Push with. */
static void push_key(const struct shard *s, struct answer *a) {
    struct bytes key = send_webpush_key(s->server->sender);
    struct json_out o = {&a->body, false};
    if (!key.n) {
        answer_problem(a, PROBLEM_NOT_FOUND, "", "this server sends no Web Push");
        return;
    }
    jo_open_obj(&o);
    jo_key(&o, "webpush");
    jo_str(&o, key);
    jo_close_obj(&o);
}

void special_answer(struct shard *s, struct job *j) {
    struct answer *a = &j->answer;
    answer_ok(a, 200);
    switch (j->route->special) {
    case SPECIAL_METRICS: metrics_answer(s, j->open_metrics, &a->body); break;
    case SPECIAL_DOCTOR:
    case SPECIAL_SLOW: health_answer(s, j); break;
    case SPECIAL_OPENAPI: buf_add(&a->body, OPENAPI, OPENAPI_SIZE); break;
    case SPECIAL_FLOW: flow_json(s, j); break;
    case SPECIAL_PUSH_KEY: push_key(s, a); break;
    case SPECIAL_READY:
        if (s->draining) {
            answer_problem(a, PROBLEM_DRAINING, "", "this server is shutting down");
            a->retry_after_s = DRAIN_RETRY_S;
        } else buf_str(&a->body, "{\"status\":\"ready\"}");
        break;
    default: buf_str(&a->body, "{\"status\":\"ok\"}"); break;
    }
}

/* The connection becomes the stream when this answer is back, unless what it would begin with is
 * gone. */
static void stream_check(struct shard *s, struct job *j) {
    const struct request *r = &j->request;
    struct cells *c = engine_cells(s->engine, j->plan.partition);
    if (j->stream_after != UINT64_MAX && j->stream_after &&
        j->stream_after + 1 < mailbox_first_kept(c, r->who.app, r->params[0]))
        answer_problem(&j->answer, PROBLEM_GONE, "Last-Event-ID",
            "what came after this event is past retention; begin without it");
}

/* All that is held of a user, as each room tells it. */
static void export(struct shard *s, struct job *j) {
    struct query q = {engine_cells(s->engine, j->plan.partition), j->plan.partition, &j->request,
        &j->answer, &s->tools, 0};
    struct json_out o = {&j->answer.body, false};
    answer_ok(&j->answer, 200);
    jo_open_obj(&o);
    if (users_export(&q, &o) && notify_export(&q, &o) && chat_export(&q, &o)) jo_close_obj(&o);
}

bool special_run(struct shard *s, struct job *j) {
    const struct request *r = &j->request;
    if (j->route->special == SPECIAL_SESSIONS) return sessions_list(s, j);
    if (j->route->special == SPECIAL_JOURNEY) return journey_look(s, j);
    if (j->route->special == SPECIAL_EXPORT) return export(s, j), false;
    if (j->route->special == SPECIAL_USER_SESSIONS) return sessions_of_user(s, j), false;
    answer_ok(&j->answer, 204);
    if (j->route->special == SPECIAL_STREAM) stream_check(s, j);
    else if (j->route->special == SPECIAL_PRESENCE)
        live_presence(s, r->who.app, r->params[0], j->online);
    else if (!live_typing(s, r->who.app, r->who.user, r->params[0]))
        answer_problem(&j->answer, PROBLEM_NOT_FOUND, "", "there is no such conversation");
    return false;
}
