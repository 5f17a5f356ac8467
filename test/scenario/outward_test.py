"""What leaves the server, held to programs of others: a browser's push decryption (npm http_ece), receivers of webhooks (npm standardwebhooks, and Python's), Node's own cryptography for
the tokens of Web Push, APNs and FCM, mails read by Python's own parser and their DKIM signatures verified by dkimpy. test/peers/outward.c makes it all, in the server's own rooms."""
import base64, email, email.policy, json, os, site, subprocess, time

import harness, peers
from harness import expect

NOW = 1767323045678
ENDPOINT = "https://push.example.net/push/abc"
PROGRAM = os.path.join(os.path.dirname(harness.KITH), "outward")


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
        said = json.loads(line)
        assert said, f"{act}: not an act"
        return said

    def close(self):
        self.process.stdin.close()
        expect(self.process.wait(timeout=20), 0, "how the program ended")
        self.process.stdout.close()


def headers(text):
    lines = text.split("\r\n")
    expect(lines.pop(), "", "headers end in a line end")
    return {name.lower(): value for name, value in (line.split(": ", 1) for line in lines)}


def web_push(ours, keys, browser):
    subscription = browser.do("subscribe")
    for payload, pad_to, ahead in (("", 0, 0), ("hello", 0, 4), ("Zo\u00eb liked it \U0001f600" * 20, 0, 0), ("short", 1000, 0), ("x" * 3993, 0, 1)):
        q = ours.do("webpush", endpoint=ENDPOINT, payload=payload, pad_to=pad_to, ahead=ahead, now=NOW, **subscription)
        expect((q["err"], q["url"]), ("ok", ENDPOINT))
        body = raw(q["body"])
        assert len(body) <= 4096
        expect(browser.do("decrypt", body=q["body"]), payload, "what the browser reads")
        if pad_to:
            expect(len(body), 86 + pad_to + 17, "a padded length tells nothing")
        else:
            expect(len(body), browser.do("encrypted", payload=payload), "as long as another's")
    expect(ours.do("webpush", endpoint=ENDPOINT, payload="x" * 3994, now=NOW, **subscription)["err"], "limit")
    head = headers(q["head"])
    scheme, token, key = head["authorization"].replace(", k=", " ").replace("t=", "").split(" ")
    expect((scheme, key, head["content-encoding"], head["ttl"]), ("vapid", keys["p256"], "aes128gcm", "60"))
    said = browser.do("token", token=token, p256=key)
    expect(said, {"head": {"typ": "JWT", "alg": "ES256"}, "claims": {"aud": "https://push.example.net", "exp": NOW // 1000 + 12 * 3600, "sub": "mailto:ops@example.com"}})
    other = browser.do("subscribe")
    q = ours.do("webpush", endpoint=ENDPOINT, payload="for another", now=NOW, **subscription)
    try:
        browser.do("decrypt", body=q["body"])
        raise RuntimeError(f"{other} reads what is not for it")
    except AssertionError:
        pass


def tokens(ours, keys, browser):
    q = ours.do("apns", token="00fc13", title="Ann", body="liked it", now=NOW)
    said = browser.do("token", token=headers(q["head"])["authorization"].split(" ")[1], p256=keys["p256"])
    expect(said, {"head": {"alg": "ES256", "kid": "ABC123DEFG"}, "claims": {"iss": "DEF123GHIJ", "iat": NOW // 1000}})
    expect(json.loads(raw(q["body"])), {"aps": {"alert": {"title": "Ann", "body": "liked it"}}})
    expect(ours.do("fcm", token="t", title="Ann", body="b", now=NOW)["err"], "again")
    q = ours.do("fcm_token", now=NOW)
    expect(headers(q["head"])["content-type"], "application/x-www-form-urlencoded")
    fields = dict(pair.split("=", 1) for pair in raw(q["body"]).decode().split("&"))
    said = browser.do("token", token=fields["assertion"], rsa=keys["rsa"])
    expect(said["head"], {"alg": "RS256", "typ": "JWT", "kid": "k1"})
    expect(said["claims"], {"iss": "push@my-app.example", "scope": "https://www.googleapis.com/auth/firebase.messaging", "aud": q["url"], "iat": NOW // 1000, "exp": NOW // 1000 + 3600})
    expect(ours.do("answer", of="fcm_token", status=200, body='{"access_token":"ya29.x","expires_in":3599}', now=NOW)["verdict"], "delivered")
    q = ours.do("fcm", token="t", title="Ann", body="b \u2665", data='{"n":1}', now=NOW)
    expect((headers(q["head"])["authorization"], json.loads(raw(q["body"]))["message"]["data"]), ("Bearer ya29.x", {"data": '{"n":1}'}))
    expect(ours.do("answer", of="apns", status=410, body='{"reason":"Unregistered","timestamp":1}', now=NOW)["verdict"], "drop")


def webhooks(ours, keys, receiver):
    now, body = int(time.time() * 1000), json.dumps({"event": "notification.failed", "user": "Zo\u00eb"}, ensure_ascii=False)
    old, fresh = ours.do("keys")["secret"], keys["secret"]
    assert old != fresh
    head = headers(ours.do("sign", secrets=[old, fresh], id="msg_1", body=body, now=now)["head"])
    for secret in old, fresh:  # either will do while one replaces the other
        expect(receiver.do("receive", secret=secret, body=body, headers=head), json.loads(body))
    for changed in ({"body": body + " "}, {"headers": {**head, "webhook-id": "msg_2"}}, {"secret": ours.do("keys")["secret"]},
                    {"headers": {**head, "webhook-timestamp": str(now // 1000 - 3600)}}):
        try:
            receiver.do("receive", **{"secret": old, "body": body, "headers": head, **changed})
            raise RuntimeError(f"taken in spite of {changed}")
        except AssertionError as e:
            assert "WebhookVerificationError" in str(e), e
    expect(receiver.do("receiveAsymmetric", key=keys["webhook"], body=body, headers=head), True)
    signature = receiver.do("send", secret=fresh, id="msg_3", now=now, body=body)
    theirs = {"id": "msg_3", "timestamp": str(now // 1000), "signature": "v1,AAAA " + signature, "body": body, "now": now}
    expect(ours.do("verify", secrets=[old, fresh], **theirs)["err"], "ok")
    expect(ours.do("verify", secrets=[old], **theirs)["err"], "refused")
    expect(ours.do("verify", secrets=[fresh], **{**theirs, "now": now + 400000})["err"], "stale")


LETTER = {"from_name": "Example, \"Inc.\"", "from": "no-reply@example.com", "to_name": "Zo\u00eb \u0141ukasz", "to": "zoe+x@example.org",
          "subject": "Ann and 12 others liked it " + "\u0436\u0434\u0451\u043c \U0001f600 " * 20, "text": "Hi Zo\u00eb,\n\n" + "long " * 60 + "\n.\n=3D \nFrom her \n", "html": "<p style=\"x=y\">Zo\u00eb \u2665</p>",
          "id": "n1.7", "unsubscribe_url": "https://example.com/u?t=abc&x=%20y", "unsubscribe_address": "leave@example.com"}


def mails(ours, keys, verify):
    for change in ({}, {"html": ""}, {"text": "", "subject": ""}, {"subject": "one\r\nBcc: all@example.org", "to_name": ""}, {"text": "x  \n\n\n\n", "from_name": "A" * 300},
                   {"subject": "words " * 40}, {"subject": "=?UTF-8?Q?not=20encoded?="}, {"text": "\t \u2028 \r\nx\ry"}):
        m = {**LETTER, **change}
        said = ours.do("mail", now=NOW, **m)
        expect(said["err"], "ok", said["why"])
        text = raw(said["message"])
        assert all(len(line) <= 998 and b"\r" not in line and b"\n" not in line for line in text.split(b"\r\n"))
        read = email.message_from_bytes(text, policy=email.policy.SMTP)
        expect([str(d) for part in read.walk() for d in part.defects], [], "what Python finds wrong")
        expect(read["subject"], " ".join(m["subject"].split()))
        # Python keeps the spaces between two encoded words of a name, which RFC 2047 (6.2) drops
        expect((read["from"].addresses[0].addr_spec, read["from"].addresses[0].display_name.replace(" ", "")), (m["from"], m["from_name"][:256].replace(" ", "")))
        expect((read["to"].addresses[0].addr_spec, read["to"].addresses[0].display_name), (m["to"], m["to_name"]))
        expect((len(read.get_all("from")), read["bcc"], read["date"].datetime.isoformat(), read["message-id"]), (1, None, "2026-01-02T03:04:05+00:00", "<n1.7@example.com>"))
        expect((read["list-unsubscribe"].replace(" ", ""), read["list-unsubscribe-post"]),
               (f"<{m['unsubscribe_url']}>,<mailto:leave@example.com?subject=unsubscribe>", "List-Unsubscribe=One-Click"))
        lines = "\n".join(m["text"].replace("\r\n", "\n").replace("\r", "\n").split("\n"))
        body = read.get_body(("plain",)).get_payload(decode=True).decode().replace("\r\n", "\n")
        expect(body, lines if lines.endswith("\n") or not lines else lines + "\n")
        if m["html"]:
            expect(read.get_body(("html",)).get_content().strip(), m["html"])
        verify(text, keys)
    for wrong in ({"to": "a@b.c\r\nBcc: d@e.f"}, {"from": "x"}, {"unsubscribe_url": "http://example.com/"}, {"id": "a b"}):
        expect(ours.do("mail", now=NOW, **{**LETTER, **wrong})["err"], "malformed")


def verifier(home):
    """By dkimpy: both signatures hold, and neither does for a mail that was changed."""
    site.addsitedir(home)
    import dkim

    def verify(text, keys):
        records = {b"r1._domainkey.example.com.": keys["dkim_rsa"], b"e1._domainkey.example.com.": keys["dkim_ed25519"]}
        lookup = lambda name, timeout=5: records[name if isinstance(name, bytes) else name.encode()].encode()
        holds = lambda t, which: dkim.DKIM(t).verify(idx=which, dnsfunc=lookup)
        expect([holds(text, i) for i in (0, 1)], [True, True], "what dkimpy says")
        for changed in (text.replace(b"no-reply@", b"yes-reply@"), text + b"more\r\n", text.replace(b"\r\nDate:", b"\r\nFrom: x@y.z\r\nDate:")):
            for i in 0, 1:
                try:
                    good = holds(changed, i)
                except dkim.DKIMException:
                    good = False
                expect(good, False, "a mail that was changed")
    return verify


def main():
    if not os.path.exists(PROGRAM):
        peers.skip(f"{PROGRAM} is not built; it is where the sanitizers are")
    ours = Ours()
    keys = ours.do("keys")
    for package, parts in (("http_ece@1.2.1", (web_push, tokens)), ("standardwebhooks@1.0.0", (webhooks,))):
        try:
            other = peers.Device("outward.mjs", peers.npm(package))
        except peers.Missing as e:
            print("skipped:", e)
            continue
        for part in parts:
            part(ours, keys, other)
        other.close()
    try:
        verify = verifier(peers.pip("dkimpy[ed25519]", "1.1.8", "dkim, nacl.signing"))
    except peers.Missing as e:
        print("skipped:", e)
        verify = lambda text, keys: None
    mails(ours, keys, verify)
    ours.close()


main()
