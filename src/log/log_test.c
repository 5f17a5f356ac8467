/* log: the file driver against a model, on a disk that fails: what poll gave is never lost, nothing old comes back, positions have no gaps. Then its edges
 * one by one, and the threads on a real folder. SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "io/disk_twin.h"
#include "log/log_in.h"

enum { PARTITIONS = 4, LANES = 2, SEGMENT = 48 * 1024, POSITIONS_MAX = 6000, TAG_BYTES = 20 };

static uint16_t lane_of(void *arg, uint16_t p) {
    (void)arg;
    return p % LANES;
}

/* ---- the model ---- */
/* `life[p][i]`: which life wrote position i, 0 when the model knows of none. Up to `given` poll gave it; up to `queued` it was appended in this life. */
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
static struct bytes record_make(uint8_t *room, uint16_t p, uint64_t position, uint32_t life, size_t n) {
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
    if (p >= PARTITIONS || r->position >= POSITIONS_MAX || !record_true(r, &life)) return found(w, "a record is not what was written");
    if (r->position != next[p]++) return found(w, "positions have a gap");
    if (w->wrote[p][r->position] != life) return found(w, "a record comes back that was never there, or had gone");
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
    struct log_options o = {.dir = "log", .disk = w->disk, .partitions = PARTITIONS, .lanes = LANES, .lane_of = lane_of, .from = w->from,
                            .segment_bytes = SEGMENT, .queue_bytes = SEGMENT / 2, .fatal = on_fatal, .arg = w, .now_ms = now_of, .retention_ms = 100,
                            .planted = w->planted};
    return log_open_file(&o, &w->log, why);
}

/* What was given must be there again from `from` on; behind it, what this last life had appended may be, without a gap. */
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
        if (first > w->from[p] && last >= w->from[p]) found(w, "more was trimmed than the tables hold");
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
        if (rng_below(&w->rng, 3) == 0) w->from[p] += rng_below(&w->rng, w->given[p] + 2 - w->from[p]);
    for (;;) {
        w->dead = false;
        if (rng_below(&w->rng, 6) == 0) disk_twin_die_after(w->disk, rng_below(&w->rng, 12)), w->dying = true;
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
    enum err e = w->log->calls->append(w->log, lane_of(NULL, p), p, record_make(room, p, w->queued[p] + 1, w->life, n), must);
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
    if (e != (from < first ? STALE : OK) && !w->dying) found(w, "read gives another error"); /* a dying disk may take a file and say it did not */
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
    if (!w->wrong && log_check("log", w->disk, PARTITIONS, &why, &records) != OK) found(w, "the check finds fault");
    else if (!w->wrong && records != all) found(w, "the check counts other records than the ranges");
    buf_done(&why);
}

/* Lives one story; adds what was reached to *sum. Gives what was wrong, or NULL. */
static const char *story(uint64_t seed, unsigned planted, struct world *sum, struct disk_twin_counts *met) {
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
    assert_true(sum->fatals > 100 && sum->restarts > 1000 && sum->polled > 10000 && sum->limits > 10 && sum->refused_opens > 50);
    assert_true(met.syncs_failed > 50 && met.writes_failed > 50 && met.sectors_torn > 100 && met.deaths > 100);
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

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_was_given_is_never_lost),
        cmocka_unit_test(planted_bugs_are_found),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
