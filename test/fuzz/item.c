/* fuzz: what is stored of items: records, messages, blocks of messages, entries, cursors, ids. What
 * is taken lies inside of the input, and written again it is the same. The first byte says which of
 * them it is. SPDX-License-Identifier: Apache-2.0 */
#include "fuzz.h"

#include <string.h>

#include "item/item.h"
#include "wire/wire.h"

enum { RECORD, MESSAGE, BLOCK, ENTRY, CURSOR, KINDS };
#define EPOCH 0x1234u

static struct bytes begin(struct buf *b, char what) {
    buf_reset(b);
    buf_char(b, what);
    return buf_view(b);
}

/* long: because it is a list of one seed for each stored form */
void fuzz_seeds(void (*give)(void *arg, struct bytes seed), void *arg) {
    struct buf b = {0}, one = {0};
    struct record r = {.kind = 40,
        .time_ms = 1700000000000,
        .ticket = 9,
        .app = BYTES("demo"),
        .body = BYTES("body")};
    begin(&b, RECORD);
    record_encode(&b, &r);
    give(arg, buf_view(&b));
    r.relay = true, r.source = 3, r.source_position = 77, r.counter = 5;
    begin(&b, RECORD);
    record_encode(&b, &r);
    give(arg, buf_view(&b));
    struct message m = {.seq = 3,
        .id = BYTES("m1"),
        .from = BYTES("ann"),
        .created_ms = 1700000000000,
        .edited_ms = 5,
        .expires_ms = 1800000000000,
        .has_body = true,
        .body = BYTES("hello"),
        .data = BYTES("{\"a\":1}"),
        .media = BYTES("[{}]"),
        .reply_to = BYTES("m0"),
        .mentions = BYTES("[\"bob\"]"),
        .reactions = BYTES("\4\xf0\x9f\x98\x80\2"),
        .ciphertexts = BYTES("\3bob\2d1\4data")};
    begin(&b, MESSAGE);
    message_encode(&b, &m);
    give(arg, buf_view(&b));
    begin(&b, BLOCK);
    for (m.seq = 2; m.seq < 5; m.seq++) {
        buf_reset(&one);
        m.deleted_ms = m.seq == 3 ? 9 : 0;
        message_encode(&one, &m);
        pack_bytes(&b, buf_view(&one));
    }
    give(arg, buf_view(&b));
    struct entry e = {.position = 9,
        .at_ms = 1700000000000,
        .type = ENTRY_MESSAGE,
        .event = EVENT_CREATED,
        .conversation = BYTES("c"),
        .seq = 3,
        .from = BYTES("ann"),
        .extra = BYTES("\1\2")};
    begin(&b, ENTRY);
    entry_encode(&b, &e);
    give(arg, buf_view(&b));
    static const char *const CURSORS[] = {"\4"
                                          "1234-ff",
        "\4"
        "1234-ff-id.1",
        "\4"
        "0",
        "\4"
        "1235-1",
        "\4"
        "-",
        "\4"
        "0abcdefgh00001",
        "\4"
        "ffffffffffffffff-ffffffffffffffff"};
    for (size_t i = 0; i < sizeof CURSORS / sizeof *CURSORS; i++) give(arg, bytes_str(CURSORS[i]));
    begin(&b, CURSOR);
    message_id_make(&b, 1700000000000, 12345);
    give(arg, buf_view(&b));
    buf_done(&b);
    buf_done(&one);
}

static void inside(struct bytes v, struct bytes in) {
    check(!v.n || (v.p >= in.p && v.p + v.n <= in.p + in.n));
}

static void record_one(struct bytes v) {
    struct record r, again;
    struct buf b = {0};
    if (record_decode(v, &r) == OK) {
        inside(r.app, v);
        inside(r.body, v);
        record_encode(&b, &r);
        check(record_decode(buf_view(&b), &again) == OK);
        check(again.kind == r.kind && again.time_ms == r.time_ms && again.ticket == r.ticket &&
              again.relay == r.relay && again.source == r.source &&
              again.source_position == r.source_position && again.counter == r.counter &&
              bytes_eq(again.app, r.app) && bytes_eq(again.body, r.body));
    }
    buf_done(&b);
}

static void message_json(const struct message *m) {
    struct buf b = {0};
    const struct view VIEWS[] = {{.now_ms = 1},
        {.user = BYTES("bob"), .device = BYTES("d1"), .now_ms = INT64_MAX},
        {.user = BYTES("ann"), .now_ms = 1, .hidden = true}};
    for (int i = 0; i < 3; i++) {
        message_json_members(&b, BYTES("c"), m, &VIEWS[i]);
        (void)message_gone(m, VIEWS[i].now_ms);
    }
    buf_done(&b);
}

static void message_one(struct bytes v) {
    struct message m, again;
    struct buf b = {0}, twice = {0};
    if (message_decode(v, &m) == OK) {
        const struct bytes VIEWS[] = {m.id, m.from, m.body, m.data, m.media, m.reply_to, m.mentions,
            m.reactions, m.ciphertexts};
        for (size_t i = 0; i < sizeof VIEWS / sizeof *VIEWS; i++) inside(VIEWS[i], v);
        message_json(&m);
        message_encode(&b, &m);
        check(message_decode(buf_view(&b), &again) == OK);
        check(again.seq == m.seq && bytes_eq(again.id, m.id) && bytes_eq(again.from, m.from) &&
              again.created_ms == m.created_ms && again.deleted_ms == m.deleted_ms);
        message_encode(&twice, &again);
        check(bytes_eq(buf_view(&b), buf_view(&twice)));
    }
    buf_done(&b);
    buf_done(&twice);
}

static void block_one(struct bytes v) {
    struct message m;
    for (uint64_t seq = 0; seq < 6; seq++) {
        uint32_t at = 0, size = 0;
        if (!block_find(v, seq, &m, &at, &size)) continue;
        check(m.seq == seq && at + size <= v.n && size);
        inside(m.id, bytes_of(v.p + at, size));
    }
}

static void entry_one(struct bytes v) {
    struct entry e, again;
    struct buf b = {0};
    if (entry_decode(v, &e) == OK) {
        inside(e.conversation, v);
        inside(e.from, v);
        inside(e.extra, v);
        check(entry_type_name(e.type) && entry_type_topic(e.type) && entry_event_name(e.event));
        entry_encode(&b, &e);
        check(entry_decode(buf_view(&b), &again) == OK);
        check(again.position == e.position && again.at_ms == e.at_ms && again.type == e.type &&
              again.event == e.event && again.seq == e.seq &&
              bytes_eq(again.conversation, e.conversation) && bytes_eq(again.from, e.from) &&
              bytes_eq(again.extra, e.extra));
    }
    buf_done(&b);
}

static void cursor_one(struct bytes v) {
    uint64_t position = 0, again, seq = message_id_seq(v);
    struct bytes id;
    struct buf b = {0};
    enum err e = cursor_parse(v, EPOCH, &position);
    check(e == OK || e == STALE || e == MALFORMED);
    if (e == OK) {
        cursor_format(&b, EPOCH, position);
        check(cursor_parse(buf_view(&b), EPOCH, &again) == OK && again == position);
    }
    if (cursor_parse_after(v, EPOCH, &position, &id) == OK) inside(id, v);
    check(!seq || id_valid(v));
    buf_done(&b);
}

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n) {
    if (!n) return 0;
    static void (*const ONE[KINDS])(struct bytes) = {
        record_one, message_one, block_one, entry_one, cursor_one};
    ONE[p[0] % KINDS](bytes_of(p + 1, n - 1));
    return 0;
}
