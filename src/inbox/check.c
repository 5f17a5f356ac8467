/* inbox: what must hold of the stored ones, looked at by `kith check`: rows can be read and stand where the head
 * says, a notification stands once, counts are those of a recount, what a row shows is kept. Reads; apply
 * never calls it.
 * SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>
#include <string.h>

#include "inbox/inbox_in.h"

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

static bool note(void *arg, struct bytes key, struct bytes value) {
    pack_bytes(arg, key);
    pack_bytes(arg, value);
    return true;
}

bool inboxes_sound(struct cells *c, struct buf *why) {
    struct looking *l = must_alloc(sizeof *l);
    struct buf all = {0};
    *l = (struct looking){.cells = c, .why = why, .sound = true};
    cells_scan(c, BYTES(")"), note, &all);
    for (struct unpack u = unpack_of(buf_view(&all)); unpack_more(&u);) {
        struct bytes key = unpack_bytes(&u), value = unpack_bytes(&u);
        if (value.n && key2_read(key, &l->app, &l->user)) inbox_look(l, value);
        cells_turn_end(c);
    }
    bool sound = l->sound;
    buf_done(&all);
    free(l);
    return sound;
}
