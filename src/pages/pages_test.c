/* pages: what is embedded is found, whole, and told apart from what is not.
 * SPDX-License-Identifier: Apache-2.0 */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <setjmp.h>
#include <cmocka.h>
#include <string.h>

#include "pages/pages_in.h"

static void every_page_is_found_by_its_path(void **state) {
    (void)state;
    assert_true(PAGES_COUNT > 0);
    for (size_t i = 0; i < PAGES_COUNT; i++) {
        const struct page *p = &PAGES[i];
        if (i) assert_true(strcmp(PAGES[i - 1].path, p->path) < 0);
        assert_ptr_equal(pages_find(bytes_str(p->path)), p);
        assert_true(p->etag[0] == '"' && p->etag[strlen(p->etag) - 1] == '"');
        assert_int_equal(p->data[p->size], 0); /* the literal ends where the size says */
    }
}

static void a_folder_is_its_index(void **state) {
    (void)state;
    const struct page *index = pages_find(BYTES("demo/index.html"));
    assert_non_null(index);
    assert_ptr_equal(pages_find(BYTES("demo")), index);
    assert_ptr_equal(pages_find(BYTES("demo/")), index);
    assert_int_equal(memcmp(index->data, "<!doctype html>", 15), 0);
}

static void nothing_else_is_found(void **state) {
    (void)state;
    assert_null(pages_find(BYTES("")));
    assert_null(pages_find(BYTES("/")));
    assert_null(pages_find(BYTES("demo/index.htm")));
    assert_null(pages_find(BYTES("demo//")));
    assert_null(pages_find(BYTES("demo/../console")));
    assert_null(pages_find(bytes_of("demo\0", 5)));
    char longer[4000];
    memset(longer, 'a', sizeof longer);
    assert_null(pages_find(bytes_of(longer, sizeof longer)));
}

static void a_tag_of_before_is_not_known(void **state) {
    (void)state;
    const struct page *p = &PAGES[0];
    char list[200];
    assert_true(page_is_known(p, bytes_str(p->etag)));
    assert_true(page_is_known(p, BYTES("*")));
    snprintf(list, sizeof list, "\"other\", W/%s", p->etag);
    assert_true(page_is_known(p, bytes_str(list)));
    assert_false(page_is_known(p, BYTES("")));
    assert_false(page_is_known(p, BYTES("\"other\"")));
    assert_false(page_is_known(p, bytes_of(p->etag, strlen(p->etag) - 1)));
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(every_page_is_found_by_its_path),
        cmocka_unit_test(a_folder_is_its_index), cmocka_unit_test(nothing_else_is_found),
        cmocka_unit_test(a_tag_of_before_is_not_known)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
