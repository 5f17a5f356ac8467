/* base: a fuzzer of what is read here from strangers: UTF-8, times, durations, base64url, packed fields. What is taken must come back.
 * SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "base/base.h"

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n) {
    struct bytes v = bytes_of(p, n);
    int64_t ms, again;
    char text[24];
    if (time_parse(v, &ms) == OK) {
        time_format(ms, text);
        check(ms > 253402300799999 || (time_parse(bytes_of(text, 24), &again) == OK && again == ms));
    }
    if (duration_parse(v, &ms) == OK) check(ms >= 0 && ms <= 3650ll * 86400000);
    (void)utf8_valid(v);
    (void)id_valid(v);
    struct buf raw = {0}, back = {0}, twice = {0};
    if (base64url_decode(&raw, v) == OK) {
        base64url_encode(&back, buf_view(&raw));
        check(base64url_decode(&twice, buf_view(&back)) == OK && bytes_eq(buf_view(&raw), buf_view(&twice)));
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
