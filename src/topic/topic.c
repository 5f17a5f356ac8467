/* topic: the table and the shapes. SPDX-License-Identifier: Apache-2.0 */
#include "topic/topic.h"

#include <stdlib.h>
#include <string.h>

#include "wire/wire.h"

/* Where the wildcards of a filter stand: bit i of `plus`: level i is '+'; `open`: '#' follows. */
struct shape {
    uint64_t plus;
    uint32_t levels; /* before the '#' */
    bool open;
};
struct slot {
    uint64_t hash; /* 0: free */
    uint32_t count, cap;
    union {
        struct topic_entry *one; /* cap 0 */
        struct topic_entry **many;
    } u;
};
struct used_shape {
    struct shape shape;
    uint32_t count;
};
struct topics {
    struct slot *slots;
    size_t size, used, count; /* size: a power of two */
    struct used_shape *shapes;
    size_t shape_count, shape_cap;
};
struct levels {
    struct bytes level[TOPIC_LEVELS_MAX];
    uint32_t n;
    bool more; /* than fit */
};

static void levels_of(struct bytes text, struct levels *out) {
    size_t from = 0;
    out->n = 0;
    out->more = false;
    for (size_t i = 0; i <= text.n; i++) {
        if (i < text.n && text.p[i] != '/') continue;
        if (out->n == TOPIC_LEVELS_MAX) {
            out->more = true;
            return;
        }
        out->level[out->n++] = bytes_of(text.p + from, i - from);
        from = i + 1;
    }
}

/* ---- hashes: of the levels that are not wildcards, and of the shape ---- */
static uint64_t mix(uint64_t h, uint64_t v) {
    h = (h ^ v) * 0x9e3779b97f4a7c15ull;
    return h ^ h >> 29;
}

static uint64_t shape_hash(const struct shape *s, const struct levels *l) {
    uint64_t h = mix(mix(1, s->plus), (uint64_t)s->levels << 1 | s->open);
    for (uint32_t i = 0; i < s->levels; i++)
        if (!(s->plus >> i & 1)) h = mix(h, hash64(l->level[i]));
    return h ? h : 1;
}

static struct shape shape_of(const struct levels *l) {
    struct shape s = {.levels = l->n};
    for (uint32_t i = 0; i < l->n; i++)
        if (bytes_is(l->level[i], "+")) s.plus |= 1ull << i;
    if (l->n && bytes_is(l->level[l->n - 1], "#")) {
        s.open = true;
        s.levels--;
    }
    return s;
}

static bool shape_eq(const struct shape *a, const struct shape *b) {
    return a->plus == b->plus && a->levels == b->levels && a->open == b->open;
}

/* ---- the table ---- */
static struct slot *slot_find(const struct topics *t, uint64_t hash) {
    size_t i = hash & (t->size - 1);
    while (t->slots[i].hash && t->slots[i].hash != hash) i = (i + 1) & (t->size - 1);
    return &t->slots[i];
}

static void grow(struct topics *t) {
    struct slot *old = t->slots;
    size_t n = t->size;
    t->size *= 2;
    t->slots = must_alloc(t->size * sizeof *t->slots);
    for (size_t i = 0; i < n; i++)
        if (old[i].hash) *slot_find(t, old[i].hash) = old[i];
    free(old);
}

/* Those behind move up, so that no search ends too early. */
static void slot_free(struct topics *t, struct slot *s) {
    size_t hole = (size_t)(s - t->slots), i = hole;
    for (;;) {
        i = (i + 1) & (t->size - 1);
        if (!t->slots[i].hash) break;
        size_t home = t->slots[i].hash & (t->size - 1);
        if (((i - home) & (t->size - 1)) < ((i - hole) & (t->size - 1))) continue;
        t->slots[hole] = t->slots[i];
        hole = i;
    }
    t->slots[hole] = (struct slot){0};
    t->used--;
}

struct topics *topics_create(void) {
    struct topics *t = must_alloc(sizeof *t);
    t->size = 16;
    t->slots = must_alloc(t->size * sizeof *t->slots);
    return t;
}

void topics_free(struct topics **pt) {
    struct topics *t = *pt;
    if (!t) return;
    for (size_t i = 0; i < t->size; i++)
        if (t->slots[i].cap) free(t->slots[i].u.many);
    free(t->slots);
    free(t->shapes);
    free(t);
    *pt = NULL;
}

size_t topics_count(const struct topics *t) { return t->count; }

static bool shape_add(struct topics *t, const struct shape *s) {
    for (size_t i = 0; i < t->shape_count; i++)
        if (shape_eq(&t->shapes[i].shape, s)) {
            t->shapes[i].count++;
            return true;
        }
    if (t->shape_count == TOPIC_SHAPES_MAX) return false;
    if (t->shape_count == t->shape_cap) {
        t->shape_cap = t->shape_cap ? t->shape_cap * 2 : 4;
        t->shapes = must_realloc(t->shapes, t->shape_cap * sizeof *t->shapes);
    }
    t->shapes[t->shape_count++] = (struct used_shape){*s, 1};
    return true;
}

static void shape_drop(struct topics *t, const struct shape *s) {
    for (size_t i = 0; i < t->shape_count; i++)
        if (shape_eq(&t->shapes[i].shape, s)) {
            if (--t->shapes[i].count == 0) t->shapes[i] = t->shapes[--t->shape_count];
            return;
        }
    check(false);
}

enum err topics_add(struct topics *t, struct topic_entry *e) {
    struct levels l;
    levels_of(bytes_of(e->text, e->size), &l);
    struct shape shape = shape_of(&l);
    if (l.more || !shape_add(t, &shape)) return LIMIT;
    if ((t->used + 1) * 4 > t->size * 3) grow(t);
    uint64_t hash = shape_hash(&shape, &l);
    struct slot *s = slot_find(t, hash);
    if (!s->hash) {
        *s = (struct slot){.hash = hash, .count = 1, .u.one = e};
        t->used++;
    } else {
        if (!s->cap || s->count == s->cap) {
            uint32_t cap = s->cap ? s->cap * 2 : 4;
            struct topic_entry **many = must_realloc(s->cap ? s->u.many : NULL, cap * sizeof *many);
            if (!s->cap) many[0] = s->u.one;
            s->u.many = many;
            s->cap = cap;
        }
        s->u.many[s->count++] = e;
    }
    e->at = s->count - 1;
    t->count++;
    return OK;
}

void topics_remove(struct topics *t, struct topic_entry *e) {
    struct levels l;
    levels_of(bytes_of(e->text, e->size), &l);
    struct shape shape = shape_of(&l);
    struct slot *s = slot_find(t, shape_hash(&shape, &l));
    check(s->hash && e->at < s->count && (s->cap ? s->u.many[e->at] : s->u.one) == e);
    shape_drop(t, &shape);
    t->count--;
    s->count--;
    if (s->cap && s->count) {
        s->u.many[e->at] = s->u.many[s->count];
        s->u.many[e->at]->at = e->at;
    }
    if (s->count) return;
    if (s->cap) free(s->u.many);
    slot_free(t, s);
}

/* ---- asking ---- */
static struct topic_entry *entry_at(const struct slot *s, uint32_t i) {
    return s->cap ? s->u.many[i] : s->u.one;
}

/* Two filters may have one hash, and the first level decides about '$': so the text is asked. */
void topics_match(const struct topics *t, struct bytes topic,
    void (*fn)(void *, struct topic_entry *), void *arg) {
    struct levels l;
    levels_of(topic, &l);
    for (size_t i = 0; i < t->shape_count; i++) {
        const struct shape *shape = &t->shapes[i].shape;
        if (shape->open ? l.n < shape->levels : l.n != shape->levels || l.more) continue;
        const struct slot *s = slot_find(t, shape_hash(shape, &l));
        struct bytes last = {0};
        bool matches = false;
        for (uint32_t k = 0; s->hash && k < s->count; k++) {
            struct topic_entry *e = entry_at(s, k);
            struct bytes text = bytes_of(e->text, e->size);
            if (!last.p || !bytes_eq(text, last)) matches = mqtt_filter_matches(text, topic);
            last = text;
            if (matches) fn(arg, e);
        }
    }
}

struct topic_entry *topics_find(const struct topics *t, struct bytes filter,
    bool (*fn)(void *, const struct topic_entry *), void *arg) {
    struct levels l;
    levels_of(filter, &l);
    struct shape shape = shape_of(&l);
    const struct slot *s = slot_find(t, shape_hash(&shape, &l));
    for (uint32_t i = 0; s->hash && i < s->count; i++) {
        struct topic_entry *e = entry_at(s, i);
        if (bytes_eq(bytes_of(e->text, e->size), filter) && fn(arg, e)) return e;
    }
    return NULL;
}
