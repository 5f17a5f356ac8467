/* notify: what must hold of the stored inboxes, looked at by `kith check`: rows can be read and stand
 * where the head says, a notification stands once, counts are those of a recount, what a row shows is
 * kept, digests are those of users who are known; wishes and settings can be read. Reads; apply never
 * calls it.
 * SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>
#include <string.h>

#include "notify/notify_in.h"

enum { ROWS_KEPT_MAX = INBOX_BLOCK * (INBOX_BLOCKS + 1) };

struct looking {
    struct cells *cells;
    struct buf *why;
    bool sound;
    struct bytes app, user;
    struct inbox_head head;
    uint64_t ids[ROWS_KEPT_MAX]; /* hashes, of rows that stand */
    size_t standing;
    uint32_t unseen, unread;
};

static void wrong(struct looking *l, const char *what, uint64_t found, uint64_t belongs) {
    buf_fmt(l->why, "inbox of %.*s of app %.*s: %s: %llu is stored, %llu belongs there\n",
        (int)l->user.n, (const char *)l->user.p, (int)l->app.n, (const char *)l->app.p, what,
        (unsigned long long)found, (unsigned long long)belongs);
    l->sound = false;
}

/* What was counted last is what expires no sooner than the head says. */
static void row_look(struct looking *l, const struct row *r) {
    struct content k;
    if (r->flags & ROW_MOVED) return;
    l->ids[l->standing++] = hash64(r->id);
    if (row_counts(r, l->head.next_expiry ? l->head.next_expiry - 1 : INT64_MAX)) {
        l->unseen += !r->seen_ms;
        l->unread += !r->read_ms;
    }
    if (!content_find(l->cells, l->app, r->trigger, &k)) {
        if (content_is_kept(l->cells, l->app, r->trigger))
            wrong(l, "the content of a row, at", r->n, r->n);
    } else if (!bytes_eq(k.workflow, r->workflow)) {
        wrong(l, "the workflow of a row, at", r->n, r->n);
    }
}

/* Adds to *n how many rows stand in it. */
static void block_look(struct looking *l, uint64_t block, uint64_t *n) {
    uint8_t room[300];
    const struct cell *cell = cells_get(l->cells, key2n(room, '*', l->app, l->user, block));
    struct buf copy = {0}; /* looking for contents may move cells */
    buf_add(&copy, cell->data, cell->size);
    struct unpack u = unpack_of(buf_view(&copy));
    while (unpack_more(&u) && l->sound) {
        struct row r;
        struct bytes v = unpack_bytes(&u);
        if (u.bad || !row_read(v, *n, &r)) wrong(l, "a row that cannot be read, at", *n, *n);
        else if (*n >= l->head.rows) wrong(l, "rows", *n + 1, l->head.rows);
        else row_look(l, &r);
        ++*n;
    }
    buf_done(&copy);
    cells_turn_end(l->cells);
}

static int hash_order(const void *a, const void *b) {
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return x < y ? -1 : x > y;
}
static void twice_look(struct looking *l) {
    qsort(l->ids, l->standing, sizeof *l->ids, hash_order);
    for (size_t k = 1; k < l->standing; k++)
        if (l->ids[k] == l->ids[k - 1]) wrong(l, "one notification, at places", 2, 1);
}

static void rows_look(struct looking *l) {
    const struct inbox_head *h = &l->head;
    uint64_t n = h->first;
    l->standing = 0;
    l->unseen = l->unread = 0;
    while (n < h->rows && l->sound) {
        uint64_t before = n;
        block_look(l, n / INBOX_BLOCK, &n);
        if (n < h->rows && (n % INBOX_BLOCK || n == before)) break;
    }
    if (!l->sound) return;
    if (n != h->rows) wrong(l, "rows", n, h->rows);
    twice_look(l);
    if (l->unseen != h->unseen) wrong(l, "the count of unseen ones", h->unseen, l->unseen);
    if (l->unread != h->unread) wrong(l, "the count of unread ones", h->unread, l->unread);
}

static void inbox_look(struct looking *l, struct bytes value) {
    const struct inbox_head *h = &l->head;
    enum { CAP_BYTES = 12 };
    bool sound = l->sound;
    l->sound = true;
    if (value.n < sizeof *h || (value.n - sizeof *h) % CAP_BYTES) {
        wrong(l, "the size of its head", value.n, sizeof *h);
        l->sound = false;
        return;
    }
    memcpy(&l->head, value.p, sizeof *h);
    if (h->first % INBOX_BLOCK || h->first > h->rows) wrong(l, "its oldest row", h->first, h->rows);
    else if (h->rows - h->first > ROWS_KEPT_MAX)
        wrong(l, "rows", h->rows - h->first, ROWS_KEPT_MAX);
    else if (!mailbox_known(l->cells, l->app, l->user)) wrong(l, "a user who is known", 0, 1);
    else rows_look(l);
    l->sound &= sound;
}

/* ---- digests ---- */
static void digests_look(struct looking *l, struct bytes key) {
    const uint8_t *app = key.p + 1, *end = key.p + key.n, *user, *past;
    past = memchr(app, 0, (size_t)(end - app));
    user = past ? past + 1 : end;
    l->app = bytes_of(app, (size_t)(user - app) - (user > app && past));
    past = user < end ? memchr(user, 0, (size_t)(end - user)) : NULL;
    l->user = bytes_of(user, past ? (size_t)(past - user) : 0);
    if (!past) wrong(l, "the key of a digest", key.n, 0);
    else if (!mailbox_known(l->cells, l->app, l->user))
        wrong(l, "a digest of someone who is known", 0, 1);
}

static void held_look(struct looking *l, struct bytes value) {
    if (!held_whole(value)) wrong(l, "the bytes of what is held", value.n, 0);
    else if (!mailbox_known(l->cells, l->app, l->user))
        wrong(l, "what is held for someone who is known", 0, 1);
}

/* ---- wishes ---- */
static void preferences_look(struct looking *l, struct bytes value) {
    if (preferences_whole(value)) return;
    buf_fmt(l->why, "notifications: app %.*s, %.*s: the preferences cannot be read\n",
        (int)l->app.n, (const char *)l->app.p, (int)l->user.n, (const char *)l->user.p);
    l->sound = false;
}

/* ---- all of them ---- */
static bool note(void *arg, struct bytes key, struct bytes value) {
    pack_bytes(arg, key);
    pack_bytes(arg, value);
    return true;
}
static void each(struct looking *l, char tag, void (*look)(struct looking *, struct bytes)) {
    struct buf all = {0};
    cells_scan(l->cells, bytes_of(&tag, 1), note, &all);
    for (struct unpack u = unpack_of(buf_view(&all)); unpack_more(&u);) {
        struct bytes key = unpack_bytes(&u), value = unpack_bytes(&u);
        if (!value.n) continue;
        if (tag == '-') digests_look(l, key);
        else if (key2_read(key, &l->app, &l->user)) look(l, value);
        cells_turn_end(l->cells);
    }
    buf_done(&all);
}

bool notify_check(struct cells *c, struct buf *why) {
    struct looking *l = must_alloc(sizeof *l);
    *l = (struct looking){.cells = c, .why = why, .sound = true};
    each(l, ')', inbox_look);
    each(l, '%', preferences_look);
    each(l, '-', NULL);
    each(l, '/', held_look);
    bool sound = l->sound;
    free(l);
    sound &= workflows_sound(c, why);
    sound &= webhooks_sound(c, why);
    sound &= sends_sound(c, why);
    return sound;
}
