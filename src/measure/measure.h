/* measure: what a thread counts and times: counters, a histogram for each stage of a record's way, and
 * a ring of events (event.h). Journeys are in journey.h.
 *
 * Invariants: one struct measure a thread, written by that thread only and read by any:
 * cells are relaxed atomics, so a reader sees each cell whole, and two cells perhaps a moment
 * apart. Memory is constant (about 1.2 MiB); recording never allocates, locks or fails.
 * Zero-initialised is valid.
 * Lifetimes: the caller owns the storage, and keeps it while anyone may read. Times are
 * nanoseconds; whose clock, the caller says.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef KITH_MEASURE_H
#define KITH_MEASURE_H

#include "base/base.h"
#include "measure/event.h"
#include "measure/journey.h"
#include "measure/ticker.h"

/* Name, and help for people. Rendered as kith_<name>_total. Names that begin with `limit_` count
 * how often a limit was hit; of those that begin with `notify_`, all but the triggers are rendered as
 * kith_notify_decisions_total{outcome="<rest of the name>"}. */
#define MEASURE_COUNTERS(X)                                                                        \
    X(connections_opened, "Connections accepted")                                                  \
    X(connections_closed, "Connections closed")                                                    \
    X(http_requests, "HTTP requests answered")                                                     \
    X(http_errors, "HTTP requests answered with a problem")                                        \
    X(mqtt_packets_in, "MQTT packets received")                                                    \
    X(messages_accepted, "Messages acknowledged to their senders")                                 \
    X(messages_refused, "Messages refused")                                                        \
    X(messages_delivered, "Messages written to devices and streams")                               \
    X(channel_messages_received, "Messages published to plain channels")                           \
    X(channel_messages_dropped,                                                                    \
        "Messages of plain channels dropped for readers that did not read")                        \
    X(relays_sent, "Relays sent to other partitions")                                              \
    X(relays_received, "Relays received from other partitions")                                    \
    X(relays_dropped_duplicate, "Relays dropped because they had been received before")            \
    X(relays_gap, "Gaps noticed between relays, each asked for again")                             \
    X(records_appended, "Records appended to the log")                                             \
    X(records_applied, "Records applied to the state")                                             \
    X(table_flushes, "Flushes of the tables")                                                      \
    X(bytes_in, "Bytes received")                                                                  \
    X(bytes_out, "Bytes sent")                                                                     \
    X(limit_log_queue, "Writes refused because the log's queue was full")                          \
    X(limit_memory,                                                                                \
        "Times that senders were held back until the tables had taken what was in memory")         \
    X(limit_disk_full, "Writes refused because the disk was full")                                 \
    X(limit_connection, "Connections refused at the limit of connections")                         \
    X(limit_output_buffer, "Connections held back or closed because they did not read")            \
    X(limit_rate, "Requests refused by a rate")                                                    \
    X(limit_slowed, "Times that a connection was not read for a while, as it sent too fast")       \
    X(limit_strangers,                                                                             \
        "Connections closed, answers refused, as those not known held too much memory")            \
    X(limit_shed, "Requests refused because of too much load")                                     \
    X(tls_handshakes, "TLS handshakes done")                                                       \
    X(tls_resumed, "TLS handshakes that took up an earlier session")                               \
    X(tls_failed, "TLS handshakes that failed")                                                    \
    X(websockets, "Connections upgraded to WebSocket")                                             \
    X(proxy_refused, "Connections closed for a wrong PROXY header")                                \
    X(limit_handshake, "TLS handshakes that gave way, at the limit of those under way")            \
    X(limit_request_size, "Requests refused because they were too large")                          \
    X(accepts_failed, "Connections that could not be taken, as descriptors or memory ran out")     \
    X(messages_failed, "Messages refused for the server's own sake: load, a full disk, its end")   \
    X(slow, "Requests and deliveries that took 20 ms and more")                                    \
    X(notify_triggers, "Triggers taken")                                                           \
    X(notify_recipients, "People that triggers were for")                                          \
    X(notify_delivered, "Notifications put into inboxes")                                          \
    X(notify_merged, "Notifications stored once for an audience, by member")                       \
    X(notify_grouped, "Notifications that joined a group")                                         \
    X(notify_collapsed, "Notifications that gave way to newer ones")                               \
    X(notify_digested, "Notifications that waited for a digest")                                   \
    X(notify_held, "Notifications that waited: quiet hours, a pause, a digest")                    \
    X(notify_unlikely, "Notifications that waited because they would hardly be opened")            \
    X(notify_opted_out, "Notifications that people had opted out of")                              \
    X(notify_capped, "Notifications beyond a cap")                                                 \
    X(notify_blocked, "Notifications of actors who are blocked")                                   \
    X(notify_muted, "Notifications of actors who are muted")                                       \
    X(notify_expired, "Notifications that expired before they could leave")                        \
    X(notify_cancelled, "Notifications taken back")                                                \
    X(notify_seen, "Notifications seen")                                                           \
    X(notify_read, "Notifications read")                                                           \
    X(notify_clicked, "Notifications clicked")                                                     \
    X(notify_archived, "Notifications archived")                                                   \
    X(notify_pushed, "Notifications that a push provider took")                                    \
    X(notify_mailed, "Notifications that a mail server took")                                      \
    X(notify_hooked, "Notifications that a webhook took")                                          \
    X(notify_failed, "Notifications whose sends were given up")                                    \
    X(notify_push_failed, "Pushes given up")                                                       \
    X(notify_mail_failed, "Mails given up")                                                        \
    X(notify_hook_failed, "Calls of webhooks given up")
enum measure_counter {
#define X(name, help) COUNTER_##name,
    MEASURE_COUNTERS(X)
#undef X
        COUNTER_COUNT
};

const char *measure_name(enum measure_counter c);
const char *measure_help(enum measure_counter c);

/* The stages of a record's way (measure/journey.h), and what they add up to. Rendered as
 * kith_stage_seconds{stage="<name>"}. */
#define MEASURE_STAGES(X)                                                                          \
    X(admit)     /* from the bytes' coming until the record was handed to the log */               \
    X(relay)     /* from a relay's making until its destination's log had it */                    \
    X(durable)   /* from there until it was durable */                                             \
    X(apply)     /* from there until it was applied */                                             \
    X(write)     /* from there until its turn's sockets were written */                            \
    X(accepted)  /* in all, of a record from outside: from its coming to its answer */             \
    X(delivered) /* in all, to connected devices: from the first record's coming */                \
    X(commit)    /* the log's write and sync of a batch; by the log's thread */                    \
    X(turn)      /* one turn of a shard, but for its waiting */
enum measure_stage {
#define X(name) TIMED_##name,
    MEASURE_STAGES(X)
#undef X
        TIMED_COUNT
};

/* ---- histogram: log-linear, after HdrHistogram. Values up to 32 have a bucket each; above, each
 * power of two is cut in 32, so a value is known to within 1/32 of itself. Buckets are open below
 * and closed above, as OpenMetrics' `le` is:
 *   bucket   0     1    ...   31        32        ...     63        64     ...
 *   values  0..1   2          32      (32, 33]          (63, 64]  (64, 66] */
#define HIST_SUB_BITS 5
#define HIST_BUCKETS ((64 - HIST_SUB_BITS + 1) << HIST_SUB_BITS)
struct hist {
    uint64_t buckets[HIST_BUCKETS];
    uint64_t max;
};

/* The single writer's addition: no lock prefix is needed. */
static inline void measure_bump(uint64_t *cell, uint64_t by) {
    __atomic_store_n(cell, __atomic_load_n(cell, __ATOMIC_RELAXED) + by, __ATOMIC_RELAXED);
}

static inline unsigned hist_bucket(uint64_t value) {
    uint64_t v = value - (value != 0); /* closes the bucket above */
    if (v < 1u << HIST_SUB_BITS) return (unsigned)v;
    unsigned shift = 63u - (unsigned)__builtin_clzll(v) - HIST_SUB_BITS;
    return (shift << HIST_SUB_BITS) + (unsigned)(v >> shift);
}
uint64_t hist_bucket_top(unsigned bucket); /* the largest value in it */

/* The value so many times. */
static inline void hist_record_times(struct hist *h, uint64_t value, uint64_t times) {
    measure_bump(&h->buckets[hist_bucket(value)], times);
    if (value > __atomic_load_n(&h->max, __ATOMIC_RELAXED))
        __atomic_store_n(&h->max, value, __ATOMIC_RELAXED);
}
static inline void hist_record(struct hist *h, uint64_t value) { hist_record_times(h, value, 1); }
/* `into` belongs to the caller; `from` may be written meanwhile */
void hist_merge(struct hist *into, const struct hist *from);
uint64_t hist_count(const struct hist *h);
/* Of the values, each taken for the middle of its bucket: at most 1/64 off (modulo 2^64). */
uint64_t hist_sum(const struct hist *h);
/* The value that `percent` (0 to 100) of those recorded do not exceed: never too low, at most 1/32
 * too high. 0 when there are none. */
uint64_t hist_percentile(const struct hist *h, double percent);

struct measure {
    uint64_t counters[COUNTER_COUNT];
    struct hist stages[TIMED_COUNT];
    struct events events;
};

static inline void measure_add(struct measure *m, enum measure_counter c, uint64_t by) {
    measure_bump(&m->counters[c], by);
}
/* For what another room counts already. */
static inline void measure_set(struct measure *m, enum measure_counter c, uint64_t value) {
    __atomic_store_n(&m->counters[c], value, __ATOMIC_RELAXED);
}
/* From any thread. */
static inline uint64_t measure_get(const struct measure *m, enum measure_counter c) {
    return __atomic_load_n(&m->counters[c], __ATOMIC_RELAXED);
}
static inline void measure_time(struct measure *m, enum measure_stage s, uint64_t duration_ns) {
    hist_record(&m->stages[s], duration_ns);
}

/* ---- text, as a scraper reads it. Two forms of the same: OpenMetrics 1.0, with exemplars, for who
 * asks for it; Prometheus' text format 0.0.4 for all others. Names come without `_total`: the form
 * puts it where it belongs. ---- */
enum metric_type { METRIC_GAUGE, METRIC_COUNTER, METRIC_INFO, METRIC_HISTOGRAM };
struct metrics {
    struct buf *out;
    bool open;                 /* OpenMetrics */
    int64_t wall_less_mono_ns; /* makes a time of CLOCK_MONOTONIC one of Unix: for exemplars */
    const char *name;
    enum metric_type type;
};
/* Begins a family: its samples follow, before the next one begins. A name that ends in a unit is
 * said to be of it. `name` and `help` (without a full stop) are borrowed until then. */
void metrics_family(struct metrics *t, enum metric_type type, const char *name, const char *help);
/* A sample of the family that was begun. `labels` as they are written, or NULL: `owner="cells"`. */
void metrics_value(struct metrics *t, const char *labels, uint64_t value);
void metrics_ns(struct metrics *t, const char *labels, uint64_t ns); /* in seconds */
/* Of a histogram that may be written meanwhile, of nanoseconds, in seconds; nothing when it is empty. */
void metrics_hist(struct metrics *t, const char *labels, const struct hist *h);
/* A family with one sample. */
void metrics_gauge(struct metrics *t, const char *name, const char *help, uint64_t value);
/* How many there were of each kind, in all rings. */
void metrics_events(struct metrics *t, const struct events *const *rings, size_t n);
/* Counters are the sum of all threads; a histogram for each stage and thread, as far as
 * anything was timed: at most METRICS_SERIES series for each stage of a thread. In OpenMetrics a
 * bucket has a journey that is kept as its exemplar, named by its trace only. */
enum { METRICS_SERIES = 20 };
struct metrics_of {
    const char *name; /* label `shard` */
    const struct measure *measure;
    const struct journeys *journeys; /* NULL: no exemplars */
};
void metrics_measures(struct metrics *t, const struct metrics_of *of, size_t n);
void metrics_end(struct metrics *t);

#endif
