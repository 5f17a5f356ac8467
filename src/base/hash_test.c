/* base: tests of hashes by published values, and of both CRC paths by the definition. hash.c is
 * included, so that its static parts can be asked; its public names are changed to stay apart from
 * the library's. SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#define crc32c crc32c_under_test
#define hash64 hash64_under_test
#define hash_keyed hash_keyed_under_test
#define sha1 sha1_under_test
#include "base/hash.c"

static uint32_t crc_by_definition(uint32_t crc, const uint8_t *p, size_t n) {
    while (n--) {
        crc ^= *p++;
        for (int i = 0; i < 8; i++) crc = crc >> 1 ^ (0x82f63b78u & (0u - (crc & 1)));
    }
    return crc;
}

/* RFC 3720 B.4, and the check value of the catalogue of CRCs. */
static void crc_has_the_published_values(void **state) {
    (void)state;
    uint8_t zeros[32] = {0}, ones[32], up[32], down[32];
    for (int i = 0; i < 32; i++) {
        ones[i] = 0xff;
        up[i] = (uint8_t)i;
        down[i] = (uint8_t)(31 - i);
    }
    assert_int_equal(crc32c(0, bytes_of(zeros, 32)), 0x8a9136aa);
    assert_int_equal(crc32c(0, bytes_of(ones, 32)), 0x62a8ab43);
    assert_int_equal(crc32c(0, bytes_of(up, 32)), 0x46dd794e);
    assert_int_equal(crc32c(0, bytes_of(down, 32)), 0x113fdb5c);
    assert_int_equal(crc32c(0, BYTES("123456789")), 0xe3069283);
    assert_int_equal(crc32c(0, (struct bytes){0}), 0);
}

/* FIPS 180 and RFC 3174's examples, and RFC 6455's (1.3). */
static void sha1_has_the_published_values(void **state) {
    (void)state;
    static const struct {
        const char *text, *want;
    } CASES[] = {{"", "da39a3ee5e6b4b0d3255bfef95601890afd80709"},
        {"abc", "a9993e364706816aba3e25717850c26c9cd0d89d"},
        {"abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq",
            "84983e441c3bd26ebaae4aa1f95129e5e54670f1"},
        {"dGhlIHNhbXBsZSBub25jZQ==258EAFA5-E914-47DA-95CA-C5AB0DC85B11",
            "b37a4f2cc0624f1690f64606cf385945b2bec4ea"}};
    for (size_t i = 0; i < sizeof CASES / sizeof *CASES; i++) {
        uint8_t out[20];
        char hex[41];
        sha1(bytes_str(CASES[i].text), out);
        for (int k = 0; k < 20; k++) snprintf(hex + k * 2, 3, "%02x", out[k]);
        assert_string_equal(hex, CASES[i].want);
    }
    uint8_t many[1000], out[20];
    memset(many, 'a', sizeof many);
    sha1(bytes_of(many, sizeof many), out);
    assert_memory_equal(out, "\x29\x1e\x9a\x6c\x66\x99\x49\x49", 8);
}

static void crc_paths_agree(void **state) {
    (void)state;
    struct rng r = {5};
    uint8_t data[600];
    for (size_t i = 0; i < sizeof data; i++) data[i] = (uint8_t)rng_next(&r);
    for (int i = 0; i < 3000; i++) {
        size_t from = (size_t)rng_below(&r, 20), n = (size_t)rng_below(&r, sizeof data - from);
        uint32_t seed = (uint32_t)rng_next(&r), want = crc_by_definition(seed, data + from, n);
        assert_int_equal(crc_table(seed, data + from, n), want);
        if (has_hardware()) assert_int_equal(crc_hardware(seed, data + from, n), want);
    }
}

static void crc_goes_on_in_pieces(void **state) {
    (void)state;
    struct bytes v = BYTES("a record, its header and its body, cut at any place");
    for (size_t cut = 0; cut <= v.n; cut++)
        assert_int_equal(
            crc32c(crc32c(0, bytes_of(v.p, cut)), bytes_of(v.p + cut, v.n - cut)), crc32c(0, v));
}

static void one_bit_changes_the_crc(void **state) {
    (void)state;
    uint8_t data[64] = {0};
    uint32_t whole = crc32c(0, bytes_of(data, sizeof data));
    for (unsigned bit = 0; bit < sizeof data * 8; bit++) {
        data[bit / 8] ^= (uint8_t)(1u << bit % 8);
        assert_int_not_equal(crc32c(0, bytes_of(data, sizeof data)), whole);
        data[bit / 8] ^= (uint8_t)(1u << bit % 8);
    }
}

/* Partitions are chosen by it: a library that answered otherwise would lose every stored user. One
 * length for each of XXH3's paths. */
static void hash_never_changes(void **state) {
    (void)state;
    static const struct {
        size_t n;
        uint64_t want;
    } KNOWN[] = {{1, 0xe12ef9d2eb86ceebu}, {4, 0x244f36de481e7522u}, {9, 0x4781d83b8e99d495u},
        {17, 0x2bf6f66973a6179du}, {130, 0x9c050a5f2d5acbf4u}, {241, 0xbff7215089202d8fu},
        {1000, 0xb8b406a98622d913u}};
    uint8_t data[1000];
    for (size_t i = 0; i < sizeof data; i++) data[i] = (uint8_t)(i * 7 + 1);
    for (size_t i = 0; i < sizeof KNOWN / sizeof *KNOWN; i++)
        assert_true(hash64(bytes_of(data, KNOWN[i].n)) == KNOWN[i].want);
    assert_true(hash64((struct bytes){0}) == 0x2d06800538d394c2u);
}

static const struct hash_secret KNOWN_SECRET = {{0x243f6a8885a308d3u, 0x13198a2e03707344u,
                                    0xa4093822299f31d0u}},
                                OTHER_SECRET = {{0x243f6a8885a308d3u, 0x13198a2e03707344u,
                                    0xa4093822299f31d1u}};

/* Every length, and each byte of it, counts; the secret too. Exactly one byte more is another. */
static void keyed_hash_sees_every_byte(void **state) {
    (void)state;
    uint8_t data[200];
    struct rng r = {9};
    for (size_t i = 0; i < sizeof data; i++) data[i] = (uint8_t)rng_next(&r);
    for (size_t n = 0; n < sizeof data; n++) {
        uint64_t whole = hash_keyed(bytes_of(data, n), &KNOWN_SECRET);
        assert_true(whole == hash_keyed(bytes_of(data, n), &KNOWN_SECRET));
        assert_true(whole != hash_keyed(bytes_of(data, n), &OTHER_SECRET));
        assert_true(whole != hash_keyed(bytes_of(data, n + 1), &KNOWN_SECRET));
        for (size_t i = 0; i < n; i++) {
            data[i] ^= 1;
            assert_true(whole != hash_keyed(bytes_of(data, n), &KNOWN_SECRET));
            data[i] ^= 1;
        }
    }
}

/* Keys that differ little, as names with numbers do, spread over the low bits, which tables use. */
static void keyed_hash_spreads(void **state) {
    (void)state;
    enum { KEYS = 1 << 16, PLACES = 1 << 10 };
    static unsigned count[PLACES];
    for (int form = 0; form < 3; form++) {
        static const char *const FORMS[] = {
            "k%d", "Kdemo.conversation-%d", "%d.a key that is longer than two steps"};
        memset(count, 0, sizeof count);
        for (int i = 0; i < KEYS; i++) {
            char key[64];
            int n = snprintf(key, sizeof key, FORMS[form], i);
            count[hash_keyed(bytes_of(key, (size_t)n), &KNOWN_SECRET) & (PLACES - 1)]++;
        }
        /* 64 each; eight standard deviations of a fair throw are 64 */
        for (int i = 0; i < PLACES; i++) assert_true(count[i] > 0 && count[i] < 128);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(crc_has_the_published_values),
        cmocka_unit_test(sha1_has_the_published_values),
        cmocka_unit_test(crc_paths_agree),
        cmocka_unit_test(crc_goes_on_in_pieces),
        cmocka_unit_test(one_bit_changes_the_crc),
        cmocka_unit_test(hash_never_changes),
        cmocka_unit_test(keyed_hash_sees_every_byte),
        cmocka_unit_test(keyed_hash_spreads),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
