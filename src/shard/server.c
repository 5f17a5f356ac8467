/* shard: the server: opens the data, wires rooms together, starts and joins the threads.
 * SPDX-License-Identifier: Apache-2.0 */
#include "shard/shard.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "chat/chat.h"
#include "inbox/inbox.h"
#include "notify/notify.h"
#include "send/send.h"
#include "shard/data.h"
#include "shard/shard_in.h"
#include "template/template.h"

#define PARTITIONS_DEFAULT 64
#define RING_SLOTS 4096
#define STRANGERS_DEFAULT (32u << 20) /* many times what honest ones hold, for their moment */
#define DESCRIPTORS_KEPT 600          /* for tables, log and control */
#define READ_BUFFER (64u << 10)
#define HANDSHAKES_DEFAULT 256 /* some 50 KiB each */
#define PROGRAMS_KEPT 1024     /* templates, some 2 KiB each */

static void log_wake(void *arg, unsigned lane) {
    struct server *v = arg;
    loop_wake(v->shard[lane].loop);
}
static void log_fatal(void *arg, const char *what) {
    (void)arg;
    trace(TRACE_FATAL, what,
        TRACE_TEXT("do", BYTES("what was not acknowledged may be lost, nothing else; start again "
                               "when the disk is sound")));
    abort();
}
static int64_t wall(void *arg) {
    (void)arg;
    return clock_wall_ms();
}
/* By the log's thread. */
static void log_observed(void *arg, const struct log_commit *c) {
    enum { LONG_NS = 2000000 };
    struct server *v = arg;
    int64_t took = c->ended_ns - c->began_ns;
    events_here(&v->log_measure->events, THREAD_LOG); /* for locks that it waits for */
    measure_time(v->log_measure, TIMED_commit, (uint64_t)took);
    if (took < LONG_NS) return;
    struct event e = {.kind = EVENT_commit,
        .thread = THREAD_LOG,
        .start_ns = c->began_ns,
        .duration_ns = took,
        .a = (int64_t)c->bytes,
        .b = c->sync_ns};
    event_add(&v->log_measure->events, &e);
}
static uint16_t lane_of(void *arg, uint16_t partition) {
    return (uint16_t)(partition % ((struct server *)arg)->shards);
}

static int64_t shard_now(void *arg) { return ((struct shard *)arg)->now_ms; }

/* ---- opening ---- */
static enum err data_open(struct server *v, struct buf *why) {
    struct meta m;
    enum err e = data_lock(v->dir, &v->lock_fd, why);
    if (e != OK) return e;
    backup_forget(v->dir);
    e = meta_load(v->dir, &m, why);
    if (e == MISSING && data_is_there(v->dir)) {
        buf_fmt(why,
            "%s has data and no meta file: it was lost, or a restore was cut short; restore it "
            "again",
            v->dir);
        return CORRUPT;
    }
    if (e == MISSING) {
        m = (struct meta){
            v->o.partitions ? v->o.partitions : PARTITIONS_DEFAULT, epoch_new(), DATA_VERSION};
        e = meta_save(v->dir, &m, why);
    }
    if (e == OK && v->o.partitions && v->o.partitions != m.partitions) {
        buf_fmt(why, "%s was made with %u partitions, which cannot change; leave --partitions away",
            v->dir, m.partitions);
        e = EXISTS;
    }
    if (e == OK && v->o.log_dir) e = log_link(v->dir, v->o.log_dir, why);
    if (e == OK && m.version < DATA_VERSION) e = meta_save(v->dir, &m, why);
    v->partitions = m.partitions;
    v->epoch = m.epoch;
    return e == OK ? admit_open(v->dir, &v->admit, why) : e;
}

static enum err stores_open(struct server *v, struct buf *why) {
    char tables[600], log[600];
    snprintf(tables, sizeof tables, "%s/tables", v->dir);
    snprintf(log, sizeof log, "%s/log", v->dir);
    struct store_options so = {.dir = tables};
    enum err e = store_open_rocksdb(&so, &v->store, why);
    if (e == LIMIT && reserve_drop(v->dir)) {
        buf_reset(why);
        e = store_open_rocksdb(&so, &v->store, why);
    }
    if (e != OK) return e;
    (void)reserve_keep(v->dir);
    uint64_t *from = must_alloc(v->partitions * sizeof *from);
    e = engine_start_positions(v->store, v->partitions, from);
    if (e != OK)
        buf_str(why, "the tables cannot be read; they are damaged, 'kith check' names the file");
    v->written = must_alloc(v->partitions * sizeof *v->written);
    for (uint16_t p = 0; p < v->partitions; p++) v->written[p] = from[p] - 1;
    struct log_options lo = {.dir = log,
        .disk = disk_real(),
        .partitions = v->partitions,
        .lanes = v->shards,
        .lane_of = lane_of,
        .lane_arg = v,
        .from = from,
        .retention_ms = v->o.retention_ms,
        .thread = true,
        .wake = log_wake,
        .fatal = log_fatal,
        .arg = v,
        .now_ms = wall,
        .mono_ns = clock_mono_ns,
        .observed = log_observed};
    v->log_measure = must_alloc(sizeof *v->log_measure);
    if (e == OK) e = log_open_file(&lo, &v->log, why);
    free(from);
    return e;
}

static enum err file_read(const char *path, struct buf *out, struct buf *why) {
    char room[4096];
    size_t n;
    FILE *f = fopen(path, "re");
    while (f && (n = fread(room, 1, sizeof room, f)) > 0) buf_add(out, room, n);
    bool ok = f && !ferror(f);
    if (!ok) buf_fmt(why, "%s cannot be read: %s", path, strerror(errno));
    if (f) fclose(f);
    return ok ? OK : MISSING;
}

static enum err channels_open(struct server *v, struct buf *why) {
    v->interest = interest_create(v->shards, v->partitions);
    v->board = channel_board_create(v->o.dev);
    if (!v->o.channel_rules) return OK;
    struct buf text = {0}, words = {0};
    enum err e = file_read(v->o.channel_rules, &text, why);
    if (e == OK && (e = channel_board_read(v->board, buf_view(&text), &words)) != OK)
        buf_fmt(why, "the channel rules in %s are not right: %.*s", v->o.channel_rules,
            (int)words.n, (const char *)words.p);
    buf_done(&text);
    buf_done(&words);
    return e;
}

static enum err shard_open(struct server *v, unsigned i, struct buf *why) {
    struct shard *s = &v->shard[i];
    s->server = v;
    s->index = i;
    s->json = json_reader_create();
    s->tools.kit = template_kit_create();
    s->tools.programs = template_cache_create(s->tools.kit, PROGRAMS_KEPT);
    s->tools.inboxes = inbox_memo_create();
    s->tools.entry_json = entry_json;
    s->tools.message_json = chat_message_json;
    random_secret(&s->tools.next_id, sizeof s->tools.next_id);
    s->tools.id_step = v->shards;
    s->tools.next_id -= s->tools.next_id % v->shards - i;
    s->read_buffer = must_alloc(READ_BUFFER);
    s->inbox = must_alloc(v->shards * sizeof *s->inbox);
    s->overflow = must_alloc(v->shards * sizeof *s->overflow);
    for (unsigned k = 0; k < v->shards; k++) s->inbox[k] = ring_create(RING_SLOTS);
    (void)ticker_set(&s->pace.clock);
    if (!v->o.journeys_off) s->journeys = journeys_create((uint16_t)i, &s->measure, &s->pace.clock);
    struct engine_options eo = {.log = v->log,
        .store = v->store,
        .lane = i,
        .lanes = v->shards,
        .partitions = v->partitions,
        .surfaces = v->surface_list,
        .surface_count = v->surface_count,
        .aheads = notify_aheads,
        .ahead_count = NOTIFY_AHEADS,
        .memory_bytes = server_memory(v) / v->shards,
        .secret = &v->secret,
        .arg = s,
        .answered = engine_answered,
        .delivered = engine_delivered,
        .user_ahead = engine_user_ahead,
        .send = engine_send,
        .journeys = s->journeys};
    enum err e = engine_create(&eo, &s->engine, why);
    if (e != OK) return e;
    struct deliver_options d = {.engine = s->engine,
        .partitions = v->partitions,
        .epoch = v->epoch,
        .tools = &s->tools,
        .arg = s,
        .append = job_append_session,
        .output = conn_output,
        .end = conn_session_ended,
        .opened = mqtt_opened,
        .subscribed = mqtt_subscribed,
        .now_ms = shard_now,
        .journeys = s->journeys,
        .mono_ns = clock_mono_ns,
        .interest = v->interest,
        .shard = i,
        .shards = v->shards,
        .may = channels_may,
        .narrowed = channels_narrowed,
        .rules = channels_rules,
        .spread = channels_spread,
        .want_retained = channels_want_retained,
        .group_changed = channels_group_changed,
        .away_wanted = away_wanted,
        .away = away_append};
    s->deliver = deliver_create(&d);
    s->retained = retained_create();
    s->rules = channel_rules_create(v->board);
    return OK;
}

static void defaults(struct server *v) {
    struct server_options *o = &v->o;
    struct rlimit limit;
    if (!o->shards) {
        long cores = sysconf(_SC_NPROCESSORS_ONLN);
        o->shards = cores > 64 ? 64 : cores > 1 ? (unsigned)cores : 1;
    }
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < limit.rlim_max) {
        limit.rlim_cur = limit.rlim_max;
        (void)setrlimit(RLIMIT_NOFILE, &limit);
    }
    (void)getrlimit(RLIMIT_NOFILE, &limit);
    size_t most = limit.rlim_cur > 2 * DESCRIPTORS_KEPT ? limit.rlim_cur - DESCRIPTORS_KEPT
                                                        : limit.rlim_cur / 2;
    if (!o->connections_max || o->connections_max > most) o->connections_max = most;
    if (!o->http_header_timeout_ms) o->http_header_timeout_ms = 10000;
    if (!o->http_body_timeout_ms) o->http_body_timeout_ms = 30000;
    if (!o->http_idle_timeout_ms) o->http_idle_timeout_ms = 60000;
    if (!o->stall_timeout_ms) o->stall_timeout_ms = o->http_idle_timeout_ms;
    if (!o->strangers_bytes) o->strangers_bytes = STRANGERS_DEFAULT;
    if (!o->mqtt_connect_timeout_ms) o->mqtt_connect_timeout_ms = 10000;
    if (!o->tls_handshake_timeout_ms) o->tls_handshake_timeout_ms = 10000;
    if (!o->tls_handshakes_max) o->tls_handshakes_max = HANDSHAKES_DEFAULT;
    v->shards = o->shards;
}

static enum err tls_begin(struct server *v, struct buf *why) {
    for (int i = 0; i < DOORS; i++) v->doors[i].fd = -1;
    if (!v->o.tls_cert) return OK;
    return tls_context_create(v->o.tls_cert, v->o.tls_key, &v->tls, why);
}

static enum err doors_open(struct server *v, struct buf *why) {
    struct {
        const char *addr_port;
        uint8_t protocol;
        bool tls;
    } const WANTED[DOORS] = {[DOOR_HTTP] = {v->o.http, PROTO_HTTP, false},
        [DOOR_MQTT] = {v->o.mqtt, PROTO_MQTT, false},
        [DOOR_HTTPS] = {v->o.https, PROTO_HTTP, true},
        [DOOR_MQTTS] = {v->o.mqtts, PROTO_MQTT, true},
        [DOOR_CONSOLE] = {v->o.console, PROTO_HTTP, false}};
    for (int i = 0; i < DOORS; i++) {
        struct door *d = &v->doors[i];
        d->protocol = WANTED[i].protocol;
        d->tls = WANTED[i].tls;
        if (!WANTED[i].addr_port) continue;
        enum err e = sock_listen(WANTED[i].addr_port, &d->fd, &d->port, why);
        if (e != OK) return e;
    }
    return OK;
}

/* Traces: of each shard's journeys, with the events of all threads. */
static enum err export_open(struct server *v, struct buf *why) {
    const struct journeys *journeys[SHARDS_MOST];
    const struct events *rings[RINGS_MOST];
    char host[100] = "", instance[120];
    if (v->o.otlp && v->o.journeys_off)
        trace(TRACE_WARNING, "--otlp sends nothing, as --journeys is off");
    if (!v->o.otlp || v->o.journeys_off) return OK;
    for (unsigned i = 0; i < v->shards; i++) journeys[i] = v->shard[i].journeys;
    (void)gethostname(host, sizeof host - 1);
    snprintf(instance, sizeof instance, "%s:%u", host, v->doors[DOOR_HTTP].port);
    struct export_options o = {.url = v->o.otlp,
        .version = v->o.version,
        .instance = instance,
        .journeys = journeys,
        .journeys_count = v->shards,
        .events = rings,
        .events_count = rings_of(v, rings)};
    return export_start(&o, &v->export, why);
}

static void send_wake(void *arg, unsigned shard) {
    struct server *v = arg;
    loop_wake(v->shard[shard].loop);
}

/* Whoever runs mail finds here what receivers want to see in its domain. */
static void dkim_tell(const struct server *v) {
    struct buf records = {0};
    send_dkim_records(v->sender, &records);
    for (struct bytes left = buf_view(&records); left.n;) {
        const uint8_t *end = memchr(left.p, '\n', left.n);
        size_t n = end ? (size_t)(end - left.p) : left.n;
        trace(TRACE_INFO, "mail is signed (DKIM): this record belongs in its domain's DNS",
            TRACE_TEXT("record", bytes_of(left.p, n)));
        left = bytes_of(left.p + n + (end != NULL), left.n - n - (end != NULL));
    }
    buf_done(&records);
}

static enum err send_open(struct server *v, struct buf *why) {
    struct send_options o = {.providers = v->o.providers,
        .data_dir = v->dir,
        .shards = v->shards,
        .wake = send_wake,
        .arg = v,
        .dev = v->o.dev};
    enum err e = send_create(&o, &v->sender, why);
    if (e != OK) return e;
    for (unsigned i = 0; i < v->shards; i++) {
        v->shard[i].tools.http_webhooks = send_webhooks_private(v->sender);
        v->shard[i].tools.unsubscribe_key = send_unsubscribe_key(v->sender);
    }
    dkim_tell(v);
    send_start(v->sender); /* without providers too: it says so of each send */
    return OK;
}

enum err server_open(const struct server_options *o, struct server **out, struct buf *why) {
    struct server *v = *out = must_alloc(sizeof *v);
    v->o = *o;
    v->opened_mono_ms = clock_mono_ns() / 1000000;
    v->dir = strdup(o->data_dir);
    v->lock_fd = v->control.fd = -1;
    v->control.protocol = PROTO_CONTROL;
    defaults(v);
    random_secret(&v->boot, sizeof v->boot);
    random_secret(&v->secret, sizeof v->secret);
    v->boot &= 0x7fff;
    v->surface_count = surfaces_fill(v->surfaces);
    for (size_t i = 0; i < v->surface_count; i++) v->surface_list[i] = &v->surfaces[i];
    v->notify_route = route_find(v, "POST", "/v1/notifications");
    v->message_route = route_find(v, "POST", "/v1/conversations/{id}/messages");
    v->receipt_route = route_find(v, "POST", "/v1/conversations/{id}/receipts");
    v->above = (struct above){special_run, conn_job_answered, conn_arrived, control_line};
    v->limits = limits_create(o);
    v->shard = must_alloc(v->shards * sizeof *v->shard);
    for (unsigned i = 0; i < v->shards; i++) v->shard[i].loop = loop_create();
    enum err e = tls_begin(v, why);
    if (e == OK) e = data_open(v, why);
    if (e == OK) e = stores_open(v, why);
    if (e == OK) e = channels_open(v, why);
    for (unsigned i = 0; i < v->shards && e == OK; i++) e = shard_open(v, i, why);
    if (e == OK) e = doors_open(v, why);
    if (e == OK) e = control_listen(v, why);
    if (e == OK) e = tables_start(v);
    if (e == OK) flow_create(v);
    if (e == OK) health_open(v);
    if (e == OK) e = export_open(v, why);
    if (e == OK) e = send_open(v, why);
    v->started_ms = clock_wall_ms();
    metrics_begin(v);
    return e; /* if it is not OK, the process ends with the words, and what is open goes with it */
}

int server_run(struct server *v) {
    tell_serving(v);
    for (unsigned i = 1; i < v->shards; i++)
        check(pthread_create(&v->shard[i].thread, NULL, shard_main, &v->shard[i]) == 0);
    flow_start(v);
    shard_main(&v->shard[0]);
    for (unsigned i = 1; i < v->shards; i++) pthread_join(v->shard[i].thread, NULL);
    (void)!tables_sync_all(v); /* on a full disk the log holds the rest */
    return 0;
}

void server_stop(struct server *v) {
    atomic_store(&v->stop, true);
    for (unsigned i = 0; i < v->shards; i++) loop_wake(v->shard[i].loop);
}

static void shard_close(struct server *v, struct shard *s) {
    conn_forget_sessions(s);
    deliver_free(&s->deliver); /* sessions have their names of the connections */
    conn_close_all(s);
    channels_done(s);
    jobs_drop(s);
    engine_free(&s->engine);
    sends_done(s);
    journeys_free(&s->journeys);
    json_reader_free(&s->json);
    inbox_memo_free(&s->tools.inboxes);
    template_cache_free(&s->tools.programs);
    template_kit_free(&s->tools.kit);
    for (unsigned k = 0; k < v->shards; k++) ring_free(&s->inbox[k]);
    while (s->job_pool) {
        struct job *j = s->job_pool;
        s->job_pool = j->next;
        arena_done(&j->arena);
        free(j);
    }
    loop_free(&s->loop);
    free(s->inbox);
    for (unsigned k = 0; k < v->shards; k++) free(s->overflow[k].items);
    free(s->overflow);
    free(s->tickets);
    free(s->conns);
    free(s->conn_free);
    free(s->read_again);
    free(s->shaking);
    free(s->slow);
    free(s->read_buffer);
}

/* false: one takes too long; it ends with the process, and without its meta file. */
static bool backups_end(struct server *v) {
    enum { WAIT_MS = 10000, STEP_MS = 10 };
    for (int ms = 0; ms < WAIT_MS && atomic_load(&v->backups); ms += STEP_MS)
        usleep(STEP_MS * 1000);
    return !atomic_load(&v->backups);
}

void server_close(struct server **pv) {
    struct server *v = *pv;
    if (!v || !backups_end(v)) return;
    export_stop(&v->export);
    send_free(&v->sender); /* it wakes shards */
    flow_free(v);          /* it looks at all that follows */
    tables_stop(v);
    v->log->calls->close(v->log);
    for (unsigned i = 0; i < v->shards; i++) shard_close(v, &v->shard[i]);
    v->store->calls->close(v->store);
    admit_close(&v->admit);
    health_close(v);
    limits_free(&v->limits);
    interest_free(&v->interest);
    channel_board_free(&v->board);
    char path[600];
    snprintf(path, sizeof path, "%s/control", v->dir);
    unlink(path);
    int fds[] = {v->control.fd, v->lock_fd};
    for (int i = 0; i < 2; i++)
        if (fds[i] >= 0) close(fds[i]);
    for (int i = 0; i < DOORS; i++)
        if (v->doors[i].fd >= 0) close(v->doors[i].fd);
    tls_context_free(&v->tls);
    free(v->log_measure);
    free(v->tables.measure);
    free((void *)v->written);
    free(v->shard);
    free(v->dir);
    free(v);
    *pv = NULL;
}

void server_reload(struct server *v) {
    struct buf why = {0};
    if (!v->tls) {
        trace(
            TRACE_INFO, "SIGHUP: no TLS certificate is served, so there is nothing to read again");
        return;
    }
    bool ok = tls_context_reload(v->tls, &why) == OK;
    if (ok) buf_fmt(&why, "the TLS certificate %s was read again", v->o.tls_cert);
    else buf_str(&why, "; the one before is served still");
    buf_char(&why, 0);
    trace(ok ? TRACE_INFO : TRACE_ERROR, (char *)why.p);
    buf_done(&why);
}

uint16_t server_port(const struct server *v, enum door_name name) { return v->doors[name].port; }
struct admit *server_admit(struct server *v) {
    return v->admit;
}
