/* item: what travels: records of the log, messages, mailbox entries, their ids and their bytes.
 *
 *   record bytes: u8 version=1 · u8 kind · u8 flags (1: relay) · varint time_ms · u64 ticket · [u16
 *     source partition · varint source position ·
 *                 varint counter] · varbytes app · body (the rest)
 *
 * Views point into the buffer that was decoded. Apply code may use everything here (pure).
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef KITH_ITEM_H
#define KITH_ITEM_H

#include "base/base.h"

struct record {
    uint8_t kind;    /* enum record_kind in surface/surface.h */
    int64_t time_ms; /* admission time */
    uint64_t ticket; /* who waits for the answer; 0: nobody. Means nothing after a restart */
#define TICKET_BRIEF (1ull << 47) /* a bit of it: the answer's status is enough, no body is read */
    struct bytes app;
    struct bytes body;
    bool relay;
    /* relays only: partition, position and the pair's contiguous counter (from 1) */
    uint16_t source;
    uint64_t source_position, counter;
};
void record_encode(struct buf *b, const struct record *r);
enum err record_decode(struct bytes v, struct record *out) must_use;

/* Where things live. The number of partitions is fixed when the data is made. */
uint16_t partition_of_user(struct bytes app, struct bytes user, uint16_t partitions);
uint16_t partition_of_conversation(
    struct bytes app, struct bytes conversation, uint16_t partitions);

/* ---- message ---- */
enum { MESSAGE_DELETED = 1, MESSAGE_EDITED = 2 };
struct message {
    uint64_t seq;
    struct bytes id, from;
    int64_t created_ms, edited_ms, deleted_ms, expires_ms; /* 0: not */
    bool has_body;
    struct bytes body;      /* UTF-8 text */
    struct bytes data;      /* raw minified JSON or empty */
    struct bytes media;     /* raw minified JSON array or empty */
    struct bytes reply_to;  /* message id or empty */
    struct bytes mentions;  /* raw minified JSON array of user ids or empty */
    struct bytes reactions; /* packed: repeated { varbytes emoji, varint count } */
    /* packed: repeated { varbytes user, varbytes device, varbytes data } */
    struct bytes ciphertexts;
    /* hash of what it said first, once edited or deleted, so that a send can still be known as the
     * same; 0: not kept */
    uint64_t first;
};
/* Self-delimiting when packed with pack_bytes. A deleted message keeps seq, id, from, created,
 * deleted, first only. */
void message_encode(struct buf *b, const struct message *m);
enum err message_decode(struct bytes v, struct message *out) must_use;
/* Who looks, and when: decides stubs and which ciphertext is shown. */
struct view {
    struct bytes user, device; /* empty: a server key */
    int64_t now_ms;
    bool hidden; /* the viewer may not see it (blocked sender): a stub */
};
/* Members of the API's message object, without the braces, so that callers may add `cursor` and
 * `event`. */
void message_json_members(
    struct buf *b, struct bytes conversation, const struct message *m, const struct view *v);
bool message_gone(const struct message *m, int64_t now_ms); /* deleted or expired */
/* Server-made id: sorts by time: 9 base-32 digits of milliseconds, then a number that is unique in
 * its conversation (its seq). */
void message_id_make(struct buf *b, int64_t ms, uint64_t seq);
/* The seq inside a server-made id; 0 when the id is not of that form. */
uint64_t message_id_seq(struct bytes id);
int64_t message_id_ms(struct bytes id); /* its time; 0 likewise */

/* A block: up to 64 messages, repeated varbytes(message), seq ascending; the key holds seq / 64
 * (seq 64k .. 64k+63). */
#define BLOCK_MESSAGES 64
/* at/size cover prefix and body */
bool block_find(
    struct bytes block, uint64_t seq, struct message *out, uint32_t *out_at, uint32_t *out_size);

/* ---- mailbox entry ---- */
enum entry_type {
    ENTRY_MESSAGE = 1,
    ENTRY_RECEIPT,
    ENTRY_NOTIFICATION,
    ENTRY_POST,
    ENTRY_STORY,
    ENTRY_ERROR,
    ENTRY_CONVERSATION
};
enum entry_event { EVENT_CREATED = 1, EVENT_UPDATED, EVENT_DELETED };
const char *entry_type_name(uint8_t t);  /* "message" */
const char *entry_type_topic(uint8_t t); /* "messages", the last level of users/{me}/... */
const char *entry_event_name(uint8_t e);
struct entry {
    uint64_t position; /* in the user's partition; at most one entry of a user has it */
    int64_t at_ms;
    uint8_t type, event;
    struct bytes conversation; /* messages and receipts */
    uint64_t seq;              /* messages */
    struct bytes from;         /* message: its sender; receipt: whose marks */
    /* receipt: packed {varint delivered, varint read}; error and conversation: raw JSON */
    struct bytes extra;
};
void entry_encode(struct buf *b, const struct entry *e);
enum err entry_decode(struct bytes v, struct entry *out) must_use;

/* ---- cursor: "<epoch hex>-<position hex>" ---- */
void cursor_format(struct buf *b, uint64_t epoch, uint64_t position);
/* MALFORMED, or STALE when the epoch is not this one. "0" and empty give position 0. */
enum err cursor_parse(struct bytes v, uint64_t epoch, uint64_t *out_position) must_use;
/* "<cursor>-<id>": a position and the id that was last shown there; *out_id views v. Empty gives
 * neither. */
enum err cursor_parse_after(
    struct bytes v, uint64_t epoch, uint64_t *out_position, struct bytes *out_id) must_use;

/* Builds a cell key: tag byte, then each part followed by 0x00 (ids hold none). `room` must have
 * 300 bytes. */
struct bytes key2(uint8_t room[static 300], char tag, struct bytes a, struct bytes b);
/* The two parts of such a key, as views; false when it has not just two. */
bool key2_read(struct bytes key, struct bytes *out_a, struct bytes *out_b);
struct bytes key3(
    uint8_t room[static 300], char tag, struct bytes a, struct bytes b, struct bytes c);
/* the same, then a big-endian u64 */
struct bytes key2n(uint8_t room[static 300], char tag, struct bytes a, struct bytes b, uint64_t n);
struct bytes key3n(
    uint8_t room[static 300], char tag, struct bytes a, struct bytes b, struct bytes c, uint64_t n);

#endif
