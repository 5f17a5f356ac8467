/* pages: see pages.h. SPDX-License-Identifier: Apache-2.0 */
#include "pages/pages.h"

#include <stdio.h>
#include <string.h>

#include "pages/pages_in.h"

enum { PATH_MAX_BYTES = 120 };

static const struct page *exact(const char *path) {
    size_t low = 0, high = PAGES_COUNT;
    while (low < high) {
        size_t at = (low + high) / 2;
        int order = strcmp(path, PAGES[at].path);
        if (!order) return &PAGES[at];
        if (order < 0) high = at;
        else low = at + 1;
    }
    return NULL;
}

const struct page *pages_find(struct bytes path) {
    char text[PATH_MAX_BYTES + sizeof "/index.html"];
    if (path.n > PATH_MAX_BYTES || (path.n && memchr(path.p, 0, path.n))) return NULL;
    snprintf(text, sizeof text, "%.*s", (int)path.n, (const char *)path.p);
    const struct page *p = exact(text);
    if (p || !path.n) return p;
    bool slash = path.p[path.n - 1] == '/';
    snprintf(text + path.n, sizeof text - path.n, "%sindex.html", slash ? "" : "/");
    return exact(text);
}

bool page_is_known(const struct page *p, struct bytes v) {
    size_t n = strlen(p->etag);
    if (bytes_is(v, "*")) return true;
    /* W/"..." is compared without its W: for reading, weak is enough */
    for (size_t i = 0; i + n <= v.n; i++)
        if (memcmp(v.p + i, p->etag, n) == 0) return true;
    return false;
}
