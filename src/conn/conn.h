/* conn: connections of one shard: accepted at its doors, read and written, HTTP, MQTT and streams
 * spoken over them, through PROXY header, TLS and WebSocket where there are; limits on who may come,
 * how often, and how fast.
 *
 * Invariants: a connection belongs to one shard, and moves as a job. Who does not read, or sends too
 * fast, is not read; nobody waits for anybody else's socket.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef KITH_CONN_H
#define KITH_CONN_H

#include "core/core.h"

void conn_accept(struct shard *s, const struct door *d);
void conn_accept_again(struct shard *s); /* at TLS doors, if there is room: once a turn */
void conn_event(struct shard *s, struct conn *c, uint32_t what);
void conn_leftovers(struct shard *s); /* those that had more input than one turn took */
void conn_touch_all(struct shard *s); /* looks anew at whether each is read */
void conn_write_all(struct shard *s); /* every touched one */
void conn_sweep(struct shard *s);     /* timeouts; tokens that have expired */
/* ends those of keys that were revoked, and of issuers that were removed */
void conn_recheck(struct shard *s);
/* Tells each device that the server ends, as soon as nothing of its own is under way: a PUBLISH that
 * came before gets its PUBACK first. */
void conn_drain(struct shard *s);
void conn_forget_sessions(struct shard *s); /* at the end: deliver has let go of them */
void conn_close_all(struct shard *s);
/* Gauges that cost a look at each connection. */
void conn_figures(struct shard *s);

/* core's struct above */
void conn_job_answered(struct shard *s, const struct job *j);
void conn_arrived(struct shard *s, struct conn *c);
/* deliver's callbacks; arg: the shard */
void conn_output(void *arg, void *conn); /* its output has bytes */
void conn_session_ended(void *arg, void *conn, uint8_t reason);
void mqtt_opened(void *arg, void *conn, bool present, enum err err);
void mqtt_subscribed(void *arg, void *conn, uint32_t cookie, enum err err);

/* limits.c */
struct limits *limits_create(const struct server_options *o);
void limits_free(struct limits **);
void limits_turn(struct shard *s); /* once a turn: the level; who was slowed is read again */
int limits_wait_ms(const struct shard *s, int most); /* until the next of them */

#endif
