/* inbox: a row's bytes, as a block of an inbox and an open digest store them (docs/format/notifications.md).
 * SPDX-License-Identifier: Apache-2.0 */
#include "inbox/inbox_in.h"

enum { HAS_GROUP = 4, HAS_COLLAPSE = 8, HAS_TRIGGER = 16 };

void row_encode(struct buf *b, const struct row *r) {
    if (r->flags & ROW_MOVED) {
        pack_u8(b, ROW_MOVED);
        return;
    }
    bool newer = !bytes_eq(r->trigger, r->id);
    pack_u8(b, (uint8_t)(r->flags | (r->group ? HAS_GROUP : 0) | (r->collapse ? HAS_COLLAPSE : 0) |
                         (newer ? HAS_TRIGGER : 0)));
    if (r->group) pack_u64(b, r->group);
    if (r->collapse) pack_u64(b, r->collapse);
    pack_bytes(b, r->id);
    if (newer) pack_bytes(b, r->trigger);
    pack_bytes(b, r->workflow);
    pack_var(b, r->position);
    pack_var(b, (uint64_t)r->created_ms);
    pack_var(b, (uint64_t)r->at_ms - (uint64_t)r->created_ms);
    pack_var(b, (uint64_t)r->seen_ms);
    pack_var(b, (uint64_t)r->read_ms);
    pack_var(b, (uint64_t)r->archived_ms);
    pack_var(b, (uint64_t)r->clicked_ms);
    pack_var(b, (uint64_t)r->expires_ms);
    pack_var(b, r->triggers);
    pack_var(b, r->actors);
    pack_var(b, r->lies);
    pack_bytes(b, r->newest);
    if (r->before.n) pack_bytes(b, r->before);
}

bool row_read(struct bytes v, uint64_t n, struct row *r) {
    struct unpack u = unpack_of(v);
    *r = (struct row){.n = n};
    uint8_t flags = unpack_u8(&u);
    r->flags = flags & (ROW_MOVED | ROW_HIDDEN | ROW_TAKEN | ROW_LEFT);
    if (flags & ROW_MOVED) return !u.bad;
    if (flags & HAS_GROUP) r->group = unpack_u64(&u);
    if (flags & HAS_COLLAPSE) r->collapse = unpack_u64(&u);
    r->id = unpack_bytes(&u);
    r->trigger = flags & HAS_TRIGGER ? unpack_bytes(&u) : r->id;
    r->workflow = unpack_bytes(&u);
    r->position = unpack_var(&u);
    r->created_ms = (int64_t)unpack_var(&u);
    r->at_ms = (int64_t)((uint64_t)r->created_ms + unpack_var(&u));
    r->seen_ms = (int64_t)unpack_var(&u);
    r->read_ms = (int64_t)unpack_var(&u);
    r->archived_ms = (int64_t)unpack_var(&u);
    r->clicked_ms = (int64_t)unpack_var(&u);
    r->expires_ms = (int64_t)unpack_var(&u);
    r->triggers = (uint32_t)unpack_var(&u);
    r->actors = (uint32_t)unpack_var(&u);
    r->lies = unpack_var(&u);
    r->newest = unpack_bytes(&u);
    if (unpack_more(&u)) r->before = unpack_bytes(&u); /* none in rows of before there was this */
    return !u.bad && u.p == u.end;
}
void row_decode(struct bytes v, uint64_t n, struct row *r) { check(row_read(v, n, r)); }
