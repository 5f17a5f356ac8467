/* notify, measured: decisions about people: triggers for one recipient, applied in one partition by one
 * thread (no sockets, no log), with preferences, quiet hours, caps and grouping in play. Each trigger is
 * one decision. Prints a line of JSON: decisions a second, and instructions a decision where the
 * processor tells them. SPDX-License-Identifier: Apache-2.0 */
#include <linux/perf_event.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "due/due.h"
#include "notify/notify_in.h"
#include "person/person.h"

enum { PEOPLE = 10000, ITEMS = 64, RECORDS = 4000, WARM = 500, FLOWS = 4 };
#define NOW_MS 1795298400000ll /* 2026-11-21, 22:00 UTC */

#define WORDS "\"templates\":{\"en\":{\"title\":\"{actor} liked {object}\"}}}"
static const struct {
    const char *id, *json;
} FLOW[FLOWS] = {{"like", "{\"channels\":[\"inapp\",\"push\"],\"group_by\":[\"object\"]," WORDS},
    {"news", "{\"channels\":[\"inapp\",\"email\"],\"cap\":{\"count\":3,\"per\":\"day\"}," WORDS},
    {"reply", "{\"channels\":[\"inapp\",\"push\"]," WORDS},
    {"sale", "{\"channels\":[\"inapp\",\"push\"],\"group_by\":[\"actor\"],\"cap\":{\"count\":20,"
             "\"per\":\"week\"}," WORDS}};
static const struct bytes APP = {(const uint8_t *)"demo", 4};

struct world {
    struct cells *cells;
    struct arena arena;
    struct surface surfaces[NOTIFY_SURFACES_MAX];
    size_t count;
    uint64_t position, ids, generation;
    int64_t now_ms;
    struct store *store;
    uint64_t later; /* items that another record would decide */
    struct rng rng;
};

static void record(struct world *w, uint8_t kind, struct bytes body) {
    struct answer a = {0};
    arena_reset(&w->arena);
    struct step s = {.cells = w->cells,
        .partitions = 1,
        .position = ++w->position,
        .time_ms = w->now_ms,
        .app = APP,
        .body = body,
        .arena = &w->arena,
        .answer = &a};
    for (size_t i = 0; i < w->count; i++)
        for (size_t k = 0; k < w->surfaces[i].record_count; k++)
            if (w->surfaces[i].records[k].kind == kind) w->surfaces[i].records[k].apply(&s);
    check(!a.problem);
    for (size_t i = 0; i < s.relay_count; i++) /* of people who were told in this record already */
        for (struct unpack u = unpack_of(s.relays[i].body); unpack_more(&u); w->later++)
            (void)unpack_bytes(&u);
    buf_done(&a.body);
    cells_turn_end(w->cells);
}

/* What is dirty goes to the tables now and then, as it does in a server. */
static void flush(struct world *w) {
    struct table_batch b = {0};
    cells_freeze(w->cells, &b, ++w->generation);
    check(w->store->calls->write(w->store, &b) == OK);
    cells_flushed(w->cells, w->generation);
    buf_done(&b.data);
}

static void flows_put(struct world *w, struct tools *t) {
    for (int f = 0; f < FLOWS; f++) {
        struct buf b = {0}, definition = {0};
        struct answer a = {0};
        check(definition_read(t, bytes_str(FLOW[f].json), &definition, &a));
        pack_bytes(&b, bytes_str(FLOW[f].id));
        pack_u64(&b, 0);
        pack_bytes(&b, buf_view(&definition));
        record(w, KIND_WORKFLOW_PUT, buf_view(&b));
        buf_done(&b);
        buf_done(&definition);
    }
}

static struct bytes person_name(char room[static 16], uint64_t n) {
    snprintf(room, 16, "p%llu", (unsigned long long)n);
    return bytes_str(room);
}

/* All live in Berlin; a third sleeps, a third wants no mail of news, the others wish for nothing. */
static void people(struct world *w, struct tools *t) {
    struct step s = {.cells = w->cells, .partitions = 1, .app = APP, .arena = &w->arena};
    struct person_profile p = {.created_ms = 1};
    struct buf b = {0};
    char name[16];
    check(template_zone_table(t->kit, BYTES("Europe/Berlin"), NOW_MS, 20, &b));
    person_zone_set(&s, BYTES("Europe/Berlin"), buf_view(&b));
    p.f[PROFILE_TIMEZONE] = BYTES("Europe/Berlin");
    for (unsigned n = 0; n < PEOPLE; n++) {
        person_profile_set(&s, person_name(name, n), &p);
        buf_reset(&b);
        pack_bytes(&b, person_name(name, n));
        pack_u8(&b, n % 3 == 0 ? 1 : 0);
        pack_u16(&b, 22 * 60);
        pack_u16(&b, 7 * 60 + 30);
        pack_u8(&b, QUIET_ALL);
        pack_u64(&b, 0);
        if (n % 3 == 1) {
            pack_bytes(&b, BYTES("news"));
            pack_u8(&b, CHANNEL_EMAIL);
            pack_u8(&b, CHANNEL_EMAIL);
            pack_u8(&b, 0);
        }
        if (n % 3 != 2) record(w, KIND_PREFERENCES_PUT, buf_view(&b));
    }
    buf_done(&b);
}

/* A batch as the plan of a request makes it: triggers for one recipient each, ids made there. */
static void batch(struct world *w, struct buf *out) {
    buf_reset(out);
    for (int i = 0; i < ITEMS; i++) {
        struct buf id = {0}, item = {0}, users = {0};
        char user[16], actor[16], object[16];
        uint64_t who = rng_below(&w->rng, PEOPLE);
        message_id_make(
            &id, w->now_ms, (++w->ids | TRIGGER_DIRECT | TRIGGER_MADE) << TRIGGER_ID_SHIFT);
        snprintf(actor, sizeof actor, "a%llu", (unsigned long long)rng_below(&w->rng, 50));
        snprintf(object, sizeof object, "o%llu", (unsigned long long)rng_below(&w->rng, 4));
        struct content k = {.id = buf_view(&id),
            .workflow = bytes_str(FLOW[rng_below(&w->rng, FLOWS)].id),
            .actor = bytes_str(actor),
            .actor_name = BYTES("Ann Smith"),
            .object = bytes_str(object),
            .created_ms = w->now_ms};
        pack_bytes(&users, person_name(user, who));
        content_encode(&item, &k);
        pack_bytes(&item, buf_view(&users));
        pack_bytes(out, buf_view(&item));
        buf_done(&id);
        buf_done(&item);
        buf_done(&users);
    }
    w->now_ms += 5;
}

static int counter_open(void) {
    struct perf_event_attr a = {.type = PERF_TYPE_HARDWARE,
        .size = sizeof a,
        .config = PERF_COUNT_HW_INSTRUCTIONS,
        .disabled = 1,
        .exclude_kernel = 1,
        .exclude_hv = 1};
    return (int)syscall(SYS_perf_event_open, &a, 0, -1, -1, 0);
}
static int64_t cpu_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return t.tv_sec * 1000000000ll + t.tv_nsec;
}

int main(void) {
    struct world w = {.store = store_create_memory(), .now_ms = NOW_MS, .rng = {1}};
    struct tools tools = {.kit = template_kit_create()};
    struct buf body = {0};
    int64_t took = 0;
    uint64_t instructions = 0;
    int counter = counter_open();
    w.cells = cells_create(w.store, 0, 1ull << 30);
    w.count = notify_surfaces(w.surfaces);
    flows_put(&w, &tools);
    people(&w, &tools);
    for (int n = 0; n < WARM + RECORDS; n++) {
        batch(&w, &body);
        if (n == WARM && counter >= 0) ioctl(counter, PERF_EVENT_IOC_RESET, 0);
        if (n >= WARM && counter >= 0) ioctl(counter, PERF_EVENT_IOC_ENABLE, 0);
        int64_t from = cpu_ns();
        record(&w, KIND_NOTIFY_COPY, buf_view(&body));
        if (n >= WARM) took += cpu_ns() - from;
        if (counter >= 0) ioctl(counter, PERF_EVENT_IOC_DISABLE, 0);
        if (n % 64 == 63) flush(&w);
    }
    uint64_t decisions = (uint64_t)RECORDS * ITEMS - w.later;
    printf("{\"decisions\":%llu,\"decisions_per_s\":%.0f,\"ns\":%.0f",
        (unsigned long long)decisions, (double)decisions * 1e9 / (double)took,
        (double)took / (double)decisions);
    if (counter >= 0 && read(counter, &instructions, sizeof instructions) == sizeof instructions)
        printf(",\"instructions\":%.0f", (double)instructions / (double)decisions);
    printf("}\n");
    if (counter >= 0) close(counter);
    template_kit_free(&tools.kit);
    buf_done(&body);
    arena_done(&w.arena);
    cells_free(&w.cells);
    w.store->calls->close(w.store);
    return 0;
}
