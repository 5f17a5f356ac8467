/* export: one POST to the collector: HTTP/1.1 on a connection of its own, closed after it. The thread
 * waits here, and nobody else does.
 * SPDX-License-Identifier: Apache-2.0 */
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "export/export_in.h"
#include "io/io.h"

enum { ANSWER_MOST = 64 << 10, STEP_MS = 100 };

enum err collector_parse(const char *url, struct collector *out, struct buf *why) {
    const char *rest = url + strlen("http://");
    if (strncasecmp(url, "http://", strlen("http://")) != 0) {
        buf_fmt(why,
            "'%s' does not begin with http://; for https, let a collector beside the server carry "
            "the traces on",
            url);
        return MALFORMED;
    }
    size_t n = strcspn(rest, "/?#");
    const char *path = rest + n;
    bool has_port = memchr(rest, ':', n) && rest[n - 1] != ']';
    if (!n || n + 6 > sizeof out->address || strlen(path) >= sizeof out->path ||
        memchr(rest, '@', n) || strpbrk(url, " \r\n\t#")) {
        buf_fmt(why, "'%s' is not http://HOST:PORT/v1/traces", url);
        return MALFORMED;
    }
    snprintf(out->address, sizeof out->address, "%.*s%s", (int)n, rest, has_port ? "" : ":4318");
    snprintf(out->path, sizeof out->path, "%s", path[0] == '/' && path[1] ? path : "/v1/traces");
    return OK;
}

/* Waits until the socket is ready; false: it took too long, or we are to stop. */
static bool ready(int fd, short what, int64_t until_ms, const bool *stop) {
    while (!__atomic_load_n(stop, __ATOMIC_RELAXED)) {
        int64_t left = until_ms - clock_mono_ns() / 1000000;
        struct pollfd p = {.fd = fd, .events = what};
        if (left <= 0) return false;
        if (poll(&p, 1, (int)(left < STEP_MS ? left : STEP_MS)) > 0) return true;
    }
    return false;
}

static bool write_all(int fd, struct bytes text, int64_t until_ms, const bool *stop) {
    while (text.n) {
        size_t n;
        if (!ready(fd, POLLOUT, until_ms, stop)) return false;
        enum err e = sock_write(fd, text.p, text.n, &n);
        if (e == AGAIN) continue;
        if (e != OK) return false;
        text = bytes_of(text.p + n, text.n - n);
    }
    return true;
}

/* Until the end, which comes as we asked for it; only the beginning is kept. */
static void read_all(int fd, struct buf *out, int64_t until_ms, const bool *stop) {
    char part[4096];
    size_t n;
    while (ready(fd, POLLIN, until_ms, stop)) {
        enum err e = sock_read(fd, part, sizeof part, &n);
        if (e == AGAIN) continue;
        if (e != OK) return;
        if (out->n < ANSWER_MOST) buf_add(out, part, n);
    }
}

static void answer_take(struct buf *text, struct post_answer *out) {
    static const char RETRY[] = "\r\nretry-after:";
    buf_char(text, 0);
    const char *t = (const char *)text->p, *end = strstr(t, "\r\n\r\n");
    if (sscanf(t, "HTTP/1.%*1d %3d", &out->status) != 1) out->status = 0;
    if (!end) return;
    const char *retry = strcasestr(t, RETRY);
    if (retry && retry < end) out->retry_s = atoi(retry + sizeof RETRY - 1);
    buf_str(&out->body, end + 4);
}

enum err post(const struct collector *c, const char *version, struct bytes body, int timeout_ms,
    const bool *stop, struct post_answer *out) {
    int64_t until_ms = clock_mono_ns() / 1000000 + timeout_ms;
    struct buf text = {0};
    int fd;
    out->status = out->retry_s = 0;
    buf_reset(&out->body);
    if (sock_connect(c->address, NULL, &fd) != OK) return AGAIN;
    buf_fmt(&text,
        "POST %s HTTP/1.1\r\nHost: %s\r\nUser-Agent: kith/%s\r\nContent-Type: application/json\r\n"
        "Content-Length: %zu\r\nConnection: close\r\n\r\n",
        c->path, c->address, version, body.n);
    buf_bytes(&text, body);
    bool sent = write_all(fd, buf_view(&text), until_ms, stop);
    buf_reset(&text);
    if (sent) read_all(fd, &text, until_ms, stop);
    close(fd);
    if (text.n) answer_take(&text, out);
    buf_done(&text);
    if (out->status >= 200 && out->status < 300) return OK;
    /* OTLP, "retryable response codes" */
    bool again = !out->status || out->status == 429 || (out->status >= 502 && out->status <= 504);
    return again ? AGAIN : REFUSED;
}
