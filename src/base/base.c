/* base: errors, checks, byte views, growable buffers, arenas. Allocation failure ends the process:
 * nothing here can go on without memory.
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/base.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

const char *err_name(enum err e) {
    static const char *const NAMES[] = {"ok", "again", "refused", "malformed", "missing", "exists",
        "limit", "stale", "io", "corrupt", "nomem"};
    return (size_t)e < sizeof NAMES / sizeof *NAMES ? NAMES[e] : "unknown";
}

/* The expression's own quotes would end the line's. */
void check_failed(const char *file, int line, const char *text) {
    char when[24], words[400];
    struct timespec now;
    size_t n = 0;
    clock_gettime(CLOCK_REALTIME, &now);
    time_format(now.tv_sec * 1000 + now.tv_nsec / 1000000, when);
    for (; *text && n < sizeof words - 2; text++) {
        if (*text == '"' || *text == '\\') words[n++] = '\\';
        words[n++] = *text;
    }
    fprintf(stderr,
        "{\"time\":\"%.24s\",\"level\":\"fatal\",\"message\":\"check failed: %s:%d: %.*s\"}\n",
        when, file, line, (int)n, words);
    abort();
}

void *must_alloc(size_t n) {
    void *p = calloc(1, n ? n : 1);
    check(p);
    return p;
}

void *must_realloc(void *p, size_t n) {
    void *q = realloc(p, n ? n : 1);
    check(q);
    return q;
}

/* ---- bytes ---- */
struct bytes bytes_str(const char *s) {
    return s ? bytes_of(s, strlen(s)) : (struct bytes){0};
}

int bytes_cmp(struct bytes a, struct bytes b) {
    size_t n = a.n < b.n ? a.n : b.n;
    int c = n ? memcmp(a.p, b.p, n) : 0;
    return c ? c : (a.n > b.n) - (a.n < b.n);
}

bool bytes_is(struct bytes a, const char *s) { return bytes_eq(a, bytes_str(s)); }

bool bytes_starts(struct bytes a, const char *prefix) {
    size_t n = strlen(prefix);
    return a.n >= n && (n == 0 || memcmp(a.p, prefix, n) == 0);
}

/* ---- buf ---- */
#define BUF_FIRST 64u

/* Apart and cold, so that the calls which find room stay small. */
__attribute__((noinline, cold)) void buf_grow(struct buf *b, size_t more) {
    check(more <= SIZE_MAX / 4 && b->n <= SIZE_MAX / 4); /* doubling cannot wrap */
    size_t cap = b->cap ? b->cap * 2 : BUF_FIRST;
    while (cap < b->n + more) cap *= 2;
    b->p = must_realloc(b->p, cap);
    b->cap = cap;
}

void buf_add_tight(struct buf *b, const void *p, size_t n) {
    enum { STEP = 64 };
    if (b->cap - b->n < n) {
        b->cap = (b->n + n + STEP - 1) / STEP * STEP;
        b->p = must_realloc(b->p, b->cap);
    }
    buf_add(b, p, n);
}

void buf_fmt(struct buf *b, const char *fmt, ...) {
    va_list ap;
    va_start(ap, fmt);
    buf_reserve(b, 128);
    size_t room = b->cap - b->n;
    int n = vsnprintf((char *)b->p + b->n, room, fmt, ap);
    va_end(ap);
    check(n >= 0);
    if ((size_t)n >= room) {
        buf_reserve(b, (size_t)n + 1);
        va_start(ap, fmt);
        vsnprintf((char *)b->p + b->n, (size_t)n + 1, fmt, ap);
        va_end(ap);
    }
    b->n += (size_t)n;
}

void buf_u64dec(struct buf *b, uint64_t v) {
    static const char PAIRS[] =
        "000102030405060708091011121314151617181920212223242526272829303132333435363738394041424344"
        "45464748495051525354555657585960616263646566676869"
        "707172737475767778798081828384858687888990919293949596979899";
    char digits[20]; /* UINT64_MAX has twenty */
    size_t at = sizeof digits;
    for (; v >= 100; v /= 100) memcpy(digits + (at -= 2), PAIRS + v % 100 * 2, 2);
    if (v >= 10) memcpy(digits + (at -= 2), PAIRS + v * 2, 2);
    else digits[--at] = (char)('0' + v);
    buf_add(b, digits + at, sizeof digits - at);
}

void buf_cut(struct buf *b, size_t first) {
    check(first <= b->n);
    if (first && first < b->n) memmove(b->p, b->p + first, b->n - first);
    b->n -= first;
}

void buf_done(struct buf *b) {
    free(b->p);
    *b = (struct buf){0};
}

/* ---- arena ---- */
#define ARENA_FIRST 4096u
#define ARENA_KEEP (1u << 20)

struct arena_block {
    struct arena_block *next;
    size_t size;
    _Alignas(16) uint8_t data[];
};

void *arena_alloc(struct arena *a, size_t n) {
    check(n <= SIZE_MAX / 2); /* rounding up cannot wrap */
    n = (n + 15) & ~(size_t)15;
    if (!a->head || a->head->size - a->used < n) {
        size_t size = a->head ? a->head->size * 2 : ARENA_FIRST - sizeof(struct arena_block);
        if (size > ARENA_KEEP) size = ARENA_KEEP;
        if (size < n) size = n;
        struct arena_block *b = malloc(sizeof *b + size);
        check(b);
        b->size = size;
        b->next = a->head;
        a->head = b;
        a->used = 0;
    }
    void *p = a->head->data + a->used;
    a->used += n;
    return p;
}

void *arena_zero(struct arena *a, size_t n) {
    void *p = arena_alloc(a, n);
    if (n) memset(p, 0, n);
    return p;
}

struct bytes arena_copy(struct arena *a, struct bytes v) {
    if (!v.n) return (struct bytes){0};
    void *p = arena_alloc(a, v.n);
    memcpy(p, v.p, v.n);
    return bytes_of(p, v.n);
}

char *arena_cstr(struct arena *a, struct bytes v) {
    char *p = arena_alloc(a, v.n + 1);
    if (v.n) memcpy(p, v.p, v.n);
    p[v.n] = 0;
    return p;
}

void arena_reset(struct arena *a) {
    a->used = 0;
    if (!a->head) return;
    struct arena_block *keep = a->head->size <= ARENA_KEEP ? a->head : NULL;
    struct arena_block *b = keep ? keep->next : a->head;
    while (b) {
        struct arena_block *next = b->next;
        free(b);
        b = next;
    }
    if (keep) keep->next = NULL;
    a->head = keep;
}

void arena_done(struct arena *a) {
    while (a->head) {
        struct arena_block *next = a->head->next;
        free(a->head);
        a->head = next;
    }
    a->used = 0;
}
