/* log, inside: the lanes that both drivers share, and the file format.
 *
 * A lane's queue and its durable records are chunks: { u16 partition, u64 position, u32 length,
 * data } one after the other, moved whole from the queue to the ready list when a commit made them
 * durable, so that a record is copied once on its way in and once into the write.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef KITH_LOG_IN_H
#define KITH_LOG_IN_H

#include <pthread.h>

#include "log/log.h"

#define RECORD_MAX (2u << 20)

struct chunk {
    struct chunk *next;
    struct buf b;
    uint32_t count;
    int64_t durable_ns;
};
struct lane {
    pthread_mutex_t lock;
    struct chunk *queue;              /* being filled; NULL when empty */
    struct chunk *ready, *ready_tail; /* durable, not polled */
    struct chunk *polling, *spare;
    size_t polled;                 /* bytes of `polling` already given */
    _Atomic uint64_t queued_bytes; /* read by all lanes */
    bool appended;                 /* since the last kick */
    uint64_t replay_left;          /* records of the start still to be polled */
};
void lane_init(struct lane *l);
void lane_done(struct lane *l);
void chunk_free(struct chunk *c); /* and those behind it */
void chunk_add(struct chunk *c, uint16_t partition, uint64_t position, struct bytes data);
bool chunk_next(struct chunk *c, size_t *at, struct log_record *out);
void lane_append(struct lane *l, uint16_t partition, uint64_t position, struct bytes data);
/* Takes what is queued; its bytes go from queued_bytes to *taken (may be NULL) in one step, so that
 * no append sees room that is promised. */
struct chunk *lane_take_queue(struct lane *l, _Atomic uint64_t *taken);
void lane_make_ready(struct lane *l, struct chunk *c, int64_t durable_ns);
size_t lane_poll(struct lane *l, struct log_record *out, size_t max);

/* ---- the file (docs/format/log.md) ---- */
#define SEGMENT_MAGIC 0x31474f4c4854494bull /* "KITHLOG1" */
#define SEGMENT_HEADER 4096u
#define SEGMENT_PARTITIONS_MAX 480u
#define RECORD_HEADER 40u
struct segment_header {
    uint64_t magic;
    uint32_t version, partitions;
    uint64_t first_sequence;
    int64_t created_ms;
    uint32_t crc; /* over all of the header with this field zero */
    uint32_t run; /* of the opening that made the segment */
    /* last position of each partition before this segment */
    uint64_t before[SEGMENT_PARTITIONS_MAX];
};
/* Written once at each opening, before anything else: carries the rising run number, no partition
 * and no data. */
enum { RECORD_OPENED = 1 };
struct record_header {
    /* over the rest of the header and the data, seeded with the segment header's crc: a record is
     * good in its own segment only */
    uint32_t crc;
    uint32_t length;
    uint64_t sequence, position;
    uint64_t synced; /* all sequences up to it were durable when this was written */
    uint16_t partition, flags;
    uint32_t run; /* of the opening that wrote it */
};
_Static_assert(sizeof(struct segment_header) <= SEGMENT_HEADER, "fits its page");
_Static_assert(sizeof(struct record_header) == RECORD_HEADER, "no padding");

struct scan {
    uint32_t seed;     /* crc of the segment's header */
    uint32_t run;      /* in: of the header; out: of the last good record */
    uint64_t sequence; /* in and out: expected next */
    /* the next segment's first sequence; 0: this is the last one, whose tail may be torn */
    uint64_t until;
    bool trusting;    /* a planted bug: checksums are not looked at */
    bool stopped;     /* out: fn gave false */
    uint64_t records; /* out, added: opening records not counted */
    uint64_t end;     /* out: offset behind the last good record */
    uint64_t proven;  /* out: offset up to which later records say that all is durable */
    uint64_t used;    /* out: offset behind the last byte that is not zero; at least `end` */
};
void segment_path(char *out, size_t n, const char *dir, uint64_t first_sequence);
enum err segment_header_read(struct disk *d, int fd, struct segment_header *h);
void segment_header_seal(struct segment_header *h);
size_t record_bytes(size_t length);
void record_put(uint8_t *at, uint32_t seed, const struct record_header *h, struct bytes data);
/* Gives every good record from the header on, opening records too. CORRUPT with words when a record
 * that was durable is bad. */
enum err segment_scan(struct disk *d, int fd, struct scan *s,
    bool (*fn)(void *arg, const struct record_header *h, struct bytes data), void *arg,
    struct buf *why);
/* Up to `until` bytes of it, zeros behind them; a whole segment, synced. */
enum err segment_copy(struct disk *d, const char *from, const char *to, uint64_t until);
/* CORRUPT with words when the tables (`from`: what they lack first) and the log (last positions
 * before its first segment, and of all; NULL: not asked) leave a gap. */
enum err span_check(uint16_t partitions, const uint64_t *from, const uint64_t *before,
    const uint64_t *last, struct buf *why);
/* Segments' first sequences, ascending; *out to be freed. */
enum err segments_list(struct disk *d, const char *dir, uint64_t **out, size_t *out_n);

#endif
