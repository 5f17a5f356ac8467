/* wire: the PROXY protocol, version 2: the header by which a proxy tells whose connection it brings
 * (HAProxy's proxy-protocol.txt, 2.2).
 *
 *   signature, 12 bytes | 2 and command | family and transport | length, 2 bytes | addresses | TLVs
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "wire/wire.h"

enum { SIGNATURE = 12, VERSION_LOCAL = 0x20, VERSION_PROXY = 0x21 };
enum { FAMILY_TCP4 = 0x11, FAMILY_TCP6 = 0x21, TCP4_BYTES = 12, TCP6_BYTES = 36 };

static size_t length_of(struct bytes in) {
    return (size_t)in.p[SIGNATURE + 2] << 8 | in.p[SIGNATURE + 3];
}

/* Nothing in what has come so far is wrong. */
static bool begins_well(struct bytes in) {
    static const char HEAD[] = "\r\n\r\n\0\r\nQUIT\n";
    if (memcmp(in.n ? in.p : (const uint8_t *)HEAD, HEAD, in.n < SIGNATURE ? in.n : SIGNATURE) != 0)
        return false;
    if (in.n > SIGNATURE && in.p[SIGNATURE] != VERSION_LOCAL && in.p[SIGNATURE] != VERSION_PROXY)
        return false;
    return in.n < PROXY_HEAD || PROXY_HEAD + length_of(in) <= PROXY_MAX;
}

size_t proxy_wants(struct bytes in) {
    if (!begins_well(in)) return 0;
    if (in.n < PROXY_HEAD) return PROXY_HEAD - in.n;
    size_t whole = PROXY_HEAD + length_of(in);
    return in.n < whole ? whole - in.n : 0;
}

enum err proxy_decode(struct bytes in, struct proxy *out, size_t *used) {
    if (!begins_well(in)) return MALFORMED;
    if (in.n < PROXY_HEAD || in.n < PROXY_HEAD + length_of(in)) return AGAIN;
    uint8_t family = in.p[SIGNATURE + 1];
    size_t length = length_of(in);
    const uint8_t *from = in.p + PROXY_HEAD;
    *out = (struct proxy){.local = in.p[SIGNATURE] == VERSION_LOCAL};
    if (out->local) { /* whatever addresses it names do not count */
    } else if (family == FAMILY_TCP4 && length >= TCP4_BYTES) {
        out->ip[10] = out->ip[11] = 0xff;
        memcpy(out->ip + 12, from, 4);
    } else if (family == FAMILY_TCP6 && length >= TCP6_BYTES) {
        memcpy(out->ip, from, 16);
    } else {
        return MALFORMED;
    }
    *used = PROXY_HEAD + length;
    return OK;
}
