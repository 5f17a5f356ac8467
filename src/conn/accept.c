/* conn: accept: who comes through a door: counted, given what its transport needs, and placed; or
 * turned away. SPDX-License-Identifier: Apache-2.0 */
#include <poll.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "conn/limits.h"
#include "conn/conn_in.h"
#include "conn/transport.h"

#define ACCEPT_BURST 64

void conn_tell_too_many(const struct conn *c) {
    static const char SAID[] =
        "HTTP/1.1 429 Too Many Requests\r\nRetry-After: 1\r\nConnection: close\r\n"
        "Content-Type: application/problem+json\r\nContent-Length: 122\r\n\r\n"
        "{\"type\":\"/problems/rate-limited\",\"title\":\"Too many requests\",\"status\":429,"
        "\"detail\":\"too many connections of this address\"}";
    if (c->protocol != PROTO_HTTP || c->transport) return;
    (void)!send(c->fd, SAID, sizeof SAID - 1, MSG_NOSIGNAL | MSG_DONTWAIT);
    (void)shutdown(c->fd, SHUT_WR);
}

static void turn_away(struct shard *s, struct conn *c) {
    conn_tell_too_many(c);
    transport_free(s, c);
    limits_end(s, c);
    close(c->fd);
    free(c);
}

/* The doors of TLS are not looked at while its handshakes are at their limit: who comes waits. */
static void tls_doors_watch(struct shard *s, bool watch) {
    for (struct door *d = s->server->doors; d < s->server->doors + DOORS; d++) {
        if (!d->tls || d->fd < 0) continue;
        if (watch) check(loop_add(s->loop, d->fd, LOOP_READ, d) == OK);
        else loop_remove(s->loop, d->fd);
    }
    s->tls_waits = !watch;
}

static bool somebody_waits(const struct door *d) {
    struct pollfd p = {.fd = d->fd, .events = POLLIN};
    return d->fd >= 0 && poll(&p, 1, 0) == 1;
}

void conn_accept_again(struct shard *s) {
    const struct door *https = &s->server->doors[DOOR_HTTPS],
                      *mqtts = &s->server->doors[DOOR_MQTTS];
    if (!s->tls_waits || s->draining) return;
    bool full = !transport_has_room(s, https);
    if (full && (somebody_waits(https) || somebody_waits(mqtts))) transport_make_room(s);
    if (transport_has_room(s, https)) tls_doors_watch(s, true);
}

void conn_accept(struct shard *s, const struct door *d) {
    for (int i = 0; i < ACCEPT_BURST; i++) {
        int fd;
        struct address peer;
        if (!transport_has_room(s, d)) return tls_doors_watch(s, false);
        enum err e = sock_accept(d->fd, &fd, &peer);
        if (e == LIMIT) measure_add(&s->measure, COUNTER_accepts_failed, 1);
        if (e != OK) return;
        if (s->conn_open >= s->server->o.connections_max / s->server->shards &&
            d->protocol != PROTO_CONTROL) {
            measure_add(&s->measure, COUNTER_limit_connection, 1);
            close(fd);
            continue;
        }
        struct conn *c = must_alloc(sizeof *c);
        c->fd = fd;
        c->protocol = d->protocol;
        c->operators = d == &s->server->doors[DOOR_CONSOLE];
        c->since_ms = c->last_in_ms = s->mono_ms;
        c->peer = peer;
        if (!transport_begin(s, c, d) || (!s->server->o.proxy_protocol && !limits_begin(s, c))) {
            turn_away(s, c);
            continue;
        }
        conn_place(s, c);
        measure_add(&s->measure, COUNTER_connections_opened, 1);
        if (loop_add(s->loop, fd, LOOP_READ, c) != OK) conn_close(s, c);
        /* what it has sent came with it: read in a turn of its own, it would seem to have come then */
        else conn_event(s, c, LOOP_READ);
    }
}
