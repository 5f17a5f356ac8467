/* operate: where is my message: GET /v1/items/{id}/journey, for operators. The job goes to the
 * conversation's shard (who sent it, who is to get it, who said that they have), then from shard to
 * shard (each adds the devices of its members), and back. Times come from the journeys that all
 * shards keep (measure/journey.h); where they are not kept any more, what is stored still says who
 * has it. Shows no content.
 *
 * Keeps: nothing of another app is found.
 * SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "chat/chat.h"
#include "operate/operate.h"

enum {
    HOPS = 128,
    SEARCH_MOST = 4096 /* conversations: some 10 ms of the shards in all */
};
struct looked { /* of a member */
    const char *state, *held;
    bool has_hop;
    uint64_t position; /* of the entry in their mailbox; 0: not known */
    struct buf devices;
};
struct journey_args {
    struct bytes conversation;
    struct journey hops[HOPS]; /* the newest first, as they were kept */
    size_t hop_count;
    struct trail trail;
    struct looked *looked; /* [trail.member_count] */
    bool trailed;
    bool searching;     /* the conversation is not known: partition by partition */
    size_t search_most; /* conversations that may still be looked at */
};

/* ---- at the origin: what is kept, and which conversation it is in ---- */
static void hops_take(struct shard *s, struct job *j, struct journey_args *a) {
    const struct server *v = s->server;
    for (unsigned i = 0; i < v->shards && a->hop_count < HOPS; i++)
        if (v->shard[i].journeys)
            a->hop_count += journeys_find(v->shard[i].journeys, j->request.who.app,
                j->request.params[0], a->hops + a->hop_count, HOPS - a->hop_count);
}

static bool conversation_take(struct shard *s, struct job *j, struct journey_args *a) {
    const struct server *v = s->server;
    char name[JOURNEY_NAME_MAX + 1] = "";
    a->conversation = request_query(&j->request, "conversation");
    for (unsigned i = 0; i < v->shards && !a->conversation.n; i++)
        if (v->shard[i].journeys &&
            journeys_place(v->shard[i].journeys, j->request.who.app, j->request.params[0], name))
            a->conversation = arena_copy(&j->arena, bytes_str(name));
    if (!a->conversation.n) {
        a->searching = true;
        a->search_most = SEARCH_MOST;
        return true;
    }
    if (id_valid(a->conversation)) return true;
    answer_problem(&j->answer, PROBLEM_INVALID_VALUE, "conversation",
        "'conversation' must be an id: 1 to 64 of A-Z a-z 0-9 _ . : -");
    return false;
}

bool journey_plan(struct shard *s, struct job *j) {
    struct journey_args *a = arena_alloc(&j->arena, sizeof *a);
    memset(a, 0, sizeof *a);
    j->request.args = a;
    if (!conversation_take(s, j, a)) return false;
    hops_take(s, j, a);
    j->plan.partition = a->searching ? 0
                                     : partition_of_conversation(j->request.who.app,
                                           a->conversation, s->server->partitions);
    return true;
}

/* One partition's conversations; false: it is in none of all, or too many would have to be asked. */
static bool search(struct shard *s, struct job *j, struct journey_args *a) {
    a->conversation = chat_find_item(engine_cells(s->engine, j->plan.partition), j->request.who.app,
        j->request.params[0], &j->arena, &a->search_most);
    a->searching = !a->conversation.n;
    if (!a->searching) return true;
    if (++j->plan.partition < s->server->partitions && a->search_most) return true;
    answer_problem(&j->answer, PROBLEM_NOT_FOUND, "conversation",
        a->search_most ? "there is no item '%.*s'"
                       : "no item '%.*s' came lately, and there are too many conversations to look "
                         "through: name it, ?conversation=ID",
        (int)j->request.params[0].n, (const char *)j->request.params[0].p);
    return false;
}

/* The record of the sender has no source; a member's partition has a relay of it. The oldest: a repetition
 * comes later. What nobody waits for (telling who is away) is of the same item, and no part of its way. */
static const struct journey *hop_of(
    const struct journey_args *a, bool outside, uint16_t partition) {
    const struct journey *oldest = NULL;
    for (size_t i = 0; i < a->hop_count; i++) {
        const struct journey *h = &a->hops[i];
        if (h->began_ns && (h->source == UINT16_MAX) == outside &&
            (outside || h->partition == partition) && (!oldest || h->came_ns < oldest->came_ns) &&
            bytes_eq(bytes_str(h->conversation), a->conversation))
            oldest = h;
    }
    return oldest;
}

/* ---- at each shard: the devices of its members ---- */
struct devices {
    struct shard *shard;
    struct journey_args *args;
    struct looked *looked;
    struct bytes app, user;
    uint16_t partition;
    const struct journey *hop;
    struct journey_device kept[JOURNEY_DEVICES];
    size_t kept_count;
    struct json_out out;
};

static void millis(struct json_out *o, const char *key, int64_t ns) {
    jo_key(o, key);
    buf_fmt(o->b, "%lld.%03lld", (long long)(ns / 1000000), (long long)(ns / 1000 % 1000));
    o->comma = true;
}

static const struct journey_device *kept_device(const struct devices *w, struct bytes device) {
    for (size_t i = 0; i < w->kept_count; i++)
        if (bytes_eq(bytes_str(w->kept[i].device), device) &&
            bytes_eq(bytes_str(w->kept[i].user), w->user))
            return &w->kept[i];
    return NULL;
}

/* An entry that does not lie behind a device's cursor is one that it has. */
static const char *device_state(const struct devices *w, const struct session_state *v) {
    uint64_t at = w->looked->position;
    if (!at)
        at = chat_entry_position(engine_cells(w->shard->engine, w->partition), w->app, w->user,
            w->args->conversation, w->args->trail.seq, v->acked);
    if (!at || at <= v->acked) return "acknowledged";
    if (!v->connected) return "offline";
    return at <= v->sent ? "sent" : "waiting";
}

static int rank(const char *state) {
    static const char *const ORDER[] = {"offline", "waiting", "sent", "acknowledged"};
    for (int i = 0; i < 4; i++)
        if (state && strcmp(state, ORDER[i]) == 0) return i;
    return -1;
}

static bool device_add(void *arg, const struct session_state *v) {
    struct devices *w = arg;
    struct json_out *o = &w->out;
    const char *state = device_state(w, v);
    const struct journey_device *kept = kept_device(w, v->device);
    if (rank(state) > rank(w->looked->state)) w->looked->state = state;
    jo_open_obj(o);
    jo_key(o, "device");
    jo_str(o, v->device);
    jo_key(o, "state");
    jo_str(o, bytes_str(state));
    jo_key(o, "connected");
    jo_bool(o, v->connected);
    if (kept && w->hop) {
        millis(o, "written_after_ms", kept->written_ns - w->hop->began_ns);
        if (kept->acked_ns) millis(o, "acked_after_ms", kept->acked_ns - w->hop->began_ns);
    }
    jo_close_obj(o);
    return true;
}

static void member_look(struct shard *s, struct job *j, struct journey_args *a, size_t i) {
    const struct trail_member *m = &a->trail.member[i];
    struct bytes app = j->request.who.app;
    uint16_t partition = partition_of_user(app, m->user, s->server->partitions);
    if (partition % s->server->shards != s->index) return;
    struct looked *l = &a->looked[i];
    struct devices w = {.shard = s,
        .args = a,
        .looked = l,
        .app = app,
        .user = m->user,
        .partition = partition,
        .hop = hop_of(a, false, partition),
        .out = {&l->devices, false}};
    l->held = chat_held(engine_cells(s->engine, partition), app, m->user, a->conversation,
        a->trail.from, a->trail.seq);
    if (w.hop) {
        l->has_hop = true;
        l->position = w.hop->position;
        w.kept_count = journeys_devices(
            s->journeys, partition, l->position, w.kept, sizeof w.kept / sizeof *w.kept);
    }
    jo_open_arr(&w.out);
    deliver_user(s->deliver, app, m->user, partition, device_add, &w);
    jo_close_arr(&w.out);
    if (l->held) l->state = "held";
    else if (m->read) l->state = "read";
    else if (m->delivered) l->state = "acknowledged";
    else if (!l->state) l->state = "offline";
}

/* ---- the answer ---- */
static void stage(struct json_out *o, const char *name, const struct journey *first, int64_t at_ns,
    bool with_time) {
    if (!at_ns) return;
    jo_open_obj(o);
    jo_key(o, "stage");
    jo_str(o, bytes_str(name));
    if (with_time) {
        jo_key(o, "at");
        jo_time(o, first->wall_ms + (at_ns - first->began_ns) / 1000000);
    }
    millis(o, "after_ms", at_ns - first->began_ns);
    jo_close_obj(o);
}

static void stages(struct json_out *o, const struct journey *h, const char *first) {
    jo_key(o, "stages");
    jo_open_arr(o);
    if (h) {
        bool timed = h->source == UINT16_MAX; /* a relay's own time is not its sender's */
        stage(o, first, h, h->came_ns, timed);
        stage(o, "appended", h, h->appended_ns, timed);
        stage(o, "durable", h, h->durable_ns, timed);
        stage(o, "applied", h, h->applied_ns, timed);
        stage(o, "written", h, h->written_ns, timed);
    }
    jo_close_arr(o);
}

static void member_tell(
    const struct shard *s, struct job *j, struct journey_args *a, size_t i, struct json_out *o) {
    const struct trail_member *m = &a->trail.member[i];
    struct looked *l = &a->looked[i];
    uint16_t at = partition_of_user(j->request.who.app, m->user, s->server->partitions);
    jo_open_obj(o);
    jo_key(o, "user");
    jo_str(o, m->user);
    jo_key(o, "state");
    jo_str(o, bytes_str(l->state));
    jo_key(o, "held");
    if (l->held) jo_str(o, bytes_str(l->held));
    else jo_null(o);
    stages(o, l->held ? NULL : hop_of(a, false, at), "relayed");
    jo_key(o, "devices");
    jo_raw(o, l->devices.n ? buf_view(&l->devices) : BYTES("[]"));
    jo_close_obj(o);
    buf_done(&l->devices);
}

static void answer_make(struct shard *s, struct job *j, struct journey_args *a) {
    struct json_out o = {&j->answer.body, false};
    const struct trail *t = &a->trail;
    bool slow = false;
    for (size_t i = 0; i < a->hop_count; i++) slow |= a->hops[i].slow;
    answer_ok(&j->answer, 200);
    jo_open_obj(&o);
    jo_key(&o, "id");
    jo_str(&o, j->request.params[0]);
    jo_key(&o, "type");
    jo_str(&o, BYTES("message"));
    jo_key(&o, "conversation");
    jo_str(&o, a->conversation);
    jo_key(&o, "conversation_type");
    jo_str(&o, bytes_str(t->type));
    jo_key(&o, "seq");
    jo_u64(&o, t->seq);
    jo_key(&o, "from");
    jo_str(&o, t->from);
    jo_key(&o, "created_at");
    jo_time(&o, t->created_ms);
    jo_key(&o, "gone");
    jo_bool(&o, t->gone);
    jo_key(&o, "slow");
    jo_bool(&o, slow);
    jo_key(&o, "members");
    jo_u64(&o, t->members);
    stages(&o, hop_of(a, true, 0), "came");
    jo_key(&o, "recipients");
    jo_open_arr(&o);
    for (size_t i = 0; i < t->member_count; i++) member_tell(s, j, a, i, &o);
    jo_close_arr(&o);
    jo_close_obj(&o);
}

/* true: passed on to another shard. */
bool journey_look(struct shard *s, struct job *j) {
    struct journey_args *a = j->request.args;
    while (a->searching) {
        if (!search(s, j, a)) return false;
        unsigned to = j->plan.partition % s->server->shards;
        if (!a->searching || to == s->index) continue;
        job_send(s, to, j);
        return true;
    }
    if (!a->trailed) {
        a->trailed = true;
        chat_trail(engine_cells(s->engine, j->plan.partition), j->request.who.app, a->conversation,
            j->request.params[0], s->now_ms, &j->arena, &a->trail);
        if (!a->trail.found) {
            answer_problem(
                &j->answer, PROBLEM_NOT_FOUND, "", "there is no such message in this conversation");
            return false;
        }
        a->looked = arena_alloc(&j->arena, TRAIL_MEMBERS * sizeof *a->looked);
        memset(a->looked, 0, TRAIL_MEMBERS * sizeof *a->looked);
        if (s->index) {
            job_send(s, 0, j);
            return true;
        }
    }
    for (size_t i = 0; i < a->trail.member_count; i++) member_look(s, j, a, i);
    if (s->index + 1 < s->server->shards) {
        job_send(s, s->index + 1, j);
        return true;
    }
    answer_make(s, j, a);
    return false;
}
