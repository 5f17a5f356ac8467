/* item: the stored bytes of records, messages, entries and keys, pinned as docs/format/records.md
 * draws them; random ones read back, cut ones are refused.
 * SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "item/item.h"

#define MS 1700000000000 /* var: 80 d0 95 ff bc 31 */

static void is(const struct buf *b, const char *bytes, size_t n) {
    assert_int_equal(b->n, n);
    assert_memory_equal(b->p, bytes, n);
}
#define IS(b, lit) is(&(b), lit, sizeof(lit) - 1)

/* ---- what is on disks must not change ---- */
static void records_are_pinned(void **state) {
    (void)state;
    struct buf b = {0};
    struct record r = {
        .kind = 43, .time_ms = MS, .ticket = 0x0102, .app = BYTES("demo"), .body = BYTES("xyz")};
    record_encode(&b, &r);
    IS(b, "\1\x2b\0\x80\xd0\x95\xff\xbc\x31\2\1\0\0\0\0\0\0\4demoxyz");
    buf_reset(&b);
    r.relay = true, r.source = 0x0304, r.source_position = 300, r.counter = 5;
    record_encode(&b, &r);
    IS(b, "\1\x2b\1\x80\xd0\x95\xff\xbc\x31\2\1\0\0\0\0\0\0\4\3\xac\2\5\4demoxyz");
    b.p[0] = 2; /* of another version */
    assert_int_equal(record_decode(buf_view(&b), &r), CORRUPT);
    buf_done(&b);
}

static void messages_are_pinned(void **state) {
    (void)state;
    struct buf b = {0};
    struct message m = {.seq = 3,
        .id = BYTES("m"),
        .from = BYTES("a"),
        .created_ms = 1,
        .edited_ms = 2,
        .expires_ms = 4,
        .has_body = true,
        .body = BYTES("B"),
        .data = BYTES("D"),
        .media = BYTES("E"),
        .reply_to = BYTES("r"),
        .mentions = BYTES("M"),
        .reactions = BYTES("\1x\1"),
        .ciphertexts = BYTES("C")};
    message_encode(&b, &m);
    IS(b, "\3\xff\5\1m\1a\1\1B\1D\1E\1r\1M\3\1x\1\1C\2\4");
    buf_reset(&b);
    m.deleted_ms = 3;
    message_encode(&b, &m);
    IS(b, "\3\x80\7\1m\1a\1\2\3\4");
    buf_reset(&b);
    /* an empty body is a body */
    m = (struct message){
        .seq = 1, .id = BYTES("m"), .from = BYTES("a"), .created_ms = 1, .has_body = true};
    message_encode(&b, &m);
    IS(b, "\1\1\1m\1a\1\0");
    buf_done(&b);
}

static void entries_cursors_and_keys_are_pinned(void **state) {
    (void)state;
    struct buf b = {0};
    uint8_t room[300];
    struct entry e = {.position = 300,
        .at_ms = 1,
        .type = ENTRY_RECEIPT,
        .event = EVENT_UPDATED,
        .conversation = BYTES("c"),
        .seq = 9,
        .from = BYTES("a"),
        .extra = BYTES("\5\4")};
    entry_encode(&b, &e);
    IS(b, "\xac\2\1\2\2\1c\x09\1a\2\5\4");
    buf_reset(&b);
    cursor_format(&b, 0x5f3a, 0x1c9);
    IS(b, "5f3a-1c9");
    buf_reset(&b);
    cursor_format(&b, UINT64_MAX, 0);
    IS(b, "ffffffffffffffff-0");
    buf_reset(&b);
    buf_bytes(&b, key2(room, 'm', BYTES("app"), BYTES("ann")));
    IS(b, "mapp\0ann\0");
    buf_reset(&b);
    buf_bytes(&b, key3n(room, 'x', BYTES("a"), BYTES("b"), BYTES("c"), 0x0102));
    IS(b, "xa\0b\0c\0\0\0\0\0\0\0\1\2");
    buf_reset(&b);
    message_id_make(&b, MS, 33);
    assert_int_equal(b.n, 12);
    assert_int_equal(message_id_seq(buf_view(&b)), 33);
    buf_done(&b);
    /* partitions must not move either: data would not be found again */
    assert_int_equal(
        partition_of_user(BYTES("demo"), BYTES("ann"), 64), hash64(BYTES("udemo\0ann\0")) % 64);
    assert_int_equal(partition_of_conversation(BYTES("demo"), BYTES("ann"), 64),
        hash64(BYTES("cdemo\0ann\0")) % 64);
    assert_int_equal(hash64(BYTES("udemo\0ann\0")), 0xf1bf878c06e4b998);
}

/* ---- random ones ---- */
static struct bytes random_bytes(struct rng *r, struct arena *a, size_t max) {
    struct bytes v = {arena_alloc(a, max + 1), rng_below(r, max + 1)};
    for (size_t i = 0; i < v.n; i++) ((uint8_t *)v.p)[i] = (uint8_t)rng_next(r);
    return v;
}
static int64_t random_ms(struct rng *r) {
    return rng_below(r, 3) ? 0 : (int64_t)(rng_next(r) >> 1);
}

static void random_ones_read_back(void **state) {
    (void)state;
    struct rng r = {5};
    struct arena a = {0};
    struct buf b = {0}, again = {0};
    for (int i = 0; i < 2000; i++) {
        arena_reset(&a);
        buf_reset(&b);
        buf_reset(&again);
        struct record rec = {.kind = (uint8_t)rng_next(&r),
                          .time_ms = (int64_t)rng_next(&r),
                          .ticket = rng_next(&r),
                          .app = random_bytes(&r, &a, 20),
                          .body = random_bytes(&r, &a, 50)},
                      back;
        if (rng_below(&r, 2))
            rec.relay = true, rec.source = (uint16_t)rng_next(&r),
            rec.source_position = rng_next(&r), rec.counter = rng_next(&r);
        record_encode(&b, &rec);
        assert_int_equal(record_decode(buf_view(&b), &back), OK);
        record_encode(&again, &back);
        assert_true(bytes_eq(buf_view(&b), buf_view(&again)) && back.time_ms == rec.time_ms &&
                    bytes_eq(back.body, rec.body));
        for (size_t n = 0; n < b.n - rec.body.n; n++)
            assert_int_equal(record_decode(bytes_of(b.p, n), &back), CORRUPT);
        struct message m = {.seq = rng_next(&r),
                           .id = random_bytes(&r, &a, 10),
                           .from = random_bytes(&r, &a, 10),
                           .created_ms = (int64_t)rng_next(&r),
                           .has_body = rng_below(&r, 2),
                           .data = random_bytes(&r, &a, 2),
                           .media = random_bytes(&r, &a, 2),
                           .reply_to = random_bytes(&r, &a, 2),
                           .mentions = random_bytes(&r, &a, 2),
                           .reactions = random_bytes(&r, &a, 2),
                           .ciphertexts = random_bytes(&r, &a, 2),
                           .edited_ms = random_ms(&r),
                           .deleted_ms = random_ms(&r),
                           .expires_ms = random_ms(&r)},
                       other;
        if (m.has_body) m.body = random_bytes(&r, &a, 30);
        buf_reset(&b);
        buf_reset(&again);
        message_encode(&b, &m);
        assert_int_equal(message_decode(buf_view(&b), &other), OK);
        message_encode(&again, &other);
        assert_true(bytes_eq(buf_view(&b), buf_view(&again)) && other.seq == m.seq &&
                    bytes_eq(other.id, m.id) && other.deleted_ms == m.deleted_ms);
        assert_true(m.deleted_ms ? !other.has_body && !other.data.n && !other.reactions.n
                                 : other.has_body == m.has_body && bytes_eq(other.body, m.body));
        for (size_t n = 0; n < b.n; n++)
            assert_int_equal(message_decode(bytes_of(b.p, n), &other), CORRUPT);
    }
    buf_done(&b);
    buf_done(&again);
    arena_done(&a);
}

static void blocks_find_each_message(void **state) {
    (void)state;
    struct buf block = {0}, one = {0};
    struct message m;
    uint32_t at, size, end = 0;
    for (uint64_t seq = 32; seq < 48; seq++) {
        struct message w = {.seq = seq,
            .id = BYTES("m"),
            .from = BYTES("a"),
            .created_ms = (int64_t)seq * 7,
            .deleted_ms = seq % 3 ? 0 : 1};
        buf_reset(&one);
        message_encode(&one, &w);
        if (seq != 40) pack_bytes(&block, buf_view(&one));
    }
    for (uint64_t seq = 30; seq < 50; seq++) {
        bool there = seq >= 32 && seq < 48 && seq != 40;
        assert_int_equal(block_find(buf_view(&block), seq, &m, &at, &size), there);
        if (!there) continue;
        assert_true(m.seq == seq && m.created_ms == (int64_t)seq * 7 && at == end);
        end = at + size;
    }
    assert_int_equal(end, block.n);
    buf_done(&block);
    buf_done(&one);
}

static void cursors_are_taken_or_refused(void **state) {
    (void)state;
    static const struct {
        const char *text;
        enum err err;
        uint64_t position;
    } CASES[] = {{"", OK, 0}, {"0", OK, 0}, {"5-1c9", OK, 0x1c9}, {"0005-1c9", OK, 0x1c9},
        {"5-ffffffffffffffff", OK, UINT64_MAX}, {"6-1", STALE, 0}, {"5", MALFORMED, 0},
        {"-", MALFORMED, 0}, {"5-", MALFORMED, 0}, {"-5", MALFORMED, 0}, {"5-1C9", MALFORMED, 0},
        {"5-g", MALFORMED, 0}, {"5--1", MALFORMED, 0}, {" 5-1", MALFORMED, 0},
        {"5-10000000000000000", MALFORMED, 0}, {"5-1-a", MALFORMED, 0}};
    for (size_t i = 0; i < sizeof CASES / sizeof *CASES; i++) {
        uint64_t position = 0;
        if (cursor_parse(bytes_str(CASES[i].text), 5, &position) != CASES[i].err ||
            (CASES[i].err == OK && position != CASES[i].position))
            fail_msg("'%s'", CASES[i].text);
    }
    uint64_t position;
    struct bytes id;
    assert_int_equal(cursor_parse_after(BYTES("5-1c9-a-b.c"), 5, &position, &id), OK);
    assert_true(position == 0x1c9 && bytes_is(id, "a-b.c"));
    assert_int_equal(cursor_parse_after(BYTES("5-1c9-"), 5, &position, &id), MALFORMED);
    assert_int_equal(cursor_parse_after(BYTES("5-1c9-a b"), 5, &position, &id), MALFORMED);
    assert_int_equal(cursor_parse_after(BYTES("4-1c9-a"), 5, &position, &id), STALE);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(records_are_pinned),
        cmocka_unit_test(messages_are_pinned),
        cmocka_unit_test(entries_cursors_and_keys_are_pinned),
        cmocka_unit_test(random_ones_read_back),
        cmocka_unit_test(blocks_find_each_message),
        cmocka_unit_test(cursors_are_taken_or_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
