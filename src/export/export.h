/* export: traces for other people's tools. The journeys that shards keep (the slow ones and a
 * sample) go to a collector of OpenTelemetry: OTLP over HTTP, JSON (opentelemetry-proto 1.x), plain
 * HTTP; a collector beside the server carries them on over TLS.
 *
 *   shards' rings ──a thread, each second──▶ spans ──▶ batches (bounded) ──POST──▶ collector
 *
 * An item is a trace: the record that made it is the root span, its stages are child spans, and so
 * are its relays with theirs; devices and what took long meanwhile are events of a span.
 *
 * Invariants: shards are read and never waited for, nor do they wait; a collector that does not
 * answer costs memory up to a bound, and then spans, which are counted as dropped. No message's words
 * are sent; ids are.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef KITH_EXPORT_H
#define KITH_EXPORT_H

#include "base/base.h"

struct export;
struct events;
struct journeys;
struct export_options {
    const char *url; /* http://HOST:PORT/v1/traces */
    const char *version, *instance;
    /* the lists are copied, what they point to is borrowed until export_stop */
    const struct journeys *const *journeys;
    size_t journeys_count;
    const struct events *const *events;
    size_t events_count;
};
/* Starts the thread. MALFORMED: the URL is not one that can be sent to; words in *why. */
enum err export_start(const struct export_options *, struct export **out, struct buf *why) must_use;
/* Sends what is there, if that is quick, and ends the thread. */
void export_stop(struct export **);
bool export_url_valid(const char *url, struct buf *why);

/* Any thread. */
struct export_counts {
    uint64_t spans;    /* taken by the collector */
    uint64_t dropped;  /* spans that it never took */
    uint64_t failures; /* batches that could not be sent, each try */
};
struct export_counts export_counts(const struct export *);

#endif
