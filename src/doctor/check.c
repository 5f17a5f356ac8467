/* doctor: checks: what is asked of machine and settings, and from when on it is worth a warning.
 * Only judges; what is so, machine.c finds out.
 * SPDX-License-Identifier: Apache-2.0 */
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "doctor/doctor_in.h"

#define MEMORY_DEFAULT (512ll << 20)
#define DESCRIPTORS_KEPT 600
#define MS 1000000ll
#define GIB (1ll << 30)

const char *check_status_name(enum check_status s) {
    static const char *const NAMES[] = {"ok", "warning", "critical"};
    return NAMES[s];
}

struct check *check_say(struct checks *c, const char *name, enum check_status status,
    const char *help, const char *fmt, ...) {
    char text[600];
    va_list list;
    struct check *k = &c->items[c->count < CHECKS_MAX ? c->count++ : CHECKS_MAX - 1];
    k->name = name;
    k->status = (uint8_t)status;
    k->help = status == CHECK_OK ? NULL : help;
    buf_reset(&k->words);
    buf_reset(&k->evidence);
    va_start(list, fmt);
    int n = vsnprintf(text, sizeof text, fmt, list);
    va_end(list);
    buf_add(&k->words, text, n < (int)sizeof text ? (size_t)n : sizeof text - 1);
    return k;
}

enum check_status checks_worst(const struct checks *c) {
    uint8_t worst = CHECK_OK;
    for (size_t i = 0; i < c->count; i++)
        if (c->items[i].status > worst) worst = c->items[i].status;
    return (enum check_status)worst;
}

void checks_json(const struct checks *c, struct buf *out) {
    struct json_out o = {out, false};
    jo_open_arr(&o);
    for (const struct check *k = c->items; k < c->items + c->count; k++) {
        jo_open_obj(&o);
        jo_key(&o, "check");
        jo_str(&o, bytes_str(k->name));
        jo_key(&o, "status");
        jo_str(&o, bytes_str(check_status_name((enum check_status)k->status)));
        jo_key(&o, "words");
        jo_str(&o, buf_view(&k->words));
        if (k->help) jo_key(&o, "do"), jo_str(&o, bytes_str(k->help));
        if (k->evidence.n) jo_key(&o, "evidence"), jo_raw(&o, buf_view(&k->evidence));
        jo_close_obj(&o);
    }
    jo_close_arr(&o);
}

void checks_done(struct checks *c) {
    for (size_t i = 0; i < c->count; i++) {
        buf_done(&c->items[i].words);
        buf_done(&c->items[i].evidence);
    }
    c->count = 0;
}

/* "1.5 GiB" in a room of the caller's. */
static const char *size_text(char room[static 24], int64_t n) {
    struct buf b = {0};
    words_bytes(&b, n);
    snprintf(room, 24, "%.*s", (int)b.n, (const char *)b.p);
    buf_done(&b);
    return room;
}
static const char *ms_text(char room[static 24], int64_t ns) {
    struct buf b = {0};
    words_ms(&b, ns);
    snprintf(room, 24, "%.*s", (int)b.n, (const char *)b.p);
    buf_done(&b);
    return room;
}

void machine_unknown(struct machine *m) {
    *m = (struct machine){.cores = -1,
        .quota_cores = -1,
        .steal_percent = -1,
        .throttled = -1,
        .periods = -1,
        .cpu_pressure = -1,
        .io_pressure = -1,
        .memory_pressure = -1,
        .memory_bytes = -1,
        .available_bytes = -1,
        .swap_bytes = -1,
        .swap_used_bytes = -1,
        .descriptors = -1,
        .disk_bytes = -1,
        .disk_free_bytes = -1,
        .log_bytes = -1,
        .log_age_s = -1,
        .sync_count = -1,
        .clock_error_us = -1,
        .clock_synchronised = -1,
        .landlock = -1,
        .somaxconn = -1,
        .syn_backlog = -1,
        .overcommit = -1,
        .thp_always = -1,
        .swappiness = -1};
}

/* ---- the disk ---- */
static void check_disk_speed(const struct machine *m, struct checks *c) {
    enum { SLOW_MS = 10, VERY_SLOW_MS = 50, WORST_MS = 100 };
    char median[24], worst[24];
    if (m->sync_count <= 0) return;
    enum check_status s = m->sync_median_ns > VERY_SLOW_MS * MS ? CHECK_CRITICAL
                          : m->sync_median_ns > SLOW_MS * MS || m->sync_worst_ns > WORST_MS * MS
                              ? CHECK_WARNING
                              : CHECK_OK;
    struct check *k = check_say(c, "disk-speed", s,
        "Every message waits for one such sync: use an SSD with power loss protection, give the "
        "log a disk of its own (--log file:DIR), and see what else writes there (iostat -x 1).",
        "a write of 4 KiB is synced in %s (median of %" PRId64 "), at worst in %s",
        ms_text(median, m->sync_median_ns), m->sync_count, ms_text(worst, m->sync_worst_ns));
    buf_fmt(&k->evidence, "{\"median_ms\":%.3f,\"worst_ms\":%.3f,\"syncs\":%" PRId64 "}",
        (double)m->sync_median_ns / 1e6, (double)m->sync_worst_ns / 1e6, m->sync_count);
}

static void check_disk_space(const struct machine *m, struct checks *c) {
    char left[24], all[24];
    if (m->disk_free_bytes < 0 || m->disk_bytes <= 0) return; /* some do not say */
    double share = 100.0 * (double)m->disk_free_bytes / (double)m->disk_bytes;
    enum check_status s = m->disk_free_bytes < GIB / 4                ? CHECK_CRITICAL
                          : m->disk_free_bytes < 2 * GIB || share < 5 ? CHECK_WARNING
                                                                      : CHECK_OK;
    struct check *k = check_say(c, "disk-space", s,
        "On a full disk nothing is stored: free space, or shorten --retention.",
        "%s of %s are free for the data (%.0f %%)", size_text(left, m->disk_free_bytes),
        size_text(all, m->disk_bytes), share);
    buf_fmt(&k->evidence, "{\"free_bytes\":%" PRId64 ",\"bytes\":%" PRId64 "}", m->disk_free_bytes,
        m->disk_bytes);
}

static void check_filesystem(const struct machine *m, struct checks *c) {
    static const struct {
        const char *name, *words, *help;
    } ODD[] = {{"tmpfs", "the data lies in memory and is gone when the machine stops",
                   "Put --data on a disk."},
        {"overlay", "the data lies in a container's own layer: slow, and gone with the container",
            "Put --data on a volume."},
        {"nfs", "the data lies on another machine: each sync goes over the network",
            "Put --data on a disk of this machine."},
        {"cifs", "the data lies on another machine: each sync goes over the network",
            "Put --data on a disk of this machine."},
        {"fuse", "the data lies on a file system in user space, whose syncs may promise too much",
            "Put --data on ext4 or XFS."},
        {"btrfs", "btrfs copies on write, which makes each small sync of the log dear",
            "Put --data on ext4 or XFS, or set chattr +C on the log's folder before it is "
            "filled."}};
    if (!m->filesystem[0]) return;
    for (size_t i = 0; i < sizeof ODD / sizeof *ODD; i++)
        if (strcmp(m->filesystem, ODD[i].name) == 0) {
            check_say(c, "file-system", CHECK_WARNING, ODD[i].help, "%s", ODD[i].words);
            return;
        }
    check_say(c, "file-system", CHECK_OK, NULL, "the data lies on %s", m->filesystem);
}

/* ---- cores ---- */
static void check_cores(const struct machine *m, struct checks *c) {
    if (m->cores < 1) return;
    bool quota = m->quota_cores > 0 && m->quota_cores<m->cores, throttled = m->throttled> 0 &&
                 m->periods > 0 && m->throttled * 100 > m->periods;
    struct check *k = check_say(c, "cores", quota || throttled ? CHECK_WARNING : CHECK_OK,
        "When a quota is used up, nothing of the server runs until the period is over (up to "
        "100 ms): set no CPU quota (cpu.max, CPUQuota=, limits.cpu), but weights or cores.",
        "%.0f cores may be used", m->cores);
    if (quota) buf_fmt(&k->words, ", but a quota allows the time of %.2f", m->quota_cores);
    if (throttled)
        buf_fmt(&k->words, "; it was used up in %" PRId64 " of %" PRId64 " periods", m->throttled,
            m->periods);
}

static void check_pressure(const struct machine *m, struct checks *c) {
    enum { CPU_MOST = 25, DISK_MOST = 25, MEMORY_MOST = 5, STEAL_MOST = 5 };
    if (m->cpu_pressure >= 0)
        check_say(c, "cpu-pressure", m->cpu_pressure > CPU_MOST ? CHECK_WARNING : CHECK_OK,
            "More wants to run than there are cores: find out what (top) and move it elsewhere.",
            "in the last minute something waited for a core %.0f %% of the time", m->cpu_pressure);
    if (m->io_pressure >= 0)
        check_say(c, "disk-pressure", m->io_pressure > DISK_MOST ? CHECK_WARNING : CHECK_OK,
            "The disk has more to do than it does at once: find out what (iostat -x 1, iotop).",
            "in the last minute something waited for a disk %.0f %% of the time", m->io_pressure);
    if (m->memory_pressure > MEMORY_MOST)
        check_say(c, "memory-pressure", CHECK_WARNING,
            "The machine is short of memory: lower --memory, or move something elsewhere.",
            "in the last minute something waited for memory %.0f %% of the time",
            m->memory_pressure);
    if (m->steal_percent > STEAL_MOST)
        check_say(c, "steal", CHECK_WARNING,
            "The host gives the cores to others: a larger or a dedicated instance helps.",
            "the host took %.0f %% of the cores' time", m->steal_percent);
}

/* ---- memory ---- */
static void check_memory(const struct machine *m, const struct settings *s, struct checks *c) {
    char want[24], all[24], used[24];
    int64_t budget = s->memory_bytes ? s->memory_bytes : MEMORY_DEFAULT;
    if (m->memory_bytes > 0) {
        double share = 100.0 * (double)budget / (double)m->memory_bytes;
        check_say(c, "memory",
            share > 90   ? CHECK_CRITICAL
            : share > 60 ? CHECK_WARNING
                         : CHECK_OK,
            "Connections, RocksDB and the file cache need memory beside it: set --memory to half "
            "of what the machine has.",
            "--memory is %s of %s (%.0f %%)", size_text(want, budget),
            size_text(all, m->memory_bytes), share);
    }
    if (m->swap_used_bytes > 0 && m->swap_used_bytes * 10 > m->memory_bytes)
        check_say(c, "swap", CHECK_WARNING,
            "What is swapped out is waited for when it is touched: free memory, set "
            "vm.swappiness=1, or swap off.",
            "%s of swap are in use", size_text(used, m->swap_used_bytes));
    else if (m->swap_bytes >= 0)
        check_say(
            c, "swap", CHECK_OK, NULL, "%s", m->swap_bytes ? "little swap is in use" : "none");
    if (m->overcommit == 2)
        check_say(c, "overcommit", CHECK_WARNING,
            "Set vm.overcommit_memory to 0: with 2 an allocation may fail while memory is free, "
            "and kith ends then.",
            "vm.overcommit_memory is 2");
    if (m->thp_always == 1)
        check_say(c, "huge-pages", CHECK_WARNING,
            "Set /sys/kernel/mm/transparent_hugepage/enabled to madvise: making huge pages stops "
            "threads for milliseconds, and memory is held that is not used.",
            "transparent huge pages are always on");
}

/* ---- kernel, clock, network ---- */
static void check_kernel(const struct machine *m, struct checks *c) {
    static const struct {
        const char *text, *words;
    } BAD[] = {{"6.1.64", "this kernel loses data on ext4 (mended in 6.1.66)"},
        {"6.1.65", "this kernel loses data on ext4 (mended in 6.1.66)"},
        {"6.3.0", "this kernel damages XFS (mended in 6.3.5)"},
        {"6.3.1", "this kernel damages XFS (mended in 6.3.5)"},
        {"6.3.2", "this kernel damages XFS (mended in 6.3.5)"},
        {"6.3.3", "this kernel damages XFS (mended in 6.3.5)"},
        {"6.3.4", "this kernel damages XFS (mended in 6.3.5)"}};
    for (size_t i = 0; i < sizeof BAD / sizeof *BAD; i++) {
        const char *at = strstr(m->kernel, BAD[i].text);
        char after = at ? at[strlen(BAD[i].text)] : '0';
        if (after >= '0' && after <= '9') continue;
        check_say(c, "kernel", CHECK_CRITICAL, "Install a newer kernel.", "%s: %s", m->kernel,
            BAD[i].words);
        return;
    }
    if (!m->kernel[0]) return;
    bool held = m->landlock >= 2;
    check_say(c, "kernel", held ? CHECK_OK : CHECK_WARNING,
        "Linux 5.19 and newer with Landlock: without it the server is held to its folders by "
        "file permissions only.",
        "%s%s", m->kernel, held ? "" : ": has no Landlock, or too old a one");
}

static void check_clock(const struct machine *m, struct checks *c) {
    if (m->clock_synchronised < 0) return;
    struct check *k = check_say(c, "clock", m->clock_synchronised ? CHECK_OK : CHECK_WARNING,
        "Run chrony or systemd-timesyncd: tokens expire and messages are dated by this clock.",
        "the clock is %ssynchronised", m->clock_synchronised ? "" : "not known to be ");
    if (m->clock_synchronised && m->clock_error_us >= 0)
        buf_fmt(&k->words, ", to within %.1f ms", (double)m->clock_error_us / 1000);
}

static void check_network(const struct machine *m, struct checks *c) {
    enum { BACKLOG = 4096, BACKLOG_LEAST = 1024 };
    if (m->somaxconn >= 0)
        check_say(c, "backlog", m->somaxconn < BACKLOG_LEAST ? CHECK_WARNING : CHECK_OK,
            "Set net.core.somaxconn=4096, or many clients that connect at once are turned away.",
            "%d connections may wait to be accepted",
            m->somaxconn < BACKLOG ? m->somaxconn : BACKLOG);
    if (m->syn_backlog >= 0 && m->syn_backlog < BACKLOG_LEAST)
        check_say(c, "syn-backlog", CHECK_WARNING, "Set net.ipv4.tcp_max_syn_backlog=4096.",
            "net.ipv4.tcp_max_syn_backlog is %d", m->syn_backlog);
}

static void check_descriptors(const struct machine *m, const struct settings *s, struct checks *c) {
    enum { FEW = 4096 };
    if (m->descriptors < 0) return;
    int64_t room = m->descriptors > 2 * DESCRIPTORS_KEPT ? m->descriptors - DESCRIPTORS_KEPT
                                                         : m->descriptors / 2;
    bool less = s->connections_max > room;
    struct check *k =
        check_say(c, "descriptors", less || m->descriptors < FEW ? CHECK_WARNING : CHECK_OK,
            "Raise the limit of open files (ulimit -n, LimitNOFILE=1048576): each connection takes "
            "one.",
            "%" PRId64 " open files are allowed: room for %" PRId64 " connections", m->descriptors,
            room);
    if (less) buf_fmt(&k->words, ", and --connections-max is %" PRId64, s->connections_max);
}

void machine_check(const struct machine *m, const struct settings *s, struct checks *out) {
    check_disk_speed(m, out);
    check_disk_space(m, out);
    check_filesystem(m, out);
    check_cores(m, out);
    check_pressure(m, out);
    check_memory(m, s, out);
    check_descriptors(m, s, out);
    check_clock(m, out);
    check_kernel(m, out);
    check_network(m, out);
}

/* ---- settings that will hurt ---- */
static void check_retention(const struct machine *m, const struct settings *s, struct checks *c) {
    enum { AGE_LEAST_S = 600 };
    char more[24], left[24];
    if (m->log_age_s < AGE_LEAST_S || m->log_bytes <= 0 || m->disk_free_bytes < 0 ||
        s->retention_ms <= 0)
        return;
    double whole = (double)m->log_bytes / (double)m->log_age_s * ((double)s->retention_ms / 1000);
    int64_t growth = (int64_t)(whole - (double)m->log_bytes);
    if (growth > m->disk_free_bytes)
        check_say(c, "retention", CHECK_WARNING,
            "Shorten --retention, or give the log a larger disk (--log file:DIR).",
            "as it is written now the log grows by %s until --retention ends it, and %s are free",
            size_text(more, growth), size_text(left, m->disk_free_bytes));
}

/* What a device may send, and what kith may hold, is so little that all goes slowly. */
static void check_tight(const struct settings *s, struct checks *c) {
    enum {
        MESSAGES_FEW = 5,
        KIB = 1024,
        BYTES_FEW = 16 * KIB,
        MESSAGE_MAX = 64 * KIB,
        MIB = 1 << 20
    };
    if (s->message_rate > 0 && s->message_rate < MESSAGES_FEW)
        check_say(c, "message-rate", CHECK_WARNING,
            "Set --message-rate to 5 and more: receipts and typing are PUBLISHes too.",
            "--message-rate is %g: a device that sends faster is not read", s->message_rate);
    if (s->byte_rate > 0 && s->byte_rate < BYTES_FEW)
        check_say(c, "byte-rate", CHECK_WARNING,
            "Set --byte-rate to 16 and more, or bound messages another way.",
            "--byte-rate is %.0f KiB: a message of 64 KiB takes %.0f s", s->byte_rate / KIB,
            MESSAGE_MAX / s->byte_rate);
    if (s->memory_bytes > 0 && s->memory_bytes < 32 * MIB)
        check_say(c, "memory-small", CHECK_WARNING, "Set --memory to 64 and more.",
            "--memory is %" PRId64 " MiB: senders wait whenever the tables write",
            s->memory_bytes / MIB);
}

void settings_check(const struct machine *m, const struct settings *s, struct checks *out) {
    enum { RATE_SMALL = 10 };
    size_t before = out->count;
    if (s->shards && m->cores >= 1 && (double)s->shards > m->cores)
        check_say(out, "shards", CHECK_WARNING,
            "Leave --shards away: shards that share a core wait for each other.",
            "--shards is %u on %.0f cores", s->shards, m->cores);
    if (s->rate > 0 && s->rate < RATE_SMALL && s->rate_burst <= 0)
        check_say(out, "rate-burst", CHECK_WARNING,
            "Set --rate-burst to 20 and more: a page that opens asks for several things at once.",
            "--rate is %.0f, and without --rate-burst no more than that may come at once", s->rate);
    if (s->proxy_protocol && s->open_plain)
        check_say(out, "proxy-protocol", CHECK_WARNING,
            "Listen where only the proxy reaches (127.0.0.1, or a firewall): whoever connects past "
            "it says what address it likes; and clients without the header are turned away.",
            "--proxy-protocol is on, at an address that others may reach");
    else if (s->open_plain)
        check_say(out, "plain", CHECK_WARNING,
            "Use --https and --mqtts, or a proxy that does TLS: tokens and messages can be read "
            "on their way.",
            "--http or --mqtt listen beyond this machine without TLS");
    check_tight(s, out);
    if (s->journeys_off)
        check_say(out, "journeys", CHECK_WARNING, "Leave --journeys on.",
            "--journeys is off: what is slow is not kept, and nobody can say why it was");
    check_retention(m, s, out);
    if (s->known && out->count == before)
        check_say(out, "settings", CHECK_OK, NULL, "nothing in the settings will hurt");
}
