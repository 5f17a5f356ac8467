/* bench group and kith bench channel: one conversation, many members, one writer; the
 * time until the last connected member has a message. Closed loop (the next goes out when all have
 * the last) or open with --rate, timed from when a message was due.
 * SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "bench/bench_in.h"

#define PATIENCE_NS (30 * SECOND_NS)
#define LINGER_NS (300 * MILLI_NS) /* at the end: for what should not come */
#define GROUP_MAX 1024

struct fanout {
    struct crowd crowd; /* all connected members; device 0 writes */
    const char *type;
    char conversation[32];
    size_t members, connected, messages, warmup;
    double rate;
    uint32_t sent, full; /* messages; those that all have */
    struct track *tracks;
    uint32_t *left; /* by message: devices that lack it */
    int64_t *due;
    int64_t last_ns, begun_ns;
    struct hist delivery, last, ack, lateness;
    struct tally tally;
    uint64_t delivered, refused, others;
    double made_s;
};

static struct fanout *fanout_of(struct device *d) {
    return (struct fanout *)(void *)((char *)d->fleet - offsetof(struct fanout, crowd.fleet));
}
static bool counts(const struct fanout *f, uint32_t number) { return number > f->warmup; }

static void on_published(struct device *d, const struct mqtt_packet *p) {
    struct fanout *f = fanout_of(d);
    int64_t due, now = clock_mono_ns();
    uint32_t n;
    if (!stamp_read(p->payload, f->crowd.kith, &due, &n) || n == 0 || n > f->sent) {
        f->others++;
        return;
    }
    if (!track_take(&f->tracks[d - f->crowd.fleet.devices], n, p->dup, &f->tally)) return;
    f->last_ns = now;
    uint64_t took = (uint64_t)(now > due ? now - due : 0);
    if (--f->left[n] == 0) {
        f->full++;
        if (counts(f, n)) hist_record(&f->last, took);
    }
    if (!counts(f, n)) return;
    f->delivered++;
    hist_record(&f->delivery, took);
}

static void on_acked(struct device *d, uint16_t packet, uint8_t reason) {
    struct fanout *f = fanout_of(d);
    uint32_t number = f->sent - d->outstanding; /* the writer's are acknowledged in order */
    if (reason >= 0x80) f->refused++;
    if (counts(f, number)) hist_record(&f->ack, (uint64_t)(clock_mono_ns() - f->due[number]));
}

static bool set_up(struct fanout *f) {
    struct crowd *c = &f->crowd;
    snprintf(f->conversation, sizeof f->conversation, "%s.all", c->run);
    f->tracks = must_alloc(f->connected * sizeof *f->tracks);
    f->left = must_alloc((f->messages + 1) * sizeof *f->left);
    f->due = must_alloc((f->messages + 1) * sizeof *f->due);
    int64_t begin = clock_mono_ns();
    if (!crowd_conversation(c, f->conversation, f->type, 0, f->members)) return false;
    f->made_s = (double)(clock_mono_ns() - begin) / 1e9;
    if (!crowd_make(c, f->connected)) return false;
    for (size_t i = 0; i < f->connected; i++) crowd_subscribe(c, i, f->conversation);
    c->fleet.published = on_published;
    c->fleet.acked = on_acked;
    return crowd_open(c);
}

static void message_send(struct fanout *f, int64_t due) {
    char id[64];
    f->sent++;
    f->left[f->sent] = (uint32_t)f->connected;
    f->due[f->sent] = due;
    snprintf(id, sizeof id, "%s-%u", f->crowd.run, f->sent);
    crowd_publish(&f->crowd, 0, f->conversation, due, f->sent, id);
    if (f->sent == f->warmup + 1) f->begun_ns = due;
}

static void run(struct fanout *f) {
    struct fleet *fleet = &f->crowd.fleet;
    const struct device *writer = &fleet->devices[0];
    double gap = f->rate > 0 ? 1e9 / f->rate : 0, due = (double)clock_mono_ns();
    f->last_ns = clock_mono_ns();
    while (f->full < f->messages) {
        int64_t now = clock_mono_ns(), until = now + 100 * MILLI_NS;
        bool left = f->sent < f->messages && writer->state == DEVICE_READY;
        if (left && f->rate > 0) {
            for (; due <= (double)now && f->sent < f->messages &&
                   writer->outstanding < fleet->receive_maximum;
                 due += gap) {
                message_send(f, (int64_t)due);
                if (counts(f, f->sent)) hist_record(&f->lateness, (uint64_t)(now - (int64_t)due));
            }
            if (f->sent < f->messages && (int64_t)due < until &&
                writer->outstanding < fleet->receive_maximum)
                until = (int64_t)due;
        } else if (left && f->full == f->sent) {
            message_send(f, now);
        }
        if (now - f->last_ns > PATIENCE_NS) break;
        fleet_turn(fleet, until);
    }
}

static void linger(struct fanout *f) {
    for (int64_t until = clock_mono_ns() + LINGER_NS; clock_mono_ns() < until;)
        fleet_turn(&f->crowd.fleet, until);
    for (size_t i = 0; i < f->connected; i++) track_end(&f->tracks[i], f->sent, &f->tally);
}

/* ---- what the server counted ---- */
struct server_counts {
    bool known;
    double records, relays, waiting;
};

static double metric(const struct buf *text, const char *name) {
    char line[80];
    int n = snprintf(line, sizeof line, "\n%s ", name);
    const char *at = memmem(text->p, text->n, line, (size_t)n);
    return at ? strtod(at + n, NULL) : 0;
}

static struct server_counts server_ask(const struct fanout *f) {
    struct buf text = {0};
    struct server_counts c = {0};
    c.known = f->crowd.kith && request_get(f->crowd.http, f->crowd.key, "/metrics", &text) == 200;
    buf_char(&text, 0);
    if (c.known)
        c = (struct server_counts){true, metric(&text, "kith_records_appended_total"),
            metric(&text, "kith_relays_sent_total"), metric(&text, "kith_relays_waiting")};
    buf_done(&text);
    return c;
}

/* Members who are away have their share of the work done when no relay waits any more. */
static struct server_counts server_settled(const struct fanout *f) {
    struct server_counts c = server_ask(f);
    for (int64_t until = clock_mono_ns() + PATIENCE_NS;
         c.known && c.waiting > 0 && clock_mono_ns() < until; c = server_ask(f))
        usleep(20000);
    return c;
}

static bool report(struct fanout *f, double cpu_s, double own_s, struct server_counts before,
    struct server_counts after) {
    struct report out = {.json = f->crowd.json};
    double seconds = (double)(f->last_ns - f->begun_ns) / 1e9,
           each = f->delivered ? 1e6 / (double)f->delivered : 0, all = (double)f->messages;
    bool valid = f->delivered && f->full == f->messages && !f->tally.lost && !f->tally.repeated &&
                 !f->tally.reordered && !f->refused && !f->crowd.fleet.lost_connections;
    report_count(&out, "members", "members", f->members);
    report_count(&out, "connected", "connected", f->connected);
    report_count(&out, "messages", "messages", f->messages - f->warmup);
    report_number(&out, "rate", "paced at (0: closed loop)", f->rate);
    if (f->crowd.kith) report_number(&out, "made_s", "made in, s", f->made_s);
    report_number(&out, "seconds", "seconds", seconds);
    report_number(
        &out, "delivered_per_s", "delivered/s", seconds > 0 ? (double)f->delivered / seconds : 0);
    report_number(
        &out, "server_cpu_us", "server CPU us a delivery", f->crowd.pid ? cpu_s * each : 0);
    report_number(&out, "server_cpu_message_us", "server CPU us a message",
        f->crowd.pid && f->messages > f->warmup ? cpu_s * 1e6 / (all - (double)f->warmup) : 0);
    report_number(&out, "own_cpu_us", "generator CPU us each", own_s * each);
    report_times(&out, "last_us", "until the last has it", &f->last);
    report_times(&out, "delivery_us", "delivery", &f->delivery);
    report_times(&out, "puback_us", "PUBACK", &f->ack);
    if (f->rate > 0) report_times(&out, "lateness_us", "sent after it was due", &f->lateness);
    /* with the records of connected devices' cursors, which are stored four times a second */
    if (before.known && after.known) {
        report_number(&out, "records_per_message", "log records a message",
            (after.records - before.records) / all);
        report_number(
            &out, "relays_per_message", "relays a message", (after.relays - before.relays) / all);
    }
    report_count(&out, "lost", "lost", f->tally.lost);
    report_count(&out, "repeated", "repeated", f->tally.repeated);
    report_count(&out, "reordered", "reordered", f->tally.reordered);
    report_count(&out, "refused", "refused", f->refused);
    report_count(&out, "connections_lost", "connections lost", f->crowd.fleet.lost_connections);
    report_bool(&out, "valid", "valid", valid);
    report_print(&out);
    return valid;
}

static int measure_it(struct fanout *f) {
    if (!set_up(f)) return EXIT_FAILED;
    struct server_counts before = server_settled(f);
    struct usage_of server = process_usage((long)f->crowd.pid), own = process_usage(getpid());
    run(f);
    linger(f);
    struct server_counts after = server_settled(f);
    double cpu_s = process_usage((long)f->crowd.pid).cpu_s - server.cpu_s,
           own_s = process_usage(getpid()).cpu_s - own.cpu_s;
    return report(f, cpu_s, own_s, before, after) ? EXIT_DONE : EXIT_FAILED;
}

static bool options_check(struct fanout *f, size_t members_max) {
    if (f->connected > f->members) f->connected = f->members;
    f->messages += f->warmup;
    if (!f->connected || f->messages <= f->warmup)
        return fputs("kith: --members, --connected and --messages must be at least 1\n", stderr),
               false;
    if (f->members <= members_max) return crowd_check(&f->crowd);
    fprintf(
        stderr, "kith: a group has at most %zu members; try 'kith bench channel'\n", members_max);
    return false;
}

static int fanout(int argc, char **argv, const char *type, size_t members, size_t connected,
    size_t messages, size_t members_max) {
    struct fanout *f = must_alloc(sizeof *f);
    char usage[80];
    crowd_defaults(&f->crowd);
    f->type = type;
    f->members = members;
    f->connected = connected;
    f->messages = messages;
    f->warmup = 10;
    const struct drive_option O[] = {CROWD_OPTIONS(&f->crowd),
        {"members", OPTION_COUNT, &f->members, "N",
            "members (default: group 1000, channel 100000)"},
        {"connected", OPTION_COUNT, &f->connected, "C",
            "members who are connected (default: group all, channel 1000)"},
        {"messages", OPTION_COUNT, &f->messages, "K", "messages (default: group 500, channel 100)"},
        {"warmup", OPTION_COUNT, &f->warmup, "K", "messages before them (default 10)"},
        {"rate", OPTION_NUMBER, &f->rate, "R",
            "messages a second, open loop (default: the next when all have the last)"},
        {NULL, 0, NULL, NULL, NULL}};
    snprintf(usage, sizeof usage, "%s [options]", argv[0]);
    int status = options_take(argc, argv, usage, O, NULL);
    if (status < 0) status = options_check(f, members_max) ? measure_it(f) : EXIT_USAGE;
    crowd_done(&f->crowd);
    free(f->tracks);
    free(f->left);
    free(f->due);
    free(f);
    return status;
}

int bench_group(int argc, char **argv) {
    return fanout(argc, argv, "group", 1000, SIZE_MAX, 500, GROUP_MAX);
}
int bench_channel(int argc, char **argv) {
    return fanout(argc, argv, "channel", 100000, 1000, 100, SIZE_MAX);
}
