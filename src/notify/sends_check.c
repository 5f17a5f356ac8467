/* notify: what must hold of sends and dead letters, looked at by `kith check`: each can be read, and
 * stands in its list; what is listed is there. Reads; apply never calls it.
 * SPDX-License-Identifier: Apache-2.0 */
#include "notify/sends_in.h"

struct looking {
    struct cells *cells;
    struct buf *why;
    bool sound;
};

static void wrong(struct looking *l, struct bytes app, struct bytes user, const char *what) {
    buf_fmt(l->why, "notifications: ");
    buf_bytes(l->why, app);
    buf_str(l->why, user.n ? ", " : "");
    buf_bytes(l->why, user);
    buf_fmt(l->why, ": %s\n", what);
    l->sound = false;
}

static void sends_look(struct looking *l, struct bytes key, struct bytes value) {
    struct bytes app, user;
    struct sending x;
    struct unpack u = unpack_of(value);
    if (key2_read(key, &app, &user)) {
        if (app.n && !sends_list_whole(l->cells, value))
            wrong(l, app, user, "a send is listed and not there");
    } else if (!sending_decode(&u, &x)) {
        wrong(l, (struct bytes){0}, (struct bytes){0}, "a send cannot be read");
    } else if (!sends_listed(l->cells, &x, key)) {
        wrong(l, x.app, x.user, "a send is not listed");
    }
}

static void letters_look(struct looking *l, struct bytes key, struct bytes value) {
    struct bytes app, none;
    if (key2_read(key, &app, &none) && app.n && !letters_list_whole(l->cells, app, value))
        wrong(l, app, none, "a dead letter is listed and not there, or out of order");
}

static bool note(void *arg, struct bytes key, struct bytes value) {
    pack_bytes(arg, key);
    pack_bytes(arg, value);
    return true;
}

bool sends_sound(struct cells *c, struct buf *why) {
    struct looking l = {c, why, true};
    for (const char *tag = "<="; *tag; tag++) {
        struct buf all = {0};
        cells_scan(c, bytes_of(tag, 1), note, &all);
        for (struct unpack u = unpack_of(buf_view(&all)); unpack_more(&u);) {
            struct bytes key = unpack_bytes(&u), value = unpack_bytes(&u);
            if (value.n && *tag == '<') sends_look(&l, key, value);
            else if (value.n) letters_look(&l, key, value);
            cells_turn_end(c);
        }
        buf_done(&all);
    }
    return l.sound;
}
