/* trigger: as its owner sees it: how many it reached, and why not the others.
 * SPDX-License-Identifier: Apache-2.0 */
#include "inbox/inbox.h"
#include "mailbox/mailbox.h"
#include "trigger/trigger_in.h"

/* ---- DELETE ---- */
enum err plan_cancel(struct request *r, struct plan *p, struct answer *a) {
    (void)a;
    p->partition = trigger_home(r->who.app, r->params[0], r->partitions);
    p->kind = KIND_NOTIFY_CANCEL;
    buf_bytes(&p->body, r->params[0]);
    return OK;
}

/* ---- of an audience, whose inboxes merge it when they are looked at ---- */
static bool look_entry(void *arg, const struct entry *e, struct bytes audience) {
    (void)audience;
    struct audience_look *l = arg;
    struct bytes trigger;
    if (!said_shared(e, &trigger) || !bytes_eq(trigger, l->trigger)) return true;
    l->position = e->position;
    l->at_ms = e->at_ms;
    return false;
}

void audience_look_for(
    struct audience_look *l, struct cells *c, struct bytes app, struct bytes user, uint64_t after) {
    mailbox_walk_shared(c, app, user, after, UINT64_MAX, look_entry, l);
}

/* What stands against it for those who have not looked yet is known by asking for each, where they are
 * not too many. Who has looked has it noted. */
enum { UNMERGED_MAX = 512 /* people of a partition */, FRUITLESS_MAX = 16 };
struct unmerged {
    struct cells *cells;
    struct bytes app;
    const struct content *k;
    struct workflow w;
    int64_t now_ms;
    uint64_t position; /* where it was told to the audience; 0: not found yet */
    unsigned fruitless;
    bool expired;
    uint32_t of[TOTAL_COUNT];
};

static bool unmerged_look(void *arg, struct bytes user) {
    struct unmerged *m = arg;
    bool wishes = mailbox_look(m->cells, m->app, user).wishes;
    if (!wishes && !m->expired) return true;
    uint64_t folded = inbox_folded(m->cells, m->app, user);
    if (!m->position) {
        struct audience_look l = {.trigger = m->k->id};
        audience_look_for(&l, m->cells, m->app, user, folded);
        m->position = l.position;
        if (!l.position) return ++m->fruitless < FRUITLESS_MAX;
    }
    if (folded >= m->position ||
        !mailbox_was_in(m->cells, m->app, user, m->k->audience, m->position))
        return true;
    enum why why = forbidden(m->cells, m->app, user, wishes, &m->w, m->k, m->now_ms);
    if (why) m->of[total_of(why)]++;
    return true;
}

static void unmerged_count(struct query *q, struct bytes id, struct unmerged *m) {
    struct content k;
    struct buf b = {0};
    struct bytes app = q->request->who.app;
    *m = (struct unmerged){.cells = q->cells, .app = app, .now_ms = q->request->now_ms};
    if (!content_find(q->cells, app, id, &k) || k.cancelled ||
        !workflow_find(q->cells, app, k.workflow, &m->w) ||
        mailbox_member_count(q->cells, app, k.audience) > UNMERGED_MAX)
        return;
    int64_t expires = expiry_of(&m->w, &k);
    m->expired = expires && expires <= m->now_ms;
    content_encode(&b, &k); /* looking at people moves cells */
    struct unpack u = unpack_of(arena_copy(q->request->arena, buf_view(&b)));
    check(content_decode(&u, &k) == OK);
    m->k = &k;
    mailbox_members(q->cells, app, k.audience, unmerged_look, m);
    buf_done(&b);
}

/* ---- GET: what each partition knows, added up ---- */
enum { TOLD_CONTENT = 1, TOLD_HOME = 2 };
static void query_totals(struct query *q) {
    const struct request *r = q->request;
    struct bytes app = r->who.app, id = r->params[0];
    struct buf *b = &q->answer->body;
    struct content k;
    struct trigger_home home;
    answer_ok(q->answer, 200);
    if (trigger_home_read(q->cells, app, id, &home)) {
        pack_u8(b, TOLD_HOME);
        pack_u8(b, (uint8_t)(home.cancelled | home.waits << 1));
        pack_u64(b, home.recipients);
        pack_u64(b, (uint64_t)home.created_ms);
    }
    if (!content_find(q->cells, app, id, &k)) return;
    pack_u8(b, TOLD_CONTENT);
    pack_u8(b, (uint8_t)(content_cancelled(q->cells, app, id) | content_is_shared(q->cells, app, id)
                                                                    << 1));
    pack_u64(b, (uint64_t)k.created_ms);
    pack_u64(b, (uint64_t)k.send_at_ms);
    pack_bytes(b, k.workflow);
    struct unmerged m = {.of = {0}};
    if (content_is_shared(q->cells, app, id)) unmerged_count(q, id, &m);
    for (enum total t = 0; t < TOTAL_COUNT; t++)
        pack_var(b, content_total(q->cells, app, id, t) + m.of[t]);
}

struct total_name {
    const char *name;
    enum total total;
};
struct totals {
    bool found, cancelled, waits;
    int64_t created_ms, send_at_ms;
    struct bytes workflow;
    uint64_t named; /* recipients, as its home knows them */
    uint64_t of[TOTAL_COUNT];
};

static uint64_t stood_against(const uint64_t *of) {
    return of[TOTAL_BLOCKED] + of[TOTAL_MUTED] + of[TOTAL_OPTED_OUT] + of[TOTAL_CAPPED] +
           of[TOTAL_EXPIRED] + of[TOTAL_CANCELLED] + of[TOTAL_COLLAPSED];
}

static void content_told(struct unpack *u, struct totals *t) {
    uint8_t flags = unpack_u8(u);
    uint64_t of[TOTAL_COUNT];
    t->cancelled |= flags & 1;
    int64_t created = (int64_t)unpack_u64(u), send_at = (int64_t)unpack_u64(u);
    struct bytes workflow = unpack_bytes(u);
    if (workflow.n) { /* else it is known here only that it was cancelled */
        t->created_ms = created;
        t->workflow = workflow;
    }
    if (send_at) t->send_at_ms = send_at;
    for (int n = 0; n < TOTAL_COUNT; n++) of[n] = unpack_var(u);
    if (flags & 2) { /* merged when read: it is there for all against whom nothing is known */
        uint64_t against = stood_against(of);
        of[TOTAL_DELIVERED] = flags & 1                        ? of[TOTAL_SEEN]
                              : of[TOTAL_RECIPIENTS] > against ? of[TOTAL_RECIPIENTS] - against
                                                               : 0;
    }
    for (int n = 0; n < TOTAL_COUNT; n++) t->of[n] += of[n];
}

static void part_told(struct bytes body, struct totals *t) {
    struct unpack u = unpack_of(body);
    while (unpack_more(&u)) {
        t->found = true;
        if (unpack_u8(&u) == TOLD_CONTENT) {
            content_told(&u, t);
            continue;
        }
        uint8_t flags = unpack_u8(&u);
        uint64_t recipients = unpack_u64(&u);
        t->cancelled |= flags & 1;
        t->waits |= flags >> 1 & 1;
        t->created_ms = (int64_t)unpack_u64(&u);
        t->named = recipients;
    }
}

/* Whom it names counts while it waits for its time, too, and when it was cancelled before that. */
static void named_count(struct totals *t, struct bytes id, int64_t now_ms) {
    if (t->of[TOTAL_RECIPIENTS]) return;
    bool one = trigger_is_direct(id) && t->send_at_ms > now_ms && !t->cancelled;
    if (t->waits || t->cancelled) t->of[TOTAL_RECIPIENTS] = t->named;
    else if (one) t->of[TOTAL_RECIPIENTS] = 1;
    if (t->cancelled && !t->waits) t->of[TOTAL_CANCELLED] += t->named;
}

static void members(
    struct json_out *o, const struct totals *t, const struct total_name *names, size_t n) {
    for (size_t i = 0; i < n; i++) {
        jo_key(o, names[i].name);
        jo_u64(o, t->of[names[i].total]);
    }
}

static void totals_json(struct json_out *o, struct bytes id, const struct totals *t, int64_t now) {
    static const struct total_name TOP[] = {{"recipients", TOTAL_RECIPIENTS},
        {"delivered", TOTAL_DELIVERED}, {"seen", TOTAL_SEEN}, {"read", TOTAL_READ},
        {"clicked", TOTAL_CLICKED}, {"archived", TOTAL_ARCHIVED}, {"failed", TOTAL_FAILED},
        {"pushed", TOTAL_PUSHED}, {"mailed", TOTAL_MAILED}, {"webhooks", TOTAL_HOOKED},
        {"grouped", TOTAL_GROUPED}, {"held", TOTAL_HELD}};
    static const struct total_name BACK[] = {{"blocked", TOTAL_BLOCKED}, {"muted", TOTAL_MUTED},
        {"opted_out", TOTAL_OPTED_OUT}, {"capped", TOTAL_CAPPED}, {"expired", TOTAL_EXPIRED},
        {"cancelled", TOTAL_CANCELLED}, {"collapsed", TOTAL_COLLAPSED},
        {"digested", TOTAL_DIGESTED}, {"unlikely", TOTAL_UNLIKELY},
        {"no_address", TOTAL_NO_ADDRESS}, {"waiting", TOTAL_HELD}};
    bool waits = t->waits || t->send_at_ms > now;
    jo_open_obj(o);
    jo_key(o, "id");
    jo_str(o, id);
    if (t->workflow.n) {
        jo_key(o, "workflow");
        jo_str(o, t->workflow);
    }
    jo_key(o, "created_at");
    jo_time(o, t->created_ms);
    jo_key(o, "state");
    jo_str(o, bytes_str(t->cancelled ? "cancelled" : waits ? "scheduled" : "sent"));
    members(o, t, TOP, sizeof TOP / sizeof *TOP);
    jo_key(o, "held_back");
    jo_open_obj(o);
    members(o, t, BACK, sizeof BACK / sizeof *BACK);
    jo_close_obj(o);
    jo_close_obj(o);
}

void trigger_missing(const struct request *r, struct answer *a) {
    answer_problem(a, PROBLEM_NOT_FOUND, "", "there is no trigger '%.*s', or it is past retention",
        (int)r->params[0].n, (const char *)r->params[0].p);
}

static bool gather_totals(
    struct request *r, struct plan *p, const struct answer *parts, struct answer *a) {
    struct totals t = {0};
    for (size_t i = 0; i < p->part_count; i++) part_told(buf_view(&parts[i].body), &t);
    if (!t.found) {
        trigger_missing(r, a);
        return false;
    }
    named_count(&t, r->params[0], r->now_ms);
    answer_ok(a, 200);
    struct json_out o = {&a->body, false};
    totals_json(&o, r->params[0], &t, r->now_ms);
    return false;
}

enum err plan_totals(struct request *r, struct plan *p, struct answer *a) {
    (void)a;
    for (uint16_t at = 0; at < r->partitions; at++) plan_part(p, at)->query = query_totals;
    p->gather = gather_totals;
    return OK;
}
