/* io: TLS against OpenSSL's client over a pair of sockets: versions, ALPN, resumption, reload of
 * certificates, much data, ends that were announced and ends that were not, and who speaks no TLS.
 * Certificates are made here. SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <fcntl.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>
#include <signal.h>
#include <sys/socket.h>
#include <unistd.h>

#include "io/io.h"

static char folder[] = "/tmp/kith-tls-test-XXXXXX";

struct place { /* of a file */
    char path[64];
};
static struct place at(const char *name) {
    struct place p;
    snprintf(p.path, sizeof p.path, "%s/%s", folder, name);
    return p;
}

static void text_write(const char *name, const char *text) {
    FILE *f = fopen(at(name).path, "w");
    assert_non_null(f);
    fputs(text, f);
    fclose(f);
}

/* A certificate of `who`, signed by itself, and its key; `pass` NULL: the key lies open. */
static void certificate_make(const char *who, const char *cert, const char *key, const char *pass) {
    EVP_PKEY *k = EVP_EC_gen("P-256");
    X509 *x = X509_new();
    X509_set_version(x, 2);
    ASN1_INTEGER_set(X509_get_serialNumber(x), 1);
    X509_gmtime_adj(X509_getm_notBefore(x), -60);
    X509_gmtime_adj(X509_getm_notAfter(x), 3600);
    X509_set_pubkey(x, k);
    X509_NAME *name = X509_get_subject_name(x);
    X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_ASC, (const unsigned char *)who, -1, -1, 0);
    X509_set_issuer_name(x, name);
    assert_true(X509_sign(x, k, EVP_sha256()) > 0);
    FILE *f = fopen(at(cert).path, "w"), *g = fopen(at(key).path, "w");
    assert_int_equal(PEM_write_X509(f, x), 1);
    assert_int_equal(
        PEM_write_PrivateKey(g, k, pass ? EVP_aes_128_cbc() : NULL, NULL, 0, NULL, (void *)pass),
        1);
    fclose(f);
    fclose(g);
    X509_free(x);
    EVP_PKEY_free(k);
}

/* ---- two ends ---- */
struct pair {
    int fds[2];
    struct tls *server;
    SSL_CTX *context;
    SSL *client;
    enum err ended; /* of the server's handshake */
    int client_ok;
};

static struct pair pair_open(struct tls_context *k, int version, const char *alpn) {
    struct pair p = {.ended = AGAIN};
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, p.fds), 0);
    p.server = tls_open(k, p.fds[0], "mqtt");
    assert_non_null(p.server);
    p.context = SSL_CTX_new(TLS_client_method());
    if (version) {
        SSL_CTX_set_security_level(p.context, 0);
        SSL_CTX_set_min_proto_version(p.context, version);
        SSL_CTX_set_max_proto_version(p.context, version);
    }
    p.client = SSL_new(p.context);
    if (alpn) SSL_set_alpn_protos(p.client, (const unsigned char *)alpn, (unsigned)strlen(alpn));
    SSL_set_fd(p.client, p.fds[1]);
    return p;
}

static void pair_shake(struct pair *p) {
    for (int i = 0; i < 20 && (p->ended == AGAIN || p->client_ok != 1); i++) {
        if (p->client_ok != 1) p->client_ok = SSL_connect(p->client);
        if (p->ended == AGAIN) {
            p->ended = tls_handshake(p->server);
            if (p->ended == AGAIN) assert_false(tls_wants_write(p->server));
        }
    }
    ERR_clear_error();
}

static void pair_close(struct pair *p) {
    tls_free(&p->server);
    SSL_free(p->client);
    SSL_CTX_free(p->context);
    close(p->fds[0]);
    if (p->fds[1] >= 0) close(p->fds[1]);
}

static void server_says(struct pair *p, const char *text) {
    size_t n;
    char room[64] = "";
    assert_int_equal(tls_write(p->server, text, strlen(text), &n), OK);
    assert_int_equal(n, strlen(text));
    assert_int_equal(SSL_read(p->client, room, sizeof room), (int)strlen(text));
    assert_string_equal(room, text);
}

static void client_says(struct pair *p, const char *text) {
    size_t n;
    char room[64] = "";
    assert_int_equal(SSL_write(p->client, text, (int)strlen(text)), (int)strlen(text));
    assert_int_equal(tls_read(p->server, room, sizeof room, &n), OK);
    assert_int_equal(n, strlen(text));
    assert_string_equal(room, text);
    assert_int_equal(tls_read(p->server, room, sizeof room, &n), AGAIN);
    assert_false(tls_wants_write(p->server));
}

static struct tls_context *context_of(const char *cert, const char *key) {
    struct buf why = {0};
    struct tls_context *k = NULL;
    assert_int_equal(tls_context_create(at(cert).path, at(key).path, &k, &why), OK);
    return k;
}

static void peer_name(const struct pair *p, char *room, int size) {
    X509 *x = SSL_get1_peer_certificate(p->client);
    X509_NAME_get_text_by_NID(X509_get_subject_name(x), NID_commonName, room, size);
    X509_free(x);
}

/* ---- tests ---- */
static void versions_are_12_and_13(void **state) {
    (void)state;
    struct tls_context *k = context_of("a.pem", "a.key");
    static const struct {
        int version;
        enum err want;
        int said;
    } CASES[] = {{TLS1_3_VERSION, OK, 13}, {TLS1_2_VERSION, OK, 12}, {TLS1_1_VERSION, MALFORMED, 0},
        {0, OK, 13}};
    for (size_t i = 0; i < sizeof CASES / sizeof *CASES; i++) {
        struct pair p = pair_open(k, CASES[i].version, NULL);
        pair_shake(&p);
        assert_int_equal(p.ended, CASES[i].want);
        assert_int_equal(tls_version(p.server), CASES[i].said);
        if (p.ended == OK) {
            server_says(&p, "from the server");
            client_says(&p, "from the client");
        }
        pair_close(&p);
    }
    tls_context_free(&k);
}

static void renegotiation_is_refused(void **state) {
    (void)state;
    struct tls_context *k = context_of("a.pem", "a.key");
    struct pair p = pair_open(k, TLS1_2_VERSION, NULL);
    char room[16];
    size_t n;
    pair_shake(&p);
    client_says(&p, "before");
    assert_int_equal(SSL_renegotiate(p.client), 1);
    (void)SSL_do_handshake(p.client);
    assert_int_equal(tls_read(p.server, room, sizeof room, &n), AGAIN);
    assert_int_not_equal(SSL_do_handshake(p.client), 1); /* the answer is an alert, no handshake */
    ERR_clear_error();
    pair_close(&p);
    tls_context_free(&k);
}

static void alpn_names_the_protocol(void **state) {
    (void)state;
    struct tls_context *k = context_of("a.pem", "a.key");
    const unsigned char *chosen;
    unsigned n;
    struct pair p = pair_open(k, 0, "\x02h2\x04mqtt");
    pair_shake(&p);
    assert_int_equal(p.ended, OK);
    SSL_get0_alpn_selected(p.client, &chosen, &n);
    assert_true(n == 4 && memcmp(chosen, "mqtt", 4) == 0);
    pair_close(&p);
    p = pair_open(k, 0, "\x02h2\x08http/1.1");
    pair_shake(&p);
    assert_int_equal(p.ended, MALFORMED);
    pair_close(&p);
    tls_context_free(&k);
}

static void sessions_are_resumed_by_tickets(void **state) {
    (void)state;
    struct tls_context *k = context_of("a.pem", "a.key");
    static const int VERSIONS[] = {TLS1_2_VERSION, TLS1_3_VERSION};
    for (int i = 0; i < 2; i++) {
        struct pair p = pair_open(k, VERSIONS[i], NULL);
        pair_shake(&p);
        assert_false(tls_is_resumed(p.server));
        server_says(&p, "and the ticket");
        SSL_SESSION *session = SSL_get1_session(p.client);
        assert_true(SSL_SESSION_is_resumable(session));
        SSL_shutdown(p.client);
        pair_close(&p);
        p = pair_open(k, VERSIONS[i], NULL);
        SSL_set_session(p.client, session);
        pair_shake(&p);
        assert_int_equal(p.ended, OK);
        assert_true(tls_is_resumed(p.server));
        client_says(&p, "again");
        pair_close(&p);
        SSL_SESSION_free(session);
    }
    tls_context_free(&k);
}

static void certificates_are_read_again(void **state) {
    (void)state;
    struct buf why = {0};
    char name[16];
    certificate_make("old", "now.pem", "now.key", NULL);
    struct tls_context *k = context_of("now.pem", "now.key");
    struct pair before = pair_open(k, 0, NULL);
    pair_shake(&before);
    certificate_make("new", "now.pem", "now.key", NULL);
    assert_int_equal(tls_context_reload(k, &why), OK);
    struct pair after = pair_open(k, 0, NULL);
    pair_shake(&after);
    peer_name(&after, name, sizeof name);
    assert_string_equal(name, "new");
    pair_close(&after);
    text_write("now.pem", "no certificate\n");
    assert_int_equal(tls_context_reload(k, &why), MALFORMED);
    assert_non_null(strstr((char *)why.p, "now.pem cannot be used"));
    after = pair_open(k, 0, NULL);
    pair_shake(&after);
    peer_name(&after, name, sizeof name);
    assert_string_equal(name, "new"); /* what was there goes on */
    client_says(&before, "older than all that");
    server_says(&before, "and still there");
    pair_close(&before);
    pair_close(&after);
    buf_done(&why);
    tls_context_free(&k);
}

static void wrong_files_are_named(void **state) {
    (void)state;
    static const struct {
        const char *cert, *key, *words;
    } CASES[] = {{"none.pem", "a.key", "none.pem cannot be read: No such file"},
        {"a.pem", "none.key", "none.key cannot be read: No such file"},
        {"text.pem", "a.key", "text.pem cannot be used: "},
        {"a.pem", "text.pem", "text.pem cannot"},
        {"a.pem", "b.key", "b.key does not belong to the certificate"},
        {"a.pem", "locked.key", "locked.key cannot be used: "}};
    text_write("text.pem", "this is no certificate\n");
    certificate_make("locked", "locked.pem", "locked.key", "secret");
    for (size_t i = 0; i < sizeof CASES / sizeof *CASES; i++) {
        struct buf why = {0};
        struct tls_context *k = NULL;
        enum err e = tls_context_create(at(CASES[i].cert).path, at(CASES[i].key).path, &k, &why);
        buf_char(&why, 0);
        assert_true(e == MISSING || e == MALFORMED);
        assert_null(k);
        if (!strstr((char *)why.p, CASES[i].words)) print_error("said: %s\n", (char *)why.p);
        assert_non_null(strstr((char *)why.p, CASES[i].words));
        buf_done(&why);
    }
}

/* More than the sockets hold: both sides wait for each other, and nothing is lost or repeated. */
static void much_data_passes(void **state) {
    (void)state;
    enum { SIZE = 3 << 20 };
    struct tls_context *k = context_of("a.pem", "a.key");
    struct pair p = pair_open(k, 0, NULL);
    uint8_t *data = must_alloc(SIZE), *got = must_alloc(SIZE);
    size_t sent = 0, read = 0, n;
    unsigned waits = 0;
    for (size_t i = 0; i < SIZE; i++) data[i] = (uint8_t)(i * 31 + i / 1000);
    pair_shake(&p);
    while (read < SIZE) {
        enum err e = sent < SIZE ? tls_write(p.server, data + sent, SIZE - sent, &n) : AGAIN;
        if (e == OK) sent += n;
        if (e == OK) continue;
        assert_int_equal(e, AGAIN);
        if (sent < SIZE) assert_true(tls_wants_write(p.server));
        waits++;
        while (SSL_read_ex(p.client, got + read, SIZE - read, &n) == 1) read += n;
    }
    assert_true(waits > 3);
    assert_memory_equal(data, got, SIZE);
    free(data);
    free(got);
    pair_close(&p);
    tls_context_free(&k);
}

static void ends_are_told_apart_from_faults(void **state) {
    (void)state;
    struct tls_context *k = context_of("a.pem", "a.key");
    char room[16];
    size_t n;
    struct pair p = pair_open(k, 0, NULL);
    pair_shake(&p);
    tls_finish(p.server);
    assert_int_equal(SSL_read(p.client, room, sizeof room), 0);
    assert_int_equal(SSL_get_error(p.client, 0), SSL_ERROR_ZERO_RETURN);
    SSL_shutdown(p.client);
    assert_int_equal(tls_read(p.server, room, sizeof room, &n), STALE);
    pair_close(&p);
    p = pair_open(k, 0, NULL); /* gone without a word */
    pair_shake(&p);
    server_says(&p, "so that it has read its ticket");
    close(p.fds[1]);
    p.fds[1] = -1;
    assert_int_equal(tls_read(p.server, room, sizeof room, &n), STALE);
    tls_finish(p.server);
    pair_close(&p);
    p = pair_open(k, 0, NULL); /* a record that was changed on its way */
    pair_shake(&p);
    assert_int_equal(write(p.fds[1], "\x17\3\3\0\x14 0123456789abcdefghi", 25), 25);
    assert_int_equal(tls_read(p.server, room, sizeof room, &n), MALFORMED);
    pair_close(&p);
    p = pair_open(k, 0, NULL); /* no TLS at all */
    assert_int_equal(write(p.fds[1], "GET / HTTP/1.1\r\nHost: h\r\n\r\n", 27), 27);
    assert_int_equal(tls_handshake(p.server), MALFORMED);
    tls_finish(p.server);
    pair_close(&p);
    p = pair_open(k, 0, NULL); /* gone in the middle */
    p.client_ok = SSL_connect(p.client);
    assert_int_equal(tls_handshake(p.server), AGAIN);
    close(p.fds[1]);
    p.fds[1] = -1;
    enum err e = tls_handshake(p.server);
    assert_true(e == STALE || e == IO);
    pair_close(&p);
    tls_context_free(&k);
}

static int prepare(void **state) {
    (void)state;
    signal(SIGPIPE, SIG_IGN);
    if (!mkdtemp(folder)) return -1;
    certificate_make("a", "a.pem", "a.key", NULL);
    certificate_make("b", "b.pem", "b.key", NULL);
    return 0;
}
static int remove_all(void **state) {
    (void)state;
    static const char *const NAMES[] = {"a.pem", "a.key", "b.pem", "b.key", "now.pem", "now.key",
        "text.pem", "locked.pem", "locked.key"};
    for (size_t i = 0; i < sizeof NAMES / sizeof *NAMES; i++) unlink(at(NAMES[i]).path);
    return rmdir(folder);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(versions_are_12_and_13),
        cmocka_unit_test(renegotiation_is_refused),
        cmocka_unit_test(alpn_names_the_protocol),
        cmocka_unit_test(sessions_are_resumed_by_tickets),
        cmocka_unit_test(certificates_are_read_again),
        cmocka_unit_test(wrong_files_are_named),
        cmocka_unit_test(much_data_passes),
        cmocka_unit_test(ends_are_told_apart_from_faults),
    };
    return cmocka_run_group_tests(tests, prepare, remove_all);
}
