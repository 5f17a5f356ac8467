/* admit: who is this, and may they. Server keys with scopes, device tokens (JWT), rates. No state
 * of users here: what a user's partition knows comes as struct viewer.
 *
 * Keys and secrets lie in DIR/secrets (0600), never in the log: app signing secrets, hashed server
 * keys {id, name, app, scopes, created, revoked}, and app issuers. Thread-safe for reading by all
 * shards; reload swaps a snapshot. SPDX-License-Identifier: Apache-2.0 */
#ifndef KITH_ADMIT_H
#define KITH_ADMIT_H

#include "surface/surface.h"

struct admit;
/* Opens DIR/secrets, made when absent. Words in *why. */
enum err admit_open(const char *dir, struct admit **out, struct buf *why) must_use;
void admit_close(struct admit **);
/* after the command line changed the file; keeps the old on failure */
enum err admit_reload(struct admit *, struct buf *why) must_use;

/* "kith_<id>_<secret>", made from 32 random bytes, stored hashed (SHA-256). Written and synced
 * before it returns. app must be a valid id. */
enum err admit_key_create(struct admit *, struct bytes name, struct bytes app, uint32_t scopes,
    struct buf *out_key, struct buf *why) must_use;
enum err admit_key_revoke(struct admit *, struct bytes id_or_name, struct buf *why) must_use;
/* a line each: id, name, app, scopes, created, revoked */
void admit_key_list(struct admit *, struct buf *out);
/* "read,write,tokens,moderate,operate" or "all" */
enum err admit_scopes_parse(const char *comma_list, uint32_t *out) must_use;
void admit_scopes_text(struct buf *b, uint32_t scopes); /* the same way round */

/* HS256, header {"alg":"HS256","typ":"JWT","kid"}; claims iss=kith, aud=app, sub=user, dev=device
 * (if any), iat, exp. */
enum err admit_token_create(struct admit *, struct bytes app, struct bytes user,
    struct bytes device, int64_t ttl_ms, int64_t now_ms, struct buf *out_token,
    int64_t *out_expires_ms) must_use;
/* App's own issuer: an HS256 secret or a JWKS document (RS256, ES256; the other NULL), issuer name
 * ('iss') and audience ('aud'). Algorithms are pinned to the issuer's kind. Takes the place of one
 * of the same name and audience; EXISTS: another app has that. MALFORMED: words in *why. */
enum err admit_issuer_set(struct admit *, struct bytes app, struct bytes issuer,
    struct bytes audience, const char *hs256_secret, const char *jwks_json,
    struct buf *why) must_use;
/* Its tokens are refused from then on. MISSING when there is none such. */
enum err admit_issuer_remove(
    struct admit *, struct bytes issuer, struct bytes audience, struct buf *why) must_use;
/* a line each: app, issuer, audience, hs256 or jwks */
void admit_issuer_list(struct admit *, struct buf *out);

/* Server key or token -> principal; views live in the arena. UNAUTHORIZED detail in *why (no secret
 * in it). Verified tokens are cached (bounded, by hash, until exp or reload). */
enum err admit_check(struct admit *, struct bytes credential, int64_t now_ms, struct arena *arena,
    struct principal *out, struct buf *why) must_use;

/* Rises whenever keys, secrets or issuers change. */
uint64_t admit_generation(struct admit *);
/* Is the server key, or the issuer of the token, still there? Long connections ask again when the
 * generation has risen. */
bool admit_holds(struct admit *, const struct principal *who);

/* Token buckets for rates. Any thread. */
struct admit_rates;
struct admit_rates *admit_rates_create(double per_second, double burst, size_t keys_max);
void admit_rates_free(struct admit_rates **);
bool admit_rate_take(
    struct admit_rates *, uint64_t key_hash, int64_t mono_ns, int *out_retry_after_s);
/* For what has come already: takes the cost, and gives the ms until the bucket owes nothing. */
int admit_rate_spend(struct admit_rates *, uint64_t key_hash, double cost, int64_t mono_ns);

/* How many there are of a key at once. Any thread. */
struct admit_tally;
struct admit_tally *admit_tally_create(void);
void admit_tally_free(struct admit_tally **);
/* One more, unless there are `most`. */
bool admit_tally_take(struct admit_tally *, uint64_t key_hash, unsigned most);
void admit_tally_give(struct admit_tally *, uint64_t key_hash); /* one that was taken */

#endif
