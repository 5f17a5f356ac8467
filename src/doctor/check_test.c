/* doctor: which machine and which settings are worth a warning, and that a good one has none; the
 * command's page of both.
 * SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "doctor/doctor.h"

#define GIB (1ll << 30)
#define MS 1000000ll

static struct machine good(void) {
    return (struct machine){.kernel = "Linux 6.12.9-amd64",
        .filesystem = "ext4",
        .cores = 8,
        .quota_cores = -1,
        .steal_percent = 0.1,
        .throttled = 0,
        .periods = 100,
        .cpu_pressure = 2,
        .io_pressure = 1,
        .memory_pressure = 0,
        .memory_bytes = 32 * GIB,
        .available_bytes = 20 * GIB,
        .swap_bytes = 0,
        .swap_used_bytes = 0,
        .descriptors = 1 << 20,
        .disk_bytes = 500 * GIB,
        .disk_free_bytes = 300 * GIB,
        .log_bytes = GIB,
        .log_age_s = 86400,
        .sync_median_ns = MS / 2,
        .sync_worst_ns = 5 * MS,
        .sync_count = 500,
        .clock_error_us = 900,
        .clock_synchronised = 1,
        .landlock = 4,
        .somaxconn = 4096,
        .syn_backlog = 4096,
        .swappiness = 60};
}
static struct settings usual(void) {
    return (struct settings){.known = true, .retention_ms = 72ll * 3600000, .shards = 8};
}

/* The check's status; its words in *words, if it is there. */
static int found(const struct checks *c, const char *name, struct bytes *words) {
    for (size_t i = 0; i < c->count; i++)
        if (strcmp(c->items[i].name, name) == 0) {
            if (words) *words = buf_view(&c->items[i].words);
            assert_int_equal(c->items[i].help == NULL, c->items[i].status == CHECK_OK);
            return c->items[i].status;
        }
    return -1;
}
static struct checks C;
static int status_of(const struct machine *m, const struct settings *s, const char *name) {
    checks_done(&C);
    machine_check(m, s, &C);
    settings_check(m, s, &C);
    return found(&C, name, NULL);
}

static void a_good_machine_is_well(void **state) {
    (void)state;
    struct machine m = good();
    struct settings s = usual();
    assert_int_equal(status_of(&m, &s, "settings"), CHECK_OK);
    assert_int_equal(checks_worst(&C), CHECK_OK);
    assert_true(C.count >= 10);
    checks_done(&C);
}

/* What cannot be read is no fault. */
static void an_unknown_machine_is_no_fault(void **state) {
    (void)state;
    struct machine m;
    machine_unknown(&m);
    struct settings s = {0};
    status_of(&m, &s, "settings");
    assert_int_equal(checks_worst(&C), CHECK_OK);
    checks_done(&C);
}

/* One thing wrong at a time, and only that is told. */
static void each_fault_is_told(void **state) {
    (void)state;
    const struct {
        const char *check;
        int status;
        size_t field; /* of struct machine: an int64_t */
        int64_t value;
    } WRONG[] = {{"disk-speed", CHECK_WARNING, offsetof(struct machine, sync_median_ns), 20 * MS},
        {"disk-speed", CHECK_CRITICAL, offsetof(struct machine, sync_median_ns), 80 * MS},
        {"disk-speed", CHECK_WARNING, offsetof(struct machine, sync_worst_ns), 203 * MS},
        {"disk-space", CHECK_WARNING, offsetof(struct machine, disk_free_bytes), GIB},
        {"disk-space", CHECK_CRITICAL, offsetof(struct machine, disk_free_bytes), GIB / 100},
        {"cores", CHECK_WARNING, offsetof(struct machine, throttled), 40},
        {"memory", CHECK_WARNING, offsetof(struct machine, memory_bytes), GIB * 3 / 4},
        {"memory", CHECK_CRITICAL, offsetof(struct machine, memory_bytes), GIB / 2},
        {"swap", CHECK_WARNING, offsetof(struct machine, swap_used_bytes), 6 * GIB},
        {"descriptors", CHECK_WARNING, offsetof(struct machine, descriptors), 1024},
        {"retention", CHECK_WARNING, offsetof(struct machine, log_bytes), 200 * GIB}};
    for (size_t i = 0; i < sizeof WRONG / sizeof *WRONG; i++) {
        struct machine m = good();
        struct settings s = usual();
        memcpy((char *)&m + WRONG[i].field, &WRONG[i].value, sizeof WRONG[i].value);
        int status = status_of(&m, &s, WRONG[i].check);
        if (status != WRONG[i].status)
            fail_msg("%s, case %zu: %d instead of %d", WRONG[i].check, i, status, WRONG[i].status);
        unsigned bad = 0;
        for (size_t k = 0; k < C.count; k++) bad += C.items[k].status != CHECK_OK;
        /* a full disk does not hold what the log will grow by either */
        assert_true(bad == 1 || (bad == 2 && strcmp(WRONG[i].check, "disk-space") == 0));
    }
    checks_done(&C);
}

static void other_faults_of_a_machine(void **state) {
    (void)state;
    struct settings s = usual();
    struct machine m = good();
    m.quota_cores = 1.5;
    assert_int_equal(status_of(&m, &s, "cores"), CHECK_WARNING);
    m = good(), m.cpu_pressure = 60;
    assert_int_equal(status_of(&m, &s, "cpu-pressure"), CHECK_WARNING);
    m = good(), m.steal_percent = 12;
    assert_int_equal(status_of(&m, &s, "steal"), CHECK_WARNING);
    m = good(), m.clock_synchronised = 0;
    assert_int_equal(status_of(&m, &s, "clock"), CHECK_WARNING);
    m = good(), m.landlock = -1;
    assert_int_equal(status_of(&m, &s, "kernel"), CHECK_WARNING);
    m = good(), m.somaxconn = 128;
    assert_int_equal(status_of(&m, &s, "backlog"), CHECK_WARNING);
    m = good(), m.overcommit = 2;
    assert_int_equal(status_of(&m, &s, "overcommit"), CHECK_WARNING);
    m = good(), m.thp_always = 1;
    assert_int_equal(status_of(&m, &s, "huge-pages"), CHECK_WARNING);
    m = good(), strcpy(m.filesystem, "overlay");
    assert_int_equal(status_of(&m, &s, "file-system"), CHECK_WARNING);
    m = good(), strcpy(m.kernel, "Linux 6.1.0-14-amd64 Debian 6.1.64-1");
    assert_int_equal(status_of(&m, &s, "kernel"), CHECK_CRITICAL);
    m = good(), strcpy(m.kernel, "Linux 6.3.12"); /* not 6.3.1 */
    assert_int_equal(status_of(&m, &s, "kernel"), CHECK_OK);
    checks_done(&C);
}

static void settings_that_hurt(void **state) {
    (void)state;
    struct machine m = good();
    struct settings s = usual();
    struct bytes words;
    s.shards = 32;
    assert_int_equal(status_of(&m, &s, "shards"), CHECK_WARNING);
    assert_int_equal(found(&C, "settings", NULL), -1);
    s = usual(), s.rate = 2;
    assert_int_equal(status_of(&m, &s, "rate-burst"), CHECK_WARNING);
    s.rate_burst = 30;
    assert_int_equal(status_of(&m, &s, "rate-burst"), -1);
    s = usual(), s.proxy_protocol = true;
    assert_int_equal(status_of(&m, &s, "proxy-protocol"), -1); /* behind a proxy of this machine */
    s.open_plain = true;
    assert_int_equal(status_of(&m, &s, "proxy-protocol"), CHECK_WARNING);
    assert_int_equal(found(&C, "plain", NULL), -1);
    s.proxy_protocol = false;
    assert_int_equal(status_of(&m, &s, "plain"), CHECK_WARNING);
    s = usual(), s.memory_bytes = 31 * GIB;
    assert_int_equal(status_of(&m, &s, "memory"), CHECK_CRITICAL);
    s = usual(), s.memory_bytes = 8 << 20;
    assert_int_equal(status_of(&m, &s, "memory-small"), CHECK_WARNING);
    s.memory_bytes = 64 << 20;
    assert_int_equal(status_of(&m, &s, "memory-small"), -1);
    s = usual(), s.message_rate = 0.5;
    assert_int_equal(status_of(&m, &s, "message-rate"), CHECK_WARNING);
    assert_int_equal(found(&C, "message-rate", &words), CHECK_WARNING);
    assert_non_null(memmem(words.p, words.n, "is 0.5:", 7));
    s = usual(), s.byte_rate = 1024;
    assert_int_equal(status_of(&m, &s, "byte-rate"), CHECK_WARNING);
    assert_int_equal(found(&C, "byte-rate", &words), CHECK_WARNING);
    assert_non_null(memmem(words.p, words.n, "is 1 KiB: a message of 64 KiB takes 64 s", 40));
    s = usual(), s.journeys_off = true;
    assert_int_equal(status_of(&m, &s, "journeys"), CHECK_WARNING);
    s = usual(), s.connections_max = 4 << 20;
    assert_int_equal(status_of(&m, &s, "descriptors"), CHECK_WARNING);
    assert_int_equal(found(&C, "descriptors", &words), CHECK_WARNING);
    assert_non_null(memmem(words.p, words.n, "4194304", 7));
    checks_done(&C);
}

/* As of /proc, or of a file system in user space that does not say. */
static void no_room_said_is_no_full_disk(void **state) {
    (void)state;
    struct machine m = good();
    struct settings s = usual();
    m.disk_bytes = m.disk_free_bytes = 0;
    assert_int_equal(status_of(&m, &s, "disk-space"), -1);
    m.disk_bytes = 100 * GIB;
    assert_int_equal(status_of(&m, &s, "disk-space"), CHECK_CRITICAL);
    checks_done(&C);
}

static void more_checks_than_there_is_room_for(void **state) {
    (void)state;
    for (int i = 0; i < CHECKS_MAX + 5; i++) check_say(&C, "x", CHECK_OK, NULL, "%d", i);
    assert_int_equal(C.count, CHECKS_MAX);
    struct buf b = {0};
    checks_json(&C, &b);
    assert_true(b.n > 100 && b.p[0] == '[' && b.p[b.n - 1] == ']');
    buf_done(&b);
    checks_done(&C);
}

/* ---- the command's page ---- */
static const char SERVER[] =
    "{\"pid\":1,\"settings\":{\"shards\":64,\"memory_bytes\":536870912,\"connections_max\":1000,"
    "\"retention_ms\":1000,\"rate\":0,\"rate_burst\":0,\"proxy_protocol\":false,\"open_plain\":"
    "false},\"doctor\":{\"status\":\"warning\",\"words\":\"\",\"checks\":[{\"check\":\"log-disk\","
    "\"status\":\"warning\",\"words\":\"commits: 7\",\"do\":\"Look at it.\"},{\"check\":\"kernel\","
    "\"status\":\"ok\",\"words\":\"of the start\"}]},\"slow\":{\"items\":[],"
    "\"causes\":[{\"code\":\"disk_sync\",\"count\":31,\"words\":\"the disk took long to sync the "
    "log\",\"slowest\":{\"at\":"
    "\"2026-11-21T14:03:22.114Z\",\"what\":\"message\",\"app\":\"demo\",\"conversation\":\"ab\","
    "\"id\":\"m1\",\"took_ms\":212.5,\"path\":\"stored\",\"stages\":[{\"stage\":\"durable\",\"ms\":"
    "212}],\"cause\":{\"code\":\"disk_sync\",\"words\":\"The disk took 203 ms.\",\"evidence\":null,"
    "\"do\":\"Look at the disk.\"}}},{\"code\":\"lock\",\"count\":1,\"words\":\"a thread "
    "waited\"}],\"slow\":32,\"done\":1000,\"since\":\"2026-11-21T13:53:22.114Z\"}}";

static bool says(const struct buf *b, const char *text) {
    return memmem(b->p, b->n, text, strlen(text)) != NULL;
}

static void a_page_has_causes_and_checks(void **state) {
    (void)state;
    struct doctor_visit v = {.data = "/nowhere/at/all",
        .server = bytes_str(SERVER),
        .server_words = "asked",
        .machine_is_here = false};
    struct buf b = {0};
    enum check_status worst;
    assert_int_equal(doctor_visit(&v, &b, &worst), OK);
    assert_int_equal(worst, CHECK_WARNING);
    assert_true(says(&b, "needs a look: asked."));
    assert_true(says(&b, "32 of 1000 records and requests took 20 ms and more"));
    assert_true(says(&b, "   31  the disk took long to sync the log (disk_sync), the slowest:"));
    assert_true(says(&b, "14:03:22.114  212 ms  message m1 in ab, app demo, until it was stored"));
    assert_true(says(&b, "durable 212 ms") && says(&b, "The disk took 203 ms."));
    assert_true(says(&b, "-> Look at the disk.") && says(&b, "warning   log-disk: commits: 7"));
    assert_true(says(&b, "    1  a thread waited (lock), the slowest:"));
    buf_done(&b);
    v.json = true;
    assert_int_equal(doctor_visit(&v, &b, &worst), OK);
    assert_true(says(&b, "{\"status\":\"warning\"") && says(&b, "\"server\":{\"pid\":1"));
    buf_done(&b);
    v.json = false;
    v.server = BYTES("");
    v.server_words = "no server runs";
    assert_int_equal(doctor_visit(&v, &b, &worst), OK);
    assert_true(says(&b, "All is well with this machine: no server runs.\n"));
    assert_false(says(&b, "It works")); /* nothing does */
    buf_done(&b);
    v.server = BYTES("error this line is not known\n");
    assert_int_equal(doctor_visit(&v, &b, &worst), MALFORMED);
    buf_done(&b);
}

/* This machine, really looked at; the folder is as it was. */
static void this_machine_is_looked_at(void **state) {
    (void)state;
    char dir[] = "/tmp/kith-doctor-XXXXXX";
    assert_non_null(mkdtemp(dir));
    struct machine m;
    machine_look(dir, 0, &m);
    machine_try_disk(dir, &m);
    assert_true(m.cores >= 1 && m.memory_bytes > 0 && m.descriptors > 0 && m.disk_bytes > 0);
    assert_true(m.disk_free_bytes <= m.disk_bytes && m.kernel[0] && m.filesystem[0]);
    assert_true(m.sync_count > 0 && m.sync_median_ns > 0 && m.sync_worst_ns >= m.sync_median_ns);
    assert_int_equal(rmdir(dir), 0); /* it is empty */
    struct doctor_visit v = {.data = dir, .server_words = "here", .machine_is_here = true};
    struct buf b = {0};
    enum check_status worst;
    assert_int_equal(doctor_visit(&v, &b, &worst), OK);
    assert_true(says(&b, "disk-speed") && says(&b, "cores may be used") && says(&b, "kernel"));
    buf_done(&b);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(a_good_machine_is_well),
        cmocka_unit_test(an_unknown_machine_is_no_fault), cmocka_unit_test(each_fault_is_told),
        cmocka_unit_test(other_faults_of_a_machine), cmocka_unit_test(settings_that_hurt),
        cmocka_unit_test(no_room_said_is_no_full_disk),
        cmocka_unit_test(more_checks_than_there_is_room_for),
        cmocka_unit_test(a_page_has_causes_and_checks),
        cmocka_unit_test(this_machine_is_looked_at)};
    return cmocka_run_group_tests_name("checks", tests, NULL, NULL);
}
