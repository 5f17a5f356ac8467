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

static struct session *slot_find(const struct deliver *d, uint64_t id) {
    uint32_t i = (uint32_t)id;
    struct session *s = i && i <= d->slot_count ? d->slots[i - 1].session : NULL;
    return s && s->id == id ? s : NULL;
}

static size_t slot(const struct deliver *d, struct bytes app, struct bytes user) {
    return (size_t)((hash64(app) * 31 + hash64(user)) & (d->table_size - 1));
}

struct deliver *deliver_create(const struct deliver_options *o) {
    struct deliver *d = must_alloc(sizeof *d);
    d->o = *o;
    if (!d->o.mark_ahead) d->o.mark_ahead = MARK_AHEAD;
    d->table_size = 1024;
    d->table = must_alloc(sizeof *d->table * d->table_size);
    return d;
}

void session_filters_clear(struct session *s) {
    for (size_t i = 0; i < s->filter_count; i++) free(s->filters[i].text);
    free(s->filters);
    s->filters = NULL;
    s->filter_count = 0;
}

static void window_clear(struct session *s) {
    for (uint16_t i = 0; i < s->flight_count; i++)
        free(s->window[(s->flight_head + i) % s->window_cap].conversation);
    free(s->window);
    s->window = NULL;
    s->window_cap = s->flight_count = s->flight_head = 0;
}

static void session_free(struct session *s) {
    session_filters_clear(s);
    window_clear(s);
    free(s->marks);
    free(s->names);
    free(s);
}

void deliver_free(struct deliver **pd) {
    struct deliver *d = *pd;
    if (!d) return;
    for (size_t i = 0; i < d->table_size; i++)
        while (d->table[i]) {
            struct session *s = d->table[i];
            d->table[i] = s->next;
            session_free(s);
        }
    buf_done(&d->payload);
    buf_done(&d->topic);
    buf_done(&d->body);
    free(d->slots);
    free(d->table);
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
uint64_t deliver_count(const struct deliver *d, uint64_t *out_delivered) {
    *out_delivered = d->delivered;
    return d->count;
}

struct session *session_find(struct deliver *d, struct bytes app, struct bytes user) {
    return d->table[slot(d, app, user)];
}
static bool is_of(const struct session *s, struct bytes app, struct bytes user) {
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
            size_t at = slot(d, s->app, s->user);
            s->next = d->table[at];
            d->table[at] = s;
        }
    free(t);
}

static void ready_add(struct deliver *d, struct session *s) {
    if (s->ready) return;
    s->ready = true;
    s->next_ready = d->ready;
    d->ready = s;
}

static void dirty_add(struct deliver *d, struct session *s) {
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
    for (struct session **p = &d->table[slot(d, s->app, s->user)]; *p; p = &(*p)->next)
        if (*p == s) {
            *p = s->next;
            break;
        }
    list_drop(d, s);
    slot_back(d, s);
    d->count--;
}

/* ---- cursors into the log ---- */
static void ack_store(struct deliver *d, struct session *s, uint8_t says) {
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

static void mark_note(
    struct deliver *d, struct session *s, const char *conversation, uint64_t seq) {
    for (size_t i = 0; i < s->mark_count; i++)
        if (strcmp(s->marks[i].conversation, conversation) == 0) {
            if (seq > s->marks[i].seq) s->marks[i].seq = seq;
            return;
        }
    if (s->mark_count == MARKS_MAX) ack_store(d, s, 0);
    /* the log refuses: the next acknowledgement of this conversation says more */
    if (s->mark_count == MARKS_MAX) return;
    if (!s->marks) s->marks = must_alloc(sizeof *s->marks * MARKS_MAX);
    struct pending_mark *m = &s->marks[s->mark_count++];
    memcpy(m->conversation, conversation, strlen(conversation) + 1);
    m->seq = seq;
}

enum err deliver_acked(struct deliver *d, struct session *s, uint16_t packet_id) {
    uint16_t i = 0;
    while (i < s->flight_count &&
           (s->window[(s->flight_head + i) % s->window_cap].packet != packet_id ||
               s->window[(s->flight_head + i) % s->window_cap].acked))
        i++;
    if (i == s->flight_count) return MISSING;
    s->window[(s->flight_head + i) % s->window_cap].acked = true;
    while (s->flight_count && s->window[s->flight_head].acked) {
        struct flight *f = &s->window[s->flight_head];
        s->acked = f->position;
        if (f->conversation) mark_note(d, s, f->conversation, f->seq);
        free(f->conversation);
        f->conversation = NULL;
        s->flight_head = (uint16_t)((s->flight_head + 1) % s->window_cap);
        s->flight_count--;
    }
    if (!s->flight_count) {
        s->acked = s->sent;
        s->shifted = false;
    }
    dirty_add(d, s);
    if (!s->caught_up) ready_add(d, s);
    return OK;
}

/* ---- opening ---- */
static struct session *session_make(struct deliver *d, const struct session_open *o) {
    struct session *s = must_alloc(sizeof *s);
    slot_give(d, s);
    s->names = must_alloc(o->app.n + o->user.n + o->device.n + 3);
    char *p = s->names;
    struct bytes *to[] = {&s->app, &s->user, &s->device};
    const struct bytes *from[] = {&o->app, &o->user, &o->device};
    for (int i = 0; i < 3; i++) {
        if (from[i]->n) memcpy(p, from[i]->p, from[i]->n);
        *to[i] = bytes_of(p, from[i]->n);
        p += from[i]->n + 1;
    }
    s->kind = o->kind;
    s->version = o->version;
    s->expiry_s = o->expiry_s;
    s->kept = o->kind == SESSION_MQTT && o->expiry_s > 0;
    s->partition = partition_of_user(o->app, o->user, d->o.partitions);
    s->window_max = o->receive_maximum && o->receive_maximum < DELIVER_WINDOW_MAX
                        ? o->receive_maximum
                        : DELIVER_WINDOW_MAX;
    s->packet_max = o->packet_max;
    s->conn = o->conn;
    s->out = o->out;
    if (d->count >= d->table_size) table_grow(d);
    size_t at = slot(d, s->app, s->user);
    s->next = d->table[at];
    d->table[at] = s;
    d->count++;
    return s;
}

static void record_begin(struct deliver *d, const struct session *s) {
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

size_t deliver_connected(
    const struct deliver *d, struct bytes app, struct bytes user, struct bytes but) {
    size_t n = 0;
    for (const struct session *s = d->table[slot(d, app, user)]; s; s = s->next)
        n += is_of(s, app, user) && !(but.n && bytes_eq(s->device, but));
    return n;
}

static void take_over(struct deliver *d, const struct session_open *o) {
    struct session *s = session_find(d, o->app, o->user);
    while (s) {
        struct session *next = s->next;
        if (is_of(s, o->app, o->user) && s->kind == SESSION_MQTT &&
            bytes_eq(s->device, o->device)) {
            void *conn = s->conn;
            deliver_close(d, s);
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
        session_filters_clear(s);
        s->sent = s->acked = s->stored_cursor = now;
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
    s->missed =
        present &&
        s->acked + 1 < mailbox_first_kept(engine_cells(d->o.engine, s->partition), s->app, s->user);
    if (d->o.planted == BUG_SESSION_LOST) present = false;
    s->open = true;
    ready_add(d, s);
    d->o.opened(d->o.arg, s->conn, present, OK);
}

void deliver_close(struct deliver *d, struct session *s) {
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
    session_free(s);
}

void deliver_set_expiry(struct deliver *d, struct session *s, uint32_t expiry_s) {
    (void)d;
    s->expiry_s = expiry_s;
}

/* ---- filters ---- */
enum err deliver_filter_check(const struct session *s, struct bytes filter) {
    if (!mqtt_filter_valid(filter)) return MALFORMED;
    if (bytes_starts(filter, "users/")) {
        struct bytes rest = bytes_of(filter.p + 6, filter.n - 6);
        size_t n = 0;
        while (n < rest.n && rest.p[n] != '/') n++;
        struct bytes owner = bytes_of(rest.p, n);
        if (bytes_eq(owner, s->user)) return n < rest.n ? OK : REFUSED;
        struct bytes tail = bytes_of(rest.p + n, rest.n - n);
        return bytes_is(tail, "/presence") && id_valid(owner) ? OK : REFUSED;
    }
    if (bytes_starts(filter, "conversations/")) {
        struct bytes tail = bytes_of(
            filter.p + filter.n - (filter.n < 7 ? filter.n : 7), filter.n < 7 ? filter.n : 7);
        return bytes_is(tail, "/typing") ? OK : REFUSED;
    }
    return REFUSED;
}

static void filter_set(struct session *s, const struct session_filter *f, uint64_t start) {
    for (size_t i = 0; i < s->filter_count; i++)
        if (bytes_eq(bytes_str(s->filters[i].text), f->filter)) {
            s->filters[i].options = f->options;
            s->filters[i].subscription_id = f->subscription_id;
            return; /* it began before: replacing a subscription loses nothing */
        }
    s->filters = must_realloc(s->filters, (s->filter_count + 1) * sizeof *s->filters);
    struct kept_filter *k = &s->filters[s->filter_count++];
    *k = (struct kept_filter){
        .options = f->options, .subscription_id = f->subscription_id, .start = start};
    k->text = must_alloc(f->filter.n + 1);
    memcpy(k->text, f->filter.p, f->filter.n);
}

static void filter_drop(struct session *s, struct bytes filter) {
    for (size_t i = 0; i < s->filter_count; i++)
        if (bytes_eq(bytes_str(s->filters[i].text), filter)) {
            free(s->filters[i].text);
            s->filters[i] = s->filters[--s->filter_count];
            return;
        }
}

static enum err filters_record(struct deliver *d, struct session *s, uint32_t cookie) {
    return d->o.append(d->o.arg, s->partition, KIND_SESSION_FILTERS, s->app, buf_view(&d->body),
        s->id, PURPOSE_FILTERS, cookie);
}

enum err deliver_subscribe(struct deliver *d, struct session *s, const struct session_filter *f,
    size_t n, uint32_t cookie) {
    if (s->filter_count + n > DELIVER_FILTERS_MAX) return LIMIT;
    if (s->kept) {
        record_begin(d, s);
        pack_u8(&d->body, 1);
        pack_var(&d->body, n);
        for (size_t i = 0; i < n; i++) {
            pack_bytes(&d->body, f[i].filter);
            pack_u8(&d->body, f[i].options);
            pack_var(&d->body, f[i].subscription_id);
        }
        return filters_record(d, s, cookie);
    }
    for (size_t i = 0; i < n; i++) filter_set(s, &f[i], engine_applied(d->o.engine, s->partition));
    d->o.subscribed(d->o.arg, s->conn, cookie, OK);
    return OK;
}

enum err deliver_unsubscribe(
    struct deliver *d, struct session *s, const struct bytes *filters, size_t n, uint32_t cookie) {
    for (size_t i = 0; i < n; i++) filter_drop(s, filters[i]);
    if (!s->kept) {
        d->o.subscribed(d->o.arg, s->conn, cookie, OK);
        return OK;
    }
    record_begin(d, s);
    pack_u8(&d->body, 0);
    pack_var(&d->body, n);
    for (size_t i = 0; i < n; i++) {
        pack_bytes(&d->body, filters[i]);
        pack_u8(&d->body, 0);
        pack_var(&d->body, 0);
    }
    return filters_record(d, s, cookie);
}

bool deliver_has_filter(const struct session *s, struct bytes filter) {
    for (size_t i = 0; i < s->filter_count; i++)
        if (bytes_eq(bytes_str(s->filters[i].text), filter)) return true;
    return false;
}

/* After the record: the stored filters are the truth; cursor and window of the running session stay
 * as they are. */
static void filters_done(
    struct deliver *d, struct session *s, uint32_t cookie, const struct answer *a) {
    if (!a->problem) {
        uint64_t sent = s->sent, acked = s->acked, stored = s->stored_cursor, dup_to = s->dup_to,
                 mark = s->mark;
        check(session_load(d, s));
        s->sent = sent;
        s->acked = acked;
        s->stored_cursor = stored;
        s->dup_to = dup_to;
        s->mark = s->mark > mark ? s->mark : mark;
    }
    d->o.subscribed(d->o.arg, s->conn, cookie, a->problem ? AGAIN : OK);
}

void deliver_answered(
    struct deliver *d, uint64_t session, uint8_t purpose, uint32_t cookie, const struct answer *a) {
    struct session *s = slot_find(d, session);
    if (!s) return;
    if (purpose == PURPOSE_OPEN) {
        open_done(d, s, a);
    } else if (purpose == PURPOSE_FILTERS) {
        filters_done(d, s, cookie, a);
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

/* ---- from deliveries to sessions ---- */
static void session_notify(struct deliver *d, struct session *s, const struct entry *e) {
    if (!s->open) return;
    if (s->caught_up && session_send(d, s, e)) {
        if (s->kept) dirty_add(d, s);
        return;
    }
    s->caught_up = false;
    ready_add(d, s);
}

struct spread {
    struct deliver *d;
    struct bytes app;
    const struct entry *e;
};

static bool spread_user(void *arg, struct bytes user) {
    struct spread *w = arg;
    for (struct session *s = session_find(w->d, w->app, user), *next; s; s = next) {
        next = s->next;
        if (is_of(s, w->app, user)) session_notify(w->d, s, w->e);
    }
    return true;
}

static void revoke(struct deliver *d, struct bytes app, const struct delivery *v) {
    struct session *s = session_find(d, app, v->user);
    while (s) {
        struct session *next = s->next;
        if (is_of(s, app, v->user) && (!v->device.n || bytes_eq(v->device, s->device))) {
            void *conn = s->conn;
            unlink_session(d, s);
            session_free(s);
            d->o.end(d->o.arg, conn, 0x87);
        }
        s = next;
    }
}

void deliver_entry(
    struct deliver *d, uint16_t partition, struct bytes app, const struct delivery *v) {
    if (!d->count) return;
    if (v->kind == DELIVER_REVOKE) {
        revoke(d, app, v);
        return;
    }
    struct spread w = {d, app, &v->entry};
    if (v->user.n) spread_user(&w, v->user);
    else mailbox_members(engine_cells(d->o.engine, partition), app, v->audience, spread_user, &w);
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
    for (size_t i = 0; i < s->filter_count; i++) {
        if (!mqtt_filter_matches(bytes_str(s->filters[i].text), topic)) continue;
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
        if (is_of(s, app, user)) session_live(d, s, topic, payload);
}

void deliver_written(struct deliver *d, struct session *s) {
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
