/* measure: the text form of counters and histograms: OpenMetrics 1.0, and Prometheus' text format
 * 0.0.4. They differ in where a counter has its `_total`, in units, and in exemplars.
 * SPDX-License-Identifier: Apache-2.0 */
#include "measure/measure.h"

#include <stdio.h>
#include <stdlib.h>
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
#define DECISION "notify_"
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

/* ---- exemplars: of each bucket the newest journey that is in it ---- */
enum { EXEMPLAR_JOURNEYS = 64 }; /* of each sort: the newest */
struct exemplar {
    int64_t took_ns, at_ns; /* at 0: none */
    char trace[33];
};
struct exemplars {
    struct exemplar of[TIMED_COUNT][BOUND_COUNT + 1];
};

static int bucket_of(int64_t ns) {
    int b = 0;
    while (b < BOUND_COUNT && ns > (int64_t)1 << BOUNDS[b]) b++;
    return b;
}

static void exemplar_take(
    struct exemplars *x, enum measure_stage s, const struct journey *j, int64_t from, int64_t to) {
    if (!from || to < from) return;
    struct exemplar *e = &x->of[s][bucket_of(to - from)];
    if (e->at_ns > j->written_ns) return;
    e->took_ns = to - from;
    e->at_ns = j->written_ns;
    journey_trace_id(j, e->trace);
}

/* The same times as the histograms have (journey.c). */
static void exemplars_of_journey(struct exemplars *x, const struct journey *j) {
    bool outside = j->source == UINT16_MAX;
    if (j->what != JOURNEY_RECORD) return;
    exemplar_take(x, outside ? TIMED_admit : TIMED_relay, j, j->came_ns, j->appended_ns);
    exemplar_take(x, TIMED_durable, j, j->appended_ns, j->durable_ns);
    exemplar_take(x, TIMED_apply, j, j->durable_ns, j->applied_ns);
    if (outside && j->began_ns) exemplar_take(x, TIMED_accepted, j, j->came_ns, j->written_ns);
    if (!j->devices || !j->began_ns) return;
    exemplar_take(x, TIMED_write, j, j->applied_ns, j->written_ns);
    exemplar_take(x, TIMED_delivered, j, j->began_ns, j->written_ns);
}

static void exemplars_of(const struct journeys *js, struct exemplars *x) {
    struct journey *room = must_alloc(EXEMPLAR_JOURNEYS * sizeof *room);
    for (int slow = 0; slow < 2; slow++) {
        size_t n = journeys_read(js, slow, 0, room, EXEMPLAR_JOURNEYS);
        for (size_t i = 0; i < n; i++) exemplars_of_journey(x, &room[i]);
    }
    free(room);
}

static void exemplar_text(struct metrics *t, const struct exemplar *e) {
    if (!e->at_ns) return;
    buf_str(t->out, " # {trace_id=\"");
    buf_str(t->out, e->trace);
    buf_str(t->out, "\"} ");
    seconds(t->out, (uint64_t)e->took_ns);
    buf_char(t->out, ' ');
    seconds(t->out, (uint64_t)(e->at_ns + t->wall_less_mono_ns));
}

/* ---- histograms ---- */
struct histogram {
    const char *labels;
    const struct exemplar *exemplars; /* of its buckets; NULL: none */
};

static void bucket_line(struct metrics *t, const struct histogram *of, int bucket, uint64_t count) {
    buf_str(t->out, t->name);
    buf_str(t->out, "_bucket{");
    buf_str(t->out, of->labels);
    buf_str(t->out, ",le=\"");
    if (bucket == BOUND_COUNT) buf_str(t->out, "+Inf");
    else seconds(t->out, 1ull << BOUNDS[bucket]);
    buf_str(t->out, "\"} ");
    buf_u64dec(t->out, count);
    if (of->exemplars) exemplar_text(t, &of->exemplars[bucket]);
    buf_char(t->out, '\n');
}

static void histogram_text(struct metrics *t, const struct histogram *of, const struct hist *h) {
    uint64_t count = 0;
    unsigned i = 0;
    for (int b = 0; b < BOUND_COUNT; b++) {
        for (; i <= hist_bucket(1ull << BOUNDS[b]); i++) count += h->buckets[i];
        bucket_line(t, of, b, count);
    }
    for (; i < HIST_BUCKETS; i++) count += h->buckets[i];
    bucket_line(t, of, BOUND_COUNT, count);
    buf_str(t->out, t->name);
    buf_str(t->out, "_count{");
    buf_str(t->out, of->labels);
    buf_str(t->out, "} ");
    buf_u64dec(t->out, count);
    buf_char(t->out, '\n');
    buf_str(t->out, t->name);
    buf_str(t->out, "_sum{");
    buf_str(t->out, of->labels);
    buf_str(t->out, "} ");
    seconds(t->out, hist_sum(h));
    buf_char(t->out, '\n');
}

static void stages_of(struct metrics *t, const struct metrics_of *of) {
    struct exemplars *x = NULL;
    if (t->open && of->journeys) exemplars_of(of->journeys, x = must_alloc(sizeof *x));
    for (size_t s = 0; s < TIMED_COUNT; s++) {
        struct hist h = {0};
        char labels[80];
        hist_merge(&h, &of->measure->stages[s]);
        snprintf(labels, sizeof labels, "stage=\"%s\",shard=\"%s\"", STAGES[s], of->name);
        struct histogram one = {labels, x ? x->of[s] : NULL};
        if (hist_count(&h)) histogram_text(t, &one, &h);
    }
    free(x);
}

void metrics_hist(struct metrics *t, const char *labels, const struct hist *of) {
    struct hist h = {0};
    struct histogram one = {labels, NULL};
    hist_merge(&h, of);
    if (hist_count(&h)) histogram_text(t, &one, &h);
}

static uint64_t sum_of(const struct metrics_of *of, size_t n, size_t counter) {
    uint64_t sum = 0;
    for (size_t i = 0; i < n; i++) sum += measure_get(of[i].measure, (enum measure_counter)counter);
    return sum;
}

/* What was decided of notifications is one family, as its counters are of the same things. */
static bool is_decision(size_t counter) {
    return counter != COUNTER_notify_triggers &&
           strncmp(measure_name((enum measure_counter)counter), DECISION, strlen(DECISION)) == 0;
}

static void decisions(struct metrics *t, const struct metrics_of *of, size_t n) {
    metrics_family(t, METRIC_COUNTER, "kith_notify_decisions",
        "What was decided of notifications, by person and outcome");
    for (size_t c = 0; c < COUNTER_COUNT; c++) {
        char label[60];
        if (!is_decision(c)) continue;
        snprintf(label, sizeof label, "outcome=\"%s\"",
            measure_name((enum measure_counter)c) + strlen(DECISION));
        metrics_value(t, label, sum_of(of, n, c));
    }
}

void metrics_measures(struct metrics *t, const struct metrics_of *of, size_t n) {
    for (size_t c = 0; c < COUNTER_COUNT; c++) {
        if (is_decision(c)) continue;
        metrics_family(t, METRIC_COUNTER, COUNTERS[c].name, COUNTERS[c].help);
        metrics_value(t, NULL, sum_of(of, n, c));
    }
    decisions(t, of, n);
    metrics_family(t, METRIC_HISTOGRAM, "kith_stage_seconds",
        "Time spent in each stage of a record's way, by shard and thread");
    for (size_t i = 0; i < n; i++) stages_of(t, &of[i]);
}

void metrics_events(struct metrics *t, const struct events *const *rings, size_t n) {
    metrics_family(t, METRIC_COUNTER, "kith_events", "What took long, or may be why others did");
    for (int k = 0; k < EVENT_KIND_COUNT; k++) {
        uint64_t sum = 0;
        char label[60];
        for (size_t i = 0; i < n; i++) sum += events_of_kind(rings[i], (enum event_kind)k);
        snprintf(label, sizeof label, "kind=\"%s\"", event_name((enum event_kind)k));
        metrics_value(t, label, sum);
    }
}

void metrics_end(struct metrics *t) { buf_str(t->out, "# EOF\n"); /* in 0.0.4 a comment */ }
