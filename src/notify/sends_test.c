/* Sends as records make them: tried again with growing pauses, by another provider at once, after their
 * lease when the server had ended, withdrawn, given up, sent again.
 * SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#include "due/due.h"
#include "notify/sends_in.h"
#include "outward/outward.h"
#include "person/person.h"
#include "send/send.h"

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

static struct step step_of(struct world *w, struct answer *a, struct bytes body) {
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

static void step_end(struct world *w, struct step *s) {
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

static int run(struct world *w, const struct surface_part *part, uint8_t kind, struct bytes body) {
    struct answer a = {0};
    struct step s = step_of(w, &a, body);
    for (size_t i = 0; i < part->rule_count; i++)
        if (part->rules[i].kind == kind) part->rules[i].apply(&s);
    step_end(w, &s);
    return a.status;
}

/* Lets time pass, with a tick each second, whose records apply. */
static void pass(struct world *w, int64_t ms) {
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
                for (size_t k = 0; k < notify_sends.rule_count; k++)
                    if (notify_sends.rules[k].kind == KIND_NOTIFY_SEND_DUE)
                        notify_sends.rules[k].apply(&one);
            for (size_t k = 0; k < one.delivery_count; k++)
                if (one.deliveries[k].kind == DELIVER_SEND) w->hand_overs++;
            buf_done(&answer.body);
        }
        step_end(w, &s);
    }
}

/* ann with a phone, and one push to it. */
static void begin(struct world *w) {
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

static void end(struct world *w) {
    cells_free(&w->cells);
    w->store->calls->close(w->store);
    arena_done(&w->arena);
}

static bool is_there(struct world *w, struct sending *x) {
    return sending_find(w->cells, w->handed, x);
}

static void result(struct world *w, enum outward_verdict v, bool at_once, int64_t retry_after_ms) {
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
    assert_int_equal(run(w, &notify_sends, KIND_NOTIFY_SENT, buf_view(&b)), 200);
    buf_done(&b);
}

struct found {
    enum why codes[64];
    size_t n;
    struct bytes user;
};
static void decision_take(void *arg, const struct decision *d) {
    struct found *f = arg;
    f->codes[f->n++ % 64] = d->code;
}
static enum why last_why(struct world *w) {
    struct found f = {.n = 0};
    why_each(w->cells, APP, ANN, BYTES("t1"), decision_take, &f);
    return f.n ? f.codes[(f.n - 1) % 64] : 0;
}

static uint64_t letter_newest(struct world *w, size_t *count) {
    uint8_t room[300];
    uint64_t key = 0;
    const struct cell *list = cells_get(w->cells, key2(room, '=', APP, (struct bytes){0}));
    *count = list->size / sizeof key;
    if (list->size) memcpy(&key, list->data + list->size - sizeof key, sizeof key);
    return key;
}

static void delivered_is_the_end(void **state) {
    struct world w;
    struct sending x;
    (void)state;
    begin(&w);
    result(&w, OUTWARD_DELIVERED, false, 0);
    assert_false(is_there(&w, &x));
    assert_int_equal(last_why(&w), WHY_SENT);
    assert_int_equal(content_total(w.cells, APP, BYTES("t1"), TOTAL_PUSHED), 1);
    result(&w, OUTWARD_GIVE_UP, false, 0); /* told twice: nothing */
    pass(&w, DAY_MS / 24);
    assert_int_equal(w.hand_overs, 1);
    assert_int_equal(content_total(w.cells, APP, BYTES("t1"), TOTAL_FAILED), 0);
    end(&w);
}

/* Pauses double within a quarter, up to an hour; Retry-After is kept; after a day it is given up. */
static void pauses_grow(void **state) {
    struct world w;
    struct sending x;
    (void)state;
    begin(&w);
    for (int n = 0; n < 11; n++) {
        unsigned before = w.hand_overs;
        int64_t took = 0, want = 1000ll << n;
        result(&w, OUTWARD_RETRY, false, 0);
        assert_int_equal(last_why(&w), WHY_SEND_RETRY);
        for (; w.hand_overs == before; took += 1000) pass(&w, 1000);
        if (took < want * 3 / 4 || took > want * 5 / 4 + 2000)
            fail_msg("%d: %lld", n, (long long)took);
    }
    unsigned before = w.hand_overs;
    result(&w, OUTWARD_RETRY, false, 2 * 3600 * 1000ll);
    pass(&w, 2 * 3600 * 1000ll - 2000);
    assert_int_equal(w.hand_overs, before);
    pass(&w, 4000);
    assert_int_equal(w.hand_overs, before + 1);
    for (size_t count = 0, tries = 0; !count; tries++) {
        assert_true(tries < 40);
        if (!is_there(&w, &x)) break;
        result(&w, OUTWARD_RETRY, false, 0);
        before = w.hand_overs;
        for (int hours = 0; is_there(&w, &x) && w.hand_overs == before && hours < 6000; hours++)
            pass(&w, 1000);
        letter_newest(&w, &count);
    }
    assert_false(is_there(&w, &x));
    assert_true(w.now_ms - NOW_MS > DAY_MS * 9 / 10 && w.now_ms - NOW_MS < DAY_MS * 11 / 10);
    assert_int_equal(last_why(&w), WHY_SEND_FAILED);
    assert_int_equal(content_total(w.cells, APP, BYTES("t1"), TOTAL_FAILED), 1);
    end(&w);
}

/* The server ended while it was under way: no result ever comes, and it is handed over again. */
static void leases_run_out(void **state) {
    struct world w;
    struct sending x;
    (void)state;
    begin(&w);
    pass(&w, 59000);
    assert_int_equal(w.hand_overs, 1);
    pass(&w, 3000);
    assert_int_equal(w.hand_overs, 2);
    struct buf why = {0};
    uint8_t room[300];
    assert_true(notify_check(w.cells, &why) && !why.n);
    result(&w, OUTWARD_RETRY, true, 0); /* and by another provider, at once */
    assert_int_equal(w.hand_overs, 3);
    assert_true(is_there(&w, &x) && x.provider == 1 && x.attempts == 0);
    pass(&w, 58000); /* the lease of before counts no more */
    assert_int_equal(w.hand_overs, 3);
    pass(&w, 4000);
    assert_int_equal(w.hand_overs, 4);
    cells_put(w.cells, cells_get(w.cells, key2(room, '<', APP, ANN)), (struct bytes){0});
    assert_false(notify_check(w.cells, &why));
    buf_done(&why);
    end(&w);
}

/* As of a trigger to many here: each is handed over, and has a name of its own. */
static void one_record_makes_many(void **state) {
    enum { MANY = 1000 };
    struct world w;
    struct answer a = {0};
    (void)state;
    begin(&w);
    struct step s = step_of(&w, &a, (struct bytes){0});
    for (int n = 0; n < MANY; n++)
        sends_add(&s, &(struct outgoing){ANN, BYTES("t1"), BYTES("t1"), CHANNEL_PUSH});
    uint64_t before = w.handed;
    for (size_t i = 0; i < s.delivery_count; i++) {
        struct unpack u = unpack_of(s.deliveries[i].body);
        uint64_t n = unpack_u64(&u);
        assert_true(n > before);
        before = n;
    }
    step_end(&w, &s);
    assert_int_equal(w.hand_overs, 1 + MANY);
    end(&w);
}

static void withdrawn_or_cancelled(void **state) {
    struct world w;
    struct sending x;
    (void)state;
    for (int cancelled = 0; cancelled < 2; cancelled++) {
        struct answer a = {0};
        begin(&w);
        result(&w, OUTWARD_RETRY, false, 0);
        struct step s = step_of(&w, &a, (struct bytes){0});
        if (cancelled) assert_true(content_cancel(&s, BYTES("t1")));
        else sends_withdraw(&s, ANN, BYTES("t1"));
        step_end(&w, &s);
        pass(&w, 120000);
        assert_int_equal(w.hand_overs, 1);
        assert_false(is_there(&w, &x));
        assert_int_equal(last_why(&w), cancelled ? WHY_CANCELLED : WHY_WITHDRAWN);
        end(&w);
    }
}

static void given_up_and_again(void **state) {
    struct world w;
    struct sending x;
    struct buf b = {0};
    size_t count;
    (void)state;
    begin(&w);
    result(&w, OUTWARD_GIVE_UP, false, 0);
    uint64_t key = letter_newest(&w, &count);
    assert_int_equal(count, 1);
    pack_u64(&b, key);
    assert_int_equal(run(&w, &notify_letters, KIND_NOTIFY_RETRY, buf_view(&b)), 202);
    assert_int_equal(w.hand_overs, 2);
    assert_true(is_there(&w, &x) && x.attempts == 0 && bytes_eq(x.to, BYTES("phone")));
    letter_newest(&w, &count);
    assert_int_equal(count, 0);
    (void)run(&w, &notify_letters, KIND_NOTIFY_RETRY, buf_view(&b));
    assert_int_equal(w.hand_overs, 2); /* it is gone: nothing */
    result(&w, OUTWARD_DROP, false, 0);
    assert_int_equal(w.gone, 1);
    letter_newest(&w, &count);
    assert_int_equal(count, 0);
    buf_done(&b);
    end(&w);
}

/* One address refused it, another one took it; then the dead letter is sent again, and taken, too: that is
 * one person still (the simulator's seed 49 counted two). */
static void sent_again_counts_nobody_twice(void **state) {
    struct world w;
    struct buf b = {0};
    struct answer a = {0};
    size_t count;
    (void)state;
    begin(&w);
    result(&w, OUTWARD_GIVE_UP, false, 0);
    assert_int_equal(content_total(w.cells, APP, BYTES("t1"), TOTAL_FAILED), 1);
    struct step s = step_of(&w, &a, (struct bytes){0});
    sends_add(&s, &(struct outgoing){ANN, BYTES("t1"), BYTES("t1"), CHANNEL_PUSH});
    step_end(&w, &s);
    result(&w, OUTWARD_DELIVERED, false, 0);
    assert_int_equal(content_total(w.cells, APP, BYTES("t1"), TOTAL_PUSHED), 1);
    pack_u64(&b, letter_newest(&w, &count));
    assert_int_equal(run(&w, &notify_letters, KIND_NOTIFY_RETRY, buf_view(&b)), 202);
    result(&w, OUTWARD_DELIVERED, false, 0);
    assert_int_equal(content_total(w.cells, APP, BYTES("t1"), TOTAL_PUSHED), 1);
    assert_int_equal(content_total(w.cells, APP, BYTES("t1"), TOTAL_FAILED), 1);
    buf_done(&b);
    end(&w);
}

/* Between being told of and handed over there may be a queue, or a death: what is wished by then holds.
 * (The simulator's seeds 4, 8 and 30 sent what had expired, was cancelled, or came in quiet hours.) */
static void asked_when_handed_over(void **state) {
    struct world w;
    struct sending x;
    (void)state;
    for (int what = 0; what < 3; what++) { /* nothing, opted out, a pause */
        struct tools tools = {.kit = template_kit_create()};
        struct json_reader *json = json_reader_create();
        struct send_instead instead;
        struct buf b = {0};
        begin(&w);
        tools.programs = template_cache_create(tools.kit, 4);
        pack_bytes(&b, ANN);
        pack_u8(&b, what == 2 ? 2 : 0);
        for (int i = 0; i < 2; i++) pack_u16(&b, 0);
        pack_u8(&b, QUIET_ALL);
        pack_u64(&b, what == 2 ? (uint64_t)w.now_ms + 5000 : 0);
        if (what == 1) {
            pack_bytes(&b, BYTES("likes"));
            for (int i = 0; i < 2; i++) pack_u8(&b, CHANNEL_PUSH);
            pack_u8(&b, 0);
        }
        assert_int_equal(run(&w, &notify_preferences, KIND_PREFERENCES_PUT, buf_view(&b)), 200);
        struct send_task *t = notify_send_task(&tools, json, w.cells, w.handed, w.now_ms, &instead);
        assert_int_equal(t != NULL, what == 0);
        assert_int_equal(instead.kind, what ? KIND_NOTIFY_SEND_DUE : 0);
        if (what) {
            assert_string_equal(instead.app, "demo");
            (void)run(&w, &notify_sends, KIND_NOTIFY_SEND_DUE, buf_view(&instead.body));
            assert_int_equal(last_why(&w), what == 1 ? WHY_OPTED_OUT : WHY_HELD_QUIET);
        }
        assert_int_equal(is_there(&w, &x), what != 1);
        pass(&w, 4000);
        assert_int_equal(w.hand_overs, 1);
        pass(&w, 2000);
        assert_int_equal(w.hand_overs, what == 2 ? 2 : 1);
        send_task_free(&t);
        buf_done(&instead.body);
        buf_done(&b);
        json_reader_free(&json);
        template_cache_free(&tools.programs);
        template_kit_free(&tools.kit);
        end(&w);
    }
}

/* What is gone was gone when it was handed over, however late the answer is stored (the simulator's seed
 * 32 dropped the address that came while it waited). */
static void gone_since_it_was_handed_over(void **state) {
    struct send_result r = {.id = 1, .cookie = NOW_MS, .verdict = OUTWARD_DROP, .took_ms = 5};
    (void)state;
    for (int said = 0; said < 2; said++) {
        struct buf b = {0};
        r.gone_since_ms = said ? NOW_MS - 7 : 0;
        notify_sent_record(&r, &b);
        struct unpack u = unpack_of(buf_view(&b));
        (void)unpack_u64(&u);
        for (int i = 0; i < 4; i++) (void)unpack_u8(&u);
        (void)unpack_u64(&u);
        assert_int_equal(unpack_u64(&u), said ? NOW_MS - 7 : NOW_MS);
        buf_done(&b);
    }
}

/* The newest thousand; those of an erased user go. */
static void letters_are_bounded(void **state) {
    struct world w;
    size_t count;
    uint64_t before = 0;
    struct buf why = {0};
    (void)state;
    begin(&w);
    for (int n = 0; n < 1010; n++) {
        struct answer a = {0};
        struct step s = step_of(&w, &a, (struct bytes){0});
        struct sending x = {
            .channel = CHANNEL_EMAIL, .app = APP, .user = n % 2 ? ANN : BYTES("bob")};
        letter_add(&s, &x, BYTES("mx"), BYTES("no"));
        step_end(&w, &s);
        uint64_t key = letter_newest(&w, &count);
        assert_true(key > before); /* within one millisecond, too */
        before = key;
    }
    assert_int_equal(count, 1000);
    struct answer a = {0};
    struct step s = step_of(&w, &a, (struct bytes){0});
    sends_erase(&s, ANN);
    step_end(&w, &s);
    letter_newest(&w, &count);
    assert_int_equal(count, 500);
    assert_true(notify_check(w.cells, &why) && !why.n);
    uint8_t room[300];
    uint64_t key = letter_newest(&w, &count);
    cells_put(w.cells, cells_get(w.cells, key2n(room, '=', APP, (struct bytes){0}, key)),
        (struct bytes){0});
    assert_false(notify_check(w.cells, &why));
    buf_done(&why);
    end(&w);
}

/* ---- messages to webhooks ---- */
static void hook(struct world *w, struct bytes id, uint32_t events) {
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

static void stored(struct world *w, struct bytes conversation, struct bytes id) {
    struct buf b = {0};
    pack_bytes(&b, conversation);
    pack_bytes(&b, id);
    pack_u64(&b, (uint64_t)w->now_ms);
    assert_int_equal(run(w, &notify_messages, KIND_NOTIFY_MESSAGE_STORED, buf_view(&b)), 200);
    buf_done(&b);
}

static bool message_json(struct cells *c, struct bytes app, struct bytes conversation,
    struct bytes id, int64_t now_ms, struct buf *out) {
    (void)c, (void)now_ms;
    if (!bytes_is(id, "m1")) return false;
    assert_true(bytes_eq(app, APP) && bytes_is(conversation, "ann"));
    buf_str(out, "{\"id\":\"m1\"}");
    return true;
}

static struct send_task *task_of(struct world *w, struct send_instead *instead) {
    struct tools tools = {.message_json = message_json};
    struct json_reader *json = json_reader_create();
    struct send_task *t = notify_send_task(&tools, json, w->cells, w->handed, w->now_ms, instead);
    json_reader_free(&json);
    return t;
}

/* The conversation has a user's name: what is the user's stays apart. */
static void messages_go_to_those_who_ask(void **state) {
    struct world w;
    struct sending x;
    struct send_instead instead;
    struct buf why = {0};
    (void)state;
    begin(&w);
    hook(&w, BYTES("read"), 1u << 2);
    stored(&w, BYTES("ann"), BYTES("m0"));
    assert_int_equal(w.hand_overs, 1);
    hook(&w, BYTES("all"), 0x80000000u);
    stored(&w, BYTES("ann"), BYTES("m1"));
    assert_int_equal(w.hand_overs, 2);
    assert_true(is_there(&w, &x) && bytes_is(x.to, "all"));
    struct send_task *t = task_of(&w, &instead);
    assert_non_null(t);
    assert_true(bytes_is(t->payload, "{\"type\":\"message.created\",\"timestamp\":"
                                     "\"2026-11-20T23:30:00.000Z\",\"data\":{\"id\":\"m1\"}}"));
    assert_int_equal(t->secret_count, 1);
    send_task_free(&t);
    assert_true(notify_check(w.cells, &why) && !why.n);
    struct answer a = {0};
    struct step s = step_of(&w, &a, (struct bytes){0});
    sends_erase(&s, ANN);
    step_end(&w, &s);
    assert_true(is_there(&w, &x) && notify_check(w.cells, &why) && !why.n);
    pass(&w, 61000); /* its lease: nobody's wishes are asked */
    assert_int_equal(w.hand_overs, 3);
    result(&w, OUTWARD_DELIVERED, false, 0);
    assert_false(is_there(&w, &x));
    stored(&w, BYTES("ann"), BYTES("gone"));
    assert_null(task_of(&w, &instead));
    assert_int_equal(instead.kind, KIND_NOTIFY_SENT);
    assert_non_null(
        memmem(instead.body.p, instead.body.n, "the message is not there any more", 33));
    buf_done(&instead.body);
    assert_true(notify_check(w.cells, &why) && !why.n);
    buf_done(&why);
    end(&w);
}

static void messages_that_wait_are_bounded(void **state) {
    enum { MOST = 4096 };
    struct world w;
    struct buf why = {0}, b = {0};
    uint8_t room[300];
    size_t letters;
    (void)state;
    begin(&w);
    hook(&w, BYTES("slow"), 1u << 6);
    for (int n = 0; n < MOST + 3; n++) stored(&w, BYTES("c"), BYTES("m1"));
    assert_int_equal(w.hand_overs, 1 + MOST);
    uint64_t key = letter_newest(&w, &letters);
    assert_int_equal(letters, 3);
    hook(&w, BYTES("other"), 1u << 6);
    stored(&w, BYTES("c"), BYTES("m1")); /* the other one has its own room */
    assert_int_equal(w.hand_overs, 2 + MOST);
    pack_u64(&b, key);
    assert_int_equal(run(&w, &notify_letters, KIND_NOTIFY_RETRY, buf_view(&b)), 202);
    result(&w, OUTWARD_DELIVERED, false, 0); /* the one that was sent again */
    w.handed--;
    result(&w, OUTWARD_DELIVERED, false, 0); /* the other's */
    w.handed--;
    result(&w, OUTWARD_DELIVERED, false, 0);
    stored(&w, BYTES("c"), BYTES("m1"));
    letter_newest(&w, &letters);
    assert_int_equal(letters, 3); /* three and one less one; and now both had room */
    assert_true(notify_check(w.cells, &why) && !why.n);
    struct cell *count = cells_get(w.cells, key2(room, '<', APP, (struct bytes){0}));
    cells_edit(w.cells, count)[count->size - 1] ^= 1;
    assert_false(notify_check(w.cells, &why));
    buf_done(&why);
    buf_done(&b);
    end(&w);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(delivered_is_the_end),
        cmocka_unit_test(pauses_grow), cmocka_unit_test(leases_run_out),
        cmocka_unit_test(one_record_makes_many), cmocka_unit_test(withdrawn_or_cancelled),
        cmocka_unit_test(given_up_and_again), cmocka_unit_test(sent_again_counts_nobody_twice),
        cmocka_unit_test(asked_when_handed_over), cmocka_unit_test(gone_since_it_was_handed_over),
        cmocka_unit_test(letters_are_bounded), cmocka_unit_test(messages_go_to_those_who_ask),
        cmocka_unit_test(messages_that_wait_are_bounded)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
