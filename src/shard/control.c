/* shard: the control socket in the data folder: one line in, one line out. "reload" after the
 * secrets changed; "doctor"
 * tells what was slow and why, as JSON; "backup" makes one in the data folder, for the asker to take; "proof" says what
 * this process may still do (io/confine.c).
 * SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#include "shard/data.h"
#include "shard/shard_in.h"

struct backup {
    struct server *server;
    int fd;
    char to[512];
};

/* Runs beside the shards: it waits for a sync and copies files. */
static void *backup_main(void *arg) {
    struct backup *b = arg;
    struct buf why = {0};
    enum err e = data_backup_live(b->server, b->to, &why);
    struct buf line = {0};
    if (e == OK) buf_fmt(&line, "ok %s\n", b->to);
    else buf_fmt(&line, "error %.*s\n", (int)why.n, why.p ? (const char *)why.p : "");
    (void)!write(b->fd, line.p, line.n);
    close(b->fd);
    buf_done(&line);
    buf_done(&why);
    atomic_fetch_sub(&b->server->backups, 1);
    free(b);
    return NULL;
}

/* false: it was not begun. */
static bool backup_spawn(struct server *v, int fd) {
    struct backup *b = must_alloc(sizeof *b);
    pthread_t thread;
    b->server = v;
    b->fd = dup(fd);
    int n = snprintf(b->to, sizeof b->to, "%s/" BACKUP_NAME, v->dir);
    /* one at a time: they have one place */
    bool first = atomic_fetch_add(&v->backups, 1) == 0;
    if (first && b->fd >= 0 && n < (int)sizeof b->to &&
        pthread_create(&thread, NULL, backup_main, b) == 0)
        return pthread_detach(thread) == 0;
    atomic_fetch_sub(&v->backups, 1);
    if (b->fd >= 0) close(b->fd);
    free(b);
    return false;
}

static void proof_say(struct buf *out) {
    struct confine_proof p = confine_try();
    buf_fmt(out, "ok files %s, calls %s, privileges %s\n", p.file_opens ? "open" : "held",
        p.socket_opens ? "open" : "held", p.no_new_privileges ? "held" : "open");
}

bool control_line(struct server *v, struct bytes line, int fd, struct buf *out) {
    struct buf why = {0};
    if (bytes_is(line, "reload")) {
        if (admit_reload(v->admit, &why) == OK) {
            buf_str(out, "ok\n");
            /* connections of a revoked key end now */
            for (unsigned i = 0; i < v->shards; i++) loop_wake(v->shard[i].loop);
        } else {
            buf_fmt(out, "error %.*s\n", (int)why.n, (const char *)why.p);
        }
    } else if (bytes_is(line, "backup")) {
        /* the thread answers on its own copy; the asker reads until both are closed */
        if (!backup_spawn(v, fd))
            buf_str(out, "error the backup cannot begin: another is under way, or the server lacks "
                         "descriptors\n");
    } else if (bytes_is(line, "doctor")) {
        health_say(v, out);
    } else if (bytes_is(line, "proof")) {
        proof_say(out);
    } else {
        buf_str(out, "error this line is not known\n");
    }
    buf_done(&why);
    return out->n || bytes_is(line, "backup");
}

enum err control_listen(struct server *v, struct buf *why) {
    char path[512];
    snprintf(path, sizeof path, "%s/control", v->dir);
    return sock_listen_unix(path, &v->control.fd, why);
}

static enum err control_call(const char *dir, int *out_fd) {
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    if (snprintf(a.sun_path, sizeof a.sun_path, "%s/control", dir) >= (int)sizeof a.sun_path)
        return MISSING;
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || connect(fd, (struct sockaddr *)&a, sizeof a)) {
        if (fd >= 0) close(fd);
        return MISSING;
    }
    *out_fd = fd;
    return OK;
}

static enum err control_talk(int fd, const char *line, struct buf *out) {
    char buffer[4096];
    ssize_t n = 0;
    bool sent = dprintf(fd, "%s\n", line) > 0;
    while (sent && (n = read(fd, buffer, sizeof buffer)) > 0) buf_add(out, buffer, (size_t)n);
    bool late = n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK);
    close(fd);
    return late ? AGAIN : out->n ? OK : IO;
}

enum err control_ask(const char *dir, const char *line, struct buf *out) {
    int fd;
    enum err e = control_call(dir, &fd);
    return e == OK ? control_talk(fd, line, out) : e;
}

enum err control_ask_soon(const char *dir, const char *line, struct buf *out, long *out_pid) {
    struct timeval most = {.tv_sec = 3};
    struct ucred who;
    socklen_t n = sizeof who;
    int fd;
    enum err e = control_call(dir, &fd);
    if (e != OK) return e;
    (void)setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &most, sizeof most);
    if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &who, &n) == 0) *out_pid = who.pid;
    return control_talk(fd, line, out);
}
