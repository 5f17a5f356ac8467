/* notify: a user is erased: where they lived all that is kept here of what they were told, elsewhere their name.
 *
 *   USER_GONE    varbytes user · i64 when they were erased                                       relay
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "notify/notify_in.h"
#include "person/person.h"

static void apply_user_gone(struct step *s) {
    struct unpack u = unpack_of(s->body);
    struct bytes user = unpack_bytes(&u);
    int64_t erased_ms = (int64_t)unpack_u64(&u);
    check(!u.bad);
    answer_ok(s->answer, 200);
    person_gone_set(s, user, erased_ms);
    if (partition_of_user(s->app, user, s->partitions) != s->partition) return;
    preferences_erase(s, user);
    relevance_erase(s, user);
    digests_erase(s, user);
    held_erase(s, user);
    inbox_erase(s, user);
    sends_erase(s, user);
}

static const struct record_rule RULES[] = {{KIND_USER_GONE, apply_user_gone}};
const struct surface_part notify_erasing = {RULES, sizeof RULES / sizeof *RULES, NULL, 0};
