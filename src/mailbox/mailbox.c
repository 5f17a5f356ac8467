/* mailbox: users' lists, the merge with their audiences', and whom they block and mute. Pure where a step is given. SPDX-License-Identifier: Apache-2.0 */
#include "mailbox/mailbox.h"

#include <stdlib.h>
#include <string.h>

#include "mailbox/mailbox_in.h"

static struct cell *cell_of(struct cells *c, char tag, struct bytes app, struct bytes id) {
    uint8_t room[300];
    return cells_get(c, key2(room, tag, app, id));
}
static struct bytes view_of(const struct cell *cell) { return bytes_of(cell->data, cell->size); }

bool mailbox_known(struct cells *c, struct bytes app, struct bytes user) { return cell_of(c, 'm', app, user)->size != 0; }

bool mailbox_ensure(struct step *s, struct bytes user) {
    if (mailbox_known(s->cells, s->app, user)) return false;
    struct list_head h = {0};
    list_head_set(s->cells, 'm', s->app, user, &h);
    return true;
}

static struct entry stamped(const struct step *s, const struct entry *e) {
    struct entry n = *e;
    n.position = s->position;
    n.at_ms = s->time_ms;
    return n;
}

void mailbox_append(struct step *s, struct bytes user, const struct entry *e) {
    struct entry n = stamped(s, e);
    list_append(s, 'm', user, &n);
    struct delivery d = {.kind = DELIVER_ENTRY, .user = user, .entry = n};
    step_deliver(s, &d);
}

void mailbox_append_shared(struct step *s, struct bytes audience, const struct entry *e) {
    struct entry n = stamped(s, e);
    list_append(s, 's', audience, &n);
    struct delivery d = {.kind = DELIVER_ENTRY, .audience = audience, .entry = n};
    step_deliver(s, &d);
}

/* ---- walking: the merge of own entries and those of audiences, by position ---- */
struct merge {
    struct list_walk *walks;
    size_t n, cap;
    struct cells *cells;
    struct bytes app;
    uint64_t after;
};

static void merge_add(struct merge *m, char head_tag, struct bytes owner, uint64_t after, uint64_t to) {
    if (m->n == m->cap) {
        m->cap = m->cap ? m->cap * 2 : 8;
        m->walks = must_realloc(m->walks, m->cap * sizeof *m->walks);
    }
    if (list_walk_begin(&m->walks[m->n], m->cells, head_tag, m->app, owner, after, to)) m->n++;
}

static bool merge_membership(void *arg, const struct membership *g) {
    struct merge *m = arg;
    if (!g->to || g->to > m->after) merge_add(m, 's', g->audience, g->from > m->after ? g->from : m->after, g->to ? g->to : UINT64_MAX);
    return true;
}

size_t mailbox_walk(struct cells *c, struct bytes app, struct bytes user, uint64_t after, size_t limit,
                    bool (*fn)(void *, const struct entry *), void *arg) {
    struct merge m = {.cells = c, .app = app, .after = after};
    merge_add(&m, 'm', user, after, UINT64_MAX);
    memberships_each(c, app, user, merge_membership, &m);
    size_t given = 0;
    while (m.n && given < limit) {
        size_t least = 0;
        for (size_t i = 1; i < m.n; i++)
            if (m.walks[i].entry.position < m.walks[least].entry.position) least = i;
        given++;
        if (!fn(arg, &m.walks[least].entry)) break;
        if (!list_walk_next(&m.walks[least])) m.walks[least] = m.walks[--m.n];
    }
    free(m.walks);
    return given;
}

struct newest {
    struct cells *cells;
    struct bytes app;
    uint64_t last;
};
static bool newest_of(void *arg, const struct membership *g) {
    struct newest *w = arg;
    uint64_t last = list_head_get(w->cells, 's', w->app, g->audience).last;
    if (g->to && last > g->to) last = g->to;
    if (last > g->from && last > w->last) w->last = last;
    return true;
}

uint64_t mailbox_last(struct cells *c, struct bytes app, struct bytes user) {
    struct newest w = {c, app, list_head_get(c, 'm', app, user).last};
    memberships_each(c, app, user, newest_of, &w);
    return w.last;
}

uint64_t mailbox_first_kept(struct cells *c, struct bytes app, struct bytes user) {
    (void)c;
    (void)app;
    (void)user;
    return 1; /* entries are kept for good; a retention would be asked here */
}

/* ---- memberships ---- */
static struct cell *memberships_chunk(struct cells *c, struct bytes app, struct bytes user, uint64_t chunk) {
    uint8_t room[300];
    return cells_get(c, key2n(room, 'G', app, user, chunk));
}
static uint32_t count_get(struct cells *c, char tag, struct bytes app, struct bytes id) {
    struct cell *cell = cell_of(c, tag, app, id);
    uint32_t n = 0;
    if (cell->size) memcpy(&n, cell->data, 4);
    return n;
}
static void count_set(struct cells *c, char tag, struct bytes app, struct bytes id, uint32_t n) {
    cells_put(c, cell_of(c, tag, app, id), bytes_of(&n, 4));
}

static bool membership_read(struct unpack *u, struct membership *g) {
    if (!unpack_more(u)) return false;
    g->audience = unpack_bytes(u);
    g->from = unpack_u64(u);
    g->to = unpack_u64(u);
    check(!u->bad);
    return true;
}

void memberships_each(struct cells *c, struct bytes app, struct bytes user, bool (*fn)(void *, const struct membership *), void *arg) {
    uint32_t n = count_get(c, 'g', app, user);
    for (uint32_t chunk = 0; chunk * MEMBERSHIPS_CHUNK < n; chunk++) {
        struct unpack u = unpack_of(view_of(memberships_chunk(c, app, user, chunk)));
        struct membership g;
        while (membership_read(&u, &g))
            if (!fn(arg, &g)) return;
    }
}

/* ---- members of an audience in this partition ---- */
static struct cell *members_chunk(struct cells *c, struct bytes app, struct bytes audience, uint64_t chunk) {
    uint8_t room[300];
    return cells_get(c, key2n(room, 'L', app, audience, chunk));
}
static struct cell *slot_cell(struct cells *c, struct bytes app, struct bytes user, struct bytes audience) {
    uint8_t room[300];
    return cells_get(c, key3(room, 'r', app, user, audience));
}

bool mailbox_is_in(struct cells *c, struct bytes app, struct bytes user, struct bytes audience) { return slot_cell(c, app, user, audience)->size != 0; }
uint64_t mailbox_member_count(struct cells *c, struct bytes app, struct bytes audience) { return count_get(c, 'l', app, audience); }

void mailbox_members(struct cells *c, struct bytes app, struct bytes audience, bool (*fn)(void *, struct bytes), void *arg) {
    uint32_t n = count_get(c, 'l', app, audience);
    for (uint32_t chunk = 0; chunk * MEMBERS_CHUNK < n; chunk++) {
        struct unpack u = unpack_of(view_of(members_chunk(c, app, audience, chunk)));
        while (unpack_more(&u))
            if (!fn(arg, unpack_bytes(&u))) return;
    }
}

void mailbox_join(struct step *s, struct bytes user, struct bytes audience) {
    struct cell *slot = slot_cell(s->cells, s->app, user, audience);
    if (slot->size) return;
    uint32_t n = count_get(s->cells, 'l', s->app, audience);
    cells_put(s->cells, slot, bytes_of(&n, 4));
    struct buf b = {0};
    pack_bytes(&b, user);
    cells_append(s->cells, members_chunk(s->cells, s->app, audience, n / MEMBERS_CHUNK), buf_view(&b));
    count_set(s->cells, 'l', s->app, audience, n + 1);
    buf_reset(&b);
    pack_bytes(&b, audience);
    pack_u64(&b, s->position);
    pack_u64(&b, 0);
    uint32_t g = count_get(s->cells, 'g', s->app, user);
    cells_append(s->cells, memberships_chunk(s->cells, s->app, user, g / MEMBERSHIPS_CHUNK), buf_view(&b));
    count_set(s->cells, 'g', s->app, user, g + 1);
    buf_done(&b);
}

/* Where the nth id of a chunk lies. */
static struct bytes member_at(const struct cell *chunk, uint32_t n, uint32_t *out_at, uint32_t *out_size) {
    struct unpack u = unpack_of(view_of(chunk));
    struct bytes id = {0};
    for (uint32_t i = 0; i <= n; i++) {
        *out_at = (uint32_t)(u.p - chunk->data);
        id = unpack_bytes(&u);
    }
    check(!u.bad);
    *out_size = (uint32_t)(u.p - chunk->data) - *out_at;
    return id;
}

/* The last member takes the place of the one who leaves. */
static void member_remove(struct step *s, struct bytes audience, uint32_t slot) {
    uint32_t n = count_get(s->cells, 'l', s->app, audience), at, size, last_at, last_size;
    struct cell *chunk = members_chunk(s->cells, s->app, audience, slot / MEMBERS_CHUNK);
    struct cell *last = members_chunk(s->cells, s->app, audience, (n - 1) / MEMBERS_CHUNK);
    struct bytes moved = arena_copy(s->arena, member_at(last, (n - 1) % MEMBERS_CHUNK, &last_at, &last_size));
    cells_splice(s->cells, last, last_at, last_size, (struct bytes){0});
    if (slot != n - 1) {
        struct buf b = {0};
        pack_bytes(&b, moved);
        member_at(chunk, slot % MEMBERS_CHUNK, &at, &size);
        cells_splice(s->cells, chunk, at, size, buf_view(&b));
        buf_done(&b);
        cells_put(s->cells, slot_cell(s->cells, s->app, moved, audience), bytes_of(&slot, 4));
    }
    count_set(s->cells, 'l', s->app, audience, n - 1);
}

void mailbox_leave(struct step *s, struct bytes user, struct bytes audience) {
    struct cell *cell = slot_cell(s->cells, s->app, user, audience);
    if (!cell->size) return;
    uint32_t slot;
    memcpy(&slot, cell->data, 4);
    cells_put(s->cells, cell, (struct bytes){0});
    member_remove(s, audience, slot);
    uint32_t n = count_get(s->cells, 'g', s->app, user);
    for (uint32_t chunk = 0; chunk * MEMBERSHIPS_CHUNK < n; chunk++) {
        struct cell *c = memberships_chunk(s->cells, s->app, user, chunk);
        struct unpack u = unpack_of(view_of(c));
        struct membership g;
        while (membership_read(&u, &g)) {
            if (g.to || !bytes_eq(g.audience, audience)) continue;
            uint64_t to = s->position;
            cells_splice(s->cells, c, (uint32_t)(u.p - c->data) - 8, 8, bytes_of(&to, 8));
            return;
        }
    }
}

/* ---- blocks and mutes: packed ids ---- */
static bool ids_have(struct bytes packed, struct bytes id, uint32_t *out_at, uint32_t *out_size) {
    struct unpack u = unpack_of(packed);
    while (unpack_more(&u)) {
        const uint8_t *at = u.p;
        if (!bytes_eq(unpack_bytes(&u), id)) continue;
        *out_at = (uint32_t)(at - packed.p);
        *out_size = (uint32_t)(u.p - at);
        return true;
    }
    return false;
}

static void ids_set(struct step *s, char tag, struct bytes user, struct bytes other, bool on) {
    struct cell *c = cell_of(s->cells, tag, s->app, user);
    uint32_t at, size;
    if (ids_have(view_of(c), other, &at, &size) == on) return;
    if (!on) {
        cells_splice(s->cells, c, at, size, (struct bytes){0});
        return;
    }
    struct buf b = {0};
    pack_bytes(&b, other);
    cells_append(s->cells, c, buf_view(&b));
    buf_done(&b);
}

void mailbox_set_block(struct step *s, struct bytes user, struct bytes other, bool on) { ids_set(s, 'b', user, other, on); }
void mailbox_set_mute(struct step *s, struct bytes user, struct bytes other, bool on) { ids_set(s, 'z', user, other, on); }
struct bytes mailbox_block_list(struct cells *c, struct bytes app, struct bytes user) { return view_of(cell_of(c, 'b', app, user)); }
struct bytes mailbox_mute_list(struct cells *c, struct bytes app, struct bytes user) { return view_of(cell_of(c, 'z', app, user)); }
bool mailbox_blocks(struct cells *c, struct bytes app, struct bytes user, struct bytes other) {
    uint32_t at, size;
    return ids_have(mailbox_block_list(c, app, user), other, &at, &size);
}

struct leaving {
    struct step *s;
    struct bytes *list;
    size_t n;
};
static bool leave_note(void *arg, const struct membership *g) {
    struct leaving *l = arg;
    if (!g->to) l->list[l->n++] = arena_copy(l->s->arena, g->audience);
    return true;
}

void mailbox_erase(struct step *s, struct bytes user) {
    uint32_t n = count_get(s->cells, 'g', s->app, user);
    struct leaving l = {s, arena_alloc(s->arena, (n + 1) * sizeof(struct bytes)), 0};
    memberships_each(s->cells, s->app, user, leave_note, &l);
    for (size_t i = 0; i < l.n; i++) mailbox_leave(s, user, l.list[i]);
    for (uint32_t chunk = 0; chunk * MEMBERSHIPS_CHUNK < n; chunk++)
        cells_put(s->cells, memberships_chunk(s->cells, s->app, user, chunk), (struct bytes){0});
    struct list_head h = list_head_get(s->cells, 'm', s->app, user);
    for (uint64_t b = h.first_block; b * LIST_BLOCK < h.count; b++) cells_put(s->cells, list_block(s->cells, 'M', s->app, user, b), (struct bytes){0});
    for (const char *tag = "mgbz"; *tag; tag++) cells_put(s->cells, cell_of(s->cells, *tag, s->app, user), (struct bytes){0});
}
