/* core: jobs on their way: a request goes to the partition of who asks (may they?), to the
 * partition it concerns, and back to its connection.
 * Keeps: jobs from one shard to another stay in order. A job is owned by the shard that holds it.
 * SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>
#include <string.h>

#include "chat/chat.h"
#include "core/core.h"
#include "users/users.h"

#define POOL_MAX 1024
#define TAG_PARCEL 1u
#define TAG_NOTE 2u
#define TAGS 3u

struct job *job_make(struct shard *s, uint8_t from) {
    struct job *j = s->job_pool;
    if (j) {
        s->job_pool = j->next;
        s->job_pool_count--;
        struct arena arena = j->arena;
        memset(j, 0, sizeof *j);
        j->arena = arena;
    } else {
        j = must_alloc(sizeof *j);
    }
    j->from = from;
    j->came_ns = s->came_ns;
    j->origin = s->index;
    j->request.arena = &j->arena;
    j->request.tools = &s->tools;
    s->jobs_out++;
    return j;
}

void job_free(struct shard *s, struct job *j) {
    buf_done(&j->answer.body);
    plan_done(&j->plan);
    arena_reset(&j->arena);
    s->jobs_out--;
    if (s->job_pool_count < POOL_MAX) {
        j->next = s->job_pool;
        s->job_pool = j;
        s->job_pool_count++;
        return;
    }
    arena_done(&j->arena);
    free(j);
}

/* ---- between shards ---- */
static void queue_put(struct mail_queue *q, void *p) {
    if (q->count == q->cap) {
        size_t cap = q->cap ? q->cap * 2 : 64;
        void **items = must_alloc(cap * sizeof *items);
        for (size_t i = 0; i < q->count; i++) items[i] = q->items[(q->head + i) % q->cap];
        free(q->items);
        *q = (struct mail_queue){items, 0, q->count, cap};
    }
    q->items[(q->head + q->count++) % q->cap] = p;
}

/* In order: what a full ring did not take goes first. */
static void mail_send(struct shard *s, unsigned to, void *p) {
    struct mail_queue *q = &s->overflow[to];
    if (!q->count && ring_put(s->server->shard[to].inbox[s->index], p)) s->to_wake |= 1ull << to;
    else queue_put(q, p);
}

void job_send(struct shard *s, unsigned to, struct job *j) { mail_send(s, to, j); }
void note_send(struct shard *s, unsigned to, struct note *n) {
    mail_send(s, to, (void *)((uintptr_t)n | TAG_NOTE));
}

/* Once a turn: whoever is woken finds all of it. */
void shards_wake(struct shard *s) {
    for (; s->to_wake; s->to_wake &= s->to_wake - 1)
        loop_wake(s->server->shard[__builtin_ctzll(s->to_wake)].loop);
}

size_t jobs_waiting(const struct shard *s) {
    size_t most = 0;
    for (unsigned to = 0; to < s->server->shards; to++)
        if (s->overflow[to].count > most) most = s->overflow[to].count;
    return most;
}

bool job_flush_overflow(struct shard *s) {
    bool left = false;
    for (unsigned to = 0; to < s->server->shards; to++) {
        struct mail_queue *q = &s->overflow[to];
        while (q->count && ring_put(s->server->shard[to].inbox[s->index], q->items[q->head])) {
            q->head = (q->head + 1) % q->cap;
            q->count--;
            s->to_wake |= 1ull << to;
        }
        left |= q->count != 0;
    }
    return left;
}

bool engine_send(void *arg, unsigned lane, struct parcel *p) {
    struct shard *s = arg;
    if (!ring_put(s->server->shard[lane].inbox[s->index], (void *)((uintptr_t)p | TAG_PARCEL)))
        return false;
    s->to_wake |= 1ull << lane;
    return true;
}

void jobs_from_rings(struct shard *s) {
    for (unsigned from = 0; from < s->server->shards; from++) {
        if (from == s->index) continue;
        void *p;
        while ((p = ring_take(s->inbox[from]))) {
            uintptr_t tag = (uintptr_t)p & TAGS;
            void *untagged = (void *)((uintptr_t)p & ~(uintptr_t)TAGS);
            if (tag == TAG_PARCEL) engine_receive(s->engine, untagged);
            else if (tag == TAG_NOTE) note_take(s, untagged);
            else job_take(s, p);
        }
    }
}

void jobs_drop(struct shard *s) {
    for (unsigned from = 0; from < s->server->shards; from++) {
        void *p;
        while (s->inbox[from] && (p = ring_take(s->inbox[from])))
            if (((uintptr_t)p & TAGS) == TAG_NOTE) free((void *)((uintptr_t)p & ~(uintptr_t)TAGS));
        const struct mail_queue *q = &s->overflow[from];
        for (size_t i = 0; i < q->count; i++) {
            p = q->items[(q->head + i) % q->cap];
            if (((uintptr_t)p & TAGS) == TAG_NOTE) free((void *)((uintptr_t)p & ~(uintptr_t)TAGS));
        }
    }
}

static unsigned shard_of(const struct shard *s, uint16_t partition) {
    return partition % s->server->shards;
}

/* ---- tickets: who waits for a record's answer ---- */
static uint64_t ticket_make(struct shard *s, struct job *j) {
    if (!s->ticket_free) {
        uint32_t old = s->ticket_count, now = old ? old * 2 : 256;
        s->tickets = must_realloc(s->tickets, now * sizeof *s->tickets);
        for (uint32_t i = old; i < now; i++)
            s->tickets[i] = (struct ticket){.next_free = i + 1 < now ? i + 2 : 0};
        s->ticket_free = old + 1;
        s->ticket_count = now;
    }
    uint32_t i = s->ticket_free - 1;
    struct ticket *t = &s->tickets[i];
    s->ticket_free = t->next_free;
    t->job = j;
    t->generation = (t->generation + 1) & 0x7fffff;
    /* a PUBACK has no room for a body */
    return s->server->boot << 48 | (uint64_t)t->generation << 24 | i | 1ull << 63 |
           (j->from == JOB_MQTT ? TICKET_BRIEF : 0);
}

static struct job *ticket_take(struct shard *s, uint64_t ticket) {
    uint32_t i = ticket & 0xffffff, generation = (ticket >> 24) & 0x7fffff;
    if (((ticket >> 48) & 0x7fff) != (s->server->boot & 0x7fff) || i >= s->ticket_count)
        return NULL;
    struct ticket *t = &s->tickets[i];
    if (!t->job || t->generation != generation) return NULL;
    struct job *j = t->job;
    t->job = NULL;
    t->next_free = s->ticket_free;
    s->ticket_free = i + 1;
    return j;
}

static void job_answer(struct shard *s, struct job *j) {
    j->stage = STAGE_ANSWER;
    if (j->origin != s->index) job_send(s, j->origin, j);
    else job_take(s, j);
}

void engine_answered(void *arg, uint64_t ticket, struct answer *a) {
    struct shard *s = arg;
    struct job *j = ticket_take(s, ticket);
    if (!j) return; /* of a run before this one */
    j->answer = *a;
    a->body = (struct buf){0};
    job_answer(s, j);
}

void engine_delivered(void *arg, uint16_t partition, struct bytes app, const struct delivery *d) {
    struct shard *s = arg;
    if (d->kind == DELIVER_SEND) {
        sends_told(s, partition, d->body); /* of a replay too: what has ended is told apart later */
        return;
    }
    if (!s->recovered) deliver_replayed(s->deliver, partition, app, d);
    else if (!channels_delivered(s, partition, app, d))
        deliver_entry(s->deliver, partition, app, d);
}

void engine_user_ahead(void *arg, struct bytes app, struct bytes user, bool near) {
    deliver_ahead(((struct shard *)arg)->deliver, app, user, near);
}

enum err job_append_session(void *arg, uint16_t partition, uint8_t kind, struct bytes app,
    struct bytes body, uint64_t session, uint8_t purpose, uint32_t cookie) {
    struct shard *s = arg;
    uint64_t ticket = 0;
    struct job *j = NULL;
    if (purpose) {
        j = job_make(s, JOB_SESSION);
        j->session = session;
        j->purpose = purpose;
        j->cookie = cookie;
        ticket = ticket_make(s, j);
    }
    /* Opening too: on a full disk devices still come for what is stored. A filter is a new promise.
     * */
    bool must = kind != KIND_SESSION_FILTERS;
    struct outside record = {.partition = partition,
        .kind = kind,
        .app = app,
        .body = body,
        .time_ms = s->now_ms,
        .ticket = ticket,
        .must = must};
    enum err e = engine_append(s->engine, &record);
    if (e != OK && j) {
        ticket_take(s, ticket);
        job_free(s, j);
    }
    return e;
}

/* ---- plans in parts ---- */
/* The last part may be answered at once: then the job has gone on to its next parts, or is no more. */
static void parts_send(struct shard *s, struct job *j) {
    struct plan *p = &j->plan;
    size_t n = p->part_count;
    j->answers = must_alloc(n * sizeof *j->answers);
    j->waits_for = n;
    for (size_t i = 0; i < n; i++) {
        struct job *k = job_make(s, JOB_PART);
        k->parent = j;
        k->part = i;
        k->stage = STAGE_RUN;
        k->came_ns = j->came_ns;
        unsigned to = shard_of(s, p->parts[i].partition);
        if (to != s->index) job_send(s, to, k);
        else job_take(s, k);
    }
}

static void parts_begin(struct shard *s, struct job *j) {
    if (!j->plan.again_ms) {
        parts_send(s, j);
        return;
    }
    j->again_ms = s->mono_ms + j->plan.again_ms;
    j->plan.again_ms = 0;
    j->next = s->parked;
    s->parked = j;
}

void jobs_parked(struct shard *s) {
    struct job *due = NULL, **at = &s->parked;
    while (*at) {
        struct job *j = *at;
        if (j->again_ms > s->mono_ms) {
            at = &j->next;
            continue;
        }
        *at = j->next;
        j->next = due;
        due = j;
    }
    while (due) {
        struct job *j = due;
        due = j->next;
        parts_send(s, j);
    }
}

/* A part is back at the shard that sent it. */
static void part_answered(struct shard *s, struct job *k) {
    struct job *j = k->parent;
    j->answers[k->part] = k->answer;
    k->answer.body = (struct buf){0};
    job_free(s, k);
    if (--j->waits_for) return;
    size_t n = j->plan.part_count;
    struct answer *answers = j->answers;
    j->answers = NULL;
    j->request.tools = &s->tools;
    bool again = j->plan.gather(&j->request, &j->plan, answers, &j->answer);
    for (size_t i = 0; i < n; i++) buf_done(&answers[i].body);
    free(answers);
    if (again && j->plan.part_count) parts_begin(s, j);
    else job_answer(s, j);
}

/* ---- stages ---- */
static void run(struct shard *s, struct job *j) {
    struct job *whole = j->parent ? j->parent : j;
    const struct request *r = &whole->request;
    struct plan *p = &j->plan;
    if (j->route && j->route->special) {
        if (!s->server->above.special(s, j)) job_answer(s, j);
        return;
    }
    if (p->part_count) {
        parts_begin(s, j);
        return;
    }
    const struct plan_part own = {p->partition, p->kind, p->body, p->query};
    const struct plan_part *part = j->parent ? &whole->plan.parts[j->part] : &own;
    if (!part->kind) {
        struct query q = {engine_cells(s->engine, part->partition), part->partition, r, &j->answer,
            &s->tools, j->part};
        part->query(&q);
        job_answer(s, j);
        return;
    }
    struct outside record = {.partition = part->partition,
        .kind = part->kind,
        .app = r->who.app,
        .body = buf_view(&part->body),
        .time_ms = r->now_ms,
        .came_ns = j->came_ns,
        .ticket = ticket_make(s, j)};
    enum err e = engine_append(s->engine, &record);
    if (e == OK) return;
    ticket_take(s, record.ticket);
    if (e == LIMIT) {
        measure_add(&s->measure, COUNTER_limit_disk_full, 1);
        answer_problem(&j->answer, PROBLEM_DISK_FULL, "",
            "nothing was stored; free space on the data folder's disk and try again");
        j->answer.retry_after_s = 5;
    } else {
        measure_add(&s->measure, COUNTER_limit_log_queue, 1);
        s->log_full_ms = s->mono_ms;
        answer_problem(&j->answer, PROBLEM_OVERLOADED, "",
            "the log's queue is full; nothing was stored; try again");
        j->answer.retry_after_s = 1;
    }
    job_answer(s, j);
}

static void ask_viewer(struct shard *s, struct job *j) {
    struct request *r = &j->request;
    struct cells *c =
        engine_cells(s->engine, partition_of_user(r->who.app, r->who.user, s->server->partitions));
    users_viewer(c, &r->who, &r->viewer);
    r->viewer.blocks = arena_copy(&j->arena, r->viewer.blocks);
    if (!r->who.server && r->viewer.revoked) {
        answer_problem(
            &j->answer, PROBLEM_UNAUTHORIZED, "", "this token was revoked; ask for a new one");
        job_answer(s, j);
        return;
    }
    j->stage = STAGE_RUN;
    unsigned to = shard_of(s, j->plan.partition);
    if (to != s->index) job_send(s, to, j);
    else run(s, j);
}

static void live_local(struct shard *s, struct job *j);

void job_start(struct shard *s, struct job *j) {
    struct request *r = &j->request;
    if (j->plan.part_count) j->plan.partition = j->plan.parts[0].partition;
    uint16_t at = j->plan.partition;
    j->stage = STAGE_RUN;
    if (r->who.user.n && j->from == JOB_HTTP) {
        j->stage = STAGE_VIEWER;
        at = partition_of_user(r->who.app, r->who.user, s->server->partitions);
    }
    unsigned to = shard_of(s, at);
    if (to != s->index) job_send(s, to, j);
    else job_take(s, j);
}

void job_count(struct shard *s, const struct job *j) {
    if (j->route != s->server->message_route) return;
    if (j->answer.problem && j->answer.status >= 500)
        measure_add(&s->measure, COUNTER_messages_failed, 1);
    measure_add(
        &s->measure, j->answer.problem ? COUNTER_messages_refused : COUNTER_messages_accepted, 1);
}

static void answered_at_origin(struct shard *s, struct job *j) {
    if (j->from == JOB_PART) {
        part_answered(s, j);
        return;
    }
    job_count(s, j);
    if (j->from == JOB_SESSION) {
        deliver_answered(s->deliver, j->session, j->purpose, j->cookie, &j->answer);
    } else {
        if (j->route && j->route->finish && !j->answer.problem)
            j->route->finish(&j->request, s->server->admit, &j->answer);
        s->server->above.answered(s, j);
    }
    job_free(s, j);
}

void job_take(struct shard *s, struct job *j) {
    if (j->from == JOB_LIVE) {
        live_local(s, j);
        arena_done(&j->arena);
        free(j);
    } else if (j->from == JOB_MOVE) {
        struct conn *c = j->moving;
        arena_done(&j->arena);
        free(j);
        s->server->above.arrived(s, c);
    } else if (j->stage == STAGE_VIEWER) {
        ask_viewer(s, j);
    } else if (j->stage == STAGE_RUN) {
        run(s, j);
    } else {
        answered_at_origin(s, j);
    }
}

/* ---- live only: typing and presence ---- */
struct live_walk {
    struct shard *s;
    struct job *j;
    struct cells *cells;
};

static bool live_member(void *arg, struct bytes user) {
    struct live_walk *w = arg;
    const struct job *j = w->j;
    if (bytes_eq(user, j->user) || viewer_blocks(&j->request.viewer, user) ||
        mailbox_blocks(w->cells, j->app, user, j->user))
        return true;
    deliver_live(w->s->deliver, j->app, user, j->topic, j->payload);
    return true;
}

static void live_local(struct shard *s, struct job *j) {
    struct deliver_counts counts;
    if (!deliver_count(s->deliver, &counts)) return;
    struct live_walk w = {s, j, NULL};
    for (uint16_t p = 0; p < s->server->partitions; p++) {
        if (shard_of(s, p) != s->index) continue;
        w.cells = engine_cells(s->engine, p);
        chat_local_members(w.cells, j->app, j->conversation, live_member, &w);
    }
}

/* Neither those whom the user blocks nor those who block the user hear of it: the first are known
 * here, the second where they live. */
static void live_send(struct shard *s, struct bytes app, struct bytes user,
    struct bytes conversation, struct bytes topic, struct bytes payload) {
    struct bytes blocks = mailbox_block_list(
        engine_cells(s->engine, partition_of_user(app, user, s->server->partitions)), app, user);
    for (unsigned to = 0; to < s->server->shards; to++) {
        struct job *j = must_alloc(sizeof *j);
        j->from = JOB_LIVE;
        j->app = arena_copy(&j->arena, app);
        j->user = arena_copy(&j->arena, user);
        j->conversation = arena_copy(&j->arena, conversation);
        j->topic = arena_copy(&j->arena, topic);
        j->payload = arena_copy(&j->arena, payload);
        j->request.viewer.blocks = arena_copy(&j->arena, blocks);
        if (to == s->index) job_take(s, j);
        else job_send(s, to, j);
    }
}

/* The caller's shard has the user's partition, or asks for membership elsewhere first. false: not a
 * member. */
bool live_typing(struct shard *s, struct bytes app, struct bytes user, struct bytes conversation) {
    struct cells *c = engine_cells(s->engine, partition_of_user(app, user, s->server->partitions));
    if (!chat_is_member(c, app, user, conversation)) return false;
    struct buf topic = {0}, payload = {0};
    buf_fmt(&topic, "conversations/%.*s/typing", (int)conversation.n, (const char *)conversation.p);
    buf_fmt(&payload, "{\"from\":\"%.*s\"}", (int)user.n, (const char *)user.p);
    live_send(s, app, user, conversation, buf_view(&topic), buf_view(&payload));
    buf_done(&topic);
    buf_done(&payload);
    return true;
}

struct presence {
    struct shard *s;
    struct bytes app, user;
    struct buf topic, payload;
};

static bool presence_in(void *arg, struct bytes conversation) {
    struct presence *p = arg;
    live_send(p->s, p->app, p->user, conversation, buf_view(&p->topic), buf_view(&p->payload));
    return true;
}

/* Seen by those who share a conversation; who shares several may hear it several times. */
bool live_presence(struct shard *s, struct bytes app, struct bytes user, bool online) {
    struct presence p = {.s = s, .app = app, .user = user};
    buf_fmt(&p.topic, "users/%.*s/presence", (int)user.n, (const char *)user.p);
    buf_fmt(&p.payload, "{\"online\":%s}", online ? "true" : "false");
    chat_conversations_of(
        engine_cells(s->engine, partition_of_user(app, user, s->server->partitions)), app, user,
        presence_in, &p);
    buf_done(&p.topic);
    buf_done(&p.payload);
    return true;
}
