/* fuzz: definitions of workflows, and changes of them: what is taken can be read again and has words in
 * any language; what is refused says why, and stays refused or taken when it is merged with nothing. An
 * input is a definition, a zero byte, and a change of it.
 * SPDX-License-Identifier: Apache-2.0 */
#include "fuzz.h"

#include <string.h>

#include "notify/notify_in.h"

void fuzz_seeds(void (*give)(void *arg, struct bytes seed), void *arg) {
    static const char *const DEFINITIONS[] = {
        "{\"channels\":[\"inapp\",\"push\"],\"templates\":{\"en\":{\"title\":\"{actor} liked "
        "{object}\",\"body\":\"{others, plural, =0 {it} one {# other} other {# "
        "others}}\"},\"pt-BR\":"
        "{\"title\":\"{n, number} {when, date, "
        "long}\",\"html\":\"<b>{note}</b>\"}},\"data\":{\"n\":"
        "\"number\",\"when\":\"time\",\"note\":\"text\"},\"priority\":\"high\"}",
        "{\"channels\":[\"email\"],\"templates\":{\"default\":{\"body\":\"{x, select, a{1} "
        "other{2}}\"}},\"group_by\":[\"object\",\"data.x\"],\"digest\":{\"window\":\"24h\","
        "\"first_at_once\":true},\"cap\":{\"count\":3,\"per\":\"day\"},\"expires_after\":\"7d\"}",
        "{\"channels\":[\"inapp\"],\"templates\":{\"pl\":{\"title\":\"t\"}},\"escalate\":[{"
        "\"after\":"
        "\"10m\",\"to\":[\"push\",\"email\"],\"unless\":\"read\"},{\"after\":\"5s\",\"to\":"
        "\"webhook\"}],\"relevance\":{\"mode\":\"learned\",\"target_per_day\":2.5,\"explore\":0.1}"
        "}"};
    static const char *const CHANGES[] = {"{\"priority\":\"low\",\"digest\":null}",
        "{\"templates\":{\"en\":{\"title\":\"{n, plural, other{#}}\"},\"de\":{\"title\":\"{n}\"}}}",
        "{\"escalate\":[],\"data\":null,\"relevance\":\"learned\",\"group_by\":\"actor\"}"};
    struct buf b = {0};
    for (size_t i = 0; i < 3; i++) {
        buf_reset(&b);
        buf_str(&b, DEFINITIONS[i]);
        buf_char(&b, 0);
        buf_str(&b, CHANGES[i]);
        give(arg, buf_view(&b));
    }
    buf_done(&b);
}

static void said_why(const struct answer *a) {
    check(a->problem && a->status >= 400 && a->status < 500 && a->detail[0]);
    check(utf8_valid(bytes_str(a->field)) && utf8_valid(bytes_str(a->detail)));
}

static void words(struct tools *t, const struct workflow *w) {
    static const char *const LOCALES[] = {"en", "pt-BR", "pl", "zh-TW", "", "not one"};
    struct template_arg args[] = {{.name = BYTES("count"), .kind = TEMPLATE_INTEGER, .integer = 3},
        {.name = BYTES("others"), .kind = TEMPLATE_INTEGER, .integer = 2},
        {.name = BYTES("actor"), .kind = TEMPLATE_TEXT, .text = BYTES("<Zo\xc3\xab>")}};
    struct buf out = {0};
    for (size_t l = 0; l < sizeof LOCALES / sizeof *LOCALES; l++)
        for (int i = 0; i < TEMPLATE_PART_COUNT; i++) {
            struct template_fault fault = {0};
            buf_reset(&out);
            bool good = workflow_words(
                t, w, bytes_str(LOCALES[l]), TEMPLATE_PARTS[i], args, 3, &out, &fault);
            check(good ? utf8_valid(buf_view(&out)) : fault.words[0]);
        }
    buf_done(&out);
}

/* What was stored is what is found. */
static void whole(struct tools *t, struct bytes source, struct bytes packed) {
    struct workflow w;
    check(definition_unpack(packed, &w) && bytes_eq(w.source, source));
    check(w.at_once && (w.at_once & w.channels) == w.at_once && !(w.channels & ~CHANNELS_ALL));
    check(w.digest_ms >= 0 && w.expires_ms >= 0 && w.explore >= 0 && w.priority <= PRIORITY_LOW);
    check(!w.cap_per == !w.cap_count);
    int64_t last = 0;
    for (struct unpack u = unpack_of(w.escalate); unpack_more(&u);) {
        int64_t after = (int64_t)unpack_var(&u);
        uint8_t channels = unpack_u8(&u), unless = unpack_u8(&u);
        check(!u.bad && after >= last && channels && !(channels & w.at_once) && unless);
        last = after;
    }
    words(t, &w);
}

static bool define(struct tools *t, struct bytes source) {
    struct answer a = {0};
    struct buf packed = {0};
    bool good = definition_read(t, source, &packed, &a);
    if (good) whole(t, source, buf_view(&packed));
    else said_why(&a);
    buf_done(&packed);
    return good;
}

/* The fields of the change, as a PUT takes them. false: it would not be taken at all. */
static bool change_read(struct bytes text, struct bytes *now, bool *given, struct arena *arena) {
    struct json_reader *reader = json_reader_create();
    struct json_value f[DEFINITION_FIELD_COUNT];
    struct json_fault fault;
    struct json root;
    struct buf raw = {0};
    bool good = json_parse(reader, text, &root) == OK &&
                json_read_object(root, DEFINITION_FIELDS, DEFINITION_FIELD_COUNT, f, &fault) == OK;
    for (int i = 0; good && i < DEFINITION_FIELD_COUNT; i++) {
        given[i] = f[i].present;
        if (!given[i] || json_kind_of(f[i].v) == JSON_NULL) continue;
        buf_reset(&raw);
        json_raw(f[i].v, &raw);
        now[i] = arena_copy(arena, buf_view(&raw));
    }
    buf_done(&raw);
    json_reader_free(&reader);
    return good;
}

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n) {
    static struct tools tools; /* locales are costly to open, and hold nothing of an input */
    if (!tools.kit) {
        tools.kit = template_kit_create();
        tools.programs = template_cache_create(tools.kit, 64);
    }
    const uint8_t *zero = n ? memchr(p, 0, n) : NULL;
    struct bytes first = bytes_of(p, zero ? (size_t)(zero - p) : n);
    struct bytes now[DEFINITION_FIELD_COUNT] = {{0}};
    bool given[DEFINITION_FIELD_COUNT] = {false};
    struct arena arena = {0};
    struct buf merged = {0}, same = {0};
    if (define(&tools, first)) {
        definition_merge(first, now, given, &same);
        check(define(&tools, buf_view(&same)));
        if (zero && change_read(bytes_of(zero + 1, n - first.n - 1), now, given, &arena)) {
            definition_merge(buf_view(&same), now, given, &merged);
            (void)define(&tools, buf_view(&merged));
        }
    }
    buf_done(&merged);
    buf_done(&same);
    arena_done(&arena);
    return 0;
}
