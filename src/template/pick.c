/* template: which language serves someone best, remembered: a person's languages are few, and so are
 * the lists that workflows have. One place for each hash: the newest takes it.
 * SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>
#include <string.h>

#include "template/template_in.h"

enum { PICKS = 512, AVAILABLE_MAX = 64, KEY_MAX = 4096 };

struct pick {
    uint64_t hash;
    struct buf key; /* varbytes wanted, then the list; empty: none is here */
    size_t at;
};

struct pick *picks_create(void) {
    return must_alloc(PICKS * sizeof(struct pick));
}

void picks_free(struct pick **picks) {
    for (size_t i = 0; *picks && i < PICKS; i++) buf_done(&(*picks)[i].key);
    free(*picks);
    *picks = NULL;
}

static size_t pick(struct template_kit *k, struct bytes wanted, struct bytes packed) {
    struct bytes available[AVAILABLE_MAX];
    size_t n = 0;
    struct unpack u = unpack_of(packed);
    while (n < AVAILABLE_MAX && unpack_more(&u)) available[n++] = unpack_bytes(&u);
    size_t at = template_locale_pick(k, wanted, available, n);
    return at == n ? SIZE_MAX : at;
}

static bool same(const struct pick *p, uint64_t hash, struct bytes wanted, struct bytes packed) {
    return p->hash == hash && p->key.n == wanted.n + packed.n + 1 && p->key.p[0] == wanted.n &&
           bytes_eq(bytes_of(p->key.p + 1, wanted.n), wanted) &&
           bytes_eq(bytes_of(p->key.p + 1 + wanted.n, packed.n), packed);
}

size_t template_locale_pick_kept(struct template_kit *k, struct bytes wanted, struct bytes packed) {
    if (!wanted.n) return SIZE_MAX;
    if (wanted.n >= TEMPLATE_LOCALE_MAX || packed.n > KEY_MAX) return pick(k, wanted, packed);
    uint64_t hash = hash64(packed) ^ hash64(wanted) << 1;
    struct pick *p = &k->picks[hash % PICKS];
    if (same(p, hash, wanted, packed)) return p->at;
    p->at = pick(k, wanted, packed);
    p->hash = hash;
    buf_reset(&p->key);
    pack_u8(&p->key, (uint8_t)wanted.n);
    buf_bytes(&p->key, wanted);
    buf_bytes(&p->key, packed);
    return p->at;
}
