/* inject: a disk that is slow at what the test asks for: syncs of the log, or all that RocksDB
 * writes. Which file is which its name says when it is opened.
 * SPDX-License-Identifier: Apache-2.0 */
#include <dlfcn.h>
#include <stdarg.h>
#include <string.h>
#include <sys/types.h>

#include "inject.h"

enum { OTHER, OF_LOG, OF_TABLES, FDS = 4096 };
static _Atomic char kinds[FDS];

static int noted(const char *path, int fd) {
    if (fd < 0 || fd >= FDS) return fd;
    kinds[fd] = strstr(path, "/log/") ? OF_LOG : strstr(path, ".sst") ? OF_TABLES : OTHER;
    return fd;
}

#define REAL(name) ((__typeof__(&(name)))dlsym(RTLD_NEXT, #name))

#define OPENS(name)                                                                                \
    int name(const char *path, int flags, ...) {                                                   \
        va_list list;                                                                              \
        va_start(list, flags);                                                                     \
        int mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(list, int) : 0;                          \
        va_end(list);                                                                              \
        return noted(path, REAL(name)(path, flags, mode));                                         \
    }
OPENS(open)
OPENS(open64)

static char kind_of(int fd) { return fd >= 0 && fd < FDS ? kinds[fd] : OTHER; }

static void tables_wait(int fd) {
    int64_t us = kind_of(fd) == OF_TABLES ? inject_ask(ASK_TABLES_US) : 0;
    if (!us) return;
    int64_t from = inject_now();
    inject_sleep_us(us);
    inject_note(from);
}

/* The sync itself is done too: nothing that was promised is lost. */
int fdatasync(int fd) {
    int64_t us = kind_of(fd) == OF_LOG ? inject_take(ASK_LOG_SYNC_US) : 0, from = inject_now();
    if (us) inject_sleep_us(us);
    tables_wait(fd);
    int result = REAL(fdatasync)(fd);
    if (us) inject_note(from);
    return result;
}
int fsync(int fd) {
    tables_wait(fd);
    return REAL(fsync)(fd);
}
ssize_t pwrite64(int fd, const void *p, size_t n, off64_t at) {
    tables_wait(fd);
    return REAL(pwrite64)(fd, p, n, at);
}
ssize_t write(int fd, const void *p, size_t n) {
    tables_wait(fd);
    return REAL(write)(fd, p, n);
}
