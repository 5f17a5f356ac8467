/* chat, member side: what is told, by the app's workflow `message`, to members who were away when a
 * message reached them; and that it is told no more once they have read it.
 *
 *   message ─▶ copy ─▶ (no device of theirs is connected) ─▶ NOTIFY_AWAY ─▶ here ─▶ NOTIFY_MESSAGE ─▶ notify
 *   read mark ─▶ NOTIFY_MESSAGE_READ ─▶ notify
 *
 *   NOTIFY_AWAY          core/away.c
 *   NOTIFY_MESSAGE       varbytes user, conversation · u64 seq · varbytes message id, from, name of from
 *                        (not known here: empty), text (its beginning), name of the conversation · u8
 *                        type of the conversation
 *   NOTIFY_MESSAGE_READ  varbytes user, conversation · u64 up to which seq
 *
 * Keeps: each message is told to a member once at most, in the order of their seqs: told_seq rises, and
 * what NOTIFY_AWAY says again after a crash is told no more. SPDX-License-Identifier: Apache-2.0 */
#include "chat/member_in.h"

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

static void tell(
    struct step *s, struct bytes user, struct bytes conv, const struct message *m, uint8_t type) {
    struct buf b = {0};
    struct bytes metadata;
    pack_bytes(&b, user);
    pack_bytes(&b, conv);
    pack_u64(&b, m->seq);
    pack_bytes(&b, m->id);
    pack_bytes(&b, m->from);
    pack_bytes(&b, (struct bytes){0});
    pack_bytes(&b, excerpt(m->body));
    pack_bytes(&b, copy_name(s->cells, s->app, conv, &metadata));
    pack_u8(&b, type);
    step_relay(s, s->partition, KIND_NOTIFY_MESSAGE, buf_view(&b));
    buf_done(&b);
}

/* It is theirs to be told of: they have neither muted the conversation nor blocked the sender, and no
 * device of theirs has had it. */
static bool is_owed(
    struct step *s, struct bytes user, const struct message *m, const struct place *p) {
    return p->in && m->seq > p->joined_seq && m->seq > p->delivered && m->seq > p->read &&
           m->seq > p->told_seq && p->muted_until_ms <= s->time_ms && !bytes_eq(user, m->from) &&
           !mailbox_blocks(s->cells, s->app, user, m->from);
}

void apply_notify_away(struct step *s) {
    struct unpack u = unpack_of(s->body);
    struct bytes conv = unpack_bytes(&u);
    uint64_t seq = unpack_var(&u);
    struct unpack users = unpack_of(unpack_bytes(&u));
    struct copy c;
    struct message m;
    check(!u.bad);
    answer_ok(s->answer, 200);
    if (!copy_get(s->cells, s->app, conv, &c) || c.type == CONV_CHANNEL ||
        !copy_message(s->cells, s->app, conv, seq, &m) || message_gone(&m, s->time_ms))
        return;
    s->conversation = conv;
    s->item = m.id;
    while (unpack_more(&users)) {
        struct bytes user = unpack_bytes(&users);
        struct place p;
        if (!mailbox_known(s->cells, s->app, user) ||
            !place_get(s->cells, s->app, user, conv, &p) || !is_owed(s, user, &m, &p))
            continue;
        p.told_seq = seq;
        place_set(s, user, conv, &p);
        tell(s, user, conv, &m, c.type);
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
