/* template: programs by their text, so that whoever has only the text pays for compiling once. A
 * set of four places for each hash: the one that was used longest ago makes way.
 * SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>
#include <string.h>

#include "template/template_in.h"

enum { WAYS = 4 };

struct kept {
    uint64_t used; /* the count of askings when it was last asked for; 0: empty */
    uint64_t hash;
    struct buf key; /* locale, 0, text: texts of different apps may not be taken for one another */
    struct template_program *program;
};
struct template_cache {
    struct template_kit *kit;
    struct kept *places;
    size_t sets;
    uint64_t asked, compiled;
};

struct template_cache *template_cache_create(struct template_kit *kit, size_t programs) {
    struct template_cache *c = must_alloc(sizeof *c);
    c->kit = kit;
    c->sets = programs / WAYS ? programs / WAYS : 1;
    c->places = must_alloc(c->sets * WAYS * sizeof *c->places);
    return c;
}

void template_cache_free(struct template_cache **pc) {
    struct template_cache *c = *pc;
    if (!c) return;
    for (size_t i = 0; i < c->sets * WAYS; i++) {
        template_free(&c->places[i].program);
        buf_done(&c->places[i].key);
    }
    free(c->places);
    free(c);
    *pc = NULL;
}

uint64_t template_cache_compiled(const struct template_cache *c) { return c->compiled; }

static bool same(const struct kept *k, uint64_t hash, struct bytes locale, struct bytes text) {
    return k->used && k->hash == hash && k->key.n == locale.n + 1 + text.n &&
           bytes_eq(bytes_of(k->key.p, locale.n), locale) && !k->key.p[locale.n] &&
           bytes_eq(bytes_of(k->key.p + locale.n + 1, text.n), text);
}

enum err template_cache_get(struct template_cache *c, struct bytes locale, struct bytes text,
    struct template_program **out, struct template_fault *fault) {
    uint64_t hash = hash64(text) ^ (hash64(locale) << 1);
    struct kept *set = &c->places[hash % c->sets * WAYS], *oldest = set;
    c->asked++;
    for (struct kept *k = set; k < set + WAYS; k++) {
        if (same(k, hash, locale, text)) {
            k->used = c->asked;
            *out = k->program;
            return OK;
        }
        if (k->used < oldest->used) oldest = k;
    }
    struct template_program *made;
    enum err e = template_compile(c->kit, locale, text, &made, fault);
    if (e != OK) return e;
    c->compiled++;
    template_free(&oldest->program);
    buf_reset(&oldest->key);
    buf_bytes(&oldest->key, locale);
    buf_char(&oldest->key, 0);
    buf_bytes(&oldest->key, text);
    oldest->hash = hash;
    oldest->used = c->asked;
    *out = oldest->program = made;
    return OK;
}
