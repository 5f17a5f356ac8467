/* io: the event loop of one thread (epoll) with a wake that other threads may give.
 * Keeps: a wake is one write at most until the loop has seen it, and none while the loop is awake;
 * no wake is lost. SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "io/io.h"

#define EVENTS_MAX 512

struct loop {
    int fd, wake_fd;
    _Atomic bool sleeping; /* only then does a wake cost a system call */
    _Atomic bool woken;
    struct epoll_event events[EVENTS_MAX];
};

static uint32_t to_epoll(uint32_t what) {
    return ((what & LOOP_READ) ? EPOLLIN | EPOLLRDHUP : 0u) | ((what & LOOP_WRITE) ? EPOLLOUT : 0u);
}
static uint32_t from_epoll(uint32_t events) {
    return ((events & EPOLLIN) ? LOOP_READ : 0u) | ((events & EPOLLOUT) ? LOOP_WRITE : 0u) |
           ((events & (EPOLLHUP | EPOLLERR | EPOLLRDHUP)) ? LOOP_HANGUP : 0u);
}

struct loop *loop_create(void) {
    struct loop *l = must_alloc(sizeof *l);
    l->fd = epoll_create1(EPOLL_CLOEXEC);
    l->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    check(l->fd >= 0 && l->wake_fd >= 0);
    struct epoll_event e = {.events = EPOLLIN, .data.ptr = l};
    check(epoll_ctl(l->fd, EPOLL_CTL_ADD, l->wake_fd, &e) == 0);
    return l;
}

void loop_free(struct loop **pl) {
    if (!*pl) return;
    close((*pl)->fd);
    close((*pl)->wake_fd);
    free(*pl);
    *pl = NULL;
}

enum err loop_add(struct loop *l, int fd, uint32_t what, void *tag) {
    struct epoll_event e = {.events = to_epoll(what), .data.ptr = tag};
    return epoll_ctl(l->fd, EPOLL_CTL_ADD, fd, &e) ? LIMIT : OK;
}

void loop_change(struct loop *l, int fd, uint32_t what, void *tag) {
    struct epoll_event e = {.events = to_epoll(what), .data.ptr = tag};
    check(epoll_ctl(l->fd, EPOLL_CTL_MOD, fd, &e) == 0);
}

void loop_remove(struct loop *l, int fd) { (void)epoll_ctl(l->fd, EPOLL_CTL_DEL, fd, NULL); }

void loop_wake(struct loop *l) {
    if (atomic_exchange(&l->woken, true) || !atomic_load(&l->sleeping)) return;
    uint64_t one = 1;
    (void)!write(l->wake_fd, &one, 8);
}

size_t loop_wait(struct loop *l, int timeout_ms, struct loop_event *out, size_t max) {
    atomic_store(&l->sleeping, true);
    if (atomic_load(&l->woken)) timeout_ms = 0;
    int most = max < EVENTS_MAX ? (int)max : EVENTS_MAX,
        n = epoll_wait(l->fd, l->events, most, timeout_ms);
    /* A process that was stopped and goes on: what came meanwhile belongs to this wait. */
    if (n < 0 && errno == EINTR) n = epoll_wait(l->fd, l->events, most, 0);
    atomic_store(&l->sleeping, false);
    /* An exchange, not a store: what the waker wrote before its wake is seen by who returns from
     * here. */
    (void)atomic_exchange(&l->woken, false);
    size_t count = 0;
    for (int i = 0; i < n; i++) {
        struct epoll_event *e = &l->events[i];
        if (e->data.ptr == l) {
            uint64_t v;
            (void)!read(l->wake_fd, &v, 8);
            continue;
        }
        out[count++] = (struct loop_event){e->data.ptr, from_epoll(e->events)};
    }
    return count;
}
