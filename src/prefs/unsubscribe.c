/* prefs: the link in a mail by which one click ends mails of its kind (RFC 8058): GET shows a page with a
 * button, and changes nothing, as scanners of mail follow links; POST, which the button and mail programs
 * send, stores the wish as PUT preferences does.
 *
 * The token of the path is all the permission there is, and stands for no more than this wish. Whoever
 * holds a mail may ask again: the wish is the same. A person who was erased is not made anew by it. What
 * the page says: page.c.
 * SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "outward/outward.h"
#include "person/person.h"
#include "prefs/prefs_in.h"
#include "workflow/workflow.h"

#define PATH "/v1/unsubscribe/"

enum preferences_link preferences_link_of(const struct tools *t, struct bytes target) {
    struct unsubscribe u;
    struct buf room = {0};
    size_t n = sizeof PATH - 1;
    if (!bytes_starts(target, PATH)) return LINK_NONE;
    struct bytes token = bytes_of(target.p + n, target.n - n);
    const uint8_t *query = token.n ? memchr(token.p, '?', token.n) : NULL;
    if (query) token.n = (size_t)(query - token.p);
    enum err e = unsubscribe_read(t->unsubscribe_key, token, &room, &u);
    buf_done(&room);
    return e == OK ? LINK_HOLDS : LINK_FORGED;
}

void preferences_link_refuse(struct answer *a) {
    answer_problem(a, PROBLEM_NOT_FOUND, "",
        "this is no link of a mail that was sent from here; it may have been cut: open it from the "
        "mail again");
}

/* The link's person and workflow, kept with the request, whose app it says too. */
static const struct unsubscribe *link_read(struct request *r, struct plan *p, struct answer *a) {
    struct buf room = {0};
    struct unsubscribe u, *kept = NULL;
    if (unsubscribe_read(r->tools->unsubscribe_key, r->params[0], &room, &u) == OK) {
        kept = arena_alloc(r->arena, sizeof *kept);
        *kept = (struct unsubscribe){arena_copy(r->arena, u.app), arena_copy(r->arena, u.user),
            arena_copy(r->arena, u.workflow)};
        r->args = kept;
        r->who.app = kept->app;
        p->partition = partition_of_user(kept->app, kept->user, r->partitions);
    } else preferences_link_refuse(a);
    buf_done(&room);
    return kept;
}

static void query_page(struct query *q) {
    const struct unsubscribe *u = q->request->args;
    uint8_t off = preferences_off(q->cells, u->app, u->user, u->workflow);
    struct person who;
    if (!person_find(q->cells, u->app, u->user, &who)) who = (struct person){0};
    page_put(q->answer, off & CHANNEL_EMAIL ? PAGE_DONE : PAGE_ASK,
        page_language(q->tools->kit, who.locale, q->request->languages), u->workflow);
}

static enum err plan_page(struct request *r, struct plan *p, struct answer *a) {
    p->query = query_page;
    if (link_read(r, p, a)) return OK;
    if (r->wants_page) { /* a person looks, not a program */
        unsigned language = page_language(r->tools->kit, BYTES(""), r->languages);
        a->problem = PROBLEM_NONE;
        page_put(a, PAGE_CUT, language, BYTES(""));
    }
    return REFUSED;
}

static enum err plan_click(struct request *r, struct plan *p, struct answer *a) {
    const struct unsubscribe *u = link_read(r, p, a);
    if (!u) return REFUSED;
    p->kind = KIND_PREFERENCES_PUT;
    preferences_pack_off(&p->body, u->user, u->workflow, CHANNEL_EMAIL);
    return OK;
}

static void click_finish(const struct request *r, struct admit *admit, struct answer *a) {
    const struct unsubscribe *u = r->args;
    (void)admit;
    /* the page that was clicked says in which language it was */
    unsigned language = page_language(r->tools->kit, request_query(r, "lang"), r->languages);
    page_put(a, PAGE_DONE, language, u->workflow);
}

static const struct route ROUTES[] = {
    {"GET", "/v1/unsubscribe/{token}", SCOPE_OPEN, TOKEN_ANY, SPECIAL_NONE, plan_page, NULL},
    {"POST", "/v1/unsubscribe/{token}", SCOPE_OPEN, TOKEN_ANY, SPECIAL_NONE, plan_click,
        click_finish},
};
const struct surface_part unsubscribing_part = {NULL, 0, ROUTES, sizeof ROUTES / sizeof *ROUTES};
