/* pages: files for browsers that are part of the program: the demo, the console, the client that
 * both are made with. tool/pages makes the table from web/ and sdk/js when the program is built, so
 * that one file is all there is to install, and nothing is read from a disk.
 *
 * Invariants: constant; paths are sorted and differ; an ETag is strong: of exactly these bytes.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef KITH_PAGES_H
#define KITH_PAGES_H

#include "base/base.h"

struct page {
    const char *path; /* "demo/index.html": of the folder's own file, without a slash in front */
    const char *type; /* Content-Type */
    const char *etag; /* quoted */
    const uint8_t *data;
    size_t size;
};
/* The page at a path, without the slash in front; of a folder ("console", "console/") its
 * index.html. NULL: there is none. */
const struct page *pages_find(struct bytes path);
/* Does an If-None-Match name what the page is now (RFC 9110, 13.1.2)? */
bool page_is_known(const struct page *p, struct bytes if_none_match);

#endif
