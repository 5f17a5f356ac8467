/* bench storm: many connected devices, each with messages that it has not acknowledged; the server
 * is killed and started again by someone else, and all come back at once: how long until all are
 * there, and until each has what was stored for it. Says on standard error when it may be killed.
 * SPDX-License-Identifier: Apache-2.0 */
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "bench/bench_in.h"

#define SENDERS 50
#define PATIENCE_NS (30 * SECOND_NS)
#define QUIET_NS (5 * SECOND_NS) /* without a message: the rest is lost */
#define POLL_NS (2 * MILLI_NS)

struct storm {
    struct crowd crowd; /* devices: receivers, then senders */
    size_t devices, messages, at_once, sources;
    uint32_t *sent; /* to each receiver */
    struct track *tracks;
    uint64_t acked, total, refused;
    int64_t last_ns, ready_ns, listening_ns;
    struct tally tally;
    struct hist caught_up, handshakes;
    bool counting; /* the server was started again */
    char addresses[200][20];
    const char *list[200];
};

static struct storm *storm_of(struct device *d) {
    return (struct storm *)(void *)((char *)d->fleet - offsetof(struct storm, crowd.fleet));
}

static void on_published(struct device *d, const struct mqtt_packet *p) {
    struct storm *s = storm_of(d);
    size_t i = (size_t)(d - s->crowd.fleet.devices);
    int64_t due;
    uint32_t number;
    if (!s->counting || i >= s->devices || !message_stamp(p, s->crowd.kith, &due, &number)) return;
    if (!track_take(&s->tracks[i], number, p->dup, &s->tally)) return;
    s->last_ns = clock_mono_ns();
    if (s->tracks[i].seen == s->sent[i] && !s->tracks[i].missing)
        hist_record(&s->caught_up, (uint64_t)(s->last_ns - s->listening_ns));
}

static void on_acked(struct device *d, uint16_t packet, uint8_t reason) {
    struct storm *s = storm_of(d);
    s->acked++;
    if (reason >= 0x80) s->refused++;
}

static void members(struct crowd *c, size_t i, size_t *a, size_t *b) {
    struct storm *s = (struct storm *)(void *)((char *)c - offsetof(struct storm, crowd));
    *a = i;
    *b = s->devices + i % SENDERS;
}

static bool set_up(struct storm *s) {
    struct crowd *c = &s->crowd;
    s->sent = must_alloc(s->devices * sizeof *s->sent);
    s->tracks = must_alloc(s->devices * sizeof *s->tracks);
    if (!crowd_make(c, s->devices + SENDERS) || !crowd_directs(c, s->devices, members))
        return false;
    for (size_t i = 0; i < s->devices; i++) {
        char topic[64];
        snprintf(topic, sizeof topic, "%s.%zu", c->run, i);
        crowd_subscribe(c, i, topic);
    }
    for (size_t i = 0; i < s->sources; i++) {
        snprintf(s->addresses[i], sizeof s->addresses[i], "127.0.0.%u", (unsigned)(i + 1) & 255);
        s->list[i] = s->addresses[i];
    }
    c->fleet.sources = s->list;
    c->fleet.source_count = s->sources;
    c->fleet.clean = false;
    c->fleet.withholds = true;
    c->fleet.published = on_published;
    c->fleet.acked = on_acked;
    return crowd_open(c);
}

/* Each receiver's messages; all are connected, and acknowledge none. */
static bool store(struct storm *s) {
    struct fleet *f = &s->crowd.fleet;
    s->total = (uint64_t)s->devices * s->messages;
    uint64_t next = 0, had = 0;
    int64_t moved = clock_mono_ns();
    while (s->acked < s->total && clock_mono_ns() - moved < PATIENCE_NS) {
        for (; next < s->total; next++) {
            size_t i = (size_t)(next % s->devices), from = s->devices + i % SENDERS;
            char to[64], id[64];
            if (f->devices[from].outstanding >= 32) break;
            s->sent[i]++;
            snprintf(to, sizeof to, "%s.%zu", s->crowd.run, i);
            snprintf(id, sizeof id, "%s-%u", s->crowd.run, s->sent[i]);
            crowd_publish(&s->crowd, from, to, clock_mono_ns(), s->sent[i], id);
        }
        fleet_turn(f, clock_mono_ns() + 10 * MILLI_NS);
        if (s->acked != had) moved = clock_mono_ns();
        had = s->acked;
    }
    return s->acked == s->total && !s->refused;
}

/* ---- down and up ---- */
static bool is_up(const struct storm *s) {
    if (s->crowd.kith) {
        struct buf text = {0};
        int status = request_get(s->crowd.http, s->crowd.key, "/readyz", &text);
        buf_done(&text);
        return status == 200;
    }
    int fd = -1;
    bool up = sock_connect(s->crowd.mqtt, NULL, &fd) == OK;
    struct pollfd p = {.fd = fd, .events = POLLOUT};
    up = up && poll(&p, 1, 1000) == 1 && !(p.revents & (POLLERR | POLLHUP));
    if (fd >= 0) close(fd);
    return up;
}

/* Until the server has died and listens again; its devices have noticed. */
static bool restarted(struct storm *s) {
    struct fleet *f = &s->crowd.fleet;
    fputs("kith: kill the server and start it again\n", stderr);
    fflush(stderr);
    int64_t until = clock_mono_ns() + PATIENCE_NS;
    while (f->ready && clock_mono_ns() < until) fleet_turn(f, clock_mono_ns() + 10 * MILLI_NS);
    int64_t died = clock_mono_ns();
    fleet_part(f, 0, f->count);
    while (!is_up(s) && clock_mono_ns() < until) usleep(POLL_NS / 1000);
    s->listening_ns = s->last_ns = clock_mono_ns();
    s->ready_ns = s->listening_ns - died;
    return s->listening_ns < until;
}

static bool come_back(struct storm *s, int64_t *back) {
    struct fleet *f = &s->crowd.fleet;
    f->withholds = false;
    f->handshakes_max = s->at_once;
    f->handshakes = &s->handshakes;
    f->lost_connections = 0;
    s->counting = true;
    if (!crowd_open(&s->crowd)) return false;
    *back = clock_mono_ns() - s->listening_ns;
    while (s->tally.fresh < s->total && clock_mono_ns() - s->last_ns < QUIET_NS)
        fleet_turn(f, clock_mono_ns() + 10 * MILLI_NS);
    int64_t last = s->last_ns;
    for (int64_t until = clock_mono_ns() + SECOND_NS / 2; clock_mono_ns() < until;)
        fleet_turn(f, until);
    s->last_ns = last;
    for (size_t i = 0; i < s->devices; i++) track_end(&s->tracks[i], s->sent[i], &s->tally);
    return true;
}

static bool report(struct storm *s, int64_t back) {
    struct report out = {.json = s->crowd.json};
    bool valid = s->tally.fresh == s->total && !s->tally.lost && !s->tally.repeated &&
                 !s->tally.reordered && !s->crowd.fleet.lost_connections;
    int64_t caught = s->last_ns - s->listening_ns;
    report_count(&out, "devices", "devices", s->devices);
    report_count(&out, "stored", "messages stored", s->total);
    report_count(&out, "at_once", "handshakes at a time", s->at_once);
    report_number(&out, "down_s", "noticed to ready again, s", (double)s->ready_ns / 1e9);
    report_number(&out, "back_s", "ready to all connected, s", (double)back / 1e9);
    report_number(&out, "caught_up_s", "ready to all caught up, s",
        (double)(caught > back ? caught : back) / 1e9);
    report_times(&out, "handshake_us", "connect to ready", &s->handshakes);
    report_times(&out, "caught_up_us", "ready to a device's last", &s->caught_up);
    report_count(&out, "lost", "lost", s->tally.lost);
    report_count(&out, "repeated", "repeated", s->tally.repeated);
    report_count(&out, "redelivered", "redelivered with DUP", s->tally.redelivered);
    report_count(&out, "reordered", "reordered", s->tally.reordered);
    report_count(&out, "connections_lost", "connections lost", s->crowd.fleet.lost_connections);
    report_bool(&out, "valid", "valid", valid);
    report_print(&out);
    return valid;
}

static bool measure_it(struct storm *s) {
    int64_t back;
    if (!set_up(s)) return false;
    if (!store(s))
        return fprintf(stderr, "kith: only %llu of %llu messages were stored\n",
                   (unsigned long long)s->acked, (unsigned long long)s->total),
               false;
    if (!restarted(s)) return fputs("kith: the server did not come again\n", stderr), false;
    return come_back(s, &back) && report(s, back);
}

int bench_storm(int argc, char **argv) {
    struct storm *s = must_alloc(sizeof *s);
    crowd_defaults(&s->crowd);
    s->devices = 10000;
    s->messages = 3;
    s->at_once = 2000;
    s->sources = 4;
    const struct drive_option O[] = {CROWD_OPTIONS(&s->crowd),
        {"devices", OPTION_COUNT, &s->devices, "N", "devices (default 10000)"},
        {"messages", OPTION_COUNT, &s->messages, "M", "stored for each (default 3)"},
        {"at-once", OPTION_COUNT, &s->at_once, "K",
            "handshakes at a time when they come back (default 2000)"},
        {"sources", OPTION_COUNT, &s->sources, "K",
            "local addresses 127.0.0.1 to 127.0.0.K (default 4)"},
        {NULL, 0, NULL, NULL, NULL}};
    int status = options_take(argc, argv, "bench storm [options]", O, NULL);
    bool none = !s->devices || !s->messages || !s->at_once || !s->sources;
    if (status < 0 && (none || s->sources > 200 || s->crowd.qos != 1)) {
        fputs("kith: --devices, --messages, --at-once and --sources must be at least 1, --sources "
              "at most 200, --qos 1\n",
            stderr);
        status = EXIT_USAGE;
    }
    if (status < 0 && !crowd_check(&s->crowd)) status = EXIT_USAGE;
    if (status < 0) status = measure_it(s) ? EXIT_DONE : EXIT_FAILED;
    crowd_done(&s->crowd);
    free(s->sent);
    free(s->tracks);
    free(s);
    return status;
}
