/* A partition in which ann has a phone and one push on its way to it: what tests of sends, here and in
 * notify, begin with; and time that passes, with what falls due in it.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef KITH_OUTBOX_SENDS_TWIN_H
#define KITH_OUTBOX_SENDS_TWIN_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#include "due/due.h"
#include "mailbox/mailbox.h"
#include "outbox/outbox.h"
#include "outward/outward.h"
#include "person/person.h"

static const struct bytes APP = {(const uint8_t *)"demo", 4}, ANN = {(const uint8_t *)"ann", 3};
#define NOW_MS 1795217400000ll
#define DAY_MS (24 * 3600 * 1000ll)

struct world {
    struct store *store;
    struct cells *cells;
    uint64_t position, handed; /* handed: n of the last DELIVER_SEND */
    unsigned hand_overs, gone; /* gone: PUSH_GONE relays */
    int64_t now_ms;
    struct arena arena;
};

static inline struct step step_of(struct world *w, struct answer *a, struct bytes body) {
    return (struct step){.cells = w->cells,
        .partitions = 1,
        .position = ++w->position,
        .time_ms = w->now_ms,
        .app = APP,
        .body = body,
        .arena = &w->arena,
        .wanted = true,
        .answer = a};
}

static inline void step_end(struct world *w, struct step *s) {
    for (size_t i = 0; i < s->delivery_count; i++) {
        struct unpack u = unpack_of(s->deliveries[i].body);
        uint64_t n = unpack_u64(&u);
        if (s->deliveries[i].kind != DELIVER_SEND || unpack_u8(&u)) continue;
        w->handed = n;
        w->hand_overs++;
    }
    for (size_t i = 0; i < s->relay_count; i++) w->gone += s->relays[i].kind == KIND_PUSH_GONE;
    buf_done(&s->answer->body);
    arena_reset(&w->arena);
}

static inline int run(
    struct world *w, const struct surface_part *part, uint8_t kind, struct bytes body) {
    struct answer a = {0};
    struct step s = step_of(w, &a, body);
    for (size_t i = 0; i < part->rule_count; i++)
        if (part->rules[i].kind == kind) part->rules[i].apply(&s);
    step_end(w, &s);
    return a.status;
}

/* Lets time pass, with a tick each second, whose records apply. */
static inline void pass(struct world *w, int64_t ms) {
    for (int64_t until = w->now_ms + ms; w->now_ms < until; w->now_ms += 1000) {
        struct answer a = {0};
        if (due_next(w->cells) > w->now_ms) continue;
        struct step s = step_of(w, &a, (struct bytes){0});
        for (size_t i = 0; i < due_surface.record_count; i++)
            if (due_surface.records[i].kind == KIND_TICK) due_surface.records[i].apply(&s);
        size_t n = s.relay_count;
        struct relay relays[64];
        assert_true(n <= 64);
        for (size_t i = 0; i < n; i++) relays[i] = s.relays[i];
        for (size_t i = 0; i < n; i++) {
            struct answer answer = {0};
            struct step one = step_of(w, &answer, relays[i].body);
            if (relays[i].kind == KIND_NOTIFY_SEND_DUE)
                for (size_t k = 0; k < sends_part.rule_count; k++)
                    if (sends_part.rules[k].kind == KIND_NOTIFY_SEND_DUE)
                        sends_part.rules[k].apply(&one);
            for (size_t k = 0; k < one.delivery_count; k++)
                if (one.deliveries[k].kind == DELIVER_SEND) w->hand_overs++;
            buf_done(&answer.body);
        }
        step_end(w, &s);
    }
}

/* ann with a phone, and one push to it. */
static inline void begin(struct world *w) {
    struct buf definition = {0}, b = {0};
    struct answer a = {0};
    struct tools tools = {.kit = template_kit_create()};
    struct content k = {.id = BYTES("t1"), .workflow = BYTES("likes"), .created_ms = NOW_MS};
    *w = (struct world){.store = store_create_memory(), .now_ms = NOW_MS};
    w->cells = cells_create(w->store, 0, 1 << 20);
    assert_true(definition_read(&tools,
        BYTES("{\"channels\":[\"push\"],\"templates\":{\"en\":{\"title\":\"t\"}}}"), &definition,
        &a));
    pack_bytes(&b, BYTES("likes"));
    pack_u64(&b, 0);
    pack_bytes(&b, buf_view(&definition));
    run(w, &workflows_part, KIND_WORKFLOW_PUT, buf_view(&b));
    struct answer given = {0};
    struct step s = step_of(w, &given, (struct bytes){0});
    struct person_device d = {.there = true, .push = BYTES("{\"fcm\":{\"token\":\"t\"}}")};
    struct buf list = {0};
    mailbox_ensure(&s, ANN);
    person_device_set(&s, ANN, BYTES("phone"), &d);
    pack_bytes(&list, BYTES("phone"));
    cells_append(w->cells, person_devices(w->cells, APP, ANN), buf_view(&list));
    content_keep(&s, &k, (struct bytes){0}, KEEP_ONE);
    sends_add(&s, &(struct outgoing){ANN, BYTES("t1"), BYTES("t1"), CHANNEL_PUSH});
    step_end(w, &s);
    assert_int_equal(w->hand_overs, 1);
    buf_done(&list);
    buf_done(&b);
    buf_done(&definition);
    template_kit_free(&tools.kit);
}

static inline void end(struct world *w) {
    cells_free(&w->cells);
    w->store->calls->close(w->store);
    arena_done(&w->arena);
}

static inline bool is_there(struct world *w, struct sending *x) {
    return sending_find(w->cells, w->handed, x);
}

static inline void result(
    struct world *w, enum outward_verdict v, bool at_once, int64_t retry_after_ms) {
    struct buf b = {0};
    pack_u64(&b, w->handed);
    pack_u8(&b, (uint8_t)v);
    pack_u8(&b, 0);
    pack_u8(&b, at_once);
    pack_u8(&b, at_once);
    pack_u64(&b, (uint64_t)retry_after_ms);
    pack_u64(&b, 0);
    pack_u64(&b, 5);
    pack_bytes(&b, BYTES("google"));
    pack_bytes(&b, v == OUTWARD_DELIVERED ? (struct bytes){0} : BYTES("words"));
    pack_bytes(&b, (struct bytes){0});
    assert_int_equal(run(w, &sends_part, KIND_NOTIFY_SENT, buf_view(&b)), 200);
    buf_done(&b);
}

struct found {
    enum why codes[64];
    size_t n;
    struct bytes user;
};
static inline void decision_take(void *arg, const struct decision *d) {
    struct found *f = arg;
    f->codes[f->n++ % 64] = d->code;
}
static inline enum why last_why(struct world *w) {
    struct found f = {.n = 0};
    why_each(w->cells, APP, ANN, BYTES("t1"), decision_take, &f);
    return f.n ? f.codes[(f.n - 1) % 64] : 0;
}

static inline uint64_t letter_newest(struct world *w, size_t *count) {
    uint8_t room[300];
    uint64_t key = 0;
    const struct cell *list = cells_get(w->cells, key2(room, '=', APP, (struct bytes){0}));
    *count = list->size / sizeof key;
    if (list->size) memcpy(&key, list->data + list->size - sizeof key, sizeof key);
    return key;
}

/* A webhook of this app. */
static inline void hook(struct world *w, struct bytes id, uint32_t events) {
    struct buf b = {0}, secret = {0};
    webhook_secret_create(&secret);
    pack_bytes(&b, id);
    pack_u8(&b, 3); /* its URL and its events are given */
    pack_bytes(&b, BYTES("https://example.com/"));
    pack_u32(&b, events);
    pack_bytes(&b, buf_view(&secret));
    run(w, &webhooks_part, KIND_WEBHOOK_PUT, buf_view(&b));
    buf_done(&b);
    buf_done(&secret);
}

#endif
