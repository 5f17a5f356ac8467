/* pages, inside: the table that tool/pages makes. SPDX-License-Identifier: Apache-2.0 */
#ifndef KITH_PAGES_IN_H
#define KITH_PAGES_IN_H

#include "pages/pages.h"

extern const struct page PAGES[]; /* sorted by path, as bytes */
extern const size_t PAGES_COUNT;

#endif
