"""What is unread is counted exactly; receipts only move forward; muting and archiving are each member's own."""
import threading, time
from harness import expect, eventually
from lanes import both
from mqtt import Client


def row(s, user, conversation):
    return next((r for r in s.call("GET", f"/v1/users/{user}/conversations?limit=200")[1]["items"] if r["id"] == conversation), None)


def unread(s, user, conversation, count):
    eventually(lambda: expect(row(s, user, conversation)["unread"], count, f"unread of {user} in {conversation}"))
    one = s.call("GET", f"/v1/conversations/{conversation}?user={user}")[1]
    same = ("id", "type", "member_count", "last", "unread", "read", "delivered")
    eventually(lambda: expect({k: one[k] for k in same}, {k: row(s, user, conversation)[k] for k in same}, f"{conversation} alone and as listed for {user}"))


def marks(s, user, conversation, delivered, read):
    def same():
        r = row(s, user, conversation)
        expect((r["delivered"], r["read"]), (delivered, read), f"marks of {user}")
    eventually(same)


def counting(s):
    for kind in ("direct", "group", "channel"):
        c, g = s.call, "u-" + kind
        p = f"/v1/conversations/{g}"
        c("PUT", p, {"type": kind, "members": ["ann", "bob"]})
        post = lambda user, id: expect(c("POST", p + "/messages", {"id": id, "from": user, "body": id})[0], 201)
        for i in range(5):
            post("ann", f"a{i}")
        unread(s, "bob", g, 5)
        unread(s, "ann", g, 0)
        post("bob", "b0")
        unread(s, "bob", g, 5)  # one's own does not count, nor does writing read
        unread(s, "ann", g, 1)
        c("PATCH", p + "/messages/a1", {"body": "edited"})
        c("PUT", p + "/messages/a1/reactions/x?user=ann")
        c("DELETE", p + "/messages/a2")
        unread(s, "bob", g, 4)
        c("DELETE", p + "/messages/a2")
        unread(s, "bob", g, 4)
        read = lambda user, **at: c("POST", p + "/receipts?user=" + user, at)
        expect(read("bob", read=2), (200, {"user": "bob", "delivered": 2, "read": 2}), "reading is being delivered")
        unread(s, "bob", g, 2)
        c("DELETE", p + "/messages/a0")  # read already
        unread(s, "bob", g, 2)
        expect(read("bob", delivered=5)[1], {"user": "bob", "delivered": 5, "read": 2})
        unread(s, "bob", g, 2)
        expect(read("bob", read=1)[1], {"user": "bob", "delivered": 5, "read": 2}, "a lower one is ignored")
        expect(read("bob", read=0, delivered=0)[1], {"user": "bob", "delivered": 5, "read": 2})
        expect([read("bob", **at)[0] for at in ({"read": 7}, {"delivered": 7}, {"read": -1}, {}, {"read": 1.5}, {"read": "1"}, {"seen": 1})], [422, 422, 422, 422, 400, 400, 400])
        marks(s, "bob", g, 5, 2)
        expect(read("bob", read=6)[1]["read"], 6)
        unread(s, "bob", g, 0)
        post("ann", "late")
        unread(s, "bob", g, 1)
        expect([read("eve", read=1)[0], c("POST", p + "/receipts", {"read": 1})[0]], [404, 422])


def forward(s):
    """Many devices at once: what is told and what is kept never goes back."""
    c, p = s.call, "/v1/conversations/fwd"
    c("PUT", p, {"type": "group", "members": ["ann", "bob"]})
    for i in range(60):
        c("POST", p + "/messages", {"from": "ann", "body": "x"})
    eventually(lambda: row(s, "ann", "fwd"))
    w = Client(s.mqtt, "ann-w", s.token("ann", "ann-w"))
    w.subscribe("users/ann/receipts")
    answers = [[] for _ in range(4)]

    def reader(n):
        for i in range(n, 60, 4):
            status, said = c("POST", p + "/receipts?user=bob", {"read": i + 1})
            answers[n].append((status, said["read"] >= i + 1))
    threads = [threading.Thread(target=reader, args=(n,)) for n in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    expect([a for one in answers for a in one], [(200, True)] * 60)
    told = [w.message().json()]
    while told[-1]["read"] < 60:  # how many are told in one, is open
        told.append(w.message().json())
    told += [m.json() for m in w.messages()]
    expect({m["user"] for m in told}, {"bob"})
    reads = [m["read"] for m in told]
    expect((reads, reads[-1]), (sorted(reads), 60), "told in rising order, to the last")
    expect(all(m["delivered"] >= m["read"] for m in told), True)
    marks(s, "bob", "fwd", 60, 60)
    listed = {m["user"]: (m["delivered"], m["read"]) for m in c("GET", p + "/receipts")[1]["items"]}
    expect((listed["bob"], listed["ann"][1]), ((60, 60), 0))
    w.disconnect()


def acknowledged(s):
    """A device's PUBACK moves delivered, and its sender hears of it; reading is said by receipts, over MQTT too."""
    c, p = s.call, "/v1/conversations/ack"
    c("PUT", p, {"type": "direct", "members": ["kim", "lou"]})
    kim = Client(s.mqtt, "kim-1", s.token("kim", "kim-1"))
    kim.subscribe("users/kim/receipts")
    lou = Client(s.mqtt, "lou-1", s.token("lou", "lou-1"))
    lou.subscribe("users/lou/messages")
    for i in range(3):
        c("POST", p + "/messages", {"from": "kim", "body": "x"})
    got = [lou.message(ack=False) for _ in range(3)]
    expect([p_.json()["seq"] for p_ in got], [1, 2, 3])
    expect(kim.message(0.4), None, "nothing is delivered yet")
    lou.ack(got[1])
    expect(kim.message(0.4), None, "the first is not acknowledged")
    lou.ack(got[0])
    said = kim.message().json()
    expect((said["user"], said["conversation"], said["delivered"], said["read"]), ("lou", "ack", 2, 0))
    lou.ack(got[2])
    expect(kim.message().json()["delivered"], 3)
    unread(s, "lou", "ack", 3)
    expect(lou.publish("conversations/ack/receipts", {"read": 2}).reason, 0)
    expect(kim.message().json()["read"], 2)
    expect(lou.publish("conversations/ack/receipts", {"read": 1}).reason, 0)
    expect(kim.message(0.4), None, "what does not move is not told")
    unread(s, "lou", "ack", 1)
    expect(lou.publish("conversations/ack/receipts", {"read": 99}).reason >= 0x80, True)
    expect(lou.publish("conversations/none/receipts", {"read": 1}).reason >= 0x80, True)
    kim.disconnect()
    lou.disconnect()


def mute_and_archive(s):
    c = s.call
    g = "ma"
    c("PUT", f"/v1/conversations/{g}", {"type": "group", "members": ["ann", "bob", "cid"]})
    post = lambda user: c("POST", f"/v1/conversations/{g}/messages", {"from": user, "body": "x"})
    prefs = lambda body, user="bob", conv=g, **more: c("PUT", f"/v1/users/{user}/conversations/{conv}", body, **more)
    eventually(lambda: expect(row(s, "bob", g) is not None, True))
    for body, status, field in (({"muted_until": "soon"}, 422, "muted_until"), ({"muted_until": 5}, 400, "muted_until"), ({"archived": "yes"}, 400, "archived"), ({"x": 1}, 400, "x")):
        got, said = prefs(body)
        expect((got, said["field"]), (status, field))
    expect(prefs({"archived": True}, conv="none")[0], 404)
    expect(prefs({"archived": True}, key=s.token("ann", "ann-a"))[0], 403, "another's")
    far = "2099-01-01T00:00:00.000Z"
    expect(prefs({"muted_until": far})[0], 200)
    expect((row(s, "bob", g)["muted_until"], row(s, "ann", g).get("muted_until")), (far, None), "each their own")
    expect(prefs({"muted_until": "2001-01-01T00:00:00Z"})[0], 200)
    expect(row(s, "bob", g).get("muted_until"), None, "past")
    end = int(time.time()) + 2
    prefs({"muted_until": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(end))})
    now = row(s, "bob", g)
    expect("muted_until" in now or time.time() >= end, True)
    # muting changes no count and stops no delivery
    d = Client(s.mqtt, "bob-m", s.token("bob", "bob-m"))
    d.subscribe("users/bob/messages")
    post("ann")
    expect(d.message().json()["conversation"], g)
    unread(s, "bob", g, 1)
    eventually(lambda: expect("muted_until" in row(s, "bob", g), False, "until then"))
    # archived: put away until somebody says something
    post("ann")
    unread(s, "bob", g, 2)
    expect(prefs({"archived": True})[1]["archived"], True)
    expect((row(s, "bob", g)["archived"], row(s, "ann", g).get("archived")), (True, None), "each their own, with what is unread in it")
    expect(prefs({"muted_until": None})[0], 200)
    expect(row(s, "bob", g)["archived"], True, "absent fields stay")
    c("PATCH", f"/v1/conversations/{g}/messages/" + c("GET", f"/v1/conversations/{g}/messages")[1]["items"][0]["id"], {"body": "edited"})
    post("bob")
    eventually(lambda: expect(row(s, "bob", g)["last"]["seq"], 3))
    expect(row(s, "bob", g)["archived"], True, "an edit and one's own bring nothing back")
    c("PUT", "/v1/users/bob/blocks/cid")
    post("cid")
    eventually(lambda: expect(row(s, "bob", g)["last"]["seq"], 4))
    expect(row(s, "bob", g)["archived"], True, "nor does whom they block")
    post("ann")
    eventually(lambda: expect(row(s, "bob", g).get("archived"), None, "it comes back"))
    expect(prefs({"archived": True, "muted_until": far})[0], 200)
    post("ann")
    eventually(lambda: expect(row(s, "bob", g)["last"]["seq"], 6))
    expect(row(s, "bob", g)["archived"], True, "muted, it stays away")
    expect(prefs({"archived": False})[0], 200)
    expect((row(s, "bob", g).get("archived"), row(s, "bob", g)["muted_until"]), (None, far))
    # leaving and coming back keeps them
    prefs({"archived": True})
    c("DELETE", f"/v1/conversations/{g}/members/bob")
    eventually(lambda: expect(row(s, "bob", g), None))
    expect(prefs({"archived": True})[0], 404, "not in it")
    c("PUT", f"/v1/conversations/{g}/members/bob", {})
    eventually(lambda: expect((row(s, "bob", g) or {}).get("muted_until"), far))
    d.disconnect()


def story(s):
    for part in (counting, forward, acknowledged, mute_and_archive):
        part(s)


both(story)
