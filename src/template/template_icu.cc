/* template: everything of ICU: parsing, plural rules, numbers, dates, names of locales. The only
 * file that includes it; its face is C, and ICU throws nothing. The locale of the process is never
 * asked: a language that ICU does not know is the root.
 * SPDX-License-Identifier: Apache-2.0 */
#include <unicode/basictz.h>
#include <unicode/datefmt.h>
#include <unicode/decimfmt.h>
#include <unicode/locid.h>
#include <unicode/messagepattern.h>
#include <unicode/msgfmt.h>
#include <unicode/numberformatter.h>
#include <unicode/numfmt.h>
#include <unicode/plurrule.h>
#include <unicode/rbnf.h>
#include <unicode/smpdtfmt.h>
#include <unicode/timezone.h>
#include <unicode/tztrans.h>
#include <unicode/uchar.h>
#include <unicode/ures.h>
#include <unicode/ustring.h>

#include <cstdio>
#include <cstring>
#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

#include "template/template_in.h"
extern "C" {
#include "zone/zone.h"
}

using icu::Locale;
using icu::UnicodeString;
using icu::number::FormattedNumber;
using icu::number::LocalizedNumberFormatter;

enum {
    ZONES_MAX = 640 /* all that there are */,
    SMALL = 1000 /* no language groups digits below it */,
    KNOWN = 1024
};

static icu::StringPiece piece(struct bytes v) {
    return icu::StringPiece(v.n ? reinterpret_cast<const char *>(v.p) : "", (int32_t)v.n);
}
static UnicodeString wide(struct bytes v) { return UnicodeString::fromUTF8(piece(v)); }

static void put(struct buf *b, const UnicodeString &s) {
    UErrorCode st = U_ZERO_ERROR;
    int32_t n = 0, room = s.length() * 3;
    if (!room) return;
    buf_reserve(b, (size_t)room);
    u_strToUTF8WithSub(reinterpret_cast<char *>(b->p + b->n), room, &n, s.getBuffer(), s.length(),
        0xfffd, nullptr, &st);
    check(U_SUCCESS(st) || st == U_STRING_NOT_TERMINATED_WARNING);
    b->n += (size_t)n;
}

/* ---- parsing ---- */
/* Where each UTF-16 unit of the text lies in its UTF-8. */
static std::vector<uint32_t> places(struct bytes text) {
    std::vector<uint32_t> at;
    at.reserve(text.n + 1);
    for (uint32_t i = 0; i < text.n;) {
        uint8_t c = text.p[i];
        uint32_t n = c < 0x80 ? 1 : c < 0xe0 ? 2 : c < 0xf0 ? 3 : 4;
        at.push_back(i);
        if (n == 4) at.push_back(i);
        i += n;
    }
    at.push_back((uint32_t)text.n);
    return at;
}

static enum err refuse(struct template_fault *f, size_t at, const char *words) {
    f->at = at;
    std::snprintf(f->words, sizeof f->words, "%s", words);
    return MALFORMED;
}

static const char *words_of(UErrorCode st) {
    switch (st) {
    case U_UNMATCHED_BRACES: return "this brace is opened and never closed";
    case U_DEFAULT_KEYWORD_MISSING:
        return "plural, select and selectordinal need a case `other`; here it is missing";
    case U_INDEX_OUTOFBOUNDS_ERROR: return "a name or a number here is too long";
    default: return "this is not ICU MessageFormat: a name, a type or a case is not as it must be";
    }
}

static const uint8_t PART[] = {ICU_MESSAGE_START, ICU_MESSAGE_LIMIT, ICU_SKIP, ICU_INSERT, ICU_HASH,
    ICU_ARG_START, ICU_ARG_LIMIT, ICU_ARG_NUMBER, ICU_ARG_NAME, ICU_ARG_TYPE, ICU_ARG_STYLE,
    ICU_SELECTOR, ICU_INT, ICU_DOUBLE};
static_assert(UMSGPAT_PART_TYPE_MSG_START == 0 && UMSGPAT_PART_TYPE_REPLACE_NUMBER == 4 &&
                  UMSGPAT_PART_TYPE_ARG_NUMBER == 7 && UMSGPAT_PART_TYPE_ARG_DOUBLE == 13,
    "parts are numbered as ICU's");
static_assert(
    UMSGPAT_ARG_TYPE_NONE == (int)ICU_PLAIN && UMSGPAT_ARG_TYPE_SELECTORDINAL == (int)ICU_ORDINAL,
    "kinds of arguments are numbered as ICU's");

static struct icu_part part_of(
    const icu::MessagePattern &m, int32_t i, const std::vector<uint32_t> &at) {
    const icu::MessagePattern::Part &p = m.getPart(i);
    struct icu_part o = {};
    o.type = PART[p.getType()];
    o.at = at[(size_t)p.getIndex()];
    o.n = at[(size_t)p.getLimit()] - o.at;
    if (o.type == ICU_MESSAGE_START || o.type == ICU_ARG_START)
        o.limit = (uint32_t)m.getLimitPartIndex(i);
    if (o.type == ICU_ARG_START) {
        o.arg = (uint8_t)p.getArgType();
        if (UMSGPAT_ARG_TYPE_HAS_PLURAL_STYLE(p.getArgType())) o.value = m.getPluralOffset(i + 2);
    }
    if (o.type == ICU_INT || o.type == ICU_DOUBLE) o.value = m.getNumericValue(p);
    return o;
}

/* Where each brace opens, and where it closes (npos: nowhere). An apostrophe before a brace quotes up
 * to the next one. */
struct braces {
    int32_t open, close;
};
static std::vector<braces> braces_of(const UnicodeString &s) {
    std::vector<braces> all;
    std::vector<size_t> stack;
    for (int32_t i = 0; i < s.length(); i++) {
        UChar c = s.charAt(i), next = s.charAt(i + 1); /* past the end: 0xffff */
        if (c == '\'' && next == '\'') i++;
        else if (c == '\'' && (next == '{' || next == '}')) {
            i = s.indexOf(u'\'', i + 1);
            if (i < 0) break;
        } else if (c == '{') {
            stack.push_back(all.size());
            all.push_back({i, -1});
        } else if (c == '}' && !stack.empty()) {
            all[stack.back()].close = i;
            stack.pop_back();
        }
    }
    return all;
}

/* ICU gives no place for what is missing: the innermost brace that is never closed, or the innermost
 * argument that by itself has the same fault. */
static int32_t place_of_missing(const UnicodeString &s, UErrorCode what) {
    enum { TRIES = 256 };
    const std::vector<braces> all = braces_of(s);
    for (size_t i = all.size(), tries = 0; i-- && tries < TRIES;) {
        if (what == U_UNMATCHED_BRACES && all[i].close < 0) return all[i].open;
        if (what != U_DEFAULT_KEYWORD_MISSING || all[i].close < 0) continue;
        UErrorCode st = U_ZERO_ERROR;
        icu::MessagePattern m(UMSGPAT_APOS_DOUBLE_OPTIONAL, st);
        m.parse(s.tempSubStringBetween(all[i].open, all[i].close + 1), nullptr, st);
        if (st == what) return all[i].open;
        tries++;
    }
    return 0;
}

extern "C" enum err icu_parse(struct bytes text, struct buf *out, struct template_fault *fault) {
    UErrorCode st = U_ZERO_ERROR;
    UParseError where = {};
    const std::vector<uint32_t> at = places(text);
    icu::MessagePattern m(UMSGPAT_APOS_DOUBLE_OPTIONAL, st);
    m.parse(wide(text), &where, st);
    if (U_FAILURE(st)) {
        int32_t place = where.offset > 0 ? where.offset : place_of_missing(wide(text), st);
        size_t i = place < 0 ? 0 : (size_t)place;
        return refuse(fault, at[i < at.size() ? i : at.size() - 1], words_of(st));
    }
    for (int32_t i = 0; i < m.countParts(); i++) {
        struct icu_part p = part_of(m, i, at);
        buf_add(out, &p, sizeof p);
    }
    return OK;
}

/* ---- names of locales ---- */
/* Unicode's likely subtags: the script that is usual for this language and region. */
static bool script_of(const char *name, char out[ULOC_SCRIPT_CAPACITY]) {
    UErrorCode st = U_ZERO_ERROR;
    char full[ULOC_FULLNAME_CAPACITY];
    uloc_addLikelySubtags(name, full, sizeof full, &st);
    uloc_getScript(full, out, ULOC_SCRIPT_CAPACITY, &st);
    return U_SUCCESS(st);
}

extern "C" bool icu_locale_canonical(struct bytes tag, char out[TEMPLATE_LOCALE_MAX]) {
    UErrorCode st = U_ZERO_ERROR;
    std::string t(tag.n ? reinterpret_cast<const char *>(tag.p) : "", tag.n);
    if (t.empty() || t.size() >= TEMPLATE_LOCALE_MAX || t.find('\0') != t.npos) return false;
    for (char &c : t) c = c == '_' ? '-' : c;
    int32_t parsed = 0;
    char name[ULOC_FULLNAME_CAPACITY], usual[ULOC_SCRIPT_CAPACITY], here[ULOC_SCRIPT_CAPACITY];
    uloc_forLanguageTag(t.c_str(), name, sizeof name, &parsed, &st);
    if (U_FAILURE(st) || st == U_STRING_NOT_TERMINATED_WARNING || (size_t)parsed != t.size())
        return false;
    Locale l = Locale::createCanonical(name);
    std::string s = l.getLanguage(), script = l.getScript();
    if (s.empty() || l.isBogus()) return false;
    if (script.empty() && script_of(s.c_str(), usual) && script_of(l.getBaseName(), here) &&
        std::strcmp(usual, here) != 0)
        script = here;
    if (!script.empty()) s += "_" + script;
    if (*l.getCountry()) s += std::string("_") + l.getCountry();
    if (s.size() >= TEMPLATE_LOCALE_MAX) return false;
    std::memcpy(out, s.c_str(), s.size() + 1);
    return true;
}

/* CLDR's parentLocales: those whose parent is not what is left when the last subtag goes. */
struct icu_parents {
    std::unordered_map<std::string, std::string> of;
};

static void parents_add(struct icu_parents *p, UResourceBundle *children, const char *parent) {
    UErrorCode st = U_ZERO_ERROR;
    char name[TEMPLATE_LOCALE_MAX];
    for (int32_t i = 0; i < ures_getSize(children); i++) {
        int32_t n = 0;
        const UChar *s = ures_getStringByIndex(children, i, &n, &st);
        if (U_FAILURE(st) || n >= (int32_t)sizeof name) return;
        u_UCharsToChars(s, name, n);
        name[n] = 0;
        p->of[name] = parent;
    }
}

extern "C" struct icu_parents *icu_parents_create(void) {
    auto p = new icu_parents;
    UErrorCode st = U_ZERO_ERROR;
    UResourceBundle *all = ures_openDirect(nullptr, "supplementalData", &st);
    UResourceBundle *table = ures_getByKey(all, "parentLocales", nullptr, &st);
    while (U_SUCCESS(st) && ures_hasNext(table)) {
        UResourceBundle *one = ures_getNextResource(table, nullptr, &st);
        if (U_SUCCESS(st)) parents_add(p, one, ures_getKey(one));
        ures_close(one);
    }
    ures_close(table);
    ures_close(all);
    return p;
}

extern "C" void icu_parents_free(struct icu_parents **p) {
    delete *p;
    *p = nullptr;
}

extern "C" bool icu_locale_parent(const struct icu_parents *p, char name[TEMPLATE_LOCALE_MAX]) {
    auto known = p->of.find(name);
    if (known != p->of.end()) {
        if (known->second == "root") return false;
        std::memcpy(name, known->second.c_str(), known->second.size() + 1);
        return true;
    }
    char *last = std::strrchr(name, '_');
    if (!last) return false;
    const std::string gone = last + 1;
    char usual[ULOC_SCRIPT_CAPACITY];
    *last = 0;
    /* CLDR's nonlikelyScript: who asks for another script than the usual does not read that one */
    bool script = gone.size() == 4 && gone[0] >= 'A';
    return !script || (script_of(name, usual) && gone == usual);
}

/* ---- zones ---- */
struct icu_zones {
    std::unordered_map<std::string, std::unique_ptr<icu::TimeZone>> known;
    std::unordered_map<std::string, std::string> tables; /* by name and span */
};

/* A date format begins with the zone of the process, and ICU would read files to find it. */
extern "C" struct icu_zones *icu_zones_create(void) {
    icu::TimeZone::adoptDefault(icu::TimeZone::createTimeZone("Etc/UTC"));
    return new icu_zones;
}
extern "C" void icu_zones_free(struct icu_zones **z) {
    delete *z;
    *z = nullptr;
}

static const icu::TimeZone *zone_of(struct icu_zones *z, const std::string &name) {
    auto had = z->known.find(name);
    if (had != z->known.end()) return had->second.get();
    std::unique_ptr<icu::TimeZone> made(
        icu::TimeZone::createTimeZone(UnicodeString::fromUTF8(name)));
    if (*made == icu::TimeZone::getUnknown()) return nullptr;
    if (z->known.size() >= ZONES_MAX) z->known.clear();
    return (z->known[name] = std::move(made)).get();
}

extern "C" bool icu_zone_offset(
    struct icu_zones *z, struct bytes name, int64_t ms, int64_t *out_ms) {
    UErrorCode st = U_ZERO_ERROR;
    int32_t raw = 0, summer = 0;
    const icu::TimeZone *t = zone_of(z, std::string((const char *)name.p, name.n));
    if (!t) return false;
    t->getOffset((UDate)ms, false, raw, summer, st);
    *out_ms = (int64_t)raw + summer;
    return U_SUCCESS(st);
}

static bool next_of(const icu::TimeZone *t, int64_t after_ms, int64_t *out_ms) {
    auto rules = dynamic_cast<const icu::BasicTimeZone *>(t);
    icu::TimeZoneTransition change;
    if (!rules || !rules->getNextTransition((UDate)after_ms, false, change)) return false;
    *out_ms = (int64_t)change.getTime();
    return true;
}

static bool table_make(
    struct icu_zones *z, struct bytes name, int64_t from_ms, int64_t until_ms, std::string *out) {
    const icu::TimeZone *t = zone_of(z, std::string((const char *)name.p, name.n));
    std::vector<struct zone_change> changes;
    struct zone_change c = {from_ms, 0};
    if (!t) return false;
    do {
        if (!icu_zone_offset(z, name, c.at_ms, &c.offset_ms)) return false;
        changes.push_back(c);
    } while (next_of(t, c.at_ms, &c.at_ms) && c.at_ms < until_ms);
    struct buf b = {};
    zone_pack(changes.data(), changes.size(), &b);
    out->assign((const char *)b.p, b.n);
    buf_done(&b);
    return out->size() <= ZONE_TABLE_MAX;
}

extern "C" bool icu_zone_table(
    struct icu_zones *z, struct bytes name, int64_t from_ms, int64_t until_ms, struct buf *out) {
    std::string key((const char *)name.p, name.n), made;
    key.append((const char *)&from_ms, sizeof from_ms);
    key.append((const char *)&until_ms, sizeof until_ms);
    auto had = z->tables.find(key);
    if (had == z->tables.end()) {
        if (!table_make(z, name, from_ms, until_ms, &made)) return false;
        if (z->tables.size() >= ZONES_MAX) z->tables.clear();
        had = z->tables.emplace(std::move(key), std::move(made)).first;
    }
    buf_add(out, had->second.data(), had->second.size());
    return true;
}

extern "C" bool icu_zone_next(
    struct icu_zones *z, struct bytes name, int64_t after_ms, int64_t *out_ms) {
    const icu::TimeZone *t = zone_of(z, std::string((const char *)name.p, name.n));
    return t && next_of(t, after_ms, out_ms);
}

extern "C" void icu_zone_names(struct buf *out) {
    std::unique_ptr<icu::StringEnumeration> all(icu::TimeZone::createEnumeration());
    UErrorCode st = U_ZERO_ERROR;
    int32_t n = 0;
    while (const char *name = all->next(&n, st)) pack_bytes(out, bytes_of(name, (size_t)n));
}

/* A date format and the zone that it was last given. */
struct zoned {
    std::unique_ptr<icu::DateFormat> format;
    std::string zone;
};

static bool zoned_put(
    struct zoned *d, struct icu_zones *z, int64_t ms, struct bytes name, struct buf *out) {
    std::string want = name.n ? std::string((const char *)name.p, name.n) : std::string("Etc/UTC");
    if (!d->format) return false;
    if (want != d->zone) {
        const icu::TimeZone *t = zone_of(z, want);
        if (!t) return false;
        d->format->setTimeZone(*t);
        d->zone = want;
    }
    UnicodeString s;
    put(out, d->format->format((UDate)ms, s));
    return true;
}

/* ---- a locale ---- */
struct icu_locale {
    Locale locale;
    std::unique_ptr<icu::PluralRules> rules[2]; /* cardinal, ordinal */
    std::unique_ptr<icu::NumberFormat> number;
    LocalizedNumberFormatter quantity; /* the same number format, for what plural rules look at */
    struct zoned date_time;
    char digits[10][5];
    bool digits_plain; /* small integers are their digits side by side */
    uint8_t categories[2][KNOWN];
};

static const char *const KEYWORDS[] = {"zero", "one", "two", "few", "many", "other"};

extern "C" enum plural icu_plural_named(struct bytes keyword) {
    for (int i = 0; i < (int)PLURAL_NONE; i++)
        if (bytes_is(keyword, KEYWORDS[i])) return (enum plural)i;
    return PLURAL_NONE;
}

static enum plural category_of(const UnicodeString &s) {
    for (int i = 0; i < (int)PLURAL_NONE; i++)
        if (s == UnicodeString(KEYWORDS[i], -1, US_INV)) return (enum plural)i;
    return PLURAL_OTHER;
}

static Locale known_or_root(const char *name) {
    UErrorCode st = U_ZERO_ERROR;
    ures_close(ures_open(nullptr, name, &st));
    return U_FAILURE(st) || st == U_USING_DEFAULT_WARNING ? Locale::getRoot() : Locale(name);
}

static void digits_read(struct icu_locale *l) {
    l->digits_plain = true;
    for (int i = 0; i < 10; i++) {
        UnicodeString s;
        struct buf b = {};
        put(&b, l->number->format(i, s));
        l->digits_plain = l->digits_plain && b.n < 5;
        if (b.n && b.n < 5) std::memcpy(l->digits[i], b.p, b.n);
        buf_done(&b);
    }
    UnicodeString s;
    struct buf b = {};
    put(&b, l->number->format(SMALL - 1 - 21, s)); /* 978 */
    std::string want = std::string(l->digits[9]) + l->digits[7] + l->digits[8];
    l->digits_plain = l->digits_plain && bytes_is(buf_view(&b), want.c_str());
    buf_done(&b);
}

extern "C" struct icu_locale *icu_locale_open(const char *canonical) {
    UErrorCode st = U_ZERO_ERROR;
    auto l = std::make_unique<icu_locale>();
    l->locale = known_or_root(canonical);
    l->rules[0].reset(icu::PluralRules::forLocale(l->locale, UPLURAL_TYPE_CARDINAL, st));
    l->rules[1].reset(icu::PluralRules::forLocale(l->locale, UPLURAL_TYPE_ORDINAL, st));
    l->number.reset(icu::NumberFormat::createInstance(l->locale, st));
    if (U_FAILURE(st)) return nullptr;
    auto decimal = dynamic_cast<icu::DecimalFormat *>(l->number.get());
    const LocalizedNumberFormatter *f = decimal ? decimal->toNumberFormatter(st) : nullptr;
    if (U_FAILURE(st) || !f) return nullptr;
    l->quantity = *f;
    l->date_time.format.reset(icu::DateFormat::createDateTimeInstance(
        icu::DateFormat::kShort, icu::DateFormat::kShort, l->locale));
    std::memset(l->categories, PLURAL_NONE, sizeof l->categories);
    digits_read(l.get());
    return l.release();
}

extern "C" void icu_locale_close(struct icu_locale **l) {
    delete *l;
    *l = nullptr;
}

/* ---- formats ---- */
struct icu_format {
    std::unique_ptr<icu::Format> number; /* or: */
    struct zoned date;
    LocalizedNumberFormatter quantity;
    bool has_quantity; /* a decimal format: plural rules see the digits that it writes */
};

static std::string word_of(const UnicodeString &s) {
    std::string t;
    UnicodeString u(s);
    u.trim().toLower(Locale::getRoot()).toUTF8String(t);
    return t;
}

/* "::..." behind white space is a skeleton. */
static bool skeleton_of(const UnicodeString &style, UnicodeString *out) {
    int32_t i = 0;
    while (i < style.length() && u_hasBinaryProperty(style.charAt(i), UCHAR_PATTERN_WHITE_SPACE))
        i++;
    if (style.compare(i, 2, UnicodeString("::")) != 0) return false;
    *out = style.tempSubString(i + 2);
    return true;
}

static icu::Format *number_make(
    const Locale &locale, const UnicodeString &style, const std::string &word, UErrorCode &st) {
    UnicodeString skeleton;
    if (word.empty()) return icu::NumberFormat::createInstance(locale, st);
    if (word == "currency") return icu::NumberFormat::createCurrencyInstance(locale, st);
    if (word == "percent") return icu::NumberFormat::createPercentInstance(locale, st);
    if (word == "integer") {
        icu::NumberFormat *f = icu::NumberFormat::createInstance(locale, st);
        if (U_SUCCESS(st)) f->setMaximumFractionDigits(0), f->setParseIntegerOnly(true);
        return f;
    }
    if (skeleton_of(style, &skeleton))
        return icu::number::NumberFormatter::forSkeleton(skeleton, st).locale(locale).toFormat(st);
    std::unique_ptr<icu::NumberFormat> f(icu::NumberFormat::createInstance(locale, st));
    auto decimal = dynamic_cast<icu::DecimalFormat *>(f.get());
    UParseError where;
    if (decimal) decimal->applyPattern(style, where, st);
    return f.release();
}

static icu::DateFormat *date_make(const Locale &locale, bool date, const UnicodeString &style,
    const std::string &word, UErrorCode &st) {
    using D = icu::DateFormat;
    UnicodeString skeleton;
    static const struct {
        const char *word;
        D::EStyle style;
    } STYLES[] = {{"", D::kDefault}, {"short", D::kShort}, {"medium", D::kMedium},
        {"long", D::kLong}, {"full", D::kFull}};
    if (skeleton_of(style, &skeleton)) return D::createInstanceForSkeleton(skeleton, locale, st);
    for (auto &s : STYLES)
        if (word == s.word)
            return date ? D::createDateInstance(s.style, locale)
                        : D::createTimeInstance(s.style, locale);
    D *f = date ? D::createDateInstance(D::kDefault, locale)
                : D::createTimeInstance(D::kDefault, locale);
    auto simple = dynamic_cast<icu::SimpleDateFormat *>(f);
    if (simple) simple->applyPattern(style);
    return f;
}

static icu::Format *spell_make(
    const Locale &locale, const std::string &type, const UnicodeString &style, UErrorCode &st) {
    icu::URBNFRuleSetTag tag = type == "spellout"  ? icu::URBNF_SPELLOUT
                               : type == "ordinal" ? icu::URBNF_ORDINAL
                                                   : icu::URBNF_DURATION;
    auto f = new icu::RuleBasedNumberFormat(tag, locale, st);
    UErrorCode ignored = U_ZERO_ERROR; /* as MessageFormat does: an unknown set is the usual one */
    if (U_SUCCESS(st) && !style.isEmpty()) f->setDefaultRuleSet(style, ignored);
    return f;
}

extern "C" struct icu_format *icu_format_create(struct icu_locale *l, struct bytes type,
    struct bytes style, uint8_t *out_takes, const char **out_why) {
    UErrorCode st = U_ZERO_ERROR;
    auto f = std::make_unique<icu_format>();
    const UnicodeString s = wide(style);
    const std::string kind = word_of(wide(type)), word = word_of(s);
    *out_takes = TEMPLATE_TAKES_NUMBERS;
    *out_why = "this style is none that ICU knows";
    if (kind == "number") {
        f->number.reset(number_make(l->locale, s, word, st));
    } else if (kind == "date" || kind == "time") {
        *out_takes = TEMPLATE_TAKES_TIMES;
        f->date.format.reset(date_make(l->locale, kind == "date", s, word, st));
    } else if (kind == "spellout" || kind == "ordinal" || kind == "duration") {
        f->number.reset(spell_make(l->locale, kind, s, st));
    } else {
        *out_why = "the types are number, date, time, plural, select, selectordinal, spellout, "
                   "ordinal and duration; this is none of them";
        return nullptr;
    }
    if (U_FAILURE(st) || (!f->number && !f->date.format)) return nullptr;
    auto decimal = dynamic_cast<icu::DecimalFormat *>(f->number.get());
    const LocalizedNumberFormatter *q = decimal ? decimal->toNumberFormatter(st) : nullptr;
    if ((f->has_quantity = q && U_SUCCESS(st))) f->quantity = *q;
    return f.release();
}

extern "C" void icu_format_free(struct icu_format **f) {
    delete *f;
    *f = nullptr;
}

/* ---- values ---- */
static bool digits_put(const struct icu_locale *l, int64_t v, struct buf *out) {
    if (v < 0 || v >= SMALL || !l->digits_plain) return false;
    if (v >= 100) buf_str(out, l->digits[v / 100]);
    if (v >= 10) buf_str(out, l->digits[v / 10 % 10]);
    buf_str(out, l->digits[v % 10]);
    return true;
}

extern "C" bool icu_number(
    struct icu_locale *l, const struct icu_format *f, struct icu_value v, struct buf *out) {
    UErrorCode st = U_ZERO_ERROR;
    UnicodeString s;
    if (!f && v.is_integer && digits_put(l, v.integer, out)) return true;
    icu::Formattable value =
        v.is_integer ? icu::Formattable(v.integer) : icu::Formattable(v.number);
    const icu::Format *with = f ? f->number.get() : l->number.get();
    if (!with) return false;
    with->format(value, s, st);
    if (U_FAILURE(st)) return false;
    put(out, s);
    return true;
}

extern "C" enum plural icu_plural(
    struct icu_locale *l, const struct icu_format *f, bool ordinal, struct icu_value v) {
    UErrorCode st = U_ZERO_ERROR;
    const icu::PluralRules *rules = l->rules[ordinal].get();
    uint8_t *known = !f && v.is_integer && v.integer >= 0 && v.integer < KNOWN
                         ? &l->categories[ordinal][v.integer]
                         : nullptr;
    if (known && *known != PLURAL_NONE) return (enum plural) * known;
    UnicodeString word;
    if (f && !f->has_quantity) {
        word = rules->select(v.is_integer ? (double)v.integer : v.number);
    } else {
        const LocalizedNumberFormatter &q = f ? f->quantity : l->quantity;
        FormattedNumber n =
            v.is_integer ? q.formatInt(v.integer, st) : q.formatDouble(v.number, st);
        word = rules->select(n, st);
    }
    enum plural c = U_FAILURE(st) ? PLURAL_OTHER : category_of(word);
    if (known) *known = (uint8_t)c;
    return c;
}

extern "C" bool icu_time(struct icu_locale *l, struct icu_format *f, struct icu_zones *z,
    int64_t ms, struct bytes zone, struct buf *out) {
    return zoned_put(f ? &f->date : &l->date_time, z, ms, zone, out);
}

/* ---- the reference ---- */
static icu::Formattable formattable_of(const struct template_arg &a) {
    switch (a.kind) {
    case TEMPLATE_TEXT: return icu::Formattable(wide(a.text));
    case TEMPLATE_INTEGER: return icu::Formattable(a.integer);
    case TEMPLATE_NUMBER: return icu::Formattable(a.number);
    default: return icu::Formattable((UDate)a.integer, icu::Formattable::kIsDate);
    }
}

extern "C" bool icu_reference(const char *canonical, struct bytes text,
    const struct template_arg *args, size_t n, struct buf *out) {
    UErrorCode st = U_ZERO_ERROR;
    UParseError where;
    icu::MessageFormat m(wide(text), known_or_root(canonical), where, st);
    std::vector<UnicodeString> names(n);
    std::vector<icu::Formattable> values(n);
    for (size_t i = 0; i < n && U_SUCCESS(st); i++) {
        names[i] = wide(args[i].name);
        values[i] = formattable_of(args[i]);
        icu::Format *f = m.getFormat(names[i], st);
        st = st == U_ILLEGAL_ARGUMENT_ERROR ? U_ZERO_ERROR : st;
        auto date = dynamic_cast<icu::DateFormat *>(f);
        bool utc = args[i].kind != TEMPLATE_TIME || !args[i].text.n;
        if (date)
            date->adoptTimeZone(
                icu::TimeZone::createTimeZone(utc ? UnicodeString("Etc/UTC") : wide(args[i].text)));
    }
    UnicodeString s;
    if (U_SUCCESS(st)) m.format(names.data(), values.data(), (int32_t)n, s, st);
    if (U_FAILURE(st)) return false;
    put(out, s);
    return true;
}
