/* log: the file driver. One commit is one pwrite and one fdatasync of all that the lanes queued
 * since the last, into a segment that was filled with zeros and synced before, so that a commit
 * never grows a file. A helper thread makes the next segment ahead; without threads a commit by
 * hand does.
 * Keeps: a commit never spans two segments; ordinary appends are refused before the room for
 * promised ones is gone; an opening gives nothing to poll before it wrote again and synced all that
 * no later record proves durable. SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "io/io.h"
#include "log/log_in.h"
#include "measure/measure.h"

#define SEGMENT_BYTES (64u << 20)
#define SPARE_STEP (1u << 20) /* of zeros; between two the disk is free for commits */
#define SPARE_REST_NS 4000000
#define SPARE_AHEAD 4 /* times what is filled */
#define QUEUE_BYTES (16u << 20)
#define RESERVE_BYTES (8u << 20)
#define LANES_MAX 256u
#define OPEN_MS_MIN 60000              /* a segment is not closed for its age before that */
#define WASTE_MAX (RECORD_MAX + 4096u) /* what the end of a segment may leave unused */

struct segment {
    uint64_t first_sequence;
    int64_t created_ms;
    uint32_t crc, run; /* of its header */
    uint64_t *before;
};
struct file_log {
    struct log log;
    struct log_options o; /* dir is our own copy */
    struct lane *lanes;
    uint64_t *next;       /* by the owner lane, atomically: next position */
    uint64_t *written;    /* by the log thread: last position put into a segment */
    uint64_t *durable;    /* with the lock, atomically: last position synced */
    pthread_mutex_t lock; /* everything below, and sleeping */
    pthread_cond_t wake, spare_wake;
    pthread_t thread, spare_thread;
    bool asleep, work, stop, spare_stop, spare_ready;
    bool close_segment; /* trim asks for the next one */
    _Atomic bool spare_failed;
    bool dead; /* fatal came back: a simulated node that is no more */
    struct segment *segments;
    size_t segment_count;
    unsigned keeping; /* who copies: nothing is trimmed */
    int fd;
    /* of the current segment: where the next record goes; its bytes */
    uint64_t end, size;
    _Atomic int tid; /* of the thread */
    _Atomic uint64_t disk_bytes;
    uint64_t sequence, synced; /* next to give; last durable */
    uint32_t run, seed;        /* of this opening; the header's crc of the current segment */
    /* bytes that can still be placed, neither the queues nor `taken` counted */
    _Atomic uint64_t room_now;
    _Atomic uint64_t taken; /* bytes of the commit under way */
    struct buf write;
    int64_t sync_ns; /* of the commit under way, and its bytes: for who observes */
    uint64_t written_bytes;
};

/* What the end of a segment leaves unused is at most one record; small segments, for tests, have
 * small records. */
static void room_update(struct file_log *f) {
    uint64_t left = f->size > f->end ? f->size - f->end : 0,
             whole = f->o.segment_bytes - SEGMENT_HEADER;
    f->room_now =
        f->spare_ready ? left + whole - (WASTE_MAX < whole / 2 ? WASTE_MAX : whole / 2) : left;
}

static void die(struct file_log *f, const char *what) {
    f->dead = true;
    f->o.fatal(f->o.arg, what);
}

static void spare_path(struct file_log *f, char *out, size_t n) {
    snprintf(out, n, "%s/next.tmp", f->o.dir);
}

/* One that an earlier opening left has all its zeros if it has its size: the switch writes its
 * header anew, and nothing else before it has its name. */
static bool spare_left(struct file_log *f, const char *path) {
    struct disk *d = f->o.disk;
    uint64_t size = 0;
    int fd;
    if (d->open(d, path, false, &fd) != OK) return false;
    bool whole = d->size(d, fd, &size) == OK && size == f->o.segment_bytes && d->sync(d, fd) == OK;
    d->close(d, fd);
    return whole;
}

/* Between two steps, as long as the zeros are far ahead of what fills the current segment: all at once would
 * stand in the way of commits, on the disk and on a core; too late, and appends are refused. */
static void spare_rest(struct file_log *f, uint64_t done) {
    if (!f->o.thread) return;
    pthread_mutex_lock(&f->lock);
    bool hurry = !f->size || f->spare_stop || done <= SPARE_AHEAD * f->end;
    pthread_mutex_unlock(&f->lock);
    if (!hurry) nanosleep(&(struct timespec){.tv_nsec = SPARE_REST_NS}, NULL);
}

static enum err spare_zero(struct file_log *f, int fd) {
    enum err e = OK;
    uint64_t to;
    for (uint64_t at = 0; at < f->o.segment_bytes && e == OK; at = to) {
        to = f->o.segment_bytes - at < SPARE_STEP ? f->o.segment_bytes : at + SPARE_STEP;
        e = f->o.disk->zero(f->o.disk, fd, at, to);
        spare_rest(f, to);
    }
    return e;
}

/* Zeros and syncs a new file. Takes long; no lock is held. */
static enum err spare_make(struct file_log *f) {
    struct disk *d = f->o.disk;
    char path[512];
    int fd;
    spare_path(f, path, sizeof path);
    if (spare_left(f, path)) return OK;
    enum err e = d->remove(d, path); /* one of another size may be left from before */
    if (e == OK && d->free_bytes(d, f->o.dir) < f->o.segment_bytes) return LIMIT;
    if (e == OK) e = d->open(d, path, true, &fd);
    if (e != OK) return e;
    e = spare_zero(f, fd);
    if (e == OK) e = d->sync(d, fd);
    d->close(d, fd);
    if (e != OK) (void)d->remove(d, path);
    return e;
}

static void *spare_main(void *arg) {
    struct file_log *f = arg;
    pthread_setname_np(pthread_self(), "log-spare");
    pthread_mutex_lock(&f->lock);
    while (!f->spare_stop) {
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
        } else if (!f->spare_stop) {
            struct timespec t;
            clock_gettime(CLOCK_REALTIME, &t);
            t.tv_sec += 1; /* the disk is full: look again soon */
            pthread_cond_timedwait(&f->spare_wake, &f->lock, &t);
        }
    }
    pthread_mutex_unlock(&f->lock);
    return NULL;
}

static enum err spare_by_hand(struct file_log *f) {
    if (f->o.thread || f->spare_ready) return OK;
    enum err e = spare_make(f);
    f->spare_ready = e == OK;
    f->spare_failed = e != OK;
    room_update(f);
    return e;
}

static void segment_note(struct file_log *f, const struct segment_header *h) {
    f->segments = must_realloc(f->segments, (f->segment_count + 1) * sizeof *f->segments);
    struct segment *s = &f->segments[f->segment_count++];
    s->first_sequence = h->first_sequence;
    s->created_ms = h->created_ms;
    s->crc = h->crc;
    s->run = h->run;
    s->before = must_alloc(f->o.partitions * sizeof *s->before);
    memcpy(s->before, h->before, f->o.partitions * sizeof *s->before);
}

/* The spare becomes the current segment. With the lock held; called only when room was promised, or
 * at the start. */
static enum err segment_switch(struct file_log *f) {
    struct disk *d = f->o.disk;
    char from[512], to[512];
    enum err e = spare_by_hand(f);
    if (e != OK) return e;
    while (!f->spare_ready) pthread_cond_wait(&f->spare_wake, &f->lock);
    spare_path(f, from, sizeof from);
    segment_path(to, sizeof to, f->o.dir, f->sequence);
    struct segment_header h = {.magic = SEGMENT_MAGIC,
        .version = 1,
        .partitions = f->o.partitions,
        .first_sequence = f->sequence,
        .created_ms = f->o.now_ms(f->o.arg),
        .run = f->run};
    memcpy(h.before, f->written, f->o.partitions * sizeof *h.before);
    segment_header_seal(&h);
    int fd;
    if ((e = d->open(d, from, false, &fd)) != OK) return e;
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
    f->size = f->o.segment_bytes;
    f->seed = h.crc;
    f->spare_ready = false;
    pthread_cond_broadcast(&f->spare_wake);
    segment_note(f, &h);
    room_update(f);
    return OK;
}

/* ---- commit ---- */
static int64_t mono(const struct file_log *f) { return f->o.mono_ns ? f->o.mono_ns() : 0; }

static enum err write_and_sync(struct file_log *f) {
    struct disk *d = f->o.disk;
    /* of the commit before this one */
    enum err e = f->o.planted == BUG_ACK_BEFORE_SYNC ? d->sync(d, f->fd) : OK;
    if (e == OK) e = d->pwrite(d, f->fd, f->write.p, f->write.n, f->end);
    if (e == OK && f->o.planted != BUG_ACK_BEFORE_SYNC) {
        int64_t began = mono(f);
        e = d->sync(d, f->fd);
        f->sync_ns += mono(f) - began;
        if (f->o.planted == BUG_FSYNC_ERROR_IGNORED) e = OK;
    }
    return e;
}

static void flush_write(struct file_log *f) {
    if (!f->write.n || f->dead) return;
    if (write_and_sync(f) != OK) {
        die(f, "the log cannot be written and synced");
        return;
    }
    f->synced = f->sequence - 1;
    f->written_bytes += f->write.n;
    locked(&f->lock, LOCK_LOG);
    f->end += f->write.n; /* the spare's thread reads it */
    buf_reset(&f->write);
    for (uint16_t p = 0; p < f->o.partitions; p++)
        __atomic_store_n(&f->durable[p], f->written[p], __ATOMIC_RELAXED);
    room_update(f);
    pthread_mutex_unlock(&f->lock);
}

static void switch_or_die(struct file_log *f) {
    flush_write(f);
    if (f->dead) return;
    locked(&f->lock, LOCK_LOG);
    enum err e = segment_switch(f);
    pthread_mutex_unlock(&f->lock);
    if (e != OK) die(f, "the log's next segment cannot be opened");
}

/* A commit may have taken the spare since trim asked. */
static bool close_wanted(struct file_log *f) {
    locked(&f->lock, LOCK_LOG);
    bool wanted = f->close_segment && f->spare_ready && f->end > SEGMENT_HEADER;
    f->close_segment = false;
    pthread_mutex_unlock(&f->lock);
    return wanted;
}

static void chunk_write(struct file_log *f, struct chunk *c) {
    struct log_record r;
    size_t at = 0;
    while (chunk_next(c, &at, &r)) {
        size_t n = record_bytes(r.data.n);
        if (f->end + f->write.n + n > f->size) switch_or_die(f);
        if (f->dead) return;
        buf_reserve(&f->write, n);
        struct record_header h = {.sequence = f->sequence++,
            .position = r.position,
            .synced = f->synced,
            .partition = r.partition,
            .run = f->run};
        record_put(f->write.p + f->write.n, f->seed, &h, r.data);
        f->write.n += n;
        f->written[r.partition] = r.position;
    }
}

static void commit_begin(struct file_log *f, struct log_commit *c) {
    f->sync_ns = 0;
    f->written_bytes = 0;
    c->began_ns = mono(f);
}
static void commit_end(const struct file_log *f, struct log_commit *c) {
    c->ended_ns = mono(f);
    c->sync_ns = f->sync_ns;
    c->bytes = f->written_bytes;
}

static bool file_commit(struct log *log) {
    struct file_log *f = (struct file_log *)log;
    struct chunk *taken[LANES_MAX];
    bool any = false;
    struct log_commit c = {0};
    if (f->dead) return false;
    (void)spare_by_hand(f); /* if it fails the room says so */
    if (close_wanted(f)) switch_or_die(f);
    if (f->dead) return false;
    for (unsigned i = 0; i < f->o.lanes; i++) {
        taken[i] = lane_take_queue(&f->lanes[i], &f->taken);
        if (!taken[i]) continue;
        if (!any) commit_begin(f, &c);
        any = true;
        chunk_write(f, taken[i]);
    }
    if (!any) return false;
    flush_write(f);
    commit_end(f, &c);
    f->taken = 0;
    for (unsigned i = 0; i < f->o.lanes; i++) {
        if (!taken[i]) continue;
        if (f->dead) chunk_free(taken[i]);
        else lane_make_ready(&f->lanes[i], taken[i], c.ended_ns);
        if (f->o.wake && !f->dead) f->o.wake(f->o.arg, i);
    }
    if (f->o.observed && !f->dead) f->o.observed(f->o.arg, &c);
    if (f->write.cap > (8u << 20)) buf_done(&f->write);
    return !f->dead;
}

static void *log_main(void *arg) {
    struct file_log *f = arg;
    f->tid = (int)gettid();
    pthread_setname_np(pthread_self(), "log");
    for (;;) {
        if (file_commit(&f->log)) continue;
        locked(&f->lock, LOCK_LOG);
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
/* Read before room_now: a commit lowers the room before it gives up `taken`, so that what is
 * promised twice is never seen as free. */
static uint64_t queued_bytes(const struct file_log *f) {
    uint64_t n = 0;
    for (unsigned i = 0; i < f->o.lanes; i++) n += f->lanes[i].queued_bytes;
    return n + f->taken;
}

static enum err file_append(struct log *log, unsigned lane, uint16_t partition, struct bytes record,
    bool must, uint64_t *out_position) {
    struct file_log *f = (struct file_log *)log;
    struct lane *l = &f->lanes[lane];
    size_t n = record_bytes(record.n);
    check(record.n <= RECORD_MAX && n <= f->o.segment_bytes - SEGMENT_HEADER);
    if (!must && l->queued_bytes + n > f->o.queue_bytes) return AGAIN;
    if (queued_bytes(f) + n + (must ? 0 : f->o.reserve_bytes) > f->room_now) {
        /* Between two segments the spare may just be in the making: that is not a full disk. */
        return f->spare_failed ? LIMIT : AGAIN;
    }
    uint64_t position = f->next[partition]; /* others look at it */
    __atomic_store_n(&f->next[partition], position + 1, __ATOMIC_RELAXED);
    if (out_position) *out_position = position;
    lane_append(l, partition, position, record);
    return OK;
}

static void file_kick(struct log *log, unsigned lane) {
    struct file_log *f = (struct file_log *)log;
    if (!f->lanes[lane].appended || !f->o.thread) return;
    f->lanes[lane].appended = false;
    locked(&f->lock, LOCK_LOG);
    f->work = true;
    if (f->asleep) pthread_cond_signal(&f->wake);
    pthread_mutex_unlock(&f->lock);
}

static size_t file_poll(struct log *log, unsigned lane, struct log_record *out, size_t max) {
    return lane_poll(&((struct file_log *)log)->lanes[lane], out, max);
}
static bool file_caught_up(struct log *log, unsigned lane) {
    return ((struct file_log *)log)->lanes[lane].replay_left == 0;
}

static uint64_t file_room(struct log *log) {
    struct file_log *f = (struct file_log *)log;
    uint64_t gone = queued_bytes(f) + f->o.reserve_bytes, room = f->room_now;
    return room > gone ? room - gone : 0;
}

static bool may_go(
    const struct file_log *f, const struct segment *next, const uint64_t *below, int64_t now) {
    if (now - next->created_ms < f->o.retention_ms) return false;
    for (uint16_t p = 0; p < f->o.partitions; p++)
        if (next->before[p] >= below[p]) return false;
    return true;
}

/* A quiet log would keep what was erased for as long as its last segment is not full. */
static void close_old(struct file_log *f, int64_t now) {
    int64_t most = f->o.retention_ms / 8 > OPEN_MS_MIN ? f->o.retention_ms / 8 : OPEN_MS_MIN;
    if (!f->spare_ready || f->end == SEGMENT_HEADER ||
        now - f->segments[f->segment_count - 1].created_ms < most)
        return;
    f->close_segment = f->work = true;
    pthread_cond_signal(&f->wake);
}

static void file_trim(struct log *log, const uint64_t *below) {
    struct file_log *f = (struct file_log *)log;
    pthread_mutex_lock(&f->lock);
    close_old(f, f->o.now_ms(f->o.arg));
    while (!f->keeping && f->segment_count > 1 &&
           may_go(f, &f->segments[1], below, f->o.now_ms(f->o.arg))) {
        char path[512];
        segment_path(path, sizeof path, f->o.dir, f->segments[0].first_sequence);
        if (f->o.disk->remove(f->o.disk, path) != OK) break;
        free(f->segments[0].before);
        memmove(f->segments, f->segments + 1, --f->segment_count * sizeof *f->segments);
    }
    pthread_mutex_unlock(&f->lock);
}

static void file_range(
    struct log *log, uint16_t partition, uint64_t *out_first, uint64_t *out_last) {
    struct file_log *f = (struct file_log *)log;
    pthread_mutex_lock(&f->lock);
    *out_last = f->durable[partition];
    uint64_t before = f->segment_count ? f->segments[0].before[partition] : 0;
    *out_first = *out_last > before ? before + 1 : 0;
    pthread_mutex_unlock(&f->lock);
}

static void file_look(
    struct log *log, uint64_t *first, uint64_t *appended, uint64_t *durable, struct log_look *out) {
    struct file_log *f = (struct file_log *)log;
    for (uint16_t p = 0; p < f->o.partitions; p++) {
        durable[p] = __atomic_load_n(&f->durable[p], __ATOMIC_RELAXED);
        appended[p] = __atomic_load_n(&f->next[p], __ATOMIC_RELAXED) - 1;
    }
    if (pthread_mutex_trylock(&f->lock) == 0) { /* a new segment is opened with it held */
        for (uint16_t p = 0; p < f->o.partitions; p++) {
            uint64_t before = f->segment_count ? f->segments[0].before[p] : 0;
            first[p] = f->durable[p] > before ? before + 1 : 0;
        }
        f->disk_bytes = (f->segment_count + f->spare_ready) * f->o.segment_bytes;
        pthread_mutex_unlock(&f->lock);
    }
    *out = (struct log_look){queued_bytes(f), f->disk_bytes, f->tid};
}

struct reading {
    uint64_t from, to;
    uint16_t partition;
    bool (*fn)(void *, const struct log_record *);
    void *arg;
    bool done;
};
static bool read_one(void *arg, const struct record_header *h, struct bytes data) {
    struct reading *r = arg;
    if (h->flags & RECORD_OPENED || h->partition != r->partition || h->position < r->from)
        return true;
    struct log_record lr = {.partition = h->partition, .position = h->position, .data = data};
    r->done = !r->fn(r->arg, &lr) || h->position >= r->to;
    return !r->done;
}

/* The i-th segment, if the range may have records in it; OK with sequence 0 when it has none. A
 * trim may take segments away between two calls. */
static enum err reading_next(
    struct file_log *f, struct reading *r, uint64_t after, struct scan *out) {
    enum err e = OK;
    pthread_mutex_lock(&f->lock);
    if (r->to > f->durable[r->partition]) r->to = f->durable[r->partition];
    size_t i = 0;
    while (i < f->segment_count && f->segments[i].first_sequence <= after) i++;
    while (!after && i + 1 < f->segment_count && f->segments[i + 1].before[r->partition] < r->from)
        i++;
    if (f->segments[0].before[r->partition] >= r->from) e = STALE;
    else if (r->from <= r->to && i < f->segment_count)
        *out = (struct scan){.seed = f->segments[i].crc,
            .run = f->segments[i].run,
            .sequence = f->segments[i].first_sequence,
            .until = i + 1 < f->segment_count ? f->segments[i + 1].first_sequence : 0};
    pthread_mutex_unlock(&f->lock);
    return e;
}

/* No lock is held while reading: a commit must not wait. What is not yet durable is not looked at.
 * */
static enum err file_read(struct log *log, uint16_t partition, uint64_t from, uint64_t to,
    bool (*fn)(void *, const struct log_record *), void *arg) {
    struct file_log *f = (struct file_log *)log;
    struct reading r = {from ? from : 1, to, partition, fn, arg, false};
    struct buf why = {0};
    enum err e = OK;
    for (uint64_t after = 0; e == OK && !r.done;) {
        struct scan s = {0};
        char path[512];
        int fd;
        if ((e = reading_next(f, &r, after, &s)) != OK || !s.sequence) break;
        segment_path(path, sizeof path, f->o.dir, after = s.sequence);
        if ((e = f->o.disk->open(f->o.disk, path, false, &fd)) == OK) {
            e = segment_scan(f->o.disk, fd, &s, read_one, &r, &why);
            f->o.disk->close(f->o.disk, fd);
        }
        if (e == MISSING) e = STALE;
        /* the range is durable, and it is not all there */
        if (e == OK && !s.until && !s.stopped) e = CORRUPT;
    }
    buf_done(&why);
    return e;
}

static void file_keep(struct log *log, bool on) {
    struct file_log *f = (struct file_log *)log;
    pthread_mutex_lock(&f->lock);
    f->keeping += on ? 1u : -1u;
    pthread_mutex_unlock(&f->lock);
}

/* The current segment goes on being written: only what is durable now is copied. Else a commit
 * between two reads would leave a hole before good records. */
static enum err file_copy(struct log *log, const char *to, struct buf *why) {
    struct file_log *f = (struct file_log *)log;
    struct disk *d = f->o.disk;
    char a[512], b[512];
    pthread_mutex_lock(&f->lock);
    size_t n = f->segment_count;
    uint64_t end = f->end, *list = must_alloc(n * sizeof *list);
    for (size_t i = 0; i < n; i++) list[i] = f->segments[i].first_sequence;
    pthread_mutex_unlock(&f->lock);
    enum err e = d->make_dir(d, to);
    for (size_t i = 0; i < n && e == OK; i++) {
        segment_path(a, sizeof a, f->o.dir, list[i]);
        segment_path(b, sizeof b, to, list[i]);
        e = segment_copy(d, a, b, i + 1 < n ? UINT64_MAX : end);
    }
    if (e == OK) e = d->sync_dir(d, to);
    if (e != OK)
        buf_fmt(why, "the log cannot be copied to %s: %s", to,
            e == LIMIT ? "the disk is full" : err_name(e));
    free(list);
    return e;
}

static void file_close(struct log *log) {
    struct file_log *f = (struct file_log *)log;
    pthread_mutex_lock(&f->lock);
    f->stop = true;
    pthread_cond_broadcast(&f->wake);
    pthread_mutex_unlock(&f->lock);
    if (f->o.thread) pthread_join(f->thread, NULL);
    pthread_mutex_lock(&f->lock);
    f->spare_stop = true; /* only now: the last commit may have needed the spare */
    pthread_cond_broadcast(&f->spare_wake);
    pthread_mutex_unlock(&f->lock);
    if (f->o.thread) pthread_join(f->spare_thread, NULL);
    if (f->fd >= 0) f->o.disk->close(f->o.disk, f->fd);
    for (unsigned i = 0; i < f->o.lanes; i++) lane_done(&f->lanes[i]);
    for (size_t i = 0; i < f->segment_count; i++) free(f->segments[i].before);
    buf_done(&f->write);
    free((void *)(uintptr_t)f->o.dir);
    free(f->segments);
    free(f->lanes);
    free(f->next);
    free(f->written);
    free(f->durable);
    pthread_mutex_destroy(&f->lock);
    pthread_cond_destroy(&f->wake);
    pthread_cond_destroy(&f->spare_wake);
    free(f);
}
static const struct log_calls FILES = {file_append, file_kick, file_poll, file_caught_up, file_trim,
    file_room, file_range, file_look, file_read, file_keep, file_copy, file_commit, file_close};

/* ---- opening ---- */
struct loading {
    struct file_log *f;
    struct chunk **chunks; /* [lanes] */
    struct buf *why;
};

static bool load_one(void *arg, const struct record_header *h, struct bytes data) {
    struct loading *l = arg;
    struct file_log *f = l->f;
    if (h->flags & RECORD_OPENED) return true;
    if (h->partition >= f->o.partitions || h->position != f->written[h->partition] + 1) {
        buf_fmt(l->why, "log: partition %u: position %llu stands where another belongs",
            h->partition, (unsigned long long)h->position);
        return false;
    }
    f->written[h->partition] = h->position;
    if (h->position < f->o.from[h->partition]) return true;
    unsigned lane = f->o.lane_of(f->o.lane_arg, h->partition);
    if (!l->chunks[lane]) l->chunks[lane] = must_alloc(sizeof **l->chunks);
    chunk_add(l->chunks[lane], h->partition, h->position, data);
    return true;
}

/* The last segment before which every partition's records are held by the tables. */
static size_t start_segment(const struct file_log *f) {
    size_t start = 0;
    for (size_t i = 1; i < f->segment_count; i++) {
        for (uint16_t p = 0; p < f->o.partitions; p++)
            if (f->segments[i].before[p] + 1 > f->o.from[p]) return start;
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
        if (e == OK && (h.partitions != f->o.partitions || h.first_sequence != list[i]))
            e = CORRUPT;
        if (e == OK) segment_note(f, &h);
        else if (e == STALE)
            buf_fmt(why, "log: %s is of a format that this program does not read", path);
        else buf_fmt(why, "log: the header of %s is damaged", path);
    }
    free(list);
    return e;
}

/* What reads back need not be on the disk: after a sync that failed the kernel takes its pages for
 * clean. So the records that no later one proves durable are written once more, what a torn write
 * left behind them is wiped, and then a sync says the truth. */
static enum err tail_prove(struct file_log *f, const struct scan *s) {
    struct disk *d = f->o.disk;
    size_t n = (size_t)(s->end - s->proven), got = 0;
    uint8_t *p = must_alloc(n + 1);
    enum err e = d->pread(d, f->fd, p, n, s->proven, &got);
    if (e == OK && got != n) e = IO;
    if (e == OK && n) e = d->pwrite(d, f->fd, p, n, s->proven);
    if (e == OK) e = d->zero(d, f->fd, s->end, s->used);
    if (e == OK) e = d->sync(d, f->fd);
    free(p);
    return e;
}

/* The opening record makes the run known before anything of it is written. Where it has no room
 * nothing has; the next segment's header carries the run. */
static enum err run_begin(struct file_log *f) {
    struct disk *d = f->o.disk;
    uint8_t p[RECORD_HEADER];
    if (f->end + RECORD_HEADER > f->size) return OK;
    struct record_header h = {
        .sequence = f->sequence, .synced = f->sequence - 1, .flags = RECORD_OPENED, .run = f->run};
    record_put(p, f->seed, &h, (struct bytes){0});
    enum err e = d->pwrite(d, f->fd, p, RECORD_HEADER, f->end);
    if (e == OK) e = d->sync(d, f->fd);
    f->sequence++;
    f->end += RECORD_HEADER;
    return e;
}

static enum err last_take(struct file_log *f, const struct scan *s) {
    enum err e = f->o.disk->size(f->o.disk, f->fd, &f->size);
    f->end = s->end;
    f->seed = s->seed;
    f->run = s->run + 1;
    if (e == OK) e = tail_prove(f, s);
    return e == OK ? run_begin(f) : e;
}

/* The last one stays open as the current segment. */
static enum err segment_load(struct file_log *f, size_t i, struct loading *l) {
    struct disk *d = f->o.disk;
    const struct segment *g = &f->segments[i];
    bool last = i + 1 == f->segment_count;
    struct scan s = {.seed = g->crc,
        .run = g->run,
        .sequence = g->first_sequence,
        .until = last ? 0 : f->segments[i + 1].first_sequence,
        .trusting = last && f->o.planted == BUG_TORN_TAIL_ACCEPTED};
    char path[512];
    int fd;
    segment_path(path, sizeof path, f->o.dir, g->first_sequence);
    enum err e = d->open(d, path, false, &fd);
    if (e != OK) return e;
    e = segment_scan(d, fd, &s, load_one, l, l->why);
    if (e == OK && s.stopped) e = CORRUPT;
    f->sequence = s.sequence;
    if (e == OK && last) {
        f->fd = fd;
        return last_take(f, &s);
    }
    d->close(d, fd);
    return e;
}

static enum err tail_load(struct file_log *f, struct buf *why) {
    struct loading l = {f, must_alloc(f->o.lanes * sizeof *l.chunks), why};
    size_t i = start_segment(f);
    enum err e = OK;
    if (f->segment_count)
        memcpy(f->written, f->segments[i].before, f->o.partitions * sizeof *f->written);
    if (f->segment_count) e = span_check(f->o.partitions, f->o.from, f->written, NULL, why);
    for (; i < f->segment_count && e == OK; i++) e = segment_load(f, i, &l);
    for (unsigned k = 0; k < f->o.lanes; k++)
        if (l.chunks[k]) {
            f->lanes[k].replay_left = l.chunks[k]->count;
            lane_make_ready(&f->lanes[k], l.chunks[k], 0);
        }
    free(l.chunks);
    if (e == OK) e = span_check(f->o.partitions, f->o.from, NULL, f->written, why);
    return e;
}

static void file_defaults(struct file_log *f) {
    if (!f->o.segment_bytes) f->o.segment_bytes = SEGMENT_BYTES;
    if (!f->o.queue_bytes) f->o.queue_bytes = QUEUE_BYTES;
    if (!f->o.reserve_bytes)
        f->o.reserve_bytes =
            f->o.segment_bytes / 8 < RESERVE_BYTES ? f->o.segment_bytes / 8 : RESERVE_BYTES;
    check(f->o.partitions <= SEGMENT_PARTITIONS_MAX && f->o.lanes <= LANES_MAX &&
          f->o.segment_bytes >= 4 * SEGMENT_HEADER);
}

static struct file_log *file_new(const struct log_options *o) {
    struct file_log *f = must_alloc(sizeof *f);
    f->log.calls = &FILES;
    f->o = *o;
    f->o.dir = strdup(o->dir);
    check(f->o.dir);
    f->o.thread = false; /* until it runs */
    file_defaults(f);
    f->fd = -1;
    f->sequence = 1;
    f->lanes = must_alloc(o->lanes * sizeof *f->lanes);
    f->next = must_alloc(o->partitions * sizeof *f->next);
    f->written = must_alloc(o->partitions * sizeof *f->written);
    f->durable = must_alloc(o->partitions * sizeof *f->durable);
    for (unsigned i = 0; i < o->lanes; i++) lane_init(&f->lanes[i]);
    pthread_mutex_init(&f->lock, NULL);
    pthread_cond_init(&f->wake, NULL);
    pthread_cond_init(&f->spare_wake, NULL);
    return f;
}

/* Names too may be only in memory: the folder's own, and a segment's whose maker died before its
 * folder was synced. */
static enum err folder_open(struct file_log *f) {
    struct disk *d = f->o.disk;
    char parent[512];
    snprintf(parent, sizeof parent, "%s", f->o.dir);
    char *slash = strrchr(parent, '/');
    if (slash) slash[slash == parent] = 0;
    enum err e = d->make_dir(d, f->o.dir);
    if (e == OK) e = d->sync_dir(d, slash ? parent : ".");
    return e == OK ? d->sync_dir(d, f->o.dir) : e;
}

enum err log_open_file(const struct log_options *o, struct log **out, struct buf *why) {
    struct file_log *f = file_new(o);
    enum err e = folder_open(f);
    if (e == OK) e = headers_load(f, why);
    if (e == OK) e = tail_load(f, why);
    if (e == OK && f->fd < 0) {
        f->run = 1;
        e = segment_switch(f);
    }
    if (e != OK) {
        if (!why->n)
            buf_fmt(why, "the log in %s cannot be opened: %s", o->dir,
                e == LIMIT ? "the disk is full" : err_name(e));
        file_close(&f->log);
        return e;
    }
    f->o.from = NULL; /* was the caller's */
    f->synced = f->sequence - 1;
    for (uint16_t p = 0; p < o->partitions; p++) f->next[p] = f->written[p] + 1;
    memcpy(f->durable, f->written, o->partitions * sizeof *f->durable);
    room_update(f);
    if (!o->thread) (void)spare_by_hand(f);
    f->o.thread = o->thread;
    if (o->thread) {
        check(pthread_create(&f->thread, NULL, log_main, f) == 0);
        check(pthread_create(&f->spare_thread, NULL, spare_main, f) == 0);
    }
    *out = &f->log;
    return OK;
}
