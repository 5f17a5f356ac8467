/* outbox: sends: what leaves the server, from the decision to its end. Each is a cell that lasts until the
 * other side took it or it is given up: nothing is lost with the process.
 * The cells are drawn in outbox_in.h.
 *
 * Keeps: a send has one turn that counts; a lease falls due with each, so that what was under way when
 * the server ended goes out again. Pauses double, and are spread by a hash, as apply knows no chance.
 * SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "due/due.h"
#include "mailbox/mailbox.h"
#include "outbox/outbox_in.h"
#include "outward/outward.h"
#include "person/person.h"
#include "prefs/prefs.h"

enum {
    LEASE_MS = 60000,
    BACKOFF_MS = 1000,
    BACKOFF_MAX_MS = 3600 * 1000,
    TRY_MS = 24 * 3600 * 1000, /* what nobody took for so long is given up */
    /* for a webhook, in a partition: what each lease brings again, all at once, stays a moment's work */
    MESSAGES_WAITING_MAX = 4096
};

/* ---- as stored ---- */
struct cell *sending_cell(struct cells *c, uint64_t n) {
    uint8_t room[300];
    return cells_get(c, key2n(room, '<', (struct bytes){0}, (struct bytes){0}, n));
}

void sending_encode(struct buf *b, const struct sending *x) {
    pack_u32(b, x->turn);
    pack_u32(b, x->attempts);
    pack_u8(b, x->channel);
    pack_u8(b, x->provider);
    pack_u8(b, x->counted);
    pack_u8(b, x->waits);
    pack_u64(b, (uint64_t)x->created_ms);
    pack_bytes(b, x->app);
    pack_bytes(b, x->user);
    pack_bytes(b, x->notification);
    pack_bytes(b, x->trigger);
    pack_bytes(b, x->to);
    pack_bytes(b, x->event);
}

bool sending_decode(struct unpack *u, struct sending *out) {
    out->turn = unpack_u32(u);
    out->attempts = unpack_u32(u);
    out->channel = unpack_u8(u);
    out->provider = unpack_u8(u);
    out->counted = unpack_u8(u);
    out->waits = unpack_u8(u) != 0;
    out->created_ms = (int64_t)unpack_u64(u);
    out->app = unpack_bytes(u);
    out->user = unpack_bytes(u);
    out->notification = unpack_bytes(u);
    out->trigger = unpack_bytes(u);
    out->to = unpack_bytes(u);
    out->event = unpack_bytes(u);
    return !u->bad;
}

bool sending_find(struct cells *c, uint64_t n, struct sending *out) {
    const struct cell *cell = sending_cell(c, n);
    struct unpack u = unpack_of(bytes_of(cell->data, cell->size));
    if (!cell->size) return false;
    check(sending_decode(&u, out));
    return true;
}

bool sending_copy(struct cells *c, uint64_t n, struct arena *arena, struct sending *out) {
    const struct cell *cell = sending_cell(c, n);
    if (!cell->size) return false;
    struct unpack u = unpack_of(arena_copy(arena, bytes_of(cell->data, cell->size)));
    return sending_decode(&u, out);
}

static void sending_write(struct step *s, uint64_t n, const struct sending *x) {
    struct buf b = {0};
    sending_encode(&b, x);
    cells_put(s->cells, sending_cell(s->cells, n), buf_view(&b));
    buf_done(&b);
}

/* ---- those of a user ---- */
static struct cell *list_cell(struct step *s, struct bytes user) {
    uint8_t room[300];
    return cells_get(s->cells, key2(room, '<', s->app, user));
}

static void list_remove(struct step *s, struct bytes user, uint64_t n) {
    struct cell *list = list_cell(s, user);
    for (uint32_t at = 0; at + sizeof n <= list->size; at += (uint32_t)sizeof n) {
        if (memcmp(list->data + at, &n, sizeof n) != 0) continue;
        cells_splice(s->cells, list, at, sizeof n, (struct bytes){0});
        return;
    }
}

/* ---- those of messages: counted, by webhook ---- */
bool sends_waiting_next(struct unpack *u, struct bytes *out_webhook, uint32_t *out_count) {
    if (!unpack_more(u)) return false;
    *out_webhook = unpack_bytes(u);
    *out_count = unpack_u32(u);
    return !u->bad;
}

static uint32_t waiting_of(struct step *s, struct bytes webhook) {
    const struct cell *cell = list_cell(s, (struct bytes){0});
    struct unpack u = unpack_of(bytes_of(cell->data, cell->size));
    struct bytes id;
    uint32_t n;
    while (sends_waiting_next(&u, &id, &n))
        if (bytes_eq(id, webhook)) return n;
    return 0;
}

static void waiting_set(struct step *s, struct bytes webhook, uint32_t now) {
    struct cell *cell = list_cell(s, (struct bytes){0});
    struct unpack u = unpack_of(bytes_of(cell->data, cell->size));
    struct bytes id;
    struct buf b = {0};
    uint32_t n;
    while (sends_waiting_next(&u, &id, &n)) {
        if (bytes_eq(id, webhook)) continue;
        pack_bytes(&b, id);
        pack_u32(&b, n);
    }
    if (now) {
        pack_bytes(&b, webhook);
        pack_u32(&b, now);
    }
    cells_put(s->cells, cell, buf_view(&b));
    buf_done(&b);
}

static void sending_end(struct step *s, uint64_t n, const struct sending *x) {
    if (sending_of_message(x)) waiting_set(s, x->to, waiting_of(s, x->to) - 1);
    else list_remove(s, x->user, n);
    cells_put(s->cells, sending_cell(s->cells, n), (struct bytes){0});
}

bool sends_list_whole(struct cells *c, struct bytes list) {
    for (size_t at = 0; at + sizeof(uint64_t) <= list.n; at += sizeof(uint64_t)) {
        uint64_t n;
        memcpy(&n, list.p + at, sizeof n);
        if (!sending_cell(c, n)->size) return false;
    }
    return list.n % sizeof(uint64_t) == 0;
}

bool sends_listed(struct cells *c, const struct sending *x, struct bytes key) {
    uint8_t room[300];
    uint64_t n = 0;
    if (sending_of_message(x)) return true;
    const struct cell *list = cells_get(c, key2(room, '<', x->app, x->user));
    for (size_t i = key.n - sizeof n; i < key.n; i++) n = n << 8 | key.p[i];
    for (size_t at = 0; at + sizeof n <= list->size; at += sizeof n)
        if (memcmp(list->data + at, &n, sizeof n) == 0) return true;
    return false;
}

/* ---- on its way ---- */
void sending_ask_record(uint64_t n, uint32_t turn, struct buf *out) {
    pack_u64(out, n);
    pack_u32(out, turn);
}

static void due_for(struct step *s, uint64_t n, uint32_t turn, int64_t at_ms) {
    struct buf b = {0};
    if (s->planted == BUG_SEND_UNLEASED) return;
    sending_ask_record(n, turn, &b);
    due_add(s, at_ms, KIND_NOTIFY_SEND_DUE, buf_view(&b));
    buf_done(&b);
}

static void core_tell(struct step *s, uint64_t n, bool ended) {
    struct buf b = {0};
    pack_u64(&b, n);
    pack_u8(&b, ended);
    step_deliver(s, &(struct delivery){.kind = DELIVER_SEND, .body = buf_view(&b)});
    buf_done(&b);
}

static void hand_over(struct step *s, uint64_t n, uint32_t turn) {
    due_for(s, n, turn, s->time_ms + LEASE_MS);
    core_tell(s, n, false);
}

/* One record may make thousands, so that its position says too little. */
static uint64_t number_next(struct step *s) {
    uint8_t room[300];
    uint64_t n = 0;
    struct cell *cell = cells_get(s->cells, key2(room, '<', (struct bytes){0}, (struct bytes){0}));
    if (cell->size) memcpy(&n, cell->data, sizeof n);
    n++;
    cells_put(s->cells, cell, bytes_of(&n, sizeof n));
    return n;
}

void sending_begin(struct step *s, const struct sending *x) {
    uint64_t n = number_next(s);
    sending_write(s, n, x);
    if (sending_of_message(x)) waiting_set(s, x->to, waiting_of(s, x->to) + 1);
    else cells_append(s->cells, list_cell(s, x->user), bytes_of(&n, sizeof n));
    hand_over(s, n, x->turn);
}

struct adding {
    struct step *s;
    struct sending x;
    struct bytes list; /* packed ids of those it goes to */
    struct buf packed;
};

static bool device_add(void *arg, struct bytes device, struct bytes push) {
    struct adding *a = arg;
    (void)push;
    pack_bytes(&a->packed, device);
    return true;
}
static void webhook_add(void *arg, struct bytes id, struct bytes url, struct bytes secrets) {
    struct adding *a = arg;
    (void)url, (void)secrets;
    pack_bytes(&a->packed, id);
}

static unsigned begin_each(struct adding *a) {
    struct unpack u = unpack_of(buf_view(&a->packed));
    unsigned n = 0;
    for (; unpack_more(&u); n++) {
        a->x.to = unpack_bytes(&u);
        if (sending_of_message(&a->x) && waiting_of(a->s, a->x.to) >= MESSAGES_WAITING_MAX)
            letter_add(a->s, &a->x, (struct bytes){0}, BYTES("too many messages wait for it"));
        else sending_begin(a->s, &a->x);
    }
    buf_done(&a->packed);
    return n;
}

bool sends_add(struct step *s, const struct outgoing *o) {
    struct person who;
    struct adding a = {.s = s,
        .x = {.channel = o->channel,
            .created_ms = s->time_ms,
            .app = s->app,
            .user = o->user,
            .notification = o->notification,
            .trigger = o->trigger}};
    if (o->channel == CHANNEL_PUSH) person_push(s->cells, s->app, o->user, device_add, &a);
    else if (o->channel == CHANNEL_WEBHOOK)
        webhooks_each(s->cells, s->app, "notification.sent", s->time_ms, webhook_add, &a);
    else if (person_find(s->cells, s->app, o->user, &who) && who.email.n)
        pack_bytes(&a.packed, (struct bytes){0});
    bool any = begin_each(&a) != 0;
    why_add(s, o->user, o->trigger, any ? WHY_SENDING : WHY_NO_ADDRESS, o->channel, 0,
        (struct bytes){0});
    return any;
}

void sends_event(struct step *s, const char *event, struct bytes user, struct bytes notification) {
    struct adding a = {.s = s,
        .x = {.channel = CHANNEL_WEBHOOK,
            .created_ms = s->time_ms,
            .app = s->app,
            .user = user,
            .notification = notification,
            .event = bytes_str(event)}};
    if (!webhooks_want(s->cells, s->app, event)) return;
    webhooks_each(s->cells, s->app, event, s->time_ms, webhook_add, &a);
    (void)begin_each(&a);
}

void sends_message(struct step *s, struct bytes conversation, struct bytes id, int64_t created_ms) {
    struct adding a = {.s = s,
        .x = {.channel = CHANNEL_WEBHOOK,
            .created_ms = created_ms,
            .app = s->app,
            .notification = conversation,
            .trigger = id,
            .event = BYTES("message.created")}};
    webhooks_each(s->cells, s->app, "message.created", s->time_ms, webhook_add, &a);
    (void)begin_each(&a);
}

static struct bytes list_copy(struct step *s, struct bytes user) {
    uint8_t room[300];
    const struct cell *list = cells_find(s->cells, key2(room, '<', s->app, user));
    return list ? arena_copy(s->arena, bytes_of(list->data, list->size)) : (struct bytes){0};
}

void sends_withdraw(struct step *s, struct bytes user, struct bytes notification) {
    struct bytes list = list_copy(s, user);
    if (s->planted == BUG_SEND_KEPT) return;
    for (size_t at = 0; at + sizeof(uint64_t) <= list.n; at += sizeof(uint64_t)) {
        uint64_t n;
        struct sending x;
        memcpy(&n, list.p + at, sizeof n);
        if (!sending_find(s->cells, n, &x) || !bytes_eq(x.notification, notification) || x.event.n)
            continue;
        struct bytes trigger = arena_copy(s->arena, x.trigger);
        uint8_t channel = x.channel;
        sending_end(s, n, &x);
        why_add(s, user, trigger, WHY_WITHDRAWN, channel, 0, (struct bytes){0});
    }
}

void sends_erase(struct step *s, struct bytes user) {
    struct bytes list = list_copy(s, user);
    for (size_t at = 0; at + sizeof(uint64_t) <= list.n; at += sizeof(uint64_t)) {
        uint64_t n;
        memcpy(&n, list.p + at, sizeof n);
        cells_put(s->cells, sending_cell(s->cells, n), (struct bytes){0});
    }
    if (list.n) cells_put(s->cells, list_cell(s, user), (struct bytes){0});
    letters_erase(s, user);
}

/* ---- what became of it ---- */
struct sent {
    uint64_t n;
    enum outward_verdict verdict;
    uint8_t provider, next;
    bool at_once;
    int64_t retry_after_ms, gone_since_ms, took_ms;
    struct bytes name, reason, id;
    struct bytes user, device; /* of a push whose address is no more */
};

static struct bytes detail_of(struct step *s, const struct sent *r) {
    struct buf b = {0};
    buf_bytes(&b, r->name);
    if (r->reason.n) buf_str(&b, b.n ? ": " : "");
    buf_bytes(&b, r->reason);
    struct bytes v = arena_copy(s->arena, buf_view(&b));
    buf_done(&b);
    return v;
}

static void told(
    struct step *s, const struct sending *x, enum why why, int64_t until_ms, struct bytes detail) {
    if (!x->event.n) why_add(s, x->user, x->trigger, why, x->channel, until_ms, detail);
}

/* The sends of the same to the person's other addresses know that it is counted. */
static void siblings_mark(struct step *s, const struct sending *x, uint8_t mark) {
    struct bytes list = list_copy(s, x->user);
    for (size_t at = 0; at + sizeof(uint64_t) <= list.n; at += sizeof(uint64_t)) {
        uint64_t n;
        struct sending other;
        memcpy(&n, list.p + at, sizeof n);
        if (!sending_copy(s->cells, n, s->arena, &other) || other.channel != x->channel ||
            other.event.n || !bytes_eq(other.trigger, x->trigger))
            continue;
        other.counted |= mark;
        sending_write(s, n, &other);
    }
}

struct tries {
    uint8_t channel;
    enum why code;
    unsigned n;
};
static void tries_note(void *arg, const struct decision *d) {
    struct tries *t = arg;
    t->n += d->code == t->code && d->channels == t->channel;
}

/* By an earlier step of the workflow's escalation, or before its dead letter was sent again: what was told
 * of it now is not the first of its sort. */
static bool counted_before(struct step *s, const struct sending *x, bool good) {
    struct content k;
    struct workflow w;
    struct tries t = {x->channel, good ? WHY_SENT : WHY_SEND_FAILED, 0};
    if (good && (!content_find(s->cells, s->app, x->trigger, &k) ||
                    !workflow_find(s->cells, s->app, k.workflow, &w) || !w.escalate.n))
        return false;
    why_each(s->cells, s->app, x->user, x->trigger, tries_note, &t);
    return t.n > 1;
}

/* Totals count people. */
static void counted(struct step *s, const struct sending *x, bool good) {
    uint8_t mark = good ? COUNTED_SENT : COUNTED_FAILED;
    enum total t = x->channel == CHANNEL_PUSH    ? TOTAL_PUSHED
                   : x->channel == CHANNEL_EMAIL ? TOTAL_MAILED
                                                 : TOTAL_HOOKED;
    if (x->event.n || x->counted & mark) return;
    if (counted_before(s, x, good)) return;
    content_count(s, x->trigger, good ? t : TOTAL_FAILED, 1);
    if (!good)
        step_tally(s,
            x->channel == CHANNEL_PUSH    ? CONTENT_TALLY_push_failed
            : x->channel == CHANNEL_EMAIL ? CONTENT_TALLY_mail_failed
                                          : CONTENT_TALLY_hook_failed,
            1);
    siblings_mark(s, x, mark);
}

/* Given up: by another webhook the app hears of it, unless it is one that failed. */
static void failed(struct step *s, const struct sending *x, const struct sent *r, bool letter) {
    told(s, x, WHY_SEND_FAILED, 0, detail_of(s, r));
    counted(s, x, false);
    if (letter && s->planted != BUG_LETTER_LOST) letter_add(s, x, r->name, r->reason);
    if (x->channel != CHANNEL_WEBHOOK)
        sends_event(s, "notification.failed", x->user, x->notification);
}

/* A provider says that a device's address is no more: one that came later is another. */
static void address_gone(struct step *s, const struct sending *x, const struct sent *r) {
    struct buf b = {0};
    pack_bytes(&b, x->user);
    pack_bytes(&b, x->to);
    pack_u64(&b, (uint64_t)(r->gone_since_ms ? r->gone_since_ms : s->time_ms - r->took_ms));
    step_relay(s, s->partition, KIND_PUSH_GONE, buf_view(&b));
    buf_done(&b);
}

static int64_t pause_of(const struct sending *x, uint64_t n, const struct sent *r) {
    int64_t ms = BACKOFF_MAX_MS;
    if (x->attempts < 13 && (BACKOFF_MS << x->attempts) < ms) ms = BACKOFF_MS << x->attempts;
    uint64_t spread = hash64(bytes_of((uint64_t[]){n, x->turn}, 2 * sizeof n));
    ms = ms * 3 / 4 + (int64_t)(spread % (uint64_t)(ms / 2)); /* within a quarter of it */
    return ms > r->retry_after_ms ? ms : r->retry_after_ms;
}

static void retried(struct step *s, struct sending *x, const struct sent *r) {
    int64_t at = s->time_ms;
    x->turn++;
    x->provider = r->next;
    if (!r->at_once) at += pause_of(x, r->n, r);
    if (at - x->created_ms > TRY_MS) {
        sending_end(s, r->n, x);
        failed(s, x, r, true);
        return;
    }
    if (!r->at_once) x->attempts++;
    x->waits = !r->at_once;
    sending_write(s, r->n, x);
    told(s, x, WHY_SEND_RETRY, at, detail_of(s, r));
    if (r->at_once) hand_over(s, r->n, x->turn);
    else due_for(s, r->n, x->turn, at);
}

static void apply_sent(struct step *s) {
    struct unpack u = unpack_of(s->body);
    struct sent r = {.n = unpack_u64(&u)};
    struct sending x;
    r.verdict = unpack_u8(&u);
    r.provider = unpack_u8(&u);
    r.next = unpack_u8(&u);
    r.at_once = unpack_u8(&u) != 0;
    r.retry_after_ms = (int64_t)unpack_u64(&u);
    r.gone_since_ms = (int64_t)unpack_u64(&u);
    r.took_ms = (int64_t)unpack_u64(&u);
    r.name = unpack_bytes(&u);
    r.reason = unpack_bytes(&u);
    r.id = unpack_bytes(&u);
    if (unpack_more(&u)) {
        r.user = unpack_bytes(&u);
        r.device = unpack_bytes(&u);
    }
    check(!u.bad);
    answer_ok(s->answer, 200);
    core_tell(s, r.n, true);
    if (!sending_copy(s->cells, r.n, s->arena, &x)) { /* withdrawn meanwhile, or told before */
        if (r.device.n) address_gone(s, &(struct sending){.user = r.user, .to = r.device}, &r);
        return;
    }
    if (r.verdict == OUTWARD_RETRY) {
        retried(s, &x, &r);
        return;
    }
    if (s->planted != BUG_SENT_KEPT || r.verdict != OUTWARD_DELIVERED) sending_end(s, r.n, &x);
    if (r.verdict == OUTWARD_DELIVERED) {
        told(s, &x, WHY_SENT, 0, r.name);
        counted(s, &x, true);
        return;
    }
    bool gone = r.verdict == OUTWARD_DROP && x.channel == CHANNEL_PUSH;
    failed(s, &x, &r, !gone);
    if (gone && s->planted != BUG_ADDRESS_KEPT) address_gone(s, &x, &r);
}

/* ---- its time has come (again) ---- */
enum why sending_against(
    struct cells *c, const struct sending *x, int64_t now_ms, unsigned planted, int64_t *until) {
    struct content k;
    struct workflow w;
    *until = 0;
    if (sending_of_message(x)) return 0; /* what it says is asked when it leaves */
    if (!mailbox_known(c, x->app, x->user)) return WHY_CANCELLED;
    if (x->event.n || planted == BUG_SEND_UNASKED) return 0;
    if (!content_find(c, x->app, x->trigger, &k) || content_cancelled(c, x->app, x->trigger) ||
        !workflow_find(c, x->app, k.workflow, &w))
        return WHY_CANCELLED;
    enum why why = forbidden(c, x->app, x->user, true, &w, &k, now_ms);
    if (why || !preferences_any(c, x->app, x->user)) return why;
    if (preferences_off(c, x->app, x->user, k.workflow) & x->channel) return WHY_OPTED_OUT;
    if (w.priority != PRIORITY_HIGH && x->channel != CHANNEL_WEBHOOK &&
        planted != BUG_QUIET_IGNORED)
        *until = preferences_quiet_until(c, x->app, x->user, now_ms);
    return 0;
}

static void apply_due(struct step *s) {
    struct unpack u = unpack_of(s->body);
    uint64_t n = unpack_u64(&u);
    uint32_t turn = unpack_u32(&u);
    struct sending x;
    int64_t until;
    check(!u.bad);
    answer_ok(s->answer, 200);
    if (!sending_copy(s->cells, n, s->arena, &x) || x.turn != turn) return;
    enum why why = sending_against(s->cells, &x, s->time_ms, s->planted, &until);
    if (why) {
        sending_end(s, n, &x);
        if (mailbox_known(s->cells, s->app, x.user)) told(s, &x, why, 0, (struct bytes){0});
        return;
    }
    x.turn++;
    x.waits = until > s->time_ms;
    sending_write(s, n, &x);
    if (x.waits) {
        told(s, &x, WHY_HELD_QUIET, until, (struct bytes){0});
        due_for(s, n, x.turn, until);
    } else {
        hand_over(s, n, x.turn);
    }
}

static const struct record_rule RULES[] = {
    {KIND_NOTIFY_SENT, apply_sent}, {KIND_NOTIFY_SEND_DUE, apply_due}};
const struct surface_part sends_part = {RULES, sizeof RULES / sizeof *RULES, NULL, 0};
