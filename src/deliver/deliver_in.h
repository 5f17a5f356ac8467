/* deliver, inside: what a session is made of. SPDX-License-Identifier: Apache-2.0 */
#ifndef KITH_DELIVER_IN_H
#define KITH_DELIVER_IN_H

#include "deliver/deliver.h"

#define MARK_AHEAD 65536u
#define MARKS_MAX 32

struct flight {
    uint64_t position, seq;
    uint16_t packet;
    bool acked;
    char *conversation; /* owned; NULL when it is not a message */
};
struct kept_filter {
    char *text; /* owned */
    uint8_t options;
    uint32_t subscription_id;
    uint64_t start;
};
struct pending_mark {
    char conversation[65];
    uint64_t seq;
};
struct session {
    struct session *next; /* hash chain by (app, user) */
    struct session *next_ready, *next_dirty;
    uint64_t id;
    struct bytes app, user, device; /* in `names` */
    char *names;
    uint16_t partition;
    uint8_t kind, version;
    bool kept, stored, caught_up, held, ready, dirty, open, shifted;
    bool missed;
        /* retention took what it had not been sent: to be told */ /* shifted: a packet id in the window is not its position's */
    uint32_t expiry_s, packet_max;
    uint64_t sent, acked, stored_cursor; /* positions */
    uint64_t dup_to, mark;               /* DUP up to here; may send up to here */
    struct flight *window;               /* ring of window_cap */
    uint16_t window_cap, window_max, flight_head, flight_count;
    struct kept_filter *filters;
    size_t filter_count;
    struct pending_mark *marks;
    size_t mark_count;
    void *conn;
    struct buf *out;
};
struct session_slot {
    struct session *session;
    uint32_t next_free, given;
};
struct deliver {
    struct deliver_options o;
    struct session **table; /* by hash of (app, user) */
    size_t table_size, count;
    struct session_slot *slots;
    uint32_t slot_count, free_slot; /* free list head + 1; 0: none */
    uint64_t delivered;
    struct session *ready, *dirty;
    struct buf payload, topic, body; /* scratch */
    uint64_t cached_position;        /* payload of a shared entry, made once a partition */
    uint16_t cached_partition;
    struct bytes none;
};
/* 'D' cells. false: nothing is kept, or it has expired. */
bool session_load(struct deliver *d, struct session *s);
enum { ACK_TIGHTEN = 1, ACK_LEFT = 2 }; /* what a SESSION_ACK record says besides the cursor */
uint64_t session_floor(
    const struct session *s, uint8_t type, uint8_t *out_qos, uint32_t *out_subscription);
void session_pump(struct deliver *d, struct session *s);
void session_filters_clear(struct session *s);
void session_want_mark(struct deliver *d, struct session *s);
bool session_send(struct deliver *d, struct session *s, const struct entry *e);
void session_live(struct deliver *d, struct session *s, struct bytes topic, struct bytes payload);
struct session *session_find(struct deliver *d, struct bytes app, struct bytes user);

#endif
