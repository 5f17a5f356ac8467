/* fuzz: MQTT: packets one after the other in both versions; what is taken lies inside of the input,
 * and what this side writes of it reads back. The first byte says the version to begin with.
 * SPDX-License-Identifier: Apache-2.0 */
#include "fuzz.h"

#include <stdlib.h>
#include <string.h>

#include "wire/wire.h"

static void give_buf(void (*give)(void *arg, struct bytes seed), void *arg, struct buf *b) {
    give(arg, buf_view(b));
    buf_reset(b);
}

/* All that we write ourselves, in both versions, and some that only others write. */
void fuzz_seeds(void (*give)(void *arg, struct bytes seed), void *arg) {
    static const struct bytes OTHERS[] = {
        {(const uint8_t
                 *)"\0\x10\x1e\0\4MQTT\5\x06\0\x3c\5\x11\0\0\0\x3c\0\3dev\5\x18\0\0\0\5\0\1w\0\1p",
            32},
        {(const uint8_t *)"\5\x82\x10\0\1\2\x0b\1\0\4a/+x\1\0\3b/#\x2c", 18},
        {(const uint8_t *)"\4\xa2\x0a\0\1\0\1a\0\3b/#", 13},
        {(const uint8_t *)"\5\x30\x21\0\1t\x14\1\1\2\0\0\0\1\3\0\1j\x08\0\1r\x09\0\1c\x23\0\1\x26\0"
                          "\1k\0\1vpay",
            36},
        {(const uint8_t *)"\5\xe0\x07\x04\5\x11\0\0\0\0", 10},
        {(const uint8_t *)"\5\xf0\x0a\x18\x08\x15\0\1m\x16\0\1d", 13}};
    struct buf b = {0};
    struct mqtt_properties p = {.has_message_expiry = true,
        .message_expiry_s = 9,
        .has_server_keep_alive = true,
        .server_keep_alive_s = 8,
        .has_maximum_qos = true,
        .no_retain = true,
        .assigned_client_id = BYTES("auto"),
        .reason_string = BYTES("why"),
        .has_maximum_packet_size = true,
        .maximum_packet_size = 99};
    mqtt_properties_add_subscription_id(&p, 200);
    for (size_t i = 0; i < sizeof OTHERS / sizeof *OTHERS; i++) give(arg, OTHERS[i]);
    for (uint8_t version = 4; version <= 5; version++) {
        buf_char(&b, 0);
        mqtt_encode_connect(
            &b, version, true, 30, BYTES("dev"), BYTES("me"), BYTES("secret"), 60, 9);
        mqtt_encode_subscribe(&b, version, 3, BYTES("users/me/#"), 1);
        mqtt_encode_simple(&b, MQTT_PINGREQ);
        give_buf(give, arg, &b);
        buf_char(&b, (char)version);
        mqtt_encode_connack(&b, version, true, 0, &p);
        mqtt_encode_publish(&b, version, BYTES("users/me/messages"), BYTES("{\"id\":1}"), 1, true,
            false, 7, version == 5 ? &(struct mqtt_properties){.has_message_expiry = true} : NULL);
        give_buf(give, arg, &b);
        buf_char(&b, (char)version);
        mqtt_encode_ack(&b, version, MQTT_PUBACK, 7, 0x87, "no");
        mqtt_encode_ack(&b, version, MQTT_PUBREL, 7, 0, NULL);
        mqtt_encode_suback(&b, version, MQTT_SUBACK, 3, (const uint8_t *)"\1\x80", 2);
        mqtt_encode_disconnect(&b, version, 0x8e, "taken over", NULL);
        give_buf(give, arg, &b);
    }
    buf_done(&b);
}

static void inside(struct bytes v, struct bytes in) {
    check(!v.n || (v.p >= in.p && v.p + v.n <= in.p + in.n));
}

static void views_check(const struct mqtt_packet *k, struct bytes in) {
    const struct mqtt_properties *p = &k->properties;
    const struct bytes VIEWS[] = {k->client_id, k->username, k->password, k->will_topic,
        k->will_payload, k->topic, k->payload, k->codes, p->reason_string, p->assigned_client_id,
        p->content_type, p->response_topic, p->correlation};
    for (size_t i = 0; i < sizeof VIEWS / sizeof *VIEWS; i++) inside(VIEWS[i], in);
    check(k->filter_count <= MQTT_FILTERS_MAX && p->subscription_id_count <= 4 && k->qos <= 2);
    for (uint16_t i = 0; i < k->filter_count; i++) {
        inside(k->filters[i].filter, in);
        (void)mqtt_filter_valid(k->filters[i].filter);
        (void)mqtt_filter_matches(
            k->filters[i].filter, in.n > 2 ? bytes_of(in.p + 2, in.n - 2) : in);
    }
}

/* What was read is written, and reads back the same. */
static void written_again(const struct mqtt_packet *k, uint8_t version) {
    static struct mqtt_packet again;
    struct buf b = {0};
    size_t used;
    uint8_t reason;
    struct mqtt_properties p = k->properties;
    if (p.has_topic_alias && !k->topic.n) return; /* this side never writes an alias */
    mqtt_encode_publish(
        &b, version, k->topic, k->payload, k->qos, k->dup, k->retain, k->packet_id, &p);
    check(
        mqtt_decode(buf_view(&b), version, SIZE_MAX, &again, &used, &reason) == OK && used == b.n);
    check(again.qos == k->qos && again.dup == k->dup && again.retain == k->retain &&
          again.packet_id == k->packet_id);
    check(bytes_eq(again.topic, k->topic) && bytes_eq(again.payload, k->payload));
    check(again.properties.has_message_expiry == p.has_message_expiry &&
          again.properties.subscription_id_count == p.subscription_id_count);
    buf_done(&b);
}

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n) {
    static struct mqtt_packet k;
    if (!n) return 0;
    uint8_t version = (uint8_t[]){0, 4, 5, 0}[p[0] == 4 ? 1 : p[0] == 5 ? 2 : 0], reason = 0;
    struct bytes in = bytes_of(p + 1, n - 1);
    while (in.n) {
        size_t used = 0;
        enum err e = mqtt_decode(in, version, MQTT_PACKET_MAX, &k, &used, &reason);
        check(e == OK || e == AGAIN || ((e == MALFORMED || e == LIMIT) && reason >= 0x80));
        if (e != OK) break;
        check(used >= 2 && used <= in.n);
        struct bytes packet = bytes_of(in.p, used);
        views_check(&k, packet);
        size_t less;
        static struct mqtt_packet part;
        check(mqtt_decode(bytes_of(in.p, used - 1), version, MQTT_PACKET_MAX, &part, &less,
                  &reason) == AGAIN);
        if (k.type == MQTT_PUBLISH) written_again(&k, version);
        if (k.type == MQTT_CONNECT) version = k.version;
        in = bytes_of(in.p + used, in.n - used);
    }
    return 0;
}
