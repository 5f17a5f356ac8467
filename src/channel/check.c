/* channel: what must hold of what is stored of plain channels, looked at by `kith check`: lists can
 * be read and their positions rise, retained messages are of their topic, rules can be read. Reads;
 * apply never calls it. SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "channel/channel_in.h"

struct looking {
    struct cells *cells;
    struct buf *why;
    bool sound;
};

static void wrong(struct looking *l, struct bytes app, const char *what) {
    buf_fmt(l->why, "plain channels of app %.*s: %s\n", (int)app.n, (const char *)app.p, what);
    l->sound = false;
}

static struct bytes app_of(struct bytes key) {
    const uint8_t *end = memchr(key.p + 1, 0, key.n - 1);
    return end ? bytes_of(key.p + 1, (size_t)(end - key.p) - 1) : (struct bytes){0};
}

struct order {
    uint64_t last;
    bool rises;
};

static bool in_order(void *arg, uint64_t position, const struct channel_message *m, bool shared) {
    struct order *o = arg;
    if (position <= o->last) o->rises = false;
    o->last = position;
    return o->rises;
}

static void list_look(struct looking *l, struct bytes app, struct bytes head) {
    struct order o = {.rises = true};
    if (head.n != CHANNEL_HEAD_BYTES || !channel_list_is_whole(l->cells, app))
        return wrong(l, app, "the list cannot be read");
    (void)!channel_walk_all(l->cells, app, in_order, &o);
    if (!o.rises) wrong(l, app, "the positions of the list do not rise");
}

static void retained_look(struct looking *l, struct bytes key, struct bytes value) {
    struct bytes app = app_of(key);
    struct unpack u = unpack_of(value);
    struct channel_message m;
    struct bytes topic = bytes_of(key.p + app.n + 2, key.n - app.n - 3);
    if (!channel_unpack(&u, &m)) wrong(l, app, "a retained message cannot be read");
    else if (!bytes_eq(m.topic, topic)) wrong(l, app, "a retained message is of another topic");
}

static void rules_look(struct looking *l, struct bytes key, struct bytes value) {
    struct rule r;
    for (struct unpack u = unpack_of(value); unpack_more(&u);)
        if (!rule_unpack(&u, &r) || !rule_topic_valid(r.topic))
            return wrong(l, app_of(key), "the rules cannot be read");
}

static bool note(void *arg, struct bytes key, struct bytes value) {
    pack_bytes(arg, key);
    pack_bytes(arg, value);
    return true;
}

bool channel_check(struct cells *c, struct buf *why) {
    struct looking l = {c, why, true};
    for (const char *tag = "1347"; *tag; tag++) {
        struct buf all = {0};
        cells_scan(c, bytes_of(tag, 1), note, &all);
        for (struct unpack u = unpack_of(buf_view(&all)); unpack_more(&u);) {
            struct bytes key = unpack_bytes(&u), value = unpack_bytes(&u);
            if (!value.n) continue;
            if (*tag == '1') list_look(&l, app_of(key), value);
            else if (*tag == '3') retained_look(&l, key, value);
            else if (*tag == '7') rules_look(&l, key, value);
            else if (value.n % sizeof(uint16_t))
                wrong(&l, app_of(key), "packet ids cannot be read");
        }
        buf_done(&all);
        cells_turn_end(c);
    }
    return l.sound;
}
