/* deliver: connected devices and streams of one shard's users, each a cursor into a mailbox.
 *
 *   DELIVER_ENTRY ─▶ sessions of the user or audience ─▶ caught up? render and write : pump (walk the mailbox from `sent`)
 *   PUBACK ─▶ window ─▶ acked rises ─▶ (250 ms) SESSION_ACK record ─▶ cursor in the cell, MARK relays to conversations
 *
 * Invariants: nothing is queued for a device: what waits lies in the mailbox. sent and acked only
 * rise. An entry is written only at positions <= the durable send-ahead mark, so that after a crash
 * everything that may have been sent bears DUP. At most `window` QoS 1 entries are unacknowledged,
 * and nothing is rendered while the connection's output is above its bound. A session that was left
 * expires expiry_s later; one that a crash left, only when it is used again and left.
 * Plain channels (channel/channel.h) reach a session in two ways: what nobody is owed after a crash
 * straight (`deliver_channel`), what kept sessions wait for by the partition's list, which the
 * cursor walks beside the mailbox. A QoS 2 entry is released (PUBREL) only when its PUBREC is
 * durable.
 * Cells: 'D' app user device  {u8 3, var cursor, var mark, var expiry_s, var left_ms (0: in use),
 * var n, n x {varbytes filter, u8 options, var start, var subscription id}, var n, n x {var
 * position released}}; user is empty where there is none
 *        '5' app user device  u8 1: the session has plain filters above QoS 0
 *        'e' app user         packed varbytes of devices with a kept session
 * Bytes go to the connection's buffer; sockets are not here. SPDX-License-Identifier: Apache-2.0 */
#ifndef KITH_DELIVER_H
#define KITH_DELIVER_H

#include "channel/channel.h"
#include "engine/engine.h"
#include "mailbox/mailbox.h"

#define DELIVER_WINDOW_MAX 1024
/* bytes of unwritten output above which nothing more is rendered */
#define DELIVER_OUTPUT_MAX (64u << 10)
#define SESSION_EXPIRY_NEVER 0xffffffffu
#define DELIVER_FILTERS_MAX 64
#define DELIVER_KEPT_MAX 256 /* kept sessions of one user */

extern const struct surface deliver_surface; /* the session records; no routes */

struct deliver;
struct session;
enum session_kind { SESSION_MQTT = 1, SESSION_STREAM };
enum deliver_purpose {
    PURPOSE_OPEN = 1,
    PURPOSE_FILTERS,
    PURPOSE_MARK,
    PURPOSE_END,
    PURPOSE_RELEASED
};

struct group_change {
    int32_t clean, online; /* members connected at the shard: of them those that are not kept */
    int32_t kept;          /* members with a kept session in the partition */
    uint16_t partition;
};
struct deliver_counts { /* since the start */
    uint64_t delivered, dropped;
};
struct deliver_options {
    struct engine *engine;
    uint16_t partitions;
    uint64_t epoch;
    struct tools *tools; /* its entry_json renders */
    void *arg;
    /* Appends a record for a session; its answer comes back through deliver_answered. purpose 0: no
     * answer is awaited. AGAIN/LIMIT: refused. */
    enum err (*append)(void *arg, uint16_t partition, uint8_t kind, struct bytes app,
        struct bytes body, uint64_t session, uint8_t purpose, uint32_t cookie);
    void (*output)(void *arg, void *conn); /* its buffer has bytes to write */
    /* close it, telling the MQTT 5 reason */
    void (*end)(void *arg, void *conn, uint8_t reason);
    /* the session is usable: CONNACK may go out */
    void (*opened)(void *arg, void *conn, bool present, enum err err);
    /* filters are durable: SUBACK or UNSUBACK may go out */
    void (*subscribed)(void *arg, void *conn, uint32_t cookie, enum err err);
    int64_t (*now_ms)(void *arg);
    /* ---- plain channels; interest NULL: there are none ---- */
    struct interest *interest;
    unsigned shard, shards;
    bool (*may)(void *arg, const struct principal *who, struct bytes filter);
    /* some of the filter's topics have rules of their own: each is to be asked for */
    bool (*narrowed)(void *arg, const struct principal *who, struct bytes filter);
    uint64_t (*rules)(void *arg); /* their generation */
    /* a stored message is durable: to all shards where someone listens */
    void (*spread)(void *arg, struct bytes app, struct bytes message);
    /* the session would have the retained messages; answered by deliver_retained */
    void (*want_retained)(void *arg, uint64_t session, struct bytes app, struct bytes filter,
        uint8_t options, uint32_t subscription_id);
    /* members of a shared subscription came or went here: tell the other shards */
    void (*group_changed)(
        void *arg, struct bytes app, struct bytes share, const struct group_change *c);
    /* ---- who is away; NULL: nobody asks ---- */
    /* Is it wanted, for this conversation? */
    bool (*away_wanted)(struct cells *c, struct bytes app, struct bytes conversation);
    /* Others' message e reached these users (packed ids) who have no device connected. It may be told
     * again after a crash. */
    void (*away)(
        void *arg, uint16_t partition, struct bytes app, const struct entry *e, struct bytes users);
    /* positions of a partition that one stored send-ahead mark covers; 0: 65536 */
    uint32_t mark_ahead;
    struct journeys *journeys; /* told what was written and acknowledged; NULL: nobody */
    int64_t (*mono_ns)(void);  /* with journeys */
    unsigned planted;          /* bugs on purpose, for the simulator */
};
enum deliver_bug {
    BUG_DUP_MISSING = 32,
    BUG_SESSION_LOST,
    BUG_RELEASED_EARLY,    /* PUBREL before the PUBREC is durable */
    BUG_LISTENER_FORGOTTEN /* a start finds only exact filters */
};

struct deliver *deliver_create(const struct deliver_options *);
void deliver_free(struct deliver **);

struct session_open {
    struct bytes app, user, device; /* copied, unless `lent`: then they last until deliver_close */
    bool lent;
    uint8_t kind, version; /* version: MQTT 4 or 5 */
    bool clean;
    uint32_t expiry_s; /* 0: ends with the connection */
    bool server;       /* a backend: scopes say what it may */
    uint32_t scopes;
    uint16_t receive_maximum;
    uint16_t alias_max; /* topic aliases that the client takes */
    /* bytes; 0: unlimited. What is longer is not sent, and counts as sent (MQTT 5, 3.1.2.11.4) */
    uint32_t packet_max;
    uint64_t after; /* streams: position to go on from; UINT64_MAX: from now */
    void *conn;
    struct buf *out; /* the connection's output; borrowed until deliver_close */
};
/* Takes over an open session of the same device (end is called for the old connection with 0x8e).
 * `opened` follows, at once or after the record is durable; its err is REFUSED when the user has
 * too many kept sessions. */
struct session *deliver_open(struct deliver *d, const struct session_open *o);
/* The connection is gone. The cursor is stored; a session without expiry ends. */
void deliver_close(struct deliver *d, struct session *s);
void deliver_set_expiry(struct deliver *d, struct session *s, uint32_t expiry_s);

struct session_filter {
    struct bytes filter;
    /* as in SUBSCRIBE: QoS in bits 0-1, no local 2, retain as published 3, retain handling 4-5 */
    uint8_t options;
    uint32_t subscription_id;
};
/* May this session subscribe here? OK, REFUSED (others', or a plain channel that its app's rules do
 * not allow), MALFORMED. */
enum err deliver_filter_check(struct deliver *d, const struct session *s, struct bytes filter);
/* n filters that passed; `subscribed` with the cookie follows. LIMIT: too many. */
enum err deliver_subscribe(struct deliver *d, struct session *s, const struct session_filter *f,
    size_t n, uint32_t cookie) must_use;
enum err deliver_unsubscribe(struct deliver *d, struct session *s, const struct bytes *filters,
    size_t n, uint32_t cookie) must_use;
bool deliver_has_filter(const struct session *s, struct bytes filter);

/* PUBACK from the device. MISSING: no such packet in the window. */
enum err deliver_acked(struct deliver *d, struct session *s, uint16_t packet_id);
/* PUBREC: reason 0x80 and above ends the message. MISSING: no such packet. */
enum err deliver_received(
    struct deliver *d, struct session *s, uint16_t packet_id, uint8_t reason) must_use;
/* PUBCOMP. */
enum err deliver_completed(struct deliver *d, struct session *s, uint16_t packet_id) must_use;
/* the output went below its bound: go on */
void deliver_written(struct deliver *d, struct session *s);

/* The engine's callbacks. */
void deliver_entry(
    struct deliver *d, uint16_t partition, struct bytes app, const struct delivery *v);
/* Before anybody can connect: what a start applies again. deliver_recovered: that was all. */
void deliver_replayed(
    struct deliver *d, uint16_t partition, struct bytes app, const struct delivery *v);
void deliver_recovered(struct deliver *d);
void deliver_answered(
    struct deliver *d, uint64_t session, uint8_t purpose, uint32_t cookie, const struct answer *a);
/* A hint: something will be delivered to this user soon (surface.h, struct ahead). Brings their session near the
 * processor; and when it is, what it points to. */
void deliver_ahead(const struct deliver *d, struct bytes app, struct bytes user, bool near);
/* Live only: typing and presence to every stream of the user, and every session with a matching
 * filter. */
void deliver_live(struct deliver *d, struct bytes app, struct bytes user, struct bytes topic,
    struct bytes payload);
/* Pumps sessions that have something; call once a turn. */
void deliver_turn(struct deliver *d);
/* a session has something to send, and room: turn again at once */
bool deliver_is_ready(const struct deliver *d);
/* Every 250 ms: stores cursors and marks. `all`: at shutdown. */
void deliver_store_cursors(struct deliver *d, bool all);
struct bytes session_app(const struct session *s);
struct bytes session_user(const struct session *s);
struct bytes session_device(const struct session *s);
/* Connected devices and streams of a user, but for the device `but`, which may be empty. */
size_t deliver_connected(
    const struct deliver *d, struct bytes app, struct bytes user, struct bytes but);
/* Sessions connected. */
size_t deliver_count(const struct deliver *d, struct deliver_counts *out);
void session_who(const struct session *s, struct principal *out);
uint64_t session_id(const struct session *s);
uint16_t session_partition(
    struct bytes app, struct bytes user, struct bytes device, uint16_t partitions);

/* Sessions connected here, from a slot on; fn false stops. */
struct session_view {
    struct bytes app, user, device;
    uint8_t kind, version;
    bool kept;
    uint32_t expiry_s, filters, unacknowledged;
};
void deliver_list(const struct deliver *d, uint32_t from,
    bool (*fn)(void *arg, uint32_t slot, const struct session_view *v), void *arg);

/* The position in the mailbox behind which an open session goes on. */
uint64_t deliver_position(const struct session *s);
/* How far each of a user's sessions is, those connected first; their partition is of this shard.
 * fn false stops, and must not edit. */
struct session_state {
    struct bytes device;
    bool connected, kept;
    uint8_t kind, version; /* of the connection */
    uint32_t expiry_s;     /* kept: after its connection ends */
    uint32_t filters, unacknowledged;
    uint64_t sent, acked; /* positions in the mailbox; sent: on this connection */
    int64_t left_ms;      /* not connected: since when; 0: since a crash */
};
void deliver_user(struct deliver *d, struct bytes app, struct bytes user, uint16_t partition,
    bool (*fn)(void *arg, const struct session_state *s), void *arg);

/* ---- plain channels ---- */
/* To this shard's sessions that listen. `stored`: kept sessions get it by their list. */
void deliver_channel(
    struct deliver *d, struct bytes app, const struct channel_message *m, bool stored);
/* To one of this shard's members of the shared subscription. */
void deliver_channel_shared(
    struct deliver *d, struct bytes app, struct bytes share, const struct channel_message *m);
/* A retained message for a session that subscribed. */
void deliver_retained(struct deliver *d, uint64_t session, const struct channel_message *m,
    uint8_t options, uint32_t subscription_id);
/* Another shard's group_changed. */
void deliver_group_changed(struct deliver *d, unsigned shard, struct bytes app, struct bytes share,
    const struct group_change *c);
/* For each shared subscription that matches: whose turn it is. Either `shard` (live), or a
 * partition with kept members (`kept`). */
struct group_pick {
    struct bytes share;
    bool kept;
    unsigned shard;
    uint16_t partition;
};
/* The same answer for the same message, as long as members neither come nor go. */
void deliver_groups_match(struct deliver *d, struct bytes app, const struct channel_message *m,
    void (*fn)(void *arg, const struct group_pick *p), void *arg);
/* Apps with plain channels in use here. */
void deliver_apps(struct deliver *d, void (*fn)(void *arg, struct bytes app), void *arg);
/* At start: where the kept sessions of a partition listen. */
void deliver_scan(struct deliver *d, uint16_t partition);

#endif
