/* chat, member side, inside: this partition's copy of a conversation and a member's place in it.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef KITH_MEMBER_IN_H
#define KITH_MEMBER_IN_H

#include "chat/chat_in.h"

/* ---- copy.c: the copy ---- */
struct copy { /* 'c' app conv, stored as it is */
    /* first_seq: where this copy begins; holes after it are times when nobody here was in, or of
     * before, when nothing changed since */
    uint64_t last_seq, first_seq;
    /* highest joined_seq of those here who may not see what was before: below it, who sees an
     * update differs */
    uint64_t newest_join;
    int64_t last_ms;
    uint32_t member_count;
    uint8_t type, reserved[3];
};
bool copy_get(struct cells *c, struct bytes app, struct bytes conv, struct copy *out);
void copy_set(struct step *s, struct bytes conv, const struct copy *v);
struct bytes copy_name(
    struct cells *c, struct bytes app, struct bytes conv, struct bytes *out_metadata);
void copy_name_set(struct step *s, struct bytes conv, struct bytes name, struct bytes metadata);
bool copy_message(
    struct cells *c, struct bytes app, struct bytes conv, uint64_t seq, struct message *out);
/* packed: a message's bytes. */
void copy_append(struct step *s, struct bytes conv, uint64_t seq, struct bytes packed);
/* false: it is not in the copy */
bool copy_replace(struct step *s, struct bytes conv, uint64_t seq, struct bytes packed);
/* One of when nobody here was in, which it does not have. */
void copy_insert(struct step *s, struct bytes conv, uint64_t seq, struct bytes packed);
/* Every message of this sender from one seq to another becomes a stub. */
void copy_blank(struct step *s, struct bytes conv, uint64_t from, uint64_t to, struct bytes sender);
bool packed_has(struct bytes packed, struct bytes id); /* packed varbytes */

/* ---- place.c: a member's place ---- */
/* 'H' app user conv: up to reserved as it is, then varbytes peer, u64 joined_ms, [var archived_seq,
 * [var told_seq]] */
struct place {
    uint64_t joined_seq, left_seq, delivered, read;
    int64_t muted_until_ms;
    uint8_t in, role, archived, history_all, type, reserved[3];
    struct bytes peer; /* a view of the cell when read; empty but in direct conversations */
    int64_t joined_ms;
    uint64_t archived_seq; /* the newest message when it was archived */
    uint64_t told_seq;     /* the newest message that was told while they were away (away.c) */
};
bool place_get(
    struct cells *c, struct bytes app, struct bytes user, struct bytes conv, struct place *out);
void place_set(struct step *s, struct bytes user, struct bytes conv, const struct place *p);
void place_forget(struct step *s, struct bytes user, struct bytes conv);
/* Into and out of the user's list of conversations and, when direct, the conversation's list of
 * local members. */
void place_list(struct step *s, struct bytes user, struct bytes conv, uint8_t type, bool on);
/* remembered for their export and erasing */
void place_left(struct step *s, struct bytes user, struct bytes conv);
void place_lists_forget(struct step *s, struct bytes user);
/* Others' messages after `read` that are neither deleted, expired nor of a blocked sender. Reads
 * every block after `read`. */
uint64_t place_unread(struct cells *c, struct bytes app, struct bytes user, struct bytes conv,
    const struct place *p, int64_t now_ms);
/* Archived, and nothing of others that they see came since; while muted it stays so whatever comes.
 * */
bool place_archived(struct cells *c, struct bytes app, struct bytes user, struct bytes conv,
    const struct place *p, int64_t now_ms);

/* ---- away.c: what is told to those who are away ---- */
void apply_notify_away(struct step *s);
void apply_away_name(struct step *s);
void apply_away_named(struct step *s);
/* The sender's messages from one seq to another are deleted. */
void away_gone(
    struct step *s, struct bytes conv, struct bytes sender, uint64_t from, uint64_t upto);
/* The member has read up to p->read, and no further than `before` until now; or is no more in it. */
void away_read(
    struct step *s, struct bytes user, struct bytes conv, const struct place *p, uint64_t before);

enum err plan_mailbox(struct request *r, struct plan *p, struct answer *a);
enum err plan_conversations(struct request *r, struct plan *p, struct answer *a);
enum err plan_prefs(struct request *r, struct plan *p, struct answer *a);

#endif
