/* bench offline: devices with kept sessions go away, each is sent messages, they come
 * back: how fast what waited arrives, in what order, and how much of it. Then they go and come once
 * more, and nothing may come again. SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "bench/bench_in.h"

#define SENDERS_MAX 1000
#define PATIENCE_NS (30 * SECOND_NS)
#define LINGER_NS SECOND_NS

struct receiver {
    uint32_t sent;
    struct track track;
};
struct offline {
    struct crowd crowd; /* devices: receivers, then senders */
    size_t devices, messages, inflight, senders;
    struct receiver *receivers;
    double seconds; /* 0: until all is stored */
    uint64_t sent, acked, refused, others;
    int64_t back_ns, last_ns, moved_ns;
    struct tally tally;
    /* from coming back to the first and to the last message, for each device */
    struct hist first, caught_up;
    double stored_s, stored_cpu_s, drained_s, drained_cpu_s;
};

static struct offline *offline_of(struct device *d) {
    return (struct offline *)(void *)((char *)d->fleet - offsetof(struct offline, crowd.fleet));
}

static void on_published(struct device *d, const struct mqtt_packet *p) {
    struct offline *o = offline_of(d);
    struct receiver *r = &o->receivers[d - o->crowd.fleet.devices];
    int64_t due;
    uint32_t number;
    if (!message_stamp(p, o->crowd.kith, &due, &number)) {
        o->others++;
        return;
    }
    if (!track_take(&r->track, number, p->dup, &o->tally)) return;
    o->last_ns = o->moved_ns = clock_mono_ns();
    if (r->track.seen == 1) hist_record(&o->first, (uint64_t)(o->last_ns - d->started_ns));
    if (r->track.seen == r->sent)
        hist_record(&o->caught_up, (uint64_t)(o->last_ns - d->started_ns));
}

static void on_acked(struct device *d, uint16_t packet, uint8_t reason) {
    struct offline *o = offline_of(d);
    o->acked++;
    o->moved_ns = clock_mono_ns();
    if (reason >= 0x80) o->refused++;
}

static void members(struct crowd *c, size_t i, size_t *a, size_t *b) {
    struct offline *o = (struct offline *)(void *)((char *)c - offsetof(struct offline, crowd));
    *a = i;
    *b = o->devices + i % o->senders;
}

static bool set_up(struct offline *o) {
    struct crowd *c = &o->crowd;
    if (o->senders > o->devices) o->senders = o->devices;
    o->receivers = must_alloc(o->devices * sizeof *o->receivers);
    if (!crowd_make(c, o->devices + o->senders) || !crowd_directs(c, o->devices, members))
        return false;
    for (size_t i = 0; i < o->devices; i++) {
        char topic[64];
        snprintf(topic, sizeof topic, "%s.%zu", c->run, i);
        crowd_subscribe(c, i, topic);
    }
    c->fleet.clean = false;
    c->fleet.published = on_published;
    c->fleet.acked = on_acked;
    return crowd_open(c);
}

/* ---- storing ---- */
static void receiver_send(struct offline *o, size_t sender, size_t i) {
    char to[64], id[64];
    o->receivers[i].sent++;
    o->sent++;
    snprintf(to, sizeof to, "%s.%zu", o->crowd.run, i);
    snprintf(id, sizeof id, "%s-%u", o->crowd.run, o->receivers[i].sent);
    crowd_publish(&o->crowd, o->devices + sender, to, clock_mono_ns(), o->receivers[i].sent, id);
}

static bool store(struct offline *o) {
    struct fleet *f = &o->crowd.fleet;
    size_t next[SENDERS_MAX], rounds[SENDERS_MAX] = {0};
    uint64_t total = (uint64_t)o->devices * o->messages;
    int64_t begin = o->moved_ns = clock_mono_ns();
    int64_t until = o->seconds > 0 ? begin + (int64_t)(o->seconds * 1e9) : INT64_MAX;
    double cpu = process_usage((long)o->crowd.pid).cpu_s;
    for (size_t s = 0; s < o->senders; s++) next[s] = s;
    while (o->acked < total && clock_mono_ns() - o->moved_ns < PATIENCE_NS) {
        bool ended = clock_mono_ns() >= until;
        if (ended && o->acked == o->sent) break;
        for (size_t s = 0; s < o->senders && !ended; s++) {
            struct device *d = &f->devices[o->devices + s];
            while (d->state == DEVICE_READY && rounds[s] < o->messages &&
                   d->outstanding < o->inflight && d->outstanding < f->receive_maximum) {
                receiver_send(o, s, next[s]);
                next[s] += o->senders;
                if (next[s] < o->devices) continue;
                next[s] = s;
                rounds[s]++;
            }
        }
        fleet_turn(f, clock_mono_ns() + 100 * MILLI_NS);
    }
    o->stored_s = (double)(clock_mono_ns() - begin) / 1e9;
    o->stored_cpu_s = process_usage((long)o->crowd.pid).cpu_s - cpu;
    return o->acked == o->sent;
}

/* ---- coming back ---- */
static void wait_for(struct offline *o, uint64_t fresh) {
    o->moved_ns = clock_mono_ns();
    while (o->tally.fresh < fresh && clock_mono_ns() - o->moved_ns < PATIENCE_NS)
        fleet_turn(&o->crowd.fleet, clock_mono_ns() + 100 * MILLI_NS);
    for (int64_t until = clock_mono_ns() + LINGER_NS; clock_mono_ns() < until;)
        fleet_turn(&o->crowd.fleet, until);
}

static bool come_back(struct offline *o) {
    double cpu = process_usage((long)o->crowd.pid).cpu_s;
    o->back_ns = o->last_ns = clock_mono_ns();
    if (!crowd_open(&o->crowd)) return false;
    wait_for(o, o->sent);
    o->drained_s = (double)(o->last_ns - o->back_ns) / 1e9;
    o->drained_cpu_s = process_usage((long)o->crowd.pid).cpu_s - cpu;
    for (size_t i = 0; i < o->devices; i++)
        track_end(&o->receivers[i].track, o->receivers[i].sent, &o->tally);
    fleet_part(&o->crowd.fleet, 0, o->devices);
    if (!crowd_open(&o->crowd)) return false;
    wait_for(o, 0);
    return true;
}

static bool report(struct offline *o) {
    struct report out = {.json = o->crowd.json};
    double n = o->sent ? (double)o->sent : 1;
    bool valid = o->sent && o->tally.fresh == o->sent && !o->tally.lost && !o->tally.repeated &&
                 !o->tally.reordered && !o->refused && !o->crowd.fleet.lost_connections;
    report_count(&out, "devices", "devices", o->devices);
    report_count(&out, "senders", "senders", o->senders);
    report_count(&out, "stored", "messages stored", o->acked);
    report_number(
        &out, "stored_per_s", "stored/s", o->stored_s > 0 ? (double)o->acked / o->stored_s : 0);
    report_number(
        &out, "stored_cpu_us", "server CPU us each", o->crowd.pid ? o->stored_cpu_s * 1e6 / n : 0);
    report_number(&out, "seconds", "seconds to get them all", o->drained_s);
    report_number(&out, "delivered_per_s", "delivered/s",
        o->drained_s > 0 ? (double)o->tally.fresh / o->drained_s : 0);
    report_number(&out, "server_cpu_us", "server CPU us a delivery",
        o->crowd.pid ? o->drained_cpu_s * 1e6 / n : 0);
    report_times(&out, "first_us", "connecting to first message", &o->first);
    report_times(&out, "caught_up_us", "connecting to the last", &o->caught_up);
    report_count(&out, "lost", "lost", o->tally.lost);
    report_count(&out, "repeated", "repeated", o->tally.repeated);
    report_count(&out, "redelivered", "redelivered with DUP", o->tally.redelivered);
    report_count(&out, "reordered", "reordered", o->tally.reordered);
    report_count(&out, "refused", "refused", o->refused);
    report_count(&out, "connections_lost", "connections lost", o->crowd.fleet.lost_connections);
    report_bool(&out, "valid", "valid", valid);
    report_print(&out);
    return valid;
}

static bool measure_it(struct offline *o) {
    if (!set_up(o)) return false;
    fleet_part(&o->crowd.fleet, 0, o->devices);
    if (!store(o))
        fprintf(stderr, "kith: only %llu of %llu messages were acknowledged\n",
            (unsigned long long)o->acked, (unsigned long long)o->sent);
    return come_back(o) && report(o);
}

int bench_offline(int argc, char **argv) {
    struct offline *o = must_alloc(sizeof *o);
    crowd_defaults(&o->crowd);
    o->devices = 1000;
    o->messages = 100;
    o->inflight = 32;
    o->senders = 50;
    const struct drive_option O[] = {CROWD_OPTIONS(&o->crowd),
        {"devices", OPTION_COUNT, &o->devices, "N", "devices that go away (default 1000)"},
        {"messages", OPTION_COUNT, &o->messages, "M", "messages to each (default 100)"},
        {"senders", OPTION_COUNT, &o->senders, "N", "who send to them (default 50)"},
        {"inflight", OPTION_COUNT, &o->inflight, "N",
            "PUBLISHes under way for each sender (default 32)"},
        {"seconds", OPTION_NUMBER, &o->seconds, "S",
            "stop storing after so long (default: when all is stored)"},
        {NULL, 0, NULL, NULL, NULL}};
    int status = options_take(argc, argv, "bench offline [options]", O, NULL);
    bool none = !o->devices || !o->messages || !o->inflight || !o->senders;
    if (status < 0 && (none || o->senders > SENDERS_MAX)) {
        fprintf(stderr,
            "kith: --devices, --messages, --inflight and --senders must be at least 1, --senders "
            "at most %d\n",
            SENDERS_MAX);
        status = EXIT_USAGE;
    }
    if (status < 0 && !crowd_check(&o->crowd)) status = EXIT_USAGE;
    if (status < 0) status = measure_it(o) ? EXIT_DONE : EXIT_FAILED;
    crowd_done(&o->crowd);
    free(o->receivers);
    free(o);
    return status;
}
