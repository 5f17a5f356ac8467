/* content: what goes when its time is over: contents that lie by themselves (content.c), and what was
 * asked of triggers (trigger/home.c). Both are listed as they come, a few hundred to a list, and a list falls
 * due as one: when the mailbox keeps nothing of its day any more; of what was asked a day later, so that
 * an id happens once for as long as anything of it is kept anywhere.
 *
 *   '"' app tag     the list that grows: u64 n, u32 how many are in it;  tag: "" contents, "(" triggers
 *   '"' app tag n   a list: repeated varbytes id;  n: day << DAY_SHIFT | which of that day, from 0; the
 *                   day alone in stores of before there were several
 *
 *   NOTIFY_FORGET   var n, varbytes tag (none in records of before: contents)
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "content/content.h"
#include "due/due.h"
#include "mailbox/mailbox.h"

enum { DAY_MS = 86400000, DAY_SHIFT = 20, LIST_MAX = 256 };

struct forgetting { /* stored as it is, without what pads it */
    uint64_t n;
    uint32_t count;
};
enum { FORGETTING_BYTES = 12 };

static struct bytes tag_of(enum forget what) {
    return what == FORGET_TRIGGER ? BYTES("(") : (struct bytes){0};
}
static struct cell *list_cell(struct step *s, struct bytes tag, uint64_t n) {
    uint8_t room[300];
    return cells_get(s->cells, key2n(room, '"', s->app, tag, n));
}

/* The next list of this day, which falls due when its time is over. */
static void list_begin(struct step *s, enum forget what, struct forgetting *f) {
    struct buf b = {0};
    uint64_t day = (uint64_t)(s->time_ms / DAY_MS);
    uint64_t kept_days = what == FORGET_TRIGGER ? 2 : 1;
    *f = (struct forgetting){.n = f->n >> DAY_SHIFT == day ? f->n + 1 : day << DAY_SHIFT};
    pack_var(&b, f->n);
    pack_bytes(&b, tag_of(what));
    due_add(s, (int64_t)(day + kept_days) * DAY_MS + mailbox_retention_ms, KIND_NOTIFY_FORGET,
        buf_view(&b));
    buf_done(&b);
}

void forget_later(struct step *s, enum forget what, struct bytes id) {
    uint8_t room[300];
    struct bytes tag = tag_of(what);
    struct forgetting f = {0};
    struct buf b = {0};
    if (!mailbox_retention_ms) return; /* all is kept */
    struct cell *head = cells_get(s->cells, key2(room, '"', s->app, tag));
    if (head->size) memcpy(&f, head->data, FORGETTING_BYTES);
    if (!f.count || f.count >= LIST_MAX || f.n >> DAY_SHIFT != (uint64_t)(s->time_ms / DAY_MS))
        list_begin(s, what, &f);
    f.count++;
    head = cells_get(s->cells, key2(room, '"', s->app, tag));
    cells_put(s->cells, head, bytes_of(&f, FORGETTING_BYTES));
    pack_bytes(&b, id);
    cells_append(s->cells, list_cell(s, tag, f.n), buf_view(&b));
    buf_done(&b);
}

static void apply_forget(struct step *s) {
    uint8_t room[300];
    struct unpack u = unpack_of(s->body);
    uint64_t n = unpack_var(&u);
    struct bytes tag = unpack_more(&u) ? unpack_bytes(&u) : (struct bytes){0};
    struct cell *cell = list_cell(s, tag, n);
    struct unpack list = unpack_of(arena_copy(s->arena, bytes_of(cell->data, cell->size)));
    cells_put(s->cells, cell, (struct bytes){0});
    while (unpack_more(&list))
        cells_put(s->cells,
            cells_get(s->cells, key2(room, tag.n ? '(' : '&', s->app, unpack_bytes(&list))),
            (struct bytes){0});
}

static const struct record_rule RULES[] = {{KIND_NOTIFY_FORGET, apply_forget}};
const struct surface_part forgetting_part = {RULES, sizeof RULES / sizeof *RULES, NULL, 0};
