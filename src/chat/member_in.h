/* chat, member side, inside: this partition's copy of a conversation and a member's place in it. SPDX-License-Identifier: Apache-2.0 */
#ifndef KITH_MEMBER_IN_H
#define KITH_MEMBER_IN_H

#include "chat/chat_in.h"

struct copy { /* 'c' app conv; name and metadata in 'C' app conv */
    uint64_t last_seq, first_seq; /* first_seq: where this copy begins */
    int64_t last_ms;
    uint32_t member_count;
    uint8_t type, reserved[3];
};
struct place { /* 'H' app user conv, then varbytes peer */
    uint64_t joined_seq, left_seq, delivered, read;
    int64_t muted_until_ms;
    uint8_t in, role, archived, history_all, type, reserved[3];
};
bool copy_get(struct cells *c, struct bytes app, struct bytes conv, struct copy *out);
void copy_set(struct step *s, struct bytes conv, const struct copy *v);
bool copy_message(struct cells *c, struct bytes app, struct bytes conv, uint64_t seq, struct message *out);
bool place_get(struct cells *c, struct bytes app, struct bytes user, struct bytes conv, struct place *out, struct bytes *out_peer);
void place_set(struct step *s, struct bytes user, struct bytes conv, const struct place *p, struct bytes peer);
/* Others' visible messages after max(read, joined). */
uint64_t copy_unread(struct cells *c, struct bytes app, struct bytes user, struct bytes conv, const struct place *p, int64_t now_ms);
enum err plan_mailbox(const struct request *r, struct plan *p, struct answer *a);
enum err plan_conversations(const struct request *r, struct plan *p, struct answer *a);
enum err plan_prefs(const struct request *r, struct plan *p, struct answer *a);

#endif
