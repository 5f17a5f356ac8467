/* surface: the shape that every surface has: its records and how they apply, its routes and how
 * they are planned, its queries.
 *
 *   request ──plan──▶ record ──(log, durable)──▶ apply ──▶ cells + relays + deliveries + answer
 *          └────────▶ query ──▶ answer
 *
 * Invariants: plan is stateless (it parses and checks shapes; 400 and 422 come from here). Apply is
 * pure: same cells and record, same outcome; it decides permissions and conflicts. Query reads
 * cells and may know the time. None of them does I/O.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef KITH_SURFACE_H
#define KITH_SURFACE_H

#include "item/item.h"
#include "table/table.h"
#include "wire/wire.h"

/* ---- record kinds: stored, never renumbered ---- */
enum record_kind {
    KIND_TICK = 1,      /* something fell due (due/due.h); no app, no body */
    KIND_RELAY_ACK = 2, /* reserved */
    /* users, applied in the user's partition */
    KIND_USER_PUT = 16,
    KIND_USER_ERASE,
    KIND_USER_ENSURE,
    KIND_RELATION /* follow, block, mute on or off */,
    KIND_FOLLOWED /* relay to the followed */,
    KIND_DEVICE_PUT,
    KIND_DEVICE_DELETE,
    KIND_KEYS_PUT,
    KIND_KEYS_CLAIM,
    /* chat, applied in the conversation's partition */
    KIND_CONV_PUT = 40,
    KIND_MEMBER_PUT,
    KIND_MEMBER_DELETE,
    KIND_MESSAGE,
    KIND_MESSAGE_EDIT,
    KIND_MESSAGE_DELETE,
    KIND_REACTION,
    KIND_RECEIPT,
    KIND_MARK /* relay from a member's partition: marks */,
    KIND_CONV_BLOCK /* relay: a member of a direct conversation blocks the other */,
    KIND_MEMBER_ERASE /* relay: a user is erased */,
    /* chat, applied in a member's partition (relays from the conversation) */
    KIND_COPY_JOIN = 70,
    KIND_COPY_LEAVE,
    KIND_COPY_META,
    KIND_COPY_MESSAGE,
    KIND_COPY_UPDATE,
    KIND_COPY_RECEIPT,
    KIND_CONV_PREFS /* PUT /v1/users/{id}/conversations/{c} */,
    KIND_COPY_ERASED,
    KIND_USER_LEAVES /* relay from users: erased; varbytes user */,
    KIND_AWAY_NAME /* relay to a sender's partition: what are they called? */,
    KIND_AWAY_NAMED /* relay back */,
    /* deliver, applied in the user's partition */
    KIND_SESSION_OPEN = 100,
    KIND_SESSION_FILTERS,
    KIND_SESSION_ACK,
    KIND_SESSION_MARK,
    KIND_SESSION_END,
    KIND_SESSION_RELEASED /* PUBRECs of entries sent at QoS 2 */,
    /* channel, applied in the publisher's partition */
    KIND_CHANNEL = 120,
    KIND_CHANNEL_RELEASE /* PUBREL */,
    KIND_CHANNEL_COPY /* relay to a partition whose kept sessions listen */,
    KIND_CHANNEL_SHARE /* relay: for one kept member of a shared subscription */,
    KIND_CHANNEL_RETAIN /* relay to the topic's partition */,
    KIND_CHANNEL_RULE_PUT,
    KIND_CHANNEL_RULE_DELETE,
    /* notify */
    KIND_WORKFLOW_PUT = 140 /* in the workflow's partition: it says the order */,
    KIND_WORKFLOW_COPY /* relay to every partition */,
    KIND_WEBHOOK_PUT,
    KIND_WEBHOOK_COPY,
    KIND_PREFERENCES_PUT /* user's partition */,
    KIND_NOTIFY /* triggers whose ids were given, or that are for many: their own partition */,
    KIND_NOTIFY_SEND_AT /* due: one of them is to go out now */,
    KIND_NOTIFY_COPY /* relay, or at once: contents and their recipients in this partition */,
    KIND_NOTIFY_LATER /* due: what KIND_NOTIFY_COPY held until send_at */,
    KIND_NOTIFY_CANCEL,
    KIND_NOTIFY_CANCELLED /* relay */,
    KIND_NOTIFY_MARKS /* seen, read, archived, clicked */,
    KIND_NOTIFY_DUE /* due: a digest, a held send, an escalation of one person */,
    KIND_NOTIFY_SWEEP /* due: some more of an audience */,
    KIND_NOTIFY_SENT /* what became of a send */,
    KIND_NOTIFY_SEND_DUE /* due: a send is to be tried (again) */,
    KIND_NOTIFY_RETRY /* a dead letter is to be sent again */,
    KIND_NOTIFY_AWAY /* a message reached someone with no device connected (chat) */,
    KIND_NOTIFY_MESSAGE /* relay from chat: tell them by the workflow `message` */,
    KIND_NOTIFY_MESSAGE_READ /* relay from chat: withdraw it */,
    KIND_TOPIC_USERS /* users join and leave topics, in their partition */,
    KIND_USER_GONE /* relay to every partition: an erased user's name goes */,
    KIND_NOTIFY_LEARN /* due: was it opened? */,
    KIND_NOTIFY_FORGET /* due: contents of a day go */,
    KIND_PUSH_GONE /* relay to users: a device's push address is no more */,
    KIND_WEBHOOK_DELETE,
    KIND_NOTIFY_MESSAGE_STORED /* relay from chat: the app's webhooks hear of it */,
    KIND_USER_MOVED /* relay from users: another time zone; varbytes user */,
};

/* ---- problems (RFC 9457) and answers ---- */
#define PROBLEMS(X) /* name, code, status, MQTT 5 reason, permanent?, title */                     \
    X(MALFORMED, "malformed", 400, 0x99, 1, "The request cannot be parsed")                        \
    X(UNKNOWN_FIELD, "unknown-field", 400, 0x99, 1, "A field is not known")                        \
    X(WRONG_TYPE, "wrong-type", 400, 0x99, 1, "A field has the wrong type")                        \
    X(UNAUTHORIZED, "unauthorized", 401, 0x87, 1, "No valid credentials")                          \
    X(FORBIDDEN, "forbidden", 403, 0x87, 1, "Not allowed")                                         \
    X(BLOCKED, "blocked", 403, 0x87, 1, "The recipient does not take messages from this sender")   \
    X(NOT_A_MEMBER, "not-a-member", 403, 0x87, 1, "The sender is not in this conversation")        \
    X(NOT_FOUND, "not-found", 404, 0x90, 1, "There is no such thing")                              \
    X(METHOD, "method-not-allowed", 405, 0x83, 1, "This path does not take this method")           \
    X(CONFLICT, "conflict", 409, 0x83, 1, "It exists already and differs")                         \
    X(GONE, "gone", 410, 0x83, 1, "It is past retention")                                          \
    X(TOO_LARGE, "too-large", 413, 0x95, 1, "Too large")                                           \
    X(INVALID_VALUE, "invalid-value", 422, 0x83, 1, "A value cannot be")                           \
    X(LIMIT_REACHED, "limit-reached", 422, 0x97, 1, "A limit is reached")                          \
    X(UPGRADE, "upgrade-required", 426, 0x83, 1, "This path speaks another protocol")              \
    X(RATE_LIMITED, "rate-limited", 429, 0x97, 0, "Too many requests")                             \
    X(INTERNAL, "internal", 500, 0x80, 0, "kith failed")                                           \
    X(OVERLOADED, "overloaded", 503, 0x89, 0, "Too busy just now")                                 \
    X(DISK_FULL, "disk-full", 503, 0x97, 0, "The disk is full: writes are refused")                \
    X(DRAINING, "draining", 503, 0x8b, 0, "The server is shutting down")
enum problem {
    PROBLEM_NONE,
#define X(name, code, status, reason, permanent, title) PROBLEM_##name,
    PROBLEMS(X)
#undef X
};
int problem_status(enum problem p);
uint8_t problem_reason(enum problem p); /* MQTT 5 reason code */
bool problem_permanent(enum problem p);
const char *problem_code(enum problem p);
const char *problem_title(enum problem p);

struct answer {
    int status; /* HTTP; 0 until answered */
    enum problem problem;
    char field[64];    /* FIELD_BYTES: to blame, or "" */
    char detail[240];  /* words: what is wrong and how to put it right */
    int retry_after_s; /* 0: none */
    struct buf body;   /* JSON; owned; buf_done by who owns the answer */
    const char *page;  /* the body is a page of HTML: its further header lines; else NULL */
};
void answer_ok(struct answer *a, int status);
void answer_problem(struct answer *a, enum problem p, const char *field, const char *fmt, ...)
    printf_like(4, 5);
void answer_problem_json(const struct answer *a, struct buf *out);

/* ---- apply ---- */
struct relay {
    uint16_t to;
    uint8_t kind;
    struct bytes app;  /* the step's when it was made; as long as the step */
    struct bytes body; /* in the step's arena */
};
enum delivery_kind {
    DELIVER_ENTRY = 1 /* a mailbox got it: `entry` */,
    DELIVER_REVOKE /* end this user's (device's) sessions */,
    DELIVER_CHANNEL /* plain message in `body`: to whoever listens now */,
    DELIVER_CHANNEL_KEPT /* the same, at entry.position of the partition's list */,
    DELIVER_RETAINED /* `body`: a topic; entry.event: DELETED when it has no message any more */,
    DELIVER_RULES /* `body`: the app's rules as they are now */,
    DELIVER_SEND /* `body`: u64 n, u8 whether its result is stored; else it is to leave the server (notify/notify.h) */
    ,
    DELIVER_FILTER /* `body`: a filter that a kept session has from now on; entry.event: DELETED */
};
struct delivery {
    uint8_t kind;
    struct bytes user;     /* one user; or empty and: */
    struct bytes audience; /* a conversation: all its members in this partition */
    struct bytes device;   /* REVOKE: one device, or empty for all */
    uint8_t reason;        /* REVOKE: of MQTT 5; 0: not authorized */
    struct bytes body;
    struct entry entry;
};
enum apply_bug {
    BUG_SEQ_GAP = 16,
    BUG_BLOCK_IGNORED,
    BUG_CURSOR_BACK,
    BUG_PACKET_FORGOTTEN, /* of QoS 2: repetitions are stored again */
    BUG_SHARED_TWICE,
    BUG_RETAINED_OLD, /* the first message of a topic stays */
    BUG_LISTENER_EARLY /* by one filter given up all are told gone */,
    BUG_DUE_EARLY,
    BUG_DUE_KEPT /* what a tick took stays, now and then */,
    BUG_TOLD_TWICE /* a start tells again who was away, and is believed */,
    BUG_AUDIENCE_TWICE, /* what an audience got is merged again, now and then */
    BUG_CANCELLED_SHOWN,
    BUG_COUNT_KEPT, /* what is marked is counted still */
    BUG_OPT_OUT_IGNORED,
    /* of sends; behind those of other rooms */
    BUG_SEND_UNLEASED = 128 /* what was under way when the server died is forgotten */,
    BUG_SENT_KEPT /* what was taken leaves again when its lease ends */,
    BUG_SEND_UNASKED /* wishes are not asked again */,
    BUG_SEND_KEPT /* what was read or cancelled is not withdrawn */,
    BUG_QUIET_IGNORED,
    BUG_ADDRESS_KEPT /* that is gone */,
    BUG_LETTER_KEPT /* that is sent again */,
    BUG_LETTER_LOST
};
struct step {
    struct cells *cells;
    uint16_t partition, partitions;
    uint64_t position;
    int64_t time_ms;
    struct bytes app, body;
    bool relay;
    uint16_t source; /* relays */
    /* someone waits: the answer's body is worth making. Its status must be set always */
    bool wanted;
    /* a bug on purpose, for the simulator: enum apply_bug; 0 in production */
    unsigned planted;
    struct arena *arena; /* until the turn ends */
    void *scratch;       /* of the rule that runs: what it found for itself; NULL at first */
    /* out: what the record is about, for people who look at its journey; views of the turn */
    struct bytes conversation, item, repeated_by; /* the last: who sent again what is stored */
    struct answer *answer;
    struct relay *relays; /* growing arrays in the arena */
    size_t relay_count, relay_cap;
    struct delivery *deliveries;
    size_t delivery_count, delivery_cap;
    /* out: [STEP_TALLIES], how often what was decided, for people who look at the server: added to,
     * never read. NULL: nobody counts (a replay). What each stands for, a surface's face says. */
    uint64_t *tallies;
};
enum { STEP_TALLIES = 32 };
static inline void step_tally(struct step *s, unsigned tally, uint64_t by) {
    if (s->tallies) s->tallies[tally] += by;
}
/* body copied to the arena */
void step_relay(struct step *s, uint16_t to, uint8_t kind, struct bytes body);
/* views copied to the arena */
void step_deliver(struct step *s, const struct delivery *d);

/* ---- requests ---- */
enum {
    SCOPE_READ = 1,
    SCOPE_WRITE = 2,
    SCOPE_TOKENS = 4,
    SCOPE_MODERATE = 8,
    SCOPE_OPERATE = 16,
    SCOPE_OPEN = 32 /* no credentials needed */
};
struct principal {
    bool server;     /* server key; else a device token */
    uint32_t scopes; /* of the key; a token has none */
    /* user: the token's, or ?user= of a server key; empty otherwise */
    struct bytes app, user, device;
    int64_t issued_ms, until_ms; /* of the token; a key holds until it is revoked: 0 */
    struct bytes key;            /* the server key's id */
    uint64_t issuer;             /* which of the app's own issuers made the token; 0: none */
};
/* What the user's partition says of who asks; filled before plan's query or record runs, when
 * principal.user is set. */
struct viewer {
    bool known, revoked;
    struct bytes blocks; /* packed varbytes of user ids they block; use viewer_blocks() */
};
bool viewer_blocks(const struct viewer *v, struct bytes user);

/* What one thread keeps for those who plan, answer and render; nothing of it is state. */
struct template_kit;   /* template/template.h */
struct template_cache; /* likewise */
struct inbox_memo;     /* inbox/inbox.h */
struct tools {
    struct template_kit *kit;
    struct template_cache *programs;
    struct inbox_memo *inboxes;
    struct bytes unsubscribe_key; /* of links in mails (outward.h); empty: there are none */
    bool http_webhooks;           /* those in private networks may be without TLS (send.h) */
    unsigned planted;             /* as a step's */
    /* of ids made while planning: the next, and how far to the one after it, so that no two threads
     * make the same */
    uint64_t next_id, id_step;
    /* A stored message, as a server key's GET shows it now; false: it is not there. In the
     * conversation's partition. */
    bool (*message_json)(struct cells *c, struct bytes app, struct bytes conversation,
        struct bytes id, int64_t now_ms, struct buf *out);
    /* Members of the JSON object that a mailbox entry shows to the viewer now, whatever its type;
     * false: it must not be delivered. `shared`: the same for all who share the entry. */
    bool (*entry_json)(struct tools *t, struct cells *c, struct bytes app, const struct view *v,
        const struct entry *e, struct buf *out, bool *shared);
};

struct request {
    struct bytes method;    /* "GET" */
    struct bytes params[4]; /* the {...} parts of the path, all ids but {emoji} and {token} */
    struct bytes query_names[16], query_values[16];
    size_t query_count;
    struct bytes body; /* raw JSON or empty */
    bool has_json;
    struct json json;             /* root, valid during plan only */
    struct bytes idempotency_key; /* or empty */
    struct bytes languages;       /* Accept-Language, or empty */
    bool wants_page;              /* who asks shows what comes: Accept names text/html */
    struct principal who;
    struct viewer viewer; /* valid in query */
    int64_t now_ms;
    uint64_t epoch;
    uint16_t partitions;
    struct arena *arena; /* lives until the answer is written */
    void *args;          /* plan's, for query and finish; in the arena */
    struct tools *tools; /* of the thread that plans or gathers */
};
struct bytes request_query(const struct request *r, const char *name); /* empty when absent */
/* ?limit= 1..200 default 50. false: answer has the problem. */
bool request_limit(const struct request *r, struct answer *a, unsigned *out);
/* ?cursor= of a list whose cursors are cursor_format's; 0 when absent. false: answer has the
 * problem: 400, or 410 after a restore. */
bool request_cursor(const struct request *r, struct answer *a, uint64_t *out);
/* What cursor_parse said of a cursor; true when it is good. */
bool cursor_good(enum err e, struct answer *a);
/* The body as an object against a schema; false: answer has the problem (400/422 with the field).
 * */
bool request_object(const struct request *r, const struct json_field *fields, size_t n,
    struct json_value *out, struct answer *a);
/* Of a request that says all by its path: no body, or {}. false: likewise. */
bool request_empty(const struct request *r, struct answer *a);
/* A list of ids in the field: each is added to *packed as varbytes, *out_n counts them. false: the
 * answer has the problem (400 not a string, 422 not an id). */
bool request_ids(
    struct json list, const char *field, struct buf *packed, uint64_t *out_n, struct answer *a);
/* The same as request_object for an object inside of it. */
bool request_part(struct json object, const struct json_field *fields, size_t n,
    struct json_value *out, struct answer *a);
/* The same; a fault's field is named from the top: "digest.window", where path is "digest". */
bool request_inside(struct json object, const char *path, const struct json_field *fields, size_t n,
    struct json_value *out, struct answer *a);
enum { FIELD_BYTES = 64 };
/* "path.name", cut to the room there is. */
void field_inside(char out[static FIELD_BYTES], const char *path, struct bytes name);

struct query {
    struct cells *cells;
    uint16_t partition;
    const struct request *request;
    struct answer *answer;
    struct tools *tools;
    size_t part; /* of a plan in parts: which */
};
/* One of several records and queries that a request needs, in as many partitions. A query of a part
 * must leave the request's arena alone: parts run at the same time. */
struct plan_part {
    uint16_t partition;
    uint8_t kind;
    struct buf body; /* owned by the plan */
    void (*query)(struct query *q);
};
struct plan {
    uint16_t partition; /* where it runs */
    uint8_t kind;       /* a record: 0 for a query */
    struct buf body;    /* the record's; owned by the plan */
    void (*query)(struct query *q);
    /* ---- or in parts (plan_part), all at once ---- */
    struct plan_part *parts;
    size_t part_count, part_cap;
    /* All parts are answered (part_count answers: views, and a part that was refused has its
     * problem): fills the answer; or true: the plan has another round of parts, which waits again_ms.
     * Runs on one shard's thread: the request is all its own. */
    bool (*gather)(struct request *r, struct plan *p, const struct answer *parts, struct answer *a);
    int again_ms;
};
/* A further part; the others may move. */
struct plan_part *plan_part(struct plan *p, uint16_t partition);
void plan_parts_reset(struct plan *p); /* none: before another round */
void plan_done(struct plan *p);
struct admit; /* admit/admit.h */
/* Routes that the shard itself answers carry `special`; all others a plan. */
enum special {
    SPECIAL_NONE,
    SPECIAL_STREAM,
    SPECIAL_TYPING,
    SPECIAL_PRESENCE,
    SPECIAL_METRICS,
    SPECIAL_HEALTH,
    SPECIAL_READY,
    SPECIAL_OPENAPI,
    SPECIAL_DOCTOR,
    SPECIAL_SLOW,
    SPECIAL_EXPORT,
    SPECIAL_SESSIONS,
    SPECIAL_FLOW,
    SPECIAL_USER_SESSIONS,
    SPECIAL_JOURNEY,
    SPECIAL_WEBSOCKET,
    SPECIAL_PUSH_KEY
};
/* Who may call it with a device token. Server keys need `scope`. */
enum token_rule {
    TOKEN_NEVER,
    TOKEN_SELF /* params[0] must be the token's user; else 403 */,
    TOKEN_ANY /* the surface decides */
};
struct route {
    const char *method, *path; /* "/v1/conversations/{id}/messages" */
    uint32_t scope;
    enum token_rule token;
    enum special special;
    /* OK: *p filled. Otherwise *a holds the problem. */
    enum err (*plan)(struct request *r, struct plan *p, struct answer *a);
    /* After the answer, at the origin, e.g. to sign a token. May be NULL. */
    void (*finish)(const struct request *r, struct admit *admit, struct answer *a);
};
/* What a record is about to be applied to. Of several that follow each other all are told of first, in
 * rounds: those of the later ones may look at what the earlier ones brought near (cells_near). */
struct ahead {
    struct cells *cells;
    struct bytes app, body;
    unsigned round; /* from 0 */
    void *arg;
    /* to be told of who will be delivered to, and again a round later (near); NULL: nobody asks */
    void (*user)(void *arg, struct bytes app, struct bytes user, bool near);
};
enum { AHEAD_ROUNDS = 2 };
struct ahead_rule {
    uint8_t kind;
    void (*ahead)(const struct ahead *a); /* calls cells_ahead, nothing else */
};
struct record_rule {
    uint8_t kind;
    void (*apply)(struct step *s);
};
/* Of one file of a surface that has many. */
struct surface_part {
    const struct record_rule *rules;
    size_t rule_count;
    const struct route *routes;
    size_t route_count;
};
struct surface {
    const char *name;
    const struct record_rule *records;
    size_t record_count;
    const struct route *routes;
    size_t route_count;
};

#endif
