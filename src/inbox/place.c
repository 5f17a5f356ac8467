/* inbox: a row for what leaves, or the one that it joins; and what it takes the place of.
 * SPDX-License-Identifier: Apache-2.0 */
#include "inbox/inbox_in.h"
#include "outbox/outbox.h"
#include "relevance/relevance.h"

static uint64_t collapse_of(const struct content *k) {
    if (!k->collapse_key.n) return 0;
    uint64_t h = hash64(k->collapse_key) ^ hash64(k->workflow) * 31;
    return h ? h : 1;
}

/* One that was not seen gives way. */
static struct bytes replace(
    struct step *s, struct inbox *i, uint64_t collapse, const struct content *k) {
    inbox_load(i);
    struct row *old = inbox_by_collapse(i, collapse);
    if (!old) return (struct bytes){0};
    row_begin(i, old);
    old->flags |= ROW_HIDDEN | ROW_TAKEN;
    row_end(i, old);
    if (s) {
        content_count(s, old->trigger, TOTAL_DELIVERED, -1);
        content_count(s, old->trigger, TOTAL_COLLAPSED, 1);
        why_add(s, i->user, old->trigger, WHY_REPLACED, 0, 0, k->id);
        sends_withdraw(s, i->user, old->id);
    }
    return old->id;
}

static struct row *join(
    struct step *s, struct inbox *i, struct row *r, const struct placing *p, int64_t expires) {
    if (s && p->w->learned)
        relevance_joins(s, i->user, &(struct judged){r->id, r->trigger, r->workflow});
    actors_join(s, i, r, p->k);
    row_begin(i, r);
    r->at_ms = p->at_ms;
    r->position = p->position;
    r->expires_ms = expires;
    row_end(i, r);
    return inbox_bump(i, r);
}

struct placed inbox_place(struct step *s, struct inbox *i, const struct placing *p) {
    const struct content *k = p->k;
    uint64_t group = group_of(p->w, k), collapse = collapse_of(k);
    int64_t expires = expiry_of(p->w, k);
    struct placed out = {0};
    if (group && !p->digest && !p->hidden) {
        inbox_load(i);
        struct row *r = inbox_by_group(i, k->workflow, group);
        if (r) {
            out.row = join(s, i, r, p, expires);
            out.joined = true;
            return out;
        }
    }
    if (collapse) out.replaced = replace(s, i, collapse, k);
    struct row fresh = {.id = k->id};
    if (p->digest) fresh = *p->digest;
    else actors_first(i, &fresh, k);
    row_shows(i, &fresh, k->id);
    fresh.lies = s ? content_lies(s, k->id) : k->lies;
    fresh.workflow = k->workflow;
    fresh.flags = p->hidden ? ROW_HIDDEN : 0;
    fresh.position = p->position;
    fresh.created_ms = fresh.at_ms = p->at_ms;
    fresh.expires_ms = expires;
    fresh.group = group;
    fresh.collapse = collapse;
    out.row = inbox_append(i, &fresh);
    return out;
}
