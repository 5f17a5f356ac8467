/* chat, conversation side, inside: heads, members and blocks as they are stored in the
 * conversation's partition. SPDX-License-Identifier: Apache-2.0 */
#ifndef KITH_CONV_IN_H
#define KITH_CONV_IN_H

#include "chat/chat_in.h"

struct conv { /* 'A' app conv; stored as it is */
    uint8_t type, history_all;
    uint16_t reserved;
    uint32_t member_count;
    uint64_t seq; /* last given */
    int64_t created_ms, disappear_ms;
    uint32_t id_tail, id_flushes; /* idindex.c */
    /* roster.c: slots ever given to those who join, to those who read */
    uint64_t slots, reads;
    uint32_t owners, reserved_too;
};
struct member {           /* 'P' app conv user; stored as it is */
    uint8_t role, blocks; /* blocks: the peer, in direct conversations */
    uint16_t reserved;
    uint32_t reserved_too;
    uint64_t slot, read_slot;
    uint64_t joined_seq, delivered, read;
    int64_t joined_ms;
};
bool conv_get(struct cells *c, struct bytes app, struct bytes conv, struct conv *out);
void conv_set(struct step *s, struct bytes conv, const struct conv *v);
bool member_get(
    struct cells *c, struct bytes app, struct bytes conv, struct bytes user, struct member *out);
void member_set(struct step *s, struct bytes conv, struct bytes user, const struct member *m);
/* ---- roster.c ---- */
/* Members, who joined first at first; fn false stops. */
void members_each(struct cells *c, struct bytes app, struct bytes conv,
    bool (*fn)(void *, struct bytes user), void *arg);
/* Newest first, those whose slot is below (0: all); fn may not edit. */
void members_newest(struct cells *c, struct bytes app, struct bytes conv, uint64_t below,
    bool (*fn)(void *, uint64_t slot, struct bytes user), void *arg);
/* The same of those who read, the newest reader first; who has only joined stands where they
 * joined. Not of direct conversations. */
void readers_newest(struct cells *c, struct bytes app, struct bytes conv, uint64_t below,
    bool (*fn)(void *, uint64_t slot, struct bytes user), void *arg);
/* These change *v; the caller stores it. The first of a conversation owns it; when its last owner
 * goes, who has been in it for longest does. */
void member_add(struct step *s, struct bytes conv, struct conv *v, struct bytes user, uint8_t role,
    struct bytes peer, struct bytes by);
void member_drop(struct step *s, struct bytes conv, struct conv *v, struct bytes user);
uint32_t members_in(struct step *s, struct bytes conv, uint16_t partition);
/* they read; the caller stores *m too */
void reader_moved(
    struct step *s, struct bytes conv, struct conv *v, struct bytes user, struct member *m);
void member_role_set(struct step *s, struct bytes conv, struct conv *v, struct bytes user,
    struct member *m, uint8_t role);
/* Sends a relay to each partition that has members; direct ones get the list of theirs appended to
 * the body. */
void conv_broadcast(
    struct step *s, struct bytes conv, const struct conv *v, uint8_t kind, struct bytes body);
void conv_meta_relay(struct step *s, struct bytes conv, const struct conv *v);
struct bytes conv_name(
    struct cells *c, struct bytes app, struct bytes conv, struct bytes *out_metadata);
const char *conv_type_name(uint8_t type);
uint8_t conv_type_of(struct bytes name);

bool message_get(
    struct cells *c, struct bytes app, struct bytes conv, uint64_t seq, struct message *out);
/* Writes the changed message back and tells the members. */
void message_replace(struct step *s, struct bytes conv, const struct conv *v,
    const struct message *m, uint8_t event);
/* By id: its seq, 0 when there is none. */
uint64_t message_seq_of(
    struct cells *c, struct bytes app, struct bytes conv, const struct conv *v, struct bytes id);
/* Takes the user's reactions from the message and tells the members. */
void reactions_forget(
    struct step *s, struct bytes conv, const struct conv *v, struct message *m, struct bytes user);
/* The newest message that the asking user, or a server key, may see; and of a user what is unread,
 * read and delivered. Members of an open object. */
void conv_mine_json(
    struct query *q, struct json_out *o, const struct conv *v, const struct member *m);
/* who reacted to a message that is gone */
void reactions_clear(struct step *s, struct bytes conv, uint64_t seq);
void message_answer(struct step *s, struct bytes conv, const struct message *m, int status);

void idindex_add(struct step *s, struct bytes conv, struct conv *v, struct bytes id, uint64_t seq);
/* Calls fn with each seq whose id may be this one, newest first; fn true: found. */
uint64_t idindex_find(
    struct cells *c, struct bytes app, struct bytes conv, const struct conv *v, struct bytes id);

/* Who acts: user empty means a server key. Answers 404 or 403 and returns false when they are not
 * in it. */
bool actor_in(
    struct step *s, struct bytes conv, const struct conv *v, struct bytes by, struct member *out);
/* The same for queries of a device token. */
bool viewer_in(struct query *q, struct bytes conv, struct member *out, struct conv *head);
void marks_raise(struct step *s, struct bytes conv, struct conv *v, struct bytes user,
    uint64_t delivered, uint64_t read);

void apply_conv_put(struct step *s);
void apply_member_put(struct step *s);
void apply_member_delete(struct step *s);
void apply_message(struct step *s);
void apply_message_edit(struct step *s);
void apply_message_delete(struct step *s);
void apply_reaction(struct step *s);
void apply_receipt(struct step *s);
void apply_mark(struct step *s);
void apply_conv_block(struct step *s);
void apply_member_erase(struct step *s);
enum err plan_message_post(struct request *r, struct plan *p, struct answer *a);
enum err plan_message_list(struct request *r, struct plan *p, struct answer *a);
enum err plan_message_get(struct request *r, struct plan *p, struct answer *a);
enum err plan_message_patch(struct request *r, struct plan *p, struct answer *a);
enum err plan_message_delete(struct request *r, struct plan *p, struct answer *a);
enum err plan_replies(struct request *r, struct plan *p, struct answer *a);
enum err plan_reaction_put(struct request *r, struct plan *p, struct answer *a);
enum err plan_reaction_delete(struct request *r, struct plan *p, struct answer *a);
enum err plan_receipt_post(struct request *r, struct plan *p, struct answer *a);
enum err plan_receipt_list(struct request *r, struct plan *p, struct answer *a);
uint16_t conv_partition(const struct request *r);

/* A page of a list that is counted through: the request's args, once read. false: answer has the
 * problem. */
struct offset_page {
    uint64_t from;
    unsigned limit;
};
bool offset_page_read(struct request *r, struct answer *a);

#endif
