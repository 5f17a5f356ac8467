/* send: the providers that the owner names, from one JSON file.
 *
 *   {"providers": [{"name": "apple", "channel": "apns", "key_file": "AuthKey.p8", ...}, ...]}
 *
 * In order of preference within a channel. Web Push and webhooks need no account of anybody: when the
 * file has none of them, there is one by keys of our own. Files are named from the folder of the file.
 * SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "send/send_in.h"

/* Of all channels; those of one follow. */
enum {
    F_NAME,
    F_CHANNEL,
    F_APP,
    F_RATE,
    F_CONCURRENCY,
    F_TIMEOUT,
    F_BASE_URL,
    F_CA_FILE,
    F_ALLOW_PRIVATE,
    F_KEY_FILE,
    F_SUBJECT,
    F_KEY_ID,
    F_TEAM_ID,
    F_TOPIC,
    F_SANDBOX,
    F_ACCOUNT_FILE,
    F_ACCOUNT,
    F_HOST,
    F_PORT,
    F_TLS,
    F_USER,
    F_PASSWORD,
    F_PASSWORD_FILE,
    F_FROM,
    F_FROM_NAME,
    F_REPLY_TO,
    F_UNSUBSCRIBE,
    F_PUBLIC_URL,
    F_DKIM,
    F_DKIM_DOMAIN,
    F_DKIM_SELECTOR,
    FIELDS
};
#define ALL 31u
#define ONLY(c) (1u << (c))
static const struct {
    struct json_field field;
    unsigned channels;
} KNOWN[FIELDS] = {
    [F_NAME] = {{"name", JSON_ID, true, false, 0}, ALL},
    [F_CHANNEL] = {{"channel", JSON_STRING, true, false, 16}, ALL},
    [F_APP] = {{"app", JSON_ID, false, false, 0}, ALL},
    [F_RATE] = {{"rate_per_second", JSON_ANY, false, false, 32}, ALL},
    [F_CONCURRENCY] = {{"concurrency", JSON_I64, false, false, 0}, ALL},
    [F_TIMEOUT] = {{"timeout", JSON_STRING, false, false, 16}, ALL},
    [F_BASE_URL] = {{"base_url", JSON_STRING, false, false, 256}, ALL & ~ONLY(SEND_MAIL)},
    [F_CA_FILE] = {{"ca_file", JSON_STRING, false, false, 1024}, ALL},
    [F_ALLOW_PRIVATE] = {{"allow_private", JSON_BOOL, false, false, 0},
        ONLY(SEND_WEBPUSH) | ONLY(SEND_WEBHOOK)},
    [F_KEY_FILE] = {{"key_file", JSON_STRING, false, false, 1024},
        ONLY(SEND_WEBPUSH) | ONLY(SEND_APNS) | ONLY(SEND_WEBHOOK)},
    [F_SUBJECT] = {{"subject", JSON_STRING, false, false, 255}, ONLY(SEND_WEBPUSH)},
    [F_KEY_ID] = {{"key_id", JSON_STRING, false, false, 10}, ONLY(SEND_APNS)},
    [F_TEAM_ID] = {{"team_id", JSON_STRING, false, false, 10}, ONLY(SEND_APNS)},
    [F_TOPIC] = {{"topic", JSON_STRING, false, false, 255}, ONLY(SEND_APNS)},
    [F_SANDBOX] = {{"sandbox", JSON_BOOL, false, false, 0}, ONLY(SEND_APNS)},
    [F_ACCOUNT_FILE] = {{"service_account_file", JSON_STRING, false, false, 1024}, ONLY(SEND_FCM)},
    [F_ACCOUNT] = {{"service_account", JSON_OBJECT, false, false, 16384}, ONLY(SEND_FCM)},
    [F_HOST] = {{"host", JSON_STRING, false, false, 253}, ONLY(SEND_MAIL)},
    [F_PORT] = {{"port", JSON_I64, false, false, 0}, ONLY(SEND_MAIL)},
    [F_TLS] = {{"tls", JSON_STRING, false, false, 16}, ONLY(SEND_MAIL)},
    [F_USER] = {{"user", JSON_STRING, false, false, 256}, ONLY(SEND_MAIL)},
    [F_PASSWORD] = {{"password", JSON_STRING, false, false, 1024}, ONLY(SEND_MAIL)},
    [F_PASSWORD_FILE] = {{"password_file", JSON_STRING, false, false, 1024}, ONLY(SEND_MAIL)},
    [F_FROM] = {{"from", JSON_STRING, false, false, 254}, ONLY(SEND_MAIL)},
    [F_FROM_NAME] = {{"from_name", JSON_STRING, false, false, 256}, ONLY(SEND_MAIL)},
    [F_REPLY_TO] = {{"reply_to", JSON_STRING, false, false, 254}, ONLY(SEND_MAIL)},
    [F_UNSUBSCRIBE] = {{"unsubscribe_url", JSON_STRING, false, false, 1024}, ONLY(SEND_MAIL)},
    [F_PUBLIC_URL] = {{"public_url", JSON_STRING, false, false, 512}, ONLY(SEND_MAIL)},
    [F_DKIM] = {{"dkim", JSON_BOOL, false, false, 0}, ONLY(SEND_MAIL)},
    [F_DKIM_DOMAIN] = {{"dkim_domain", JSON_STRING, false, false, 253}, ONLY(SEND_MAIL)},
    [F_DKIM_SELECTOR] = {{"dkim_selector", JSON_STRING, false, false, 40}, ONLY(SEND_MAIL)},
};
enum { SUBMISSION = 587, SUBMISSIONS = 465, CONCURRENCY_MAX = 1000, PATH = 4096 };
#define TIMEOUT_MS 15000
#define MAIL_TIMEOUT_MS 60000
#define TIMEOUT_MAX_MS 300000

bool send_is_off(const char *providers) { return providers && strcmp(providers, "none") == 0; }

struct reading {
    const struct send_options *o;
    struct settings *s;
    struct buf *why;
    struct json_value v[FIELDS];
    struct provider *p; /* the one that is read */
    size_t number;
    enum err err;
};

const char *send_channel_name(enum send_channel c) {
    static const char *const NAMES[SEND_CHANNELS] = {"webpush", "apns", "fcm", "email", "webhook"};
    return NAMES[c];
}

static enum err wrong(struct reading *r, int field, const char *words) {
    buf_fmt(r->why, "%s: provider %s: %s%s%s", r->o->providers ? r->o->providers : "providers",
        r->p ? r->p->name : "?", field >= 0 ? KNOWN[field].field.name : "", field >= 0 ? ": " : "",
        words);
    return MALFORMED;
}

static bool has(const struct reading *r, int f) { return r->v[f].present; }
static const char *text_of(struct reading *r, int f, const char *otherwise) {
    return has(r, f) ? arena_cstr(&r->p->arena, json_string(r->v[f].v)) : otherwise;
}
static bool yes(const struct reading *r, int f) { return has(r, f) && json_bool(r->v[f].v); }

/* From the folder of the providers' file. What is too long is empty: no file is called so. */
static void path_of(const char *providers, const char *name, char out[PATH]) {
    const char *slash = providers && name[0] != '/' ? strrchr(providers, '/') : NULL;
    int folder = slash ? (int)(slash - providers) + 1 : 0;
    int n = snprintf(out, PATH, "%.*s%s", folder, slash ? providers : "", name);
    if (n < 0 || n >= PATH) out[0] = 0;
}

static enum err file_of(struct reading *r, int field, struct buf *out) {
    char path[PATH];
    struct buf why = {0};
    path_of(r->o->providers, text_of(r, field, ""), path);
    enum err e = text_read(path, out, &why);
    buf_char(&why, 0);
    if (e != OK) (void)wrong(r, field, (char *)why.p);
    buf_done(&why);
    return e;
}

/* A key of the owner's, or one that is made once. */
static enum err key_take(
    struct reading *r, const char *name, enum outward_key_kind kind, struct outward_key **out) {
    struct buf pem = {0};
    const char *words = NULL;
    bool made;
    if (!has(r, F_KEY_FILE)) return key_keep(r->o->data_dir, name, kind, out, &made, r->why);
    enum err e = file_of(r, F_KEY_FILE, &pem);
    if (e == OK && (e = outward_key_read(kind, buf_view(&pem), out, &words)) != OK)
        e = wrong(r, F_KEY_FILE, words ? words : "not a key of this kind");
    text_forget(&pem);
    return e;
}

/* ---- each channel ---- */
static enum err webpush_read(struct reading *r) {
    struct provider *p = r->p;
    char own[300] = "mailto:postmaster@";
    size_t n = strlen(own);
    p->concurrency = 256;
    p->carry.connections_max = 8;
    p->carry.public_only = !yes(r, F_ALLOW_PRIVATE) && !p->base_url && !r->o->dev;
    enum err e = key_take(r, "vapid", OUTWARD_P256, &p->key);
    if (e != OK) return e;
    if (gethostname(own + n, sizeof own - n - 1)) strcpy(own + n, "localhost");
    p->subject = text_of(r, F_SUBJECT, arena_cstr(&p->arena, bytes_str(own)));
    p->webpush = webpush_create(p->key, bytes_str(p->subject));
    return p->webpush ? OK : wrong(r, F_SUBJECT, "neither mailto: nor an https URL");
}

static enum err apns_read(struct reading *r) {
    struct provider *p = r->p;
    static const int NEEDED[] = {F_KEY_FILE, F_KEY_ID, F_TEAM_ID, F_TOPIC};
    for (size_t i = 0; i < sizeof NEEDED / sizeof *NEEDED; i++)
        if (!has(r, NEEDED[i])) return wrong(r, NEEDED[i], "is missing");
    p->concurrency = 500; /* streams; Apple allows a thousand on a connection */
    p->carry.connections_max = 4;
    enum err e = key_take(r, NULL, OUTWARD_P256, &p->key);
    if (e != OK) return e;
    struct apns_account a = {p->key, json_string(r->v[F_KEY_ID].v), json_string(r->v[F_TEAM_ID].v),
        json_string(r->v[F_TOPIC].v), yes(r, F_SANDBOX)};
    p->apns = apns_create(&a);
    return p->apns ? OK : wrong(r, F_KEY_ID, "key_id, team_id or topic is not as it must be");
}

static enum err fcm_read(struct reading *r) {
    struct provider *p = r->p;
    struct buf account = {0};
    const char *words = NULL;
    enum err e = OK;
    p->concurrency = 500;
    p->carry.connections_max = 4;
    if (has(r, F_ACCOUNT) == has(r, F_ACCOUNT_FILE))
        return wrong(r, F_ACCOUNT_FILE, "or service_account must be given, one of the two");
    if (has(r, F_ACCOUNT)) json_raw(r->v[F_ACCOUNT].v, &account);
    else e = file_of(r, F_ACCOUNT_FILE, &account);
    if (e == OK && !(p->fcm = fcm_create(buf_view(&account), &words)))
        e = wrong(r, has(r, F_ACCOUNT) ? F_ACCOUNT : F_ACCOUNT_FILE, words);
    text_forget(&account);
    return e;
}

static enum err password_read(struct reading *r) {
    struct buf text = {0};
    r->p->carry.mail_user = text_of(r, F_USER, NULL);
    r->p->carry.mail_password = text_of(r, F_PASSWORD, NULL);
    if (has(r, F_PASSWORD_FILE)) {
        enum err e = file_of(r, F_PASSWORD_FILE, &text);
        if (e != OK) return e;
        while (text.n && text.p[text.n - 1] <= ' ') text.n--;
        r->p->carry.mail_password = arena_cstr(&r->p->arena, buf_view(&text));
        text_forget(&text);
    }
    if (!r->p->carry.mail_user == !r->p->carry.mail_password) return OK;
    return wrong(r, F_USER, "user and password (or password_file) belong together");
}

static enum err dkim_read(struct reading *r) {
    struct provider *p = r->p;
    const char *at = strrchr(p->from, '@');
    bool made;
    p->dkim_domain = text_of(r, F_DKIM_DOMAIN, at + 1);
    p->dkim_selector = text_of(r, F_DKIM_SELECTOR, "kith");
    if (has(r, F_DKIM) && !yes(r, F_DKIM)) return OK;
    enum err e = key_keep(r->o->data_dir, "dkim-rsa", OUTWARD_RSA, &p->dkim_rsa, &made, r->why);
    if (e == OK)
        e = key_keep(
            r->o->data_dir, "dkim-ed25519", OUTWARD_ED25519, &p->dkim_ed25519, &made, r->why);
    return e;
}

static bool host_fits(const char *v) {
    for (const char *c = v; *c; c++)
        if (!((*c >= 'a' && *c <= 'z') || (*c >= 'A' && *c <= 'Z') || (*c >= '0' && *c <= '9') ||
                strchr(".-:[]", *c)))
            return false;
    return *v != 0;
}

/* Where one click unsubscribes: the owner's own page, or ours. */
static enum err links_read(struct reading *r) {
    struct provider *p = r->p;
    struct bytes url = has(r, F_PUBLIC_URL) ? json_string(r->v[F_PUBLIC_URL].v) : (struct bytes){0},
                 origin;
    p->unsubscribe = text_of(r, F_UNSUBSCRIBE, NULL);
    if (p->unsubscribe && strncmp(p->unsubscribe, "https://", 8) != 0)
        return wrong(r, F_UNSUBSCRIBE, "must be an https URL");
    if (!has(r, F_PUBLIC_URL)) return OK;
    if (!outward_url(url, &origin) || memchr(url.p, '?', url.n) || memchr(url.p, '#', url.n))
        return wrong(r, F_PUBLIC_URL, "must be an https URL, with no more than a path");
    while (url.n && url.p[url.n - 1] == '/') url.n--;
    p->public_url = arena_cstr(&p->arena, url);
    struct buf *key = &r->s->unsubscribe_key;
    enum err e = key->n ? OK : unsubscribe_key_keep(r->o->data_dir, true, key, r->why);
    p->unsubscribe_key = arena_copy(&p->arena, buf_view(key));
    return e;
}

static enum err mail_read(struct reading *r) {
    static const char *const TLS[] = {"starttls", "tls", "none"};
    struct provider *p = r->p;
    const char *host = text_of(r, F_HOST, ""), *tls = text_of(r, F_TLS, TLS[0]);
    char url[600];
    unsigned k = 0;
    while (k < 3 && strcmp(tls, TLS[k]) != 0) k++;
    if (k == 3) return wrong(r, F_TLS, "is starttls, tls or none");
    p->carry.mail_tls = k == 0 ? MAIL_STARTTLS : k == 1 ? MAIL_TLS : MAIL_PLAIN;
    int64_t port = has(r, F_PORT) ? json_i64(r->v[F_PORT].v) : k == 1 ? SUBMISSIONS : SUBMISSION;
    if (!host_fits(host)) return wrong(r, F_HOST, "must be the name of a mail server");
    if (port < 1 || port > 65535) return wrong(r, F_PORT, "is no port");
    p->from = text_of(r, F_FROM, "");
    p->from_name = text_of(r, F_FROM_NAME, "");
    p->reply_to = text_of(r, F_REPLY_TO, "");
    if (!mail_address_valid(bytes_str(p->from))) return wrong(r, F_FROM, "must be a mail address");
    if (p->reply_to[0] && !mail_address_valid(bytes_str(p->reply_to)))
        return wrong(r, F_REPLY_TO, "is no mail address");
    p->concurrency = 4; /* connections, each with one mail after the other */
    p->carry.connections_max = CONCURRENCY_MAX;
    snprintf(url, sizeof url, "%s://%s:%d/%s", k == 1 ? "smtps" : "smtp", host, (int)port,
        strrchr(p->from, '@') + 1);
    p->smtp_url = arena_cstr(&p->arena, bytes_str(url));
    enum err e = links_read(r);
    if (e == OK) e = password_read(r);
    return e == OK ? dkim_read(r) : e;
}

static enum err webhook_read(struct reading *r) {
    struct provider *p = r->p;
    p->concurrency = 128;
    p->carry.connections_max = 8;
    p->carry.public_only = !yes(r, F_ALLOW_PRIVATE) && !p->base_url && !r->o->dev;
    return key_take(r, "webhook", OUTWARD_ED25519, &p->key);
}

/* ---- what all have ---- */
static enum err ca_read(struct reading *r) {
    struct buf pem = {0};
    if (!has(r, F_CA_FILE)) return OK;
    enum err e = file_of(r, F_CA_FILE, &pem);
    if (e == OK && !memmem(pem.p, pem.n, "-----BEGIN CERTIFICATE-----", 27))
        e = wrong(r, F_CA_FILE, "holds no certificate");
    r->p->carry.ca = arena_copy(&r->p->arena, buf_view(&pem));
    buf_done(&pem);
    return e;
}

static enum err limits_read(struct reading *r) {
    struct provider *p = r->p;
    struct json v = r->v[F_RATE].v;
    if (has(r, F_RATE)) {
        enum json_kind k = json_kind_of(v);
        p->rate_per_second = k == JSON_I64 ? (double)json_i64(v) : k == JSON_F64 ? json_f64(v) : 0;
        if (!(p->rate_per_second > 0)) return wrong(r, F_RATE, "must be a number above 0");
    }
    if (has(r, F_TIMEOUT)) {
        int64_t *ms = &p->carry.timeout_ms;
        if (duration_parse(json_string(r->v[F_TIMEOUT].v), ms) != OK || *ms < 1000 ||
            *ms > TIMEOUT_MAX_MS)
            return wrong(r, F_TIMEOUT, "is a duration from 1s to 5m");
    }
    if (!has(r, F_BASE_URL)) return OK;
    const char *url = text_of(r, F_BASE_URL, "");
    size_t n = origin_of(bytes_str(url)).n;
    bool https = strncmp(url, "https://", 8) == 0, http = strncmp(url, "http://", 7) == 0;
    if ((!https && !http) || (url[n] && strcmp(url + n, "/") != 0) || strpbrk(url, "@ \"\\"))
        return wrong(r, F_BASE_URL, "is a scheme, a host and perhaps a port: https://host:8443");
    p->base_url = arena_cstr(&p->arena, bytes_of(url, n));
    return OK;
}

static enum err concurrency_read(struct reading *r) {
    if (!has(r, F_CONCURRENCY)) return OK;
    int64_t n = json_i64(r->v[F_CONCURRENCY].v);
    if (n < 1 || n > CONCURRENCY_MAX) return wrong(r, F_CONCURRENCY, "is from 1 to 1000");
    r->p->concurrency = (unsigned)n;
    return OK;
}

static void provider_free(struct provider **pp) {
    struct provider *p = *pp;
    if (!p) return;
    webpush_free(&p->webpush);
    apns_free(&p->apns);
    fcm_free(&p->fcm);
    outward_key_free(&p->key);
    outward_key_free(&p->dkim_rsa);
    outward_key_free(&p->dkim_ed25519);
    arena_done(&p->arena);
    free(p);
    *pp = NULL;
}

static enum err provider_begin(struct reading *r, enum send_channel c, const char *name) {
    static enum err (*const READ[SEND_CHANNELS])(struct reading *) = {
        webpush_read, apns_read, fcm_read, mail_read, webhook_read};
    struct provider *p = r->p = must_alloc(sizeof *p);
    size_t same = 0;
    r->s->list[r->s->n++] = p;
    p->channel = c;
    p->name = arena_cstr(&p->arena, bytes_str(name));
    p->app = text_of(r, F_APP, "");
    p->carry.timeout_ms = c == SEND_MAIL ? MAIL_TIMEOUT_MS : TIMEOUT_MS;
    for (size_t i = 0; i + 1 < r->s->n; i++) {
        same += r->s->list[i]->channel == c;
        if (strcmp(r->s->list[i]->name, name) == 0)
            return wrong(r, F_NAME, "there are two of this name");
    }
    if (same >= SEND_PROVIDERS_MAX) return wrong(r, F_CHANNEL, "has too many providers");
    for (int f = 0; f < FIELDS; f++)
        if (has(r, f) && !(KNOWN[f].channels & ONLY(c)))
            return wrong(r, f, "is no field of this channel");
    enum err e = limits_read(r);
    if (e == OK) e = ca_read(r);
    if (e == OK) e = READ[c](r);
    return e == OK ? concurrency_read(r) : e;
}

static bool provider_read(void *arg, struct bytes key, struct json v) {
    struct reading *r = arg;
    struct json_fault fault = {0};
    struct json_field fields[FIELDS];
    char name[SEND_NAME_MAX + 1];
    (void)key;
    r->number++;
    r->p = NULL;
    for (int i = 0; i < FIELDS; i++) fields[i] = KNOWN[i].field;
    if (json_kind_of(v) != JSON_OBJECT || json_read_object(v, fields, FIELDS, r->v, &fault) != OK) {
        buf_fmt(r->why, "%s: provider %zu: %s%s%s", r->o->providers, r->number, fault.field,
            fault.field[0] ? ": " : "", fault.words[0] ? fault.words : "not an object");
        r->err = MALFORMED;
        return false;
    }
    struct bytes n = json_string(r->v[F_NAME].v), channel = json_string(r->v[F_CHANNEL].v);
    snprintf(name, sizeof name, "%.*s", (int)n.n, (const char *)n.p);
    unsigned c = 0;
    while (c < SEND_CHANNELS && !bytes_is(channel, send_channel_name(c))) c++;
    if (c == SEND_CHANNELS || r->s->n == SEND_CHANNELS * SEND_PROVIDERS_MAX) {
        buf_fmt(r->why, "%s: provider %s: channel: is webpush, apns, fcm, email or webhook",
            r->o->providers, name);
        r->err = MALFORMED;
        return false;
    }
    r->err = provider_begin(r, c, name);
    return r->err == OK;
}

static enum err file_read(struct reading *r, struct json_reader *reader) {
    struct buf text = {0};
    struct json v, list;
    enum err e = text_read(r->o->providers, &text, r->why);
    if (e == OK && (json_parse(reader, buf_view(&text), &v) != OK ||
                       json_kind_of(v) != JSON_OBJECT || json_count(v) != 1 ||
                       !json_get(v, "providers", &list) || json_kind_of(list) != JSON_ARRAY)) {
        buf_fmt(r->why, "%s is not {\"providers\": [...]}", r->o->providers);
        e = MALFORMED;
    }
    if (e == OK) json_each(list, provider_read, r);
    text_forget(&text);
    return e == OK ? r->err : e;
}

/* Web Push and webhooks, when the file does not speak of them. */
static enum err defaults_add(struct reading *r) {
    static const enum send_channel FREE[] = {SEND_WEBPUSH, SEND_WEBHOOK};
    enum err e = OK;
    memset(r->v, 0, sizeof r->v);
    for (size_t k = 0; k < 2 && e == OK; k++) {
        bool there = false;
        for (size_t i = 0; i < r->s->n; i++) there |= r->s->list[i]->channel == FREE[k];
        if (!there) e = provider_begin(r, FREE[k], send_channel_name(FREE[k]));
    }
    return e;
}

enum err settings_read(const struct send_options *o, struct settings *out, struct buf *why) {
    struct reading r = {.o = o, .s = out, .why = why};
    enum err e = unsubscribe_key_keep(o->data_dir, false, &out->unsubscribe_key, why);
    if (e != OK || send_is_off(o->providers)) return e;
    struct json_reader *reader = json_reader_create();
    e = o->providers ? file_read(&r, reader) : OK;
    if (e == OK) e = defaults_add(&r);
    json_reader_free(&reader);
    if (e != OK) settings_done(out);
    return e;
}

void settings_done(struct settings *s) {
    for (size_t i = 0; i < s->n; i++) provider_free(&s->list[i]);
    s->n = 0;
    text_forget(&s->unsubscribe_key);
}

/* ---- which files are read ---- */
struct naming {
    const char *providers;
    struct buf *out;
};
static bool file_name(void *arg, struct bytes key, struct json v) {
    static const int FILES[] = {F_CA_FILE, F_KEY_FILE, F_ACCOUNT_FILE, F_PASSWORD_FILE};
    struct naming *n = arg;
    struct json name;
    (void)key;
    for (size_t i = 0; i < sizeof FILES / sizeof *FILES; i++) {
        char text[PATH], path[PATH];
        if (json_kind_of(v) != JSON_OBJECT || !json_get(v, KNOWN[FILES[i]].field.name, &name))
            continue;
        struct bytes said = json_string(name);
        if (!said.n || said.n >= PATH) continue;
        snprintf(text, sizeof text, "%.*s", (int)said.n, (const char *)said.p);
        path_of(n->providers, text, path);
        buf_add(n->out, path, strlen(path) + 1);
    }
    return true;
}

void send_files(const char *providers, struct buf *out) {
    struct buf text = {0}, why = {0};
    struct json v, list;
    struct naming n = {providers, out};
    if (!providers || send_is_off(providers)) return;
    buf_add(out, providers, strlen(providers) + 1);
    struct json_reader *reader = json_reader_create();
    if (text_read(providers, &text, &why) == OK && json_parse(reader, buf_view(&text), &v) == OK &&
        json_kind_of(v) == JSON_OBJECT && json_get(v, "providers", &list) &&
        json_kind_of(list) == JSON_ARRAY)
        json_each(list, file_name, &n);
    json_reader_free(&reader);
    text_forget(&text);
    buf_done(&why);
}
