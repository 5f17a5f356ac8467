/* core: plain channels on the way: from a PUBLISH to the shards and partitions where someone
 * listens, retained messages to who subscribes, wills, members of shared subscriptions told to all.
 * Inside the room; what is kept and who may is channel's (channel/channel.h), what a session gets
 * deliver's. SPDX-License-Identifier: Apache-2.0 */
#ifndef KITH_CORE_CHANNELS_H
#define KITH_CORE_CHANNELS_H

#include "core/core.h"

enum { SYS_MS = 10000 }; /* between two tellings of the $SYS figures */

/* Partitions, and kept members of shared subscriptions, that wait for a message. */
struct channel_targets {
    struct channel_target list[2 * CHANNEL_TARGETS_MAX];
    size_t n;
    struct bytes app;
};
/* Must the message go by the log? `once`: a kept session's QoS 2; `durable`: others of the same
 * sender are under way there, and it must not overtake them. *out: for whom. */
bool channel_must_store(struct shard *s, const struct principal *who,
    const struct channel_message *m, bool once, bool durable, struct channel_targets *out);
/* Makes it the job's record and sends the job on its way. */
void channel_store(struct shard *s, struct job *j, const struct principal *who,
    const struct channel_message *m, bool once, uint16_t packet, const struct channel_targets *to);
/* To whoever listens now. */
void channel_live(struct shard *s, struct bytes app, const struct channel_message *m);

/* ---- wills: of one connection; told when it ends without DISCONNECT ---- */
struct will {
    struct will *next;
    struct principal who; /* views into `names`; while it waits for its delay */
    char *names;
    int64_t due_ms;
    uint32_t delay_s;
    struct buf packed; /* the message */
};
struct will *will_make(const struct mqtt_packet *p, const struct principal *who);
void will_free(struct will *w);
/* The connection of `who` has ended, whose session lasts so long. Takes w. */
void will_begin(struct shard *s, struct will *w, const struct principal *who, uint32_t expiry_s);
/* The device is back: what waits is dropped, or told at once when its session was not continued. */
void will_end(struct shard *s, const struct principal *who, bool clean);

/* ---- notes between shards ---- */
enum note_kind { NOTE_CHANNEL = 1, NOTE_SHARED, NOTE_GROUP, NOTE_ASK_RETAINED, NOTE_RETAINED };
struct note {
    struct note *next;
    uint8_t kind, options;
    bool stored;
    unsigned origin;
    uint32_t subscription_id, app_n, text_n;
    uint64_t session;
    struct group_change change;
    size_t n;
    uint8_t data[]; /* app, text (share or filter), message */
};
void note_take(struct shard *s, struct note *n); /* arrives; frees it */
/* A SUBSCRIBE that was sent before a PUBLISH over another connection, to another shard, can be
 * looked at later than it. While connections are fresh, messages that arrive from other shards wait
 * until the sockets have been looked at once more: what notes_late gives before that look is taken
 * after it. */
struct note *notes_late(struct shard *s);
void notes_late_take(struct shard *s, struct note *list);

void channels_recovered(struct shard *s); /* before the first connection */
void channels_turn(struct shard *s);      /* once a second: wills that are due, figures */
void channels_done(struct shard *s);
/* deliver's and the engine's callbacks */
bool channels_delivered(
    struct shard *s, uint16_t partition, struct bytes app, const struct delivery *d);
bool channels_may(void *arg, const struct principal *who, struct bytes filter);
bool channels_narrowed(void *arg, const struct principal *who, struct bytes filter);
uint64_t channels_rules(void *arg);
void channels_spread(void *arg, struct bytes app, struct bytes message);
void channels_want_retained(void *arg, uint64_t session, struct bytes app, struct bytes filter,
    uint8_t options, uint32_t subscription_id);
void channels_group_changed(
    void *arg, struct bytes app, struct bytes share, const struct group_change *c);

#endif
