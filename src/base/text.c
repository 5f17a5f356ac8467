/* base: text: UTF-8, ids, times, durations, base64url. Strict on input; results are untouched on
 * failure.
 * SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "base/base.h"

bool utf8_valid(struct bytes v) {
    if (!v.n) return true;
    const uint8_t *p = v.p, *end = v.p + v.n;
    while (p < end) {
        uint64_t eight;
        /* most text is ASCII */
        if (end - p >= 8 && (memcpy(&eight, p, 8), !(eight & 0x8080808080808080u))) {
            p += 8;
            continue;
        }
        if (*p < 0x80) {
            p++;
            continue;
        }
        unsigned more = *p >= 0xf0 ? 3 : *p >= 0xe0 ? 2 : 1;
        uint32_t c = *p & (0x3fu >> more);
        if (*p < 0xc2 || *p > 0xf4 || (size_t)(end - p) <= more) return false;
        for (unsigned i = 1; i <= more; i++) {
            if ((p[i] & 0xc0) != 0x80) return false;
            c = c << 6 | (p[i] & 0x3f);
        }
        if ((more == 2 && (c < 0x800 || (c >= 0xd800 && c < 0xe000))) ||
            (more == 3 && (c < 0x10000 || c > 0x10ffff)))
            return false;
        p += more + 1;
    }
    return true;
}

bool id_valid(struct bytes v) {
    static const bool ALLOWED[256] = {['a' ... 'z'] = true,
        ['A' ... 'Z'] = true,
        ['0' ... '9'] = true,
        ['_'] = true,
        ['.'] = true,
        [':'] = true,
        ['-'] = true};
    if (v.n < 1 || v.n > 64) return false;
    for (size_t i = 0; i < v.n; i++)
        if (!ALLOWED[v.p[i]]) return false;
    return true;
}

/* Days since 1970-01-01 of a proleptic Gregorian date, and back (era arithmetic: 400 years are
 * 146,097 days). */
static int64_t days_of(int64_t y, unsigned m, unsigned d) {
    y -= m <= 2;
    int64_t era = (y >= 0 ? y : y - 399) / 400;
    unsigned yoe = (unsigned)(y - era * 400), doy = (153 * (m > 2 ? m - 3 : m + 9) + 2) / 5 + d - 1;
    return era * 146097 + (int64_t)(yoe * 365 + yoe / 4 - yoe / 100 + doy) - 719468;
}

static void date_of(int64_t days, int64_t *y, unsigned *m, unsigned *d) {
    days += 719468;
    int64_t era = (days >= 0 ? days : days - 146096) / 146097;
    unsigned doe = (unsigned)(days - era * 146097),
             yoe = (doe - doe / 1460 + doe / 36524 - doe / 146096) / 365;
    unsigned doy = doe - (365 * yoe + yoe / 4 - yoe / 100), mp = (5 * doy + 2) / 153;
    *d = doy - (153 * mp + 2) / 5 + 1;
    *m = mp < 10 ? mp + 3 : mp - 9;
    *y = (int64_t)yoe + era * 400 + (*m <= 2);
}

static void digits(char *p, int64_t v, int n) {
    while (n--) {
        p[n] = (char)('0' + v % 10);
        v /= 10;
    }
}

#define TIME_MIN (-62167219200000) /* 0000-01-01T00:00:00.000Z */
#define TIME_MAX 253402300799999   /* 9999-12-31T23:59:59.999Z */

void time_format(int64_t ms, char out[24]) {
    /* the form has four digits for a year */
    ms = ms < TIME_MIN ? TIME_MIN : ms > TIME_MAX ? TIME_MAX : ms;
    int64_t days = ms / 86400000 - (ms % 86400000 < 0), rest = ms - days * 86400000, y;
    unsigned m, d;
    date_of(days, &y, &m, &d);
    memcpy(out, "0000-00-00T00:00:00.000Z", 24);
    digits(out, y, 4);
    digits(out + 5, m, 2);
    digits(out + 8, d, 2);
    digits(out + 11, rest / 3600000, 2);
    digits(out + 14, rest / 60000 % 60, 2);
    digits(out + 17, rest / 1000 % 60, 2);
    digits(out + 20, rest % 1000, 3);
}

void time_format_http(int64_t ms, char out[30]) {
    static const char WEEKDAYS[] = "ThuFriSatSunMonTueWed"; /* 1970 began on a Thursday */
    static const char MONTHS[] = "JanFebMarAprMayJunJulAugSepOctNovDec";
    ms = ms < TIME_MIN ? TIME_MIN : ms > TIME_MAX ? TIME_MAX : ms;
    int64_t days = ms / 86400000 - (ms % 86400000 < 0), rest = ms - days * 86400000, y;
    unsigned m, d;
    date_of(days, &y, &m, &d);
    memcpy(out, "Thu, 00 Jan 0000 00:00:00 GMT", 30);
    memcpy(out, WEEKDAYS + 3 * ((days % 7 + 7) % 7), 3);
    digits(out + 5, d, 2);
    memcpy(out + 8, MONTHS + 3 * (m - 1), 3);
    digits(out + 12, y, 4);
    digits(out + 17, rest / 3600000, 2);
    digits(out + 20, rest / 60000 % 60, 2);
    digits(out + 23, rest / 1000 % 60, 2);
}

static bool number(const uint8_t *p, size_t n, int64_t *out) {
    *out = 0;
    for (size_t i = 0; i < n; i++) {
        if (p[i] < '0' || p[i] > '9') return false;
        *out = *out * 10 + (p[i] - '0');
    }
    return true;
}

/* RFC 3339 with "Z" and one to nine digits of a fraction, cut to milliseconds. A leap second is the
 * first of the next minute, as in POSIX. */
enum err time_parse(struct bytes v, int64_t *out_ms) {
    int64_t y, mo, d, h, mi, s, ms = 0;
    const uint8_t *p = v.p;
    if (v.n < 20 || p[4] != '-' || p[7] != '-' || (p[10] != 'T' && p[10] != 't') || p[13] != ':' ||
        p[16] != ':')
        return MALFORMED;
    if (!number(p, 4, &y) || !number(p + 5, 2, &mo) || !number(p + 8, 2, &d) ||
        !number(p + 11, 2, &h) || !number(p + 14, 2, &mi) || !number(p + 17, 2, &s))
        return MALFORMED;
    static const uint8_t DAYS[] = {31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    bool leap = y % 4 == 0 && (y % 100 != 0 || y % 400 == 0);
    if (mo < 1 || mo > 12 || d < 1 || d > DAYS[mo - 1] || (mo == 2 && d == 29 && !leap))
        return MALFORMED;
    if (h > 23 || mi > 59 || s > (h == 23 && mi == 59 ? 60 : 59)) return MALFORMED;
    size_t at = 19;
    if (p[at] == '.') {
        int64_t scale = 100;
        for (at++; at < v.n && p[at] >= '0' && p[at] <= '9'; at++, scale /= 10)
            ms += (p[at] - '0') * scale;
        if (at == 20 || at > 29) return MALFORMED;
    }
    if (at + 1 != v.n || (p[at] != 'Z' && p[at] != 'z')) return MALFORMED;
    *out_ms = ((days_of(y, (unsigned)mo, (unsigned)d) * 24 + h) * 60 + mi) * 60000 + s * 1000 + ms;
    return OK;
}

enum err duration_parse(struct bytes v, int64_t *out_ms) {
    int64_t n;
    if (v.n < 2 || v.n > 10 || !number(v.p, v.n - 1, &n)) return MALFORMED;
    int64_t unit = 0;
    switch (v.p[v.n - 1]) {
    case 's': unit = 1000; break;
    case 'm': unit = 60000; break;
    case 'h': unit = 3600000; break;
    case 'd': unit = 86400000; break;
    default: return MALFORMED;
    }
    if (n > 3650ll * 86400000 / unit) return MALFORMED;
    *out_ms = n * unit;
    return OK;
}

static const char B64[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

void base64url_encode(struct buf *b, struct bytes v) {
    if (!v.n) return;
    check(v.n <= SIZE_MAX / 4);
    buf_reserve(b, (v.n * 4 + 2) / 3);
    char *to = (char *)b->p + b->n;
    size_t i = 0;
    for (; v.n - i >= 3; i += 3) {
        uint32_t w = (uint32_t)v.p[i] << 16 | (uint32_t)v.p[i + 1] << 8 | v.p[i + 2];
        *to++ = B64[w >> 18];
        *to++ = B64[w >> 12 & 63];
        *to++ = B64[w >> 6 & 63];
        *to++ = B64[w & 63];
    }
    if (i < v.n) {
        bool two = v.n - i == 2;
        uint32_t w = (uint32_t)v.p[i] << 16 | (two ? (uint32_t)v.p[i + 1] << 8 : 0);
        *to++ = B64[w >> 18];
        *to++ = B64[w >> 12 & 63];
        if (two) *to++ = B64[w >> 6 & 63];
    }
    b->n += (v.n * 4 + 2) / 3;
}

static int b64_value(uint8_t c) {
    if (c >= 'A' && c <= 'Z') return c - 'A';
    if (c >= 'a' && c <= 'z') return c - 'a' + 26;
    if (c >= '0' && c <= '9') return c - '0' + 52;
    if (c == '-' || c == '+') return 62;
    return c == '_' || c == '/' ? 63 : -1;
}

/* Padding is whole or absent and left-over bits are zero: nobody may vary the end of a token and
 * keep its meaning. */
enum err base64url_decode(struct buf *b, struct bytes v) {
    if (v.n % 4 == 0)
        for (int i = 0; i < 2 && v.n && v.p[v.n - 1] == '='; i++) v.n--;
    if (v.n % 4 == 1) return MALFORMED;
    buf_reserve(b, v.n / 4 * 3 + 2);
    uint8_t *to = b->p + b->n;
    uint32_t w = 0;
    unsigned bits = 0;
    for (size_t i = 0; i < v.n; i++) {
        int d = b64_value(v.p[i]);
        if (d < 0) return MALFORMED;
        w = w << 6 | (uint32_t)d;
        bits += 6;
        if (bits >= 8) {
            bits -= 8;
            *to++ = (uint8_t)(w >> bits);
            w &= (1u << bits) - 1;
        }
    }
    if (w) return MALFORMED;
    b->n = (size_t)(to - b->p);
    return OK;
}
