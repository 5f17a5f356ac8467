/* notify, measured: what is asked for every notification: its workflow, its words, the person's wishes,
 * the app's webhooks. Prints; nothing here can fail. SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <time.h>

#include "notify/notify_in.h"
#include "person/person.h"

enum { ROUNDS = 5 };
#define SPAN_NS 50000000ll
#define NOW_MS 1795217400000ll /* 2026-11-21, 00:10 UTC */

static const char DEFINITION[] =
    "{\"channels\":[\"inapp\",\"push\",\"email\"],\"templates\":{\"en\":{\"title\":\"{actor} liked "
    "{object}\",\"body\":\"{others, plural, =0 {{actor} liked it} one {{actor} and # other liked "
    "it} "
    "other {{actor} and # others liked "
    "it}}\"},\"de\":{\"title\":\"d\"},\"pt\":{\"title\":\"{actor} "
    "curtiu\"},\"pl\":{\"title\":\"p\"},\"ja\":{\"title\":\"j\"}},\"group_by\":[\"object\"],"
    "\"digest\":{\"window\":\"24h\"},\"cap\":{\"count\":3,\"per\":\"day\"},\"escalate\":[{"
    "\"after\":"
    "\"10m\",\"to\":\"email\"}],\"expires_after\":\"7d\"}";

struct world {
    struct tools tools;
    struct cells *cells;
    struct workflow w;
    struct buf out;
};
static const struct bytes APP = {(const uint8_t *)"demo", 4}, ANN = {(const uint8_t *)"ann", 3};

static void one_find(struct world *w) {
    check(workflow_find(w->cells, APP, BYTES("likes"), &w->w));
}
static void one_title(struct world *w) {
    struct template_arg args[] = {
        {.name = BYTES("actor"), .kind = TEMPLATE_TEXT, .text = BYTES("Ann Smith")},
        {.name = BYTES("count"), .kind = TEMPLATE_INTEGER, .integer = 13},
        {.name = BYTES("others"), .kind = TEMPLATE_INTEGER, .integer = 12}};
    struct template_fault fault;
    buf_reset(&w->out);
    check(workflow_words(&w->tools, &w->w, BYTES("pt-BR"), "title", args, 3, &w->out, &fault));
}
static void one_any(struct world *w) { check(preferences_any(w->cells, APP, ANN)); }
static void one_off(struct world *w) {
    check(preferences_off(w->cells, APP, ANN, BYTES("likes")) == CHANNEL_EMAIL);
}
static void one_quiet(struct world *w) {
    check(preferences_quiet_until(w->cells, APP, ANN, NOW_MS) > NOW_MS);
}
static void one_webhook(struct world *w) {
    check(!webhooks_want(w->cells, APP, "notification.read"));
}

static int64_t now_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return t.tv_sec * 1000000000ll + t.tv_nsec;
}

static double best_ns(void (*fn)(struct world *), struct world *w) {
    double best = 1e18;
    for (int r = 0; r < ROUNDS; r++) {
        int64_t from = now_ns(), n = 0, took;
        do {
            for (int i = 0; i < 256; i++) fn(w);
            n += 256;
            took = now_ns() - from;
        } while (took < SPAN_NS);
        if ((double)took / (double)n < best) best = (double)took / (double)n;
    }
    return best;
}

static void apply(
    struct world *w, const struct surface_part *part, uint8_t kind, const struct buf *body) {
    struct arena arena = {0};
    struct answer a = {0};
    struct step s = {.cells = w->cells,
        .partitions = 1,
        .position = 1,
        .time_ms = NOW_MS,
        .app = APP,
        .body = buf_view(body),
        .arena = &arena,
        .answer = &a};
    for (size_t i = 0; i < part->rule_count; i++)
        if (part->rules[i].kind == kind) part->rules[i].apply(&s);
    check(!a.problem && a.status);
    buf_done(&a.body);
    arena_done(&arena);
}

/* A workflow, and someone in Berlin who sleeps from 22:00 to 07:30 and wants no mail of it. */
static void world_fill(struct world *w) {
    struct answer a = {0};
    struct buf b = {0}, definition = {0};
    check(definition_read(&w->tools, bytes_str(DEFINITION), &definition, &a));
    pack_bytes(&b, BYTES("likes"));
    pack_u64(&b, 0);
    pack_bytes(&b, buf_view(&definition));
    apply(w, &workflows_part, KIND_WORKFLOW_PUT, &b);
    buf_reset(&b);
    pack_bytes(&b, ANN);
    pack_u8(&b, 3); /* quiet hours and a pause */
    pack_u16(&b, 22 * 60);
    pack_u16(&b, 7 * 60 + 30);
    pack_u8(&b, QUIET_ALL);
    pack_u64(&b, 0);
    pack_bytes(&b, BYTES("likes"));
    pack_u8(&b, CHANNEL_EMAIL);
    pack_u8(&b, CHANNEL_EMAIL);
    pack_u8(&b, 0);
    apply(w, &notify_wishes, KIND_PREFERENCES_PUT, &b);
    struct arena arena = {0};
    struct step s = {.cells = w->cells, .partitions = 1, .app = APP, .arena = &arena};
    struct person_profile p = {.created_ms = 1};
    p.f[PROFILE_TIMEZONE] = BYTES("Europe/Berlin");
    person_profile_set(&s, ANN, &p);
    buf_reset(&b);
    check(template_zone_table(w->tools.kit, BYTES("Europe/Berlin"), NOW_MS, 20, &b));
    person_zone_set(&s, BYTES("Europe/Berlin"), buf_view(&b));
    arena_done(&arena);
    buf_done(&b);
    buf_done(&definition);
}

int main(void) {
    static const struct {
        const char *name;
        void (*fn)(struct world *);
    } JOBS[] = {{"find a workflow", one_find}, {"a title, by language", one_title},
        {"has wishes", one_any}, {"channels that are off", one_off},
        {"end of quiet hours", one_quiet}, {"no webhook wants it", one_webhook}};
    struct store *store = store_create_memory();
    struct world w = {.cells = cells_create(store, 0, 1 << 20)};
    w.tools.kit = template_kit_create();
    w.tools.programs = template_cache_create(w.tools.kit, 64);
    world_fill(&w);
    for (size_t i = 0; i < sizeof JOBS / sizeof *JOBS; i++)
        printf("%-24s %7.0f ns\n", JOBS[i].name, best_ns(JOBS[i].fn, &w));
    buf_done(&w.out);
    template_cache_free(&w.tools.programs);
    template_kit_free(&w.tools.kit);
    cells_free(&w.cells);
    store->calls->close(store);
    return 0;
}
