/* config, inside: what its files give each other.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef KITH_CONFIG_IN_H
#define KITH_CONFIG_IN_H

#include "config/config.h"

/* ---- fault.c ---- */
/* The first thing wrong with the file, added to *why as ": line 2: ..."; false: nothing that it knows. */
bool config_fault(const char *path, const char *const *names, size_t n, struct buf *why);

#endif
