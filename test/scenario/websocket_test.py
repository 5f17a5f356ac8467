"""MQTT over WebSocket at GET /mqtt: who is let in, how bytes travel in frames, closing, and what breaks the rules."""
import json, socket, struct, time

import mqtt
from harness import expect
from lanes import both
from mqtt import Client, text
from websocket import BINARY, CLOSE, PING, PONG, TEXT, Refused, WebSocket, frame


class Story:
    def __init__(self, s):
        self.s = s
        s.call("PUT", "/v1/conversations/ab", {"type": "direct", "members": ["ann", "bob"]})
        self.tokens = {w: s.token(w, w + "s-tab") for w in ("ann", "bob")}

    def connect(self, user, **more):
        return Client(0, user + "s-tab", self.tokens[user], via=WebSocket(self.s.http), **more)

    def post(self, body, **more):
        expect(self.s.call("POST", "/v1/conversations/ab/messages", {"from": "ann", "body": body, **more})[0], 201)


def refused(port, status, **how):
    try:
        WebSocket(port, **how).close()
    except Refused as e:
        expect(e.status, status, str(how))
        return e
    raise AssertionError(f"upgraded: {how}")


def upgrades(t):
    port = t.s.http
    w = WebSocket(port, protocol="mqttv3.1, mqtt")
    expect((w.headers["sec-websocket-protocol"], w.headers["upgrade"].lower(), w.headers["connection"].lower()), ("mqtt", "websocket", "upgrade"))
    expect("content-length" in w.headers, False)
    w.close()
    old = refused(port, 426, headers={"Sec-WebSocket-Version": "8"})
    expect(old.headers["sec-websocket-version"], "13")
    expect(json.loads(old.body)["type"].endswith("/problems/upgrade-required"), True)
    refused(port, 426, headers={"Upgrade": None})
    refused(port, 426, headers={"Connection": "keep-alive"})
    refused(port, 426, headers={"Sec-WebSocket-Version": None})
    refused(port, 400, headers={"Sec-WebSocket-Key": None})
    refused(port, 400, headers={"Sec-WebSocket-Key": "c2hvcnQ="})
    refused(port, 400, protocol="chat")
    refused(port, 400, protocol=None)
    refused(port, 404, path="/nowhere")
    expect(t.s.call("POST", "/mqtt", {})[0], 405)
    expect(t.s.call("GET", "/mqtt")[0], 426)
    # answers to requests before it go first, and frames may come with it
    c = socket.create_connection(("127.0.0.1", port))
    c.sendall(b"GET /healthz HTTP/1.1\r\nHost: h\r\n\r\n")
    w = WebSocket(port, via=c, early=frame(PING, b"early"), answers_before=1)
    expect(w.read(), (PONG, b"early"))
    w.close()


def origins(t):
    port = t.s.http
    for origin in (None, f"http://127.0.0.1:{port}", f"https://127.0.0.1:{port}", "https://listed.example", "https://also.example:8443"):
        WebSocket(port, headers={"Origin": origin}).close()
    WebSocket(port, headers={"Origin": "https://localhost", "Host": "LOCALHOST:443"}).close()
    for origin in ("https://evil.example", "https://listed.example.evil", "http://listed.example", "https://also.example", "null", "http://127.0.0.1", ""):
        e = refused(port, 403, headers={"Origin": origin})
        expect(json.loads(e.body)["type"].endswith("/problems/forbidden"), True, origin)


def messages(t):
    for version in (5, 4):
        c = t.connect("bob", version=version, clean=True)
        expect(c.connack.reason, 0)
        expect(c.subscribe("users/bob/#"), [1])
        t.post(f"hello {version}")
        p = c.message()
        expect((p.topic, p.json()["body"]), ("users/bob/messages", f"hello {version}"))
        expect(c.publish("conversations/ab/messages", {"id": f"ws-{version}", "body": "x" * 60000}).reason, 0)
        expect(len(c.message().json()["body"]), 60000, "large, both ways")
        c.ping()
        c.disconnect()


def pieces(t):
    """A packet in many frames, many packets in a frame, fragments, control frames between them."""
    w = WebSocket(t.s.http)
    c = Client(0, "", "", version=4, connect=False, via=w)
    token = t.tokens["bob"]
    hello = mqtt.frame(mqtt.CONNECT, 0, text("MQTT") + bytes([4, 0xC2]) + struct.pack(">H", 60) + text("bobs-tab") + text("u") + text(token))
    for i in range(len(hello)):
        w.send(BINARY, hello[i:i + 1])
    expect(c.wait(mqtt.CONNACK).reason, 0)
    ping = mqtt.frame(mqtt.PINGREQ, 0, b"")
    w.send(BINARY, ping * 50)
    for _ in range(50):
        c.wait(mqtt.PINGRESP)
    w.send(BINARY, ping[:1], fin=False)
    w.send(PING, b"between")
    w.send(0, b"", fin=False)
    w.send(0, ping[1:] + ping)
    expect(w.read(), (PONG, b"between"))
    c.wait(mqtt.PINGRESP)
    c.wait(mqtt.PINGRESP)
    w.raw.sendall(b"".join(frame(PING, str(i).encode()) for i in range(500)) + frame(BINARY, ping))
    for i in range(500):
        expect(w.read(), (PONG, str(i).encode()), "each ping is answered, in order")
    c.wait(mqtt.PINGRESP)
    for byte in frame(BINARY, ping, key=b"\xff\x00\x55\xaa"):  # as slow as can be
        w.raw.sendall(bytes([byte]))
    c.wait(mqtt.PINGRESP)
    c.disconnect()


def closing(t):
    w = WebSocket(t.s.http)
    w.send(CLOSE, struct.pack(">H", 1000) + b"bye")
    expect(w.closes(), 1000)
    w = WebSocket(t.s.http)
    w.send(CLOSE)
    expect(w.closes(), 1005)
    c = t.connect("bob", clean=True)
    c.send(mqtt.DISCONNECT, 0, b"")
    expect(c.socket.closes(), 1000, "after DISCONNECT")
    # a second connection of the device takes the place of the first
    c = t.connect("bob", clean=True)
    other = t.connect("bob", clean=True)
    p = c.read()
    expect((p.kind, p.reason), (mqtt.DISCONNECT, 0x8E))
    expect(c.socket.closes(), 1000, "after the server's DISCONNECT")
    # a closed frame ends the session as a lost connection does: it is taken up again
    kept = t.connect("bob", expiry=3600)
    kept.subscribe("users/bob/#")
    kept.socket.send(CLOSE, struct.pack(">H", 1001))
    expect(kept.socket.closes(), 1001)
    t.post("while away")
    kept = t.connect("bob", expiry=3600)
    expect((kept.connack.present, kept.message().json()["body"]), (True, "while away"))
    kept.disconnect(session_expiry=0)


def wills(t):
    """A close frame is no DISCONNECT: the will goes out; nor is a lost connection."""
    expect(t.s.call("PUT", "/v1/channel-rules/gone", {"topic": "gone/#", "publish": True, "subscribe": True})[0] in (200, 201), True)
    watcher = t.connect("bob", clean=True)
    watcher.subscribe("gone/#")

    def leave(how):
        how(t.connect("ann", clean=True, expiry=0, will=("gone/ann", "bye")).socket)

    leave(lambda w: w.sendall(mqtt.frame(mqtt.DISCONNECT, 0, b"")))
    expect(watcher.message(0.5), None, "after DISCONNECT")
    for how in (lambda w: w.send(CLOSE, struct.pack(">H", 1000)), lambda w: w.send(TEXT, b"?"), lambda w: w.close()):
        leave(how)
        expect(watcher.message().payload, b"bye")
    watcher.disconnect()


def rules(t):
    for what, code in ((frame(TEXT, b"hello"), 1003), (frame(BINARY, b"x", masked=False), 1002), (frame(BINARY, b"x", rsv=4), 1002), (frame(3, b"x"), 1002),
                       (frame(0, b"x"), 1002), (frame(PING, b"x" * 126), 1002), (frame(PING, b"x", fin=False), 1002), (frame(CLOSE, b"x"), 1002),
                       (frame(CLOSE, struct.pack(">H", 1005)), 1002), (frame(CLOSE, struct.pack(">H", 1000) + b"\xff"), 1007),
                       (frame(BINARY, b"x", fin=False) + frame(BINARY, b"y"), 1002), (b"\x82\xff" + struct.pack(">Q", 1 << 40) + b"mask", 1009)):
        w = WebSocket(t.s.http)
        w.raw.sendall(what)
        expect(w.closes(), code, what[:16].hex())
    # what is no MQTT ends it too
    w = WebSocket(t.s.http)
    w.send(BINARY, b"GET / HTTP/1.1\r\n\r\n")
    expect(w.closes(), 1000)


def slow_reader(t):
    """Who does not read costs bounded memory, and gets all of it in order once they do."""
    c = t.connect("bob", clean=True)
    c.subscribe("users/bob/#")
    c.socket.raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
    for i in range(60):
        t.post("x" * 50000, id=f"slow-{i}")
    time.sleep(0.5)
    got = c.messages(60)
    expect([p.json()["id"] for p in got], [f"slow-{i}" for i in range(60)])
    # nor does who pings and does not read the pongs
    w = WebSocket(t.s.http)
    w.raw.settimeout(0.5)
    sent, burst = 0, frame(PING, b"p" * 125) * 500
    try:
        while sent < 64 << 20:
            sent += w.raw.send(burst)
    except (TimeoutError, BlockingIOError):
        pass
    assert sent < 32 << 20, f"{sent} bytes of pings were read"
    w.close()
    c.disconnect()


def generator(t):
    """`kith bench --websocket`: the load generator's devices come this way too."""
    address = ["--http", f"127.0.0.1:{t.s.http}", "--key", t.s.key]
    for scenario, more in (("connect", ["--devices", "100"]), ("one-to-one", ["--pairs", "5", "--duration", "1", "--warmup", "0"])):
        status, said = t.s.tool("bench", scenario, "--websocket", "--json", *address, *more)
        expect((status, json.loads(said)["valid"]), (0, True), said)


def story(s):
    t = Story(s)
    for part in (upgrades, origins, messages, pieces, closing, wills, rules, slow_reader, generator):
        part(t)
    metrics = s.call("GET", "/metrics")[1].decode()
    assert "kith_websockets_total" in metrics, metrics


both(story, "--ws-origins", "https://listed.example,https://also.example:8443")
