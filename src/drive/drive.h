/* drive: a client of the public interfaces like any other: MQTT devices on one event loop, HTTP
 * requests side by side, what is counted, how it is told. What is played with it stands in the
 * rooms bench and replay.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef KITH_DRIVE_H
#define KITH_DRIVE_H

#include <stdatomic.h>

#include "base/base.h"
#include "io/io.h"
#include "measure/measure.h"
#include "wire/wire.h"

/* Exit statuses of the program: 1 also when something was lost. */
enum { EXIT_DONE, EXIT_FAILED, EXIT_USAGE };
#define SECOND_NS 1000000000ll
#define MILLI_NS 1000000ll

/* ---- devices (fleet.c) ----
 * Invariants: a device's packet ids are given in turn; `outstanding` counts its PUBLISHes without a
 * PUBACK, or PUBCOMP. A lost connection of a fleet that `reconnects` is tried again until the fleet is closed;
 * who publishes resends (device_resend) what `acked` has not told. */
enum device_state {
    DEVICE_NEW,
    DEVICE_CONNECTING,
    DEVICE_SUBSCRIBING,
    DEVICE_READY,
    DEVICE_GONE,
    DEVICE_REFUSED
};
/* MQTT over WebSocket, a client's side (web.c): `out` of the device is frames up to `framed`, and
 * plain behind it; `in` is what is no whole frame yet. */
struct web {
    bool open; /* the 101 has come */
    size_t framed;
    struct buf in;
};
struct fleet;
struct device {
    struct fleet *fleet;
    int fd;
    uint8_t state;
    bool want_write, dirty, was_ready;
    uint16_t next_packet, outstanding;
    int64_t started_ns, wrote_ns; /* when its handshake began; when it last wrote */
    struct buf in, out;
    size_t out_at;
    struct web web; /* when the fleet goes by WebSocket */
    /* views of the caller's; filter empty: does not subscribe */
    struct bytes client_id, username, password, filter;
    struct device *next_dirty;
};
struct fleet {
    /* set by the caller */
    const char *address;
    const char *const *sources; /* local addresses, in turn; none: the kernel chooses */
    size_t source_count;
    uint8_t version, qos;
    bool clean, reconnects, websocket; /* websocket: at /mqtt of the address */
    bool withholds;                    /* acknowledges nothing that it is sent */
    /* speaks Socket.IO instead (socketio.c); its events come to `event`: ["name",{...}] */
    bool socketio;
    void (*event)(struct device *d, struct bytes args);
    void (*other)(void *tag, uint32_t what); /* what its loop says of sockets of others (posts.c) */
    size_t handshakes_max;                   /* at a time; 0: 60, which any listen backlog holds */
    uint32_t expiry_s;                       /* of kept sessions */
    struct device *devices;
    size_t count;
    void (*published)(struct device *d, const struct mqtt_packet *p);
    void (*acked)(struct device *d, uint16_t packet, uint8_t reason);
    void (*ready_again)(struct device *d, bool session_present);
    struct hist *handshakes; /* CONNECT to the last acknowledgement; may be NULL */
    /* kept by the fleet */
    struct loop *loop;
    int timer_fd;
    size_t ready, opening, next, gone, refused;
    uint64_t lost_connections;
    uint16_t receive_maximum;
    uint8_t refusal; /* the last reason code that was not success */
    char refusal_words[120];
    int64_t retry_ns, ping_ns;
    struct device *dirty;
};
/* Connects and subscribes all devices, at most handshakes_max at a time. false when one is refused,
 * one fails (unless the fleet reconnects), or none gets ready for 20 s. */
bool fleet_open(struct fleet *f);
/* Takes what comes until something came or `until_ns` (monotonic; exact to some microseconds), and
 * writes what is queued. */
void fleet_turn(struct fleet *f, int64_t until_ns);
void fleet_flush(struct fleet *f);
/* disconnects these; fleet_open brings them back */
void fleet_part(struct fleet *f, size_t from, size_t to);
/* disconnects all and frees; the array of devices stays the caller's */
void fleet_close(struct fleet *f);
void fleet_why(const struct fleet *f, struct buf *out); /* in words, what kept it from opening */
/* web.c */
void web_ask(struct web *w, struct buf *out, const char *host); /* the request for an upgrade */
void web_frame(struct web *w, struct buf *out);                 /* what is plain in *out */
/* Adds the payload of frames to *out. MALFORMED: no upgrade, or the end. */
enum err web_take(struct web *w, struct bytes in, struct buf *out) must_use;
void web_done(struct web *w);
uint16_t device_publish(struct device *d, struct bytes topic, struct bytes payload);
/* with DUP */
void device_resend(struct device *d, uint16_t packet, struct bytes topic, struct bytes payload);
bool reason_is_temporary(uint8_t reason);

/* ---- HTTP (http.c): n requests over kept connections, one under way on each; 429 and 503 are
 * tried again ---- */
struct requests {
    const char *address, *key;
    size_t n, connections; /* connections: 0 for 64 */
    bool once;             /* a connection that is refused or lost ends it: nobody is waited for */
    void *arg;
    /* "PUT /v1/..." */
    void (*make)(void *arg, size_t i, struct buf *method_path, struct buf *body);
    /* false stops all */
    bool (*done)(void *arg, size_t i, int status, struct bytes body);
    const atomic_bool *stop; /* true: it is given up, without a word; NULL: never */
};
/* false: words in *why, unless `done` or `stop` said so. */
bool requests_run(const struct requests *r, struct buf *why);
/* One GET; the body is added to *out. Its status, or 0: nobody answers there, at once if nobody listens. */
int request_get(const char *address, const char *key, const char *path, struct buf *out);

/* ---- HTTP beside devices, on the loop of an open fleet (posts.c): posts_send queues and returns;
 * each is answered once, while the fleet turns. Status 0: its connection was lost. ---- */
struct posts;
typedef void posts_answered(void *arg, uint64_t tag, int status, struct bytes body);
struct posts *posts_create(struct fleet *f, const char *address, const char *key,
    size_t connections, posts_answered *answered, void *arg);
void posts_send(struct posts *p, const char *method_path, struct bytes body, uint64_t tag);
void posts_free(struct posts **p); /* before the fleet is closed */

/* ---- a process's use of the machine (report.c) ---- */
struct usage_of {
    double cpu_s;
    uint64_t rss_bytes;
};
struct usage_of process_usage(long pid); /* zeros when there is none such */
/* the sum of processes, "PID,PID,..." */
struct usage_of processes_usage(const char *pids);
double machine_cpu_s(void); /* what all processes of the machine used since it started */

/* ---- options: "--name VALUE" or a switch (report.c) ---- */
enum option_kind { OPTION_TEXT, OPTION_COUNT, OPTION_NUMBER, OPTION_SWITCH };
struct drive_option {
    const char *name;
    uint8_t kind;
    void *into; /* const char *, size_t, double or bool, by kind */
    const char *value, *help;
};
/* argv[1..]: the options, and at most one word, which goes to *word (NULL: none is allowed).
 * EXIT_DONE: --help was printed; EXIT_USAGE: said why; -1: go on. */
int options_take(
    int argc, char **argv, const char *usage, const struct drive_option *o, const char **word);

/* ---- what is told, as text lines or one JSON object (report.c) ---- */
struct report {
    bool json;
    struct buf out;
};
void report_text(struct report *r, const char *key, const char *words, const char *value);
void report_count(struct report *r, const char *key, const char *words, uint64_t value);
void report_number(struct report *r, const char *key, const char *words, double value);
/* ns in, us told */
void report_times(struct report *r, const char *key, const char *words, const struct hist *h);
void report_bool(struct report *r, const char *key, const char *words, bool value);
void report_print(struct report *r); /* and frees */
/* "left 12 s" of long work on standard error: a bar on a terminal, else a line each tenth and at
 * most one a second. */
struct progress {
    const char *what;
    uint64_t total, told;
    int64_t begun_ns, told_ns;
    bool terminal;
};
void progress_begin(struct progress *p, const char *what, uint64_t total);
void progress_show(struct progress *p, uint64_t done);
void progress_end(struct progress *p, uint64_t done);

/* ---- stamps: a payload begins with "T<16 hex due ns>N<8 hex number>;" (crowd.c) ---- */
enum { STAMP_BYTES = 27, PAYLOAD_MAX = 60000 };
bool stamp_read(struct bytes payload, bool kith, int64_t *out_due_ns, uint32_t *out_number);
/* Of a message; to kith's devices other things come too, which may tell its text again: receipts,
 * notifications. */
struct mqtt_packet;
bool message_stamp(
    const struct mqtt_packet *p, bool kith, int64_t *out_due_ns, uint32_t *out_number);
/* What one receiver has seen of one numbered stream 1, 2, 3 ... */
enum { TRACK_WINDOW = 1024 };
struct track {
    uint32_t seen, missing;
    uint64_t had[TRACK_WINDOW / 64]; /* of the last TRACK_WINDOW numbers up to `seen` */
};
struct tally {
    uint64_t fresh, redelivered, repeated, reordered, lost;
};
/* true: not had before. `dup`: the packet says that it may be a repetition. */
bool track_take(struct track *t, uint32_t number, bool dup, struct tally *tally);
void track_end(const struct track *t, uint32_t sent, struct tally *tally);

/* ---- a crowd: users, tokens and devices, against kith or any MQTT broker (crowd.c) ---- */
struct crowd {
    const char *mqtt, *http, *key, *broker; /* options */
    bool kith, json, websocket;
    size_t payload, qos, pid, version;
    char run[16];      /* a prefix of every name of this run */
    char (*names)[64]; /* one a device */
    char (*tokens)[700];
    char (*filters)[100];
    struct fleet fleet;
};
#define CROWD_OPTIONS(c)                                                                           \
    {"mqtt", OPTION_TEXT, &(c)->mqtt, "ADDR:PORT", "MQTT (default 127.0.0.1:1883)"},               \
        {"http", OPTION_TEXT, &(c)->http, "ADDR:PORT", "HTTP, of kith (default 127.0.0.1:8080)"},  \
        {"key", OPTION_TEXT, &(c)->key, "KEY", "server key of kith (default: KITH_KEY)"},          \
        {"broker", OPTION_TEXT, &(c)->broker, "kith|mqtt",                                         \
            "what is driven (default kith; mqtt: any broker)"},                                    \
        {"payload", OPTION_COUNT, &(c)->payload, "BYTES", "body of a message (default 100)"},      \
        {"qos", OPTION_COUNT, &(c)->qos, "0|1|2", "both ways (default 1)"},                        \
        {"version", OPTION_COUNT, &(c)->version, "4|5", "of MQTT; 4 is 3.1.1 (default 5)"},        \
        {"websocket", OPTION_SWITCH, &(c)->websocket, NULL,                                        \
            "MQTT over WebSocket, at /mqtt of --http (another broker: of --mqtt)"},                \
        {"pid", OPTION_COUNT, &(c)->pid, "PID",                                                    \
            "the server's process: its CPU time and memory are reported"},                         \
    {                                                                                              \
        "json", OPTION_SWITCH, &(c)->json, NULL, "one JSON object instead of lines"                \
    }
void crowd_defaults(struct crowd *c);
bool crowd_check(struct crowd *c); /* after the options; false: said why */
/* Makes n names and, for kith, tokens. Sets up the fleet; devices subscribe when the caller sets
 * their filter by crowd_subscribe. */
bool crowd_make(struct crowd *c, size_t n);
/* kith: users/{me}/#; another broker: the topic. */
void crowd_subscribe(struct crowd *c, size_t i, const char *topic);
/* users/{me}/<what> of kith alone */
void crowd_subscribe_to(struct crowd *c, size_t i, const char *what);
bool crowd_open(struct crowd *c);              /* fleet_open with words when it fails */
bool crowd_requests(const struct requests *r); /* requests_run with words when it fails */
/* true: a 2xx; else says what was answered to it */
bool answer_told(const char *what, const char *name, int status, struct bytes body);
void crowd_done(struct crowd *c);
/* A conversation with these members (indexes of names), in several requests if need be. Words on
 * failure. */
bool crowd_conversation(struct crowd *c, const char *id, const char *type, size_t from, size_t to);
/* n conversations of two: `pair` names the members of the ith. Ids are <run>.<i>. */
bool crowd_directs(
    struct crowd *c, size_t n, void (*pair)(struct crowd *c, size_t i, size_t *a, size_t *b));
/* Publishes a stamped message from device i; to conversations/<to>/messages, or for another broker
 * to bench/<to>. */
uint16_t crowd_publish(
    struct crowd *c, size_t i, const char *to, int64_t due_ns, uint32_t number, const char *id);

/* Makes the people, workflows and conversations of --dev at "ADDR:PORT" (demo.c). false: words in *why. */
bool drive_demo(const char *http, const char *key, const atomic_bool *stop, struct buf *why);

#endif
