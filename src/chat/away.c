/* chat, member side: what is told, by the app's workflow `message`, to members who were away when a
 * message reached them; and that it is told no more once they have read it.
 *
 *   message ─▶ copy ─▶ (no device of theirs is connected) ─▶ NOTIFY_AWAY ─▶ here ─▶ AWAY_NAME
 *          ─▶ the sender's partition ─▶ AWAY_NAMED ─▶ here ─▶ NOTIFY_MESSAGE ─▶ notify
 *   read mark ─▶ NOTIFY_MESSAGE_READ ─▶ notify
 *
 *   NOTIFY_AWAY          core/away.c
 *   AWAY_NAME            varbytes sender, conversation · var seq · varbytes users (packed) · u16 back to
 *   AWAY_NAMED           varbytes sender, conversation · var seq · varbytes users (packed) · varbytes name
 *   NOTIFY_MESSAGE       varbytes user, conversation · u64 seq · varbytes message id, from, name of from,
 *                        text (its beginning), name of the conversation · u8 type of the conversation
 *                        · u64 when it disappears (0: never)
 *   NOTIFY_MESSAGE_READ  varbytes user, conversation · u64 up to which seq · [u64 from which on ·
 *                        varbytes sender: those of them are deleted, read or not]
 *
 * Keeps: each message is told to a member once at most: told_seq rises, and what NOTIFY_AWAY says again
 * after a crash is told no more. Whether it is still owed is asked again when the name has come, so what
 * was read meanwhile is not told after it was taken back.
 * SPDX-License-Identifier: Apache-2.0 */
#include "chat/member_in.h"
#include "person/person.h"

enum { EXCERPT_MAX = 200 };

bool chat_tells_away(struct cells *c, struct bytes app, struct bytes conversation) {
    struct copy copy;
    return copy_get(c, app, conversation, &copy) && copy.type != CONV_CHANNEL;
}

static struct bytes excerpt(struct bytes text) {
    if (text.n <= EXCERPT_MAX) return text;
    text.n = EXCERPT_MAX;
    while (text.n && (text.p[text.n] & 0xc0) == 0x80) text.n--; /* whole characters */
    return text;
}

static void tell(struct step *s, struct bytes user, struct bytes conv, const struct message *m,
    uint8_t type, struct bytes name) {
    struct buf b = {0};
    struct bytes metadata;
    pack_bytes(&b, user);
    pack_bytes(&b, conv);
    pack_u64(&b, m->seq);
    pack_bytes(&b, m->id);
    pack_bytes(&b, m->from);
    pack_bytes(&b, name);
    pack_bytes(&b, excerpt(m->body));
    pack_bytes(&b, copy_name(s->cells, s->app, conv, &metadata));
    pack_u8(&b, type);
    pack_u64(&b, (uint64_t)m->expires_ms);
    step_relay(s, s->partition, KIND_NOTIFY_MESSAGE, buf_view(&b));
    buf_done(&b);
}

/* It is theirs to be told of: they have neither muted the conversation nor blocked the sender, and no
 * device of theirs has had it. */
static bool is_owed(
    struct step *s, struct bytes user, const struct message *m, const struct place *p) {
    return p->in && m->seq > p->joined_seq && m->seq > p->delivered && m->seq > p->read &&
           p->muted_until_ms <= s->time_ms && !bytes_eq(user, m->from) &&
           !mailbox_blocks(s->cells, s->app, user, m->from);
}

/* false: there is nothing of it to tell. */
static bool message_of(
    struct step *s, struct bytes conv, uint64_t seq, struct message *m, uint8_t *out_type) {
    struct copy c;
    answer_ok(s->answer, 200);
    if (!copy_get(s->cells, s->app, conv, &c) || c.type == CONV_CHANNEL ||
        !copy_message(s->cells, s->app, conv, seq, m) || message_gone(m, s->time_ms))
        return false;
    *out_type = c.type;
    s->conversation = conv;
    s->item = m->id;
    return true;
}
static bool place_of(struct step *s, struct bytes user, struct bytes conv, struct place *p) {
    return mailbox_known(s->cells, s->app, user) && place_get(s->cells, s->app, user, conv, p);
}

static void name_ask(
    struct step *s, struct bytes conv, const struct message *m, struct bytes users) {
    struct buf b = {0};
    pack_bytes(&b, m->from);
    pack_bytes(&b, conv);
    pack_var(&b, m->seq);
    pack_bytes(&b, users);
    pack_u16(&b, s->partition);
    step_relay(s, partition_of_user(s->app, m->from, s->partitions), KIND_AWAY_NAME, buf_view(&b));
    buf_done(&b);
}

void apply_notify_away(struct step *s) {
    struct unpack u = unpack_of(s->body);
    struct bytes conv = unpack_bytes(&u);
    uint64_t seq = unpack_var(&u);
    struct unpack users = unpack_of(unpack_bytes(&u));
    struct buf owed = {0};
    struct message m;
    uint8_t type;
    check(!u.bad);
    if (!message_of(s, conv, seq, &m, &type)) return;
    while (unpack_more(&users)) {
        struct bytes user = unpack_bytes(&users);
        struct place p;
        if (!place_of(s, user, conv, &p) || !is_owed(s, user, &m, &p)) continue;
        if (seq <= p.told_seq && s->planted != BUG_TOLD_TWICE) continue;
        p.told_seq = seq;
        place_set(s, user, conv, &p);
        pack_bytes(&owed, user);
    }
    if (owed.n) name_ask(s, conv, &m, buf_view(&owed));
    buf_done(&owed);
}

void apply_away_name(struct step *s) {
    struct unpack u = unpack_of(s->body);
    struct bytes sender = unpack_bytes(&u), conv = unpack_bytes(&u);
    uint64_t seq = unpack_var(&u);
    struct bytes users = unpack_bytes(&u);
    uint16_t back = unpack_u16(&u);
    struct person p;
    check(!u.bad);
    answer_ok(s->answer, 200);
    person_find(s->cells, s->app, sender, &p);
    struct buf b = {0};
    pack_bytes(&b, sender);
    pack_bytes(&b, conv);
    pack_var(&b, seq);
    pack_bytes(&b, users);
    pack_bytes(&b, p.name);
    step_relay(s, back, KIND_AWAY_NAMED, buf_view(&b));
    buf_done(&b);
}

void apply_away_named(struct step *s) {
    struct unpack u = unpack_of(s->body);
    struct bytes sender = unpack_bytes(&u), conv = unpack_bytes(&u);
    uint64_t seq = unpack_var(&u);
    struct unpack users = unpack_of(unpack_bytes(&u));
    struct bytes name = unpack_bytes(&u);
    struct message m;
    uint8_t type;
    check(!u.bad);
    if (!message_of(s, conv, seq, &m, &type) || !bytes_eq(m.from, sender)) return;
    while (unpack_more(&users)) {
        struct bytes user = unpack_bytes(&users);
        struct place p;
        if (place_of(s, user, conv, &p) && is_owed(s, user, &m, &p))
            tell(s, user, conv, &m, type, name);
    }
}

void away_read(
    struct step *s, struct bytes user, struct bytes conv, const struct place *p, uint64_t before) {
    if (p->told_seq <= before) return; /* all that was told had been read */
    struct buf b = {0};
    pack_bytes(&b, user);
    pack_bytes(&b, conv);
    pack_u64(&b, p->in ? p->read : UINT64_MAX);
    step_relay(s, s->partition, KIND_NOTIFY_MESSAGE_READ, buf_view(&b));
    buf_done(&b);
}

/* ---- what is deleted is told no more ---- */
struct going {
    struct step *s;
    struct bytes conv, sender;
    uint64_t from, upto;
};
static bool gone_for(void *arg, struct bytes user) {
    const struct going *w = arg;
    struct step *s = w->s;
    struct place p;
    if (bytes_eq(user, w->sender) || !place_get(s->cells, s->app, user, w->conv, &p) ||
        p.told_seq < w->from)
        return true;
    struct buf b = {0};
    pack_bytes(&b, user);
    pack_bytes(&b, w->conv);
    pack_u64(&b, w->upto);
    pack_u64(&b, w->from);
    pack_bytes(&b, w->sender);
    step_relay(s, s->partition, KIND_NOTIFY_MESSAGE_READ, buf_view(&b));
    buf_done(&b);
    return true;
}

void away_gone(
    struct step *s, struct bytes conv, struct bytes sender, uint64_t from, uint64_t upto) {
    struct going w = {s, conv, sender, from, upto};
    if (chat_tells_away(s->cells, s->app, conv))
        chat_local_members(s->cells, s->app, conv, gone_for, &w);
}
