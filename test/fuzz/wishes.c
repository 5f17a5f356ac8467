/* fuzz: preferences and webhooks: what a PUT may say. What is taken is stored, is whole by `kith check`,
 * and can be asked; what is refused says why. The first byte says which, the rest is the body; several
 * bodies, a zero byte between them, follow each other.
 * SPDX-License-Identifier: Apache-2.0 */
#include "fuzz.h"

#include <string.h>

#include "notify/notify_in.h"

void fuzz_seeds(void (*give)(void *arg, struct bytes seed), void *arg) {
    static const char *const SEEDS[] = {
        "p{\"workflows\":{\"likes\":{\"push\":false,\"email\":null},\"*\":{\"inapp\":true}},"
        "\"quiet_hours\":{\"from\":\"22:00\",\"to\":\"07:30\",\"days\":[\"mon\",\"sun\"]},"
        "\"paused_until\":\"2100-01-01T00:00:00Z\"}|{\"workflows\":{\"likes\":null},\"quiet_"
        "hours\":"
        "{\"from\":\"00:00\",\"to\":\"23:59\"}}|{\"workflows\":null,\"paused_until\":null}",
        "w{\"url\":\"https://example.com:8443/a?b=c\",\"events\":[\"notification.sent\",\"*\"]}|"
        "{\"rotate_secret\":true}|{\"url\":\"http://[::1]:80/\",\"events\":null}"};
    for (size_t i = 0; i < 2; i++) {
        struct buf b = {0};
        buf_str(&b, SEEDS[i]);
        for (size_t k = 0; k < b.n; k++)
            if (b.p[k] == '|') b.p[k] = 0;
        give(arg, buf_view(&b));
        buf_done(&b);
    }
}

struct world {
    struct cells *cells;
    struct json_reader *reader;
    struct tools tools;
    struct arena arena;
    uint64_t position;
};
static const struct bytes APP = {(const uint8_t *)"demo", 4}, ID = {(const uint8_t *)"ann", 3};
#define NOW_MS 1795217400000ll

static void said_why(const struct answer *a) {
    check(a->problem && a->status >= 400 && a->status < 500 && a->detail[0]);
    check(utf8_valid(bytes_str(a->field)) && utf8_valid(bytes_str(a->detail)));
}

static void apply(
    struct world *w, const struct surface_part *part, uint8_t kind, struct bytes body) {
    struct answer a = {0};
    struct step s = {.cells = w->cells,
        .partitions = 1,
        .position = ++w->position,
        .time_ms = NOW_MS,
        .app = APP,
        .body = body,
        .wanted = true,
        .arena = &w->arena,
        .answer = &a};
    struct buf why = {0};
    for (size_t i = 0; i < part->rule_count; i++)
        if (part->rules[i].kind == kind) part->rules[i].apply(&s);
    if (a.problem) said_why(&a);
    else check((a.status == 200 || a.status == 201) && a.body.n);
    check(notify_check(w->cells, &why) && !why.n);
    buf_done(&a.body);
    buf_done(&why);
}

static void put(struct world *w, const struct surface_part *part, struct bytes body) {
    struct request r = {.arena = &w->arena,
        .tools = &w->tools,
        .now_ms = NOW_MS,
        .partitions = 1,
        .body = body,
        .params = {ID},
        .who = {.server = true, .app = APP}};
    const struct surface_part *rules = part == &preferences_part ? &notify_wishes : part;
    struct plan p = {0};
    struct answer a = {0};
    r.has_json = json_parse(w->reader, body, &r.json) == OK;
    enum err e = part->routes[0].plan(&r, &p, &a); /* the first is the PUT */
    if (e != OK) said_why(&a);
    else if (p.part_count) apply(w, rules, p.parts[0].kind, buf_view(&p.parts[0].body));
    else apply(w, rules, p.kind, buf_view(&p.body));
    plan_done(&p);
    buf_done(&a.body);
}

static void hook(void *arg, struct bytes id, struct bytes url, struct bytes secrets) {
    struct unpack u = unpack_of(secrets);
    unsigned n = 0;
    for (; unpack_more(&u); n++) check(bytes_starts(unpack_bytes(&u), "whsec_"));
    check(n >= 1 && n <= 2 && url.n >= 8 && bytes_eq(id, ID) && !u.bad);
}

static void ask(struct world *w) {
    int64_t until = preferences_quiet_until(w->cells, APP, ID, NOW_MS);
    check(!until || until > NOW_MS);
    check(!(preferences_off(w->cells, APP, ID, BYTES("likes")) & ~CHANNELS_ALL));
    check(preferences_any(w->cells, APP, ID) || !preferences_off(w->cells, APP, ID, BYTES("x")));
    webhooks_each(w->cells, APP, "notification.read", NOW_MS, hook, w);
}

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n) {
    struct store *store = store_create_memory();
    struct world w = {.cells = cells_create(store, 0, 1 << 20), .reader = json_reader_create()};
    if (n) {
        const struct surface_part *part = *p == 'w' ? &webhooks_part : &preferences_part;
        w.tools.http_webhooks = n & 1;
        for (p++, n--; n;) {
            const uint8_t *zero = memchr(p, 0, n);
            size_t one = zero ? (size_t)(zero - p) : n;
            put(&w, part, bytes_of(p, one));
            ask(&w);
            p += one + (zero != NULL);
            n -= one + (zero != NULL);
        }
    }
    json_reader_free(&w.reader);
    arena_done(&w.arena);
    cells_free(&w.cells);
    store->calls->close(store);
    return 0;
}
