/* notify: what must hold of what is stored, looked at by `kith check`: digests, and what is held, are those of
 * users who are known; wishes can be read; and what the rooms below have to say. Reads; apply never calls it.
 * SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "notify/notify_in.h"

struct looking {
    struct cells *cells;
    struct buf *why;
    bool sound;
    struct bytes app, user;
};

static void wrong(struct looking *l, const char *what, uint64_t found, uint64_t belongs) {
    buf_fmt(l->why, "inbox of %.*s of app %.*s: %s: %llu is stored, %llu belongs there\n",
        (int)l->user.n, (const char *)l->user.p, (int)l->app.n, (const char *)l->app.p, what,
        (unsigned long long)found, (unsigned long long)belongs);
    l->sound = false;
}

/* ---- digests ---- */
static void digests_look(struct looking *l, struct bytes key) {
    const uint8_t *app = key.p + 1, *end = key.p + key.n, *user, *past;
    past = memchr(app, 0, (size_t)(end - app));
    user = past ? past + 1 : end;
    l->app = bytes_of(app, (size_t)(user - app) - (user > app && past));
    past = user < end ? memchr(user, 0, (size_t)(end - user)) : NULL;
    l->user = bytes_of(user, past ? (size_t)(past - user) : 0);
    if (!past) wrong(l, "the key of a digest", key.n, 0);
    else if (!mailbox_known(l->cells, l->app, l->user))
        wrong(l, "a digest of someone who is known", 0, 1);
}

static void held_look(struct looking *l, struct bytes value) {
    if (!held_whole(value)) wrong(l, "the bytes of what is held", value.n, 0);
    else if (!mailbox_known(l->cells, l->app, l->user))
        wrong(l, "what is held for someone who is known", 0, 1);
}

/* ---- wishes ---- */
static void preferences_look(struct looking *l, struct bytes value) {
    if (preferences_whole(value)) return;
    buf_fmt(l->why, "notifications: app %.*s, %.*s: the preferences cannot be read\n",
        (int)l->app.n, (const char *)l->app.p, (int)l->user.n, (const char *)l->user.p);
    l->sound = false;
}

/* ---- all of them ---- */
static bool note(void *arg, struct bytes key, struct bytes value) {
    pack_bytes(arg, key);
    pack_bytes(arg, value);
    return true;
}
static void each(struct looking *l, char tag, void (*look)(struct looking *, struct bytes)) {
    struct buf all = {0};
    cells_scan(l->cells, bytes_of(&tag, 1), note, &all);
    for (struct unpack u = unpack_of(buf_view(&all)); unpack_more(&u);) {
        struct bytes key = unpack_bytes(&u), value = unpack_bytes(&u);
        if (!value.n) continue;
        if (tag == '-') digests_look(l, key);
        else if (key2_read(key, &l->app, &l->user)) look(l, value);
        cells_turn_end(l->cells);
    }
    buf_done(&all);
}

bool notify_check(struct cells *c, struct buf *why) {
    bool sound = inboxes_sound(c, why);
    struct looking l = {.cells = c, .why = why, .sound = true};
    each(&l, '%', preferences_look);
    each(&l, '-', NULL);
    each(&l, '/', held_look);
    sound &= l.sound;
    sound &= workflows_sound(c, why);
    sound &= webhooks_sound(c, why);
    sound &= sends_sound(c, why);
    return sound;
}
