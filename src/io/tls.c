/* io: TLS by OpenSSL, the server's side. Keeps: TLS 1.2 with forward secrecy and authenticated
 * encryption, or 1.3; no renegotiation, no compression, no early data. Sessions are resumed by
 * tickets, so the server keeps nothing of them; their keys are of this process and change with each
 * reload. Record buffers are given back when they are empty, so that an idle connection costs
 * OpenSSL's structures and no more. SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "io/io.h"
#include "measure/measure.h"

#define CIPHERS_12 "ECDHE+AESGCM:ECDHE+CHACHA20" /* TLS 1.3 has only such */

enum { TICKET_S = 7200, TICKETS = 1 };

struct tls_context {
    pthread_mutex_t lock; /* around `now`, which a reload changes */
    SSL_CTX *now;
    char *cert_file, *key_file;
};
struct tls {
    SSL *ssl;
    const char *alpn;
    bool wants_write, broken;
};

/* ---- certificates ---- */
static const char *reason(void) {
    const char *words = ERR_reason_error_string(ERR_peek_last_error());
    return words ? words : "it is no PEM file of that kind";
}

/* A key under a passphrase is refused: there is nobody to ask. */
static int passphrase_none(char *room, int size, int writing, void *arg) {
    (void)room, (void)size, (void)writing, (void)arg;
    return -1;
}

static enum err files_load(
    SSL_CTX *x, const char *cert_file, const char *key_file, struct buf *why) {
    const char *const FILES[] = {cert_file, key_file};
    for (int i = 0; i < 2; i++)
        if (access(FILES[i], R_OK) != 0)
            return buf_fmt(why, "the TLS %s %s cannot be read: %s", i ? "key" : "certificate",
                       FILES[i], strerror(errno)),
                   MISSING;
    if (SSL_CTX_use_certificate_chain_file(x, cert_file) != 1)
        return buf_fmt(why, "the TLS certificate %s cannot be used: %s", cert_file, reason()),
               MALFORMED;
    ERR_clear_error();
    bool is_key = SSL_CTX_use_PrivateKey_file(x, key_file, SSL_FILETYPE_PEM) == 1;
    if (is_key && SSL_CTX_check_private_key(x) == 1) return OK;
    if (is_key || ERR_GET_LIB(ERR_peek_last_error()) == ERR_LIB_X509)
        buf_fmt(why, "the TLS key %s does not belong to the certificate %s", key_file, cert_file);
    else buf_fmt(why, "the TLS key %s cannot be used: %s", key_file, reason());
    return MALFORMED;
}

/* One protocol is spoken behind each listener: who asks for others is told so, lest what is meant
 * for one server is understood by another. */
static int alpn_select(SSL *ssl, const unsigned char **out, unsigned char *out_n,
    const unsigned char *in, unsigned in_n, void *arg) {
    (void)arg;
    const struct tls *t = SSL_get_app_data(ssl);
    size_t n = strlen(t->alpn);
    for (unsigned at = 0; at < in_n; at += 1u + in[at]) {
        if (in[at] != n || memcmp(in + at + 1, t->alpn, n) != 0) continue;
        *out = in + at + 1;
        *out_n = in[at];
        return SSL_TLSEXT_ERR_OK;
    }
    return SSL_TLSEXT_ERR_ALERT_FATAL;
}

static enum err context_make(
    const char *cert_file, const char *key_file, SSL_CTX **out, struct buf *why) {
    SSL_CTX *x = SSL_CTX_new(TLS_server_method());
    check(x);
    ERR_clear_error();
    SSL_CTX_set_default_passwd_cb(x, passphrase_none);
    enum err e = files_load(x, cert_file, key_file, why);
    ERR_clear_error();
    if (e != OK) {
        SSL_CTX_free(x);
        return e;
    }
    check(SSL_CTX_set_min_proto_version(x, TLS1_2_VERSION) == 1);
    check(SSL_CTX_set_cipher_list(x, CIPHERS_12) == 1);
    SSL_CTX_set_options(x, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION |
                               SSL_OP_CIPHER_SERVER_PREFERENCE | SSL_OP_PRIORITIZE_CHACHA);
    SSL_CTX_set_mode(x, SSL_MODE_RELEASE_BUFFERS | SSL_MODE_ENABLE_PARTIAL_WRITE |
                            SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    SSL_CTX_set_session_cache_mode(x, SSL_SESS_CACHE_OFF);
    SSL_CTX_set_num_tickets(x, TICKETS);
    SSL_CTX_set_timeout(x, TICKET_S);
    SSL_CTX_set_alpn_select_cb(x, alpn_select, NULL);
    check(SSL_CTX_set_session_id_context(x, (const unsigned char *)"kith", 4) == 1);
    *out = x;
    return OK;
}

enum err tls_context_create(
    const char *cert_file, const char *key_file, struct tls_context **out, struct buf *why) {
    SSL_CTX *x;
    enum err e = context_make(cert_file, key_file, &x, why);
    if (e != OK) return e;
    struct tls_context *k = must_alloc(sizeof *k);
    check(pthread_mutex_init(&k->lock, NULL) == 0);
    k->now = x;
    k->cert_file = strdup(cert_file);
    k->key_file = strdup(key_file);
    *out = k;
    return OK;
}

enum err tls_context_reload(struct tls_context *k, struct buf *why) {
    SSL_CTX *x, *before;
    enum err e = context_make(k->cert_file, k->key_file, &x, why);
    if (e != OK) return e;
    locked(&k->lock, LOCK_TLS);
    before = k->now;
    k->now = x;
    pthread_mutex_unlock(&k->lock);
    SSL_CTX_free(before); /* connections hold it as long as they last */
    return OK;
}

void tls_context_free(struct tls_context **pk) {
    struct tls_context *k = *pk;
    if (!k) return;
    SSL_CTX_free(k->now);
    pthread_mutex_destroy(&k->lock);
    free(k->cert_file);
    free(k->key_file);
    free(k);
    *pk = NULL;
}

/* ---- connections ---- */
struct tls *tls_open(struct tls_context *k, int fd, const char *alpn) {
    struct tls *t = must_alloc(sizeof *t);
    locked(&k->lock, LOCK_TLS);
    t->ssl = SSL_new(k->now);
    pthread_mutex_unlock(&k->lock);
    t->alpn = alpn;
    if (!t->ssl || SSL_set_fd(t->ssl, fd) != 1) tls_free(&t);
    if (!t) return NULL;
    SSL_set_app_data(t->ssl, t);
    SSL_set_accept_state(t->ssl);
    return t;
}

/* What a call that did not work means. OpenSSL keeps a queue of errors for each thread, which is
 * empty before each call and after it. */
static enum err failed(struct tls *t, int result) {
    int error = SSL_get_error(t->ssl, result), system = errno;
    bool ended = error == SSL_ERROR_ZERO_RETURN ||
                 (error == SSL_ERROR_SSL &&
                     ERR_GET_REASON(ERR_peek_error()) == SSL_R_UNEXPECTED_EOF_WHILE_READING);
    ERR_clear_error();
    t->wants_write = error == SSL_ERROR_WANT_WRITE;
    if (error == SSL_ERROR_WANT_READ || error == SSL_ERROR_WANT_WRITE) return AGAIN;
    t->broken = error != SSL_ERROR_ZERO_RETURN;
    if (ended || (error == SSL_ERROR_SYSCALL && !system)) return STALE;
    return error == SSL_ERROR_SYSCALL ? IO : MALFORMED;
}

enum err tls_handshake(struct tls *t) {
    errno = 0;
    int r = SSL_do_handshake(t->ssl);
    if (r != 1) return failed(t, r);
    t->wants_write = false;
    return OK;
}

enum err tls_read(struct tls *t, void *p, size_t n, size_t *out_n) {
    errno = 0;
    int r = SSL_read_ex(t->ssl, p, n, out_n);
    if (r != 1) return failed(t, r);
    t->wants_write = false;
    return OK;
}

enum err tls_write(struct tls *t, const void *p, size_t n, size_t *out_n) {
    errno = 0;
    int r = SSL_write_ex(t->ssl, p, n, out_n);
    if (r != 1) return failed(t, r);
    t->wants_write = false;
    return OK;
}

bool tls_wants_write(const struct tls *t) { return t->wants_write; }
bool tls_is_resumed(const struct tls *t) { return SSL_session_reused(t->ssl); }
int tls_version(const struct tls *t) {
    if (!SSL_is_init_finished(t->ssl)) return 0;
    return SSL_version(t->ssl) == TLS1_3_VERSION ? 13 : 12;
}

void tls_finish(struct tls *t) {
    bool said = SSL_get_shutdown(t->ssl) & SSL_SENT_SHUTDOWN;
    if (said || t->broken || !SSL_is_init_finished(t->ssl)) return;
    (void)SSL_shutdown(t->ssl);
    ERR_clear_error();
}

void tls_free(struct tls **pt) {
    if (!*pt) return;
    SSL_free((*pt)->ssl);
    free(*pt);
    *pt = NULL;
}
