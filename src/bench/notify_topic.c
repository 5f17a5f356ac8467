/* bench notify-topic: a topic of very many people of whom none is connected: how long one trigger to
 * all of them takes to be answered, what it costs the server, and whether each inbox and its counts
 * are right when read, and how fast. Of kith alone: where a notification is copied for each
 * recipient, nothing here could be waited for.
 * SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "bench/bench_in.h"

enum { MEMBERS_A_REQUEST = 1000, OUTSIDERS = 100 };
#define SETTLE_NS SECOND_NS /* after the triggers: for what they leave to do */

struct topic_of_many {
    struct crowd crowd;
    size_t people, triggers, sample;
    int64_t asked_ns;
    struct hist accepted, read;
    struct rng rng;
    bool members; /* who is read now: members, or others */
    uint64_t refused, wrong, recipients;
    struct progress progress;
};

static void workflow_make(void *arg, size_t i, struct buf *line, struct buf *body) {
    buf_str(line, "PUT /v1/workflows/bench");
    buf_str(body, "{\"channels\":[\"inapp\"],\"templates\":{\"en\":{\"title\":\"Number {n}\","
                  "\"body\":\"This is notification {n}\"}}}");
}
static bool workflow_done(void *arg, size_t i, int status, struct bytes body) {
    return answer_told("the workflow", "bench", status, body);
}

static void members_make(void *arg, size_t i, struct buf *line, struct buf *body) {
    const struct topic_of_many *b = arg;
    size_t at = i * MEMBERS_A_REQUEST,
           end = at + MEMBERS_A_REQUEST < b->people ? at + MEMBERS_A_REQUEST : b->people;
    buf_fmt(line, "POST /v1/topics/%s.t/users", b->crowd.run);
    buf_str(body, "{\"add\":[");
    for (size_t k = at; k < end; k++) {
        buf_str(body, k > at ? ",\"" : "\"");
        buf_str(body, b->crowd.run);
        buf_str(body, ".u");
        buf_u64dec(body, k);
        buf_char(body, '"');
    }
    buf_str(body, "]}");
}
static bool members_done(void *arg, size_t i, int status, struct bytes body) {
    struct topic_of_many *b = arg;
    progress_show(&b->progress, (uint64_t)(i + 1) * MEMBERS_A_REQUEST);
    return answer_told("members of", b->crowd.run, status, body);
}

static void trigger_make(void *arg, size_t i, struct buf *line, struct buf *body) {
    struct topic_of_many *b = arg;
    buf_str(line, "POST /v1/notifications");
    buf_fmt(body, "{\"workflow\":\"bench\",\"to\":{\"topic\":\"%s.t\"},\"data\":{\"n\":%zu}}",
        b->crowd.run, i + 1);
    b->asked_ns = clock_mono_ns();
}
static uint64_t number_after(struct bytes json, const char *mark) {
    const uint8_t *p = json.n ? memmem(json.p, json.n, mark, strlen(mark)) : NULL;
    uint64_t n = 0;
    for (p = p ? p + strlen(mark) : NULL; p && p < json.p + json.n && *p >= '0' && *p <= '9'; p++)
        n = n * 10 + (uint64_t)(*p - '0');
    return p ? n : UINT64_MAX;
}
static bool trigger_done(void *arg, size_t i, int status, struct bytes body) {
    struct topic_of_many *b = arg;
    hist_record(&b->accepted, (uint64_t)(clock_mono_ns() - b->asked_ns));
    b->recipients = number_after(body, "\"recipients\":");
    b->refused += status != 202;
    return answer_told("a trigger of", "bench", status, body);
}

static void read_make(void *arg, size_t i, struct buf *line, struct buf *body) {
    struct topic_of_many *b = arg;
    if (b->members)
        buf_fmt(line, "GET /v1/users/%s.u%llu/notifications?limit=50", b->crowd.run,
            (unsigned long long)rng_below(&b->rng, b->people));
    else buf_fmt(line, "GET /v1/users/%s.x%zu/notifications", b->crowd.run, i);
    b->asked_ns = clock_mono_ns();
}
static size_t times(struct bytes json, const char *mark) {
    size_t n = 0;
    for (const uint8_t *p = json.p, *end = json.p + json.n;
         json.n && (p = memmem(p, (size_t)(end - p), mark, strlen(mark))); p++)
        n++;
    return n;
}
static bool read_done(void *arg, size_t i, int status, struct bytes body) {
    struct topic_of_many *b = arg;
    uint64_t each = b->members ? b->triggers : 0;
    if (b->members) hist_record(&b->read, (uint64_t)(clock_mono_ns() - b->asked_ns));
    if (!b->members && status == 404) return true; /* nobody has named them yet */
    bool right = status == 200 && number_after(body, "\"unseen\":") == each &&
                 number_after(body, "\"unread\":") == each &&
                 times(body, "\"workflow\":\"bench\"") == (each < 50 ? each : 50);
    if (!right && !b->wrong++)
        fprintf(stderr, "kith: an inbox is wrong: %d %.*s\n", status,
            (int)(body.n < 400 ? body.n : 400), body.n ? (const char *)body.p : "");
    return true;
}

static bool ask(struct topic_of_many *b, size_t n, size_t connections,
    void (*make)(void *, size_t, struct buf *, struct buf *),
    bool (*done)(void *, size_t, int, struct bytes)) {
    struct requests r = {.address = b->crowd.http,
        .key = b->crowd.key,
        .n = n,
        .connections = connections,
        .arg = b,
        .make = make,
        .done = done};
    return crowd_requests(&r);
}

static bool measure_it(struct topic_of_many *b) {
    struct report out = {.json = b->crowd.json};
    long pid = (long)b->crowd.pid;
    size_t parts = (b->people + MEMBERS_A_REQUEST - 1) / MEMBERS_A_REQUEST;
    if (!ask(b, 1, 1, workflow_make, workflow_done)) return false;
    double from = process_usage(pid).cpu_s;
    int64_t begin = clock_mono_ns();
    progress_begin(&b->progress, "members", b->people);
    if (!ask(b, parts, 8, members_make, members_done)) return false;
    progress_end(&b->progress, b->people);
    double made_s = (double)(clock_mono_ns() - begin) / 1e9;
    struct usage_of made = process_usage(pid);
    if (!ask(b, b->triggers, 1, trigger_make, trigger_done)) return false;
    usleep(SETTLE_NS / 1000);
    double told_s = process_usage(pid).cpu_s - made.cpu_s;
    b->members = true;
    if (!ask(b, b->sample, 1, read_make, read_done)) return false;
    b->members = false;
    if (!ask(b, OUTSIDERS, 1, read_make, read_done)) return false;
    double all = (double)b->people * (double)b->triggers;
    bool valid = !b->wrong && !b->refused && b->recipients == b->people;
    report_count(&out, "people", "people", b->people);
    report_number(&out, "made_s", "made members in, s", made_s);
    report_number(&out, "made_cpu_us", "server CPU us a member",
        pid ? (made.cpu_s - from) * 1e6 / (double)b->people : 0);
    report_count(&out, "triggers", "triggers", b->triggers);
    report_count(&out, "recipients", "recipients, as answered", b->recipients);
    report_times(&out, "accepted_us", "trigger to the answer 202", &b->accepted);
    report_number(&out, "trigger_cpu_us", "server CPU us a trigger",
        pid ? told_s * 1e6 / (double)b->triggers : 0);
    report_number(
        &out, "recipient_cpu_ns", "server CPU ns a recipient", pid ? told_s * 1e9 / all : 0);
    report_count(&out, "sample", "inboxes read", b->sample);
    report_times(&out, "read_us", "an inbox with its counts", &b->read);
    report_count(&out, "rss_bytes", "server memory, bytes", process_usage(pid).rss_bytes);
    report_count(&out, "wrong", "wrong inboxes", b->wrong);
    report_count(&out, "refused", "refused", b->refused);
    report_bool(&out, "valid", "valid", valid);
    report_print(&out);
    return valid;
}

int bench_notify_topic(int argc, char **argv) {
    struct topic_of_many *b = must_alloc(sizeof *b);
    crowd_defaults(&b->crowd);
    b->people = 1000000;
    b->triggers = 20;
    b->sample = 2000;
    b->rng.s = 1;
    const struct drive_option O[] = {CROWD_OPTIONS(&b->crowd),
        {"people", OPTION_COUNT, &b->people, "N", "members of the topic (default 1000000)"},
        {"triggers", OPTION_COUNT, &b->triggers, "N", "to all of them, in turn (default 20)"},
        {"sample", OPTION_COUNT, &b->sample, "N", "inboxes to read then (default 2000)"},
        {NULL, 0, NULL, NULL, NULL}};
    int status = options_take(argc, argv, "bench notify-topic [options]", O, NULL);
    if (status < 0 && (!b->people || !b->triggers || !crowd_check(&b->crowd) || !b->crowd.kith)) {
        fputs("kith: notify-topic needs --people and --triggers of at least 1, and kith\n", stderr);
        status = EXIT_USAGE;
    }
    if (status < 0) status = measure_it(b) ? EXIT_DONE : EXIT_FAILED;
    free(b);
    return status;
}
