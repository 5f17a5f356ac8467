/* admit: server keys and device tokens, over a snapshot of the secrets file.
 *
 * Keeps: a change is made to what the file holds at that moment, under a lock that other processes
 * take too, written whole and synced, and only then seen; a failed write changes nothing. Readers
 * share the snapshot. SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#include "admit/admit_in.h"
#include "io/io.h"
#include "measure/measure.h"

struct admit {
    pthread_rwlock_t lock; /* over now */
    /* one change at a time in this process; the file's lock keeps others out */
    pthread_mutex_t changing;
    struct secrets now;
    _Atomic uint64_t generation; /* of `now`; from 1; changed under the lock */
    struct cache *cache;
    char *dir, *path, *lock_path;
};

static const struct {
    const char *name;
    uint32_t bit;
} SCOPES[] = {{"read", SCOPE_READ}, {"write", SCOPE_WRITE}, {"tokens", SCOPE_TOKENS},
    {"moderate", SCOPE_MODERATE}, {"operate", SCOPE_OPERATE}};
enum { SCOPE_COUNT = sizeof SCOPES / sizeof *SCOPES };
#define SCOPES_ALL (SCOPE_READ | SCOPE_WRITE | SCOPE_TOKENS | SCOPE_MODERATE | SCOPE_OPERATE)

enum err admit_scopes_parse(const char *list, uint32_t *out) {
    uint32_t bits = 0;
    if (strcmp(list, "all") == 0) {
        *out = SCOPES_ALL;
        return OK;
    }
    while (*list) {
        size_t n = strcspn(list, ", "), i = 0;
        while (i < SCOPE_COUNT &&
               !(strlen(SCOPES[i].name) == n && strncmp(SCOPES[i].name, list, n) == 0))
            i++;
        if (i == SCOPE_COUNT) return MALFORMED;
        bits |= SCOPES[i].bit;
        list += n;
        list += strspn(list, ", ");
    }
    if (!bits) return MALFORMED;
    *out = bits;
    return OK;
}

void admit_scopes_text(struct buf *b, uint32_t scopes) {
    bool any = false;
    for (size_t i = 0; i < SCOPE_COUNT; i++) {
        if (!(scopes & SCOPES[i].bit)) continue;
        buf_fmt(b, "%s%s", any ? "," : "", SCOPES[i].name);
        any = true;
    }
}

/* ---- changing ---- */
struct change {
    struct secrets fresh;
    int lock_fd;
};

static void change_done(struct admit *a, struct change *c) {
    secrets_done(&c->fresh);
    if (c->lock_fd >= 0) close(c->lock_fd); /* lets go of the lock */
    pthread_mutex_unlock(&a->changing);
}

static enum err change_begin(struct admit *a, struct change *c, bool create, struct buf *why) {
    *c = (struct change){.lock_fd = -1};
    locked(&a->changing, LOCK_ADMIT);
    c->lock_fd = open(a->lock_path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (c->lock_fd >= 0 && !secrets_give(c->lock_fd, a->dir)) {
        close(c->lock_fd);
        c->lock_fd = -1;
    }
    int locked = -1;
    while (c->lock_fd >= 0 && (locked = flock(c->lock_fd, LOCK_EX)) != 0 && errno == EINTR) {
    }
    enum err e = locked == 0 ? secrets_load(a->path, &c->fresh, why) : IO;
    if (locked != 0) buf_fmt(why, "%s cannot be locked: %s", a->lock_path, strerror(errno));
    if (e == MISSING && create) {
        buf_reset(why);
        e = secrets_save(a->path, a->dir, &c->fresh, why);
    }
    if (e != OK) change_done(a, c);
    return e;
}

static void swap_in(struct admit *a, struct secrets *fresh) {
    pthread_rwlock_wrlock(&a->lock);
    struct secrets old = a->now;
    a->now = *fresh;
    *fresh = old;
    a->generation++;
    pthread_rwlock_unlock(&a->lock);
}

static enum err change_keep(struct admit *a, struct change *c, struct buf *why) {
    enum err e = secrets_save(a->path, a->dir, &c->fresh, why);
    if (e == OK) swap_in(a, &c->fresh);
    change_done(a, c);
    return e;
}

/* ---- opening ---- */
static char *path_of(const char *dir, const char *name) {
    char *p = NULL;
    check(asprintf(&p, "%s%s", dir, name) >= 0);
    return p;
}

enum err admit_open(const char *dir, struct admit **out, struct buf *why) {
    struct admit *a = must_alloc(sizeof *a);
    struct change c;
    struct buf words = {0};
    pthread_rwlock_init(&a->lock, NULL);
    pthread_mutex_init(&a->changing, NULL);
    a->cache = cache_create();
    a->dir = path_of(dir, "");
    a->path = path_of(dir, "/secrets");
    a->lock_path = path_of(dir, "/secrets.lock");
    enum err e = change_begin(a, &c, true, &words);
    if (e == OK) {
        swap_in(a, &c.fresh);
        change_done(a, &c);
        *out = a;
    } else {
        buf_bytes(why, buf_view(&words));
        admit_close(&a);
    }
    buf_done(&words);
    return e;
}

void admit_close(struct admit **pa) {
    struct admit *a = *pa;
    if (!a) return;
    secrets_done(&a->now);
    cache_free(&a->cache);
    pthread_rwlock_destroy(&a->lock);
    pthread_mutex_destroy(&a->changing);
    free(a->dir);
    free(a->path);
    free(a->lock_path);
    free(a);
    *pa = NULL;
}

enum err admit_reload(struct admit *a, struct buf *why) {
    struct change c;
    enum err e = change_begin(a, &c, false, why);
    if (e != OK) return e;
    swap_in(a, &c.fresh);
    change_done(a, &c);
    return OK;
}

/* ---- server keys: kith_<id>_<secret> ---- */
static void id_copy(char out[ID_TEXT], struct bytes v) {
    snprintf(out, ID_TEXT, "%.*s", (int)v.n, (const char *)v.p);
}

static void key_make(struct server_key *k, struct buf *out) {
    uint8_t secret[HASH_BYTES], id[6];
    random_secret(secret, sizeof secret);
    random_secret(id, sizeof id);
    for (size_t i = 0; i < sizeof id; i++) snprintf(k->id + 2 * i, 3, "%02x", id[i]);
    buf_fmt(out, "kith_%s_", k->id);
    base64url_encode(out, bytes_of(secret, sizeof secret));
    sha256(buf_view(out), k->hash);
    secret_wipe(secret, sizeof secret);
}

enum err admit_key_create(struct admit *a, struct bytes name, struct bytes app, uint32_t scopes,
    struct buf *out_key, struct buf *why) {
    struct server_key k = {.scopes = scopes, .created_ms = clock_wall_ms()};
    struct buf text = {0};
    struct change c;
    if (!id_valid(name) || !id_valid(app))
        return buf_str(why, "a key's name and app must be 1 to 64 of A-Z a-z 0-9 _ . : -"),
               MALFORMED;
    if (!scopes || scopes & ~(uint32_t)SCOPES_ALL)
        return buf_str(why, "a key needs scopes: read, write, tokens, moderate, operate"),
               MALFORMED;
    enum err e = change_begin(a, &c, false, why);
    if (e != OK) return e;
    id_copy(k.name, name);
    id_copy(k.app, app);
    key_make(&k, &text);
    secrets_add_key(&c.fresh, &k);
    e = change_keep(a, &c, why);
    if (e == OK) buf_bytes(out_key, buf_view(&text));
    secret_wipe(text.p, text.n);
    buf_done(&text);
    return e;
}

enum err admit_key_revoke(struct admit *a, struct bytes id_or_name, struct buf *why) {
    struct change c;
    bool found = false;
    enum err e = change_begin(a, &c, false, why);
    if (e != OK) return e;
    for (size_t i = 0; i < c.fresh.key_count; i++) {
        struct server_key *k = &c.fresh.keys[i];
        if (!bytes_is(id_or_name, k->id) && !bytes_is(id_or_name, k->name)) continue;
        if (!k->revoked_ms) k->revoked_ms = clock_wall_ms();
        found = true;
    }
    if (found) return change_keep(a, &c, why);
    change_done(a, &c);
    buf_fmt(why, "there is no key '%.*s'; 'kith key list' shows them", (int)id_or_name.n,
        (const char *)id_or_name.p);
    return MISSING;
}

void admit_key_list(struct admit *a, struct buf *out) {
    pthread_rwlock_rdlock(&a->lock);
    for (size_t i = 0; i < a->now.key_count; i++) {
        const struct server_key *k = &a->now.keys[i];
        char t[25] = "";
        time_format(k->created_ms, t);
        buf_fmt(out, "%s\t%s\t%s\t", k->id, k->name, k->app);
        admit_scopes_text(out, k->scopes);
        buf_fmt(out, "\t%s\t", t);
        if (k->revoked_ms) time_format(k->revoked_ms, t);
        buf_fmt(out, "%s%s\n", k->revoked_ms ? "revoked " : "", k->revoked_ms ? t : "");
    }
    pthread_rwlock_unlock(&a->lock);
}

/* ---- tokens ---- */
static bool sign(struct admit *a, struct bytes app, struct bytes user, struct bytes device,
    int64_t expires_s, int64_t now_ms, struct buf *out) {
    pthread_rwlock_rdlock(&a->lock);
    const struct signer *s = secrets_signer(&a->now, app);
    if (s) token_write(s, user, device, expires_s, now_ms, out);
    pthread_rwlock_unlock(&a->lock);
    return s != NULL;
}

/* Makes the app's signing secret, unless another process did meanwhile. */
static enum err signer_ensure(struct admit *a, struct bytes app) {
    uint8_t secret[HASH_BYTES];
    struct buf why = {0};
    struct change c;
    enum err e = change_begin(a, &c, false, &why);
    if (e == OK && !secrets_signer(&c.fresh, app)) {
        random_secret(secret, sizeof secret);
        secrets_add_signer(&c.fresh, app, secret);
        secret_wipe(secret, sizeof secret);
        e = change_keep(a, &c, &why);
    } else if (e == OK) {
        swap_in(a, &c.fresh);
        change_done(a, &c);
    }
    buf_done(&why);
    return e;
}

enum err admit_token_create(struct admit *a, struct bytes app, struct bytes user,
    struct bytes device, int64_t ttl_ms, int64_t now_ms, struct buf *out_token,
    int64_t *out_expires_ms) {
    int64_t expires_s = (now_ms + ttl_ms + 999) / 1000;
    if (!id_valid(app) || !id_valid(user) || (device.n && !id_valid(device)) || ttl_ms <= 0)
        return MALFORMED;
    if (!sign(a, app, user, device, expires_s, now_ms, out_token)) {
        enum err e = signer_ensure(a, app);
        if (e != OK) return e;
        check(sign(a, app, user, device, expires_s, now_ms, out_token));
    }
    *out_expires_ms = expires_s * 1000;
    return OK;
}

/* ---- issuers ---- */
static bool issuer_is(const struct issuer *i, struct bytes name, struct bytes audience) {
    return bytes_eq(buf_view(&i->name), name) && bytes_eq(buf_view(&i->audience), audience);
}

/* Puts it in the place of the app's issuer of that name and audience. EXISTS: another app has them,
 * and a token could not tell whose it is. */
static enum err issuer_put(struct secrets *s, const struct issuer_parts *from, struct buf *why) {
    struct issuer made;
    enum err e = issuer_make(from, &made, why);
    for (size_t i = 0; e == OK && i < s->issuer_count; i++) {
        struct issuer *old = &s->issuers[i];
        if (!issuer_is(old, from->issuer, from->audience)) continue;
        if (bytes_is(from->app, old->app)) {
            issuer_done(old);
            *old = made;
            return OK;
        }
        buf_fmt(why, "app '%s' has an issuer of this name and audience already", old->app);
        e = EXISTS;
    }
    if (e == OK) secrets_add_issuer(s, &made);
    else issuer_done(&made);
    return e;
}

enum err admit_issuer_set(struct admit *a, struct bytes app, struct bytes issuer,
    struct bytes audience, const char *hs256_secret, const char *jwks_json, struct buf *why) {
    struct issuer_parts from = {app, issuer, audience, hs256_secret, jwks_json};
    struct change c;
    enum err e = change_begin(a, &c, false, why);
    if (e != OK) return e;
    if ((e = issuer_put(&c.fresh, &from, why)) == OK) return change_keep(a, &c, why);
    change_done(a, &c);
    return e;
}

enum err admit_issuer_remove(
    struct admit *a, struct bytes issuer, struct bytes audience, struct buf *why) {
    struct change c;
    enum err e = change_begin(a, &c, false, why);
    if (e != OK) return e;
    for (size_t i = 0; i < c.fresh.issuer_count; i++) {
        struct issuer *it = &c.fresh.issuers[i];
        if (!issuer_is(it, issuer, audience)) continue;
        issuer_done(it);
        *it = c.fresh.issuers[--c.fresh.issuer_count];
        return change_keep(a, &c, why);
    }
    change_done(a, &c);
    buf_fmt(why, "there is no issuer '%.*s' for the audience '%.*s'", (int)issuer.n,
        (const char *)issuer.p, (int)audience.n, (const char *)audience.p);
    return MISSING;
}

void admit_issuer_list(struct admit *a, struct buf *out) {
    pthread_rwlock_rdlock(&a->lock);
    for (size_t i = 0; i < a->now.issuer_count; i++) {
        const struct issuer *it = &a->now.issuers[i];
        buf_fmt(out, "%s\t", it->app);
        buf_bytes(out, buf_view(&it->name));
        buf_char(out, '\t');
        buf_bytes(out, buf_view(&it->audience));
        buf_str(out, it->jwks ? "\tjwks\n" : "\ths256\n");
    }
    pthread_rwlock_unlock(&a->lock);
}

/* ---- who is this ---- */
static enum err key_check(struct admit *a, const uint8_t hash[HASH_BYTES], struct arena *arena,
    struct principal *out, struct buf *why) {
    enum err e = REFUSED;
    pthread_rwlock_rdlock(&a->lock);
    for (size_t i = 0; i < a->now.key_count; i++) {
        const struct server_key *k = &a->now.keys[i];
        if (!secret_equal(hash, k->hash, HASH_BYTES)) continue;
        if (k->revoked_ms) break;
        *out = (struct principal){.server = true,
            .scopes = k->scopes,
            .app = arena_copy(arena, bytes_str(k->app)),
            .key = arena_copy(arena, bytes_str(k->id))};
        e = OK;
    }
    pthread_rwlock_unlock(&a->lock);
    if (e != OK) buf_str(why, "this server key is not known, or was revoked");
    return e;
}

enum err admit_check(struct admit *a, struct bytes credential, int64_t now_ms, struct arena *arena,
    struct principal *out, struct buf *why) {
    uint8_t hash[HASH_BYTES];
    struct principal who = {0};
    *out = who;
    if (!credential.n || credential.n > TOKEN_MAX)
        return buf_str(why, "no credentials, or too long to be one"), REFUSED;
    sha256(credential, hash);
    if (bytes_starts(credential, "kith_")) return key_check(a, hash, arena, out, why);
    pthread_rwlock_rdlock(&a->lock);
    uint64_t generation = a->generation;
    enum err e = OK;
    if (!cache_find(a->cache, hash, generation, now_ms, arena, &who)) {
        e = token_verify(&a->now, credential, now_ms, arena, &who, why);
        if (e == OK) cache_add(a->cache, hash, generation, &who);
    }
    pthread_rwlock_unlock(&a->lock);
    if (e == OK) *out = who;
    return e;
}

uint64_t admit_generation(struct admit *a) { return a->generation; }

bool admit_holds(struct admit *a, const struct principal *who) {
    bool holds = !who->server && !who->issuer;
    if (holds) return true; /* signed by us: it ends by itself, or with its user or device */
    pthread_rwlock_rdlock(&a->lock);
    for (size_t i = 0; who->server && i < a->now.key_count && !holds; i++)
        holds = bytes_is(who->key, a->now.keys[i].id) && !a->now.keys[i].revoked_ms;
    for (size_t i = 0; !who->server && i < a->now.issuer_count && !holds; i++)
        holds = bytes_is(who->app, a->now.issuers[i].app) &&
                issuer_hash(&a->now.issuers[i]) == who->issuer;
    pthread_rwlock_unlock(&a->lock);
    return holds;
}
