/* engine: applies durable records to the cells of this lane's partitions and keeps the promise of
 * relays: made once, effective once. Owns cells, outboxes and the batch that is out. Time comes
 * with the caller; nothing here reads a clock.
 * SPDX-License-Identifier: Apache-2.0 */
#include "engine/engine.h"

#include <stdlib.h>
#include <string.h>

#include "due/due.h"

#define POLL_MAX 512
#define AHEAD_MAX 16 /* records that are told of before they are applied */
#define RESEND_AFTER_MS 1000
#define RESEND_LOOK_MS 50
#define KINDS 256

static const struct bytes KEY_OUT = {(const uint8_t *)"\x01out", 4};
static const struct bytes KEY_IN = {(const uint8_t *)"\x02in", 3};
static const struct bytes KEY_POS = {(const uint8_t *)"\x03pos", 4};

/* Relays of one (source, destination) pair that are not acknowledged yet, oldest first. */
struct waiting {
    struct waiting *next;
    uint64_t counter, source_position;
    struct parcel *parcel;
};
struct outbox {
    struct waiting *head, *tail;
    struct waiting *unsent; /* first that `send` has not taken yet */
    int64_t oldest_since_ms;
    /* made by the replay: nothing goes out before the destination said what it has */
    bool asleep;
};
struct partition {
    struct cells *cells;
    uint64_t applied, frozen, written;
    uint64_t waiting;     /* relays in its boxes */
    uint64_t tick;        /* position of the last one of this run */
    struct outbox *boxes; /* [partitions] by destination */
    /* [partitions] by source: counter to acknowledge, 0 none; whose is not 0 stands in e->acks */
    uint64_t *ack_due;
    bool *knocked; /* [partitions] by source: waits for the end of our replay */
    /* [partitions] by source: the counter asked for last, so that one gap asks once */
    uint64_t *asked;
};
struct engine {
    struct engine_options o;
    void (*rules[KINDS])(struct step *);
    void (*aheads[KINDS])(const struct ahead *);
    struct partition *parts; /* [partitions]; cells NULL where another lane owns it */
    struct arena turn;
    struct buf scratch;
    struct table_batch batch;
    uint64_t generation;
    bool batch_out;
    uint16_t hand; /* the partition that is frozen next */
    struct cells_total cells;
    uint64_t outbox_count;
    struct ack_pair {
        uint16_t to, source;
    } * acks; /* to be sent: few of the many pairs that there are */
    size_t ack_count, ack_cap;
    struct parcel **held; /* relays for us that the log could not take yet */
    size_t held_count, held_cap;
    struct engine_counts counts;
    int64_t now_ms;
    bool awake;       /* the replay is over */
    bool stuck;       /* some box has what another lane did not take */
    int64_t boxes_ms; /* when all boxes were looked at */
};

void parcel_free(struct parcel *p) { free(p); }

static bool owns(const struct engine *e, uint16_t partition) {
    return partition % e->o.lanes == e->o.lane;
}

enum err engine_start_positions(struct store *store, uint16_t partitions, uint64_t *out_from) {
    struct buf v = {0};
    enum err e = OK;
    for (uint16_t p = 0; p < partitions && e == OK; p++) {
        buf_reset(&v);
        e = store->calls->get(store, p, KEY_POS, &v);
        if (e == MISSING) {
            out_from[p] = 1;
            e = OK;
        } else if (e == OK) {
            struct unpack u = unpack_of(buf_view(&v));
            out_from[p] = unpack_u64(&u) + 1;
            if (u.bad) e = CORRUPT;
        }
    }
    buf_done(&v);
    return e;
}

enum err engine_create(const struct engine_options *o, struct engine **out, struct buf *why) {
    uint64_t *from = must_alloc(sizeof *from * o->partitions);
    enum err err = engine_start_positions(o->store, o->partitions, from);
    if (err != OK) {
        buf_str(why, "the tables' applied positions cannot be read");
        free(from);
        return err;
    }
    struct engine *e = must_alloc(sizeof *e);
    e->o = *o;
    e->hand = (uint16_t)o->lane;
    e->parts = must_alloc(sizeof *e->parts * o->partitions);
    uint64_t own = (o->partitions + o->lanes - 1) / o->lanes;
    for (uint16_t p = 0; p < o->partitions; p++) {
        struct partition *part = &e->parts[p];
        part->applied = part->frozen = part->written = from[p] - 1;
        if (!owns(e, p)) continue;
        part->cells = cells_create(o->store, p, o->memory_bytes / own);
        cells_total(part->cells, &e->cells);
        if (o->secret) cells_key(part->cells, o->secret);
        part->boxes = must_alloc(sizeof *part->boxes * o->partitions);
        part->ack_due = must_alloc(sizeof *part->ack_due * o->partitions);
        part->asked = must_alloc(sizeof *part->asked * o->partitions);
        part->knocked = must_alloc(sizeof *part->knocked * o->partitions);
    }
    for (size_t s = 0; s < o->surface_count; s++)
        for (size_t r = 0; r < o->surfaces[s]->record_count; r++) {
            const struct record_rule *rule = &o->surfaces[s]->records[r];
            check(!e->rules[rule->kind]);
            e->rules[rule->kind] = rule->apply;
        }
    for (size_t i = 0; i < o->ahead_count; i++) e->aheads[o->aheads[i].kind] = o->aheads[i].ahead;
    free(from);
    *out = e;
    return OK;
}

static void box_free(struct outbox *b) {
    while (b->head) {
        struct waiting *w = b->head;
        b->head = w->next;
        free(w->parcel);
        free(w);
    }
}

void engine_free(struct engine **pe) {
    struct engine *e = *pe;
    if (!e) return;
    for (uint16_t p = 0; p < e->o.partitions; p++) {
        struct partition *part = &e->parts[p];
        if (!part->cells) continue;
        for (uint16_t d = 0; d < e->o.partitions; d++) box_free(&part->boxes[d]);
        cells_free(&part->cells);
        free(part->boxes);
        free(part->ack_due);
        free(part->asked);
        free(part->knocked);
    }
    for (size_t i = 0; i < e->held_count; i++) free(e->held[i]);
    free(e->held);
    free(e->acks);
    free(e->parts);
    arena_done(&e->turn);
    buf_done(&e->scratch);
    buf_done(&e->batch.data);
    free(e);
    *pe = NULL;
}

struct cells *engine_cells(struct engine *e, uint16_t partition) {
    check(owns(e, partition));
    return e->parts[partition].cells;
}
uint64_t engine_applied(const struct engine *e, uint16_t partition) {
    return __atomic_load_n(&e->parts[partition].applied, __ATOMIC_RELAXED);
}
bool engine_caught_up(const struct engine *e) {
    return e->o.log->calls->caught_up(e->o.log, e->o.lane);
}
uint64_t engine_outbox_count(const struct engine *e) { return e->outbox_count; }
const struct engine_counts *engine_counts(const struct engine *e) { return &e->counts; }
uint64_t engine_hash(struct engine *e, uint16_t partition) {
    return cells_state_hash(e->parts[partition].cells);
}

uint64_t engine_dirty_bytes(const struct engine *e) { return e->cells.dirty_bytes; }

uint64_t engine_held_bytes(const struct engine *e) { return e->cells.held_bytes; }

static enum err append(struct engine *e, const struct outside *o, uint64_t *out_position) {
    check(owns(e, o->partition));
    struct record r = {.kind = o->kind,
        .time_ms = o->time_ms,
        .ticket = o->ticket,
        .app = o->app,
        .body = o->body};
    buf_reset(&e->scratch);
    record_encode(&e->scratch, &r);
    enum err err = e->o.log->calls->append(
        e->o.log, e->o.lane, o->partition, buf_view(&e->scratch), o->must, out_position);
    if (err != OK) return err;
    e->counts.records_appended++;
    journey_appended(e->o.journeys, o->partition, *out_position, o->came_ns);
    return OK;
}

enum err engine_append(struct engine *e, const struct outside *o) {
    uint64_t position;
    return append(e, o, &position);
}

int64_t engine_ticks(struct engine *e, int64_t now_ms) {
    enum { WAITING_MAX = 16384 }; /* relays: more are not made before these are taken */
    int64_t next = INT64_MAX;
    bool crowded = e->outbox_count + e->held_count >= WAITING_MAX;
    for (uint16_t p = (uint16_t)e->o.lane; p < e->o.partitions; p = (uint16_t)(p + e->o.lanes)) {
        struct partition *part = &e->parts[p];
        int64_t due = part->tick > part->applied ? now_ms : due_next(part->cells);
        if (due < next) next = due;
        if (due > now_ms || part->tick > part->applied || crowded) continue;
        struct outside tick = {.partition = p, .kind = KIND_TICK, .time_ms = now_ms};
        (void)append(e, &tick, &part->tick); /* refused: the next call tries again */
    }
    return next;
}

/* ---- counters in cells: arrays of u64, one a partition ---- */
static struct cell *counters_cell(struct cells *c, struct bytes key, uint16_t partitions) {
    struct cell *cell = cells_get(c, key);
    if (cell->size == 0) {
        uint8_t *zeros = must_alloc(partitions * 8u);
        cells_put(c, cell, bytes_of(zeros, partitions * 8u));
        free(zeros);
    }
    return cell;
}

static uint64_t counter_get(const struct cell *cell, uint16_t index) {
    uint64_t v;
    memcpy(&v, cell->data + index * 8u, 8);
    return v;
}

static void counter_set(struct cells *c, struct cell *cell, uint16_t index, uint64_t v) {
    memcpy(cells_edit(c, cell) + index * 8u, &v, 8);
}

/* ---- sending ---- */
static bool relay_append(struct engine *e, struct parcel *p) {
    uint64_t position;
    if (e->o.log->calls->append(
            e->o.log, e->o.lane, p->to, bytes_of(p->data, p->size), true, &position) != OK)
        return false;
    journey_relayed(e->o.journeys, p->to, position, p->from, &p->origin);
    free(p);
    e->counts.records_appended++;
    return true;
}

static void relay_arrived(struct engine *e, struct parcel *p) {
    if (!e->held_count && relay_append(e, p)) return;
    /* The log is full or busy: what was promised is kept here and tried again each turn, in order.
     * */
    if (e->held_count == e->held_cap) {
        e->held_cap = e->held_cap ? e->held_cap * 2 : 64;
        e->held = must_realloc(e->held, e->held_cap * sizeof *e->held);
    }
    e->held[e->held_count++] = p;
}

static void held_retry(struct engine *e) {
    size_t n = 0;
    while (n < e->held_count && relay_append(e, e->held[n])) n++;
    e->held_count -= n;
    if (n) memmove(e->held, e->held + n, e->held_count * sizeof *e->held);
}

static struct parcel *parcel_copy(const struct parcel *p) {
    struct parcel *c = must_alloc(sizeof *c + p->size);
    memcpy(c, p, sizeof *c + p->size);
    return c;
}

static bool parcel_send(struct engine *e, uint16_t toward, struct parcel *p) {
    unsigned lane = toward % e->o.lanes;
    if (lane == e->o.lane) {
        engine_receive(e, p);
        return true;
    }
    return e->o.send(e->o.arg, lane, p);
}

static void box_send(struct engine *e, uint16_t to, struct outbox *b) {
    while (b->unsent) {
        struct parcel *copy = parcel_copy(b->unsent->parcel);
        if (to % e->o.lanes == e->o.lane) relay_arrived(e, copy);
        else if (!e->o.send(e->o.arg, to % e->o.lanes, copy)) {
            free(copy);
            e->stuck = true;
            return;
        }
        b->unsent = b->unsent->next;
    }
}

static void relay_post(struct engine *e, uint16_t from, const struct step *s, const struct relay *r,
    const struct journey_origin *origin) {
    struct partition *part = &e->parts[from];
    struct cell *out = counters_cell(part->cells, KEY_OUT, e->o.partitions);
    uint64_t counter = counter_get(out, r->to) + 1;
    counter_set(part->cells, out, r->to, counter);
    struct record rec = {.kind = r->kind,
        .time_ms = s->time_ms,
        .app = r->app,
        .body = r->body,
        .relay = true,
        .source = from,
        .source_position = s->position,
        .counter = counter};
    buf_reset(&e->scratch);
    record_encode(&e->scratch, &rec);
    struct waiting *w = must_alloc(sizeof *w);
    w->counter = counter;
    w->source_position = s->position;
    w->parcel = must_alloc(sizeof *w->parcel + e->scratch.n);
    *w->parcel = (struct parcel){.kind = PARCEL_RELAY,
        .from = from,
        .to = r->to,
        .counter = counter,
        .origin = *origin,
        .size = (uint32_t)e->scratch.n};
    memcpy(w->parcel->data, e->scratch.p, e->scratch.n);
    struct outbox *b = &part->boxes[r->to];
    if (b->tail) b->tail->next = w;
    else b->oldest_since_ms = e->now_ms;
    if (!b->head) b->head = w;
    b->tail = w;
    e->outbox_count++;
    part->waiting++;
    e->counts.relays_sent++;
    if (!e->awake) b->asleep = true;
    if (b->asleep) return;
    if (!b->unsent) b->unsent = w;
    if (e->o.planted == BUG_RELAY_DROPPED && counter % 7 == 3) b->unsent = NULL;
    box_send(e, r->to, b);
}

static void box_acked(
    struct engine *e, struct partition *part, struct outbox *b, uint64_t counter) {
    while (b->head && b->head->counter <= counter) {
        struct waiting *w = b->head;
        if (b->unsent == w) b->unsent = w->next;
        b->head = w->next;
        if (!b->head) b->tail = NULL;
        free(w->parcel);
        free(w);
        e->outbox_count--;
        part->waiting--;
        b->oldest_since_ms = e->now_ms;
    }
}

static void box_knock(struct engine *e, uint16_t from, uint16_t to) {
    struct parcel *p = must_alloc(sizeof *p);
    *p = (struct parcel){.kind = PARCEL_KNOCK, .from = from, .to = to};
    if (!parcel_send(e, to, p)) free(p); /* boxes_retry knocks again */
}

/* What the destination has not said it has goes out. While the replay goes on, more may come that
 * it has. */
static void box_wake(struct engine *e, uint16_t to, struct outbox *b) {
    if (!b->asleep || !e->awake) return;
    b->asleep = false;
    b->unsent = b->head;
    box_send(e, to, b);
}

/* Takes p. An answer of before the end of this lane's own replay would say too little: it waits. */
static void knock_answer(struct engine *e, struct parcel *p) {
    check(owns(e, p->to));
    struct partition *part = &e->parts[p->to];
    p->kind = PARCEL_ACK;
    part->knocked[p->from] = !e->awake;
    if (e->awake)
        p->counter = counter_get(counters_cell(part->cells, KEY_IN, e->o.partitions), p->from);
    if (!e->awake || !parcel_send(e, p->from, p)) free(p); /* lost: the other knocks again */
}

void engine_receive(struct engine *e, struct parcel *p) {
    if (p->kind == PARCEL_RELAY) {
        check(owns(e, p->to));
        relay_arrived(e, p);
        return;
    }
    if (p->kind == PARCEL_KNOCK) {
        knock_answer(e, p);
        return;
    }
    check(owns(e, p->from));
    struct outbox *b = &e->parts[p->from].boxes[p->to];
    if (p->kind == PARCEL_ACK) {
        box_acked(e, &e->parts[p->from], b, p->counter);
        box_wake(e, p->to, b);
    } else if (b->asleep) {
        box_wake(e, p->to, b);
    } else if (e->o.planted != BUG_RELAY_DROPPED) {
        struct waiting *w = b->head;
        while (w && w->counter < p->counter) w = w->next;
        if (w) {
            b->unsent = w;
            box_send(e, p->to, b);
        }
    }
    free(p);
}

/* ---- applying ---- */
static void ack_note(struct engine *e, uint16_t to, uint16_t source, uint64_t counter) {
    uint64_t *due = &e->parts[to].ack_due[source];
    if (!*due) {
        if (e->ack_count == e->ack_cap) {
            e->ack_cap = e->ack_cap ? 2 * e->ack_cap : 64;
            e->acks = must_realloc(e->acks, e->ack_cap * sizeof *e->acks);
        }
        e->acks[e->ack_count++] = (struct ack_pair){to, source};
    }
    *due = counter;
}

/* Decides a relay's fate by its pair's counter: true when it is the next one. */
static bool relay_is_next(struct engine *e, uint16_t to, const struct record *r) {
    struct partition *part = &e->parts[to];
    if (r->source >= e->o.partitions) return false;
    struct cell *in = counters_cell(part->cells, KEY_IN, e->o.partitions);
    uint64_t seen = counter_get(in, r->source);
    if (r->counter <= seen && e->o.planted != BUG_RELAY_TWICE) {
        if (seen) ack_note(e, to, r->source, seen); /* the sender may have missed it */
        e->counts.relays_duplicate++;
        return false;
    }
    if (r->counter > seen + 1) {
        if (part->asked[r->source] != seen + 1) {
            part->asked[r->source] = seen + 1;
            e->counts.relays_gap++;
            struct parcel *ask = must_alloc(sizeof *ask);
            *ask = (struct parcel){
                .kind = PARCEL_ASK, .from = r->source, .to = to, .counter = seen + 1};
            if (!parcel_send(e, r->source, ask)) {
                free(ask);
                part->asked[r->source] = 0;
            }
        }
        return false;
    }
    if (r->counter == seen + 1) {
        counter_set(part->cells, in, r->source, r->counter);
        ack_note(e, to, r->source, r->counter);
        e->counts.relays_received++;
    }
    return true;
}

static void relays_post(struct engine *e, const struct step *s) {
    struct journey_origin origin = journey_origin(e->o.journeys);
    for (size_t i = 0; i < s->relay_count; i++)
        relay_post(e, s->partition, s, &s->relays[i], &origin);
}

static void outcome_carry(struct engine *e, struct step *s, uint64_t ticket) {
    if (s->relay_count) relays_post(e, s);
    if (ticket) e->o.answered(e->o.arg, ticket, s->answer);
    for (size_t i = 0; i < s->delivery_count; i++)
        e->o.delivered(e->o.arg, s->partition, s->app, &s->deliveries[i]);
}

static void apply_one(struct engine *e, const struct log_record *lr, struct record r) {
    struct partition *part = &e->parts[lr->partition];
    if (lr->position <= part->applied) return;
    check(lr->position == part->applied + 1);
    e->counts.records_applied++;
    if (e->o.planted == BUG_APPS_MIXED && r.app.n) r.app = bytes_of("demo", 4);
    struct journey_record way = {
        lr->partition, (uint8_t)r.kind, lr->position, lr->durable_ns, r.time_ms};
    if (r.relay && !relay_is_next(e, lr->partition, &r)) {
        journey_passed(e->o.journeys, &way);
    } else {
        struct answer answer = {0};
        struct step s = {.cells = part->cells,
            .partition = lr->partition,
            .partitions = e->o.partitions,
            .position = lr->position,
            .time_ms = r.time_ms,
            .app = r.app,
            .body = r.body,
            .relay = r.relay,
            .source = r.source,
            .wanted = r.ticket && !(r.ticket & TICKET_BRIEF),
            .planted = e->o.planted,
            .arena = &e->turn,
            .answer = &answer,
            .tallies = e->awake ? e->counts.tallies : NULL};
        check(e->rules[r.kind]);
        e->rules[r.kind](&s);
        __atomic_store_n(&part->applied, lr->position, __ATOMIC_RELAXED);
        struct journey_about about = {s.app, s.conversation, s.item, s.repeated_by};
        journey_applied(e->o.journeys, &way, &about);
        outcome_carry(e, &s, r.ticket);
        buf_done(&answer.body);
    }
    __atomic_store_n(&part->applied, lr->position, __ATOMIC_RELAXED);
}

static void ahead_round(struct engine *e, const struct log_record *lr, const struct record *r,
    size_t n, unsigned round) {
    bool any = false;
    for (size_t i = 0; i < n; i++) {
        if (!e->aheads[r[i].kind]) continue;
        struct ahead a = {
            e->parts[lr[i].partition].cells, r[i].app, r[i].body, round, e->o.arg, e->o.user_ahead};
        e->aheads[r[i].kind](&a);
        any = true;
    }
    for (size_t i = 0; any && i < n; i++) cells_ahead_end(e->parts[lr[i].partition].cells);
}

static void apply_some(struct engine *e, const struct log_record *lr, size_t n) {
    struct record r[AHEAD_MAX];
    for (size_t i = 0; i < n; i++) check(record_decode(lr[i].data, &r[i]) == OK);
    for (unsigned round = 0; n > 1 && round < AHEAD_ROUNDS; round++)
        ahead_round(e, lr, r, n, round);
    for (size_t i = 0; i < n; i++) apply_one(e, &lr[i], r[i]);
}

/* Those that a full ring did not take stay. */
static void acks_send(struct engine *e) {
    size_t left = 0;
    for (size_t i = 0; i < e->ack_count; i++) {
        struct ack_pair a = e->acks[i];
        uint64_t *due = &e->parts[a.to].ack_due[a.source];
        struct parcel *ack = must_alloc(sizeof *ack);
        *ack = (struct parcel){.kind = PARCEL_ACK, .from = a.source, .to = a.to, .counter = *due};
        if (parcel_send(e, a.source, ack)) {
            *due = 0;
        } else {
            free(ack);
            e->acks[left++] = a;
        }
    }
    e->ack_count = left;
}

/* What could not be sent, and what was sent long ago without an acknowledgement (a lost parcel). */
static void boxes_retry(struct engine *e) {
    if (!e->outbox_count || (!e->stuck && e->now_ms - e->boxes_ms < RESEND_LOOK_MS)) return;
    e->boxes_ms = e->now_ms;
    e->stuck = false;
    for (uint16_t p = 0; p < e->o.partitions; p++) {
        struct partition *part = &e->parts[p];
        if (!part->waiting) continue;
        for (uint16_t d = 0; d < e->o.partitions; d++) {
            struct outbox *b = &part->boxes[d];
            if (!b->head) continue;
            if (b->asleep) {
                if (e->awake && e->now_ms - b->oldest_since_ms > RESEND_AFTER_MS) {
                    b->oldest_since_ms = e->now_ms;
                    box_knock(e, p, d);
                }
                continue;
            }
            if (e->now_ms - b->oldest_since_ms > RESEND_AFTER_MS &&
                e->o.planted != BUG_RELAY_DROPPED) {
                b->oldest_since_ms = e->now_ms;
                b->unsent = b->head;
            }
            if (b->unsent) box_send(e, d, b);
        }
    }
}

/* The replay is over: asks each destination of what it made what is there already, and answers who
 * asked meanwhile. */
static void wake(struct engine *e) {
    e->awake = true;
    for (uint16_t p = 0; p < e->o.partitions; p++)
        for (uint16_t other = 0; e->parts[p].cells && other < e->o.partitions; other++) {
            if (e->parts[p].boxes[other].head) box_knock(e, p, other);
            if (!e->parts[p].knocked[other]) continue;
            struct parcel *k = must_alloc(sizeof *k);
            *k = (struct parcel){.kind = PARCEL_KNOCK, .from = other, .to = p};
            knock_answer(e, k);
        }
}

static void cells_end(struct engine *e) {
    e->cells.over = false;
    for (uint16_t p = (uint16_t)e->o.lane; p < e->o.partitions; p = (uint16_t)(p + e->o.lanes))
        if (cells_turn_end(e->parts[p].cells)) e->cells.over = true;
}

bool engine_turn(struct engine *e, size_t max, int64_t mono_ms) {
    struct log_record records[POLL_MAX];
    bool later = mono_ms != e->now_ms;
    e->now_ms = mono_ms;
    held_retry(e);
    if (later) boxes_retry(e);
    size_t done = 0, n;
    do {
        size_t want = max - done < POLL_MAX ? max - done : POLL_MAX;
        n = e->o.log->calls->poll(e->o.log, e->o.lane, records, want);
        for (size_t i = 0; i < n; i += AHEAD_MAX)
            apply_some(e, records + i, n - i < AHEAD_MAX ? n - i : AHEAD_MAX);
        done += n;
    } while (n && done < max);
    if (!e->awake && engine_caught_up(e)) wake(e);
    if (e->awake && (done || later)) acks_send(e);
    if (e->cells.over) cells_end(e);
    arena_reset(&e->turn);
    return done == max;
}

/* ---- flushing ---- */
static void freeze_one(struct engine *e, uint16_t p) {
    struct partition *part = &e->parts[p];
    if (part->applied == part->written) return;
    cells_freeze(part->cells, &e->batch, e->generation);
    part->frozen = part->applied;
    uint8_t pos[8];
    memcpy(pos, &part->frozen, 8); /* little-endian, as pack_u64 */
    table_batch_add(&e->batch, p, KEY_POS, bytes_of(pos, 8));
}

bool engine_freeze(struct engine *e, unsigned most) {
    if (e->batch_out || !engine_caught_up(e)) return false;
    e->generation++;
    buf_reset(&e->batch.data);
    e->batch.changes = 0;
    unsigned own = (e->o.partitions - e->o.lane + e->o.lanes - 1) / e->o.lanes;
    for (unsigned n = most < own ? most : own; n; n--) {
        freeze_one(e, e->hand);
        unsigned next = e->hand + e->o.lanes;
        e->hand = (uint16_t)(next < e->o.partitions ? next : e->o.lane);
    }
    e->batch_out = e->batch.changes != 0;
    return e->batch_out;
}

struct table_batch *engine_batch_ready(struct engine *e) {
    if (!e->batch_out) return NULL;
    for (uint16_t p = 0; p < e->o.partitions && e->o.planted != BUG_FLUSH_PAST_RELAY; p++) {
        struct partition *part = &e->parts[p];
        if (!part->waiting || part->frozen == part->written) continue;
        for (uint16_t d = 0; d < e->o.partitions; d++)
            if (part->boxes[d].head && part->boxes[d].head->source_position <= part->frozen)
                return NULL;
    }
    return &e->batch;
}

void engine_batch_written(struct engine *e) {
    check(e->batch_out);
    e->batch_out = false;
    e->counts.flushes++;
    for (uint16_t p = 0; p < e->o.partitions; p++) {
        struct partition *part = &e->parts[p];
        if (!part->cells) continue;
        part->written = part->frozen;
        cells_flushed(part->cells, e->generation);
    }
    /* a large one is kept only while load keeps it large: growing it anew costs page faults */
    if (e->batch.data.n < e->batch.data.cap / 4) buf_done(&e->batch.data);
}

void engine_positions(const struct engine *e, uint64_t *below) {
    for (uint16_t p = 0; p < e->o.partitions; p++)
        if (e->parts[p].cells) below[p] = e->parts[p].written + 1;
}
