/* core: what every part of a running server stands on: the server and its shards, as structs, jobs on
 * their way between partitions, the pace of turns, plain channels between shards, lines on standard
 * error. One thread a core, each with its event loop, its connections and its partitions.
 *
 *   shard (turns, tables, start and end)
 *     |- conn (sockets, HTTP, MQTT, limits)    operate (what operators ask)
 *     '- core
 *
 * Invariants: a connection, a partition's cells and a session belong to one shard; shards share
 * nothing that is written but bounded rings. What rooms above do for a job is called through
 * `struct above`.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef KITH_CORE_H
#define KITH_CORE_H

#include <pthread.h>
#include <stdatomic.h>

#include "admit/admit.h"
#include "deliver/deliver.h"
#include "engine/engine.h"
#include "export/export.h"
#include "io/io.h"
#include "measure/measure.h"
#include "core/pace.h"
#include "wire/wire.h"

/* ---- lines on standard error: one JSON object each. Any thread. ---- */
enum trace_level { TRACE_INFO, TRACE_WARNING, TRACE_ERROR, TRACE_FATAL };
struct trace_field {
    const char *name;
    bool is_number;
    struct bytes text;
    int64_t number;
};
/* Fields without a name are left out. What is not UTF-8 is made so (jo_str_any). */
void trace_write(
    enum trace_level level, const char *message, const struct trace_field *fields, size_t n);
#define TRACE_TEXT(key, value) ((struct trace_field){.name = (key), .text = (value)})
#define TRACE_NUMBER(key, value)                                                                   \
    ((struct trace_field){.name = (key), .is_number = true, .number = (int64_t)(value)})
/* trace(TRACE_INFO, "serving", TRACE_NUMBER("http", 8080)) */
#define trace(level, message, ...)                                                                 \
    trace_write(level, message, (const struct trace_field[]){{.name = NULL}, __VA_ARGS__},         \
        sizeof((struct trace_field[]){{.name = NULL}, __VA_ARGS__}) / sizeof(struct trace_field))

struct server_options {
    const char *version; /* of the program */
    const char *data_dir;
    /* absolute; NULL: data_dir/log. Where data is there already it must be the same */
    const char *log_dir;
    const char *http, *mqtt, *https, *mqtts; /* "127.0.0.1:8080"; NULL: not served */
    /* Where operators are served, and nobody else; NULL: with all others over HTTP */
    const char *console;
    const char *tls_cert, *tls_key;   /* PEM files, for https and mqtts */
    int64_t tls_handshake_timeout_ms; /* 0: 10 s; of the PROXY header too */
    unsigned tls_handshakes_max;      /* under way on each shard; 0: 256 */
    bool proxy_protocol;              /* every connection begins with its header, version 2 */
    unsigned shards;                  /* 0: by the number of cores */
    uint16_t partitions;              /* when the data is made; 0: 64 */
    int64_t retention_ms;             /* of the log */
    uint64_t memory_bytes;            /* budget of all cells; 0: 512 MiB */
    size_t connections_max;           /* 0: what the descriptor limit allows */
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
    const char *providers;     /* JSON file (send.h), or "none" */
    const char *cors_origin;   /* comma list, or "*"; NULL: off */
    const char *ws_origins;    /* comma list, or "*"; beside the Host's own; NULL: as cors_origin */
    /* comma list of Host names allowed besides loopback ones; NULL: any when not --dev */
    const char *hosts;
};
enum door_name { DOOR_HTTP, DOOR_MQTT, DOOR_HTTPS, DOOR_MQTTS, DOOR_CONSOLE, DOORS };

/* of MQTT 5 */
enum {
    REASON_NOT_AUTHORIZED = 0x87,
    REASON_KEEP_ALIVE = 0x8d,
    REASON_CONNECT_TIME = 0xa0,
    REASON_DRAINING = 0x8b,
    REASON_ELSEWHERE = 0x9c
};
enum protocol { PROTO_HTTP = 1, PROTO_MQTT, PROTO_CONTROL };
/* What a connection is used for, for people: over TLS or not. */
enum spoken { SPOKEN_HTTP, SPOKEN_STREAM, SPOKEN_MQTT, SPOKEN_WEBSOCKET, SPOKEN_COUNT };
enum { SURFACES_MAX = 32, SHARDS_MOST = 64, RINGS_MOST = SHARDS_MOST + 3 };
enum { DRAIN_RETRY_S = 2 };
enum { SWEEP_MS = 500 }; /* timeouts are looked at so often */

struct conn; /* conn/conn.h */
enum job_from { JOB_HTTP = 1, JOB_MQTT, JOB_SESSION, JOB_LIVE, JOB_MOVE, JOB_PART };
enum job_stage { STAGE_VIEWER = 1, STAGE_RUN, STAGE_ANSWER };
struct job {
    struct job *next;
    uint8_t from, stage;
    bool online;           /* presence */
    bool open_metrics;     /* asked for in that form */
    uint64_t stream_after; /* streams: position to go on from; UINT64_MAX: from now */
    char allow[48];        /* with a 405: the methods that the path takes */
    unsigned origin;
    uint32_t conn, generation, slot;
    const struct route *route;
    struct request request;
    struct plan plan;
    struct answer answer;
    struct arena arena;
    /* Of a plan in parts: this job's answers so far; it waits on the shard that sent the parts. A part
     * has its parent, whose request it reads and nobody changes meanwhile. */
    struct answer *answers;
    size_t waits_for;
    struct job *parent;
    size_t part;
    int64_t again_ms;        /* parked until then */
    const struct page *page; /* of the program itself, in place of a JSON answer */
    int64_t came_ns;         /* when its bytes could be read */
    /* JOB_SESSION */
    uint64_t session;
    uint8_t purpose;
    uint32_t cookie;
    /* JOB_LIVE */
    struct bytes app, user, conversation, topic, payload;
    /* JOB_MOVE: the connection itself */
    struct conn *moving;
};

struct ticket {
    struct job *job;
    uint32_t generation;
    uint32_t next_free;
};
struct shard {
    struct server *server;
    unsigned index;
    pthread_t thread;
    struct loop *loop;
    struct engine *engine;
    struct deliver *deliver;
    struct tools tools;
    struct sends *sends; /* what is to leave the server, or is on its way (sends.c) */
    struct json_reader *json;
    struct measure measure;
    struct journeys *journeys; /* NULL: --journeys off */
    /* of the last turn, for /metrics on any shard */
    struct {
        _Atomic uint64_t connections, sessions, delivered, relays, pressure, requests;
        /* as of the last sweep (metrics.c) */
        _Atomic uint64_t by_protocol[SPOKEN_COUNT], connection_bytes, cell_bytes, replay;
        _Atomic uint64_t output_bytes, dirty_bytes; /* likewise; output: not taken yet */
        _Atomic uint64_t jobs;                      /* that a full ring did not take */
        _Atomic uint32_t fresh;                     /* connections that may be about to subscribe */
    } gauges;
    _Atomic int tid;        /* 0: it does not run yet */
    _Atomic uint32_t turns; /* odd: in a turn */
    struct ring **inbox;    /* [shards] from each other shard; tagged pointers */
    /* [shards] jobs that a full ring did not take */
    struct mail_queue {
        void **items; /* ring */
        size_t head, count, cap;
    } * overflow;
    struct ticket *tickets;
    uint32_t ticket_count, ticket_free; /* free list head + 1; 0: none */
    struct job *job_pool;
    size_t job_pool_count;
    struct job *parked; /* plans in parts whose next round waits a little */
    struct conn **conns;
    uint32_t conn_count, conn_cap, conn_open;
    struct conn **shaking; /* TLS handshakes under way: tls_handshakes_max at most */
    uint32_t shaking_count;
    bool tls_waits; /* its doors are not looked at, until there is room */
    uint32_t *conn_free;
    uint32_t conn_free_count;
    struct conn *dirty;
    bool recovered, draining;
    /* behind: this shard; held_back: any is, so devices are not read and writes over HTTP are
     * refused */
    bool behind, held_back;
    /* generation of keys and secrets that the connections were checked against */
    uint64_t secrets_seen;
    /* of the sockets that are read in this turn: since when they may have been ready */
    int64_t came_ns;
    struct pace pace;
    int64_t now_ms, mono_ms, last_sweep_ms, last_cursors_ms, last_freeze_ms, last_memory_ms;
    int64_t last_ticks_ms, due_ms; /* due_ms: when something falls due next (engine_ticks) */
    size_t jobs_out;
    struct conn **read_again; /* had more input than one turn took */
    size_t read_again_count, read_again_cap;
    struct loop_event *events; /* of this turn */
    size_t event_count;
    struct slowed *slow; /* not read for a while (limits.c) */
    size_t slow_count, slow_cap;
    bool crowded;     /* another shard does not take what is sent to it: MQTT is not read */
    uint64_t to_wake; /* shards that were sent something in this turn */
    struct retained *retained;
    struct channel_rules *rules;
    struct will *wills;            /* whose delay runs */
    struct note *late, **late_end; /* messages for after the next look at the sockets */
    bool late_waits;
    uint32_t turn; /* of messages of plain channels */
    int64_t last_figures_ms;
    unsigned level; /* enum shed: what is refused now */
    int64_t last_level_ms, log_full_ms;
    size_t strange_bytes; /* held by who is not known, as of the last sweep */
    uint8_t *read_buffer; /* what was read, or is to be written, until the call returns */
};

struct tables {
    pthread_t thread;
    struct measure *measure; /* of its thread */
    pthread_mutex_t lock;
    pthread_cond_t wake;
    struct table_batch **due; /* [shards] */
    _Atomic int *state;       /* [shards] 0 idle, 1 due, 2 written */
    uint64_t unsynced_bytes;
    uint64_t *below; /* [partitions] positions below were held at the last sync */
    int64_t last_sync_ms, last_trim_ms;
    bool stop, sync_now;
    _Atomic int tid;
    uint64_t sync_count;
    enum err sync_err; /* of the last one that was asked for */
    _Atomic bool disk_full;
    /* shards whose memory is over its budget until the tables take more */
    _Atomic unsigned behind;
};
/* What rooms above do: set by the server before the first turn. */
struct above {
    /* a route of the server itself; true: passed on to another shard, which goes on */
    bool (*special)(struct shard *s, struct job *j);
    void (*answered)(struct shard *s, const struct job *j); /* to its connection, if it is there */
    void (*arrived)(struct shard *s, struct conn *c);       /* a connection, from another shard */
    /* a line of who owns the data folder, through the socket fd; true: the connection ends */
    bool (*control)(struct server *v, struct bytes line, int fd, struct buf *out);
};
struct door { /* a listener */
    int fd;   /* -1: closed */
    uint16_t port;
    uint8_t protocol;
    bool tls;
};
struct server {
    struct server_options o;
    struct above above;
    char *dir;
    int lock_fd;
    struct door doors[DOORS], control;
    struct tls_context *tls; /* NULL: no door speaks it */
    uint16_t partitions;
    uint64_t epoch;
    unsigned shards;
    struct shard *shard;
    struct log *log;
    struct store *store;
    struct admit *admit;
    struct health *health;
    struct limits *limits;
    struct interest *interest;
    struct channel_board *board;
    struct flow *flow;
    struct tables tables;
    struct measure *log_measure; /* of the log's thread */
    struct export *export;       /* NULL: traces go nowhere */
    struct send *sender;         /* what leaves the server (send.h) */
    _Atomic uint64_t *written;   /* [partitions] positions the store has been given */
    _Atomic unsigned recovered, drained, backups; /* backups: under way */
    _Atomic bool stop;
    struct hash_secret secret; /* of this run */
    uint64_t boot;             /* tickets of another run never match */
    int64_t started_ms, opened_mono_ms;
    struct { /* shard 0's, for tell.c */
        bool disk_full;
        int64_t disk_full_ms, counted_ms[COUNTER_COUNT];
        uint64_t counted[COUNTER_COUNT];
    } told;
    int64_t process_began_ms;
    uint64_t descriptors; /* that were open before anybody connected */
    struct surface surfaces[SURFACES_MAX];
    size_t surface_count;
    const struct surface *surface_list[SURFACES_MAX];
    const struct route *message_route, *receipt_route, *notify_route;
};

/* job.c */
struct job *job_make(struct shard *s, uint8_t from);
void job_free(struct shard *s, struct job *j);
void job_count(struct shard *s, const struct job *j); /* answered: counts it */
void job_start(struct shard *s, struct job *j);       /* planned: sends it on its way */
void job_take(struct shard *s, struct job *j);        /* arrives from another shard */
void jobs_from_rings(struct shard *s);
void jobs_drop(struct shard *s); /* at the end: notes that nobody takes any more */
bool job_flush_overflow(struct shard *s);
void jobs_parked(struct shard *s);          /* goes on with those whose time has come */
size_t jobs_waiting(const struct shard *s); /* for the shard that has most to take */
void shards_wake(struct shard *s);
void job_send(struct shard *s, unsigned to, struct job *j);
struct note;
void note_send(struct shard *s, unsigned to, struct note *n);
/* deliver's away_wanted and away (away.c). */
bool away_wanted(struct cells *c, struct bytes app, struct bytes conversation);
void away_append(
    void *arg, uint16_t partition, struct bytes app, const struct entry *e, struct bytes users);
enum err job_append_session(void *arg, uint16_t partition, uint8_t kind, struct bytes app,
    struct bytes body, uint64_t session, uint8_t purpose, uint32_t cookie);
void engine_answered(void *arg, uint64_t ticket, struct answer *a);
void engine_user_ahead(void *arg, struct bytes app, struct bytes user, bool near);
void engine_delivered(void *arg, uint16_t partition, struct bytes app, const struct delivery *d);
bool engine_send(void *arg, unsigned lane, struct parcel *p);
bool live_typing(struct shard *s, struct bytes app, struct bytes user, struct bytes conversation);
bool live_presence(struct shard *s, struct bytes app, struct bytes user, bool online);
/* route.c */
size_t surfaces_fill(struct surface out[static SURFACES_MAX]);
const struct route *route_match(
    const struct server *v, const struct http_request *q, struct request *r, struct answer *a);
/* The methods that the request's path takes, as in Allow; "" when there is no such path. */
void route_methods(const struct server *v, const struct http_request *q, char *out, size_t size);
const struct route *route_find(const struct server *v, const char *method, const char *path);
/* What any mailbox entry shows: struct tools' entry_json. */
bool entry_json(struct tools *t, struct cells *c, struct bytes app, const struct view *v,
    const struct entry *e, struct buf *out, bool *shared);
/* sends.c */
void sends_told(struct shard *s, uint16_t partition, struct bytes body); /* of DELIVER_SEND */
bool sends_turn(struct shard *s); /* true: more is left to do at once */
bool sends_are_out(const struct shard *s);
void sends_done(struct shard *s);
/* tell.c */
void tell_serving(const struct server *v);
void tell_recovered(const struct server *v);
void tell_draining(const struct shard *s);
void tell_turn(struct shard *s); /* with the timeouts */
struct doctor_told;
void tell_slow(const struct doctor_told *told); /* if it is worth a line; once a second at most */
/* counts.c */
/* gauges, and what rooms count themselves, for all to see */
void counts_take(struct shard *s);
bool disk_is_full(const struct server *v);      /* so that large writes are refused */
uint64_t server_memory(const struct server *v); /* budget of all cells, bytes */

#include "core/channels.h"

#endif
