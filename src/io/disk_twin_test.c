/* io: tests of the disk twin: what is synced stays, what is not may go, and every fault can be met.
 * SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "io/disk_twin.h"

enum { SIZE = 8192, SECTOR = 512 };

static int file_make(struct disk *d) {
    int fd;
    assert_int_equal(d->make_dir(d, "d"), OK);
    assert_int_equal(d->open(d, "d/f", true, &fd), OK);
    assert_int_equal(d->zero(d, fd, 0, SIZE), OK);
    assert_int_equal(d->sync(d, fd), OK);
    assert_int_equal(d->sync_dir(d, "d"), OK);
    return fd;
}

static void read_all(struct disk *d, uint8_t *out) {
    int fd;
    size_t n;
    assert_int_equal(d->open(d, "d/f", false, &fd), OK);
    assert_int_equal(d->pread(d, fd, out, SIZE, 0, &n), OK);
    assert_int_equal(n, SIZE);
    d->close(d, fd);
}

/* Against a model: a byte is what was synced, or one of what was written to it since. */
static void synced_bytes_stay(void **state) {
    (void)state;
    struct disk_twin_counts all = {0};
    for (uint64_t seed = 1; seed <= 300; seed++) {
        struct rng rng = {seed}, own = {seed * 77};
        struct disk *d = disk_twin_create(&rng);
        int fd = file_make(d);
        uint8_t synced[SIZE] = {0}, latest[SIZE] = {0}, block[1500], after[SIZE];
        static bool possible[SIZE][256];
        memset(possible, 0, sizeof possible);
        for (uint64_t steps = rng_below(&own, 30); steps; steps--) {
            if (rng_below(&own, 5) == 0) {
                assert_int_equal(d->sync(d, fd), OK);
                memcpy(synced, latest, SIZE);
                memset(possible, 0, sizeof possible);
                continue;
            }
            size_t n = 1 + rng_below(&own, sizeof block), at = rng_below(&own, SIZE - n);
            for (size_t i = 0; i < n; i++) {
                block[i] = (uint8_t)rng_next(&own);
                possible[at + i][block[i]] = true;
            }
            assert_int_equal(d->pwrite(d, fd, block, n, at), OK);
            memcpy(latest + at, block, n);
        }
        read_all(d, after);
        assert_memory_equal(after, latest, SIZE);
        disk_twin_crash(d);
        read_all(d, after);
        for (size_t i = 0; i < SIZE; i++)
            assert_true(after[i] == synced[i] || possible[i][after[i]]);
        all.sectors_kept += disk_twin_counts(d)->sectors_kept;
        all.sectors_dropped += disk_twin_counts(d)->sectors_dropped;
        all.sectors_torn += disk_twin_counts(d)->sectors_torn;
        disk_twin_free(&d);
    }
    assert_true(all.sectors_kept > 100 && all.sectors_dropped > 100 && all.sectors_torn > 100);
}

static bool there(struct disk *d, const char *path) {
    int fd;
    if (d->open(d, path, false, &fd) != OK) return false;
    d->close(d, fd);
    return true;
}

static void names_survive_in_order(void **state) {
    (void)state;
    int undone = 0, done = 0;
    for (uint64_t seed = 1; seed <= 100; seed++) {
        struct rng rng = {seed};
        struct disk *d = disk_twin_create(&rng);
        d->close(d, file_make(d));
        assert_int_equal(d->rename(d, "d/f", "d/g"), OK);
        assert_false(there(d, "d/f"));
        int fd;
        assert_int_equal(d->open(d, "d/h", true, &fd), OK);
        disk_twin_crash(d);
        /* a rename is whole or not at all */
        assert_int_not_equal(there(d, "d/f"), there(d, "d/g"));
        /* what came later is not there without what came before */
        if (there(d, "d/h")) assert_true(there(d, "d/g"));
        undone += there(d, "d/f");
        done += there(d, "d/g");
        assert_int_equal(d->remove(d, "d/f"), OK);
        assert_int_equal(d->remove(d, "d/g"), OK);
        assert_int_equal(d->sync_dir(d, "d"), OK);
        disk_twin_crash(d);
        assert_false(there(d, "d/f") || there(d, "d/g"));
        disk_twin_free(&d);
    }
    assert_true(undone > 10 && done > 10);
}

static void a_failed_sync_lies_when_repeated(void **state) {
    (void)state;
    int lost = 0;
    for (uint64_t seed = 1; seed <= 50; seed++) {
        struct rng rng = {seed};
        struct disk *d = disk_twin_create(&rng);
        int fd = file_make(d);
        uint8_t after[SIZE];
        assert_int_equal(d->pwrite(d, fd, "x", 1, 0), OK);
        disk_twin_fail_sync(d);
        assert_int_equal(d->sync(d, fd), IO);
        assert_int_equal(d->sync(d, fd), OK);
        disk_twin_crash(d);
        read_all(d, after);
        lost += after[0] != 'x';
        assert_int_equal(disk_twin_counts(d)->syncs_failed, 1);
        disk_twin_free(&d);
    }
    assert_true(lost > 10);
}

static void faults_can_be_met(void **state) {
    (void)state;
    struct rng rng = {7};
    struct disk *d = disk_twin_create(&rng);
    int fd = file_make(d);
    char out[8];
    size_t n;
    disk_twin_fail_write(d);
    assert_int_equal(d->pwrite(d, fd, "x", 1, 0), IO);
    assert_int_equal(d->pwrite(d, fd, "x", 1, 0), OK);
    disk_twin_capacity(d, SIZE + SECTOR);
    assert_int_equal(d->free_bytes(d, "d"), SECTOR);
    assert_int_equal(d->zero(d, fd, SIZE, SIZE + 2 * SECTOR), LIMIT);
    assert_int_equal(d->free_bytes(d, "d"), 0);
    assert_int_equal(d->pwrite(d, fd, "y", 1, 0), OK); /* needs no more room */
    disk_twin_die_after(d, 1);
    assert_int_equal(d->sync(d, fd), OK);
    assert_int_equal(d->pwrite(d, fd, "zzzz", 4, 0), IO);
    assert_int_equal(d->sync(d, fd), IO);
    assert_int_equal(d->sync_dir(d, "d"), IO);
    disk_twin_crash(d);
    assert_int_equal(d->pread(d, fd, out, 1, 0, &n), IO); /* the handle is gone */
    d->close(d, fd);
    assert_int_equal(d->open(d, "d/f", false, &fd), OK);
    assert_int_equal(d->pread(d, fd, out, 1, 0, &n), OK);
    assert_true(out[0] == 'y' || out[0] == 'z');
    disk_twin_lose_syncs(d, true);
    assert_int_equal(d->sync(d, fd), OK);
    assert_true(disk_twin_damage(d, "d/f", 3, 1));
    assert_false(disk_twin_damage(d, "d/f", 1 << 20, 1));
    assert_false(disk_twin_damage(d, "d/none", 0, 1));
    const struct disk_twin_counts *c = disk_twin_counts(d);
    assert_true(c->writes_failed == 1 && c->full == 1 && c->deaths == 1 && c->syncs_lost == 1 &&
                c->crashes == 1);
    assert_int_equal(d->open(d, "nowhere/f", true, &fd), MISSING);
    disk_twin_free(&d);
    disk_twin_free(&d);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(synced_bytes_stay),
        cmocka_unit_test(names_survive_in_order),
        cmocka_unit_test(a_failed_sync_lies_when_repeated),
        cmocka_unit_test(faults_can_be_met),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
