/* conn: MQTT's SUBSCRIBE and UNSUBSCRIBE: each filter asked for, acknowledged when it is durable.
 * SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>
#include <string.h>

#include "conn/mqtt_in.h"

static struct pending_suback *suback_make(struct conn *c, const struct mqtt_packet *p) {
    struct pending_suback *w = must_alloc(sizeof *w);
    w->cookie = ++c->subscribe_cookie;
    w->packet = p->packet_id;
    w->count = p->filter_count;
    w->unsubscribe = p->type == MQTT_UNSUBSCRIBE;
    w->next = c->subacks;
    c->subacks = w;
    c->suback_count++;
    return w;
}

static void suback_send(struct shard *s, struct conn *c, uint32_t cookie, enum err err) {
    conn_settled(s, c);
    for (struct pending_suback **at = &c->subacks; *at; at = &(*at)->next) {
        struct pending_suback *w = *at;
        if (w->cookie != cookie) continue;
        for (uint16_t i = 0; err != OK && i < w->count; i++)
            if (w->codes[i] < R_UNSPECIFIED)
                w->codes[i] = c->version == 5 ? R_QUOTA : R_UNSPECIFIED;
        mqtt_encode_suback(&c->out, c->version, w->unsubscribe ? MQTT_UNSUBACK : MQTT_SUBACK,
            w->packet, w->codes, w->count);
        *at = w->next;
        free(w);
        c->suback_count--;
        conn_touch(s, c);
        input_unblock(s, c);
        return;
    }
}

void mqtt_subscribed(void *arg, void *conn, uint32_t cookie, enum err err) {
    suback_send(arg, conn, cookie, err);
}

static uint8_t filter_code(struct shard *s, const struct conn *c, const struct mqtt_filter *f) {
    enum err e = c->session ? deliver_filter_check(s->deliver, c->session, f->filter) : REFUSED;
    if (e == MALFORMED) return R_FILTER;
    if (e != OK) return R_NOT_AUTHORIZED;
    return f->options & 3;
}

/* What a shared subscription cannot be (5.0, 3.8.3.1). */
static bool shares_wrongly(const struct conn *c, const struct mqtt_packet *p) {
    for (uint16_t i = 0; i < p->filter_count; i++)
        if (bytes_starts(p->filters[i].filter, "$share/") && c->version == 5 &&
            (p->filters[i].options & 4))
            return true;
    return false;
}

void subscribe_take(struct shard *s, struct conn *c, const struct mqtt_packet *p) {
    if (shares_wrongly(c, p))
        return mqtt_end(s, c, R_PROTOCOL, "a shared subscription has no No Local");
    struct session_filter list[MQTT_FILTERS_MAX];
    struct pending_suback *w = suback_make(c, p);
    size_t n = 0;
    for (uint16_t i = 0; i < p->filter_count; i++) {
        uint8_t code = filter_code(s, c, &p->filters[i]);
        w->codes[i] = c->version == 5 || code < R_UNSPECIFIED ? code : R_UNSPECIFIED;
        if (code >= R_UNSPECIFIED) continue;
        list[n++] = (struct session_filter){p->filters[i].filter,
            (uint8_t)((p->filters[i].options & ~3) | code),
            p->properties.subscription_id_count ? p->properties.subscription_ids[0] : 0};
    }
    uint32_t cookie = w->cookie;
    enum err e = n ? deliver_subscribe(s->deliver, c->session, list, n, cookie) : OK;
    if (!n || e != OK) suback_send(s, c, cookie, e);
}

void unsubscribe_take(struct shard *s, struct conn *c, const struct mqtt_packet *p) {
    struct bytes list[MQTT_FILTERS_MAX];
    struct pending_suback *w = suback_make(c, p);
    size_t n = 0;
    for (uint16_t i = 0; i < p->filter_count; i++) {
        bool had = c->session && deliver_has_filter(c->session, p->filters[i].filter);
        w->codes[i] = had ? R_OK : 0x11;
        if (had) list[n++] = p->filters[i].filter;
    }
    uint32_t cookie = w->cookie;
    enum err e = n ? deliver_unsubscribe(s->deliver, c->session, list, n, cookie) : OK;
    if (!n || e != OK) suback_send(s, c, cookie, e);
}
