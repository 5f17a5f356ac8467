/* chat, member side: relays from the conversation become this partition's copy and its members'
 * mailboxes. The hot path is apply_copy_message.
 *
 *   CONV_PREFS body: varbytes user, conversation · u8 which (1 muted_until, 2 archived) · var
 *     muted_until_ms (0: not) · u8 archived
 *
 * Keeps: a relay that comes for somebody who was erased meanwhile leaves nothing of them.
 * SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "chat/conv_in.h"
#include "chat/member_in.h"

/* ---- joining and leaving ---- */
static void conversation_told(struct step *s, struct bytes user, struct bytes conv, uint8_t type,
    struct bytes name, uint8_t event) {
    struct buf b = {0};
    struct json_out o = {&b, false};
    jo_key(&o, "id");
    jo_str(&o, conv);
    jo_key(&o, "type");
    jo_str(&o, bytes_str(conv_type_name(type)));
    if (name.n) {
        jo_key(&o, "name");
        jo_str(&o, name);
    }
    struct entry e = {
        .type = ENTRY_CONVERSATION, .event = event, .conversation = conv, .extra = buf_view(&b)};
    mailbox_append(s, user, &e);
    buf_done(&b);
}

struct join {
    struct bytes conv, user, name, metadata, newest;
    struct place place;
    uint64_t member_count;
};
static void join_read(struct bytes body, struct join *j) {
    struct unpack u = unpack_of(body);
    j->conv = unpack_bytes(&u);
    j->place.type = unpack_u8(&u);
    j->user = unpack_bytes(&u);
    j->place.role = unpack_u8(&u);
    j->place.peer = unpack_bytes(&u);
    j->place.joined_seq = unpack_var(&u);
    j->place.history_all = unpack_u8(&u);
    j->member_count = unpack_var(&u);
    j->name = unpack_bytes(&u);
    j->metadata = unpack_bytes(&u);
    unpack_bytes(&u); /* who added them */
    if (unpack_more(&u)) j->newest = unpack_bytes(&u);
    check(!u.bad);
}

/* The message that the conversation stands at: nobody here was in it when it came. */
static void copy_newest(struct step *s, const struct join *j, struct copy *c) {
    struct message m, old;
    check(message_decode(j->newest, &m) == OK);
    if (copy_message(s->cells, s->app, j->conv, m.seq, &old)) return;
    copy_append(s, j->conv, m.seq, j->newest);
    if (m.seq < c->first_seq) c->first_seq = m.seq;
    c->last_seq = m.seq;
    c->last_ms = m.created_ms;
}

static void copy_joined(struct step *s, const struct join *j) {
    const struct place *p = &j->place;
    struct copy c;
    if (!copy_get(s->cells, s->app, j->conv, &c))
        c = (struct copy){.type = p->type,
            .last_seq = p->joined_seq,
            .first_seq = p->joined_seq + 1,
            .last_ms = s->time_ms};
    c.member_count = (uint32_t)j->member_count;
    if (j->newest.n) copy_newest(s, j, &c);
    if (!p->history_all && p->joined_seq > c.newest_join) c.newest_join = p->joined_seq;
    copy_set(s, j->conv, &c);
    copy_name_set(s, j->conv, j->name, j->metadata);
}

static void apply_copy_join(struct step *s) {
    struct join j = {0};
    struct place *p = &j.place, old;
    join_read(s->body, &j);
    answer_ok(s->answer, 200);
    mailbox_ensure(s, j.user);
    copy_joined(s, &j);
    p->in = 1;
    p->delivered = p->read = p->joined_seq;
    p->joined_ms = s->time_ms;
    if (place_get(s->cells, s->app, j.user, j.conv, &old)) { /* again: the preferences were kept */
        p->muted_until_ms = old.muted_until_ms;
        p->archived = old.archived;
        p->archived_seq = old.archived_seq;
    }
    place_set(s, j.user, j.conv, p);
    place_list(s, j.user, j.conv, p->type, true);
    if (p->type != CONV_DIRECT) mailbox_join(s, j.user, j.conv);
    else mailbox_set_direct(s, j.user, p->peer, j.conv, true);
    conversation_told(s, j.user, j.conv, p->type, j.name, EVENT_CREATED);
}

static void apply_copy_leave(struct step *s) {
    struct unpack u = unpack_of(s->body);
    struct bytes conv = unpack_bytes(&u), user = unpack_bytes(&u);
    uint64_t last = unpack_var(&u), count = unpack_var(&u);
    struct bytes metadata, name = copy_name(s->cells, s->app, conv, &metadata);
    struct place p;
    struct copy c;
    check(!u.bad);
    answer_ok(s->answer, 200);
    if (copy_get(s->cells, s->app, conv, &c)) {
        c.member_count = (uint32_t)count;
        copy_set(s, conv, &c);
    }
    /* erased, perhaps made anew: nothing of them stays */
    if (!mailbox_known(s->cells, s->app, user) || !place_get(s->cells, s->app, user, conv, &p)) {
        place_list(s, user, conv, CONV_DIRECT, false);
        place_forget(s, user, conv);
        return;
    }
    if (!p.in) return;
    p.in = 0;
    away_read(s, user, conv, &p, p.read);
    p.left_seq = last;
    place_list(s, user, conv, p.type, false);
    place_left(s, user, conv);
    if (p.type != CONV_DIRECT) mailbox_leave(s, user, conv);
    place_set(s, user, conv, &p);
    conversation_told(s, user, conv, p.type, name, EVENT_DELETED);
}

static void apply_copy_meta(struct step *s) {
    struct unpack u = unpack_of(s->body);
    struct bytes conv = unpack_bytes(&u);
    uint64_t count = unpack_var(&u);
    struct bytes name = unpack_bytes(&u), metadata = unpack_bytes(&u);
    struct copy c;
    check(!u.bad);
    answer_ok(s->answer, 200);
    if (!copy_get(s->cells, s->app, conv, &c)) return;
    c.member_count = (uint32_t)count;
    copy_set(s, conv, &c);
    copy_name_set(s, conv, name, metadata);
}

/* ---- messages ---- */
/* Shared once, or, in a direct conversation, to each who is named and does not block the sender. */
static void message_told(struct step *s, uint8_t type, struct bytes conv, const struct message *m,
    uint8_t event, struct unpack *users) {
    struct entry e = {.type = ENTRY_MESSAGE,
        .event = event,
        .conversation = conv,
        .seq = m->seq,
        .from = m->from};
    if (type != CONV_DIRECT) {
        mailbox_append_shared(s, conv, &e);
        return;
    }
    for (uint64_t n = unpack_var(users); n && !users->bad; n--) {
        struct bytes user = unpack_bytes(users);
        if (!mailbox_blocks(s->cells, s->app, user, m->from)) mailbox_append(s, user, &e);
    }
    check(!users->bad);
}

static void apply_copy_message(struct step *s) {
    struct unpack u = unpack_of(s->body);
    struct bytes conv = unpack_bytes(&u);
    uint8_t type = unpack_u8(&u);
    uint64_t count = unpack_var(&u);
    struct bytes packed = unpack_bytes(&u);
    struct message m;
    struct copy c;
    check(message_decode(packed, &m) == OK);
    s->conversation = conv;
    s->item = m.id;
    answer_ok(s->answer, 200);
    /* who joins comes before what is said to them */
    if (!copy_get(s->cells, s->app, conv, &c)) return;
    c.last_seq = m.seq;
    c.last_ms = m.created_ms;
    c.member_count = (uint32_t)count;
    copy_set(s, conv, &c);
    copy_append(s, conv, m.seq, packed);
    message_told(s, type, conv, &m, EVENT_CREATED, &u);
}

/* A message of when nobody here was in: those who are learn of it if they may see what was before. */
static bool copy_reach_back(
    struct step *s, struct bytes conv, const struct message *m, struct bytes packed) {
    struct copy c;
    if (!copy_get(s->cells, s->app, conv, &c) || m->seq <= c.newest_join) return false;
    copy_insert(s, conv, m->seq, packed);
    if (m->seq < c.first_seq) c.first_seq = m->seq;
    copy_set(s, conv, &c);
    return true;
}

static void apply_copy_update(struct step *s) {
    struct unpack u = unpack_of(s->body);
    struct bytes conv = unpack_bytes(&u);
    uint8_t type = unpack_u8(&u), event = unpack_u8(&u);
    struct bytes packed = unpack_bytes(&u);
    struct message m;
    check(message_decode(packed, &m) == OK);
    answer_ok(s->answer, 200);
    if (!copy_replace(s, conv, m.seq, packed) && !copy_reach_back(s, conv, &m, packed)) return;
    message_told(s, type, conv, &m, event, &u);
    if (event == EVENT_DELETED) away_gone(s, conv, m.from, m.seq, m.seq);
}

/* ---- marks ---- */
static void receipt_told(struct step *s, uint8_t type, struct bytes conv, struct bytes reader,
    struct bytes marks, struct unpack *users) {
    struct entry e = {.type = ENTRY_RECEIPT,
        .event = EVENT_UPDATED,
        .conversation = conv,
        .from = reader,
        .extra = marks};
    if (type != CONV_DIRECT) {
        mailbox_append_shared(s, conv, &e);
        return;
    }
    for (uint64_t n = unpack_var(users); n && !users->bad; n--) {
        struct bytes member = unpack_bytes(users);
        if (!bytes_eq(member, reader)) mailbox_append(s, member, &e);
    }
    check(!users->bad);
}

static void apply_copy_receipt(struct step *s) {
    struct unpack u = unpack_of(s->body);
    struct bytes conv = unpack_bytes(&u);
    uint8_t type = unpack_u8(&u);
    struct bytes user = unpack_bytes(&u);
    uint64_t delivered = unpack_var(&u), read = unpack_var(&u);
    bool push = unpack_u8(&u) != 0;
    struct place p;
    check(!u.bad);
    answer_ok(s->answer, 200);
    if (place_get(s->cells, s->app, user, conv, &p)) { /* they live here */
        uint64_t before = p.read;
        if (delivered > p.delivered) p.delivered = delivered;
        if (read > p.read) p.read = read;
        place_set(s, user, conv, &p);
        if (p.read > before) away_read(s, user, conv, &p, before);
    }
    if (!push) return;
    struct buf marks = {0};
    pack_var(&marks, delivered);
    pack_var(&marks, read);
    receipt_told(s, type, conv, user, buf_view(&marks), &u);
    buf_done(&marks);
}

static void apply_copy_erased(struct step *s) {
    struct unpack u = unpack_of(s->body);
    struct bytes conv = unpack_bytes(&u), user = unpack_bytes(&u);
    uint64_t from = unpack_var(&u), upto = unpack_var(&u);
    struct copy c;
    check(!u.bad);
    answer_ok(s->answer, 200);
    if (!copy_get(s->cells, s->app, conv, &c)) return;
    if (from < c.first_seq) from = c.first_seq;
    if (upto > c.last_seq) upto = c.last_seq;
    if (from > upto) return;
    uint64_t end = upto - from >= ERASE_STEP ? from + ERASE_STEP - 1 : upto;
    copy_blank(s, conv, from, end, user);
    away_gone(s, conv, user, from, end);
    if (end == upto) return;
    struct buf b = {0};
    pack_bytes(&b, conv);
    pack_bytes(&b, user);
    pack_var(&b, end + 1);
    pack_var(&b, upto);
    step_relay(s, s->partition, KIND_COPY_ERASED, buf_view(&b));
    buf_done(&b);
}

/* ---- what users tells: a user is erased. The conversations hear it from the mailbox; here their
 * places go. ---- */
struct leaving {
    struct step *s;
    struct bytes user;
};
static bool leave_of(void *arg, struct bytes conv) {
    struct leaving *w = arg;
    place_forget(w->s, w->user, conv);
    return true;
}
static void apply_user_leaves(struct step *s) {
    struct unpack u = unpack_of(s->body);
    struct leaving w = {s, unpack_bytes(&u)};
    check(!u.bad);
    answer_ok(s->answer, 200);
    chat_conversations_of(s->cells, s->app, w.user, leave_of, &w);
    chat_conversations_left(s->cells, s->app, w.user, leave_of, &w);
    place_lists_forget(s, w.user);
}

/* ---- preferences ---- */
static void prefs_answer(struct step *s, struct bytes conv, const struct place *p) {
    struct json_out o = {&s->answer->body, false};
    jo_open_obj(&o);
    jo_key(&o, "id");
    jo_str(&o, conv);
    if (p->muted_until_ms) {
        jo_key(&o, "muted_until");
        jo_time(&o, p->muted_until_ms);
    }
    jo_key(&o, "archived");
    jo_bool(&o, p->archived);
    jo_close_obj(&o);
}

/* What comes after this message brings the conversation back (place_archived). */
static void archive(struct step *s, struct bytes conv, struct place *p, bool on) {
    struct copy c;
    p->archived = on;
    p->archived_seq = on && copy_get(s->cells, s->app, conv, &c) ? c.last_seq : 0;
}

static void apply_conv_prefs(struct step *s) {
    struct unpack u = unpack_of(s->body);
    struct bytes user = unpack_bytes(&u), conv = unpack_bytes(&u);
    uint8_t set = unpack_u8(&u);
    int64_t muted = (int64_t)unpack_var(&u);
    uint8_t archived = unpack_u8(&u);
    struct place p;
    check(!u.bad);
    if (!place_get(s->cells, s->app, user, conv, &p) || !p.in) {
        answer_problem(s->answer, PROBLEM_NOT_FOUND, "", "'%.*s' is not in a conversation '%.*s'",
            (int)user.n, (const char *)user.p, (int)conv.n, (const char *)conv.p);
        return;
    }
    if (set & 1) p.muted_until_ms = muted;
    if (set & 2) archive(s, conv, &p, archived);
    place_set(s, user, conv, &p);
    answer_ok(s->answer, 200);
    if (s->wanted) prefs_answer(s, conv, &p);
}

const struct record_rule chat_member_rules[] = {
    {KIND_COPY_JOIN, apply_copy_join},
    {KIND_COPY_LEAVE, apply_copy_leave},
    {KIND_COPY_META, apply_copy_meta},
    {KIND_COPY_MESSAGE, apply_copy_message},
    {KIND_COPY_UPDATE, apply_copy_update},
    {KIND_COPY_RECEIPT, apply_copy_receipt},
    {KIND_CONV_PREFS, apply_conv_prefs},
    {KIND_COPY_ERASED, apply_copy_erased},
    {KIND_USER_LEAVES, apply_user_leaves},
    {KIND_NOTIFY_AWAY, apply_notify_away},
    {KIND_AWAY_NAME, apply_away_name},
    {KIND_AWAY_NAMED, apply_away_named},
};
const size_t chat_member_rule_count = sizeof chat_member_rules / sizeof *chat_member_rules;

#define U "/v1/users/{id}"
const struct route chat_member_routes[] = {
    {"GET", U "/mailbox", SCOPE_READ, TOKEN_SELF, SPECIAL_NONE, plan_mailbox, NULL},
    {"GET", U "/stream", SCOPE_READ, TOKEN_SELF, SPECIAL_STREAM, NULL, NULL},
    {"GET", U "/conversations", SCOPE_READ, TOKEN_SELF, SPECIAL_NONE, plan_conversations, NULL},
    {"PUT", U "/conversations/{c}", SCOPE_WRITE, TOKEN_SELF, SPECIAL_NONE, plan_prefs, NULL},
    {"PUT", U "/presence", SCOPE_WRITE, TOKEN_SELF, SPECIAL_PRESENCE, NULL, NULL},
};
const size_t chat_member_route_count = sizeof chat_member_routes / sizeof *chat_member_routes;
