/* mailbox: hints about what will be asked for soon, so that the cells of several people come near the
 * processor at once (table.h, cells_ahead). Nothing is read from the store and nothing changes.
 * SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "mailbox/mailbox_in.h"

void mailbox_ahead(struct cells *c, struct bytes app, struct bytes user) {
    uint8_t room[300];
    cells_ahead(c, key2(room, 'm', app, user));
}

void mailbox_own_ahead(struct cells *c, struct bytes app, struct bytes user) {
    uint8_t room[300];
    struct list_head h;
    const struct cell *cell = cells_near(c, key2(room, 'm', app, user));
    if (!cell || cell->size != sizeof h) return;
    memcpy(&h, cell->data, sizeof h);
    cells_ahead(c, key2n(room, 'M', app, user, h.count / LIST_BLOCK));
}

void mailbox_audience_ahead(struct cells *c, struct bytes app, struct bytes audience) {
    uint8_t room[300];
    cells_ahead(c, key2(room, 'X', app, (struct bytes){0}));
    cells_ahead(c, key2(room, 's', app, EVERYONE));
    cells_ahead(c, key2(room, 's', app, audience));
    cells_ahead(c, key2(room, PACKED_MEMBERS.head, app, audience));
    cells_ahead(c, key2n(room, PACKED_MEMBERS.chunk, app, audience, 0));
}

void mailbox_member_ahead(struct cells *c, struct bytes app, struct bytes user) {
    uint8_t room[300];
    mailbox_ahead(c, app, user);
    cells_ahead(c, key2n(room, PACKED_TOPICS.chunk, app, user, 0));
}

void mailbox_members_near(struct cells *c, struct bytes app, struct bytes audience, size_t most,
    void (*fn)(void *arg, struct bytes user), void *arg) {
    uint8_t room[300];
    const struct cell *chunk = cells_near(c, key2n(room, PACKED_MEMBERS.chunk, app, audience, 0));
    struct unpack u = unpack_of(chunk ? bytes_of(chunk->data, chunk->size) : (struct bytes){0});
    for (size_t n = 0; n < most && unpack_more(&u); n++) {
        struct bytes user = unpack_bytes(&u);
        if (user.n && *user.p) fn(arg, user); /* else a hole */
    }
}
