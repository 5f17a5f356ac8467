/* What leaves the server, asked for line by line: an object of JSON on standard input, {"act": ...},
 * is answered with one, for test/scenario/outward_test.py to hold to programs of others. Bytes are
 * base64url. Keys are made at the start. SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "outward/outward.h"
#include "wire/wire.h"

enum { SECRETS_MAX = 8 };

struct peer {
    struct outward_key *p256, *rsa, *ed25519;
    struct webpush *webpush;
    struct apns *apns;
    struct fcm *fcm;
    struct json args;
    struct arena arena;
    struct json_out out;
};

static struct bytes text(struct peer *p, const char *name) {
    struct json v;
    return json_get(p->args, name, &v) ? arena_copy(&p->arena, json_string(v)) : (struct bytes){0};
}
static struct bytes raw(struct peer *p, const char *name) {
    struct buf b = {0};
    check(base64url_decode(&b, text(p, name)) == OK);
    struct bytes v = arena_copy(&p->arena, buf_view(&b));
    buf_done(&b);
    return v;
}
static int64_t number(struct peer *p, const char *name) {
    struct json v;
    return json_get(p->args, name, &v) ? json_i64(v) : 0;
}

static void say(struct peer *p, const char *name, struct bytes v) {
    jo_key(&p->out, name);
    jo_str(&p->out, v);
}
static void say_raw(struct peer *p, const char *name, struct bytes v) {
    struct buf b = {0};
    base64url_encode(&b, v);
    say(p, name, buf_view(&b));
    buf_done(&b);
}
static void say_key(struct peer *p, const char *name, const struct outward_key *k) {
    struct buf b = {0};
    outward_key_public(k, &b);
    say_raw(p, name, buf_view(&b));
    buf_done(&b);
}

static void say_request(struct peer *p, enum err e, struct outward_request *q) {
    say(p, "err", bytes_str(err_name(e)));
    say(p, "url", buf_view(&q->url));
    say(p, "head", buf_view(&q->head));
    say_raw(p, "body", buf_view(&q->body));
    outward_request_done(q);
}

static void keys(struct peer *p) {
    struct buf b = {0};
    say_key(p, "p256", p->p256);
    say_key(p, "rsa", p->rsa);
    webhook_public(p->ed25519, &b);
    say(p, "webhook", buf_view(&b));
    buf_reset(&b);
    webhook_secret_create(&b);
    say(p, "secret", buf_view(&b));
    buf_reset(&b);
    dkim_record(p->rsa, &b);
    say(p, "dkim_rsa", buf_view(&b));
    buf_reset(&b);
    dkim_record(p->ed25519, &b);
    say(p, "dkim_ed25519", buf_view(&b));
    buf_done(&b);
}

static void push_web(struct peer *p) {
    struct outward_request q = {0};
    struct webpush_message m = {.endpoint = text(p, "endpoint"),
        .p256dh = raw(p, "p256dh"),
        .auth = raw(p, "auth"),
        .payload = text(p, "payload"),
        .pad_to = (size_t)number(p, "pad_to"),
        .ttl_s = 60};
    (void)webpush_ahead(p->webpush, (size_t)number(p, "ahead"));
    say_request(p, webpush_request(p->webpush, &m, number(p, "now"), &q), &q);
}

static struct push_message message(struct peer *p) {
    return (struct push_message){.token = text(p, "token"),
        .title = text(p, "title"),
        .body = text(p, "body"),
        .data = text(p, "data"),
        .badge = -1,
        .high = true};
}
static void push_apns(struct peer *p) {
    struct outward_request q = {0};
    struct push_message m = message(p);
    say_request(p, apns_request(p->apns, &m, number(p, "now"), &q), &q);
}
static void push_fcm(struct peer *p) {
    struct outward_request q = {0};
    struct push_message m = message(p);
    say_request(p, fcm_request(p->fcm, &m, number(p, "now"), &q), &q);
}
static void fcm_ask(struct peer *p) {
    struct outward_request q = {0};
    fcm_token_request(p->fcm, number(p, "now"), &q);
    say_request(p, OK, &q);
}

/* What a service answered, to the decision. */
static void answer(struct peer *p) {
    static const char *const VERDICTS[] = {"delivered", "drop", "retry", "renew", "give up"};
    struct bytes of = text(p, "of");
    struct outward_answer a = {.status = (int)number(p, "status"),
        .body = text(p, "body"),
        .retry_after = text(p, "retry_after"),
        .apns_id = text(p, "apns_id")};
    struct outward_decision d;
    int64_t now = number(p, "now");
    if (bytes_is(of, "apns")) apns_answer(p->apns, &a, now, &d);
    else if (bytes_is(of, "fcm")) fcm_answer(p->fcm, &a, now, &d);
    else if (bytes_is(of, "fcm_token")) fcm_token_answer(p->fcm, &a, now, &d);
    else webpush_answer(&a, now, &d);
    say(p, "verdict", bytes_str(VERDICTS[d.verdict]));
    say(p, "reason", bytes_str(d.reason));
    say(p, "id", bytes_str(d.id));
    jo_key(&p->out, "retry_after_ms");
    jo_i64(&p->out, d.retry_after_ms);
}

struct secrets {
    struct bytes list[SECRETS_MAX];
    size_t n;
    struct arena *arena;
};
static bool secret_take(void *arg, struct bytes key, struct json v) {
    struct secrets *s = arg;
    (void)key;
    s->list[s->n++] = arena_copy(s->arena, json_string(v));
    return s->n < SECRETS_MAX;
}
static struct secrets secrets(struct peer *p) {
    struct secrets s = {.arena = &p->arena};
    struct json v;
    if (json_get(p->args, "secrets", &v)) json_each(v, secret_take, &s);
    return s;
}

static void hook_sign(struct peer *p) {
    struct secrets s = secrets(p);
    struct webhook_signer by = {s.list, s.n, p->ed25519};
    struct buf head = {0};
    enum err e = webhook_sign(&by, text(p, "id"), number(p, "now"), text(p, "body"), &head);
    say(p, "err", bytes_str(err_name(e)));
    say(p, "head", buf_view(&head));
    buf_done(&head);
}
static void hook_verify(struct peer *p) {
    struct secrets s = secrets(p);
    struct webhook_headers h = {text(p, "id"), text(p, "timestamp"), text(p, "signature")};
    say(p, "err",
        bytes_str(err_name(webhook_verify(s.list, s.n, &h, text(p, "body"), number(p, "now")))));
}

static void letter(struct peer *p) {
    struct mail m = {.from_name = text(p, "from_name"),
        .from = text(p, "from"),
        .to_name = text(p, "to_name"),
        .to = text(p, "to"),
        .subject = text(p, "subject"),
        .text = text(p, "text"),
        .html = text(p, "html"),
        .id = text(p, "id"),
        .unsubscribe_url = text(p, "unsubscribe_url"),
        .unsubscribe_address = text(p, "unsubscribe_address")};
    struct dkim rsa = {p->rsa, BYTES("example.com"), BYTES("r1")},
                ed25519 = {p->ed25519, BYTES("example.com"), BYTES("e1")};
    struct buf out = {0}, signed_by = {0};
    const char *why = NULL;
    enum err e = mail_write(&m, number(p, "now"), &out, &why);
    if (e == OK) e = dkim_sign(&rsa, buf_view(&out), number(p, "now"), &signed_by);
    if (e == OK) e = dkim_sign(&ed25519, buf_view(&out), number(p, "now"), &signed_by);
    buf_bytes(&signed_by, buf_view(&out));
    say(p, "err", bytes_str(err_name(e)));
    say(p, "why", bytes_str(why));
    say_raw(p, "message", buf_view(&signed_by));
    buf_done(&out);
    buf_done(&signed_by);
}

static const struct {
    const char *name;
    void (*fn)(struct peer *p);
} ACTS[] = {{"keys", keys}, {"webpush", push_web}, {"apns", push_apns}, {"fcm", push_fcm},
    {"fcm_token", fcm_ask}, {"answer", answer}, {"sign", hook_sign}, {"verify", hook_verify},
    {"mail", letter}};

static void begin(struct peer *p) {
    struct buf pem = {0}, json = {0};
    p->p256 = outward_key_create(OUTWARD_P256);
    p->rsa = outward_key_create(OUTWARD_RSA);
    p->ed25519 = outward_key_create(OUTWARD_ED25519);
    p->webpush = webpush_create(p->p256, BYTES("mailto:ops@example.com"));
    struct apns_account account = {
        p->p256, BYTES("ABC123DEFG"), BYTES("DEF123GHIJ"), BYTES("com.example.app"), false};
    p->apns = apns_create(&account);
    outward_key_write(p->rsa, &pem);
    buf_str(&json, "{\"type\":\"service_account\",\"project_id\":\"my-app\",\"private_key_id\":"
                   "\"k1\",\"client_email\":\"push@my-app.example\",\"token_uri\":"
                   "\"https://oauth2.googleapis.com/token\",\"private_key\":");
    json_str(&json, buf_view(&pem));
    buf_char(&json, '}');
    p->fcm = fcm_create(buf_view(&json), NULL);
    check(p->webpush && p->apns && p->fcm);
    buf_done(&pem);
    buf_done(&json);
}

static void end(struct peer *p) {
    fcm_free(&p->fcm);
    apns_free(&p->apns);
    webpush_free(&p->webpush);
    outward_key_free(&p->p256);
    outward_key_free(&p->rsa);
    outward_key_free(&p->ed25519);
    arena_done(&p->arena);
}

int main(void) {
    struct peer p = {0};
    struct json_reader *r = json_reader_create();
    char *line = NULL;
    size_t room = 0;
    begin(&p);
    for (ssize_t n; (n = getline(&line, &room, stdin)) > 0;) {
        struct buf out = {0};
        check(json_parse(r, bytes_of(line, (size_t)n), &p.args) == OK);
        struct bytes act = text(&p, "act");
        p.out = (struct json_out){.b = &out};
        jo_open_obj(&p.out);
        for (size_t i = 0; i < sizeof ACTS / sizeof *ACTS; i++)
            if (bytes_is(act, ACTS[i].name)) ACTS[i].fn(&p);
        jo_close_obj(&p.out);
        printf("%.*s\n", (int)out.n, (const char *)out.p);
        fflush(stdout);
        buf_done(&out);
        arena_reset(&p.arena);
    }
    free(line);
    end(&p);
    json_reader_free(&r);
    return 0;
}
