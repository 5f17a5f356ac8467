/* admit: the cryptography, on OpenSSL, which no other file of this room includes. Verification keys
 * are made once and only read afterwards, so any thread may use them.
 * SPDX-License-Identifier: Apache-2.0 */
#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/ecdsa.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/param_build.h>
#include <stdlib.h>
#include <string.h>

#include "admit/admit_in.h"

enum {
    P256_BYTES = 32,
    RSA_BITS_MIN = 2048 /* RFC 7518 3.3 */,
    RSA_BITS_MAX = 8192 /* longer ones only cost time */
};

struct verify_key {
    EVP_PKEY *pkey;
    bool rsa;
};

void sha256(struct bytes v, uint8_t out[HASH_BYTES]) {
    unsigned n = HASH_BYTES;
    check(EVP_Digest(v.p, v.n, out, &n, EVP_sha256(), NULL) == 1);
}

void hmac_sha256(struct bytes key, struct bytes v, uint8_t out[HASH_BYTES]) {
    unsigned n = HASH_BYTES;
    check(HMAC(EVP_sha256(), key.p, (int)key.n, v.p, v.n, out, &n) != NULL);
}

bool secret_equal(const void *a, const void *b, size_t n) { return CRYPTO_memcmp(a, b, n) == 0; }
void secret_wipe(void *p, size_t n) {
    if (p) OPENSSL_cleanse(p, n);
}

/* ---- keys from their numbers ---- */
static struct verify_key *key_from(const char *type, OSSL_PARAM_BLD *build, bool rsa) {
    EVP_PKEY *pkey = NULL;
    EVP_PKEY_CTX *make = EVP_PKEY_CTX_new_from_name(NULL, type, NULL), *test = NULL;
    OSSL_PARAM *params = OSSL_PARAM_BLD_to_param(build);
    bool ok = make && params && EVP_PKEY_fromdata_init(make) == 1 &&
              EVP_PKEY_fromdata(make, &pkey, EVP_PKEY_PUBLIC_KEY, params) == 1;
    ok = ok && (test = EVP_PKEY_CTX_new_from_pkey(NULL, pkey, NULL)) &&
         EVP_PKEY_public_check(test) == 1;
    EVP_PKEY_CTX_free(test);
    EVP_PKEY_CTX_free(make);
    OSSL_PARAM_free(params);
    if (!ok) {
        EVP_PKEY_free(pkey);
        return NULL;
    }
    struct verify_key *k = must_alloc(sizeof *k);
    *k = (struct verify_key){pkey, rsa};
    return k;
}

struct verify_key *verify_key_rsa(struct bytes n, struct bytes e) {
    if (n.n > RSA_BITS_MAX / 8 || !e.n || e.n > 8) return NULL;
    BIGNUM *bn = BN_bin2bn(n.p, (int)n.n, NULL), *be = BN_bin2bn(e.p, (int)e.n, NULL);
    OSSL_PARAM_BLD *build = OSSL_PARAM_BLD_new();
    struct verify_key *k = NULL;
    check(bn && be && build);
    if (BN_num_bits(bn) >= RSA_BITS_MIN && BN_is_odd(bn) && BN_is_odd(be) && !BN_is_one(be) &&
        OSSL_PARAM_BLD_push_BN(build, OSSL_PKEY_PARAM_RSA_N, bn) == 1 &&
        OSSL_PARAM_BLD_push_BN(build, OSSL_PKEY_PARAM_RSA_E, be) == 1)
        k = key_from("RSA", build, true);
    OSSL_PARAM_BLD_free(build);
    BN_free(bn);
    BN_free(be);
    return k;
}

struct verify_key *verify_key_p256(struct bytes x, struct bytes y) {
    uint8_t point[1 + 2 * P256_BYTES] = {4}; /* SEC 1, 2.3.3: uncompressed */
    if (x.n != P256_BYTES || y.n != P256_BYTES) return NULL;
    memcpy(point + 1, x.p, P256_BYTES);
    memcpy(point + 1 + P256_BYTES, y.p, P256_BYTES);
    OSSL_PARAM_BLD *build = OSSL_PARAM_BLD_new();
    struct verify_key *k = NULL;
    check(build);
    if (OSSL_PARAM_BLD_push_utf8_string(build, OSSL_PKEY_PARAM_GROUP_NAME, "P-256", 0) == 1 &&
        OSSL_PARAM_BLD_push_octet_string(build, OSSL_PKEY_PARAM_PUB_KEY, point, sizeof point) == 1)
        k = key_from("EC", build, false);
    OSSL_PARAM_BLD_free(build);
    return k;
}

void verify_key_free(struct verify_key **pk) {
    if (!*pk) return;
    EVP_PKEY_free((*pk)->pkey);
    free(*pk);
    *pk = NULL;
}

/* ---- signatures ---- */
/* JWS carries r and s side by side (RFC 7518 3.4); the library wants them in DER. Allocates *out.
 * */
static int ecdsa_der(struct bytes raw, uint8_t **out) {
    if (raw.n != 2 * P256_BYTES) return -1;
    ECDSA_SIG *sig = ECDSA_SIG_new();
    BIGNUM *r = BN_bin2bn(raw.p, P256_BYTES, NULL),
           *s = BN_bin2bn(raw.p + P256_BYTES, P256_BYTES, NULL);
    check(sig && r && s && ECDSA_SIG_set0(sig, r, s) == 1);
    int n = i2d_ECDSA_SIG(sig, out);
    ECDSA_SIG_free(sig);
    return n;
}

bool verify_key_check(const struct verify_key *k, struct bytes text, struct bytes signature) {
    uint8_t *der = NULL;
    int n = (int)signature.n;
    if (!k->rsa && (n = ecdsa_der(signature, &der)) <= 0) return false;
    EVP_MD_CTX *c = EVP_MD_CTX_new();
    check(c);
    bool ok = EVP_DigestVerifyInit(c, NULL, EVP_sha256(), NULL, k->pkey) == 1 &&
              EVP_DigestVerify(c, der ? der : signature.p, (size_t)n, text.p, text.n) == 1;
    EVP_MD_CTX_free(c);
    OPENSSL_free(der);
    return ok;
}
