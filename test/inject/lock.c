/* inject: a stranger that holds a lock. Whoever tries a mutex before waiting for it (which is how
 * long waits are noticed) makes it known here; a thread of our own locks the one that is tried most
 * for as long as the test asks.
 * SPDX-License-Identifier: Apache-2.0 */
#include <dlfcn.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <sys/auxv.h>

#include "inject.h"

enum { KNOWN = 4096 }; /* a power of two; the allocator's are many */
static struct {
    _Atomic(pthread_mutex_t *) mutex;
    _Atomic int64_t times; /* tried by the program itself; a library's own: none */
} known[KNOWN];
static int (*real_trylock)(pthread_mutex_t *);

/* The program's own locks are meant, not its libraries'. */
static bool of_program(const void *caller) {
    static _Atomic(void *) program;
    Dl_info of;
    if (!program && dladdr((void *)getauxval(AT_ENTRY), &of)) program = of.dli_fbase;
    return dladdr(caller, &of) && of.dli_fbase == program;
}

int pthread_mutex_trylock(pthread_mutex_t *m) {
    if (!real_trylock)
        real_trylock = (int (*)(pthread_mutex_t *))dlsym(RTLD_NEXT, "pthread_mutex_trylock");
    size_t place = (uintptr_t)m / 64;
    for (int i = 0; i < 64; i++) {
        size_t k = (place + (size_t)i) % KNOWN;
        pthread_mutex_t *at = atomic_load(&known[k].mutex), *none = NULL;
        if (!at && atomic_compare_exchange_strong(&known[k].mutex, &none, m)) {
            at = m;
            if (!of_program(__builtin_return_address(0))) atomic_store(&known[k].times, INT64_MIN);
        }
        if (at != m) continue;
        atomic_fetch_add(&known[k].times, 1);
        break;
    }
    return real_trylock(m);
}

static pthread_mutex_t *most_tried(void) {
    int most = 0;
    for (int i = 1; i < KNOWN; i++)
        if (known[i].times > known[most].times) most = i;
    return known[most].mutex;
}

static void *holder(void *arg) {
    for (;;) {
        int64_t us = inject_take(ASK_LOCK_US);
        if (us < 0) return NULL; /* the test is over */
        pthread_mutex_t *m = us ? most_tried() : NULL;
        if (m) {
            pthread_mutex_lock(m);
            int64_t from = inject_now();
            inject_sleep_us(us);
            pthread_mutex_unlock(m);
            inject_note(from);
        }
        inject_sleep_us(5000);
    }
    return arg;
}

__attribute__((constructor(200))) static void begin(void) {
    pthread_t thread;
    sigset_t all, before;
    sigfillset(&all); /* the server's signals are its own threads' */
    pthread_sigmask(SIG_SETMASK, &all, &before);
    if (getenv("KITH_INJECT")) pthread_create(&thread, NULL, holder, NULL);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
}
