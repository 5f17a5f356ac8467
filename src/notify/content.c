/* notify: what a trigger says, and its totals, once in each partition that it reached.
 *
 *   '&' app trigger   u8 flags, totals, then the content (content_encode). Totals: of one recipient
 *                     u32 of bits, a bit for each; of many u32 each
 *                     and behind it the packed ids of those here whom it names
 *   '"' app day       varbytes ids of the triggers kept on that day: they go when their time is over
 *
 * Keeps: a total never falls, but TOTAL_HELD.
 * SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "due/due.h"
#include "notify/notify_in.h"

enum { FLAG_CANCELLED = 1, FLAG_MANY = 2, FLAG_SHARED = 4 };
enum { DAY_MS = 86400000 };
/* flags and bits, flags and numbers */
enum { HEAD_ONE = 1 + 4, HEAD_MANY = 1 + 4 * TOTAL_COUNT };

void content_encode(struct buf *b, const struct content *c) {
    pack_bytes(b, c->id);
    pack_bytes(b, c->workflow);
    pack_bytes(b, c->actor);
    pack_bytes(b, c->actor_name);
    pack_bytes(b, c->object);
    pack_bytes(b, c->data);
    pack_bytes(b, c->args);
    pack_bytes(b, c->collapse_key);
    pack_bytes(b, c->audience);
    pack_var(b, (uint64_t)c->created_ms);
    pack_var(b, (uint64_t)c->send_at_ms);
    pack_var(b, (uint64_t)c->expires_ms);
}

enum err content_decode(struct unpack *u, struct content *out) {
    out->id = unpack_bytes(u);
    out->workflow = unpack_bytes(u);
    out->actor = unpack_bytes(u);
    out->actor_name = unpack_bytes(u);
    out->object = unpack_bytes(u);
    out->data = unpack_bytes(u);
    out->args = unpack_bytes(u);
    out->collapse_key = unpack_bytes(u);
    out->audience = unpack_bytes(u);
    out->created_ms = (int64_t)unpack_var(u);
    out->send_at_ms = (int64_t)unpack_var(u);
    out->expires_ms = (int64_t)unpack_var(u);
    return u->bad ? MALFORMED : OK;
}

static struct cell *content_cell(struct cells *c, struct bytes app, struct bytes id) {
    uint8_t room[300];
    return cells_get(c, key2(room, '&', app, id));
}

/* The day's list, so that what is older than the mailbox keeps can go. */
static void day_add(struct step *s, struct bytes id) {
    uint8_t room[300];
    uint64_t day = (uint64_t)(s->time_ms / DAY_MS);
    struct cell *cell = cells_get(s->cells, key2n(room, '"', s->app, (struct bytes){0}, day));
    struct buf b = {0};
    if (!cell->size && mailbox_retention_ms) {
        pack_var(&b, day);
        due_add(s, (int64_t)(day + 1) * DAY_MS + mailbox_retention_ms, KIND_NOTIFY_FORGET,
            buf_view(&b));
        buf_reset(&b);
    }
    pack_bytes(&b, id);
    cells_append(s->cells, cell, buf_view(&b));
    buf_done(&b);
}

static void apply_forget(struct step *s) {
    uint8_t room[300];
    struct unpack u = unpack_of(s->body);
    struct cell *cell =
        cells_get(s->cells, key2n(room, '"', s->app, (struct bytes){0}, unpack_var(&u)));
    struct bytes ids = arena_copy(s->arena, bytes_of(cell->data, cell->size));
    cells_put(s->cells, cell, (struct bytes){0});
    struct unpack list = unpack_of(ids);
    while (unpack_more(&list))
        cells_put(s->cells, content_cell(s->cells, s->app, unpack_bytes(&list)), (struct bytes){0});
}
static const struct record_rule RULES[] = {{KIND_NOTIFY_FORGET, apply_forget}};
const struct notify_part notify_contents = {RULES, sizeof RULES / sizeof *RULES, NULL, 0};

bool content_keep(struct step *s, const struct content *k, struct bytes users, enum keep keep) {
    struct cell *cell = content_cell(s->cells, s->app, k->id);
    if (cell->size) return false;
    bool many = keep != KEEP_ONE;
    uint8_t head[HEAD_MANY] = {
        (uint8_t)((many ? FLAG_MANY : 0) | (keep == KEEP_SHARED ? FLAG_SHARED : 0))};
    struct buf b = {0};
    buf_reserve(&b, 256 + k->data.n + k->args.n);
    buf_add(&b, head, many ? HEAD_MANY : HEAD_ONE);
    content_encode(&b, k);
    buf_bytes(&b, users);
    cells_put(s->cells, cell, buf_view(&b));
    buf_done(&b);
    day_add(s, k->id);
    return true;
}

static size_t head_size(const struct cell *cell) {
    return cell->data[0] & FLAG_MANY ? HEAD_MANY : HEAD_ONE;
}

bool content_find(struct cells *c, struct bytes app, struct bytes id, struct content *out) {
    struct cell *cell = content_cell(c, app, id);
    if (!cell->size) return false;
    struct unpack u = unpack_of(bytes_of(cell->data, cell->size));
    u.p += head_size(cell);
    check(content_decode(&u, out) == OK);
    return true;
}

bool content_copy(struct step *s, struct bytes id, struct content *out) {
    if (!content_find(s->cells, s->app, id, out)) return false;
    struct buf b = {0};
    content_encode(&b, out);
    struct unpack u = unpack_of(arena_copy(s->arena, buf_view(&b)));
    buf_done(&b);
    check(content_decode(&u, out) == OK);
    return true;
}

struct bytes content_users(struct cells *c, struct bytes app, struct bytes id) {
    const struct cell *cell = content_cell(c, app, id);
    struct content k;
    if (!cell->size) return (struct bytes){0};
    struct unpack u = unpack_of(bytes_of(cell->data, cell->size));
    u.p += head_size(cell);
    check(content_decode(&u, &k) == OK);
    return bytes_of(u.p, (size_t)(u.end - u.p));
}

uint32_t content_total(struct cells *c, struct bytes app, struct bytes id, enum total t) {
    struct cell *cell = content_cell(c, app, id);
    uint32_t v = 0;
    if (!cell->size) return 0;
    bool many = cell->data[0] & FLAG_MANY;
    memcpy(&v, cell->data + 1 + (many ? 4 * (size_t)t : 0), sizeof v);
    return many ? v : v >> t & 1;
}

/* Bits become numbers. */
static void widen(struct step *s, struct cell *cell) {
    uint32_t bits;
    uint8_t head[HEAD_MANY] = {cell->data[0] | FLAG_MANY};
    memcpy(&bits, cell->data + 1, sizeof bits);
    for (unsigned t = 0; t < TOTAL_COUNT; t++) head[1 + 4 * t] = bits >> t & 1;
    cells_splice(s->cells, cell, 0, HEAD_ONE, bytes_of(head, sizeof head));
}

void content_count(struct step *s, struct bytes id, enum total t, int64_t by) {
    struct cell *cell = content_cell(s->cells, s->app, id);
    uint32_t v;
    if (!cell->size || !by) return;
    if (!(cell->data[0] & FLAG_MANY)) {
        memcpy(&v, cell->data + 1, sizeof v);
        int64_t now = (v >> t & 1) + by;
        if (now == 0 || now == 1) {
            v = (v & ~(1u << t)) | (uint32_t)now << t;
            memcpy(cells_edit(s->cells, cell) + 1, &v, sizeof v);
            return;
        }
        widen(s, cell);
    }
    uint8_t *at = cells_edit(s->cells, cell) + 1 + 4 * (size_t)t;
    memcpy(&v, at, sizeof v);
    int64_t sum = (int64_t)v + by;
    v = sum < 0 ? 0 : (uint32_t)sum;
    memcpy(at, &v, sizeof v);
}

bool content_cancelled(struct cells *c, struct bytes app, struct bytes id) {
    const struct cell *cell = content_cell(c, app, id);
    return cell->size && cell->data[0] & FLAG_CANCELLED;
}

bool content_is_shared(struct cells *c, struct bytes app, struct bytes id) {
    const struct cell *cell = content_cell(c, app, id);
    return cell->size && cell->data[0] & FLAG_SHARED;
}

bool content_cancel(struct step *s, struct bytes id) {
    struct cell *cell = content_cell(s->cells, s->app, id);
    if (!cell->size || cell->data[0] & FLAG_CANCELLED) return false;
    *cells_edit(s->cells, cell) |= FLAG_CANCELLED;
    return true;
}
