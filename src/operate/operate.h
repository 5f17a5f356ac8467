/* operate: what operators ask of a running server: metrics, the flow, sessions, the doctor, where a
 * message is; and the routes that no surface owns.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef KITH_OPERATE_H
#define KITH_OPERATE_H

#include "core/core.h"

/* special.c */
/* Answers the routes that concern the server itself; typing and presence run in the user's
 * partition. */
void special_answer(struct shard *s, struct job *j);
/* true: passed on to another shard, which goes on */
bool special_run(struct shard *s, struct job *j);
extern const char OPENAPI[];
extern const size_t OPENAPI_SIZE;
/* metrics.c */
void figures_sweep(struct shard *s); /* gauges that cost a look at each connection */
size_t rings_of(struct server *v, const struct events *out[static RINGS_MOST]); /* all threads' */
void metrics_begin(struct server *v);
void memory_of_process(uint64_t *out_size, uint64_t *out_resident);
bool metrics_open_asked(struct bytes accept);
void metrics_answer(struct shard *s, bool open, struct buf *out);
/* flow.c */
void flow_create(struct server *v); /* for people to look at: the watch, and what it asks for */
void flow_start(struct server *v);  /* once all descriptors and privileges are as they shall be */
void flow_free(struct server *v);   /* and ends it */
void flow_json(struct shard *s, struct job *j);
struct watch *flow_watch(struct server *v);
enum { DISK_DATA, DISK_LOG, DISKS };
struct flow_disk {
    uint64_t free, size;
};
struct flow_disk flow_disk(const struct server *v, int which); /* a second old; size 0: not known */
uint64_t flow_gauge(const struct server *v, unsigned gauge);   /* enum watch_gauge; a second old */
/* sessions.c */
bool sessions_plan(struct shard *s, struct job *j); /* false: the answer has the problem */
bool sessions_list(struct shard *s, struct job *j);
void sessions_of_user(struct shard *s, struct job *j);
/* journey.c: the same two */
bool journey_plan(struct shard *s, struct job *j);
bool journey_look(struct shard *s, struct job *j);
/* health.c: the doctor's place in the server (doctor/doctor.h) */
void health_open(struct server *v); /* when shards, log and tables are there */
void health_close(struct server *v);
void health_turn(struct shard *s);  /* once a turn */
void health_look(struct server *v); /* once a second, on the watch's thread */
void health_answer(struct shard *s, struct job *j);
void health_say(struct server *v, struct buf *out); /* all names: to who owns the data folder */

#endif
