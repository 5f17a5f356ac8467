/* conn: web: pages of the program, and what the demo's page may do without a key. Inside the room.
 *
 * The demo runs under --dev only, where all listeners are on loopback. Its page is given device
 * tokens of the app `demo`, the journeys of that app's items and what the demo's backend would
 * trigger (of workflows that drive/demo.c makes) by three calls, which stand for those
 * under /v1 with a key that the page never sees:
 *
 *   POST /demo/api/users/{id}/tokens?device=ID     POST /v1/users/{id}/tokens
 *   GET  /demo/api/items/{id}/journey              GET  /v1/items/{id}/journey
 *   POST /demo/api/notifications?what=W&to=ID&actor=ID   POST /v1/notifications, with one of a few bodies
 *
 * They are for a page of this very origin. A page of another one is told apart by Origin, which a
 * browser sends with every POST, or by Sec-Fetch-Site, and cannot read the answer besides; a name
 * that was bound anew to 127.0.0.1 is no Host that --dev serves.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef KITH_SHARD_WEB_H
#define KITH_SHARD_WEB_H

#include "conn/conn_in.h"

/* Is the path one of a page? Then j->page is set, or j->answer says why it is not given. */
bool page_take(struct shard *s, const struct conn *c, struct job *j, const struct http_request *q);
/* The header lines that go with it. */
void page_lines(const struct page *p, char *out, size_t size);

/* Is the path of the demo's own calls? Then j->route and who asks are set, or j->answer says why
 * not. */
bool demo_take(struct shard *s, const struct conn *c, struct job *j, const struct http_request *q);

#endif
