/* shard: routes that no surface owns: health, metrics, the OpenAPI document, typing and presence.
 * SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <unistd.h>

#include "chat/chat.h"
#include "shard/shard_in.h"
#include "users/users.h"

static uint64_t resident_bytes(void) {
    unsigned long long pages = 0, rss = 0;
    FILE *f = fopen("/proc/self/statm", "re");
    if (f) {
        if (fscanf(f, "%llu %llu", &pages, &rss) != 2) rss = 0;
        fclose(f);
    }
    return rss * (uint64_t)sysconf(_SC_PAGESIZE);
}

static void metrics(struct shard *s, struct buf *b) {
    struct server *v = s->server;
    const struct measure *list[256];
    uint64_t open = 0, sessions = 0, delivered = 0, outbox = 0;
    counts_take(s);
    for (unsigned i = 0; i < v->shards; i++) {
        list[i] = &v->shard[i].measure;
        open += v->shard[i].gauges.connections;
        sessions += v->shard[i].gauges.sessions;
        delivered += v->shard[i].gauges.delivered;
        outbox += v->shard[i].gauges.relays;
    }
    measure_text(list, v->shards, b);
    measure_gauge(b, "connections", "Connections open now", open);
    measure_gauge(b, "sessions", "Sessions connected now", sessions);
    measure_gauge(
        b, "deliveries", "Entries written to devices and streams since the start", delivered);
    measure_gauge(b, "relays_waiting", "Relays not acknowledged by their destination yet", outbox);
    measure_gauge(
        b, "log_room_bytes", "Bytes that the log can still take", v->log->calls->room(v->log));
    measure_gauge(
        b, "tables_bytes", "Bytes of the tables on disk", v->store->calls->bytes_used(v->store));
    measure_gauge(b, "resident_bytes", "Resident memory of the process", resident_bytes());
    buf_str(b, "# EOF\n");
}

void special_answer(struct shard *s, struct job *j) {
    struct answer *a = &j->answer;
    answer_ok(a, 200);
    switch (j->route->special) {
    case SPECIAL_METRICS: metrics(s, &a->body); break;
    case SPECIAL_OPENAPI: buf_add(&a->body, OPENAPI, OPENAPI_SIZE); break;
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
    struct query q = {
        engine_cells(s->engine, j->plan.partition), j->plan.partition, &j->request, &j->answer};
    struct json_out o = {&j->answer.body, false};
    answer_ok(&j->answer, 200);
    jo_open_obj(&o);
    if (users_export(&q, &o) && chat_export(&q, &o)) jo_close_obj(&o);
}

void special_run(struct shard *s, struct job *j) {
    const struct request *r = &j->request;
    if (j->route->special == SPECIAL_EXPORT) return export(s, j);
    answer_ok(&j->answer, 204);
    if (j->route->special == SPECIAL_STREAM) stream_check(s, j);
    else if (j->route->special == SPECIAL_PRESENCE)
        live_presence(s, r->who.app, r->params[0], j->online);
    else if (!live_typing(s, r->who.app, r->who.user, r->params[0]))
        answer_problem(&j->answer, PROBLEM_NOT_FOUND, "", "there is no such conversation");
}
