/* bench: which scenario. SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <string.h>

#include "bench/bench.h"
#include "bench/bench_in.h"

static const struct {
    const char *name, *help;
    int (*run)(int argc, char **argv);
} SCENARIOS[] = {{"one-to-one", "pairs of devices: rate, latency, CPU", bench_one_to_one},
    {"group", "one group, all connected: time until all have a message", bench_group},
    {"channel", "a channel of many members of whom some are connected", bench_channel},
    {"offline", "devices go away, messages are stored, they come back", bench_offline},
    {"fanout", "few publishers, one topic, many subscribers; any broker", bench_topic},
    {"storm", "all devices come back at once after the server was killed", bench_storm},
    {"connect", "many devices: connects/s, memory of each", bench_connect},
    {"fill", "stores many messages quickly", bench_fill},
    {"notify", "notifications to connected devices; also of the usual stack", bench_notify},
    {"notify-topic", "one trigger to a topic of very many who are away", bench_notify_topic}};

int bench_run(int argc, char **argv) {
    bool asked = argc > 1 && strcmp(argv[1], "--help") == 0;
    for (size_t i = 0; argc > 1 && i < sizeof SCENARIOS / sizeof *SCENARIOS; i++) {
        if (strcmp(argv[1], SCENARIOS[i].name) != 0) continue;
        char name[40];
        snprintf(name, sizeof name, "bench %s", argv[1]);
        argv[1] = name;
        return SCENARIOS[i].run(argc - 1, argv + 1);
    }
    FILE *to = asked ? stdout : stderr;
    if (argc > 1 && !asked) fprintf(to, "kith: there is no scenario '%s'\n", argv[1]);
    fputs("usage: kith bench SCENARIO [options]; 'kith bench SCENARIO --help' lists them\n", to);
    for (size_t i = 0; i < sizeof SCENARIOS / sizeof *SCENARIOS; i++)
        fprintf(to, "  %-12s %s\n", SCENARIOS[i].name, SCENARIOS[i].help);
    return asked ? EXIT_DONE : EXIT_USAGE;
}
