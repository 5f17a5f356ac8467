/* wire: MQTT 3.1.1 and 5.0: what is written reads back, cut anywhere; each property in each packet;
 * what the standards call malformed, with their reason codes.
 * SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "wire/wire.h"

static struct mqtt_packet P;
static size_t used;
static uint8_t reason;

static enum err decode(struct bytes in, uint8_t version) {
    used = 0;
    reason = 0;
    return mqtt_decode(in, version, MQTT_PACKET_MAX, &P, &used, &reason);
}

/* Taken whole, and waited for when it is cut short. */
static void takes_whole(const struct buf *b, uint8_t version) {
    for (size_t n = 0; n < b->n; n++)
        if (decode(bytes_of(b->p, n), version) != AGAIN)
            fail_msg("of %zu bytes %zu gave an answer", b->n, n);
    if (decode(buf_view(b), version) != OK) fail_msg("refused with %02x", reason);
    assert_int_equal(used, b->n);
}

static void refuses(struct bytes in, uint8_t version, uint8_t want) {
    enum err e = decode(in, version);
    if ((e != MALFORMED && e != LIMIT) || reason != want) {
        char hex[200];
        for (size_t i = 0; i < in.n && i < 60; i++) snprintf(hex + i * 3, 4, "%02x ", in.p[i]);
        fail_msg("%s gave %s and %02x, not %02x", hex, err_name(e), reason, want);
    }
}

static struct bytes random_bytes(struct rng *r, struct buf *b, size_t max) {
    buf_reset(b);
    for (uint64_t n = rng_below(r, max + 1); n--;) buf_char(b, (char)rng_next(r));
    return buf_view(b);
}
static struct bytes random_text(struct rng *r, struct buf *b, size_t max) {
    buf_reset(b);
    for (uint64_t n = rng_below(r, max + 1); n--;)
        buf_str(b, (const char *[]){"a", "/", "B", "\xc3\xa9", "\xe2\x82\xac", "\xf0\x9f\x98\x80",
                       " ", "$"}[rng_below(r, 8)]);
    return buf_view(b);
}

static void publishes_read_back(void **state) {
    (void)state;
    struct rng r = {1};
    struct buf b = {0}, topic = {0}, payload = {0}, want;
    for (int i = 0; i < 400; i++) {
        uint8_t version = rng_below(&r, 2) ? 5 : 4, qos = (uint8_t)rng_below(&r, 3);
        bool dup = qos && rng_below(&r, 2), retain = rng_below(&r, 2);
        uint16_t id = (uint16_t)(1 + rng_below(&r, 65535));
        struct mqtt_properties p = {0};
        if (rng_below(&r, 2))
            p.has_message_expiry = true, p.message_expiry_s = (uint32_t)rng_next(&r);
        for (uint64_t n = rng_below(&r, 4); n--;)
            mqtt_properties_add_subscription_id(&p, 1 + (uint32_t)rng_below(&r, 268435455));
        random_text(&r, &topic, 30);
        buf_char(&topic, 't');
        random_bytes(&r, &payload, i % 10 ? 80 : 1500);
        buf_reset(&b);
        mqtt_encode_publish(
            &b, version, buf_view(&topic), buf_view(&payload), qos, dup, retain, id, &p);
        takes_whole(&b, version);
        assert_true(P.type == MQTT_PUBLISH && P.qos == qos && P.dup == dup && P.retain == retain &&
                    P.packet_id == (qos ? id : 0));
        assert_true(bytes_eq(P.topic, buf_view(&topic)) && bytes_eq(P.payload, buf_view(&payload)));
        if (version == 5) {
            assert_true(P.properties.has_message_expiry == p.has_message_expiry &&
                        P.properties.message_expiry_s == p.message_expiry_s);
            assert_true(P.properties.subscription_id_count == p.subscription_id_count);
            assert_memory_equal(
                P.properties.subscription_ids, p.subscription_ids, sizeof p.subscription_ids);
        }
        want = (struct buf){0}; /* what was read and is written again is the same */
        mqtt_encode_publish(
            &want, version, P.topic, P.payload, P.qos, P.dup, P.retain, P.packet_id, &P.properties);
        assert_true(bytes_eq(buf_view(&b), buf_view(&want)));
        buf_done(&want);
    }
    buf_done(&b);
    buf_done(&topic);
    buf_done(&payload);
}

/* long: because each kind of packet stands here in turn, for both versions */
static void other_packets_read_back(void **state) {
    (void)state;
    struct buf b = {0};
    for (uint8_t version = 4; version <= 5; version++) {
        static const uint8_t ACKS[] = {MQTT_PUBACK, MQTT_PUBREC, MQTT_PUBREL, MQTT_PUBCOMP};
        for (int i = 0; i < 12; i++) {
            const char *words = i % 3 == 0 ? NULL
                                : i % 3 == 1
                                    ? "no"
                                    : "a reason of more than one hundred and twenty-eight bytes, "
                                      "so that its length takes two digits, as "
                                      "any helpful reason string may turn out to be in the end";
            uint8_t code = i < 4 ? 0 : 0x87;
            buf_reset(&b);
            mqtt_encode_ack(&b, version, ACKS[i % 4], 77, code, words);
            takes_whole(&b, version);
            assert_true(P.type == ACKS[i % 4] && P.packet_id == 77);
            assert_true(version == 4 ? P.reason == 0 && b.n == 4
                                     : P.reason == code && bytes_is(P.properties.reason_string,
                                                               words ? words : ""));
        }
        buf_reset(&b);
        mqtt_encode_connect(
            &b, version, true, 30, BYTES("dev"), BYTES("me"), BYTES("secret"), 60, 9);
        takes_whole(&b, 0);
        assert_true(P.version == version && P.clean && P.keep_alive_s == 30 &&
                    bytes_is(P.client_id, "dev") && bytes_is(P.username, "me") &&
                    bytes_is(P.password, "secret"));
        assert_true(version == 4 ||
                    (P.properties.session_expiry_s == 60 && P.properties.receive_maximum == 9));
        struct mqtt_properties c = {.has_receive_maximum = true,
            .receive_maximum = 5,
            .has_maximum_packet_size = true,
            .maximum_packet_size = 1000,
            .has_maximum_qos = true,
            .maximum_qos = 1,
            .no_retain = true,
            .no_shared = true,
            .has_server_keep_alive = true,
            .server_keep_alive_s = 8,
            .assigned_client_id = BYTES("auto"),
            .reason_string = BYTES("why")};
        buf_reset(&b);
        mqtt_encode_connack(&b, version, true, 0, &c);
        takes_whole(&b, version);
        assert_true(P.session_present && P.reason == 0);
        if (version == 5) {
            const struct mqtt_properties *p = &P.properties;
            assert_true(p->receive_maximum == 5 && p->maximum_packet_size == 1000 &&
                        p->server_keep_alive_s == 8 && bytes_is(p->assigned_client_id, "auto"));
            assert_true(p->has_maximum_qos && p->maximum_qos == 1 && p->no_retain && p->no_shared &&
                        bytes_is(p->reason_string, "why"));
        }
        buf_reset(&b);
        mqtt_encode_subscribe(&b, version, 3, BYTES("a/+/#"), 1);
        takes_whole(&b, version);
        assert_true(P.filter_count == 1 && P.packet_id == 3 && P.filters[0].options == 1 &&
                    bytes_is(P.filters[0].filter, "a/+/#"));
        buf_reset(&b);
        mqtt_encode_suback(&b, version, MQTT_SUBACK, 3, (const uint8_t *)"\x00\x01\x80", 3);
        takes_whole(&b, version);
        assert_true(P.packet_id == 3 && P.codes.n == 3 && P.codes.p[2] == 0x80);
        buf_reset(&b);
        mqtt_encode_suback(&b, version, MQTT_UNSUBACK, 4, (const uint8_t *)"\x00\x11", 2);
        takes_whole(&b, version);
        assert_int_equal(P.codes.n, version == 5 ? 2 : 0);
        buf_reset(&b);
        mqtt_encode_disconnect(&b, version, 0x8e, "elsewhere", version == 5 ? "other:1883" : NULL);
        takes_whole(&b, version);
        assert_true(version == 4
                        ? b.n == 2
                        : P.reason == 0x8e && bytes_is(P.properties.reason_string, "elsewhere"));
        for (uint8_t type = MQTT_PINGREQ; type <= MQTT_PINGRESP; type++) {
            buf_reset(&b);
            mqtt_encode_simple(&b, type);
            takes_whole(&b, version);
            assert_int_equal(P.type, type);
        }
    }
    buf_done(&b);
}

/* Each length up to the limit at the edges of its digits; what is not minimal, or has five digits.
 * */
static void remaining_lengths(void **state) {
    (void)state;
    static const size_t LENGTHS[] = {0, 1, 127, 128, 16383, 16384, 262139};
    struct buf b = {0};
    for (size_t i = 0; i < sizeof LENGTHS / sizeof *LENGTHS; i++) {
        size_t n = LENGTHS[i];
        buf_reset(&b);
        buf_char(&b, (char)0x30);
        pack_var(&b, n);
        buf_add(&b, "\0\1t", n < 3 ? n : 3);
        for (size_t k = 3; k < n; k++) buf_char(&b, 'p');
        enum err e = decode(buf_view(&b), 4);
        assert_int_equal(e, n < 3 ? MALFORMED : OK);
        if (n >= 3) assert_true(P.payload.n == n - 3 && used == b.n);
    }
    buf_done(&b);
    refuses(BYTES("\x30\xff\xff\x7f"), 4, 0x95); /* said to be too large before it is there */
    refuses(BYTES("\x30\xff\xff\xff\x7f"), 4, 0x95);
    refuses(BYTES("\x30\x80\x80\x10"), 4, 0x95);
    refuses(BYTES("\x30\xff\xff\xff\xff"), 4, 0x81);
    refuses(BYTES("\x30\x80\x80\x80\x80\x01"), 4, 0x81);
    refuses(BYTES("\xc0\x80\x00"), 4, 0x81); /* not minimal */
    refuses(BYTES("\xc0\x80\x80\x80\x00"), 4, 0x81);
    assert_int_equal(decode(BYTES("\x30\x80"), 4), AGAIN);
    assert_int_equal(decode(BYTES("\x30\x80\x80\x80"), 4), AGAIN);
    assert_int_equal(mqtt_decode(BYTES("\x30\x04\0\1tp"), 4, 6, &P, &used, &reason), OK);
    assert_int_equal(mqtt_decode(BYTES("\x30\x04\0\1tp"), 4, 5, &P, &used, &reason), LIMIT);
    assert_int_equal(reason, 0x95);
}

/* ---- every property in every packet ---- */
enum { WILL = 0 };
static const struct {
    uint8_t id;
    const char *bytes; /* after the id */
    size_t n;
    /* packets that may carry it: C connect W will A connack P publish a acks S subscribe s suback U
     * unsubscribe D disconnect H auth */
    const char *in;
} PROPERTIES[] = {
    {0x01, "\1", 1, "PW"},
    {0x02, "\0\0\0\1", 4, "PW"},
    {0x03, "\0\1x", 3, "PW"},
    {0x08, "\0\1x", 3, "PW"},
    {0x09, "\0\1\xff", 3, "PW"},
    {0x0b, "\1", 1, "PS"},
    {0x11, "\0\0\0\1", 4, "CAD"},
    {0x12, "\0\1x", 3, "A"},
    {0x13, "\0\1", 2, "A"},
    {0x15, "\0\1x", 3, "CAH"},
    {0x17, "\1", 1, "C"},
    {0x18, "\0\0\0\1", 4, "W"},
    {0x19, "\1", 1, "C"},
    {0x1a, "\0\1x", 3, "A"},
    {0x1c, "\0\1x", 3, "AD"},
    {0x1f, "\0\1x", 3, "AasDH"},
    {0x21, "\0\1", 2, "CA"},
    {0x22, "\0\1", 2, "CA"},
    {0x23, "\0\1", 2, "P"},
    {0x24, "\1", 1, "A"},
    {0x25, "\1", 1, "A"},
    {0x26, "\0\1x\0\1y", 6, "CWAPaSsUDH"},
    {0x27, "\0\0\0\1", 4, "CA"},
    {0x28, "\1", 1, "A"},
    {0x29, "\1", 1, "A"},
    {0x2a, "\1", 1, "A"},
};

/* A packet of this kind with these properties. */
static void packet_with(struct buf *b, char what, struct bytes props) {
    struct buf body = {0};
    uint8_t first = 0;
    switch (what) {
    case 'C':
    case 'W':
        first = 0x10;
        buf_add(&body, what == 'C' ? "\0\4MQTT\5\2\0\0" : "\0\4MQTT\5\6\0\0\0\0\0",
            what == 'C' ? 10 : 13);
        break;
    case 'A':
        first = 0x20;
        buf_add(&body, "\0\0", 2);
        break;
    case 'P':
        first = 0x30;
        buf_add(&body, "\0\1t", 3);
        break;
    case 'a':
        first = 0x40;
        buf_add(&body, "\0\1\0", 3);
        break;
    case 'S':
        first = 0x82;
        buf_add(&body, "\0\1", 2);
        break;
    case 's':
        first = 0x90;
        buf_add(&body, "\0\1", 2);
        break;
    case 'U':
        first = 0xa2;
        buf_add(&body, "\0\1", 2);
        break;
    case 'D':
        first = 0xe0;
        buf_add(&body, "\0", 1);
        break;
    default:
        first = 0xf0;
        buf_add(&body, "\0", 1);
        break;
    }
    pack_bytes(&body, props);
    if (what == 'C') buf_add(&body, "\0\1c", 3);
    if (what == 'W') buf_add(&body, "\0\1w\0\1p", 6);
    if (what == 'S') buf_add(&body, "\0\1f\0", 4);
    if (what == 'U') buf_add(&body, "\0\1f", 3);
    if (what == 's') buf_char(&body, 0);
    buf_reset(b);
    buf_char(b, (char)first);
    pack_bytes(b, buf_view(&body));
    buf_done(&body);
}

static void property_put(struct buf *b, size_t i, size_t n) {
    buf_char(b, (char)PROPERTIES[i].id);
    buf_add(b, PROPERTIES[i].bytes, n);
}

static void properties_belong_to_their_packets(void **state) {
    (void)state;
    struct buf props = {0}, b = {0};
    for (const char *what = "CWAPaSsUDH"; *what; what++) {
        uint8_t version = *what == 'C' || *what == 'W' ? 0 : 5;
        packet_with(&b, *what, (struct bytes){0});
        takes_whole(&b, version);
        for (size_t i = 0; i < sizeof PROPERTIES / sizeof *PROPERTIES; i++) {
            bool may = strchr(PROPERTIES[i].in, *what);
            buf_reset(&props);
            property_put(&props, i, PROPERTIES[i].n);
            packet_with(&b, *what, buf_view(&props));
            if (!may) refuses(buf_view(&b), version, 0x81);
            else takes_whole(&b, version);
            bool repeats = PROPERTIES[i].id == 0x26 || (PROPERTIES[i].id == 0x0b && *what == 'P');
            property_put(&props, i, PROPERTIES[i].n);
            packet_with(&b, *what, buf_view(&props));
            if (!may) continue;
            if (repeats) takes_whole(&b, version);
            else refuses(buf_view(&b), version, 0x82);
            /* cut short inside of the properties */
            for (size_t cut = 0; cut < PROPERTIES[i].n; cut++) {
                buf_reset(&props);
                property_put(&props, i, cut);
                packet_with(&b, *what, buf_view(&props));
                refuses(buf_view(&b), version, 0x81);
            }
        }
        for (int id = 0; id < 256; id++) { /* numbers that mean nothing */
            bool known = false;
            for (size_t i = 0; i < sizeof PROPERTIES / sizeof *PROPERTIES; i++)
                known |= PROPERTIES[i].id == id;
            if (known || id == 0x16) continue;
            buf_reset(&props);
            buf_char(&props, (char)id);
            buf_add(&props, "\0\0\0\0", 4);
            packet_with(&b, *what, buf_view(&props));
            refuses(buf_view(&b), version, 0x81);
        }
    }
    buf_done(&props);
    buf_done(&b);
}

static void property_values_are_held_to_the_standard(void **state) {
    (void)state;
    static const struct {
        char what;
        uint8_t reason;
        const char *bytes;
        size_t n;
    } CASES[] = {
        /* neither 0 nor 1 */
        {'P', 0x82, "\x01\2", 2},
        {'C', 0x82, "\x17\2", 2},
        {'C', 0x82, "\x19\2", 2},
        {'A', 0x82, "\x24\2", 2},
        {'A', 0x82, "\x2a\xff", 2},
        /* zero */
        {'P', 0x82, "\x0b\0", 2},
        {'C', 0x82, "\x21\0\0", 3},
        {'C', 0x82, "\x27\0\0\0\0", 5},
        /* bad digits */
        {'P', 0x81, "\x0b\x80\0", 3},
        {'P', 0x81, "\x0b\xff\xff\xff\xff\x01", 6},
        /* data without a method */
        {'C', 0x82, "\x16\0\1x", 4},
        /* not UTF-8 */
        {'P', 0x81, "\x03\0\1\xff", 4},
        {'P', 0x81, "\x03\0\1\0", 4},
        {'P', 0x81, "\x26\0\1a\0\3\xed\xa0\x80", 9},
        {'D', 0x81, "\x1f\0\2\xc0\xaf", 5},
    };
    struct buf b = {0};
    for (size_t i = 0; i < sizeof CASES / sizeof *CASES; i++) {
        packet_with(&b, CASES[i].what, bytes_of(CASES[i].bytes, CASES[i].n));
        refuses(buf_view(&b), CASES[i].what == 'C' ? 0 : 5, CASES[i].reason);
    }
    packet_with(&b, 'C', BYTES("\x15\0\1m\x16\0\1x"));
    takes_whole(&b, 0);
    assert_true(P.properties.has_auth_method);
    packet_with(&b, 'C', BYTES("\x17\0\x22\0\7"));
    takes_whole(&b, 0);
    assert_true(P.properties.no_problem_info && P.properties.topic_alias_maximum == 7);
    buf_done(&b);
}

static void packets_are_held_to_the_standard(void **state) {
    (void)state;
    /* before CONNECT */
    refuses(BYTES("\xc0\0"), 0, 0x82);
    refuses(BYTES("\x10\x06\0\4MQTT"), 0, 0x81);
    refuses(BYTES("\x10\x0c\0\6MQIsdp\3\2\0\0"), 0, 0x84);
    refuses(BYTES("\x10\x0c\0\4MQTT\6\2\0\0\0\0"), 0, 0x84);
    refuses(BYTES("\x10\x0c\0\4MQTT\4\3\0\0\0\0"), 0, 0x81);             /* the reserved flag */
    refuses(BYTES("\x10\x0c\0\4MQTT\4\x0a\0\0\0\0"), 0, 0x81);           /* QoS of no will */
    refuses(BYTES("\x10\x0c\0\4MQTT\4\x22\0\0\0\0"), 0, 0x81);           /* retaining no will */
    refuses(BYTES("\x10\x12\0\4MQTT\4\x1e\0\0\0\0\0\1w\0\1p"), 0, 0x81); /* will QoS 3 */
    refuses(BYTES("\x10\x12\0\4MQTT\4\6\0\0\0\0\0\1#\0\1p"), 0, 0x90);   /* a will to a wildcard */
    /* a password without a name, in 3.1.1 */
    refuses(BYTES("\x10\x0f\0\4MQTT\4\x42\0\0\0\0\0\1p"), 0, 0x81);
    refuses(BYTES("\x10\x0d\0\4MQTT\4\2\0\0\0\0x"), 0, 0x81); /* more than it says */
    refuses(BYTES("\x11\x0c\0\4MQTT\4\2\0\0\0\0"), 0, 0x81);  /* flags of the first byte */
    assert_int_equal(decode(BYTES("\x10\x0c\0\4MQTT\4\2\0\0\0\0"), 0), OK);
    assert_int_equal(decode(BYTES("\x10\x10\0\4MQTT\5\x42\0\0\0\0\0\0\1p"), 0), OK);
    /* PUBLISH */
    refuses(BYTES("\x36\x06\0\1t\0\1x"), 4, 0x81); /* QoS 3 */
    refuses(BYTES("\x38\x04\0\1tx"), 4, 0x81);     /* DUP of QoS 0 */
    refuses(BYTES("\x32\x05\0\1t\0\0"), 4, 0x82);  /* packet 0 */
    refuses(BYTES("\x32\x04\0\1t\1"), 4, 0x81);
    refuses(BYTES("\x30\x02\0\0"), 4, 0x90);
    refuses(BYTES("\x30\x03\0\1+"), 4, 0x90);
    refuses(BYTES("\x30\x05\0\3a/#"), 4, 0x90);
    refuses(BYTES("\x30\x03\0\1\0"), 4, 0x81);
    refuses(BYTES("\x30\x05\0\3\xed\xa0\x80"), 4, 0x81);
    refuses(BYTES("\x30\x03\0\5t"), 4, 0x81);
    refuses(BYTES("\x30\x03\0\0\0"), 5, 0x90); /* no topic, and no alias for it */
    assert_int_equal(decode(BYTES("\x30\x06\0\0\3\x23\0\1"), 5), OK);
    assert_true(P.properties.has_topic_alias && P.properties.topic_alias == 1);
    /* SUBSCRIBE, UNSUBSCRIBE */
    refuses(BYTES("\x82\x02\0\1"), 4, 0x82);        /* no filter */
    refuses(BYTES("\x82\x06\0\0\0\1f\1"), 4, 0x82); /* packet 0 */
    refuses(BYTES("\x80\x06\0\1\0\1f\1"), 4, 0x81);
    refuses(BYTES("\x82\x06\0\1\0\1f\3"), 4, 0x82);
    refuses(BYTES("\x82\x06\0\1\0\1f\4"), 4, 0x82);
    refuses(BYTES("\x82\x07\0\1\0\0\1f\x30"), 5, 0x82); /* retain handling 3 */
    refuses(BYTES("\x82\x07\0\1\0\0\1f\x40"), 5, 0x82);
    refuses(BYTES("\x82\x05\0\1\0\1f"), 4, 0x81);
    refuses(BYTES("\xa2\x02\0\1"), 4, 0x82);
    /* others */
    refuses(BYTES("\x40\x02\0\0"), 4, 0x82);
    refuses(BYTES("\x40\x03\0\1\0"), 4, 0x81); /* 3.1.1 has no reason there */
    refuses(BYTES("\x60\x02\0\1"), 4, 0x81);   /* PUBREL has flags */
    refuses(BYTES("\xc0\x01\0"), 4, 0x81);
    refuses(BYTES("\xe0\x01\0"), 4, 0x81);
    refuses(BYTES("\xf0\x00"), 4, 0x81); /* 3.1.1 has no AUTH */
    refuses(BYTES("\x00\x00"), 4, 0x81);
    refuses(BYTES("\x20\x03\0\0\0"), 4, 0x81);
    assert_int_equal(decode(BYTES("\xf0\x00"), 5), OK);
    assert_int_equal(decode(BYTES("\xe0\x00"), 5), OK);
    assert_int_equal(decode(BYTES("\x62\x02\0\1"), 5), OK);
}

static void filters_have_a_limit(void **state) {
    (void)state;
    struct buf b = {0}, body = {0};
    for (int n = MQTT_FILTERS_MAX; n <= MQTT_FILTERS_MAX + 1; n++) {
        buf_reset(&b);
        buf_reset(&body);
        buf_add(&body, "\0\1", 2);
        for (int i = 0; i < n; i++) buf_add(&body, "\0\1f\1", 4);
        buf_char(&b, (char)0x82);
        pack_bytes(&b, buf_view(&body));
        if (n > MQTT_FILTERS_MAX) refuses(buf_view(&b), 4, 0x95);
        else takes_whole(&b, 4);
    }
    assert_int_equal(P.filter_count, MQTT_FILTERS_MAX);
    buf_done(&b);
    buf_done(&body);
}

/* Any bytes: an answer, and views that lie inside of them. */
static bool inside(struct bytes v, struct bytes in) {
    return !v.n || (v.p >= in.p && v.p + v.n <= in.p + in.n);
}

static void any_bytes_are_answered(void **state) {
    (void)state;
    struct rng r = {9};
    struct buf b = {0}, props = {0};
    unsigned taken = 0;
    for (int i = 0; i < 60000; i++) {
        buf_reset(&props);
        for (uint64_t n = rng_below(&r, 4); n--;) {
            size_t k = rng_below(&r, sizeof PROPERTIES / sizeof *PROPERTIES);
            property_put(&props, k, PROPERTIES[k].n);
        }
        packet_with(&b, "CWAPaSsUDH"[rng_below(&r, 10)], buf_view(&props));
        for (uint64_t n = rng_below(&r, 3); n--;) b.p[rng_below(&r, b.n)] = (uint8_t)rng_next(&r);
        /* of its own, so that a byte too far is seen */
        struct bytes in = bytes_of(must_alloc(b.n), b.n);
        memcpy((void *)in.p, b.p, b.n);
        enum err e = decode(in, (uint8_t[]){0, 4, 5}[rng_below(&r, 3)]);
        assert_true(e == OK || e == AGAIN || ((e == MALFORMED || e == LIMIT) && reason >= 0x80));
        if (e == OK) {
            taken++;
            assert_true(used <= in.n && used >= 2);
            assert_true(inside(P.topic, in) && inside(P.payload, in) && inside(P.client_id, in) &&
                        inside(P.password, in) && inside(P.codes, in));
            for (uint16_t k = 0; k < P.filter_count; k++)
                assert_true(inside(P.filters[k].filter, in) && utf8_valid(P.filters[k].filter));
        }
        free((void *)in.p);
    }
    assert_true(taken > 1000);
    buf_done(&b);
    buf_done(&props);
}

/* ---- topics and filters ---- */
/* The standard's own words, level by level (4.7). */
static bool levels_match(const char *f, const char *t) {
    if (*t == '$' && (*f == '+' || *f == '#')) return false;
    for (;;) {
        size_t fn = strcspn(f, "/"), tn = strcspn(t, "/");
        if (fn == 1 && *f == '#') return true;
        if (!(fn == 1 && *f == '+') && (fn != tn || memcmp(f, t, fn))) return false;
        f += fn;
        t += tn;
        if (!*f && !*t) return true;
        if (!*t) return strcmp(f, "/#") == 0;
        if (!*f) return false;
        f++;
        t++;
    }
}

static bool levels_valid(const char *f) {
    if (!*f) return false;
    for (;;) {
        size_t n = strcspn(f, "/");
        bool wild = memchr(f, '+', n) || memchr(f, '#', n);
        if (wild && n != 1) return false;
        if (*f == '#' && f[1]) return false;
        f += n;
        if (!*f) return true;
        f++;
    }
}

static void filters_match_as_the_standard_says(void **state) {
    (void)state;
    struct rng r = {4};
    unsigned matched = 0;
    for (int i = 0; i < 300000; i++) {
        char f[8] = "", t[8] = "";
        for (uint64_t n = rng_below(&r, 6), k = 0; k < n; k++)
            f[k] = "a/+#$"[rng_below(&r, i % 2 ? 5 : 4)];
        for (uint64_t n = 1 + rng_below(&r, 5), k = 0; k < n; k++)
            t[k] = "a/$"[rng_below(&r, i % 2 ? 3 : 2)];
        if (mqtt_filter_valid(bytes_str(f)) != levels_valid(f)) fail_msg("'%s'", f);
        if (!levels_valid(f)) continue;
        bool got = mqtt_filter_matches(bytes_str(f), bytes_str(t));
        if (got != levels_match(f, t)) fail_msg("filter '%s', topic '%s': %d", f, t, got);
        matched += got;
    }
    assert_true(matched > 1000);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(publishes_read_back),
        cmocka_unit_test(other_packets_read_back),
        cmocka_unit_test(remaining_lengths),
        cmocka_unit_test(properties_belong_to_their_packets),
        cmocka_unit_test(property_values_are_held_to_the_standard),
        cmocka_unit_test(packets_are_held_to_the_standard),
        cmocka_unit_test(filters_have_a_limit),
        cmocka_unit_test(any_bytes_are_answered),
        cmocka_unit_test(filters_match_as_the_standard_says),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
