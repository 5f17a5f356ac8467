/* fuzz: what base reads of strangers: UTF-8, times, durations, base64url, packed fields. What is
 * taken must come back.
 * SPDX-License-Identifier: Apache-2.0 */
#include "fuzz.h"

#include <string.h>

void fuzz_seeds(void (*give)(void *arg, struct bytes seed), void *arg) {
    static const char *const TEXTS[] = {"2026-01-02T03:04:05.678Z", "1969-12-31T23:59:59.999Z",
        "9999-12-31T23:59:59.999Z", "2024-02-29T00:00:00.000Z", "30s", "15m", "3650d", "a.b:c-d_9",
        "AbCd-_8", "AAA=", "+/+/", "\xf0\x9f\x98\x80\xe2\x82\xac\xc3\xa9",
        "\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",
        ("\x03"
         "abc\x02xy")};
    for (size_t i = 0; i < sizeof TEXTS / sizeof *TEXTS; i++) give(arg, bytes_str(TEXTS[i]));
}

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n) {
    struct bytes v = bytes_of(p, n);
    int64_t ms, again;
    char text[24];
    if (time_parse(v, &ms) == OK) {
        time_format(ms, text);
        check(
            ms > 253402300799999 || (time_parse(bytes_of(text, 24), &again) == OK && again == ms));
    }
    if (duration_parse(v, &ms) == OK) check(ms >= 0 && ms <= 3650ll * 86400000);
    (void)utf8_valid(v);
    (void)id_valid(v);
    struct buf raw = {0}, back = {0}, twice = {0};
    if (base64url_decode(&raw, v) == OK) {
        base64url_encode(&back, buf_view(&raw));
        check(base64url_decode(&twice, buf_view(&back)) == OK &&
              bytes_eq(buf_view(&raw), buf_view(&twice)));
    }
    for (struct unpack u = unpack_of(v); unpack_more(&u);) {
        struct bytes field = unpack_bytes(&u);
        check(u.bad || (field.p >= p && field.p + field.n <= p + n));
        check(unpack_var(&u) == 0 || !u.bad);
    }
    buf_done(&raw);
    buf_done(&back);
    buf_done(&twice);
    return 0;
}
