/* io: the disk twin: files as two images, one that reads see and one that a crash leaves, with a
 * mark for each sector in which they may differ.
 * Keeps: a sector without a mark is the same after a crash; names behind a synced directory are
 * too. See the face for the faults.
 * SPDX-License-Identifier: Apache-2.0 */
#include "io/disk_twin.h"

#include <stdlib.h>
#include <string.h>

enum { SECTOR = 512, PATH_MAX_BYTES = 128, WRITEBACK_ONE_IN = 8 };

struct file {
    uint8_t *now, *kept; /* both `room` bytes; zeros behind their sizes */
    bool *dirty;         /* one a sector */
    uint64_t size, kept_size, room;
    uint32_t handles;
    bool used;
};
/* A name of a directory has file DIRECTORY. */
enum { DIRECTORY = -1, NOTHING = -2 };
struct name {
    char path[PATH_MAX_BYTES];
    int file;
};
struct names {
    struct name *list;
    size_t n, cap;
};
/* A change of names that a crash may undo. A rename is one change. */
struct change {
    char from[PATH_MAX_BYTES], to[PATH_MAX_BYTES]; /* from empty: made; to empty: removed */
    int file;
};
struct twin {
    struct disk disk;
    struct rng *rng;
    struct file *files;
    size_t file_count;
    int *handles; /* file, or NOTHING */
    size_t handle_count;
    struct names now, kept;
    struct change *changes;
    size_t change_count;
    uint64_t capacity, life;
    bool dying, dead, fail_sync, fail_write, lose_syncs;
    struct disk_twin_counts counts;
};

static struct twin *twin_of(struct disk *d) { return (struct twin *)d; }
static uint64_t least(uint64_t a, uint64_t b) { return a < b ? a : b; }

/* ---- names ---- */
static struct name *name_find(struct names *l, const char *path) {
    for (size_t i = 0; i < l->n; i++)
        if (strcmp(l->list[i].path, path) == 0) return &l->list[i];
    return NULL;
}

static void name_drop(struct names *l, const char *path) {
    struct name *e = name_find(l, path);
    if (!e) return;
    size_t i = (size_t)(e - l->list);
    memmove(e, e + 1, (--l->n - i) * sizeof *e);
}

/* Kept sorted, for list. */
static void name_set(struct names *l, const char *path, int file) {
    name_drop(l, path);
    if (l->n == l->cap) {
        l->cap = l->cap ? 2 * l->cap : 16;
        l->list = must_realloc(l->list, l->cap * sizeof *l->list);
    }
    size_t i = l->n++;
    for (; i > 0 && strcmp(l->list[i - 1].path, path) > 0; i--) l->list[i] = l->list[i - 1];
    strcpy(l->list[i].path, path);
    l->list[i].file = file;
}

static void name_apply(struct names *l, const struct change *c) {
    if (c->from[0]) name_drop(l, c->from);
    if (c->to[0]) name_set(l, c->to, c->file);
}

/* "a/b" -> "a"; "a" -> "." */
static void parent_of(const char *path, char out[PATH_MAX_BYTES]) {
    const char *slash = strrchr(path, '/');
    size_t n = slash ? (size_t)(slash - path) : 0;
    if (!n) {
        strcpy(out, ".");
        return;
    }
    memcpy(out, path, n);
    out[n] = 0;
}

static bool directory_is_there(struct names *l, const char *path) {
    struct name *e = name_find(l, path);
    return strcmp(path, ".") == 0 || (e && e->file == DIRECTORY);
}

static void change_note(struct twin *t, const char *from, const char *to, int file) {
    t->changes = must_realloc(t->changes, (t->change_count + 1) * sizeof *t->changes);
    struct change *c = &t->changes[t->change_count++];
    strcpy(c->from, from);
    strcpy(c->to, to);
    c->file = file;
    name_apply(&t->now, c);
}

/* ---- files ---- */
static void file_done(struct file *f) {
    free(f->now);
    free(f->kept);
    free(f->dirty);
    *f = (struct file){0};
}

static int file_new(struct twin *t) {
    size_t i = 0;
    while (i < t->file_count && t->files[i].used) i++;
    if (i == t->file_count) t->files = must_realloc(t->files, ++t->file_count * sizeof *t->files);
    t->files[i] = (struct file){.used = true};
    return (int)i;
}

static bool file_is_named(const struct twin *t, int file) {
    for (size_t i = 0; i < t->now.n; i++)
        if (t->now.list[i].file == file) return true;
    for (size_t i = 0; i < t->kept.n; i++)
        if (t->kept.list[i].file == file) return true;
    for (size_t i = 0; i < t->change_count; i++)
        if (t->changes[i].file == file) return true;
    return false;
}

static void files_sweep(struct twin *t) {
    for (size_t i = 0; i < t->file_count; i++)
        if (t->files[i].used && !t->files[i].handles && !file_is_named(t, (int)i))
            file_done(&t->files[i]);
}

static uint64_t bytes_used(const struct twin *t) {
    uint64_t n = 0;
    for (size_t i = 0; i < t->file_count; i++) n += t->files[i].size;
    return n;
}

static void file_grow(struct file *f, uint64_t size) {
    if (size > f->room) {
        uint64_t room = f->room ? f->room : 16 * SECTOR;
        while (room < size) room *= 2;
        f->now = must_realloc(f->now, room);
        f->kept = must_realloc(f->kept, room);
        f->dirty = must_realloc(f->dirty, room / SECTOR * sizeof *f->dirty);
        memset(f->now + f->room, 0, room - f->room);
        memset(f->kept + f->room, 0, room - f->room);
        memset(f->dirty + f->room / SECTOR, 0, (room - f->room) / SECTOR * sizeof *f->dirty);
        f->room = room;
    }
    if (size > f->size) f->size = size;
}

/* What the sector is after a crash, or after the kernel wrote it back by itself: the first n bytes
 * are new. */
static void sector_keep(struct file *f, uint64_t s, uint64_t n) {
    memcpy(f->kept + s * SECTOR, f->now + s * SECTOR, n);
    if (n)
        f->kept_size = least(f->size, s * SECTOR + SECTOR) > f->kept_size
                           ? least(f->size, s * SECTOR + SECTOR)
                           : f->kept_size;
}

static void file_write(struct twin *t, struct file *f, const uint8_t *p, uint64_t n, uint64_t at) {
    file_grow(f, at + n);
    for (uint64_t done = 0; done < n;) {
        uint64_t s = (at + done) / SECTOR, part = least(n - done, s * SECTOR + SECTOR - at - done);
        /* An earlier state of the sector may have reached the disk before this one. */
        if (f->dirty[s] && rng_below(t->rng, WRITEBACK_ONE_IN) == 0) sector_keep(f, s, SECTOR);
        if (p) memcpy(f->now + at + done, p + done, part);
        else memset(f->now + at + done, 0, part);
        f->dirty[s] = true;
        done += part;
    }
}

static void file_sync(struct file *f) {
    for (uint64_t s = 0; s < f->room / SECTOR; s++) {
        if (f->dirty[s]) sector_keep(f, s, SECTOR);
        f->dirty[s] = false;
    }
    f->kept_size = f->size;
}

/* NULL: the handle died with a crash. */
static struct file *file_of(struct disk *d, int fd) {
    struct twin *t = twin_of(d);
    check(fd >= 0 && (size_t)fd < t->handle_count);
    return t->handles[fd] == NOTHING ? NULL : &t->files[t->handles[fd]];
}

/* ---- faults ---- */
/* Counts one more call that changes something. False: the power is gone; *edge: it goes during this
 * call. */
static bool alive(struct twin *t, bool *edge) {
    *edge = false;
    if (t->dead) return false;
    if (!t->dying || t->life-- > 0) return true;
    t->dead = *edge = true;
    t->counts.deaths++;
    return true;
}

static enum err write_any(struct disk *d, int fd, const uint8_t *p, uint64_t n, uint64_t at) {
    struct twin *t = twin_of(d);
    struct file *f = file_of(d, fd);
    bool edge;
    if (!f || !alive(t, &edge)) return IO;
    t->counts.writes++;
    if (edge || t->fail_write) {
        if (!edge) t->counts.writes_failed++;
        t->fail_write = false;
        file_write(t, f, p, n ? rng_below(t->rng, n) : 0, at);
        return IO;
    }
    uint64_t free_now = d->free_bytes(d, "."), grows = at + n > f->size ? at + n - f->size : 0;
    if (grows > free_now) {
        t->counts.full++;
        if (f->size + free_now > at) file_write(t, f, p, f->size + free_now - at, at);
        return LIMIT;
    }
    file_write(t, f, p, n, at);
    return OK;
}

/* ---- the calls ---- */
static enum err twin_open(struct disk *d, const char *path, bool create, int *out_fd) {
    struct twin *t = twin_of(d);
    struct name *e = name_find(&t->now, path);
    int file = e ? e->file : NOTHING;
    check(strlen(path) < PATH_MAX_BYTES);
    if (file == DIRECTORY) return IO;
    if (file == NOTHING) {
        char parent[PATH_MAX_BYTES];
        bool edge;
        parent_of(path, parent);
        if (!create || !directory_is_there(&t->now, parent)) return MISSING;
        if (!alive(t, &edge)) return IO;
        file = file_new(t);
        change_note(t, "", path, file);
        if (edge) return IO;
    }
    size_t i = 0;
    while (i < t->handle_count && t->handles[i] != NOTHING) i++;
    if (i == t->handle_count)
        t->handles = must_realloc(t->handles, ++t->handle_count * sizeof *t->handles);
    t->handles[i] = file;
    t->files[file].handles++;
    *out_fd = (int)i;
    return OK;
}

static enum err twin_size(struct disk *d, int fd, uint64_t *out) {
    struct file *f = file_of(d, fd);
    if (!f) return IO;
    *out = f->size;
    return OK;
}

static enum err twin_pread(struct disk *d, int fd, void *p, size_t n, uint64_t at, size_t *out_n) {
    struct file *f = file_of(d, fd);
    if (!f) return IO;
    *out_n = at < f->size ? (size_t)least(n, f->size - at) : 0;
    if (*out_n) memcpy(p, f->now + at, *out_n);
    return OK;
}

static enum err twin_pwrite(struct disk *d, int fd, const void *p, size_t n, uint64_t at) {
    return write_any(d, fd, p, n, at);
}

static enum err twin_zero(struct disk *d, int fd, uint64_t from, uint64_t to) {
    return from < to ? write_any(d, fd, NULL, to - from, from) : OK;
}

static enum err twin_sync(struct disk *d, int fd) {
    struct twin *t = twin_of(d);
    struct file *f = file_of(d, fd);
    bool edge;
    if (!f || !alive(t, &edge)) return IO;
    t->counts.syncs++;
    if (t->lose_syncs && !edge) {
        t->counts.syncs_lost++;
        return OK;
    }
    if (t->fail_sync || edge) {
        for (uint64_t s = 0; s < f->room / SECTOR; s++) {
            if (f->dirty[s] && rng_below(t->rng, 2)) sector_keep(f, s, SECTOR);
            if (t->fail_sync) f->dirty[s] = false;
        }
        if (t->fail_sync) t->counts.syncs_failed++;
        t->fail_sync = false;
        return IO;
    }
    file_sync(f);
    return OK;
}

/* With a journal of names, what is older than a synced change is durable too. */
static enum err twin_sync_dir(struct disk *d, const char *path) {
    struct twin *t = twin_of(d);
    bool edge;
    if (!directory_is_there(&t->now, path)) return MISSING;
    if (!alive(t, &edge) || edge) return IO;
    size_t upto = 0;
    for (size_t i = 0; i < t->change_count; i++) {
        char parent[PATH_MAX_BYTES];
        parent_of(t->changes[i].to[0] ? t->changes[i].to : t->changes[i].from, parent);
        if (strcmp(parent, path) == 0) upto = i + 1;
    }
    for (size_t i = 0; i < upto; i++) name_apply(&t->kept, &t->changes[i]);
    t->change_count -= upto;
    if (t->changes) memmove(t->changes, t->changes + upto, t->change_count * sizeof *t->changes);
    files_sweep(t);
    return OK;
}

static enum err twin_rename(struct disk *d, const char *from, const char *to) {
    struct twin *t = twin_of(d);
    struct name *e = name_find(&t->now, from);
    bool edge;
    check(strlen(to) < PATH_MAX_BYTES);
    if (!e) return MISSING;
    if (!alive(t, &edge)) return IO;
    change_note(t, from, to, e->file);
    return edge ? IO : OK;
}

static enum err twin_remove(struct disk *d, const char *path) {
    struct twin *t = twin_of(d);
    bool edge;
    if (!name_find(&t->now, path)) return OK;
    if (!alive(t, &edge)) return IO;
    change_note(t, path, "", NOTHING);
    return edge ? IO : OK;
}

static enum err twin_list(
    struct disk *d, const char *dir, bool (*fn)(void *, const char *), void *arg) {
    struct twin *t = twin_of(d);
    if (!directory_is_there(&t->now, dir)) return MISSING;
    for (size_t i = 0; i < t->now.n; i++) {
        char parent[PATH_MAX_BYTES];
        const char *path = t->now.list[i].path, *slash = strrchr(path, '/');
        parent_of(path, parent);
        if (strcmp(parent, dir) == 0 && !fn(arg, slash ? slash + 1 : path)) break;
    }
    return OK;
}

static enum err twin_make_dir(struct disk *d, const char *path) {
    struct twin *t = twin_of(d);
    bool edge;
    check(strlen(path) < PATH_MAX_BYTES);
    if (directory_is_there(&t->now, path)) return OK;
    if (!alive(t, &edge)) return IO;
    change_note(t, "", path, DIRECTORY);
    return edge ? IO : OK;
}

static uint64_t twin_free_bytes(struct disk *d, const char *dir) {
    (void)dir;
    uint64_t used = bytes_used(twin_of(d)), all = twin_of(d)->capacity;
    return all > used ? all - used : 0;
}

static void twin_close(struct disk *d, int fd) {
    struct file *f = file_of(d, fd);
    if (!f) return;
    f->handles--;
    twin_of(d)->handles[fd] = NOTHING;
    files_sweep(twin_of(d));
}

/* ---- the face ---- */
struct disk *disk_twin_create(struct rng *rng) {
    struct twin *t = must_alloc(sizeof *t);
    t->disk = (struct disk){twin_open, twin_size, twin_pread, twin_pwrite, twin_zero, twin_sync,
        twin_sync_dir, twin_rename, twin_remove, twin_list, twin_make_dir, twin_free_bytes,
        twin_close};
    t->rng = rng;
    t->capacity = UINT64_MAX;
    return &t->disk;
}

void disk_twin_free(struct disk **d) {
    if (!*d) return;
    struct twin *t = twin_of(*d);
    for (size_t i = 0; i < t->file_count; i++) file_done(&t->files[i]);
    free(t->files);
    free(t->handles);
    free(t->now.list);
    free(t->kept.list);
    free(t->changes);
    free(t);
    *d = NULL;
}

const struct disk_twin_counts *disk_twin_counts(const struct disk *d) {
    return &((const struct twin *)d)->counts;
}
void disk_twin_fail_sync(struct disk *d) { twin_of(d)->fail_sync = true; }
void disk_twin_fail_write(struct disk *d) { twin_of(d)->fail_write = true; }
void disk_twin_lose_syncs(struct disk *d, bool on) { twin_of(d)->lose_syncs = on; }
void disk_twin_capacity(struct disk *d, uint64_t bytes) { twin_of(d)->capacity = bytes; }

void disk_twin_die_after(struct disk *d, uint64_t calls) {
    twin_of(d)->dying = true;
    twin_of(d)->life = calls;
}

bool disk_twin_damage(struct disk *d, const char *path, uint64_t at, uint8_t xor_with) {
    struct name *e = name_find(&twin_of(d)->now, path);
    if (!e || e->file == DIRECTORY || at >= twin_of(d)->files[e->file].size) return false;
    twin_of(d)->files[e->file].now[at] ^= xor_with;
    twin_of(d)->files[e->file].kept[at] ^= xor_with;
    return true;
}

/* `luck` 0: nothing of it was written; 1: all of it; else each sector for itself. */
static void sector_crash(struct twin *t, struct file *f, uint64_t s, uint64_t luck) {
    uint64_t r = luck == 0 ? 0 : luck == 1 ? 1 : rng_below(t->rng, 5);
    if (r >= 3) r -= 3; /* twice as often whole as torn */
    t->counts.sectors_dropped += r == 0;
    t->counts.sectors_kept += r == 1;
    t->counts.sectors_torn += r == 2;
    if (r) sector_keep(f, s, r == 1 ? SECTOR : rng_below(t->rng, SECTOR));
}

static void file_crash(struct twin *t, struct file *f, uint64_t luck) {
    for (uint64_t s = 0; s < f->room / SECTOR; s++) {
        if (f->dirty[s]) sector_crash(t, f, s, luck);
        f->dirty[s] = false;
    }
    if (f->room) memcpy(f->now, f->kept, f->room);
    f->size = f->kept_size;
    f->handles = 0;
}

static void orphans_drop(struct names *l) {
    for (size_t i = 0; i < l->n;) {
        char parent[PATH_MAX_BYTES];
        parent_of(l->list[i].path, parent);
        if (directory_is_there(l, parent)) {
            i++;
            continue;
        }
        name_drop(l, l->list[i].path);
        i = 0;
    }
}

void disk_twin_crash(struct disk *d) {
    struct twin *t = twin_of(d);
    t->counts.crashes++;
    size_t upto = t->change_count ? (size_t)rng_below(t->rng, t->change_count + 1) : 0;
    for (size_t i = 0; i < upto; i++) name_apply(&t->kept, &t->changes[i]);
    t->counts.names_undone += t->change_count - upto;
    t->change_count = 0;
    orphans_drop(&t->kept);
    t->now.n = 0;
    for (size_t i = 0; i < t->kept.n; i++)
        name_set(&t->now, t->kept.list[i].path, t->kept.list[i].file);
    uint64_t luck = rng_below(t->rng, 5);
    for (size_t i = 0; i < t->file_count; i++)
        if (t->files[i].used) file_crash(t, &t->files[i], luck);
    for (size_t i = 0; i < t->handle_count; i++) t->handles[i] = NOTHING;
    t->dying = t->dead = t->fail_sync = t->fail_write = t->lose_syncs = false;
    files_sweep(t);
}
