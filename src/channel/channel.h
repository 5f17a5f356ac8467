/* channel: plain MQTT channels of an app: any topic that is none of kith's own. What is kept of
 * them, who may use them, and where someone listens.
 *
 *   PUBLISH ─▶ may it? ─▶ who listens? ─┬─ nobody keeps it: straight to the shards with listeners (live only)
 *                                       └─ kept sessions match, or retained: CHANNEL record ─▶ live
 *                                            ├─ COPY relay to each partition with such a session ─▶ its list
 *                                            ├─ SHARE relay to the partition of one member of a group
 *                                            └─ RETAIN relay to the topic's partition, unless it is here
 *
 * A QoS 1 or 2 message is stored just when a session that outlives its connection waits for it, or
 * when it is retained: others have nothing to be owed after a crash. A partition keeps one list of
 * what was published where its sessions listen; a session's cursor walks it beside the mailbox.
 *
 * Cells: '1' app        list head        '2' app n      block of {var position, varbytes user,
 *                       (list_head)                     varbytes device (of whom it is for; empty:
 *                                                       all), message}, varbytes each
 *        '3' app topic  retained message '4' app user device  packet ids received at QoS 2, u16 each
 *        '6' app hash   members of a shared subscription that are kept: packed {varbytes user,
 *                       varbytes device}
 *        '8' app        u32: how many of '3' the app has here
 *        '7' app        rules: packed {varbytes id, topic, u8 who, varbytes users, u8 who, varbytes
 *                       users}
 * Pure where a step is given. SPDX-License-Identifier: Apache-2.0 */
#ifndef KITH_CHANNEL_H
#define KITH_CHANNEL_H

#include "surface/surface.h"
#include "topic/topic.h"

enum { CHANNEL_TOPIC_MAX = 512, CHANNEL_RULES_MAX = 200, CHANNEL_TARGETS_MAX = 512 };
/* topics of an app that a partition retains */
enum { CHANNEL_RETAINED_MAX = 16384 };
extern const int64_t channel_retention_ms; /* of the lists */

/* ---- what travels ---- */
struct channel_message {
    struct bytes topic, payload;
    struct bytes properties;   /* MQTT 5: those that are handed on as they are */
    struct bytes user, device; /* who published, for No Local */
    uint8_t qos;
    bool retain; /* as published */
    int64_t at_ms;
    uint32_t expiry_s; /* 0: never */
    uint32_t turn;     /* of its sender's shard: whose it is in a shared subscription */
};
void channel_pack(struct buf *b, const struct channel_message *m);
bool channel_unpack(struct unpack *u, struct channel_message *out);
/* Seconds that are left to the message; 0: it has expired. UINT32_MAX: it does not expire. */
uint32_t channel_left_s(const struct channel_message *m, int64_t now_ms);
/* Is this the topic or filter of a plain channel? '$share/...' is none. */
bool channel_is_plain(struct bytes topic);
/* "$share/<group>/<filter>" (MQTT 5, 4.8.2): false when it is not well formed. */
bool channel_share_parse(struct bytes text, struct bytes *out_group, struct bytes *out_filter);

/* ---- stored (stored.c) ---- */
extern const struct surface channel_surface;
enum { CHANNEL_ONCE = 1 /* a kept session's QoS 2: by its packet id once */ };
struct channel_target { /* a member of a shared subscription: which */
    uint16_t partition;
    uint64_t group; /* channel_group_key; 0: all whose filters match */
};
void channel_record(struct buf *b, const struct channel_message *m, uint8_t flags, uint16_t packet,
    const struct channel_target *targets, size_t n);
void channel_release_record(struct buf *b, struct bytes user, struct bytes device, uint16_t packet);
uint64_t channel_group_key(struct bytes app, struct bytes share_text);
/* A kept session joins or leaves a shared subscription. */
void channel_group_change(
    struct step *s, struct bytes share_text, struct bytes user, struct bytes device, bool in);
void channel_received_clear(struct step *s, struct bytes user, struct bytes device);
uint16_t partition_of_topic(struct bytes app, struct bytes topic, uint16_t partitions);
/* Every kept message with after < position <= to, in order, that is for all or for this device; fn
 * false stops. true: came to the end. */
/* shared: it is for this device alone, by a shared subscription */
typedef bool channel_fn(void *arg, uint64_t position, const struct channel_message *m, bool shared);
bool channel_walk(struct cells *c, struct bytes app, struct bytes user, struct bytes device,
    uint64_t after, uint64_t to, channel_fn *fn, void *arg);
/* The retained message of a topic; false: there is none, or it has expired. The view holds until
 * the next edit. */
bool channel_retained(struct cells *c, struct bytes app, struct bytes topic, int64_t now_ms,
    struct channel_message *out);

/* Looks at what is stored: false, and a line in *why for each thing that must hold and does not
 * (check.c). */
bool channel_check(struct cells *c, struct buf *why);

/* ---- topics with a retained message, of one shard's partitions (retained.c): made anew at start,
 * then told by DELIVER_RETAINED ---- */
struct retained;
struct retained *retained_create(void);
void retained_free(struct retained **);
void retained_scan(struct retained *r, struct cells *c, uint16_t partition);
void retained_set(
    struct retained *r, struct bytes app, struct bytes topic, uint16_t partition, bool on);
/* Topics of the app that the filter matches; fn false stops. */
void retained_match(const struct retained *r, struct bytes app, struct bytes filter,
    bool (*fn)(void *arg, uint16_t partition, struct bytes topic), void *arg);

/* ---- where someone listens (interest.c): shared by all shards, no locks. A slot is written only by
 * the shard that listens there; it may say too much, never too little ---- */
struct interest;
struct interest *interest_create(unsigned shards, uint16_t partitions);
void interest_free(struct interest **);
/* A session of this shard listens (delta 1) or not any more (-1). */
void interest_live(
    struct interest *i, unsigned shard, struct bytes app, struct bytes filter, int delta);
/* A kept session of this partition, at QoS 1 or 2. */
void interest_kept(
    struct interest *i, uint16_t partition, struct bytes app, struct bytes filter, int delta);
uint64_t interest_shards(const struct interest *i, struct bytes app, struct bytes topic);
size_t interest_partitions(const struct interest *i, struct bytes app, struct bytes topic,
    uint16_t out[static CHANNEL_TARGETS_MAX]);

/* ---- who may (rules.c). Of an app's rules that cover a topic the most specific decides (a/b before
 * a/+ before #); where none does, nobody may. Server keys act by their scopes ---- */
struct channel_board; /* all apps' rules; shared by all shards, under a lock */
/* allow_all: where no rule says anything, everyone may (--dev). */
struct channel_board *channel_board_create(bool allow_all);
void channel_board_free(struct channel_board **);
/* What the log's rules of an app are now. */
void channel_board_set(struct channel_board *b, struct bytes app, struct bytes packed);
/* Rules of the configuration: {"rules": [{"app": , "topic": , "publish": , "subscribe": }]}; they
 * come before those of the log. MALFORMED: words in *why; nothing is changed. */
enum err channel_board_read(struct channel_board *b, struct bytes json, struct buf *why) must_use;
void channel_board_scan(struct channel_board *b, struct cells *c);
uint64_t channel_board_generation(const struct channel_board *b); /* rises at each change */
/* One shard's view. */
struct channel_rules;
struct channel_rules *channel_rules_create(struct channel_board *b);
void channel_rules_free(struct channel_rules **);
enum channel_act { CHANNEL_PUBLISH, CHANNEL_SUBSCRIBE };
/* A topic to publish to, or a filter all of whose topics are to be subscribed to. */
bool channel_may(
    struct channel_rules *r, const struct principal *who, enum channel_act act, struct bytes topic);
/* Does a rule speak of some of the filter's topics only? Then each is to be asked for. */
bool channel_is_narrowed(struct channel_rules *r, const struct principal *who, struct bytes filter);

#endif
