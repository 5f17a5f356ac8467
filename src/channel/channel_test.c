/* channel, tested: the sketch never says too little; rules; retained topics; a partition's list.
 * SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "channel/channel.h"

#define APP BYTES("app")

/* ---- where someone listens ---- */
static void text_make(struct rng *r, char *out, bool filter) {
    static const char *WORDS[] = {"a", "b", "", "long-level"};
    size_t levels = 1 + rng_below(r, 4);
    out[0] = 0;
    for (size_t i = 0; i < levels; i++) {
        uint64_t k = rng_below(r, filter ? 6 : 4);
        if (i) strcat(out, "/");
        strcat(out, k < 4 ? WORDS[k] : k == 5 && i + 1 == levels ? "#" : "+");
    }
    if (!out[0]) strcpy(out, "a");
}

static void interest_never_says_too_little(void **state) {
    (void)state;
    enum { FILTERS = 60, PARTITIONS = 70, SHARDS = 3 };
    struct {
        char text[64];
        bool in;
    } f[FILTERS] = {0};
    struct rng r = {3};
    struct interest *i = interest_create(SHARDS, PARTITIONS);
    size_t exact = 0, asked = 0;
    for (int round = 0; round < 20000; round++) {
        size_t n = rng_below(&r, FILTERS);
        unsigned shard = (unsigned)n % SHARDS;
        uint16_t partition = (uint16_t)(n + 10);
        if (!f[n].in) text_make(&r, f[n].text, true);
        f[n].in = !f[n].in;
        interest_live(i, shard, APP, bytes_str(f[n].text), f[n].in ? 1 : -1);
        interest_kept(i, partition, APP, bytes_str(f[n].text), f[n].in ? 1 : -1);
        char topic[64];
        text_make(&r, topic, false);
        uint64_t shards = interest_shards(i, APP, bytes_str(topic)), should = 0;
        uint16_t list[CHANNEL_TARGETS_MAX];
        size_t found = interest_partitions(i, APP, bytes_str(topic), list);
        for (size_t k = 0; k < FILTERS; k++) {
            if (!f[k].in || !mqtt_filter_matches(bytes_str(f[k].text), bytes_str(topic))) continue;
            should |= 1ull << k % SHARDS;
            size_t at = 0;
            while (at < found && list[at] != k + 10) at++;
            assert_int_not_equal(at, found);
        }
        assert_int_equal(shards & should, should);
        exact += shards == should;
        asked++;
    }
    assert_true(exact > asked / 3); /* and not nearly always too much */
    assert_int_equal(interest_shards(i, BYTES("other"), BYTES("a")), 0);
    for (size_t k = 0; k < FILTERS; k++)
        if (f[k].in) {
            interest_live(i, (unsigned)k % SHARDS, APP, bytes_str(f[k].text), -1);
            interest_kept(i, (uint16_t)(k + 10), APP, bytes_str(f[k].text), -1);
        }
    assert_int_equal(interest_shards(i, APP, BYTES("a/b")), 0);
    interest_free(&i);
}

/* ---- who may ---- */
static bool may(
    struct channel_rules *r, const char *user, enum channel_act act, const char *topic) {
    struct principal who = {.app = APP, .user = bytes_str(user), .device = BYTES("d1")};
    return channel_may(r, &who, act, bytes_str(topic));
}

static void the_most_specific_rule_decides(void **state) {
    (void)state;
    struct buf why = {0};
    struct channel_board *b = channel_board_create(false);
    struct channel_rules *r = channel_rules_create(b);
    assert_false(may(r, "ann", CHANNEL_PUBLISH, "any")); /* none denies */
    static const char RULES[] =
        "{\"rules\":[{\"app\":\"app\",\"topic\":\"#\",\"subscribe\":true},"
        "{\"app\":\"app\",\"topic\":\"room/+\",\"publish\":\"*\",\"subscribe\":[\"ann\"]},"
        "{\"app\":\"app\",\"topic\":\"room/secret\",\"publish\":[],\"subscribe\":false},"
        "{\"app\":\"app\",\"topic\":\"own/{user}/{device}/#\",\"publish\":true}]}";
    assert_int_equal(channel_board_read(b, BYTES(RULES), &why), OK);
    assert_true(may(r, "bob", CHANNEL_SUBSCRIBE, "other/x"));
    assert_false(may(r, "bob", CHANNEL_PUBLISH, "other/x"));
    assert_true(may(r, "bob", CHANNEL_PUBLISH, "room/1"));
    assert_false(may(r, "bob", CHANNEL_SUBSCRIBE, "room/1"));
    assert_true(may(r, "ann", CHANNEL_SUBSCRIBE, "room/+"));
    assert_false(may(r, "ann", CHANNEL_SUBSCRIBE, "room/secret"));
    assert_false(may(r, "ann", CHANNEL_PUBLISH, "room/secret"));
    assert_true(may(r, "ann", CHANNEL_PUBLISH, "own/ann/d1/x"));
    assert_false(may(r, "ann", CHANNEL_PUBLISH, "own/bob/d1/x"));
    struct principal who = {.app = APP, .user = BYTES("ann"), .device = BYTES("d1")};
    assert_true(channel_is_narrowed(r, &who, BYTES("room/+")));
    assert_false(channel_is_narrowed(r, &who, BYTES("other/+")));
    who.app = BYTES("another");
    assert_false(channel_may(r, &who, CHANNEL_SUBSCRIBE, BYTES("other/x")));
    for (size_t i = 0; i < 5; i++) {
        static const char *const BAD[] = {"", "[]", "{\"rules\":[{}]}",
            "{\"rules\":[{\"topic\":\"a/#/b\"}]}", "{\"rules\":[{\"topic\":\"a\",\"publish\":7}]}"};
        buf_reset(&why);
        assert_int_equal(channel_board_read(b, bytes_str(BAD[i]), &why), MALFORMED);
        assert_true(why.n > 0);
    }
    assert_true(may(r, "bob", CHANNEL_SUBSCRIBE, "other/x")); /* what is wrong changes nothing */
    buf_done(&why);
    channel_rules_free(&r);
    channel_board_free(&b);
}

static void unreadable_rules_allow_nothing(void **state) {
    (void)state;
    struct channel_board *b = channel_board_create(true);
    struct channel_rules *r = channel_rules_create(b);
    assert_true(may(r, "ann", CHANNEL_PUBLISH, "x"));
    channel_board_set(b, APP, BYTES("\x03half a rule"));
    assert_false(may(r, "ann", CHANNEL_PUBLISH, "x"));
    channel_rules_free(&r);
    channel_board_free(&b);
}

/* ---- stored ---- */
static struct world {
    struct store *store;
    struct cells *cells;
    struct arena arena;
    struct answer answer;
    uint64_t position;
    int64_t time_ms;
} w;

static void apply(uint8_t kind, struct bytes body, struct step *out) {
    arena_reset(&w.arena);
    *out = (struct step){.cells = w.cells,
        .partitions = 1,
        .position = ++w.position,
        .time_ms = w.time_ms,
        .app = APP,
        .body = body,
        .wanted = true,
        .arena = &w.arena,
        .answer = &w.answer};
    for (size_t i = 0; i < channel_surface.record_count; i++)
        if (channel_surface.records[i].kind == kind) channel_surface.records[i].apply(out);
}

static void copy_in(const char *topic, const char *payload, struct step *s) {
    struct buf b = {0};
    struct channel_message m = {.topic = bytes_str(topic),
        .payload = bytes_str(payload),
        .device = BYTES("d"),
        .qos = 1,
        .at_ms = w.time_ms};
    channel_pack(&b, &m);
    apply(KIND_CHANNEL_COPY, buf_view(&b), s);
    buf_done(&b);
}

struct walked {
    uint64_t n, last, stop_at;
};
static bool walk_one(void *arg, uint64_t position, const struct channel_message *m, bool shared) {
    struct walked *v = arg;
    assert_true(position > v->last);
    v->last = position;
    return ++v->n != v->stop_at;
}

static void a_list_is_walked_from_anywhere_and_trimmed(void **state) {
    (void)state;
    enum { MANY = 500 };
    struct step s;
    for (int i = 0; i < MANY; i++) {
        copy_in("t", "some payload", &s);
        assert_int_equal(s.delivery_count, 1);
    }
    for (uint64_t after = 0; after <= MANY; after += 7) {
        struct walked v = {.last = after};
        assert_true(
            channel_walk(w.cells, APP, BYTES("u"), BYTES("d"), after, UINT64_MAX, walk_one, &v));
        assert_int_equal(v.n, MANY - after);
    }
    struct walked v = {.last = 10, .stop_at = 3};
    assert_false(channel_walk(w.cells, APP, BYTES("u"), BYTES("d"), 10, 400, walk_one, &v));
    assert_int_equal(v.last, 13);
    w.time_ms += channel_retention_ms + 1000;
    for (int i = 0; i < MANY; i++) copy_in("t", "later", &s);
    v = (struct walked){0};
    assert_true(channel_walk(w.cells, APP, BYTES("u"), BYTES("d"), 0, UINT64_MAX, walk_one, &v));
    assert_in_range(v.n, MANY, MANY + 64); /* whole blocks go */
    struct buf why = {0};
    assert_true(channel_check(w.cells, &why) && !why.n);
    uint8_t room[300];
    struct cell *block = cells_get(w.cells, key2n(room, '2', APP, (struct bytes){0}, 12));
    assert_true(block->size > 0);
    cells_put(w.cells, block, BYTES("\x7fshort"));
    assert_false(channel_check(w.cells, &why));
    assert_true(why.n > 0);
    buf_done(&why);
}

static void a_packet_id_counts_once_until_released(void **state) {
    (void)state;
    struct step s;
    struct buf b = {0}, release = {0};
    struct channel_message m = {
        .topic = BYTES("t"), .payload = BYTES("p"), .device = BYTES("d"), .qos = 2};
    struct channel_target to = {0, 0};
    channel_record(&b, &m, CHANNEL_ONCE, 7, &to, 1);
    channel_release_record(&release, (struct bytes){0}, BYTES("d"), 7);
    apply(KIND_CHANNEL, buf_view(&b), &s);
    assert_int_equal(s.relay_count, 1);
    assert_int_equal(s.delivery_count, 1);
    apply(KIND_CHANNEL, buf_view(&b), &s);
    assert_int_equal(s.relay_count + s.delivery_count, 0);
    assert_int_equal(w.answer.status, 200);
    apply(KIND_CHANNEL_RELEASE, buf_view(&release), &s);
    apply(KIND_CHANNEL, buf_view(&b), &s);
    assert_int_equal(s.relay_count, 1);
    buf_done(&b);
    buf_done(&release);
}

static bool count_topic(void *arg, uint16_t partition, struct bytes topic) {
    ++*(size_t *)arg;
    return true;
}

static void retained_messages_are_found_again(void **state) {
    (void)state;
    struct step s;
    for (int i = 0; i < 100; i++) {
        struct buf b = {0};
        char topic[32];
        snprintf(topic, sizeof topic, "room/%d/t", i);
        struct channel_message m = {.topic = bytes_str(topic),
            .payload = i % 3 ? BYTES("x") : (struct bytes){0},
            .at_ms = w.time_ms,
            .expiry_s = i % 3 == 2 ? 10 : 0};
        channel_pack(&b, &m);
        apply(KIND_CHANNEL_RETAIN, buf_view(&b), &s);
        buf_done(&b);
    }
    struct retained *r = retained_create();
    retained_scan(r, w.cells, 0);
    size_t n = 0;
    retained_match(r, APP, BYTES("room/+/t"), count_topic, &n);
    assert_int_equal(n, 66);
    n = 0;
    retained_match(r, APP, BYTES("room/1/t"), count_topic, &n);
    assert_int_equal(n, 1);
    struct channel_message m;
    assert_true(channel_retained(w.cells, APP, BYTES("room/1/t"), w.time_ms, &m));
    struct buf why = {0};
    assert_true(channel_check(w.cells, &why) && !why.n);
    assert_true(channel_retained(w.cells, APP, BYTES("room/2/t"), w.time_ms + 9000, &m));
    assert_false(channel_retained(w.cells, APP, BYTES("room/2/t"), w.time_ms + 10000, &m));
    assert_false(channel_retained(w.cells, APP, BYTES("room/0/t"), w.time_ms, &m));
    for (int i = 0; i < 100; i++) {
        char topic[32];
        snprintf(topic, sizeof topic, "room/%d/t", i);
        retained_set(r, APP, bytes_str(topic), 0, false);
    }
    n = 0;
    retained_match(r, APP, BYTES("#"), count_topic, &n);
    assert_int_equal(n, 0);
    cells_put(w.cells, cells_get(w.cells, BYTES("3app\0room/1/t\0")), BYTES("nonsense"));
    assert_false(channel_check(w.cells, &why));
    buf_done(&why);
    retained_free(&r);
}

static void what_is_retained_has_a_limit(void **state) {
    (void)state;
    struct step s;
    for (uint32_t i = 0; i <= CHANNEL_RETAINED_MAX; i++) {
        struct buf b = {0};
        char topic[32];
        snprintf(topic, sizeof topic, "t/%u", i);
        struct channel_message m = {
            .topic = bytes_str(topic), .payload = BYTES("x"), .retain = true, .qos = 2};
        bool once = i == CHANNEL_RETAINED_MAX;
        channel_record(&b, &m, once ? CHANNEL_ONCE : 0, 7, NULL, 0);
        apply(KIND_CHANNEL, buf_view(&b), &s);
        buf_done(&b);
        assert_int_equal(
            w.answer.problem, i < CHANNEL_RETAINED_MAX ? PROBLEM_NONE : PROBLEM_LIMIT_REACHED);
        assert_int_equal(s.delivery_count, i < CHANNEL_RETAINED_MAX ? 2 : 0);
        if (i < CHANNEL_RETAINED_MAX) continue;
        struct buf clear = {0}; /* one goes, another fits */
        m = (struct channel_message){.topic = BYTES("t/5"), .retain = true, .qos = 1};
        channel_record(&clear, &m, 0, 0, NULL, 0);
        apply(KIND_CHANNEL, buf_view(&clear), &s);
        buf_reset(&clear);
        m = (struct channel_message){
            .topic = BYTES("new"), .payload = BYTES("x"), .retain = true, .qos = 2};
        /* and the packet id of what was refused is free */
        channel_record(&clear, &m, CHANNEL_ONCE, 7, NULL, 0);
        apply(KIND_CHANNEL, buf_view(&clear), &s);
        assert_int_equal(w.answer.problem, PROBLEM_NONE);
        assert_int_equal(s.delivery_count, 2);
        buf_done(&clear);
    }
}

static int world_open(void **state) {
    (void)state;
    memset(&w, 0, sizeof w);
    w.store = store_create_memory();
    w.cells = cells_create(w.store, 0, 1 << 30);
    w.time_ms = 1700000000000;
    return 0;
}
static int world_close(void **state) {
    (void)state;
    cells_free(&w.cells);
    w.store->calls->close(w.store);
    arena_done(&w.arena);
    buf_done(&w.answer.body);
    return 0;
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(interest_never_says_too_little),
        cmocka_unit_test(the_most_specific_rule_decides),
        cmocka_unit_test(unreadable_rules_allow_nothing),
        cmocka_unit_test_setup_teardown(
            a_list_is_walked_from_anywhere_and_trimmed, world_open, world_close),
        cmocka_unit_test_setup_teardown(
            a_packet_id_counts_once_until_released, world_open, world_close),
        cmocka_unit_test_setup_teardown(retained_messages_are_found_again, world_open, world_close),
        cmocka_unit_test_setup_teardown(what_is_retained_has_a_limit, world_open, world_close)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
