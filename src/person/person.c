/* person: profiles, devices and zones, read and written as person.h draws them.
 * SPDX-License-Identifier: Apache-2.0 */
#include "person/person.h"

static struct cell *cell2(struct cells *c, char tag, struct bytes app, struct bytes id) {
    uint8_t room[300];
    return cells_get(c, key2(room, tag, app, id));
}
static struct bytes view_of(const struct cell *c) { return bytes_of(c->data, c->size); }

/* ---- profile ---- */
bool person_profile_get(
    struct cells *c, struct bytes app, struct bytes user, struct person_profile *out) {
    struct cell *cell = cell2(c, 'u', app, user);
    *out = (struct person_profile){0};
    if (!cell->size) return false;
    struct unpack u = unpack_of(view_of(cell));
    out->created_ms = (int64_t)unpack_u64(&u);
    out->erased_ms = (int64_t)unpack_u64(&u);
    for (int i = 0; i < PROFILE_FIELDS; i++) out->f[i] = unpack_bytes(&u);
    check(!u.bad);
    return true;
}

void person_profile_set(struct step *s, struct bytes user, const struct person_profile *p) {
    struct buf b = {0};
    pack_u64(&b, (uint64_t)p->created_ms);
    pack_u64(&b, (uint64_t)p->erased_ms);
    for (int i = 0; i < PROFILE_FIELDS; i++) pack_bytes(&b, p->f[i]);
    cells_put(s->cells, cell2(s->cells, 'u', s->app, user), buf_view(&b));
    buf_done(&b);
}

void person_ahead(struct cells *c, struct bytes app, struct bytes user) {
    uint8_t room[300];
    cells_ahead(c, key2(room, 'u', app, user));
}

bool person_find(struct cells *c, struct bytes app, struct bytes user, struct person *out) {
    struct person_profile p;
    bool found = person_profile_get(c, app, user, &p) && p.created_ms;
    *out = (struct person){p.f[PROFILE_NAME], p.f[PROFILE_AVATAR], p.f[PROFILE_LOCALE],
        p.f[PROFILE_TIMEZONE], p.f[PROFILE_EMAIL]};
    return found;
}

/* ---- zones ---- */
struct bytes person_zone(struct cells *c, struct bytes app, struct bytes user) {
    struct person_profile p;
    if (!person_profile_get(c, app, user, &p) || !p.f[PROFILE_TIMEZONE].n) return (struct bytes){0};
    return view_of(cell2(c, 'Z', app, p.f[PROFILE_TIMEZONE]));
}

void person_zone_set(struct step *s, struct bytes zone, struct bytes table) {
    struct cell *cell = cell2(s->cells, 'Z', s->app, zone);
    if (!bytes_eq(view_of(cell), table)) cells_put(s->cells, cell, table);
}

/* ---- devices ---- */
static struct cell *device_cell(
    struct cells *c, struct bytes app, struct bytes user, struct bytes device) {
    uint8_t room[300];
    return cells_get(c, key3(room, 'v', app, user, device));
}

int64_t person_revoked_ms(struct bytes cell) {
    struct unpack u = unpack_of(cell);
    return cell.n ? (int64_t)unpack_u64(&u) : 0;
}

void person_device_get(struct cells *c, struct bytes app, struct bytes user, struct bytes device,
    struct person_device *out) {
    struct cell *cell = device_cell(c, app, user, device);
    *out = (struct person_device){0};
    if (!cell->size) return;
    struct unpack u = unpack_of(view_of(cell));
    out->revoked_ms = (int64_t)unpack_u64(&u);
    out->push = unpack_bytes(&u);
    out->there = unpack_u8(&u) != 0;
    if (unpack_more(&u)) out->push_ms = (int64_t)unpack_u64(&u);
    check(!u.bad);
}

void person_device_set(
    struct step *s, struct bytes user, struct bytes device, const struct person_device *d) {
    struct buf b = {0};
    pack_u64(&b, (uint64_t)d->revoked_ms);
    pack_bytes(&b, d->push);
    pack_u8(&b, d->there);
    pack_u64(&b, (uint64_t)d->push_ms);
    cells_put(s->cells, device_cell(s->cells, s->app, user, device), buf_view(&b));
    buf_done(&b);
}

struct cell *person_devices(struct cells *c, struct bytes app, struct bytes user) {
    return cell2(c, 'w', app, user);
}

void person_push(struct cells *c, struct bytes app, struct bytes user,
    bool (*fn)(void *, struct bytes, struct bytes), void *arg) {
    struct unpack u = unpack_of(view_of(person_devices(c, app, user)));
    while (unpack_more(&u)) {
        struct bytes id = unpack_bytes(&u);
        struct person_device d;
        person_device_get(c, app, user, id, &d);
        if (d.there && d.push.n && !fn(arg, id, d.push)) return;
    }
}

int64_t person_gone_ms(struct cells *c, struct bytes app, struct bytes user) {
    const struct cell *cell = cell2(c, '@', app, user);
    int64_t erased_ms = 0;
    if (cell->size) memcpy(&erased_ms, cell->data, sizeof erased_ms);
    return erased_ms;
}

void person_gone_set(struct step *s, struct bytes user, int64_t erased_ms) {
    cells_put(s->cells, cell2(s->cells, '@', s->app, user), bytes_of(&erased_ms, sizeof erased_ms));
}
