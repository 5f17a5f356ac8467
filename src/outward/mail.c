/* outward: an e-mail as bytes (RFC 5322; MIME: RFC 2045 to 2047; RFC 2369 and 8058 to leave a list).
 * All of it is ASCII in lines of at most 78, but where a URL is longer. What a caller gives becomes
 * a header line of its own nowhere: addresses, ids and URLs are held to their grammar, names and
 * subject lose their controls. SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <string.h>

#include "outward/outward_in.h"

enum {
    LINE = 76,       /* of quoted-printable, without its end */
    FOLD = 72,       /* a header's line goes on behind a space up to here */
    ENCODED = 45,    /* bytes in an encoded word: 60 of base64, 72 in all, at most 75 */
    WORDS_MAX = 256, /* bytes of a name; longer ones are cut */
    SUBJECT_MAX = 998,
    LOCAL_MAX = 64,
    DOMAIN_MAX = 253,
    LABEL_MAX = 63,
    URL_LINE_MAX = 900
};

/* ---- grammar ---- */
static bool alnum(uint8_t c) {
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}
static bool atext(uint8_t c) { return alnum(c) || (c && strchr("!#$%&'*+-/=?^_`{|}~", c)); }

/* RFC 5322, 3.2.3 */
static bool dot_atom(struct bytes v, size_t max) {
    for (size_t i = 0; i < v.n; i++) {
        bool dot = v.p[i] == '.';
        if (!dot && !atext(v.p[i])) return false;
        if (dot && (i == 0 || i + 1 == v.n || v.p[i - 1] == '.')) return false;
    }
    return v.n > 0 && v.n <= max;
}

static bool domain_fits(struct bytes v) {
    size_t label = 0;
    if (!v.n || v.n > DOMAIN_MAX) return false;
    for (size_t i = 0; i < v.n; i++) {
        bool edge = label == 0 || i + 1 == v.n || v.p[i + 1] == '.';
        if (v.p[i] == '.') {
            if (!label) return false;
            label = 0;
        } else if (alnum(v.p[i]) || (v.p[i] == '-' && !edge)) {
            if (++label > LABEL_MAX) return false;
        } else {
            return false;
        }
    }
    return label > 0;
}

static bool address_split(struct bytes v, struct bytes *local, struct bytes *domain) {
    const uint8_t *at = v.n ? memrchr(v.p, '@', v.n) : NULL;
    if (!at) return false;
    *local = bytes_of(v.p, (size_t)(at - v.p));
    *domain = bytes_of(at + 1, v.n - local->n - 1);
    return true;
}

bool mail_address_valid(struct bytes v) {
    struct bytes local, domain;
    return v.n <= MAIL_ADDRESS_MAX && address_split(v, &local, &domain) &&
           dot_atom(local, LOCAL_MAX) && domain_fits(domain);
}

/* ---- words in headers ---- */
/* Controls and runs of spaces become one space; the ends are bare; whole characters up to `max`. */
static void words_clean(struct bytes v, size_t max, struct buf *out) {
    for (size_t i = 0; i < v.n;) {
        uint8_t c = v.p[i];
        size_t n = c < 0x80 ? 1 : c < 0xe0 ? 2 : c < 0xf0 ? 3 : 4;
        bool space = c <= ' ' || c == 0x7f || (c == 0xc2 && v.p[i + 1] < 0xa0);
        if (out->n + n > max) break;
        if (!space) buf_add(out, v.p + i, n);
        else if (out->n && out->p[out->n - 1] != ' ') buf_char(out, ' ');
        i += n;
    }
    while (out->n && out->p[out->n - 1] == ' ') out->n--;
}

/* RFC 2047: each word holds whole characters. */
static void encoded_words_put(struct buf *out, struct bytes v) {
    for (size_t from = 0; from < v.n;) {
        size_t n = v.n - from < ENCODED ? v.n - from : ENCODED;
        while (from + n < v.n && (v.p[from + n] & 0xc0) == 0x80) n--;
        buf_str(out, from ? "\r\n =?UTF-8?B?" : "=?UTF-8?B?");
        outward_base64(out, bytes_of(v.p + from, n));
        buf_str(out, "?=");
        from += n;
    }
}

/* Can it stand as it is, lines broken at its spaces? */
static bool plain_fits(struct bytes v) {
    size_t word = 0;
    for (size_t i = 0; i < v.n; i++) {
        if (v.p[i] > '~' || (v.p[i] == '=' && i + 1 < v.n && v.p[i + 1] == '?')) return false;
        word = v.p[i] == ' ' ? 0 : word + 1;
        if (word > FOLD - 10) return false;
    }
    return true;
}

static void plain_put(struct buf *out, struct bytes v, size_t column) {
    for (size_t i = 0; i < v.n; i++) {
        size_t word = 1;
        while (v.p[i] == ' ' && i + word < v.n && v.p[i + word] != ' ') word++;
        if (v.p[i] == ' ' && column + word > FOLD) {
            buf_str(out, "\r\n");
            column = 0;
        }
        buf_char(out, (char)v.p[i]);
        column++;
    }
}

static void subject_put(struct buf *out, struct bytes v) {
    struct buf clean = {0};
    words_clean(v, SUBJECT_MAX, &clean);
    buf_str(out, "Subject: ");
    if (plain_fits(buf_view(&clean))) plain_put(out, buf_view(&clean), 9);
    else encoded_words_put(out, buf_view(&clean));
    buf_str(out, "\r\n");
    buf_done(&clean);
}

static void quoted_put(struct buf *out, struct bytes v) {
    buf_char(out, '"');
    for (size_t i = 0; i < v.n; i++) {
        if (v.p[i] == '"' || v.p[i] == '\\') buf_char(out, '\\');
        buf_char(out, (char)v.p[i]);
    }
    buf_char(out, '"');
}

static void mailbox_put(
    struct buf *out, const char *header, struct bytes name, struct bytes address) {
    struct buf clean = {0};
    words_clean(name, WORDS_MAX, &clean);
    struct bytes v = buf_view(&clean);
    bool atoms = true, ascii = v.n < FOLD - 10;
    for (size_t i = 0; i < v.n; i++) {
        atoms &= atext(v.p[i]) || v.p[i] == ' ';
        ascii &= v.p[i] <= '~';
    }
    buf_str(out, header);
    buf_str(out, ": ");
    if (v.n && ascii && atoms && plain_fits(v)) buf_bytes(out, v);
    else if (v.n && ascii && plain_fits(v)) quoted_put(out, v);
    else if (v.n) encoded_words_put(out, v);
    if (v.n) buf_str(out, "\r\n <");
    else buf_char(out, '<');
    buf_bytes(out, address);
    buf_str(out, ">\r\n");
    buf_done(&clean);
}

/* ---- bodies ---- */
static void quoted_byte(struct buf *out, uint8_t c, bool quote, size_t *column) {
    static const char HEX[] = "0123456789ABCDEF";
    size_t n = quote ? 3 : 1;
    if (*column + n > LINE - 1) {
        buf_str(out, "=\r\n");
        *column = 0;
    }
    /* a dot alone ends SMTP's data, and some put ">" before "From " */
    if (*column == 0 && !quote && (c == '.' || c == 'F')) {
        quote = true;
        n = 3;
    }
    char hex[3] = {'=', HEX[c >> 4], HEX[c & 15]};
    if (quote) buf_add(out, hex, 3);
    else buf_char(out, (char)c);
    *column += n;
}

/* RFC 2045, 6.7. Each of \n, \r\n and \r ends a line; the last one is ended. */
static void quoted_printable(struct buf *out, struct bytes v) {
    size_t column = 0;
    bool open = false;
    for (size_t i = 0; i < v.n; i++) {
        uint8_t c = v.p[i];
        open = c != '\n' && c != '\r';
        if (!open) {
            if (c == '\r' && i + 1 < v.n && v.p[i + 1] == '\n') i++;
            buf_str(out, "\r\n");
            column = 0;
            continue;
        }
        bool blank = c == ' ' || c == '\t';
        bool last = i + 1 == v.n || v.p[i + 1] == '\n' || v.p[i + 1] == '\r';
        quoted_byte(
            out, c, (blank && last) || (!blank && (c <= ' ' || c > '~' || c == '=')), &column);
    }
    if (open) buf_str(out, "\r\n");
}

static void part_put(struct buf *out, const char *type, struct bytes v) {
    buf_fmt(out,
        "Content-Type: %s; charset=utf-8\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n",
        type);
    quoted_printable(out, v);
}

/* "=_" cannot come in quoted-printable, so neither part can hold the boundary (RFC 2045, 6.7). */
static void parts_put(struct buf *out, const struct mail *m) {
    char boundary[32];
    snprintf(boundary, sizeof boundary, "=_%016llx", (unsigned long long)hash64(m->id));
    buf_fmt(out, "Content-Type: multipart/alternative;\r\n boundary=\"%s\"\r\n\r\n", boundary);
    buf_fmt(out, "--%s\r\n", boundary);
    part_put(out, "text/plain", m->text);
    buf_fmt(out, "\r\n--%s\r\n", boundary);
    part_put(out, "text/html", m->html);
    buf_fmt(out, "\r\n--%s--\r\n", boundary);
}

/* ---- the message ---- */
static void id_put(struct buf *out, const char *header, struct bytes id, struct bytes domain) {
    buf_fmt(out, "%s: <%.*s@%.*s>\r\n", header, (int)id.n, (const char *)id.p, (int)domain.n,
        (const char *)domain.p);
}

static void mailto_put(struct buf *out, struct bytes address) {
    buf_str(out, "<mailto:");
    for (size_t i = 0; i < address.n; i++) {
        uint8_t c = address.p[i];
        if (alnum(c) || strchr("@.-_+", c)) buf_char(out, (char)c);
        else buf_fmt(out, "%%%02X", (unsigned)c);
    }
    buf_str(out, "?subject=unsubscribe>");
}

static void unsubscribe_put(struct buf *out, const struct mail *m) {
    if (!m->unsubscribe_url.n && !m->unsubscribe_address.n) return;
    buf_str(out, "List-Unsubscribe: ");
    if (m->unsubscribe_url.n) {
        buf_char(out, '<');
        buf_bytes(out, m->unsubscribe_url);
        buf_char(out, '>');
    }
    if (m->unsubscribe_url.n && m->unsubscribe_address.n) buf_str(out, ",\r\n ");
    if (m->unsubscribe_address.n) mailto_put(out, m->unsubscribe_address);
    buf_str(out, "\r\n");
    if (m->unsubscribe_url.n) buf_str(out, "List-Unsubscribe-Post: List-Unsubscribe=One-Click\r\n");
}

static void date_put(struct buf *out, int64_t now_ms) {
    char date[30];
    time_format_http(now_ms, date);
    buf_fmt(out, "Date: %.25s +0000\r\n", date); /* without its " GMT" */
}

static void head_put(struct buf *out, const struct mail *m, int64_t now_ms) {
    struct bytes local, domain;
    check(address_split(m->from, &local, &domain));
    mailbox_put(out, "From", m->from_name, m->from);
    mailbox_put(out, "To", m->to_name, m->to);
    if (m->reply_to.n) mailbox_put(out, "Reply-To", (struct bytes){0}, m->reply_to);
    subject_put(out, m->subject);
    date_put(out, now_ms);
    id_put(out, "Message-ID", m->id, domain);
    if (m->thread.n) {
        id_put(out, "In-Reply-To", m->thread, domain);
        id_put(out, "References", m->thread, domain);
    }
    if (m->list_id.n)
        buf_fmt(out, "List-Id: <%.*s>\r\n", (int)m->list_id.n, (const char *)m->list_id.p);
    unsubscribe_put(out, m);
    buf_str(out, "Auto-Submitted: auto-generated\r\nMIME-Version: 1.0\r\n");
}

static const char *fault_of(const struct mail *m) {
    struct bytes origin;
    if (!mail_address_valid(m->from)) return "from is not an e-mail address";
    if (!mail_address_valid(m->to)) return "to is not an e-mail address";
    if (m->reply_to.n && !mail_address_valid(m->reply_to))
        return "reply_to is not an e-mail address";
    if (m->unsubscribe_address.n && !mail_address_valid(m->unsubscribe_address))
        return "unsubscribe_address is not an e-mail address";
    if (m->unsubscribe_url.n &&
        (m->unsubscribe_url.n > URL_LINE_MAX || !outward_url(m->unsubscribe_url, &origin)))
        return "unsubscribe_url is not an https URL of at most 900 bytes";
    if (!dot_atom(m->id, 200) || (m->thread.n && !dot_atom(m->thread, 200)))
        return "an id may hold letters, digits and single dots, dashes and the like";
    if (m->list_id.n && !domain_fits(m->list_id)) return "list_id is not a name with dots";
    if (!utf8_valid(m->from_name) || !utf8_valid(m->to_name) || !utf8_valid(m->subject) ||
        !utf8_valid(m->text) || !utf8_valid(m->html))
        return "a text is not UTF-8";
    return NULL;
}

enum err mail_write(const struct mail *m, int64_t now_ms, struct buf *out, const char **why) {
    const char *fault = fault_of(m);
    size_t from = out->n;
    *why = fault ? fault : "the message would have more than 1 MiB";
    if (fault) return MALFORMED;
    if (m->text.n + m->html.n > MAIL_BYTES_MAX) return LIMIT;
    head_put(out, m, now_ms);
    if (m->html.n) parts_put(out, m);
    else part_put(out, "text/plain", m->text);
    if (out->n - from > MAIL_BYTES_MAX) {
        out->n = from;
        return LIMIT;
    }
    *why = NULL;
    return OK;
}

/* ---- what a mail server answers ---- */
/* "5.1.1" of RFC 3463, behind the code and a blank; empty: it says none. */
static struct bytes enhanced_of(struct bytes text) {
    size_t n = 4;
    while (n < text.n && (text.p[n] == '.' || (text.p[n] >= '0' && text.p[n] <= '9'))) n++;
    bool is = text.n > 6 && text.p[4] >= '2' && text.p[4] <= '5' && text.p[5] == '.';
    return is ? bytes_of(text.p + 4, n - 4) : (struct bytes){0};
}

/* No such mailbox, domain or user; moved away; takes no mail; closed. */
static bool is_unknown(int status, struct bytes enhanced, enum mail_step at) {
    static const char *const GONE[] = {"5.1.1", "5.1.2", "5.1.3", "5.1.6", "5.1.10", "5.2.1"};
    for (size_t i = 0; i < sizeof GONE / sizeof *GONE; i++)
        if (bytes_is(enhanced, GONE[i])) return true;
    return !enhanced.n && at == MAIL_RECIPIENT && (status == 550 || status == 553);
}

void mail_answer(const struct outward_answer *a, enum mail_step at, struct outward_decision *out) {
    struct bytes text = a->body;
    *out = (struct outward_decision){0};
    while (text.n && text.p[text.n - 1] <= ' ') text.n--;
    enum outward_verdict v = !a->status || a->status >= 600 || a->status < 200 ? OUTWARD_RETRY
                             : a->status < 300                                 ? OUTWARD_DELIVERED
                             : a->status < 500 || at < MAIL_RECIPIENT          ? OUTWARD_RETRY
                             : is_unknown(a->status, enhanced_of(text), at)    ? OUTWARD_DROP
                                                                               : OUTWARD_GIVE_UP;
    if (v == OUTWARD_DELIVERED && text.n > 4) text = bytes_of(text.p + 4, text.n - 4);
    outward_decide(out, v, a->status ? text : BYTES("no answer"));
}
