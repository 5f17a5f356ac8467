/* bench, inside: the scenarios, one a file. SPDX-License-Identifier: Apache-2.0 */
#ifndef KITH_BENCH_IN_H
#define KITH_BENCH_IN_H

#include "drive/drive.h"

int bench_one_to_one(int argc, char **argv);
int bench_group(int argc, char **argv);
int bench_channel(int argc, char **argv);
int bench_offline(int argc, char **argv);
int bench_connect(int argc, char **argv);
int bench_topic(int argc, char **argv);
int bench_storm(int argc, char **argv);
int bench_fill(int argc, char **argv);
int bench_notify(int argc, char **argv);
int bench_notify_topic(int argc, char **argv);

#endif
