/* topic, tested: random filters and topics against mqtt_filter_matches asked one by one.
 * SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "topic/topic.h"
#include "wire/wire.h"

enum { FILTERS = 400 };
struct one {
    struct topic_entry entry;
    char text[40];
    bool in, hit;
};

static void make(struct rng *r, char *out, bool filter) {
    static const char *WORDS[] = {"a", "b", "c", "", "$x"};
    size_t levels = 1 + rng_below(r, 4);
    out[0] = 0;
    for (size_t i = 0; i < levels; i++) {
        bool last = i + 1 == levels;
        uint64_t k = rng_below(r, filter ? 8 : 5);
        if (i) strcat(out, "/");
        strcat(out, k < 5 ? WORDS[k] : k == 7 && last ? "#" : "+");
    }
    if (!out[0]) strcpy(out, "a");
}

static void hit(void *arg, struct topic_entry *e) {
    struct one *o = (struct one *)e;
    assert_true(o->in);
    assert_false(o->hit);
    o->hit = true;
}

static void matches_as_asked_one_by_one(void **state) {
    (void)state;
    static struct one all[FILTERS];
    struct rng r = {7};
    struct topics *t = topics_create();
    for (int round = 0; round < 4000; round++) {
        struct one *o = &all[rng_below(&r, FILTERS)];
        if (o->in) {
            topics_remove(t, &o->entry);
            o->in = false;
        } else {
            make(&r, o->text, true);
            o->entry = (struct topic_entry){.text = o->text, .size = (uint16_t)strlen(o->text)};
            assert_int_equal(topics_add(t, &o->entry), OK);
            o->in = true;
        }
        char topic[40];
        make(&r, topic, false);
        size_t count = 0;
        for (int i = 0; i < FILTERS; i++) all[i].hit = false;
        topics_match(t, bytes_str(topic), hit, NULL);
        for (int i = 0; i < FILTERS; i++) {
            bool should =
                all[i].in && mqtt_filter_matches(bytes_str(all[i].text), bytes_str(topic));
            if (all[i].hit != should) print_message("%s %s\n", all[i].text, topic);
            assert_int_equal(all[i].hit, should);
            count += all[i].in;
        }
        assert_int_equal(topics_count(t), count);
    }
    for (int i = 0; i < FILTERS; i++)
        if (all[i].in) topics_remove(t, &all[i].entry);
    assert_int_equal(topics_count(t), 0);
    topics_free(&t);
}

static void shapes_and_levels_have_limits(void **state) {
    (void)state;
    struct topics *t = topics_create();
    static char texts[TOPIC_SHAPES_MAX + 1][40];
    static struct topic_entry e[TOPIC_SHAPES_MAX + 1];
    for (unsigned i = 0; i <= TOPIC_SHAPES_MAX; i++) {
        for (unsigned k = 0; k < 10; k++) {
            texts[i][2 * k] = i >> k & 1 ? '+' : 'a';
            texts[i][2 * k + 1] = '/';
        }
        e[i] = (struct topic_entry){.text = texts[i], .size = 20};
        assert_int_equal(topics_add(t, &e[i]), i < TOPIC_SHAPES_MAX ? OK : LIMIT);
    }
    char deep[2 * TOPIC_LEVELS_MAX + 1];
    memset(deep, '/', sizeof deep);
    struct topic_entry d = {.text = deep, .size = TOPIC_LEVELS_MAX};
    assert_int_equal(topics_add(t, &d), LIMIT);
    topics_free(&t);
}

static bool any(void *arg, const struct topic_entry *e) { return e == arg; }

static void finds_just_the_filter(void **state) {
    (void)state;
    struct topics *t = topics_create();
    struct topic_entry a = {.text = "a/+", .size = 3}, b = {.text = "a/+", .size = 3};
    assert_int_equal(topics_add(t, &a), OK);
    assert_int_equal(topics_add(t, &b), OK);
    assert_ptr_equal(topics_find(t, BYTES("a/+"), any, &b), &b);
    assert_null(topics_find(t, BYTES("a/b"), any, &b));
    topics_remove(t, &b);
    assert_null(topics_find(t, BYTES("a/+"), any, &b));
    topics_free(&t);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(matches_as_asked_one_by_one),
        cmocka_unit_test(shapes_and_levels_have_limits), cmocka_unit_test(finds_just_the_filter)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
