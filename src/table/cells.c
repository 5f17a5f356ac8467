/* table: cells: one partition's state in memory over the store. Open addressing; a slot has its cell's
 * hash, so that only cells that are meant are touched, and each cell carries its key. The same few keys
 * are asked for again and again in a step: those found last are compared before anything is hashed.
 * Keeps: a dirty or in-flight cell is never evicted, and nothing is evicted but in cells_turn_end;
 * dirty_bytes is what the dirty cells would add to a batch; unless a cell is rewritten, its first
 * `stored` bytes are all that the store has of it, once the batches under way are written.
 * SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>
#include <string.h>

#include "table/table.h"

#define KEY_MAX 1024u
#define VALUE_MAX (16u << 20)
#define SLOTS_FIRST 64u
#define RECENT 32u
#ifdef __SANITIZE_ADDRESS__
enum { NEW_IS_CHECKED = true };
#else
enum { NEW_IS_CHECKED = false };
#endif

struct full_cell {
    struct cell c; /* first: callers hold a pointer to it */
    struct full_cell *next_dirty;
    uint64_t generation; /* of the freeze that has it in flight */
    uint32_t stored;
    uint16_t key_size;
    bool dirty, rewritten, used; /* used: the clock's second chance */
    uint8_t key[];
};
struct slot { /* cell NULL: empty */
    uint64_t hash;
    struct full_cell *cell;
};
struct cells {
    struct store *store;
    uint16_t partition;
    uint64_t budget, held, dirty_bytes, flushed;
    struct cells_total *total, own_total; /* total: own_total, or the caller's */
    size_t slots, count, hand;
    struct slot *table;
    struct full_cell *recent[RECENT]; /* by recent_slot; none that was evicted */
    struct full_cell *dirty;
    uint64_t ahead[CELLS_AHEAD]; /* hashes */
    unsigned ahead_count;
    struct hash_secret secret;
    struct buf loading;
};

struct cells *cells_create(struct store *store, uint16_t partition, uint64_t budget_bytes) {
    struct cells *s = must_alloc(sizeof *s);
    s->store = store;
    s->partition = partition;
    s->budget = budget_bytes;
    s->total = &s->own_total;
    s->secret =
        (struct hash_secret){{0x8f14e45fceea167au, 0x5a105e8b9d40e132u, 0x1c9d6a2f0be31f77u}};
    return s;
}

void cells_key(struct cells *s, const struct hash_secret *secret) {
    check(!s->count);
    s->secret = *secret;
}

void cells_free(struct cells **ps) {
    struct cells *s = *ps;
    if (!s) return;
    for (size_t i = 0; i < s->slots; i++)
        if (s->table[i].cell) {
            free(s->table[i].cell->c.data);
            free(s->table[i].cell);
        }
    free(s->table);
    buf_done(&s->loading);
    free(s);
    *ps = NULL;
}

static struct bytes key_of(const struct full_cell *f) { return bytes_of(f->key, f->key_size); }
static uint64_t cost(const struct full_cell *f) { return sizeof *f + f->key_size + f->c.capacity; }

static struct full_cell **recent_slot(struct cells *s, struct bytes key) {
    return &s->recent[(key.p[0] * 5u + key.p[key.n - 1] + key.n) % RECENT];
}

static struct slot *slot_find(const struct cells *s, uint64_t hash, struct bytes key) {
    size_t i = hash & (s->slots - 1);
    while (
        s->table[i].cell && !(s->table[i].hash == hash && bytes_eq(key_of(s->table[i].cell), key)))
        i = (i + 1) & (s->slots - 1);
    return &s->table[i];
}

static void grow(struct cells *s) {
    size_t old = s->slots;
    struct slot *t = s->table;
    s->slots = old ? old * 2 : SLOTS_FIRST;
    s->table = must_alloc(s->slots * sizeof *s->table);
    for (size_t i = 0; i < old; i++)
        if (t[i].cell) {
            size_t k = t[i].hash & (s->slots - 1);
            while (s->table[k].cell) k = (k + 1) & (s->slots - 1);
            s->table[k] = t[i];
        }
    free(t);
}

static void dirty_add(struct cells *s, uint64_t more) {
    s->dirty_bytes += more;
    s->total->dirty_bytes += more;
}
static void dirty_take(struct cells *s, uint64_t less) {
    s->dirty_bytes -= less;
    s->total->dirty_bytes -= less;
}
static void hold(struct cells *s, uint64_t more) {
    s->held += more;
    s->total->held_bytes += more;
    if (s->held > s->budget) s->total->over = true;
}
static void release(struct cells *s, uint64_t less) {
    s->held -= less;
    s->total->held_bytes -= less;
}

static void value_room(struct cells *s, struct full_cell *f, uint32_t size) {
    check(size <= VALUE_MAX);
    if (f->c.capacity >= size) return;
    uint32_t cap = f->c.capacity ? f->c.capacity : 16;
    while (cap < size) cap += cap < 4096 ? cap : cap / 2;
    hold(s, cap - f->c.capacity);
    f->c.data = must_realloc(f->c.data, cap);
    f->c.capacity = cap;
}

static struct full_cell *make(struct cells *s, struct bytes key) {
    check(key.n && key.n <= KEY_MAX);
    struct full_cell *f = malloc(sizeof *f + key.n);
    check(f);
    memset(f, 0, sizeof *f);
    f->key_size = (uint16_t)key.n;
    memcpy(f->key, key.p, key.n);
    hold(s, cost(f));
    s->count++;
    return f;
}

static void must_be_read(enum err e) {
    if (e != OK && e != MISSING)
        check_failed(__FILE__, __LINE__,
            "the tables can be read; they are damaged, 'kith check' names the file");
}

static void read_stored(struct cells *s, struct bytes key) {
    buf_reset(&s->loading);
    must_be_read(s->store->calls->get(s->store, s->partition, key, &s->loading));
}

static void take_loaded(struct cells *s, struct full_cell *f) {
    if (!s->loading.n) return;
    value_room(s, f, (uint32_t)s->loading.n);
    memcpy(f->c.data, s->loading.p, s->loading.n);
    f->c.size = f->stored = (uint32_t)s->loading.n;
}

static void load(struct cells *s, struct full_cell *f) {
    read_stored(s, key_of(f));
    take_loaded(s, f);
}

/* NULL: it is not in memory; then *out_slot is where it goes. */
static struct full_cell *look(
    struct cells *s, struct bytes key, uint64_t *out_hash, struct slot **out_slot) {
    struct full_cell *f = *recent_slot(s, key);
    if (f && bytes_eq(key_of(f), key)) return f;
    if (s->count * 4 >= s->slots * 3) grow(s);
    *out_hash = hash_keyed(key, &s->secret);
    *out_slot = slot_find(s, *out_hash, key);
    return (*out_slot)->cell;
}

static void found(struct cells *s, struct full_cell *f) {
    f->used = true;
    *recent_slot(s, key_of(f)) = f;
}

static struct cell *find(struct cells *s, struct bytes key, bool is_new) {
    uint64_t hash;
    struct slot *at;
    struct full_cell *f = look(s, key, &hash, &at);
    if (!f) {
        f = make(s, key);
        *at = (struct slot){hash, f};
        if (!is_new || NEW_IS_CHECKED) load(s, f);
        check(!is_new || !f->c.size);
    }
    found(s, f);
    return &f->c;
}

const struct cell *cells_find(struct cells *s, struct bytes key) {
    uint64_t hash;
    struct slot *at;
    struct full_cell *f = look(s, key, &hash, &at);
    if (!f) {
        read_stored(s, key);
        if (!s->loading.n) return NULL;
        f = make(s, key);
        *at = (struct slot){hash, f};
        take_loaded(s, f);
    }
    found(s, f);
    return f->c.size ? &f->c : NULL;
}

bool cells_peek(struct cells *s, struct bytes key, struct buf *out) {
    const struct full_cell *f =
        s->slots ? slot_find(s, hash_keyed(key, &s->secret), key)->cell : NULL;
    if (f) {
        buf_add(out, f->c.data, f->c.size);
        return f->c.size != 0;
    }
    read_stored(s, key);
    buf_bytes(out, buf_view(&s->loading));
    return s->loading.n != 0;
}

struct cell *cells_get(struct cells *s, struct bytes key) {
    return find(s, key, false);
}
struct cell *cells_new(struct cells *s, struct bytes key) {
    return find(s, key, true);
}

/* ---- what is asked for soon ---- */
void cells_ahead(struct cells *s, struct bytes key) {
    if (!s->slots || s->ahead_count == CELLS_AHEAD) return;
    uint64_t hash = hash_keyed(key, &s->secret);
    __builtin_prefetch(&s->table[hash & (s->slots - 1)]);
    s->ahead[s->ahead_count++] = hash;
}

/* By the hash alone: should it be another's, nothing is lost. */
void cells_ahead_end(struct cells *s) {
    const struct full_cell *near[CELLS_AHEAD];
    for (unsigned n = 0; n < s->ahead_count; n++) {
        size_t i = s->ahead[n] & (s->slots - 1);
        while (s->table[i].cell && s->table[i].hash != s->ahead[n]) i = (i + 1) & (s->slots - 1);
        near[n] = s->table[i].cell;
        if (!near[n]) continue;
        __builtin_prefetch(near[n]);
        __builtin_prefetch(near[n]->key + 16);
    }
    for (unsigned n = 0; n < s->ahead_count; n++)
        if (near[n]) __builtin_prefetch(near[n]->c.data);
    s->ahead_count = 0;
}

const struct cell *cells_near(const struct cells *s, struct bytes key) {
    if (!s->slots) return NULL;
    const struct full_cell *f = slot_find(s, hash_keyed(key, &s->secret), key)->cell;
    return f && f->c.size ? &f->c : NULL;
}

/* ---- edits ---- */
static bool only_grew(const struct full_cell *f) { return !f->rewritten && f->stored; }
static uint64_t pending(const struct full_cell *f) {
    return f->dirty ? f->key_size + f->c.size - (only_grew(f) ? f->stored : 0) : 0;
}

/* Around each edit: marks it, and counts what it will cost to write. */
static struct full_cell *edit_begin(struct cells *s, struct cell *c, bool rewrites) {
    struct full_cell *f = (struct full_cell *)c;
    dirty_take(s, pending(f));
    if (!f->dirty) {
        f->dirty = true;
        f->next_dirty = s->dirty;
        s->dirty = f;
    }
    f->rewritten |= rewrites;
    return f;
}
static void edit_end(struct cells *s, const struct full_cell *f) { dirty_add(s, pending(f)); }

void cells_put(struct cells *s, struct cell *c, struct bytes v) {
    struct full_cell *f = edit_begin(s, c, true);
    value_room(s, f, (uint32_t)v.n);
    if (v.n) memcpy(c->data, v.p, v.n);
    c->size = (uint32_t)v.n;
    edit_end(s, f);
}

void cells_append(struct cells *s, struct cell *c, struct bytes more) {
    if (!more.n) return;
    struct full_cell *f = edit_begin(s, c, false);
    value_room(s, f, c->size + (uint32_t)more.n);
    memcpy(c->data + c->size, more.p, more.n);
    c->size += (uint32_t)more.n;
    edit_end(s, f);
}

uint8_t *cells_edit(struct cells *s, struct cell *c) {
    edit_end(s, edit_begin(s, c, true));
    return c->data;
}

void cells_splice(
    struct cells *s, struct cell *c, uint32_t at, uint32_t remove, struct bytes insert) {
    struct full_cell *f = edit_begin(s, c, true);
    check(at <= c->size && remove <= c->size - at);
    uint32_t size = c->size - remove + (uint32_t)insert.n, tail = c->size - at - remove;
    value_room(s, f, size > c->size ? size : c->size);
    if (tail) memmove(c->data + at + insert.n, c->data + at + remove, tail);
    if (insert.n) memcpy(c->data + at, insert.p, insert.n);
    c->size = size;
    edit_end(s, f);
}

/* ---- eviction ---- */
static void evict_at(struct cells *s, size_t i) {
    struct full_cell *f = s->table[i].cell, **recent = recent_slot(s, key_of(f));
    if (*recent == f) *recent = NULL;
    release(s, cost(f));
    free(f->c.data);
    free(f);
    s->count--;
    /* Close the hole: whoever probed past it moves back. */
    size_t hole = i, k = (i + 1) & (s->slots - 1);
    while (s->table[k].cell) {
        size_t home = s->table[k].hash & (s->slots - 1);
        if (((k - home) & (s->slots - 1)) >= ((k - hole) & (s->slots - 1))) {
            s->table[hole] = s->table[k];
            hole = k;
        }
        k = (k + 1) & (s->slots - 1);
    }
    s->table[hole].cell = NULL;
}

void cells_total(struct cells *s, struct cells_total *total) { s->total = total; }

bool cells_turn_end(struct cells *s) {
    enum { LOOKS = 256 }; /* bounded work a turn */
    for (int n = 0; n < LOOKS && s->held > s->budget && s->count; n++) {
        s->hand &= s->slots - 1;
        struct full_cell *f = s->table[s->hand].cell;
        if (!f || f->dirty || f->generation > s->flushed || f->used) {
            if (f) f->used = false;
            s->hand++;
            continue;
        }
        evict_at(s, s->hand);
    }
    return s->held > s->budget;
}

/* ---- flushing ---- */
void cells_freeze(struct cells *s, struct table_batch *b, uint64_t generation) {
    struct full_cell *f = s->dirty;
    while (f) {
        struct full_cell *next = f->next_dirty;
        if (!only_grew(f))
            table_batch_add(b, s->partition, key_of(f), bytes_of(f->c.data, f->c.size));
        else
            table_batch_append(
                b, s->partition, key_of(f), bytes_of(f->c.data + f->stored, f->c.size - f->stored));
        f->stored = f->c.size;
        f->dirty = f->rewritten = false;
        f->next_dirty = NULL;
        f->generation = generation;
        f = next;
    }
    s->dirty = NULL;
    dirty_take(s, s->dirty_bytes);
}

void cells_flushed(struct cells *s, uint64_t generation) {
    check(generation >= s->flushed);
    s->flushed = generation;
}

uint64_t cells_dirty_bytes(const struct cells *s) { return s->dirty_bytes; }
uint64_t cells_held_bytes(const struct cells *s) { return s->held; }
uint64_t cells_bytes(const struct cells *s) { return s->held + s->slots * sizeof *s->table; }

/* ---- whole state ---- */
struct pair {
    struct bytes key, value;
};
struct merge {
    struct cells *s;
    struct pair *list; /* from memory, sorted */
    size_t n, at;
    bool (*fn)(void *, struct bytes, struct bytes);
    void *arg;
    bool stopped;
};

static int pair_cmp(const void *a, const void *b) {
    return bytes_cmp(((const struct pair *)a)->key, ((const struct pair *)b)->key);
}

static bool give(struct merge *m, struct bytes key, struct bytes value) {
    if (value.n && !m->stopped && !m->fn(m->arg, key, value)) m->stopped = true;
    return !m->stopped;
}

static bool from_store(void *arg, struct bytes key, struct bytes value) {
    struct merge *m = arg;
    while (m->at < m->n && bytes_cmp(m->list[m->at].key, key) < 0) {
        if (!give(m, m->list[m->at].key, m->list[m->at].value)) return false;
        m->at++;
    }
    /* memory has the newer one */
    if (m->at < m->n && bytes_eq(m->list[m->at].key, key)) return true;
    return give(m, key, value);
}

void cells_scan(struct cells *s, struct bytes prefix,
    bool (*fn)(void *, struct bytes, struct bytes), void *arg) {
    struct merge m = {.s = s, .fn = fn, .arg = arg};
    m.list = must_alloc((s->count + 1) * sizeof *m.list);
    for (size_t i = 0; i < s->slots; i++) {
        struct full_cell *f = s->table[i].cell;
        if (!f || f->key_size < prefix.n || (prefix.n && memcmp(f->key, prefix.p, prefix.n)))
            continue;
        m.list[m.n++] = (struct pair){key_of(f), bytes_of(f->c.data, f->c.size)};
    }
    qsort(m.list, m.n, sizeof *m.list, pair_cmp);
    must_be_read(s->store->calls->scan(s->store, s->partition, prefix, from_store, &m));
    while (m.at < m.n && give(&m, m.list[m.at].key, m.list[m.at].value)) m.at++;
    free(m.list);
}

static bool add_hash(void *arg, struct bytes key, struct bytes value) {
    if (key.n && key.p[0] == 3) return true; /* the applied position is not state */
    *(uint64_t *)arg += hash64(key) * 0x9e3779b97f4a7c15u ^ hash64(value);
    return true;
}

uint64_t cells_state_hash(struct cells *s) {
    uint64_t h = 0;
    cells_scan(s, (struct bytes){0}, add_hash, &h);
    return h;
}
