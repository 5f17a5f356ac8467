/* chat: what both sides know of one message's way to its members, for operators who ask where it is.
 * Reads only. SPDX-License-Identifier: Apache-2.0 */
#include "chat/conv_in.h"
#include "chat/member_in.h"

struct members {
    struct cells *cells;
    struct bytes app, conversation;
    const struct conv *head;
    struct arena *arena;
    struct trail *trail;
};

static bool member_take(void *arg, struct bytes user) {
    struct members *w = arg;
    struct trail *t = w->trail;
    struct member m;
    if (t->member_count == TRAIL_MEMBERS) return false;
    if (bytes_eq(user, t->from) || !member_get(w->cells, w->app, w->conversation, user, &m))
        return true;
    t->member[t->member_count++] = (struct trail_member){.user = arena_copy(w->arena, user),
        .delivered = m.delivered >= t->seq,
        .read = m.read >= t->seq,
        .before = !w->head->history_all && m.joined_seq >= t->seq};
    return true;
}

void chat_trail(struct cells *c, struct bytes app, struct bytes conversation, struct bytes item,
    int64_t now_ms, struct arena *arena, struct trail *out) {
    struct conv v;
    struct message m;
    *out = (struct trail){0};
    if (!conv_get(c, app, conversation, &v)) return;
    uint64_t seq = message_seq_of(c, app, conversation, &v, item);
    if (!seq || !message_get(c, app, conversation, seq, &m)) return;
    *out = (struct trail){.found = true,
        .seq = seq,
        .from = arena_copy(arena, m.from),
        .created_ms = m.created_ms,
        .gone = message_gone(&m, now_ms),
        .type = conv_type_name(v.type),
        .members = v.member_count};
    out->member = arena_alloc(arena, TRAIL_MEMBERS * sizeof *out->member);
    struct members w = {c, app, conversation, &v, arena, out};
    members_each(c, app, conversation, member_take, &w);
}

/* ---- by the item's id alone ---- */
struct heads {
    struct buf names; /* packed */
    size_t left;
};

/* 'A' app conversation: see key2. */
static bool head_take(void *arg, struct bytes key, struct bytes value) {
    struct heads *h = arg;
    struct bytes app, conversation;
    if (!value.n || !key2_read(key, &app, &conversation)) return true;
    pack_bytes(&h->names, conversation);
    return --h->left > 0;
}

struct bytes chat_find_item(
    struct cells *c, struct bytes app, struct bytes item, struct arena *arena, size_t *most) {
    uint8_t room[300];
    struct heads h = {.left = *most};
    struct bytes found = {0};
    struct bytes prefix = key2(room, 'A', app, (struct bytes){0});
    prefix.n--; /* the end of an empty second part */
    if (*most) cells_scan(c, prefix, head_take, &h);
    for (struct unpack u = unpack_of(buf_view(&h.names)); unpack_more(&u) && !found.n;) {
        struct bytes conversation = unpack_bytes(&u);
        struct conv v;
        if (conv_get(c, app, conversation, &v) && message_seq_of(c, app, conversation, &v, item))
            found = arena_copy(arena, conversation);
    }
    *most = h.left;
    buf_done(&h.names);
    return found;
}

const char *chat_held(struct cells *c, struct bytes app, struct bytes user,
    struct bytes conversation, struct bytes from, uint64_t seq) {
    struct place p;
    if (!place_get(c, app, user, conversation, &p))
        return "this user is not in the conversation here yet";
    if (mailbox_blocks(c, app, user, from)) return "this user blocks the sender";
    if (!p.in && p.left_seq < seq) return "this user had left the conversation";
    if (!p.history_all && p.joined_seq >= seq)
        return "this user joined later, and the conversation shows members only what came since";
    return NULL;
}

struct looking {
    struct bytes conversation;
    uint64_t seq, found;
};

static bool is_entry(void *arg, const struct entry *e) {
    struct looking *l = arg;
    if (e->type != ENTRY_MESSAGE || e->event != EVENT_CREATED || e->seq != l->seq ||
        !bytes_eq(e->conversation, l->conversation))
        return true;
    l->found = e->position;
    return false;
}

uint64_t chat_entry_position(struct cells *c, struct bytes app, struct bytes user,
    struct bytes conversation, uint64_t seq, uint64_t after) {
    enum { ENTRIES = 1000 };
    struct looking l = {conversation, seq, 0};
    mailbox_walk(c, app, user, after, ENTRIES, is_entry, &l);
    return l.found;
}
