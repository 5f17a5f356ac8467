/* drive: options in, results out: text lines or one JSON object; progress; what a process uses.
 * Nothing here knows MQTT.
 * SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "drive/drive.h"

/* ---- options ---- */
static void help_print(const char *usage, const struct drive_option *o) {
    printf("usage: kith %s\n", usage);
    for (; o->name; o++)
        printf("  --%s %s%*s %s\n", o->name, o->value ? o->value : "",
            (int)(24 - strlen(o->name) - (o->value ? strlen(o->value) : 0)), "", o->help);
}

static bool option_set(const struct drive_option *o, const char *value) {
    char *end = NULL;
    switch (o->kind) {
    case OPTION_TEXT: *(const char **)o->into = value; return true;
    case OPTION_COUNT: *(size_t *)o->into = strtoul(value, &end, 10); break;
    default: *(double *)o->into = strtod(value, &end); break;
    }
    if (*value && *value != '-' && !*end) return true;
    fprintf(stderr, "kith: --%s must be a number, not '%s'\n", o->name, value);
    return false;
}

static bool option_take(const struct drive_option *o, int argc, char **argv, int *i) {
    const char *word = argv[*i] + 2;
    size_t n = strcspn(word, "=");
    while (o->name && (strlen(o->name) != n || strncmp(o->name, word, n) != 0)) o++;
    if (!o->name) {
        fprintf(stderr, "kith: there is no option --%.*s here; 'kith %s --help' lists them\n",
            (int)n, word, argv[0]);
        return false;
    }
    if (o->kind == OPTION_SWITCH) {
        *(bool *)o->into = true;
        return true;
    }
    if (word[n] == '=') return option_set(o, word + n + 1);
    if (*i + 1 < argc) return option_set(o, argv[++*i]);
    fprintf(stderr, "kith: --%s needs %s\n", o->name, o->value);
    return false;
}

int options_take(
    int argc, char **argv, const char *usage, const struct drive_option *o, const char **word) {
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--help") == 0) {
            help_print(usage, o);
            return EXIT_DONE;
        }
        if (strncmp(argv[i], "--", 2) == 0) {
            if (!option_take(o, argc, argv, &i)) return EXIT_USAGE;
        } else if (word && !*word) {
            *word = argv[i];
        } else {
            fprintf(stderr, "kith: '%s' is one word too many; usage: kith %s\n", argv[i], usage);
            return EXIT_USAGE;
        }
    }
    return -1;
}

/* ---- results ---- */
static void key_begin(struct report *r, const char *key, const char *words) {
    if (r->json) buf_fmt(&r->out, "%s\"%s\":", r->out.n ? "," : "{", key);
    else buf_fmt(&r->out, "%-28s", words);
}
static void value_end(struct report *r) {
    if (!r->json) buf_char(&r->out, '\n');
}

void report_text(struct report *r, const char *key, const char *words, const char *value) {
    key_begin(r, key, words);
    if (r->json) json_str(&r->out, bytes_str(value));
    else buf_str(&r->out, value);
    value_end(r);
}

void report_count(struct report *r, const char *key, const char *words, uint64_t value) {
    key_begin(r, key, words);
    buf_u64dec(&r->out, value);
    value_end(r);
}

void report_number(struct report *r, const char *key, const char *words, double value) {
    key_begin(r, key, words);
    buf_fmt(&r->out, "%.2f", value);
    value_end(r);
}

void report_bool(struct report *r, const char *key, const char *words, bool value) {
    key_begin(r, key, words);
    buf_str(&r->out, value ? "true" : "false");
    value_end(r);
}

void report_times(struct report *r, const char *key, const char *words, const struct hist *h) {
    static const struct {
        const char *name;
        double percent;
    } P[] = {{"p50", 50}, {"p90", 90}, {"p99", 99}, {"p999", 99.9}};
    key_begin(r, key, words);
    if (r->json) buf_char(&r->out, '{');
    for (size_t i = 0; i < sizeof P / sizeof *P; i++)
        buf_fmt(&r->out, r->json ? "\"%s\":%.1f," : "%s %.1f  ", P[i].name,
            (double)hist_percentile(h, P[i].percent) / 1000);
    buf_fmt(&r->out, r->json ? "\"max\":%.1f}" : "max %.1f us", (double)h->max / 1000);
    value_end(r);
}

void report_print(struct report *r) {
    if (r->json) buf_str(&r->out, r->out.n ? "}\n" : "{}\n");
    fwrite(r->out.p, 1, r->out.n, stdout);
    fflush(stdout);
    buf_done(&r->out);
}

/* ---- progress ---- */
enum { BAR = 30, LINES = 10 };
#define BAR_EVERY_NS (100 * MILLI_NS)
#define LINE_EVERY_NS SECOND_NS

void progress_begin(struct progress *p, const char *what, uint64_t total) {
    *p = (struct progress){.what = what,
        .total = total ? total : 1,
        .begun_ns = clock_mono_ns(),
        .terminal = isatty(STDERR_FILENO) == 1};
    p->told_ns = p->begun_ns;
}

static void progress_line(struct progress *p, uint64_t done, int64_t now) {
    double seconds = (double)(now - p->begun_ns) / 1e9,
           left = done ? seconds * (double)(p->total - done) / (double)done : 0;
    if (p->terminal) {
        int full = (int)((uint64_t)BAR * done / p->total);
        fprintf(stderr, "\r%-14s [%.*s%.*s] %llu/%llu, left %.0f s \033[K", p->what, full,
            "##############################", BAR - full, "..............................",
            (unsigned long long)done, (unsigned long long)p->total, left);
    } else {
        fprintf(stderr, "%s: %llu of %llu, %.1f s\n", p->what, (unsigned long long)done,
            (unsigned long long)p->total, seconds);
    }
    p->told = done;
    p->told_ns = now;
}

void progress_show(struct progress *p, uint64_t done) {
    if (done > p->total) done = p->total;
    if (!p->terminal && done * LINES / p->total == p->told * LINES / p->total) return;
    int64_t now = clock_mono_ns();
    if (now - p->told_ns >= (p->terminal ? BAR_EVERY_NS : LINE_EVERY_NS))
        progress_line(p, done, now);
}

void progress_end(struct progress *p, uint64_t done) {
    progress_line(p, done > p->total ? p->total : done, clock_mono_ns());
    if (p->terminal) fputc('\n', stderr);
}

/* ---- processes ---- */
struct usage_of process_usage(long pid) {
    struct usage_of u = {0};
    char path[64], line[1024];
    unsigned long user = 0, sys = 0;
    long rss = 0;
    snprintf(path, sizeof path, "/proc/%ld/stat", pid);
    FILE *f = fopen(path, "re");
    if (!f) return u;
    /* a name may hold anything */
    char *name_end = fgets(line, sizeof line, f) ? strrchr(line, ')') : NULL;
    fclose(f);
    if (name_end && sscanf(name_end + 1,
                        " %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu %*d %*d %*d %*d %*d "
                        "%*d %*u %*u %ld",
                        &user, &sys, &rss) == 3) {
        u.cpu_s = (double)(user + sys) / (double)sysconf(_SC_CLK_TCK);
        u.rss_bytes = (uint64_t)rss * (uint64_t)sysconf(_SC_PAGESIZE);
    }
    return u;
}

struct usage_of processes_usage(const char *pids) {
    struct usage_of sum = {0};
    while (pids && *pids) {
        char *end;
        struct usage_of u = process_usage(strtol(pids, &end, 10));
        sum.cpu_s += u.cpu_s;
        sum.rss_bytes += u.rss_bytes;
        if (end == pids) break;
        pids = *end == ',' ? end + 1 : end;
    }
    return sum;
}

/* user nice system idle iowait irq softirq (proc(5)); what a hypervisor took is not ours to count */
double machine_cpu_s(void) {
    unsigned long v[7] = {0};
    FILE *f = fopen("/proc/stat", "re");
    if (!f) return 0;
    int n = fscanf(
        f, "cpu %lu %lu %lu %lu %lu %lu %lu", &v[0], &v[1], &v[2], &v[3], &v[4], &v[5], &v[6]);
    fclose(f);
    unsigned long busy = v[0] + v[1] + v[2] + v[5] + v[6];
    return n == 7 ? (double)busy / (double)sysconf(_SC_CLK_TCK) : 0;
}
