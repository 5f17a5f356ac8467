/* channel: records and cells of what is kept: the partition's list, retained messages, packet ids
 * received at QoS 2, members of shared subscriptions. Pure.
 *
 * Bodies: CHANNEL u8 flags, var packet, var n, n x { u16 partition, u64 group }, message
 *         RELEASE varbytes user, varbytes device, var packet
 *         COPY    message                 SHARE u64 group, message          RETAIN message
 * SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "channel/channel_in.h"

#define BLOCK_BYTES (32u << 10)
#define BLOCK_MESSAGES_MAX 64u
#define TRIM_MAX 4u /* blocks a step */

const int64_t channel_retention_ms = 30ll * 24 * 3600 * 1000;

static struct bytes view_of(const struct cell *c) { return bytes_of(c->data, c->size); }

/* ---- the partition's list of an app ---- */
struct list_head {        /* stored as it is */
    uint64_t blocks;      /* ever begun; the newest is blocks - 1 */
    uint64_t first_block; /* oldest kept */
    uint64_t last;        /* newest position */
};

static struct cell *head_cell(struct cells *c, struct bytes app) {
    uint8_t room[300];
    return cells_get(c, key2(room, '1', app, (struct bytes){0}));
}
static struct cell *block_cell(struct cells *c, struct bytes app, uint64_t n) {
    uint8_t room[300];
    return cells_get(c, key2n(room, '2', app, (struct bytes){0}, n));
}
static struct list_head head_read(const struct cell *cell) {
    struct list_head h = {0};
    if (!cell->size) return h;
    check(cell->size == sizeof h && sizeof h == CHANNEL_HEAD_BYTES);
    memcpy(&h, cell->data, sizeof h);
    return h;
}

struct kept {
    uint64_t position;
    struct bytes user, device;
    struct channel_message message;
};
static bool kept_read(struct bytes record, struct kept *out) {
    struct unpack u = unpack_of(record);
    out->position = unpack_var(&u);
    out->user = unpack_bytes(&u);
    out->device = unpack_bytes(&u);
    return channel_unpack(&u, &out->message);
}

static size_t count_in(struct bytes block) {
    struct unpack u = unpack_of(block);
    size_t n = 0;
    for (; unpack_more(&u); n++) (void)unpack_bytes(&u);
    return n;
}

/* Blocks whose successor begins before the retention are old throughout. */
static void trim(struct step *s, struct list_head *h) {
    for (unsigned i = 0; i < TRIM_MAX && h->first_block + 1 < h->blocks; i++) {
        struct unpack u = unpack_of(view_of(block_cell(s->cells, s->app, h->first_block + 1)));
        struct kept k;
        check(kept_read(unpack_bytes(&u), &k));
        if (k.message.at_ms >= s->time_ms - channel_retention_ms) return;
        cells_put(s->cells, block_cell(s->cells, s->app, h->first_block), (struct bytes){0});
        h->first_block++;
    }
}

static void list_append(
    struct step *s, struct bytes user, struct bytes device, struct bytes message) {
    struct cell *head = head_cell(s->cells, s->app);
    struct list_head h = head_read(head);
    struct cell *block = h.blocks ? block_cell(s->cells, s->app, h.blocks - 1) : NULL;
    if (!block || block->size >= BLOCK_BYTES || count_in(view_of(block)) >= BLOCK_MESSAGES_MAX) {
        trim(s, &h);
        block = block_cell(s->cells, s->app, h.blocks++);
    }
    struct buf one = {0}, b = {0};
    pack_var(&one, s->position);
    pack_bytes(&one, user);
    pack_bytes(&one, device);
    buf_bytes(&one, message);
    pack_bytes(&b, buf_view(&one));
    cells_append(s->cells, block, buf_view(&b));
    buf_done(&one);
    buf_done(&b);
    h.last = s->position;
    cells_put(s->cells, head, bytes_of(&h, sizeof h));
    struct delivery d = {.kind = DELIVER_CHANNEL_KEPT,
        .user = user,
        .device = device,
        .body = message,
        .entry.position = s->position};
    step_deliver(s, &d);
}

static uint64_t block_first(struct cells *c, struct bytes app, uint64_t n) {
    struct unpack u = unpack_of(view_of(block_cell(c, app, n)));
    struct kept k;
    check(kept_read(unpack_bytes(&u), &k));
    return k.position;
}

/* The last block that begins at or before the position, else the first kept; the newest is asked
 * first: most have read nearly all. */
static uint64_t kept_find(
    struct cells *c, struct bytes app, const struct list_head *h, uint64_t position) {
    uint64_t lo = h->first_block, hi = h->blocks - 1, mid = hi;
    while (lo < hi) {
        if (block_first(c, app, mid) <= position) lo = mid;
        else hi = mid - 1;
        mid = (lo + hi + 1) / 2;
    }
    return lo;
}

bool channel_list_is_whole(struct cells *c, struct bytes app) {
    struct list_head h = head_read(head_cell(c, app));
    for (uint64_t n = h.first_block; n < h.blocks; n++) {
        struct unpack u = unpack_of(view_of(block_cell(c, app, n)));
        if (!unpack_more(&u)) return false;
        while (unpack_more(&u)) {
            struct kept k;
            struct bytes record = unpack_bytes(&u);
            if (u.bad || !kept_read(record, &k)) return false;
        }
    }
    return true;
}

/* whose: NULL: of whoever it is. */
static bool walk(struct cells *c, struct bytes app, const struct kept *whose, uint64_t after,
    uint64_t to, channel_fn *fn, void *arg) {
    struct list_head h = head_read(head_cell(c, app));
    if (!h.blocks || h.last <= after) return true;
    for (uint64_t n = kept_find(c, app, &h, after); n < h.blocks; n++) {
        struct unpack u = unpack_of(view_of(block_cell(c, app, n)));
        while (unpack_more(&u)) {
            struct kept k;
            check(kept_read(unpack_bytes(&u), &k));
            if (k.position > to) return true;
            if (k.position <= after) continue;
            if (whose && k.device.n &&
                !(bytes_eq(k.device, whose->device) && bytes_eq(k.user, whose->user)))
                continue;
            if (!fn(arg, k.position, &k.message, k.device.n != 0)) return false;
        }
    }
    return true;
}

bool channel_walk(struct cells *c, struct bytes app, struct bytes user, struct bytes device,
    uint64_t after, uint64_t to, channel_fn *fn, void *arg) {
    struct kept whose = {.user = user, .device = device};
    return walk(c, app, &whose, after, to, fn, arg);
}

bool channel_walk_all(struct cells *c, struct bytes app, channel_fn *fn, void *arg) {
    return walk(c, app, NULL, 0, UINT64_MAX, fn, arg);
}

/* ---- publishing ---- */
void channel_record(struct buf *b, const struct channel_message *m, uint8_t flags, uint16_t packet,
    const struct channel_target *targets, size_t n) {
    pack_u8(b, flags);
    pack_var(b, packet);
    pack_var(b, n);
    for (size_t i = 0; i < n; i++) {
        pack_u16(b, targets[i].partition);
        pack_u64(b, targets[i].group);
    }
    channel_pack(b, m);
}

void channel_release_record(
    struct buf *b, struct bytes user, struct bytes device, uint16_t packet) {
    pack_bytes(b, user);
    pack_bytes(b, device);
    pack_var(b, packet);
}

static struct cell *received_cell(struct step *s, struct bytes user, struct bytes device) {
    uint8_t room[300];
    return cells_get(s->cells, key3(room, '4', s->app, user, device));
}

/* Where the packet id stands in the cell; its size when it is not there. */
static uint32_t received_at(const struct cell *cell, uint16_t packet) {
    uint32_t at = 0;
    while (at < cell->size && memcmp(cell->data + at, &packet, sizeof packet) != 0)
        at += (uint32_t)sizeof packet;
    return at;
}

static void received_drop(struct step *s, struct bytes user, struct bytes device, uint16_t packet) {
    struct cell *cell = received_cell(s, user, device);
    uint32_t at = received_at(cell, packet);
    if (at < cell->size) cells_splice(s->cells, cell, at, sizeof(uint16_t), (struct bytes){0});
}

void channel_received_clear(struct step *s, struct bytes user, struct bytes device) {
    struct cell *cell = received_cell(s, user, device);
    if (cell->size) cells_put(s->cells, cell, (struct bytes){0});
}

/* ---- retained ---- */
static struct cell *retained_cell(struct cells *c, struct bytes app, struct bytes topic) {
    uint8_t room[80 + CHANNEL_TOPIC_MAX];
    size_t n = 0;
    check(app.n <= 64 && topic.n <= CHANNEL_TOPIC_MAX);
    room[n++] = '3';
    memcpy(room + n, app.p, app.n);
    n += app.n;
    room[n++] = 0;
    memcpy(room + n, topic.p, topic.n);
    n += topic.n;
    room[n++] = 0;
    return cells_get(c, bytes_of(room, n));
}

/* How many topics of the app have a retained message in this partition. */
static struct cell *retained_count(struct step *s, uint32_t *out) {
    uint8_t room[300];
    struct cell *cell = cells_get(s->cells, key2(room, '8', s->app, (struct bytes){0}));
    *out = 0;
    if (cell->size) memcpy(out, cell->data, sizeof *out);
    return cell;
}

/* false: the app retains as much as it may. */
static bool retain(struct step *s, const struct channel_message *m, struct bytes packed) {
    uint32_t n;
    struct cell *count = retained_count(s, &n);
    struct cell *cell = retained_cell(s->cells, s->app, m->topic);
    bool had = cell->size != 0, has = m->payload.n != 0;
    if (has && !had && n >= CHANNEL_RETAINED_MAX) return false;
    if (had && s->planted == BUG_RETAINED_OLD) return true;
    cells_put(s->cells, cell, has ? packed : (struct bytes){0});
    n += (uint32_t)has - (uint32_t)had;
    if (has != had) cells_put(s->cells, count, bytes_of(&n, n ? sizeof n : 0));
    struct delivery d = {.kind = DELIVER_RETAINED,
        .body = m->topic,
        .entry.event = has ? EVENT_CREATED : EVENT_DELETED};
    step_deliver(s, &d);
    return true;
}

static void apply_retain(struct step *s) {
    struct unpack u = unpack_of(s->body);
    struct channel_message m;
    check(channel_unpack(&u, &m));
    (void)retain(s, &m, s->body); /* who published was answered before */
    answer_ok(s->answer, 200);
}

static void apply_channel(struct step *s) {
    struct unpack u = unpack_of(s->body), targets;
    uint8_t flags = unpack_u8(&u);
    uint16_t packet = (uint16_t)unpack_var(&u);
    uint64_t n = unpack_var(&u);
    targets = u;
    for (uint64_t i = 0; i < n; i++) {
        unpack_u16(&u);
        unpack_u64(&u);
    }
    struct bytes message = bytes_of(u.p, (size_t)(u.end - u.p));
    struct channel_message m;
    check(channel_unpack(&u, &m));
    answer_ok(s->answer, 200);
    if ((flags & CHANNEL_ONCE) && s->planted != BUG_PACKET_FORGOTTEN) {
        struct cell *cell = received_cell(s, m.user, m.device);
        if (received_at(cell, packet) < cell->size) return; /* sent again */
        cells_append(s->cells, cell, bytes_of(&packet, sizeof packet));
    }
    uint16_t home = partition_of_topic(s->app, m.topic, s->partitions);
    if (m.retain && home != s->partition) {
        step_relay(s, home, KIND_CHANNEL_RETAIN, message);
    } else if (m.retain && !retain(s, &m, message)) {
        answer_problem(s->answer, PROBLEM_LIMIT_REACHED, "",
            "the app retains as many messages as it may; clear some with an empty payload");
        /* refused, its packet id is free (MQTT 5, 4.3.3): the next that comes by it is another */
        if (flags & CHANNEL_ONCE) received_drop(s, m.user, m.device, packet);
        return;
    }
    for (uint64_t i = 0; i < n; i++) {
        uint16_t to = unpack_u16(&targets);
        uint64_t group = unpack_u64(&targets);
        struct buf b = {0};
        if (group) pack_u64(&b, group);
        buf_bytes(&b, message);
        step_relay(s, to, group ? KIND_CHANNEL_SHARE : KIND_CHANNEL_COPY, buf_view(&b));
        buf_done(&b);
    }
    struct delivery d = {.kind = DELIVER_CHANNEL, .body = message};
    step_deliver(s, &d);
}

static void apply_release(struct step *s) {
    struct unpack u = unpack_of(s->body);
    struct bytes user = unpack_bytes(&u), device = unpack_bytes(&u);
    received_drop(s, user, device, (uint16_t)unpack_var(&u));
    answer_ok(s->answer, 200);
}

static void apply_copy(struct step *s) {
    list_append(s, (struct bytes){0}, (struct bytes){0}, s->body);
    answer_ok(s->answer, 200);
}

/* ---- shared subscriptions: which kept member gets it is decided here, in turn ---- */
static struct cell *group_cell(struct step *s, uint64_t group) {
    uint8_t room[300];
    return cells_get(s->cells, key2n(room, '6', s->app, (struct bytes){0}, group));
}

void channel_group_change(
    struct step *s, struct bytes share_text, struct bytes user, struct bytes device, bool in) {
    struct cell *cell = group_cell(s, channel_group_key(s->app, share_text));
    struct unpack u = unpack_of(view_of(cell));
    struct buf b = {0};
    while (unpack_more(&u)) {
        const uint8_t *at = u.p;
        struct bytes one = unpack_bytes(&u), other = unpack_bytes(&u);
        if (bytes_eq(one, user) && bytes_eq(other, device)) continue;
        buf_add(&b, at, (size_t)(u.p - at));
    }
    if (in) {
        pack_bytes(&b, user);
        pack_bytes(&b, device);
    }
    cells_put(s->cells, cell, buf_view(&b));
    buf_done(&b);
}

static void apply_share(struct step *s) {
    struct unpack u = unpack_of(s->body);
    uint64_t group = unpack_u64(&u);
    struct bytes members = arena_copy(s->arena, view_of(group_cell(s, group)));
    answer_ok(s->answer, 200);
    if (!members.n) return; /* the last one left meanwhile */
    size_t n = 0;
    for (struct unpack m = unpack_of(members); unpack_more(&m); n++) {
        unpack_bytes(&m);
        unpack_bytes(&m);
    }
    struct unpack m = unpack_of(members);
    struct bytes user, device;
    for (size_t i = 0, turn = hash64(bytes_of(&s->position, sizeof s->position)) % n; i <= turn;
         i++) {
        user = unpack_bytes(&m);
        device = unpack_bytes(&m);
    }
    list_append(s, user, device, bytes_of(u.p, (size_t)(u.end - u.p)));
    if (s->planted == BUG_SHARED_TWICE && unpack_more(&m)) {
        user = unpack_bytes(&m);
        device = unpack_bytes(&m);
        list_append(s, user, device, bytes_of(u.p, (size_t)(u.end - u.p)));
    }
}

bool channel_retained(struct cells *c, struct bytes app, struct bytes topic, int64_t now_ms,
    struct channel_message *out) {
    struct cell *cell = retained_cell(c, app, topic);
    if (!cell->size) return false;
    struct unpack u = unpack_of(view_of(cell));
    check(channel_unpack(&u, out));
    return channel_left_s(out, now_ms) != 0;
}

static const struct record_rule RULES[] = {
    {KIND_CHANNEL, apply_channel},
    {KIND_CHANNEL_RELEASE, apply_release},
    {KIND_CHANNEL_COPY, apply_copy},
    {KIND_CHANNEL_SHARE, apply_share},
    {KIND_CHANNEL_RETAIN, apply_retain},
    {KIND_CHANNEL_RULE_PUT, apply_rule_put},
    {KIND_CHANNEL_RULE_DELETE, apply_rule_delete},
};
static const struct route ROUTES[] = {
    {"PUT", "/v1/channel-rules/{id}", SCOPE_WRITE, TOKEN_NEVER, SPECIAL_NONE, plan_rule_put, NULL},
    {"GET", "/v1/channel-rules/{id}", SCOPE_READ, TOKEN_NEVER, SPECIAL_NONE, plan_rule_get, NULL},
    {"DELETE", "/v1/channel-rules/{id}", SCOPE_WRITE, TOKEN_NEVER, SPECIAL_NONE, plan_rule_delete,
        NULL},
    {"GET", "/v1/channel-rules", SCOPE_READ, TOKEN_NEVER, SPECIAL_NONE, plan_rule_list, NULL},
};
const struct surface channel_surface = {
    "channel", RULES, sizeof RULES / sizeof *RULES, ROUTES, sizeof ROUTES / sizeof *ROUTES};
