/* measure: journeys. Records under way stand in a queue, in the order in which they were appended,
 * which is the order in which they come back from the log:
 *
 *   head (oldest of this turn) ─▶ applied ─▶ ... ─▶ tail (newest appended)
 *
 * A turn's end records the times of those between head and applied, and copies some of them to the
 * rings of kept ones, which other threads read (slots.h).
 * SPDX-License-Identifier: Apache-2.0 */
#include "measure/journey.h"

#include <stdio.h>
#include <stdlib.h>

#include "measure/measure.h"
#include "measure/slots.h"

enum {
    UNDER_WAY_MAX = 1 << 16, /* beyond it records have no journey */
    NAMED_MAX = 256,         /* of a turn */
    NAMED_FIRST = 4,         /* of them neither kept nor slow: more become so for one reason */
    FILTER = 1024,           /* kept positions that devices may still get */
    CLOCK_EVERY = 32,        /* records between two looks at the clock */
    FANOUT_MIN = 256,        /* devices of one record that are an event */
    FANOUT_NS = 100000000,   /* relays of one record within it are one fan-out */
    QUEUE_MIN = 64,          /* records of a turn */
    QUEUE_NS = 5000000,      /* that have waited so long */
    ACK_ROWS = 256,          /* of devices, from the first of a journey on, that are looked at */
    REPEATERS = 8,           /* senders whose repetitions are counted */
    RETRIES_MIN = 20         /* of one in a second that are an event */
};
_Static_assert(sizeof(struct journey) % 8 == 0 && sizeof(struct journey_device) % 8 == 0, "words");

struct under_way {
    uint64_t position, source_position;
    int64_t began_ns, came_ns, appended_ns, durable_ns, applied_ns, wall_ms;
    uint32_t devices, waiting;
    uint16_t partition, source, name; /* name: of the turn, from 1; 0: none */
    uint8_t kind;
    bool kept, quiet; /* quiet: nobody waits for it */
};
struct names {
    char app[JOURNEY_NAME_MAX + 1], conversation[JOURNEY_NAME_MAX + 1], item[JOURNEY_NAME_MAX + 1];
};
struct kept_slot {
    uint64_t turn, words[sizeof(struct journey) / 8];
};
struct kept_ring {
    uint64_t count;
    uint32_t mask;
    struct kept_slot *slots;
};
struct bucket {                    /* of tokens: how many may be kept */
    int64_t tokens, most, each_ns; /* each: until the next token */
    int64_t at_ns;
};
struct fanout { /* relays of one record: it reaches several partitions */
    uint32_t devices;
    uint16_t source;
    uint64_t source_position;
    int64_t start_ns;
    struct names names;
};
struct repeater {
    uint64_t who; /* hash of app and user */
    uint32_t times;
    int64_t since_ns;
};
struct item_place {
    uint64_t who; /* hash of app and item */
    char conversation[JOURNEY_NAME_MAX + 8];
};
struct place_slot {
    uint64_t turn, words[sizeof(struct item_place) / 8];
};
struct journeys {
    struct measure *measure;
    int64_t (*mono_ns)(void);
    int64_t now_ns;
    struct under_way *queue; /* ring */
    uint32_t cap, head, applied, tail;
    struct under_way *current;
    unsigned since_clock[2]; /* of this turn: records appended, applied */
    struct names *named;     /* [NAMED_MAX] of this turn */
    uint16_t named_count;
    uint16_t shard;
    struct bucket sample, slow;
    int64_t slowest_ns, slowest_since_ns; /* of this second */
    struct fanout fanout;
    struct repeater repeaters[REPEATERS];
    struct kept_ring sampled, slows;
    struct place_slot *places;
    uint64_t place_count;
    struct {
        uint64_t place, first_device; /* partition and position; row of the first device */
    } filter[FILTER];                 /* kept ones */
    uint64_t device_count;
    struct {
        uint64_t turn, words[sizeof(struct journey_device) / 8];
    } devices[JOURNEY_DEVICES_MAX];
};

static void ring_create_of(struct kept_ring *r, uint32_t n) {
    r->mask = n - 1;
    r->slots = must_alloc(n * sizeof *r->slots);
}

struct journeys *journeys_create(uint16_t shard, struct measure *m, int64_t (*mono_ns)(void)) {
    struct journeys *j = must_alloc(sizeof *j);
    j->measure = m;
    j->mono_ns = mono_ns;
    j->shard = shard;
    j->now_ns = mono_ns();
    j->cap = 256;
    j->queue = must_alloc(j->cap * sizeof *j->queue);
    j->named = must_alloc(NAMED_MAX * sizeof *j->named);
    j->sample =
        (struct bucket){10 * KEPT_PER_S, 10 * KEPT_PER_S, 1000000000 / KEPT_PER_S, j->now_ns};
    j->slow = (struct bucket){128, 128, 1000000000 / SLOW_PER_S, j->now_ns};
    j->places = must_alloc(JOURNEY_PLACES * sizeof *j->places);
    ring_create_of(&j->sampled, JOURNEYS_SAMPLED_MAX);
    ring_create_of(&j->slows, JOURNEYS_SLOW_MAX);
    return j;
}

void journeys_free(struct journeys **pj) {
    struct journeys *j = *pj;
    if (!j) return;
    free(j->queue);
    free(j->named);
    free(j->places);
    free(j->sampled.slots);
    free(j->slows.slots);
    free(j);
    *pj = NULL;
}

static bool bucket_take(struct bucket *b, int64_t now_ns) {
    int64_t since = now_ns - b->at_ns;
    if (since >= b->each_ns) {
        int64_t more = since / b->each_ns;
        b->tokens = b->tokens + more < b->most ? b->tokens + more : b->most;
        b->at_ns += more * b->each_ns;
    }
    if (!b->tokens) return false;
    b->tokens--;
    return true;
}

/* ---- the queue ---- */
static uint32_t queue_mask(const struct journeys *j) { return j->cap - 1; }

static bool queue_grow(struct journeys *j) {
    if (j->cap == UNDER_WAY_MAX) return false;
    struct under_way *now = must_alloc(2 * j->cap * sizeof *now);
    for (uint32_t i = j->head; i != j->tail; i++)
        now[i & (2 * j->cap - 1)] = j->queue[i & queue_mask(j)];
    free(j->queue);
    j->queue = now;
    j->cap *= 2;
    return true;
}

void journey_appended(struct journeys *j, uint16_t partition, uint64_t position, int64_t came_ns,
    uint16_t source, const struct journey_origin *origin) {
    if (!j || (j->tail - j->head == j->cap && !queue_grow(j))) return;
    if (j->since_clock[0]++ % CLOCK_EVERY == 0) j->now_ns = j->mono_ns();
    struct under_way *u = &j->queue[j->tail++ & queue_mask(j)];
    *u = (struct under_way){.position = position,
        .partition = partition,
        .source = source,
        .quiet = origin ? !origin->began_ns : !came_ns,
        .came_ns = came_ns ? came_ns : j->now_ns,
        .began_ns = came_ns,
        .appended_ns = j->now_ns};
    if (origin) {
        u->source_position = origin->source_position;
        u->came_ns = origin->made_ns;
        u->began_ns = origin->began_ns;
        u->kept = origin->kept;
    }
    if (u->came_ns > j->now_ns) u->appended_ns = u->came_ns; /* of another shard's clock */
}

void journey_begin(struct journeys *j, uint16_t partition, uint64_t position, int64_t durable_ns) {
    if (!j) return;
    j->current = NULL;
    if (j->applied == j->tail) return;
    struct under_way *u = &j->queue[j->applied & queue_mask(j)];
    if (u->position != position || u->partition != partition) return;
    j->applied++;
    u->durable_ns = durable_ns < u->appended_ns ? u->appended_ns : durable_ns;
    u->applied_ns = u->durable_ns; /* until it is: what is told twice is not applied */
    j->current = u;
}

static void name_set(char *to, struct bytes from) {
    size_t n = from.n < JOURNEY_NAME_MAX ? from.n : JOURNEY_NAME_MAX;
    if (n) memcpy(to, from.p, n);
    to[n] = 0;
}

static void name_take(struct journeys *j, struct under_way *u, const struct journey_about *about) {
    bool known = u->kept || u->applied_ns - u->came_ns >= JOURNEY_SLOW_NS;
    if (j->named_count >= (known ? NAMED_MAX : NAMED_FIRST)) return;
    struct names *n = &j->named[j->named_count++];
    u->name = j->named_count;
    name_set(n->app, about->app);
    name_set(n->conversation, about->conversation);
    name_set(n->item, about->item);
}

/* Of the app as much as tells most of them apart: whoever finds an item asks for it in its own app. */
static uint64_t item_hash(struct bytes app, struct bytes item) {
    uint64_t start = app.n;
    memcpy(&start, app.p, app.n < sizeof start ? app.n : sizeof start);
    return hash64(item) ^ start * 0x9e3779b97f4a7c15u;
}

/* Words of the name only: the rest of the slot is an older one's, behind this one's end. */
static void place_keep(struct journeys *j, const struct journey_about *about) {
    struct item_place p;
    uint64_t n = j->place_count;
    struct place_slot *s = &j->places[n & (JOURNEY_PLACES - 1)];
    p.who = item_hash(about->app, about->item);
    name_set(p.conversation, about->conversation);
    slot_write(&s->turn, n, s->words, &p, (8 + about->conversation.n + 8) & ~7ul);
    __atomic_store_n(&j->place_count, n + 1, __ATOMIC_RELEASE);
}

static uint64_t place(uint16_t partition, uint64_t position) {
    return (uint64_t)partition << 48 ^ position;
}
static size_t filter_at(uint64_t place) { return (place ^ place >> 42) & (FILTER - 1); }

/* Counts a second of each; whoever comes takes the place of another with the same hash. */
static void repeated(struct journeys *j, const struct journey_about *about) {
    uint64_t who = hash64(about->app) ^ hash64(about->repeated_by) * 31;
    struct repeater *r = &j->repeaters[who % REPEATERS];
    if (r->who != who || j->now_ns - r->since_ns > 1000000000)
        *r = (struct repeater){.who = who, .since_ns = j->now_ns};
    uint32_t n = ++r->times / RETRIES_MIN;
    if (r->times % RETRIES_MIN || n & (n - 1)) return; /* at 20, 40, 80 ...: the ring is for all */
    struct event e = {.kind = EVENT_retries,
        .thread = j->shard,
        .start_ns = r->since_ns,
        .duration_ns = j->now_ns - r->since_ns,
        .a = r->times};
    event_name_set(&e, 0, about->app);
    event_name_set(&e, 1, about->repeated_by);
    event_add(&j->measure->events, &e);
}

void journey_applied(struct journeys *j, uint8_t kind, int64_t wall_ms,
    const struct journey_about *about, struct journey_origin *out) {
    struct under_way *u = j ? j->current : NULL;
    if (!u) return;
    if (j->since_clock[1]++ % CLOCK_EVERY == 0) j->now_ns = j->mono_ns();
    u->kind = kind;
    u->wall_ms = wall_ms;
    u->applied_ns = j->now_ns < u->durable_ns ? u->durable_ns : j->now_ns;
    bool slow = !u->quiet && u->applied_ns - u->came_ns >= JOURNEY_SLOW_NS;
    /* what has no item is of no use to who asks for one */
    if (!u->kept && (slow || about->item.n)) u->kept = bucket_take(&j->sample, j->now_ns);
    if (u->kept) {
        uint64_t at = place(u->partition, u->position);
        j->filter[filter_at(at)].place = at;
        j->filter[filter_at(at)].first_device = j->device_count;
    }
    name_take(j, u, about);
    if (about->item.n && u->source == UINT16_MAX) place_keep(j, about);
    if (about->repeated_by.n) repeated(j, about);
    *out = (struct journey_origin){u->began_ns, u->applied_ns, u->position, u->kept};
}

/* ---- devices ---- */
static bool is_kept(struct journeys *j, uint16_t partition, uint64_t position) {
    uint64_t at = place(partition, position);
    return j->filter[filter_at(at)].place == at;
}

static void device_keep(struct journeys *j, uint16_t partition, uint64_t position,
    struct bytes user, struct bytes device) {
    struct journey_device d = {.partition = partition, .position = position};
    d.written_ns = j->now_ns;
    name_set(d.user, user);
    name_set(d.device, device);
    uint64_t n = j->device_count;
    size_t i = n & (JOURNEY_DEVICES_MAX - 1);
    slot_write(&j->devices[i].turn, n, j->devices[i].words, &d, sizeof d);
    __atomic_store_n(&j->device_count, n + 1, __ATOMIC_RELEASE);
}

void journey_wrote(struct journeys *j, uint16_t partition, uint64_t position, struct bytes user,
    struct bytes device) {
    if (!j) return;
    struct under_way *u = j->current;
    bool of_current = u && u->position == position && u->partition == partition;
    if (of_current) u->devices++;
    if (is_kept(j, partition, position) && (!of_current || u->devices <= JOURNEY_DEVICES))
        device_keep(j, partition, position, user, device);
}

void journey_waits(struct journeys *j) {
    if (j && j->current) j->current->waiting++;
}

static bool device_read(const struct journeys *j, uint64_t n, struct journey_device *out) {
    size_t i = n & (JOURNEY_DEVICES_MAX - 1);
    return slot_read(&j->devices[i].turn, n, j->devices[i].words, out, sizeof *out);
}

static bool name_is(const char *name, struct bytes b) {
    return strlen(name) == b.n && (!b.n || memcmp(name, b.p, b.n) == 0);
}

void journey_acked(struct journeys *j, uint16_t partition, uint64_t position, struct bytes user,
    struct bytes device) {
    if (!j || !is_kept(j, partition, position)) return;
    uint64_t first = j->filter[filter_at(place(partition, position))].first_device;
    struct journey_device d;
    for (uint64_t n = first; n < j->device_count && n < first + ACK_ROWS; n++) {
        if (!device_read(j, n, &d)) return;
        if (d.position != position || d.partition != partition || !name_is(d.device, device) ||
            !name_is(d.user, user))
            continue;
        /* one word: a reader has it or not */
        size_t i = n & (JOURNEY_DEVICES_MAX - 1),
               word = offsetof(struct journey_device, acked_ns) / 8;
        __atomic_store_n(&j->devices[i].words[word], (uint64_t)j->mono_ns(), __ATOMIC_RELEASE);
        return;
    }
}

/* ---- the turn's end ---- */
static void keep(struct kept_ring *r, const struct journey *one) {
    uint64_t n = r->count;
    struct kept_slot *s = &r->slots[n & r->mask];
    slot_write(&s->turn, n, s->words, one, sizeof *one);
    __atomic_store_n(&r->count, n + 1, __ATOMIC_RELEASE);
}

/* Counts a slow one; is it to be kept? */
static bool slow_wanted(struct journeys *j, int64_t took) {
    measure_add(j->measure, COUNTER_slow, 1);
    if (j->now_ns - j->slowest_since_ns > 1000000000) {
        j->slowest_since_ns = j->now_ns;
        j->slowest_ns = 0;
    }
    /* by a quarter: in a queue that grows each is a little slower than the one before */
    if (!bucket_take(&j->slow, j->now_ns) && took <= j->slowest_ns + j->slowest_ns / 4)
        return false;
    if (took > j->slowest_ns) j->slowest_ns = took;
    return true;
}

static void journey_fill(const struct journeys *j, const struct under_way *u, struct journey *out) {
    *out = (struct journey){.what = JOURNEY_RECORD,
        .position = u->position,
        .source_position = u->source_position,
        .partition = u->partition,
        .source = u->source,
        .shard = j->shard,
        .kind = u->kind,
        .began_ns = u->began_ns,
        .came_ns = u->came_ns,
        .appended_ns = u->appended_ns,
        .durable_ns = u->durable_ns,
        .applied_ns = u->applied_ns,
        .written_ns = j->now_ns,
        .wall_ms = u->wall_ms,
        .devices = u->devices,
        .waiting = u->waiting};
    if (!u->name) return;
    const struct names *n = &j->named[u->name - 1];
    memcpy(out->app, n->app, sizeof n->app);
    memcpy(out->conversation, n->conversation, sizeof n->conversation);
    memcpy(out->item, n->item, sizeof n->item);
}

static void fanout_tell(struct journeys *j) {
    struct fanout *f = &j->fanout;
    if (f->devices < FANOUT_MIN) return;
    struct event e = {.kind = EVENT_fanout,
        .thread = j->shard,
        .start_ns = f->start_ns,
        .duration_ns = j->now_ns - f->start_ns,
        .a = f->devices};
    event_name_set(&e, 0, bytes_str(f->names.app));
    event_name_set(&e, 1, bytes_str(f->names.conversation));
    event_add(&j->measure->events, &e);
    f->devices = 0;
}

/* Relays of one record. */
static void fanout_note(struct journeys *j, const struct under_way *u) {
    struct fanout *f = &j->fanout;
    bool same = f->devices && j->now_ns - f->start_ns < FANOUT_NS && f->source == u->source &&
                f->source_position == u->source_position;
    if (!same) {
        f->devices = 0;
        f->start_ns = u->applied_ns;
        f->source = u->source;
        f->source_position = u->source_position;
        f->names.app[0] = f->names.conversation[0] = 0;
    }
    if (u->name) f->names = j->named[u->name - 1];
    f->devices += u->devices;
}

/* Whose work it is: a conversation's messages are of its partition, their relays of many others. */
static uint16_t work_of(const struct under_way *u) {
    return u->source == UINT16_MAX ? u->partition : u->source;
}

/* Most of a turn's records relays of few others, of one partition: members that were added, say. */
static bool relays_look(struct journeys *j) {
    enum { EACH = 64 }; /* relays of one record */
    uint32_t n = j->applied - j->head, votes = 0, count = 0, records = 0, mask = queue_mask(j);
    const struct under_way *most = NULL, *last = NULL;
    if (n < FANOUT_MIN || j->now_ns - j->queue[j->head & mask].durable_ns < QUEUE_NS) return false;
    for (uint32_t i = j->head; i != j->applied; i++) {
        const struct under_way *u = &j->queue[i & mask];
        if (!votes) most = u;
        votes += u->source == most->source ? 1u : -1u;
    }
    for (uint32_t i = j->head; i != j->applied; i++) {
        const struct under_way *u = &j->queue[i & mask];
        if (u->source != most->source) continue;
        records += !last || !u->source_position || last->source_position != u->source_position;
        count++;
        last = u;
    }
    if (most->source == UINT16_MAX || count <= n / 2 || count < records * EACH) return false;
    const struct under_way *first = &j->queue[j->head & mask];
    struct event e = {.kind = EVENT_fanout,
        .thread = j->shard,
        .start_ns = first->durable_ns,
        .duration_ns = j->now_ns - first->durable_ns,
        .a = count,
        .b = 1};
    event_add(&j->measure->events, &e);
    return true;
}

/* Most of a turn's records for one partition: a vote finds which it could be, a count whether it
 * is. */
static void queue_look(struct journeys *j) {
    uint32_t n = j->applied - j->head, votes = 0, count = 0, mask = queue_mask(j);
    uint16_t most = 0;
    const struct under_way *last = NULL, *first = &j->queue[j->head & mask];
    if (n < QUEUE_MIN || j->now_ns - first->durable_ns < QUEUE_NS) return;
    for (uint32_t i = j->head; i != j->applied; i++) {
        uint16_t of = work_of(&j->queue[i & mask]);
        if (!votes) most = of;
        votes += of == most ? 1u : -1u;
    }
    /* three fifths leave a fifth of the votes */
    if (votes < n / 5) return;
    for (uint32_t i = j->head; i != j->applied; i++) {
        const struct under_way *u = &j->queue[i & mask];
        if (work_of(u) != most) continue;
        count++;
        if (u->name) last = u;
    }
    if (count < QUEUE_MIN || count <= n / 2) return;
    struct event e = {.kind = EVENT_queue,
        .thread = j->shard,
        .start_ns = first->durable_ns,
        .duration_ns = j->now_ns - first->durable_ns,
        .a = count,
        .b = most};
    if (last) event_name_set(&e, 0, bytes_str(j->named[last->name - 1].app));
    if (last) event_name_set(&e, 1, bytes_str(j->named[last->name - 1].conversation));
    event_add(&j->measure->events, &e);
}

static void one_end(struct journeys *j, const struct under_way *u) {
    struct measure *m = j->measure;
    bool outside = u->source == UINT16_MAX;
    int64_t took = j->now_ns - u->came_ns;
    measure_time(m, outside ? TIMED_admit : TIMED_relay, (uint64_t)(u->appended_ns - u->came_ns));
    measure_time(m, TIMED_durable, (uint64_t)(u->durable_ns - u->appended_ns));
    measure_time(m, TIMED_apply, (uint64_t)(u->applied_ns - u->durable_ns));
    if (outside && !u->quiet) measure_time(m, TIMED_accepted, (uint64_t)took);
    if (u->devices && !outside) fanout_note(j, u);
    if (u->devices && !u->quiet) {
        measure_time(m, TIMED_write, (uint64_t)(j->now_ns - u->applied_ns));
        measure_time(m, TIMED_delivered, (uint64_t)(j->now_ns - u->began_ns));
        took = j->now_ns - u->began_ns;
    }
    bool slow = !u->quiet && took >= JOURNEY_SLOW_NS, wanted = slow && slow_wanted(j, took);
    if (!u->kept && !wanted) return;
    struct journey one;
    journey_fill(j, u, &one);
    one.slow = slow;
    if (wanted) keep(&j->slows, &one);
    if (one.item[0]) keep(&j->sampled, &one);
}

void journeys_clock(struct journeys *j, int64_t now_ns) {
    if (j) j->now_ns = now_ns;
}

void journeys_turn_end(struct journeys *j, int64_t now_ns) {
    if (!j) return;
    j->now_ns = now_ns;
    if (!relays_look(j)) queue_look(j);
    for (; j->head != j->applied; j->head++) one_end(j, &j->queue[j->head & queue_mask(j)]);
    fanout_tell(j);
    j->since_clock[0] = j->since_clock[1] = 0;
    j->named_count = 0;
    j->current = NULL;
}

void journey_other(struct journeys *j, enum journey_what what, int64_t came_ns, int64_t done_ns,
    const struct journey_about *about) {
    if (!j || done_ns - came_ns < JOURNEY_SLOW_NS) return;
    struct journey one = {.what = (uint8_t)what,
        .shard = j->shard,
        .source = UINT16_MAX,
        .slow = true,
        .began_ns = came_ns,
        .came_ns = came_ns,
        .applied_ns = done_ns,
        .written_ns = done_ns};
    name_set(one.app, about->app);
    name_set(one.conversation, about->conversation);
    name_set(one.item, about->item);
    if (slow_wanted(j, done_ns - came_ns)) keep(&j->slows, &one);
}

/* ---- readers ---- */
static bool kept_read(const struct kept_ring *r, uint64_t n, struct journey *out) {
    const struct kept_slot *s = &r->slots[n & r->mask];
    return slot_read(&s->turn, n, s->words, out, sizeof *out);
}

size_t journeys_read(
    const struct journeys *j, bool slow, int64_t since_ns, struct journey *out, size_t cap) {
    const struct kept_ring *r = slow ? &j->slows : &j->sampled;
    uint64_t end = __atomic_load_n(&r->count, __ATOMIC_ACQUIRE),
             kept = end <= r->mask ? end : r->mask + 1;
    size_t n = 0;
    for (uint64_t i = end; i-- > end - kept && n < cap; n++)
        if (!kept_read(r, i, &out[n]) || out[n].written_ns < since_ns) break;
    for (size_t i = 0; i < n / 2; i++) {
        struct journey first = out[i];
        out[i] = out[n - 1 - i];
        out[n - 1 - i] = first;
    }
    return n;
}

size_t journeys_find(const struct journeys *j, struct bytes app, struct bytes item,
    struct journey *out, size_t cap) {
    const struct kept_ring *r = &j->sampled; /* the slow ones with an item are there too */
    uint64_t end = __atomic_load_n(&r->count, __ATOMIC_ACQUIRE),
             kept = end <= r->mask ? end : r->mask + 1;
    size_t n = 0;
    for (uint64_t i = end; i-- > end - kept && n < cap;) {
        if (!kept_read(r, i, &out[n])) break;
        n += name_is(out[n].item, item) && name_is(out[n].app, app);
    }
    return n;
}

bool journeys_place(const struct journeys *j, struct bytes app, struct bytes item,
    char out[static JOURNEY_NAME_MAX + 1]) {
    uint64_t end = __atomic_load_n(&j->place_count, __ATOMIC_ACQUIRE), who = item_hash(app, item);
    uint64_t kept = end < JOURNEY_PLACES ? end : JOURNEY_PLACES;
    struct item_place p;
    out[0] = 0;
    for (uint64_t i = end; i-- > end - kept;) {
        const struct place_slot *s = &j->places[i & (JOURNEY_PLACES - 1)];
        if (__atomic_load_n(&s->words[0], __ATOMIC_RELAXED) != who) continue;
        if (!slot_read(&s->turn, i, s->words, &p, sizeof p)) continue;
        memcpy(out, p.conversation, JOURNEY_NAME_MAX + 1);
        out[JOURNEY_NAME_MAX] = 0;
        return true;
    }
    return false;
}

size_t journeys_devices(const struct journeys *j, uint16_t partition, uint64_t position,
    struct journey_device *out, size_t cap) {
    uint64_t end = __atomic_load_n(&j->device_count, __ATOMIC_ACQUIRE),
             kept = end < JOURNEY_DEVICES_MAX ? end : JOURNEY_DEVICES_MAX;
    size_t n = 0;
    for (uint64_t i = end; i-- > end - kept && n < cap;) {
        if (!device_read(j, i, &out[n])) break;
        n += out[n].position == position && out[n].partition == partition;
    }
    return n;
}

void journey_trace_id(const struct journey *j, char out[static 33]) {
    char names[3 * (JOURNEY_NAME_MAX + 2)];
    int n = j->item[0] ? snprintf(names, sizeof names, "%s/%s/%s", j->app, j->conversation, j->item)
                       : snprintf(names, sizeof names, "%s//%lld", j->app, (long long)j->began_ns);
    uint64_t high = hash64(bytes_of((const uint8_t *)names, (size_t)n));
    names[n] = '.'; /* the other half: of one byte more */
    uint64_t low = hash64(bytes_of((const uint8_t *)names, (size_t)n + 1));
    snprintf(out, 33, "%016llx%016llx", (unsigned long long)high, (unsigned long long)low);
}

uint64_t journeys_slow_count(const struct journeys *j) {
    return measure_get(j->measure, COUNTER_slow);
}
