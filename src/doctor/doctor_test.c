/* doctor: made-up histories, each with what slowed its journeys, alone and mixed with other things;
 * the first cause must be found, and none where there is none.
 * SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "doctor/doctor.h"

#define MS 1000000ll
#define T0 (1000000 * MS) /* far from zero, as a machine that is up for a while */

/* ---- a history is written down as it would happen ---- */
struct story {
    struct event events[4096];
    size_t count;
    struct history h;
};
static struct story S;

static void begin(void) {
    history_done(&S.h);
    memset(&S, 0, sizeof S);
}
static struct event *add(enum event_kind kind, uint32_t thread, double at_ms, double ms) {
    struct event *e = &S.events[S.count++];
    assert_true(S.count <= sizeof S.events / sizeof *S.events);
    *e = (struct event){.kind = kind,
        .thread = thread,
        .start_ns = T0 + (int64_t)(at_ms * 1e6),
        .duration_ns = (int64_t)(ms * 1e6)};
    return e;
}
static struct event *add_ab(
    enum event_kind kind, uint32_t thread, double at_ms, double ms, int64_t a, int64_t b) {
    struct event *e = add(kind, thread, at_ms, ms);
    e->a = a;
    e->b = b;
    return e;
}
static void turn(uint32_t shard, double at_ms, double ms, enum turn_phase phase) {
    add_ab(EVENT_turn, shard, at_ms, ms, phase, (int64_t)(ms * 0.9e6));
}
static void commit(double at_ms, double ms, int64_t bytes, double sync_ms) {
    add_ab(EVENT_commit, THREAD_LOG, at_ms, ms, bytes, (int64_t)(sync_ms * 1e6));
}
static void delay(uint32_t thread, double at_ms, double ms, double delayed_ms) {
    add_ab(EVENT_run_delay, thread, at_ms, ms, (int64_t)(delayed_ms * 1e6), 0);
}
static void named(struct event *e, const char *app, const char *b, const char *c) {
    strcpy(e->names[0], app);
    strcpy(e->names[1], b);
    strcpy(e->names[2], c);
}

/* ---- journeys: the times of came, appended, durable, applied, written ---- */
static struct journey record(
    uint16_t shard, double came, double appended, double durable, double applied, double written) {
    struct journey j = {.what = JOURNEY_RECORD, .source = UINT16_MAX, .shard = shard, .slow = true};
    j.began_ns = j.came_ns = T0 + (int64_t)(came * 1e6);
    j.appended_ns = T0 + (int64_t)(appended * 1e6);
    j.durable_ns = T0 + (int64_t)(durable * 1e6);
    j.applied_ns = T0 + (int64_t)(applied * 1e6);
    j.written_ns = T0 + (int64_t)(written * 1e6);
    return j;
}
static struct journey relay(const struct journey *source, uint16_t shard, double appended,
    double durable, double applied, double written) {
    struct journey j = record(shard, 0, appended, durable, applied, written);
    j.source = 3;
    j.came_ns = source->applied_ns;
    j.began_ns = source->came_ns;
    return j;
}
static struct journey other(
    uint8_t what, uint16_t shard, double came, double done, double written) {
    struct journey j = record(shard, came, came, came, done, written);
    j.what = what;
    j.appended_ns = j.durable_ns = 0;
    return j;
}

static struct diagnosis found(const struct journey *j, const struct journey *source) {
    struct diagnosis d;
    if (!S.h.events) {
        struct event *copy = must_alloc((S.count + 1) * sizeof *copy);
        memcpy(copy, S.events, S.count * sizeof *copy);
        S.h.shards = 4;
        history_make(&S.h, copy, S.count);
    }
    diagnose(&S.h, j, source, &d);
    return d;
}
static void expect_cause(const struct journey *j, enum cause want) {
    struct diagnosis d = found(j, NULL);
    if (d.cause != want) fail_msg("%s instead of %s", cause_name(d.cause), cause_name(want));
}

/* Rings follow each other, and in each an event may stand after those that it contains. */
static void rings_are_put_in_order(void **state) {
    (void)state;
    begin();
    uint64_t seed = 7;
    for (uint32_t ring = 0; ring < 5; ring++)
        for (int i = 0; i < 300 + (int)ring; i++) {
            seed = seed * 6364136223846793005u + 1442695040888963407u;
            double back = (double)(seed >> 33 & (ring == 4 ? 4095 : 15));
            add(EVENT_turn, ring, i * 3 + 5000 - back, 2)->a = i;
        }
    struct event *copy = must_alloc(S.count * sizeof *copy);
    memcpy(copy, S.events, S.count * sizeof *copy);
    history_make(&S.h, copy, S.count);
    uint32_t seen[5] = {0};
    for (size_t i = 0; i < S.h.count; i++) {
        const struct event *e = &S.h.events[i], *before = i ? e - 1 : e;
        assert_true(before->start_ns <= e->start_ns);
        if (before != e && before->start_ns == e->start_ns) /* as they were */
            assert_true(
                before->thread < e->thread || (before->thread == e->thread && before->a < e->a));
        seen[e->thread]++;
    }
    for (uint32_t ring = 0; ring < 5; ring++) assert_int_equal(seen[ring], 300 + ring);
}

/* ---- the disk ---- */
static void a_slow_sync_is_the_disk(void **state) {
    (void)state;
    begin();
    commit(10, 203, 12 * 1024, 202.5);
    struct journey j = record(0, 11, 11.2, 213.1, 213.2, 213.4);
    struct diagnosis d = found(&j, NULL);
    assert_int_equal(d.cause, CAUSE_disk_sync);
    assert_int_equal(d.most, SPENT_durable);
    assert_true(d.has_evidence && d.evidence.a == 12 * 1024 && d.events == 1);
    assert_true(d.took_ns > 202 * MS && d.explained_ns > 200 * MS);
}

/* It waited for the commit before its own, then for its own. */
static void a_record_waits_for_the_commit_before(void **state) {
    (void)state;
    begin();
    commit(10, 30, 4096, 29);
    commit(40.1, 25, 900, 24);
    struct journey j = record(1, 12, 12.1, 65.2, 65.3, 65.4);
    struct diagnosis d = found(&j, NULL);
    assert_int_equal(d.cause, CAUSE_disk_sync);
    assert_int_equal(d.events, 2);
    assert_true(d.evidence.a == 4096);
}

static void a_relay_is_slow_by_its_record(void **state) {
    (void)state;
    begin();
    commit(10, 203, 100, 202);
    struct journey first = record(0, 11, 11.2, 213.1, 213.2, 213.4);
    struct journey second = relay(&first, 1, 213.3, 213.9, 214, 214.1);
    struct diagnosis d = found(&second, &first);
    assert_int_equal(d.cause, CAUSE_disk_sync);
    assert_int_equal(d.most, SPENT_durable);
    d = found(&second, NULL); /* its record is not known any more */
    assert_int_equal(d.cause, CAUSE_disk_sync);
    assert_int_equal(d.most, SPENT_before);
}

static void a_relay_is_slow_by_itself(void **state) {
    (void)state;
    begin();
    commit(14, 180, 100, 179);
    struct journey first = record(0, 11, 11.2, 12, 12.1, 12.2);
    struct journey second = relay(&first, 1, 13.9, 194.1, 194.2, 194.3);
    struct diagnosis d = found(&second, &first);
    assert_int_equal(d.cause, CAUSE_disk_sync);
    assert_int_equal(d.most, SPENT_hop_durable);
}

/* A commit took long as the log's thread had no core: the disk did nothing wrong. */
static void a_commit_without_a_core_is_not_the_disk(void **state) {
    (void)state;
    begin();
    commit(10, 60, 100, 58);
    delay(THREAD_LOG, 0, 100, 57);
    struct journey j = record(0, 11, 11.2, 70.1, 70.2, 70.3);
    expect_cause(&j, CAUSE_cpu_taken);
}

/* Some delay in the same second, of little weight: it stays the disk. */
static void a_little_delay_beside_a_slow_sync(void **state) {
    (void)state;
    begin();
    commit(10, 60, 100, 58);
    delay(THREAD_LOG, 0, 1000, 40);
    delay(0, 0, 1000, 90);
    struct journey j = record(0, 11, 11.2, 70.1, 70.2, 70.3);
    expect_cause(&j, CAUSE_disk_sync);
}

static void a_huge_commit_is_load(void **state) {
    (void)state;
    begin();
    commit(10, 60, 15 << 20, 58);
    struct journey j = record(0, 11, 11.2, 70.1, 70.2, 70.3);
    expect_cause(&j, CAUSE_load);
}

/* ---- the core ---- */
static void a_turn_without_a_core(void **state) {
    (void)state;
    begin();
    turn(0, 10, 45, PHASE_apply);
    delay(0, 5, 60, 44);
    struct journey j = record(0, 11, 54, 54.8, 55.1, 55.2);
    expect_cause(&j, CAUSE_cpu_taken);
}

/* The thread did not run at all, so there is no turn either. */
static void no_turn_at_all(void **state) {
    (void)state;
    begin();
    delay(2, 0, 100, 60);
    struct journey j = record(2, 20, 75, 75.5, 75.6, 75.7);
    struct diagnosis d = found(&j, NULL);
    assert_int_equal(d.cause, CAUSE_cpu_taken);
    assert_int_equal(d.most, SPENT_wait);
}

/* Another shard's delay is nothing to a record of this one. */
static void delay_of_others_is_no_excuse(void **state) {
    (void)state;
    begin();
    delay(3, 0, 100, 90);
    struct journey j = record(2, 20, 20.1, 20.5, 75.6, 75.7);
    expect_cause(&j, CAUSE_unknown);
}

/* A request may have come over any shard. */
static void the_shard_it_came_over_was_busy(void **state) {
    (void)state;
    begin();
    turn(1, 10, 50, PHASE_read);
    delay(1, 0, 60, 49);
    struct journey j = record(2, 12, 60, 60.5, 60.6, 60.7);
    expect_cause(&j, CAUSE_cpu_taken);
}

static void a_stop_goes_before_all(void **state) {
    (void)state;
    begin();
    add(EVENT_stopped, THREAD_WATCH, 20, 500);
    turn(0, 19, 502, PHASE_read);
    commit(18, 503, 800, 502);
    delay(0, 0, 600, 30);
    struct journey a = record(0, 18.5, 18.6, 521.5, 521.7, 521.8);
    expect_cause(&a, CAUSE_stopped);
    struct journey b = record(0, 20, 521, 521.5, 521.7, 521.8);
    expect_cause(&b, CAUSE_stopped);
}

static void a_stop_without_a_turn(void **state) {
    (void)state;
    begin();
    add(EVENT_stopped, THREAD_WATCH, 20, 500);
    struct journey j = other(JOURNEY_CONNECT, 1, 30, 520.5, 520.6);
    expect_cause(&j, CAUSE_stopped);
}

/* ---- the tables ---- */
static void senders_held_back(void **state) {
    (void)state;
    begin();
    add(EVENT_held_back, 0, 0, 3000);
    add_ab(EVENT_table_write, THREAD_TABLES, 0, 2900, 9 << 20, 0);
    struct journey j = record(0, 100, 2990, 2991, 2992, 2993);
    expect_cause(&j, CAUSE_tables_stall);
}

/* The tables took long, and nobody waited for them. */
static void a_flush_that_nobody_waits_for(void **state) {
    (void)state;
    begin();
    add(EVENT_table_sync, THREAD_TABLES, 0, 2000);
    commit(100, 50, 100, 49);
    struct journey j = record(0, 101, 101.1, 150.2, 150.3, 150.4);
    expect_cause(&j, CAUSE_disk_sync);
}

/* ---- the work ---- */
static void a_large_fan_out(void **state) {
    (void)state;
    begin();
    turn(1, 10, 42, PHASE_deliver);
    named(add_ab(EVENT_fanout, 1, 11, 28, 3000, 0), "demo", "all-hands", "");
    struct journey j = record(1, 12, 52.1, 52.6, 52.8, 52.9);
    struct diagnosis d = found(&j, NULL);
    assert_int_equal(d.cause, CAUSE_fan_out);
    assert_true(d.evidence.a == 3000);
    /* its own delivery too */
    struct journey own = record(1, 9, 9.1, 9.5, 10.5, 51.9);
    expect_cause(&own, CAUSE_fan_out);
}

/* The acknowledgements of thousands of devices come in the turns after it. */
static void what_a_fan_out_leaves_behind(void **state) {
    (void)state;
    begin();
    turn(1, 10, 30, PHASE_deliver);
    add_ab(EVENT_fanout, 1, 11, 28, 3000, 0);
    turn(1, 41, 25, PHASE_read);
    turn(1, 67, 22, PHASE_apply);
    struct journey j = record(1, 42, 66.5, 67, 89.5, 89.6);
    expect_cause(&j, CAUSE_fan_out);
}

static void a_fan_out_without_a_core(void **state) {
    (void)state;
    begin();
    turn(1, 10, 80, PHASE_deliver);
    add_ab(EVENT_fanout, 1, 80, 5, 300, 0);
    delay(1, 8, 84, 70);
    struct journey j = record(1, 12, 90.1, 90.6, 90.8, 90.9);
    expect_cause(&j, CAUSE_cpu_taken);
}

static void one_hot_conversation(void **state) {
    (void)state;
    begin();
    turn(0, 10, 40, PHASE_apply);
    named(add_ab(EVENT_queue, 0, 11, 38, 4000, 17), "demo", "hot", "");
    struct journey j = record(0, 9, 9.2, 10, 49.8, 49.9);
    struct diagnosis d = found(&j, NULL);
    assert_int_equal(d.cause, CAUSE_hot_conversation);
    assert_string_equal(d.evidence.names[1], "hot");
}

/* Bursts of many senders, one after the other: no conversation is to blame. */
static void many_conversations_are_load(void **state) {
    (void)state;
    begin();
    for (int i = 0; i < 8; i++) {
        char name[16] = "c0";
        name[1] = (char)('0' + i);
        turn(0, 10 + i * 11, 10.8, PHASE_apply);
        named(add_ab(EVENT_queue, 0, 11 + i * 11, 9, 200 + i, i), "demo", name, "");
    }
    struct journey j = record(0, 12, 12.2, 13, 96, 96.5);
    expect_cause(&j, CAUSE_load);
}

static void a_client_that_retries(void **state) {
    (void)state;
    begin();
    turn(0, 10, 40, PHASE_apply);
    named(add_ab(EVENT_queue, 0, 11, 38, 4000, 17), "demo", "c", "");
    named(add_ab(EVENT_retries, 0, 0, 900, 7000, 0), "demo", "loop", "");
    struct journey j = record(0, 9, 9.2, 10, 49.8, 49.9);
    struct diagnosis d = found(&j, NULL);
    assert_int_equal(d.cause, CAUSE_client_retries);
    assert_string_equal(d.evidence.names[1], "loop");
}

/* It retries, but the disk is what is slow. */
static void retries_because_of_the_disk(void **state) {
    (void)state;
    begin();
    named(add_ab(EVENT_retries, 0, 0, 900, 25, 0), "demo", "loop", "");
    commit(10, 300, 100, 299);
    struct journey j = record(0, 9, 9.2, 310.2, 310.3, 310.4);
    expect_cause(&j, CAUSE_disk_sync);
}

static void a_long_turn_without_a_culprit_is_load(void **state) {
    (void)state;
    begin();
    for (int i = 0; i < 4; i++) turn(0, 10 + i * 25, 24, PHASE_read);
    struct journey j = record(0, 12, 109, 109.5, 109.6, 109.7);
    expect_cause(&j, CAUSE_load);
}

/* ---- handshakes, locks, the clock ---- */
static void a_handshake_storm(void **state) {
    (void)state;
    begin();
    for (int i = 0; i < 10; i++) {
        turn(0, 10 + i * 9, 8.8, PHASE_read);
        add_ab(EVENT_handshakes, 0, 10 + i * 9, 8.8, 4, 7 * MS);
    }
    struct journey j = record(0, 12, 99, 99.4, 99.5, 99.6);
    expect_cause(&j, CAUSE_handshake_storm);
    struct journey c = other(JOURNEY_CONNECT, 0, 11, 98, 99);
    expect_cause(&c, CAUSE_handshake_storm);
}

static void two_handshakes_are_no_storm(void **state) {
    (void)state;
    begin();
    turn(0, 10, 60, PHASE_apply);
    add_ab(EVENT_queue, 0, 12, 55, 3000, 2);
    add_ab(EVENT_handshakes, 0, 10, 60, 2, 2 * MS);
    struct journey j = record(0, 9, 9.5, 10, 69, 70);
    expect_cause(&j, CAUSE_hot_conversation);
}

static void a_lock_waited_for(void **state) {
    (void)state;
    begin();
    turn(0, 10, 50, PHASE_read);
    add_ab(EVENT_lock, 0, 11, 48, LOCK_ADMIT, 0);
    struct journey j = record(0, 12, 60.1, 60.5, 60.6, 60.7);
    struct diagnosis d = found(&j, NULL);
    assert_int_equal(d.cause, CAUSE_lock);
    assert_int_equal(d.evidence.a, LOCK_ADMIT);
}

/* It slept for no lock of ours, and stood still with all others: that was the stop. */
static void a_sleep_for_something_else(void **state) {
    (void)state;
    begin();
    turn(0, 10, 195, PHASE_apply);
    add_ab(EVENT_lock, 0, 10.5, 194, LOCK_ELSEWHERE, 0);
    struct journey j = record(0, 12, 205.1, 206, 206.1, 206.2);
    expect_cause(&j, CAUSE_lock);
    begin();
    turn(0, 10, 195, PHASE_apply);
    add_ab(EVENT_lock, 0, 10.5, 194, LOCK_ELSEWHERE, 0);
    add(EVENT_stopped, THREAD_WATCH, 12, 190);
    expect_cause(&j, CAUSE_stopped);
}

/* The log's lock was held while a segment was synced: that is the disk. */
static void a_lock_held_by_the_disk(void **state) {
    (void)state;
    begin();
    turn(0, 10, 50, PHASE_keep);
    add_ab(EVENT_lock, 0, 11, 48, LOCK_LOG, 0);
    commit(9, 52, 900, 51);
    struct journey j = record(0, 12, 60.1, 61.2, 61.3, 61.4);
    expect_cause(&j, CAUSE_disk_sync);
}

/* Shard and log wait for the same lock, and who holds it is not known: neither is to blame. */
static void a_lock_held_by_a_third(void **state) {
    (void)state;
    begin();
    commit(10, 200, 232, 0.3);
    add_ab(EVENT_lock, THREAD_LOG, 10, 199.7, LOCK_LOG, 0);
    turn(1, 13, 196.5, PHASE_read);
    add_ab(EVENT_lock, 1, 13, 196.4, LOCK_LOG, 0);
    struct journey j = record(1, 14, 14.1, 211, 211.1, 211.2);
    expect_cause(&j, CAUSE_lock);
    struct journey w = record(1, 14, 209.6, 211, 211.1, 211.2);
    expect_cause(&w, CAUSE_lock);
}

/* Nobody was slow but the scheduler: who held the log's lock had no core. */
static void a_lock_held_without_a_core(void **state) {
    (void)state;
    begin();
    turn(0, 10, 50, PHASE_read);
    add_ab(EVENT_lock, 0, 11, 48, LOCK_LOG, 0);
    delay(THREAD_LOG, 0, 60, 50);
    struct journey j = record(0, 12, 60.1, 61.2, 61.3, 61.4);
    expect_cause(&j, CAUSE_cpu_taken);
    begin(); /* the one who waited had none either, after the lock was free */
    turn(0, 10, 50, PHASE_read);
    add_ab(EVENT_lock, 0, 11, 48, LOCK_LOG, 0);
    delay(0, 10, 50, 35);
    expect_cause(&j, CAUSE_cpu_taken);
}

static void a_clock_that_jumped(void **state) {
    (void)state;
    begin();
    add_ab(EVENT_clock, THREAD_WATCH, 50, 0, -3600000, 0);
    struct journey j = record(0, 12, 90, 90.1, 90.2, 90.3);
    expect_cause(&j, CAUSE_clock_jump);
    /* it jumped, and the disk was slow */
    begin();
    add_ab(EVENT_clock, THREAD_WATCH, 50, 0, -3600000, 0);
    commit(13, 70, 10, 69);
    j = record(0, 12, 12.1, 83.1, 83.2, 83.3);
    expect_cause(&j, CAUSE_disk_sync);
}

/* The device read slowly, for a second; the clock went ahead by an hour. */
static void a_device_that_is_late_by_the_clock(void **state) {
    (void)state;
    begin();
    named(add_ab(EVENT_reader, 1, 3599000, 1000, 300000, 0), "demo", "bob", "phone");
    add_ab(EVENT_clock, THREAD_WATCH, 3599500, 20, 3600000, 0);
    struct journey j = other(JOURNEY_DEVICE, 1, 0, 3600000, 3600000);
    strcpy(j.app, "demo");
    strcpy(j.conversation, "bob");
    strcpy(j.item, "phone");
    expect_cause(&j, CAUSE_clock_jump);
    begin(); /* and back, within the same look of the watch */
    add_ab(EVENT_clock, THREAD_WATCH, 3599500, 20, 3600000, 0);
    add_ab(EVENT_clock, THREAD_WATCH, 3599990, 20, -3600000, 0);
    expect_cause(&j, CAUSE_clock_jump);
}

/* ---- devices ---- */
static void a_device_that_does_not_read(void **state) {
    (void)state;
    begin();
    named(add_ab(EVENT_reader, 1, 0, 5000, 300000, 0), "demo", "bob", "phone");
    struct journey j = other(JOURNEY_DEVICE, 1, 100, 100.1, 4900);
    strcpy(j.app, "demo");
    strcpy(j.conversation, "bob");
    strcpy(j.item, "phone");
    struct diagnosis d = found(&j, NULL);
    assert_int_equal(d.cause, CAUSE_slow_reader);
    assert_true(d.has_evidence);
    /* a message of others in that time was slow by the disk */
    begin();
    named(add_ab(EVENT_reader, 1, 0, 5000, 300000, 0), "demo", "bob", "phone");
    commit(100, 100, 10, 99);
    struct journey m = record(1, 101, 101.1, 200.2, 200.3, 200.4);
    expect_cause(&m, CAUSE_disk_sync);
}

/* ---- another shard ---- */
static void another_shard_did_not_keep_up(void **state) {
    (void)state;
    begin();
    add_ab(EVENT_crowded, 0, 10, 200, 20000, 3);
    turn(3, 10, 190, PHASE_apply);
    struct journey first = record(0, 5, 5.1, 5.5, 6, 6.1);
    struct journey second = relay(&first, 3, 205, 205.5, 206, 206.1);
    struct diagnosis d = found(&second, &first);
    assert_int_equal(d.cause, CAUSE_shard_busy);
    begin();
    add_ab(EVENT_crowded, 0, 10, 200, 20000, 3);
    turn(3, 10, 190, PHASE_deliver);
    add_ab(EVENT_fanout, 3, 11, 180, 9000, 0);
    d = found(&second, &first);
    assert_int_equal(d.cause, CAUSE_fan_out);
}

/* ---- more than one thing ---- */
static void the_larger_of_two_is_named(void **state) {
    (void)state;
    begin();
    turn(0, 10, 30, PHASE_deliver);
    add_ab(EVENT_fanout, 0, 11, 28, 2000, 0);
    commit(41, 200, 800, 199);
    struct journey j = record(0, 12, 40.5, 241.2, 241.3, 241.4);
    struct diagnosis d = found(&j, NULL);
    assert_int_equal(d.cause, CAUSE_disk_sync);
    assert_int_equal(d.most, SPENT_durable);
    begin();
    turn(0, 10, 130, PHASE_deliver);
    add_ab(EVENT_fanout, 0, 11, 128, 2000, 0);
    commit(141, 40, 800, 39);
    j = record(0, 12, 140.5, 181.2, 181.3, 181.4);
    expect_cause(&j, CAUSE_fan_out);
}

static void nothing_recorded_is_unknown(void **state) {
    (void)state;
    begin();
    struct journey j = record(0, 12, 12.5, 112, 112.1, 112.2);
    struct diagnosis d = found(&j, NULL);
    assert_int_equal(d.cause, CAUSE_unknown);
    assert_int_equal(d.most, SPENT_durable);
    assert_false(d.has_evidence);
    /* what happened before or after it explains nothing */
    begin();
    commit(-500, 200, 10, 199);
    commit(113, 200, 10, 199);
    turn(0, 1000, 100, PHASE_apply);
    expect_cause(&j, CAUSE_unknown);
    /* nor what is only a small part of it */
    begin();
    commit(12.5, 20, 10, 19);
    expect_cause(&j, CAUSE_unknown);
}

/* A step that was never taken, as it is with what is under way. */
static void half_a_journey(void **state) {
    (void)state;
    begin();
    commit(12.5, 90, 10, 89);
    struct journey j = record(0, 12, 12.5, 103, 0, 0);
    j.applied_ns = j.written_ns = 0;
    expect_cause(&j, CAUSE_disk_sync);
    struct journey none = {.what = JOURNEY_RECORD, .source = UINT16_MAX};
    struct diagnosis d = found(&none, NULL);
    assert_int_equal(d.cause, CAUSE_unknown);
}

/* ---- words ---- */
static void words_say_what_was(void **state) {
    (void)state;
    begin();
    commit(10, 203, 12 * 1024, 202.6);
    struct journey j = record(0, 11, 11.2, 213.1, 213.2, 213.4);
    struct diagnosis d = found(&j, NULL);
    struct buf b = {0};
    S.h.usual_sync_ns = 400000;
    S.h.wall_minus_mono_ms = 1795269802000 - 1000000 - 10 + 114;
    d.waited = 31;
    diagnosis_words(&S.h, &d, NULL, &b);
    buf_char(&b, 0);
    assert_string_equal((char *)b.p,
        "The disk took 203 ms to sync 12 KiB of the log at 14:03:22.114 UTC; usual is 0.40 ms. 31 "
        "slow "
        "ones waited for it. Of 202 ms, 202 ms went by until the log had it on disk.");
    buf_reset(&b);
    diagnosis_evidence(&S.h, &d, NULL, &b);
    buf_char(&b, 0);
    assert_string_equal((char *)b.p,
        "{\"event\":\"commit\",\"at\":\"2026-11-21T14:03:22.114Z\",\"ms\":203.000,\"thread\":\"the "
        "log's thread\",\"bytes\":12288,\"sync_ms\":202.600,\"events\":1,\"slow\":31}");
    buf_done(&b);
}

static void names_stay_with_their_app(void **state) {
    (void)state;
    begin();
    turn(1, 10, 42, PHASE_deliver);
    named(add_ab(EVENT_fanout, 1, 11, 38, 3000, 0), "demo", "secret-plan", "");
    struct journey j = record(1, 12, 52.1, 52.6, 52.8, 52.9);
    struct diagnosis d = found(&j, NULL);
    static const struct {
        const char *app;
        bool told;
    } ASKS[] = {{NULL, true}, {"demo", true}, {"other", false}, {"", false}};
    for (size_t i = 0; i < sizeof ASKS / sizeof *ASKS; i++) {
        struct buf b = {0};
        diagnosis_words(&S.h, &d, ASKS[i].app, &b);
        diagnosis_evidence(&S.h, &d, ASKS[i].app, &b);
        buf_char(&b, 0);
        assert_int_equal(strstr((char *)b.p, "secret-plan") != NULL, ASKS[i].told);
        assert_int_equal(strstr((char *)b.p, "\"app\":\"demo\"") != NULL, ASKS[i].told);
        assert_non_null(strstr((char *)b.p, "3000"));
        buf_done(&b);
    }
}

/* Each kind of event can be told, whatever its numbers. */
static void every_event_has_words(void **state) {
    (void)state;
    for (int kind = 0; kind < EVENT_KIND_COUNT; kind++)
        for (int64_t a = 0; a <= LOCK_ELSEWHERE; a++) {
            struct diagnosis d = {.has_evidence = true, .took_ns = 30 * MS};
            struct buf b = {0};
            begin();
            d.evidence = (struct event){.kind = (uint32_t)kind,
                .a = a,
                .b = kind == EVENT_fanout ? a % 2 : a * 7,
                .duration_ns = 5 * MS};
            diagnosis_words(&S.h, &d, NULL, &b);
            assert_true(b.n > 20 && b.p[0] >= '0' && b.p[0] <= 'Z');
            buf_reset(&b);
            diagnosis_evidence(&S.h, &d, NULL, &b);
            assert_true(b.n > 20 && b.p[b.n - 1] == '}');
            buf_done(&b);
        }
    for (enum cause c = 0; c < CAUSE_COUNT; c++)
        assert_true(cause_name(c) && strlen(cause_words(c)) > 10 && strlen(cause_help(c)) > 20);
}

/* ---- chance: one culprit among much that is harmless ---- */
static void a_culprit_in_a_crowd(void **state) {
    (void)state;
    struct rng r = {20261121};
    int right = 0, all = 0;
    for (int round = 0; round < 300; round++) {
        begin();
        for (int i = 0; i < 400; i++) { /* a busy, healthy server */
            double at = (double)rng_below(&r, 60000) / 10;
            uint32_t shard = (uint32_t)rng_below(&r, 4);
            switch (rng_below(&r, 5)) {
            case 0: commit(at, 2 + (double)rng_below(&r, 20) / 10, 4000, 1.9); break;
            case 1: turn(shard, at, 1 + (double)rng_below(&r, 30) / 10, PHASE_apply); break;
            case 2: delay(shard, at, 100, (double)rng_below(&r, 5)); break;
            case 3: add_ab(EVENT_fanout, shard, at, 0.4, 300, 0); break;
            default: add(EVENT_table_sync, THREAD_TABLES, at, 120); break;
            }
        }
        double at = 1000 + (double)rng_below(&r, 3000), ms = 30 + (double)rng_below(&r, 300);
        struct journey j = record(2, at + 1, at + 1.2, at + ms, at + ms + 0.2, at + ms + 0.4);
        struct journey w = record(2, at + 1, at + ms, at + ms + 0.6, at + ms + 0.8, at + ms + 1);
        enum cause want = CAUSE_disk_sync;
        switch (rng_below(&r, 4)) {
        case 0: commit(at, ms, 9000, ms - 0.5); break;
        case 1:
            turn(2, at, ms, PHASE_read);
            delay(2, at - 10, ms + 40, ms - 3);
            want = CAUSE_cpu_taken;
            j = w;
            break;
        case 2:
            turn(2, at, ms, PHASE_read);
            add_ab(EVENT_lock, 2, at + 0.3, ms - 1, LOCK_LIMITS, 0);
            want = CAUSE_lock;
            j = w;
            break;
        default:
            add(EVENT_stopped, THREAD_WATCH, at + 0.2, ms - 0.5);
            turn(2, at, ms, PHASE_read);
            want = CAUSE_stopped;
            j = w;
            break;
        }
        all++;
        right += found(&j, NULL).cause == want;
    }
    if (right * 100 < all * 97) fail_msg("%d of %d", right, all);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(rings_are_put_in_order),
        cmocka_unit_test(a_slow_sync_is_the_disk),
        cmocka_unit_test(a_record_waits_for_the_commit_before),
        cmocka_unit_test(a_relay_is_slow_by_its_record),
        cmocka_unit_test(a_relay_is_slow_by_itself),
        cmocka_unit_test(a_commit_without_a_core_is_not_the_disk),
        cmocka_unit_test(a_little_delay_beside_a_slow_sync),
        cmocka_unit_test(a_huge_commit_is_load), cmocka_unit_test(a_turn_without_a_core),
        cmocka_unit_test(no_turn_at_all), cmocka_unit_test(delay_of_others_is_no_excuse),
        cmocka_unit_test(the_shard_it_came_over_was_busy), cmocka_unit_test(a_stop_goes_before_all),
        cmocka_unit_test(a_stop_without_a_turn), cmocka_unit_test(senders_held_back),
        cmocka_unit_test(a_flush_that_nobody_waits_for), cmocka_unit_test(a_large_fan_out),
        cmocka_unit_test(what_a_fan_out_leaves_behind), cmocka_unit_test(a_fan_out_without_a_core),
        cmocka_unit_test(one_hot_conversation), cmocka_unit_test(many_conversations_are_load),
        cmocka_unit_test(a_client_that_retries), cmocka_unit_test(retries_because_of_the_disk),
        cmocka_unit_test(a_long_turn_without_a_culprit_is_load),
        cmocka_unit_test(a_handshake_storm), cmocka_unit_test(two_handshakes_are_no_storm),
        cmocka_unit_test(a_lock_waited_for), cmocka_unit_test(a_sleep_for_something_else),
        cmocka_unit_test(a_lock_held_by_the_disk), cmocka_unit_test(a_lock_held_by_a_third),
        cmocka_unit_test(a_lock_held_without_a_core), cmocka_unit_test(a_clock_that_jumped),
        cmocka_unit_test(a_device_that_does_not_read),
        cmocka_unit_test(a_device_that_is_late_by_the_clock),
        cmocka_unit_test(another_shard_did_not_keep_up),
        cmocka_unit_test(the_larger_of_two_is_named), cmocka_unit_test(nothing_recorded_is_unknown),
        cmocka_unit_test(half_a_journey), cmocka_unit_test(words_say_what_was),
        cmocka_unit_test(names_stay_with_their_app), cmocka_unit_test(every_event_has_words),
        cmocka_unit_test(a_culprit_in_a_crowd)};
    int failed = cmocka_run_group_tests_name("doctor", tests, NULL, NULL);
    history_done(&S.h);
    return failed;
}
