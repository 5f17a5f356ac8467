/* deliver: opening, closing and acknowledging of sessions, and the way from a delivery to the
 * sessions it concerns.
 * SPDX-License-Identifier: Apache-2.0 */
#include "deliver/deliver.h"

#include <stdlib.h>
#include <string.h>

#include "deliver/deliver_in.h"
#include "wire/wire.h"

/* ---- ids: slot + 1 below, how often the slot was given above, so that an answer to a session that
 * is gone finds nobody ---- */
static void slot_give(struct deliver *d, struct session *s) {
    if (!d->free_slot) {
        uint32_t old = d->slot_count, now = old ? old * 2 : 64;
        d->slots = must_realloc(d->slots, now * sizeof *d->slots);
        for (uint32_t i = old; i < now; i++)
            d->slots[i] = (struct session_slot){.next_free = i + 1 < now ? i + 2 : 0};
        d->free_slot = old + 1;
        d->slot_count = now;
    }
    struct session_slot *at = &d->slots[d->free_slot - 1];
    s->id = (uint64_t)++at->given << 32 | d->free_slot;
    d->free_slot = at->next_free;
    at->session = s;
}

static void slot_back(struct deliver *d, const struct session *s) {
    uint32_t i = (uint32_t)s->id;
    d->slots[i - 1].session = NULL;
    d->slots[i - 1].next_free = d->free_slot;
    d->free_slot = i;
}

struct session *session_by_id(const struct deliver *d, uint64_t id) {
    uint32_t i = (uint32_t)id;
    struct session *s = i && i <= d->slot_count ? d->slots[i - 1].session : NULL;
    return s && s->id == id ? s : NULL;
}

uint16_t session_partition(
    struct bytes app, struct bytes user, struct bytes device, uint16_t partitions) {
    return partition_of_user(app, user.n ? user : device, partitions);
}

/* Of a session without a user the device's name stands for it. */
static size_t slot(const struct deliver *d, struct bytes app, struct bytes user) {
    return (size_t)((hash64(app) * 31 + hash64(user)) & (d->table_size - 1));
}

struct deliver *deliver_create(const struct deliver_options *o) {
    struct deliver *d = must_alloc(sizeof *d);
    d->o = *o;
    if (!d->o.mark_ahead) d->o.mark_ahead = MARK_AHEAD;
    d->table_size = 1024;
    d->table = must_alloc(sizeof *d->table * d->table_size);
    d->here = must_alloc(sizeof *d->here * o->partitions);
    return d;
}

static void session_free(struct deliver *d, struct session *s) {
    session_filters_clear(d, s);
    wishes_clear(s);
    window_clear(s);
    live_free(s);
    free(s->marks);
    if (!s->lent) free((void *)s->app.p);
    free(s);
}

void deliver_free(struct deliver **pd) {
    struct deliver *d = *pd;
    if (!d) return;
    for (size_t i = 0; i < d->table_size; i++)
        while (d->table[i]) {
            struct session *s = d->table[i];
            d->table[i] = s->next;
            session_free(d, s);
        }
    channels_free(d);
    buf_done(&d->payload);
    buf_done(&d->topic);
    buf_done(&d->body);
    free(d->slots);
    free(d->table);
    free(d->here);
    replayed_free(d);
    free(d);
    *pd = NULL;
}

struct bytes session_app(const struct session *s) {
    return s->app;
}
struct bytes session_user(const struct session *s) {
    return s->user;
}
struct bytes session_device(const struct session *s) {
    return s->device;
}
uint64_t session_id(const struct session *s) { return s->id; }
void session_who(const struct session *s, struct principal *out) {
    *out = (struct principal){.server = s->server,
        .scopes = s->scopes,
        .app = s->app,
        .user = s->user,
        .device = s->device};
}
void deliver_list(const struct deliver *d, uint32_t from,
    bool (*fn)(void *, uint32_t, const struct session_view *), void *arg) {
    for (uint32_t i = from; i < d->slot_count; i++) {
        const struct session *s = d->slots[i].session;
        if (!s || !s->open) continue;
        struct session_view v = {.app = s->app,
            .user = s->user,
            .device = s->device,
            .kind = s->kind,
            .version = s->version,
            .kept = s->kept,
            .expiry_s = s->expiry_s,
            .filters = s->filter_count,
            .unacknowledged = s->flight_count};
        if (!fn(arg, i, &v)) return;
    }
}

size_t deliver_count(const struct deliver *d, struct deliver_counts *out) {
    *out = d->counts;
    return d->count;
}

struct session *session_find(const struct deliver *d, struct bytes app, struct bytes user) {
    return d->table[slot(d, app, user)];
}
static struct bytes name_of(const struct session *s) { return s->user.n ? s->user : s->device; }
bool session_is_of(const struct session *s, struct bytes app, struct bytes user) {
    return bytes_eq(s->user, user) && bytes_eq(s->app, app);
}

static void table_grow(struct deliver *d) {
    size_t old = d->table_size;
    struct session **t = d->table;
    d->table_size *= 2;
    d->table = must_alloc(sizeof *d->table * d->table_size);
    for (size_t i = 0; i < old; i++)
        while (t[i]) {
            struct session *s = t[i];
            t[i] = s->next;
            size_t at = slot(d, s->app, name_of(s));
            s->next = d->table[at];
            d->table[at] = s;
        }
    free(t);
}

void ready_add(struct deliver *d, struct session *s) {
    if (s->ready) return;
    s->ready = true;
    s->next_ready = d->ready;
    d->ready = s;
}

void dirty_add(struct deliver *d, struct session *s) {
    if (s->dirty) return;
    s->dirty = true;
    s->next_dirty = d->dirty;
    d->dirty = s;
}

static void list_drop(struct deliver *d, struct session *s) {
    for (struct session **p = &d->ready; *p && s->ready; p = &(*p)->next_ready)
        if (*p == s) {
            *p = s->next_ready;
            s->ready = false;
            break;
        }
    for (struct session **p = &d->dirty; *p && s->dirty; p = &(*p)->next_dirty)
        if (*p == s) {
            *p = s->next_dirty;
            s->dirty = false;
            break;
        }
}

static void unlink_session(struct deliver *d, struct session *s) {
    for (struct session **p = &d->table[slot(d, s->app, name_of(s))]; *p; p = &(*p)->next)
        if (*p == s) {
            *p = s->next;
            break;
        }
    list_drop(d, s);
    here_drop(d, s);
    slot_back(d, s);
    d->count--;
}

/* ---- cursors into the log ---- */
void ack_store(struct deliver *d, struct session *s, uint8_t says) {
    if (s->kind == SESSION_STREAM) return;
    bool moved = s->kept && s->acked > s->stored_cursor;
    if (!moved && !s->mark_count && !(says && s->kept)) return;
    struct buf *b = &d->body;
    buf_reset(b);
    pack_bytes(b, s->user);
    pack_bytes(b, s->device);
    pack_u8(b, s->kept);
    pack_var(b, s->acked);
    pack_u8(b, says);
    /* an earlier connection may have been sent more than this one has been yet */
    pack_var(b, s->sent > s->dup_to ? s->sent : s->dup_to);
    pack_var(b, s->mark_count);
    for (size_t i = 0; i < s->mark_count; i++) {
        pack_bytes(b, bytes_str(s->marks[i].conversation));
        pack_var(b, s->marks[i].seq);
    }
    if (says & ACK_LEFT) pack_var(b, s->expiry_s);
    if (d->o.append(d->o.arg, s->partition, KIND_SESSION_ACK, s->app, buf_view(b), s->id, 0, 0) !=
        OK) {
        dirty_add(d, s);
        return;
    }
    s->stored_cursor = s->acked;
    s->mark_count = 0;
}

void deliver_store_cursors(struct deliver *d, bool all) {
    struct session *list = d->dirty;
    d->dirty = NULL;
    while (list) {
        struct session *s = list;
        list = s->next_dirty;
        s->dirty = false;
        ack_store(d, s, all ? ACK_TIGHTEN : 0);
    }
    if (!all) return;
    for (size_t i = 0; i < d->table_size; i++)
        for (struct session *s = d->table[i]; s; s = s->next) ack_store(d, s, ACK_TIGHTEN);
}

/* ---- opening ---- */
static struct session *session_make(struct deliver *d, const struct session_open *o) {
    struct session *s = must_alloc(sizeof *s);
    slot_give(d, s);
    s->lent = o->lent;
    char *p = o->lent ? NULL : must_alloc(o->app.n + o->user.n + o->device.n + 3);
    struct bytes *to[] = {&s->app, &s->user, &s->device};
    const struct bytes *from[] = {&o->app, &o->user, &o->device};
    for (int i = 0; i < 3; i++) {
        *to[i] = *from[i];
        if (o->lent) continue;
        if (from[i]->n) memcpy(p, from[i]->p, from[i]->n);
        *to[i] = bytes_of(p, from[i]->n);
        p += from[i]->n + 1;
    }
    s->kind = o->kind;
    s->version = o->version;
    s->expiry_s = o->expiry_s;
    s->kept = o->kind == SESSION_MQTT && o->expiry_s > 0;
    s->server = o->server;
    s->scopes = o->scopes;
    s->alias_max = o->alias_max;
    s->partition = session_partition(o->app, o->user, o->device, d->o.partitions);
    s->window_max = o->receive_maximum && o->receive_maximum < DELIVER_WINDOW_MAX
                        ? o->receive_maximum
                        : DELIVER_WINDOW_MAX;
    s->packet_max = o->packet_max;
    s->conn = o->conn;
    s->out = o->out;
    if (d->count >= d->table_size) table_grow(d);
    size_t at = slot(d, s->app, name_of(s));
    s->next = d->table[at];
    d->table[at] = s;
    d->count++;
    if (s->user.n) here_add(d, s);
    return s;
}

void record_begin(struct deliver *d, const struct session *s) {
    buf_reset(&d->body);
    pack_bytes(&d->body, s->user);
    pack_bytes(&d->body, s->device);
}

/* Asks for the record; when the log refuses, the opening fails at once. */
static void open_record(struct deliver *d, struct session *s, uint8_t kind, bool fresh) {
    record_begin(d, s);
    if (kind == KIND_SESSION_OPEN) {
        pack_var(&d->body, s->expiry_s);
        pack_u8(&d->body, fresh);
        pack_var(&d->body, 2u * d->o.mark_ahead);
    }
    enum err e = d->o.append(
        d->o.arg, s->partition, kind, s->app, buf_view(&d->body), s->id, PURPOSE_OPEN, 0);
    if (e != OK) d->o.opened(d->o.arg, s->conn, false, e);
}

uint64_t deliver_position(const struct session *s) { return s->acked; }

size_t deliver_connected(
    const struct deliver *d, struct bytes app, struct bytes user, struct bytes but) {
    size_t n = 0;
    for (const struct session *s = d->table[slot(d, app, user)]; s; s = s->next)
        n += session_is_of(s, app, user) && !(but.n && bytes_eq(s->device, but));
    return n;
}

static void session_close(struct deliver *d, struct session *s);
static void take_over(struct deliver *d, const struct session_open *o) {
    struct session *s = session_find(d, o->app, o->user.n ? o->user : o->device);
    while (s) {
        struct session *next = s->next;
        if (session_is_of(s, o->app, o->user) && s->kind == SESSION_MQTT &&
            bytes_eq(s->device, o->device)) {
            void *conn = s->conn;
            session_close(d, s);
            d->o.end(d->o.arg, conn, 0x8e);
        }
        s = next;
    }
}

struct session *deliver_open(struct deliver *d, const struct session_open *o) {
    if (o->kind == SESSION_MQTT) take_over(d, o);
    struct session *s = session_make(d, o);
    uint64_t now = engine_applied(d->o.engine, s->partition);
    if (o->kind == SESSION_STREAM) {
        s->sent = s->acked = o->after == UINT64_MAX ? now : o->after;
        s->open = true;
        d->o.opened(d->o.arg, s->conn, false, OK);
        ready_add(d, s);
        return s;
    }
    bool present = session_load(d, s);
    s->stored = present && !o->clean;
    if (o->clean || !present) {
        session_filters_clear(d, s);
        s->sent = s->acked = s->stored_cursor = now;
        s->released_count = 0;
        s->dup_to = 0;
    }
    if (s->kept) {
        open_record(d, s, KIND_SESSION_OPEN, o->clean || !present);
    } else if (present) {
        open_record(d, s, KIND_SESSION_END, false);
    } else {
        s->open = true;
        d->o.opened(d->o.arg, s->conn, false, OK);
    }
    return s;
}

static void open_done(struct deliver *d, struct session *s, const struct answer *a) {
    if (a->problem) {
        d->o.opened(
            d->o.arg, s->conn, false, a->problem == PROBLEM_LIMIT_REACHED ? REFUSED : AGAIN);
        return;
    }
    bool present = s->stored;
    uint64_t dup_to = s->dup_to, cursor = s->acked;
    if (s->kept) {
        check(session_load(d, s));
        s->dup_to = present ? dup_to : 0;
        if (present) check(s->acked >= cursor);
    }
    s->list_to = s->kept ? UINT64_MAX : present ? engine_applied(d->o.engine, s->partition) : 0;
    s->missed =
        present && s->user.n &&
        s->acked + 1 < mailbox_first_kept(engine_cells(d->o.engine, s->partition), s->app, s->user);
    if (d->o.planted == BUG_SESSION_LOST) present = false;
    s->open = true;
    session_filters_index(d, s);
    ready_add(d, s);
    d->o.opened(d->o.arg, s->conn, present, OK);
}

void deliver_close(struct deliver *d, struct session *s) {
    away_left(d, s);
    session_close(d, s);
}

static void session_close(struct deliver *d, struct session *s) {
    if (s->kind == SESSION_MQTT && (s->open || s->kept)) {
        if (s->kept && s->expiry_s == 0) {
            ack_store(d, s, 0);
            record_begin(d, s);
            if (d->o.append(d->o.arg, s->partition, KIND_SESSION_END, s->app, buf_view(&d->body),
                    s->id, 0, 0) != OK)
                s->expiry_s = 1;
        } else {
            ack_store(d, s, s->open && !s->held ? ACK_TIGHTEN | ACK_LEFT : ACK_LEFT);
        }
    }
    unlink_session(d, s);
    session_free(d, s);
}

void deliver_set_expiry(struct deliver *d, struct session *s, uint32_t expiry_s) {
    (void)d;
    s->expiry_s = expiry_s;
}

void deliver_answered(
    struct deliver *d, uint64_t session, uint8_t purpose, uint32_t cookie, const struct answer *a) {
    struct session *s = session_by_id(d, session);
    if (!s) return;
    if (purpose == PURPOSE_OPEN) {
        open_done(d, s, a);
    } else if (purpose == PURPOSE_FILTERS) {
        filters_done(d, s, cookie, a);
    } else if (purpose == PURPOSE_RELEASED) {
        released_done(d, s, (uint16_t)cookie);
    } else if (purpose == PURPOSE_MARK) {
        s->held = false;
        uint8_t room[300];
        struct cell *cell = cells_get(
            engine_cells(d->o.engine, s->partition), key3(room, 'D', s->app, s->user, s->device));
        struct unpack u = unpack_of(bytes_of(cell->data, cell->size));
        unpack_u8(&u);
        unpack_var(&u);
        uint64_t mark = unpack_var(&u);
        if (!u.bad && mark > s->mark) s->mark = mark;
        ready_add(d, s);
    }
}

/* ---- where kept sessions listen ---- */
static void kept_changed(
    struct deliver *d, uint16_t partition, struct bytes app, struct bytes filter, int delta) {
    struct bytes group, inner;
    if (!d->o.interest) return;
    if (!channel_share_parse(filter, &group, &inner)) {
        interest_kept(d->o.interest, partition, app, filter, delta);
        return;
    }
    struct group_change c = {.kept = delta, .partition = partition};
    deliver_group_changed(d, d->o.shard, app, filter, &c);
    if (d->o.group_changed) d->o.group_changed(d->o.arg, app, filter, &c);
}

/* ---- from deliveries to sessions: spread.c, but for those that are about sessions ---- */
static void revoke(struct deliver *d, struct bytes app, const struct delivery *v) {
    struct session *s = session_find(d, app, v->user.n ? v->user : v->device);
    while (s) {
        struct session *next = s->next;
        if (session_is_of(s, app, v->user) && (!v->device.n || bytes_eq(v->device, s->device))) {
            void *conn = s->conn;
            unlink_session(d, s);
            session_free(d, s);
            d->o.end(d->o.arg, conn, v->reason ? v->reason : 0x87);
        }
        s = next;
    }
}

void deliver_entry(
    struct deliver *d, uint16_t partition, struct bytes app, const struct delivery *v) {
    if (v->kind == DELIVER_FILTER) {
        kept_changed(d, partition, app, v->body, v->entry.event == EVENT_DELETED ? -1 : 1);
        return;
    }
    if (v->kind == DELIVER_CHANNEL) {
        if (d->o.spread) d->o.spread(d->o.arg, app, v->body);
        return;
    }
    if (v->kind == DELIVER_ENTRY) {
        if (d->count) spread_entry(d, partition, app, v);
        away_tell(d, partition, app, v);
        return;
    }
    if (!d->count) return;
    if (v->kind == DELIVER_CHANNEL_KEPT) {
        plain_kept(d, partition, app, v);
        return;
    }
    if (v->kind == DELIVER_REVOKE) revoke(d, app, v);
}

/* An event without an id, so that a stream that breaks goes on behind what is stored: its name is
 * the topic's last level, its data what the topic and the payload say: {"conversation":c,"from":u}
 * of typing, {"user":u,"online":true} of presence. */
static void stream_live(
    struct deliver *d, struct session *s, struct bytes topic, struct bytes payload) {
    struct bytes level[3] = {{0}};
    size_t n = 0, from = 0;
    for (size_t i = 0; i <= topic.n && n < 3; i++) {
        if (i < topic.n && topic.p[i] != '/') continue;
        level[n++] = bytes_of(topic.p + from, i - from);
        from = i + 1;
    }
    if (n < 3 || payload.n < 2) return;
    struct buf *b = &d->payload;
    struct json_out o = {b, false};
    buf_reset(b);
    d->cached_position = 0;
    buf_char(b, '{');
    jo_key(&o, bytes_is(level[0], "users") ? "user" : "conversation");
    jo_str(&o, level[1]);
    buf_char(b, ',');
    buf_bytes(b, bytes_of(payload.p + 1, payload.n - 1));
    sse_write_event(s->out, (struct bytes){0}, level[2], buf_view(b));
    d->o.output(d->o.arg, s->conn);
}

void session_live(struct deliver *d, struct session *s, struct bytes topic, struct bytes payload) {
    if (!s->open || s->out->n >= DELIVER_OUTPUT_MAX) return;
    if (s->kind == SESSION_STREAM) {
        stream_live(d, s, topic, payload);
        return;
    }
    for (const struct subscription *f = s->filters; f; f = f->next) {
        if (f->plain || !mqtt_filter_matches(bytes_of(f->text, f->size), topic)) continue;
        size_t before = s->out->n;
        mqtt_encode_publish(s->out, s->version, topic, payload, 0, false, false, 0, NULL);
        if (s->packet_max && s->out->n - before > s->packet_max) s->out->n = before;
        d->o.output(d->o.arg, s->conn);
        return;
    }
}

void deliver_live(struct deliver *d, struct bytes app, struct bytes user, struct bytes topic,
    struct bytes payload) {
    for (struct session *s = session_find(d, app, user); s; s = s->next)
        if (session_is_of(s, app, user)) session_live(d, s, topic, payload);
}

void deliver_written(struct deliver *d, struct session *s) {
    if (s->live) live_pump(d, s);
    if (!s->caught_up) ready_add(d, s);
}

bool deliver_is_ready(const struct deliver *d) { return d->ready != NULL; }

void deliver_turn(struct deliver *d) {
    d->cached_position = 0; /* an edit or a block in a later turn must not meet the old text */
    struct session *list = d->ready;
    d->ready = NULL;
    while (list) {
        struct session *s = list;
        list = s->next_ready;
        s->ready = false;
        session_pump(d, s);
    }
}
