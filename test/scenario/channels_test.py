"""Plain MQTT channels: who may, wildcards, retained messages, QoS 2, kept sessions across a crash, shared subscriptions, wills, aliases, options, expiry.

Runs early: half a minute, most of it waiting for what must not come."""
import struct, time

from harness import Server, expect, eventually
from lanes import both
from mqtt import PUBACK, PUBCOMP, PUBLISH, PUBREC, PUBREL, SUBACK, SUBSCRIBE, Client, Closed, frame, properties, text


class Story:
    def __init__(self, s):
        self.s, self.n = s, 0
        self.allow("all", "#", True, True)
        self.allow("none", "closed/#", False, False)
        self.allow("ann's", "only/ann", ["ann"], ["ann"])
        self.allow("own", "own/{user}/{device}", True, True)
        self.allow("read", "news/+", False, True)

    def allow(self, name, topic, publish, subscribe):
        status, _ = self.s.call("PUT", f"/v1/channel-rules/{name.replace(chr(39), '')}", {"topic": topic, "publish": publish, "subscribe": subscribe})
        assert status in (200, 201), status

    def connect(self, user, device=None, **more):
        self.n += 1
        device = device or f"{user}-{self.n}"
        more.setdefault("clean", more.get("version") != 4 or not more.get("expiry"))
        more.setdefault("expiry", 0)
        return Client(self.s.mqtt, device, self.s.token(user, device), **more)


def told(c, n, seconds=30, ack=True):
    """n messages: (topic, payload, qos, retain); then no more."""
    out = []
    while len(out) < n:
        p = c.message(seconds, ack=False)
        assert p, f"{len(out)} of {n} messages: {out}"
        out.append((p.topic, p.payload.decode(), p.qos, p.retain))
        if ack:
            take(c, p)
    return out


def take(c, p):
    """Acknowledges: the whole exchange at QoS 2."""
    if p.qos == 1:
        c.ack(p)
    elif p.qos == 2:
        c.send(PUBREC, 0, struct.pack(">H", p.packet))
        expect(c.wait(PUBREL).packet, p.packet)
        c.send(PUBCOMP, 0, struct.pack(">H", p.packet))


def send(c, topic, message, qos=1, **more):
    if qos < 2:
        return c.publish(topic, message, qos, **more)
    packet = c.publish_begin(topic, message, qos, **more)
    ack = c.wait(PUBREC)
    expect(ack.packet, packet)
    if ack.reason < 0x80:
        c.send(PUBREL, 2, struct.pack(">H", packet))
        expect(c.wait(PUBCOMP).packet, packet)
    return ack


def quiet(c, seconds=0.3):
    p = c.message(seconds, ack=False)
    assert p is None, f"{p.topic} {p.payload}"


def basics(t):
    """Each QoS down to the subscription's, wildcards, one message for filters that overlap."""
    for version in (4, 5):
        a, b = t.connect("ann", version=version), t.connect("bob", version=version)
        expect(b.subscribe("room/+/temp", qos=2), [2])
        expect(b.subscribe("room/#", qos=1), [1])
        for qos in (0, 1, 2):
            send(a, "room/k/temp", f"m{qos}".encode(), qos)
        expect(told(b, 3), [("room/k/temp", f"m{q}", q, False) for q in (0, 1, 2)])
        send(a, "room", b"the parent level", 2)
        expect(told(b, 1), [("room", "the parent level", 1, False)])
        send(a, "rooms/k/temp", b"another", 1)
        expect(b.unsubscribe("room/#"), [] if version == 4 else [0])
        send(a, "room/k/other", b"x", 1)
        quiet(b)
        a.disconnect()
        b.disconnect()


def rules(t):
    """None allows nothing; the most specific decides; taken away, it ends at once for who has subscribed."""
    a, b = t.connect("ann"), t.connect("bob", "bobs")
    for c, topic, may in ((a, "closed/x", 0x87), (a, "only/ann", 0), (b, "only/ann", 0x87), (b, "own/bob/bobs", 0), (b, "own/bob/other", 0), (a, "news/x", 0x87), (a, "$SYS/x", 0x87)):
        expect(c.publish(topic, b"x").reason, may, f"publish to {topic}")
    expect(a.subscribe("closed/x", "only/ann", "news/x", "$SYS/#", "$share/g/closed/x", "$share/g/ok", "x/#/y"), [0x87, 1, 1, 0x87, 0x87, 1, 0x8F])
    expect(b.subscribe("#", "closed/+"), [1, 0x87])
    backend = Client(t.s.mqtt, "backend", t.s.key, clean=True, expiry=0)
    expect(backend.subscribe("closed/#", "$SYS/broker/#"), [1, 1])
    for topic in ("closed/x", "only/ann", "news/x"):
        expect(backend.publish(topic, b"from the backend").reason, 0)
    expect([m[0] for m in told(a, 2)], ["only/ann", "news/x"])
    expect([m[0] for m in told(b, 1)], ["news/x"], "the wildcard does not open what has a rule of its own")
    expect([m[0] for m in told(backend, 1)], ["closed/x"])
    t.allow("read", "news/+", False, ["ann"])
    backend.publish("news/x", b"later")
    expect([m[0] for m in told(a, 1)], ["news/x"])
    quiet(b)
    backend.publish("free/x", b"x")
    expect([m[0] for m in told(b, 1)], ["free/x"])
    expect(t.s.call("GET", "/v1/channel-rules/read")[1], {"id": "read", "topic": "news/+", "publish": False, "subscribe": ["ann"]})
    expect(t.s.call("DELETE", "/v1/channel-rules/read")[0], 204)
    expect(t.s.call("DELETE", "/v1/channel-rules/read")[0], 204)
    expect(t.s.call("GET", "/v1/channel-rules/read")[0], 404)
    backend.publish("news/z", b"open again")
    expect([m[0] for m in told(b, 1)], ["news/z"])
    for body, status, field in (({"topic": "a/#/b"}, 422, "topic"), ({"topic": "users/#"}, 422, "topic"), ({"publish": True}, 422, "topic"), ({"topic": "a", "publish": 3}, 400, "publish"),
                                ({"topic": "a", "subscribe": ["not an id"]}, 422, "subscribe"), ({"topic": "a", "allow": True}, 400, "allow")):
        got, said = t.s.call("PUT", "/v1/channel-rules/bad", body)
        expect((got, said["field"]), (status, field))
    expect([r["id"] for r in t.s.call("GET", "/v1/channel-rules")[1]["items"]], ["all", "none", "anns", "own"])
    expect(t.s.call("GET", "/v1/channel-rules", key=t.s.token("ann", "x"))[0], 403)
    t.allow("read", "news/+", False, True)
    for c in (a, b, backend):
        c.disconnect()


def retained(t):
    a = t.connect("ann")
    for qos in (0, 1, 2):
        send(a, f"keep/{qos}", f"r{qos}".encode(), qos, retain=True)
    eventually(lambda: expect(len(once_retained(t, "keep/#", 3)), 3))
    b = t.connect("bob")
    expect(b.subscribe("keep/+", qos=2), [2])
    expect(sorted(told(b, 3)), [(f"keep/{q}", f"r{q}", q, True) for q in (0, 1, 2)])
    send(a, "keep/1", b"live", 1, retain=True)
    expect(told(b, 1), [("keep/1", "live", 1, False)], "who listens already gets it as any other")
    send(a, "keep/2", b"", 1, retain=True)
    told(b, 1)
    expect(sorted(once_retained(t, "keep/#", 2)), [("keep/0", "r0"), ("keep/1", "live")])
    packet = b.identify()
    b.send(SUBSCRIBE, 2, struct.pack(">H", packet) + b"\0" + text("keep/+") + bytes([1 | 1 << 4]) + text("keep/1") + bytes([1 | 2 << 4]) + text("keep/0") + bytes([0 | 8]))
    b.wait(SUBACK)
    expect(told(b, 1), [("keep/0", "r0", 0, True)], "handling 1: it had the filter; 2: never; 0: always")
    send(a, "keep/0", b"as published", 0, retain=True)
    expect(told(b, 1), [("keep/0", "as published", 0, True)], "retain as published")
    t.s.kill()
    t.s.start()
    expect(sorted(once_retained(t, "keep/+", 2)), [("keep/0", "as published"), ("keep/1", "live")], "after a crash")
    expect(once_retained(t, "keep/1", 1), [("keep/1", "live")])
    a, b = t.connect("ann"), t.connect("bob")
    def shown(seconds):
        """Is it there before it expires? On a busy machine a second is little."""
        send(a, "keep/short", b"x", 1, retain=True, message_expiry=seconds)
        c = t.connect("eve")
        expect(c.subscribe("keep/short"), [1])
        p = c.message(seconds)
        c.disconnect()
        return p and (p.payload, p.retain) == (b"x", True)
    lasted = next(seconds for seconds in (1, 5, 25) if shown(seconds))
    time.sleep(lasted + 0.1)
    quiet_sub = t.connect("bob")
    expect(quiet_sub.subscribe("keep/short"), [1])
    quiet(quiet_sub)
    for c in (a, b, quiet_sub):
        c.disconnect()


def once_retained(t, topic, n):
    c = t.connect("eve")
    expect(c.subscribe(topic), [1])
    out = [(m[0], m[1]) for m in told(c, n)]
    c.disconnect()
    return out


def kept(t):
    """A kept session gets what came while it was away, each once and in order, also over a crash; DUP where it may have had it."""
    a = t.connect("ann")
    b = t.connect("bob", "kept", clean=True, expiry=3600)
    expect(b.subscribe("q/#", qos=2), [2])
    b.disconnect()
    for i in range(20):
        send(a, f"q/{i}", f"m{i}".encode(), i % 3)
    a.disconnect()
    t.s.kill()
    t.s.start()
    b = t.connect("bob", "kept", clean=False, expiry=3600)
    expect(b.connack.present, True)
    want = [(f"q/{i}", f"m{i}", i % 3, False) for i in range(20) if i % 3]
    got, packets = [], []
    for _ in want:
        p = b.message(ack=False)
        got.append((p.topic, p.payload.decode(), p.qos, p.retain))
        packets.append(p)
    expect(got, want)
    expect([p.dup for p in packets], [False] * len(want), "never sent before")
    # The first is acknowledged, of the second PUBREC only, the third not at all; then the connection breaks.
    first, second, third = packets[0], next(p for p in packets if p.qos == 2), packets[2]
    take(b, first)
    b.send(PUBCOMP, 0, struct.pack(">H", second.packet))  # ends nothing: it was not released
    b.send(PUBREC, 0, struct.pack(">H", second.packet))
    expect(b.wait(PUBREL).packet, second.packet)
    time.sleep(0.4)
    b.socket.close()
    t.s.kill()
    t.s.start()
    b = t.connect("bob", "kept", clean=False, expiry=3600)
    again = b.wait(PUBREL)
    expect(again.packet, second.packet, "what was released is not sent again, but released again")
    b.send(PUBCOMP, 0, struct.pack(">H", again.packet))
    rest = [p for p in packets if p not in (first, second)]
    for p in rest:
        q = b.message(ack=False)
        expect((q.topic, q.packet, q.dup), (p.topic, p.packet, True))
        take(b, q)
    quiet(b)
    a = t.connect("ann")
    send(a, "q/live", b"now", 2)
    expect(told(b, 1), [("q/live", "now", 2, False)])
    b.disconnect()
    send(a, "q/away", b"expires", 1, message_expiry=1)
    send(a, "q/away", b"stays", 1, message_expiry=100)
    time.sleep(1.2)
    b = t.connect("bob", "kept", clean=False, expiry=0)
    expect((b.connack.present, told(b, 1)), (True, [("q/away", "stays", 1, False)]), "it ends with this connection, and still gets what waited")
    send(a, "q/live", b"again", 1)
    expect(told(b, 1), [("q/live", "again", 1, False)])
    b.disconnect()
    b = t.connect("bob", "kept", clean=False, expiry=3600)
    expect(b.connack.present, False)
    a.disconnect()
    b.disconnect()


def once_in(t):
    """A kept session's QoS 2 PUBLISH, sent again after a crash, happens once."""
    b = t.connect("bob", "reader", clean=True, expiry=3600)
    expect(b.subscribe("once/#", qos=2), [2])
    b.disconnect()
    a = t.connect("ann", "writer", clean=True, expiry=3600)
    a.publish_begin("once/x", b"one", 2, packet=77)
    expect(a.wait(PUBREC).packet, 77)
    a.socket.close()
    t.s.kill()
    t.s.start()
    a = t.connect("ann", "writer", clean=False, expiry=3600)
    expect(a.connack.present, True)
    a.publish_begin("once/x", b"one", 2, dup=True, packet=77)
    expect(a.wait(PUBREC).packet, 77)
    a.send(PUBREL, 2, struct.pack(">H", 77))
    expect(a.wait(PUBCOMP).packet, 77)
    a.publish_begin("once/x", b"two", 2, packet=77)
    expect(a.wait(PUBREC).packet, 77)
    a.publish_begin("closed/x", b"refused", 2, packet=78)
    expect(a.wait(PUBREC).reason, 0x87)
    a.publish_begin("once/x", b"three", 2, packet=78)
    expect(a.wait(PUBREC).reason, 0, "what was refused left no packet id behind")
    b = t.connect("bob", "reader", clean=False, expiry=0)
    expect([m[1] for m in told(b, 3)], ["one", "two", "three"])
    quiet(b)
    a.disconnect()
    b.disconnect()


def collected(members, count):
    """The numbers that came to each, when so many have come to all."""
    got = [[] for _ in members]

    def look():
        for m, mine in zip(members, got):
            while (p := m.message(0.02)) is not None:
                mine.append(int(p.payload))
        assert sum(map(len, got)) >= count, got
    eventually(look)
    return got


def shared(t):
    """Each message to one member; kept members get theirs when they are back."""
    a = t.connect("ann")
    members = [t.connect("bob") for _ in range(4)]
    for m in members:
        expect(m.subscribe("$share/workers/job/+"), [1])
    other = t.connect("eve")
    expect(other.subscribe("job/#"), [1])
    for i in range(80):
        send(a, f"job/{i}", str(i).encode(), 1)
    got = []
    for mine in collected(members, 80):
        assert 10 <= len(mine) <= 30, [len(mine), mine]
        expect(mine, sorted(mine))
        got += mine
    expect(sorted(got), list(range(80)))
    for m in members:
        quiet(m, 0.1)
    expect(len(told(other, 80)), 80)
    for m in members:
        m.disconnect()
    send(a, "job/x", b"nobody", 1)
    kept_members = [t.connect("bob", f"worker{i}", clean=True, expiry=3600) for i in range(3)]
    for m in kept_members:
        expect(m.subscribe("$share/crew/task/#"), [1])
        m.disconnect()
    for i in range(30):
        send(a, "task/x", str(i).encode(), 1)
    t.s.kill()
    t.s.start()
    back = [t.connect("bob", f"worker{i}", clean=False, expiry=0) for i in range(3)]
    expect(sorted(sum(collected(back, 30), [])), list(range(30)))
    for m in back:
        quiet(m)
        m.disconnect()
    other.socket.close()


def wills(t):
    watcher = t.connect("eve")
    expect(watcher.subscribe("gone/#"), [1])
    for version in (4, 5):
        a = t.connect("ann", version=version, will=("gone/ann", "bye"))
        a.disconnect()
        quiet(watcher)
        a = t.connect("ann", version=version, will=("gone/ann", "bye"))
        a.socket.close()
        expect(told(watcher, 1), [("gone/ann", "bye", 0, False)])
    a = t.connect("ann", will=("gone/ann", "with"))
    a.raw(frame(14, 0, b"\x04\0"))
    expect(told(watcher, 1), [("gone/ann", "with", 0, False)], "DISCONNECT with will message")
    a = t.connect("ann", "delayed", expiry=60, will=("gone/ann", "late"), will_options=dict(qos=1, retain=True, will_delay=1))
    a.socket.close()
    quiet(watcher, 0.5)
    a = t.connect("ann", "delayed", clean=False, expiry=60, will=("gone/ann", "late"), will_options=dict(qos=1, retain=True, will_delay=1, user=None))
    quiet(watcher, 1.5)
    a.socket.close()
    expect(told(watcher, 1), [("gone/ann", "late", 1, False)], "who does not come back")
    expect(once_retained(t, "gone/ann", 1), [("gone/ann", "late")])
    a = t.connect("ann", "taken", will=("gone/ann", "over"))
    b = t.connect("ann", "taken")
    expect(told(watcher, 1), [("gone/ann", "over", 0, False)], "a takeover")
    watcher.disconnect()
    b.disconnect()


def five(t):
    """Of MQTT 5: aliases both ways, subscription identifiers, No Local, properties handed on, packet size."""
    a, b = t.connect("ann"), t.connect("bob", alias_maximum=2, maximum_packet=1000)
    expect(b.subscribe("p/#", subscription_id=7), [1])
    expect(b.subscribe("p/+", qos=0, subscription_id=8), [0])
    a.publish("p/one", b"x", alias=1, content_type="text/plain", response_topic="p/answer", user=("k", "v"), message_expiry=50)
    a.publish("", b"y", alias=1)
    a.publish("p/two", b"z", alias=1)
    a.publish("", b"w" * 2000, alias=1)
    a.publish("", b"v", alias=1)
    p = b.message()
    got = dict(p.properties)
    assert got.pop("message_expiry") in (49, 50)
    expect(got.pop("subscription_id"), 8)
    expect((p.topic, got), ("p/one", {"content_type": "text/plain", "response_topic": "p/answer", "user": ("k", "v"), "alias": 1}))
    for topic, payload, alias in (("", b"y", 1), ("p/two", b"z", 2), ("", b"v", 2)):
        p = b.message()
        expect((p.topic, p.payload, p.properties["alias"]), (topic, payload, alias), "and what is longer than it takes is not sent")
    packet = a.identify()
    a.send(SUBSCRIBE, 2, struct.pack(">H", packet) + b"\0" + text("p/#") + bytes([1 | 4]))
    expect(a.wait(SUBACK).codes, [1])
    a.publish("p/three", b"mine")
    b.publish("p/three", b"yours")
    expect([m[1] for m in told(a, 1)], ["yours"], "No Local")
    packet = a.identify()
    a.send(SUBSCRIBE, 2, struct.pack(">H", packet) + b"\0" + text("$share/g/p/#") + bytes([1 | 4]))
    try:
        last = a.ended()
        expect(last.reason, 0x82, "No Local on a shared subscription")
    except Closed:
        raise AssertionError("closed without a DISCONNECT")
    b.disconnect()


def window(t):
    """The receiver's maximum holds; what does not fit waits, in order. Past the server's own: DISCONNECT 0x93."""
    a, b = t.connect("ann"), t.connect("bob", receive_maximum=3)
    expect(b.subscribe("w/#", qos=2), [2])
    for i in range(12):
        send(a, "w/x", str(i).encode(), 1 + i % 2)
    packets = [b.message(ack=False) for _ in range(3)]
    quiet(b)
    got = []
    while packets:
        p = packets.pop(0)
        got.append(int(p.payload))
        take(b, p)
        q = b.message(1, ack=False)
        if q:
            packets.append(q)
    expect(got, list(range(12)))
    most = a.connack.properties["receive_maximum"]
    for i in range(most + 1):
        a.publish_begin("w/y", b"x", 2)
    last = None
    while last is None:
        p = a.read()
        assert p, "no DISCONNECT"
        if p.kind == 14:
            last = p
    expect(last.reason, 0x93)
    b.socket.close()


def listed(t):
    """Operators list the sessions that are connected, page by page, and end one with all that it kept."""
    a = [t.connect("ann", f"l{i}", expiry=60 if i % 2 else 0, version=5 - i % 2) for i in range(5)]
    expect(a[1].subscribe("l/#"), [1])
    operator = t.s.tool("key", "create", "--data", t.s.data, "--name", "op", "--app", "demo", "--scope", "operate")[1].strip()
    items, cursor = [], ""
    while cursor is not None:
        status, page = t.s.call("GET", "/v1/sessions?limit=2" + (f"&cursor={cursor}" if cursor else ""), key=operator)
        expect((status, len(page["items"]) <= 2), (200, True))
        items, cursor = items + page["items"], page["next"]
    mine = {i["device"]: i for i in items if i.get("user") == "ann"}
    expect(sorted(mine), [f"l{i}" for i in range(5)])
    expect(mine["l1"], {"user": "ann", "device": "l1", "protocol": "mqtt3", "kept": True, "expires_after": 4294967295, "subscriptions": 1, "unacknowledged": 0})
    expect((mine["l2"]["protocol"], mine["l2"]["kept"]), ("mqtt5", False))
    expect([t.s.call("GET", "/v1/sessions" + q, key=operator)[0] for q in ("?cursor=x", "?cursor=9.0", "?limit=0")], [400, 400, 422])
    expect(t.s.call("GET", "/v1/sessions", key=t.s.token("ann", "l0"))[0], 403)
    for device in ("l1", "l2", "never"):
        expect(t.s.call("DELETE", f"/v1/sessions/{device}?user=ann", key=operator)[0], 204)
    expect(a[1].ended(), None)
    expect(a[2].ended().reason, 0x98)
    back = t.connect("ann", "l1", clean=False, expiry=0)
    expect(back.connack.present, False, "nothing of it is kept")
    for c in (a[0], a[3], a[4], back):
        c.disconnect()


def figures(t):
    backend = Client(t.s.mqtt, "watch", t.s.key, clean=True, expiry=0)
    expect(backend.subscribe("$SYS/#"), [1])
    topics = {}
    while len(topics) < 6:
        p = backend.message()
        topics[p.topic] = int(p.payload)
    assert topics["$SYS/broker/clients/connected"] >= 1, topics
    backend.disconnect()


def story(s):
    t = Story(s)
    for part in (basics, rules, retained, kept, once_in, shared, wills, five, window, listed):
        part(t)
    s.stop()
    s.check()


both(story)
s = Server("--mqtt-redirect", "other.example:1883", "--channel-rules", "/nonexistent/rules.json", start=False)
assert "rules.json" in s.fails(), "rules that cannot be read"
with open(s.dir + "/rules.json", "w") as f:
    f.write('{"rules": [{"app": "demo", "topic": "set/#", "publish": true, "subscribe": "every"}]}')
s.options = ("--mqtt-redirect", "other.example:1883", "--channel-rules", s.dir + "/rules.json")
assert "rule 1" in s.fails() and "subscribe" in s.fails()
with open(s.dir + "/rules.json", "w") as f:
    f.write('{"rules": [{"app": "demo", "topic": "set/#", "publish": true, "subscribe": true}]}')
s.start()
s.make_key()
c = Client(s.mqtt, "d", s.token("ann", "d"), clean=True)
expect((c.subscribe("set/x", "unset/x"), c.publish("set/x", b"x").reason), ([1, 0x87], 0), "rules of the configuration")
expect(told(c, 1), [("set/x", "x", 1, False)])
s.process.terminate()
last = c.ended()
expect((last.reason, last.properties["server_reference"]), (0x9C, "other.example:1883"))
s.process.wait(30)
s.options = ()
s.start()
figures(Story(s))
s.close()
