/* outward: Apple's push service: requests of its HTTP/2 interface, its provider token, its answers.
 * Apple refuses tokens older than an hour, and who makes a new one more often than each 20 minutes: one
 * that was refused before that is made anew once, as after a start, and then when it may.
 * SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>
#include <string.h>

#include "outward/outward_in.h"

enum { ID_MAX = 10, TOPIC_MAX = 255, UUID = 36, TOKEN_MAX = 200 };
#define SECOND_MS 1000ll
#define MINUTE_MS (60 * SECOND_MS)
#define TOKEN_RENEW_MS (40 * MINUTE_MS)
#define TOKEN_MIN_MS (20 * MINUTE_MS)

struct apns {
    struct outward_key *key;
    char key_id[ID_MAX + 1], team_id[ID_MAX + 1], topic[TOPIC_MAX + 1];
    bool sandbox, refused; /* refused: the token was, and is to be made anew when it may */
    int64_t made_ms, early_ms; /* early: when one was last made anew before it may */
    struct buf token;
    struct json_reader *reader;
};

static bool alphanumeric(struct bytes v, const char *also) {
    for (size_t i = 0; i < v.n; i++) {
        uint8_t c = v.p[i];
        bool is = (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
        if (!is && (!c || !strchr(also, c))) return false;
    }
    return v.n > 0;
}

struct apns *apns_create(const struct apns_account *a) {
    struct buf pem = {0};
    if (outward_key_kind(a->key) != OUTWARD_P256 || a->key_id.n > ID_MAX || a->team_id.n > ID_MAX ||
        a->topic.n > TOPIC_MAX || !alphanumeric(a->key_id, "") || !alphanumeric(a->team_id, "") ||
        !alphanumeric(a->topic, ".-_"))
        return NULL;
    struct apns *s = must_alloc(sizeof *s);
    outward_key_write(a->key, &pem);
    check(outward_key_read(OUTWARD_P256, buf_view(&pem), &s->key, NULL) == OK);
    outward_wipe(pem.p, pem.n);
    buf_done(&pem);
    memcpy(s->key_id, a->key_id.p, a->key_id.n);
    memcpy(s->team_id, a->team_id.p, a->team_id.n);
    memcpy(s->topic, a->topic.p, a->topic.n);
    s->sandbox = a->sandbox;
    s->reader = json_reader_create();
    return s;
}

void apns_free(struct apns **ps) {
    struct apns *s = *ps;
    if (!s) return;
    outward_key_free(&s->key);
    buf_done(&s->token);
    json_reader_free(&s->reader);
    free(s);
    *ps = NULL;
}

static bool may_renew(const struct apns *s, int64_t now_ms) {
    return now_ms - s->made_ms >= TOKEN_MIN_MS || now_ms - s->early_ms >= TOKEN_MIN_MS;
}

static void token_keep(struct apns *s, int64_t now_ms) {
    int64_t age = now_ms - s->made_ms;
    bool old = age > TOKEN_RENEW_MS || age < 0 || (s->refused && may_renew(s, now_ms));
    if (s->token.n && !old) return;
    if (s->refused && age < TOKEN_MIN_MS) s->early_ms = now_ms;
    struct buf head = {0}, claims = {0};
    buf_fmt(&head, "{\"alg\":\"ES256\",\"kid\":\"%s\"}", s->key_id);
    buf_fmt(&claims, "{\"iss\":\"%s\",\"iat\":%lld}", s->team_id, (long long)(now_ms / 1000));
    buf_reset(&s->token);
    outward_token(s->key, buf_view(&head), buf_view(&claims), &s->token);
    s->made_ms = now_ms;
    s->refused = false;
    buf_done(&head);
    buf_done(&claims);
}

/* ---- the request ---- */
static bool hex(struct bytes v) {
    for (size_t i = 0; i < v.n; i++)
        if (!v.p[i] || !strchr("0123456789abcdefABCDEF", v.p[i])) return false;
    return v.n > 0 && v.n <= TOKEN_MAX;
}
static bool uuid(struct bytes v) {
    for (size_t i = 0; i < v.n; i++) {
        bool dash = i == 8 || i == 13 || i == 18 || i == 23;
        if (dash ? v.p[i] != '-' : !hex(bytes_of(v.p + i, 1))) return false;
    }
    return v.n == UUID;
}

static bool object(struct json_reader *r, struct bytes data) {
    struct json v;
    return !data.n || (json_parse(r, data, &v) == OK && json_kind_of(v) == JSON_OBJECT);
}

static void text_put(struct json_out *o, const char *key, struct bytes v) {
    if (!v.n) return;
    jo_key(o, key);
    jo_str(o, v);
}

static void alert_put(struct json_out *o, const struct push_message *m) {
    jo_key(o, "alert");
    jo_open_obj(o);
    text_put(o, "title", m->title);
    text_put(o, "body", m->body);
    jo_close_obj(o);
    text_put(o, "sound", m->sound);
    text_put(o, "category", m->category);
    if (m->image.n) { /* the app's extension fetches it */
        jo_key(o, "mutable-content");
        jo_u64(o, 1);
    }
}

static void payload_put(struct buf *b, const struct push_message *m) {
    struct json_out o = {.b = b};
    jo_open_obj(&o);
    jo_key(&o, "aps");
    jo_open_obj(&o);
    if (m->silent) {
        jo_key(&o, "content-available");
        jo_u64(&o, 1);
    } else {
        alert_put(&o, m);
    }
    if (m->badge >= 0) {
        jo_key(&o, "badge");
        jo_i64(&o, m->badge);
    }
    text_put(&o, "thread-id", m->thread);
    jo_close_obj(&o);
    text_put(&o, "id", m->shows);
    text_put(&o, "image", m->image);
    if (m->data.n) {
        jo_key(&o, "data");
        jo_raw(&o, m->data);
    }
    jo_close_obj(&o);
}

/* A body that is too long for a phone's screen is cut until all fits, or it is gone. */
static void payload_fit(struct buf *b, const struct push_message *m) {
    struct push_message shorter = *m;
    struct buf room = {0};
    payload_put(b, m);
    while (b->n > APNS_PAYLOAD_MAX && shorter.body.n && !m->silent) {
        struct buf next = {0};
        shorter.body = outward_cut(shorter.body, b->n - APNS_PAYLOAD_MAX, &next);
        buf_done(&room);
        room = next;
        buf_reset(b);
        payload_put(b, &shorter);
    }
    buf_done(&room);
}

static void collapse_put(struct buf *head, struct bytes key) {
    uint8_t sum[SHA256_BYTES];
    if (key.n <= APNS_COLLAPSE_MAX && outward_graphic(key)) {
        outward_line(head, "apns-collapse-id", key);
        return;
    }
    outward_sha256(key, sum);
    buf_str(head, "apns-collapse-id: ");
    base64url_encode(head, bytes_of(sum, sizeof sum));
    buf_str(head, "\r\n");
}

static void head_put(struct apns *s, const struct push_message *m, struct buf *head) {
    buf_str(head, "authorization: bearer ");
    buf_bytes(head, buf_view(&s->token));
    buf_fmt(head, "\r\napns-topic: %s\r\napns-push-type: %s\r\napns-priority: %d\r\n", s->topic,
        m->silent ? "background" : "alert", m->high && !m->silent ? 10 : 5);
    buf_fmt(head, "apns-expiration: %lld\r\n", (long long)(m->expires_ms / 1000));
    if (m->id.n) outward_line(head, "apns-id", m->id);
    if (m->collapse_key.n) collapse_put(head, m->collapse_key);
    outward_line(head, "content-type", BYTES("application/json"));
}

enum err apns_request(
    struct apns *s, const struct push_message *m, int64_t now_ms, struct outward_request *out) {
    struct buf body = {0};
    if (!hex(m->token) || (m->id.n && !uuid(m->id)) || !object(s->reader, m->data) ||
        !utf8_valid(m->title) || !utf8_valid(m->body) || !utf8_valid(m->sound) ||
        !utf8_valid(m->thread) || !utf8_valid(m->category) || !utf8_valid(m->image) ||
        !utf8_valid(m->shows))
        return MALFORMED;
    payload_fit(&body, m);
    enum err e = body.n > APNS_PAYLOAD_MAX ? LIMIT : OK;
    if (e == OK) {
        token_keep(s, now_ms);
        buf_fmt(&out->url, "https://api.%spush.apple.com/3/device/%.*s",
            s->sandbox ? "sandbox." : "", (int)m->token.n, (const char *)m->token.p);
        head_put(s, m, &out->head);
        buf_bytes(&out->body, buf_view(&body));
    }
    buf_done(&body);
    return e;
}

/* ---- the answer ---- */
/* Apple's words, where they say more than the status. */
static const struct {
    const char *reason;
    enum outward_verdict verdict;
} REASONS[] = {{"Unregistered", OUTWARD_DROP}, {"ExpiredToken", OUTWARD_DROP},
    {"BadDeviceToken", OUTWARD_DROP}, {"DeviceTokenNotForTopic", OUTWARD_DROP},
    {"ExpiredProviderToken", OUTWARD_RENEW}, {"IdleTimeout", OUTWARD_RETRY},
    {"TooManyRequests", OUTWARD_RETRY}, {"TooManyProviderTokenUpdates", OUTWARD_RETRY},
    {"InternalServerError", OUTWARD_RETRY}, {"ServiceUnavailable", OUTWARD_RETRY},
    {"Shutdown", OUTWARD_RETRY}};

static void reason_read(struct apns *s, struct bytes body, struct outward_decision *out) {
    struct json v, part;
    if (json_parse(s->reader, body, &v) != OK || !json_get(v, "reason", &part)) return;
    struct bytes reason = json_string(part);
    for (size_t i = 0; i < sizeof REASONS / sizeof *REASONS; i++)
        if (bytes_is(reason, REASONS[i].reason)) out->verdict = REASONS[i].verdict;
    outward_decide(out, out->verdict, reason);
    if (out->verdict != OUTWARD_DROP || !json_get(v, "timestamp", &part)) return;
    int64_t since = json_kind_of(part) == JSON_I64 ? json_i64(part) : 0;
    out->gone_since_ms = since > 0 ? since : 0;
}

void apns_answer(
    struct apns *s, const struct outward_answer *a, int64_t now_ms, struct outward_decision *out) {
    *out = (struct outward_decision){0};
    outward_decide_status(out, a);
    if (out->verdict == OUTWARD_DELIVERED) {
        outward_decide(out, OUTWARD_DELIVERED, a->apns_id);
        return;
    }
    if (a->status == 410) out->verdict = OUTWARD_DROP;
    if (a->status) reason_read(s, a->body, out);
    if (out->verdict == OUTWARD_RENEW) {
        if (a->asked_ms && a->asked_ms + SECOND_MS < s->made_ms) return; /* another was refused */
        s->refused = true;
        if (!may_renew(s, now_ms)) {
            out->verdict = OUTWARD_RETRY;
            out->retry_after_ms = TOKEN_MIN_MS - (now_ms - s->made_ms);
        }
    } else if (out->verdict == OUTWARD_RETRY) {
        out->retry_after_ms = outward_retry_after(a->retry_after, now_ms);
    }
}
