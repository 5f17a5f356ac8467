/* The thread that sends, asked for line by line: an object of JSON on standard input, {"act": ...}, is
 * answered with one, for test/scenario/send_test.py to hold to programs of others. Keys of a
 * subscription are base64url. SPDX-License-Identifier: Apache-2.0 */
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "io/io.h"
#include "measure/measure.h"
#include "send/send.h"
#include "wire/wire.h"

enum { PATIENCE_MS = 20000, SHARDS = 2 };
static _Atomic int64_t clock_ahead_ms; /* how far the test has set it */

struct peer {
    struct send *send;
    char *providers, *data;
    pthread_mutex_t lock;
    pthread_cond_t came;
    unsigned woken;
    struct json args;
    struct arena arena;
    struct json_out out;
};

static int64_t now_ms(void) { return clock_wall_ms() + atomic_load(&clock_ahead_ms); }

static void wake(void *arg, unsigned shard) {
    struct peer *p = arg;
    (void)shard;
    pthread_mutex_lock(&p->lock);
    p->woken++;
    pthread_cond_signal(&p->came);
    pthread_mutex_unlock(&p->lock);
}

static struct bytes text(struct peer *p, const char *name) {
    struct json v;
    return json_get(p->args, name, &v) ? arena_copy(&p->arena, json_string(v)) : (struct bytes){0};
}
static int64_t number(struct peer *p, const char *name, int64_t otherwise) {
    struct json v;
    return json_get(p->args, name, &v) ? json_i64(v) : otherwise;
}
static bool flag(struct peer *p, const char *name) {
    struct json v;
    return json_get(p->args, name, &v) && json_bool(v);
}
static void say(struct peer *p, const char *name, struct bytes v) {
    jo_key(&p->out, name);
    jo_str(&p->out, v);
}
static void say_number(struct peer *p, const char *name, int64_t v) {
    jo_key(&p->out, name);
    jo_i64(&p->out, v);
}

static void start(struct peer *p) {
    struct buf why = {0};
    send_free(&p->send);
    free(p->providers);
    free(p->data);
    p->providers =
        text(p, "providers").n ? strdup(arena_cstr(&p->arena, text(p, "providers"))) : NULL;
    p->data = strdup(arena_cstr(&p->arena, text(p, "data")));
    struct send_options o = {.providers = p->providers,
        .data_dir = p->data,
        .shards = SHARDS,
        .wake = wake,
        .arg = p,
        .now_ms = now_ms};
    enum err e = send_create(&o, &p->send, &why);
    if (e == OK) send_start(p->send);
    say(p, "err", bytes_str(err_name(e)));
    say(p, "why", buf_view(&why));
    buf_done(&why);
}

static void stop(struct peer *p) { send_free(&p->send); }

static void files(struct peer *p) {
    struct buf out = {0};
    send_files(arena_cstr(&p->arena, text(p, "providers")), &out);
    jo_key(&p->out, "files");
    jo_open_arr(&p->out);
    for (size_t at = 0; at < out.n; at += strlen((char *)out.p + at) + 1)
        jo_str(&p->out, bytes_str((char *)out.p + at));
    jo_close_arr(&p->out);
    buf_done(&out);
}

static struct bytes raw(struct peer *p, struct send_task *t, const char *name) {
    struct buf b = {0};
    check(base64url_decode(&b, text(p, name)) == OK);
    struct bytes v = send_text(t, buf_view(&b));
    buf_done(&b);
    return v;
}

static bool secret_take(void *arg, struct bytes key, struct json v) {
    struct send_task *t = arg;
    (void)key;
    t->secrets[t->secret_count++] = send_text(t, json_string(v));
    return t->secret_count < SEND_SECRETS_MAX;
}

static void texts_take(struct peer *p, struct send_task *t) {
    struct {
        const char *name;
        struct bytes *to;
    } const TEXTS[] = {{"app", &t->app}, {"message_id", &t->message_id}, {"endpoint", &t->endpoint},
        {"token", &t->token}, {"address", &t->address}, {"address_name", &t->address_name},
        {"url", &t->url}, {"title", &t->title}, {"body", &t->body}, {"html", &t->html},
        {"data", &t->data}, {"payload", &t->payload}, {"collapse_key", &t->collapse_key},
        {"unsubscribe_url", &t->unsubscribe_url}, {"thread", &t->thread}};
    for (size_t i = 0; i < sizeof TEXTS / sizeof *TEXTS; i++)
        *TEXTS[i].to = send_text(t, text(p, TEXTS[i].name));
    t->p256dh = raw(p, t, "p256dh");
    t->auth = raw(p, t, "auth");
}

/* {"times": n} puts the same so often, with ids that follow. */
static void put(struct peer *p) {
    unsigned c = 0;
    struct json secrets;
    int64_t took = 0, id = number(p, "id", 0), times = number(p, "times", 1);
    while (!bytes_is(text(p, "channel"), send_channel_name(c))) c++;
    for (int64_t i = 0; i < times; i++) {
        struct send_task *t = send_task_create(c);
        texts_take(p, t);
        t->id = (uint64_t)(id + i);
        t->partition = 7;
        t->provider = (unsigned)number(p, "provider", 0);
        t->badge = number(p, "badge", -1);
        t->high = flag(p, "high");
        if (number(p, "ttl_ms", 0)) t->expires_ms = now_ms() + number(p, "ttl_ms", 0);
        if (json_get(p->args, "secrets", &secrets)) json_each(secrets, secret_take, t);
        if (send_put(p->send, (unsigned)number(p, "shard", 0), t)) took++;
        else send_task_free(&t);
    }
    say_number(p, "took", took);
}

static void result_say(struct peer *p, const struct send_result *r) {
    static const char *const VERDICTS[] = {"delivered", "drop", "retry", "renew", "give up"};
    jo_open_obj(&p->out);
    say_number(p, "id", (int64_t)r->id);
    check(r->partition == 7);
    say(p, "channel", bytes_str(send_channel_name(r->channel)));
    say(p, "verdict", bytes_str(VERDICTS[r->verdict]));
    say(p, "reason", bytes_str(r->reason));
    say(p, "message_id", bytes_str(r->message_id));
    say(p, "provider", bytes_str(r->provider_name));
    say_number(p, "next", r->next_provider);
    say_number(p, "retry_after_ms", r->retry_after_ms);
    say_number(p, "gone_since_ms", r->gone_since_ms);
    say_number(p, "took_ms", r->took_ms);
    jo_key(&p->out, "failover");
    jo_bool(&p->out, r->failover);
    jo_close_obj(&p->out);
}

/* n results of a shard, as they come. */
static void take(struct peer *p) {
    unsigned shard = (unsigned)number(p, "shard", 0);
    int64_t left = number(p, "n", 1), until = clock_mono_ns() / 1000000 + PATIENCE_MS;
    jo_key(&p->out, "results");
    jo_open_arr(&p->out);
    while (left > 0 && clock_mono_ns() / 1000000 < until) {
        struct send_result *r = send_take(p->send, shard);
        if (r) {
            result_say(p, r);
            send_result_free(&r);
            left--;
            continue;
        }
        struct timespec soon;
        pthread_mutex_lock(&p->lock);
        clock_gettime(CLOCK_REALTIME, &soon);
        soon.tv_sec++;
        if (!p->woken) pthread_cond_timedwait(&p->came, &p->lock, &soon);
        p->woken = 0;
        pthread_mutex_unlock(&p->lock);
    }
    jo_close_arr(&p->out);
    say_number(p, "out", (int64_t)send_out(p->send, shard));
}

static void counts(struct peer *p) {
    struct send_counts c;
    unsigned k = 0;
    while (!bytes_is(text(p, "channel"), send_channel_name(k))) k++;
    send_counts(p->send, k, &c);
    say_number(p, "sent", (int64_t)c.sent);
    say_number(p, "retried", (int64_t)c.retried);
    say_number(p, "dropped", (int64_t)c.dropped);
    say_number(p, "gave_up", (int64_t)c.gave_up);
    say_number(p, "renewed", (int64_t)c.renewed);
    say_number(p, "paused", (int64_t)c.paused);
    say_number(p, "waiting", (int64_t)c.waiting);
    say_number(p, "flying", (int64_t)c.flying);
    say_number(p, "answers", (int64_t)hist_count(c.latency_ns));
}

static void ahead(struct peer *p) { atomic_store(&clock_ahead_ms, number(p, "ms", 0)); }

static void about(struct peer *p) {
    struct buf b = {0};
    say(p, "webpush", send_webpush_key(p->send));
    say(p, "webhook", send_webhook_key(p->send));
    send_dkim_records(p->send, &b);
    say(p, "dkim", buf_view(&b));
    buf_reset(&b);
    webhook_secret_create(&b);
    say(p, "secret", buf_view(&b));
    buf_done(&b);
}

static const struct {
    const char *name;
    void (*fn)(struct peer *p);
} ACTS[] = {{"start", start}, {"stop", stop}, {"files", files}, {"put", put}, {"take", take},
    {"counts", counts}, {"ahead", ahead}, {"about", about}};

int main(void) {
    struct peer p = {.lock = PTHREAD_MUTEX_INITIALIZER, .came = PTHREAD_COND_INITIALIZER};
    struct json_reader *r = json_reader_create();
    char *line = NULL;
    size_t room = 0;
    for (ssize_t n; (n = getline(&line, &room, stdin)) > 0;) {
        struct buf out = {0};
        check(json_parse(r, bytes_of(line, (size_t)n), &p.args) == OK);
        struct bytes act = text(&p, "act");
        p.out = (struct json_out){.b = &out};
        jo_open_obj(&p.out);
        for (size_t i = 0; i < sizeof ACTS / sizeof *ACTS; i++)
            if (bytes_is(act, ACTS[i].name)) ACTS[i].fn(&p);
        jo_close_obj(&p.out);
        printf("%.*s\n", (int)out.n, (const char *)out.p);
        fflush(stdout);
        buf_done(&out);
        arena_reset(&p.arena);
    }
    send_free(&p.send);
    free(p.providers);
    free(p.data);
    free(line);
    arena_done(&p.arena);
    json_reader_free(&r);
    return 0;
}
