/* admit, tested: keys and tokens as a server and a command line use them, side by side; then
 * everything that a forger would try.
 * SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>
#include <openssl/core_names.h>
#include <openssl/ec.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/rsa.h>

#include "admit/admit.h"
#include "io/io.h"

#define NOW 1700000000123ll
#define HOUR 3600000ll
#define APP BYTES("app")
#define SECRET "0123456789abcdef0123456789abcdef"

/* ---- a data folder ---- */
struct place {
    char dir[64];
    struct admit *admit;
    struct arena arena;
    struct principal who;
    char why[256];
};

static void place_open(struct place *p) {
    struct buf why = {0};
    *p = (struct place){.dir = "/tmp/kith-admit-XXXXXX"};
    assert_non_null(mkdtemp(p->dir));
    assert_int_equal(admit_open(p->dir, &p->admit, &why), OK);
}
static void place_close(struct place *p) {
    static const char *const FILES[] = {"secrets", "secrets.lock", "secrets.tmp"};
    char path[128];
    admit_close(&p->admit);
    for (size_t i = 0; i < 3; i++) {
        snprintf(path, sizeof path, "%s/%s", p->dir, FILES[i]);
        unlink(path);
    }
    assert_int_equal(rmdir(p->dir), 0);
    arena_done(&p->arena);
}
static enum err see_at(struct place *p, struct bytes credential, int64_t now_ms) {
    struct buf why = {0};
    enum err e = admit_check(p->admit, credential, now_ms, &p->arena, &p->who, &why);
    assert_true((e == OK) == (why.n == 0));
    snprintf(p->why, sizeof p->why, "%.*s", (int)why.n, why.n ? (const char *)why.p : "");
    buf_done(&why);
    return e;
}
static enum err see(struct place *p, const struct buf *credential) {
    return see_at(p, buf_view(credential), NOW);
}

static struct buf file_read(const struct place *p) {
    char path[128], chunk[4096];
    struct buf b = {0};
    size_t n;
    snprintf(path, sizeof path, "%s/secrets", p->dir);
    FILE *f = fopen(path, "r");
    assert_non_null(f);
    while ((n = fread(chunk, 1, sizeof chunk, f))) buf_add(&b, chunk, n);
    fclose(f);
    buf_char(&b, 0);
    return b;
}
static void file_write(const struct place *p, const char *text) {
    char path[128];
    snprintf(path, sizeof path, "%s/secrets", p->dir);
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    fputs(text, f);
    fclose(f);
}

/* ---- tokens of every sort ---- */
static void part(struct buf *out, const char *json) { base64url_encode(out, bytes_str(json)); }
static struct buf unsigned_token(const char *head, const char *claims) {
    struct buf b = {0};
    part(&b, head);
    buf_char(&b, '.');
    part(&b, claims);
    return b;
}
static struct buf hs256(const char *head, const char *claims, struct bytes secret) {
    struct buf b = unsigned_token(head, claims);
    uint8_t sum[32];
    unsigned n = sizeof sum;
    assert_non_null(HMAC(EVP_sha256(), secret.p, (int)secret.n, b.p, b.n, sum, &n));
    buf_char(&b, '.');
    base64url_encode(&b, bytes_of(sum, n));
    return b;
}

struct pair {
    EVP_PKEY *key;
    struct buf jwk;
};
static void number_part(struct buf *b, EVP_PKEY *key, const char *param, int size) {
    BIGNUM *n = NULL;
    uint8_t raw[512];
    assert_int_equal(EVP_PKEY_get_bn_param(key, param, &n), 1);
    if (!size) size = BN_num_bytes(n);
    assert_int_equal(BN_bn2binpad(n, raw, size), size);
    base64url_encode(b, bytes_of(raw, (size_t)size));
    BN_free(n);
}
static struct pair rsa_pair(unsigned bits, const char *kid) {
    struct pair p = {.key = EVP_RSA_gen(bits)};
    assert_non_null(p.key);
    buf_fmt(&p.jwk, "{\"kty\":\"RSA\",\"use\":\"sig\",\"kid\":\"%s\",\"n\":\"", kid);
    number_part(&p.jwk, p.key, OSSL_PKEY_PARAM_RSA_N, 0);
    buf_str(&p.jwk, "\",\"e\":\"");
    number_part(&p.jwk, p.key, OSSL_PKEY_PARAM_RSA_E, 0);
    buf_str(&p.jwk, "\"}");
    return p;
}
static struct pair ec_pair(const char *kid) {
    struct pair p = {.key = EVP_EC_gen("P-256")};
    assert_non_null(p.key);
    buf_fmt(&p.jwk, "{\"kty\":\"EC\",\"crv\":\"P-256\",\"kid\":\"%s\",\"x\":\"", kid);
    number_part(&p.jwk, p.key, OSSL_PKEY_PARAM_EC_PUB_X, 32);
    buf_str(&p.jwk, "\",\"y\":\"");
    number_part(&p.jwk, p.key, OSSL_PKEY_PARAM_EC_PUB_Y, 32);
    buf_str(&p.jwk, "\"}");
    return p;
}
static void pair_done(struct pair *p) {
    EVP_PKEY_free(p->key);
    buf_done(&p->jwk);
}
static struct buf key_signed(const char *head, const char *claims, const struct pair *by) {
    struct buf b = unsigned_token(head, claims);
    uint8_t sum[1024], raw[64];
    size_t n = sizeof sum;
    EVP_MD_CTX *c = EVP_MD_CTX_new();
    assert_int_equal(EVP_DigestSignInit(c, NULL, EVP_sha256(), NULL, by->key), 1);
    assert_int_equal(EVP_DigestSign(c, sum, &n, b.p, b.n), 1);
    EVP_MD_CTX_free(c);
    buf_char(&b, '.');
    if (EVP_PKEY_get_base_id(by->key) == EVP_PKEY_EC) {
        const uint8_t *at = sum;
        ECDSA_SIG *sig = d2i_ECDSA_SIG(NULL, &at, (long)n);
        BN_bn2binpad(ECDSA_SIG_get0_r(sig), raw, 32);
        BN_bn2binpad(ECDSA_SIG_get0_s(sig), raw + 32, 32);
        ECDSA_SIG_free(sig);
        base64url_encode(&b, bytes_of(raw, sizeof raw));
    } else {
        base64url_encode(&b, bytes_of(sum, n));
    }
    return b;
}

/* Sees a token, frees it, says what came of it. */
static enum err seen(struct place *p, struct buf token) {
    enum err e = see(p, &token);
    buf_done(&token);
    return e;
}

/* ---- keys ---- */
static void key_opens_what_its_scopes_say(void **state) {
    (void)state;
    struct place p;
    struct buf key = {0}, why = {0}, list = {0};
    place_open(&p);
    assert_int_equal(
        admit_key_create(p.admit, BYTES("backend"), APP, SCOPE_READ | SCOPE_TOKENS, &key, &why),
        OK);
    assert_true(bytes_starts(buf_view(&key), "kith_"));
    assert_int_equal(see(&p, &key), OK);
    assert_true(p.who.server);
    assert_int_equal(p.who.scopes, SCOPE_READ | SCOPE_TOKENS);
    assert_true(bytes_eq(p.who.app, APP));
    assert_int_equal(p.who.user.n, 0);
    admit_key_list(p.admit, &list);
    buf_char(&list, 0);
    assert_non_null(strstr((char *)list.p, "\tbackend\tapp\tread,tokens\t"));
    struct buf file = file_read(&p);
    /* the secret itself lies nowhere */
    assert_null(memmem(file.p, file.n, key.p + 18, key.n - 18));
    for (size_t i = 0; i < key.n; i++) { /* any other character: another key */
        key.p[i] ^= 1;
        assert_int_equal(see(&p, &key), REFUSED);
        key.p[i] ^= 1;
    }
    key.n--;
    assert_int_equal(see(&p, &key), REFUSED);
    buf_done(&file);
    buf_done(&list);
    buf_done(&key);
    place_close(&p);
}

static void key_revoked_is_refused_also_after_reopening(void **state) {
    (void)state;
    struct place p;
    struct buf one = {0}, two = {0}, why = {0};
    place_open(&p);
    assert_int_equal(admit_key_create(p.admit, BYTES("a"), APP, SCOPE_READ, &one, &why), OK);
    assert_int_equal(admit_key_create(p.admit, BYTES("b"), APP, SCOPE_READ, &two, &why), OK);
    assert_int_equal(admit_key_revoke(p.admit, BYTES("nobody"), &why), MISSING);
    assert_true(why.n > 0);
    buf_reset(&why);
    assert_int_equal(admit_key_revoke(p.admit, BYTES("a"), &why), OK);
    assert_int_equal(admit_key_revoke(p.admit, BYTES("a"), &why), OK);
    assert_int_equal(see(&p, &one), REFUSED);
    assert_int_equal(see(&p, &two), OK);
    admit_close(&p.admit);
    assert_int_equal(admit_open(p.dir, &p.admit, &why), OK);
    assert_int_equal(see(&p, &one), REFUSED);
    assert_int_equal(see(&p, &two), OK);
    buf_done(&one);
    buf_done(&two);
    buf_done(&why);
    place_close(&p);
}

static void key_needs_an_id_and_scopes(void **state) {
    (void)state;
    struct place p;
    struct buf key = {0}, why = {0};
    uint32_t scopes = 0;
    place_open(&p);
    assert_int_equal(
        admit_key_create(p.admit, BYTES("a b"), APP, SCOPE_READ, &key, &why), MALFORMED);
    assert_int_equal(
        admit_key_create(p.admit, BYTES("a"), BYTES("x\ny"), SCOPE_READ, &key, &why), MALFORMED);
    assert_int_equal(admit_key_create(p.admit, BYTES("a"), APP, 0, &key, &why), MALFORMED);
    assert_int_equal(admit_key_create(p.admit, BYTES("a"), APP, SCOPE_OPEN, &key, &why), MALFORMED);
    assert_int_equal(key.n, 0);
    assert_int_equal(admit_scopes_parse("read, write", &scopes), OK);
    assert_int_equal(scopes, SCOPE_READ | SCOPE_WRITE);
    assert_int_equal(admit_scopes_parse("all", &scopes), OK);
    assert_int_equal(
        scopes, SCOPE_READ | SCOPE_WRITE | SCOPE_TOKENS | SCOPE_MODERATE | SCOPE_OPERATE);
    assert_int_equal(admit_scopes_parse("", &scopes), MALFORMED);
    assert_int_equal(admit_scopes_parse("read,root", &scopes), MALFORMED);
    assert_int_equal(admit_scopes_parse("rea", &scopes), MALFORMED);
    buf_done(&why);
    place_close(&p);
}

/* The command line writes while a server runs: neither loses what the other wrote. */
static void two_processes_lose_nothing(void **state) {
    (void)state;
    struct place p;
    struct admit *other = NULL;
    struct buf key = {0}, why = {0}, ours = {0}, theirs = {0};
    int64_t until;
    place_open(&p);
    assert_int_equal(admit_open(p.dir, &other, &why), OK);
    assert_int_equal(admit_key_create(other, BYTES("cli"), APP, SCOPE_READ, &key, &why), OK);
    assert_int_equal(see(&p, &key), REFUSED); /* not told yet */
    assert_int_equal(
        admit_token_create(p.admit, APP, BYTES("ann"), BYTES(""), HOUR, NOW, &ours, &until), OK);
    assert_int_equal(see(&p, &key), OK); /* the change read the file first */
    assert_int_equal(
        admit_token_create(other, APP, BYTES("bob"), BYTES(""), HOUR, NOW, &theirs, &until), OK);
    assert_int_equal(see(&p, &theirs), OK); /* one secret, not two */
    assert_int_equal(see(&p, &ours), OK);
    assert_int_equal(admit_key_revoke(other, BYTES("cli"), &why), OK);
    assert_int_equal(admit_reload(p.admit, &why), OK);
    assert_int_equal(see(&p, &key), REFUSED);
    assert_int_equal(see(&p, &ours), OK);
    admit_close(&other);
    buf_done(&key);
    buf_done(&ours);
    buf_done(&theirs);
    place_close(&p);
}

/* ---- the file ---- */
static void file_is_private_and_whole(void **state) {
    (void)state;
    struct place p;
    struct buf key = {0}, why = {0};
    struct stat st;
    struct admit *again = NULL;
    char path[128];
    place_open(&p);
    assert_int_equal(admit_key_create(p.admit, BYTES("k"), APP, SCOPE_READ, &key, &why), OK);
    snprintf(path, sizeof path, "%s/secrets", p.dir);
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    assert_int_equal(chmod(path, 0640), 0);
    assert_int_equal(admit_open(p.dir, &again, &why), REFUSED);
    assert_null(again);
    assert_int_equal(admit_reload(p.admit, &why), REFUSED);
    assert_int_equal(see(&p, &key), OK); /* the old one is kept */
    assert_int_equal(chmod(path, 0600), 0);
    struct buf good = file_read(&p);
    static const char *const BAD[] = {"", "kith-secrets 2\n", "kith-secrets 1\nkey 1 2 3\n",
        "kith-secrets 1\nsign app AAAA\n", "kith-secrets 1\nnonsense\n",
        "kith-secrets 1\nissuer app aQ YQ jwks e30\n"};
    for (size_t i = 0; i < sizeof BAD / sizeof *BAD; i++) {
        buf_reset(&why);
        file_write(&p, BAD[i]);
        assert_int_equal(admit_reload(p.admit, &why), CORRUPT);
        assert_true(why.n > 0);
        assert_int_equal(see(&p, &key), OK);
        /* and nothing is written over it */
        assert_int_not_equal(
            admit_key_create(p.admit, BYTES("x"), APP, SCOPE_READ, &key, &why), OK);
    }
    file_write(&p, (char *)good.p);
    assert_int_equal(admit_reload(p.admit, &why), OK);
    unlink(path);
    assert_int_equal(admit_reload(p.admit, &why), MISSING);
    assert_int_equal(see(&p, &key), OK);
    buf_done(&good);
    buf_done(&key);
    buf_done(&why);
    place_close(&p);
}

static void failed_write_changes_nothing(void **state) {
    (void)state;
    struct place p;
    struct buf key = {0}, more = {0}, why = {0};
    char path[128];
    place_open(&p);
    assert_int_equal(admit_key_create(p.admit, BYTES("k"), APP, SCOPE_READ, &key, &why), OK);
    snprintf(path, sizeof path, "%s/secrets.tmp", p.dir);
    assert_int_equal(mkdir(path, 0700), 0); /* in the way of the new file */
    assert_int_equal(admit_key_create(p.admit, BYTES("l"), APP, SCOPE_READ, &more, &why), IO);
    assert_int_equal(more.n, 0);
    assert_int_equal(admit_key_revoke(p.admit, BYTES("k"), &why), IO);
    assert_int_equal(see(&p, &key), OK);
    assert_int_equal(rmdir(path), 0);
    assert_int_equal(admit_key_revoke(p.admit, BYTES("k"), &why), OK);
    assert_int_equal(see(&p, &key), REFUSED);
    buf_done(&key);
    buf_done(&why);
    place_close(&p);
}

/* ---- tokens of ours ---- */
static void token_is_its_user_until_it_expires(void **state) {
    (void)state;
    struct place p;
    struct buf t = {0};
    int64_t until = 0;
    place_open(&p);
    assert_int_equal(
        admit_token_create(p.admit, APP, BYTES("ann"), BYTES("phone"), HOUR, NOW, &t, &until), OK);
    assert_int_equal(until, (NOW + HOUR + 999) / 1000 * 1000);
    for (int i = 0; i < 2; i++) { /* the second time from the cache */
        assert_int_equal(see(&p, &t), OK);
        assert_false(p.who.server);
        assert_int_equal(p.who.scopes, 0);
        assert_true(bytes_is(p.who.app, "app") && bytes_is(p.who.user, "ann") &&
                    bytes_is(p.who.device, "phone"));
        assert_int_equal(p.who.issued_ms, NOW);
    }
    assert_int_equal(see_at(&p, buf_view(&t), until - 1), OK);
    assert_int_equal(see_at(&p, buf_view(&t), until), REFUSED);
    assert_non_null(strstr(p.why, "expired"));
    /* cached: it was good when it came */
    assert_int_equal(see_at(&p, buf_view(&t), NOW - HOUR), OK);
    struct buf why = {0};
    assert_int_equal(admit_reload(p.admit, &why), OK);
    assert_int_equal(see_at(&p, buf_view(&t), NOW - HOUR), REFUSED);
    assert_int_equal(p.who.user.n, 0);
    buf_done(&t);
    assert_int_equal(
        admit_token_create(p.admit, APP, BYTES("a\"b"), BYTES(""), HOUR, NOW, &t, &until),
        MALFORMED);
    assert_int_equal(
        admit_token_create(p.admit, APP, BYTES("ann"), BYTES(""), 0, NOW, &t, &until), MALFORMED);
    buf_done(&t);
    place_close(&p);
}

static void token_tampered_is_refused(void **state) {
    (void)state;
    struct place p;
    struct buf t = {0};
    int64_t until;
    place_open(&p);
    assert_int_equal(
        admit_token_create(p.admit, APP, BYTES("ann"), BYTES("phone"), HOUR, NOW, &t, &until), OK);
    static const char ALPHABET[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.+/= ";
    struct rng r = {7};
    /* every place, some other characters; the last ones have idle bits */
    for (size_t i = 0; i < t.n; i++) {
        uint8_t old = t.p[i];
        for (int n = 0; n < 6; n++) {
            t.p[i] = (uint8_t)ALPHABET[rng_below(&r, sizeof ALPHABET - 1)];
            if (t.p[i] != old) assert_int_equal(see(&p, &t), REFUSED);
        }
        t.p[i] = old;
    }
    for (size_t n = 0; n < t.n; n++) assert_int_equal(see_at(&p, bytes_of(t.p, n), NOW), REFUSED);
    buf_char(&t, '=');
    assert_int_equal(see(&p, &t), REFUSED);
    t.n--;
    assert_int_equal(see(&p, &t), OK);
    buf_done(&t);
    place_close(&p);
}

static void token_of_one_app_is_nothing_in_another(void **state) {
    (void)state;
    struct place p;
    struct buf a = {0}, b = {0};
    int64_t until;
    place_open(&p);
    assert_int_equal(
        admit_token_create(p.admit, BYTES("one"), BYTES("ann"), BYTES(""), HOUR, NOW, &a, &until),
        OK);
    assert_int_equal(
        admit_token_create(p.admit, BYTES("two"), BYTES("ann"), BYTES(""), HOUR, NOW, &b, &until),
        OK);
    /* head and claims of one, signature of the other */
    struct buf mixed = {0};
    size_t cut = (size_t)((uint8_t *)memrchr(a.p, '.', a.n) - a.p);
    buf_add(&mixed, a.p, cut);
    buf_bytes(&mixed,
        bytes_of(memrchr(b.p, '.', b.n), b.n - (size_t)((uint8_t *)memrchr(b.p, '.', b.n) - b.p)));
    assert_int_equal(seen(&p, mixed), REFUSED);
    assert_int_equal(seen(&p, a), OK);
    assert_true(bytes_is(p.who.app, "one"));
    assert_int_equal(seen(&p, b), OK);
    assert_true(bytes_is(p.who.app, "two"));
    place_close(&p);
}

/* The app's own secret, known to this test from the file: what even it must not be able to sign. */
static void token_shape_is_strict(void **state) {
    (void)state;
    struct place p;
    struct buf t = {0}, raw = {0};
    int64_t until;
    char text[80], head[128], kid[32];
    place_open(&p);
    assert_int_equal(
        admit_token_create(p.admit, APP, BYTES("ann"), BYTES(""), HOUR, NOW, &t, &until), OK);
    struct buf file = file_read(&p), h = {0};
    assert_int_equal(sscanf((char *)file.p, "kith-secrets 1\nsign app %79s", text), 1);
    assert_int_equal(base64url_decode(&raw, bytes_str(text)), OK);
    assert_int_equal(
        base64url_decode(&h, bytes_of(t.p, (size_t)((uint8_t *)memchr(t.p, '.', t.n) - t.p))), OK);
    buf_char(&h, 0);
    assert_int_equal(
        sscanf((char *)h.p, "{\"alg\":\"HS256\",\"typ\":\"JWT\",\"kid\":\"%16[0-9a-f]\"}", kid), 1);
#define CLAIMS(more) "{\"iss\":\"kith\",\"aud\":\"app\",\"sub\":\"ann\"" more "}"
#define TIMES ",\"iat\":1700000000,\"ims\":1700000000123"
#define GOOD CLAIMS(TIMES ",\"exp\":1700003600")
    struct bytes secret = buf_view(&raw);
    snprintf(head, sizeof head, "{\"alg\":\"HS256\",\"kid\":\"%s\"}", kid);
    assert_int_equal(seen(&p, hs256(head, GOOD, secret)), OK);
    static const char *const BAD_CLAIMS[] = {CLAIMS(TIMES), CLAIMS(TIMES ",\"exp\":\"1700003600\""),
        CLAIMS(TIMES ",\"exp\":-1"), CLAIMS(TIMES ",\"exp\":1e300"), CLAIMS(TIMES ",\"exp\":null"),
        CLAIMS(TIMES ",\"exp\":1700000000"), CLAIMS(TIMES ",\"exp\":1700003600,\"exp\":1800000000"),
        CLAIMS(",\"exp\":1700003600"), CLAIMS(",\"iat\":1700000000,\"exp\":1700003600"),
        CLAIMS(",\"iat\":1700000000,\"ims\":1800000000000,\"exp\":1700003600"),
        CLAIMS(",\"iat\":1700000061,\"ims\":1700000061000,\"exp\":1700003600"),
        CLAIMS(TIMES ",\"nbf\":1700000300,\"exp\":1700003600"),
        CLAIMS(TIMES ",\"nbf\":\"x\",\"exp\":1700003600"),
        CLAIMS(TIMES ",\"exp\":1700003600,\"dev\":\"a b\""),
        CLAIMS(TIMES ",\"exp\":1700003600,\"dev\":7"),
        CLAIMS(TIMES ",\"exp\":1700003600,\"sub\":\"eve\""),
        "{\"iss\":\"kith\",\"aud\":[\"app\"],\"sub\":\"ann\"" TIMES ",\"exp\":1700003600}",
        "{\"iss\":\"kith\",\"aud\":\"app\",\"sub\":\"\"" TIMES ",\"exp\":1700003600}",
        "{\"iss\":\"kith\",\"sub\":\"ann\"" TIMES ",\"exp\":1700003600}",
        "{\"aud\":\"app\",\"sub\":\"ann\"" TIMES ",\"exp\":1700003600}",
        "{\"iss\":\"kit\",\"aud\":\"app\",\"sub\":\"ann\"" TIMES ",\"exp\":1700003600}", "[]", "7",
        "", "{"};
    for (size_t i = 0; i < sizeof BAD_CLAIMS / sizeof *BAD_CLAIMS; i++)
        assert_int_equal(seen(&p, hs256(head, BAD_CLAIMS[i], secret)), REFUSED);
    assert_int_equal(
        seen(&p, hs256(head, CLAIMS(TIMES ",\"nbf\":1700000000,\"exp\":1700003600.5"), secret)),
        OK);
    static const char *const BAD_HEADS[] = {"{\"alg\":\"none\",\"kid\":\"%s\"}",
        "{\"alg\":\"None\",\"kid\":\"%s\"}", "{\"alg\":\"hs256\",\"kid\":\"%s\"}",
        "{\"alg\":\"HS512\",\"kid\":\"%s\"}", "{\"alg\":\"RS256\",\"kid\":\"%s\"}",
        "{\"alg\":\"ES256\",\"kid\":\"%s\"}", "{\"kid\":\"%s\"}",
        "{\"alg\":\"HS256\",\"alg\":\"none\",\"kid\":\"%s\"}",
        "{\"alg\":\"HS256\",\"kid\":\"0%s\"}",
        "{\"alg\":\"HS256\",\"kid\":\"%s\",\"crit\":[\"exp\"]}",
        "{\"alg\":\"HS256\",\"kid\":\"%s\",\"b64\":false}", "{\"alg\":\"HS256\"}", "[\"HS256\"]"};
    for (size_t i = 0; i < sizeof BAD_HEADS / sizeof *BAD_HEADS; i++) {
        struct buf made = {0};
        buf_fmt(&made, BAD_HEADS[i], kid);
        buf_char(&made, 0);
        assert_int_equal(seen(&p, hs256((char *)made.p, GOOD, secret)), REFUSED);
        buf_done(&made);
    }
    struct buf none = unsigned_token("{\"alg\":\"none\"}", GOOD);
    buf_char(&none, '.');
    assert_int_equal(seen(&p, none), REFUSED);
    buf_done(&t);
    buf_done(&raw);
    buf_done(&h);
    buf_done(&file);
    place_close(&p);
}

static void token_too_long_is_refused(void **state) {
    (void)state;
    struct place p;
    struct buf b = {0};
    place_open(&p);
    for (int i = 0; i < 20000; i++) buf_char(&b, i % 7 ? 'A' : '.');
    assert_int_equal(see(&p, &b), REFUSED);
    assert_int_equal(see_at(&p, BYTES(""), NOW), REFUSED);
    assert_int_equal(see_at(&p, BYTES(".."), NOW), REFUSED);
    assert_int_equal(see_at(&p, BYTES("kith_"), NOW), REFUSED);
    buf_done(&b);
    place_close(&p);
}

/* ---- an app's own issuer ---- */
#define THEIRS(aud, more)                                                                          \
    "{\"iss\":\"https://id.example\",\"aud\":" aud ",\"sub\":\"ann\",\"exp\":1700003600" more "}"

static enum err issuer(struct place *p, struct bytes app, const char *secret, const char *jwks) {
    struct buf why = {0};
    enum err e = admit_issuer_set(
        p->admit, app, BYTES("https://id.example"), BYTES("chat"), secret, jwks, &why);
    assert_true((e == OK) == (why.n == 0));
    buf_done(&why);
    return e;
}

static void issuer_with_a_shared_secret(void **state) {
    (void)state;
    struct place p;
    struct bytes secret = BYTES(SECRET);
    place_open(&p);
    assert_int_equal(issuer(&p, APP, "too short", NULL), MALFORMED);
    assert_int_equal(issuer(&p, APP, NULL, NULL), MALFORMED);
    assert_int_equal(issuer(&p, APP, SECRET, "{}"), MALFORMED);
    assert_int_equal(issuer(&p, APP, SECRET, NULL), OK);
    assert_int_equal(issuer(&p, APP, SECRET, NULL), OK);
    assert_int_equal(issuer(&p, BYTES("other"), SECRET, NULL), EXISTS);
    assert_int_equal(seen(&p, hs256("{\"alg\":\"HS256\"}",
                                  THEIRS("\"chat\"", ",\"iat\":1700000000,\"dev\":\"d\""), secret)),
        OK);
    assert_true(bytes_is(p.who.app, "app") && bytes_is(p.who.user, "ann") &&
                bytes_is(p.who.device, "d") && !p.who.server && !p.who.scopes);
    assert_int_equal(p.who.issued_ms, 1700000000000);
    assert_int_equal(
        seen(&p, hs256("{\"alg\":\"HS256\"}", THEIRS("[\"x\",\"chat\"]", ""), secret)), OK);
    assert_int_equal(p.who.issued_ms, 0);
    assert_int_equal(
        seen(&p, hs256("{\"alg\":\"HS256\"}", THEIRS("\"app\"", ""), secret)), REFUSED);
    assert_int_equal(
        seen(&p, hs256("{\"alg\":\"HS256\"}", THEIRS("[\"x\"]", ""), secret)), REFUSED);
    assert_int_equal(seen(&p, hs256("{\"alg\":\"HS256\"}", THEIRS("\"chat\"", ""),
                                  BYTES("another secret, also of 32 bytes."))),
        REFUSED);
    assert_int_equal(
        seen(&p, hs256("{\"alg\":\"HS256\"}", THEIRS("\"chat\"", ",\"nbf\":1700000300"), secret)),
        REFUSED);
    assert_int_equal(
        seen(&p, hs256("{\"alg\":\"HS256\"}", THEIRS("\"chat\"", ",\"iat\":1700000300"), secret)),
        REFUSED);
    assert_int_equal(
        seen(&p, hs256("{\"alg\":\"none\"}", THEIRS("\"chat\"", ""), secret)), REFUSED);
    /* it may not speak as the server */
    assert_int_equal(
        seen(&p,
            hs256("{\"alg\":\"HS256\"}",
                "{\"iss\":\"kith\",\"aud\":\"app\",\"sub\":\"ann\",\"exp\":1700003600}", secret)),
        REFUSED);
    place_close(&p);
}

static void issuer_with_public_keys(void **state) {
    (void)state;
    struct place p;
    struct pair rsa = rsa_pair(2048, "r1"), ec = ec_pair("e1"), weak = rsa_pair(1024, "w1"),
                stranger = rsa_pair(2048, "r1");
    struct buf jwks = {0}, why = {0};
    place_open(&p);
    buf_fmt(&jwks, "{\"keys\":[{\"kty\":\"oct\",\"k\":\"%s\"},%.*s,%.*s,%.*s]}", SECRET,
        (int)rsa.jwk.n, (char *)rsa.jwk.p, (int)ec.jwk.n, (char *)ec.jwk.p, (int)weak.jwk.n,
        (char *)weak.jwk.p);
    buf_char(&jwks, 0);
    assert_int_equal(issuer(&p, APP, NULL, "{\"keys\":[]}"), MALFORMED);
    assert_int_equal(issuer(&p, APP, NULL, "nonsense"), MALFORMED);
    assert_int_equal(issuer(&p, APP, NULL, (char *)jwks.p), OK);
    for (int round = 0; round < 2; round++) { /* and from the file */
        assert_int_equal(seen(&p, key_signed("{\"alg\":\"RS256\",\"kid\":\"r1\"}",
                                      THEIRS("\"chat\"", ""), &rsa)),
            OK);
        assert_int_equal(
            seen(&p, key_signed("{\"alg\":\"RS256\"}", THEIRS("\"chat\"", ""), &rsa)), OK);
        assert_int_equal(
            seen(&p, key_signed("{\"alg\":\"ES256\",\"kid\":\"e1\"}", THEIRS("\"chat\"", ""), &ec)),
            OK);
        assert_true(bytes_is(p.who.user, "ann") && bytes_is(p.who.app, "app"));
        assert_int_equal(seen(&p, key_signed("{\"alg\":\"RS256\",\"kid\":\"e1\"}",
                                      THEIRS("\"chat\"", ""), &rsa)),
            REFUSED);
        assert_int_equal(seen(&p, key_signed("{\"alg\":\"ES256\",\"kid\":\"e1\"}",
                                      THEIRS("\"chat\"", ""), &rsa)),
            REFUSED);
        assert_int_equal(
            seen(&p, key_signed("{\"alg\":\"RS256\",\"kid\":\"r1\"}", THEIRS("\"chat\"", ""), &ec)),
            REFUSED);
        assert_int_equal(seen(&p, key_signed("{\"alg\":\"RS256\",\"kid\":\"w1\"}",
                                      THEIRS("\"chat\"", ""), &weak)),
            REFUSED);
        assert_int_equal(seen(&p, key_signed("{\"alg\":\"RS256\",\"kid\":\"r1\"}",
                                      THEIRS("\"chat\"", ""), &stranger)),
            REFUSED);
        assert_int_equal(seen(&p, key_signed("{\"alg\":\"RS256\",\"kid\":\"no\"}",
                                      THEIRS("\"chat\"", ""), &rsa)),
            REFUSED);
        /* the confusion: a public document used as an HS256 secret */
        assert_int_equal(seen(&p, hs256("{\"alg\":\"HS256\",\"kid\":\"r1\"}",
                                      THEIRS("\"chat\"", ""), bytes_str((char *)jwks.p))),
            REFUSED);
        assert_int_equal(seen(&p, hs256("{\"alg\":\"HS256\"}", THEIRS("\"chat\"", ""),
                                      bytes_of(rsa.jwk.p, rsa.jwk.n))),
            REFUSED);
        assert_int_equal(
            seen(&p, hs256("{\"alg\":\"HS256\"}", THEIRS("\"chat\"", ""), BYTES(SECRET))), REFUSED);
        assert_int_equal(seen(&p, hs256("{\"alg\":\"RS256\",\"kid\":\"r1\"}",
                                      THEIRS("\"chat\"", ""), BYTES(SECRET))),
            REFUSED);
        admit_close(&p.admit);
        assert_int_equal(admit_open(p.dir, &p.admit, &why), OK);
    }
    buf_done(&jwks);
    pair_done(&rsa);
    pair_done(&ec);
    pair_done(&weak);
    pair_done(&stranger);
    place_close(&p);
}

static void an_issuer_that_is_removed(void **state) {
    (void)state;
    struct place p;
    struct buf why = {0}, list = {0},
               t = hs256("{\"alg\":\"HS256\"}", THEIRS("\"chat\"", ""), BYTES(SECRET));
    place_open(&p);
    assert_int_equal(issuer(&p, APP, SECRET, NULL), OK);
    assert_int_equal(admit_issuer_set(p.admit, BYTES("b"), BYTES("https://b.example"), BYTES("b"),
                         SECRET, NULL, &why),
        OK);
    admit_issuer_list(p.admit, &list);
    assert_true(bytes_is(
        buf_view(&list), "app\thttps://id.example\tchat\ths256\nb\thttps://b.example\tb\ths256\n"));
    assert_int_equal(see(&p, &t), OK);
    assert_int_equal(
        admit_issuer_remove(p.admit, BYTES("https://id.example"), BYTES("b"), &why), MISSING);
    assert_int_equal(see(&p, &t), OK);
    assert_int_equal(
        admit_issuer_remove(p.admit, BYTES("https://id.example"), BYTES("chat"), &why), OK);
    assert_int_equal(see(&p, &t), REFUSED);                         /* though it was in the cache */
    assert_int_equal(issuer(&p, BYTES("other"), SECRET, NULL), OK); /* its name is free again */
    buf_done(&t);
    buf_done(&why);
    buf_done(&list);
    place_close(&p);
}

static void cache_is_bounded_and_true(void **state) {
    (void)state;
    enum { TOKENS = 6000 }; /* more than it holds */
    struct place p;
    struct buf *t = must_alloc(TOKENS * sizeof *t);
    int64_t until;
    char user[32];
    place_open(&p);
    for (int i = 0; i < TOKENS; i++)
        assert_int_equal(
            admit_token_create(p.admit, APP, bytes_of(user, (size_t)sprintf(user, "u%d", i)),
                BYTES(""), HOUR, NOW, &t[i], &until),
            OK);
    struct rng r = {3};
    for (int n = 0; n < 3 * TOKENS; n++) {
        uint64_t i = rng_below(&r, TOKENS);
        assert_int_equal(see(&p, &t[i]), OK);
        assert_true(bytes_eq(
            p.who.user, bytes_of(user, (size_t)sprintf(user, "u%llu", (unsigned long long)i))));
        if (n % 100 == 0) arena_reset(&p.arena);
    }
    for (int i = 0; i < TOKENS; i++) buf_done(&t[i]);
    free(t);
    place_close(&p);
}

/* ---- rates ---- */
static void rate_refills_and_says_when(void **state) {
    (void)state;
    struct admit_rates *r = admit_rates_create(2, 5, 64);
    int64_t now = 1000000000;
    int wait = 0;
    for (int i = 0; i < 5; i++) assert_true(admit_rate_take(r, 1, now, &wait));
    assert_false(admit_rate_take(r, 1, now, &wait));
    assert_int_equal(wait, 1);
    assert_true(admit_rate_take(r, 2, now, &wait));
    assert_true(admit_rate_take(r, 1, now + 500000000, &wait));
    assert_false(admit_rate_take(r, 1, now + 500000000, &wait));
    assert_false(admit_rate_take(r, 1, now, &wait)); /* time that goes back gives nothing */
    assert_true(admit_rate_take(r, 1, now + 3600ll * 1000000000, &wait));
    admit_rates_free(&r);
    assert_null(r);
    admit_rates_free(&r);
    r = admit_rates_create(0, 0, 0);
    for (int i = 0; i < 100; i++) assert_true(admit_rate_take(r, 1, now, &wait));
    admit_rates_free(&r);
    r = admit_rates_create(1e-9, 1, 1);
    assert_true(admit_rate_take(r, 1, now, &wait));
    assert_false(admit_rate_take(r, 1, now, &wait));
    assert_int_equal(wait, 3600);
    admit_rates_free(&r);
}

/* Many callers in a small table: a busy one stays held back while quiet ones come and go. */
static void rate_holds_in_a_crowd(void **state) {
    (void)state;
    struct admit_rates *r = admit_rates_create(10, 10, 16);
    struct rng g = {5};
    int64_t now = 1;
    int taken = 0, wait;
    for (int i = 0; i < 20000; i++) {
        now += 1000000; /* 1 ms: 20 s in all */
        taken += admit_rate_take(r, 42, now, &wait);
        if (i % 100 == 0) (void)admit_rate_take(r, 1000 + rng_below(&g, 1000000), now, &wait);
    }
    assert_in_range(taken, 200, 220);
    admit_rates_free(&r);
}

/* What has come is paid for later: the wait grows with the debt. */
static void rate_spends_what_has_come(void **state) {
    (void)state;
    struct admit_rates *r = admit_rates_create(100, 100, 16);
    int64_t now = 1000000000;
    int wait;
    assert_int_equal(admit_rate_spend(r, 7, 100, now), 0);
    assert_in_range(admit_rate_spend(r, 7, 50, now), 500, 502);
    assert_in_range(admit_rate_spend(r, 7, 50, now), 1000, 1002);
    assert_false(admit_rate_take(r, 7, now + 900000000, &wait));
    assert_int_equal(admit_rate_spend(r, 7, 1, now + 1100000000), 0);
    assert_int_equal(admit_rate_spend(r, 8, 1e9, now), 3600 * 1000); /* and no more */
    admit_rates_free(&r);
}

/* Against a simple model: counts are exact, none is lost when others go. */
static void tally_is_exact(void **state) {
    (void)state;
    enum { KEYS = 300, MOST = 5 };
    struct admit_tally *t = admit_tally_create();
    unsigned model[KEYS] = {0};
    struct rng g = {9};
    for (int i = 0; i < 100000; i++) {
        uint64_t k = rng_below(&g, KEYS), key = k * 64; /* all begin at the same place */
        bool give = rng_below(&g, 100) < (i / 20000 % 2 ? 70 : 40);
        if (!give) {
            assert_int_equal(admit_tally_take(t, key, MOST), model[k] < MOST);
            model[k] += model[k] < MOST;
        } else if (model[k]) {
            admit_tally_give(t, key);
            model[k]--;
        }
    }
    admit_tally_free(&t);
    assert_null(t);
    admit_tally_free(&t);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(key_opens_what_its_scopes_say),
        cmocka_unit_test(key_revoked_is_refused_also_after_reopening),
        cmocka_unit_test(key_needs_an_id_and_scopes), cmocka_unit_test(two_processes_lose_nothing),
        cmocka_unit_test(file_is_private_and_whole), cmocka_unit_test(failed_write_changes_nothing),
        cmocka_unit_test(token_is_its_user_until_it_expires),
        cmocka_unit_test(token_tampered_is_refused),
        cmocka_unit_test(token_of_one_app_is_nothing_in_another),
        cmocka_unit_test(token_shape_is_strict), cmocka_unit_test(token_too_long_is_refused),
        cmocka_unit_test(issuer_with_a_shared_secret), cmocka_unit_test(issuer_with_public_keys),
        cmocka_unit_test(an_issuer_that_is_removed), cmocka_unit_test(cache_is_bounded_and_true),
        cmocka_unit_test(rate_refills_and_says_when), cmocka_unit_test(rate_holds_in_a_crowd),
        cmocka_unit_test(rate_spends_what_has_come), cmocka_unit_test(tally_is_exact)};
    return cmocka_run_group_tests_name("admit", tests, NULL, NULL);
}
