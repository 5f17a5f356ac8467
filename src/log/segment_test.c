/* log: segments: every damaged byte is either known for damage or cut off as a torn tail, and what
 * an earlier run left behind is never taken for a record.
 * SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "io/disk_twin.h"
#include "log/log_in.h"

enum { SIZE = 4u << 20, SEED = 99 };

struct file {
    struct rng rng;
    struct disk *d;
    int fd;
    uint64_t end, sequence;
};

static void file_make(struct file *f, uint64_t size) {
    *f = (struct file){.rng = {1}, .end = SEGMENT_HEADER, .sequence = 10};
    f->d = disk_twin_create(&f->rng);
    assert_int_equal(f->d->open(f->d, "s", true, &f->fd), OK);
    assert_int_equal(f->d->zero(f->d, f->fd, 0, size), OK);
}

/* One record at the end; `synced` is how far before it all was durable. */
static void put(struct file *f, uint32_t run, uint16_t flags, uint64_t synced, struct bytes data) {
    struct record_header h = {.sequence = f->sequence++,
        .position = f->sequence,
        .synced = synced,
        .run = run,
        .flags = flags};
    uint8_t *p = must_alloc(record_bytes(data.n));
    record_put(p, SEED, &h, data);
    assert_int_equal(f->d->pwrite(f->d, f->fd, p, record_bytes(data.n), f->end), OK);
    f->end += record_bytes(data.n);
    free(p);
}

static bool count_one(void *arg, const struct record_header *h, struct bytes data) {
    (void)h;
    (void)data;
    ++*(uint64_t *)arg;
    return true;
}

static enum err scan(struct file *f, uint64_t until, struct scan *s, uint64_t *out_n) {
    struct buf why = {0};
    *s = (struct scan){.seed = SEED, .run = 1, .sequence = 10, .until = until};
    *out_n = 0;
    enum err e = segment_scan(f->d, f->fd, s, count_one, out_n, &why);
    assert_true((e == CORRUPT) == (why.n > 0));
    buf_done(&why);
    return e;
}

static void each_damaged_byte_is_noticed(void **state) {
    (void)state;
    struct file f;
    struct scan s;
    uint64_t n, last_commit = 0, ends[9], count = 0;
    file_make(&f, 8192);
    for (int commit = 0; commit < 4; commit++) {
        uint64_t synced = f.sequence - 1;
        last_commit = f.end;
        for (int i = 0; i < 2; i++) {
            put(&f, 1, 0, synced, BYTES("a few bytes of data"));
            ends[count++] = f.end;
        }
    }
    assert_int_equal(scan(&f, 0, &s, &n), OK);
    assert_true(n == count && s.end == f.end && s.used == f.end && s.proven == last_commit);
    assert_int_equal(scan(&f, 10 + count, &s, &n), OK);
    /* the next segment says that there was one more */
    assert_int_equal(scan(&f, 10 + count + 1, &s, &n), CORRUPT);
    for (uint64_t at = SEGMENT_HEADER; at < f.end; at++) {
        uint64_t i = 0;
        while (ends[i] <= at) i++;
        /* 40 + 19 bytes, filled up to 64: no checksum covers the filling, nor need it */
        bool padding = at >= ends[i] - 5;
        assert_true(disk_twin_damage(f.d, "s", at, 0x10));
        enum err e = scan(&f, 0, &s, &n);
        assert_int_equal(e, padding || at >= last_commit ? OK : CORRUPT);
        assert_int_equal(n, padding ? count : i);
        assert_int_equal(scan(&f, 10 + count, &s, &n), padding ? OK : CORRUPT);
        assert_true(disk_twin_damage(f.d, "s", at, 0x10));
    }
    f.d->close(f.d, f.fd);
    disk_twin_free(&f.d);
}

/* A commit of three loses its first record in a crash; the next run writes one of the same size and
 * sequence in its place, and crashes too. */
static void an_earlier_run_is_not_taken_for_this_one(void **state) {
    (void)state;
    struct file f;
    struct scan s;
    uint64_t n;
    file_make(&f, 8192);
    put(&f, 1, 0, 9, BYTES("first"));
    uint64_t end = f.end, sequence = f.sequence;
    f.end += RECORD_HEADER; /* not written: torn away */
    f.sequence++;
    put(&f, 1, 0, 10, BYTES("stale"));
    assert_int_equal(scan(&f, 0, &s, &n), OK);
    assert_true(n == 1 && s.end == end && s.used == f.end);
    f.end = end;
    f.sequence = sequence;
    put(&f, 2, RECORD_OPENED, 10, (struct bytes){0});
    assert_int_equal(scan(&f, 0, &s, &n), OK);
    assert_true(n == 2 && s.run == 2 && s.end == f.end && s.records == 1);
    put(&f, 2, 0, 11, BYTES("of run 2"));
    put(&f, 1, RECORD_OPENED, 12, (struct bytes){0}); /* a run cannot begin again, nor an old one */
    assert_int_equal(scan(&f, 0, &s, &n), OK);
    assert_true(n == 3 && s.run == 2);
    f.d->close(f.d, f.fd);
    disk_twin_free(&f.d);
}

static void a_record_is_good_in_its_own_segment_only(void **state) {
    (void)state;
    struct file f;
    struct scan s = {.seed = SEED + 1, .run = 1, .sequence = 10};
    uint64_t n = 0;
    struct buf why = {0};
    file_make(&f, 8192);
    put(&f, 1, 0, 9, BYTES("x"));
    assert_int_equal(segment_scan(f.d, f.fd, &s, count_one, &n, &why), OK);
    assert_int_equal(n, 0);
    f.d->close(f.d, f.fd);
    disk_twin_free(&f.d);
}

/* A message that holds the bytes of a record cannot make a torn tail look like damage: its writer
 * does not know the segment's checksum. */
static void a_forged_record_inside_a_message_proves_nothing(void **state) {
    (void)state;
    struct file f;
    struct scan s;
    uint64_t n;
    uint8_t forged[RECORD_HEADER];
    file_make(&f, 8192);
    put(&f, 1, 0, 9, BYTES("x"));
    struct record_header h = {.sequence = 5000, .position = 5000, .synced = 4999, .run = 1};
    record_put(forged, 0, &h, (struct bytes){0});
    put(&f, 1, 0, 10, bytes_of(forged, sizeof forged));
    assert_true(disk_twin_damage(f.d, "s", f.end - 2 * RECORD_HEADER, 1));
    assert_int_equal(scan(&f, 0, &s, &n), OK);
    assert_int_equal(n, 1);
    f.d->close(f.d, f.fd);
    disk_twin_free(&f.d);
}

static void large_records_are_read_in_steps(void **state) {
    (void)state;
    struct file f;
    struct scan s;
    uint64_t n;
    static uint8_t large[RECORD_MAX];
    static const size_t SIZES[] = {
        0, 1, 524288 - 40, 524288, 700001, 40, 524288 - 4096, RECORD_MAX, 8};
    memset(large, 7, sizeof large);
    file_make(&f, SIZE + 3 * 700000);
    for (int i = 0; i < 9; i++) put(&f, 1, 0, f.sequence - 1, bytes_of(large, SIZES[i]));
    assert_int_equal(scan(&f, 0, &s, &n), OK);
    assert_true(n == 9 && s.end == f.end);
    /* in the third; the proof is read far behind it */
    assert_true(disk_twin_damage(f.d, "s", SEGMENT_HEADER + 48 + 40 + 2, 1));
    assert_int_equal(scan(&f, 0, &s, &n), CORRUPT);
    assert_int_equal(n, 2);
    f.d->close(f.d, f.fd);
    disk_twin_free(&f.d);
}

static void headers_are_checked(void **state) {
    (void)state;
    struct file f;
    struct segment_header h = {.magic = SEGMENT_MAGIC,
                              .version = 1,
                              .partitions = 4,
                              .first_sequence = 10,
                              .run = 3},
                          out;
    file_make(&f, 8192);
    assert_int_equal(segment_header_read(f.d, f.fd, &out), CORRUPT);
    segment_header_seal(&h);
    assert_int_equal(f.d->pwrite(f.d, f.fd, &h, sizeof h, 0), OK);
    assert_int_equal(segment_header_read(f.d, f.fd, &out), OK);
    assert_memory_equal(&h, &out, sizeof h);
    for (uint64_t at = 0; at < sizeof h; at += 13) {
        assert_true(disk_twin_damage(f.d, "s", at, 4));
        assert_int_equal(segment_header_read(f.d, f.fd, &out), CORRUPT);
        assert_true(disk_twin_damage(f.d, "s", at, 4));
    }
    h.version = 2;
    segment_header_seal(&h);
    assert_int_equal(f.d->pwrite(f.d, f.fd, &h, sizeof h, 0), OK);
    assert_int_equal(segment_header_read(f.d, f.fd, &out), STALE);
    f.d->close(f.d, f.fd);
    disk_twin_free(&f.d);
}

static void the_list_takes_segments_only(void **state) {
    (void)state;
    struct rng rng = {1};
    struct disk *d = disk_twin_create(&rng);
    static const char *const NAMES[] = {"d/next.tmp", "d/0000000000000001.seg",
        "d/00000000000000ff.seg", "d/00000000000000ff.sex", "d/x0000000000000ff.seg"};
    uint64_t *list;
    size_t n;
    int fd;
    assert_int_equal(d->make_dir(d, "d"), OK);
    for (int i = 0; i < 5; i++) assert_int_equal(d->open(d, NAMES[i], true, &fd), OK);
    assert_int_equal(segments_list(d, "d", &list, &n), OK);
    assert_true(n == 2 && list[0] == 1 && list[1] == 0xff);
    free(list);
    disk_twin_free(&d);
}

/* docs/format/log.md draws these; what is on disks must not move. */
static void headers_are_pinned(void **state) {
    (void)state;
    struct segment_header h = {.magic = SEGMENT_MAGIC,
        .version = 1,
        .partitions = 2,
        .first_sequence = 3,
        .created_ms = 4,
        .run = 5,
        .before = {6, 7}};
    segment_header_seal(&h);
    uint8_t want[sizeof h] = "KITHLOG1\1\0\0\0\2\0\0\0\3\0\0\0\0\0\0\0\4\0\0\0\0\0\0\0\0\0\0\0\5\0"
                             "\0\0\6\0\0\0\0\0\0\0\7";
    uint32_t crc = crc32c(0, bytes_of(want, sizeof want));
    memcpy(want + 32, &crc, 4);
    assert_int_equal(sizeof h, 3880);
    assert_memory_equal(&h, want, sizeof want);
    uint8_t got[56],
        record[56] =
            "\0\0\0\0\3\0\0\0\2\0\0\0\0\0\0\0\3\0\0\0\0\0\0\0\4\0\0\0\0\0\0\0\5\0\1\0\6\0\0\0xyz";
    struct record_header r = {.sequence = 2,
        .position = 3,
        .synced = 4,
        .partition = 5,
        .flags = RECORD_OPENED,
        .run = 6};
    memset(got, 0xff, sizeof got);
    memset(record + 48, 0xff, 8); /* not written: the record ends at 48 */
    record_put(got, 77, &r, BYTES("xyz"));
    crc = crc32c(77, bytes_of(record + 4, 39));
    memcpy(record, &crc, 4);
    assert_memory_equal(got, record, sizeof got);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(headers_are_pinned),
        cmocka_unit_test(each_damaged_byte_is_noticed),
        cmocka_unit_test(an_earlier_run_is_not_taken_for_this_one),
        cmocka_unit_test(a_record_is_good_in_its_own_segment_only),
        cmocka_unit_test(a_forged_record_inside_a_message_proves_nothing),
        cmocka_unit_test(large_records_are_read_in_steps),
        cmocka_unit_test(headers_are_checked),
        cmocka_unit_test(the_list_takes_segments_only),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
