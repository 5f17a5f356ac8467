/* wire: HTTP/1.1 (RFC 9110, 9112) on http_parser, the only file that includes it: the parser finds
 * the parts, this file keeps them within limits.
 * Keeps: head and body live in two buffers bounded by HTTP_HEAD_MAX and HTTP_BODY_MAX, grown by
 * what arrived, never by what was announced; framing that could be read in two ways (both lengths,
 * repeated Host or length, folded lines, lines that end in less than CRLF, whatever the parser is
 * lenient about) is refused before the parser sees it. SPDX-License-Identifier: Apache-2.0 */
#include <http_parser.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "wire/wire.h"

#define HEADERS_MAX 64
#define RESPONSE_MAX (1u << 30) /* bytes of a body that a client takes */

struct span { /* of the head, which is small */
    uint16_t at, n;
};
struct field {
    struct span name, value;
};
_Static_assert(HTTP_HEAD_MAX <= UINT16_MAX, "spans hold any place of a head");
/* Where in the message the next byte is. Of trailers, too, each line is START to LINE_LF. */
struct place {
    enum {
        BEFORE, /* the request line; empty lines are skipped */
        BEFORE_LF,
        REQUEST,
        START,
        FIELD,
        LINE_LF,
        END_LF,
        HEAD_DONE,
        PLAIN, /* a body that is counted, or none */
        SIZE,
        SIZE_BLANK,
        EXTENSION,
        SIZE_LF,
        DATA,
        DATA_CR,
        DATA_LF,
        ENDED /* behind the trailers */
    } is;
    bool trailing;
    uint8_t blanks, version; /* of the request line */
    uint8_t digits;          /* of a chunk's size */
    uint32_t extensions;     /* their bytes, in all */
    uint64_t left;           /* of the chunk */
};

struct http_reader {
    http_parser parser;
    struct buf head, body; /* head: URL, then header names and values, one after the other */
    struct span url;
    struct field *fields; /* grown as they come */
    uint8_t header_count, header_cap;
    struct place place;
    bool in_value, started, complete, head_complete, told_continue;
    int status;
    char *decoded;
    struct http_request *request; /* from the head's end on */
};

static int fail(struct http_reader *r, int status) {
    if (!r->status) r->status = status;
    return 1;
}

static int head_add(struct http_reader *r, struct span *s, const char *p, size_t n) {
    if (r->head.n + n > HTTP_HEAD_MAX) return fail(r, s == &r->url ? 414 : 431);
    if (!s->n) s->at = (uint16_t)r->head.n;
    buf_add_tight(&r->head, p, n);
    s->n = (uint16_t)(s->n + n);
    return 0;
}

static int on_begin(http_parser *p) {
    struct http_reader *r = p->data;
    r->started = true;
    return 0;
}
static int on_url(http_parser *p, const char *at, size_t n) {
    struct http_reader *r = p->data;
    return head_add(r, &r->url, at, n);
}
static int on_field(http_parser *p, const char *at, size_t n) {
    struct http_reader *r = p->data;
    if (r->head_complete) /* trailers are dropped */
        return memchr(at, ' ', n) ? fail(r, 400) : 0;
    if (r->in_value || !r->header_count) {
        if (r->header_count == HEADERS_MAX) return fail(r, 431);
        if (r->header_count == r->header_cap) {
            r->header_cap = (uint8_t)(r->header_cap ? r->header_cap * 2 : 8);
            r->fields = must_realloc(r->fields, r->header_cap * sizeof *r->fields);
        }
        r->fields[r->header_count++] = (struct field){{0, 0}, {0, 0}};
        r->in_value = false;
    }
    return head_add(r, &r->fields[r->header_count - 1].name, at, n);
}
static int on_value(http_parser *p, const char *at, size_t n) {
    struct http_reader *r = p->data;
    if (r->head_complete) return 0;
    r->in_value = true;
    return head_add(r, &r->fields[r->header_count - 1].value, at, n);
}

static struct bytes at_span(const struct http_reader *r, struct span s) {
    return bytes_of(r->head.p + s.at, s.n);
}
static struct http_request *request_of(struct http_reader *r) {
    if (!r->request) r->request = must_alloc(sizeof *r->request);
    return r->request;
}
static bool named(struct bytes v, const char *name) {
    return v.n == strlen(name) && strncasecmp((const char *)v.p, name, v.n) == 0;
}

bool http_list_has(struct bytes list, const char *token) {
    size_t len = strlen(token);
    for (size_t i = 0; i < list.n;) {
        size_t from = i, to;
        while (i < list.n && list.p[i] != ',') i++;
        to = i++;
        while (from < to && (list.p[from] == ' ' || list.p[from] == '\t')) from++;
        while (to > from && (list.p[to - 1] == ' ' || list.p[to - 1] == '\t')) to--;
        if (to - from == len && strncasecmp((const char *)list.p + from, token, len) == 0)
            return true;
    }
    return false;
}

/* What frames the message, counted while the head is read. */
struct framing {
    unsigned hosts, lengths, codings;
    bool v11, upgrades, to_websocket;
};

/* Fields that mean something here and may be there once: who looked at the other one would have
 * understood another request. */
static int single_take(struct http_reader *r, struct bytes name, struct bytes value) {
    struct http_request *q = r->request;
    struct {
        const char *name;
        struct bytes *to;
    } const TAKEN[] = {{"authorization", &q->authorization}, {"content-type", &q->content_type},
        {"idempotency-key", &q->idempotency_key}, {"last-event-id", &q->last_event_id},
        {"origin", &q->origin}, {"sec-websocket-key", &q->websocket_key},
        {"sec-websocket-version", &q->websocket_version},
        {"sec-websocket-protocol", &q->websocket_protocols}, {"sec-fetch-site", &q->fetch_site}};
    for (size_t i = 0; i < sizeof TAKEN / sizeof *TAKEN; i++) {
        if (!named(name, TAKEN[i].name)) continue;
        if (TAKEN[i].to->p) return fail(r, 400);
        *TAKEN[i].to = value;
    }
    return 0;
}

/* uri-host [ ":" port ] (RFC 9110, 7.2), or nothing. */
static bool host_valid(struct bytes v) {
    size_t i = 0;
    bool literal = v.n && v.p[0] == '[';
    if (literal) {
        while (i < v.n && v.p[i] != ']') i++;
        if (i++ == v.n) return false;
    }
    for (size_t j = literal ? 1 : 0; literal && j + 1 < i; j++)
        if (!v.p[j] || !strchr("0123456789abcdefABCDEF:.", v.p[j])) return false;
    for (; i < v.n && v.p[i] != ':'; i++) {
        uint8_t c = v.p[i], low = c | 0x20;
        bool plain = (low >= 'a' && low <= 'z') || (c >= '0' && c <= '9');
        if (literal || !c || !(plain || strchr("-._~%!$&'()*+,;=", c))) return false;
    }
    for (i++; i < v.n; i++)
        if (v.p[i] < '0' || v.p[i] > '9') return false;
    return true;
}

/* Of codings other than chunked: one that is registered, with chunked behind it, is well framed and
 * not understood here; all else has no end that two readers would agree on (RFC 9112, 6.1, 6.3). */
static int coding_status(struct bytes v) {
    static const char *const CODINGS[] = {"gzip", "x-gzip", "deflate", "compress", "x-compress"};
    for (size_t i = 0; i < sizeof CODINGS / sizeof *CODINGS; i++) {
        size_t n = strlen(CODINGS[i]);
        if (v.n <= n || !named(bytes_of(v.p, n), CODINGS[i])) continue;
        struct bytes rest = bytes_of(v.p + n, v.n - n);
        if (named(rest, ", chunked") || named(rest, ",chunked")) return 501;
    }
    return 400;
}

static int header_take(
    struct http_reader *r, struct bytes name, struct bytes value, struct framing *f) {
    /* the parser lets it pass; "Content-Length : 3" is read in two ways (RFC 9112, 5.1) */
    if (memchr(name.p, ' ', name.n)) return fail(r, 400);
    if (single_take(r, name, value)) return 1;
    if (named(name, "accept")) r->request->accept = value;
    if (named(name, "accept-language")) r->request->accept_language = value;
    if (named(name, "if-none-match")) r->request->if_none_match = value;
    if (named(name, "connection")) f->upgrades |= http_list_has(value, "upgrade");
    if (named(name, "upgrade")) f->to_websocket |= http_list_has(value, "websocket");
    if (named(name, "host")) {
        if (!host_valid(value)) return fail(r, 400);
        r->request->host = value;
        f->hosts++;
    }
    if (named(name, "content-length")) f->lengths++;
    if (named(name, "expect") && f->v11) { /* 1.0 does not know it (RFC 9110, 10.1.1) */
        if (!named(value, "100-continue")) return fail(r, 417);
        r->request->expect_continue = true;
    }
    if (named(name, "transfer-encoding")) {
        if (!named(value, "chunked")) return fail(r, coding_status(value));
        f->codings++;
    }
    return 0;
}

static int on_head(http_parser *p) {
    struct http_reader *r = p->data;
    struct framing f = {.v11 = p->http_major == 1 && p->http_minor >= 1};
    r->head_complete = true;
    (void)request_of(r);
    for (uint8_t i = 0; i < r->header_count; i++)
        if (header_take(r, at_span(r, r->fields[i].name), at_span(r, r->fields[i].value), &f))
            return -1;
    if (p->http_major != 1) return fail(r, 505), -1;
    if ((f.v11 && f.hosts != 1) || f.hosts > 1 || f.lengths > 1 || f.codings > 1 ||
        (f.codings && (f.lengths || !f.v11)))
        return fail(r, 400), -1;
    if (f.lengths && p->content_length != UINT64_MAX && p->content_length > HTTP_BODY_MAX)
        return fail(r, 413), -1;
    r->request->keep_alive = http_should_keep_alive(p);
    r->request->wants_websocket = f.v11 && f.upgrades && f.to_websocket;
    return 0;
}
static int on_chunk(http_parser *p) { /* its length is known, and nothing of it is here yet */
    struct http_reader *r = p->data;
    return p->content_length > HTTP_BODY_MAX - r->body.n ? fail(r, 413) : 0;
}
static int on_body(http_parser *p, const char *at, size_t n) {
    struct http_reader *r = p->data;
    if (r->body.n + n > HTTP_BODY_MAX) return fail(r, 413);
    buf_add(&r->body, at, n);
    return 0;
}
static int on_complete(http_parser *p) {
    struct http_reader *r = p->data;
    r->complete = true;
    http_parser_pause(p, 1);
    return 0;
}

static const http_parser_settings SETTINGS = {.on_message_begin = on_begin,
    .on_url = on_url,
    .on_header_field = on_field,
    .on_header_value = on_value,
    .on_headers_complete = on_head,
    .on_body = on_body,
    .on_chunk_header = on_chunk,
    .on_message_complete = on_complete};

struct http_reader *http_reader_create(void) {
    struct http_reader *r = must_alloc(sizeof *r);
    http_reader_next(r);
    return r;
}

void http_reader_free(struct http_reader **pr) {
    struct http_reader *r = *pr;
    if (!r) return;
    buf_done(&r->head);
    buf_done(&r->body);
    free(r->decoded);
    free(r->fields);
    free(r->request);
    free(r);
    *pr = NULL;
}

void http_reader_next(struct http_reader *r) {
    buf_done(&r->head);
    buf_done(&r->body);
    free(r->decoded);
    free(r->fields);
    free(r->request);
    memset(r, 0, sizeof *r);
    http_parser_init(&r->parser, HTTP_REQUEST);
    r->parser.data = r;
}

bool http_reader_is_empty(const struct http_reader *r) { return !r->started; }
bool http_reader_has_head(const struct http_reader *r) { return r->head_complete; }
size_t http_reader_bytes(const struct http_reader *r) {
    return sizeof *r + r->head.cap + r->body.cap + r->header_cap * sizeof *r->fields +
           (r->request ? sizeof *r->request : 0);
}
struct bytes http_reader_authorization(const struct http_reader *r) {
    return r->head_complete ? r->request->authorization : (struct bytes){0};
}
struct bytes http_reader_origin(const struct http_reader *r) {
    return r->head_complete ? r->request->origin : (struct bytes){0};
}
struct bytes http_reader_target(const struct http_reader *r) {
    return r->head_complete ? at_span(r, r->url) : (struct bytes){0};
}

/* ---- the target ---- */
static int hex(uint8_t c) {
    return c >= '0' && c <= '9'   ? c - '0'
           : c >= 'a' && c <= 'f' ? c - 'a' + 10
           : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                  : -1;
}

/* Percent-decodes [from, to) to *w; false on a bad escape or a zero byte. */
static bool decode(const uint8_t *from, const uint8_t *to, bool plus, char **w, struct bytes *out) {
    char *start = *w;
    while (from < to) {
        uint8_t c = *from++;
        if (c == '%') {
            int h, l;
            if (to - from < 2 || (h = hex(from[0])) < 0 || (l = hex(from[1])) < 0 || !(h | l))
                return false;
            c = (uint8_t)(h << 4 | l);
            from += 2;
        } else if (c == '+' && plus) {
            c = ' ';
        }
        *(*w)++ = (char)c;
    }
    *out = bytes_of(start, (size_t)(*w - start));
    return utf8_valid(*out);
}

static bool target_path(struct http_request *q, const uint8_t **p, const uint8_t *end, char **w) {
    if (*p >= end || **p != '/') return false;
    while (*p < end && **p == '/') {
        const uint8_t *from = ++*p;
        while (*p < end && **p != '/' && **p != '?' && **p != '#') ++*p;
        if (q->segment_count == HTTP_SEGMENTS_MAX ||
            !decode(from, *p, false, w, &q->segments[q->segment_count++]))
            return false;
    }
    return true;
}

static bool target_query(struct http_request *q, const uint8_t *p, const uint8_t *end, char **w) {
    while (p < end) {
        const uint8_t *from = p, *eq = NULL;
        while (p < end && *p != '&') {
            if (*p == '=' && !eq) eq = p;
            p++;
        }
        if (p > from) {
            if (q->query_count == HTTP_QUERY_MAX) return false;
            uint8_t i = q->query_count++;
            if (!decode(from, eq ? eq : p, true, w, &q->query_names[i])) return false;
            if (!decode(eq ? eq + 1 : p, p, true, w, &q->query_values[i])) return false;
        }
        p++;
    }
    return true;
}

/* "http://authority" before a path: the authority is the host, whatever the header says (RFC 9112,
 * 3.2.2). */
static bool target_authority(struct http_request *q, const uint8_t **p, const uint8_t *end) {
    size_t n = (size_t)(end - *p),
           scheme = n > 7 && strncasecmp((const char *)*p, "http://", 7) == 0    ? 7
                    : n > 8 && strncasecmp((const char *)*p, "https://", 8) == 0 ? 8
                                                                                 : 0;
    if (!scheme) return true;
    const uint8_t *from = *p + scheme;
    for (*p = from; *p < end && **p != '/' && **p != '?' && **p != '#';) ++*p;
    q->host = bytes_of(from, (size_t)(*p - from));
    return q->host.n && host_valid(q->host);
}

static bool target_read(struct http_reader *r) {
    struct http_request *q = r->request;
    struct bytes url = at_span(r, r->url);
    const uint8_t *p = url.p, *end = url.p + url.n;
    r->decoded = must_alloc(url.n + 1);
    char *w = r->decoded;
    if (!target_authority(q, &p, end)) return false;
    /* "http://h" is "http://h/" */
    if (p > url.p && (p == end || *p != '/')) q->segments[q->segment_count++] = (struct bytes){0};
    else if (!target_path(q, &p, end, &w)) return false;
    const uint8_t *stop = memchr(p, '#', (size_t)(end - p));
    if (p < end && *p == '?') return target_query(q, p + 1, stop ? stop : end, &w);
    return true;
}

/* ---- the framing, byte by byte, stricter than the parser ---- */

enum {
    VERSION_NAME = 5, /* letters of it that the parser takes for granted */
    DIGITS_MAX = 64   /* of a chunk's size: leading zeros are allowed */
};

/* A line of the head or the trailers (RFC 9112, 2.2 and 5): it ends in CRLF and in nothing less,
 * and none is folded, as the parser would join it to the line before. */
static bool line_step(struct place *at, uint8_t c) {
    switch (at->is) {
    case BEFORE:
        if (c == '\r') at->is = BEFORE_LF;
        else at->is = REQUEST;
        return c != '\n';
    case BEFORE_LF: at->is = BEFORE; return c == '\n';
    case REQUEST:
        if (c == '\r') at->is = LINE_LF;
        else if (at->blanks == 2 && at->version < VERSION_NAME) return c == "HTTP/"[at->version++];
        else if (c == ' ') at->blanks++;
        return c != '\n' && at->blanks <= 2;
    case START: at->is = c == '\r' ? END_LF : FIELD; return c != '\n' && c != ' ' && c != '\t';
    case FIELD:
        if (c == '\r') at->is = LINE_LF;
        return c != '\n';
    case LINE_LF: at->is = START; return c == '\n';
    default: at->is = at->trailing ? ENDED : HEAD_DONE; return c == '\n';
    }
}

/* chunk-size [ chunk-ext ] CRLF chunk-data CRLF (RFC 9112, 7.1). What extensions say is not read:
 * they cost, and nobody sends any. */
static bool chunk_step(struct place *at, uint8_t c) {
    int digit = hex(c);
    switch (at->is) {
    case SIZE:
        if (digit >= 0) {
            if (at->left >> 60) return false;
            at->left = at->left << 4 | (uint8_t)digit;
            return ++at->digits <= DIGITS_MAX;
        }
        at->is = c == '\r' ? SIZE_LF : c == ';' ? EXTENSION : SIZE_BLANK;
        return at->digits && (c == '\r' || c == ';' || c == ' ' || c == '\t');
    case SIZE_BLANK:
        if (c == ';') at->is = EXTENSION;
        return c == ';' || c == ' ' || c == '\t';
    case EXTENSION:
        if (c == '\r') at->is = SIZE_LF;
        else if ((c < ' ' && c != '\t') || c == 0x7f) return false;
        return ++at->extensions <= HTTP_HEAD_MAX;
    case SIZE_LF:
        at->is = at->left ? DATA : START;
        at->trailing = !at->left;
        return c == '\n';
    case DATA_CR: at->is = DATA_LF; return c == '\r';
    default:
        at->is = SIZE;
        at->digits = 0;
        return c == '\n';
    }
}

/* How many bytes may go to the parser: up to the end of the head or of the trailers, or to a byte
 * that may not be where it is. */
static size_t well_formed(struct place *at, struct bytes in, bool *bad) {
    size_t i = 0;
    while (i < in.n && at->is != HEAD_DONE && at->is != ENDED && !*bad) {
        if (at->is == PLAIN) return in.n;
        if (at->is == DATA) {
            size_t n = at->left < in.n - i ? (size_t)at->left : in.n - i;
            at->left -= n;
            if (!at->left) at->is = DATA_CR;
            i += n;
        } else if (at->is < HEAD_DONE ? line_step(at, in.p[i]) : chunk_step(at, in.p[i])) {
            i++;
        } else {
            *bad = true;
        }
    }
    return i;
}

/* How many bytes were taken. */
static size_t feed(struct http_reader *r, struct bytes in) {
    for (size_t done = 0; done < in.n;) {
        bool bad = r->place.is == ENDED;
        if (r->place.is == HEAD_DONE) r->place.is = r->parser.flags & F_CHUNKED ? SIZE : PLAIN;
        struct bytes rest = bytes_of(in.p + done, in.n - done);
        size_t good = well_formed(&r->place, rest, &bad);
        /* nothing at all means to the parser that the connection ended */
        size_t n =
            good ? http_parser_execute(&r->parser, &SETTINGS, (const char *)rest.p, good) : 0;
        /* where a line is the last one, it pauses before the line's last byte or behind it */
        if (r->complete) return done + (r->place.is == PLAIN ? n : good);
        done += n;
        if (n < good || HTTP_PARSER_ERRNO(&r->parser) != HPE_OK) return done;
        if (bad) return fail(r, 400), done;
    }
    return in.n;
}

enum err http_read(struct http_reader *r, struct bytes in, size_t *used,
    const struct http_request **out, bool *wants_continue) {
    *wants_continue = false;
    *used = feed(r, in);
    enum http_errno e = HTTP_PARSER_ERRNO(&r->parser);
    *out = r->request;
    if (r->complete) {
        if (r->parser.upgrade) r->request->keep_alive = false;
        r->request->method = bytes_str(http_method_str((enum http_method)r->parser.method));
        r->request->body = buf_view(&r->body);
        if (target_read(r)) return OK;
        r->request->status = 400;
        return MALFORMED;
    }
    if (e != HPE_OK || r->status) {
        *out = request_of(r);
        r->request->status = r->status                  ? r->status
                             : e == HPE_INVALID_METHOD  ? 501
                             : e == HPE_HEADER_OVERFLOW ? 431
                                                        : 400;
        return MALFORMED;
    }
    if (r->head_complete && r->request->expect_continue && !r->told_continue)
        r->told_continue = *wants_continue = true;
    return AGAIN;
}

/* ---- answers ---- */
static const char *phrase(int status) {
    switch (status) {
#define PHRASE(num, name, string)                                                                  \
    case num: return #string;
        HTTP_STATUS_MAP(PHRASE)
#undef PHRASE
    default: return "Unknown";
    }
}

void http_write_head(struct buf *b, int status, bool keep_alive, const char *content_type,
    int64_t length, const char *extra) {
    buf_fmt(b, "HTTP/1.1 %d %s\r\n", status, phrase(status));
    if (content_type) buf_fmt(b, "Content-Type: %s\r\n", content_type);
    if (length >= 0 && status != 204) buf_fmt(b, "Content-Length: %lld\r\n", (long long)length);
    if (extra) buf_str(b, extra);
    buf_str(b, keep_alive ? "\r\n" : "Connection: close\r\n\r\n");
}

static bool header_value(struct bytes head, const char *name, struct bytes *out) {
    size_t len = strlen(name);
    for (size_t i = 0; i + len + 1 < head.n; i++) {
        if ((i && head.p[i - 1] != '\n') || strncasecmp((const char *)head.p + i, name, len) != 0 ||
            head.p[i + len] != ':')
            continue;
        size_t from = i + len + 1, to;
        while (from < head.n && head.p[from] == ' ') from++;
        for (to = from; to < head.n && head.p[to] != '\r';) to++;
        *out = bytes_of(head.p + from, to - from);
        return true;
    }
    return false;
}

static bool length_read(struct bytes v, size_t *out) {
    *out = 0;
    for (size_t i = 0; i < v.n; i++) {
        if (v.p[i] < '0' || v.p[i] > '9' || *out > RESPONSE_MAX) return false;
        *out = *out * 10 + (v.p[i] - '0');
    }
    return v.n && *out <= RESPONSE_MAX;
}

enum err http_read_response(
    struct bytes in, int *out_status, struct bytes *out_body, size_t *used) {
    const uint8_t *end = in.n ? memmem(in.p, in.n, "\r\n\r\n", 4) : NULL;
    if (!end) return in.n > HTTP_HEAD_MAX ? MALFORMED : AGAIN;
    size_t head = (size_t)(end - in.p) + 4, length = 0, status;
    struct bytes v;
    if (!bytes_starts(in, "HTTP/1.1 ") || in.n < 13 || !length_read(bytes_of(in.p + 9, 3), &status))
        return MALFORMED;
    if (header_value(bytes_of(in.p, head), "content-length", &v) && !length_read(v, &length))
        return MALFORMED;
    if (in.n < head + length) return AGAIN;
    *out_status = (int)status;
    *out_body = bytes_of(in.p + head, length);
    *used = head + length;
    return OK;
}
