/* drive: kith bench one-to-one: pairs of devices, against kith or any MQTT broker. Open loop with --rate: each message is timed from the moment it was due.
 * A payload begins with "T<16 hex due ns>N<8 hex number>;" so that the receiver can time it and see what is lost, repeated or out of order.
 * SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "drive/drive.h"
#include "drive/drive_in.h"

struct bench {
    const char *mqtt, *http, *key;
    bool kith, json;
    size_t pairs, inflight, payload;
    double rate, seconds, warmup;
    long pid;
    uint8_t qos;
    char run[16];
    struct fleet fleet;          /* 2i publishes, 2i + 1 subscribes */
    char (*tokens)[700];
    char (*names)[64];
    struct pair {
        uint32_t sent, seen;     /* numbers */
        uint64_t sent_ns[1024];  /* of PUBLISHes under way, by packet id */
    } *pair;
    struct spread delivery, ack;
    uint64_t delivered, lost, repeated, reordered, refused, receipts;
    bool measuring;
};

static int64_t hex16(const uint8_t *p, int n) {
    uint64_t v = 0;
    for (int i = 0; i < n; i++) v = v << 4 | (uint64_t)(p[i] <= '9' ? p[i] - '0' : p[i] - 'a' + 10);
    return (int64_t)v;
}

static struct bench *bench_of(struct device *d) { return ((struct bench *)(void *)((char *)d->fleet - offsetof(struct bench, fleet))); }

static void on_published(struct device *d, const struct mqtt_packet *p) {
    struct bench *b = bench_of(d);
    size_t i = (size_t)(d - b->fleet.devices) / 2;
    const uint8_t *t = b->kith ? memmem(p->payload.p, p->payload.n, "\"body\":\"T", 9) : p->payload.p;
    if (!t) {
        b->receipts++;
        return;
    }
    t += b->kith ? 9 : 1;
    int64_t due = hex16(t, 16);
    uint32_t number = (uint32_t)hex16(t + 17, 8);
    struct pair *pair = &b->pair[i];
    if (number == pair->seen + 1) pair->seen = number;
    else if (number <= pair->seen) b->repeated++;
    else {
        b->lost += number - pair->seen - 1;
        pair->seen = number;
    }
    if (!b->measuring) return;
    b->delivered++;
    int64_t now = clock_mono_ns();
    spread_add(&b->delivery, now > due ? (uint64_t)(now - due) : 0);
}

static void on_acked(struct device *d, uint16_t packet, uint8_t reason) {
    struct bench *b = bench_of(d);
    struct pair *pair = &b->pair[(size_t)(d - b->fleet.devices) / 2];
    if (reason >= 0x80) b->refused++;
    if (b->measuring) spread_add(&b->ack, (uint64_t)clock_mono_ns() - pair->sent_ns[packet % 1024]);
}

static void pair_send(struct bench *b, size_t i, int64_t due) {
    struct pair *pair = &b->pair[i];
    struct device *d = &b->fleet.devices[2 * i];
    char payload[1200], topic[100];
    size_t n = 0;
    pair->sent++;
    if (b->kith) n = (size_t)snprintf(payload, sizeof payload, "{\"id\":\"%s-%u\",\"body\":\"", b->run, pair->sent);
    size_t from = n;
    n += (size_t)snprintf(payload + n, sizeof payload - n, "T%016llxN%08x;", (unsigned long long)due, pair->sent);
    while (n - from < b->payload) payload[n++] = 'x';
    if (b->kith) {
        memcpy(payload + n, "\"}", 2);
        n += 2;
        snprintf(topic, sizeof topic, "conversations/b%s.%zu/messages", b->run, i);
    } else {
        snprintf(topic, sizeof topic, "bench/%zu", i);
    }
    uint16_t packet = device_publish(d, bytes_str(topic), bytes_of(payload, n));
    pair->sent_ns[packet % 1024] = (uint64_t)clock_mono_ns();
}

/* ---- setting up ---- */
static void make_conversation(void *arg, size_t i, struct buf *line, struct buf *body) {
    struct bench *b = arg;
    buf_fmt(line, "PUT /v1/conversations/b%s.%zu", b->run, i);
    buf_fmt(body, "{\"type\":\"direct\",\"members\":[\"%s\",\"%s\"]}", b->names[2 * i], b->names[2 * i + 1]);
}
static void done_conversation(void *arg, size_t i, int status, struct bytes body) {
    if (status == 201) return;
    fprintf(stderr, "bench: conversation %zu: %d %.*s\n", i, status, (int)body.n, (const char *)body.p);
    ((struct bench *)arg)->refused++;
}
static void make_token(void *arg, size_t i, struct buf *line, struct buf *body) {
    struct bench *b = arg;
    buf_fmt(line, "POST /v1/users/%s/tokens", b->names[i]);
    buf_fmt(body, "{\"device\":\"%s\"}", b->names[i]);
}
static void done_token(void *arg, size_t i, int status, struct bytes body) {
    struct bench *b = arg;
    const uint8_t *t = memmem(body.p, body.n, "\"token\":\"", 9);
    const uint8_t *end = t ? memchr(t + 9, '"', (size_t)(body.p + body.n - t - 9)) : NULL;
    if (status == 201 && end) snprintf(b->tokens[i], sizeof b->tokens[i], "%.*s", (int)(end - t - 9), t + 9);
    else b->refused++;
}

static bool set_up(struct bench *b) {
    size_t n = 2 * b->pairs;
    b->names = must_alloc(n * sizeof *b->names);
    b->tokens = must_alloc(n * sizeof *b->tokens);
    b->pair = must_alloc(b->pairs * sizeof *b->pair);
    b->fleet.devices = must_alloc(n * sizeof *b->fleet.devices);
    b->fleet.count = n;
    for (size_t i = 0; i < n; i++) snprintf(b->names[i], sizeof b->names[i], "%c%s.%zu", i % 2 ? 'r' : 's', b->run, i / 2);
    if (b->kith) {
        struct requests c = {b->http, b->key, b->pairs, b, make_conversation, done_conversation}, t = {b->http, b->key, n, b, make_token, done_token};
        if (!requests_run(&c) || !requests_run(&t) || b->refused) return false;
    }
    for (size_t i = 0; i < n; i++) {
        struct device *d = &b->fleet.devices[i];
        char *filter = must_alloc(100);
        d->client_id = d->username = bytes_str(b->names[i]);
        if (b->kith) d->password = bytes_str(b->tokens[i]);
        if (b->kith) snprintf(filter, 100, "users/%s/#", b->names[i]);
        else snprintf(filter, 100, "bench/%zu", i / 2);
        if (i % 2) d->filter = bytes_str(filter);
        else free(filter);
    }
    b->fleet.address = b->mqtt;
    b->fleet.version = 5;
    b->fleet.qos = b->qos;
    b->fleet.clean = true;
    b->fleet.published = on_published;
    b->fleet.acked = on_acked;
    return fleet_open(&b->fleet);
}

/* ---- running ---- */
static void closed_turn(struct bench *b) {
    for (size_t i = 0; i < b->pairs; i++) {
        struct device *d = &b->fleet.devices[2 * i];
        if (d->state != DEVICE_READY) continue;
        if (b->qos) while (d->outstanding < b->inflight) pair_send(b, i, clock_mono_ns());
        else while (b->pair[i].sent - b->pair[i].seen < b->inflight) pair_send(b, i, clock_mono_ns());
    }
}

static void run(struct bench *b, double *out_seconds, double *out_cpu, double *out_own) {
    int64_t begin = clock_mono_ns(), warm = begin + (int64_t)(b->warmup * 1e9), end = warm + (int64_t)(b->seconds * 1e9), now;
    double gap = b->rate > 0 ? 1e9 / b->rate : 0, due = (double)begin;
    struct usage_of before = {0}, own = {0};
    size_t next = 0;
    while ((now = clock_mono_ns()) < end) {
        if (!b->measuring && now >= warm) {
            b->measuring = true;
            before = process_usage(b->pid);
            own = process_usage(getpid());
            warm = now;
        }
        if (b->rate > 0) {
            for (; due <= (double)now; due += gap, next = (next + 1) % b->pairs) pair_send(b, next, (int64_t)due);
            fleet_turn(&b->fleet, due - (double)now > 1e6 ? 1 : 0);
        } else {
            closed_turn(b);
            fleet_turn(&b->fleet, 10);
        }
    }
    *out_seconds = (double)(now - warm) / 1e9;
    *out_cpu = process_usage(b->pid).cpu_s - before.cpu_s;
    *out_own = process_usage(getpid()).cpu_s - own.cpu_s;
    b->measuring = false;
    for (int64_t until = now + 3000000000ll; clock_mono_ns() < until;) { /* what is under way arrives */
        bool left = false;
        for (size_t i = 0; i < b->pairs; i++) left |= b->pair[i].seen < b->pair[i].sent;
        if (!left) break;
        fleet_turn(&b->fleet, 10);
    }
    for (size_t i = 0; i < b->pairs; i++) b->lost += b->pair[i].sent - b->pair[i].seen;
}

static int report(struct bench *b, double seconds, double cpu, double own) {
    double each = b->delivered ? cpu * 1e6 / (double)b->delivered : 0, own_each = b->delivered ? own * 1e6 / (double)b->delivered : 0;
    bool valid = !b->lost && !b->repeated && !b->reordered && !b->refused && !b->fleet.failed && b->delivered;
    const char *format = b->json ? "{\"pairs\":%zu,\"inflight\":%zu,\"rate\":%.0f,\"seconds\":%.2f,\"delivered_per_s\":%.0f,\"server_cpu_us\":%.2f,\"own_cpu_us\":%.2f,"
                                   "\"delivery_us\":{\"p50\":%.0f,\"p90\":%.0f,\"p99\":%.0f,\"p999\":%.0f,\"max\":%.0f},\"puback_us\":{\"p50\":%.0f,\"p99\":%.0f},"
                                   "\"lost\":%llu,\"repeated\":%llu,\"reordered\":%llu,\"refused\":%llu,\"connections_lost\":%llu,\"receipts\":%llu,\"valid\":%s}\n"
                                 : "pairs %zu, in flight each %zu, paced at %.0f/s, %.2f s\ndelivered      %.0f/s\nserver CPU     %.2f us a delivery (0: no --pid)\ngenerator CPU  %.2f us a delivery\n"
                                   "delivery us    p50 %.0f  p90 %.0f  p99 %.0f  p99.9 %.0f  max %.0f\nPUBACK us      p50 %.0f  p99 %.0f\n"
                                   "lost %llu, repeated %llu, reordered %llu, refused %llu, connections lost %llu; receipts and others %llu; valid %s\n";
    printf(format, b->pairs, b->inflight, b->rate, seconds, (double)b->delivered / seconds, each, own_each, spread_us(&b->delivery, .5), spread_us(&b->delivery, .9),
           spread_us(&b->delivery, .99), spread_us(&b->delivery, .999), (double)b->delivery.max / 1000, spread_us(&b->ack, .5), spread_us(&b->ack, .99),
           (unsigned long long)b->lost, (unsigned long long)b->repeated, (unsigned long long)b->reordered, (unsigned long long)b->refused,
           (unsigned long long)b->fleet.failed, (unsigned long long)b->receipts, valid ? "true" : "false");
    return valid ? 0 : 1;
}

static const char USAGE[] =
    "usage: kith bench one-to-one --mqtt ADDR:PORT [--http ADDR:PORT --key KEY] [options]\n"
    "  --broker kith|mqtt   what is driven (default kith; mqtt: any broker)\n  --pairs N            pairs of devices (default 100)\n"
    "  --inflight N         PUBLISHes under way for each sender, closed loop (default 1)\n  --rate R             messages a second in all, open loop (default: closed loop)\n"
    "  --duration S, --warmup S   seconds (default 10 and 2)\n  --payload BYTES      (default 100)\n  --qos 0|1            (default 1)\n"
    "  --pid PID            the server's: its CPU time is reported\n  --json               one JSON object\n";

static bool option_take(struct bench *b, const char *name, const char *value) {
    const struct {
        const char *name;
        const char **text;
        size_t *count;
        double *number;
    } O[] = {{"--mqtt", &b->mqtt, NULL, NULL}, {"--http", &b->http, NULL, NULL}, {"--key", &b->key, NULL, NULL}, {"--pairs", NULL, &b->pairs, NULL},
             {"--inflight", NULL, &b->inflight, NULL}, {"--payload", NULL, &b->payload, NULL}, {"--rate", NULL, NULL, &b->rate},
             {"--duration", NULL, NULL, &b->seconds}, {"--warmup", NULL, NULL, &b->warmup}};
    if (strcmp(name, "--broker") == 0) b->kith = strcmp(value, "kith") == 0;
    else if (strcmp(name, "--pid") == 0) b->pid = atol(value);
    else if (strcmp(name, "--qos") == 0) b->qos = value[0] == '1';
    else {
        for (size_t i = 0; i < sizeof O / sizeof *O; i++) {
            if (strcmp(name, O[i].name) != 0) continue;
            if (O[i].text) *O[i].text = value;
            if (O[i].count) *O[i].count = strtoul(value, NULL, 10);
            if (O[i].number) *O[i].number = strtod(value, NULL);
            return true;
        }
        return false;
    }
    return true;
}

int drive_bench(int argc, char **argv) {
    struct bench *b = must_alloc(sizeof *b);
    *b = (struct bench){.kith = true, .pairs = 100, .inflight = 1, .payload = 100, .seconds = 10, .warmup = 2, .qos = 1, .key = getenv("KITH_KEY"),
                        .mqtt = "127.0.0.1:1883", .http = "127.0.0.1:8080"};
    bool one = argc > 1 && strcmp(argv[1], "one-to-one") == 0;
    for (int i = 2; i < argc && one; i++) {
        if (strcmp(argv[i], "--json") == 0) b->json = true;
        else if (i + 1 >= argc || !option_take(b, argv[i], argv[i + 1])) one = false;
        else i++;
    }
    if (!one || !b->pairs || b->payload > 1000 || b->inflight < 1 || b->inflight > 512 || (b->kith && !b->key)) {
        fputs(USAGE, stderr);
        if (one && b->kith && !b->key) fputs("a server key is needed: --key, or KITH_KEY in the environment\n", stderr);
        return 2;
    }
    snprintf(b->run, sizeof b->run, "%llx", (unsigned long long)clock_wall_ms() & 0xffffffffff);
    double seconds, cpu, own;
    if (!set_up(b)) {
        fprintf(stderr, "bench: setting up failed: %zu of %zu devices ready, %llu requests refused\n", b->fleet.ready, b->fleet.count, (unsigned long long)b->refused);
        return 1;
    }
    run(b, &seconds, &cpu, &own);
    int status = report(b, seconds, cpu, own);
    fleet_close(&b->fleet);
    return status;
}
