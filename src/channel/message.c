/* channel: what travels, and its names. SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "channel/channel.h"

enum { HAS_PROPERTIES = 1, RETAIN = 2, HAS_EXPIRY = 4 };

void channel_pack(struct buf *b, const struct channel_message *m) {
    uint8_t flags = (uint8_t)((m->properties.n ? HAS_PROPERTIES : 0) | (m->retain ? RETAIN : 0) |
                              (m->expiry_s ? HAS_EXPIRY : 0) | m->qos << 4);
    pack_u8(b, flags);
    pack_var(b, (uint64_t)m->at_ms);
    pack_bytes(b, m->topic);
    pack_bytes(b, m->user);
    pack_bytes(b, m->device);
    if (m->expiry_s) pack_var(b, m->expiry_s);
    if (m->properties.n) pack_bytes(b, m->properties);
    pack_var(b, m->turn);
    pack_bytes(b, m->payload);
}

bool channel_unpack(struct unpack *u, struct channel_message *out) {
    uint8_t flags = unpack_u8(u);
    *out = (struct channel_message){.qos = flags >> 4 & 3, .retain = flags & RETAIN};
    out->at_ms = (int64_t)unpack_var(u);
    out->topic = unpack_bytes(u);
    out->user = unpack_bytes(u);
    out->device = unpack_bytes(u);
    if (flags & HAS_EXPIRY) out->expiry_s = (uint32_t)unpack_var(u);
    if (flags & HAS_PROPERTIES) out->properties = unpack_bytes(u);
    out->turn = (uint32_t)unpack_var(u);
    out->payload = unpack_bytes(u);
    return !u->bad;
}

uint32_t channel_left_s(const struct channel_message *m, int64_t now_ms) {
    if (!m->expiry_s) return UINT32_MAX;
    int64_t left_ms = m->at_ms + (int64_t)m->expiry_s * 1000 - now_ms;
    return left_ms <= 0 ? 0 : (uint32_t)((left_ms + 999) / 1000);
}

static bool first_level_is(struct bytes t, const char *name) {
    size_t n = strlen(name);
    return t.n >= n && memcmp(t.p, name, n) == 0 && (t.n == n || t.p[n] == '/');
}

bool channel_is_plain(struct bytes t) {
    return t.n && t.n <= CHANNEL_TOPIC_MAX && t.p[0] != '$' && !first_level_is(t, "users") &&
           !first_level_is(t, "conversations") && !first_level_is(t, "notifications");
}

bool channel_share_parse(struct bytes text, struct bytes *out_group, struct bytes *out_filter) {
    if (!bytes_starts(text, "$share/")) return false;
    struct bytes rest = bytes_of(text.p + 7, text.n - 7);
    const uint8_t *slash = rest.n ? memchr(rest.p, '/', rest.n) : NULL;
    if (!slash || slash == rest.p) return false;
    *out_group = bytes_of(rest.p, (size_t)(slash - rest.p));
    *out_filter = bytes_of(slash + 1, rest.n - out_group->n - 1);
    return mqtt_topic_valid(*out_group) && mqtt_filter_valid(*out_filter);
}

uint64_t channel_group_key(struct bytes app, struct bytes share_text) {
    uint64_t h = hash64(app) * 0x9e3779b97f4a7c15ull + hash64(share_text);
    return h ? h : 1;
}

uint16_t partition_of_topic(struct bytes app, struct bytes topic, uint16_t partitions) {
    return (uint16_t)(channel_group_key(app, topic) % partitions);
}
