/* notify: workflows: how one sort of notification behaves.
 * SPDX-License-Identifier: Apache-2.0 */
#include "notify/notify_in.h"

const struct notify_part notify_workflows = {NULL, 0, NULL, 0};
