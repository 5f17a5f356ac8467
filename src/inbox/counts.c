/* inbox: counts as they are now, told with each entry: of the inbox as it would be merged, which is not done anew
 * where somebody is connected, has touched nothing since, and got no more than plain rows.
 * SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>
#include <string.h>

#include "inbox/inbox_in.h"

struct inbox_memo *inbox_memo_create(void) {
    struct inbox_memo *m = must_alloc(sizeof *m);
    m->merged = must_alloc((size_t)MEMO_SETS * MEMO_WAYS * sizeof *m->merged);
    return m;
}

void inbox_memo_free(struct inbox_memo **m) {
    if (!*m) return;
    for (int i = 0; i < RENDERED_SLOTS; i++) buf_done(&(*m)->rendered[i].text);
    arena_done(&(*m)->arena);
    free((*m)->merged);
    free(*m);
    *m = NULL;
}

/* ---- counts ---- */
bool plain_person(struct cells *c, struct bytes app, struct bytes user) {
    return !mailbox_look(c, app, user).wishes;
}
bool plain_content(
    struct cells *c, struct bytes app, const struct content *k, struct workflow *out) {
    return !k->collapse_key.n && !k->cancelled && workflow_find(c, app, k->workflow, out) &&
           !out->group_by.n && !expiry_of(out, k);
}

struct adding {
    struct cells *cells;
    struct bytes app;
    struct counts more;
    bool plain;
};
static bool add_entry(void *arg, const struct entry *e, struct bytes audience) {
    (void)audience;
    struct adding *a = arg;
    struct content k;
    struct workflow w;
    struct bytes trigger;
    if (!said_shared(e, &trigger)) return true;
    a->plain =
        content_find(a->cells, a->app, trigger, &k) && plain_content(a->cells, a->app, &k, &w);
    a->more.unseen++;
    a->more.unread++;
    return a->plain;
}

static struct counts counts_merged(struct inbox_memo *m, struct cells *c, struct bytes app,
    struct bytes user, int64_t now_ms, struct inbox_head *out) {
    struct inbox i;
    arena_reset(&m->arena);
    inbox_open(&i, c, app, user, now_ms, &m->arena);
    inbox_fold(&i, NULL);
    *out = i.head;
    return (struct counts){i.head.unseen, i.head.unread};
}

/* Of the same inbox since it was merged: true, and what came meanwhile is counted in. one: the only
 * thing that is known to have come, for an audience of theirs, and plain; 0: that is not known. */
static bool counts_go_on(struct merged *g, struct cells *c, struct bytes app, struct bytes user,
    uint64_t newest, uint64_t one, int64_t now_ms) {
    if (g->next_expiry && g->next_expiry <= now_ms) return false;
    if (g->upto == newest) return true;
    uint64_t in, told = mailbox_shared_told(c, app, user, &in);
    struct adding a = {.cells = c, .app = app, .plain = true, .more = {1, 1}};
    if (one != newest || told != g->told + 1 || in != g->in) {
        a.more = (struct counts){0};
        mailbox_walk_shared(c, app, user, g->upto, newest, add_entry, &a);
    }
    if (!a.plain) return false;
    g->unseen += a.more.unseen;
    g->unread += a.more.unread;
    g->upto = newest;
    g->told = told;
    g->in = in;
    return true;
}

static struct merged *merged_of(struct inbox_memo *m, uint64_t who) {
    struct merged *set = &m->merged[who % MEMO_SETS * MEMO_WAYS], *oldest = set;
    m->turn++;
    for (struct merged *g = set; g < set + MEMO_WAYS; g++) {
        if (g->who == who) {
            oldest = g;
            break;
        }
        if (m->turn - g->used > m->turn - oldest->used) oldest = g;
    }
    oldest->used = m->turn;
    return oldest;
}

struct counts counts_now(struct tools *t, struct cells *c, struct bytes app, struct bytes user,
    uint64_t one, int64_t now_ms) {
    uint8_t room[300];
    struct bytes key = key2(room, ')', app, user);
    const struct cell *cell = cells_get(c, key);
    struct inbox_head head = {0};
    uint64_t newest = mailbox_newest_shared(c, app);
    if (cell->size) memcpy(&head, cell->data, sizeof head);
    bool expired = head.next_expiry && head.next_expiry <= now_ms;
    if (newest <= head.folded && !expired) return (struct counts){head.unseen, head.unread};
    uint64_t who = hash64(key) ^ (uint64_t)(uintptr_t)c;
    bool plain = plain_person(c, app, user);
    uint64_t stamp = hash64(bytes_of(&head, sizeof head));
    struct merged *g = merged_of(t->inboxes, who);
    if (plain && !expired && g->who == who && g->stamp == stamp &&
        counts_go_on(g, c, app, user, newest, one, now_ms))
        return (struct counts){g->unseen, g->unread};
    struct counts n = counts_merged(t->inboxes, c, app, user, now_ms, &head);
    *g = (struct merged){.who = plain ? who : 0,
        .stamp = stamp,
        .upto = newest,
        .next_expiry = head.next_expiry,
        .unseen = n.unseen,
        .unread = n.unread,
        .used = g->used};
    if (plain) g->told = mailbox_shared_told(c, app, user, &g->in);
    return n;
}

void counts_json(struct buf *out, struct counts n) {
    buf_str(out, ",\"counts\":{\"unseen\":");
    buf_u64dec(out, n.unseen);
    buf_str(out, ",\"unread\":");
    buf_u64dec(out, n.unread);
    buf_char(out, '}');
}
