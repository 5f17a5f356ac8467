/* inbox: a person's rows in blocks, and counts; loaded into memory to be changed or shown.
 *
 *   ')' app user     struct inbox_head, then the caps (caps.c)
 *   '*' app user n   INBOX_BLOCK rows: repeated varbytes(row)
 *
 * Keeps: counts are those of rows shown, not archived and not expired; a row that moves leaves its
 * place behind, so that places never change; a notification id stands at one place.
 * SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "inbox/inbox_in.h"

static struct cell *block_cell(struct cells *c, struct bytes app, struct bytes user, uint64_t n) {
    uint8_t room[300];
    return cells_get(c, key2n(room, '*', app, user, n));
}

void inbox_ahead(struct cells *c, struct bytes app, struct bytes user) {
    uint8_t room[300];
    cells_ahead(c, key2(room, ')', app, user));
}
void inbox_rows_ahead(struct cells *c, struct bytes app, struct bytes user) {
    uint8_t room[300];
    struct inbox_head h;
    const struct cell *head = cells_near(c, key2(room, ')', app, user));
    if (!head || head->size < sizeof h) return;
    memcpy(&h, head->data, sizeof h);
    cells_ahead(c, key2n(room, '*', app, user, h.rows / INBOX_BLOCK));
}

/* ---- stored rows ---- */
bool inbox_row_at(
    struct cells *c, struct bytes app, struct bytes user, uint64_t n, struct row *out) {
    const struct cell *cell = block_cell(c, app, user, n / INBOX_BLOCK);
    struct unpack u = unpack_of(bytes_of(cell->data, cell->size));
    struct bytes v = {0};
    for (uint64_t at = n / INBOX_BLOCK * INBOX_BLOCK; at <= n; at++) {
        if (!unpack_more(&u)) return false;
        v = unpack_bytes(&u);
    }
    row_decode(v, n, out);
    return !(out->flags & ROW_MOVED);
}

/* ---- counts ---- */
bool row_counts(const struct row *r, int64_t now_ms) {
    return !(r->flags & (ROW_MOVED | ROW_HIDDEN)) && !r->archived_ms &&
           (!r->expires_ms || r->expires_ms > now_ms);
}

void row_begin(struct inbox *i, struct row *r) {
    if (!row_counts(r, i->now_ms)) return;
    i->head.unseen -= !r->seen_ms;
    i->head.unread -= !r->read_ms;
}

static void expiry_note(struct inbox *i, const struct row *r) {
    if (r->expires_ms && (!i->head.next_expiry || r->expires_ms < i->head.next_expiry))
        i->head.next_expiry = r->expires_ms;
}

void row_end(struct inbox *i, struct row *r) {
    r->changed = true;
    if (!row_counts(r, i->now_ms)) return;
    i->head.unseen += !r->seen_ms;
    i->head.unread += !r->read_ms;
    expiry_note(i, r);
}

/* Some that were counted have expired since. */
static void recount(struct inbox *i) {
    inbox_load(i);
    i->head.unseen = i->head.unread = 0;
    i->head.next_expiry = 0;
    for (size_t k = 0; k < i->count; k++) {
        const struct row *r = &i->row[k];
        if (!row_counts(r, i->now_ms)) continue;
        i->head.unseen += !r->seen_ms;
        i->head.unread += !r->read_ms;
        expiry_note(i, r);
    }
}

/* ---- in memory ---- */
void inbox_open(struct inbox *i, struct cells *c, struct bytes app, struct bytes user,
    int64_t now_ms, struct arena *arena) {
    struct cell *cell = inbox_head_cell(c, app, user);
    *i = (struct inbox){
        .cells = c, .app = app, .user = user, .arena = arena, .now_ms = now_ms, .cell = cell};
    if (cell->size) {
        check(cell->size >= sizeof i->head);
        memcpy(&i->head, cell->data, sizeof i->head);
        size_t caps = cell->size - sizeof i->head;
        if (caps) i->caps = arena_copy(arena, bytes_of(cell->data + sizeof i->head, caps));
    }
    i->person = mailbox_look(c, app, user);
    i->stored = i->head.rows;
    if (i->head.next_expiry && i->head.next_expiry <= now_ms) recount(i);
}

static void room_for(struct inbox *i, size_t more) {
    if (i->count + more <= i->cap) return;
    size_t cap = i->cap ? i->cap * 2 : 8;
    while (cap < i->count + more) cap *= 2;
    struct row *rows = arena_alloc(i->arena, cap * sizeof *rows);
    if (i->count) memcpy(rows, i->row, i->count * sizeof *rows);
    i->row = rows;
    i->cap = cap;
}

/* Rows that were appended meanwhile stay behind them. */
void inbox_load(struct inbox *i) {
    if (i->loaded) return;
    i->loaded = true;
    struct row *fresh = i->row;
    size_t fresh_count = i->count;
    i->row = NULL;
    i->count = i->cap = 0;
    for (uint64_t n = i->head.first; n < i->stored;) {
        const struct cell *cell = block_cell(i->cells, i->app, i->user, n / INBOX_BLOCK);
        struct bytes block = arena_copy(i->arena, bytes_of(cell->data, cell->size));
        struct unpack u = unpack_of(block);
        room_for(i, INBOX_BLOCK);
        for (n = n / INBOX_BLOCK * INBOX_BLOCK; unpack_more(&u); n++) {
            row_decode(unpack_bytes(&u), n, &i->row[i->count]);
            i->count += !(i->row[i->count].flags & ROW_MOVED) && n >= i->head.first;
        }
        check(!u.bad && (n == i->stored || n % INBOX_BLOCK == 0));
    }
    room_for(i, fresh_count);
    if (fresh_count) memcpy(i->row + i->count, fresh, fresh_count * sizeof *fresh);
    i->count += fresh_count;
}

struct row *inbox_append(struct inbox *i, const struct row *r) {
    struct row copy = *r;
    room_for(i, 1);
    struct row *at = &i->row[i->count++];
    *at = copy;
    at->n = i->head.rows++;
    at->flags &= (uint8_t)~ROW_MOVED;
    row_end(i, at);
    return at;
}

struct row *inbox_bump(struct inbox *i, struct row *r) {
    struct row copy = *r;
    row_begin(i, r);
    r->flags |= ROW_MOVED;
    r->changed = true;
    return inbox_append(i, &copy);
}

static bool shown(const struct row *r) { return !(r->flags & (ROW_MOVED | ROW_HIDDEN)); }

struct row *inbox_by_id(struct inbox *i, struct bytes id) {
    for (size_t k = i->count; k > 0; k--)
        if (shown(&i->row[k - 1]) && bytes_eq(i->row[k - 1].id, id)) return &i->row[k - 1];
    return NULL;
}

struct row *inbox_find(struct inbox *i, struct bytes id) {
    inbox_load(i);
    for (size_t k = i->count; k > 0; k--)
        if (!(i->row[k - 1].flags & ROW_MOVED) && bytes_eq(i->row[k - 1].id, id))
            return &i->row[k - 1];
    return NULL;
}

/* One that was read is done with: what comes then begins another. */
struct row *inbox_by_group(struct inbox *i, struct bytes workflow, uint64_t group) {
    for (size_t k = i->count; k > 0; k--) {
        struct row *r = &i->row[k - 1];
        if (shown(r) && r->group == group && !r->read_ms && row_counts(r, i->now_ms) &&
            bytes_eq(r->workflow, workflow))
            return r;
    }
    return NULL;
}

struct row *inbox_by_collapse(struct inbox *i, uint64_t collapse) {
    for (size_t k = i->count; k > 0; k--) {
        struct row *r = &i->row[k - 1];
        if (shown(r) && r->collapse == collapse && !r->seen_ms && row_counts(r, i->now_ms))
            return r;
    }
    return NULL;
}

/* ---- storing ---- */
static void row_rewrite(struct step *s, struct inbox *i, const struct row *r) {
    struct cell *cell = block_cell(s->cells, i->app, i->user, r->n / INBOX_BLOCK);
    struct unpack u = unpack_of(bytes_of(cell->data, cell->size));
    const uint8_t *from = u.p;
    for (uint64_t n = r->n / INBOX_BLOCK * INBOX_BLOCK; n <= r->n; n++) {
        from = u.p;
        (void)unpack_bytes(&u);
    }
    check(!u.bad);
    struct buf row = {0}, b = {0};
    row_encode(&row, r);
    pack_bytes(&b, buf_view(&row));
    cells_splice(
        s->cells, cell, (uint32_t)(from - cell->data), (uint32_t)(u.p - from), buf_view(&b));
    buf_done(&row);
    buf_done(&b);
}

static void row_store(struct step *s, struct inbox *i, const struct row *r) {
    struct buf row = {0}, b = {0};
    buf_reserve(&row, 128 + r->newest.n);
    row_encode(&row, r);
    buf_reserve(&b, row.n + 4);
    pack_bytes(&b, buf_view(&row));
    struct cell *cell = block_cell(s->cells, i->app, i->user, r->n / INBOX_BLOCK);
    if (r->n % INBOX_BLOCK == 0) cells_put(s->cells, cell, buf_view(&b));
    else cells_append(s->cells, cell, buf_view(&b));
    buf_done(&row);
    buf_done(&b);
}

/* The oldest blocks go when a new one has begun; what they counted goes too. */
static void trim(struct step *s, struct inbox *i) {
    while (i->head.rows > i->head.first + INBOX_BLOCK * (INBOX_BLOCKS + 1)) {
        uint64_t block = i->head.first / INBOX_BLOCK;
        struct cell *cell = block_cell(s->cells, i->app, i->user, block);
        struct unpack u = unpack_of(bytes_of(cell->data, cell->size));
        for (uint64_t n = i->head.first; unpack_more(&u); n++) {
            struct row r;
            row_decode(unpack_bytes(&u), n, &r);
            row_begin(i, &r);
            if (!(r.flags & ROW_MOVED)) actors_forget(s, i, &r);
        }
        cells_put(s->cells, cell, (struct bytes){0});
        i->head.first = (block + 1) * INBOX_BLOCK;
    }
}

/* The same of an inbox that is only read. */
void inbox_trim_look(struct inbox *i) {
    if (i->head.rows <= i->head.first + INBOX_BLOCK * (INBOX_BLOCKS + 1)) return;
    inbox_load(i);
    while (i->head.rows > i->head.first + INBOX_BLOCK * (INBOX_BLOCKS + 1))
        i->head.first = (i->head.first / INBOX_BLOCK + 1) * INBOX_BLOCK;
    for (size_t k = 0; k < i->count; k++) {
        struct row *r = &i->row[k];
        if (r->n >= i->head.first) continue;
        row_begin(i, r);
        r->flags |= ROW_MOVED;
    }
}

static void head_store(struct step *s, const struct inbox *i) {
    struct cell *cell = i->cell;
    struct inbox_head head = i->head;
    size_t n = sizeof head + i->caps.n;
    if (cell->size) { /* decisions were written meanwhile */
        struct inbox_head now;
        memcpy(&now, cell->data, sizeof now);
        head.whys = now.whys;
    }
    if (cell->size == n) {
        uint8_t *at = cells_edit(s->cells, cell);
        memcpy(at, &head, sizeof head);
        if (i->caps.n) memcpy(at + sizeof head, i->caps.p, i->caps.n);
        return;
    }
    struct buf b = {0};
    buf_add(&b, &head, sizeof head);
    buf_bytes(&b, i->caps);
    cells_put(s->cells, cell, buf_view(&b));
    buf_done(&b);
}

void inbox_save(struct step *s, struct inbox *i) {
    /* a row that was appended and moved on has a place too: all are looked at in order */
    for (size_t k = 0; k < i->count; k++) {
        struct row *r = &i->row[k];
        if (!r->changed) continue;
        r->changed = false;
        if (r->n < i->stored) row_rewrite(s, i, r);
        else row_store(s, i, r);
    }
    i->stored = i->head.rows;
    trim(s, i);
    head_store(s, i);
}

void inbox_erase(struct step *s, struct bytes user) {
    struct cell *cell = inbox_head_cell(s->cells, s->app, user);
    struct inbox_head head;
    if (!cell->size) return;
    why_erase(s, user);
    memcpy(&head, cell->data, sizeof head);
    struct inbox i;
    inbox_open(&i, s->cells, s->app, user, s->time_ms, s->arena);
    inbox_load(&i);
    for (size_t k = 0; k < i.count; k++) {
        actors_forget(s, &i, &i.row[k]);
        content_blank(s, i.row[k].trigger);
    }
    for (uint64_t n = head.first / INBOX_BLOCK; n * INBOX_BLOCK < head.rows; n++)
        cells_put(s->cells, block_cell(s->cells, s->app, user, n), (struct bytes){0});
    cells_put(s->cells, inbox_head_cell(s->cells, s->app, user), (struct bytes){0});
}

uint64_t inbox_folded(struct cells *c, struct bytes app, struct bytes user) {
    const struct cell *cell = inbox_head_cell(c, app, user);
    struct inbox_head head = {0};
    if (cell->size) memcpy(&head, cell->data, sizeof head);
    return head.folded;
}
