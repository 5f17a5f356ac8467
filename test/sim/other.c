/* sim: the other side of what leaves the server, without threads or a network: it takes what core hands
 * over, answers late or never, and keeps a ledger. What must hold when it is asked: not twice, but for
 * an answer that said so or that died with the node; nothing that its owner or its sender had forbidden
 * by then; not in quiet hours; never an address that was said to be gone.
 * SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "sends.h"

/* ---- the ledger ---- */
static struct leaving *leaving_at(struct sim *s, uint16_t partition, uint64_t n) {
    struct outside_world *o = s->outside;
    if (n >= o->send_cap[partition]) {
        size_t cap = o->send_cap[partition], to = cap ? cap * 2 : 64;
        while (to <= n) to *= 2;
        o->sends[partition] = must_realloc(o->sends[partition], to * sizeof(struct leaving *));
        memset(o->sends[partition] + cap, 0, (to - cap) * sizeof(struct leaving *));
        o->send_cap[partition] = to;
    }
    if (n >= o->send_count[partition]) o->send_count[partition] = n + 1;
    struct leaving **at = &o->sends[partition][n];
    if (!*at) *at = must_alloc(sizeof **at);
    return *at;
}

bool leaving_same(const struct leaving *a, const struct leaving *b) {
    return a->what == b->what && a->trigger == b->trigger && a->app == b->app &&
           a->user == b->user && a->channel == b->channel && a->to == b->to;
}

static uint32_t message_number(struct sim *s, struct bytes id) {
    char text[16] = {0};
    unsigned n;
    memcpy(text, id.p, id.n < 15 ? id.n : 15);
    if (sscanf(text, "m%u", &n) != 1 || n >= s->sent_count)
        violated(s, "a webhook is told of message %s, which nobody sent", text);
    return n;
}

struct leaving leaving_of(struct sim *s, const struct sending *c) {
    struct leaving x = {.what = !c->event.n             ? LEAVES_TOLD
                                : sending_of_message(c) ? LEAVES_MESSAGE
                                                        : LEAVES_EVENT,
        .app = !bytes_eq(c->app, app_name(0)),
        .channel = c->channel,
        .to = c->to.n ? (uint8_t)(c->to.p[1] - '0') : 0};
    if (x.what == LEAVES_MESSAGE) {
        x.trigger = message_number(s, c->trigger);
        return x;
    }
    int user = user_of(c->user);
    if (user < 0) violated(s, "a send of nobody");
    x.user = (uint8_t)user;
    x.trigger = (uint32_t)trigger_number(s, x.what == LEAVES_EVENT ? c->notification : c->trigger);
    return x;
}

/* One for each trigger, person, channel and address; another one for each time that a dead letter was
 * asked for again. */
static void once_check(struct sim *s, uint16_t partition, struct leaving *x) {
    const struct outside_world *o = s->outside;
    unsigned before = 0, retries = 0;
    for (size_t n = 0; n < o->send_count[partition]; n++) {
        const struct leaving *other = o->sends[partition][n];
        if (other && other != x && other->there) before += leaving_same(other, x);
    }
    for (uint32_t i = 0; before && i < o->retry_count; i++) {
        const struct letter_retry *r = &o->retries[i];
        retries += r->tries && leaving_same(&r->of, x);
    }
    if (before > retries)
        violated(s, "t%u becomes %u sends to u%u by channel %u", x->trigger, before + 1, x->user,
            x->channel);
    x->retried = before != 0;
}

static void told_begin(struct sim *s, const struct leaving *x) {
    struct trigger *t = &s->triggers[x->trigger];
    if (t->app != x->app) violated(s, "t%u leaves another app", x->trigger);
    if (!(trigger_channels(t) & x->channel))
        violated(s, "t%u leaves by channel %u", x->trigger, x->channel);
    t->begun[x->user] |= x->channel;
    if (trigger_escalates(t) && x->channel == CHANNEL_PUSH && t->seen >> x->user & 1 && !x->retried)
        violated(s, "t%u goes on to u%u, who has seen it", x->trigger, x->user);
}

static void leaving_begin(struct sim *s, uint16_t partition, struct bytes app, uint64_t n) {
    struct leaving *x = leaving_at(s, partition, n);
    struct sending c;
    if (x->there) return;
    if (!sending_find(node_cells(s, partition), n, &c))
        violated(s, "partition %u: send %llu is told of and not there", partition,
            (unsigned long long)n);
    *x = leaving_of(s, &c);
    x->there = true;
    if (!bytes_eq(app, c.app)) violated(s, "a send of one app is told of in another");
    once_check(s, partition, x);
    if (x->what == LEAVES_MESSAGE && s->sent[x->trigger].app != x->app)
        violated(s, "m%u leaves another app", x->trigger);
    if (x->what == LEAVES_TOLD) told_begin(s, x);
    s->counts[COUNT_SENDS]++;
}

void sends_told_of(struct sim *s, uint16_t partition, struct bytes app, struct bytes body) {
    struct unpack u = unpack_of(body);
    uint64_t n = unpack_u64(&u);
    bool ended = unpack_u8(&u) != 0;
    if (!ended) leaving_begin(s, partition, app, n);
    else if (s->recovered) {
        struct leaving *x = leaving_at(s, partition, n);
        if (x->life != s->outside->life) x->last = 0; /* that answer died; this is core's own */
        x->stored = true;
        /* of what was withdrawn meanwhile the answer says nothing to anybody */
        if (x->last != OUTWARD_DROP + 1 || x->channel != CHANNEL_PUSH ||
            send_is_excused(s, x->trigger, x->user, x->channel))
            return;
        s->outside->tokens[x->token].gone_step = s->step;
        s->outside->tokens[x->token].gone_life = s->outside->life;
    }
}

/* ---- when it is asked ---- */
static void twice_check(struct sim *s, const struct leaving *x) {
    if (!x->asked) return;
    if (!x->stored && x->life == s->outside->life)
        violated(s, "t%u to u%u is under way twice", x->trigger, x->user);
    if (x->stored && x->last && x->last != OUTWARD_RETRY + 1)
        violated(s, "t%u leaves for u%u again, and its result %u was stored", x->trigger, x->user,
            x->last - 1u);
    s->counts[x->stored ? COUNT_SENDS_RETRIED : COUNT_SENDS_REPEATED]++;
}

static bool is_quiet(const struct sim *s, const struct wishes *w) {
    int minute = (int)(s->now_ms / 60000 % 1440);
    if (w->paused_ms > s->now_ms) return true;
    if (w->from < 0 || w->from == w->to) return false;
    return w->from < w->to ? minute >= w->from && minute < w->to
                           : minute >= w->from || minute < w->to;
}

static void wishes_check(struct sim *s, const struct leaving *x) {
    const struct wishes *w = &s->outside->wishes[x->app][x->user];
    const struct trigger *t = &s->triggers[x->trigger];
    if (x->channel == CHANNEL_PUSH && w->no_push[t->flow] == 1)
        violated(s, "t%u is pushed to u%u, who opted out", x->trigger, x->user);
    if (t->actor < SHUNNED && w->shuns[t->actor] == 1)
        violated(s, "t%u of a%u is sent to u%u, who shuns them", x->trigger, t->actor, x->user);
    if (!trigger_is_high(t) && is_quiet(s, w))
        violated(s, "t%u is sent to u%u in quiet hours", x->trigger, x->user);
}

static void forbidden_check(
    struct sim *s, struct cells *c, const struct leaving *x, struct bytes notification) {
    char text[16];
    struct content k;
    struct workflow w;
    snprintf(text, sizeof text, "t%u", x->trigger);
    struct bytes app = app_name(x->app);
    uint32_t row = (uint32_t)trigger_number(s, notification);
    if (content_cancelled(c, app, bytes_str(text)))
        violated(s, "t%u is sent to u%u, and was cancelled", x->trigger, x->user);
    if (trigger_expires(&s->triggers[x->trigger]) && content_find(c, app, bytes_str(text), &k) &&
        workflow_find(c, app, k.workflow, &w) && expiry_of(&w, &k) <= s->now_ms)
        violated(s, "t%u is sent to u%u, and had expired", x->trigger, x->user);
    if (!x->retried && s->triggers[row].read >> x->user & 1)
        violated(s, "t%u is sent to u%u, who has read it", row, x->user);
}

static uint32_t address_check(struct sim *s, const struct leaving *x, const struct send_task *t) {
    struct outside_world *o = s->outside;
    char text[32] = {0}, want[32];
    unsigned k;
    if (x->channel == CHANNEL_WEBHOOK) {
        if (memcmp(t->url.p, "https://", 8) != 0) violated(s, "a webhook without an address");
        return 0;
    }
    if (x->channel == CHANNEL_EMAIL) {
        snprintf(want, sizeof want, "u%u@%s", x->user, x->app ? "other" : "demo");
        if (!bytes_is(t->address, want)) violated(s, "a mail of u%u goes elsewhere", x->user);
        return 0;
    }
    memcpy(text, t->token.p, t->token.n < 31 ? t->token.n : 31);
    if (sscanf(text, "tok%u", &k) != 1 || k >= o->token_count)
        violated(s, "u%u has no address %s", x->user, text);
    const struct token *a = &o->tokens[k];
    if (a->app != x->app || a->user != x->user || a->device != x->to)
        violated(s, "a push of u%u goes to u%u", x->user, a->user);
    /* the relay that drops it comes in its own time */
    if (a->gone_step && a->gone_life == o->life && s->step > a->gone_step + 300)
        violated(s, "address %u of u%u is used, and is gone", k, x->user);
    return k;
}

static void words_check(struct sim *s, const struct leaving *x, const struct send_task *t) {
    char id[24];
    snprintf(id, sizeof id, "\"id\":\"%c%u\"", x->what == LEAVES_MESSAGE ? 'm' : 't', x->trigger);
    if (x->what == LEAVES_TOLD
            ? t->body.n < 4 || memcmp(t->body.p, x->app ? "othe" : "demo", 4) != 0
            : !t->payload.n || !memmem(t->payload.p, t->payload.n, id, strlen(id)))
        violated(s, "a send of %s says something else: %.*s", id, (int)t->payload.n,
            (const char *)t->payload.p);
}

static void answer_plan(struct sim *s, struct flying *f) {
    struct outside_world *o = s->outside;
    unsigned roll = s->faults ? (unsigned)below(s, 100) : 0;
    bool late = roll >= 97;
    f->verdict = OUTWARD_DELIVERED;
    if (roll >= 70 && roll < 86) f->verdict = OUTWARD_RETRY;
    f->failover = roll >= 80 && roll < 86;
    if (roll >= 86 && roll < 90) f->verdict = OUTWARD_GIVE_UP;
    if (roll >= 90 && roll < 97)
        f->verdict = f->of->channel == CHANNEL_PUSH ? OUTWARD_DROP : OUTWARD_GIVE_UP;
    if (f->verdict == OUTWARD_DROP) {
        struct token *k = &o->tokens[f->of->token];
        if (k->set_ms < f->put_ms) k->gone = true; /* once gone, for good */
        else f->verdict = OUTWARD_DELIVERED;
    }
    if (f->of->channel == CHANNEL_PUSH && o->tokens[f->of->token].gone)
        f->verdict = OUTWARD_DROP, f->failover = false;
    f->at_ms = s->now_ms + 1 + (int64_t)below(s, late ? 100000 : 300);
}

void other_put(struct sim *s, unsigned lane, struct send_task *t) {
    struct outside_world *o = s->outside;
    struct leaving *x = leaving_at(s, t->partition, t->id);
    struct cells *c = node_cells(s, t->partition);
    struct sending now;
    if (!sending_find(c, t->id, &now)) violated(s, "what leaves is not there");
    twice_check(s, x);
    if (x->what == LEAVES_TOLD) {
        wishes_check(s, x);
        forbidden_check(s, c, x, now.notification);
    }
    x->token = address_check(s, x, t);
    words_check(s, x, t);
    x->asked++;
    x->last = 0;
    x->stored = false;
    x->life = o->life;
    if (o->flying_count == o->flying_cap) {
        o->flying_cap = o->flying_cap ? o->flying_cap * 2 : 32;
        o->flying = must_realloc(o->flying, o->flying_cap * sizeof *o->flying);
    }
    struct flying f = {.lane = lane, .task = t, .of = x, .put_ms = s->now_ms};
    answer_plan(s, &f);
    o->flying[o->flying_count++] = f;
    s->counts[COUNT_SENDS_ASKED]++;
}

/* ---- its answers ---- */
static void answered_note(struct leaving *x, uint8_t verdict) {
    x->accepted |= verdict == OUTWARD_DELIVERED;
    x->refused |= verdict == OUTWARD_GIVE_UP;
    x->gone |= verdict == OUTWARD_DROP;
}

static struct send_result *result_make(struct sim *s, const struct flying *f) {
    struct send_result *r = must_alloc(sizeof *r);
    const struct send_task *t = f->task;
    r->id = t->id;
    r->cookie = t->cookie;
    r->partition = t->partition;
    r->channel = t->channel;
    snprintf(r->app, sizeof r->app, "%.*s", (int)t->app.n, (const char *)t->app.p);
    snprintf(r->user, sizeof r->user, "%.*s", (int)t->user.n, (const char *)t->user.p);
    if (t->device.n)
        snprintf(r->device, sizeof r->device, "%.*s", (int)t->device.n, (const char *)t->device.p);
    r->verdict = (enum outward_verdict)f->verdict;
    r->provider = t->provider;
    r->next_provider = f->failover ? t->provider + 1 : t->provider;
    r->failover = f->failover;
    if (f->verdict == OUTWARD_RETRY && !f->failover) r->retry_after_ms = (int64_t)below(s, 3000);
    r->took_ms = f->at_ms - f->put_ms;
    snprintf(r->provider_name, sizeof r->provider_name, "p%u", t->provider);
    if (f->verdict != OUTWARD_DELIVERED) snprintf(r->reason, sizeof r->reason, "words");
    return r;
}

static void flying_end(struct outside_world *o, size_t i) {
    send_task_free(&o->flying[i].task);
    o->flying[i] = o->flying[--o->flying_count];
}

struct send_result *other_take(struct sim *s, unsigned lane) {
    struct outside_world *o = s->outside;
    for (size_t i = 0; i < o->flying_count; i++) {
        struct flying *f = &o->flying[i];
        if (f->lane != lane || f->at_ms > s->now_ms) continue;
        struct send_result *r = result_make(s, f);
        f->of->last = (uint8_t)(f->verdict + 1);
        answered_note(f->of, f->verdict);
        flying_end(o, i);
        return r;
    }
    return NULL;
}

size_t other_out(const struct sim *s, unsigned lane) {
    const struct outside_world *o = s->outside;
    size_t n = 0;
    if (s->step < o->jammed_until) return SEND_OUT_MAX;
    for (size_t i = 0; i < o->flying_count; i++) n += o->flying[i].lane == lane;
    return n;
}

/* The other side may have taken what nobody waits for any more. */
void other_crashed(struct sim *s) {
    struct outside_world *o = s->outside;
    while (o->flying_count) {
        const struct flying *f = &o->flying[o->flying_count - 1];
        if (f->at_ms <= s->now_ms || chance(s, 50)) answered_note(f->of, f->verdict);
        flying_end(o, o->flying_count - 1);
    }
    o->jammed_until = 0;
    o->life++;
}

int64_t other_next_ms(const struct sim *s) {
    const struct outside_world *o = s->outside;
    int64_t next = INT64_MAX;
    for (size_t i = 0; i < o->flying_count; i++)
        if (o->flying[i].at_ms < next) next = o->flying[i].at_ms;
    return next;
}

void other_begin(struct sim *s) { s->outside = must_alloc(sizeof *s->outside); }
void other_free(struct sim *s) {
    struct outside_world *o = s->outside;
    other_crashed(s);
    for (unsigned p = 0; p < PARTITIONS; p++) {
        for (size_t n = 0; n < o->send_count[p]; n++) free(o->sends[p][n]);
        free(o->sends[p]);
    }
    free(o->flying);
    free(o);
}
