/* channel: who may publish and subscribe where. The board has all apps' rules, under a lock; each
 * shard keeps its own reading of them and looks at the board's generation only.
 * SPDX-License-Identifier: Apache-2.0 */
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "channel/channel_in.h"
#include "measure/measure.h"

/* ---- a rule ---- */
void rule_pack(struct buf *b, const struct rule *r) {
    pack_bytes(b, r->id);
    pack_bytes(b, r->topic);
    for (int act = 0; act < 2; act++) {
        pack_u8(b, r->who[act]);
        pack_bytes(b, r->users[act]);
    }
}

bool rule_unpack(struct unpack *u, struct rule *out) {
    out->id = unpack_bytes(u);
    out->topic = unpack_bytes(u);
    for (int act = 0; act < 2; act++) {
        out->who[act] = unpack_u8(u);
        out->users[act] = unpack_bytes(u);
    }
    return !u->bad;
}

bool rule_topic_valid(struct bytes topic) {
    return mqtt_filter_valid(topic) && channel_is_plain(topic) && utf8_valid(topic);
}

bool rule_who_read(struct json v, const char *field, struct rule *r, enum channel_act act,
    struct buf *users, struct answer *a) {
    uint64_t n;
    if (json_kind_of(v) == JSON_BOOL) {
        r->who[act] = json_bool(v) ? WHO_ALL : WHO_NOBODY;
        return true;
    }
    if (json_kind_of(v) == JSON_STRING &&
        (bytes_is(json_string(v), "*") || bytes_is(json_string(v), "all"))) {
        r->who[act] = WHO_ALL;
        return true;
    }
    if (json_kind_of(v) != JSON_ARRAY) {
        answer_problem(a, PROBLEM_WRONG_TYPE, field,
            "'%s' must be true or \"*\" (everyone), false (nobody) or a list of user ids", field);
        return false;
    }
    r->who[act] = WHO_LISTED;
    return request_ids(v, field, users, &n, a);
}

/* ---- the board ---- */
struct app_rules {
    struct app_rules *next;
    char app[65];
    struct buf configured, logged; /* packed */
};
struct channel_board {
    pthread_mutex_t lock;
    struct app_rules *apps;
    _Atomic uint64_t generation;
    bool allow_all;
};

struct channel_board *channel_board_create(bool allow_all) {
    struct channel_board *b = must_alloc(sizeof *b);
    pthread_mutex_init(&b->lock, NULL);
    b->allow_all = allow_all;
    b->generation = 1;
    return b;
}

void channel_board_free(struct channel_board **pb) {
    struct channel_board *b = *pb;
    if (!b) return;
    while (b->apps) {
        struct app_rules *a = b->apps;
        b->apps = a->next;
        buf_done(&a->configured);
        buf_done(&a->logged);
        free(a);
    }
    pthread_mutex_destroy(&b->lock);
    free(b);
    *pb = NULL;
}

static struct app_rules *app_find(struct app_rules *list, struct bytes app) {
    while (list && !bytes_eq(bytes_str(list->app), app)) list = list->next;
    return list;
}

static struct app_rules *app_make(struct channel_board *b, struct bytes app) {
    struct app_rules *a = app_find(b->apps, app);
    if (a) return a;
    a = must_alloc(sizeof *a);
    check(app.n < sizeof a->app);
    memcpy(a->app, app.p, app.n);
    a->next = b->apps;
    return b->apps = a;
}

void channel_board_set(struct channel_board *b, struct bytes app, struct bytes packed) {
    locked(&b->lock, LOCK_CHANNELS);
    struct app_rules *a = app_make(b, app);
    buf_reset(&a->logged);
    buf_bytes(&a->logged, packed);
    pthread_mutex_unlock(&b->lock);
    atomic_fetch_add(&b->generation, 1);
}

static bool scan_one(void *arg, struct bytes key, struct bytes value) {
    struct bytes app, none;
    check(key2_read(key, &app, &none));
    channel_board_set(arg, app, value);
    return true;
}

void channel_board_scan(struct channel_board *b, struct cells *c) {
    cells_scan(c, BYTES("7"), scan_one, b);
}

uint64_t channel_board_generation(const struct channel_board *b) {
    return atomic_load(&b->generation);
}

/* ---- of the configuration ---- */
struct reading {
    struct channel_board *board, *fresh;
    struct buf *why;
    unsigned n;
    bool good;
};

static bool reading_fault(struct reading *r, const struct answer *a) {
    buf_fmt(r->why, "rule %u: %s", r->n, a->detail);
    return r->good = false;
}

static bool rule_read(void *arg, struct bytes key, struct json v) {
    static const struct json_field F[] = {{"app", JSON_ID, false, false, 0},
        {"topic", JSON_STRING, true, false, CHANNEL_TOPIC_MAX},
        {"publish", JSON_ANY, false, false, 0}, {"subscribe", JSON_ANY, false, false, 0}};
    static const char *const NAMES[] = {"publish", "subscribe"};
    struct reading *r = arg;
    struct json_value f[4];
    struct answer a = {0};
    struct rule rule = {.id = BYTES("configuration")};
    struct buf users[2] = {{0}};
    r->n++;
    if (!request_part(v, F, 4, f, &a)) return reading_fault(r, &a);
    rule.topic = json_string(f[1].v);
    if (!rule_topic_valid(rule.topic))
        answer_problem(
            &a, PROBLEM_INVALID_VALUE, "topic", "'topic' is not a filter of plain channels");
    for (int act = 0; act < 2 && !a.problem; act++) {
        if (f[act + 2].present)
            (void)rule_who_read(
                f[act + 2].v, NAMES[act], &rule, (enum channel_act)act, &users[act], &a);
        rule.users[act] = buf_view(&users[act]);
    }
    struct bytes app = f[0].present ? json_string(f[0].v) : BYTES("default");
    if (!a.problem) rule_pack(&app_make(r->fresh, app)->configured, &rule);
    buf_done(&users[0]);
    buf_done(&users[1]);
    return a.problem ? reading_fault(r, &a) : true;
}

enum err channel_board_read(struct channel_board *b, struct bytes text, struct buf *why) {
    struct json_reader *reader = json_reader_create();
    struct json root, list;
    struct reading r = {b, channel_board_create(false), why, 0, true};
    if (json_parse(reader, text, &root) != OK) {
        buf_str(why, "it is not JSON (RFC 8259)");
        r.good = false;
    } else if (json_kind_of(root) != JSON_OBJECT || !json_get(root, "rules", &list) ||
               json_kind_of(list) != JSON_ARRAY) {
        buf_str(why, "it must be {\"rules\": [{\"app\": ..., \"topic\": ..., \"publish\": ..., "
                     "\"subscribe\": ...}]}");
        r.good = false;
    } else {
        json_each(list, rule_read, &r);
    }
    if (r.good) {
        locked(&b->lock, LOCK_CHANNELS);
        for (struct app_rules *a = b->apps; a; a = a->next) buf_reset(&a->configured);
        for (struct app_rules *a = r.fresh->apps; a; a = a->next)
            buf_bytes(&app_make(b, bytes_str(a->app))->configured, buf_view(&a->configured));
        pthread_mutex_unlock(&b->lock);
        atomic_fetch_add(&b->generation, 1);
    }
    channel_board_free(&r.fresh);
    json_reader_free(&reader);
    return r.good ? OK : MALFORMED;
}

/* ---- one shard's view ---- */
struct channel_rules {
    struct channel_board *board;
    struct app_rules *apps; /* configured: both together */
    uint64_t generation;
};

struct channel_rules *channel_rules_create(struct channel_board *b) {
    struct channel_rules *r = must_alloc(sizeof *r);
    r->board = b;
    return r;
}

static void apps_free(struct channel_rules *r) {
    while (r->apps) {
        struct app_rules *a = r->apps;
        r->apps = a->next;
        buf_done(&a->configured);
        free(a);
    }
}

void channel_rules_free(struct channel_rules **pr) {
    if (!*pr) return;
    apps_free(*pr);
    free(*pr);
    *pr = NULL;
}

static void refresh(struct channel_rules *r) {
    uint64_t now = atomic_load(&r->board->generation);
    if (now == r->generation) return;
    apps_free(r);
    locked(&r->board->lock, LOCK_CHANNELS);
    for (const struct app_rules *a = r->board->apps; a; a = a->next) {
        struct app_rules *mine = must_alloc(sizeof *mine);
        memcpy(mine->app, a->app, sizeof mine->app);
        buf_bytes(&mine->configured, buf_view(&a->configured));
        buf_bytes(&mine->configured, buf_view(&a->logged));
        mine->next = r->apps;
        r->apps = mine;
    }
    pthread_mutex_unlock(&r->board->lock);
    r->generation = now;
}

/* A level {user} or {device} becomes the name of who asks; false: who asks has none. */
static bool expand(struct bytes topic, const struct principal *who, struct buf *out) {
    buf_reset(out);
    for (size_t from = 0, i = 0; i <= topic.n; i++) {
        if (i < topic.n && topic.p[i] != '/') continue;
        struct bytes level = bytes_of(topic.p + from, i - from), name = level;
        if (bytes_is(level, "{user}")) name = who->user;
        else if (bytes_is(level, "{device}")) name = who->device;
        if (level.n && !name.n) return false;
        if (from) buf_char(out, '/');
        buf_bytes(out, name);
        from = i + 1;
    }
    return true;
}

static bool is_meant(const struct rule *r, enum channel_act act, const struct principal *who) {
    if (r->who[act] != WHO_LISTED) return r->who[act] == WHO_ALL;
    for (struct unpack u = unpack_of(r->users[act]); unpack_more(&u);)
        if (bytes_eq(unpack_bytes(&u), who->user)) return true;
    return false;
}

struct deciding {
    struct buf topic, best; /* the rule's; that of the most specific so far */
    bool any, may;
};

/* Of the rules that cover what is asked the most specific decides: one whose topic another covers.
 * Of several that say the same topic it is enough that one allows. */
static void decide(struct deciding *d, const struct rule *rule, enum channel_act act,
    const struct principal *who, struct bytes asked) {
    struct bytes topic = buf_view(&d->topic), best = buf_view(&d->best);
    if (!mqtt_filter_covers(topic, asked)) return;
    bool narrower = !d->any || mqtt_filter_covers(best, topic);
    bool wider = d->any && mqtt_filter_covers(topic, best);
    if (wider && !narrower) return;
    bool same = d->any && (wider || !narrower);
    d->may = (same && d->may) || is_meant(rule, act, who);
    if (same) return;
    d->any = true;
    buf_reset(&d->best);
    buf_bytes(&d->best, topic);
}

bool channel_may(struct channel_rules *r, const struct principal *who, enum channel_act act,
    struct bytes topic) {
    if (who->server) return who->scopes & (act == CHANNEL_PUBLISH ? SCOPE_WRITE : SCOPE_READ);
    refresh(r);
    const struct app_rules *a = app_find(r->apps, who->app);
    struct deciding d = {.may = r->board->allow_all};
    for (struct unpack u = unpack_of(a ? buf_view(&a->configured) : (struct bytes){0});
         unpack_more(&u);) {
        struct rule rule;
        if (!rule_unpack(&u, &rule)) { /* unreadable: allows nothing */
            d.may = false;
            break;
        }
        if (expand(rule.topic, who, &d.topic)) decide(&d, &rule, act, who, topic);
    }
    buf_done(&d.topic);
    buf_done(&d.best);
    return d.may;
}

bool channel_is_narrowed(
    struct channel_rules *r, const struct principal *who, struct bytes filter) {
    if (who->server || mqtt_topic_valid(filter)) return false;
    refresh(r);
    const struct app_rules *a = app_find(r->apps, who->app);
    struct buf b = {0};
    bool narrowed = false;
    struct unpack u = unpack_of(a ? buf_view(&a->configured) : (struct bytes){0});
    while (unpack_more(&u) && !narrowed) {
        struct rule rule;
        if (!rule_unpack(&u, &rule)) break;
        narrowed = expand(rule.topic, who, &b) && mqtt_filters_meet(buf_view(&b), filter) &&
                   !mqtt_filter_covers(buf_view(&b), filter);
    }
    buf_done(&b);
    return narrowed;
}
