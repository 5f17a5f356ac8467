/* core: the one way to standard error: a line is one JSON object (RFC 8259) with its time, level
 * and message, and what else there is to say by name. Written by one call, so that lines of several
 * threads do not mix.
 * SPDX-License-Identifier: Apache-2.0 */
#include <unistd.h>

#include "io/io.h"
#include "core/core.h"
#include "wire/wire.h"

void trace_write(
    enum trace_level level, const char *message, const struct trace_field *fields, size_t n) {
    static const char *const LEVELS[] = {"info", "warning", "error", "fatal"};
    struct buf line = {0};
    struct json_out o = {&line, false};
    jo_open_obj(&o);
    jo_key(&o, "time");
    jo_time(&o, clock_wall_ms());
    jo_key(&o, "level");
    jo_str(&o, bytes_str(LEVELS[level]));
    jo_key(&o, "message");
    jo_str_any(&o, bytes_str(message));
    for (size_t i = 0; i < n; i++) {
        if (!fields[i].name) continue;
        jo_key(&o, fields[i].name);
        if (fields[i].is_number) jo_i64(&o, fields[i].number);
        else jo_str_any(&o, fields[i].text);
    }
    jo_close_obj(&o);
    buf_char(&line, '\n');
    /* nobody can be told that nobody can be told */
    (void)!write(STDERR_FILENO, line.p, line.n);
    buf_done(&line);
}
