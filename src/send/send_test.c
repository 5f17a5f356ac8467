/* Which addresses a webhook may be sent to. SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <arpa/inet.h>
#include <cmocka.h>

#include "send/send_in.h"

static bool is_public(const char *text) {
    struct sockaddr_in in = {.sin_family = AF_INET};
    struct sockaddr_in6 in6 = {.sin6_family = AF_INET6};
    if (inet_pton(AF_INET, text, &in.sin_addr) == 1)
        return address_is_public((struct sockaddr *)&in);
    assert_int_equal(inet_pton(AF_INET6, text, &in6.sin6_addr), 1);
    return address_is_public((struct sockaddr *)&in6);
}

static void private_ones_are_told(void **state) {
    static const char *const PRIVATE[] = {"0.0.0.0", "0.1.2.3", "10.0.0.1", "10.255.255.255",
        "100.64.0.1", "100.127.255.255", "127.0.0.1", "127.9.9.9", "169.254.169.254", "172.16.0.1",
        "172.31.255.255", "192.0.0.8", "192.0.2.1", "192.88.99.1", "192.168.0.1", "198.18.0.1",
        "198.19.255.255", "198.51.100.7", "203.0.113.9", "224.0.0.1", "239.1.2.3", "240.0.0.1",
        "255.255.255.255", "::", "::1", "::ffff:127.0.0.1", "::ffff:10.1.2.3", "::7f00:1",
        "64:ff9b::a00:1", "64:ff9b:1::1", "100::1", "2001::1", "2001:db8::1", "2002:a00:1::1",
        "2002:7f00:1::", "3fff::1", "fc00::1", "fd12:3456::1", "fe80::1", "fec0::1", "ff02::1",
        "4000::1"};
    static const char *const PUBLIC[] = {"1.1.1.1", "8.8.8.8", "9.255.255.255", "11.0.0.0",
        "100.63.255.255", "100.128.0.0", "126.0.0.1", "128.0.0.1", "169.253.0.1", "172.15.0.1",
        "172.32.0.1", "192.167.0.1", "192.169.0.1", "198.17.0.1", "198.20.0.1", "223.255.255.255",
        "2606:4700::1111", "2a00:1450::1", "2001:4860:4860::8888", "::ffff:8.8.8.8",
        "64:ff9b::808:808", "2002:808:808::1"};
    struct sockaddr other = {.sa_family = AF_UNIX};
    (void)state;
    for (size_t i = 0; i < sizeof PRIVATE / sizeof *PRIVATE; i++)
        if (is_public(PRIVATE[i])) fail_msg("%s", PRIVATE[i]);
    for (size_t i = 0; i < sizeof PUBLIC / sizeof *PUBLIC; i++)
        if (!is_public(PUBLIC[i])) fail_msg("%s", PUBLIC[i]);
    assert_false(address_is_public(&other));
}

static void origins_end_before_the_path(void **state) {
    static const char *const CASES[][2] = {{"https://a.example/b", "https://a.example"},
        {"https://a.example:8443?x=/", "https://a.example:8443"},
        {"https://a.example", "https://a.example"}, {"https://a#/", "https://a"}, {"", ""}};
    (void)state;
    for (size_t i = 0; i < sizeof CASES / sizeof *CASES; i++)
        assert_true(bytes_is(origin_of(bytes_str(CASES[i][0])), CASES[i][1]));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(private_ones_are_told), cmocka_unit_test(origins_end_before_the_path)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
