/* outbox, inside: a send as it is stored.
 *
 *   '<' "" ""        u64 n of the newest send of this partition
 *   '<' "" "" n      sending_encode
 *   '<' app user     u64 n of each of the user's, packed
 *   '<' app ""       of messages, repeated { varbytes webhook, u32 how many of them wait for it }
 *   A send that tells a webhook of a message is in the conversation's partition and nobody's list: its user
 *   is empty, its notification the conversation, its trigger the message.
 *   '=' "" ""        u64 key of the newest dead letter: (milliseconds << 9) + partition, strictly rising
 *   '=' app ""       u64 keys of the app's dead letters, oldest first
 *   '=' app "" key   a dead letter: sending_encode, then i64 failed, varbytes provider, varbytes reason
 *
 *   NOTIFY_SENT  u64 n, u8 verdict, u8 provider, u8 next provider, u8 whether at once, u64 retry after ms,
 *                u64 gone since ms, u64 took ms, varbytes provider, reason, id; of a push whose address is no more
 *                varbytes user, device (none in records of before: then a send that was withdrawn drops none)
 *   NOTIFY_SEND_DUE  u64 n, u32 turn
 *   NOTIFY_RETRY  u64 key
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef KITH_OUTBOX_IN_H
#define KITH_OUTBOX_IN_H

#include "outbox/outbox.h"

enum { COUNTED_SENT = 1, COUNTED_FAILED = 2 };
struct cell *sending_cell(struct cells *c, uint64_t n);
void sending_encode(struct buf *b, const struct sending *x);
bool sending_decode(struct unpack *u, struct sending *out);
/* A new one, to be sent at once. x is copied. */
void sending_begin(struct step *s, const struct sending *x);

/* For kith check: is each send of a user's list there; is a send, by its cell's key, in its user's? */
bool sends_list_whole(struct cells *c, struct bytes list);
bool sends_listed(struct cells *c, const struct sending *x, struct bytes key);
/* Of a '<' app "" cell, the next; false: there is none, or *u is bad. */
bool sends_waiting_next(struct unpack *u, struct bytes *out_webhook, uint32_t *out_count);

/* ---- letters.c ---- */
void letter_add(
    struct step *s, const struct sending *x, struct bytes provider, struct bytes reason);
/* For kith check: is each letter of an app's list there, the newest last? */
bool letters_list_whole(struct cells *c, struct bytes app, struct bytes list);
void letters_erase(struct step *s, struct bytes user);

#endif
