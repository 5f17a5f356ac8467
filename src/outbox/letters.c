/* outbox: dead letters: sends that were given up, kept for the app to look at and to send again. The
 * newest LETTERS_KEPT of each app in each partition. The cells are drawn in outbox_in.h.
 *
 * Keeps: a letter's key names its partition and rises with time, so that lists of all partitions merge
 * by it, and whoever has its id finds it. SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "outbox/outbox_in.h"

enum { LETTERS_KEPT = 1000, PARTITION_BITS = 9, ID_MAX = 40 };

static struct cell *letter_cell(struct cells *c, struct bytes app, uint64_t key) {
    uint8_t room[300];
    return cells_get(c, key2n(room, '=', app, (struct bytes){0}, key));
}
static struct cell *letters_cell(struct cells *c, struct bytes app) {
    uint8_t room[300];
    return cells_get(c, key2(room, '=', app, (struct bytes){0}));
}

static uint64_t key_next(struct step *s) {
    struct cell *cell = letters_cell(s->cells, (struct bytes){0});
    uint64_t last = 0, key = (uint64_t)s->time_ms << PARTITION_BITS | s->partition;
    if (cell->size) memcpy(&last, cell->data, sizeof last);
    if (key <= last) key = last + (1u << PARTITION_BITS);
    cells_put(s->cells, cell, bytes_of(&key, sizeof key));
    return key;
}

void letter_add(
    struct step *s, const struct sending *x, struct bytes provider, struct bytes reason) {
    struct buf b = {0};
    uint64_t key = key_next(s), oldest;
    sending_encode(&b, x);
    pack_u64(&b, (uint64_t)s->time_ms);
    pack_bytes(&b, provider);
    pack_bytes(&b, reason);
    cells_put(s->cells, letter_cell(s->cells, s->app, key), buf_view(&b));
    buf_done(&b);
    struct cell *list = letters_cell(s->cells, s->app);
    cells_append(s->cells, list, bytes_of(&key, sizeof key));
    if (list->size <= LETTERS_KEPT * sizeof key) return;
    memcpy(&oldest, list->data, sizeof oldest);
    cells_put(s->cells, letter_cell(s->cells, s->app, oldest), (struct bytes){0});
    cells_splice(s->cells, list, 0, sizeof oldest, (struct bytes){0});
}

static void letter_remove(struct step *s, uint64_t key) {
    struct cell *list = letters_cell(s->cells, s->app);
    cells_put(s->cells, letter_cell(s->cells, s->app, key), (struct bytes){0});
    for (uint32_t at = 0; at < list->size; at += (uint32_t)sizeof key) {
        if (memcmp(list->data + at, &key, sizeof key) != 0) continue;
        cells_splice(s->cells, list, at, sizeof key, (struct bytes){0});
        return;
    }
}

void letters_erase(struct step *s, struct bytes user) {
    const struct cell *list = letters_cell(s->cells, s->app);
    struct bytes keys = arena_copy(s->arena, bytes_of(list->data, list->size));
    for (size_t at = 0; at < keys.n; at += sizeof(uint64_t)) {
        uint64_t key;
        struct sending x;
        memcpy(&key, keys.p + at, sizeof key);
        const struct cell *cell = letter_cell(s->cells, s->app, key);
        struct unpack u = unpack_of(bytes_of(cell->data, cell->size));
        if (cell->size && sending_decode(&u, &x) && bytes_eq(x.user, user)) letter_remove(s, key);
    }
}

bool letters_list_whole(struct cells *c, struct bytes app, struct bytes list) {
    uint64_t key, before = 0;
    for (size_t at = 0; at + sizeof key <= list.n; at += sizeof key, before = key) {
        memcpy(&key, list.p + at, sizeof key);
        if (key <= before || !letter_cell(c, app, key)->size) return false;
    }
    return list.n % sizeof key == 0 && list.n <= LETTERS_KEPT * sizeof key;
}

/* ---- ids ---- */
static void id_format(uint64_t key, char out[static ID_MAX]) {
    snprintf(out, ID_MAX, "dl_%016llx", (unsigned long long)key);
}
static bool id_read(struct bytes v, uint64_t *out) {
    char text[ID_MAX], again[ID_MAX];
    if (v.n >= sizeof text) return false;
    snprintf(text, sizeof text, "%.*s", (int)v.n, (const char *)v.p);
    *out = strncmp(text, "dl_", 3) == 0 ? strtoull(text + 3, NULL, 16) : 0;
    id_format(*out, again);
    return strcmp(text, again) == 0;
}

/* ---- the list ---- */
static void member(struct json_out *o, const char *name, struct bytes v) {
    if (!v.n) return;
    jo_key(o, name);
    jo_str(o, v);
}

static void letter_json(struct json_out *o, uint64_t key, const struct cell *cell) {
    static const char *const CHANNELS[] = {
        [CHANNEL_PUSH] = "push", [CHANNEL_EMAIL] = "email", [CHANNEL_WEBHOOK] = "webhook"};
    struct unpack u = unpack_of(bytes_of(cell->data, cell->size));
    struct sending x;
    char id[ID_MAX];
    check(sending_decode(&u, &x));
    int64_t failed_ms = (int64_t)unpack_u64(&u);
    struct bytes provider = unpack_bytes(&u), reason = unpack_bytes(&u);
    id_format(key, id);
    jo_open_obj(o);
    member(o, "id", bytes_str(id));
    member(o, "channel", bytes_str(CHANNELS[x.channel]));
    member(o, "user", x.user);
    member(o, sending_of_message(&x) ? "conversation" : "notification", x.notification);
    member(o, sending_of_message(&x) ? "message" : "trigger", x.trigger);
    member(o, "event", x.event);
    member(o, x.channel == CHANNEL_PUSH ? "device" : "webhook", x.to);
    member(o, "provider", provider);
    member(o, "reason", reason);
    jo_key(o, "attempts");
    jo_u64(o, x.attempts + 1);
    jo_key(o, "created_at");
    jo_time(o, x.created_ms);
    jo_key(o, "failed_at");
    jo_time(o, failed_ms);
    jo_close_obj(o);
}

struct asked {
    uint64_t below; /* letters of before this key; 0: all */
    unsigned limit;
};

/* Packed { u64 key, varbytes JSON }, newest first. */
static void query_letters(struct query *q) {
    const struct asked *asked = q->request->args;
    struct bytes app = q->request->who.app;
    const struct cell *list = letters_cell(q->cells, app);
    unsigned n = 0;
    struct buf one = {0};
    answer_ok(q->answer, 200);
    for (size_t at = list->size; at && n < asked->limit + 1; at -= sizeof(uint64_t)) {
        uint64_t key;
        memcpy(&key, list->data + at - sizeof key, sizeof key);
        if (asked->below && key >= asked->below) continue;
        struct json_out o = {&one, false};
        buf_reset(&one);
        letter_json(&o, key, letter_cell(q->cells, app, key));
        pack_u64(&q->answer->body, key);
        pack_bytes(&q->answer->body, buf_view(&one));
        n++;
    }
    buf_done(&one);
}

static uint64_t key_peek(struct unpack u) { return unpack_more(&u) ? unpack_u64(&u) : 0; }

static bool gather_letters(
    struct request *r, struct plan *p, const struct answer *parts, struct answer *a) {
    const struct asked *asked = r->args;
    struct unpack *lists = arena_alloc(r->arena, p->part_count * sizeof *lists);
    struct json_out o = {&a->body, false};
    uint64_t last = 0;
    bool more = false;
    for (size_t i = 0; i < p->part_count; i++) lists[i] = unpack_of(buf_view(&parts[i].body));
    answer_ok(a, 200);
    jo_open_obj(&o);
    jo_key(&o, "items");
    jo_open_arr(&o);
    for (unsigned n = 0;; n++) {
        size_t newest = 0;
        for (size_t i = 1; i < p->part_count; i++)
            if (key_peek(lists[i]) > key_peek(lists[newest])) newest = i;
        if (!key_peek(lists[newest])) break;
        if ((more = n == asked->limit)) break;
        last = unpack_u64(&lists[newest]);
        jo_raw(&o, unpack_bytes(&lists[newest]));
    }
    jo_close_arr(&o);
    jo_key(&o, "next");
    if (more) {
        struct buf cursor = {0};
        cursor_format(&cursor, r->epoch, last);
        jo_str(&o, buf_view(&cursor));
        buf_done(&cursor);
    } else jo_null(&o);
    jo_close_obj(&o);
    return false;
}

static enum err plan_letters(struct request *r, struct plan *p, struct answer *a) {
    struct asked *asked = arena_zero(r->arena, sizeof *asked);
    if (!request_limit(r, a, &asked->limit) || !request_cursor(r, a, &asked->below)) return REFUSED;
    r->args = asked;
    for (uint16_t i = 0; i < r->partitions; i++) plan_part(p, i)->query = query_letters;
    p->gather = gather_letters;
    return OK;
}

/* ---- once more ---- */
static void letter_missing(struct answer *a) {
    answer_problem(
        a, PROBLEM_NOT_FOUND, "", "there is no such dead letter, or it was sent again already");
}

/* Totals count people: whom another address reached since, or before, is counted. */
struct before {
    uint8_t channel, counted;
};
static void before_note(void *arg, const struct decision *d) {
    struct before *b = arg;
    if (d->channels != b->channel) return;
    if (d->code == WHY_SENT) b->counted |= COUNTED_SENT;
    if (d->code == WHY_SEND_FAILED) b->counted |= COUNTED_FAILED;
}
static uint8_t counted_before(struct step *s, const struct sending *x) {
    struct before b = {x->channel, 0};
    if (!x->event.n) why_each(s->cells, s->app, x->user, x->trigger, before_note, &b);
    return b.counted;
}

static void apply_retry(struct step *s) {
    struct unpack u = unpack_of(s->body);
    uint64_t key = unpack_u64(&u);
    struct sending x;
    const struct cell *cell = letter_cell(s->cells, s->app, key);
    if (!cell->size) {
        letter_missing(s->answer);
        return;
    }
    u = unpack_of(arena_copy(s->arena, bytes_of(cell->data, cell->size)));
    check(sending_decode(&u, &x));
    if (s->planted != BUG_LETTER_KEPT) letter_remove(s, key);
    x.turn++;
    x.attempts = 0;
    x.counted = counted_before(s, &x);
    x.provider = 0;
    x.waits = false;
    x.created_ms = s->time_ms;
    sending_begin(s, &x);
    answer_ok(s->answer, 202);
    char id[ID_MAX];
    id_format(key, id);
    if (s->wanted) buf_fmt(&s->answer->body, "{\"id\":\"%s\",\"state\":\"sending\"}", id);
}

static enum err plan_retry(struct request *r, struct plan *p, struct answer *a) {
    uint64_t key;
    if (!request_empty(r, a)) return REFUSED;
    if (!id_read(r->params[0], &key) || (key & ((1u << PARTITION_BITS) - 1)) >= r->partitions)
        return letter_missing(a), REFUSED;
    p->partition = (uint16_t)(key & ((1u << PARTITION_BITS) - 1));
    p->kind = KIND_NOTIFY_RETRY;
    pack_u64(&p->body, key);
    return OK;
}

static const struct record_rule RULES[] = {{KIND_NOTIFY_RETRY, apply_retry}};
static const struct route ROUTES[] = {
    {"GET", "/v1/dead-letters", SCOPE_READ | SCOPE_OPERATE, TOKEN_NEVER, SPECIAL_NONE, plan_letters,
        NULL},
    {"POST", "/v1/dead-letters/{id}/retry", SCOPE_WRITE | SCOPE_OPERATE, TOKEN_NEVER, SPECIAL_NONE,
        plan_retry, NULL},
};
const struct surface_part letters_part = {
    RULES, sizeof RULES / sizeof *RULES, ROUTES, sizeof ROUTES / sizeof *ROUTES};
