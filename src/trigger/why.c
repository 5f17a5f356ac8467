/* trigger: every decision on the way to one person, in words.
 * SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>

#include "inbox/inbox.h"
#include "mailbox/mailbox.h"
#include "trigger/trigger_in.h"

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
    audience_look_for(&l, q->cells, app, user, 0);
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
