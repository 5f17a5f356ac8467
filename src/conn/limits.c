/* conn: limits of connections, rates and load (limits.h).
 * Keeps: what is counted for a connection is given back once, whichever shard it ends on.
 * SPDX-License-Identifier: Apache-2.0 */
#include "conn/limits.h"

#include <stdlib.h>
#include <string.h>

#include "conn/transport.h"

enum {
    RATE_KEYS = 65536,
    SLOW_STEP_MS = 5,    /* looked at so often, while someone is slowed */
    SLOW_MAX_MS = 10000, /* at once; who still owes then is slowed again */
    LOG_FULL_MS = 1000,  /* the log's queue counts as full for so long */
    RETRY_LIVE_S = 5,
    RETRY_LISTS_S = 2,
    RETRY_WRITES_S = 1
};

struct limits {
    struct admit_tally *addresses, *apps; /* NULL: no such limit */
    struct admit_rates *address_connects, *device_connects, *addresses_ask, *apps_ask, *users_ask,
        *devices_ask, *publishes, *bytes, *user_bytes, *app_bytes;
};

static struct admit_rates *rates_of(double per_second, double burst) {
    return per_second > 0
               ? admit_rates_create(per_second, burst > 0 ? burst : per_second, RATE_KEYS)
               : NULL;
}

struct limits *limits_create(const struct server_options *o) {
    struct limits *l = must_alloc(sizeof *l);
    if (o->connections_per_address) l->addresses = admit_tally_create();
    if (o->connections_per_app) l->apps = admit_tally_create();
    l->address_connects = rates_of(o->connect_rate_per_address, 0);
    l->device_connects = rates_of(o->connect_rate_per_device, 0);
    l->addresses_ask = rates_of(o->rate_per_address, 0);
    l->apps_ask = rates_of(o->rate_per_app, 0);
    l->users_ask = rates_of(o->rate_per_second, o->rate_burst);
    l->devices_ask = rates_of(o->rate_per_device, 0);
    l->publishes = rates_of(o->message_rate, 0);
    l->bytes = rates_of(o->byte_rate, 0);
    l->user_bytes = rates_of(o->byte_rate_per_user, 0);
    l->app_bytes = rates_of(o->byte_rate_per_app, 0);
    return l;
}

void limits_free(struct limits **pl) {
    struct limits *l = *pl;
    if (!l) return;
    admit_tally_free(&l->addresses);
    admit_tally_free(&l->apps);
    struct admit_rates **rates[] = {&l->address_connects, &l->device_connects, &l->addresses_ask,
        &l->apps_ask, &l->users_ask, &l->devices_ask, &l->publishes, &l->bytes, &l->user_bytes,
        &l->app_bytes};
    for (size_t i = 0; i < sizeof rates / sizeof *rates; i++) admit_rates_free(rates[i]);
    free(l);
    *pl = NULL;
}

/* ---- connections ---- */

/* Of an IPv6 address its /64, which is what one subscriber has (RFC 6177). */
static uint64_t address_key(struct address a) {
    static const uint8_t MAPPED[12] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};
    size_t n = memcmp(a.ip, MAPPED, sizeof MAPPED) == 0 ? sizeof a.ip : 8;
    return hash64(bytes_of(a.ip, n));
}

static uint64_t key_of(char tag, struct bytes a, struct bytes b, struct bytes c) {
    uint8_t room[300];
    return hash64(key3(room, tag, a, b, c));
}

static bool rate_ok(struct shard *s, struct admit_rates *r, uint64_t key, int *out_wait_s) {
    return !r || admit_rate_take(r, key, s->mono_ms * 1000000, out_wait_s);
}

bool limits_begin(struct shard *s, struct conn *c) {
    struct limits *l = s->server->limits;
    int wait_s;
    if (c->protocol == PROTO_CONTROL || (!l->addresses && !l->address_connects)) return true;
    uint64_t key = address_key(c->peer);
    if (rate_ok(s, l->address_connects, key, &wait_s)) {
        if (!l->addresses) return true;
        c->counted_address =
            admit_tally_take(l->addresses, key, s->server->o.connections_per_address);
        if (c->counted_address) return true;
    }
    measure_add(&s->measure, COUNTER_limit_connection, 1);
    return false;
}

bool limits_known(struct shard *s, struct conn *c, struct bytes device) {
    struct limits *l = s->server->limits;
    int wait_s;
    if (c->counted_app) return true;
    bool ok = c->who.server ||
              rate_ok(s, l->device_connects, key_of('d', c->who.app, c->who.user, device), &wait_s);
    if (ok && l->apps)
        ok = c->counted_app =
            admit_tally_take(l->apps, hash64(c->who.app), s->server->o.connections_per_app);
    if (!ok) measure_add(&s->measure, COUNTER_limit_connection, 1);
    return ok;
}

bool limits_user(struct shard *s, const struct conn *c, struct bytes device) {
    unsigned most = s->server->o.connections_per_user;
    if (!most || !c->who.user.n ||
        deliver_connected(s->deliver, c->who.app, c->who.user, device) < most)
        return true;
    measure_add(&s->measure, COUNTER_limit_connection, 1);
    return false;
}

void limits_end(struct shard *s, struct conn *c) {
    struct limits *l = s->server->limits;
    if (c->counted_address) admit_tally_give(l->addresses, address_key(c->peer));
    if (c->counted_app) admit_tally_give(l->apps, hash64(c->who.app));
    c->counted_address = c->counted_app = false;
}

/* ---- rates ---- */
static bool refused(struct shard *s, struct answer *a, const char *whose, int wait_s) {
    measure_add(&s->measure, COUNTER_limit_rate, 1);
    answer_problem(
        a, PROBLEM_RATE_LIMITED, "", "too many requests of this %s; wait %d s", whose, wait_s);
    a->retry_after_s = wait_s;
    return false;
}

bool limits_address(struct shard *s, const struct conn *c, struct answer *a) {
    int wait_s = 0;
    return rate_ok(s, s->server->limits->addresses_ask, address_key(c->peer), &wait_s) ||
           refused(s, a, "address", wait_s);
}

/* Whose bytes are counted together: a user's, and those of all server keys of an app. */
static uint64_t bytes_key(const struct principal *who) {
    const struct bytes none = {0};
    return key_of('y', who->app, who->server ? none : who->user, none);
}

/* What has come over MQTT is paid for; the ms until it is. */
static int bytes_spend(struct shard *s, const struct principal *who, size_t n) {
    const struct limits *l = s->server->limits;
    int64_t now_ns = s->mono_ms * 1000000;
    int a = l->user_bytes ? admit_rate_spend(l->user_bytes, bytes_key(who), (double)n, now_ns) : 0;
    int b = l->app_bytes ? admit_rate_spend(l->app_bytes, hash64(who->app), (double)n, now_ns) : 0;
    return a > b ? a : b;
}

bool limits_body(struct shard *s, const struct principal *who, size_t n, struct answer *a) {
    if (!who->app.n) return true;
    int owed_ms = bytes_spend(s, who, 0);
    if (owed_ms) return refused(s, a, "user or app, by their bytes", 1 + owed_ms / 1000);
    (void)bytes_spend(s, who, n);
    return true;
}

/* A device token is its user's; a server key shares its app's. */
bool limits_request(struct shard *s, const struct principal *who, struct answer *a) {
    const struct limits *l = s->server->limits;
    const struct bytes none = {0};
    int wait_s = 0;
    if (!who->app.n) return true;
    if (!rate_ok(s, l->apps_ask, key_of('a', who->app, none, none), &wait_s))
        return refused(s, a, "app", wait_s);
    if (!rate_ok(
            s, l->users_ask, key_of('r', who->app, who->server ? none : who->user, none), &wait_s))
        return refused(s, a, who->server ? "app's server keys" : "user", wait_s);
    if (!who->server && who->device.n &&
        !rate_ok(s, l->devices_ask, key_of('d', who->app, who->user, who->device), &wait_s))
        return refused(s, a, "device", wait_s);
    return true;
}

static uint64_t conn_key(const struct shard *s, const struct conn *c) {
    return (uint64_t)s->index << 56 ^ (uint64_t)c->index << 32 ^ c->generation;
}

bool limits_publish(struct shard *s, struct conn *c, bool refusable) {
    struct limits *l = s->server->limits;
    struct answer a = {0};
    int ms = 0;
    if (c->slowed) return false;
    if (!refusable && (l->apps_ask || l->users_ask || l->devices_ask) &&
        !limits_request(s, &c->who, &a)) {
        limits_slow(s, c, a.retry_after_s * 1000);
        return false;
    }
    /* this one was allowed; those behind it wait until it is paid for */
    if (l->publishes) ms = admit_rate_spend(l->publishes, conn_key(s, c), 1, s->mono_ms * 1000000);
    if (ms) limits_slow(s, c, ms);
    return true;
}

void limits_read(struct shard *s, struct conn *c, size_t n) {
    struct limits *l = s->server->limits;
    int ms = 0, theirs = 0;
    if (c->protocol == PROTO_CONTROL) return;
    if (l->bytes) ms = admit_rate_spend(l->bytes, conn_key(s, c), (double)n, s->mono_ms * 1000000);
    if (c->connected) theirs = bytes_spend(s, &c->who, n);
    if (ms || theirs) limits_slow(s, c, ms > theirs ? ms : theirs);
}

/* ---- slowing ---- */
struct slowed {
    uint32_t index, generation;
    int64_t until_ms;
};

void limits_slow(struct shard *s, struct conn *c, int64_t ms) {
    if (c->slowed || c->closing) return;
    if (s->slow_count == s->slow_cap) {
        s->slow_cap = s->slow_cap ? s->slow_cap * 2 : 64;
        s->slow = must_realloc(s->slow, s->slow_cap * sizeof *s->slow);
    }
    if (ms > SLOW_MAX_MS) ms = SLOW_MAX_MS;
    s->slow[s->slow_count++] = (struct slowed){c->index, c->generation, s->mono_ms + ms};
    c->slowed = true;
    measure_add(&s->measure, COUNTER_limit_slowed, 1);
    conn_touch(s, c);
}

static void slow_wake(struct shard *s) {
    size_t kept = 0;
    for (size_t i = 0; i < s->slow_count; i++) {
        struct slowed w = s->slow[i];
        struct conn *c = conn_find(s, w.index, w.generation);
        if (c && s->mono_ms < w.until_ms) {
            s->slow[kept++] = w;
        } else if (c) {
            c->slowed = false;
            conn_touch(s, c);
            if (c->in.n) conn_read_again(s, c);
        }
    }
    s->slow_count = kept;
}

int limits_wait_ms(const struct shard *s, int most) {
    return s->slow_count && most > SLOW_STEP_MS ? SLOW_STEP_MS : most;
}

/* ---- strangers ---- */
static size_t strange_bytes(const struct conn *c) {
    if (!c || c->protocol == PROTO_CONTROL || c->connected || c->streaming || c->trusted) return 0;
    return c->in.cap + c->out.cap + (c->http ? http_reader_bytes(c->http) : 0) + transport_bytes(c);
}

void limits_sweep(struct shard *s) {
    size_t sum = 0, n = 0, most = s->server->o.strangers_bytes / s->server->shards;
    for (uint32_t i = 0; i < s->conn_count; i++) {
        size_t bytes = strange_bytes(s->conns[i]);
        sum += bytes;
        n += bytes != 0;
    }
    for (uint32_t i = 0; i < s->conn_count && sum > most; i++) {
        size_t bytes = strange_bytes(s->conns[i]);
        if (bytes < most / n) continue;
        sum -= bytes;
        measure_add(&s->measure, COUNTER_limit_strangers, 1);
        conn_close(s, s->conns[i]);
    }
    s->strange_bytes = sum;
}

bool limits_stranger(struct shard *s, const struct conn *c, size_t bytes, struct answer *a) {
    if (c->trusted) return true;
    if (s->strange_bytes + bytes <= s->server->o.strangers_bytes / s->server->shards) {
        s->strange_bytes += bytes; /* until the next sweep, taken or not */
        return true;
    }
    measure_add(&s->measure, COUNTER_limit_strangers, 1);
    answer_problem(a, PROBLEM_OVERLOADED, "",
        "too many who have not said who they are; send a credential, or try again in a moment");
    a->retry_after_s = 1;
    return false;
}

/* ---- load ---- */
static unsigned own_level(struct shard *s) {
    uint64_t budget = server_memory(s->server) / s->server->shards,
             held = engine_held_bytes(s->engine);
    unsigned level = held > budget + budget * 3 / 8 ? SHED_LISTS
                     : held > budget + budget / 4   ? SHED_LIVE
                                                    : 0;
    if (s->log_full_ms && s->mono_ms - s->log_full_ms < LOG_FULL_MS) level = SHED_LISTS;
    return level;
}

void limits_turn(struct shard *s) {
    if (s->slow_count) slow_wake(s);
    if (s->mono_ms == s->last_level_ms) return;
    s->last_level_ms = s->mono_ms;
    atomic_store(&s->gauges.pressure, own_level(s));
    s->level = 0;
    for (unsigned i = 0; i < s->server->shards; i++) {
        unsigned other = (unsigned)atomic_load(&s->server->shard[i].gauges.pressure);
        if (other > s->level) s->level = other;
    }
    if (s->held_back) s->level = SHED_WRITES;
}

bool limits_shed(struct shard *s, enum shed what, struct answer *a) {
    static const struct {
        const char *words;
        int retry_s;
    } SAYS[] = {[SHED_LIVE] = {"typing and presence are not passed on", RETRY_LIVE_S},
        [SHED_LISTS] = {"lists are not read", RETRY_LISTS_S},
        [SHED_WRITES] = {"the tables are behind; nothing was stored", RETRY_WRITES_S}};
    if (s->level < what) return false;
    measure_add(&s->measure, COUNTER_limit_shed, 1);
    answer_problem(
        a, PROBLEM_OVERLOADED, "", "%s just now; try again in a moment", SAYS[what].words);
    a->retry_after_s = SAYS[what].retry_s;
    return true;
}
