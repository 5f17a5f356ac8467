/* drive: a crowd of users and their devices, against kith or any other MQTT broker; stamped
 * messages, and what each receiver has had of them. With kith a message is JSON to
 * conversations/{id}/messages and arrives on users/{me}/messages; with another broker the stamp
 * itself travels on bench/{id}. SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include "drive/drive.h"

#define MEMBERS_A_REQUEST 1000
#define DESCRIPTORS_KEPT 100 /* for all that is no device */
#define SESSION_EXPIRY_S 86400

/* ---- stamps ---- */
static uint64_t hex_read(const uint8_t *p, int n) {
    uint64_t v = 0;
    for (int i = 0; i < n; i++) v = v << 4 | (uint64_t)(p[i] <= '9' ? p[i] - '0' : p[i] - 'a' + 10);
    return v;
}

bool stamp_read(struct bytes payload, bool kith, int64_t *out_due_ns, uint32_t *out_number) {
    const uint8_t *t = payload.p, *end = payload.p + payload.n;
    if (kith) t = memmem(payload.p, payload.n, "\"body\":\"T", 9);
    if (!t) return false;
    t += kith ? 8 : 0;
    if (end - t < STAMP_BYTES || t[0] != 'T' || t[17] != 'N') return false;
    *out_due_ns = (int64_t)hex_read(t + 1, 16);
    *out_number = (uint32_t)hex_read(t + 18, 8);
    return true;
}

/* ---- tracks ---- */
static bool had_test(const struct track *t, uint32_t n) {
    return t->had[n % TRACK_WINDOW / 64] >> (n % 64) & 1;
}
static void had_set(struct track *t, uint32_t n, bool on) {
    uint64_t bit = 1ull << (n % 64), *word = &t->had[n % TRACK_WINDOW / 64];
    *word = on ? *word | bit : *word & ~bit;
}

bool message_stamp(
    const struct mqtt_packet *p, bool kith, int64_t *out_due_ns, uint32_t *out_number) {
    static const char END[] = "/messages";
    size_t n = sizeof END - 1;
    if (kith && (p->topic.n < n || memcmp(p->topic.p + p->topic.n - n, END, n) != 0)) return false;
    return stamp_read(p->payload, kith, out_due_ns, out_number);
}

bool track_take(struct track *t, uint32_t number, bool dup, struct tally *tally) {
    if (number > t->seen) {
        uint32_t gap = number - t->seen - 1;
        for (uint32_t n = gap < TRACK_WINDOW ? t->seen + 1 : number - TRACK_WINDOW + 1; n < number;
             n++)
            had_set(t, n, false);
        t->missing += gap;
        t->seen = number;
        had_set(t, number, true);
    } else if (t->missing && t->seen - number < TRACK_WINDOW && !had_test(t, number)) {
        t->missing--;
        had_set(t, number, true);
        tally->reordered++;
    } else {
        if (dup) tally->redelivered++;
        else tally->repeated++;
        return false;
    }
    tally->fresh++;
    return true;
}

void track_end(const struct track *t, uint32_t sent, struct tally *tally) {
    tally->lost += t->missing + (sent > t->seen ? sent - t->seen : 0);
}

/* ---- options ---- */
void crowd_defaults(struct crowd *c) {
    *c = (struct crowd){.mqtt = "127.0.0.1:1883",
        .http = "127.0.0.1:8080",
        .key = getenv("KITH_KEY"),
        .broker = "kith",
        .payload = 100,
        .qos = 1,
        .version = 5};
    snprintf(c->run, sizeof c->run, "b%llx", (unsigned long long)clock_wall_ms() & 0xffffffffff);
}

bool crowd_check(struct crowd *c) {
    c->kith = strcmp(c->broker, "kith") == 0;
    if (!c->kith && strcmp(c->broker, "mqtt") != 0)
        return fprintf(stderr, "kith: --broker must be kith or mqtt, not '%s'\n", c->broker), false;
    if (c->kith && !c->key)
        return fputs(
                   "kith: a server key is needed: --key, or KITH_KEY in the environment\n", stderr),
               false;
    if (c->qos > 2) return fputs("kith: --qos must be 0, 1 or 2\n", stderr), false;
    if (c->version != 4 && c->version != 5)
        return fputs("kith: --version must be 4 or 5\n", stderr), false;
    if (c->payload > PAYLOAD_MAX)
        return fprintf(stderr, "kith: --payload must be at most %d\n", PAYLOAD_MAX), false;
    return true;
}

/* ---- users and tokens ---- */
bool answer_told(const char *what, const char *name, int status, struct bytes body) {
    if (status >= 200 && status < 300) return true;
    fprintf(stderr, "kith: %s %s was answered %d %.*s\n", what, name, status, (int)body.n,
        body.n ? (const char *)body.p : "");
    return false;
}

static void token_make(void *arg, size_t i, struct buf *line, struct buf *body) {
    struct crowd *c = arg;
    buf_fmt(line, "POST /v1/users/%s/tokens", c->names[i]);
    buf_fmt(body, "{\"device\":\"%s\"}", c->names[i]);
}

static bool token_done(void *arg, size_t i, int status, struct bytes body) {
    struct crowd *c = arg;
    const uint8_t *t = memmem(body.p, body.n, "\"token\":\"", 9);
    const uint8_t *end = t ? memchr(t + 9, '"', (size_t)(body.p + body.n - t - 9)) : NULL;
    if (!answer_told("a token for", c->names[i], status, body) || !end) return false;
    snprintf(c->tokens[i], sizeof c->tokens[i], "%.*s", (int)(end - t - 9), t + 9);
    return true;
}

bool crowd_requests(const struct requests *r) {
    struct buf why = {0};
    bool ok = requests_run(r, &why);
    if (why.n) fprintf(stderr, "kith: %.*s\n", (int)why.n, (const char *)why.p);
    buf_done(&why);
    return ok;
}

static bool descriptors_suffice(size_t n) {
    struct rlimit l;
    if (getrlimit(RLIMIT_NOFILE, &l)) return true;
    if (l.rlim_cur < l.rlim_max) {
        l.rlim_cur = l.rlim_max;
        (void)setrlimit(RLIMIT_NOFILE, &l);
    }
    if (n + DESCRIPTORS_KEPT <= l.rlim_cur) return true;
    fprintf(stderr,
        "kith: %zu devices need more descriptors than the %llu this process may have (ulimit -n)\n",
        n, (unsigned long long)l.rlim_cur);
    return false;
}

bool crowd_make(struct crowd *c, size_t n) {
    c->names = must_alloc(n * sizeof *c->names);
    c->tokens = must_alloc(n * sizeof *c->tokens);
    c->filters = must_alloc(n * sizeof *c->filters);
    c->fleet.devices = must_alloc(n * sizeof *c->fleet.devices);
    c->fleet.count = n;
    c->fleet.address = c->websocket && c->kith ? c->http : c->mqtt;
    c->fleet.websocket = c->websocket;
    c->fleet.version = (uint8_t)c->version;
    c->fleet.qos = (uint8_t)c->qos;
    c->fleet.clean = true;
    c->fleet.expiry_s = SESSION_EXPIRY_S;
    for (size_t i = 0; i < n; i++) snprintf(c->names[i], sizeof c->names[i], "%s.u%zu", c->run, i);
    if (!descriptors_suffice(n)) return false;
    struct requests t = {.address = c->http,
        .key = c->key,
        .n = n,
        .arg = c,
        .make = token_make,
        .done = token_done};
    if (c->kith && !crowd_requests(&t)) return false;
    for (size_t i = 0; i < n; i++) {
        struct device *d = &c->fleet.devices[i];
        d->client_id = d->username = bytes_str(c->names[i]);
        if (c->kith) d->password = bytes_str(c->tokens[i]);
    }
    return true;
}

void crowd_subscribe(struct crowd *c, size_t i, const char *topic) {
    if (c->kith) snprintf(c->filters[i], sizeof c->filters[i], "users/%s/#", c->names[i]);
    else snprintf(c->filters[i], sizeof c->filters[i], "bench/%s", topic);
    c->fleet.devices[i].filter = bytes_str(c->filters[i]);
}

void crowd_subscribe_to(struct crowd *c, size_t i, const char *what) {
    snprintf(c->filters[i], sizeof c->filters[i], "users/%s/%s", c->names[i], what);
    c->fleet.devices[i].filter = bytes_str(c->filters[i]);
}

bool crowd_open(struct crowd *c) {
    struct buf why = {0};
    bool ok = fleet_open(&c->fleet);
    if (!ok) {
        fleet_why(&c->fleet, &why);
        fprintf(stderr, "kith: connecting failed: %.*s\n", (int)why.n, (const char *)why.p);
        buf_done(&why);
    }
    return ok;
}

void crowd_done(struct crowd *c) {
    fleet_close(&c->fleet);
    free(c->fleet.devices);
    free(c->names);
    free(c->tokens);
    free(c->filters);
}

/* ---- conversations ---- */
struct making {
    struct crowd *c;
    const char *id, *type;
    size_t from, to;
    void (*pair)(struct crowd *c, size_t i, size_t *a, size_t *b);
};

static void part_make(void *arg, size_t i, struct buf *line, struct buf *body) {
    struct making *m = arg;
    size_t at = m->from + i * MEMBERS_A_REQUEST,
           end = at + MEMBERS_A_REQUEST < m->to ? at + MEMBERS_A_REQUEST : m->to;
    buf_fmt(line, "PUT /v1/conversations/%s", m->id);
    buf_fmt(body, "{\"type\":\"%s\",\"members\":[", m->type);
    /* members need not be of the crowd */
    for (size_t k = at; k < end; k++)
        buf_fmt(body, "%s\"%s.u%zu\"", k > at ? "," : "", m->c->run, k);
    buf_str(body, "]}");
}
static bool part_done(void *arg, size_t i, int status, struct bytes body) {
    return answer_told("the conversation", ((struct making *)arg)->id, status, body);
}

bool crowd_conversation(struct crowd *c, const char *id, const char *type, size_t from, size_t to) {
    if (!c->kith) return true;
    struct making m = {.c = c, .id = id, .type = type, .from = from, .to = to};
    struct requests r = {.address = c->http,
        .key = c->key,
        .n = (to - from + MEMBERS_A_REQUEST - 1) / MEMBERS_A_REQUEST,
        .connections = 1,
        .arg = &m,
        .make = part_make,
        .done = part_done};
    return crowd_requests(&r);
}

static void direct_make(void *arg, size_t i, struct buf *line, struct buf *body) {
    struct making *m = arg;
    size_t a, b;
    m->pair(m->c, i, &a, &b);
    buf_fmt(line, "PUT /v1/conversations/%s.%zu", m->c->run, i);
    buf_fmt(body, "{\"type\":\"direct\",\"members\":[\"%s.u%zu\",\"%s.u%zu\"]}", m->c->run, a,
        m->c->run, b);
}
static bool direct_done(void *arg, size_t i, int status, struct bytes body) {
    return answer_told("a conversation of", ((struct making *)arg)->c->run, status, body);
}

bool crowd_directs(
    struct crowd *c, size_t n, void (*pair)(struct crowd *c, size_t i, size_t *a, size_t *b)) {
    if (!c->kith) return true;
    struct making m = {.c = c, .pair = pair};
    struct requests r = {.address = c->http,
        .key = c->key,
        .n = n,
        .arg = &m,
        .make = direct_make,
        .done = direct_done};
    return crowd_requests(&r);
}

/* ---- messages ---- */
uint16_t crowd_publish(
    struct crowd *c, size_t i, const char *to, int64_t due_ns, uint32_t number, const char *id) {
    static char payload[PAYLOAD_MAX + 300];
    char topic[160];
    size_t n = 0;
    if (c->kith) n = (size_t)snprintf(payload, 200, "{\"id\":\"%s\",\"body\":\"", id);
    size_t from = n;
    n += (size_t)snprintf(
        payload + n, STAMP_BYTES + 1, "T%016llxN%08x;", (unsigned long long)due_ns, number);
    while (n - from < c->payload) payload[n++] = 'x';
    if (c->kith) {
        memcpy(payload + n, "\"}", 2);
        n += 2;
    }
    snprintf(topic, sizeof topic, c->kith ? "conversations/%s/messages" : "bench/%s", to);
    return device_publish(&c->fleet.devices[i], bytes_str(topic), bytes_of(payload, n));
}
