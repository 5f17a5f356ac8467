/* export: a journey as spans of OTLP's JSON form (opentelemetry-proto, trace.proto; ids in hex, 64-bit
 * numbers as strings). A record's span id follows from its place in the log, so that a relay finds
 * its parent without anybody keeping it.
 * Attributes are named after OpenTelemetry's semantic conventions for messaging where those have a
 * name, else `kith.`; there are few, and each is bounded.
 * SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <string.h>

#include "export/export_in.h"
#include "wire/wire.h"

enum kind { INTERNAL = 1, SERVER = 2 };
enum { EVENTS_MOST = 16, DEVICES_MOST = 16 };

static void text_attribute(struct json_out *o, const char *key, struct bytes value) {
    jo_open_obj(o);
    jo_key(o, "key");
    jo_str(o, bytes_str(key));
    jo_key(o, "value");
    jo_open_obj(o);
    jo_key(o, "stringValue");
    jo_str_any(o, value);
    jo_close_obj(o);
    jo_close_obj(o);
}

static void number_attribute(struct json_out *o, const char *key, int64_t value) {
    char digits[24];
    snprintf(digits, sizeof digits, "%lld", (long long)value);
    jo_open_obj(o);
    jo_key(o, "key");
    jo_str(o, bytes_str(key));
    jo_key(o, "value");
    jo_open_obj(o);
    jo_key(o, "intValue");
    jo_str(o, bytes_str(digits));
    jo_close_obj(o);
    jo_close_obj(o);
}

static void time_of(
    struct json_out *o, const char *key, const struct spans_about *about, int64_t mono_ns) {
    char digits[24];
    snprintf(digits, sizeof digits, "%lld", (long long)(mono_ns + about->wall_less_mono_ns));
    jo_key(o, key);
    jo_str(o, bytes_str(digits));
}

static void id_of(struct json_out *o, const char *key, uint64_t id) {
    char hex[17];
    snprintf(hex, sizeof hex, "%016llx", (unsigned long long)(id ? id : 1));
    jo_key(o, key);
    jo_str(o, bytes_str(hex));
}

static uint64_t record_id(uint16_t partition, uint64_t position) {
    uint64_t place[2] = {partition, position};
    return hash64(bytes_of((const uint8_t *)place, sizeof place));
}

/* Of what is no record: when and where it came. */
static uint64_t span_id(const struct journey *j) {
    uint64_t when[3] = {(uint64_t)j->came_ns, j->shard, j->what};
    return j->what == JOURNEY_RECORD ? record_id(j->partition, j->position)
                                     : hash64(bytes_of((const uint8_t *)when, sizeof when));
}

static uint64_t part_id(uint64_t of, unsigned part) {
    uint64_t both[2] = {of, part};
    return hash64(bytes_of((const uint8_t *)both, sizeof both));
}

/* ---- one span ---- */
struct span_head {
    const char *name;
    uint64_t id, parent; /* parent 0: none */
    enum kind kind;
    int64_t from_ns, to_ns;
};

static void span_begin(struct spans *s, struct json_out *o, const struct spans_about *about,
    const struct journey *j, const struct span_head *h) {
    char trace[33];
    journey_trace_id(j, trace);
    jo_open_obj(o);
    jo_key(o, "traceId");
    jo_str(o, bytes_str(trace));
    id_of(o, "spanId", h->id);
    if (h->parent) id_of(o, "parentSpanId", h->parent);
    jo_key(o, "name");
    jo_str(o, bytes_str(h->name));
    jo_key(o, "kind");
    jo_i64(o, h->kind);
    time_of(o, "startTimeUnixNano", about, h->from_ns);
    time_of(o, "endTimeUnixNano", about, h->to_ns < h->from_ns ? h->from_ns : h->to_ns);
    s->count++;
}

/* A stage: from one time to another, both of which must be there. */
static void stage(struct spans *s, struct json_out *o, const struct spans_about *about,
    const struct journey *j, unsigned part, const char *name, int64_t from_ns, int64_t to_ns) {
    uint64_t of = span_id(j);
    if (!from_ns || !to_ns) return;
    span_begin(
        s, o, about, j, &(struct span_head){name, part_id(of, part), of, INTERNAL, from_ns, to_ns});
    jo_close_obj(o);
}

static int64_t end_of(const struct journey *j) {
    const int64_t times[] = {
        j->came_ns, j->appended_ns, j->durable_ns, j->applied_ns, j->written_ns};
    int64_t last = 0;
    for (size_t i = 0; i < sizeof times / sizeof *times; i++)
        if (times[i] > last) last = times[i];
    return last;
}

static const char *name_of(const struct journey *j) {
    static const char *const NAMES[] = {"record", "request", "connect", "device"};
    if (j->what == JOURNEY_RECORD && j->source != UINT16_MAX) return "relay";
    return j->what < sizeof NAMES / sizeof *NAMES ? NAMES[j->what] : "unknown";
}

static void attributes(struct json_out *o, const struct journey *j) {
    bool record = j->what == JOURNEY_RECORD, relay = record && j->source != UINT16_MAX;
    jo_key(o, "attributes");
    jo_open_arr(o);
    if (record) {
        text_attribute(o, "messaging.system", BYTES("kith"));
        text_attribute(o, "messaging.operation.name", bytes_str(relay ? "relay" : "publish"));
        text_attribute(o, "messaging.operation.type", bytes_str(relay ? "process" : "send"));
        if (j->conversation[0])
            text_attribute(o, "messaging.destination.name", bytes_str(j->conversation));
        if (j->item[0]) text_attribute(o, "messaging.message.id", bytes_str(j->item));
        char partition[8];
        snprintf(partition, sizeof partition, "%u", j->partition);
        text_attribute(o, "messaging.destination.partition.id", bytes_str(partition));
        number_attribute(o, "kith.position", (int64_t)j->position);
        number_attribute(o, "kith.record.kind", j->kind);
        number_attribute(o, "kith.devices", j->devices);
        number_attribute(o, "kith.waiting", j->waiting);
    } else if (j->what == JOURNEY_REQUEST) {
        text_attribute(o, "http.route", bytes_str(j->item));
    } else {
        text_attribute(o, "enduser.id", bytes_str(j->conversation));
        text_attribute(o, "kith.device", bytes_str(j->item));
    }
    text_attribute(o, "kith.app", bytes_str(j->app));
    number_attribute(o, "kith.shard", j->shard);
    text_attribute(o, "kith.kept", bytes_str(j->slow ? "slow" : "sample"));
    jo_close_arr(o);
}

/* What took long meanwhile: of whom it was is left out, as it may be another app's. */
static void event_add_to(
    struct json_out *o, const struct spans_about *about, const struct event *e) {
    jo_open_obj(o);
    time_of(o, "timeUnixNano", about, e->start_ns);
    jo_key(o, "name");
    jo_str(o, bytes_str(event_name((enum event_kind)e->kind)));
    jo_key(o, "attributes");
    jo_open_arr(o);
    number_attribute(o, "kith.duration_us", e->duration_ns / 1000);
    number_attribute(o, "kith.thread", e->thread);
    jo_close_arr(o);
    jo_close_obj(o);
}

static void device_add_to(struct json_out *o, const struct spans_about *about, const char *name,
    int64_t at_ns, const struct journey_device *d) {
    if (!at_ns) return;
    jo_open_obj(o);
    time_of(o, "timeUnixNano", about, at_ns);
    jo_key(o, "name");
    jo_str(o, bytes_str(name));
    jo_key(o, "attributes");
    jo_open_arr(o);
    text_attribute(o, "enduser.id", bytes_str(d->user));
    text_attribute(o, "kith.device", bytes_str(d->device));
    jo_close_arr(o);
    jo_close_obj(o);
}

/* ---- a request ---- */
void spans_begin(struct spans *s, const struct spans_about *about) {
    struct json_out o = {&s->body, false};
    buf_reset(&s->body);
    s->count = 0;
    s->ended = false;
    buf_str(&s->body, "{\"resourceSpans\":[{\"resource\":{\"attributes\":[");
    text_attribute(&o, "service.name", BYTES("kith"));
    text_attribute(&o, "service.version", bytes_str(about->version));
    text_attribute(&o, "service.instance.id", bytes_str(about->instance));
    buf_str(&s->body, "]},\"scopeSpans\":[{\"scope\":{\"name\":\"kith\",\"version\":");
    json_str(&s->body, bytes_str(about->version));
    buf_str(&s->body, "},\"spans\":[");
}

void spans_add(struct spans *s, const struct spans_about *about, const struct journey *j,
    const struct journey_device *devices, size_t device_count, const struct event *events,
    size_t event_count) {
    struct json_out o = {&s->body, s->count != 0};
    bool relay = j->what == JOURNEY_RECORD && j->source != UINT16_MAX;
    struct span_head h = {name_of(j), span_id(j),
        relay ? record_id(j->source, j->source_position) : 0, relay ? INTERNAL : SERVER, j->came_ns,
        end_of(j)};
    span_begin(s, &o, about, j, &h);
    attributes(&o, j);
    jo_key(&o, "events");
    jo_open_arr(&o);
    for (size_t i = 0; i < event_count && i < EVENTS_MOST; i++) event_add_to(&o, about, &events[i]);
    for (size_t i = 0; i < device_count && i < DEVICES_MOST; i++) {
        device_add_to(&o, about, "written to device", devices[i].written_ns, &devices[i]);
        device_add_to(&o, about, "acknowledged by device", devices[i].acked_ns, &devices[i]);
    }
    jo_close_arr(&o);
    jo_close_obj(&o);
    if (j->what != JOURNEY_RECORD) return;
    stage(s, &o, about, j, 1, "admit", j->came_ns, j->appended_ns);
    stage(s, &o, about, j, 2, "durable", j->appended_ns, j->durable_ns);
    stage(s, &o, about, j, 3, "apply", j->durable_ns, j->applied_ns);
    stage(s, &o, about, j, 4, "write", j->applied_ns, j->written_ns);
}

void spans_end(struct spans *s) {
    if (!s->ended) buf_str(&s->body, "]}]}]}");
    s->ended = true;
}
