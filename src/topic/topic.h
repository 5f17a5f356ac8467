/* topic: a set of MQTT filters, and the question which of them match a topic.
 *
 *   "a/b"      -> hash of its levels                        } one table from hash to entries;
 *   "a/+/c/#"  -> hash of its levels under a shape (+ , #)  } a topic is asked once for each shape in use
 *
 * A filter costs its slot of the table and nothing else: the text and the entry belong to the
 * caller, who embeds `struct topic_entry`. Most sets have a handful of shapes (where the wildcards
 * stand), so that a match costs a few hashes however many filters there are.
 *
 * Invariants: an entry is in one set at most; between add and remove its text does not change.
 * Limits: TOPIC_SHAPES_MAX shapes a set; a '+' stands in the first 64 levels.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef KITH_TOPIC_H
#define KITH_TOPIC_H

#include "base/base.h"

enum { TOPIC_SHAPES_MAX = 256, TOPIC_LEVELS_MAX = 64 };

struct topic_entry {
    const char *text; /* a valid filter; not ended by a zero byte */
    uint16_t size;
    uint32_t at; /* the set's: its place among those with the same hash */
};
struct topics;
struct topics *topics_create(void);
void topics_free(struct topics **); /* the entries stay the caller's */
size_t topics_count(const struct topics *t);
/* LIMIT: more shapes, or more levels, than a set takes. */
enum err topics_add(struct topics *t, struct topic_entry *e) must_use;
void topics_remove(struct topics *t, struct topic_entry *e);
/* Gives every entry whose filter matches the topic, in no promised order; fn must not change the
 * set. */
void topics_match(const struct topics *t, struct bytes topic,
    void (*fn)(void *arg, struct topic_entry *e), void *arg);
/* The entry with just this filter that fn says is meant; NULL when there is none. */
struct topic_entry *topics_find(const struct topics *t, struct bytes filter,
    bool (*fn)(void *arg, const struct topic_entry *e), void *arg);

#endif
