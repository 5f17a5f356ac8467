/* deliver, the stored half: what a kept session is, as records apply it in the user's partition.
 * Pure.
 *
 * Bodies: OPEN   varbytes user, varbytes device, var expiry_s, u8 fresh (drop what was kept), var
 * send-ahead (positions past this record)
 *         FILTERS varbytes user, varbytes device, u8 add, var n, n x { varbytes filter, u8 options,
 *           var subscription id }
 *         ACK    varbytes user, varbytes device, u8 kept, var cursor, u8 says (1 the mark is lower
 *                now, 2 the connection is gone), var mark,
 *                var n, n x { varbytes conversation, var seq }, when it is gone: var expiry_s
 *         MARK   varbytes user, varbytes device, var mark
 *         END    varbytes user, varbytes device, and, when its connection is to end too, u8 reason
 *         RELEASED varbytes user, varbytes device, var position
 * SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>
#include <string.h>

#include "deliver/deliver_in.h"

enum { FORMAT = 3, FORMAT_BEFORE_RELEASED = 2 };
struct stored {
    uint64_t cursor, mark, expiry_s, left_ms, filters;
    struct bytes rest;     /* the filters' bytes */
    struct bytes released; /* varints */
};

static struct bytes filters_bytes(struct unpack *u, uint64_t n) {
    const uint8_t *from = u->p;
    for (uint64_t i = 0; i < n; i++) {
        unpack_bytes(u);
        unpack_u8(u);
        unpack_var(u);
        unpack_var(u);
    }
    return bytes_of(from, (size_t)(u->p - from));
}

static bool stored_read(struct bytes v, struct stored *out) {
    if (!v.n) return false;
    struct unpack u = unpack_of(v);
    uint8_t format = unpack_u8(&u);
    check(format == FORMAT || format == FORMAT_BEFORE_RELEASED);
    out->cursor = unpack_var(&u);
    out->mark = unpack_var(&u);
    out->expiry_s = unpack_var(&u);
    out->left_ms = unpack_var(&u);
    out->filters = unpack_var(&u);
    out->rest = filters_bytes(&u, out->filters);
    out->released = bytes_of(u.p, (size_t)(u.end - u.p));
    check(!u.bad);
    return true;
}

static void stored_write(struct step *s, struct cell *cell, const struct stored *st) {
    struct buf b = {0};
    pack_u8(&b, FORMAT);
    pack_var(&b, st->cursor);
    pack_var(&b, st->mark);
    pack_var(&b, st->expiry_s);
    pack_var(&b, st->left_ms);
    pack_var(&b, st->filters);
    buf_bytes(&b, st->rest);
    for (struct unpack u = unpack_of(st->released); unpack_more(&u);) {
        uint64_t position = unpack_var(&u);
        if (position > st->cursor) pack_var(&b, position);
    }
    cells_put(s->cells, cell, buf_view(&b));
    buf_done(&b);
}

static struct cell *session_cell(struct step *s, struct bytes user, struct bytes device) {
    uint8_t room[300];
    return cells_get(s->cells, key3(room, 'D', s->app, user, device));
}

static struct bytes cell_view(const struct cell *c) { return bytes_of(c->data, c->size); }

static bool is_expired(const struct stored *st, int64_t now_ms) {
    return st->left_ms && st->expiry_s != SESSION_EXPIRY_NEVER &&
           now_ms >= (int64_t)(st->left_ms + st->expiry_s * 1000);
}

static void device_listed(struct step *s, struct bytes user, struct bytes device, bool on) {
    uint8_t room[300];
    struct cell *cell = cells_get(s->cells, key2(room, 'e', s->app, user));
    struct unpack u = unpack_of(cell_view(cell));
    while (unpack_more(&u)) {
        const uint8_t *at = u.p;
        struct bytes v = unpack_bytes(&u);
        if (!bytes_eq(v, device)) continue;
        if (!on)
            cells_splice(s->cells, cell, (uint32_t)(at - cell->data), (uint32_t)(u.p - at),
                (struct bytes){0});
        return;
    }
    if (!on) return;
    struct buf b = {0};
    pack_bytes(&b, device);
    cells_append(s->cells, cell, buf_view(&b));
    buf_done(&b);
}

/* ---- where a kept session listens to plain channels: told to who routes them, and found again at
 * start by the '5' cells ---- */
static void filter_told(
    struct step *s, struct bytes user, struct bytes device, struct bytes filter, bool on) {
    struct bytes group, inner;
    bool shared = channel_share_parse(filter, &group, &inner);
    if (!shared && !channel_is_plain(filter)) return;
    if (shared) channel_group_change(s, filter, user, device, on);
    struct delivery d = {
        .kind = DELIVER_FILTER, .body = filter, .entry.event = on ? EVENT_CREATED : EVENT_DELETED};
    step_deliver(s, &d);
}

/* Is the filter among them, at QoS 1 or 2? */
static bool is_listed(const struct stored *st, struct bytes filter) {
    struct unpack u = unpack_of(st->rest);
    for (uint64_t i = 0; i < st->filters; i++) {
        struct bytes one = unpack_bytes(&u);
        uint8_t options = unpack_u8(&u);
        unpack_var(&u);
        unpack_var(&u);
        if ((options & 3) && bytes_eq(one, filter)) return true;
    }
    return false;
}

/* Tells of those in `st` that are not in `other`. How many of `st` listen to plain channels. */
static size_t filters_told(struct step *s, struct bytes user, struct bytes device,
    const struct stored *st, const struct stored *other, bool on) {
    struct unpack u = unpack_of(st->rest);
    size_t plain = 0;
    for (uint64_t i = 0; i < st->filters; i++) {
        struct bytes filter = unpack_bytes(&u), group, inner;
        uint8_t options = unpack_u8(&u);
        unpack_var(&u);
        unpack_var(&u);
        if (!(options & 3)) continue;
        plain += channel_share_parse(filter, &group, &inner) || channel_is_plain(filter);
        if (!is_listed(other, filter) || (!on && s->planted == BUG_LISTENER_EARLY))
            filter_told(s, user, device, filter, on);
    }
    return plain;
}

static void listens_mark(struct step *s, struct bytes user, struct bytes device, bool on) {
    uint8_t room[300];
    struct cell *cell = cells_get(s->cells, key3(room, '5', s->app, user, device));
    if ((cell->size != 0) != on) cells_put(s->cells, cell, on ? BYTES("\1") : (struct bytes){0});
}

static void session_drop(
    struct step *s, struct cell *cell, struct bytes user, struct bytes device) {
    struct stored st, none = {0};
    if (!stored_read(arena_copy(s->arena, cell_view(cell)), &st)) return;
    filters_told(s, user, device, &st, &none, false);
    listens_mark(s, user, device, false);
    channel_received_clear(s, user, device);
    cells_put(s->cells, cell, (struct bytes){0});
}

/* Drops the user's sessions that have expired; how many are left besides this device's. */
static size_t others_kept(struct step *s, struct bytes user, struct bytes device) {
    uint8_t room[300];
    size_t n = 0;
    struct cell *list = cells_get(s->cells, key2(room, 'e', s->app, user));
    struct unpack u = unpack_of(arena_copy(s->arena, cell_view(list)));
    while (unpack_more(&u)) {
        struct bytes other = unpack_bytes(&u);
        struct stored st;
        if (bytes_eq(other, device)) continue;
        struct cell *cell = session_cell(s, user, other);
        bool there = stored_read(cell_view(cell), &st);
        if (there && !is_expired(&st, s->time_ms)) {
            n++;
            continue;
        }
        if (there) session_drop(s, cell, user, other);
        device_listed(s, user, other, false);
    }
    return n;
}

static void apply_open(struct step *s) {
    struct unpack u = unpack_of(s->body);
    struct bytes user = unpack_bytes(&u), device = unpack_bytes(&u);
    uint64_t expiry_s = unpack_var(&u);
    bool fresh = unpack_u8(&u) != 0;
    uint64_t ahead = unpack_var(&u);
    check(!u.bad);
    if (user.n) mailbox_ensure(s, user);
    if (user.n && others_kept(s, user, device) >= DELIVER_KEPT_MAX) {
        answer_problem(s->answer, PROBLEM_LIMIT_REACHED, "", "a user has at most %d kept sessions",
            DELIVER_KEPT_MAX);
        return;
    }
    struct cell *cell = session_cell(s, user, device);
    struct stored st = {0};
    struct arena *a = s->arena;
    if (!stored_read(arena_copy(a, cell_view(cell)), &st) || fresh) {
        session_drop(s, cell, user, device);
        st = (struct stored){.cursor = s->position};
    }
    st.expiry_s = expiry_s;
    st.left_ms = 0;
    if (st.mark < s->position + ahead) st.mark = s->position + ahead;
    stored_write(s, cell, &st);
    if (user.n) device_listed(s, user, device, true);
    answer_ok(s->answer, 200);
}

/* Gives where the filter began, or `start` when it is new: replacing a subscription loses nothing
 * (MQTT 5, 3.8.4). */
static uint64_t filter_remove(
    struct buf *b, struct stored *st, struct bytes filter, uint64_t start) {
    struct unpack u = unpack_of(st->rest);
    uint64_t kept = 0;
    for (uint64_t i = 0; i < st->filters; i++) {
        const uint8_t *at = u.p;
        struct bytes f = unpack_bytes(&u);
        unpack_u8(&u);
        uint64_t began = unpack_var(&u);
        unpack_var(&u);
        if (bytes_eq(f, filter)) {
            start = began;
            continue;
        }
        buf_add(b, at, (size_t)(u.p - at));
        kept++;
    }
    st->filters = kept;
    return start;
}

static void apply_filters(struct step *s) {
    struct unpack u = unpack_of(s->body);
    struct bytes user = unpack_bytes(&u), device = unpack_bytes(&u);
    bool add = unpack_u8(&u) != 0;
    uint64_t n = unpack_var(&u);
    struct cell *cell = session_cell(s, user, device);
    struct stored st;
    if (!stored_read(arena_copy(s->arena, cell_view(cell)), &st)) {
        answer_problem(s->answer, PROBLEM_NOT_FOUND, "", "the session has ended");
        return;
    }
    struct stored before = st;
    for (uint64_t i = 0; i < n && !u.bad; i++) {
        struct bytes filter = unpack_bytes(&u);
        uint8_t options = unpack_u8(&u);
        uint64_t id = unpack_var(&u);
        struct buf b = {0};
        uint64_t start = filter_remove(&b, &st, filter, s->position);
        if (add) {
            pack_bytes(&b, filter);
            pack_u8(&b, options);
            pack_var(&b, start);
            pack_var(&b, id);
            st.filters++;
        }
        st.rest = arena_copy(s->arena, buf_view(&b));
        buf_done(&b);
    }
    stored_write(s, cell, &st);
    /* the new ones first: nobody must find, even for a moment, that none listens */
    listens_mark(s, user, device, filters_told(s, user, device, &st, &before, true) != 0);
    filters_told(s, user, device, &before, &st, false);
    answer_ok(s->answer, 200);
}

/* The surface that owns conversations reads this: varbytes conversation, varbytes user, var
 * delivered, var read. */
static void mark_relay(struct step *s, struct bytes user, struct bytes conversation, uint64_t seq) {
    struct buf b = {0};
    pack_bytes(&b, conversation);
    pack_bytes(&b, user);
    pack_var(&b, seq);
    pack_var(&b, 0);
    step_relay(
        s, partition_of_conversation(s->app, conversation, s->partitions), KIND_MARK, buf_view(&b));
    buf_done(&b);
}

static void apply_ack(struct step *s) {
    struct unpack u = unpack_of(s->body);
    struct bytes user = unpack_bytes(&u), device = unpack_bytes(&u);
    bool kept = unpack_u8(&u) != 0;
    uint64_t cursor = unpack_var(&u);
    uint8_t says = unpack_u8(&u);
    uint64_t mark = unpack_var(&u), n = unpack_var(&u);
    for (uint64_t i = 0; i < n && !u.bad; i++) {
        struct bytes conversation = unpack_bytes(&u);
        mark_relay(s, user, conversation, unpack_var(&u));
    }
    answer_ok(s->answer, 200);
    struct stored st;
    struct cell *cell = session_cell(s, user, device);
    if (!kept || !stored_read(arena_copy(s->arena, cell_view(cell)), &st)) return;
    if (s->planted == BUG_CURSOR_BACK && s->position % 5 == 0 && st.cursor > 3) st.cursor -= 3;
    else if (cursor > st.cursor) st.cursor = cursor; /* cursors only move forward */
    if (says & ACK_TIGHTEN) st.mark = mark;
    if (says & ACK_LEFT) {
        st.expiry_s = unpack_var(&u);
        st.left_ms = (uint64_t)s->time_ms;
    }
    stored_write(s, cell, &st);
}

static void apply_mark(struct step *s) {
    struct unpack u = unpack_of(s->body);
    struct bytes user = unpack_bytes(&u), device = unpack_bytes(&u);
    uint64_t mark = unpack_var(&u);
    struct stored st;
    struct cell *cell = session_cell(s, user, device);
    if (!stored_read(arena_copy(s->arena, cell_view(cell)), &st)) {
        answer_problem(s->answer, PROBLEM_NOT_FOUND, "", "the session has ended");
        return;
    }
    if (mark > st.mark) {
        st.mark = mark;
        stored_write(s, cell, &st);
    }
    answer_ok(s->answer, 200);
}

static void apply_end(struct step *s) {
    struct unpack u = unpack_of(s->body);
    struct bytes user = unpack_bytes(&u), device = unpack_bytes(&u);
    session_drop(s, session_cell(s, user, device), user, device);
    if (user.n) device_listed(s, user, device, false);
    if (unpack_more(&u)) {
        struct delivery d = {
            .kind = DELIVER_REVOKE, .user = user, .device = device, .reason = unpack_u8(&u)};
        step_deliver(s, &d);
    }
    answer_ok(s->answer, 204);
}

enum { REASON_ADMINISTRATIVE = 0x98 };
/* DELETE /v1/sessions/{device}?user= */
static enum err plan_end(struct request *r, struct plan *p, struct answer *a) {
    struct bytes user = request_query(r, "user"), device = r->params[0];
    if (user.n && !id_valid(user)) {
        answer_problem(a, PROBLEM_INVALID_VALUE, "user", "'user' must be a user id");
        return REFUSED;
    }
    p->partition = session_partition(r->who.app, user, device, r->partitions);
    p->kind = KIND_SESSION_END;
    pack_bytes(&p->body, user);
    pack_bytes(&p->body, device);
    pack_u8(&p->body, REASON_ADMINISTRATIVE);
    return OK;
}

static void apply_released(struct step *s) {
    struct unpack u = unpack_of(s->body);
    struct bytes user = unpack_bytes(&u), device = unpack_bytes(&u);
    uint64_t position = unpack_var(&u);
    struct stored st;
    struct cell *cell = session_cell(s, user, device);
    if (!stored_read(arena_copy(s->arena, cell_view(cell)), &st)) {
        answer_problem(s->answer, PROBLEM_NOT_FOUND, "", "the session has ended");
        return;
    }
    struct buf b = {0};
    for (struct unpack r = unpack_of(st.released); unpack_more(&r);) {
        uint64_t one = unpack_var(&r);
        if (one != position) pack_var(&b, one);
    }
    pack_var(&b, position);
    st.released = buf_view(&b);
    stored_write(s, cell, &st);
    buf_done(&b);
    answer_ok(s->answer, 200);
}

static const struct record_rule RULES[] = {
    {KIND_SESSION_OPEN, apply_open},
    {KIND_SESSION_FILTERS, apply_filters},
    {KIND_SESSION_ACK, apply_ack},
    {KIND_SESSION_MARK, apply_mark},
    {KIND_SESSION_END, apply_end},
    {KIND_SESSION_RELEASED, apply_released},
};
static const struct route ROUTES[] = {
    {"DELETE", "/v1/sessions/{device}", SCOPE_OPERATE, TOKEN_NEVER, SPECIAL_NONE, plan_end, NULL},
};
const struct surface deliver_surface = {
    "deliver", RULES, sizeof RULES / sizeof *RULES, ROUTES, sizeof ROUTES / sizeof *ROUTES};

static void released_load(struct session *s, struct bytes packed) {
    uint16_t n = 0;
    for (struct unpack u = unpack_of(packed); unpack_more(&u); n++) unpack_var(&u);
    free(s->released);
    s->released = n ? must_alloc(n * sizeof *s->released) : NULL;
    s->released_count = n;
    struct unpack u = unpack_of(packed);
    for (uint16_t i = 0; i < n; i++) s->released[i] = unpack_var(&u);
}

bool session_load(struct deliver *d, struct session *s) {
    uint8_t room[300];
    struct cells *c = engine_cells(d->o.engine, s->partition);
    struct stored st;
    buf_reset(&d->body);
    if (!cells_peek(c, key3(room, 'D', s->app, s->user, s->device), &d->body) ||
        !stored_read(buf_view(&d->body), &st) || is_expired(&st, d->o.now_ms(d->o.arg)))
        return false;
    s->stored_cursor = s->acked = s->sent = st.cursor;
    uint64_t applied = engine_applied(d->o.engine, s->partition);
    s->mark = st.mark;
    /* the mark runs ahead; what comes from here on was never sent */
    s->dup_to = st.mark < applied ? st.mark : applied;
    session_filters_clear(d, s);
    struct unpack u = unpack_of(st.rest);
    for (uint64_t i = 0; i < st.filters; i++) {
        struct bytes text = unpack_bytes(&u);
        uint8_t options = unpack_u8(&u);
        uint64_t start = unpack_var(&u);
        subscription_make(s, text, options, start, (uint32_t)unpack_var(&u));
    }
    check(!u.bad);
    released_load(s, st.released);
    return true;
}

/* ---- for people to look at ---- */
static struct session *connected(
    struct deliver *d, struct bytes app, struct bytes user, struct bytes device) {
    struct session *s = session_find(d, app, user);
    while (s && !(s->open && session_is_of(s, app, user) && bytes_eq(s->device, device)))
        s = s->next;
    return s;
}

static bool connected_tell(struct deliver *d, struct bytes app, struct bytes user,
    bool (*fn)(void *, const struct session_state *), void *arg) {
    for (struct session *s = session_find(d, app, user); s; s = s->next) {
        if (!s->open || !session_is_of(s, app, user)) continue;
        struct session_state v = {.device = s->device,
            .connected = true,
            .kept = s->kept,
            .kind = s->kind,
            .version = s->version,
            .expiry_s = s->expiry_s,
            .filters = s->filter_count,
            .unacknowledged = s->flight_count,
            .sent = s->sent,
            .acked = s->acked};
        if (!fn(arg, &v)) return false;
    }
    return true;
}

void deliver_user(struct deliver *d, struct bytes app, struct bytes user, uint16_t partition,
    bool (*fn)(void *, const struct session_state *), void *arg) {
    uint8_t room[300];
    struct cells *c = engine_cells(d->o.engine, partition);
    struct buf list = {0}, one = {0};
    bool more =
        connected_tell(d, app, user, fn, arg) && cells_peek(c, key2(room, 'e', app, user), &list);
    struct unpack u = unpack_of(buf_view(&list));
    while (more && unpack_more(&u)) {
        struct bytes device = unpack_bytes(&u);
        struct stored st;
        buf_reset(&one);
        if (connected(d, app, user, device) ||
            !cells_peek(c, key3(room, 'D', app, user, device), &one) ||
            !stored_read(buf_view(&one), &st) || is_expired(&st, d->o.now_ms(d->o.arg)))
            continue;
        struct session_state v = {.device = device,
            .kept = true,
            .kind = SESSION_MQTT,
            .expiry_s = (uint32_t)st.expiry_s,
            .filters = (uint32_t)st.filters,
            .sent = st.cursor,
            .acked = st.cursor,
            .left_ms = (int64_t)st.left_ms};
        more = fn(arg, &v);
    }
    buf_done(&list);
    buf_done(&one);
}

/* ---- at start ---- */
static bool scan_key(void *arg, struct bytes key, struct bytes value) {
    if (value.n) pack_bytes(arg, key);
    return true;
}

/* The session of a '5' key listens. */
static void scan_session(struct deliver *d, uint16_t partition, struct bytes key) {
    struct bytes part[3];
    uint8_t room[300];
    const uint8_t *p = key.p + 1, *end = key.p + key.n;
    for (int i = 0; i < 3; i++) {
        const uint8_t *stop = memchr(p, 0, (size_t)(end - p));
        check(stop);
        part[i] = bytes_of(p, (size_t)(stop - p));
        p = stop + 1;
    }
    struct stored st;
    struct cells *c = engine_cells(d->o.engine, partition);
    if (!stored_read(cell_view(cells_get(c, key3(room, 'D', part[0], part[1], part[2]))), &st))
        return;
    struct unpack u = unpack_of(st.rest);
    for (uint64_t i = 0; i < st.filters; i++) {
        struct bytes filter = unpack_bytes(&u), group, inner;
        uint8_t options = unpack_u8(&u);
        unpack_var(&u);
        unpack_var(&u);
        if (!(options & 3)) continue;
        if (!channel_is_plain(filter) && !channel_share_parse(filter, &group, &inner)) continue;
        if (d->o.planted == BUG_LISTENER_FORGOTTEN && !mqtt_topic_valid(filter)) continue;
        struct delivery v = {.kind = DELIVER_FILTER, .body = filter, .entry.event = EVENT_CREATED};
        deliver_entry(d, partition, part[0], &v);
    }
}

void deliver_scan(struct deliver *d, uint16_t partition) {
    struct buf keys = {0};
    cells_scan(engine_cells(d->o.engine, partition), BYTES("5"), scan_key, &keys);
    for (struct unpack u = unpack_of(buf_view(&keys)); unpack_more(&u);)
        scan_session(d, partition, unpack_bytes(&u));
    buf_done(&keys);
}
