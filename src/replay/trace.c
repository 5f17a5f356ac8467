/* replay: reading a recorded trace whole, before anything is sent, so that a fault in its last line
 * costs nothing. People and pairs are numbered in the order of their first line.
 * SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "replay/trace.h"

#define SEPARATORS " \t,"
#define SHOWN_MAX 60 /* bytes of a bad line that an error shows */
#define MESSAGES_MAX 100000000u

/* ---- numbering: open addressing over indexes + 1, at most half full ---- */
struct numbers {
    uint32_t *slots;
    size_t cap, used;
    uint64_t (*hash)(const struct trace *t, uint32_t index);
};

static uint64_t person_hash(const struct trace *t, uint32_t i) { return hash64(t->people[i]); }
static uint64_t pair_hash(const struct trace *t, uint32_t i) {
    return hash64(bytes_of(t->conversations[i].people, sizeof t->conversations[i].people));
}

static void numbers_grow(struct numbers *n, const struct trace *t) {
    uint32_t *old = n->slots;
    size_t old_cap = n->cap;
    n->cap = old_cap ? old_cap * 2 : 1024;
    n->slots = must_alloc(n->cap * sizeof *n->slots);
    for (size_t i = 0; i < old_cap; i++) {
        if (!old[i]) continue;
        size_t at = n->hash(t, old[i] - 1) & (n->cap - 1);
        while (n->slots[at]) at = (at + 1) & (n->cap - 1);
        n->slots[at] = old[i];
    }
    free(old);
}

static void *list_room(void *list, size_t count, size_t size) {
    if (count && (count & (count - 1))) return list; /* grows at powers of two */
    return must_realloc(list, (count ? count * 2 : 1) * size);
}

struct reading {
    const char *path;
    struct trace *t;
    struct numbers people, pairs;
    double first_s, last_s;
    uint32_t line;
    bool begun; /* the first line that counts was seen */
};

static uint32_t person_of(struct reading *r, struct bytes name) {
    struct trace *t = r->t;
    struct numbers *n = &r->people;
    if (n->used * 2 >= n->cap) numbers_grow(n, t);
    size_t at = hash64(name) & (n->cap - 1);
    for (; n->slots[at]; at = (at + 1) & (n->cap - 1))
        if (bytes_eq(t->people[n->slots[at] - 1], name)) return n->slots[at] - 1;
    t->people = list_room(t->people, t->people_count, sizeof *t->people);
    t->people[t->people_count++] = arena_copy(&t->names, name);
    n->used++;
    return (n->slots[at] = (uint32_t)t->people_count) - 1;
}

static uint32_t pair_of(struct reading *r, uint32_t a, uint32_t b) {
    struct trace *t = r->t;
    struct numbers *n = &r->pairs;
    struct trace_conversation c = {
        .people = {a < b ? a : b, a < b ? b : a}, .first = TRACE_NONE, .last = TRACE_NONE};
    if (n->used * 2 >= n->cap) numbers_grow(n, t);
    size_t at = hash64(bytes_of(c.people, sizeof c.people)) & (n->cap - 1);
    for (; n->slots[at]; at = (at + 1) & (n->cap - 1))
        if (memcmp(t->conversations[n->slots[at] - 1].people, c.people, sizeof c.people) == 0)
            return n->slots[at] - 1;
    t->conversations = list_room(t->conversations, t->conversation_count, sizeof *t->conversations);
    t->conversations[t->conversation_count++] = c;
    n->used++;
    return (n->slots[at] = (uint32_t)t->conversation_count) - 1;
}

/* ---- lines ---- */
static bool number_read(struct bytes v, double *out) {
    char text[40], *end;
    if (!v.n || v.n >= sizeof text) return false;
    memcpy(text, v.p, v.n);
    text[v.n] = 0;
    *out = strtod(text, &end);
    return !*end && isfinite(*out) && *out >= 0;
}

static size_t fields_cut(char *line, struct bytes out[3]) {
    size_t n = 0;
    for (char *p = line; n < 3; n++) {
        p += strspn(p, SEPARATORS);
        size_t len = strcspn(p, SEPARATORS);
        if (!len) break;
        out[n] = bytes_of(p, len);
        p += len;
    }
    return n;
}

static enum err fault(
    const struct reading *r, struct buf *why, const char *what, struct bytes shown) {
    buf_fmt(why, "%s:%u: %s: '%.*s'", r->path, r->line, what,
        (int)(shown.n < SHOWN_MAX ? shown.n : SHOWN_MAX), (const char *)shown.p);
    return MALFORMED;
}

static void message_add(struct reading *r, struct bytes from, struct bytes to, double at_s) {
    struct trace *t = r->t;
    uint32_t a = person_of(r, from), b = person_of(r, to), conversation = pair_of(r, a, b),
             i = (uint32_t)t->message_count;
    struct trace_conversation *c = &t->conversations[conversation];
    if (!i) r->first_s = r->last_s = at_s;
    if (at_s > r->last_s) r->last_s = at_s; /* a line out of order is sent with the one before it */
    t->messages = list_room(t->messages, t->message_count, sizeof *t->messages);
    t->messages[t->message_count++] = (struct trace_message){.conversation = conversation,
        .next = TRACE_NONE,
        .line = r->line,
        .by_second = a != c->people[0],
        .at_s = r->last_s - r->first_s};
    if (c->count++) t->messages[c->last].next = i;
    else c->first = i;
    c->last = i;
}

static enum err line_take(struct reading *r, char *line, size_t n, struct buf *why) {
    struct bytes f[3] = {{0}};
    double at_s;
    while (n && (line[n - 1] == '\n' || line[n - 1] == '\r')) line[--n] = 0;
    struct bytes whole = bytes_of(line, n);
    if (strlen(line) != n) return fault(r, why, "the line holds a zero byte", whole);
    size_t fields = fields_cut(line, f);
    if (!fields || f[0].p[0] == '#' || f[0].p[0] == '%') return OK;
    bool first = !r->begun, number = fields == 3 && number_read(f[2], &at_s);
    r->begun = true;
    if (first && fields == 3 && !number) return OK; /* a header */
    if (fields < 3)
        return fault(
            r, why, "a line is `from to unix-seconds`, this one has too few fields", whole);
    if (!number) return fault(r, why, "the third field must be a time in seconds", f[2]);
    for (int i = 0; i < 2; i++)
        if (!id_valid(f[i]))
            return fault(
                r, why, "this cannot be a user's id (1 to 64 of A-Z a-z 0-9 _ . : -)", f[i]);
    if (r->t->message_count >= MESSAGES_MAX)
        return fault(r, why, "more messages than a replay can hold", whole);
    message_add(r, f[0], f[1], at_s);
    return OK;
}

enum err trace_read(const char *path, struct trace *out, struct buf *why) {
    struct reading r = {
        .path = path, .t = out, .people = {.hash = person_hash}, .pairs = {.hash = pair_hash}};
    char *line = NULL;
    size_t cap = 0;
    ssize_t n;
    enum err e = OK;
    *out = (struct trace){0};
    FILE *f = fopen(path, "re");
    if (!f) return buf_fmt(why, "%s: %s", path, strerror(errno)), MISSING;
    while (e == OK && (n = getline(&line, &cap, f)) >= 0) {
        r.line++;
        e = line_take(&r, line, (size_t)n, why);
    }
    if (e == OK && ferror(f)) e = (buf_fmt(why, "%s: %s", path, strerror(errno)), IO);
    if (e == OK && !out->message_count)
        e = (buf_fmt(why, "%s: holds no message; a line is `from to unix-seconds`", path),
            MALFORMED);
    fclose(f);
    free(line);
    free(r.people.slots);
    free(r.pairs.slots);
    return e;
}

void trace_done(struct trace *t) {
    free(t->messages);
    free(t->conversations);
    free(t->people);
    arena_done(&t->names);
    *t = (struct trace){0};
}
