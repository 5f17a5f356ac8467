/* base: tests of byte views, growing buffers and arenas, against plain memory.
 * SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/base.h"

static void views_compare_as_memory_does(void **state) {
    (void)state;
    struct bytes none = {0}, empty = BYTES(""), a = BYTES("a"), ab = BYTES("ab"), b = BYTES("b"),
                 high = BYTES("\xff");
    assert_true(bytes_eq(none, empty) && bytes_eq(bytes_str(NULL), empty) && !bytes_eq(a, ab));
    assert_true(bytes_cmp(none, a) < 0 && bytes_cmp(a, ab) < 0 && bytes_cmp(ab, b) < 0 &&
                bytes_cmp(b, high) < 0);
    assert_true(bytes_cmp(high, b) > 0 && bytes_cmp(ab, ab) == 0 && bytes_cmp(none, empty) == 0);
    assert_true(bytes_is(ab, "ab") && !bytes_is(ab, "a") && bytes_is(none, ""));
    assert_true(bytes_starts(ab, "a") && bytes_starts(none, "") && !bytes_starts(a, "ab") &&
                !bytes_starts(none, "a"));
}

static void errors_have_names(void **state) {
    (void)state;
    assert_string_equal(err_name(OK), "ok");
    assert_string_equal(err_name(NOMEM), "nomem");
    assert_string_equal(err_name((enum err)(NOMEM + 1)), "unknown");
}

/* Random additions and cuts; the model is one large array. */
static void buf_is_its_model(void **state) {
    (void)state;
    enum { MODEL = 1 << 20 };
    uint8_t *model = must_alloc(MODEL);
    size_t n = 0;
    struct rng r = {1};
    struct buf b = {0};
    for (int i = 0; i < 20000; i++) {
        uint8_t piece[300];
        size_t size = (size_t)rng_below(&r, sizeof piece);
        for (size_t k = 0; k < size; k++) piece[k] = (uint8_t)rng_next(&r);
        if (n + sizeof piece > MODEL || rng_below(&r, 50) == 0) {
            size_t cut = (size_t)rng_below(&r, n + 1);
            buf_cut(&b, cut);
            memmove(model, model + cut, n - cut);
            n -= cut;
        } else if (rng_below(&r, 400) == 0) {
            buf_reset(&b);
            n = 0;
        } else if (rng_below(&r, 3) == 0) {
            buf_char(&b, 'x');
            model[n++] = 'x';
        } else {
            buf_bytes(&b, bytes_of(piece, size));
            memcpy(model + n, piece, size);
            n += size;
        }
        assert_int_equal(b.n, n);
        if (i % 64 == 0) assert_true(bytes_eq(buf_view(&b), bytes_of(model, n)));
    }
    assert_true(bytes_eq(buf_view(&b), bytes_of(model, n)));
    buf_done(&b);
    assert_true(!b.p && !b.n && !b.cap);
    buf_done(&b);
    free(model);
}

static void buf_takes_nothing(void **state) {
    (void)state;
    struct buf b = {0};
    buf_add(&b, NULL, 0);
    buf_bytes(&b, (struct bytes){0});
    buf_str(&b, "");
    buf_cut(&b, 0);
    assert_true(b.n == 0 && bytes_eq(buf_view(&b), BYTES("")));
    buf_done(&b);
}

static void buf_fmt_grows_to_fit(void **state) {
    (void)state;
    struct buf b = {0};
    char text[1000];
    for (size_t size = 0; size < sizeof text; size++) {
        memset(text, 'a' + (int)(size % 26), size);
        text[size] = 0;
        buf_reset(&b);
        buf_fmt(&b, "<%s>%d", text, 7);
        assert_int_equal(b.n, size + 3);
        assert_memory_equal(b.p + 1, text, size);
        assert_memory_equal(b.p + 1 + size, ">7", 2);
    }
    buf_done(&b);
}

static void decimals_are_printf(void **state) {
    (void)state;
    struct rng r = {2};
    struct buf b = {0};
    char want[32];
    uint64_t edge = 1;
    for (int i = 0; i < 20000; i++) {
        uint64_t v = i < 60 ? edge - (uint64_t)(i % 3 == 0) : rng_next(&r) >> rng_below(&r, 64);
        if (i % 3 == 2) edge *= 10;
        if (i == 60) v = UINT64_MAX;
        buf_reset(&b);
        buf_u64dec(&b, v);
        int n = snprintf(want, sizeof want, "%llu", (unsigned long long)v);
        assert_int_equal(b.n, n);
        assert_memory_equal(b.p, want, b.n);
    }
    buf_done(&b);
}

/* Pieces keep their bytes and never overlap, whatever the order of sizes; after a reset the arena
 * serves again. */
static void arena_pieces_stay_apart(void **state) {
    (void)state;
    enum { PIECES = 200 };
    struct rng r = {3};
    struct arena a = {0};
    for (int round = 0; round < 30; round++) {
        uint8_t *piece[PIECES];
        size_t size[PIECES];
        for (size_t i = 0; i < PIECES; i++) {
            size[i] = (size_t)rng_below(&r, rng_below(&r, 60) == 0 ? 3u << 20 : 500);
            piece[i] = rng_below(&r, 2) ? arena_alloc(&a, size[i]) : arena_zero(&a, size[i]);
            assert_int_equal((uintptr_t)piece[i] % 16, 0);
            if (size[i]) memset(piece[i], (int)(i & 0xff), size[i]);
        }
        for (size_t i = 0; i < PIECES; i++)
            for (size_t k = 0; k<size[i]; k += size[i]> 500 ? 997 : 1)
                assert_int_equal(piece[i][k], i & 0xff);
        if (round % 7 == 6) arena_done(&a);
        else arena_reset(&a);
    }
    arena_done(&a);
}

static void arena_copies(void **state) {
    (void)state;
    struct arena a = {0};
    uint8_t *z = arena_alloc(&a, 64);
    memset(z, 1, 64);
    arena_reset(&a);
    z = arena_zero(&a, 64);
    for (int i = 0; i < 64; i++) assert_int_equal(z[i], 0);
    struct bytes v = arena_copy(&a, BYTES("abc"));
    assert_true(bytes_is(v, "abc") && bytes_is(arena_copy(&a, (struct bytes){0}), ""));
    assert_string_equal(arena_cstr(&a, v), "abc");
    assert_string_equal(arena_cstr(&a, (struct bytes){0}), "");
    arena_done(&a);
    arena_done(&a);
    arena_reset(&a);
}

/* The act must end its process by a failed check. */
static void dies(void (*act)(void)) {
    fflush(NULL);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        if (!freopen("/dev/null", "w", stderr)) _exit(1);
        signal(SIGABRT, SIG_DFL);
        act();
        _exit(0);
    }
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
}
static void reserve_too_much(void) {
    struct buf b = {0};
    buf_char(&b, 'x');
    buf_reserve(&b, SIZE_MAX - 4);
}
static void cut_too_much(void) {
    struct buf b = {0};
    buf_char(&b, 'x');
    buf_cut(&b, 2);
}
static void arena_too_much(void) {
    struct arena a = {0};
    arena_alloc(&a, SIZE_MAX - 3);
}
static void pack_too_much(void) {
    struct buf b = {0};
    pack_bytes(&b, bytes_of("", SIZE_MAX - 3));
}
static void sizes_that_wrap_end_the_process(void **state) {
    (void)state;
    dies(reserve_too_much);
    dies(cut_too_much);
    dies(arena_too_much);
    dies(pack_too_much);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(views_compare_as_memory_does),
        cmocka_unit_test(errors_have_names),
        cmocka_unit_test(buf_is_its_model),
        cmocka_unit_test(buf_takes_nothing),
        cmocka_unit_test(buf_fmt_grows_to_fit),
        cmocka_unit_test(decimals_are_printf),
        cmocka_unit_test(arena_pieces_stay_apart),
        cmocka_unit_test(arena_copies),
        cmocka_unit_test(sizes_that_wrap_end_the_process),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
