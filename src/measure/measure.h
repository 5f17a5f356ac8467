/* measure: what a shard counts. One writer each; readers add the shards up. SPDX-License-Identifier: Apache-2.0 */
#ifndef KITH_MEASURE_H
#define KITH_MEASURE_H

#include "base/base.h"

#define MEASURE_COUNTERS(X)                                                                        \
    X(connections_opened, "Connections accepted")                                                  \
    X(connections_closed, "Connections closed")                                                    \
    X(http_requests, "HTTP requests answered")                                                     \
    X(http_errors, "HTTP requests answered with a problem")                                        \
    X(mqtt_packets_in, "MQTT packets received")                                                    \
    X(messages_accepted, "Messages acknowledged to their senders")                                 \
    X(messages_refused, "Messages refused")                                                        \
    X(bytes_in, "Bytes received")                                                                  \
    X(bytes_out, "Bytes sent")                                                                     \
    X(limit_log_queue, "Writes refused because the log's queue was full")                          \
    X(limit_disk_full, "Writes refused because the disk was full")                                 \
    X(limit_connection, "Connections refused at the limit of connections")                         \
    X(limit_rate, "Requests refused by a rate")
enum measure_counter {
#define X(name, help) COUNTER_##name,
    MEASURE_COUNTERS(X)
#undef X
        COUNTER_COUNT
};
struct measure {
    uint64_t counters[COUNTER_COUNT];
};
/* OpenMetrics 1.0 text of the sum, without the final "# EOF". */
void measure_text(const struct measure *const *shards, size_t n, struct buf *out);
void measure_gauge(struct buf *out, const char *name, const char *help, uint64_t value);

#endif
