/* table: the store's twin and RocksDB side by side: the same batches give the same answers, also
 * from a copy and after a death without goodbye.
 * SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "table/table.h"

enum { PARTITIONS = 3, KEYS = 120, SYNC_EVERY = 7 };

struct folder {
    char top[32], tables[64], copy[64];
};
static void folder_make(struct folder *f) {
    strcpy(f->top, "/tmp/kith-table-XXXXXX");
    assert_non_null(mkdtemp(f->top));
    snprintf(f->tables, sizeof f->tables, "%s/tables", f->top);
    snprintf(f->copy, sizeof f->copy, "%s/copy", f->top);
}
static void folder_remove(struct folder *f) {
    char command[64];
    snprintf(command, sizeof command, "rm -r '%s'", f->top);
    assert_int_equal(system(command), 0);
}

static struct store *rocks_open(const char *dir, bool read_only) {
    struct store_options o = {
        .dir = dir, .memtable_bytes = 256 * 1024, .cache_bytes = 1 << 20, .read_only = read_only};
    struct store *s = NULL;
    struct buf why = {0};
    enum err e = store_open_rocksdb(&o, &s, &why);
    if (e != OK) print_error("%.*s\n", (int)why.n, (char *)why.p);
    assert_int_equal(e, OK);
    buf_done(&why);
    return s;
}

/* Keys with zero bytes, 0xff and prefixes of one another. */
static struct bytes key_of(uint8_t room[64], uint64_t k) {
    struct rng r = {k / 3};
    size_t n = 1 + (k * 7) % 30;
    for (size_t i = 0; i < n; i++)
        room[i] = (uint8_t)(rng_below(&r, 4) ? rng_next(&r) : rng_below(&r, 2) * 255);
    return bytes_of(room, n);
}

/* Batch i is the same whenever it is made. It also says its number, so that a state can be named.
 * */
static void batch_make(struct table_batch *b, uint64_t i) {
    struct rng r = {i};
    uint8_t room[64];
    static uint8_t value[20000];
    buf_reset(&b->data);
    b->changes = 0;
    table_batch_add(b, 0, BYTES("number"), bytes_of(&i, sizeof i));
    for (uint64_t n = rng_below(&r, 12); n; n--) {
        size_t size =
            rng_below(&r, 4) == 0 ? 0 : rng_below(&r, rng_below(&r, 10) ? 200 : sizeof value);
        bool append = size && rng_below(&r, 3) == 0;
        memset(value, (int)rng_next(&r), size);
        (append ? table_batch_append : table_batch_add)(b, (uint16_t)rng_below(&r, PARTITIONS),
            key_of(room, rng_below(&r, KEYS)), bytes_of(value, size));
    }
}

struct listing {
    struct buf b;
    size_t left;
};
static bool list_one(void *arg, struct bytes key, struct bytes value) {
    struct listing *l = arg;
    pack_bytes(&l->b, key);
    pack_bytes(&l->b, value);
    return --l->left > 0;
}

static void same_scan(
    struct store *a, struct store *b, uint16_t partition, struct bytes prefix, size_t max) {
    struct listing la = {.left = max}, lb = {.left = max};
    assert_int_equal(a->calls->scan(a, partition, prefix, list_one, &la), OK);
    assert_int_equal(b->calls->scan(b, partition, prefix, list_one, &lb), OK);
    assert_int_equal(la.left, lb.left);
    assert_true(bytes_eq(buf_view(&la.b), buf_view(&lb.b)));
    buf_done(&la.b);
    buf_done(&lb.b);
}

static void same(struct store *a, struct store *b) {
    uint8_t room[64];
    for (uint16_t p = 0; p < PARTITIONS; p++) {
        same_scan(a, b, p, (struct bytes){0}, SIZE_MAX);
        same_scan(a, b, p, bytes_of("\xff", 1), SIZE_MAX);
        same_scan(a, b, p, (struct bytes){0}, 3);
        for (uint64_t k = 0; k < KEYS; k++) {
            struct buf va = {0}, vb = {0};
            buf_str(&va, "before "); /* get appends */
            buf_str(&vb, "before ");
            struct bytes key = key_of(room, k);
            assert_int_equal(a->calls->get(a, p, key, &va), b->calls->get(b, p, key, &vb));
            assert_true(bytes_eq(buf_view(&va), buf_view(&vb)));
            same_scan(a, b, p, bytes_of(key.p, key.n / 2), 5);
            buf_done(&va);
            buf_done(&vb);
        }
    }
}

static void the_twin_answers_as_rocksdb_does(void **state) {
    (void)state;
    struct folder f;
    struct table_batch b = {0};
    struct buf why = {0};
    folder_make(&f);
    struct store *rocks = rocks_open(f.tables, false), *twin = store_create_memory();
    for (uint64_t i = 1; i <= 300; i++) {
        batch_make(&b, i);
        assert_int_equal(rocks->calls->write(rocks, &b), OK);
        assert_int_equal(twin->calls->write(twin, &b), OK);
        if (i % 40 == 0) {
            assert_int_equal(rocks->calls->sync(rocks), OK);
            assert_int_equal(twin->calls->sync(twin), OK);
            same(rocks, twin);
        }
    }
    same(rocks, twin);
    assert_int_equal(rocks->calls->sync(rocks), OK);
    assert_int_equal(twin->calls->sync(twin), OK);
    assert_int_equal(rocks->calls->checkpoint(rocks, f.copy), OK);
    /* the folder is there already */
    assert_int_not_equal(rocks->calls->checkpoint(rocks, f.copy), OK);
    assert_int_equal(rocks->calls->verify(rocks, &why), OK);
    assert_true(rocks->calls->bytes_used(rocks) > 1000);
    batch_make(&b, 301); /* not in the copy */
    assert_int_equal(rocks->calls->write(rocks, &b), OK);
    rocks->calls->close(rocks);
    struct store *copy = rocks_open(f.copy, true);
    same(copy, twin);
    copy->calls->close(copy);
    twin->calls->close(twin);
    buf_done(&b.data);
    buf_done(&why);
    folder_remove(&f);
}

static int write_and_die(const char *dir, uint64_t n) {
    struct table_batch b = {0};
    struct store *s = rocks_open(dir, false);
    for (uint64_t i = 1; i <= n; i++) {
        batch_make(&b, i);
        if (s->calls->write(s, &b) != OK ||
            (i % SYNC_EVERY == 0 && i < n / 2 && s->calls->sync(s) != OK))
            _exit(1);
    }
    _exit(0);
}

/* A process writes batches 1..n, syncs every seventh, and ends without closing: what is there again
 * is the state after some batch, none but whole ones, no older than the last sync. */
static void a_death_leaves_whole_batches_in_order(void **state) {
    (void)state;
    for (uint64_t n = 5; n <= 320; n += 45) {
        struct folder f;
        folder_make(&f);
        pid_t child = fork();
        /* a program of its own: the threads of RocksDB do not live through a fork */
        if (child == 0) {
            char count[24];
            snprintf(count, sizeof count, "%llu", (unsigned long long)n);
            execl("/proc/self/exe", "store_test", f.tables, count, NULL);
            _exit(2);
        }
        int status;
        assert_int_equal(waitpid(child, &status, 0), child);
        assert_int_equal(status, 0);
        struct store *rocks = rocks_open(f.tables, false), *twin = store_create_memory();
        struct buf v = {0};
        uint64_t k = 0, synced = n / 2 ? (n / 2 - 1) / SYNC_EVERY * SYNC_EVERY : 0;
        if (rocks->calls->get(rocks, 0, BYTES("number"), &v) == OK) memcpy(&k, v.p, sizeof k);
        assert_true(k >= synced && k <= n);
        struct table_batch b = {0};
        for (uint64_t i = 1; i <= k; i++) {
            batch_make(&b, i);
            assert_int_equal(twin->calls->write(twin, &b), OK);
        }
        same(rocks, twin);
        rocks->calls->close(rocks);
        twin->calls->close(twin);
        buf_done(&b.data);
        buf_done(&v);
        folder_remove(&f);
    }
}

static void damage(const char *dir) {
    DIR *d = opendir(dir);
    assert_non_null(d);
    int files = 0;
    for (struct dirent *e; (e = readdir(d));) {
        char path[400];
        struct stat st;
        if (!strstr(e->d_name, ".sst")) continue;
        snprintf(path, sizeof path, "%s/%s", dir, e->d_name);
        FILE *f = fopen(path, "r+");
        assert_non_null(f);
        assert_int_equal(stat(path, &st), 0);
        fseek(f, st.st_size / 4, SEEK_SET);
        int c = fgetc(f);
        fseek(f, st.st_size / 4, SEEK_SET);
        fputc(c ^ 1, f);
        fclose(f);
        files++;
    }
    closedir(d);
    assert_true(files > 0);
}

static void damage_is_found(void **state) {
    (void)state;
    struct folder f;
    struct table_batch b = {0};
    struct buf why = {0};
    folder_make(&f);
    struct store *s = rocks_open(f.tables, false);
    for (uint64_t i = 1; i <= 100; i++) {
        batch_make(&b, i);
        assert_int_equal(s->calls->write(s, &b), OK);
    }
    assert_int_equal(s->calls->sync(s), OK);
    s->calls->close(s);
    damage(f.tables);
    s = rocks_open(f.tables, true);
    assert_int_equal(s->calls->verify(s, &why), CORRUPT);
    assert_true(why.n > 0);
    s->calls->close(s);
    buf_done(&b.data);
    buf_done(&why);
    folder_remove(&f);
}

static void another_format_is_refused(void **state) {
    (void)state;
    struct folder f;
    struct table_batch b = {0};
    struct buf why = {0};
    folder_make(&f);
    struct store *s = rocks_open(f.tables, false), *none = NULL;
    table_batch_add(&b, 0xffff, BYTES("format"), BYTES("kith tables 999"));
    assert_int_equal(s->calls->write(s, &b), OK);
    assert_int_equal(s->calls->sync(s), OK);
    s->calls->close(s);
    struct store_options o = {.dir = f.tables};
    assert_int_equal(store_open_rocksdb(&o, &none, &why), STALE);
    assert_null(none);
    buf_char(&why, 0);
    assert_non_null(strstr((char *)why.p, "kith tables 999"));
    buf_done(&b.data);
    buf_done(&why);
    folder_remove(&f);
}

/* Whoever checks looks beside a large value for many small things: it is read once. */
static void a_reader_keeps_a_large_value(void **state) {
    (void)state;
    enum { LARGE = 700 << 10 }; /* most of the cache of rocks_open() */
    struct folder f;
    struct table_batch b = {0};
    struct buf v = {0};
    struct rng r = {1};
    folder_make(&f);
    while (v.n < LARGE) buf_char(&v, (char)rng_next(&r));
    struct store *s = rocks_open(f.tables, false);
    table_batch_add(&b, 0, BYTES("large"), buf_view(&v));
    assert_int_equal(s->calls->write(s, &b), OK);
    assert_int_equal(s->calls->sync(s), OK);
    s->calls->close(s);
    s = rocks_open(f.tables, true);
    uint64_t before = s->calls->bytes_held(s);
    buf_reset(&v);
    assert_int_equal(s->calls->get(s, 0, BYTES("large"), &v), OK);
    assert_true(s->calls->bytes_held(s) >= before + LARGE);
    s->calls->close(s);
    buf_done(&b.data);
    buf_done(&v);
    folder_remove(&f);
}

static void the_twin_fails_and_loses_when_told(void **state) {
    (void)state;
    struct store *s = store_create_memory();
    struct table_batch b = {0};
    struct buf v = {0};
    store_memory_fail(s, 2, LIMIT);
    batch_make(&b, 1);
    assert_int_equal(s->calls->write(s, &b), LIMIT);
    assert_int_equal(s->calls->get(s, 0, BYTES("number"), &v), MISSING);
    assert_int_equal(s->calls->sync(s), LIMIT);
    for (uint64_t i = 1; i <= 5; i++) {
        batch_make(&b, i);
        assert_int_equal(s->calls->write(s, &b), OK);
        if (i == 2) assert_int_equal(s->calls->sync(s), OK);
    }
    assert_int_equal(store_memory_unsynced(s), 3);
    store_memory_crash(s, 1);
    assert_int_equal(s->calls->get(s, 0, BYTES("number"), &v), OK);
    assert_int_equal(v.p[0], 3);
    buf_done(&b.data);
    buf_done(&v);
    s->calls->close(s);
}

int main(int argc, char **argv) {
    if (argc == 3) return write_and_die(argv[1], strtoull(argv[2], NULL, 10));
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_death_leaves_whole_batches_in_order),
        cmocka_unit_test(the_twin_answers_as_rocksdb_does),
        cmocka_unit_test(damage_is_found),
        cmocka_unit_test(another_format_is_refused),
        cmocka_unit_test(a_reader_keeps_a_large_value),
        cmocka_unit_test(the_twin_fails_and_loses_when_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
