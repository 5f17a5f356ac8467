/* admit: JWTs (RFC 7515, 7519), checked as RFC 8725 advises: the algorithm is that of whoever is
 * named as issuer, never the token's choice; what is not understood is refused.
 *
 *   header {"alg","typ":"JWT","kid"}    claims of ours: iss=kith, aud=app, sub=user, dev=device,
 *                                       iat, exp, ims (milliseconds of iat, for revoking)
 *
 * The claims are read before the signature is known to be good only to find which secret or key
 * must have made it. SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <string.h>

#include "admit/admit_in.h"

#define SECONDS_MAX 253402300799ll /* the end of the year 9999 */

void token_write(const struct signer *s, struct bytes user, struct bytes device, int64_t expires_s,
    int64_t now_ms, struct buf *out) {
    struct buf head = {0}, claims = {0};
    uint8_t sum[HASH_BYTES];
    buf_fmt(&head, "{\"alg\":\"HS256\",\"typ\":\"JWT\",\"kid\":\"%s\"}", s->kid);
    buf_fmt(&claims, "{\"iss\":\"kith\",\"aud\":\"%s\",\"sub\":\"%.*s\"", s->app, (int)user.n,
        (const char *)user.p);
    if (device.n) buf_fmt(&claims, ",\"dev\":\"%.*s\"", (int)device.n, (const char *)device.p);
    buf_fmt(&claims, ",\"iat\":%lld,\"exp\":%lld,\"ims\":%lld}", (long long)(now_ms / 1000),
        (long long)expires_s, (long long)now_ms);
    size_t from = out->n;
    base64url_encode(out, buf_view(&head));
    buf_char(out, '.');
    base64url_encode(out, buf_view(&claims));
    hmac_sha256(bytes_of(s->secret, HASH_BYTES), bytes_of(out->p + from, out->n - from), sum);
    buf_char(out, '.');
    base64url_encode(out, bytes_of(sum, sizeof sum));
    buf_done(&head);
    buf_done(&claims);
}

/* ---- taking it apart ---- */
struct token {
    struct bytes head, claims, signature; /* decoded, in the arena */
    struct bytes text;                    /* what is signed */
    enum alg alg;
    struct bytes kid, issuer;
    struct json audience; /* valid until the reader parses again */
    struct bytes user, device;
    bool has_audience, has_exp, has_iat, has_ims;
    int64_t exp_ms, iat_ms, nbf_ms, ims;
};

static bool part_decode(struct bytes v, struct arena *arena, struct bytes *out) {
    struct buf b = {0};
    for (size_t i = 0; i < v.n; i++) /* base64url without padding has one spelling */
        if (v.p[i] == '=' || v.p[i] == '+' || v.p[i] == '/') return false;
    bool ok = v.n && base64url_decode(&b, v) == OK;
    *out = arena_copy(arena, buf_view(&b));
    buf_done(&b);
    return ok;
}

static bool token_split(struct bytes t, struct arena *arena, struct token *k) {
    const uint8_t *end = t.p + t.n, *a = t.n ? memchr(t.p, '.', t.n) : NULL;
    const uint8_t *b = a ? memchr(a + 1, '.', (size_t)(end - a - 1)) : NULL;
    if (!b || memchr(b + 1, '.', (size_t)(end - b - 1))) return false;
    k->text = bytes_of(t.p, (size_t)(b - t.p));
    return part_decode(bytes_of(t.p, (size_t)(a - t.p)), arena, &k->head) &&
           part_decode(bytes_of(a + 1, (size_t)(b - a - 1)), arena, &k->claims) &&
           part_decode(bytes_of(b + 1, (size_t)(end - b - 1)), arena, &k->signature);
}

/* ---- reading header and claims: each name at most once ---- */
struct reading {
    struct token *token;
    struct arena *arena;
    unsigned seen;
    bool bad;
};

static bool first_time(struct reading *r, unsigned bit) {
    if (r->seen & 1u << bit) r->bad = true;
    r->seen |= 1u << bit;
    return !r->bad;
}

static bool head_member(void *arg, struct bytes name, struct json v) {
    struct reading *r = arg;
    struct bytes text = json_string(v);
    if (bytes_is(name, "alg")) {
        enum alg alg = bytes_is(text, "HS256")   ? ALG_HS256
                       : bytes_is(text, "RS256") ? ALG_RS256
                       : bytes_is(text, "ES256") ? ALG_ES256
                                                 : ALG_NONE;
        if (first_time(r, 0)) r->token->alg = alg;
    } else if (bytes_is(name, "kid")) {
        r->bad |= json_kind_of(v) != JSON_STRING;
        if (first_time(r, 1)) r->token->kid = arena_copy(r->arena, text);
    } else if (bytes_is(name, "typ")) {
        r->bad |= !first_time(r, 2) || text.n > 32 || json_kind_of(v) != JSON_STRING;
    } else if (bytes_is(name, "crit") || bytes_is(name, "b64")) {
        r->bad = true; /* it demands what is not understood here (RFC 7515 4.1.11) */
    }
    return !r->bad;
}

static bool seconds_of(struct json v, int64_t *out_ms) {
    double d;
    switch (json_kind_of(v)) {
    case JSON_I64:
        if (json_i64(v) < 0 || json_i64(v) > SECONDS_MAX) return false;
        *out_ms = json_i64(v) * 1000;
        return true;
    case JSON_F64:
        d = json_f64(v);
        if (!(d >= 0 && d <= (double)SECONDS_MAX)) return false;
        *out_ms = (int64_t)(d * 1000);
        return true;
    default: return false;
    }
}

static bool claim(void *arg, struct bytes name, struct json v) {
    static const char *const NAMES[] = {"iss", "aud", "sub", "dev", "exp", "iat", "nbf", "ims"};
    struct reading *r = arg;
    struct token *k = r->token;
    unsigned i = 0;
    while (i < 8 && !bytes_is(name, NAMES[i])) i++;
    if (i == 8) return true;
    if (!first_time(r, i)) return false;
    switch (i) {
    case 0: k->issuer = arena_copy(r->arena, json_string(v)); break;
    case 1: k->audience = v, k->has_audience = true; break;
    case 2: k->user = arena_copy(r->arena, json_string(v)); break;
    case 3:
        k->device = arena_copy(r->arena, json_string(v));
        r->bad |= !id_valid(k->device);
        break;
    case 4: k->has_exp = seconds_of(v, &k->exp_ms), r->bad |= !k->has_exp; break;
    case 5: k->has_iat = seconds_of(v, &k->iat_ms), r->bad |= !k->has_iat; break;
    case 6: r->bad |= !seconds_of(v, &k->nbf_ms); break;
    default: k->has_ims = json_kind_of(v) == JSON_I64, k->ims = json_i64(v); break;
    }
    return !r->bad;
}

static bool object_read(struct json_reader *r, struct bytes text, json_each_fn *fn, struct token *k,
    struct arena *arena) {
    struct json doc;
    struct reading g = {k, arena, 0, false};
    if (json_parse(r, text, &doc) != OK || json_kind_of(doc) != JSON_OBJECT) return false;
    json_each(doc, fn, &g);
    return !g.bad;
}

/* ---- who signed it ---- */
struct wanted {
    struct bytes audience;
    bool found;
};
static bool audience_member(void *arg, struct bytes name, struct json v) {
    struct wanted *w = arg;
    (void)name;
    w->found |= bytes_eq(json_string(v), w->audience);
    return !w->found;
}
static bool audience_has(const struct token *k, struct bytes audience) {
    struct wanted w = {audience, false};
    if (!k->has_audience) return false;
    if (json_kind_of(k->audience) == JSON_ARRAY) json_each(k->audience, audience_member, &w);
    else
        w.found = json_kind_of(k->audience) == JSON_STRING &&
                  bytes_eq(json_string(k->audience), audience);
    return w.found;
}

static bool hs256_good(struct bytes secret, const struct token *k) {
    uint8_t sum[HASH_BYTES];
    hmac_sha256(secret, k->text, sum);
    bool good = k->alg == ALG_HS256 && k->signature.n == HASH_BYTES &&
                secret_equal(sum, k->signature.p, HASH_BYTES);
    secret_wipe(sum, sizeof sum);
    return good;
}

static bool ours_good(
    const struct secrets *s, const struct token *k, struct arena *arena, struct principal *out) {
    struct bytes app = k->has_audience && json_kind_of(k->audience) == JSON_STRING
                           ? json_string(k->audience)
                           : (struct bytes){0};
    const struct signer *by = secrets_signer(s, app);
    if (!by || !bytes_is(k->kid, by->kid) || !hs256_good(bytes_of(by->secret, HASH_BYTES), k))
        return false;
    out->app = arena_copy(arena, app);
    out->issued_ms = k->ims;
    return k->has_iat && k->has_ims && k->ims / 1000 == k->iat_ms / 1000;
}

/* A token without iat counts as issued at the beginning: whatever revokes anything revokes it. One
 * with iat counts as issued when that second began. */
static bool issuer_good(
    const struct secrets *s, const struct token *k, struct arena *arena, struct principal *out) {
    for (size_t n = 0; n < s->issuer_count; n++) {
        const struct issuer *i = &s->issuers[n];
        if (!bytes_eq(k->issuer, buf_view(&i->name)) || !audience_has(k, buf_view(&i->audience)))
            continue;
        bool good = i->jwks ? (k->alg == ALG_RS256 || k->alg == ALG_ES256) &&
                                  jwks_verify(i->jwks, k->alg, k->kid, k->text, k->signature)
                            : hs256_good(buf_view(&i->secret), k);
        if (!good) continue;
        out->app = arena_copy(arena, bytes_str(i->app));
        out->issued_ms = k->has_iat ? k->iat_ms : 0;
        out->issuer = issuer_hash(i);
        return true;
    }
    return false;
}

static enum err times_good(const struct token *k, int64_t now_ms, struct buf *why) {
    const char *words =
        !k->has_exp           ? "this token has no expiry ('exp')"
        : now_ms >= k->exp_ms ? "this token has expired; ask your application for a new one"
        : k->nbf_ms > now_ms + CLOCK_SKEW_MS ? "this token does not hold yet ('nbf')"
        : k->has_iat && k->iat_ms > now_ms + CLOCK_SKEW_MS
            ? "this token was issued in the future ('iat'); is a clock wrong?"
        : k->has_iat && k->iat_ms >= k->exp_ms ? "this token expires before it was issued"
                                               : NULL;
    if (words) buf_str(why, words);
    return words ? REFUSED : OK;
}

enum err token_verify(const struct secrets *s, struct bytes t, int64_t now_ms, struct arena *arena,
    struct principal *out, struct buf *why) {
    struct token k = {0};
    struct json_reader *r = json_reader_create();
    bool ok = t.n <= TOKEN_MAX && token_split(t, arena, &k) &&
              object_read(r, k.head, head_member, &k, arena) && k.alg != ALG_NONE &&
              object_read(r, k.claims, claim, &k, arena);
    ok = ok && (bytes_is(k.issuer, "kith") ? ours_good(s, &k, arena, out)
                                           : issuer_good(s, &k, arena, out));
    json_reader_free(&r);
    if (!ok) {
        buf_str(why, "this is neither a server key nor a device token that is accepted here");
        return REFUSED;
    }
    if (!id_valid(k.user)) {
        buf_str(why, "this token's 'sub' is not a user id: 1 to 64 of A-Z a-z 0-9 _ . : -");
        return REFUSED;
    }
    out->user = k.user;
    out->device = k.device;
    out->until_ms = k.exp_ms;
    return times_good(&k, now_ms, why);
}
