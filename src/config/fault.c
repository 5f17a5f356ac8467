/* config: what is wrong with a file that could not be read, by its own eyes: line by line, as the file is of one
 * level; so that words name the line, the fault and its mend where a YAML parser only knows what it did not expect.
 * SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <string.h>

#include "config/config_in.h"

struct line {
    unsigned number;
    struct bytes text, name, value; /* value: behind the colon, without a comment behind it */
};
struct looking {
    const char *const *names;
    size_t n;
    unsigned seen[CONFIG_NAMES_MAX]; /* in which line; 0: not yet */
    struct buf *why;
};

static struct bytes trimmed(struct bytes v) {
    while (v.n && (*v.p == ' ' || *v.p == '\t')) v = bytes_of(v.p + 1, v.n - 1);
    while (v.n && strchr(" \t\r", v.p[v.n - 1])) v.n--;
    return v;
}

static struct bytes without_comment(struct bytes v) {
    for (size_t i = 0; i < v.n; i++)
        if (v.p[i] == '#' && (!i || v.p[i - 1] == ' ')) v.n = i;
    return v;
}

/* false: there is no colon that ends a name. */
static bool line_split(struct line *l) {
    for (size_t i = 0; i < l->text.n; i++) {
        if (l->text.p[i] != ':' || (i + 1 < l->text.n && !strchr(" \t\r", l->text.p[i + 1])))
            continue;
        l->name = trimmed(bytes_of(l->text.p, i));
        l->value = bytes_of(l->text.p + i + 1, l->text.n - i - 1);
        if (*trimmed(l->value).p != '"' && *trimmed(l->value).p != '\'')
            l->value = without_comment(l->value);
        l->value = trimmed(l->value);
        return true;
    }
    return false;
}

/* How many letters differ (Levenshtein 1966); of words that are no longer than names are. */
enum { NAME_MAX_BYTES = 31, NEAR = 2 };
static unsigned distance(struct bytes a, struct bytes b) {
    unsigned row[NAME_MAX_BYTES + 1];
    if (a.n > NAME_MAX_BYTES || b.n > NAME_MAX_BYTES) return NAME_MAX_BYTES;
    for (unsigned i = 0; i <= b.n; i++) row[i] = i;
    for (size_t k = 0; k < a.n; k++) {
        unsigned corner = row[0]++;
        for (size_t i = 0; i < b.n; i++) {
            unsigned least = corner + (a.p[k] != b.p[i]);
            corner = row[i + 1];
            if (row[i] + 1 < least) least = row[i] + 1;
            if (corner + 1 < least) least = corner + 1;
            row[i + 1] = least;
        }
    }
    return row[b.n];
}

static bool at(const struct looking *l, const struct line *line) {
    buf_fmt(l->why, ": line %u: ", line->number);
    return true;
}

static bool name_wrong(struct looking *l, const struct line *line) {
    size_t k = 0, nearest = 0;
    unsigned least = NEAR + 1;
    for (; k < l->n && !bytes_is(line->name, l->names[k]); k++) {
        unsigned d = distance(line->name, bytes_str(l->names[k]));
        if (d >= least) continue;
        least = d;
        nearest = k;
    }
    int n = (int)(line->name.n < 64 ? line->name.n : 64);
    const char *name = (const char *)line->name.p;
    if (k == l->n) {
        at(l, line);
        buf_fmt(l->why, "there is no option '%.*s'; ", n, name);
        if (least <= NEAR) buf_fmt(l->why, "is '%s' meant?", l->names[nearest]);
        else buf_str(l->why, "'kith serve --help' lists them");
        return true;
    }
    if (l->seen[k]) {
        at(l, line);
        buf_fmt(l->why, "'%.*s' is there a second time, after line %u; take one of them out", n,
            name, l->seen[k]);
        return true;
    }
    l->seen[k] = line->number;
    return false;
}

static bool quote_open(struct bytes v) {
    size_t i = 1;
    if (!v.n || (*v.p != '"' && *v.p != '\'')) return false;
    while (i < v.n && v.p[i] != *v.p) i += *v.p == '"' && v.p[i] == '\\' ? 2 : 1;
    return i >= v.n;
}

static bool holds_colon(struct bytes v) {
    for (size_t i = 0; i < v.n; i++)
        if (v.p[i] == ':' && (i + 1 == v.n || v.p[i + 1] == ' ')) return true;
    return false;
}

static bool value_wrong(struct looking *l, const struct line *line) {
    struct bytes v = line->value;
    const char *words = NULL;
    if (!v.n) words = "has no value; write it behind the colon, or take the line out";
    else if (*v.p == '[' || *v.p == '{')
        words = "takes one value, no list and no mapping; put it in quotes if it begins so";
    else if (quote_open(v)) words = "begins with a quotation mark that does not end in this line";
    else if (*v.p == '"' || *v.p == '\'') return false;
    else if (strchr("&*!|>%@`", *v.p) || (*v.p == '-' && v.n > 1 && v.p[1] == ' '))
        words =
            "begins with a character that means something else in YAML; put the value in quotes";
    else if (holds_colon(v)) words = "has a value with a colon and a space; put it in quotes";
    if (!words) return false;
    at(l, line);
    buf_fmt(l->why, "'%.*s' %s", (int)line->name.n, (const char *)line->name.p, words);
    return true;
}

static bool line_wrong(struct looking *l, struct line *line) {
    const char *words = NULL;
    struct bytes bare = trimmed(line->text);
    if (!bare.n || *bare.p == '#' || bytes_is(bare, "---") || bytes_is(bare, "...")) return false;
    if (!utf8_valid(line->text)) words = "this is not UTF-8; save the file as UTF-8";
    else if (*line->text.p == '\t')
        words =
            "begins with a tab; a name begins where the line does, as in 'http: 127.0.0.1:8080'";
    else if (*line->text.p == ' ')
        words = "is indented; a name begins where the line does, as in 'http: 127.0.0.1:8080'";
    else if (*bare.p == '-' && (bare.n == 1 || bare.p[1] == ' '))
        words = "is of a list; each line is 'name: value', as in 'http: 127.0.0.1:8080'";
    else if (*bare.p == '%') words = "is a directive; take it out";
    else if (!line_split(line))
        words = "has no colon with a space behind it; write 'name: value', as in "
                "'http: 127.0.0.1:8080'";
    else return name_wrong(l, line) || value_wrong(l, line);
    at(l, line);
    buf_str(l->why, words);
    return true;
}

bool config_fault(const char *path, const char *const *names, size_t n, struct buf *why) {
    struct looking l = {.names = names, .n = n, .why = why};
    char text[4096 + 64];
    bool found = false;
    FILE *f = fopen(path, "r");
    for (unsigned number = 1; f && !found && fgets(text, sizeof text, f); number++) {
        struct line line = {
            .number = number, .text = bytes_of((const uint8_t *)text, strcspn(text, "\n"))};
        found = line_wrong(&l, &line);
    }
    if (f) fclose(f);
    return found;
}
