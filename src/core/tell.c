/* core: what is worth a line while a server runs: where it serves, that it has recovered, drains;
 * that the disk is full and is not any more; which limits are hit, who cannot be let in, what was
 * slow.
 * Keeps: whatever comes often is told at most once in LIMIT_TELL_MS, with how often it came; shard 0
 * tells for all, from what each has counted, so that nothing on a message's way writes a line.
 * SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "core/core.h"
#include "doctor/doctor.h"

enum { LIMIT_TELL_MS = 10000 };

void tell_serving(const struct server *v) {
    static const char *const NAMES[DOORS] = {"http", "mqtt", "https", "mqtts", "console"};
    struct trace_field doors[DOORS] = {0};
    for (int i = 0; i < DOORS; i++)
        if (v->doors[i].port) doors[i] = TRACE_NUMBER(NAMES[i], v->doors[i].port);
    trace(TRACE_INFO, "serving", doors[0], doors[1], doors[2], doors[3], doors[4],
        TRACE_TEXT("data", bytes_str(v->dir)), TRACE_TEXT("version", bytes_str(v->o.version)),
        TRACE_NUMBER("shards", v->shards), TRACE_NUMBER("partitions", v->partitions));
}

void tell_recovered(const struct server *v) {
    uint64_t records = 0;
    for (unsigned i = 0; i < v->shards; i++)
        records += measure_get(&v->shard[i].measure, COUNTER_records_applied);
    trace(TRACE_INFO, "recovered: connections are taken",
        TRACE_NUMBER("ms", clock_mono_ns() / 1000000 - v->opened_mono_ms),
        TRACE_NUMBER("records", records));
}

void tell_draining(const struct shard *s) {
    uint64_t open = 0;
    for (unsigned i = 0; i < s->server->shards; i++) open += s->server->shard[i].gauges.connections;
    if (s->index == 0)
        trace(TRACE_INFO, "draining: no connection is taken, what is under way is answered",
            TRACE_NUMBER("connections", open));
}

static void disk_tell(struct server *v) {
    bool full = disk_is_full(v);
    if (full == v->told.disk_full) return;
    v->told.disk_full = full;
    int64_t now_ms = clock_mono_ns() / 1000000;
    if (full) {
        v->told.disk_full_ms = now_ms;
        trace(TRACE_ERROR, "the disk is full: writes are refused, reads go on",
            TRACE_TEXT("data", bytes_str(v->dir)));
    } else {
        trace(TRACE_INFO, "the disk has room again: writes are taken",
            TRACE_NUMBER("after_ms", now_ms - v->told.disk_full_ms));
    }
}

/* Counters that say that something was refused, held back or lost. */
static bool is_told(enum measure_counter c) {
    return strncmp(measure_name(c), "limit_", 6) == 0 || c == COUNTER_accepts_failed;
}

static void counters_tell(struct server *v, int64_t now_ms) {
    for (int c = 0; c < COUNTER_COUNT; c++) {
        uint64_t sum = 0;
        if (!is_told((enum measure_counter)c)) continue;
        for (unsigned i = 0; i < v->shards; i++)
            sum += measure_get(&v->shard[i].measure, (enum measure_counter)c);
        uint64_t times = sum - v->told.counted[c];
        if (!times || (v->told.counted_ms[c] && now_ms - v->told.counted_ms[c] < LIMIT_TELL_MS))
            continue;
        v->told.counted[c] = sum;
        v->told.counted_ms[c] = now_ms;
        trace(TRACE_WARNING, measure_help((enum measure_counter)c),
            TRACE_TEXT("counter", bytes_str(measure_name((enum measure_counter)c))),
            TRACE_NUMBER("times", times));
    }
}

void tell_slow(const struct doctor_told *told) {
    enum { WORTH_MS = 100 };
    if (told->took_ns < WORTH_MS * 1000000ll) return;
    trace(TRACE_WARNING, "slow", TRACE_TEXT("what", bytes_str(told->what)),
        TRACE_TEXT("path", bytes_str(told->path)), TRACE_NUMBER("took_ms", told->took_ns / 1000000),
        TRACE_TEXT("cause", bytes_str(told->cause)), TRACE_TEXT("words", bytes_str(told->words)),
        TRACE_TEXT("trace", bytes_str(told->trace)), TRACE_NUMBER("slow_ones", told->count));
}

void tell_turn(struct shard *s) {
    if (s->index != 0) return;
    disk_tell(s->server);
    counters_tell(s->server, s->mono_ms);
}
