/* chat, conversation side: conversations, their names and options, and what is told to the
 * partitions of their members (roster.c has the list of them). Apply decides who may; plans only
 * check shapes. SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "chat/conv_in.h"

#define NAME_MAX 256u
#define METADATA_MAX 16384u
#define META_EACH_JOIN_MAX 1024u /* members up to which every join is told to all partitions */

static struct cell *cell2(struct cells *c, char tag, struct bytes app, struct bytes conv) {
    uint8_t room[300];
    return cells_get(c, key2(room, tag, app, conv));
}
static struct bytes view_of(const struct cell *c) { return bytes_of(c->data, c->size); }
uint16_t conv_partition(const struct request *r) {
    return partition_of_conversation(r->who.app, r->params[0], r->partitions);
}

static const char *const TYPE_NAMES[] = {"", "direct", "group", "channel"};
const char *conv_type_name(uint8_t type) { return TYPE_NAMES[type <= CONV_CHANNEL ? type : 0]; }
uint8_t conv_type_of(struct bytes name) {
    for (uint8_t t = CONV_DIRECT; t <= CONV_CHANNEL; t++)
        if (bytes_is(name, TYPE_NAMES[t])) return t;
    return 0;
}
static const char *const ROLE_NAMES[] = {"", "member", "admin", "owner"};

bool conv_get(struct cells *c, struct bytes app, struct bytes conv, struct conv *out) {
    struct cell *cell = cell2(c, 'A', app, conv);
    if (cell->size != sizeof *out) return false;
    memcpy(out, cell->data, sizeof *out);
    return true;
}

void conv_set(struct step *s, struct bytes conv, const struct conv *v) {
    struct cell *cell = cell2(s->cells, 'A', s->app, conv);
    if (cell->size == sizeof *v) memcpy(cells_edit(s->cells, cell), v, sizeof *v);
    else cells_put(s->cells, cell, bytes_of(v, sizeof *v));
}

/* The two of a direct conversation, or the one that is left. */
struct direct {
    struct step *s;
    struct bytes user[2];
    uint16_t home[2];
    unsigned n;
};
static bool direct_of(void *arg, struct bytes user) {
    struct direct *d = arg;
    check(d->n < 2);
    d->home[d->n] = partition_of_user(d->s->app, user, d->s->partitions);
    d->user[d->n++] = user;
    return true;
}

static void direct_broadcast(struct step *s, struct bytes conv, const struct conv *v, uint8_t kind,
    struct bytes body, bool named) {
    struct direct d = {.s = s};
    struct buf whole = {0};
    members_each(s->cells, s->app, conv, direct_of, &d);
    bool together = d.n == 2 && d.home[0] == d.home[1];
    for (unsigned i = 0; i < d.n && !(i == 1 && together); i++) {
        buf_reset(&whole);
        buf_bytes(&whole, body);
        if (named) pack_var(&whole, together ? 2 : 1);
        if (named) pack_bytes(&whole, d.user[i]);
        if (named && together) pack_bytes(&whole, d.user[1]);
        step_relay(s, d.home[i], kind, buf_view(&whole));
    }
    buf_done(&whole);
}

void conv_broadcast(
    struct step *s, struct bytes conv, const struct conv *v, uint8_t kind, struct bytes body) {
    bool named = kind == KIND_COPY_MESSAGE || kind == KIND_COPY_UPDATE || kind == KIND_COPY_RECEIPT;
    if (v->type == CONV_DIRECT) {
        direct_broadcast(s, conv, v, kind, body, named);
        return;
    }
    struct cell *cell = cell2(s->cells, 'Q', s->app, conv);
    struct buf whole = {0};
    buf_bytes(&whole, body);
    if (named) pack_var(&whole, 0);
    for (uint16_t p = 0; p < s->partitions && cell->size; p++) {
        uint32_t count;
        memcpy(&count, cell->data + 4u * p, 4);
        if (count) step_relay(s, p, kind, buf_view(&whole));
    }
    buf_done(&whole);
}

struct bytes conv_name(
    struct cells *c, struct bytes app, struct bytes conv, struct bytes *out_metadata) {
    struct cell *cell = cell2(c, 'a', app, conv);
    struct unpack u = unpack_of(view_of(cell));
    *out_metadata = (struct bytes){0};
    if (!cell->size) return (struct bytes){0};
    struct bytes name = unpack_bytes(&u);
    *out_metadata = unpack_bytes(&u);
    return name;
}

void conv_meta_relay(struct step *s, struct bytes conv, const struct conv *v) {
    struct bytes metadata, name = conv_name(s->cells, s->app, conv, &metadata);
    struct buf b = {0};
    pack_bytes(&b, conv);
    pack_var(&b, v->member_count);
    pack_bytes(&b, name);
    pack_bytes(&b, metadata);
    conv_broadcast(s, conv, v, KIND_COPY_META, buf_view(&b));
    buf_done(&b);
}

/* ---- who acts, who looks ---- */
bool actor_in(
    struct step *s, struct bytes conv, const struct conv *v, struct bytes by, struct member *out) {
    *out = (struct member){.role = ROLE_OWNER};
    if (!v) {
        answer_problem(s->answer, PROBLEM_NOT_FOUND, "", "there is no conversation '%.*s'",
            (int)conv.n, (const char *)conv.p);
        return false;
    }
    if (!by.n || member_get(s->cells, s->app, conv, by, out)) return true;
    answer_problem(s->answer, PROBLEM_NOT_FOUND, "", "there is no conversation '%.*s'", (int)conv.n,
        (const char *)conv.p);
    return false;
}

bool viewer_in(struct query *q, struct bytes conv, struct member *out, struct conv *head) {
    const struct request *r = q->request;
    *out = (struct member){.role = ROLE_OWNER};
    if (conv_get(q->cells, r->who.app, conv, head) &&
        (!r->who.user.n || member_get(q->cells, r->who.app, conv, r->who.user, out)))
        return true;
    answer_problem(q->answer, PROBLEM_NOT_FOUND, "", "there is no conversation '%.*s'", (int)conv.n,
        (const char *)conv.p);
    return false;
}

/* ---- PUT /v1/conversations/{id} ---- */
/* Leaves the object open. */
static struct json_out conv_json(
    struct cells *c, struct bytes app, struct bytes conv, const struct conv *v, struct buf *b) {
    struct json_out o = {b, false};
    struct bytes metadata, name = conv_name(c, app, conv, &metadata);
    jo_open_obj(&o);
    jo_key(&o, "id");
    jo_str(&o, conv);
    jo_key(&o, "type");
    jo_str(&o, bytes_str(conv_type_name(v->type)));
    if (name.n) {
        jo_key(&o, "name");
        jo_str(&o, name);
    }
    jo_key(&o, "member_count");
    jo_u64(&o, v->member_count);
    jo_key(&o, "history");
    jo_str(&o, bytes_str(v->history_all ? "all" : "from_join"));
    if (v->disappear_ms) {
        jo_key(&o, "disappear_after");
        char text[32];
        int64_t seconds = v->disappear_ms / 1000;
        struct buf d = {0};
        if (seconds % 86400 == 0) buf_fmt(&d, "%lldd", (long long)(seconds / 86400));
        else if (seconds % 3600 == 0) buf_fmt(&d, "%lldh", (long long)(seconds / 3600));
        else if (seconds % 60 == 0) buf_fmt(&d, "%lldm", (long long)(seconds / 60));
        else buf_fmt(&d, "%llds", (long long)seconds);
        memcpy(text, d.p, d.n);
        jo_str(&o, bytes_of(text, d.n));
        buf_done(&d);
    }
    jo_key(&o, "created_at");
    jo_time(&o, v->created_ms);
    jo_key(&o, "last_seq");
    jo_u64(&o, v->seq);
    if (metadata.n) {
        jo_key(&o, "metadata");
        jo_raw(&o, metadata);
    }
    return o;
}

enum { PUT_NAME = 1, PUT_METADATA = 2, PUT_DISAPPEAR = 4, PUT_HISTORY = 8, PUT_TYPE = 16 };
struct conv_put {
    struct bytes conv, by, name, metadata;
    uint8_t type, history_all, set;
    int64_t disappear_ms;
    uint64_t members;
    struct unpack list;
};

static bool conv_put_read(struct step *s, struct conv_put *p) {
    struct unpack u = unpack_of(s->body);
    p->conv = unpack_bytes(&u);
    p->by = unpack_bytes(&u);
    p->set = unpack_u8(&u);
    p->type = unpack_u8(&u);
    p->history_all = unpack_u8(&u);
    p->disappear_ms = (int64_t)unpack_var(&u);
    p->name = unpack_bytes(&u);
    p->metadata = unpack_bytes(&u);
    p->members = unpack_var(&u);
    p->list = u;
    return !u.bad;
}

static void name_store(struct step *s, const struct conv_put *p) {
    struct bytes metadata,
        name = arena_copy(s->arena, conv_name(s->cells, s->app, p->conv, &metadata));
    metadata = arena_copy(s->arena, metadata);
    struct buf b = {0};
    pack_bytes(&b, p->set & PUT_NAME ? p->name : name);
    pack_bytes(&b, p->set & PUT_METADATA ? p->metadata : metadata);
    cells_put(s->cells, cell2(s->cells, 'a', s->app, p->conv), buf_view(&b));
    buf_done(&b);
}

/* Ids seen so far, by hash: a request can name a hundred thousand, and each is looked for among
 * those before it. */
struct seen {
    uint32_t *slots; /* index into the list + 1; 0: free */
    uint64_t mask;
};
static struct seen seen_make(struct arena *arena, uint64_t ids_max) {
    uint64_t n = 16;
    while (n < 2 * ids_max) n *= 2;
    return (struct seen){arena_zero(arena, n * sizeof(uint32_t)), n - 1};
}
/* Adds list[n] unless it is there. */
static bool seen_add(struct seen *h, const struct bytes *list, uint64_t n) {
    uint64_t at = hash64(list[n]) & h->mask;
    for (; h->slots[at]; at = (at + 1) & h->mask)
        if (bytes_eq(list[h->slots[at] - 1], list[n])) return false;
    h->slots[at] = (uint32_t)n + 1;
    return true;
}

/* How many of the list are not members yet; the list may name one twice. */
static uint64_t members_new(
    struct step *s, const struct conv_put *p, struct bytes *fresh, bool made) {
    struct unpack u = p->list;
    struct seen seen = seen_make(s->arena, p->members + 1);
    uint64_t n = 0;
    struct member m;
    if (made && p->by.n) {
        fresh[0] = p->by;
        n += seen_add(&seen, fresh, 0);
    }
    for (uint64_t i = 0; i < p->members; i++) {
        fresh[n] = unpack_bytes(&u);
        if (!made && member_get(s->cells, s->app, p->conv, fresh[n], &m)) continue;
        n += seen_add(&seen, fresh, n);
    }
    return n;
}

static bool put_allowed(
    struct step *s, const struct conv_put *p, const struct conv *v, bool made, uint64_t fresh) {
    struct answer *a = s->answer;
    struct member m = {.role = ROLE_OWNER};
    if (!made && !actor_in(s, p->conv, v, p->by, &m)) return false;
    uint64_t count = (made ? 0 : v->member_count) + fresh;
    if (made && !(p->set & PUT_TYPE)) {
        answer_problem(a, PROBLEM_INVALID_VALUE, "type",
            "'type' is required to make a conversation: direct, group or channel");
    } else if (!made && (p->set & PUT_TYPE) && p->type != v->type) {
        answer_problem(a, PROBLEM_CONFLICT, "type",
            "it is a %s conversation; the type cannot change", conv_type_name(v->type));
    } else if (v->type == CONV_DIRECT && fresh && !made) {
        answer_problem(a, PROBLEM_INVALID_VALUE, "members",
            "the two members of a direct conversation do not change, also when one is erased; make "
            "another");
    } else if (v->type == CONV_DIRECT && made && count != 2) {
        answer_problem(a, PROBLEM_INVALID_VALUE, "members",
            "a direct conversation has exactly two members, this would have %llu",
            (unsigned long long)count);
    } else if (v->type == CONV_GROUP && count > GROUP_MEMBERS_MAX) {
        answer_problem(a, PROBLEM_LIMIT_REACHED, "members",
            "a group has at most %d members; make a channel", GROUP_MEMBERS_MAX);
    } else if (!made && m.role < ROLE_ADMIN && v->type != CONV_DIRECT) {
        answer_problem(
            a, PROBLEM_FORBIDDEN, "", "only its admins and owners may change this conversation");
    } else {
        return true;
    }
    return false;
}

static void members_join(struct step *s, const struct conv_put *p, struct conv *v,
    const struct bytes *fresh, uint64_t n) {
    for (uint64_t i = 0; i < n; i++) {
        struct bytes peer = v->type == CONV_DIRECT ? fresh[1 - i] : (struct bytes){0};
        member_add(s, p->conv, v, fresh[i], ROLE_MEMBER, peer, p->by);
    }
}

void apply_conv_put(struct step *s) {
    struct conv_put p = {0};
    struct conv v;
    check(conv_put_read(s, &p));
    bool made = !conv_get(s->cells, s->app, p.conv, &v);
    if (made)
        v = (struct conv){.type = p.type, .history_all = p.history_all, .created_ms = s->time_ms};
    struct bytes *fresh = arena_alloc(s->arena, (p.members + 1) * sizeof *fresh);
    uint64_t n = members_new(s, &p, fresh, made);
    if (!put_allowed(s, &p, &v, made, n)) return;
    if (p.set & PUT_DISAPPEAR) v.disappear_ms = p.disappear_ms;
    if (p.set & PUT_HISTORY) v.history_all = p.history_all;
    if (p.set & (PUT_NAME | PUT_METADATA)) name_store(s, &p);
    members_join(s, &p, &v, fresh, n);
    conv_set(s, p.conv, &v);
    bool told = (p.set & (PUT_NAME | PUT_METADATA)) || (n && v.member_count <= META_EACH_JOIN_MAX);
    if (!made && told) conv_meta_relay(s, p.conv, &v);
    else if (made && n > 1 && v.type != CONV_DIRECT)
        conv_meta_relay(s, p.conv, &v); /* early joiners learn the full count */
    answer_ok(s->answer, made ? 201 : 200);
    if (!s->wanted) return;
    struct json_out o = conv_json(s->cells, s->app, p.conv, &v, &s->answer->body);
    jo_close_obj(&o);
}

static bool put_options(const struct json_value *f, struct conv_put *p, struct answer *a) {
    if (f[0].present) {
        p->type = conv_type_of(json_string(f[0].v));
        p->set |= PUT_TYPE;
        if (!p->type)
            return answer_problem(
                       a, PROBLEM_INVALID_VALUE, "type", "'type' must be direct, group or channel"),
                   false;
    }
    if (f[4].present) {
        p->set |= PUT_DISAPPEAR;
        if (!f[4].is_null &&
            (duration_parse(json_string(f[4].v), &p->disappear_ms) != OK || !p->disappear_ms))
            return answer_problem(a, PROBLEM_INVALID_VALUE, "disappear_after",
                       "'disappear_after' must be a duration such as 30s 15m 24h 7d"),
                   false;
    }
    if (f[5].present) {
        struct bytes h = json_string(f[5].v);
        p->history_all = bytes_is(h, "all");
        p->set |= PUT_HISTORY;
        if (!p->history_all && !bytes_is(h, "from_join"))
            return answer_problem(
                       a, PROBLEM_INVALID_VALUE, "history", "'history' must be all or from_join"),
                   false;
    }
    return true;
}

static enum err plan_conv_put(struct request *r, struct plan *p, struct answer *a) {
    static const struct json_field FIELDS[] = {{"type", JSON_STRING, false, false, 16},
        {"members", JSON_ARRAY, false, false, 0}, {"name", JSON_STRING, false, true, NAME_MAX},
        {"metadata", JSON_OBJECT, false, true, METADATA_MAX},
        {"disappear_after", JSON_STRING, false, true, 16},
        {"history", JSON_STRING, false, false, 16}};
    struct json_value f[6];
    struct conv_put v = {.by = r->who.user};
    if (!request_object(r, FIELDS, 6, f, a) || !put_options(f, &v, a)) return REFUSED;
    struct buf members = {0}, metadata = {0};
    uint64_t count = 0;
    bool good = !f[1].present || request_ids(f[1].v, "members", &members, &count, a);
    if (f[2].present) v.set |= PUT_NAME;
    if (f[3].present) v.set |= PUT_METADATA;
    if (f[3].present && !f[3].is_null) json_raw(f[3].v, &metadata);
    p->partition = conv_partition(r);
    p->kind = KIND_CONV_PUT;
    struct buf *b = &p->body;
    pack_bytes(b, r->params[0]);
    pack_bytes(b, v.by);
    pack_u8(b, v.set);
    pack_u8(b, v.type);
    pack_u8(b, v.history_all);
    pack_var(b, (uint64_t)v.disappear_ms);
    pack_bytes(b, f[2].present ? json_string(f[2].v) : (struct bytes){0});
    pack_bytes(b, buf_view(&metadata));
    pack_var(b, count);
    buf_bytes(b, buf_view(&members));
    buf_done(&members);
    buf_done(&metadata);
    return good ? OK : REFUSED;
}

static void query_conv(struct query *q) {
    struct conv v;
    struct member m;
    if (!viewer_in(q, q->request->params[0], &m, &v)) return;
    answer_ok(q->answer, 200);
    struct json_out o =
        conv_json(q->cells, q->request->who.app, q->request->params[0], &v, &q->answer->body);
    conv_mine_json(q, &o, &v, &m);
    jo_close_obj(&o);
}
static enum err plan_conv_get(struct request *r, struct plan *p, struct answer *a) {
    (void)a;
    p->partition = conv_partition(r);
    p->query = query_conv;
    return OK;
}

/* ---- members ---- */
void apply_member_put(struct step *s) {
    struct unpack u = unpack_of(s->body);
    struct bytes conv = unpack_bytes(&u), by = unpack_bytes(&u), user = unpack_bytes(&u);
    uint8_t role = unpack_u8(&u);
    struct conv v;
    struct member actor, m;
    bool there = conv_get(s->cells, s->app, conv, &v);
    if (!actor_in(s, conv, there ? &v : NULL, by, &actor)) return;
    bool is = member_get(s->cells, s->app, conv, user, &m);
    if (v.type == CONV_DIRECT) {
        answer_problem(
            s->answer, PROBLEM_CONFLICT, "", "the members of a direct conversation do not change");
    } else if (actor.role < ROLE_ADMIN || (role == ROLE_OWNER && actor.role < ROLE_OWNER) ||
               (is && m.role > actor.role)) {
        answer_problem(
            s->answer, PROBLEM_FORBIDDEN, "", "your role in this conversation does not allow it");
    } else if (!is && v.type == CONV_GROUP && v.member_count >= GROUP_MEMBERS_MAX) {
        answer_problem(s->answer, PROBLEM_LIMIT_REACHED, "",
            "a group has at most %d members; make a channel", GROUP_MEMBERS_MAX);
    } else if (is && m.role == ROLE_OWNER && role && role != ROLE_OWNER && v.owners == 1) {
        answer_problem(s->answer, PROBLEM_CONFLICT, "role",
            "'%.*s' is its only owner; make another one first", (int)user.n, (const char *)user.p);
    } else if (is) {
        if (role) member_role_set(s, conv, &v, user, &m, role);
        conv_set(s, conv, &v);
        answer_ok(s->answer, 200);
    } else {
        member_add(s, conv, &v, user, role ? role : ROLE_MEMBER, (struct bytes){0}, by);
        conv_set(s, conv, &v);
        if (v.member_count <= META_EACH_JOIN_MAX) conv_meta_relay(s, conv, &v);
        answer_ok(s->answer, 201);
    }
    if (s->answer->problem || !s->wanted || !member_get(s->cells, s->app, conv, user, &m)) return;
    buf_fmt(&s->answer->body, "{\"user\":\"%.*s\",\"role\":\"%s\"}", (int)user.n,
        (const char *)user.p, ROLE_NAMES[m.role]);
}

void apply_member_delete(struct step *s) {
    struct unpack u = unpack_of(s->body);
    struct bytes conv = unpack_bytes(&u), by = unpack_bytes(&u), user = unpack_bytes(&u);
    struct conv v;
    struct member actor, m;
    bool there = conv_get(s->cells, s->app, conv, &v);
    if (by.n && bytes_eq(by, user) && !(there && member_get(s->cells, s->app, conv, by, &m))) {
        /* left already, or never in it: whether it exists is not theirs to learn */
        answer_ok(s->answer, 204);
        return;
    }
    if (!actor_in(s, conv, there ? &v : NULL, by, &actor)) return;
    answer_ok(s->answer, 204);
    if (!member_get(s->cells, s->app, conv, user, &m)) return;
    if (v.type == CONV_DIRECT) {
        answer_problem(
            s->answer, PROBLEM_CONFLICT, "", "the members of a direct conversation do not change");
    } else if (by.n && !bytes_eq(by, user) && (actor.role < ROLE_ADMIN || m.role > actor.role)) {
        answer_problem(
            s->answer, PROBLEM_FORBIDDEN, "", "your role in this conversation does not allow it");
    } else {
        member_drop(s, conv, &v, user);
        conv_set(s, conv, &v);
        if (v.member_count <= META_EACH_JOIN_MAX) conv_meta_relay(s, conv, &v);
    }
}

static void member_plan(struct request *r, struct plan *p, uint8_t kind) {
    p->partition = conv_partition(r);
    p->kind = kind;
    pack_bytes(&p->body, r->params[0]);
    pack_bytes(&p->body, r->who.user);
    pack_bytes(&p->body, r->params[1]);
}
static enum err plan_member_put(struct request *r, struct plan *p, struct answer *a) {
    static const struct json_field FIELDS[] = {{"role", JSON_STRING, false, false, 16}};
    struct json_value f[1] = {{0}};
    uint8_t role = 0;
    if (r->has_json && !request_object(r, FIELDS, 1, f, a)) return REFUSED;
    for (uint8_t i = ROLE_MEMBER; f[0].present && i <= ROLE_OWNER; i++)
        if (bytes_is(json_string(f[0].v), ROLE_NAMES[i])) role = i;
    if (f[0].present && !role)
        return answer_problem(
                   a, PROBLEM_INVALID_VALUE, "role", "'role' must be member, admin or owner"),
               REFUSED;
    member_plan(r, p, KIND_MEMBER_PUT);
    pack_u8(&p->body, role);
    return OK;
}
static enum err plan_member_delete(struct request *r, struct plan *p, struct answer *a) {
    (void)a;
    member_plan(r, p, KIND_MEMBER_DELETE);
    return OK;
}

bool offset_page_read(struct request *r, struct answer *a) {
    struct offset_page *page = arena_zero(r->arena, sizeof *page);
    r->args = page;
    return request_limit(r, a, &page->limit) && request_cursor(r, a, &page->from);
}

struct listing {
    struct query *q;
    struct json_out o;
    uint64_t limit, last; /* slot of the last one shown */
    bool more;
};
static bool list_member(void *arg, uint64_t slot, struct bytes user) {
    struct listing *l = arg;
    const struct request *r = l->q->request;
    struct member m;
    check(member_get(l->q->cells, r->who.app, r->params[0], user, &m));
    if (!l->limit--) return !(l->more = true);
    jo_open_obj(&l->o);
    jo_key(&l->o, "user");
    jo_str(&l->o, user);
    jo_key(&l->o, "role");
    jo_str(&l->o, bytes_str(ROLE_NAMES[m.role]));
    jo_key(&l->o, "joined_at");
    jo_time(&l->o, m.joined_ms);
    jo_close_obj(&l->o);
    l->last = slot;
    return true;
}

/* Newest first. The cursor is the slot behind which to go on, plus one: 0 begins. */
static void query_members(struct query *q) {
    const struct request *r = q->request;
    const struct offset_page *page = r->args;
    struct conv v;
    struct member m;
    struct listing l = {.q = q, .o = {&q->answer->body, false}, .limit = page->limit};
    if (!viewer_in(q, r->params[0], &m, &v)) return;
    answer_ok(q->answer, 200);
    buf_str(&q->answer->body, "{\"items\":[");
    if (page->from != 1)
        members_newest(
            q->cells, r->who.app, r->params[0], page->from ? page->from - 1 : 0, list_member, &l);
    buf_str(&q->answer->body, "],\"next\":");
    if (l.more) {
        buf_char(&q->answer->body, '"');
        cursor_format(&q->answer->body, r->epoch, l.last + 1);
        buf_str(&q->answer->body, "\"}");
    } else {
        buf_str(&q->answer->body, "null}");
    }
}
static enum err plan_members(struct request *r, struct plan *p, struct answer *a) {
    if (!offset_page_read(r, a)) return REFUSED;
    p->partition = conv_partition(r);
    p->query = query_members;
    return OK;
}

/* ---- relays from members' partitions ---- */
void apply_conv_block(struct step *s) {
    struct unpack u = unpack_of(s->body);
    struct bytes conv = unpack_bytes(&u), by = unpack_bytes(&u);
    uint8_t on = unpack_u8(&u);
    struct member m;
    answer_ok(s->answer, 200);
    if (!member_get(s->cells, s->app, conv, by, &m)) return;
    m.blocks = on;
    member_set(s, conv, by, &m);
}

/* ---- erasing: a bounded part a step, then a relay to this very partition goes on ---- */
struct erasing {
    struct bytes conv, user;
    uint64_t from, upto; /* seqs; what comes after `upto` is of another time */
};

/* Every message of one sender becomes a stub, and their reactions to others' go. */
static void sender_blank(
    struct step *s, const struct erasing *e, const struct conv *v, uint64_t end) {
    for (uint64_t seq = e->from; seq <= end; seq++) {
        struct message m;
        if (!message_get(s->cells, s->app, e->conv, seq, &m)) continue;
        bool theirs = bytes_eq(m.from, e->user);
        if (!theirs && m.reactions.n) reactions_forget(s, e->conv, v, &m, e->user);
        if (!theirs || (m.deleted_ms && !m.first)) continue;
        if (!m.deleted_ms) m.deleted_ms = s->time_ms;
        m.body = m.data = m.media = m.mentions = m.reactions = m.ciphertexts = m.reply_to =
            (struct bytes){0};
        m.first = 0;
        reactions_clear(s, e->conv, seq);
        message_replace(s, e->conv, NULL, &m, EVENT_DELETED);
    }
}

/* After the last stub, so that nothing that is told later brings an old text back. Their own
 * partition may have no member left, and still a copy. */
static void erased_told(struct step *s, const struct erasing *e, const struct conv *v) {
    struct buf b = {0};
    uint16_t home = partition_of_user(s->app, e->user, s->partitions);
    pack_bytes(&b, e->conv);
    pack_bytes(&b, e->user);
    pack_var(&b, 1);
    pack_var(&b, e->upto);
    conv_broadcast(s, e->conv, v, KIND_COPY_ERASED, buf_view(&b));
    if (!members_in(s, e->conv, home)) step_relay(s, home, KIND_COPY_ERASED, buf_view(&b));
    buf_done(&b);
}

void apply_member_erase(struct step *s) {
    struct unpack u = unpack_of(s->body);
    struct erasing e = {.conv = unpack_bytes(&u)};
    e.user = unpack_bytes(&u);
    e.from = unpack_more(&u) ? unpack_var(&u) : 0;
    struct conv v;
    answer_ok(s->answer, 204);
    if (!conv_get(s->cells, s->app, e.conv, &v)) return;
    if (e.from) {
        e.upto = unpack_var(&u);
    } else {
        e.from = 1;
        e.upto = v.seq;
        member_drop(s, e.conv, &v, e.user);
        conv_set(s, e.conv, &v);
    }
    uint64_t end =
        e.upto - e.from >= ERASE_STEP && e.upto >= e.from ? e.from + ERASE_STEP - 1 : e.upto;
    sender_blank(s, &e, &v, end);
    if (end == e.upto) {
        erased_told(s, &e, &v);
        return;
    }
    struct buf b = {0};
    pack_bytes(&b, e.conv);
    pack_bytes(&b, e.user);
    pack_var(&b, end + 1);
    pack_var(&b, e.upto);
    step_relay(s, s->partition, KIND_MEMBER_ERASE, buf_view(&b));
    buf_done(&b);
}

const struct record_rule chat_conversation_rules[] = {
    {KIND_CONV_PUT, apply_conv_put},
    {KIND_MEMBER_PUT, apply_member_put},
    {KIND_MEMBER_DELETE, apply_member_delete},
    {KIND_MESSAGE, apply_message},
    {KIND_MESSAGE_EDIT, apply_message_edit},
    {KIND_MESSAGE_DELETE, apply_message_delete},
    {KIND_REACTION, apply_reaction},
    {KIND_RECEIPT, apply_receipt},
    {KIND_MARK, apply_mark},
    {KIND_CONV_BLOCK, apply_conv_block},
    {KIND_MEMBER_ERASE, apply_member_erase},
};
const size_t chat_conversation_rule_count =
    sizeof chat_conversation_rules / sizeof *chat_conversation_rules;

#define C "/v1/conversations/{id}"
const struct route chat_conversation_routes[] = {
    {"PUT", C, SCOPE_WRITE, TOKEN_ANY, SPECIAL_NONE, plan_conv_put, NULL},
    {"GET", C, SCOPE_READ, TOKEN_ANY, SPECIAL_NONE, plan_conv_get, NULL},
    {"GET", C "/members", SCOPE_READ, TOKEN_ANY, SPECIAL_NONE, plan_members, NULL},
    {"PUT", C "/members/{user}", SCOPE_WRITE, TOKEN_ANY, SPECIAL_NONE, plan_member_put, NULL},
    {"DELETE", C "/members/{user}", SCOPE_WRITE, TOKEN_ANY, SPECIAL_NONE, plan_member_delete, NULL},
    {"POST", C "/messages", SCOPE_WRITE, TOKEN_ANY, SPECIAL_NONE, plan_message_post, NULL},
    {"GET", C "/messages", SCOPE_READ, TOKEN_ANY, SPECIAL_NONE, plan_message_list, NULL},
    {"GET", C "/messages/{m}", SCOPE_READ, TOKEN_ANY, SPECIAL_NONE, plan_message_get, NULL},
    {"PATCH", C "/messages/{m}", SCOPE_WRITE, TOKEN_ANY, SPECIAL_NONE, plan_message_patch, NULL},
    {"DELETE", C "/messages/{m}", SCOPE_WRITE, TOKEN_ANY, SPECIAL_NONE, plan_message_delete, NULL},
    {"GET", C "/messages/{m}/replies", SCOPE_READ, TOKEN_ANY, SPECIAL_NONE, plan_replies, NULL},
    {"PUT", C "/messages/{m}/reactions/{emoji}", SCOPE_WRITE, TOKEN_ANY, SPECIAL_NONE,
        plan_reaction_put, NULL},
    {"DELETE", C "/messages/{m}/reactions/{emoji}", SCOPE_WRITE, TOKEN_ANY, SPECIAL_NONE,
        plan_reaction_delete, NULL},
    {"POST", C "/receipts", SCOPE_WRITE, TOKEN_ANY, SPECIAL_NONE, plan_receipt_post, NULL},
    {"GET", C "/receipts", SCOPE_READ | SCOPE_OPERATE, TOKEN_ANY, SPECIAL_NONE, plan_receipt_list,
        NULL},
    {"POST", C "/typing", SCOPE_WRITE, TOKEN_ANY, SPECIAL_TYPING, NULL, NULL},
};
const size_t chat_conversation_route_count =
    sizeof chat_conversation_routes / sizeof *chat_conversation_routes;
