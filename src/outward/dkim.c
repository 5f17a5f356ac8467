/* outward: a mail's signature (RFC 6376), relaxed in head and body, by RSA or Ed25519 (RFC 8463).
 * From, To, Subject and Date are named once more than they occur, so that nobody can add another.
 * SPDX-License-Identifier: Apache-2.0 */
#include <string.h>
#include <strings.h>

#include "outward/outward_in.h"

enum { B_LINE = 70, NAME_MAX_BYTES = 253 };

static const char *const SIGNED[] = {"from", "to", "reply-to", "subject", "date", "message-id",
    "in-reply-to", "references", "list-id", "list-unsubscribe", "list-unsubscribe-post",
    "auto-submitted", "mime-version", "content-type", "content-transfer-encoding"};
static const char *const ONCE_MORE[] = {"from", "to", "subject", "date"};
#define COUNT(a) (sizeof(a) / sizeof *(a))

/* Names of domain and selector: LDH labels, and underscores. */
static bool name_fits(struct bytes v) {
    for (size_t i = 0; i < v.n; i++) {
        uint8_t c = v.p[i];
        bool is = (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
        if (!is && c != '.' && c != '-' && c != '_') return false;
    }
    return v.n > 0 && v.n <= NAME_MAX_BYTES && v.p[0] != '.' && v.p[v.n - 1] != '.';
}

static bool blank(uint8_t c) { return c == ' ' || c == '\t'; }

/* 3.4.2: the name in small letters, the value on one line, each run of blanks one space. */
static void header_relaxed(struct buf *out, struct bytes name, struct bytes value) {
    for (size_t i = 0; i < name.n; i++)
        if (!blank(name.p[i]))
            buf_char(
                out, (char)(name.p[i] >= 'A' && name.p[i] <= 'Z' ? name.p[i] + 32 : name.p[i]));
    buf_char(out, ':');
    bool space = false, begun = false;
    for (size_t i = 0; i < value.n; i++) {
        uint8_t c = value.p[i];
        if (c == '\r' || c == '\n') continue;
        if (blank(c)) {
            space = true;
            continue;
        }
        if (space && begun) buf_char(out, ' ');
        buf_char(out, (char)c);
        space = false;
        begun = true;
    }
}

/* 3.4.4: no blanks at the ends of lines, elsewhere one; no empty lines at the end. */
static void body_relaxed(struct buf *out, struct bytes body) {
    size_t empty = 0;
    for (size_t at = 0; at < body.n;) {
        const uint8_t *lf = memchr(body.p + at, '\n', body.n - at);
        size_t end = lf ? (size_t)(lf - body.p) : body.n, stop = end;
        if (stop > at && body.p[stop - 1] == '\r') stop--;
        while (stop > at && blank(body.p[stop - 1])) stop--;
        if (stop == at) empty++;
        for (; stop > at && empty; empty--) buf_str(out, "\r\n");
        for (size_t i = at; i < stop; i++) {
            if (!blank(body.p[i])) buf_char(out, (char)body.p[i]);
            else if (!blank(body.p[i + 1])) buf_char(out, ' ');
        }
        if (stop > at) buf_str(out, "\r\n");
        at = end + 1;
    }
}

/* The next header from *at on: its name and value. false: the head ends, *at is where the body
 * begins; or, with *bad, it is not a head. */
static bool header_next(
    struct bytes m, size_t *at, struct bytes *name, struct bytes *value, bool *bad) {
    size_t from = *at, end = from;
    if (from + 1 < m.n && m.p[from] == '\r' && m.p[from + 1] == '\n') {
        *at = from + 2;
        return false;
    }
    do { /* to the end of the line, and of those that go on */
        const uint8_t *lf = end < m.n ? memchr(m.p + end, '\n', m.n - end) : NULL;
        if ((*bad = !lf || lf == m.p || lf[-1] != '\r')) return false;
        end = (size_t)(lf - m.p) + 1;
    } while (end < m.n && blank(m.p[end]));
    const uint8_t *colon = memchr(m.p + from, ':', end - from);
    if ((*bad = !colon || colon == m.p + from)) return false;
    *name = bytes_of(m.p + from, (size_t)(colon - m.p) - from);
    *value = bytes_of(colon + 1, end - (size_t)(colon - m.p) - 1);
    *at = end;
    return true;
}

static bool name_is(struct bytes name, const char *want) {
    return name.n == strlen(want) && !strncasecmp((const char *)name.p, want, name.n);
}

/* Adds the last header of that name to *data, its name to *list. More of one name are not ours. */
static void header_take(
    struct bytes message, const char *want, struct buf *data, struct buf *list) {
    size_t at = 0;
    bool bad, found = false;
    struct bytes name, value, last = {0};
    while (header_next(message, &at, &name, &value, &bad))
        if (name_is(name, want)) {
            found = true;
            last = value;
        }
    if (!found) return;
    header_relaxed(data, bytes_str(want), last);
    buf_str(data, "\r\n");
    if (list->n) buf_char(list, ':');
    buf_str(list, want);
}

static bool head_fits(struct bytes message, size_t *body) {
    bool bad = false, from = false;
    struct bytes name, value;
    *body = 0;
    while (header_next(message, body, &name, &value, &bad)) {
        from |= name_is(name, "from");
        if (memchr(name.p, ' ', name.n)) return false;
    }
    return !bad && from;
}

/* A long value in lines. */
static void folded_put(struct buf *out, struct bytes v) {
    for (size_t i = 0; i < v.n; i += B_LINE) {
        if (i) buf_str(out, "\r\n\t");
        buf_add(out, v.p + i, v.n - i < B_LINE ? v.n - i : B_LINE);
    }
}

static void list_put(struct buf *out, struct bytes list) {
    size_t column = 0;
    for (size_t i = 0; i < list.n; i++, column++) {
        buf_char(out, (char)list.p[i]);
        if (list.p[i] != ':' || column < B_LINE - 20) continue;
        buf_str(out, "\r\n\t");
        column = 0;
    }
}

static void signature_put(struct buf *out, const struct dkim *d, struct buf *data) {
    struct buf sig = {0}, text = {0};
    uint8_t sum[SHA256_BYTES];
    if (outward_key_kind(d->key) == OUTWARD_ED25519) { /* RFC 8463, 3: of the hash */
        outward_sha256(buf_view(data), sum);
        outward_key_sign(d->key, bytes_of(sum, sizeof sum), &sig);
    } else {
        outward_key_sign(d->key, buf_view(data), &sig);
    }
    outward_base64(&text, buf_view(&sig));
    folded_put(out, buf_view(&text));
    buf_str(out, "\r\n");
    buf_done(&sig);
    buf_done(&text);
}

enum err dkim_sign(const struct dkim *d, struct bytes message, int64_t now_ms, struct buf *out) {
    static const char NAME[] = "DKIM-Signature";
    size_t body, from = out->n;
    bool ed25519 = outward_key_kind(d->key) == OUTWARD_ED25519;
    if (!name_fits(d->domain) || !name_fits(d->selector) || !head_fits(message, &body) ||
        outward_key_kind(d->key) == OUTWARD_P256)
        return MALFORMED;
    struct buf canonical = {0}, data = {0}, list = {0};
    uint8_t sum[SHA256_BYTES];
    body_relaxed(&canonical, bytes_of(message.p + body, message.n - body));
    outward_sha256(buf_view(&canonical), sum);
    for (size_t i = 0; i < COUNT(SIGNED); i++) header_take(message, SIGNED[i], &data, &list);
    for (size_t i = 0; i < COUNT(ONCE_MORE); i++) buf_fmt(&list, ":%s", ONCE_MORE[i]);
    buf_fmt(out,
        "%s: v=1; a=%s-sha256; c=relaxed/relaxed;\r\n\td=%.*s; s=%.*s;\r\n\tt=%lld; h=", NAME,
        ed25519 ? "ed25519" : "rsa", (int)d->domain.n, (const char *)d->domain.p,
        (int)d->selector.n, (const char *)d->selector.p, (long long)(now_ms / 1000));
    list_put(out, buf_view(&list));
    buf_str(out, ";\r\n\tbh=");
    outward_base64(out, bytes_of(sum, sizeof sum));
    buf_str(out, ";\r\n\tb=");
    size_t value = from + sizeof NAME; /* behind the colon */
    header_relaxed(&data, bytes_str(NAME), bytes_of(out->p + value, out->n - value));
    signature_put(out, d, &data);
    buf_done(&canonical);
    buf_done(&data);
    buf_done(&list);
    return OK;
}

void dkim_record(const struct outward_key *k, struct buf *out) {
    struct buf raw = {0};
    outward_key_public(k, &raw);
    buf_fmt(out, "v=DKIM1; k=%s; p=", outward_key_kind(k) == OUTWARD_ED25519 ? "ed25519" : "rsa");
    outward_base64(out, buf_view(&raw));
    buf_done(&raw);
}
