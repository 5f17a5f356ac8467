/* operate: sessions for operators. All of an app: each shard adds its own to the answer, and passes it
 * on. Of one user: how far each device is in their mailbox, connected or not.
 *
 *   cursor: <shard>.<slot>, the next to look at
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>

#include "chat/chat.h"

#include "operate/operate.h"

struct listing {
    struct job *job;
    unsigned limit;
    bool full;
    uint32_t next; /* slot to go on from, when full */
};

static bool cursor_take(const struct shard *s, struct job *j) {
    struct bytes v = request_query(&j->request, "cursor");
    uint64_t part[2] = {0, 0};
    size_t n = 0;
    bool good = true;
    for (size_t i = 0; i < v.n && good; i++) {
        if (v.p[i] == '.') good = ++n == 1;
        else good = v.p[i] >= '0' && v.p[i] <= '9' && part[n] < UINT32_MAX / 10;
        if (good && v.p[i] != '.') part[n] = part[n] * 10 + (uint64_t)(v.p[i] - '0');
    }
    if (!good || (v.n && n != 1) || part[0] >= s->server->shards)
        return cursor_good(MALFORMED, &j->answer);
    j->plan.partition = (uint16_t)part[0];
    j->cookie = (uint32_t)part[1];
    return true;
}

bool sessions_plan(struct shard *s, struct job *j) {
    unsigned limit;
    if (!request_limit(&j->request, &j->answer, &limit) || !cursor_take(s, j)) return false;
    j->slot = limit;
    answer_ok(&j->answer, 200);
    buf_str(&j->answer.body, "{\"items\":[");
    return true;
}

static bool list_one(void *arg, uint32_t slot, const struct session_view *v) {
    struct listing *l = arg;
    struct buf *b = &l->job->answer.body;
    if (!bytes_eq(v->app, l->job->request.who.app)) return true;
    if (!l->limit) {
        l->full = true;
        l->next = slot;
        return false;
    }
    l->limit--;
    struct json_out o = {b, b->p[b->n - 1] != '['};
    jo_open_obj(&o);
    if (v->user.n) {
        jo_key(&o, "user");
        jo_str(&o, v->user);
    }
    jo_key(&o, "device");
    jo_str(&o, v->device);
    jo_key(&o, "protocol");
    jo_str(&o, bytes_str(v->kind == SESSION_STREAM ? "sse" : v->version == 5 ? "mqtt5" : "mqtt3"));
    jo_key(&o, "kept");
    jo_bool(&o, v->kept);
    if (v->kept) {
        jo_key(&o, "expires_after");
        jo_u64(&o, v->expiry_s);
    }
    jo_key(&o, "subscriptions");
    jo_u64(&o, v->filters);
    jo_key(&o, "unacknowledged");
    jo_u64(&o, v->unacknowledged);
    jo_close_obj(&o);
    return true;
}

/* true: passed on to the next shard. */
bool sessions_list(struct shard *s, struct job *j) {
    struct listing l = {.job = j, .limit = j->slot};
    deliver_list(s->deliver, j->cookie, list_one, &l);
    j->slot = l.limit;
    if (!l.full && s->index + 1 < s->server->shards) {
        j->cookie = 0;
        job_send(s, s->index + 1, j);
        return true;
    }
    if (l.full) buf_fmt(&j->answer.body, "],\"next\":\"%u.%u\"}", s->index, l.next);
    else buf_str(&j->answer.body, "],\"next\":null}");
    return false;
}

/* ---- of one user ---- */
enum { WAITING_MAX = 1000 }; /* entries are counted up to here */

struct states {
    struct shard *shard;
    const struct job *job;
    struct json_out *out;
};

static bool count_entry(void *arg, const struct entry *e) {
    (void)arg;
    (void)e;
    return true;
}

static bool state_one(void *arg, const struct session_state *v) {
    struct states *l = arg;
    const struct request *r = &l->job->request;
    struct cells *c = engine_cells(l->shard->engine, l->job->plan.partition);
    struct json_out *o = l->out;
    struct buf cursor = {0};
    size_t waiting =
        mailbox_walk(c, r->who.app, r->params[0], v->acked, WAITING_MAX, count_entry, NULL);
    cursor_format(&cursor, r->epoch, v->acked);
    jo_open_obj(o);
    jo_key(o, "device");
    jo_str(o, v->device);
    jo_key(o, "connected");
    jo_bool(o, v->connected);
    if (v->connected) {
        jo_key(o, "protocol");
        jo_str(o, bytes_str(v->kind == SESSION_STREAM ? "sse"
                            : v->version == 5         ? "mqtt5"
                                                      : "mqtt3"));
    } else if (v->left_ms) {
        jo_key(o, "left_at");
        jo_time(o, v->left_ms);
    }
    jo_key(o, "kept");
    jo_bool(o, v->kept);
    if (v->kept) {
        jo_key(o, "expires_after");
        jo_u64(o, v->expiry_s);
    }
    jo_key(o, "subscriptions");
    jo_u64(o, v->filters);
    jo_key(o, "unacknowledged");
    jo_u64(o, v->unacknowledged);
    jo_key(o, "sent");
    jo_u64(o, v->sent);
    jo_key(o, "acknowledged");
    jo_u64(o, v->acked);
    jo_key(o, "cursor");
    jo_str(o, buf_view(&cursor));
    jo_key(o, "waiting");
    jo_u64(o, waiting);
    jo_close_obj(o);
    buf_done(&cursor);
    return true;
}

void sessions_of_user(struct shard *s, struct job *j) {
    const struct request *r = &j->request;
    struct bytes app = r->who.app, user = r->params[0];
    struct cells *c = engine_cells(s->engine, j->plan.partition);
    struct json_out o = {&j->answer.body, false};
    if (!mailbox_known(c, app, user)) {
        answer_problem(&j->answer, PROBLEM_NOT_FOUND, "", "there is no such user");
        return;
    }
    answer_ok(&j->answer, 200);
    jo_open_obj(&o);
    jo_key(&o, "user");
    jo_str(&o, user);
    jo_key(&o, "mailbox");
    jo_open_obj(&o);
    jo_key(&o, "partition");
    jo_u64(&o, j->plan.partition);
    jo_key(&o, "first_kept");
    jo_u64(&o, mailbox_first_kept(c, app, user));
    jo_key(&o, "last");
    jo_u64(&o, mailbox_last(c, app, user));
    jo_close_obj(&o);
    jo_key(&o, "items");
    jo_open_arr(&o);
    struct states l = {s, j, &o};
    deliver_user(s->deliver, app, user, j->plan.partition, state_one, &l);
    jo_close_arr(&o);
    jo_close_obj(&o);
}
