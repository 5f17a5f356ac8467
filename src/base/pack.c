/* base: packing and unpacking of fields, hashes, deterministic randomness. Little-endian hosts only (checked when compiled).
 * SPDX-License-Identifier: Apache-2.0 */
#include <string.h>
#define XXH_INLINE_ALL
#include <xxhash.h>

#include "base/base.h"

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "stored fields are little-endian");

void pack_u8(struct buf *b, uint8_t v) { buf_char(b, (char)v); }
void pack_u16(struct buf *b, uint16_t v) { buf_add(b, &v, 2); }
void pack_u32(struct buf *b, uint32_t v) { buf_add(b, &v, 4); }
void pack_u64(struct buf *b, uint64_t v) { buf_add(b, &v, 8); }

void pack_var(struct buf *b, uint64_t v) {
    buf_reserve(b, 10);
    while (v >= 0x80) {
        b->p[b->n++] = (uint8_t)(v | 0x80);
        v >>= 7;
    }
    b->p[b->n++] = (uint8_t)v;
}

void pack_bytes(struct buf *b, struct bytes v) {
    pack_var(b, v.n);
    buf_add(b, v.p, v.n);
}

static bool take(struct unpack *u, void *out, size_t n) {
    if (u->bad || (size_t)(u->end - u->p) < n) {
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

uint64_t unpack_var(struct unpack *u) {
    uint64_t v = 0;
    for (unsigned shift = 0; shift < 64 && !u->bad && u->p < u->end; shift += 7) {
        uint8_t c = *u->p++;
        v |= (uint64_t)(c & 0x7f) << shift;
        if (!(c & 0x80)) return v;
    }
    u->bad = true;
    return 0;
}

struct bytes unpack_bytes(struct unpack *u) {
    uint64_t n = unpack_var(u);
    if (u->bad || (uint64_t)(u->end - u->p) < n) {
        u->bad = true;
        return (struct bytes){0};
    }
    struct bytes v = bytes_of(u->p, (size_t)n);
    u->p += n;
    return v;
}

uint64_t hash64(struct bytes v) { return XXH3_64bits(v.p ? v.p : (const uint8_t *)"", v.n); }

__attribute__((target("sse4.2"))) static uint32_t crc_hardware(uint32_t crc, const uint8_t *p, size_t n) {
    uint64_t c = crc;
    for (; n >= 8; p += 8, n -= 8) {
        uint64_t v;
        memcpy(&v, p, 8);
        c = __builtin_ia32_crc32di(c, v);
    }
    uint32_t r = (uint32_t)c;
    while (n--) r = __builtin_ia32_crc32qi(r, *p++);
    return r;
}

static uint32_t crc_plain(uint32_t crc, const uint8_t *p, size_t n) {
    while (n--) {
        crc ^= *p++;
        for (int i = 0; i < 8; i++) crc = crc >> 1 ^ (0x82f63b78u & (0u - (crc & 1)));
    }
    return crc;
}

uint32_t crc32c(uint32_t seed, struct bytes v) {
    uint32_t crc = ~seed;
    crc = __builtin_cpu_supports("sse4.2") ? crc_hardware(crc, v.p, v.n) : crc_plain(crc, v.p, v.n);
    return ~crc;
}

uint64_t rng_next(struct rng *r) {
    uint64_t z = r->s += 0x9e3779b97f4a7c15u;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
}
uint64_t rng_below(struct rng *r, uint64_t n) { return n ? rng_next(r) % n : 0; }
