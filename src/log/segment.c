/* log: segments on disk: their header, their records, and reading them with distrust. See docs/format/log.md for the drawing.
 *
 * A crash may tear the last write: records of it may be there, in part, in any order. None was durable, so the first bad record ends the log. It is
 * corruption, and not a torn tail, when a later good record says (`synced`) that the bad one had been durable. SPDX-License-Identifier: Apache-2.0 */
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

static uint32_t record_crc(const struct record_header *h, struct bytes data) {
    return crc32c(crc32c(0, bytes_of((const uint8_t *)h + 4, RECORD_HEADER - 4)), data);
}

void record_put(uint8_t *at, const struct record_header *h, struct bytes data) {
    struct record_header copy = *h;
    copy.length = (uint32_t)data.n;
    copy.crc = record_crc(&copy, data);
    memcpy(at, &copy, RECORD_HEADER);
    memcpy(at + RECORD_HEADER, data.p, data.n);
    memset(at + RECORD_HEADER + data.n, 0, record_bytes(data.n) - RECORD_HEADER - data.n);
}

static bool record_good(const uint8_t *p, size_t left, struct record_header *h) {
    if (left < RECORD_HEADER) return false;
    memcpy(h, p, RECORD_HEADER);
    if (!h->sequence || h->length > RECORD_MAX || record_bytes(h->length) > left) return false;
    return h->crc == record_crc(h, bytes_of(p + RECORD_HEADER, h->length));
}

/* Is there proof behind the first bad record that it had been durable? */
static bool proof_behind(const uint8_t *p, size_t n, size_t at, uint64_t sequence) {
    struct record_header h;
    for (size_t i = at + 8; i + RECORD_HEADER <= n; i += 8) {
        memcpy(&h, p + i, RECORD_HEADER);
        if (h.sequence <= sequence || h.sequence > sequence + (1u << 24) || h.synced < sequence || h.synced >= h.sequence) continue;
        if (record_good(p + i, n - i, &h)) return true;
    }
    return false;
}

enum err segment_scan(struct disk *d, int fd, struct scan *s, bool (*fn)(void *, const struct record_header *, struct bytes), void *arg, struct buf *why) {
    uint64_t size;
    size_t n;
    enum err e = d->size(d, fd, &size);
    if (e != OK) return e;
    uint8_t *p = must_alloc(size);
    e = d->pread(d, fd, p, size, 0, &n);
    size_t at = SEGMENT_HEADER;
    struct record_header h;
    while (e == OK && at < n && record_good(p + at, n - at, &h)) {
        if (s->sequence && h.sequence != s->sequence) break;
        s->sequence = h.sequence + 1;
        s->records++;
        if (fn && !fn(arg, &h, bytes_of(p + at + RECORD_HEADER, h.length))) fn = NULL;
        at += record_bytes(h.length);
    }
    if (e == OK && s->sequence && proof_behind(p, n, at, s->sequence)) {
        buf_fmt(why, "log: a record that was stored is damaged: sequence %llu at byte %zu", (unsigned long long)s->sequence, at);
        e = CORRUPT;
    }
    s->end = at;
    s->end_bytes = size;
    free(p);
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
    if (strlen(name) != 20 || sscanf(name, "%16llx%5s", &v, tail) != 2 || strcmp(tail, ".seg") != 0) return true;
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

/* ---- check ---- */
struct checking {
    uint64_t *last;
    uint16_t partitions;
    struct buf *why;
    bool bad;
};

static bool check_record(void *arg, const struct record_header *h, struct bytes data) {
    (void)data;
    struct checking *c = arg;
    if (h->partition >= c->partitions || (c->last[h->partition] && h->position != c->last[h->partition] + 1)) {
        buf_fmt(c->why, "log: partition %u: position %llu follows %llu\n", h->partition, (unsigned long long)h->position,
                (unsigned long long)(h->partition < c->partitions ? c->last[h->partition] : 0));
        c->bad = true;
    }
    if (h->partition < c->partitions) c->last[h->partition] = h->position;
    return true;
}

enum err log_check(const char *dir, struct disk *d, uint16_t partitions, struct buf *why, uint64_t *out_records) {
    uint64_t *list;
    size_t n;
    enum err e = segments_list(d, dir, &list, &n);
    struct checking c = {must_alloc(partitions * sizeof(uint64_t)), partitions, why, false};
    struct scan s = {0};
    for (size_t i = 0; i < n && e == OK; i++) {
        char path[512];
        int fd;
        segment_path(path, sizeof path, dir, list[i]);
        struct segment_header h;
        if ((e = d->open(d, path, false, &fd)) != OK) break;
        if ((e = segment_header_read(d, fd, &h)) != OK) buf_fmt(why, "log: %s: the header is damaged\n", path);
        if (e == OK && s.sequence && h.first_sequence != s.sequence) {
            buf_fmt(why, "log: %s begins at sequence %llu, expected %llu\n", path, (unsigned long long)h.first_sequence, (unsigned long long)s.sequence);
            e = CORRUPT;
        }
        s.sequence = h.first_sequence;
        if (e == OK) e = segment_scan(d, fd, &s, check_record, &c, why);
        d->close(d, fd);
    }
    *out_records = s.records;
    free(c.last);
    free(list);
    return e == OK && c.bad ? CORRUPT : e;
}
