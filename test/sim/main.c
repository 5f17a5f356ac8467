/* sim: seeds in, verdict out. Each seed runs twice: once with faults until its last step, once with
 * faults that stop, after which all must drain. Then each planted bug must be found, and each fault
 * branch must have been reached.
 *
 *   sim [--seeds N] [--first S] [--steps N] [--jobs N] [--no-planted] [--planted NAME]
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "log/log.h"
#include "inbox/inbox.h"
#include "notify/notify.h"
#include "sends.h"

static const char *const COUNT_NAMES[COUNT_ALL] = {"steps", "messages acknowledged", "deliveries",
    "deliveries with DUP", "messages sent again", "messages refused", "power cuts",
    "process deaths", "deaths in recovery", "table batches lost", "syncs failed", "writes failed",
    "deaths inside a call", "disk full", "appends refused", "tables full", "parcels lost",
    "parcels twice", "parcels late", "sends refused", "segments trimmed", "sectors torn",
    "sectors dropped", "names undone", "takeovers", "sessions resumed", "blocked and refused",
    "plain publishes acknowledged", "plain publishes sent again", "plain publishes live only",
    "plain at QoS 1", "plain at QoS 2", "plain released", "plain to a group", "plain retained",
    "plain filters given up", "alarms set", "alarms rung", "told while away", "told to webhooks",
    "settings changed", "triggers acknowledged", "people told of them", "triggers cancelled",
    "sends begun", "sends asked for", "sends taken", "sends tried again",
    "sends repeated after a death", "sends become dead letters", "sends given up after a day",
    "dead letters sent again", "hashes after a crash", "hashes rebuilt from the log",
    "hashes with other lanes"};
static const struct {
    const char *name;
    unsigned bug;
} PLANTED[] = {{"ack-before-sync", BUG_ACK_BEFORE_SYNC}, {"relay-dropped", BUG_RELAY_DROPPED},
    {"relay-twice", BUG_RELAY_TWICE}, {"flush-past-relay", BUG_FLUSH_PAST_RELAY},
    {"cursor-back", BUG_CURSOR_BACK}, {"seq-gap", BUG_SEQ_GAP}, {"dup-missing", BUG_DUP_MISSING},
    {"block-ignored", BUG_BLOCK_IGNORED}, {"apps-mixed", BUG_APPS_MIXED},
    {"session-lost", BUG_SESSION_LOST}, {"torn-tail-accepted", BUG_TORN_TAIL_ACCEPTED},
    {"fsync-error-ignored", BUG_FSYNC_ERROR_IGNORED}, {"released-early", BUG_RELEASED_EARLY},
    {"packet-forgotten", BUG_PACKET_FORGOTTEN}, {"shared-twice", BUG_SHARED_TWICE},
    {"retained-old", BUG_RETAINED_OLD}, {"listener-forgotten", BUG_LISTENER_FORGOTTEN},
    {"listener-early", BUG_LISTENER_EARLY}, {"due-early", BUG_DUE_EARLY},
    {"due-kept", BUG_DUE_KEPT}, {"told-twice", BUG_TOLD_TWICE},
    {"audience-twice", BUG_AUDIENCE_TWICE}, {"cancelled-shown", BUG_CANCELLED_SHOWN},
    {"count-kept", BUG_COUNT_KEPT}, {"opt-out-ignored", BUG_OPT_OUT_IGNORED},
    {"send-unleased", BUG_SEND_UNLEASED}, {"sent-kept", BUG_SENT_KEPT},
    {"send-unasked", BUG_SEND_UNASKED}, {"send-kept", BUG_SEND_KEPT},
    {"quiet-ignored", BUG_QUIET_IGNORED}, {"address-kept", BUG_ADDRESS_KEPT},
    {"letter-kept", BUG_LETTER_KEPT}, {"letter-lost", BUG_LETTER_LOST}};
enum { PLANTED_COUNT = sizeof PLANTED / sizeof *PLANTED, PLANTED_SEEDS_MAX = 120 };

/* ---- one seed ---- */
static void faults_stop(struct sim *s) {
    s->faults = s->full = false;
    s->outside->jammed_until = 0;
    disk_twin_capacity(s->disk, UINT64_MAX);
    node_down(s, true); /* switches off what is still armed */
}

static void hash_same(struct sim *s, uint64_t want, enum count count, const char *what) {
    node_settle(s, 3000, what);
    uint64_t got = node_hash(s);
    if (got != want)
        violated(s, "%s: the state hash is %016llx, it was %016llx", what, (unsigned long long)got,
            (unsigned long long)want);
    s->counts[count]++;
}

/* The same records give the same state: after a crash, with other lanes, and with empty tables. */
static void hashes_check(struct sim *s) {
    static const unsigned LANES[] = {1, 2, 7};
    uint64_t want = node_hash(s);
    s->comparing = true;
    node_down(s, true);
    hash_same(s, want, COUNT_HASH_AFTER_CRASH, "after a crash");
    node_down(s, false);
    s->lanes = LANES[below(s, 3)];
    hash_same(s, want, COUNT_HASH_OTHER_LANES, "with another number of lanes");
    if (!s->keep_all) return;
    for (int i = 0; i < 3; i++) {
        node_down(s, true);
        node_forget_tables(s);
        s->lanes = LANES[i];
        hash_same(s, want, COUNT_HASH_REBUILT, "rebuilt from the log");
    }
}

static void seed_run(
    uint64_t seed, unsigned steps, bool drain, unsigned planted, uint64_t *counts) {
    struct sim *s = must_alloc(sizeof *s);
    s->seed = seed;
    s->planted = planted;
    s->drain = drain;
    s->counts = counts;
    s->rng.s = seed * 0x9e3779b97f4a7c15u + 1;
    s->disk_rng.s = seed + 77;
    s->now_ms = 1700000000000;
    s->tools.entry_json = entry_json;
    s->tools.message_json = chat_message_json;
    s->tools.planted = planted;
    s->tools.inboxes = inbox_memo_create();
    triggers_tools(&s->tools);
    s->keep_all = chance(s, 40);
    other_begin(s);
    node_make(s, 1 + (unsigned)below(s, 3));
    node_start(s);
    while (!s->recovered) node_step(s);
    clients_begin(s);
    node_settle(s, 3000, "setting up");
    s->faults = s->ticking = true;
    unsigned fault_each = 40 + (unsigned)below(s, 400);
    unsigned until = drain ? steps - steps / 4 : steps;
    for (s->step = 0; s->step < until; s->step++) {
        if (s->dead) node_down(s, chance(s, 50));
        clients_step(s);
        node_step(s);
        if (s->step > 100 && below(s, fault_each) == 0) node_fault(s);
        if (s->up && s->recovered && !s->dead) {
            check_cursors(s);
            if (chance(s, 2))
                check_conversation(s, (unsigned)below(s, APPS), (unsigned)below(s, CONVS));
            if (chance(s, 1))
                check_mailbox(s, (unsigned)below(s, APPS), (unsigned)below(s, USERS), false);
        }
        counts[COUNT_STEPS]++;
    }
    faults_stop(s);
    s->ticking = drain; /* else what waits must be there in the hashes too */
    node_settle(s, 3000, "recovering");
    check_all(s, false);
    if (drain) {
        for (unsigned i = until; i < steps; i++, s->step++, counts[COUNT_STEPS]++) {
            clients_step(s);
            node_step(s);
        }
        clients_finish(s);
        check_all(s, true);
    }
    s->ticking = false;
    hashes_check(s);
    check_all(s, false);
    clients_free(s);
    node_free(s);
    other_free(s);
    inbox_memo_free(&s->tools.inboxes);
    free(s);
}

/* ---- many ---- */
struct options {
    uint64_t first, seeds;
    unsigned steps, jobs;
    bool planted;
    const char *only;
};

static bool child_ok(pid_t pid) {
    int status;
    check(waitpid(pid, &status, 0) == pid);
    return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

/* Which seed a worker is at, so that one that dies by a check is named too. */
struct shared {
    uint64_t counts[64][COUNT_ALL];
    uint64_t at[64];
};

static bool seeds_run(const struct options *o, uint64_t *total) {
    struct shared *shared =
        mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    check(shared != MAP_FAILED);
    pid_t pids[64];
    bool ok = true;
    for (unsigned j = 0; j < o->jobs; j++) {
        pids[j] = fork();
        check(pids[j] >= 0);
        if (pids[j]) continue;
        for (uint64_t i = o->first + j; i < o->first + o->seeds; i += o->jobs)
            for (int drain = 0; drain < 2; drain++) {
                shared->at[j] = i;
                seed_run(i, o->steps, drain, 0, shared->counts[j]);
            }
        _exit(0);
    }
    for (unsigned j = 0; j < o->jobs; j++) {
        if (!child_ok(pids[j])) {
            fprintf(stderr, "simulator: seed %llu failed\n", (unsigned long long)shared->at[j]);
            ok = false;
        }
        for (int c = 0; c < COUNT_ALL; c++) total[c] += shared->counts[j][c];
    }
    munmap(shared, sizeof *shared);
    return ok;
}

static bool planted_found(unsigned bug, const char *name, unsigned steps) {
    for (uint64_t seed = 1; seed <= PLANTED_SEEDS_MAX; seed++) {
        fflush(stdout);
        pid_t pid = fork();
        check(pid >= 0);
        if (!pid) {
            uint64_t counts[COUNT_ALL] = {0};
            if (!getenv("SIM_LOUD")) check(freopen("/dev/null", "w", stderr));
            seed_run(seed, steps, seed & 1, bug, counts);
            _exit(0);
        }
        if (!child_ok(pid)) {
            printf("planted %-20s found by seed %llu\n", name, (unsigned long long)seed);
            return true;
        }
    }
    printf("planted %-20s NOT FOUND in %d seeds\n", name, PLANTED_SEEDS_MAX);
    return false;
}

static bool options_read(int argc, char **argv, struct options *o) {
    *o = (struct options){.first = 1, .seeds = 500, .steps = 2000, .jobs = 2, .planted = true};
    for (int i = 1; i < argc; i++) {
        const char *v = i + 1 < argc ? argv[i + 1] : "";
        if (!strcmp(argv[i], "--no-planted")) {
            o->planted = false;
            continue;
        }
        if (!strcmp(argv[i], "--seeds")) o->seeds = strtoull(v, NULL, 10);
        else if (!strcmp(argv[i], "--first")) o->first = strtoull(v, NULL, 10);
        else if (!strcmp(argv[i], "--steps")) o->steps = (unsigned)strtoul(v, NULL, 10);
        else if (!strcmp(argv[i], "--jobs")) o->jobs = (unsigned)strtoul(v, NULL, 10);
        else if (!strcmp(argv[i], "--planted")) o->only = v;
        else return false;
        i++;
    }
    return o->jobs >= 1 && o->jobs <= 64 && o->steps >= 100;
}

int main(int argc, char **argv) {
    struct options o;
    uint64_t total[COUNT_ALL] = {0};
    struct tools warm;
    triggers_tools(&warm); /* once, for all who are forked */
    if (!options_read(argc, argv, &o)) {
        fprintf(stderr, "usage: sim [--seeds N] [--first S] [--steps N] [--jobs 1..64] "
                        "[--no-planted] [--planted NAME]\n");
        return 2;
    }
    bool ok = o.only || seeds_run(&o, total);
    for (int c = 0; c < COUNT_ALL && !o.only; c++) {
        bool missed = !total[c] && o.seeds >= 100;
        printf("%-28s %llu%s\n", COUNT_NAMES[c], (unsigned long long)total[c],
            missed ? "  NEVER REACHED" : "");
        ok &= !missed;
    }
    for (int i = 0; i < PLANTED_COUNT && (o.planted || o.only); i++)
        if (!o.only || !strcmp(o.only, PLANTED[i].name))
            ok &= planted_found(PLANTED[i].bug, PLANTED[i].name, o.steps);
    printf("simulator: %llu seeds of %u steps, with faults and draining: %s\n",
        (unsigned long long)o.seeds, o.steps, ok ? "ok" : "FAILED");
    return ok ? 0 : 1;
}
