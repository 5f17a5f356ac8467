/* measure, inside: slots of a ring that one thread writes and any reads: a sequence lock in words.
 *
 *   turn: 2n + 1 while the ring's nth is written, 2n + 2 when it is whole
 *
 * Each step is a release or an acquire of its own instead of a fence: it costs nothing on x86, and
 * ThreadSanitizer follows it. SPDX-License-Identifier: Apache-2.0 */
#ifndef KITH_SLOTS_H
#define KITH_SLOTS_H

#include <string.h>

#include "base/base.h"

/* n bytes, a multiple of 8. */
static inline void slot_write(
    uint64_t *turn, uint64_t nth, uint64_t *words, const void *from, size_t n) {
    __atomic_store_n(turn, 2 * nth + 1, __ATOMIC_RELAXED);
    for (size_t i = 0; i < n / 8; i++) {
        uint64_t w;
        memcpy(&w, (const char *)from + i * 8, 8);
        /* each release keeps the odd turn before it */
        __atomic_store_n(&words[i], w, __ATOMIC_RELEASE);
    }
    __atomic_store_n(turn, 2 * nth + 2, __ATOMIC_RELEASE);
}
/* false: it is not there any more, or is written just now; *to is then of no use. */
static inline bool slot_read(
    const uint64_t *turn, uint64_t nth, const uint64_t *words, void *to, size_t n) {
    if (__atomic_load_n(turn, __ATOMIC_ACQUIRE) != 2 * nth + 2) return false;
    for (size_t i = 0; i < n / 8; i++) {
        /* each acquire keeps the second look at the turn after it */
        uint64_t w = __atomic_load_n(&words[i], __ATOMIC_ACQUIRE);
        memcpy((char *)to + i * 8, &w, 8);
    }
    return __atomic_load_n(turn, __ATOMIC_RELAXED) == 2 * nth + 2;
}

#endif
