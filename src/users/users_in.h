/* users, inside: what devices.c and prekeys.c give to the table in
 * users.c. SPDX-License-Identifier: Apache-2.0 */
#ifndef KITH_USERS_IN_H
#define KITH_USERS_IN_H

#include "person/person.h"
#include "users/users.h"

void profile_json(
    struct json_out *o, struct bytes user, const struct person_profile *p, bool whole);
bool user_known(struct cells *c, struct bytes app, struct bytes user);
bool packed_holds(struct bytes packed, struct bytes id); /* repeated varbytes */
void user_missing(struct answer *a, struct bytes user);
void user_plan(struct request *r, struct plan *p, uint8_t kind); /* kind 0: a query */

#define DEVICES_MAX 64 /* of a user */
/* Makes the device; false: the user has too many, and the answer says so. */
bool device_ensure(struct step *s, struct bytes user, struct bytes device);
void devices_erase(struct step *s, struct bytes user);
void apply_user_ensure(struct step *s);
void apply_device_put(struct step *s);
void apply_device_delete(struct step *s);
void apply_push_gone(struct step *s);
void apply_keys_put(struct step *s);
void apply_keys_claim(struct step *s);
/* once.c: one request under an Idempotency-Key. */
struct once {
    int64_t time_ms;
    uint64_t key, content; /* hashes: of who asked, for what, and their key; of what was asked */
};
/* Who asks and their key, or nothing, as varbytes at the end of a record of this kind. */
void once_pack(const struct request *r, uint8_t kind, struct buf *out);
struct once once_of(const struct step *s, struct bytes key, struct bytes content);
/* OK: it was answered before, with *out_answer (view until the next edit). EXISTS: with other
 * content; the answer says so. MISSING: it is new. */
enum err once_find(
    struct step *s, struct bytes user, const struct once *now, struct bytes *out_answer) must_use;
void once_keep(struct step *s, struct bytes user, const struct once *now, struct bytes answer);
/* The field "keys" of an open object; nothing when the device has none. */
void keys_export(
    struct cells *c, struct bytes app, struct bytes user, struct bytes device, struct json_out *o);
enum err plan_token(struct request *r, struct plan *p, struct answer *a);
void finish_token(const struct request *r, struct admit *admit, struct answer *a);
enum err plan_device_put(struct request *r, struct plan *p, struct answer *a);
enum err plan_device_delete(struct request *r, struct plan *p, struct answer *a);
enum err plan_devices(struct request *r, struct plan *p, struct answer *a);
enum err plan_keys_put(struct request *r, struct plan *p, struct answer *a);
enum err plan_keys_claim(struct request *r, struct plan *p, struct answer *a);

#endif
