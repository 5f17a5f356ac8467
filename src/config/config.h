/* config: reads the YAML file of `kith serve --config`. It knows no option: the caller gives the
 * names that may stand in the file.
 *
 *   http: 127.0.0.1:8080     one level, a scalar for each name; a name at most once
 *   dev: true                what a value must be, the caller decides, as for the command line
 *
 * Lifetimes: values belong to the struct until config_done. SPDX-License-Identifier: Apache-2.0 */
#ifndef KITH_CONFIG_H
#define KITH_CONFIG_H

#include "base/base.h"

#define CONFIG_NAMES_MAX 64
struct config {
    char *values[CONFIG_NAMES_MAX]; /* as `names`; NULL where the file does not say */
};
/* MALFORMED, IO, MISSING (no such file): words with the file, the key and the line in *why; *out is
 * empty then. */
enum err config_read(const char *path, const char *const *names, size_t n, struct config *out,
    struct buf *why) must_use;
void config_done(struct config *c);

#endif
