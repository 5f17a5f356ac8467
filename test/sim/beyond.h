/* sim: between core, whose names meet those of this room, and the simulator: what leaves the server goes
 * through core/sends.c itself, on a shard that has nothing else. In place of src/send's thread stands
 * who is beyond (sends.c).
 *
 * Invariants: a task that was put is the other side's; what it gives back is core's. Lifetimes: a
 * beyond lives as long as its engine. SPDX-License-Identifier: Apache-2.0 */
#ifndef KITH_BEYOND_H
#define KITH_BEYOND_H

#include "engine/engine.h"
#include "send/send.h"

struct beyond;
struct sim;
struct beyond *beyond_open(
    struct sim *sim, unsigned lane, struct engine *engine, const struct tools *tools);
void beyond_close(struct beyond **); /* NULL is taken */
/* As a shard does with a delivery, and in each turn. */
void beyond_told(struct beyond *b, uint16_t partition, struct bytes body);
void beyond_turn(struct beyond *b, int64_t now_ms, bool draining);

/* ---- sends.c ---- */
void other_put(struct sim *s, unsigned lane, struct send_task *t);
struct send_result *other_take(struct sim *s, unsigned lane); /* NULL: no answer yet */
size_t other_out(const struct sim *s, unsigned lane);

#endif
