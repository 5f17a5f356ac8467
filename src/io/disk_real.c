/* io: the disk of the real machine. Stateless: handles are the kernel's descriptors.
 * Keeps: a call has done all it says or gives an error; a full disk is LIMIT, never IO.
 * SPDX-License-Identifier: Apache-2.0 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "io/io.h"

enum { ZERO_CHUNK = 1 << 20 }; /* large enough that the call costs nothing beside the copying */

static enum err err_of(int e) {
    if (e == ENOSPC || e == EDQUOT) return LIMIT;
    return e == ENOENT ? MISSING : IO;
}

static enum err real_open(struct disk *d, const char *path, bool create, int *out_fd) {
    (void)d;
    int fd = open(path, O_RDWR | O_CLOEXEC | (create ? O_CREAT : 0), 0600);
    if (fd < 0) return err_of(errno);
    *out_fd = fd;
    return OK;
}

static enum err real_size(struct disk *d, int fd, uint64_t *out) {
    (void)d;
    struct stat st;
    if (fstat(fd, &st)) return err_of(errno);
    *out = (uint64_t)st.st_size;
    return OK;
}

static enum err real_pread(struct disk *d, int fd, void *p, size_t n, uint64_t at, size_t *out_n) {
    (void)d;
    size_t done = 0;
    while (done < n) {
        ssize_t r = pread(fd, (char *)p + done, n - done, (off_t)(at + done));
        if (r < 0 && errno == EINTR) continue;
        if (r < 0) return err_of(errno);
        if (r == 0) break;
        done += (size_t)r;
    }
    *out_n = done;
    return OK;
}

static enum err real_pwrite(struct disk *d, int fd, const void *p, size_t n, uint64_t at) {
    (void)d;
    size_t done = 0;
    while (done < n) {
        ssize_t r = pwrite(fd, (const char *)p + done, n - done, (off_t)(at + done));
        if (r < 0 && errno == EINTR) continue;
        if (r < 0) return err_of(errno);
        if (r == 0) return IO;
        done += (size_t)r;
    }
    return OK;
}

/* Writing zeros, not fallocate: unwritten extents would make each later fdatasync a metadata
 * commit. Each chunk goes to the disk before the next is made: who syncs another file meanwhile does not
 * wait for all of them. */
static enum err real_zero(struct disk *d, int fd, uint64_t from, uint64_t to) {
    if (from >= to) return OK;
    size_t chunk = to - from < ZERO_CHUNK ? (size_t)(to - from) : ZERO_CHUNK;
    char *zeros = must_alloc(chunk);
    enum err e = OK;
    while (from < to && e == OK) {
        size_t n = to - from < chunk ? (size_t)(to - from) : chunk;
        e = real_pwrite(d, fd, zeros, n, from);
        /* a hint: the sync that follows tells what went wrong */
        (void)sync_file_range(
            fd, (off_t)from, (off_t)n, SYNC_FILE_RANGE_WRITE | SYNC_FILE_RANGE_WAIT_AFTER);
        from += n;
    }
    free(zeros);
    return e;
}

/* A delayed allocation may find the disk full only here: that is LIMIT too. */
static enum err real_sync(struct disk *d, int fd) {
    (void)d;
    return fdatasync(fd) ? err_of(errno) : OK;
}

static enum err real_sync_dir(struct disk *d, const char *path) {
    (void)d;
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0) return err_of(errno);
    enum err e = fsync(fd) ? IO : OK;
    close(fd);
    return e;
}

static enum err real_rename(struct disk *d, const char *from, const char *to) {
    (void)d;
    return rename(from, to) ? err_of(errno) : OK;
}

static enum err real_remove(struct disk *d, const char *path) {
    (void)d;
    return unlink(path) && errno != ENOENT ? err_of(errno) : OK;
}

/* By bytes, not by locale: the order must be the same on every machine. */
static int by_name(const struct dirent **a, const struct dirent **b) {
    return strcmp((*a)->d_name, (*b)->d_name);
}

static enum err real_list(
    struct disk *d, const char *dir, bool (*fn)(void *, const char *), void *arg) {
    (void)d;
    struct dirent **names;
    int n = scandir(dir, &names, NULL, by_name);
    if (n < 0) return err_of(errno);
    bool go = true;
    for (int i = 0; i < n; i++) {
        if (go && names[i]->d_name[0] != '.') go = fn(arg, names[i]->d_name);
        free(names[i]);
    }
    free(names);
    return OK;
}

static enum err real_make_dir(struct disk *d, const char *path) {
    (void)d;
    return mkdir(path, 0700) && errno != EEXIST ? err_of(errno) : OK;
}

static uint64_t real_free_bytes(struct disk *d, const char *dir) {
    (void)d;
    struct statvfs v;
    return statvfs(dir, &v) ? 0 : (uint64_t)v.f_bavail * v.f_frsize;
}

static void real_close(struct disk *d, int fd) {
    (void)d;
    close(fd);
}

static struct disk REAL = {real_open, real_size, real_pread, real_pwrite, real_zero, real_sync,
    real_sync_dir, real_rename, real_remove, real_list, real_make_dir, real_free_bytes, real_close};
struct disk *disk_real(void) {
    return &REAL;
}
