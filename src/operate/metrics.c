/* operate: /metrics: what the whole server is and holds now, and what each shard has counted.
 * Keeps: no label says who anybody is, and there are no more series than shards and stages ask for.
 * What a disk or RocksDB has to be asked for is what the watch's thread found (flow.c): a shard asks
 * neither. Here too: the gauges that cost a look at each connection, which each shard takes now and then.
 * SPDX-License-Identifier: Apache-2.0 */
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "operate/operate.h"
#include "send/send.h"
#include "watch/watch.h"

/* ---- each shard's own look ---- */
/* Of its own partitions: what a start after a crash would apply again. */
static void replay_look(struct shard *s) {
    struct server *v = s->server;
    uint64_t replay = 0;
    for (uint16_t p = (uint16_t)s->index; p < v->partitions; p = (uint16_t)(p + v->shards)) {
        uint64_t applied = engine_applied(s->engine, p), written = atomic_load(&v->written[p]);
        if (applied > written) replay += applied - written;
    }
    atomic_store(&s->gauges.replay, replay);
}

void figures_sweep(struct shard *s) {
    replay_look(s);
    atomic_store(&s->gauges.cell_bytes, engine_held_bytes(s->engine));
    atomic_store(&s->gauges.dirty_bytes, engine_dirty_bytes(s->engine));
}

size_t rings_of(struct server *v, const struct events *out[static RINGS_MOST]) {
    for (unsigned i = 0; i < v->shards; i++) out[i] = &v->shard[i].measure.events;
    out[v->shards] = &v->log_measure->events;
    out[v->shards + 1] = &v->tables.measure->events;
    out[v->shards + 2] = watch_events(flow_watch(v));
    return v->shards + 3;
}

/* ---- which form ---- */

/* The weight that an Accept header gives to exactly this type, in thousandths (RFC 9110, 12.5.1);
 * -1: it does not name it. */
static int weight_of(struct bytes accept, const char *type) {
    const char *p = (const char *)accept.p, *end = p + accept.n;
    size_t n = strlen(type);
    while (accept.n && p < end) {
        const char *comma = memchr(p, ',', (size_t)(end - p)), *stop = comma ? comma : end;
        while (p < stop && (*p == ' ' || *p == '\t')) p++;
        bool is = (size_t)(stop - p) >= n && strncasecmp(p, type, n) == 0 &&
                  (p + n == stop || p[n] == ';' || p[n] == ' ');
        const char *q = is ? memmem(p, (size_t)(stop - p), "q=", 2) : NULL;
        if (q) {
            char room[6] = "";
            size_t m = (size_t)(stop - q - 2);
            memcpy(room, q + 2, m < 5 ? m : 5);
            return (int)(strtod(room, NULL) * 1000);
        }
        if (is) return 1000;
        p = stop + 1;
    }
    return -1;
}

bool metrics_open_asked(struct bytes accept) {
    int open = weight_of(accept, "application/openmetrics-text");
    return open > 0 && open >= weight_of(accept, "text/plain");
}

/* ---- the process, as other programs' metrics name it too ---- */
void memory_of_process(uint64_t *out_size, uint64_t *out_resident) {
    unsigned long long size = 0, resident = 0;
    FILE *f = fopen("/proc/self/statm", "re");
    if (f && fscanf(f, "%llu %llu", &size, &resident) != 2) size = resident = 0;
    if (f) fclose(f);
    *out_size = size * (uint64_t)sysconf(_SC_PAGESIZE);
    *out_resident = resident * (uint64_t)sysconf(_SC_PAGESIZE);
}

static int64_t start_of_process_ms(void) {
    char line[1024] = "";
    FILE *f = fopen("/proc/self/stat", "re");
    if (f) {
        if (!fgets(line, sizeof line, f)) line[0] = 0;
        fclose(f);
    }
    const char *p = strrchr(line, ')'); /* the name before may have blanks */
    for (int field = 2; p && field < 22; field++) p = strchr(p + 1, ' ');
    struct timespec up;
    clock_gettime(CLOCK_BOOTTIME, &up);
    int64_t since_boot = p ? atoll(p + 1) * 1000 / sysconf(_SC_CLK_TCK) : 0;
    return clock_wall_ms() - (up.tv_sec * 1000 + up.tv_nsec / 1000000) + since_boot;
}

/* Since Linux 6.2 the folder's size is their number; before, who has many is not counted one by
 * one. */
static uint64_t descriptors_open(const struct server *v, uint64_t connections) {
    enum { COUNTED_MOST = 2000 };
    struct stat st;
    if (stat("/proc/self/fd", &st) == 0 && st.st_size > 0) return (uint64_t)st.st_size;
    if (connections > COUNTED_MOST) return v->descriptors + connections;
    uint64_t n = 0;
    DIR *d = opendir("/proc/self/fd");
    for (const struct dirent *e = d ? readdir(d) : NULL; e; e = readdir(d))
        n += e->d_name[0] != '.';
    if (d) closedir(d);
    return n ? n - 1 : 0; /* the folder's own */
}

static void process_text(const struct server *v, struct metrics *t, uint64_t connections) {
    struct timespec cpu;
    struct rlimit limit = {0};
    uint64_t size, resident;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &cpu);
    (void)getrlimit(RLIMIT_NOFILE, &limit);
    memory_of_process(&size, &resident);
    metrics_family(t, METRIC_COUNTER, "process_cpu_seconds", "Processor time of all threads");
    metrics_ns(t, NULL, (uint64_t)cpu.tv_sec * 1000000000 + (uint64_t)cpu.tv_nsec);
    metrics_family(
        t, METRIC_GAUGE, "process_start_time_seconds", "When the process began, Unix time");
    metrics_ns(t, NULL, (uint64_t)v->process_began_ms * 1000000);
    metrics_gauge(t, "process_open_fds", "Descriptors open", descriptors_open(v, connections));
    metrics_gauge(t, "process_max_fds", "Descriptors that may be open", limit.rlim_cur);
    metrics_gauge(t, "process_virtual_memory_bytes", "Address space of the process", size);
    metrics_gauge(t, "process_resident_memory_bytes", "Resident memory of the process", resident);
    metrics_gauge(t, "kith_resident_bytes", "Resident memory of the process, as above", resident);
}

/* ---- what kith has and holds ---- */
struct sums {
    uint64_t connections, sessions, relays, requests, spoken[SPOKEN_COUNT], connection_bytes, cells,
        replay, level;
};

static struct sums sums_take(const struct server *v) {
    struct sums m = {0};
    for (unsigned i = 0; i < v->shards; i++) {
        const struct shard *s = &v->shard[i];
        m.connections += s->gauges.connections;
        m.sessions += s->gauges.sessions;
        m.relays += s->gauges.relays;
        m.requests += s->gauges.requests;
        for (int k = 0; k < SPOKEN_COUNT; k++) m.spoken[k] += s->gauges.by_protocol[k];
        m.connection_bytes += s->gauges.connection_bytes;
        m.cells += s->gauges.cell_bytes;
        m.replay += s->gauges.replay;
        if (s->gauges.pressure > m.level) m.level = s->gauges.pressure;
    }
    return m;
}

static void connections_text(const struct server *v, struct metrics *t, const struct sums *m) {
    static const char *const SPOKEN[SPOKEN_COUNT] = {
        "protocol=\"http\"", "protocol=\"stream\"", "protocol=\"mqtt\"", "protocol=\"websocket\""};
    metrics_gauge(t, "kith_connections", "Connections open now", m->connections);
    metrics_gauge(t, "kith_connections_max", "Connections that may be open", v->o.connections_max);
    metrics_family(t, METRIC_GAUGE, "kith_connections_by_protocol",
        "Connections open now, by what they are used for; half a second old");
    for (int k = 0; k < SPOKEN_COUNT; k++) metrics_value(t, SPOKEN[k], m->spoken[k]);
    metrics_gauge(t, "kith_sessions", "Sessions connected now", m->sessions);
    metrics_gauge(t, "kith_requests_waiting", "Requests and records under way", m->requests);
    metrics_gauge(
        t, "kith_relays_waiting", "Relays not acknowledged by their destination yet", m->relays);
}

static void disks_text(struct server *v, struct metrics *t) {
    static const char *const OF[DISKS] = {"of=\"data\"", "of=\"log\""};
    metrics_family(
        t, METRIC_GAUGE, "kith_disk_free_bytes", "Free space where the tables lie, and the log");
    for (int i = 0; i < DISKS; i++)
        if (flow_disk(v, i).size) metrics_value(t, OF[i], flow_disk(v, i).free);
    metrics_family(
        t, METRIC_GAUGE, "kith_disk_size_bytes", "Size of the file system where they lie");
    for (int i = 0; i < DISKS; i++)
        if (flow_disk(v, i).size) metrics_value(t, OF[i], flow_disk(v, i).size);
    metrics_gauge(t, "kith_disk_full", "Whether writes are refused because the disk is full",
        disk_is_full(v));
    metrics_gauge(
        t, "kith_log_room_bytes", "Bytes that the log can still take", v->log->calls->room(v->log));
    metrics_gauge(t, "kith_log_bytes", "Bytes of the log on disk", flow_gauge(v, GAUGE_log_kib));
    metrics_gauge(
        t, "kith_tables_bytes", "Bytes of the tables on disk", flow_gauge(v, GAUGE_tables_kib));
}

static void state_text(const struct server *v, struct metrics *t, const struct sums *m) {
    metrics_gauge(t, "kith_log_lag_records", "Records appended and not durable yet; a second old",
        flow_gauge(v, GAUGE_log_waiting));
    metrics_gauge(t, "kith_apply_lag_records", "Records durable and not applied yet; a second old",
        flow_gauge(v, GAUGE_apply_waiting));
    metrics_gauge(t, "kith_replay_records",
        "Records that the tables do not have: a start after a crash applies them again", m->replay);
    metrics_family(t, METRIC_GAUGE, "kith_memory_bytes",
        "Memory by owner, half a second old; others are small");
    metrics_value(t, "owner=\"state\"", m->cells);
    metrics_value(t, "owner=\"tables\"", flow_gauge(v, GAUGE_store_kib));
    metrics_value(t, "owner=\"connections\"", m->connection_bytes);
    metrics_value(t, "owner=\"log_queue\"", flow_gauge(v, GAUGE_log_queue_kib));
    metrics_gauge(t, "kith_allocated_bytes",
        "Memory that the allocator has given out; 0: not known",
        flow_gauge(v, GAUGE_allocated_kib));
    metrics_gauge(
        t, "kith_memory_budget_bytes", "What --memory gives to the state", server_memory(v));
    metrics_gauge(t, "kith_senders_held_back",
        "Shards whose senders are not read, as memory waits for the tables",
        atomic_load(&v->tables.behind));
    metrics_gauge(t, "kith_load_level",
        "What is refused for too much load: 1 typing and presence, 2 lists too, 3 writes too",
        m->level);
}

static void export_text(const struct server *v, struct metrics *t) {
    if (!v->export) return;
    struct export_counts c = export_counts(v->export);
    metrics_family(t, METRIC_COUNTER, "kith_export_spans", "Spans that the collector has taken");
    metrics_value(t, NULL, c.spans);
    metrics_family(t, METRIC_COUNTER, "kith_export_dropped",
        "Spans that the collector never took: refused, or too many waited");
    metrics_value(t, NULL, c.dropped);
    metrics_family(t, METRIC_COUNTER, "kith_export_failures", "Tries to send traces that failed");
    metrics_value(t, NULL, c.failures);
}

/* What leaves the server, by channel. */
static void sends_text(const struct server *v, struct metrics *t) {
    static const struct {
        const char *name, *help;
        enum metric_type type;
        size_t at;
    } FIGURES[] = {{"kith_sends_delivered", "Pushes, mails and webhooks that the other side took",
                       METRIC_COUNTER, offsetof(struct send_counts, sent)},
        {"kith_sends_retried", "Tries to send that failed for now", METRIC_COUNTER,
            offsetof(struct send_counts, retried)},
        {"kith_sends_dropped", "Sends to an address that is no more", METRIC_COUNTER,
            offsetof(struct send_counts, dropped)},
        {"kith_sends_given_up", "Sends that were refused for good", METRIC_COUNTER,
            offsetof(struct send_counts, gave_up)},
        {"kith_send_tokens_renewed", "Times that our token was refused and made anew",
            METRIC_COUNTER, offsetof(struct send_counts, renewed)},
        {"kith_send_pauses", "Times that a provider asked us to wait", METRIC_COUNTER,
            offsetof(struct send_counts, paused)},
        {"kith_sends_waiting", "Sends that wait for their provider", METRIC_GAUGE,
            offsetof(struct send_counts, waiting)},
        {"kith_sends_flying", "Sends that are not answered yet", METRIC_GAUGE,
            offsetof(struct send_counts, flying)}};
    struct send_counts c[SEND_CHANNELS];
    char label[SEND_CHANNELS][32];
    for (unsigned k = 0; k < SEND_CHANNELS; k++) {
        send_counts(v->sender, k, &c[k]);
        snprintf(label[k], sizeof label[k], "channel=\"%s\"", send_channel_name(k));
    }
    for (size_t i = 0; i < sizeof FIGURES / sizeof *FIGURES; i++) {
        metrics_family(t, FIGURES[i].type, FIGURES[i].name, FIGURES[i].help);
        for (unsigned k = 0; k < SEND_CHANNELS; k++)
            metrics_value(t, label[k], *(uint64_t *)((char *)&c[k] + FIGURES[i].at));
    }
    metrics_family(
        t, METRIC_HISTOGRAM, "kith_send_seconds", "From asking a provider until it answered");
    for (unsigned k = 0; k < SEND_CHANNELS; k++) metrics_hist(t, label[k], c[k].latency_ns);
}

void metrics_answer(struct shard *s, bool open, struct buf *out) {
    struct server *v = s->server;
    struct metrics_of list[SHARDS_MOST + 2];
    const struct events *rings[RINGS_MOST];
    char names[SHARDS_MOST][12], build[80];
    int64_t wall_less_mono_ns = clock_wall_ms() * 1000000 - clock_mono_ns();
    struct metrics t = {.out = out, .open = open, .wall_less_mono_ns = wall_less_mono_ns};
    check(v->shards <= SHARDS_MOST);
    counts_take(s);
    for (unsigned i = 0; i < v->shards; i++) {
        snprintf(names[i], sizeof names[i], "%u", i);
        list[i] = (struct metrics_of){names[i], &v->shard[i].measure, v->shard[i].journeys};
    }
    list[v->shards] = (struct metrics_of){"log", v->log_measure, NULL};
    list[v->shards + 1] = (struct metrics_of){"tables", v->tables.measure, NULL};
    struct sums m = sums_take(v);
    snprintf(build, sizeof build, "version=\"%s\"", v->o.version ? v->o.version : "");
    metrics_family(&t, METRIC_INFO, "kith_build", "The program that runs");
    metrics_value(&t, build, 1);
    metrics_gauge(&t, "kith_shards", "Threads that serve", v->shards);
    metrics_gauge(&t, "kith_partitions", "Partitions of the data", v->partitions);
    connections_text(v, &t, &m);
    state_text(v, &t, &m);
    disks_text(v, &t);
    process_text(v, &t, m.connections);
    metrics_family(&t, METRIC_COUNTER, "kith_watch_cpu_seconds",
        "CPU time of the thread that watches the others");
    metrics_ns(&t, NULL, watch_cpu_ns(flow_watch(v)));
    export_text(v, &t);
    sends_text(v, &t);
    metrics_events(&t, rings, rings_of(v, rings));
    metrics_measures(&t, list, v->shards + 2);
    metrics_end(&t);
}

void metrics_begin(struct server *v) {
    v->process_began_ms = start_of_process_ms();
    v->descriptors = descriptors_open(v, 0);
}
