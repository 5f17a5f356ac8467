/* replay: playing a trace: each message goes out by its writer's device in its conversation's order,
 * and is looked for at every member.
 *
 *   trace ─▶ conversation's list ─▶ (one under way in each) PUBLISH ─▶ PUBACK ─▶ the next
 *   PUBLISH from the server ─▶ had before? in its place? ─▶ counts
 *
 * Invariants: at most one message of a conversation is under way, so its order is the trace's
 * whatever the server does between connections. A connection that ends is made anew, and what it
 * had not acknowledged goes again under the same packet and message id.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef KITH_REPLAY_PLAY_H
#define KITH_REPLAY_PLAY_H

#include "drive/drive.h"
#include "replay/trace.h"

enum play_got { GOT_FIRST = 1, GOT_SECOND = 2, PLAY_ACCEPTED = 4, PLAY_REFUSED = 8 };
struct play_message {
    /* what its delivery is timed from: when it was due, or at full speed when it was sent */
    int64_t due_ns;
    uint32_t place; /* its seq, known when it is sent: all before it are answered */
    uint8_t flags;
};
struct play_conversation {
    uint32_t head;     /* the message under way, or the next */
    uint32_t queued;   /* messages due and not answered */
    uint32_t accepted; /* its seq so far */
    uint32_t seen[2];  /* the last seq that each member has had */
    bool under_way, listed;
    int64_t not_before_ns;
};
struct flight {
    uint32_t message;
    uint16_t packet;
};
struct player { /* a user */
    struct flight *flights;
    uint16_t count, cap;
};
struct play {
    /* set by the caller */
    const struct trace *trace;
    const char *run;
    double speed; /* 0: as fast as it goes */
    size_t inflight;
    struct fleet fleet; /* device i is the trace's person i; ready */
    /* kept */
    struct play_message *messages;
    struct play_conversation *conversations;
    struct player *players;
    uint32_t *list; /* conversations with something to send: a ring */
    size_t list_at, list_count, next, under_way, waiting;
    struct json_reader *json;
    int64_t begun_ns, last_ns, moved_ns;
    uint64_t answered, accepted, refused, expected, delivered, redelivered, repeated, reordered,
        lost, unsent, strays, sessions_lost;
    char refusal[160];
    struct hist delivery, ack, lateness;
};
/* Plays until all has arrived, or nothing moves for `patience_s`. `moved` is told the deliveries so
 * far. */
void play_run(
    struct play *p, double patience_s, void (*moved)(void *arg, uint64_t delivered), void *arg);
bool play_is_clean(const struct play *p);
void play_done(struct play *p); /* all but the fleet */

#endif
