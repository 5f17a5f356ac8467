/* chat, member side, tested: relays as the conversation would send them go in; mailboxes, lists and
 * answers come out. Stories first, then random acts against a model that knows for each user what
 * they may see, then the same acts with little memory, which must leave the same state.
 * SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "chat/member_in.h"

#define APP BYTES("app")
#define EPOCH 5

/* ---- a partition to act on ---- */
struct world {
    struct store *store;
    struct cells *cells;
    struct arena arena;
    uint64_t position, generation;
    int64_t time_ms;
    struct step step;
    struct answer answer;
    struct json_reader *reader;
    struct buf body;
};

static void world_open(struct world *w, uint64_t budget) {
    memset(w, 0, sizeof *w);
    w->store = store_create_memory();
    w->cells = cells_create(w->store, 0, budget);
    w->time_ms = 1700000000000;
    w->reader = json_reader_create();
}
static void world_close(struct world *w) {
    cells_free(&w->cells);
    w->store->calls->close(w->store);
    arena_done(&w->arena);
    json_reader_free(&w->reader);
    buf_done(&w->answer.body);
    buf_done(&w->body);
}
static void world_flush(struct world *w) {
    struct table_batch b = {0};
    cells_freeze(w->cells, &b, ++w->generation);
    assert_int_equal(w->store->calls->write(w->store, &b), OK);
    buf_done(&b.data);
    cells_flushed(w->cells, w->generation);
}
static struct bytes str(const char *s) { return bytes_str(s); }

/* A record of this kind, with what w->body holds, takes effect. */
static struct step *apply(struct world *w, uint8_t kind) {
    arena_reset(&w->arena);
    buf_reset(&w->answer.body);
    w->answer.status = 0;
    w->answer.problem = PROBLEM_NONE;
    w->time_ms += 10;
    w->step = (struct step){.cells = w->cells,
        .partitions = 1,
        .position = ++w->position,
        .time_ms = w->time_ms,
        .app = APP,
        .body = buf_view(&w->body),
        .wanted = true,
        .arena = &w->arena,
        .answer = &w->answer};
    for (size_t i = 0; i < chat_member_rule_count; i++)
        if (chat_member_rules[i].kind == kind) chat_member_rules[i].apply(&w->step);
    assert_int_not_equal(w->answer.status, 0);
    buf_reset(&w->body);
    return &w->step;
}
static struct step *settle(struct world *w) { /* a step of another room's */
    arena_reset(&w->arena);
    w->step = (struct step){.cells = w->cells,
        .partitions = 1,
        .position = ++w->position,
        .time_ms = w->time_ms,
        .app = APP,
        .arena = &w->arena,
        .answer = &w->answer};
    return &w->step;
}

/* ---- relays ---- */
static void join(struct world *w, const char *conv, uint8_t type, const char *user,
    const char *peer, uint64_t seq, bool history_all) {
    struct buf *b = &w->body;
    pack_bytes(b, str(conv));
    pack_u8(b, type);
    pack_bytes(b, str(user));
    pack_u8(b, ROLE_MEMBER);
    pack_bytes(b, str(peer));
    pack_var(b, seq);
    pack_u8(b, history_all);
    pack_var(b, 2);
    pack_bytes(b, type == CONV_DIRECT ? BYTES("") : BYTES("a \"name\""));
    pack_bytes(b, BYTES(""));
    pack_bytes(b, BYTES(""));
    apply(w, KIND_COPY_JOIN);
}
static void leave(struct world *w, const char *conv, const char *user, uint64_t seq) {
    pack_bytes(&w->body, str(conv));
    pack_bytes(&w->body, str(user));
    pack_var(&w->body, seq);
    pack_var(&w->body, 1);
    apply(w, KIND_COPY_LEAVE);
}
static void pack_users(struct world *w, const char *users) { /* blank-separated */
    size_t n = 0;
    for (const char *p = users; *p; p += strcspn(p, " "), p += *p == ' ') n++;
    pack_var(&w->body, n);
    for (const char *p = users; *p; p += strcspn(p, " "), p += *p == ' ')
        pack_bytes(&w->body, bytes_of(p, strcspn(p, " ")));
}
static struct message said(struct world *w, const char *from, uint64_t seq, const char *text) {
    static char id[32];
    sprintf(id, "m%llu", (unsigned long long)seq);
    return (struct message){.seq = seq,
        .id = str(id),
        .from = str(from),
        .created_ms = w->time_ms,
        .has_body = true,
        .body = str(text)};
}
static void message_send(
    struct world *w, const char *conv, uint8_t type, const struct message *m, const char *users) {
    struct buf one = {0};
    message_encode(&one, m);
    pack_bytes(&w->body, str(conv));
    pack_u8(&w->body, type);
    pack_var(&w->body, 2);
    pack_bytes(&w->body, buf_view(&one));
    pack_users(w, users);
    apply(w, KIND_COPY_MESSAGE);
    buf_done(&one);
}
static void say(struct world *w, const char *conv, uint8_t type, const char *from, uint64_t seq,
    const char *text, const char *users) {
    struct message m = said(w, from, seq, text);
    message_send(w, conv, type, &m, users);
}
static void update(struct world *w, const char *conv, uint8_t type, uint8_t event,
    const struct message *m, const char *users) {
    struct buf one = {0};
    message_encode(&one, m);
    pack_bytes(&w->body, str(conv));
    pack_u8(&w->body, type);
    pack_u8(&w->body, event);
    pack_bytes(&w->body, buf_view(&one));
    pack_users(w, users);
    apply(w, KIND_COPY_UPDATE);
    buf_done(&one);
}
static void receipt(struct world *w, const char *conv, uint8_t type, const char *user,
    uint64_t delivered, uint64_t read, bool push, const char *users) {
    pack_bytes(&w->body, str(conv));
    pack_u8(&w->body, type);
    pack_bytes(&w->body, str(user));
    pack_var(&w->body, delivered);
    pack_var(&w->body, read);
    pack_u8(&w->body, push);
    pack_users(w, users);
    apply(w, KIND_COPY_RECEIPT);
}
static void erased(struct world *w, const char *conv, const char *user) {
    pack_bytes(&w->body, str(conv));
    pack_bytes(&w->body, str(user));
    pack_var(&w->body, 1);
    pack_var(&w->body, UINT32_MAX);
    /* what is left comes back to it */
    for (struct step *s = apply(w, KIND_COPY_ERASED); s->relay_count;
         s = apply(w, KIND_COPY_ERASED)) {
        assert_int_equal(s->relay_count, 1);
        assert_int_equal(s->relays[0].kind, KIND_COPY_ERASED);
        buf_bytes(&w->body, s->relays[0].body);
    }
}

/* ---- requests ---- */
static const struct route *route(const char *method, const char *path) {
    for (size_t i = 0; i < chat_member_route_count; i++)
        if (strcmp(chat_member_routes[i].method, method) == 0 &&
            strcmp(chat_member_routes[i].path, path) == 0)
            return &chat_member_routes[i];
    fail_msg("no route %s %s", method, path);
    return NULL;
}
static struct request ask(
    struct world *w, const char *user, const char *limit, const char *cursor) {
    arena_reset(&w->arena);
    struct request r = {.params = {str(user)},
        .who = {.app = APP},
        .now_ms = w->time_ms,
        .epoch = EPOCH,
        .partitions = 1,
        .arena = &w->arena};
    if (limit)
        r.query_names[r.query_count] = BYTES("limit"), r.query_values[r.query_count++] = str(limit);
    if (cursor)
        r.query_names[r.query_count] = BYTES("cursor"),
        r.query_values[r.query_count++] = str(cursor);
    return r;
}
static bool entry_json(struct tools *t, struct cells *c, struct bytes app, const struct view *v,
    const struct entry *e, struct buf *out, bool *shared) {
    return chat_entry_json(c, app, v, e, out, shared);
}
static struct tools tools = {.entry_json = entry_json};
static int get(struct world *w, const char *path, struct request *r) {
    struct plan p = {0};
    buf_reset(&w->answer.body);
    w->answer.status = 0;
    if (route("GET", path)->plan(r, &p, &w->answer) == OK) {
        struct query q = {w->cells, 0, r, &w->answer, &tools, 0};
        p.query(&q);
    }
    buf_char(&w->answer.body, 0);
    w->answer.body.n--;
    return w->answer.status;
}
static struct json parsed(struct world *w) {
    struct json v;
    assert_int_equal(json_parse(w->reader, buf_view(&w->answer.body), &v), OK);
    return v;
}
static struct json field(struct json v, const char *key) {
    struct json out;
    if (!json_get(v, key, &out)) fail_msg("no field %s", key);
    return out;
}
static bool has(struct json v, const char *key) {
    struct json out;
    return json_get(v, key, &out);
}
struct nth {
    size_t n, at;
    struct json v;
};
static bool nth_take(void *arg, struct bytes key, struct json v) {
    struct nth *x = arg;
    (void)key;
    x->v = v;
    return x->at++ != x->n;
}
static struct json item(struct json v, size_t n) {
    struct nth x = {.n = n};
    json_each(field(v, "items"), nth_take, &x);
    assert_int_equal(x.at, n + 1);
    return x.v;
}
#define assert_str(v, key, want)                                                                   \
    do {                                                                                           \
        struct bytes got_ = json_string(field(v, key));                                            \
        assert_true(                                                                               \
            bytes_is(got_, want) ||                                                                \
            (fprintf(stderr, "%s: '%.*s'\n", key, (int)got_.n, (const char *)got_.p), false));     \
    } while (0)
#define MAILBOX "/v1/users/{id}/mailbox"
#define CONVERSATIONS "/v1/users/{id}/conversations"

static struct json mailbox(struct world *w, const char *user) {
    struct request r = ask(w, user, "200", NULL);
    assert_int_equal(get(w, MAILBOX, &r), 200);
    return parsed(w);
}
static size_t mailbox_count(struct world *w, const char *user) {
    return json_count(field(mailbox(w, user), "items"));
}
static struct json conversations(struct world *w, const char *user) {
    struct request r = ask(w, user, "200", NULL);
    assert_int_equal(get(w, CONVERSATIONS, &r), 200);
    return parsed(w);
}

/* ---- stories ---- */
static void direct_reaches_both(void **state) {
    (void)state;
    struct world w;
    world_open(&w, 1 << 20);
    join(&w, "d", CONV_DIRECT, "ann", "bob", 0, false);
    assert_int_equal(w.step.delivery_count, 1);
    join(&w, "d", CONV_DIRECT, "bob", "ann", 0, false);
    say(&w, "d", CONV_DIRECT, "ann", 1, "hello \"you\"", "ann bob");
    assert_int_equal(w.step.delivery_count, 2);
    struct json v = mailbox(&w, "bob"), e = item(v, 1);
    assert_int_equal(json_count(field(v, "items")), 2);
    assert_int_equal(json_kind_of(field(v, "next")), JSON_NULL);
    assert_str(item(v, 0), "type", "conversation");
    assert_str(field(item(v, 0), "conversation"), "id", "d");
    assert_str(field(item(v, 0), "conversation"), "type", "direct");
    assert_false(has(field(item(v, 0), "conversation"), "name"));
    assert_str(e, "type", "message");
    assert_str(e, "event", "created");
    assert_str(e, "cursor", "5-3");
    assert_str(e, "at", "2023-11-14T22:13:20.030Z");
    assert_str(field(e, "message"), "body", "hello \"you\"");
    assert_str(field(e, "message"), "conversation", "d");
    v = conversations(&w, "bob");
    assert_int_equal(json_i64(field(item(v, 0), "unread")), 1);
    assert_str(field(item(v, 0), "last"), "id", "m1");
    /* own ones do not count */
    assert_int_equal(json_i64(field(item(conversations(&w, "ann"), 0), "unread")), 0);
    assert_int_equal(mailbox_count(&w, "ann"), 2);
    world_close(&w);
}

static void who_joins_later_sees_nothing_of_before(void **state) {
    (void)state;
    struct world w;
    world_open(&w, 1 << 20);
    join(&w, "g", CONV_GROUP, "ann", "", 0, false);
    say(&w, "g", CONV_GROUP, "ann", 1, "early", "");
    say(&w, "g", CONV_GROUP, "ann", 2, "early too", "");
    join(&w, "g", CONV_GROUP, "bob", "", 2, false);
    struct json v = conversations(&w, "bob");
    assert_int_equal(json_i64(field(item(v, 0), "unread")), 0);
    assert_int_equal(json_i64(field(item(v, 0), "read")), 2);
    assert_int_equal(json_kind_of(field(item(v, 0), "last")), JSON_NULL);
    assert_str(item(v, 0), "name", "a \"name\"");
    say(&w, "g", CONV_GROUP, "ann", 3, "late", "");
    struct message m = said(&w, "ann", 1, "early, mended");
    update(&w, "g", CONV_GROUP, EVENT_UPDATED, &m, "");
    m = said(&w, "ann", 3, "late, mended");
    update(&w, "g", CONV_GROUP, EVENT_UPDATED, &m, "");
    v = mailbox(&w, "bob"); /* joined, 3, 3 edited: not the edit of 1 */
    assert_int_equal(json_count(field(v, "items")), 3);
    /* a late reader sees the edited text */
    assert_str(field(item(v, 1), "message"), "body", "late, mended");
    assert_str(item(v, 2), "event", "updated");
    assert_int_equal(mailbox_count(&w, "ann"), 6);
    assert_int_equal(json_i64(field(item(conversations(&w, "bob"), 0), "unread")), 1);
    join(&w, "g", CONV_GROUP, "all", "", 3, true);
    assert_str(field(item(conversations(&w, "all"), 0), "last"), "id", "m3");
    world_close(&w);
}

static void who_may_see_what_was_before_learns_of_its_changes(void **state) {
    (void)state;
    static const uint64_t CHANGED[] = {2, 1, 3, 2, 70};
    struct world w;
    struct message m;
    world_open(&w, 1 << 20);
    join(&w, "g", CONV_GROUP, "all", "", 71, true);
    say(&w, "g", CONV_GROUP, "ann", 72, "new", "");
    for (size_t i = 0; i < 5; i++) {
        m = said(&w, "ann", CHANGED[i], i == 3 ? "mended again" : "mended");
        update(&w, "g", CONV_GROUP, EVENT_UPDATED, &m, "");
    }
    struct json v = mailbox(&w, "all"); /* joined, 72, changes */
    assert_int_equal(json_count(field(v, "items")), 7);
    for (size_t i = 0; i < 5; i++) {
        struct json x = field(item(v, 2 + i), "message");
        assert_int_equal(json_i64(field(x, "seq")), CHANGED[i]);
        assert_str(x, "body", CHANGED[i] == 2 ? "mended again" : "mended");
    }
    assert_int_equal(json_i64(field(item(conversations(&w, "all"), 0), "unread")), 1);
    /* what nobody here may see is not fetched for them */
    join(&w, "h", CONV_GROUP, "bob", "", 71, false);
    m = said(&w, "ann", 5, "mended");
    update(&w, "h", CONV_GROUP, EVENT_UPDATED, &m, "");
    assert_false(copy_message(w.cells, APP, str("h"), 5, &m));
    /* nor shown to who came beside */
    join(&w, "g", CONV_GROUP, "bob", "", 72, false);
    m = said(&w, "ann", 1, "mended once more");
    update(&w, "g", CONV_GROUP, EVENT_UPDATED, &m, "");
    assert_int_equal(json_count(field(mailbox(&w, "bob"), "items")), 2);
    assert_int_equal(json_count(field(mailbox(&w, "all"), "items")), 8);
    /* and goes with who wrote it */
    erased(&w, "g", "ann");
    for (size_t i = 0; i < 5; i++)
        assert_true(copy_message(w.cells, APP, str("g"), CHANGED[i], &m) && !m.has_body);
    world_close(&w);
}

static void leaving_and_coming_back(void **state) {
    (void)state;
    struct world w;
    world_open(&w, 1 << 20);
    join(&w, "g", CONV_GROUP, "ann", "", 0, false);
    join(&w, "g", CONV_GROUP, "bob", "", 0, false);
    say(&w, "g", CONV_GROUP, "ann", 1, "one", "");
    leave(&w, "g", "bob", 1);
    assert_false(chat_is_member(w.cells, APP, str("bob"), str("g")));
    assert_int_equal(json_count(field(conversations(&w, "bob"), "items")), 0);
    say(&w, "g", CONV_GROUP, "ann", 2, "two", "");
    join(&w, "g", CONV_GROUP, "bob", "", 2, false);
    say(&w, "g", CONV_GROUP, "ann", 3, "three", "");
    struct json v = mailbox(&w, "bob"); /* joined, one, left, joined, three */
    assert_int_equal(json_count(field(v, "items")), 5);
    assert_str(item(v, 2), "event", "deleted");
    assert_str(field(item(v, 4), "message"), "body", "three");
    assert_int_equal(json_i64(field(item(conversations(&w, "bob"), 0), "unread")), 1);
    world_close(&w);
}

static void blocked_senders_are_not_delivered(void **state) {
    (void)state;
    struct world w;
    struct buf b = {0};
    bool shared;
    world_open(&w, 1 << 20);
    join(&w, "d", CONV_DIRECT, "ann", "eve", 0, false);
    join(&w, "g", CONV_GROUP, "ann", "", 0, false);
    join(&w, "g", CONV_GROUP, "bob", "", 0, false);
    mailbox_set_block(settle(&w), str("ann"), str("eve"), true);
    say(&w, "d", CONV_DIRECT, "eve", 1, "x", "ann");
    assert_int_equal(w.step.delivery_count, 0);
    say(&w, "g", CONV_GROUP, "eve", 1, "x", "");
    assert_int_equal(mailbox_count(&w, "ann"), 2);
    assert_int_equal(mailbox_count(&w, "bob"), 2);
    /* What bob is shown may not be kept for ann. */
    struct entry e = w.step.deliveries ? w.step.deliveries[0].entry : (struct entry){0};
    e = (struct entry){.position = e.position,
        .type = ENTRY_MESSAGE,
        .event = EVENT_CREATED,
        .conversation = str("g"),
        .seq = 1,
        .from = str("eve")};
    struct view v = {.user = str("bob"), .now_ms = w.time_ms};
    assert_true(chat_entry_json(w.cells, APP, &v, &e, &b, &shared));
    assert_false(shared);
    v.user = str("ann");
    buf_reset(&b);
    assert_false(chat_entry_json(w.cells, APP, &v, &e, &b, &shared));
    assert_int_equal(b.n, 0);
    struct json c = conversations(&w, "ann");
    for (size_t i = 0; i < 2; i++) assert_int_equal(json_i64(field(item(c, i), "unread")), 0);
    assert_true(json_bool(field(field(item(c, 0), "last"), "hidden")));
    mailbox_set_block(settle(&w), str("ann"), str("eve"), false);
    /* the group's is there again; the direct one never reached her */
    assert_int_equal(mailbox_count(&w, "ann"), 3);
    assert_true(chat_entry_json(w.cells, APP, &v, &e, &b, &shared));
    assert_true(shared);
    buf_done(&b);
    world_close(&w);
}

static void joining_while_blocking_tells_the_conversation(void **state) {
    (void)state;
    struct world w;
    world_open(&w, 1 << 20);
    mailbox_ensure(settle(&w), str("ann"));
    mailbox_set_block(settle(&w), str("ann"), str("eve"), true);
    join(&w, "d", CONV_DIRECT, "ann", "eve", 0, false);
    assert_int_equal(w.step.relay_count, 1);
    assert_int_equal(w.step.relays[0].kind, KIND_CONV_BLOCK);
    struct unpack u = unpack_of(w.step.relays[0].body);
    assert_true(bytes_is(unpack_bytes(&u), "d") && bytes_is(unpack_bytes(&u), "ann") &&
                unpack_u8(&u) == 1 && !unpack_more(&u));
    world_close(&w);
}

static void receipts_reach_the_others(void **state) {
    (void)state;
    struct world w;
    world_open(&w, 1 << 20);
    join(&w, "d", CONV_DIRECT, "ann", "bob", 0, false);
    join(&w, "d", CONV_DIRECT, "bob", "ann", 0, false);
    join(&w, "g", CONV_GROUP, "ann", "", 0, false);
    join(&w, "g", CONV_GROUP, "bob", "", 0, false);
    say(&w, "d", CONV_DIRECT, "ann", 1, "x", "ann bob");
    say(&w, "g", CONV_GROUP, "ann", 1, "x", "");
    receipt(&w, "d", CONV_DIRECT, "bob", 1, 1, true, "ann bob");
    assert_int_equal(w.step.delivery_count, 1); /* not to the reader */
    receipt(&w, "g", CONV_GROUP, "bob", 1, 0, true, "");
    receipt(&w, "g", CONV_GROUP, "bob", 0, 0, false, ""); /* marks do not go back */
    assert_int_equal(mailbox_count(&w, "bob"), 4);
    struct json v = mailbox(&w, "ann");
    assert_int_equal(json_count(field(v, "items")), 6);
    struct json r = field(item(v, 4), "receipt");
    assert_str(r, "conversation", "d");
    assert_str(r, "user", "bob");
    assert_int_equal(json_i64(field(r, "delivered")), 1);
    assert_int_equal(json_i64(field(r, "read")), 1);
    v = conversations(&w, "bob");
    assert_str(item(v, 0), "id", "g");
    assert_int_equal(json_i64(field(item(v, 0), "unread")), 1);
    assert_int_equal(json_i64(field(item(v, 0), "delivered")), 1);
    assert_int_equal(json_i64(field(item(v, 1), "unread")), 0);
    world_close(&w);
}

static void erased_senders_become_stubs(void **state) {
    (void)state;
    struct world w;
    world_open(&w, 1 << 20);
    join(&w, "g", CONV_GROUP, "ann", "", 0, false);
    join(&w, "g", CONV_GROUP, "eve", "", 0, false);
    for (uint64_t i = 1; i <= 200; i++)
        say(&w, "g", CONV_GROUP, i % 2 ? "eve" : "ann", i, "secret", "");
    struct message gone = said(&w, "eve", 1, "");
    gone.deleted_ms = 12345;
    update(&w, "g", CONV_GROUP, EVENT_DELETED, &gone, "");
    mailbox_erase(settle(&w), str("eve"));
    erased(&w, "g", "eve");
    leave(&w, "g", "eve", 200);
    assert_int_equal(w.step.delivery_count, 0);
    assert_false(mailbox_known(w.cells, APP, str("eve")));
    struct place p;
    assert_false(place_get(w.cells, APP, str("eve"), str("g"), &p));
    struct message m;
    for (uint64_t i = 1; i <= 200; i++) {
        assert_true(copy_message(w.cells, APP, str("g"), i, &m));
        assert_true(i % 2 ? m.deleted_ms && !m.has_body : !m.deleted_ms && m.has_body);
        assert_int_equal(m.deleted_ms == 12345, i == 1); /* when it went first */
    }
    assert_int_equal(json_i64(field(item(conversations(&w, "ann"), 0), "unread")), 0);
    say(&w, "d", CONV_DIRECT, "ann", 1, "to nobody", "eve");
    assert_false(mailbox_known(w.cells, APP, str("eve")));
    world_close(&w);
}

static void deleted_and_expired_do_not_count(void **state) {
    (void)state;
    struct world w;
    world_open(&w, 1 << 20);
    join(&w, "g", CONV_GROUP, "ann", "", 0, false);
    say(&w, "g", CONV_GROUP, "bob", 1, "kept", "");
    struct message m = said(&w, "bob", 2, "brief");
    m.expires_ms = w.time_ms + 60000;
    message_send(&w, "g", CONV_GROUP, &m, "");
    say(&w, "g", CONV_GROUP, "bob", 3, "wrong", "");
    assert_int_equal(json_i64(field(item(conversations(&w, "ann"), 0), "unread")), 3);
    m = said(&w, "bob", 3, "");
    m.deleted_ms = w.time_ms;
    update(&w, "g", CONV_GROUP, EVENT_DELETED, &m, "");
    assert_int_equal(json_i64(field(item(conversations(&w, "ann"), 0), "unread")), 2);
    w.time_ms += 120000;
    assert_int_equal(json_i64(field(item(conversations(&w, "ann"), 0), "unread")), 1);
    struct json v = mailbox(&w, "ann");
    assert_true(has(field(item(v, 2), "message"), "deleted_at") &&
                !has(field(item(v, 2), "message"), "body"));
    world_close(&w);
}

static void ciphertexts_are_the_asking_devices(void **state) {
    (void)state;
    struct world w;
    struct buf c = {0}, b = {0};
    bool shared;
    world_open(&w, 1 << 20);
    join(&w, "g", CONV_GROUP, "ann", "", 0, false);
    pack_bytes(&c, BYTES("ann"));
    pack_bytes(&c, BYTES("phone"));
    pack_bytes(&c, BYTES("c2VjcmV0"));
    struct message m = said(&w, "bob", 1, "");
    m.has_body = false;
    m.ciphertexts = buf_view(&c);
    message_send(&w, "g", CONV_GROUP, &m, "");
    struct entry e = {.position = w.position,
        .type = ENTRY_MESSAGE,
        .event = EVENT_CREATED,
        .conversation = str("g"),
        .seq = 1,
        .from = str("bob")};
    struct view v = {.user = str("ann"), .device = str("phone"), .now_ms = w.time_ms};
    assert_true(chat_entry_json(w.cells, APP, &v, &e, &b, &shared));
    assert_false(shared);
    assert_non_null(memmem(b.p, b.n, "c2VjcmV0", 8));
    buf_reset(&b);
    v.device = str("tab");
    assert_true(chat_entry_json(w.cells, APP, &v, &e, &b, &shared));
    assert_null(memmem(b.p, b.n, "c2VjcmV0", 8));
    buf_done(&b);
    buf_done(&c);
    world_close(&w);
}

static void preferences_stay(void **state) {
    (void)state;
    struct world w;
    struct json body;
    struct plan p = {0};
    world_open(&w, 1 << 20);
    join(&w, "g", CONV_GROUP, "ann", "", 0, false);
    const struct route *put = route("PUT", "/v1/users/{id}/conversations/{c}");
    assert_int_equal(put->token, TOKEN_SELF);
    static const struct {
        const char *conv, *body;
        int status;
    } CASES[] = {{"g", "{\"muted_until\":\"2033-01-01T00:00:00.000Z\"}", 200},
        {"g", "{\"archived\":true}", 200}, {"nowhere", "{\"archived\":true}", 404},
        {"g", "{\"archived\":1}", 400}, {"g", "{\"muted_until\":\"soon\"}", 422},
        {"g", "{\"colour\":1}", 400}};
    for (size_t i = 0; i < sizeof CASES / sizeof *CASES; i++) {
        struct request r = ask(&w, "ann", NULL, NULL);
        r.params[1] = str(CASES[i].conv);
        assert_int_equal(json_parse(w.reader, str(CASES[i].body), &body), OK);
        r.json = body;
        r.has_json = true;
        buf_reset(&p.body);
        w.answer.problem = PROBLEM_NONE;
        if (put->plan(&r, &p, &w.answer) == OK) {
            buf_bytes(&w.body, buf_view(&p.body));
            apply(&w, p.kind);
        }
        assert_int_equal(w.answer.status, CASES[i].status);
    }
    leave(&w, "g", "ann", 0);
    join(&w, "g", CONV_GROUP, "ann", "", 0, false);
    struct json v = item(conversations(&w, "ann"), 0);
    assert_str(v, "muted_until", "2033-01-01T00:00:00.000Z");
    assert_true(json_bool(field(v, "archived")));
    buf_done(&p.body);
    world_close(&w);
}

static void mailbox_pages_hold_only_what_is_theirs(void **state) {
    (void)state;
    struct world w;
    char cursor[64] = "";
    world_open(&w, 1 << 20);
    join(&w, "g", CONV_GROUP, "ann", "", 0, false);
    mailbox_set_block(settle(&w), str("ann"), str("eve"), true);
    for (uint64_t i = 1; i <= 30; i++) say(&w, "g", CONV_GROUP, i % 3 ? "eve" : "bob", i, "x", "");
    size_t pages = 0, items = 0;
    for (struct json v;; pages++) {
        struct request r = ask(&w, "ann", "4", cursor);
        assert_int_equal(get(&w, MAILBOX, &r), 200);
        v = parsed(&w);
        items += json_count(field(v, "items"));
        if (json_kind_of(field(v, "next")) == JSON_NULL) break;
        assert_int_equal(json_count(field(v, "items")), 4);
        struct bytes next = json_string(field(v, "next"));
        snprintf(cursor, sizeof cursor, "%.*s", (int)next.n, (const char *)next.p);
    }
    assert_int_equal(items, 11); /* joining, and bob's ten */
    assert_int_equal(pages, 2);
    static const struct {
        const char *cursor, *limit;
        int status;
    } CASES[] = {{"zzz", "5", 400}, {"4-1", "5", 410}, {"5-1", "0", 422}, {"5-1", "201", 422},
        {"5-fff", "5", 200}, {"0", "5", 200}};
    for (size_t i = 0; i < sizeof CASES / sizeof *CASES; i++) {
        struct request r = ask(&w, "ann", CASES[i].limit, CASES[i].cursor);
        assert_int_equal(get(&w, MAILBOX, &r), CASES[i].status);
    }
    struct request r = ask(&w, "nobody", NULL, NULL);
    r.who.server = true; /* whom nobody named yet, or not here: the relay is on its way */
    assert_int_equal(get(&w, MAILBOX, &r), 200);
    assert_string_equal((char *)w.answer.body.p, "{\"items\":[],\"next\":null}");
    world_close(&w);
}

static void conversations_page_while_they_move(void **state) {
    (void)state;
    enum { MANY = 23 };
    struct world w;
    char name[16], cursor[128] = "";
    int seen[MANY] = {0};
    world_open(&w, 1 << 20);
    for (int i = 0; i < MANY; i++) {
        sprintf(name, "g-%d", i);
        join(&w, name, CONV_GROUP, "ann", "", 0, false);
    }
    for (uint64_t moved = 1;; moved++) {
        struct request r = ask(&w, "ann", "5", cursor);
        assert_int_equal(get(&w, CONVERSATIONS, &r), 200);
        struct json v = parsed(&w);
        for (size_t i = 0; i < json_count(field(v, "items")); i++) {
            struct bytes id = json_string(field(item(v, i), "id"));
            seen[atoi(strndupa((const char *)id.p, id.n) + 2)]++;
        }
        if (json_kind_of(field(v, "next")) == JSON_NULL) break;
        struct bytes next = json_string(field(v, "next"));
        snprintf(cursor, sizeof cursor, "%.*s", (int)next.n, (const char *)next.p);
        /* seen already, and moves to the top again and again */
        say(&w, "g-20", CONV_GROUP, "bob", moved, "x", "");
    }
    for (int i = 0; i < MANY; i++) assert_int_equal(seen[i], 1);
    join(&w, "old", CONV_CHANNEL, "bob", "", 0, false);
    say(&w, "old", CONV_CHANNEL, "bob", 1, "x", "");
    say(&w, "g-2", CONV_GROUP, "bob", 1, "x", "");
    join(&w, "old", CONV_CHANNEL, "ann", "", 1, false);
    /* new to her, whatever was said there before */
    assert_str(item(conversations(&w, "ann"), 0), "id", "old");
    static const struct {
        const char *cursor;
        int status;
    } CASES[] = {{"5-12-", 400}, {"x", 400}, {"5-12", 400}, {"4-12-g", 410}, {"5-12-g", 200}};
    for (size_t i = 0; i < sizeof CASES / sizeof *CASES; i++) {
        struct request r = ask(&w, "ann", "5", CASES[i].cursor);
        assert_int_equal(get(&w, CONVERSATIONS, &r), CASES[i].status);
    }
    world_close(&w);
}

/* ---- random acts against a model ---- */
enum { USERS = 7, CONVS = 6, DIRECTS = 2, ACTS = 3000, MESSAGES_MAX = 3000, ENTRIES_MAX = 4096 };
struct model_message {
    unsigned from;
    bool deleted, in_copy;
    int64_t expires_ms;
};
struct model_entry {
    uint64_t position, seq;
    unsigned from, conv;
    uint8_t type, event;
};
struct model {
    struct model_message messages[CONVS][MESSAGES_MAX];
    uint64_t seq[CONVS];
    struct {
        bool in;
        uint64_t joined, read;
    } place[USERS][CONVS];
    bool blocks[USERS][USERS];
    struct model_entry entries[USERS][ENTRIES_MAX];
    size_t count[USERS];
};
static const char *const NAMES[USERS] = {"u0", "u1", "u2", "u3", "u4", "u5", "u6"},
                         *const CONV_NAMES[CONVS] = {"d0", "d1", "g2", "g3", "c4", "c5"};
/* Direct conversation d is between users 2 d and 2 d + 1, who are in it from the start. */
static uint8_t type_of(unsigned c) {
    return c < DIRECTS ? CONV_DIRECT : c < 4 ? CONV_GROUP : CONV_CHANNEL;
}

static void model_entry(struct model *m, unsigned u, struct model_entry e) {
    assert_true(m->count[u] < ENTRIES_MAX);
    m->entries[u][m->count[u]++] = e;
}
/* To all who are in it, by the rules for who gets none. */
static void model_told(struct model *m, unsigned c, struct model_entry e) {
    for (unsigned u = 0; u < USERS; u++) {
        if (!m->place[u][c].in || (e.type == ENTRY_RECEIPT && u == e.from)) continue;
        if (c < DIRECTS && e.type == ENTRY_MESSAGE && m->blocks[u][e.from]) continue;
        model_entry(m, u, e);
    }
}
static const char *users_of(const struct model *m, unsigned c) {
    static char list[64];
    list[0] = 0;
    for (unsigned u = 0; u < USERS && c < DIRECTS; u++)
        if (m->place[u][c].in) strcat(strcat(list, *list ? " " : ""), NAMES[u]);
    return list;
}
static void act_join_leave(struct world *w, struct model *m, unsigned u, unsigned c) {
    bool in = m->place[u][c].in;
    if (c < DIRECTS && (in || u / 2 != c)) return;
    if (in) leave(w, CONV_NAMES[c], NAMES[u], m->seq[c]);
    else
        join(w, CONV_NAMES[c], type_of(c), NAMES[u], c < DIRECTS ? NAMES[u ^ 1] : "", m->seq[c],
            false);
    m->place[u][c].in = !in;
    if (!in) m->place[u][c].joined = m->place[u][c].read = m->seq[c];
    model_entry(
        m, u, (struct model_entry){.position = w->position, .conv = c, .type = ENTRY_CONVERSATION});
}
static bool anyone_in(const struct model *m, unsigned c) {
    for (unsigned u = 0; u < USERS; u++)
        if (m->place[u][c].in) return true;
    return false;
}
static void act_message(struct world *w, struct model *m, struct rng *r, unsigned u, unsigned c) {
    uint64_t seq = ++m->seq[c];
    assert_true(seq < MESSAGES_MAX);
    struct model_message *x = &m->messages[c][seq];
    *x = (struct model_message){.from = u, .in_copy = anyone_in(m, c)};
    if (!x->in_copy) return; /* nothing is relayed to where nobody is */
    struct message g = said(w, NAMES[u], seq, "some text");
    if (rng_below(r, 5) == 0)
        g.expires_ms = x->expires_ms = w->time_ms + (int64_t)rng_below(r, 3000);
    message_send(w, CONV_NAMES[c], type_of(c), &g, users_of(m, c));
    model_told(m, c, (struct model_entry){w->position, seq, u, c, ENTRY_MESSAGE, EVENT_CREATED});
}
static void act_update(struct world *w, struct model *m, struct rng *r, unsigned c) {
    uint64_t seq = m->seq[c] ? 1 + rng_below(r, m->seq[c]) : 0;
    struct model_message *x = &m->messages[c][seq];
    if (!seq || x->deleted || !anyone_in(m, c)) return;
    struct message g = said(w, NAMES[x->from], seq, "other, and longer, text");
    g.edited_ms = w->time_ms;
    g.expires_ms = x->expires_ms;
    x->deleted = rng_below(r, 3) == 0;
    if (x->deleted) g.deleted_ms = w->time_ms;
    uint8_t event = x->deleted ? EVENT_DELETED : EVENT_UPDATED;
    update(w, CONV_NAMES[c], type_of(c), event, &g, users_of(m, c));
    if (x->in_copy)
        model_told(m, c, (struct model_entry){w->position, seq, x->from, c, ENTRY_MESSAGE, event});
}
static void act_receipt(struct world *w, struct model *m, struct rng *r, unsigned u, unsigned c) {
    if (!m->place[u][c].in) return;
    uint64_t read = rng_below(r, m->seq[c] + 1);
    bool push = c < 4;
    receipt(w, CONV_NAMES[c], type_of(c), NAMES[u], read, read, push, users_of(m, c));
    if (read > m->place[u][c].read) m->place[u][c].read = read;
    if (push)
        model_told(m, c, (struct model_entry){w->position, 0, u, c, ENTRY_RECEIPT, EVENT_UPDATED});
}
static void act_erased(struct world *w, struct model *m, unsigned u, unsigned c) {
    erased(w, CONV_NAMES[c], NAMES[u]);
    for (uint64_t s = 1; s <= m->seq[c]; s++)
        if (m->messages[c][s].from == u && m->messages[c][s].in_copy)
            m->messages[c][s].deleted = true;
}

static void random_act(struct world *w, struct model *m, struct rng *r) {
    unsigned u = (unsigned)rng_below(r, USERS), c = (unsigned)rng_below(r, CONVS),
             dice = (unsigned)rng_below(r, 100);
    if (dice < 22) act_join_leave(w, m, u, c);
    else if (dice < 65) act_message(w, m, r, u, c);
    else if (dice < 75) act_update(w, m, r, c);
    else if (dice < 90) act_receipt(w, m, r, u, c);
    else if (dice < 99) {
        unsigned other = (u + 1 + (unsigned)rng_below(r, USERS - 1)) % USERS;
        m->blocks[u][other] = !m->blocks[u][other];
        mailbox_set_block(settle(w), str(NAMES[u]), str(NAMES[other]), m->blocks[u][other]);
    } else if (rng_below(r, 8) == 0) act_erased(w, m, u, c);
}

static bool model_visible(const struct model *m, unsigned u, const struct model_entry *e) {
    if (e->type == ENTRY_RECEIPT) return !m->blocks[u][e->from];
    if (e->type != ENTRY_MESSAGE) return true;
    return !m->blocks[u][e->from] &&
           (e->event == EVENT_CREATED || e->seq > m->place[u][e->conv].joined);
}
static void compare_mailbox(struct world *w, const struct model *m, struct rng *r, unsigned u) {
    char limit[8], cursor[40];
    unsigned want = 1 + (unsigned)rng_below(r, 40);
    uint64_t after = rng_below(r, w->position + 1);
    sprintf(limit, "%u", want);
    sprintf(cursor, "%x-%llx", EPOCH, (unsigned long long)after);
    struct request q = ask(w, NAMES[u], limit, cursor);
    assert_int_equal(get(w, MAILBOX, &q), 200);
    struct json v = parsed(w);
    size_t n = json_count(field(v, "items")), at = 0;
    bool more = false;
    for (size_t i = 0; i < m->count[u]; i++) {
        const struct model_entry *e = &m->entries[u][i];
        if (e->position <= after || !model_visible(m, u, e)) continue;
        if (at == want) {
            more = true;
            break;
        }
        struct json x = item(v, at++);
        char text[40];
        sprintf(text, "%x-%llx", EPOCH, (unsigned long long)e->position);
        assert_str(x, "cursor", text);
        assert_str(x, "type", entry_type_name(e->type));
        if (e->type != ENTRY_MESSAGE) continue;
        const struct model_message *g = &m->messages[e->conv][e->seq];
        assert_int_equal(json_i64(field(field(x, "message"), "seq")), e->seq);
        assert_int_equal(has(field(x, "message"), "body"),
            !g->deleted && !(g->expires_ms && w->time_ms >= g->expires_ms));
    }
    assert_int_equal(at, n);
    assert_int_equal(json_kind_of(field(v, "next")) != JSON_NULL, more);
}
static uint64_t model_unread(const struct model *m, unsigned u, unsigned c, int64_t now_ms) {
    uint64_t n = 0;
    for (uint64_t s = m->place[u][c].read + 1; s <= m->seq[c]; s++) {
        const struct model_message *g = &m->messages[c][s];
        n += s > m->place[u][c].joined && g->from != u && !g->deleted &&
             !(g->expires_ms && now_ms >= g->expires_ms) && !m->blocks[u][g->from];
    }
    return n;
}
static void compare_conversations(struct world *w, const struct model *m, unsigned u) {
    struct json v = conversations(w, NAMES[u]);
    size_t in = 0;
    for (unsigned c = 0; c < CONVS; c++) {
        in += m->place[u][c].in;
        assert_int_equal(
            chat_is_member(w->cells, APP, str(NAMES[u]), str(CONV_NAMES[c])), m->place[u][c].in);
    }
    assert_int_equal(json_count(field(v, "items")), in);
    for (size_t i = 0; i < in; i++) {
        struct json x = item(v, i);
        struct bytes id = json_string(field(x, "id"));
        unsigned c = (unsigned)(id.p[1] - '0');
        assert_int_equal(json_i64(field(x, "unread")), model_unread(m, u, c, w->time_ms));
        assert_int_equal(json_i64(field(x, "read")), m->place[u][c].read);
        assert_int_equal(
            json_kind_of(field(x, "last")) != JSON_NULL, m->seq[c] > m->place[u][c].joined);
        if (m->seq[c] > m->place[u][c].joined)
            assert_int_equal(json_i64(field(field(x, "last"), "seq")), m->seq[c]);
    }
}

static uint64_t run(uint64_t seed, uint64_t budget, unsigned flush_in) {
    struct world w;
    struct rng acts = {seed}, looks = {seed + 1}, pauses = {seed + 2};
    struct model *m = must_alloc(sizeof *m);
    world_open(&w, budget);
    for (unsigned u = 0; u < USERS; u++) mailbox_ensure(settle(&w), str(NAMES[u]));
    for (unsigned u = 0; u < 2 * DIRECTS; u++) act_join_leave(&w, m, u, u / 2);
    for (int i = 0; i < ACTS; i++) {
        random_act(&w, m, &acts);
        unsigned u = (unsigned)rng_below(&looks, USERS);
        if (i % 3 == 0) compare_mailbox(&w, m, &looks, u);
        if (i % 5 == 0) compare_conversations(&w, m, u);
        if (flush_in && rng_below(&pauses, flush_in) == 0) world_flush(&w);
        if (flush_in) cells_turn_end(w.cells);
    }
    uint64_t hash = cells_state_hash(w.cells);
    world_close(&w);
    free(m);
    return hash;
}

static void random_acts_match_the_model_and_leave_one_state(void **state) {
    (void)state;
    for (uint64_t seed = 1; seed <= 3; seed++) {
        uint64_t ample = run(seed, 1 << 30, 0);
        assert_int_equal(run(seed, 20000, 3), ample);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(direct_reaches_both),
        cmocka_unit_test(who_joins_later_sees_nothing_of_before),
        cmocka_unit_test(who_may_see_what_was_before_learns_of_its_changes),
        cmocka_unit_test(leaving_and_coming_back),
        cmocka_unit_test(blocked_senders_are_not_delivered),
        cmocka_unit_test(joining_while_blocking_tells_the_conversation),
        cmocka_unit_test(receipts_reach_the_others),
        cmocka_unit_test(erased_senders_become_stubs),
        cmocka_unit_test(deleted_and_expired_do_not_count),
        cmocka_unit_test(ciphertexts_are_the_asking_devices),
        cmocka_unit_test(preferences_stay),
        cmocka_unit_test(mailbox_pages_hold_only_what_is_theirs),
        cmocka_unit_test(conversations_page_while_they_move),
        cmocka_unit_test(random_acts_match_the_model_and_leave_one_state),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
