/* mailbox, measured: appending, walking from a recent cursor with few and many audiences, joining
 * and leaving a large one. Prints nanoseconds, the median of rounds; nothing here can fail.
 * SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "mailbox/mailbox.h"

#define APP BYTES("app")
enum { ROUNDS = 9, EACH = 20000, TURN = 64 };

struct world {
    struct store *store;
    struct cells *cells;
    struct arena arena;
    uint64_t position, generation;
    struct step step;
    struct answer answer;
};

static struct step *act(struct world *w) {
    if (++w->position % TURN == 0) {
        cells_turn_end(w->cells);
        arena_reset(&w->arena);
    }
    w->step = (struct step){.cells = w->cells,
        .partitions = 1,
        .position = w->position,
        .time_ms = 1700000000000 + (int64_t)w->position,
        .app = APP,
        .arena = &w->arena,
        .answer = &w->answer};
    return &w->step;
}
static struct bytes name_of(char *room, char what, uint64_t n) {
    return bytes_of(room, (size_t)sprintf(room, "%c%llu", what, (unsigned long long)n));
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
    const char *what, struct world *w, void (*fn)(struct world *, uint64_t i), uint64_t each) {
    double round[ROUNDS];
    for (int r = 0; r < ROUNDS; r++) {
        int64_t from = now_ns();
        for (uint64_t i = 0; i < each; i++) fn(w, i);
        round[r] = (double)(now_ns() - from) / (double)each;
    }
    qsort(round, ROUNDS, sizeof *round, cmp);
    printf("%-64s %9.0f ns\n", what, round[ROUNDS / 2]);
}

static void append_own(struct world *w, uint64_t i) {
    char room[32];
    struct entry e = {.type = ENTRY_MESSAGE,
        .event = EVENT_CREATED,
        .conversation = BYTES("conversation-1"),
        .seq = i,
        .from = BYTES("user-2")};
    mailbox_append(act(w), name_of(room, 'u', i % 1000), &e);
}
static void append_shared(struct world *w, uint64_t i) {
    char room[32];
    struct entry e = {.type = ENTRY_MESSAGE,
        .event = EVENT_CREATED,
        .conversation = BYTES("conversation-1"),
        .seq = i,
        .from = BYTES("user-2")};
    mailbox_append_shared(act(w), name_of(room, 'a', i % 500), &e);
}
static bool take(void *arg, const struct entry *e) {
    *(uint64_t *)arg += e->position;
    return true;
}
static void walk_few(struct world *w, uint64_t i) {
    char room[32];
    uint64_t sum = 0;
    mailbox_walk(w->cells, APP, name_of(room, 'u', i % 1000), w->position - 2000, 50, take, &sum);
}
static void walk_many_idle(struct world *w, uint64_t i) {
    uint64_t sum = 0;
    (void)i;
    mailbox_walk(w->cells, APP, BYTES("busy"), w->position - 3, 50, take, &sum);
}
static void walk_many_all(struct world *w, uint64_t i) {
    uint64_t sum = 0;
    (void)i;
    mailbox_walk(w->cells, APP, BYTES("busy"), w->position / 2, 50, take, &sum);
}
static bool take_shared(void *arg, const struct entry *e, struct bytes audience) {
    *(uint64_t *)arg += e->position + audience.n;
    return true;
}
static void walk_shared(struct world *w, uint64_t i) {
    uint64_t sum = 0;
    (void)i;
    mailbox_walk_shared(w->cells, APP, BYTES("busy"), 0, UINT64_MAX, take_shared, &sum);
}
static void topic_fill(struct world *w, uint64_t i) {
    char room[32];
    struct step *s = act(w);
    struct bytes user = name_of(room, 'n', w->position + i);
    mailbox_ensure(s, user);
    mailbox_join(s, user, BYTES("#topic"));
}
static void join_leave(struct world *w, uint64_t i) {
    char room[32];
    struct bytes user = name_of(room, 'm', i * 7919 % 100000);
    mailbox_leave(act(w), user, BYTES("large"));
    mailbox_join(act(w), user, BYTES("large"));
}

int main(void) {
    struct world *w = must_alloc(sizeof *w);
    char room[32];
    w->store = store_create_memory();
    w->cells = cells_create(w->store, 0, 4ull << 30);
    for (uint64_t u = 0; u < 1000; u++) mailbox_ensure(act(w), name_of(room, 'u', u));
    mailbox_ensure(act(w), BYTES("busy"));
    for (uint64_t a = 0; a < 500; a++) mailbox_join(act(w), BYTES("busy"), name_of(room, 'a', a));
    for (uint64_t m = 0; m < 100000; m++)
        mailbox_join(act(w), name_of(room, 'm', m), BYTES("large"));
    measure("append own", w, append_own, EACH);
    measure("append shared", w, append_shared, EACH);
    measure("walk: no audiences, cursor 2000 records back, some entries", w, walk_few, EACH);
    measure("walk: 500 audiences, cursor 3 records back", w, walk_many_idle, 1000);
    measure("walk: 500 audiences all with news, 50 entries", w, walk_many_all, 1000);
    measure("leave and join again, 100,000 members", w, join_leave, EACH);
    measure("walk of topics and everyone: 500 groups, none of these", w, walk_shared, EACH);
    mailbox_append_shared(act(w), BYTES("*"), &(struct entry){.type = ENTRY_NOTIFICATION});
    measure("the same with one entry for everyone", w, walk_shared, EACH);
    measure("a new user joins a topic", w, topic_fill, EACH);
    arena_done(&w->arena);
    cells_free(&w->cells);
    w->store->calls->close(w->store);
    free(w);
    return 0;
}
