/* users: users, whom they follow, block and mute, their devices and prekeys. Applied in the user's
 * partition.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef KITH_USERS_H
#define KITH_USERS_H

#include "mailbox/mailbox.h"

extern const struct surface users_surface;

/* Facts about who asks, from their own partition: known, revoked (device deleted after the token
 * was issued, or user erased), blocks. Views until the next edit. */
void users_viewer(struct cells *c, const struct principal *who, struct viewer *out);
/* Was its access ended? For a connection that begins: leaves nothing in memory. */
bool users_revoked(struct cells *c, const struct principal *who);

/* Members of the object that GET /v1/users/{id}/export answers: all that this room holds of the
 * user. false: there is no such user; the answer says so. */
bool users_export(struct query *q, struct json_out *o);

#endif
