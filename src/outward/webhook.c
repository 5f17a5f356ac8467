/* outward: Standard Webhooks: what is signed is "id.timestamp.body"; v1 is HMAC-SHA-256 with a
 * shared secret, v1a Ed25519. Several secrets sign side by side while one replaces another.
 * SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <string.h>

#include "outward/outward_in.h"

enum { SECRET_MIN = 24, SECRET_MAX = 64, PARTS_MAX = 32, ID_MAX = 256 };

void webhook_secret_create(struct buf *out) {
    uint8_t secret[WEBHOOK_SECRET_BYTES];
    outward_random(secret, sizeof secret);
    buf_str(out, "whsec_");
    outward_base64(out, bytes_of(secret, sizeof secret));
    outward_wipe(secret, sizeof secret);
}

void webhook_public(const struct outward_key *k, struct buf *out) {
    struct buf raw = {0};
    check(outward_key_kind(k) == OUTWARD_ED25519);
    outward_key_public(k, &raw);
    buf_str(out, "whpk_");
    outward_base64(out, buf_view(&raw));
    buf_done(&raw);
}

static struct bytes without(struct bytes v, const char *prefix) {
    size_t n = strlen(prefix);
    return bytes_starts(v, prefix) ? bytes_of(v.p + n, v.n - n) : v;
}

/* "whsec_" and base64 of 24 to 64 bytes. */
static bool secret_read(struct bytes text, struct buf *out) {
    return bytes_starts(text, "whsec_") && text.n < 128 &&
           base64url_decode(out, without(text, "whsec_")) == OK && out->n >= SECRET_MIN &&
           out->n <= SECRET_MAX;
}

static bool id_fits(struct bytes id) {
    return id.n <= ID_MAX && outward_graphic(id) && !memchr(id.p, '.', id.n);
}

static void content_put(struct buf *b, struct bytes id, struct bytes timestamp, struct bytes body) {
    buf_bytes(b, id);
    buf_char(b, '.');
    buf_bytes(b, timestamp);
    buf_char(b, '.');
    buf_bytes(b, body);
}

static enum err signatures_put(
    const struct webhook_signer *s, struct bytes content, struct buf *out) {
    enum err e = OK;
    struct buf secret = {0}, sig = {0};
    for (size_t i = 0; i < s->secret_count && e == OK; i++) {
        uint8_t sum[SHA256_BYTES];
        buf_reset(&secret);
        if (!secret_read(s->secrets[i], &secret)) {
            e = MALFORMED;
            break;
        }
        outward_hmac(buf_view(&secret), content, (struct bytes){0}, sum);
        buf_str(out, out->n ? " v1," : "v1,");
        outward_base64(out, bytes_of(sum, sizeof sum));
    }
    if (e == OK && s->key) {
        outward_key_sign(s->key, content, &sig);
        buf_str(out, out->n ? " v1a," : "v1a,");
        outward_base64(out, buf_view(&sig));
    }
    if (secret.n) outward_wipe(secret.p, secret.n);
    buf_done(&secret);
    buf_done(&sig);
    return e;
}

enum err webhook_sign(const struct webhook_signer *s, struct bytes id, int64_t now_ms,
    struct bytes body, struct buf *head) {
    char at[24];
    struct buf content = {0}, signatures = {0};
    if (!id_fits(id) || (!s->secret_count && !s->key) ||
        (s->key && outward_key_kind(s->key) != OUTWARD_ED25519))
        return MALFORMED;
    struct bytes timestamp =
        bytes_of(at, (size_t)snprintf(at, sizeof at, "%lld", (long long)(now_ms / 1000)));
    content_put(&content, id, timestamp, body);
    enum err e = signatures_put(s, buf_view(&content), &signatures);
    if (e == OK) {
        outward_line(head, "webhook-id", id);
        outward_line(head, "webhook-timestamp", timestamp);
        outward_line(head, "webhook-signature", buf_view(&signatures));
    }
    buf_done(&content);
    buf_done(&signatures);
    return e;
}

/* ---- verification ---- */
static bool v1_fits(struct bytes secret, struct bytes content, struct bytes sum) {
    uint8_t want[SHA256_BYTES];
    outward_hmac(secret, content, (struct bytes){0}, want);
    return sum.n == sizeof want && outward_equal(want, sum.p, sizeof want);
}
static bool v1a_fits(struct bytes public_key, struct bytes content, struct bytes sig) {
    struct outward_key *k = outward_key_from_public(OUTWARD_ED25519, public_key);
    bool ok = k && sig.n == SIGNATURE_64 && outward_key_verify(k, content, sig);
    outward_key_free(&k);
    return ok;
}

/* One "v1,base64" of the header against all that may have signed. */
static bool part_fits(
    const struct bytes *secrets, size_t n, struct bytes part, struct bytes content) {
    struct buf sum = {0}, key = {0};
    bool symmetric = bytes_starts(part, "v1,"), found = false;
    if ((symmetric || bytes_starts(part, "v1a,")) && part.n < 128 &&
        base64url_decode(&sum, without(part, symmetric ? "v1," : "v1a,")) == OK)
        for (size_t i = 0; i < n; i++) {
            buf_reset(&key);
            if (symmetric && secret_read(secrets[i], &key))
                found |= v1_fits(buf_view(&key), content, buf_view(&sum));
            else if (!symmetric && bytes_starts(secrets[i], "whpk_") &&
                     base64url_decode(&key, without(secrets[i], "whpk_")) == OK)
                found |= v1a_fits(buf_view(&key), content, buf_view(&sum));
        }
    buf_done(&sum);
    buf_done(&key);
    return found;
}

static bool seconds_read(struct bytes v, int64_t *out) {
    int64_t s = 0;
    if (!v.n || v.n > 12) return false;
    for (size_t i = 0; i < v.n; i++) {
        if (v.p[i] < '0' || v.p[i] > '9') return false;
        s = s * 10 + (v.p[i] - '0');
    }
    *out = s;
    return true;
}

enum err webhook_verify(const struct bytes *secrets, size_t n, const struct webhook_headers *h,
    struct bytes body, int64_t now_ms) {
    int64_t at;
    struct buf content = {0};
    if (!n || !id_fits(h->id) || !seconds_read(h->timestamp, &at) || !h->signature.n)
        return MALFORMED;
    if (at - now_ms / 1000 > WEBHOOK_TOLERANCE_S || now_ms / 1000 - at > WEBHOOK_TOLERANCE_S)
        return STALE;
    content_put(&content, h->id, h->timestamp, body);
    bool found = false;
    struct bytes rest = h->signature;
    for (int parts = 0; rest.n && parts < PARTS_MAX && !found; parts++) {
        const uint8_t *space = memchr(rest.p, ' ', rest.n);
        size_t len = space ? (size_t)(space - rest.p) : rest.n;
        found = part_fits(secrets, n, bytes_of(rest.p, len), buf_view(&content));
        rest = space ? bytes_of(space + 1, rest.n - len - 1) : (struct bytes){0};
    }
    buf_done(&content);
    return found ? OK : REFUSED;
}

/* Any answer but 2xx is tried again, but 410, by which an endpoint says that it is no more. */
void webhook_answer(const struct outward_answer *a, int64_t now_ms, struct outward_decision *out) {
    *out = (struct outward_decision){0};
    outward_decide_status(out, a);
    if (out->verdict == OUTWARD_GIVE_UP) out->verdict = OUTWARD_RETRY;
    if (a->status == 410) out->verdict = OUTWARD_DROP;
    if (out->verdict == OUTWARD_RETRY)
        out->retry_after_ms = outward_retry_after(a->retry_after, now_ms);
}
