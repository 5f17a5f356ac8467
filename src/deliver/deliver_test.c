/* deliver, tested: a kept session that comes back after retention took what it had not been sent.
 * The engine is a stand-in here: one partition of cells.
 * SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "deliver/deliver_in.h"

#define APP BYTES("app")
#define USER BYTES("ann")

static struct world {
    struct store *store;
    struct cells *cells;
    struct arena arena;
    struct answer answer;
    struct deliver *deliver;
    struct buf out;
    uint64_t position, asked;
    int64_t time_ms;
    bool present, away_wanted;
    char away[256]; /* who was told to be: "3: ann bob, " */
} w;

uint64_t engine_applied(const struct engine *e, uint16_t partition) { return w.position; }
struct cells *engine_cells(struct engine *e, uint16_t partition) {
    return w.cells;
}

static struct step step_next(struct bytes body) {
    arena_reset(&w.arena);
    return (struct step){.cells = w.cells,
        .partitions = 1,
        .position = ++w.position,
        .time_ms = w.time_ms,
        .app = APP,
        .body = body,
        .arena = &w.arena,
        .answer = &w.answer};
}

/* The log: takes effect at once; who waits is answered by answer_waiting. */
static enum err append(void *arg, uint16_t partition, uint8_t kind, struct bytes app,
    struct bytes body, uint64_t session, uint8_t purpose, uint32_t cookie) {
    struct step s = step_next(body);
    for (size_t i = 0; i < deliver_surface.record_count; i++)
        if (deliver_surface.records[i].kind == kind) deliver_surface.records[i].apply(&s);
    if (purpose) w.asked = session << 8 | purpose;
    return OK;
}
static void answer_waiting(void) {
    assert_int_not_equal(w.asked, 0);
    uint64_t asked = w.asked;
    w.asked = 0;
    deliver_answered(w.deliver, asked >> 8, asked & 0xff, 0, &w.answer);
}
static void output(void *arg, void *conn) {}
static void end(void *arg, void *conn, uint8_t reason) {}
static void opened(void *arg, void *conn, bool present, enum err err) {
    assert_int_equal(err, OK);
    w.present = present;
}
static void subscribed(void *arg, void *conn, uint32_t cookie, enum err err) {
    assert_int_equal(err, OK);
}
static int64_t now_ms(void *arg) { return w.time_ms; }
static bool render(struct tools *t, struct cells *c, struct bytes app, const struct view *v,
    const struct entry *e, struct buf *out, bool *shared) {
    buf_fmt(out, "\"n\":%llu", (unsigned long long)e->seq);
    return true;
}

static struct tools tools = {.entry_json = render};

static bool away_wanted(struct cells *c, struct bytes app, struct bytes conversation) {
    return w.away_wanted;
}
static void away(
    void *arg, uint16_t partition, struct bytes app, const struct entry *e, struct bytes users) {
    char *end = w.away + strlen(w.away);
    end += sprintf(end, "%llu:", (unsigned long long)e->seq);
    for (struct unpack u = unpack_of(users); unpack_more(&u);) {
        struct bytes user = unpack_bytes(&u);
        end += sprintf(end, " %.*s", (int)user.n, user.n ? (const char *)user.p : "");
    }
    strcpy(end, ", ");
}

static void world_open(void) {
    memset(&w, 0, sizeof w);
    w.store = store_create_memory();
    w.cells = cells_create(w.store, 0, 1 << 30);
    w.time_ms = 1700000000000;
    struct deliver_options o = {.partitions = 1,
        .epoch = 5,
        .tools = &tools,
        .append = append,
        .output = output,
        .end = end,
        .opened = opened,
        .subscribed = subscribed,
        .away_wanted = away_wanted,
        .away = away,
        .now_ms = now_ms};
    w.deliver = deliver_create(&o);
    struct step s = step_next((struct bytes){0});
    mailbox_ensure(&s, USER);
}
static void world_close(void) {
    deliver_free(&w.deliver);
    cells_free(&w.cells);
    w.store->calls->close(w.store);
    arena_done(&w.arena);
    buf_done(&w.answer.body);
    buf_done(&w.out);
}

static struct session *session_come(void) {
    struct session_open o = {.app = APP,
        .user = USER,
        .device = BYTES("d"),
        .kind = SESSION_MQTT,
        .version = 5,
        .expiry_s = SESSION_EXPIRY_NEVER,
        .out = &w.out};
    buf_reset(&w.out);
    struct session *s = deliver_open(w.deliver, &o);
    answer_waiting();
    return s;
}
static void append_entries(unsigned from, unsigned n) {
    for (unsigned i = from; i < from + n; i++) {
        struct step s = step_next((struct bytes){0});
        struct entry e = {.type = ENTRY_MESSAGE,
            .event = EVENT_CREATED,
            .conversation = BYTES("g"),
            .seq = i,
            .from = BYTES("bob")};
        mailbox_append(&s, USER, &e);
    }
}
/* Among the bytes written since the session came. */
static bool says(const char *text) {
    return w.out.n && memmem(w.out.p, w.out.n, text, strlen(text)) != NULL;
}

static void subscribe(struct session *s, const char *filter) {
    struct session_filter f = {.filter = bytes_str(filter), .options = 1};
    assert_int_equal(deliver_subscribe(w.deliver, s, &f, 1, 0), OK);
    answer_waiting();
}

static void a_session_is_told_what_retention_took(void **state) {
    (void)state;
    world_open();
    struct session *s = session_come();
    subscribe(s, "users/ann/#");
    deliver_close(w.deliver, s);
    append_entries(1, 100);
    w.time_ms += mailbox_retention_ms + 1;
    append_entries(101, 400); /* each block that begins takes older ones with it */
    uint64_t first = mailbox_first_kept(w.cells, APP, USER);
    assert_true(first > 50);
    s = session_come();
    assert_true(w.present);
    deliver_turn(w.deliver);
    assert_true(says("users/ann/errors"));
    assert_true(says("/problems/gone"));
    assert_false(says("\"n\":1,"));
    assert_true(says("\"n\":500,")); /* what is kept is not held back */
    deliver_close(w.deliver, s);
    world_close();
}

static void a_session_that_missed_nothing_is_not_told(void **state) {
    (void)state;
    world_open();
    struct session *s = session_come();
    subscribe(s, "users/ann/#");
    deliver_close(w.deliver, s);
    append_entries(1, 100);
    s = session_come();
    deliver_turn(w.deliver);
    assert_true(says("\"n\":100,"));
    while (s->flight_count)
        assert_int_equal(deliver_acked(w.deliver, s, s->window[s->flight_head].packet), OK);
    deliver_close(w.deliver, s);
    w.time_ms += mailbox_retention_ms + 1;
    append_entries(101, 400);
    assert_true(mailbox_first_kept(w.cells, APP, USER) > 50);
    s = session_come();
    deliver_turn(w.deliver);
    assert_false(says("/problems/gone"));
    assert_true(says("\"n\":101,"));
    deliver_close(w.deliver, s);
    world_close();
}

/* ---- audiences: gone through by members or by sessions, whichever are fewer ---- */
static struct session *stream_come(const char *user, struct buf *out) {
    struct session_open o = {.app = APP,
        .user = bytes_str(user),
        .device = BYTES("tab"),
        .kind = SESSION_STREAM,
        .after = UINT64_MAX,
        .out = out};
    struct session *s = deliver_open(w.deliver, &o);
    deliver_turn(w.deliver);
    return s;
}
static void tell_audience(const char *audience) {
    struct step s = step_next((struct bytes){0});
    struct entry e = {.type = ENTRY_NOTIFICATION, .event = EVENT_CREATED, .seq = w.position};
    mailbox_append_shared(&s, bytes_str(audience), &e);
    assert_int_equal(s.delivery_count, 1);
    deliver_entry(w.deliver, 0, APP, &s.deliveries[0]);
}
static void join(const char *user, const char *audience) {
    struct step s = step_next((struct bytes){0});
    mailbox_ensure(&s, bytes_str(user));
    if (audience) mailbox_join(&s, bytes_str(user), bytes_str(audience));
}
static bool heard(struct buf *out) {
    bool any = out->n != 0;
    buf_reset(out);
    return any;
}
static void an_audience_is_those_of_it_who_are_connected(void **state) {
    (void)state;
    enum { CROWD = 200 };
    struct buf ann = {0}, bob = {0}, other = {0};
    char name[32];
    world_open();
    join("ann", "#large");
    join("bob", "#small");
    for (int i = 0; i < CROWD; i++) {
        snprintf(name, sizeof name, "u%d", i);
        join(name, "#large");
    }
    struct session *a = stream_come("ann", &ann), *b = stream_come("bob", &bob),
                   *o = stream_come("stranger", &other); /* known to nobody */
    tell_audience("#large");                             /* 201 members, 3 sessions */
    assert_true(heard(&ann) && !heard(&bob) && !heard(&other));
    tell_audience("#small"); /* 1 member */
    assert_true(!heard(&ann) && heard(&bob) && !heard(&other));
    tell_audience("*");
    assert_true(heard(&ann) && heard(&bob) && !heard(&other));
    deliver_close(w.deliver, a);
    tell_audience("#large");
    tell_audience("*");
    assert_true(!heard(&ann) && heard(&bob) && !heard(&other));
    a = stream_come("ann", &ann);
    deliver_close(w.deliver, o);
    deliver_close(w.deliver, b);
    tell_audience("#large");
    assert_true(heard(&ann));
    deliver_close(w.deliver, a);
    tell_audience("#large");
    world_close();
    buf_done(&ann);
    buf_done(&bob);
    buf_done(&other);
}

/* ---- who is away ---- */
static struct delivery message(const char *user, const char *audience, uint64_t seq) {
    return (struct delivery){.kind = DELIVER_ENTRY,
        .user = bytes_str(user),
        .audience = bytes_str(audience),
        .entry = {.position = ++w.position,
            .at_ms = w.time_ms,
            .type = ENTRY_MESSAGE,
            .event = EVENT_CREATED,
            .conversation = bytes_str(audience ? audience : "d"),
            .seq = seq,
            .from = BYTES("bob")}};
}
static const char *send(const char *user, const char *audience, uint64_t seq) {
    struct delivery v = message(user, audience, seq);
    w.away[0] = 0;
    deliver_entry(w.deliver, 0, APP, &v);
    return w.away;
}
static void who_has_no_device_connected_is_away(void **state) {
    (void)state;
    struct buf out = {0};
    world_open();
    w.away_wanted = true;
    for (const char *const *who = (const char *const[]){"ann", "bob", "cid", NULL}; *who; who++)
        join(*who, "g");
    assert_string_equal(send("ann", NULL, 1), "1: ann, ");
    assert_string_equal(send("bob", NULL, 1), ""); /* said it */
    assert_string_equal(send(NULL, "g", 2), "2: ann cid, ");
    struct session *s = stream_come("ann", &out);
    assert_string_equal(send("ann", NULL, 3), "");
    assert_string_equal(send(NULL, "g", 4), "4: cid, ");
    struct delivery v = message("cid", NULL, 5);
    v.entry.event = EVENT_UPDATED; /* and what is no new message */
    deliver_entry(w.deliver, 0, APP, &v);
    v.entry.event = EVENT_CREATED;
    v.entry.type = ENTRY_RECEIPT;
    deliver_entry(w.deliver, 0, APP, &v);
    assert_string_equal(w.away, "4: cid, ");
    deliver_close(w.deliver, s);
    assert_string_equal(send("ann", NULL, 6), "6: ann, ");
    w.away_wanted = false;
    assert_string_equal(send("ann", NULL, 7), "");
    assert_string_equal(send(NULL, "g", 8), "");
    world_close();
    buf_done(&out);
}

static void who_hears_no_messages_is_away_and_so_is_who_vanished(void **state) {
    (void)state;
    world_open();
    w.away_wanted = true;
    struct session *s = session_come();
    subscribe(s, "users/ann/notifications");
    assert_string_equal(send("ann", NULL, 1), "1: ann, ");
    subscribe(s, "users/ann/messages");
    deliver_turn(w.deliver);
    append_entries(2, 3);
    s->caught_up = false;
    session_pump(w.deliver, s);
    assert_int_equal(s->flight_count, 3);
    assert_int_equal(deliver_acked(w.deliver, s, s->window[s->flight_head].packet), OK);
    uint16_t last = s->window[(s->flight_head + 1) % s->window_cap].packet;
    assert_int_equal(deliver_acked(w.deliver, s, last), OK); /* before the one it came after */
    w.away[0] = 0;
    deliver_close(w.deliver, s);
    assert_string_equal(w.away, "3: ann, ");
    s = session_come();
    deliver_turn(w.deliver);
    while (s->flight_count)
        assert_int_equal(deliver_acked(w.deliver, s, s->window[s->flight_head].packet), OK);
    append_entries(5, 1);
    s->caught_up = false;
    session_pump(w.deliver, s);
    assert_int_equal(s->flight_count, 1);
    w.away[0] = 0;
    struct session *again = session_come(); /* takes over: it is sent again at once */
    assert_string_equal(w.away, "");
    deliver_close(w.deliver, again);
    assert_string_equal(w.away, "5: ann, ");
    world_close();
}

static void a_start_tells_again_what_came_last(void **state) {
    (void)state;
    world_open();
    w.away_wanted = true;
    join("ann", "g");
    join("cid", "g");
    for (uint64_t seq = 1; seq <= 10; seq++) {
        struct delivery v = message(seq % 2 ? "ann" : NULL, seq % 2 ? NULL : "g", seq);
        deliver_replayed(w.deliver, 0, APP, &v);
        w.time_ms += 1000;
    }
    assert_string_equal(w.away, ""); /* not all is known yet */
    deliver_recovered(w.deliver);
    assert_string_equal(w.away, "5: ann, 6: ann cid, 7: ann, 8: ann cid, 9: ann, 10: ann cid, ");
    w.away[0] = 0;
    deliver_recovered(w.deliver);
    assert_string_equal(w.away, "");
    for (uint64_t seq = 1; seq <= REPLAYED_MAX + 2; seq++) { /* the ring */
        struct delivery v = message("ann", NULL, seq);
        v.entry.at_ms = (int64_t)seq * 2000;
        deliver_replayed(w.deliver, 0, APP, &v);
    }
    deliver_recovered(w.deliver);
    assert_string_equal(w.away, "4096: ann, 4097: ann, 4098: ann, ");
    w.away[0] = 0;
    struct delivery v = message("ann", NULL, 1);
    deliver_replayed(w.deliver, 0, APP, &v);
    world_close(); /* it ends before it has recovered */
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(who_has_no_device_connected_is_away),
        cmocka_unit_test(a_start_tells_again_what_came_last),
        cmocka_unit_test(who_hears_no_messages_is_away_and_so_is_who_vanished),
        cmocka_unit_test(an_audience_is_those_of_it_who_are_connected),
        cmocka_unit_test(a_session_is_told_what_retention_took),
        cmocka_unit_test(a_session_that_missed_nothing_is_not_told)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
