"""Notifications that leave the server: push, mail and webhooks from the trigger to the other side and back into why, totals and dead letters; retries, addresses that are no more, what is
withdrawn, what a restart leaves. The other side is Node's HTTP/2 (test/peers/services.mjs), and Debian's aiosmtpd (test/peers/mailserver.py)."""
import base64, datetime, email, email.policy, json, shutil, subprocess, time

import certificate, mailserver, peers
from harness import Server, eventually, expect


def raw(text):
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def until(fn, seconds=30):
    def look():
        assert fn(), "it does not come to be"
    eventually(look, seconds)


class World:
    def __init__(self):
        self.services = peers.Device("services.mjs", peers.CACHE)
        self.s = Server(start=False)
        cert, key = certificate.make(self.s.dir)
        self.base = f"https://127.0.0.1:{self.services.do('start', cert=cert, key=key)}"
        rsa = subprocess.run(["openssl", "genpkey", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048"], check=True, capture_output=True, text=True).stdout
        self.mails = mailserver.MailServer(cert, key) if mailserver.there() else None
        account = {"type": "service_account", "project_id": "my-app", "private_key_id": "k1", "private_key": rsa, "client_email": "push@my-app.example", "token_uri": self.base + "/token"}
        subprocess.run(["openssl", "genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-out", self.s.dir + "/apns.p8"], check=True, capture_output=True)
        apns = {"channel": "apns", "key_file": "apns.p8", "key_id": "ABC123DEFG", "team_id": "DEF123GHIJ", "topic": "com.example.app", "ca_file": "server.pem"}
        with open(self.s.dir + "/providers.json", "w") as f:
            json.dump({"providers": [{"name": "google", "channel": "fcm", "service_account": account, "base_url": self.base, "ca_file": "server.pem"},
                                     {**apns, "name": "apple-down", "base_url": "https://127.0.0.1:9"}, {**apns, "name": "apple", "base_url": self.base},
                                     {"name": "mx", "channel": "email", "host": "localhost", "port": self.mails.ports[0] if self.mails else 9, "from": "no-reply@example.com", "user": "kith",
                                      "password": "pass word", "ca_file": "server.pem", "unsubscribe_url": "https://app.example/u?user={user}&workflow={workflow}"},
                                     {"name": "hooks", "channel": "webhook", "allow_private": True, "ca_file": "server.pem"}]}, f)
        self.s.options = ("--providers", self.s.dir + "/providers.json", "--shards", "2")
        self.s.start()
        self.s.make_key()

    def requests(self, path=None):
        return [q for q in self.services.do("taken")["requests"] if q["path"] != "/token" and path in (None, q["path"])]

    def script(self, path, *answers):
        self.services.do("script", path=path, answers=list(answers))

    def ok(self, status, method, path, body=None):
        got, said = self.s.call(method, path, body)
        expect(got, status, (method, path, said))
        return said

    def workflow(self, id, **more):
        status, said = self.s.call("PUT", f"/v1/workflows/{id}", {"channels": ["inapp", "push"], "templates": {"en": {"title": "{actor}", "body": "{actor} likes {what}"}}, **more})
        assert status in (200, 201), said

    def trigger(self, workflow, user, what, **more):
        return self.ok(202, "POST", "/v1/notifications", {"workflow": workflow, "to": {"users": [user]}, "actor": "ann", "data": {"what": what}, **more})["id"]

    def decisions(self, trigger, user):
        return [d["decision"] for d in self.ok(200, "GET", f"/v1/notifications/{trigger}/why/{user}")["items"]]

    def until(self, trigger, user, decision):
        until(lambda: decision in self.decisions(trigger, user))
        return self.decisions(trigger, user)

    def totals(self, trigger):
        t = self.ok(200, "GET", f"/v1/notifications/{trigger}")
        return {k: t[k] for k in ("pushed", "mailed", "webhooks", "failed")}

    def letters(self):
        return self.ok(200, "GET", "/v1/dead-letters")["items"]


def push(w):
    """To each device, by its provider; in the person's language; told in why and counted."""
    w.workflow("like", templates={"en": {"title": "{actor}", "body": "{actor} likes {what}"}, "de": {"title": "{actor}", "body": "{actor} mag {what}"}})
    w.ok(201, "PUT", "/v1/users/ann", {"name": "Ann"})
    w.ok(201, "PUT", "/v1/users/bob", {"name": "Bob", "locale": "de"})
    alone = w.trigger("like", "bob", "nothing")
    expect(w.until(alone, "bob", "no_address"), ["delivered", "no_address"])
    w.ok(201, "PUT", "/v1/users/bob/devices/pixel", {"push": {"fcm": {"token": "t1"}}})
    w.ok(201, "PUT", "/v1/users/bob/devices/iphone", {"push": {"apns": {"token": "00fc13"}}})
    id = w.trigger("like", "bob", "tea")
    until(lambda: w.decisions(id, "bob").count("sent") == 2)
    expect(w.totals(id)["pushed"], 1, "people are counted")
    sent = w.requests()
    message = json.loads(raw([q for q in sent if q["path"].startswith("/v1/projects")][0]["body"]))["message"]
    expect(message["notification"], {"title": "Ann", "body": "Ann mag tea"})
    expect(json.loads(message["data"]["data"]), {"what": "tea"})
    (apple,) = [q for q in sent if "device" in q["path"]]
    expect(apple["path"], "/3/device/00fc13")
    said = json.loads(raw(apple["body"]))
    expect((said["id"], said["aps"]["sound"], apple["headers"]["apns-priority"]), (id, "default", "10"), "the app knows which it is, and it is heard at once")
    expect((message["data"]["id"], message["android"]["priority"], message["android"]["notification"]["sound"]), (id, "HIGH", "default"))
    said = w.decisions(id, "bob")
    expect((said[:2], sorted(said[2:])), (["delivered", "sending"], ["send_retry", "sent", "sent"]), "one went by the second provider")
    words = [d for d in w.ok(200, "GET", f"/v1/notifications/{id}/why/bob")["items"] if d["decision"] == "send_retry"]
    assert "apple-down" in json.dumps(words), words


def retries(w):
    """What fails for now is tried again; what fails for good is a dead letter, which can be sent again."""
    path = "/v1/projects/my-app/messages:send"
    w.ok(201, "PUT", "/v1/users/cat", {})
    w.ok(201, "PUT", "/v1/users/cat/devices/pixel", {"push": {"fcm": {"token": "t2"}}})
    w.requests()
    w.script(path, {"status": 500}, {"status": 500})
    id = w.trigger("like", "cat", "once more")
    until(lambda: "sent" in w.decisions(id, "cat"))
    expect(w.decisions(id, "cat"), ["delivered", "sending", "send_retry", "send_retry", "sent"])
    expect(len(w.requests(path)), 3)
    w.script(path, {"status": 400, "body": '{"error":{"status":"INVALID_ARGUMENT"}}'})
    id = w.trigger("like", "cat", "refused")
    w.until(id, "cat", "send_failed")
    expect(w.totals(id), {"pushed": 0, "mailed": 0, "webhooks": 0, "failed": 1})
    (letter,) = w.letters()
    expect({k: letter[k] for k in ("channel", "user", "trigger", "device", "provider", "reason", "attempts")},
           {"channel": "push", "user": "cat", "trigger": id, "device": "pixel", "provider": "google", "reason": "INVALID_ARGUMENT", "attempts": 1})
    expect(w.ok(202, "POST", f"/v1/dead-letters/{letter['id']}/retry"), {"id": letter["id"], "state": "sending"})
    until(lambda: w.totals(id)["pushed"] == 1)
    expect(w.letters(), [])
    w.ok(404, "POST", f"/v1/dead-letters/{letter['id']}/retry")
    w.ok(404, "POST", "/v1/dead-letters/none/retry")
    # pages, newest first
    for what in "abcde":
        w.script(path, {"status": 400, "body": '{"error":{"status":"INVALID_ARGUMENT"}}'})
        w.until(w.trigger("like", "cat", what), "cat", "send_failed")
    all_of = [letter["id"] for letter in w.letters()]
    expect((len(all_of), all_of), (5, sorted(all_of, reverse=True)))
    page = w.ok(200, "GET", "/v1/dead-letters?limit=3")
    rest = w.ok(200, "GET", f"/v1/dead-letters?limit=3&cursor={page['next']}")
    expect(([x["id"] for x in page["items"] + rest["items"]], rest["next"]), (all_of, None))
    # an address that is no more: forgotten, unless the device came with another meanwhile
    w.script(path, {"status": 404, "body": '{"error":{"status":"NOT_FOUND","details":[{"@type":"type.googleapis.com/google.firebase.fcm.v1.FcmError","errorCode":"UNREGISTERED"}]}}'})
    id = w.trigger("like", "cat", "gone")
    w.until(id, "cat", "send_failed")
    until(lambda: w.ok(200, "GET", "/v1/users/cat/devices")["items"][0]["push"] is False)
    expect(w.until(w.trigger("like", "cat", "again"), "cat", "no_address"), ["delivered", "no_address"])
    expect(len(w.letters()), 5, "no letter of it")


def withdrawn(w):
    """Read elsewhere while it waits to be tried again; and opted out of meanwhile."""
    path = "/v1/projects/my-app/messages:send"
    w.ok(201, "PUT", "/v1/users/dan", {})
    w.ok(201, "PUT", "/v1/users/dan/devices/pixel", {"push": {"fcm": {"token": "t3"}}})
    w.requests()
    w.script(path, *[{"status": 500}] * 100)
    one, two, three = (w.trigger("like", "dan", what) for what in ("one", "two", "three"))
    for id in (one, two, three):
        w.until(id, "dan", "send_retry")
    w.ok(200, "POST", "/v1/users/dan/notifications/read", {"ids": [one]})
    w.ok(204, "DELETE", f"/v1/notifications/{three}")
    w.ok(200, "PUT", "/v1/users/dan/preferences", {"workflows": {"like": {"push": False}}})

    def became(id, end):
        """All that was decided but how often it was tried: on a busy machine more than once."""
        w.until(id, "dan", end)
        said = w.decisions(id, "dan")
        return [d for n, d in enumerate(said) if d != "send_retry" or said[n - 1] != d]
    expect(became(one, "withdrawn"), ["delivered", "sending", "send_retry", "withdrawn", "seen", "read"])
    expect(became(two, "opted_out"), ["delivered", "sending", "send_retry", "opted_out"])
    expect(became(three, "withdrawn"), ["delivered", "sending", "send_retry", "cancelled", "withdrawn"])
    expect(len(w.requests(path)) <= sum(w.decisions(id, "dan").count("send_retry") for id in (one, two, three)), True, "what was tried is told")
    w.script(path)
    time.sleep(1.5)
    expect(w.requests(path), [], "none is tried again")


def escalations(w):
    """Two steps by one channel tell a person twice, and are counted once."""
    w.workflow("steps", escalate=[{"after": "1s", "to": "push"}, {"after": "2s", "to": "push"}])
    users = [f"step{n}" for n in range(40)]  # some of them in one partition
    for user in users:
        w.ok(201, "PUT", f"/v1/users/{user}/devices/pixel", {"push": {"fcm": {"token": "t-" + user}}})
    id = w.ok(202, "POST", "/v1/notifications", {"workflow": "steps", "to": {"users": users}, "actor": "ann", "data": {"what": "tea"}})["id"]
    for user in users:
        until(lambda: w.decisions(id, user).count("sent") == 2)
    expect(w.totals(id)["pushed"], 40)


def held(w):
    """Of a group that a pause held one push and one mail leave when it ends, with the words of the newest that is left."""
    w.workflow("fans", channels=["inapp", "push", "email"], group_by="object",
               templates={"en": {"title": "{others, plural, =0 {{actor}} other {{actor} and # others}}", "body": "{actor} says {what}"}})
    for name in ("Ann", "Bob", "Cat", "Dan"):
        w.s.call("PUT", f"/v1/users/{name.lower()}", {"name": name})
    w.ok(201, "PUT", "/v1/users/ida", {"email": "ida@example.org"})
    w.ok(201, "PUT", "/v1/users/ida/devices/pixel", {"push": {"fcm": {"token": "t9"}}})
    w.requests()
    end = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(seconds=2)
    w.ok(200, "PUT", "/v1/users/ida/preferences", {"paused_until": end.isoformat(timespec="milliseconds").replace("+00:00", "Z")})
    ids = [w.trigger("fans", "ida", f"{actor}'s", actor=actor, object="a song") for actor in ("ann", "bob", "cat", "dan")]
    w.ok(204, "DELETE", f"/v1/notifications/{ids[3]}")
    kept = [w.trigger("fans", "ida", "x", actor="bob", object="a film")]
    expect([w.decisions(id, "ida") for id in ids[:2]], [["delivered", "held"], ["grouped", "held"]])
    for id in (ids[2], kept[0]):
        until(lambda: w.decisions(id, "ida").count("sent") == (2 if w.mails else 1))
    expect([w.decisions(id, "ida") for id in ids[:2]], [["delivered", "held", "grouped"], ["grouped", "held", "grouped"]], "the newest told of all")
    time.sleep(.3)
    pushed = [json.loads(raw(q["body"]))["message"]["notification"] for q in w.requests("/v1/projects/my-app/messages:send")]
    expect(sorted((n["title"], n["body"]) for n in pushed), [("Bob", "Bob says x"), ("Cat and 2 others", "Cat says cat's")])
    if w.mails:
        mails = [email.message_from_bytes(raw(m["content"]), policy=email.policy.SMTP)["subject"] for m in w.mails.do("taken")["mails"]]
        expect(sorted(mails), ["Bob", "Cat and 2 others"])
    pause = lambda hours: w.ok(200, "PUT", "/v1/users/ida/preferences", {"paused_until": hours and (datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(hours=hours)).strftime("%FT%T.000Z")})
    pause(5)
    many = [w.trigger("like", "ida", str(n)) for n in range(70)]
    pause(3)
    time.sleep(.3)
    expect(w.decisions(many[0], "ida"), ["delivered", "held"], "sooner, but not yet")
    pause(None)
    for id in many:
        until(lambda: w.decisions(id, "ida")[-1:] == ["sent"])
        expect(w.decisions(id, "ida").count("sent"), 1)
    expect(w.ok(200, "GET", f"/v1/notifications/{many[0]}")["held"], 0)
    expect(len(w.requests("/v1/projects/my-app/messages:send")), 70, "what a pause held leaves when it is taken back, once")


def webhooks(w):
    """A channel of its own, and events: signed, tried again, told of failures."""
    hook = w.ok(201, "PUT", "/v1/webhooks/crm", {"url": w.base + "/hook", "events": ["notification.sent", "notification.read", "notification.failed"]})
    assert hook["secret"].startswith("whsec_")
    w.workflow("order", channels=["inapp", "webhook"])
    w.ok(201, "PUT", "/v1/users/eve", {})
    w.script("/hook", {"status": 503, "headers": {"retry-after": "1"}})
    id = w.trigger("order", "eve", "tea")
    until(lambda: w.totals(id)["webhooks"] == 1)
    tries = w.requests("/hook")
    expect(len(tries), 2)
    expect(len({q["headers"]["webhook-id"] for q in tries}), 1, "the same id, so that it is taken once")
    said = json.loads(raw(tries[1]["body"]))
    expect((said["type"], said["data"]["user"], said["data"]["notification"]["body"]), ("notification.sent", "eve", "Ann likes tea"))
    w.ok(200, "POST", "/v1/users/eve/notifications/read", {"ids": [id]})
    said = []
    until(lambda: said.extend(json.loads(raw(q["body"])) for q in w.requests("/hook")) or said)
    expect((said[0]["type"], said[0]["data"]["notification"]["id"]), ("notification.read", id))
    w.script("/v1/projects/my-app/messages:send", {"status": 400, "body": '{"error":{"status":"INVALID_ARGUMENT"}}'})
    w.ok(201, "PUT", "/v1/users/eve/devices/pixel", {"push": {"fcm": {"token": "t4"}}})
    w.trigger("like", "eve", "x")
    said = []
    until(lambda: said.extend(json.loads(raw(q["body"])) for q in w.requests("/hook")) or said)
    expect(said[0]["type"], "notification.failed")


def mails(w):
    """Subject, text and HTML of the template, escaped; one click to unsubscribe; an address that is none; DKIM's records at the start."""
    if not w.mails:
        print("skipped: mail, python3-aiosmtpd is not installed")
        return
    w.workflow("news", channels=["email"], templates={"en": {"title": "{actor}", "subject": "News from {actor}", "text": "Hi,\n{what}", "html": "<p>{what}</p>"}})
    w.ok(201, "PUT", "/v1/users/gus", {"name": "Gus", "email": "gus@example.org"})
    id = w.trigger("news", "gus", "tea & <cake>")
    expect(w.until(id, "gus", "sent"), ["sending", "sent"])
    (came,) = w.mails.do("taken")["mails"]
    read = email.message_from_bytes(raw(came["content"]), policy=email.policy.SMTP)
    expect((read["subject"], str(read["to"]), read["list-unsubscribe"]), ("News from Ann", "Gus <gus@example.org>", "<https://app.example/u?user=gus&workflow=news>"))
    expect([read.get_body((kind,)).get_content().strip().replace("\r\n", "\n") for kind in ("plain", "html")], ["Hi,\ntea & <cake>", "<p>tea &amp; &lt;cake&gt;</p>"])
    expect((came["tls"], came["user"], len(read.get_all("dkim-signature")), w.totals(id)["mailed"]), (True, "kith", 2, 1))
    expect(len([line for line in w.s.lines() if "_domainkey.example.com TXT v=DKIM1" in line.get("record", "")]), 2)
    w.ok(201, "PUT", "/v1/users/hal", {"email": "nobody@example.org"})
    id = w.trigger("news", "hal", "x")
    w.until(id, "hal", "send_failed")
    expect([x["reason"] for x in w.letters() if x["user"] == "hal"], ["550 5.1.1 no such user here"])


def restarts(w):
    """A stop waits for what is under way; what it leaves is in the records."""
    w.ok(201, "PUT", "/v1/users/fay", {})
    w.ok(201, "PUT", "/v1/users/fay/devices/pixel", {"push": {"fcm": {"token": "t5"}}})
    w.requests()
    w.script("/v1/projects/my-app/messages:send", {"status": 200, "body": "{}", "delay": 700}, {"status": 500})
    id, other = w.trigger("like", "fay", "slow"), w.trigger("like", "fay", "later")
    w.until(other, "fay", "send_retry")
    w.s.stop()
    w.s.start()
    until(lambda: w.totals(id)["pushed"] == 1)
    until(lambda: w.totals(other)["pushed"] == 1)
    expect(len(w.requests("/v1/projects/my-app/messages:send")), 3, "none twice")
    # killed while the other side has it: it is sent again, without waiting for its lease; what waits, waits
    w.requests()
    w.script("/v1/projects/my-app/messages:send", {"hang": True})
    id = w.trigger("like", "fay", "killed")
    asked = []
    until(lambda: asked.extend(w.requests("/v1/projects/my-app/messages:send")) or asked)
    w.s.kill()
    w.s.start()
    until(lambda: w.totals(id)["pushed"] == 1)
    expect(len(w.requests("/v1/projects/my-app/messages:send")), 1, "once more")
    w.ok(204, "DELETE", "/v1/users/cat")
    until(lambda: "cat" not in {x["user"] for x in w.letters()})


def main():
    if not shutil.which("node"):
        peers.skip("node is not installed")
    w = World()
    for part in (push, retries, withdrawn, escalations, held, webhooks, mails, restarts):
        part(w)
    w.s.stop()
    w.s.check()
    w.s.close()
    w.services.close()
    if w.mails:
        w.mails.close()


main()
