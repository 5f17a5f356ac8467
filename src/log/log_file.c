/* log: the file driver. One commit is one pwrite and one fdatasync of all that the lanes queued since the last, into a segment that was filled with zeros
 * and synced before, so that a commit never grows a file. A helper thread makes the next segment ahead.
 * Keeps: a commit never spans two segments; ordinary appends are refused before the room for promised ones is gone. SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "io/io.h"
#include "log/log_in.h"

#define SEGMENT_BYTES (64u << 20)
#define QUEUE_BYTES (16u << 20)
#define RESERVE_BYTES (8u << 20)
#define WASTE_MAX (RECORD_MAX + 4096u) /* what the end of a segment may leave unused */

struct segment {
    uint64_t first_sequence;
    int64_t created_ms;
    uint64_t *before;
};
struct file_log {
    struct log log;
    struct log_options o;           /* dir is our own copy */
    struct lane *lanes;
    uint64_t *next;                 /* by the owner lane: next position */
    uint64_t *written;              /* by the log thread: last position put into a segment */
    pthread_mutex_t lock;           /* everything below, and sleeping */
    pthread_cond_t wake, spare_wake;
    pthread_t thread, spare_thread;
    bool asleep, work, stop, spare_ready, spare_failed;
    struct segment *segments;
    size_t segment_count;
    int fd;
    uint64_t end;                   /* offset in the current segment */
    uint64_t sequence, synced;      /* next to give; last durable */
    _Atomic uint64_t room_now;      /* bytes that can still be placed, the queues not counted */
    struct buf write;
};

static void room_update(struct file_log *f) {
    uint64_t left = f->o.segment_bytes - f->end;
    f->room_now = f->spare_ready ? left + f->o.segment_bytes - SEGMENT_HEADER - WASTE_MAX : left;
}

static void spare_path(struct file_log *f, char *out, size_t n) { snprintf(out, n, "%s/next.tmp", f->o.dir); }

/* Zeros and syncs a new file. Takes long; no lock is held. */
static enum err spare_make(struct file_log *f) {
    struct disk *d = f->o.disk;
    char path[512];
    int fd;
    spare_path(f, path, sizeof path);
    enum err e = d->open(d, path, true, &fd);
    if (e != OK) return e;
    e = d->zero(d, fd, 0, f->o.segment_bytes);
    if (e == OK) e = d->sync(d, fd);
    d->close(d, fd);
    if (e != OK) (void)d->remove(d, path);
    return e;
}

static void *spare_main(void *arg) {
    struct file_log *f = arg;
    pthread_mutex_lock(&f->lock);
    while (!f->stop) {
        if (f->spare_ready) {
            pthread_cond_wait(&f->spare_wake, &f->lock);
            continue;
        }
        pthread_mutex_unlock(&f->lock);
        enum err e = spare_make(f);
        pthread_mutex_lock(&f->lock);
        f->spare_failed = e != OK;
        if (e == OK) {
            f->spare_ready = true;
            room_update(f);
            pthread_cond_broadcast(&f->spare_wake);
        } else {
            struct timespec t;
            clock_gettime(CLOCK_REALTIME, &t);
            t.tv_sec += 1; /* the disk is full: look again soon */
            pthread_cond_timedwait(&f->spare_wake, &f->lock, &t);
        }
    }
    pthread_mutex_unlock(&f->lock);
    return NULL;
}

static void segment_note(struct file_log *f, const struct segment_header *h) {
    f->segments = must_realloc(f->segments, (f->segment_count + 1) * sizeof *f->segments);
    struct segment *s = &f->segments[f->segment_count++];
    s->first_sequence = h->first_sequence;
    s->created_ms = h->created_ms;
    s->before = must_alloc(f->o.partitions * sizeof *s->before);
    memcpy(s->before, h->before, f->o.partitions * sizeof *s->before);
}

/* The spare becomes the current segment. With the lock held; called only when room was promised, or at the start. */
static enum err segment_switch(struct file_log *f) {
    struct disk *d = f->o.disk;
    char from[512], to[512];
    if (!f->o.thread && !f->spare_ready) {
        enum err e = spare_make(f);
        if (e != OK) return e;
        f->spare_ready = true;
    }
    while (!f->spare_ready) pthread_cond_wait(&f->spare_wake, &f->lock);
    spare_path(f, from, sizeof from);
    segment_path(to, sizeof to, f->o.dir, f->sequence);
    struct segment_header h = {.magic = SEGMENT_MAGIC, .version = 1, .partitions = f->o.partitions, .first_sequence = f->sequence,
                               .created_ms = f->o.now_ms(f->o.arg)};
    memcpy(h.before, f->written, f->o.partitions * sizeof *h.before);
    segment_header_seal(&h);
    int fd;
    enum err e = d->open(d, from, false, &fd);
    if (e != OK) return e;
    e = d->pwrite(d, fd, &h, sizeof h, 0);
    if (e == OK) e = d->sync(d, fd);
    if (e == OK) e = d->rename(d, from, to);
    if (e == OK) e = d->sync_dir(d, f->o.dir);
    if (e != OK) {
        d->close(d, fd);
        return e;
    }
    if (f->fd >= 0) d->close(d, f->fd);
    f->fd = fd;
    f->end = SEGMENT_HEADER;
    f->spare_ready = false;
    pthread_cond_broadcast(&f->spare_wake);
    segment_note(f, &h);
    room_update(f);
    return OK;
}

/* ---- commit ---- */
static void flush_write(struct file_log *f) {
    if (!f->write.n) return;
    struct disk *d = f->o.disk;
    if (d->pwrite(d, f->fd, f->write.p, f->write.n, f->end) != OK) f->o.fatal(f->o.arg, "the log cannot be written");
    else if (d->sync(d, f->fd) != OK) f->o.fatal(f->o.arg, "the log cannot be synced");
    f->end += f->write.n;
    f->synced = f->sequence - 1;
    buf_reset(&f->write);
    pthread_mutex_lock(&f->lock);
    room_update(f);
    pthread_mutex_unlock(&f->lock);
}

static void chunk_write(struct file_log *f, struct chunk *c) {
    struct log_record r;
    size_t at = 0;
    while (chunk_next(c, &at, &r)) {
        size_t n = record_bytes(r.data.n);
        if (f->end + f->write.n + n > f->o.segment_bytes) {
            flush_write(f);
            pthread_mutex_lock(&f->lock);
            enum err e = segment_switch(f);
            pthread_mutex_unlock(&f->lock);
            if (e != OK) f->o.fatal(f->o.arg, "the log's next segment cannot be opened");
        }
        buf_reserve(&f->write, n);
        struct record_header h = {.sequence = f->sequence++, .position = r.position, .synced = f->synced, .partition = r.partition};
        record_put(f->write.p + f->write.n, &h, r.data);
        f->write.n += n;
        f->written[r.partition] = r.position;
    }
}

static bool file_commit(struct log *log) {
    struct file_log *f = (struct file_log *)log;
    struct chunk *taken[256];
    bool any = false;
    check(f->o.lanes <= 256);
    for (unsigned i = 0; i < f->o.lanes; i++) {
        taken[i] = lane_take_queue(&f->lanes[i]);
        if (!taken[i]) continue;
        any = true;
        chunk_write(f, taken[i]);
    }
    if (!any) return false;
    flush_write(f);
    for (unsigned i = 0; i < f->o.lanes; i++) {
        if (!taken[i]) continue;
        lane_make_ready(&f->lanes[i], taken[i]);
        if (f->o.wake) f->o.wake(f->o.arg, i);
    }
    if (f->write.cap > (8u << 20)) buf_done(&f->write);
    return true;
}

static void *log_main(void *arg) {
    struct file_log *f = arg;
    for (;;) {
        if (file_commit(&f->log)) continue;
        pthread_mutex_lock(&f->lock);
        while (!f->work && !f->stop) {
            f->asleep = true;
            pthread_cond_wait(&f->wake, &f->lock);
        }
        f->asleep = false;
        bool stop = f->stop && !f->work;
        f->work = false;
        pthread_mutex_unlock(&f->lock);
        if (stop) break;
    }
    while (file_commit(&f->log)) {
    }
    return NULL;
}

/* ---- the lane's side ---- */
static enum err file_append(struct log *log, unsigned lane, uint16_t partition, struct bytes record, bool must) {
    struct file_log *f = (struct file_log *)log;
    struct lane *l = &f->lanes[lane];
    check(record.n <= RECORD_MAX);
    size_t n = record_bytes(record.n);
    if (!must && l->queued_bytes + n > f->o.queue_bytes) return AGAIN;
    uint64_t queued = n, reserve = must ? 0 : f->o.reserve_bytes, room = f->room_now;
    for (unsigned i = 0; i < f->o.lanes; i++) queued += f->lanes[i].queued_bytes;
    if (queued + reserve > room) {
        /* Between two segments the spare may just be in the making: that is not a full disk. */
        return f->spare_failed ? LIMIT : AGAIN;
    }
    lane_append(l, partition, f->next[partition]++, record);
    return OK;
}

static void file_kick(struct log *log, unsigned lane) {
    struct file_log *f = (struct file_log *)log;
    if (!f->lanes[lane].appended || !f->o.thread) return;
    f->lanes[lane].appended = false;
    pthread_mutex_lock(&f->lock);
    f->work = true;
    if (f->asleep) pthread_cond_signal(&f->wake);
    pthread_mutex_unlock(&f->lock);
}

static size_t file_poll(struct log *log, unsigned lane, struct log_record *out, size_t max) {
    return lane_poll(&((struct file_log *)log)->lanes[lane], out, max);
}
static bool file_caught_up(struct log *log, unsigned lane) { return ((struct file_log *)log)->lanes[lane].replay_left == 0; }

static uint64_t file_room(struct log *log) {
    struct file_log *f = (struct file_log *)log;
    uint64_t room = f->room_now;
    return room > f->o.reserve_bytes ? room - f->o.reserve_bytes : 0;
}

static bool may_go(const struct file_log *f, const struct segment *next, const uint64_t *below, int64_t now) {
    if (now - next->created_ms < f->o.retention_ms) return false;
    for (uint16_t p = 0; p < f->o.partitions; p++)
        if (next->before[p] >= below[p]) return false;
    return true;
}

static void file_trim(struct log *log, const uint64_t *below) {
    struct file_log *f = (struct file_log *)log;
    pthread_mutex_lock(&f->lock);
    while (f->segment_count > 1 && may_go(f, &f->segments[1], below, f->o.now_ms(f->o.arg))) {
        char path[512];
        segment_path(path, sizeof path, f->o.dir, f->segments[0].first_sequence);
        if (f->o.disk->remove(f->o.disk, path) != OK) break;
        free(f->segments[0].before);
        memmove(f->segments, f->segments + 1, --f->segment_count * sizeof *f->segments);
    }
    pthread_mutex_unlock(&f->lock);
}

static void file_range(struct log *log, uint16_t partition, uint64_t *out_first, uint64_t *out_last) {
    struct file_log *f = (struct file_log *)log;
    pthread_mutex_lock(&f->lock);
    *out_last = f->written[partition];
    uint64_t before = f->segment_count ? f->segments[0].before[partition] : 0;
    *out_first = *out_last > before ? before + 1 : 0;
    pthread_mutex_unlock(&f->lock);
}

struct reading {
    uint16_t partition;
    uint64_t from, to;
    bool (*fn)(void *, const struct log_record *);
    void *arg;
    bool stop;
};
static bool read_one(void *arg, const struct record_header *h, struct bytes data) {
    struct reading *r = arg;
    if (h->partition != r->partition || h->position < r->from) return true;
    struct log_record lr = {h->partition, h->position, data};
    if (h->position > r->to || !r->fn(r->arg, &lr)) r->stop = true;
    return !r->stop;
}

static enum err file_read(struct log *log, uint16_t partition, uint64_t from, uint64_t to, bool (*fn)(void *, const struct log_record *), void *arg) {
    struct file_log *f = (struct file_log *)log;
    struct reading r = {partition, from, to, fn, arg, false};
    struct buf why = {0};
    enum err e = OK;
    pthread_mutex_lock(&f->lock);
    if (f->segment_count && f->segments[0].before[partition] >= from) e = STALE;
    for (size_t i = 0; i < f->segment_count && e == OK && !r.stop; i++) {
        if (i + 1 < f->segment_count && f->segments[i + 1].before[partition] < from) continue;
        char path[512];
        int fd;
        segment_path(path, sizeof path, f->o.dir, f->segments[i].first_sequence);
        if ((e = f->o.disk->open(f->o.disk, path, false, &fd)) != OK) break;
        struct scan s = {.sequence = f->segments[i].first_sequence};
        e = segment_scan(f->o.disk, fd, &s, read_one, &r, &why);
        f->o.disk->close(f->o.disk, fd);
    }
    pthread_mutex_unlock(&f->lock);
    buf_done(&why);
    return e;
}

static void file_close(struct log *log) {
    struct file_log *f = (struct file_log *)log;
    pthread_mutex_lock(&f->lock);
    f->stop = true;
    pthread_cond_broadcast(&f->wake);
    pthread_cond_broadcast(&f->spare_wake);
    pthread_mutex_unlock(&f->lock);
    if (f->o.thread) {
        pthread_join(f->thread, NULL);
        pthread_join(f->spare_thread, NULL);
    }
    if (f->fd >= 0) f->o.disk->close(f->o.disk, f->fd);
    for (unsigned i = 0; i < f->o.lanes; i++) lane_done(&f->lanes[i]);
    for (size_t i = 0; i < f->segment_count; i++) free(f->segments[i].before);
    buf_done(&f->write);
    free((void *)(uintptr_t)f->o.dir);
    free(f->segments);
    free(f->lanes);
    free(f->next);
    free(f->written);
    free(f);
}
static const struct log_calls FILES = {file_append, file_kick, file_poll, file_caught_up, file_trim, file_room,
                                       file_range, file_read, file_commit, file_close};

/* ---- opening ---- */
struct loading {
    struct file_log *f;
    struct chunk **chunks; /* [lanes] */
    const uint64_t *from;
};

static bool load_one(void *arg, const struct record_header *h, struct bytes data) {
    struct loading *l = arg;
    if (h->partition >= l->f->o.partitions) return true;
    l->f->written[h->partition] = h->position;
    if (h->position < l->from[h->partition]) return true;
    unsigned lane = l->f->o.lane_of(l->f->o.lane_arg, h->partition);
    if (!l->chunks[lane]) l->chunks[lane] = must_alloc(sizeof **l->chunks);
    chunk_add(l->chunks[lane], h->partition, h->position, data);
    return true;
}

/* The last segment before which every partition's records are held by the tables. */
static size_t start_segment(const struct file_log *f, const uint64_t *from) {
    size_t start = 0;
    for (size_t i = 1; i < f->segment_count; i++) {
        for (uint16_t p = 0; p < f->o.partitions; p++)
            if (f->segments[i].before[p] + 1 > from[p]) return start;
        start = i;
    }
    return start;
}

static enum err headers_load(struct file_log *f, struct buf *why) {
    uint64_t *list;
    size_t n;
    enum err e = segments_list(f->o.disk, f->o.dir, &list, &n);
    for (size_t i = 0; i < n && e == OK; i++) {
        char path[512];
        int fd;
        struct segment_header h;
        segment_path(path, sizeof path, f->o.dir, list[i]);
        if ((e = f->o.disk->open(f->o.disk, path, false, &fd)) != OK) break;
        e = segment_header_read(f->o.disk, fd, &h);
        f->o.disk->close(f->o.disk, fd);
        if (e == OK && h.partitions != f->o.partitions) e = CORRUPT;
        if (e == OK) segment_note(f, &h);
        else buf_fmt(why, "log: the header of %s is damaged", path);
    }
    free(list);
    return e;
}

/* What a torn write left behind the end is wiped before anything is written after it. */
static enum err tail_wipe(struct file_log *f, const struct scan *s) {
    enum err e = f->o.disk->zero(f->o.disk, f->fd, s->end, s->end_bytes);
    return e == OK ? f->o.disk->sync(f->o.disk, f->fd) : e;
}

static enum err tail_load(struct file_log *f, struct buf *why) {
    struct loading l = {f, must_alloc(f->o.lanes * sizeof *l.chunks), f->o.from};
    struct disk *d = f->o.disk;
    enum err e = OK;
    size_t i = start_segment(f, f->o.from);
    if (f->segment_count) memcpy(f->written, f->segments[i].before, f->o.partitions * sizeof *f->written);
    for (; i < f->segment_count && e == OK; i++) {
        char path[512];
        struct scan s = {.sequence = f->segments[i].first_sequence};
        bool last = i + 1 == f->segment_count;
        int fd;
        segment_path(path, sizeof path, f->o.dir, f->segments[i].first_sequence);
        if ((e = d->open(d, path, false, &fd)) != OK) break;
        e = segment_scan(d, fd, &s, load_one, &l, why);
        f->sequence = s.sequence;
        if (e == OK && !last && f->segments[i + 1].first_sequence != s.sequence) {
            buf_fmt(why, "log: %s ends at sequence %llu, the next segment begins at %llu", path, (unsigned long long)s.sequence,
                    (unsigned long long)f->segments[i + 1].first_sequence);
            e = CORRUPT;
        }
        if (e == OK && last) {
            f->fd = fd;
            f->end = s.end;
            e = tail_wipe(f, &s);
        } else {
            d->close(d, fd);
        }
    }
    for (unsigned k = 0; k < f->o.lanes; k++)
        if (l.chunks[k]) {
            f->lanes[k].replay_left = l.chunks[k]->count;
            lane_make_ready(&f->lanes[k], l.chunks[k]);
        }
    free(l.chunks);
    return e;
}

static void file_defaults(struct file_log *f) {
    if (!f->o.segment_bytes) f->o.segment_bytes = SEGMENT_BYTES;
    if (!f->o.queue_bytes) f->o.queue_bytes = QUEUE_BYTES;
    if (!f->o.reserve_bytes) f->o.reserve_bytes = RESERVE_BYTES;
}

enum err log_open_file(const struct log_options *o, struct log **out, struct buf *why) {
    check(o->partitions <= SEGMENT_PARTITIONS_MAX);
    struct file_log *f = must_alloc(sizeof *f);
    f->log.calls = &FILES;
    f->o = *o;
    f->o.dir = strdup(o->dir);
    check(f->o.dir);
    file_defaults(f);
    f->fd = -1;
    f->sequence = 1;
    f->lanes = must_alloc(o->lanes * sizeof *f->lanes);
    f->next = must_alloc(o->partitions * sizeof *f->next);
    f->written = must_alloc(o->partitions * sizeof *f->written);
    for (unsigned i = 0; i < o->lanes; i++) lane_init(&f->lanes[i]);
    pthread_mutex_init(&f->lock, NULL);
    pthread_cond_init(&f->wake, NULL);
    pthread_cond_init(&f->spare_wake, NULL);
    f->o.thread = false; /* until it runs */
    enum err e = o->disk->make_dir(o->disk, o->dir);
    if (e == OK) e = headers_load(f, why);
    if (e == OK) e = tail_load(f, why);
    f->synced = f->sequence - 1;
    if (e == OK && f->fd < 0) e = segment_switch(f);
    if (e != OK) {
        if (!why->n) buf_fmt(why, "the log in %s cannot be opened: %s", o->dir, e == LIMIT ? "the disk is full" : err_name(e));
        file_close(&f->log);
        return e;
    }
    for (uint16_t p = 0; p < o->partitions; p++) f->next[p] = f->written[p] + 1;
    room_update(f);
    f->o.thread = o->thread;
    if (o->thread) {
        check(pthread_create(&f->thread, NULL, log_main, f) == 0);
        check(pthread_create(&f->spare_thread, NULL, spare_main, f) == 0);
    }
    *out = &f->log;
    return OK;
}
