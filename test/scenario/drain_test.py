"""SIGTERM drains: what is under way is answered or left undone, never half done; devices are told; nobody can hold the server up; the next start is quick."""
import json, os, signal, socket, threading, time

from harness import Server, expect
from mqtt import Client, Closed, CONNACK, DISCONNECT, PUBACK, PUBLISH, SUBSCRIBE

BIG = "x" * 60000


def ask(port, key, method, path, body=None):
    """A raw request on a connection of its own, sent whole: the socket."""
    text = b"" if body is None else json.dumps(body).encode()
    c = socket.create_connection(("127.0.0.1", port), timeout=30)
    c.sendall(f"{method} {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {key}\r\nContent-Length: {len(text)}\r\n\r\n".encode() + text)
    return c


def answer(c):
    """(status, headers, body) of one whole answer; None when the connection ended without a byte."""
    data = b""
    while b"\r\n\r\n" not in data:
        try:
            more = c.recv(65536)
        except ConnectionResetError:
            more = b""
        if not more:
            assert not data, f"half an answer: {data!r}"
            return None
        data += more
    head, body = data.split(b"\r\n\r\n", 1)
    lines = head.decode().split("\r\n")
    headers = {l.split(":", 1)[0].lower(): l.split(":", 1)[1].strip() for l in lines[1:]}
    while len(body) < int(headers.get("content-length", 0)):
        more = c.recv(65536)
        assert more, "half an answer"
        body += more
    return int(lines[0].split()[1]), headers, body


def ends(s, began, seconds):
    expect(s.process.wait(timeout=seconds + 20), 0, "exit status")
    took = time.time() - began
    assert took < seconds, f"it took {took:.1f} s to end"
    return took


def restart(s, seconds):
    began = time.time()
    s.start()
    expect(s.call("GET", "/readyz")[0], 200)
    took = time.time() - began
    assert took < seconds, f"it took {took:.1f} s to start"


def bodies(s, conversation):
    out, after = {}, 0
    while True:
        items = s.call("GET", f"/v1/conversations/{conversation}/messages?after={after}&limit=200")[1]["items"]
        if not items:
            return out
        for m in items:
            out[m["id"]] = m
        after = items[-1]["seq"]


def publishes_in_flight(s):
    """A client with a full window when the signal comes, which goes on sending: PUBACKs in order, then DISCONNECT 0x8b, and the store agrees with them."""
    client = Client(s.mqtt, "a1", s.token("ann", "a1"), clean=True)
    sent, acks, last = {}, {}, None
    for n in range(400):
        if n == 150:
            began = time.time()
            s.process.send_signal(signal.SIGTERM)
        try:
            sent[client.publish_begin("conversations/ab/messages", {"id": f"p{n}", "body": f"body {n}"})] = f"p{n}"
        except OSError:
            break
    try:
        while (p := client.read(10)) is not None:
            assert last is None, "something came behind the DISCONNECT"
            if p.kind == PUBACK:
                assert p.packet not in acks, "a second PUBACK"
                acks[p.packet] = p.reason
            elif p.kind == DISCONNECT:
                last = p
    except Closed:
        pass
    assert last and last.reason == 0x8b, f"the busy client was not told: {last and last.reason}"
    order = list(sent)
    expect(list(acks), order[:len(acks)], "PUBACKs are in the order of the PUBLISHes")
    assert set(acks.values()) <= {0, 0x8b}, acks
    assert acks, "what was sent before the signal was not even looked at"
    ends(s, began, 9.5)
    restart(s, 15)
    stored = bodies(s, "ab")
    for packet, mid in sent.items():
        if acks.get(packet) == 0:
            assert mid in stored and stored[mid]["body"] == "body " + mid[1:], f"{mid} was acknowledged and is not stored"
        if acks.get(packet, 0) >= 0x80:
            assert mid not in stored, f"{mid} was refused and is stored"
    print(f"  {len(sent)} sent, {sum(r == 0 for r in acks.values())} acknowledged, {sum(r != 0 for r in acks.values())} refused, {len(sent) - len(acks)} unanswered")


def everybody_is_told(s):
    """Idle devices, requests under way, a live stream, an idle HTTP connection; and a second signal."""
    five = Client(s.mqtt, "b1", s.token("bob", "b1"))
    four = Client(s.mqtt, "c1", s.token("cho", "c1"), version=4)
    stream = ask(s.http, s.key, "GET", "/v1/users/bob/stream")
    idle = ask(s.http, s.key, "GET", "/healthz")
    expect(answer(idle)[0], 200)
    half = socket.create_connection(("127.0.0.1", s.http))
    half.sendall(b"POST /v1/conversations/ab/messages HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Le")
    silent = socket.create_connection(("127.0.0.1", s.mqtt))
    time.sleep(0.3)
    asked = [ask(s.http, s.key, "POST", "/v1/conversations/ab/messages", {"id": f"h{n}", "from": "ann", "body": str(n)}) for n in range(40)]
    asked += [ask(s.http, s.key, "GET", "/v1/conversations/ab/messages?limit=200") for n in range(10)]
    began = time.time()
    s.process.send_signal(signal.SIGTERM)
    time.sleep(0.02)
    s.process.send_signal(signal.SIGTERM)
    s.process.send_signal(signal.SIGINT)
    said = [answer(c) for c in asked]
    told = five.ended()
    expect(told and told.reason, 0x8b, "an idle MQTT 5 device")
    expect(four.ended(), None, "an idle MQTT 3.1.1 device")
    ends(s, began, 9.5)
    for c in (stream, idle, half, silent):
        c.close()
    assert sum(a is not None for a in said) >= 40, "requests that lay there when the signal came were not answered"
    restart(s, 15)
    stored = bodies(s, "ab")
    for n, a in enumerate(said[:40]):
        if a and a[0] == 201:
            assert f"h{n}" in stored, f"h{n} was acknowledged and is not stored"
        elif a:
            expect((a[0], json.loads(a[2])["type"], "retry-after" in a[1]), (503, "/problems/draining", True))
            assert f"h{n}" not in stored, f"h{n} was refused and is stored"


def the_stuck(s):
    """Clients that never read, with megabytes to come, hold nobody up; their sessions go on after the restart."""
    token = s.token("bob", "stuck")
    first = Client(s.mqtt, "stuck", token)
    expect(first.subscribe("users/bob/#"), [1])
    expect(first.connack.present, False)
    stream = ask(s.http, s.key, "GET", "/v1/users/bob/stream")
    for n in range(120):
        expect(s.call("POST", "/v1/conversations/ab/messages", {"id": f"s{n}", "from": "ann", "body": BIG})[0], 201)
    began = time.time()
    s.process.send_signal(signal.SIGTERM)
    took = ends(s, began, 20)
    restart(s, 15)
    again = Client(s.mqtt, "stuck", token)
    expect(again.connack.present, True)
    got = [m.json()["id"] for m in again.messages(120, topic="/messages")]
    expect(got, [f"s{n}" for n in range(120)], "what the stuck device had not acknowledged")
    again.disconnect()
    stream.close()
    first.drop()
    print(f"  with stuck clients it ended in {took:.1f} s")


def while_starting(s):
    """A signal in the middle of a start ends that too, and takes nothing with it."""
    s.kill()
    log = open(os.devnull, "w")
    import subprocess
    from harness import KITH
    for wait in (0.0, 0.05, 0.2, 0.5):
        p = subprocess.Popen([KITH, "serve", "--data", s.data, "--http", "127.0.0.1:0", "--mqtt", "127.0.0.1:0", *s.options], stdout=log, stderr=log)
        time.sleep(wait)
        p.send_signal(signal.SIGTERM)
        status = p.wait(timeout=15)
        assert status in (0, -signal.SIGTERM), f"exit status {status}"
    s.check()
    restart(s, 15)
    assert "s119" in bodies(s, "ab")


for shards in ("1", "2"):
    s = Server("--shards", shards)
    try:
        expect(s.call("PUT", "/v1/conversations/ab", {"type": "direct", "members": ["ann", "bob"]})[0], 201)
        s.call("PUT", "/v1/users/cho", {})
        for story in (publishes_in_flight, everybody_is_told, the_stuck, while_starting):
            story(s)
        s.stop()
        s.check()
    except BaseException:
        print(f"--shards {shards}:", s.said()[-3000:])
        s.process.kill()
        s.process.wait()
        raise
    s.close()
