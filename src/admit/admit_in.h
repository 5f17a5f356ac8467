/* admit, inside: what the secrets file holds, cryptography, tokens and their cache.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef KITH_ADMIT_IN_H
#define KITH_ADMIT_IN_H

#include <pthread.h>
#include <stdatomic.h>

#include "admit/admit.h"

enum { HASH_BYTES = 32, ID_TEXT = 65 };
/* bytes of a token; room for the claims that other issuers add */
#define TOKEN_MAX 8192
#define CLOCK_SKEW_MS (60ll * 1000) /* how far an issuer's clock may be ahead of ours */

/* ---- crypto.c: the only file that knows OpenSSL ---- */
void sha256(struct bytes v, uint8_t out[HASH_BYTES]);
void hmac_sha256(struct bytes key, struct bytes v, uint8_t out[HASH_BYTES]);
/* in time that does not depend on what differs */
bool secret_equal(const void *a, const void *b, size_t n);
void secret_wipe(void *p, size_t n);
struct verify_key;
/* big-endian; NULL: not 2,048 to 8,192 bits, or no key */
struct verify_key *verify_key_rsa(struct bytes n, struct bytes e);
/* 32 bytes each; NULL: no point of the curve */
struct verify_key *verify_key_p256(struct bytes x, struct bytes y);
/* RS256 or ES256, by what the key is */
bool verify_key_check(const struct verify_key *k, struct bytes text, struct bytes signature);
void verify_key_free(struct verify_key **);

/* ---- jwks.c: RFC 7517 ---- */
enum alg { ALG_NONE, ALG_HS256, ALG_RS256, ALG_ES256 };
struct jwks;
struct jwks *jwks_read(struct bytes json, struct buf *why); /* NULL: no key in it that may verify */
void jwks_free(struct jwks **);
/* The key of that algorithm and kid; an empty kid takes the only key of the algorithm. */
bool jwks_verify(const struct jwks *j, enum alg alg, struct bytes kid, struct bytes text,
    struct bytes signature);

/* ---- secrets.c: the file ---- */
struct server_key {
    char id[32], name[ID_TEXT], app[ID_TEXT];
    uint32_t scopes;
    long long created_ms, revoked_ms; /* 0: not */
    uint8_t hash[HASH_BYTES];
};
struct signer {
    char app[ID_TEXT], kid[17];
    uint8_t secret[HASH_BYTES];
};
struct issuer {
    char app[ID_TEXT];
    struct buf name, audience;
    struct buf secret; /* HS256, or empty: */
    struct buf jwks_text;
    struct jwks *jwks;
};
struct secrets {
    struct server_key *keys;
    struct signer *signers;
    struct issuer *issuers;
    size_t key_count, signer_count, issuer_count;
};
/* MISSING: no file */
enum err secrets_load(const char *path, struct secrets *out, struct buf *why) must_use;
/* What root writes in the folder of another user is that user's. false: it cannot be. */
bool secrets_give(int fd, const char *dir);
enum err secrets_save(
    const char *path, const char *dir, const struct secrets *s, struct buf *why) must_use;
void secrets_done(struct secrets *s);
void secrets_add_key(struct secrets *s, const struct server_key *k);
struct signer *secrets_add_signer(
    struct secrets *s, struct bytes app, const uint8_t secret[HASH_BYTES]);
const struct signer *secrets_signer(const struct secrets *s, struct bytes app); /* NULL: none yet */
struct issuer_parts {
    struct bytes app, issuer, audience;
    const char *hs256_secret, *jwks_json; /* one of them; the other NULL */
};
/* An issuer from its parts, checked; issuer_done when it is not kept. */
enum err issuer_make(const struct issuer_parts *from, struct issuer *out, struct buf *why) must_use;
void issuer_done(struct issuer *i);
uint64_t issuer_hash(const struct issuer *i); /* of name and audience; never 0 */
void secrets_add_issuer(struct secrets *s, struct issuer *take_issuer);

/* ---- cache.c: tokens that were verified ---- */
struct cache;
struct cache *cache_create(void);
void cache_free(struct cache **);
/* `generation` is of the secrets it was verified under: another one does not find it. */
bool cache_find(struct cache *c, const uint8_t hash[HASH_BYTES], uint64_t generation,
    int64_t now_ms, struct arena *arena, struct principal *out);
void cache_add(struct cache *c, const uint8_t hash[HASH_BYTES], uint64_t generation,
    const struct principal *who);

/* ---- token.c: JWT (RFC 7519, best practice of RFC 8725) ---- */
void token_write(const struct signer *s, struct bytes user, struct bytes device, int64_t expires_s,
    int64_t now_ms, struct buf *out);
enum err token_verify(const struct secrets *s, struct bytes token, int64_t now_ms,
    struct arena *arena, struct principal *out, struct buf *why) must_use;

#endif
