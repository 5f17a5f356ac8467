"""One click in a mail ends mails of its kind (RFC 8058), by kith's own page: from the header of a mail that came to the person's wishes, over a kill. A look changes nothing; who forges a link
gets nowhere; an owner's own page is preferred. The mail server is Debian's aiosmtpd."""
import base64, email, email.policy, hashlib, hmac, http.client, json, os, re, shutil, stat, time

import answers, certificate, mailserver, peers
from harness import Server, eventually, expect

PUBLIC = "https://kith.example/social"


def raw(text):
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def until(fn, seconds=30):
    def look():
        assert fn(), "it does not come to be"
    eventually(look, seconds)


class World:
    def __init__(self):
        self.s = Server(start=False)
        cert, key = certificate.make(self.s.dir)
        self.mails = mailserver.MailServer(cert, key)
        self.mx = {"name": "mx", "channel": "email", "host": "localhost", "port": self.mails.ports[0], "from": "no-reply@example.com", "user": "kith", "password": "pass word", "ca_file": "server.pem"}
        self.s.options = ("--providers", self.s.dir + "/providers.json", "--shards", "2")
        self.providers(public_url=PUBLIC + "/")
        self.s.start()
        self.s.make_key()

    def providers(self, **more):
        with open(self.s.dir + "/providers.json", "w") as f:
            json.dump({"providers": [{**self.mx, **more}]}, f)

    def again(self, kill=False, **more):
        (self.s.kill if kill else self.s.stop)()
        self.providers(**more)
        self.s.start()

    def ok(self, status, method, path, body=None):
        got, said = self.s.call(method, path, body)
        expect(got, status, (method, path, said))
        return said

    def trigger(self, workflow, user, decision):
        """Told until the decision is taken: what was decided."""
        id = self.ok(202, "POST", "/v1/notifications", {"workflow": workflow, "to": {"users": [user]}, "data": {"what": "tea"}})["id"]
        said = lambda: [d["decision"] for d in self.ok(200, "GET", f"/v1/notifications/{id}/why/{user}")["items"]]
        until(lambda: decision in said())
        return said()

    def mail(self, workflow, user):
        expect(self.trigger(workflow, user, "sent")[-1], "sent")
        (came,) = self.mails.do("taken")["mails"]
        return email.message_from_bytes(raw(came["content"]), policy=email.policy.SMTP)

    def link(self, workflow, user):
        """The path of the link, as who stands before this server takes it."""
        mail = self.mail(workflow, user)
        expect(mail["list-unsubscribe-post"], "List-Unsubscribe=One-Click")
        for signed in mail.get_all("dkim-signature"):
            assert "list-unsubscribe:list-unsubscribe-post" in re.sub(r"\s", "", signed).lower(), signed
        found = re.fullmatch(f"<{PUBLIC}(/v1/unsubscribe/[A-Za-z0-9_-]+)>", mail["list-unsubscribe"])
        assert found, mail["list-unsubscribe"]
        return found[1]

    def ask(self, method, path, body=None, status=200, **headers):
        """Without any credential, on a connection of its own: what is said, or the problem."""
        c = http.client.HTTPConnection("127.0.0.1", self.s.http, timeout=20)
        c.putrequest(method, path)
        for name, value in headers.items():
            c.putheader(name.replace("_", "-"), value)
        if body is not None:
            c.putheader("Content-Length", str(len(body)))
        c.endheaders()
        if body:
            time.sleep(0.05)  # in a packet of its own, as many send it
            c.send(body)
        answer = c.getresponse()
        text = answer.read()
        said = json.loads(text) if "json" in answer.headers.get("Content-Type", "") else text
        answers.check("GET" if method == "HEAD" else method, path, None, answer.status, answer.headers, said)
        expect(answer.status, status, f"{method} {path}: {said}")
        c.close()
        return (answer.headers, said.decode()) if isinstance(said, bytes) else said

    def wishes(self, user):
        return self.ok(200, "GET", f"/v1/users/{user}/preferences")["workflows"]

    def token(self, app, user, workflow, key=None, form=1):
        """As docs/format/outward.md says."""
        with open(self.s.data + "/keys/unsubscribe.key") as f:
            key = key or raw(f.read().strip())
        said = bytes([form]) + b"".join(bytes([len(v)]) + v.encode() for v in (app, user, workflow))
        return base64.urlsafe_b64encode(said + hmac.new(key, said, hashlib.sha256).digest()).decode().rstrip("=")


def click(w):
    """A look changes nothing; a click ends mail of this workflow and nothing else, and stays after a kill."""
    w.ok(201, "PUT", "/v1/users/gus", {"name": "Gus", "email": "gus@example.org"})
    link = w.link("news", "gus")
    head, page = w.ask("GET", link)
    expect((head["content-type"], head["cache-control"], head["referrer-policy"]), ("text/html; charset=utf-8", "no-store", "no-referrer"))
    (style,) = re.findall("<style>(.*)</style>", page)
    sum = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    expect(head["content-security-policy"], f"default-src 'none'; style-src 'sha256-{sum}'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'")
    expect(len(re.findall("<button", page)), 1)
    assert '<form method="post" action="?lang=en">' in page and "<bdi>news</bdi>" in page and "script" not in page and "src=" not in page, page
    assert "prefers-color-scheme:dark" in style and "focus-visible" in style
    w.ask("HEAD", link)
    expect(w.wishes("gus"), {}, "who looks wants nothing yet")
    _, page = w.ask("POST", link, b"List-Unsubscribe=One-Click", Content_Type="application/x-www-form-urlencoded")
    assert "No more e-mails" in page and "<form" not in page, page
    expect(w.wishes("gus"), {"news": {"email": False}})
    w.again(kill=True, public_url=PUBLIC)
    expect(w.wishes("gus"), {"news": {"email": False}})
    expect(w.trigger("news", "gus", "opted_out"), ["delivered", "opted_out"])
    expect(w.mails.do("taken")["mails"], [], "none left")
    assert "No more e-mails" in w.ask("GET", link)[1]
    w.mail("alarm", "gus")
    # it was meant otherwise: the person's own wish holds, and the old link works again
    w.ok(200, "PUT", "/v1/users/gus/preferences", {"workflows": {"news": {"email": True, "push": False}}})
    assert "<button" in w.ask("GET", link)[1]
    w.ask("POST", link, b"--x\r\nContent-Disposition: form-data; name=\"List-Unsubscribe\"\r\n\r\nOne-Click\r\n--x--\r\n", Content_Type="multipart/form-data; boundary=x")
    w.ask("POST", link)
    w.ask("POST", link + "?utm=1", b'{"any": ["body')
    w.ask("POST", link, b"x" * 50000)
    expect(w.wishes("gus"), {"news": {"email": False, "push": False}}, "nothing else changed")


def languages(w):
    """Theirs as they have set it, then the browser's, then English; the page after the click as the one that was clicked. Who follows a link that was cut is told by a page too."""
    shown = lambda said: (*re.search(r'<html lang="([^"]+)" dir="([^"]+)">', said[1]).groups(), re.search("<h1>(.*)</h1>", said[1])[1])
    path = lambda user: "/v1/unsubscribe/" + w.token("demo", user, "news")
    w.ok(201, "PUT", "/v1/users/noa", {"locale": "he-IL"})
    w.ok(201, "PUT", "/v1/users/ulf", {"locale": "sv"})
    for user, asked, lang in (("noa", "de", "he"), ("ulf", "de-AT, en;q=0.5", "de"), ("ulf", "sv, ar;q=0.2, pl;q=0.8,en;q=0.7", "pl"), ("ulf", "zh-TW", "zh-Hant"), ("ulf", "zh-CN,zh;q=0.9", "zh"),
                              ("nobody", "ar", "ar"), ("nobody", "sv;q=1", "en"), ("nobody", "", "en"), ("nobody", "pt-BR;q=x, *", "en"), ("nobody", "x" * 3000 + ", de;q=0.1", "de"), ("nobody", ",;q=, ;;", "en")):
        said = w.ask("GET", path(user), Accept_Language=asked)
        expect(shown(said)[:2], (lang, "rtl" if lang in ("ar", "he") else "ltr"), asked)
        expect(said[1].count("<bdi>news</bdi>"), 1, lang)
        assert f'action="?lang={lang}"' in said[1], said[1]
    expect(shown(w.ask("POST", path("noa") + "?lang=he", b"x", Accept_Language="de")), ("he", "rtl", "ההרשמה בוטלה"))
    expect(shown(w.ask("POST", path("ulf"), b"x", Accept_Language="de"))[0], "de")
    expect(shown(w.ask("POST", path("ulf") + "?lang=" + "%22" * 30, b"x"))[0], "en")
    expect(shown(w.ask("GET", "/v1/unsubscribe/x", status=404, Accept="text/html,application/xhtml+xml,*/*;q=0.8", Accept_Language="fr")), ("fr", "ltr", "Ce lien ne fonctionne pas"))
    expect(w.ask("GET", "/v1/unsubscribe/x", status=404, Accept="*/*")["type"], "/problems/not-found")


def forged(w):
    """What we have not signed is no link, whichever part of it was changed; and no door to anything else."""
    good = w.token("demo", "gus", "news")
    w.ok(200, "PUT", "/v1/users/gus/preferences", {"workflows": None})
    mac = len(good) - 43
    wrong = [good[:i] + ("A" if good[i] != "A" else "B") + good[i + 1:] for i in (0, 4, 12, mac - 1, mac + 2, len(good) - 4)]
    wrong += [good[:-4], good + "AAAA", "x", "A" * 43, "A" * 44, "A" * 4000, "%20" + good, good[:10] + "." + good[10:], w.token("demo", "gus", "news", key=b"k" * 32),
              w.token("demo", "gus", "news", form=2), w.token("demo", "gus", "no id"), w.token("demo", "", "news")]
    for token in wrong:
        for method in ("GET", "POST"):
            said = w.ask(method, "/v1/unsubscribe/" + token, b"List-Unsubscribe=One-Click" if method == "POST" else None, status=404)
            expect(said["type"], "/problems/not-found", token)
            assert "cut" in said["detail"], said
    expect(w.wishes("gus"), {}, "nothing happened")
    expect(w.ask("PUT", "/v1/unsubscribe/" + good, status=405)["type"], "/problems/method-not-allowed")
    expect(w.ask("PUT", "/v1/users/gus/preferences", b"{}", status=401)["type"], "/problems/unauthorized")
    # of another app: its people, and no one of this name here
    w.ask("POST", "/v1/unsubscribe/" + w.token("other", "gus", "news"), b"x")
    expect(w.wishes("gus"), {})
    # who was erased, or never was, is not made by a click
    for user in ("zoe", "nobody"):
        if user == "zoe":
            w.ok(201, "PUT", "/v1/users/zoe", {"email": "zoe@example.org"})
            w.ok(204, "DELETE", "/v1/users/zoe")
        w.ask("POST", "/v1/unsubscribe/" + w.token("demo", user, "news"), b"x")
        w.ok(404, "GET", f"/v1/users/{user}/preferences")


def many(w):
    """Someone whose wishes are all that there may be can unsubscribe still."""
    w.ok(201, "PUT", "/v1/users/may", {"email": "may@example.org"})
    w.ok(200, "PUT", "/v1/users/may/preferences", {"workflows": {f"w{i}": {"push": False} for i in range(500)}})
    expect(w.s.call("PUT", "/v1/users/may/preferences", {"workflows": {"news": {"email": False}}})[0], 422)
    w.ask("POST", "/v1/unsubscribe/" + w.token("demo", "may", "news"), b"x")
    expect(w.trigger("news", "may", "opted_out"), ["delivered", "opted_out"])
    expect(len(w.wishes("may")), 501)
    w.ok(200, "PUT", "/v1/users/may/preferences", {"workflows": {"w7": {"push": True}}})
    expect(w.s.call("PUT", "/v1/users/may/preferences", {"workflows": {"w501": {"email": False}}})[0], 422)


def limits(w):
    """Strangers are slowed here as well."""
    w.s.options += ("--rate-per-address", "3")
    w.again(public_url=PUBLIC)
    link = "/v1/unsubscribe/" + w.token("demo", "gus", "alarm")
    seen = set()
    for _ in range(12):
        c = http.client.HTTPConnection("127.0.0.1", w.s.http, timeout=20)
        c.request("POST", link, b"List-Unsubscribe=One-Click")
        answer = c.getresponse()
        answer.read()
        seen.add(answer.status)
        assert answer.status == 200 or answer.headers["Retry-After"], answer.status
        c.close()
    expect(seen, {200, 429})
    w.s.options = w.s.options[:-2]


def owners(w):
    """The owner's own page is preferred; links of before hold with it, and with no providers at all; the key is nobody else's, and a backup has it."""
    old = "/v1/unsubscribe/" + w.token("demo", "gus", "news")
    key = w.s.data + "/keys/unsubscribe.key"
    expect(stat.S_IMODE(os.stat(key).st_mode), 0o600)
    w.again(public_url=PUBLIC, unsubscribe_url="https://app.example/u?user={user}&workflow={workflow}")
    w.ok(200, "PUT", "/v1/users/gus/preferences", {"workflows": None})
    expect(w.mail("news", "gus")["list-unsubscribe"], "<https://app.example/u?user=gus&workflow=news>")
    w.again()
    expect(w.mail("news", "gus")["list-unsubscribe"], None)
    w.ask("POST", old, b"x")
    expect(w.wishes("gus"), {"news": {"email": False}})
    w.s.stop()
    w.s.options = ("--providers", "none")
    w.s.start()
    assert "No more e-mails" in w.ask("GET", old)[1]
    status, said = w.s.tool("backup", "--data", w.s.data, w.s.dir + "/copy")
    expect(status, 0, said)
    with open(key) as one, open(w.s.dir + "/copy/keys/unsubscribe.key") as other:
        expect(one.read(), other.read())
    w.s.stop()
    w.s.check()
    w.s.options = ("--providers", w.s.dir + "/providers.json")
    for wrong in ("http://kith.example", "https://", "https://kith.example/?a=b", "https://kith.example/#x", "kith.example"):
        w.providers(public_url=wrong)
        said = w.s.fails()
        assert "provider mx: public_url: must be an https URL" in said, said
    w.providers(public_url=PUBLIC)
    with open(key, "w") as f:
        f.write("short\n")
    assert "unsubscribe.key: not a key of 32 bytes" in w.s.fails()


def main():
    if not mailserver.there():
        peers.skip("python3-aiosmtpd is not installed")
    w = World()
    for name in ("news", "alarm"):
        w.ok(201, "PUT", f"/v1/workflows/{name}", {"channels": ["inapp", "email"], "templates": {"en": {"title": "{what}", "body": "{what}"}}})
    for part in (click, languages, forged, many, limits, owners):
        part(w)
    w.s.lines()
    shutil.rmtree(w.s.dir)
    w.mails.close()


main()
