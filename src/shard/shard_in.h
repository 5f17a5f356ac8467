/* shard, inside: connections, jobs, the server and how its threads meet.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef KITH_SHARD_IN_H
#define KITH_SHARD_IN_H

#include <pthread.h>
#include <stdatomic.h>

#include "admit/admit.h"
#include "deliver/deliver.h"
#include "engine/engine.h"
#include "export/export.h"
#include "io/io.h"
#include "measure/measure.h"
#include "shard/pace.h"
#include "shard/shard.h"
#include "wire/wire.h"

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
enum { SURFACES_MAX = 8, SHARDS_MOST = 64, RINGS_MOST = SHARDS_MOST + 3 };
enum { SWEEP_MS = 500 }; /* timeouts are looked at so often */
/* PUBLISHes, SUBSCRIBEs of one connection under way: beyond them it is not read */
enum { ACKS_MAX = 1024, SUBACKS_MAX = 32, ALIASES_IN_MAX = 16 };

/* A PUBLISH that awaits its answer: PUBACKs leave in the order of the PUBLISHes (MQTT 4.6). */
struct ack_slot {
    uint16_t packet;
    bool done;
    uint8_t qos;
    uint8_t reason;
    char *words; /* reason string; owned */
};
/* What only a connection that publishes to plain channels, or at QoS 2, needs. */
struct publisher {
    char *aliases[ALIASES_IN_MAX]; /* owned: topics by alias - 1 (MQTT 5, 3.3.2.3.4) */
    uint16_t *received;            /* packet ids at QoS 2 that are not released yet */
    uint16_t received_count, received_cap;
    uint16_t stored; /* messages of plain channels that are on their way through the log */
};
/* Ordered by size: there may be very many, and each byte counts. */
struct conn {
    int fd;
    uint32_t index, generation;
    uint32_t out_at;   /* of `out`: written up to here */
    uint32_t expiry_s; /* MQTT: of its session; 0: it ends with the connection */
    uint32_t subscribe_cookie;
    uint16_t keep_alive_s, ack_head, ack_count, ack_cap, ack_owed, suback_count;
    uint8_t protocol, version; /* version: of MQTT */
    bool dirty, closing, want_write, read_paused;
    bool half_closed;                            /* the peer sends no more; it may still read */
    bool busy, keep_alive, head_only, streaming; /* HTTP; head_only: the request was HEAD */
    bool connected, problem_info;
    bool fresh;                                /* connected just now, and has not subscribed yet */
    bool counted_address, counted_app, slowed; /* limits.c */
    bool trusted;                              /* its last request had a credential that holds */
    bool operators;                            /* it came through their own door */
    bool in_blocked;                           /* input waits until acknowledgements have left */
    struct buf in, out;
    /* HTTP: of the request, the quiet or the last ping; MQTT: of the connection; closing: since */
    int64_t since_ms;
    int64_t last_in_ms, wrote_ms; /* wrote: when output last moved, or began to wait */
    struct address peer;
    struct conn *next_dirty;
    struct transport *transport; /* transport.h; NULL: plain TCP */
    struct http_reader *http;
    uint64_t stream_after;
    struct session *session;
    struct principal who;        /* views into one allocation, which begins at who.app */
    struct ack_slot *acks;       /* ring */
    struct connect_wish *wish;   /* until CONNACK */
    struct publisher *publisher; /* NULL until it is one */
    struct will *will;           /* NULL: it leaves none */
    struct pending_suback *subacks;
};
struct connect_wish { /* what a CONNECT asked for, while the socket moves to its shard */
    int64_t came_ns;
    bool clean;
    uint32_t expiry_s, packet_max;
    uint16_t keep_alive_s, receive_maximum, alias_max;
    uint8_t version;
    bool assigned;
};
struct pending_suback {
    struct pending_suback *next;
    uint32_t cookie;
    uint16_t packet, count;
    bool unsubscribe;
    uint8_t codes[DELIVER_FILTERS_MAX];
};

enum job_from { JOB_HTTP = 1, JOB_MQTT, JOB_SESSION, JOB_LIVE, JOB_MOVE };
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
struct door { /* a listener */
    int fd;   /* -1: closed */
    uint16_t port;
    uint8_t protocol;
    bool tls;
};
struct server {
    struct server_options o;
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
    _Atomic uint64_t *written;   /* [partitions] positions the store has been given */
    _Atomic unsigned recovered, drained, backups; /* backups: under way */
    _Atomic bool stop;
    uint64_t boot; /* tickets of another run never match */
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
    const struct route *message_route, *receipt_route;
};

/* accept.c */
void conn_accept(struct shard *s, const struct door *d);
void conn_accept_again(struct shard *s); /* at TLS doors, if there is room: once a turn */
/* of its address, before it is closed: who speaks plain HTTP can be told */
void conn_tell_too_many(const struct conn *c);
/* conn.c */
void conn_place(struct shard *s, struct conn *c); /* it is this shard's */
void conn_event(struct shard *s, struct conn *c, uint32_t what);
void conn_touch(struct shard *s, struct conn *c); /* its output has bytes */
void conn_touch_all(struct shard *s);             /* looks anew at whether each is read */
void conn_write_all(struct shard *s);             /* every touched one */
void conn_close(struct shard *s, struct conn *c);
/* Who it is, from now on: copies the names. */
void conn_is(struct conn *c, const struct principal *who);
/* Its peer leaves, or must: the session ends, and the connection with the last words of TLS and
 * WebSocket. Gone at once, if there are none. */
void conn_hangup(struct shard *s, struct conn *c);
void conn_finish(struct shard *s, struct conn *c);  /* close once what is written has left */
void conn_attach(struct shard *s, struct conn *c);  /* a moved one arrives */
void conn_settled(struct shard *s, struct conn *c); /* it is not fresh any more */
/* leaves this shard without closing the socket */
void conn_detach(struct shard *s, struct conn *c);
void conn_read_again(struct shard *s, struct conn *c);
struct conn *conn_find(struct shard *s, uint32_t index, uint32_t generation);
void conn_sweep(struct shard *s); /* timeouts; tokens that have expired */
/* ends those of keys that were revoked, and of issuers that were removed */
void conn_recheck(struct shard *s);
/* http_conn.c */
void http_input(struct shard *s, struct conn *c);
bool http_answers_wait(const struct conn *c); /* unwritten ones: requests behind them wait */
void http_answered(struct shard *s, struct conn *c, struct job *j);
/* the rest of its request did not come in time */
void http_late(struct shard *s, struct conn *c);
#define DRAIN_RETRY_S 2
void http_problem(struct shard *s, struct conn *c, const struct answer *a, const char *allow);
void http_stream_moved(struct shard *s, struct conn *c);
/* to another shard, which gets it as a job */
void conn_move(struct shard *s, struct conn *c, unsigned to);
/* mqtt_conn.c */
void mqtt_input(struct shard *s, struct conn *c);
void mqtt_answered(struct shard *s, struct conn *c, struct job *j);
void mqtt_end(struct shard *s, struct conn *c, uint8_t reason, const char *words);
void mqtt_moved(struct shard *s, struct conn *c);
void mqtt_opened(void *arg, void *conn, bool present, enum err err);
void mqtt_subscribed(void *arg, void *conn, uint32_t cookie, enum err err);
/* job.c */
struct job *job_make(struct shard *s, uint8_t from);
void job_free(struct shard *s, struct job *j);
void job_count(struct shard *s, const struct job *j); /* answered: counts it */
void job_start(struct shard *s, struct job *j);       /* planned: sends it on its way */
void job_take(struct shard *s, struct job *j);        /* arrives from another shard */
void jobs_from_rings(struct shard *s);
void jobs_drop(struct shard *s); /* at the end: notes that nobody takes any more */
bool job_flush_overflow(struct shard *s);
size_t jobs_waiting(const struct shard *s); /* for the shard that has most to take */
void shards_wake(struct shard *s);
void job_send(struct shard *s, unsigned to, struct job *j);
struct note;
void note_send(struct shard *s, unsigned to, struct note *n);
enum err job_append_session(void *arg, uint16_t partition, uint8_t kind, struct bytes app,
    struct bytes body, uint64_t session, uint8_t purpose, uint32_t cookie);
void engine_answered(void *arg, uint64_t ticket, struct answer *a);
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
/* special.c */
/* Answers the routes that concern the server itself; typing and presence run in the user's
 * partition. */
void special_answer(struct shard *s, struct job *j);
/* true: passed on to another shard, which goes on */
bool special_run(struct shard *s, struct job *j);
extern const char OPENAPI[];
extern const size_t OPENAPI_SIZE;
/* metrics.c */
void figures_sweep(struct shard *s);       /* gauges that cost a look at each connection */
bool disk_is_full(const struct server *v); /* so that large writes are refused */
size_t rings_of(struct server *v, const struct events *out[static RINGS_MOST]); /* all threads' */
void metrics_begin(struct server *v);
void memory_of_process(uint64_t *out_size, uint64_t *out_resident);
bool metrics_open_asked(struct bytes accept);
void metrics_answer(struct shard *s, bool open, struct buf *out);
/* flow.c */
void flow_create(struct server *v); /* for people to look at: the watch, and what it asks for */
void flow_start(struct server *v);  /* once all descriptors and privileges are as they shall be */
void flow_free(struct server *v);   /* and ends it */
void flow_json(struct shard *s, struct job *j);
struct watch *flow_watch(struct server *v);
uint64_t flow_gauge(const struct server *v, unsigned gauge); /* enum watch_gauge; a second old */
/* sessions.c */
bool sessions_plan(struct shard *s, struct job *j); /* false: the answer has the problem */
bool sessions_list(struct shard *s, struct job *j);
void sessions_of_user(struct shard *s, struct job *j);
/* journey.c: the same two */
bool journey_plan(struct shard *s, struct job *j);
bool journey_look(struct shard *s, struct job *j);
/* tables.c */
uint64_t server_memory(const struct server *v); /* budget of all cells, bytes */
enum err tables_start(struct server *v);
void tables_stop(struct server *v);
/* holds senders back while memory is over its budget: once a turn */
void memory_look(struct shard *s);
void tables_hand(struct shard *s); /* freeze, hand over, take back: once a turn */
/* Every written batch is synced when this gives OK; LIMIT: the disk is full. Not on the tables
 * thread. */
enum err tables_sync_all(struct server *v) must_use;
/* tell.c */
void tell_serving(const struct server *v);
void tell_recovered(const struct server *v);
void tell_draining(const struct shard *s);
void tell_turn(struct shard *s); /* with the timeouts */
struct doctor_told;
void tell_slow(const struct doctor_told *told); /* if it is worth a line; once a second at most */
/* turn.c */
/* gauges, and what rooms count themselves, for all to see */
void counts_take(struct shard *s);
void *shard_main(void *arg);
/* control.c */
void control_input(struct shard *s, struct conn *c);
enum err control_listen(struct server *v, struct buf *why);

#endif
