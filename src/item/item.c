/* item: encodings of records, messages, entries and cursors; ids and keys. Pure.
 * SPDX-License-Identifier: Apache-2.0 */
#include "item/item.h"

#include <string.h>

#include "wire/wire.h"

#define RECORD_VERSION 1
#define FLAG_RELAY 1

void record_encode(struct buf *b, const struct record *r) {
    buf_reserve(b, 64 + r->app.n + r->body.n);
    pack_u8(b, RECORD_VERSION);
    pack_u8(b, r->kind);
    pack_u8(b, r->relay ? FLAG_RELAY : 0);
    pack_var(b, (uint64_t)r->time_ms);
    pack_u64(b, r->ticket);
    if (r->relay) {
        pack_u16(b, r->source);
        pack_var(b, r->source_position);
        pack_var(b, r->counter);
    }
    pack_bytes(b, r->app);
    buf_bytes(b, r->body);
}

enum err record_decode(struct bytes v, struct record *out) {
    struct unpack u = unpack_of(v);
    *out = (struct record){0};
    if (unpack_u8(&u) != RECORD_VERSION) return CORRUPT;
    out->kind = unpack_u8(&u);
    out->relay = unpack_u8(&u) & FLAG_RELAY;
    out->time_ms = (int64_t)unpack_var(&u);
    out->ticket = unpack_u64(&u);
    if (out->relay) {
        out->source = unpack_u16(&u);
        out->source_position = unpack_var(&u);
        out->counter = unpack_var(&u);
    }
    out->app = unpack_bytes(&u);
    if (u.bad) return CORRUPT;
    out->body = bytes_of(u.p, (size_t)(u.end - u.p));
    return OK;
}

static uint64_t place(char what, struct bytes app, struct bytes id) {
    uint8_t room[300];
    return hash64(key2(room, what, app, id));
}
uint16_t partition_of_user(struct bytes app, struct bytes user, uint16_t partitions) {
    return (uint16_t)(place('u', app, user) % partitions);
}
uint16_t partition_of_conversation(
    struct bytes app, struct bytes conversation, uint16_t partitions) {
    return (uint16_t)(place('c', app, conversation) % partitions);
}

/* ---- keys ---- */
static uint8_t *part(uint8_t *w, struct bytes v) {
    check(v.n <= 128);
    if (v.n) memcpy(w, v.p, v.n);
    w[v.n] = 0;
    return w + v.n + 1;
}
static uint8_t *number(uint8_t *w, uint64_t n) {
    for (int i = 7; i >= 0; i--) *w++ = (uint8_t)(n >> (8 * i));
    return w;
}
struct bytes key2(uint8_t room[static 300], char tag, struct bytes a, struct bytes b) {
    room[0] = (uint8_t)tag;
    return bytes_of(room, (size_t)(part(part(room + 1, a), b) - room));
}
bool key2_read(struct bytes key, struct bytes *out_a, struct bytes *out_b) {
    const uint8_t *a = key.p + 1, *end = key.p + key.n;
    const uint8_t *a_end = key.n > 1 ? memchr(a, 0, (size_t)(end - a)) : NULL;
    const uint8_t *b = a_end ? a_end + 1 : end,
                  *b_end = b < end ? memchr(b, 0, (size_t)(end - b)) : NULL;
    if (!b_end || b_end + 1 != end) return false;
    *out_a = bytes_of(a, (size_t)(a_end - a));
    *out_b = bytes_of(b, (size_t)(b_end - b));
    return true;
}
struct bytes key3(
    uint8_t room[static 300], char tag, struct bytes a, struct bytes b, struct bytes c) {
    room[0] = (uint8_t)tag;
    return bytes_of(room, (size_t)(part(part(part(room + 1, a), b), c) - room));
}
struct bytes key2n(uint8_t room[static 300], char tag, struct bytes a, struct bytes b, uint64_t n) {
    room[0] = (uint8_t)tag;
    return bytes_of(room, (size_t)(number(part(part(room + 1, a), b), n) - room));
}
struct bytes key3n(uint8_t room[static 300], char tag, struct bytes a, struct bytes b,
    struct bytes c, uint64_t n) {
    room[0] = (uint8_t)tag;
    return bytes_of(room, (size_t)(number(part(part(part(room + 1, a), b), c), n) - room));
}

/* ---- entries and cursors ---- */
static const struct {
    const char *name, *topic;
} TYPES[] = {{"", ""}, {"message", "messages"}, {"receipt", "receipts"},
    {"notification", "notifications"}, {"post", "posts"}, {"story", "stories"}, {"error", "errors"},
    {"conversation", "conversations"}};
const char *entry_type_name(uint8_t t) {
    return TYPES[t < sizeof TYPES / sizeof *TYPES ? t : 0].name;
}
const char *entry_type_topic(uint8_t t) {
    return TYPES[t < sizeof TYPES / sizeof *TYPES ? t : 0].topic;
}
const char *entry_event_name(uint8_t e) {
    return e == EVENT_UPDATED ? "updated" : e == EVENT_DELETED ? "deleted" : "created";
}

void entry_encode(struct buf *b, const struct entry *e) {
    pack_var(b, e->position);
    pack_var(b, (uint64_t)e->at_ms);
    pack_u8(b, e->type);
    pack_u8(b, e->event);
    pack_bytes(b, e->conversation);
    pack_var(b, e->seq);
    pack_bytes(b, e->from);
    pack_bytes(b, e->extra);
}

enum err entry_decode(struct bytes v, struct entry *out) {
    struct unpack u = unpack_of(v);
    out->position = unpack_var(&u);
    out->at_ms = (int64_t)unpack_var(&u);
    out->type = unpack_u8(&u);
    out->event = unpack_u8(&u);
    out->conversation = unpack_bytes(&u);
    out->seq = unpack_var(&u);
    out->from = unpack_bytes(&u);
    out->extra = unpack_bytes(&u);
    return u.bad ? CORRUPT : OK;
}

static void hex(struct buf *b, uint64_t v) {
    char d[16];
    size_t at = sizeof d;
    do {
        d[--at] = "0123456789abcdef"[v & 15];
        v >>= 4;
    } while (v);
    buf_add(b, d + at, sizeof d - at);
}

void cursor_format(struct buf *b, uint64_t epoch, uint64_t position) {
    hex(b, epoch);
    buf_char(b, '-');
    hex(b, position);
}

static bool hex_read(struct bytes v, uint64_t *out) {
    *out = 0;
    if (!v.n || v.n > 16) return false;
    for (size_t i = 0; i < v.n; i++) {
        uint8_t c = v.p[i];
        if (!((c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'))) return false;
        *out = *out << 4 | (uint64_t)(c <= '9' ? c - '0' : c - 'a' + 10);
    }
    return true;
}

enum err cursor_parse(struct bytes v, uint64_t epoch, uint64_t *out_position) {
    uint64_t e, p;
    if (!v.n || bytes_is(v, "0")) {
        *out_position = 0;
        return OK;
    }
    const uint8_t *dash = memchr(v.p, '-', v.n);
    if (!dash) return MALFORMED;
    size_t n = (size_t)(dash - v.p);
    if (!hex_read(bytes_of(v.p, n), &e) || !hex_read(bytes_of(dash + 1, v.n - n - 1), &p))
        return MALFORMED;
    if (e != epoch) return STALE;
    *out_position = p;
    return OK;
}

enum err cursor_parse_after(
    struct bytes v, uint64_t epoch, uint64_t *out_position, struct bytes *out_id) {
    size_t at = 0, dashes = 0;
    uint64_t position;
    *out_position = 0;
    *out_id = (struct bytes){0};
    if (!v.n || bytes_is(v, "0")) return OK;
    while (at < v.n && dashes < 2) dashes += v.p[at++] == '-';
    struct bytes id = bytes_of(v.p + at, v.n - at);
    enum err e = cursor_parse(dashes < 2 ? v : bytes_of(v.p, at - 1), epoch, &position);
    if (e == OK && (dashes < 2 || !id_valid(id))) e = MALFORMED;
    if (e != OK) return e;
    *out_position = position;
    *out_id = id;
    return OK;
}
