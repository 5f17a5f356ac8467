/* outward, inside: cryptography, tokens, and what the formats share.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef KITH_OUTWARD_IN_H
#define KITH_OUTWARD_IN_H

#include "outward/outward.h"
#include "wire/wire.h"

/* ---- crypto.c: the only file of this room that knows OpenSSL ---- */
enum {
    SHA256_BYTES = 32,
    P256_SECRET = 32,
    P256_POINT = 65,
    ED25519_BYTES = 32,
    SIGNATURE_64 = 64
};

void outward_sha256(struct bytes v, uint8_t out[SHA256_BYTES]);
void outward_hmac(struct bytes key, struct bytes a, struct bytes b, uint8_t out[SHA256_BYTES]);
bool outward_equal(const void *a, const void *b, size_t n); /* in time that tells nothing */
void outward_wipe(void *p, size_t n);
void outward_random(void *p, size_t n);
void outward_base64(struct buf *b, struct bytes v); /* RFC 4648, 4: with padding */

/* RSA: PKCS#1 v1.5 with SHA-256; P-256: r and s, 32 bytes each, over SHA-256; Ed25519: 64 bytes.
 * Adds to *out. */
void outward_key_sign(const struct outward_key *k, struct bytes text, struct buf *out);
bool outward_key_verify(const struct outward_key *k, struct bytes text, struct bytes signature);
/* Public keys as others give them: 65 bytes of a point, 32 of Ed25519, SubjectPublicKeyInfo of RSA.
 * NULL: no such key. */
struct outward_key *outward_key_from_public(enum outward_key_kind kind, struct bytes v);

/* What Web Push needs, with OpenSSL's fetched algorithms kept: one for each thread. */
struct ece;
struct ephemeral {
    uint8_t secret[P256_SECRET], point[P256_POINT];
};
struct ece *ece_create(void);
void ece_free(struct ece **);
void ece_make(struct ece *e, struct ephemeral *out); /* a fresh key pair */
/* ECDH; false: not a point of the curve. */
bool ece_agree(
    struct ece *e, const uint8_t secret[P256_SECRET], struct bytes point, uint8_t out[P256_SECRET]);
void ece_hmac(
    struct ece *e, struct bytes key, struct bytes a, struct bytes b, uint8_t out[SHA256_BYTES]);
/* AES-128-GCM; adds ciphertext and tag. */
void ece_seal(struct ece *e, const uint8_t key[16], const uint8_t nonce[12], struct bytes plain,
    struct buf *out);
bool ece_point(struct ece *e, const uint8_t secret[P256_SECRET], uint8_t out[P256_POINT]);

/* ---- answer.c: JSON Web Tokens that we make (RFC 7515, 7519) ---- */
/* head and claims are JSON. The algorithm is the key's. */
void outward_token(
    const struct outward_key *k, struct bytes head, struct bytes claims, struct buf *out);

/* answers */
/* Retry-After (RFC 9110, 10.2.3), seconds or a date, held to a day; 0: none, or not readable. */
int64_t outward_retry_after(struct bytes v, int64_t now_ms);
void outward_decide(struct outward_decision *d, enum outward_verdict v, struct bytes reason);
/* What a status says where nothing more is known. */
void outward_decide_status(struct outward_decision *d, const struct outward_answer *a);

/* A header line, with its end. */
void outward_line(struct buf *head, const char *name, struct bytes value);
/* printable ASCII without spaces: what may stand in a header or in a path unescaped */
bool outward_graphic(struct bytes v);

/* A push's body text cut so that what had `over` bytes too many fits: at a character, with an
 * ellipsis. *room is the copy's. Empty: nothing would be left. */
struct bytes outward_cut(struct bytes text, size_t over, struct buf *room);

#endif
