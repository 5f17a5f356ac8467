/* notify: what a notification looks like: its words in the reader's language, and the JSON of what a
 * mailbox entry says, with counts as they are now.
 *
 * A thread keeps two things, neither of them state: what it rendered last for those who share an entry,
 * and how far it merged the inboxes of those who are connected and have touched nothing since.
 * SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>
#include <string.h>

#include "notify/notify_in.h"
#include "person/person.h"

struct reader reader_of(struct cells *c, struct bytes app, struct bytes user) {
    struct person who;
    if (!person_find(c, app, user, &who)) return (struct reader){0};
    return (struct reader){.locale = who.locale, .zone = who.timezone};
}

/* What they read does not depend on who they are where there is one language, and no time is told. */
static struct reader reader_for(
    struct cells *c, struct bytes app, struct bytes user, const struct workflow *w) {
    bool matters = workflow_has_choice(w) || workflow_tells_times(w);
    return matters ? reader_of(c, app, user) : (struct reader){0};
}

/* ---- words ---- */
static struct bytes actor_word(struct cells *c, struct bytes app, const struct row *r) {
    struct unpack u = unpack_of(r->newest);
    if (!unpack_more(&u)) return (struct bytes){0};
    struct bytes id = unpack_bytes(&u), name = unpack_bytes(&u);
    if (person_gone_ms(c, app, id) >= r->at_ms) return BYTES("\xe2\x80\x94"); /* a dash */
    return name.n ? name : id;
}

static struct template_arg number_arg(const char *name, int64_t v) {
    return (struct template_arg){
        .name = bytes_str(name), .kind = TEMPLATE_INTEGER, .integer = v, .number = (double)v};
}
static struct template_arg text_arg(const char *name, struct bytes v) {
    return (struct template_arg){.name = bytes_str(name), .kind = TEMPLATE_TEXT, .text = v};
}

size_t notification_args(struct cells *c, struct bytes app, const struct workflow *w,
    struct bytes zone, const struct row *r, const struct content *k,
    struct template_arg out[static ARGS_MAX]) {
    size_t n = 0;
    out[n++] = text_arg("actor", actor_word(c, app, r));
    out[n++] = number_arg("count", r->actors);
    out[n++] = number_arg("others", r->actors ? (int64_t)r->actors - 1 : 0);
    out[n++] = text_arg("object", k->object);
    size_t data = args_unpack(k->args, out + n, ARGS_MAX - n);
    workflow_args_settle(w, zone, out + n, data);
    return n + data;
}

static void words(struct tools *t, const struct workflow *w, struct bytes locale,
    struct json_out *o, const char *part, const struct template_arg *args, size_t n) {
    struct buf text = {0};
    struct template_fault fault;
    /* checked when the workflow was stored; what fails still leaves the rest */
    if (!workflow_words(t, w, locale, part, args, n, &text, &fault)) buf_reset(&text);
    jo_key(o, part);
    jo_str_any(o, buf_view(&text));
    buf_done(&text);
}

static void actors_json(
    struct cells *c, struct bytes app, const struct row *r, struct json_out *o) {
    struct unpack u = unpack_of(r->newest);
    if (!unpack_more(&u)) return;
    jo_key(o, "actor");
    jo_str(o, unpack_bytes(&u));
    u = unpack_of(r->newest);
    jo_key(o, "actors");
    jo_open_obj(o);
    jo_key(o, "count");
    jo_u64(o, r->actors);
    jo_key(o, "newest");
    jo_open_arr(o);
    while (unpack_more(&u)) {
        jo_str(o, unpack_bytes(&u));
        (void)unpack_bytes(&u);
    }
    jo_close_arr(o);
    jo_close_obj(o);
}

static void time_member(struct json_out *o, const char *name, int64_t ms) {
    if (!ms) return;
    jo_key(o, name);
    jo_time(o, ms);
}

void notification_json(struct tools *t, struct cells *c, struct bytes app,
    const struct reader *reader, const struct row *r, const struct content *k,
    const struct workflow *w, struct buf *out) {
    struct template_arg args[ARGS_MAX];
    struct json_out o = {out, false};
    jo_key(&o, "id");
    jo_str(&o, r->id);
    jo_key(&o, "trigger");
    jo_str(&o, k->id);
    jo_key(&o, "workflow");
    jo_str(&o, k->workflow);
    time_member(&o, "created_at", r->created_ms);
    if (r->at_ms != r->created_ms) time_member(&o, "updated_at", r->at_ms);
    if (w) {
        size_t n = notification_args(c, app, w, reader->zone, r, k, args);
        words(t, w, reader->locale, &o, "title", args, n);
        words(t, w, reader->locale, &o, "body", args, n);
    } else { /* deleted since */
        jo_key(&o, "title");
        jo_str(&o, (struct bytes){0});
        jo_key(&o, "body");
        jo_str(&o, (struct bytes){0});
    }
    actors_json(c, app, r, &o);
    if (k->object.n) {
        jo_key(&o, "object");
        jo_str(&o, k->object);
    }
    if (k->data.n) {
        jo_key(&o, "data");
        jo_raw(&o, k->data);
    }
    time_member(&o, "seen_at", r->seen_ms);
    time_member(&o, "read_at", r->read_ms);
    time_member(&o, "archived_at", r->archived_ms);
    time_member(&o, "clicked_at", r->clicked_ms);
    time_member(&o, "expires_at", r->expires_ms);
}

/* ---- what a thread keeps ---- */
/* Some 48 bytes each, touched only where someone is connected. Of a set the one used longest ago gives
 * way. */
enum { MEMO_SETS = 1 << 15, MEMO_WAYS = 4, RENDERED_SLOTS = 16 };
struct merged { /* an inbox, as far as it was merged without being stored */
    uint64_t who, stamp, upto;
    uint64_t told, in; /* of mailbox_shared_told, then */
    int64_t next_expiry;
    uint32_t unseen, unread, used;
};
struct rendered {
    const struct cells *cells;
    uint64_t position, trigger, words, locale; /* several triggers may stand at one position */
    struct buf text;
};
struct inbox_memo {
    struct merged *merged;
    struct rendered rendered[RENDERED_SLOTS];
    unsigned next;
    uint32_t turn;
    struct arena arena;
};

struct inbox_memo *inbox_memo_create(void) {
    struct inbox_memo *m = must_alloc(sizeof *m);
    m->merged = must_alloc((size_t)MEMO_SETS * MEMO_WAYS * sizeof *m->merged);
    return m;
}

void inbox_memo_free(struct inbox_memo **m) {
    if (!*m) return;
    for (int i = 0; i < RENDERED_SLOTS; i++) buf_done(&(*m)->rendered[i].text);
    arena_done(&(*m)->arena);
    free((*m)->merged);
    free(*m);
    *m = NULL;
}

/* ---- counts ---- */
struct counts {
    uint32_t unseen, unread;
};

/* Nothing about the person, or in the workflow, makes what an audience gets other than one more row. */
static bool plain_person(struct cells *c, struct bytes app, struct bytes user) {
    return !mailbox_look(c, app, user).wishes;
}
static bool plain_content(
    struct cells *c, struct bytes app, const struct content *k, struct workflow *out) {
    return !k->collapse_key.n && !k->cancelled && workflow_find(c, app, k->workflow, out) &&
           !out->group_by.n && !expiry_of(out, k);
}

struct adding {
    struct cells *cells;
    struct bytes app;
    struct counts more;
    bool plain;
};
static bool add_entry(void *arg, const struct entry *e, struct bytes audience) {
    (void)audience;
    struct adding *a = arg;
    struct content k;
    struct workflow w;
    struct unpack u = unpack_of(e->extra);
    if (e->type != ENTRY_NOTIFICATION || unpack_u8(&u) != SAID_SHARED) return true;
    a->plain = content_find(a->cells, a->app, unpack_bytes(&u), &k) &&
               plain_content(a->cells, a->app, &k, &w);
    a->more.unseen++;
    a->more.unread++;
    return a->plain;
}

static struct counts counts_merged(struct inbox_memo *m, struct cells *c, struct bytes app,
    struct bytes user, int64_t now_ms, struct inbox_head *out) {
    struct inbox i;
    arena_reset(&m->arena);
    inbox_open(&i, c, app, user, now_ms, &m->arena);
    inbox_fold(&i, NULL);
    *out = i.head;
    return (struct counts){i.head.unseen, i.head.unread};
}

/* Of the same inbox since it was merged: true, and what came meanwhile is counted in. one: the only
 * thing that is known to have come, for an audience of theirs, and plain; 0: that is not known. */
static bool counts_go_on(struct merged *g, struct cells *c, struct bytes app, struct bytes user,
    uint64_t newest, uint64_t one, int64_t now_ms) {
    if (g->next_expiry && g->next_expiry <= now_ms) return false;
    if (g->upto == newest) return true;
    uint64_t in, told = mailbox_shared_told(c, app, user, &in);
    struct adding a = {.cells = c, .app = app, .plain = true, .more = {1, 1}};
    if (one != newest || told != g->told + 1 || in != g->in) {
        a.more = (struct counts){0};
        mailbox_walk_shared(c, app, user, g->upto, newest, add_entry, &a);
    }
    if (!a.plain) return false;
    g->unseen += a.more.unseen;
    g->unread += a.more.unread;
    g->upto = newest;
    g->told = told;
    g->in = in;
    return true;
}

static struct merged *merged_of(struct inbox_memo *m, uint64_t who) {
    struct merged *set = &m->merged[who % MEMO_SETS * MEMO_WAYS], *oldest = set;
    m->turn++;
    for (struct merged *g = set; g < set + MEMO_WAYS; g++) {
        if (g->who == who) {
            oldest = g;
            break;
        }
        if (m->turn - g->used > m->turn - oldest->used) oldest = g;
    }
    oldest->used = m->turn;
    return oldest;
}

/* one: the position of a plain entry for an audience that is being shown; or 0. */
static struct counts counts_now(struct tools *t, struct cells *c, struct bytes app,
    struct bytes user, uint64_t one, int64_t now_ms) {
    uint8_t room[300];
    struct bytes key = key2(room, ')', app, user);
    const struct cell *cell = cells_get(c, key);
    struct inbox_head head = {0};
    uint64_t newest = mailbox_newest_shared(c, app);
    if (cell->size) memcpy(&head, cell->data, sizeof head);
    bool expired = head.next_expiry && head.next_expiry <= now_ms;
    if (newest <= head.folded && !expired) return (struct counts){head.unseen, head.unread};
    uint64_t who = hash64(key) ^ (uint64_t)(uintptr_t)c;
    bool plain = plain_person(c, app, user);
    uint64_t stamp = hash64(bytes_of(&head, sizeof head));
    struct merged *g = merged_of(t->inboxes, who);
    if (plain && !expired && g->who == who && g->stamp == stamp &&
        counts_go_on(g, c, app, user, newest, one, now_ms))
        return (struct counts){g->unseen, g->unread};
    struct counts n = counts_merged(t->inboxes, c, app, user, now_ms, &head);
    *g = (struct merged){.who = plain ? who : 0,
        .stamp = stamp,
        .upto = newest,
        .next_expiry = head.next_expiry,
        .unseen = n.unseen,
        .unread = n.unread,
        .used = g->used};
    if (plain) g->told = mailbox_shared_told(c, app, user, &g->in);
    return n;
}

static void counts_json(struct buf *out, struct counts n) {
    buf_str(out, ",\"counts\":{\"unseen\":");
    buf_u64dec(out, n.unseen);
    buf_str(out, ",\"unread\":");
    buf_u64dec(out, n.unread);
    buf_char(out, '}');
}

/* ---- entries ---- */
static bool row_json(struct tools *t, struct cells *c, struct bytes app, const struct view *v,
    const struct row *r, struct buf *out) {
    struct content k;
    struct workflow w;
    if (!row_counts(r, v->now_ms) && !r->archived_ms) return false;
    if (!content_find_at(c, app, r->trigger, r->lies, &k) ||
        !workflow_find(c, app, k.workflow, &w) ||
        forbidden(c, app, v->user, mailbox_look(c, app, v->user).wishes, &w, &k, v->now_ms))
        return false;
    struct reader reader = reader_for(c, app, v->user, &w);
    notification_json(t, c, app, &reader, r, &k, &w, out);
    return true;
}

static bool own_json(struct tools *t, struct cells *c, struct bytes app, const struct view *v,
    const struct entry *e, struct bytes replaced, struct buf *out) {
    struct row r;
    if (!e->seq || !inbox_row_at(c, app, v->user, e->seq - 1, &r) || r.position != e->position)
        return false;
    if (!row_json(t, c, app, v, &r, out)) return false;
    if (!replaced.n) return true;
    buf_str(out, ",\"replaces\":");
    json_str(out, replaced);
    return true;
}

/* Rendered once for all who share it and read the same language, times in the same zone. */
static void shared_json(struct tools *t, struct cells *c, struct bytes app, const struct view *v,
    const struct entry *e, const struct content *k, const struct workflow *w, struct buf *out) {
    struct inbox_memo *m = t->inboxes;
    struct reader reader = reader_for(c, app, v->user, w);
    uint64_t language = hash64(reader.locale), trigger = hash64(k->id);
    if (workflow_tells_times(w)) language = language * 31 + hash64(reader.zone);
    for (int i = 0; i < RENDERED_SLOTS; i++) {
        const struct rendered *x = &m->rendered[i];
        if (x->cells != c || x->position != e->position || x->locale != language ||
            x->words != w->words || x->trigger != trigger)
            continue;
        buf_bytes(out, buf_view(&x->text));
        return;
    }
    struct rendered *x = &m->rendered[m->next++ % RENDERED_SLOTS];
    struct inbox i = {.arena = &m->arena};
    struct row r = {.id = k->id,
        .trigger = k->id,
        .workflow = k->workflow,
        .created_ms = e->at_ms,
        .at_ms = e->at_ms};
    arena_reset(&m->arena);
    actors_first(&i, &r, k);
    buf_reset(&x->text);
    notification_json(t, c, app, &reader, &r, k, w, &x->text);
    x->cells = c;
    x->position = e->position;
    x->trigger = trigger;
    x->locale = language;
    x->words = w->words;
    buf_bytes(out, buf_view(&x->text));
}

/* By position, in the inbox as it is merged now. */
static bool merged_json(struct tools *t, struct cells *c, struct bytes app, const struct view *v,
    const struct entry *e, struct buf *out) {
    struct inbox i;
    struct arena arena = {0};
    bool done = false;
    inbox_open(&i, c, app, v->user, v->now_ms, &arena);
    inbox_fold(&i, NULL);
    inbox_load(&i);
    for (size_t n = i.count; n > 0 && !done; n--) {
        const struct row *r = &i.row[n - 1];
        if (r->position != e->position || r->flags & (ROW_MOVED | ROW_HIDDEN)) continue;
        done = row_json(t, c, app, v, r, out);
        break;
    }
    arena_done(&arena);
    return done;
}

static bool audience_json(struct tools *t, struct cells *c, struct bytes app, const struct view *v,
    const struct entry *e, struct unpack *said, bool *out_plain, struct buf *out) {
    struct content k;
    struct workflow w;
    struct inbox_head head = {0};
    uint8_t room[300];
    struct bytes trigger = unpack_bytes(said);
    if (!content_find_at(c, app, trigger, unpack_more(said) ? unpack_var(said) : 0, &k))
        return false;
    const struct cell *cell = cells_get(c, key2(room, ')', app, v->user));
    if (cell->size) memcpy(&head, cell->data, sizeof head);
    if (head.folded >= e->position || !plain_person(c, app, v->user) ||
        !plain_content(c, app, &k, &w))
        return merged_json(t, c, app, v, e, out);
    shared_json(t, c, app, v, e, &k, &w, out);
    *out_plain = true;
    return true;
}

static bool marks_json(struct tools *t, struct cells *c, struct bytes app, const struct view *v,
    struct unpack *u, struct buf *out) {
    static const char *const NAMES[] = {"", "seen", "read", "archived", "clicked"};
    uint8_t mark = unpack_u8(u);
    struct bytes ids = unpack_bytes(u), upto = unpack_bytes(u);
    if (u->bad || mark > MARK_CLICKED) return false;
    struct json_out o = {out, false};
    jo_key(&o, "marked");
    jo_str(&o, bytes_str(NAMES[mark]));
    if (upto.n) {
        jo_key(&o, "upto");
        jo_str(&o, upto);
    }
    struct unpack list = unpack_of(ids);
    jo_key(&o, "ids");
    jo_open_arr(&o);
    while (unpack_more(&list)) jo_str(&o, unpack_bytes(&list));
    jo_close_arr(&o);
    return true;
}

static bool gone_json(struct unpack *u, struct buf *out) {
    struct json_out o = {out, false};
    jo_key(&o, "id");
    jo_str(&o, unpack_bytes(u));
    jo_key(&o, "reason");
    jo_str(&o, bytes_str(why_code((enum why)unpack_u8(u))));
    if (!unpack_more(u)) return !u->bad;
    jo_key(&o, "more");
    jo_open_arr(&o);
    while (unpack_more(u)) jo_str(&o, unpack_bytes(u));
    jo_close_arr(&o);
    return !u->bad;
}

bool notify_entry_json(struct tools *t, struct cells *c, struct bytes app, const struct view *v,
    const struct entry *e, struct buf *out, bool *shared) {
    struct unpack u = unpack_of(e->extra);
    enum said said = (enum said)unpack_u8(&u);
    size_t before = out->n;
    bool there = false, plain = false;
    *shared = false; /* counts are each reader's own */
    if (said == SAID_ROW) there = own_json(t, c, app, v, e, unpack_bytes(&u), out);
    else if (said == SAID_SHARED) there = audience_json(t, c, app, v, e, &u, &plain, out);
    else if (said == SAID_MARKS) there = marks_json(t, c, app, v, &u, out);
    else if (said == SAID_GONE) there = gone_json(&u, out);
    if (there) counts_json(out, counts_now(t, c, app, v->user, plain ? e->position : 0, v->now_ms));
    else out->n = before;
    return there;
}
