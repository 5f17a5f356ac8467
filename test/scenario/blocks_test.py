"""Who blocks hears nothing of whom they block: not in the mailbox, live, in history or unread counts; typing and presence are live only and keep to it too."""
import http.client, json, threading, time
from harness import expect, eventually
from lanes import both
from mqtt import Client


def device(s, user, name, *more):
    d = Client(s.mqtt, name, s.token(user, name))
    d.subscribe(f"users/{user}/#", *more)
    return d


def said(d, count, topic="/messages"):
    """So many, and none behind them."""
    return [p.json() for p in d.exactly(count, topic=topic)]


def mailbox(s, user, conversation):
    return [e for e in s.call("GET", f"/v1/users/{user}/mailbox?limit=200")[1]["items"] if e["type"] in ("message", "receipt") and e[e["type"]]["conversation"] == conversation]


def row(s, user, conversation):
    return next(r for r in s.call("GET", f"/v1/users/{user}/conversations?limit=200")[1]["items"] if r["id"] == conversation)


class Stream(threading.Thread):
    """Events of a user's SSE stream, as they come."""

    def __init__(self, s, user):
        super().__init__(daemon=True)
        self.events = []
        self.connection = http.client.HTTPConnection("127.0.0.1", s.http, timeout=60)
        self.connection.request("GET", f"/v1/users/{user}/stream", headers={"Authorization": "Bearer " + s.token(user, user + "-sse")})
        self.answer = self.connection.getresponse()
        expect(self.answer.status, 200, "a stream")
        self.start()

    def run(self):
        event = {}
        try:
            for line in self.answer:
                line = line.decode().rstrip("\n\r")
                if line.startswith(":"):
                    continue
                if not line and event:
                    self.events.append(event)
                    event = {}
                elif line:
                    name, _, value = line.partition(":")
                    event[name] = value.lstrip(" ")
        except (OSError, ValueError, http.client.HTTPException, AttributeError):
            pass

    def data(self, kind):
        return [json.loads(e["data"]) for e in list(self.events) if e.get("event") == kind]


def direct(s):
    c = s.call
    c("PUT", "/v1/conversations/d", {"type": "direct", "members": ["ann", "bob"]})
    ann, bob = s.token("ann", "ann-1"), s.token("bob", "bob-1")
    d = device(s, "bob", "bob-2")
    c("POST", "/v1/conversations/d/messages", {"id": "before", "body": "before"}, key=ann)
    c("POST", "/v1/conversations/d/messages", {"id": "bobs", "body": "mine"}, key=bob)
    expect([m["id"] for m in said(d, 2)], ["before", "bobs"])
    expect(c("PUT", "/v1/users/bob/blocks/ann", key=bob)[0], 201)

    def refused(status, answer):
        expect((status, answer.get("type") if isinstance(answer, dict) else answer), (403, "/problems/blocked"))
    eventually(lambda: refused(*c("POST", "/v1/conversations/d/messages", {"body": "x"}, key=ann)))
    refused(*c("POST", "/v1/conversations/d/messages", {"from": "ann", "body": "x"}))
    refused(*c("PUT", "/v1/conversations/d/messages/bobs/reactions/x", key=ann))
    a = Client(s.mqtt, "ann-m", s.token("ann", "ann-m"))
    ack = a.publish("conversations/d/messages", {"body": "x"})
    expect((ack.reason, "ann" in ack.words), (0x87, True), "over MQTT")
    old = Client(s.mqtt, "ann-o", s.token("ann", "ann-o"), version=4)
    old.subscribe("users/ann/errors")
    old.publish("conversations/d/messages", {"body": "x"})
    expect(old.message().json()["type"], "/problems/blocked", "3.1.1 hears of it on errors")
    expect(c("POST", "/v1/conversations/d/messages", {"id": "before", "body": "before"}, key=ann)[0], 201, "what was sent before stays sent")
    expect(c("PATCH", "/v1/conversations/d/messages/before", {"body": "changed"}, key=ann)[0] in (200, 403), True)
    expect(c("POST", "/v1/conversations/d/messages", {"id": "still", "body": "from who blocks"}, key=bob)[0], 201, "who blocks may write")
    expect([m["id"] for m in said(d, 1)], ["still"], "nothing of ann's")
    c("POST", "/v1/conversations/d/receipts", {"read": 3}, key=ann)
    expect([m["user"] for m in said(d, 0, "/receipts")], [], "nor that she read")
    expect([e["message"]["id"] for e in mailbox(s, "bob", "d") if e["type"] == "message"], ["bobs", "still"], "what ann sent before is not shown either")
    expect([m.get("hidden") for m in c("GET", "/v1/conversations/d/messages", key=bob)[1]["items"]], [None, None, True], "a stub keeps the order")
    expect(sorted(c("GET", "/v1/conversations/d/messages/before", key=bob)[1]), ["conversation", "hidden", "id", "seq"])
    # a conversation that is made later knows of it at once
    expect(c("PUT", "/v1/conversations/d9", {"type": "direct", "members": ["ann", "bob"]})[0], 201)
    eventually(lambda: refused(*c("POST", "/v1/conversations/d9/messages", {"from": "ann", "body": "x"})))
    expect(c("DELETE", "/v1/users/bob/blocks/ann", key=bob)[0], 204)
    eventually(lambda: expect(c("POST", "/v1/conversations/d/messages", {"id": "after", "body": "after"}, key=ann)[0], 201))
    expect([m["id"] for m in said(d, 1)][-1:], ["after"])
    expect([e["message"]["id"] for e in mailbox(s, "bob", "d") if e["type"] == "message" and e["event"] == "created"], ["before", "bobs", "still", "after"])
    for x in (a, old, d):
        x.disconnect()


def group(s):
    c = s.call
    c("PUT", "/v1/conversations/g", {"type": "group", "members": ["ann", "bob", "cid"]})
    tokens = {u: s.token(u, u + "-g") for u in ("ann", "bob", "cid")}
    eventually(lambda: row(s, "cid", "g"))
    post = lambda user, id, **more: expect(c("POST", "/v1/conversations/g/messages", {"id": id, "body": id, **more}, key=tokens[user])[0], 201, id)
    post("bob", "g1")
    expect(c("PUT", "/v1/users/cid/blocks/bob", key=tokens["cid"])[0], 201)
    live, other, stream = device(s, "cid", "cid-1"), device(s, "ann", "ann-2"), Stream(s, "cid")
    post("bob", "g2")
    post("ann", "g3")
    expect(c("PATCH", "/v1/conversations/g/messages/g1", {"body": "g1 too"}, key=tokens["bob"])[0], 200, "nobody is refused in a group")
    post("ann", "g4", reply_to="g2")
    expect(c("DELETE", "/v1/conversations/g/messages/g2", key=tokens["bob"])[0], 204)
    post("bob", "g5")
    c("POST", "/v1/conversations/g/receipts", {"read": 4}, key=tokens["bob"])
    c("POST", "/v1/conversations/g/receipts", {"read": 3}, key=tokens["ann"])
    expect([(m["event"], m["id"]) for m in said(live, 2)], [("created", "g3"), ("created", "g4")], "live")
    expect([(m["event"], m["id"]) for m in said(other, 6)], [("created", "g2"), ("created", "g3"), ("updated", "g1"), ("created", "g4"), ("deleted", "g2"), ("created", "g5")], "others see all")
    eventually(lambda: expect([m["message"]["id"] for m in stream.data("message")], ["g3", "g4"], "as a stream"))
    eventually(lambda: expect([m["receipt"]["user"] for m in stream.data("receipt")][-1:], ["ann"]))
    expect([m["receipt"]["user"] for m in stream.data("receipt")].count("bob"), 0)
    expect([e["message"]["id"] for e in mailbox(s, "cid", "g") if e["type"] == "message"], ["g3", "g4"], "the mailbox, what came before the block too")
    expect([e["receipt"]["user"] for e in mailbox(s, "cid", "g") if e["type"] == "receipt"].count("bob"), 0)
    expect((row(s, "cid", "g")["unread"], c("GET", "/v1/conversations/g", key=tokens["cid"])[1]["unread"]), (2, 2), "unread")
    expect(c("GET", "/v1/conversations/g", key=tokens["cid"])[1]["last"], {"id": "g5", "conversation": "g", "seq": 5, "hidden": True})
    expect(row(s, "cid", "g")["last"], {"id": "g5", "conversation": "g", "seq": 5, "hidden": True}, "the newest is a stub")
    items = c("GET", "/v1/conversations/g/messages", key=tokens["cid"])[1]["items"]
    expect([(m["seq"], m.get("body"), m.get("hidden")) for m in items], [(5, None, True), (4, "g4", None), (3, "g3", None), (2, None, None), (1, None, True)], "history")
    expect(c("GET", "/v1/conversations/g/messages/g5", key=tokens["cid"])[1].get("from"), None)
    expect([m["id"] for m in c("GET", "/v1/conversations/g/messages/g2/replies", key=tokens["cid"])[1]["items"]], ["g4"])
    # a device that was away when the block came does not get what waited for it
    live.drop()
    post("ann", "w1")
    post("bob", "w2")
    c("PUT", "/v1/users/cid/blocks/ann", key=tokens["cid"])
    back = Client(s.mqtt, "cid-1", s.token("cid", "cid-1"))
    expect(said(back, 0), [], "asked at the last moment")
    expect(c("DELETE", "/v1/users/cid/blocks/bob", key=tokens["cid"])[0], 204)
    expect(c("DELETE", "/v1/users/cid/blocks/ann", key=tokens["cid"])[0], 204)
    expect([m.get("body") for m in c("GET", "/v1/conversations/g/messages?after=2", key=tokens["cid"])[1]["items"]], ["g3", "g4", "g5", "w1", "w2"], "all is there again")
    expect(row(s, "cid", "g")["unread"], 6)
    post("bob", "w3")
    expect([m["id"] for m in said(back, 1)], ["w3"])
    stream.connection.close()
    back.disconnect()
    other.disconnect()


def live_only(s):
    c = s.call
    people = ("tom", "uma", "vic", "out")
    c("PUT", "/v1/conversations/t", {"type": "group", "members": ["tom", "uma", "vic"]})
    c("PUT", "/v1/conversations/td", {"type": "direct", "members": ["tom", "uma"]})
    tokens = {u: s.token(u, u + "-t") for u in people}
    eventually(lambda: [row(s, u, "t") for u in people[:3]])
    # no `online` hears of who shares nothing: out subscribes, and is never told
    heard = {u: device(s, u, u + "-l", "conversations/t/typing", "conversations/td/typing", "users/tom/presence", "users/uma/presence") for u in people}

    def hears(act, want, topic, payload):
        others = lambda user, packets: [(p.topic, p.json()) for p in packets if not p.topic.startswith(f"users/{user}/") or p.topic.endswith("presence")]
        act()
        got = {user: others(user, heard[user].messages(1, topic=topic)) if user in want else [] for user in people}
        time.sleep(0.1)
        for user in people:
            got[user] += others(user, heard[user].messages(seconds=1, quiet=0.01))
            expect(got[user], [(topic, payload)] if user in want else [], f"{topic} as {user} hears it")
    stream = {u: Stream(s, u) for u in ("uma", "vic", "out")}
    typing = lambda: expect(c("POST", "/v1/conversations/t/typing", {}, key=tokens["tom"])[0], 204)
    hears(typing, ("uma", "vic"), "conversations/t/typing", {"from": "tom"})
    hears(lambda: heard["tom"].publish("conversations/t/typing", {}, qos=0), ("uma", "vic"), "conversations/t/typing", {"from": "tom"})
    hears(lambda: heard["tom"].publish("conversations/td/typing", {}), ("uma",), "conversations/td/typing", {"from": "tom"})
    hears(lambda: expect(c("POST", "/v1/conversations/t/typing?user=tom", {})[0], 204), ("uma", "vic"), "conversations/t/typing", {"from": "tom"})
    expect([c("POST", "/v1/conversations/t/typing", {}, key=tokens["out"])[0], c("POST", "/v1/conversations/none/typing", {}, key=tokens["out"])[0]], [404, 404])
    expect(c("POST", "/v1/conversations/t/typing", {})[0], 422, "a key says who types")
    # uma blocks tom: neither hears of the other; vic hears both
    expect(c("PUT", "/v1/users/uma/blocks/tom", key=tokens["uma"])[0], 201)
    hears(typing, ("vic",), "conversations/t/typing", {"from": "tom"})
    hears(lambda: c("POST", "/v1/conversations/t/typing", {}, key=tokens["uma"]), ("vic",), "conversations/t/typing", {"from": "uma"})
    hears(lambda: heard["tom"].publish("conversations/td/typing", {}), (), "", {})
    hears(lambda: expect(c("PUT", "/v1/users/tom/presence", {"online": True}, key=tokens["tom"])[0], 204), ("vic",), "users/tom/presence", {"online": True})
    hears(lambda: expect(c("PUT", "/v1/users/uma/presence", {"online": True}, key=tokens["uma"])[0], 204), ("vic",), "users/uma/presence", {"online": True})
    expect(c("DELETE", "/v1/users/uma/blocks/tom", key=tokens["uma"])[0], 204)
    hears(typing, ("uma", "vic"), "conversations/t/typing", {"from": "tom"})
    streamed = lambda: {u: [x.data("typing"), x.data("presence")] for u, x in stream.items()}
    by_tom, by_uma, tom_here, uma_here = {"conversation": "t", "from": "tom"}, {"conversation": "t", "from": "uma"}, {"user": "tom", "online": True}, {"user": "uma", "online": True}
    want = {"uma": [[by_tom, by_tom, {"conversation": "td", "from": "tom"}, by_tom, by_tom], []], "vic": [[by_tom] * 4 + [by_uma, by_tom], [tom_here, uma_here]],
            "out": [[], []]}
    eventually(lambda: expect(streamed(), want, "as streams"))
    expect([e for x in stream.values() for e in x.events if "id" in e and e["event"] in ("typing", "presence")], [], "an id is for what is stored")
    for x in stream.values():
        x.connection.close()
    # not stored: who comes later hears nothing, the mailbox has nothing
    heard["uma"].drop()
    typing()
    heard["uma"] = Client(s.mqtt, "uma-l", s.token("uma", "uma-l"))
    expect([p for p in heard["uma"].messages(seconds=1, quiet=0.3) if "typing" in p.topic], [])
    expect([e["type"] for e in c("GET", "/v1/users/uma/mailbox")[1]["items"]], ["conversation", "conversation"])
    for d in heard.values():
        d.disconnect()


def story(s):
    for part in (direct, group, live_only):
        part(s)


both(story)
