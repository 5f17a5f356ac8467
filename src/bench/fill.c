/* bench fill: stores many messages as fast as they are taken, so that a server with
 * millions of them can be measured. Nobody is connected to receive. Each sender writes in turn to
 * its own share of the conversations, each between the sender and somebody who is away.
 * SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "bench/bench_in.h"

#define PATIENCE_NS (60 * SECOND_NS) /* a server under a full disk queue may pause */

struct fill {
    struct crowd crowd; /* the senders */
    const char *over;
    size_t messages, conversations, senders, inflight;
    uint32_t *turn; /* by sender: messages sent */
    uint64_t sent, stored, again, refused;
    int64_t moved_ns;
    struct progress progress;
};

static struct fill *fill_of(struct device *d) {
    return (struct fill *)(void *)((char *)d->fleet - offsetof(struct fill, crowd.fleet));
}

static void members(struct crowd *c, size_t i, size_t *a, size_t *b) {
    struct fill *f = (struct fill *)(void *)((char *)c - offsetof(struct fill, crowd));
    *a = i % f->senders;
    *b = f->senders + i;
}

/* ---- over MQTT ---- */
static void on_acked(struct device *d, uint16_t packet, uint8_t reason) {
    struct fill *f = fill_of(d);
    f->moved_ns = clock_mono_ns();
    if (reason < 0x80) {
        f->stored++;
    } else if (reason_is_temporary(reason)) {
        f->again++;
        f->sent--; /* another goes out in its place */
    } else {
        f->refused++;
    }
}

static void sender_send(struct fill *f, size_t s) {
    char to[64], id[64];
    uint32_t n = f->turn[s]++;
    size_t share = (f->conversations - s + f->senders - 1) / f->senders,
           i = s + n % share * f->senders;
    snprintf(to, sizeof to, "%s.%zu", f->crowd.run, i);
    snprintf(id, sizeof id, "%s-%u", f->crowd.run, n);
    crowd_publish(&f->crowd, s, to, clock_mono_ns(), n, id);
    f->sent++;
}

static void over_mqtt(struct fill *f) {
    struct fleet *fleet = &f->crowd.fleet;
    f->moved_ns = clock_mono_ns();
    while (f->stored + f->refused < f->messages && clock_mono_ns() - f->moved_ns < PATIENCE_NS) {
        for (size_t s = 0; s < f->senders; s++) {
            struct device *d = &fleet->devices[s];
            while (d->state == DEVICE_READY && f->sent < f->messages &&
                   d->outstanding < f->inflight && d->outstanding < fleet->receive_maximum)
                sender_send(f, s);
        }
        fleet_turn(fleet, clock_mono_ns() + 100 * MILLI_NS);
        progress_show(&f->progress, f->stored);
    }
}

/* ---- over HTTP ---- */
static void post_make(void *arg, size_t i, struct buf *line, struct buf *body) {
    struct fill *f = arg;
    size_t to = i % f->conversations;
    buf_fmt(line, "POST /v1/conversations/%s.%zu/messages", f->crowd.run, to);
    buf_fmt(body, "{\"id\":\"%s-%zu\",\"from\":\"%s\",\"body\":\"", f->crowd.run, i,
        f->crowd.names[to % f->senders]);
    for (size_t k = 0; k < f->crowd.payload; k++) buf_char(body, 'x');
    buf_str(body, "\"}");
}

static bool post_done(void *arg, size_t i, int status, struct bytes body) {
    struct fill *f = arg;
    if (status == 201 || status == 200) f->stored++;
    else if (!f->refused++)
        fprintf(stderr, "kith: message %zu was answered %d %.*s\n", i, status, (int)body.n,
            body.n ? (const char *)body.p : "");
    progress_show(&f->progress, f->stored);
    return true;
}

static void over_http(struct fill *f) {
    struct requests r = {.address = f->crowd.http,
        .key = f->crowd.key,
        .n = f->messages,
        .connections = f->inflight,
        .arg = f,
        .make = post_make,
        .done = post_done};
    struct buf why = {0};
    if (!requests_run(&r, &why))
        fprintf(stderr, "kith: %.*s\n", (int)why.n, why.n ? (const char *)why.p : "stopped");
    buf_done(&why);
}

/* ---- the run ---- */
static bool measure_it(struct fill *f) {
    struct report out = {.json = f->crowd.json};
    long pid = (long)f->crowd.pid;
    bool http = strcmp(f->over, "http") == 0;
    f->turn = must_alloc(f->senders * sizeof *f->turn);
    if (!crowd_make(&f->crowd, f->senders) || !crowd_directs(&f->crowd, f->conversations, members))
        return false;
    f->crowd.fleet.acked = on_acked;
    if (!http && !crowd_open(&f->crowd)) return false;
    struct usage_of before = process_usage(pid);
    progress_begin(&f->progress, "messages", f->messages);
    int64_t begin = clock_mono_ns();
    if (http) over_http(f);
    else over_mqtt(f);
    double seconds = (double)(clock_mono_ns() - begin) / 1e9;
    progress_end(&f->progress, f->stored);
    struct usage_of after = process_usage(pid);
    bool valid = f->stored == f->messages && !f->crowd.fleet.lost_connections;
    report_text(&out, "over", "over", f->over);
    report_count(&out, "messages", "messages stored", f->stored);
    report_count(&out, "conversations", "conversations", f->conversations);
    report_number(&out, "seconds", "seconds", seconds);
    report_number(&out, "stored_per_s", "stored/s", (double)f->stored / seconds);
    report_number(&out, "server_cpu_us", "server CPU us each",
        pid && f->stored ? (after.cpu_s - before.cpu_s) * 1e6 / (double)f->stored : 0);
    report_count(&out, "rss_bytes", "server memory, bytes", after.rss_bytes);
    report_count(&out, "again", "refused for now, sent again", f->again);
    report_count(&out, "refused", "refused", f->refused);
    report_count(&out, "connections_lost", "connections lost", f->crowd.fleet.lost_connections);
    report_bool(&out, "valid", "valid", valid);
    report_print(&out);
    return valid;
}

static bool options_check(const struct fill *f) {
    if (!f->messages || !f->senders || !f->inflight || f->conversations < f->senders)
        return fputs("kith: --messages, --senders and --inflight must be at least 1, "
                     "--conversations at least --senders\n",
                   stderr),
               false;
    if (strcmp(f->over, "mqtt") != 0 && strcmp(f->over, "http") != 0)
        return fputs("kith: --over must be mqtt or http\n", stderr), false;
    if (strcmp(f->over, "http") == 0 && strcmp(f->crowd.broker, "kith") != 0)
        return fputs("kith: --over http is for kith only\n", stderr), false;
    if (!f->crowd.qos)
        return fputs("kith: QoS 0 tells nothing about what is stored; use --qos 1\n", stderr),
               false;
    return true;
}

int bench_fill(int argc, char **argv) {
    struct fill *f = must_alloc(sizeof *f);
    crowd_defaults(&f->crowd);
    f->over = "mqtt";
    f->messages = 100000;
    f->conversations = 10000;
    f->senders = 64;
    f->inflight = 64;
    const struct drive_option O[] = {CROWD_OPTIONS(&f->crowd),
        {"over", OPTION_TEXT, &f->over, "mqtt|http", "by which interface (default mqtt)"},
        {"messages", OPTION_COUNT, &f->messages, "M", "messages (default 100000)"},
        {"conversations", OPTION_COUNT, &f->conversations, "N",
            "conversations of two (default 10000)"},
        {"senders", OPTION_COUNT, &f->senders, "N", "people who write (default 64)"},
        {"inflight", OPTION_COUNT, &f->inflight, "N",
            "under way for each sender, over HTTP in all (default 64)"},
        {NULL, 0, NULL, NULL, NULL}};
    int status = options_take(argc, argv, "bench fill [options]", O, NULL);
    if (status < 0 && (!options_check(f) || !crowd_check(&f->crowd))) status = EXIT_USAGE;
    if (status < 0) status = measure_it(f) ? EXIT_DONE : EXIT_FAILED;
    crowd_done(&f->crowd);
    free(f->turn);
    free(f);
    return status;
}
