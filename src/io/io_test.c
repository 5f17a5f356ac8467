/* io: tests of the ring, the loop and its wake, the sockets and the real disk.
 * SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>
#include <unistd.h>

#include "io/io.h"
#include "measure/measure.h"

/* ---- ring ---- */
static void ring_is_bounded_and_ordered(void **state) {
    (void)state;
    struct ring *r = ring_create(20); /* becomes 32 */
    char slot[64];
    size_t put = 0, taken = 0;
    struct rng rng = {1};
    for (int i = 0; i < 10000; i++) {
        if (rng_below(&rng, 2)) {
            bool room = put - taken < 32;
            assert_int_equal(ring_put(r, slot + put % 64), room);
            put += room;
        } else {
            void *p = ring_take(r);
            assert_ptr_equal(p, put == taken ? NULL : slot + taken % 64);
            taken += p != NULL;
        }
        assert_int_equal(ring_count(r), put - taken);
    }
    ring_free(&r);
    ring_free(&r);
    assert_null(r);
}

enum { PASSED = 200000 };
struct passing {
    struct ring *ring;
    struct loop *loop;
    uint64_t *values;
};

static void *produce(void *arg) {
    struct passing *p = arg;
    for (uint64_t i = 0; i < PASSED; i++) {
        p->values[i] = i * 3;
        while (!ring_put(p->ring, &p->values[i])) sched_yield();
        loop_wake(p->loop);
    }
    return NULL;
}

/* The consumer sleeps for ever whenever it finds nothing: one lost wake and this test hangs. */
static void ring_and_wake_lose_nothing_between_threads(void **state) {
    (void)state;
    struct passing p = {ring_create(256), loop_create(), must_alloc(PASSED * sizeof(uint64_t))};
    pthread_t t;
    assert_int_equal(pthread_create(&t, NULL, produce, &p), 0);
    struct loop_event ev[4];
    for (uint64_t next = 0; next < PASSED;) {
        uint64_t *v = ring_take(p.ring);
        if (!v) {
            assert_int_equal(loop_wait(p.loop, -1, ev, 4), 0);
            continue;
        }
        assert_ptr_equal(v, &p.values[next]);
        assert_int_equal(*v, next * 3);
        next++;
    }
    pthread_join(t, NULL);
    ring_free(&p.ring);
    loop_free(&p.loop);
    free(p.values);
}

/* ---- sockets and readiness ---- */
static void sockets_talk_and_end(void **state) {
    (void)state;
    struct buf why = {0};
    int listener, client, server;
    uint16_t port;
    char address[64], text[46];
    struct address peer;
    assert_int_equal(sock_listen("127.0.0.1:0", &listener, &port, &why), OK);
    assert_int_not_equal(port, 0);
    assert_int_equal(sock_accept(listener, &server, &peer), AGAIN);
    snprintf(address, sizeof address, "127.0.0.1:%u", port);
    assert_int_equal(sock_connect(address, "127.0.0.2", &client), OK);

    struct loop *l = loop_create();
    struct loop_event ev[4];
    assert_int_equal(loop_add(l, listener, LOOP_READ, &listener), OK);
    assert_int_equal(loop_wait(l, 5000, ev, 4), 1);
    assert_ptr_equal(ev[0].tag, &listener);
    assert_int_equal(sock_accept(listener, &server, &peer), OK);
    address_text(peer, text);
    assert_string_equal(text, "127.0.0.2");

    assert_int_equal(loop_add(l, server, 0, &server), OK);
    size_t n;
    char in[16];
    assert_int_equal(sock_read(server, in, sizeof in, &n), AGAIN);
    assert_int_equal(sock_write(client, "hello", 5, &n), OK);
    assert_int_equal(loop_wait(l, 20, ev, 4), 0); /* nobody asked for it */
    loop_change(l, server, LOOP_READ | LOOP_WRITE, &server);
    assert_int_equal(loop_wait(l, 5000, ev, 4), 1);
    assert_int_equal(ev[0].what, LOOP_READ | LOOP_WRITE);
    assert_int_equal(sock_read(server, in, sizeof in, &n), OK);
    assert_int_equal(n, 5);
    loop_change(l, server, LOOP_READ, &server);
    close(client);
    assert_int_equal(loop_wait(l, 5000, ev, 4), 1);
    assert_true(ev[0].what & LOOP_HANGUP);
    assert_int_equal(sock_read(server, in, sizeof in, &n), STALE);
    loop_remove(l, server);
    assert_int_equal(loop_wait(l, 0, ev, 4), 0);
    close(server);
    close(listener);
    loop_free(&l);
    buf_done(&why);
}

static void addresses_are_judged(void **state) {
    (void)state;
    struct buf why = {0};
    int fd;
    uint16_t port;
    assert_int_equal(sock_listen("127.0.0.1", &fd, &port, &why), MALFORMED);
    assert_true(why.n > 0);
    assert_int_equal(sock_connect("no port", NULL, &fd), MALFORMED);
    assert_true(addr_is_loopback("127.0.0.1:80"));
    assert_true(addr_is_loopback("127.9.9.9:80"));
    assert_true(addr_is_loopback("[::1]:80"));
    assert_false(addr_is_loopback("0.0.0.0:80"));
    assert_false(addr_is_loopback("128.0.0.1:80"));
    assert_false(addr_is_loopback("[::]:80"));
    assert_false(addr_is_loopback("nonsense"));
    buf_done(&why);
}

/* ---- disk ---- */
static bool name_join(void *arg, const char *name) {
    buf_str(arg, name);
    buf_char(arg, ' ');
    return ((struct buf *)arg)->n < 10;
}

static void real_disk_does_what_it_says(void **state) {
    (void)state;
    char dir[] = "/tmp/kith-io-XXXXXX", a[64], b[64], sub[64], in[16];
    assert_non_null(mkdtemp(dir));
    snprintf(a, sizeof a, "%s/a", dir);
    snprintf(b, sizeof b, "%s/B", dir);
    snprintf(sub, sizeof sub, "%s/s", dir);
    struct disk *d = disk_real();
    int fd;
    uint64_t size;
    size_t n;
    assert_int_equal(d->open(d, a, false, &fd), MISSING);
    assert_int_equal(d->open(d, a, true, &fd), OK);
    assert_int_equal(d->zero(d, fd, 10, 3 << 20), OK);
    assert_int_equal(d->zero(d, fd, 5, 5), OK);
    assert_int_equal(d->pwrite(d, fd, "hello", 5, 4096), OK);
    assert_int_equal(d->sync(d, fd), OK);
    assert_int_equal(d->size(d, fd, &size), OK);
    assert_int_equal(size, 3 << 20);
    assert_int_equal(d->pread(d, fd, in, 6, 4096, &n), OK);
    assert_memory_equal(in, "hello\0", 6);
    assert_int_equal(d->pread(d, fd, in, 6, size - 2, &n), OK);
    assert_int_equal(n, 2);
    d->close(d, fd);
    assert_int_equal(d->rename(d, a, b), OK);
    assert_int_equal(d->rename(d, a, b), MISSING);
    assert_int_equal(d->make_dir(d, sub), OK);
    assert_int_equal(d->make_dir(d, sub), OK);
    assert_int_equal(d->sync_dir(d, dir), OK);
    struct buf names = {0};
    assert_int_equal(d->list(d, dir, name_join, &names), OK);
    assert_true(bytes_is(buf_view(&names), "B s "));
    assert_true(d->free_bytes(d, dir) > 0);
    assert_int_equal(d->list(d, a, name_join, &names), MISSING);
    assert_int_equal(d->remove(d, b), OK);
    assert_int_equal(d->remove(d, b), OK);
    rmdir(sub);
    assert_int_equal(rmdir(dir), 0);
    buf_done(&names);
}

static void clocks_and_secrets(void **state) {
    (void)state;
    int64_t a = clock_mono_ns(), b = clock_mono_ns();
    assert_true(b >= a);
    assert_true(clock_wall_ms() > 1600000000000);
    uint8_t x[600] = {0}, y[600] = {0};
    random_secret(x, sizeof x);
    random_secret(y, sizeof y);
    assert_memory_not_equal(x, y, sizeof x);
    assert_memory_not_equal(x + 584, y + 584, 16);
}

static int alarm_pipe[2];
static void on_alarm(int n) {
    (void)n;
    (void)!write(alarm_pipe[1], "x", 1);
}

/* A stop and what follows it interrupt a wait: what has come is not left for the next. */
static void an_interrupted_wait_has_what_came(void **state) {
    (void)state;
    struct loop *l = loop_create();
    struct loop_event ev[4];
    struct itimerval soon = {.it_value = {.tv_usec = 30000}};
    assert_int_equal(pipe(alarm_pipe), 0);
    assert_int_equal(loop_add(l, alarm_pipe[0], LOOP_READ, &soon), OK);
    signal(SIGALRM, on_alarm);
    setitimer(ITIMER_REAL, &soon, NULL);
    assert_int_equal(loop_wait(l, 5000, ev, 4), 1);
    assert_ptr_equal(ev[0].tag, &soon);
    signal(SIGALRM, SIG_DFL);
    close(alarm_pipe[0]);
    close(alarm_pipe[1]);
    loop_free(&l);
}

/* Never far from the real clock, and never back by more than a look sets it right. */
static void ticker_keeps_time(void **state) {
    (void)state;
    struct ticker t = {0};
    for (int turn = 0; turn < 60; turn++) {
        int64_t set = ticker_set(&t), before = set;
        for (int i = 0; i < 50; i++) {
            int64_t low = clock_mono_ns(), now = ticker_now(&t), high = clock_mono_ns();
            assert_true(now >= before);
            assert_true(now > low - 50000 && now < high + 50000);
            before = now;
        }
        usleep(2000);
    }
#if defined(__x86_64__)
    assert_true(t.scale != 0);
#endif
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ticker_keeps_time),
        cmocka_unit_test(ring_is_bounded_and_ordered),
        cmocka_unit_test(ring_and_wake_lose_nothing_between_threads),
        cmocka_unit_test(sockets_talk_and_end),
        cmocka_unit_test(an_interrupted_wait_has_what_came),
        cmocka_unit_test(addresses_are_judged),
        cmocka_unit_test(real_disk_does_what_it_says),
        cmocka_unit_test(clocks_and_secrets),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
