/* doctor: of a running server: rings are written as shards and the log's thread write them, and the
 * answers are read. SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "doctor/doctor.h"
#include "io/io.h"

#define MS 1000000ll

/* ---- a server of one shard, without the server ---- */
static struct buf answer;
static struct {
    struct measure *shard, *log;
    struct journeys *journeys;
    const struct journeys *journey_list[1];
    const struct events *rings[2];
    struct doctor *doctor;
    struct machine machine;
    struct settings settings;
    struct doctor_facts facts;
    int64_t now;
} F;

/* The shard's clock, as the story goes. */
static int64_t shard_ns;
static int64_t shard_clock(void) { return shard_ns; }
static const struct ticker SHARD = {.real = shard_clock}; /* without a scale it asks that */

static int begin(void **state) {
    (void)state;
    memset(&F, 0, sizeof F);
    F.now = shard_ns = clock_mono_ns();
    F.shard = must_alloc(sizeof *F.shard);
    F.log = must_alloc(sizeof *F.log);
    F.journeys = journeys_create(0, F.shard, &SHARD);
    F.journey_list[0] = F.journeys;
    F.rings[0] = &F.shard->events;
    F.rings[1] = &F.log->events;
    F.doctor = doctor_create(&(struct doctor_sources){F.journey_list, F.rings, 1, 2});
    machine_unknown(&F.machine);
    F.machine.disk_bytes = 2ll << 40;
    F.facts = (struct doctor_facts){.settings = &F.settings,
        .machine = &F.machine,
        .disk_free_bytes = 1ll << 40,
        .connections_max = 1000};
    return 0;
}
static int end(void **state) {
    (void)state;
    doctor_free(&F.doctor);
    journeys_free(&F.journeys);
    free(F.shard);
    free(F.log);
    buf_done(&answer);
    return 0;
}

static void commit(int64_t ago_ms, int64_t took_ms) {
    event_add(&F.log->events, &(struct event){.kind = EVENT_commit,
                                  .thread = THREAD_LOG,
                                  .start_ns = F.now - ago_ms * MS,
                                  .duration_ns = took_ms * MS,
                                  .a = 4096,
                                  .b = (took_ms - 1) * MS});
}

/* What waited for one, so many ms ago. */
static void waited(int64_t ago_ms, int64_t took_ms, const char *app) {
    int64_t at = F.now - ago_ms * MS;
    struct journey_about about = {
        .app = bytes_str(app), .conversation = BYTES("ab"), .item = BYTES("m1")};
    static uint64_t position;
    shard_ns = at + MS;
    journey_appended(F.journeys, 7, ++position, at + MS);
    shard_ns = at + (took_ms + 1) * MS;
    journeys_clock(F.journeys, shard_ns);
    journey_applied(
        F.journeys, &(struct journey_record){7, 43, position, at + took_ms * MS, 17}, &about);
    journeys_turn_end(F.journeys, at + (took_ms + 1) * MS);
}

static void slow_commit(int64_t ago_ms, int64_t took_ms, const char *app) {
    commit(ago_ms, took_ms);
    waited(ago_ms, took_ms, app);
}

/* limit 0: what /v1/doctor says. Until the next one. */
static const char *slow(const char *app, size_t limit) {
    struct buf *b = &answer;
    buf_done(b);
    if (limit) doctor_slow_json(F.doctor, &F.facts, app, limit, b);
    else doctor_json(F.doctor, &F.facts, app, b);
    buf_char(b, 0);
    return (const char *)b->p;
}
static bool says(const char *text, const char *part) { return strstr(text, part) != NULL; }

static void nothing_slow_is_well(void **state) {
    (void)state;
    doctor_tick(F.doctor, 1000, 10, 0);
    doctor_tick(F.doctor, 20000, 5000, 0);
    const char *text = slow("demo", 0);
    assert_true(says(text, "{\"status\":\"ok\",\"words\":\"All is well.\""));
    assert_true(says(text, "0 of 4990 records"));
    text = slow("demo", 50);
    assert_true(says(text, "\"items\":[]") && says(text, "\"causes\":[]"));
}

static void a_slow_commit_is_found(void **state) {
    (void)state;
    slow_commit(5000, 203, "demo");
    const char *text = slow("demo", 50);
    assert_true(says(text, "\"code\":\"disk_sync\"") && says(text, "\"id\":\"m1\""));
    assert_true(says(text, "\"path\":\"stored\"") && says(text, "\"sync_ms\":202.000"));
    text = slow("other", 50);
    assert_true(says(text, "\"code\":\"disk_sync\"") && says(text, "\"app\":null"));
    assert_false(says(text, "m1") || says(text, "\"ab\"") || says(text, "demo"));
    text = slow(NULL, 50); /* who owns the data folder */
    assert_true(says(text, "\"app\":\"demo\""));
    text = slow("demo", 0); /* once is no illness */
    assert_true(says(text, "\"status\":\"ok\""));
}

/* Under load the ring is written over in seconds; what was judged before stays. */
static void a_verdict_outlives_its_event(void **state) {
    (void)state;
    slow_commit(5000, 203, "demo");
    struct doctor_told told;
    (void)doctor_look(F.doctor, &told);
    for (unsigned i = 0; i <= EVENTS_KEPT; i++)
        event_add(&F.log->events, &(struct event){.kind = EVENT_commit,
                                      .thread = THREAD_LOG,
                                      .start_ns = F.now - 1000 * MS,
                                      .duration_ns = 2 * MS});
    const char *text = slow("demo", 50);
    assert_true(says(text, "\"code\":\"disk_sync\"") && says(text, "\"sync_ms\":202.000"));
    assert_false(says(text, "unknown"));
}

/* The slowest of those that ended since the last look and long enough ago, and how many there were. */
static void a_look_tells_the_slowest_once(void **state) {
    (void)state;
    struct doctor_told told;
    slow_commit(9000, 203, "demo");
    slow_commit(8000, 303, "demo");
    slow_commit(1500, 403, "demo"); /* what explains it may still come */
    assert_true(doctor_look(F.doctor, &told));
    assert_int_equal(told.count, 2);
    assert_string_equal(told.cause, "disk_sync");
    assert_string_equal(told.path, "stored");
    assert_true(told.took_ns > 300 * MS && told.took_ns < 310 * MS);
    assert_false(says(told.words, "demo") || says(told.words, "m1"));
    assert_false(doctor_look(F.doctor, &told));
}

/* A commit that began long before a journey was slow for what is near its own beginning. */
static void what_lasted_is_read_whole(void **state) {
    (void)state;
    struct doctor_told told;
    event_add(&F.log->events, &(struct event){.kind = EVENT_lock,
                                  .thread = THREAD_LOG,
                                  .start_ns = F.now - 9000 * MS,
                                  .duration_ns = 3000 * MS,
                                  .a = LOCK_LOG});
    commit(9000, 4200);
    waited(5000, 203, "demo"); /* for its last part */
    assert_true(doctor_look(F.doctor, &told));
    assert_string_equal(told.cause, "lock");
}

/* And without anybody who looked in time it is not known any more. */
static void an_event_that_is_gone_explains_nothing(void **state) {
    (void)state;
    slow_commit(5000, 203, "demo");
    for (unsigned i = 0; i <= EVENTS_KEPT; i++)
        event_add(&F.log->events, &(struct event){.kind = EVENT_commit,
                                      .thread = THREAD_LOG,
                                      .start_ns = F.now - 1000 * MS,
                                      .duration_ns = 2 * MS});
    assert_true(says(slow("demo", 50), "\"code\":\"unknown\""));
}

/* Often, over many seconds: that is worth a warning, and by far too often, an alarm. */
static void often_is_an_illness(void **state) {
    (void)state;
    doctor_tick(F.doctor, 1000, 0, 0);
    for (int i = 0; i < 30; i++) slow_commit(60000 - i * 1500, 203, "demo");
    doctor_tick(F.doctor, 20000, 2000, 30);
    const char *text = slow("demo", 0);
    assert_true(says(text, "{\"status\":\"warning\""));
    assert_true(says(text, "30 of 2000 records") && says(text, "the disk took long"));
    assert_true(says(text, "\"code\":\"disk_sync\",\"count\":30"));
    doctor_tick(F.doctor, 40000, 3000, 900);
    assert_true(says(slow("demo", 0), "{\"status\":\"critical\""));
}

/* ---- who sends the same again and again ---- */
static void sent_again(int64_t ago_ms, int64_t took_ms, int64_t times, const char *user) {
    struct event e = {.kind = EVENT_retries,
        .start_ns = F.now - ago_ms * MS,
        .duration_ns = took_ms * MS,
        .a = times};
    event_name_set(&e, 0, BYTES("demo"));
    event_name_set(&e, 1, bytes_str(user));
    event_add(&F.shard->events, &e);
}

/* Nothing was slow for it; each second's last count is what counts. */
static void who_retries_is_told_with_how_often(void **state) {
    (void)state;
    for (int second = 0; second < 6; second++) {
        sent_again(30000 - second * 1000, 400, 20, "loop");
        sent_again(30000 - second * 1000, 800, 40, "loop");
    }
    sent_again(5000, 990, 20, "seldom");
    const char *text = slow("demo", 0);
    assert_true(says(text, "{\"status\":\"warning\""));
    assert_true(says(text, "sent again what was stored: at least 260; 240 of them the user loop of "
                           "the app demo, in 6 seconds, up to 40 in one"));
    assert_true(says(text, "\"events\":260,") && says(text, "\"user\":\"loop\""));
    assert_true(says(text, "Mend the client"));
    text = slow("other", 0);
    assert_true(says(text, "240 of them one user of another app"));
    assert_false(says(text, "loop") || says(text, "demo"));
}

/* As a device does that comes back: it sends what was not acknowledged. */
static void once_again_is_no_illness(void **state) {
    (void)state;
    sent_again(9000, 5, 20, "ann");
    sent_again(9000, 9, 40, "ann");
    sent_again(8000, 9, 20, "bob");
    const char *text = slow("demo", 0);
    assert_true(says(text, "{\"status\":\"ok\""));
    assert_true(says(text, "at least 60; 40 of them the user ann of the app demo, in one second"));
}

static void very_many_of_many_are_told(void **state) {
    (void)state;
    char user[16];
    for (int i = 0; i < 100; i++) {
        snprintf(user, sizeof user, "u%d", i);
        sent_again(9000 - i * 10, 500, 20, user);
    }
    assert_true(says(slow("demo", 0), "{\"status\":\"warning\""));
}

/* ---- devices that do not read ---- */
static void who_did_not_read_is_told(void **state) {
    (void)state;
    struct event e = {.kind = EVENT_reader, .start_ns = F.now - 9000 * MS, .duration_ns = 800 * MS};
    event_name_set(&e, 0, BYTES("demo"));
    event_name_set(&e, 1, BYTES("bob"));
    event_name_set(&e, 2, BYTES("phone"));
    event_add(&F.shard->events, &e);
    const char *text = slow("demo", 0);
    assert_true(
        says(text, "and more: 1, for longest (800 ms) the device phone of the user bob, app demo"));
    text = slow("other", 0);
    assert_true(says(text, "100 ms and more: 1\"") && !says(text, "phone"));
}

/* ---- --journeys off ---- */
static void what_is_not_timed_is_not_known(void **state) {
    (void)state;
    struct doctor *with = F.doctor;
    F.doctor = doctor_create(&(struct doctor_sources){F.journey_list, F.rings, 0, 2});
    F.settings.journeys_off = true;
    doctor_tick(F.doctor, 1000, 10, 0);
    const char *text = slow("demo", 0);
    assert_true(says(text, "{\"status\":\"ok\"")); /* it was not wanted */
    assert_true(says(text, "is not known: --journeys is off") && !says(text, "were slow (20 ms"));
    doctor_free(&F.doctor);
    F.doctor = with;
}

#define T(f) cmocka_unit_test_setup_teardown(f, begin, end)
int main(void) {
    const struct CMUnitTest tests[] = {T(nothing_slow_is_well), T(a_slow_commit_is_found),
        T(a_verdict_outlives_its_event), T(a_look_tells_the_slowest_once),
        T(what_lasted_is_read_whole), T(an_event_that_is_gone_explains_nothing),
        T(often_is_an_illness), T(who_retries_is_told_with_how_often), T(once_again_is_no_illness),
        T(very_many_of_many_are_told), T(who_did_not_read_is_told),
        T(what_is_not_timed_is_not_known)};
    return cmocka_run_group_tests_name("gather", tests, NULL, NULL);
}
