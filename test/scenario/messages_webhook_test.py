"""Webhooks that hear of messages: one signed POST for each message that is stored, however it came and however often it was sent; the message as it is when the webhook is called; what is refused
is tried again and given up as any send; after a kill none is lost. The other side is Node's HTTP (test/peers/services.mjs)."""
import base64, datetime, hashlib, hmac, json, shutil, threading, time

import certificate, peers
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
        with open(self.s.dir + "/providers.json", "w") as f:
            json.dump({"providers": [{"name": "hooks", "channel": "webhook", "allow_private": True, "ca_file": "server.pem"}]}, f)
        self.s.options = ("--providers", self.s.dir + "/providers.json", "--shards", "2")
        self.s.start()
        self.s.make_key()
        self.came = []  # (path, request), all there were

    def ok(self, status, method, path, body=None):
        got, said = self.s.call(method, path, body)
        expect(got, status, (method, path, said))
        return said

    def hook(self, id, **more):
        return self.ok(201, "PUT", f"/v1/webhooks/{id}", {"url": f"{self.base}/{id}", **more})["secret"]

    def script(self, path, *answers):
        self.services.do("script", path=path, answers=list(answers))

    def requests(self, path, count=0):
        """All that came for it, when they are so many; and no further one a moment later."""
        def look():
            self.came += [(q["path"], q) for q in self.services.do("taken")["requests"]]
            return [q for p, q in self.came if p == path]
        until(lambda: len(look()) >= count)
        found = look()
        expect(len(found), count, (path, [raw(q["body"]) for q in found]))
        self.came = [(p, q) for p, q in self.came if p != path]
        return found

    def told(self, path, count):
        return [json.loads(raw(q["body"])) for q in self.requests(path, count)]

    def post(self, conversation, id, status=201, **more):
        return self.ok(status, "POST", f"/v1/conversations/{conversation}/messages", {"id": id, "from": "ann", "body": "tea?", **more})

    def letters(self):
        return self.ok(200, "GET", "/v1/dead-letters")["items"]


def verified(q, secret):
    """As Standard Webhooks asks."""
    head = q["headers"]
    said = f"{head['webhook-id']}.{head['webhook-timestamp']}.".encode() + raw(q["body"])
    want = base64.b64encode(hmac.new(base64.b64decode(secret[6:]), said, hashlib.sha256).digest()).decode()
    return "v1," + want in head["webhook-signature"].split(" ")


def stored(w):
    """Each message once; as GET shows it; only to those webhooks that ask."""
    w.post("ab", "before")
    secret = w.hook("chat", events=["message.created"])
    w.hook("other", events=["notification.read"])
    w.post("ab", "m1", data={"n": 1}, mentions=["bob"])
    w.post("ab", "m1", data={"n": 1}, mentions=["bob"])
    w.post("ab", "m1", 409, body="coffee?")
    w.post("ab", "m2", 422, reply_to="nothing")
    w.ok(404, "POST", "/v1/conversations/none/messages", {"from": "ann", "body": "x"})
    (q,) = w.requests("/chat", 1)
    assert verified(q, secret) and q["headers"]["content-type"] == "application/json", q["headers"]
    said = json.loads(raw(q["body"]))
    shown = w.ok(200, "GET", "/v1/conversations/ab/messages/m1")
    expect(said, {"type": "message.created", "timestamp": shown["created_at"], "data": shown})
    expect(shown["seq"], 2)
    # by a device, over MQTT; without an id
    done = w.s.pub("ann", "phone", w.s.token("ann", "phone"), "conversations/ab/messages", {"body": "by phone"})
    expect(done.returncode, 0, done)
    (said,) = w.told("/chat", 1)
    expect(said["data"], w.ok(200, "GET", f"/v1/conversations/ab/messages/{said['data']['id']}"))
    expect((said["data"]["body"], said["data"]["from"]), ("by phone", "ann"))
    w.post("ab", "sealed", ciphertexts=[{"user": "bob", "device": "d", "data": "xyz"}])
    expect(w.told("/chat", 1)[0]["data"], w.ok(200, "GET", "/v1/conversations/ab/messages/sealed"))
    # who edits, reacts, reads and is told of a notification makes no message
    w.ok(200, "PATCH", "/v1/conversations/ab/messages/m1", {"body": "edited"})
    w.ok(200, "POST", "/v1/conversations/ab/receipts?user=bob", {"read": 2})
    w.post("ab", "m3")
    expect(w.told("/chat", 1)[0]["data"]["id"], "m3")
    w.requests("/other", 0)


def rotated(w):
    """A secret takes another's place: for a day the one before signs too, and none that is older."""
    secrets = [w.ok(200, "GET", "/v1/webhooks/chat")["secret"]]
    for n in range(2):
        put = w.ok(200, "PUT", "/v1/webhooks/chat", {"rotate_secret": True})
        secrets.append(put["secret"])
        until_s = datetime.datetime.fromisoformat(put["old_secret_until"].replace("Z", "+00:00")).timestamp() - time.time()
        expect(24 * 3600 - 120 < until_s < 24 * 3600 + 120, True, put)
        w.post("ab", f"rotated{n}")
        (q,) = w.requests("/chat", 1)
        expect([verified(q, secret) for secret in secrets], [False] * n + [True, True])
    expect(len(set(secrets)), 3)


def late(w):
    """What is said is what holds when it is said."""
    w.script("/chat", *[{"status": 503}] * 100)
    w.post("ab", "edited", body="first")
    w.post("ab", "deleted", body="oh no")
    told = {"edited": [], "deleted": []}  # (what was said, under which id, what was answered)
    def look(enough):
        for q in w.services.do("taken")["requests"]:
            said = json.loads(raw(q["body"]))["data"]
            told[said["id"]].append((said, q["headers"]["webhook-id"], q["status"]))
        return all(enough(id, *tries[-1]) if tries else False for id, tries in told.items())
    until(lambda: look(lambda *_: True))
    expect([tries[0][0]["body"] for tries in told.values()], ["first", "oh no"])
    w.ok(200, "PATCH", "/v1/conversations/ab/messages/edited", {"body": "second"})
    w.ok(204, "DELETE", "/v1/conversations/ab/messages/deleted")
    def new(id, said, *_):
        return said["body"] == "second" if id == "edited" else sorted(said) == ["conversation", "deleted_at", "id", "seq"]
    until(lambda: look(new))
    w.script("/chat")
    until(lambda: look(lambda id, said, under, status: status == 200))
    for id, tries in told.items():
        news = [new(id, *one) for one in tries]
        expect((news, news[-1]), (sorted(news), True), (id, "what was before is never said again", tries))
        expect(len({under for _, under, _ in tries}), 1, "under the same id")


def letters(w):
    """What is refused for good is a dead letter, which names the message, and can be sent again."""
    w.script("/chat", {"status": 410})
    w.post("ab", "refused")
    until(w.letters)
    w.requests("/chat", 1)
    (letter,) = w.letters()
    expect({k: letter[k] for k in letter if k not in ("id", "created_at", "failed_at", "reason")},
           {"channel": "webhook", "conversation": "ab", "message": "refused", "event": "message.created", "webhook": "chat", "provider": "hooks", "attempts": 1})
    w.ok(202, "POST", f"/v1/dead-letters/{letter['id']}/retry")
    expect(w.told("/chat", 1)[0]["data"]["id"], "refused")
    expect(w.letters(), [])


def many(w):
    """Many at once, in many conversations, to two webhooks, while the server is killed: each at each, and ids that are no other's."""
    secret = w.hook("all")
    w.script("/chat", *[{"status": 200, "delay": 300}] * 10)
    for i in range(20):
        w.ok(201, "PUT", f"/v1/conversations/c{i}", {"type": "group", "members": ["ann", "bob"]})
    threads = [threading.Thread(target=lambda i=i: [w.post(f"c{i}", f"m{k}") for k in range(3)]) for i in range(20)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    w.s.kill()
    w.s.start()
    want = {(f"c{i}", f"m{k}") for i in range(20) for k in range(3)}
    got = {"/chat": {}, "/all": {}}
    def look():
        for q in w.services.do("taken")["requests"]:
            said = json.loads(raw(q["body"]))["data"]
            got[q["path"]].setdefault((said["conversation"], said["id"]), set()).add(q["headers"]["webhook-id"])
            assert q["path"] != "/all" or verified(q, secret)
        return all(set(x) == want for x in got.values())
    until(look)
    expect([len(ids) for x in got.values() for ids in x.values()], [1] * 120, "what came twice came under one id")
    expect(len(set().union(*(ids for x in got.values() for ids in x.values()))), 120, "and no id is another's")
    # no more of them than were stored: the turns of all are over
    w.ok(204, "DELETE", "/v1/webhooks/all")
    w.ok(204, "DELETE", "/v1/webhooks/chat")
    w.post("ab", "unheard")
    w.hook("after", events=["message.created"])
    w.post("ab", "heard")
    late = []
    def heard():  # what is said of a conversation leaves in its order
        late.extend(w.services.do("taken")["requests"])
        return any(q["path"] == "/after" for q in late)
    until(heard)
    (said,) = [json.loads(raw(q["body"]))["data"] for q in late if q["path"] == "/after"]
    expect(said["id"], "heard", "what was stored before a webhook is not for it")
    for q in late:
        said = json.loads(raw(q["body"]))["data"]
        if q["path"] != "/after":  # of before the kill some may come twice
            expect({q["headers"]["webhook-id"]}, got[q["path"]].get((said["conversation"], said["id"])), (q["path"], said, "no repetition, and its webhook is deleted"))
    w.ok(204, "DELETE", "/v1/webhooks/after")


def everyone(w):
    """One trigger for people of many partitions, in one millisecond: each of its webhooks has an id of its own."""
    w.hook("sent", events=["notification.sent"])
    w.ok(201, "PUT", "/v1/workflows/news", {"channels": ["webhook"], "templates": {"en": {"title": "x", "body": "y"}}})
    users = [f"u{i}" for i in range(40)]
    for u in users:
        w.ok(201, "PUT", f"/v1/users/{u}", {})
    w.ok(202, "POST", "/v1/notifications", {"workflow": "news", "to": {"users": users}})
    expect(len({q["headers"]["webhook-id"] for q in w.requests("/sent", 40)}), 40)


def main():
    if not shutil.which("node"):
        peers.skip("node is not installed")
    w = World()
    w.ok(201, "PUT", "/v1/users/ann", {"name": "Ann"})
    w.ok(201, "PUT", "/v1/conversations/ab", {"type": "direct", "members": ["ann", "bob"]})
    for part in (stored, rotated, late, letters, many, everyone):
        part(w)
    # what waits when the server ends is whole
    w.hook("down", events=["message.created"])
    w.script("/down", *[{"status": 503}] * 100)
    w.post("ab", "waits")
    until(lambda: any(q["path"] == "/down" for q in w.services.do("taken")["requests"]))
    w.s.stop()
    w.s.check()
    w.s.start()
    expect(w.ok(200, "GET", "/v1/conversations/ab/messages/waits")["body"], "tea?")
    w.s.stop()
    w.s.check()
    w.s.close()
    w.services.close()


main()
