/* outward: Firebase Cloud Messaging, HTTP v1: a service account's assertion buys an access token
 * (RFC 7523), with which messages are sent. SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>
#include <string.h>

#include "outward/outward_in.h"

enum { ACCOUNT_MAX = 16 * 1024, ACCESS_TOKEN_MAX = 4096, COLLAPSE_MAX = 64, DEVICE_MAX = 1024 };
#define HOUR_S 3600
#define TTL_MAX_S (28 * 24 * HOUR_S)
#define TOKEN_LEFT_MS (5 * 60000ll) /* one is asked for so long before the old one ends */
#define QUOTA_MS 60000ll            /* what Google asks to wait when it does not say */

struct fcm {
    struct outward_key *key;
    struct buf email, key_id, project, token_url, token;
    int64_t expires_ms;
    struct json_reader *reader;
};

static struct bytes text_of(struct json object, const char *name) {
    struct json v;
    return json_get(object, name, &v) ? json_string(v) : (struct bytes){0};
}

/* What stands in a claim, a path or a header as it is. */
static bool plain(struct bytes v, size_t max) {
    for (size_t i = 0; i < v.n; i++)
        if (strchr("\"\\/?#%&<>", v.p[i])) return false;
    return v.n <= max && outward_graphic(v);
}

static const char *account_read(struct fcm *f, struct bytes text) {
    struct json v;
    struct bytes origin;
    const char *why = NULL;
    if (text.n > ACCOUNT_MAX || json_parse(f->reader, text, &v) != OK ||
        json_kind_of(v) != JSON_OBJECT || !bytes_is(text_of(v, "type"), "service_account"))
        return "not the JSON file of a service account";
    struct bytes email = text_of(v, "client_email"), id = text_of(v, "private_key_id"),
                 project = text_of(v, "project_id"), url = text_of(v, "token_uri");
    if (!plain(email, 256) || !plain(id, 128) || !plain(project, 128))
        return "client_email, private_key_id or project_id is missing, or not as it must be";
    if (!outward_url(url, &origin) || memchr(url.p, '"', url.n))
        return "token_uri is not an https URL";
    if (outward_key_read(OUTWARD_RSA, text_of(v, "private_key"), &f->key, &why) != OK)
        return "private_key is not an RSA key of 2048 bits or more as PEM";
    buf_bytes(&f->email, email);
    buf_bytes(&f->key_id, id);
    buf_bytes(&f->project, project);
    buf_bytes(&f->token_url, url);
    return NULL;
}

struct fcm *fcm_create(struct bytes service_account, const char **why) {
    struct fcm *f = must_alloc(sizeof *f);
    f->reader = json_reader_create();
    const char *wrong = account_read(f, service_account);
    if (!wrong) return f;
    if (why) *why = wrong;
    fcm_free(&f);
    return NULL;
}

void fcm_free(struct fcm **pf) {
    struct fcm *f = *pf;
    if (!f) return;
    outward_key_free(&f->key);
    buf_done(&f->email);
    buf_done(&f->key_id);
    buf_done(&f->project);
    buf_done(&f->token_url);
    buf_done(&f->token);
    json_reader_free(&f->reader);
    free(f);
    *pf = NULL;
}

/* ---- the access token ---- */
bool fcm_wants_token(const struct fcm *f, int64_t now_ms) {
    return !f->token.n || now_ms > f->expires_ms - TOKEN_LEFT_MS;
}

bool fcm_has_token(const struct fcm *f, int64_t now_ms) {
    return f->token.n && now_ms < f->expires_ms;
}

void fcm_token_request(const struct fcm *f, int64_t now_ms, struct outward_request *out) {
    struct buf head = {0}, claims = {0};
    long long now_s = now_ms / 1000;
    buf_fmt(&head, "{\"alg\":\"RS256\",\"typ\":\"JWT\",\"kid\":\"%.*s\"}", (int)f->key_id.n,
        (const char *)f->key_id.p);
    buf_fmt(&claims,
        "{\"iss\":\"%.*s\",\"scope\":\"https://www.googleapis.com/auth/firebase.messaging\","
        "\"aud\":\"%.*s\",\"iat\":%lld,\"exp\":%lld}",
        (int)f->email.n, (const char *)f->email.p, (int)f->token_url.n,
        (const char *)f->token_url.p, now_s, now_s + HOUR_S);
    buf_bytes(&out->url, buf_view(&f->token_url));
    outward_line(&out->head, "Content-Type", BYTES("application/x-www-form-urlencoded"));
    buf_str(
        &out->body, "grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Ajwt-bearer&assertion=");
    outward_token(f->key, buf_view(&head), buf_view(&claims), &out->body);
    buf_done(&head);
    buf_done(&claims);
}

static bool token_take(struct fcm *f, struct bytes body, int64_t now_ms) {
    struct json v, life;
    if (json_parse(f->reader, body, &v) != OK || json_kind_of(v) != JSON_OBJECT) return false;
    struct bytes token = text_of(v, "access_token");
    int64_t s =
        json_get(v, "expires_in", &life) && json_kind_of(life) == JSON_I64 ? json_i64(life) : 0;
    if (token.n > ACCESS_TOKEN_MAX || !outward_graphic(token) || s <= 0) return false;
    if (s > 24 * HOUR_S) s = 24 * HOUR_S;
    buf_reset(&f->token);
    buf_bytes(&f->token, token);
    f->expires_ms = now_ms + s * 1000;
    return true;
}

void fcm_token_answer(
    struct fcm *f, const struct outward_answer *a, int64_t now_ms, struct outward_decision *out) {
    struct json v;
    *out = (struct outward_decision){0};
    outward_decide_status(out, a);
    if (out->verdict == OUTWARD_RETRY) {
        out->retry_after_ms = outward_retry_after(a->retry_after, now_ms);
    } else if (out->verdict == OUTWARD_DELIVERED) {
        if (!token_take(f, a->body, now_ms))
            outward_decide(out, OUTWARD_RETRY, BYTES("the answer holds no access token"));
    } else if (json_parse(f->reader, a->body, &v) == OK && text_of(v, "error").n) {
        outward_decide(out, OUTWARD_GIVE_UP, text_of(v, "error"));
    }
}

/* ---- messages ---- */
static void text_put(struct json_out *o, const char *key, struct bytes v) {
    if (!v.n) return;
    jo_key(o, key);
    jo_str(o, v);
}

static void collapse_put(struct json_out *o, const char *key, struct bytes v) {
    uint8_t sum[SHA256_BYTES];
    struct buf b = {0};
    if (v.n > COLLAPSE_MAX) {
        outward_sha256(v, sum);
        base64url_encode(&b, bytes_of(sum, sizeof sum));
        v = buf_view(&b);
    }
    text_put(o, key, v);
    buf_done(&b);
}

static void android_put(struct json_out *o, const struct push_message *m, int64_t now_ms) {
    int64_t ttl_s = m->expires_ms > now_ms ? (m->expires_ms - now_ms) / 1000 : 0;
    char ttl[24];
    struct buf b = {0};
    buf_u64dec(&b, (uint64_t)(ttl_s > TTL_MAX_S ? TTL_MAX_S : ttl_s));
    buf_char(&b, 's');
    memcpy(ttl, b.p, b.n);
    jo_key(o, "android");
    jo_open_obj(o);
    text_put(o, "priority", m->high ? BYTES("HIGH") : BYTES("NORMAL"));
    text_put(o, "ttl", bytes_of(ttl, b.n));
    collapse_put(o, "collapse_key", m->collapse_key);
    if (!m->silent) {
        jo_key(o, "notification");
        jo_open_obj(o);
        collapse_put(o, "tag", m->collapse_key); /* replaces what is shown, too */
        text_put(o, "channel_id", m->category);
        text_put(o, "sound", m->sound);
        if (m->badge >= 0) {
            jo_key(o, "notification_count");
            jo_i64(o, m->badge);
        }
        jo_close_obj(o);
    }
    jo_close_obj(o);
    buf_done(&b);
}

static void message_put(struct buf *b, const struct push_message *m, int64_t now_ms) {
    struct json_out o = {.b = b};
    jo_open_obj(&o);
    jo_key(&o, "message");
    jo_open_obj(&o);
    text_put(&o, "token", m->token);
    if (!m->silent) {
        jo_key(&o, "notification");
        jo_open_obj(&o);
        text_put(&o, "title", m->title);
        text_put(&o, "body", m->body);
        text_put(&o, "image", m->image);
        jo_close_obj(&o);
    }
    if (m->data.n || m->thread.n || m->shows.n) { /* FCM's data are texts: ours is one, as JSON */
        jo_key(&o, "data");
        jo_open_obj(&o);
        text_put(&o, "id", m->shows);
        text_put(&o, "data", m->data);
        text_put(&o, "thread", m->thread);
        jo_close_obj(&o);
    }
    android_put(&o, m, now_ms);
    jo_close_obj(&o);
    jo_close_obj(&o);
}

enum err fcm_request(
    struct fcm *f, const struct push_message *m, int64_t now_ms, struct outward_request *out) {
    struct json v;
    if (!fcm_has_token(f, now_ms)) return AGAIN;
    if (m->token.n > DEVICE_MAX || !outward_graphic(m->token) || !utf8_valid(m->title) ||
        !utf8_valid(m->body) || !utf8_valid(m->image) || !utf8_valid(m->thread) ||
        !utf8_valid(m->category) || !utf8_valid(m->shows) || !utf8_valid(m->sound) || !utf8_valid(m->collapse_key) ||
        (m->data.n && (json_parse(f->reader, m->data, &v) != OK || json_kind_of(v) != JSON_OBJECT)))
        return MALFORMED;
    struct buf room = {0};
    struct push_message fits = *m;
    size_t n = m->title.n + m->body.n + m->data.n + m->image.n + m->thread.n + m->shows.n;
    if (n > FCM_PAYLOAD_MAX) {
        fits.body = outward_cut(m->body, n - FCM_PAYLOAD_MAX, &room);
        if (!fits.body.n) return LIMIT;
    }
    buf_fmt(&out->url, "https://fcm.googleapis.com/v1/projects/%.*s/messages:send",
        (int)f->project.n, (const char *)f->project.p);
    buf_str(&out->head, "Authorization: Bearer ");
    buf_bytes(&out->head, buf_view(&f->token));
    buf_str(&out->head, "\r\nContent-Type: application/json\r\n");
    message_put(&out->body, &fits, now_ms);
    buf_done(&room);
    return OK;
}

/* ---- answers ---- */
static const struct {
    const char *code;
    enum outward_verdict verdict;
} CODES[] = {{"UNREGISTERED", OUTWARD_DROP}, {"SENDER_ID_MISMATCH", OUTWARD_DROP},
    {"QUOTA_EXCEEDED", OUTWARD_RETRY}, {"UNAVAILABLE", OUTWARD_RETRY}, {"INTERNAL", OUTWARD_RETRY},
    {"UNAUTHENTICATED", OUTWARD_RENEW}, {"INVALID_ARGUMENT", OUTWARD_GIVE_UP},
    {"THIRD_PARTY_AUTH_ERROR", OUTWARD_GIVE_UP}};

/* Of an error's details: FCM's own code, and whether what is wrong is the device's token. */
struct details {
    struct bytes code;
    bool device;
};
static bool violation_read(void *arg, struct bytes name, struct json v) {
    struct details *d = arg;
    (void)name;
    d->device |= json_kind_of(v) == JSON_OBJECT && bytes_is(text_of(v, "field"), "message.token");
    return true;
}
static bool detail_read(void *arg, struct bytes name, struct json v) {
    struct details *d = arg;
    struct json list;
    (void)name;
    if (json_kind_of(v) != JSON_OBJECT) return true;
    struct bytes type = text_of(v, "@type");
    if (bytes_is(type, "type.googleapis.com/google.firebase.fcm.v1.FcmError"))
        d->code = text_of(v, "errorCode");
    if (json_get(v, "fieldViolations", &list)) json_each(list, violation_read, d);
    return true;
}

static void error_read(struct fcm *f, struct bytes body, struct outward_decision *out) {
    struct json v, error, list;
    struct details d = {0};
    if (json_parse(f->reader, body, &v) != OK || !json_get(v, "error", &error) ||
        json_kind_of(error) != JSON_OBJECT)
        return;
    if (json_get(error, "details", &list) && json_kind_of(list) == JSON_ARRAY)
        json_each(list, detail_read, &d);
    struct bytes code = d.code.n ? d.code : text_of(error, "status");
    for (size_t i = 0; i < sizeof CODES / sizeof *CODES; i++)
        if (bytes_is(code, CODES[i].code)) out->verdict = CODES[i].verdict;
    if (out->verdict == OUTWARD_GIVE_UP && d.device) out->verdict = OUTWARD_DROP;
    outward_decide(out, out->verdict, code.n ? code : text_of(error, "message"));
}

void fcm_answer(
    struct fcm *f, const struct outward_answer *a, int64_t now_ms, struct outward_decision *out) {
    struct json v;
    *out = (struct outward_decision){0};
    outward_decide_status(out, a);
    if (out->verdict == OUTWARD_DELIVERED) {
        if (json_parse(f->reader, a->body, &v) == OK)
            outward_decide(out, OUTWARD_DELIVERED, text_of(v, "name"));
        return;
    }
    if (a->status == 401) out->verdict = OUTWARD_RENEW;
    if (a->status) error_read(f, a->body, out);
    if (out->verdict == OUTWARD_RENEW) f->expires_ms = 0;
    if (out->verdict != OUTWARD_RETRY) return;
    out->retry_after_ms = outward_retry_after(a->retry_after, now_ms);
    if (!out->retry_after_ms && a->status == 429) out->retry_after_ms = QUOTA_MS;
}
