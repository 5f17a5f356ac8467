/* conn: transport: what may lie between a socket and the protocol spoken over it: a PROXY header,
 * TLS, WebSocket frames. Inside the room. A connection without any of them has c->transport NULL
 * and costs nothing here; the protocols read c->in and write c->out as if there were none.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef KITH_SHARD_TRANSPORT_H
#define KITH_SHARD_TRANSPORT_H

#include "conn/conn_in.h"

/* May one more connection be accepted here? false: as many handshakes as may be are under way, so
 * that it waits in the kernel's queue. */
bool transport_has_room(const struct shard *s, const struct door *d);
/* At that limit, with somebody waiting: the oldest handshake is ended, if it takes long. Not while
 * events are taken. */
void transport_make_room(struct shard *s);
/* A connection has come through this door: makes what it needs. false: there is no memory. Before the PROXY header has come, c->peer is the proxy's and not counted (limits.h). */
bool transport_begin(struct shard *s, struct conn *c, const struct door *d);
bool transport_is_ready(const struct conn *c); /* header read, handshake done */
void transport_free(struct shard *s, struct conn *c);

/* As sock_read. Before it is ready, AGAIN stands for a step of that too; LIMIT: too many
 * connections of the address that the header named. */
enum err transport_read(struct shard *s, struct conn *c, void *p, size_t n, size_t *out_n) must_use;
/* Writes some of what c->out and this hold, and moves c->out_at. As sock_write; *out_n in bytes of
 * the plain stream or its frames. */
enum err transport_write(struct shard *s, struct conn *c, size_t *out_n) must_use;
bool transport_has_output(const struct conn *c); /* in c->out or here */
size_t transport_replies(const struct conn *c);  /* bytes here that were not written yet */
size_t transport_bytes(const struct conn *c);    /* held in buffers here, OpenSSL's aside */
bool transport_waits_to_write(const struct conn *c);
void transport_finish(const struct conn *c); /* all is written: says so to the peer */

/* The connection is a WebSocket from here on: what is in c->out goes before the first frame, what
 * is in c->in is frames. As transport_unframe. */
enum err transport_upgrade(struct shard *s, struct conn *c) must_use;
bool transport_is_websocket(const struct conn *c);
bool transport_is_tls(const struct conn *c);
/* Adds the payload of frames to c->in. STALE: the peer closes; MALFORMED: it broke the rules; its
 * close frame goes out when the connection ends. */
enum err transport_unframe(struct conn *c, struct bytes in) must_use;

#endif
