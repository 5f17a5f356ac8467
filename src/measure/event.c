/* measure: the ring of events, and the one place of a thread that knows its ring without being told.
 * SPDX-License-Identifier: Apache-2.0 */
#include "measure/event.h"

#include <stddef.h>
#include <string.h>
#include <time.h>

#include "measure/slots.h"

_Static_assert((EVENTS_KEPT & (EVENTS_KEPT - 1)) == 0, "a slot is found by a mask");
_Static_assert(sizeof(struct event) % 8 == 0, "copied in words");

static const struct {
    const char *name, *help;
} KINDS[] =
    {
#define X(name, help) {#name, help},
        EVENT_KINDS(X)
#undef X
},
  PHASES[] = {
#define X(name, help) {#name, help},
      TURN_PHASES(X)
#undef X
};
static const char *const LOCKS[] = {
    "admit", "limits", "log", "channels", "tables", "tls", "elsewhere"};

const char *event_name(enum event_kind k) { return KINDS[k].name; }
const char *event_help(enum event_kind k) { return KINDS[k].help; }
const char *phase_name(enum turn_phase p) { return PHASES[p].name; }
const char *phase_help(enum turn_phase p) { return PHASES[p].help; }
const char *lock_name(enum event_lock l) { return LOCKS[l]; }

/* Most have no names, and are then written and read without the room for them. */
static size_t words_of(uint32_t kind) {
    bool named = kind == EVENT_fanout || kind == EVENT_reader || kind == EVENT_retries ||
                 kind == EVENT_queue;
    return named ? sizeof(struct event) : offsetof(struct event, names);
}

void event_add(struct events *ring, const struct event *e) {
    uint64_t n = __atomic_load_n(&ring->count, __ATOMIC_RELAXED);
    struct event_slot *slot = &ring->slots[n & (EVENTS_KEPT - 1)];
    slot_write(&slot->turn, n, slot->words, e, words_of(e->kind));
    __atomic_store_n(&ring->of_kind[e->kind], ring->of_kind[e->kind] + 1, __ATOMIC_RELAXED);
    __atomic_store_n(&ring->count, n + 1, __ATOMIC_RELEASE);
}

void event_name_set(struct event *e, unsigned which, struct bytes name) {
    size_t n = name.n < EVENT_NAME_MAX ? name.n : EVENT_NAME_MAX;
    if (n) memcpy(e->names[which], name.p, n);
    e->names[which][n] = 0;
}

uint64_t events_of_kind(const struct events *ring, enum event_kind k) {
    return __atomic_load_n(&ring->of_kind[k], __ATOMIC_RELAXED);
}

static bool slot_event(const struct event_slot *s, uint64_t nth, struct event *out) {
    size_t head = offsetof(struct event, names);
    if (!slot_read(&s->turn, nth, s->words, out, head)) return false;
    for (unsigned i = 0; i < EVENT_NAMES; i++) out->names[i][0] = 0;
    if (out->kind >= EVENT_KIND_COUNT || words_of(out->kind) == head) return true;
    return slot_read(&s->turn, nth, s->words, out, sizeof *out);
}

/* Its start and end; it may be written over meanwhile: then they are nobody's. */
static void slot_times(const struct event_slot *s, int64_t *start_ns, int64_t *end_ns) {
    enum { START = offsetof(struct event, start_ns) / 8 };
    *start_ns = (int64_t)__atomic_load_n(&s->words[START], __ATOMIC_RELAXED);
    *end_ns = *start_ns + (int64_t)__atomic_load_n(&s->words[START + 1], __ATOMIC_RELAXED);
}

/* The first of those at the ring's end that may touch the time. They are written when they are over, or
 * little later: so many in a row that ended long before, and all others did too. */
static uint64_t first_since(const struct events *ring, uint64_t end, int64_t from_ns) {
    enum { IN_A_ROW = 16, LATER_NS = 2000000000 };
    uint64_t kept = end < EVENTS_KEPT ? end : EVENTS_KEPT, first = end;
    int64_t start, over;
    unsigned old = 0;
    for (uint64_t i = end; i-- > end - kept && old < IN_A_ROW;) {
        slot_times(&ring->slots[i & (EVENTS_KEPT - 1)], &start, &over);
        old = over < from_ns - LATER_NS ? old + 1 : 0;
        if (over >= from_ns) first = i;
    }
    return first;
}

size_t events_read(
    const struct events *ring, int64_t from_ns, int64_t to_ns, struct event *out, size_t cap) {
    uint64_t end = __atomic_load_n(&ring->count, __ATOMIC_ACQUIRE);
    int64_t start, over;
    size_t n = 0, touching = 0;
    uint64_t first = first_since(ring, end, from_ns), i = end;
    for (; i > first && touching < cap; i--) {
        slot_times(&ring->slots[(i - 1) & (EVENTS_KEPT - 1)], &start, &over);
        touching += start <= to_ns && over >= from_ns;
    }
    for (; i < end && n < cap; i++) {
        const struct event_slot *slot = &ring->slots[i & (EVENTS_KEPT - 1)];
        slot_times(slot, &start, &over);
        if (start > to_ns || over < from_ns) continue;
        if (!slot_event(slot, i, &out[n])) n = 0; /* written over, as are all before it */
        else n += out[n].start_ns == start && out[n].start_ns + out[n].duration_ns == over;
    }
    return n;
}

/* ---- locks ---- */
static _Thread_local struct {
    struct events *ring;
    uint32_t thread;
    int64_t waited_ns;
} here;

void events_here(struct events *ring, uint32_t thread) {
    here.ring = ring;
    here.thread = thread;
}

static int64_t mono_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

void locked(pthread_mutex_t *m, enum event_lock which) {
    enum { LONG_NS = 1000000 };
    if (pthread_mutex_trylock(m) == 0) return;
    int64_t began = mono_ns();
    pthread_mutex_lock(m);
    int64_t took = mono_ns() - began;
    here.waited_ns += took;
    if (took < LONG_NS || !here.ring) return;
    struct event e = {.kind = EVENT_lock,
        .thread = here.thread,
        .start_ns = began,
        .duration_ns = took,
        .a = which};
    event_add(here.ring, &e);
}

int64_t locked_ns(void) { return here.waited_ns; }
