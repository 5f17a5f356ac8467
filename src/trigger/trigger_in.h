/* trigger, inside: what its files give each other.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef KITH_TRIGGER_IN_H
#define KITH_TRIGGER_IN_H

#include "trigger/trigger.h"

/* ---- read.c ---- */
struct ask {
    struct content k;
    struct bytes users; /* packed */
    uint64_t user_count;
    bool own_id, of_key; /* given, or made of an Idempotency-Key */
    size_t actor;
    enum problem problem;
    struct bytes field, words; /* of the problem */
    size_t part;
};
bool ask_read(struct request *r, struct json item, struct ask *k, struct answer *a);
/* What stands against it, copied. */
void ask_refuse(struct ask *k, struct arena *arena, const struct answer *a);

/* ---- totals.c, why.c: a trigger as its owner sees it ---- */
enum err plan_cancel(struct request *r, struct plan *p, struct answer *a);
enum err plan_totals(struct request *r, struct plan *p, struct answer *a);
enum err plan_why(struct request *r, struct plan *p, struct answer *a);
void trigger_missing(const struct request *r, struct answer *a);
/* Where it was told to an audience of theirs, behind `after`. position 0: nowhere. */
struct audience_look {
    struct bytes trigger;
    uint64_t position;
    int64_t at_ms;
};
void audience_look_for(
    struct audience_look *l, struct cells *c, struct bytes app, struct bytes user, uint64_t after);

#endif
