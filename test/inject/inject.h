/* inject: what a test and a library preloaded into a server share: a page of words in a file that
 * KITH_INJECT names. The test asks for faults; the library notes each that it made, so that the test
 * knows which requests fell into one.
 *
 *   words[ASK_*]   what the test wants, 0: nothing
 *   count, done[]  faults made: from, to (CLOCK_MONOTONIC, ns)
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef KITH_INJECT_H
#define KITH_INJECT_H

#include <fcntl.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

enum {
    ASK_LOG_SYNC_US, /* the next sync of the log takes so much longer; taken back when it has */
    ASK_TABLES_US,   /* each write and sync of RocksDB's files takes so much longer */
    ASK_LOCK_US,     /* a lock is held so long, once */
    ASK_CLOCK_MS,    /* the wall clock is so much ahead */
    ASK_WORDS = 16,
    DONE_MAX = 1024
};
struct inject {
    _Atomic int64_t words[ASK_WORDS];
    _Atomic int64_t count;
    struct {
        _Atomic int64_t from_ns, to_ns;
    } done[DONE_MAX];
};
static struct inject *inject;

static inline int64_t inject_now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

/* Before the server gives up files and calls. */
__attribute__((constructor)) static void inject_open(void) {
    const char *path = getenv("KITH_INJECT");
    int fd = path ? open(path, O_RDWR | O_CLOEXEC) : -1;
    void *p =
        fd < 0 ? MAP_FAILED : mmap(NULL, sizeof *inject, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (fd >= 0) close(fd);
    if (p != MAP_FAILED) inject = p;
}

static inline int64_t inject_ask(int word) {
    return inject ? atomic_load(&inject->words[word]) : 0;
}
static inline int64_t inject_take(int word) {
    return inject && atomic_load(&inject->words[word]) ? atomic_exchange(&inject->words[word], 0)
                                                       : 0;
}

static inline void inject_sleep_us(int64_t us) {
    struct timespec t = {us / 1000000, us % 1000000 * 1000};
    nanosleep(&t, NULL);
}

static inline void inject_note(int64_t from_ns) {
    int64_t n = atomic_fetch_add(&inject->count, 1);
    if (n >= DONE_MAX) return;
    atomic_store(&inject->done[n].to_ns, inject_now());
    atomic_store(&inject->done[n].from_ns, from_ns);
}

#endif
