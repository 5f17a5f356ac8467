/* chat, member side: relays from the conversation become this partition's copy and its members' mailboxes. The hot path is apply_copy_message.
 *
 *   'c' app conv   struct copy         'C' app conv   varbytes name, varbytes metadata      'B' app conv seq/64   block of messages
 *   'd' app conv   direct: packed ids of the members here
 *   'H' app user conv   struct place, varbytes peer      'h' app user   packed varbytes of the user's conversations
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "chat/member_in.h"

static struct cell *cell2(struct cells *c, char tag, struct bytes app, struct bytes id) {
    uint8_t room[300];
    return cells_get(c, key2(room, tag, app, id));
}
static struct bytes view_of(const struct cell *c) { return bytes_of(c->data, c->size); }

bool copy_get(struct cells *c, struct bytes app, struct bytes conv, struct copy *out) {
    struct cell *cell = cell2(c, 'c', app, conv);
    if (cell->size != sizeof *out) return false;
    memcpy(out, cell->data, sizeof *out);
    return true;
}
void copy_set(struct step *s, struct bytes conv, const struct copy *v) {
    struct cell *cell = cell2(s->cells, 'c', s->app, conv);
    if (cell->size == sizeof *v) memcpy(cells_edit(s->cells, cell), v, sizeof *v);
    else cells_put(s->cells, cell, bytes_of(v, sizeof *v));
}
static struct cell *copy_block(struct cells *c, struct bytes app, struct bytes conv, uint64_t seq) {
    uint8_t room[300];
    return cells_get(c, key2n(room, 'B', app, conv, seq / BLOCK_MESSAGES));
}
bool copy_message(struct cells *c, struct bytes app, struct bytes conv, uint64_t seq, struct message *out) {
    uint32_t at, size;
    return block_find(view_of(copy_block(c, app, conv, seq)), seq, out, &at, &size);
}

bool place_get(struct cells *c, struct bytes app, struct bytes user, struct bytes conv, struct place *out, struct bytes *out_peer) {
    uint8_t room[300];
    struct cell *cell = cells_get(c, key3(room, 'H', app, user, conv));
    if (cell->size < sizeof *out) return false;
    memcpy(out, cell->data, sizeof *out);
    struct unpack u = unpack_of(bytes_of(cell->data + sizeof *out, cell->size - sizeof *out));
    *out_peer = unpack_bytes(&u);
    return true;
}
void place_set(struct step *s, struct bytes user, struct bytes conv, const struct place *p, struct bytes peer) {
    uint8_t room[300];
    struct buf b = {0};
    buf_add(&b, p, sizeof *p);
    pack_bytes(&b, peer);
    cells_put(s->cells, cells_get(s->cells, key3(room, 'H', s->app, user, conv)), buf_view(&b));
    buf_done(&b);
}

/* A packed list of ids: with or without this one. */
static void listed(struct step *s, struct cell *cell, struct bytes id, bool on) {
    struct unpack u = unpack_of(view_of(cell));
    while (unpack_more(&u)) {
        const uint8_t *at = u.p;
        if (!bytes_eq(unpack_bytes(&u), id)) continue;
        if (!on) cells_splice(s->cells, cell, (uint32_t)(at - cell->data), (uint32_t)(u.p - at), (struct bytes){0});
        return;
    }
    if (!on) return;
    struct buf b = {0};
    pack_bytes(&b, id);
    cells_append(s->cells, cell, buf_view(&b));
    buf_done(&b);
}

static void copy_name(struct step *s, struct bytes conv, struct bytes name, struct bytes metadata) {
    struct buf b = {0};
    pack_bytes(&b, name);
    pack_bytes(&b, metadata);
    cells_put(s->cells, cell2(s->cells, 'C', s->app, conv), buf_view(&b));
    buf_done(&b);
}

/* ---- joining and leaving ---- */
static void conversation_told(struct step *s, struct bytes user, struct bytes conv, uint8_t type, struct bytes name, uint8_t event) {
    static const char *const TYPES[] = {"", "direct", "group", "channel"};
    struct buf b = {0};
    struct json_out o = {&b, false};
    jo_key(&o, "id");
    jo_str(&o, conv);
    jo_key(&o, "type");
    jo_str(&o, bytes_str(TYPES[type]));
    if (name.n) {
        jo_key(&o, "name");
        jo_str(&o, name);
    }
    struct entry e = {.type = ENTRY_CONVERSATION, .event = event, .conversation = conv, .extra = buf_view(&b)};
    mailbox_append(s, user, &e);
    buf_done(&b);
}

static void block_told(struct step *s, struct bytes conv, struct bytes user, bool on) {
    struct buf b = {0};
    pack_bytes(&b, conv);
    pack_bytes(&b, user);
    pack_u8(&b, on);
    step_relay(s, partition_of_conversation(s->app, conv, s->partitions), KIND_CONV_BLOCK, buf_view(&b));
    buf_done(&b);
}

static void apply_copy_join(struct step *s) {
    struct unpack u = unpack_of(s->body);
    struct bytes conv = unpack_bytes(&u);
    uint8_t type = unpack_u8(&u);
    struct bytes user = unpack_bytes(&u);
    struct place p = {.in = 1, .type = type, .role = unpack_u8(&u)}, old;
    struct bytes peer = unpack_bytes(&u), old_peer;
    p.joined_seq = unpack_var(&u);
    p.history_all = unpack_u8(&u);
    uint64_t count = unpack_var(&u);
    struct bytes name = unpack_bytes(&u), metadata = unpack_bytes(&u);
    check(!u.bad);
    answer_ok(s->answer, 200);
    mailbox_ensure(s, user);
    struct copy c;
    if (!copy_get(s->cells, s->app, conv, &c)) c = (struct copy){.type = type, .last_seq = p.joined_seq, .first_seq = p.joined_seq + 1, .last_ms = s->time_ms};
    c.member_count = (uint32_t)count;
    copy_set(s, conv, &c);
    copy_name(s, conv, name, metadata);
    p.delivered = p.read = p.joined_seq;
    if (place_get(s->cells, s->app, user, conv, &old, &old_peer)) {
        p.muted_until_ms = old.muted_until_ms;
        p.archived = old.archived;
    }
    place_set(s, user, conv, &p, peer);
    listed(s, cell2(s->cells, 'h', s->app, user), conv, true);
    if (type == CONV_DIRECT) listed(s, cell2(s->cells, 'd', s->app, conv), user, true);
    else mailbox_join(s, user, conv);
    if (type == CONV_DIRECT && mailbox_blocks(s->cells, s->app, user, peer)) block_told(s, conv, user, true);
    conversation_told(s, user, conv, type, name, EVENT_CREATED);
}

static void apply_copy_leave(struct step *s) {
    struct unpack u = unpack_of(s->body);
    struct bytes conv = unpack_bytes(&u), user = unpack_bytes(&u), peer;
    uint64_t last = unpack_var(&u);
    struct place p;
    answer_ok(s->answer, 200);
    if (!place_get(s->cells, s->app, user, conv, &p, &peer) || !p.in) return;
    p.in = 0;
    p.left_seq = last;
    place_set(s, user, conv, &p, arena_copy(s->arena, peer));
    listed(s, cell2(s->cells, 'h', s->app, user), conv, false);
    if (p.type == CONV_DIRECT) listed(s, cell2(s->cells, 'd', s->app, conv), user, false);
    else mailbox_leave(s, user, conv);
    if (mailbox_known(s->cells, s->app, user)) conversation_told(s, user, conv, p.type, (struct bytes){0}, EVENT_DELETED);
}

static void apply_copy_meta(struct step *s) {
    struct unpack u = unpack_of(s->body);
    struct bytes conv = unpack_bytes(&u);
    uint64_t count = unpack_var(&u);
    struct bytes name = unpack_bytes(&u), metadata = unpack_bytes(&u);
    struct copy c;
    answer_ok(s->answer, 200);
    if (!copy_get(s->cells, s->app, conv, &c)) return;
    c.member_count = (uint32_t)count;
    copy_set(s, conv, &c);
    copy_name(s, conv, name, metadata);
}

/* ---- messages ---- */
static void apply_copy_message(struct step *s) {
    struct unpack u = unpack_of(s->body);
    struct bytes conv = unpack_bytes(&u);
    uint8_t type = unpack_u8(&u);
    uint64_t count = unpack_var(&u);
    struct bytes packed = unpack_bytes(&u);
    struct message m;
    struct copy c;
    check(message_decode(packed, &m) == OK);
    answer_ok(s->answer, 200);
    if (!copy_get(s->cells, s->app, conv, &c)) return; /* nobody here is in it any more, and never was */
    c.last_seq = m.seq;
    c.last_ms = m.created_ms;
    c.member_count = (uint32_t)count;
    copy_set(s, conv, &c);
    /* A stored block's items are varbytes: length and bytes go in as two appends. */
    struct cell *cell = copy_block(s->cells, s->app, conv, m.seq);
    uint8_t room[10];
    struct buf length = {room, 0, sizeof room};
    pack_var(&length, packed.n);
    cells_append(s->cells, cell, buf_view(&length));
    cells_append(s->cells, cell, packed);
    struct entry e = {.type = ENTRY_MESSAGE, .event = EVENT_CREATED, .conversation = conv, .seq = m.seq, .from = m.from};
    if (type != CONV_DIRECT) {
        mailbox_append_shared(s, conv, &e);
        return;
    }
    for (uint64_t n = unpack_var(&u); n && !u.bad; n--) {
        struct bytes user = unpack_bytes(&u);
        if (!mailbox_blocks(s->cells, s->app, user, m.from)) mailbox_append(s, user, &e);
    }
}

static void apply_copy_update(struct step *s) {
    struct unpack u = unpack_of(s->body);
    struct bytes conv = unpack_bytes(&u);
    uint8_t type = unpack_u8(&u), event = unpack_u8(&u);
    struct bytes packed = unpack_bytes(&u);
    struct message m, old;
    uint32_t at, size;
    check(message_decode(packed, &m) == OK);
    answer_ok(s->answer, 200);
    struct cell *cell = copy_block(s->cells, s->app, conv, m.seq);
    if (!block_find(view_of(cell), m.seq, &old, &at, &size)) return; /* before this copy began */
    struct buf b = {0};
    pack_bytes(&b, packed);
    cells_splice(s->cells, cell, at, size, buf_view(&b));
    buf_done(&b);
    struct entry e = {.type = ENTRY_MESSAGE, .event = event, .conversation = conv, .seq = m.seq, .from = m.from};
    if (type != CONV_DIRECT) {
        mailbox_append_shared(s, conv, &e);
        return;
    }
    for (uint64_t n = unpack_var(&u); n && !u.bad; n--) {
        struct bytes user = unpack_bytes(&u);
        if (!mailbox_blocks(s->cells, s->app, user, m.from)) mailbox_append(s, user, &e);
    }
}

static void apply_copy_receipt(struct step *s) {
    struct unpack u = unpack_of(s->body);
    struct bytes conv = unpack_bytes(&u), peer;
    uint8_t type = unpack_u8(&u);
    struct bytes user = unpack_bytes(&u);
    uint64_t delivered = unpack_var(&u), read = unpack_var(&u);
    bool push = unpack_u8(&u) != 0;
    struct place p;
    answer_ok(s->answer, 200);
    if (place_get(s->cells, s->app, user, conv, &p, &peer) && partition_of_user(s->app, user, s->partitions) == s->partition) {
        if (delivered > p.delivered) p.delivered = delivered;
        if (read > p.read) p.read = read;
        place_set(s, user, conv, &p, arena_copy(s->arena, peer));
    }
    if (!push) return;
    struct buf b = {0};
    pack_var(&b, delivered);
    pack_var(&b, read);
    struct entry e = {.type = ENTRY_RECEIPT, .event = EVENT_UPDATED, .conversation = conv, .from = user, .extra = buf_view(&b)};
    if (type != CONV_DIRECT) mailbox_append_shared(s, conv, &e);
    for (uint64_t n = unpack_var(&u); type == CONV_DIRECT && n && !u.bad; n--) {
        struct bytes member = unpack_bytes(&u);
        if (!bytes_eq(member, user)) mailbox_append(s, member, &e);
    }
    buf_done(&b);
}

/* A sender was erased: their messages in the copy become stubs. */
static void apply_copy_erased(struct step *s) {
    struct unpack u = unpack_of(s->body);
    struct bytes conv = unpack_bytes(&u), user = unpack_bytes(&u);
    struct copy c;
    answer_ok(s->answer, 200);
    if (!copy_get(s->cells, s->app, conv, &c)) return;
    for (uint64_t seq = c.first_seq; seq <= c.last_seq; seq++) {
        struct cell *cell = copy_block(s->cells, s->app, conv, seq);
        struct message m;
        uint32_t at, size;
        if (!block_find(view_of(cell), seq, &m, &at, &size) || !bytes_eq(m.from, user) || m.deleted_ms) continue;
        struct message stub = {.seq = m.seq, .id = m.id, .from = m.from, .created_ms = m.created_ms, .deleted_ms = s->time_ms};
        struct buf one = {0}, packed = {0};
        message_encode(&one, &stub);
        pack_bytes(&packed, buf_view(&one));
        cells_splice(s->cells, cell, at, size, buf_view(&packed));
        buf_done(&one);
        buf_done(&packed);
    }
}

static void apply_conv_prefs(struct step *s) {
    struct unpack u = unpack_of(s->body);
    struct bytes user = unpack_bytes(&u), conv = unpack_bytes(&u), peer;
    uint8_t set = unpack_u8(&u);
    int64_t muted = (int64_t)unpack_var(&u);
    uint8_t archived = unpack_u8(&u);
    struct place p;
    if (!place_get(s->cells, s->app, user, conv, &p, &peer) || !p.in) {
        answer_problem(s->answer, PROBLEM_NOT_FOUND, "", "'%.*s' is not in a conversation '%.*s'", (int)user.n, (const char *)user.p, (int)conv.n, (const char *)conv.p);
        return;
    }
    if (set & 1) p.muted_until_ms = muted;
    if (set & 2) p.archived = archived;
    place_set(s, user, conv, &p, arena_copy(s->arena, peer));
    answer_ok(s->answer, 200);
    if (!s->wanted) return;
    struct json_out o = {&s->answer->body, false};
    jo_open_obj(&o);
    jo_key(&o, "id");
    jo_str(&o, conv);
    if (p.muted_until_ms) {
        jo_key(&o, "muted_until");
        jo_time(&o, p.muted_until_ms);
    }
    jo_key(&o, "archived");
    jo_bool(&o, p.archived);
    jo_close_obj(&o);
}

const struct record_rule chat_member_rules[] = {
    {KIND_COPY_JOIN, apply_copy_join}, {KIND_COPY_LEAVE, apply_copy_leave}, {KIND_COPY_META, apply_copy_meta}, {KIND_COPY_MESSAGE, apply_copy_message},
    {KIND_COPY_UPDATE, apply_copy_update}, {KIND_COPY_RECEIPT, apply_copy_receipt}, {KIND_CONV_PREFS, apply_conv_prefs}, {KIND_COPY_ERASED, apply_copy_erased},
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
