/* What a trigger says and its totals, as stores of before have them.
 * SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <cmocka.h>

#include "content/content.h"

#define APP BYTES("demo")

/* Of many, kept before there was TOTAL_NO_ADDRESS: one number less, and no place to count it. */
static void totals_of_before(void **state) {
    (void)state;
    struct store *store = store_create_memory();
    struct cells *cells = cells_create(store, 0, 1 << 20);
    struct answer a = {0};
    struct arena arena = {0};
    struct step s = {.cells = cells,
        .partitions = 1,
        .position = 1,
        .time_ms = 1795217400000,
        .app = APP,
        .arena = &arena,
        .answer = &a};
    struct content k = {.id = BYTES("t1"), .workflow = BYTES("likes"), .created_ms = s.time_ms};
    struct buf b = {0};
    uint8_t room[300];
    pack_u8(&b, 2);
    for (uint32_t t = 0; t < TOTAL_NO_ADDRESS; t++) pack_u32(&b, t);
    content_encode(&b, &k);
    pack_bytes(&b, BYTES("ann"));
    cells_put(cells, cells_get(cells, key2(room, '&', APP, k.id)), buf_view(&b));
    for (int round = 0; round < 2; round++) {
        assert_true(content_find(cells, APP, BYTES("t1"), &k));
        assert_true(bytes_is(k.workflow, "likes"));
        assert_int_equal(content_users(cells, APP, BYTES("t1")).n, 4);
        assert_int_equal(content_total(cells, APP, BYTES("t1"), TOTAL_UNLIKELY), TOTAL_UNLIKELY);
        assert_int_equal(content_total(cells, APP, BYTES("t1"), TOTAL_NO_ADDRESS), 0);
        content_count(&s, BYTES("t1"), TOTAL_NO_ADDRESS, 1);
    }
    content_count(&s, BYTES("t1"), TOTAL_FAILED, 1);
    assert_int_equal(content_total(cells, APP, BYTES("t1"), TOTAL_FAILED), TOTAL_FAILED + 1);
    buf_done(&b);
    arena_done(&arena);
    cells_free(&cells);
    store->calls->close(store);
}

int main(void) {
    const struct CMUnitTest all[] = {cmocka_unit_test(totals_of_before)};
    return cmocka_run_group_tests(all, NULL, NULL);
}
