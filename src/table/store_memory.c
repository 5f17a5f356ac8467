/* table: the store's twin in memory: a sorted array of pairs, and the batches that were written but
 * not synced, so that a crash can lose them.
 * SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>
#include <string.h>

#include "table/table.h"

struct pair {
    uint16_t partition;
    uint32_t key_size, value_size;
    uint8_t *bytes; /* key, then value */
};
struct map {
    struct pair *list;
    size_t n, cap;
};
struct memory {
    struct store store;
    struct map shown, synced;
    struct buf *unsynced;
    size_t unsynced_count;
    unsigned failing;
    enum err failure;
};

static void change_add(
    struct table_batch *b, uint16_t partition, bool append, struct bytes key, struct bytes value) {
    pack_u16(&b->data, partition);
    pack_u8(&b->data, append);
    pack_bytes(&b->data, key);
    pack_bytes(&b->data, value);
    b->changes++;
}
void table_batch_add(
    struct table_batch *b, uint16_t partition, struct bytes key, struct bytes value) {
    change_add(b, partition, false, key, value);
}
void table_batch_append(
    struct table_batch *b, uint16_t partition, struct bytes key, struct bytes more) {
    change_add(b, partition, true, key, more);
}

bool table_batch_next(struct unpack *u, struct table_change *out) {
    if (!unpack_more(u)) return false;
    out->partition = unpack_u16(u);
    out->append = unpack_u8(u) != 0;
    out->key = unpack_bytes(u);
    out->value = unpack_bytes(u);
    check(!u->bad);
    return true;
}

static int compare(const struct pair *p, uint16_t partition, struct bytes key) {
    if (p->partition != partition) return p->partition < partition ? -1 : 1;
    return bytes_cmp(bytes_of(p->bytes, p->key_size), key);
}

static size_t lower(const struct map *m, uint16_t partition, struct bytes key) {
    size_t lo = 0, hi = m->n;
    while (lo < hi) {
        size_t mid = (lo + hi) / 2;
        if (compare(&m->list[mid], partition, key) < 0) lo = mid + 1;
        else hi = mid;
    }
    return lo;
}

static void map_remove(struct map *m, size_t i) {
    free(m->list[i].bytes);
    memmove(&m->list[i], &m->list[i + 1], (--m->n - i) * sizeof *m->list);
}

static struct pair *map_insert(struct map *m, size_t i) {
    if (m->n == m->cap) {
        m->cap = m->cap ? m->cap * 2 : 64;
        m->list = must_realloc(m->list, m->cap * sizeof *m->list);
    }
    memmove(&m->list[i + 1], &m->list[i], (m->n++ - i) * sizeof *m->list);
    m->list[i] = (struct pair){0};
    return &m->list[i];
}

static void map_change(struct map *m, const struct table_change *c) {
    size_t i = lower(m, c->partition, c->key);
    bool there = i < m->n && compare(&m->list[i], c->partition, c->key) == 0;
    if (!c->value.n && !c->append) {
        if (there) map_remove(m, i);
        return;
    }
    struct pair *p = there ? &m->list[i] : map_insert(m, i);
    uint32_t kept = there && c->append ? p->value_size : 0;
    uint8_t *bytes = must_alloc(c->key.n + kept + c->value.n);
    memcpy(bytes, c->key.p, c->key.n);
    if (kept) memcpy(bytes + c->key.n, p->bytes + p->key_size, kept);
    if (c->value.n) memcpy(bytes + c->key.n + kept, c->value.p, c->value.n);
    free(p->bytes);
    *p = (struct pair){c->partition, (uint32_t)c->key.n, kept + (uint32_t)c->value.n, bytes};
}

static void map_apply(struct map *m, struct bytes batch) {
    struct unpack u = unpack_of(batch);
    struct table_change c;
    while (table_batch_next(&u, &c)) map_change(m, &c);
}

static void map_clear(struct map *m) {
    for (size_t i = 0; i < m->n; i++) free(m->list[i].bytes);
    free(m->list);
    *m = (struct map){0};
}

static enum err memory_get(struct store *s, uint16_t partition, struct bytes key, struct buf *out) {
    struct map *m = &((struct memory *)s)->shown;
    size_t i = lower(m, partition, key);
    if (i == m->n || compare(&m->list[i], partition, key)) return MISSING;
    buf_add(out, m->list[i].bytes + m->list[i].key_size, m->list[i].value_size);
    return OK;
}

static bool fails(struct memory *m) {
    if (!m->failing) return false;
    m->failing--;
    return true;
}

static enum err memory_write(struct store *s, const struct table_batch *b) {
    struct memory *m = (struct memory *)s;
    if (fails(m)) return m->failure;
    map_apply(&m->shown, buf_view(&b->data));
    m->unsynced = must_realloc(m->unsynced, (m->unsynced_count + 1) * sizeof *m->unsynced);
    struct buf copy = {0};
    buf_bytes(&copy, buf_view(&b->data));
    m->unsynced[m->unsynced_count++] = copy;
    return OK;
}

static void keep(struct memory *m, uint64_t n) {
    for (size_t i = 0; i < m->unsynced_count; i++) {
        if (i < n) map_apply(&m->synced, buf_view(&m->unsynced[i]));
        buf_done(&m->unsynced[i]);
    }
    m->unsynced_count = 0;
}

static enum err memory_sync(struct store *s) {
    struct memory *m = (struct memory *)s;
    if (fails(m)) return m->failure;
    keep(m, m->unsynced_count);
    return OK;
}

static enum err memory_scan(struct store *s, uint16_t partition, struct bytes prefix,
    bool (*fn)(void *, struct bytes, struct bytes), void *arg) {
    struct map *m = &((struct memory *)s)->shown;
    for (size_t i = lower(m, partition, prefix); i < m->n && m->list[i].partition == partition;
         i++) {
        struct pair *p = &m->list[i];
        if (p->key_size < prefix.n || (prefix.n && memcmp(p->bytes, prefix.p, prefix.n))) break;
        if (!fn(arg, bytes_of(p->bytes, p->key_size),
                bytes_of(p->bytes + p->key_size, p->value_size)))
            break;
    }
    return OK;
}

static enum err memory_checkpoint(struct store *s, const char *to) {
    (void)s;
    (void)to;
    return REFUSED; /* there is nothing on disk to copy */
}
static enum err memory_verify(struct store *s, struct buf *why) {
    (void)s;
    (void)why;
    return OK;
}
static uint64_t memory_bytes_used(struct store *s) {
    (void)s;
    return 0;
}
static void memory_close(struct store *s) {
    struct memory *m = (struct memory *)s;
    keep(m, 0);
    free(m->unsynced);
    map_clear(&m->shown);
    map_clear(&m->synced);
    free(m);
}

static const struct store_calls CALLS = {memory_get, memory_write, memory_sync, memory_scan,
    memory_checkpoint, memory_verify, memory_bytes_used, memory_bytes_used, memory_close};

struct store *store_create_memory(void) {
    struct memory *m = must_alloc(sizeof *m);
    m->store.calls = &CALLS;
    return &m->store;
}

void store_memory_crash(struct store *s, uint64_t keep_batches) {
    struct memory *m = (struct memory *)s;
    keep(m, keep_batches);
    map_clear(&m->shown);
    for (size_t i = 0; i < m->synced.n; i++) {
        struct pair *p = &m->synced.list[i];
        map_change(
            &m->shown, &(struct table_change){p->partition, false, bytes_of(p->bytes, p->key_size),
                           bytes_of(p->bytes + p->key_size, p->value_size)});
    }
}

void store_memory_fail(struct store *s, unsigned n, enum err e) {
    ((struct memory *)s)->failing = n;
    ((struct memory *)s)->failure = e;
}
uint64_t store_memory_unsynced(const struct store *s) {
    return ((const struct memory *)s)->unsynced_count;
}
