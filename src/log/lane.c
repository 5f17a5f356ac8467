/* log: lanes and the memory driver. Keeps: a lane's records come out in the order they went in,
 * once each. SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>
#include <string.h>

#include "log/log_in.h"
#include "measure/measure.h"

enum { CHUNK_HEAD = 14 };

void lane_init(struct lane *l) { pthread_mutex_init(&l->lock, NULL); }

void chunk_free(struct chunk *c) {
    while (c) {
        struct chunk *next = c->next;
        buf_done(&c->b);
        free(c);
        c = next;
    }
}

void lane_done(struct lane *l) {
    chunk_free(l->queue);
    chunk_free(l->ready);
    chunk_free(l->polling);
    chunk_free(l->spare);
    pthread_mutex_destroy(&l->lock);
}

void chunk_add(struct chunk *c, uint16_t partition, uint64_t position, struct bytes data) {
    buf_reserve(&c->b, CHUNK_HEAD + data.n);
    pack_u16(&c->b, partition);
    pack_u64(&c->b, position);
    pack_u32(&c->b, (uint32_t)data.n);
    buf_bytes(&c->b, data);
    c->count++;
}

bool chunk_next(struct chunk *c, size_t *at, struct log_record *out) {
    if (*at >= c->b.n) return false;
    struct unpack u = unpack_of(bytes_of(c->b.p + *at, c->b.n - *at));
    out->partition = unpack_u16(&u);
    out->position = unpack_u64(&u);
    uint32_t n = unpack_u32(&u);
    out->data = bytes_of(u.p, n);
    *at += CHUNK_HEAD + n;
    return true;
}

void lane_append(struct lane *l, uint16_t partition, uint64_t position, struct bytes data) {
    locked(&l->lock, LOCK_LOG);
    if (!l->queue) {
        l->queue = l->spare ? l->spare : must_alloc(sizeof *l->queue);
        l->spare = NULL;
    }
    chunk_add(l->queue, partition, position, data);
    l->queued_bytes += record_bytes(data.n);
    l->appended = true;
    pthread_mutex_unlock(&l->lock);
}

struct chunk *lane_take_queue(struct lane *l, _Atomic uint64_t *taken) {
    locked(&l->lock, LOCK_LOG);
    struct chunk *c = l->queue;
    l->queue = NULL;
    if (taken) *taken += l->queued_bytes;
    l->queued_bytes = 0;
    pthread_mutex_unlock(&l->lock);
    return c;
}

void lane_make_ready(struct lane *l, struct chunk *c, int64_t durable_ns) {
    c->durable_ns = durable_ns;
    locked(&l->lock, LOCK_LOG);
    c->next = NULL;
    if (l->ready_tail) l->ready_tail->next = c;
    else l->ready = c;
    l->ready_tail = c;
    pthread_mutex_unlock(&l->lock);
}

static void polling_next(struct lane *l) {
    locked(&l->lock, LOCK_LOG);
    struct chunk *old = l->polling;
    if (old && !l->spare && old->b.cap <= (4u << 20)) {
        buf_reset(&old->b);
        old->count = 0;
        old->next = NULL;
        l->spare = old;
        old = NULL;
    }
    l->polling = l->ready;
    if (l->ready) {
        l->ready = l->ready->next;
        if (!l->ready) l->ready_tail = NULL;
        l->polling->next = NULL;
    }
    l->polled = 0;
    pthread_mutex_unlock(&l->lock);
    chunk_free(old);
}

size_t lane_poll(struct lane *l, struct log_record *out, size_t max) {
    if (!l->polling || l->polled >= l->polling->b.n) polling_next(l);
    size_t n = 0;
    while (n < max && l->polling && chunk_next(l->polling, &l->polled, &out[n]))
        out[n++].durable_ns = l->polling->durable_ns;
    l->replay_left -= n < l->replay_left ? n : l->replay_left;
    return n;
}

/* ---- memory driver ---- */
struct memory_log {
    struct log log;
    struct log_options o;
    struct lane *lanes;
    uint64_t *next;           /* position of the next append */
    struct chunk **committed; /* [partitions] all that is durable */
    uint64_t *durable;
};

static enum err memory_append(struct log *log, unsigned lane, uint16_t partition,
    struct bytes record, bool must, uint64_t *out_position) {
    (void)must;
    struct memory_log *m = (struct memory_log *)log;
    check(record.n <= RECORD_MAX);
    if (out_position) *out_position = m->next[partition];
    lane_append(&m->lanes[lane], partition, m->next[partition]++, record);
    return OK;
}
static void memory_kick(struct log *log, unsigned lane) {
    (void)log;
    (void)lane;
}
static size_t memory_poll(struct log *log, unsigned lane, struct log_record *out, size_t max) {
    return lane_poll(&((struct memory_log *)log)->lanes[lane], out, max);
}
static bool memory_caught_up(struct log *log, unsigned lane) {
    return ((struct memory_log *)log)->lanes[lane].replay_left == 0;
}
static void memory_trim(struct log *log, const uint64_t *below) {
    (void)log;
    (void)below;
}
static void memory_keep(struct log *log, bool on) {
    (void)log;
    (void)on;
}
static enum err memory_copy(struct log *log, const char *to, struct buf *why) {
    (void)log;
    buf_fmt(why, "a log in memory has nothing to copy to %s", to);
    return REFUSED;
}
static uint64_t memory_room(struct log *log) {
    (void)log;
    return UINT64_MAX;
}
static void memory_range(
    struct log *log, uint16_t partition, uint64_t *out_first, uint64_t *out_last) {
    struct memory_log *m = (struct memory_log *)log;
    *out_last = m->durable[partition];
    *out_first = *out_last ? 1 : 0;
}
static void memory_look(
    struct log *log, uint64_t *first, uint64_t *appended, uint64_t *durable, struct log_look *out) {
    struct memory_log *m = (struct memory_log *)log;
    *out = (struct log_look){0};
    for (uint16_t p = 0; p < m->o.partitions; p++) {
        first[p] = m->durable[p] ? 1 : 0;
        appended[p] = m->next[p] - 1;
        durable[p] = m->durable[p];
    }
}
static enum err memory_read(struct log *log, uint16_t partition, uint64_t from, uint64_t to,
    bool (*fn)(void *, const struct log_record *), void *arg) {
    struct memory_log *m = (struct memory_log *)log;
    struct log_record r;
    size_t at = 0;
    while (m->committed[partition] && chunk_next(m->committed[partition], &at, &r))
        if (r.position >= from && r.position <= to && !fn(arg, &r)) break;
    return OK;
}
static bool memory_commit(struct log *log) {
    struct memory_log *m = (struct memory_log *)log;
    bool any = false;
    for (unsigned i = 0; i < m->o.lanes; i++) {
        struct chunk *c = lane_take_queue(&m->lanes[i], NULL);
        if (!c) continue;
        struct log_record r;
        size_t at = 0;
        while (chunk_next(c, &at, &r)) {
            if (!m->committed[r.partition])
                m->committed[r.partition] = must_alloc(sizeof **m->committed);
            chunk_add(m->committed[r.partition], r.partition, r.position, r.data);
            m->durable[r.partition] = r.position;
        }
        lane_make_ready(&m->lanes[i], c, m->o.mono_ns ? m->o.mono_ns() : 0);
        any = true;
        if (m->o.wake) m->o.wake(m->o.arg, i);
    }
    return any;
}
static void memory_close(struct log *log) {
    struct memory_log *m = (struct memory_log *)log;
    for (unsigned i = 0; i < m->o.lanes; i++) lane_done(&m->lanes[i]);
    for (uint16_t p = 0; p < m->o.partitions; p++) chunk_free(m->committed[p]);
    free(m->lanes);
    free(m->next);
    free(m->committed);
    free(m->durable);
    free(m);
}
static const struct log_calls MEMORY = {memory_append, memory_kick, memory_poll, memory_caught_up,
    memory_trim, memory_room, memory_range, memory_look, memory_read, memory_keep, memory_copy,
    memory_commit, memory_close};

enum err log_open_memory(const struct log_options *o, struct log **out) {
    struct memory_log *m = must_alloc(sizeof *m);
    m->log.calls = &MEMORY;
    m->o = *o;
    m->lanes = must_alloc(o->lanes * sizeof *m->lanes);
    for (unsigned i = 0; i < o->lanes; i++) lane_init(&m->lanes[i]);
    m->next = must_alloc(o->partitions * sizeof *m->next);
    m->durable = must_alloc(o->partitions * sizeof *m->durable);
    m->committed = must_alloc(o->partitions * sizeof *m->committed);
    for (uint16_t p = 0; p < o->partitions; p++) m->next[p] = 1;
    *out = &m->log;
    return OK;
}

void log_memory_crash(struct log *log, const uint64_t *from) {
    struct memory_log *m = (struct memory_log *)log;
    for (unsigned i = 0; i < m->o.lanes; i++) {
        lane_done(&m->lanes[i]);
        memset(&m->lanes[i], 0, sizeof m->lanes[i]);
        lane_init(&m->lanes[i]);
    }
    for (uint16_t p = 0; p < m->o.partitions; p++) {
        m->next[p] = m->durable[p] + 1;
        if (!m->committed[p]) continue;
        struct chunk *c = must_alloc(sizeof *c);
        struct log_record r;
        size_t at = 0;
        while (chunk_next(m->committed[p], &at, &r))
            if (r.position >= from[p]) chunk_add(c, p, r.position, r.data);
        struct lane *l = &m->lanes[m->o.lane_of(m->o.lane_arg, p)];
        l->replay_left += c->count;
        lane_make_ready(l, c, 0);
    }
}
