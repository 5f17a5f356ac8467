"""What is said: ids that make a send happen once, order without gaps, limits, edits, deletes, reactions, replies, mentions, what disappears; told to devices as it happens."""
import datetime, threading, time, urllib.parse
from harness import expect, eventually
from lanes import both
from mqtt import Client

G = "/v1/conversations/g"


def device(s, user, name):
    d = Client(s.mqtt, name, s.token(user, name))
    d.subscribe(f"users/{user}/#")
    return d


def told(d, count, topic="/messages"):
    return [p.json() for p in d.messages(count, topic=topic)]


def quiet(d, why):
    expect([p.json() for p in d.messages(seconds=0.6, quiet=0.3, topic="/messages")], [], why)


def once(s):
    """The same id again gives the first answer; with other content or from another it is a conflict."""
    c = s.call
    post = lambda body, **more: c("POST", G + "/messages", body, **more)
    first = post({"id": "m1", "from": "ann", "body": "one", "data": {"a": 1, "b": [1.5, "x"]}, "media": [{"url": "u"}], "mentions": ["bob"]})
    expect(first[0], 201)
    for body in ({"id": "m1", "from": "ann", "body": "one", "data": {"a": 1, "b": [1.5, "x"]}, "media": [{"url": "u"}], "mentions": ["bob"]},
                 {"mentions": ["bob"], "media": [{"url": "u"}], "data": {"a": 1, "b": [1.5, "x"]}, "body": "one", "from": "ann", "id": "m1"}):
        expect(post(body), first, "the same again")
    for change in ({"body": "two"}, {"data": {"a": 2}}, {"media": []}, {"mentions": ["cid"]}, {"from": "bob"}, {"reply_to": "m1"}):
        said = post({**{"id": "m1", "from": "ann", "body": "one", "data": {"a": 1, "b": [1.5, "x"]}, "media": [{"url": "u"}], "mentions": ["bob"]}, **change})
        expect((said[0], said[1]["type"], said[1]["field"]), (409, "/problems/conflict", "id"), str(change))
    expect(post({"id": "m1", "from": "ann"})[0], 422, "nothing said")
    expect(c("POST", "/v1/conversations/h/messages", {"id": "m1", "from": "ann", "body": "elsewhere"})[1]["seq"], 1, "an id is of its conversation")
    # what was sent stays sent, whatever became of it
    expect(post({"id": "m2", "from": "ann", "body": "first"})[0], 201)
    expect(c("PATCH", G + "/messages/m2", {"body": "second"})[0], 200)
    expect(post({"id": "m2", "from": "ann", "body": "first"})[1]["seq"], 2, "the same again after an edit")
    expect(post({"id": "m2", "from": "ann", "body": "third"})[0], 409, "other content after an edit")
    expect(post({"id": "m2", "from": "bob", "body": "first"})[0], 409)
    expect(c("DELETE", G + "/messages/m2")[0], 204)
    expect(post({"id": "m2", "from": "ann", "body": "first"})[1].get("deleted_at") is not None, True, "the same again after it was deleted")
    expect(post({"id": "m2", "from": "ann", "body": "second"})[0], 409, "other content after it was deleted")
    # the header does as the id does
    key = {"Idempotency-Key": "k-1"}
    one = post({"from": "ann", "body": "by key"}, headers=key)
    expect(post({"from": "ann", "body": "by key"}, headers=key), one)
    expect(post({"from": "ann", "body": "other"}, headers=key)[0], 409)
    expect(post({"from": "bob", "body": "by key"}, headers=key)[0], 409, "another sender")
    expect(post({"body": "by key"}, headers=key, key=s.token("bob", "bob-k"))[1]["seq"], one[1]["seq"] + 1, "keys of two callers are two")
    # over MQTT it is the same
    ann = Client(s.mqtt, "ann-once", s.token("ann", "ann-once"))
    expect(ann.publish("conversations/g/messages", {"id": "q1", "body": "mqtt"}).reason, 0)
    expect(ann.publish("conversations/g/messages", {"id": "q1", "body": "mqtt"}, dup=True).reason, 0)
    ack = ann.publish("conversations/g/messages", {"id": "q1", "body": "else"})
    expect((ack.reason >= 0x80, bool(ack.words)), (True, True), "a conflict has words")
    expect(post({"id": "q1", "from": "ann", "body": "mqtt"})[1]["seq"], c("GET", G)[1]["last_seq"], "and across both")
    ann.disconnect()


def refused(s):
    c = s.call
    ann = s.token("ann", "ann-r")
    last = c("GET", G)[1]["last_seq"]
    for body, status, field in (({"body": 1}, 400, "body"), ({"body": "x", "colour": 1}, 400, "colour"), ({"id": "no spaces", "body": "x"}, 422, "id"),
                                ({"id": "i" * 65, "body": "x"}, 422, "id"), ({"body": "x", "mentions": "bob"}, 400, "mentions"), ({"body": "x", "mentions": [1]}, 400, "mentions"),
                                ({"body": "x", "mentions": ["b b"]}, 422, "mentions"), ({"body": "x", "media": {}}, 400, "media"), ({"body": "x", "reply_to": "nope"}, 422, "reply_to"),
                                ({}, 422, "body"), ({"from": "bob", "body": "x"}, 403, "from"), ({"body": "x", "seq": 5}, 400, "seq"), ({"body": "x", "created_at": "now"}, 400, "created_at"),
                                ({"body": "x" * 65537}, 413, "body"), ({"ciphertexts": [{"user": "bob"}]}, 422, "ciphertexts"), ({"ciphertexts": "x"}, 400, "ciphertexts")):
        got, said = c("POST", G + "/messages", body, key=ann)
        expect((got, said.get("field")), (status, field), str(body)[:60])
    for raw, status in ((b"", 400), (b"[]", 400), (b"{", 400), (b'"x"', 400), (b'{"body":"\xff"}', 400), (b'{"body":"a","body":"b"}', 400)):
        expect(c("POST", G + "/messages", raw, key=ann)[0], status, str(raw))
    expect(c("POST", G + "/messages", {"body": "x"})[1]["field"], "from", "a key names the sender")
    expect(c("POST", G + "/messages", {"from": "eve", "body": "x"})[1]["type"], "/problems/not-a-member")
    expect(c("GET", G)[1]["last_seq"], last, "what was refused took no seq")
    whole = "é" * 32768
    expect(c("POST", G + "/messages", {"id": "whole", "from": "ann", "body": whole})[1]["body"] == whole, True, "64 KiB")
    expect(c("PATCH", G + "/messages/whole", {"data": "x" * 10})[0], 413, "an edit beyond 64 KiB")
    expect(c("POST", G + "/messages", {"from": "ann", "body": ""})[1]["body"], "", "empty is something")
    expect(c("POST", G + "/messages", {"from": "ann", "data": None})[0] in (201, 422), True)


def changes(s):
    """Edits and deletes reach who was told, in order; what they read later is the new text."""
    c = s.call
    b, a2 = device(s, "bob", "bob-c"), device(s, "ann", "ann-c")
    ann, bob = s.token("ann", "ann-x"), s.token("bob", "bob-x")
    c("POST", G + "/messages", {"id": "e1", "body": "wrong", "data": {"k": 1}}, key=ann)
    expect(c("PATCH", G + "/messages/e1", {"body": "right"}, key=ann)[1]["data"], {"k": 1}, "what is absent stays")
    expect(c("PATCH", G + "/messages/e1", {"data": None}, key=ann)[1].get("data"), None, "null clears")
    expect(c("PATCH", G + "/messages/e1", {"body": None}, key=ann)[0], 422, "nothing would be left")
    expect(c("PATCH", G + "/messages/e1", {"id": "e2"}, key=ann)[1]["field"], "id")
    expect(c("PATCH", G + "/messages/e1", {"body": "mine"}, key=bob)[0], 403)
    expect(c("PATCH", G + "/messages/e1?user=bob", {"body": "mine"})[0], 403, "a key that acts for bob may what bob may")
    expect(c("PATCH", G + "/messages/nope", {"body": "x"}, key=ann)[0], 404)
    expect(c("DELETE", G + "/messages/e1", key=ann)[0], 204)
    expect(c("DELETE", G + "/messages/e1", key=ann)[0], 204, "again")
    expect(c("PATCH", G + "/messages/e1", {"body": "back"}, key=ann)[0], 404, "it is gone")
    expect(c("DELETE", G + "/messages/nope", key=ann)[0], 404)
    for d in (b, a2):
        seen = told(d, 4)
        expect([(m["event"], m["id"]) for m in seen], [("created", "e1"), ("updated", "e1"), ("updated", "e1"), ("deleted", "e1")], "in order")
        expect(sorted(seen[3]), ["conversation", "cursor", "deleted_at", "event", "id", "seq"], "a stub")
        quiet(d, "a repeated delete says nothing")
        d.disconnect()
    expect([e["message"].get("body") for e in c("GET", "/v1/users/bob/mailbox?limit=200")[1]["items"] if e["type"] == "message" and e["message"]["id"] == "e1"], [None] * 4,
           "who reads late sees no deleted text")
    stub = c("GET", G + "/messages/e1", key=bob)[1]
    expect(sorted(stub), ["conversation", "deleted_at", "id", "seq"])


def reactions(s):
    c = s.call
    ann, bob = s.token("ann", "ann-y"), s.token("bob", "bob-y")
    c("POST", G + "/messages", {"id": "r1", "from": "ann", "body": "like it"})
    d = device(s, "ann", "ann-z")
    at = lambda emoji, m="r1": f"{G}/messages/{m}/reactions/{urllib.parse.quote(emoji, safe='')}"
    counts = lambda: c("GET", G + "/messages/r1")[1].get("reactions")
    up, kiss = "\U0001F44D", "\U0001F469\U0001F3FB\u200D\u2764\uFE0F\u200D\U0001F48B\u200D\U0001F468\U0001F3FF"
    expect([c("PUT", at(up), key=bob)[0], c("PUT", at(up), key=bob)[0], c("PUT", at(up), key=ann)[0], c("PUT", at(kiss), key=bob)[0]], [201, 200, 201, 201])
    expect(counts(), {up: 2, kiss: 1}, "the same twice counts once")
    expect(c("PUT", at("+1") + "?user=cid")[0], 201, "a key acts for cid")
    expect(c("PUT", at("+1"))[1]["field"], "user")
    expect([c("DELETE", at(up), key=bob)[0], c("DELETE", at(up), key=bob)[0], c("DELETE", at(kiss), key=ann)[0]], [204] * 3, "removed, again, and another's stays")
    expect(counts(), {up: 1, kiss: 1, "+1": 1})
    seen = [m["reactions"] for m in told(d, 5)]
    expect(seen[-1], {up: 1, kiss: 1, "+1": 1}, "told live")
    quiet(d, "what changes nothing is not told")
    expect([c("DELETE", at(e), key=k)[0] for e, k in ((up, ann), (kiss, bob))] + [c("DELETE", at("+1") + "?user=cid")[0]], [204] * 3)
    expect(counts(), None, "none are left")
    for emoji, status in (("x" * 64, 201), ("x" * 65, 422)):
        expect(c("PUT", at(emoji), key=bob)[0], status, f"{len(emoji)} bytes")
    expect(c("PUT", f"{G}/messages/r1/reactions/%ff", key=bob)[0] in (400, 422), True, "not UTF-8")
    for i in range(63):
        expect(c("PUT", at(f"k{i}"), key=bob)[0], 201)
    expect(c("PUT", at("k64"), key=bob)[1]["type"], "/problems/limit-reached", "65 kinds")
    expect(c("PUT", at("k5"), key=ann)[0], 201, "one of those that are there")
    expect(len(counts()), 64)
    eve = s.token("eve", "eve-y")
    expect([c("PUT", at(up), key=eve)[0], c("PUT", at(up, "nope"), key=bob)[0]], [404, 404])
    c("DELETE", G + "/messages/r1")
    expect([c("PUT", at(up), key=bob)[0], c("DELETE", at("k5"), key=ann)[0]], [404, 204], "on what is gone")
    d.disconnect()


def threads(s):
    c = s.call
    ann = s.token("ann", "ann-t")
    c("POST", G + "/messages", {"id": "t0", "from": "ann", "body": "thread"})
    for i in range(7):
        expect(c("POST", G + "/messages", {"id": f"t0.{i}", "from": "bob", "body": "re", "reply_to": "t0"})[1]["reply_to"], "t0")
        c("POST", G + "/messages", {"from": "cid", "body": "between"})
    expect(c("POST", G + "/messages", {"id": "deep", "from": "ann", "body": "re re", "reply_to": "t0.3"})[0], 201)
    seen, cursor = [], ""
    while cursor is not None:
        page = c("GET", f"{G}/messages/t0/replies?limit=3" + (f"&cursor={cursor}" if cursor else ""), key=ann)[1]
        assert len(page["items"]) <= 3
        if not seen:  # meanwhile one more, and one goes
            c("POST", G + "/messages", {"id": "t0.7", "from": "bob", "body": "re", "reply_to": "t0"})
            c("DELETE", G + "/messages/t0.1")
        seen += [m["id"] for m in page["items"]]
        cursor = page["next"]
    expect(seen, [f"t0.{i}" for i in range(6, -1, -1)], "newest first, each once")
    replies = lambda m: c("GET", f"{G}/messages/{m}/replies", key=ann)
    expect([m["id"] for m in replies("t0")[1]["items"]][0], "t0.7")
    expect("deleted_at" in replies("t0")[1]["items"][6], True, "a deleted reply stays as a stub")
    expect([m["id"] for m in replies("t0.3")[1]["items"]], ["deep"], "a thread of its own")
    expect(replies("t0.4")[1], {"items": [], "next": None})
    expect(replies("nope")[0], 404)
    c("DELETE", G + "/messages/t0")
    expect(len(replies("t0")[1]["items"]), 8, "replies stay when what they answer goes")
    expect([c("GET", f"{G}/messages/t0/replies?{q}", key=ann)[0] for q in ("limit=0", "limit=201", "limit=x", "cursor=x", "cursor=b1-2")], [422, 422, 422, 400, 410])


def mentions(s):
    c = s.call
    d = device(s, "bob", "bob-m")
    many = [f"u{i}" for i in range(100)]
    c("POST", G + "/messages", {"id": "at", "from": "ann", "body": "@bob @cid", "mentions": ["bob", "cid"]})
    c("POST", G + "/messages", {"id": "at2", "from": "ann", "body": "@all", "mentions": many})
    first, second = told(d, 2)
    expect((first["mentions"], second["mentions"]), (["bob", "cid"], many))
    expect(c("GET", G + "/messages/at")[1]["mentions"], ["bob", "cid"])
    expect(c("PATCH", G + "/messages/at", {"body": "hi"})[1]["mentions"], ["bob", "cid"], "an edit keeps them")
    d.disconnect()


def sealed(s):
    """Each device is given what was sealed for it, and nothing of what was for others: live, in the mailbox, in history."""
    c, p = s.call, "/v1/conversations/sealed"
    c("PUT", p, {"type": "group", "members": ["ann", "bob", "cid"]})
    tokens = {d: s.token("bob", d) for d in ("bob-s1", "bob-s2", "bob-s3")}
    eventually(lambda: expect("sealed" in [r["id"] for r in c("GET", "/v1/users/bob/conversations")[1]["items"]], True))
    live = {d: Client(s.mqtt, d, t) for d, t in tokens.items()}
    for d in live.values():
        d.subscribe("users/bob/messages")
    boxes = [{"user": "bob", "device": "bob-s1", "data": "one"}, {"user": "bob", "device": "bob-s2", "data": "two"}, {"user": "cid", "device": "bob-s3", "data": "cid's"}]
    expect(c("POST", p + "/messages", {"id": "s1", "from": "ann", "ciphertexts": boxes})[0], 201)
    for i, (d, token) in enumerate(tokens.items()):
        want = boxes[i:i + 1] if i < 2 else None
        expect(live[d].message().json().get("ciphertexts"), want, f"live to {d}")
        expect(c("GET", p + "/messages/s1", key=token)[1].get("ciphertexts"), want, f"history to {d}")
        entry = [e["message"] for e in c("GET", "/v1/users/bob/mailbox?limit=200", key=token)[1]["items"] if e["type"] == "message" and e["message"]["id"] == "s1"]
        expect([m.get("ciphertexts") for m in entry], [want], f"mailbox to {d}")
        row = next(r for r in c("GET", "/v1/users/bob/conversations", key=token)[1]["items"] if r["id"] == "sealed")
        expect(row["last"].get("ciphertexts"), want, f"the newest to {d}")
        live[d].disconnect()
    expect(c("POST", p + "/messages", {"id": "s1", "from": "ann", "ciphertexts": boxes})[0], 201, "the same again")
    expect(c("POST", p + "/messages", {"id": "s1", "from": "ann", "ciphertexts": boxes[:2]})[0], 409)


def disappearing(s):
    """Asked when reading: nobody sees it afterwards, on any way."""
    c = s.call
    ann = s.token("ann", "ann-d")
    p = "/v1/conversations/gone"
    c("PUT", p, {"type": "group", "members": ["ann", "bob"], "disappear_after": "3s"})
    said = c("POST", p + "/messages", {"id": "d1", "from": "bob", "body": "soon gone"})[1]
    gone_s = datetime.datetime.fromisoformat(said["created_at"]).timestamp() + 3
    c("PUT", p, {"disappear_after": None})
    c("POST", p + "/messages", {"id": "d2", "from": "bob", "body": "stays"})
    row = lambda: next(r for r in c("GET", "/v1/users/ann/conversations?limit=200")[1]["items"] if r["id"] == "gone")
    eventually(lambda: expect(row()["unread"], 2))
    expect(c("GET", p + "/messages/d1", key=ann)[1]["body"], "soon gone")
    time.sleep(max(0, gone_s - time.time()) + 0.1)
    stub = c("GET", p + "/messages/d1", key=ann)[1]
    expect((sorted(stub), stub["seq"]), (["conversation", "deleted_at", "id", "seq"], 1))
    expect([m.get("body") for m in c("GET", p + "/messages")[1]["items"]], ["stays", None])
    expect(row()["unread"], 1, "what is gone is not unread")
    expect([e["message"].get("body") for e in c("GET", "/v1/users/ann/mailbox?limit=200")[1]["items"] if e["type"] == "message" and e["message"]["conversation"] == "gone"],
           [None, "stays"])
    expect([c("PATCH", p + "/messages/d1", {"body": "x"})[0], c("PUT", p + "/messages/d1/reactions/x", key=ann)[0], c("DELETE", p + "/messages/d1")[0]], [404, 404, 204])
    expect(c("POST", p + "/messages", {"id": "d1", "from": "bob", "body": "soon gone"})[0], 201, "its id stays taken")
    expect(c("POST", p + "/messages", {"id": "d1", "from": "bob", "body": "other"})[0], 409)


def order(s):
    """Eight at once, over HTTP and MQTT: one order without gaps, the same for all, and each once."""
    c = s.call
    p = "/v1/conversations/busy"
    people = [f"p{i}" for i in range(8)]
    c("PUT", p, {"type": "group", "members": people + ["watch"]})
    w = device(s, "watch", "watch-1")
    answers, errors = {}, []

    def http(user, token):
        for i in range(25):
            status, said = c("POST", p + "/messages", {"id": f"{user}-{i}", "body": f"{user} {i}"}, key=token)
            again = c("POST", p + "/messages", {"id": f"{user}-{i}", "body": f"{user} {i}"}, key=token)
            if status != 201 or again != (status, said):
                errors.append((status, said, again))
            answers[said.get("id")] = said.get("seq")

    def mqtt(user, token):
        d = Client(s.mqtt, user + "-d", token)
        for i in range(25):
            if d.publish(f"conversations/busy/messages", {"id": f"{user}-{i}", "body": f"{user} {i}"}, seconds=20).reason:
                errors.append((user, i))
        d.disconnect()

    threads_ = [threading.Thread(target=mqtt if i % 2 else http, args=(u, s.token(u, u + "-d"))) for i, u in enumerate(people)]
    for t in threads_:
        t.start()
    for t in threads_:
        t.join()
    expect(errors, [])
    listed = []
    cursor = ""
    while cursor is not None:
        page = c("GET", p + f"/messages?limit=64&" + (f"cursor={cursor}" if cursor else "after=0"))[1]
        listed += page["items"]
        cursor = page["next"]
    expect([m["seq"] for m in listed], list(range(1, 201)), "no gaps")
    expect(len({m["id"] for m in listed}), 200, "each once")
    for m in listed:
        if m["id"] in answers:
            expect(m["seq"], answers[m["id"]], "as it was answered")
    for user in people:
        expect([m["id"] for m in listed if m["from"] == user], [f"{user}-{i}" for i in range(25)], "each sender's own order")
    live = told(w, 200)
    expect([(m["seq"], m["id"]) for m in live], [(m["seq"], m["id"]) for m in listed], "live, in the same order")
    boxes = []
    for user in ("watch", "p0"):
        got, cursor = [], ""
        while cursor is not None:
            page = c("GET", f"/v1/users/{user}/mailbox?limit=50" + (f"&cursor={cursor}" if cursor else ""))[1]
            got += [e["message"]["seq"] for e in page["items"] if e["type"] == "message"]
            cursor = page["next"]
        boxes.append(got)
    expect(boxes, [list(range(1, 201))] * 2, "the mailbox, the sender's own too")
    w.disconnect()


def story(s):
    s.call("PUT", G, {"type": "group", "members": ["ann", "bob", "cid"]})
    s.call("PUT", "/v1/conversations/h", {"type": "group", "members": ["ann", "bob"]})
    for part in (once, refused, changes, reactions, threads, mentions, sealed, disappearing, order):
        part(s)


both(story)
