/* admit: server keys and device tokens. The secrets file is lines of blank-separated fields, rewritten whole and synced:
 *
 *   kith-secrets 1
 *   sign APP BASE64URL                                        an app's signing secret (HS256, 32 bytes), made when first needed
 *   key ID NAME APP SCOPES CREATED_MS REVOKED_MS SHA256-HEX   a server key, hashed
 *
 * Keeps: comparisons of secrets take constant time; a failed write leaves the old file. SPDX-License-Identifier: Apache-2.0 */
#include "admit/admit.h"

#include <fcntl.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "io/io.h"

#define HASH_BYTES 32
#define TOKEN_MAX 2048

struct server_key {
    char id[32], name[65], app[65];
    uint32_t scopes;
    long long created_ms, revoked_ms;
    uint8_t hash[HASH_BYTES];
};
struct sign_secret {
    char app[65];
    uint8_t secret[HASH_BYTES];
};
struct admit {
    pthread_rwlock_t lock;
    char *path, *dir;
    struct server_key *keys;
    size_t key_count;
    struct sign_secret *signs;
    size_t sign_count;
};

static const struct {
    const char *name;
    uint32_t bit;
} SCOPES[] = {{"read", SCOPE_READ}, {"write", SCOPE_WRITE}, {"tokens", SCOPE_TOKENS}, {"moderate", SCOPE_MODERATE}, {"operate", SCOPE_OPERATE}};

enum err admit_scopes_parse(const char *list, uint32_t *out) {
    if (strcmp(list, "all") == 0) {
        *out = SCOPE_READ | SCOPE_WRITE | SCOPE_TOKENS | SCOPE_MODERATE | SCOPE_OPERATE;
        return OK;
    }
    uint32_t bits = 0;
    while (*list) {
        size_t n = strcspn(list, ", "), i = 0;
        while (i < 5 && !(strlen(SCOPES[i].name) == n && strncmp(SCOPES[i].name, list, n) == 0)) i++;
        if (i == 5) return MALFORMED;
        bits |= SCOPES[i].bit;
        list += n;
        list += strspn(list, ", ");
    }
    *out = bits;
    return bits ? OK : MALFORMED;
}

static void sha256(struct bytes v, uint8_t out[HASH_BYTES]) {
    unsigned n = HASH_BYTES;
    check(EVP_Digest(v.p, v.n, out, &n, EVP_sha256(), NULL) == 1);
}

/* ---- the file ---- */
static void scopes_text(struct buf *b, uint32_t scopes) {
    bool any = false;
    for (size_t i = 0; i < 5; i++) {
        if (!(scopes & SCOPES[i].bit)) continue;
        buf_fmt(b, "%s%s", any ? "," : "", SCOPES[i].name);
        any = true;
    }
}

static enum err save(struct admit *a, struct buf *why) {
    struct buf b = {0};
    char tmp[600];
    buf_str(&b, "kith-secrets 1\n");
    for (size_t i = 0; i < a->sign_count; i++) {
        buf_fmt(&b, "sign %s ", a->signs[i].app);
        base64url_encode(&b, bytes_of(a->signs[i].secret, HASH_BYTES));
        buf_char(&b, '\n');
    }
    for (size_t i = 0; i < a->key_count; i++) {
        const struct server_key *k = &a->keys[i];
        buf_fmt(&b, "key %s %s %s ", k->id, k->name, k->app);
        scopes_text(&b, k->scopes);
        buf_fmt(&b, " %lld %lld ", k->created_ms, k->revoked_ms);
        for (int n = 0; n < HASH_BYTES; n++) buf_fmt(&b, "%02x", k->hash[n]);
        buf_char(&b, '\n');
    }
    snprintf(tmp, sizeof tmp, "%s.tmp", a->path);
    int fd = open(tmp, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    bool ok = fd >= 0 && write(fd, b.p, b.n) == (ssize_t)b.n && fsync(fd) == 0;
    if (fd >= 0) close(fd);
    ok = ok && rename(tmp, a->path) == 0 && disk_real()->sync_dir(disk_real(), a->dir) == OK;
    OPENSSL_cleanse(b.p, b.n);
    buf_done(&b);
    if (!ok) buf_fmt(why, "%s cannot be written", a->path);
    return ok ? OK : IO;
}

static bool line_read(struct admit *a, char *line) {
    struct server_key k = {0};
    struct sign_secret s = {0};
    char scopes[80], hash[80], text[80];
    if (sscanf(line, "sign %64s %79s", s.app, text) == 2) {
        struct buf raw = {0};
        bool ok = base64url_decode(&raw, bytes_str(text)) == OK && raw.n == HASH_BYTES;
        if (ok) memcpy(s.secret, raw.p, HASH_BYTES);
        buf_done(&raw);
        a->signs = must_realloc(a->signs, (a->sign_count + 1) * sizeof s);
        if (ok) a->signs[a->sign_count++] = s;
        return ok;
    }
    if (sscanf(line, "key %31s %64s %64s %79s %lld %lld %79s", k.id, k.name, k.app, scopes, &k.created_ms, &k.revoked_ms, hash) != 7) return false;
    if (admit_scopes_parse(scopes, &k.scopes) != OK || strlen(hash) != 2 * HASH_BYTES) return false;
    for (int i = 0; i < HASH_BYTES; i++) {
        unsigned v;
        if (sscanf(hash + 2 * i, "%2x", &v) != 1) return false;
        k.hash[i] = (uint8_t)v;
    }
    a->keys = must_realloc(a->keys, (a->key_count + 1) * sizeof k);
    a->keys[a->key_count++] = k;
    return true;
}

static void forget(struct admit *a) {
    if (a->signs) OPENSSL_cleanse(a->signs, a->sign_count * sizeof *a->signs);
    free(a->signs);
    free(a->keys);
    a->signs = NULL;
    a->keys = NULL;
    a->sign_count = a->key_count = 0;
}

static enum err load(struct admit *a, struct buf *why) {
    FILE *f = fopen(a->path, "re");
    if (!f) return MISSING;
    char line[512];
    enum err e = fgets(line, sizeof line, f) && strcmp(line, "kith-secrets 1\n") == 0 ? OK : CORRUPT;
    for (int n = 2; e == OK && fgets(line, sizeof line, f); n++)
        if (line[0] != '\n' && !line_read(a, line)) {
            buf_fmt(why, "%s: line %d cannot be read", a->path, n);
            e = CORRUPT;
        }
    fclose(f);
    if (e != OK && !why->n) buf_fmt(why, "%s is not a secrets file of this version", a->path);
    return e;
}

enum err admit_open(const char *dir, struct admit **out, struct buf *why) {
    struct admit *a = must_alloc(sizeof *a);
    size_t n = strlen(dir) + 16;
    pthread_rwlock_init(&a->lock, NULL);
    a->path = must_alloc(n);
    a->dir = must_alloc(n);
    snprintf(a->path, n, "%s/secrets", dir);
    snprintf(a->dir, n, "%s", dir);
    enum err e = load(a, why);
    if (e == MISSING) e = save(a, why);
    if (e != OK) {
        admit_close(&a);
        return e;
    }
    *out = a;
    return OK;
}

void admit_close(struct admit **pa) {
    struct admit *a = *pa;
    if (!a) return;
    forget(a);
    free(a->path);
    free(a->dir);
    pthread_rwlock_destroy(&a->lock);
    free(a);
    *pa = NULL;
}

enum err admit_reload(struct admit *a, struct buf *why) {
    struct admit fresh = {.path = a->path};
    enum err e = load(&fresh, why);
    if (e != OK) {
        forget(&fresh);
        return e;
    }
    pthread_rwlock_wrlock(&a->lock);
    forget(a);
    a->keys = fresh.keys;
    a->key_count = fresh.key_count;
    a->signs = fresh.signs;
    a->sign_count = fresh.sign_count;
    pthread_rwlock_unlock(&a->lock);
    return OK;
}

/* ---- server keys: kith_<id>_<secret> ---- */
static void text_of(char *out, size_t n, struct bytes v) { snprintf(out, n, "%.*s", (int)v.n, (const char *)v.p); }

enum err admit_key_create(struct admit *a, struct bytes name, struct bytes app, uint32_t scopes, struct buf *out_key, struct buf *why) {
    if (!id_valid(name) || !id_valid(app)) {
        buf_str(why, "a key's name and app must be 1 to 64 of A-Z a-z 0-9 _ . : -");
        return MALFORMED;
    }
    struct server_key k = {.scopes = scopes, .created_ms = clock_wall_ms()};
    uint8_t secret[HASH_BYTES], id[6];
    random_secret(secret, sizeof secret);
    random_secret(id, sizeof id);
    for (size_t i = 0; i < sizeof id; i++) snprintf(k.id + 2 * i, 3, "%02x", id[i]);
    text_of(k.name, sizeof k.name, name);
    text_of(k.app, sizeof k.app, app);
    buf_fmt(out_key, "kith_%s_", k.id);
    base64url_encode(out_key, bytes_of(secret, sizeof secret));
    OPENSSL_cleanse(secret, sizeof secret);
    sha256(buf_view(out_key), k.hash);
    pthread_rwlock_wrlock(&a->lock);
    a->keys = must_realloc(a->keys, (a->key_count + 1) * sizeof k);
    a->keys[a->key_count++] = k;
    enum err e = save(a, why);
    if (e != OK) a->key_count--;
    pthread_rwlock_unlock(&a->lock);
    return e;
}

enum err admit_key_revoke(struct admit *a, struct bytes id_or_name, struct buf *why) {
    enum err e = MISSING;
    pthread_rwlock_wrlock(&a->lock);
    for (size_t i = 0; i < a->key_count; i++) {
        struct server_key *k = &a->keys[i];
        if (!bytes_is(id_or_name, k->id) && !bytes_is(id_or_name, k->name)) continue;
        if (!k->revoked_ms) k->revoked_ms = clock_wall_ms();
        e = OK;
    }
    if (e == OK) e = save(a, why);
    else buf_fmt(why, "there is no key '%.*s'; 'kith key list' shows them", (int)id_or_name.n, (const char *)id_or_name.p);
    pthread_rwlock_unlock(&a->lock);
    return e;
}

void admit_key_list(struct admit *a, struct buf *out) {
    pthread_rwlock_rdlock(&a->lock);
    for (size_t i = 0; i < a->key_count; i++) {
        char t[25] = "";
        time_format(a->keys[i].created_ms, t);
        buf_fmt(out, "%s\t%s\t%s\t", a->keys[i].id, a->keys[i].name, a->keys[i].app);
        scopes_text(out, a->keys[i].scopes);
        buf_fmt(out, "\t%s\t%s\n", t, a->keys[i].revoked_ms ? "revoked" : "");
    }
    pthread_rwlock_unlock(&a->lock);
}

/* ---- tokens (RFC 7519; HS256, RFC 7518 3.2) ---- */
static void mac(const uint8_t secret[HASH_BYTES], struct bytes v, uint8_t out[HASH_BYTES]) {
    unsigned n = HASH_BYTES;
    check(HMAC(EVP_sha256(), secret, HASH_BYTES, v.p, v.n, out, &n) != NULL);
}

static bool secret_get(struct admit *a, struct bytes app, uint8_t out[HASH_BYTES]) {
    bool found = false;
    pthread_rwlock_rdlock(&a->lock);
    for (size_t i = 0; i < a->sign_count && !found; i++)
        if (bytes_is(app, a->signs[i].app)) {
            memcpy(out, a->signs[i].secret, HASH_BYTES);
            found = true;
        }
    pthread_rwlock_unlock(&a->lock);
    return found;
}

static enum err secret_make(struct admit *a, struct bytes app, uint8_t out[HASH_BYTES]) {
    struct sign_secret s = {0};
    struct buf why = {0};
    text_of(s.app, sizeof s.app, app);
    random_secret(s.secret, sizeof s.secret);
    pthread_rwlock_wrlock(&a->lock);
    a->signs = must_realloc(a->signs, (a->sign_count + 1) * sizeof s);
    a->signs[a->sign_count++] = s;
    enum err e = save(a, &why);
    if (e != OK) a->sign_count--;
    pthread_rwlock_unlock(&a->lock);
    memcpy(out, s.secret, HASH_BYTES);
    buf_done(&why);
    return e;
}

enum err admit_token_create(struct admit *a, struct bytes app, struct bytes user, struct bytes device, int64_t ttl_ms, int64_t now_ms,
                            struct buf *out, int64_t *out_expires_ms) {
    uint8_t secret[HASH_BYTES], sum[HASH_BYTES];
    if (!secret_get(a, app, secret)) {
        enum err e = secret_make(a, app, secret);
        if (e != OK) return e;
    }
    int64_t expires_s = (now_ms + ttl_ms + 999) / 1000;
    struct buf claims = {0};
    buf_fmt(&claims, "{\"iss\":\"kith\",\"aud\":\"%.*s\",\"sub\":\"%.*s\"", (int)app.n, (const char *)app.p, (int)user.n, (const char *)user.p);
    if (device.n) buf_fmt(&claims, ",\"dev\":\"%.*s\"", (int)device.n, (const char *)device.p);
    buf_fmt(&claims, ",\"iat\":%lld,\"exp\":%lld,\"ims\":%lld}", (long long)(now_ms / 1000), (long long)expires_s, (long long)now_ms);
    size_t from = out->n;
    base64url_encode(out, BYTES("{\"alg\":\"HS256\",\"typ\":\"JWT\"}"));
    buf_char(out, '.');
    base64url_encode(out, buf_view(&claims));
    mac(secret, bytes_of(out->p + from, out->n - from), sum);
    buf_char(out, '.');
    base64url_encode(out, bytes_of(sum, sizeof sum));
    OPENSSL_cleanse(secret, sizeof secret);
    buf_done(&claims);
    *out_expires_ms = expires_s * 1000;
    return OK;
}

enum err admit_issuer_set(struct admit *a, struct bytes app, struct bytes issuer, struct bytes audience, const char *hs256_secret,
                          const char *jwks_json, struct buf *why) {
    (void)a; (void)app; (void)issuer; (void)audience; (void)hs256_secret; (void)jwks_json;
    buf_str(why, "an app's own issuer cannot be set in this version");
    return REFUSED;
}

struct parts {
    struct bytes head, claims, sum, signed_part;
};
static bool token_split(struct bytes t, struct parts *p) {
    const uint8_t *d1 = memchr(t.p, '.', t.n), *end = t.p + t.n;
    const uint8_t *d2 = d1 ? memchr(d1 + 1, '.', (size_t)(end - d1 - 1)) : NULL;
    if (!d2 || memchr(d2 + 1, '.', (size_t)(end - d2 - 1))) return false;
    p->head = bytes_of(t.p, (size_t)(d1 - t.p));
    p->claims = bytes_of(d1 + 1, (size_t)(d2 - d1 - 1));
    p->sum = bytes_of(d2 + 1, (size_t)(end - d2 - 1));
    p->signed_part = bytes_of(t.p, (size_t)(d2 - t.p));
    return true;
}

static bool claims_take(struct json c, struct arena *arena, struct principal *out, int64_t *exp_ms) {
    struct json v;
    if (!json_get(c, "iss", &v) || !bytes_is(json_string(v), "kith") || !json_get(c, "aud", &v)) return false;
    out->app = arena_copy(arena, json_string(v));
    if (!json_get(c, "sub", &v)) return false;
    out->user = arena_copy(arena, json_string(v));
    out->device = json_get(c, "dev", &v) ? arena_copy(arena, json_string(v)) : (struct bytes){0};
    if (!json_get(c, "exp", &v) || json_kind_of(v) != JSON_I64) return false;
    *exp_ms = json_i64(v) * 1000;
    if (json_get(c, "ims", &v)) out->issued_ms = json_i64(v);
    return id_valid(out->app) && id_valid(out->user) && (!out->device.n || id_valid(out->device));
}

/* The claims are read before the signature is known to be good, only to find which app's secret must have made it. */
static enum err token_check(struct admit *a, struct bytes t, int64_t now_ms, struct arena *arena, struct principal *out, struct buf *why) {
    struct parts p;
    struct buf head = {0}, claims = {0}, sum = {0};
    struct json_reader *r = json_reader_create();
    struct json doc, alg;
    uint8_t secret[HASH_BYTES], good[HASH_BYTES];
    int64_t exp_ms = 0;
    bool ok = t.n <= TOKEN_MAX && token_split(t, &p) && base64url_decode(&head, p.head) == OK && base64url_decode(&claims, p.claims) == OK &&
              base64url_decode(&sum, p.sum) == OK && sum.n == HASH_BYTES;
    ok = ok && json_parse(r, buf_view(&head), &doc) == OK && json_get(doc, "alg", &alg) && bytes_is(json_string(alg), "HS256");
    ok = ok && json_parse(r, buf_view(&claims), &doc) == OK && json_kind_of(doc) == JSON_OBJECT && claims_take(doc, arena, out, &exp_ms);
    ok = ok && secret_get(a, out->app, secret);
    if (ok) {
        mac(secret, p.signed_part, good);
        ok = CRYPTO_memcmp(good, sum.p, HASH_BYTES) == 0;
    }
    OPENSSL_cleanse(secret, sizeof secret);
    json_reader_free(&r);
    buf_done(&head);
    buf_done(&claims);
    buf_done(&sum);
    if (!ok) buf_str(why, "this is neither a server key nor a device token that this server signed");
    else if (now_ms >= exp_ms) buf_str(why, "this token has expired; ask your application for a new one");
    return ok && now_ms < exp_ms ? OK : REFUSED;
}

enum err admit_check(struct admit *a, struct bytes credential, int64_t now_ms, struct arena *arena, struct principal *out, struct buf *why) {
    *out = (struct principal){0};
    if (!bytes_starts(credential, "kith_")) return token_check(a, credential, now_ms, arena, out, why);
    uint8_t hash[HASH_BYTES];
    sha256(credential, hash);
    enum err e = REFUSED;
    pthread_rwlock_rdlock(&a->lock);
    for (size_t i = 0; i < a->key_count; i++) {
        const struct server_key *k = &a->keys[i];
        if (CRYPTO_memcmp(hash, k->hash, HASH_BYTES) != 0) continue;
        if (k->revoked_ms) break;
        out->server = true;
        out->scopes = k->scopes;
        out->app = arena_copy(arena, bytes_str(k->app));
        e = OK;
    }
    pthread_rwlock_unlock(&a->lock);
    if (e != OK) buf_str(why, "this server key is not known, or was revoked");
    return e;
}
