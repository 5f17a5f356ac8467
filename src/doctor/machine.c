/* doctor: what the machine is: limits, cores, memory, disk, clock, kernel, read from /proc and /sys
 * and tried. What cannot be read is not known, and no fault.
 * SPDX-License-Identifier: Apache-2.0 */
#include <dirent.h>
#include <fcntl.h>
#include <linux/landlock.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <sys/sysinfo.h>
#include <sys/timex.h>
#include <sys/utsname.h>
#include <sys/vfs.h>
#include <time.h>
#include <unistd.h>

#include "doctor/doctor_in.h"
#include "io/io.h"

/* ---- small files ---- */
static bool file_text(const char *path, char *out, size_t n) {
    FILE *f = fopen(path, "re");
    if (!f) return false;
    size_t got = fread(out, 1, n - 1, f);
    fclose(f);
    out[got] = 0;
    return got > 0;
}
static int64_t file_number(const char *path) {
    char text[64];
    char *end;
    if (!file_text(path, text, sizeof text)) return -1;
    long long v = strtoll(text, &end, 10);
    return end == text ? -1 : v;
}
/* The number behind a word that begins a line. */
static int64_t number_after(const char *text, const char *word) {
    size_t n = strlen(word);
    for (const char *at = text; (at = strstr(at, word)); at += n)
        if (at == text || at[-1] == '\n') return strtoll(at + n, NULL, 10);
    return -1;
}

/* ---- cores ---- */
/* The folder of the process' control group; version 1 has one for each controller. */
static bool group_path(long pid, const char *controller, char *out, size_t n) {
    char path[64], text[4096], *line, *rest = text;
    snprintf(path, sizeof path, "/proc/%ld/cgroup", pid);
    if (!file_text(path, text, sizeof text)) return false;
    while ((line = strsep(&rest, "\n"))) {
        char *name = strchr(line, ':'), *at = name ? strchr(name + 1, ':') : NULL;
        if (!at) continue;
        *at++ = 0;
        bool all = name[1] == 0;
        if (!all && !strstr(name, controller)) continue;
        snprintf(out, n, all ? "/sys/fs/cgroup%s%s" : "/sys/fs/cgroup/%s%s", all ? "" : controller,
            strcmp(at, "/") == 0 ? "" : at);
        if (!all || access(out, F_OK) == 0) return true;
    }
    return false;
}

static void look_quota(long pid, struct machine *m) {
    char folder[4200], path[4300], text[1024];
    double quota, period;
    if (!group_path(pid, "cpu", folder, sizeof folder)) return;
    snprintf(path, sizeof path, "%s/cpu.max", folder);
    if (file_text(path, text, sizeof text)) {
        if (sscanf(text, "%lf %lf", &quota, &period) == 2 && period > 0)
            m->quota_cores = quota / period;
    } else {
        snprintf(path, sizeof path, "%s/cpu.cfs_quota_us", folder);
        quota = (double)file_number(path);
        snprintf(path, sizeof path, "%s/cpu.cfs_period_us", folder);
        period = (double)file_number(path);
        if (quota > 0 && period > 0) m->quota_cores = quota / period;
    }
    snprintf(path, sizeof path, "%s/cpu.stat", folder);
    if (!file_text(path, text, sizeof text)) return;
    m->periods = number_after(text, "nr_periods ");
    m->throttled = number_after(text, "nr_throttled ");
}

static void look_cores(long pid, struct machine *m) {
    cpu_set_t set;
    if (sched_getaffinity((pid_t)pid, sizeof set, &set) == 0) m->cores = CPU_COUNT(&set);
    look_quota(pid, m);
}

static double pressure(const char *what, const char *line) {
    char path[64], text[512], *at;
    snprintf(path, sizeof path, "/proc/pressure/%s", what);
    if (!file_text(path, text, sizeof text) || !(at = strstr(text, line)) ||
        !(at = strstr(at, "avg60=")))
        return -1;
    return strtod(at + 6, NULL);
}

/* Since the machine began: what the host took of the cores. */
static double steal_percent(void) {
    char text[512];
    unsigned long long v[8] = {0}, all = 0;
    if (!file_text("/proc/stat", text, sizeof text) ||
        sscanf(text, "cpu %llu %llu %llu %llu %llu %llu %llu %llu", &v[0], &v[1], &v[2], &v[3],
            &v[4], &v[5], &v[6], &v[7]) != 8)
        return -1;
    for (int i = 0; i < 8; i++) all += v[i];
    return all ? 100.0 * (double)v[7] / (double)all : -1;
}

/* ---- memory ---- */
static void look_memory(long pid, struct machine *m) {
    char folder[4200], path[4300], text[4096];
    if (file_text("/proc/meminfo", text, sizeof text)) {
        int64_t swap_free = number_after(text, "SwapFree:");
        m->memory_bytes = number_after(text, "MemTotal:") * 1024;
        m->available_bytes = number_after(text, "MemAvailable:") * 1024;
        m->swap_bytes = number_after(text, "SwapTotal:") * 1024;
        if (swap_free >= 0 && m->swap_bytes >= 0)
            m->swap_used_bytes = m->swap_bytes - swap_free * 1024;
    } else { /* within a server that gave up its files */
        struct sysinfo i;
        if (sysinfo(&i) == 0) m->memory_bytes = (int64_t)(i.totalram * i.mem_unit);
    }
    if (!group_path(pid, "memory", folder, sizeof folder)) return;
    snprintf(path, sizeof path, "%s/memory.max", folder);
    int64_t most = file_number(path);
    snprintf(path, sizeof path, "%s/memory.limit_in_bytes", folder);
    if (most < 0) most = file_number(path);
    if (most > 0 && most < m->memory_bytes) m->memory_bytes = most;
}

/* ---- disk ---- */
/* The folder itself, or the nearest above it that is there. */
static void folder_there(const char *dir, char out[static 4096]) {
    struct stat st;
    snprintf(out, 4096, "%s", dir);
    while (stat(out, &st) != 0) {
        char *slash = strrchr(out, '/');
        if (!slash) {
            snprintf(out, 4096, ".");
            return;
        }
        slash[slash == out] = 0;
    }
}

static const char *filesystem_name(long type) {
    static const struct {
        long type;
        const char *name;
    } KNOWN[] = {{0xEF53, "ext4"}, {0x58465342, "xfs"}, {0x9123683E, "btrfs"},
        {0x01021994, "tmpfs"}, {0x6969, "nfs"}, {(long)0xFF534D42, "cifs"},
        {(long)0xFE534D42, "cifs"}, {0x794C7630, "overlay"}, {0x65735546, "fuse"},
        {0x2FC12FC1, "zfs"}, {(long)0xF2F52010, "f2fs"}};
    for (size_t i = 0; i < sizeof KNOWN / sizeof *KNOWN; i++)
        if ((uint32_t)KNOWN[i].type == (uint32_t)type) return KNOWN[i].name;
    return "a file system of another kind";
}

static void look_log(const char *dir, struct machine *m) {
    char path[4600], name[4200];
    struct dirent *entry;
    struct stat st;
    int64_t oldest = INT64_MAX;
    snprintf(name, sizeof name, "%s/log", dir);
    DIR *d = opendir(name);
    if (!d) return;
    m->log_bytes = 0;
    while ((entry = readdir(d))) {
        snprintf(path, sizeof path, "%s/%.255s", name, entry->d_name);
        if (entry->d_name[0] == '.' || strstr(entry->d_name, ".tmp") || stat(path, &st) != 0)
            continue;
        m->log_bytes += st.st_size;
        if (st.st_mtim.tv_sec < oldest) oldest = st.st_mtim.tv_sec;
    }
    closedir(d);
    if (oldest != INT64_MAX) m->log_age_s = (int64_t)time(NULL) - oldest;
}

static void look_disk(const char *dir, struct machine *m) {
    char here[4096];
    struct statvfs v;
    struct statfs f;
    folder_there(dir, here);
    if (statvfs(here, &v) == 0) {
        m->disk_bytes = (int64_t)(v.f_blocks * v.f_frsize);
        m->disk_free_bytes = (int64_t)(v.f_bavail * v.f_frsize);
    }
    if (statfs(here, &f) == 0)
        snprintf(m->filesystem, sizeof m->filesystem, "%s", filesystem_name((long)f.f_type));
    look_log(dir, m);
}

static int by_size(const void *a, const void *b) {
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return (x > y) - (x < y);
}

void machine_try_disk(const char *data_dir, struct machine *m) {
    enum { TRIES = 500, BLOCK = 4096, FILE_BYTES = 1 << 20 };
    static const int64_t LONGEST_NS = 1000000000;
    char here[4096], path[4200];
    int64_t took[TRIES], began = clock_mono_ns(), at = began;
    int n = 0;
    folder_there(data_dir, here);
    snprintf(path, sizeof path, "%s/doctor.%ld.tmp", here, (long)getpid());
    int fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0) return;
    unlink(path); /* whatever happens to us, nothing stays */
    uint8_t *block = must_alloc(FILE_BYTES);
    bool ok = pwrite(fd, block, FILE_BYTES, 0) == FILE_BYTES && fdatasync(fd) == 0;
    while (ok && n < TRIES && clock_mono_ns() - began < LONGEST_NS) {
        at = clock_mono_ns();
        block[0] = (uint8_t)n;
        ok = pwrite(fd, block, BLOCK, (off_t)(n * BLOCK % FILE_BYTES)) == BLOCK &&
             fdatasync(fd) == 0;
        took[n++] = clock_mono_ns() - at;
    }
    close(fd);
    free(block);
    if (!ok || !n) return;
    qsort(took, (size_t)n, sizeof *took, by_size);
    m->sync_count = n;
    m->sync_median_ns = took[n / 2];
    m->sync_worst_ns = took[n - 1];
}

/* ---- kernel, clock, network ---- */
static void look_kernel(struct machine *m) {
    struct utsname u;
    char text[256];
    if (uname(&u) == 0) {
        const char *debian = strstr(u.version, "Debian ");
        snprintf(m->kernel, sizeof m->kernel, "Linux %.60s%s%.60s", u.release, debian ? " " : "",
            debian ? debian : "");
    }
    m->landlock =
        (int)syscall(SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_CREATE_RULESET_VERSION);
    m->somaxconn = (int)file_number("/proc/sys/net/core/somaxconn");
    m->syn_backlog = (int)file_number("/proc/sys/net/ipv4/tcp_max_syn_backlog");
    m->overcommit = (int)file_number("/proc/sys/vm/overcommit_memory");
    m->swappiness = (int)file_number("/proc/sys/vm/swappiness");
    if (file_text("/sys/kernel/mm/transparent_hugepage/enabled", text, sizeof text))
        m->thp_always = strstr(text, "[always]") != NULL;
}

static void look_clock(struct machine *m) {
    struct timex t = {.modes = 0};
    int state = adjtimex(&t);
    if (state < 0) return;
    m->clock_synchronised = state != TIME_ERROR && !(t.status & STA_UNSYNC);
    m->clock_error_us = t.maxerror;
}

static void look_descriptors(long pid, struct machine *m) {
    char path[64], text[4096], *at;
    snprintf(path, sizeof path, "/proc/%ld/limits", pid);
    if (!file_text(path, text, sizeof text) || !(at = strstr(text, "Max open files"))) return;
    unsigned long long soft, hard;
    /* a server raises what it has to what it may have */
    if (sscanf(at, "Max open files %llu %llu", &soft, &hard) == 2)
        m->descriptors = (int64_t)(hard > soft ? hard : soft);
}

void machine_look(const char *data_dir, long pid, struct machine *m) {
    machine_unknown(m);
    if (!pid) pid = getpid();
    look_cores(pid, m);
    m->cpu_pressure = pressure("cpu", "some");
    m->io_pressure = pressure("io", "some");
    m->memory_pressure = pressure("memory", "full");
    m->steal_percent = steal_percent();
    look_memory(pid, m);
    look_descriptors(pid, m);
    look_disk(data_dir, m);
    look_clock(m);
    look_kernel(m);
}
