/* io: TCP and local sockets, non-blocking. Keeps: every descriptor is close-on-exec.
 * SPDX-License-Identifier: Apache-2.0 */
#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "io/io.h"

enum { BACKLOG = 4096, BACKLOG_UNIX = 16, HOST_MAX = 128 };

static enum err address(const char *addr_port, struct sockaddr_storage *out, socklen_t *out_len) {
    char host[HOST_MAX];
    const char *colon = strrchr(addr_port, ':');
    if (!colon || (size_t)(colon - addr_port) >= sizeof host) return MALFORMED;
    size_t n = (size_t)(colon - addr_port);
    memcpy(host, addr_port, n);
    host[n] = 0;
    char *h = host;
    if (h[0] == '[' && n > 1 && h[n - 1] == ']') {
        h[n - 1] = 0;
        h++;
    }
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICSERV | AI_PASSIVE},
                    *list;
    if (getaddrinfo(*h ? h : NULL, colon + 1, &hints, &list)) return MALFORMED;
    memcpy(out, list->ai_addr, list->ai_addrlen);
    *out_len = list->ai_addrlen;
    freeaddrinfo(list);
    return OK;
}

static uint16_t port_of(const struct sockaddr_storage *a) {
    return ntohs(a->ss_family == AF_INET6 ? ((const struct sockaddr_in6 *)a)->sin6_port
                                          : ((const struct sockaddr_in *)a)->sin_port);
}

enum err sock_listen(const char *addr_port, int *out_fd, uint16_t *out_port, struct buf *why) {
    struct sockaddr_storage a;
    socklen_t len;
    if (address(addr_port, &a, &len) != OK) {
        buf_fmt(why, "'%s' is not ADDR:PORT", addr_port);
        return MALFORMED;
    }
    int fd = socket(a.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), on = 1;
    if (fd < 0) {
        buf_fmt(why, "cannot listen on %s: %s", addr_port, strerror(errno));
        return IO;
    }
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (bind(fd, (struct sockaddr *)&a, len) || listen(fd, BACKLOG)) {
        buf_fmt(why, "cannot listen on %s: %s", addr_port, strerror(errno));
        close(fd);
        return IO;
    }
    getsockname(fd, (struct sockaddr *)&a, &len);
    *out_port = port_of(&a);
    *out_fd = fd;
    return OK;
}

enum err sock_listen_unix(const char *path, int *out_fd, struct buf *why) {
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    if (strlen(path) >= sizeof a.sun_path) {
        buf_fmt(why, "the path %s is too long for a socket (%zu bytes at most)", path,
            sizeof a.sun_path - 1);
        return LIMIT;
    }
    strcpy(a.sun_path, path);
    unlink(path);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    mode_t old = umask(0177);
    bool ok =
        fd >= 0 && bind(fd, (struct sockaddr *)&a, sizeof a) == 0 && listen(fd, BACKLOG_UNIX) == 0;
    umask(old);
    if (!ok) {
        buf_fmt(why, "cannot listen on %s: %s", path, strerror(errno));
        if (fd >= 0) close(fd);
        return IO;
    }
    *out_fd = fd;
    return OK;
}

void address_text(struct address a, char out[static 46]) {
    struct in6_addr ip;
    memcpy(&ip, a.ip, sizeof ip);
    if (IN6_IS_ADDR_V4MAPPED(&ip)) inet_ntop(AF_INET, a.ip + 12, out, 46);
    else inet_ntop(AF_INET6, &ip, out, 46);
}

static struct address address_from(const struct sockaddr_storage *a) {
    struct address out = {{0}};
    if (a->ss_family == AF_INET) {
        out.ip[10] = out.ip[11] = 0xff;
        memcpy(out.ip + 12, &((const struct sockaddr_in *)a)->sin_addr, 4);
    } else if (a->ss_family == AF_INET6) {
        memcpy(out.ip, &((const struct sockaddr_in6 *)a)->sin6_addr, 16);
    }
    return out;
}

enum err sock_accept(int listen_fd, int *out_fd, struct address *peer) {
    struct sockaddr_storage a;
    socklen_t len = sizeof a;
    int fd = accept4(listen_fd, (struct sockaddr *)&a, &len, SOCK_NONBLOCK | SOCK_CLOEXEC), on = 1;
    /* Linux hands the new socket's own network errors to accept: only a lack of something here is
     * ours to wait out. */
    if (fd < 0)
        return errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM ? LIMIT
                                                                                         : AGAIN;
    *peer = address_from(&a);
    if (a.ss_family != AF_UNIX) setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    *out_fd = fd;
    return OK;
}

enum err sock_connect(const char *addr_port, const char *from, int *out_fd) {
    struct sockaddr_storage a, f;
    socklen_t len, from_len;
    if (address(addr_port, &a, &len) != OK) return MALFORMED;
    int fd = socket(a.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), on = 1;
    if (fd < 0) return LIMIT;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    if (from) {
        char with_port[80];
        snprintf(with_port, sizeof with_port, "%s:0", from);
        if (address(with_port, &f, &from_len) != OK || bind(fd, (struct sockaddr *)&f, from_len)) {
            close(fd);
            return MALFORMED;
        }
    }
    if (connect(fd, (struct sockaddr *)&a, len) && errno != EINPROGRESS) {
        close(fd);
        return IO;
    }
    *out_fd = fd;
    return OK;
}

enum err sock_read(int fd, void *p, size_t n, size_t *out_n) {
    ssize_t r = recv(fd, p, n, 0);
    if (r > 0) {
        *out_n = (size_t)r;
        return OK;
    }
    if (r == 0) return STALE;
    return errno == EAGAIN || errno == EINTR ? AGAIN : IO;
}

/* Not by send: that is a point of cancellation, which costs a hundredth of a small write, and no thread here is
 * ever cancelled. */
enum err sock_write(int fd, const void *p, size_t n, size_t *out_n) {
    long r = syscall(SYS_sendto, fd, p, n, MSG_NOSIGNAL, NULL, 0);
    if (r >= 0) {
        *out_n = (size_t)r;
        return OK;
    }
    return errno == EAGAIN || errno == EINTR ? AGAIN : IO;
}

bool addr_is_loopback(const char *addr_port) {
    struct sockaddr_storage a;
    socklen_t len;
    if (address(addr_port, &a, &len) != OK) return false;
    if (a.ss_family == AF_INET)
        return ntohl(((struct sockaddr_in *)&a)->sin_addr.s_addr) >> 24 == 127;
    return a.ss_family == AF_INET6 && IN6_IS_ADDR_LOOPBACK(&((struct sockaddr_in6 *)&a)->sin6_addr);
}
