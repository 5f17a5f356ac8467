/* send: requests and mails by libcurl's multi interface, driven by this thread's event loop. A carrier
 * is one multi: its connections, names resolved and TLS sessions are of one provider only.
 *
 *   carry_start ──▶ multi ──▶ sockets in the loop ──carry_event──▶ multi ──carry_turn──▶ carry_done
 *
 * Keeps: only https, or what the owner's URL says; no redirect is followed, no proxy of the environment
 * asked; 4 KiB of an answer are kept, and what sends more than 64 KiB is cut off. A socket's watch lives
 * until the events of its turn are over, as one of them may still name it.
 * SPDX-License-Identifier: Apache-2.0 */
#include <curl/curl.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

#include "send/send_in.h"

enum { ANSWER_KEPT = 4096, ANSWER_MAX = 64 << 10, IDLE_MAX = 64, CONNECT_MS = 5000 };
#define KEPT_S 600l /* an idle connection: Apple asks that they be kept */

struct watch {
    struct carrier *of;
    curl_socket_t fd;
    struct watch *next;
    bool gone;
};
struct carrier {
    CURLM *multi;
    struct loop *loop;
    const struct carry_options *o;
    int64_t due_ms, mono_ms;
    CURL *idle[IDLE_MAX];
    size_t idle_count;
    struct watch *gone;
};

void carry_begin(void) { check(curl_global_init(CURL_GLOBAL_DEFAULT) == CURLE_OK); }

/* ---- sockets and timers, as libcurl tells them ---- */
static int socket_changed(CURL *easy, curl_socket_t fd, int what, void *arg, void *socket_arg) {
    struct carrier *c = arg;
    struct watch *w = socket_arg;
    (void)easy;
    if (w || what == CURL_POLL_REMOVE) loop_remove(c->loop, fd);
    if (what == CURL_POLL_REMOVE) {
        if (!w) return 0;
        w->gone = true;
        w->next = c->gone;
        c->gone = w;
        curl_multi_assign(c->multi, fd, NULL);
        return 0;
    }
    if (!w) {
        w = must_alloc(sizeof *w);
        *w = (struct watch){.of = c, .fd = fd};
        curl_multi_assign(c->multi, fd, w);
    }
    return loop_add(c->loop, fd,
               (what & CURL_POLL_IN ? (uint32_t)LOOP_READ : 0u) |
                   (what & CURL_POLL_OUT ? (uint32_t)LOOP_WRITE : 0u),
               w) == OK
               ? 0
               : -1;
}

static int timer_changed(CURLM *multi, long timeout_ms, void *arg) {
    struct carrier *c = arg;
    (void)multi;
    c->due_ms = timeout_ms < 0 ? -1 : c->mono_ms + timeout_ms;
    return 0;
}

/* Asked for each address that is about to be connected to, as it was resolved. */
static curl_socket_t socket_open(void *arg, curlsocktype purpose, struct curl_sockaddr *a) {
    struct carried *x = arg;
    (void)purpose;
    if (x->by->o->public_only && !address_is_public(&a->addr)) {
        x->refused = true;
        return CURL_SOCKET_BAD;
    }
    return socket(a->family, a->socktype | SOCK_CLOEXEC, a->protocol);
}

/* ---- what comes and goes ---- */
static size_t body_came(char *p, size_t size, size_t count, void *arg) {
    struct carried *x = arg;
    size_t n = size * count, room = ANSWER_KEPT - x->answer.n;
    x->sent += n;
    buf_add(&x->answer, p, n < room ? n : room);
    return x->sent > ANSWER_MAX ? 0 : n;
}

static void header_take(char *out, size_t size, const char *line, size_t n, const char *name) {
    size_t k = strlen(name);
    if (n < k || strncasecmp(line, name, k) != 0) return;
    for (line += k, n -= k; n && (*line == ' ' || *line == '\t'); n--) line++;
    while (n && (uint8_t)line[n - 1] <= ' ') n--;
    snprintf(out, size, "%.*s", (int)n, line);
}

static size_t header_came(char *line, size_t size, size_t count, void *arg) {
    struct carried *x = arg;
    size_t n = size * count;
    header_take(x->retry_after, sizeof x->retry_after, line, n, "retry-after:");
    header_take(x->apns_id, sizeof x->apns_id, line, n, "apns-id:");
    return n;
}

/* A line of SMTP: the last reply is kept, all of its lines (RFC 5321, 4.2.1). */
static size_t reply_came(char *line, size_t size, size_t count, void *arg) {
    struct carried *x = arg;
    size_t n = size * count, room;
    if (x->quit) return n; /* what it says to that tells nothing */
    if (x->reply_ended) buf_reset(&x->answer);
    x->reply_ended = n < 4 || line[3] != '-';
    room = ANSWER_KEPT - x->answer.n;
    buf_add(&x->answer, line, n < room ? n : room);
    return n;
}

/* What is said to a mail server: so we know at which step it was refused. */
static int said(CURL *easy, curl_infotype type, char *p, size_t n, void *arg) {
    struct carried *x = arg;
    (void)easy;
    if (type != CURLINFO_HEADER_OUT || n < 4) return 0;
    if (strncmp(p, "MAIL", 4) == 0) x->step = MAIL_SENDER;
    else if (strncmp(p, "RCPT", 4) == 0) x->step = MAIL_RECIPIENT;
    else if (strncmp(p, "DATA", 4) == 0) x->step = MAIL_DATA;
    else if (strncmp(p, "QUIT", 4) == 0) x->quit = true;
    return 0;
}

static size_t mail_wanted(char *p, size_t size, size_t count, void *arg) {
    struct carried *x = arg;
    size_t n = size * count, left = x->body.n - x->sent;
    if (n > left) n = left;
    if (n) memcpy(p, x->body.p + x->sent, n);
    x->sent += n;
    return n;
}

/* ---- one request, one mail ---- */
static struct curl_slist *line_add(struct curl_slist *list, struct bytes line) {
    struct buf text = {0};
    buf_bytes(&text, line);
    buf_char(&text, 0);
    struct curl_slist *more = curl_slist_append(list, (char *)text.p);
    check(more);
    buf_done(&text);
    return more;
}

static struct curl_slist *lines_of(struct bytes head) {
    struct curl_slist *list = line_add(NULL, BYTES("Expect:"));
    while (head.n) {
        const uint8_t *end = memchr(head.p, '\n', head.n);
        size_t n = end ? (size_t)(end - head.p) : head.n, text = n;
        while (text && head.p[text - 1] == '\r') text--;
        if (text) list = line_add(list, bytes_of(head.p, text));
        n += end != NULL;
        head = bytes_of(head.p + n, head.n - n);
    }
    return list;
}

static void protocols_set(CURL *e, const char *url) {
#if LIBCURL_VERSION_NUM >= 0x075500
    char word[8];
    snprintf(word, sizeof word, "%.*s", (int)strcspn(url, ":"), url);
    curl_easy_setopt(e, CURLOPT_PROTOCOLS_STR, word);
#else
    curl_easy_setopt(e, CURLOPT_PROTOCOLS,
        strncmp(url, "smtps", 5) == 0   ? (long)CURLPROTO_SMTPS
        : strncmp(url, "smtp", 4) == 0  ? (long)CURLPROTO_SMTP
        : strncmp(url, "https", 5) == 0 ? (long)CURLPROTO_HTTPS
                                        : (long)CURLPROTO_HTTP);
#endif
#if LIBCURL_VERSION_NUM >= 0x075700
    curl_easy_setopt(e, CURLOPT_QUICK_EXIT, 1l); /* at the end no slow name server is waited for */
#endif
}

static void common_set(CURL *e, struct carried *x) {
    const struct carry_options *o = x->by->o;
    struct curl_blob ca = {(void *)o->ca.p, o->ca.n, CURL_BLOB_COPY};
    long timeout = (long)o->timeout_ms;
    protocols_set(e, x->url);
    curl_easy_setopt(e, CURLOPT_URL, x->url);
    curl_easy_setopt(e, CURLOPT_PRIVATE, x);
    curl_easy_setopt(e, CURLOPT_NOSIGNAL, 1l);
    curl_easy_setopt(e, CURLOPT_PROXY, "");
    curl_easy_setopt(e, CURLOPT_FOLLOWLOCATION, 0l);
    curl_easy_setopt(e, CURLOPT_TIMEOUT_MS, timeout);
    curl_easy_setopt(e, CURLOPT_CONNECTTIMEOUT_MS, timeout < CONNECT_MS ? timeout : CONNECT_MS);
    curl_easy_setopt(e, CURLOPT_MAXAGE_CONN, KEPT_S);
    curl_easy_setopt(e, CURLOPT_TCP_KEEPALIVE, 1l);
    curl_easy_setopt(e, CURLOPT_OPENSOCKETFUNCTION, socket_open);
    curl_easy_setopt(e, CURLOPT_OPENSOCKETDATA, x);
    curl_easy_setopt(e, CURLOPT_ERRORBUFFER, NULL);
    if (o->ca.n) curl_easy_setopt(e, CURLOPT_CAINFO_BLOB, &ca);
}

static void request_set(CURL *e, struct carried *x) {
    curl_easy_setopt(e, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_2TLS);
    curl_easy_setopt(e, CURLOPT_PIPEWAIT, 1l); /* streams of one connection, where it has them */
    curl_easy_setopt(e, CURLOPT_USERAGENT, "kith");
    curl_easy_setopt(e, CURLOPT_POST, 1l);
    curl_easy_setopt(e, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)x->body.n);
    curl_easy_setopt(e, CURLOPT_POSTFIELDS, x->body.n ? (const char *)x->body.p : "");
    x->lines = lines_of(x->head);
    curl_easy_setopt(e, CURLOPT_HTTPHEADER, x->lines);
    curl_easy_setopt(e, CURLOPT_WRITEFUNCTION, body_came);
    curl_easy_setopt(e, CURLOPT_WRITEDATA, x);
    curl_easy_setopt(e, CURLOPT_HEADERFUNCTION, header_came);
    curl_easy_setopt(e, CURLOPT_HEADERDATA, x);
}

static void mail_set(CURL *e, struct carried *x) {
    const struct carry_options *o = x->by->o;
    curl_easy_setopt(
        e, CURLOPT_USE_SSL, (long)(o->mail_tls == MAIL_PLAIN ? CURLUSESSL_NONE : CURLUSESSL_ALL));
    curl_easy_setopt(e, CURLOPT_USERNAME, o->mail_user);
    curl_easy_setopt(e, CURLOPT_PASSWORD, o->mail_password);
    curl_easy_setopt(e, CURLOPT_MAIL_FROM, x->mail_from);
    x->lines = line_add(NULL, bytes_str(x->mail_to));
    curl_easy_setopt(e, CURLOPT_MAIL_RCPT, x->lines);
    curl_easy_setopt(e, CURLOPT_UPLOAD, 1l);
    curl_easy_setopt(e, CURLOPT_INFILESIZE_LARGE, (curl_off_t)x->body.n);
    curl_easy_setopt(e, CURLOPT_READFUNCTION, mail_wanted);
    curl_easy_setopt(e, CURLOPT_READDATA, x);
    curl_easy_setopt(e, CURLOPT_HEADERFUNCTION, reply_came);
    curl_easy_setopt(e, CURLOPT_HEADERDATA, x);
    curl_easy_setopt(e, CURLOPT_VERBOSE, 1l);
    curl_easy_setopt(e, CURLOPT_DEBUGFUNCTION, said);
    curl_easy_setopt(e, CURLOPT_DEBUGDATA, x);
}

void carry_start(struct carrier *c, struct carried *x, int64_t mono_ms) {
    CURL *e = c->idle_count ? c->idle[--c->idle_count] : curl_easy_init();
    check(e);
    c->mono_ms = mono_ms;
    buf_reset(&x->answer);
    x->status = 0;
    x->retry_after[0] = x->apns_id[0] = x->why[0] = 0;
    x->step = MAIL_GREETING;
    x->refused = x->quit = false;
    x->reply_ended = true;
    x->sent = 0;
    x->by = c;
    x->easy = e;
    common_set(e, x);
    if (x->mail_to) mail_set(e, x);
    else request_set(e, x);
    check(curl_multi_add_handle(c->multi, e) == CURLM_OK);
}

void carry_let_go(struct carried *x) {
    struct carrier *c = x->by;
    if (!x->easy) return;
    curl_multi_remove_handle(c->multi, x->easy);
    curl_slist_free_all(x->lines);
    curl_easy_reset(x->easy);
    if (c->idle_count < IDLE_MAX) c->idle[c->idle_count++] = x->easy;
    else curl_easy_cleanup(x->easy);
    x->easy = x->lines = NULL;
}

/* ---- the loop's part ---- */
void carry_event(void *tag, uint32_t what) {
    const struct watch *w = tag;
    int running;
    if (w->gone) return;
    curl_multi_socket_action(w->of->multi, w->fd,
        (what & LOOP_READ ? CURL_CSELECT_IN : 0) | (what & LOOP_WRITE ? CURL_CSELECT_OUT : 0) |
            (what & LOOP_HANGUP ? CURL_CSELECT_IN | CURL_CSELECT_ERR : 0),
        &running);
}

void carry_turn(struct carrier *c, int64_t mono_ms) {
    int running;
    c->mono_ms = mono_ms;
    if (c->due_ms >= 0 && mono_ms >= c->due_ms) {
        c->due_ms = -1;
        curl_multi_socket_action(c->multi, CURL_SOCKET_TIMEOUT, 0, &running);
    }
    while (c->gone) {
        struct watch *w = c->gone;
        c->gone = w->next;
        free(w);
    }
}

/* A status of HTTP stands, whatever came after it; of SMTP only a refusal, or that all was taken. */
static void outcome(struct carried *x, CURLcode r) {
    long code = 0;
    curl_easy_getinfo(x->easy, CURLINFO_RESPONSE_CODE, &code);
    if (x->mail_to) x->status = r == CURLE_OK ? 250 : code >= 400 && code < 600 ? (int)code : 0;
    else x->status = code >= 200 ? (int)code : 0;
    if (x->mail_to && r == CURLE_OPERATION_TIMEDOUT) x->status = 0;
    if (!x->status)
        snprintf(x->why, sizeof x->why, "%s",
            x->refused ? "the address is not a public one" : curl_easy_strerror(r));
}

struct carried *carry_done(struct carrier *c) {
    int left;
    for (CURLMsg *m; (m = curl_multi_info_read(c->multi, &left));) {
        struct carried *x = NULL;
        if (m->msg != CURLMSG_DONE) continue;
        curl_easy_getinfo(m->easy_handle, CURLINFO_PRIVATE, (char **)&x);
        outcome(x, m->data.result);
        carry_let_go(x);
        return x;
    }
    return NULL;
}

int64_t carry_due_ms(const struct carrier *c) { return c->due_ms; }

struct carrier *carrier_create(struct loop *loop, const struct carry_options *o) {
    struct carrier *c = must_alloc(sizeof *c);
    c->multi = curl_multi_init();
    check(c->multi);
    c->loop = loop;
    c->o = o;
    c->due_ms = -1;
    curl_multi_setopt(c->multi, CURLMOPT_SOCKETFUNCTION, socket_changed);
    curl_multi_setopt(c->multi, CURLMOPT_SOCKETDATA, c);
    curl_multi_setopt(c->multi, CURLMOPT_TIMERFUNCTION, timer_changed);
    curl_multi_setopt(c->multi, CURLMOPT_TIMERDATA, c);
    curl_multi_setopt(c->multi, CURLMOPT_MAX_HOST_CONNECTIONS, (long)o->connections_max);
    curl_multi_setopt(c->multi, CURLMOPT_MAXCONNECTS, 64l);
    return c;
}

void carrier_free(struct carrier **pc) {
    struct carrier *c = *pc;
    if (!c) return;
    while (c->idle_count) curl_easy_cleanup(c->idle[--c->idle_count]);
    curl_multi_cleanup(c->multi);
    c->due_ms = -1;
    carry_turn(c, 0); /* frees the watches of what was closed */
    free(c);
    *pc = NULL;
}
