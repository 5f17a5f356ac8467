/* prefs: the link in a mail by which one click ends mails of its kind (RFC 8058): GET shows a page with a
 * button, and changes nothing, as scanners of mail follow links; POST, which the button and mail programs
 * send, stores the wish as PUT preferences does.
 *
 * The token of the path is all the permission there is, and stands for no more than this wish. Whoever
 * holds a mail may ask again: the wish is the same. A person who was erased is not made anew by it.
 * SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "outward/outward.h"
#include "prefs/prefs.h"
#include "workflow/workflow.h"

#define PATH "/v1/unsubscribe/"

/* The sum in the policy is that of STYLE: nothing else is loaded or run. */
#define STYLE                                                                                      \
    "body{margin:0;font:1.1rem/1.5 system-ui,sans-serif;background:#f6f6f4;color:#1d1d1f}"         \
    "main{max-width:30rem;margin:12vh auto 0;padding:0 1.5rem}h1{font-size:1.5rem}"                \
    "button{font:inherit;padding:.6rem 1.4rem;border:0;border-radius:.5rem;cursor:pointer;"        \
    "background:#1b5fc1;color:#fff}button:focus-visible{outline:3px solid #1b5fc1;"                \
    "outline-offset:3px}@media(prefers-color-scheme:dark){body{background:#18191b;color:#ececee}"  \
    "button{background:#8ab8ff;color:#0d1626}button:focus-visible{outline-color:#8ab8ff}}"
#define STYLE_SUM "Nfo1U0ziS1dPEpiYOvPa4EhyXy8So/6kVCk+pcKKozY="
static const char LINES[] =
    "Cache-Control: no-store\r\nContent-Security-Policy: default-src 'none'; style-src "
    "'sha256-" STYLE_SUM "'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'\r\n"
    "X-Content-Type-Options: nosniff\r\nReferrer-Policy: no-referrer\r\nX-Robots-Tag: noindex\r\n";

static void page_put(struct answer *a, struct bytes workflow, bool done) {
    struct buf *b = &a->body;
    const char *title = done ? "You are unsubscribed" : "Unsubscribe";
    buf_reset(b);
    buf_fmt(b,
        "<!doctype html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n"
        "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n"
        "<meta name=\"color-scheme\" content=\"light dark\">\n<title>%s</title>\n"
        "<style>" STYLE "</style>\n<main>\n<h1>%s</h1>\n<p>",
        title, title);
    buf_fmt(b,
        done ? "No more e-mails of the kind <b>%.*s</b> will be sent to you.</p>\n"
             : "Do you want no more e-mails of the kind <b>%.*s</b>? All else stays as it is.</p>\n"
               "<form method=\"post\">\n<input type=\"hidden\" name=\"List-Unsubscribe\" "
               "value=\"One-Click\">\n<button>Unsubscribe</button>\n</form>\n",
        (int)workflow.n,
        (const char *)workflow.p); /* an id: nothing in it means anything in HTML */
    buf_str(b, "</main>\n</html>\n");
    a->page = LINES;
}

enum notify_link notify_link(const struct tools *t, struct bytes target) {
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

void notify_link_refuse(struct answer *a) {
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
    } else notify_link_refuse(a);
    buf_done(&room);
    return kept;
}

static void query_page(struct query *q) {
    const struct unsubscribe *u = q->request->args;
    uint8_t off = preferences_off(q->cells, u->app, u->user, u->workflow);
    answer_ok(q->answer, 200);
    page_put(q->answer, u->workflow, off & CHANNEL_EMAIL);
}

static enum err plan_page(struct request *r, struct plan *p, struct answer *a) {
    p->query = query_page;
    return link_read(r, p, a) ? OK : REFUSED;
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
    page_put(a, u->workflow, true);
}

static const struct route ROUTES[] = {
    {"GET", "/v1/unsubscribe/{token}", SCOPE_OPEN, TOKEN_ANY, SPECIAL_NONE, plan_page, NULL},
    {"POST", "/v1/unsubscribe/{token}", SCOPE_OPEN, TOKEN_ANY, SPECIAL_NONE, plan_click,
        click_finish},
};
const struct surface_part unsubscribing_part = {NULL, 0, ROUTES, sizeof ROUTES / sizeof *ROUTES};
