/* content: why: every decision about a person, the newest 1,024 of them.
 *
 *   ',' app user n   a block of decisions: repeated { u64 hash of the trigger's id, var at_ms, u8 code,
 *                    u8 channels, var until_ms, varbytes detail }; the count lies in the inbox's head
 * SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "content/content.h"

enum { WHY_BLOCK = 64, WHY_BLOCKS = 17 }; /* 1,024 and those of the block that fills */

struct cell *inbox_head_cell(struct cells *c, struct bytes app, struct bytes user) {
    uint8_t room[300];
    return cells_get(c, key2(room, ')', app, user));
}
static struct cell *block_cell(struct cells *c, struct bytes app, struct bytes user, uint64_t n) {
    uint8_t room[300];
    return cells_get(c, key2n(room, ',', app, user, n));
}

static uint64_t inbox_why_next(struct step *s, struct bytes user) {
    struct cell *cell = inbox_head_cell(s->cells, s->app, user);
    struct inbox_head head = {0};
    if (!cell->size) cells_put(s->cells, cell, bytes_of(&head, sizeof head));
    memcpy(&head, cell->data, sizeof head);
    uint64_t n = head.whys++;
    memcpy(cells_edit(s->cells, cell), &head, sizeof head);
    return n;
}

static uint64_t inbox_why_count(struct cells *c, struct bytes app, struct bytes user) {
    const struct cell *cell = inbox_head_cell(c, app, user);
    struct inbox_head head = {0};
    if (cell->size) memcpy(&head, cell->data, sizeof head);
    return head.whys;
}

void why_add(struct step *s, struct bytes user, struct bytes trigger, enum why code,
    uint8_t channels, int64_t until_ms, struct bytes detail) {
    uint64_t n = inbox_why_next(s, user), block = n / WHY_BLOCK;
    struct buf b = {0};
    buf_reserve(&b, 32 + detail.n);
    pack_u64(&b, hash64(trigger));
    pack_var(&b, (uint64_t)s->time_ms);
    pack_u8(&b, (uint8_t)code);
    pack_u8(&b, channels);
    pack_var(&b, (uint64_t)until_ms);
    pack_bytes(&b, detail);
    cells_append(s->cells, block_cell(s->cells, s->app, user, block), buf_view(&b));
    buf_done(&b);
    if (n % WHY_BLOCK == 0 && block >= WHY_BLOCKS)
        cells_put(
            s->cells, block_cell(s->cells, s->app, user, block - WHY_BLOCKS), (struct bytes){0});
}

void why_each(struct cells *c, struct bytes app, struct bytes user, struct bytes trigger,
    void (*fn)(void *arg, const struct decision *d), void *arg) {
    uint64_t count = inbox_why_count(c, app, user), hash = hash64(trigger);
    if (!count) return;
    uint64_t last = (count - 1) / WHY_BLOCK, first = last >= WHY_BLOCKS ? last - WHY_BLOCKS + 1 : 0;
    for (uint64_t n = first; n <= last; n++) {
        const struct cell *cell = block_cell(c, app, user, n);
        struct unpack u = unpack_of(bytes_of(cell->data, cell->size));
        while (unpack_more(&u)) {
            uint64_t of = unpack_u64(&u);
            struct decision d = {.at_ms = (int64_t)unpack_var(&u)};
            d.code = (enum why)unpack_u8(&u);
            d.channels = unpack_u8(&u);
            d.until_ms = (int64_t)unpack_var(&u);
            d.detail = unpack_bytes(&u);
            if (of == hash && !u.bad) fn(arg, &d);
        }
    }
}

void why_erase(struct step *s, struct bytes user) {
    uint64_t count = inbox_why_count(s->cells, s->app, user);
    if (!count) return;
    uint64_t last = (count - 1) / WHY_BLOCK, first = last > WHY_BLOCKS ? last - WHY_BLOCKS : 0;
    for (uint64_t n = first; n <= last; n++)
        cells_put(s->cells, block_cell(s->cells, s->app, user, n), (struct bytes){0});
}

const char *why_code(enum why code) {
    static const char *const NAMES[] = {[WHY_DELIVERED] = "delivered",
        [WHY_GROUPED] = "grouped",
        [WHY_COLLAPSED] = "collapsed",
        [WHY_REPLACED] = "replaced",
        [WHY_BLOCKED] = "blocked",
        [WHY_MUTED] = "muted",
        [WHY_OPTED_OUT] = "opted_out",
        [WHY_CAPPED] = "capped",
        [WHY_EXPIRED] = "expired",
        [WHY_CANCELLED] = "cancelled",
        [WHY_HELD_QUIET] = "held",
        [WHY_DIGEST_OPENED] = "digest_opened",
        [WHY_DIGEST_JOINED] = "digested",
        [WHY_DIGEST_SENT] = "digest_sent",
        [WHY_SCHEDULED] = "scheduled",
        [WHY_ESCALATED] = "escalated",
        [WHY_NOT_ESCALATED] = "not_escalated",
        [WHY_SENDING] = "sending",
        [WHY_SENT] = "sent",
        [WHY_SEND_RETRY] = "send_retry",
        [WHY_SEND_FAILED] = "send_failed",
        [WHY_NO_ADDRESS] = "no_address",
        [WHY_UNLIKELY] = "unlikely",
        [WHY_EXPLORED] = "explored",
        [WHY_LIKELY] = "likely",
        [WHY_SEEN] = "seen",
        [WHY_READ] = "read",
        [WHY_CLICKED] = "clicked",
        [WHY_ARCHIVED] = "archived",
        [WHY_WITHDRAWN] = "withdrawn",
        [WHY_MERGED] = "delivered",
        [WHY_NOT_IN_AUDIENCE] = "not_in_audience",
        [WHY_WORKFLOW_GONE] = "workflow_deleted",
        [WHY_LAPSED] = "expired"};
    size_t n = sizeof NAMES / sizeof *NAMES;
    return (size_t)code < n && NAMES[code] ? NAMES[code] : "unknown";
}

static const char *sentence(enum why code) {
    switch (code) {
    case WHY_DELIVERED: return "it is in the inbox";
    case WHY_GROUPED: return "it was grouped into the notification";
    case WHY_COLLAPSED: return "it took the place of one with the same collapse key";
    case WHY_REPLACED: return "one with the same collapse key took its place before it was seen:";
    case WHY_BLOCKED: return "the person blocks the actor";
    case WHY_MUTED: return "the person mutes the actor";
    case WHY_OPTED_OUT: return "the person opted out of this workflow";
    case WHY_CAPPED: return "the workflow's cap for this person was reached";
    case WHY_EXPIRED: return "it expired before it could leave";
    case WHY_CANCELLED: return "its trigger was cancelled before it was seen";
    case WHY_HELD_QUIET: return "held by quiet hours or a pause:";
    case WHY_DIGEST_OPENED: return "it opened a digest, which leaves at its window's end:";
    case WHY_DIGEST_JOINED: return "it waits for the digest that is open, until";
    case WHY_DIGEST_SENT: return "the digest that it was in left, as the notification";
    case WHY_SCHEDULED: return "it was to leave later:";
    case WHY_ESCALATED: return "it was not seen or read in time, and went on to";
    case WHY_NOT_ESCALATED: return "it was seen or read in time, and did not go on to";
    case WHY_SENDING: return "it was handed over to";
    case WHY_SENT: return "the provider took it:";
    case WHY_SEND_RETRY: return "the provider failed, it is tried again:";
    case WHY_SEND_FAILED: return "the provider refused it for good:";
    case WHY_NO_ADDRESS: return "the person has no address for";
    case WHY_UNLIKELY:
        return "they are less likely to open it than what leaves at once, so that it waits for the "
               "digest:";
    case WHY_EXPLORED: return "it was sent to learn whether they open such:";
    case WHY_LIKELY: return "they were likely to open it:";
    case WHY_SEEN: return "the person saw it";
    case WHY_READ: return "the person read it";
    case WHY_CLICKED: return "the person clicked it";
    case WHY_ARCHIVED: return "the person archived it";
    case WHY_WITHDRAWN: return "it was seen, replaced or taken back before it left by";
    case WHY_MERGED: return "it is in the inbox, merged with what their audiences got";
    case WHY_NOT_IN_AUDIENCE:
        return "the person did not follow, or was not in the topic, when it was sent";
    case WHY_WORKFLOW_GONE: return "its workflow was deleted before it could leave";
    case WHY_LAPSED: return "it expired, and is not in the inbox any more";
    }
    return "";
}

void channels_words(uint8_t channels, struct buf *out) {
    static const char *const NAMES[] = {"inapp", "push", "email", "webhook"};
    const char *between = "";
    for (int i = 0; i < 4; i++) {
        if (!(channels >> i & 1)) continue;
        buf_fmt(out, "%s%s", between, NAMES[i]);
        between = ", ";
    }
}

void decision_words(const struct decision *d, struct buf *out) {
    buf_str(out, sentence(d->code));
    if (d->channels) {
        buf_str(out, d->code == WHY_OPTED_OUT ? " on " : " ");
        channels_words(d->channels, out);
    }
    if (d->until_ms) {
        char at[24];
        time_format(d->until_ms, at);
        buf_str(out, d->code == WHY_HELD_QUIET ? " until " : " ");
        buf_add(out, at, sizeof at);
    }
    if (d->detail.n) {
        buf_char(out, ' ');
        buf_bytes(out, d->detail);
    }
}
