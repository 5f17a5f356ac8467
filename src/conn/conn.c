/* conn: connections: bytes in, bytes out, timeouts. What the bytes mean is http_conn.c's and
 * mqtt_conn.c's.
 * Keeps: output is written once a turn, all together; a peer that does not read is not rendered for
 * (deliver) and not read from (here).
 * SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "conn/limits.h"
#include "conn/conn_in.h"
#include "conn/transport.h"

#define READ_CHUNK (64u << 10)
#define OUTPUT_PAUSE (1u << 20) /* unwritten bytes at which the connection is no longer read */
/* unparsed bytes, likewise: more than any packet */
#define INPUT_PAUSE (MQTT_PACKET_MAX + READ_CHUNK)
#define REPLIES_PAUSE (4u << 10) /* unwritten pongs, likewise */
#define CLOSING_MS 5000          /* how long an ending connection may take to read its last words */
#define IDLE_KEEP 4096u          /* buffers above this are given back when empty */
#define FRESH_MS 3000            /* after CONNECT, in which it may be about to subscribe */
#define QUIET_MS 1000            /* after which empty buffers are given back altogether */

static uint32_t slot_take(struct shard *s) {
    if (s->conn_free_count) return s->conn_free[--s->conn_free_count];
    if (s->conn_count == s->conn_cap) {
        s->conn_cap = s->conn_cap ? s->conn_cap * 2 : 64;
        s->conns = must_realloc(s->conns, s->conn_cap * sizeof *s->conns);
        s->conn_free = must_realloc(s->conn_free, s->conn_cap * sizeof *s->conn_free);
    }
    s->conns[s->conn_count] = NULL;
    return s->conn_count++;
}

void conn_place(struct shard *s, struct conn *c) {
    /* unique enough: a job outlives its connection by seconds */
    static _Thread_local uint32_t generation;
    c->index = slot_take(s);
    c->generation = ++generation;
    s->conns[c->index] = c;
    s->conn_open++;
}

struct conn *conn_find(struct shard *s, uint32_t index, uint32_t generation) {
    if (index >= s->conn_count || !s->conns[index] || s->conns[index]->generation != generation)
        return NULL;
    return s->conns[index];
}

static void dirty_drop(struct shard *s, struct conn *c) {
    if (!c->dirty) return;
    for (struct conn **p = &s->dirty; *p; p = &(*p)->next_dirty)
        if (*p == c) {
            *p = c->next_dirty;
            break;
        }
    c->dirty = false;
    for (size_t i = 0; i < s->read_again_count; i++)
        if (s->read_again[i] == c) s->read_again[i] = NULL;
}

void conn_settled(struct shard *s, struct conn *c) {
    if (c->fresh) atomic_fetch_sub(&s->gauges.fresh, 1);
    c->fresh = false;
}

void conn_detach(struct shard *s, struct conn *c) {
    conn_settled(s, c);
    for (size_t i = 0; i < s->read_again_count; i++)
        if (s->read_again[i] == c) s->read_again[i] = NULL;
    for (size_t i = 0; i < s->event_count; i++)
        if (s->events[i].tag == c) s->events[i].tag = NULL;
    dirty_drop(s, c);
    loop_remove(s->loop, c->fd);
    s->conns[c->index] = NULL;
    s->conn_free[s->conn_free_count++] = c->index;
    s->conn_open--;
}

void conn_move(struct shard *s, struct conn *c, unsigned to) {
    if (c->out.n > c->out_at) { /* what is written goes with it */
        buf_cut(&c->out, c->out_at);
        c->out_at = 0;
    }
    conn_detach(s, c);
    struct job *j = must_alloc(sizeof *j);
    j->from = JOB_MOVE;
    j->moving = c;
    job_send(s, to, j);
}

void conn_attach(struct shard *s, struct conn *c) {
    conn_place(s, c);
    c->want_write = c->read_paused = c->slowed = false;
    if (loop_add(s->loop, c->fd, LOOP_READ, c) != OK) conn_close(s, c);
}

static void acks_free(struct conn *c) {
    for (uint16_t i = 0; i < c->ack_count; i++) free(c->acks[(c->ack_head + i) % c->ack_cap].words);
    free(c->acks);
    while (c->subacks) {
        struct pending_suback *p = c->subacks;
        c->subacks = p->next;
        free(p);
    }
}

static void publisher_free(struct conn *c) {
    struct publisher *p = c->publisher;
    if (!p) return;
    for (size_t i = 0; i < ALIASES_IN_MAX; i++) free(p->aliases[i]);
    free(p->received);
    free(p);
    c->publisher = NULL;
}

void conn_is(struct conn *c, const struct principal *who) {
    const struct bytes *from[] = {&who->app, &who->user, &who->device, &who->key};
    char *names = must_alloc(who->app.n + who->user.n + who->device.n + who->key.n + 1), *p = names;
    struct bytes to[4];
    for (int i = 0; i < 4; i++) {
        if (from[i]->n) memcpy(p, from[i]->p, from[i]->n);
        to[i] = bytes_of(p, from[i]->n);
        p += from[i]->n;
    }
    free((void *)c->who.app.p);
    c->who = *who;
    c->who.app = to[0];
    c->who.user = to[1];
    c->who.device = to[2];
    c->who.key = to[3];
}

static void session_end(struct shard *s, struct conn *c) {
    struct session *session = c->session;
    c->session = NULL;
    if (session) deliver_close(s->deliver, session);
    if (c->will) will_leave(s, c);
}

void conn_close(struct shard *s, struct conn *c) {
    session_end(s, c);
    conn_detach(s, c);
    limits_end(s, c);
    transport_finish(c);
    transport_free(s, c);
    close(c->fd);
    acks_free(c);
    if (c->http) http_reader_free(&c->http);
    publisher_free(c);
    free(c->wish);
    buf_done(&c->in);
    buf_done(&c->out);
    free((void *)c->who.app.p);
    free(c);
    measure_add(&s->measure, COUNTER_connections_closed, 1);
}

void conn_touch(struct shard *s, struct conn *c) {
    if (c->dirty) return;
    c->dirty = true;
    c->next_dirty = s->dirty;
    s->dirty = c;
}

void conn_finish(struct shard *s, struct conn *c) {
    if (!c->closing) c->since_ms = s->mono_ms;
    c->closing = true;
    conn_touch(s, c);
}

void conn_hangup(struct shard *s, struct conn *c) {
    if (c->closing) return;
    if (!c->transport) return conn_close(s, c);
    session_end(s, c);
    conn_finish(s, c);
}

void conn_read_again(struct shard *s, struct conn *c) {
    if (s->read_again_count == s->read_again_cap) {
        s->read_again_cap = s->read_again_cap ? s->read_again_cap * 2 : 64;
        s->read_again = must_realloc(s->read_again, s->read_again_cap * sizeof *s->read_again);
    }
    s->read_again[s->read_again_count++] = c;
}

void conn_touch_all(struct shard *s) {
    for (uint32_t i = 0; i < s->conn_count; i++)
        if (s->conns[i]) conn_touch(s, s->conns[i]);
}

/* Unparsed bytes: of HTTP they are requests behind the one that is under way. */
static size_t input_most(const struct conn *c) {
    return c->protocol == PROTO_HTTP ? READ_CHUNK : INPUT_PAUSE;
}

/* Who does not take what is written is not read, nor who sends faster than it is answered. */
static bool must_pause(const struct shard *s, const struct conn *c) {
    return c->out.n - c->out_at > OUTPUT_PAUSE || (c->in.n > input_most(c) && !c->closing) ||
           c->half_closed || c->slowed || transport_replies(c) > REPLIES_PAUSE ||
           ((s->held_back || s->crowded) && c->protocol == PROTO_MQTT);
}

static void interest(struct shard *s, struct conn *c) {
    bool write = transport_has_output(c) || transport_waits_to_write(c), pause = must_pause(s, c);
    if (write && !c->want_write) c->wrote_ms = s->mono_ms;
    if (c->want_write == write && c->read_paused == pause) return;
    c->want_write = write;
    if (pause && !c->read_paused && c->out.n - c->out_at > OUTPUT_PAUSE)
        measure_add(&s->measure, COUNTER_limit_output_buffer, 1);
    if (c->read_paused && !pause) c->last_in_ms = s->mono_ms; /* it could not be heard */
    c->read_paused = pause;
    loop_change(s->loop, c->fd, (pause ? 0u : LOOP_READ) | (write ? LOOP_WRITE : 0u), c);
}

/* All is written to an ending connection: closed at once, its last words could be lost with what it
 * has sent and nobody has read. */
static bool closed_softly(struct shard *s, struct conn *c) {
    transport_finish(c);
    if (c->protocol == PROTO_CONTROL || c->half_closed || shutdown(c->fd, SHUT_WR) != 0) {
        conn_close(s, c);
        return true;
    }
    return false;
}

/* false: the connection is gone. */
static bool write_out(struct shard *s, struct conn *c) {
    while (transport_has_output(c)) {
        size_t n;
        enum err e = transport_write(s, c, &n);
        if (e == AGAIN) break;
        if (e != OK) {
            conn_close(s, c);
            return false;
        }
        reader_tell(s, c);
        c->wrote_ms = s->mono_ms;
        measure_add(&s->measure, COUNTER_bytes_out, n);
    }
    if (c->out_at == c->out.n) {
        c->out_at = 0;
        if (c->out.cap > IDLE_KEEP) buf_done(&c->out);
        else buf_reset(&c->out);
        if (c->closing && !transport_has_output(c) && closed_softly(s, c)) return false;
        if (c->session) deliver_written(s->deliver, c->session);
        if (c->protocol == PROTO_HTTP && c->in.n && !c->busy) conn_read_again(s, c);
    } else if (c->out_at > READ_CHUNK) {
        buf_cut(&c->out, c->out_at);
        c->out_at = 0;
    }
    interest(s, c);
    return true;
}

void conn_write_all(struct shard *s) {
    struct conn *list = s->dirty;
    s->dirty = NULL;
    while (list) {
        struct conn *c = list;
        list = c->next_dirty;
        c->dirty = false;
        write_out(s, c);
    }
}

static void control_input(struct shard *s, struct conn *c) {
    const uint8_t *end = memchr(c->in.p, '\n', c->in.n);
    if (!end) return;
    struct bytes line = bytes_of(c->in.p, (size_t)(end - c->in.p));
    bool ends = s->server->above.control(s->server, line, c->fd, &c->out);
    buf_reset(&c->in);
    if (ends) conn_finish(s, c);
}

static void input(struct shard *s, struct conn *c) {
    if (c->protocol == PROTO_HTTP) http_input(s, c);
    else if (c->protocol == PROTO_MQTT) mqtt_input(s, c);
    else control_input(s, c);
}

/* The peer sends no more. HTTP: what it asked for is still answered. */
static void input_ended(struct shard *s, struct conn *c) {
    bool waits = c->busy || c->in.n || c->out.n > c->out_at;
    if (c->protocol != PROTO_HTTP || c->streaming || !waits || !transport_is_ready(c)) {
        conn_close(s, c);
        return;
    }
    c->half_closed = true;
    if (!c->busy && !c->in.n) conn_finish(s, c);
    conn_touch(s, c);
}

void conn_event(struct shard *s, struct conn *c, uint32_t what) {
    /* what TLS has to write before it can read on goes out by reading */
    if ((what & LOOP_WRITE) && transport_waits_to_write(c) && !transport_has_output(c))
        what |= LOOP_READ;
    if ((what & LOOP_WRITE) && !write_out(s, c)) return;
    if (!(what & (LOOP_READ | LOOP_HANGUP))) return;
    if (c->half_closed || (c->read_paused && !(what & LOOP_READ))) { /* it hung up altogether */
        conn_close(s, c);
        return;
    }
    size_t n;
    enum err e = transport_read(s, c, s->read_buffer, READ_CHUNK, &n);
    if (e == AGAIN) return interest(s, c);
    if (e == STALE && !c->closing) return input_ended(s, c);
    if (e == LIMIT) conn_tell_too_many(c);
    if (e != OK) {
        conn_close(s, c);
        return;
    }
    c->last_in_ms = s->mono_ms;
    measure_add(&s->measure, COUNTER_bytes_in, n);
    if (c->closing) return; /* nobody asks any more */
    limits_read(s, c, n);
    if (transport_is_websocket(c)) e = transport_unframe(c, bytes_of(s->read_buffer, n));
    else if (c->connected || c->trusted) buf_add(&c->in, s->read_buffer, n);
    else buf_add_tight(&c->in, s->read_buffer, n); /* strangers may be many */
    uint32_t index = c->index, generation = c->generation;
    input(s, c);
    if (!conn_find(s, index, generation)) return;
    if (e != OK) conn_hangup(s, c);
    if (must_pause(s, c) != c->read_paused || transport_replies(c)) conn_touch(s, c);
}

/* ---- timeouts: looked at every SWEEP_MS ---- */

/* What must have ended when the timeout has passed is ended at the last look before it. */
static int64_t before_sweep(int64_t timeout_ms) {
    return timeout_ms > 2 * SWEEP_MS ? timeout_ms - SWEEP_MS : timeout_ms;
}

static void http_sweep(struct shard *s, struct conn *c) {
    enum { PING_STREAM_MS = 15000 };
    const struct server_options *o = &s->server->o;
    int64_t age = s->mono_ms - c->since_ms;
    if (c->streaming) {
        if (age < PING_STREAM_MS) return;
        c->since_ms = s->mono_ms;
        if (c->want_write) return; /* it does not read */
        sse_write_comment(&c->out, BYTES("ping"));
        conn_touch(s, c);
    } else if (!c->busy && (!c->http || http_reader_is_empty(c->http))) {
        /* who has said nothing yet has to begin */
        if (age > (c->http ? o->http_idle_timeout_ms : before_sweep(o->http_header_timeout_ms)))
            conn_close(s, c);
    } else if (!c->busy &&
               age > before_sweep(o->http_header_timeout_ms +
                                  (http_reader_has_head(c->http) ? o->http_body_timeout_ms : 0))) {
        http_late(s, c);
    }
}

/* Ends what a key or token opened, when it does not hold any more. */
static void access_end(struct shard *s, struct conn *c, uint8_t reason, const char *words) {
    if (c->protocol == PROTO_MQTT) mqtt_end(s, c, reason, words);
    else conn_close(s, c);
}

void conn_recheck(struct shard *s) {
    for (uint32_t i = 0; i < s->conn_count; i++) {
        struct conn *c = s->conns[i];
        if (!c || !(c->connected || c->streaming) || admit_holds(s->server->admit, &c->who))
            continue;
        access_end(s, c, REASON_NOT_AUTHORIZED,
            c->who.server ? "this server key was revoked"
                          : "whoever issued this token is not trusted any more");
    }
}

static bool is_stuck(const struct shard *s, const struct conn *c) {
    if (c->closing) return s->mono_ms - c->since_ms > CLOSING_MS;
    return c->want_write && s->mono_ms - c->wrote_ms > s->server->o.stall_timeout_ms;
}

static bool ready_in_time(const struct shard *s, const struct conn *c) {
    return transport_is_ready(c) ||
           s->mono_ms - c->since_ms <= before_sweep(s->server->o.tls_handshake_timeout_ms);
}

/* Most connections are quiet most of the time: these keep no buffers. */
static void buffers_give_back(const struct shard *s, struct conn *c) {
    if (s->mono_ms - c->last_in_ms < QUIET_MS || s->mono_ms - c->wrote_ms < QUIET_MS) return;
    if (!c->in.n) buf_done(&c->in);
    if (!c->out.n) buf_done(&c->out);
    if (!c->ack_count && c->acks) {
        free(c->acks);
        c->acks = NULL;
        c->ack_cap = c->ack_head = 0;
    }
}

void conn_sweep(struct shard *s) {
    enum { READERS_TOLD = 8 };
    unsigned readers = 0;
    limits_sweep(s);
    for (uint32_t i = 0; i < s->conn_count; i++) {
        struct conn *c = s->conns[i];
        if (!c || c->protocol == PROTO_CONTROL) continue;
        buffers_give_back(s, c);
        if (c->want_write && readers++ < READERS_TOLD) reader_tell(s, c);
        if (s->mono_ms - c->since_ms > FRESH_MS) conn_settled(s, c);
        if (is_stuck(s, c) || !ready_in_time(s, c)) {
            conn_close(s, c);
        } else if (c->closing) {
            continue;
        } else if ((c->connected || c->streaming) && c->who.until_ms &&
                   s->now_ms >= c->who.until_ms) {
            access_end(
                s, c, REASON_CONNECT_TIME, "this token has expired; connect again with a new one");
        } else if (c->protocol == PROTO_HTTP) {
            http_sweep(s, c);
        } else if (!c->connected) {
            if (s->mono_ms - c->since_ms > before_sweep(s->server->o.mqtt_connect_timeout_ms))
                conn_close(s, c);
        } else if (c->keep_alive_s && !c->read_paused &&
                   s->mono_ms - c->last_in_ms > c->keep_alive_s * 1500) {
            mqtt_end(
                s, c, REASON_KEEP_ALIVE, "nothing was heard for one and a half keep-alive times");
        }
    }
}
