/* notify: what preferences.c will say, until it is here: nobody has wishes.
 * SPDX-License-Identifier: Apache-2.0 */
#include "notify/notify_in.h"

#define UNTIL_THERE __attribute__((weak))

UNTIL_THERE uint8_t preferences_off(
    struct cells *c, struct bytes app, struct bytes user, struct bytes workflow) {
    return 0;
}
UNTIL_THERE int64_t preferences_quiet_until(
    struct cells *c, struct bytes app, struct bytes user, int64_t now_ms) {
    return 0;
}
UNTIL_THERE bool preferences_any(struct cells *c, struct bytes app, struct bytes user) {
    return false;
}
