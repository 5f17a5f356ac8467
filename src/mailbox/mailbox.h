/* mailbox: the ordered list of what reached each user, and who may reach them. A service of the
 * user's partition.
 *
 * A user's mailbox is the merge, by position, of their own entries and of the shared entries of
 * each audience they belonged to at that position: a group or channel conversation (its id), or what
 * no id can be: "#topic", "@user" (who follows that user), "*" (everyone: each user from the position
 * at which they were made). Nothing is copied for each member. Entries of one user: packed in blocks
 * of 64 to a key.
 *
 *   'm' app user            head: u64 count, last position, first block kept, newest position
 *                           trimmed, position at which the user was made, slot among the members of
 *                           "*";  'M' app user block   64 entries
 *   's' app audience        the same of an audience's shared entries;
 *                           'S' app audience block   64 shared entries
 *   'l' app audience        head of the packed list (packed.c) of its local members;  'L' app
 *                           audience chunk   up to 256 ids
 *   'g' app user            of the list of memberships of conversations;    'G' app user chunk   up to
 *                           64 {varbytes audience, u64 from, u64 to (0: still in)}
 *   't' app user, 'V' app user chunk   the same of topics and of whom they follow
 *   'r' app user audience   u32 slot among the members, u32 slot among the memberships, while in
 *   '[' app audience, '[' app audience day, ']' app user   who left one, for some weeks (left.c)
 *   'X' app                 u64 newest position of an entry for "#..", "@.." or "*"
 *   'b' app user            packed varbytes of the ids that the user blocks;   'y' app user   u32:
 *                           how many here block this user
 *   'z' app user            packed varbytes of the ids that the user mutes
 *   'x' app user            packed { varbytes other, varbytes conversation }: the user's direct
 *                           conversations, which must know of a block
 *
 * Invariants: positions rise; at most one entry a user and position; an entry is seen through an
 * audience only for from < position <= to. Calls with a step edit cells and add deliveries; calls
 * with cells only read. SPDX-License-Identifier: Apache-2.0 */
#ifndef KITH_MAILBOX_H
#define KITH_MAILBOX_H

#include "surface/surface.h"

/* Makes the user when it is not known (naming makes). true: it was made now. */
bool mailbox_ensure(struct step *s, struct bytes user);
bool mailbox_known(struct cells *c, struct bytes app, struct bytes user);
/* May the query answer of the user in its path (the first parameter)? One who is known; or who asks for
 * themselves by a token, and was not named by anyone else yet. Else the answer says that there is no
 * such user. Not for what relays fill (mailbox, conversations, inbox): whom a PUT or a trigger has just
 * named may not be known here yet, and must never be told missing. */
bool mailbox_answers(struct query *q);

/* Entries older than this go, a block at a time, when the list they are in grows; 0 keeps all. Part
 * of what apply computes: it never differs between nodes. */
extern const int64_t mailbox_retention_ms;

/* e->position and at_ms are set from the step. Adds DELIVER_ENTRY. A user who is not known (erased
 * meanwhile) gets nothing. */
void mailbox_append(struct step *s, struct bytes user, const struct entry *e);
void mailbox_append_shared(struct step *s, struct bytes audience, const struct entry *e);

/* Membership of an audience from this position on / up to this position. false: it was so already. */
bool mailbox_join(struct step *s, struct bytes user, struct bytes audience);
bool mailbox_leave(struct step *s, struct bytes user, struct bytes audience);
bool mailbox_is_in(struct cells *c, struct bytes app, struct bytes user, struct bytes audience);
/* They are in it now, and have been since before that position. */
bool mailbox_was_in(
    struct cells *c, struct bytes app, struct bytes user, struct bytes audience, uint64_t position);
/* Local members of an audience, in no promised order. fn false stops and must not edit. */
void mailbox_members(struct cells *c, struct bytes app, struct bytes audience,
    bool (*fn)(void *arg, struct bytes user), void *arg);
/* Some of them, at most max, from *slot on (at first 0), which is set to where to go on; fewer than
 * max: that was the end. Others may come and go between two calls: who is in it from the first call to
 * the last is given once. Who came meanwhile may be: mailbox_was_in knows. */
size_t mailbox_members_from(struct cells *c, struct bytes app, struct bytes audience,
    uint32_t *slot, size_t max, bool (*fn)(void *arg, struct bytes user), void *arg);
/* Who left a topic, or whom they followed, since then: on the day of since_ms too, and whether or not
 * they are in it again; for as long as entries are kept. fn false stops and must not edit. */
void mailbox_left(struct cells *c, struct bytes app, struct bytes audience, int64_t since_ms,
    bool (*fn)(void *arg, struct bytes user), void *arg);
/* in this partition */
uint64_t mailbox_member_count(struct cells *c, struct bytes app, struct bytes audience);
/* The topics and followed ("#..", "@..") that the user is in, and since which position. fn false stops
 * and must not edit. */
void mailbox_topics(struct cells *c, struct bytes app, struct bytes user,
    bool (*fn)(void *arg, struct bytes audience, uint64_t from), void *arg);

/* Every entry with position > after, oldest first, up to limit; fn false stops, and must not edit.
 * Views valid during fn. Returns how many fn was given. Cost: O(audiences + k log audiences + log
 * blocks for each audience with news). */
size_t mailbox_walk(struct cells *c, struct bytes app, struct bytes user, uint64_t after,
    size_t limit, bool (*fn)(void *arg, const struct entry *e), void *arg);
/* The same of shared entries for "#..", "@.." and "*" only, with after < position <= to. One look when
 * the app has none behind `after`; memberships of conversations are not looked at. */
size_t mailbox_walk_shared(struct cells *c, struct bytes app, struct bytes user, uint64_t after,
    uint64_t to, bool (*fn)(void *arg, const struct entry *e, struct bytes audience), void *arg);
/* Newest position in this partition of an entry for "#..", "@.." or "*", whoever sees it; 0: none. */
uint64_t mailbox_newest_shared(struct cells *c, struct bytes app);
/* How many entries the audiences "#..", "@..", "*" that the user is in were ever given, together: a number
 * that rises by one with each, as long as *out_in, which tells who came and went, is the same. */
uint64_t mailbox_shared_told(
    struct cells *c, struct bytes app, struct bytes user, uint64_t *out_in);
/* What is known of a user at one look. last: of their own list, which has one entry a position at
 * most. wishes: they block or mute someone, or another room noted that they asked for something; false
 * only when there is nothing to ask. */
struct mailbox_facts {
    bool known, wishes;
    uint64_t last;
};
struct mailbox_facts mailbox_look(struct cells *c, struct bytes app, struct bytes user);
/* Hints (cells_ahead, ahead.c): who will be looked at; where their own list goes on, when the former came
 * near; an audience that will be told something; one of its members, with what their counts are made of.
 * mailbox_members_near gives the first few members, of those who came near. */
void mailbox_ahead(struct cells *c, struct bytes app, struct bytes user);
void mailbox_own_ahead(struct cells *c, struct bytes app, struct bytes user);
void mailbox_audience_ahead(struct cells *c, struct bytes app, struct bytes audience);
void mailbox_member_ahead(struct cells *c, struct bytes app, struct bytes user);
void mailbox_members_near(struct cells *c, struct bytes app, struct bytes audience, size_t most,
    void (*fn)(void *arg, struct bytes user), void *arg);
void mailbox_note_wishes(struct step *s, struct bytes user);
/* newest position of any entry they see; 0: none */
uint64_t mailbox_last(struct cells *c, struct bytes app, struct bytes user);
/* cursors before it - 1 are past retention; 1 when nothing was trimmed */
uint64_t mailbox_first_kept(struct cells *c, struct bytes app, struct bytes user);

/* Each direct conversation of the two learns of it by a CONV_BLOCK relay, sent with this step: what
 * is appended later comes after it. */
void mailbox_set_block(struct step *s, struct bytes user, struct bytes other, bool on);
/* The user is in a direct conversation with the other, or no more. It learns at once when the user
 * blocks the other already. Idempotent. */
void mailbox_set_direct(
    struct step *s, struct bytes user, struct bytes other, struct bytes conversation, bool on);
bool mailbox_blocks(struct cells *c, struct bytes app, struct bytes user, struct bytes other);
/* by anyone in this partition */
bool mailbox_is_blocked(struct cells *c, struct bytes app, struct bytes other);
/* packed varbytes; view until the next edit */
struct bytes mailbox_block_list(struct cells *c, struct bytes app, struct bytes user);
void mailbox_set_mute(struct step *s, struct bytes user, struct bytes other, bool on);
bool mailbox_mutes(struct cells *c, struct bytes app, struct bytes user, struct bytes other);
struct bytes mailbox_mute_list(struct cells *c, struct bytes app, struct bytes user);
/* Removes the whole mailbox, memberships included. Each conversation that they are in, or were and
 * something reached them there, learns of it by a MEMBER_ERASE relay, sent with this step. */
void mailbox_erase(struct step *s, struct bytes user);

/* Looks at every list of a partition: false, and a line in *why for each thing that must hold and does
 * not (check.c). */
bool mailbox_check(struct cells *c, struct buf *why);

#endif
