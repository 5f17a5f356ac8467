/* sim: notifications. Triggers to named users, to a topic and to everyone, in batches and one by one, sent
 * again when a crash left open what became of them; marks and cancels beside them. What must hold:
 * nobody is told twice of one trigger, nobody is missed who was named, or was in its audience all the
 * time, who opted out or mutes the actor is told of nothing, what was cancelled does not stand unseen
 * any more, totals say whom it was for, and inboxes are whole by what `kith check` asks: counts equal a
 * recount. Each app's u0 and u1 are in the topic from the start; u1 opted out of `quiet` and mutes `troll`.
 * What leaves the server by push and mail: sends.c.
 * SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <string.h>

#include "sends.h"

enum {
    FLOW_PLAIN,
    FLOW_GROUPED,
    FLOW_SWEPT,
    FLOW_DIGEST,
    FLOW_QUIET,
    FLOW_LOUD,
    FLOW_URGENT,
    FLOW_ESCALATED,
    FLOW_BRIEF,
    FLOWS
};
enum { TO_NAMED, TO_TOPIC, TO_EVERYONE };
#define WORDS "\"templates\":{\"en\":{\"title\":\"{actor} {count}\",\"body\":\"{object}\"}}}"
static const struct {
    const char *id, *json;
} FLOW[FLOWS] = {{"plain", "{\"channels\":[\"inapp\"]," WORDS},
    {"grouped", "{\"channels\":[\"inapp\"],\"group_by\":[\"object\"]," WORDS},
    {"swept", "{\"channels\":[\"inapp\",\"push\"]," WORDS},
    {"digest",
        "{\"channels\":[\"inapp\"],\"digest\":{\"window\":\"2s\",\"first_at_once\":true}," WORDS},
    {"quiet", "{\"channels\":[\"inapp\"]," WORDS},
    {"loud", "{\"channels\":[\"inapp\",\"push\",\"email\"]," WORDS},
    {"urgent", "{\"channels\":[\"inapp\",\"push\"],\"priority\":\"high\"," WORDS},
    {"escalated",
        "{\"channels\":[\"inapp\"],\"escalate\":[{\"after\":\"1s\",\"to\":\"push\",\"unless\":"
        "\"seen\"},{\"after\":\"4s\",\"to\":\"email\",\"unless\":\"read\"}]," WORDS},
    {"brief", "{\"channels\":[\"push\",\"email\"],\"expires_after\":\"3s\"," WORDS}};
static struct template_kit *kit;
static struct template_cache *programs;

void triggers_tools(struct tools *t) {
    if (!kit) kit = template_kit_create();
    if (!programs) programs = template_cache_create(kit, 16);
    t->kit = kit;
    t->programs = programs;
}
void triggers_tools_free(void) {
    if (programs) template_cache_free(&programs);
    if (kit) template_kit_free(&kit);
}

static uint16_t home_of(unsigned app, struct bytes id) {
    return partition_of_conversation(app_name(app), id, PARTITIONS);
}
static uint16_t at_home(unsigned app, unsigned user) {
    return partition_of_user(app_name(app), user_name(user), PARTITIONS);
}
static struct bytes trigger_name(char text[static 16], uint32_t n) {
    snprintf(text, 16, "t%u", n);
    return bytes_str(text);
}

/* ---- setting up ---- */
static void set_up(struct sim *s, uint16_t partition, uint8_t kind, unsigned app, struct buf *b) {
    struct ticket t = {.kind = TICKET_OTHER};
    check(node_append(s, partition, kind, app, buf_view(b), &t) == OK);
    buf_done(b);
}
static void join(struct sim *s, unsigned app, unsigned user, bool on, bool sure) {
    struct buf b = {0}, ids = {0};
    struct ticket t = {.kind = TICKET_OTHER};
    pack_bytes(&ids, user_name(user));
    pack_bytes(&b, BYTES("news"));
    pack_bytes(&b, on ? buf_view(&ids) : (struct bytes){0});
    pack_bytes(&b, on ? (struct bytes){0} : buf_view(&ids));
    enum err e = node_append(s, at_home(app, user), KIND_TOPIC_USERS, app, buf_view(&b), &t);
    check(e == OK || !sure);
    buf_done(&b);
    buf_done(&ids);
}
void triggers_begin(struct sim *s) {
    for (unsigned app = 0; app < APPS; app++) {
        for (int f = 0; f < FLOWS; f++) {
            struct buf b = {0}, definition = {0};
            struct answer a = {0};
            check(definition_read(&s->tools, bytes_str(FLOW[f].json), &definition, &a));
            pack_bytes(&b, bytes_str(FLOW[f].id));
            pack_u64(&b, 0);
            pack_bytes(&b, buf_view(&definition));
            set_up(s, home_of(app, BYTES("#workflows")), KIND_WORKFLOW_PUT, app, &b);
            buf_done(&definition);
        }
        join(s, app, 0, true, true);
        join(s, app, 1, true, true);
        struct buf b = {0};
        pack_bytes(&b, user_name(1));
        pack_u8(&b, 0);
        pack_u16(&b, 0);
        pack_u16(&b, 0);
        pack_u8(&b, QUIET_ALL);
        pack_u64(&b, 0);
        pack_bytes(&b, BYTES("quiet"));
        pack_u8(&b, CHANNEL_INAPP);
        pack_u8(&b, CHANNEL_INAPP);
        pack_u8(&b, 0);
        set_up(s, at_home(app, 1), KIND_PREFERENCES_PUT, app, &b);
        pack_bytes(&b, user_name(1));
        pack_bytes(&b, BYTES("troll"));
        pack_u8(&b, 2); /* users.c: mutes */
        pack_u8(&b, true);
        set_up(s, at_home(app, 1), KIND_RELATION, app, &b);
    }
}

/* ---- who sends them ---- */
static void item_pack(const struct sim *s, uint32_t n, struct buf *out) {
    const struct trigger *t = &s->triggers[n];
    char id[16], actor[16], object[16];
    struct buf item = {0}, users = {0};
    snprintf(actor, sizeof actor, "a%u", t->actor);
    snprintf(object, sizeof object, "%s %u", t->app ? "other" : "demo", n % 3);
    struct content k = {.id = trigger_name(id, n),
        .workflow = bytes_str(FLOW[t->flow].id),
        .actor = t->actor ? bytes_str(actor) : BYTES("troll"),
        .object = bytes_str(object),
        .created_ms = s->now_ms};
    if (t->to == TO_TOPIC) k.audience = BYTES("#news");
    if (t->to == TO_EVERYONE) k.audience = BYTES("*");
    for (unsigned u = 0; u < USERS; u++)
        if (t->named >> u & 1) pack_bytes(&users, user_name(u));
    content_encode(&item, &k);
    pack_bytes(&item, buf_view(&users));
    pack_bytes(out, buf_view(&item));
    buf_done(&item);
    buf_done(&users);
}
/* All of one record live in one partition. */
static void send(struct sim *s, uint32_t first, uint32_t n) {
    struct buf b = {0};
    char id[16];
    unsigned app = s->triggers[first].app;
    struct ticket t = {
        .kind = TICKET_TRIGGER, .app = (uint8_t)app, .sent = first, .other = (uint8_t)n};
    uint16_t home = home_of(app, trigger_name(id, first));
    for (uint32_t i = first; i < first + n; i++) item_pack(s, i, &b);
    if (node_append(s, home, KIND_NOTIFY, app, buf_view(&b), &t) == OK)
        for (uint32_t i = first; i < first + n; i++) s->triggers[i].state = SENT_PENDING;
    buf_done(&b);
}
static void trigger_new(struct sim *s) {
    uint32_t first = s->trigger_count, n = chance(s, 30) ? 1 + (uint32_t)below(s, 4) : 1;
    char id[16];
    if (first + n > TRIGGERS_MAX) return;
    unsigned app = (unsigned)below(s, APPS);
    uint16_t home = home_of(app, trigger_name(id, first));
    for (uint32_t i = first; i < first + n; i++) {
        if (home_of(app, trigger_name(id, i)) != home) n = i - first; /* those of one partition */
        struct trigger *t = &s->triggers[i];
        *t = (struct trigger){.app = (uint8_t)app,
            .flow = (uint8_t)below(s, FLOWS),
            .to = (uint8_t)(chance(s, 50) ? TO_NAMED : 1 + below(s, 2)),
            .actor = (uint8_t)below(s, 9),
            .state = SENT_UNKNOWN};
        if (t->to == TO_NAMED) t->named = (uint8_t)(1 + below(s, (1 << USERS) - 1));
        t->batch = first;
    }
    if (!n) n = 1;
    for (uint32_t i = first; i < first + n; i++) s->triggers[i].many = (uint8_t)n;
    s->trigger_count += n;
    send(s, first, n);
}
static void trigger_again(struct sim *s) {
    if (!s->trigger_count) return;
    uint32_t i =
        s->trigger_count - 1 - (uint32_t)below(s, s->trigger_count < 20 ? s->trigger_count : 20);
    const struct trigger *t = &s->triggers[i];
    if (t->state != SENT_PENDING) send(s, t->batch, t->many);
}
static void cancel(struct sim *s) {
    char id[16];
    if (!s->trigger_count) return;
    uint32_t i =
        s->trigger_count - 1 - (uint32_t)below(s, s->trigger_count < 20 ? s->trigger_count : 20);
    struct trigger *t = &s->triggers[i];
    struct ticket k = {.kind = TICKET_CANCEL, .sent = i};
    struct bytes name = trigger_name(id, i);
    char first[16];
    if (t->state != SENT_ACKED) return;
    t->cancel_tried = true;
    (void)!node_append(
        s, home_of(t->app, trigger_name(first, t->batch)), KIND_NOTIFY_CANCEL, t->app, name, &k);
}
static void mark(struct sim *s) {
    struct buf b = {0}, ids = {0};
    struct ticket k = {.kind = TICKET_MARK, .purpose = (uint8_t)(1 + below(s, 4))};
    char id[16];
    if (!s->trigger_count) return;
    uint32_t i =
        s->trigger_count - 1 - (uint32_t)below(s, s->trigger_count < 20 ? s->trigger_count : 20);
    unsigned user = (unsigned)below(s, USERS);
    bool upto = chance(s, 30);
    struct bytes name = trigger_name(id, i);
    pack_bytes(&ids, name);
    pack_bytes(&b, user_name(user));
    pack_u8(&b, k.purpose);
    pack_bytes(&b, upto ? (struct bytes){0} : buf_view(&ids));
    pack_bytes(&b, upto ? name : (struct bytes){0});
    /* a later one may stand before it in the inbox */
    for (uint32_t n = upto ? 0 : i; n <= (upto ? s->trigger_count - 1 : i); n++)
        if (s->triggers[n].app == s->triggers[i].app)
            s->triggers[n].marked |= (uint8_t)(1u << user);
    k.user = (uint8_t)user;
    k.on = !upto;
    k.sent = i;
    (void)!node_append(s, at_home(s->triggers[i].app, user), KIND_NOTIFY_MARKS, s->triggers[i].app,
        buf_view(&b), &k);
    buf_done(&b);
    buf_done(&ids);
}
void trigger_step(struct sim *s) {
    unsigned what = (unsigned)below(s, 100);
    if (what < 50) trigger_new(s);
    else if (what < 60) trigger_again(s);
    else if (what < 68) cancel(s);
    else if (what < 90) mark(s);
    else join(s, (unsigned)below(s, APPS), 2 + (unsigned)below(s, USERS - 2), chance(s, 60), false);
}
void triggers_crashed(struct sim *s) {
    for (uint32_t i = 0; i < s->trigger_count; i++)
        if (s->triggers[i].state == SENT_PENDING)
            s->triggers[i].state = s->triggers[i].acked ? SENT_ACKED : SENT_UNKNOWN;
}
/* true: what became of each is known. */
bool triggers_finish(struct sim *s) {
    bool all = true;
    for (uint32_t i = 0; i < s->trigger_count; i++)
        if (s->triggers[i].state != SENT_ACKED) {
            if (s->triggers[i].state == SENT_UNKNOWN)
                send(s, s->triggers[i].batch, s->triggers[i].many);
            all = false;
        }
    return all;
}
static void marked(struct sim *s, const struct ticket *k, const struct answer *a) {
    struct trigger *t = &s->triggers[k->sent];
    uint8_t who = (uint8_t)(1u << k->user);
    if (!k->on || a->problem || a->body.n < 12 || memcmp(a->body.p, "{\"changed\":1", 12) != 0)
        return;
    if (k->purpose != MARK_ARCHIVED) t->seen |= who;
    if (k->purpose != MARK_SEEN) t->read |= who;
}
void trigger_answered(struct sim *s, const struct ticket *t, const struct answer *a) {
    if (t->kind == TICKET_CANCEL) {
        if (a->problem) violated(s, "cancelling is refused: %s", a->detail);
        s->triggers[t->sent].cancelled = true;
        s->counts[COUNT_CANCELLED]++;
    }
    if (t->kind == TICKET_MARK) marked(s, t, a);
    if (t->kind != TICKET_TRIGGER) return;
    struct unpack u = unpack_of(buf_view(&a->body));
    for (uint32_t i = t->sent; i < t->sent + t->other; i++) {
        if (a->problem || unpack_u8(&u)) violated(s, "t%u is refused: %s", i, a->detail);
        (void)unpack_bytes(&u);
        (void)unpack_bytes(&u);
        s->triggers[i].state = SENT_ACKED;
        s->triggers[i].acked = true;
        s->counts[COUNT_TRIGGERS]++;
    }
}

/* ---- what must hold ---- */
struct heard { /* by one user of one trigger */
    unsigned joined;
    bool waits;
};
static void decision_take(void *arg, const struct decision *d) {
    struct heard *h = arg;
    h->joined += d->code == WHY_GROUPED || d->code == WHY_DIGEST_SENT;
    if (d->code == WHY_DIGEST_OPENED || d->code == WHY_DIGEST_JOINED) h->waits = true;
    if (d->code == WHY_DIGEST_SENT || d->code == WHY_CANCELLED) h->waits = false;
}
/* An entry for an audience that is not stored as a row yet: of two that join one group then, only the
 * newer shows by its name. */
struct merging {
    struct bytes id;
    bool there;
};
static bool merging_look(void *arg, const struct entry *e, struct bytes audience) {
    struct merging *m = arg;
    struct bytes id;
    (void)audience;
    if (said_shared(e, &id) && bytes_eq(id, m->id)) m->there = true;
    return !m->there;
}
bool notification_may_miss(struct sim *s, unsigned app, unsigned user, struct bytes said) {
    const struct wishes *w = &s->outside->wishes[app][user];
    char text[16] = {0};
    unsigned n;
    for (unsigned i = 0; i < SHUNNED; i++)
        if (w->ever_shunned[i]) return true;
    struct entry e = {.type = ENTRY_NOTIFICATION, .extra = said};
    struct bytes id;
    if (!said_shared(&e, &id)) return false;
    memcpy(text, id.p, id.n < 15 ? id.n : 15);
    if (sscanf(text, "t%u", &n) != 1 || s->triggers[n].flow != FLOW_GROUPED) return false;
    for (uint32_t i = n + 1; i < s->trigger_count; i++) {
        const struct trigger *t = &s->triggers[i];
        if (t->app == app && t->flow == FLOW_GROUPED && t->cancel_tried && i % 3 == n % 3)
            return true;
    }
    return false;
}
static bool is_merging(const struct inbox *i, uint64_t folded, struct bytes id) {
    struct merging m = {id, false};
    mailbox_walk_shared(i->cells, i->app, i->user, folded, UINT64_MAX, merging_look, &m);
    return m.there;
}
static bool is_unwanted(const struct trigger *t, unsigned user) {
    return user == 1 && (t->flow == FLOW_QUIET || !t->actor);
}
static bool is_meant(const struct trigger *t, unsigned user) {
    return t->to == TO_NAMED ? t->named >> user & 1 : user < 2;
}
static void told_check(
    struct sim *s, struct inbox *i, uint64_t folded, unsigned user, uint32_t n, bool complete) {
    const struct trigger *t = &s->triggers[n];
    char text[16];
    struct bytes id = trigger_name(text, n);
    struct heard h = {0};
    unsigned own = 0, shown = 0;
    bool unseen = false;
    for (size_t k = 0; k < i->count; k++) {
        const struct row *r = &i->row[k];
        if (r->flags & ROW_MOVED) continue;
        own += bytes_eq(r->id, id);
        shown += bytes_eq(r->trigger, id);
        if (bytes_eq(r->id, id) && bytes_eq(r->trigger, id) && r->triggers == 1 &&
            !(r->flags & ROW_HIDDEN) && !r->seen_ms)
            unseen = true;
    }
    why_each(i->cells, app_name(t->app), user_name(user), id, decision_take, &h);
    bool digest = t->flow == FLOW_DIGEST; /* its first row says DIGEST_SENT too */
    if (own > 1 || shown > 1 || (!digest && own + h.joined > 1) || h.joined > 1)
        violated(s, "u%u is told of t%u %u times", user, n, own + h.joined);
    bool heard = own || h.joined || shown;
    bool unwanted = is_unwanted(t, user);
    if (unwanted && heard) violated(s, "u1 is told of t%u, which they opted out of or mute", n);
    bool named = t->to == TO_NAMED && t->named >> user & 1;
    bool meant = is_meant(t, user);
    if (t->to == TO_NAMED && !named && heard) violated(s, "u%u is told of t%u", user, n);
    if (!complete || !t->acked) return;
    bool may_miss =
        t->flow == FLOW_BRIEF || s->outside->wishes[t->app][user].ever_shunned[t->actor % SHUNNED];
    if (meant && !unwanted && !heard && !h.waits && !t->cancel_tried && !may_miss &&
        !(t->flow == FLOW_GROUPED && is_merging(i, folded, id)))
        violated(s, "u%u is not told of t%u", user, n);
    /* who left the topic keeps what they got there */
    if (t->cancelled && unseen && (t->to != TO_TOPIC || user < 2))
        violated(s, "u%u is told of t%u, which was cancelled", user, n);
    s->counts[COUNT_NOTIFIED] += heard;
}
static void totals_check(struct sim *s, uint32_t n) {
    const struct trigger *t = &s->triggers[n];
    char text[16];
    struct bytes id = trigger_name(text, n);
    uint32_t got = 0, want = (uint32_t)__builtin_popcount(t->named);
    for (uint16_t p = 0; p < PARTITIONS; p++)
        got += content_total(node_cells(s, p), app_name(t->app), id, TOTAL_RECIPIENTS);
    if (t->to == TO_NAMED && t->acked && !t->cancel_tried && got != want)
        violated(s, "t%u was for %u, its totals say %u", n, want, got);
}
void check_triggers(struct sim *s, bool complete) {
    struct buf why = {0};
    struct arena arena = {0};
    for (uint16_t p = 0; p < PARTITIONS; p++)
        if (!notify_check(node_cells(s, p), &why))
            violated(s, "partition %u: %.*s", p, (int)why.n, (const char *)why.p);
    for (unsigned app = 0; app < APPS; app++)
        for (unsigned u = 0; u < USERS; u++) {
            struct inbox i;
            arena_reset(&arena);
            inbox_open(
                &i, node_cells(s, at_home(app, u)), app_name(app), user_name(u), s->now_ms, &arena);
            uint64_t folded = i.head.folded;
            inbox_fold(&i, NULL);
            inbox_load(&i);
            for (uint32_t n = 0; n < s->trigger_count; n++)
                if (s->triggers[n].app == app) told_check(s, &i, folded, u, n, complete);
        }
    for (uint32_t n = 0; complete && n < s->trigger_count; n++) totals_check(s, n);
    arena_done(&arena);
    buf_done(&why);
}

/* ---- for who looks at what leaves the server ---- */
int trigger_number(struct sim *s, struct bytes id) {
    char text[16] = {0};
    unsigned n;
    memcpy(text, id.p, id.n < 15 ? id.n : 15);
    if (sscanf(text, "t%u", &n) != 1 || n >= s->trigger_count)
        violated(s, "there is no trigger %s", text);
    return (int)n;
}
uint8_t trigger_channels(const struct trigger *t) {
    switch (t->flow) {
    case FLOW_SWEPT:
    case FLOW_URGENT: return CHANNEL_PUSH;
    case FLOW_LOUD:
    case FLOW_ESCALATED:
    case FLOW_BRIEF: return CHANNEL_PUSH | CHANNEL_EMAIL;
    default: return 0;
    }
}
bool trigger_is_high(const struct trigger *t) { return t->flow == FLOW_URGENT; }
bool trigger_expires(const struct trigger *t) { return t->flow == FLOW_BRIEF; }
bool trigger_escalates(const struct trigger *t) { return t->flow == FLOW_ESCALATED; }
bool trigger_is_surely_for(struct sim *s, uint32_t n, unsigned user) {
    const struct trigger *t = &s->triggers[n];
    return t->acked && is_meant(t, user) && !is_unwanted(t, user);
}
struct bytes trigger_flow(unsigned flow) {
    return bytes_str(FLOW[flow].id);
}
uint8_t trigger_flow_to_refuse(struct sim *s) {
    static const uint8_t PUSHING[] = {FLOW_SWEPT, FLOW_LOUD, FLOW_URGENT, FLOW_ESCALATED};
    return PUSHING[below(s, sizeof PUSHING)];
}
