/* doctor, inside: how numbers are told, and checks.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef KITH_DOCTOR_IN_H
#define KITH_DOCTOR_IN_H

#include "doctor/doctor.h"
#include "wire/wire.h"

/* "203 ms", "0.40 ms", "12.5 s"; "12 KiB" */
void words_ms(struct buf *b, int64_t ns);
void words_bytes(struct buf *b, int64_t n);
/* "key":203.114 */
void json_ms(struct json_out *o, const char *key, int64_t ns);

/* ---- repeats.c ---- */
enum { REPEATERS_TOLD = 64 };
struct repeats {
    uint64_t times; /* at least: of who did it less than 20 times in a second nothing is known */
    struct repeater {
        const struct event *last;      /* its names are app and user */
        uint64_t times, in_last, most; /* in its last second; in any */
        unsigned seconds;
    } of[REPEATERS_TOLD], *worst; /* worst: NULL: none */
    size_t count;
};
void repeats_count(const struct history *h, struct repeats *out); /* its events are borrowed */
void repeats_check(const struct history *h, const char *app, struct checks *c);

#endif
