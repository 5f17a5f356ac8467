/* doctor: a diagnosis in plain words with its numbers, and the same numbers as JSON.
 * Keeps: names are told only to their own app.
 * SPDX-License-Identifier: Apache-2.0 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "doctor/doctor_in.h"

void words_ms(struct buf *b, int64_t ns) {
    double ms = (double)ns / 1e6;
    if (ms >= 10000) buf_fmt(b, "%.1f s", ms / 1000);
    else
        buf_fmt(b,
            ms >= 100    ? "%.0f ms"
            : ms >= 1    ? "%.1f ms"
            : ms >= 0.01 ? "%.2f ms"
                         : "%.3f ms",
            ms);
}

void words_bytes(struct buf *b, int64_t n) {
    static const char *const UNITS[] = {"bytes", "KiB", "MiB", "GiB", "TiB"};
    double v = (double)n;
    int u = 0;
    while (v >= 1024 && u < 4) v /= 1024, u++;
    buf_fmt(b, u && v < 10 ? "%.1f %s" : "%.0f %s", v, UNITS[u]);
}

static int64_t wall_of(const struct history *h, int64_t ns) {
    return ns / 1000000 + h->wall_minus_mono_ms;
}

/* "14:03:22.114 UTC": pages show local times beside it */
static void at(struct buf *b, const struct history *h, int64_t ns) {
    char text[24];
    time_format(wall_of(h, ns), text);
    buf_add(b, text + 11, 12);
    buf_str(b, " UTC");
}

void event_thread(const struct event *e, char out[static 32]) {
    if (e->thread == THREAD_LOG) snprintf(out, 32, "the log's thread");
    else if (e->thread == THREAD_TABLES) snprintf(out, 32, "the tables' thread");
    else if (e->thread == THREAD_WATCH) snprintf(out, 32, "the process");
    else snprintf(out, 32, "shard %u", e->thread);
}

static bool may_name(const struct event *e, const char *app) {
    return e->names[0][0] && (!app || strcmp(app, e->names[0]) == 0);
}

static void sync_words(struct buf *b, const struct history *h, const struct event *e) {
    bool sync = e->b * 2 >= e->duration_ns;
    buf_str(b, "The disk took ");
    words_ms(b, sync ? e->b : e->duration_ns);
    buf_str(b, sync ? " to sync " : " to take ");
    words_bytes(b, e->a);
    buf_str(b, " of the log at ");
    at(b, h, e->start_ns);
    if (h->usual_sync_ns) buf_str(b, "; usual is "), words_ms(b, h->usual_sync_ns);
    buf_char(b, '.');
}

static void cpu_words(struct buf *b, const struct history *h, const struct event *e) {
    char thread[32];
    event_thread(e, thread);
    buf_str(b, "Others had the core for ");
    words_ms(b, e->a);
    buf_str(b, " of ");
    words_ms(b, e->duration_ns);
    buf_str(b, " from ");
    at(b, h, e->start_ns);
    buf_fmt(b, ", while %s was ready to run.", thread);
}

static void fanout_words(
    struct buf *b, const struct history *h, const struct event *e, const char *app) {
    if (e->b) {
        buf_fmt(b,
            "A change that concerns very many (members added, say) made %" PRId64
            " records in one turn at ",
            e->a);
        at(b, h, e->start_ns);
        buf_str(b, ", which took ");
        words_ms(b, e->duration_ns);
        buf_char(b, '.');
        return;
    }
    buf_str(b, "A message");
    if (may_name(e, app) && e->names[1][0]) buf_fmt(b, " in the conversation %s", e->names[1]);
    buf_fmt(b, " went to %" PRId64 " devices at ", e->a);
    at(b, h, e->start_ns);
    buf_str(b, " in ");
    words_ms(b, e->duration_ns);
    buf_str(b, "; writing to them and their acknowledgements come after it.");
}

static void queue_words(
    struct buf *b, const struct history *h, const struct event *e, const char *app) {
    buf_fmt(b, "%" PRId64 " records of partition %" PRId64 " were to be applied in one turn at ",
        e->a, e->b);
    at(b, h, e->start_ns);
    if (may_name(e, app) && e->names[1][0])
        buf_fmt(b, ", the last of them of the conversation %s", e->names[1]);
    buf_char(b, '.');
}

static void reader_words(
    struct buf *b, const struct history *h, const struct event *e, const char *app) {
    if (may_name(e, app)) buf_fmt(b, "The device %s of %s", e->names[2], e->names[1]);
    else buf_str(b, "A device");
    buf_str(b, " took nothing for ");
    words_ms(b, e->duration_ns);
    buf_str(b, " from ");
    at(b, h, e->start_ns);
    buf_str(b, ", while ");
    words_bytes(b, e->a);
    buf_str(b, " were ready for it.");
}

static void retry_words(
    struct buf *b, const struct history *h, const struct event *e, const char *app) {
    if (may_name(e, app) && e->names[1][0]) buf_fmt(b, "The user %s", e->names[1]);
    else buf_str(b, "A client");
    buf_fmt(b, " sent %" PRId64 " times again what was stored already, around ", e->a);
    at(b, h, e->start_ns);
    buf_char(b, '.');
}

static void lock_words(struct buf *b, const struct history *h, const struct event *e) {
    char thread[32];
    event_thread(e, thread);
    if (e->a == LOCK_ELSEWHERE) {
        buf_fmt(b, "Shard %u slept for ", e->thread);
        words_ms(b, e->duration_ns);
        buf_str(b, " in a turn, from ");
        at(b, h, e->start_ns);
        buf_str(b, ", for no lock that is kith's own: memory (swap?), a read of the tables' disk, "
                   "or the allocator.");
        return;
    }
    buf_fmt(b, "The lock '%s' was waited for ", lock_name((enum event_lock)e->a));
    words_ms(b, e->duration_ns);
    buf_fmt(b, " by %s at ", thread);
    at(b, h, e->start_ns);
    buf_char(b, '.');
}

static void turn_words(struct buf *b, const struct history *h, const struct event *e) {
    char thread[32];
    event_thread(e, thread);
    buf_fmt(b, "One turn of %s took ", thread);
    words_ms(b, e->duration_ns);
    buf_str(b, " at ");
    at(b, h, e->start_ns);
    if (e->a >= 0 && e->a < PHASE_COUNT) {
        buf_fmt(b, ", most of it (");
        words_ms(b, e->b);
        buf_fmt(b, ") %s", phase_help((enum turn_phase)e->a));
    }
    buf_char(b, '.');
}

static void tables_words(struct buf *b, const struct history *h, const struct event *e) {
    if (e->kind == EVENT_held_back)
        buf_str(b, "Senders were not read, as memory waited for the tables, for ");
    else buf_str(b, e->kind == EVENT_table_sync ? "RocksDB took to flush " : "RocksDB took ");
    words_ms(b, e->duration_ns);
    if (e->kind == EVENT_table_write) buf_str(b, " to take "), words_bytes(b, e->a);
    buf_str(b, " from ");
    at(b, h, e->start_ns);
    buf_char(b, '.');
}

static void plain_words(struct buf *b, const struct history *h, const struct event *e) {
    switch (e->kind) {
    case EVENT_handshakes:
        buf_fmt(b, "%" PRId64 " TLS handshakes took ", e->a);
        words_ms(b, e->b);
        buf_str(b, " of one turn at ");
        break;
    case EVENT_stopped:
        buf_str(b, "Nothing of the process ran for ");
        words_ms(b, e->duration_ns);
        buf_str(b, " from ");
        break;
    case EVENT_clock: buf_fmt(b, "The wall clock jumped by %+" PRId64 " ms at ", e->a); break;
    case EVENT_crowded:
        buf_fmt(b, "%" PRId64 " jobs waited for shard %" PRId64 " at ", e->a, e->b);
        break;
    default: buf_fmt(b, "%s: ", event_help((enum event_kind)e->kind)); break;
    }
    at(b, h, e->start_ns);
    buf_char(b, '.');
}

static void evidence_words(
    struct buf *b, const struct history *h, const struct event *e, const char *app) {
    switch (e->kind) {
    case EVENT_commit: sync_words(b, h, e); break;
    case EVENT_run_delay: cpu_words(b, h, e); break;
    case EVENT_fanout: fanout_words(b, h, e, app); break;
    case EVENT_queue: queue_words(b, h, e, app); break;
    case EVENT_reader: reader_words(b, h, e, app); break;
    case EVENT_retries: retry_words(b, h, e, app); break;
    case EVENT_lock: lock_words(b, h, e); break;
    case EVENT_turn: turn_words(b, h, e); break;
    case EVENT_held_back:
    case EVENT_table_write:
    case EVENT_table_sync: tables_words(b, h, e); break;
    default: plain_words(b, h, e); break;
    }
}

void diagnosis_words(
    const struct history *h, const struct diagnosis *d, const char *app, struct buf *out) {
    struct buf b = {0};
    if (d->has_evidence) evidence_words(&b, h, &d->evidence, app);
    else if (d->cause == CAUSE_slow_reader)
        buf_str(&b, "The device did not take it when it was sent.");
    else buf_str(&b, "Nothing recorded in that time explains it.");
    if (d->waited > 1) buf_fmt(&b, " %u slow ones waited for it.", d->waited);
    buf_str(&b, " Of ");
    words_ms(&b, d->took_ns);
    buf_str(&b, ", ");
    words_ms(&b, d->spent_ns[d->most]);
    buf_fmt(&b, " went by %s.", spent_words(d->most));
    buf_bytes(out, buf_view(&b));
    buf_done(&b);
}

static void number(struct json_out *o, const char *key, int64_t v) {
    jo_key(o, key);
    jo_i64(o, v);
}
void json_ms(struct json_out *o, const char *key, int64_t ns) {
    char text[40];
    int n = snprintf(text, sizeof text, "%.3f", (double)ns / 1e6);
    jo_key(o, key);
    jo_raw(o, bytes_of(text, (size_t)n));
}
static void word(struct json_out *o, const char *key, const char *v) {
    jo_key(o, key);
    jo_str(o, bytes_str(v));
}

static void evidence_names(struct json_out *o, const struct event *e, const char *app) {
    static const char *const SECOND[EVENT_KIND_COUNT] = {[EVENT_fanout] = "conversation",
        [EVENT_queue] = "conversation",
        [EVENT_reader] = "user",
        [EVENT_retries] = "user"};
    if (!SECOND[e->kind] || !may_name(e, app)) return;
    word(o, "app", e->names[0]);
    if (e->names[1][0]) word(o, SECOND[e->kind], e->names[1]);
    if (e->names[2][0]) word(o, "device", e->names[2]);
}

static void evidence_numbers(struct json_out *o, const struct event *e) {
    switch (e->kind) {
    case EVENT_commit: number(o, "bytes", e->a), json_ms(o, "sync_ms", e->b); break;
    case EVENT_run_delay: json_ms(o, "delayed_ms", e->a); break;
    case EVENT_fanout: number(o, e->b ? "records" : "devices", e->a); break;
    case EVENT_queue: number(o, "records", e->a), number(o, "partition", e->b); break;
    case EVENT_table_write:
    case EVENT_reader: number(o, "bytes", e->a); break;
    case EVENT_retries: number(o, "times", e->a); break;
    case EVENT_handshakes: number(o, "handshakes", e->a), json_ms(o, "handshakes_ms", e->b); break;
    case EVENT_clock: number(o, "jump_ms", e->a); break;
    case EVENT_crowded: number(o, "jobs", e->a), number(o, "waited_for_shard", e->b); break;
    case EVENT_lock: word(o, "lock", lock_name((enum event_lock)e->a)); break;
    case EVENT_turn:
        if (e->a >= 0 && e->a < PHASE_COUNT) word(o, "phase", phase_name((enum turn_phase)e->a));
        json_ms(o, "phase_ms", e->b);
        break;
    default: break;
    }
}

void diagnosis_evidence(
    const struct history *h, const struct diagnosis *d, const char *app, struct buf *out) {
    struct json_out o = {out, false};
    const struct event *e = &d->evidence;
    char thread[32];
    if (!d->has_evidence) return buf_str(out, "null");
    event_thread(e, thread);
    jo_open_obj(&o);
    word(&o, "event", event_name((enum event_kind)e->kind));
    jo_key(&o, "at");
    jo_time(&o, wall_of(h, e->start_ns));
    json_ms(&o, "ms", e->duration_ns);
    word(&o, "thread", thread);
    evidence_numbers(&o, e);
    evidence_names(&o, e, app);
    number(&o, "events", d->events);
    number(&o, "slow", d->waited);
    jo_close_obj(&o);
}
