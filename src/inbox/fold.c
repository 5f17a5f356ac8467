/* inbox: what an audience got is stored once a partition; here it becomes rows of one inbox, in memory
 * when it is read, for good before anything else happens to that inbox.
 *
 * Keeps: reading shows what folding would store.
 * SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "inbox/inbox_in.h"

enum { PENDING_MAX = INBOX_BLOCK * INBOX_BLOCKS }; /* the newest: an inbox keeps no more */

struct pending {
    struct arena *arena;
    size_t count;
    struct {
        uint64_t position;
        int64_t at_ms;
        struct bytes trigger;
    } one[PENDING_MAX];
};

static bool pending_note(void *arg, const struct entry *e, struct bytes audience) {
    (void)audience;
    struct pending *p = arg;
    struct bytes trigger;
    if (!said_shared(e, &trigger)) return true;
    size_t at = p->count++ % PENDING_MAX;
    p->one[at].position = e->position;
    p->one[at].at_ms = e->at_ms;
    p->one[at].trigger = arena_copy(p->arena, trigger);
    return true;
}

static void fold_one(
    struct inbox *i, struct step *s, uint64_t position, int64_t at_ms, struct bytes trigger) {
    struct content k;
    struct workflow w;
    if (!content_find(i->cells, i->app, trigger, &k) ||
        !workflow_find(i->cells, i->app, k.workflow, &w))
        return;
    enum why why = forbidden(i->cells, i->app, i->user, i->person.wishes, &w, &k, i->now_ms);
    if (why) {
        k.id = trigger; /* of the arena: counting edits the content's cell */
        if (s) refused(s, i->user, &k, why, 0);
        return;
    }
    struct unpack u = unpack_of(arena_copy(i->arena, k.raw));
    uint64_t lies = k.lies;
    check(content_decode(&u, &k) == OK);
    k.id = trigger;
    k.lies = lies;
    struct placed p = inbox_place(s, i, &(struct placing){&w, &k, NULL, position, at_ms, false});
    if (!s || !p.joined) return;
    content_count(s, k.id, TOTAL_GROUPED, 1);
    why_add(s, i->user, k.id, WHY_GROUPED, 0, 0, p.row->id);
}

/* While a record is applied its own position is left out: it may yet give an audience something there,
 * behind a person of it whom it told nothing by name. */
bool inbox_fold(struct inbox *i, struct step *s) {
    uint64_t to = s ? s->position - 1 : UINT64_MAX;
    if (mailbox_newest_shared(i->cells, i->app) <= i->head.folded) return false;
    struct pending *p = arena_alloc(i->arena, sizeof *p);
    p->arena = i->arena;
    p->count = 0;
    mailbox_walk_shared(i->cells, i->app, i->user, i->head.folded, to, pending_note, p);
    bool again = s && s->planted == BUG_AUDIENCE_TWICE && s->position % 4 == 0;
    if (!again) i->head.folded = to;
    size_t first = p->count > PENDING_MAX ? p->count - PENDING_MAX : 0;
    for (size_t n = first; n < p->count; n++)
        fold_one(i, s, p->one[n % PENDING_MAX].position, p->one[n % PENDING_MAX].at_ms,
            p->one[n % PENDING_MAX].trigger);
    if (!s) inbox_trim_look(i);
    return p->count != 0;
}

void inbox_fold_all(struct step *s, struct bytes user) {
    struct inbox i;
    inbox_open(&i, s->cells, s->app, user, s->time_ms, s->arena);
    if (inbox_fold(&i, s)) inbox_save(s, &i);
}
