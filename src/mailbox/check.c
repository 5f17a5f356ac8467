/* mailbox: what must hold of the stored lists, looked at by `kith check`: each entry can be read,
 * positions rise, and there are as many as the head says. Reads; apply never calls it.
 * SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "mailbox/mailbox_in.h"

struct looking {
    struct cells *cells;
    struct buf *why;
    bool sound;
    char tag;
    struct bytes app, owner;
};

static void wrong(struct looking *l, const char *what, uint64_t found, uint64_t belongs) {
    buf_fmt(l->why, "%s %.*s of app %.*s: %s: %llu is stored, %llu belongs there\n",
        l->tag == 'm' ? "mailbox of" : "entries of conversation", (int)l->owner.n,
        (const char *)l->owner.p, (int)l->app.n, (const char *)l->app.p, what,
        (unsigned long long)found, (unsigned long long)belongs);
    l->sound = false;
}

/* Adds its entries to *count and moves *last on; false: words were said. */
static bool block_look(struct looking *l, uint64_t block, uint64_t *count, uint64_t *last) {
    uint8_t room[300];
    const struct cell *cell =
        cells_get(l->cells, key2n(room, l->tag == 'm' ? 'M' : 'S', l->app, l->owner, block));
    uint32_t n;
    for (uint32_t at = 0; at < cell->size; at += (uint32_t)sizeof n + n, ++*count) {
        struct entry e;
        if (cell->size - at < sizeof n) return wrong(l, "bytes of a block", cell->size, at), false;
        memcpy(&n, cell->data + at, sizeof n);
        if (n > cell->size - at - sizeof n ||
            entry_decode(bytes_of(cell->data + at + sizeof n, n), &e) != OK)
            return wrong(l, "an entry that cannot be read, in block", block, block), false;
        if (e.position <= *last)
            return wrong(l, "the order of positions", e.position, *last + 1), false;
        *last = e.position;
    }
    return true;
}

static void list_look(struct looking *l) {
    struct list_head h = list_head_get(l->cells, l->tag, l->app, l->owner);
    uint64_t count = h.first_block * LIST_BLOCK, last = 0;
    for (uint64_t block = h.first_block; h.count && block <= (h.count - 1) / LIST_BLOCK; block++) {
        if (!block_look(l, block, &count, &last)) return;
        cells_turn_end(l->cells);
    }
    if (count != h.count) wrong(l, "entries", count, h.count);
    else if (h.count && last != h.last) wrong(l, "the last position", last, h.last);
}

static bool head_note(void *arg, struct bytes key, struct bytes value) {
    (void)value;
    pack_bytes(arg, key);
    return true;
}

bool mailbox_check(struct cells *c, struct buf *why) {
    struct looking l = {.cells = c, .why = why, .sound = true};
    for (const char *tag = "ms"; *tag; tag++) {
        struct buf heads = {0};
        l.tag = *tag;
        cells_scan(c, bytes_of(tag, 1), head_note, &heads);
        struct unpack u = unpack_of(buf_view(&heads));
        while (unpack_more(&u))
            if (key2_read(unpack_bytes(&u), &l.app, &l.owner)) list_look(&l);
        buf_done(&heads);
    }
    return l.sound;
}
