/* learn: predictions, what is learned of their outcome, and the threshold. All numbers are integers:
 * log-odds and chances in Q16, weights in Q12.
 * Keeps: a state that is stored has its version first; each of its fields may hold anything.
 * SPDX-License-Identifier: Apache-2.0 */
#include "learn/learn.h"

#include <string.h>

enum { ASKED_BEFORE = 1, ASKED_FOR = 2 };
enum { VERSION = 1, WEIGHTS = 64, TERMS_HASHED = 6, WEIGHT_SHIFT = 4 /* Q12 to Q16 */ };
#define MINUTE_MS 60000ll
#define DAY_MS 86400000ll

/* ---- tables ---- */
/* 1 / (1 + e^-x) in Q16, x from 0 to 8 by sixteenths. */
static const int32_t SIGMOID[] = {32768, 33792, 34813, 35831, 36843, 37847, 38841, 39824, 40793,
    41748, 42687, 43608, 44511, 45393, 46254, 47094, 47911, 48704, 49474, 50220, 50941, 51638,
    52310, 52957, 53581, 54179, 54754, 55306, 55834, 56339, 56822, 57284, 57724, 58144, 58544,
    58925, 59287, 59632, 59959, 60270, 60565, 60844, 61109, 61360, 61598, 61823, 62036, 62238,
    62428, 62608, 62778, 62938, 63090, 63233, 63368, 63495, 63615, 63728, 63835, 63935, 64030,
    64119, 64203, 64283, 64357, 64427, 64494, 64556, 64614, 64669, 64721, 64770, 64816, 64859,
    64900, 64938, 64974, 65008, 65039, 65069, 65097, 65124, 65149, 65172, 65194, 65215, 65234,
    65252, 65269, 65285, 65300, 65315, 65328, 65341, 65352, 65364, 65374, 65384, 65393, 65402,
    65410, 65417, 65425, 65431, 65438, 65444, 65449, 65454, 65459, 65464, 65468, 65472, 65476,
    65480, 65483, 65486, 65489, 65492, 65495, 65497, 65500, 65502, 65504, 65506, 65508, 65509,
    65511, 65513, 65514};

/* How much is learned the n-th time, Q16: 0.4 / sqrt(n + 1). From the hundredth time on no less: people
 * change. */
static const uint16_t RATE[] = {26214, 18536, 15135, 13107, 11723, 10702, 9908, 9268, 8738, 8290,
    7904, 7567, 7271, 7006, 6769, 6554, 6358, 6179, 6014, 5862, 5720, 5589, 5466, 5351, 5243, 5141,
    5045, 4954, 4868, 4786, 4708, 4634, 4563, 4496, 4431, 4369, 4310, 4253, 4198, 4145, 4094, 4045,
    3998, 3952, 3908, 3865, 3824, 3784, 3745, 3707, 3671, 3635, 3601, 3567, 3535, 3503, 3472, 3442,
    3413, 3384, 3356, 3329, 3303, 3277, 3251, 3227, 3203, 3179, 3156, 3133, 3111, 3089, 3068, 3047,
    3027, 3007, 2987, 2968, 2949, 2931, 2913, 2895, 2877, 2860, 2843, 2827, 2810, 2794, 2779, 2763,
    2748, 2733, 2718, 2704, 2690, 2675, 2662, 2648, 2635, 2621};

/* ---- a person's state: stored as it is, little-endian ---- */
struct person {
    uint8_t version, bias_count;
    int16_t bias;      /* Q12 */
    int32_t threshold; /* log-odds, Q16 */
    int32_t mean;      /* of the log-odds that asked lately, Q16 */
    /* 0: never; 1: by a target of before there were several; else its thousandths a day, + ASKED_FOR */
    uint32_t asked;
    int64_t asked_ms;
    uint32_t opened_minute, sent_minute; /* since 1970; 0: never */
    int16_t weights[WEIGHTS];
    uint8_t counts[WEIGHTS];
};
_Static_assert(sizeof(struct person) == LEARN_STATE_BYTES, "it is stored as it is");

static struct person person_of(struct bytes state) {
    struct person p;
    if (state.n >= sizeof p && state.p[0] == VERSION) memcpy(&p, state.p, sizeof p);
    else p = (struct person){.version = VERSION};
    return p;
}

/* Each term has weights of its own, so that a collision is one of two workflows, or of two actors. */
static const struct {
    uint8_t from, count;
} PLACES[LEARN_TERMS] = {[LEARN_WORKFLOW] = {0, 16},
    [LEARN_ACTOR] = {16, 18},
    [LEARN_HOUR] = {34, 12},
    [LEARN_CHANNEL] = {46, 4},
    [LEARN_OPENED] = {50, 7},
    [LEARN_SENT] = {57, 7}};

const char *learn_term_name(enum learn_term t) {
    static const char *const NAMES[] = {
        "habit", "workflow", "actor", "hour", "channel", "last opened", "last sent", "others"};
    return t < LEARN_TERMS ? NAMES[t] : "";
}

/* ---- arithmetic ---- */
static int64_t within(int64_t v, int64_t least, int64_t most) {
    return v < least ? least : v > most ? most : v;
}
/* v / 2^bits to the nearest; halves away from zero. */
static int64_t scaled(int64_t v, unsigned bits) {
    int64_t half = INT64_C(1) << (bits - 1);
    return v < 0 ? -((-v + half) >> bits) : (v + half) >> bits;
}

static int32_t sigmoid(int32_t x) {
    enum { STEP = LEARN_ONE / 16, LAST = sizeof SIGMOID / sizeof *SIGMOID - 1 };
    int32_t away = x < 0 ? -x : x, i = away / STEP, up;
    if (i >= LAST) up = SIGMOID[LAST];
    else up = SIGMOID[i] + (SIGMOID[i + 1] - SIGMOID[i]) * (away % STEP) / STEP;
    return x < 0 ? LEARN_ONE - up : up;
}

/* The natural logarithm in Q16 of 1 or more, by squaring: each square gives a binary digit. */
static int32_t ln(uint32_t x) {
    enum { LN_2 = 45426 };
    int top = 31 - __builtin_clz(x);
    uint64_t m = (uint64_t)x << (31 - top); /* Q31, 1 to 2 */
    int64_t log2 = (int64_t)top << 16;
    for (int64_t digit = 1 << 15; digit; digit >>= 1) {
        m = m * m >> 31;
        if (m >> 32) {
            log2 += digit;
            m >>= 1;
        }
    }
    return (int32_t)scaled(log2 * LN_2, 16);
}

/* ---- what all do ---- */
struct rate {
    uint32_t opened, sent;
};
enum { RATE_FULL = 4096 /* both are halved there */ };

static struct rate rate_of(struct bytes stored) {
    struct rate r = {0};
    if (stored.n == sizeof r) memcpy(&r, stored.p, sizeof r);
    if (r.sent > RATE_FULL) r.sent = RATE_FULL;
    if (r.opened > r.sent) r.opened = r.sent;
    return r;
}

void learn_rate_add(struct bytes rate, bool opened, uint8_t out[LEARN_RATE_BYTES]) {
    struct rate r = rate_of(rate);
    _Static_assert(sizeof r == LEARN_RATE_BYTES, "it is stored as it is");
    r.sent++;
    r.opened += opened;
    if (r.sent >= RATE_FULL) r = (struct rate){r.opened / 2, r.sent / 2};
    memcpy(out, &r, sizeof r);
}

/* Log-odds; one opened of ten is what is thought of a workflow at first. */
static int32_t prior_of(struct bytes rate) {
    struct rate r = rate_of(rate);
    return ln(r.opened + 1) - ln(r.sent - r.opened + 9);
}

/* ---- what a prediction looks at ---- */
struct key {
    uint8_t slots[TERMS_HASHED]; /* terms LEARN_WORKFLOW to LEARN_SENT */
    int32_t prior;
};

static uint8_t slot_of(enum learn_term t, uint64_t value) {
    return (uint8_t)(PLACES[t].from + value % PLACES[t].count);
}

/* 0 never; then under ten minutes, an hour, six, a day, a week; and more. */
static unsigned ago(uint32_t minute, int64_t now_ms) {
    static const int64_t UNDER[] = {10, 60, 360, 1440, 7 * 1440};
    unsigned i = 0;
    if (!minute) return 0;
    int64_t minutes = now_ms / MINUTE_MS - minute;
    while (i < sizeof UNDER / sizeof *UNDER && minutes >= UNDER[i]) i++;
    return i + 1;
}

static struct key key_of(const struct person *p, const struct learn_features *f) {
    struct key k;
    k.slots[LEARN_WORKFLOW - 1] = slot_of(LEARN_WORKFLOW, hash64(f->workflow));
    k.slots[LEARN_ACTOR - 1] = slot_of(LEARN_ACTOR, hash64(f->actor));
    k.slots[LEARN_HOUR - 1] = slot_of(LEARN_HOUR, f->hour / 2);
    k.slots[LEARN_CHANNEL - 1] = slot_of(LEARN_CHANNEL, f->channel);
    k.slots[LEARN_OPENED - 1] = slot_of(LEARN_OPENED, ago(p->opened_minute, f->now_ms));
    k.slots[LEARN_SENT - 1] = slot_of(LEARN_SENT, ago(p->sent_minute, f->now_ms));
    k.prior = prior_of(f->rate);
    return k;
}

static void key_pack(const struct key *k, uint8_t out[LEARN_KEY_BYTES]) {
    _Static_assert(sizeof k->slots + sizeof k->prior == LEARN_KEY_BYTES, "slots, then the prior");
    memcpy(out, k->slots, sizeof k->slots);
    memcpy(out + sizeof k->slots, &k->prior, sizeof k->prior);
}
static struct key key_read(struct bytes v) {
    struct key k = {0};
    if (v.n != LEARN_KEY_BYTES) return k;
    memcpy(k.slots, v.p, sizeof k.slots);
    memcpy(&k.prior, v.p + sizeof k.slots, sizeof k.prior);
    for (int i = 0; i < TERMS_HASHED; i++) k.slots[i] %= WEIGHTS;
    k.prior = (int32_t)within(k.prior, -16 * LEARN_ONE, 16 * LEARN_ONE);
    return k;
}

/* ---- predicting ---- */
static int32_t log_odds(const struct person *p, const struct key *k) {
    int32_t sum = p->bias;
    for (int i = 0; i < TERMS_HASHED; i++) sum += p->weights[k->slots[i]];
    return sum * (1 << WEIGHT_SHIFT) + k->prior;
}

static int32_t size_of(int32_t v) { return v < 0 ? -v : v; }

/* The heaviest ones in order; of equal ones the first. */
static void terms_pick(const struct person *p, const struct key *k, struct learn_prediction *out) {
    enum { PICKED = sizeof out->terms / sizeof *out->terms };
    size_t n = 0;
    for (int t = 0; t < LEARN_TERMS; t++) {
        bool hashed = t != LEARN_BIAS && t != LEARN_PRIOR;
        uint8_t slot = hashed ? k->slots[t - 1] : 0;
        int32_t w = t == LEARN_PRIOR ? k->prior
                                     : (hashed ? p->weights[slot] : p->bias) * (1 << WEIGHT_SHIFT);
        size_t at = n;
        while (at && size_of(out->terms[at - 1].weight) < size_of(w)) at--;
        if (at == PICKED) continue;
        if (n < PICKED) n++;
        memmove(out->terms + at + 1, out->terms + at, (n - 1 - at) * sizeof *out->terms);
        out->terms[at].term = (enum learn_term)t;
        out->terms[at].slot = slot;
        out->terms[at].weight = w;
    }
}

void learn_predict(
    struct bytes state, const struct learn_features *f, struct learn_prediction *out) {
    struct person p = person_of(state);
    struct key k = key_of(&p, f);
    out->log_odds = log_odds(&p, &k);
    out->chance = sigmoid(out->log_odds);
    terms_pick(&p, &k, out);
    key_pack(&k, out->key);
}

/* ---- learning ---- */
/* error: Q16, what was too little. */
static void weight_move(int16_t *weight, uint8_t *count, int64_t error) {
    enum { LAST = sizeof RATE / sizeof *RATE - 1 };
    uint8_t n = *count < LAST ? *count : LAST;
    int64_t moved = *weight + scaled(error * RATE[n], 16 + WEIGHT_SHIFT);
    *weight = (int16_t)within(moved, INT16_MIN, INT16_MAX);
    *count = n < LAST ? n + 1 : LAST;
}

static uint32_t minute_of(int64_t ms) { return (uint32_t)within(ms / MINUTE_MS, 1, UINT32_MAX); }

void learn_update(struct bytes state, struct bytes key, bool opened, int32_t propensity,
    int64_t now_ms, uint8_t out[LEARN_STATE_BYTES]) {
    enum { HEAVIEST = 4 /* one that was rarely chosen counts so often at most */ };
    struct person p = person_of(state);
    struct key k = key_read(key);
    int64_t weight =
        (int64_t)LEARN_ONE * LEARN_ONE / within(propensity, LEARN_ONE / HEAVIEST, LEARN_ONE);
    int64_t error = (opened ? LEARN_ONE : 0) - sigmoid(log_odds(&p, &k));
    error = scaled(error * weight, 16);
    weight_move(&p.bias, &p.bias_count, error);
    for (int i = 0; i < TERMS_HASHED; i++)
        weight_move(&p.weights[k.slots[i]], &p.counts[k.slots[i]], error);
    if (opened) p.opened_minute = minute_of(now_ms);
    memcpy(out, &p, sizeof p);
}

/* ---- at once, or in the digest ---- */
/* A day's worth of the target moves it by three quarters of a unit of log-odds. */
static int64_t gain_of(uint32_t per_day_milli) {
    enum { DAY_MOVES = LEARN_ONE * 3 / 4 };
    return (int64_t)DAY_MOVES * 1000 / (per_day_milli > 1000 ? per_day_milli : 1000);
}

/* Near to what asks, so that a quiet month is not paid for by a flood, nor a flood by silence. */
static void threshold_hold(struct person *p) {
    enum { BELOW = 5 * LEARN_ONE / 2, ABOVE = 4 * LEARN_ONE };
    p->threshold =
        (int32_t)within(p->threshold, (int64_t)p->mean - BELOW, (int64_t)p->mean + ABOVE);
}

/* Time lowers the threshold by what may leave in it. */
static void threshold_fall(struct person *p, int32_t asks, uint32_t per_day_milli, int64_t now_ms) {
    enum { MEAN_OF = 16 };
    int64_t gain = gain_of(per_day_milli), a_day = gain * per_day_milli / 1000;
    if (!p->asked) { /* so low that the first day's worth of such as this leaves */
        p->mean = asks;
        p->threshold = (int32_t)within(
            a_day > gain / 2 ? asks - (a_day - gain / 2) : asks, INT32_MIN, INT32_MAX);
        p->asked_ms = now_ms;
    }
    int64_t last = within(p->asked_ms, -INT64_MAX / 4, INT64_MAX / 4);
    int64_t now = within(now_ms, -INT64_MAX / 4, INT64_MAX / 4),
            passed = within(now - last, 0, DAY_MS);
    int64_t fall = a_day * passed / DAY_MS, mean = p->mean + ((int64_t)asks - p->mean) / MEAN_OF;
    p->mean = (int32_t)within(mean, -100 * LEARN_ONE, 100 * LEARN_ONE);
    p->threshold = (int32_t)within(p->threshold - fall, INT32_MIN, INT32_MAX);
    /* what was too short to count is counted the next time */
    p->asked_ms = passed && passed < DAY_MS && a_day ? last + fall * DAY_MS / a_day : now;
    threshold_hold(p);
}

/* ---- targets ---- */
struct controller { /* stored as it is; as in struct person */
    uint32_t asked;
    int32_t threshold, mean;
    uint32_t none; /* 0 */
    int64_t asked_ms;
};
_Static_assert(sizeof(struct controller) == LEARN_TARGET_BYTES, "it is stored as it is");

static struct controller controller_of(const struct person *p) {
    return (struct controller){p->asked, p->threshold, p->mean, 0, p->asked_ms};
}
static uint32_t target_of(const struct learn_target *t) {
    return (uint32_t)within(t->per_day_milli, 0, 1000 * 1000);
}

size_t learn_turn(struct bytes state, const struct learn_target *t, uint8_t out[LEARN_STATE_MAX]) {
    struct person p = person_of(state);
    struct controller c[LEARN_TARGETS] = {controller_of(&p)}, mine = {.asked_ms = 0};
    uint32_t wanted = target_of(t) + ASKED_FOR;
    size_t n = 1, at = 0;
    for (size_t from = sizeof p; n < LEARN_TARGETS && from + sizeof *c <= state.n;
         from += sizeof *c)
        memcpy(&c[n++], state.p + from, sizeof *c);
    while (at < n && c[at].asked != wanted && c[at].asked > ASKED_BEFORE) at++;
    if (at < n) {
        mine = c[at];
    } else if (n < LEARN_TARGETS) {
        n++;
    } else {
        for (size_t k = at = 0; k < n; k++)
            if (c[k].asked_ms < c[at].asked_ms) at = k;
    }
    memmove(c + 1, c, at * sizeof *c);
    c[0] = mine;
    p.asked = mine.asked;
    p.threshold = mine.threshold;
    p.mean = mine.mean;
    p.asked_ms = mine.asked_ms;
    memcpy(out, &p, sizeof p);
    memcpy(out + sizeof p, c + 1, (n - 1) * sizeof *c);
    return sizeof p + (n - 1) * sizeof *c;
}

void learn_wants(struct bytes state, const struct learn_prediction *prediction,
    const struct learn_target *t, int64_t now_ms, struct learn_choice *choice,
    uint8_t out[LEARN_STATE_BYTES]) {
    struct person p = person_of(state);
    uint32_t per_day = target_of(t);
    threshold_fall(&p, prediction->log_odds, per_day, now_ms);
    p.asked = per_day + ASKED_FOR;
    uint64_t coin =
        (hash64(t->trigger) * 0x9e3779b97f4a7c15u ^ hash64(t->user)) * 0xd6e8feb86659fd93u;
    int32_t explore = per_day ? (int32_t)within(t->explore, 0, LEARN_ONE) : 0;
    bool wanted = per_day && prediction->log_odds >= p.threshold;
    choice->explored = (int32_t)(coin >> 48) < explore;
    choice->now = choice->explored ? coin >> 47 & 1 : wanted;
    int32_t against = explore / 2 ? explore / 2 : 1;
    choice->propensity = choice->now == wanted ? LEARN_ONE - explore / 2 : against;
    choice->threshold = sigmoid(p.threshold);
    if (choice->now) {
        p.threshold += (int32_t)gain_of(per_day);
        p.sent_minute = minute_of(now_ms);
        threshold_hold(&p);
    }
    memcpy(out, &p, sizeof p);
}
