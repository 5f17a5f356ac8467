"""MQTT 3.1.1 and 5.0 packet by packet: what CONNACK announces and refuses, sessions that are kept, taken over and expire, windows and limits, and what
misbehaves."""
import json, shutil, struct, subprocess, threading, time

import harness
from harness import Server, expect, eventually
from lanes import both
from mqtt import (CONNACK, CONNECT, DISCONNECT, PINGREQ, PUBACK, PUBCOMP, PUBLISH, PUBREC, PUBREL, SUBACK, SUBSCRIBE, UNSUBSCRIBE, Client, Closed, frame, properties, text)

MESSAGES = "conversations/ab/messages"


def ids(packets):
    return [p.json()["id"] for p in packets]


def hello(version=5, flags=0xC2, keep_alive=60, props=b"\0", device=b"a1", rest=b"", name=b"MQTT"):
    """A CONNECT's body, to be spoilt."""
    return text(name) + bytes([version, flags]) + struct.pack(">H", keep_alive) + (props if version == 5 else b"") + text(device) + rest


class Story:
    def __init__(self, s):
        self.s = s
        s.call("PUT", "/v1/conversations/ab", {"type": "direct", "members": ["ann", "bob"]})
        self.tokens = {}

    def connect(self, user, device, **more):
        if (user, device) not in self.tokens:
            self.tokens[user, device] = self.s.token(user, device)
        return Client(self.s.mqtt, device, self.tokens[user, device], **more)

    def raw(self):
        return Client(self.s.mqtt, "", "", connect=False)

    def post(self, *names):
        for n in names:
            expect(self.s.call("POST", f"/v1/conversations/ab/messages", {"id": n, "from": "ann", "body": n})[0], 201)


# ---- CONNECT ----
def connack(t):
    c = t.connect("ann", "a1", clean=True)
    said = c.connack.properties
    expect((c.connack.reason, c.connack.present), (0, False))
    expect([n for n in ("maximum_qos", "retain_available", "shared", "wildcards") if n in said], [], "all is offered: nothing is said")
    expect(said["alias_maximum"], 16)
    assert said["receive_maximum"] >= 16 and said["maximum_packet"] >= 64 * 1024, said
    expect([n for n in ("alias_maximum", "assigned_client_id", "server_keep_alive", "session_expiry") if n in said and n != "alias_maximum"], [], "nothing that was not asked")
    c.disconnect()
    old = t.connect("ann", "a1", version=4, clean=True)
    expect((old.connack.reason, old.connack.properties), (0, {}))
    old.ping()
    old.disconnect()


def connack_refusals(t):
    token = t.s.token("ann", "a1")
    for version, device, password, want, old in ((5, "a1", "nonsense", 0x86, 4), (5, "other", token, 0x85, 2), (5, "not an id", token, 0x85, 2), (5, "a1", "", 0x87, 5),
                                                 (5, "a1", token[:-4] + "AAAA", 0x86, 4)):
        c = Client(t.s.mqtt, device, password, version)
        expect(c.connack.reason, want, f"{device} {password[:10]}")
        assert c.connack.words, "a refusal has a reason string"
        assert token not in c.connack.words
        c.ended()
        c = Client(t.s.mqtt, device, password, 4)
        expect((c.connack.reason, c.connack.present), (old, False), f"3.1.1: {device} {password[:10]}")
        c.ended()
    for topic, code in (("users/ann/gone", 0x90), ("closed/channel", 0x87)):
        for version, want in ((5, code), (4, 5)):
            c = Client(t.s.mqtt, "a1", token, version, will=(topic, "bye"))
            expect(c.connack.reason, want, f"a will to {topic}")
            c.ended()
    c = Client(t.s.mqtt, "a1", token, connect=False)
    c.send(CONNECT, 0, hello(props=properties(auth_method="SCRAM-SHA-1"), rest=text("u") + text(token)))
    expect(c.wait(CONNACK).reason, 0x8C, "no extended authentication")
    c.ended()


def client_ids(t):
    """Without a client id, one with a device has the device's; without both it gets one (5.0) or must be clean (3.1.1)."""
    token = t.s.token("ann", "a1")
    c = Client(t.s.mqtt, "", token, clean=True)
    expect(c.connack.reason, 0)
    c.disconnect()
    free = subprocess.check_output([harness.KITH, "token", "--data", t.s.data, "--user", "ann", "--app", "demo"], text=True).strip()
    c = Client(t.s.mqtt, "", free, clean=True)
    expect((c.connack.reason, c.connack.properties["assigned_client_id"] != ""), (0, True))
    c.disconnect()
    expect(Client(t.s.mqtt, "", free, version=4, clean=False).connack.reason, 2, "3.1.1: no id and no clean session")
    c = Client(t.s.mqtt, "", free, version=4, clean=True)
    expect(c.connack.reason, 0)
    c.disconnect()
    c = Client(t.s.mqtt, "any-device", free, clean=True)
    expect(c.connack.reason, 0, "a token that names no device fits each")
    c.disconnect()


def malformed(t):
    """What ends a connection before it is one, and after."""
    token = t.s.token("ann", "a1")
    login = text("u") + text(token)
    publish = lambda topic: frame(PUBLISH, 2, text(topic) + b"\0\1\0{}")
    for what, data in (("PUBLISH before CONNECT", publish(MESSAGES)), ("PINGREQ before CONNECT", frame(PINGREQ, 0, b"")), ("HTTP", b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"),
                       ("flags of CONNECT", frame(CONNECT, 1, hello(rest=login))), ("reserved connect flag", frame(CONNECT, 0, hello(flags=0xC3, rest=login))),
                       ("will QoS without will", frame(CONNECT, 0, hello(flags=0xCA, rest=login))), ("no payload", frame(CONNECT, 0, hello(rest=b""))),
                       ("bytes too many", frame(CONNECT, 0, hello(rest=login + b"x"))), ("a property twice", frame(CONNECT, 0, hello(props=b"\x0a\x11\0\0\0\1\x11\0\0\0\1", rest=login))),
                       ("receive maximum 0", frame(CONNECT, 0, hello(props=properties(receive_maximum=0), rest=login))),
                       ("packet maximum 0", frame(CONNECT, 0, hello(props=properties(maximum_packet=0), rest=login))),
                       ("unknown property", frame(CONNECT, 0, hello(props=b"\2\x7f\0", rest=login))), ("client id not UTF-8", frame(CONNECT, 0, hello(device=b"a\xff", rest=login))),
                       ("length of five bytes", b"\x10\xff\xff\xff\xff\x01"), ("password without user (3.1.1)", frame(CONNECT, 0, hello(4, 0x42, rest=text(token)))),
                       ("a CONNECT of 1 MB", b"\x10\xff\xff\x3f" + b"x" * 20000), ("type 0", b"\0\0")):
        c = t.raw()
        c.raw(data)
        c.version = 5
        try:
            while (p := c.read(5)) is not None:
                assert p.kind == CONNACK and p.reason >= 0x80, f"{what}: {p.kind}"
        except Closed:
            continue
        raise AssertionError(what + ": the connection is open")
    for version, name in ((3, b"MQIsdp"), (6, b"MQTT"), (5, b"MQTX")):
        c = t.raw()
        c.version = 4
        c.send(CONNECT, 0, hello(version, name=name, rest=login))
        expect(c.wait(CONNACK).reason, 1, "a version that is not spoken")
        c.ended()
    head = struct.pack(">H", 5)
    for what, want, data in (("a second CONNECT", 0x82, frame(CONNECT, 0, hello(rest=login))), ("a packet only servers send", 0x82, frame(CONNACK, 0, b"\0\0\0")),
                             ("PUBREL with wrong flags", 0x81, frame(PUBREL, 0, head)), ("AUTH", 0x82, frame(15, 0, b"")), ("QoS 3", 0x81, frame(PUBLISH, 6, text("a") + head + b"\0")),
                             ("packet id 0", 0x82, frame(PUBLISH, 2, text(MESSAGES) + b"\0\0\0{}")), ("DUP of QoS 0", 0x81, frame(PUBLISH, 8, text(MESSAGES) + b"\0{}")),
                             ("topic with a wildcard", 0x90, publish("conversations/+/messages")), ("topic with a wildcard", 0x90, publish("conversations/#")),
                             ("topic not UTF-8", 0x81, publish(b"conversations/\xc3\x28/messages")), ("topic with a zero", 0x81, publish(b"a\0b")),
                             ("topic with a surrogate", 0x81, publish(b"a\xed\xa0\x80")), ("empty topic", 0x90, publish("")),
                             ("topic alias 0", 0x94, frame(PUBLISH, 2, text(MESSAGES) + head + properties(alias=0) + b"{}")),
                             ("too high a topic alias", 0x94, frame(PUBLISH, 2, text(MESSAGES) + head + properties(alias=17) + b"{}")),
                             ("a topic alias of nothing", 0x82, frame(PUBLISH, 2, text("") + head + properties(alias=3) + b"{}")),
                             ("flags of SUBSCRIBE", 0x81, frame(SUBSCRIBE, 0, head + b"\0" + text("users/ann/#") + b"\1")),
                             ("SUBSCRIBE of nothing", 0x82, frame(SUBSCRIBE, 2, head + b"\0")), ("reserved options", 0x82, frame(SUBSCRIBE, 2, head + b"\0" + text("users/ann/#") + b"\xc1")),
                             ("SUBSCRIBE with QoS 3", 0x82, frame(SUBSCRIBE, 2, head + b"\0" + text("users/ann/#") + b"\3")),
                             ("subscription id 0", (0x81, 0x82), frame(SUBSCRIBE, 2, head + properties(subscription_id=0) + text("users/ann/#") + b"\1")),
                             ("UNSUBSCRIBE of nothing", 0x82, frame(UNSUBSCRIBE, 2, head + b"\0")), ("a short PUBACK", 0x81, frame(PUBACK, 0, b"\0")),
                             ("PUBLISH cut short", 0x81, frame(PUBLISH, 2, b"\0\x40conv")), ("too large", 0x95, bytes([PUBLISH << 4 | 2]) + b"\x81\x80\x40"),
                             ("PINGREQ with a body", 0x81, frame(PINGREQ, 0, b"x")), ("length of five bytes", 0x81, b"\x30\xff\xff\xff\xff\x01")):
        c = Client(t.s.mqtt, "a1", token, clean=True)
        c.raw(data)
        last = c.ended()
        assert last, f"{what}: no DISCONNECT"
        assert last.reason in (want if isinstance(want, tuple) else (want,)), f"{what}: {last.reason:#x} {last.words!r}"
        assert last.words, f"{what}: no reason string"
        old = Client(t.s.mqtt, "a1", token, version=4, clean=True)
        if b"\0{}" not in data and data[0] >> 4 not in (SUBSCRIBE, UNSUBSCRIBE, PUBLISH):
            old.raw(data)
            expect(old.ended(), None, "3.1.1 only closes")
    c = Client(t.s.mqtt, "a1", token, clean=True)
    for i in range(0, 40):  # byte by byte
        c.raw(frame(PINGREQ, 0, b"")[i % 2:i % 2 + 1])
    expect([c.wait(13).kind for _ in range(20)], [13] * 20)
    c.disconnect()


# ---- PUBLISH ----
def publish(t):
    a = t.connect("ann", "a1", clean=True)
    expect(a.publish(MESSAGES, {"id": "p1", "body": "one"}).reason, 0)
    expect(a.publish(MESSAGES, {"id": "p1", "body": "one"}).reason, 0, "the same again")
    for topic, message, want in ((MESSAGES, {"id": "p1", "body": "other"}, 0x83), (MESSAGES, b"{not json", 0x99), (MESSAGES, {"body": "x", "wrong": 1}, 0x99), (MESSAGES, {}, 0x83),
                                 (MESSAGES, {"from": "bob", "body": "x"}, 0x87), ("conversations/none/messages", {"body": "x"}, 0x90), ("users/bob/messages", {"body": "x"}, 0x87),
                                 ("users/ann/messages", {"body": "x"}, 0x87), ("plain/topic", b"x", 0x87), ("$SYS/x", b"x", 0x87), ("notifications", {}, 0x87),
                                 ("users/bob/presence", {"online": True}, 0x87), ("users/ann/presence", {"online": 1}, 0x99), ("conversations/none/typing", b"", 0x90),
                                 ("conversations/ab/receipts", {"read": 1000}, 0x83), ("conversations/ab/receipts", {"read": "x"}, 0x99), (MESSAGES, {"body": "x" * 70000}, 0x95)):
        ack = a.publish(topic, message)
        expect((ack.reason, ack.words != ""), (want, topic[0] != "$"), f"{topic} {str(message)[:40]}: {ack.words}")
    expect(a.publish("conversations/ab/receipts", {"read": 1}).reason, 0)
    a.publish(MESSAGES, {"id": "q0", "body": "QoS 0"}, qos=0)
    eventually(lambda: expect(t.s.call("GET", "/v1/conversations/ab/messages/q0")[0], 200, "a QoS 0 message"))
    a.ping()
    a.disconnect()
    quiet = t.connect("ann", "a1", clean=True, problem_info=0)
    ack = quiet.publish("plain/topic", b"x")
    expect((ack.reason, ack.properties), (0x87, {}), "no reason string for who wants none")
    quiet.disconnect()


def publish_old(t):
    """3.1.1 cannot refuse: what will never do is acknowledged, and told on the errors topic."""
    a = t.connect("ann", "old", version=4, clean=True)
    expect(a.subscribe("users/ann/#"), [1])
    a.publish("conversations/none/messages", {"body": "x"}, packet=77)
    told = a.messages(1)[0]
    expect((told.topic, told.qos, told.json()["status"]), ("users/ann/errors", 0, 404))
    expect((told.json()["device"], told.json()["packet_id"]), ("old", 77), "which it is about")
    a.publish(MESSAGES, {"id": "kept", "body": "x"}, retain=True)
    expect(a.messages(1, topic="/errors")[0].json()["status"], 403, "retained")
    expect(t.s.call("GET", "/v1/conversations/ab/messages/kept")[0], 404)
    a.disconnect()


def exactly_once(t):
    """QoS 2 to a conversation: a PUBLISH sent again before its PUBREL is acknowledged, and stored once."""
    for version in (4, 5):
        a = t.connect("ann", "a1", version=version, clean=True)
        before = len(pages(t.s, "/v1/conversations/ab/messages?after=0"))
        props = b"" if version == 4 else b"\0"
        publish = lambda flags, n: a.raw(frame(PUBLISH, flags, text(MESSAGES) + struct.pack(">H", n) + props + b'{"body":"once"}'))
        publish(4, 7)
        expect((a.wait(PUBREC).packet), 7)
        publish(12, 7)
        expect((a.wait(PUBREC).packet), 7, "again")
        a.raw(frame(PUBREL, 2, struct.pack(">H", 7)))
        expect(a.wait(PUBCOMP).packet, 7)
        expect(len(pages(t.s, "/v1/conversations/ab/messages?after=0")), before + 1)
        publish(4, 7)
        expect(a.wait(PUBREC).packet, 7, "the packet id is free again")
        a.raw(frame(PUBREL, 2, struct.pack(">H", 7)) + frame(PUBREL, 2, struct.pack(">H", 9)))
        expect([a.wait(PUBCOMP).packet, a.wait(PUBCOMP).packet], [7, 9], "of an unknown packet too")
        expect(len(pages(t.s, "/v1/conversations/ab/messages?after=0")), before + 2)
        a.disconnect()


def window_in(t):
    """The server's receive maximum: as many as it says are taken, in order; QoS 0 is not counted."""
    a = t.connect("ann", "a1", clean=True)
    most = a.connack.properties["receive_maximum"]
    burst = b""
    for i in range(most):
        burst += frame(PUBLISH, 2, text(MESSAGES) + struct.pack(">H", i + 1) + b"\0" + json.dumps({"id": f"w{i}", "body": "x"}).encode())
    for i in range(most * 3):
        burst += frame(PUBLISH, 0, text("conversations/ab/typing") + b"\0")
    a.raw(burst)
    expect([a.wait(PUBACK).packet for _ in range(most)], list(range(1, most + 1)), "in order")
    a.ping()
    a.disconnect()
    old = t.connect("ann", "old", version=4, clean=True)
    burst = b"".join(frame(PUBLISH, 2, text(MESSAGES) + struct.pack(">H", i + 1) + json.dumps({"id": f"o{i}", "body": "x"}).encode()) for i in range(3000))
    threading.Thread(target=old.raw, args=(burst,)).start()
    expect([old.wait(PUBACK, 20).packet for _ in range(3000)], list(range(1, 3001)), "3.1.1 has no limit: it is read as it can be answered")
    old.disconnect()
    seqs = [m["seq"] for m in pages(t.s, "/v1/conversations/ab/messages?after=0")]
    expect(seqs, list(range(1, len(seqs) + 1)))


def pages(s, path):
    out, cursor = [], ""
    while cursor is not None:
        answer = s.call("GET", path + "&limit=200" + (f"&cursor={cursor}" if cursor else ""))[1]
        out, cursor = out + answer["items"], answer["next"]
    return out


# ---- SUBSCRIBE ----
def filters(t):
    a = t.connect("ann", "a1", clean=True)
    for topic, want in (("users/ann/#", 1), ("users/ann/messages", 1), ("users/ann/+", 1), ("users/bob/presence", 1), ("users/+/presence", 1), ("users/+/+", 0x87), ("conversations/ab/typing", 1), ("conversations/+/typing", 1), ("users/bob/#", 0x87),
                        ("users/bob/messages", 0x87), ("users/+/messages", 0x87), ("users/#", 0x87), ("#", 0x87), ("+/ann/messages", 0x87), ("conversations/ab/messages", 0x87),
                        ("conversations/#", 0x87), ("plain/topic", 0x87), ("$SYS/#", 0x87), ("users/ann/x#", 0x8F), ("users/ann/#/x", 0x8F), ("", 0x8F), ("$share/g/users/ann/#", 0x87), ("$share/g", 0x8F), ("$share//x", 0x8F)):
        expect(a.subscribe(topic), [want], topic)
    expect(a.subscribe("users/ann/#", "users/bob/#", "users/ann/#/"), [1, 0x87, 0x8F], "each filter on its own")
    expect(a.subscribe("users/ann/#", qos=2), [2], "QoS 2 is granted; what is published at 1 comes at 1")
    expect(a.subscribe("users/ann/receipts", qos=0), [0])
    expect(a.unsubscribe("users/ann/receipts", "never"), [0, 0x11])
    expect(a.unsubscribe("users/ann/receipts"), [0x11], "again")
    a.disconnect()
    old = t.connect("ann", "old", version=4, clean=True)
    expect(old.subscribe("users/ann/#", "users/bob/#", "$share/g/x", "#"), [1, 0x80, 0x80, 0x80], "3.1.1 knows one refusal")
    expect(old.unsubscribe("users/ann/#"), [])
    old.disconnect()
    many = t.connect("ann", "many", clean=True)
    codes = []
    for i in range(100):
        codes += many.subscribe(f"users/u{i}/presence")
    expect((codes[:60], codes[-1]), ([1] * 60, 0x97), "filters have a limit")
    many.disconnect()


def delivery(t):
    bob = t.connect("bob", "b1", clean=True)
    expect(bob.subscribe("users/bob/messages", subscription_id=7), [1])
    low = t.connect("bob", "b2", clean=True)
    expect(low.subscribe("users/bob/#", qos=0), [0])
    t.post("d1")
    p = bob.messages(1)[0]
    expect((p.topic, p.qos, p.dup, p.retain, p.properties.get("subscription_id"), p.json()["event"]), ("users/bob/messages", 1, False, False, 7, "created"))
    assert p.json()["cursor"]
    expect(low.messages(1)[0].qos, 0, "as the subscription says")
    bob.unsubscribe("users/bob/messages")
    t.post("d2")
    expect(ids(low.messages(1, topic="/messages")), ["d2"])
    expect(bob.messages(quiet=0.3), [], "nothing after UNSUBSCRIBE")
    small = t.connect("bob", "b3", clean=True, maximum_packet=200)
    small.subscribe("users/bob/#")
    for n, body in (("s1", "x"), ("s2", "y" * 1000), ("s3", "z")):
        t.s.call("POST", "/v1/conversations/ab/messages", {"id": n, "from": "ann", "body": body})
    got = small.messages(topic="/messages", quiet=0.5)
    expect([n for n in ids(got) if n == "s2"], [], "what is larger than it takes is not sent")
    for c in (bob, low, small):
        c.disconnect()


# ---- sessions ----
def kept(t):
    bob = t.connect("bob", "kept", clean=True)
    bob.subscribe("users/bob/messages")
    bob.disconnect()
    t.post("k1", "k2", "k3")
    bob = t.connect("bob", "kept")
    expect(bob.connack.present, True, "session present")
    first = bob.messages(3, ack=False)
    expect([(p.json()["id"], p.dup) for p in first], [("k1", False), ("k2", False), ("k3", False)], "in order, without subscribing again")
    bob.ack(first[0])
    bob.ping()
    bob.drop()
    again = t.connect("bob", "kept")
    resent = again.messages(2, ack=False)
    expect([(p.json()["id"], p.dup) for p in resent], [("k2", True), ("k3", True)], "not acknowledged: sent again with DUP")
    expect([p.packet for p in resent], [p.packet for p in first[1:]], "under the same packet id")
    expect(again.connack.properties["user"], ("kith-cursor", first[0].json()["cursor"]), "behind which it goes on")
    again.ack(resent[1])
    again.drop()
    again = t.connect("bob", "kept")
    expect(ids(again.messages(2, ack=False)), ["k2", "k3"], "the cursor moves in order")
    again.drop()
    t.s.kill()
    t.s.start()
    again = t.connect("bob", "kept")
    expect(again.connack.present, True, "after kill -9")
    got = again.messages(2)
    expect([(p.json()["id"], p.dup) for p in got], [("k2", True), ("k3", True)])
    t.post("k4")
    expect(ids(again.messages(1)), ["k4"])  # DUP for a while: after a crash nobody knows what had been sent
    again.disconnect()
    t.s.stop()
    t.s.start()
    again = t.connect("bob", "kept")
    expect((again.connack.present, again.messages(quiet=0.3)), (True, []), "nothing twice after a clean stop")
    again.disconnect()
    fresh = t.connect("bob", "kept", clean=True)
    expect(fresh.connack.present, False, "clean start")
    fresh.disconnect()
    t.post("k5")
    fresh = t.connect("bob", "kept")
    expect((fresh.connack.present, fresh.messages(quiet=0.3)), (True, []), "its filters went")
    fresh.disconnect(session_expiry=0)
    expect(t.connect("bob", "kept", clean=True).connack.present, False)


def kept_old(t):
    bob = t.connect("bob", "old", version=4, clean=False)
    expect(bob.connack.present, False)
    bob.subscribe("users/bob/messages")
    bob.drop()
    t.post("v1")
    bob = t.connect("bob", "old", version=4, clean=False)
    expect((bob.connack.present, ids(bob.messages(1))), (True, ["v1"]))
    bob.disconnect()
    bob = t.connect("bob", "old", version=5, clean=False, expiry=60)
    expect(bob.connack.present, True, "the same session in the other version")
    bob.disconnect()
    bob = t.connect("bob", "old", version=4, clean=True)
    expect(bob.connack.present, False)
    bob.disconnect()
    bob = t.connect("bob", "old", version=4, clean=False)
    expect(bob.connack.present, False, "a clean session leaves nothing")
    bob.disconnect()


def expiry(t):
    none = t.connect("bob", "e0", expiry=None)
    none.subscribe("users/bob/#")
    none.disconnect()
    short = t.connect("bob", "e1", expiry=20)
    short.subscribe("users/bob/#")
    short.drop()
    changed = t.connect("bob", "e2", expiry=1000)
    changed.disconnect(session_expiry=0)
    longer = t.connect("bob", "e3", expiry=1)
    longer.disconnect(session_expiry=1000)
    stays = t.connect("bob", "e4", expiry=1)
    time.sleep(0.2)
    c = t.connect("bob", "e1", expiry=1)
    expect(c.connack.present, True, "within its expiry")
    c.drop()
    time.sleep(1.4)
    for device, want, what in (("e0", False, "expiry 0 ends with the connection"), ("e1", False, "expired"), ("e2", False, "ended by its DISCONNECT"), ("e3", True, "prolonged by its DISCONNECT")):
        c = t.connect("bob", device, expiry=100)
        expect(c.connack.present, want, what)
        c.disconnect()
    began = time.time()
    stays.drop()
    c = t.connect("bob", "e4", expiry=100)
    expect(c.connack.present or time.time() - began > 0.9, True, "the time counts from the end of the connection")
    c.disconnect()
    c = t.connect("bob", "e5", expiry=None)
    c.send(DISCONNECT, 0, b"\0" + properties(session_expiry=60))
    expect(c.ended().reason, 0x82, "what was to end cannot be kept at its end")
    backend = Client(t.s.mqtt, "backend", t.s.key, expiry=60)
    expect((backend.connack.present, backend.connack.properties["session_expiry"]), (False, 0), "a backend has no session")
    backend.disconnect()


def takeover(t):
    one = t.connect("bob", "two")
    one.subscribe("users/bob/messages")
    t.post("t1")
    expect(ids(one.messages(1, ack=False)), ["t1"])
    two = t.connect("bob", "two")
    last = one.ended()
    expect((last.reason, last.words != ""), (0x8E, True), "session taken over")
    expect(two.connack.present, True)
    expect([(p.json()["id"], p.dup) for p in two.messages(1)], [("t1", True)])
    two.ping()  # its PUBACK has been read
    old = t.connect("bob", "two", version=4, clean=False)
    expect((two.ended().reason, old.connack.present), (0x8E, True))
    new = t.connect("bob", "two")
    expect(old.ended(), None, "3.1.1 hears nothing")
    t.post("t2")
    expect(ids(new.messages(1)), ["t2"])
    new.ping()  # its PUBACK has been read
    for _ in range(20):
        newer = t.connect("bob", "two")
        expect(newer.connack.present, True)
    t.post("t3")
    expect(ids(newer.messages(1)), ["t3"], "the last one has it")
    newer.disconnect()


def window_out(t):
    bob = t.connect("bob", "win", clean=True, receive_maximum=3)
    bob.subscribe("users/bob/messages")
    t.post(*[f"r{i}" for i in range(10)])
    first = bob.exactly(3, ack=False)
    expect(ids(first), ["r0", "r1", "r2"], "no more than the client's receive maximum")
    expect(len({p.packet for p in first}), 3)
    bob.ack(first[1])
    expect(bob.messages(quiet=0.3, ack=False), [], "acknowledged out of order: the window is as full as before")
    bob.ack(first[0])
    bob.ack(first[2])
    rest = bob.messages(7)
    expect(ids(rest)[-1], "r9")
    bob.disconnect()
    dead = t.connect("bob", "win", receive_maximum=2)
    expect(dead.messages(quiet=0.3), [], "all was acknowledged")
    dead.drop()


def live(t):
    ann, bob = t.connect("ann", "a1", clean=True), t.connect("bob", "b1", clean=True)
    expect(bob.subscribe("conversations/ab/typing", "users/ann/presence"), [1, 1])
    expect(ann.publish("conversations/ab/typing", b"").reason, 0)
    p = bob.messages(1)[0]
    expect((p.topic, p.json(), p.qos), ("conversations/ab/typing", {"from": "ann"}, 0))
    expect(ann.publish("users/ann/presence", {"online": True}).reason, 0)
    p = bob.messages(1)[0]
    expect((p.topic, p.json()), ("users/ann/presence", {"online": True}))
    all_of = t.connect("bob", "b2", clean=True)
    expect(all_of.subscribe("conversations/+/typing", "users/+/presence"), [1, 1])
    stranger = t.connect("zoe", "z1", clean=True)
    expect(stranger.subscribe("users/+/presence"), [1])
    expect([a.publish(topic, body).reason for a, topic, body in ((ann, "users/ann/presence", {"online": False}), (ann, "conversations/ab/typing", b""))], [0, 0])
    expect([(p.topic, p.json()) for p in all_of.messages(2)], [("users/ann/presence", {"online": False}), ("conversations/ab/typing", {"from": "ann"})], "of everybody, once")
    expect(stranger.messages(quiet=0.3), [], "who shares no conversation hears nothing, whatever they ask for")
    for a in (ann, bob, all_of, stranger):
        a.disconnect()


def story(s):
    t = Story(s)
    parts = (connack, connack_refusals, client_ids, publish, publish_old, exactly_once, filters, delivery, kept, kept_old, expiry, takeover, window_out, live, window_in, malformed)
    for part in parts:
        part(t)


# ---- time ----
def gone_after(clients):
    """Seconds until each connection ended, and the DISCONNECT's reason."""
    out, began = {}, time.time()

    def wait(name, c):
        try:
            last = c.ended()
            out[name] = (time.time() - began, last.reason if last else None)
        except AssertionError:
            out[name] = (99, None)
    threads = [threading.Thread(target=wait, args=item) for item in clients.items()]
    for x in threads:
        x.start()
    for x in threads:
        x.join()
    return out


def keep_alive(s):
    t = Story(s)
    clients = {name: t.connect("ann", name, clean=True, **more) for name, more in (("own", {"keep_alive": 1}), ("old", {"keep_alive": 1, "version": 4}), ("long", {"keep_alive": 600}),
                                                                                    ("none", {"keep_alive": 0}))}
    expect([clients[n].connack.properties.get("server_keep_alive") for n in ("own", "long", "none")], [None, 2, 2], "--mqtt-keepalive-max")
    busy = t.connect("ann", "busy", clean=True, keep_alive=2)
    silent = {"silent": t.raw(), "half": t.raw()}
    silent["half"].raw(b"\x10")
    done = {}
    watcher = threading.Thread(target=lambda: done.update(gone_after({**clients, **silent})))
    watcher.start()
    for _ in range(12):
        busy.ping()
        time.sleep(0.3)
    busy.ping()
    watcher.join()
    for name, least, most, reason in (("own", 1.3, 12, 0x8D), ("old", 1.3, 12, None), ("long", 2.8, 14, 0x8D), ("none", 2.8, 14, 0x8D), ("silent", 5, 25, None), ("half", 5, 25, None)):
        seconds, said = done[name]
        assert least <= seconds <= most, f"{name} ended after {seconds:.1f} s"
        expect(said, reason, name)


def by_readme(s):
    """The commands of the README, with the clients that a reader has."""
    if not shutil.which("mosquitto_sub"):
        print("skipped: the README's commands; mosquitto-clients is not installed")
        return
    s.call("PUT", "/v1/conversations/ann-bob", {"type": "direct", "members": ["ann", "bob"]})
    token = subprocess.check_output([harness.KITH, "token", "--data", s.data, "--app", "demo", "--user", "bob", "--device", "bobs-phone"], text=True).strip()
    for version in ("mqttv311", "mqttv5"):
        more = ["-x", "3600"] if version == "mqttv5" else []
        listen = subprocess.Popen(["mosquitto_sub", "-p", str(s.mqtt), "-q", "1", "-c", "-i", "bobs-phone", "-u", "bob", "-P", token, "-t", "users/bob/#", "-C", "1", "-W", "60",
                                   "-V", version, "-F", "%t %p", *more], stdout=subprocess.PIPE, text=True)
        eventually(lambda: expect([(x["subscriptions"], x["protocol"][:5]) for x in s.call("GET", "/v1/sessions")[1]["items"] if x["device"] == "bobs-phone"], [(1, "mqtt" + version[5])]))
        expect(s.call("POST", "/v1/conversations/ann-bob/messages", {"from": "ann", "body": "hello"})[0], 201)
        topic, payload = listen.communicate(timeout=60)[0].split(" ", 1)
        expect((topic, json.loads(payload)["body"], listen.returncode), ("users/bob/messages", "hello", 0), version)
    ann = s.token("ann", "anns-phone")
    for version, wrong in (("mqttv311", 0), ("mqttv5", None)):
        publish = lambda message: subprocess.run(["mosquitto_pub", "-p", str(s.mqtt), "-q", "1", "-i", "anns-phone", "-u", "ann", "-P", ann, "-V", version, "-t",
                                                  "conversations/ann-bob/messages", "-m", json.dumps(message)], capture_output=True, text=True, timeout=60)
        expect(publish({"id": version, "body": "hi"}).returncode, 0)
        refused = publish({"body": "x", "wrong": 1})
        assert wrong == refused.returncode if wrong is not None else "wrong" in refused.stderr, refused.stderr
        expect(s.call("GET", f"/v1/conversations/ann-bob/messages/{version}")[1]["body"], "hi")
    bad = subprocess.run(["mosquitto_sub", "-p", str(s.mqtt), "-i", "bobs-phone", "-u", "bob", "-P", "nonsense", "-t", "users/bob/#", "-W", "5"], capture_output=True, text=True)
    assert bad.returncode != 0, "a bad password"


def too_many(s):
    """Each kept session costs the server something for as long as it is kept: a user has 256."""
    token = subprocess.check_output([harness.KITH, "token", "--data", s.data, "--user", "hoarder", "--app", "demo"], text=True).strip()
    def keep(device, expiry=1000):
        c = Client(s.mqtt, device, token, expiry=expiry)
        c.disconnect()
        return c.connack.reason
    expect([keep(f"d{i}") for i in range(257)], [0] * 256 + [0x97])
    expect(keep("d5", 1), 0)
    time.sleep(1.1)
    expect((keep("late"), keep("later")), (0, 0x97), "what has expired makes room")
    expect(Client(s.mqtt, "d100", token, expiry=1000).connack.present, True, "those there are go on")
    c = Client(s.mqtt, "passing", token, expiry=0)
    expect(c.connack.reason, 0, "what is not kept is not counted")


slow = []


def timed():
    s = Server("--shards", "2", "--mqtt-keepalive-max", "2")
    try:
        keep_alive(s)
    except Exception as e:
        slow.append(e)
    s.close()


beside = threading.Thread(target=timed)
beside.start()
both(story)
alone = Server()
by_readme(alone)
too_many(alone)
alone.close()
beside.join()
if slow:
    raise slow[0]
