/* chat, what is told to those who are away, tested: once, in order, to whom it is owed; and that it is
 * told no more when they have read it. SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "chat/member_in.h"
#include "person/person.h"

#define APP BYTES("app")

static struct world {
    struct store *store;
    struct cells *cells;
    struct arena arena;
    uint64_t position;
    int64_t time_ms;
    struct step step;
    struct answer answer;
    struct buf body;
    char told[512]; /* by the last record: "ann 3 hello, " or "ann read 3, " */
} w;

static void relay_words(const struct relay *r) {
    if (r->kind == KIND_AWAY_NAME || r->kind == KIND_AWAY_NAMED) return;
    struct unpack u = unpack_of(r->body);
    struct bytes user = unpack_bytes(&u), conv = unpack_bytes(&u), text = {0};
    unsigned long long seq = unpack_u64(&u);
    char one[300];
    assert_true(conv.n);
    if (r->kind == KIND_NOTIFY_MESSAGE) {
        assert_true(unpack_bytes(&u).n && bytes_is(unpack_bytes(&u), "bob"));
        assert_true(bytes_is(unpack_bytes(&u), "Bob B."));
        text = unpack_bytes(&u);
        unpack_bytes(&u);
        unpack_u8(&u);
        unpack_u64(&u);
        assert_true(!u.bad && !unpack_more(&u));
        snprintf(one, sizeof one, "%.*s %llu %.*s, ", (int)user.n, (const char *)user.p, seq,
            (int)text.n, (const char *)text.p);
    } else {
        assert_int_equal(r->kind, KIND_NOTIFY_MESSAGE_READ);
        snprintf(
            one, sizeof one, "%.*s read %lld, ", (int)user.n, (const char *)user.p, (long long)seq);
    }
    if (r->kind == KIND_NOTIFY_MESSAGE_READ && unpack_more(&u)) {
        unsigned long long from = unpack_u64(&u);
        assert_true(bytes_is(unpack_bytes(&u), "bob") && !u.bad);
        snprintf(one, sizeof one, "%.*s gone %llu to %llu, ", (int)user.n, (const char *)user.p,
            from, seq);
    }
    strcat(w.told, one);
}
static void apply(uint8_t kind) {
    arena_reset(&w.arena);
    w.answer.status = 0;
    w.time_ms += 10;
    w.step = (struct step){.cells = w.cells,
        .partitions = 1,
        .position = ++w.position,
        .time_ms = w.time_ms,
        .app = APP,
        .body = buf_view(&w.body),
        .arena = &w.arena,
        .answer = &w.answer};
    for (size_t i = 0; i < chat_member_rule_count; i++)
        if (chat_member_rules[i].kind == kind) chat_member_rules[i].apply(&w.step);
    assert_int_equal(w.answer.status, 200);
    w.told[0] = 0;
    for (size_t i = 0; i < w.step.relay_count; i++) relay_words(&w.step.relays[i]);
    buf_reset(&w.body);
}
/* The name is asked for, and comes. */
static void apply_named(uint8_t kind) {
    apply(kind);
    for (int way = 0; way < 2; way++) {
        if (!w.step.relay_count) return;
        assert_int_equal(w.step.relay_count, 1);
        assert_int_equal(w.step.relays[0].kind, way ? KIND_AWAY_NAMED : KIND_AWAY_NAME);
        buf_bytes(&w.body, w.step.relays[0].body);
        apply(w.step.relays[0].kind);
    }
}

static void pack(const char *text) { pack_bytes(&w.body, bytes_str(text)); }
static void join(const char *conv, uint8_t type, const char *user, uint64_t seq) {
    pack(conv);
    pack_u8(&w.body, type);
    pack(user);
    pack_u8(&w.body, ROLE_MEMBER);
    pack("");
    pack_var(&w.body, seq);
    pack_u8(&w.body, false);
    pack_var(&w.body, 2);
    pack("Friends");
    pack("");
    pack("");
    apply(KIND_COPY_JOIN);
}
static void say(const char *conv, uint8_t type, const char *from, uint64_t seq, const char *text) {
    struct buf one = {0};
    char id[32];
    snprintf(id, sizeof id, "m%llu", (unsigned long long)seq);
    struct message m = {.seq = seq,
        .id = bytes_str(id),
        .from = bytes_str(from),
        .created_ms = w.time_ms,
        .has_body = true,
        .body = bytes_str(text)};
    message_encode(&one, &m);
    pack(conv);
    pack_u8(&w.body, type);
    pack_var(&w.body, 2);
    pack_bytes(&w.body, buf_view(&one));
    pack_var(&w.body, 0);
    apply(KIND_COPY_MESSAGE);
    buf_done(&one);
}
static const char *away(const char *conv, uint64_t seq, const char *a, const char *b) {
    struct buf users = {0};
    pack_bytes(&users, bytes_str(a));
    if (b) pack_bytes(&users, bytes_str(b));
    pack(conv);
    pack_var(&w.body, seq);
    pack_bytes(&w.body, buf_view(&users));
    buf_done(&users);
    apply_named(KIND_NOTIFY_AWAY);
    return w.told;
}
static void deleted(const char *conv, uint64_t seq) {
    char id[32];
    snprintf(id, sizeof id, "m%llu", (unsigned long long)seq);
    struct message m = {.seq = seq,
        .id = bytes_str(id),
        .from = BYTES("bob"),
        .created_ms = w.time_ms,
        .deleted_ms = w.time_ms};
    struct buf one = {0};
    message_encode(&one, &m);
    pack(conv);
    pack_u8(&w.body, CONV_GROUP);
    pack_u8(&w.body, EVENT_DELETED);
    pack_bytes(&w.body, buf_view(&one));
    pack_var(&w.body, 0);
    apply(KIND_COPY_UPDATE);
    buf_done(&one);
}
static const char *marks(const char *conv, const char *user, uint64_t delivered, uint64_t read) {
    pack(conv);
    pack_u8(&w.body, CONV_GROUP);
    pack(user);
    pack_var(&w.body, delivered);
    pack_var(&w.body, read);
    pack_u8(&w.body, false);
    pack_var(&w.body, 0);
    apply(KIND_COPY_RECEIPT);
    return w.told;
}

static int begin(void **state) {
    (void)state;
    memset(&w, 0, sizeof w);
    w.store = store_create_memory();
    w.cells = cells_create(w.store, 0, 1 << 30);
    w.time_ms = 1700000000000;
    for (const char *const *who = (const char *const[]){"ann", "bob", "cid", NULL}; *who; who++)
        join("g", CONV_GROUP, *who, 0);
    struct person_profile bob = {.created_ms = 1};
    bob.f[PROFILE_NAME] = BYTES("Bob B.");
    person_profile_set(&w.step, BYTES("bob"), &bob);
    for (uint64_t seq = 1; seq <= 6; seq++) {
        char text[32];
        snprintf(text, sizeof text, "hello %llu", (unsigned long long)seq);
        say("g", CONV_GROUP, "bob", seq, text);
    }
    return 0;
}
static int end(void **state) {
    (void)state;
    cells_free(&w.cells);
    w.store->calls->close(w.store);
    arena_done(&w.arena);
    buf_done(&w.answer.body);
    buf_done(&w.body);
    return 0;
}

static void each_is_told_once_and_in_order(void **state) {
    (void)state;
    assert_string_equal(away("g", 1, "ann", "cid"), "ann 1 hello 1, cid 1 hello 1, ");
    assert_string_equal(away("g", 1, "ann", "cid"), ""); /* again, after a crash */
    assert_string_equal(away("g", 3, "ann", NULL), "ann 3 hello 3, ");
    assert_string_equal(away("g", 2, "ann", "cid"), "cid 2 hello 2, ");
    assert_string_equal(away("g", 4, "bob", NULL), ""); /* who said it */
    assert_string_equal(away("g", 9, "ann", NULL), ""); /* there is none */
    assert_string_equal(away("nowhere", 1, "ann", NULL), "");
    assert_string_equal(away("g", 4, "stranger", "ann"), "ann 4 hello 4, ");
}

static void what_they_had_or_read_is_not_told(void **state) {
    (void)state;
    marks("g", "ann", 2, 0);
    marks("g", "cid", 3, 3);
    assert_string_equal(away("g", 2, "ann", "cid"), "");
    assert_string_equal(away("g", 3, "ann", "cid"), "ann 3 hello 3, ");
    assert_string_equal(away("g", 4, "ann", "cid"), "ann 4 hello 4, cid 4 hello 4, ");
    join("g", CONV_GROUP, "dan", 5); /* after it was said */
    assert_string_equal(away("g", 5, "dan", NULL), "");
    assert_string_equal(away("g", 6, "dan", NULL), "dan 6 hello 6, ");
}

static void nobody_is_told_against_their_wishes(void **state) {
    (void)state;
    pack("ann");
    pack("g");
    pack_u8(&w.body, 1);
    pack_var(&w.body, (uint64_t)w.time_ms + 1000);
    pack_u8(&w.body, 0);
    apply(KIND_CONV_PREFS);
    assert_string_equal(away("g", 1, "ann", NULL), "");
    w.time_ms += 2000; /* the mute is over; what was said then stays untold unless said again */
    assert_string_equal(away("g", 2, "ann", NULL), "ann 2 hello 2, ");
    mailbox_set_block(&w.step, BYTES("cid"), BYTES("bob"), true);
    assert_string_equal(away("g", 2, "cid", NULL), "");
    deleted("g", 3);
    assert_string_equal(away("g", 3, "ann", NULL), "");
    join("c", CONV_CHANNEL, "ann", 0);
    say("c", CONV_CHANNEL, "bob", 1, "to all");
    assert_false(chat_tells_away(w.cells, APP, BYTES("c")));
    assert_true(chat_tells_away(w.cells, APP, BYTES("g")));
    assert_string_equal(away("c", 1, "ann", NULL), "");
}

static void reading_or_leaving_takes_it_back(void **state) {
    (void)state;
    assert_string_equal(marks("g", "ann", 1, 1), ""); /* nothing was told */
    away("g", 2, "ann", NULL);
    away("g", 4, "ann", NULL);
    assert_string_equal(marks("g", "ann", 5, 1), ""); /* had is not read */
    assert_string_equal(marks("g", "ann", 5, 3), "ann read 3, ");
    assert_string_equal(marks("g", "ann", 5, 3), "");
    assert_string_equal(marks("g", "ann", 5, 5), "ann read 5, ");
    assert_string_equal(marks("g", "ann", 6, 6), ""); /* all of it was read */
    away("g", 5, "cid", NULL);
    pack("g");
    pack("cid");
    pack_var(&w.body, 6);
    pack_var(&w.body, 2);
    apply(KIND_COPY_LEAVE);
    assert_string_equal(w.told, "cid read -1, ");
    assert_string_equal(away("g", 6, "cid", NULL), "");
}

static void what_is_read_while_the_name_comes_is_not_told(void **state) {
    (void)state;
    struct buf asked = {0}, users = {0};
    pack_bytes(&users, BYTES("ann"));
    pack_bytes(&users, BYTES("cid"));
    pack("g");
    pack_var(&w.body, 1);
    pack_bytes(&w.body, buf_view(&users));
    apply(KIND_NOTIFY_AWAY);
    buf_bytes(&w.body, w.step.relays[0].body);
    apply(KIND_AWAY_NAME);
    buf_bytes(&asked, w.step.relays[0].body);
    assert_string_equal(marks("g", "ann", 1, 1), "ann read 1, ");
    buf_bytes(&w.body, buf_view(&asked));
    apply(KIND_AWAY_NAMED);
    assert_string_equal(w.told, "cid 1 hello 1, ");
    buf_done(&asked);
    buf_done(&users);
}

static void what_is_deleted_is_taken_back(void **state) {
    (void)state;
    away("g", 1, "ann", "cid");
    away("g", 3, "ann", NULL);
    deleted("g", 2);
    assert_string_equal(w.told, "ann gone 2 to 2, "); /* or never told: who knows only the newest */
    pack("g");
    pack("bob");
    pack_var(&w.body, 1);
    pack_var(&w.body, 100);
    apply(KIND_COPY_ERASED);
    assert_string_equal(w.told, "ann gone 1 to 6, cid gone 1 to 6, ");
}

static void a_long_text_is_cut_between_characters(void **state) {
    (void)state;
    char text[301];
    for (int i = 0; i < 100; i++) memcpy(text + 3 * i, "\xe2\x82\xac", 3);
    text[300] = 0;
    say("g", CONV_GROUP, "bob", 7, text);
    away("g", 7, "ann", NULL);
    assert_int_equal(strlen(w.told), strlen("ann 7 , ") + 198);
    assert_true(utf8_valid(bytes_str(w.told)));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(each_is_told_once_and_in_order, begin, end),
        cmocka_unit_test_setup_teardown(what_they_had_or_read_is_not_told, begin, end),
        cmocka_unit_test_setup_teardown(nobody_is_told_against_their_wishes, begin, end),
        cmocka_unit_test_setup_teardown(reading_or_leaving_takes_it_back, begin, end),
        cmocka_unit_test_setup_teardown(what_is_read_while_the_name_comes_is_not_told, begin, end),
        cmocka_unit_test_setup_teardown(what_is_deleted_is_taken_back, begin, end),
        cmocka_unit_test_setup_teardown(a_long_text_is_cut_between_characters, begin, end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
