"""The thread that sends, against counterparts that nobody here wrote: a browser's push decryption (npm http_ece), receivers of webhooks (npm standardwebhooks), Node's HTTP/2 behaving as
push services, APNs and FCM do, Debian's aiosmtpd behind STARTTLS and a password, dkimpy. test/peers/send.c is the side of a shard."""
import base64, email, email.policy, json, os, shutil, site, stat, subprocess, tempfile, time

import certificate, harness, mailserver, peers
from harness import expect

PROGRAM = os.path.join(os.path.dirname(harness.KITH), "send")


def raw(text):
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


class Ours:
    """The program on our side; each call is a line to it, and one back."""

    def __init__(self):
        self.process = subprocess.Popen([PROGRAM], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def do(self, act, **args):
        self.process.stdin.write(json.dumps({"act": act, **args}) + "\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        assert line, f"{act}: the program ended"
        return json.loads(line)

    def put(self, channel, **task):
        expect(self.do("put", channel=channel, **task)["took"], task.get("times", 1))

    def take(self, n=1, **args):
        """The results that came, by their ids."""
        said = self.do("take", n=n, **args)
        expect(len(said["results"]), n, "results")
        return sorted(said["results"], key=lambda r: r["id"])

    def one(self, channel, **task):
        self.put(channel, **task)
        return self.take()[0]

    def close(self):
        self.process.stdin.close()
        expect(self.process.wait(timeout=20), 0, "how the program ended")
        self.process.stdout.close()


class World:
    """All that a test stands on: our side, the services, files."""

    def __init__(self, services):
        self.dir = tempfile.mkdtemp()
        self.data = os.path.join(self.dir, "data")
        os.mkdir(self.data)
        self.cert, self.key = certificate.make(self.dir)
        self.ours, self.services = Ours(), services
        self.port = services.do("start", cert=self.cert, key=self.key)
        self.base = f"https://127.0.0.1:{self.port}"
        subprocess.run(["openssl", "genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-out", self.dir + "/apns.p8"], check=True, capture_output=True)
        rsa = subprocess.run(["openssl", "genpkey", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048"], check=True, capture_output=True, text=True).stdout
        with open(self.dir + "/account.json", "w") as f:
            json.dump({"type": "service_account", "project_id": "my-app", "private_key_id": "k1", "private_key": rsa, "client_email": "push@my-app.example", "token_uri": self.base + "/token"}, f)

    def start(self, *providers):
        """Our side, anew, with these providers; relative names of files are in our folder."""
        file = self.dir + "/providers.json"
        with open(file, "w") as f:
            json.dump({"providers": [{"ca_file": "server.pem", **p} for p in providers]}, f)
        said = self.ours.do("start", providers=file, data=self.data)
        expect(said["err"], "ok", said["why"])

    def requests(self):
        return self.services.do("taken")["requests"]

    def script(self, path, *answers):
        self.services.do("script", path=path, answers=list(answers))

    def close(self):
        self.ours.close()
        shutil.rmtree(self.dir)


APNS = {"name": "apple", "channel": "apns", "key_file": "apns.p8", "key_id": "ABC123DEFG", "team_id": "DEF123GHIJ", "topic": "com.example.app", "timeout": "1s"}
FCM = {"name": "google", "channel": "fcm", "service_account_file": "account.json"}


def wrong_settings(w):
    """What is wrong with the file is said with the provider and the field."""
    def said(providers):
        with open(w.dir + "/wrong.json", "w") as f:
            f.write(providers if isinstance(providers, str) else json.dumps({"providers": providers}))
        said = w.ours.do("start", providers=w.dir + "/wrong.json", data=w.data)
        expect(said["err"] in ("malformed", "missing"), True, said)
        return said["why"].split("wrong.json", 1)[1]

    mail = {"name": "m", "channel": "email", "host": "mx.example.com", "from": "a@example.com"}
    for providers, words in (
            ("{", " is not {\"providers\": [...]}"), ([7], ": provider 1: not an object"), ([{"channel": "fcm"}], ": provider 1: name"), ([{"name": "x", "channel": "sms"}], ": provider x: channel: is"),
            ([{**APNS, "topic": None}], ": provider 1: topic"), ([{k: v for k, v in APNS.items() if k != "topic"}], ": provider apple: topic: is missing"),
            ([{**APNS, "host": "x"}], ": provider apple: host: is no field of this channel"), ([{**APNS, "what": 1}], ": provider 1: what"),
            ([{**APNS, "key_file": "server.pem"}], ": provider apple: key_file: "), ([{**APNS, "key_file": "nowhere"}], f": provider apple: key_file: {w.dir}/nowhere cannot be read"),
            ([APNS, APNS], ": provider apple: name: there are two"), ([{**FCM, "service_account_file": "server.pem"}], ": provider google: service_account_file: not the JSON"),
            ([{**APNS, "timeout": "1"}], ": provider apple: timeout: "), ([{**APNS, "rate_per_second": 0}], ": provider apple: rate_per_second: "), ([{**APNS, "concurrency": 0}], ": provider apple: concurrency: "),
            ([{**APNS, "base_url": "ftp://x"}], ": provider apple: base_url: "), ([{**APNS, "ca_file": "apns.p8"}], ": provider apple: ca_file: holds no certificate"),
            ([{**mail, "tls": "maybe"}], ": provider m: tls: "), ([{**mail, "from": "me"}], ": provider m: from: "), ([{**mail, "user": "x"}], ": provider m: user: "), ([{**mail, "host": "a/b"}], ": provider m: host: "),
            ([{"name": "w", "channel": "webpush", "subject": "me"}], ": provider w: subject: ")):
        expect(said(providers)[:len(words)], words)
    with open(w.dir + "/wrong.json", "w") as f:
        json.dump({"providers": [{**APNS, "ca_file": "/etc/ca.pem"}, FCM]}, f)
    expect(w.ours.do("files", providers=w.dir + "/wrong.json")["files"], [w.dir + "/wrong.json", "/etc/ca.pem", w.dir + "/apns.p8", w.dir + "/account.json"])


def web_push(w, browser):
    w.start({"name": "web", "channel": "webpush", "subject": "mailto:ops@example.com", "allow_private": True})
    subscription, endpoint = browser.do("subscribe"), w.base + "/push/abc"
    push = lambda **more: w.ours.one("webpush", **{"endpoint": endpoint, "title": "Ann", "body": "liked it", **subscription, **more})
    r = push(id=9, message_id="n1", data='{"n":1}', badge=3, high=True, collapse_key="likes", ttl_ms=60500)
    expect((r["id"], r["verdict"], r["provider"], r["channel"]), (9, "delivered", "web", "webpush"))
    (q,) = w.requests()
    head = q["headers"]
    expect((q["path"], q["version"], head["urgency"], head["topic"], head["content-encoding"]), ("/push/abc", "2.0", "high", "likes", "aes128gcm"))
    assert 55 <= int(head["ttl"]) <= 60, head["ttl"]
    expect(json.loads(browser.do("decrypt", body=q["body"])), {"id": "n1", "title": "Ann", "body": "liked it", "badge": 3, "data": {"n": 1}})
    token = head["authorization"].split("t=")[1].split(",")[0]
    key = w.ours.do("about")["webpush"]
    expect(browser.do("token", token=token, p256=key)["claims"]["aud"], w.base)
    expect(len(raw(key)), 65)
    push(body="\u0436" * 5000)  # cut at a character
    (q,) = w.requests()
    text = json.loads(browser.do("decrypt", body=q["body"]))["body"]
    assert 1500 < len(text) < 2000 and text.endswith("\u0436\u2026"), len(text)
    for status, verdict in ((404, "drop"), (410, "drop"), (413, "give up"), (500, "retry"), (302, "give up")):
        w.script("/push/abc", {"status": status, "headers": {"location": w.base + "/push/elsewhere"}})
        r = push()
        expect((r["verdict"], r["failover"], r["reason"]), (verdict, False, f"status {status}"), status)
        expect(len(w.requests()), 1, "one request, no redirect followed")
    w.script("/push/abc", {"status": 403}, {"status": 403})
    expect(push()["verdict"], "give up", "a key of another")
    expect(len({q["headers"]["authorization"] for q in w.requests()}), 2, "a new token was tried, once")
    w.script("/push/abc", {"status": 429, "headers": {"retry-after": "2"}})
    r = push()
    expect((r["verdict"], r["retry_after_ms"]), ("retry", 2000))
    r = push()
    expect((r["verdict"], r["reason"]), ("retry", "paused: it asked us to wait"))
    assert 0 < r["retry_after_ms"] <= 2000, r
    other = w.base.replace("127.0.0.1", "localhost") + "/push/other"
    expect(push(endpoint=other)["verdict"], "delivered", "another service is not paused")
    w.ours.do("ahead", ms=3000)
    expect(push()["verdict"], "delivered", "after the pause")
    expect(push(ttl_ms=-1)["reason"], "expired")
    expect(push(endpoint="http://example.com/x")["verdict"], "give up")
    w.requests()
    w.start({"name": "web", "channel": "webpush"})
    for endpoint in (w.base + "/push/abc", other):
        r = push(endpoint=endpoint)
        expect((r["verdict"], r["reason"]), ("give up", "the address is not a public one"))
    expect(w.requests(), [], "nobody within was asked")
    w.start({"name": "web", "channel": "webpush", "base_url": w.base})
    expect((push(endpoint="https://push.example.net/push/far")["verdict"], w.requests()[0]["path"]), ("delivered", "/push/far"), "by way of the owner's own")


def apns(w):
    w.start({**APNS, "base_url": w.base}, {**APNS, "name": "apple-too", "base_url": w.base})
    sessions = w.services.do("taken")["sessions"]
    w.ours.put("apns", token="00fc13", title="Ann", body="liked it", times=200, high=True)
    expect({(r["verdict"], r["message_id"]) for r in w.ours.take(200)}, {("delivered", "EC1BF194-B3B2-424A-89A9-5A918A6E6B5F")})
    said = w.services.do("taken")
    assert said["sessions"] - sessions <= 4, f"connections are kept: {said['sessions'] - sessions}"
    q = said["requests"][0]
    expect((q["path"], q["version"], q["headers"]["apns-topic"], q["headers"]["apns-priority"]), ("/3/device/00fc13", "2.0", "com.example.app", "10"))
    bearer = q["headers"]["authorization"]
    r = w.ours.one("apns", token="dead", title="x")
    expect((r["verdict"], r["reason"], r["gone_since_ms"]), ("drop", "Unregistered", 1767323045000))
    w.requests()
    w.services.do("refuse", authorization=bearer)
    expect(w.ours.one("apns", token="00fc13", title="x")["verdict"], "delivered", "one that is refused early is made anew once")
    bearer = w.requests()[-1]["headers"]["authorization"]
    w.services.do("refuse", authorization=bearer)
    r = w.ours.one("apns", token="00fc13", title="x")
    expect((r["verdict"], r["reason"], r["failover"], r["next"]), ("retry", "ExpiredProviderToken", True, 1), "Apple allows no new token yet")
    w.ours.do("ahead", ms=25 * 60000)
    w.requests()
    expect(w.ours.one("apns", token="00fc13", title="x")["verdict"], "delivered", "with a new token")
    (q,) = w.requests()
    assert q["headers"]["authorization"] != bearer
    w.services.do("refuse", authorization=q["headers"]["authorization"])
    w.ours.do("ahead", ms=50 * 60000)
    expect(w.ours.one("apns", token="00fc13", title="x")["verdict"], "delivered", "refused, and again with a new one at once")
    expect([r["headers"]["authorization"] == q["headers"]["authorization"] for r in w.requests()], [True, False])
    expect(w.ours.do("counts", channel="apns")["renewed"], 2)
    w.script("/3/device/01", {"status": 429, "body": '{"reason":"TooManyRequests"}'}, {"status": 503, "body": '{"reason":"ServiceUnavailable"}', "headers": {"retry-after": "30"}})
    expect(w.ours.one("apns", token="01", title="x")["verdict"], "retry", "too many for one device")
    expect(w.ours.one("apns", token="02", title="x")["verdict"], "delivered", "which pauses nobody")
    r = w.ours.one("apns", token="01", title="x")
    expect((r["verdict"], r["retry_after_ms"], r["failover"], r["next"]), ("retry", 30000, True, 1))
    r = w.ours.one("apns", token="02", title="x")
    expect((r["reason"], r["failover"], r["next"], r["provider"]), ("paused: it asked us to wait", True, 1, "apple"))
    r = w.ours.one("apns", token="02", title="x", provider=1)
    expect((r["verdict"], r["provider"]), ("delivered", "apple-too"))
    w.script("/3/device/03", {"hang": True}, {"status": 500})
    r = w.ours.one("apns", token="03", title="x", provider=1)
    expect((r["verdict"], r["failover"], r["next"]), ("retry", False, 0), "no answer, and there is none behind it")
    assert 900 < r["took_ms"] < 9000 and "imeout" in r["reason"], r
    expect(w.ours.one("apns", token="xyz", title="x", provider=1)["verdict"], "give up", "no such token can be")
    w.start({**APNS, "base_url": "https://127.0.0.1:9"}, {**APNS, "name": "apple-too", "base_url": w.base, "app": "shop"})
    expect((w.ours.one("apns", token="01", title="x")["failover"], w.ours.one("apns", token="01", title="x", app="shop")["failover"]), (False, True), "one serves an app only")
    w.ours.do("ahead", ms=0)


def fcm(w):
    w.services.do("tokens_fail", times=1)
    w.start({**FCM, "base_url": w.base})
    w.requests()
    r = w.ours.one("fcm", token="t1", title="x")
    expect((r["verdict"], r["reason"]), ("retry", 'no access token: {"error":"unavailable"}'))
    expect(w.ours.one("fcm", token="t1", title="x")["reason"], "paused: it asked us to wait")
    w.ours.do("ahead", ms=11000)
    w.ours.put("fcm", token="t1", title="Ann", body="liked it", times=50)
    expect({(r["verdict"], r["message_id"]) for r in w.ours.take(50)}, {("delivered", "projects/my-app/messages/1")})
    said = w.services.do("taken")
    expect((said["tokens"], [q["path"] for q in said["requests"]].count("/token")), (1, 2), "one token for all")
    path = "/v1/projects/my-app/messages:send"
    q = [q for q in said["requests"] if q["path"] == path][0]
    expect((q["headers"]["authorization"], json.loads(raw(q["body"]))["message"]["notification"]), ("Bearer ya29.1", {"title": "Ann", "body": "liked it"}))
    w.services.do("refuse", authorization="Bearer ya29.1")
    expect(w.ours.one("fcm", token="t1", title="x")["verdict"], "delivered", "with a token bought anew")
    expect([q["headers"].get("authorization") for q in w.requests()], ["Bearer ya29.1", None, "Bearer ya29.2"])
    error = lambda status, code: {"status": status, "body": json.dumps({"error": {"status": "X", "details": [{"@type": "type.googleapis.com/google.firebase.fcm.v1.FcmError", "errorCode": code}]}})}
    w.script(path, error(404, "UNREGISTERED"), error(400, "INVALID_ARGUMENT"), error(403, "PERMISSION_DENIED"), error(429, "QUOTA_EXCEEDED"))
    expect([w.ours.one("fcm", token="t1", title="x")[k] for k in ("verdict", "reason") for _ in "1"], ["drop", "INVALID_ARGUMENT"])
    expect(w.ours.one("fcm", token="t1", title="x")["verdict"], "retry", "we are refused, not the message")
    r = w.ours.one("fcm", token="t1", title="x")
    expect((r["verdict"], r["retry_after_ms"]), ("retry", 60000))
    expect(w.ours.one("fcm", token="t1", title="x")["reason"], "paused: it asked us to wait")
    w.ours.do("ahead", ms=0)


def webhooks(w, receiver):
    w.start({"name": "hooks", "channel": "webhook", "allow_private": True, "timeout": "3s", "concurrency": 8})
    w.ours.do("ahead", ms=0)
    about = w.ours.do("about")
    body = json.dumps({"type": "notification.failed", "user": "Zo\u00eb"}, ensure_ascii=False)
    hook = lambda path="/hook", **more: w.ours.one("webhook", **{"url": w.base + path, "message_id": "msg_1", "payload": body, "secrets": [about["secret"]], **more})
    expect(hook()["verdict"], "delivered")
    (q,) = w.requests()
    head = {k: v for k, v in q["headers"].items() if k.startswith("webhook-")}
    expect((raw(q["body"]).decode(), q["headers"]["content-type"], q["headers"]["user-agent"]), (body, "application/json", "kith"))
    expect(receiver.do("receive", secret=about["secret"], body=body, headers=head), json.loads(body))
    expect(receiver.do("receiveAsymmetric", key=about["webhook"], body=body, headers=head), True)
    for status, verdict in ((204, "delivered"), (410, "drop"), (404, "retry"), (500, "retry"), (307, "retry")):
        w.script("/hook", {"status": status, "headers": {"location": w.base + "/elsewhere"}})
        expect(hook()["verdict"], verdict, status)
        expect([q["path"] for q in w.requests()], ["/hook"], "no redirect is followed")
    w.script("/hook", {"status": 200, "fill": 1 << 20}, {"status": 500, "fill": 10000})
    expect((hook()["verdict"], len(hook()["reason"])), ("delivered", 95), "what answers at length is cut off")
    for url in ("https://user@example.com/", "file:///etc/passwd", "https://"):
        expect((hook(url=url)["verdict"], hook(url=url)["reason"]), ("give up", "the URL is not an https one"), url)
    expect(hook(url="https://nowhere.invalid/")["verdict"], "retry")
    w.requests()
    # one partner that does not answer holds up nobody else: it has a quarter of the provider
    w.script("/slow", *[{"hang": True}] * 4)
    w.ours.put("webhook", url=w.base + "/slow", message_id="m", payload="{}", secrets=[about["secret"]], times=4)
    time.sleep(0.1)
    w.ours.put("webhook", url=w.base.replace("127.0.0.1", "localhost") + "/hook", message_id="m", payload="{}", secrets=[about["secret"]], times=20, shard=1)
    expect({r["verdict"] for r in w.ours.take(20, shard=1)}, {"delivered"})
    c = w.ours.do("counts", channel="webhook")
    expect(c["flying"] + c["waiting"], 4, "not held up by another, who has not answered yet")
    expect({r["verdict"] for r in w.ours.take(4)}, {"retry"}, "and it is left after its timeout")
    # who has only errors is left alone for a moment
    w.ours.do("ahead", ms=2000)
    expect(hook()["verdict"], "delivered")
    w.script("/hook", *[{"status": 500}] * 5)
    w.requests()
    expect([hook()["reason"] for _ in "123456"], ["status 500"] * 5 + ["paused: it does not answer"])
    expect(len(w.requests()), 5)
    w.ours.do("ahead", ms=4000)
    expect(hook()["verdict"], "delivered")
    w.ours.do("ahead", ms=0)
    # without the owner's word: https only, and nobody within
    w.start({"name": "hooks", "channel": "webhook"})
    w.requests()
    expect((hook()["reason"], hook(url="http://example.com/")["reason"]), ("the address is not a public one", "the URL is not an https one"))
    expect(w.requests(), [])


def limits(w):
    w.start({"name": "hooks", "channel": "webhook", "allow_private": True, "rate_per_second": 40, "concurrency": 4})
    secret = w.ours.do("about")["secret"]
    began = time.monotonic()
    w.ours.put("webhook", url=w.base + "/hook", message_id="m", payload="{}", secrets=[secret], times=24)
    expect({r["verdict"] for r in w.ours.take(24)}, {"delivered"})
    took = time.monotonic() - began
    assert 0.4 < took < 10, f"24 at 40 a second took {took:.2f} s"
    c = w.ours.do("counts", channel="webhook")
    expect((c["sent"], c["answers"], c["waiting"], c["flying"]), (24, 24, 0, 0))
    # what is out is bounded; what is under way at the end is let go
    w.start({"name": "hooks", "channel": "webhook", "allow_private": True, "rate_per_second": 1})
    expect(w.ours.do("put", channel="webhook", url=w.base + "/hook", message_id="m", payload="{}", secrets=[secret], times=5000)["took"], 4096)
    w.ours.do("stop")
    w.start()
    expect(w.ours.one("fcm", token="t", title="x")["reason"], "no provider of this channel is configured")
    said = w.ours.do("start", providers="none", data=w.data)
    expect((said["err"], w.ours.do("about")["webpush"]), ("ok", ""))
    expect(w.ours.one("webhook", url=w.base + "/hook", payload="{}")["verdict"], "give up")


def mails(w):
    server = mailserver.MailServer(w.cert, w.key)
    mx = {"channel": "email", "host": "localhost", "port": server.ports[0], "from": "no-reply@example.com", "from_name": "Example", "user": "kith", "password": "pass word", "concurrency": 1}
    plain = {**mx, "name": "plain", "port": server.ports[1]}
    w.start({**mx, "name": "mx"}, plain, {**mx, "name": "stranger", "password": "x"})
    letter = {"address": "zoe@example.org", "address_name": "Zo\u00eb", "title": "Ann liked it", "body": "Hi Zo\u00eb,\n.\n..\nAnn liked it\n", "html": "<p>Ann liked it</p>", "message_id": "n1.7", "unsubscribe_url": "https://example.com/u?t=1"}
    w.ours.put("email", **letter, times=5)
    expect({(r["verdict"], r["message_id"]) for r in w.ours.take(5)}, {("delivered", "2.0.0 queued as 4Zk")})
    came = server.do("taken")["mails"]
    expect({(m["from"], tuple(m["to"]), m["tls"], m["user"]) for m in came}, {("no-reply@example.com", ("zoe@example.org",), True, "kith")})
    expect((len(came), len({m["session"] for m in came})), (5, 1), "several mails over one connection")
    text = raw(came[0]["content"])
    read = email.message_from_bytes(text, policy=email.policy.SMTP)
    expect(read.get_body(("plain",)).get_payload(decode=True).decode().replace("\r\n", "\n"), letter["body"])
    expect((read["message-id"], read["list-unsubscribe"], read["list-unsubscribe-post"]), ("<n1.7@example.com>", "<https://example.com/u?t=1>", "List-Unsubscribe=One-Click"))
    records = dict(line.split(" TXT ") for line in w.ours.do("about")["dkim"].splitlines())
    expect(sorted(records), ["kith-ed25519._domainkey.example.com", "kith-rsa._domainkey.example.com"])
    try:
        site.addsitedir(peers.pip("dkimpy[ed25519]", "1.1.8", "dkim, nacl.signing"))
        import dkim
        lookup = lambda name, timeout=5: records[(name if isinstance(name, str) else name.decode()).rstrip(".")].encode()
        expect([dkim.DKIM(text).verify(idx=i, dnsfunc=lookup) for i in (0, 1)], [True, True], "what dkimpy says")
    except peers.Missing as e:
        print("skipped:", e)
    for who, verdict, reason in (("nobody", "drop", "550 5.1.1 no such user here"), ("nosuchdomain", "drop", "550 no mailbox here"), ("later", "retry", "451 4.7.1 greylisted, come again"),
                                 ("spam", "give up", "554 5.7.1 looks like spam")):
        r = w.ours.one("email", **{**letter, "address": who + "@example.org"})
        expect((r["verdict"], r["reason"], r["failover"]), (verdict, reason, False), who)
    r = w.ours.one("email", **letter, provider=1)
    expect((r["verdict"], r["failover"], r["next"]), ("retry", True, 2), "no STARTTLS, no mail")
    r = w.ours.one("email", **letter, provider=2)
    expect((r["verdict"], r["failover"], r["next"], r["reason"][:3]), ("retry", False, 0, "535"))
    expect(w.ours.one("email", **{**letter, "address": "a@b.c\r\nRCPT TO:<d@e.f>"})["verdict"], "give up")
    expect(server.do("taken")["mails"], [], "none of them left")
    w.start({k: v for k, v in plain.items() if k not in ("user", "password")} | {"tls": "none", "dkim": False})
    expect(w.ours.one("email", **letter)["verdict"], "delivered", "as the owner says: in the clear")
    (m,) = server.do("taken")["mails"]
    assert m["tls"] is False and b"DKIM" not in raw(m["content"])
    server.close()


def keys(w):
    """What was made at the first start is there at the next, and nobody else's to read."""
    folder = os.path.join(w.data, "keys")
    names = sorted(os.listdir(folder))
    expect(names, ["dkim-ed25519.pem", "dkim-rsa.pem", "vapid.pem", "webhook.pem"])
    expect({stat.S_IMODE(os.stat(os.path.join(folder, n)).st_mode) for n in names}, {0o600})
    w.start()
    before = w.ours.do("about")
    w.start()
    after = w.ours.do("about")
    expect((after["webpush"], after["webhook"]), (before["webpush"], before["webhook"]))
    with open(os.path.join(folder, "vapid.pem"), "w") as f:
        f.write("x")
    said = w.ours.do("start", data=w.data)
    assert said["err"] == "malformed" and "vapid.pem" in said["why"], said


def main():
    if not os.path.exists(PROGRAM):
        peers.skip(f"{PROGRAM} is not built; it is where the sanitizers are")
    if not shutil.which("node"):
        peers.skip("node is not installed")
    services = peers.Device("services.mjs", peers.CACHE)
    w = World(services)
    wrong_settings(w)
    for package, part in (("http_ece@1.2.1", web_push), ("standardwebhooks@1.0.0", webhooks)):
        try:
            other = peers.Device("outward.mjs", peers.npm(package))
        except peers.Missing as e:
            print("skipped:", e)
            continue
        part(w, other)
        other.close()
    for part in (apns, fcm, limits):
        part(w)
    if not mailserver.there():
        print("skipped: mail, python3-aiosmtpd is not installed")
    else:
        mails(w)
        keys(w)
    w.close()
    services.process.kill()
    services.process.wait()


main()
