/* notify: digests: what is collected for a person until its window ends, then one row.
 *
 *   '-' app user workflow group   an open one: var until, u64 serial, varbytes row (empty: nothing
 *                                 collected), repeated varbytes trigger
 *   '-' app user                  which of them are open: repeated { varbytes workflow, u64 group }
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "due/due.h"
#include "notify/notify_in.h"

enum { DIGEST_TRIGGERS_MAX = 1024 };

struct digest {
    int64_t until_ms;
    uint64_t serial; /* the position at which it was opened */
    struct row row;
    bool empty; /* nothing collected yet */
    struct bytes triggers;
};

static struct cell *digest_cell(
    struct cells *c, struct bytes app, struct bytes user, struct bytes workflow, uint64_t group) {
    uint8_t room[300];
    return cells_get(c, key3n(room, '-', app, user, workflow, group));
}

static void digest_read(const struct cell *c, struct arena *arena, struct digest *d) {
    struct unpack u = unpack_of(arena_copy(arena, bytes_of(c->data, c->size)));
    *d = (struct digest){.until_ms = (int64_t)unpack_var(&u)};
    d->serial = unpack_u64(&u);
    struct bytes row = unpack_bytes(&u);
    d->empty = !row.n;
    if (row.n) row_decode(row, 0, &d->row);
    d->triggers = bytes_of(u.p, (size_t)(u.end - u.p));
    check(!u.bad);
}

static void digest_write(
    struct step *s, struct cell *c, const struct digest *d, const struct bytes *another) {
    struct buf b = {0}, row = {0};
    if (!d->empty) row_encode(&row, &d->row);
    pack_var(&b, (uint64_t)d->until_ms);
    pack_u64(&b, d->serial);
    pack_bytes(&b, buf_view(&row));
    buf_bytes(&b, d->triggers);
    if (another) pack_bytes(&b, *another);
    cells_put(s->cells, c, buf_view(&b));
    buf_done(&b);
    buf_done(&row);
}

/* Which are open, so that those of who is erased can go. */
static struct cell *open_cell(struct cells *c, struct bytes app, struct bytes user) {
    uint8_t room[300];
    return cells_get(c, key2(room, '-', app, user));
}
static void open_note(
    struct step *s, struct bytes user, struct bytes workflow, uint64_t group, bool on) {
    struct cell *c = open_cell(s->cells, s->app, user);
    struct buf b = {0};
    pack_bytes(&b, workflow);
    pack_u64(&b, group);
    if (on) {
        cells_append(s->cells, c, buf_view(&b));
    } else {
        for (struct unpack u = unpack_of(bytes_of(c->data, c->size)); unpack_more(&u);) {
            uint32_t at = (uint32_t)(u.p - c->data);
            (void)unpack_bytes(&u);
            (void)unpack_u64(&u);
            if (!bytes_eq(bytes_of(c->data + at, (size_t)(u.p - c->data) - at), buf_view(&b)))
                continue;
            cells_splice(s->cells, c, at, (uint32_t)b.n, (struct bytes){0});
            break;
        }
    }
    buf_done(&b);
}

void digests_erase(struct step *s, struct bytes user) {
    struct cell *list = open_cell(s->cells, s->app, user);
    struct inbox i;
    if (!list->size) return;
    inbox_open(&i, s->cells, s->app, user, s->time_ms, s->arena);
    struct unpack u = unpack_of(arena_copy(s->arena, bytes_of(list->data, list->size)));
    while (unpack_more(&u)) {
        struct bytes workflow = unpack_bytes(&u);
        struct cell *c = digest_cell(s->cells, s->app, user, workflow, unpack_u64(&u));
        struct digest d;
        if (!c->size) continue;
        digest_read(c, s->arena, &d);
        if (!d.empty) actors_forget(s, &i, &d.row);
        for (struct unpack t = unpack_of(d.triggers); unpack_more(&t);)
            content_blank(s, unpack_bytes(&t));
        cells_put(s->cells, c, (struct bytes){0});
    }
    cells_put(s->cells, list, (struct bytes){0});
}

static void due_digest(struct step *s, struct bytes user, const struct content *k, uint64_t group,
    const struct digest *d) {
    struct buf b = {0};
    pack_u8(&b, DUE_DIGEST);
    pack_bytes(&b, user);
    pack_bytes(&b, k->workflow);
    pack_u64(&b, group);
    pack_u64(&b, d->serial);
    due_add(s, d->until_ms, KIND_NOTIFY_DUE, buf_view(&b));
    buf_done(&b);
}

/* The row of a digest is not in the inbox yet: hidden, so that nothing counts it. */
static void collect(struct step *s, struct inbox *i, const struct workflow *w, struct digest *d,
    const struct content *k) {
    if (!d->empty) {
        if (w->learned)
            relevance_joins(
                s, i->user, &(struct judged){d->row.id, d->row.trigger, d->row.workflow});
        actors_join(s, i, &d->row, k);
        return;
    }
    d->empty = false;
    d->row = (struct row){.flags = ROW_HIDDEN,
        .id = k->id,
        .trigger = k->id,
        .workflow = k->workflow,
        .created_ms = s->time_ms,
        .at_ms = s->time_ms};
    actors_first(i, &d->row, k);
}

static size_t triggers_of(struct bytes packed) {
    struct unpack u = unpack_of(packed);
    size_t n = 0;
    for (; unpack_more(&u); n++) (void)unpack_bytes(&u);
    return n;
}

bool digest_take(struct step *s, struct inbox *i, const struct workflow *w, const struct content *k,
    bool unlikely) {
    uint64_t group = group_of(w, k);
    struct cell *c = digest_cell(s->cells, s->app, i->user, k->workflow, group);
    struct digest d;
    bool opened = !c->size;
    if (opened) {
        d = (struct digest){.empty = true, .serial = s->position};
        d.until_ms = s->time_ms + relevance_window(w);
        due_digest(s, i->user, k, group, &d);
        open_note(s, i->user, k->workflow, group, true);
        if (w->first_at_once && !unlikely) {
            digest_write(s, c, &d, NULL);
            return false;
        }
    } else {
        digest_read(c, s->arena, &d);
        if (triggers_of(d.triggers) >= DIGEST_TRIGGERS_MAX) { /* counted, and not asked again */
            collect(s, i, w, &d, k);
            digest_write(s, c, &d, NULL);
            return true;
        }
    }
    collect(s, i, w, &d, k);
    digest_write(s, c, &d, &k->id);
    content_count(s, k->id, TOTAL_DIGESTED, 1);
    content_count(s, k->id, TOTAL_HELD, 1);
    why_add(s, i->user, k->id, opened ? WHY_DIGEST_OPENED : WHY_DIGEST_JOINED, 0, d.until_ms,
        (struct bytes){0});
    return true;
}

/* Takes those out that may leave no more; *newest is the last that may. false: none is left. */
static bool digest_settle(struct step *s, struct inbox *i, const struct workflow *w,
    struct digest *d, struct content *newest) {
    struct unpack u = unpack_of(d->triggers);
    struct content k;
    uint8_t off = preferences_off(s->cells, s->app, i->user, d->row.workflow);
    bool any = false;
    while (unpack_more(&u)) {
        struct bytes id = unpack_bytes(&u);
        if (!content_copy(s, id, &k)) continue;
        content_count(s, id, TOTAL_HELD, -1);
        enum why why = forbidden(s->cells, s->app, i->user, i->person.wishes, w, &k, s->time_ms);
        if (why) {
            refused(s, i->user, &k, why, 0);
            actors_leave(s, i, &d->row, &k);
            continue;
        }
        if (w->at_once & ~off & CHANNEL_INAPP) content_count(s, id, TOTAL_DELIVERED, 1);
        why_add(s, i->user, id, WHY_DIGEST_SENT, 0, 0, d->row.id);
        *newest = k;
        any = true;
    }
    return any;
}

/* Its workflow was deleted: nobody knows how to tell it. */
static void digest_drop(struct step *s, struct bytes user, const struct digest *d) {
    struct unpack u = unpack_of(d->triggers);
    struct content k;
    while (unpack_more(&u)) {
        if (!content_copy(s, unpack_bytes(&u), &k)) continue;
        content_count(s, k.id, TOTAL_HELD, -1);
        refused(s, user, &k, WHY_WORKFLOW_GONE, 0);
    }
}

/* false: another record must (receive.c). */
bool digest_due(struct step *s, struct bytes user, struct unpack *u) {
    struct bytes workflow = unpack_bytes(u);
    uint64_t group = unpack_u64(u), serial = unpack_u64(u);
    struct cell *c = digest_cell(s->cells, s->app, user, workflow, group);
    struct digest d;
    struct inbox i;
    struct workflow w;
    struct content newest;
    if (!c->size) return true;
    digest_read(c, s->arena, &d);
    if (d.serial != serial) return true;
    bool known = mailbox_known(s->cells, s->app, user);
    if (known && !d.empty && mailbox_look(s->cells, s->app, user).last == s->position) return false;
    cells_put(s->cells, c, (struct bytes){0});
    open_note(s, user, workflow, group, false);
    if (d.empty || !known) return true;
    if (!workflow_find(s->cells, s->app, workflow, &w)) {
        digest_drop(s, user, &d);
        return true;
    }
    inbox_open(&i, s->cells, s->app, user, s->time_ms, s->arena);
    inbox_fold(&i, s);
    if (digest_settle(s, &i, &w, &d, &newest)) leave(s, &i, &w, &newest, &d.row);
    inbox_save(s, &i);
    return true;
}
