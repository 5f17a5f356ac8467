/* deliver: filters of a session: which it may have, what they take, how they become durable.
 * SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>
#include <string.h>

#include "deliver/deliver_in.h"

/* ---- may it? ---- */
static enum err own_check(const struct session *s, struct bytes filter) {
    if (!s->user.n) return REFUSED;
    if (bytes_starts(filter, "users/")) {
        struct bytes rest = bytes_of(filter.p + 6, filter.n - 6);
        size_t n = 0;
        while (n < rest.n && rest.p[n] != '/') n++;
        struct bytes owner = bytes_of(rest.p, n);
        if (bytes_eq(owner, s->user)) return n < rest.n ? OK : REFUSED;
        struct bytes tail = bytes_of(rest.p + n, rest.n - n);
        /* who hears of whom is decided where it is told: "+" opens nothing more */
        bool known = id_valid(owner) || bytes_is(owner, "+");
        return bytes_is(tail, "/presence") && known ? OK : REFUSED;
    }
    if (bytes_starts(filter, "conversations/")) {
        struct bytes tail = bytes_of(
            filter.p + filter.n - (filter.n < 7 ? filter.n : 7), filter.n < 7 ? filter.n : 7);
        return bytes_is(tail, "/typing") ? OK : REFUSED;
    }
    return REFUSED;
}

static bool plain_may(struct deliver *d, const struct session *s, struct bytes filter) {
    struct principal who;
    session_who(s, &who);
    return d->o.interest && d->o.may && d->o.may(d->o.arg, &who, filter);
}

static bool is_figures(struct bytes filter) {
    return bytes_starts(filter, "$SYS/") || bytes_is(filter, "$SYS");
}

enum err deliver_filter_check(struct deliver *d, const struct session *s, struct bytes filter) {
    struct bytes group, inner;
    if (!mqtt_filter_valid(filter)) return MALFORMED;
    if (bytes_starts(filter, "$share/")) {
        if (!channel_share_parse(filter, &group, &inner)) return MALFORMED;
        return channel_is_plain(inner) && plain_may(d, s, inner) ? OK : REFUSED;
    }
    if (is_figures(filter)) return s->server && (s->scopes & SCOPE_OPERATE) ? OK : REFUSED;
    if (!channel_is_plain(filter)) return own_check(s, filter);
    return plain_may(d, s, filter) ? OK : REFUSED;
}

/* By the rules as they are now. */
static bool look_again(struct deliver *d, struct subscription *sub, uint64_t now) {
    struct bytes filter = bytes_of(sub->entry.text, sub->entry.size);
    struct principal who;
    session_who(sub->session, &who);
    if (!is_figures(filter) && !plain_may(d, sub->session, filter)) return false;
    sub->by_topic = d->o.narrowed && d->o.narrowed(d->o.arg, &who, filter);
    sub->checked = now;
    return true;
}

bool subscription_may(struct deliver *d, struct subscription *sub, struct bytes topic) {
    uint64_t now = d->o.rules ? d->o.rules(d->o.arg) : 0;
    if (sub->checked != now && !look_again(d, sub, now)) return false;
    return !sub->by_topic || plain_may(d, sub->session, topic);
}

static bool is_channel(struct bytes filter) {
    struct bytes group, inner;
    return channel_is_plain(filter) || is_figures(filter) ||
           channel_share_parse(filter, &group, &inner);
}

/* ---- the list ---- */
static struct bytes text_of(const struct subscription *sub) {
    return bytes_of(sub->text, sub->size);
}

static struct subscription *find(const struct session *s, struct bytes filter) {
    struct subscription *sub = s->filters;
    while (sub && !bytes_eq(text_of(sub), filter)) sub = sub->next;
    return sub;
}

bool deliver_has_filter(const struct session *s, struct bytes filter) {
    return find(s, filter) != NULL;
}

struct subscription *subscription_make(
    struct session *s, struct bytes filter, uint8_t options, uint64_t start, uint32_t id) {
    struct subscription *sub = must_alloc(sizeof *sub + filter.n), **at = &s->filters;
    struct bytes group, inner = filter;
    memcpy(sub->text, filter.p, filter.n);
    sub->size = (uint16_t)filter.n;
    sub->session = s;
    sub->options = options;
    sub->start = start;
    sub->id = id;
    sub->plain = is_channel(filter);
    if (sub->plain) (void)channel_share_parse(filter, &group, &inner);
    sub->entry.text = sub->text + (filter.n - inner.n);
    sub->entry.size = (uint16_t)inner.n;
    while (*at) at = &(*at)->next;
    *at = sub;
    s->filter_count++;
    return sub;
}

static void subscription_free(struct deliver *d, struct subscription *sub) {
    if (sub->indexed) plain_unindex(d, sub);
    sub->session->filter_count--;
    free(sub);
}

void session_filters_clear(struct deliver *d, struct session *s) {
    while (s->filters) {
        struct subscription *sub = s->filters;
        s->filters = sub->next;
        subscription_free(d, sub);
    }
}

void session_filters_index(struct deliver *d, struct session *s) {
    for (struct subscription *sub = s->filters; sub; sub = sub->next)
        if (sub->plain && !sub->indexed && s->open) (void)!plain_index(d, sub);
}

static enum err filter_set(
    struct deliver *d, struct session *s, const struct session_filter *f, uint64_t start) {
    struct subscription *sub = find(s, f->filter);
    if (sub) { /* it began before: replacing a subscription loses nothing */
        sub->options = f->options;
        sub->id = f->subscription_id;
        return OK;
    }
    sub = subscription_make(s, f->filter, f->options, start, f->subscription_id);
    enum err e = sub->plain ? plain_index(d, sub) : OK;
    if (e == OK) return OK;
    struct subscription **at = &s->filters;
    while (*at != sub) at = &(*at)->next;
    *at = NULL;
    subscription_free(d, sub);
    return e;
}

static void filter_drop(struct deliver *d, struct session *s, struct bytes filter) {
    for (struct subscription **at = &s->filters; *at; at = &(*at)->next) {
        struct subscription *sub = *at;
        if (!bytes_eq(text_of(sub), filter)) continue;
        *at = sub->next;
        subscription_free(d, sub);
        return;
    }
}

/* ---- what they take ---- */
static bool filter_takes(
    const struct session *s, const struct subscription *sub, struct bytes type_topic) {
    /* users/{me}/ then '#', '+' or the type */
    struct bytes t = text_of(sub);
    if (!s->user.n || t.n < 7 + s->user.n || !bytes_starts(t, "users/")) return false;
    if (memcmp(t.p + 6, s->user.p, s->user.n) != 0 || t.p[6 + s->user.n] != '/') return false;
    t = bytes_of(t.p + 7 + s->user.n, t.n - 7 - s->user.n);
    return bytes_is(t, "#") || bytes_is(t, "+") || bytes_eq(t, type_topic);
}

uint64_t session_floor(
    const struct session *s, uint8_t type, uint8_t *out_qos, uint32_t *out_subscription) {
    uint64_t floor = UINT64_MAX;
    *out_qos = 0;
    *out_subscription = 0;
    struct bytes topic = bytes_str(entry_type_topic(type));
    for (const struct subscription *f = s->filters; f; f = f->next) {
        if (f->plain || !filter_takes(s, f, topic)) continue;
        if (f->start < floor) floor = f->start;
        if ((f->options & 3) > *out_qos) *out_qos = f->options & 3;
        if (f->id) *out_subscription = f->id;
    }
    if (*out_qos > 1) *out_qos = 1; /* an entry is published at QoS 1 */
    return floor;
}

/* ---- retained messages: asked for when the SUBSCRIBE has taken effect (MQTT 5, 3.8.3.1) ---- */
static void wish_add(struct session *s, const struct session_filter *f, uint32_t cookie) {
    unsigned handling = f->options >> 4 & 3;
    if (handling == 2 || (handling == 1 && find(s, f->filter)) || !channel_is_plain(f->filter))
        return;
    struct retained_wish *w = must_alloc(sizeof *w + f->filter.n);
    *w = (struct retained_wish){
        s->wishes, cookie, f->subscription_id, f->options, (uint16_t)f->filter.n};
    memcpy(w->filter, f->filter.p, f->filter.n);
    s->wishes = w;
}

static void wishes_tell(struct deliver *d, struct session *s, uint32_t cookie, bool good) {
    for (struct retained_wish **at = &s->wishes; *at;) {
        struct retained_wish *w = *at;
        if (w->cookie != cookie) {
            at = &w->next;
            continue;
        }
        *at = w->next;
        if (good && d->o.want_retained)
            d->o.want_retained(
                d->o.arg, s->id, s->app, bytes_of(w->filter, w->size), w->options, w->id);
        free(w);
    }
}

void wishes_clear(struct session *s) {
    while (s->wishes) {
        struct retained_wish *w = s->wishes;
        s->wishes = w->next;
        free(w);
    }
}

/* ---- subscribing ---- */
static enum err filters_record(struct deliver *d, struct session *s, uint32_t cookie) {
    return d->o.append(d->o.arg, s->partition, KIND_SESSION_FILTERS, s->app, buf_view(&d->body),
        s->id, PURPOSE_FILTERS, cookie);
}

static void told(struct deliver *d, struct session *s, uint32_t cookie, enum err e) {
    uint64_t id = s->id;
    d->o.subscribed(d->o.arg, s->conn, cookie, e);
    s = session_by_id(d, id);
    if (s) wishes_tell(d, s, cookie, e == OK);
}

enum err deliver_subscribe(struct deliver *d, struct session *s, const struct session_filter *f,
    size_t n, uint32_t cookie) {
    if (s->filter_count + n > DELIVER_FILTERS_MAX) return LIMIT;
    enum err e = OK;
    for (size_t i = 0; i < n; i++) wish_add(s, &f[i], cookie);
    if (s->kept) {
        record_begin(d, s);
        pack_u8(&d->body, 1);
        pack_var(&d->body, n);
        for (size_t i = 0; i < n; i++) {
            pack_bytes(&d->body, f[i].filter);
            pack_u8(&d->body, f[i].options);
            pack_var(&d->body, f[i].subscription_id);
        }
        e = filters_record(d, s, cookie);
        if (e != OK) wishes_tell(d, s, cookie, false);
        /* plain channels are heard at once: nobody must publish between this and the SUBACK unheard */
        for (size_t i = 0; i < n && e == OK; i++)
            if (is_channel(f[i].filter))
                (void)!filter_set(d, s, &f[i], engine_applied(d->o.engine, s->partition));
        return e;
    }
    for (size_t i = 0; i < n && e == OK; i++)
        e = filter_set(d, s, &f[i], engine_applied(d->o.engine, s->partition));
    told(d, s, cookie, e);
    return OK;
}

enum err deliver_unsubscribe(
    struct deliver *d, struct session *s, const struct bytes *filters, size_t n, uint32_t cookie) {
    for (size_t i = 0; i < n; i++) filter_drop(d, s, filters[i]);
    if (!s->kept) {
        d->o.subscribed(d->o.arg, s->conn, cookie, OK);
        return OK;
    }
    record_begin(d, s);
    pack_u8(&d->body, 0);
    pack_var(&d->body, n);
    for (size_t i = 0; i < n; i++) {
        pack_bytes(&d->body, filters[i]);
        pack_u8(&d->body, 0);
        pack_var(&d->body, 0);
    }
    return filters_record(d, s, cookie);
}

/* After the record: the stored filters are the truth; cursor and window of the running session stay
 * as they are. */
void filters_done(struct deliver *d, struct session *s, uint32_t cookie, const struct answer *a) {
    if (!a->problem) {
        uint64_t sent = s->sent, acked = s->acked, stored = s->stored_cursor, dup_to = s->dup_to,
                 mark = s->mark;
        check(session_load(d, s));
        s->sent = sent;
        s->acked = acked;
        s->stored_cursor = stored;
        s->dup_to = dup_to;
        s->mark = s->mark > mark ? s->mark : mark;
        session_filters_index(d, s);
    }
    told(d, s, cookie, a->problem ? AGAIN : OK);
}
