/* base: packing and unpacking of fields, deterministic randomness. Little-endian hosts only
 * (checked when compiled). These run many times for each message: one test for room, then a store
 * of known size.
 * SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "base/base.h"

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "stored fields are little-endian");

#define VAR_MAX 10 /* bytes of the longest varint: 64 bits, seven to a byte */

static inline void put(struct buf *b, const void *v, size_t n) {
    if (__builtin_expect(b->cap - b->n < n, 0)) buf_reserve(b, n);
    memcpy(b->p + b->n, v, n);
    b->n += n;
}

static inline uint8_t *put_var(uint8_t *p, uint64_t v) {
    while (v >= 0x80) {
        *p++ = (uint8_t)(v | 0x80);
        v >>= 7;
    }
    *p++ = (uint8_t)v;
    return p;
}

void pack_u8(struct buf *b, uint8_t v) { put(b, &v, 1); }
void pack_u16(struct buf *b, uint16_t v) { put(b, &v, 2); }
void pack_u32(struct buf *b, uint32_t v) { put(b, &v, 4); }
void pack_u64(struct buf *b, uint64_t v) { put(b, &v, 8); }

void pack_var(struct buf *b, uint64_t v) {
    if (__builtin_expect(b->cap - b->n < VAR_MAX, 0)) buf_reserve(b, VAR_MAX);
    b->n = (size_t)(put_var(b->p + b->n, v) - b->p);
}

void pack_bytes(struct buf *b, struct bytes v) {
    if (__builtin_expect(b->cap - b->n < VAR_MAX || b->cap - b->n - VAR_MAX < v.n, 0)) {
        check(v.n <= SIZE_MAX - VAR_MAX);
        buf_reserve(b, VAR_MAX + v.n);
    }
    uint8_t *p = put_var(b->p + b->n, v.n);
    if (v.n) memcpy(p, v.p, v.n);
    b->n = (size_t)(p - b->p) + v.n;
}

static inline bool take(struct unpack *u, void *out, size_t n) {
    if (__builtin_expect(u->bad || (size_t)(u->end - u->p) < n, 0)) {
        u->bad = true;
        return false;
    }
    memcpy(out, u->p, n);
    u->p += n;
    return true;
}

uint8_t unpack_u8(struct unpack *u) {
    uint8_t v = 0;
    take(u, &v, 1);
    return v;
}
uint16_t unpack_u16(struct unpack *u) {
    uint16_t v = 0;
    take(u, &v, 2);
    return v;
}
uint32_t unpack_u32(struct unpack *u) {
    uint32_t v = 0;
    take(u, &v, 4);
    return v;
}
uint64_t unpack_u64(struct unpack *u) {
    uint64_t v = 0;
    take(u, &v, 8);
    return v;
}

uint64_t unpack_var_long(struct unpack *u) {
    uint64_t v = 0;
    for (unsigned shift = 0; shift < 64 && !u->bad && u->p < u->end; shift += 7) {
        uint8_t c = *u->p++;
        if (shift == 63 && c > 1) break; /* more than 64 bits */
        v |= (uint64_t)(c & 0x7f) << shift;
        if (!(c & 0x80)) return v;
    }
    u->bad = true;
    return 0;
}

uint64_t rng_next(struct rng *r) {
    uint64_t z = r->s += 0x9e3779b97f4a7c15u;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
}
uint64_t rng_below(struct rng *r, uint64_t n) { return n ? rng_next(r) % n : 0; }
