/* replay: `kith replay`, the trace player: sends recorded traffic through the public interfaces and
 * checks that each message reached each member once and in order.
 * Takes argv[0] as its own name; returns the exit status: 0 each arrived once and in order, 1 not
 * so or failed, 2 wrong usage.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef KITH_REPLAY_H
#define KITH_REPLAY_H

int replay_run(int argc, char **argv);

#endif
