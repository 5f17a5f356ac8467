/* core: the table of surfaces and the way from a path to its route.
 * SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <string.h>

#include "channel/channel.h"
#include "chat/chat.h"
#include "core/core.h"
#include "due/due.h"
#include "inbox/inbox.h"
#include "notify/notify.h"
#include "users/users.h"

static const struct route OWN[] = {
    {"GET", "/metrics", SCOPE_OPERATE, TOKEN_NEVER, SPECIAL_METRICS, NULL, NULL},
    {"GET", "/healthz", SCOPE_OPEN, TOKEN_ANY, SPECIAL_HEALTH, NULL, NULL},
    {"GET", "/readyz", SCOPE_OPEN, TOKEN_ANY, SPECIAL_READY, NULL, NULL},
    {"GET", "/v1/doctor", SCOPE_OPERATE, TOKEN_NEVER, SPECIAL_DOCTOR, NULL, NULL},
    {"GET", "/v1/slow", SCOPE_OPERATE, TOKEN_NEVER, SPECIAL_SLOW, NULL, NULL},
    {"GET", "/v1/sessions", SCOPE_OPERATE, TOKEN_NEVER, SPECIAL_SESSIONS, NULL, NULL},
    {"GET", "/v1/flow", SCOPE_OPERATE, TOKEN_NEVER, SPECIAL_FLOW, NULL, NULL},
    {"GET", "/v1/users/{id}/sessions", SCOPE_OPERATE, TOKEN_NEVER, SPECIAL_USER_SESSIONS, NULL,
        NULL},
    {"GET", "/v1/items/{id}/journey", SCOPE_OPERATE, TOKEN_NEVER, SPECIAL_JOURNEY, NULL, NULL},
    {"GET", "/openapi.json", SCOPE_OPEN, TOKEN_ANY, SPECIAL_OPENAPI, NULL, NULL},
    {"GET", "/v1/push/key",
        SCOPE_READ | SCOPE_WRITE | SCOPE_TOKENS | SCOPE_MODERATE | SCOPE_OPERATE, TOKEN_ANY,
        SPECIAL_PUSH_KEY, NULL, NULL},
    {"GET", "/mqtt", SCOPE_OPEN, TOKEN_ANY, SPECIAL_WEBSOCKET, NULL, NULL},
};
static const struct surface OWN_SURFACE = {"server", NULL, 0, OWN, sizeof OWN / sizeof *OWN};

size_t surfaces_fill(struct surface out[static SURFACES_MAX]) {
    struct chat_halves chat = chat_halves();
    out[0] = users_surface;
    out[1] = chat.conversation;
    out[2] = chat.member;
    out[3] = deliver_surface;
    out[4] = channel_surface;
    out[5] = due_surface;
    out[6] = OWN_SURFACE;
    _Static_assert(7 + NOTIFY_SURFACES_MAX <= SURFACES_MAX, "each surface needs its place");
    return 7 + notify_surfaces(out + 7);
}

bool entry_json(struct tools *t, struct cells *c, struct bytes app, const struct view *v,
    const struct entry *e, struct buf *out, bool *shared) {
    if (e->type == ENTRY_NOTIFICATION) return inbox_entry_json(t, c, app, v, e, out, shared);
    return chat_entry_json(c, app, v, e, out, shared);
}

/* One segment of a template: {name} takes anything. */
static bool path_matches(
    const char *path, const struct http_request *q, struct bytes *params, const char **names) {
    size_t segment = 0, n = 0;
    while (*path == '/') {
        size_t len = strcspn(++path, "/");
        if (segment == q->segment_count) return false;
        if (path[0] == '{') {
            if (n == 4) return false;
            names[n] = path;
            params[n++] = q->segments[segment];
        } else if (q->segments[segment].n != len ||
                   memcmp(q->segments[segment].p, path, len) != 0) {
            return false;
        }
        segment++;
        path += len;
    }
    return segment == q->segment_count;
}

static bool params_valid(const struct bytes *params, const char *const *names, struct answer *a) {
    for (int i = 0; i < 4 && names[i]; i++) {
        if (strncmp(names[i], "{emoji}", 7) == 0 || strncmp(names[i], "{token}", 7) == 0 ||
            id_valid(params[i]))
            continue;
        struct bytes name = bytes_of(names[i] + 1, strcspn(names[i], "}") - 1);
        answer_problem(a, PROBLEM_INVALID_VALUE, "",
            "'%.*s' in the path must be 1 to 64 of A-Z a-z 0-9 _ . : -", (int)name.n,
            (const char *)name.p);
        snprintf(a->field, sizeof a->field, "%.*s", (int)name.n, (const char *)name.p);
        return false;
    }
    return true;
}

const struct route *route_match(
    const struct server *v, const struct http_request *q, struct request *r, struct answer *a) {
    bool path_known = false;
    for (size_t s = 0; s < v->surface_count; s++)
        for (size_t i = 0; i < v->surfaces[s].route_count; i++) {
            const struct route *route = &v->surfaces[s].routes[i];
            const char *names[4] = {0};
            struct bytes params[4] = {{0}};
            if (!path_matches(route->path, q, params, names)) continue;
            path_known = true;
            if (!bytes_is(q->method, route->method) &&
                !(bytes_is(q->method, "HEAD") && strcmp(route->method, "GET") == 0))
                continue;
            if (!params_valid(params, names, a)) return NULL;
            for (int k = 0; k < 4; k++) r->params[k] = arena_copy(r->arena, params[k]);
            return route;
        }
    if (path_known)
        answer_problem(a, PROBLEM_METHOD, "", "this path exists, but not with %.*s",
            (int)q->method.n, (const char *)q->method.p);
    else
        answer_problem(a, PROBLEM_NOT_FOUND, "", "there is no such path; /openapi.json lists them");
    return NULL;
}

void route_methods(const struct server *v, const struct http_request *q, char *out, size_t size) {
    size_t n = 0;
    out[0] = 0;
    for (size_t s = 0; s < v->surface_count; s++)
        for (size_t i = 0; i < v->surfaces[s].route_count; i++) {
            const struct route *route = &v->surfaces[s].routes[i];
            const char *names[4] = {0};
            struct bytes params[4] = {{0}};
            if (!path_matches(route->path, q, params, names)) continue;
            n += (size_t)snprintf(out + n, size - n, "%s%s%s", n ? ", " : "", route->method,
                strcmp(route->method, "GET") == 0 ? ", HEAD" : "");
            check(n < size);
        }
}

const struct route *route_find(const struct server *v, const char *method, const char *path) {
    for (size_t s = 0; s < v->surface_count; s++)
        for (size_t i = 0; i < v->surfaces[s].route_count; i++) {
            const struct route *route = &v->surfaces[s].routes[i];
            if (strcmp(route->method, method) == 0 && strcmp(route->path, path) == 0) return route;
        }
    check(false);
    return NULL;
}
