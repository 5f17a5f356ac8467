/* measure: the text form of counters and histograms (OpenMetrics 1.0). The sum over shards is taken
 * here, when it is asked for.
 * SPDX-License-Identifier: Apache-2.0 */
#include "measure/measure.h"

static const struct {
    const char *name, *help;
} COUNTERS[] = {
#define X(name, help) {#name, help},
    MEASURE_COUNTERS(X)
#undef X
};
static const char *const STAGES[] = {
#define X(name) #name,
    MEASURE_STAGES(X)
#undef X
};

/* The bounds in the text: powers of two of nanoseconds, where our buckets end too, so that no count
 * is a guess; from 1.024 us to 17.2 s. Twenty-five and +Inf for each stage is what a scraper stores
 * well. */
#define BOUND_FIRST 10u
#define BOUND_LAST 34u

static void seconds(struct buf *out, uint64_t ns) {
    buf_fmt(out, "%llu.%09llu", (unsigned long long)(ns / 1000000000),
        (unsigned long long)(ns % 1000000000));
}

static void bucket_line(struct buf *out, const char *stage, uint64_t top_ns, uint64_t count) {
    buf_fmt(out, "kith_stage_seconds_bucket{stage=\"%s\",le=\"", stage);
    if (top_ns == UINT64_MAX) buf_str(out, "+Inf");
    else seconds(out, top_ns);
    buf_fmt(out, "\"} %llu\n", (unsigned long long)count);
}

static void stage_text(struct buf *out, const char *stage, const struct hist *h) {
    uint64_t count = 0;
    unsigned i = 0;
    for (unsigned bound = BOUND_FIRST; bound <= BOUND_LAST; bound++) {
        for (; i <= hist_bucket(1ull << bound); i++) count += h->buckets[i];
        bucket_line(out, stage, 1ull << bound, count);
    }
    for (; i < HIST_BUCKETS; i++) count += h->buckets[i];
    bucket_line(out, stage, UINT64_MAX, count);
    buf_fmt(out,
        "kith_stage_seconds_count{stage=\"%s\"} %llu\nkith_stage_seconds_sum{stage=\"%s\"} ", stage,
        (unsigned long long)count, stage);
    seconds(out, h->sum);
    buf_char(out, '\n');
}

static void stages_text(const struct measure *const *shards, size_t n, struct buf *out) {
    bool named = false;
    for (size_t s = 0; s < TIMED_COUNT; s++) {
        struct hist sum = {0};
        for (size_t i = 0; i < n; i++) hist_merge(&sum, &shards[i]->stages[s]);
        if (!hist_count(&sum)) continue;
        if (!named)
            buf_str(out,
                "# TYPE kith_stage_seconds histogram\n# UNIT kith_stage_seconds seconds\n"
                "# HELP kith_stage_seconds Time spent in each stage of a message's way.\n");
        named = true;
        stage_text(out, STAGES[s], &sum);
    }
}

void measure_text(const struct measure *const *shards, size_t n, struct buf *out) {
    for (size_t c = 0; c < COUNTER_COUNT; c++) {
        uint64_t sum = 0;
        for (size_t i = 0; i < n; i++)
            sum += __atomic_load_n(&shards[i]->counters[c], __ATOMIC_RELAXED);
        const char *name = COUNTERS[c].name;
        buf_fmt(out, "# TYPE kith_%s counter\n# HELP kith_%s %s.\nkith_%s_total %llu\n", name, name,
            COUNTERS[c].help, name, (unsigned long long)sum);
    }
    stages_text(shards, n, out);
}

void measure_gauge(struct buf *out, const char *name, const char *help, uint64_t value) {
    buf_fmt(out, "# TYPE kith_%s gauge\n# HELP kith_%s %s.\nkith_%s %llu\n", name, name, help, name,
        (unsigned long long)value);
}
