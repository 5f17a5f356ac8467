/* conn: what the files of MQTT share. SPDX-License-Identifier: Apache-2.0 */
#ifndef KITH_MQTT_IN_H
#define KITH_MQTT_IN_H

#include "conn/conn_in.h"

/* QoS 1 and 2 PUBLISHes of one client that may be under way, as CONNACK says */
#define RECEIVE_MAXIMUM 512
/* no packet with a reason string is longer: a client that takes less gets none */
#define WORDS_PACKET 400

enum {
    R_OK = 0,
    R_UNSPECIFIED = 0x80,
    R_MALFORMED = 0x81,
    R_PROTOCOL = 0x82,
    R_VERSION = 0x84,
    R_CLIENT_ID = 0x85,
    R_BAD_LOGIN = 0x86,
    R_NOT_AUTHORIZED = 0x87,
    R_TOPIC = 0x90,
    R_RECEIVE_MAX = 0x93,
    R_QOS = 0x9b,
    R_FILTER = 0x8f,
    R_BUSY = 0x89,
    R_QUOTA = 0x97,
    R_BAD_METHOD = 0x8c,
    R_ALIAS = 0x94,
    R_TOO_LARGE = 0x95,
    R_SHARED = 0x9e,
    R_DRAINING = 0x8b,
    R_WITH_WILL = 0x04,
    R_ELSEWHERE = REASON_ELSEWHERE,
    R_NO_PACKET = 0x92
};

/* mqtt_connect.c */
void connect_take(struct shard *s, struct conn *c, const struct mqtt_packet *p);
void connect_refuse(struct shard *s, struct conn *c, uint8_t reason, const char *words);
/* mqtt_publish.c */
bool must_wait(const struct conn *c);
void input_unblock(struct shard *s, struct conn *c);
void publish_take(struct shard *s, struct conn *c, const struct mqtt_packet *p);
void release_take(struct shard *s, struct conn *c, uint16_t packet); /* PUBREL */
bool rate_refused(struct shard *s, struct conn *c, const struct mqtt_packet *p);
/* mqtt_subscribe.c */
void subscribe_take(struct shard *s, struct conn *c, const struct mqtt_packet *p);
void unsubscribe_take(struct shard *s, struct conn *c, const struct mqtt_packet *p);

#endif
