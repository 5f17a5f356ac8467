/* sim: the node: lanes with their engines and deliveries, one log on a disk that fails, tables that
 * lose what was not synced, and the mail between lanes.
 * SPDX-License-Identifier: Apache-2.0 */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "due/due.h"
#include "log/log.h"
#include "beyond.h"
#include "notify/notify.h"
#include "sim.h"

enum { SEGMENT_BYTES = 128 * 1024, QUEUE_BYTES = 32 * 1024, RESERVE_BYTES = 32 * 1024, EPOCH = 7 };

bool chance(struct sim *s, unsigned percent) { return rng_below(&s->rng, 100) < percent; }
uint64_t below(struct sim *s, uint64_t n) { return rng_below(&s->rng, n); }

void violated(struct sim *s, const char *fmt, ...) {
    va_list ap;
    fprintf(stderr, "seed %llu%s, step %llu: ", (unsigned long long)s->seed,
        s->drain ? " (drain)" : "", (unsigned long long)s->step);
    va_start(ap, fmt);
    vfprintf(stderr, fmt, ap);
    va_end(ap);
    fputc('\n', stderr);
    exit(1);
}

/* ---- what the node calls back ---- */
static int64_t now_ms(void *arg) { return ((struct sim *)arg)->now_ms; }
static void fatal(void *arg, const char *what) {
    (void)what;
    ((struct sim *)arg)->dead = true;
}
static uint16_t lane_of(void *arg, uint16_t partition) {
    return (uint16_t)(partition % ((struct sim *)arg)->lanes);
}

static void answered(void *arg, uint64_t number, struct answer *a) {
    struct sim *s = arg;
    for (size_t i = 0; i < s->ticket_count; i++) {
        if (s->tickets[i].number != number) continue;
        struct ticket t = s->tickets[i];
        s->tickets[i] = s->tickets[--s->ticket_count];
        if (t.kind == TICKET_SESSION)
            deliver_answered(s->deliver[t.lane], t.session, t.purpose, t.cookie, a);
        else client_answered(s, &t, a);
        return;
    }
}

static void delivered(void *arg, uint16_t partition, struct bytes app, const struct delivery *v) {
    struct sim *s = arg;
    struct deliver *d = s->deliver[partition % s->lanes];
    if (v->kind == DELIVER_SEND) {
        sends_told_of(s, partition, app, v->body);
        beyond_told(s->beyond[partition % s->lanes], partition, v->body);
        return;
    }
    if (!s->recovered) deliver_replayed(d, partition, app, v);
    else if (!channels_delivered(s, partition, app, v)) deliver_entry(d, partition, app, v);
}

static void mail_put(struct sim *s, struct post m) {
    if (s->mail_count == s->mail_cap) {
        s->mail_cap = s->mail_cap ? s->mail_cap * 2 : 64;
        s->mail = must_realloc(s->mail, s->mail_cap * sizeof *s->mail);
    }
    s->mail[s->mail_count++] = m;
}

static void mail_add(struct sim *s, unsigned lane, struct parcel *p) {
    bool late = s->faults && chance(s, 10);
    s->counts[COUNT_PARCEL_LATE] += late;
    mail_put(s, (struct post){lane, s->step + (late ? below(s, 40) : 0), p});
}

static bool send_parcel(void *arg, unsigned lane, struct parcel *p) {
    struct sim *s = arg;
    if (s->faults && chance(s, 3)) {
        s->counts[COUNT_SEND_REFUSED]++;
        return false;
    }
    if (s->faults && chance(s, 2)) {
        s->counts[COUNT_PARCEL_LOST]++;
        parcel_free(p);
        return true;
    }
    if (s->faults && chance(s, 3)) {
        struct parcel *twin = must_alloc(sizeof *twin + p->size);
        memcpy(twin, p, sizeof *twin + p->size);
        s->counts[COUNT_PARCEL_TWICE]++;
        mail_add(s, lane, twin);
    }
    mail_add(s, lane, p);
    return true;
}

static void mail_carry(struct sim *s) {
    struct post *list = s->mail; /* what it causes to be sent goes to a new list */
    size_t n = s->mail_count;
    s->mail = NULL;
    s->mail_count = s->mail_cap = 0;
    for (size_t i = 0; i < n; i++) {
        if (list[i].due <= s->step) {
            engine_receive(s->engine[list[i].lane], list[i].parcel);
            continue;
        }
        struct post m = list[i];
        mail_put(s, m);
    }
    free(list);
}

enum err node_append(struct sim *s, uint16_t partition, uint8_t kind, unsigned app,
    struct bytes body, const struct ticket *t) {
    uint64_t number = 0;
    bool must = kind == KIND_SESSION_ACK || kind == KIND_SESSION_MARK || kind == KIND_SESSION_END ||
                kind == KIND_SESSION_RELEASED || kind == KIND_NOTIFY_AWAY;
    if (t) number = ++s->next_ticket;
    struct outside record = {.partition = partition,
        .kind = kind,
        .app = app_name(app),
        .body = body,
        .time_ms = s->now_ms,
        .ticket = number,
        .must = must};
    enum err e = engine_append(s->engine[partition % s->lanes], &record);
    if (e == LIMIT) s->counts[COUNT_APPEND_LIMIT]++;
    if (e != OK || !t) return e;
    if (s->ticket_count == s->ticket_cap) {
        s->ticket_cap = s->ticket_cap ? s->ticket_cap * 2 : 64;
        s->tickets = must_realloc(s->tickets, s->ticket_cap * sizeof *s->tickets);
    }
    s->tickets[s->ticket_count] = *t;
    s->tickets[s->ticket_count++].number = number;
    return OK;
}

static enum err session_append(void *arg, uint16_t partition, uint8_t kind, struct bytes app,
    struct bytes body, uint64_t session, uint8_t purpose, uint32_t cookie) {
    struct sim *s = ((struct lane_arg *)arg)->s;
    struct ticket t = {.kind = TICKET_SESSION,
        .session = session,
        .purpose = purpose,
        .cookie = cookie,
        .lane = partition % s->lanes};
    return node_append(
        s, partition, kind, bytes_eq(app, app_name(0)) ? 0 : 1, body, purpose ? &t : NULL);
}
static int64_t session_now_ms(void *arg) { return ((struct lane_arg *)arg)->s->now_ms; }
static void output(void *arg, void *conn) {
    struct sim *s = ((struct lane_arg *)arg)->s;
    s->output_seen = true;
    struct device *d = conn;
    if (!d->slow) device_take(s, d);
}
static void ended(void *arg, void *conn, uint8_t reason) {
    device_ended(((struct lane_arg *)arg)->s, conn, reason);
}
static void opened(void *arg, void *conn, bool present, enum err e) {
    device_opened(((struct lane_arg *)arg)->s, conn, present, e);
}
static void subscribed(void *arg, void *conn, uint32_t cookie, enum err e) {
    device_subscribed(((struct lane_arg *)arg)->s, conn, cookie, e);
}

/* ---- starting and dying ---- */
void node_make(struct sim *s, unsigned lanes) {
    s->disk = disk_twin_create(&s->disk_rng);
    s->store = store_create_memory();
    s->lanes = lanes;
}

static bool lanes_open(struct sim *s, const struct surface *const *surfaces, size_t n) {
    struct buf why = {0};
    channels_open(s);
    for (unsigned i = 0; i < s->lanes; i++) {
        struct engine_options eo = {.log = s->log,
            .store = s->store,
            .lane = i,
            .lanes = s->lanes,
            .partitions = PARTITIONS,
            .surfaces = surfaces,
            .surface_count = n,
            .aheads = notify_aheads,
            .ahead_count = NOTIFY_AHEADS,
            .memory_bytes = chance(s, 50) ? 1 << 20 : 16 << 10,
            .arg = s,
            .answered = answered,
            .delivered = delivered,
            .send = send_parcel,
            .planted = s->planted};
        if (engine_create(&eo, &s->engine[i], &why) != OK)
            violated(s, "the engine does not start: %.*s", (int)why.n, (const char *)why.p);
        struct deliver_options o = {.engine = s->engine[i],
            .partitions = PARTITIONS,
            .epoch = EPOCH,
            .tools = &s->tools,
            .arg = &s->lane_arg[i],
            .append = session_append,
            .output = output,
            .end = ended,
            .opened = opened,
            .subscribed = subscribed,
            .now_ms = session_now_ms,
            .interest = s->interest,
            .shard = i,
            .shards = s->lanes,
            .may = channels_may,
            .spread = channels_spread,
            .want_retained = channels_want_retained,
            .group_changed = channels_group_changed,
            .away_wanted = away_wanted,
            .away = away_append,
            .mark_ahead = 48,
            .planted = s->planted};
        s->deliver[i] = deliver_create(&o);
        s->beyond[i] = beyond_open(s, i, s->engine[i], &s->tools);
    }
    return true;
}

void node_start(struct sim *s) {
    static struct chat_halves halves;
    enum { OWN = 7 };
    static struct surface notify[NOTIFY_SURFACES_MAX];
    static const struct surface *surfaces[OWN + NOTIFY_SURFACES_MAX];
    halves = chat_halves();
    surfaces[0] = &users_surface;
    surfaces[1] = &halves.conversation;
    surfaces[2] = &halves.member;
    surfaces[3] = &deliver_surface;
    surfaces[4] = &channel_surface;
    surfaces[5] = &due_surface;
    surfaces[6] = &alarms_surface;
    size_t notify_count = notify_surfaces(notify);
    for (size_t i = 0; i < notify_count; i++)
        surfaces[OWN + i] = strcmp(notify[i].name, "notify, messages") ? &notify[i] : &away_surface;
    uint64_t from[PARTITIONS];
    struct buf why = {0};
    if (engine_start_positions(s->store, PARTITIONS, from) != OK)
        violated(s, "the tables' positions cannot be read");
    struct log_options lo = {.dir = "log",
        .disk = s->disk,
        .partitions = PARTITIONS,
        .lanes = s->lanes,
        .lane_of = lane_of,
        .lane_arg = s,
        .from = from,
        .segment_bytes = SEGMENT_BYTES,
        .queue_bytes = QUEUE_BYTES,
        .reserve_bytes = RESERVE_BYTES,
        .retention_ms = s->keep_all ? INT64_MAX / 4 : 0,
        .fatal = fatal,
        .arg = s,
        .now_ms = now_ms,
        .planted = s->planted};
    s->dead = s->recovered = false;
    enum err e = log_open_file(&lo, &s->log, &why);
    if (e == CORRUPT)
        violated(s, "the log calls itself corrupt: %.*s", (int)why.n, (const char *)why.p);
    buf_done(&why);
    if (e != OK) { /* a full or failing disk: not yet */
        s->log = NULL;
        return;
    }
    lanes_open(s, surfaces, OWN + notify_count);
    s->up = true;
}

static void lanes_close(struct sim *s) {
    if (!s->up) return;
    s->closing = true; /* members that go tell nobody any more */
    for (unsigned i = 0; i < s->lanes; i++) {
        beyond_close(&s->beyond[i]);
        deliver_free(&s->deliver[i]);
        engine_free(&s->engine[i]);
    }
    s->closing = false;
    channels_close(s);
}

void node_down(struct sim *s, bool power) {
    s->counts[power ? COUNT_POWER_CUTS : COUNT_PROCESS_DEATHS]++;
    if (s->up && !s->recovered) s->counts[COUNT_CRASH_IN_RECOVERY]++;
    lanes_close(s);
    if (s->log) s->log->calls->close(s->log);
    s->log = NULL;
    s->up = s->dead = s->recovered = false;
    s->shutting_until = 0;
    for (size_t i = 0; i < s->mail_count; i++) parcel_free(s->mail[i].parcel);
    s->mail_count = s->ticket_count = 0;
    if (power) disk_twin_crash(s->disk);
    uint64_t unsynced = store_memory_unsynced(s->store), keep = below(s, unsynced + 1);
    s->counts[COUNT_BATCHES_LOST] += unsynced - keep;
    store_memory_fail(s->store, 0, OK);
    store_memory_crash(s->store, keep);
    clients_crashed(s);
}

void node_forget_tables(struct sim *s) {
    s->store->calls->close(s->store);
    s->store = store_create_memory();
}

void node_free(struct sim *s) {
    lanes_close(s);
    if (s->log) s->log->calls->close(s->log);
    const struct disk_twin_counts *c = disk_twin_counts(s->disk);
    s->counts[COUNT_SECTOR_TORN] += c->sectors_torn;
    s->counts[COUNT_SECTOR_DROPPED] += c->sectors_dropped;
    s->counts[COUNT_NAME_UNDONE] += c->names_undone;
    s->counts[COUNT_SYNC_FAILED] += c->syncs_failed;
    s->counts[COUNT_WRITE_FAILED] += c->writes_failed;
    s->counts[COUNT_DIED_IN_CALL] += c->deaths;
    s->store->calls->close(s->store);
    disk_twin_free(&s->disk);
    for (size_t i = 0; i < s->mail_count; i++) parcel_free(s->mail[i].parcel);
    free(s->mail);
    free(s->tickets);
}

/* ---- what a node does in a moment ---- */
static void tables_step(struct sim *s, unsigned freeze, unsigned sync) {
    for (unsigned i = 0; i < s->lanes; i++) {
        /* all partitions, and now and then one */
        unsigned most = engine_counts(s->engine[i])->flushes % 3 ? PARTITIONS : 1;
        if (chance(s, freeze)) (void)engine_freeze(s->engine[i], most);
        struct table_batch *b = engine_batch_ready(s->engine[i]);
        if (b && s->store->calls->write(s->store, b) == OK) engine_batch_written(s->engine[i]);
    }
    if (!chance(s, sync)) return;
    uint64_t held[PARTITIONS] = {0};
    for (unsigned i = 0; i < s->lanes; i++) engine_positions(s->engine[i], held);
    if (s->store->calls->sync(s->store) != OK) return;
    uint64_t first, last, after;
    s->log->calls->range(s->log, 0, &first, &last);
    s->log->calls->trim(s->log, held);
    s->log->calls->range(s->log, 0, &after, &last);
    s->counts[COUNT_TRIMMED] += after > first;
}

static void recovery_look(struct sim *s) {
    if (s->recovered) return;
    for (unsigned i = 0; i < s->lanes; i++)
        if (!engine_caught_up(s->engine[i])) return;
    s->recovered = true;
    channels_recovered(s);
    /* who is away is told by new records, which a comparison must not have */
    for (unsigned i = 0; i < s->lanes && !s->comparing; i++) deliver_recovered(s->deliver[i]);
}

void node_step(struct sim *s) {
    s->now_ms += (int64_t)below(s, 40);
    if (!s->up) {
        node_start(s);
        return;
    }
    int64_t mono = s->now_ms - 1600000000000;
    if (chance(s, 60)) (void)s->log->calls->commit(s->log);
    if (s->dead) return;
    for (unsigned i = 0; i < s->lanes; i++)
        if (chance(s, 70)) (void)engine_turn(s->engine[i], 1 + below(s, 64), mono);
    recovery_look(s);
    mail_carry(s);
    tables_step(s, 8, 3);
    if (s->shutting_until && s->step >= s->shutting_until) node_down(s, false);
    if (!s->recovered) return;
    alarms_tick(s, 30);
    for (unsigned i = 0; i < s->lanes; i++) {
        if (chance(s, 50)) beyond_turn(s->beyond[i], s->now_ms, s->shutting_until != 0);
        if (chance(s, 70)) deliver_turn(s->deliver[i]);
        if (chance(s, 10)) deliver_store_cursors(s->deliver[i], false);
    }
}

static bool settled(struct sim *s) {
    if (!s->up || !s->recovered || s->mail_count || s->ticket_count || s->output_seen) return false;
    for (unsigned i = 0; i < s->lanes; i++)
        if (engine_outbox_count(s->engine[i])) return false;
    if (s->ticking && other_next_ms(s) != INT64_MAX) return false;
    return !alarms_wait(s);
}

/* To what happens next, where that is all there is to wait for. */
static void time_passes(struct sim *s) {
    int64_t next = alarms_next_ms(s), other = other_next_ms(s);
    if (other < next) next = other;
    if (next != INT64_MAX && next > s->now_ms) s->now_ms = next;
}

void node_settle(struct sim *s, unsigned rounds_max, const char *what) {
    unsigned quiet = 0;
    bool quiet_before = false;
    for (unsigned round = 0; quiet < 6; round++) {
        if (round == rounds_max) {
            uint64_t waiting = 0;
            for (unsigned i = 0; s->up && i < s->lanes; i++)
                waiting += engine_outbox_count(s->engine[i]);
            violated(s,
                "%s: it does not come to rest: %zu parcels, %zu tickets, %llu relays wait, %s",
                what, s->mail_count, s->ticket_count, (unsigned long long)waiting,
                !s->up         ? "down"
                : s->recovered ? "up"
                               : "recovering");
        }
        s->step++;
        s->now_ms += 300;
        if (quiet_before && s->ticking && s->recovered) time_passes(s);
        s->output_seen = false;
        if (!s->up) {
            node_start(s);
            continue;
        }
        bool busy = s->log->calls->commit(s->log);
        if (s->dead) violated(s, "%s: it died without a fault", what);
        for (unsigned i = 0; i < s->lanes; i++)
            busy |= engine_turn(s->engine[i], 1000, s->now_ms - 1600000000000);
        recovery_look(s);
        mail_carry(s);
        if (s->recovered) alarms_tick(s, 100);
        for (unsigned i = 0; i < s->lanes && s->recovered; i++) {
            if (s->ticking) beyond_turn(s->beyond[i], s->now_ms, false);
            deliver_turn(s->deliver[i]);
            deliver_store_cursors(s->deliver[i], false);
        }
        tables_step(s, 30, 30);
        quiet_before = !busy;
        quiet = busy || !settled(s) ? 0 : quiet + 1;
    }
}

void node_fault(struct sim *s) {
    unsigned what = (unsigned)below(s, 100);
    if (chance(s, 30)) s->now_ms += (int64_t)below(s, 90000); /* leases end */
    if (chance(s, 3)) s->now_ms += 25 * 3600 * 1000; /* what is tried for a day is given up */
    if (what < 22) node_down(s, true);
    else if (what < 36) node_down(s, false);
    else if (what < 40) s->shutting_until = s->step + below(s, 60);
    else if (what < 50) disk_twin_die_after(s->disk, 1 + below(s, 12));
    else if (what < 62) disk_twin_fail_sync(s->disk);
    else if (what < 72) disk_twin_fail_write(s->disk);
    else if (what < 86) {
        s->full = !s->full;
        s->counts[COUNT_DISK_FULL] += s->full;
        disk_twin_capacity(s->disk, s->full ? 0 : UINT64_MAX);
    } else {
        s->counts[COUNT_STORE_FULL]++;
        store_memory_fail(s->store, 1 + (unsigned)below(s, 4), LIMIT);
    }
}

struct cells *node_cells(struct sim *s, uint16_t partition) {
    return engine_cells(s->engine[partition % s->lanes], partition);
}

uint64_t node_hash(struct sim *s) {
    uint64_t h = 0;
    for (uint16_t p = 0; p < PARTITIONS; p++)
        h = h * 0x100000001b3u ^ engine_hash(s->engine[p % s->lanes], p);
    return h;
}
