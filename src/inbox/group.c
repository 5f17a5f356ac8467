/* inbox: who acted, in a row that many triggers share: 'Ann and 12 others'. The number of actors is
 * exact, the newest few are named.
 *
 *   '+' app user id n   n 0: u64 hashes of the first GROUP_FIRST actors of a row with more than one
 *                       trigger; 1 to 64: of those beyond. An actor of two triggers stands there twice
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "inbox/inbox_in.h"
#include "template/template.h"

enum { GROUP_FIRST = 64, GROUP_SPREAD = 64, TWICE_MAX = 8 };
enum { ROW_NEWEST_MAX = 5, ROW_BEFORE_MAX = 4 };

static struct bytes data_value(const struct template_arg *args, size_t n, struct bytes name) {
    for (size_t i = 0; i < n; i++) {
        if (!bytes_eq(args[i].name, name)) continue;
        if (args[i].kind == TEMPLATE_TEXT) return args[i].text;
        if (args[i].kind == TEMPLATE_NUMBER)
            return bytes_of(&args[i].number, sizeof args[i].number);
        return bytes_of(&args[i].integer, sizeof args[i].integer);
    }
    return (struct bytes){0};
}

uint64_t group_of(const struct workflow *w, const struct content *k) {
    if (!w->group_by.n) return 0;
    struct buf b = {0};
    struct template_arg args[ARGS_MAX];
    size_t n = args_unpack(k->args, args, ARGS_MAX);
    struct unpack u = unpack_of(w->group_by);
    while (unpack_more(&u)) {
        uint8_t part = unpack_u8(&u);
        struct bytes name = unpack_bytes(&u);
        pack_bytes(&b, part == GROUP_ACTOR    ? k->actor
                       : part == GROUP_OBJECT ? k->object
                                              : data_value(args, n, name));
    }
    uint64_t h = hash64(buf_view(&b));
    buf_done(&b);
    return h ? h : 1;
}

/* ---- the set of actors ---- */
static struct cell *set_cell(struct inbox *i, struct bytes id, uint64_t n) {
    uint8_t room[300];
    return cells_get(i->cells, key3n(room, '+', i->app, i->user, id, n));
}

static unsigned times_in(const struct cell *c, uint64_t hash) {
    unsigned n = 0;
    for (uint32_t at = 0; at < c->size; at += 8) n += memcmp(c->data + at, &hash, 8) == 0;
    return n;
}

static unsigned times(struct inbox *i, struct bytes id, uint64_t hash) {
    return times_in(set_cell(i, id, 0), hash) +
           times_in(set_cell(i, id, 1 + hash % GROUP_SPREAD), hash);
}

static void set_add(struct step *s, struct inbox *i, struct bytes id, struct bytes actor) {
    uint64_t hash = hash64(actor);
    if (times(i, id, hash) >= TWICE_MAX) return;
    struct cell *c = set_cell(i, id, 0);
    if (c->size >= 8 * GROUP_FIRST) c = set_cell(i, id, 1 + hash % GROUP_SPREAD);
    cells_append(s->cells, c, bytes_of(&hash, sizeof hash));
}

static bool set_take(struct step *s, struct inbox *i, struct bytes id, struct bytes actor) {
    uint64_t hash = hash64(actor), at[2] = {1 + hash % GROUP_SPREAD, 0};
    for (int k = 0; k < 2; k++) {
        struct cell *c = set_cell(i, id, at[k]);
        for (uint32_t p = 0; p < c->size; p += 8)
            if (memcmp(c->data + p, &hash, 8) == 0) {
                cells_splice(s->cells, c, p, 8, (struct bytes){0});
                return true;
            }
    }
    return false;
}

/* In a merge that is not stored: did the actor join this row in it? Notes it. */
static bool joined_before(struct inbox *i, struct bytes id, struct bytes actor) {
    uint64_t hash = hash64(id) * 31 + hash64(actor);
    for (size_t k = 0; k < i->joined_count; k++)
        if (i->joined[k] == hash) return true;
    if (i->joined_count == i->joined_cap) {
        size_t cap = i->joined_cap ? i->joined_cap * 2 : 16;
        uint64_t *more = arena_alloc(i->arena, cap * sizeof *more);
        if (i->joined_count) memcpy(more, i->joined, i->joined_count * sizeof *more);
        i->joined = more;
        i->joined_cap = cap;
    }
    i->joined[i->joined_count++] = hash;
    return false;
}

void actors_forget(struct step *s, struct inbox *i, const struct row *r) {
    if (r->triggers < 2 && !(r->flags & ROW_LEFT)) return;
    struct cell *first = set_cell(i, r->id, 0);
    bool spread = first->size >= 8 * GROUP_FIRST || r->actors > GROUP_FIRST || r->flags & ROW_LEFT;
    cells_put(s->cells, first, (struct bytes){0});
    for (uint64_t n = 1; spread && n <= GROUP_SPREAD; n++)
        cells_put(s->cells, set_cell(i, r->id, n), (struct bytes){0});
}

/* ---- the newest few, by name ---- */
static bool named(struct bytes newest, struct bytes actor) {
    struct unpack u = unpack_of(newest);
    while (unpack_more(&u)) {
        bool same = bytes_eq(unpack_bytes(&u), actor);
        (void)unpack_bytes(&u);
        if (same) return true;
    }
    return false;
}

/* Without `actor`, and behind it if a name is given. */
static struct bytes renamed(
    struct inbox *i, struct bytes newest, struct bytes actor, const struct bytes *first_name) {
    struct buf b = {0};
    unsigned n = 0;
    if (first_name) {
        pack_bytes(&b, actor);
        pack_bytes(&b, *first_name);
        n++;
    }
    struct unpack u = unpack_of(newest);
    while (unpack_more(&u) && n < ROW_NEWEST_MAX) {
        struct bytes id = unpack_bytes(&u), name = unpack_bytes(&u);
        if (bytes_eq(id, actor)) continue;
        pack_bytes(&b, id);
        pack_bytes(&b, name);
        n++;
    }
    struct bytes out = arena_copy(i->arena, buf_view(&b));
    buf_done(&b);
    return out;
}

void actors_first(struct inbox *i, struct row *r, const struct content *k) {
    r->triggers = 1;
    r->actors = 1;
    if (k->actor.n) r->newest = renamed(i, (struct bytes){0}, k->actor, &k->actor_name);
}

/* A row of one trigger has no set: it begins with that one's actor. */
static void first_note(struct step *s, struct inbox *i, const struct row *r) {
    if (r->triggers != 1 || !r->newest.n) return;
    struct unpack u = unpack_of(r->newest);
    struct bytes first = unpack_bytes(&u);
    if (!s) (void)joined_before(i, r->id, first);
    else if (!times(i, r->id, hash64(first))) set_add(s, i, r->id, first);
}

/* ---- the triggers that were the newest before ---- */
/* first, if it is given, and the others but one; as many as are kept. */
static struct bytes ids_with(
    struct inbox *i, struct bytes first, struct bytes ids, struct bytes but) {
    struct buf b = {0};
    struct unpack u = unpack_of(ids);
    unsigned n = first.n != 0;
    if (first.n) pack_bytes(&b, first);
    while (unpack_more(&u) && n < ROW_BEFORE_MAX) {
        struct bytes id = unpack_bytes(&u);
        if (bytes_eq(id, but)) continue;
        pack_bytes(&b, id);
        n++;
    }
    struct bytes out = arena_copy(i->arena, buf_view(&b));
    buf_done(&b);
    return out;
}

void row_shows(struct inbox *i, struct row *r, struct bytes trigger) {
    r->trigger = trigger;
    if (r->before.n) r->before = ids_with(i, (struct bytes){0}, r->before, trigger);
}

/* One was taken out. If it was what the row shows, that is now the newest that is left and was not taken
 * back; of those that are remembered, else the one that began the row. */
static void shows_left(struct inbox *i, struct row *r, struct bytes gone) {
    struct content k;
    struct bytes next = {0};
    if (r->before.n) r->before = ids_with(i, (struct bytes){0}, r->before, gone);
    if (!bytes_eq(r->trigger, gone)) return;
    struct unpack u = unpack_of(r->before);
    while (!next.n) {
        struct bytes id = unpack_more(&u) ? unpack_bytes(&u) : r->id;
        if (!bytes_eq(id, gone) && content_find(i->cells, i->app, id, &k) && !k.cancelled)
            next = id;
        else if (id.p == r->id.p) return;
    }
    row_shows(i, r, next);
    r->lies = k.lies;
}

void actors_join(struct step *s, struct inbox *i, struct row *r, const struct content *k) {
    row_begin(i, r);
    first_note(s, i, r);
    if (!k->actor.n) {
        r->actors++;
    } else {
        bool there = named(r->newest, k->actor) ||
                     ((r->triggers > 1 || !r->newest.n) && times(i, r->id, hash64(k->actor)) > 0);
        if (!s) there |= joined_before(i, r->id, k->actor);
        if (s) set_add(s, i, r->id, k->actor);
        r->actors += !there;
        r->newest = renamed(i, r->newest, k->actor, &k->actor_name);
    }
    r->triggers++;
    if (s) r->before = ids_with(i, r->trigger, r->before, (struct bytes){0});
    r->trigger = k->id;
    r->lies = s ? content_lies(s, k->id) : k->lies;
    r->seen_ms = 0;
    row_end(i, r);
}

void actors_leave(struct step *s, struct inbox *i, struct row *r, const struct content *k) {
    row_begin(i, r);
    if (r->triggers > 1 && k->actor.n) {
        set_take(s, i, r->id, k->actor);
        if (!times(i, r->id, hash64(k->actor))) {
            r->actors -= r->actors > 0;
            r->newest = renamed(i, r->newest, k->actor, NULL);
        }
    } else if (r->triggers > 1) {
        r->actors -= r->actors > 0;
    }
    r->triggers -= r->triggers > 0;
    r->flags |= ROW_LEFT;
    shows_left(i, r, k->id);
    if (!r->triggers || !r->actors) r->flags |= ROW_HIDDEN | ROW_TAKEN;
    row_end(i, r);
}
