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

#endif
