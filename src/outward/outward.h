/* outward: the formats of what leaves the server for a device, a mailbox or a partner, and of what
 * they answer: Web Push, APNs, FCM, Standard Webhooks, e-mail with DKIM.
 *
 * A request is a URL, header lines and a body: who sends it is not here. An answer becomes a
 * decision, the same for all channels. docs/format/outward.md tells the formats and their sources.
 *
 * Invariants: no sockets, files, threads, clocks: time is a parameter, milliseconds since 1970.
 * Randomness is OpenSSL's. No value of a caller becomes a header line, a path or a claim of its
 * own: what could is refused as MALFORMED. A call that fails leaves its outputs as they were.
 * Lifetimes: views are borrowed for the call. A key may be used by several threads at once; a
 * sender (webpush, apns, fcm) belongs to one thread, and keeps no key that it was given alive.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef KITH_OUTWARD_H
#define KITH_OUTWARD_H

#include "base/base.h"

/* ---- keys ---- */
enum outward_key_kind { OUTWARD_P256, OUTWARD_RSA, OUTWARD_ED25519 };
struct outward_key;
struct outward_key *outward_key_create(enum outward_key_kind kind); /* RSA: of 2,048 bits */
/* A secret key as PEM (PKCS#8, or the older forms of RSA and EC); of P-256 the 32 bytes in base64url
 * as well, of Ed25519 the 32 (or 64, public key behind) in base64. MALFORMED: not a key of this
 * kind; RSA of less than 2,048 bits. *why, if not NULL, is given words. */
enum err outward_key_read(enum outward_key_kind kind, struct bytes text, struct outward_key **out,
    const char **why) must_use;
void outward_key_write(const struct outward_key *k, struct buf *out); /* PEM, PKCS#8 */
/* 65 bytes of a P-256 point, 32 of Ed25519, SubjectPublicKeyInfo of RSA */
void outward_key_public(const struct outward_key *k, struct buf *out);
enum outward_key_kind outward_key_kind(const struct outward_key *k);
void outward_key_free(struct outward_key **);

/* ---- requests, answers, decisions ---- */
struct outward_request {        /* POST; outward_request_done frees it */
    struct buf url, head, body; /* head: lines, each ending in CRLF */
};
void outward_request_reset(struct outward_request *q);
void outward_request_done(struct outward_request *q);

struct outward_answer {
    int status;                        /* 0: there was no answer */
    struct bytes body;                 /* as far as it was read */
    struct bytes retry_after, apns_id; /* headers; empty: not there */
    int64_t asked_ms;                  /* when its request was made; 0: not known */
};
enum outward_verdict {
    OUTWARD_DELIVERED,
    OUTWARD_DROP,   /* this device, subscription or endpoint is no more */
    OUTWARD_RETRY,  /* later */
    OUTWARD_RENEW,  /* our token was refused: with a new one, once, at once */
    OUTWARD_GIVE_UP /* would be refused again */
};
struct outward_decision {
    enum outward_verdict verdict;
    int64_t retry_after_ms; /* at least so long; 0: as our own back-off says */
    /* of DROP: gone since then; a device that registered later stays. 0: not said */
    int64_t gone_since_ms;
    char reason[96]; /* the other side's own word, or ours; ASCII */
    char id[96];     /* of DELIVERED: what the other side calls it; may be empty */
};

/* Is it https, with a host and without a user, printable, at most 2,048 bytes? *origin: scheme, host
 * and port. */
bool outward_url(struct bytes url, struct bytes *origin);

/* ---- Web Push (RFC 8030, 8291, 8292) ---- */
enum {
    WEBPUSH_BODY_MAX = 4096,
    WEBPUSH_PAYLOAD_MAX = WEBPUSH_BODY_MAX - 86 - 17, /* head of RFC 8188; delimiter and tag */
    WEBPUSH_TOPIC_MAX = 32,
    WEBPUSH_AHEAD_MAX = 4096
};
struct webpush; /* one thread's: key pairs made ahead, tokens by push service */
/* subject: mailto: or https: of who runs this server (RFC 8292, 2.1). NULL: it is neither. */
struct webpush *webpush_create(const struct outward_key *vapid, struct bytes subject);
void webpush_free(struct webpush **);
/* Makes ephemeral key pairs in idle time, at most so many; returns how many lie ready. Each is used
 * for one message and wiped. */
size_t webpush_ahead(struct webpush *w, size_t make_max);

struct webpush_message {
    struct bytes endpoint;     /* https */
    struct bytes p256dh, auth; /* of the subscription: 65 and 16 bytes */
    struct bytes payload;
    size_t pad_to;  /* bytes that the payload is padded to, so that its length tells nothing */
    uint32_t ttl_s; /* how long the push service keeps it */
    struct bytes urgency; /* very-low, low, normal, high; empty: normal */
    struct bytes topic;   /* collapses with what is waiting there; any bytes, hashed when need be */
};
/* MALFORMED: endpoint, keys, urgency; LIMIT: the payload is over WEBPUSH_PAYLOAD_MAX. */
enum err webpush_request(struct webpush *w, const struct webpush_message *m, int64_t now_ms,
    struct outward_request *out) must_use;
/* The body alone. */
enum err webpush_encrypt(
    struct webpush *w, const struct webpush_message *m, struct buf *out) must_use;
/* The same with a given ephemeral secret and salt, for the vectors of RFC 8291. */
enum err webpush_encrypt_with(struct webpush *w, const struct webpush_message *m,
    const uint8_t secret[32], const uint8_t salt[16], struct buf *out) must_use;
/* "vapid t=..., k=..." for an endpoint, from the cache while it has six hours left. */
enum err webpush_authorization(
    struct webpush *w, struct bytes endpoint, int64_t now_ms, struct buf *out) must_use;
void webpush_forget(struct webpush *w); /* tokens: on RENEW */
void webpush_answer(const struct outward_answer *a, int64_t now_ms, struct outward_decision *out);

/* ---- APNs ---- */
enum { APNS_PAYLOAD_MAX = 4096, APNS_COLLAPSE_MAX = 64 };
struct apns;
struct apns_account {
    const struct outward_key *key; /* P-256, of Apple's .p8 */
    struct bytes key_id, team_id;  /* ten characters each */
    struct bytes topic;            /* the app's bundle id */
    bool sandbox;
};
struct apns *apns_create(const struct apns_account *a); /* NULL: a part is not as it must be */
void apns_free(struct apns **);
struct push_message { /* of APNs and FCM */
    struct bytes token, title, body, sound, thread, category, image;
    struct bytes id;           /* a UUID; empty: the other side makes one */
    struct bytes shows;        /* which notification it is, for the app; empty: not said */
    struct bytes collapse_key; /* longer than what they take: hashed */
    struct bytes data;         /* a JSON object, minified; empty: none */
    int64_t badge;             /* below 0: left as it is */
    int64_t expires_ms;        /* 0: only now */
    bool high, silent;         /* high: at once, though it costs power; silent: no alert, the app is
                                  woken (content-available) */
};
/* A body too long is cut, at a character. LIMIT: without it all is still too long. */
enum err apns_request(struct apns *a, const struct push_message *m, int64_t now_ms,
    struct outward_request *out) must_use;
/* Decides; on RENEW the next request has a new token. */
void apns_answer(struct apns *a, const struct outward_answer *answer, int64_t now_ms,
    struct outward_decision *out);

/* ---- FCM, HTTP v1 ---- */
enum { FCM_PAYLOAD_MAX = 4096 };
struct fcm;
/* A service account's JSON. NULL, with words in *why: it is none. */
struct fcm *fcm_create(struct bytes service_account, const char **why);
void fcm_free(struct fcm **);
/* An access token is needed before messages can be sent, and again when it nears its end. */
bool fcm_wants_token(const struct fcm *f, int64_t now_ms);
bool fcm_has_token(const struct fcm *f, int64_t now_ms);
void fcm_token_request(const struct fcm *f, int64_t now_ms, struct outward_request *out);
/* DELIVERED: it is kept. */
void fcm_token_answer(
    struct fcm *f, const struct outward_answer *a, int64_t now_ms, struct outward_decision *out);
/* AGAIN: there is no token. A body too long is cut, as for APNs. */
enum err fcm_request(struct fcm *f, const struct push_message *m, int64_t now_ms,
    struct outward_request *out) must_use;
void fcm_answer(
    struct fcm *f, const struct outward_answer *a, int64_t now_ms, struct outward_decision *out);

/* ---- Standard Webhooks ---- */
enum { WEBHOOK_SECRET_BYTES = 32, WEBHOOK_TOLERANCE_S = 300 };
/* A new secret: "whsec_" and base64. */
void webhook_secret_create(struct buf *out);
/* "whpk_" and base64 of an Ed25519 key: what receivers check v1a with. */
void webhook_public(const struct outward_key *k, struct buf *out);
struct webhook_signer {
    const struct bytes
        *secrets; /* "whsec_...": each signs, so that one can be replaced by another */
    size_t secret_count;
    const struct outward_key *key; /* Ed25519, or NULL */
};
/* The lines webhook-id, webhook-timestamp, webhook-signature. MALFORMED: a secret, or an id with a
 * dot, a space or nothing in it. */
enum err webhook_sign(const struct webhook_signer *s, struct bytes id, int64_t now_ms,
    struct bytes body, struct buf *head) must_use;
struct webhook_headers {
    struct bytes id, timestamp, signature;
};
/* Of what came: by one of the secrets or public keys ("whpk_..."), at most 300 s old or ahead.
 * REFUSED: no signature fits; STALE: the time; MALFORMED: a header or secret. */
enum err webhook_verify(const struct bytes *secrets, size_t n, const struct webhook_headers *h,
    struct bytes body, int64_t now_ms) must_use;
void webhook_answer(const struct outward_answer *a, int64_t now_ms, struct outward_decision *out);

/* ---- one click that ends a mail (RFC 8058): the token of our own link ---- */
enum { UNSUBSCRIBE_KEY_BYTES = 32 };
struct unsubscribe { /* ids */
    struct bytes app, user, workflow;
};
void unsubscribe_key_create(uint8_t out[static UNSUBSCRIBE_KEY_BYTES]);
/* Adds the token, at most 304 characters that need no escape in a URL. */
void unsubscribe_token(struct bytes key, const struct unsubscribe *u, struct buf *out);
/* MALFORMED: forged or damaged; or there is no key: empty. *out: views of *room. Takes as long
 * whichever of its bytes are wrong. */
enum err unsubscribe_read(
    struct bytes key, struct bytes token, struct buf *room, struct unsubscribe *out) must_use;

/* ---- e-mail (RFC 5322, 2045 to 2047, 8058) ---- */
enum { MAIL_BYTES_MAX = 1 << 20, MAIL_ADDRESS_MAX = 254 };
struct mail {
    struct bytes from_name, from, to_name, to, reply_to; /* addresses: ASCII, one each */
    struct bytes subject, text, html;                    /* text is required; html may be empty */
    struct bytes id;              /* of Message-ID, left of the @; its right is from's domain */
    struct bytes thread;          /* the id of an earlier mail that this one follows; or empty */
    struct bytes unsubscribe_url; /* https; RFC 8058's one click. Empty: no such header */
    struct bytes unsubscribe_address; /* or empty */
    struct bytes list_id;             /* "likes.example.com" (RFC 2919); or empty */
};
/* MALFORMED: an address, a URL, an id; LIMIT: over MAIL_BYTES_MAX. *why: words. Lines end in CRLF;
 * controls in names and subject become spaces. */
enum err mail_write(
    const struct mail *m, int64_t now_ms, struct buf *out, const char **why) must_use;
bool mail_address_valid(struct bytes v);
/* What a mail server answered (RFC 5321, 3463): status is its code, body its text. `at`: to which step.
 * A refusal before the recipient was named is about us: RETRY. DROP: there is no such mailbox. */
enum mail_step { MAIL_GREETING, MAIL_SENDER, MAIL_RECIPIENT, MAIL_DATA };
void mail_answer(const struct outward_answer *a, enum mail_step at, struct outward_decision *out);

/* ---- DKIM (RFC 6376, 8463) ---- */
struct dkim {
    const struct outward_key *key; /* RSA or Ed25519 */
    struct bytes domain, selector;
};
/* Adds the signature's header, to be put before the message; sign with both kinds for all
 * receivers. MALFORMED: domain, selector, or what is no message. */
enum err dkim_sign(
    const struct dkim *d, struct bytes message, int64_t now_ms, struct buf *out) must_use;
/* The text of the TXT record at <selector>._domainkey.<domain>. */
void dkim_record(const struct outward_key *k, struct buf *out);

#endif
