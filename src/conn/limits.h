/* conn: limits: how many connections of an address, an app and a user there may be, how fast they
 * may come and ask, and what is refused first when there is too much of it all. Inside the room.
 *
 * Who is over a rate is slowed first: HTTP is answered 429 with Retry-After, MQTT is not read for
 * as long, and what has come waits in a buffer that is bounded. Nobody is disconnected for a rate.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef KITH_SHARD_LIMITS_H
#define KITH_SHARD_LIMITS_H

#include "conn/conn_in.h"

/* A connection has come: counted for its address (an IPv6 one: its /64). false: there are too many,
 * or they come too fast; it is to be closed. Who learns the true address later (PROXY protocol)
 * calls limits_end before it changes c->peer, and this after. */
bool limits_begin(struct shard *s, struct conn *c);
/* Who it is, is known: counted for its app; false: too many, or this device comes too often. Again
 * for the same connection: nothing. */
bool limits_known(struct shard *s, struct conn *c, struct bytes device);
/* On the user's shard: may the user have one more device, this one, connected? */
bool limits_user(struct shard *s, const struct conn *c, struct bytes device);
void limits_end(struct shard *s, struct conn *c); /* takes back what was counted */

/* One request of an address, before it is known who asks; of a principal after. false: *a says
 * when. */
bool limits_address(struct shard *s, const struct conn *c, struct answer *a);
bool limits_request(struct shard *s, const struct principal *who, struct answer *a);
/* A request's body, likewise, when it is here. */
bool limits_body(struct shard *s, const struct principal *who, size_t n, struct answer *a);
/* One PUBLISH. false: not now; it stays where it is and the connection is not read for a while.
 * `refusable`: the sender can be told of its user's rate, so that is not looked at here. */
bool limits_publish(struct shard *s, struct conn *c, bool refusable);
/* Was told that it is too fast: not read until then either. */
void limits_slow(struct shard *s, struct conn *c, int64_t ms);
void limits_read(struct shard *s, struct conn *c, size_t n); /* bytes have come */

/* Overload: what is refused from which level on. Acknowledgements, deliveries, and MQTT messages
 * (whose senders are not read at the last level) never are. */
enum shed { SHED_LIVE = 1, SHED_LISTS, SHED_WRITES, SHED_NEVER };
bool limits_shed(struct shard *s, enum shed what, struct answer *a); /* true: *a says so */
/* Who has not said who they are may hold so much memory together; beyond it those who hold most are
 * closed. Looked at with the timeouts. */
void limits_sweep(struct shard *s);
/* Is there room for an answer of so many bytes to one of them? false: *a says when. */
bool limits_stranger(struct shard *s, const struct conn *c, size_t bytes, struct answer *a);

#endif
