/* outward, measured on one core: a Web Push encryption, with key pairs made ahead and not, and the
 * pieces that it is made of, each by itself, so that what OpenSSL leaves can be seen; then tokens,
 * webhook and DKIM signatures, whole requests. Prints; nothing here can fail.
 * SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "outward/outward_in.h"

enum { ROUNDS = 5, CHUNK = 64 };
#define SPAN_NS 150000000ll
#define NOW 1767323045678

static int64_t now_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return t.tv_sec * 1000000000ll + t.tv_nsec;
}

struct bench {
    struct webpush *w;
    struct ece *ece;
    struct ephemeral pair;
    struct webpush_message message;
    struct outward_key *p256, *rsa, *ed25519;
    struct buf out, letter;
    struct outward_request q;
};

static void nothing(struct bench *b) { (void)b; }
static void ahead(struct bench *b) { check(webpush_ahead(b->w, CHUNK) >= CHUNK); }
static void encrypt(struct bench *b) {
    buf_reset(&b->out);
    check(webpush_encrypt(b->w, &b->message, &b->out) == OK);
}
static void request(struct bench *b) {
    outward_request_reset(&b->q);
    check(webpush_request(b->w, &b->message, NOW, &b->q) == OK);
}
static void pair_make(struct bench *b) { ece_make(b->ece, &b->pair); }
static void agree(struct bench *b) {
    uint8_t shared[32];
    check(ece_agree(b->ece, b->pair.secret, b->message.p256dh, shared));
}
static void hashes(struct bench *b) { /* what HKDF takes, twice: five HMACs */
    uint8_t sum[32] = {0};
    for (int i = 0; i < 5; i++)
        ece_hmac(b->ece, bytes_of(sum, 32), bytes_of(b->pair.point, 65), (struct bytes){0}, sum);
}
static void seal(struct bench *b) {
    static const uint8_t KEY[16], NONCE[12];
    buf_reset(&b->out);
    ece_seal(b->ece, KEY, NONCE, b->message.payload, &b->out);
}
static void token(struct bench *b) {
    buf_reset(&b->out);
    outward_token(b->p256, BYTES("{\"alg\":\"ES256\"}"), BYTES("{\"aud\":\"x\"}"), &b->out);
}
static void hook(struct bench *b) {
    static const struct bytes SECRET = {
        (const uint8_t *)"whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", 38};
    struct webhook_signer s = {&SECRET, 1, NULL};
    buf_reset(&b->out);
    check(webhook_sign(&s, BYTES("msg_1"), NOW, b->message.payload, &b->out) == OK);
}
static void letter(struct bench *b) {
    const char *why;
    struct mail m = {.from = BYTES("no-reply@example.com"),
        .to = BYTES("zoe@example.org"),
        .subject = BYTES("Ann and 12 others liked it"),
        .text = b->message.payload,
        .html = b->message.payload,
        .id = BYTES("n1"),
        .unsubscribe_url = BYTES("https://example.com/u?t=abc")};
    buf_reset(&b->letter);
    check(mail_write(&m, NOW, &b->letter, &why) == OK);
}
static void dkim_by(struct bench *b, const struct outward_key *k) {
    struct dkim d = {k, BYTES("example.com"), BYTES("k1")};
    buf_reset(&b->out);
    check(dkim_sign(&d, buf_view(&b->letter), NOW, &b->out) == OK);
}
static void dkim_rsa(struct bench *b) { dkim_by(b, b->rsa); }
static void dkim_ed25519(struct bench *b) { dkim_by(b, b->ed25519); }

static const struct {
    const char *name;
    void (*before)(struct bench *), (*each)(struct bench *);
} JOBS[] = {{"Web Push, key pairs made ahead", ahead, encrypt},
    {"Web Push, all in one", nothing, encrypt}, {"  ephemeral key pair", nothing, pair_make},
    {"  ECDH P-256", nothing, agree}, {"  HKDF: five HMAC-SHA-256", nothing, hashes},
    {"  AES-128-GCM, 200 bytes", nothing, seal}, {"Web Push request, token cached", ahead, request},
    {"ES256 token", nothing, token}, {"webhook, one secret", nothing, hook},
    {"mail, text and HTML", nothing, letter}, {"DKIM by RSA-2048", nothing, dkim_rsa},
    {"DKIM by Ed25519", nothing, dkim_ed25519}};

static double best_ns(
    struct bench *b, void (*before)(struct bench *), void (*each)(struct bench *)) {
    double best = 1e18;
    for (int r = 0; r < ROUNDS; r++) {
        int64_t took = 0, n = 0;
        while (took < SPAN_NS) {
            before(b);
            int64_t from = now_ns();
            for (int i = 0; i < CHUNK; i++) each(b);
            took += now_ns() - from;
            n += CHUNK;
        }
        if ((double)took / (double)n < best) best = (double)took / (double)n;
    }
    return best;
}

int main(void) {
    static uint8_t payload[200];
    struct bench b = {.p256 = outward_key_create(OUTWARD_P256),
        .rsa = outward_key_create(OUTWARD_RSA),
        .ed25519 = outward_key_create(OUTWARD_ED25519),
        .ece = ece_create()};
    struct ephemeral theirs;
    memset(payload, 'x', sizeof payload);
    b.w = webpush_create(b.p256, BYTES("mailto:ops@example.com"));
    ece_make(b.ece, &theirs);
    ece_make(b.ece, &b.pair);
    b.message = (struct webpush_message){.endpoint = BYTES("https://push.example.net/push/abc"),
        .p256dh = bytes_of(theirs.point, sizeof theirs.point),
        .auth = BYTES("0123456789abcdef"),
        .payload = bytes_of(payload, sizeof payload)};
    printf("%-32s %10s %12s\n", "one core", "us each", "a second");
    for (size_t i = 0; i < sizeof JOBS / sizeof *JOBS; i++) {
        double ns = best_ns(&b, JOBS[i].before, JOBS[i].each);
        printf("%-32s %10.2f %12.0f\n", JOBS[i].name, ns / 1000, 1e9 / ns);
    }
    outward_key_free(&b.p256);
    outward_key_free(&b.rsa);
    outward_key_free(&b.ed25519);
    ece_free(&b.ece);
    webpush_free(&b.w);
    outward_request_done(&b.q);
    buf_done(&b.out);
    buf_done(&b.letter);
    return 0;
}
