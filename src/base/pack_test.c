/* base: tests of packing: what is written is read back, and every cut or bad input is noticed.
 * SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/base.h"

static void layout_is_little_endian(void **state) {
    (void)state;
    static const uint8_t WANT[] = {0x01, 0x02, 0x01, 0x04, 0x03, 0x02, 0x01, 0x08, 0x07, 0x06, 0x05,
        0x04, 0x03, 0x02, 0x01, 0xac, 0x02, 0x02, 'h', 'i'};
    struct buf b = {0};
    pack_u8(&b, 1);
    pack_u16(&b, 0x0102);
    pack_u32(&b, 0x01020304);
    pack_u64(&b, 0x0102030405060708);
    pack_var(&b, 300);
    pack_bytes(&b, BYTES("hi"));
    assert_int_equal(b.n, sizeof WANT);
    assert_memory_equal(b.p, WANT, sizeof WANT);
    buf_done(&b);
}

static void varints_have_known_lengths(void **state) {
    (void)state;
    struct buf b = {0};
    for (unsigned bits = 0; bits <= 64; bits++) {
        uint64_t v = bits ? UINT64_MAX >> (64 - bits) : 0;
        buf_reset(&b);
        pack_var(&b, v);
        assert_int_equal(b.n, bits ? (bits + 6) / 7 : 1);
        struct unpack u = unpack_of(buf_view(&b));
        assert_true(unpack_var(&u) == v && !u.bad && !unpack_more(&u));
    }
    buf_done(&b);
}

static void varints_past_64_bits_are_bad(void **state) {
    (void)state;
    uint8_t v[11];
    memset(v, 0xff, sizeof v);
    for (unsigned last = 0; last < 256; last++) {
        v[9] = (uint8_t)last;
        struct unpack u = unpack_of(bytes_of(v, sizeof v));
        uint64_t got = unpack_var(&u);
        assert_int_equal(u.bad, last > 1);
        assert_true(got == (last > 1 ? 0 : UINT64_MAX >> (1 - last)));
    }
}

struct field {
    uint64_t v;
    struct bytes b;
    unsigned kind;
};
static void field_pack(struct buf *b, const struct field *f) {
    switch (f->kind) {
    case 0: pack_u8(b, (uint8_t)f->v); break;
    case 1: pack_u16(b, (uint16_t)f->v); break;
    case 2: pack_u32(b, (uint32_t)f->v); break;
    case 3: pack_u64(b, f->v); break;
    case 4: pack_var(b, f->v); break;
    default: pack_bytes(b, f->b); break;
    }
}
/* True when the field came back as it was. */
static bool field_same(struct unpack *u, const struct field *f) {
    switch (f->kind) {
    case 0: return unpack_u8(u) == (uint8_t)f->v;
    case 1: return unpack_u16(u) == (uint16_t)f->v;
    case 2: return unpack_u32(u) == (uint32_t)f->v;
    case 3: return unpack_u64(u) == f->v;
    case 4: return unpack_var(u) == f->v;
    default: return bytes_eq(unpack_bytes(u), f->b);
    }
}

/* Random rows of fields: whole they come back; cut anywhere, `bad` is set and stays, and all that
 * follows is zero. */
static void rows_come_back_and_cuts_are_noticed(void **state) {
    (void)state;
    enum { FIELDS = 12 };
    static uint8_t text[400];
    struct rng r = {4};
    struct buf b = {0};
    for (int row = 0; row < 400; row++) {
        struct field f[FIELDS];
        buf_reset(&b);
        for (int i = 0; i < FIELDS; i++) {
            f[i] = (struct field){rng_next(&r) >> rng_below(&r, 64),
                bytes_of(text, (size_t)rng_below(&r, sizeof text)), (unsigned)rng_below(&r, 6)};
            field_pack(&b, &f[i]);
        }
        struct unpack u = unpack_of(buf_view(&b));
        for (int i = 0; i < FIELDS; i++) {
            assert_true(unpack_more(&u));
            assert_true(field_same(&u, &f[i]));
        }
        assert_true(!u.bad && !unpack_more(&u));

        size_t cut = (size_t)rng_below(&r, b.n);
        uint8_t *part = malloc(cut ? cut : 1); /* of its own, so that reading past it is seen */
        memcpy(part, b.p, cut);
        u = unpack_of(bytes_of(part, cut));
        for (int i = 0; i < FIELDS; i++) (void)field_same(&u, &f[i]);
        assert_true(u.bad && !unpack_more(&u));
        assert_true(unpack_u8(&u) == 0 && unpack_u16(&u) == 0 && unpack_u32(&u) == 0 &&
                    unpack_u64(&u) == 0 && unpack_var(&u) == 0);
        assert_int_equal(unpack_bytes(&u).n, 0);
        free(part);
    }
    buf_done(&b);
}

static void nothing_unpacks_to_nothing(void **state) {
    (void)state;
    struct unpack u = unpack_of((struct bytes){0});
    assert_true(!u.bad && !unpack_more(&u));
    assert_true(unpack_var(&u) == 0 && u.bad);
    /* a length of 2^64 - 1 */
    static const uint8_t ENDLESS[] = {
        0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01, 'x'};
    u = unpack_of(bytes_of(ENDLESS, sizeof ENDLESS));
    assert_true(unpack_bytes(&u).n == 0 && u.bad);
}

static void rng_repeats_and_spreads(void **state) {
    (void)state;
    struct rng r = {0}; /* the published first outputs of splitmix64 for the seed 0 */
    assert_true(rng_next(&r) == 0xe220a8397b1dcdafu && rng_next(&r) == 0x6e789e6aa1b965f4u &&
                rng_next(&r) == 0x06c45d188009454fu);
    unsigned seen[10] = {0};
    for (int i = 0; i < 10000; i++) seen[rng_below(&r, 10)]++;
    for (int i = 0; i < 10; i++) assert_in_range(seen[i], 850, 1150);
    assert_true(rng_below(&r, 0) == 0 && rng_below(&r, 1) == 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(layout_is_little_endian),
        cmocka_unit_test(varints_have_known_lengths),
        cmocka_unit_test(varints_past_64_bits_are_bad),
        cmocka_unit_test(rows_come_back_and_cuts_are_noticed),
        cmocka_unit_test(nothing_unpacks_to_nothing),
        cmocka_unit_test(rng_repeats_and_spreads),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
