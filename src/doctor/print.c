/* doctor: kith doctor: what a server said of itself and what this machine is, for a person to read,
 * or as one JSON object.
 * Keeps: a check that was made here goes before the server's of the same name, which is of its
 * start.
 * SPDX-License-Identifier: Apache-2.0 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "doctor/doctor_in.h"
#include "io/io.h"

enum { WIDTH = 96, INDENT = 7 };

void settings_json(const struct settings *s, struct buf *out) {
    buf_fmt(out,
        "{\"shards\":%u,\"memory_bytes\":%" PRId64 ",\"connections_max\":%" PRId64
        ",\"retention_ms\":%" PRId64
        ",\"rate\":%.0f,\"rate_burst\":%.0f,\"message_rate\":%.3f,\"byte_rate\":%.0f"
        ",\"journeys_off\":%s,\"proxy_protocol\":%s,\"open_plain\":%s}",
        s->shards, s->memory_bytes, s->connections_max, s->retention_ms, s->rate, s->rate_burst,
        s->message_rate, s->byte_rate, s->journeys_off ? "true" : "false",
        s->proxy_protocol ? "true" : "false", s->open_plain ? "true" : "false");
}

/* ---- reading the server's answer ---- */
static int64_t number_of(struct json o, const char *key) {
    struct json v;
    if (!json_get(o, key, &v)) return 0;
    return json_kind_of(v) == JSON_F64 ? (int64_t)json_f64(v) : json_i64(v);
}
static double real_of(struct json o, const char *key) {
    struct json v;
    if (!json_get(o, key, &v)) return 0;
    return json_kind_of(v) == JSON_F64 ? json_f64(v) : (double)json_i64(v);
}
static struct bytes text_of(struct json o, const char *key) {
    struct json v;
    if (!json_get(o, key, &v) || json_kind_of(v) != JSON_STRING) return (struct bytes){0};
    return json_string(v);
}
static bool flag_of(struct json o, const char *key) {
    struct json v;
    return json_get(o, key, &v) && json_kind_of(v) == JSON_BOOL && json_bool(v);
}

static void settings_take(struct json server, struct settings *s) {
    struct json o;
    if (s->known || !json_get(server, "settings", &o)) return;
    *s = (struct settings){.known = true,
        .shards = (unsigned)number_of(o, "shards"),
        .memory_bytes = number_of(o, "memory_bytes"),
        .connections_max = number_of(o, "connections_max"),
        .retention_ms = number_of(o, "retention_ms"),
        .rate = real_of(o, "rate"),
        .rate_burst = real_of(o, "rate_burst"),
        .message_rate = real_of(o, "message_rate"),
        .byte_rate = real_of(o, "byte_rate"),
        .journeys_off = flag_of(o, "journeys_off"),
        .proxy_protocol = flag_of(o, "proxy_protocol"),
        .open_plain = flag_of(o, "open_plain")};
}

/* ---- checks of both ---- */
struct line { /* one check, from wherever */
    struct bytes name, words, help, evidence;
    uint8_t status;
};
struct page {
    struct line lines[2 * CHECKS_MAX];
    size_t count;
    struct json_reader *reader;
    struct json server;
    bool has_server;
};

static void here_lines(struct page *p, const struct checks *c) {
    for (size_t i = 0; i < c->count; i++)
        p->lines[p->count++] =
            (struct line){bytes_str(c->items[i].name), buf_view(&c->items[i].words),
                bytes_str(c->items[i].help), buf_view(&c->items[i].evidence), c->items[i].status};
}
static bool line_take(void *arg, struct bytes key, struct json v) {
    struct page *p = arg;
    struct line l = {
        .name = text_of(v, "check"), .words = text_of(v, "words"), .help = text_of(v, "do")};
    (void)key;
    struct bytes status = text_of(v, "status");
    l.status = bytes_is(status, "critical")  ? CHECK_CRITICAL
               : bytes_is(status, "warning") ? CHECK_WARNING
                                             : CHECK_OK;
    for (size_t i = 0; i < p->count; i++)
        if (bytes_eq(p->lines[i].name, l.name)) return true;
    if (p->count < sizeof p->lines / sizeof *p->lines) p->lines[p->count++] = l;
    return true;
}
static void server_lines(struct page *p) {
    struct json doctor, list;
    if (p->has_server && json_get(p->server, "doctor", &doctor) &&
        json_get(doctor, "checks", &list))
        json_each(list, line_take, p);
}
static enum check_status worst_of(const struct page *p) {
    uint8_t worst = CHECK_OK;
    for (size_t i = 0; i < p->count; i++)
        if (p->lines[i].status > worst) worst = p->lines[i].status;
    return (enum check_status)worst;
}

/* ---- text ---- */
/* Breaks at blanks, each line after the first indented. */
static void wrapped(struct buf *out, size_t indent, struct bytes text) {
    size_t at = indent, i = 0;
    while (i < text.n) {
        size_t end = i;
        while (end < text.n && text.p[end] != ' ') end++;
        if (at > indent && at + 1 + end - i > WIDTH) {
            buf_fmt(out, "\n%*s", (int)indent, "");
            at = indent;
        } else if (at > indent) {
            buf_char(out, ' ');
            at++;
        }
        buf_add(out, text.p + i, end - i);
        at += end - i;
        i = end + 1;
    }
    buf_char(out, '\n');
}

static void stages_say(struct buf *out, struct json item);
static void item_say(struct buf *out, struct json item, struct json cause) {
    struct buf line = {0};
    struct bytes at = text_of(item, "at"), id = text_of(item, "id"),
                 conversation = text_of(item, "conversation"), app = text_of(item, "app"),
                 user = text_of(item, "user"), device = text_of(item, "device"),
                 route = text_of(item, "route");
    if (at.n > 12) at = bytes_of(at.p + 11, at.n - 12);
    buf_fmt(&line, "%.*s  ", (int)at.n, (const char *)at.p);
    words_ms(&line, (int64_t)(real_of(item, "took_ms") * 1e6));
    struct bytes what = text_of(item, "what"), path = text_of(item, "path");
    buf_fmt(&line, "  %.*s", (int)what.n, (const char *)what.p);
    const struct bytes names[] = {id, route, user, device};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (names[i].n) buf_fmt(&line, " %.*s", (int)names[i].n, (const char *)names[i].p);
    if (conversation.n)
        buf_fmt(&line, " in %.*s", (int)conversation.n, (const char *)conversation.p);
    if (app.n) buf_fmt(&line, ", app %.*s", (int)app.n, (const char *)app.p);
    buf_fmt(&line, ", until it was %s%.*s", bytes_is(path, "mailbox") ? "in the " : "", (int)path.n,
        (const char *)path.p);
    buf_fmt(out, "%*s", INDENT, "");
    wrapped(out, INDENT, buf_view(&line));
    stages_say(out, item);
    buf_fmt(out, "%*s", INDENT, "");
    wrapped(out, INDENT, text_of(cause, "words"));
    buf_fmt(out, "%*s-> ", INDENT, "");
    wrapped(out, INDENT + 3, text_of(cause, "do"));
    buf_done(&line);
}

static bool stage_say(void *arg, struct bytes key, struct json stage) {
    struct buf *line = arg;
    struct bytes name = text_of(stage, "stage");
    (void)key;
    if (line->n) buf_str(line, ", ");
    buf_fmt(line, "%.*s ", (int)name.n, (const char *)name.p);
    words_ms(line, (int64_t)(real_of(stage, "ms") * 1e6));
    return true;
}
static void stages_say(struct buf *out, struct json item) {
    struct json stages;
    struct buf line = {0};
    if (json_get(item, "stages", &stages)) json_each(stages, stage_say, &line);
    buf_fmt(out, "%*s", INDENT, "");
    wrapped(out, INDENT, buf_view(&line));
    buf_done(&line);
}

static bool cause_say(void *arg, struct bytes key, struct json v) {
    struct buf *out = arg;
    struct bytes code = text_of(v, "code"), words = text_of(v, "words");
    (void)key;
    buf_fmt(out, "\n%5" PRId64 "  %.*s (%.*s), the slowest:\n", number_of(v, "count"), (int)words.n,
        (const char *)words.p, (int)code.n, (const char *)code.p);
    struct json slowest, cause;
    if (json_get(v, "slowest", &slowest) && json_get(slowest, "cause", &cause))
        item_say(out, slowest, cause);
    return true;
}

static void slow_say(struct page *p, struct buf *out) {
    struct json slow, causes;
    if (!p->has_server || !json_get(p->server, "slow", &slow)) return;
    struct bytes since = text_of(slow, "since");
    buf_fmt(out,
        "Since %.*s %" PRId64 " of %" PRId64 " records and requests took 20 ms and more.\n",
        (int)since.n, (const char *)since.p, number_of(slow, "slow"), number_of(slow, "done"));
    if (json_get(slow, "causes", &causes)) json_each(causes, cause_say, out);
    buf_char(out, '\n');
}

static void line_say(struct buf *out, const struct line *l) {
    buf_fmt(out, "%-8s  ", check_status_name((enum check_status)l->status));
    struct buf words = {0};
    buf_fmt(&words, "%.*s: %.*s", (int)l->name.n, (const char *)l->name.p, (int)l->words.n,
        (const char *)l->words.p);
    wrapped(out, 10, buf_view(&words));
    if (l->help.n) {
        buf_fmt(out, "%*s-> ", 10, "");
        wrapped(out, 13, l->help);
    }
    buf_done(&words);
}

static void text_say(struct page *p, const struct doctor_visit *v, struct buf *out) {
    static const char *const FIRST[] = {
        "All is well", "It works, and something needs a look", "Something is wrong"};
    static const char *const OF_MACHINE[] = {"All is well with this machine",
        "Something about this machine needs a look", "Something is wrong with this machine"};
    bool alone = !p->has_server && !v->silent_pid; /* nobody works here, well or not */
    buf_fmt(out, "%s: %s.\n\n", (alone ? OF_MACHINE : FIRST)[worst_of(p)], v->server_words);
    slow_say(p, out);
    for (int status = CHECK_CRITICAL; status >= CHECK_OK; status--)
        for (size_t i = 0; i < p->count; i++)
            if (p->lines[i].status == status) line_say(out, &p->lines[i]);
}

static void json_say(struct page *p, const struct doctor_visit *v, struct buf *out) {
    struct json_out o = {out, false};
    jo_open_obj(&o);
    jo_key(&o, "status");
    jo_str(&o, bytes_str(check_status_name(worst_of(p))));
    jo_key(&o, "words");
    jo_str(&o, bytes_str(v->server_words));
    jo_key(&o, "checks");
    jo_open_arr(&o);
    for (const struct line *l = p->lines; l < p->lines + p->count; l++) {
        jo_open_obj(&o);
        jo_key(&o, "check");
        jo_str(&o, l->name);
        jo_key(&o, "status");
        jo_str(&o, bytes_str(check_status_name((enum check_status)l->status)));
        jo_key(&o, "words");
        jo_str(&o, l->words);
        if (l->help.n) jo_key(&o, "do"), jo_str(&o, l->help);
        if (l->evidence.n) jo_key(&o, "evidence"), jo_raw(&o, l->evidence);
        jo_close_obj(&o);
    }
    jo_close_arr(&o);
    jo_key(&o, "server");
    if (p->has_server) jo_raw(&o, v->server);
    else jo_null(&o);
    jo_close_obj(&o);
    buf_char(out, '\n');
}

/* The server's folder is held, and nobody answers there. */
static void check_silent(long pid, struct checks *c) {
    char path[64], line[512] = "", state = '?';
    snprintf(path, sizeof path, "/proc/%ld/stat", pid);
    FILE *f = fopen(path, "re");
    const char *after = f && fgets(line, sizeof line, f) ? strrchr(line, ')') : NULL;
    if (f) fclose(f);
    if (after && after[1] == ' ') state = after[2];
    bool stopped = state == 'T' || state == 't';
    check_say(c, "server", CHECK_CRITICAL,
        stopped
            ? "Let it go on: kill -CONT with its number; and find who stopped it."
            : "Look at its log and at what it waits for (top -H -p, /proc/PID/stack); a restart "
              "loses nothing that was acknowledged.",
        "the server, process %ld, does not answer%s", pid, stopped ? ": it is stopped" : "");
}

enum err doctor_visit(const struct doctor_visit *v, struct buf *out, enum check_status *out_worst) {
    struct page *p = must_alloc(sizeof *p);
    struct checks *c = must_alloc(sizeof *c);
    struct settings settings = v->settings;
    struct machine m;
    long pid = 0;
    enum err e = OK;
    p->reader = json_reader_create();
    if (v->server.n) {
        e = json_parse(p->reader, v->server, &p->server);
        p->has_server = e == OK && json_kind_of(p->server) == JSON_OBJECT;
        if (!p->has_server) e = MALFORMED;
    }
    if (p->has_server) {
        settings_take(p->server, &settings);
        pid = (long)number_of(p->server, "pid");
    }
    if (v->silent_pid) check_silent(v->silent_pid, c);
    if (e == OK && v->machine_is_here) {
        machine_look(v->data, pid, &m);
        machine_try_disk(v->data, &m);
        machine_check(&m, &settings, c);
        settings_check(&m, &settings, c);
    }
    if (e == OK) here_lines(p, c);
    if (e == OK) {
        server_lines(p);
        *out_worst = worst_of(p);
        if (v->json) json_say(p, v, out);
        else text_say(p, v, out);
    }
    json_reader_free(&p->reader);
    checks_done(c);
    free(c);
    free(p);
    return e;
}
