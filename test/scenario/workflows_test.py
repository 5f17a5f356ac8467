"""Workflows: what a definition may say, each fault by its field, changes that many make at once, and their words in the languages of the world."""
import concurrent.futures
import subprocess

import harness
from harness import Server, expect

s = Server("--shards", "2")
EN = {"en": {"title": "t", "body": "b"}}


def ok(status, method, path, body=None, **more):
    got, said = s.call(method, path, body, **more)
    expect(got, status, f"{method} {path}: {said}")
    return said


def refused(status, field, body, path="/v1/workflows/w", says="", method="PUT"):
    got, said = s.call(method, path, body)
    expect((got, said.get("field", "")), (status, field), f"{body}: {said}")
    assert says in said["detail"] and len(said["detail"]) > 15, said


def shown(locale, data, path="/v1/workflows/w", part="title", **more):
    return ok(200, "POST", path + "/preview", {"locale": locale, "data": data, **more})["templates"][part]


# ---- absent fields stay, null clears
W = "/v1/workflows/w"
refused(422, "channels", {"templates": EN})
refused(422, "templates", {"channels": ["inapp"]})
refused(422, "channels", {})
expect(s.call("GET", W)[0], 404)
whole = {"channels": ["inapp", "push"], "templates": EN, "group_by": ["object", "data.post"], "digest": {"window": "24h", "first_at_once": True}, "priority": "low",
         "cap": {"count": 3, "per": "week"}, "escalate": [{"after": "10m", "to": ["email"], "unless": "read"}, {"after": "30s", "to": "push"}], "expires_after": "7d",
         "relevance": "learned"}
expect(ok(201, "PUT", W, whole), {"id": "w", **whole})
expect(ok(200, "GET", W), {"id": "w", **whole}, "as it was given")
expect(ok(200, "PUT", W, {"priority": "high", "cap": None, "digest": None}), {"id": "w", **{k: v for k, v in whole.items() if k not in ("cap", "digest")}, "priority": "high"})
expect(ok(200, "PUT", W, {}), ok(200, "GET", W))
for per in ("1h", "60m", "24h", "1d", "7d"):
    expect(ok(200, "PUT", W, {"cap": {"count": 1, "per": per}})["cap"]["per"], per, "as it was given")
refused(422, "cap.per", {"cap": {"count": 1, "per": "2h"}})
ok(200, "PUT", W, {"cap": None})
before = ok(200, "GET", W)

# ---- each fault names its field
for status, field, body in (
        (400, "nothing", {"nothing": 1}), (400, "channels", {"channels": "inapp"}), (400, "channels", {"channels": [1]}), (422, "channels", {"channels": []}),
        (422, "channels", {"channels": ["inapp", "sms"]}), (422, "channels", {"channels": None}), (422, "templates", {"templates": None}), (422, "templates", {"templates": {}}),
        (400, "templates", {"templates": []}), (400, "templates.en", {"templates": {"en": "t"}}), (400, "templates.en.titel", {"templates": {"en": {"titel": "t"}}}),
        (400, "templates.en.title", {"templates": {"en": {"title": 1}}}), (422, "templates.en.title", {"templates": {"en": {"html": "t"}}}),
        (422, "templates.e n", {"templates": {"e n": {"title": "t"}}}), (400, "templates.pt_BR", {"templates": {"pt-BR": {"title": "t"}, "pt_BR": {"title": "t"}}}),
        (413, "templates.en.body", {"templates": {"en": {"body": "x" * 16385}}}), (422, "templates.en.body", {"templates": {"en": {"title": "t", "body": "{a"}}}),
        (422, "templates.pl.title", {"templates": {"pl": {"title": "{n, plural, one{x} few{y}}"}}}), (422, "templates.pl.title", {"templates": {"pl": {"title": "{n, plural, some{x} other{y}}"}}}),
        (422, "templates.en.title", {"templates": {"en": {"title": "{actor, plural, other{x}}"}}}), (422, "templates.en.title", {"templates": {"en": {"title": "{count, date}"}}}),
        (422, "templates.de.title", {"templates": {"en": {"title": "{n, plural, other{x}}"}, "de": {"title": "{n, date}"}}}),
        (422, "templates.en.body", {"templates": {"en": {"title": "{n, number}", "body": "{n, time}"}}}),
        (422, "templates.en.title", {"templates": {"en": {"title": "{b}"}}, "data": {"a": "text"}}), (422, "templates.en.title", {"templates": {"en": {"title": "{b, date}"}}, "data": {"b": "text"}}),
        (422, "data.a", {"data": {"a": "word"}}), (400, "data.a", {"data": {"a": 1}}), (422, "data.count", {"data": {"count": "number"}}), (400, "data", {"data": []}),
        (400, "group_by", {"group_by": 1}), (400, "group_by", {"group_by": [1]}), (422, "group_by", {"group_by": []}), (422, "group_by", {"group_by": ""}),
        (422, "group_by", {"group_by": "data."}), (422, "group_by", {"group_by": list("abcde")}), (422, "group_by", {"group_by": "b", "data": {"a": "text"}}),
        (400, "digest", {"digest": "1h"}), (422, "digest.window", {"digest": {}}), (422, "digest.window", {"digest": {"window": "1w"}}), (422, "digest.window", {"digest": {"window": "0s"}}),
        (422, "digest.window", {"digest": {"window": "32d"}}), (400, "digest.first_at_once", {"digest": {"window": "1h", "first_at_once": 1}}), (400, "digest.x", {"digest": {"window": "1h", "x": 1}}),
        (422, "priority", {"priority": "urgent"}), (400, "priority", {"priority": 1}), (422, "cap.count", {"cap": {"per": "day"}}), (422, "cap.per", {"cap": {"count": 1}}),
        (422, "cap.count", {"cap": {"count": 0, "per": "day"}}), (400, "cap.count", {"cap": {"count": 1.5, "per": "day"}}), (422, "cap.per", {"cap": {"count": 1, "per": "month"}}),
        (400, "escalate", {"escalate": {}}), (422, "escalate.after", {"escalate": [{"to": "push"}]}), (422, "escalate.after", {"escalate": [{"after": "soon", "to": "push"}]}),
        (422, "escalate.to", {"escalate": [{"after": "1m", "to": "inapp"}]}), (422, "escalate.to", {"escalate": [{"after": "1m", "to": []}]}), (422, "escalate.to", {"escalate": [{"after": "1m", "to": "fax"}]}),
        (422, "escalate.unless", {"escalate": [{"after": "1m", "to": "push", "unless": "asleep"}]}), (422, "escalate", {"channels": ["push"], "escalate": [{"after": "1m", "to": "push"}]}),
        (422, "escalate", {"escalate": [{"after": "1m", "to": "push"}] * 9}), (400, "escalate", {"escalate": ["push"]}), (422, "expires_after", {"expires_after": "0s"}), (422, "expires_after", {"expires_after": "x"}),
        (422, "relevance", {"relevance": "guessed"}), (400, "relevance", {"relevance": True}), (422, "relevance.mode", {"relevance": {}}), (422, "relevance.target_per_day", {"relevance": {"mode": "learned", "target_per_day": 0}}),
        (422, "relevance.explore", {"relevance": {"mode": "learned", "explore": 1.5}})):
    refused(status, field, body)
refused(422, "templates.de.title", {"templates": {"en": {"title": "{n, plural, other{x}}"}, "de": {"title": "{n, date}"}}}, says="a number in templates.en.title")
refused(422, "templates.en.title", {"templates": {"en": {"title": "Hello {name"}}}, says="at byte 6")
expect(ok(200, "GET", W), before, "what was refused changed nothing")
expect(s.call("PUT", W, b"{")[0], 400)
expect(s.call("PUT", W, b'{"priority": "low", "priority": "high"}')[0], 400)
expect(s.call("PUT", "/v1/workflows/a%20b", {})[0], 422)
big = {l: {p: "x" * 16000 for p in ("title", "body", "subject", "text", "html")} for l in ("en", "de", "fr", "es", "pl")}
expect(s.call("PUT", W, {"templates": big})[0], 413)

# ---- words
LIKED = "{others, plural, =0 {{actor} liked it} one {{actor} and # other liked it} other {{actor} and # others liked it}}"
ok(200, "PUT", W, {"templates": {"en": {"title": LIKED}, "pl": {"title": "{n, plural, one{# plik} few{# pliki} many{# plików} other{# pliku}}"},
                                 "ru": {"title": "{n, plural, one{# файл} few{# файла} many{# файлов} other{# файла}}"},
                                 "ar": {"title": "{n, plural, zero{لا ملفات} one{ملف} two{ملفان} few{# ملفات} many{# ملفًا} other{# ملف}}"},
                                 "pt": {"title": "{n} no total"}, "de": {"title": "{when, date, long}", "subject": "Zu {object}", "text": "T", "html": "<b>{note}</b>"},
                                 "zh-Hant": {"title": "繁"}}})
ALL = {"n": 0, "when": "2026-03-01T10:00:00Z", "note": "<Tom & \"Ann\">"}
for others, words in ((0, "Ann liked it"), (1, "Ann and 1 other liked it"), (12, "Ann and 12 others liked it"), (1234, "Ann and 1,234 others liked it")):
    expect(shown("en", ALL, actor="Ann", count=others + 1), words)
    expect(shown("en-GB", {**ALL, "actor": "Ann", "others": others}), words, "given as data")
for n, words in ((1, "1 plik"), (3, "3 pliki"), (5, "5 plików"), (22, "22 pliki"), (1.5, "1,5 pliku")):
    expect(shown("pl", {**ALL, "n": n}), words)
for n, words in ((1, "1 файл"), (2, "2 файла"), (11, "11 файлов"), (21, "21 файл")):
    expect(shown("ru-RU", {**ALL, "n": n}), words)
for n, words in ((0, "لا ملفات"), (1, "ملف"), (2, "ملفان")):
    expect(shown("ar", {**ALL, "n": n}), words)
for n, words in ((3, "ملفات"), (11, "ملفًا"), (100, "ملف")):
    expect(shown("ar-EG", {**ALL, "n": n}).split()[1], words)
expect(shown("pt-BR", {**ALL, "n": 1234}), "1.234 no total")
for locale, taken in (("pt-BR", "pt"), ("pt-PT", "pt"), ("zh-TW", "zh-Hant"), ("zh-CN", "en"), ("de-AT", "de"), ("fi", "en"), ("", "en"), ("not a tag", "en"), (None, "en")):
    expect(ok(200, "POST", W + "/preview", {"locale": locale, "data": ALL})["locale"], taken, locale)
expect(shown("de", ALL), "1. März 2026")
expect(ok(200, "POST", W + "/preview", {"locale": "de", "data": ALL, "object": "a<b"})["templates"],
       {"title": "1. März 2026", "body": "", "subject": "Zu a<b", "text": "T", "html": "<b>&lt;Tom &amp; &quot;Ann&quot;&gt;</b>"}, "HTML is escaped, and nothing else")
for data, says in (({}, "'n'"), ({**ALL, "n": "many"}, "'n' in 'data': a number"), ({**ALL, "when": "tomorrow"}, "'when' in 'data': a time")):
    refused(422, "data", {"locale": "en", "data": data}, W + "/preview", says, "POST")
refused(400, "data", {"data": []}, W + "/preview", method="POST")
refused(400, "to", {"to": 1}, W + "/preview", method="POST")
ok(200, "PUT", W, {"templates": {"fi": {"title": "fi"}, "default": {"title": "{n, plural, one{# thing} other{# things}}"}, "en": {"title": "en"}}, "data": {"n": "number"}, "group_by": "n"})
expect((shown("sv", {"n": 1}), shown("en", {"n": 1}), shown("fi", {"n": 1})), ("1 thing", "en", "fi"), "the default set is the one that is called so")
ok(200, "PUT", W, {"templates": {"fi": {"title": "fi"}, "sv": {"title": "sv"}}})
expect(shown("de", {}), "fi", "or the first")

# ---- many at once: none is lost, and a list shows all
with concurrent.futures.ThreadPoolExecutor(8) as pool:
    fields = [{"priority": "high"}, {"expires_after": "1h"}, {"cap": {"count": 9, "per": "hour"}}, {"digest": {"window": "1m"}}, {"group_by": "actor"}, {"relevance": "learned"},
              {"escalate": None}, {"data": None}]
    for got in pool.map(lambda f: s.call("PUT", W, f), fields):
        expect(got[0], 200, got)
    now = ok(200, "GET", W)
    expect({k: now.get(k) for f in fields for k in f}, {k: v for f in fields for k, v in f.items()})
    for i, got in enumerate(pool.map(lambda i: s.call("PUT", f"/v1/workflows/many-{i}", {"channels": ["inapp"], "templates": EN}), range(30))):
        expect(got[0], 201, got)
seen, cursor = [], ""
while cursor is not None:
    page = ok(200, "GET", "/v1/workflows?limit=7" + ("&cursor=" + cursor if cursor else ""))
    seen += [w["id"] for w in page["items"]]
    cursor = page["next"]
expect(sorted(seen), sorted(["w"] + [f"many-{i}" for i in range(30)]))
for i in range(0, 30, 2):
    ok(204, "DELETE", f"/v1/workflows/many-{i}")
ok(204, "DELETE", "/v1/workflows/many-0")
expect(len(ok(200, "GET", "/v1/workflows?limit=200")["items"]), 16)

# ---- who has the answer finds it everywhere: what is triggered at once reaches users in all partitions
USERS = [f"u{i}" for i in range(60)]
for i in range(10):
    ok(201, "PUT", f"/v1/workflows/fresh-{i}", {"channels": ["inapp"], "templates": {"en": {"title": f"fresh {i}"}}})
    ok(202, "POST", "/v1/notifications", {"workflow": f"fresh-{i}", "to": {"users": USERS}})
for u in USERS:
    harness.eventually(lambda: expect([n["title"] for n in ok(200, "GET", f"/v1/users/{u}/notifications")["items"]], [f"fresh {i}" for i in range(9, -1, -1)], u))
for i in range(10):
    ok(204, "DELETE", f"/v1/workflows/fresh-{i}")
    for n in range(10):
        got, said = s.call("POST", "/v1/notifications", {"id": f"late-{i}-{n}", "workflow": f"fresh-{i}", "to": {"users": USERS[:1]}})
        expect((got, said.get("field")), (404, "workflow"), "deleted everywhere")

# ---- apps do not meet, and nothing is lost when the server dies
other = subprocess.check_output([harness.KITH, "key", "create", "--data", s.data, "--name", "o", "--app", "other", "--scope", "all"], text=True).strip()
harness.eventually(lambda: expect(s.call("GET", W, key=other)[0], 404))
expect(s.call("GET", "/v1/workflows", key=other)[1], {"items": [], "next": None})
s.kill()
s.start()
expect(ok(200, "GET", W), now)
expect(len(ok(200, "GET", "/v1/workflows?limit=200")["items"]), 16)
s.stop()
s.check()
print("workflows: all as promised")
