/* outward: Web Push: messages that only the browser can read (RFC 8291 over RFC 8188), sent in our
 * name (RFC 8292), with how long and how urgently (RFC 8030).
 *
 *   salt 16 | record size 4 | 65 | our ephemeral point 65 | AES-128-GCM(payload, 2, 0 0 ...) | tag 16
 *
 * A key pair is used for one message only: two messages of one pair to one person would tell who
 * watches that they are related. That they are made ahead, in idle time, weakens nothing.
 * SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>
#include <string.h>

#include "outward/outward_in.h"

enum {
    SALT = 16,
    AUTH = 16,
    HEAD = SALT + 4 + 1 + P256_POINT,
    RECORD = WEBPUSH_BODY_MAX,
    ORIGINS_MAX = 128, /* push services; there are a dozen, and some have a host for each region */
    ORIGIN_MAX = 128
};
#define TOKEN_LIFE_MS (12 * 3600 * 1000ll) /* a service may refuse more than 24 hours */
#define TOKEN_LEFT_MS (6 * 3600 * 1000ll)

struct origin {
    char name[ORIGIN_MAX];
    size_t n;
    int64_t expires_ms;
    struct buf header;
};
struct webpush {
    struct ece *ece;
    struct outward_key *vapid;
    struct buf subject, public_key; /* the latter in base64url */
    struct ephemeral *ahead;
    size_t ahead_count;
    struct origin origins[ORIGINS_MAX];
    size_t origin_count, origin_next;
};

static bool subject_fits(struct bytes v) {
    struct bytes origin;
    return v.n < 256 && outward_graphic(v) && !memchr(v.p, '"', v.n) && !memchr(v.p, '\\', v.n) &&
           (bytes_starts(v, "mailto:") || outward_url(v, &origin));
}

struct webpush *webpush_create(const struct outward_key *vapid, struct bytes subject) {
    struct buf v = {0};
    const char *why;
    if (outward_key_kind(vapid) != OUTWARD_P256 || !subject_fits(subject)) return NULL;
    struct webpush *w = must_alloc(sizeof *w);
    w->ece = ece_create();
    outward_key_write(vapid, &v); /* a key of our own, so that the caller's may go */
    check(outward_key_read(OUTWARD_P256, buf_view(&v), &w->vapid, &why) == OK);
    outward_wipe(v.p, v.n);
    buf_reset(&v);
    outward_key_public(w->vapid, &v);
    base64url_encode(&w->public_key, buf_view(&v));
    buf_bytes(&w->subject, subject);
    buf_done(&v);
    return w;
}

void webpush_free(struct webpush **pw) {
    struct webpush *w = *pw;
    if (!w) return;
    for (size_t i = 0; i < ORIGINS_MAX; i++) buf_done(&w->origins[i].header);
    if (w->ahead) outward_wipe(w->ahead, WEBPUSH_AHEAD_MAX * sizeof *w->ahead);
    free(w->ahead);
    outward_key_free(&w->vapid);
    ece_free(&w->ece);
    buf_done(&w->subject);
    buf_done(&w->public_key);
    free(w);
    *pw = NULL;
}

size_t webpush_ahead(struct webpush *w, size_t make_max) {
    if (!w->ahead && make_max) w->ahead = must_alloc(WEBPUSH_AHEAD_MAX * sizeof *w->ahead);
    for (; make_max && w->ahead_count < WEBPUSH_AHEAD_MAX; make_max--)
        ece_make(w->ece, &w->ahead[w->ahead_count++]);
    return w->ahead_count;
}

/* ---- encryption ---- */
/* HKDF (RFC 5869) with one block: extract with `salt` from `secret`, expand with `info`, which ends
 * in the block's number, 1. */
static void derive(struct ece *e, struct bytes salt, struct bytes secret, struct bytes info,
    uint8_t out[SHA256_BYTES]) {
    uint8_t key[SHA256_BYTES];
    ece_hmac(e, salt, secret, (struct bytes){0}, key);
    ece_hmac(e, bytes_of(key, sizeof key), info, (struct bytes){0}, out);
    outward_wipe(key, sizeof key);
}

static void keys_of(struct ece *e, const struct webpush_message *m,
    const uint8_t shared[P256_SECRET], const uint8_t point[P256_POINT], const uint8_t salt[SALT],
    uint8_t key[SHA256_BYTES], uint8_t nonce[SHA256_BYTES]) {
    uint8_t info[14 + 2 * P256_POINT + 1] = "WebPush: info", secret[SHA256_BYTES];
    memcpy(info + 14, m->p256dh.p, P256_POINT);
    memcpy(info + 14 + P256_POINT, point, P256_POINT);
    info[sizeof info - 1] = 1;
    derive(e, m->auth, bytes_of(shared, P256_SECRET), bytes_of(info, sizeof info), secret);
    uint8_t pseudo[SHA256_BYTES];
    ece_hmac(e, bytes_of(salt, SALT), bytes_of(secret, sizeof secret), (struct bytes){0}, pseudo);
    struct bytes by = bytes_of(pseudo, sizeof pseudo);
    ece_hmac(e, by, bytes_of("Content-Encoding: aes128gcm\0\1", 29), (struct bytes){0}, key);
    ece_hmac(e, by, bytes_of("Content-Encoding: nonce\0\1", 25), (struct bytes){0}, nonce);
    outward_wipe(secret, sizeof secret);
    outward_wipe(pseudo, sizeof pseudo);
}

static enum err encrypt(struct webpush *w, const struct webpush_message *m,
    const struct ephemeral *ours, const uint8_t salt[SALT], struct buf *out) {
    uint8_t shared[P256_SECRET], key[SHA256_BYTES], nonce[SHA256_BYTES];
    uint8_t plain[WEBPUSH_PAYLOAD_MAX + 1] = {0};
    size_t n = m->pad_to < WEBPUSH_PAYLOAD_MAX ? m->pad_to : WEBPUSH_PAYLOAD_MAX;
    if (m->payload.n > WEBPUSH_PAYLOAD_MAX) return LIMIT;
    if (m->auth.n != AUTH || !ece_agree(w->ece, ours->secret, m->p256dh, shared)) return MALFORMED;
    if (n < m->payload.n) n = m->payload.n;
    keys_of(w->ece, m, shared, ours->point, salt, key, nonce);
    if (m->payload.n) memcpy(plain, m->payload.p, m->payload.n);
    plain[m->payload.n] = 2; /* the last record's delimiter; zeros behind it are padding */
    const uint8_t sizes[5] = {0, 0, RECORD >> 8, RECORD & 255, P256_POINT};
    buf_reserve(out, HEAD + n + 1 + 16);
    buf_add(out, salt, SALT);
    buf_add(out, sizes, sizeof sizes);
    buf_add(out, ours->point, P256_POINT);
    ece_seal(w->ece, key, nonce, bytes_of(plain, n + 1), out);
    outward_wipe(shared, sizeof shared);
    outward_wipe(key, sizeof key);
    return OK;
}

enum err webpush_encrypt(struct webpush *w, const struct webpush_message *m, struct buf *out) {
    struct ephemeral ours;
    uint8_t salt[SALT];
    if (w->ahead_count) {
        struct ephemeral *last = &w->ahead[--w->ahead_count];
        ours = *last;
        outward_wipe(last, sizeof *last);
    } else {
        ece_make(w->ece, &ours);
    }
    outward_random(salt, sizeof salt);
    enum err e = encrypt(w, m, &ours, salt, out);
    outward_wipe(&ours, sizeof ours);
    return e;
}

enum err webpush_encrypt_with(struct webpush *w, const struct webpush_message *m,
    const uint8_t secret[32], const uint8_t salt[16], struct buf *out) {
    struct ephemeral ours;
    memcpy(ours.secret, secret, P256_SECRET);
    if (!ece_point(w->ece, ours.secret, ours.point)) return MALFORMED;
    enum err e = encrypt(w, m, &ours, salt, out);
    outward_wipe(&ours, sizeof ours);
    return e;
}

/* ---- who sends it (RFC 8292) ---- */
static void token_make(struct webpush *w, struct origin *o, int64_t now_ms) {
    struct buf claims = {0};
    o->expires_ms = now_ms + TOKEN_LIFE_MS;
    buf_fmt(&claims, "{\"aud\":\"%.*s\",\"exp\":%lld,\"sub\":\"%.*s\"}", (int)o->n, o->name,
        (long long)(o->expires_ms / 1000), (int)w->subject.n, (const char *)w->subject.p);
    buf_reset(&o->header);
    buf_str(&o->header, "vapid t=");
    outward_token(
        w->vapid, BYTES("{\"typ\":\"JWT\",\"alg\":\"ES256\"}"), buf_view(&claims), &o->header);
    buf_str(&o->header, ", k=");
    buf_bytes(&o->header, buf_view(&w->public_key));
    buf_done(&claims);
}

static struct origin *origin_of(struct webpush *w, struct bytes name) {
    for (size_t i = 0; i < w->origin_count; i++)
        if (bytes_eq(name, bytes_of(w->origins[i].name, w->origins[i].n))) return &w->origins[i];
    if (w->origin_count < ORIGINS_MAX) w->origin_next = w->origin_count++;
    else w->origin_next = (w->origin_next + 1) % ORIGINS_MAX;
    struct origin *o = &w->origins[w->origin_next];
    memcpy(o->name, name.p, name.n);
    o->n = name.n;
    o->expires_ms = 0;
    return o;
}

enum err webpush_authorization(
    struct webpush *w, struct bytes endpoint, int64_t now_ms, struct buf *out) {
    struct bytes name;
    if (!outward_url(endpoint, &name) || name.n > ORIGIN_MAX) return MALFORMED;
    struct origin *o = origin_of(w, name);
    int64_t left = o->expires_ms - now_ms;
    /* a token that ends later than ours can is of a clock that was set back */
    if (left < TOKEN_LEFT_MS || left > TOKEN_LIFE_MS) token_make(w, o, now_ms);
    buf_bytes(out, buf_view(&o->header));
    return OK;
}

void webpush_forget(struct webpush *w) {
    for (size_t i = 0; i < w->origin_count; i++) w->origins[i].expires_ms = 0;
}

/* ---- the request ---- */
static void topic_put(struct buf *head, struct bytes topic) {
    uint8_t sum[SHA256_BYTES];
    bool plain = topic.n <= WEBPUSH_TOPIC_MAX;
    for (size_t i = 0; i < topic.n && plain; i++) {
        uint8_t c = topic.p[i];
        plain = (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
                c == '-' || c == '_';
    }
    if (plain) {
        outward_line(head, "Topic", topic);
        return;
    }
    outward_sha256(topic, sum); /* RFC 8030, 5.4: at most 32 of base64url */
    buf_str(head, "Topic: ");
    base64url_encode(head, bytes_of(sum, 24));
    buf_str(head, "\r\n");
}

enum err webpush_request(struct webpush *w, const struct webpush_message *m, int64_t now_ms,
    struct outward_request *out) {
    static const char *const URGENCIES[] = {"very-low", "low", "normal", "high"};
    struct buf authorization = {0};
    bool known = !m->urgency.n;
    for (size_t i = 0; i < 4 && !known; i++) known = bytes_is(m->urgency, URGENCIES[i]);
    if (!known) return MALFORMED;
    enum err e = webpush_authorization(w, m->endpoint, now_ms, &authorization);
    if (e == OK) e = webpush_encrypt(w, m, &out->body);
    if (e == OK) {
        buf_bytes(&out->url, m->endpoint);
        outward_line(&out->head, "Authorization", buf_view(&authorization));
        outward_line(&out->head, "Content-Encoding", BYTES("aes128gcm"));
        outward_line(&out->head, "Content-Type", BYTES("application/octet-stream"));
        buf_fmt(&out->head, "TTL: %u\r\n", m->ttl_s);
        if (m->urgency.n) outward_line(&out->head, "Urgency", m->urgency);
        if (m->topic.n) topic_put(&out->head, m->topic);
    }
    buf_done(&authorization);
    return e;
}

void webpush_answer(const struct outward_answer *a, int64_t now_ms, struct outward_decision *out) {
    *out = (struct outward_decision){0};
    outward_decide_status(out, a);
    if (a->status == 404 || a->status == 410) out->verdict = OUTWARD_DROP;
    if (a->status == 401 || a->status == 403) out->verdict = OUTWARD_RENEW;
    if (out->verdict == OUTWARD_RETRY)
        out->retry_after_ms = outward_retry_after(a->retry_after, now_ms);
}
