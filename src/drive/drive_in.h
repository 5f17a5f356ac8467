/* drive, inside: MQTT devices on one event loop, HTTP requests side by side, latencies. SPDX-License-Identifier: Apache-2.0 */
#ifndef KITH_DRIVE_IN_H
#define KITH_DRIVE_IN_H

#include "base/base.h"
#include "io/io.h"
#include "wire/wire.h"

/* ---- latencies: 1/32 relative resolution, ns ---- */
struct spread {
    uint64_t counts[64 * 32], n, max;
};
void spread_add(struct spread *s, uint64_t ns);
double spread_us(const struct spread *s, double share); /* e.g. 0.99 */

/* ---- devices ---- */
enum device_state { DEVICE_NEW, DEVICE_CONNECTING, DEVICE_SUBSCRIBING, DEVICE_READY, DEVICE_GONE };
struct fleet;
struct device {
    struct fleet *fleet;
    int fd;
    uint8_t state;
    bool want_write, dirty, dup_seen;
    uint16_t next_packet, outstanding;
    struct buf in, out;
    size_t out_at;
    struct bytes client_id, username, password, filter; /* filter empty: does not subscribe */
    void *tag;
    struct device *next_dirty;
};
struct fleet {
    struct loop *loop;
    const char *address;
    const char *const *sources;
    size_t source_count;
    uint8_t version, qos;
    bool clean;
    struct device *devices;
    size_t count, ready, opening, next;
    struct device *dirty;
    uint64_t failed;
    void (*published)(struct device *d, const struct mqtt_packet *p);
    void (*acked)(struct device *d, uint16_t packet, uint8_t reason);
};
/* Connects and subscribes all devices, at most 60 handshakes at a time; false when one fails or 60 s pass. */
bool fleet_open(struct fleet *f);
void fleet_turn(struct fleet *f, int wait_ms);
void fleet_close(struct fleet *f);
uint16_t device_publish(struct device *d, struct bytes topic, struct bytes payload);
void device_flush(struct fleet *f); /* writes what is queued */

/* ---- HTTP: n requests over several connections, one under way on each ---- */
struct requests {
    const char *address, *key;
    size_t n;
    void *arg;
    void (*make)(void *arg, size_t i, struct buf *method_path, struct buf *body); /* "PUT /v1/..." */
    void (*done)(void *arg, size_t i, int status, struct bytes body);
};
bool requests_run(const struct requests *r);

struct usage_of {
    double cpu_s;
    uint64_t rss_bytes;
};
struct usage_of process_usage(long pid);

#endif
