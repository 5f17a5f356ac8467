/* core: between the records and src/send: what a delivery says is to be sent becomes a task, and its
 * result a record.
 *
 * Keeps: nothing is sent twice from when it is told of until its result was applied, however often its
 * lease runs out (outbox/outbox.h): a set has all of them. More than WAITING_MAX do not wait here: their leases
 * bring them again. Whoever has a result stores it, or keeps it until that is possible.
 * SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>
#include <string.h>

#include "core/core.h"
#include "notify/notify.h"
#include "send/send.h"

enum { WAITING_MAX = 1 << 16, OF_TURN = 256, SET_FIRST = 256 };

struct entry_out {
    uint64_t n; /* 0: the place is free */
    uint16_t partition;
    uint32_t serial; /* of the set's: a waiting one of another serial was told of before its end */
};
struct sends {
    struct entry_out *queue; /* ring of WAITING_MAX */
    size_t head, count;
    uint32_t serial;
    struct entry_out *set; /* open addressing, half full at most */
    size_t set_count, set_cap;
    struct json_reader *json;
    struct send_result *unstored; /* the log did not take it yet */
};

/* ---- the set ---- */
static size_t place_of(const struct sends *o, struct entry_out e) {
    uint64_t key[2] = {e.n, e.partition};
    return (size_t)hash64(bytes_of(key, sizeof key)) & (o->set_cap - 1);
}

static size_t set_find(const struct sends *o, struct entry_out e) {
    size_t i = place_of(o, e);
    while (o->set[i].n && (o->set[i].n != e.n || o->set[i].partition != e.partition))
        i = (i + 1) & (o->set_cap - 1);
    return i;
}

static void set_grow(struct sends *o) {
    struct entry_out *old = o->set;
    size_t cap = o->set_cap;
    o->set_cap = cap ? cap * 2 : SET_FIRST;
    o->set = must_alloc(o->set_cap * sizeof *o->set);
    for (size_t i = 0; i < cap; i++)
        if (old[i].n) o->set[set_find(o, old[i])] = old[i];
    free(old);
}

static bool set_add(struct sends *o, struct entry_out e) {
    if (o->set_count * 2 >= o->set_cap) set_grow(o);
    size_t i = set_find(o, e);
    if (o->set[i].n) return false;
    o->set[i] = e;
    o->set_count++;
    return true;
}

/* Those behind it that came to lie there move up. */
static void set_remove(struct sends *o, struct entry_out e) {
    size_t i = o->set_cap ? set_find(o, e) : 0, mask = o->set_cap - 1;
    if (!o->set_cap || !o->set[i].n) return;
    o->set_count--;
    for (size_t k = (i + 1) & mask; o->set[k].n; k = (k + 1) & mask) {
        size_t home = place_of(o, o->set[k]);
        if (((k - home) & mask) < ((k - i) & mask)) continue;
        o->set[i] = o->set[k];
        i = k;
    }
    o->set[i].n = 0;
}

/* ---- what is to be sent ---- */
static struct sends *sends_of(struct shard *s) {
    if (s->sends) return s->sends;
    s->sends = must_alloc(sizeof *s->sends);
    s->sends->queue = must_alloc(WAITING_MAX * sizeof *s->sends->queue);
    s->sends->json = json_reader_create();
    return s->sends;
}

void sends_told(struct shard *s, uint16_t partition, struct bytes body) {
    struct sends *o = sends_of(s);
    struct unpack u = unpack_of(body);
    struct entry_out e = {unpack_u64(&u), partition, ++o->serial};
    bool ended = unpack_u8(&u) != 0;
    check(!u.bad);
    if (ended) set_remove(o, e);
    if (ended || o->count == WAITING_MAX || !set_add(o, e)) return;
    o->queue[(o->head + o->count++) % WAITING_MAX] = e;
}

/* Takes the body. */
static bool store(
    struct shard *s, uint16_t partition, uint8_t kind, const char *app, struct buf *take_body) {
    struct outside record = {.partition = partition,
        .kind = kind,
        .app = bytes_str(app),
        .body = buf_view(take_body),
        .time_ms = s->now_ms,
        .must = true};
    enum err e = engine_append(s->engine, &record);
    buf_done(take_body);
    return e == OK;
}

static bool result_store(struct shard *s, const struct send_result *r) {
    struct buf body = {0};
    notify_sent_record(r, &body);
    return store(s, r->partition, KIND_NOTIFY_SENT, r->app, &body);
}

/* true: on its way, or not to be sent any more. */
static bool hand_one(struct shard *s, struct entry_out e) {
    struct send_instead instead;
    const struct entry_out *in = &s->sends->set[set_find(s->sends, e)];
    if (!in->n || in->serial != e.serial) return true; /* ended, in a replay */
    struct send_task *t = notify_send_task(
        &s->tools, s->sends->json, engine_cells(s->engine, e.partition), e.n, s->now_ms, &instead);
    if (t) {
        t->partition = e.partition;
        check(send_put(s->server->sender, s->index, t)); /* there was room */
        return true;
    }
    bool stored = !instead.kind || store(s, e.partition, instead.kind, instead.app, &instead.body);
    /* a result is told of when it is applied; else it is told of again, if it is to leave */
    if (stored && instead.kind != KIND_NOTIFY_SENT) set_remove(s->sends, e);
    return stored;
}

static bool hand_over(struct shard *s) {
    struct sends *o = s->sends;
    for (int n = 0; n < OF_TURN && o->count; n++) {
        if (send_out(s->server->sender, s->index) >= SEND_OUT_MAX) return false;
        if (!hand_one(s, o->queue[o->head])) return false;
        o->head = (o->head + 1) % WAITING_MAX;
        o->count--;
    }
    return o->count != 0;
}

static void results_take(struct shard *s) {
    struct sends *o = s->sends;
    for (;;) {
        if (!o->unstored) o->unstored = send_take(s->server->sender, s->index);
        if (!o->unstored || !result_store(s, o->unstored)) return;
        send_result_free(&o->unstored);
    }
}

bool sends_turn(struct shard *s) {
    if (!s->sends || !s->recovered) return false;
    results_take(s);
    return !s->draining && !s->sends->unstored && hand_over(s);
}

bool sends_are_out(const struct shard *s) {
    return s->sends && (s->sends->unstored || send_out(s->server->sender, s->index));
}

void sends_done(struct shard *s) {
    if (!s->sends) return;
    free(s->sends->queue);
    free(s->sends->set);
    json_reader_free(&s->sends->json);
    send_result_free(&s->sends->unstored);
    free(s->sends);
    s->sends = NULL;
}
