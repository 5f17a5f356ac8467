/* send: one provider at work: what waits for it, in lanes; when it may be asked; what to do with what
 * it answered.
 *
 *   provider_take ─▶ lane (by push service or partner; else one) ─▶ in line ─▶ launched, as far as
 *   concurrency, rate and token allow ─▶ answered ─▶ judged ─▶ result; or launched once more (RENEW)
 *
 * Keeps: a lane has no more than its share under way where there are many of them, so that one partner
 * that does not answer does not hold up the others. Who says "later" is left alone until then: what
 * waits for it goes back with that time at once. SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "send/send_in.h"

#define PAUSE_MAX_MS (3600 * 1000ll)
#define TOKEN_PAUSE_MS 10000ll /* after an access token could not be bought */
#define BURST_S 0.1            /* of a rate: what may leave in one go */
#define MISS_PAUSE_MS 1000ll   /* doubles with each further miss */
#define MISS_PAUSE_MAX_MS 60000ll
enum { LANE_SHARE = 4, LANES_KEPT = 4096, MISSES = 5 };
enum { KEYS_AHEAD = 512, KEYS_AT_ONCE = 8 };

/* ---- flights ---- */
struct flight *flight_create(struct runner *r, struct send_task *t) {
    struct flight *f = must_alloc(sizeof *f);
    f->task = t;
    f->all_next = r->flights;
    f->all_prev = &r->flights;
    if (r->flights) r->flights->all_prev = &f->all_next;
    r->flights = f;
    return f;
}

void flight_free(struct runner *r, struct flight *f) {
    (void)r;
    *f->all_prev = f->all_next;
    if (f->all_next) f->all_next->all_prev = f->all_prev;
    carry_let_go(&f->x);
    send_task_free(&f->task);
    outward_request_done(&f->q);
    buf_done(&f->x.answer);
    free(f);
}

static struct channel_figures *figures_of(const struct runner *r, const struct flight *f) {
    return &r->figures[f->task->channel];
}

static void result_count(struct channel_figures *c, enum outward_verdict v) {
    measure_bump(v == OUTWARD_DELIVERED ? &c->sent
                 : v == OUTWARD_DROP    ? &c->dropped
                 : v == OUTWARD_GIVE_UP ? &c->gave_up
                                        : &c->retried,
        1);
}

static void text_copy(char out[static SEND_NAME_MAX + 1], struct bytes v) {
    snprintf(out, SEND_NAME_MAX + 1, "%.*s", (int)v.n, v.n ? (const char *)v.p : "");
}

static void flight_end(
    struct runner *r, struct flight *f, const struct outward_decision *d, bool own) {
    struct send_result *s = must_alloc(sizeof *s);
    const struct send_task *t = f->task;
    s->id = t->id;
    s->cookie = t->cookie;
    s->partition = t->partition;
    s->channel = t->channel;
    text_copy(s->app, t->app);
    text_copy(s->user, t->user);
    text_copy(s->device, t->device);
    s->verdict = d->verdict;
    s->retry_after_ms = d->retry_after_ms;
    s->gone_since_ms = d->gone_since_ms;
    s->took_ms = (clock_mono_ns() - f->put_ns) / 1000000;
    snprintf(s->reason, sizeof s->reason, "%s", d->reason);
    snprintf(s->message_id, sizeof s->message_id, "%s", d->id);
    snprintf(s->provider_name, sizeof s->provider_name, "%s", f->by ? f->by->name : "");
    s->failover = own; /* whether there is another, who knows them all says */
    result_count(figures_of(r, f), d->verdict);
    r->ended(r->arg, f, s);
}

void flight_refuse(struct runner *r, struct flight *f, enum outward_verdict v, const char *reason) {
    struct outward_decision d = {.verdict = v};
    snprintf(d.reason, sizeof d.reason, "%s", reason);
    flight_end(r, f, &d, false);
}

/* ---- lanes ---- */
static bool has_many(const struct provider *p) {
    return p->channel == SEND_WEBPUSH || p->channel == SEND_WEBHOOK;
}

static uint64_t lane_key(const struct provider *p, const struct send_task *t) {
    if (!has_many(p)) return 0;
    return hash64(origin_of(p->channel == SEND_WEBPUSH ? t->endpoint : t->url));
}

/* Lanes that have nothing to remember make room when there are many. */
static void lanes_tidy(struct provider *p, int64_t now_ms) {
    for (size_t i = 0; i < LANES; i++)
        for (struct lane **at = &p->lanes[i]; *at;) {
            struct lane *l = *at;
            if (l->ready || l->head || l->flying || l->paused_until_ms > now_ms) {
                at = &l->next;
                continue;
            }
            *at = l->next;
            p->lane_count--;
            free(l);
        }
}

static struct lane *lane_find(struct provider *p, uint64_t key, int64_t now_ms) {
    if (p->lane_count >= LANES_KEPT) lanes_tidy(p, now_ms);
    struct lane **at = &p->lanes[key % LANES];
    while (*at && (*at)->key != key) at = &(*at)->next;
    if (*at) return *at;
    struct lane *l = *at = must_alloc(sizeof *l);
    l->key = key;
    l->tail = &l->head;
    p->lane_count++;
    return l;
}

static void lane_line_up(struct provider *p, struct lane *l) {
    if (l->ready || !l->head) return;
    l->ready = true;
    l->next_ready = NULL;
    *p->ready_tail = l;
    p->ready_tail = &l->next_ready;
}

static struct flight *lane_pop(struct lane *l) {
    struct flight *f = l->head;
    if (f && !(l->head = f->next)) l->tail = &l->head;
    return f;
}

static void lane_put(struct runner *r, struct lane *l, struct flight *f, bool first) {
    f->next = first ? l->head : NULL;
    if (first) {
        if (!l->head) l->tail = &f->next;
        l->head = f;
    } else {
        *l->tail = f;
        l->tail = &f->next;
    }
    measure_bump(&figures_of(r, f)->waiting, 1);
}

static void later(struct runner *r, struct flight *f, int64_t wait_ms, const char *reason) {
    struct outward_decision d = {.verdict = OUTWARD_RETRY, .retry_after_ms = wait_ms};
    snprintf(d.reason, sizeof d.reason, "%s", reason);
    flight_end(r, f, &d, !has_many(f->by));
}

/* What waits goes back: its record decides between another provider and later. */
static void lane_pause(struct runner *r, struct lane *l, struct channel_figures *c, int64_t wait_ms,
    int64_t now_ms, const char *reason) {
    if (wait_ms > PAUSE_MAX_MS) wait_ms = PAUSE_MAX_MS;
    if (l->paused_until_ms <= now_ms) measure_bump(&c->paused, 1);
    if (l->paused_until_ms < now_ms + wait_ms) l->paused_until_ms = now_ms + wait_ms;
    for (struct flight *f; (f = lane_pop(l));) {
        measure_bump(&c->waiting, (uint64_t)-1);
        later(r, f, wait_ms, reason);
    }
}

void provider_take(struct provider *p, struct runner *r, struct flight *f, int64_t now_ms) {
    struct lane *l = lane_find(p, lane_key(p, f->task), now_ms);
    f->by = p;
    f->lane = l;
    if (l->paused_until_ms > now_ms)
        return later(r, f, l->paused_until_ms - now_ms,
            l->misses < MISSES ? "paused: it asked us to wait" : "paused: it does not answer");
    lane_put(r, l, f, false);
    lane_line_up(p, l);
}

/* ---- launching ---- */
static void launch(struct provider *p, struct runner *r, struct flight *f, int64_t mono_ms) {
    f->flying = p->used = true;
    f->asked_ns = clock_mono_ns();
    p->flying++;
    if (f->lane) f->lane->flying++;
    if (f->task) measure_bump(&figures_of(r, f)->flying, 1);
    carry_start(p->carrier, &f->x, mono_ms);
}

static void request_place(struct flight *f) {
    buf_char(&f->q.url, 0);
    f->x.url = (const char *)f->q.url.p;
    f->x.head = buf_view(&f->q.head);
    f->x.body = buf_view(&f->q.body);
}

/* FCM: no message leaves without an access token; a new one is bought before the old one ends. */
static bool token_ready(struct provider *p, struct runner *r, int64_t now_ms, int64_t mono_ms) {
    if (p->channel != SEND_FCM || !fcm_wants_token(p->fcm, now_ms)) return true;
    if (!p->token) {
        struct flight *f = p->token = flight_create(r, NULL);
        f->by = p;
        fcm_token_request(p->fcm, now_ms, &f->q);
        request_place(f);
        launch(p, r, f, mono_ms);
    }
    return fcm_has_token(p->fcm, now_ms);
}

/* true: it was launched, or has ended. */
static bool flight_try(
    struct provider *p, struct runner *r, struct flight *f, int64_t now_ms, int64_t mono_ms) {
    const char *why = "it cannot be sent";
    if (f->task->expires_ms && f->task->expires_ms <= now_ms)
        return flight_refuse(r, f, OUTWARD_GIVE_UP, "expired"), false;
    outward_request_reset(&f->q);
    enum err e = request_make(p, f, now_ms, &why);
    if (e != OK) return flight_refuse(r, f, OUTWARD_GIVE_UP, why), false;
    request_place(f);
    launch(p, r, f, mono_ms);
    return true;
}

static void allowance_grow(struct provider *p, int64_t mono_ms) {
    double most = p->rate_per_second * BURST_S;
    if (p->rate_per_second <= 0) return;
    p->allowance += (double)(mono_ms - p->allowance_ms) * p->rate_per_second / 1000;
    if (p->allowance > (most > 1 ? most : 1)) p->allowance = most > 1 ? most : 1;
    p->allowance_ms = mono_ms;
}

static bool may_launch(const struct provider *p) {
    return p->flying < p->concurrency && (p->rate_per_second <= 0 || p->allowance >= 1);
}

static unsigned lane_share(const struct provider *p) {
    return has_many(p) && p->concurrency > LANE_SHARE ? p->concurrency / LANE_SHARE
                                                      : p->concurrency;
}

/* One of each lane in line, in turn. A lane at its share leaves the line until one of its own is
 * answered. */
static void launch_all(struct provider *p, struct runner *r, int64_t now_ms, int64_t mono_ms) {
    allowance_grow(p, mono_ms);
    while (p->ready && may_launch(p)) {
        if (!token_ready(p, r, now_ms, mono_ms)) return;
        struct lane *l = p->ready;
        if (!(p->ready = l->next_ready)) p->ready_tail = &p->ready;
        l->ready = false;
        if (l->flying >= lane_share(p)) continue;
        struct flight *f = lane_pop(l);
        if (!f) continue; /* its lane was paused */
        measure_bump(&figures_of(r, f)->waiting, (uint64_t)-1);
        lane_line_up(p, l);
        if (flight_try(p, r, f, now_ms, mono_ms)) p->allowance -= 1;
    }
}

/* ---- answers ---- */
static void token_came(struct provider *p, struct runner *r, struct flight *f, int64_t now_ms) {
    struct outward_decision d;
    struct outward_answer a = {.status = f->x.status,
        .body = buf_view(&f->x.answer),
        .retry_after = bytes_str(f->x.retry_after)};
    char reason[SEND_REASON_MAX];
    fcm_token_answer(p->fcm, &a, now_ms, &d);
    snprintf(reason, sizeof reason, "no access token: %.70s", f->x.status ? d.reason : f->x.why);
    p->token = NULL;
    flight_free(r, f);
    if (d.verdict == OUTWARD_DELIVERED || fcm_has_token(p->fcm, now_ms)) return;
    struct lane *l = lane_find(p, 0, now_ms);
    lane_pause(r, l, &r->figures[SEND_FCM],
        d.retry_after_ms > TOKEN_PAUSE_MS ? d.retry_after_ms : TOKEN_PAUSE_MS, now_ms, reason);
}

static bool asks_to_wait(const struct flight *f, const struct outward_decision *d) {
    return d->verdict == OUTWARD_RETRY && d->retry_after_ms &&
           (f->x.status == 429 || f->x.status == 503);
}

/* Who does not answer, or only with errors, is left alone for a moment: what waits goes elsewhere, or
 * comes later, and nobody waits for timeout after timeout. */
static int64_t miss_pause(struct lane *l, const struct flight *f) {
    bool miss = !f->x.refused && (!f->x.status || (f->x.status >= 500 && !f->x.mail_to));
    l->misses = miss ? l->misses + 1 : 0;
    if (l->misses < MISSES) return 0;
    int64_t ms = MISS_PAUSE_MS << (l->misses - MISSES < 6 ? l->misses - MISSES : 6);
    return ms < MISS_PAUSE_MAX_MS ? ms : MISS_PAUSE_MAX_MS;
}

static void answer_take(struct provider *p, struct runner *r, struct flight *f, int64_t now_ms) {
    struct outward_decision d;
    struct lane *l = f->lane;
    bool own;
    f->flying = false;
    p->flying--;
    if (l) l->flying--;
    if (!f->task) return token_came(p, r, f, now_ms);
    struct channel_figures *c = figures_of(r, f);
    measure_bump(&c->flying, (uint64_t)-1);
    hist_record(&c->latency, (uint64_t)(clock_mono_ns() - f->asked_ns));
    answer_judge(p, f, now_ms, &d, &own);
    if (d.verdict == OUTWARD_RENEW) {
        measure_bump(&c->renewed, 1);
        f->renewed = true;
        lane_put(r, l, f, true);
    } else {
        bool wait = asks_to_wait(f, &d);
        int64_t miss_ms = miss_pause(l, f);
        flight_end(r, f, &d, own);
        if (miss_ms) lane_pause(r, l, c, miss_ms, now_ms, "paused: it does not answer");
        if (wait) lane_pause(r, l, c, d.retry_after_ms, now_ms, "paused: it asked us to wait");
    }
    lane_line_up(p, l);
}

void provider_turn(struct provider *p, struct runner *r, int64_t now_ms, int64_t mono_ms) {
    carry_turn(p->carrier, mono_ms);
    for (struct carried *x; (x = carry_done(p->carrier));) {
        struct flight *f = (struct flight *)((char *)x - offsetof(struct flight, x));
        answer_take(p, r, f, now_ms);
    }
    launch_all(p, r, now_ms, mono_ms);
}

bool provider_idle(struct provider *p) {
    return p->webpush && p->used && webpush_ahead(p->webpush, 0) < KEYS_AHEAD &&
           webpush_ahead(p->webpush, KEYS_AT_ONCE) < KEYS_AHEAD;
}

int64_t provider_due_ms(const struct provider *p, int64_t mono_ms) {
    int64_t due = carry_due_ms(p->carrier);
    if (p->ready && p->rate_per_second > 0 && p->allowance < 1 && p->flying < p->concurrency) {
        int64_t next = mono_ms + 1 + (int64_t)((1 - p->allowance) * 1000 / p->rate_per_second);
        if (due < 0 || next < due) due = next;
    }
    return due;
}

/* ---- beginning and end ---- */
void provider_start(struct provider *p, struct runner *r) {
    p->ready_tail = &p->ready;
    p->allowance = 1;
    p->carrier = carrier_create(r->loop, &p->carry);
}

void provider_stop(struct provider *p) {
    for (size_t i = 0; i < LANES; i++)
        while (p->lanes[i]) {
            struct lane *l = p->lanes[i];
            p->lanes[i] = l->next;
            free(l);
        }
    carrier_free(&p->carrier);
}
