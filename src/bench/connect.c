/* bench connect: many devices from several loopback addresses: how fast they connect
 * and subscribe, what memory each takes, and what the server spends on them while nothing happens.
 * SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "bench/bench_in.h"

#define SETTLE_NS SECOND_NS /* before memory is read */
#define SOURCES_MAX 200

struct connects {
    struct crowd crowd;
    size_t devices, sources;
    double hold_s;
    bool kept;
    char (*addresses)[20];
    const char **list;
    struct hist handshakes;
};

static void hold(struct connects *c, double seconds) {
    for (int64_t until = clock_mono_ns() + (int64_t)(seconds * 1e9); clock_mono_ns() < until;)
        fleet_turn(&c->crowd.fleet, until);
}

static bool measure_it(struct connects *c) {
    struct report out = {.json = c->crowd.json};
    struct fleet *f = &c->crowd.fleet;
    long pid = (long)c->crowd.pid;
    if (!crowd_make(&c->crowd, c->devices)) return false;
    for (size_t i = 0; i < c->devices; i++) crowd_subscribe(&c->crowd, i, c->crowd.names[i]);
    f->sources = c->list;
    f->source_count = c->sources;
    f->handshakes = &c->handshakes;
    f->clean = !c->kept;
    struct usage_of before = process_usage(pid);
    int64_t begin = clock_mono_ns();
    if (!crowd_open(&c->crowd)) return false;
    double seconds = (double)(clock_mono_ns() - begin) / 1e9,
           cpu_s = process_usage(pid).cpu_s - before.cpu_s;
    hold(c, (double)SETTLE_NS / 1e9);
    struct usage_of open = process_usage(pid);
    hold(c, c->hold_s);
    struct usage_of held = process_usage(pid);
    double n = (double)c->devices;
    report_count(&out, "devices", "devices", c->devices);
    report_count(&out, "sources", "source addresses", c->sources);
    report_number(&out, "seconds", "seconds", seconds);
    report_number(&out, "connects_per_s", "connected, subscribed/s", n / seconds);
    report_number(&out, "server_cpu_us", "server CPU us each", pid ? cpu_s * 1e6 / n : 0);
    report_number(&out, "connection_bytes", "server memory each, bytes",
        pid ? ((double)open.rss_bytes - (double)before.rss_bytes) / n : 0);
    report_count(&out, "rss_bytes", "server memory, bytes", open.rss_bytes);
    report_times(&out, "handshake_us", "connect to SUBACK", &c->handshakes);
    if (c->hold_s > 0) {
        report_number(&out, "idle_cpu_percent", "idle server CPU, %",
            (held.cpu_s - open.cpu_s) * 100 / c->hold_s);
        report_count(&out, "idle_rss_bytes", "memory after it, bytes", held.rss_bytes);
    }
    report_count(&out, "connections_lost", "connections lost", f->lost_connections);
    report_bool(&out, "valid", "valid", f->ready == c->devices && !f->lost_connections);
    report_print(&out);
    return f->ready == c->devices && !f->lost_connections;
}

int bench_connect(int argc, char **argv) {
    struct connects *c = must_alloc(sizeof *c);
    crowd_defaults(&c->crowd);
    c->devices = 5000;
    c->sources = 4;
    const struct drive_option O[] = {CROWD_OPTIONS(&c->crowd),
        {"devices", OPTION_COUNT, &c->devices, "N", "devices (default 5000)"},
        {"sources", OPTION_COUNT, &c->sources, "K",
            "local addresses 127.0.0.1 to 127.0.0.K (default 4; 0: the kernel chooses)"},
        {"kept", OPTION_SWITCH, &c->kept, NULL, "kept sessions (default: clean ones)"},
        {"hold", OPTION_NUMBER, &c->hold_s, "S",
            "seconds to stay idle, for the server's idle CPU and memory"},
        {NULL, 0, NULL, NULL, NULL}};
    int status = options_take(argc, argv, "bench connect [options]", O, NULL);
    if (status < 0 && (!c->devices || c->sources > SOURCES_MAX)) {
        fprintf(stderr, "kith: --devices must be at least 1, --sources at most %d\n", SOURCES_MAX);
        status = EXIT_USAGE;
    }
    if (status < 0 && !crowd_check(&c->crowd)) status = EXIT_USAGE;
    if (status < 0) {
        c->addresses = must_alloc((c->sources + 1) * sizeof *c->addresses);
        c->list = must_alloc((c->sources + 1) * sizeof *c->list);
        for (size_t i = 0; i < c->sources; i++) {
            snprintf(
                c->addresses[i], sizeof c->addresses[i], "127.0.0.%u", (unsigned)(i + 1) & 255);
            c->list[i] = c->addresses[i];
        }
        status = measure_it(c) ? EXIT_DONE : EXIT_FAILED;
    }
    crowd_done(&c->crowd);
    free(c->addresses);
    free(c->list);
    free(c);
    return status;
}
