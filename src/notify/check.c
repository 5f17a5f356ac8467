/* notify: what must hold in a partition: counts equal a recount of the rows, each notification stands
 * once in an inbox, settings can be read and are listed, wishes can be read.
 * SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "notify/notify_in.h"

struct looking {
    struct cells *cells;
    struct buf *why;
    bool sound;
};

static void wrong(struct looking *l, struct bytes app, struct bytes id, const char *what) {
    buf_fmt(l->why, "notifications: app %.*s, %.*s: %s\n", (int)app.n, (const char *)app.p,
        (int)id.n, (const char *)id.p, what);
    l->sound = false;
}

/* ---- inboxes ---- */
/* Those that expired before the earliest that is counted are counted no more. */
static int64_t counted_at(const struct inbox_head *h) {
    return h->next_expiry ? h->next_expiry - 1 : INT64_MAX;
}

static bool id_is_twice(const struct inbox *i, size_t k) {
    for (size_t n = 0; n < k; n++)
        if (!(i->row[n].flags & ROW_MOVED) && bytes_eq(i->row[n].id, i->row[k].id)) return true;
    return false;
}

static void inbox_look(struct looking *l, struct bytes key, struct bytes value) {
    struct arena arena = {0};
    struct bytes app, user;
    struct inbox_head head;
    struct inbox i;
    uint32_t unseen = 0, unread = 0;
    if (!key2_read(key, &app, &user) || value.n < sizeof head) return;
    memcpy(&head, value.p, sizeof head);
    inbox_open(&i, l->cells, app, user, counted_at(&head), &arena);
    inbox_load(&i);
    for (size_t k = 0; k < i.count; k++) {
        const struct row *r = &i.row[k];
        if (id_is_twice(&i, k)) wrong(l, app, user, "a notification stands in the inbox twice");
        if (!row_counts(r, i.now_ms)) continue;
        unseen += !r->seen_ms;
        unread += !r->read_ms;
    }
    if (unseen != head.unseen || unread != head.unread) {
        struct buf words = {0};
        buf_fmt(&words, "counts %u unseen and %u unread, has %u and %u", head.unseen, head.unread,
            unseen, unread);
        buf_char(&words, 0);
        wrong(l, app, user, (const char *)words.p);
        buf_done(&words);
    }
    arena_done(&arena);
}

/* ---- wishes ---- */
static void preferences_look(struct looking *l, struct bytes key, struct bytes value) {
    struct bytes app, user;
    if (!key2_read(key, &app, &user)) return;
    if (!preferences_whole(value)) wrong(l, app, user, "the preferences cannot be read");
}

static bool note(void *arg, struct bytes key, struct bytes value) {
    pack_bytes(arg, key);
    pack_bytes(arg, value);
    return true;
}

static void each(
    struct looking *l, char tag, void (*look)(struct looking *, struct bytes, struct bytes)) {
    struct buf all = {0};
    cells_scan(l->cells, bytes_of(&tag, 1), note, &all);
    for (struct unpack u = unpack_of(buf_view(&all)); unpack_more(&u);) {
        struct bytes key = unpack_bytes(&u), value = unpack_bytes(&u);
        if (value.n) look(l, key, value);
        cells_turn_end(l->cells);
    }
    buf_done(&all);
}

bool notify_check(struct cells *c, struct buf *why) {
    struct looking l = {c, why, true};
    each(&l, ')', inbox_look);
    each(&l, '%', preferences_look);
    l.sound &= workflows_sound(c, why);
    l.sound &= webhooks_sound(c, why);
    return l.sound;
}
