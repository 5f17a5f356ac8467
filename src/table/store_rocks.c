/* table: the store on RocksDB, the only file that includes it. One column family, its own log off,
 * atomic flush on: a flush of the memtables makes every batch before it durable together. Key: u16
 * big-endian partition, then the key. SPDX-License-Identifier: Apache-2.0 */
#include <rocksdb/c.h>
#include <stdlib.h>
#include <string.h>

#include "table/table.h"

#define MEMTABLE_BYTES (32u << 20)
#define CACHE_BYTES (64u << 20)
#define BLOOM_BITS 10
/* One above the library's highest level. Its own log file is written on the same disk, and where
 * assertions are on (Debian's package), the second line after the disk became full ends the
 * process. Errors come back as words anyway. */
#define NO_LINES 6
#define FORMAT_PARTITION 0xffff
#define FORMAT "kith tables 3"

struct rocks {
    struct store store;
    rocksdb_t *db;
    rocksdb_options_t *options;
    rocksdb_env_t *env;
    rocksdb_block_based_table_options_t *table_options;
    rocksdb_cache_t *cache;
    rocksdb_writeoptions_t *write;
    rocksdb_readoptions_t *read;
    rocksdb_flushoptions_t *flush;
};

/* An error text of the library: space is waited for, all else is the machine's failure. */
static enum err err_of(char *e) {
    if (!e) return OK;
    enum err r = strstr(e, "No space") || strstr(e, "NoSpace") || strstr(e, "ENOSPC") ? LIMIT
                 : strstr(e, "orruption")                                             ? CORRUPT
                                                                                      : IO;
    rocksdb_free(e);
    return r;
}

static size_t key_make(uint8_t *room, uint16_t partition, struct bytes key) {
    check(key.n <= 1024);
    room[0] = (uint8_t)(partition >> 8);
    room[1] = (uint8_t)partition;
    if (key.n) memcpy(room + 2, key.p, key.n);
    return key.n + 2;
}

static enum err rocks_get(struct store *s, uint16_t partition, struct bytes key, struct buf *out) {
    struct rocks *r = (struct rocks *)s;
    uint8_t room[1026];
    size_t n = key_make(room, partition, key);
    char *e = NULL;
    rocksdb_pinnableslice_t *v = rocksdb_get_pinned(r->db, r->read, (const char *)room, n, &e);
    if (e) return err_of(e);
    if (!v) return MISSING;
    size_t size;
    const char *p = rocksdb_pinnableslice_value(v, &size);
    buf_add(out, p, size);
    rocksdb_pinnableslice_destroy(v);
    return OK;
}

/* Of the same key what came first stays first. */
static int by_key(const void *a, const void *b) {
    const struct table_change *x = a, *y = b;
    if (x->partition != y->partition) return x->partition > y->partition ? 1 : -1;
    int c = bytes_cmp(x->key, y->key);
    return c ? c : (x->key.p > y->key.p) - (x->key.p < y->key.p);
}

static void change_add(rocksdb_writebatch_t *w, const struct table_change *c) {
    uint8_t room[1026];
    const char *key = (const char *)room, *value = (const char *)c->value.p;
    size_t n = key_make(room, c->partition, c->key);
    if (c->append) rocksdb_writebatch_merge(w, key, n, value, c->value.n);
    else if (c->value.n) rocksdb_writebatch_put(w, key, n, value, c->value.n);
    else rocksdb_writebatch_delete(w, key, n);
}

/* In the order of keys: the memtable's list then finds the next place beside
 * the last one. */
static enum err rocks_write(struct store *s, const struct table_batch *b) {
    struct rocks *r = (struct rocks *)s;
    rocksdb_writebatch_t *w = rocksdb_writebatch_create();
    struct unpack u = unpack_of(buf_view(&b->data));
    struct table_change *all = must_alloc((b->changes + 1) * sizeof *all);
    size_t count = 0;
    while (count < b->changes && table_batch_next(&u, &all[count])) count++;
    check(count == b->changes && !unpack_more(&u));
    qsort(all, count, sizeof *all, by_key);
    for (size_t i = 0; i < count; i++) change_add(w, &all[i]);
    free(all);
    char *e = NULL;
    rocksdb_write(r->db, r->write, w, &e);
    rocksdb_writebatch_destroy(w);
    return err_of(e);
}

static enum err rocks_sync(struct store *s) {
    struct rocks *r = (struct rocks *)s;
    char *e = NULL;
    rocksdb_flush(r->db, r->flush, &e);
    return err_of(e);
}

static enum err rocks_scan(struct store *s, uint16_t partition, struct bytes prefix,
    bool (*fn)(void *, struct bytes, struct bytes), void *arg) {
    struct rocks *r = (struct rocks *)s;
    uint8_t room[1026];
    size_t n = key_make(room, partition, prefix);
    rocksdb_iterator_t *it = rocksdb_create_iterator(r->db, r->read);
    for (rocksdb_iter_seek(it, (const char *)room, n); rocksdb_iter_valid(it);
         rocksdb_iter_next(it)) {
        size_t kn, vn;
        const char *k = rocksdb_iter_key(it, &kn), *v = rocksdb_iter_value(it, &vn);
        if (kn < n || memcmp(k, room, n)) break;
        if (!fn(arg, bytes_of(k + 2, kn - 2), bytes_of(v, vn))) break;
    }
    char *e = NULL;
    rocksdb_iter_get_error(it, &e);
    rocksdb_iter_destroy(it);
    return err_of(e);
}

static enum err rocks_checkpoint(struct store *s, const char *to) {
    struct rocks *r = (struct rocks *)s;
    char *e = NULL;
    rocksdb_checkpoint_t *c = rocksdb_checkpoint_object_create(r->db, &e);
    if (!e) rocksdb_checkpoint_create(c, to, 0, &e);
    if (c) rocksdb_checkpoint_object_destroy(c);
    return err_of(e);
}

static enum err rocks_verify(struct store *s, struct buf *why) {
    struct rocks *r = (struct rocks *)s;
    rocksdb_readoptions_t *o = rocksdb_readoptions_create();
    rocksdb_readoptions_set_verify_checksums(o, 1);
    rocksdb_readoptions_set_fill_cache(o, 0);
    rocksdb_iterator_t *it = rocksdb_create_iterator(r->db, o);
    for (rocksdb_iter_seek_to_first(it); rocksdb_iter_valid(it);) rocksdb_iter_next(it);
    char *e = NULL;
    rocksdb_iter_get_error(it, &e);
    rocksdb_iter_destroy(it);
    rocksdb_readoptions_destroy(o);
    if (e) buf_fmt(why, "tables: %s\n", e);
    return err_of(e);
}

static uint64_t rocks_bytes_used(struct store *s) {
    uint64_t n = 0;
    (void)rocksdb_property_int(((struct rocks *)s)->db, "rocksdb.total-sst-files-size", &n);
    return n;
}

static uint64_t rocks_bytes_held(struct store *s) {
    static const char *const OWNERS[] = {"rocksdb.cur-size-all-mem-tables",
        "rocksdb.block-cache-usage", "rocksdb.estimate-table-readers-mem"};
    uint64_t sum = 0;
    for (size_t i = 0; i < sizeof OWNERS / sizeof *OWNERS; i++) {
        uint64_t n = 0;
        (void)rocksdb_property_int(((struct rocks *)s)->db, OWNERS[i], &n);
        sum += n;
    }
    return sum;
}

static void rocks_close(struct store *s) {
    struct rocks *r = (struct rocks *)s;
    if (r->db) rocksdb_close(r->db);
    rocksdb_options_destroy(r->options);
    rocksdb_env_destroy(r->env);
    rocksdb_block_based_options_destroy(r->table_options);
    rocksdb_cache_destroy(r->cache);
    rocksdb_writeoptions_destroy(r->write);
    rocksdb_readoptions_destroy(r->read);
    rocksdb_flushoptions_destroy(r->flush);
    free(r);
}

/* ---- appending: what was appended is stored as it came, and joined to what it was appended to
 * when that is read or compacted ---- */
static char *joined(const char *first, size_t first_size, const char *const *more,
    const size_t *sizes, int n, unsigned char *success, size_t *out_size) {
    size_t size = first_size, at = first_size;
    for (int i = 0; i < n; i++) size += sizes[i];
    char *v = malloc(size ? size : 1); /* freed by the library */
    check(v);
    if (first_size) memcpy(v, first, first_size);
    for (int i = 0; i < n; at += sizes[i++]) memcpy(v + at, more[i], sizes[i]);
    *success = 1;
    *out_size = size;
    return v;
}

static char *join_all(void *state, const char *key, size_t key_size, const char *existing,
    size_t existing_size, const char *const *operands, const size_t *sizes, int n,
    unsigned char *success, size_t *out_size) {
    (void)state;
    (void)key;
    (void)key_size;
    return joined(existing, existing ? existing_size : 0, operands, sizes, n, success, out_size);
}

static char *join_some(void *state, const char *key, size_t key_size, const char *const *operands,
    const size_t *sizes, int n, unsigned char *success, size_t *out_size) {
    return join_all(state, key, key_size, NULL, 0, operands, sizes, n, success, out_size);
}

static const char *join_name(void *state) {
    (void)state;
    return "kith append";
}
static void join_done(void *state) { (void)state; }

static const struct store_calls CALLS = {rocks_get, rocks_write, rocks_sync, rocks_scan,
    rocks_checkpoint, rocks_verify, rocks_bytes_used, rocks_bytes_held, rocks_close};

/* The cache for blocks is cut into pieces for threads that use it at the same time, and keeps no
 * block that is larger than a piece. Who only reads is one thread, and looks for one thing after the
 * other where a value of megabytes may stand: in one piece it reads that once. */
static rocksdb_cache_t *cache_create(const struct store_options *o) {
    rocksdb_lru_cache_options_t *c = rocksdb_lru_cache_options_create();
    rocksdb_lru_cache_options_set_capacity(c, o->cache_bytes ? o->cache_bytes : CACHE_BYTES);
    if (o->read_only) rocksdb_lru_cache_options_set_num_shard_bits(c, 0);
    rocksdb_cache_t *cache = rocksdb_cache_create_lru_opts(c);
    rocksdb_lru_cache_options_destroy(c);
    return cache;
}

static void options_set(struct rocks *r, const struct store_options *o) {
    uint64_t memtable = o->memtable_bytes ? o->memtable_bytes : MEMTABLE_BYTES;
    rocksdb_options_t *p = r->options = rocksdb_options_create();
    rocksdb_options_set_create_if_missing(p, !o->read_only);
    /* nobody waits for a flush or a compaction: whoever serves takes the core from them */
    r->env = rocksdb_create_default_env();
    rocksdb_env_lower_thread_pool_cpu_priority(r->env);
    rocksdb_env_lower_high_priority_thread_pool_cpu_priority(r->env);
    rocksdb_options_set_env(p, r->env);
    rocksdb_options_set_atomic_flush(p, 1);
    /* the options own it */
    rocksdb_options_set_merge_operator(
        p, rocksdb_mergeoperator_create(NULL, join_done, join_all, join_some, NULL, join_name));
    rocksdb_options_set_write_buffer_size(p, memtable);
    rocksdb_options_set_max_write_buffer_number(p, 4);
    rocksdb_options_set_max_background_jobs(p, 2);
    rocksdb_options_set_compression(p, rocksdb_no_compression);
    rocksdb_options_set_max_open_files(p, 512);
    rocksdb_options_set_keep_log_file_num(p, 2);
    rocksdb_options_set_info_log_level(p, NO_LINES);
    rocksdb_options_set_level_compaction_dynamic_level_bytes(p, 1);
    /* Each flush spans all keys, so the newest level is merged with the whole of the next: seldom,
     * and much at once, costs least; filters keep reads from looking into each file. */
    rocksdb_options_set_level0_file_num_compaction_trigger(p, 12);
    rocksdb_options_set_level0_slowdown_writes_trigger(p, 36);
    rocksdb_options_set_level0_stop_writes_trigger(p, 64);
    rocksdb_options_set_target_file_size_base(p, 64u << 20);
    rocksdb_options_set_max_bytes_for_level_base(p, 256u << 20);
    rocksdb_options_set_bytes_per_sync(p, 1u << 20);
    rocksdb_block_based_table_options_t *t = r->table_options =
        rocksdb_block_based_options_create();
    r->cache = cache_create(o);
    rocksdb_block_based_options_set_block_cache(t, r->cache);
    rocksdb_block_based_options_set_filter_policy(
        t, rocksdb_filterpolicy_create_bloom_full(BLOOM_BITS));
    rocksdb_block_based_options_set_format_version(t, 5);
    rocksdb_block_based_options_set_block_size(t, 16u << 10);
    rocksdb_options_set_block_based_table_factory(p, t);
    r->write = rocksdb_writeoptions_create();
    rocksdb_writeoptions_disable_WAL(r->write, 1);
    r->read = rocksdb_readoptions_create();
    r->flush = rocksdb_flushoptions_create();
    rocksdb_flushoptions_set_wait(r->flush, 1);
}

static enum err format_check(struct rocks *r, bool read_only, struct buf *why) {
    struct buf v = {0};
    enum err e = rocks_get(&r->store, FORMAT_PARTITION, BYTES("format"), &v);
    if (e == MISSING && !read_only) {
        struct table_batch b = {0};
        table_batch_add(&b, FORMAT_PARTITION, BYTES("format"), BYTES(FORMAT));
        e = rocks_write(&r->store, &b);
        buf_done(&b.data);
    } else if (e == MISSING) {
        e = OK; /* nothing was ever synced */
    } else if (e == OK && !bytes_is(buf_view(&v), FORMAT)) {
        buf_fmt(why, "the tables are of format '%.*s', this program reads '%s'", (int)v.n,
            (char *)v.p, FORMAT);
        e = STALE;
    }
    buf_done(&v);
    if (e == CORRUPT && read_only) return OK; /* who checks looks at every block, and names it */
    if (e == CORRUPT || e == IO)
        buf_str(why, "the tables cannot be read; they are damaged, 'kith check' names the file");
    return e;
}

enum err store_open_rocksdb(const struct store_options *o, struct store **out, struct buf *why) {
    struct rocks *r = must_alloc(sizeof *r);
    r->store.calls = &CALLS;
    options_set(r, o);
    char *e = NULL;
    r->db = o->read_only ? rocksdb_open_for_read_only(r->options, o->dir, 0, &e)
                         : rocksdb_open(r->options, o->dir, &e);
    enum err err = OK;
    if (e) {
        buf_fmt(why, "the tables in %s cannot be opened: %s", o->dir, e);
        err = err_of(e);
    } else {
        err = format_check(r, o->read_only, why);
    }
    if (err != OK) {
        rocks_close(&r->store);
        return err;
    }
    *out = &r->store;
    return OK;
}
