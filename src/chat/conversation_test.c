/* chat, conversation side, tested: records go in, answers and relays come out. Ids are found across
 * every run of their index; the list of members is held against a model while they come and go.
 * SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "chat/chat.h"
#include "chat/conv_in.h"

#define APP BYTES("app")
enum { PARTITIONS = 8 };

struct world {
    struct store *store;
    struct cells *cells;
    struct arena arena;
    uint64_t position;
    int64_t time_ms;
    struct answer answer;
    struct buf body;
    size_t relays; /* of the last record */
};
static void world_open(struct world *w) {
    memset(w, 0, sizeof *w);
    w->store = store_create_memory();
    w->cells = cells_create(w->store, 0, 1 << 30);
    w->time_ms = 1700000000000;
}
/* What must hold holds after each story. */
static void world_close(struct world *w) {
    struct buf why = {0};
    assert_true(chat_check(w->cells, &why) && !why.n);
    cells_free(&w->cells);
    w->store->calls->close(w->store);
    arena_done(&w->arena);
    buf_done(&w->answer.body);
    buf_done(&w->body);
}

/* The record takes effect; its status. */
static int apply(struct world *w, uint8_t kind) {
    arena_reset(&w->arena);
    buf_reset(&w->answer.body);
    w->answer.status = 0;
    w->answer.problem = PROBLEM_NONE;
    w->time_ms++;
    struct step s = {.cells = w->cells,
        .partitions = PARTITIONS,
        .position = ++w->position,
        .time_ms = w->time_ms,
        .app = APP,
        .body = buf_view(&w->body),
        .wanted = true,
        .arena = &w->arena,
        .answer = &w->answer};
    for (size_t i = 0; i < chat_conversation_rule_count; i++)
        if (chat_conversation_rules[i].kind == kind) chat_conversation_rules[i].apply(&s);
    buf_reset(&w->body);
    w->relays = s.relay_count;
    return w->answer.status;
}

static int put(
    struct world *w, const char *conv, uint8_t type, const char *const *members, size_t n) {
    enum { SET_TYPE = 16 };
    struct buf *b = &w->body;
    pack_bytes(b, bytes_str(conv));
    pack_bytes(b, (struct bytes){0});
    pack_u8(b, SET_TYPE);
    pack_u8(b, type);
    pack_u8(b, 0);
    pack_var(b, 0);
    pack_bytes(b, (struct bytes){0});
    pack_bytes(b, (struct bytes){0});
    pack_var(b, n);
    for (size_t i = 0; i < n; i++) pack_bytes(b, bytes_str(members[i]));
    return apply(w, KIND_CONV_PUT);
}
static int member(struct world *w, uint8_t kind, const char *conv, const char *user, uint8_t role) {
    pack_bytes(&w->body, bytes_str(conv));
    pack_bytes(&w->body, (struct bytes){0});
    pack_bytes(&w->body, bytes_str(user));
    if (kind == KIND_MEMBER_PUT) pack_u8(&w->body, role);
    return apply(w, kind);
}
static int message(
    struct world *w, const char *conv, const char *from, const char *id, const char *text) {
    struct buf *b = &w->body;
    pack_bytes(b, bytes_str(conv));
    pack_bytes(b, (struct bytes){0});
    pack_bytes(b, bytes_str(from));
    pack_bytes(b, bytes_str(id));
    pack_u8(b, 1);
    pack_bytes(b, bytes_str(text));
    for (int i = 0; i < 5; i++) pack_bytes(b, (struct bytes){0});
    return apply(w, KIND_MESSAGE);
}
static uint64_t answered_seq(struct world *w) {
    const char *at = memmem(w->answer.body.p, w->answer.body.n, "\"seq\":", 6);
    assert_non_null(at);
    return strtoull(at + 6, NULL, 10);
}

/* More than 8 x 8 tails of 1,024 ids, so that runs were merged twice. */
static void an_id_is_found_for_ever(void **state) {
    enum { MANY = 70000 };
    (void)state;
    struct world w;
    struct rng r = {7};
    char id[24];
    world_open(&w);
    static const char *const MEMBERS[] = {"ann", "bob"};
    assert_int_equal(put(&w, "g", CONV_GROUP, MEMBERS, 2), 201);
    for (unsigned i = 1; i <= MANY; i++) {
        sprintf(id, "id-%u", i);
        assert_int_equal(message(&w, "g", "ann", id, id), 201);
        assert_int_equal(answered_seq(&w), i);
        if (i % 7 && i < MANY) continue;
        for (int k = 0; k < (i == MANY ? 20000 : 1); k++) {
            unsigned old = 1 + (unsigned)rng_below(&r, i);
            sprintf(id, "id-%u", old);
            assert_int_equal(message(&w, "g", "ann", id, id), 201);
            assert_int_equal(answered_seq(&w), old);
            assert_int_equal(w.relays, 0); /* nothing happens twice */
            assert_int_equal(message(&w, "g", "ann", id, "other"), 409);
            assert_int_equal(message(&w, "g", "bob", id, id), 409);
        }
    }
    struct conv v;
    assert_true(conv_get(w.cells, APP, BYTES("g"), &v));
    assert_int_equal(v.seq, MANY);
    world_close(&w);
}

/* ---- members against a model: an array in the order of joining ---- */
enum { USERS = 3000, ACTS = 20000 };
struct model {
    unsigned in[USERS]; /* who is in it, oldest first */
    uint8_t role[USERS];
    size_t n;
};
static size_t model_place(const struct model *m, unsigned user) {
    size_t i = 0;
    while (i < m->n && m->in[i] != user) i++;
    return i;
}
static bool model_owned(const struct model *m) {
    for (size_t i = 0; i < m->n; i++)
        if (m->role[m->in[i]] == ROLE_OWNER) return true;
    return false;
}
static const char *name(unsigned user) {
    static char text[16];
    sprintf(text, "u%u", user);
    return text;
}

static void act_put(struct world *w, struct model *m, unsigned user, uint8_t role) {
    bool is = model_place(m, user) < m->n,
         last = is && m->role[user] == ROLE_OWNER && role != ROLE_OWNER;
    for (size_t i = 0; i < m->n && last; i++)
        last = m->in[i] == user || m->role[m->in[i]] != ROLE_OWNER;
    assert_int_equal(member(w, KIND_MEMBER_PUT, "c", name(user), role), last ? 409
                                                                        : is ? 200
                                                                             : 201);
    if (last) return;
    if (!is) m->in[m->n++] = user;
    m->role[user] = role;
    if (!is && !model_owned(m)) m->role[user] = ROLE_OWNER;
}
static void act_delete(struct world *w, struct model *m, unsigned user) {
    size_t i = model_place(m, user);
    assert_int_equal(member(w, KIND_MEMBER_DELETE, "c", name(user), 0), 204);
    if (i == m->n) return;
    memmove(m->in + i, m->in + i + 1, (--m->n - i) * sizeof *m->in);
    if (m->n && !model_owned(m)) m->role[m->in[0]] = ROLE_OWNER;
}

struct walk {
    const struct model *m;
    size_t left;
    uint64_t stop_at, last;
};
static bool newest_is(void *arg, uint64_t slot, struct bytes user) {
    struct walk *k = arg;
    if (!k->stop_at--) return false;
    assert_true(k->left > 0);
    assert_true(bytes_is(user, name(k->m->in[--k->left])));
    assert_true(!k->last || slot < k->last);
    k->last = slot;
    return true;
}
static bool oldest_is(void *arg, struct bytes user) {
    struct walk *k = arg;
    assert_true(bytes_is(user, name(k->m->in[k->left++])));
    return true;
}
static void compare(struct world *w, const struct model *m, struct rng *r) {
    struct conv v;
    struct member x;
    uint32_t owners = 0;
    assert_true(conv_get(w->cells, APP, BYTES("c"), &v));
    assert_int_equal(v.member_count, m->n);
    for (size_t i = 0; i < m->n; i++) {
        assert_true(member_get(w->cells, APP, BYTES("c"), bytes_str(name(m->in[i])), &x));
        assert_int_equal(x.role, m->role[m->in[i]]);
        owners += x.role == ROLE_OWNER;
    }
    assert_int_equal(v.owners, owners);
    struct walk k = {.m = m};
    members_each(w->cells, APP, BYTES("c"), oldest_is, &k);
    assert_int_equal(k.left, m->n);
    /* in pages, each behind the last one's end */
    for (k = (struct walk){.m = m, .left = m->n}; k.left;) {
        k.stop_at = 1 + rng_below(r, 100);
        members_newest(w->cells, APP, BYTES("c"), k.last, newest_is, &k);
        if (!k.last) break;
    }
    assert_int_equal(k.left, 0);
}

static void members_keep_their_order(void **state) {
    (void)state;
    struct world w;
    struct rng r = {11};
    static struct model m;
    world_open(&w);
    assert_int_equal(put(&w, "c", CONV_CHANNEL, NULL, 0), 201);
    for (unsigned i = 0; i < ACTS; i++) {
        /* fills, then empties: chunks go as well as come */
        unsigned user = (unsigned)rng_below(&r, USERS), ebb = i / 4000 % 2;
        if (rng_below(&r, 10) < (ebb ? 2u : 8u))
            act_put(&w, &m, user, (uint8_t)(ROLE_MEMBER + rng_below(&r, 100) / 98));
        else act_delete(&w, &m, m.n && rng_below(&r, 2) ? m.in[rng_below(&r, m.n)] : user);
        if (rng_below(&r, 300) == 0 && m.n) act_put(&w, &m, m.in[rng_below(&r, m.n)], ROLE_OWNER);
        if (i % 500 == 0) compare(&w, &m, &r);
    }
    while (m.n) act_delete(&w, &m, m.in[rng_below(&r, 8) ? 0 : m.n - 1]);
    compare(&w, &m, &r);
    act_put(&w, &m, 1, ROLE_MEMBER);
    compare(&w, &m, &r);
    world_close(&w);
}

/* ---- readers: the model is who read last, in order ---- */
static int read_upto(struct world *w, const char *user, uint64_t seq) {
    pack_bytes(&w->body, BYTES("c"));
    pack_bytes(&w->body, bytes_str(user));
    pack_var(&w->body, 0);
    pack_var(&w->body, seq);
    return apply(w, KIND_RECEIPT);
}
static void readers_stand_newest_first(void **state) {
    enum { READERS = 700, READS = 6000 };
    (void)state;
    struct world w;
    struct rng r = {13};
    static struct model m; /* in: who read longest ago at first */
    static uint64_t marks[READERS];
    char id[24];
    world_open(&w);
    assert_int_equal(put(&w, "c", CONV_CHANNEL, NULL, 0), 201);
    for (unsigned u = 0; u < READERS; u++) act_put(&w, &m, u, ROLE_MEMBER);
    for (unsigned i = 1; i <= READS; i++) {
        sprintf(id, "m%u", i);
        assert_int_equal(message(&w, "c", "u0", id, "x"), 201);
        unsigned user = (unsigned)rng_below(&r, READERS);
        /* now and then one that is read already */
        uint64_t upto = i - rng_below(&r, i < 900 ? i : 900);
        assert_int_equal(read_upto(&w, name(user), upto), 200);
        if (upto > marks[user]) {
            size_t at = model_place(&m, user);
            memmove(m.in + at, m.in + at + 1, (m.n - at - 1) * sizeof *m.in);
            m.in[m.n - 1] = user;
            marks[user] = upto;
        }
        if (i % 300) continue;
        struct walk k = {.m = &m, .left = m.n};
        while (k.left) {
            k.stop_at = 1 + rng_below(&r, 100);
            readers_newest(w.cells, APP, BYTES("c"), k.last, newest_is, &k);
        }
    }
    for (unsigned u = 0; u < READERS; u += 2) act_delete(&w, &m, u);
    struct walk k = {.m = &m, .left = m.n, .stop_at = READERS};
    readers_newest(w.cells, APP, BYTES("c"), 0, newest_is, &k);
    assert_int_equal(k.left, 0);
    world_close(&w);
}

/* ---- what kith check says ---- */
static void said(struct world *w, const char *words) {
    struct buf why = {0};
    assert_false(chat_check(w->cells, &why));
    buf_char(&why, 0);
    assert_non_null(strstr((char *)why.p, words));
    buf_done(&why);
}
static void a_check_says_what_is_wrong(void **state) {
    (void)state;
    struct world w;
    uint8_t room[300];
    static const char *const MEMBERS[] = {"ann", "bob"};
    world_open(&w);
    assert_int_equal(put(&w, "g", CONV_GROUP, MEMBERS, 2), 201);
    for (int i = 0; i < 3; i++)
        assert_int_equal(message(&w, "g", "ann", (char[]){'a' + (char)i, 0}, "x"), 201);
    struct cell *head = cells_get(w.cells, key2(room, 'A', APP, BYTES("g")));
    struct conv v, good;
    memcpy(&good, head->data, sizeof good);
    v = good;
    v.seq++;
    memcpy(cells_edit(w.cells, head), &v, sizeof v);
    said(&w, "conversation g of app app: the last message: 3 is stored, 4 belongs there");
    v = good;
    v.member_count = 3;
    memcpy(cells_edit(w.cells, head), &v, sizeof v);
    said(&w, "members: 2 is stored, 3 belongs there");
    v = good;
    v.owners = 0;
    memcpy(cells_edit(w.cells, head), &v, sizeof v);
    said(&w, "owners: 1 is stored, 0 belongs there");
    memcpy(cells_edit(w.cells, head), &good, sizeof good);
    struct cell *bob = cells_get(w.cells, key3(room, 'P', APP, BYTES("g"), BYTES("bob")));
    ((struct member *)(void *)cells_edit(w.cells, bob))->read = 9;
    said(&w, "a member's read mark: 9 is stored, 3 belongs there");
    ((struct member *)(void *)cells_edit(w.cells, bob))->read = 0;
    struct cell *block = cells_get(w.cells, key2n(room, 'K', APP, BYTES("g"), 0));
    struct bytes first = {0};
    struct unpack u = unpack_of(bytes_of(block->data, block->size));
    first = unpack_bytes(&u);
    uint32_t size = (uint32_t)(u.p - block->data);
    struct buf kept = {0};
    buf_add(&kept, block->data, size);
    assert_true(first.n > 0);
    cells_splice(w.cells, block, 0, size, (struct bytes){0});
    said(&w, "the order of messages: 2 is stored, 1 belongs there");
    cells_splice(w.cells, block, 0, 0, buf_view(&kept));
    buf_done(&kept);
    world_close(&w);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(an_id_is_found_for_ever),
        cmocka_unit_test(members_keep_their_order), cmocka_unit_test(readers_stand_newest_first),
        cmocka_unit_test(a_check_says_what_is_wrong)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
