/* chat: what must hold of the stored conversations, looked at by `kith check`: their order has no
 * gap, their members are who they say, no mark is ahead of what was said. Reads; apply never calls
 * it. SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "chat/chat.h"
#include "chat/conv_in.h"

struct looking {
    struct cells *cells;
    struct buf *why;
    bool sound;
    struct bytes app, conv;
    struct conv v;
    uint64_t members, owners;
};

static bool wrong(struct looking *l, const char *what, uint64_t found, uint64_t belongs) {
    buf_fmt(l->why, "conversation %.*s of app %.*s: %s: %llu is stored, %llu belongs there\n",
        (int)l->conv.n, (const char *)l->conv.p, (int)l->app.n, (const char *)l->app.p, what,
        (unsigned long long)found, (unsigned long long)belongs);
    return l->sound = false;
}

static bool member_look(void *arg, struct bytes user) {
    struct looking *l = arg;
    struct member m;
    if (!member_get(l->cells, l->app, l->conv, user, &m))
        return wrong(l, "a member in the list without an entry", 0, 1);
    l->members++;
    l->owners += m.role == ROLE_OWNER;
    if (m.joined_seq > l->v.seq) wrong(l, "a member's first message", m.joined_seq, l->v.seq);
    if (m.delivered > l->v.seq) wrong(l, "a member's delivered mark", m.delivered, l->v.seq);
    if (m.read > l->v.seq) wrong(l, "a member's read mark", m.read, l->v.seq);
    return true;
}

static void messages_look(struct looking *l) {
    uint64_t next = 1;
    uint8_t room[300];
    for (uint64_t block = 0; l->v.seq && block <= l->v.seq / BLOCK_MESSAGES; block++) {
        const struct cell *cell = cells_get(l->cells, key2n(room, 'K', l->app, l->conv, block));
        struct unpack u = unpack_of(bytes_of(cell->data, cell->size));
        struct message m;
        while (unpack_more(&u)) {
            struct bytes packed = unpack_bytes(&u);
            if (u.bad || message_decode(packed, &m) != OK) {
                wrong(l, "a message that cannot be read, at", next, next);
                return;
            }
            if (m.seq != next) {
                wrong(l, "the order of messages", m.seq, next);
                return;
            }
            next++;
        }
        cells_turn_end(l->cells);
    }
    if (next != l->v.seq + 1) wrong(l, "the last message", next - 1, l->v.seq);
}

static void conversation_look(struct looking *l) {
    l->members = l->owners = 0;
    if (!conv_get(l->cells, l->app, l->conv, &l->v)) {
        wrong(l, "the size of its head", 0, sizeof l->v);
        return;
    }
    members_each(l->cells, l->app, l->conv, member_look, l);
    if (l->members != l->v.member_count) wrong(l, "members", l->members, l->v.member_count);
    if (l->owners != l->v.owners) wrong(l, "owners", l->owners, l->v.owners);
    messages_look(l);
}

static bool head_note(void *arg, struct bytes key, struct bytes value) {
    (void)value;
    pack_bytes(arg, key);
    return true;
}

bool chat_check(struct cells *c, struct buf *why) {
    struct looking l = {.cells = c, .why = why, .sound = true};
    struct buf heads = {0};
    cells_scan(c, BYTES("A"), head_note, &heads);
    struct unpack u = unpack_of(buf_view(&heads));
    while (unpack_more(&u)) {
        struct bytes key = unpack_bytes(&u);
        if (key2_read(key, &l.app, &l.conv)) conversation_look(&l);
    }
    buf_done(&heads);
    return l.sound;
}
