/* inject: a wall clock that jumps.
 * SPDX-License-Identifier: Apache-2.0 */
#include <dlfcn.h>

#include "inject.h"

static int (*real)(clockid_t, struct timespec *);

int clock_gettime(clockid_t clock, struct timespec *t) {
    if (!real) real = (int (*)(clockid_t, struct timespec *))dlsym(RTLD_NEXT, "clock_gettime");
    int result = real(clock, t);
    if (clock == CLOCK_REALTIME && result == 0) t->tv_sec += inject_ask(ASK_CLOCK_MS) / 1000;
    return result;
}
