/* notify: a trigger as its owner sees it: how many it reached, why not the others, and every decision on
 * the way to one person.
 * SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>
#include <string.h>

#include "notify/notify_in.h"

/* ---- DELETE ---- */
enum err plan_cancel(struct request *r, struct plan *p, struct answer *a) {
    (void)a;
    p->partition = trigger_home(r->who.app, r->params[0], r->partitions);
    p->kind = KIND_NOTIFY_CANCEL;
    buf_bytes(&p->body, r->params[0]);
    return OK;
}

/* ---- of an audience, whose inboxes merge it when they are looked at ---- */
struct audience_look {
    struct bytes trigger;
    uint64_t position;
    int64_t at_ms;
};
static bool look_entry(void *arg, const struct entry *e, struct bytes audience) {
    (void)audience;
    struct audience_look *l = arg;
    struct bytes trigger;
    if (!said_shared(e, &trigger) || !bytes_eq(trigger, l->trigger)) return true;
    l->position = e->position;
    l->at_ms = e->at_ms;
    return false;
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
        mailbox_walk_shared(m->cells, m->app, user, folded, UINT64_MAX, look_entry, &l);
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
        {"digested", TOTAL_DIGESTED}, {"unlikely", TOTAL_UNLIKELY}, {"waiting", TOTAL_HELD}};
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

static void trigger_missing(const struct request *r, struct answer *a) {
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

/* ---- why ---- */
struct deciding {
    struct json_out o;
    size_t n;
};

static void decision_json(struct deciding *w, const struct decision *d) {
    struct buf words = {0};
    struct json_out *o = &w->o;
    jo_open_obj(o);
    jo_key(o, "at");
    jo_time(o, d->at_ms);
    jo_key(o, "decision");
    jo_str(o, bytes_str(why_code(d->code)));
    if (d->channels) {
        struct buf channels = {0};
        channels_words(d->channels, &channels);
        jo_key(o, "channels");
        jo_str(o, buf_view(&channels));
        buf_done(&channels);
    }
    if (d->until_ms) {
        jo_key(o, "until");
        jo_time(o, d->until_ms);
    }
    if (d->detail.n) {
        jo_key(o, "detail");
        jo_str_any(o, d->detail);
    }
    decision_words(d, &words);
    jo_key(o, "reason");
    jo_str_any(o, buf_view(&words));
    buf_done(&words);
    jo_close_obj(o);
    w->n++;
}

/* What merging would decide now. */
static void why_merged(struct query *q, struct deciding *w, const struct content *k) {
    const struct request *r = q->request;
    struct bytes app = r->who.app, user = r->params[1];
    struct audience_look l = {.trigger = r->params[0]};
    struct workflow flow;
    mailbox_walk_shared(q->cells, app, user, 0, UINT64_MAX, look_entry, &l);
    struct decision d = {.at_ms = l.position ? l.at_ms : k->created_ms};
    if (!l.position) d.code = WHY_NOT_IN_AUDIENCE;
    else if (workflow_find(q->cells, app, k->workflow, &flow))
        d.code = forbidden(
            q->cells, app, user, mailbox_look(q->cells, app, user).wishes, &flow, k, r->now_ms);
    if (!d.code) d.code = WHY_MERGED;
    decision_json(w, &d);
}

/* The row that the trigger began or joined last. */
static const struct row *row_of(struct inbox *i, struct bytes id) {
    inbox_load(i);
    for (size_t n = i->count; n > 0; n--) {
        const struct row *r = &i->row[n - 1];
        if (!(r->flags & ROW_MOVED) && (bytes_eq(r->id, id) || bytes_eq(r->trigger, id))) return r;
    }
    return NULL;
}

enum { HISTORY_MAX = 64, ROW_TELLS_MAX = 6 };
struct history { /* decisions that were written down, and those that the row says */
    struct decision d[HISTORY_MAX + ROW_TELLS_MAX];
    size_t n;
};
static void history_note(void *arg, const struct decision *d) {
    struct history *h = arg;
    if (h->n < HISTORY_MAX) h->d[h->n++] = *d;
}

/* Behind those that came before it, and at the same time. */
static void history_insert(struct history *h, struct decision d) {
    if (!d.at_ms) return;
    size_t at = h->n++;
    for (; at > 0 && h->d[at - 1].at_ms > d.at_ms; at--) h->d[at] = h->d[at - 1];
    h->d[at] = d;
}

/* Before all but the prediction, which let it come. */
static void history_begin(struct history *h, struct decision d) {
    size_t first = 0;
    while (first < h->n && (h->d[first].code == WHY_LIKELY || h->d[first].code == WHY_EXPLORED))
        first++;
    for (size_t at = h->n++; at > first; at--) h->d[at] = h->d[at - 1];
    h->d[first] = d;
}

/* That it came into the inbox is not written down: its row says so, unless it came another way. */
static bool row_came(const struct row *r, struct bytes id, const struct history *h) {
    bool taken = false;
    if (!bytes_eq(r->id, id)) return false;
    for (size_t n = 0; n < h->n; n++) {
        enum why c = h->d[n].code;
        if (c == WHY_COLLAPSED || c == WHY_DIGEST_SENT) return false;
        taken |= c == WHY_REPLACED || c == WHY_CANCELLED || c == WHY_EXPIRED || c == WHY_WITHDRAWN;
    }
    return taken || !(r->flags & ROW_HIDDEN); /* hidden, and not taken away: only sent outside */
}

static void why_list(struct query *q, struct deciding *w, struct bytes user) {
    const struct request *r = q->request;
    struct history *h = must_alloc(sizeof *h);
    struct arena arena = {0};
    struct inbox i;
    inbox_open(&i, q->cells, r->who.app, user, r->now_ms, &arena);
    const struct row *row = row_of(&i, r->params[0]);
    why_each(q->cells, r->who.app, user, r->params[0], history_note, h);
    if (row && row_came(row, r->params[0], h))
        history_begin(h, (struct decision){.at_ms = row->created_ms, .code = WHY_DELIVERED});
    if (row && !(row->flags & ROW_HIDDEN)) {
        int64_t lapsed = row->expires_ms > r->now_ms || row->archived_ms ? 0 : row->expires_ms;
        history_insert(h, (struct decision){.at_ms = row->seen_ms, .code = WHY_SEEN});
        history_insert(h, (struct decision){.at_ms = row->read_ms, .code = WHY_READ});
        history_insert(h, (struct decision){.at_ms = row->clicked_ms, .code = WHY_CLICKED});
        history_insert(h, (struct decision){.at_ms = row->archived_ms, .code = WHY_ARCHIVED});
        history_insert(h, (struct decision){.at_ms = lapsed, .code = WHY_LAPSED});
    }
    for (size_t n = 0; n < h->n; n++) decision_json(w, &h->d[n]);
    arena_done(&arena);
    free(h);
}

/* A trigger that waits in its home: when it leaves, if it is for this person; -1 if only then is known for
 * whom. */
static int64_t leaves_at(const struct trigger_home *home, struct bytes user) {
    struct unpack item = unpack_of(home->item);
    struct content k;
    if (!home->waits || content_decode(&item, &k) != OK) return 0;
    struct unpack users = unpack_of(unpack_bytes(&item));
    while (unpack_more(&users))
        if (bytes_eq(unpack_bytes(&users), user)) return k.send_at_ms;
    return k.audience.n ? -1 : 0;
}

/* u8 whether the trigger is known here, and whether it was cancelled, u64 ms of one for an audience that has
 * reached all of it, u64 of when it was made, u64 when it leaves (leaves_at), which its home tells; then,
 * where the person lives, the list. */
enum { WHY_SETTLED_MS = 5000 };
enum { WHY_KNOWN = 1, WHY_WAS_CANCELLED = 2 };
static void query_why(struct query *q) {
    const struct request *r = q->request;
    struct bytes app = r->who.app, id = r->params[0], user = r->params[1];
    struct trigger_home home = {0};
    struct content k;
    struct buf *b = &q->answer->body;
    answer_ok(q->answer, 200);
    bool here = content_find(q->cells, app, id, &k);
    bool known = trigger_home_read(q->cells, app, id, &home) || here;
    bool settled = home.audience && !home.waits && r->now_ms - home.created_ms > WHY_SETTLED_MS;
    pack_u8(b, (uint8_t)((known ? WHY_KNOWN : 0) | (home.cancelled ? WHY_WAS_CANCELLED : 0)));
    pack_u64(b, settled ? (uint64_t)home.created_ms : 0);
    pack_u64(b, (uint64_t)home.created_ms);
    pack_u64(b, (uint64_t)leaves_at(&home, user));
    if (partition_of_user(app, user, r->partitions) != q->partition) return;
    struct deciding w = {.o = {b, false}};
    jo_open_arr(&w.o);
    why_list(q, &w, user);
    if (!w.n && here && k.audience.n) why_merged(q, &w, &k);
    else if (!w.n && here && k.send_at_ms > r->now_ms)
        decision_json(
            &w, &(struct decision){
                    .at_ms = k.created_ms, .code = WHY_SCHEDULED, .until_ms = k.send_at_ms});
    jo_close_arr(&w.o);
    if (w.n) b->p[0] |= WHY_KNOWN;
}

/* What is said of a person of whom nothing is written down. */
struct why_home {
    int64_t settled_ms, created_ms, leaves_ms;
    bool known, cancelled;
};
static bool why_from_home(struct json_out *o, const struct why_home *h) {
    struct decision d = {.at_ms = h->settled_ms, .code = WHY_NOT_IN_AUDIENCE};
    if (h->leaves_ms > 0)
        d = (struct decision){
            .at_ms = h->created_ms, .code = WHY_SCHEDULED, .until_ms = h->leaves_ms};
    else if (!h->settled_ms) return false;
    struct deciding w = {.o = {o->b, false}};
    jo_open_arr(&w.o);
    decision_json(&w, &d);
    jo_close_arr(&w.o);
    o->comma = true;
    return true;
}

static const char *why_nothing(const struct why_home *h) {
    if (h->cancelled) return "the trigger was cancelled before it came to this person";
    if (h->leaves_ms < 0)
        return "the trigger waits for its time: it is for those who are in its audience then";
    return "the trigger was not for this person, or has not come to them yet";
}

static bool gather_why(
    struct request *r, struct plan *p, const struct answer *parts, struct answer *a) {
    struct bytes list = {0};
    struct why_home h = {0};
    for (size_t i = 0; i < p->part_count; i++) {
        struct unpack u = unpack_of(buf_view(&parts[i].body));
        uint8_t flags = unpack_u8(&u);
        int64_t settled = (int64_t)unpack_u64(&u), created = (int64_t)unpack_u64(&u);
        int64_t leaves = (int64_t)unpack_u64(&u);
        h.known |= flags & WHY_KNOWN;
        h.cancelled |= flags >> 1 & 1;
        if (settled) h.settled_ms = settled;
        if (created) h.created_ms = created;
        if (leaves) h.leaves_ms = leaves;
        if (unpack_more(&u)) list = bytes_of(u.p, (size_t)(u.end - u.p));
    }
    if (!h.known) {
        trigger_missing(r, a);
        return false;
    }
    answer_ok(a, 200);
    struct json_out o = {&a->body, false};
    jo_open_obj(&o);
    jo_key(&o, "trigger");
    jo_str(&o, r->params[0]);
    jo_key(&o, "user");
    jo_str(&o, r->params[1]);
    jo_key(&o, "items");
    bool none = list.n == 2 && !why_from_home(&o, &h);
    if (list.n != 2 || none) jo_raw(&o, list);
    if (none) {
        jo_key(&o, "reason");
        jo_str(&o, bytes_str(why_nothing(&h)));
    }
    jo_close_obj(&o);
    return false;
}

enum err plan_why(struct request *r, struct plan *p, struct answer *a) {
    (void)a;
    uint16_t user = partition_of_user(r->who.app, r->params[1], r->partitions);
    uint16_t home = trigger_home(r->who.app, r->params[0], r->partitions);
    plan_part(p, user)->query = query_why;
    if (home != user) plan_part(p, home)->query = query_why;
    p->gather = gather_why;
    return OK;
}
