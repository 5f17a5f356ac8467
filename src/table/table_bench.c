/* table, measured: what docs/decision/001-tables.md quotes. RocksDB in a folder given as the first
 * argument (default /tmp): messages written as rows and as blocks of 64, written and synced, the
 * newest 50 read; then cells: hit, edit, miss, freeze. Prints; nothing here can fail.
 * SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "table/table.h"

enum {
    ROUNDS = 7,
    MESSAGES = 200000,
    CONVERSATIONS = 1000,
    BATCH = 4096,
    MESSAGE_BYTES = 150,
    BLOCK = 64,
    READS = 20000
};

static int64_t now_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000000000ll + t.tv_nsec;
}
static int cmp(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}
static double median(double *v, int n) {
    qsort(v, (size_t)n, sizeof *v, cmp);
    return v[n / 2];
}

static struct bytes key_of(uint8_t room[16], uint64_t conversation, uint64_t n) {
    for (int i = 0; i < 8; i++) {
        room[i] = (uint8_t)(hash64(bytes_of(&conversation, 8)) >> (8 * i));
        room[8 + i] = (uint8_t)(n >> (56 - 8 * i));
    }
    return bytes_of(room, 16);
}

static struct store *open_in(const char *top, const char *name) {
    char dir[300], command[400];
    struct store *s = NULL;
    struct buf why = {0};
    snprintf(dir, sizeof dir, "%s/%s", top, name);
    snprintf(command, sizeof command, "rm -rf '%s'", dir);
    check(system(command) == 0);
    struct store_options o = {.dir = dir};
    check(store_open_rocksdb(&o, &s, &why) == OK);
    return s;
}

/* Every message is a row of its own. */
static void rows_write(struct store *s, uint64_t first) {
    struct table_batch b = {0};
    uint8_t room[16], text[MESSAGE_BYTES];
    memset(text, 'm', sizeof text);
    for (uint64_t i = first; i < first + BATCH; i++)
        table_batch_add(
            &b, 0, key_of(room, i % CONVERSATIONS, i / CONVERSATIONS), bytes_of(text, sizeof text));
    check(s->calls->write(s, &b) == OK);
    buf_done(&b.data);
}

/* Apply keeps the block in memory; a freeze writes each block that changed once, whole. */
static void blocks_write(
    struct store *s, struct cells *cells, uint64_t first, uint64_t generation) {
    struct table_batch b = {0};
    uint8_t room[16], text[MESSAGE_BYTES];
    memset(text, 'm', sizeof text);
    for (uint64_t i = first; i < first + BATCH; i++) {
        struct cell *c =
            cells_get(cells, key_of(room, i % CONVERSATIONS, i / CONVERSATIONS / BLOCK));
        cells_append(cells, c, bytes_of(text, sizeof text));
    }
    cells_freeze(cells, &b, generation);
    check(s->calls->write(s, &b) == OK);
    cells_flushed(cells, generation);
    cells_turn_end(cells);
    buf_done(&b.data);
}

static bool until_50(void *arg, struct bytes key, struct bytes value) {
    (void)key;
    (void)value;
    return ++*(int *)arg < 50;
}

static void writes(const char *top) {
    double row[ROUNDS], block[ROUNDS], row_sync[ROUNDS], block_sync[ROUNDS], worst_row = 0,
                                                                             worst_block = 0;
    uint64_t row_bytes = 0, block_bytes = 0;
    for (int r = 0; r < ROUNDS; r++) {
        struct store *rows = open_in(top, "rows"), *blocks = open_in(top, "blocks");
        struct cells *cells = cells_create(blocks, 0, 64u << 20);
        int64_t t = now_ns(), spent = 0;
        for (uint64_t i = 0; i < MESSAGES; i += BATCH) {
            int64_t one = now_ns();
            rows_write(rows, i);
            one = now_ns() - one;
            if ((double)one > worst_row) worst_row = (double)one;
        }
        row[r] = (double)(now_ns() - t) / MESSAGES;
        t = now_ns();
        check(rows->calls->sync(rows) == OK);
        row_sync[r] = (double)(now_ns() - t) / 1e6;
        t = now_ns();
        for (uint64_t i = 0; i < MESSAGES; i += BATCH) {
            int64_t one = now_ns();
            blocks_write(blocks, cells, i, i + 1);
            one = now_ns() - one;
            if ((double)one > worst_block) worst_block = (double)one;
        }
        spent = now_ns() - t;
        block[r] = (double)spent / MESSAGES;
        t = now_ns();
        check(blocks->calls->sync(blocks) == OK);
        block_sync[r] = (double)(now_ns() - t) / 1e6;
        row_bytes = rows->calls->bytes_used(rows);
        block_bytes = blocks->calls->bytes_used(blocks);
        cells_free(&cells);
        rows->calls->close(rows);
        blocks->calls->close(blocks);
    }
    printf("rows:   %6.0f ns a message written, worst batch of %d: %.1f ms, sync %.0f ms, %llu MB "
           "on disk\n",
        median(row, ROUNDS), BATCH, worst_row / 1e6, median(row_sync, ROUNDS),
        (unsigned long long)(row_bytes >> 20));
    printf("blocks: %6.0f ns a message written, worst batch of %d: %.1f ms, sync %.0f ms, %llu MB "
           "on disk\n",
        median(block, ROUNDS), BATCH, worst_block / 1e6, median(block_sync, ROUNDS),
        (unsigned long long)(block_bytes >> 20));
}

static void reads(const char *top) {
    char dir[300];
    struct buf why = {0}, v = {0};
    uint8_t room[16];
    double scan[ROUNDS], get[ROUNDS];
    struct store *rows, *blocks;
    snprintf(dir, sizeof dir, "%s/rows", top);
    check(store_open_rocksdb(&(struct store_options){.dir = dir, .read_only = true}, &rows, &why) ==
          OK);
    snprintf(dir, sizeof dir, "%s/blocks", top);
    check(store_open_rocksdb(
              &(struct store_options){.dir = dir, .read_only = true}, &blocks, &why) == OK);
    for (int r = 0; r < ROUNDS; r++) {
        int64_t t = now_ns();
        for (uint64_t i = 0; i < READS; i++) {
            int n = 0;
            check(
                rows->calls->scan(rows, 0, bytes_of(key_of(room, i * 7919 % CONVERSATIONS, 0).p, 8),
                    until_50, &n) == OK);
        }
        scan[r] = (double)(now_ns() - t) / READS;
        t = now_ns();
        for (uint64_t i = 0; i < READS; i++) {
            buf_reset(&v);
            check(
                blocks->calls->get(blocks, 0, key_of(room, i * 7919 % CONVERSATIONS, 1), &v) == OK);
        }
        get[r] = (double)(now_ns() - t) / READS;
    }
    printf("50 messages of one conversation: %.1f us by rows, %.1f us as one block\n",
        median(scan, ROUNDS) / 1e3, median(get, ROUNDS) / 1e3);
    rows->calls->close(rows);
    blocks->calls->close(blocks);
    buf_done(&v);
    buf_done(&why);
}

static void memory(const char *top) {
    enum { CELLS = 100000 };
    uint8_t room[16], value[48] = {1};
    double hit[ROUNDS], edit[ROUNDS], freeze[ROUNDS], miss[ROUNDS];
    struct store *s = open_in(top, "cells");
    struct cells *cells = cells_create(s, 0, 1ull << 30);
    for (int r = 0; r < ROUNDS; r++) {
        struct table_batch b = {0};
        int64_t t = now_ns();
        for (uint64_t i = 0; i < CELLS; i++)
            cells_put(cells, cells_get(cells, key_of(room, i * 7919 % CELLS, 0)),
                bytes_of(value, sizeof value));
        edit[r] = (double)(now_ns() - t) / CELLS;
        t = now_ns();
        for (uint64_t i = 0; i < CELLS; i++)
            (void)cells_get(cells, key_of(room, i * 104729 % CELLS, 0));
        hit[r] = (double)(now_ns() - t) / CELLS;
        t = now_ns();
        cells_freeze(cells, &b, (uint64_t)r + 1);
        freeze[r] = (double)(now_ns() - t) / CELLS;
        check(s->calls->write(s, &b) == OK);
        check(s->calls->sync(s) == OK);
        cells_flushed(cells, (uint64_t)r + 1);
        buf_done(&b.data);
        struct cells *cold = cells_create(s, 0, 1ull << 30);
        t = now_ns();
        for (uint64_t i = 0; i < READS; i++)
            (void)cells_get(cold, key_of(room, i * 7919 % CELLS, 0));
        miss[r] = (double)(now_ns() - t) / READS;
        cells_free(&cold);
    }
    printf("cells, 100,000 of 48 bytes: hit %.0f ns, put %.0f ns, freeze %.0f ns, miss %.0f ns (a "
           "load from RocksDB's cache)\n",
        median(hit, ROUNDS), median(edit, ROUNDS), median(freeze, ROUNDS), median(miss, ROUNDS));
    cells_free(&cells);
    s->calls->close(s);
}

int main(int argc, char **argv) {
    char top[200], command[300];
    snprintf(top, sizeof top, "%s/kith-table-bench-XXXXXX", argc > 1 ? argv[1] : "/tmp");
    check(mkdtemp(top));
    writes(top);
    reads(top);
    memory(top);
    snprintf(command, sizeof command, "rm -r '%s'", top);
    return system(command) != 0;
}
