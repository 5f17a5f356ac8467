/* doctor: why a request was slow, in words; and whether server and machine are well.
 *
 *   journeys ─▶ gather ─▶ history ─▶ diagnose ─▶ words, JSON
 *   events   ─┘          (what made each long turn     (where the time of one journey went,
 *                         and commit long)              and by which first cause)
 *
 * A slow journey is cut into its stages; each is held against the events of the threads that had to
 * run for it. Turns and commits are judged beforehand by what happened within them, so that the
 * cause named is the first: a turn that was long as the thread had no core is CPU taken by others.
 *
 * Invariants: history_make, diagnose and the words are pure functions of what they are given. What
 * is not explained is said to be unknown. Names of one app are never told to another.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef KITH_DOCTOR_H
#define KITH_DOCTOR_H

#include "base/base.h"
#include "measure/measure.h"

/* ---- causes ---- */
/* name; in few words; what to do */
#define CAUSES(X)                                                                                  \
    X(disk_sync, "the disk took long to sync the log",                                             \
        "Look at what else writes to the log's disk (iostat -x 1), at its health and, in a "       \
        "cloud, "                                                                                  \
        "at its IOPS limit; give the log a disk of its own with --log file:DIR; a disk with "      \
        "power "                                                                                   \
        "loss protection syncs in well under 1 ms.")                                               \
    X(cpu_taken, "other programs had the core",                                                    \
        "Find who takes the CPU (top, pidstat 1; in a cloud: steal, and the CPU quota of the "     \
        "container); move it elsewhere, give kith cores of its own (CPUAffinity=, cpuset) or "     \
        "raise its weight (CPUWeight=).")                                                          \
    X(stopped, "the whole process stood still",                                                    \
        "Look for who stopped it (SIGSTOP, a debugger, a frozen cgroup) or paused the machine "    \
        "(snapshot, live migration, a laptop's sleep) at that time.")                              \
    X(tables_stall, "the tables did not take what memory held",                                    \
        "The disk under the tables takes less than is written: look at iostat -x 1; give more "    \
        "room with --memory, move the log to a disk of its own, or limit senders with --rate.")    \
    X(fan_out, "one message went to very many devices",                                            \
        "A message to thousands of connected devices takes its time once for each: post seldom "   \
        "to so large a conversation, limit who may (--message-rate), or use more shards.")         \
    X(hot_conversation, "very much came into one conversation at once",                            \
        "One conversation has one order and so is served by one core: limit its senders "          \
        "(--message-rate, --rate), or split it.")                                                  \
    X(slow_reader, "a device did not take what was sent to it",                                    \
        "It is this device or its network, nobody else waits for it. --stall-timeout ends such "   \
        "a connection sooner; what waited comes when it connects again.")                          \
    X(handshake_storm, "very many TLS handshakes came at once",                                    \
        "Clients should reconnect with a random delay; lower --tls-handshakes-max and set "        \
        "--connect-rate-per-address; an ECDSA certificate costs a tenth of an RSA one.")           \
    X(lock, "a thread waited for a lock, or slept for something else",                             \
        "A lock that is named is kith's own: please report it with the output of kith doctor "     \
        "--json. Where none is, look at swap (vmstat 1) and at the tables' disk (iostat -x 1).")   \
    X(clock_jump, "the wall clock jumped",                                                         \
        "Let chrony or systemd-timesyncd slew the clock instead of stepping it, and run only "     \
        "one of them.")                                                                            \
    X(client_retries, "a client sent the same again and again",                                    \
        "Mend the client: wait for the acknowledgement, then retry with a growing, random delay; " \
        "until then --message-rate or --rate-per-device holds it back.")                           \
    X(shard_busy, "another shard did not keep up",                                                 \
        "One shard had more to do than the others: look for a conversation or an app that takes "  \
        "it all; --shards spreads partitions anew.")                                               \
    X(load, "there was more to do than the machine does",                                          \
        "No one thing is to blame: the machine is full. Use more or faster cores (--shards), "     \
        "or limit senders (--rate, --message-rate).")                                              \
    X(unknown, "what was recorded does not explain it",                                            \
        "See in which stage the time went; please report it with the output of kith doctor "       \
        "--json if it comes again.")
enum cause {
#define X(name, words, help) CAUSE_##name,
    CAUSES(X)
#undef X
        CAUSE_COUNT
};
const char *cause_name(enum cause c);
const char *cause_words(enum cause c);
const char *cause_help(enum cause c); /* what to do */

/* ---- where a journey's time went ---- */
/* A message's record, then the relay that made a member's mailbox have it. `before`: of a relay
 * whose record is not known any more, all until it was made. */
#define SPENTS(X)                                                                                  \
    X(wait, "before the shard looked")                                                             \
    X(durable, "until the log had it on disk")                                                     \
    X(apply, "until it was applied")                                                               \
    X(before, "until it was on its way to the recipient")                                          \
    X(hop, "on its way to the recipient's partition")                                              \
    X(hop_durable, "until the log had that on disk")                                               \
    X(hop_apply, "until that was applied")                                                         \
    X(write, "until it was written")
enum spent {
#define X(name, words) SPENT_##name,
    SPENTS(X)
#undef X
        SPENT_COUNT
};
const char *spent_name(enum spent s);
const char *spent_words(enum spent s);

/* ---- what happened: events of all threads, each long turn and commit judged ---- */
struct judged {
    uint8_t cause; /* enum cause */
    uint32_t why;  /* the event that made this one long; often itself */
};
struct history {
    struct event *events;  /* by start */
    int64_t *reach;        /* [i]: the latest end of the short ones among events[0..i] */
    struct judged *judged; /* turns and commits: when they are first looked at */
    size_t count;
    uint32_t *lasting; /* those of more than HISTORY_SHORT_NS */
    size_t lasting_count;
    uint32_t *seldom; /* those of kinds that are asked for by themselves, over long times */
    size_t seldom_count;
    uint32_t *touched; /* room for those that touch a stage */
    unsigned shards;
    int64_t wall_minus_mono_ms; /* for words */
    int64_t usual_sync_ns;      /* 0: not known */
};
#define HISTORY_SHORT_NS 1000000000ll
/* `events` are taken (from malloc) and put in order, soon if rings follow each other, each nearly in
 * order; the rest of *h is set by the caller. */
void history_make(struct history *h, struct event *events, size_t count);
void history_done(struct history *h);

struct diagnosis {
    enum cause cause;
    enum spent most; /* the stage that took most */
    int64_t began_ns, took_ns, explained_ns;
    int64_t spent_ns[SPENT_COUNT];
    bool has_evidence;
    struct event evidence; /* that explains most of it */
    uint32_t events;       /* of that cause, in that time */
    uint32_t waited;       /* slow journeys with this same evidence; set by who counts them */
};
/* source: of the record that made this relay; NULL: none, or not known. */
void diagnose(const struct history *h, const struct journey *j, const struct journey *source,
    struct diagnosis *out);
/* One or two plain sentences with numbers. `app`: whose names may be told; NULL: all. */
void diagnosis_words(
    const struct history *h, const struct diagnosis *d, const char *app, struct buf *out);
/* A JSON object of the event's numbers; "null" when there is none. */
void diagnosis_evidence(
    const struct history *h, const struct diagnosis *d, const char *app, struct buf *out);
/* Of this diagnosis' event: "shard 1", "the log's thread". */
void event_thread(const struct event *e, char out[static 32]);

/* ---- checks: one question each, answered in words ---- */
enum check_status { CHECK_OK, CHECK_WARNING, CHECK_CRITICAL };
const char *check_status_name(enum check_status s);
struct check {
    const char *name;           /* a literal */
    uint8_t status;             /* enum check_status */
    struct buf words, evidence; /* evidence: JSON, or empty */
    const char *help;           /* a literal: what to do; NULL when it is well */
};
enum { CHECKS_MAX = 48 };
struct checks {
    struct check items[CHECKS_MAX];
    size_t count;
};
/* The next one; further than CHECKS_MAX: the last once more. Its words follow fmt. */
struct check *check_say(struct checks *c, const char *name, enum check_status status,
    const char *help, const char *fmt, ...) printf_like(5, 6);
enum check_status checks_worst(const struct checks *c);
void checks_json(const struct checks *c, struct buf *out); /* an array */
void checks_done(struct checks *c);

/* ---- the machine, and how the server is set up ---- */
/* Numbers below zero: not known. */
struct machine {
    char kernel[160], filesystem[32];
    double cores, quota_cores, steal_percent; /* cores that may be used; of the group's quota */
    int64_t throttled, periods; /* of the group: how often its quota was used up, of how many */
    double cpu_pressure, io_pressure, memory_pressure; /* percent of the last minute */
    int64_t memory_bytes, available_bytes, swap_bytes,
        swap_used_bytes; /* memory: or the group's limit */
    int64_t descriptors, disk_bytes, disk_free_bytes, log_bytes, log_age_s;
    int64_t sync_median_ns, sync_worst_ns, sync_count; /* of this moment's trial */
    int64_t clock_error_us;                            /* the kernel's estimate */
    int clock_synchronised;                            /* 0, 1 */
    int landlock, somaxconn, syn_backlog, overcommit, thp_always, swappiness;
};
/* What a `kith serve` is given; zeros: the default. */
struct settings {
    bool known;
    unsigned shards;
    int64_t memory_bytes, connections_max, retention_ms;
    double rate, rate_burst;
    double message_rate, byte_rate; /* of one connection; bytes */
    bool journeys_off;
    bool proxy_protocol, open_plain, dev; /* open_plain: plain listeners beyond loopback */
};
void machine_unknown(struct machine *m);
/* Reads /proc and /sys; of the process (0: this one) and of the file system of the folder, or its
 * nearest parent that is there. */
void machine_look(const char *data_dir, long pid, struct machine *m);
/* Small writes, each synced, in the folder for at most a second; what it made is removed. */
void machine_try_disk(const char *data_dir, struct machine *m);
/* Pure. */
void machine_check(const struct machine *m, const struct settings *s, struct checks *out);
void settings_check(const struct machine *m, const struct settings *s, struct checks *out);

/* ---- of a running server ---- */
/* Reads what shards and threads record; remembers what it has judged. Any thread may ask, one at a
 * time. The arrays and what they point to stay the caller's, and stay. */
struct doctor;
struct doctor_sources {
    const struct journeys *const *journeys; /* [shards] */
    const struct events *const *rings;      /* of shards, log, tables, watch */
    size_t shards, ring_count;
};
struct doctor *doctor_create(const struct doctor_sources *s);
void doctor_free(struct doctor **);
/* Now and then, by one thread: how many records and requests there were in all, and how many of
 * them slow, kept or not. */
void doctor_tick(struct doctor *d, int64_t mono_ms, uint64_t done, uint64_t slow);
/* Once a second, by one thread: judges what was slow just now, while its causes are in the rings.
 * Gives the slowest of those that ended since the last time, of which all is known that will be, for
 * a line about it; false: nothing was slow. Nobody is named. */
struct doctor_told {
    const char *what, *path, *cause; /* as in /v1/slow; literals */
    char words[400], trace[33];      /* trace: journey_trace_id */
    int64_t took_ns;
    size_t count; /* slow ones in that time */
};
bool doctor_look(struct doctor *d, struct doctor_told *out);
/* What only the server knows, at this moment. */
struct doctor_facts {
    const struct settings *settings;
    const struct machine *machine; /* as it was at the start */
    int64_t usual_sync_ns, started_wall_ms;
    int64_t disk_free_bytes;
    uint64_t connections, connections_max;
    bool disk_full;
};
enum { SLOW_LIST_MAX = 200 };
/* The bodies of GET /v1/slow and GET /v1/doctor. `app`: whose names may be told; NULL: all. */
void doctor_slow_json(
    struct doctor *d, const struct doctor_facts *f, const char *app, size_t limit, struct buf *out);
void doctor_json(struct doctor *d, const struct doctor_facts *f, const char *app, struct buf *out);

/* ---- kith doctor, the command ---- */
void settings_json(const struct settings *s, struct buf *out);
struct doctor_visit {
    const char *data; /* data folder, for words */
    struct bytes
        server; /* {"pid","settings","doctor","slow"}, of a server that was asked; or empty */
    const char *server_words; /* who was asked, or why none was */
    long silent_pid;          /* of a server that is there and does not answer; 0: none */
    bool machine_is_here;     /* look at this machine, too */
    struct settings settings; /* known: they go before the server's */
    bool json;
};
/* Prints it; what is wrong at worst. MALFORMED: the server's answer is none of ours. */
enum err doctor_visit(
    const struct doctor_visit *v, struct buf *out, enum check_status *out_worst) must_use;

#endif
