/* drive: devices that speak MQTT on one event loop. Sleeps by a timer descriptor, exact to some
 * microseconds, so that pacing burns no core that the server may need. What messages mean is not
 * here. SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "drive/drive_in.h"

#define HANDSHAKES 60 /* at a time: a common listen backlog is 100 */
#define OPEN_QUIET_NS (20 * SECOND_NS)
#define RETRY_NS (200 * MILLI_NS)
#define KEEP_ALIVE_S 60
#define PING_NS (20 * SECOND_NS)
#define RECEIVE_MAXIMUM 1000 /* offered to the server */
#define EVENTS_MAX 512

bool reason_is_temporary(uint8_t reason) {
    /* unavailable, busy, shutting down, quota; 3.1.1: unavailable */
    return reason == 0x88 || reason == 0x89 || reason == 0x8b || reason == 0x97 || reason == 3;
}

static void want(struct device *d, bool write) {
    if (d->want_write == write) return;
    d->want_write = write;
    loop_change(d->fleet->loop, d->fd, LOOP_READ | (write ? LOOP_WRITE : 0u), d);
}

static void device_drop(struct device *d, bool for_good) {
    struct fleet *f = d->fleet;
    if (d->state >= DEVICE_GONE || d->state == DEVICE_NEW) return;
    if (d->state == DEVICE_READY) {
        f->ready--;
        f->lost_connections++;
    } else {
        f->opening--;
    }
    d->state = for_good ? DEVICE_REFUSED : DEVICE_GONE;
    if (for_good) f->refused++;
    else f->gone++;
    if (d->fd >= 0) {
        loop_remove(f->loop, d->fd);
        close(d->fd);
    }
    d->fd = -1;
    d->want_write = false;
    d->out_at = 0;
    buf_reset(&d->in);
    buf_reset(&d->out);
    web_done(&d->web);
}

void device_refused(struct device *d, uint8_t reason, struct bytes words) {
    d->fleet->refusal = reason;
    snprintf(d->fleet->refusal_words, sizeof d->fleet->refusal_words, "%.*s", (int)words.n,
        words.n ? (const char *)words.p : "");
    device_drop(d, !reason_is_temporary(reason));
}

/* How much of its output may be written now. */
static size_t writable(struct device *d) {
    if (!d->fleet->websocket) return d->out.n;
    if (d->web.open) web_frame(&d->web, &d->out);
    return d->web.framed;
}

static void device_write(struct device *d) {
    size_t end = writable(d);
    while (d->state < DEVICE_GONE && d->fd >= 0 && d->out_at < end) {
        size_t n;
        enum err e = sock_write(d->fd, d->out.p + d->out_at, end - d->out_at, &n);
        if (e == AGAIN) break;
        if (e != OK) return device_drop(d, false);
        d->out_at += n;
    }
    if (d->out_at == d->out.n) {
        buf_reset(&d->out);
        d->out_at = d->web.framed = end = 0;
    }
    if (d->state < DEVICE_GONE) want(d, d->out_at < end);
}

void device_dirty(struct device *d) {
    if (d->dirty) return;
    d->dirty = true;
    d->next_dirty = d->fleet->dirty;
    d->fleet->dirty = d;
}

void fleet_flush(struct fleet *f) {
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
    mqtt_encode_publish(
        &d->out, d->fleet->version, topic, payload, d->fleet->qos, false, false, packet, NULL);
    device_dirty(d);
    return packet;
}

void device_resend(struct device *d, uint16_t packet, struct bytes topic, struct bytes payload) {
    mqtt_encode_publish(
        &d->out, d->fleet->version, topic, payload, d->fleet->qos, true, false, packet, NULL);
    device_dirty(d);
}

/* ---- handshakes ---- */
static void device_start(struct fleet *f, struct device *d) {
    size_t i = (size_t)(d - f->devices);
    const char *from = f->source_count ? f->sources[i % f->source_count] : NULL;
    d->fleet = f;
    d->state = DEVICE_CONNECTING;
    d->started_ns = clock_mono_ns();
    f->opening++;
    if (sock_connect(f->address, from, &d->fd) != OK ||
        loop_add(f->loop, d->fd, LOOP_READ, d) != OK)
        return device_drop(d, false);
    if (f->socketio) socketio_ask(d);
    if (f->websocket) web_ask(&d->web, &d->out, f->address);
    if (!f->socketio)
        mqtt_encode_connect(&d->out, f->version, f->clean, KEEP_ALIVE_S, d->client_id, d->username,
            d->password, f->clean ? 0 : f->expiry_s, RECEIVE_MAXIMUM);
    want(d, true);
}

void device_ready(struct device *d, bool present) {
    struct fleet *f = d->fleet;
    d->state = DEVICE_READY;
    f->ready++;
    f->opening--;
    if (f->handshakes) hist_record(f->handshakes, (uint64_t)(clock_mono_ns() - d->started_ns));
    if (d->was_ready && f->ready_again) f->ready_again(d, present);
    d->was_ready = true;
}

static void connack_take(struct device *d, const struct mqtt_packet *p) {
    struct fleet *f = d->fleet;
    if (p->reason) return device_refused(d, p->reason, p->properties.reason_string);
    if (p->properties.has_receive_maximum) f->receive_maximum = p->properties.receive_maximum;
    if (!d->filter.n || p->session_present) return device_ready(d, p->session_present);
    d->state = DEVICE_SUBSCRIBING;
    mqtt_encode_subscribe(&d->out, f->version, 1, d->filter, f->qos);
    device_dirty(d);
}

static void answer(struct device *d, uint8_t type, const struct mqtt_packet *p) {
    mqtt_encode_ack(&d->out, d->fleet->version, type, p->packet_id, 0, NULL);
    device_dirty(d);
}

static void acked(struct device *d, const struct mqtt_packet *p) {
    if (d->outstanding) d->outstanding--;
    if (d->fleet->acked) d->fleet->acked(d, p->packet_id, p->reason);
}

static void packet_take(struct device *d, const struct mqtt_packet *p) {
    struct fleet *f = d->fleet;
    switch (p->type) {
    case MQTT_CONNACK: connack_take(d, p); return;
    case MQTT_SUBACK:
        if (p->codes.n != 1 || p->codes.p[0] >= 0x80)
            return device_refused(
                d, p->codes.n ? p->codes.p[0] : 0x80, BYTES("SUBSCRIBE was refused"));
        if (d->state == DEVICE_SUBSCRIBING) device_ready(d, false);
        return;
    case MQTT_PUBLISH:
        if (p->qos && !f->withholds) answer(d, p->qos == 1 ? MQTT_PUBACK : MQTT_PUBREC, p);
        if (f->published) f->published(d, p);
        return;
    case MQTT_PUBREC:
        if (p->reason < 0x80) return answer(d, MQTT_PUBREL, p);
        return acked(d, p);
    case MQTT_PUBREL: answer(d, MQTT_PUBCOMP, p); return;
    case MQTT_PUBACK:
    case MQTT_PUBCOMP: acked(d, p); return;
    case MQTT_DISCONNECT: device_refused(d, p->reason, p->properties.reason_string); return;
    default: return;
    }
}

static enum err packets_take(struct device *d, struct bytes in, size_t *at) {
    static struct mqtt_packet p;
    size_t used;
    uint8_t reason;
    enum err e = OK;
    while (d->state < DEVICE_GONE && (e = mqtt_decode(bytes_of(in.p + *at, in.n - *at),
                                          d->fleet->version, 1 << 20, &p, &used, &reason)) == OK) {
        *at += used;
        packet_take(d, &p);
    }
    return e;
}

static void device_read(struct device *d) {
    static uint8_t chunk[64 * 1024];
    size_t n, at = 0;
    enum err e = sock_read(d->fd, chunk, sizeof chunk, &n);
    if (e == AGAIN) return;
    if (e != OK) return device_drop(d, false);
    /* Most reads hold whole packets: they are decoded where they lie. */
    struct bytes in = bytes_of(chunk, n);
    if (d->fleet->websocket) {
        if (web_take(&d->web, in, &d->in) != OK) return device_drop(d, false);
        device_dirty(d); /* what waited for the upgrade */
        in = buf_view(&d->in);
    } else if (d->in.n) {
        buf_add(&d->in, chunk, n);
        in = buf_view(&d->in);
    }
    e = d->fleet->socketio ? socketio_take(d, in, &at) : packets_take(d, in, &at);
    if (d->state >= DEVICE_GONE) return;
    if (e != AGAIN) return device_drop(d, false);
    if (d->in.n) buf_cut(&d->in, at);
    else if (at < in.n) buf_add(&d->in, in.p + at, in.n - at);
}

/* ---- the turn ---- */
static size_t handshakes_max(const struct fleet *f) {
    return f->handshakes_max ? f->handshakes_max : HANDSHAKES;
}

static void devices_start(struct fleet *f) {
    for (; f->next < f->count && f->opening < handshakes_max(f); f->next++)
        if (f->devices[f->next].state == DEVICE_NEW) device_start(f, &f->devices[f->next]);
}

static void devices_restart(struct fleet *f, int64_t now) {
    f->retry_ns = now + RETRY_NS;
    for (size_t i = 0; i < f->count && f->gone && f->opening < handshakes_max(f); i++) {
        if (f->devices[i].state != DEVICE_GONE) continue;
        f->gone--;
        f->devices[i].state = DEVICE_NEW;
        device_start(f, &f->devices[i]);
        if (f->devices[i].state == DEVICE_GONE) break; /* nobody listens: later */
    }
}

/* A device that only reads would be taken for dead after one and a half times its keep-alive. */
static void devices_ping(struct fleet *f, int64_t now) {
    if (f->socketio || (f->ping_ns && now < f->ping_ns)) return; /* there the server asks */
    for (size_t i = 0; f->ping_ns && i < f->count; i++) {
        if (f->devices[i].state != DEVICE_READY) continue;
        mqtt_encode_simple(&f->devices[i].out, MQTT_PINGREQ);
        device_dirty(&f->devices[i]);
    }
    f->ping_ns = now + PING_NS;
}

static bool is_device(const struct fleet *f, const void *tag) {
    return (uintptr_t)tag - (uintptr_t)f->devices < f->count * sizeof *f->devices;
}

/* The readiness of the timer ends when it is set anew, so it is never read. */
static int wait_ms(struct fleet *f, int64_t until_ns, int64_t now) {
    if (until_ns <= now) return 0;
    struct itimerspec t = {
        .it_value = {.tv_sec = until_ns / SECOND_NS, .tv_nsec = until_ns % SECOND_NS}};
    check(timerfd_settime(f->timer_fd, TFD_TIMER_ABSTIME, &t, NULL) == 0);
    return -1;
}

void fleet_turn(struct fleet *f, int64_t until_ns) {
    struct loop_event events[EVENTS_MAX];
    int64_t now = clock_mono_ns();
    if (f->reconnects && f->gone && now >= f->retry_ns) devices_restart(f, now);
    if (f->gone && f->reconnects && until_ns > f->retry_ns) until_ns = f->retry_ns;
    devices_ping(f, now);
    fleet_flush(f);
    size_t n = loop_wait(f->loop, wait_ms(f, until_ns, now), events, EVENTS_MAX);
    for (size_t i = 0; i < n; i++) {
        struct device *d = events[i].tag;
        if (!is_device(f, d)) {
            if ((void *)d != f && f->other) f->other(d, events[i].what);
            continue;
        }
        if (d->state >= DEVICE_GONE) continue;
        if (events[i].what & LOOP_WRITE) device_write(d);
        if (d->state < DEVICE_GONE && (events[i].what & (LOOP_READ | LOOP_HANGUP))) device_read(d);
    }
    fleet_flush(f);
}

bool fleet_open(struct fleet *f) {
    if (!f->loop) {
        f->loop = loop_create();
        f->timer_fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
        check(f->timer_fd >= 0 && loop_add(f->loop, f->timer_fd, LOOP_READ, f) == OK);
        f->receive_maximum = 65535;
    }
    f->next = 0;
    size_t ready = 0;
    for (int64_t quiet = clock_mono_ns();
         f->ready < f->count && clock_mono_ns() - quiet < OPEN_QUIET_NS;) {
        devices_start(f);
        fleet_turn(f, clock_mono_ns() + 10 * MILLI_NS);
        if (f->refused || (f->gone && !f->reconnects)) return false;
        if (f->ready != ready) quiet = clock_mono_ns();
        ready = f->ready;
    }
    return f->ready == f->count;
}

void fleet_part(struct fleet *f, size_t from, size_t to) {
    if (f->loop) fleet_flush(f);
    for (size_t i = from; i < to; i++) {
        struct device *d = &f->devices[i];
        if (d->state == DEVICE_READY && !f->socketio) {
            mqtt_encode_disconnect(&d->out, f->version, 0, NULL, NULL);
            device_write(d);
        }
        if (d->state == DEVICE_READY) f->ready--;
        else if (d->state == DEVICE_CONNECTING || d->state == DEVICE_SUBSCRIBING) f->opening--;
        else if (d->state == DEVICE_GONE) f->gone--;
        else if (d->state == DEVICE_REFUSED) f->refused--;
        if (d->state > DEVICE_NEW && d->state < DEVICE_GONE) {
            loop_remove(f->loop, d->fd);
            close(d->fd);
        }
        d->fd = -1;
        d->state = DEVICE_NEW;
        d->want_write = false;
        d->outstanding = 0;
        d->out_at = 0;
        buf_done(&d->in);
        buf_done(&d->out);
        web_done(&d->web);
    }
}

void fleet_close(struct fleet *f) {
    if (!f->loop) return;
    fleet_part(f, 0, f->count);
    close(f->timer_fd);
    loop_free(&f->loop);
}

void fleet_why(const struct fleet *f, struct buf *out) {
    buf_fmt(out, "%zu of %zu devices are connected to %s", f->ready, f->count, f->address);
    if (f->refusal)
        buf_fmt(out, "; the last refusal was reason 0x%02x %s", f->refusal, f->refusal_words);
    else if (f->gone) buf_fmt(out, "; connections fail or are closed");
}
