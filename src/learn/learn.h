/* learn: will this person open this notification? A small model for each person, learned from what
 * they opened, and a threshold for each person that keeps what leaves at once at a volume wanted.
 *
 *   predict ──chance──▶ wants: now, or in the digest ──▶ shown ──▶ opened or not ──▶ update
 *
 * Logistic regression over the workflow, who acted, the hour, the channel, and how long ago they
 * opened one and were sent one, each hashed to one of 64 weights; beside them a bias and what all
 * people of the partition do with that workflow (a learn_rate). Each weight learns the slower the
 * more it has learned (after Duchi, Hazan, Singer: AdaGrad, by counts). The threshold is an integral
 * controller: what leaves above the target raises it, time lowers it. Workflows with the same target share
 * one, those with another have another: a few of them stand behind the person's state. A share of decisions is taken
 * by a coin, with its propensity told, so that what is never sent is learned about too.
 *
 * Invariants: pure and exact: integers only, time is given; same inputs, same bytes. Any bytes may
 * be given as a state; what is none is that of someone new, as the empty one is. Nothing overflows
 * whatever is given. `out` may be where `state` lies.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef KITH_LEARN_H
#define KITH_LEARN_H

#include "base/base.h"

enum {
    LEARN_STATE_BYTES = 224, /* of a person's state */
    LEARN_TARGET_BYTES = 24, /* of each target behind it but the one that was asked for last */
    LEARN_TARGETS = 4,
    LEARN_STATE_MAX = LEARN_STATE_BYTES + (LEARN_TARGETS - 1) * LEARN_TARGET_BYTES,
    LEARN_RATE_BYTES = 8, /* of a workflow's rate in a partition */
    LEARN_KEY_BYTES = 10, /* of what a prediction looked at */
    LEARN_ONE = 1 << 16,  /* chances, shares, propensities and log-odds are in Q16 */
    LEARN_EXPLORE = LEARN_ONE / 50
};

/* What is known before it is sent. */
struct learn_features {
    struct bytes workflow, actor; /* ids; actor may be empty */
    unsigned hour;                /* 0 to 23, on the person's clock */
    unsigned channel;             /* the caller's number of it, 0 to 255 */
    int64_t now_ms;
    struct bytes rate; /* of the workflow in this partition (learn_rate_add); may be empty */
};

enum learn_term {
    LEARN_BIAS,
    LEARN_WORKFLOW,
    LEARN_ACTOR,
    LEARN_HOUR,
    LEARN_CHANNEL,
    LEARN_OPENED /* how long ago they last opened one */,
    LEARN_SENT /* how long ago they were last sent one */,
    LEARN_PRIOR /* what others do with the workflow */,
    LEARN_TERMS
};
const char *learn_term_name(enum learn_term t); /* "workflow", "last opened" */

struct learn_prediction {
    int32_t chance;   /* Q16, 1 to LEARN_ONE - 1 */
    int32_t log_odds; /* Q16: the sum of all terms */
    /* what weighed most, heaviest first: its part of the log-odds, Q16. slot: which of the person's
     * weights it is; of the bias and the prior: 0 */
    struct {
        enum learn_term term;
        uint8_t slot;
        int32_t weight;
    } terms[4];
    /* what it looked at, to be kept with the notification for learn_update */
    uint8_t key[LEARN_KEY_BYTES];
};
void learn_predict(
    struct bytes state, const struct learn_features *f, struct learn_prediction *out);

/* What came of it: opened, or not within the time that the caller gives it. `key` is the prediction's;
 * anything else of that size is harmless. `propensity`: of the choice that was taken (struct
 * learn_choice); LEARN_ONE where none was. Writes LEARN_STATE_BYTES. */
void learn_update(struct bytes state, struct bytes key, bool opened, int32_t propensity,
    int64_t now_ms, uint8_t out[LEARN_STATE_BYTES]);

/* May it leave at once, or does it wait for the digest? */
struct learn_target {
    uint32_t per_day_milli;     /* what should leave at once in a day, in thousandths: 5000 is 5 */
    int32_t explore;            /* share of decisions by a coin, Q16; LEARN_EXPLORE */
    struct bytes trigger, user; /* which coin */
};
struct learn_choice {
    bool now, explored;
    int32_t propensity; /* of this choice, Q16, above 0 */
    int32_t threshold;  /* the chance that it was held against, Q16 */
};
/* The state with the threshold of this target in its place, before learn_wants; of more targets than fit the
 * one that was asked for longest ago gives way. A state of before there were several has the first that
 * asks. Returns how many bytes it is; what learn_wants and learn_update write are the first of them. */
size_t learn_turn(struct bytes state, const struct learn_target *t, uint8_t out[LEARN_STATE_MAX]);
/* Writes LEARN_STATE_BYTES: the threshold has moved. Call once for each notification that asks; those
 * that leave whatever is said here (high priority) do not ask. */
void learn_wants(struct bytes state, const struct learn_prediction *p, const struct learn_target *t,
    int64_t now_ms, struct learn_choice *choice, uint8_t out[LEARN_STATE_BYTES]);

/* How often a workflow is opened, by everyone in a partition. Older ones count less. */
void learn_rate_add(struct bytes rate, bool opened, uint8_t out[LEARN_RATE_BYTES]);

#endif
