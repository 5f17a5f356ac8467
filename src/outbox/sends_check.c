/* outbox: what must hold of sends and dead letters, looked at by `kith check`: each can be read, and
 * stands in its list; what is listed is there. Reads; apply never calls it.
 * SPDX-License-Identifier: Apache-2.0 */
#include "outbox/outbox_in.h"

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

/* Of all sends, those of messages of this app for this webhook. */
static uint32_t waiting_in(struct bytes all, struct bytes app, struct bytes webhook) {
    uint32_t n = 0;
    for (struct unpack u = unpack_of(all); unpack_more(&u);) {
        struct bytes key = unpack_bytes(&u), of, user;
        struct unpack v = unpack_of(unpack_bytes(&u));
        struct sending x;
        n += !key2_read(key, &of, &user) && sending_decode(&v, &x) && sending_of_message(&x) &&
             bytes_eq(x.app, app) && bytes_eq(x.to, webhook);
    }
    return n;
}

static void waiting_look(
    struct looking *l, struct bytes app, struct bytes value, struct bytes all) {
    struct unpack u = unpack_of(value);
    struct bytes webhook;
    uint32_t n;
    bool good = true;
    while (sends_waiting_next(&u, &webhook, &n)) good &= n && waiting_in(all, app, webhook) == n;
    if (!good || u.bad)
        wrong(l, app, (struct bytes){0}, "what waits for a webhook is not as it was counted");
}

static void sends_look(struct looking *l, struct bytes key, struct bytes value, struct bytes all) {
    struct bytes app, user;
    struct sending x;
    struct unpack u = unpack_of(value);
    if (key2_read(key, &app, &user)) {
        if (app.n && !user.n) waiting_look(l, app, value, all);
        else if (app.n && !sends_list_whole(l->cells, value))
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
            if (value.n && *tag == '<') sends_look(&l, key, value, buf_view(&all));
            else if (value.n) letters_look(&l, key, value);
            cells_turn_end(c);
        }
        buf_done(&all);
    }
    return l.sound;
}
