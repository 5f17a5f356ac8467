/* send: which addresses belong to the public internet. A name that somebody else chose may resolve to
 * what only this host can reach: what is not plainly public is refused.
 * SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "send/send_in.h"

/* IANA's special-purpose registry for IPv4 (RFC 6890), multicast and what is reserved. */
static const struct {
    uint32_t net;
    uint8_t bits;
} PRIVATE4[] = {
    {0x00000000, 8},  /* this network */
    {0x0a000000, 8},  /* private */
    {0x64400000, 10}, /* of carriers */
    {0x7f000000, 8},  /* loopback */
    {0xa9fe0000, 16}, /* link-local, and clouds' metadata */
    {0xac100000, 12}, /* private */
    {0xc0000000, 24}, /* protocol assignments */
    {0xc0000200, 24}, /* documentation */
    {0xc0586300, 24}, /* 6to4 relays */
    {0xc0a80000, 16}, /* private */
    {0xc6120000, 15}, /* benchmarks */
    {0xc6336400, 24}, /* documentation */
    {0xcb007100, 24}, /* documentation */
    {0xe0000000, 3},  /* multicast, reserved, broadcast */
};

static bool public4(const uint8_t b[4]) {
    uint32_t v = (uint32_t)b[0] << 24 | (uint32_t)b[1] << 16 | (uint32_t)b[2] << 8 | b[3];
    for (size_t i = 0; i < sizeof PRIVATE4 / sizeof *PRIVATE4; i++)
        if ((v ^ PRIVATE4[i].net) >> (32 - PRIVATE4[i].bits) == 0) return false;
    return true;
}

static bool starts(const uint8_t ip[16], const char *prefix, size_t n) {
    return memcmp(ip, prefix, n) == 0;
}

/* Global unicast is 2000::/3; the rest is local, mapped or not given out. */
static bool public6(const uint8_t ip[16]) {
    if (starts(ip, "\0\0\0\0\0\0\0\0\0\0\xff\xff", 12)) return public4(ip + 12);
    if (starts(ip, "\0\x64\xff\x9b\0\0\0\0\0\0\0\0", 12)) return public4(ip + 12); /* NAT64 */
    if ((ip[0] & 0xe0) != 0x20) return false;
    if (starts(ip, "\x20\x02", 2)) return public4(ip + 2); /* 6to4 */
    if (starts(ip, "\x20\x01\x0d\xb8", 4)) return false;   /* documentation */
    if (ip[0] == 0x3f && ip[1] == 0xff && ip[2] < 0x10) return false;
    return !(starts(ip, "\x20\x01", 2) && ip[2] < 2); /* 2001::/23: Teredo and other protocols */
}

bool address_is_public(const struct sockaddr *a) {
    struct sockaddr_in in;
    struct sockaddr_in6 in6;
    if (a->sa_family == AF_INET) {
        memcpy(&in, a, sizeof in);
        return public4((const uint8_t *)&in.sin_addr);
    }
    if (a->sa_family != AF_INET6) return false;
    memcpy(&in6, a, sizeof in6);
    return public6(in6.sin6_addr.s6_addr);
}
