/* replay: a recorded trace in memory: who wrote to whom, and when. One line is `from to
 * unix-seconds`, separated by blanks, tabs or commas; more columns are ignored, so are empty lines,
 * lines that begin with # or %, and a header (a first line whose third field is no number).
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef KITH_REPLAY_TRACE_H
#define KITH_REPLAY_TRACE_H

#include "base/base.h"

struct trace_message {
    uint32_t conversation, next; /* next: of the same conversation, TRACE_NONE at its end */
    uint32_t line;
    bool by_second; /* the second of the conversation's people wrote it */
    double at_s;    /* since the first message; never falls */
};
#define TRACE_NONE 0xffffffffu
struct trace_conversation {
    uint32_t people[2];          /* the same twice: somebody writes to themselves */
    uint32_t first, last, count; /* messages */
};
struct trace {
    struct trace_message *messages;
    struct trace_conversation *conversations;
    struct bytes *people;
    size_t message_count, conversation_count, people_count;
    struct arena names;
};
/* MALFORMED, MISSING, IO: words with file and line in *why; *out is to be freed either way. */
enum err trace_read(const char *path, struct trace *out, struct buf *why) must_use;
void trace_done(struct trace *t);

#endif
