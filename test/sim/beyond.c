/* sim: core/sends.c on a shard that has nothing else, and the calls to the thread of src/send that it makes,
 * which the other side answers here. SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>

#include "beyond.h"
#include "core/core.h"

struct send {
    struct sim *sim;
};
struct beyond {
    struct shard shard;
    struct server server;
    struct send send;
};

struct beyond *beyond_open(
    struct sim *sim, unsigned lane, struct engine *engine, const struct tools *tools) {
    struct beyond *b = must_alloc(sizeof *b);
    b->send.sim = sim;
    b->server.sender = &b->send;
    b->shard.server = &b->server;
    b->shard.index = lane;
    b->shard.engine = engine;
    b->shard.tools = *tools;
    return b;
}

void beyond_close(struct beyond **b) {
    if (!*b) return;
    sends_done(&(*b)->shard);
    free(*b);
    *b = NULL;
}

void beyond_told(struct beyond *b, uint16_t partition, struct bytes body) {
    sends_told(&b->shard, partition, body);
}

void beyond_turn(struct beyond *b, int64_t now_ms, bool draining) {
    b->shard.now_ms = now_ms;
    b->shard.recovered = true;
    b->shard.draining = draining;
    (void)sends_turn(&b->shard);
}

/* ---- in place of src/send's thread ---- */
bool send_put(struct send *s, unsigned shard, struct send_task *t) {
    other_put(s->sim, shard, t);
    return true;
}
struct send_result *send_take(struct send *s, unsigned shard) {
    return other_take(s->sim, shard);
}
size_t send_out(const struct send *s, unsigned shard) { return other_out(s->sim, shard); }
