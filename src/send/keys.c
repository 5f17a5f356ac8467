/* send: keys that kith makes itself on its first start, and files of text.
 * Keeps: a key is whole and on the disk before it is used; nobody else may read it.
 * SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "send/send_in.h"

enum { TEXT_MAX = 1 << 20, PATH = 4096 };

enum err text_read(const char *path, struct buf *out, struct buf *why) {
    char room[4096];
    ssize_t n = 0;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) return buf_fmt(why, "%s cannot be read: %s", path, strerror(errno)), MISSING;
    while (out->n <= TEXT_MAX && (n = read(fd, room, sizeof room)) > 0)
        buf_add(out, room, (size_t)n);
    int e = errno;
    close(fd);
    if (n < 0) return buf_fmt(why, "%s cannot be read: %s", path, strerror(e)), IO;
    if (out->n > TEXT_MAX) return buf_fmt(why, "%s is longer than 1 MiB", path), MALFORMED;
    return OK;
}

void text_forget(struct buf *b) {
    if (b->p) explicit_bzero(b->p, b->n);
    buf_done(b);
}

static enum err key_write(
    const char *folder, const char *path, const struct outward_key *k, struct buf *why) {
    char tmp[PATH + 8];
    struct buf pem = {0};
    struct disk *d = disk_real();
    outward_key_write(k, &pem);
    snprintf(tmp, sizeof tmp, "%s.tmp", path);
    int fd = open(tmp, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    bool ok = fd >= 0 && write(fd, pem.p, pem.n) == (ssize_t)pem.n && fsync(fd) == 0;
    if (fd >= 0) close(fd);
    text_forget(&pem);
    if (ok && rename(tmp, path) == 0 && d->sync_dir(d, folder) == OK) return OK;
    return buf_fmt(why, "%s cannot be written: %s", path, strerror(errno)), IO;
}

enum err key_keep(const char *dir, const char *name, enum outward_key_kind kind,
    struct outward_key **out, bool *out_new, struct buf *why) {
    char folder[PATH - 100], path[PATH];
    const char *said = NULL;
    struct buf pem = {0};
    *out_new = false;
    snprintf(folder, sizeof folder, "%s/keys", dir);
    snprintf(path, sizeof path, "%s/%s.pem", folder, name);
    struct disk *d = disk_real();
    if (d->make_dir(d, folder) != OK)
        return buf_fmt(why, "the folder %s cannot be made: %s", folder, strerror(errno)), IO;
    enum err e;
    if (access(path, F_OK) == 0) {
        e = text_read(path, &pem, why);
        if (e == OK && (e = outward_key_read(kind, buf_view(&pem), out, &said)) != OK)
            buf_fmt(why, "%s: %s", path, said ? said : "not a key");
        text_forget(&pem);
        return e;
    }
    *out = outward_key_create(kind);
    *out_new = true;
    e = key_write(folder, path, *out, why);
    if (e != OK) outward_key_free(out);
    return e;
}
