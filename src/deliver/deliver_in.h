/* deliver, inside: what a session is made of. SPDX-License-Identifier: Apache-2.0 */
#ifndef KITH_DELIVER_IN_H
#define KITH_DELIVER_IN_H

#include "deliver/deliver.h"
#include "topic/topic.h"

#define MARK_AHEAD 65536u
#define MARKS_MAX 32
#define LIVE_OUTPUT_MAX (1u << 20)  /* unwritten bytes above which QoS 0 is dropped */
#define LIVE_WAITING_MAX (1u << 20) /* bytes of QoS 1 and 2 messages that wait for the window */
#define ALIASES_MAX 16              /* topics of one connection that have an alias */
/* Packet ids up to here are made of positions; those above are live: what a device holds of one kind
 * from an earlier connection must not meet the other. */
#define PACKETS_LISTED 49152u
enum { OPTION_NO_LOCAL = 4, OPTION_AS_PUBLISHED = 8 };

/* ---- the window: what was sent at QoS 1 or 2 and is not acknowledged ---- */
struct flight {
    uint64_t position, seq; /* position 0: live, owed to this connection only */
    uint16_t packet;
    bool acked, released; /* released: PUBREL was sent */
    uint8_t qos;
    char *conversation; /* owned; NULL when it is not a message */
};

/* ---- one filter of a session ---- */
struct subscription {
    struct topic_entry entry; /* its filter; of a shared one, what is behind the group */
    struct subscription *next;
    struct session *session;
    struct group *group; /* of a shared one, while indexed */
    uint64_t start;      /* sees what comes after this position */
    uint64_t checked;    /* generation of the rules under which it was allowed */
    uint32_t id, member; /* subscription identifier; place among the group's members */
    uint16_t size;
    uint8_t options;
    bool plain, indexed;
    bool by_topic; /* allowed, but for topics with rules of their own */
    char text[];
};
struct pending_mark {
    char conversation[65];
    uint64_t seq;
};
/* What only sessions with plain channels need: made when it is first asked for. */
struct live {
    struct buf waiting; /* packed: u8 qos, u8 retain, varbytes ids (u32 each), message */
    size_t waiting_at;
    uint16_t next_packet, alias_count;
    bool wrapped;               /* every live packet id was used on this connection */
    char *aliases[ALIASES_MAX]; /* owned; the alias is the place + 1 */
};
struct retained_wish { /* asked for when the SUBSCRIBE is durable */
    struct retained_wish *next;
    uint32_t cookie, id;
    uint8_t options;
    uint16_t size;
    char filter[];
};
struct session {
    struct session *next; /* hash chain by (app, user), or (app, device) where there is no user */
    struct session *next_ready, *next_dirty;
    struct session *next_here, **at_here; /* of the partition's sessions with a user */
    uint64_t id;
    struct bytes app, user, device; /* one allocation, from app on, unless lent */
    uint16_t partition, alias_max;
    uint8_t kind, version;
    bool kept, stored, caught_up, held, ready, dirty, open;
    bool shifted; /* a packet id in the window is not its position's */
    bool missed;  /* retention took what it had not been sent: to be told */
    bool late;    /* connected, it could not take what came: what it gets now is late */
    bool server, lent;
    uint32_t scopes; /* of a server key */
    uint32_t expiry_s, packet_max;
    uint64_t sent, acked, stored_cursor; /* positions */
    uint64_t list_to; /* up to here plain messages come by the partition's list; beyond, live */
    uint64_t dup_to, mark; /* DUP up to here; may send up to here */
    struct flight *window; /* ring of window_cap */
    uint16_t window_cap, window_max, flight_head, flight_count, live_flights;
    uint16_t released_count, filter_count;
    uint64_t *released; /* stored: positions whose PUBREC came before the last connection ended */
    struct subscription *filters;
    struct retained_wish *wishes;
    struct live *live;
    struct pending_mark *marks;
    size_t mark_count;
    uint32_t hit; /* deliver's: place among the hits of the message under way + 1 */
    void *conn;
    struct buf *out;
};
struct session_slot {
    struct session *session;
    uint32_t next_free, given;
};
/* A session that a message reaches, by one filter or several. */
struct hit {
    struct session *session;
    uint8_t qos;
    bool as_published, stored;
    uint8_t id_count;
    uint32_t ids[MQTT_SUBSCRIPTION_IDS_MAX];
};
/* The sessions of a partition's users. */
struct here {
    struct session *first;
    size_t count;
};
/* A message that a start applied again: perhaps nobody was told that its members are away. */
struct replayed {
    uint16_t partition;
    int64_t at_ms;
    uint64_t seq;
    struct buf names; /* packed: app, user, audience, conversation, from */
};
enum { REPLAYED_MAX = 4096 };
struct app_channels;
struct groups;
struct deliver {
    struct deliver_options o;
    struct session **table; /* by hash of (app, user) */
    size_t table_size, count;
    struct here *here;         /* [partitions] */
    struct replayed *replayed; /* ring of the newest; NULL: none */
    size_t replayed_count;     /* ever put */
    struct session_slot *slots;
    uint32_t slot_count, free_slot; /* free list head + 1; 0: none */
    struct deliver_counts counts;
    struct session *ready, *dirty;
    struct buf payload, topic, body; /* scratch */
    uint64_t cached_position;        /* payload of a shared entry, made once a partition */
    uint16_t cached_partition;
    struct bytes none;
    struct app_channels *apps; /* with plain channels in use */
    struct groups *groups;     /* shared subscriptions */
    struct hit *hits;
    size_t hit_count, hit_cap;
    struct buf encoded[2][2][2]; /* of one live message: by version 5, retain, QoS above 0 */
};

/* ---- sessions (deliver.c) ---- */
struct session *session_find(const struct deliver *d, struct bytes app, struct bytes user);
struct session *session_by_id(const struct deliver *d, uint64_t id);
bool session_is_of(const struct session *s, struct bytes app, struct bytes user);
void ready_add(struct deliver *d, struct session *s);
void dirty_add(struct deliver *d, struct session *s);
void ack_store(struct deliver *d, struct session *s, uint8_t says);
void record_begin(struct deliver *d, const struct session *s);
void session_live(struct deliver *d, struct session *s, struct bytes topic, struct bytes payload);

/* ---- from deliveries to sessions (spread.c) ---- */
void here_add(struct deliver *d, struct session *s);
void here_drop(struct deliver *d, struct session *s);
void spread_entry(
    struct deliver *d, uint16_t partition, struct bytes app, const struct delivery *v);
/* ---- who is away (away.c) ---- */
void replayed_free(struct deliver *d);
/* The session is about to end, and its device not to come back at once. */
void away_left(struct deliver *d, const struct session *s);
void away_tell(struct deliver *d, uint16_t partition, struct bytes app, const struct delivery *v);

/* ---- 'D' cells (records.c) ---- */
/* false: nothing is kept, or it has expired. */
bool session_load(struct deliver *d, struct session *s);
enum { ACK_TIGHTEN = 1, ACK_LEFT = 2 }; /* what a SESSION_ACK record says besides the cursor */

/* ---- filters (filters.c) ---- */
struct subscription *subscription_make(
    struct session *s, struct bytes filter, uint8_t options, uint64_t start, uint32_t id);
void session_filters_clear(struct deliver *d, struct session *s);
/* Plain channels reach the session from now on. */
void session_filters_index(struct deliver *d, struct session *s);
void filters_done(struct deliver *d, struct session *s, uint32_t cookie, const struct answer *a);
void wishes_clear(struct session *s);
/* Position after which this session sees entries of the type; UINT64_MAX: none of its filters takes
 * them. */
uint64_t session_floor(
    const struct session *s, uint8_t type, uint8_t *out_qos, uint32_t *out_subscription);
/* May it still hear of what this filter brings? Asked again whenever the rules have changed. */
bool subscription_may(struct deliver *d, struct subscription *sub, struct bytes topic);

/* ---- the window (window.c) ---- */
void window_clear(struct session *s);
struct flight *flight_add(struct session *s, uint64_t position, uint16_t packet, uint8_t qos);
uint16_t packet_of(struct session *s, uint64_t position);
uint16_t packet_live(struct session *s, uint8_t qos);
bool room_left(const struct session *s);
void released_done(struct deliver *d, struct session *s, uint16_t packet);
bool is_released(const struct session *s, uint64_t position);
void release_again(struct deliver *d, struct session *s, uint64_t position);

/* ---- entries (pump.c) ---- */
void session_pump(struct deliver *d, struct session *s);
void session_want_mark(struct deliver *d, struct session *s);
bool mark_allows(struct deliver *d, struct session *s, uint64_t position);
bool session_send(struct deliver *d, struct session *s, const struct entry *e);

/* ---- plain channels (plain.c) ---- */
struct app_channels *channels_of(struct deliver *d, struct bytes app, bool make);
void channels_free(struct deliver *d);
enum err plain_index(struct deliver *d, struct subscription *sub);
void plain_unindex(struct deliver *d, struct subscription *sub);
void live_free(struct session *s);
void live_pump(struct deliver *d, struct session *s); /* the window has room */
/* A kept message in its turn; false: no room, or the mark must rise first. */
bool plain_entry(struct deliver *d, struct session *s, uint64_t position,
    const struct channel_message *m, bool shared);
void plain_kept(struct deliver *d, uint16_t partition, struct bytes app, const struct delivery *v);
void hit_add(struct deliver *d, struct subscription *sub);
void deliver_hits(struct deliver *d, const struct channel_message *m);

/* ---- shared subscriptions (groups.c) ---- */
void group_join(struct deliver *d, struct subscription *sub);
void group_leave(struct deliver *d, struct subscription *sub);
void groups_free(struct groups **);

#endif
