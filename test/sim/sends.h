/* sim: what leaves the server, as those know it whom it concerns: the ledger of the other side, what
 * people wish, which addresses they gave, which dead letters were asked for again.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef KITH_SIM_SENDS_H
#define KITH_SIM_SENDS_H

#include "beyond.h"
#include "notify/notify_in.h"
#include "outbox/outbox_in.h"
#include "outward/outward.h"
#include "sim.h"

enum { TOKENS_MAX = 1000, RETRIES_MAX = 300, PUSH_DEVICES = 2, SHUNNED = 3, NOT_KNOWN = 2 };

struct token { /* a push address: its number is its place */
    uint8_t app, user, device;
    bool acked;
    bool gone; /* the other side said so of it, and it was set before it was asked */
    int64_t set_ms;
    uint64_t gone_step; /* since when that is stored; 0: it is not */
    uint32_t gone_life;
};
/* What a person is told; what a webhook is told of what they did with it, or of a message. */
enum leaves { LEAVES_TOLD, LEAVES_EVENT, LEAVES_MESSAGE };
struct leaving { /* one send: its place is its number, in its partition */
    uint8_t what, app, user, channel;
    uint8_t to;       /* which device or webhook */
    uint32_t trigger; /* or the message */
    uint32_t token;
    bool there, retried; /* retried: of a dead letter, or of what was one */
    uint8_t asked;       /* how often the other side was */
    uint8_t last;        /* its last answer: a verdict + 1; 0: none */
    bool stored;         /* that answer is */
    bool accepted, refused, gone;
    uint32_t life; /* of the node that asked last */
};
struct flying { /* asked and not answered */
    unsigned lane;
    struct send_task *task;
    struct leaving *of;
    int64_t put_ms, at_ms;
    uint8_t verdict;
    bool failover;
};
struct letter_retry {
    uint64_t key;
    struct leaving of;
    uint8_t tries;
    bool acked;
};
struct wishes {             /* 0 off, 1 on, NOT_KNOWN */
    uint8_t no_push[16];    /* by flow */
    uint8_t shuns[SHUNNED]; /* by actor: those of "a1", "a2" */
    uint16_t ever_no_push;  /* a bit a flow */
    bool ever_shunned[SHUNNED];
    int64_t paused_ms; /* -1: not known */
    int from, to;      /* minutes; from < 0: not known */
    bool pending;
};
struct outside_world {
    struct token tokens[TOKENS_MAX];
    uint32_t token_count;
    struct leaving **sends[PARTITIONS]; /* by number */
    size_t send_count[PARTITIONS], send_cap[PARTITIONS];
    struct flying *flying;
    size_t flying_count, flying_cap;
    struct letter_retry retries[RETRIES_MAX];
    uint32_t retry_count, life;
    uint64_t jammed_until; /* step: nothing is taken */
    struct wishes wishes[APPS][USERS];
};

/* ---- other.c ---- */
/* Whose it is and of what. */
struct leaving leaving_of(struct sim *s, const struct sending *c);
bool leaving_same(const struct leaving *a, const struct leaving *b);

/* ---- sends.c ---- */
/* Something was tried, so that it need not leave. */
bool send_is_excused(struct sim *s, uint32_t trigger, unsigned user, uint8_t channel);
uint16_t home_of_person(unsigned app, unsigned user);

/* ---- triggers.c ---- */
int trigger_number(struct sim *s, struct bytes id); /* violated when there is none */
uint8_t trigger_channels(const struct trigger *t);  /* that leave the server */
bool trigger_is_high(const struct trigger *t);
bool trigger_expires(const struct trigger *t);
bool trigger_escalates(const struct trigger *t);
bool trigger_is_surely_for(struct sim *s, uint32_t n, unsigned user);
struct bytes trigger_flow(unsigned flow);      /* its name */
uint8_t trigger_flow_to_refuse(struct sim *s); /* that pushes */

#endif
