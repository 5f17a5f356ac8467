/* core: what rooms count themselves, put where everybody reads it, and figures of the whole server.
 * SPDX-License-Identifier: Apache-2.0 */
#include "content/content.h"
#include "core/core.h"

#define MEMORY_DEFAULT (512ull << 20)

uint64_t server_memory(const struct server *v) {
    return v->o.memory_bytes ? v->o.memory_bytes : MEMORY_DEFAULT;
}

bool disk_is_full(const struct server *v) {
    enum { LARGE_RECORD = 128 << 10 };
    return atomic_load(&v->tables.disk_full) || v->log->calls->room(v->log) < LARGE_RECORD;
}

static void tallies_take(struct shard *s, const uint64_t *tallies) {
#define X(name) measure_set(&s->measure, COUNTER_notify_##name, tallies[CONTENT_TALLY_##name]);
    CONTENT_TALLIES(X)
#undef X
}

void counts_take(struct shard *s) {
    const struct engine_counts *e = engine_counts(s->engine);
    struct deliver_counts counts;
    uint64_t sessions = deliver_count(s->deliver, &counts);
    s->gauges.connections = s->conn_open;
    s->gauges.sessions = sessions;
    s->gauges.delivered = counts.delivered;
    s->gauges.requests = s->jobs_out;
    s->gauges.relays = engine_outbox_count(s->engine);
    measure_set(&s->measure, COUNTER_relays_sent, e->relays_sent);
    measure_set(&s->measure, COUNTER_relays_received, e->relays_received);
    measure_set(&s->measure, COUNTER_relays_dropped_duplicate, e->relays_duplicate);
    measure_set(&s->measure, COUNTER_relays_gap, e->relays_gap);
    measure_set(&s->measure, COUNTER_records_appended, e->records_appended);
    measure_set(&s->measure, COUNTER_records_applied, e->records_applied);
    measure_set(&s->measure, COUNTER_table_flushes, e->flushes);
    tallies_take(s, e->tallies);
    measure_set(&s->measure, COUNTER_messages_delivered, counts.delivered);
    measure_set(&s->measure, COUNTER_channel_messages_dropped, counts.dropped);
}
