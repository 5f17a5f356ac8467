/* base: bytes, growable buffers, arenas, packing, hashes, errors and checks that every room uses.
 *
 * Invariants: nothing here does I/O except check(), which prints and aborts. No state at file
 * scope.
 * Lifetimes: see each group. Sizes are bytes; integers on the wire and on disk are little-endian.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef KITH_BASE_H
#define KITH_BASE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define must_use __attribute__((warn_unused_result))
#define printf_like(f, a) __attribute__((format(printf, f, a)))

/* ---- errors: by what the caller should do ---- */
enum err {
    OK = 0,
    AGAIN,     /* not now; the same call may succeed later */
    REFUSED,   /* understood, and not allowed */
    MALFORMED, /* the input is wrong */
    MISSING,   /* no such thing */
    EXISTS,    /* is there already, and differs */
    LIMIT,     /* a named limit is reached */
    STALE,     /* superseded: an old epoch, a trimmed position */
    IO,        /* the machine failed */
    CORRUPT,   /* stored bytes are not what was written */
    NOMEM,
};
const char *err_name(enum err e);

/* Our own mistakes: prints file, line and text, and ends the process. On in release. */
#define check(cond)                                                                                \
    do {                                                                                           \
        if (__builtin_expect(!(cond), 0)) check_failed(__FILE__, __LINE__, #cond);                 \
    } while (0)
__attribute__((noreturn)) void check_failed(const char *file, int line, const char *text);

/* ---- bytes: a borrowed view; never owns ---- */
struct bytes {
    const uint8_t *p;
    size_t n;
};
#define BYTES(lit) ((struct bytes){(const uint8_t *)(lit), sizeof(lit) - 1})
static inline struct bytes bytes_of(const void *p, size_t n) {
    return (struct bytes){(const uint8_t *)p, n};
}
struct bytes bytes_str(const char *s); /* NULL gives the empty view */
static inline bool bytes_eq(struct bytes a, struct bytes b) {
    return a.n == b.n && (a.n == 0 || memcmp(a.p, b.p, a.n) == 0);
}
int bytes_cmp(struct bytes a, struct bytes b); /* memcmp order, the shorter first */
bool bytes_is(struct bytes a, const char *s);
bool bytes_starts(struct bytes a, const char *prefix);

/* ---- buf: grows; owns its memory. Zero-initialised is empty and valid. Allocation failure ends
 * the process. */
struct buf {
    uint8_t *p;
    size_t n, cap;
};
void buf_grow(struct buf *b, size_t more); /* what buf_reserve calls where there is no room */
static inline void buf_reserve(struct buf *b, size_t more) {
    if (__builtin_expect(b->cap - b->n < more, 0)) buf_grow(b, more);
}
static inline void buf_add(struct buf *b, const void *p, size_t n) {
    if (!n) return;
    buf_reserve(b, n);
    memcpy(b->p + b->n, p, n);
    b->n += n;
}
/* The same, with no room to spare: for the few bytes of very many. */
void buf_add_tight(struct buf *b, const void *p, size_t n);
static inline void buf_bytes(struct buf *b, struct bytes v) { buf_add(b, v.p, v.n); }
static inline void buf_str(struct buf *b, const char *s) { buf_add(b, s, strlen(s)); }
static inline void buf_char(struct buf *b, char c) {
    buf_reserve(b, 1);
    b->p[b->n++] = (uint8_t)c;
}
void buf_fmt(struct buf *b, const char *fmt, ...) printf_like(2, 3);
void buf_u64dec(struct buf *b, uint64_t v); /* decimal text, fast */
void buf_cut(struct buf *b, size_t first);  /* drops the first bytes */
static inline void buf_reset(struct buf *b) { b->n = 0; }
void buf_done(struct buf *b);
static inline struct bytes buf_view(const struct buf *b) { return (struct bytes){b->p, b->n}; }

/* ---- arena: bump allocation, freed all at once. Zero-initialised is valid. Memory is 16-byte
 * aligned. */
struct arena_block;
struct arena {
    struct arena_block *head;
    size_t used;
};
void *arena_alloc(struct arena *a, size_t n); /* not zeroed */
void *arena_zero(struct arena *a, size_t n);
struct bytes arena_copy(struct arena *a, struct bytes v);
char *arena_cstr(struct arena *a, struct bytes v);
void arena_reset(struct arena *a); /* keeps one block of at most 1 MiB */
void arena_done(struct arena *a);

void *must_alloc(size_t n); /* zeroed; ends the process when there is none */
void *must_realloc(void *p, size_t n);

/* ---- packing: little-endian fields, LEB128 varints, varint-prefixed bytes ---- */
void pack_u8(struct buf *b, uint8_t v);
void pack_u16(struct buf *b, uint16_t v);
void pack_u32(struct buf *b, uint32_t v);
void pack_u64(struct buf *b, uint64_t v);
void pack_var(struct buf *b, uint64_t v);
void pack_bytes(struct buf *b, struct bytes v); /* varint length, then the bytes */
/* Reading past the end or a bad varint sets `bad` and gives zeros ever after; check it once at the
 * end. */
struct unpack {
    const uint8_t *p, *end;
    bool bad;
};
/* NULL + 0 is undefined in C, so the empty view is kept apart. */
static inline struct unpack unpack_of(struct bytes v) {
    return (struct unpack){v.p, v.n ? v.p + v.n : v.p, false};
}
uint8_t unpack_u8(struct unpack *u);
uint16_t unpack_u16(struct unpack *u);
uint32_t unpack_u32(struct unpack *u);
uint64_t unpack_u64(struct unpack *u);
uint64_t unpack_var_long(struct unpack *u);
static inline uint64_t unpack_var(struct unpack *u) { /* nearly always one byte, or two */
    if (__builtin_expect(!u->bad && u->end - u->p >= 2, 1)) {
        uint8_t a = u->p[0], b = u->p[1];
        if (a < 0x80) {
            u->p++;
            return a;
        }
        if (b < 0x80) {
            u->p += 2;
            return (a & 0x7fu) | (uint64_t)b << 7;
        }
    }
    struct unpack rest = *u; /* a copy: the address of u's own would keep it out of registers */
    uint64_t v = unpack_var_long(&rest);
    *u = rest;
    return v;
}
static inline struct bytes unpack_bytes(struct unpack *u) { /* a view into the input */
    uint64_t n = unpack_var(u);
    if (__builtin_expect(u->bad || (uint64_t)(u->end - u->p) < n, 0)) {
        u->bad = true;
        return bytes_of(0, 0);
    }
    struct bytes v = {u->p, (size_t)n};
    u->p += n;
    return v;
}
static inline bool unpack_more(const struct unpack *u) { return !u->bad && u->p < u->end; }

/* ---- hashes ---- */
uint64_t hash64(struct bytes v); /* XXH3; stored values may depend on it */
/* For tables in memory whose keys strangers choose: who does not know the secret, which is random for
 * each run, cannot make keys that meet. A third of hash64's instructions for keys of some 30 bytes.
 * Never stored. (Multiply and fold, after Fischer, Knuth and Wang's wyhash.) */
struct hash_secret {
    uint64_t word[3];
};
uint64_t hash_keyed(struct bytes v, const struct hash_secret *k);
uint32_t crc32c(uint32_t seed, struct bytes v); /* Castagnoli; RFC 3720 B.4; seed 0 to begin */

/* FIPS 180-4; only for protocols that ask for it: it keeps nothing safe. */
void sha1(struct bytes v, uint8_t out[20]);

/* ---- text ---- */
bool utf8_valid(struct bytes v); /* RFC 3629 */
bool id_valid(struct bytes v);   /* 1..64 of A-Z a-z 0-9 _ . : - */
/* RFC 3339 UTC with milliseconds, "2026-01-02T03:04:05.678Z"; writes exactly 24 bytes; held to the
 * years 0000 to 9999 */
void time_format(int64_t ms, char out[24]);
/* "Sun, 06 Nov 1994 08:49:37 GMT" (RFC 9110, 5.6.7), and a zero; held to the same years */
void time_format_http(int64_t ms, char out[30]);
enum err time_parse(struct bytes v, int64_t *out_ms) must_use;
/* "30s" "15m" "24h" "7d" -> milliseconds; at most 3650d */
enum err duration_parse(struct bytes v, int64_t *out_ms) must_use;
void base64url_encode(struct buf *b, struct bytes v); /* RFC 4648 5, no padding */
/* whole padding accepted; '+' '/' too; adds nothing on failure */
enum err base64url_decode(struct buf *b, struct bytes v) must_use;

/* ---- deterministic randomness (splitmix64); not for secrets ---- */
struct rng {
    uint64_t s;
};
uint64_t rng_next(struct rng *r);
uint64_t rng_below(struct rng *r, uint64_t n); /* [0, n) */

#endif
