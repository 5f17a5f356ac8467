/* send: tasks and results, as memory. Apart from the thread, for who stands in its place: the simulator.
 * SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>

#include "send/send.h"

struct send_task *send_task_create(enum send_channel channel) {
    struct send_task *t = must_alloc(sizeof *t);
    t->channel = channel;
    t->badge = -1;
    return t;
}

void send_task_free(struct send_task **pt) {
    if (!*pt) return;
    arena_done(&(*pt)->arena);
    free(*pt);
    *pt = NULL;
}

struct bytes send_text(struct send_task *t, struct bytes v) {
    return v.n ? arena_copy(&t->arena, v) : (struct bytes){0};
}

void send_result_free(struct send_result **pr) {
    free(*pr);
    *pr = NULL;
}
