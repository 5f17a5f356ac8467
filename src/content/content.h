/* content: what a trigger says and its totals, kept once in each partition that it reached; what stands
 * against telling someone of it; and every decision about a person. A service of the rooms that notify:
 * it keeps and answers, they decide. Of inboxes it knows only the cell where decisions are counted.
 *
 *   content_keep ─▶ a block, or by itself ─▶ content_find, content_count, content_cancel ─▶ its time is over
 *   forbidden: cancelled? expired? blocked, muted? opted out of?        why_add ─▶ why_each
 *
 * Invariants: a trigger is kept once a partition, for as long as the mailbox keeps what came with it. A
 * total never falls, but for what is held now and what was taken back. What is found is a view that lasts
 * until the next edit. A person's decisions are the newest 1,024 and some, in the order of their log.
 * Cells, all with the app first:
 *   '&' trigger      content and totals (content.c)      '"' n     triggers that are forgotten together (forget.c)
 *   ',' user n       decisions, packed (why.c)           ')' user  inbox head: inbox/inbox.c has the rest of it
 * Records: NOTIFY_FORGET (forget.c). The body of notify's records has a content, as content_encode packs it.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef KITH_CONTENT_H
#define KITH_CONTENT_H

#include "workflow/workflow.h"

/* ---- rules; notify.c joins them to its own ---- */
extern const struct surface_part forgetting_part;

/* What apply tallies (struct step): triggers, and people for whom it was decided so. `merged` counts
 * those of an audience whose inboxes merge what is stored once: delivered is what became a row. */
#define CONTENT_TALLIES(X)                                                                         \
    X(triggers)                                                                                    \
    X(recipients)                                                                                  \
    X(delivered)                                                                                   \
    X(merged)                                                                                      \
    X(grouped)                                                                                     \
    X(collapsed)                                                                                   \
    X(digested)                                                                                    \
    X(held)                                                                                        \
    X(unlikely)                                                                                    \
    X(opted_out)                                                                                   \
    X(capped)                                                                                      \
    X(blocked)                                                                                     \
    X(muted)                                                                                       \
    X(expired)                                                                                     \
    X(cancelled)                                                                                   \
    X(seen)                                                                                        \
    X(read)                                                                                        \
    X(clicked)                                                                                     \
    X(archived) X(pushed) X(mailed) X(hooked) X(failed) X(push_failed) X(mail_failed) X(hook_failed)
enum content_tally {
#define X(name) CONTENT_TALLY_##name,
    CONTENT_TALLIES(X)
#undef X
        CONTENT_TALLY_COUNT
};
_Static_assert((int)CONTENT_TALLY_COUNT <= (int)STEP_TALLIES, "surface.h says how many");

/* ---- ids of triggers ---- */
/* An id made by the server says its partition in the lowest bits of its number. */
enum { TRIGGER_ID_SHIFT = 12 };
/* Above them: it was made here; and it is for one recipient, in that partition. */
#define TRIGGER_MADE (1ull << 36)
#define TRIGGER_DIRECT (1ull << 37)
#define TRIGGER_OWN (1ull << 38) /* by a partition, of what happened there (notify/messages.c) */
bool trigger_is_direct(struct bytes id); /* its one recipient lives where it does */

/* ---- content.c: what a trigger says, kept once a partition ---- */
struct content {
    struct bytes id, workflow, actor, actor_name, object;
    struct bytes data; /* raw JSON object or empty */
    struct bytes
        args; /* of data, for templates: packed { varbytes name, u8 template_kind, value } */
    struct bytes collapse_key;
    struct bytes audience; /* "#topic", "@user" (their followers), "*" (everyone); empty: users */
    int64_t created_ms, send_at_ms, expires_ms; /* 0: none */
    struct bytes raw; /* as it was decoded, all of it; empty: it was made here */
    /* of one that was found; not encoded: */
    bool cancelled;
    uint64_t lies; /* in which block, + 1; 0: by itself */
};
void content_encode(struct buf *b, const struct content *c);
enum err content_decode(struct unpack *u, struct content *out) must_use;
/* Totals of a trigger in one partition. */
enum total { /* stored: never renumbered */
    TOTAL_RECIPIENTS,
    TOTAL_DELIVERED /* in the inbox */,
    TOTAL_SEEN,
    TOTAL_READ,
    TOTAL_CLICKED,
    TOTAL_ARCHIVED,
    TOTAL_PUSHED,
    TOTAL_MAILED,
    TOTAL_HOOKED,
    TOTAL_FAILED,
    TOTAL_HELD /* now: quiet hours, pause, digest */,
    TOTAL_BLOCKED,
    TOTAL_MUTED,
    TOTAL_OPTED_OUT,
    TOTAL_CAPPED,
    TOTAL_EXPIRED,
    TOTAL_CANCELLED,
    TOTAL_COLLAPSED,
    TOTAL_GROUPED,
    TOTAL_DIGESTED,
    TOTAL_UNLIKELY,
    TOTAL_NO_ADDRESS /* for any channel by which it was to leave; not kept of triggers of before */,
    TOTAL_COUNT
};
/* Of one recipient in this partition, of several, or of an audience whose inboxes merge it. false: it
 * is there already. */
enum keep { KEEP_ONE, KEEP_MANY, KEEP_SHARED };
void content_ahead(struct cells *c, struct bytes app, unsigned round); /* hints: where it is kept */
bool content_keep(struct step *s, const struct content *k, struct bytes users, enum keep keep);
/* Those here that it is for by name, packed; view until the next edit. */
struct bytes content_users(struct cells *c, struct bytes app, struct bytes id);
/* Of one recipient, who is erased: what it said goes, that it was stays. */
void content_blank(struct step *s, struct bytes id);
bool content_is_shared(struct cells *c, struct bytes app, struct bytes id);
/* Its id says when it came, and what came then is kept still. */
bool content_is_kept(struct cells *c, struct bytes app, struct bytes id);
/* Views until the next edit. */
bool content_find(struct cells *c, struct bytes app, struct bytes id, struct content *out);
/* A copy in the step's arena: what is decided edits the cell that it lies in. */
bool content_copy(struct step *s, struct bytes id, struct content *out);
/* lies: where it did when that was noted; it is looked for there first. */
bool content_find_at(
    struct cells *c, struct bytes app, struct bytes id, uint64_t lies, struct content *out);
uint64_t content_lies(struct step *s, struct bytes id);
uint32_t content_total(struct cells *c, struct bytes app, struct bytes id, enum total t);
void content_count(struct step *s, struct bytes id, enum total t, int64_t by);
bool content_cancelled(struct cells *c, struct bytes app, struct bytes id);
bool content_cancel(struct step *s, struct bytes id); /* false: unknown here, or done before */

/* ---- forget.c: what goes when its time is over ---- */
enum forget { FORGET_CONTENT, FORGET_TRIGGER };
/* A content that lies by itself, or what was asked of a trigger: from now on for as long as the mailbox
 * keeps what comes now. */
void forget_later(struct step *s, enum forget what, struct bytes id);

/* ---- why.c: every decision about a person, bounded; counted in the head of their inbox ---- */
enum why {
    WHY_DELIVERED = 1 /* in the inbox */,
    WHY_GROUPED,
    WHY_COLLAPSED /* it took another's place */,
    WHY_REPLACED /* another took its place */,
    WHY_BLOCKED,
    WHY_MUTED,
    WHY_OPTED_OUT,
    WHY_CAPPED,
    WHY_EXPIRED,
    WHY_CANCELLED,
    WHY_HELD_QUIET,
    WHY_DIGEST_OPENED,
    WHY_DIGEST_JOINED,
    WHY_DIGEST_SENT,
    WHY_SCHEDULED,
    WHY_ESCALATED,
    WHY_NOT_ESCALATED,
    WHY_SENDING,
    WHY_SENT,
    WHY_SEND_RETRY,
    WHY_SEND_FAILED,
    WHY_NO_ADDRESS,
    WHY_UNLIKELY,
    WHY_EXPLORED,
    WHY_LIKELY,
    WHY_SEEN,
    WHY_READ,
    WHY_CLICKED,
    WHY_ARCHIVED,
    WHY_WITHDRAWN,
    WHY_MERGED /* for an audience: in the inbox as soon as it is looked at */,
    WHY_NOT_IN_AUDIENCE,
    WHY_WORKFLOW_GONE,
    WHY_LAPSED /* expired in the inbox: never written down, its row says so */
};
/* detail: words: another notification's id, a provider's reason, the terms of a prediction.
 * until_ms: of those that hold; else 0. channels: which it is about; 0: all. */
void why_add(struct step *s, struct bytes user, struct bytes trigger, enum why code,
    uint8_t channels, int64_t until_ms, struct bytes detail);
struct decision {
    int64_t at_ms, until_ms;
    enum why code;
    uint8_t channels;
    struct bytes detail;
};
/* Those about a trigger, oldest first. */
void why_each(struct cells *c, struct bytes app, struct bytes user, struct bytes trigger,
    void (*fn)(void *arg, const struct decision *d), void *arg);
void why_erase(struct step *s, struct bytes user);
const char *why_code(enum why code);
void decision_words(const struct decision *d, struct buf *out);
void channels_words(uint8_t channels, struct buf *out); /* "push, email" */
/* Stored as it is, before what inbox/inbox.c keeps behind it; all of it but `whys` is that file's. */
struct inbox_head {
    uint64_t folded;     /* entries of audiences up to this position are rows */
    uint64_t rows;       /* ever appended */
    uint64_t first;      /* oldest kept */
    uint64_t whys;       /* decisions ever written */
    int64_t next_expiry; /* of those counted: the earliest; 0: none expires */
    uint32_t unseen, unread;
};
struct cell *inbox_head_cell(struct cells *c, struct bytes app, struct bytes user);

/* ---- against.c ---- */
/* What stands against it for this person, now; 0: nothing. Asked again whenever something leaves.
 * wishes: of mailbox_look. */
enum why forbidden(struct cells *c, struct bytes app, struct bytes user, bool wishes,
    const struct workflow *w, const struct content *k, int64_t now_ms);
enum total total_of(enum why why); /* of what stands against it */
/* It does not leave for this person: counted, and noted why. channels: that did not take it on, where it
 * stands in the inbox; 0: it is in none. */
void refused(
    struct step *s, struct bytes user, const struct content *k, enum why why, uint8_t channels);
int64_t expiry_of(const struct workflow *w, const struct content *k); /* 0: never */

#endif
