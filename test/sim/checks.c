/* sim: what must always hold, asked through the same queries that people use, and compared with
 * what was promised to them.
 * SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "sim.h"

static const struct route *route_find(const struct surface *v, const char *path) {
    size_t i = 0;
    while (i < v->route_count &&
           (strcmp(v->routes[i].method, "GET") || strcmp(v->routes[i].path, path)))
        i++;
    check(i < v->route_count);
    return &v->routes[i];
}

/* GET path with its one parameter, as a server key for nobody or as this user. The body ends in a
 * zero byte; the caller frees it. */
static char *ask(struct sim *s, unsigned app, const struct surface *v, const char *path,
    struct bytes param, const char *names[2], const char *values[2], int user) {
    struct chat_halves h = chat_halves();
    const struct route *route = route_find(v ? v : &h.conversation, path);
    struct arena arena = {0};
    struct answer a = {0};
    struct plan p = {0};
    struct request r = {.method = bytes_str("GET"),
        .params = {param},
        .who = {.server = true, .scopes = 63, .app = app_name(app)},
        .now_ms = s->now_ms,
        .epoch = 7,
        .partitions = PARTITIONS,
        .arena = &arena};
    for (size_t i = 0; i < 2 && names[i]; i++) {
        r.query_names[i] = bytes_str(names[i]);
        r.query_values[i] = bytes_str(values[i]);
        r.query_count++;
    }
    if (user >= 0) {
        r.who.user = user_name((unsigned)user);
        users_viewer(
            node_cells(s, partition_of_user(r.who.app, r.who.user, PARTITIONS)), &r.who, &r.viewer);
    }
    if (route->plan(&r, &p, &a) != OK) violated(s, "GET %s is refused: %s", path, a.detail);
    struct query q = {node_cells(s, p.partition), p.partition, &r, &a, &s->tools, 0};
    p.query(&q);
    if (a.problem)
        violated(s, "GET %s of %.*s: %s", path, (int)param.n, (const char *)param.p, a.detail);
    buf_char(&a.body, 0);
    arena_done(&arena);
    return (char *)a.body.p;
}

static uint64_t number_after(const char *text, const char *key) {
    const char *at = strstr(text, key);
    return at ? strtoull(at + strlen(key), NULL, 10) : 0;
}

static void message_check(
    struct sim *s, unsigned app, unsigned conv, char *item, uint64_t want_seq, uint8_t *seen) {
    uint64_t seq = number_after(item, "\"seq\":");
    unsigned i;
    char text[32];
    if (seq != want_seq)
        violated(s, "%s c%u: seq %llu follows %llu", app ? "other" : "demo", conv,
            (unsigned long long)seq, (unsigned long long)want_seq - 1);
    if (sscanf(item, "{\"id\":\"m%u\"", &i) != 1 || i >= s->sent_count)
        violated(s, "c%u holds what nobody sent: %s", conv, item);
    struct sent *m = &s->sent[i];
    if (m->app != app || m->conv != conv) violated(s, "m%u lies in another app or conversation", i);
    if (seen[i]++) violated(s, "m%u is there twice", i);
    if (m->acked_once && m->seq != seq)
        violated(s, "m%u was acknowledged with seq %llu and has %llu", i,
            (unsigned long long)m->seq, (unsigned long long)seq);
    snprintf(text, sizeof text, "\"body\":\"said %u in ", i);
    if (!m->touched && !strstr(item, text)) violated(s, "m%u is changed: %s", i, item);
}

void check_conversation(struct sim *s, unsigned app, unsigned conv) {
    uint8_t *seen = must_alloc(SENT_MAX);
    uint64_t last = 0;
    for (;;) {
        char after[24];
        snprintf(after, sizeof after, "%llu", (unsigned long long)last);
        char *page = ask(s, app, NULL, "/v1/conversations/{id}/messages", conv_name_of(conv),
            (const char *[]){"after", "limit"}, (const char *[]){after, "200"}, -1);
        uint64_t before = last;
        for (char *at = strstr(page, "{\"id\":\""); at;) {
            char *next = strstr(at + 1, "{\"id\":\"");
            if (next) next[-1] = 0;
            message_check(s, app, conv, at, ++last, seen);
            at = next;
        }
        free(page);
        if (last == before) break;
    }
    for (uint32_t i = 0; i < s->sent_count; i++)
        if (s->sent[i].app == app && s->sent[i].conv == conv && s->sent[i].acked_once && !seen[i])
            violated(s, "m%u was acknowledged and is lost", i);
    free(seen);
    char *page = ask(s, app, NULL, "/v1/conversations/{id}/receipts", conv_name_of(conv),
        (const char *[]){NULL, NULL}, NULL, -1);
    for (char *at = strstr(page, "{\"user\":\""); at; at = strstr(at + 1, "{\"user\":\"")) {
        int user = user_of(bytes_of(at + 9, 2));
        check(user >= 0);
        uint64_t now[2] = {number_after(at, "\"delivered\":"), number_after(at, "\"read\":")};
        for (int k = 0; k < 2; k++) {
            uint64_t *seen_mark = &s->marks[app][conv][user][k];
            if (now[k] < *seen_mark)
                violated(s, "c%u: a receipt of u%d went back from %llu to %llu", conv, user,
                    (unsigned long long)*seen_mark, (unsigned long long)now[k]);
            *seen_mark = now[k];
        }
        if (now[0] > last || now[1] > now[0])
            violated(s, "c%u: a receipt of u%d past what is there", conv, user);
    }
    free(page);
}

/* ---- mailboxes ---- */
struct walk {
    struct sim *s;
    unsigned app, user;
    bool complete;
    uint64_t last;
    struct cells *cells;
    size_t got[DEVICES];
};

static bool entry_check(void *arg, const struct entry *e) {
    struct walk *w = arg;
    struct sim *s = w->s;
    if (e->position <= w->last)
        violated(s, "u%u: position %llu follows %llu in the mailbox", w->user,
            (unsigned long long)e->position, (unsigned long long)w->last);
    w->last = e->position;
    struct buf b = {0};
    bool shared;
    struct view v = {.user = user_name(w->user), .now_ms = s->now_ms};
    for (unsigned n = 0; n < DEVICES; n++) {
        struct device *d = &s->device[w->app][w->user][n];
        bool got = e->position < d->got_size && d->got[e->position];
        w->got[n] += got;
        int from = user_of(e->from);
        if (got || !w->complete || e->position <= d->must_from ||
            (from >= 0 && s->ever_blocked[w->app][w->user][from]) ||
            (e->type == ENTRY_NOTIFICATION && notification_may_miss(s, w->app, w->user, e->extra)))
            continue;
        buf_reset(&b);
        if (entry_json(&s->tools, w->cells, app_name(w->app), &v, e, &b, &shared))
            violated(s,
                "%s u%u device %u never got position %llu (%s of %.*s): it must have all after "
                "%llu",
                w->app ? "other" : "demo", w->user, n, (unsigned long long)e->position,
                entry_type_name(e->type), (int)e->conversation.n, (const char *)e->conversation.p,
                (unsigned long long)d->must_from);
    }
    buf_done(&b);
    return true;
}

/* What a device was given is there for good, at its place; and when all have come to rest, each was
 * given all. */
void check_mailbox(struct sim *s, unsigned app, unsigned user, bool complete) {
    uint16_t p = partition_of_user(app_name(app), user_name(user), PARTITIONS);
    struct walk w = {
        .s = s, .app = app, .user = user, .complete = complete, .cells = node_cells(s, p)};
    mailbox_walk(w.cells, app_name(app), user_name(user), 0, SIZE_MAX, entry_check, &w);
    for (unsigned n = 0; n < DEVICES; n++) {
        struct device *d = &s->device[app][user][n];
        size_t got = 0;
        for (size_t i = 0; i < d->got_size; i++) got += d->got[i];
        if (got != w.got[n])
            violated(s,
                "%s u%u device %u was given %zu entries, of which %zu are in the mailbox now",
                app ? "other" : "demo", user, n, got, w.got[n]);
    }
}

void check_cursors(struct sim *s) {
    struct device *d = &s->device[below(s, APPS)][below(s, USERS)][below(s, DEVICES)];
    uint8_t room[300];
    char name[8];
    snprintf(name, sizeof name, "d%u", d->n);
    if (!d->sure) return;
    struct cell *cell = cells_get(
        node_cells(s, partition_of_user(app_name(d->app), user_name(d->user), PARTITIONS)),
        key3(room, 'D', app_name(d->app), user_name(d->user), bytes_str(name)));
    if (!cell->size) violated(s, "u%u device %u: its kept session is not stored", d->user, d->n);
    struct unpack u = unpack_of(bytes_of(cell->data, cell->size));
    unpack_u8(&u);
    uint64_t cursor = unpack_var(&u);
    if (cursor < d->cursor_seen)
        violated(s, "u%u device %u: its cursor went back from %llu to %llu", d->user, d->n,
            (unsigned long long)d->cursor_seen, (unsigned long long)cursor);
    d->cursor_seen = cursor;
}

/* unread: others' visible messages after read, counted from what the same user is shown. */
void check_unread(struct sim *s, unsigned app, unsigned user) {
    struct chat_halves h = chat_halves();
    char *list = ask(s, app, &h.member, "/v1/users/{id}/conversations", user_name(user),
        (const char *[]){"limit", NULL}, (const char *[]){"200", NULL}, -1);
    for (char *at = strstr(list, "{\"id\":\"c"); at; at = strstr(at + 1, "{\"id\":\"c")) {
        unsigned conv = (unsigned)(at[8] - '0'), unread = (unsigned)number_after(at, "\"unread\":"),
                 count = 0;
        uint64_t read = number_after(at, "\"read\":"), last = 0, before;
        do {
            char after[24];
            snprintf(after, sizeof after, "%llu", (unsigned long long)last);
            char *page = ask(s, app, NULL, "/v1/conversations/{id}/messages", conv_name_of(conv),
                (const char *[]){"after", "limit"}, (const char *[]){after, "200"}, (int)user);
            before = last;
            for (char *m = strstr(page, "{\"id\":\"m"); m;) {
                char *next = strstr(m + 1, "{\"id\":\"m");
                if (next) next[-1] = 0;
                last = number_after(m, "\"seq\":");
                char *from = strstr(m, "\"from\":\"");
                if (from && user_of(bytes_of(from + 8, 2)) != (int)user &&
                    !strstr(m, "\"deleted_at\"") && !strstr(m, "\"hidden\"") && last > read)
                    count++;
                m = next;
            }
            free(page);
        } while (last != before);
        if (unread != count)
            violated(s, "%s u%u c%u: unread says %u, there are %u", app ? "other" : "demo", user,
                conv, unread, count);
    }
    free(list);
}

void check_all(struct sim *s, bool complete) {
    check_plain(s, complete);
    check_alarms(s, complete);
    check_settings(s, complete);
    check_triggers(s, complete);
    check_sends(s, complete);
    for (unsigned a = 0; a < APPS; a++) {
        for (unsigned c = 0; c < CONVS; c++) {
            check_conversation(s, a, c);
            check_hooked(s, a, c, complete);
        }
        for (unsigned u = 0; u < USERS; u++) {
            check_mailbox(s, a, u, complete);
            check_away(s, a, u, complete);
            if (complete) check_unread(s, a, u);
        }
    }
}
