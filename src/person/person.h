/* person: what other rooms may know of a user in the user's own partition: a service that reads what
 * the users surface keeps.
 *
 * Views last until the next edit. Pure.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef KITH_PERSON_H
#define KITH_PERSON_H

#include "surface/surface.h"

struct person { /* empty: not given */
    struct bytes name, avatar, locale, timezone, email;
};
/* false: nobody of this id was ever named, or they are erased. */
bool person_find(struct cells *c, struct bytes app, struct bytes user, struct person *out);
/* The rules of the user's time zone, as zone/zone.h reads them; empty: UTC. */
struct bytes person_zone(struct cells *c, struct bytes app, struct bytes user);
/* Devices with a push address, as their owner gave it: {"webpush":{...}} | {"apns":{...}} |
 * {"fcm":{...}}; fn false stops, and must not edit. */
void person_push(struct cells *c, struct bytes app, struct bytes user,
    bool (*fn)(void *arg, struct bytes device, struct bytes push), void *arg);

#endif
