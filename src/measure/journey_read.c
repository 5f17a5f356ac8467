/* measure: journeys that are kept, for readers of any thread. SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>

#include "measure/journey_in.h"

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
