/* trigger: topics: who is told what is sent to one. A topic is an audience of the mailbox, "#topic", in
 * each partition that has members; it is there as long as it has any.
 *
 *   PUT, DELETE, POST ─▶ one record in each partition that is named ─▶ gathered
 *
 *   TOPIC_USERS  varbytes topic · varbytes add, varbytes remove (packed ids of this partition's users)
 *     its answer: var how many came, var how many went. No topic: they were named, which makes them
 *
 * Who comes is told what is sent from then on, who goes nothing more; what reached them while they
 * were in stays theirs, so nothing needs to be merged into an inbox first.
 * SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>
#include <string.h>

#include "mailbox/mailbox.h"
#include "trigger/trigger_in.h"

enum {
    IDS_MAX = 1000,       /* of one POST, to add and to remove */
    PARTITIONS_ASKED = 64 /* at once, by a list of members */
};

/* room: 1 + 64 bytes */
enum { AUDIENCE_MAX = 1 + 64 };
static struct bytes audience_of(uint8_t room[static AUDIENCE_MAX], struct bytes topic) {
    check(topic.n < AUDIENCE_MAX); /* an id */
    room[0] = '#';
    memcpy(room + 1, topic.p, topic.n);
    return bytes_of(room, topic.n + 1);
}

/* ---- apply ---- */
static void apply_topic_users(struct step *s) {
    uint8_t room[AUDIENCE_MAX];
    struct unpack u = unpack_of(s->body);
    struct bytes topic = unpack_bytes(&u), audience = audience_of(room, topic);
    struct unpack add = unpack_of(unpack_bytes(&u)), remove = unpack_of(unpack_bytes(&u));
    uint64_t came = 0, went = 0;
    check(!u.bad);
    while (unpack_more(&add)) {
        struct bytes user = unpack_bytes(&add);
        mailbox_ensure(s, user);
        if (topic.n) came += mailbox_join(s, user, audience);
    }
    while (unpack_more(&remove)) went += mailbox_leave(s, unpack_bytes(&remove), audience);
    answer_ok(s->answer, 200);
    if (!s->wanted) return;
    pack_var(&s->answer->body, came);
    pack_var(&s->answer->body, went);
}

/* ---- who comes and goes ---- */
struct change {
    bool single, remove; /* PUT, DELETE of one */
};
static bool gather_change(
    struct request *r, struct plan *p, const struct answer *parts, struct answer *a) {
    const struct change *change = r->args;
    uint64_t came = 0, went = 0;
    for (size_t i = 0; i < p->part_count; i++) {
        struct unpack u = unpack_of(buf_view(&parts[i].body));
        if (parts[i].problem) { /* it may be asked again: what was done is done */
            *a = parts[i];
            a->body = (struct buf){0};
            return false;
        }
        came += unpack_var(&u);
        went += unpack_var(&u);
    }
    struct json_out o = {&a->body, false};
    answer_ok(a, !change->single ? 200 : change->remove ? 204 : came ? 201 : 200);
    if (change->single && change->remove) return false;
    jo_open_obj(&o);
    if (change->single) {
        jo_key(&o, "id");
        jo_str(&o, r->params[1]);
    } else {
        jo_key(&o, "added");
        jo_u64(&o, came);
        jo_key(&o, "removed");
        jo_u64(&o, went);
    }
    jo_close_obj(&o);
    return false;
}

/* A record for each partition with anyone to add or remove; the two lists are given up. */
static void change_parts(struct request *r, struct plan *p, struct buf *add, struct buf *remove) {
    for (uint16_t i = 0; i < r->partitions; i++) {
        if (add[i].n || remove[i].n) {
            struct plan_part *part = plan_part(p, i);
            part->kind = KIND_TOPIC_USERS;
            pack_bytes(&part->body, r->params[0]);
            pack_bytes(&part->body, buf_view(&add[i]));
            pack_bytes(&part->body, buf_view(&remove[i]));
        }
        buf_done(&add[i]);
        buf_done(&remove[i]);
    }
    p->gather = gather_change;
}

static void by_partition(struct request *r, struct bytes packed, struct buf *lists) {
    struct unpack u = unpack_of(packed);
    while (unpack_more(&u)) {
        struct bytes id = unpack_bytes(&u);
        pack_bytes(&lists[partition_of_user(r->who.app, id, r->partitions)], id);
    }
}

static enum err change_one(struct request *r, struct plan *p, bool remove) {
    struct change *change = arena_zero(r->arena, sizeof *change);
    struct buf *lists = arena_zero(r->arena, 2u * r->partitions * sizeof *lists);
    *change = (struct change){true, remove};
    r->args = change;
    pack_bytes(&lists[partition_of_user(r->who.app, r->params[1], r->partitions) +
                      (remove ? r->partitions : 0)],
        r->params[1]);
    change_parts(r, p, lists, lists + r->partitions);
    return OK;
}
static enum err plan_join(struct request *r, struct plan *p, struct answer *a) {
    return request_empty(r, a) ? change_one(r, p, false) : REFUSED;
}
static enum err plan_leave(struct request *r, struct plan *p, struct answer *a) {
    (void)a;
    return change_one(r, p, true);
}

static int id_order(const void *a, const void *b) {
    return bytes_cmp(*(const struct bytes *)a, *(const struct bytes *)b);
}
/* Someone is in both lists. */
static bool lists_meet(struct request *r, struct bytes add, struct bytes remove) {
    struct bytes *ids = arena_alloc(r->arena, (IDS_MAX + 1) * sizeof *ids);
    size_t n = 0;
    for (struct unpack u = unpack_of(remove); unpack_more(&u);) ids[n++] = unpack_bytes(&u);
    if (!n) return false;
    qsort(ids, n, sizeof *ids, id_order);
    for (struct unpack u = unpack_of(add); unpack_more(&u);) {
        struct bytes id = unpack_bytes(&u);
        if (bsearch(&id, ids, n, sizeof *ids, id_order)) return true;
    }
    return false;
}

static bool ids_read(
    struct request *r, const struct json_value f[2], struct buf packed[2], struct answer *a) {
    static const char *const NAMES[] = {"add", "remove"};
    uint64_t n[2] = {0};
    for (int i = 0; i < 2; i++) {
        if (f[i].present && !request_ids(f[i].v, NAMES[i], &packed[i], &n[i], a)) return false;
        if (n[i] <= IDS_MAX) continue;
        answer_problem(a, PROBLEM_LIMIT_REACHED, NAMES[i],
            "'%s' names at most %d users; send the rest in another request", NAMES[i], IDS_MAX);
        return false;
    }
    if (!n[0] && !n[1])
        answer_problem(a, PROBLEM_INVALID_VALUE, "add",
            "nobody is named: {\"add\": [...], \"remove\": [...]}, one of them with a user's id");
    else if (lists_meet(r, buf_view(&packed[0]), buf_view(&packed[1])))
        answer_problem(a, PROBLEM_INVALID_VALUE, "remove", "somebody is in both lists");
    return !a->problem;
}

static enum err plan_change(struct request *r, struct plan *p, struct answer *a) {
    static const struct json_field F[] = {
        {"add", JSON_ARRAY, false, false, 0}, {"remove", JSON_ARRAY, false, false, 0}};
    struct json_value f[2];
    struct buf packed[2] = {{0}};
    if (!request_object(r, F, 2, f, a)) return REFUSED;
    bool good = ids_read(r, f, packed, a);
    if (good) {
        struct buf *lists = arena_zero(r->arena, 2u * r->partitions * sizeof *lists);
        r->args = arena_zero(r->arena, sizeof(struct change));
        by_partition(r, buf_view(&packed[0]), lists);
        by_partition(r, buf_view(&packed[1]), lists + r->partitions);
        change_parts(r, p, lists, lists + r->partitions);
    }
    buf_done(&packed[0]);
    buf_done(&packed[1]);
    return good ? OK : REFUSED;
}

/* ---- how many ---- */
static void query_count(struct query *q) {
    uint8_t room[AUDIENCE_MAX];
    const struct request *r = q->request;
    answer_ok(q->answer, 200);
    pack_var(&q->answer->body,
        mailbox_member_count(q->cells, r->who.app, audience_of(room, r->params[0])));
}
static bool gather_count(
    struct request *r, struct plan *p, const struct answer *parts, struct answer *a) {
    uint64_t n = 0;
    for (size_t i = 0; i < p->part_count; i++) {
        struct unpack u = unpack_of(buf_view(&parts[i].body));
        n += unpack_var(&u);
    }
    struct json_out o = {&a->body, false};
    answer_ok(a, 200);
    jo_open_obj(&o);
    jo_key(&o, "id");
    jo_str(&o, r->params[0]);
    jo_key(&o, "count");
    jo_u64(&o, n);
    jo_close_obj(&o);
    return false;
}
static enum err plan_topic(struct request *r, struct plan *p, struct answer *a) {
    (void)a;
    for (uint16_t i = 0; i < r->partitions; i++) plan_part(p, i)->query = query_count;
    p->gather = gather_count;
    return OK;
}

/* ---- who: from partition to partition; a cursor is a partition and a slot in it ---- */
struct page {
    unsigned limit, shown;
    uint32_t slot;  /* in the first of the partitions that are asked */
    uint16_t first; /* of them */
};
struct members { /* of a part's answer: repeated { var slot behind the member, varbytes id } */
    struct buf *out;
    uint32_t slot;
};
static bool member_add(void *arg, struct bytes user) {
    struct members *m = arg;
    pack_var(m->out, m->slot);
    pack_bytes(m->out, user);
    return true;
}
static void query_members(struct query *q) {
    uint8_t room[AUDIENCE_MAX];
    const struct request *r = q->request;
    const struct page *page = r->args;
    struct members m = {&q->answer->body, q->part ? 0 : page->slot};
    answer_ok(q->answer, 200);
    /* one more than is shown: so that it is known whether there are any */
    mailbox_members_from(q->cells, r->who.app, audience_of(room, r->params[0]), &m.slot,
        page->limit - page->shown + 1, member_add, &m);
}

static void page_end(const struct request *r, struct answer *a, uint64_t next) {
    buf_str(&a->body, "],\"next\":");
    if (next) {
        buf_char(&a->body, '"');
        cursor_format(&a->body, r->epoch, next);
        buf_str(&a->body, "\"}");
    } else {
        buf_str(&a->body, "null}");
    }
    answer_ok(a, 200);
}
static void id_add(struct buf *b, struct bytes id) {
    if (b->p[b->n - 1] != '[') buf_char(b, ',');
    buf_fmt(b, "{\"id\":\"%.*s\"}", (int)id.n, (const char *)id.p);
}

static void members_ask(const struct request *r, struct plan *p);
static bool gather_members(
    struct request *r, struct plan *p, const struct answer *parts, struct answer *a) {
    struct page *page = r->args;
    uint64_t next = 0; /* where the next page begins, once this one is full */
    if (!a->body.n) buf_str(&a->body, "{\"items\":[");
    for (size_t i = 0; i < p->part_count; i++) {
        struct unpack u = unpack_of(buf_view(&parts[i].body));
        uint32_t slot = i ? 0 : page->slot;
        while (unpack_more(&u)) {
            uint32_t behind = (uint32_t)unpack_var(&u);
            struct bytes id = unpack_bytes(&u);
            if (page->shown == page->limit) {
                next = (uint64_t)(page->first + i) << 32 | slot;
                page_end(r, a, next);
                return false;
            }
            id_add(&a->body, id);
            page->shown++;
            slot = behind;
        }
    }
    page->first = (uint16_t)(page->first + p->part_count);
    page->slot = 0;
    if (page->first == r->partitions) {
        page_end(r, a, 0);
        return false;
    }
    plan_parts_reset(p);
    members_ask(r, p);
    return true;
}
static void members_ask(const struct request *r, struct plan *p) {
    const struct page *page = r->args;
    for (uint16_t i = page->first; i < r->partitions && i - page->first < PARTITIONS_ASKED; i++)
        plan_part(p, i)->query = query_members;
    p->gather = gather_members;
}
static enum err plan_members(struct request *r, struct plan *p, struct answer *a) {
    struct page *page = arena_zero(r->arena, sizeof *page);
    uint64_t from;
    if (!request_limit(r, a, &page->limit) || !request_cursor(r, a, &from)) return REFUSED;
    if (from >> 32 >= r->partitions) return cursor_good(MALFORMED, a), REFUSED;
    page->first = (uint16_t)(from >> 32);
    page->slot = (uint32_t)from;
    r->args = page;
    members_ask(r, p);
    return OK;
}

/* ---- of one user, newest first; a cursor is the position at which they came to the last one ---- */
struct topic_page {
    unsigned limit;
    uint64_t below;
};
struct topic {
    struct bytes id;
    uint64_t from;
};
struct topics {
    struct topic *list;
    size_t n, cap;
    uint64_t below;
};
static bool topic_take(void *arg, struct bytes audience, uint64_t from) {
    struct topics *t = arg;
    if (audience.p[0] != '#' || (t->below && from >= t->below)) return true;
    if (t->n == t->cap) {
        t->cap = t->cap ? 2 * t->cap : 64;
        t->list = must_realloc(t->list, t->cap * sizeof *t->list);
    }
    t->list[t->n++] = (struct topic){bytes_of(audience.p + 1, audience.n - 1), from};
    return true;
}
static int newest_first(const void *a, const void *b) {
    uint64_t x = ((const struct topic *)a)->from, y = ((const struct topic *)b)->from;
    return x < y ? 1 : x > y ? -1 : 0;
}
static void query_topics(struct query *q) {
    const struct request *r = q->request;
    const struct topic_page *page = r->args;
    struct bytes user = r->params[0];
    struct topics t = {.below = page->below};
    if (!mailbox_answers(q)) return;
    mailbox_topics(q->cells, r->who.app, user, topic_take, &t);
    if (t.n) qsort(t.list, t.n, sizeof *t.list, newest_first);
    buf_str(&q->answer->body, "{\"items\":[");
    size_t n = t.n < page->limit ? t.n : page->limit;
    for (size_t i = 0; i < n; i++) id_add(&q->answer->body, t.list[i].id);
    page_end(r, q->answer, n < t.n ? t.list[n - 1].from : 0);
    free(t.list);
}
static enum err plan_topics(struct request *r, struct plan *p, struct answer *a) {
    struct topic_page *page = arena_zero(r->arena, sizeof *page);
    if (!request_limit(r, a, &page->limit) || !request_cursor(r, a, &page->below)) return REFUSED;
    r->args = page;
    p->partition = partition_of_user(r->who.app, r->params[0], r->partitions);
    p->query = query_topics;
    return OK;
}

static const struct record_rule RULES[] = {{KIND_TOPIC_USERS, apply_topic_users}};

#define T "/v1/topics/{topic}"
static const struct route ROUTES[] = {
    {"PUT", T "/users/{id}", SCOPE_WRITE, TOKEN_NEVER, SPECIAL_NONE, plan_join, NULL},
    {"DELETE", T "/users/{id}", SCOPE_WRITE, TOKEN_NEVER, SPECIAL_NONE, plan_leave, NULL},
    {"POST", T "/users", SCOPE_WRITE, TOKEN_NEVER, SPECIAL_NONE, plan_change, NULL},
    {"GET", T, SCOPE_READ, TOKEN_NEVER, SPECIAL_NONE, plan_topic, NULL},
    {"GET", T "/users", SCOPE_READ, TOKEN_NEVER, SPECIAL_NONE, plan_members, NULL},
    {"GET", "/v1/users/{id}/topics", SCOPE_READ, TOKEN_SELF, SPECIAL_NONE, plan_topics, NULL},
};
const struct surface_part topics_part = {
    RULES, sizeof RULES / sizeof *RULES, ROUTES, sizeof ROUTES / sizeof *ROUTES};
