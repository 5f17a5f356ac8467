/* What kith check finds of workflows, webhooks, wishes and inboxes that are not as they must be.
 * SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#include "notify/notify_in.h"

static const struct bytes APP = {(const uint8_t *)"demo", 4};

struct world {
    struct store *store;
    struct cells *cells;
    uint64_t position;
};

static void apply(
    struct world *w, const struct surface_part *part, uint8_t kind, const struct buf *body) {
    struct arena arena = {0};
    struct answer a = {0};
    struct step s = {.cells = w->cells,
        .partitions = 1,
        .position = ++w->position,
        .time_ms = 1795217400000,
        .app = APP,
        .body = buf_view(body),
        .arena = &arena,
        .answer = &a};
    for (size_t i = 0; i < part->rule_count; i++)
        if (part->rules[i].kind == kind) part->rules[i].apply(&s);
    assert_true(!a.problem && a.status);
    buf_done(&a.body);
    arena_done(&arena);
}

static void fill(struct world *w) {
    struct tools tools = {.kit = template_kit_create()};
    struct answer a = {0};
    struct buf b = {0}, definition = {0};
    w->store = store_create_memory();
    w->cells = cells_create(w->store, 0, 1 << 20);
    w->position = 0;
    assert_true(definition_read(&tools,
        BYTES("{\"channels\":[\"inapp\"],\"templates\":{\"en\":{\"title\":\"t\"}}}"), &definition,
        &a));
    pack_bytes(&b, BYTES("likes"));
    pack_u64(&b, 0);
    pack_bytes(&b, buf_view(&definition));
    apply(w, &workflows_part, KIND_WORKFLOW_PUT, &b);
    buf_reset(&b);
    pack_bytes(&b, BYTES("ops"));
    pack_u8(&b, 1);
    pack_bytes(&b, BYTES("https://example.com/"));
    pack_u32(&b, 0);
    pack_bytes(&b, BYTES("whsec_eA=="));
    apply(w, &webhooks_part, KIND_WEBHOOK_PUT, &b);
    buf_reset(&b);
    pack_bytes(&b, BYTES("ann"));
    pack_u8(&b, 1);
    pack_u16(&b, 60);
    pack_u16(&b, 120);
    pack_u8(&b, QUIET_ALL);
    pack_u64(&b, 0);
    apply(w, &notify_wishes, KIND_PREFERENCES_PUT, &b);
    buf_done(&b);
    buf_done(&definition);
    template_kit_free(&tools.kit);
}

static void put(struct world *w, char tag, const char *id, struct bytes value) {
    uint8_t room[300];
    cells_put(w->cells, cells_get(w->cells, key2(room, tag, APP, bytes_str(id))), value);
}

static void finds(struct world *w, const char *words) {
    struct buf why = {0};
    bool sound = notify_check(w->cells, &why);
    buf_char(&why, 0);
    assert_int_equal(sound, words[0] == 0);
    if (words[0]) assert_non_null(strstr((const char *)why.p, words));
    else assert_string_equal((const char *)why.p, "");
    buf_done(&why);
}

/* A world that is whole, but for one cell. */
static void damaged(char tag, const char *id, struct bytes value, const char *words) {
    struct world w;
    fill(&w);
    finds(&w, "");
    put(&w, tag, id, value);
    finds(&w, words);
    cells_free(&w.cells);
    w.store->calls->close(w.store);
}

/* An inbox of one row, whose block or content is not as it must be. */
static void rows_damaged(void) {
    struct world w;
    struct inbox_head head = {.rows = 1, .unseen = 1, .unread = 1};
    struct row r = {.id = BYTES("t1"), .trigger = BYTES("t1"), .workflow = BYTES("likes")};
    struct buf row = {0}, block = {0};
    uint8_t room[300];
    fill(&w);
    row_encode(&row, &r);
    pack_bytes(&block, buf_view(&row));
    struct cell *cell = cells_get(w.cells, key2n(room, '*', APP, BYTES("ann"), 0));
    cells_put(w.cells, cell, buf_view(&block));
    put(&w, ')', "ann", bytes_of(&head, sizeof head));
    finds(&w, "");
    cells_put(w.cells, cell, BYTES("\3\0\0\0"));
    finds(&w, "a row that cannot be read");
    cells_put(w.cells, cell, BYTES("\77"));
    finds(&w, "a row that cannot be read");
    pack_bytes(&block, buf_view(&row));
    cells_put(w.cells, cell, buf_view(&block));
    finds(&w, "rows: 2 is stored, 1 belongs there");
    head = (struct inbox_head){.rows = 2, .unseen = 2, .unread = 2};
    put(&w, ')', "ann", bytes_of(&head, sizeof head));
    finds(&w, "one notification, at places: 2");
    cells_free(&w.cells);
    w.store->calls->close(w.store);
    buf_done(&row);
    buf_done(&block);
}

static void finds_what_is_wrong(void **state) {
    struct inbox_head head = {.unseen = 2, .unread = 3};
    (void)state;
    damaged('#', "likes", (struct bytes){0}, "a workflow is listed and not there");
    damaged('#', "", (struct bytes){0}, "0 workflows are listed and 1 stored");
    damaged('#', "likes", BYTES("12345678\1\2"), "a workflow cannot be read");
    damaged('$', "ops", (struct bytes){0}, "a webhook is listed and not there");
    damaged('$', "ops", BYTES("12345678\100"), "a webhook cannot be read");
    damaged('%', "ann", BYTES("12345678"), "app demo, ann: the preferences cannot be read");
    damaged('%', "ann", BYTES("\0\0\0\0\0\0\0\0\0\0\0\0\0\1w\20\0"), "cannot be read");
    struct bytes h = bytes_of(&head, sizeof head);
    damaged(')', "ann", h, "unseen ones: 2 is stored, 0 belongs there");
    damaged(')', "ann", h, "unread ones: 3 is stored, 0 belongs there");
    damaged(')', "ann", bytes_of(&head, sizeof head - 1), "the size of its head");
    damaged(')', "zoe", bytes_of(&(struct inbox_head){0}, sizeof head), "a user who is known");
    head = (struct inbox_head){.rows = 7};
    damaged(')', "ann", h, "rows: 0 is stored, 7 belongs there");
    head.first = 32;
    damaged(')', "ann", h, "its oldest row: 32 is stored");
    damaged('-', "zoe", BYTES("x"), "a digest of someone who is known");
    damaged('/', "ann", BYTES("\1\1n\1t"), "the bytes of what is held");
    damaged('/', "zoe", BYTES("\1\1n\1t\2"), "what is held for someone who is known");
    rows_damaged();
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(finds_what_is_wrong)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
