/* notify: what is asked of src/send for a send: its words in the person's language, its address as it is
 * now. Not for apply: reads cells, and knows the time.
 * SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <string.h>

#include "notify/notify_in.h"
#include "person/person.h"
#include "send/send.h"

struct dispatch {
    struct tools *tools;
    struct json_reader *json;
    struct cells *cells;
    int64_t now_ms;
    uint64_t n;
    struct sending x;
    struct send_task *task;
    struct send_instead *instead;
    struct arena arena;
    int64_t address_ms; /* of a push: when its address was set */
};

static void store_instead(struct dispatch *d, uint8_t kind) {
    struct bytes app = d->x.app;
    d->instead->kind = kind;
    snprintf(d->instead->app, sizeof d->instead->app, "%.*s", (int)app.n, (const char *)app.p);
}

static void refuse(struct dispatch *d, const char *reason) {
    struct send_result r = {.id = d->n, .verdict = OUTWARD_GIVE_UP};
    snprintf(r.reason, sizeof r.reason, "%s", reason);
    store_instead(d, KIND_NOTIFY_SENT);
    notify_sent_record(&r, &d->instead->body);
    send_task_free(&d->task);
}

/* Since it was told of, it may have waited, or the server was away: wishes of now hold. */
static bool stands_against(struct dispatch *d) {
    int64_t until;
    if (!sending_against(d->cells, &d->x, d->now_ms, d->tools->planted, &until) &&
        until <= d->now_ms)
        return false;
    store_instead(d, KIND_NOTIFY_SEND_DUE);
    sending_ask_record(d->n, d->x.turn, &d->instead->body);
    return true;
}

/* ---- where to ---- */
static struct bytes text_of(struct json object, const char *name) {
    struct json v;
    return json_get(object, name, &v) ? json_string(v) : (struct bytes){0};
}

static struct bytes decoded(struct send_task *t, struct bytes text) {
    struct buf b = {0};
    struct bytes v = {0};
    if (base64url_decode(&b, text) == OK) v = send_text(t, buf_view(&b));
    buf_done(&b);
    return v;
}

/* {"webpush":{"endpoint","keys":{"p256dh","auth"}}} | {"apns":{"token"}} | {"fcm":{"token"}} */
static void push_address(struct dispatch *d) {
    struct person_device device;
    struct json v, of, keys;
    person_device_get(d->cells, d->x.app, d->x.user, d->x.to, &device);
    d->address_ms = device.push_ms;
    if (!device.push.n || json_parse(d->json, device.push, &v) != OK) {
        refuse(d, "the device has no push address any more");
        return;
    }
    if (json_get(v, "webpush", &of) && json_get(of, "keys", &keys)) {
        d->task = send_task_create(SEND_WEBPUSH);
        d->task->endpoint = send_text(d->task, text_of(of, "endpoint"));
        d->task->p256dh = decoded(d->task, text_of(keys, "p256dh"));
        d->task->auth = decoded(d->task, text_of(keys, "auth"));
    } else if (json_get(v, "apns", &of) || json_get(v, "fcm", &of)) {
        d->task = send_task_create(json_get(v, "apns", &of) ? SEND_APNS : SEND_FCM);
        d->task->token = send_text(d->task, text_of(of, "token"));
    } else refuse(d, "the device has no push address any more");
}

static void mail_address(struct dispatch *d) {
    struct person who;
    if (!person_find(d->cells, d->x.app, d->x.user, &who) || !who.email.n) {
        refuse(d, "the person has no mail address any more");
        return;
    }
    d->task = send_task_create(SEND_MAIL);
    d->task->address = send_text(d->task, who.email);
    d->task->address_name = send_text(d->task, who.name);
}

static void webhook_address(struct dispatch *d) {
    struct bytes url, secrets;
    if (!webhook_find(d->cells, d->x.app, d->x.to, d->now_ms, &url, &secrets)) {
        refuse(d, "the webhook was deleted");
        return;
    }
    struct send_task *t = d->task = send_task_create(SEND_WEBHOOK);
    struct unpack u = unpack_of(secrets);
    t->url = send_text(t, url);
    while (unpack_more(&u) && t->secret_count < SEND_SECRETS_MAX)
        t->secrets[t->secret_count++] = send_text(t, unpack_bytes(&u));
}

/* ---- what ---- */
struct shown {
    struct row row;
    struct content k;
    struct workflow w;
    uint32_t unread;
    bool there;
};

/* The notification as it stands in the merged inbox, or was before it left that. */
static void row_look(struct dispatch *d, struct shown *v) {
    struct inbox i;
    inbox_open(&i, d->cells, d->x.app, d->x.user, d->now_ms, &d->arena);
    inbox_fold(&i, NULL);
    v->unread = i.head.unread;
    const struct row *r = inbox_find(&i, d->x.notification);
    if (r) {
        v->row = *r;
        return;
    }
    v->row = (struct row){.id = d->x.notification,
        .trigger = v->k.id,
        .workflow = v->k.workflow,
        .created_ms = d->x.created_ms,
        .at_ms = d->x.created_ms};
    actors_first(&i, &v->row, &v->k);
}

/* A grouped one shows its newest trigger. What happened to one that is past retention is told by its id
 * alone. */
static bool shown_find(struct dispatch *d, struct shown *v) {
    struct bytes trigger = d->x.trigger.n ? d->x.trigger : d->x.notification;
    if (!content_find(d->cells, d->x.app, trigger, &v->k)) return false;
    row_look(d, v);
    if (v->row.trigger.n) (void)content_find(d->cells, d->x.app, v->row.trigger, &v->k);
    return v->there = workflow_find(d->cells, d->x.app, v->k.workflow, &v->w);
}

static struct bytes words(struct dispatch *d, const struct shown *v, const char *part) {
    struct template_arg args[ARGS_MAX];
    struct template_fault fault;
    struct buf text = {0};
    struct reader reader = reader_of(d->cells, d->x.app, d->x.user);
    size_t n = notification_args(d->cells, d->x.app, &v->w, reader.zone, &v->row, &v->k, args);
    struct bytes out = {0};
    if (workflow_words(d->tools, &v->w, reader.locale, part, args, n, &text, &fault))
        out = send_text(d->task, buf_view(&text));
    buf_done(&text);
    return out;
}

static void words_fill(struct dispatch *d, const struct shown *v) {
    struct send_task *t = d->task;
    int64_t expires = v->row.expires_ms ? v->row.expires_ms : expiry_of(&v->w, &v->k);
    struct bytes collapse = v->k.collapse_key.n ? v->k.collapse_key : v->row.id;
    bool mail = t->channel == SEND_MAIL;
    t->title = words(d, v, "title");
    t->body = words(d, v, "body");
    if (mail) {
        struct bytes subject = words(d, v, "subject"), text = words(d, v, "text");
        if (subject.n) t->title = subject;
        if (text.n) t->body = text;
        t->html = words(d, v, "html");
    }
    t->data = send_text(t, v->k.data);
    t->thread = send_text(t, v->k.workflow);
    t->collapse_key = send_text(t, collapse);
    t->badge = v->unread;
    t->expires_ms = expires;
    t->high = v->w.priority == PRIORITY_HIGH;
    t->low = v->w.priority == PRIORITY_LOW;
    if (!t->low) t->sound = BYTES("default"); /* else a phone shows it without a sound */
}

/* {"type","timestamp","data":{"user","notification":{...}}}, as Standard Webhooks asks. */
static void payload_fill(struct dispatch *d, const struct shown *v) {
    struct buf b = {0};
    struct json_out o = {&b, false};
    jo_open_obj(&o);
    jo_key(&o, "type");
    jo_str(&o, d->x.event.n ? d->x.event : BYTES("notification.sent"));
    jo_key(&o, "timestamp");
    jo_time(&o, d->x.created_ms);
    jo_key(&o, "data");
    jo_open_obj(&o);
    jo_key(&o, "user");
    jo_str(&o, d->x.user);
    jo_key(&o, "notification");
    jo_open_obj(&o);
    if (v->there) {
        struct reader reader = reader_of(d->cells, d->x.app, d->x.user);
        struct workflow w;
        bool there = workflow_find(d->cells, d->x.app, v->k.workflow, &w);
        notification_json(
            d->tools, d->cells, d->x.app, &reader, &v->row, &v->k, there ? &w : NULL, &b);
    } else {
        jo_key(&o, "id");
        jo_str(&o, d->x.notification);
    }
    jo_close_obj(&o);
    jo_close_obj(&o);
    jo_close_obj(&o);
    d->task->payload = send_text(d->task, buf_view(&b));
    buf_done(&b);
}

/* The message as it is now: one that was deleted meanwhile says so. */
static void message_fill(struct dispatch *d) {
    struct buf b = {0};
    struct json_out o = {&b, false};
    jo_open_obj(&o);
    jo_key(&o, "type");
    jo_str(&o, d->x.event);
    jo_key(&o, "timestamp");
    jo_time(&o, d->x.created_ms);
    jo_key(&o, "data");
    if (d->tools->message_json && d->tools->message_json(d->cells, d->x.app, d->x.notification,
                                      d->x.trigger, d->now_ms, &b)) {
        buf_char(&b, '}');
        d->task->payload = send_text(d->task, buf_view(&b));
    } else refuse(d, "the message is not there any more");
    buf_done(&b);
}

/* The same for each try, so that who got it twice can tell, and of no other send: n is the partition's,
 * and all of a partition may begin something at one moment. A push shows which notification it is. */
static void id_fill(struct dispatch *d) {
    char id[80];
    uint8_t room[300];
    struct send_task *t = d->task;
    bool message = sending_of_message(&d->x);
    struct bytes whose = message ? d->x.notification : d->x.user;
    int n = snprintf(id, sizeof id, "msg_%llx_%llx_%016llx", (unsigned long long)d->x.created_ms,
        (unsigned long long)d->n,
        (unsigned long long)hash64(key2(room, message ? 'c' : 'u', d->x.app, whose)));
    bool push = t->channel != SEND_MAIL && t->channel != SEND_WEBHOOK;
    t->message_id = send_text(t, push ? d->x.notification : bytes_of(id, (size_t)n));
    t->id = d->n;
    t->cookie = (uint64_t)d->address_ms + 1;
    t->provider = d->x.provider;
    t->app = send_text(t, d->x.app);
    t->user = send_text(t, d->x.user);
    if (push) t->device = send_text(t, d->x.to);
}

static void fill(struct dispatch *d) {
    struct shown v = {.there = false};
    id_fill(d);
    if (sending_of_message(&d->x)) {
        message_fill(d);
        return;
    }
    bool there = shown_find(d, &v);
    d->task->workflow = send_text(d->task, v.k.workflow);
    if (d->task->channel == SEND_WEBHOOK) payload_fill(d, &v);
    else if (there) words_fill(d, &v);
    else refuse(d, "the notification is past retention");
}

struct send_task *notify_send_task(struct tools *t, struct json_reader *json, struct cells *c,
    uint64_t n, int64_t now_ms, struct send_instead *instead) {
    struct dispatch d = {
        .tools = t, .json = json, .cells = c, .now_ms = now_ms, .n = n, .instead = instead};
    *instead = (struct send_instead){0};
    if (!sending_find(c, n, &d.x) || d.x.waits) return NULL; /* ended, or told of by a replay */
    check(sending_copy(c, n, &d.arena, &d.x)); /* its texts outlive the looks at other cells */
    if (stands_against(&d)) d.task = NULL;
    else if (d.x.channel == CHANNEL_PUSH) push_address(&d);
    else if (d.x.channel == CHANNEL_EMAIL) mail_address(&d);
    else webhook_address(&d);
    if (d.task) fill(&d);
    arena_done(&d.arena);
    return d.task;
}

/* The address that it was sent to is gone, and those before it (cookie: that moment's end): what its owner gave
 * meanwhile is another, also if it was not applied yet when this was handed over. */
void notify_sent_record(const struct send_result *r, struct buf *out) {
    int64_t gone_ms = (int64_t)r->cookie;
    if (r->gone_since_ms && r->gone_since_ms < gone_ms) gone_ms = r->gone_since_ms;
    pack_u64(out, r->id);
    pack_u8(out, (uint8_t)r->verdict);
    pack_u8(out, (uint8_t)r->provider);
    pack_u8(out, (uint8_t)r->next_provider);
    pack_u8(out, r->failover);
    pack_u64(out, (uint64_t)r->retry_after_ms);
    pack_u64(out, (uint64_t)gone_ms);
    pack_u64(out, (uint64_t)r->took_ms);
    pack_bytes(out, bytes_str(r->provider_name));
    pack_bytes(out, bytes_str(r->reason));
    pack_bytes(out, bytes_str(r->message_id));
    if (r->verdict != OUTWARD_DROP || !r->device[0]) return;
    pack_bytes(out, bytes_str(r->user));
    pack_bytes(out, bytes_str(r->device));
}
