/* bench: `kith bench`, the load generator: scenarios that drive kith, or any other MQTT broker, and
 * tell rates, times, CPU and what was lost.
 * Takes argv[0] as its own name; returns the exit status: 0 done, 1 failed or something lost,
 * 2 wrong usage.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef KITH_BENCH_H
#define KITH_BENCH_H

int bench_run(int argc, char **argv);

#endif
