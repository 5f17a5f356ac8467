/* watch: one thread that looks at all the others: what held them up, and how all went over the last
 * hour.
 *
 *   every 20 ms   each thread's CPU and run-queue delay ─▶ events (measure/event.h)
 *   every second  measures, gauges, threads             ─▶ a point of each column of the history
 *
 * Invariants: memory is constant. Only its thread writes; any thread reads, and waits for nothing.
 * It takes well under 1 % of a core (watch_cpu_ns says how much), and nothing of those it looks at
 * but what they count anyway.
 * Lifetimes: what the options point to is the caller's until watch_free.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef KITH_WATCH_H
#define KITH_WATCH_H

#include "base/base.h"
#include "measure/measure.h"

enum { WATCH_POINTS = 3600 }; /* kept, of a second each */

/* What the caller knows of the whole server: name of the column, in how much of the gauge's unit
 * the column counts, and words. Gauges of memory and disk are bytes. */
#define WATCH_GAUGES(X)                                                                            \
    X(connections, 1, "connections open")                                                          \
    X(sessions, 1, "devices and streams connected")                                                \
    X(log_queue_kib, 1024, "bytes that wait for the log")                                          \
    X(log_lag, 1, "records appended and not durable, in the partition with most")                  \
    X(apply_lag, 1, "records durable and not applied, in the partition with most")                 \
    X(log_waiting, 1, "records appended and not durable, in all partitions")                       \
    X(apply_waiting, 1, "records durable and not applied, in all partitions")                      \
    X(relays_waiting, 1, "relays that their destination has not acknowledged")                     \
    X(jobs_waiting, 1, "jobs and notes on their way between shards")                               \
    X(output_kib, 1024, "bytes written for connections that have not taken them")                  \
    X(dirty_kib, 1024, "bytes of state that the tables do not hold yet")                           \
    X(disk_free_mib, 1048576, "bytes free where the data lies")                                    \
    X(log_kib, 1024, "bytes of the log on disk")                                                   \
    X(tables_kib, 1024, "bytes of the tables on disk")                                             \
    X(resident_kib, 1024, "resident memory of the process")                                        \
    X(allocated_kib, 1024, "memory allocated")                                                     \
    X(cells_kib, 1024, "memory of state")                                                          \
    X(buffers_kib, 1024, "memory of connections and their buffers")                                \
    X(store_kib, 1024, "memory of RocksDB: block cache and memtables")
enum watch_gauge {
#define X(name, unit, help) GAUGE_##name,
    WATCH_GAUGES(X)
#undef X
        WATCH_GAUGE_COUNT
};

struct watch_thread {
    char name[20];
    uint32_t number;        /* as in events: a shard's own, or THREAD_* */
    const _Atomic int *tid; /* of gettid(); 0: it does not run yet */
    /* odd while it works, and another number each time; NULL: not known. Asked only where the kernel
     * does not tell how long a thread waited for a core */
    const _Atomic uint32_t *turns;
};
struct watch_options {
    const struct measure *const *measures; /* one a thread */
    unsigned measure_count;
    const struct watch_thread *threads;
    size_t thread_count;
    /* fills all gauges; once a second, on the watch's thread */
    void (*look)(void *arg, uint64_t gauges[static WATCH_GAUGE_COUNT]);
    void *arg;
    bool without_schedstat; /* as on a kernel that lacks it; for tests */
};
struct watch;
struct watch *watch_create(const struct watch_options *);
enum err watch_start(struct watch *) must_use; /* its thread */
void watch_stop(struct watch *);               /* and joins it; nothing if it does not run */
void watch_free(struct watch **);

/* ---- readers: any thread ---- */
const struct events *watch_events(const struct watch *); /* run_delay, stopped, clock */
uint64_t watch_cpu_ns(const struct watch *);             /* that its thread has used */
/* The last second of a stage. */
struct watch_stage {
    const char *name;
    uint32_t per_s;
    uint64_t p50_ns, p99_ns;
};
size_t watch_stages(const struct watch *, struct watch_stage out[static TIMED_COUNT]);
/* The last second of a thread: thousandths of a core that it used, and for which it waited. */
struct watch_load {
    const char *name;
    uint32_t used_millicores, waited_millicores;
};
struct watch_load watch_load(const struct watch *, size_t thread);
/* Points after the one numbered `since` (0: all that are kept), as members of a JSON object without
 * its braces:
 *   "first": number of the first point given, "count", "at": [Unix ms, then differences],
 *   "columns": {name: [value, then differences; what is left out at the end is 0]}
 * Points are numbered from 1; a number that was not reached yet counts as 0. */
void watch_history(const struct watch *, uint64_t since, struct buf *out);

#endif
