/* log: segments on disk: their header, their records, and reading them with distrust. See
 * docs/format/log.md for the drawing.
 *
 * A crash may tear the last write: records of it may be there, in part, in any order. None was
 * durable, so the first bad record ends the log. It is corruption, and not a torn tail, when a
 * later good record says (`synced`) that the bad one had been durable.
 * SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "io/io.h"
#include "log/log_in.h"

void segment_path(char *out, size_t n, const char *dir, uint64_t first_sequence) {
    snprintf(out, n, "%s/%016llx.seg", dir, (unsigned long long)first_sequence);
}

static uint32_t header_crc(const struct segment_header *h) {
    struct segment_header copy = *h;
    copy.crc = 0;
    return crc32c(0, bytes_of(&copy, sizeof copy));
}
void segment_header_seal(struct segment_header *h) { h->crc = header_crc(h); }

enum err segment_header_read(struct disk *d, int fd, struct segment_header *h) {
    size_t n;
    enum err e = d->pread(d, fd, h, sizeof *h, 0, &n);
    if (e != OK) return e;
    if (n != sizeof *h || h->magic != SEGMENT_MAGIC || h->crc != header_crc(h)) return CORRUPT;
    return h->version == 1 ? OK : STALE;
}

size_t record_bytes(size_t length) { return (RECORD_HEADER + length + 7) & ~(size_t)7; }

static uint32_t record_crc(uint32_t seed, const struct record_header *h, struct bytes data) {
    return crc32c(crc32c(seed, bytes_of((const uint8_t *)h + 4, RECORD_HEADER - 4)), data);
}

void record_put(uint8_t *at, uint32_t seed, const struct record_header *h, struct bytes data) {
    struct record_header copy = *h;
    copy.length = (uint32_t)data.n;
    copy.crc = record_crc(seed, &copy, data);
    memcpy(at, &copy, RECORD_HEADER);
    if (data.n) memcpy(at + RECORD_HEADER, data.p, data.n);
    memset(at + RECORD_HEADER + data.n, 0, record_bytes(data.n) - RECORD_HEADER - data.n);
}

/* ---- a window on the file: what a scan needs of it, read in steps ---- */
enum { READ_STEP = 512 * 1024 };
struct window {
    struct disk *d;
    int fd;
    uint64_t size, base; /* of the file; where p begins in it */
    uint8_t *p;
    size_t n, cap;
    enum err err;
};

/* n bytes at `at`, valid until the next call; NULL when the file ends before or cannot be read. */
static const uint8_t *window_at(struct window *w, uint64_t at, size_t n) {
    if (w->err != OK || at + n > w->size) return NULL;
    if (at >= w->base && at + n <= w->base + w->n) return w->p + (at - w->base);
    size_t keep = at >= w->base && at < w->base + w->n ? (size_t)(w->base + w->n - at) : 0, got;
    size_t more = n - keep > READ_STEP ? n - keep : READ_STEP;
    if (more > w->size - at - keep) more = (size_t)(w->size - at - keep);
    if (keep) memmove(w->p, w->p + w->n - keep, keep);
    if (keep + more > w->cap) {
        w->cap = keep + more;
        w->p = must_realloc(w->p, w->cap);
    }
    w->err = w->d->pread(w->d, w->fd, w->p + keep, more, at + keep, &got);
    if (w->err == OK && got != more) w->err = IO;
    w->base = at;
    w->n = w->err == OK ? keep + more : 0;
    return w->err == OK ? w->p : NULL;
}

/* The data of a good record at `at`, and its header. */
static const uint8_t *record_at(
    struct window *w, uint64_t at, uint32_t seed, bool trusting, struct record_header *h) {
    const uint8_t *p = window_at(w, at, RECORD_HEADER);
    if (!p) return NULL;
    memcpy(h, p, RECORD_HEADER);
    if (!h->sequence || h->length > RECORD_MAX || !(p = window_at(w, at, record_bytes(h->length))))
        return NULL;
    p += RECORD_HEADER;
    return trusting || h->crc == record_crc(seed, h, bytes_of(p, h->length)) ? p : NULL;
}

/* A run begins with its opening record: nothing that an earlier run left behind the end is taken
 * for the present one's. */
static bool follows(const struct scan *s, const struct record_header *h) {
    return h->sequence == s->sequence &&
           (h->flags & RECORD_OPENED ? h->run > s->run : h->run == s->run);
}

/* Is there proof behind the first bad record that it had been durable? Looks at every word to the
 * end of the file. */
static bool proof_behind(struct window *w, struct scan *s) {
    struct record_header h;
    bool proof = false;
    for (uint64_t i = s->end; i + RECORD_HEADER <= w->size;) {
        if (i < w->base || i + 8 > w->base + w->n) {
            if (!window_at(w, i, RECORD_HEADER)) break;
        }
        const uint8_t *p = w->p + (i - w->base);
        size_t n = (size_t)(w->base + w->n - i) & ~(size_t)7, k = 0;
        for (uint64_t word = 0; k < n && (memcpy(&word, p + k, 8), !word); k += 8) {
        }
        i += k;
        if (k == n) continue;
        s->used = i + 8;
        if (!proof && (p = window_at(w, i, RECORD_HEADER))) {
            memcpy(&h, p, RECORD_HEADER);
            proof = h.sequence > s->sequence && h.synced >= s->sequence && h.synced < h.sequence &&
                    record_at(w, i, s->seed, false, &h);
        }
        i += 8;
    }
    return proof;
}

static void scan_records(struct window *w, struct scan *s,
    bool (*fn)(void *, const struct record_header *, struct bytes), void *arg) {
    struct record_header h;
    const uint8_t *data;
    s->end = s->proven = SEGMENT_HEADER;
    while (
        !s->stopped && (data = record_at(w, s->end, s->seed, s->trusting, &h)) && follows(s, &h)) {
        s->sequence = h.sequence + 1;
        s->run = h.run;
        s->records += !(h.flags & RECORD_OPENED);
        /* the first of its commit: all before it were durable */
        if (h.synced + 1 == h.sequence) s->proven = s->end;
        if (fn && !fn(arg, &h, bytes_of(data, h.length))) s->stopped = true;
        s->end += record_bytes(h.length);
    }
    s->used = s->end;
}

enum err segment_scan(struct disk *d, int fd, struct scan *s,
    bool (*fn)(void *, const struct record_header *, struct bytes), void *arg, struct buf *why) {
    struct window w = {.d = d, .fd = fd};
    enum err e = d->size(d, fd, &w.size);
    if (e != OK) return e;
    scan_records(&w, s, fn, arg);
    bool bad =
        s->until ? !s->stopped && s->sequence != s->until : !s->stopped && proof_behind(&w, s);
    if (w.err == OK && bad) {
        buf_fmt(why, "log: a record that was stored is damaged: sequence %llu at byte %llu",
            (unsigned long long)s->sequence, (unsigned long long)s->end);
        w.err = CORRUPT;
    }
    free(w.p);
    return w.err;
}

static enum err bytes_copy(struct disk *d, int from, int to, uint64_t n) {
    enum { COPY_STEP = 16 * 1024 };
    uint8_t *p = must_alloc(COPY_STEP);
    enum err e = OK;
    for (uint64_t at = 0; at < n && e == OK; at += COPY_STEP) {
        size_t want = n - at < COPY_STEP ? (size_t)(n - at) : COPY_STEP, got;
        e = d->pread(d, from, p, want, at, &got);
        if (e == OK && got != want) e = IO;
        if (e == OK) e = d->pwrite(d, to, p, want, at);
    }
    free(p);
    return e;
}

enum err segment_copy(struct disk *d, const char *from, const char *to, uint64_t until) {
    int in, out;
    uint64_t size;
    enum err e = d->open(d, from, false, &in);
    if (e != OK) return e;
    if ((e = d->open(d, to, true, &out)) == OK) {
        e = d->size(d, in, &size);
        if (e == OK) e = bytes_copy(d, in, out, until < size ? until : size);
        if (e == OK && until < size) e = d->zero(d, out, size - 1, size);
        if (e == OK) e = d->sync(d, out);
        d->close(d, out);
    }
    d->close(d, in);
    return e;
}

struct names {
    uint64_t *list;
    size_t n;
};

static bool name_take(void *arg, const char *name) {
    struct names *l = arg;
    unsigned long long v;
    char tail[8] = "";
    if (strlen(name) != 20 || sscanf(name, "%16llx%5s", &v, tail) != 2 || strcmp(tail, ".seg") != 0)
        return true;
    l->list = must_realloc(l->list, (l->n + 1) * sizeof *l->list);
    l->list[l->n++] = v;
    return true;
}

enum err segments_list(struct disk *d, const char *dir, uint64_t **out, size_t *out_n) {
    struct names l = {0};
    enum err e = d->list(d, dir, name_take, &l);
    *out = l.list;
    *out_n = l.n;
    return e;
}

enum err span_check(uint16_t partitions, const uint64_t *from, const uint64_t *before,
    const uint64_t *last, struct buf *why) {
    for (uint16_t p = 0; p < partitions; p++) {
        unsigned long long held = from[p] - 1, ends = last ? last[p] : UINT64_MAX,
                           begins = before ? before[p] + 1 : 1;
        if (held > ends)
            buf_fmt(why, "log: partition %u ends at %llu, before what the tables hold (%llu)", p,
                ends, held);
        else if (held + 1 < begins)
            buf_fmt(why, "log: partition %u begins at %llu, behind what the tables hold (%llu)", p,
                begins, held);
        else continue;
        return CORRUPT;
    }
    return OK;
}

/* ---- check ---- */
struct checking {
    const char *path;
    uint64_t first_sequence; /* as the file's name says */
    uint64_t *before, *last; /* before the first segment; so far */
    uint16_t partitions;
    struct buf *why;
    bool bad;
};

static bool check_record(void *arg, const struct record_header *h, struct bytes data) {
    (void)data;
    struct checking *c = arg;
    if (h->flags & RECORD_OPENED) return true;
    if (h->partition < c->partitions && h->position == c->last[h->partition] + 1) {
        c->last[h->partition]++;
        return true;
    }
    buf_fmt(c->why, "log: %s: partition %u: position %llu follows %llu\n", c->path, h->partition,
        (unsigned long long)h->position,
        (unsigned long long)(h->partition < c->partitions ? c->last[h->partition] : 0));
    c->bad = true;
    return false;
}

static enum err check_segment(
    struct checking *c, struct disk *d, struct scan *s, uint64_t until, bool first) {
    struct segment_header h;
    int fd;
    enum err e = d->open(d, c->path, false, &fd);
    if (e != OK) return e;
    if ((e = segment_header_read(d, fd, &h)) != OK || h.partitions != c->partitions ||
        h.first_sequence != c->first_sequence) {
        buf_fmt(c->why, "log: %s: the header is damaged, or of another kind of data\n", c->path);
        e = CORRUPT;
    } else {
        if (first) {
            memcpy(c->before, h.before, c->partitions * sizeof *c->last);
            memcpy(c->last, h.before, c->partitions * sizeof *c->last);
        }
        c->bad = memcmp(c->last, h.before, c->partitions * sizeof *c->last) != 0;
        if (c->bad)
            buf_fmt(c->why, "log: %s: its header does not follow the segment before\n", c->path);
        *s = (struct scan){.seed = h.crc,
            .run = h.run,
            .sequence = h.first_sequence,
            .until = until,
            .records = s->records};
        if (!c->bad) e = segment_scan(d, fd, s, check_record, c, c->why);
    }
    d->close(d, fd);
    return e == OK && c->bad ? CORRUPT : e;
}

enum err log_check(const char *dir, struct disk *d, uint16_t partitions, const uint64_t *from,
    struct buf *why, uint64_t *out_records) {
    uint64_t *list;
    size_t n;
    enum err e = segments_list(d, dir, &list, &n);
    struct checking c = {.before = must_alloc(partitions * sizeof(uint64_t)),
        .last = must_alloc(partitions * sizeof(uint64_t)),
        .partitions = partitions,
        .why = why};
    struct scan s = {0};
    check(partitions <= SEGMENT_PARTITIONS_MAX);
    for (size_t i = 0; i < n && e == OK; i++) {
        char path[512];
        segment_path(path, sizeof path, dir, list[i]);
        c.path = path;
        c.first_sequence = list[i];
        e = check_segment(&c, d, &s, i + 1 < n ? list[i + 1] : 0, i == 0);
    }
    if (e == OK && from) e = span_check(partitions, from, c.before, c.last, why);
    *out_records = s.records;
    free(c.before);
    free(c.last);
    free(list);
    return e;
}
