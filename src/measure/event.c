/* measure: the ring of events, and the one place of a thread that knows its ring without being told.
 * SPDX-License-Identifier: Apache-2.0 */
#include "measure/event.h"

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

void event_add(struct events *ring, const struct event *e) {
    uint64_t n = __atomic_load_n(&ring->count, __ATOMIC_RELAXED);
    struct event_slot *slot = &ring->slots[n & (EVENTS_KEPT - 1)];
    slot_write(&slot->turn, n, slot->words, e, sizeof *e);
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

/* From the newest back: what is overwritten meanwhile ends it. */
size_t events_read(
    const struct events *ring, int64_t from_ns, int64_t to_ns, struct event *out, size_t cap) {
    uint64_t end = __atomic_load_n(&ring->count, __ATOMIC_ACQUIRE),
             kept = end < EVENTS_KEPT ? end : EVENTS_KEPT;
    size_t n = 0;
    for (uint64_t i = end; i-- > end - kept && n < cap;) {
        const struct event_slot *slot = &ring->slots[i & (EVENTS_KEPT - 1)];
        if (!slot_read(&slot->turn, i, slot->words, &out[n], sizeof out[n])) break;
        n += out[n].start_ns <= to_ns && out[n].start_ns + out[n].duration_ns >= from_ns;
    }
    for (size_t i = 0; i < n / 2; i++) {
        struct event first = out[i];
        out[i] = out[n - 1 - i];
        out[n - 1 - i] = first;
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
