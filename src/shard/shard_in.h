/* shard, inside. SPDX-License-Identifier: Apache-2.0 */
#ifndef KITH_SHARD_IN_H
#define KITH_SHARD_IN_H

#include "conn/conn.h"
#include "core/core.h"
#include "operate/operate.h"
#include "shard/shard.h"

/* tables.c */
enum err tables_start(struct server *v);
void tables_stop(struct server *v);
/* holds senders back while memory is over its budget: once a turn */
void memory_look(struct shard *s);
void tables_hand(struct shard *s); /* freeze, hand over, take back: once a turn */
/* Every written batch is synced when this gives OK; LIMIT: the disk is full. Not on the tables
 * thread. */
enum err tables_sync_all(struct server *v) must_use;
/* turn.c */
void *shard_main(void *arg);
/* control.c */
bool control_line(struct server *v, struct bytes line, int fd, struct buf *out);
enum err control_listen(struct server *v, struct buf *why);

#endif
