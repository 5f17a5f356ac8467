/* drive: the people and conversations that `kith serve --dev` begins with: enough to try each call
 * of the guide. Made over HTTP, as an application would; what is there already stays as it is.
 * SPDX-License-Identifier: Apache-2.0 */
#include "drive/drive.h"

static const struct {
    const char *call, *body;
} DEMO[] = {
    {"PUT /v1/users/ann", "{\"name\":\"Ann\"}"},
    {"PUT /v1/users/bob", "{\"name\":\"Bob\"}"},
    {"PUT /v1/users/cid", "{\"name\":\"Cid\"}"},
    {"PUT /v1/conversations/ann-bob", "{\"type\":\"direct\",\"members\":[\"ann\",\"bob\"]}"},
    {"PUT /v1/conversations/friends",
        "{\"type\":\"group\",\"name\":\"Friends\",\"members\":[\"ann\",\"bob\",\"cid\"]}"},
};

struct demo {
    struct buf *why;
};

static void demo_make(void *arg, size_t i, struct buf *method_path, struct buf *body) {
    (void)arg;
    buf_str(method_path, DEMO[i].call);
    buf_str(body, DEMO[i].body);
}

static bool demo_done(void *arg, size_t i, int status, struct bytes body) {
    struct demo *d = arg;
    if (status == 200 || status == 201) return true;
    buf_fmt(d->why, "%s was answered %d: %.*s", DEMO[i].call, status, (int)body.n,
        (const char *)body.p);
    return false;
}

bool drive_demo(const char *http, const char *key, struct buf *why) {
    struct demo d = {why};
    struct requests r = {
        http, key, sizeof DEMO / sizeof *DEMO, 1 /* in their order */, &d, demo_make, demo_done};
    return requests_run(&r, why);
}
