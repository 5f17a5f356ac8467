/* workflow: what a workflow's definition may say: the JSON of a PUT becomes bytes that workflow_find
 * reads. Every fault names its field, and how to put it right.
 *
 * Runs where there is ICU, before anything is stored; apply reads only what comes of it.
 * SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "learn/learn.h"
#include "workflow/workflow.h"

#define DAY_MS (24 * 3600 * 1000ll)
enum {
    LOCALES_MAX = 64,
    VARIABLES_MAX = 64,
    GROUP_PARTS_MAX = 4,
    ESCALATIONS_MAX = 8,
    CAP_MOST = 1000000,
    TARGET_MOST = 10000
};

const struct json_field DEFINITION_FIELDS[DEFINITION_FIELD_COUNT] = {
    [DEFINITION_CHANNELS] = {"channels", JSON_ARRAY, false, true, 0},
    [DEFINITION_TEMPLATES] = {"templates", JSON_OBJECT, false, true, 0},
    [DEFINITION_DATA] = {"data", JSON_OBJECT, false, true, 16384},
    [DEFINITION_GROUP_BY] = {"group_by", JSON_ANY, false, true, 1024},
    [DEFINITION_DIGEST] = {"digest", JSON_OBJECT, false, true, 0},
    [DEFINITION_PRIORITY] = {"priority", JSON_STRING, false, true, 0},
    [DEFINITION_CAP] = {"cap", JSON_OBJECT, false, true, 0},
    [DEFINITION_ESCALATE] = {"escalate", JSON_ARRAY, false, true, 4096},
    [DEFINITION_EXPIRES] = {"expires_after", JSON_STRING, false, true, 0},
    [DEFINITION_RELEVANCE] = {"relevance", JSON_ANY, false, true, 0},
};
const char *const TEMPLATE_PARTS[TEMPLATE_PART_COUNT] = {
    "title", "body", "subject", "text", "html"};
static const char *const CHANNEL_NAMES[] = {"inapp", "push", "email", "webhook"};

struct named { /* a variable: declared, or found in the templates */
    struct bytes name;
    uint8_t takes;
    char where[FIELD_BYTES]; /* it was seen first */
};
struct reading {
    struct tools *t;
    struct answer *a; /* has a problem once there is a fault */
    struct arena arena;
    struct workflow w;
    const char *path; /* of the field that is read */
    bool declares;
    struct named declared[VARIABLES_MAX], used[VARIABLES_MAX + 4];
    size_t declared_count, used_count;
    struct bytes locales[LOCALES_MAX];
    size_t locale_count;
    unsigned items; /* of the list that is read */
    struct escalation {
        int64_t after_ms;
        uint8_t channels, unless;
    } escalations[ESCALATIONS_MAX];
    struct buf group, escalate, locale_names, sets, needs;
};

/* ---- faults ---- */
#define FAULT(d, problem, field, ...)                                                              \
    (answer_problem((d)->a, PROBLEM_##problem, field, __VA_ARGS__), false)

static bool duration_read(
    struct reading *d, const char *field, struct json v, int64_t most_ms, int64_t *out) {
    if (json_kind_of(v) != JSON_STRING)
        return FAULT(d, WRONG_TYPE, field, "'%s' is a text such as \"30m\"", field);
    if (duration_parse(json_string(v), out) == OK && *out > 0 && *out <= most_ms) return true;
    return FAULT(d, INVALID_VALUE, field,
        "'%s' is a number and s, m, h or d, as in 30s, 15m, 24h: more than 0, %lld days at most",
        field, (long long)(most_ms / DAY_MS));
}

/* ---- channels ---- */
static bool channel_read(struct reading *d, struct json v, uint8_t *bits) {
    struct bytes name = json_string(v);
    if (json_kind_of(v) != JSON_STRING)
        return FAULT(
            d, WRONG_TYPE, d->path, "'%s' names channels: inapp, push, email, webhook", d->path);
    for (unsigned i = 0; i < 4; i++)
        if (bytes_is(name, CHANNEL_NAMES[i])) {
            *bits |= (uint8_t)(1u << i);
            return true;
        }
    return FAULT(d, INVALID_VALUE, d->path,
        "'%.*s' is no channel: there are inapp, push, email and webhook",
        (int)(name.n < 40 ? name.n : 40), name.n ? (const char *)name.p : "");
}

static bool channel_each(void *arg, struct bytes key, struct json v) {
    struct reading *d = arg;
    (void)key;
    return channel_read(d, v, &d->w.channels);
}

static bool channels_read(struct reading *d, struct json v) {
    d->path = "channels";
    json_each(v, channel_each, d);
    if (!d->a->problem && !d->w.channels)
        return FAULT(d, INVALID_VALUE, "channels",
            "'channels' has at least one of inapp, push, email, webhook");
    return !d->a->problem;
}

/* ---- variables ---- */
static const struct {
    const char *name;
    uint8_t takes;
    const char *words;
} BUILT_IN[] = {{"actor", 1 << TEMPLATE_TEXT, "a text: the newest actor's name"},
    {"count", 1 << TEMPLATE_INTEGER, "a number: of all actors"},
    {"others", 1 << TEMPLATE_INTEGER, "a number: of all actors but the newest"},
    {"object", 1 << TEMPLATE_TEXT, "a text"}};

static int built_in(struct bytes name) {
    for (int i = 0; i < 4; i++)
        if (bytes_is(name, BUILT_IN[i].name)) return i;
    return -1;
}

static struct named *named_find(struct named *list, size_t n, struct bytes name) {
    for (size_t i = 0; i < n; i++)
        if (bytes_eq(list[i].name, name)) return &list[i];
    return NULL;
}

static bool declare(void *arg, struct bytes key, struct json v) {
    struct reading *d = arg;
    char field[FIELD_BYTES];
    struct bytes kind = json_string(v);
    field_inside(field, "data", key);
    uint8_t takes = bytes_is(kind, "text")     ? 1 << TEMPLATE_TEXT
                    : bytes_is(kind, "number") ? TEMPLATE_TAKES_NUMBERS
                    : bytes_is(kind, "time")   ? 1 << TEMPLATE_TIME
                                               : 0;
    if (json_kind_of(v) != JSON_STRING)
        return FAULT(d, WRONG_TYPE, field, "each key of data is \"text\", \"number\" or \"time\"");
    if (!takes)
        return FAULT(
            d, INVALID_VALUE, field, "each key of data is \"text\", \"number\" or \"time\"");
    if (!key.n || key.n > 64 || built_in(key) >= 0)
        return FAULT(d, INVALID_VALUE, field,
            "a key of data has 1 to 64 bytes, and actor, count, others and object are taken");
    if (named_find(d->declared, d->declared_count, key))
        return FAULT(d, UNKNOWN_FIELD, field, "this field is there twice");
    if (d->declared_count == VARIABLES_MAX)
        return FAULT(d, INVALID_VALUE, "data", "'data' has %d keys at most", VARIABLES_MAX);
    struct named *n = &d->declared[d->declared_count++];
    n->name = arena_copy(&d->arena, key);
    n->takes = takes;
    return true;
}

/* What kinds of values are, for people. */
static const char *takes_words(uint8_t takes) {
    if (takes == TEMPLATE_TAKES_ALL) return "anything";
    if (takes & 1 << TEMPLATE_TEXT) return "a text";
    if (takes & 1 << TEMPLATE_NUMBER) return "a number";
    if (takes & 1 << TEMPLATE_TIME) return "a time";
    return "a whole number";
}

/* No value fits both. A whole number would do as a number and as a moment, but nobody means both. */
static bool contradict(uint8_t a, uint8_t b) {
    uint8_t both = a & b;
    bool time = a == TEMPLATE_TAKES_TIMES || b == TEMPLATE_TAKES_TIMES;
    return !both || (time && !(both & 1 << TEMPLATE_TIME));
}

static bool variable_known(
    struct reading *d, const char *field, struct template_variable v, uint8_t *takes) {
    int n = (int)v.name.n;
    const char *name = (const char *)v.name.p;
    int b = built_in(v.name);
    if (b >= 0) {
        if (!contradict(v.takes, BUILT_IN[b].takes)) return true;
        return FAULT(d, INVALID_VALUE, field, "'%.*s' is %s, and is used as %s here", n, name,
            BUILT_IN[b].words, takes_words(v.takes));
    }
    if (!d->declares) return true;
    const struct named *k = named_find(d->declared, d->declared_count, v.name);
    if (!k)
        return FAULT(d, INVALID_VALUE, field,
            "'%.*s' cannot be there: it is neither of 'data' nor actor, count, others or object", n,
            name);
    *takes = v.takes & k->takes;
    if (!contradict(v.takes, k->takes)) return true;
    return FAULT(d, INVALID_VALUE, field, "by 'data' '%.*s' is %s, and is used as %s here", n, name,
        takes_words(k->takes), takes_words(v.takes));
}

static bool variable_use(struct reading *d, const char *field, struct template_variable v) {
    uint8_t takes = v.takes;
    if (!variable_known(d, field, v, &takes)) return false;
    struct named *k = named_find(d->used, d->used_count, v.name);
    if (!k) {
        if (d->used_count == VARIABLES_MAX + 4)
            return FAULT(d, INVALID_VALUE, field,
                "the templates of a workflow use %d keys of data at most", VARIABLES_MAX);
        k = &d->used[d->used_count++];
        *k = (struct named){.name = arena_copy(&d->arena, v.name), .takes = takes};
        snprintf(k->where, sizeof k->where, "%s", field);
        return true;
    }
    if (contradict(k->takes, takes))
        return FAULT(d, INVALID_VALUE, field, "'%.*s' is used as %s here, and as %s in %s",
            (int)v.name.n, (const char *)v.name.p, takes_words(takes), takes_words(k->takes),
            k->where);
    k->takes &= takes;
    return true;
}

/* ---- templates ---- */
static bool template_read(
    struct reading *d, const char *field, struct bytes locale, struct bytes text) {
    struct template_program *p;
    struct template_fault fault = {0};
    if (template_compile(d->t->kit, locale, text, &p, &fault) != OK)
        return FAULT(d, INVALID_VALUE, field, "%s (at byte %zu of it)", fault.words, fault.at);
    bool good = true;
    for (size_t i = 0; good && i < template_variable_count(p); i++)
        good = variable_use(d, field, template_variable_at(p, i));
    template_free(&p);
    return good;
}

/* Tags that differ in letters' case, - and _ only are one. */
static bool tag_same(struct bytes a, struct bytes b) {
    if (a.n != b.n) return false;
    for (size_t i = 0; i < a.n; i++) {
        uint8_t x = a.p[i] == '_' ? '-' : a.p[i], y = b.p[i] == '_' ? '-' : b.p[i];
        if ((x | 32) != (y | 32)) return false;
    }
    return true;
}

static bool locale_read(struct reading *d, const char *field, struct bytes key) {
    if (!bytes_is(key, "default") &&
        (key.n >= TEMPLATE_LOCALE_MAX || !template_locale_valid(d->t->kit, key)))
        return FAULT(d, INVALID_VALUE, field,
            "templates are by language: a BCP 47 tag such as en or pt-BR, or \"default\"");
    for (size_t i = 0; i < d->locale_count; i++)
        if (tag_same(d->locales[i], key))
            return FAULT(d, UNKNOWN_FIELD, field, "this language is there twice");
    if (d->locale_count == LOCALES_MAX)
        return FAULT(
            d, INVALID_VALUE, "templates", "'templates' has at most %d languages", LOCALES_MAX);
    d->locales[d->locale_count++] = arena_copy(&d->arena, key);
    return true;
}

struct bytes workflow_locale(struct bytes set) {
    return bytes_is(set, "default") ? BYTES("en") : set;
}

static bool set_read(void *arg, struct bytes key, struct json v) {
    static const struct json_field F[TEMPLATE_PART_COUNT] = {
        {"title", JSON_STRING, false, false, TEMPLATE_BYTES_MAX},
        {"body", JSON_STRING, false, false, TEMPLATE_BYTES_MAX},
        {"subject", JSON_STRING, false, false, TEMPLATE_BYTES_MAX},
        {"text", JSON_STRING, false, false, TEMPLATE_BYTES_MAX},
        {"html", JSON_STRING, false, false, TEMPLATE_BYTES_MAX}};
    struct reading *d = arg;
    struct json_value f[TEMPLATE_PART_COUNT];
    char path[FIELD_BYTES], field[FIELD_BYTES];
    struct buf set = {0};
    field_inside(path, "templates", key);
    bool good =
        locale_read(d, path, key) && request_inside(v, path, F, TEMPLATE_PART_COUNT, f, d->a);
    for (int i = 0; good && i < TEMPLATE_PART_COUNT; i++) {
        struct bytes text = f[i].present ? json_string(f[i].v) : (struct bytes){0};
        field_inside(field, path, bytes_str(TEMPLATE_PARTS[i]));
        good = template_read(d, field, workflow_locale(key), text);
        pack_bytes(&set, text);
    }
    if (good && !(f[0].present && json_string(f[0].v).n) &&
        !(f[1].present && json_string(f[1].v).n)) {
        field_inside(field, path, BYTES("title"));
        good = FAULT(d, INVALID_VALUE, field, "each language has a 'title' or a 'body'");
    }
    pack_bytes(&d->locale_names, key);
    pack_bytes(&d->sets, buf_view(&set));
    buf_done(&set);
    return good;
}

static bool templates_read(struct reading *d, struct json v) {
    json_each(v, set_read, d);
    if (!d->a->problem && !d->locale_count)
        return FAULT(d, INVALID_VALUE, "templates",
            "'templates' has at least one language, as in {\"en\": {\"title\": \"...\"}}");
    return !d->a->problem;
}

static uint8_t default_set(const struct reading *d) {
    static const char *const FIRST[] = {"default", "en"};
    for (int k = 0; k < 2; k++)
        for (size_t i = 0; i < d->locale_count; i++)
            if (tag_same(d->locales[i], bytes_str(FIRST[k]))) return (uint8_t)i;
    return 0;
}

static void templates_pack(const struct reading *d, struct buf *out) {
    pack_u8(out, default_set(d));
    pack_bytes(out, buf_view(&d->locale_names));
    buf_bytes(out, buf_view(&d->sets));
}

/* ---- group_by, digest, cap ---- */
static bool group_read(struct reading *d, struct json v) {
    struct bytes k = json_string(v);
    if (json_kind_of(v) != JSON_STRING)
        return FAULT(d, WRONG_TYPE, "group_by",
            "'group_by' is \"actor\", \"object\", a key of data, or a list of these");
    if (++d->items > GROUP_PARTS_MAX)
        return FAULT(
            d, INVALID_VALUE, "group_by", "'group_by' has at most %d keys", GROUP_PARTS_MAX);
    bool data = bytes_starts(k, "data.");
    if (data) k = bytes_of(k.p + 5, k.n - 5);
    uint8_t part = data                    ? GROUP_DATA
                   : bytes_is(k, "actor")  ? GROUP_ACTOR
                   : bytes_is(k, "object") ? GROUP_OBJECT
                                           : GROUP_DATA;
    if (part == GROUP_DATA && (!k.n || k.n > 64))
        return FAULT(d, INVALID_VALUE, "group_by", "a key of data has 1 to 64 bytes");
    if (part == GROUP_DATA && d->declares && !named_find(d->declared, d->declared_count, k))
        return FAULT(d, INVALID_VALUE, "group_by", "'%.*s' is no key of 'data'", (int)k.n,
            (const char *)k.p);
    pack_u8(&d->group, part);
    pack_bytes(&d->group, part == GROUP_DATA ? k : (struct bytes){0});
    return true;
}

static bool group_each(void *arg, struct bytes key, struct json v) {
    (void)key;
    return group_read(arg, v);
}

static bool group_by_read(struct reading *d, struct json v) {
    if (json_kind_of(v) != JSON_ARRAY) return group_read(d, v);
    json_each(v, group_each, d);
    if (!d->a->problem && !d->items)
        return FAULT(d, INVALID_VALUE, "group_by", "an empty list groups nothing: leave it out");
    return !d->a->problem;
}

static bool digest_read(struct reading *d, struct json v) {
    static const struct json_field F[] = {
        {"window", JSON_STRING, true, false, 0}, {"first_at_once", JSON_BOOL, false, false, 0}};
    struct json_value f[2];
    if (!request_inside(v, "digest", F, 2, f, d->a) ||
        !duration_read(d, "digest.window", f[0].v, 31 * DAY_MS, &d->w.digest_ms))
        return false;
    d->w.first_at_once = f[1].present && json_bool(f[1].v);
    return true;
}

static bool priority_read(struct reading *d, struct json v) {
    static const char *const NAMES[] = {"normal", "high", "low"};
    for (uint8_t i = 0; i < 3; i++)
        if (bytes_is(json_string(v), NAMES[i])) {
            d->w.priority = i;
            return true;
        }
    return FAULT(d, INVALID_VALUE, "priority", "'priority' is high, normal or low");
}

static bool cap_read(struct reading *d, struct json v) {
    static const struct json_field F[] = {
        {"count", JSON_I64, true, false, 0}, {"per", JSON_STRING, true, false, 0}};
    static const char *const NAMES[] = {"", "hour", "day", "week"};
    struct json_value f[2];
    if (!request_inside(v, "cap", F, 2, f, d->a)) return false;
    int64_t n = json_i64(f[0].v);
    if (n < 1 || n > CAP_MOST)
        return FAULT(
            d, INVALID_VALUE, "cap.count", "'cap.count' is a whole number from 1 to %d", CAP_MOST);
    d->w.cap_count = (uint32_t)n;
    static const int64_t LENGTHS_MS[] = {0, DAY_MS / 24, DAY_MS, 7 * DAY_MS};
    int64_t ms = 0;
    if (duration_parse(json_string(f[1].v), &ms) != OK) ms = -1;
    for (uint8_t i = CAP_HOUR; i <= CAP_WEEK; i++)
        if (bytes_is(json_string(f[1].v), NAMES[i]) || ms == LENGTHS_MS[i]) d->w.cap_per = i;
    return d->w.cap_per || FAULT(d, INVALID_VALUE, "cap.per",
                               "'cap.per' is hour, day or week (1h, 24h, 7d are the same)");
}

/* ---- escalate ---- */
static bool to_each(void *arg, struct bytes key, struct json v) {
    struct reading *d = arg;
    (void)key;
    return channel_read(d, v, &d->escalations[d->items].channels);
}

static bool escalation_read(void *arg, struct bytes key, struct json v) {
    static const struct json_field F[] = {{"after", JSON_STRING, true, false, 0},
        {"to", JSON_ANY, true, false, 0}, {"unless", JSON_STRING, false, false, 0}};
    struct reading *d = arg;
    struct json_value f[3];
    (void)key;
    if (d->items == ESCALATIONS_MAX)
        return FAULT(
            d, INVALID_VALUE, "escalate", "'escalate' has at most %d steps", ESCALATIONS_MAX);
    struct escalation *e = &d->escalations[d->items];
    *e = (struct escalation){.unless = ESCALATE_UNLESS_SEEN};
    d->path = "escalate.to";
    if (!request_inside(v, "escalate", F, 3, f, d->a) ||
        !duration_read(d, "escalate.after", f[0].v, 365 * DAY_MS, &e->after_ms))
        return false;
    if (json_kind_of(f[1].v) == JSON_ARRAY) json_each(f[1].v, to_each, d);
    else (void)channel_read(d, f[1].v, &e->channels);
    if (d->a->problem) return false;
    if (!e->channels || e->channels & CHANNEL_INAPP)
        return FAULT(d, INVALID_VALUE, "escalate.to",
            "'to' is push, email or webhook, or a list of these: what is in-app is there at once");
    if (f[2].present && bytes_is(json_string(f[2].v), "read")) e->unless = ESCALATE_UNLESS_READ;
    else if (f[2].present && !bytes_is(json_string(f[2].v), "seen"))
        return FAULT(d, INVALID_VALUE, "escalate.unless", "'unless' is seen or read");
    d->items++;
    return true;
}

static bool escalate_read(struct reading *d, struct json v) {
    d->items = 0;
    json_each(v, escalation_read, d);
    if (d->a->problem) return false;
    uint8_t later = 0;
    for (unsigned i = 0; i < d->items; i++) later |= d->escalations[i].channels;
    d->w.at_once = d->w.channels & (uint8_t)~later;
    d->w.channels |= later;
    if (!d->w.at_once)
        return FAULT(d, INVALID_VALUE, "escalate",
            "a channel of 'escalate' waits, and no other is left in 'channels' to go first");
    for (unsigned n = d->items; n > 1; n--) /* few: in order of time, equal ones as they came */
        for (unsigned i = 1; i < n; i++)
            if (d->escalations[i].after_ms < d->escalations[i - 1].after_ms) {
                struct escalation e = d->escalations[i];
                d->escalations[i] = d->escalations[i - 1];
                d->escalations[i - 1] = e;
            }
    for (unsigned i = 0; i < d->items; i++) {
        pack_var(&d->escalate, (uint64_t)d->escalations[i].after_ms);
        pack_u8(&d->escalate, d->escalations[i].channels);
        pack_u8(&d->escalate, d->escalations[i].unless);
    }
    return true;
}

/* ---- relevance ---- */
static bool relevance_read(struct reading *d, struct json v) {
    static const struct json_field F[] = {{"mode", JSON_STRING, true, false, 0},
        {"target_per_day", JSON_F64, false, false, 0}, {"explore", JSON_F64, false, false, 0}};
    struct json_value f[3] = {{0}};
    struct bytes mode = json_string(v);
    d->w.target_milli = WORKFLOW_TARGET_MILLI;
    d->w.explore = LEARN_EXPLORE;
    if (json_kind_of(v) == JSON_OBJECT) {
        if (!request_inside(v, "relevance", F, 3, f, d->a)) return false;
        mode = json_string(f[0].v);
    } else if (json_kind_of(v) != JSON_STRING) {
        return FAULT(d, WRONG_TYPE, "relevance",
            "'relevance' is \"learned\", or {\"mode\": \"learned\", \"target_per_day\": 5}");
    }
    if (!bytes_is(mode, "learned"))
        return FAULT(d, INVALID_VALUE, "relevance", "'relevance' is \"learned\", or null");
    d->w.learned = true;
    if (f[1].present) {
        if (!(json_f64(f[1].v) >= 0.001 && json_f64(f[1].v) <= TARGET_MOST))
            return FAULT(d, INVALID_VALUE, "relevance.target_per_day",
                "'target_per_day' is a number from 0.001 to %d", TARGET_MOST);
        d->w.target_milli = (uint32_t)(json_f64(f[1].v) * 1000 + 0.5);
    }
    if (f[2].present) {
        if (!(json_f64(f[2].v) >= 0 && json_f64(f[2].v) <= 1))
            return FAULT(d, INVALID_VALUE, "relevance.explore", "'explore' is a share from 0 to 1");
        d->w.explore = (int32_t)(json_f64(f[2].v) * LEARN_ONE + 0.5);
    }
    return true;
}

/* ---- the whole ---- */
static bool fields_read(struct reading *d, const struct json_value *f) {
    if (!f[DEFINITION_CHANNELS].present)
        return FAULT(d, INVALID_VALUE, "channels",
            "'channels' is required: a list of inapp, push, email, webhook");
    if (!f[DEFINITION_TEMPLATES].present)
        return FAULT(d, INVALID_VALUE, "templates",
            "'templates' is required, by language: {\"en\": {\"title\": \"...\", \"body\": "
            "\"...\"}}");
    d->declares = f[DEFINITION_DATA].present;
    if (d->declares) json_each(f[DEFINITION_DATA].v, declare, d);
    if (d->a->problem || !channels_read(d, f[DEFINITION_CHANNELS].v) ||
        !templates_read(d, f[DEFINITION_TEMPLATES].v))
        return false;
    d->w.at_once = d->w.channels;
    static const struct {
        enum definition_field field;
        bool (*read)(struct reading *d, struct json v);
    } REST[] = {{DEFINITION_GROUP_BY, group_by_read}, {DEFINITION_DIGEST, digest_read},
        {DEFINITION_PRIORITY, priority_read}, {DEFINITION_CAP, cap_read},
        {DEFINITION_ESCALATE, escalate_read}, {DEFINITION_RELEVANCE, relevance_read}};
    for (size_t i = 0; i < sizeof REST / sizeof *REST; i++)
        if (f[REST[i].field].present && !REST[i].read(d, f[REST[i].field].v)) return false;
    return !f[DEFINITION_EXPIRES].present ||
           duration_read(
               d, "expires_after", f[DEFINITION_EXPIRES].v, 3650 * DAY_MS, &d->w.expires_ms);
}

static void needs_pack(struct reading *d) {
    for (size_t i = 0; i < d->used_count; i++) {
        if (built_in(d->used[i].name) >= 0) continue;
        pack_bytes(&d->needs, d->used[i].name);
        pack_u8(&d->needs, d->used[i].takes);
    }
}

/* u8 channels, at_once, priority, cap_per, flags · u32 cap count, target, explore · u64 digest, expiry,
 * words · varbytes group, escalate, needs, templates, source */
static void definition_pack(struct reading *d, struct bytes source, struct buf *out) {
    const struct workflow *w = &d->w;
    struct buf templates = {0};
    templates_pack(d, &templates);
    needs_pack(d);
    const uint8_t head[] = {w->channels, w->at_once, w->priority, w->cap_per,
        (uint8_t)(w->learned | w->first_at_once << 1)};
    buf_add(out, head, sizeof head);
    pack_u32(out, w->cap_count);
    pack_u32(out, w->target_milli);
    pack_u32(out, (uint32_t)w->explore);
    pack_u64(out, (uint64_t)w->digest_ms);
    pack_u64(out, (uint64_t)w->expires_ms);
    pack_u64(out, hash64(buf_view(&templates)));
    pack_bytes(out, buf_view(&d->group));
    pack_bytes(out, buf_view(&d->escalate));
    pack_bytes(out, buf_view(&d->needs));
    pack_bytes(out, buf_view(&templates));
    pack_bytes(out, source);
    buf_done(&templates);
}

bool definition_unpack(struct bytes v, struct workflow *out) {
    struct unpack u = unpack_of(v);
    out->channels = unpack_u8(&u);
    out->at_once = unpack_u8(&u);
    out->priority = unpack_u8(&u);
    out->cap_per = unpack_u8(&u);
    uint8_t flags = unpack_u8(&u);
    out->learned = flags & 1;
    out->first_at_once = flags >> 1 & 1;
    out->cap_count = unpack_u32(&u);
    out->target_milli = unpack_u32(&u);
    out->explore = (int32_t)unpack_u32(&u);
    out->digest_ms = (int64_t)unpack_u64(&u);
    out->expires_ms = (int64_t)unpack_u64(&u);
    out->words = unpack_u64(&u);
    out->group_by = unpack_bytes(&u);
    out->escalate = unpack_bytes(&u);
    out->needs = unpack_bytes(&u);
    out->templates = unpack_bytes(&u);
    out->source = unpack_bytes(&u);
    return !u.bad;
}

bool definition_read(struct tools *t, struct bytes source, struct buf *out, struct answer *a) {
    struct reading *d = must_alloc(sizeof *d);
    struct json_reader *reader = json_reader_create();
    struct json_value f[DEFINITION_FIELD_COUNT];
    struct json root;
    d->t = t;
    d->a = a;
    bool good = json_parse(reader, source, &root) == OK;
    if (!good) answer_problem(a, PROBLEM_MALFORMED, "", "a JSON object is needed");
    good = good && request_part(root, DEFINITION_FIELDS, DEFINITION_FIELD_COUNT, f, a) &&
           fields_read(d, f);
    if (good && source.n > DEFINITION_BYTES_MAX)
        good = FAULT(d, TOO_LARGE, "", "a workflow has at most %d bytes", DEFINITION_BYTES_MAX);
    if (good) definition_pack(d, source, out);
    json_reader_free(&reader);
    buf_done(&d->group);
    buf_done(&d->escalate);
    buf_done(&d->locale_names);
    buf_done(&d->sets);
    buf_done(&d->needs);
    arena_done(&d->arena);
    free(d);
    return good;
}

/* ---- changes: absent fields stay, null clears ---- */
void definition_merge(
    struct bytes old, const struct bytes *now, const bool *given, struct buf *out) {
    struct json_reader *reader = json_reader_create();
    struct json root = {{0}}, v;
    struct json_out o = {out, false};
    struct buf raw = {0};
    check(!old.n || json_parse(reader, old, &root) == OK);
    jo_open_obj(&o);
    for (int i = 0; i < DEFINITION_FIELD_COUNT; i++) {
        buf_reset(&raw);
        if (given[i]) buf_bytes(&raw, now[i]);
        else if (old.n && json_get(root, DEFINITION_FIELDS[i].name, &v)) json_raw(v, &raw);
        if (!raw.n) continue;
        jo_key(&o, DEFINITION_FIELDS[i].name);
        jo_raw(&o, buf_view(&raw));
    }
    jo_close_obj(&o);
    buf_done(&raw);
    json_reader_free(&reader);
}
