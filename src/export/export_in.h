/* export, inside: from journeys to spans, and the way to the collector.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef KITH_EXPORT_IN_H
#define KITH_EXPORT_IN_H

#include "export/export.h"
#include "measure/measure.h"

/* ---- spans.c ---- */

/* The text of one request, in the making. */
struct spans {
    struct buf body;
    unsigned count;
    bool ended; /* nothing more is added */
};
struct spans_about {
    const char *version, *instance;
    int64_t wall_less_mono_ns; /* what makes a time of CLOCK_MONOTONIC one of Unix */
};
void spans_begin(struct spans *s, const struct spans_about *about);
/* devices: those of the journey that are kept; events: what took long while it was under way. */
void spans_add(struct spans *s, const struct spans_about *about, const struct journey *j,
    const struct journey_device *devices, size_t device_count, const struct event *events,
    size_t event_count);
void spans_end(struct spans *s); /* again: nothing */

/* ---- batches.c ---- */
enum { BATCHES_MOST = 32, BATCH_BYTES = 256 << 10 };
struct batches {
    struct spans ring[BATCHES_MOST];
    size_t head, count;
};
/* The one to add to; *out_dropped: spans that gave way for it. */
struct spans *batches_open(
    struct batches *b, const struct spans_about *about, uint64_t *out_dropped);
struct spans *batches_first(struct batches *b); /* the oldest, whole; NULL: none */
void batches_drop(struct batches *b);           /* the oldest */
uint64_t batches_spans(struct batches *b);

/* ---- post.c ---- */
enum { HOST_MAX = 200, WAY_MAX = 200 };
struct collector {
    char address[HOST_MAX]; /* HOST:PORT */
    char path[WAY_MAX];
};
enum err collector_parse(const char *url, struct collector *out, struct buf *why) must_use;
struct post_answer {
    int status;      /* 0: none came */
    int retry_s;     /* that it asks for; 0: it does not */
    struct buf body; /* the beginning of it */
};
/* One request on a connection of its own. OK: taken; AGAIN: worth another try; REFUSED: not. Ends
 * early when *stop becomes true. */
enum err post(const struct collector *c, const char *version, struct bytes body, int timeout_ms,
    const bool *stop, struct post_answer *out) must_use;

#endif
