/* sim: people with push addresses and mail, what they wish, dead letters that are asked for again. u0 to
 * u2 have mail, u0 to u3 a phone, u0 and u2 a second one, u4 has nothing; u1 to u3 have quiet hours and
 * pauses, u2 and u3 opt out of pushes of a workflow, u3 blocks and mutes who acts. A webhook of "other"
 * hears of its messages. What must hold at the end: what was due to leave for someone was begun; each send was taken by the other side, or is a dead
 * letter, or had a reason not to leave; and their addresses are those that they gave last.
 * SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "due/due.h"
#include "person/person.h"
#include "sends.h"

enum { WISH_NO_PUSH, WISH_PAUSE, WISH_QUIET, WISH_SHUN };

uint16_t home_of_person(unsigned app, unsigned user) {
    return partition_of_user(app_name(app), user_name(user), PARTITIONS);
}
static struct bytes device_name(unsigned device) { return bytes_str(device ? "p1" : "p0"); }
static bool has_mail(unsigned user) { return user < 3; }
static bool has_device(unsigned user, unsigned device) {
    return device ? user == 0 || user == 2 : user < 4;
}

/* ---- addresses ---- */
static void address_set(struct sim *s, unsigned app, unsigned user, unsigned device, bool sure) {
    struct outside_world *o = s->outside;
    struct buf b = {0};
    struct ticket t = {.kind = TICKET_ADDRESS, .sent = o->token_count};
    char push[48];
    if (o->token_count == TOKENS_MAX) return;
    snprintf(push, sizeof push, "{\"fcm\":{\"token\":\"tok%u\"}}", o->token_count);
    pack_bytes(&b, user_name(user));
    pack_bytes(&b, device_name(device));
    pack_u8(&b, 1);
    pack_bytes(&b, bytes_str(push));
    o->tokens[o->token_count] = (struct token){
        .app = (uint8_t)app, .user = (uint8_t)user, .device = (uint8_t)device, .set_ms = s->now_ms};
    enum err e = node_append(s, home_of_person(app, user), KIND_DEVICE_PUT, app, buf_view(&b), &t);
    check(e == OK || !sure);
    o->token_count += e == OK;
    buf_done(&b);
}

static void mail_set(struct sim *s, unsigned app, unsigned user) {
    struct buf b = {0};
    struct ticket t = {.kind = TICKET_OTHER};
    char mail[32];
    snprintf(mail, sizeof mail, "u%u@%s", user, app ? "other" : "demo");
    pack_bytes(&b, user_name(user));
    pack_u8(&b, 1 << PROFILE_EMAIL);
    for (int i = 0; i < PROFILE_FIELDS; i++)
        pack_bytes(&b, i == PROFILE_EMAIL ? bytes_str(mail) : (struct bytes){0});
    check(node_append(s, home_of_person(app, user), KIND_USER_PUT, app, buf_view(&b), &t) == OK);
    buf_done(&b);
}

static void hook_set(struct sim *s, unsigned app) {
    struct buf b = {0};
    struct ticket t = {.kind = TICKET_OTHER};
    uint16_t home = partition_of_conversation(app_name(app), BYTES("#webhooks"), PARTITIONS);
    pack_bytes(&b, BYTES("h9"));
    pack_u8(&b, 1 | 2); /* url and events */
    pack_bytes(&b, BYTES("https://steady.example/"));
    pack_u32(&b, HOOK_MESSAGES);
    pack_bytes(&b, BYTES("whsec_c2VjcmV0"));
    check(node_append(s, home, KIND_WEBHOOK_PUT, app, buf_view(&b), &t) == OK);
    buf_done(&b);
}

void sends_begin(struct sim *s) {
    hook_set(s, 1);
    for (unsigned app = 0; app < APPS; app++)
        for (unsigned u = 0; u < USERS; u++) {
            if (has_mail(u)) mail_set(s, app, u);
            for (unsigned d = 0; d < PUSH_DEVICES; d++)
                if (has_device(u, d)) address_set(s, app, u, d, true);
        }
}

/* Rather one that is being written to. */
static void address_step(struct sim *s) {
    const struct outside_world *o = s->outside;
    unsigned app = (unsigned)below(s, APPS), user = (unsigned)below(s, 4), device = 0;
    if (o->flying_count && chance(s, 50)) {
        const struct leaving *x = o->flying[below(s, o->flying_count)].of;
        if (x->channel != CHANNEL_PUSH) return;
        app = x->app;
        user = x->user;
        device = x->to;
    }
    address_set(s, app, user, device, false);
}

/* ---- wishes ---- */
static void preferences_pack(struct sim *s, struct buf *b, struct ticket *t) {
    int minute = (int)(s->now_ms / 60000 % 1440);
    int64_t paused = t->on ? s->now_ms + 500 + (int64_t)below(s, 6000) : 0;
    int from = (minute + (int)below(s, 3) + 1439) % 1440, to = t->on ? (from + 2) % 1440 : from;
    uint8_t what = t->purpose;
    pack_bytes(b, user_name(t->user));
    pack_u8(b, what == WISH_QUIET ? 1 : what == WISH_PAUSE ? 2 : 0);
    pack_u16(b, (uint16_t)(what == WISH_QUIET ? from : 0));
    pack_u16(b, (uint16_t)(what == WISH_QUIET ? to : 0));
    pack_u8(b, QUIET_ALL);
    pack_u64(b, what == WISH_PAUSE ? (uint64_t)paused : 0);
    if (what == WISH_NO_PUSH) {
        pack_bytes(b, trigger_flow(t->other));
        pack_u8(b, CHANNEL_PUSH);
        pack_u8(b, CHANNEL_PUSH);
        pack_u8(b, t->on ? 0 : CHANNEL_PUSH);
    }
    t->session = what == WISH_PAUSE ? (uint64_t)paused : (uint64_t)from << 16 | (uint64_t)to;
}

static void wish_unknown(struct wishes *w, const struct ticket *t) {
    w->pending = true;
    if (t->purpose == WISH_NO_PUSH) {
        w->no_push[t->other] = NOT_KNOWN;
        if (t->on) w->ever_no_push |= (uint16_t)(1u << t->other);
    } else if (t->purpose == WISH_SHUN) {
        w->shuns[t->other] = NOT_KNOWN;
        w->ever_shunned[t->other] |= t->on;
    } else if (t->purpose == WISH_PAUSE) {
        w->paused_ms = -1;
    } else {
        w->from = -1;
    }
}

static void wish_step(struct sim *s) {
    struct ticket t = {.kind = TICKET_WISH,
        .app = (uint8_t)below(s, APPS),
        .user = (uint8_t)(1 + below(s, 3)),
        .purpose = (uint8_t)below(s, 4),
        .on = chance(s, 50)};
    struct wishes *w = &s->outside->wishes[t.app][t.user];
    struct buf b = {0};
    uint8_t kind = KIND_PREFERENCES_PUT;
    if (w->pending || (t.purpose == WISH_NO_PUSH && t.user < 2)) return;
    if (t.purpose == WISH_SHUN) {
        char actor[8];
        if (t.user != 3) return;
        t.other = (uint8_t)(1 + below(s, SHUNNED - 1));
        snprintf(actor, sizeof actor, "a%u", t.other);
        pack_bytes(&b, user_name(t.user));
        pack_bytes(&b, bytes_str(actor));
        pack_u8(&b, t.other); /* users.c: 1 blocks, 2 mutes */
        pack_u8(&b, t.on);
        kind = KIND_RELATION;
    } else {
        t.other = trigger_flow_to_refuse(s);
        preferences_pack(s, &b, &t);
    }
    if (node_append(s, home_of_person(t.app, t.user), kind, t.app, buf_view(&b), &t) == OK)
        wish_unknown(w, &t);
    buf_done(&b);
}

static void wish_granted(struct sim *s, const struct ticket *t) {
    struct wishes *w = &s->outside->wishes[t->app][t->user];
    w->pending = false;
    if (t->purpose == WISH_NO_PUSH) w->no_push[t->other] = t->on;
    else if (t->purpose == WISH_SHUN) w->shuns[t->other] = t->on;
    else if (t->purpose == WISH_PAUSE) w->paused_ms = (int64_t)t->session;
    else {
        w->from = (int)(t->session >> 16);
        w->to = (int)(t->session & 0xffff);
    }
}

/* ---- dead letters ---- */
struct letter {
    uint64_t key;
    struct sending x;
};
static bool letter_at(
    struct sim *s, uint16_t partition, unsigned app, size_t at, struct letter *l) {
    uint8_t room[300];
    struct cells *c = node_cells(s, partition);
    const struct cell *list = cells_get(c, key2(room, '=', app_name(app), (struct bytes){0}));
    if ((at + 1) * sizeof l->key > list->size) return false;
    memcpy(&l->key, list->data + at * sizeof l->key, sizeof l->key);
    const struct cell *cell =
        cells_get(c, key2n(room, '=', app_name(app), (struct bytes){0}, l->key));
    struct unpack u = unpack_of(bytes_of(cell->data, cell->size));
    if (!cell->size || !sending_decode(&u, &l->x)) violated(s, "a dead letter is listed and gone");
    return true;
}

static struct letter_retry *retry_of(struct sim *s, uint64_t key) {
    struct outside_world *o = s->outside;
    for (uint32_t i = 0; i < o->retry_count; i++)
        if (o->retries[i].key == key) return &o->retries[i];
    if (o->retry_count == RETRIES_MAX) return NULL;
    struct letter_retry *r = &o->retries[o->retry_count++];
    *r = (struct letter_retry){.key = key};
    return r;
}

static void letter_step(struct sim *s) {
    struct outside_world *o = s->outside;
    unsigned app = (unsigned)below(s, APPS);
    struct letter l;
    struct buf b = {0};
    struct letter_retry *r;
    if (o->retry_count && chance(s, 30)) { /* one of before, which may be sent again already */
        r = &o->retries[below(s, o->retry_count)];
    } else {
        if (!letter_at(s, (uint16_t)below(s, PARTITIONS), app, below(s, 3), &l)) return;
        if (!(r = retry_of(s, l.key))) return;
        r->of = leaving_of(s, &l.x);
    }
    uint16_t home = (uint16_t)(r->key % 512); /* letters.c */
    struct ticket t = {.kind = TICKET_LETTER, .sent = (uint32_t)(r - o->retries)};
    pack_u64(&b, r->key);
    if (node_append(s, home, KIND_NOTIFY_RETRY, r->of.app, buf_view(&b), &t) == OK &&
        r->tries < 255)
        r->tries++;
    buf_done(&b);
}

static void letter_answered(struct sim *s, const struct ticket *t, const struct answer *a) {
    struct letter_retry *r = &s->outside->retries[t->sent];
    if (a->problem) {
        if (r->tries == 1) violated(s, "a dead letter of u%u is listed and not found", r->of.user);
        return;
    }
    if (r->acked) violated(s, "a dead letter of u%u is sent again twice", r->of.user);
    r->acked = true;
    s->counts[COUNT_LETTERS_RETRIED]++;
}

/* ---- what they do ---- */
void send_step(struct sim *s) {
    unsigned what = (unsigned)below(s, 100);
    if (what < 40) wish_step(s);
    else if (what < 65) address_step(s);
    else if (what < 95) letter_step(s);
    else s->outside->jammed_until = s->step + below(s, 120);
}

void send_answered(struct sim *s, const struct ticket *t, const struct answer *a) {
    if (t->kind == TICKET_WISH || t->kind == TICKET_ADDRESS)
        if (a->problem) violated(s, "a wish or an address is refused: %s", a->detail);
    if (t->kind == TICKET_ADDRESS) s->outside->tokens[t->sent].acked = true;
    if (t->kind == TICKET_WISH) wish_granted(s, t);
    if (t->kind == TICKET_LETTER) letter_answered(s, t, a);
}

void sends_crashed(struct sim *s) {
    other_crashed(s);
    for (unsigned a = 0; a < APPS; a++)
        for (unsigned u = 0; u < USERS; u++) s->outside->wishes[a][u].pending = false;
}

/* true: nothing is to leave any more. Quiet hours and leases pass. */
bool sends_finish(struct sim *s) {
    enum { AHEAD_MS = 15 * 60 * 1000, LEASES_MS = 61 * 1000 };
    int64_t next = INT64_MAX;
    for (uint16_t p = 0; p < PARTITIONS; p++) {
        int64_t due = due_next(node_cells(s, p));
        if (due < next) next = due;
    }
    if (next > s->now_ms + AHEAD_MS) return true;
    s->now_ms = (next > s->now_ms ? next : s->now_ms) + LEASES_MS;
    return false;
}

/* ---- what must hold ---- */
bool send_is_excused(struct sim *s, uint32_t n, unsigned user, uint8_t channel) {
    const struct trigger *t = &s->triggers[n];
    const struct wishes *w = &s->outside->wishes[t->app][user];
    return t->cancel_tried || t->marked >> user & 1 || trigger_expires(t) ||
           (channel == CHANNEL_PUSH && w->ever_no_push >> t->flow & 1) ||
           (t->actor < SHUNNED && w->ever_shunned[t->actor]);
}

static bool leaving_is(struct sim *s, const struct sending *c, const struct leaving *x) {
    struct leaving other = leaving_of(s, c);
    return leaving_same(&other, x);
}
static bool has_letter(struct sim *s, uint16_t partition, const struct leaving *x) {
    struct letter l;
    for (size_t at = 0; letter_at(s, partition, x->app, at, &l); at++)
        if (leaving_is(s, &l.x, x)) return true;
    for (uint32_t i = 0; i < s->outside->retry_count; i++) {
        const struct letter_retry *r = &s->outside->retries[i];
        if (r->tries && leaving_same(&r->of, x)) return true;
    }
    return false;
}

static void leaving_check(struct sim *s, uint16_t p, uint64_t n) {
    const struct leaving *x = s->outside->sends[p][n];
    struct sending c;
    if (!x || !x->there) return;
    if (sending_find(node_cells(s, p), n, &c))
        violated(s, "t%u is still to be sent to u%u, and nothing is due", x->trigger, x->user);
    s->counts[COUNT_SENDS_TAKEN] += x->accepted;
    s->counts[COUNT_SENDS_LETTERS] += !x->accepted && has_letter(s, p, x);
    s->counts[COUNT_SENDS_AGED] += x->stored && x->last == OUTWARD_RETRY + 1 && has_letter(s, p, x);
    if (x->accepted || (x->gone && x->channel == CHANNEL_PUSH) || has_letter(s, p, x)) return;
    if (x->what == LEAVES_TOLD && send_is_excused(s, x->trigger, x->user, x->channel)) return;
    violated(s, "%c%u was to be sent to u%u by channel %u, and was %s",
        x->what == LEAVES_MESSAGE ? 'm' : 't', x->trigger, x->user, x->channel,
        x->refused ? "refused, without a dead letter" : "forgotten");
}

static void no_address_note(void *arg, const struct decision *d) {
    uint8_t *channels = arg;
    if (d->code == WHY_NO_ADDRESS) *channels |= d->channels;
}
static bool may_lack(const struct sim *s, unsigned app, unsigned user) {
    const struct outside_world *o = s->outside;
    bool lost = !has_device(user, 0);
    for (uint32_t i = 0; i < o->token_count; i++)
        lost |= o->tokens[i].app == app && o->tokens[i].user == user && o->tokens[i].gone;
    return lost;
}
/* Each person that it was surely for. */
static void begun_check(struct sim *s, uint32_t n, unsigned user) {
    const struct trigger *t = &s->triggers[n];
    char text[16];
    uint8_t none = 0;
    struct cells *c = node_cells(s, home_of_person(t->app, user));
    snprintf(text, sizeof text, "t%u", n);
    for (uint8_t one = CHANNEL_PUSH; one <= CHANNEL_EMAIL; one = (uint8_t)(one << 1)) {
        if (!(trigger_channels(t) & one) || t->begun[user] & one) continue;
        if (send_is_excused(s, n, user, one)) continue;
        why_each(c, app_name(t->app), user_name(user), bytes_str(text), no_address_note, &none);
        if (none & one && (one == CHANNEL_PUSH ? may_lack(s, t->app, user) : !has_mail(user)))
            continue;
        violated(s, "t%u should have left for u%u by channel %u", n, user, one);
    }
}

struct people {
    uint8_t some, sure; /* a bit each: for whom the other side took one; and that is stored */
};
static struct people taken_by(struct sim *s, uint32_t n, uint8_t channel) {
    const struct outside_world *o = s->outside;
    struct people who = {0};
    for (unsigned p = 0; p < PARTITIONS; p++)
        for (size_t i = 0; i < o->send_count[p]; i++) {
            const struct leaving *x = o->sends[p][i];
            if (!x || x->what != LEAVES_TOLD || x->trigger != n || x->channel != channel) continue;
            if (!x->accepted) continue;
            who.some |= (uint8_t)(1u << x->user);
            if (x->stored && x->last == OUTWARD_DELIVERED + 1 &&
                !send_is_excused(s, n, x->user, channel))
                who.sure |= (uint8_t)(1u << x->user);
        }
    return who;
}

/* Totals count people, once; and nothing is held any more. */
static void totals_check(struct sim *s, uint32_t n) {
    const struct trigger *t = &s->triggers[n];
    uint32_t total[TOTAL_COUNT] = {0};
    char text[16];
    snprintf(text, sizeof text, "t%u", n);
    for (uint16_t p = 0; p < PARTITIONS; p++)
        for (int k = 0; k < TOTAL_COUNT; k++)
            total[k] +=
                content_total(node_cells(s, p), app_name(t->app), bytes_str(text), (enum total)k);
    if (total[TOTAL_HELD]) violated(s, "t%u is held still for %u", n, total[TOTAL_HELD]);
    for (uint8_t one = CHANNEL_PUSH; one <= CHANNEL_EMAIL; one = (uint8_t)(one << 1)) {
        if (!(trigger_channels(t) & one)) continue;
        struct people who = taken_by(s, n, one);
        uint32_t now = total[one == CHANNEL_PUSH ? TOTAL_PUSHED : TOTAL_MAILED];
        if (now < (uint32_t)__builtin_popcount(who.sure) ||
            now > (uint32_t)__builtin_popcount(who.some))
            violated(s, "t%u went by channel %u to %u people, its totals say %u", n, one,
                (unsigned)__builtin_popcount(who.some), now);
    }
}

static void address_final_check(struct sim *s, unsigned app, unsigned user, unsigned device) {
    const struct outside_world *o = s->outside;
    const struct token *last = NULL;
    bool sure = true;
    unsigned now = 0;
    char text[64] = {0};
    struct person_device d;
    person_device_get(node_cells(s, home_of_person(app, user)), app_name(app), user_name(user),
        device_name(device), &d);
    memcpy(text, d.push.p, d.push.n < 63 ? d.push.n : 63);
    bool there = sscanf(text, "{\"fcm\":{\"token\":\"tok%u", &now) == 1;
    for (uint32_t i = 0; i < o->token_count; i++) {
        const struct token *k = &o->tokens[i];
        if (k->app != app || k->user != user || k->device != device) continue;
        sure = k->acked;
        if (k->acked) last = k;
    }
    if (there && o->tokens[now].gone_step)
        violated(s, "u%u has address %u, which is gone", user, now);
    if (there && last && &o->tokens[now] < last)
        violated(s, "u%u has address %u, and gave another one since", user, now);
    if (sure && last && !last->gone && !there)
        violated(s, "u%u lost address %u, which is not gone", user, (unsigned)(last - o->tokens));
}

/* Each message that was stored is told to the webhook that has been there from the start. */
static void messages_check(struct sim *s) {
    const struct outside_world *o = s->outside;
    uint8_t *told = must_alloc(SENT_MAX);
    for (unsigned p = 0; p < PARTITIONS; p++)
        for (size_t n = 0; n < o->send_count[p]; n++) {
            const struct leaving *x = o->sends[p][n];
            if (x && x->what == LEAVES_MESSAGE && x->to == HOOK_STEADY) told[x->trigger] = 1;
        }
    for (uint32_t i = 0; i < s->sent_count; i++)
        if (s->sent[i].app && s->sent[i].acked_once && !told[i])
            violated(s, "m%u was stored, and a webhook never heard of it", i);
    free(told);
}

void check_sends(struct sim *s, bool complete) {
    const struct outside_world *o = s->outside;
    if (!complete) return;
    messages_check(s);
    for (uint16_t p = 0; p < PARTITIONS; p++)
        for (uint64_t n = 0; n < o->send_count[p]; n++) leaving_check(s, p, n);
    for (uint32_t n = 0; n < s->trigger_count; n++) {
        totals_check(s, n);
        for (unsigned u = 0; u < USERS; u++)
            if (trigger_is_surely_for(s, n, u)) begun_check(s, n, u);
    }
    for (unsigned app = 0; app < APPS; app++)
        for (unsigned u = 0; u < 4; u++)
            for (unsigned d = 0; d < PUSH_DEVICES; d++)
                if (has_device(u, d)) address_final_check(s, app, u, d);
}
