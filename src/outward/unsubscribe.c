/* outward: the token of the link by which one click ends a mail (RFC 8058): for whom and of what, and that
 * it was us who said so. It stands for the one permission to switch that off, does not expire, as mails are
 * kept, and needs nothing stored.
 *
 *   base64url, without padding, of { u8 1 · bytes app, user, workflow · 32 bytes HMAC-SHA-256 of all before }
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "outward/outward_in.h"

enum { FORM = 1, TOKEN_MAX = 512 };

void unsubscribe_key_create(uint8_t out[static UNSUBSCRIBE_KEY_BYTES]) {
    outward_random(out, UNSUBSCRIBE_KEY_BYTES);
}

void unsubscribe_token(struct bytes key, const struct unsubscribe *u, struct buf *out) {
    struct buf b = {0};
    uint8_t sum[SHA256_BYTES];
    check(key.n == UNSUBSCRIBE_KEY_BYTES);
    pack_u8(&b, FORM);
    pack_bytes(&b, u->app);
    pack_bytes(&b, u->user);
    pack_bytes(&b, u->workflow);
    outward_hmac(key, buf_view(&b), (struct bytes){0}, sum);
    buf_add(&b, sum, sizeof sum);
    base64url_encode(out, buf_view(&b));
    buf_done(&b);
}

enum err unsubscribe_read(
    struct bytes key, struct bytes token, struct buf *room, struct unsubscribe *out) {
    uint8_t sum[SHA256_BYTES];
    buf_reset(room);
    if (key.n != UNSUBSCRIBE_KEY_BYTES || token.n > TOKEN_MAX ||
        base64url_decode(room, token) != OK || room->n <= sizeof sum)
        return MALFORMED;
    struct bytes said = bytes_of(room->p, room->n - sizeof sum);
    outward_hmac(key, said, (struct bytes){0}, sum);
    if (!outward_equal(sum, room->p + said.n, sizeof sum)) return MALFORMED;
    struct unpack u = unpack_of(said);
    uint8_t form = unpack_u8(&u);
    struct unsubscribe read = {.app = unpack_bytes(&u)};
    read.user = unpack_bytes(&u);
    read.workflow = unpack_bytes(&u);
    if (u.bad || unpack_more(&u) || form != FORM || !id_valid(read.app) || !id_valid(read.user) ||
        !id_valid(read.workflow))
        return MALFORMED;
    *out = read;
    return OK;
}
