/* drive: the load generator (kith bench) and the trace player (kith replay): clients of the public interfaces, like any other.
 * Each takes argv[0] as its own name; returns the exit status: 0 done, 1 failed or something lost, 2 wrong usage.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef KITH_DRIVE_H
#define KITH_DRIVE_H

#include "base/base.h"

int drive_bench(int argc, char **argv);
int drive_replay(int argc, char **argv);
/* Makes the people and conversations of --dev at "ADDR:PORT". false: words in *why. */
bool drive_demo(const char *http, const char *key, struct buf *why);

#endif
