/* bench one-to-one: pairs of devices, one sends and one receives. Closed loop, or open
 * with --rate: there each delivery is timed from the moment the message was due, so that a slow
 * server cannot slow its own clock. SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "bench/bench_in.h"

#define SETTLE_NS (3 * SECOND_NS) /* after the end: nothing has arrived for so long */
#define PACKETS 1024              /* PUBLISHes of one sender that can be timed at once */

struct pair {
    uint32_t sent;
    struct track track;
    int64_t due_ns[PACKETS]; /* by packet id */
};
struct bench {
    struct crowd crowd; /* device 2i sends, 2i + 1 receives */
    size_t pairs, inflight;
    double rate, seconds, warmup;
    struct pair *pair;
    struct hist delivery, ack, lateness;
    struct tally tally;
    uint64_t delivered, refused, others;
    bool measuring, kept;
};

static struct bench *bench_of(struct device *d) {
    return (struct bench *)(void *)((char *)d->fleet - offsetof(struct bench, crowd.fleet));
}
static struct pair *pair_of(struct bench *b, const struct device *d) {
    return &b->pair[(size_t)(d - b->crowd.fleet.devices) / 2];
}

static void on_published(struct device *d, const struct mqtt_packet *p) {
    struct bench *b = bench_of(d);
    int64_t due, now = clock_mono_ns();
    uint32_t number;
    if (!message_stamp(p, b->crowd.kith, &due, &number)) {
        b->others++;
        return;
    }
    if (!track_take(&pair_of(b, d)->track, number, p->dup, &b->tally) || !b->measuring) return;
    b->delivered++;
    hist_record(&b->delivery, now > due ? (uint64_t)(now - due) : 0);
}

static void on_acked(struct device *d, uint16_t packet, uint8_t reason) {
    struct bench *b = bench_of(d);
    int64_t now = clock_mono_ns(), due = pair_of(b, d)->due_ns[packet % PACKETS];
    if (reason >= 0x80) b->refused++;
    if (b->measuring) hist_record(&b->ack, now > due ? (uint64_t)(now - due) : 0);
}

static void pair_send(struct bench *b, size_t i, int64_t due) {
    struct pair *pair = &b->pair[i];
    char to[64], id[64];
    pair->sent++;
    snprintf(to, sizeof to, "%s.%zu", b->crowd.run, i);
    snprintf(id, sizeof id, "%s-%u", b->crowd.run, pair->sent);
    pair->due_ns[crowd_publish(&b->crowd, 2 * i, to, due, pair->sent, id) % PACKETS] = due;
}

static void members(struct crowd *c, size_t i, size_t *a, size_t *b) {
    *a = 2 * i;
    *b = 2 * i + 1;
}

static bool set_up(struct bench *b) {
    b->pair = must_alloc(b->pairs * sizeof *b->pair);
    if (!crowd_make(&b->crowd, 2 * b->pairs) || !crowd_directs(&b->crowd, b->pairs, members))
        return false;
    for (size_t i = 0; i < b->pairs; i++) {
        char topic[64];
        snprintf(topic, sizeof topic, "%s.%zu", b->crowd.run, i);
        crowd_subscribe(&b->crowd, 2 * i + 1, topic);
    }
    b->crowd.fleet.clean = !b->kept;
    b->crowd.fleet.published = on_published;
    b->crowd.fleet.acked = on_acked;
    return crowd_open(&b->crowd);
}

/* ---- running ---- */
static void closed_turn(struct bench *b, int64_t until) {
    for (size_t i = 0; i < b->pairs; i++) {
        const struct device *d = &b->crowd.fleet.devices[2 * i];
        const struct pair *p = &b->pair[i];
        if (d->state != DEVICE_READY) continue;
        if (b->crowd.qos)
            while (d->outstanding < b->inflight) pair_send(b, i, clock_mono_ns());
        else
            while (p->sent - p->track.seen < b->inflight) pair_send(b, i, clock_mono_ns());
    }
    fleet_turn(&b->crowd.fleet, until);
}

static void open_turn(struct bench *b, double gap, double *due, size_t *next, int64_t until) {
    int64_t now = clock_mono_ns();
    for (; *due <= (double)now; *due += gap, *next = (*next + 1) % b->pairs) {
        pair_send(b, *next, (int64_t)*due);
        if (b->measuring) hist_record(&b->lateness, (uint64_t)(now - (int64_t)*due));
    }
    fleet_turn(&b->crowd.fleet, (int64_t)*due < until ? (int64_t)*due : until);
}

struct run_result {
    double seconds, cpu_s, own_s;
};

static struct run_result run(struct bench *b) {
    int64_t begin = clock_mono_ns(), warm = begin + (int64_t)(b->warmup * 1e9),
            end = warm + (int64_t)(b->seconds * 1e9), now;
    double gap = b->rate > 0 ? 1e9 / b->rate : 0, due = (double)begin;
    struct usage_of before = {0}, own = {0};
    size_t next = 0;
    while ((now = clock_mono_ns()) < end) {
        if (!b->measuring && now >= warm) {
            b->measuring = true;
            before = process_usage((long)b->crowd.pid);
            own = process_usage(getpid());
            warm = now;
        }
        if (b->rate > 0) open_turn(b, gap, &due, &next, b->measuring ? end : warm);
        else closed_turn(b, b->measuring ? end : warm);
    }
    struct run_result r = {(double)(now - warm) / 1e9,
        process_usage((long)b->crowd.pid).cpu_s - before.cpu_s,
        process_usage(getpid()).cpu_s - own.cpu_s};
    b->measuring = false;
    for (bool left = true; left && clock_mono_ns() < now + SETTLE_NS;) {
        uint64_t fresh = b->tally.fresh;
        fleet_turn(&b->crowd.fleet, clock_mono_ns() + 10 * MILLI_NS);
        if (b->tally.fresh != fresh) now = clock_mono_ns();
        left = false;
        for (size_t i = 0; i < b->pairs; i++)
            left |= b->pair[i].track.missing || b->pair[i].track.seen < b->pair[i].sent;
    }
    for (size_t i = 0; i < b->pairs; i++) track_end(&b->pair[i].track, b->pair[i].sent, &b->tally);
    return r;
}

static bool report(struct bench *b, struct run_result r) {
    struct report out = {.json = b->crowd.json};
    double each = b->delivered ? 1e6 / (double)b->delivered : 0;
    bool valid = b->delivered && !b->tally.lost && !b->tally.repeated && !b->tally.reordered &&
                 !b->refused && !b->crowd.fleet.lost_connections;
    report_count(&out, "pairs", "pairs", b->pairs);
    report_count(&out, "inflight", "in flight each", b->inflight);
    report_number(&out, "rate", "paced at (0: closed loop)", b->rate);
    report_number(&out, "seconds", "seconds", r.seconds);
    report_number(&out, "delivered_per_s", "delivered/s", (double)b->delivered / r.seconds);
    report_number(&out, "server_cpu_us", "server CPU us each", b->crowd.pid ? r.cpu_s * each : 0);
    report_number(&out, "own_cpu_us", "generator CPU us each", r.own_s * each);
    report_times(&out, "delivery_us", "delivery", &b->delivery);
    report_times(&out, "puback_us", "PUBACK", &b->ack);
    if (b->rate > 0) report_times(&out, "lateness_us", "sent after it was due", &b->lateness);
    report_count(&out, "lost", "lost", b->tally.lost);
    report_count(&out, "repeated", "repeated", b->tally.repeated);
    report_count(&out, "reordered", "reordered", b->tally.reordered);
    report_count(&out, "refused", "refused", b->refused);
    report_count(&out, "connections_lost", "connections lost", b->crowd.fleet.lost_connections);
    report_count(&out, "receipts", "receipts and others", b->others);
    report_bool(&out, "valid", "valid", valid);
    report_print(&out);
    return valid;
}

int bench_one_to_one(int argc, char **argv) {
    struct bench *b = must_alloc(sizeof *b);
    crowd_defaults(&b->crowd);
    b->pairs = 100;
    b->inflight = 1;
    b->seconds = 10;
    b->warmup = 2;
    const struct drive_option O[] = {CROWD_OPTIONS(&b->crowd),
        {"pairs", OPTION_COUNT, &b->pairs, "N", "pairs of devices (default 100)"},
        {"inflight", OPTION_COUNT, &b->inflight, "N",
            "PUBLISHes under way for each sender, closed loop (default 1)"},
        {"rate", OPTION_NUMBER, &b->rate, "R",
            "messages a second in all, open loop (default: closed loop)"},
        {"duration", OPTION_NUMBER, &b->seconds, "S", "seconds (default 10)"},
        {"warmup", OPTION_NUMBER, &b->warmup, "S", "seconds before them (default 2)"},
        {"kept", OPTION_SWITCH, &b->kept, NULL, "kept sessions (default: clean ones)"},
        {NULL, 0, NULL, NULL, NULL}};
    int status = options_take(argc, argv, "bench one-to-one [options]", O, NULL);
    if (status < 0 && (!b->pairs || !b->inflight || b->inflight > PACKETS / 2)) {
        fprintf(stderr, "kith: --pairs must be at least 1, --inflight from 1 to %d\n", PACKETS / 2);
        status = EXIT_USAGE;
    }
    if (status < 0 && !crowd_check(&b->crowd)) status = EXIT_USAGE;
    if (status < 0) status = set_up(b) && report(b, run(b)) ? EXIT_DONE : EXIT_FAILED;
    crowd_done(&b->crowd);
    free(b->pair);
    free(b);
    return status;
}
