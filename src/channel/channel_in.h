/* channel, inside: rules as records and routes. SPDX-License-Identifier: Apache-2.0 */
#ifndef KITH_CHANNEL_IN_H
#define KITH_CHANNEL_IN_H

#include "channel/channel.h"

/* Who may: nobody, everyone who has a token of the app, or these users. */
enum rule_who { WHO_NOBODY, WHO_ALL, WHO_LISTED };
struct rule {
    struct bytes id, topic; /* topic: a filter; {user} and {device} stand for who asks */
    uint8_t who[2];         /* by enum channel_act */
    struct bytes users[2];  /* packed varbytes */
};
void rule_pack(struct buf *b, const struct rule *r);
bool rule_unpack(struct unpack *u, struct rule *out);
/* "publish" or "subscribe": true, false, or a list of user ids. false: the answer has the problem. */
bool rule_who_read(struct json v, const char *field, struct rule *r, enum channel_act act,
    struct buf *users, struct answer *a);
bool rule_topic_valid(struct bytes topic);

/* ---- the list, for check.c ---- */
enum { CHANNEL_HEAD_BYTES = 24 };
/* Each of its blocks is there and can be read. */
bool channel_list_is_whole(struct cells *c, struct bytes app);
bool channel_walk_all(struct cells *c, struct bytes app, channel_fn *fn, void *arg);

void apply_rule_put(struct step *s);
void apply_rule_delete(struct step *s);
enum err plan_rule_put(struct request *r, struct plan *p, struct answer *a);
enum err plan_rule_get(struct request *r, struct plan *p, struct answer *a);
enum err plan_rule_delete(struct request *r, struct plan *p, struct answer *a);
enum err plan_rule_list(struct request *r, struct plan *p, struct answer *a);

#endif
