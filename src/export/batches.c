/* export: what waits to be sent: a bounded row of requests in the making. The newest takes more until
 * it is large or was tried; when there are too many the oldest goes.
 * SPDX-License-Identifier: Apache-2.0 */
#include "export/export_in.h"

static struct spans *at(struct batches *b, size_t i) {
    return &b->ring[(b->head + i) % BATCHES_MOST];
}

struct spans *batches_open(
    struct batches *b, const struct spans_about *about, uint64_t *out_dropped) {
    *out_dropped = 0;
    if (b->count) {
        struct spans *newest = at(b, b->count - 1);
        if (!newest->ended && newest->body.n < BATCH_BYTES) return newest;
        spans_end(newest);
    }
    if (b->count == BATCHES_MOST) {
        *out_dropped = at(b, 0)->count;
        batches_drop(b);
    }
    struct spans *s = at(b, b->count++);
    spans_begin(s, about);
    return s;
}

struct spans *batches_first(struct batches *b) {
    if (!b->count) return NULL;
    spans_end(at(b, 0));
    return at(b, 0);
}

void batches_drop(struct batches *b) {
    struct spans *s = at(b, 0);
    buf_done(&s->body);
    *s = (struct spans){0};
    b->head = (b->head + 1) % BATCHES_MOST;
    b->count--;
}

uint64_t batches_spans(struct batches *b) {
    uint64_t n = 0;
    for (size_t i = 0; i < b->count; i++) n += at(b, i)->count;
    return n;
}
