/* drive: devices that speak MQTT on one event loop, and HTTP requests side by side. SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "drive/drive_in.h"

#define HANDSHAKES_MAX 60
#define OPEN_TIMEOUT_MS 60000
#define CONNECTIONS 32

/* ---- latencies ---- */
void spread_add(struct spread *s, uint64_t ns) {
    uint64_t v = ns ? ns : 1;
    unsigned high = 63u - (unsigned)__builtin_clzll(v);
    unsigned slot = high < 5 ? (unsigned)v : (high - 4) * 32 + (unsigned)(v >> (high - 5) & 31);
    s->counts[slot]++;
    s->n++;
    if (ns > s->max) s->max = ns;
}

double spread_us(const struct spread *s, double share) {
    uint64_t want = (uint64_t)((double)s->n * share), seen = 0;
    for (unsigned i = 0; i < 64 * 32 && s->n; i++) {
        seen += s->counts[i];
        if (seen <= want && seen < s->n) continue;
        double low = i < 32 ? i : (double)((uint64_t)(32 + i % 32) << (i / 32 - 1));
        return low / 1000;
    }
    return 0;
}

/* ---- devices ---- */
static void want(struct device *d, bool write) {
    if (d->want_write == write) return;
    d->want_write = write;
    loop_change(d->fleet->loop, d->fd, LOOP_READ | (write ? LOOP_WRITE : 0u), d);
}

static void device_fail(struct device *d) {
    if (d->state == DEVICE_GONE) return;
    struct fleet *f = d->fleet;
    if (d->state == DEVICE_READY) f->ready--;
    else f->opening--;
    d->state = DEVICE_GONE;
    f->failed++;
    loop_remove(f->loop, d->fd);
    close(d->fd);
}

static void device_write(struct device *d) {
    while (d->state != DEVICE_GONE && d->out_at < d->out.n) {
        size_t n;
        enum err e = sock_write(d->fd, d->out.p + d->out_at, d->out.n - d->out_at, &n);
        if (e == AGAIN) break;
        if (e != OK) return device_fail(d);
        d->out_at += n;
    }
    if (d->out_at == d->out.n) {
        buf_reset(&d->out);
        d->out_at = 0;
    }
    if (d->state != DEVICE_GONE) want(d, d->out.n != 0);
}

static void device_dirty(struct device *d) {
    if (d->dirty) return;
    d->dirty = true;
    d->next_dirty = d->fleet->dirty;
    d->fleet->dirty = d;
}

void device_flush(struct fleet *f) {
    struct device *list = f->dirty;
    f->dirty = NULL;
    while (list) {
        struct device *d = list;
        list = d->next_dirty;
        d->dirty = false;
        device_write(d);
    }
}

uint16_t device_publish(struct device *d, struct bytes topic, struct bytes payload) {
    uint16_t packet = 0;
    if (d->fleet->qos) {
        packet = d->next_packet = (uint16_t)(d->next_packet % 65535 + 1);
        d->outstanding++;
    }
    mqtt_encode_publish(&d->out, d->fleet->version, topic, payload, d->fleet->qos, false, false, packet, NULL);
    device_dirty(d);
    return packet;
}

static void device_start(struct fleet *f, struct device *d, size_t i) {
    const char *from = f->source_count ? f->sources[i % f->source_count] : NULL;
    d->fleet = f;
    d->state = DEVICE_CONNECTING;
    f->opening++;
    if (sock_connect(f->address, from, &d->fd) != OK || loop_add(f->loop, d->fd, LOOP_READ, d) != OK) {
        d->fd = -1;
        d->state = DEVICE_GONE;
        f->opening--;
        f->failed++;
        return;
    }
    mqtt_encode_connect(&d->out, f->version, f->clean, 60, d->client_id, d->username, d->password, f->clean ? 0 : 86400, 1000);
    want(d, true);
}

static void device_ready(struct device *d) {
    d->state = DEVICE_READY;
    d->fleet->ready++;
    d->fleet->opening--;
}

static void packet_take(struct device *d, const struct mqtt_packet *p) {
    struct fleet *f = d->fleet;
    switch (p->type) {
    case MQTT_CONNACK:
        if (p->reason) return device_fail(d);
        if (!d->filter.n) return device_ready(d);
        d->state = DEVICE_SUBSCRIBING;
        mqtt_encode_subscribe(&d->out, f->version, 1, d->filter, f->qos);
        device_dirty(d);
        return;
    case MQTT_SUBACK:
        if (p->codes.n != 1 || p->codes.p[0] >= 0x80) return device_fail(d);
        return device_ready(d);
    case MQTT_PUBLISH:
        if (p->qos) {
            mqtt_encode_ack(&d->out, f->version, MQTT_PUBACK, p->packet_id, 0, NULL);
            device_dirty(d);
        }
        if (f->published) f->published(d, p);
        return;
    case MQTT_PUBACK:
        if (d->outstanding) d->outstanding--;
        if (f->acked) f->acked(d, p->packet_id, p->reason);
        return;
    case MQTT_DISCONNECT: device_fail(d); return;
    default: return;
    }
}

static void device_read(struct device *d) {
    static struct mqtt_packet p;
    static uint8_t chunk[64 * 1024];
    size_t n, at = 0, used;
    uint8_t reason;
    enum err e = sock_read(d->fd, chunk, sizeof chunk, &n);
    if (e == AGAIN) return;
    if (e != OK) return device_fail(d);
    /* Most reads hold whole packets: they are decoded where they lie. */
    struct bytes in = bytes_of(chunk, n);
    if (d->in.n) {
        buf_add(&d->in, chunk, n);
        in = buf_view(&d->in);
    }
    while (d->state != DEVICE_GONE && (e = mqtt_decode(bytes_of(in.p + at, in.n - at), d->fleet->version, 1 << 20, &p, &used, &reason)) == OK) {
        at += used;
        packet_take(d, &p);
    }
    if (d->state == DEVICE_GONE) return;
    if (e != AGAIN) return device_fail(d);
    if (d->in.n) buf_cut(&d->in, at);
    else if (at < in.n) buf_add(&d->in, in.p + at, in.n - at);
}

void fleet_turn(struct fleet *f, int wait_ms) {
    struct loop_event events[512];
    device_flush(f);
    size_t n = loop_wait(f->loop, wait_ms, events, 512);
    for (size_t i = 0; i < n; i++) {
        struct device *d = events[i].tag;
        if (d->state == DEVICE_GONE) continue;
        if (events[i].what & LOOP_WRITE) device_write(d);
        if (d->state != DEVICE_GONE && (events[i].what & (LOOP_READ | LOOP_HANGUP))) device_read(d);
    }
    device_flush(f);
}

bool fleet_open(struct fleet *f) {
    int64_t until = clock_mono_ns() + OPEN_TIMEOUT_MS * 1000000ll;
    if (!f->loop) f->loop = loop_create();
    f->ready = f->opening = f->next = 0;
    f->failed = 0;
    while (f->ready + f->failed < f->count && clock_mono_ns() < until) {
        while (f->next < f->count && f->opening < HANDSHAKES_MAX) {
            device_start(f, &f->devices[f->next], f->next);
            f->next++;
        }
        fleet_turn(f, 10);
    }
    return f->ready == f->count;
}

void fleet_close(struct fleet *f) {
    for (size_t i = 0; i < f->count; i++) {
        struct device *d = &f->devices[i];
        if (d->state != DEVICE_GONE && d->state != DEVICE_NEW) {
            mqtt_encode_disconnect(&d->out, f->version, 0, NULL);
            device_write(d);
            loop_remove(f->loop, d->fd);
            close(d->fd);
            d->state = DEVICE_GONE;
        }
        buf_done(&d->in);
        buf_done(&d->out);
    }
    f->dirty = NULL;
    loop_free(&f->loop);
}

/* ---- HTTP ---- */
struct http_client {
    int fd;
    size_t request;
    struct buf in;
};

static bool request_send(const struct requests *r, struct http_client *c, size_t i) {
    struct buf line = {0}, body = {0}, out = {0};
    r->make(r->arg, i, &line, &body);
    buf_bytes(&out, buf_view(&line));
    buf_fmt(&out, " HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer %s\r\nContent-Length: %zu\r\n\r\n", r->key, body.n);
    buf_bytes(&out, buf_view(&body));
    size_t at = 0, n;
    enum err e = OK;
    while (at < out.n && (e == OK || e == AGAIN)) {
        e = sock_write(c->fd, out.p + at, out.n - at, &n);
        if (e == OK) at += n;
    }
    c->request = i;
    bool ok = at == out.n;
    buf_done(&line);
    buf_done(&body);
    buf_done(&out);
    return ok;
}

bool requests_run(const struct requests *r) {
    struct loop *loop = loop_create();
    struct http_client clients[CONNECTIONS] = {{0}};
    struct loop_event events[CONNECTIONS];
    size_t next = 0, done = 0, used;
    bool ok = true;
    for (int i = 0; i < CONNECTIONS; i++) {
        clients[i].fd = -1;
        if (next >= r->n) continue;
        ok = ok && sock_connect(r->address, NULL, &clients[i].fd) == OK && loop_add(loop, clients[i].fd, LOOP_READ, &clients[i]) == OK;
        ok = ok && request_send(r, &clients[i], next++);
    }
    while (ok && done < r->n) {
        size_t n = loop_wait(loop, 10000, events, CONNECTIONS);
        ok = n > 0;
        for (size_t i = 0; i < n && ok; i++) {
            struct http_client *c = events[i].tag;
            uint8_t chunk[16384];
            size_t got;
            enum err e = sock_read(c->fd, chunk, sizeof chunk, &got);
            if (e == AGAIN) continue;
            ok = e == OK;
            if (!ok) break;
            buf_add(&c->in, chunk, got);
            int status;
            struct bytes body;
            if (http_read_response(buf_view(&c->in), &status, &body, &used) != OK) continue;
            r->done(r->arg, c->request, status, body);
            buf_cut(&c->in, used);
            done++;
            if (next < r->n) ok = request_send(r, c, next++);
        }
    }
    for (int i = 0; i < CONNECTIONS; i++) {
        if (clients[i].fd >= 0) close(clients[i].fd);
        buf_done(&clients[i].in);
    }
    loop_free(&loop);
    return ok;
}

struct usage_of process_usage(long pid) {
    struct usage_of u = {0};
    char path[64];
    unsigned long user = 0, sys = 0;
    unsigned long long rss = 0;
    snprintf(path, sizeof path, "/proc/%ld/stat", pid);
    FILE *f = fopen(path, "re");
    if (!f) return u;
    if (fscanf(f, "%*d (%*[^)]) %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu %*d %*d %*d %*d %*d %*d %*u %*u %llu", &user, &sys, &rss) == 3) {
        u.cpu_s = (double)(user + sys) / (double)sysconf(_SC_CLK_TCK);
        u.rss_bytes = rss * (uint64_t)sysconf(_SC_PAGESIZE);
    }
    fclose(f);
    return u;
}
