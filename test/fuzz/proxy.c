/* fuzz: the PROXY protocol: a header is read the same whatever comes behind it, asks for no more
 * than its own bytes, and what is wrong stays wrong. SPDX-License-Identifier: Apache-2.0 */
#include "fuzz.h"

#include <string.h>

#include "wire/wire.h"

#define SIGNATURE "\r\n\r\n\0\r\nQUIT\n"

void fuzz_seeds(void (*give)(void *arg, struct bytes seed), void *arg) {
    static const struct bytes SEEDS[] = {
        {(const uint8_t *)SIGNATURE "\x21\x11\0\x0c\x0a\1\2\3\x7f\0\0\1\x30\x39\x07\x5b", 28},
        {(const uint8_t *)SIGNATURE
            "\x21\x11\0\x13\x0a\1\2\3\x7f\0\0\1\x30\x39\x07\x5b\x04\0\4abcdGET /",
            40},
        {(const uint8_t *)SIGNATURE "\x21\x21\0\x24\x20\1\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\7\0\0\0\0\0"
                                    "\0\0\0\0\0\0\0\0\0\0\1\x30\x39\x07\x5b",
            52},
        {(const uint8_t *)SIGNATURE "\x20\0\0\0", 16},
        {(const uint8_t *)"PROXY TCP4 1.2.3.4 5.6.7.8 1 2\r\n", 32}};
    for (size_t i = 0; i < sizeof SEEDS / sizeof *SEEDS; i++) give(arg, SEEDS[i]);
}

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n) {
    struct proxy whole, part;
    size_t used = 0, at = 0, part_used;
    enum err e = proxy_decode(bytes_of(p, n), &whole, &used);
    check(e == OK || e == AGAIN || e == MALFORMED);
    if (e == OK) check(used >= PROXY_HEAD && used <= PROXY_MAX && used <= n);
    /* as a connection reads it: never past its end */
    for (size_t wants; at < n && (wants = proxy_wants(bytes_of(p, at))) > 0;)
        at += wants < n - at ? wants : n - at;
    enum err again = proxy_decode(bytes_of(p, at), &part, &part_used);
    check(again == e);
    if (e == OK) check(at == used && part_used == used && memcmp(&part, &whole, sizeof part) == 0);
    return 0;
}
