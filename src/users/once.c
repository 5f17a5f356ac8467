/* users: what was answered under an Idempotency-Key, kept for a day in the user's partition, so
 * that the same request again gives the same answer and nothing happens twice.
 *
 *   'Y' app user          oldest first: repeated { i64 time_ms · u64 hash of who asked, for what,
 *                         and their key · u64 hash of the content · varbytes the answer }
 *   in a record           varbytes { u8 record kind · varbytes user, device of who asked · the key },
 *                         or empty
 *
 * An answer that holds a credential is not kept: what it is made again of is (devices.c).
 * SPDX-License-Identifier: Apache-2.0 */
#include "users/users_in.h"

#define ONCE_MAX 64 /* kept of one user; then the oldest goes before its time */
#define ONCE_KEPT_MS (24ll * 3600 * 1000)

void once_pack(const struct request *r, uint8_t kind, struct buf *out) {
    struct buf key = {0};
    if (r->idempotency_key.n) {
        pack_u8(&key, kind);
        pack_bytes(&key, r->who.user);
        pack_bytes(&key, r->who.device);
        buf_bytes(&key, r->idempotency_key);
    }
    pack_bytes(out, buf_view(&key));
    buf_done(&key);
}

struct once once_of(const struct step *s, struct bytes key, struct bytes content) {
    return (struct once){s->time_ms, hash64(key), hash64(content)};
}

static struct cell *once_cell(struct step *s, struct bytes user) {
    uint8_t room[300];
    return cells_get(s->cells, key2(room, 'Y', s->app, user));
}

static struct bytes once_next(struct unpack *u, struct once *out) {
    out->time_ms = (int64_t)unpack_u64(u);
    out->key = unpack_u64(u);
    out->content = unpack_u64(u);
    return unpack_bytes(u);
}

enum err once_find(
    struct step *s, struct bytes user, const struct once *now, struct bytes *out_answer) {
    const struct cell *cell = once_cell(s, user);
    struct unpack u = unpack_of(bytes_of(cell->data, cell->size));
    struct once o;
    while (unpack_more(&u)) {
        struct bytes answer = once_next(&u, &o);
        if (o.key != now->key || o.time_ms + ONCE_KEPT_MS < now->time_ms) continue;
        if (o.content == now->content) {
            *out_answer = answer;
            return OK;
        }
        answer_problem(s->answer, PROBLEM_CONFLICT, "",
            "this Idempotency-Key was used for a request with other content");
        return EXISTS;
    }
    return MISSING;
}

void once_keep(struct step *s, struct bytes user, const struct once *now, struct bytes answer) {
    struct cell *cell = once_cell(s, user);
    struct unpack u = unpack_of(bytes_of(cell->data, cell->size)), count = u;
    struct once o;
    size_t n = 0;
    for (; unpack_more(&count); n++) (void)once_next(&count, &o);
    uint32_t gone = 0;
    for (; unpack_more(&u); n--) {
        (void)once_next(&u, &o);
        if (n < ONCE_MAX && o.time_ms + ONCE_KEPT_MS >= now->time_ms) break;
        gone = (uint32_t)(u.p - cell->data);
    }
    struct buf b = {0};
    pack_u64(&b, (uint64_t)now->time_ms);
    pack_u64(&b, now->key);
    pack_u64(&b, now->content);
    pack_bytes(&b, answer);
    if (gone) cells_splice(s->cells, cell, 0, gone, (struct bytes){0});
    cells_append(s->cells, cell, buf_view(&b));
    buf_done(&b);
}
