/* chat: conversations and messages. Two halves that talk by relays only:
 *   conversation side (conversation's partition): order, seq, ids, membership and roles, receipts,
 *     reactions, threads;
 *   member side (a member's partition): this partition's copy of the messages, a member's marks,
 *     unread counts and list of conversations.
 * Records, relays and cells: chat_in.h and docs/format/chat.md. SPDX-License-Identifier: Apache-2.0
 * */
#ifndef KITH_CHAT_H
#define KITH_CHAT_H

#include "mailbox/mailbox.h"

/* Two surfaces to the engine, which only meet by relays. */
struct chat_halves {
    struct surface conversation, member;
};
struct chat_halves chat_halves(void);

/* Renders what an entry shows to this user now (the partition's copy is read, so a late reader sees
 * the edited text): members of a JSON object without braces: for messages the message's, for
 * receipts {conversation,user,delivered,read}. false: it must not be delivered at all (blocked:
 * skip silently). `shared`: set true when the text is the same for every member of the audience
 * (may be cached for this position). */
bool chat_entry_json(struct cells *c, struct bytes app, const struct view *v, const struct entry *e,
    struct buf *out, bool *shared);
/* A stored message as a server key's GET shows it now, an object; false: it is not there. In the
 * conversation's partition. */
bool chat_message_json(struct cells *c, struct bytes app, struct bytes conversation,
    struct bytes id, int64_t now_ms, struct buf *out);
/* Is the user in it, as this (their) partition knows? For live typing. */
bool chat_is_member(
    struct cells *c, struct bytes app, struct bytes user, struct bytes conversation);
/* Members of the conversation in this partition (also direct ones). fn false stops. */
void chat_local_members(struct cells *c, struct bytes app, struct bytes conversation,
    bool (*fn)(void *arg, struct bytes user), void *arg);
/* The user's conversations, as this partition knows, for presence. */
void chat_conversations_of(struct cells *c, struct bytes app, struct bytes user,
    bool (*fn)(void *arg, struct bytes conversation), void *arg);
/* Those that they left. */
void chat_conversations_left(struct cells *c, struct bytes app, struct bytes user,
    bool (*fn)(void *arg, struct bytes conversation), void *arg);
/* Looks at every conversation of a partition: false, and a line in *why for each thing that must hold
 * and does not. */
bool chat_check(struct cells *c, struct buf *why);
/* ---- a message's journey, for operators (trail.c) ---- */
/* What the conversation knows of it; names are copied to the arena. */
struct trail {
    bool found;
    uint64_t seq;
    struct bytes from;
    int64_t created_ms;
    bool gone; /* deleted or expired */
    const char *type;
    uint32_t members;
    struct trail_member { /* at most TRAIL_MEMBERS, who joined first at first; not the sender */
        struct bytes user;
        bool delivered, read, before; /* before: joined later, and does not see what was before */
    } * member;
    size_t member_count;
};
enum { TRAIL_MEMBERS = 200 };
/* In the conversation's partition. */
void chat_trail(struct cells *c, struct bytes app, struct bytes conversation, struct bytes item,
    int64_t now_ms, struct arena *arena, struct trail *out);
/* In which of the partition's conversations is an item of this id? Looks at *most of them at most, and
 * takes from it how many it has looked at; a slow question. Empty: in none; else in the arena. */
struct bytes chat_find_item(
    struct cells *c, struct bytes app, struct bytes item, struct arena *arena, size_t *most);
/* In the member's partition: why the message of this sender does not reach them; NULL: it does. */
const char *chat_held(struct cells *c, struct bytes app, struct bytes user,
    struct bytes conversation, struct bytes from, uint64_t seq);
/* The position of the message's entry in the user's mailbox, if it lies behind `after`, within the next
 * 1,000 entries; else 0. */
uint64_t chat_entry_position(struct cells *c, struct bytes app, struct bytes user,
    struct bytes conversation, uint64_t seq, uint64_t after);

/* Are messages of this conversation, which has members here, told to those who are away? Not those of
 * a channel. */
bool chat_tells_away(struct cells *c, struct bytes app, struct bytes conversation);
/* Members of the object that GET /v1/users/{id}/export answers: their conversations, and their
 * mailbox from ?cursor= on. false: the answer says why not. */
bool chat_export(struct query *q, struct json_out *o);
/* The body of a KIND_MARK relay (member's partition -> conversation's): a member's marks rose. */
void chat_mark_body(
    struct buf *b, struct bytes conversation, struct bytes user, uint64_t delivered, uint64_t read);

#endif
