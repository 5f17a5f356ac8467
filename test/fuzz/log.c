/* fuzz: segments of the log, as a crash or a bad disk may leave them: reading never goes past the
 * file, what the check takes opens and gives as many records, and what opened is whole from then
 * on.
 *
 *   input: u8 what, then commands that write a segment, five bytes each, so that checksums are
 *     right where the fuzzer would not find them:
 *   u8 act (0 record, 1 opening record, 2 the next segment, 3 damage a byte, 4 skip) · u8 partition
 *     · u8 length · u8 bend (which field is wrong) · u8 by
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "fuzz.h"

#include <stdlib.h>
#include <string.h>

#include "io/disk_twin.h"
#include "log/log_in.h"

enum { PARTITIONS = 3, SIZE = 32 * 1024, STEPS_MAX = 60 };

void fuzz_seeds(void (*give)(void *arg, struct bytes seed), void *arg) {
    static const struct bytes SEEDS[] = {{(const uint8_t *)"\0", 1},
        {(const uint8_t *)"\0\0\0\5\0\0\0\1\x64\0\0\0\1\7\0\0\0\2\0\0\0", 21},
        {(const uint8_t *)"\0\0\0\5\0\0\1\0\0\0\0\0\1\7\0\0\2\0\0\0\0\0\0\5\0\0", 26},
        {(const uint8_t *)"\0\0\0\5\0\0\0\0\5\0\0\3\1\2\x07\3\0\1\5\0\0", 21},
        {(const uint8_t *)"\1\0\0\5\0\0\4\0\3\0\0\0\1\7\1\1\0\1\7\2\1\0\1\7\3\1\0\1\7\4\1", 31}};
    for (size_t i = 0; i < sizeof SEEDS / sizeof *SEEDS; i++) give(arg, SEEDS[i]);
}

struct making {
    struct disk *d;
    struct segment_header h;
    uint64_t at, sequence, position[PARTITIONS];
    uint32_t run;
    int fd;
    char path[100];
};

static void segment_begin(struct making *m, uint8_t bend, uint8_t by) {
    m->h = (struct segment_header){.magic = SEGMENT_MAGIC,
        .version = 1,
        .partitions = PARTITIONS,
        .first_sequence = m->sequence,
        .created_ms = 1,
        .run = m->run};
    memcpy(m->h.before, m->position, sizeof m->position);
    if (bend == 1) m->h.version = by;
    if (bend == 2) m->h.partitions = by;
    if (bend == 3) m->h.first_sequence += by;
    if (bend == 4) m->h.before[by % PARTITIONS] += by;
    if (bend == 5) m->h.run += by;
    if (bend == 6) m->h.magic ^= by;
    segment_header_seal(&m->h);
    if (m->fd >= 0) m->d->close(m->d, m->fd);
    segment_path(m->path, sizeof m->path, "log", m->sequence);
    check(m->d->open(m->d, m->path, true, &m->fd) == OK && m->d->zero(m->d, m->fd, 0, SIZE) == OK);
    check(m->d->pwrite(m->d, m->fd, &m->h, sizeof m->h, 0) == OK);
    m->at = SEGMENT_HEADER;
}

static void record_write(struct making *m, const uint8_t *c) {
    uint8_t room[512], data[256];
    uint16_t p = c[1] % PARTITIONS;
    bool opening = c[0] == 1;
    memset(data, c[4], sizeof data);
    struct record_header h = {.sequence = m->sequence,
        .position = opening ? 0 : m->position[p] + 1,
        .synced = m->sequence - 1,
        .partition = opening ? 0 : p,
        .flags = opening ? RECORD_OPENED : 0,
        .run = m->run + opening};
    if (c[3] == 1) h.sequence += c[4];
    if (c[3] == 2) h.position += c[4];
    if (c[3] == 3) h.synced += c[4];
    if (c[3] == 4) h.partition = c[4];
    if (c[3] == 5) h.run += c[4];
    if (c[3] == 6) h.flags ^= c[4];
    if (c[3] == 7) h.synced = c[4];
    struct bytes v = bytes_of(data, opening ? 0 : c[2]);
    if (m->at + record_bytes(v.n) > SIZE) return;
    record_put(room, m->h.crc, &h, v);
    check(m->d->pwrite(m->d, m->fd, room, record_bytes(v.n), m->at) == OK);
    m->at += record_bytes(v.n);
    m->sequence++;
    if (opening) m->run++;
    else m->position[p]++;
}

static void segments_make(struct making *m, const uint8_t *p, size_t n) {
    segment_begin(m, 0, 0);
    for (size_t step = 0; n >= 5 && step < STEPS_MAX; step++, p += 5, n -= 5) {
        if (p[0] <= 1) record_write(m, p);
        else if (p[0] == 2) segment_begin(m, p[3], p[4]);
        else if (p[0] == 3)
            disk_twin_damage(m->d, m->path, ((uint64_t)p[1] << 8 | p[2]) % SIZE, p[4]);
        else if (p[0] == 4 && m->at + 8u * p[2] < SIZE) m->at += 8u * p[2];
    }
    m->d->close(m->d, m->fd);
}

static uint16_t lane_of(void *arg, uint16_t partition) {
    (void)arg;
    (void)partition;
    return 0;
}
static void on_fatal(void *arg, const char *what) {
    (void)arg;
    check(!what); /* on a disk that works */
}
static int64_t now_of(void *arg) {
    (void)arg;
    return 1000;
}

/* Opens it, takes all there is, adds one; gives how many there were. OK: then it opens once more
 * and has one more. */
static enum err open_all(struct disk *d, const uint64_t *from, uint64_t *out_records) {
    struct log_options o = {.dir = "log",
        .disk = d,
        .partitions = PARTITIONS,
        .lanes = 1,
        .lane_of = lane_of,
        .from = from,
        .segment_bytes = SIZE,
        .fatal = on_fatal,
        .now_ms = now_of};
    struct log_record out[16];
    struct log *log;
    struct buf why = {0};
    uint64_t next[PARTITIONS];
    size_t n;
    memcpy(next, from, sizeof next);
    *out_records = 0;
    enum err e = log_open_file(&o, &log, &why);
    check(e == OK || why.n);
    buf_done(&why);
    if (e != OK) return e;
    while ((n = log->calls->poll(log, 0, out, 16)))
        for (size_t i = 0; i < n; i++) {
            check(out[i].partition < PARTITIONS && out[i].position == next[out[i].partition]++);
            ++*out_records;
        }
    check(log->calls->caught_up(log, 0));
    check(log->calls->append(log, 0, 1, BYTES("one more"), true, NULL) == OK && log->calls->commit(log));
    check(log->calls->poll(log, 0, out, 16) == 1 && out[0].position == next[1] &&
          bytes_is(out[0].data, "one more"));
    log->calls->close(log);
    return OK;
}

/* The tables hold what the first segment says went before it. */
static void from_find(struct disk *d, uint64_t *from) {
    uint64_t *list;
    size_t n;
    struct segment_header h;
    int fd;
    char path[100];
    check(segments_list(d, "log", &list, &n) == OK && n);
    segment_path(path, sizeof path, "log", list[0]);
    check(d->open(d, path, false, &fd) == OK);
    bool good = segment_header_read(d, fd, &h) == OK;
    for (int p = 0; p < PARTITIONS; p++) from[p] = good ? h.before[p] + 1 : 1;
    d->close(d, fd);
    free(list);
}

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n) {
    if (!n) return 0;
    struct rng rng = {1};
    struct making m = {.d = disk_twin_create(&rng), .sequence = 1 + p[0] % 2, .run = 1, .fd = -1};
    struct buf why = {0};
    uint64_t from[PARTITIONS], checked, opened, again;
    check(m.d->make_dir(m.d, "log") == OK);
    segments_make(&m, p + 1, n - 1);
    from_find(m.d, from);
    enum err check_said = log_check("log", m.d, PARTITIONS, NULL, &why, &checked),
             e = open_all(m.d, from, &opened);
    check(check_said == OK || why.n);
    /* what the check refuses may still open: it looks at more than what is needed from `from` on */
    if (check_said == OK) {
        check(e == OK && opened == checked);
        check(log_check("log", m.d, PARTITIONS, NULL, &why, &checked) == OK);
        /* tables that hold nothing need a log that begins at the beginning */
        static const uint64_t NOTHING[PARTITIONS] = {1, 1, 1};
        bool whole = memcmp(from, NOTHING, sizeof from) == 0;
        check(whole || open_all(m.d, NOTHING, &again) == CORRUPT);
        check(open_all(m.d, from, &again) == OK && again == opened + 1);
    }
    buf_done(&why);
    disk_twin_free(&m.d);
    return 0;
}
