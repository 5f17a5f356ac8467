/* log: the file driver against a model, on a disk that fails: what poll gave is never lost, nothing
 * old comes back, positions have no gaps. Then its edges one by one, and the threads on a real
 * folder. SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "io/disk_twin.h"
#include "log/log_in.h"

enum { PARTITIONS = 4, LANES = 2, SEGMENT = 48 * 1024, POSITIONS_MAX = 6000, TAG_BYTES = 20 };

static uint16_t lane_of(void *arg, uint16_t p) {
    (void)arg;
    return p % LANES;
}

/* ---- the model ---- */
/* `life[p][i]`: which life wrote position i, 0 when the model knows of none. Up to `given` poll
 * gave it; up to `queued` it was appended in this life. */
struct world {
    struct rng rng;
    struct disk *disk;
    struct log *log;
    unsigned planted;
    uint32_t life;
    uint32_t wrote[PARTITIONS][POSITIONS_MAX];
    uint64_t given[PARTITIONS], queued[PARTITIONS], from[PARTITIONS];
    int64_t now_ms;
    bool dead, dying;
    const char *wrong; /* what was found, or NULL */
    uint64_t fatals, restarts, polled, limits, trims, refused_opens;
};

static void on_fatal(void *arg, const char *what) {
    (void)what;
    ((struct world *)arg)->dead = true;
    ((struct world *)arg)->fatals++;
}
static int64_t now_of(void *arg) { return ((struct world *)arg)->now_ms; }

static void found(struct world *w, const char *what) {
    if (!w->wrong) w->wrong = what;
}

/* A record says where it belongs, and the rest of it follows from that. */
static struct bytes record_make(
    uint8_t *room, uint16_t p, uint64_t position, uint32_t life, size_t n) {
    struct rng r = {position * 31 + p + (uint64_t)life * 7919};
    memset(room, 0, TAG_BYTES);
    memcpy(room, &p, 2);
    memcpy(room + 4, &position, 8);
    memcpy(room + 12, &life, 4);
    for (size_t i = TAG_BYTES; i < n; i++) room[i] = (uint8_t)rng_next(&r);
    return bytes_of(room, n);
}

static bool record_true(const struct log_record *r, uint32_t *out_life) {
    static uint8_t room[8192];
    if (r->data.n < TAG_BYTES || r->data.n > sizeof room) return false;
    memcpy(out_life, r->data.p + 12, 4);
    return bytes_eq(r->data, record_make(room, r->partition, r->position, *out_life, r->data.n));
}

static void take(struct world *w, const struct log_record *r, uint64_t *next) {
    uint32_t life = 0;
    uint16_t p = r->partition;
    if (p >= PARTITIONS || r->position >= POSITIONS_MAX || !record_true(r, &life))
        return found(w, "a record is not what was written");
    if (r->position != next[p]++) return found(w, "positions have a gap");
    if (w->wrote[p][r->position] != life)
        return found(w, "a record comes back that was never there, or had gone");
    w->polled++;
}

static void poll_all(struct world *w) {
    uint64_t next[PARTITIONS];
    struct log_record out[7];
    size_t n;
    for (int p = 0; p < PARTITIONS; p++) next[p] = w->given[p] + 1;
    for (unsigned lane = 0; lane < LANES; lane++)
        while (!w->wrong && (n = w->log->calls->poll(w->log, lane, out, 7)))
            for (size_t i = 0; i < n && !w->wrong; i++) take(w, &out[i], next);
    for (int p = 0; p < PARTITIONS; p++) w->given[p] = next[p] - 1;
}

static enum err world_open(struct world *w, struct buf *why) {
    struct log_options o = {.dir = "log",
        .disk = w->disk,
        .partitions = PARTITIONS,
        .lanes = LANES,
        .lane_of = lane_of,
        .from = w->from,
        .segment_bytes = SEGMENT,
        .queue_bytes = SEGMENT / 2,
        .fatal = on_fatal,
        .arg = w,
        .now_ms = now_of,
        .retention_ms = 100,
        .planted = w->planted};
    return log_open_file(&o, &w->log, why);
}

/* What was given must be there again from `from` on; behind it, what this last life had appended
 * may be, without a gap. */
static void replay_check(struct world *w) {
    uint64_t before[PARTITIONS], first, last;
    for (int p = 0; p < PARTITIONS; p++) {
        before[p] = w->given[p];
        w->given[p] = w->from[p] - 1;
    }
    poll_all(w);
    for (unsigned lane = 0; lane < LANES; lane++)
        if (!w->log->calls->caught_up(w->log, lane)) found(w, "not caught up after all was polled");
    for (uint16_t p = 0; p < PARTITIONS; p++) {
        if (w->given[p] < before[p]) found(w, "what was given is lost");
        w->log->calls->range(w->log, p, &first, &last);
        if (last != w->given[p]) found(w, "the range ends elsewhere");
        if (first > w->from[p] && last >= w->from[p])
            found(w, "more was trimmed than the tables hold");
        for (uint64_t i = w->given[p] + 1; i <= w->queued[p]; i++) w->wrote[p][i] = 0;
        w->queued[p] = w->given[p];
    }
}

static void log_end(struct world *w, bool power) {
    w->log->calls->close(w->log);
    w->log = NULL;
    if (power) disk_twin_crash(w->disk);
    if (power) w->dying = false;
}

static void world_restart(struct world *w, bool power) {
    struct buf why = {0};
    log_end(w, power);
    w->restarts++;
    for (int p = 0; p < PARTITIONS; p++)
        if (rng_below(&w->rng, 3) == 0)
            w->from[p] += rng_below(&w->rng, w->given[p] + 2 - w->from[p]);
    for (;;) {
        w->dead = false;
        if (rng_below(&w->rng, 6) == 0)
            disk_twin_die_after(w->disk, rng_below(&w->rng, 12)), w->dying = true;
        else if (rng_below(&w->rng, 6) == 0) disk_twin_fail_sync(w->disk);
        enum err e = world_open(w, &why);
        if (e == OK) break;
        if (e != IO && e != LIMIT) found(w, "an opening fails that should not");
        if (w->wrong) break;
        w->refused_opens++;
        if (rng_below(&w->rng, 2) || e == LIMIT) disk_twin_capacity(w->disk, UINT64_MAX);
        disk_twin_crash(w->disk);
        w->dying = false;
    }
    buf_done(&why);
    w->life++;
    if (!w->wrong) replay_check(w);
}

static void act_append(struct world *w) {
    uint8_t room[8192];
    uint16_t p = (uint16_t)rng_below(&w->rng, PARTITIONS);
    size_t n = TAG_BYTES + rng_below(&w->rng, rng_below(&w->rng, 8) ? 300 : 6000);
    bool must = rng_below(&w->rng, 4) == 0;
    if (w->queued[p] + 2 >= POSITIONS_MAX) return;
    enum err e = w->log->calls->append(w->log, lane_of(NULL, p), p,
        record_make(room, p, w->queued[p] + 1, w->life, n), must, NULL);
    if (e == OK) w->wrote[p][++w->queued[p]] = w->life;
    else if (e != AGAIN && e != LIMIT) found(w, "append gives another error");
    w->limits += e == LIMIT;
}

static void act_trim(struct world *w) {
    uint64_t below[PARTITIONS];
    for (int p = 0; p < PARTITIONS; p++) {
        if (rng_below(&w->rng, 2)) w->from[p] = w->given[p] + 1;
        below[p] = w->from[p];
    }
    w->log->calls->trim(w->log, below);
    w->trims++;
}

struct reading_back {
    struct world *w;
    uint64_t next[PARTITIONS], last;
};
static bool read_back(void *arg, const struct log_record *r) {
    struct reading_back *b = arg;
    take(b->w, r, b->next);
    b->last = r->position;
    return !b->w->wrong;
}

static void act_read(struct world *w) {
    uint16_t p = (uint16_t)rng_below(&w->rng, PARTITIONS);
    uint64_t first, last;
    w->log->calls->range(w->log, p, &first, &last);
    if (!last || !first) return;
    uint64_t from = 1 + rng_below(&w->rng, last), to = from + rng_below(&w->rng, last);
    struct reading_back b = {.w = w};
    b.next[p] = from;
    enum err e = w->log->calls->read(w->log, p, from, to, read_back, &b);
    /* a dying disk may take a file and say it did not */
    if (e != (from < first ? STALE : OK) && !w->dying) found(w, "read gives another error");
    if (e == OK && b.last != (to < last ? to : last)) found(w, "read gives not all");
}

static void act_fault(struct world *w) {
    switch (rng_below(&w->rng, 5)) {
    case 0: disk_twin_fail_sync(w->disk); break;
    case 1: disk_twin_fail_write(w->disk); break;
    case 2: disk_twin_die_after(w->disk, rng_below(&w->rng, 40)), w->dying = true; break;
    case 3: disk_twin_capacity(w->disk, SEGMENT * (1 + rng_below(&w->rng, 4))); break;
    default: disk_twin_capacity(w->disk, UINT64_MAX); break;
    }
}

static void act(struct world *w) {
    uint64_t what = rng_below(&w->rng, 100);
    w->now_ms += (int64_t)rng_below(&w->rng, 30);
    if (what < 60) act_append(w);
    else if (what < 78) w->log->calls->commit(w->log);
    else if (what < 88) poll_all(w);
    else if (what < 90) act_trim(w);
    else if (what < 93) act_read(w);
    else if (what < 96) act_fault(w);
    else world_restart(w, rng_below(&w->rng, 2));
    if (w->dead && !w->wrong) {
        if (w->log->calls->commit(w->log)) found(w, "a dead log commits");
        world_restart(w, rng_below(&w->rng, 2));
    }
}

static void whole_check(struct world *w) {
    struct buf why = {0};
    uint64_t records, all = 0;
    disk_twin_capacity(w->disk, UINT64_MAX);
    world_restart(w, true);
    for (uint16_t p = 0; p < PARTITIONS && !w->wrong; p++) {
        uint64_t first, last;
        w->log->calls->range(w->log, p, &first, &last);
        all += last ? last + 1 - (first ? first : last + 1) : 0;
    }
    if (!w->wrong && log_check("log", w->disk, PARTITIONS, NULL, &why, &records) != OK)
        found(w, "the check finds fault");
    else if (!w->wrong && records != all)
        found(w, "the check counts other records than the ranges");
    buf_done(&why);
}

/* Lives one story; adds what was reached to *sum. Gives what was wrong, or NULL. */
static const char *story(
    uint64_t seed, unsigned planted, struct world *sum, struct disk_twin_counts *met) {
    struct world *w = must_alloc(sizeof *w);
    struct rng disk_rng = {seed * 1000003};
    struct buf why = {0};
    w->rng.s = seed;
    w->planted = planted;
    w->life = 1;
    w->disk = disk_twin_create(&disk_rng);
    for (int p = 0; p < PARTITIONS; p++) w->from[p] = 1;
    assert_int_equal(world_open(w, &why), OK);
    for (int i = 0; i < 700 && !w->wrong; i++) act(w);
    if (!w->wrong) whole_check(w);
    const struct disk_twin_counts *c = disk_twin_counts(w->disk);
    met->syncs_failed += c->syncs_failed;
    met->writes_failed += c->writes_failed;
    met->sectors_torn += c->sectors_torn;
    met->full += c->full;
    met->deaths += c->deaths;
    sum->fatals += w->fatals;
    sum->restarts += w->restarts;
    sum->polled += w->polled;
    sum->limits += w->limits;
    sum->refused_opens += w->refused_opens;
    if (w->log) w->log->calls->close(w->log);
    const char *wrong = w->wrong;
    disk_twin_free(&w->disk);
    buf_done(&why);
    free(w);
    return wrong;
}

static void what_was_given_is_never_lost(void **state) {
    (void)state;
    struct world *sum = must_alloc(sizeof *sum);
    struct disk_twin_counts met = {0};
    for (uint64_t seed = 1; seed <= 400; seed++) {
        const char *wrong = story(seed, 0, sum, &met);
        if (wrong) print_error("seed %llu: %s\n", (unsigned long long)seed, wrong);
        assert_null(wrong);
    }
    assert_true(sum->fatals > 100 && sum->restarts > 1000 && sum->polled > 10000 &&
                sum->limits > 10 && sum->refused_opens > 50);
    assert_true(met.syncs_failed > 50 && met.writes_failed > 50 && met.sectors_torn > 100 &&
                met.deaths > 100);
    free(sum);
}

static void planted_bugs_are_found(void **state) {
    (void)state;
    struct world *sum = must_alloc(sizeof *sum);
    struct disk_twin_counts met = {0};
    for (unsigned bug = BUG_TORN_TAIL_ACCEPTED; bug <= BUG_ACK_BEFORE_SYNC; bug++) {
        int finds = 0;
        for (uint64_t seed = 1; seed <= 60; seed++) finds += story(seed, bug, sum, &met) != NULL;
        if (finds < 5) print_error("bug %u: found by %d seeds of 60\n", bug, finds);
        assert_true(finds >= 5);
    }
    free(sum);
}

/* ---- edges, one by one ---- */
static struct world *quiet_world(uint64_t seed) {
    static struct rng disk_rng;
    struct world *w = must_alloc(sizeof *w);
    struct buf why = {0};
    disk_rng.s = seed;
    w->rng.s = seed;
    w->life = 1;
    w->disk = disk_twin_create(&disk_rng);
    for (int p = 0; p < PARTITIONS; p++) w->from[p] = 1;
    assert_int_equal(world_open(w, &why), OK);
    return w;
}

static void world_end(struct world **pw) {
    if ((*pw)->log) (*pw)->log->calls->close((*pw)->log);
    disk_twin_free(&(*pw)->disk);
    free(*pw);
    *pw = NULL;
}

static enum err append(struct world *w, uint16_t p, size_t n, bool must) {
    uint8_t room[8192];
    enum err e = w->log->calls->append(w->log, lane_of(NULL, p), p,
        record_make(room, p, w->queued[p] + 1, w->life, n), must, NULL);
    if (e == OK) w->wrote[p][++w->queued[p]] = w->life;
    return e;
}

static void give(struct world *w, uint16_t p, size_t n) {
    assert_int_equal(append(w, p, n, false), OK);
    assert_true(w->log->calls->commit(w->log));
    poll_all(w);
    assert_null(w->wrong);
}

static void reopen(struct world *w, enum err expected, const char *words) {
    struct buf why = {0};
    log_end(w, false);
    enum err e = world_open(w, &why);
    buf_char(&why, 0);
    if (e != expected) print_error("%s: %s\n", err_name(e), (char *)why.p);
    assert_int_equal(e, expected);
    if (words) assert_non_null(strstr((char *)why.p, words));
    buf_done(&why);
    w->life++;
    if (e == OK) replay_check(w);
    assert_null(w->wrong);
}

static void nothing_is_given_before_the_sync(void **state) {
    (void)state;
    struct world *w = quiet_world(1);
    struct log_record r;
    assert_int_equal(append(w, 0, 100, false), OK);
    assert_int_equal(w->log->calls->poll(w->log, 0, &r, 1), 0);
    disk_twin_fail_sync(w->disk);
    assert_false(w->log->calls->commit(w->log));
    assert_int_equal(w->fatals, 1);
    assert_int_equal(w->log->calls->poll(w->log, 0, &r, 1), 0);
    assert_int_equal(append(w, 0, 100, false), OK);
    assert_false(w->log->calls->commit(w->log)); /* dead stays dead */
    assert_int_equal(w->fatals, 1);
    world_end(&w);
}

/* The kernel takes pages for clean after a failed sync: they read back, and a power cut still loses
 * them. The opening between must have written them again. */
static void what_reads_back_after_a_failed_sync_is_made_true(void **state) {
    (void)state;
    int survived = 0;
    for (uint64_t seed = 1; seed <= 40; seed++) {
        struct world *w = quiet_world(seed);
        give(w, 0, 900);
        assert_int_equal(append(w, 0, 900, false), OK);
        disk_twin_fail_sync(w->disk);
        assert_false(w->log->calls->commit(w->log));
        reopen(w, OK, NULL);
        survived += w->given[0] == 2;
        uint64_t given = w->given[0];
        log_end(w, true);
        struct buf why = {0};
        assert_int_equal(world_open(w, &why), OK);
        replay_check(w);
        assert_null(w->wrong);
        assert_int_equal(w->given[0], given);
        world_end(&w);
    }
    assert_true(survived > 10);
}

static void full_disk_refuses_keeps_the_reserve_and_goes_on(void **state) {
    (void)state;
    struct world *w = quiet_world(3);
    disk_twin_capacity(w->disk, 2 * SEGMENT);
    enum err e;
    int ordinary = 0, promised = 0;
    while ((e = append(w, 0, 1000, false)) == OK || e == AGAIN) {
        ordinary += e == OK;
        w->log->calls->commit(w->log);
    }
    assert_int_equal(e, LIMIT);
    assert_true(w->log->calls->room(w->log) < 1100);
    while ((e = append(w, 0, 1000, true)) == OK) promised++, w->log->calls->commit(w->log);
    assert_int_equal(e, LIMIT);
    assert_true(ordinary >= 70 && promised >= SEGMENT / 8 / 1100);
    assert_int_equal(w->fatals, 0);
    reopen(w, OK, NULL); /* a full disk does not keep it from starting */
    assert_int_equal(w->given[0], ordinary + promised);
    assert_int_equal(append(w, 0, 1000, false), LIMIT);
    disk_twin_capacity(w->disk, UINT64_MAX);
    w->log->calls->commit(w->log); /* the spare is made */
    give(w, 0, 1000);
    world_end(&w);
}

static void queue_bound_says_again(void **state) {
    (void)state;
    struct world *w = quiet_world(4);
    enum err e;
    while ((e = append(w, 1, 1000, false)) == OK) {
    }
    assert_int_equal(e, AGAIN);
    assert_int_equal(append(w, 1, 1000, true), OK);
    w->log->calls->commit(w->log);
    assert_int_equal(append(w, 1, 1000, false), OK);
    world_end(&w);
}

static void trim_asks_tables_and_retention(void **state) {
    (void)state;
    struct world *w = quiet_world(5);
    uint64_t first, last, none[PARTITIONS] = {0}, all[PARTITIONS];
    for (int i = 0; i < 150; i++) give(w, (uint16_t)(i % 3), 1000);
    for (int p = 0; p < PARTITIONS; p++) all[p] = w->given[p] + 1;
    w->now_ms = 1000;
    w->log->calls->trim(w->log, none);
    w->log->calls->range(w->log, 0, &first, &last);
    assert_int_equal(first, 1);
    w->now_ms = 50; /* younger than the retention */
    w->log->calls->trim(w->log, all);
    w->log->calls->range(w->log, 0, &first, &last);
    assert_int_equal(first, 1);
    w->now_ms = 1000;
    w->log->calls->trim(w->log, all);
    w->log->calls->range(w->log, 0, &first, &last);
    assert_true(first > 1 && last == 50);
    struct reading_back b = {.w = w};
    assert_int_equal(w->log->calls->read(w->log, 0, 1, 50, read_back, &b), STALE);
    b.next[0] = first;
    assert_int_equal(w->log->calls->read(w->log, 0, first, 50, read_back, &b), OK);
    assert_int_equal(b.last, 50);
    w->log->calls->range(w->log, 3, &first, &last); /* never had a record */
    assert_true(first == 0 && last == 0);
    assert_int_equal(w->log->calls->read(w->log, 3, 1, 9, read_back, &b), OK);
    for (int p = 0; p < PARTITIONS; p++) w->from[p] = all[p];
    reopen(w, OK, NULL);
    world_end(&w);
}

/* Nothing is written any more: what there is leaves the log all the same when its time has passed.
 * */
static void a_quiet_log_forgets_too(void **state) {
    (void)state;
    struct world *w = quiet_world(9);
    uint64_t first, last, below[PARTITIONS] = {1, 6, 1, 1};
    for (int i = 0; i < 5; i++) give(w, 1, 100);
    w->now_ms += 30000;
    w->log->calls->trim(w->log, below);
    assert_false(w->log->calls->commit(w->log));
    w->log->calls->range(w->log, 1, &first, &last);
    assert_true(first == 1 && last == 5);
    w->now_ms += 40000;
    w->log->calls->trim(w->log, below); /* closes the segment */
    assert_false(w->log->calls->commit(w->log));
    w->now_ms += 200;
    w->log->calls->trim(w->log, below);
    w->log->calls->range(w->log, 1, &first, &last);
    assert_true(first == 0 && last == 5);
    w->from[1] = 6;
    reopen(w, OK, NULL);
    give(w, 1, 100);
    world_end(&w);
}

static void tables_ahead_of_the_log_are_refused(void **state) {
    (void)state;
    struct world *w = quiet_world(6);
    give(w, 2, 100);
    w->from[2] = 3;
    reopen(w, CORRUPT, "partition 2 ends at 1");
    world_end(&w);
}

static enum err (*under_pread)(struct disk *, int, void *, size_t, uint64_t, size_t *);
static uint64_t read_bytes;
static enum err counting_pread(
    struct disk *d, int fd, void *p, size_t n, uint64_t at, size_t *out_n) {
    read_bytes += n;
    return under_pread(d, fd, p, n, at, out_n);
}

static struct world *writing;
static enum err pread_after_commits(
    struct disk *d, int fd, void *p, size_t n, uint64_t at, size_t *out_n) {
    for (int i = 0; i < 4; i++) give(writing, 0, 1500);
    return under_pread(d, fd, p, n, at, out_n);
}

static void copy_has_no_hole_where_the_log_went_on(void **state) {
    (void)state;
    struct world *w = writing = quiet_world(8);
    struct buf why = {0};
    uint64_t records;
    for (int i = 0; i < 7; i++) give(w, 1, 1500);
    under_pread = w->disk->pread;
    w->disk->pread = pread_after_commits;
    w->log->calls->keep(w->log, true);
    assert_int_equal(w->log->calls->copy(w->log, "copy", &why), OK);
    w->log->calls->keep(w->log, false);
    w->disk->pread = under_pread;
    assert_int_equal(log_check("copy", w->disk, PARTITIONS, NULL, &why, &records), OK);
    assert_int_equal(records, 7);
    world_end(&w);
    buf_done(&why);
}

static void opening_reads_only_what_the_tables_lack(void **state) {
    (void)state;
    struct world *w = quiet_world(7);
    for (int i = 0; i < 400; i++) give(w, (uint16_t)(i % PARTITIONS), 1000);
    under_pread = w->disk->pread;
    w->disk->pread = counting_pread;
    for (int p = 0; p < PARTITIONS; p++) w->from[p] = w->given[p] + 1;
    read_bytes = 0;
    reopen(w, OK, NULL);
    assert_true(read_bytes < 2 * SEGMENT + 10 * SEGMENT_HEADER);
    for (int p = 0; p < PARTITIONS; p++) w->from[p] = 1;
    reopen(w, OK, NULL);
    assert_true(read_bytes > 8 * SEGMENT);
    world_end(&w);
}

/* ---- the threads, on a real folder ---- */
enum { THREADED_RECORDS = 4000 };
struct threaded {
    struct log *log;
    pthread_mutex_t lock;
    pthread_cond_t cond;
    unsigned woken[LANES];
};
struct threaded_lane {
    struct threaded *t;
    unsigned lane;
    uint64_t polled, sum;
    bool wrong;
};

static void on_wake(void *arg, unsigned lane) {
    struct threaded *t = arg;
    pthread_mutex_lock(&t->lock);
    t->woken[lane]++;
    pthread_cond_broadcast(&t->cond);
    pthread_mutex_unlock(&t->lock);
}
static void never_fatal(void *arg, const char *what) {
    (void)arg;
    check_failed(what, 0, "fatal");
}
static int64_t now_zero(void *arg) {
    (void)arg;
    return 0;
}

/* A lane's thread: keeps some records under way and takes them in order; the other lane does the
 * same beside it. */
static void *lane_main(void *arg) {
    struct threaded_lane *l = arg;
    const struct log_calls *c = l->t->log->calls;
    uint8_t room[8192];
    uint64_t next[PARTITIONS] = {0}, sent = 0, taken[PARTITIONS] = {0};
    struct log_record out[16];
    while (l->polled < THREADED_RECORDS && !l->wrong) {
        pthread_mutex_lock(&l->t->lock);
        unsigned woken = l->t->woken[l->lane];
        pthread_mutex_unlock(&l->t->lock);
        while (sent < THREADED_RECORDS && sent - l->polled < 200) {
            uint16_t p = (uint16_t)(l->lane + LANES * (sent % (PARTITIONS / LANES)));
            if (c->append(l->t->log, l->lane, p,
                    record_make(room, p, next[p] + 1, 1, TAG_BYTES + sent % 700), false,
                    NULL) != OK)
                break;
            next[p]++;
            sent++;
        }
        c->kick(l->t->log, l->lane);
        size_t n = c->poll(l->t->log, l->lane, out, 16);
        for (size_t i = 0; i < n; i++) l->wrong |= out[i].position != ++taken[out[i].partition];
        l->polled += n;
        if (n) continue;
        struct timespec until;
        clock_gettime(CLOCK_REALTIME, &until);
        /* a refused append (the spare in the making) is tried again without a wake */
        until.tv_nsec += 20 * 1000 * 1000;
        until.tv_sec += until.tv_nsec / 1000000000;
        until.tv_nsec %= 1000000000;
        pthread_mutex_lock(&l->t->lock);
        if (l->t->woken[l->lane] == woken) pthread_cond_timedwait(&l->t->cond, &l->t->lock, &until);
        pthread_mutex_unlock(&l->t->lock);
    }
    return NULL;
}

static void folder_remove(const char *dir) {
    char command[600];
    snprintf(command, sizeof command, "rm -r '%s'", dir);
    assert_int_equal(system(command), 0);
}

/* A copy of a log that is being written is as sound as the log, and holds what was durable before.
 * */
static void copy_is_sound(struct log *log, const char *top, int i) {
    char to[64];
    uint64_t records, first[PARTITIONS], last[PARTITIONS], kept = 0;
    struct buf why = {0};
    snprintf(to, sizeof to, "%s/copy%d", top, i);
    log->calls->keep(log, true);
    for (uint16_t p = 0; p < PARTITIONS; p++) {
        log->calls->range(log, p, &first[p], &last[p]);
        kept += first[p] ? last[p] - first[p] + 1 : 0;
    }
    assert_int_equal(log->calls->copy(log, to, &why), OK);
    log->calls->keep(log, false);
    assert_int_equal(log_check(to, disk_real(), PARTITIONS, NULL, &why, &records), OK);
    assert_true(records >= kept);
    buf_done(&why);
}

static void lanes_run_side_by_side_on_a_real_disk(void **state) {
    (void)state;
    char top[] = "/tmp/kith-log-XXXXXX", dir[64];
    assert_non_null(mkdtemp(top));
    snprintf(dir, sizeof dir, "%s/log", top);
    uint64_t from[PARTITIONS] = {1, 1, 1, 1}, below[PARTITIONS], records;
    struct threaded t = {.lock = PTHREAD_MUTEX_INITIALIZER, .cond = PTHREAD_COND_INITIALIZER};
    struct log_options o = {.dir = dir,
        .disk = disk_real(),
        .partitions = PARTITIONS,
        .lanes = LANES,
        .lane_of = lane_of,
        .from = from,
        .segment_bytes = 256 * 1024,
        .thread = true,
        .wake = on_wake,
        .fatal = never_fatal,
        .arg = &t,
        .now_ms = now_zero};
    struct buf why = {0};
    assert_int_equal(log_open_file(&o, &t.log, &why), OK);
    struct threaded_lane lanes[LANES] = {{.t = &t, .lane = 0}, {.t = &t, .lane = 1}};
    pthread_t threads[LANES];
    for (int i = 0; i < LANES; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, lane_main, &lanes[i]), 0);
    for (int i = 0; i < 20; i++) { /* what other threads may call meanwhile */
        uint64_t first;
        for (uint16_t p = 0; p < PARTITIONS; p++) {
            t.log->calls->range(t.log, p, &first, &below[p]);
            below[p] = below[p] / 2 + 1;
        }
        if (i % 5 == 4) t.log->calls->trim(t.log, below);
        if (i % 5 < 2) copy_is_sound(t.log, top, i);
        usleep(2000);
    }
    for (int i = 0; i < LANES; i++) assert_int_equal(pthread_join(threads[i], NULL), 0);
    for (int i = 0; i < LANES; i++)
        assert_true(!lanes[i].wrong && lanes[i].polled == THREADED_RECORDS);
    uint8_t room[100] = {0};
    /* not kicked: closing commits it */
    assert_int_equal(
        t.log->calls->append(t.log, 1, 3, bytes_of(room, sizeof room), false, NULL), OK);
    t.log->calls->close(t.log);
    assert_int_equal(log_check(dir, disk_real(), PARTITIONS, NULL, &why, &records), OK);
    for (int p = 0; p < PARTITIONS; p++) from[p] = THREADED_RECORDS / 2 + 1;
    assert_int_equal(log_open_file(&o, &t.log, &why), OK);
    struct log_record r;
    assert_int_equal(t.log->calls->poll(t.log, 1, &r, 1), 1);
    assert_int_equal(r.position, THREADED_RECORDS / 2 + 1);
    assert_true(t.log->calls->caught_up(t.log, 0) && t.log->calls->caught_up(t.log, 1));
    t.log->calls->close(t.log);
    folder_remove(top);
    buf_done(&why);
}

/* ---- the memory driver keeps the same promises ---- */
static void memory_driver_forgets_only_what_was_not_committed(void **state) {
    (void)state;
    uint64_t from[PARTITIONS] = {1, 1, 1, 1};
    struct log *log;
    struct log_record out[8];
    struct log_options o = {
        .partitions = PARTITIONS, .lanes = LANES, .lane_of = lane_of, .from = from};
    assert_int_equal(log_open_memory(&o, &log), OK);
    for (int i = 0; i < 3; i++)
        assert_int_equal(log->calls->append(log, 1, 1, BYTES("kept"), false, NULL), OK);
    assert_int_equal(log->calls->poll(log, 1, out, 8), 0);
    assert_true(log->calls->commit(log));
    assert_false(log->calls->commit(log));
    assert_int_equal(log->calls->poll(log, 1, out, 8), 3);
    assert_int_equal(log->calls->append(log, 1, 1, BYTES("gone"), false, NULL), OK);
    from[1] = 2;
    log_memory_crash(log, from);
    assert_false(log->calls->caught_up(log, 1));
    assert_int_equal(log->calls->poll(log, 1, out, 8), 2);
    assert_true(out[0].position == 2 && out[1].position == 3 && bytes_is(out[1].data, "kept"));
    assert_true(log->calls->caught_up(log, 1));
    assert_int_equal(log->calls->append(log, 1, 1, BYTES("again"), false, NULL), OK);
    assert_true(log->calls->commit(log));
    assert_int_equal(log->calls->poll(log, 1, out, 8), 1);
    assert_true(out[0].position == 4 && bytes_is(out[0].data, "again"));
    log->calls->close(log);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_was_given_is_never_lost),
        cmocka_unit_test(planted_bugs_are_found),
        cmocka_unit_test(nothing_is_given_before_the_sync),
        cmocka_unit_test(what_reads_back_after_a_failed_sync_is_made_true),
        cmocka_unit_test(full_disk_refuses_keeps_the_reserve_and_goes_on),
        cmocka_unit_test(queue_bound_says_again),
        cmocka_unit_test(trim_asks_tables_and_retention),
        cmocka_unit_test(a_quiet_log_forgets_too),
        cmocka_unit_test(tables_ahead_of_the_log_are_refused),
        cmocka_unit_test(copy_has_no_hole_where_the_log_went_on),
        cmocka_unit_test(opening_reads_only_what_the_tables_lack),
        cmocka_unit_test(lanes_run_side_by_side_on_a_real_disk),
        cmocka_unit_test(memory_driver_forgets_only_what_was_not_committed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
