/* conn, inside: what a connection is made of. SPDX-License-Identifier: Apache-2.0 */
#ifndef KITH_CONN_IN_H
#define KITH_CONN_IN_H

#include "conn/conn.h"

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

/* accept.c */
/* of its address, before it is closed: who speaks plain HTTP can be told */
void conn_tell_too_many(const struct conn *c);
/* conn.c */
void conn_place(struct shard *s, struct conn *c); /* it is this shard's */
void conn_touch(struct shard *s, struct conn *c); /* its output has bytes */
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
/* all.c */
void reader_tell(struct shard *s, const struct conn *c);
void will_leave(struct shard *s, struct conn *c); /* it ends without DISCONNECT */
/* http.c */
void http_input(struct shard *s, struct conn *c);
bool http_answers_wait(const struct conn *c); /* unwritten ones: requests behind them wait */
void http_answered(struct shard *s, struct conn *c, const struct job *j);
/* the rest of its request did not come in time */
void http_late(struct shard *s, struct conn *c);
/* a server key without one of these scopes */
void scope_refuse(struct answer *a, uint32_t scopes);
void http_problem(struct shard *s, struct conn *c, const struct answer *a, const char *allow);
void http_stream_moved(struct shard *s, struct conn *c);
/* to another shard, which gets it as a job */
void conn_move(struct shard *s, struct conn *c, unsigned to);
/* mqtt.c */
void mqtt_input(struct shard *s, struct conn *c);
void mqtt_answered(struct shard *s, struct conn *c, const struct job *j);
void mqtt_end(struct shard *s, struct conn *c, uint8_t reason, const char *words);
void mqtt_moved(struct shard *s, struct conn *c);

#endif
