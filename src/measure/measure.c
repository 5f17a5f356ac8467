/* measure: the text form of the counters (OpenMetrics 1.0). SPDX-License-Identifier: Apache-2.0 */
#include "measure/measure.h"

static const struct {
    const char *name, *help;
} NAMES[] = {
#define X(name, help) {#name, help},
    MEASURE_COUNTERS(X)
#undef X
};

void measure_text(const struct measure *const *shards, size_t n, struct buf *out) {
    for (size_t c = 0; c < COUNTER_COUNT; c++) {
        uint64_t sum = 0;
        for (size_t i = 0; i < n; i++) sum += __atomic_load_n(&shards[i]->counters[c], __ATOMIC_RELAXED);
        buf_fmt(out, "# TYPE kith_%s counter\n# HELP kith_%s %s.\nkith_%s_total %llu\n", NAMES[c].name, NAMES[c].name, NAMES[c].help, NAMES[c].name,
                (unsigned long long)sum);
    }
}

void measure_gauge(struct buf *out, const char *name, const char *help, uint64_t value) {
    buf_fmt(out, "# TYPE kith_%s gauge\n# HELP kith_%s %s.\nkith_%s %llu\n", name, name, help, name, (unsigned long long)value);
}
