/* learn, measured: predict, update and the threshold, one after the other as a notification has them,
 * over people enough that their states do not all lie in the nearest cache.
 * SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "learn/learn.h"

enum { PEOPLE = 1 << 12, TURNS = 1 << 20, ROUNDS = 5 };
#define MORNING 1795200000000

static int64_t now_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

static uint8_t (*states)[LEARN_STATE_BYTES];
static uint8_t rate[LEARN_RATE_BYTES];
static const char *const NAMES[] = {"comment", "follow", "like", "mention", "reply",
    "weekly-summary", "user-2f6a1c", "user-77e0b4"};

enum part { PREDICT = 1, UPDATE = 2, WANTS = 4 };
static uint64_t run(unsigned parts) {
    uint64_t now = 0;
    for (unsigned i = 0; i < TURNS; i++) {
        uint8_t *s = states[i * 2654435761u % PEOPLE];
        struct bytes state = bytes_of(s, LEARN_STATE_BYTES);
        struct learn_features f = {.workflow = bytes_str(NAMES[i % 6]),
            .actor = bytes_str(NAMES[i % 8]),
            .hour = i % 24,
            .now_ms = MORNING + (int64_t)i * 50,
            .rate = bytes_of(rate, sizeof rate)};
        struct learn_prediction p = {0};
        struct learn_choice c = {0};
        struct learn_target t = {
            4000, LEARN_EXPLORE, bytes_str(NAMES[i % 8]), bytes_str(NAMES[i % 5])};
        if (parts & PREDICT) learn_predict(state, &f, &p);
        if (parts & WANTS) learn_wants(state, &p, &t, f.now_ms, &c, s);
        if (parts & UPDATE)
            learn_update(state, bytes_of(p.key, sizeof p.key), i % 7 == 0, LEARN_ONE, f.now_ms, s);
        now += c.now + (uint64_t)p.chance % 2;
    }
    return now;
}

static double best_ns(unsigned parts) {
    double best = 1e18;
    for (int r = 0; r < ROUNDS; r++) {
        int64_t from = now_ns();
        uint64_t some = run(parts);
        double each = (double)(now_ns() - from) / TURNS;
        check(some <= 2ull * TURNS);
        if (each < best) best = each;
    }
    return best;
}

int main(void) {
    states = must_alloc(sizeof *states * PEOPLE);
    for (int i = 0; i < 500; i++) learn_rate_add(bytes_of(rate, sizeof rate), i % 9 == 0, rate);
    printf("ns: predict %.0f, update %.0f, predict and update %.0f, with the threshold %.0f\n",
        best_ns(PREDICT), best_ns(UPDATE), best_ns(PREDICT | UPDATE),
        best_ns(PREDICT | UPDATE | WANTS));
    free(states);
    return 0;
}
