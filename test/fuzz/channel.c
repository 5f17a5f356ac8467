/* fuzz: plain channels: stored messages, rules of the configuration, filters that cover and meet.
 * What is taken lies inside of the input, and written again it is the same. The first byte says
 * which of them it is. SPDX-License-Identifier: Apache-2.0 */
#include "fuzz.h"

#include <string.h>

#include "channel/channel.h"

enum { MESSAGE, RULES, FILTERS, KINDS };

void fuzz_seeds(void (*give)(void *arg, struct bytes seed), void *arg) {
    struct buf b = {0};
    struct channel_message m = {.topic = BYTES("a/b"),
        .payload = BYTES("payload"),
        .properties = BYTES("\x01\x01"),
        .user = BYTES("ann"),
        .device = BYTES("d"),
        .qos = 2,
        .retain = true,
        .at_ms = 1700000000000,
        .expiry_s = 60};
    buf_char(&b, MESSAGE);
    channel_pack(&b, &m);
    give(arg, buf_view(&b));
    buf_reset(&b);
    buf_char(&b, RULES);
    buf_str(&b, "{\"rules\":[{\"app\":\"a\",\"topic\":\"x/{user}/#\",\"publish\":true,"
                "\"subscribe\":[\"ann\"]}]}");
    give(arg, buf_view(&b));
    buf_reset(&b);
    buf_char(&b, FILTERS);
    buf_str(&b, "a/+/c");
    buf_char(&b, 0);
    buf_str(&b, "a/b/#");
    give(arg, buf_view(&b));
    buf_done(&b);
}

static void message(struct bytes v) {
    struct unpack u = unpack_of(v);
    struct channel_message m, again;
    if (!channel_unpack(&u, &m)) return;
    struct buf b = {0}, c = {0};
    channel_pack(&b, &m);
    struct unpack second = unpack_of(buf_view(&b));
    check(channel_unpack(&second, &again) && !unpack_more(&second));
    channel_pack(&c, &again);
    check(bytes_eq(buf_view(&b), buf_view(&c)));
    (void)channel_left_s(&m, 1700000000000);
    buf_done(&b);
    buf_done(&c);
}

static void rules(struct bytes v) {
    struct channel_board *b = channel_board_create(false);
    struct channel_rules *r = channel_rules_create(b);
    struct buf why = {0};
    enum err e = channel_board_read(b, v, &why);
    check(e == OK || why.n);
    channel_board_set(
        b, BYTES("a"), v); /* as packed rules: nonsense allows nothing, and harms nobody */
    struct principal who = {.app = BYTES("a"), .user = BYTES("ann"), .device = BYTES("d")};
    (void)channel_may(r, &who, CHANNEL_PUBLISH, BYTES("x/ann/y"));
    (void)channel_is_narrowed(r, &who, BYTES("x/#"));
    buf_done(&why);
    channel_rules_free(&r);
    channel_board_free(&b);
}

/* What covers meets; what is covered matches no topic that the other does not. */
static void filters(struct bytes v) {
    const uint8_t *zero = v.n ? memchr(v.p, 0, v.n) : NULL;
    if (!zero) return;
    struct bytes a = bytes_of(v.p, (size_t)(zero - v.p)), b = bytes_of(zero + 1, v.n - a.n - 1);
    struct bytes group, inner;
    (void)channel_share_parse(a, &group, &inner);
    (void)channel_is_plain(b);
    if (!mqtt_filter_valid(a) || !mqtt_filter_valid(b)) return;
    check(mqtt_filters_meet(a, b) == mqtt_filters_meet(b, a));
    if (mqtt_filter_covers(a, b)) check(mqtt_filters_meet(a, b));
    if (mqtt_topic_valid(b)) check(mqtt_filter_covers(a, b) == mqtt_filter_matches(a, b));
}

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n) {
    if (!n) return 0;
    struct bytes rest = bytes_of(p + 1, n - 1);
    switch (p[0] % KINDS) {
    case MESSAGE: message(rest); break;
    case RULES: rules(rest); break;
    default: filters(rest); break;
    }
    return 0;
}
