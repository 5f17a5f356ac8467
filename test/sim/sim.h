/* sim: a whole node in one thread from a seed: engines of several lanes, the file log on a disk
 * that fails, tables that lose what they may lose, parcels that are late, twice or lost, devices
 * that come and go, and clients that retry. After each step what must always hold is asked.
 *
 *   main.c    seeds, modes, planted bugs, counts          node.c    the node: start, crash, tables,
 *             parcels, faults
 *   alarms.c  what falls due            settings.c  what an app sets for all partitions
 *   triggers.c  notifications           sends.c other.c beyond.c  what leaves the server
 *   client.c  what users and devices do, and what they were told          checks.c  what must hold,
 *             asked through queries
 *
 * A violation prints the seed, the step and the words, and ends the process with 1: the same seed
 * shows it again.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef KITH_SIM_H
#define KITH_SIM_H

#include "chat/chat.h"
#include "deliver/deliver.h"
#include "engine/engine.h"
#include "io/disk_twin.h"
#include "users/users.h"

enum {
    PARTITIONS = 8,
    APPS = 2,
    USERS = 5,
    DEVICES = 2,
    CONVS = 5,
    LANES_MAX = 7,
    SENT_MAX = 4096,
    PLAIN_MAX = 2048,
    ALARMS_MAX = 1024,
    TRIGGERS_MAX = 400,
    HOOKS = 3,
    HOOK_STEADY = 9,        /* one more, of "other", that stays and hears of messages */
    HOOK_CLICKS = 1 << 3,   /* webhooks.c: notification.clicked */
    HOOK_MESSAGES = 1 << 6, /* message.created */
    PLAIN_FILTERS = 8,
    PUBLISHERS = 4,
    LISTENERS = USERS * DEVICES /* of an app */
};

enum count { /* branches that a run must have reached */
    COUNT_STEPS,
    COUNT_ACKED,
    COUNT_DELIVERED,
    COUNT_DUP,
    COUNT_RETRIED,
    COUNT_REFUSED,
    COUNT_POWER_CUTS,
    COUNT_PROCESS_DEATHS,
    COUNT_CRASH_IN_RECOVERY,
    COUNT_BATCHES_LOST,
    COUNT_SYNC_FAILED,
    COUNT_WRITE_FAILED,
    COUNT_DIED_IN_CALL,
    COUNT_DISK_FULL,
    COUNT_APPEND_LIMIT,
    COUNT_STORE_FULL,
    COUNT_PARCEL_LOST,
    COUNT_PARCEL_TWICE,
    COUNT_PARCEL_LATE,
    COUNT_SEND_REFUSED,
    COUNT_TRIMMED,
    COUNT_SECTOR_TORN,
    COUNT_SECTOR_DROPPED,
    COUNT_NAME_UNDONE,
    COUNT_TAKEOVER,
    COUNT_SESSION_RESUMED,
    COUNT_BLOCKED_REFUSED,
    COUNT_PLAIN_ACKED,
    COUNT_PLAIN_AGAIN,
    COUNT_PLAIN_LIVE,
    COUNT_PLAIN_ONCE,
    COUNT_PLAIN_TWICE,
    COUNT_PLAIN_RELEASED,
    COUNT_PLAIN_SHARED,
    COUNT_PLAIN_RETAINED,
    COUNT_PLAIN_GIVEN_UP,
    COUNT_ALARMS,
    COUNT_RUNG,
    COUNT_TOLD,
    COUNT_HOOKED,
    COUNT_SETTINGS,
    COUNT_TRIGGERS,
    COUNT_NOTIFIED,
    COUNT_CANCELLED,
    COUNT_SENDS,
    COUNT_SENDS_ASKED,
    COUNT_SENDS_TAKEN,
    COUNT_SENDS_RETRIED,
    COUNT_SENDS_REPEATED,
    COUNT_SENDS_LETTERS,
    COUNT_SENDS_AGED,
    COUNT_LETTERS_RETRIED,
    COUNT_HASH_AFTER_CRASH,
    COUNT_HASH_REBUILT,
    COUNT_HASH_OTHER_LANES,
    COUNT_ALL,
};

enum ticket_kind {
    TICKET_MESSAGE = 1,
    TICKET_SESSION,
    TICKET_BLOCK,
    TICKET_PLAIN,
    TICKET_RELEASE,
    TICKET_ALARM,
    TICKET_SETTING,
    TICKET_TRIGGER,
    TICKET_CANCEL,
    TICKET_MARK,
    TICKET_ADDRESS,
    TICKET_WISH,
    TICKET_LETTER,
    TICKET_OTHER
};
struct ticket {
    uint64_t number, session;
    uint8_t kind, purpose, app, user, other, on;
    unsigned lane;
    uint32_t cookie, sent;
};
enum sent_state { SENT_PENDING = 1, SENT_ACKED, SENT_UNKNOWN, SENT_REFUSED };
struct sent { /* what a client sent; its id is "m<index>" */
    uint8_t app, conv, from, state;
    bool touched; /* edited or deleted, perhaps */
    bool acked_once;
    uint64_t seq; /* as acknowledged */
};
/* A publish to a plain channel; its payload is "p<index>". */
enum plain_state { PLAIN_PENDING = 1, PLAIN_ACKED, PLAIN_UNKNOWN, PLAIN_REFUSED, PLAIN_LOST };
struct plain {
    uint8_t app, publisher, topic, state, release;
    uint16_t packet;
    unsigned tries;           /* of them each may have been stored */
    uint8_t owed[LISTENERS];  /* by which filters it must come: a bit each */
    uint32_t group_owed;      /* generation of the group + 1, when a member must get it */
    uint8_t got[LISTENERS];   /* came at all */
    uint8_t fresh[LISTENERS]; /* came so that the device took it for new */
};
struct alarm { /* its number is its place */
    uint8_t app;
    bool acked;
    int64_t at_ms;
};
struct trigger { /* its id is "t" and its place */
    uint8_t app, flow, to, actor, state, many;
    uint8_t named;  /* a bit each */
    uint32_t batch; /* the first of its record, in whose partition it lives */
    bool acked, cancel_tried, cancelled;
    /* of the latter a bit each: marked by them, perhaps; who has seen and read it */
    uint8_t begun[USERS]; /* channels by which it left for them */
    uint8_t marked, seen, read;
};
struct hook { /* the newest that was acknowledged */
    uint64_t version;
    uint32_t number; /* of its url; 0: deleted */
};
struct todo { /* what a device has to answer */
    uint8_t type;
    uint16_t packet;
};
struct listener {    /* a device's part in plain channels */
    uint8_t filters; /* acknowledged; a bit each */
    uint8_t pending; /* filter under way + 1 */
    bool pending_on;
    struct held_packet { /* QoS 2: received and not released */
        uint16_t packet;
        uint32_t plain;
    } held[DELIVER_WINDOW_MAX];
    unsigned held_count;
    struct todo todo[2 * DELIVER_WINDOW_MAX];
    unsigned todo_count;
    uint32_t newest[PUBLISHERS][8]; /* by topic: newest that came first, + 1 */
};
struct device { /* a phone: what it knows lives through everything but its own wish to forget */
    uint8_t app, user, n;
    bool subscribed, open, slow, refused;
    /* the server said that a session is kept, and nothing since could have ended it */
    bool sure;
    unsigned lane;
    struct session *session;
    struct buf out;
    uint64_t conn_last, last; /* newest position of this connection; of all */
    uint64_t must_from;       /* entries after it must come */
    uint64_t cursor_seen;     /* newest stored cursor */
    uint8_t *got;             /* [position] */
    size_t got_size;
    uint16_t unacked[DELIVER_WINDOW_MAX];
    unsigned unacked_count;
    struct listener plain;
};
struct lane_arg {
    struct sim *s;
    unsigned lane;
};
struct post {
    unsigned lane;
    uint64_t due;
    struct parcel *parcel;
};
struct sim {
    uint64_t seed;
    unsigned planted, steps;
    bool drain, faults;
    uint64_t *counts;
    struct rng rng, disk_rng;
    struct disk *disk;
    struct store *store;
    struct log *log;
    unsigned lanes;
    struct engine *engine[LANES_MAX];
    struct deliver *deliver[LANES_MAX];
    struct tools tools;
    struct interest *interest;
    struct retained *retained[LANES_MAX];
    struct lane_arg lane_arg[LANES_MAX];
    bool up, dead, recovered, full, keep_all, setting_up, closing;
    bool comparing; /* states, by their hashes */
    int64_t now_ms;
    uint64_t step, next_ticket;
    struct post *mail;
    size_t mail_count, mail_cap;
    struct ticket *tickets;
    size_t ticket_count, ticket_cap;
    struct sent *sent;
    uint32_t sent_count;
    uint8_t block[APPS][USERS][USERS]; /* by, of: 0 off, 1 on, 2 not known */
    bool ever_blocked[APPS][USERS][USERS];
    uint64_t marks[APPS][CONVS][USERS][2]; /* delivered, read as last seen */
    struct plain *plain;
    uint32_t plain_count, group_generation[APPS];
    struct alarm alarms[ALARMS_MAX];
    uint32_t alarm_count;
    struct hook hooks[APPS][HOOKS];
    uint32_t setting_count;
    struct trigger triggers[TRIGGERS_MAX + 4];
    uint32_t trigger_count;
    bool ticking;                  /* the clock makes things fall due */
    uint64_t shutting_until;       /* the server shuts down in that step; 0: it does not */
    struct outside_world *outside; /* sends.h */
    struct beyond *beyond[LANES_MAX];
    struct device device[APPS][USERS][DEVICES];
    bool output_seen;
};

__attribute__((noreturn)) void violated(struct sim *s, const char *fmt, ...) printf_like(2, 3);
bool chance(struct sim *s, unsigned percent);
uint64_t below(struct sim *s, uint64_t n);
struct bytes app_name(unsigned app);
struct bytes user_name(unsigned user);
struct bytes conv_name_of(unsigned conv);
int user_of(struct bytes name); /* -1 */

/* ---- node.c ---- */
void node_make(struct sim *s, unsigned lanes);
void node_start(struct sim *s); /* until it is up or dead again */
void node_down(struct sim *s, bool power);
void node_free(struct sim *s);
void node_step(struct sim *s); /* some of what a node does in a moment */
/* without faults until nothing moves */
void node_settle(struct sim *s, unsigned rounds_max, const char *what);
void node_fault(struct sim *s);
uint64_t node_hash(struct sim *s);
struct cells *node_cells(struct sim *s, uint16_t partition);
void node_forget_tables(struct sim *s); /* empty tables: all is built again from the log */
/* core/core.h's, whose names meet those of this room */
bool entry_json(struct tools *t, struct cells *c, struct bytes app, const struct view *v,
    const struct entry *e, struct buf *out, bool *shared);
enum err node_append(struct sim *s, uint16_t partition, uint8_t kind, unsigned app,
    struct bytes body, const struct ticket *t);

/* ---- client.c ---- */
void clients_begin(struct sim *s);
void clients_step(struct sim *s);
/* everyone connects and takes all; what is not known is sent again */
void clients_finish(struct sim *s);
void clients_crashed(struct sim *s);
void clients_free(struct sim *s);
void client_answered(struct sim *s, const struct ticket *t, struct answer *a);
void device_take(struct sim *s, struct device *d); /* reads its output */
void device_opened(struct sim *s, struct device *d, bool present, enum err e);
void device_subscribed(struct sim *s, struct device *d, uint32_t cookie, enum err e);
void device_ended(struct sim *s, struct device *d, uint8_t reason);

/* ---- channels.c ---- */
void channels_open(struct sim *s);
void channels_close(struct sim *s);
void channels_recovered(struct sim *s);
bool channels_delivered(
    struct sim *s, uint16_t partition, struct bytes app, const struct delivery *v);
void channels_spread(void *arg, struct bytes app, struct bytes message);
void channels_group_changed(
    void *arg, struct bytes app, struct bytes share, const struct group_change *c);
bool channels_may(void *arg, const struct principal *who, struct bytes filter);
void channels_want_retained(void *arg, uint64_t session, struct bytes app, struct bytes filter,
    uint8_t options, uint32_t subscription_id);
/* As a shard does: stored, where that is owed to someone; else told at once and *out_stored false. */
enum err channels_publish(struct sim *s, unsigned app, const struct channel_message *m, bool once,
    bool durable, uint16_t packet, const struct ticket *ticket, bool *out_stored);

/* ---- plain.c ---- */
void plain_step(struct sim *s);
void plain_answered(struct sim *s, const struct ticket *t, const struct answer *a);
void plain_crashed(struct sim *s);
bool plain_finish(struct sim *s); /* true: nothing is under way any more */
void listener_take(struct sim *s, struct device *d, const struct mqtt_packet *p);
void listener_step(struct sim *s, struct device *d); /* subscribes or gives up */
void listener_answer(struct sim *s, struct device *d, unsigned n);
void listener_subscribed(struct sim *s, struct device *d, uint32_t cookie, enum err e);
void listener_left(struct device *d);                  /* the connection is gone */
void listener_forget(struct sim *s, struct device *d); /* its session is */
void check_plain(struct sim *s, bool complete);

/* ---- alarms.c ---- */
extern const struct surface alarms_surface;
void alarm_step(struct sim *s);
void alarm_answered(struct sim *s, const struct ticket *t);
bool alarms_wait(struct sim *s);
int64_t alarms_next_ms(struct sim *s);             /* of what it waits for; INT64_MAX: nothing */
void alarms_tick(struct sim *s, unsigned percent); /* of the lanes look what is due */
void check_alarms(struct sim *s, bool complete);

/* ---- settings.c ---- */
void setting_step(struct sim *s);
void setting_answered(struct sim *s, const struct ticket *t, const struct answer *a);
void check_settings(struct sim *s, bool complete);

/* ---- triggers.c ---- */
void triggers_tools(struct tools *t);
void triggers_tools_free(void);
void triggers_begin(struct sim *s);
void trigger_step(struct sim *s);
void triggers_crashed(struct sim *s);
bool triggers_finish(struct sim *s);
void trigger_answered(struct sim *s, const struct ticket *t, const struct answer *a);
/* Of what an entry says: when a device came to it, it may have been forbidden, or have been shown by a
 * later one of its group, which was taken back since. */
bool notification_may_miss(struct sim *s, unsigned app, unsigned user, struct bytes said);
void check_triggers(struct sim *s, bool complete);

/* ---- sends.c ---- */
void sends_begin(struct sim *s);
void send_step(struct sim *s);
void send_answered(struct sim *s, const struct ticket *t, const struct answer *a);
void sends_crashed(struct sim *s);
bool sends_finish(struct sim *s); /* true: nothing is to leave any more */
void check_sends(struct sim *s, bool complete);

/* ---- other.c ---- */
void other_begin(struct sim *s);
/* A DELIVER_SEND delivery, before core has it. */
void sends_told_of(struct sim *s, uint16_t partition, struct bytes app, struct bytes body);
void other_crashed(struct sim *s);
int64_t other_next_ms(const struct sim *s); /* when it answers next; INT64_MAX: it owes none */
void other_free(struct sim *s);

/* ---- away.c ---- */
extern const struct surface away_surface;
bool away_wanted(struct cells *c, struct bytes app, struct bytes conversation);
void away_append(
    void *arg, uint16_t partition, struct bytes app, const struct entry *e, struct bytes users);
void check_away(struct sim *s, unsigned app, unsigned user, bool complete);
void check_hooked(struct sim *s, unsigned app, unsigned conv, bool complete);

/* ---- checks.c ---- */
void check_conversation(struct sim *s, unsigned app, unsigned conv);
void check_mailbox(struct sim *s, unsigned app, unsigned user, bool complete);
void check_cursors(struct sim *s);
void check_unread(struct sim *s, unsigned app, unsigned user);
void check_all(struct sim *s, bool complete);

#endif
