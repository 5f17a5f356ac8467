/* fuzz: what others send to src/outward: answers of push services, service accounts, keys, webhook
 * headers; and mails made of any values, which must stay one message with our headers only. The
 * first byte says which, the second the status.
 * SPDX-License-Identifier: Apache-2.0 */
#include "fuzz.h"

#include <string.h>

#include "outward/outward_in.h"

enum { APNS, FCM, FCM_TOKEN, WEBPUSH, ACCOUNT, KEY, WEBHOOK, MAIL, PUSH, MAILSERVER, KINDS };
#define NOW_MS 1767323045678

/* Kept over all inputs: keys are costly, and hold nothing of an input but FCM's token. */
struct kept {
    struct outward_key *p256, *rsa, *ed25519;
    struct apns *apns;
    struct fcm *fcm;
    struct webpush *webpush;
};

static const struct kept *kept(void) {
    static struct kept k;
    struct buf pem = {0}, json = {0};
    if (k.p256) return &k;
    k.p256 = outward_key_create(OUTWARD_P256);
    k.rsa = outward_key_create(OUTWARD_RSA);
    k.ed25519 = outward_key_create(OUTWARD_ED25519);
    struct apns_account account = {
        k.p256, BYTES("ABC123DEFG"), BYTES("DEF123GHIJ"), BYTES("com.example.app"), false};
    k.apns = apns_create(&account);
    k.webpush = webpush_create(k.p256, BYTES("mailto:ops@example.com"));
    outward_key_write(k.rsa, &pem);
    buf_str(&json, "{\"type\":\"service_account\",\"project_id\":\"p\",\"private_key_id\":\"k\","
                   "\"client_email\":\"a@b\",\"token_uri\":\"https://c/d\",\"private_key\":");
    json_str(&json, buf_view(&pem));
    buf_char(&json, '}');
    k.fcm = fcm_create(buf_view(&json), NULL);
    check(k.apns && k.fcm && k.webpush);
    buf_done(&pem);
    buf_done(&json);
    return &k;
}

void fuzz_seeds(void (*give)(void *arg, struct bytes seed), void *arg) {
    static const struct {
        uint8_t what, status;
        const char *text;
    } SEEDS[] = {{APNS, 5, "{\"reason\":\"Unregistered\",\"timestamp\":1767000000000}"},
        {FCM, 6,
            "{\"error\":{\"code\":404,\"message\":\"m\",\"status\":\"NOT_FOUND\",\"details\":[{\"@"
            "type\":\"type.googleapis.com/google.firebase.fcm.v1.FcmError\",\"errorCode\":"
            "\"UNREGISTERED\"},{\"fieldViolations\":[{\"field\":\"message.token\"}]}]}}"},
        {FCM_TOKEN, 1, "{\"access_token\":\"ya29.a0\",\"expires_in\":3599}"},
        {WEBPUSH, 7, "Fri, 02 Jan 2026 03:05:05 GMT"}, {WEBPUSH, 7, "120"},
        {ACCOUNT, 0,
            "{\"type\":\"service_account\",\"project_id\":\"p\",\"private_key_id\":\"k\",\"client_"
            "email\":\"a@b\",\"token_uri\":\"https://c/d\",\"private_key\":\"x\"}"},
        {KEY, 0, "yfWPiYE-n46HLnH0KqZOF1fJJU3MYrct3AELtAQ-oRw"},
        {KEY, 2, "nWGxne/9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A="},
        {WEBHOOK, 0, "msg_1\n1767323045\nv1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE= v1a,AAAA"},
        {MAIL, 0,
            "ann@example.com\nAnn \"x\"\nA subject \xe2\x99\xa5 that is "
            "long\ntext\nhttps://a/b\nid.1"},
        {MAILSERVER, 12, "550-5.1.1 no such\r\n550 5.1.1 user\r\n"},
        {MAILSERVER, 1, "250 2.0.0 Ok"}, {PUSH, 0, "00ff\nTitle\nbody\n{\"a\":1}\nkey\nsound"}};
    struct buf b = {0};
    for (size_t i = 0; i < sizeof SEEDS / sizeof *SEEDS; i++) {
        buf_reset(&b);
        buf_char(&b, (char)SEEDS[i].what);
        buf_char(&b, (char)SEEDS[i].status);
        buf_str(&b, SEEDS[i].text);
        give(arg, buf_view(&b));
    }
    buf_done(&b);
}

/* The next line of the input; the last part takes what is left. */
static struct bytes part(struct bytes *in, bool last) {
    const uint8_t *lf = in->n && !last ? memchr(in->p, '\n', in->n) : NULL;
    size_t n = lf ? (size_t)(lf - in->p) : in->n;
    struct bytes v = bytes_of(in->p, n);
    *in = lf ? bytes_of(lf + 1, in->n - n - 1) : (struct bytes){0};
    return v;
}

static bool ascii(const char *s) {
    for (; *s; s++)
        if (*s < ' ' || *s > '~') return false;
    return true;
}

static void answer(int what, uint8_t status, struct bytes in) {
    static const int STATUSES[] = {0, 200, 201, 400, 403, 410, 404, 429, 503, 401};
    static const int REPLIES[] = {0, 250, 421, 451, 550, 553, 554, 535, 354, 999};
    bool mail_server = what == MAILSERVER;
    struct outward_answer a = {.status = mail_server ? REPLIES[status % 10] : STATUSES[status % 10],
        .body = in,
        .apns_id = in};
    struct outward_decision d = {0};
    if (what == WEBPUSH) a.retry_after = in;
    if (what == APNS) apns_answer(kept()->apns, &a, NOW_MS, &d);
    else if (what == FCM) fcm_answer(kept()->fcm, &a, NOW_MS, &d);
    else if (what == FCM_TOKEN) fcm_token_answer(kept()->fcm, &a, NOW_MS, &d);
    else if (mail_server) mail_answer(&a, (enum mail_step)(status / 10 % 4), &d);
    else webpush_answer(&a, NOW_MS, &d);
    check(d.verdict <= OUTWARD_GIVE_UP && ascii(d.reason) && ascii(d.id));
    check(memchr(d.reason, 0, sizeof d.reason) && memchr(d.id, 0, sizeof d.id));
    check(d.retry_after_ms >= 0 && d.retry_after_ms <= 86400000 && d.gone_since_ms >= 0);
    check((a.status / 100 == 2) >= (d.verdict == OUTWARD_DELIVERED));
}

static void key(uint8_t kind, struct bytes in) {
    struct outward_key *k = NULL;
    struct buf out = {0};
    const char *why = NULL;
    enum err e = outward_key_read((enum outward_key_kind)(kind % 3), in, &k, &why);
    check((e == OK) == (k != NULL) && (e == OK) == !why);
    if (k) outward_key_public(k, &out);
    if (k) outward_key_sign(k, in, &out);
    outward_key_free(&k);
    k = outward_key_from_public((enum outward_key_kind)(kind % 3), in);
    if (k) check(!outward_key_verify(k, BYTES("x"), in));
    outward_key_free(&k);
    buf_done(&out);
}

static void webhook(struct bytes in) {
    static const struct bytes SECRETS[] = {
        {(const uint8_t *)"whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", 38},
        {(const uint8_t *)"whpk_11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=", 49}};
    struct webhook_headers h;
    h.id = part(&in, false);
    h.timestamp = part(&in, false);
    h.signature = part(&in, true);
    check(webhook_verify(SECRETS, 2, &h, BYTES("not what was signed"), NOW_MS) != OK);
    struct webhook_signer s = {&h.signature, 1, NULL};
    struct buf head = {0};
    if (webhook_sign(&s, h.id, NOW_MS, h.timestamp, &head) == OK) check(head.n > 0);
    else check(head.n == 0);
    buf_done(&head);
}

/* Every line of the head begins with one of our headers, or with a blank. */
static void head_check(struct bytes m) {
    static const char *const OURS[] = {
        "From: ", "To: ", "Reply-To: ", "Subject: ", "Date: ", "Message-ID: ", "In-Reply-To: ",
        "References: ", "List-Id: ", "List-Unsubscribe: ", "List-Unsubscribe-Post: ",
        "Auto-Submitted: ", "MIME-Version: ", "Content-Type: ", "Content-Transfer-Encoding: ", " "};
    while (!bytes_starts(m, "\r\n")) {
        const uint8_t *lf = memmem(m.p, m.n, "\r\n", 2);
        bool ours = false;
        check(lf && (size_t)(lf - m.p) <= 998);
        for (size_t i = 0; i < sizeof OURS / sizeof *OURS; i++) ours |= bytes_starts(m, OURS[i]);
        check(ours);
        m = bytes_of(lf + 2, m.n - (size_t)(lf + 2 - m.p));
    }
}

static void mail(uint8_t how, struct bytes in) {
    struct buf out = {0}, signature = {0};
    const char *why = NULL;
    struct mail m = {.from = BYTES("a@example.com"), .id = BYTES("id")};
    m.to = part(&in, false);
    m.from_name = m.to_name = part(&in, false);
    m.subject = part(&in, false);
    m.text = part(&in, false);
    m.unsubscribe_url = part(&in, false);
    if (how & 1) m.id = m.thread = part(&in, false);
    if (how & 2) m.unsubscribe_address = m.reply_to = m.to;
    if (how & 4) m.html = part(&in, true);
    enum err e = mail_write(&m, NOW_MS, &out, &why);
    check((e == OK) == !why && (e == OK) == (out.n > 0));
    if (e == OK) {
        struct dkim d = {kept()->ed25519, BYTES("example.com"), BYTES("k")};
        head_check(buf_view(&out));
        for (size_t i = 0; i < out.n; i++) check(out.p[i] < 0x7f);
        check(dkim_sign(&d, buf_view(&out), NOW_MS, &signature) == OK);
    }
    buf_reset(&signature);
    struct dkim any = {kept()->ed25519, m.to, m.subject};
    if (dkim_sign(&any, in, NOW_MS, &signature) != OK) check(!signature.n);
    buf_done(&out);
    buf_done(&signature);
}

static void push(struct bytes in) {
    struct push_message m = {.badge = (int64_t)in.n - 4, .high = in.n & 1, .silent = in.n & 2};
    struct outward_request q = {0};
    struct json_reader *r = json_reader_create();
    struct json v;
    m.token = part(&in, false);
    m.title = part(&in, false);
    m.body = part(&in, false);
    m.data = part(&in, false);
    m.collapse_key = part(&in, false);
    m.sound = m.thread = m.category = m.image = part(&in, true);
    if (apns_request(kept()->apns, &m, NOW_MS, &q) == OK)
        check(json_parse(r, buf_view(&q.body), &v) == OK && q.body.n <= APNS_PAYLOAD_MAX);
    outward_request_reset(&q);
    if (fcm_request(kept()->fcm, &m, NOW_MS, &q) == OK)
        check(json_parse(r, buf_view(&q.body), &v) == OK);
    outward_request_reset(&q);
    struct webpush_message w = {.endpoint = m.title,
        .p256dh = m.body,
        .auth = m.data,
        .payload = m.sound,
        .topic = m.collapse_key};
    if (webpush_request(kept()->webpush, &w, NOW_MS, &q) != OK) check(!q.head.n && !q.body.n);
    outward_request_done(&q);
    json_reader_free(&r);
}

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n) {
    if (n < 2) return 0;
    struct bytes in = bytes_of(p + 2, n - 2);
    struct fcm *f;
    const char *why = NULL;
    switch (p[0] % KINDS) {
    case ACCOUNT:
        f = fcm_create(in, &why);
        check(!f == (why != NULL));
        fcm_free(&f);
        break;
    case KEY: key(p[1], in); break;
    case WEBHOOK: webhook(in); break;
    case MAIL: mail(p[1], in); break;
    case PUSH: push(in); break;
    default: answer(p[0] % KINDS, p[1], in);
    }
    return 0;
}
