/* What becomes of a send between its cell and src/send: asked for as it is handed over, in words, of a
 * message or for a person; and what its result is stored as.
 * SPDX-License-Identifier: Apache-2.0 */
#include "notify/notify_in.h"
#include "outbox/sends_twin.h"
#include "send/send.h"

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
        assert_int_equal(run(&w, &notify_wishes, KIND_PREFERENCES_PUT, buf_view(&b)), 200);
        struct send_task *t = notify_send_task(&tools, json, w.cells, w.handed, w.now_ms, &instead);
        assert_int_equal(t != NULL, what == 0);
        assert_int_equal(instead.kind, what ? KIND_NOTIFY_SEND_DUE : 0);
        if (what) {
            assert_string_equal(instead.app, "demo");
            (void)run(&w, &sends_part, KIND_NOTIFY_SEND_DUE, buf_view(&instead.body));
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
        (void)unpack_u64(&u);
        for (int i = 0; i < 3; i++) (void)unpack_bytes(&u);
        assert_false(unpack_more(&u)); /* of no device */
        buf_done(&b);
    }
    struct send_result gone = {
        .verdict = OUTWARD_DROP, .cookie = NOW_MS, .user = "ann", .device = "phone"};
    struct buf b = {0};
    notify_sent_record(&gone, &b);
    assert_memory_equal(b.p + b.n - 10, "\3ann\5phone", 10);
    buf_done(&b);
}

/* ---- messages to webhooks ---- */
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

static size_t secrets_at(struct world *w, int64_t ms, struct bytes *out_first) {
    struct bytes url, secrets;
    size_t n = 0;
    assert_true(webhook_find(w->cells, APP, BYTES("ops"), ms, &url, &secrets));
    for (struct unpack u = unpack_of(secrets); unpack_more(&u); n++) {
        struct bytes secret = unpack_bytes(&u);
        if (!n) *out_first = secret;
    }
    return n;
}

/* A new one signs at once; the one before it beside it, for a day; none that is older. */
static void secrets_take_turns(void **state) {
    struct world w;
    struct bytes first;
    (void)state;
    begin(&w);
    hook(&w, BYTES("ops"), 1u);
    assert_int_equal(secrets_at(&w, w.now_ms, &first), 1);
    for (int i = 0; i < 2; i++) {
        struct buf b = {0};
        struct bytes fresh = i ? BYTES("whsec_eQ==") : BYTES("whsec_eA==");
        pack_bytes(&b, BYTES("ops"));
        pack_u8(&b, 4); /* it is to be rotated */
        pack_bytes(&b, (struct bytes){0});
        pack_u32(&b, 0);
        pack_bytes(&b, fresh);
        assert_int_equal(run(&w, &webhooks_part, KIND_WEBHOOK_PUT, buf_view(&b)), 200);
        assert_int_equal(secrets_at(&w, w.now_ms, &first), 2);
        assert_true(bytes_eq(first, fresh));
        assert_int_equal(secrets_at(&w, w.now_ms + DAY_MS - 1, &first), 2);
        assert_int_equal(secrets_at(&w, w.now_ms + DAY_MS, &first), 1);
        assert_true(bytes_eq(first, fresh));
        buf_done(&b);
    }
    end(&w);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(asked_when_handed_over),
        cmocka_unit_test(gone_since_it_was_handed_over),
        cmocka_unit_test(messages_go_to_those_who_ask), cmocka_unit_test(secrets_take_turns)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
