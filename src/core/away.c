/* core: members whom a message reached while they are away become a record of their partition, which
 * says so for good: chat decides in its apply who is told.
 *
 *   NOTIFY_AWAY body: varbytes conversation · var seq · varbytes users (packed ids)
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "chat/chat.h"
#include "core/core.h"
#include "notify/notify.h"

bool away_wanted(struct cells *c, struct bytes app, struct bytes conversation) {
    return notify_wants_messages(c, app) && chat_tells_away(c, app, conversation);
}

void away_append(
    void *arg, uint16_t partition, struct bytes app, const struct entry *e, struct bytes users) {
    struct shard *s = arg;
    struct buf b = {0};
    pack_bytes(&b, e->conversation);
    pack_var(&b, e->seq);
    pack_bytes(&b, users);
    /* of a message that was taken: the queue's bound does not hold it back. On a full disk it is
     * lost, as the notification that it would become */
    struct outside record = {.partition = partition,
        .kind = KIND_NOTIFY_AWAY,
        .app = app,
        .body = buf_view(&b),
        .time_ms = s->now_ms,
        .must = true};
    (void)engine_append(s->engine, &record);
    buf_done(&b);
}
