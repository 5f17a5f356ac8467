/* io: the event loop of one thread (epoll) with a wake that other threads may give, and the ring between two threads.
 * Keeps: a wake is one write at most until the loop has seen it. SPDX-License-Identifier: Apache-2.0 */
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
    _Atomic bool sleeping;  /* only then does a wake cost a system call */
    _Atomic bool woken;
    struct epoll_event events[EVENTS_MAX];
};

static uint32_t to_epoll(uint32_t what) { return ((what & LOOP_READ) ? EPOLLIN | EPOLLRDHUP : 0u) | ((what & LOOP_WRITE) ? EPOLLOUT : 0u); }

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
    int n = epoll_wait(l->fd, l->events, max < EVENTS_MAX ? (int)max : EVENTS_MAX, timeout_ms);
    atomic_store(&l->sleeping, false);
    atomic_store(&l->woken, false);
    size_t count = 0;
    for (int i = 0; i < n; i++) {
        struct epoll_event *e = &l->events[i];
        if (e->data.ptr == l) {
            uint64_t v;
            (void)!read(l->wake_fd, &v, 8);
            continue;
        }
        uint32_t what = ((e->events & EPOLLIN) ? LOOP_READ : 0u) | ((e->events & EPOLLOUT) ? LOOP_WRITE : 0u) |
                        ((e->events & (EPOLLHUP | EPOLLERR | EPOLLRDHUP)) ? LOOP_HANGUP : 0u);
        out[count++] = (struct loop_event){e->data.ptr, what};
    }
    return count;
}

/* ---- ring ---- */
struct ring {
    size_t mask;
    void **slots;
    _Alignas(64) _Atomic size_t head; /* consumer's */
    _Alignas(64) _Atomic size_t tail; /* producer's */
};

struct ring *ring_create(size_t capacity) {
    size_t n = 16;
    while (n < capacity) n *= 2;
    struct ring *r = aligned_alloc(64, (sizeof *r + 63) & ~(size_t)63);
    check(r);
    r->mask = n - 1;
    r->slots = must_alloc(n * sizeof *r->slots);
    atomic_init(&r->head, 0);
    atomic_init(&r->tail, 0);
    return r;
}

void ring_free(struct ring **pr) {
    if (!*pr) return;
    free((*pr)->slots);
    free(*pr);
    *pr = NULL;
}

bool ring_put(struct ring *r, void *p) {
    size_t t = atomic_load_explicit(&r->tail, memory_order_relaxed);
    if (t - atomic_load_explicit(&r->head, memory_order_acquire) > r->mask) return false;
    r->slots[t & r->mask] = p;
    atomic_store_explicit(&r->tail, t + 1, memory_order_release);
    return true;
}

void *ring_take(struct ring *r) {
    size_t h = atomic_load_explicit(&r->head, memory_order_relaxed);
    if (h == atomic_load_explicit(&r->tail, memory_order_acquire)) return NULL;
    void *p = r->slots[h & r->mask];
    atomic_store_explicit(&r->head, h + 1, memory_order_release);
    return p;
}

size_t ring_count(const struct ring *r) { return atomic_load(&((struct ring *)r)->tail) - atomic_load(&((struct ring *)r)->head); }
