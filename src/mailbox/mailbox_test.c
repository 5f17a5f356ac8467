/* mailbox, tested: stories of joining and leaving, trimming, blocking and erasing; then random acts
 * against a model that copies each entry to each who may see it; then the same acts with and
 * without memory to spare, which must leave the same state. SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "mailbox/mailbox.h"

#define APP BYTES("app")
#define DAY (24ll * 3600 * 1000)

/* ---- a partition to act on ---- */
struct world {
    struct store *store;
    struct cells *cells;
    struct arena arena;
    uint64_t position, generation, batches;
    int64_t time_ms;
    struct step step;
    struct answer answer;
};

static void world_open(struct world *w, uint64_t budget) {
    memset(w, 0, sizeof *w);
    w->store = store_create_memory();
    w->cells = cells_create(w->store, 0, budget);
    w->time_ms = 1700000000000;
}
static void world_close(struct world *w) {
    cells_free(&w->cells);
    w->store->calls->close(w->store);
    arena_done(&w->arena);
}
static struct step *act(struct world *w) {
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
static void world_flush(struct world *w) {
    struct table_batch b = {0};
    cells_freeze(w->cells, &b, ++w->generation);
    assert_int_equal(w->store->calls->write(w->store, &b), OK);
    buf_done(&b.data);
    cells_flushed(w->cells, w->generation);
}

static struct bytes name_of(char *room, char what, uint64_t n) {
    return bytes_of(room, (size_t)sprintf(room, "%c%llu", what, (unsigned long long)n));
}

struct seen {
    uint64_t list[4096];
    size_t n, stop;
};
static bool see(void *arg, const struct entry *e) {
    struct seen *s = arg;
    s->list[s->n++] = e->position;
    return s->n != s->stop;
}
/* stop: how many the callback takes before it says no; 0: all. */
static struct seen *walk_until(
    struct world *w, struct bytes user, uint64_t after, size_t limit, size_t stop) {
    static struct seen s;
    s.n = 0;
    s.stop = stop;
    size_t given = mailbox_walk(w->cells, APP, user, after, limit, see, &s);
    assert_int_equal(given, s.n);
    return &s;
}
static struct seen *walk(struct world *w, struct bytes user, uint64_t after, size_t limit) {
    return walk_until(w, user, after, limit, 0);
}
static uint64_t own(struct world *w, struct bytes user) {
    struct entry e = {.type = ENTRY_MESSAGE,
        .event = EVENT_CREATED,
        .conversation = BYTES("d"),
        .seq = 7,
        .from = BYTES("someone")};
    mailbox_append(act(w), user, &e);
    return w->position;
}
static uint64_t shared(struct world *w, struct bytes audience) {
    struct entry e = {.type = ENTRY_MESSAGE,
        .event = EVENT_CREATED,
        .conversation = audience,
        .seq = 7,
        .from = BYTES("someone")};
    mailbox_append_shared(act(w), audience, &e);
    return w->position;
}

/* ---- stories ---- */
static void member_sees_only_while_in(void **state) {
    (void)state;
    struct world w;
    world_open(&w, 1 << 20);
    struct bytes ann = BYTES("ann"), g = BYTES("g");
    assert_true(mailbox_ensure(act(&w), ann));
    assert_false(mailbox_ensure(act(&w), ann));
    shared(&w, g);
    mailbox_join(act(&w), ann, g);
    mailbox_join(act(&w), ann, g);
    assert_int_equal(mailbox_member_count(w.cells, APP, g), 1);
    uint64_t a = shared(&w, g), b = own(&w, ann);
    mailbox_leave(act(&w), ann, g);
    shared(&w, g);
    assert_false(mailbox_is_in(w.cells, APP, ann, g));
    assert_int_equal(mailbox_last(w.cells, APP, ann), b);
    mailbox_join(act(&w), ann, g);
    uint64_t c = shared(&w, g);
    struct seen *s = walk(&w, ann, 0, 100);
    assert_int_equal(s->n, 3);
    assert_int_equal(s->list[0], a);
    assert_int_equal(s->list[1], b);
    assert_int_equal(s->list[2], c);
    assert_int_equal(mailbox_last(w.cells, APP, ann), c);
    assert_int_equal(mailbox_first_kept(w.cells, APP, ann), 1);
    assert_int_equal(walk(&w, ann, c, 100)->n, 0);
    world_close(&w);
}

static void coming_and_going_in_silence_leaves_nothing(void **state) {
    (void)state;
    struct world w;
    world_open(&w, 1 << 20);
    mailbox_ensure(act(&w), BYTES("ann"));
    mailbox_join(act(&w), BYTES("ann"), BYTES("kept"));
    uint64_t before = cells_state_hash(w.cells);
    for (int i = 0; i < 500; i++) {
        mailbox_join(act(&w), BYTES("ann"), BYTES("g"));
        mailbox_leave(act(&w), BYTES("ann"), BYTES("g"));
    }
    assert_int_equal(cells_state_hash(w.cells), before);
    world_close(&w);
}

static void delivery_says_who(void **state) {
    (void)state;
    struct world w;
    world_open(&w, 1 << 20);
    mailbox_ensure(act(&w), BYTES("ann"));
    own(&w, BYTES("ann"));
    assert_int_equal(w.step.delivery_count, 1);
    assert_true(bytes_is(w.step.deliveries[0].user, "ann") && !w.step.deliveries[0].audience.n);
    assert_int_equal(w.step.deliveries[0].entry.position, w.position);
    assert_int_equal(w.step.deliveries[0].entry.at_ms, w.time_ms);
    shared(&w, BYTES("g"));
    assert_true(bytes_is(w.step.deliveries[0].audience, "g") && !w.step.deliveries[0].user.n);
    own(&w, BYTES("nobody"));
    assert_int_equal(w.step.delivery_count, 0);
    assert_false(mailbox_known(w.cells, APP, BYTES("nobody")));
    world_close(&w);
}

static void blocks_are_counted_for_the_blocked(void **state) {
    (void)state;
    struct world w;
    world_open(&w, 1 << 20);
    mailbox_ensure(act(&w), BYTES("ann"));
    mailbox_set_block(act(&w), BYTES("ann"), BYTES("eve"), true);
    mailbox_set_block(act(&w), BYTES("ann"), BYTES("eve"), true);
    mailbox_set_block(act(&w), BYTES("bob"), BYTES("eve"), true);
    mailbox_set_mute(act(&w), BYTES("ann"), BYTES("mob"), true);
    assert_true(mailbox_blocks(w.cells, APP, BYTES("ann"), BYTES("eve")));
    assert_false(mailbox_blocks(w.cells, APP, BYTES("ann"), BYTES("mob")));
    assert_int_equal(mailbox_mute_list(w.cells, APP, BYTES("ann")).n, 4);
    mailbox_set_block(act(&w), BYTES("bob"), BYTES("eve"), false);
    assert_true(mailbox_is_blocked(w.cells, APP, BYTES("eve")));
    mailbox_erase(act(&w), BYTES("ann"));
    assert_false(mailbox_is_blocked(w.cells, APP, BYTES("eve")));
    assert_int_equal(cells_state_hash(w.cells), 0); /* nothing is left of anyone */
    world_close(&w);
}

static void old_blocks_go_and_cursors_before_them_are_told(void **state) {
    (void)state;
    struct world w;
    world_open(&w, 1 << 20);
    struct bytes ann = BYTES("ann"), late = BYTES("late"), gone = BYTES("gone");
    uint64_t left = 0;
    mailbox_ensure(act(&w), gone);
    mailbox_join(act(&w), gone, BYTES("g"));
    mailbox_ensure(act(&w), ann);
    mailbox_ensure(act(&w), late);
    mailbox_join(act(&w), ann, BYTES("g"));
    uint64_t last = 0;
    for (int i = 0; i < 640; i++) {
        last = shared(&w, BYTES("g"));
        if (i == 10) mailbox_leave(act(&w), gone, BYTES("g"));
        if (i == 10) left = w.position;
        w.time_ms += DAY / 10; /* 64 days in all */
    }
    mailbox_join(act(&w), late, BYTES("g"));
    uint64_t kept = mailbox_first_kept(w.cells, APP, ann);
    size_t n = walk(&w, ann, 0, 4096)->n;
    assert_true(n >= 300 && n <= 300 + 128);
    assert_int_equal(last - kept + 1, n);
    assert_int_equal(walk(&w, ann, kept - 1, 4096)->n, n);
    /* what went was before their time */
    assert_int_equal(mailbox_first_kept(w.cells, APP, late), 1);
    /* and what went later was after it */
    assert_int_equal(mailbox_first_kept(w.cells, APP, gone), left + 1);
    assert_int_equal(walk(&w, late, 0, 10)->n, 0);
    world_close(&w);
}

/* ---- random acts against a model ---- */
enum { USERS = 12, GROUPS = 6, AUDIENCES = 10, ALL = 9, ACTS = 6000, SEEN_MAX = 4096 };
struct model {
    uint64_t seen[USERS][SEEN_MAX], since[USERS][AUDIENCES];
    uint8_t by[USERS][SEEN_MAX]; /* which audience; AUDIENCES: their own */
    size_t n[USERS];
    bool known[USERS], in[USERS][AUDIENCES];
};

static struct bytes audience_name(char *room, uint64_t a) {
    if (a == ALL) return BYTES("*");
    return name_of(room, a < GROUPS ? 'a' : a < 8 ? '#' : '@', a);
}

static void model_see(struct model *m, uint64_t user, uint64_t position, uint64_t by) {
    assert_true(m->n[user] < SEEN_MAX);
    m->by[user][m->n[user]] = (uint8_t)by;
    m->seen[user][m->n[user]++] = position;
}
static void model_ensure(struct model *m, uint64_t u, uint64_t position) {
    if (!m->known[u]) m->since[u][ALL] = position;
    m->known[u] = m->in[u][ALL] = true;
}

static void random_act(struct world *w, struct model *m, struct rng *r, int64_t leap_ms) {
    char ur[32], ar[32];
    uint64_t u = rng_below(r, USERS), a = rng_below(r, AUDIENCES), dice = rng_below(r, 100);
    struct bytes user = name_of(ur, 'u', u), audience = audience_name(ar, a);
    w->time_ms += leap_ms ? (int64_t)rng_below(r, (uint64_t)leap_ms) : 5;
    if (dice < 40) {
        own(w, user);
        if (m->known[u]) model_see(m, u, w->position, AUDIENCES);
    } else if (dice < 75) {
        shared(w, audience);
        for (uint64_t i = 0; i < USERS; i++)
            if (m->in[i][a]) model_see(m, i, w->position, a);
    } else if (dice < 87) {
        assert_int_equal(mailbox_ensure(act(w), user), !m->known[u]);
        model_ensure(m, u, w->position);
        if (a == ALL) return;
        mailbox_join(&w->step, user, audience);
        if (!m->in[u][a]) m->since[u][a] = w->position;
        m->in[u][a] = true;
    } else if (dice < 99) {
        if (a == ALL) return;
        mailbox_leave(act(w), user, audience);
        m->in[u][a] = false;
    } else if (rng_below(r, 6) == 0) {
        mailbox_erase(act(w), user);
        m->known[u] = false;
        m->n[u] = 0;
        memset(m->in[u], 0, sizeof m->in[u]);
    }
}

static void compare_walk(struct world *w, const struct model *m, struct rng *r, bool retention) {
    char ur[32];
    uint64_t u = rng_below(r, USERS), after = rng_below(r, w->position + 3);
    if (rng_below(r, 4) == 0) after = 0;
    struct bytes user = name_of(ur, 'u', u);
    uint64_t kept = mailbox_first_kept(w->cells, APP, user);
    if (retention && after + 1 < kept) after = kept - 1;
    size_t at = 0, limit = 1 + rng_below(r, 200);
    while (at < m->n[u] && m->seen[u][at] <= after) at++;
    size_t want = m->n[u] - at < limit ? m->n[u] - at : limit;
    struct seen *s =
        rng_below(r, 2) ? walk(w, user, after, limit) : walk_until(w, user, after, SIZE_MAX, limit);
    assert_int_equal(s->n, want);
    for (size_t i = 0; i < want; i++) assert_int_equal(s->list[i], m->seen[u][at + i]);
    assert_int_equal(mailbox_known(w->cells, APP, user), m->known[u]);
    uint64_t last = m->n[u] ? m->seen[u][m->n[u] - 1] : 0;
    if (!retention) assert_int_equal(mailbox_last(w->cells, APP, user), last);
    if (!retention) assert_int_equal(kept, 1);
}

struct heard {
    const struct model *m;
    uint64_t user, to;
    size_t at;
};
static bool hear(void *arg, const struct entry *e, struct bytes audience) {
    struct heard *h = arg;
    char ar[32];
    const struct model *m = h->m;
    while (h->at < m->n[h->user] &&
           (m->by[h->user][h->at] < GROUPS || m->by[h->user][h->at] == AUDIENCES))
        h->at++;
    assert_true(h->at < m->n[h->user] && m->seen[h->user][h->at] <= h->to);
    assert_int_equal(e->position, m->seen[h->user][h->at]);
    assert_true(bytes_eq(audience, audience_name(ar, m->by[h->user][h->at])));
    h->at++;
    return true;
}
/* Topics, followed and everyone by themselves. */
static void compare_shared(struct world *w, const struct model *m, struct rng *r, bool retention) {
    char ur[32];
    struct heard h = {m, rng_below(r, USERS), 0, 0};
    uint64_t after = rng_below(r, w->position + 3);
    struct bytes user = name_of(ur, 'u', h.user);
    uint64_t kept = mailbox_first_kept(w->cells, APP, user);
    if (retention && after + 1 < kept) after = kept - 1;
    h.to = rng_below(r, 3) ? UINT64_MAX : after + rng_below(r, 500);
    while (h.at < m->n[h.user] && m->seen[h.user][h.at] <= after) h.at++;
    mailbox_walk_shared(w->cells, APP, user, after, h.to, hear, &h);
    for (; h.at < m->n[h.user] && m->seen[h.user][h.at] <= h.to; h.at++)
        assert_true(m->by[h.user][h.at] < GROUPS || m->by[h.user][h.at] == AUDIENCES);
}

static bool member_note(void *arg, struct bytes user) {
    bool *in = arg;
    unsigned long u = 0;
    for (size_t i = 1; i < user.n; i++) u = u * 10 + (unsigned long)(user.p[i] - '0');
    assert_false(in[u]); /* nobody twice */
    in[u] = true;
    return true;
}
static void compare_members(struct world *w, const struct model *m, struct rng *r) {
    char ur[32], ar[32];
    uint64_t a = rng_below(r, AUDIENCES), count = 0, then = rng_below(r, w->position + 2);
    struct bytes audience = audience_name(ar, a);
    bool in[USERS] = {0};
    mailbox_members(w->cells, APP, audience, member_note, in);
    for (uint64_t u = 0; u < USERS; u++) {
        assert_int_equal(in[u], m->in[u][a]);
        assert_int_equal(mailbox_is_in(w->cells, APP, name_of(ur, 'u', u), audience), m->in[u][a]);
        assert_int_equal(mailbox_was_in(w->cells, APP, name_of(ur, 'u', u), audience, then),
            m->in[u][a] && m->since[u][a] < then);
        count += m->in[u][a];
    }
    assert_int_equal(mailbox_member_count(w->cells, APP, audience), count);
}

static uint64_t run(uint64_t seed, uint64_t budget, unsigned flush_in, int64_t leap_ms) {
    struct world w;
    struct rng acts = {seed}, looks = {seed + 1}, pauses = {seed + 2};
    struct model *m = must_alloc(sizeof *m);
    world_open(&w, budget);
    for (int i = 0; i < ACTS; i++) {
        random_act(&w, m, &acts, leap_ms);
        compare_walk(&w, m, &looks, leap_ms != 0);
        compare_shared(&w, m, &looks, leap_ms != 0);
        if (i % 8 == 0) compare_members(&w, m, &looks);
        if (flush_in && rng_below(&pauses, flush_in) == 0) world_flush(&w);
        if (flush_in) cells_turn_end(w.cells);
    }
    uint64_t hash = cells_state_hash(w.cells);
    struct buf why = {0};
    assert_true(mailbox_check(w.cells, &why) && !why.n);
    world_close(&w);
    free(m);
    return hash;
}

static void random_acts_match_the_model_and_leave_one_state(void **state) {
    (void)state;
    for (uint64_t seed = 1; seed <= 4; seed++) {
        uint64_t ample = run(seed, 1 << 30, 0, 0);
        /* evicted and loaded again at every turn */
        assert_int_equal(run(seed, 20000, 3, 0), ample);
        assert_int_equal(run(seed, 200000, 40, 0), ample);
    }
}

static void random_acts_with_retention(void **state) {
    (void)state;
    for (uint64_t seed = 11; seed <= 13; seed++) {
        uint64_t ample = run(seed, 1 << 30, 0, DAY / 10);
        assert_int_equal(run(seed, 20000, 3, DAY / 10), ample);
    }
}

/* ---- what kith check says ---- */
static void a_check_says_what_is_wrong(void **state) {
    (void)state;
    struct world w;
    struct buf why = {0};
    uint8_t room[300];
    world_open(&w, 1 << 30);
    mailbox_ensure(act(&w), BYTES("ann"));
    struct entry e = {.type = ENTRY_MESSAGE, .conversation = BYTES("c"), .from = BYTES("bob")};
    mailbox_join(act(&w), BYTES("ann"), BYTES("#t"));
    for (int i = 0; i < 3; i++) mailbox_append(act(&w), BYTES("ann"), &e);
    assert_true(mailbox_check(w.cells, &why) && !why.n);
    struct cell *head = cells_get(w.cells, key2(room, 'm', APP, BYTES("ann")));
    cells_edit(w.cells, head)[0]++; /* one more than there are */
    assert_false(mailbox_check(w.cells, &why));
    buf_char(&why, 0);
    assert_non_null(strstr((char *)why.p, "mailbox of ann of app app: entries: 3 is stored, 4"));
    cells_edit(w.cells, head)[0]--;
    cells_edit(w.cells, head)[8]++; /* the newest position */
    buf_reset(&why);
    assert_false(mailbox_check(w.cells, &why));
    buf_char(&why, 0);
    assert_non_null(strstr((char *)why.p, "the last position: 5 is stored, 6 belongs there"));
    cells_edit(w.cells, head)[8]--;
    cells_edit(w.cells, head)[40]++; /* their slot among everyone */
    buf_reset(&why);
    assert_false(mailbox_check(w.cells, &why));
    buf_char(&why, 0);
    assert_non_null(strstr((char *)why.p, "members of * of app app: the slot of a member: 1 is"));
    cells_edit(w.cells, head)[40]--;
    struct cell *row = cells_get(w.cells, key3(room, 'r', APP, BYTES("ann"), BYTES("#t")));
    cells_edit(w.cells, row)[4]++; /* the slot of a membership */
    buf_reset(&why);
    assert_false(mailbox_check(w.cells, &why));
    buf_char(&why, 0);
    assert_non_null(strstr((char *)why.p, "memberships of ann of app app: the slot of a mem"));
    buf_done(&why);
    world_close(&w);
}

/* ---- large audiences: slots across many chunks ---- */
static void thousands_come_and_go(void **state) {
    (void)state;
    enum { MANY = 3000 };
    struct world w;
    char ur[32];
    struct rng r = {5};
    bool *in = must_alloc(MANY * sizeof *in);
    uint64_t count = 0;
    world_open(&w, 1 << 30);
    for (int i = 0; i < 4 * MANY; i++) {
        uint64_t u = rng_below(&r, MANY);
        struct bytes user = name_of(ur, 'u', u);
        if (in[u]) mailbox_leave(act(&w), user, BYTES("g"));
        else mailbox_join(act(&w), user, BYTES("g"));
        in[u] = !in[u];
        count += in[u] ? 1 : (uint64_t)-1;
        assert_int_equal(mailbox_member_count(w.cells, APP, BYTES("g")), count);
    }
    bool *found = must_alloc(MANY * sizeof *found);
    mailbox_members(w.cells, APP, BYTES("g"), member_note, found);
    assert_memory_equal(found, in, MANY * sizeof *in);
    for (uint64_t u = 0; u < MANY; u++) mailbox_leave(act(&w), name_of(ur, 'u', u), BYTES("g"));
    assert_int_equal(cells_state_hash(w.cells), 0);
    free(found);
    free(in);
    world_close(&w);
}

/* ---- everyone, and a sweep over many while others come and go ---- */
static void everyone_is_in_from_when_they_were_made(void **state) {
    (void)state;
    struct world w;
    world_open(&w, 1 << 20);
    struct bytes ann = BYTES("ann"), bob = BYTES("bob"), all = BYTES("*");
    mailbox_ensure(act(&w), ann);
    uint64_t a = shared(&w, all);
    mailbox_ensure(act(&w), bob);
    uint64_t b = shared(&w, all);
    assert_int_equal(mailbox_newest_shared(w.cells, APP), b);
    assert_int_equal(walk(&w, ann, 0, 10)->n, 2);
    assert_int_equal(walk(&w, bob, 0, 10)->n, 1);
    assert_true(mailbox_was_in(w.cells, APP, ann, all, a));
    assert_false(mailbox_was_in(w.cells, APP, bob, all, a));
    assert_int_equal(mailbox_member_count(w.cells, APP, all), 2);
    mailbox_erase(act(&w), ann);
    assert_int_equal(mailbox_last(w.cells, APP, ann), 0);
    assert_int_equal(walk(&w, ann, 0, 10)->n, 0);
    mailbox_ensure(act(&w), ann); /* somebody new */
    assert_int_equal(walk(&w, ann, 0, 10)->n, 0);
    assert_int_equal(mailbox_last(w.cells, APP, bob), b);
    assert_int_equal(mailbox_member_count(w.cells, APP, all), 2);
    world_close(&w);
}

static void retention_takes_what_was_for_everyone(void **state) {
    (void)state;
    struct world w;
    world_open(&w, 1 << 20);
    mailbox_ensure(act(&w), BYTES("ann"));
    for (int i = 0; i < 640; i++) {
        shared(&w, BYTES("*"));
        w.time_ms += DAY / 10;
    }
    uint64_t kept = mailbox_first_kept(w.cells, APP, BYTES("ann"));
    assert_true(kept > 200);
    assert_int_equal(walk(&w, BYTES("ann"), 0, 4096)->n, w.position - kept + 1);
    mailbox_ensure(act(&w), BYTES("late"));
    assert_int_equal(mailbox_first_kept(w.cells, APP, BYTES("late")), 1);
    world_close(&w);
}

struct topic_list {
    char text[128];
};
static bool topic_note(void *arg, struct bytes audience, uint64_t from) {
    struct topic_list *l = arg;
    char one[40];
    snprintf(one, sizeof one, "%.*s since %llu, ", (int)audience.n, (const char *)audience.p,
        (unsigned long long)from);
    strcat(l->text, one);
    return true;
}
static void topics_are_listed_since_when(void **state) {
    (void)state;
    struct world w;
    struct topic_list l = {{0}};
    world_open(&w, 1 << 20);
    mailbox_ensure(act(&w), BYTES("ann"));
    mailbox_join(act(&w), BYTES("ann"), BYTES("#news"));
    mailbox_join(act(&w), BYTES("ann"), BYTES("group"));
    mailbox_join(act(&w), BYTES("ann"), BYTES("#old"));
    mailbox_join(act(&w), BYTES("ann"), BYTES("@bob"));
    shared(&w, BYTES("#old"));
    mailbox_leave(act(&w), BYTES("ann"), BYTES("#old"));
    mailbox_topics(w.cells, APP, BYTES("ann"), topic_note, &l);
    assert_string_equal(l.text, "#news since 2, @bob since 5, ");
    assert_int_equal(walk(&w, BYTES("ann"), 0, 10)->n, 1); /* of when they were in */
    world_close(&w);
}

/* Who left is known for as long as what they got is, and by nobody once they are erased. */
static bool left_count(void *arg, struct bytes user) {
    (void)user;
    ++*(int *)arg;
    return true;
}
static int left_since(struct world *w, int64_t since_ms) {
    int n = 0;
    mailbox_left(w->cells, APP, BYTES("#t"), since_ms, left_count, &n);
    return n;
}
static void who_left_is_known_for_a_while(void **state) {
    (void)state;
    struct world w;
    world_open(&w, 1 << 20);
    struct step *s = act(&w);
    int64_t begin = s->time_ms;
    mailbox_ensure(s, BYTES("ann"));
    mailbox_ensure(act(&w), BYTES("bob"));
    for (int n = 0; n < 3; n++) { /* once a day, however often */
        mailbox_join(act(&w), BYTES("ann"), BYTES("#t"));
        mailbox_leave(act(&w), BYTES("ann"), BYTES("#t"));
    }
    assert_int_equal(left_since(&w, begin), 1);
    mailbox_join(act(&w), BYTES("bob"), BYTES("#t"));
    s = act(&w);
    s->time_ms = begin + 2 * DAY;
    mailbox_leave(s, BYTES("bob"), BYTES("#t"));
    assert_int_equal(left_since(&w, begin), 2);
    assert_int_equal(left_since(&w, begin + 2 * DAY), 1);
    assert_int_equal(left_since(&w, begin + 3 * DAY), 0);
    mailbox_join(act(&w), BYTES("bob"), BYTES("#t"));
    s = act(&w);
    s->time_ms = begin + mailbox_retention_ms + 3 * DAY;
    mailbox_leave(s, BYTES("bob"), BYTES("#t"));
    assert_int_equal(left_since(&w, 0), 2); /* bob, twice */
    mailbox_erase(act(&w), BYTES("ann"));
    assert_int_equal(left_since(&w, 0), 2);
    mailbox_erase(act(&w), BYTES("bob"));
    assert_int_equal(left_since(&w, 0), 0);
    world_close(&w);
}

enum { SWEPT = 900 };
static void a_sweep_meets_who_stays_once(void **state) {
    (void)state;
    struct world w;
    struct rng r = {77};
    char ur[32];
    world_open(&w, 1 << 30);
    bool *stays = must_alloc(SWEPT * sizeof *stays), *in = must_alloc(SWEPT * sizeof *in);
    for (uint64_t u = 0; u < SWEPT; u += 2) {
        mailbox_join(act(&w), name_of(ur, 'u', u), BYTES("#t"));
        stays[u] = in[u] = true;
    }
    for (int round = 0; round < 30; round++) {
        bool *met = must_alloc(SWEPT * sizeof *met);
        uint64_t began = w.position + 1;
        uint32_t slot = 0;
        size_t n;
        memcpy(stays, in, SWEPT * sizeof *stays);
        do {
            /* asserts that nobody is given twice, who was in it since before it began */
            n = mailbox_members_from(w.cells, APP, BYTES("#t"), &slot, 50, member_note, met);
            for (uint64_t u = 0; u < SWEPT; u++)
                if (met[u] &&
                    !mailbox_was_in(w.cells, APP, name_of(ur, 'u', u), BYTES("#t"), began))
                    met[u] = false; /* came meanwhile: may come round again */
            for (int i = 0; i < 40; i++) {
                uint64_t u = rng_below(&r, SWEPT);
                if (in[u]) mailbox_leave(act(&w), name_of(ur, 'u', u), BYTES("#t"));
                else mailbox_join(act(&w), name_of(ur, 'u', u), BYTES("#t"));
                if (in[u]) stays[u] = met[u] = false;
                in[u] = !in[u];
            }
        } while (n == 50);
        for (uint64_t u = 0; u < SWEPT; u++) assert_true(met[u] || !stays[u]);
        free(met);
    }
    struct buf why = {0};
    for (uint64_t u = 0; u < SWEPT; u++) mailbox_leave(act(&w), name_of(ur, 'u', u), BYTES("#t"));
    for (uint64_t u = 0; u < SWEPT; u++) mailbox_erase(act(&w), name_of(ur, 'u', u)); /* who left */
    assert_true(mailbox_check(w.cells, &why));
    assert_int_equal(cells_state_hash(w.cells), 0);
    free(stays);
    free(in);
    world_close(&w);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(everyone_is_in_from_when_they_were_made),
        cmocka_unit_test(retention_takes_what_was_for_everyone),
        cmocka_unit_test(topics_are_listed_since_when),
        cmocka_unit_test(a_sweep_meets_who_stays_once),
        cmocka_unit_test(member_sees_only_while_in),
        cmocka_unit_test(who_left_is_known_for_a_while),
        cmocka_unit_test(coming_and_going_in_silence_leaves_nothing),
        cmocka_unit_test(delivery_says_who),
        cmocka_unit_test(blocks_are_counted_for_the_blocked),
        cmocka_unit_test(old_blocks_go_and_cursors_before_them_are_told),
        cmocka_unit_test(thousands_come_and_go),
        cmocka_unit_test(a_check_says_what_is_wrong),
        cmocka_unit_test(random_acts_match_the_model_and_leave_one_state),
        cmocka_unit_test(random_acts_with_retention),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
