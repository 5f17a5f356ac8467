/* fuzz: a driver for fuzzers where there is no libFuzzer: runs what is kept, then mutations of it,
 * from a seed.
 *
 *   fuzz_NAME [--seconds N] [--runs N] [--seed N] [--write FOLDER] [FILE or FOLDER ...]
 *
 * The seeds of the fuzzer's code and the files named are the corpus. In a build with
 * -fsanitize-coverage=trace-pc (gcc) an input that reaches new code joins it. What ends the process
 * is left in crash-NAME; --write leaves the corpus in a folder, for another fuzzer to begin from.
 * SPDX-License-Identifier: Apache-2.0 */
#include "fuzz.h"

#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { CORPUS_MAX = 4096, MAP = 1 << 16, HANG_S = 20 };

struct input {
    uint8_t *p;
    size_t n;
};
struct corpus {
    struct input list[CORPUS_MAX];
    size_t n;
    uint64_t runs;
};

/* File scope, because a signal handler and the compiler's own calls reach them. */
static uint8_t current[FUZZ_INPUT_MAX];
static size_t current_size;
static char crash_path[300];
static uint8_t hit[MAP], seen[MAP]; /* by the block and the one before it */
static uintptr_t block_before;

/* gcc calls this at each block, when it is told to. */
void __sanitizer_cov_trace_pc(void);
#if defined(__has_attribute) && __has_attribute(no_sanitize_coverage)
__attribute__((no_sanitize_coverage))
#endif
void __sanitizer_cov_trace_pc(void) {
    uintptr_t pc = (uintptr_t)__builtin_return_address(0);
    hit[(pc ^ pc >> 16 ^ block_before << 3) & (MAP - 1)] = 1;
    block_before = pc;
}

static bool new_code(void) {
    bool any = false;
    for (size_t i = 0; i < MAP; i += 8) {
        uint64_t now, before;
        memcpy(&now, hit + i, 8);
        if (!now) continue;
        memcpy(&before, seen + i, 8);
        any |= (now & ~before) != 0;
        before |= now;
        memcpy(seen + i, &before, 8);
        memset(hit + i, 0, 8);
    }
    return any;
}

static void on_death(int signal_number) {
    int fd = open(crash_path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    if (fd >= 0 && write(fd, current, current_size) == (ssize_t)current_size)
        (void)!write(2, crash_path, strlen(crash_path));
    (void)!write(2, signal_number == SIGALRM ? ": took too long\n" : ": ended the process\n",
        signal_number == SIGALRM ? 16 : 20);
    signal(SIGABRT, SIG_DFL);
    abort();
}

static bool run(struct corpus *c, const uint8_t *p, size_t n) {
    if (n) memcpy(current, p, n);
    current_size = n;
    alarm(HANG_S);
    uint8_t *own = must_alloc(n + !n); /* of its own size, so that a byte too far is seen */
    if (n) memcpy(own, p, n);
    memset(hit, 0, sizeof hit);
    LLVMFuzzerTestOneInput(own, n);
    free(own);
    c->runs++;
    return new_code();
}

static void keep(void *arg, struct bytes v) {
    struct corpus *c = arg;
    check(v.n <= FUZZ_INPUT_MAX);
    if (c->n == CORPUS_MAX) return;
    struct input *i = &c->list[c->n++];
    *i = (struct input){must_alloc(v.n + !v.n), v.n};
    if (v.n) memcpy(i->p, v.p, v.n);
}

static void load(struct corpus *c, const char *path) {
    DIR *d = opendir(path);
    if (d) {
        for (struct dirent *e; (e = readdir(d));) {
            char inside[600];
            snprintf(inside, sizeof inside, "%s/%s", path, e->d_name);
            if (e->d_name[0] != '.') load(c, inside);
        }
        closedir(d);
        return;
    }
    uint8_t room[FUZZ_INPUT_MAX];
    FILE *f = fopen(path, "rb");
    if (!f) return;
    keep(c, bytes_of(room, fread(room, 1, sizeof room, f)));
    fclose(f);
}

static void save(const struct corpus *c, const char *folder) {
    mkdir(folder, 0700);
    for (size_t i = 0; i < c->n; i++) {
        char path[600];
        snprintf(path, sizeof path, "%s/%04zu", folder, i);
        FILE *f = fopen(path, "wb");
        check(f && fwrite(c->list[i].p, 1, c->list[i].n, f) == c->list[i].n && fclose(f) == 0);
    }
}

/* ---- mutations, in place; each gives the new size ---- */
static size_t cut_out(struct rng *r, uint8_t *p, size_t n) {
    size_t at = rng_below(r, n), len = 1 + rng_below(r, rng_below(r, 2) ? 4 : n - at);
    if (len > n - at) len = n - at;
    memmove(p + at, p + at + len, n - at - len);
    return n - len;
}
static size_t put_in(struct rng *r, uint8_t *p, size_t n, const uint8_t *from, size_t len) {
    size_t at = rng_below(r, n + 1);
    if (len > FUZZ_INPUT_MAX - n) len = FUZZ_INPUT_MAX - n;
    memmove(p + at + len, p + at, n - at);
    memcpy(p + at, from, len);
    return n + len;
}
static void number_over(struct rng *r, uint8_t *p, size_t n) {
    static const uint64_t EDGES[] = {0, 1, 0x7f, 0x80, 0xff, 0x7fff, 0x8000, 0xffff, 0x7fffffff,
        0x80000000, 0xffffffff, INT64_MAX, UINT64_MAX, 16384, 65536, 2097152};
    size_t size = 1u << rng_below(r, 4);
    if (size > n) return;
    uint8_t *at = p + rng_below(r, n - size + 1);
    uint64_t v = EDGES[rng_below(r, sizeof EDGES / sizeof *EDGES)] + rng_below(r, 3) - 1;
    if (rng_below(r, 3) == 0) {
        memcpy(&v, at, size);
        v += rng_below(r, 33) - 16;
    }
    bool big = rng_below(r, 2);
    for (size_t i = 0; i < size; i++) at[i] = (uint8_t)(v >> 8 * (big ? size - 1 - i : i));
}

static const char TELLING[] =
    "\"\\{}[]:,. \r\n\t%/?#&=+-0919azAZ\xff\x80"; /* bytes that mean something to some parser, zero with them */

static size_t mutate(struct rng *r, const struct corpus *c, uint8_t *p, size_t n) {
    const struct input *other = &c->list[rng_below(r, c->n)];
    uint8_t room[64];
    size_t from, len;
    switch (n ? rng_below(r, 8) : 5) {
    case 0: p[rng_below(r, n)] ^= (uint8_t)(1u << rng_below(r, 8)); return n;
    case 1: p[rng_below(r, n)] = (uint8_t)rng_next(r); return n;
    case 2: number_over(r, p, n); return n;
    case 3: return cut_out(r, p, n);
    case 4: /* something of it once more */
        len = 1 + rng_below(r, sizeof room);
        from = rng_below(r, n);
        if (len > n - from) len = n - from;
        memcpy(room, p + from, len);
        return put_in(r, p, n, room, len);
    case 5: /* something of another */
        if (!other->n) return n;
        from = rng_below(r, other->n);
        return put_in(r, p, n, other->p + from, 1 + rng_below(r, other->n - from));
    case 6: /* the rest of another */
        if (!other->n) return n;
        from = rng_below(r, other->n);
        len = other->n - from;
        n = rng_below(r, n + 1);
        if (len > FUZZ_INPUT_MAX - n) len = FUZZ_INPUT_MAX - n;
        memcpy(p + n, other->p + from, len);
        return n + len;
    default: p[rng_below(r, n)] = (uint8_t)TELLING[rng_below(r, sizeof TELLING)]; return n;
    }
}

static void fuzz(struct corpus *c, struct rng *r, int64_t seconds, uint64_t runs) {
    static uint8_t p[FUZZ_INPUT_MAX];
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    uint64_t last = runs > UINT64_MAX - c->runs ? UINT64_MAX : c->runs + runs;
    for (int64_t end = now.tv_sec * 1000 + now.tv_nsec / 1000000 + seconds * 1000;
         now.tv_sec * 1000 + now.tv_nsec / 1000000 < end && c->runs < last;) {
        const struct input *from = &c->list[rng_below(r, c->n)];
        size_t n = from->n;
        if (n) memcpy(p, from->p, n);
        for (uint64_t times = 1ull << rng_below(r, 5); times--;) n = mutate(r, c, p, n);
        if (run(c, p, n)) keep(c, bytes_of(p, n));
        if (c->runs % 16 == 0) clock_gettime(CLOCK_MONOTONIC, &now);
    }
}

int main(int argc, char **argv) {
    static struct corpus c;
    struct rng r = {1};
    int64_t seconds = 0;
    uint64_t runs = UINT64_MAX;
    const char *folder = NULL, *name = strrchr(argv[0], '/');
    snprintf(crash_path, sizeof crash_path, "crash-%s", name ? name + 1 : argv[0]);
    for (int i = 1; i < argc; i++) {
        bool more = i + 1 < argc;
        if (more && strcmp(argv[i], "--seconds") == 0) seconds = strtol(argv[++i], NULL, 10);
        else if (more && strcmp(argv[i], "--runs") == 0) runs = strtoull(argv[++i], NULL, 10);
        else if (more && strcmp(argv[i], "--seed") == 0) r.s = strtoull(argv[++i], NULL, 10);
        else if (more && strcmp(argv[i], "--write") == 0) folder = argv[++i];
        else load(&c, argv[i]);
    }
    signal(SIGABRT, on_death);
    signal(SIGALRM, on_death);
    fuzz_seeds(keep, &c);
    check(c.n);
    if (folder) save(&c, folder);
    for (size_t i = 0, n = c.n; i < n; i++) (void)run(&c, c.list[i].p, c.list[i].n);
    size_t kept = c.n;
    fuzz(&c, &r, seconds, runs);
    printf("%s: %llu runs, %zu kept, %zu found\n", crash_path + 6, (unsigned long long)c.runs, kept,
        c.n - kept);
    for (size_t i = 0; i < c.n; i++) free(c.list[i].p);
    return 0;
}
