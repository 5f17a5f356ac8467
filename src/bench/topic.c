/* bench fanout: few publishers, one topic, many subscribers, of any MQTT broker: deliveries a
 * second and what one costs the server. As fast as a window of messages that not all have yet
 * allows, so that a broker which drops for slow readers need not; or paced with --rate.
 * SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "bench/bench_in.h"

enum { PUBLISHERS_MAX = 200, NUMBER_BITS = 24, RING = 8192 };
#define PATIENCE_NS (2 * SECOND_NS) /* without any delivery: what is under way is lost */

struct source {
    uint32_t sent, full; /* messages; those that all subscribers have */
    uint32_t left[RING]; /* by message: subscribers that lack it */
};
struct topic_bench {
    struct crowd crowd; /* publishers, then subscribers */
    size_t publishers, subscribers, window;
    double rate, seconds, warmup;
    struct source *sources;
    struct track *tracks; /* [subscriber][publisher] */
    struct hist delivery;
    struct tally tally;
    uint64_t delivered, refused;
    int64_t moved_ns;
    bool measuring;
};

static struct topic_bench *bench_of(struct device *d) {
    return (
        struct topic_bench *)(void *)((char *)d->fleet - offsetof(struct topic_bench, crowd.fleet));
}

/* A stamp's number is the publisher's, then the message's. */
static void on_published(struct device *d, const struct mqtt_packet *p) {
    struct topic_bench *b = bench_of(d);
    int64_t due, now = clock_mono_ns();
    uint32_t stamp;
    if (!stamp_read(p->payload, false, &due, &stamp)) return;
    size_t from = stamp >> NUMBER_BITS;
    size_t to = (size_t)(d - b->crowd.fleet.devices) - b->publishers;
    uint32_t number = stamp & ((1u << NUMBER_BITS) - 1);
    if (from >= b->publishers) return;
    struct source *s = &b->sources[from];
    if (!track_take(&b->tracks[to * b->publishers + from], number, p->dup, &b->tally)) return;
    b->moved_ns = now;
    if (number > s->full) s->left[number % RING]--;
    while (s->full < s->sent && !s->left[(s->full + 1) % RING]) s->full++;
    if (!b->measuring) return;
    b->delivered++;
    hist_record(&b->delivery, now > due ? (uint64_t)(now - due) : 0);
}

static void on_acked(struct device *d, uint16_t packet, uint8_t reason) {
    struct topic_bench *b = bench_of(d);
    if (reason >= 0x80) b->refused++;
}

static bool set_up(struct topic_bench *b) {
    struct crowd *c = &b->crowd;
    char topic[40];
    b->sources = must_alloc(b->publishers * sizeof *b->sources);
    b->tracks = must_alloc(b->subscribers * b->publishers * sizeof *b->tracks);
    if (!crowd_make(c, b->publishers + b->subscribers)) return false;
    snprintf(topic, sizeof topic, "%s/all", c->run);
    for (size_t i = 0; i < b->subscribers; i++) crowd_subscribe(c, b->publishers + i, topic);
    c->fleet.published = on_published;
    c->fleet.acked = on_acked;
    return crowd_open(c);
}

/* May publisher i send one more? */
static bool has_room(const struct topic_bench *b, size_t i) {
    const struct source *s = &b->sources[i];
    const struct device *d = &b->crowd.fleet.devices[i];
    return d->state == DEVICE_READY && s->sent - s->full < (b->rate > 0 ? RING : b->window) &&
           d->outstanding < b->crowd.fleet.receive_maximum;
}

static void message_send(struct topic_bench *b, size_t i, int64_t due) {
    struct source *s = &b->sources[i];
    char to[40];
    s->sent++;
    s->left[s->sent % RING] = (uint32_t)b->subscribers;
    snprintf(to, sizeof to, "%s/all", b->crowd.run);
    crowd_publish(&b->crowd, i, to, due, (uint32_t)i << NUMBER_BITS | s->sent, "");
}

static bool all_have(const struct topic_bench *b) {
    for (size_t i = 0; i < b->publishers; i++)
        if (b->sources[i].full < b->sources[i].sent) return false;
    return true;
}

/* What did not come for so long will not: counted in the end, and no longer waited for. */
static void give_up(struct topic_bench *b) {
    for (size_t i = 0; i < b->publishers; i++) {
        b->sources[i].full = b->sources[i].sent;
        memset(b->sources[i].left, 0, sizeof b->sources[i].left);
    }
    b->moved_ns = clock_mono_ns();
}

static void turn(struct topic_bench *b, double gap, double *due, size_t *next, int64_t until) {
    int64_t now = clock_mono_ns();
    for (size_t i = 0; gap <= 0 && i < b->publishers; i++)
        while (has_room(b, i)) message_send(b, i, now);
    for (; gap > 0 && *due <= (double)now && has_room(b, *next); *due += gap) {
        message_send(b, *next, (int64_t)*due);
        *next = (*next + 1) % b->publishers;
    }
    if (gap > 0 && *due > (double)now && *due < (double)until) until = (int64_t)*due;
    fleet_turn(&b->crowd.fleet, until);
    if (clock_mono_ns() - b->moved_ns > PATIENCE_NS && !all_have(b)) give_up(b);
}

struct topic_result {
    double seconds, cpu_s, own_s;
};

static struct topic_result run(struct topic_bench *b) {
    int64_t begin = b->moved_ns = clock_mono_ns(), warm = begin + (int64_t)(b->warmup * 1e9),
            end = warm + (int64_t)(b->seconds * 1e9), now;
    double gap = b->rate > 0 ? 1e9 / b->rate : 0, due = (double)begin;
    struct usage_of server = {0}, own = {0};
    size_t next = 0;
    while ((now = clock_mono_ns()) < end) {
        if (!b->measuring && now >= warm) {
            b->measuring = true;
            server = process_usage((long)b->crowd.pid);
            own = process_usage(getpid());
            warm = now;
        }
        turn(b, gap, &due, &next, b->measuring ? end : warm);
    }
    struct topic_result r = {(double)(now - warm) / 1e9,
        process_usage((long)b->crowd.pid).cpu_s - server.cpu_s,
        process_usage(getpid()).cpu_s - own.cpu_s};
    b->measuring = false;
    b->moved_ns = now;
    while (!all_have(b) && clock_mono_ns() - b->moved_ns < PATIENCE_NS)
        fleet_turn(&b->crowd.fleet, clock_mono_ns() + 10 * MILLI_NS);
    for (size_t i = 0; i < b->subscribers * b->publishers; i++)
        track_end(&b->tracks[i], b->sources[i % b->publishers].sent, &b->tally);
    return r;
}

static bool report(struct topic_bench *b, struct topic_result r) {
    struct report out = {.json = b->crowd.json};
    double each = b->delivered ? 1e6 / (double)b->delivered : 0, cpu = r.cpu_s * each;
    bool valid = b->delivered && !b->tally.lost && !b->tally.repeated && !b->tally.reordered &&
                 !b->refused && !b->crowd.fleet.lost_connections;
    report_count(&out, "publishers", "publishers", b->publishers);
    report_count(&out, "subscribers", "subscribers", b->subscribers);
    report_count(&out, "window", "messages under way each", b->window);
    report_number(&out, "rate", "paced at (0: closed loop)", b->rate);
    report_number(&out, "seconds", "seconds", r.seconds);
    report_number(&out, "delivered_per_s", "delivered/s", (double)b->delivered / r.seconds);
    report_number(&out, "server_cpu_us", "server CPU us a delivery", b->crowd.pid ? cpu : 0);
    report_number(
        &out, "delivered_per_core_s", "delivered/s of a busy core", cpu > 0 ? 1e6 / cpu : 0);
    report_number(&out, "own_cpu_us", "generator CPU us each", r.own_s * each);
    report_times(&out, "delivery_us", "delivery", &b->delivery);
    report_count(&out, "lost", "lost", b->tally.lost);
    report_count(&out, "repeated", "repeated", b->tally.repeated);
    report_count(&out, "reordered", "reordered", b->tally.reordered);
    report_count(&out, "refused", "refused", b->refused);
    report_count(&out, "connections_lost", "connections lost", b->crowd.fleet.lost_connections);
    report_bool(&out, "valid", "valid", valid);
    report_print(&out);
    return valid;
}

static bool options_check(struct topic_bench *b) {
    if (!crowd_check(&b->crowd)) return false;
    if (b->crowd.kith)
        return fputs("kith: fanout drives a plain topic, of kith as of others: --broker mqtt "
                     "(kith serves it with --dev, or with --channel-rules)\n",
                   stderr),
               false;
    if (b->subscribers && b->publishers && b->publishers <= PUBLISHERS_MAX && b->window &&
        b->window <= RING)
        return true;
    fprintf(stderr,
        "kith: --subscribers must be at least 1, --publishers from 1 to %d, --window to %d\n",
        PUBLISHERS_MAX, RING);
    return false;
}

int bench_topic(int argc, char **argv) {
    struct topic_bench *b = must_alloc(sizeof *b);
    crowd_defaults(&b->crowd);
    b->crowd.broker = "mqtt";
    b->crowd.qos = 0;
    b->publishers = 1;
    b->subscribers = 200;
    b->window = 64;
    b->seconds = 10;
    b->warmup = 2;
    const struct drive_option O[] = {CROWD_OPTIONS(&b->crowd),
        {"publishers", OPTION_COUNT, &b->publishers, "P", "who send (default 1)"},
        {"subscribers", OPTION_COUNT, &b->subscribers, "N", "who receive (default 200)"},
        {"window", OPTION_COUNT, &b->window, "W",
            "messages of each publisher that not all have yet (default 64)"},
        {"rate", OPTION_NUMBER, &b->rate, "R",
            "messages a second in all (default: as fast as the window allows)"},
        {"duration", OPTION_NUMBER, &b->seconds, "S", "seconds (default 10)"},
        {"warmup", OPTION_NUMBER, &b->warmup, "S", "seconds before them (default 2)"},
        {NULL, 0, NULL, NULL, NULL}};
    int status = options_take(argc, argv, "bench fanout [options]", O, NULL);
    if (status < 0 && !options_check(b)) status = EXIT_USAGE;
    if (status < 0) status = set_up(b) && report(b, run(b)) ? EXIT_DONE : EXIT_FAILED;
    crowd_done(&b->crowd);
    free(b->sources);
    free(b->tracks);
    free(b);
    return status;
}
