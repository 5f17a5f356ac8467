/* kith: the front door: arguments, start, signals. What a word of the command line means stands in
 * one table.
 * SPDX-License-Identifier: Apache-2.0 */
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "admit/admit.h"
#include "bench/bench.h"
#include "config/config.h"
#include "doctor/doctor.h"
#include "drive/drive.h"
#include "export/export.h"
#include "io/io.h"
#include "replay/replay.h"
#include "send/send.h"
#include "shard/shard.h"

#define VERSION "0.1.0"

/* for the thread that takes signals; NULL while it opens */
static _Atomic(struct server *) serving;

/* ---- options: --name VALUE, or the environment's KITH_NAME, or the configuration file's name ----
 * */
struct option {
    const char *name, *value; /* value: what help calls it; NULL: a switch */
    const char *help;
};
struct args {
    int argc;
    char **argv;
    const struct option *options;
    const char *values[64];
    struct config config; /* of serve: what the file says, by the options' order */
    const char *words[8];
    int word_count;
};

static int option_find(const struct args *a, const char *name) {
    for (int i = 0; a->options[i].name; i++)
        if (strcmp(a->options[i].name, name) == 0) return i;
    return -1;
}

static const char *value_of(const struct args *a, const char *name) {
    char env[64] = "KITH_";
    size_t n = 5;
    int i = option_find(a, name);
    if (i >= 0 && a->values[i]) return a->values[i];
    for (const char *p = name; *p && n < sizeof env - 1; p++)
        env[n++] = (char)(*p == '-' ? '_' : *p >= 'a' && *p <= 'z' ? *p - 32 : *p);
    const char *v = getenv(env);
    return v || i < 0 ? v : a->config.values[i];
}

/* The file named by --config or KITH_CONFIG gives what neither the command line nor the environment
 * says. */
static bool config_take(struct args *a) {
    const char *path = value_of(a, "config"), *names[CONFIG_NAMES_MAX];
    size_t n = 0;
    static struct buf why; /* of a command that ends the process */
    for (; a->options[n].name; n++) names[n] = a->options[n].name;
    if (!path || config_read(path, names, n, &a->config, &why) == OK) return true;
    fprintf(stderr, "kith: %.*s\n", (int)why.n, (char *)why.p);
    buf_done(&why);
    return false;
}

/* Words are of the command line too: one more than is understood must not be passed over. */
static bool words_fit(const struct args *a, int most) {
    if (a->word_count <= most) return true;
    fprintf(stderr, "kith: '%s' is not expected here; 'kith %s --help' says what is\n",
        a->words[most], a->argv[0]);
    return false;
}

static bool args_read(struct args *a) {
    for (int i = 1; i < a->argc; i++) {
        const char *w = strcmp(a->argv[i], "-h") == 0 ? "--help" : a->argv[i];
        if (strncmp(w, "--", 2) != 0) {
            if (a->word_count == 8) return words_fit(a, 7);
            a->words[a->word_count++] = w;
            continue;
        }
        char name[40];
        size_t n = strcspn(w + 2, "=");
        snprintf(name, sizeof name, "%.*s", (int)n, w + 2);
        int k = option_find(a, name);
        if (k < 0) {
            fprintf(stderr, "kith: there is no option --%s here; 'kith %s --help' lists them\n",
                name, a->argv[0]);
            return false;
        }
        if (!a->options[k].value && w[2 + n]) {
            fprintf(stderr, "kith: --%s is a switch: it takes no value\n", name);
            return false;
        }
        if (!a->options[k].value) a->values[k] = "1";
        else if (w[2 + n] == '=') a->values[k] = w + 3 + n;
        else if (i + 1 < a->argc) a->values[k] = a->argv[++i];
        else {
            fprintf(stderr, "kith: --%s needs %s\n", name, a->options[k].value);
            return false;
        }
    }
    return true;
}

/* For who asked, and for whom it is wrong usage. */
static void help_print(FILE *to, const char *usage, const struct option *o) {
    enum { COLUMN = 34 };
    fprintf(to, "usage: kith %s\n", usage);
    for (; o->name; o++) {
        int n = fprintf(to, "  --%s %s", o->name, o->value ? o->value : "");
        if (n >= COLUMN) fputc('\n', to), n = 0;
        fprintf(to, "%*s%s\n", COLUMN - n, "", o->help);
    }
}
static int help_asked(const char *usage, const struct option *o) {
    help_print(stdout, usage, o);
    return EXIT_DONE;
}
static int help_needed(const char *usage, const struct option *o) {
    help_print(stderr, usage, o);
    return EXIT_USAGE;
}

static int fail(const struct buf *why) {
    fprintf(stderr, "kith: %.*s\n", (int)why->n, why->p ? (const char *)why->p : "");
    return EXIT_FAILED;
}

#define DATA_DEFAULT "kith-data"
static const char *data_of(const struct args *a) {
    const char *d = value_of(a, "data");
    return d ? d : DATA_DEFAULT;
}

/* ---- serve ---- */
#define CONNECTIONS_PER_USER 256
static const struct option SERVE[] = {
    {"config", "FILE",
        "YAML: 'name: value' for any option below; the environment (KITH_NAME) and the command "
        "line go before it"},
    {"data", "DIR", "data folder (default ./kith-data)"},
    {"log", "file:DIR", "where the log lies (default file: data folder/log)"},
    {"http", "ADDR:PORT", "HTTP listener (default 127.0.0.1:8080)"},
    {"mqtt", "ADDR:PORT", "MQTT listener (default 127.0.0.1:1883)"},
    {"https", "ADDR:PORT", "listener for HTTP, streams and WebSocket over TLS (default: none)"},
    {"mqtts", "ADDR:PORT", "listener for MQTT over TLS (default: none)"},
    {"console", "ADDR:PORT",
        "listener for operators: the console, /metrics and kin are there only (default: with "
        "HTTP)"},
    {"tls-cert", "FILE", "the certificate and its chain, PEM; read again on SIGHUP"},
    {"tls-key", "FILE", "the certificate's key, PEM"},
    {"tls-handshakes-max", "N",
        "TLS handshakes under way on each shard; others wait (default 256)"},
    {"tls-handshake-timeout", "DURATION",
        "until a TLS handshake, and a PROXY header, must be done (default 10s)"},
    {"proxy-protocol", NULL, "every connection begins with a PROXY protocol header, version 2"},
    {"shards", "N", "threads that serve (default: one for each core)"},
    {"partitions", "N", "partitions, fixed when the data is made (default 64, at most 480)"},
    {"retention", "DURATION", "how long the log keeps what the tables hold (default 72h)"},
    {"memory", "MIB", "memory for state in MiB (default 512)"},
    {"connections-max", "N", "connections at once (default: what descriptors allow)"},
    {"rate", "N",
        "requests a second of one user, and of all server keys of an app together (default: no "
        "limit)"},
    {"rate-burst", "N", "how many of them at once (default: the rate)"},
    {"rate-per-app", "N", "likewise of an app's keys and devices together (default: no limit)"},
    {"rate-per-device", "N", "likewise of one device (default: no limit)"},
    {"rate-per-address", "N", "HTTP requests a second of one address (default: no limit)"},
    {"message-rate", "N", "PUBLISHes a second of one connection (default: no limit)"},
    {"byte-rate", "KIB", "KiB a second that one connection may send (default: no limit)"},
    {"byte-rate-per-user", "KIB", "likewise of a user's devices, and an app's server keys"},
    {"byte-rate-per-app", "KIB", "likewise of an app"},
    {"strangers-memory", "MIB",
        "memory of all connections that have not said who they are (default 32)"},
    {"connections-per-address", "N", "connections of one address, IPv6: /64 (default: no limit)"},
    {"connections-per-app", "N", "devices and streams of one app (default: no limit)"},
    {"connections-per-user", "N", "devices and streams of one user (default 256)"},
    {"connect-rate-per-address", "N", "connections a second of one address (default: no limit)"},
    {"connect-rate-per-device", "N", "MQTT connections a second of a device (default: no limit)"},
    {"http-header-timeout", "DURATION", "until a request's head must be there (default 10s)"},
    {"http-body-timeout", "DURATION", "then its body (default 30s)"},
    {"http-idle-timeout", "DURATION", "between requests of a kept connection (default 60s)"},
    {"stall-timeout", "DURATION",
        "for who takes nothing of what is written (default: --http-idle-timeout)"},
    {"mqtt-connect-timeout", "DURATION", "until the CONNECT must be there (default 10s)"},
    {"channel-rules", "FILE",
        "who may use plain MQTT channels: {\"rules\": [{app, topic, publish, subscribe}]}"},
    {"providers", "FILE|none",
        "JSON: who sends push, mail and webhooks; without it Web Push and webhooks by own keys; "
        "none: "
        "nothing leaves"},
    {"mqtt-redirect", "HOST:PORT",
        "server that MQTT 5 clients are sent to while this one shuts down (default: none)"},
    {"mqtt-keepalive-max", "SECONDS",
        "longest keep-alive that a device may have (default: as it wishes)"},
    {"cors-origin", "LIST",
        "comma list of origins whose pages may call, or * (default: the server's own)"},
    {"ws-origins", "LIST",
        "comma list of origins whose pages may open a WebSocket, or * (default: --cors-origin)"},
    {"hosts", "LIST", "comma list of Host names that are served"},
    {"user", "NAME", "whom root becomes before it opens the data (default: stays who it is)"},
    {"confine", "on|off|try",
        "give up files and system calls that serving does not need (default try)"},
    {"journeys", "on|off", "time each record on its way: /v1/slow, doctor, journeys (default on)"},
    {"otlp", "URL",
        "where OTLP/HTTP traces go, http://HOST:PORT/v1/traces: the slow and a sample (default: "
        "nowhere)"},
    {"dev", NULL, "make an app, people and a key to try; loopback addresses only"},
    {"help", NULL, "this text"}, {NULL, NULL, NULL}};

/* The only thread that takes signals: all others have them blocked. So nothing of the server is
 * touched by a signal once this thread has ended. */
static void *signals_main(void *arg) {
    int n = SIGHUP;
    struct server *v = NULL;
    while (n == SIGHUP) {
        (void)sigwait(arg, &n);
        v = atomic_load(&serving);
        if (n == SIGHUP && v) server_reload(v);
    }
    if (!v) _exit(EXIT_DONE); /* it is opening still: nothing was promised to anyone */
    server_stop(v);
    return NULL;
}

static bool number_of(
    const struct args *a, const char *name, unsigned long most, unsigned long *out) {
    const char *v = value_of(a, name);
    char *end;
    *out = 0;
    if (!v) return true;
    *out = strtoul(v, &end, 10);
    if (*end == 0 && *out >= 1 && *out <= most) return true;
    fprintf(stderr, "kith: --%s must be a whole number from 1 to %lu, not '%s'\n", name, most, v);
    return false;
}

/* ---- --dev: an application's key, some people, and what to try ---- */
struct dev {
    struct server *server;
    atomic_bool leaving;
    char http[160], mqtt[160], console[160]; /* ADDR:PORT */
};

static void dev_hints(const struct dev *d, const char *key, const char *token) {
    const char *mqtt_port = strrchr(d->mqtt, ':');
    bool bold = isatty(STDOUT_FILENO);
    printf("\n  Open %shttp://%s/%s in a browser: people who talk, go offline and come back.\n\n",
        bold ? "\033[1m" : "", d->http, bold ? "\033[0m" : "");
    printf(
        "kith " VERSION
        " serves: HTTP http://%s  MQTT %s\n\n  key (app demo): %s\n  the operators' console, with "
        "this key: http://%s/console\n\nTry, in another terminal:\n\n",
        d->http, d->mqtt, key, d->console);
    printf("1. Bob's phone listens:\n   mosquitto_sub -h %.*s -p %s -q 1 -c -i bobs-phone -u bob "
           "-P %s -t 'users/bob/#'\n\n",
        (int)(mqtt_port - d->mqtt), d->mqtt, mqtt_port + 1, token);
    printf("2. Ann writes to him, from a third (the conversation ann-bob is made already; so are "
           "Cid and the group friends):\n   export KITH_KEY=%s\n",
        key);
    printf("   curl http://%s/v1/conversations/ann-bob/messages -H \"Authorization: Bearer "
           "$KITH_KEY\" -d '{\"from\":\"ann\",\"body\":\"hello\"}'\n\n",
        d->http);
    printf("3. Play a trace of 20 people, each message checked to arrive once and in order; then "
           "measure:\n");
    printf("   build/kith replay docs/guide/example.trace --http %s --mqtt %s\n   build/kith bench "
           "one-to-one --http %s --mqtt %s\n\n",
        d->http, d->mqtt, d->http, d->mqtt);
    fflush(stdout);
}

/* "ADDR:PORT" as asked for, with the port that was given. */
static void address_of(const char *asked, unsigned port, char *out, size_t n) {
    const char *colon = strrchr(asked, ':');
    snprintf(out, n, "%.*s:%u", (int)(colon - asked), asked, port);
}

/* Beside the server, as it is a client of it. */
static void *dev_main(void *arg) {
    static struct buf key, why, token; /* of a command that ends the process */
    struct dev *d = arg;
    struct server *s = d->server;
    int64_t expires;
    uint32_t all;
    bool ok =
        admit_scopes_parse("all", &all) == OK &&
        admit_key_create(server_admit(s), BYTES("dev"), BYTES("demo"), all, &key, &why) == OK &&
        admit_token_create(server_admit(s), BYTES("demo"), BYTES("bob"), BYTES("bobs-phone"),
            86400000, clock_wall_ms(), &token, &expires) == OK;
    buf_char(&key, 0);
    buf_char(&token, 0);
    if (ok && drive_demo(d->http, (char *)key.p, &d->leaving, &why))
        dev_hints(d, (char *)key.p, (char *)token.p);
    else if (!atomic_load(&d->leaving))
        trace(TRACE_ERROR, "--dev could not make its people", TRACE_TEXT("why", buf_view(&why)));
    return NULL;
}

static bool duration_of(const struct args *a, const char *name, int64_t *out_ms) {
    const char *v = value_of(a, name);
    if (!v || duration_parse(bytes_str(v), out_ms) == OK) return true;
    fprintf(stderr, "kith: --%s must be a duration such as 30s, 15m or 72h, not '%s'\n", name, v);
    return false;
}

static bool switch_of(const struct args *a, const char *name, bool *out) {
    const char *v = value_of(a, name);
    *out = v && (strcmp(v, "1") == 0 || strcmp(v, "true") == 0);
    if (!v || *out || strcmp(v, "0") == 0 || strcmp(v, "false") == 0) return true;
    fprintf(stderr, "kith: --%s is true or false, not '%s'\n", name, v);
    return false;
}

static bool journeys_of(const struct args *a, bool *out_off) {
    const char *v = value_of(a, "journeys");
    *out_off = v && (strcmp(v, "off") == 0 || strcmp(v, "false") == 0);
    if (!v || *out_off || strcmp(v, "on") == 0 || strcmp(v, "true") == 0) return true;
    fprintf(stderr, "kith: --journeys is on or off, not '%s'\n", v);
    return false;
}

static bool otlp_of(const struct args *a, const char **out) {
    static struct buf why; /* of a command that ends the process */
    *out = value_of(a, "otlp");
    if (!*out || export_url_valid(*out, &why)) return true;
    fprintf(stderr, "kith: --otlp: %.*s\n", (int)why.n, (char *)why.p);
    return false;
}

static bool log_of(const struct args *a, char *room, size_t n, const char **out) {
    const char *v = value_of(a, "log");
    *out = NULL;
    if (!v) return true;
    if (strncmp(v, "file:", 5) != 0 || !v[5]) {
        fprintf(stderr, "kith: --log must be file:DIR, not '%s'%s\n", v,
            strncmp(v, "kafka:", 6) == 0 ? "; a log on Kafka is not offered yet" : "");
        return false;
    }
    char *here = v[5] == '/' ? NULL : realpath(".", NULL);
    snprintf(room, n, "%s%s%s", here ? here : "", here ? "/" : "", v + 5);
    free(here);
    *out = room;
    return true;
}

static bool limits_of(const struct args *a, struct server_options *o) {
    struct {
        const char *name;
        double *rate, scale;
        unsigned *count;
    } const LIMITS[] = {{"rate", &o->rate_per_second, 1, NULL},
        {"rate-burst", &o->rate_burst, 1, NULL}, {"rate-per-app", &o->rate_per_app, 1, NULL},
        {"rate-per-device", &o->rate_per_device, 1, NULL},
        {"rate-per-address", &o->rate_per_address, 1, NULL},
        {"message-rate", &o->message_rate, 1, NULL}, {"byte-rate", &o->byte_rate, 1024, NULL},
        {"byte-rate-per-user", &o->byte_rate_per_user, 1024, NULL},
        {"byte-rate-per-app", &o->byte_rate_per_app, 1024, NULL},
        {"connections-per-address", NULL, 1, &o->connections_per_address},
        {"connections-per-app", NULL, 1, &o->connections_per_app},
        {"connections-per-user", NULL, 1, &o->connections_per_user},
        {"connect-rate-per-address", &o->connect_rate_per_address, 1, NULL},
        {"connect-rate-per-device", &o->connect_rate_per_device, 1, NULL}};
    o->connections_per_user = CONNECTIONS_PER_USER;
    for (size_t i = 0; i < sizeof LIMITS / sizeof *LIMITS; i++) {
        unsigned long n;
        if (!number_of(a, LIMITS[i].name, 1 << 30, &n)) return false;
        if (n && LIMITS[i].rate) *LIMITS[i].rate = (double)n * LIMITS[i].scale;
        else if (n) *LIMITS[i].count = (unsigned)n;
    }
    return true;
}

static bool tls_is_whole(const struct server_options *o) {
    bool doors = o->https || o->mqtts, files = o->tls_cert && o->tls_key;
    if (doors == files && !o->tls_cert == !o->tls_key) return true;
    fprintf(stderr, files ? "kith: --tls-cert and --tls-key are for --https or --mqtts: give one\n"
                          : "kith: TLS needs both --tls-cert FILE and --tls-key FILE\n");
    return false;
}

/* What a browser sends as Origin (RFC 6454, 6.2): an address with a path, or a mere name, would never
 * match, and pages be refused without a word here. */
static bool is_origin(const char *w, size_t n) {
    const char *scheme = memmem(w, n, "://", 3);
    if (n == 1 && *w == '*') return true;
    if (n == 4 && memcmp(w, "null", 4) == 0) return true;
    if (!scheme || scheme == w) return false;
    const char *host = scheme + 3, *end = w + n;
    return host < end && !memchr(host, '/', (size_t)(end - host)) &&
           !memchr(host, '?', (size_t)(end - host)) && !memchr(host, '#', (size_t)(end - host));
}
static bool is_host(const char *w, size_t n) { return !memchr(w, '/', n); }

/* Each of a comma list, blanks around it left aside. */
static bool list_of(const struct args *a, const char *name, bool (*fits)(const char *w, size_t n),
    const char *what) {
    const char *w = value_of(a, name);
    while (w && *w) {
        size_t blank = strspn(w, " "), all = strcspn(w, ","), n = all;
        while (n > blank && w[n - 1] == ' ') n--;
        if (n > blank && !fits(w + blank, n - blank)) {
            fprintf(
                stderr, "kith: --%s: '%.*s' is not %s\n", name, (int)(n - blank), w + blank, what);
            return false;
        }
        w += all + (w[all] == ',');
    }
    return true;
}
static bool lists_fit(const struct args *a) {
    static const char ORIGIN[] =
        "an origin: a scheme and a host as the browser sends them, and no path, such as "
        "https://app.example or http://127.0.0.1:3000";
    return list_of(a, "cors-origin", is_origin, ORIGIN) &&
           list_of(a, "ws-origins", is_origin, ORIGIN) &&
           list_of(a, "hosts", is_host, "a host's name, such as kith.example");
}

static bool serve_options(struct args *a, char *room, size_t n, struct server_options *o) {
    unsigned long shards, partitions, memory, strangers, connections, keepalive, handshakes;
    const char *http = value_of(a, "http"), *mqtt = value_of(a, "mqtt");
    *o = (struct server_options){.version = VERSION,
        .data_dir = data_of(a),
        .http = http ? http : "127.0.0.1:8080",
        .mqtt = mqtt ? mqtt : "127.0.0.1:1883",
        .https = value_of(a, "https"),
        .mqtts = value_of(a, "mqtts"),
        .console = value_of(a, "console"),
        .tls_cert = value_of(a, "tls-cert"),
        .tls_key = value_of(a, "tls-key"),
        .ws_origins = value_of(a, "ws-origins"),
        .retention_ms = 72ll * 3600000,
        .cors_origin = value_of(a, "cors-origin"),
        .hosts = value_of(a, "hosts")};
    if (!number_of(a, "shards", 64, &shards) || !number_of(a, "partitions", 480, &partitions) ||
        !number_of(a, "memory", 1 << 20, &memory) ||
        !number_of(a, "strangers-memory", 1 << 20, &strangers) ||
        !number_of(a, "connections-max", 1 << 24, &connections) || !limits_of(a, o) ||
        !number_of(a, "mqtt-keepalive-max", 65535, &keepalive) ||
        !duration_of(a, "retention", &o->retention_ms) ||
        !duration_of(a, "http-header-timeout", &o->http_header_timeout_ms) ||
        !duration_of(a, "http-body-timeout", &o->http_body_timeout_ms) ||
        !duration_of(a, "http-idle-timeout", &o->http_idle_timeout_ms) ||
        !duration_of(a, "stall-timeout", &o->stall_timeout_ms) ||
        !duration_of(a, "mqtt-connect-timeout", &o->mqtt_connect_timeout_ms) ||
        !duration_of(a, "tls-handshake-timeout", &o->tls_handshake_timeout_ms) ||
        !number_of(a, "tls-handshakes-max", 1 << 20, &handshakes) || !tls_is_whole(o) ||
        !switch_of(a, "proxy-protocol", &o->proxy_protocol) || !switch_of(a, "dev", &o->dev) ||
        !lists_fit(a) || !journeys_of(a, &o->journeys_off) || !otlp_of(a, &o->otlp) ||
        !log_of(a, room, n, &o->log_dir))
        return false;
    o->shards = (unsigned)shards;
    o->partitions = (uint16_t)partitions;
    o->memory_bytes = (uint64_t)memory << 20;
    o->strangers_bytes = (uint64_t)strangers << 20;
    o->connections_max = connections;
    o->channel_rules = value_of(a, "channel-rules");
    o->providers = value_of(a, "providers");
    o->mqtt_redirect = value_of(a, "mqtt-redirect");
    o->mqtt_keepalive_max_s = (uint16_t)keepalive;
    o->tls_handshakes_max = (unsigned)handshakes;
    if (!o->dev || (addr_is_loopback(o->http) && addr_is_loopback(o->mqtt) &&
                       (!o->https || addr_is_loopback(o->https)) &&
                       (!o->mqtts || addr_is_loopback(o->mqtts)) &&
                       (!o->console || addr_is_loopback(o->console))))
        return true;
    fprintf(stderr, "kith: --dev opens the server to whoever reaches it; give loopback addresses "
                    "such as 127.0.0.1:8080\n");
    return false;
}

/* Where a server ends before it serves. */
static int serve_fail(struct buf *why) {
    buf_char(why, 0);
    if (why->n > 1) trace(TRACE_FATAL, (char *)why->p); /* else it was said */
    return EXIT_FAILED;
}

/* ---- least privilege (io/confine.c) ---- */
enum { CONFINE_OFF, CONFINE_TRY, CONFINE_ON };

static bool confine_mode(const struct args *a, int *out) {
    static const char *const WORDS[] = {"off", "try", "on"};
    const char *v = value_of(a, "confine");
    *out = CONFINE_TRY;
    if (!v) return true;
    for (*out = CONFINE_OFF; *out <= CONFINE_ON; ++*out)
        if (strcmp(v, WORDS[*out]) == 0) return true;
    fprintf(stderr, "kith: --confine is on, off or try, not '%s'\n", v);
    return false;
}

/* What a step of confining came to: false ends the start. */
static bool confine_said(int mode, const char *what, enum err e, const struct buf *why) {
    char words[300];
    snprintf(words, sizeof words, e == OK ? "confined: %s" : "not confined: %s: %.*s", what,
        (int)why->n, (const char *)why->p);
    trace(e == OK ? TRACE_INFO : mode == CONFINE_ON ? TRACE_FATAL : TRACE_WARNING, words);
    return e == OK || mode != CONFINE_ON;
}

/* The folder that a file is in, as it may be replaced while serving; or the folder of the file that
 * it is a link to. */
static const char *folder_of(const char *file, bool linked, char room[static 4096]) {
    char *real = file && linked ? realpath(file, NULL) : NULL;
    if (!file || (linked && !real)) return NULL;
    snprintf(room, 4096, "%s", linked ? real : file);
    free(real);
    char *slash = strrchr(room, '/');
    if (!slash) return ".";
    slash[slash == room] = 0;
    return room;
}

/* Before there are threads: all of them shall be held. */
static bool confine_begin(
    const struct args *a, const struct server_options *o, int mode, struct buf *why) {
    const char *user = value_of(a, "user");
    struct buf said = {0};
    char log[4200], certs[4][4096];
    struct tls_context *tls = NULL; /* a certificate that is none: said before anything is made */
    bool made, fine = !o->tls_cert || tls_context_create(o->tls_cert, o->tls_key, &tls, why) == OK;
    tls_context_free(&tls);
    fine = fine && data_folder(o->data_dir, &made, &said, why) == OK;
    if (fine && o->log_dir) fine = disk_real()->make_dir(disk_real(), o->log_dir) == OK;
    if (fine && user && made) fine = confine_give(o->data_dir, user, why) == OK;
    if (fine && user && made && o->log_dir) fine = confine_give(o->log_dir, user, why) == OK;
    if (fine && user) fine = confine_user(user, why) == OK;
    buf_char(&said, 0);
    if (said.n > 1) trace(TRACE_WARNING, (char *)said.p);
    buf_done(&said);
    if (!fine || mode == CONFINE_OFF) return fine;
    snprintf(log, sizeof log, "%s/log", o->data_dir); /* may be a link */
    const struct confine_path fixed[] = {{o->data_dir, true}, {log, true},
        {o->log_dir ? o->log_dir : log, true}, {folder_of(o->tls_cert, false, certs[0]), false},
        {folder_of(o->tls_cert, true, certs[1]), false},
        {folder_of(o->tls_key, false, certs[2]), false},
        {folder_of(o->tls_key, true, certs[3]), false},
        {o->channel_rules ? o->channel_rules : "/dev/null", false}, {"/proc/self", false},
        {"/proc/sys/kernel/random", false}, {"/sys/devices/system/cpu", false},
        {"/etc/hosts", false}, {"/etc/nsswitch.conf", false}, {"/etc/resolv.conf", false},
        {"/etc/host.conf", false}, {"/etc/gai.conf", false}, {"/etc/ssl", false},
        {"/usr/lib/ssl", false}, {"/dev/null", true}, {"/dev/urandom", false}};
    enum { FIXED = sizeof fixed / sizeof *fixed, PATHS_MAX = 400 };
    struct confine_path paths[PATHS_MAX];
    size_t n = FIXED;
    struct buf files = {0}; /* of the providers: each is opened when they are read */
    memcpy(paths, fixed, sizeof fixed);
    send_files(o->providers, &files);
    for (size_t at = 0; at < files.n && n < PATHS_MAX; at += strlen((char *)files.p + at) + 1)
        paths[n++] = (struct confine_path){(char *)files.p + at, false};
    enum err e = confine_files(paths, n, why);
    buf_done(&files);
    fine = confine_said(mode, "files (Landlock)", e, why);
    buf_reset(why);
    return fine;
}

static int cmd_serve(int argc, char **argv) {
    struct args a = {.argc = argc, .argv = argv, .options = SERVE};
    static struct buf why; /* of a command that ends the process */
    struct server_options o;
    char log_dir[4096];
    int confine;
    if (!args_read(&a)) return EXIT_USAGE;
    if (a.values[option_find(&a, "help")]) return help_asked("serve [options]", SERVE);
    if (!words_fit(&a, 0)) return EXIT_USAGE;
    if (!config_take(&a) || !serve_options(&a, log_dir, sizeof log_dir, &o) ||
        !confine_mode(&a, &confine))
        return EXIT_USAGE;
    if (!confine_begin(&a, &o, confine, &why)) return serve_fail(&why);
    static sigset_t signals;
    pthread_t signals_thread;
    static struct server *v; /* half open, if that fails: it goes with the process */
    sigemptyset(&signals);
    sigaddset(&signals, SIGTERM);
    sigaddset(&signals, SIGINT);
    sigaddset(&signals, SIGHUP);
    pthread_sigmask(SIG_BLOCK, &signals, NULL);
    if (pthread_create(&signals_thread, NULL, signals_main, &signals) != 0)
        return buf_str(&why, "no thread can be made"), serve_fail(&why);
    int manager = notify_open();
    if (server_open(&o, &v, &why) != OK) return serve_fail(&why);
    bool connects = o.dev || o.otlp || !send_is_off(o.providers);
    if (confine && !confine_said(confine, "calls (seccomp)", confine_calls(connects, &why), &why))
        return EXIT_FAILED;
    atomic_store(&serving, v);
    signal(SIGPIPE, SIG_IGN);
    pthread_t dev;
    static struct dev people;
    people.server = v;
    address_of(o.http, server_port(v, DOOR_HTTP), people.http, sizeof people.http);
    address_of(o.mqtt, server_port(v, DOOR_MQTT), people.mqtt, sizeof people.mqtt);
    address_of(o.console ? o.console : o.http, server_port(v, o.console ? DOOR_CONSOLE : DOOR_HTTP),
        people.console, sizeof people.console);
    bool dev_runs = o.dev && pthread_create(&dev, NULL, dev_main, &people) == 0;
    notify_say(manager, "READY=1"); /* who connects now waits until all is read */
    int status = server_run(v);
    atomic_store(&people.leaving, true);
    pthread_kill(signals_thread, SIGTERM);
    pthread_join(signals_thread, NULL);
    if (dev_runs) pthread_join(dev, NULL);
    server_close(&v);
    config_done(&a.config);
    trace(TRACE_INFO, "stopped");
    return status;
}

/* ---- keys and tokens: while serving and before ---- */
static const struct option KEY[] = {{"data", "DIR", "data folder"},
    {"name", "NAME", "a name for the key"}, {"app", "APP", "its app (default: default)"},
    {"scope", "LIST", "read,write,tokens,moderate,operate or all (default read,write,tokens)"},
    {"help", NULL, "this text"}, {NULL, NULL, NULL}};

static enum err secrets_open(const char *dir, struct admit **out, struct buf *why) {
    enum err e = disk_real()->make_dir(disk_real(), dir);
    if (e != OK) return buf_fmt(why, "the data folder %s cannot be made", dir), e;
    return admit_open(dir, out, why);
}

static void server_told(const char *dir) {
    static struct buf out; /* of a command that ends the process */
    if (control_ask(dir, "reload", &out) == OK && !bytes_starts(buf_view(&out), "ok"))
        fprintf(stderr, "kith: the running server did not take the change: %.*s", (int)out.n,
            (char *)out.p);
    buf_done(&out);
}

static int key_do(const struct args *a, struct admit *admit, struct buf *why) {
    const char *what = a->words[0], *name = value_of(a, "name"), *app = value_of(a, "app"),
               *scope = value_of(a, "scope");
    static struct buf out; /* of a command that ends the process */
    uint32_t scopes;
    enum err e = OK;
    if (strcmp(what, "list") == 0) {
        admit_key_list(admit, &out);
    } else if (strcmp(what, "create") == 0) {
        if (!name) return buf_str(why, "'kith key create' needs --name NAME"), EXIT_USAGE;
        if (admit_scopes_parse(scope ? scope : "read,write,tokens", &scopes) != OK)
            return buf_fmt(why,
                       "'%s' is not a list of scopes: read,write,tokens,moderate,operate, or all",
                       scope),
                   EXIT_USAGE;
        e = admit_key_create(
            admit, bytes_str(name), bytes_str(app ? app : "default"), scopes, &out, why);
        buf_char(&out, '\n');
    } else if (strcmp(what, "revoke") == 0) {
        if (a->word_count < 2 && !name)
            return buf_str(why,
                       "'kith key revoke' needs a key's id or name; 'kith key list' shows them"),
                   EXIT_USAGE;
        e = admit_key_revoke(admit, bytes_str(a->word_count == 2 ? a->words[1] : name), why);
    } else {
        return buf_fmt(why, "'kith key %s' is not known; create, list or revoke", what), EXIT_USAGE;
    }
    if (e == OK && out.n) fwrite(out.p, 1, out.n, stdout);
    buf_done(&out);
    return e == OK ? EXIT_DONE : EXIT_FAILED;
}

/* ---- an app's own issuer of tokens ---- */
static const struct option ISSUER[] = {{"data", "DIR", "data folder"},
    {"app", "APP", "the app whose users its tokens name (default: default)"},
    {"issuer", "NAME", "its name: the claim 'iss' of its tokens"},
    {"audience", "NAME", "the claim 'aud' that they must carry"},
    {"jwks", "FILE", "its public keys (RFC 7517): RS256 or ES256"},
    {"hs256", "FILE", "or the secret shared with it, 32 to 1,024 bytes"},
    {"help", NULL, "this text"}, {NULL, NULL, NULL}};

/* The whole of a small file with a zero byte after it; a line's end at its end is left out. */
static bool file_take(const char *path, struct buf *out, struct buf *why) {
    enum { FILE_BYTES_MAX = 1 << 20 };
    FILE *f = fopen(path, "r");
    char part[4096];
    size_t n;
    if (!f) return buf_fmt(why, "%s cannot be read", path), false;
    while ((n = fread(part, 1, sizeof part, f)) && out->n <= FILE_BYTES_MAX) buf_add(out, part, n);
    bool bad =
        ferror(f) || out->n > FILE_BYTES_MAX || memchr(out->p ? (char *)out->p : "", 0, out->n);
    fclose(f);
    if (bad) return buf_fmt(why, "%s is no text of at most 1 MiB", path), false;
    while (out->n && (out->p[out->n - 1] == '\n' || out->p[out->n - 1] == '\r')) out->n--;
    buf_char(out, 0);
    return true;
}

static int issuer_do(const struct args *a, struct admit *admit, struct buf *why) {
    const char *what = a->words[0], *app = value_of(a, "app"), *name = value_of(a, "issuer"),
               *audience = value_of(a, "audience"), *jwks = value_of(a, "jwks"),
               *hs256 = value_of(a, "hs256");
    static struct buf out; /* of a command that ends the process */
    if (strcmp(what, "list") == 0) {
        admit_issuer_list(admit, &out);
        if (out.n) fwrite(out.p, 1, out.n, stdout);
        return EXIT_DONE;
    }
    if (strcmp(what, "set") != 0 && strcmp(what, "remove") != 0)
        return buf_fmt(why, "'kith issuer %s' is not known; set, list or remove", what), EXIT_USAGE;
    if (!name || !audience)
        return buf_fmt(why, "'kith issuer %s' needs --issuer NAME and --audience NAME", what),
               EXIT_USAGE;
    if (strcmp(what, "remove") == 0)
        return admit_issuer_remove(admit, bytes_str(name), bytes_str(audience), why) == OK
                   ? EXIT_DONE
                   : EXIT_FAILED;
    if (!jwks == !hs256)
        return buf_str(why, "'kith issuer set' needs either --jwks FILE or --hs256 FILE"),
               EXIT_USAGE;
    if (!file_take(jwks ? jwks : hs256, &out, why)) return EXIT_FAILED;
    enum err e = admit_issuer_set(admit, bytes_str(app ? app : "default"), bytes_str(name),
        bytes_str(audience), hs256 ? (char *)out.p : NULL, jwks ? (char *)out.p : NULL, why);
    return e == OK ? EXIT_DONE : EXIT_FAILED;
}

/* A command of words on the secrets: opens them, does it, and tells a running server. */
static int secrets_command(int argc, char **argv, const struct option *options, const char *usage,
    int (*run)(const struct args *, struct admit *, struct buf *why)) {
    struct args a = {.argc = argc, .argv = argv, .options = options};
    struct admit *admit = NULL;
    static struct buf why; /* of a command that ends the process */
    if (!args_read(&a)) return EXIT_USAGE;
    bool asked = a.values[option_find(&a, "help")];
    if (asked) return help_asked(usage, options);
    if (!a.word_count) return help_needed(usage, options);
    bool looks = strcmp(a.words[0], "list") == 0, of_key = strcmp(a.words[0], "revoke") == 0;
    if (!words_fit(&a, of_key ? 2 : 1)) return EXIT_USAGE;
    if ((looks || of_key) && access(data_of(&a), F_OK) != 0)
        return buf_fmt(&why, "there is no data folder %s; name it with --data DIR", data_of(&a)),
               fail(&why);
    if (secrets_open(data_of(&a), &admit, &why) != OK) return fail(&why);
    int status = run(&a, admit, &why);
    if (status != EXIT_DONE) fail(&why);
    else if (!looks) server_told(data_of(&a));
    admit_close(&admit);
    return status;
}

static int cmd_key(int argc, char **argv) {
    return secrets_command(argc, argv, KEY, "key create|list|revoke [ID] [options]", key_do);
}
static int cmd_issuer(int argc, char **argv) {
    return secrets_command(argc, argv, ISSUER, "issuer set|list|remove [options]", issuer_do);
}

static const struct option TOKEN[] = {{"data", "DIR", "data folder"}, {"user", "ID", "whose token"},
    {"app", "APP", "the app (default: default)"},
    {"device", "ID", "the device it is for (default: any)"},
    {"ttl", "DURATION", "how long it holds (default 24h)"}, {"help", NULL, "this text"},
    {NULL, NULL, NULL}};

static int cmd_token(int argc, char **argv) {
    struct args a = {.argc = argc, .argv = argv, .options = TOKEN};
    struct admit *admit = NULL;
    static struct buf why, token; /* of a command that ends the process */
    int64_t ttl = 86400000, expires;
    if (!args_read(&a)) return EXIT_USAGE;
    if (a.values[option_find(&a, "help")]) return help_asked("token --user ID [options]", TOKEN);
    if (!words_fit(&a, 0)) return EXIT_USAGE;
    const char *user = value_of(&a, "user"), *app = value_of(&a, "app"),
               *device = value_of(&a, "device"), *t = value_of(&a, "ttl");
    if (!user || !id_valid(bytes_str(user)))
        return fprintf(
                   stderr, "kith: 'kith token' needs --user ID, 1 to 64 of A-Z a-z 0-9 _ . : -\n"),
               EXIT_USAGE;
    if (t && duration_parse(bytes_str(t), &ttl) != OK)
        return fprintf(stderr, "kith: --ttl must be a duration such as 24h, at most 3650d\n"),
               EXIT_USAGE;
    if ((device && !id_valid(bytes_str(device))) || (app && !id_valid(bytes_str(app))))
        return fprintf(stderr, "kith: --device and --app must be ids\n"), EXIT_USAGE;
    if (secrets_open(data_of(&a), &admit, &why) != OK) return fail(&why);
    enum err e = admit_token_create(admit, bytes_str(app ? app : "default"), bytes_str(user),
        bytes_str(device), ttl, clock_wall_ms(), &token, &expires);
    if (e == OK) printf("%.*s\n", (int)token.n, (char *)token.p);
    server_told(data_of(&a));
    admit_close(&admit);
    return e == OK ? EXIT_DONE : EXIT_FAILED;
}

/* ---- data folders ---- */
static const struct option DATA[] = {
    {"data", "DIR", "data folder"}, {"help", NULL, "this text"}, {NULL, NULL, NULL}};

static int cmd_check(int argc, char **argv) {
    struct args a = {.argc = argc, .argv = argv, .options = DATA};
    static struct buf why; /* of a command that ends the process */
    if (!args_read(&a)) return EXIT_USAGE;
    if (a.values[1]) return help_asked("check --data DIR", DATA);
    if (!words_fit(&a, 0)) return EXIT_USAGE;
    enum err e = data_check(data_of(&a), &why);
    fprintf(e == OK ? stdout : stderr, "%.*s%s", (int)why.n, why.p ? (char *)why.p : "",
        why.n && why.p[why.n - 1] == '\n' ? "" : "\n");
    return e == OK ? EXIT_DONE : EXIT_FAILED;
}

static int cmd_backup(int argc, char **argv) {
    struct args a = {.argc = argc, .argv = argv, .options = DATA};
    static struct buf out; /* of a command that ends the process */
    if (!args_read(&a)) return EXIT_USAGE;
    if (a.values[1]) return help_asked("backup --data DIR TO", DATA);
    if (!a.word_count) return help_needed("backup --data DIR TO", DATA);
    if (!words_fit(&a, 1)) return EXIT_USAGE;
    enum err e = data_backup_take(data_of(&a), a.words[0], &out);
    if (e == MISSING) e = data_backup(data_of(&a), a.words[0], &out);
    if (e != OK) return fail(&out);
    printf("ok backup written to %s\n", a.words[0]);
    return EXIT_DONE;
}

static int cmd_restore(int argc, char **argv) {
    struct args a = {.argc = argc, .argv = argv, .options = DATA};
    static struct buf why; /* of a command that ends the process */
    if (!args_read(&a)) return EXIT_USAGE;
    if (a.values[1]) return help_asked("restore FROM --data DIR", DATA);
    if (!a.word_count) return help_needed("restore FROM --data DIR", DATA);
    if (!words_fit(&a, 1)) return EXIT_USAGE;
    if (data_restore(a.words[0], data_of(&a), &why) != OK) return fail(&why);
    printf("ok restored into %s\n", data_of(&a));
    return EXIT_DONE;
}

/* ---- doctor ---- */
static const struct option DOCTOR[] = {
    {"data", "DIR", "data folder (default ./kith-data, or what the configuration says)"},
    {"config", "FILE", "the server's YAML file: looks at what will hurt in it"},
    {"http", "ADDR:PORT", "asks a server over HTTP, this machine is not looked at then"},
    {"key", "KEY", "a server key with the scope operate, for --http (default: KITH_KEY)"},
    {"json", NULL, "one JSON object, for programs"}, {"help", NULL, "this text"},
    {NULL, NULL, NULL}};

/* As `kith serve` would read it. */
static bool doctor_config(const char *path, struct args *serve, struct settings *out) {
    struct server_options o;
    char log_dir[4096];
    *serve = (struct args){.options = SERVE};
    serve->values[option_find(serve, "config")] = path;
    if (!config_take(serve) || !serve_options(serve, log_dir, sizeof log_dir, &o)) return false;
    server_settings(&o, out);
    return true;
}

static bool doctor_ask(const char *http, const char *key, struct buf *out, struct buf *why) {
    static const char *const PATHS[] = {"/v1/doctor", "/v1/slow"}, *const KEYS[] = {
                                                                       "doctor", "slow"};
    buf_char(out, '{');
    for (int i = 0; i < 2; i++) {
        buf_fmt(out, "%s\"%s\":", i ? "," : "", KEYS[i]);
        int status = request_get(http, key, PATHS[i], out);
        if (status == 200) continue;
        buf_fmt(why,
            status == 401 || status == 403
                ? "%s answered %d; it needs --key KEY with the scope operate"
            : status
                ? "%s answered %d; is that kith's HTTP listener?"
                : "nothing answers at %s; is that the address of --http (or --console), and does "
                  "the server run?",
            http, status);
        return false;
    }
    buf_char(out, '}');
    return true;
}

static int cmd_doctor(int argc, char **argv) {
    struct args a = {.argc = argc, .argv = argv, .options = DOCTOR};
    static struct args serve; /* these are of a command that ends the process */
    static struct buf why, server, out;
    char words[600];
    enum check_status worst = CHECK_OK;
    enum err asked;
    long pid = 0;
    struct doctor_visit v = {.machine_is_here = true, .server_words = words};
    if (!args_read(&a)) return EXIT_USAGE;
    if (a.values[option_find(&a, "help")]) return help_asked("doctor [options]", DOCTOR);
    if (!words_fit(&a, 0)) return EXIT_USAGE;
    const char *config = value_of(&a, "config"), *http = a.values[option_find(&a, "http")];
    v.data = data_of(&a);
    v.json = a.values[option_find(&a, "json")];
    if (config && !doctor_config(config, &serve, &v.settings)) return EXIT_USAGE;
    if (config && !value_of(&a, "data")) v.data = data_of(&serve);
    if (http) {
        v.machine_is_here = false;
        if (!doctor_ask(http, value_of(&a, "key"), &server, &why)) return fail(&why);
        snprintf(words, sizeof words, "asked the server at %s", http);
    } else if ((asked = control_ask_soon(v.data, "doctor", &server, &pid)) == OK) {
        snprintf(words, sizeof words, "asked the server of %s", v.data);
    } else if (asked != MISSING) {
        buf_reset(&server);
        v.silent_pid = pid;
        snprintf(
            words, sizeof words, "asked the server of %s, in vain; looked at this machine", v.data);
    } else {
        buf_reset(&server);
        snprintf(words, sizeof words,
            "no server runs on %s, so nothing else was looked at. Should one? --data DIR names "
            "another "
            "folder, --http ADDR:PORT another machine",
            v.data);
    }
    v.server = buf_view(&server);
    if (doctor_visit(&v, &out, &worst) != OK)
        return buf_fmt(&why, "the server's answer is not understood; is it of this version?"),
               fail(&why);
    fwrite(out.p, 1, out.n, stdout);
    return worst == CHECK_CRITICAL ? EXIT_FAILED : EXIT_DONE;
}

static int cmd_version(int argc, char **argv) {
    (void)argc;
    (void)argv;
    puts("kith " VERSION);
    return EXIT_DONE;
}

static const struct command {
    const char *name, *help;
    int (*run)(int argc, char **argv);
} COMMANDS[] = {{"serve", "serve an application", cmd_serve},
    {"key", "make, list and revoke server keys", cmd_key},
    {"token", "make a device token", cmd_token},
    {"issuer", "let an app's own issuer make device tokens", cmd_issuer},
    {"check", "check every checksum of a data folder", cmd_check},
    {"backup", "copy a data folder, while serving too", cmd_backup},
    {"restore", "make a data folder from a backup", cmd_restore},
    {"doctor", "say what was slow and why, and look at the machine", cmd_doctor},
    {"bench", "measure a server: the load generator", bench_run},
    {"replay", "play a recorded trace against a server", replay_run},
    {"version", "print the version", cmd_version}};

int main(int argc, char **argv) {
    umask(0077); /* what is made here is nobody else's */
    for (size_t i = 0; argc > 1 && i < sizeof COMMANDS / sizeof *COMMANDS; i++)
        if (strcmp(argv[1], COMMANDS[i].name) == 0) return COMMANDS[i].run(argc - 1, argv + 1);
    const char *first = argc > 1 ? argv[1] : "";
    if (strcmp(first, "--version") == 0 || strcmp(first, "-v") == 0) return cmd_version(0, NULL);
    bool asked =
        strcmp(first, "--help") == 0 || strcmp(first, "-h") == 0 || strcmp(first, "help") == 0;
    FILE *to = asked ? stdout : stderr;
    if (argc > 1 && !asked) fprintf(to, "kith: there is no command '%s'\n", argv[1]);
    fprintf(to, "usage: kith COMMAND [options]; 'kith COMMAND --help' says more\n");
    for (size_t i = 0; i < sizeof COMMANDS / sizeof *COMMANDS; i++)
        fprintf(to, "  %-9s %s\n", COMMANDS[i].name, COMMANDS[i].help);
    return asked ? EXIT_DONE : EXIT_USAGE;
}
