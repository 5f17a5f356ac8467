/* admit: the secrets file, lines of blank-separated fields, always rewritten whole:
 *
 *   kith-secrets 1
 *   sign APP BASE64URL                                        an app's signing secret (HS256, 32
 *     bytes), made when first needed
 *   key ID NAME APP SCOPES CREATED_MS REVOKED_MS SHA256-HEX   a server key, hashed
 *   issuer APP NAME AUDIENCE hs256|jwks DATA                  an app's own issuer; NAME, AUDIENCE
 *     and DATA in base64url
 *
 * Keeps: the file is whole, old or new, after a crash, and nobody else may read it.
 * SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "admit/admit_in.h"
#include "io/io.h"

#define HEADER "kith-secrets 1\n"
enum { HS256_SECRET_MIN = 32 /* RFC 7518 3.2 */, HS256_SECRET_MAX = 1024, NAME_BYTES_MAX = 512 };

static void id_text(char out[ID_TEXT], struct bytes v) {
    snprintf(out, ID_TEXT, "%.*s", (int)v.n, (const char *)v.p);
}

/* ---- what it holds ---- */
void secrets_add_key(struct secrets *s, const struct server_key *k) {
    s->keys = must_realloc(s->keys, (s->key_count + 1) * sizeof *k);
    s->keys[s->key_count++] = *k;
}

struct signer *secrets_add_signer(
    struct secrets *s, struct bytes app, const uint8_t secret[HASH_BYTES]) {
    s->signers = must_realloc(s->signers, (s->signer_count + 1) * sizeof *s->signers);
    struct signer *n = &s->signers[s->signer_count++];
    uint8_t sum[HASH_BYTES];
    *n = (struct signer){0};
    id_text(n->app, app);
    memcpy(n->secret, secret, HASH_BYTES);
    /* names the secret, tells nothing of it */
    hmac_sha256(bytes_of(secret, HASH_BYTES), BYTES("kid"), sum);
    for (int i = 0; i < 8; i++) snprintf(n->kid + 2 * i, 3, "%02x", sum[i]);
    return n;
}

const struct signer *secrets_signer(const struct secrets *s, struct bytes app) {
    for (size_t i = 0; i < s->signer_count; i++)
        if (bytes_is(app, s->signers[i].app)) return &s->signers[i];
    return NULL;
}

enum err issuer_make(const struct issuer_parts *from, struct issuer *out, struct buf *why) {
    size_t secret = from->hs256_secret ? strlen(from->hs256_secret) : 0;
    *out = (struct issuer){0};
    const char *words =
        !id_valid(from->app) ? "an issuer's app must be 1 to 64 of A-Z a-z 0-9 _ . : -"
        : !from->issuer.n || from->issuer.n > NAME_BYTES_MAX
            ? "an issuer needs a name ('iss') of at most 512 bytes"
        : bytes_is(from->issuer, "kith") ? "the issuer name 'kith' is the server's own"
        : !from->audience.n || from->audience.n > NAME_BYTES_MAX
            ? "an issuer needs an audience ('aud'), or its tokens for others would do here"
        : !secret == !from->jwks_json ? "an issuer has either an HS256 secret or a JWKS document"
        : secret && (secret < HS256_SECRET_MIN || secret > HS256_SECRET_MAX)
            ? "an HS256 secret has 32 to 1024 bytes (RFC 7518 3.2)"
            : NULL;
    if (words) return buf_str(why, words), MALFORMED;
    if (from->jwks_json) out->jwks = jwks_read(bytes_str(from->jwks_json), why);
    if (from->jwks_json && !out->jwks) return MALFORMED;
    id_text(out->app, from->app);
    buf_bytes(&out->name, from->issuer);
    buf_bytes(&out->audience, from->audience);
    buf_add(&out->secret, from->hs256_secret, secret);
    buf_str(&out->jwks_text, from->jwks_json ? from->jwks_json : "");
    return OK;
}

uint64_t issuer_hash(const struct issuer *i) {
    return (hash64(buf_view(&i->name)) * 31 + hash64(buf_view(&i->audience))) | 1;
}

void issuer_done(struct issuer *i) {
    secret_wipe(i->secret.p, i->secret.n);
    buf_done(&i->name);
    buf_done(&i->audience);
    buf_done(&i->secret);
    buf_done(&i->jwks_text);
    jwks_free(&i->jwks);
}

void secrets_add_issuer(struct secrets *s, struct issuer *take_issuer) {
    s->issuers = must_realloc(s->issuers, (s->issuer_count + 1) * sizeof *s->issuers);
    s->issuers[s->issuer_count++] = *take_issuer;
    *take_issuer = (struct issuer){0};
}

void secrets_done(struct secrets *s) {
    secret_wipe(s->signers, s->signer_count * sizeof *s->signers);
    for (size_t i = 0; i < s->issuer_count; i++) issuer_done(&s->issuers[i]);
    free(s->keys);
    free(s->signers);
    free(s->issuers);
    *s = (struct secrets){0};
}

/* ---- writing ---- */
static void issuer_line(struct buf *b, const struct issuer *i) {
    buf_fmt(b, "issuer %s ", i->app);
    base64url_encode(b, buf_view(&i->name));
    buf_char(b, ' ');
    base64url_encode(b, buf_view(&i->audience));
    buf_str(b, i->jwks ? " jwks " : " hs256 ");
    base64url_encode(b, buf_view(i->jwks ? &i->jwks_text : &i->secret));
    buf_char(b, '\n');
}

static void text_write(struct buf *b, const struct secrets *s) {
    buf_str(b, HEADER);
    for (size_t i = 0; i < s->signer_count; i++) {
        buf_fmt(b, "sign %s ", s->signers[i].app);
        base64url_encode(b, bytes_of(s->signers[i].secret, HASH_BYTES));
        buf_char(b, '\n');
    }
    for (size_t i = 0; i < s->key_count; i++) {
        const struct server_key *k = &s->keys[i];
        buf_fmt(b, "key %s %s %s ", k->id, k->name, k->app);
        admit_scopes_text(b, k->scopes);
        buf_fmt(b, " %lld %lld ", k->created_ms, k->revoked_ms);
        for (int n = 0; n < HASH_BYTES; n++) buf_fmt(b, "%02x", k->hash[n]);
        buf_char(b, '\n');
    }
    for (size_t i = 0; i < s->issuer_count; i++) issuer_line(b, &s->issuers[i]);
}

bool secrets_give(int fd, const char *dir) {
    struct stat folder, file;
    if (geteuid() != 0) return true;
    if (stat(dir, &folder) || fstat(fd, &file)) return false;
    return file.st_uid == folder.st_uid || fchown(fd, folder.st_uid, folder.st_gid) == 0;
}

static bool file_write(const char *path, const char *dir, const struct buf *b) {
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
    size_t done = 0;
    if (fd < 0) return false;
    /* a left-over of a crash keeps its mode */
    bool ok = fchmod(fd, 0600) == 0 && secrets_give(fd, dir);
    while (ok && done < b->n) {
        ssize_t n = write(fd, b->p + done, b->n - done);
        if (n > 0) done += (size_t)n;
        else ok = n < 0 && errno == EINTR;
    }
    ok = ok && fsync(fd) == 0;
    return close(fd) == 0 && ok;
}

enum err secrets_save(const char *path, const char *dir, const struct secrets *s, struct buf *why) {
    struct buf b = {0}, tmp = {0};
    text_write(&b, s);
    buf_fmt(&tmp, "%s.tmp", path);
    buf_char(&tmp, 0);
    bool ok = file_write((const char *)tmp.p, dir, &b) && rename((const char *)tmp.p, path) == 0 &&
              disk_real()->sync_dir(disk_real(), dir) == OK;
    if (!ok) buf_fmt(why, "%s cannot be written: %s", path, strerror(errno));
    secret_wipe(b.p, b.cap);
    buf_done(&b);
    buf_done(&tmp);
    return ok ? OK : IO;
}

/* ---- reading ---- */
static bool base64_field(const char *text, struct buf *out) {
    return base64url_decode(out, bytes_str(text)) == OK;
}

static bool sign_line(struct secrets *s, char *const *f) {
    struct buf raw = {0};
    bool ok = id_valid(bytes_str(f[1])) && base64_field(f[2], &raw) && raw.n == HASH_BYTES;
    if (ok) secrets_add_signer(s, bytes_str(f[1]), raw.p);
    secret_wipe(raw.p, raw.n);
    buf_done(&raw);
    return ok;
}

static bool number_field(const char *text, long long *out) {
    char *end;
    errno = 0;
    *out = strtoll(text, &end, 10);
    return *text && !*end && !errno && *out >= 0;
}

static bool key_line(struct secrets *s, char *const *f) {
    struct server_key k = {0};
    if (strlen(f[1]) >= sizeof k.id || !id_valid(bytes_str(f[2])) || !id_valid(bytes_str(f[3])) ||
        admit_scopes_parse(f[4], &k.scopes) != OK)
        return false;
    if (!number_field(f[5], &k.created_ms) || !number_field(f[6], &k.revoked_ms) ||
        strlen(f[7]) != 2 * HASH_BYTES)
        return false;
    for (int i = 0; i < HASH_BYTES; i++) {
        char pair[3] = {f[7][2 * i], f[7][2 * i + 1]}, *end;
        k.hash[i] = (uint8_t)strtoul(pair, &end, 16);
        if (*end) return false;
    }
    snprintf(k.id, sizeof k.id, "%s", f[1]);
    id_text(k.name, bytes_str(f[2]));
    id_text(k.app, bytes_str(f[3]));
    secrets_add_key(s, &k);
    return true;
}

static bool issuer_line_read(struct secrets *s, char *const *f) {
    struct buf name = {0}, audience = {0}, data = {0}, why = {0};
    struct issuer i = {0};
    bool jwks = strcmp(f[4], "jwks") == 0;
    bool ok = base64_field(f[2], &name) && base64_field(f[3], &audience) &&
              base64_field(f[5], &data) && (jwks || strcmp(f[4], "hs256") == 0);
    buf_char(&data, 0);
    struct issuer_parts from = {bytes_str(f[1]), buf_view(&name), buf_view(&audience),
        jwks ? NULL : (const char *)data.p, jwks ? (const char *)data.p : NULL};
    ok = ok && issuer_make(&from, &i, &why) == OK;
    if (ok) secrets_add_issuer(s, &i);
    secret_wipe(data.p, data.n);
    buf_done(&name);
    buf_done(&audience);
    buf_done(&data);
    buf_done(&why);
    return ok;
}

static const struct line_kind {
    const char *word;
    int fields;
    bool (*read)(struct secrets *s, char *const *fields);
} LINES[] = {{"sign", 3, sign_line}, {"key", 8, key_line}, {"issuer", 6, issuer_line_read}};

static bool line_read(struct secrets *s, char *line) {
    char *f[9], *rest = NULL;
    int n = 0;
    for (char *w = strtok_r(line, " \n", &rest); w && n < 9; w = strtok_r(NULL, " \n", &rest))
        f[n++] = w;
    for (size_t i = 0; n && i < sizeof LINES / sizeof *LINES; i++)
        if (strcmp(f[0], LINES[i].word) == 0) return n == LINES[i].fields && LINES[i].read(s, f);
    return n == 0;
}

static enum err file_read(FILE *f, const char *path, struct secrets *out, struct buf *why) {
    char *line = NULL;
    size_t cap = 0;
    enum err e = OK;
    int n = 1;
    for (; e == OK && getline(&line, &cap, f) > 0; n++) {
        bool good = n == 1 ? strcmp(line, HEADER) == 0 : line_read(out, line);
        if (good) continue;
        buf_fmt(why,
            n == 1 ? "%s is not a secrets file of this version (line %d)"
                   : "%s: line %d cannot be read",
            path, n);
        e = CORRUPT;
    }
    if (e == OK && ferror(f)) e = IO;
    if (e == OK && n == 1) e = CORRUPT;
    if (e != OK && !why->n) buf_fmt(why, "%s cannot be read, or is empty", path);
    secret_wipe(line, cap);
    free(line);
    return e;
}

enum err secrets_load(const char *path, struct secrets *out, struct buf *why) {
    struct stat st;
    *out = (struct secrets){0};
    FILE *f = fopen(path, "re");
    if (!f && errno == ENOENT) return buf_fmt(why, "%s is not there", path), MISSING;
    if (!f) return buf_fmt(why, "%s cannot be opened: %s", path, strerror(errno)), IO;
    enum err e = OK;
    if (fstat(fileno(f), &st) != 0 || (st.st_mode & 077)) {
        buf_fmt(why,
            "%s holds secrets, and others may read or write it: chmod 600 it, and make new keys if "
            "they did",
            path);
        e = REFUSED;
    }
    if (e == OK) e = file_read(f, path, out, why);
    fclose(f);
    if (e != OK) secrets_done(out);
    return e;
}
