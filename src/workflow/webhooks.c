/* workflow: webhooks: where an app's own servers hear of what happens, and the secrets that sign it.
 *
 *   '$' app webhook  (settings.c)   varbytes url, u32 events, i64 until when the older secret signs too,
 *                                   varbytes secrets, packed: the newest first
 *   '$' app "*"                     u32: the events that any of them wants
 *
 * A secret is made where the request is planned, and travels in the record; the record that finds that
 * none is needed drops it.
 * SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "workflow/workflow.h"
#include "outward/outward.h"

#define ROTATION_MS (24 * 3600 * 1000ll) /* for so long the old secret signs beside the new one */
enum { WEBHOOKS_MAX = 32, URL_MAX = 2048 };
enum { GIVEN_URL = 1, GIVEN_EVENTS = 2, GIVEN_ROTATE = 4 };
static const char *const EVENTS[] = {"notification.sent", "notification.seen", "notification.read",
    "notification.clicked", "notification.archived", "notification.failed", "message.created"};
enum { EVENT_COUNT = sizeof EVENTS / sizeof *EVENTS };
#define EVENTS_ALL 0x80000000u /* "*": those too that come with later versions */

static void webhooks_changed(struct step *s);
static const struct settings WEBHOOKS = {
    "webhook", "#webhooks", '$', KIND_WEBHOOK_COPY, WEBHOOKS_MAX, webhooks_changed, NULL};

struct webhook {
    struct bytes url, secrets;
    uint32_t events;
    int64_t old_until_ms;
};

static bool webhook_read(struct bytes v, struct webhook *out) {
    struct unpack u = unpack_of(v);
    out->url = unpack_bytes(&u);
    out->events = unpack_u32(&u);
    out->old_until_ms = (int64_t)unpack_u64(&u);
    out->secrets = unpack_bytes(&u);
    return !u.bad;
}

static struct webhook webhook_unpack(struct bytes v) {
    struct webhook w;
    check(webhook_read(v, &w));
    return w;
}

static void webhook_pack(struct buf *b, const struct webhook *w) {
    pack_bytes(b, w->url);
    pack_u32(b, w->events);
    pack_u64(b, (uint64_t)w->old_until_ms);
    pack_bytes(b, w->secrets);
}

/* The secrets that sign at that moment. */
static struct bytes secrets_at(const struct webhook *w, int64_t now_ms) {
    struct unpack u = unpack_of(w->secrets);
    unpack_bytes(&u);
    return now_ms < w->old_until_ms ? w->secrets
                                    : bytes_of(w->secrets.p, (size_t)(u.p - w->secrets.p));
}

/* ---- for what is sent ---- */
static uint32_t event_bit(const char *event) {
    for (unsigned i = 0; i < EVENT_COUNT; i++)
        if (strcmp(event, EVENTS[i]) == 0) return 1u << i;
    check(false);
    return 0;
}

static struct cell *wanted_cell(struct cells *c, struct bytes app) {
    uint8_t room[300];
    return cells_get(c, key2(room, '$', app, BYTES("*")));
}

static void wanted_add(void *arg, struct bytes id, struct bytes value) {
    uint32_t *all = arg;
    *all |= webhook_unpack(value).events;
}

static void webhooks_changed(struct step *s) {
    uint32_t all = 0;
    struct buf b = {0};
    settings_each(s->cells, &WEBHOOKS, s->app, wanted_add, &all);
    if (all) pack_u32(&b, all);
    cells_put(s->cells, wanted_cell(s->cells, s->app), buf_view(&b));
    buf_done(&b);
}

bool webhooks_want(struct cells *c, struct bytes app, const char *event) {
    const struct cell *cell = wanted_cell(c, app);
    struct unpack u = unpack_of(bytes_of(cell->data, cell->size));
    return cell->size && unpack_u32(&u) & (event_bit(event) | EVENTS_ALL);
}

struct each {
    uint32_t wanted;
    int64_t now_ms;
    webhook_fn *fn;
    void *arg;
};
static void each_one(void *arg, struct bytes id, struct bytes value) {
    const struct each *e = arg;
    struct webhook w = webhook_unpack(value);
    if (w.events & e->wanted) e->fn(e->arg, id, w.url, secrets_at(&w, e->now_ms));
}

void webhooks_each(struct cells *c, struct bytes app, const char *event, int64_t now_ms,
    webhook_fn *fn, void *arg) {
    struct each e = {event_bit(event) | EVENTS_ALL, now_ms, fn, arg};
    if (webhooks_want(c, app, event)) settings_each(c, &WEBHOOKS, app, each_one, &e);
}

bool webhook_find(struct cells *c, struct bytes app, struct bytes id, int64_t now_ms,
    struct bytes *out_url, struct bytes *out_secrets) {
    uint64_t version;
    struct bytes v = settings_find(c, &WEBHOOKS, app, id, &version);
    if (!v.n) return false;
    struct webhook w = webhook_unpack(v);
    *out_url = w.url;
    *out_secrets = secrets_at(&w, now_ms);
    return true;
}

static bool webhook_whole(struct bytes value) {
    struct webhook w;
    return webhook_read(value, &w) && w.events && w.secrets.n;
}
bool webhooks_sound(struct cells *c, struct buf *why) {
    return settings_sound(c, &WEBHOOKS, webhook_whole, why);
}

/* ---- JSON ---- */
static void webhook_json(
    struct json_out *o, struct bytes id, struct bytes value, int64_t now_ms, bool whole) {
    struct webhook w = webhook_unpack(value);
    struct unpack u = unpack_of(w.secrets);
    jo_open_obj(o);
    jo_key(o, "id");
    jo_str(o, id);
    jo_key(o, "url");
    jo_str(o, w.url);
    jo_key(o, "events");
    jo_open_arr(o);
    if (w.events & EVENTS_ALL) jo_str(o, BYTES("*"));
    for (unsigned i = 0; i < EVENT_COUNT; i++)
        if (w.events >> i & 1) jo_str(o, bytes_str(EVENTS[i]));
    jo_close_arr(o);
    if (whole) {
        jo_key(o, "secret");
        jo_str(o, unpack_bytes(&u));
    }
    if (whole && now_ms < w.old_until_ms) {
        jo_key(o, "old_secret_until");
        jo_time(o, w.old_until_ms);
    }
    jo_close_obj(o);
}

static void listed_json(struct json_out *o, struct bytes id, struct bytes value, int64_t now_ms) {
    webhook_json(o, id, value, now_ms, false); /* secrets are shown one at a time */
}

/* ---- apply ---- */
/* Of the secrets so far the newest stays, for a while. */
static void secrets_rotate(struct step *s, struct webhook *w, struct bytes fresh) {
    struct buf b = {0};
    struct unpack u = unpack_of(w->secrets);
    bool had = unpack_more(&u);
    pack_bytes(&b, fresh);
    if (had) pack_bytes(&b, unpack_bytes(&u));
    w->old_until_ms = had ? s->time_ms + ROTATION_MS : 0;
    w->secrets = arena_copy(s->arena, buf_view(&b));
    buf_done(&b);
}

static void apply_put(struct step *s) {
    struct unpack u = unpack_of(s->body);
    struct bytes id = unpack_bytes(&u);
    uint8_t given = unpack_u8(&u);
    struct bytes url = unpack_bytes(&u);
    uint32_t events = unpack_u32(&u);
    struct bytes secret = unpack_bytes(&u);
    uint64_t version;
    check(!u.bad);
    struct bytes old = settings_find(s->cells, &WEBHOOKS, s->app, id, &version);
    struct webhook w = {.events = EVENTS_ALL};
    if (old.n) w = webhook_unpack(old);
    else if (!(given & GIVEN_URL)) {
        answer_problem(s->answer, PROBLEM_INVALID_VALUE, "url",
            "'url' is required when a webhook is made: https://...");
        return;
    }
    if (given & GIVEN_URL) w.url = url;
    if (given & GIVEN_EVENTS) w.events = events;
    if (!old.n || given & GIVEN_ROTATE) secrets_rotate(s, &w, secret);
    struct buf b = {0};
    webhook_pack(&b, &w);
    struct json_out o = {&s->answer->body, false};
    if (settings_set(s, &WEBHOOKS, id, buf_view(&b)) && s->wanted)
        webhook_json(&o, id, buf_view(&b), s->time_ms, true);
    buf_done(&b);
}

static void apply_delete(struct step *s) {
    struct unpack u = unpack_of(s->body);
    struct bytes id = unpack_bytes(&u);
    check(!u.bad);
    settings_set(s, &WEBHOOKS, id, (struct bytes){0});
}

static void apply_copy(struct step *s) { settings_copied(s, &WEBHOOKS); }

/* ---- PUT ---- */
static bool is_one_of(uint8_t c, const char *set) { return c && strchr(set, c); }

static bool ends_with(struct bytes v, const char *end) {
    size_t n = strlen(end);
    return v.n > n && memcmp(v.p + v.n - n, end, n) == 0;
}

/* By its name, as far as that tells: which address it has is seen when something is sent there. */
static bool host_is_private(struct bytes host) {
    static const char *const NETWORKS[] = {"127.", "10.", "192.168.", "169.254."};
    bool address = true, dots = false;
    for (size_t i = 0; i < host.n; i++) {
        address &= is_one_of(host.p[i], "0123456789.");
        dots |= host.p[i] == '.';
    }
    for (size_t i = 0; address && i < sizeof NETWORKS / sizeof *NETWORKS; i++)
        if (bytes_starts(host, NETWORKS[i])) return true;
    if (address) /* 172.16.0.0/12 */
        return host.n > 7 && bytes_starts(host, "172.") && host.p[6] == '.' &&
               ((host.p[4] == '1' && host.p[5] >= '6') || host.p[4] == '2' ||
                   (host.p[4] == '3' && host.p[5] <= '1'));
    if (host.p[0] == '[') return bytes_is(host, "[::1]") || bytes_starts(host, "[fd");
    return !dots || ends_with(host, ".localhost") || ends_with(host, ".local") ||
           ends_with(host, ".internal");
}

/* host or [address], and perhaps a port. */
static bool authority_read(struct bytes v, struct bytes *out_host) {
    size_t n = 0, port = 0;
    bool literal = v.n && v.p[0] == '[';
    while (n < v.n && (literal ? v.p[n] != ']' : v.p[n] != ':')) {
        uint8_t c = v.p[n++];
        bool plain = (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
        if (!plain && !is_one_of(c, literal ? "[:." : "-._")) return false;
    }
    if (literal && n++ == v.n) return false;
    *out_host = bytes_of(v.p, n);
    if (!n || n > 255 + 2) return false;
    if (n == v.n) return true;
    if (v.p[n++] != ':' || n == v.n || v.n - n > 5) return false;
    for (; n < v.n; n++) {
        if (v.p[n] < '0' || v.p[n] > '9') return false;
        port = port * 10 + (v.p[n] - '0');
    }
    return port >= 1 && port <= 65535;
}

static bool url_good(struct bytes url, bool http_too) {
    bool https = bytes_starts(url, "https://"), http = bytes_starts(url, "http://");
    struct bytes host;
    if (!https && !http) return false;
    for (size_t i = 0; i < url.n; i++) /* printable ASCII; what else there is goes as %XX */
        if (url.p[i] <= ' ' || url.p[i] > '~' || is_one_of(url.p[i], "\"#<>\\^`{|}")) return false;
    size_t from = https ? 8 : 7, n = 0;
    while (from + n < url.n && !is_one_of(url.p[from + n], "/?")) n++;
    return authority_read(bytes_of(url.p + from, n), &host) &&
           (https || (http_too && host_is_private(host)));
}

struct events_reading {
    uint32_t events;
    struct answer *a;
};
static bool event_read(void *arg, struct bytes key, struct json v) {
    struct events_reading *e = arg;
    (void)key;
    uint32_t bit = bytes_is(json_string(v), "*") ? EVENTS_ALL : 0;
    for (unsigned i = 0; i < EVENT_COUNT; i++)
        if (bytes_is(json_string(v), EVENTS[i])) bit = 1u << i;
    e->events |= bit;
    if (bit) return true;
    answer_problem(e->a,
        json_kind_of(v) == JSON_STRING ? PROBLEM_INVALID_VALUE : PROBLEM_WRONG_TYPE, "events",
        "'events' is a list of notification.sent, .seen, .read, .clicked, .archived, .failed, "
        "message.created, or \"*\"");
    return false;
}

static bool fields_read(
    const struct request *r, struct json_value f[static 3], uint32_t *events, struct answer *a) {
    static const struct json_field F[] = {{"url", JSON_STRING, false, false, URL_MAX},
        {"events", JSON_ARRAY, false, true, 0}, {"rotate_secret", JSON_BOOL, false, false, 0}};
    struct events_reading e = {0, a};
    if (!request_object(r, F, 3, f, a)) return false;
    if (f[0].present && !url_good(json_string(f[0].v), r->tools->http_webhooks)) {
        answer_problem(a, PROBLEM_INVALID_VALUE, "url",
            "'url' must be https://, a host, perhaps a port and a path, without user, fragment or "
            "spaces%s",
            r->tools->http_webhooks ? "; http:// only to hosts of a private network" : "");
        return false;
    }
    *events = EVENTS_ALL;
    if (!f[1].present || f[1].is_null) return true;
    json_each(f[1].v, event_read, &e);
    if (!a->problem && !e.events)
        answer_problem(a, PROBLEM_INVALID_VALUE, "events",
            "'events' names at least one event, or \"*\" for all");
    *events = e.events;
    return !a->problem;
}

static bool gather_stored(
    struct request *r, struct plan *p, const struct answer *parts, struct answer *a) {
    return settings_stored(&WEBHOOKS, r, p, &parts[0], a);
}

static struct buf *record_begin(struct request *r, struct plan *p, uint8_t kind) {
    struct plan_part *part = plan_part(p, settings_home(&WEBHOOKS, r->who.app, r->partitions));
    part->kind = kind;
    pack_bytes(&part->body, r->params[0]);
    p->gather = gather_stored;
    return &part->body;
}

static enum err plan_put(struct request *r, struct plan *p, struct answer *a) {
    struct json_value f[3];
    uint32_t events;
    struct buf secret = {0};
    if (!fields_read(r, f, &events, a)) return REFUSED;
    struct buf *b = record_begin(r, p, KIND_WEBHOOK_PUT);
    webhook_secret_create(&secret);
    pack_u8(b, (uint8_t)((f[0].present ? GIVEN_URL : 0) | (f[1].present ? GIVEN_EVENTS : 0) |
                         (f[2].present && json_bool(f[2].v) ? GIVEN_ROTATE : 0)));
    pack_bytes(b, f[0].present ? json_string(f[0].v) : (struct bytes){0});
    pack_u32(b, events);
    pack_bytes(b, buf_view(&secret));
    buf_done(&secret);
    return OK;
}

static enum err plan_delete(struct request *r, struct plan *p, struct answer *a) {
    (void)record_begin(r, p, KIND_WEBHOOK_DELETE);
    return OK;
}

/* ---- GET ---- */
static void query_webhook(struct query *q) {
    const struct request *r = q->request;
    struct bytes id = r->params[0];
    uint64_t version;
    struct bytes v = settings_find(q->cells, &WEBHOOKS, r->who.app, id, &version);
    struct json_out o = {&q->answer->body, false};
    if (!v.n) {
        answer_problem(q->answer, PROBLEM_NOT_FOUND, "", "there is no webhook '%.*s'", (int)id.n,
            (const char *)id.p);
        return;
    }
    answer_ok(q->answer, 200);
    webhook_json(&o, id, v, r->now_ms, true);
}

static enum err plan_get(struct request *r, struct plan *p, struct answer *a) {
    p->partition = settings_home(&WEBHOOKS, r->who.app, r->partitions);
    p->query = query_webhook;
    return OK;
}

static enum err plan_list(struct request *r, struct plan *p, struct answer *a) {
    return settings_plan_list(&WEBHOOKS, listed_json, r, p, a);
}

static const struct record_rule RULES[] = {{KIND_WEBHOOK_PUT, apply_put},
    {KIND_WEBHOOK_DELETE, apply_delete}, {KIND_WEBHOOK_COPY, apply_copy}};

static const struct route ROUTES[] = {
    {"PUT", "/v1/webhooks/{id}", SCOPE_WRITE, TOKEN_NEVER, SPECIAL_NONE, plan_put, NULL},
    {"GET", "/v1/webhooks/{id}", SCOPE_READ, TOKEN_NEVER, SPECIAL_NONE, plan_get, NULL},
    {"DELETE", "/v1/webhooks/{id}", SCOPE_WRITE, TOKEN_NEVER, SPECIAL_NONE, plan_delete, NULL},
    {"GET", "/v1/webhooks", SCOPE_READ, TOKEN_NEVER, SPECIAL_NONE, plan_list, NULL},
};

const struct surface_part webhooks_part = {
    RULES, sizeof RULES / sizeof *RULES, ROUTES, sizeof ROUTES / sizeof *ROUTES};
