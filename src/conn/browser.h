/* conn: browser: what pages of other origins may do (CORS, Fetch standard 3.2), and the upgrade of
 * GET /mqtt to a WebSocket. Inside the room. SPDX-License-Identifier: Apache-2.0 */
#ifndef KITH_SHARD_BROWSER_H
#define KITH_SHARD_BROWSER_H

#include "conn/conn_in.h"

/* Adds the header lines that let the origin of the request under way read the answer. */
void cors_lines(const struct shard *s, const struct conn *c, char *out, size_t size);
/* May this request open a WebSocket? The answer is 101 with its header lines as body, or a problem. */
void upgrade_check(const struct shard *s, const struct http_request *q, struct answer *a);
/* Writes the 101: the connection speaks MQTT from here on. */
void upgrade_begin(struct shard *s, struct conn *c, const struct answer *a);

#endif
