/* notify: what preferences.c and src/learn will say, until they are here: nobody has wishes, and nothing
 * is learned. SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "learn/learn.h"
#include "notify/notify_in.h"

#define UNTIL_THERE __attribute__((weak))
UNTIL_THERE uint8_t preferences_off(
    UNTIL_THERE struct cells *c, struct bytes app, struct bytes user, struct bytes workflow) {
    UNTIL_THERE return 0;
    UNTIL_THERE
}
UNTIL_THERE int64_t preferences_quiet_until(
    UNTIL_THERE struct cells *c, struct bytes app, struct bytes user, int64_t now_ms) {
    UNTIL_THERE return 0;
    UNTIL_THERE
}
UNTIL_THERE bool preferences_any(struct cells *c, struct bytes app, struct bytes user) {
    return false;
}
UNTIL_THERE const char *learn_term_name(enum learn_term t) { return "x"; }
UNTIL_THERE void learn_predict(
    UNTIL_THERE struct bytes state, const struct learn_features *f, struct learn_prediction *out) {
    UNTIL_THERE memset(out, 0, sizeof *out);
    UNTIL_THERE
}
UNTIL_THERE void learn_update(struct bytes state, struct bytes key, bool opened, int32_t propensity,
    UNTIL_THERE int64_t now_ms, uint8_t out[LEARN_STATE_BYTES]) {
    UNTIL_THERE memset(out, 1, LEARN_STATE_BYTES);
    UNTIL_THERE
}
UNTIL_THERE void learn_wants(struct bytes state, const struct learn_prediction *p,
    const struct learn_target *t, UNTIL_THERE int64_t now_ms, struct learn_choice *choice,
    uint8_t out[LEARN_STATE_BYTES]) {
    UNTIL_THERE memset(choice, 0, sizeof *choice);
    UNTIL_THERE memset(out, 1, LEARN_STATE_BYTES);
    UNTIL_THERE
}
UNTIL_THERE void learn_rate_add(struct bytes rate, bool opened, uint8_t out[LEARN_RATE_BYTES]) {
    UNTIL_THERE memset(out, 1, LEARN_RATE_BYTES);
    UNTIL_THERE
}
