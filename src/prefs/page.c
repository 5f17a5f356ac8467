/* prefs: the page behind the link in a mail, in the language of who looks: theirs as they have set it, else
 * the first that their browser asks for (RFC 9110, 12.5.4) and that is here, else English. It needs no
 * script, loads nothing, and is as readable in the dark and on a phone. What it says of the kind of mail is
 * the workflow's id: nothing in an id means anything in HTML.
 * SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "prefs/prefs_in.h"
#include "template/template.h"

/* In all of them `$` stands for the kind of mail. */
static const struct words {
    const char *tag, *direction;
    const char *title, *ask, *keep; /* before the click; the title is the button's word too */
    const char *done, *no_more;     /* after it */
    const char *cut, *again;        /* no link of ours */
} WORDS[] = {
    {"en", "ltr", "Unsubscribe", "Do you want no more e-mails of the kind $?",
        "All else stays as it is.", "You are unsubscribed",
        "No more e-mails of the kind $ will be sent to you.", "This link does not work",
        "It may have been cut. Open it from the e-mail again."},
    {"ar", "rtl", "إلغاء الاشتراك", "هل تريد التوقف عن تلقي رسائل البريد من النوع $؟",
        "يبقى كل شيء آخر كما هو.", "تم إلغاء اشتراكك", "لن تصلك بعد الآن رسائل بريد من النوع $.",
        "هذا الرابط لا يعمل", "ربما نُسخ ناقصًا. افتحه من الرسالة مرة أخرى."},
    {"de", "ltr", "Abbestellen", "Möchten Sie keine E-Mails der Art $ mehr?",
        "Alles andere bleibt, wie es ist.", "Sie haben sie abbestellt",
        "Sie bekommen keine E-Mails der Art $ mehr.", "Dieser Link funktioniert nicht",
        "Vielleicht wurde er abgeschnitten. Öffnen Sie ihn noch einmal aus der E-Mail."},
    {"es", "ltr", "Cancelar la suscripción", "¿No quiere recibir más correos del tipo $?",
        "Todo lo demás queda como está.", "Suscripción cancelada",
        "Ya no recibirá correos del tipo $.", "Este enlace no funciona",
        "Puede que esté cortado. Ábralo de nuevo desde el correo."},
    {"fr", "ltr", "Se désabonner", "Ne plus recevoir d’e-mails du type $ ?",
        "Tout le reste ne change pas.", "Vous êtes désabonné",
        "Vous ne recevrez plus d’e-mails du type $.", "Ce lien ne fonctionne pas",
        "Il a peut-être été coupé. Ouvrez-le à nouveau depuis l’e-mail."},
    {"he", "rtl", "ביטול הרשמה", "להפסיק לקבל הודעות דוא״ל מסוג $?", "כל השאר נשאר כפי שהוא.",
        "ההרשמה בוטלה", "לא יישלחו אליך עוד הודעות דוא״ל מסוג $.", "הקישור אינו פועל",
        "ייתכן שהוא נחתך. יש לפתוח אותו שוב מתוך ההודעה."},
    {"hi", "ltr", "सदस्यता रद्द करें", "क्या आप $ प्रकार के ईमेल अब नहीं पाना चाहते?", "बाकी सब वैसा ही रहेगा।",
        "सदस्यता रद्द हो गई", "अब आपको $ प्रकार के ईमेल नहीं भेजे जाएँगे।", "यह लिंक काम नहीं करता",
        "शायद यह अधूरा है। इसे ईमेल से फिर खोलें।"},
    {"it", "ltr", "Annulla l’iscrizione", "Non vuole più ricevere e-mail del tipo $?",
        "Tutto il resto rimane com’è.", "Iscrizione annullata",
        "Non riceverà più e-mail del tipo $.", "Questo link non funziona",
        "Forse è incompleto. Lo apra di nuovo dall’e-mail."},
    {"ja", "ltr", "配信停止", "「$」のメールの受信を停止しますか？", "ほかの設定は変わりません。",
        "配信を停止しました", "「$」のメールは今後届きません。", "このリンクは使えません",
        "途中で切れている可能性があります。メールからもう一度開いてください。"},
    {"ko", "ltr", "수신 거부", "$ 종류의 이메일을 더 이상 받지 않으시겠습니까?",
        "다른 설정은 그대로 유지됩니다.", "수신이 거부되었습니다",
        "$ 종류의 이메일이 더 이상 발송되지 않습니다.", "이 링크는 작동하지 않습니다",
        "링크가 잘렸을 수 있습니다. 이메일에서 다시 열어 주세요."},
    {"nl", "ltr", "Afmelden", "Wilt u geen e-mails van de soort $ meer?",
        "Al het andere blijft zoals het is.", "U bent afgemeld",
        "U krijgt geen e-mails van de soort $ meer.", "Deze link werkt niet",
        "Misschien is hij afgebroken. Open hem opnieuw vanuit de e-mail."},
    {"pl", "ltr", "Zrezygnuj", "Nie chcesz już otrzymywać e-maili typu $?",
        "Wszystko inne pozostaje bez zmian.", "Zrezygnowano",
        "Nie będziesz już otrzymywać e-maili typu $.", "Ten link nie działa",
        "Być może został ucięty. Otwórz go ponownie z wiadomości."},
    {"pt", "ltr", "Cancelar inscrição", "Não quer mais receber e-mails do tipo $?",
        "Todo o resto fica como está.", "Inscrição cancelada",
        "Você não receberá mais e-mails do tipo $.", "Este link não funciona",
        "Talvez esteja incompleto. Abra-o novamente a partir do e-mail."},
    {"ru", "ltr", "Отписаться", "Больше не получать письма вида $?",
        "Всё остальное останется как есть.", "Вы отписаны",
        "Письма вида $ больше не будут приходить.", "Эта ссылка не работает",
        "Возможно, она скопирована не полностью. Откройте её из письма ещё раз."},
    {"tr", "ltr", "Abonelikten çık", "$ türündeki e-postaları artık almak istemiyor musunuz?",
        "Diğer her şey olduğu gibi kalır.", "Abonelikten çıktınız",
        "Artık $ türünde e-posta almayacaksınız.", "Bu bağlantı çalışmıyor",
        "Eksik kopyalanmış olabilir. E-postadan yeniden açın."},
    {"uk", "ltr", "Відписатися", "Більше не отримувати листи виду $?", "Усе інше залишиться як є.",
        "Ви відписані", "Листи виду $ більше не надходитимуть.", "Це посилання не працює",
        "Можливо, його скопійовано не повністю. Відкрийте його з листа ще раз."},
    {"zh", "ltr", "退订", "不再接收“$”类邮件吗？", "其他设置保持不变。", "已退订",
        "您不会再收到“$”类邮件。", "此链接无效", "链接可能不完整，请从邮件中重新打开。"},
    {"zh-Hant", "ltr", "取消訂閱", "不再接收「$」類郵件嗎？", "其他設定保持不變。", "已取消訂閱",
        "您不會再收到「$」類郵件。", "此連結無效", "連結可能不完整，請從郵件中重新開啟。"},
};
enum { LANGUAGES = sizeof WORDS / sizeof *WORDS };

/* The sum in the policy is that of STYLE: nothing else is loaded or run. */
#define STYLE                                                                                      \
    "body{margin:0;font:1.1rem/1.5 system-ui,sans-serif;background:#f6f6f4;color:#1d1d1f}"         \
    "main{max-width:30rem;margin:12vh auto;padding:0 1.5rem;overflow-wrap:break-word}"             \
    "h1{font-size:1.5rem;line-height:1.25}bdi{font-weight:600}"                                    \
    "button{font:inherit;font-weight:600;padding:.7rem 1.5rem;border:1px solid transparent;"       \
    "border-radius:.6rem;cursor:pointer;background:#1b5fc1;color:#fff}"                            \
    "button:hover{background:#164fa1}button:focus-visible{outline:3px solid #1b5fc1;"              \
    "outline-offset:3px}@media(prefers-color-scheme:dark){body{background:#18191b;color:#ececee}"  \
    "button{background:#8ab8ff;color:#0d1626}button:hover{background:#a8caff}"                     \
    "button:focus-visible{outline-color:#8ab8ff}}"
#define STYLE_SUM "UMn/LI3MmoVg5qCSwms+5jxkTNzFx7U/KgeQhT2g+/g="
static const char LINES[] =
    "Cache-Control: no-store\r\nContent-Security-Policy: default-src 'none'; style-src "
    "'sha256-" STYLE_SUM "'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'\r\n"
    "X-Content-Type-Options: nosniff\r\nReferrer-Policy: no-referrer\r\nX-Robots-Tag: noindex\r\n";

static size_t language_pick(struct template_kit *k, struct bytes wanted) {
    enum { TAG_MAX = 35 }; /* no tag needs more (RFC 5646, 4.4.1) */
    struct bytes tags[LANGUAGES];
    if (!wanted.n || wanted.n > TAG_MAX) return LANGUAGES;
    for (size_t i = 0; i < LANGUAGES; i++) tags[i] = bytes_str(WORDS[i].tag);
    return template_locale_pick(k, wanted, tags, LANGUAGES);
}

/* The weight of one range in thousandths (";q=0.8"); 1000 where none is given. */
static unsigned weight_of(struct bytes range) {
    const uint8_t *q = range.n ? memchr(range.p, '=', range.n) : NULL, *end = range.p + range.n;
    unsigned weight = 0, unit = 1000;
    if (!q) return 1000;
    for (q++; q < end && unit; q++) {
        if (*q == '.') continue;
        if (*q < '0' || *q > '9') break;
        weight += (unsigned)(*q - '0') * unit;
        unit /= 10;
    }
    return weight < 1000 ? weight : 1000;
}

/* Of the ranges of an Accept-Language the one with most weight that is here. */
static size_t language_accepted(struct template_kit *k, struct bytes ranges) {
    enum { RANGES_MAX = 32 }; /* what comes beyond is not looked at */
    unsigned best = 0;
    size_t found = LANGUAGES;
    for (int n = 0; ranges.n && n < RANGES_MAX; n++) {
        const uint8_t *comma = memchr(ranges.p, ',', ranges.n);
        struct bytes range = bytes_of(ranges.p, comma ? (size_t)(comma - ranges.p) : ranges.n);
        ranges = comma ? bytes_of(comma + 1, ranges.n - range.n - 1) : bytes_of(NULL, 0);
        unsigned weight = weight_of(range);
        while (range.n && *range.p == ' ') range = bytes_of(range.p + 1, range.n - 1);
        size_t tag = 0;
        while (tag < range.n && range.p[tag] != ';' && range.p[tag] != ' ') tag++;
        range.n = tag;
        size_t at = weight > best ? language_pick(k, range) : LANGUAGES;
        if (at < LANGUAGES) best = weight, found = at;
    }
    return found;
}

unsigned page_language(struct template_kit *k, struct bytes own, struct bytes accepted) {
    size_t at = language_pick(k, own);
    if (at == LANGUAGES) at = language_accepted(k, accepted);
    return at == LANGUAGES ? 0 : (unsigned)at;
}

static void words_put(struct buf *b, const char *words, struct bytes workflow) {
    const char *kind = strchr(words, '$');
    buf_str(b, "<p>");
    if (kind) {
        buf_add(b, words, (size_t)(kind - words));
        buf_fmt(b, "<bdi>%.*s</bdi>%s", (int)workflow.n, (const char *)workflow.p, kind + 1);
    } else buf_str(b, words);
    buf_str(b, "</p>\n");
}

void page_put(struct answer *a, enum page_kind kind, unsigned language, struct bytes workflow) {
    const struct words *w = &WORDS[language];
    const char *title = kind == PAGE_ASK ? w->title : kind == PAGE_DONE ? w->done : w->cut;
    struct buf *b = &a->body;
    buf_reset(b);
    buf_fmt(b,
        "<!doctype html>\n<html lang=\"%s\" dir=\"%s\">\n<meta charset=\"utf-8\">\n"
        "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n"
        "<meta name=\"color-scheme\" content=\"light dark\">\n<title>%s</title>\n"
        "<style>" STYLE "</style>\n<main>\n<h1>%s</h1>\n",
        w->tag, w->direction, title, title);
    words_put(b, kind == PAGE_ASK ? w->ask : kind == PAGE_DONE ? w->no_more : w->again, workflow);
    if (kind == PAGE_ASK) {
        words_put(b, w->keep, workflow);
        buf_fmt(b,
            "<form method=\"post\" action=\"?lang=%s\">\n<input type=\"hidden\" "
            "name=\"List-Unsubscribe\" "
            "value=\"One-Click\">\n<button>%s</button>\n</form>\n",
            w->tag, title);
    }
    buf_str(b, "</main>\n</html>\n");
    a->page = LINES;
    a->status = kind == PAGE_CUT ? 404 : 200;
}
