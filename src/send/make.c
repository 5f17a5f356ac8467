/* send: what a provider is asked for a task, by the formats of src/outward, and what its answer means,
 * above all whether it failed for a reason of its own. SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <string.h>

#include "send/send_in.h"

#define DAY_MS (24 * 3600 * 1000ll)
enum { PAD = 256, UUID = 36, SCHEME_MAX = 8 };

struct bytes origin_of(struct bytes url) {
    const uint8_t *colon =
        url.n ? memchr(url.p, ':', url.n < SCHEME_MAX ? url.n : SCHEME_MAX) : NULL;
    size_t n = colon ? (size_t)(colon - url.p) + 3 : 0;
    while (n < url.n && !strchr("/?#", url.p[n])) n++;
    return bytes_of(url.p, n < url.n ? n : url.n);
}

/* The owner's stand-in (a proxy, a test) for the service's own scheme, host and port. */
static void base_put(const struct provider *p, struct buf *url) {
    struct buf out = {0};
    if (!p->base_url) return;
    size_t n = origin_of(buf_view(url)).n;
    buf_str(&out, p->base_url);
    buf_add(&out, url->p + n, url->n - n);
    buf_done(url);
    *url = out;
}

static int64_t expires_of(const struct send_task *t, int64_t now_ms) {
    return t->expires_ms ? t->expires_ms : now_ms + DAY_MS;
}

/* ---- Web Push ---- */
static void text_put(struct json_out *o, const char *key, struct bytes v) {
    if (!v.n) return;
    jo_key(o, key);
    jo_str_any(o, v);
}

/* What a page's service worker gets. */
static void payload_put(const struct send_task *t, struct bytes body, struct buf *out) {
    struct json_out o = {.b = out};
    jo_open_obj(&o);
    text_put(&o, "id", t->message_id);
    text_put(&o, "title", t->title);
    text_put(&o, "body", body);
    text_put(&o, "image", t->image);
    text_put(&o, "thread", t->thread);
    if (t->badge >= 0) {
        jo_key(&o, "badge");
        jo_i64(&o, t->badge);
    }
    if (t->data.n) {
        jo_key(&o, "data");
        jo_raw(&o, t->data);
    }
    jo_close_obj(&o);
}

/* The text cut at a character until all fits. */
static struct bytes payload_fit(const struct send_task *t, struct buf *out) {
    struct bytes body = t->body;
    struct buf cut = {0};
    if (t->payload.n) return t->payload;
    for (payload_put(t, body, out); out->n > WEBPUSH_PAYLOAD_MAX && body.n;
         payload_put(t, body, out)) {
        static const char ELLIPSIS[] = "\u2026";
        size_t over = out->n - WEBPUSH_PAYLOAD_MAX + sizeof ELLIPSIS,
               n = t->body.n > over + (t->body.n - body.n) ? body.n - over : 0;
        while (n && (body.p[n] & 0xc0) == 0x80) n--;
        buf_reset(&cut);
        buf_add(&cut, t->body.p, n);
        if (n) buf_str(&cut, ELLIPSIS);
        body = buf_view(&cut);
        buf_reset(out);
    }
    buf_done(&cut);
    return buf_view(out);
}

static enum err webpush_make(
    struct provider *p, struct flight *f, int64_t now_ms, const char **why) {
    const struct send_task *t = f->task;
    struct buf room = {0};
    struct bytes payload = payload_fit(t, &room);
    int64_t ttl = (expires_of(t, now_ms) - now_ms) / 1000;
    size_t pad = (payload.n + PAD) / PAD * PAD;
    struct webpush_message m = {.endpoint = t->endpoint,
        .p256dh = t->p256dh,
        .auth = t->auth,
        .payload = payload,
        .pad_to = pad < WEBPUSH_PAYLOAD_MAX ? pad : WEBPUSH_PAYLOAD_MAX,
        .ttl_s = (uint32_t)(ttl > 28 * DAY_MS / 1000 ? 28 * DAY_MS / 1000 : ttl),
        .urgency = t->high  ? BYTES("high")
                   : t->low ? BYTES("low")
                            : BYTES("normal"),
        .topic = t->collapse_key};
    enum err e = webpush_request(p->webpush, &m, now_ms, &f->q);
    buf_done(&room);
    if (e == LIMIT) *why = "too long for Web Push";
    if (e == MALFORMED) *why = "the subscription's endpoint or keys are not as they must be";
    return e;
}

/* ---- APNs, FCM ---- */
static struct push_message push_of(const struct send_task *t, int64_t now_ms) {
    bool uuid = t->message_id.n == UUID && t->message_id.p[8] == '-' && t->message_id.p[13] == '-';
    return (struct push_message){.token = t->token,
        .title = t->title,
        .body = t->body,
        .sound = t->sound,
        .thread = t->thread,
        .category = t->category,
        .image = t->image,
        .id = uuid ? t->message_id : (struct bytes){0},
        .collapse_key = t->collapse_key,
        .data = t->data,
        .badge = t->badge,
        .expires_ms = expires_of(t, now_ms),
        .shows = t->message_id,
        .high = !t->low, /* people wait for what is shown to them; `high` is said to quiet hours */
        .silent = t->silent};
}

static enum err push_make(struct provider *p, struct flight *f, int64_t now_ms, const char **why) {
    struct push_message m = push_of(f->task, now_ms);
    enum err e = p->channel == SEND_APNS ? apns_request(p->apns, &m, now_ms, &f->q)
                                         : fcm_request(p->fcm, &m, now_ms, &f->q);
    if (e == LIMIT) *why = "too long for a push";
    if (e == MALFORMED) *why = "the device's token, a text or the data are not as they must be";
    return e;
}

/* ---- mail ---- */
static enum err signed_put(const struct provider *p, const struct outward_key *k,
    const char *suffix, struct bytes mail, int64_t now_ms, struct buf *out) {
    struct buf selector = {0};
    if (!k) return OK;
    buf_str(&selector, p->dkim_selector);
    buf_str(&selector, suffix);
    struct dkim by = {k, bytes_str(p->dkim_domain), buf_view(&selector)};
    enum err e = dkim_sign(&by, mail, now_ms, out);
    buf_done(&selector);
    return e;
}

/* Our own page, where a token says for whom and of what. */
static void link_put(const struct provider *p, const struct send_task *t, struct buf *out) {
    struct unsubscribe u = {t->app, t->user, t->workflow};
    if (!p->public_url || !t->app.n || !t->user.n || !t->workflow.n) return;
    buf_str(out, p->public_url);
    buf_str(out, "/v1/unsubscribe/");
    unsubscribe_token(p->unsubscribe_key, &u, out);
}

/* The owner's page where one click ends it: "https://app.example/u?user={user}&workflow={workflow}".
 * Ids need no escape in a URL. */
static void unsubscribe_put(const struct provider *p, const struct send_task *t, struct buf *out) {
    const struct {
        const char *name;
        struct bytes value;
    } PARTS[] = {{"{app}", t->app}, {"{user}", t->user}, {"{workflow}", t->workflow}};
    if (t->unsubscribe_url.n || !p->unsubscribe) {
        buf_bytes(out, t->unsubscribe_url);
        if (!t->unsubscribe_url.n) link_put(p, t, out);
        return;
    }
    for (const char *c = p->unsubscribe; *c;) {
        size_t k = 0;
        while (k < 3 && strncmp(c, PARTS[k].name, strlen(PARTS[k].name)) != 0) k++;
        if (k == 3) buf_char(out, *c++);
        else {
            buf_bytes(out, PARTS[k].value);
            c += strlen(PARTS[k].name);
        }
    }
}

static enum err mail_make(struct provider *p, struct flight *f, int64_t now_ms, const char **why) {
    const struct send_task *t = f->task;
    struct buf text = {0}, unsubscribe = {0};
    unsubscribe_put(p, t, &unsubscribe);
    struct mail m = {.from_name = bytes_str(p->from_name),
        .from = bytes_str(p->from),
        .to_name = t->address_name,
        .to = t->address,
        .reply_to = bytes_str(p->reply_to),
        .subject = t->title,
        .text = t->body,
        .html = t->html,
        .id = t->message_id,
        .unsubscribe_url = buf_view(&unsubscribe),
        .list_id = t->list_id};
    enum err e = mail_write(&m, now_ms, &text, why);
    if (e == OK)
        e = signed_put(p, p->dkim_rsa, DKIM_RSA_SUFFIX, buf_view(&text), now_ms, &f->q.body);
    if (e == OK)
        e = signed_put(
            p, p->dkim_ed25519, DKIM_ED25519_SUFFIX, buf_view(&text), now_ms, &f->q.body);
    if (e == OK) {
        buf_bytes(&f->q.body, buf_view(&text));
        buf_str(&f->q.url, p->smtp_url);
        buf_bytes(&f->q.head, t->address);
        buf_char(&f->q.head, 0);
        f->x.mail_from = p->from;
        f->x.mail_to = (const char *)f->q.head.p;
    }
    buf_done(&unsubscribe);
    buf_done(&text);
    return e;
}

/* ---- webhooks ---- */
/* https; or where private addresses are allowed http as well, for what runs beside this server. */
static bool webhook_url_good(const struct provider *p, struct bytes url) {
    struct bytes origin;
    struct buf https = {0};
    if (p->carry.public_only || !bytes_starts(url, "http://")) return outward_url(url, &origin);
    buf_str(&https, "https");
    buf_add(&https, url.p + 4, url.n - 4);
    bool good = outward_url(buf_view(&https), &origin);
    buf_done(&https);
    return good;
}

static enum err webhook_make(
    struct provider *p, struct flight *f, int64_t now_ms, const char **why) {
    const struct send_task *t = f->task;
    struct webhook_signer by = {t->secrets, t->secret_count, p->key};
    if (!webhook_url_good(p, t->url)) return *why = "the URL is not an https one", MALFORMED;
    buf_bytes(&f->q.url, t->url);
    buf_str(&f->q.head, "Content-Type: application/json\r\n");
    buf_bytes(&f->q.body, t->payload);
    enum err e = webhook_sign(&by, t->message_id, now_ms, t->payload, &f->q.head);
    if (e != OK) *why = "a secret or the message's id is not as it must be";
    return e;
}

enum err request_make(struct provider *p, struct flight *f, int64_t now_ms, const char **why) {
    static enum err (*const MAKE[SEND_CHANNELS])(struct provider *, struct flight *, int64_t,
        const char **) = {webpush_make, push_make, push_make, mail_make, webhook_make};
    enum err e = MAKE[p->channel](p, f, now_ms, why);
    if (e == OK && p->channel != SEND_MAIL) base_put(p, &f->q.url);
    return e;
}

/* ---- answers ---- */
/* Of APNs, FCM and mail: it does not answer, has an error, is too busy, or refuses us rather than
 * this message. A device's push service or a partner is nobody's choice: there is no other. */
static bool is_own(
    const struct provider *p, const struct flight *f, const struct outward_decision *d) {
    int status = f->x.status;
    if (p->channel == SEND_WEBPUSH || p->channel == SEND_WEBHOOK || d->verdict != OUTWARD_RETRY)
        return false;
    if (p->channel == SEND_MAIL) return f->x.step < MAIL_RECIPIENT || !status || status == 421;
    return !status || status >= 500 || status == 401 || status == 403 || status == 429;
}

/* We are refused, not the message: a token was twice, or an account is not what it must be. Another
 * provider may do, or this one when its owner has mended it. But a browser that subscribed with another
 * key of ours will never take this one. */
static void refused_judge(
    const struct provider *p, const struct flight *f, struct outward_decision *d) {
    bool push = p->channel == SEND_APNS || p->channel == SEND_FCM;
    bool refused = f->x.status == 401 || f->x.status == 403;
    if (d->verdict == OUTWARD_RENEW && f->renewed)
        d->verdict = p->channel == SEND_WEBPUSH ? OUTWARD_GIVE_UP : OUTWARD_RETRY;
    if (d->verdict == OUTWARD_GIVE_UP && push && refused) d->verdict = OUTWARD_RETRY;
}

void answer_judge(
    struct provider *p, struct flight *f, int64_t now_ms, struct outward_decision *out, bool *own) {
    struct outward_answer a = {.status = f->x.status,
        .body = buf_view(&f->x.answer),
        .retry_after = bytes_str(f->x.retry_after),
        .apns_id = bytes_str(f->x.apns_id),
        .asked_ms = now_ms - (clock_mono_ns() - f->asked_ns) / 1000000};
    switch (p->channel) {
    case SEND_WEBPUSH: webpush_answer(&a, now_ms, out); break;
    case SEND_APNS: apns_answer(p->apns, &a, now_ms, out); break;
    case SEND_FCM: fcm_answer(p->fcm, &a, now_ms, out); break;
    case SEND_MAIL: mail_answer(&a, f->x.step, out); break;
    default: webhook_answer(&a, now_ms, out); break;
    }
    if (!a.status) {
        if (f->x.refused) out->verdict = OUTWARD_GIVE_UP;
        snprintf(out->reason, sizeof out->reason, "%.90s", f->x.why);
    }
    if (out->verdict == OUTWARD_RENEW && p->channel == SEND_WEBPUSH) webpush_forget(p->webpush);
    refused_judge(p, f, out);
    *own = is_own(p, f, out);
}
