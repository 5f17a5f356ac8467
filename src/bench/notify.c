/* bench notify: notifications to connected devices, triggered in batches over HTTP: deliveries a
 * second and what one costs the server, as fast as a number of batches under way allows; or paced
 * with --rate, timed from when a trigger was due, so that a late answer excuses nothing.
 * kith's devices speak MQTT; with --peer socketio the same program drives the stand-in for the usual
 * stack (bench/peers/notify), whose API takes the same requests.
 *
 * Keeps: each trigger is awaited from each of its recipients once. Trigger n is the nth of the run,
 * and comes back in the notification as data.n; its target is one user, or a topic of `fanout`
 * neighbours. What is lost, repeated or refused makes the run no result.
 * SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "bench/bench_in.h"

enum { MEMBERS_A_REQUEST = 1000, BATCH_MAX = 1000, CONNECTIONS_MAX = 64 };
#define LINGER_NS (500 * MILLI_NS) /* at the end: for what should not come */

struct trigger {
    int64_t due_ns;
    uint32_t target, number; /* number: of the target's, from 1 */
    uint32_t left, batch;    /* recipients that lack it */
};
struct batch {
    int64_t due_ns;
    uint32_t left; /* deliveries to come */
};
struct notify {
    struct crowd crowd;
    const char *peer, *pids;
    size_t fanout, devices, batch, inflight, connections;
    double rate, seconds, warmup, patience;
    size_t targets, next;     /* next: target of the next trigger */
    struct track *tracks;     /* one a device: of its target's numbers */
    uint32_t *numbers;        /* one a target: the last given */
    struct trigger *triggers; /* [number - 1] */
    struct batch *batches;
    size_t sent, sent_room, posted, posted_room, whole; /* whole: batches that all have */
    struct posts *posts;
    struct buf body;
    struct hist delivery, accepted, last, lateness;
    struct tally tally;
    uint64_t delivered, refused, others;
    int64_t moved_ns, measured_from_ns, measured_to_ns;
    bool measuring;
};

/* ---- what comes ---- */
static bool counts(const struct notify *b, int64_t due_ns) {
    return b->measured_from_ns && due_ns >= b->measured_from_ns &&
           (!b->measured_to_ns || due_ns < b->measured_to_ns);
}

/* The n of "data":{"n":N...}; 0: none. */
static size_t number_read(struct bytes json) {
    static const char mark[] = "\"data\":{\"n\":";
    const uint8_t *p = json.n ? memmem(json.p, json.n, mark, sizeof mark - 1) : NULL;
    size_t n = 0;
    for (p = p ? p + sizeof mark - 1 : NULL; p && p < json.p + json.n && *p >= '0' && *p <= '9';
         p++)
        n = n * 10 + (size_t)(*p - '0');
    return n;
}

static void take(struct notify *b, const struct device *d, struct bytes json, bool dup) {
    size_t n = number_read(json), device = (size_t)(d - b->crowd.fleet.devices);
    if (n == 0 || n > b->sent || b->triggers[n - 1].target != device / b->fanout) {
        b->others++;
        return;
    }
    struct trigger *t = &b->triggers[n - 1];
    if (!track_take(&b->tracks[device], t->number, dup, &b->tally) || !t->left) return;
    int64_t now = b->moved_ns = clock_mono_ns();
    struct batch *batch = &b->batches[t->batch];
    bool counted = counts(b, t->due_ns);
    b->delivered += b->measuring;
    if (counted) hist_record(&b->delivery, (uint64_t)(now - t->due_ns));
    if (--t->left == 0 && counted) hist_record(&b->last, (uint64_t)(now - t->due_ns));
    if (--batch->left == 0) b->whole++;
}

static struct notify *bench_of(struct device *d) {
    return (struct notify *)(void *)((char *)d->fleet - offsetof(struct notify, crowd.fleet));
}
static void on_published(struct device *d, const struct mqtt_packet *p) {
    take(bench_of(d), d, p->payload, p->dup);
}
static void on_event(struct device *d, struct bytes args) { take(bench_of(d), d, args, false); }

/* In the answer to a batch, each item that was refused says its status. */
static void on_answered(void *arg, uint64_t tag, int status, struct bytes body) {
    struct notify *b = arg;
    static const char mark[] = "\"status\":";
    uint64_t refused = status == 202 ? 0 : b->batch;
    for (const uint8_t *p = body.p; status == 202 && body.n; refused++, p++) {
        p = memmem(p, (size_t)(body.p + body.n - p), mark, sizeof mark - 1);
        if (!p) break;
    }
    if (refused && !b->refused)
        fprintf(stderr, "kith: a batch was answered %d %.*s\n", status,
            (int)(body.n < 300 ? body.n : 300), body.n ? (const char *)body.p : "");
    b->refused += refused;
    if (counts(b, b->batches[tag].due_ns))
        hist_record(&b->accepted, (uint64_t)(clock_mono_ns() - b->batches[tag].due_ns));
}

/* ---- what goes out ---- */
static void *room_for(void *p, size_t n, size_t *room, size_t each) {
    if (n < *room) return p;
    *room = *room ? *room * 2 : 4096;
    return must_realloc(p, *room * each);
}

static void item_write(struct notify *b, struct buf *out, size_t target) {
    buf_str(out, b->fanout == 1 ? "{\"workflow\":\"bench\",\"to\":{\"users\":[\""
                                : "{\"workflow\":\"bench\",\"to\":{\"topic\":\"");
    buf_str(out, b->crowd.run);
    buf_str(out, b->fanout == 1 ? ".u" : ".t");
    buf_u64dec(out, target);
    buf_str(out, b->fanout == 1 ? "\"]},\"data\":{\"n\":" : "\"},\"data\":{\"n\":");
    buf_u64dec(out, b->sent);
    if (b->crowd.payload) {
        buf_str(out, ",\"text\":\"");
        for (size_t i = 0; i < b->crowd.payload; i++) buf_char(out, 'x');
        buf_char(out, '"');
    }
    buf_str(out, "}}");
}

static void batch_send(struct notify *b, int64_t due) {
    b->batches = room_for(b->batches, b->posted, &b->posted_room, sizeof *b->batches);
    if (b->whole == b->posted) b->moved_ns = clock_mono_ns(); /* nothing was awaited until now */
    b->batches[b->posted] = (struct batch){due, (uint32_t)(b->batch * b->fanout)};
    buf_reset(&b->body);
    buf_str(&b->body, "{\"items\":[");
    for (size_t i = 0; i < b->batch; i++) {
        size_t target = b->next;
        b->next = (b->next + 1) % b->targets;
        b->triggers = room_for(b->triggers, b->sent, &b->sent_room, sizeof *b->triggers);
        b->triggers[b->sent++] = (struct trigger){.due_ns = due,
            .target = (uint32_t)target,
            .number = ++b->numbers[target],
            .left = (uint32_t)b->fanout,
            .batch = (uint32_t)b->posted};
        if (i) buf_char(&b->body, ',');
        item_write(b, &b->body, target);
    }
    buf_str(&b->body, "]}");
    posts_send(b->posts, "POST /v1/notifications/batch", buf_view(&b->body), b->posted++);
}

/* ---- before ---- */
static void workflow_make(void *arg, size_t i, struct buf *line, struct buf *body) {
    buf_str(line, "PUT /v1/workflows/bench");
    buf_str(body, "{\"channels\":[\"inapp\"],\"templates\":{\"en\":{\"title\":\"Number {n}\","
                  "\"body\":\"This is notification {n}\"}}}");
}
static bool workflow_done(void *arg, size_t i, int status, struct bytes body) {
    return answer_told("the workflow", "bench", status, body);
}

static size_t parts(const struct notify *b) {
    return (b->fanout + MEMBERS_A_REQUEST - 1) / MEMBERS_A_REQUEST;
}
static void topic_make(void *arg, size_t i, struct buf *line, struct buf *body) {
    const struct notify *b = arg;
    size_t topic = i / parts(b), at = topic * b->fanout + i % parts(b) * MEMBERS_A_REQUEST,
           end = (topic + 1) * b->fanout;
    if (end > at + MEMBERS_A_REQUEST) end = at + MEMBERS_A_REQUEST;
    buf_fmt(line, "POST /v1/topics/%s.t%zu/users", b->crowd.run, topic);
    buf_str(body, "{\"add\":[");
    for (size_t k = at; k < end; k++)
        buf_fmt(body, "%s\"%s\"", k > at ? "," : "", b->crowd.names[k]);
    buf_str(body, "]}");
}
static bool topic_done(void *arg, size_t i, int status, struct bytes body) {
    return answer_told("members of a topic of", ((struct notify *)arg)->crowd.run, status, body);
}

static bool set_up(struct notify *b) {
    struct crowd *c = &b->crowd;
    struct requests r = {.address = c->http,
        .key = c->key,
        .n = 1,
        .arg = b,
        .make = workflow_make,
        .done = workflow_done};
    b->targets = b->devices / b->fanout;
    b->tracks = must_alloc(b->devices * sizeof *b->tracks);
    b->numbers = must_alloc(b->targets * sizeof *b->numbers);
    if (!crowd_requests(&r) || !crowd_make(c, b->devices)) return false;
    if (b->fanout > 1) {
        r.n = b->targets * parts(b);
        r.connections = 8;
        r.make = topic_make;
        r.done = topic_done;
        if (!crowd_requests(&r)) return false;
    }
    for (size_t i = 0; i < b->devices; i++) crowd_subscribe_to(c, i, "notifications");
    c->fleet.socketio = b->peer != NULL;
    c->fleet.published = on_published;
    c->fleet.event = on_event;
    if (!crowd_open(c)) return false;
    b->posts = posts_create(&c->fleet, c->http, c->key, b->connections, on_answered, b);
    return true;
}

/* ---- running ---- */
struct notify_result {
    double seconds, cpu_s, own_s, machine_s;
};
static struct notify_result now_used(const struct notify *b) {
    return (struct notify_result){(double)clock_mono_ns() / 1e9, processes_usage(b->pids).cpu_s,
        process_usage(getpid()).cpu_s, machine_cpu_s()};
}

static void turn(struct notify *b, double gap, double *due, int64_t until) {
    int64_t now = clock_mono_ns();
    while (gap <= 0 && b->posted - b->whole < b->inflight) batch_send(b, now);
    for (; gap > 0 && *due <= (double)now; *due += gap) {
        batch_send(b, (int64_t)*due);
        if (b->measuring) hist_record(&b->lateness, (uint64_t)(now - (int64_t)*due));
    }
    if (gap > 0 && *due < (double)until) until = (int64_t)*due;
    fleet_turn(&b->crowd.fleet, until);
}

static bool stalled(const struct notify *b) {
    return b->posted > b->whole && (double)(clock_mono_ns() - b->moved_ns) > b->patience * 1e9;
}

static void settle(struct notify *b) {
    while (b->whole < b->posted && !stalled(b))
        fleet_turn(&b->crowd.fleet, clock_mono_ns() + 10 * MILLI_NS);
    for (int64_t until = clock_mono_ns() + LINGER_NS; clock_mono_ns() < until;)
        fleet_turn(&b->crowd.fleet, until);
    for (size_t i = 0; i < b->devices; i++)
        track_end(&b->tracks[i], b->numbers[i / b->fanout], &b->tally);
}

static struct notify_result run(struct notify *b) {
    int64_t begin = b->moved_ns = clock_mono_ns(), warm = begin + (int64_t)(b->warmup * 1e9),
            end = warm + (int64_t)(b->seconds * 1e9), now;
    double gap = b->rate > 0 ? (double)(b->fanout * b->batch) * 1e9 / b->rate : 0,
           due = (double)begin;
    struct notify_result from = {0}, to;
    while ((now = clock_mono_ns()) < end && !stalled(b)) {
        if (!b->measuring && now >= warm) {
            b->measuring = true;
            b->measured_from_ns = now;
            from = now_used(b);
        }
        turn(b, gap, &due, b->measuring ? end : warm);
    }
    to = now_used(b);
    b->measuring = false;
    b->measured_to_ns = clock_mono_ns();
    settle(b);
    return (struct notify_result){to.seconds - from.seconds, to.cpu_s - from.cpu_s,
        to.own_s - from.own_s, to.machine_s - from.machine_s};
}

static bool report(struct notify *b, struct notify_result r) {
    struct report out = {.json = b->crowd.json};
    double each = b->delivered ? 1e6 / (double)b->delivered : 0,
           cores = (double)sysconf(_SC_NPROCESSORS_ONLN), others = r.machine_s - r.cpu_s - r.own_s;
    bool valid = b->delivered && !b->tally.lost && !b->tally.repeated && !b->refused &&
                 !b->crowd.fleet.lost_connections;
    report_count(&out, "fanout", "fan-out", b->fanout);
    report_count(&out, "devices", "devices", b->devices);
    report_count(&out, "batch", "triggers a request", b->batch);
    report_count(&out, "triggers", "triggers", b->sent);
    report_number(&out, "rate", "paced at (0: closed loop)", b->rate);
    report_number(&out, "seconds", "seconds", r.seconds);
    report_number(&out, "delivered_per_s", "delivered/s", (double)b->delivered / r.seconds);
    report_number(&out, "server_cpu_us", "server CPU us a delivery", b->pids ? r.cpu_s * each : 0);
    report_number(&out, "own_cpu_us", "generator CPU us each", r.own_s * each);
    report_number(&out, "others_percent", "used by others, % of all",
        b->pids && others > 0 ? others * 100 / (r.seconds * cores) : 0);
    report_times(&out, "delivery_us", "trigger due to delivery", &b->delivery);
    report_times(&out, "last_us", "to the last recipient", &b->last);
    report_times(&out, "accepted_us", "to the answer 202", &b->accepted);
    if (b->rate > 0) report_times(&out, "lateness_us", "sent after it was due", &b->lateness);
    report_count(&out, "lost", "lost", b->tally.lost);
    report_count(&out, "repeated", "repeated", b->tally.repeated);
    report_count(&out, "reordered", "reordered", b->tally.reordered);
    report_count(&out, "refused", "refused", b->refused);
    report_count(&out, "connections_lost", "connections lost", b->crowd.fleet.lost_connections);
    report_count(&out, "others", "others", b->others);
    report_bool(&out, "valid", "valid", valid);
    report_print(&out);
    return valid;
}

static bool options_check(struct notify *b) {
    static char pid[24];
    if (b->peer && strcmp(b->peer, "socketio") != 0)
        return fprintf(stderr, "kith: --peer must be socketio, not '%s'\n", b->peer), false;
    if (b->peer && !b->crowd.key) b->crowd.key = "";
    if (!crowd_check(&b->crowd)) return false;
    if (!b->pids && b->crowd.pid) {
        snprintf(pid, sizeof pid, "%zu", b->crowd.pid);
        b->pids = pid;
    }
    if (b->crowd.kith && b->crowd.qos < 2 && b->fanout && b->devices >= b->fanout &&
        b->devices % b->fanout == 0 && b->batch && b->batch <= BATCH_MAX && b->inflight &&
        b->connections && b->connections <= CONNECTIONS_MAX)
        return true;
    fprintf(stderr,
        "kith: notify needs --qos 0 or 1, --devices a multiple of --fanout, --batch from 1 to %d, "
        "--inflight at least 1, --connections from 1 to %d, and no other --broker\n",
        BATCH_MAX, CONNECTIONS_MAX);
    return false;
}

static void notify_done(struct notify *b) {
    posts_free(&b->posts);
    crowd_done(&b->crowd);
    buf_done(&b->body);
    free(b->tracks);
    free(b->numbers);
    free(b->triggers);
    free(b->batches);
    free(b);
}

int bench_notify(int argc, char **argv) {
    struct notify *b = must_alloc(sizeof *b);
    crowd_defaults(&b->crowd);
    b->crowd.qos = b->crowd.payload = 0;
    b->fanout = 1;
    b->devices = 10000;
    b->batch = 100;
    b->inflight = b->connections = 8;
    b->seconds = 10;
    b->warmup = 2;
    b->patience = 20;
    const struct drive_option O[] = {CROWD_OPTIONS(&b->crowd),
        {"fanout", OPTION_COUNT, &b->fanout, "N",
            "recipients of a trigger: one user, or a topic of so many (default 1)"},
        {"devices", OPTION_COUNT, &b->devices, "N", "connected devices (default 10000)"},
        {"batch", OPTION_COUNT, &b->batch, "N", "triggers a request (default 100)"},
        {"inflight", OPTION_COUNT, &b->inflight, "N",
            "batches that not all recipients have yet (default 8)"},
        {"connections", OPTION_COUNT, &b->connections, "N", "for requests (default 8)"},
        {"rate", OPTION_NUMBER, &b->rate, "R",
            "deliveries a second, open loop (default: as fast as --inflight allows)"},
        {"seconds", OPTION_NUMBER, &b->seconds, "S", "seconds (default 10)"},
        {"warmup", OPTION_NUMBER, &b->warmup, "S", "seconds before them (default 2)"},
        {"patience", OPTION_NUMBER, &b->patience, "S",
            "without any delivery: what is under way is lost (default 20)"},
        {"server-pids", OPTION_TEXT, &b->pids, "PID,PID", "instead of --pid: several processes"},
        {"peer", OPTION_TEXT, &b->peer, "socketio",
            "drives bench/peers/notify: Socket.IO at --mqtt, its API at --http"},
        {NULL, 0, NULL, NULL, NULL}};
    int status = options_take(argc, argv, "bench notify [options]", O, NULL);
    if (status < 0 && !options_check(b)) status = EXIT_USAGE;
    if (status < 0) status = set_up(b) && report(b, run(b)) ? EXIT_DONE : EXIT_FAILED;
    notify_done(b);
    return status;
}
