/* operate: what the doctor is told of this server, and where it answers: GET /v1/slow, GET /v1/doctor,
 * the control socket. SPDX-License-Identifier: Apache-2.0 */

#include <stdlib.h>
#include <unistd.h>

#include "doctor/doctor.h"
#include "operate/operate.h"
#include "watch/watch.h"

struct health {
    struct doctor *doctor;
    struct machine machine; /* at the start, before files were given up */
    struct settings settings;
    const struct journeys **journeys;
    const struct events **rings;
    int64_t tick_ms;
};

void server_settings(const struct server_options *o, struct settings *out) {
    *out = (struct settings){.known = true,
        .shards = o->shards,
        .memory_bytes = (int64_t)o->memory_bytes,
        .connections_max = (int64_t)o->connections_max,
        .retention_ms = o->retention_ms,
        .rate = o->rate_per_second,
        .rate_burst = o->rate_burst,
        .message_rate = o->message_rate,
        .byte_rate = o->byte_rate,
        .journeys_off = o->journeys_off,
        .proxy_protocol = o->proxy_protocol,
        .open_plain = !addr_is_loopback(o->http) || !addr_is_loopback(o->mqtt)};
}

void health_open(struct server *v) {
    struct health *h = v->health = must_alloc(sizeof *h);
    struct doctor_sources from = {.shards = v->shards};
    machine_look(v->dir, 0, &h->machine);
    server_settings(&v->o, &h->settings);
    h->journeys = must_alloc(v->shards * sizeof *h->journeys);
    h->rings = must_alloc((v->shards + 3) * sizeof *h->rings);
    for (unsigned i = 0; i < v->shards; i++) {
        h->journeys[i] = v->shard[i].journeys;
        h->rings[from.ring_count++] = &v->shard[i].measure.events;
    }
    h->rings[from.ring_count++] = &v->log_measure->events;
    h->rings[from.ring_count++] = &v->tables.measure->events;
    h->rings[from.ring_count++] = watch_events(flow_watch(v));
    if (!v->shard[0].journeys) from.shards = 0; /* --journeys off */
    from.journeys = h->journeys;
    from.rings = h->rings;
    h->doctor = doctor_create(&from);
}

void health_close(struct server *v) {
    struct health *h = v->health;
    if (!h) return;
    doctor_free(&h->doctor);
    free(h->journeys);
    free(h->rings);
    free(h);
    v->health = NULL;
}

void health_turn(struct shard *s) {
    enum { TICK_MS = 1000 };
    struct health *h = s->server->health;
    uint64_t done = 0, slow = 0;
    if (s->index || s->mono_ms - h->tick_ms < TICK_MS) return;
    h->tick_ms = s->mono_ms;
    for (unsigned i = 0; i < s->server->shards; i++) {
        const struct measure *m = &s->server->shard[i].measure;
        slow += measure_get(m, COUNTER_slow);
        done += measure_get(m, COUNTER_records_applied) + measure_get(m, COUNTER_http_requests);
    }
    doctor_tick(h->doctor, s->mono_ms, done, slow);
}

void health_look(struct server *v) {
    struct doctor_told told;
    if (doctor_look(v->health->doctor, &told)) tell_slow(&told);
}

static void facts_take(struct server *v, struct doctor_facts *f) {
    struct disk *d = disk_real();
    *f = (struct doctor_facts){.settings = &v->health->settings,
        .machine = &v->health->machine,
        .usual_sync_ns = (int64_t)hist_percentile(&v->log_measure->stages[TIMED_commit], 50),
        .started_wall_ms = v->started_ms,
        .disk_free_bytes = (int64_t)d->free_bytes(d, v->dir),
        .connections_max = v->o.connections_max,
        .disk_full = atomic_load(&v->tables.disk_full)};
    for (unsigned i = 0; i < v->shards; i++) f->connections += v->shard[i].gauges.connections;
}

void health_answer(struct shard *s, struct job *j) {
    struct request *r = &j->request;
    struct doctor_facts facts;
    const char *app = arena_cstr(r->arena, r->who.app);
    unsigned limit;
    facts_take(s->server, &facts);
    if (j->route->special == SPECIAL_DOCTOR)
        doctor_json(s->server->health->doctor, &facts, app, &j->answer.body);
    else if (request_limit(r, &j->answer, &limit))
        doctor_slow_json(s->server->health->doctor, &facts, app, limit, &j->answer.body);
}

void health_say(struct server *v, struct buf *out) {
    enum { TOLD = 50 };
    struct doctor_facts facts;
    facts_take(v, &facts);
    buf_fmt(out, "{\"pid\":%ld,\"settings\":", (long)getpid());
    settings_json(&v->health->settings, out);
    buf_str(out, ",\"doctor\":");
    doctor_json(v->health->doctor, &facts, NULL, out);
    buf_str(out, ",\"slow\":");
    doctor_slow_json(v->health->doctor, &facts, NULL, TOLD, out);
    buf_str(out, "}\n");
}
