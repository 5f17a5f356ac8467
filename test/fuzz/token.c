/* fuzz: tokens and key documents: a token that is signed by nobody is never taken; one whose header
 * and claims are the input, signed with our secret or an issuer's, is taken only with valid ids,
 * for its own app, and before its end. The first byte says which.
 * SPDX-License-Identifier: Apache-2.0 */
#include "fuzz.h"

#include <string.h>

#include "admit/admit_in.h"

enum { RAW, OURS, ISSUER, JWKS, KINDS };
#define NOW_MS 1700000000000
#define SECRET "0123456789abcdef0123456789abcdef"

/* OURS and ISSUER: header, a line end, claims. */
void fuzz_seeds(void (*give)(void *arg, struct bytes seed), void *arg) {
    static const char *const TEXTS[] = {
        "\1{\"alg\":\"HS256\",\"typ\":\"JWT\",\"kid\":\"KID\"}\n{\"iss\":\"kith\",\"aud\":\"demo\","
        "\"sub\":\"ann\",\"dev\":\"a1\",\"iat\":1699999999,\"exp\":1800000000,\"ims\":"
        "1699999999123}",
        "\1{\"alg\":\"none\"}\n{\"iss\":\"kith\",\"aud\":\"demo\",\"sub\":\"ann\"}",
        "\1{\"alg\":\"HS256\",\"crit\":[\"x\"]}\n{}",
        "\2{\"alg\":\"HS256\"}\n{\"iss\":\"https://"
        "id\",\"aud\":[\"x\",\"kith-app\"],\"sub\":\"bob\",\"exp\":1.8e9,\"nbf\":1,\"iat\":5}",
        "\2{\"alg\":\"HS256\",\"b64\":false}\n{\"iss\":\"https://"
        "id\",\"aud\":\"kith-app\",\"sub\":\"b b\",\"exp\":1800000000,\"exp\":1}",
        ("\3{\"keys\":[{\"kty\":\"EC\",\"crv\":\"P-256\",\"kid\":\"a\",\"use\":\"sig\",\"alg\":"
         "\"ES256\",\"x\":\"axfR8uEsQkf4vOblY6RA8ncDfYEt6zOg9KE5RdiYwpY\",\"y\":\"T-NC4v4af5uO5-"
         "tKfA-eFivOM1drMV7Oy7ZAaDe_UfU\"},"
         "{\"kty\":\"RSA\",\"n\":\"AQAB\",\"e\":\"AQAB\"},{\"kty\":\"oct\",\"k\":\"AAAA\"}]}")};
    for (size_t i = 0; i < sizeof TEXTS / sizeof *TEXTS; i++) give(arg, bytes_str(TEXTS[i]));
    struct secrets s = {0};
    struct buf b = {0};
    buf_char(&b, RAW);
    token_write(secrets_add_signer(&s, BYTES("demo"), (const uint8_t *)SECRET), BYTES("ann"),
        BYTES("a1"), NOW_MS / 1000 + 60, NOW_MS, &b);
    b.p[b.n - 1] ^= 1; /* as if by another secret */
    give(arg, buf_view(&b));
    buf_done(&b);
    secrets_done(&s);
}

static void secrets_make(struct secrets *s) {
    *s = (struct secrets){0};
    struct issuer made;
    struct buf why = {0};
    const struct issuer_parts from = {
        BYTES("other"), BYTES("https://id"), BYTES("kith-app"), SECRET SECRET, NULL};
    secrets_add_signer(s, BYTES("demo"), (const uint8_t *)SECRET);
    check(issuer_make(&from, &made, &why) == OK);
    secrets_add_issuer(s, &made);
    buf_done(&why);
}

/* The seed cannot know the key's name: KID in the header becomes it. */
static void head_put(struct buf *out, struct bytes head, const char *kid) {
    struct buf b = {0};
    const uint8_t *at = head.n ? memmem(head.p, head.n, "KID", 3) : NULL;
    size_t before = at ? (size_t)(at - head.p) : head.n;
    buf_add(&b, head.p, before);
    if (at) {
        buf_str(&b, kid);
        buf_add(&b, at + 3, head.n - before - 3);
    }
    base64url_encode(out, buf_view(&b));
    buf_done(&b);
}

static void token_sign(struct buf *out, struct bytes text, struct bytes secret, const char *kid) {
    const uint8_t *line = text.n ? memchr(text.p, '\n', text.n) : NULL;
    size_t n = line ? (size_t)(line - text.p) : 0;
    uint8_t sum[HASH_BYTES];
    head_put(out, bytes_of(text.p, n), kid);
    buf_char(out, '.');
    base64url_encode(out, line ? bytes_of(line + 1, text.n - n - 1) : text);
    hmac_sha256(secret, buf_view(out), sum);
    buf_char(out, '.');
    base64url_encode(out, bytes_of(sum, sizeof sum));
}

static void verify(const struct secrets *s, struct bytes token, int what) {
    struct arena arena = {0};
    struct principal who = {0};
    struct buf why = {0};
    enum err e = token_verify(s, token, NOW_MS, &arena, &who, &why);
    check((e == OK) == !why.n && utf8_valid(buf_view(&why)));
    if (e == OK) {
        check(what != RAW && !who.server && id_valid(who.user) &&
              (!who.device.n || id_valid(who.device)));
        check(bytes_is(who.app, what == OURS ? "demo" : "other"));
    }
    buf_done(&why);
    arena_done(&arena);
}

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n) {
    if (!n) return 0;
    int what = p[0] % KINDS;
    struct bytes in = bytes_of(p + 1, n - 1);
    struct secrets s;
    struct buf token = {0}, why = {0};
    secrets_make(&s);
    if (what == JWKS) {
        struct jwks *j = jwks_read(in, &why);
        check(!j == (why.n > 0));
        if (j)
            check(!jwks_verify(j, ALG_ES256, (struct bytes){0}, in,
                BYTES("0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef")));
        jwks_free(&j);
    } else if (what == RAW) {
        verify(&s, in, RAW);
    } else {
        token_sign(
            &token, in, what == OURS ? BYTES(SECRET) : BYTES(SECRET SECRET), s.signers[0].kid);
        verify(&s, buf_view(&token), what);
    }
    buf_done(&token);
    buf_done(&why);
    secrets_done(&s);
    return 0;
}
