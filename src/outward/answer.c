/* outward: what requests and answers share: header lines, URLs, Retry-After, decisions, and the
 * JSON Web Tokens that we make. SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <string.h>

#include "outward/outward_in.h"

#define DAY_MS (24 * 3600 * 1000ll)

/* ---- requests ---- */
void outward_request_reset(struct outward_request *q) {
    buf_reset(&q->url);
    buf_reset(&q->head);
    buf_reset(&q->body);
}
void outward_request_done(struct outward_request *q) {
    buf_done(&q->url);
    buf_done(&q->head);
    buf_done(&q->body);
}

void outward_line(struct buf *head, const char *name, struct bytes value) {
    buf_str(head, name);
    buf_str(head, ": ");
    buf_bytes(head, value);
    buf_str(head, "\r\n");
}

bool outward_graphic(struct bytes v) {
    for (size_t i = 0; i < v.n; i++)
        if (v.p[i] <= ' ' || v.p[i] > '~') return false;
    return v.n > 0;
}

bool outward_url(struct bytes url, struct bytes *origin) {
    enum { SCHEME = 8, URL_MAX = 2048 };
    if (url.n > URL_MAX || !bytes_starts(url, "https://") || !outward_graphic(url)) return false;
    size_t end = SCHEME, bytes = 0;
    for (; end < url.n && url.p[end] != '/' && url.p[end] != '?' && url.p[end] != '#';
         end++, bytes++)
        if (strchr("@\\<>\"{}|^`%", url.p[end])) return false;
    for (size_t i = end; i < url.n; i++)
        if (strchr("\\<>\"{}|^`", url.p[i])) return false;
    if (!bytes || url.p[SCHEME] == ':') return false;
    *origin = bytes_of(url.p, end);
    return true;
}

struct bytes outward_cut(struct bytes text, size_t over, struct buf *room) {
    static const char ELLIPSIS[] = "\u2026";
    size_t cut = over + sizeof ELLIPSIS - 1, n = text.n > cut ? text.n - cut : 0;
    while (n && (text.p[n] & 0xc0) == 0x80) n--;
    buf_reset(room);
    if (!n) return (struct bytes){0};
    buf_add(room, text.p, n);
    buf_str(room, ELLIPSIS);
    return buf_view(room);
}

/* ---- answers ---- */
/* "Sun, 06 Nov 1994 08:49:37 GMT" */
static bool http_date(struct bytes v, int64_t *out_ms) {
    static const char MONTHS[] = "JanFebMarAprMayJunJulAugSepOctNovDec";
    char text[30], month[4] = "", iso[32];
    int day, year, hour, minute, second, read = 0;
    if (v.n != 29) return false;
    memcpy(text, v.p, v.n);
    text[29] = 0;
    if (sscanf(text, "%*3[A-Za-z], %2d %3[A-Za-z] %4d %2d:%2d:%2d GMT%n", &day, month, &year, &hour,
            &minute, &second, &read) != 6 ||
        read != 29)
        return false;
    const char *at = strlen(month) == 3 ? strstr(MONTHS, month) : NULL;
    if (!at || (at - MONTHS) % 3 || day < 0 || hour < 0 || minute < 0 || second < 0 || year < 0)
        return false;
    int n = snprintf(iso, sizeof iso, "%04d-%02d-%02dT%02d:%02d:%02dZ", year,
        (int)(at - MONTHS) / 3 + 1, day, hour, minute, second);
    return time_parse(bytes_of(iso, (size_t)n), out_ms) == OK;
}

int64_t outward_retry_after(struct bytes v, int64_t now_ms) {
    int64_t ms = 0;
    while (v.n && v.p[v.n - 1] == ' ') v.n--;
    while (v.n && v.p[0] == ' ') v = bytes_of(v.p + 1, v.n - 1);
    size_t i = 0;
    for (; i < v.n && v.p[i] >= '0' && v.p[i] <= '9'; i++)
        if (ms < DAY_MS) ms = ms * 10 + (v.p[i] - '0');
    if (!v.n) return 0;
    if (i == v.n) ms = ms > DAY_MS / 1000 ? DAY_MS : ms * 1000;
    else if (!http_date(v, &ms)) return 0;
    else ms -= now_ms;
    return ms < 0 ? 0 : ms > DAY_MS ? DAY_MS : ms;
}

/* Printable ASCII of what the other side says, as far as there is room. */
static void words_put(char *out, size_t room, struct bytes v) {
    size_t n = 0;
    for (size_t i = 0; i < v.n && n + 1 < room; i++) {
        uint8_t c = v.p[i];
        bool space = c <= ' ';
        if (space && (!n || out[n - 1] == ' ')) continue;
        out[n++] = space ? ' ' : c > '~' ? '?' : (char)c;
    }
    while (n && out[n - 1] == ' ') n--;
    out[n] = 0;
}

void outward_decide(struct outward_decision *d, enum outward_verdict v, struct bytes reason) {
    d->verdict = v;
    words_put(v == OUTWARD_DELIVERED ? d->id : d->reason, sizeof d->reason, reason);
}

void outward_decide_status(struct outward_decision *d, const struct outward_answer *a) {
    char words[32];
    struct bytes reason = a->body;
    if (!a->status) reason = BYTES("no answer");
    else if (!reason.n)
        reason = bytes_of(words, (size_t)snprintf(words, sizeof words, "status %d", a->status));
    outward_decide(d,
        a->status >= 200 && a->status < 300                                      ? OUTWARD_DELIVERED
        : !a->status || a->status == 408 || a->status == 429 || a->status >= 500 ? OUTWARD_RETRY
                                                                                 : OUTWARD_GIVE_UP,
        a->status >= 200 && a->status < 300 ? (struct bytes){0} : reason);
}

/* ---- tokens ---- */
void outward_token(
    const struct outward_key *k, struct bytes head, struct bytes claims, struct buf *out) {
    struct buf sig = {0};
    size_t from = out->n;
    base64url_encode(out, head);
    buf_char(out, '.');
    base64url_encode(out, claims);
    outward_key_sign(k, bytes_of(out->p + from, out->n - from), &sig);
    buf_char(out, '.');
    base64url_encode(out, buf_view(&sig));
    buf_done(&sig);
}
