/* inbox: the JSON of what a mailbox entry says of an inbox, as its reader may see it now.
 * SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "inbox/inbox_in.h"

/* What they read does not depend on who they are where there is one language, and no time is told. */
static struct reader reader_for(
    struct cells *c, struct bytes app, struct bytes user, const struct workflow *w) {
    bool matters = workflow_has_choice(w) || workflow_tells_times(w);
    return matters ? reader_of(c, app, user) : (struct reader){0};
}

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

bool inbox_entry_json(struct tools *t, struct cells *c, struct bytes app, const struct view *v,
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
