/* chat, conversation side: who is in it, in the order in which they joined, and in that in which
 * they last read.
 *
 *   'P' app conv user    struct member: its slots say where in the two lines it stands
 *   'p' app conv chunk   those who joined: { u8 slot % 256 · varbytes user } of the slots 256 chunk
 *                        .. 256 chunk + 255 that are taken, ascending
 *   'O' app conv         u32 for each chunk of 'p' but the first that is there, ascending
 *   'n' and 'N'          the same two of those who read (joining is a first reading); of a direct
 *                        conversation there is no such line
 *   'Q' app conv         u32 for each partition: how many members live there
 *
 * Keeps: a slot is given once, so a page that stopped at one goes on behind it whoever came, went
 * or read; each of these costs one chunk a line. A conversation that has members has an owner,
 * except a direct one. SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "chat/conv_in.h"

static struct bytes view_of(const struct cell *c) { return bytes_of(c->data, c->size); }
static struct cell *member_cell(
    struct cells *c, struct bytes app, struct bytes conv, struct bytes user) {
    uint8_t room[300];
    return cells_get(c, key3(room, 'P', app, conv, user));
}
bool member_get(
    struct cells *c, struct bytes app, struct bytes conv, struct bytes user, struct member *out) {
    struct cell *cell = member_cell(c, app, conv, user);
    if (cell->size != sizeof *out) return false;
    memcpy(out, cell->data, sizeof *out);
    return true;
}
void member_set(struct step *s, struct bytes conv, struct bytes user, const struct member *m) {
    struct cell *cell = member_cell(s->cells, s->app, conv, user);
    if (cell->size == sizeof *m) memcpy(cells_edit(s->cells, cell), m, sizeof *m);
    else cells_put(s->cells, cell, bytes_of(m, sizeof *m));
}

/* ---- a line of members: who is new comes last ---- */
#define CHUNK 256u
struct line {
    char chunk, chunks; /* tags */
};
static const struct line JOINED = {'p', 'O'}, READ = {'n', 'N'};

static struct cell *chunk_cell(
    struct cells *c, const struct line *k, struct bytes app, struct bytes conv, uint32_t chunk) {
    uint8_t room[300];
    return cells_get(c, key2n(room, k->chunk, app, conv, chunk));
}
static struct cell *chunks_cell(
    struct cells *c, const struct line *k, struct bytes app, struct bytes conv) {
    uint8_t room[300];
    return cells_get(c, key2(room, k->chunks, app, conv));
}
static uint32_t chunk_at(const struct cell *chunks, size_t i) {
    uint32_t n;
    memcpy(&n, chunks->data + i * sizeof n, sizeof n);
    return n;
}
/* How many chunks of the line are before this one. */
static size_t chunks_before(const struct cell *chunks, uint64_t chunk) {
    size_t lo = 0, hi = chunks->size / sizeof(uint32_t);
    while (lo < hi) {
        size_t mid = (lo + hi) / 2;
        if (chunk_at(chunks, mid) < chunk) lo = mid + 1;
        else hi = mid;
    }
    return lo;
}

static void line_add(
    struct step *s, const struct line *k, struct bytes conv, uint64_t slot, struct bytes user) {
    check(slot / CHUNK <= UINT32_MAX);
    uint32_t chunk = (uint32_t)(slot / CHUNK);
    struct cell *cell = chunk_cell(s->cells, k, s->app, conv, chunk);
    if (!cell->size && chunk)
        cells_append(
            s->cells, chunks_cell(s->cells, k, s->app, conv), bytes_of(&chunk, sizeof chunk));
    struct buf b = {0};
    pack_u8(&b, (uint8_t)(slot % CHUNK));
    pack_bytes(&b, user);
    cells_append(s->cells, cell, buf_view(&b));
    buf_done(&b);
}

static void line_remove(struct step *s, const struct line *k, struct bytes conv, uint64_t slot) {
    uint32_t chunk = (uint32_t)(slot / CHUNK);
    struct cell *cell = chunk_cell(s->cells, k, s->app, conv, chunk), *chunks;
    struct unpack u = unpack_of(view_of(cell));
    for (;;) {
        check(unpack_more(&u));
        uint32_t at = (uint32_t)(u.p - cell->data);
        bool found = unpack_u8(&u) == slot % CHUNK;
        unpack_bytes(&u);
        if (!found) continue;
        cells_splice(s->cells, cell, at, (uint32_t)(u.p - cell->data) - at, (struct bytes){0});
        break;
    }
    if (cell->size || !chunk) return;
    chunks = chunks_cell(s->cells, k, s->app, conv);
    cells_splice(s->cells, chunks, (uint32_t)(chunks_before(chunks, chunk) * sizeof chunk),
        sizeof chunk, (struct bytes){0});
}

/* One chunk, the newest first; false: fn has had enough. */
static bool chunk_newest(const struct cell *cell, uint64_t chunk, uint64_t below,
    bool (*fn)(void *, uint64_t, struct bytes), void *arg) {
    struct unpack u = unpack_of(view_of(cell));
    struct bytes user[CHUNK];
    uint64_t slot[CHUNK];
    unsigned n = 0;
    while (unpack_more(&u)) {
        check(n < CHUNK);
        slot[n] = chunk * CHUNK + unpack_u8(&u);
        user[n] = unpack_bytes(&u);
        n += slot[n] < below;
    }
    while (n--)
        if (!fn(arg, slot[n], user[n])) return false;
    return true;
}

static void line_newest(struct cells *c, const struct line *k, struct bytes app, struct bytes conv,
    uint64_t below, bool (*fn)(void *, uint64_t, struct bytes), void *arg) {
    const struct cell *chunks = chunks_cell(c, k, app, conv);
    if (!below) below = UINT64_MAX;
    for (size_t i = chunks_before(chunks, (below - 1) / CHUNK + 1); i > 0; i--) {
        uint32_t chunk = chunk_at(chunks, i - 1);
        if (!chunk_newest(chunk_cell(c, k, app, conv, chunk), chunk, below, fn, arg)) return;
    }
    chunk_newest(chunk_cell(c, k, app, conv, 0), 0, below, fn, arg);
}

static bool chunk_each(const struct cell *cell, bool (*fn)(void *, struct bytes), void *arg) {
    struct unpack u = unpack_of(view_of(cell));
    while (unpack_more(&u)) {
        unpack_u8(&u);
        if (!fn(arg, unpack_bytes(&u))) return false;
    }
    return true;
}

void members_each(struct cells *c, struct bytes app, struct bytes conv,
    bool (*fn)(void *, struct bytes), void *arg) {
    if (!chunk_each(chunk_cell(c, &JOINED, app, conv, 0), fn, arg)) return;
    const struct cell *chunks = chunks_cell(c, &JOINED, app, conv);
    for (size_t i = 0; i < chunks->size / sizeof(uint32_t); i++)
        if (!chunk_each(chunk_cell(c, &JOINED, app, conv, chunk_at(chunks, i)), fn, arg)) return;
}
void members_newest(struct cells *c, struct bytes app, struct bytes conv, uint64_t below,
    bool (*fn)(void *, uint64_t, struct bytes), void *arg) {
    line_newest(c, &JOINED, app, conv, below, fn, arg);
}
void readers_newest(struct cells *c, struct bytes app, struct bytes conv, uint64_t below,
    bool (*fn)(void *, uint64_t, struct bytes), void *arg) {
    line_newest(c, &READ, app, conv, below, fn, arg);
}

void reader_moved(
    struct step *s, struct bytes conv, struct conv *v, struct bytes user, struct member *m) {
    if (v->type == CONV_DIRECT) return;
    line_remove(s, &READ, conv, m->read_slot);
    m->read_slot = v->reads++;
    line_add(s, &READ, conv, m->read_slot, user);
}

/* ---- how many members live where ---- */
/* Gives how many there are now. */
static uint32_t partition_count(struct step *s, struct bytes conv, struct bytes user, int by) {
    uint8_t room[300];
    struct cell *cell = cells_get(s->cells, key2(room, 'Q', s->app, conv));
    size_t n = s->partitions * 4u;
    if (cell->size != n) cells_put(s->cells, cell, bytes_of(arena_zero(s->arena, n), n));
    uint8_t *at = cells_edit(s->cells, cell) + 4u * partition_of_user(s->app, user, s->partitions);
    uint32_t count;
    memcpy(&count, at, 4);
    count = (uint32_t)((int)count + by);
    memcpy(at, &count, 4);
    return count;
}

uint32_t members_in(struct step *s, struct bytes conv, uint16_t partition) {
    uint8_t room[300];
    const struct cell *cell = cells_get(s->cells, key2(room, 'Q', s->app, conv));
    uint32_t count = 0;
    if (cell->size) memcpy(&count, cell->data + 4u * partition, 4);
    return count;
}

/* ---- joining and leaving ---- */
/* Where all may see what was before, the copy of a partition that had no member till now begins
 * with the newest message. */
static void newest_given(struct step *s, struct bytes conv, const struct conv *v, struct buf *b) {
    struct message m;
    struct buf one = {0};
    if (v->history_all && message_get(s->cells, s->app, conv, v->seq, &m)) message_encode(&one, &m);
    pack_bytes(b, buf_view(&one));
    buf_done(&one);
}

void member_add(struct step *s, struct bytes conv, struct conv *v, struct bytes user, uint8_t role,
    struct bytes peer, struct bytes by) {
    if (v->type != CONV_DIRECT && !v->owners) role = ROLE_OWNER;
    struct member m = {.role = role,
        .slot = v->slots++,
        .read_slot = v->reads++,
        .joined_seq = v->seq,
        .delivered = v->seq,
        .read = v->seq,
        .joined_ms = s->time_ms};
    struct buf b = {0};
    member_set(s, conv, user, &m);
    line_add(s, &JOINED, conv, m.slot, user);
    if (v->type != CONV_DIRECT) line_add(s, &READ, conv, m.read_slot, user);
    v->member_count++;
    v->owners += role == ROLE_OWNER;
    bool first_there = partition_count(s, conv, user, 1) == 1;
    struct bytes metadata, name = conv_name(s->cells, s->app, conv, &metadata);
    pack_bytes(&b, conv);
    pack_u8(&b, v->type);
    pack_bytes(&b, user);
    pack_u8(&b, role);
    pack_bytes(&b, peer);
    pack_var(&b, v->seq);
    pack_u8(&b, v->history_all);
    pack_var(&b, v->member_count);
    pack_bytes(&b, name);
    pack_bytes(&b, metadata);
    pack_bytes(&b, by);
    if (first_there) newest_given(s, conv, v, &b);
    step_relay(s, partition_of_user(s->app, user, s->partitions), KIND_COPY_JOIN, buf_view(&b));
    buf_done(&b);
}

void member_role_set(struct step *s, struct bytes conv, struct conv *v, struct bytes user,
    struct member *m, uint8_t role) {
    v->owners = v->owners - (m->role == ROLE_OWNER) + (role == ROLE_OWNER);
    m->role = role;
    member_set(s, conv, user, m);
}

static bool first_of(void *arg, struct bytes user) {
    *(struct bytes *)arg = user;
    return false;
}

void member_drop(struct step *s, struct bytes conv, struct conv *v, struct bytes user) {
    struct member m;
    if (!member_get(s->cells, s->app, conv, user, &m)) return;
    cells_put(s->cells, member_cell(s->cells, s->app, conv, user), (struct bytes){0});
    line_remove(s, &JOINED, conv, m.slot);
    if (v->type != CONV_DIRECT) line_remove(s, &READ, conv, m.read_slot);
    v->member_count--;
    v->owners -= m.role == ROLE_OWNER;
    partition_count(s, conv, user, -1);
    struct buf b = {0};
    pack_bytes(&b, conv);
    pack_bytes(&b, user);
    pack_var(&b, v->seq);
    pack_var(&b, v->member_count);
    step_relay(s, partition_of_user(s->app, user, s->partitions), KIND_COPY_LEAVE, buf_view(&b));
    buf_done(&b);
    struct bytes heir = {0};
    if (v->type == CONV_DIRECT || v->owners || !v->member_count) return;
    /* the one who has been in it for longest */
    members_each(s->cells, s->app, conv, first_of, &heir);
    heir = arena_copy(s->arena, heir);
    check(member_get(s->cells, s->app, conv, heir, &m));
    member_role_set(s, conv, v, heir, &m, ROLE_OWNER);
}
