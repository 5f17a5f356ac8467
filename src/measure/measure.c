/* measure: the text form of counters and histograms: OpenMetrics 1.0, and Prometheus' text format
 * 0.0.4. They differ in where a counter has its `_total`, in units, and in exemplars.
 * SPDX-License-Identifier: Apache-2.0 */
#include "measure/measure.h"

#include <string.h>

static const struct {
    const char *name, *help;
} COUNTERS[] = {
#define X(name, help) {"kith_" #name, help},
    MEASURE_COUNTERS(X)
#undef X
};
static const char *const STAGES[] = {
#define X(name) #name,
    MEASURE_STAGES(X)
#undef X
};

/* The bounds in the text: powers of two of nanoseconds, where our buckets end too, so that no count
 * is a guess: 16 us, 66 us, each doubling up to 268 ms, then 1.07, 4.3 and 17.2 s. With +Inf, count
 * and sum that is METRICS_SERIES for a stage of a shard. */
static const uint8_t BOUNDS[] = {
    14, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 30, 32, 34};
enum { BOUND_COUNT = sizeof BOUNDS };
_Static_assert(BOUND_COUNT + 3 == METRICS_SERIES, "the face says how many");

const char *measure_name(enum measure_counter c) { return COUNTERS[c].name + strlen("kith_"); }
const char *measure_help(enum measure_counter c) { return COUNTERS[c].help; }

static bool ends(const char *name, const char *with) {
    size_t n = strlen(name), m = strlen(with);
    return n > m && strcmp(name + n - m, with) == 0;
}

static void meta(struct metrics *t, const char *what, const char *text) {
    bool total = t->type == METRIC_COUNTER && !t->open, info = t->type == METRIC_INFO && !t->open;
    buf_fmt(t->out, "# %s %s%s %s", what, t->name, total ? "_total" : info ? "_info" : "", text);
}

void metrics_family(struct metrics *t, enum metric_type type, const char *name, const char *help) {
    static const char *const TYPES[] = {"gauge", "counter", "info", "histogram"};
    static const char *const UNITS[] = {"seconds", "bytes"};
    t->name = name;
    t->type = type;
    meta(t, "HELP", help);
    buf_str(t->out, ".\n");
    meta(t, "TYPE", type == METRIC_INFO && !t->open ? "gauge" : TYPES[type]);
    buf_char(t->out, '\n');
    for (int i = 0; i < 2 && t->open; i++)
        if (ends(name, UNITS[i])) {
            meta(t, "UNIT", UNITS[i]);
            buf_char(t->out, '\n');
        }
}

static void sample_begin(struct metrics *t, const char *suffix, const char *labels) {
    buf_str(t->out, t->name);
    buf_str(t->out, suffix);
    if (labels) {
        buf_char(t->out, '{');
        buf_str(t->out, labels);
        buf_char(t->out, '}');
    }
    buf_char(t->out, ' ');
}

static const char *suffix_of(const struct metrics *t) {
    return t->type == METRIC_COUNTER ? "_total" : t->type == METRIC_INFO ? "_info" : "";
}

static void seconds(struct buf *out, uint64_t ns) {
    char digits[12];
    uint64_t rest = ns % 1000000000;
    buf_u64dec(out, ns / 1000000000);
    digits[0] = '.';
    for (int i = 9; i > 0; i--, rest /= 10) digits[i] = (char)('0' + rest % 10);
    buf_add(out, digits, 10);
}

void metrics_value(struct metrics *t, const char *labels, uint64_t value) {
    sample_begin(t, suffix_of(t), labels);
    buf_u64dec(t->out, value);
    buf_char(t->out, '\n');
}

void metrics_ns(struct metrics *t, const char *labels, uint64_t ns) {
    sample_begin(t, suffix_of(t), labels);
    seconds(t->out, ns);
    buf_char(t->out, '\n');
}

void metrics_gauge(struct metrics *t, const char *name, const char *help, uint64_t value) {
    metrics_family(t, METRIC_GAUGE, name, help);
    metrics_value(t, NULL, value);
}

static void labels_of(struct buf *b, const char *stage, size_t shard) {
    buf_str(b, "{stage=\"");
    buf_str(b, stage);
    buf_str(b, "\",shard=\"");
    buf_u64dec(b, shard);
    buf_char(b, '"');
}

static void bucket_line(
    struct metrics *t, const char *stage, size_t shard, uint64_t top_ns, uint64_t count) {
    buf_str(t->out, t->name);
    buf_str(t->out, "_bucket");
    labels_of(t->out, stage, shard);
    buf_str(t->out, ",le=\"");
    if (top_ns == UINT64_MAX) buf_str(t->out, "+Inf");
    else seconds(t->out, top_ns);
    buf_str(t->out, "\"} ");
    buf_u64dec(t->out, count);
    buf_char(t->out, '\n');
}

static void stage_text(struct metrics *t, const char *stage, size_t shard, const struct hist *h) {
    uint64_t count = 0;
    unsigned i = 0;
    for (int b = 0; b < BOUND_COUNT; b++) {
        uint64_t top = 1ull << BOUNDS[b];
        for (; i <= hist_bucket(top); i++) count += h->buckets[i];
        bucket_line(t, stage, shard, top, count);
    }
    for (; i < HIST_BUCKETS; i++) count += h->buckets[i];
    bucket_line(t, stage, shard, UINT64_MAX, count);
    buf_str(t->out, t->name);
    buf_str(t->out, "_count");
    labels_of(t->out, stage, shard);
    buf_str(t->out, "} ");
    buf_u64dec(t->out, count);
    buf_char(t->out, '\n');
    buf_str(t->out, t->name);
    buf_str(t->out, "_sum");
    labels_of(t->out, stage, shard);
    buf_str(t->out, "} ");
    seconds(t->out, h->sum);
    buf_char(t->out, '\n');
}

void metrics_measures(struct metrics *t, const struct measure *const *shards, size_t n) {
    for (size_t c = 0; c < COUNTER_COUNT; c++) {
        uint64_t sum = 0;
        for (size_t i = 0; i < n; i++) sum += measure_get(shards[i], (enum measure_counter)c);
        metrics_family(t, METRIC_COUNTER, COUNTERS[c].name, COUNTERS[c].help);
        metrics_value(t, NULL, sum);
    }
    metrics_family(t, METRIC_HISTOGRAM, "kith_stage_seconds",
        "Time spent in each stage of a message's way, on each shard");
    for (size_t s = 0; s < TIMED_COUNT; s++)
        for (size_t i = 0; i < n; i++) {
            struct hist h = {0};
            hist_merge(&h, &shards[i]->stages[s]);
            if (hist_count(&h)) stage_text(t, STAGES[s], i, &h);
        }
}

void metrics_end(struct metrics *t) { buf_str(t->out, "# EOF\n"); /* in 0.0.4 a comment */ }
