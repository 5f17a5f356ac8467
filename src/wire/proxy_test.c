/* wire: the PROXY protocol: headers of both families, LOCAL, what follows, what is refused, and that
 * no more is asked for than belongs to the header. SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "wire/wire.h"

#define SIGNATURE "\r\n\r\n\0\r\nQUIT\n"
#define V4 SIGNATURE "\x21\x11\0\x0c\x0a\1\2\3\x7f\0\0\1\x30\x39\x07\x5b"
#define V4_TLV SIGNATURE "\x21\x11\0\x13\x0a\1\2\3\x7f\0\0\1\x30\x39\x07\x5b\x04\0\4abcd"
#define V6                                                                                         \
    SIGNATURE "\x21\x21\0\x24\x20\1\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\7"                               \
              "\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\1\x30\x39\x07\x5b"
#define LOCAL SIGNATURE "\x20\0\0\0"
#define LOCAL_MORE SIGNATURE "\x20\x11\0\x0c\x0a\1\2\3\x7f\0\0\1\x30\x39\x07\x5b"

static void headers_are_read(void **state) {
    (void)state;
    static const uint8_t IP4[16] = {[10] = 0xff, 0xff, 10, 1, 2, 3};
    static const uint8_t IP6[16] = {0x20, 1, 0x0d, 0xb8, [15] = 7};
    static const uint8_t NONE[16] = {0};
    const struct {
        struct bytes in;
        bool local;
        const uint8_t *ip;
    } CASES[] = {{BYTES(V4), false, IP4}, {BYTES(V4_TLV), false, IP4}, {BYTES(V6), false, IP6},
        {BYTES(LOCAL), true, NONE}, {BYTES(LOCAL_MORE), true, NONE}};
    for (size_t i = 0; i < sizeof CASES / sizeof *CASES; i++) {
        struct buf b = {0};
        struct proxy p;
        size_t used = 0, n = CASES[i].in.n;
        for (size_t at = 0; at < n; at++) {
            struct bytes part = bytes_of(CASES[i].in.p, at);
            assert_int_equal(proxy_decode(part, &p, &used), AGAIN);
            size_t wants = proxy_wants(part);
            assert_true(wants > 0 && wants <= n - at);
        }
        buf_bytes(&b, CASES[i].in);
        buf_str(&b, "what follows");
        assert_int_equal(proxy_wants(CASES[i].in), 0);
        assert_int_equal(proxy_decode(buf_view(&b), &p, &used), OK);
        assert_int_equal(used, n);
        assert_int_equal(p.local, CASES[i].local);
        assert_memory_equal(p.ip, CASES[i].ip, 16);
        buf_done(&b);
    }
}

static void what_is_no_header_is_refused(void **state) {
    (void)state;
    const struct bytes CASES[] = {BYTES("PROXY TCP4 10.1.2.3 127.0.0.1 12345 1883\r\n"),
        BYTES("GET / HTTP/1.1\r\nHost: h\r\n\r\n"), BYTES("\x10"), BYTES("\r\n\r\n\1"),
        BYTES(SIGNATURE "\x11\x11\0\x0c\x0a\1\2\3\x7f\0\0\1\x30\x39\x07\x5b"), /* version 1 */
        BYTES(SIGNATURE "\x22\x11\0\x0c\x0a\1\2\3\x7f\0\0\1\x30\x39\x07\x5b"), /* no such command */
        BYTES(SIGNATURE "\x21\x12\0\x0c\x0a\1\2\3\x7f\0\0\1\x30\x39\x07\x5b"), /* UDP */
        BYTES(SIGNATURE "\x21\x00\0\x00"),                                     /* unspecified */
        BYTES(SIGNATURE "\x21\x11\0\x0b\x0a\1\2\3\x7f\0\0\1\x30\x39\x07"),     /* cut short */
        BYTES(SIGNATURE "\x21\x21\0\x0c\x0a\1\2\3\x7f\0\0\1\x30\x39\x07\x5b"),
        BYTES(SIGNATURE "\x21\x11\x02\x09")}; /* longer than any is */
    for (size_t i = 0; i < sizeof CASES / sizeof *CASES; i++) {
        struct proxy p;
        size_t used;
        assert_int_equal(proxy_decode(CASES[i], &p, &used), MALFORMED);
        assert_int_equal(proxy_wants(CASES[i]), 0);
    }
}

static void the_longest_is_taken(void **state) {
    (void)state;
    uint8_t in[PROXY_MAX] = {0};
    struct proxy p;
    size_t used;
    memcpy(in, V4, 28);
    in[14] = (PROXY_MAX - PROXY_HEAD) >> 8;
    in[15] = (PROXY_MAX - PROXY_HEAD) & 0xff;
    assert_int_equal(proxy_wants(bytes_of(in, PROXY_HEAD)), PROXY_MAX - PROXY_HEAD);
    assert_int_equal(proxy_decode(bytes_of(in, sizeof in), &p, &used), OK);
    assert_int_equal(used, PROXY_MAX);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(headers_are_read),
        cmocka_unit_test(what_is_no_header_is_refused),
        cmocka_unit_test(the_longest_is_taken),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
