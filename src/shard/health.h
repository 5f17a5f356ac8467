/* shard: the doctor's place in the server (doctor/doctor.h). Inside the room.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef KITH_SHARD_HEALTH_H
#define KITH_SHARD_HEALTH_H

#include "shard/shard_in.h"

void health_open(struct server *v); /* when shards, log and tables are there */
void health_close(struct server *v);
void health_turn(struct shard *s);  /* once a turn */
void health_look(struct server *v); /* once a second, on the watch's thread */
void health_answer(struct shard *s, struct job *j);
void health_say(struct server *v, struct buf *out); /* all names: to who owns the data folder */

#endif
