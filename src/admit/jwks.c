/* admit: an issuer's public keys (RFC 7517): RSA for RS256, P-256 for ES256. Others in the set are
 * passed over: an issuer may have keys for other uses.
 * SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>

#include "admit/admit_in.h"

#define JWKS_KEYS_MAX 32
#define JWKS_BYTES_MAX (256u << 10)

struct jwk {
    enum alg alg;
    struct buf kid;
    struct verify_key *key;
};
struct jwks {
    struct jwk keys[JWKS_KEYS_MAX];
    size_t count;
};

static struct bytes text_of(struct json object, const char *name) {
    struct json v;
    return json_get(object, name, &v) ? json_string(v) : (struct bytes){0};
}

static struct verify_key *key_of(enum alg alg, struct json v) {
    struct buf a = {0}, b = {0};
    bool rsa = alg == ALG_RS256;
    struct verify_key *k = NULL;
    if (base64url_decode(&a, text_of(v, rsa ? "n" : "x")) == OK &&
        base64url_decode(&b, text_of(v, rsa ? "e" : "y")) == OK && a.n && b.n)
        k = rsa ? verify_key_rsa(buf_view(&a), buf_view(&b))
                : verify_key_p256(buf_view(&a), buf_view(&b));
    buf_done(&a);
    buf_done(&b);
    return k;
}

static bool take(void *arg, struct bytes name, struct json v) {
    struct jwks *j = arg;
    (void)name;
    if (json_kind_of(v) != JSON_OBJECT) return true;
    struct bytes type = text_of(v, "kty"), use = text_of(v, "use"), alg = text_of(v, "alg"),
                 kid = text_of(v, "kid");
    enum alg of = bytes_is(type, "RSA")                                          ? ALG_RS256
                  : bytes_is(type, "EC") && bytes_is(text_of(v, "crv"), "P-256") ? ALG_ES256
                                                                                 : ALG_NONE;
    if (!of || (use.n && !bytes_is(use, "sig")) ||
        (alg.n && !bytes_is(alg, of == ALG_RS256 ? "RS256" : "ES256")))
        return true;
    struct verify_key *k = key_of(of, v);
    if (!k) return true;
    struct jwk *w = &j->keys[j->count++];
    w->alg = of;
    w->key = k;
    buf_bytes(&w->kid, kid);
    return j->count < JWKS_KEYS_MAX;
}

struct jwks *jwks_read(struct bytes text, struct buf *why) {
    struct json_reader *r = json_reader_create();
    struct jwks *j = must_alloc(sizeof *j);
    struct json doc, keys;
    bool shaped = text.n <= JWKS_BYTES_MAX && json_parse(r, text, &doc) == OK &&
                  json_kind_of(doc) == JSON_OBJECT && json_get(doc, "keys", &keys) &&
                  json_kind_of(keys) == JSON_ARRAY;
    if (shaped) json_each(keys, take, j);
    json_reader_free(&r);
    if (j->count) return j;
    buf_str(why, shaped ? "the JWKS document has no key to verify RS256 (RSA of 2048 to 8192 bits) "
                          "or ES256 (P-256) with"
                        : "a JWKS document is an object with an array \"keys\" (RFC 7517)");
    jwks_free(&j);
    return NULL;
}

void jwks_free(struct jwks **pj) {
    struct jwks *j = *pj;
    if (!j) return;
    for (size_t i = 0; i < j->count; i++) {
        verify_key_free(&j->keys[i].key);
        buf_done(&j->keys[i].kid);
    }
    free(j);
    *pj = NULL;
}

bool jwks_verify(const struct jwks *j, enum alg alg, struct bytes kid, struct bytes text,
    struct bytes signature) {
    const struct jwk *with = NULL;
    for (size_t i = 0; i < j->count; i++) {
        const struct jwk *w = &j->keys[i];
        if (w->alg != alg || (kid.n && !bytes_eq(kid, buf_view(&w->kid)))) continue;
        if (with) return false; /* which one is meant cannot be known */
        with = w;
    }
    return with && verify_key_check(with->key, text, signature);
}
