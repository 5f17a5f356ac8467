/* workflow: what an app sets once and every partition has: its workflows, its webhooks.
 *
 *   PUT ─▶ record at home ─▶ a copy to each other partition ─▶ "is it there?" to each, until it is ─▶ answer
 *
 * All of one sort have one home, which says their order: a setting's version is its record's position
 * there. Copies come in that order, so a partition that has one version has all before it: that
 * number stands before the list of ids. Who has the answer finds the setting wherever what they
 * trigger next is decided.
 *
 *   tag app ""    u64 version of the newest that is here, repeated varbytes id, oldest first
 *   tag app id    u64 version, value
 * SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "workflow/workflow.h"

static struct bytes view_of(const struct cell *c) { return bytes_of(c->data, c->size); }

static struct cell *cell_of(
    struct cells *c, const struct settings *k, struct bytes app, struct bytes id) {
    uint8_t room[300];
    return cells_get(c, key2(room, k->tag, app, id));
}

uint16_t settings_home(const struct settings *k, struct bytes app, uint16_t partitions) {
    return partition_of_conversation(app, bytes_str(k->home), partitions);
}

struct bytes settings_find(struct cells *c, const struct settings *k, struct bytes app,
    struct bytes id, uint64_t *out_version) {
    struct unpack u = unpack_of(view_of(cell_of(c, k, app, id)));
    *out_version = 0;
    if (!unpack_more(&u)) return (struct bytes){0};
    *out_version = unpack_u64(&u);
    check(!u.bad);
    return bytes_of(u.p, (size_t)(u.end - u.p));
}

static struct unpack list_of(
    struct cells *c, const struct settings *k, struct bytes app, uint64_t *out_newest) {
    struct unpack u = unpack_of(view_of(cell_of(c, k, app, (struct bytes){0})));
    *out_newest = unpack_more(&u) ? unpack_u64(&u) : 0;
    check(!u.bad);
    return u;
}

void settings_each(struct cells *c, const struct settings *k, struct bytes app,
    void (*fn)(void *arg, struct bytes id, struct bytes value), void *arg) {
    uint64_t version;
    struct unpack u = list_of(c, k, app, &version);
    while (unpack_more(&u)) {
        struct bytes id = unpack_bytes(&u);
        fn(arg, id, settings_find(c, k, app, id, &version));
    }
}

/* ---- kith check ---- */
struct checking {
    const struct settings *k;
    bool (*whole)(struct bytes value);
    struct buf apps; /* packed: those with a list */
    uint64_t stored, listed;
    bool sound;
};

static bool check_cell(void *arg, struct bytes key, struct bytes value) {
    struct checking *w = arg;
    struct bytes app, id;
    if (!value.n || !key2_read(key, &app, &id)) return true;
    if (!id.n) pack_bytes(&w->apps, app);
    if (!id_valid(id)) return true;
    w->stored++;
    if (value.n < sizeof(uint64_t) ||
        !w->whole(bytes_of(value.p + sizeof(uint64_t), value.n - sizeof(uint64_t))))
        w->sound = false;
    return true;
}

bool settings_sound(
    struct cells *c, const struct settings *k, bool (*whole)(struct bytes value), struct buf *why) {
    struct checking w = {.k = k, .whole = whole, .sound = true};
    uint64_t version;
    cells_scan(c, bytes_of(&k->tag, 1), check_cell, &w);
    if (!w.sound) buf_fmt(why, "a %s cannot be read\n", k->noun);
    for (struct unpack apps = unpack_of(buf_view(&w.apps)); unpack_more(&apps);) {
        struct bytes app = unpack_bytes(&apps);
        struct unpack u = list_of(c, k, app, &version);
        struct buf ids = {0}; /* looking one up may move the list */
        buf_add(&ids, u.p, (size_t)(u.end - u.p));
        for (u = unpack_of(buf_view(&ids)); unpack_more(&u); w.listed++)
            if (!settings_find(c, k, app, unpack_bytes(&u), &version).n) {
                w.sound = false;
                buf_fmt(why, "a %s is listed and not there\n", k->noun);
            }
        buf_done(&ids);
    }
    if (w.listed != w.stored) {
        w.sound = false;
        buf_fmt(why, "%llu %ss are listed and %llu stored\n", (unsigned long long)w.listed, k->noun,
            (unsigned long long)w.stored);
    }
    buf_done(&w.apps);
    return w.sound;
}

/* ---- apply ---- */
static void list_change(struct step *s, const struct settings *k, struct bytes id, uint64_t version,
    bool had, bool has) {
    uint64_t newest;
    struct unpack u = list_of(s->cells, k, s->app, &newest);
    struct buf b = {0};
    pack_u64(&b, version);
    while (unpack_more(&u)) {
        struct bytes other = unpack_bytes(&u);
        if (has || !bytes_eq(other, id)) pack_bytes(&b, other);
    }
    if (has && !had) pack_bytes(&b, id);
    cells_put(s->cells, cell_of(s->cells, k, s->app, (struct bytes){0}), buf_view(&b));
    buf_done(&b);
}

static void here(struct step *s, const struct settings *k, struct bytes id, uint64_t version,
    struct bytes value) {
    struct cell *cell = cell_of(s->cells, k, s->app, id);
    struct buf b = {0};
    bool had = cell->size != 0;
    if (value.n) {
        pack_u64(&b, version);
        buf_bytes(&b, value);
    }
    cells_put(s->cells, cell, buf_view(&b));
    buf_done(&b);
    list_change(s, k, id, version, had, value.n != 0);
    if (k->changed) k->changed(s);
}

static bool room_for(struct step *s, const struct settings *k) {
    uint64_t newest;
    unsigned n = 0;
    for (struct unpack u = list_of(s->cells, k, s->app, &newest); unpack_more(&u); n++)
        unpack_bytes(&u);
    if (n < k->most) return true;
    answer_problem(
        s->answer, PROBLEM_LIMIT_REACHED, "", "an app has at most %u %ss", k->most, k->noun);
    return false;
}

bool settings_set(struct step *s, const struct settings *k, struct bytes id, struct bytes value) {
    bool had = cell_of(s->cells, k, s->app, id)->size != 0;
    uint64_t version = s->position;
    if (value.n && !had && !room_for(s, k)) return false;
    answer_ok(s->answer, value.n ? (had ? 200 : 201) : 204);
    if (value.n || had) {
        struct buf b = {0};
        here(s, k, id, version, value);
        pack_bytes(&b, id);
        pack_u64(&b, version);
        struct buf less = {0};
        if (k->travels && value.n) k->travels(value, &less);
        pack_bytes(&b, less.n ? buf_view(&less) : value);
        buf_done(&less);
        for (uint16_t p = 0; p < s->partitions; p++)
            if (p != s->partition) step_relay(s, p, k->copy, buf_view(&b));
        buf_done(&b);
    } else {
        (void)list_of(s->cells, k, s->app, &version); /* who deleted it may not be everywhere yet */
    }
    if (s->wanted) pack_u64(&s->answer->body, version);
    return true;
}

void settings_copied(struct step *s, const struct settings *k) {
    struct unpack u = unpack_of(s->body);
    struct bytes id = unpack_bytes(&u);
    uint64_t version = unpack_u64(&u);
    struct bytes value = unpack_bytes(&u);
    check(!u.bad);
    here(s, k, id, version, value);
    answer_ok(s->answer, 200);
}

/* ---- requests ---- */
enum { WAITS_MAX = 200 /* rounds: some ten seconds */, WAIT_MOST_MS = 64 };
struct settling { /* a request that waits until all partitions have what it wrote */
    const struct settings *k;
    uint64_t version;
    int status;
    struct bytes body;
    uint16_t *left; /* partitions that do not have it yet */
    size_t left_count;
    unsigned rounds;
};

static void query_settled(struct query *q) {
    const struct settling *w = q->request->args;
    uint64_t newest;
    (void)list_of(q->cells, w->k, q->request->who.app, &newest);
    answer_ok(q->answer, newest >= w->version ? 200 : 202);
}

static bool settle(struct settling *w, struct plan *p, struct answer *a) {
    plan_parts_reset(p);
    if (!w->left_count) {
        answer_ok(a, w->status);
        buf_bytes(&a->body, w->body);
        return false;
    }
    if (w->rounds == WAITS_MAX) {
        answer_problem(a, PROBLEM_OVERLOADED, "",
            "the %s is stored, and not in use everywhere yet: that takes longer than it should. "
            "Send it again to wait for it",
            w->k->noun);
        a->retry_after_s = 1;
        return false;
    }
    for (size_t i = 0; i < w->left_count; i++) plan_part(p, w->left[i])->query = query_settled;
    /* at first it is a matter of two commits */
    int doubled = (int)(w->rounds++ / 8);
    p->again_ms = doubled < 6 ? 1 << doubled : WAIT_MOST_MS;
    return true;
}

static bool gather_settled(
    struct request *r, struct plan *p, const struct answer *parts, struct answer *a) {
    struct settling *w = r->args;
    size_t left = 0;
    for (size_t i = 0; i < w->left_count; i++)
        if (parts[i].status != 200) w->left[left++] = w->left[i];
    w->left_count = left;
    return settle(w, p, a);
}

void answer_take(struct answer *a, const struct answer *part) {
    *a = *part;
    a->body = (struct buf){0};
    buf_bytes(&a->body, buf_view(&part->body));
}

bool settings_stored(const struct settings *k, struct request *r, struct plan *p,
    const struct answer *part, struct answer *a) {
    if (part->problem) {
        answer_take(a, part);
        return false;
    }
    struct settling *w = arena_zero(r->arena, sizeof *w);
    struct unpack u = unpack_of(buf_view(&part->body));
    uint16_t home = settings_home(k, r->who.app, r->partitions);
    w->k = k;
    w->status = part->status;
    w->version = unpack_u64(&u);
    check(!u.bad);
    w->body = arena_copy(r->arena, bytes_of(u.p, (size_t)(u.end - u.p)));
    w->left = arena_alloc(r->arena, r->partitions * sizeof *w->left);
    for (uint16_t i = 0; i < r->partitions; i++)
        if (i != home) w->left[w->left_count++] = i;
    r->args = w;
    p->gather = gather_settled;
    return settle(w, p, a);
}

/* ---- lists: the newest made first. A cursor is "<epoch>-<place>-<id>" of the last one shown ---- */
struct listing {
    const struct settings *k;
    void (*json)(struct json_out *o, struct bytes id, struct bytes value, int64_t now_ms);
    unsigned limit;
    uint64_t below; /* places below this one are to be shown; 0: from the newest */
    struct bytes last;
};

static uint64_t listing_left(const struct listing *l, const struct bytes *ids, uint64_t n) {
    if (!l->last.n) return n;
    for (uint64_t at = l->below < n ? l->below + 1 : n; at; at--)
        if (bytes_eq(ids[at - 1], l->last)) return at - 1;
    return l->below < n ? l->below : n;
}

static void query_listing(struct query *q) {
    const struct request *r = q->request;
    const struct listing *l = r->args;
    uint64_t version, n = 0;
    struct unpack u = list_of(q->cells, l->k, r->who.app, &version);
    struct bytes *ids = arena_alloc(r->arena, (l->k->most + 1) * sizeof *ids);
    while (unpack_more(&u)) ids[n++] = unpack_bytes(&u);
    uint64_t left = listing_left(l, ids, n), stop = left > l->limit ? left - l->limit : 0;
    struct json_out o = {&q->answer->body, false};
    answer_ok(q->answer, 200);
    jo_open_obj(&o);
    jo_key(&o, "items");
    jo_open_arr(&o);
    for (; left > stop; left--)
        l->json(&o, ids[left - 1],
            settings_find(q->cells, l->k, r->who.app, ids[left - 1], &version), r->now_ms);
    jo_close_arr(&o);
    jo_key(&o, "next");
    if (left) {
        struct buf cursor = {0};
        cursor_format(&cursor, r->epoch, left);
        buf_char(&cursor, '-');
        buf_bytes(&cursor, ids[left]);
        jo_str(&o, buf_view(&cursor));
        buf_done(&cursor);
    } else {
        jo_null(&o);
    }
    jo_close_obj(&o);
}

enum err settings_plan_list(const struct settings *k,
    void (*json)(struct json_out *o, struct bytes id, struct bytes value, int64_t now_ms),
    struct request *r, struct plan *p, struct answer *a) {
    struct listing *l = arena_zero(r->arena, sizeof *l);
    l->k = k;
    l->json = json;
    if (!request_limit(r, a, &l->limit) ||
        !cursor_good(
            cursor_parse_after(request_query(r, "cursor"), r->epoch, &l->below, &l->last), a))
        return REFUSED;
    r->args = l;
    p->partition = settings_home(k, r->who.app, r->partitions);
    p->query = query_listing;
    return OK;
}
