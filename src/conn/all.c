/* conn: what concerns all connections of a shard, or comes to one from elsewhere: answers of jobs,
 * moves, the server's end, figures. SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "conn/conn_in.h"
#include "conn/transport.h"

/* ---- from elsewhere ---- */
void conn_job_answered(struct shard *s, const struct job *j) {
    struct conn *c = conn_find(s, j->conn, j->generation);
    if (c && j->from == JOB_HTTP) http_answered(s, c, j);
    if (c && j->from == JOB_MQTT) mqtt_answered(s, c, j);
}

void conn_arrived(struct shard *s, struct conn *c) {
    conn_attach(s, c);
    if (c->protocol == PROTO_MQTT) mqtt_moved(s, c);
    else http_stream_moved(s, c);
}

void conn_output(void *arg, void *conn) { conn_touch(arg, conn); }

void conn_session_ended(void *arg, void *conn, uint8_t reason) {
    struct conn *c = conn;
    c->session = NULL; /* deliver has let go of it */
    if (c->protocol == PROTO_MQTT)
        mqtt_end(arg, c, reason,
            reason == 0x8e ? "this device connected again elsewhere"
                           : "this device's access was ended");
    else conn_finish(arg, c);
}

void will_leave(struct shard *s, struct conn *c) {
    struct will *w = c->will;
    c->will = NULL;
    will_begin(s, w, &c->who, c->expiry_s);
}

/* ---- all of them ---- */
/* conn_detach blanks a connection's places in the list. */
void conn_leftovers(struct shard *s) {
    size_t n = s->read_again_count;
    for (size_t i = 0; i < n; i++) {
        struct conn *c = s->read_again[i];
        s->read_again[i] = NULL;
        if (!c || c->closing) continue;
        if (c->protocol == PROTO_HTTP) http_input(s, c);
        else mqtt_input(s, c);
    }
    s->read_again_count -= n;
    if (n) memmove(s->read_again, s->read_again + n, s->read_again_count * sizeof *s->read_again);
}

void conn_drain(struct shard *s) {
    for (uint32_t i = 0; i < s->conn_count; i++) {
        struct conn *c = s->conns[i];
        if (c && c->protocol == PROTO_MQTT && !c->closing && !c->ack_count)
            mqtt_end(s, c, s->server->o.mqtt_redirect ? REASON_ELSEWHERE : REASON_DRAINING,
                "this server is shutting down");
    }
}

void conn_forget_sessions(struct shard *s) {
    for (uint32_t i = 0; i < s->conn_count; i++)
        if (s->conns[i]) s->conns[i]->session = NULL;
}

void conn_close_all(struct shard *s) {
    for (uint32_t i = 0; i < s->conn_count; i++)
        if (s->conns[i]) conn_close(s, s->conns[i]);
}

static enum spoken spoken_of(const struct conn *c) {
    if (c->protocol == PROTO_MQTT)
        return transport_is_websocket(c) ? SPOKEN_WEBSOCKET : SPOKEN_MQTT;
    return c->streaming ? SPOKEN_STREAM : SPOKEN_HTTP;
}

void conn_figures(struct shard *s) {
    uint64_t counts[SPOKEN_COUNT] = {0}, bytes = 0, output = 0;
    for (uint32_t i = 0; i < s->conn_count; i++) {
        const struct conn *c = s->conns[i];
        if (!c || c->protocol == PROTO_CONTROL) continue;
        counts[spoken_of(c)]++;
        output += c->out.n - c->out_at;
        bytes += sizeof *c + c->in.cap + c->out.cap + transport_bytes(c) +
                 (c->http ? http_reader_bytes(c->http) : 0);
    }
    for (int i = 0; i < SPOKEN_COUNT; i++) atomic_store(&s->gauges.by_protocol[i], counts[i]);
    atomic_store(&s->gauges.connection_bytes, bytes);
    atomic_store(&s->gauges.output_bytes, output);
}

/* A device takes nothing of what waits for it: told while it lasts, and when it ends. */
void reader_tell(struct shard *s, const struct conn *c) {
    enum { READER_MS = 100 };
    int64_t took = s->mono_ms - c->wrote_ms;
    if (!c->want_write || took < READER_MS || !c->session) return;
    struct event e = {.kind = EVENT_reader,
        .thread = s->index,
        .start_ns = c->wrote_ms * 1000000,
        .duration_ns = took * 1000000,
        .a = (int64_t)(c->out.n - c->out_at)};
    event_name_set(&e, 0, c->who.app);
    event_name_set(&e, 1, c->who.user);
    event_name_set(&e, 2, c->who.device);
    event_add(&s->measure.events, &e);
}
