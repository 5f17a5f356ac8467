/* outward: tests: the vectors of RFC 8291, RFC 8463 and Standard Webhooks; tokens verified by their
 * own public keys; answers of each service to the decision that they deserve; headers that nobody
 * can inject into. test/scenario/outward_test.py holds the same to programs of others.
 * SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "outward/outward_in.h"

#define NOW 1767323045678 /* 2026-01-02T03:04:05.678Z */
#define MINUTES 60000ll
#define ENDPOINT "https://push.example.net/push/JzLQ3raZJfFBR0aqvOMsLrt54w4rJUsV"

static struct buf decoded(const char *base64) {
    struct buf b = {0};
    check(base64url_decode(&b, bytes_str(base64)) == OK);
    return b;
}
static const char *text_of(struct buf *b) {
    buf_char(b, 0);
    b->n--;
    return b->p ? (const char *)b->p : "";
}
static bool holds(struct buf *b, const char *part) { return strstr(text_of(b), part) != NULL; }

static struct outward_key *key_read(enum outward_key_kind kind, const char *text) {
    struct outward_key *k = NULL;
    const char *why = "";
    check(outward_key_read(kind, bytes_str(text), &k, &why) == OK);
    return k;
}

/* ---- keys ---- */
static void keys_are_written_and_read(void **state) {
    (void)state;
    for (int kind = OUTWARD_P256; kind <= OUTWARD_ED25519; kind++) {
        struct outward_key *k = outward_key_create((enum outward_key_kind)kind), *again = NULL;
        struct buf pem = {0}, sig = {0}, public_key = {0};
        outward_key_write(k, &pem);
        again = key_read((enum outward_key_kind)kind, text_of(&pem));
        outward_key_sign(again, BYTES("text"), &sig);
        outward_key_public(k, &public_key);
        struct outward_key *theirs =
            outward_key_from_public((enum outward_key_kind)kind, buf_view(&public_key));
        assert_non_null(theirs);
        assert_true(outward_key_verify(theirs, BYTES("text"), buf_view(&sig)));
        assert_false(outward_key_verify(theirs, BYTES("texT"), buf_view(&sig)));
        sig.p[sig.n - 1] ^= 1;
        assert_false(outward_key_verify(theirs, BYTES("text"), buf_view(&sig)));
        struct outward_key *none = NULL;
        const char *why = NULL;
        assert_int_equal(
            outward_key_read((enum outward_key_kind)((kind + 1) % 3), buf_view(&pem), &none, &why),
            MALFORMED);
        assert_non_null(why);
        assert_null(none);
        outward_key_free(&theirs);
        outward_key_free(&again);
        outward_key_free(&k);
        buf_done(&pem);
        buf_done(&sig);
        buf_done(&public_key);
    }
}

/* ---- Web Push ---- */
static struct webpush *sender(void) {
    struct outward_key *k = outward_key_create(OUTWARD_P256);
    struct webpush *w = webpush_create(k, BYTES("mailto:ops@example.com"));
    assert_non_null(w);
    outward_key_free(&k);
    return w;
}

static void web_push_is_rfc_8291s_example(void **state) {
    (void)state;
    struct webpush *w = sender();
    struct buf p256dh = decoded("BCVxsr7N_eNgVRqvHtD0zTZsEc6-VV-JvLexhqUzORcxaOzi6-"
                                "AYWXvTBHm4bjyPjs7Vd8pZGH6SRpkNtoIAiw4"),
               auth = decoded("BTBZMqHH6r4Tts7J_aSIgg"), salt = decoded("DGv6ra1nlYgDCS1FRnbzlw"),
               secret = decoded("yfWPiYE-n46HLnH0KqZOF1fJJU3MYrct3AELtAQ-oRw"),
               want = decoded("DGv6ra1nlYgDCS1FRnbzlwAAEABBBP4z9KsN6nGRTbVYI_c7VJSPQTBtkgcy27ml"
                              "mlMoZIIgDll6e3vCYLocInmYWAmS6TlzAC8wEqKK6PBru3jl7A_yl95bQpu6cVPT"
                              "pK4Mqgkf1CXztLVBSt2Ks3oZwbuwXPXLWyouBWLVWGNWQexSgSxsj_Qulcy4a-fN"),
               got = {0};
    struct webpush_message m = {.endpoint = BYTES(ENDPOINT),
        .p256dh = buf_view(&p256dh),
        .auth = buf_view(&auth),
        .payload = BYTES("When I grow up, I want to be a watermelon")};
    assert_int_equal(webpush_encrypt_with(w, &m, secret.p, salt.p, &got), OK);
    assert_true(bytes_eq(buf_view(&got), buf_view(&want)));
    /* each message has a key pair and a salt of its own, made ahead or not */
    assert_int_equal(webpush_ahead(w, 2), 2);
    for (int i = 0; i < 3; i++) {
        struct buf other = {0};
        assert_int_equal(webpush_encrypt(w, &m, &other), OK);
        assert_int_equal(other.n, got.n);
        assert_true(memcmp(other.p, got.p, 16) != 0 && memcmp(other.p + 21, got.p + 21, 65) != 0);
        buf_reset(&got);
        buf_bytes(&got, buf_view(&other));
        buf_done(&other);
    }
    assert_int_equal(webpush_ahead(w, 0), 0);
    buf_done(&p256dh);
    buf_done(&auth);
    buf_done(&salt);
    buf_done(&secret);
    buf_done(&want);
    buf_done(&got);
    webpush_free(&w);
}

static void web_push_has_limits(void **state) {
    (void)state;
    struct webpush *w = sender();
    struct outward_key *theirs = outward_key_create(OUTWARD_P256);
    struct buf p256dh = {0}, got = {0};
    uint8_t payload[WEBPUSH_PAYLOAD_MAX + 1] = {0};
    outward_key_public(theirs, &p256dh);
    struct webpush_message m = {.endpoint = BYTES(ENDPOINT),
        .p256dh = buf_view(&p256dh),
        .auth = BYTES("0123456789abcdef"),
        .payload = bytes_of(payload, WEBPUSH_PAYLOAD_MAX)};
    assert_int_equal(webpush_encrypt(w, &m, &got), OK);
    assert_int_equal(got.n, WEBPUSH_BODY_MAX);
    m.payload.n++;
    assert_int_equal(webpush_encrypt(w, &m, &got), LIMIT);
    m.payload.n = 0;
    m.pad_to = 100;
    buf_reset(&got);
    assert_int_equal(webpush_encrypt(w, &m, &got), OK);
    assert_int_equal(got.n, 86 + 100 + 17);
    m.auth.n = 15;
    assert_int_equal(webpush_encrypt(w, &m, &got), MALFORMED);
    m.auth.n = 16;
    p256dh.p[40] ^= 1; /* no point of the curve */
    assert_int_equal(webpush_encrypt(w, &m, &got), MALFORMED);
    m.p256dh.n = 64;
    assert_int_equal(webpush_encrypt(w, &m, &got), MALFORMED);
    assert_int_equal(got.n, 86 + 100 + 17);
    outward_key_free(&theirs);
    buf_done(&p256dh);
    buf_done(&got);
    webpush_free(&w);
}

static void web_push_names_its_sender(void **state) {
    (void)state;
    struct outward_key *k = outward_key_create(OUTWARD_P256);
    struct webpush *w = webpush_create(k, BYTES("mailto:ops@example.com"));
    struct buf a = {0}, b = {0}, claims = {0}, sig = {0};
    assert_null(webpush_create(k, BYTES("ops@example.com")));
    assert_int_equal(webpush_authorization(w, BYTES(ENDPOINT), NOW, &a), OK);
    char *token = strdup(text_of(&a)), *rest = NULL;
    assert_string_equal(strtok_r(token, " ", &rest), "vapid");
    char *t = strtok_r(NULL, ",", &rest) + 2, *dot = strchr(strchr(t, '.') + 1, '.');
    *dot = 0;
    assert_int_equal(base64url_decode(&sig, bytes_str(dot + 1)), OK);
    assert_true(outward_key_verify(k, bytes_str(t), buf_view(&sig)));
    assert_int_equal(base64url_decode(&claims, bytes_str(strchr(t, '.') + 1)), OK);
    assert_string_equal(text_of(&claims),
        "{\"aud\":\"https://push.example.net\",\"exp\":1767366245,"
        "\"sub\":\"mailto:ops@example.com\"}");
    /* kept while it has six hours, by push service */
    assert_int_equal(webpush_authorization(w, BYTES(ENDPOINT "x"), NOW + 350 * MINUTES, &b), OK);
    assert_true(bytes_eq(buf_view(&a), buf_view(&b)));
    buf_reset(&b);
    assert_int_equal(webpush_authorization(w, BYTES("https://other.net/1"), NOW, &b), OK);
    assert_false(bytes_eq(buf_view(&a), buf_view(&b)));
    buf_reset(&b);
    assert_int_equal(webpush_authorization(w, BYTES(ENDPOINT), NOW + 361 * MINUTES, &b), OK);
    assert_false(bytes_eq(buf_view(&a), buf_view(&b)));
    static const char *const BAD[] = {"http://push.example.net/", "https://", "https:///x",
        "https://a@b/", "https://a/\r\nx: y", "https://a b/", "https://a\"/", "", "ftp://x/"};
    for (size_t i = 0; i < sizeof BAD / sizeof *BAD; i++)
        assert_int_equal(webpush_authorization(w, bytes_str(BAD[i]), NOW, &b), MALFORMED);
    free(token);
    outward_key_free(&k);
    webpush_free(&w);
    buf_done(&a);
    buf_done(&b);
    buf_done(&claims);
    buf_done(&sig);
}

static void web_push_requests_have_their_headers(void **state) {
    (void)state;
    struct webpush *w = sender();
    struct outward_key *theirs = outward_key_create(OUTWARD_P256);
    struct buf p256dh = {0};
    struct outward_request q = {0};
    outward_key_public(theirs, &p256dh);
    struct webpush_message m = {.endpoint = BYTES(ENDPOINT),
        .p256dh = buf_view(&p256dh),
        .auth = BYTES("0123456789abcdef"),
        .payload = BYTES("x"),
        .ttl_s = 3600,
        .urgency = BYTES("high"),
        .topic = BYTES("likes-42")};
    assert_int_equal(webpush_request(w, &m, NOW, &q), OK);
    assert_true(holds(&q.head, "Authorization: vapid t="));
    assert_true(holds(&q.head, "\r\nContent-Encoding: aes128gcm\r\n"));
    assert_true(holds(&q.head, "\r\nTTL: 3600\r\nUrgency: high\r\nTopic: likes-42\r\n"));
    assert_string_equal(text_of(&q.url), ENDPOINT);
    outward_request_reset(&q);
    m.topic = BYTES("likes:\r\nX-Evil: 1");
    assert_int_equal(webpush_request(w, &m, NOW, &q), OK);
    assert_false(holds(&q.head, "Evil"));
    assert_int_equal(strlen(strstr(text_of(&q.head), "Topic: ")), 7 + 32 + 2);
    m.urgency = BYTES("urgent");
    outward_request_reset(&q);
    assert_int_equal(webpush_request(w, &m, NOW, &q), MALFORMED);
    assert_int_equal(q.head.n + q.body.n + q.url.n, 0);
    outward_request_done(&q);
    outward_key_free(&theirs);
    buf_done(&p256dh);
    webpush_free(&w);
}

static void web_push_answers_decide(void **state) {
    (void)state;
    static const struct {
        int status;
        enum outward_verdict verdict;
    } FACTS[] = {{201, OUTWARD_DELIVERED}, {202, OUTWARD_DELIVERED}, {404, OUTWARD_DROP},
        {410, OUTWARD_DROP}, {413, OUTWARD_GIVE_UP}, {400, OUTWARD_GIVE_UP}, {429, OUTWARD_RETRY},
        {500, OUTWARD_RETRY}, {503, OUTWARD_RETRY}, {0, OUTWARD_RETRY}, {403, OUTWARD_RENEW},
        {301, OUTWARD_GIVE_UP}};
    for (size_t i = 0; i < sizeof FACTS / sizeof *FACTS; i++) {
        struct outward_decision d;
        struct outward_answer a = {.status = FACTS[i].status, .retry_after = BYTES("120")};
        webpush_answer(&a, NOW, &d);
        assert_int_equal(d.verdict, FACTS[i].verdict);
        assert_int_equal(d.retry_after_ms, d.verdict == OUTWARD_RETRY ? 120000 : 0);
        assert_true(d.verdict == OUTWARD_DELIVERED || d.reason[0]);
    }
    assert_int_equal(outward_retry_after(BYTES("Fri, 02 Jan 2026 03:05:05 GMT"), NOW), 59322);
    assert_int_equal(outward_retry_after(BYTES("Fri, 02 Jan 2026 03:03:05 GMT"), NOW), 0);
    assert_int_equal(outward_retry_after(BYTES("99999999999999999999"), NOW), 86400000);
    assert_int_equal(outward_retry_after(BYTES("soon"), NOW), 0);
    assert_int_equal(outward_retry_after(BYTES(""), NOW), 0);
    assert_int_equal(outward_retry_after(BYTES(" 5 "), NOW), 5000);
}

/* ---- APNs ---- */
#define DEVICE "00fc13adff785122b4ad28809a3420982341241421348097878e577c991de8f0"

static struct apns *apple(void) {
    struct outward_key *k = outward_key_create(OUTWARD_P256);
    struct apns_account account = {
        k, BYTES("ABC123DEFG"), BYTES("DEF123GHIJ"), BYTES("com.example.app"), false};
    struct apns *a = apns_create(&account);
    assert_non_null(a);
    account.team_id = BYTES("DEF\"123");
    assert_null(apns_create(&account));
    outward_key_free(&k);
    return a;
}
static struct push_message push(void) {
    return (struct push_message){.token = BYTES(DEVICE),
        .title = BYTES("Ann"),
        .body = BYTES("liked \"it\""),
        .sound = BYTES("default"),
        .thread = BYTES("likes"),
        .collapse_key = BYTES("likes-42"),
        .data = BYTES("{\"post\":42}"),
        .shows = BYTES("n1"),
        .badge = 3,
        .expires_ms = NOW + 60000,
        .high = true};
}

static void apns_requests(void **state) {
    (void)state;
    struct apns *a = apple();
    struct outward_request q = {0}, later = {0};
    struct push_message m = push();
    assert_int_equal(apns_request(a, &m, NOW, &q), OK);
    assert_string_equal(text_of(&q.url), "https://api.push.apple.com/3/device/" DEVICE);
    assert_string_equal(text_of(&q.body),
        "{\"aps\":{\"alert\":{\"title\":\"Ann\",\"body\":\"liked "
        "\\\"it\\\"\"},\"sound\":\"default\","
        "\"badge\":3,\"thread-id\":\"likes\"},\"id\":\"n1\",\"data\":{\"post\":42}}");
    assert_true(holds(&q.head,
        "\r\napns-topic: com.example.app\r\napns-push-type: alert\r\napns-priority: 10\r\n"
        "apns-expiration: 1767323105\r\napns-collapse-id: likes-42\r\n"));
    /* one token for 40 minutes, then another */
    assert_int_equal(apns_request(a, &m, NOW + 40 * MINUTES, &later), OK);
    assert_true(bytes_eq(buf_view(&q.head), buf_view(&later.head)));
    outward_request_reset(&later);
    assert_int_equal(apns_request(a, &m, NOW + 41 * MINUTES, &later), OK);
    assert_false(bytes_eq(buf_view(&q.head), buf_view(&later.head)));
    outward_request_reset(&q);
    m.silent = true;
    m.badge = -1;
    m.collapse_key = BYTES("k\r\nx-evil: 1");
    assert_int_equal(apns_request(a, &m, NOW, &q), OK);
    assert_true(holds(&q.head, "apns-push-type: background\r\napns-priority: 5\r\n"));
    assert_false(holds(&q.head, "evil"));
    assert_string_equal(text_of(&q.body),
        "{\"aps\":{\"content-available\":1,\"thread-id\":\"likes\"},\"id\":\"n1\",\"data\":{\"post\":42}}");
    outward_request_reset(&q);
    struct push_message bad[] = {m, m, m, m, m};
    bad[0].token = BYTES("../../x");
    bad[1].data = BYTES("{\"a\":1},\"aps\":{}");
    bad[2].id = BYTES("x\r\ny");
    bad[3].title = BYTES("\xff");
    bad[4].data = BYTES("[1]");
    for (size_t i = 0; i < 5; i++) assert_int_equal(apns_request(a, &bad[i], NOW, &q), MALFORMED);
    struct buf big = {0};
    m.silent = false;
    for (int i = 0; i < 3000; i++) buf_str(&big, "\u00e9\"");
    m.body = buf_view(&big); /* is cut: at a character, with all the rest in place */
    assert_int_equal(apns_request(a, &m, NOW, &q), OK);
    assert_true(q.body.n <= APNS_PAYLOAD_MAX && q.body.n > APNS_PAYLOAD_MAX - 3000);
    assert_true(utf8_valid(buf_view(&q.body)) && holds(&q.body, "\u2026\"},\"sound\""));
    outward_request_reset(&q);
    m.title = m.body;
    assert_int_equal(apns_request(a, &m, NOW, &q), LIMIT);
    buf_done(&big);
    assert_int_equal(q.head.n + q.body.n + q.url.n, 0);
    outward_request_done(&q);
    outward_request_done(&later);
    apns_free(&a);
}

static void apns_answers_decide(void **state) {
    (void)state;
    struct apns *a = apple();
    struct outward_request q = {0};
    struct push_message m = push();
    static const struct {
        int status;
        const char *body;
        enum outward_verdict verdict;
    } FACTS[] = {{200, "", OUTWARD_DELIVERED},
        {400, "{\"reason\":\"BadDeviceToken\"}", OUTWARD_DROP},
        {400, "{\"reason\":\"BadTopic\"}", OUTWARD_GIVE_UP},
        {400, "{\"reason\":\"IdleTimeout\"}", OUTWARD_RETRY},
        {403, "{\"reason\":\"InvalidProviderToken\"}", OUTWARD_GIVE_UP},
        {410, "{\"reason\":\"Unregistered\",\"timestamp\":1767000000000}", OUTWARD_DROP},
        {410, "", OUTWARD_DROP}, {413, "{\"reason\":\"PayloadTooLarge\"}", OUTWARD_GIVE_UP},
        {429, "{\"reason\":\"TooManyRequests\"}", OUTWARD_RETRY},
        {500, "{\"reason\":\"InternalServerError\"}", OUTWARD_RETRY},
        {503, "{\"reason\":\"Shutdown\"}", OUTWARD_RETRY}, {503, "<html>", OUTWARD_RETRY},
        {0, "", OUTWARD_RETRY}};
    struct outward_decision d;
    for (size_t i = 0; i < sizeof FACTS / sizeof *FACTS; i++) {
        struct outward_answer answer = {
            .status = FACTS[i].status, .body = bytes_str(FACTS[i].body), .apns_id = BYTES("id-1")};
        apns_answer(a, &answer, NOW, &d);
        assert_int_equal(d.verdict, FACTS[i].verdict);
        if (i == 0) assert_string_equal(d.id, "id-1");
        if (i == 5) assert_string_equal(d.reason, "Unregistered");
        if (i == 5) assert_int_equal(d.gone_since_ms, 1767000000000);
    }
    /* an expired token is made anew, once at once, and then not more often than each 20 minutes */
    struct outward_answer expired = {
        .status = 403, .body = BYTES("{\"reason\":\"ExpiredProviderToken\"}")};
    assert_int_equal(apns_request(a, &m, NOW - 4 * MINUTES, &q), OK);
    apns_answer(a, &expired, NOW, &d);
    assert_int_equal(d.verdict, OUTWARD_RENEW);
    outward_request_reset(&q);
    assert_int_equal(apns_request(a, &m, NOW, &q), OK);
    expired.asked_ms = NOW - MINUTES; /* the one before was refused, not this one */
    apns_answer(a, &expired, NOW + 1, &d);
    assert_int_equal(d.verdict, OUTWARD_RENEW);
    expired.asked_ms = NOW + MINUTES;
    apns_answer(a, &expired, NOW + 5 * MINUTES, &d);
    assert_int_equal(d.verdict, OUTWARD_RETRY);
    assert_int_equal(d.retry_after_ms, 15 * MINUTES);
    apns_answer(a, &expired, NOW + 25 * MINUTES, &d);
    assert_int_equal(d.verdict, OUTWARD_RENEW);
    struct buf before = {0};
    buf_bytes(&before, buf_view(&q.head));
    outward_request_reset(&q);
    assert_int_equal(apns_request(a, &m, NOW + 25 * MINUTES, &q), OK);
    assert_false(bytes_eq(buf_view(&before), buf_view(&q.head)));
    buf_done(&before);
    outward_request_done(&q);
    apns_free(&a);
}

/* ---- FCM ---- */
static struct fcm *firebase(void) {
    struct outward_key *k = outward_key_create(OUTWARD_RSA);
    struct buf pem = {0}, json = {0};
    const char *why = "";
    outward_key_write(k, &pem);
    buf_str(&json,
        "{\"type\":\"service_account\",\"project_id\":\"my-app\",\"private_key_id\":\"k1\","
        "\"client_email\":\"push@my-app.iam.gserviceaccount.com\",\"token_uri\":"
        "\"https://oauth2.googleapis.com/token\",\"private_key\":");
    json_str(&json, buf_view(&pem));
    buf_char(&json, '}');
    struct fcm *f = fcm_create(buf_view(&json), &why);
    assert_non_null(f);
    assert_null(fcm_create(BYTES("{\"type\":\"authorized_user\"}"), &why));
    assert_string_equal(why, "not the JSON file of a service account");
    outward_key_free(&k);
    buf_done(&pem);
    buf_done(&json);
    return f;
}

static void fcm_buys_a_token_and_sends(void **state) {
    (void)state;
    struct fcm *f = firebase();
    struct outward_request q = {0};
    struct outward_decision d;
    struct push_message m = push();
    m.token = BYTES("bk3RNwTe3H0:CI2k_HHwgIpoDKCIZvvDMExUdFQ3P1");
    assert_true(fcm_wants_token(f, NOW));
    assert_int_equal(fcm_request(f, &m, NOW, &q), AGAIN);
    fcm_token_request(f, NOW, &q);
    assert_string_equal(text_of(&q.url), "https://oauth2.googleapis.com/token");
    assert_true(holds(&q.body, "&assertion=eyJ"));
    struct outward_answer a = {.status = 200,
        .body =
            BYTES("{\"access_token\":\"ya29.a0\",\"expires_in\":3599,\"token_type\":\"Bearer\"}")};
    fcm_token_answer(f, &a, NOW, &d);
    assert_int_equal(d.verdict, OUTWARD_DELIVERED);
    assert_false(fcm_wants_token(f, NOW + 54 * MINUTES));
    assert_true(fcm_wants_token(f, NOW + 56 * MINUTES));
    outward_request_reset(&q);
    assert_int_equal(fcm_request(f, &m, NOW, &q), OK);
    assert_string_equal(
        text_of(&q.url), "https://fcm.googleapis.com/v1/projects/my-app/messages:send");
    assert_true(holds(&q.head, "Authorization: Bearer ya29.a0\r\n"));
    assert_string_equal(text_of(&q.body),
        "{\"message\":{\"token\":\"bk3RNwTe3H0:CI2k_HHwgIpoDKCIZvvDMExUdFQ3P1\",\"notification\":"
        "{\"title\":\"Ann\",\"body\":\"liked "
        "\\\"it\\\"\"},\"data\":{\"id\":\"n1\",\"data\":\"{\\\"post\\\":42}\","
        "\"thread\":\"likes\"},\"android\":{\"priority\":\"HIGH\",\"ttl\":\"60s\",\"collapse_key\":"
        "\"likes-42\",\"notification\":{\"tag\":\"likes-42\",\"sound\":\"default\","
        "\"notification_count\":3}}}}");
    uint8_t big[FCM_PAYLOAD_MAX + 1];
    memset(big, 'x', sizeof big);
    outward_request_reset(&q);
    m.body = bytes_of(big, sizeof big);
    assert_int_equal(fcm_request(f, &m, NOW, &q), OK);
    assert_true(holds(&q.body, "xxx\u2026\"}"));
    outward_request_reset(&q);
    m.title = m.body;
    assert_int_equal(fcm_request(f, &m, NOW, &q), LIMIT);
    assert_int_equal(q.head.n + q.body.n + q.url.n, 0);
    static const char *const BAD[] = {"{\"access_token\":\"a\\r\\nb\",\"expires_in\":1}",
        "{\"access_token\":\"a\",\"expires_in\":-1}", "{}", "", "[]"};
    for (size_t i = 0; i < sizeof BAD / sizeof *BAD; i++) {
        a.body = bytes_str(BAD[i]);
        fcm_token_answer(f, &a, NOW, &d);
        assert_int_equal(d.verdict, OUTWARD_RETRY);
    }
    a = (struct outward_answer){.status = 400, .body = BYTES("{\"error\":\"invalid_grant\"}")};
    fcm_token_answer(f, &a, NOW, &d);
    assert_int_equal(d.verdict, OUTWARD_GIVE_UP);
    assert_string_equal(d.reason, "invalid_grant");
    outward_request_done(&q);
    fcm_free(&f);
}

#define FCM_ERROR(code, status, more)                                                              \
    "{\"error\":{\"code\":1,\"message\":\"words\",\"status\":\"" status                            \
    "\",\"details\":[{\"@type\":"                                                                  \
    "\"type.googleapis.com/google.firebase.fcm.v1.FcmError\",\"errorCode\":\"" code "\"}" more     \
    "]}}"

static void fcm_answers_decide(void **state) {
    (void)state;
    struct fcm *f = firebase();
    static const struct {
        int status;
        const char *body;
        enum outward_verdict verdict;
        const char *reason;
    } FACTS[] = {{200, "{\"name\":\"projects/my-app/messages/0:1\"}", OUTWARD_DELIVERED, ""},
        {404, FCM_ERROR("UNREGISTERED", "NOT_FOUND", ""), OUTWARD_DROP, "UNREGISTERED"},
        {404, "{\"error\":{\"status\":\"NOT_FOUND\"}}", OUTWARD_GIVE_UP, "NOT_FOUND"},
        {403, FCM_ERROR("SENDER_ID_MISMATCH", "PERMISSION_DENIED", ""), OUTWARD_DROP,
            "SENDER_ID_MISMATCH"},
        {429, FCM_ERROR("QUOTA_EXCEEDED", "RESOURCE_EXHAUSTED", ""), OUTWARD_RETRY,
            "QUOTA_EXCEEDED"},
        {503, FCM_ERROR("UNAVAILABLE", "UNAVAILABLE", ""), OUTWARD_RETRY, "UNAVAILABLE"},
        {500, FCM_ERROR("INTERNAL", "INTERNAL", ""), OUTWARD_RETRY, "INTERNAL"},
        {401, "{\"error\":{\"status\":\"UNAUTHENTICATED\"}}", OUTWARD_RENEW, "UNAUTHENTICATED"},
        {401, FCM_ERROR("THIRD_PARTY_AUTH_ERROR", "UNAUTHENTICATED", ""), OUTWARD_GIVE_UP,
            "THIRD_PARTY_AUTH_ERROR"},
        {400, FCM_ERROR("INVALID_ARGUMENT", "INVALID_ARGUMENT", ""), OUTWARD_GIVE_UP,
            "INVALID_ARGUMENT"},
        {400,
            FCM_ERROR("INVALID_ARGUMENT", "INVALID_ARGUMENT",
                ",{\"@type\":\"type.googleapis.com/"
                "google.rpc.BadRequest\",\"fieldViolations\":[{\"field\":\"message.token\"}]}"),
            OUTWARD_DROP, "INVALID_ARGUMENT"},
        {502, "<html>bad gateway</html>", OUTWARD_RETRY, "<html>bad gateway</html>"},
        {0, "", OUTWARD_RETRY, "no answer"}};
    for (size_t i = 0; i < sizeof FACTS / sizeof *FACTS; i++) {
        struct outward_decision d;
        struct outward_answer a = {.status = FACTS[i].status, .body = bytes_str(FACTS[i].body)};
        fcm_answer(f, &a, NOW, &d);
        assert_int_equal(d.verdict, FACTS[i].verdict);
        assert_string_equal(d.reason, FACTS[i].reason);
        if (i == 0) assert_string_equal(d.id, "projects/my-app/messages/0:1");
        if (a.status == 429) assert_int_equal(d.retry_after_ms, 60000);
    }
    fcm_free(&f);
}

/* ---- webhooks ---- */
#define SECRET "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
static void webhooks_are_the_standards_example(void **state) {
    (void)state;
    struct bytes secrets[] = {BYTES(SECRET)};
    struct webhook_signer s = {secrets, 1, NULL};
    struct buf head = {0};
    const int64_t at = 1614265330000;
    assert_int_equal(webhook_sign(&s, BYTES("msg_p5jXN8AQM9LWM0D4loKWxJek"), at,
                         BYTES("{\"test\": 2432232314}"), &head),
        OK);
    assert_string_equal(text_of(&head),
        "webhook-id: msg_p5jXN8AQM9LWM0D4loKWxJek\r\nwebhook-timestamp: 1614265330\r\n"
        "webhook-signature: v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=\r\n");
    buf_done(&head);
}

static struct bytes header_of(struct buf *head, const char *name) {
    const char *at = strstr(text_of(head), name) + strlen(name) + 2;
    return bytes_of(at, (size_t)(strstr(at, "\r\n") - at));
}

static void webhooks_are_verified_while_secrets_change(void **state) {
    (void)state;
    struct buf old = {0}, fresh = {0}, public_key = {0}, head = {0};
    struct outward_key *k = outward_key_create(OUTWARD_ED25519);
    webhook_secret_create(&old);
    webhook_secret_create(&fresh);
    webhook_public(k, &public_key);
    struct bytes both[] = {buf_view(&old), buf_view(&fresh)};
    struct webhook_signer s = {both, 2, k};
    struct bytes body = BYTES("{\"a\":1}");
    assert_int_equal(webhook_sign(&s, BYTES("msg_1"), NOW, body, &head), OK);
    struct webhook_headers h = {header_of(&head, "webhook-id"),
        header_of(&head, "webhook-timestamp"), header_of(&head, "webhook-signature")};
    struct bytes by[] = {buf_view(&old), buf_view(&fresh), buf_view(&public_key), BYTES(SECRET)};
    for (size_t i = 0; i < 4; i++)
        assert_int_equal(webhook_verify(&by[i], 1, &h, body, NOW), i < 3 ? OK : REFUSED);
    assert_int_equal(webhook_verify(by, 4, &h, BYTES("{\"a\":2}"), NOW), REFUSED);
    assert_int_equal(webhook_verify(by, 4, &h, body, NOW + 301 * 1000), STALE);
    assert_int_equal(webhook_verify(by, 4, &h, body, NOW - 302 * 1000), STALE);
    h.id = BYTES("msg_2");
    assert_int_equal(webhook_verify(by, 4, &h, body, NOW), REFUSED);
    h.timestamp = BYTES("17e9");
    assert_int_equal(webhook_verify(by, 4, &h, body, NOW), MALFORMED);
    struct bytes weak[] = {BYTES("whsec_c2hvcnQ="), BYTES("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")};
    for (size_t i = 0; i < 2; i++) {
        struct webhook_signer bad = {&weak[i], 1, NULL};
        assert_int_equal(webhook_sign(&bad, BYTES("msg_1"), NOW, body, &head), MALFORMED);
    }
    assert_int_equal(webhook_sign(&s, BYTES("a.b"), NOW, body, &head), MALFORMED);
    assert_int_equal(webhook_sign(&s, BYTES("a\r\nb"), NOW, body, &head), MALFORMED);
    struct outward_decision d;
    struct outward_answer gone = {.status = 410}, moved = {.status = 302}, ok = {.status = 204};
    webhook_answer(&gone, NOW, &d);
    assert_int_equal(d.verdict, OUTWARD_DROP);
    webhook_answer(&moved, NOW, &d);
    assert_int_equal(d.verdict, OUTWARD_RETRY);
    webhook_answer(&ok, NOW, &d);
    assert_int_equal(d.verdict, OUTWARD_DELIVERED);
    outward_key_free(&k);
    buf_done(&old);
    buf_done(&fresh);
    buf_done(&public_key);
    buf_done(&head);
}

/* ---- e-mail ---- */
static struct mail letter(void) {
    return (struct mail){.from_name = BYTES("Example, Inc."),
        .from = BYTES("no-reply@example.com"),
        .to_name = BYTES("Zo\u00eb"),
        .to = BYTES("zoe@example.org"),
        .subject = BYTES("Ann liked it"),
        .text = BYTES("Hi.\n\nAnn liked it = \u2665 \n.\nFrom her"),
        .html = BYTES("<p>Ann liked it</p>"),
        .id = BYTES("n1.2"),
        .unsubscribe_url = BYTES("https://example.com/u?t=abc"),
        .unsubscribe_address = BYTES("leave@example.com"),
        .list_id = BYTES("likes.example.com")};
}

static void mail_is_as_it_must_be(void **state) {
    (void)state;
    struct mail m = letter();
    struct buf out = {0};
    const char *why = "";
    assert_int_equal(mail_write(&m, NOW, &out, &why), OK);
    assert_true(bytes_starts(buf_view(&out),
        "From: \"Example, Inc.\"\r\n <no-reply@example.com>\r\nTo: =?UTF-8?B?Wm/Dqw==?=\r\n "
        "<zoe@example.org>\r\nSubject: Ann liked it\r\nDate: Fri, 02 Jan 2026 03:04:05 +0000\r\n"
        "Message-ID: <n1.2@example.com>\r\nList-Id: <likes.example.com>\r\nList-Unsubscribe: "
        "<https://example.com/u?t=abc>,\r\n <mailto:leave@example.com?subject=unsubscribe>\r\n"
        "List-Unsubscribe-Post: List-Unsubscribe=One-Click\r\nAuto-Submitted: auto-generated\r\n"
        "MIME-Version: 1.0\r\nContent-Type: multipart/alternative;\r\n boundary=\"=_"));
    assert_true(
        holds(&out, "\r\n\r\nHi.\r\n\r\nAnn liked it =3D =E2=99=A5=20\r\n=2E\r\n=46rom her\r\n"));
    for (size_t i = 0, column = 0; i < out.n; i++) {
        column = out.p[i] == '\n' ? 0 : column + 1;
        assert_true(
            column <= 79 && out.p[i] < 0x7f && (out.p[i] >= ' ' || strchr("\r\n", out.p[i])));
    }
    buf_done(&out);
}

static void mail_takes_no_headers_from_values(void **state) {
    (void)state;
    struct buf out = {0};
    const char *why = "";
    struct mail m = letter();
    m.subject = BYTES("Hi\r\nBcc: all@example.org\r\n\r\nbody");
    m.from_name = BYTES("A\r\nBcc: x@y.z");
    m.to_name = BYTES("\"B\\\302\205Bcc: x@y.z");
    assert_int_equal(mail_write(&m, NOW, &out, &why), OK);
    assert_true(holds(&out, "\r\nSubject: Hi Bcc: all@example.org body\r\n"));
    assert_false(holds(&out, "\nBcc"));
    assert_false(holds(&out, "\xc2"));
    struct bytes *const parts[] = {&m.from, &m.to, &m.reply_to, &m.unsubscribe_address};
    static const char *const BAD[] = {"a@b\r\nBcc: c@d.e", "a b@c.d", "<a@b.c>", "a@", "@b", "ab",
        "a@b@c.d", "a..b@c.d", ".a@c.d", "a@-b.c", "a@b..c", "a@[1.2.3.4]", "\xc3\xa9@b.c",
        "a@b.c,d@e.f"};
    buf_reset(&out);
    for (size_t p = 0; p < 4; p++)
        for (size_t i = 0; i < sizeof BAD / sizeof *BAD; i++) {
            struct bytes was = *parts[p];
            *parts[p] = bytes_str(BAD[i]);
            assert_int_equal(mail_write(&m, NOW, &out, &why), MALFORMED);
            *parts[p] = was;
        }
    m.unsubscribe_url = BYTES("https://a/>\r\nX: y");
    assert_int_equal(mail_write(&m, NOW, &out, &why), MALFORMED);
    m = letter();
    m.id = BYTES("a>\r\nX: y");
    assert_int_equal(mail_write(&m, NOW, &out, &why), MALFORMED);
    assert_int_equal(out.n, 0);
    buf_done(&out);
}

static void dkim_signs(void **state) {
    (void)state;
    /* RFC 8463, appendix A: its key, and the hash of its body */
    struct outward_key *ed = key_read(
                           OUTWARD_ED25519, "nWGxne/9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A="),
                       *rsa = outward_key_create(OUTWARD_RSA),
                       *ec = outward_key_create(OUTWARD_P256);
    struct buf out = {0};
    dkim_record(ed, &out);
    assert_string_equal(
        text_of(&out), "v=DKIM1; k=ed25519; p=11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=");
    buf_reset(&out);
    static const char MESSAGE[] =
        "From: Joe SixPack <joe@football.example.com>\r\nTo: Suzie Q "
        "<suzie@shopping.example.net>\r\n"
        "Subject: Is dinner ready?\r\nDate: Fri, 11 Jul 2003 21:00:37 -0700 (PDT)\r\n"
        "Message-ID: <20030712040037.46341.5F8J@football.example.com>\r\n\r\nHi.\r\n\r\n"
        "We lost the game.  Are you hungry yet?\r\n\r\nJoe.\r\n";
    struct dkim d = {ed, BYTES("football.example.com"), BYTES("brisbane")};
    assert_int_equal(dkim_sign(&d, BYTES(MESSAGE), NOW, &out), OK);
    assert_true(
        holds(&out, "DKIM-Signature: v=1; a=ed25519-sha256; c=relaxed/relaxed;\r\n\td=football."
                    "example.com; s=brisbane;\r\n\tt=1767323045; h=from:to:subject:date:"));
    assert_true(holds(&out, "\tbh=2jUSOH9NhtVGCQWNr9BrIAPreKQjO6Sn7XIkfJVOzv8=;\r\n\tb="));
    d.key = rsa;
    assert_int_equal(dkim_sign(&d, BYTES(MESSAGE), NOW, &out), OK);
    d.key = ec;
    assert_int_equal(dkim_sign(&d, BYTES(MESSAGE), NOW, &out), MALFORMED);
    d.key = ed;
    static const char *const BAD[] = {
        "", "From: a@b.c", "no colon\r\n\r\n", "To: a@b.c\r\n\r\nx", "\n"};
    for (size_t i = 0; i < sizeof BAD / sizeof *BAD; i++)
        assert_int_equal(dkim_sign(&d, bytes_str(BAD[i]), NOW, &out), MALFORMED);
    d.selector = BYTES("a;b");
    assert_int_equal(dkim_sign(&d, BYTES(MESSAGE), NOW, &out), MALFORMED);
    outward_key_free(&ed);
    outward_key_free(&rsa);
    outward_key_free(&ec);
    buf_done(&out);
}

/* ---- what mail servers answer ---- */
static void mail_servers_answer(void **state) {
    static const struct {
        int status;
        enum mail_step at;
        const char *text;
        enum outward_verdict verdict;
    } CASES[] = {{250, MAIL_DATA, "250 2.0.0 Ok: queued as 4Zk\r\n", OUTWARD_DELIVERED},
        {0, MAIL_GREETING, "", OUTWARD_RETRY}, {554, MAIL_GREETING, "554 go away", OUTWARD_RETRY},
        {535, MAIL_GREETING, "535 5.7.8 bad password", OUTWARD_RETRY},
        {550, MAIL_SENDER, "550 5.7.1 not you", OUTWARD_RETRY},
        {451, MAIL_RECIPIENT, "451 4.7.1 greylisted", OUTWARD_RETRY},
        {421, MAIL_DATA, "421 closing", OUTWARD_RETRY},
        {550, MAIL_RECIPIENT, "550 5.1.1 unknown", OUTWARD_DROP},
        {550, MAIL_RECIPIENT, "550-5.1.1 The account\r\n550 5.1.1 is not there", OUTWARD_DROP},
        {550, MAIL_RECIPIENT, "550 no such mailbox", OUTWARD_DROP},
        {550, MAIL_RECIPIENT, "550 5.7.1 blocked", OUTWARD_GIVE_UP},
        {552, MAIL_RECIPIENT, "552 5.2.2 full", OUTWARD_GIVE_UP},
        {550, MAIL_DATA, "550 looks like spam", OUTWARD_GIVE_UP},
        {550, MAIL_DATA, "550 5.1.1 unknown", OUTWARD_DROP},
        {554, MAIL_DATA, "554 5.7.1 no", OUTWARD_GIVE_UP}, {550, MAIL_RECIPIENT, "", OUTWARD_DROP}};
    (void)state;
    for (size_t i = 0; i < sizeof CASES / sizeof *CASES; i++) {
        struct outward_answer a = {.status = CASES[i].status, .body = bytes_str(CASES[i].text)};
        struct outward_decision d;
        mail_answer(&a, CASES[i].at, &d);
        assert_int_equal(d.verdict, CASES[i].verdict);
        if (!i) assert_string_equal(d.id, "2.0.0 Ok: queued as 4Zk");
    }
}

/* ---- links that end a mail ---- */
static void links_say_who_and_what_and_are_ours(void **state) {
    (void)state;
    uint8_t key[UNSUBSCRIBE_KEY_BYTES], other[UNSUBSCRIBE_KEY_BYTES];
    for (size_t i = 0; i < sizeof key; i++) key[i] = (uint8_t)i;
    unsubscribe_key_create(other);
    struct bytes by = bytes_of(key, sizeof key);
    struct unsubscribe u = {BYTES("demo"), BYTES("gus"), BYTES("news")}, back;
    struct buf token = {0}, room = {0};
    unsubscribe_token(by, &u, &token);
    /* by Python: hmac.new(bytes(range(32)), b"\x01\x04demo\x03gus\x04news", sha256) */
    assert_string_equal(
        text_of(&token), "AQRkZW1vA2d1cwRuZXdzv9iSBq4bmy58D1gJCLmGuTK6wZBz5qW1rmDOamrmePs");
    assert_int_equal(unsubscribe_read(by, buf_view(&token), &room, &back), OK);
    assert_true(bytes_eq(back.app, u.app) && bytes_eq(back.user, u.user) &&
                bytes_eq(back.workflow, u.workflow));
    assert_int_equal(
        unsubscribe_read(bytes_of(other, sizeof other), buf_view(&token), &room, &back), MALFORMED);
    assert_int_equal(
        unsubscribe_read((struct bytes){0}, buf_view(&token), &room, &back), MALFORMED);
    for (size_t n = 0; n < token.n; n++) {
        assert_int_equal(unsubscribe_read(by, bytes_of(token.p, n), &room, &back), MALFORMED);
        uint8_t was = token.p[n];
        token.p[n] = was == 'A' ? 'B' : 'A';
        assert_int_equal(unsubscribe_read(by, buf_view(&token), &room, &back), MALFORMED);
        token.p[n] = was;
    }
    buf_done(&token);
    buf_done(&room);
}

static void links_fit_their_line(void **state) {
    (void)state;
    uint8_t key[UNSUBSCRIBE_KEY_BYTES] = {0};
    char id[65];
    memset(id, 'x', 64);
    id[64] = 0;
    struct unsubscribe u = {bytes_str(id), bytes_str(id), bytes_str(id)}, back;
    struct buf token = {0}, room = {0};
    unsubscribe_token(bytes_of(key, sizeof key), &u, &token);
    assert_int_equal(token.n, 304);
    assert_int_equal(
        unsubscribe_read(bytes_of(key, sizeof key), buf_view(&token), &room, &back), OK);
    assert_int_equal(back.workflow.n, 64);
    buf_reset(&token);
    u.user = BYTES("no id"); /* signed by us, and yet nobody */
    unsubscribe_token(bytes_of(key, sizeof key), &u, &token);
    assert_int_equal(
        unsubscribe_read(bytes_of(key, sizeof key), buf_view(&token), &room, &back), MALFORMED);
    buf_done(&token);
    buf_done(&room);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(keys_are_written_and_read),
        cmocka_unit_test(web_push_is_rfc_8291s_example), cmocka_unit_test(web_push_has_limits),
        cmocka_unit_test(web_push_names_its_sender),
        cmocka_unit_test(web_push_requests_have_their_headers),
        cmocka_unit_test(web_push_answers_decide), cmocka_unit_test(apns_requests),
        cmocka_unit_test(apns_answers_decide), cmocka_unit_test(fcm_buys_a_token_and_sends),
        cmocka_unit_test(fcm_answers_decide), cmocka_unit_test(webhooks_are_the_standards_example),
        cmocka_unit_test(webhooks_are_verified_while_secrets_change),
        cmocka_unit_test(mail_is_as_it_must_be),
        cmocka_unit_test(mail_takes_no_headers_from_values), cmocka_unit_test(mail_servers_answer),
        cmocka_unit_test(dkim_signs), cmocka_unit_test(links_say_who_and_what_and_are_ours),
        cmocka_unit_test(links_fit_their_line)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
