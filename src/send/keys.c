/* send: keys that kith makes itself on its first start, and files of text.
 * Keeps: a key is whole and on the disk before it is used; nobody else may read it.
 * SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "send/send_in.h"

enum { TEXT_MAX = 1 << 20, PATH = 4096, FOLDER = PATH - 100 };

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

/* Takes the text, and wipes it. */
static enum err text_write(
    const char *folder, const char *path, struct buf *take_text, struct buf *why) {
    char tmp[PATH + 8];
    struct disk *d = disk_real();
    snprintf(tmp, sizeof tmp, "%s.tmp", path);
    int fd = open(tmp, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    bool ok =
        fd >= 0 && write(fd, take_text->p, take_text->n) == (ssize_t)take_text->n && fsync(fd) == 0;
    if (fd >= 0) close(fd);
    text_forget(take_text);
    if (ok && rename(tmp, path) == 0 && d->sync_dir(d, folder) == OK) return OK;
    return buf_fmt(why, "%s cannot be written: %s", path, strerror(errno)), IO;
}

static enum err folder_make(const char *dir, char out[static FOLDER], struct buf *why) {
    struct disk *d = disk_real();
    snprintf(out, FOLDER, "%s/keys", dir);
    if (d->make_dir(d, out) == OK) return OK;
    return buf_fmt(why, "the folder %s cannot be made: %s", out, strerror(errno)), IO;
}

enum err key_keep(const char *dir, const char *name, enum outward_key_kind kind,
    struct outward_key **out, bool *out_new, struct buf *why) {
    char folder[FOLDER], path[PATH];
    const char *said = NULL;
    struct buf pem = {0};
    *out_new = false;
    enum err e = folder_make(dir, folder, why);
    if (e != OK) return e;
    snprintf(path, sizeof path, "%s/%s.pem", folder, name);
    if (access(path, F_OK) == 0) {
        e = text_read(path, &pem, why);
        if (e == OK && (e = outward_key_read(kind, buf_view(&pem), out, &said)) != OK)
            buf_fmt(why, "%s: %s", path, said ? said : "not a key");
        text_forget(&pem);
        return e;
    }
    *out = outward_key_create(kind);
    *out_new = true;
    outward_key_write(*out, &pem);
    e = text_write(folder, path, &pem, why);
    if (e != OK) outward_key_free(out);
    return e;
}

/* DIR/keys/unsubscribe.key: a line of base64url. */
enum err unsubscribe_key_keep(const char *dir, bool make, struct buf *out, struct buf *why) {
    char folder[FOLDER], path[PATH];
    struct buf text = {0};
    uint8_t key[UNSUBSCRIBE_KEY_BYTES];
    snprintf(path, sizeof path, "%s/keys/unsubscribe.key", dir);
    bool there = access(path, F_OK) == 0;
    if (!there && !make) return OK;
    enum err e = there ? text_read(path, &text, why) : folder_make(dir, folder, why);
    if (e == OK && there) {
        while (text.n && text.p[text.n - 1] <= ' ') text.n--;
        if (base64url_decode(out, buf_view(&text)) != OK || out->n != sizeof key) {
            text_forget(out);
            buf_fmt(why, "%s: not a key of %zu bytes in base64url", path, sizeof key);
            e = MALFORMED;
        }
    } else if (e == OK) {
        unsubscribe_key_create(key);
        base64url_encode(&text, bytes_of(key, sizeof key));
        buf_char(&text, '\n');
        e = text_write(folder, path, &text, why);
        if (e == OK) buf_add(out, key, sizeof key);
        explicit_bzero(key, sizeof key);
    }
    text_forget(&text);
    return e;
}
