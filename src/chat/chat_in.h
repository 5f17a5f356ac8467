/* chat, inside: bodies of the relays between the two halves. Encodings are the pack_* calls in the
 * order written. Stored: never change, add kinds.
 *
 * conversation -> each member partition
 *   COPY_JOIN     varbytes conv, u8 type, varbytes user, u8 role, varbytes peer (direct: the other;
 *                 else empty), var joined_seq (last seq before joining),
 *                 u8 history_all, var member_count, varbytes name, varbytes metadata(raw JSON),
 *                   varbytes by (who added; empty: server),
 *                 [varbytes message: the newest, or nothing; when the partition had no member till
 *                   now]
 *   COPY_LEAVE    varbytes conv, varbytes user, var last_seq, var member_count
 *   COPY_META     varbytes conv, var member_count, varbytes name, varbytes metadata           (once
 *                 a partition)
 *   COPY_MESSAGE  varbytes conv, u8 type, var member_count, varbytes message, var n, n x varbytes
 *                 user   (direct: the members living there; shared: n = 0)
 *   COPY_UPDATE   varbytes conv, u8 type, u8 event (EVENT_UPDATED|EVENT_DELETED), varbytes message
 *                 (whole, new), var n, n x varbytes user
 *   COPY_RECEIPT  varbytes conv, u8 type, varbytes user, var delivered, var read, u8 push (1: tell
 *                 the others), var n, n x varbytes user (direct)
 *   COPY_ERASED   varbytes conv, varbytes user, var from seq, var to seq   (blank this sender's
 *                 messages in the copy; to itself, with what is left)
 * member -> conversation
 *   MARK          varbytes conv, varbytes user, var delivered, var read
 *   CONV_BLOCK    varbytes conv, varbytes by, u8 on         (mailbox sends it, and the next)
 *   MEMBER_ERASE  varbytes conv, varbytes user, [var from seq, var to seq: to itself, with what is
 *                 left]
 * users -> member (the same partition, so that neither reads the other's cells)
 *   USER_LEAVES   varbytes user                  erased: their places go
 *
 * Cells: member side: place.c ('H' 'h' 'o' 'd'), copy.c ('c' 'C' 'B'). Conversation side: 'A' app
 * conv head, 'a' app conv name and metadata, roster.c ('P' 'p' 'O' 'n' 'N' 'Q'), message.c ('K' app
 * conv seq / BLOCK_MESSAGES, 'R' app conv seq reactions, 'T' app conv seq replies), idindex.c ('I'
 * 'i' 'j').
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef KITH_CHAT_IN_H
#define KITH_CHAT_IN_H

#include "chat/chat.h"

enum { CONV_DIRECT = 1, CONV_GROUP, CONV_CHANNEL };
enum { ROLE_MEMBER = 1, ROLE_ADMIN, ROLE_OWNER };
#define GROUP_MEMBERS_MAX 1024
#define RECEIPT_PUSH_MEMBERS_MAX 100
/* messages that one record looks at: a step is short, however long the conversation is */
#define ERASE_STEP 512u

/* Of a block of messages, as both sides store them: those of others after a seq that are neither
 * gone nor of a sender in `blocks` (packed ids). */
struct unread_of {
    struct bytes user, blocks;
    uint64_t after;
    int64_t now_ms;
};
uint64_t block_unread(struct bytes block, const struct unread_of *w); /* place.c */

/* conversation side, conversation.c ...; member side, member.c ... : each exports its rules and
 * routes; chat.c joins them */
extern const struct record_rule chat_conversation_rules[], chat_member_rules[];
extern const size_t chat_conversation_rule_count, chat_member_rule_count;
extern const struct route chat_conversation_routes[], chat_member_routes[];
extern const size_t chat_conversation_route_count, chat_member_route_count;

#endif
