/* Sends as records make them: tried again with growing pauses, by another provider at once, after their
 * lease when the server had ended, withdrawn, given up, sent again.
 * SPDX-License-Identifier: Apache-2.0 */
#include "outbox/outbox_in.h"
#include "outbox/sends_twin.h"

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
    assert_true(sends_sound(w.cells, &why) && !why.n);
    result(&w, OUTWARD_RETRY, true, 0); /* and by another provider, at once */
    assert_int_equal(w.hand_overs, 3);
    assert_true(is_there(&w, &x) && x.provider == 1 && x.attempts == 0);
    pass(&w, 58000); /* the lease of before counts no more */
    assert_int_equal(w.hand_overs, 3);
    pass(&w, 4000);
    assert_int_equal(w.hand_overs, 4);
    cells_put(w.cells, cells_get(w.cells, key2(room, '<', APP, ANN)), (struct bytes){0});
    assert_false(sends_sound(w.cells, &why));
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

/* A phone that is gone is gone, also when nobody waits for the answer any more; and it is told once. */
static void gone_after_it_was_withdrawn(void **state) {
    struct world w;
    (void)state;
    for (int withdrawn = 0; withdrawn < 2; withdrawn++) {
        struct answer a = {0};
        struct buf b = {0};
        begin(&w);
        struct step s = step_of(&w, &a, (struct bytes){0});
        if (withdrawn) sends_withdraw(&s, ANN, BYTES("t1"));
        step_end(&w, &s);
        pass(&w, 5000);
        pack_u64(&b, w.handed);
        for (int i = 0; i < 4; i++) pack_u8(&b, i ? 0 : OUTWARD_DROP);
        for (int i = 0; i < 3; i++) pack_u64(&b, i == 1 ? NOW_MS : 0);
        for (int i = 0; i < 3; i++) pack_bytes(&b, (struct bytes){0});
        pack_bytes(&b, ANN);
        pack_bytes(&b, BYTES("phone"));
        assert_int_equal(run(&w, &sends_part, KIND_NOTIFY_SENT, buf_view(&b)), 200);
        assert_int_equal(w.gone, 1);
        assert_int_equal(last_why(&w), withdrawn ? WHY_WITHDRAWN : WHY_SEND_FAILED);
        buf_done(&b);
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
    assert_int_equal(run(&w, &letters_part, KIND_NOTIFY_RETRY, buf_view(&b)), 202);
    assert_int_equal(w.hand_overs, 2);
    assert_true(is_there(&w, &x) && x.attempts == 0 && bytes_eq(x.to, BYTES("phone")));
    letter_newest(&w, &count);
    assert_int_equal(count, 0);
    (void)run(&w, &letters_part, KIND_NOTIFY_RETRY, buf_view(&b));
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
    assert_int_equal(run(&w, &letters_part, KIND_NOTIFY_RETRY, buf_view(&b)), 202);
    result(&w, OUTWARD_DELIVERED, false, 0);
    assert_int_equal(content_total(w.cells, APP, BYTES("t1"), TOTAL_PUSHED), 1);
    assert_int_equal(content_total(w.cells, APP, BYTES("t1"), TOTAL_FAILED), 1);
    buf_done(&b);
    end(&w);
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
    assert_true(sends_sound(w.cells, &why) && !why.n);
    uint8_t room[300];
    uint64_t key = letter_newest(&w, &count);
    cells_put(w.cells, cells_get(w.cells, key2n(room, '=', APP, (struct bytes){0}, key)),
        (struct bytes){0});
    assert_false(sends_sound(w.cells, &why));
    buf_done(&why);
    end(&w);
}

/* ---- messages to webhooks ---- */
static void stored(struct world *w, struct bytes conversation, struct bytes id) {
    struct answer a = {0};
    struct step s = step_of(w, &a, (struct bytes){0});
    sends_message(&s, conversation, id, w->now_ms);
    step_end(w, &s);
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
    assert_int_equal(run(&w, &letters_part, KIND_NOTIFY_RETRY, buf_view(&b)), 202);
    result(&w, OUTWARD_DELIVERED, false, 0); /* the one that was sent again */
    w.handed--;
    result(&w, OUTWARD_DELIVERED, false, 0); /* the other's */
    w.handed--;
    result(&w, OUTWARD_DELIVERED, false, 0);
    stored(&w, BYTES("c"), BYTES("m1"));
    letter_newest(&w, &letters);
    assert_int_equal(letters, 3); /* three and one less one; and now both had room */
    assert_true(sends_sound(w.cells, &why) && !why.n);
    struct cell *count = cells_get(w.cells, key2(room, '<', APP, (struct bytes){0}));
    cells_edit(w.cells, count)[count->size - 1] ^= 1;
    assert_false(sends_sound(w.cells, &why));
    buf_done(&why);
    buf_done(&b);
    end(&w);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(delivered_is_the_end),
        cmocka_unit_test(pauses_grow), cmocka_unit_test(leases_run_out),
        cmocka_unit_test(one_record_makes_many), cmocka_unit_test(withdrawn_or_cancelled),
        cmocka_unit_test(gone_after_it_was_withdrawn), cmocka_unit_test(given_up_and_again),
        cmocka_unit_test(sent_again_counts_nobody_twice), cmocka_unit_test(letters_are_bounded),
        cmocka_unit_test(messages_that_wait_are_bounded)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
