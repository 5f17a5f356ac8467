/* person, tested: what users wrote is found again; cells of before push addresses had a time are read
 * too; who is erased is nobody. SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "person/person.h"

#define APP BYTES("app")
#define ANN BYTES("ann")

struct world {
    struct store *store;
    struct cells *cells;
    struct arena arena;
    struct step step;
};
static void world_open(struct world *w) {
    memset(w, 0, sizeof *w);
    w->store = store_create_memory();
    w->cells = cells_create(w->store, 0, 1 << 20);
    w->step = (struct step){.cells = w->cells, .app = APP, .arena = &w->arena};
}
static void world_close(struct world *w) {
    cells_free(&w->cells);
    w->store->calls->close(w->store);
    arena_done(&w->arena);
}

static void a_profile_is_found_until_it_is_erased(void **state) {
    (void)state;
    struct world w;
    struct person p;
    world_open(&w);
    assert_false(person_find(w.cells, APP, ANN, &p));
    assert_int_equal(p.name.n, 0);
    struct person_profile in = {.created_ms = 7};
    in.f[PROFILE_NAME] = BYTES("Ann");
    in.f[PROFILE_LOCALE] = BYTES("pt-BR");
    in.f[PROFILE_EMAIL] = BYTES("ann@example.com");
    person_profile_set(&w.step, ANN, &in);
    assert_true(person_find(w.cells, APP, ANN, &p));
    assert_true(bytes_is(p.name, "Ann") && bytes_is(p.locale, "pt-BR"));
    assert_true(bytes_is(p.email, "ann@example.com") && !p.timezone.n && !p.avatar.n);
    assert_false(person_find(w.cells, BYTES("other"), ANN, &p));
    struct person_profile gone = {.erased_ms = 9};
    person_profile_set(&w.step, ANN, &gone);
    assert_false(person_find(w.cells, APP, ANN, &p));
    world_close(&w);
}

static void a_zone_is_kept_once_and_the_newest_counts(void **state) {
    (void)state;
    struct world w;
    world_open(&w);
    struct person_profile p = {.created_ms = 7};
    p.f[PROFILE_TIMEZONE] = BYTES("Europe/Berlin");
    person_profile_set(&w.step, ANN, &p);
    assert_int_equal(person_zone(w.cells, APP, ANN).n, 0); /* not known: UTC */
    person_zone_set(&w.step, BYTES("Europe/Berlin"), BYTES("old"));
    person_zone_set(&w.step, BYTES("Europe/Paris"), BYTES("other"));
    assert_true(bytes_is(person_zone(w.cells, APP, ANN), "old"));
    person_profile_set(&w.step, BYTES("bob"), &p);
    person_zone_set(&w.step, BYTES("Europe/Berlin"), BYTES("new"));
    assert_true(bytes_is(person_zone(w.cells, APP, ANN), "new"));
    assert_true(bytes_is(person_zone(w.cells, APP, BYTES("bob")), "new"));
    assert_int_equal(person_zone(w.cells, APP, BYTES("nobody")).n, 0);
    world_close(&w);
}

struct found {
    char text[256];
    int stop;
};
static bool note(void *arg, struct bytes device, struct bytes push) {
    struct found *f = arg;
    strncat(f->text, (const char *)device.p, device.n);
    strcat(f->text, "=");
    strncat(f->text, (const char *)push.p, push.n);
    strcat(f->text, " ");
    return --f->stop != 0;
}
static void device_add(struct world *w, const char *id, const char *push, bool there) {
    struct person_device d = {.push = bytes_str(push), .there = there, .push_ms = 5};
    struct buf b = {0};
    person_device_set(&w->step, ANN, bytes_str(id), &d);
    pack_bytes(&b, bytes_str(id));
    cells_append(w->cells, person_devices(w->cells, APP, ANN), buf_view(&b));
    buf_done(&b);
}
static void devices_with_an_address_are_told(void **state) {
    (void)state;
    struct world w;
    uint8_t room[300];
    world_open(&w);
    struct found f = {{0}, 0};
    person_push(w.cells, APP, ANN, note, &f);
    assert_string_equal(f.text, "");
    device_add(&w, "d1", "A", true);
    device_add(&w, "d2", "", true);
    device_add(&w, "d3", "C", true);
    person_push(w.cells, APP, ANN, note, &f);
    assert_string_equal(f.text, "d1=A d3=C ");
    f = (struct found){{0}, 1};
    person_push(w.cells, APP, ANN, note, &f);
    assert_string_equal(f.text, "d1=A ");
    struct person_device d;
    person_device_get(w.cells, APP, ANN, BYTES("d1"), &d);
    assert_int_equal(d.push_ms, 5);
    struct cell *cell = cells_get(w.cells, key3(room, 'v', APP, ANN, BYTES("d1")));
    cells_splice(w.cells, cell, cell->size - 8, 8, (struct bytes){0}); /* as of before */
    person_device_get(w.cells, APP, ANN, BYTES("d1"), &d);
    assert_true(d.there && d.push_ms == 0 && bytes_is(d.push, "A"));
    world_close(&w);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_profile_is_found_until_it_is_erased),
        cmocka_unit_test(a_zone_is_kept_once_and_the_newest_counts),
        cmocka_unit_test(devices_with_an_address_are_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
