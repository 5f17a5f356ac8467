/* channel: topics with a retained message, by app. SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>
#include <string.h>

#include "channel/channel.h"

/* An app's topics in a table by hash, so that setting one is O(1); a wildcard asks each. */
struct kept_topic {
    char *text; /* owned; NULL: free */
    uint16_t size, partition;
};
struct app_topics {
    char name[65];
    struct kept_topic *slots;
    size_t size, used;
};
struct retained {
    struct app_topics *apps;
    size_t n;
};

struct retained *retained_create(void) {
    return must_alloc(sizeof(struct retained));
}

void retained_free(struct retained **pr) {
    struct retained *r = *pr;
    if (!r) return;
    for (size_t a = 0; a < r->n; a++) {
        for (size_t i = 0; i < r->apps[a].size; i++) free(r->apps[a].slots[i].text);
        free(r->apps[a].slots);
    }
    free(r->apps);
    free(r);
    *pr = NULL;
}

static struct app_topics *app_find(const struct retained *r, struct bytes app) {
    for (size_t i = 0; i < r->n; i++)
        if (bytes_eq(bytes_str(r->apps[i].name), app)) return &r->apps[i];
    return NULL;
}

static struct app_topics *app_make(struct retained *r, struct bytes app) {
    struct app_topics *a = app_find(r, app);
    if (a) return a;
    r->apps = must_realloc(r->apps, (r->n + 1) * sizeof *r->apps);
    a = &r->apps[r->n++];
    *a = (struct app_topics){.size = 16};
    check(app.n < sizeof a->name);
    memcpy(a->name, app.p, app.n);
    a->slots = must_alloc(a->size * sizeof *a->slots);
    return a;
}

static struct bytes text_of(const struct kept_topic *t) { return bytes_of(t->text, t->size); }

static size_t place(const struct app_topics *a, struct bytes topic) {
    size_t i = hash64(topic) & (a->size - 1);
    while (a->slots[i].text && !bytes_eq(text_of(&a->slots[i]), topic)) i = (i + 1) & (a->size - 1);
    return i;
}

static void grow(struct app_topics *a) {
    struct kept_topic *old = a->slots;
    size_t n = a->size;
    a->size *= 2;
    a->slots = must_alloc(a->size * sizeof *a->slots);
    for (size_t i = 0; i < n; i++)
        if (old[i].text) a->slots[place(a, text_of(&old[i]))] = old[i];
    free(old);
}

static void drop(struct app_topics *a, size_t hole) {
    free(a->slots[hole].text);
    for (size_t i = hole;;) {
        i = (i + 1) & (a->size - 1);
        if (!a->slots[i].text) break;
        size_t home = hash64(text_of(&a->slots[i])) & (a->size - 1);
        if (((i - home) & (a->size - 1)) < ((i - hole) & (a->size - 1))) continue;
        a->slots[hole] = a->slots[i];
        hole = i;
    }
    a->slots[hole] = (struct kept_topic){0};
    a->used--;
}

void retained_set(
    struct retained *r, struct bytes app, struct bytes topic, uint16_t partition, bool on) {
    struct app_topics *a = app_make(r, app);
    size_t i = place(a, topic);
    if (!on && a->slots[i].text) drop(a, i);
    if (!on || a->slots[i].text) return;
    if ((a->used + 1) * 4 > a->size * 3) {
        grow(a);
        i = place(a, topic);
    }
    struct kept_topic *t = &a->slots[i];
    t->text = must_alloc(topic.n + 1);
    memcpy(t->text, topic.p, topic.n);
    t->size = (uint16_t)topic.n;
    t->partition = partition;
    a->used++;
}

struct scan {
    struct retained *r;
    uint16_t partition;
};

static bool scan_one(void *arg, struct bytes key, struct bytes value) {
    struct scan *s = arg;
    const uint8_t *end = memchr(key.p, 0, key.n);
    check(end);
    size_t app = (size_t)(end - key.p) - 1;
    retained_set(s->r, bytes_of(key.p + 1, app), bytes_of(end + 1, key.n - app - 3), s->partition,
        value.n != 0);
    return true;
}

void retained_scan(struct retained *r, struct cells *c, uint16_t partition) {
    struct scan s = {r, partition};
    cells_scan(c, BYTES("3"), scan_one, &s);
}

void retained_match(const struct retained *r, struct bytes app, struct bytes filter,
    bool (*fn)(void *, uint16_t, struct bytes), void *arg) {
    const struct app_topics *a = app_find(r, app);
    if (!a || !a->used) return;
    if (mqtt_topic_valid(filter)) {
        const struct kept_topic *t = &a->slots[place(a, filter)];
        if (t->text) fn(arg, t->partition, text_of(t));
        return;
    }
    for (size_t i = 0; i < a->size; i++) {
        const struct kept_topic *t = &a->slots[i];
        if (t->text && mqtt_filter_matches(filter, text_of(t)) &&
            !fn(arg, t->partition, text_of(t)))
            return;
    }
}
