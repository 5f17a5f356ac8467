/* inbox: mailbox entries of type NOTIFICATION: what devices are told of an inbox. entry.c makes words of them
 * when they are delivered.
 *
 *   extra  u8 said, then: ROW varbytes the notification that it replaced;  SHARED varbytes trigger, var where
 *          it lies;  MARKS u8 mark, varbytes ids (packed), varbytes upto;  GONE varbytes notification, u8 why,
 *          repeated varbytes further ones
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "inbox/inbox_in.h"

void inbox_tell_row(struct step *s, struct bytes user, uint64_t place, enum entry_event event,
    struct bytes replaced) {
    struct buf said = {0};
    pack_u8(&said, SAID_ROW);
    pack_bytes(&said, replaced);
    struct entry e = {.type = ENTRY_NOTIFICATION,
        .event = (uint8_t)event,
        .seq = place + 1,
        .extra = buf_view(&said)};
    mailbox_append(s, user, &e);
    buf_done(&said);
}

void inbox_tell_marks(
    struct step *s, struct bytes user, enum mark mark, struct bytes ids, struct bytes upto) {
    struct buf said = {0};
    pack_u8(&said, SAID_MARKS);
    pack_u8(&said, (uint8_t)mark);
    pack_bytes(&said, ids);
    pack_bytes(&said, upto);
    struct entry e = {.type = ENTRY_NOTIFICATION, .event = EVENT_UPDATED, .extra = buf_view(&said)};
    mailbox_append(s, user, &e);
    buf_done(&said);
}

static struct entry gone_entry(struct buf *said, struct bytes id, struct bytes more, enum why why) {
    pack_u8(said, SAID_GONE);
    pack_bytes(said, id);
    pack_u8(said, (uint8_t)why);
    buf_bytes(said, more);
    return (struct entry){
        .type = ENTRY_NOTIFICATION, .event = EVENT_DELETED, .extra = buf_view(said)};
}

void inbox_tell_gone(
    struct step *s, struct bytes user, struct bytes id, struct bytes more, enum why why) {
    struct buf said = {0};
    struct entry e = gone_entry(&said, id, more, why);
    mailbox_append(s, user, &e);
    buf_done(&said);
}

void audience_tell_gone(struct step *s, struct bytes audience, struct bytes id, enum why why) {
    struct buf said = {0};
    struct entry e = gone_entry(&said, id, (struct bytes){0}, why);
    mailbox_append_shared(s, audience, &e);
    buf_done(&said);
}

void audience_tell(struct step *s, const struct content *k) {
    uint64_t count = mailbox_member_count(s->cells, s->app, k->audience);
    if (!count || !content_keep(s, k, (struct bytes){0}, KEEP_SHARED)) return;
    content_count(s, k->id, TOTAL_RECIPIENTS, (int64_t)count);
    step_tally(s, CONTENT_TALLY_merged, count);
    struct buf said = {0};
    pack_u8(&said, SAID_SHARED);
    pack_bytes(&said, k->id);
    pack_var(&said, content_lies(s, k->id));
    struct entry e = {.type = ENTRY_NOTIFICATION, .event = EVENT_CREATED, .extra = buf_view(&said)};
    mailbox_append_shared(s, k->audience, &e);
    buf_done(&said);
}

bool said_shared(const struct entry *e, struct bytes *out_trigger) {
    struct unpack u = unpack_of(e->extra);
    if (e->type != ENTRY_NOTIFICATION || unpack_u8(&u) != SAID_SHARED) return false;
    *out_trigger = unpack_bytes(&u);
    return true;
}
