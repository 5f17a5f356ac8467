/* send, inside: a provider with its lanes and its queue; what libcurl does for it.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef KITH_SEND_IN_H
#define KITH_SEND_IN_H

#include <netinet/in.h>

#include "io/io.h"
#include "measure/measure.h"
#include "send/send.h"
#include "wire/wire.h"

/* ---- carry.c: the only file that knows libcurl. A carrier holds the connections of one provider, so
 * that none is used by another with other rights. ---- */
enum mail_tls { MAIL_STARTTLS, MAIL_TLS, MAIL_PLAIN };
struct carry_options {
    struct bytes ca;  /* PEM; empty: the system's */
    bool public_only; /* addresses that are not public are not connected to */
    int64_t timeout_ms;
    unsigned connections_max;              /* to one host */
    const char *mail_user, *mail_password; /* NULL: none */
    enum mail_tls mail_tls;
};
/* One request or mail on its way. Who starts it keeps what is asked until it is done. */
struct carried {
    const char *url;                   /* https: or http:, smtp: or smtps: */
    struct bytes head, body;           /* head: lines */
    const char *mail_from, *mail_to;   /* of mail */
    int status;                        /* HTTP's or SMTP's; 0: there was no answer */
    struct buf answer;                 /* 4 KiB of it */
    char retry_after[64], apns_id[64]; /* headers */
    enum mail_step step;               /* of mail: how far it came */
    bool refused;                      /* the address was not public */
    char why[160];                     /* when there was no answer */
    struct carrier *by;
    void *easy, *lines; /* libcurl's */
    size_t sent;
    bool reply_ended, quit;
    struct carried *next;
};
void carry_begin(void); /* once a process, before there are threads */
struct carrier;
struct carrier *carrier_create(struct loop *loop, const struct carry_options *o); /* borrows them */
void carrier_free(
    struct carrier **); /* lets go what is under way; carried ones stay the caller's */
void carry_start(struct carrier *c, struct carried *x, int64_t mono_ms);
void carry_let_go(struct carried *x);       /* under way or not: it will not be done */
void carry_event(void *tag, uint32_t what); /* of loop_wait */
/* After the events: timers. The next one that is done, or NULL. */
void carry_turn(struct carrier *c, int64_t mono_ms);
struct carried *carry_done(struct carrier *c);
int64_t carry_due_ms(const struct carrier *c); /* CLOCK_MONOTONIC; -1: nothing is due */

/* ---- address.c ---- */
/* An address of the public internet: none of a private network, this host, a link, documentation,
 * multicast; nor an IPv6 one that carries such an IPv4 one (RFC 6890 and IANA's registries). */
bool address_is_public(const struct sockaddr *a);

/* ---- keys.c ---- */
/* DIR/keys/NAME.pem; made when it is not there: *out_new. */
enum err key_keep(const char *dir, const char *name, enum outward_key_kind kind,
    struct outward_key **out, bool *out_new, struct buf *why) must_use;
/* That of the links that end a mail: *out is filled; where there is none, it is made or *out stays empty. */
enum err unsubscribe_key_keep(
    const char *dir, bool make, struct buf *out, struct buf *why) must_use;
/* A file of at most 1 MiB, whole. */
enum err text_read(const char *path, struct buf *out, struct buf *why) must_use;
void text_forget(struct buf *b); /* wipes and frees */

/* ---- provider.c, settings.c ---- */
/* Two signatures a mail, and so two records: SELECTOR-rsa, SELECTOR-ed25519. */
#define DKIM_RSA_SUFFIX "-rsa"
#define DKIM_ED25519_SUFFIX "-ed25519"
enum { LANES = 64 };
struct flight { /* a task on its way; or, without one, FCM's access token */
    struct flight *next;
    struct send_task *task;
    unsigned shard;
    int64_t put_ns, asked_ns;
    bool renewed;
    struct provider *by;
    struct lane *lane;
    struct outward_request q;
    struct carried x;
    bool flying;
    struct flight *all_next, **all_prev;
};
/* What must not hold up the rest: one push service or partner among many; all there is of other
 * channels. */
struct lane {
    struct lane *next; /* with the same hash */
    uint64_t key;
    struct flight *head, **tail;
    unsigned flying;
    int64_t paused_until_ms;
    unsigned misses;         /* in a row: no answer, or an error of its own */
    struct lane *next_ready; /* has some waiting, and is in the provider's line */
    bool ready;
};
struct provider {
    /* as configured */
    struct arena arena;
    enum send_channel channel;
    const char *name, *app, *base_url, *subject; /* app "": all */
    double rate_per_second;                      /* 0: no limit */
    unsigned concurrency;
    struct carry_options carry;
    struct outward_key *key; /* VAPID; of webhooks */
    struct webpush *webpush;
    struct apns *apns;
    struct fcm *fcm;
    const char *smtp_url, *from, *from_name, *reply_to, *dkim_domain, *dkim_selector,
        *unsubscribe, /* https://...{user}...{workflow}; NULL: none */
        *public_url;  /* where this server is reached, without a slash at its end; NULL: not said */
    struct bytes unsubscribe_key;                /* with public_url */
    struct outward_key *dkim_rsa, *dkim_ed25519; /* NULL: it signs nothing */
    /* running: the thread's */
    struct carrier *carrier;
    struct lane *lanes[LANES], *ready, **ready_tail;
    unsigned flying;
    size_t lane_count;
    double allowance; /* requests that may leave now */
    int64_t allowance_ms;
    struct flight *token; /* FCM's, on its way */
    bool used;            /* something was launched */
};
/* Of the file, or when there is none those that need no account. */
struct settings {
    struct provider *list[SEND_CHANNELS * SEND_PROVIDERS_MAX];
    size_t n;
    /* stays when no provider makes links any more: mails that people have kept hold some */
    struct buf unsubscribe_key;
};
enum err settings_read(
    const struct send_options *o, struct settings *out, struct buf *why) must_use;
void settings_done(struct settings *s);

/* ---- send.c, for provider.c ---- */
struct channel_figures {
    uint64_t sent, retried, dropped, gave_up, renewed, paused, waiting, flying;
    struct hist latency;
};
struct runner { /* what the thread holds, as providers see it */
    struct loop *loop;
    struct channel_figures *figures; /* [SEND_CHANNELS] */
    struct flight *flights;          /* all there are */
    void *arg;
    void (*ended)(void *arg, struct flight *f, struct send_result *r); /* takes the result */
};
struct flight *flight_create(struct runner *r, struct send_task *t);
void flight_free(struct runner *r, struct flight *f);
void provider_start(struct provider *p, struct runner *r);
void provider_stop(struct provider *p); /* after its flights are gone */
/* Queues it, or answers at once when its lane is paused. */
void provider_take(struct provider *p, struct runner *r, struct flight *f, int64_t now_ms);
/* Takes what was answered, launches what may leave. */
/* In a moment without work: key pairs for Web Push. true: there are more to make. */
bool provider_idle(struct provider *p);
void provider_turn(struct provider *p, struct runner *r, int64_t now_ms, int64_t mono_ms);
int64_t provider_due_ms(const struct provider *p, int64_t mono_ms); /* -1: only when events come */
/* Gives it back without asking anybody. */
void flight_refuse(struct runner *r, struct flight *f, enum outward_verdict v, const char *reason);

/* ---- make.c: what is asked, and what the answer means ---- */
/* AGAIN: a token is needed first. Words in *why. */
enum err request_make(
    struct provider *p, struct flight *f, int64_t now_ms, const char **why) must_use;
/* *own: it failed for a reason of the provider's own. */
void answer_judge(
    struct provider *p, struct flight *f, int64_t now_ms, struct outward_decision *out, bool *own);
struct bytes origin_of(struct bytes url); /* scheme, host, port */

#endif
