/* send: the thread that sends what leaves the server: Web Push, APNs, FCM, mail, webhooks. Formats and
 * what answers mean are src/outward's; which task is made, and whether it is tried again later, is
 * decided by records, elsewhere.
 *
 *   shard ──send_put──▶ ring ──▶ queue of a provider ──▶ connections ──▶ others' servers
 *   shard ◀─send_take── ring ◀── result ◀── its answer, judged
 *
 * A provider is one account at one service, from the owner's file (docs/operate/providers.md). Of a
 * channel there may be several, in order of preference; a task names the one to try. Here are: a
 * provider's limits (requests a second, at once), its pause when it says 429 or 503, tokens that are
 * bought and renewed, connections kept, timeouts. A task is sent once, or twice when our token was
 * refused. Redirects are not followed; private addresses of webhooks are refused as resolved.
 *
 * Invariants: each task taken by send_put gives one result, which always finds room: a shard has
 * SEND_OUT_MAX tasks out at most. What is under way when the server ends has no result: its record
 * still waits, and is sent again at the next start, under the same id.
 * Lifetimes: a task belongs to who holds it; its texts lie in its own arena. Times are milliseconds
 * since 1970. SPDX-License-Identifier: Apache-2.0 */
#ifndef KITH_SEND_H
#define KITH_SEND_H

#include "outward/outward.h"

enum send_channel { SEND_WEBPUSH, SEND_APNS, SEND_FCM, SEND_MAIL, SEND_WEBHOOK, SEND_CHANNELS };
const char *send_channel_name(enum send_channel c); /* "webpush" "apns" "fcm" "email" "webhook" */

enum {
    SEND_OUT_MAX = 4096,     /* of one shard: put and not taken yet */
    SEND_SECRETS_MAX = 4,    /* of a webhook */
    SEND_PROVIDERS_MAX = 16, /* of a channel */
    SEND_NAME_MAX = 64,
    SEND_REASON_MAX = 96
};

/* ---- tasks ---- */
struct send_task {
    uint64_t id; /* the caller's, as are partition and cookie: they come back */
    uint16_t partition;
    uint64_t cookie;
    enum send_channel channel;
    unsigned provider; /* of those of the channel that serve the app: 0 is the first */
    struct arena arena;
    struct bytes app;
    struct bytes message_id; /* the same when tried again: mail, webhooks; a UUID is APNs' too */
    /* where to: as its channel asks */
    struct bytes endpoint, p256dh, auth;    /* Web Push: bytes, not base64 */
    struct bytes token;                     /* APNs, FCM */
    struct bytes address, address_name;     /* mail */
    struct bytes url;                       /* webhook */
    struct bytes secrets[SEND_SECRETS_MAX]; /* "whsec_..." */
    size_t secret_count;
    /* what; texts are UTF-8 */
    struct bytes title, body; /* a mail's subject and text */
    struct bytes html;        /* mail */
    struct bytes data;        /* a JSON object, or empty */
    struct bytes payload;     /* webhook: the body, JSON. Web Push: in place of what is made of the
                                   others, which is {id, title, body, image, thread, badge, data} */
    struct bytes image, sound, thread, category;
    struct bytes collapse_key;
    /* mail: https, one click (RFC 8058); empty: by the provider's pattern or our own page, of app, user
     * and workflow */
    struct bytes unsubscribe_url;
    struct bytes user, workflow;
    struct bytes device;    /* of a push; comes back */
    struct bytes list_id;   /* mail */
    int64_t badge;          /* below 0: left as it is */
    int64_t expires_ms;     /* 0: a day from when it is sent */
    bool high, low, silent; /* priority; silent: wakes the app and shows nothing */
};
struct send_task *send_task_create(enum send_channel channel); /* badge -1, all else zero */
void send_task_free(struct send_task **);
/* Copies a text into the task. */
struct bytes send_text(struct send_task *t, struct bytes v);

/* ---- results ---- */
struct send_result {
    uint64_t id, cookie;
    uint16_t partition;
    enum send_channel channel;
    char app[SEND_NAME_MAX + 1];
    char user[SEND_NAME_MAX + 1], device[SEND_NAME_MAX + 1]; /* whose push it was; or "" */
    enum outward_verdict verdict;                            /* never RENEW */
    unsigned provider;                                       /* the one that was tried */
    /* The one to try next. `failover`: it is another, as this one failed for a reason of its own (it
     * does not answer, has an error, refuses us, is paused), and it can be tried at once. Behind the
     * last the first comes again, later. */
    unsigned next_provider;
    bool failover;
    int64_t retry_after_ms;                /* of RETRY: at least; 0: not said */
    int64_t gone_since_ms;                 /* of DROP: gone since then; 0: not said */
    int64_t took_ms;                       /* from send_put to the answer */
    char reason[SEND_REASON_MAX];          /* the other side's word or ours; ASCII */
    char message_id[SEND_REASON_MAX];      /* of DELIVERED: what the other side calls it */
    char provider_name[SEND_NAME_MAX + 1]; /* "": none of the channel serves the app */
};
void send_result_free(struct send_result **);

/* ---- the thread ---- */
struct send;
struct send_options {
    /* JSON file; NULL: Web Push and webhooks alone, by keys of our own */
    const char *providers;
    const char *data_dir; /* keys that kith makes lie in DIR/keys, 0600 */
    unsigned shards;
    void (*wake)(void *arg, unsigned shard); /* results came; called on the sender's thread */
    void *arg;
    int64_t (*now_ms)(void); /* NULL: the machine's clock */
    bool dev;                /* Web Push and webhooks to private addresses are allowed */
};
/* "none" in place of a file: nothing is sent, and no socket made. */
bool send_is_off(const char *providers);
/* The file and those that it names, each with a zero byte behind it: for who may open them later only
 * when they are known before. What is wrong with them is said by send_create. */
void send_files(const char *providers, struct buf *out);
/* Reads the file, reads or makes the keys. Words that name file, provider and field in *why.
 * MALFORMED, MISSING, IO. No thread yet. */
enum err send_create(const struct send_options *o, struct send **out, struct buf *why) must_use;
void send_start(struct send *s); /* the thread */
/* Ends the thread, at once; what is under way is let go. */
void send_free(struct send **);

/* A shard's own thread: */
/* Takes the task; false: SEND_OUT_MAX are out, it stays the caller's. */
bool send_put(struct send *s, unsigned shard, struct send_task *t);
struct send_result *send_take(struct send *s, unsigned shard); /* NULL: none yet */
size_t send_out(const struct send *s, unsigned shard);

/* ---- to be told; any thread ---- */
/* How many of a channel serve the app; 0: what is put for it is given up at once. */
unsigned send_provider_count(const struct send *s, enum send_channel c, struct bytes app);
/* What a page subscribes with: base64url of the VAPID key's 65 bytes. */
struct bytes send_webpush_key(const struct send *s);
/* May webhooks go to private addresses, and there without TLS? */
bool send_webhooks_private(const struct send *s);
struct bytes send_webhook_key(const struct send *s); /* "whpk_...": checks v1a */
/* By which links that end a mail are signed (outward.h); empty: none was ever made. */
struct bytes send_unsubscribe_key(const struct send *s);
/* DNS records to be set, one line each, for people: "s1._domainkey.example.com TXT v=DKIM1; ...".
 * Nothing when no mail is sent. */
void send_dkim_records(const struct send *s, struct buf *out);

struct hist;
struct send_counts {
    uint64_t sent, retried, dropped, gave_up; /* results */
    uint64_t renewed, paused;                 /* tokens; pauses begun */
    uint64_t waiting, flying;                 /* now: in queues; asked and not answered */
    const struct hist *latency_ns;            /* of answers, failed ones too */
};
void send_counts(const struct send *s, enum send_channel c, struct send_counts *out);

#endif
