/* sim: members who are away are told of messages, and webhooks of each that is stored. What notify would
 * make of the former is not here: a surface in its place writes down what it is given, so that it can be
 * looked at. What must hold: nobody is told of a message twice, no webhook is either, and once all has settled
 * nothing stands that its reader has read.
 *
 *   '~' app user conv   u64 each: seq << 1 | taken back
 *   '~' app conv        u64 each: hash of the id of a message that webhooks hear of
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "notify/notify_in.h"
#include "sim.h"

static struct cell *told_cell(
    struct cells *c, struct bytes app, struct bytes user, struct bytes conv) {
    uint8_t room[300];
    return cells_get(c, key3(room, '~', app, user, conv));
}
static uint64_t told_at(const struct cell *cell, uint32_t at) {
    uint64_t told;
    memcpy(&told, cell->data + at, sizeof told);
    return told;
}

static void apply_told(struct step *s) {
    struct unpack u = unpack_of(s->body);
    struct bytes user = unpack_bytes(&u), conv = unpack_bytes(&u);
    uint64_t told = unpack_u64(&u) << 1;
    check(!u.bad);
    cells_append(s->cells, told_cell(s->cells, s->app, user, conv), bytes_of(&told, sizeof told));
    answer_ok(s->answer, 200);
}

static void apply_read(struct step *s) {
    struct unpack u = unpack_of(s->body);
    struct bytes user = unpack_bytes(&u), conv = unpack_bytes(&u);
    uint64_t upto = unpack_u64(&u), from = unpack_more(&u) ? unpack_u64(&u) : 0;
    struct cell *cell = told_cell(s->cells, s->app, user, conv);
    check(!u.bad);
    for (uint32_t at = 0; at < cell->size; at += 8)
        if (told_at(cell, at) >> 1 <= upto && told_at(cell, at) >> 1 >= from)
            cells_edit(s->cells, cell)[at] |= 1;
    answer_ok(s->answer, 200);
}

static struct cell *hooked_cell(struct cells *c, struct bytes app, struct bytes conv) {
    uint8_t room[300];
    return cells_get(c, key2(room, '~', app, conv));
}

static void apply_stored(struct step *s) {
    struct unpack u = unpack_of(s->body);
    struct bytes conv = unpack_bytes(&u), id = unpack_bytes(&u);
    uint64_t hash = hash64(id);
    check(!u.bad);
    cells_append(s->cells, hooked_cell(s->cells, s->app, conv), bytes_of(&hash, sizeof hash));
    for (size_t i = 0; i < notify_messages.rule_count; i++) /* what leaves is notify's own */
        if (notify_messages.rules[i].kind == KIND_NOTIFY_MESSAGE_STORED)
            notify_messages.rules[i].apply(s);
}

static const struct record_rule RULES[] = {{KIND_NOTIFY_MESSAGE, apply_told},
    {KIND_NOTIFY_MESSAGE_READ, apply_read}, {KIND_NOTIFY_MESSAGE_STORED, apply_stored}};
const struct surface away_surface = {"away", RULES, sizeof RULES / sizeof *RULES, NULL, 0};

/* ---- what core does ---- */
bool away_wanted(struct cells *c, struct bytes app, struct bytes conversation) {
    return chat_tells_away(c, app, conversation);
}
void away_append(
    void *arg, uint16_t partition, struct bytes app, const struct entry *e, struct bytes users) {
    struct buf b = {0};
    pack_bytes(&b, e->conversation);
    pack_var(&b, e->seq);
    pack_bytes(&b, users);
    (void)node_append(((struct lane_arg *)arg)->s, partition, KIND_NOTIFY_AWAY,
        bytes_eq(app, app_name(0)) ? 0 : 1, buf_view(&b), NULL);
    buf_done(&b);
}

void check_away(struct sim *s, unsigned app, unsigned user, bool complete) {
    struct cells *c = node_cells(s, partition_of_user(app_name(app), user_name(user), PARTITIONS));
    for (unsigned conv = 0; conv < CONVS; conv++) {
        const struct cell *cell = told_cell(c, app_name(app), user_name(user), conv_name_of(conv));
        uint64_t read = s->marks[app][conv][user][1];
        for (uint32_t at = 0; at < cell->size; at += 8) {
            uint64_t told = told_at(cell, at), seq = told >> 1;
            for (uint32_t other = 0; other < at; other += 8)
                if (told_at(cell, other) >> 1 == seq)
                    violated(s, "u%u was told of seq %llu in c%u twice", user,
                        (unsigned long long)seq, conv);
            if (complete && !(told & 1) && seq <= read)
                violated(s, "u%u has read seq %llu in c%u, and it was not taken back", user,
                    (unsigned long long)seq, conv);
        }
        if (complete) s->counts[COUNT_TOLD] += cell->size / 8;
    }
}

void check_hooked(struct sim *s, unsigned app, unsigned conv, bool complete) {
    struct bytes name = conv_name_of(conv);
    uint16_t at = partition_of_conversation(app_name(app), name, PARTITIONS);
    const struct cell *cell = hooked_cell(node_cells(s, at), app_name(app), name);
    for (uint32_t one = 0; one < cell->size; one += 8)
        for (uint32_t other = 0; other < one; other += 8)
            if (told_at(cell, one) == told_at(cell, other))
                violated(s, "webhooks are told of a message in c%u twice", conv);
    if (complete) s->counts[COUNT_HOOKED] += cell->size / 8;
}
