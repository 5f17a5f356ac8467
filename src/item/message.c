/* item: messages: their stored bytes, blocks of them, ids and the JSON that people see.
 *
 *   var seq · var present bits · varbytes id · varbytes from · var created · then the fields whose
 *     bit is set, in bit order:
 *   0 body · 1 data · 2 media · 3 reply_to · 4 mentions · 5 reactions · 6 ciphertexts (varbytes) ·
 *     7 edited · 8 deleted · 9 expires (var) · 10 first (u64)
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "item/item.h"
#include "wire/wire.h"

enum { FIELDS = 7, BIT_FIRST = 1 << 10 };

static void fields_of(const struct message *m, const struct bytes **f) {
    f[0] = &m->body;
    f[1] = &m->data;
    f[2] = &m->media;
    f[3] = &m->reply_to;
    f[4] = &m->mentions;
    f[5] = &m->reactions;
    f[6] = &m->ciphertexts;
}

void message_encode(struct buf *b, const struct message *m) {
    const struct bytes *f[FIELDS];
    const int64_t times[3] = {m->edited_ms, m->deleted_ms, m->expires_ms};
    fields_of(m, f);
    uint64_t bits = m->has_body ? 1 : 0;
    size_t size = m->body.n + m->id.n + m->from.n + 64; /* nearly: so that it grows once */
    for (int i = 1; i < FIELDS; i++)
        if (f[i]->n) {
            bits |= 1ull << i;
            size += f[i]->n;
        }
    buf_reserve(b, size);
    if (m->deleted_ms) bits = 0;
    for (int i = 0; i < 3; i++)
        if (times[i]) bits |= 1ull << (FIELDS + i);
    if (m->first) bits |= BIT_FIRST;
    pack_var(b, m->seq);
    pack_var(b, bits);
    pack_bytes(b, m->id);
    pack_bytes(b, m->from);
    pack_var(b, (uint64_t)m->created_ms);
    for (int i = 0; i < FIELDS; i++)
        if (bits >> i & 1) pack_bytes(b, *f[i]);
    for (int i = 0; i < 3; i++)
        if (times[i]) pack_var(b, (uint64_t)times[i]);
    if (m->first) pack_u64(b, m->first);
}

enum err message_decode(struct bytes v, struct message *m) {
    struct unpack u = unpack_of(v);
    *m = (struct message){0};
    m->seq = unpack_var(&u);
    uint64_t bits = unpack_var(&u);
    m->id = unpack_bytes(&u);
    m->from = unpack_bytes(&u);
    m->created_ms = (int64_t)unpack_var(&u);
    struct bytes *f[FIELDS] = {
        &m->body, &m->data, &m->media, &m->reply_to, &m->mentions, &m->reactions, &m->ciphertexts};
    int64_t *times[3] = {&m->edited_ms, &m->deleted_ms, &m->expires_ms};
    m->has_body = bits & 1;
    for (int i = 0; i < FIELDS; i++)
        if (bits >> i & 1) *f[i] = unpack_bytes(&u);
    for (int i = 0; i < 3; i++)
        if (bits >> (FIELDS + i) & 1) *times[i] = (int64_t)unpack_var(&u);
    if (bits & BIT_FIRST) m->first = unpack_u64(&u);
    return u.bad ? CORRUPT : OK;
}

bool message_gone(const struct message *m, int64_t now_ms) {
    return m->deleted_ms || (m->expires_ms && now_ms >= m->expires_ms);
}

static void reactions_json(struct json_out *o, struct bytes packed) {
    struct unpack u = unpack_of(packed);
    jo_key(o, "reactions");
    jo_open_obj(o);
    while (unpack_more(&u)) {
        struct bytes emoji = unpack_bytes(&u);
        uint64_t count = unpack_var(&u);
        jo_str(o, emoji);
        buf_char(o->b, ':');
        o->comma = false;
        jo_u64(o, count);
    }
    jo_close_obj(o);
}

static void ciphertext_json(struct json_out *o, struct bytes packed, const struct view *v) {
    struct unpack u = unpack_of(packed);
    bool any = false;
    while (unpack_more(&u)) {
        struct bytes user = unpack_bytes(&u), device = unpack_bytes(&u), data = unpack_bytes(&u);
        if (v->user.n &&
            (!bytes_eq(user, v->user) || (v->device.n && !bytes_eq(device, v->device))))
            continue;
        if (!any) {
            jo_key(o, "ciphertexts");
            jo_open_arr(o);
            any = true;
        }
        jo_open_obj(o);
        jo_key(o, "user");
        jo_str(o, user);
        jo_key(o, "device");
        jo_str(o, device);
        jo_key(o, "data");
        jo_str(o, data);
        jo_close_obj(o);
    }
    if (any) jo_close_arr(o);
}

static void raw_field(struct json_out *o, const char *key, struct bytes raw) {
    if (!raw.n) return;
    jo_key(o, key);
    jo_raw(o, raw);
}

static void time_field(struct json_out *o, const char *key, int64_t ms) {
    if (!ms) return;
    jo_key(o, key);
    jo_time(o, ms);
}

void message_json_members(
    struct buf *b, struct bytes conversation, const struct message *m, const struct view *v) {
    struct json_out o = {b, false};
    jo_key(&o, "id");
    jo_str(&o, m->id);
    jo_key(&o, "conversation");
    jo_str(&o, conversation);
    jo_key(&o, "seq");
    jo_u64(&o, m->seq);
    if (message_gone(m, v->now_ms)) {
        time_field(&o, "deleted_at", m->deleted_ms ? m->deleted_ms : m->expires_ms);
        return;
    }
    if (v->hidden) {
        jo_key(&o, "hidden");
        jo_bool(&o, true);
        return;
    }
    jo_key(&o, "from");
    jo_str(&o, m->from);
    time_field(&o, "created_at", m->created_ms);
    if (m->has_body) {
        jo_key(&o, "body");
        jo_str(&o, m->body);
    }
    raw_field(&o, "data", m->data);
    raw_field(&o, "media", m->media);
    if (m->reply_to.n) {
        jo_key(&o, "reply_to");
        jo_str(&o, m->reply_to);
    }
    raw_field(&o, "mentions", m->mentions);
    time_field(&o, "edited_at", m->edited_ms);
    time_field(&o, "expires_at", m->expires_ms);
    if (m->reactions.n) reactions_json(&o, m->reactions);
    if (m->ciphertexts.n) ciphertext_json(&o, m->ciphertexts, v);
}

/* ---- ids: 9 base-32 digits of milliseconds, '-', base-32 digits of the seq ---- */
static const char DIGITS[] = "0123456789abcdefghjkmnpqrstvwxyz";
/* Their values + 1; 0: no digit. */
static const uint8_t VALUES[256] = {['0'] = 1,
    ['1'] = 2,
    ['2'] = 3,
    ['3'] = 4,
    ['4'] = 5,
    ['5'] = 6,
    ['6'] = 7,
    ['7'] = 8,
    ['8'] = 9,
    ['9'] = 10,
    ['a'] = 11,
    ['b'] = 12,
    ['c'] = 13,
    ['d'] = 14,
    ['e'] = 15,
    ['f'] = 16,
    ['g'] = 17,
    ['h'] = 18,
    ['j'] = 19,
    ['k'] = 20,
    ['m'] = 21,
    ['n'] = 22,
    ['p'] = 23,
    ['q'] = 24,
    ['r'] = 25,
    ['s'] = 26,
    ['t'] = 27,
    ['v'] = 28,
    ['w'] = 29,
    ['x'] = 30,
    ['y'] = 31,
    ['z'] = 32};

void message_id_make(struct buf *b, int64_t ms, uint64_t seq) {
    char t[9];
    uint64_t v = (uint64_t)ms;
    for (int i = 8; i >= 0; i--, v >>= 5) t[i] = DIGITS[v & 31];
    buf_add(b, t, sizeof t);
    buf_char(b, '-');
    char s[13];
    size_t at = sizeof s;
    do {
        s[--at] = DIGITS[seq & 31];
        seq >>= 5;
    } while (seq);
    buf_add(b, s + at, sizeof s - at);
}

uint64_t message_id_seq(struct bytes id) {
    if (id.n < 11 || id.n > 22 || id.p[9] != '-') return 0;
    uint64_t seq = 0;
    for (size_t i = 0; i < id.n; i++) {
        if (i == 9) continue;
        uint8_t d = VALUES[id.p[i]];
        if (!d) return 0;
        if (i > 9) seq = seq << 5 | (d - 1u);
    }
    return seq;
}

int64_t message_id_ms(struct bytes id) {
    int64_t ms = 0;
    if (id.n < 11 || id.p[9] != '-') return 0;
    for (size_t i = 0; i < 9; i++) {
        uint8_t d = VALUES[id.p[i]];
        if (!d) return 0;
        ms = ms << 5 | (d - 1);
    }
    return ms;
}

bool block_find(
    struct bytes block, uint64_t seq, struct message *out, uint32_t *out_at, uint32_t *out_size) {
    struct unpack u = unpack_of(block);
    while (unpack_more(&u)) {
        /* as unpack_bytes, but in registers: whoever looks for the newest passes all others */
        const uint8_t *at = u.p;
        uint64_t n = unpack_var(&u);
        if (u.bad || (uint64_t)(u.end - u.p) < n) return false;
        struct bytes one = bytes_of(u.p, (size_t)n);
        struct unpack peek = unpack_of(one);
        u.p += n;
        if (unpack_var(&peek) != seq) continue;
        *out_at = (uint32_t)(at - block.p);
        *out_size = (uint32_t)(u.p - at);
        return message_decode(one, out) == OK;
    }
    return false;
}
