/* person: a user's profile, devices and time zone, as they lie in the user's own partition. The users
 * surface decides what is in them and writes; this is how it lies there, for whoever else must know.
 *
 *   'u' app user          profile: i64 created (0: only erased is known), i64 last erased (0:
 *                         never), varbytes name, avatar, locale, timezone, email, metadata
 *   'v' app user device   i64 revoked_before_ms, varbytes push JSON, u8 there, i64 push set (0: never,
 *                         and in cells of before there was this field)
 *   'w' app user          packed device ids
 *   '@' app user          i64 when they were erased, in every partition; no cell: never
 *   'Z' app zone          the zone's table (zone/zone.h): the newest that came with a profile
 *
 * Views last until the next edit. Pure.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef KITH_PERSON_H
#define KITH_PERSON_H

#include "surface/surface.h"

struct person { /* empty: not given */
    struct bytes name, avatar, locale, timezone, email;
};
/* false: no profile was ever given, or they are erased. */
bool person_find(struct cells *c, struct bytes app, struct bytes user, struct person *out);
void person_ahead(struct cells *c, struct bytes app, struct bytes user); /* a hint (cells_ahead) */
/* The rules of the user's time zone, as zone/zone.h reads them; empty: UTC. */
struct bytes person_zone(struct cells *c, struct bytes app, struct bytes user);
/* When a user was erased, wherever they lived: the name that triggers of before brought along is told
 * no more. 0: never. */
int64_t person_gone_ms(struct cells *c, struct bytes app, struct bytes user);
void person_gone_set(struct step *s, struct bytes user, int64_t erased_ms);
/* Devices with a push address, as their owner gave it: {"webpush":{...}} | {"apns":{...}} |
 * {"fcm":{...}}; fn false stops, and must not edit. */
void person_push(struct cells *c, struct bytes app, struct bytes user,
    bool (*fn)(void *arg, struct bytes device, struct bytes push), void *arg);

/* ---- as it is stored ---- */
enum { PROFILE_NAME, PROFILE_AVATAR, PROFILE_LOCALE, PROFILE_TIMEZONE, PROFILE_EMAIL };
enum { PROFILE_METADATA = 5, PROFILE_FIELDS = 6 };
struct person_profile {
    int64_t created_ms, erased_ms;
    struct bytes f[PROFILE_FIELDS];
};
/* false: nothing is stored, and *out is zero. */
bool person_profile_get(
    struct cells *c, struct bytes app, struct bytes user, struct person_profile *out);
void person_profile_set(struct step *s, struct bytes user, const struct person_profile *p);
void person_zone_set(struct step *s, struct bytes zone, struct bytes table);

struct person_device {
    int64_t revoked_ms; /* tokens issued until then are refused */
    int64_t push_ms;    /* when the push address was set */
    struct bytes push;
    bool there;
};
void person_device_get(struct cells *c, struct bytes app, struct bytes user, struct bytes device,
    struct person_device *out);
void person_device_set(
    struct step *s, struct bytes user, struct bytes device, const struct person_device *d);
struct cell *person_devices(struct cells *c, struct bytes app, struct bytes user);
/* Of a 'v' cell, which may be empty. */
int64_t person_revoked_ms(struct bytes cell);

#endif
