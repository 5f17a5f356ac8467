/* shard: the data folder. DIR/{lock, meta, secrets, keys/, log/, tables/, control, reserve}; backup.tmp/ is
 * a backup that has not been taken away yet. A backup is
 * {meta, secrets, keys/, log/, tables/}: tables as of a sync, and the log from before it on, so that what
 * was under way between partitions is there too. SPDX-License-Identifier: Apache-2.0 */
#include "shard/data.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "chat/chat.h"
#include "due/due.h"
#include "notify/notify.h"
#include "shard/shard_in.h"

enum err data_lock(const char *dir, int *out_fd, struct buf *why) {
    char path[512];
    snprintf(path, sizeof path, "%s/lock", dir);
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0) {
        buf_fmt(why, "%s: %s", path, strerror(errno));
        return IO;
    }
    if (flock(fd, LOCK_EX | LOCK_NB)) {
        buf_fmt(why, "%s is in use by another kith", dir);
        close(fd);
        return LIMIT;
    }
    *out_fd = fd;
    return OK;
}

uint64_t epoch_new(void) {
    uint32_t v;
    random_secret(&v, sizeof v);
    return v | 1;
}

/* What others may read is taken from them; false: it cannot be. */
static bool mode_mend(const char *path, mode_t mode, struct buf *said, struct buf *why) {
    struct stat st;
    if (stat(path, &st) != 0 || !(st.st_mode & 077)) return true;
    if (chmod(path, mode) == 0) {
        buf_fmt(said, "%s%s was open to others (%03o) and is not any more", said->n ? "; " : "",
            path, (unsigned)st.st_mode & 0777);
        return true;
    }
    buf_fmt(why, "%s is open to others (%03o) and that cannot be changed: %s", path,
        (unsigned)st.st_mode & 0777, strerror(errno));
    return false;
}

enum err data_folder(const char *dir, bool *out_new, struct buf *said, struct buf *why) {
    char secrets[512];
    struct stat st;
    *out_new = stat(dir, &st) != 0;
    if (disk_real()->make_dir(disk_real(), dir) != OK)
        return buf_fmt(why, "the data folder %s cannot be made", dir), IO;
    if (*out_new && folder_name_sync(dir) != OK)
        return buf_fmt(why, "the name of %s cannot be synced", dir), IO;
    snprintf(secrets, sizeof secrets, "%s/secrets", dir);
    if (!mode_mend(dir, 0700, said, why) || !mode_mend(secrets, 0600, said, why)) return IO;
    if (said->n) buf_str(said, "; if others were here, revoke its keys");
    return OK;
}

enum err meta_load(const char *dir, struct meta *m, struct buf *why) {
    char path[512];
    unsigned version, partitions;
    unsigned long long epoch;
    snprintf(path, sizeof path, "%s/meta", dir);
    FILE *f = fopen(path, "re");
    if (!f) return errno == ENOENT ? MISSING : IO;
    int n = fscanf(f, "kith-data %u\npartitions %u\nepoch %llu\n", &version, &partitions, &epoch);
    fclose(f);
    if (n != 3 || !version || version > DATA_VERSION || partitions < 1 || partitions > 480) {
        buf_fmt(why, "%s is not the meta file of this version", path);
        return CORRUPT;
    }
    *m = (struct meta){(uint16_t)partitions, epoch, version};
    return OK;
}

enum err folder_name_sync(const char *dir) {
    char parent[700];
    size_t n = (size_t)snprintf(parent, sizeof parent, "%s", dir);
    while (n > 1 && n < sizeof parent && parent[n - 1] == '/') parent[--n] = 0;
    char *slash = strrchr(parent, '/');
    if (slash) slash[slash == parent] = 0;
    return disk_real()->sync_dir(disk_real(), slash ? parent : ".");
}

bool data_is_there(const char *dir) {
    char log[512], tables[512];
    snprintf(log, sizeof log, "%s/log", dir);
    snprintf(tables, sizeof tables, "%s/tables", dir);
    return access(log, F_OK) == 0 || access(tables, F_OK) == 0;
}

enum err log_link(const char *dir, const char *log_dir, struct buf *why) {
    char path[512];
    snprintf(path, sizeof path, "%s/log", dir);
    if (mkdir(log_dir, 0700) != 0 && errno != EEXIST)
        return buf_fmt(why, "the log folder %s cannot be made: %s", log_dir, strerror(errno)), IO;
    if (symlink(log_dir, path) == 0) return OK;
    if (errno != EEXIST)
        return buf_fmt(why, "%s cannot be made a link: %s", path, strerror(errno)), IO;
    char *now = realpath(path, NULL), *want = realpath(log_dir, NULL);
    bool same = now && want && strcmp(now, want) == 0;
    if (!same)
        buf_fmt(why,
            "the log of %s lies in %s, not in %s; move it there and link it, or leave --log away",
            dir, now ? now : "nowhere", log_dir);
    free(now);
    free(want);
    return same ? OK : EXISTS;
}

static enum err file_write(const char *path, const void *p, size_t n, struct buf *why) {
    char tmp[600];
    snprintf(tmp, sizeof tmp, "%s.tmp", path);
    int fd = open(tmp, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    bool ok = fd >= 0 && write(fd, p, n) == (ssize_t)n && fsync(fd) == 0;
    if (fd >= 0) close(fd);
    if (ok && rename(tmp, path) == 0) return OK;
    buf_fmt(why, "%s cannot be written: %s", path, strerror(errno));
    return errno == ENOSPC ? LIMIT : IO;
}

enum err meta_save(const char *dir, const struct meta *m, struct buf *why) {
    char path[512], text[128];
    snprintf(path, sizeof path, "%s/meta", dir);
    int n = snprintf(text, sizeof text, "kith-data %u\npartitions %u\nepoch %llu\n", DATA_VERSION,
        m->partitions, (unsigned long long)m->epoch);
    enum err e = file_write(path, text, (size_t)n, why);
    return e == OK ? disk_real()->sync_dir(disk_real(), dir) : e;
}

/* ---- the reserve ---- */
enum { RESERVE_MOST = 16 << 20, RESERVE_LEAST = 1 << 20 };

bool reserve_keep(const char *dir) {
    char path[512], tmp[600];
    snprintf(path, sizeof path, "%s/reserve", dir);
    snprintf(tmp, sizeof tmp, "%s.tmp", path);
    if (access(path, F_OK) == 0) return true;
    int fd = open(tmp, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600), e = ENOSPC;
    if (fd < 0) return false;
    /* After a start that used it up, what is left of it: a little less each time. */
    for (off_t n = RESERVE_MOST; n >= RESERVE_LEAST && e == ENOSPC; n -= RESERVE_LEAST)
        e = posix_fallocate(fd, 0, n);
    close(fd);
    if (e == 0 && rename(tmp, path) == 0) return true;
    unlink(tmp);
    return false;
}

bool reserve_drop(const char *dir) {
    char path[512];
    snprintf(path, sizeof path, "%s/reserve", dir);
    return unlink(path) == 0;
}

/* ---- copying ---- */
static enum err file_copy(const char *from, const char *to, struct buf *why) {
    int in = open(from, O_RDONLY | O_CLOEXEC),
        out = open(to, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    enum { CHUNK = 1 << 20 };
    char *p = must_alloc(CHUNK);
    ssize_t n = 0;
    bool ok = in >= 0 && out >= 0;
    while (ok && (n = read(in, p, CHUNK)) > 0) ok = write(out, p, (size_t)n) == n;
    ok = ok && n == 0 && fsync(out) == 0;
    if (!ok) buf_fmt(why, "%s cannot be copied to %s: %s", from, to, strerror(errno));
    if (in >= 0) close(in);
    if (out >= 0) close(out);
    free(p);
    return ok ? OK : IO;
}

struct copying {
    const char *from, *to;
    struct buf *why;
    enum err err;
};
static bool copy_one(void *arg, const char *name) {
    struct copying *c = arg;
    char from[800], to[800];
    if (strstr(name, ".tmp") || strcmp(name, "LOCK") == 0) return true;
    snprintf(from, sizeof from, "%s/%s", c->from, name);
    snprintf(to, sizeof to, "%s/%s", c->to, name);
    c->err = file_copy(from, to, c->why);
    return c->err == OK;
}
static enum err dir_copy(const char *from, const char *to, struct buf *why) {
    struct disk *d = disk_real();
    struct copying c = {from, to, why, OK};
    enum err e = d->make_dir(d, to);
    if (e == OK) e = d->list(d, from, copy_one, &c);
    if (e == OK) e = c.err;
    if (e == OK) e = d->sync_dir(d, to);
    return e;
}

/* One of the folder's parts. */
static enum err part_copy(const char *from, const char *to, const char *name,
    enum err (*copy)(const char *, const char *, struct buf *), struct buf *why) {
    char a[700], b[700];
    snprintf(a, sizeof a, "%s/%s", from, name);
    snprintf(b, sizeof b, "%s/%s", to, name);
    return copy(a, b, why);
}

/* Secrets of the apps, and keys that were made to send by: browsers subscribed with one of them. */
static enum err secrets_copy(const char *from, const char *to, struct buf *why) {
    char keys[700];
    snprintf(keys, sizeof keys, "%s/keys", from);
    enum err e = part_copy(from, to, "secrets", file_copy, why);
    if (e == OK && access(keys, F_OK) == 0) e = part_copy(from, to, "keys", dir_copy, why);
    return e;
}

/* Last of all, the meta file: a copy without it is no data folder. */
static enum err copy_end(const char *to, const struct meta *m, struct buf *why) {
    enum err e = meta_save(to, m, why);
    return e == OK ? folder_name_sync(to) : e;
}

static enum err folder_copy(
    const char *from, const char *to, const struct meta *m, struct buf *why) {
    enum err e = secrets_copy(from, to, why);
    if (e == OK) e = part_copy(from, to, "log", dir_copy, why);
    if (e == OK) e = part_copy(from, to, "tables", dir_copy, why);
    return e == OK ? copy_end(to, m, why) : e;
}

static bool found_any(void *arg, const char *name) {
    (void)name;
    return *(bool *)arg = true, false;
}

/* A folder that is new, or empty. */
static enum err target_make(const char *to, struct buf *why) {
    struct disk *d = disk_real();
    bool any = false;
    if (mkdir(to, 0700) == 0) return OK;
    if (errno == EEXIST && d->list(d, to, found_any, &any) == OK && !any) return OK;
    if (errno == EEXIST)
        buf_fmt(why, "%s exists and is not an empty folder; give another path", to);
    else buf_fmt(why, "%s cannot be made: %s", to, strerror(errno));
    return EXISTS;
}

/* Nothing that the tables of the copy lack may leave the log before it is copied too. */
static enum err live_copy(struct server *v, const char *to, struct buf *why) {
    char path[700];
    enum err e = tables_sync_all(v);
    if (e != OK) return buf_str(why, "the tables cannot be synced: the disk is full"), e;
    snprintf(path, sizeof path, "%s/tables", to);
    e = v->store->calls->checkpoint(v->store, path);
    if (e != OK)
        return buf_fmt(why, "the tables cannot be copied to %s: %s", path,
                   e == LIMIT ? "the disk is full" : err_name(e)),
               e;
    snprintf(path, sizeof path, "%s/log", to);
    return v->log->calls->copy(v->log, path, why);
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *at) {
    (void)st, (void)type, (void)at;
    return remove(path);
}
static void folder_remove(const char *dir) {
    enum { OPEN = 16 };
    (void)nftw(dir, remove_one, OPEN, FTW_DEPTH | FTW_PHYS);
}

void backup_forget(const char *dir) {
    char path[700];
    snprintf(path, sizeof path, "%s/" BACKUP_NAME, dir);
    folder_remove(path);
}

enum err data_backup_live(struct server *v, const char *to, struct buf *why) {
    struct meta m = {v->partitions, v->epoch, DATA_VERSION};
    backup_forget(v->dir);
    enum err e = target_make(to, why);
    if (e != OK) return e;
    v->log->calls->keep(v->log, true);
    e = live_copy(v, to, why);
    v->log->calls->keep(v->log, false);
    if (e == OK) e = secrets_copy(v->dir, to, why);
    return e == OK ? copy_end(to, &m, why) : e;
}

/* Names change where the file system is the same; else it is copied. */
static enum err backup_move(const char *from, const char *to, struct buf *why) {
    struct meta m;
    if (rename(from, to) == 0) return folder_name_sync(to);
    if (errno != EXDEV)
        return buf_fmt(why, "%s cannot be moved to %s: %s", from, to, strerror(errno)), IO;
    enum err e = meta_load(from, &m, why);
    return e == OK ? folder_copy(from, to, &m, why) : e;
}

enum err data_backup_take(const char *dir, const char *to, struct buf *why) {
    static const char SAYS[] = "ok ";
    struct buf said = {0};
    enum err e = target_make(to, why);
    if (e != OK) return e;
    e = control_ask(dir, "backup", &said);
    if (e == OK && bytes_starts(buf_view(&said), SAYS)) {
        said.p[said.n - 1] = 0; /* the line's end */
        const char *from = (const char *)said.p + sizeof SAYS - 1;
        e = backup_move(from, to, why);
        folder_remove(from);
    } else if (e != MISSING) {
        if (said.n) buf_bytes(why, buf_view(&said));
        else buf_str(why, "the server ended before the backup was whole");
        e = IO;
    }
    buf_done(&said);
    if (e != OK) (void)rmdir(to); /* if nothing is in it */
    return e;
}

/* A folder that a running server uses, or none at all, is said in words. */
static enum err source_take(const char *dir, struct meta *m, int *lock, struct buf *why) {
    enum err e = meta_load(dir, m, why);
    if (e != OK) {
        if (!why->n) buf_fmt(why, "there is no kith data in %s", dir);
        return e;
    }
    return data_lock(dir, lock, why);
}

enum err data_backup(const char *dir, const char *to, struct buf *why) {
    struct meta m;
    int lock;
    enum err e = source_take(dir, &m, &lock, why);
    if (e != OK) return e;
    e = target_make(to, why);
    if (e == OK) e = folder_copy(dir, to, &m, why);
    close(lock);
    return e;
}

enum err data_restore(const char *from, const char *dir, struct buf *why) {
    struct meta m;
    enum err e = meta_load(from, &m, why);
    if (e != OK) {
        if (!why->n) buf_fmt(why, "%s is not a backup: it has no meta file", from);
        return e;
    }
    m.epoch = epoch_new(); /* cursors of before the restore must not be taken for ones of after */
    e = target_make(dir, why);
    return e == OK ? folder_copy(from, dir, &m, why) : e;
}

/* What must hold of the state of each partition, as the tables have it. */
static enum err state_check(struct store *store, uint16_t partitions, struct buf *why) {
    enum { CHECK_BYTES = 32 << 20 };
    bool sound = true;
    for (uint16_t p = 0; p < partitions; p++) {
        struct cells *c = cells_create(store, p, CHECK_BYTES);
        sound &= chat_check(c, why);
        sound &= mailbox_check(c, why);
        sound &= notify_check(c, why);
        sound &= channel_check(c, why);
        sound &= due_check(c, why);
        cells_free(&c);
    }
    return sound ? OK : CORRUPT;
}

enum err data_check(const char *dir, struct buf *why) {
    struct meta m;
    struct store *store;
    int lock;
    char path[700];
    enum err e = meta_load(dir, &m, why);
    if (e == MISSING) buf_fmt(why, "there is no kith data in %s\n", dir);
    if (e != OK) return e;
    if ((e = data_lock(dir, &lock, why)) != OK) return e;
    uint64_t records, *from = must_alloc(m.partitions * sizeof *from);
    snprintf(path, sizeof path, "%s/tables", dir);
    struct store_options o = {.dir = path, .read_only = true};
    e = store_open_rocksdb(&o, &store, why);
    if (e == OK) {
        e = store->calls->verify(store, why);
        if (e == OK && (e = engine_start_positions(store, m.partitions, from)) != OK)
            buf_str(why, "tables: the applied positions cannot be read\n");
        if (e == OK) e = state_check(store, m.partitions, why);
        store->calls->close(store);
    } else {
        buf_char(why, '\n');
    }
    snprintf(path, sizeof path, "%s/log", dir);
    enum err log = log_check(path, disk_real(), m.partitions, e == OK ? from : NULL, why, &records);
    if (log == MISSING) buf_fmt(why, "log: there is none in %s\n", path);
    if (e == OK && log == OK)
        buf_fmt(why, "ok: %llu log records, %u partitions, tables and their state verified\n",
            (unsigned long long)records, m.partitions);
    free(from);
    close(lock);
    return log != OK ? log : e;
}
