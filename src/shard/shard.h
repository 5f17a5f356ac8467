/* shard: the corridor. One thread a core, each with its event loop, its connections and its
 * partitions; a log thread; a tables thread. It carries what the rooms return: records to the log,
 * relays and jobs to other shards, answers to connections. It routes and never decides.
 *
 * Invariants: a connection, a partition's cells and a session belong to one shard; shards share
 * nothing that is written but bounded rings.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef KITH_SHARD_H
#define KITH_SHARD_H

#include "base/base.h"

/* ---- lines on standard error: one JSON object each. Any thread. ---- */
enum trace_level { TRACE_INFO, TRACE_WARNING, TRACE_ERROR, TRACE_FATAL };
struct trace_field {
    const char *name;
    bool is_number;
    struct bytes text;
    int64_t number;
};
/* Fields without a name are left out. What is not UTF-8 is escaped. */
void trace_write(
    enum trace_level level, const char *message, const struct trace_field *fields, size_t n);
#define TRACE_TEXT(key, value) ((struct trace_field){.name = (key), .text = (value)})
#define TRACE_NUMBER(key, value)                                                                   \
    ((struct trace_field){.name = (key), .is_number = true, .number = (int64_t)(value)})
/* trace(TRACE_INFO, "serving", TRACE_NUMBER("http", 8080)) */
#define trace(level, message, ...)                                                                 \
    trace_write(level, message, (const struct trace_field[]){{.name = NULL}, __VA_ARGS__},         \
        sizeof((struct trace_field[]){{.name = NULL}, __VA_ARGS__}) / sizeof(struct trace_field))

struct server;
struct server_options {
    const char *version; /* of the program */
    const char *data_dir;
    /* absolute; NULL: data_dir/log. Where data is there already it must be the same */
    const char *log_dir;
    const char *http, *mqtt, *https, *mqtts; /* "127.0.0.1:8080"; NULL: not served */
    /* Where operators are served, and nobody else; NULL: with all others over HTTP */
    const char *console;
    const char *tls_cert, *tls_key;          /* PEM files, for https and mqtts */
    int64_t tls_handshake_timeout_ms;        /* 0: 10 s; of the PROXY header too */
    unsigned tls_handshakes_max;             /* under way on each shard; 0: 256 */
    bool proxy_protocol;    /* every connection begins with its header, version 2 */
    unsigned shards;        /* 0: by the number of cores */
    uint16_t partitions;    /* when the data is made; 0: 64 */
    int64_t retention_ms;   /* of the log */
    uint64_t memory_bytes;  /* budget of all cells; 0: 512 MiB */
    size_t connections_max; /* 0: what the descriptor limit allows */
    /* 0: 10 s, 30 s, 60 s */
    int64_t http_header_timeout_ms, http_body_timeout_ms, http_idle_timeout_ms;
    int64_t mqtt_connect_timeout_ms; /* 0: 10 s */
    int64_t stall_timeout_ms;        /* 0: as http_idle_timeout_ms */
    const char *mqtt_redirect; /* where MQTT 5 clients go while this server drains; NULL: nowhere */
    uint16_t mqtt_keepalive_max_s; /* 0: as the client wishes */
    /* limits (limits.h); 0: none */
    double rate_per_second, rate_burst; /* requests of one user, of all server keys of an app */
    double rate_per_app, rate_per_device, rate_per_address;
    double connect_rate_per_address, connect_rate_per_device;
    double message_rate, byte_rate; /* of one connection: PUBLISHes, bytes a second */
    double byte_rate_per_user, byte_rate_per_app;
    uint64_t strangers_bytes; /* of all who have not said who they are; 0: 32 MiB */
    unsigned connections_per_address, connections_per_app, connections_per_user;
    bool dev;
    bool journeys_off;         /* records are not timed one by one: no /v1/slow, no journeys */
    const char *otlp;          /* http://HOST:PORT/v1/traces (export.h); NULL: nowhere */
    const char *channel_rules; /* JSON file; NULL: only those of the log */
    const char *cors_origin;   /* comma list, or "*"; NULL: off */
    const char *ws_origins;    /* comma list, or "*"; beside the Host's own; NULL: as cors_origin */
    /* comma list of Host names allowed besides loopback ones; NULL: any when not --dev */
    const char *hosts;
};
/* Opens the data (making it when new), recovers, listens. Words in *why on failure; *out is set
 * then too, half open, and goes with the process. */
enum err server_open(const struct server_options *o, struct server **out, struct buf *why) must_use;
/* Runs until server_stop; drains; writes the tables; 0 when all is stored. */
int server_run(struct server *s);
void server_stop(struct server *s); /* async-signal-safe */
/* Any thread: reads the TLS certificate again, and writes a line about it. */
void server_reload(struct server *s);
void server_close(struct server **);
struct settings; /* doctor/doctor.h */
void server_settings(const struct server_options *o, struct settings *out);
enum door_name { DOOR_HTTP, DOOR_MQTT, DOOR_HTTPS, DOOR_MQTTS, DOOR_CONSOLE, DOORS };
uint16_t server_port(const struct server *s, enum door_name); /* 0: not served */
struct admit;
struct admit *server_admit(struct server *s);

/* Data folder without a server: lock, check, backup, restore. */
/* LIMIT: a server holds it */
enum err data_lock(const char *dir, int *out_fd, struct buf *why) must_use;
/* every checksum; positions against the log */
enum err data_check(const char *dir, struct buf *why) must_use;
/* without a server */
enum err data_backup(const char *dir, const char *to, struct buf *why) must_use;
/* the epoch changes */
enum err data_restore(const char *from, const char *dir, struct buf *why) must_use;
/* Of a running server: it makes a copy within DIR, the caller moves it to `to`. MISSING: none runs,
 * or does not take connections yet. */
enum err data_backup_take(const char *dir, const char *to, struct buf *why) must_use;
/* Makes the folder when it is absent, with its name synced; takes from others what they may read of
 * one that is there, and says so in *said. */
enum err data_folder(const char *dir, bool *out_new, struct buf *said, struct buf *why) must_use;
/* A line to a running server through DIR/control: "reload", "backup", "proof", "doctor". MISSING: none runs. Its
 * answer in *out. */
enum err control_ask(const char *dir, const char *line, struct buf *out) must_use;

#endif
