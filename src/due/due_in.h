/* due, inside: its cells.
 *
 *   \x04due                         u64 number of the first bucket; absent: nothing waits
 *   \x04 level bucket >> 8*level    level 1 to 5: 32 bytes, a bit for each child that is there
 *   \x04 0 bucket                   u32 first · u32 last · items: a bucket; what did not fit follows in
 *   \x04 6 bucket u32 chunk         items: its chunks first to last - 1
 *   item                            bytes app · u8 kind · bytes body
 *
 * A bucket's number is its time in 100 ms since 1970. Numbers in keys are big-endian, u64 but for a
 * chunk's.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef KITH_DUE_IN_H
#define KITH_DUE_IN_H

#include <string.h>

#include "due/due.h"

enum { DUE_TAG = 4, LEVELS = 5, LEVEL_CHUNK = 6, CHILD_BITS = 8, NODE_BYTES = 32, KEY_ROOM = 14 };

static inline struct bytes key_of(uint8_t room[static KEY_ROOM], unsigned level, uint64_t number) {
    room[0] = DUE_TAG;
    room[1] = (uint8_t)level;
    for (int i = 0; i < 8; i++) room[2 + i] = (uint8_t)(number >> (56 - 8 * i));
    return bytes_of(room, 10);
}
static inline struct bytes chunk_key(
    uint8_t room[static KEY_ROOM], uint64_t bucket, uint32_t chunk) {
    (void)key_of(room, LEVEL_CHUNK, bucket);
    for (int i = 0; i < 4; i++) room[10 + i] = (uint8_t)(chunk >> (24 - 8 * i));
    return bytes_of(room, 14);
}

/* The node of that level above a bucket, and which of its children the bucket is under. */
static inline struct cell *node_of(struct cells *c, unsigned level, uint64_t bucket) {
    uint8_t room[KEY_ROOM];
    return cells_get(c, key_of(room, level, bucket >> (CHILD_BITS * level)));
}
static inline unsigned child_of(unsigned level, uint64_t bucket) {
    return (bucket >> (CHILD_BITS * (level - 1))) & 0xff;
}
static inline bool child_is_there(const struct cell *node, unsigned i) {
    return node->size && (node->data[i / 8] >> i % 8 & 1);
}

struct header { /* of a bucket, stored as it is */
    uint32_t first, last;
};
enum { HEADER = sizeof(struct header) };
static inline struct header header_of(struct bytes bucket) {
    struct header h;
    memcpy(&h, bucket.p, sizeof h);
    return h;
}
static inline int64_t time_of(uint64_t bucket) { return (int64_t)bucket * DUE_RESOLUTION_MS; }

struct item {
    struct bytes app, body;
    uint8_t kind;
};
static inline struct item item_read(struct unpack *u) {
    struct item i;
    i.app = unpack_bytes(u);
    i.kind = unpack_u8(u);
    i.body = unpack_bytes(u);
    return i;
}

#endif
