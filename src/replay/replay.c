/* replay: kith replay: a recorded trace against a server: its people and conversations are made over
 * HTTP, then it is played by their devices. Names of a run: conversations RUN.c0, RUN.c1 ...,
 * messages RUN.m0 ..., each person's device replay.RUN; people keep the trace's ids.
 * SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include "replay/replay.h"
#include "replay/play.h"

#define RUN_MAX 40 /* bytes: with a number behind it, an id */
#define SESSION_EXPIRY_S 86400
#define DESCRIPTORS_KEPT 100
#define TOKEN_TTL "30d"

struct replay {
    const char *file, *http, *mqtt, *key, *speed_text, *run;
    size_t inflight;
    double patience_s;
    bool json;
    double speed;
    char run_made[24];
    struct trace trace;
    struct play play;
    struct progress progress;
    uint64_t done;
    char (*filters)[80];
    struct bytes *tokens;
    char device[RUN_MAX + 16];
    struct arena arena;
};

/* ---- making people, tokens and conversations ---- */
static bool answered(
    struct replay *r, const char *what, struct bytes name, int status, struct bytes body) {
    if (status == 200 || status == 201) {
        progress_show(&r->progress, ++r->done);
        return true;
    }
    fprintf(stderr, "kith: %s %.*s: the server answered %d %.*s\n", what, (int)name.n,
        (const char *)name.p, status, (int)body.n, body.n ? (const char *)body.p : "");
    return false;
}

static void user_make(void *arg, size_t i, struct buf *line, struct buf *body) {
    struct bytes name = ((struct replay *)arg)->trace.people[i];
    buf_fmt(line, "PUT /v1/users/%.*s", (int)name.n, (const char *)name.p);
    buf_str(body, "{}");
}
static bool user_done(void *arg, size_t i, int status, struct bytes body) {
    return answered(arg, "the user", ((struct replay *)arg)->trace.people[i], status, body);
}

static void token_make(void *arg, size_t i, struct buf *line, struct buf *body) {
    struct replay *r = arg;
    buf_fmt(line, "POST /v1/users/%.*s/tokens", (int)r->trace.people[i].n,
        (const char *)r->trace.people[i].p);
    buf_fmt(body, "{\"device\":\"%s\",\"ttl\":\"" TOKEN_TTL "\"}", r->device);
}
static bool token_done(void *arg, size_t i, int status, struct bytes body) {
    struct replay *r = arg;
    if (!answered(r, "a token for", r->trace.people[i], status, body)) return false;
    const uint8_t *t = memmem(body.p, body.n, "\"token\":\"", 9);
    const uint8_t *end = t ? memchr(t + 9, '"', (size_t)(body.p + body.n - t - 9)) : NULL;
    if (end) r->tokens[i] = arena_copy(&r->arena, bytes_of(t + 9, (size_t)(end - t - 9)));
    return end != NULL;
}

static void conversation_make(void *arg, size_t i, struct buf *line, struct buf *body) {
    struct replay *r = arg;
    const struct trace_conversation *c = &r->trace.conversations[i];
    struct bytes a = r->trace.people[c->people[0]], b = r->trace.people[c->people[1]];
    bool alone = c->people[0] == c->people[1]; /* a note to oneself is a group of one */
    buf_fmt(line, "PUT /v1/conversations/%s.c%zu", r->run, i);
    buf_fmt(body, "{\"type\":\"%s\",\"members\":[\"%.*s\"", alone ? "group" : "direct", (int)a.n,
        (const char *)a.p);
    if (!alone) buf_fmt(body, ",\"%.*s\"", (int)b.n, (const char *)b.p);
    buf_str(body, "]}");
}
static bool conversation_done(void *arg, size_t i, int status, struct bytes body) {
    struct replay *r = arg;
    return answered(r, "a conversation of the run", bytes_str(r->run), status, body);
}

/* The same ids again would be answered and, rightly, not delivered again: that is told at once,
 * rather than as loss at the end. */
static bool run_is_new(const struct replay *r) {
    char path[RUN_MAX + 60];
    struct buf body = {0};
    snprintf(path, sizeof path, "/v1/conversations/%s.c0/messages?limit=1", r->run);
    int status = request_get(r->http, r->key, path, &body);
    bool played = status == 200 && memmem(body.p, body.n, "\"seq\":", 6);
    if (!status) fprintf(stderr, "kith: no answer from HTTP at %s\n", r->http);
    else if (status == 401 || status == 403)
        fprintf(stderr, "kith: the server refuses this key: %.*s\n", (int)body.n,
            body.n ? (const char *)body.p : "");
    else if (played)
        fprintf(stderr,
            "kith: the run '%s' was played to this server before; choose another --run\n", r->run);
    buf_done(&body);
    return status && status != 401 && status != 403 && !played;
}

static bool made(struct replay *r, const char *what, size_t n,
    void (*make)(void *, size_t, struct buf *, struct buf *),
    bool (*done)(void *, size_t, int, struct bytes)) {
    struct requests q = {
        .address = r->http, .key = r->key, .n = n, .arg = r, .make = make, .done = done};
    struct buf why = {0};
    r->done = 0;
    progress_begin(&r->progress, what, n);
    bool ok = requests_run(&q, &why);
    if (ok) progress_end(&r->progress, r->done);
    if (why.n) fprintf(stderr, "kith: %.*s\n", (int)why.n, (const char *)why.p);
    buf_done(&why);
    return ok;
}

/* ---- devices ---- */
static bool descriptors_suffice(size_t n) {
    struct rlimit l;
    if (getrlimit(RLIMIT_NOFILE, &l)) return true;
    l.rlim_cur = l.rlim_max;
    (void)setrlimit(RLIMIT_NOFILE, &l);
    if (n + DESCRIPTORS_KEPT <= l.rlim_cur) return true;
    fprintf(stderr,
        "kith: the %zu people of this trace need more descriptors than the %llu that this process "
        "may have (ulimit -n)\n",
        n, (unsigned long long)l.rlim_cur);
    return false;
}

static bool devices_connect(struct replay *r) {
    struct fleet *f = &r->play.fleet;
    size_t n = r->trace.people_count;
    *f = (struct fleet){.address = r->mqtt,
        .version = 5,
        .qos = 1,
        .reconnects = true,
        .expiry_s = SESSION_EXPIRY_S,
        .count = n};
    f->devices = must_alloc(n * sizeof *f->devices);
    r->filters = must_alloc(n * sizeof *r->filters);
    for (size_t i = 0; i < n; i++) {
        struct device *d = &f->devices[i];
        snprintf(r->filters[i], sizeof r->filters[i], "users/%.*s/#", (int)r->trace.people[i].n,
            (const char *)r->trace.people[i].p);
        *d = (struct device){.client_id = bytes_str(r->device),
            .username = r->trace.people[i],
            .password = r->tokens[i],
            .filter = bytes_str(r->filters[i])};
    }
    progress_begin(&r->progress, "devices", n);
    bool ok = fleet_open(f);
    if (ok) {
        progress_end(&r->progress, n);
        return true;
    }
    struct buf why = {0};
    fleet_why(f, &why);
    fprintf(stderr, "kith: %.*s\n", (int)why.n, (const char *)why.p);
    buf_done(&why);
    return false;
}

/* ---- report ---- */
static void moved(void *arg, uint64_t delivered) {
    struct replay *r = arg;
    progress_show(&r->progress, delivered);
}

static void report(struct replay *r) {
    struct play *p = &r->play;
    struct report out = {.json = r->json};
    double seconds = (double)(p->last_ns - p->begun_ns) / 1e9;
    report_text(&out, "run", "run", r->run);
    report_count(&out, "messages", "messages", r->trace.message_count);
    report_count(&out, "users", "users", r->trace.people_count);
    report_count(&out, "conversations", "conversations", r->trace.conversation_count);
    report_number(&out, "seconds", "seconds", seconds);
    report_number(
        &out, "messages_per_s", "messages/s", seconds > 0 ? (double)p->accepted / seconds : 0);
    report_count(&out, "deliveries", "deliveries", p->delivered);
    report_number(
        &out, "deliveries_per_s", "deliveries/s", seconds > 0 ? (double)p->delivered / seconds : 0);
    report_times(&out, "latency_us", "latency to each member", &p->delivery);
    report_times(&out, "puback_us", "latency to PUBACK", &p->ack);
    if (r->speed > 0) report_times(&out, "lateness_us", "sent after it was due", &p->lateness);
    report_count(&out, "lost", "lost", p->lost);
    report_count(&out, "duplicated", "duplicated", p->repeated);
    report_count(&out, "out_of_order", "out of order", p->reordered);
    report_count(&out, "refused", "refused", p->refused);
    report_count(&out, "not_sent", "not answered", p->unsent);
    report_count(&out, "unexpected", "unexpected", p->strays);
    report_count(&out, "redelivered", "redelivered with DUP", p->redelivered);
    report_count(&out, "connections_lost", "connections lost", p->fleet.lost_connections);
    report_count(&out, "sessions_lost", "sessions lost", p->sessions_lost);
    report_bool(&out, "ok", "each once and in order", play_is_clean(p));
    report_print(&out);
    if (p->refusal[0]) fprintf(stderr, "kith: %s\n", p->refusal);
    if (p->fleet.refused)
        fprintf(stderr, "kith: %zu devices were refused, the last for reason 0x%02x %s\n",
            p->fleet.refused, p->fleet.refusal, p->fleet.refusal_words);
}

static int replay(struct replay *r) {
    struct trace *t = &r->trace;
    r->tokens = must_alloc(t->people_count * sizeof *r->tokens);
    snprintf(r->device, sizeof r->device, "replay.%s", r->run);
    if (!descriptors_suffice(t->people_count) || !run_is_new(r)) return EXIT_FAILED;
    if (!made(r, "users", t->people_count, user_make, user_done) ||
        !made(r, "tokens", t->people_count, token_make, token_done) ||
        !made(r, "conversations", t->conversation_count, conversation_make, conversation_done) ||
        !devices_connect(r))
        return EXIT_FAILED;
    uint64_t deliveries = 0;
    for (size_t i = 0; i < t->conversation_count; i++)
        deliveries += (uint64_t)t->conversations[i].count *
                      (t->conversations[i].people[0] == t->conversations[i].people[1] ? 1 : 2);
    r->play.trace = t;
    r->play.run = r->run;
    r->play.speed = r->speed;
    r->play.inflight = r->inflight;
    progress_begin(&r->progress, "deliveries", deliveries);
    play_run(&r->play, r->patience_s, moved, r);
    progress_end(&r->progress, r->play.delivered);
    report(r);
    return play_is_clean(&r->play) ? EXIT_DONE : EXIT_FAILED;
}

/* ---- options ---- */
static bool options_check(struct replay *r) {
    char *end = NULL;
    if (!r->file)
        return fputs("kith: which FILE? usage: kith replay FILE --http ADDR:PORT --mqtt ADDR:PORT "
                     "--key KEY\n",
                   stderr),
               false;
    if (!r->key)
        return fputs(
                   "kith: a server key is needed: --key, or KITH_KEY in the environment\n", stderr),
               false;
    if (strcmp(r->speed_text, "max") != 0) {
        r->speed = strtod(r->speed_text, &end);
        if (!*r->speed_text || *end || !(r->speed > 0))
            return fprintf(stderr, "kith: --speed must be a number above 0, or max, not '%s'\n",
                       r->speed_text),
                   false;
    }
    if (strlen(r->run) > RUN_MAX || !id_valid(bytes_str(r->run)))
        return fprintf(stderr, "kith: --run must be 1 to %d of A-Z a-z 0-9 _ . : -, not '%s'\n",
                   RUN_MAX, r->run),
               false;
    if (!r->inflight || r->inflight > 65535)
        return fputs("kith: --inflight must be from 1 to 65535\n", stderr), false;
    return true;
}

static const char *or_environment(const char *name, const char *otherwise) {
    const char *v = getenv(name);
    return v && *v ? v : otherwise;
}

int replay_run(int argc, char **argv) {
    struct replay *r = must_alloc(sizeof *r);
    struct buf why = {0};
    *r = (struct replay){.http = or_environment("KITH_HTTP", "127.0.0.1:8080"),
        .mqtt = or_environment("KITH_MQTT", "127.0.0.1:1883"),
        .key = getenv("KITH_KEY"),
        .speed_text = "max",
        .inflight = 512,
        .patience_s = 30};
    snprintf(r->run_made, sizeof r->run_made, "r%llx", (unsigned long long)clock_wall_ms());
    r->run = r->run_made;
    const struct drive_option O[] = {
        {"http", OPTION_TEXT, &r->http, "ADDR:PORT", "the server's HTTP (default 127.0.0.1:8080)"},
        {"mqtt", OPTION_TEXT, &r->mqtt, "ADDR:PORT", "the server's MQTT (default 127.0.0.1:1883)"},
        {"key", OPTION_TEXT, &r->key, "KEY",
            "a server key with the scopes read, write and tokens (default: KITH_KEY)"},
        {"speed", OPTION_TEXT, &r->speed_text, "X|max",
            "times as fast as recorded, or as fast as it goes (default max)"},
        {"run", OPTION_TEXT, &r->run, "NAME",
            "a prefix for the ids that this replay makes (default: from the time)"},
        {"inflight", OPTION_COUNT, &r->inflight, "N", "messages under way at once (default 512)"},
        {"patience", OPTION_NUMBER, &r->patience_s, "S",
            "seconds without any progress after which it gives up (default 30)"},
        {"json", OPTION_SWITCH, &r->json, NULL, "the report as one JSON object"},
        {NULL, 0, NULL, NULL, NULL}};
    int status = options_take(
        argc, argv, "replay FILE [options]   a line of FILE is: from to unix-seconds", O, &r->file);
    if (status < 0) status = options_check(r) ? -1 : EXIT_USAGE;
    if (status < 0 && trace_read(r->file, &r->trace, &why) != OK) {
        fprintf(stderr, "kith: %.*s\n", (int)why.n, (const char *)why.p);
        status = EXIT_FAILED;
    }
    if (status < 0) status = replay(r);
    fleet_close(&r->play.fleet);
    free(r->play.fleet.devices);
    play_done(&r->play);
    trace_done(&r->trace);
    arena_done(&r->arena);
    free(r->tokens);
    free(r->filters);
    free(r);
    buf_done(&why);
    return status;
}
