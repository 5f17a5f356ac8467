/* drive: HTTP requests side by side over kept connections, one under way on each. What is refused
 * for now (429, 503) and what a closed connection left unanswered is sent again: every write of the
 * interface may be repeated. SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "drive/drive.h"

#define CONNECTIONS 64
#define QUIET_NS (20 * SECOND_NS) /* without any answer: the server is gone */
#define AGAIN_NS (100 * MILLI_NS)

struct client {
    int fd;
    bool busy, writing;
    size_t request;
    int64_t again_ns; /* not before: sends `request` again */
    size_t out_at;
    struct buf in, out;
};
struct run {
    const struct requests *r;
    struct loop *loop;
    struct client *clients;
    size_t count, next, done;
    int64_t heard_ns;
    bool stopped;
};

static void client_later(struct run *run, struct client *c) {
    if (c->fd >= 0) {
        loop_remove(run->loop, c->fd);
        close(c->fd);
    }
    c->fd = -1;
    run->stopped |= run->r->once;
    buf_reset(&c->in);
    c->again_ns = clock_mono_ns() + AGAIN_NS;
}

static void client_write(struct run *run, struct client *c) {
    while (c->out_at < c->out.n) {
        size_t n;
        enum err e = sock_write(c->fd, c->out.p + c->out_at, c->out.n - c->out_at, &n);
        if (e == AGAIN) break;
        if (e != OK) return client_later(run, c);
        c->out_at += n;
    }
    bool left = c->out_at < c->out.n;
    if (left != c->writing) loop_change(run->loop, c->fd, LOOP_READ | (left ? LOOP_WRITE : 0u), c);
    c->writing = left;
}

static void client_send(struct run *run, struct client *c) {
    c->again_ns = 0;
    c->out_at = 0;
    if (c->fd < 0) {
        c->writing = true;
        if (sock_connect(run->r->address, NULL, &c->fd) != OK ||
            loop_add(run->loop, c->fd, LOOP_READ | LOOP_WRITE, c) != OK)
            return client_later(run, c);
        return; /* written when it is connected */
    }
    client_write(run, c);
}

static void client_next(struct run *run, struct client *c) {
    const struct requests *r = run->r;
    struct buf line = {0}, body = {0};
    c->busy = run->next < r->n;
    if (!c->busy) return;
    c->request = run->next++;
    r->make(r->arg, c->request, &line, &body);
    buf_reset(&c->out);
    buf_bytes(&c->out, buf_view(&line));
    buf_fmt(&c->out, " HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer %s\r\n",
        r->key ? r->key : "");
    if (body.n)
        buf_fmt(&c->out, "Content-Type: application/json\r\nContent-Length: %zu\r\n", body.n);
    buf_str(&c->out, "\r\n");
    buf_bytes(&c->out, buf_view(&body));
    buf_done(&line);
    buf_done(&body);
    client_send(run, c);
}

static void client_read(struct run *run, struct client *c) {
    uint8_t chunk[65536];
    size_t got, used;
    int status;
    struct bytes body;
    enum err e = sock_read(c->fd, chunk, sizeof chunk, &got);
    if (e == AGAIN) return;
    if (e != OK) return client_later(run, c);
    buf_add(&c->in, chunk, got);
    e = http_read_response(buf_view(&c->in), &status, &body, &used);
    if (e == AGAIN) return;
    if (e != OK) return client_later(run, c);
    run->heard_ns = clock_mono_ns();
    if (status == 429 || status == 503) {
        buf_cut(&c->in, used);
        c->again_ns = clock_mono_ns() + AGAIN_NS;
        return;
    }
    run->stopped = !run->r->done(run->r->arg, c->request, status, body);
    buf_cut(&c->in, used);
    run->done++;
    client_next(run, c);
}

static void run_turn(struct run *run) {
    struct loop_event events[256];
    bool waits = false;
    int64_t now = clock_mono_ns();
    for (size_t i = 0; i < run->count; i++) {
        struct client *c = &run->clients[i];
        if (c->busy && c->again_ns && now >= c->again_ns) client_send(run, c);
        waits |= c->again_ns != 0;
    }
    size_t n = loop_wait(run->loop, waits || run->r->stop ? 20 : 1000, events, 256);
    for (size_t i = 0; i < n && !run->stopped; i++) {
        struct client *c = events[i].tag;
        if (c->fd >= 0 && events[i].what & LOOP_WRITE) client_write(run, c);
        if (c->fd >= 0 && events[i].what & (LOOP_READ | LOOP_HANGUP)) client_read(run, c);
    }
}

bool requests_run(const struct requests *r, struct buf *why) {
    size_t most = r->connections ? r->connections : CONNECTIONS;
    struct run run = {.r = r,
        .loop = loop_create(),
        .count = r->n < most ? r->n : most,
        .heard_ns = clock_mono_ns()};
    run.clients = must_alloc((run.count + 1) * sizeof *run.clients);
    for (size_t i = 0; i < run.count; i++) {
        run.clients[i].fd = -1;
        client_next(&run, &run.clients[i]);
    }
    bool silent = false;
    while (run.done < r->n && !run.stopped && !silent) {
        if (r->stop && atomic_load(r->stop)) break;
        run_turn(&run);
        silent = clock_mono_ns() - run.heard_ns > QUIET_NS;
    }
    if (silent)
        buf_fmt(why, "no answer from HTTP at %s for %d s", r->address, (int)(QUIET_NS / SECOND_NS));
    for (size_t i = 0; i < run.count; i++) {
        if (run.clients[i].fd >= 0) close(run.clients[i].fd);
        buf_done(&run.clients[i].in);
        buf_done(&run.clients[i].out);
    }
    free(run.clients);
    loop_free(&run.loop);
    return run.done == r->n && !run.stopped;
}

/* ---- one ---- */
struct one {
    const char *path;
    struct buf *out;
    int status;
};
static void one_make(void *arg, size_t i, struct buf *line, struct buf *body) {
    struct one *o = arg;
    buf_fmt(line, "GET %s", o->path);
}
static bool one_done(void *arg, size_t i, int status, struct bytes body) {
    struct one *o = arg;
    o->status = status;
    buf_bytes(o->out, body);
    return true;
}

int request_get(const char *address, const char *key, const char *path, struct buf *out) {
    struct one o = {.path = path, .out = out};
    struct buf why = {0};
    struct requests r = {.address = address,
        .key = key,
        .n = 1,
        .once = true,
        .arg = &o,
        .make = one_make,
        .done = one_done};
    bool ok = requests_run(&r, &why);
    buf_done(&why);
    return ok ? o.status : 0;
}
