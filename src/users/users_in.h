/* users, inside: the profile, ordered lists of ids, devices and prekeys, and what each file gives to the table in users.c.
 *
 * Cells, all in the user's partition (docs/format/users.md):
 *   'u' app user            profile: u64 created_ms (0: not put), u64 revoked_ms (tokens issued until then are refused; 0: none),
 *                           varbytes name, avatar, locale, timezone, email, metadata
 *   'f' app user list       head of an ordered list;  'F' app user list chunk   its rows;  'j' app user list+id   its row number   (rows.c)
 *   'w' app user            device list: n x {varbytes device, u8 there}, oldest first;   'v' app user device   the device   (devices.c)
 *   'k' app user device     prekey bundle;  'n' app user device number   a one-time key;  'q' app user device   keys that were handed out   (keys.c)
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef KITH_USERS_IN_H
#define KITH_USERS_IN_H

#include "users/users.h"

#define FOLLOWS_MAX 50000u /* of one user; followers have no bound */
#define BLOCKS_MAX 5000u   /* every request of the user carries the list */
#define MUTES_MAX 5000u
#define DEVICES_MAX 64u
#define ONE_TIME_KEYS_MAX 200u /* of each sort, for one device */
#define METADATA_BYTES_MAX 16384u

struct cell *users_cell(struct cells *c, char tag, struct bytes app, struct bytes id);
static inline struct bytes cell_view(const struct cell *c) { return bytes_of(c->data, c->size); }
bool user_known(struct cells *c, struct bytes app, struct bytes user);
void user_missing(struct answer *a, struct bytes user);
void user_plan(const struct request *r, struct plan *p, uint8_t kind);      /* kind 0: a query; else the body begins with the user */
void request_args(const struct request *r, void *args);                    /* the request is the planner's to complete */
bool request_cursor(const struct request *r, struct answer *a, uint64_t *out); /* false: answer has the problem */
void next_json(struct json_out *o, const struct request *r, uint64_t next); /* "next":cursor, or null when 0 */

/* ---- profile.c ---- */
enum { PROFILE_FIELDS = 6, PROFILE_METADATA = 5 };
struct profile {
    int64_t created_ms, revoked_ms;
    struct bytes f[PROFILE_FIELDS]; /* views of the cell */
};
void profile_get(struct cells *c, struct bytes app, struct bytes user, struct profile *out); /* zeros when there is none */
void profile_set(struct step *s, struct bytes user, const struct profile *p);
void profile_json(struct json_out *o, struct bytes user, const struct profile *p, bool whole);
/* Refuses every token issued until now, and those that a clock gone back made. */
void profile_revoke(struct step *s, struct bytes user, int64_t until_ms);
bool locale_valid(struct bytes v);   /* the shape of BCP 47 */
bool timezone_valid(struct bytes v); /* the shape of an IANA name */
bool email_valid(struct bytes v);
void apply_user_put(struct step *s);
enum err plan_user_put(const struct request *r, struct plan *p, struct answer *a);
enum err plan_user_get(const struct request *r, struct plan *p, struct answer *a);

/* ---- rows.c: ids in the order of their coming, of any length; adding, removing and finding cost one chunk ---- */
enum list { LIST_FOLLOWS = 'f', LIST_FOLLOWERS = 'F', LIST_BLOCKS = 'b', LIST_MUTES = 'm' };
bool rows_add(struct step *s, struct bytes user, enum list list, struct bytes id);    /* false: it was there */
bool rows_remove(struct step *s, struct bytes user, enum list list, struct bytes id); /* false: it was not */
bool rows_have(struct cells *c, struct bytes app, struct bytes user, enum list list, struct bytes id);
uint64_t rows_count(struct cells *c, struct bytes app, struct bytes user, enum list list);
/* Newest first, those with row < before (0: from the newest), until fn says false, which must not edit. Rows count from 1 and only rise. */
typedef bool rows_fn(void *arg, struct bytes id, uint64_t row);
void rows_walk(struct cells *c, struct bytes app, struct bytes user, enum list list, uint64_t before, rows_fn *fn, void *arg);
void rows_clear(struct step *s, struct bytes user, enum list list);

/* ---- relations.c ---- */
void apply_relation(struct step *s);
void apply_followed(struct step *s);
void relations_erase(struct step *s, struct bytes user); /* tells the others, forgets the lists */
#define RELATION_PLANS(X) X(follow) X(unfollow) X(block) X(unblock) X(mute) X(unmute) X(follows) X(followers) X(blocks) X(mutes)
#define X(name) enum err plan_##name(const struct request *r, struct plan *p, struct answer *a);
RELATION_PLANS(X)
#undef X

/* ---- devices.c ---- */
int64_t device_revoked_ms(struct cells *c, struct bytes app, struct bytes user, struct bytes device); /* 0: never */
bool device_ensure(struct step *s, struct bytes user, struct bytes device); /* false: too many; the answer has the problem */
/* Each device that is there, oldest first; fn false stops and must not edit. */
void devices_each(struct cells *c, struct bytes app, struct bytes user, bool (*fn)(void *arg, struct bytes device), void *arg);
void device_json(struct cells *c, struct bytes app, struct bytes user, struct bytes device, struct json_out *o);
void devices_erase(struct step *s, struct bytes user);
void apply_device_put(struct step *s);
void apply_device_delete(struct step *s);
enum err plan_device_put(const struct request *r, struct plan *p, struct answer *a);
enum err plan_device_delete(const struct request *r, struct plan *p, struct answer *a);
enum err plan_devices(const struct request *r, struct plan *p, struct answer *a);

/* ---- keys.c ---- */
void keys_forget(struct step *s, struct bytes user, struct bytes device);
void keys_counts_json(struct cells *c, struct bytes app, struct bytes user, struct bytes device, struct json_out *o); /* nothing when it has none */
void apply_keys_put(struct step *s);
void apply_keys_claim(struct step *s);
enum err plan_keys_put(const struct request *r, struct plan *p, struct answer *a);
enum err plan_keys_claim(const struct request *r, struct plan *p, struct answer *a);

/* ---- erase.c, export.c ---- */
/* The user's conversations, as chat keeps them: 'h' app user, packed ids. fn false stops and must not edit. */
void conversations_each(struct cells *c, struct bytes app, struct bytes user, bool (*fn)(void *arg, struct bytes conversation), void *arg);
void apply_user_erase(struct step *s);
enum err plan_user_erase(const struct request *r, struct plan *p, struct answer *a);
enum err plan_export(const struct request *r, struct plan *p, struct answer *a);

#endif
