/* fuzz: triggers, one and many, from their JSON through the plan, its rounds of queries and records, and
 * apply: each batch is answered, item by item, what is taken decodes, and the partition stays whole by
 * what `kith check` asks. And what is stored, as damage would leave it: rows and contents that cannot be
 * read are refused, those that can are what they were. The first byte of an input says which.
 * SPDX-License-Identifier: Apache-2.0 */
#include "fuzz.h"

#include <string.h>

#include "notify/notify_in.h"

enum { ONE = '1', MANY = 'n', ROW = 'r', CONTENT = 'c', PARTITIONS = 4 };
static const struct bytes APP = {(const uint8_t *)"app", 3};

void fuzz_seeds(void (*give)(void *arg, struct bytes seed), void *arg) {
    static const char *const SEEDS[] = {"n{\"items\":[{\"workflow\":\"like\",\"to\":{\"users\":["
                                        "\"ann\",\"bob\"]},\"actor\":\"cem\","
                                        "\"object\":\"o\",\"data\":{\"n\":1,\"t\":\"x\"}},{\"id\":"
                                        "\"own\",\"workflow\":\"like\",\"to\":"
                                        "{\"topic\":\"t\"},\"collapse_key\":\"k\",\"send_at\":"
                                        "\"2026-11-22T00:00:00Z\"},{\"workflow\":"
                                        "\"none\",\"to\":{\"everyone\":true}}]}",
        "n{\"items\":[{\"workflow\":\"like\",\"to\":{\"users\":[\"ann\"]}},{\"workflow\":\"like\","
        "\"to\":{"
        "\"users\":[\"ann\"]},\"expires_at\":\"2026-11-22T00:00:00Z\"},3,{}]}",
        "1{\"workflow\":\"like\",\"to\":{\"followers_of\":\"ann\"},\"data\":{\"a\":{\"b\":[1]}}}",
        "1{\"workflow\":\"like\",\"to\":{\"users\":[\"ann\"]},\"object\":\"\\u0000\"}"};
    struct row r = {.id = BYTES("t1"),
        .trigger = BYTES("t2"),
        .workflow = BYTES("like"),
        .group = 7,
        .collapse = 8,
        .created_ms = 9,
        .at_ms = 99,
        .newest = BYTES("\3ann\3Ann")};
    struct content k = {.id = BYTES("t1"), .workflow = BYTES("like"), .data = BYTES("{}")};
    struct buf b = {0};
    for (size_t i = 0; i < sizeof SEEDS / sizeof *SEEDS; i++) give(arg, bytes_str(SEEDS[i]));
    buf_char(&b, ROW);
    row_encode(&b, &r);
    give(arg, buf_view(&b));
    buf_reset(&b);
    buf_char(&b, CONTENT);
    content_encode(&b, &k);
    give(arg, buf_view(&b));
    buf_done(&b);
}

/* ---- what is stored ---- */
static void row_look(struct bytes v) {
    struct row r, again;
    struct buf b = {0};
    if (!row_read(v, 5, &r)) return;
    if (r.flags & ROW_MOVED) return;
    row_encode(&b, &r);
    check(row_read(buf_view(&b), 5, &again));
    check(bytes_eq(r.id, again.id) && bytes_eq(r.trigger, again.trigger));
    check(bytes_eq(r.newest, again.newest) && r.flags == again.flags && r.at_ms == again.at_ms);
    buf_done(&b);
}
static void content_look(struct bytes v) {
    struct content k, again;
    struct buf b = {0};
    struct unpack u = unpack_of(v);
    if (content_decode(&u, &k) != OK) return;
    content_encode(&b, &k);
    u = unpack_of(buf_view(&b));
    check(content_decode(&u, &again) == OK && u.p == u.end);
    check(bytes_eq(k.id, again.id) && bytes_eq(k.data, again.data));
    check(k.expires_ms == again.expires_ms && bytes_eq(k.audience, again.audience));
    buf_done(&b);
}

/* ---- triggers ---- */
struct world {
    struct store *store;
    struct cells *cells[PARTITIONS];
    struct tools tools;
    struct surface surfaces[NOTIFY_SURFACES_MAX];
    size_t count;
    uint64_t position;
    struct arena arena;
};
static void record(
    struct world *w, uint16_t p, uint8_t kind, struct bytes body, bool relay, struct answer *a) {
    struct arena arena = {0};
    struct step s = {.cells = w->cells[p],
        .partition = p,
        .partitions = PARTITIONS,
        .position = ++w->position,
        .time_ms = 1795217400000,
        .app = APP,
        .body = body,
        .relay = relay,
        .wanted = !relay,
        .arena = &arena,
        .answer = a};
    for (size_t i = 0; i < w->count; i++)
        for (size_t k = 0; k < w->surfaces[i].record_count; k++)
            if (w->surfaces[i].records[k].kind == kind) w->surfaces[i].records[k].apply(&s);
    for (size_t i = 0; i < s.relay_count; i++) {
        struct answer none = {0};
        record(w, s.relays[i].to, s.relays[i].kind, s.relays[i].body, true, &none);
        buf_done(&none.body);
    }
    arena_done(&arena);
}

static void world_open(struct world *w) {
    static struct template_kit *kit; /* costly, and holds nothing of an input */
    static struct buf definition;
    struct answer a = {0};
    if (!kit) kit = template_kit_create();
    w->tools.kit = kit;
    if (!definition.n)
        check(definition_read(&w->tools,
            BYTES("{\"channels\":[\"inapp\",\"push\"],\"group_by\":[\"object\",\"data.n\"],"
                  "\"templates\":{\"en\":{\"title\":\"{actor} {object}\"}}}"),
            &definition, &a));
    w->count = notify_surfaces(w->surfaces);
    w->store = store_create_memory();
    for (uint16_t p = 0; p < PARTITIONS; p++) w->cells[p] = cells_create(w->store, p, 1 << 20);
    struct buf b = {0};
    pack_bytes(&b, BYTES("like"));
    pack_u64(&b, 0);
    pack_bytes(&b, buf_view(&definition));
    record(w, partition_of_conversation(APP, BYTES("#workflows"), PARTITIONS), KIND_WORKFLOW_PUT,
        buf_view(&b), false, &a);
    check(!a.problem);
    buf_done(&a.body);
    buf_done(&b);
}
static void world_close(struct world *w) {
    struct buf why = {0};
    for (uint16_t p = 0; p < PARTITIONS; p++) {
        check(notify_check(w->cells[p], &why));
        cells_free(&w->cells[p]);
    }
    w->store->calls->close(w->store);
    buf_done(&why);
    arena_done(&w->arena);
}

static const struct route *route_of(const char *path) {
    for (size_t i = 0; i < triggers_part.route_count; i++)
        if (!strcmp(triggers_part.routes[i].path, path) &&
            !strcmp(triggers_part.routes[i].method, "POST"))
            return &triggers_part.routes[i];
    check(false);
    return NULL;
}

/* Rounds of parts, as core carries them, until there is an answer. */
static void carry(struct world *w, struct request *r, struct plan *p, struct answer *a) {
    for (int round = 0;; round++) {
        size_t n = p->part_count;
        check(n && round < 8 && p->gather);
        struct answer *parts = arena_zero(&w->arena, n * sizeof *parts);
        for (size_t i = 0; i < n; i++) {
            struct plan_part *part = &p->parts[i];
            struct query q = {
                w->cells[part->partition], part->partition, r, &parts[i], &w->tools, i};
            if (part->query) part->query(&q);
            else record(w, part->partition, part->kind, buf_view(&part->body), false, &parts[i]);
        }
        bool more = p->gather(r, p, parts, a);
        for (size_t i = 0; i < n; i++) buf_done(&parts[i].body);
        if (!more) return;
    }
}

static void triggers(const char *path, struct bytes text) {
    struct world w = {.position = 0};
    struct json_reader *reader = json_reader_create();
    struct request r = {.method = BYTES("POST"),
        .who = {.server = true, .app = APP},
        .now_ms = 1795217400000,
        .partitions = PARTITIONS,
        .body = text,
        .has_json = true,
        .arena = &w.arena,
        .tools = &w.tools};
    struct plan p = {0};
    struct answer a = {0};
    if (json_parse(reader, text, &r.json) == OK) {
        world_open(&w);
        if (route_of(path)->plan(&r, &p, &a) == OK) carry(&w, &r, &p, &a);
        else check(a.status);
        check(a.problem ? a.status >= 400 && a.status < 500 && a.detail[0] : a.status == 202);
        check(utf8_valid(bytes_str(a.detail)) && utf8_valid(buf_view(&a.body)));
        struct json said;
        if (!a.problem) check(json_parse(reader, buf_view(&a.body), &said) == OK);
        world_close(&w);
    }
    plan_done(&p);
    buf_done(&a.body);
    json_reader_free(&reader);
}

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n) {
    if (!n) return 0;
    struct bytes rest = bytes_of(p + 1, n - 1);
    if (*p == ONE) triggers("/v1/notifications", rest);
    else if (*p == MANY) triggers("/v1/notifications/batch", rest);
    else if (*p == ROW) row_look(rest);
    else if (*p == CONTENT) content_look(rest);
    return 0;
}
