/* config: a file gives values; a wrong one gives words that name key and line.
 * SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "config/config.h"

static const char *const NAMES[] = {"http", "shards", "dev"};

static enum err read_text(const char *text, struct config *c, struct buf *why) {
    char path[] = "/tmp/kith-config-XXXXXX";
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, strlen(text)), (ssize_t)strlen(text));
    close(fd);
    enum err e = config_read(path, NAMES, 3, c, why);
    unlink(path);
    buf_char(why, 0);
    return e;
}

static void gives_values(void **state) {
    (void)state;
    struct config c;
    struct buf why = {0};
    assert_int_equal(read_text("# ours\nhttp: 127.0.0.1:9000\ndev: true\n", &c, &why), OK);
    assert_string_equal(c.values[0], "127.0.0.1:9000");
    assert_null(c.values[1]);
    assert_string_equal(c.values[2], "true");
    config_done(&c);
    assert_null(c.values[0]);
    buf_done(&why);
}

static void names_what_is_wrong(void **state) {
    (void)state;
    static const char *const BAD[][2] = {
        {"http: a\nhtpp: b\n", "line 2: there is no option 'htpp'; is 'http' meant?"},
        {"# x\n\nfrobnicate: 1\n",
            "line 3: there is no option 'frobnicate'; 'kith serve --help' lists"},
        {"shards:\n  - 1\n", "line 1: 'shards' has no value"},
        {"dev: true\nhttp: [\n", "line 2: 'http' takes one value"},
        {"http: {a: 1}\n", "line 1: 'http' takes one value"},
        {"- http\n", "line 1: is of a list; each line is 'name: value'"},
        {"http: 1\ndev: true\nhttp: 2\n", "line 3: 'http' is there a second time, after line 1"},
        {"dev: true\nhttp 127\n", "line 2: has no colon with a space behind it"},
        {"http:127\n", "line 1: has no colon with a space behind it"},
        {"http: \"abc\nshards: 1\n", "line 1: 'http' begins with a quotation mark"},
        {"\thttp: 1\n", "line 1: begins with a tab"},
        {"http: x\n  shards: y\n", "line 2: is indented"},
        {"http: *b\n", "line 1: 'http' begins with a character that means something else"},
        {"http: a: b\n", "line 1: 'http' has a value with a colon and a space; put it in quotes"},
        {"dev: true\nhttp: \xff\n", "line 2: this is not UTF-8"},
        {"http: # later\n", "line 1: 'http' has no value"},
        {"http: \"a\" b\n", "each line is 'name: value'"}};
    for (size_t i = 0; i < sizeof BAD / sizeof *BAD; i++) {
        struct config c;
        struct buf why = {0};
        assert_int_equal(read_text(BAD[i][0], &c, &why), MALFORMED);
        if (!strstr((char *)why.p, BAD[i][1]))
            fail_msg("'%s' does not say '%s'", (char *)why.p, BAD[i][1]);
        for (size_t k = 0; k < 3; k++) assert_null(c.values[k]);
        config_done(&c);
        buf_done(&why);
    }
}

static void what_is_empty_in_quotes_is_a_value(void **state) {
    (void)state;
    struct config c;
    struct buf why = {0};
    assert_int_equal(read_text("http: ''\nshards: '#1' # one\n", &c, &why), OK);
    assert_string_equal(c.values[0], "");
    assert_string_equal(c.values[1], "#1");
    config_done(&c);
    buf_done(&why);
}

static void a_file_that_is_not_there(void **state) {
    (void)state;
    struct config c;
    struct buf why = {0};
    assert_int_equal(config_read("/nonexistent/kith.yaml", NAMES, 3, &c, &why), MISSING);
    buf_done(&why);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(gives_values),
        cmocka_unit_test(names_what_is_wrong), cmocka_unit_test(what_is_empty_in_quotes_is_a_value),
        cmocka_unit_test(a_file_that_is_not_there)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
