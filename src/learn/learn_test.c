/* learn, tested: a population whose chances are known is learned better than by a constant and by each
 * workflow's rate; the threshold brings each person to their volume, and what is sent is opened more
 * often; shares and propensities of the coin are right; and nothing that is given does harm.
 * SPDX-License-Identifier: Apache-2.0 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "learn/learn.h"

#define NOW 1795200000000
#define HOUR 3600000ll
#define DAY (24 * HOUR)
#define GOLDEN 0x851862b1e3c4fb61u
enum { PEOPLE = 40, WORKFLOWS = 8, ACTORS = 24, A_DAY = 25 };

/* ---- people whose chances are known ---- */
struct human {
    double likes[WORKFLOWS], knows[ACTORS], awake[24], bias;
    int64_t opened_ms, sent_ms;
    uint8_t state[LEARN_STATE_BYTES];
};
struct population {
    struct human humans[PEOPLE];
    double common[WORKFLOWS];
    uint8_t rates[WORKFLOWS][LEARN_RATE_BYTES];
    struct rng rng;
};
/* One that may be sent. */
struct offer {
    unsigned human, workflow, actor;
    int64_t now_ms;
    char names[2][16];
    struct learn_features f;
    double chance;
};

static double unit(struct rng *r) { return (double)(rng_next(r) >> 11) / 9007199254740992.0; }
static double normal(struct rng *r) { /* Irwin and Hall */
    double s = -6;
    for (int i = 0; i < 12; i++) s += unit(r);
    return s;
}
static double chance_of(double log_odds) { return 1 / (1 + exp(-log_odds)); }

static struct population *population_make(uint64_t seed) {
    struct population *p = must_alloc(sizeof *p);
    p->rng.s = seed;
    for (int w = 0; w < WORKFLOWS; w++) p->common[w] = normal(&p->rng) * 0.6;
    for (int h = 0; h < PEOPLE; h++) {
        struct human *m = &p->humans[h];
        m->bias = -1.9 + normal(&p->rng) * 0.8;
        for (int w = 0; w < WORKFLOWS; w++) m->likes[w] = normal(&p->rng) * 0.9;
        for (int a = 0; a < ACTORS; a++) m->knows[a] = normal(&p->rng) * 0.8;
        double best = 8 + 14 * unit(&p->rng);
        for (int i = 0; i < 24; i++) m->awake[i] = 0.8 - fabs(i - best) * 0.15;
    }
    return p;
}

static struct offer offer_make(struct population *p, unsigned human, int64_t day, int nth) {
    struct human *m = &p->humans[human];
    struct offer o = {.human = human};
    double u = unit(&p->rng);
    o.workflow = (unsigned)(u * u * WORKFLOWS); /* some are common, some rare */
    u = unit(&p->rng);
    o.actor = (unsigned)(u * u * ACTORS);
    o.now_ms = NOW + day * DAY + 8 * HOUR + nth * 15 * HOUR / A_DAY +
               (int64_t)rng_below(&p->rng, HOUR / 3);
    unsigned hour = (unsigned)(o.now_ms % DAY / HOUR);
    sprintf(o.names[0], "w%u", o.workflow);
    sprintf(o.names[1], "u%u-%u", human, o.actor);
    o.f = (struct learn_features){.hour = hour,
        .channel = 1,
        .now_ms = o.now_ms,
        .rate = bytes_of(p->rates[o.workflow], LEARN_RATE_BYTES)};
    double recency = o.now_ms - m->opened_ms < HOUR ? 0.6 : 0;
    if (o.now_ms - m->sent_ms < HOUR) recency -= 0.5;
    o.chance = chance_of(m->bias + p->common[o.workflow] + m->likes[o.workflow] +
                         m->knows[o.actor] + m->awake[hour] + recency);
    return o;
}
static const struct learn_features *features_of(struct offer *o) {
    o->f.workflow = bytes_str(o->names[0]);
    o->f.actor = bytes_str(o->names[1]);
    return &o->f;
}

static struct bytes state_of(struct human *m) { return bytes_of(m->state, sizeof m->state); }

/* It is shown; true: opened. */
static bool show(struct population *p, const struct offer *o, const struct learn_prediction *got,
    int32_t propensity) {
    struct human *m = &p->humans[o->human];
    bool opened = unit(&p->rng) < o->chance;
    learn_update(
        state_of(m), bytes_of(got->key, sizeof got->key), opened, propensity, o->now_ms, m->state);
    learn_rate_add(
        bytes_of(p->rates[o->workflow], LEARN_RATE_BYTES), opened, p->rates[o->workflow]);
    if (opened) m->opened_ms = o->now_ms;
    return opened;
}

static double loss(double chance, bool opened) { return -log(opened ? chance : 1 - chance); }

/* ---- learning ---- */
struct scores {
    double model, truth, early;
    uint64_t n, opened, early_n, by_workflow[WORKFLOWS][2];
};

static double rates_loss(const struct scores *s) { /* with what it knows only afterwards */
    double sum = 0;
    for (int w = 0; w < WORKFLOWS; w++) {
        double n = (double)(s->by_workflow[w][0] + s->by_workflow[w][1]);
        for (int o = 0; o < 2; o++) {
            double k = (double)s->by_workflow[w][o];
            if (k > 0) sum -= k * log(k / n);
        }
    }
    return sum / (double)s->n;
}

static void it_learns_what_each_person_opens(void **state) {
    (void)state;
    enum { DAYS = 60, SCORED = 20 };
    struct scores s = {0};
    struct population *p = population_make(5);
    for (int day = 0; day < DAYS; day++)
        for (unsigned h = 0; h < PEOPLE; h++)
            for (int i = 0; i < A_DAY; i++) {
                struct offer o = offer_make(p, h, day, i);
                struct learn_prediction got;
                learn_predict(state_of(&p->humans[h]), features_of(&o), &got);
                p->humans[h].sent_ms = o.now_ms;
                struct learn_choice c; /* all may leave: it only notes that one was sent */
                learn_wants(state_of(&p->humans[h]), &got,
                    &(struct learn_target){.per_day_milli = 1000000}, o.now_ms, &c,
                    p->humans[h].state);
                bool opened = show(p, &o, &got, LEARN_ONE);
                double l = loss((double)got.chance / LEARN_ONE, opened);
                if (day < 3) s.early += l, s.early_n++;
                if (day < SCORED) continue;
                s.model += l;
                s.truth += loss(o.chance, opened);
                s.by_workflow[o.workflow][opened]++;
                s.opened += opened;
                s.n++;
            }
    double n = (double)s.n, rate = (double)s.opened / n, model = s.model / n;
    double constant = -(rate * log(rate) + (1 - rate) * log(1 - rate)), rates = rates_loss(&s);
    print_message("log loss: constant %.4f, rate of the workflow %.4f, learned %.4f, truth %.4f; "
                  "first days %.4f; opened %.3f\n",
        constant, rates, model, s.truth / n, s.early / (double)s.early_n, rate);
    assert_true(model < constant * 0.9);
    assert_true(model < rates * 0.93);
    /* most of what can be known is */
    assert_true(rates - model > 0.6 * (rates - s.truth / n));
    assert_true(s.early / (double)s.early_n < constant * 1.03); /* and it does no harm at first */
    free(p);
}

/* A month in, everyone likes what they did not: three weeks later that is known. */
static void it_follows_who_changes(void **state) {
    (void)state;
    enum { TURN = 30, DAYS = 56 };
    struct population *p = population_make(21);
    double before = 0, after = 0, late = 0;
    for (int day = 0; day < DAYS; day++) {
        for (unsigned h = 0; h < PEOPLE; h++) {
            for (int w = 0; w < WORKFLOWS && day == TURN; w++) p->humans[h].likes[w] *= -1;
            for (int i = 0; i < A_DAY; i++) {
                struct offer o = offer_make(p, h, day, i);
                struct learn_prediction got;
                learn_predict(state_of(&p->humans[h]), features_of(&o), &got);
                bool opened = show(p, &o, &got, LEARN_ONE);
                double over = loss((double)got.chance / LEARN_ONE, opened) - loss(o.chance, opened);
                if (day >= TURN - 5 && day < TURN) before += over;
                if (day >= TURN && day < TURN + 5) after += over;
                if (day >= DAYS - 5) late += over;
            }
        }
    }
    print_message("log loss above the truth: %.4f, when they change %.4f, later %.4f\n",
        before / (5 * PEOPLE * A_DAY), after / (5 * PEOPLE * A_DAY), late / (5 * PEOPLE * A_DAY));
    assert_true(after > 1.5 * before);
    assert_true(late - before < 0.33 * (after - before));
    free(p);
}

/* ---- the threshold ---- */
struct volume {
    uint64_t now[PEOPLE], opened, sent, all, all_opened, explored;
};

/* Each is shown, if only in the digest. */
static void offer_decide(
    struct population *p, struct offer *o, uint32_t per_day_milli, struct volume *v) {
    struct human *m = &p->humans[o->human];
    struct learn_prediction got;
    struct learn_choice c;
    char trigger[32];
    sprintf(trigger, "t%llu", (unsigned long long)rng_next(&p->rng));
    struct learn_target t = {.per_day_milli = per_day_milli,
        .explore = LEARN_EXPLORE,
        .trigger = bytes_str(trigger),
        .user = bytes_str(o->names[1])};
    learn_predict(state_of(m), features_of(o), &got);
    learn_wants(state_of(m), &got, &t, o->now_ms, &c, m->state);
    if (c.now) m->sent_ms = o->now_ms;
    bool opened = show(p, o, &got, c.propensity);
    if (!v) return;
    v->now[o->human] += c.now;
    v->explored += c.explored;
    v->sent += c.now;
    v->opened += c.now && opened;
    v->all++;
    v->all_opened += opened;
}

/* After ten days each gets what the owner wants, within a tenth over the month; and it is the better
 * part of all that there is. */
static void volume(uint32_t per_day_milli, double lift) {
    enum { SETTLE = 10, DAYS = 40 };
    struct population *p = population_make(9);
    struct volume v = {0};
    for (int day = 0; day < DAYS; day++)
        for (unsigned h = 0; h < PEOPLE; h++)
            for (int i = 0; i < A_DAY; i++) {
                struct offer o = offer_make(p, h, day, i);
                offer_decide(p, &o, per_day_milli, day < SETTLE ? NULL : &v);
            }
    double want = per_day_milli / 1000.0 * (DAYS - SETTLE), worst = 0;
    for (int h = 0; h < PEOPLE; h++) {
        double off = fabs((double)v.now[h] / want - 1);
        if (off > worst) worst = off;
    }
    double better = (double)v.opened / (double)v.sent / ((double)v.all_opened / (double)v.all);
    print_message(
        "%.1f a day wanted: %.2f, the person farthest off by %.1f %%; opened %.2f times as "
        "often as all\n",
        per_day_milli / 1000.0, (double)v.sent / PEOPLE / (DAYS - SETTLE), worst * 100, better);
    assert_true(fabs((double)v.sent / PEOPLE / want - 1) < 0.03);
    assert_true(worst < 0.1);
    assert_true(better > lift);
    free(p);
}
static void each_person_gets_the_volume_wanted(void **state) {
    (void)state;
    volume(1500, 1.9);
    volume(4000, 1.7);
    volume(12000, 1.3);
}

/* Of what asks for minutes as of what asks for months. */
static void it_does_not_matter_how_often_it_is_asked(void **state) {
    (void)state;
    static const int64_t EACH[] = {700, 30000, 3 * HOUR};
    for (size_t i = 0; i < 3; i++) {
        uint8_t s[LEARN_STATE_BYTES] = {0};
        struct rng r = {i};
        struct learn_target t = {.per_day_milli = 4000};
        int64_t now = NOW, begun = NOW + 5 * DAY, end = NOW + (i ? 45 : 15) * DAY;
        uint64_t sent = 0;
        for (; now < end; now += EACH[i]) {
            struct learn_prediction p = {.log_odds = (int32_t)(normal(&r) * LEARN_ONE / 2)};
            struct learn_choice c;
            learn_wants(bytes_of(s, sizeof s), &p, &t, now, &c, s);
            sent += c.now && now >= begun;
        }
        double a_day = (double)sent / (double)((end - begun) / DAY);
        if (fabs(a_day - 4) > 0.4) print_error("every %lld ms: %.2f\n", (long long)EACH[i], a_day);
        assert_true(fabs(a_day - 4) < 0.4);
    }
}

/* Who is offered less than the target gets all of it; and what comes then is not a flood. */
static void few_are_all_sent_and_many_do_not_flood(void **state) {
    (void)state;
    uint8_t s[LEARN_STATE_BYTES] = {0};
    struct learn_target t = {.per_day_milli = 5000};
    struct learn_choice c;
    struct rng r = {3};
    uint64_t held = 0, burst = 0;
    int64_t now = NOW;
    for (int i = 0; i < 120; i++, now += 12 * HOUR) {
        struct learn_prediction p = {.log_odds = (int32_t)(normal(&r) * LEARN_ONE / 2)};
        learn_wants(bytes_of(s, sizeof s), &p, &t, now, &c, s);
        held += i > 20 && !c.now;
    }
    assert_int_equal(held, 0);
    for (int i = 0; i < 200; i++, now += DAY / 200) {
        struct learn_prediction p = {.log_odds = (int32_t)(normal(&r) * LEARN_ONE / 2)};
        learn_wants(bytes_of(s, sizeof s), &p, &t, now, &c, s);
        burst += c.now;
    }
    assert_in_range(burst, 5, 35);
    /* a year away, then back: not a year's worth at once */
    now += 365 * DAY;
    burst = 0;
    for (int i = 0; i < 50; i++) {
        struct learn_prediction p = {.log_odds = (int32_t)(normal(&r) * LEARN_ONE / 2)};
        learn_wants(bytes_of(s, sizeof s), &p, &t, now + i, &c, s);
        burst += c.now;
    }
    assert_true(burst < 20);
}

/* Of whom nothing is known yet: a day's worth leaves at once, and no more. */
static void the_first_day_has_its_worth(void **state) {
    (void)state;
    for (uint32_t per_day = 1; per_day <= 20; per_day++) {
        uint8_t s[LEARN_STATE_BYTES] = {0};
        struct learn_target t = {.per_day_milli = per_day * 1000};
        struct learn_prediction p = {.log_odds = -2 * LEARN_ONE};
        uint32_t sent = 0;
        for (int i = 0; i < 100; i++) {
            struct learn_choice c;
            learn_wants(bytes_of(s, sizeof s), &p, &t, NOW + i * 1000, &c, s);
            assert_true(c.now || sent == per_day);
            sent += c.now;
        }
        assert_int_equal(sent, per_day);
    }
}

static void none_wanted_is_none_sent(void **state) {
    (void)state;
    uint8_t s[LEARN_STATE_BYTES] = {0};
    struct learn_prediction p = {.log_odds = 5 * LEARN_ONE};
    for (int i = 0; i < 1000; i++) {
        char trigger[16];
        struct learn_choice c;
        sprintf(trigger, "t%d", i);
        struct learn_target t = {.explore = LEARN_ONE, .trigger = bytes_str(trigger)};
        learn_wants(bytes_of(s, sizeof s), &p, &t, NOW + i * HOUR, &c, s);
        assert_false(c.now);
        assert_int_equal(c.propensity, LEARN_ONE);
    }
}

/* ---- the coin ---- */
static void the_coin_is_thrown_as_often_as_it_should(void **state) {
    (void)state;
    enum { THROWS = 200000 };
    uint64_t explored = 0, heads = 0, against = 0;
    double weights = 0;
    struct learn_prediction low = {.log_odds = -9 * LEARN_ONE}, high = {.log_odds = 0};
    uint8_t s[LEARN_STATE_BYTES] = {0};
    struct learn_choice c;
    struct learn_target t = {.per_day_milli = 1000, .explore = LEARN_EXPLORE, .user = BYTES("u1")};
    learn_wants((struct bytes){0}, &high, &t, NOW, &c, s);
    char trigger[16];
    for (int i = 0; i < THROWS; i++) {
        uint8_t next[LEARN_STATE_BYTES];
        sprintf(trigger, "t%d", i);
        t.trigger = bytes_str(trigger);
        learn_wants(bytes_of(s, sizeof s), &low, &t, NOW, &c, next);
        explored += c.explored;
        heads += c.explored && c.now;
        against += c.now;
        if (c.now) weights += (double)LEARN_ONE / c.propensity;
        assert_true(c.now ? c.explored : true);
        assert_int_equal(c.propensity, c.now ? LEARN_EXPLORE / 2 : LEARN_ONE - LEARN_EXPLORE / 2);
    }
    assert_true(fabs((double)explored / THROWS - 0.02) < 0.0015);
    assert_true(fabs((double)heads / (double)explored - 0.5) < 0.03);
    assert_int_equal(against, heads);
    /* weighed by one over its propensity, what was sent stands for all */
    assert_true(fabs(weights / THROWS - 1) < 0.07);
    struct learn_choice again;
    uint8_t next[LEARN_STATE_BYTES];
    learn_wants(bytes_of(s, sizeof s), &low, &t, NOW, &again, next);
    assert_true(again.now == c.now && again.explored == c.explored);
}

/* ---- several targets ---- */
/* Two workflows that ask as often: each gets its own volume, one does not pay for the other. And a state
 * of before is the first one's that asks. */
static void each_target_gets_its_volume(void **state) {
    (void)state;
    enum { DAYS = 60, TARGETS = 3 };
    static const uint32_t WANTED[TARGETS] = {1000, 4000, 8000};
    uint8_t s[LEARN_STATE_MAX] = {0};
    size_t n = 0;
    unsigned sent[TARGETS] = {0};
    struct rng r = {5};
    for (int i = 0; i < DAYS * 24 * 2; i++) {
        for (int k = 0; k < TARGETS; k++) {
            struct learn_target t = {.per_day_milli = WANTED[k]};
            struct learn_prediction p = {.log_odds = -(int32_t)rng_below(&r, 4 * LEARN_ONE)};
            struct learn_choice c;
            n = learn_turn(bytes_of(s, n), &t, s);
            learn_wants(bytes_of(s, n), &p, &t, NOW + i * HOUR / 2, &c, s);
            if (i >= DAYS * 24) sent[k] += c.now;
        }
        assert_int_equal(n, LEARN_STATE_BYTES + (TARGETS - 1) * LEARN_TARGET_BYTES);
    }
    for (unsigned k = 0; k < TARGETS; k++) {
        unsigned wanted = WANTED[k] / 1000 * DAYS / 2;
        assert_in_range(sent[k], wanted * 85 / 100, wanted * 115 / 100);
    }
}

/* What it would be held against now; nothing moves. */
static int32_t threshold_of(struct bytes state, const struct learn_target *t, int64_t now_ms) {
    uint8_t look[LEARN_STATE_MAX];
    struct learn_prediction p = {.log_odds = -LEARN_ONE};
    struct learn_choice c;
    size_t n = learn_turn(state, t, look);
    learn_wants(bytes_of(look, n), &p, t, now_ms, &c, look);
    return c.threshold;
}
static void targets_are_few_and_the_oldest_gives_way(void **state) {
    (void)state;
    uint8_t s[LEARN_STATE_MAX] = {0}, before[LEARN_STATE_BYTES] = {0};
    struct learn_prediction p = {.log_odds = -LEARN_ONE};
    struct learn_choice c;
    int32_t thresholds[6];
    size_t n = 0;
    for (uint32_t k = 0; k < 6; k++) {
        struct learn_target t = {.per_day_milli = 1000 * (k + 1)};
        for (uint32_t i = 0; i <= k; i++) { /* so that each stands elsewhere */
            n = learn_turn(bytes_of(s, n), &t, s);
            learn_wants(bytes_of(s, n), &p, &t, NOW + k * 1000, &c, s);
        }
        thresholds[k] = threshold_of(bytes_of(s, n), &t, NOW + 6000);
        assert_int_equal(n, LEARN_STATE_BYTES + (k < 3 ? k : 3) * LEARN_TARGET_BYTES);
    }
    for (uint32_t k = 0; k < 6;
         k++) { /* the four that were asked for last go on where they stood */
        struct learn_target t = {.per_day_milli = 1000 * (k + 1)};
        int32_t now = threshold_of(bytes_of(s, n), &t, NOW + 6000);
        assert_true((now == thresholds[k]) == (k >= 2));
    }
    /* of before: asked is 1, at its place */
    struct learn_target five = {.per_day_milli = 5000}, one = {.per_day_milli = 1000};
    p.log_odds = -LEARN_ONE;
    for (int i = 0; i < 9; i++)
        learn_wants(bytes_of(before, sizeof before), &p, &five, NOW, &c, before);
    int32_t then = c.threshold;
    before[12] = 1, before[13] = before[14] = before[15] = 0;
    n = learn_turn(bytes_of(before, sizeof before), &five, s);
    assert_int_equal(n, LEARN_STATE_BYTES);
    assert_memory_equal(s, before, sizeof before);
    learn_wants(bytes_of(s, n), &p, &five, NOW, &c, s);
    assert_true(c.threshold >= then);
    n = learn_turn(bytes_of(s, n), &one, s);
    assert_int_equal(n, LEARN_STATE_BYTES + LEARN_TARGET_BYTES);
}

/* ---- words ---- */
static void the_heaviest_terms_are_named(void **state) {
    (void)state;
    uint8_t s[LEARN_STATE_BYTES] = {0}, rate[LEARN_RATE_BYTES] = {0};
    struct learn_prediction p;
    struct learn_features f = {.workflow = BYTES("likes"), .hour = 20, .channel = 2, .now_ms = NOW};
    for (int i = 0; i < 300; i++) learn_rate_add(bytes_of(rate, sizeof rate), i % 3 == 0, rate);
    f.rate = bytes_of(rate, sizeof rate);
    learn_predict((struct bytes){0}, &f, &p);
    assert_in_range(p.chance, LEARN_ONE * 31 / 100, LEARN_ONE * 34 / 100);
    assert_int_equal(p.terms[0].term, LEARN_PRIOR);
    assert_int_equal(p.terms[0].weight, p.log_odds);
    for (int i = 0; i < 400; i++) { /* ann's are always opened, ben's never */
        f.actor = i % 2 ? BYTES("ann") : BYTES("ben");
        learn_predict(bytes_of(s, sizeof s), &f, &p);
        learn_update(
            bytes_of(s, sizeof s), bytes_of(p.key, sizeof p.key), i % 2, LEARN_ONE, NOW, s);
    }
    f.actor = BYTES("ann");
    learn_predict(bytes_of(s, sizeof s), &f, &p);
    assert_int_equal(p.terms[0].term, LEARN_ACTOR);
    assert_true(p.terms[0].weight > LEARN_ONE && p.chance > LEARN_ONE * 9 / 10);
    for (int i = 1; i < 4; i++) assert_true(abs(p.terms[i].weight) <= abs(p.terms[i - 1].weight));
    f.actor = BYTES("ben");
    learn_predict(bytes_of(s, sizeof s), &f, &p);
    assert_true(p.terms[0].term == LEARN_ACTOR && p.terms[0].weight < -LEARN_ONE);
    assert_string_equal(learn_term_name(LEARN_ACTOR), "actor");
    for (int t = 0; t < LEARN_TERMS; t++) assert_true(learn_term_name((enum learn_term)t)[0]);
}

/* ---- what is stored ---- */
/* A state of before must mean the same: whoever changes this changes what is stored. */
static void the_same_acts_leave_the_same_bytes(void **state) {
    (void)state;
    uint64_t hash[2];
    for (int round = 0; round < 2; round++) {
        uint8_t s[LEARN_STATE_BYTES] = {0}, rate[LEARN_RATE_BYTES] = {0};
        struct rng r = {1};
        for (int i = 0; i < 3000; i++) {
            char names[3][16];
            struct learn_prediction p;
            struct learn_choice c;
            for (int k = 0; k < 3; k++) sprintf(names[k], "n%u", (unsigned)rng_below(&r, 12));
            struct learn_features f = {.workflow = bytes_str(names[0]),
                .actor = bytes_str(names[1]),
                .hour = (unsigned)rng_below(&r, 24),
                .channel = (unsigned)rng_below(&r, 3),
                .now_ms = NOW + i * HOUR / 3,
                .rate = bytes_of(rate, sizeof rate)};
            struct learn_target t = {3000, LEARN_EXPLORE, bytes_str(names[2]), bytes_str(names[1])};
            learn_predict(bytes_of(s, sizeof s), &f, &p);
            learn_wants(bytes_of(s, sizeof s), &p, &t, f.now_ms, &c, s);
            bool opened = rng_below(&r, 4) == 0;
            learn_update(bytes_of(s, sizeof s), bytes_of(p.key, sizeof p.key), opened, c.propensity,
                f.now_ms, s);
            learn_rate_add(bytes_of(rate, sizeof rate), opened, rate);
        }
        hash[round] = hash64(bytes_of(s, sizeof s)) ^ hash64(bytes_of(rate, sizeof rate));
    }
    assert_true(hash[0] == hash[1]);
    if (hash[0] != GOLDEN) print_error("0x%llxu\n", (unsigned long long)hash[0]);
    assert_true(hash[0] == GOLDEN);
}

static int64_t some_number(struct rng *r) {
    static const int64_t ENDS[] = {INT64_MIN, -1, 0, 1, INT64_MAX, INT32_MIN, INT32_MAX, NOW};
    return rng_below(r, 3) ? ENDS[rng_below(r, 8)] : (int64_t)rng_next(r);
}
static void any_bytes_and_numbers_may_be_given(void **state) {
    (void)state;
    struct rng r = {77};
    uint8_t s[LEARN_STATE_BYTES] = {0}, out[LEARN_STATE_BYTES], rate[LEARN_RATE_BYTES];
    for (int round = 0; round < 30000; round++) {
        for (size_t i = 0; i < sizeof s; i++)
            s[i] = (uint8_t)(rng_below(&r, 4) ? rng_next(&r) : rng_below(&r, 2) ? 0xff : 0x80);
        s[0] = rng_below(&r, 10) != 0;
        for (size_t i = 0; i < sizeof rate; i++) rate[i] = (uint8_t)rng_next(&r);
        struct bytes given = bytes_of(s, rng_below(&r, 20) ? sizeof s : rng_below(&r, sizeof s));
        struct learn_features f = {.hour = (unsigned)rng_next(&r),
            .channel = (unsigned)rng_next(&r),
            .now_ms = some_number(&r),
            .rate = bytes_of(rate, rng_below(&r, 9))};
        struct learn_prediction p;
        learn_predict(given, &f, &p);
        assert_in_range(p.chance, 1, LEARN_ONE - 1);
        if (!rng_below(&r, 4)) p.log_odds = (int32_t)some_number(&r);
        struct learn_target t = {(uint32_t)some_number(&r), (int32_t)some_number(&r), {0}, {0}};
        struct learn_choice c;
        learn_wants(given, &p, &t, some_number(&r), &c, out);
        assert_in_range(c.propensity, 1, LEARN_ONE);
        assert_in_range(c.threshold, 0, LEARN_ONE);
        for (size_t i = 0; i < sizeof p.key; i++) p.key[i] ^= (uint8_t)rng_next(&r);
        learn_update(bytes_of(out, sizeof out), bytes_of(p.key, rng_below(&r, sizeof p.key + 1)),
            rng_below(&r, 2), (int32_t)some_number(&r), some_number(&r), out);
        assert_int_equal(out[0], 1);
        learn_rate_add(f.rate, true, rate);
    }
}

int main(void) {
    const struct CMUnitTest all[] = {cmocka_unit_test(it_learns_what_each_person_opens),
        cmocka_unit_test(it_follows_who_changes),
        cmocka_unit_test(each_person_gets_the_volume_wanted),
        cmocka_unit_test(it_does_not_matter_how_often_it_is_asked),
        cmocka_unit_test(few_are_all_sent_and_many_do_not_flood),
        cmocka_unit_test(the_first_day_has_its_worth), cmocka_unit_test(none_wanted_is_none_sent),
        cmocka_unit_test(the_coin_is_thrown_as_often_as_it_should),
        cmocka_unit_test(each_target_gets_its_volume),
        cmocka_unit_test(targets_are_few_and_the_oldest_gives_way),
        cmocka_unit_test(the_heaviest_terms_are_named),
        cmocka_unit_test(the_same_acts_leave_the_same_bytes),
        cmocka_unit_test(any_bytes_and_numbers_may_be_given)};
    return cmocka_run_group_tests(all, NULL, NULL);
}
