/* outward: the cryptography, on OpenSSL, which no other file of this room includes.
 * SPDX-License-Identifier: Apache-2.0 */
#include <openssl/bio.h>
#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/ec.h>
#include <openssl/ecdsa.h>
#include <openssl/evp.h>
#include <openssl/param_build.h>
#include <openssl/pem.h>
#include <openssl/rand.h>
#include <openssl/x509.h>
#include <stdlib.h>
#include <string.h>

#include "outward/outward_in.h"

enum { RSA_BITS = 2048, RSA_BITS_MAX = 8192, HMAC_BLOCK = 64, PEM_MAX = 16 * 1024, TAG = 16 };

struct outward_key {
    EVP_PKEY *pkey;
    enum outward_key_kind kind;
};

/* ---- digests ---- */
void outward_sha256(struct bytes v, uint8_t out[SHA256_BYTES]) {
    unsigned n = SHA256_BYTES;
    check(EVP_Digest(v.n ? v.p : (const uint8_t *)"", v.n, out, &n, EVP_sha256(), NULL) == 1);
}
bool outward_equal(const void *a, const void *b, size_t n) { return CRYPTO_memcmp(a, b, n) == 0; }
void outward_wipe(void *p, size_t n) { OPENSSL_cleanse(p, n); }
void outward_random(void *p, size_t n) { check(RAND_bytes(p, (int)n) == 1); }

static void feed(EVP_MD_CTX *c, struct bytes v) {
    if (v.n) check(EVP_DigestUpdate(c, v.p, v.n) == 1);
}

/* HMAC by its definition (RFC 2104): the library's own fetches its algorithm anew each time. */
static void hmac(EVP_MD_CTX *c, const EVP_MD *md, struct bytes key, struct bytes a, struct bytes b,
    uint8_t out[SHA256_BYTES]) {
    uint8_t inner[HMAC_BLOCK] = {0}, outer[HMAC_BLOCK];
    unsigned n = SHA256_BYTES;
    if (key.n > HMAC_BLOCK) outward_sha256(key, inner);
    else if (key.n) memcpy(inner, key.p, key.n);
    for (int i = 0; i < HMAC_BLOCK; i++) {
        outer[i] = inner[i] ^ 0x5c;
        inner[i] ^= 0x36;
    }
    check(EVP_DigestInit_ex2(c, md, NULL) == 1);
    feed(c, bytes_of(inner, HMAC_BLOCK));
    feed(c, a);
    feed(c, b);
    check(EVP_DigestFinal_ex(c, out, &n) == 1 && EVP_DigestInit_ex2(c, md, NULL) == 1);
    feed(c, bytes_of(outer, HMAC_BLOCK));
    feed(c, bytes_of(out, SHA256_BYTES));
    check(EVP_DigestFinal_ex(c, out, &n) == 1);
    OPENSSL_cleanse(inner, sizeof inner);
    OPENSSL_cleanse(outer, sizeof outer);
}

void outward_hmac(struct bytes key, struct bytes a, struct bytes b, uint8_t out[SHA256_BYTES]) {
    EVP_MD_CTX *c = EVP_MD_CTX_new();
    check(c);
    hmac(c, EVP_sha256(), key, a, b, out);
    EVP_MD_CTX_free(c);
}

void outward_base64(struct buf *b, struct bytes v) {
    size_t from = b->n;
    base64url_encode(b, v);
    for (size_t i = from; i < b->n; i++)
        b->p[i] = b->p[i] == '-' ? '+' : b->p[i] == '_' ? '/' : b->p[i];
    while ((b->n - from) % 4) buf_char(b, '=');
}

/* ---- keys ---- */
static struct outward_key *wrap(EVP_PKEY *take, enum outward_key_kind kind) {
    struct outward_key *k = must_alloc(sizeof *k);
    *k = (struct outward_key){take, kind};
    return k;
}

struct outward_key *outward_key_create(enum outward_key_kind kind) {
    EVP_PKEY *p = kind == OUTWARD_P256  ? EVP_EC_gen("P-256")
                  : kind == OUTWARD_RSA ? EVP_RSA_gen(RSA_BITS)
                                        : EVP_PKEY_Q_keygen(NULL, NULL, "ED25519");
    check(p);
    return wrap(p, kind);
}

static bool fits(EVP_PKEY *p, enum outward_key_kind kind) {
    char group[32] = "";
    int bits = EVP_PKEY_get_bits(p);
    switch (kind) {
    case OUTWARD_RSA: return EVP_PKEY_is_a(p, "RSA") && bits >= RSA_BITS && bits <= RSA_BITS_MAX;
    case OUTWARD_ED25519: return EVP_PKEY_is_a(p, "ED25519");
    default:
        return EVP_PKEY_is_a(p, "EC") &&
               EVP_PKEY_get_utf8_string_param(
                   p, OSSL_PKEY_PARAM_GROUP_NAME, group, sizeof group, NULL) == 1 &&
               (!strcmp(group, "prime256v1") || !strcmp(group, "P-256"));
    }
}

static EVP_PKEY *ec_from(const uint8_t *secret, const uint8_t *point) {
    OSSL_PARAM_BLD *build = OSSL_PARAM_BLD_new();
    BIGNUM *s = secret ? BN_bin2bn(secret, P256_SECRET, NULL) : NULL;
    EVP_PKEY_CTX *c = EVP_PKEY_CTX_new_from_name(NULL, "EC", NULL), *test = NULL;
    EVP_PKEY *p = NULL;
    check(build && c);
    bool ok =
        OSSL_PARAM_BLD_push_utf8_string(build, OSSL_PKEY_PARAM_GROUP_NAME, "P-256", 0) == 1 &&
        OSSL_PARAM_BLD_push_octet_string(build, OSSL_PKEY_PARAM_PUB_KEY, point, P256_POINT) == 1 &&
        (!s || OSSL_PARAM_BLD_push_BN(build, OSSL_PKEY_PARAM_PRIV_KEY, s) == 1);
    OSSL_PARAM *params = ok ? OSSL_PARAM_BLD_to_param(build) : NULL;
    ok = params && EVP_PKEY_fromdata_init(c) == 1 &&
         EVP_PKEY_fromdata(c, &p, s ? EVP_PKEY_KEYPAIR : EVP_PKEY_PUBLIC_KEY, params) == 1 &&
         (test = EVP_PKEY_CTX_new_from_pkey(NULL, p, NULL)) && EVP_PKEY_public_check(test) == 1;
    EVP_PKEY_CTX_free(test);
    EVP_PKEY_CTX_free(c);
    OSSL_PARAM_free(params);
    OSSL_PARAM_BLD_free(build);
    BN_clear_free(s);
    if (ok) return p;
    EVP_PKEY_free(p);
    return NULL;
}

static EVP_PKEY *raw_read(enum outward_key_kind kind, struct bytes text) {
    struct buf b = {0};
    EVP_PKEY *p = NULL;
    uint8_t point[P256_POINT];
    if (text.n <= 128 && base64url_decode(&b, text) == OK) {
        if (kind == OUTWARD_ED25519 && (b.n == ED25519_BYTES || b.n == 2 * ED25519_BYTES))
            p = EVP_PKEY_new_raw_private_key(EVP_PKEY_ED25519, NULL, b.p, ED25519_BYTES);
        struct ece *e = kind == OUTWARD_P256 && b.n == P256_SECRET ? ece_create() : NULL;
        if (e && ece_point(e, b.p, point)) p = ec_from(b.p, point);
        ece_free(&e);
    }
    if (b.n) OPENSSL_cleanse(b.p, b.n);
    buf_done(&b);
    return p;
}

static int no_password(char *p, int n, int writing, void *arg) {
    (void)p, (void)n, (void)writing, (void)arg;
    return 0; /* else the library would ask the terminal */
}

enum err outward_key_read(
    enum outward_key_kind kind, struct bytes text, struct outward_key **out, const char **why) {
    static const char *const WORDS[] = {
        "not a P-256 key: a PEM file (PKCS#8 or EC), or 32 bytes in base64url",
        "not an RSA key of 2048 bits or more as a PEM file",
        "not an Ed25519 key: a PEM file (PKCS#8), or 32 bytes in base64"};
    EVP_PKEY *p = NULL;
    if (text.n && text.n <= PEM_MAX) {
        BIO *bio = BIO_new_mem_buf(text.p, (int)text.n);
        check(bio);
        p = PEM_read_bio_PrivateKey(bio, NULL, no_password, NULL);
        BIO_free(bio);
        if (!p) p = raw_read(kind, text);
    }
    if (p && fits(p, kind)) {
        *out = wrap(p, kind);
        return OK;
    }
    EVP_PKEY_free(p);
    if (why) *why = WORDS[kind];
    return MALFORMED;
}

void outward_key_write(const struct outward_key *k, struct buf *out) {
    BIO *bio = BIO_new(BIO_s_mem());
    char *p = NULL;
    check(bio && PEM_write_bio_PKCS8PrivateKey(bio, k->pkey, NULL, NULL, 0, NULL, NULL) == 1);
    long n = BIO_get_mem_data(bio, &p);
    buf_add(out, p, (size_t)n);
    OPENSSL_cleanse(p, (size_t)n);
    BIO_free(bio);
}

void outward_key_public(const struct outward_key *k, struct buf *out) {
    uint8_t raw[P256_POINT];
    size_t n = sizeof raw;
    if (k->kind == OUTWARD_RSA) {
        uint8_t *der = NULL;
        int len = i2d_PUBKEY(k->pkey, &der);
        check(len > 0);
        buf_add(out, der, (size_t)len);
        OPENSSL_free(der);
        return;
    }
    if (k->kind == OUTWARD_ED25519) check(EVP_PKEY_get_raw_public_key(k->pkey, raw, &n) == 1);
    else
        check(EVP_PKEY_get_octet_string_param(
                  k->pkey, OSSL_PKEY_PARAM_ENCODED_PUBLIC_KEY, raw, sizeof raw, &n) == 1);
    buf_add(out, raw, n);
}

struct outward_key *outward_key_from_public(enum outward_key_kind kind, struct bytes v) {
    EVP_PKEY *p = NULL;
    const uint8_t *at = v.p;
    if (kind == OUTWARD_ED25519 && v.n == ED25519_BYTES)
        p = EVP_PKEY_new_raw_public_key(EVP_PKEY_ED25519, NULL, v.p, v.n);
    else if (kind == OUTWARD_P256 && v.n == P256_POINT && v.p[0] == 4) p = ec_from(NULL, v.p);
    else if (kind == OUTWARD_RSA && v.n) p = d2i_PUBKEY(NULL, &at, (long)v.n);
    if (p && fits(p, kind)) return wrap(p, kind);
    EVP_PKEY_free(p);
    return NULL;
}

enum outward_key_kind outward_key_kind(const struct outward_key *k) { return k->kind; }

void outward_key_free(struct outward_key **pk) {
    if (!*pk) return;
    EVP_PKEY_free((*pk)->pkey);
    free(*pk);
    *pk = NULL;
}

/* ---- signatures ---- */
/* r and s side by side (RFC 7518, 3.4), from DER. */
static void ecdsa_raw(const uint8_t *der, size_t n, struct buf *out) {
    uint8_t raw[SIGNATURE_64];
    ECDSA_SIG *sig = d2i_ECDSA_SIG(NULL, &der, (long)n);
    check(sig && BN_bn2binpad(ECDSA_SIG_get0_r(sig), raw, 32) == 32 &&
          BN_bn2binpad(ECDSA_SIG_get0_s(sig), raw + 32, 32) == 32);
    ECDSA_SIG_free(sig);
    buf_add(out, raw, sizeof raw);
}

static int ecdsa_der(struct bytes raw, uint8_t **out) {
    if (raw.n != SIGNATURE_64) return -1;
    ECDSA_SIG *sig = ECDSA_SIG_new();
    BIGNUM *r = BN_bin2bn(raw.p, 32, NULL), *s = BN_bin2bn(raw.p + 32, 32, NULL);
    check(sig && r && s && ECDSA_SIG_set0(sig, r, s) == 1);
    int n = i2d_ECDSA_SIG(sig, out);
    ECDSA_SIG_free(sig);
    return n;
}

void outward_key_sign(const struct outward_key *k, struct bytes text, struct buf *out) {
    uint8_t sig[RSA_BITS_MAX / 8];
    size_t n = sizeof sig;
    EVP_MD_CTX *c = EVP_MD_CTX_new();
    const EVP_MD *md = k->kind == OUTWARD_ED25519 ? NULL : EVP_sha256();
    check(c && EVP_DigestSignInit(c, NULL, md, NULL, k->pkey) == 1 &&
          EVP_DigestSign(c, sig, &n, text.p, text.n) == 1);
    EVP_MD_CTX_free(c);
    if (k->kind == OUTWARD_P256) ecdsa_raw(sig, n, out);
    else buf_add(out, sig, n);
}

bool outward_key_verify(const struct outward_key *k, struct bytes text, struct bytes signature) {
    uint8_t *der = NULL;
    int n = (int)signature.n;
    if (!n || (k->kind == OUTWARD_P256 && (n = ecdsa_der(signature, &der)) <= 0)) return false;
    EVP_MD_CTX *c = EVP_MD_CTX_new();
    const EVP_MD *md = k->kind == OUTWARD_ED25519 ? NULL : EVP_sha256();
    check(c);
    bool ok = EVP_DigestVerifyInit(c, NULL, md, NULL, k->pkey) == 1 &&
              EVP_DigestVerify(c, der ? der : signature.p, (size_t)n, text.p, text.n) == 1;
    EVP_MD_CTX_free(c);
    OPENSSL_free(der);
    return ok;
}

/* ---- Web Push ---- */
/* The group's own functions, not EVP's: making an EVP key of a point costs as much as the product. */
struct ece {
    EC_GROUP *group;
    BN_CTX *numbers;
    EC_POINT *point, *product;
    EVP_MD *sha256;
    EVP_MD_CTX *digest;
    EVP_CIPHER *gcm;
    EVP_CIPHER_CTX *cipher;
};

struct ece *ece_create(void) {
    struct ece *e = must_alloc(sizeof *e);
    e->group = EC_GROUP_new_by_curve_name(NID_X9_62_prime256v1);
    check(e->group);
    e->numbers = BN_CTX_secure_new();
    e->point = EC_POINT_new(e->group);
    e->product = EC_POINT_new(e->group);
    e->sha256 = EVP_MD_fetch(NULL, "SHA256", NULL);
    e->digest = EVP_MD_CTX_new();
    e->gcm = EVP_CIPHER_fetch(NULL, "AES-128-GCM", NULL);
    e->cipher = EVP_CIPHER_CTX_new();
    check(e->numbers && e->point && e->product && e->sha256 && e->digest && e->gcm && e->cipher);
    return e;
}

void ece_free(struct ece **pe) {
    struct ece *e = *pe;
    if (!e) return;
    EVP_CIPHER_CTX_free(e->cipher);
    EVP_CIPHER_free(e->gcm);
    EVP_MD_CTX_free(e->digest);
    EVP_MD_free(e->sha256);
    EC_POINT_clear_free(e->product);
    EC_POINT_free(e->point);
    BN_CTX_free(e->numbers);
    EC_GROUP_free(e->group);
    free(e);
    *pe = NULL;
}

static BIGNUM *scalar_of(const struct ece *e, const uint8_t secret[P256_SECRET]) {
    BIGNUM *s = BN_bin2bn(secret, P256_SECRET, NULL);
    check(s);
    BN_set_flags(s, BN_FLG_CONSTTIME);
    if (!BN_is_zero(s) && BN_cmp(s, EC_GROUP_get0_order(e->group)) < 0) return s;
    BN_clear_free(s);
    return NULL;
}

bool ece_point(struct ece *e, const uint8_t secret[P256_SECRET], uint8_t out[P256_POINT]) {
    BIGNUM *s = scalar_of(e, secret);
    if (!s) return false;
    check(EC_POINT_mul(e->group, e->product, s, NULL, NULL, e->numbers) == 1 &&
          EC_POINT_point2oct(e->group, e->product, POINT_CONVERSION_UNCOMPRESSED, out, P256_POINT,
              e->numbers) == P256_POINT);
    BN_clear_free(s);
    return true;
}

void ece_make(struct ece *e, struct ephemeral *out) {
    do check(RAND_priv_bytes(out->secret, P256_SECRET) == 1);
    while (!ece_point(e, out->secret, out->point));
}

bool ece_agree(struct ece *e, const uint8_t secret[P256_SECRET], struct bytes point,
    uint8_t out[P256_SECRET]) {
    uint8_t product[P256_POINT];
    if (point.n != P256_POINT || point.p[0] != POINT_CONVERSION_UNCOMPRESSED ||
        EC_POINT_oct2point(e->group, e->point, point.p, point.n, e->numbers) != 1)
        return false; /* which looks whether it is on the curve; its cofactor is 1 */
    BIGNUM *s = scalar_of(e, secret);
    if (!s) return false;
    bool ok = EC_POINT_mul(e->group, e->product, NULL, e->point, s, e->numbers) == 1 &&
              EC_POINT_point2oct(e->group, e->product, POINT_CONVERSION_UNCOMPRESSED, product,
                  P256_POINT, e->numbers) == P256_POINT;
    memcpy(out, product + 1, P256_SECRET);
    OPENSSL_cleanse(product, sizeof product);
    BN_clear_free(s);
    return ok;
}

void ece_hmac(
    struct ece *e, struct bytes key, struct bytes a, struct bytes b, uint8_t out[SHA256_BYTES]) {
    hmac(e->digest, e->sha256, key, a, b, out);
}

void ece_seal(struct ece *e, const uint8_t key[16], const uint8_t nonce[12], struct bytes plain,
    struct buf *out) {
    int n = 0, end = 0;
    buf_reserve(out, plain.n + TAG);
    uint8_t *at = out->p + out->n;
    check(EVP_EncryptInit_ex2(e->cipher, e->gcm, key, nonce, NULL) == 1 &&
          EVP_EncryptUpdate(e->cipher, at, &n, plain.p, (int)plain.n) == 1 &&
          EVP_EncryptFinal_ex(e->cipher, at + n, &end) == 1 &&
          EVP_CIPHER_CTX_ctrl(e->cipher, EVP_CTRL_AEAD_GET_TAG, TAG, at + plain.n) == 1);
    out->n += plain.n + TAG;
}
