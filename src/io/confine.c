/* io: least privilege on Linux: user, Landlock, seccomp (io.h). The filter is a list of calls,
 * measured with strace over the scenario tests and rounded up to their kin (pread, preadv).
 *
 * A call that is not on the list fails with EPERM: a library that tries something new goes on
 * without it, and an attacker gets nothing either way. Calls that nothing of ours could ever make,
 * but that an attacker would (execve, ptrace, mount, modules), end the process.
 * SPDX-License-Identifier: Apache-2.0 */
#include "io/io.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/audit.h>
#include <linux/capability.h>
#include <linux/filter.h>
#include <linux/landlock.h>
#include <linux/seccomp.h>
#include <pwd.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#if defined __SANITIZE_ADDRESS__ || defined __SANITIZE_THREAD__
#define SANITIZED 1
#elif defined __has_feature
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define SANITIZED 1
#endif
#endif
#ifndef SANITIZED
#define SANITIZED 0 /* a sanitizer reads its own program, and looks for leaks by ptrace */
#endif

/* ---- user ---- */
static const struct passwd *user_of(const char *name, struct buf *why) {
    const struct passwd *u = getpwnam(name);
    if (!u) buf_fmt(why, "there is no user '%s'", name);
    return u;
}

/* Of all that root may do, only listening on low ports is left; confine_calls leaves no call for
 * that. */
static bool capabilities_drop(void) {
    struct __user_cap_header_struct head = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct data[2] = {
        {.effective = 1u << CAP_NET_BIND_SERVICE, .permitted = 1u << CAP_NET_BIND_SERVICE}};
    return syscall(SYS_capset, &head, data) == 0;
}

enum err confine_user(const char *name, struct buf *why) {
    const struct passwd *u = user_of(name, why);
    if (!u) return MISSING;
    if (geteuid() == u->pw_uid && getuid() == u->pw_uid && u->pw_uid) return OK;
    if (geteuid() != 0) return buf_fmt(why, "only root can become the user '%s'", name), REFUSED;
    if (!u->pw_uid) return OK; /* root shall stay root */
    if (initgroups(name, u->pw_gid) || prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0) ||
        setresgid(u->pw_gid, u->pw_gid, u->pw_gid) || setresuid(u->pw_uid, u->pw_uid, u->pw_uid) ||
        !capabilities_drop() || setuid(0) == 0) {
        buf_fmt(why, "cannot become the user '%s': %s", name, strerror(errno));
        return REFUSED;
    }
    return OK;
}

enum err confine_give(const char *path, const char *user, struct buf *why) {
    const struct passwd *u = user_of(user, why);
    if (!u) return MISSING;
    if (geteuid() != 0 || chown(path, u->pw_uid, u->pw_gid) == 0) return OK;
    buf_fmt(why, "%s cannot be given to the user '%s': %s", path, user, strerror(errno));
    return IO;
}

/* ---- files: Landlock ---- */
#define ACCESS_TRUNCATE (1ull << 14) /* of its third version; headers may be older */
#define READING (LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_READ_DIR)
#define OF_FILES                                                                                   \
    (LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_WRITE_FILE | LANDLOCK_ACCESS_FS_EXECUTE |   \
        ACCESS_TRUNCATE)
/* what the first two versions know: execute (lowest bit) .. refer */
#define ALL_2 ((LANDLOCK_ACCESS_FS_REFER << 1) - 1)

static bool path_allow(int rules, const struct confine_path *p, uint64_t known) {
    struct stat st;
    struct landlock_path_beneath_attr a = {
        .parent_fd = p->path ? open(p->path, O_PATH | O_CLOEXEC) : -1, .allowed_access = known};
    if (!p->path) return true;
    if (a.parent_fd < 0) return errno == ENOENT || errno == EACCES || errno == ELOOP;
    if (!p->write) a.allowed_access &= READING;
    else a.allowed_access &= ~(uint64_t)LANDLOCK_ACCESS_FS_EXECUTE;
    if (fstat(a.parent_fd, &st) == 0 && !S_ISDIR(st.st_mode)) a.allowed_access &= OF_FILES;
    bool ok = syscall(SYS_landlock_add_rule, rules, LANDLOCK_RULE_PATH_BENEATH, &a, 0) == 0;
    close(a.parent_fd);
    return ok;
}

/* What a report of a sanitizer is made of: its program, libraries and maps. */
static bool sanitizer_allow(int rules, uint64_t known) {
    char self[4096] = "";
    (void)!readlink("/proc/self/exe", self, sizeof self - 1);
    const struct confine_path paths[] = {
        {self, false}, {"/usr", false}, {"/lib", false}, {"/proc", false}};
    for (size_t i = 0; i < sizeof paths / sizeof *paths; i++)
        if (!path_allow(rules, &paths[i], known)) return false;
    return true;
}

enum err confine_files(const struct confine_path *paths, size_t n, struct buf *why) {
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
        return buf_fmt(why, "no_new_privs: %s", strerror(errno)), MISSING;
    long version = syscall(SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_CREATE_RULESET_VERSION);
    /* the first version forbids links between folders, which backups are made of */
    if (version < 2) return buf_str(why, "this kernel has no Landlock, or too old a one"), MISSING;
    uint64_t known = ALL_2;
    if (version >= 3) known |= ACCESS_TRUNCATE;
    struct landlock_ruleset_attr attr = {.handled_access_fs = known};
    int rules = (int)syscall(SYS_landlock_create_ruleset, &attr, sizeof attr.handled_access_fs, 0);
    bool ok = rules >= 0;
    for (size_t i = 0; i < n && ok; i++) ok = path_allow(rules, &paths[i], known);
    if (SANITIZED && ok) ok = sanitizer_allow(rules, known);
    ok = ok && syscall(SYS_landlock_restrict_self, rules, 0) == 0;
    if (!ok) buf_fmt(why, "Landlock: %s", strerror(errno));
    if (rules >= 0) close(rules);
    return ok ? OK : MISSING;
}

/* ---- calls: seccomp ---- */
#if defined __x86_64__
#define ARCH AUDIT_ARCH_X86_64
#define X32_FIRST 0x40000000u /* the same calls by other numbers */
#elif defined __aarch64__
#define ARCH AUDIT_ARCH_AARCH64
#define X32_FIRST UINT32_MAX
#endif

/* clang-format off */
static const uint16_t ALLOWED[] = {
    /* files */
    SYS_read, SYS_write, SYS_readv, SYS_writev, SYS_pread64, SYS_pwrite64, SYS_preadv, SYS_pwritev,
    SYS_lseek, SYS_openat, SYS_close, SYS_fstat, SYS_newfstatat, SYS_statx, SYS_statfs, SYS_fstatfs,
    SYS_faccessat, SYS_faccessat2, SYS_readlinkat, SYS_getcwd, SYS_mkdirat, SYS_unlinkat,
    SYS_renameat, SYS_renameat2, SYS_linkat, SYS_fchmod, SYS_fchmodat, SYS_ftruncate, SYS_fallocate,
    SYS_fadvise64, SYS_readahead, SYS_sync_file_range, SYS_fsync, SYS_fdatasync, SYS_syncfs,
    SYS_flock, SYS_fcntl, SYS_ioctl, SYS_getdents64, SYS_dup, SYS_dup3, SYS_pipe2, SYS_sendfile,
    SYS_copy_file_range, SYS_umask,
#ifdef SYS_open
    SYS_open, SYS_stat, SYS_lstat, SYS_access, SYS_readlink, SYS_mkdir, SYS_rmdir, SYS_unlink,
    SYS_rename, SYS_link, SYS_chmod, SYS_poll, SYS_epoll_wait, SYS_dup2, SYS_time, SYS_arch_prctl,
#endif
    /* sockets that are there */
    SYS_accept4, SYS_recvfrom, SYS_sendto, SYS_recvmsg, SYS_sendmsg, SYS_shutdown, SYS_setsockopt,
    SYS_getsockopt, SYS_getsockname, SYS_getpeername, SYS_listen, SYS_epoll_ctl, SYS_epoll_pwait,
    SYS_epoll_create1, SYS_eventfd2, SYS_ppoll,
    /* memory */
    SYS_brk, SYS_mmap, SYS_munmap, SYS_mremap, SYS_mprotect, SYS_madvise, SYS_mincore, SYS_msync,
    SYS_membarrier,
    /* threads, time, signals of our own */
    SYS_clone, SYS_clone3, SYS_futex, SYS_set_robust_list, SYS_get_robust_list, SYS_rseq,
    SYS_set_tid_address, SYS_sched_yield, SYS_sched_getaffinity, SYS_getcpu, SYS_exit,
    SYS_exit_group, SYS_rt_sigaction, SYS_rt_sigprocmask, SYS_rt_sigreturn, SYS_rt_sigtimedwait,
    SYS_sigaltstack, SYS_restart_syscall, SYS_tgkill, SYS_nanosleep, SYS_clock_nanosleep,
    SYS_clock_gettime, SYS_clock_getres, SYS_gettimeofday, SYS_setpriority, SYS_prctl,
    /* about ourselves */
    SYS_getpid, SYS_gettid, SYS_getuid, SYS_geteuid, SYS_getgid, SYS_getegid, SYS_getrandom,
    SYS_getrusage, SYS_prlimit64, SYS_sysinfo, SYS_uname,
#if SANITIZED
    SYS_ptrace, SYS_wait4, SYS_kill, SYS_getppid, SYS_getdents, SYS_personality,
    SYS_process_vm_readv, SYS_pipe,
#endif
};
static const uint16_t NEVER[] = {
    SYS_execve, SYS_execveat, SYS_mount, SYS_umount2, SYS_pivot_root, SYS_chroot, SYS_setns,
    SYS_unshare, SYS_init_module, SYS_finit_module, SYS_kexec_load, SYS_bpf, SYS_perf_event_open,
    SYS_process_vm_writev,
#if !SANITIZED
    SYS_ptrace,
#endif
};
/* clang-format on */
/* sendmmsg: how glibc asks for names; socketpair: how its answer wakes who sends (libcurl) */
static const uint16_t CONNECTING[] = {SYS_socket, SYS_connect, SYS_sendmmsg, SYS_socketpair};

struct program {
    struct sock_filter code[600];
    unsigned short n;
};

static void emit(struct program *p, uint16_t code, uint32_t k, uint8_t yes, uint8_t no) {
    check(p->n < sizeof p->code / sizeof *p->code);
    p->code[p->n++] = (struct sock_filter){code, yes, no, k};
}

static void emit_return(struct program *p, uint32_t action) {
    emit(p, BPF_RET | BPF_K, action, 0, 0);
}

static void emit_each(struct program *p, const uint16_t *calls, size_t n, uint32_t action) {
    for (size_t i = 0; i < n; i++) {
        emit(p, BPF_JMP | BPF_JEQ | BPF_K, calls[i], 0, 1);
        emit_return(p, action);
    }
}

enum err confine_calls(bool connects, struct buf *why) {
#ifndef ARCH
    (void)connects;
    return buf_str(why, "there is no list of system calls for this processor"), MISSING;
#else
    struct program p = {.n = 0};
    emit(&p, BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, arch), 0, 0);
    emit(&p, BPF_JMP | BPF_JEQ | BPF_K, ARCH, 1, 0);
    emit_return(&p, SECCOMP_RET_KILL_PROCESS);
    emit(&p, BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr), 0, 0);
    emit(&p, BPF_JMP | BPF_JGE | BPF_K, X32_FIRST, 0, 1);
    emit_return(&p, SECCOMP_RET_KILL_PROCESS);
    emit_each(&p, ALLOWED, sizeof ALLOWED / sizeof *ALLOWED, SECCOMP_RET_ALLOW);
    if (connects)
        emit_each(&p, CONNECTING, sizeof CONNECTING / sizeof *CONNECTING, SECCOMP_RET_ALLOW);
    emit_each(&p, NEVER, sizeof NEVER / sizeof *NEVER, SECCOMP_RET_KILL_PROCESS);
    emit_return(&p, SECCOMP_RET_ERRNO | EPERM);
    struct sock_fprog program = {.len = p.n, .filter = p.code};
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 &&
        syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_TSYNC, &program) == 0)
        return OK;
    return buf_fmt(why, "seccomp: %s", strerror(errno)), MISSING;
#endif
}

/* ---- proof ---- */
struct confine_proof confine_try(void) {
    struct confine_proof p;
    int file = open("/etc/passwd", O_RDONLY | O_CLOEXEC),
        made = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    p.file_opens = file >= 0;
    p.socket_opens = made >= 0;
    p.no_new_privileges = prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) == 1;
    if (file >= 0) close(file);
    if (made >= 0) close(made);
    return p;
}
