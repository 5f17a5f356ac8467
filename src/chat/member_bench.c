/* chat, member side, measured: relays applied directly, entries rendered, unread counted. Prints
 * nanoseconds, the median of rounds; nothing here can fail.
 * SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "chat/member_in.h"

#define APP BYTES("app")
enum { ROUNDS = 9, EACH = 20000, TURN = 64, PAIRS = 500, GROUPS = 100, UNREAD = 100000 };

struct world {
    struct store *store;
    struct cells *cells;
    struct arena arena;
    uint64_t position, seq, mark; /* mark: a cursor with 50 entries after it */
    unsigned rendered;
    struct step step;
    struct answer answer;
    struct buf body, one, out;
};

static void apply(struct world *w, uint8_t kind) {
    if (++w->position % TURN == 0) {
        cells_turn_end(w->cells);
        arena_reset(&w->arena);
    }
    w->step = (struct step){.cells = w->cells,
        .partitions = 1,
        .position = w->position,
        .time_ms = 1700000000000 + (int64_t)w->position,
        .app = APP,
        .body = buf_view(&w->body),
        .arena = &w->arena,
        .answer = &w->answer};
    for (size_t i = 0; i < chat_member_rule_count; i++)
        if (chat_member_rules[i].kind == kind) chat_member_rules[i].apply(&w->step);
    buf_reset(&w->body);
}
static struct bytes name_of(char *room, char what, uint64_t n) {
    return bytes_of(room, (size_t)sprintf(room, "%c-%06llu", what, (unsigned long long)n));
}

static void join(
    struct world *w, struct bytes conv, uint8_t type, struct bytes user, struct bytes peer) {
    pack_bytes(&w->body, conv);
    pack_u8(&w->body, type);
    pack_bytes(&w->body, user);
    pack_u8(&w->body, ROLE_MEMBER);
    pack_bytes(&w->body, peer);
    pack_var(&w->body, 0);
    pack_u8(&w->body, 0);
    pack_var(&w->body, 2);
    for (int i = 0; i < 3; i++) pack_bytes(&w->body, BYTES(""));
    apply(w, KIND_COPY_JOIN);
}
static void message(struct world *w, struct bytes conv, uint8_t type, struct bytes from,
    uint64_t seq, struct bytes a, struct bytes b) {
    struct message m = {.seq = seq,
        .id = BYTES("0123456789-abcdef"),
        .from = from,
        .created_ms = 1700000000000,
        .has_body = true,
        .body = BYTES("a hundred bytes of text, more or less, as people write to one another when "
                      "they are on their way home")};
    buf_reset(&w->one);
    message_encode(&w->one, &m);
    pack_bytes(&w->body, conv);
    pack_u8(&w->body, type);
    pack_var(&w->body, 2);
    pack_bytes(&w->body, buf_view(&w->one));
    pack_var(&w->body, (a.n ? 1u : 0u) + (b.n ? 1u : 0u));
    if (a.n) pack_bytes(&w->body, a);
    if (b.n) pack_bytes(&w->body, b);
    apply(w, KIND_COPY_MESSAGE);
}

static int64_t now_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000000000ll + t.tv_nsec;
}
static int cmp(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}
static void measure(
    const char *what, struct world *w, void (*fn)(struct world *, uint64_t), uint64_t each) {
    double round[ROUNDS];
    for (int r = 0; r < ROUNDS; r++) {
        int64_t from = now_ns();
        for (uint64_t i = 0; i < each; i++) fn(w, i);
        round[r] = (double)(now_ns() - from) / (double)each;
    }
    qsort(round, ROUNDS, sizeof *round, cmp);
    printf("%-64s %9.0f ns\n", what, round[ROUNDS / 2]);
}

static void direct_one(struct world *w, uint64_t i) {
    char c[32], a[32], b[32];
    message(w, name_of(c, 'd', i % PAIRS), CONV_DIRECT, name_of(b, 'b', i % PAIRS), ++w->seq,
        name_of(a, 'a', i % PAIRS), BYTES(""));
}
static void direct_two(struct world *w, uint64_t i) {
    char c[32], a[32], b[32];
    struct bytes user = name_of(b, 'b', i % PAIRS);
    message(w, name_of(c, 'd', i % PAIRS), CONV_DIRECT, user, ++w->seq, name_of(a, 'a', i % PAIRS),
        user);
}
static void shared(struct world *w, uint64_t i) {
    char c[32];
    message(w, name_of(c, 'g', i % GROUPS), CONV_GROUP, BYTES("a-000001"), ++w->seq, BYTES(""),
        BYTES(""));
}
static void receipt(struct world *w, uint64_t i) {
    char c[32], a[32];
    struct bytes user = name_of(a, 'a', i % PAIRS);
    pack_bytes(&w->body, name_of(c, 'd', i % PAIRS));
    pack_u8(&w->body, CONV_DIRECT);
    pack_bytes(&w->body, user);
    pack_var(&w->body, i);
    pack_var(&w->body, i);
    pack_u8(&w->body, 0);
    pack_var(&w->body, 0);
    apply(w, KIND_COPY_RECEIPT);
}
static bool render(void *arg, const struct entry *e) {
    struct world *w = arg;
    struct view v = {.user = BYTES("a-000007"), .now_ms = 1700000000000};
    bool same;
    buf_reset(&w->out);
    w->rendered++;
    return !chat_entry_json(w->cells, APP, &v, e, &w->out, &same) || w->out.n;
}
static void render_last(struct world *w, uint64_t i) {
    (void)i;
    mailbox_walk(w->cells, APP, BYTES("a-000007"), w->mark, 50, render, w);
}
static void unread(struct world *w, uint64_t i) {
    struct place p;
    (void)i;
    if (place_get(w->cells, APP, BYTES("z"), BYTES("large"), &p))
        w->seq += place_unread(w->cells, APP, BYTES("z"), BYTES("large"), &p, 1700000000000) & 1;
}

int main(void) {
    struct world *w = must_alloc(sizeof *w);
    char c[32], a[32], b[32];
    w->store = store_create_memory();
    w->cells = cells_create(w->store, 0, 8ull << 30);
    for (uint64_t i = 0; i < PAIRS; i++) {
        join(w, name_of(c, 'd', i), CONV_DIRECT, name_of(a, 'a', i), name_of(b, 'b', i));
        join(w, bytes_str(c), CONV_DIRECT, bytes_str(b), bytes_str(a));
    }
    for (uint64_t i = 0; i < GROUPS; i++)
        join(w, name_of(c, 'g', i), CONV_GROUP, BYTES("a-000007"), BYTES(""));
    join(w, BYTES("large"), CONV_CHANNEL, BYTES("z"), BYTES(""));
    for (uint64_t i = 1; i <= UNREAD; i++)
        message(w, BYTES("large"), CONV_CHANNEL, BYTES("y"), i, BYTES(""), BYTES(""));
    w->seq = UNREAD;
    measure("COPY_MESSAGE direct, one member here", w, direct_one, EACH);
    measure("COPY_MESSAGE direct, both members here", w, direct_two, EACH);
    measure("COPY_MESSAGE shared", w, shared, EACH);
    w->mark = w->position - 50;
    measure("COPY_RECEIPT, marks only", w, receipt, EACH);
    measure("walk from a recent cursor, 101 audiences, 50 messages rendered", w, render_last, 200);
    check(w->rendered == 50 * 200 * ROUNDS);
    measure("unread, counted over 100,000 messages", w, unread, 5);
    buf_done(&w->body);
    buf_done(&w->one);
    buf_done(&w->out);
    arena_done(&w->arena);
    cells_free(&w->cells);
    w->store->calls->close(w->store);
    free(w);
    return 0;
}
