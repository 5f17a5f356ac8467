/* A WebSocket server that says everything again, on the project's own reading and writing of
 * frames: what the Autobahn suite talks with. One connection at a time; the port is written on
 * standard output. Neither timeouts nor limits: those are the server's, and have tests of their own.
 * SPDX-License-Identifier: Apache-2.0 */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

#include "wire/wire.h"

enum { PIECE = 1 << 16 };

/* true: all was written. */
static bool flush(int fd, struct buf *out) {
    size_t at = 0;
    while (at < out->n) {
        ssize_t n = send(fd, out->p + at, out->n - at, MSG_NOSIGNAL);
        if (n <= 0) return false;
        at += (size_t)n;
    }
    buf_reset(out);
    return true;
}

/* Reads frames; AGAIN while the conversation goes on. What is to be sent is added to *out. */
static enum err echo(struct websocket *w, struct bytes in, struct buf *message, struct buf *out) {
    while (in.n) {
        size_t used = 0;
        enum err e = websocket_read(w, in, &used, message, out);
        if (e == STALE || e == MALFORMED) {
            websocket_write_close(out, w->close);
            return e;
        }
        in = bytes_of(in.p + used, in.n - used);
        if (e != OK) continue;
        websocket_write_head(out, w->kind, message->n);
        buf_bytes(out, buf_view(message));
        buf_reset(message);
    }
    return AGAIN;
}

/* The request for an upgrade; gives what is to be answered, 101 when it is one. */
static int upgrade(struct http_reader *r, struct bytes in, size_t *used, struct buf *out) {
    const struct http_request *q;
    bool wants;
    enum err e = http_read(r, in, used, &q, &wants);
    if (e == AGAIN) return 0;
    struct buf lines = {0};
    int status = e == OK ? websocket_upgrade(q, "mqtt", &lines) : q->status;
    buf_char(&lines, 0);
    http_write_head(out, status, status == 101, NULL, -1, status == 101 ? (char *)lines.p : NULL);
    buf_done(&lines);
    return status;
}

static void converse(int fd) {
    struct http_reader *r = http_reader_create();
    struct websocket w;
    struct buf message = {0}, out = {0};
    static uint8_t piece[PIECE];
    int status = 0;
    enum err e = AGAIN;
    ssize_t n;
    websocket_init(&w, 0, true);
    while (e == AGAIN && (status == 0 || status == 101) && (n = recv(fd, piece, PIECE, 0)) > 0) {
        struct bytes in = bytes_of(piece, (size_t)n);
        size_t used = 0;
        if (!status && (status = upgrade(r, in, &used, &out)) != 101) continue;
        e = echo(&w, bytes_of(in.p + used, in.n - used), &message, &out);
        if (!flush(fd, &out)) break;
    }
    (void)flush(fd, &out);
    shutdown(fd, SHUT_WR);
    while (recv(fd, piece, PIECE, 0) > 0) {
    } /* a reset would take the close frame with it */
    buf_done(&message);
    buf_done(&out);
    websocket_done(&w);
    http_reader_free(&r);
}

int main(void) {
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof a;
    int on = 1, l = socket(AF_INET, SOCK_STREAM, 0);
    if (l < 0 || bind(l, (struct sockaddr *)&a, size) || listen(l, 64)) return 1;
    if (getsockname(l, (struct sockaddr *)&a, &size)) return 1;
    printf("%d\n", ntohs(a.sin_port));
    fflush(stdout);
    for (int fd; (fd = accept(l, NULL, NULL)) >= 0; close(fd)) {
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
        converse(fd);
    }
    return 1;
}
