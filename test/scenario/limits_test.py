"""Limits that hold: connections, rates and bytes of an address, an app, a user, a device, a connection. Who is too fast is told or slowed, and loses nothing."""
import socket, threading, time
from harness import Server, expect, eventually
from mqtt import Client, PUBACK
from proxy_header import header


def metric(s, name):
    return next(int(line.split()[1]) for line in s.call("GET", "/metrics")[1].decode().splitlines() if line.startswith(name + "_total"))


def http(s, path, address, key="none"):
    """(status, headers) of a request from another local address."""
    with socket.create_connection(("127.0.0.1", s.http), timeout=30, source_address=(address, 0)) as c:
        c.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {key}\r\nConnection: close\r\n\r\n".encode())
        head = b""
        while data := c.recv(65536):
            head += data
    lines = head.split(b"\r\n\r\n")[0].decode().split("\r\n")
    return int(lines[0].split()[1]), dict(line.lower().split(": ", 1) for line in lines[1:])


def many(s, path, address, count, key="none"):
    """(status, Retry-After or None) of so many requests at once, on one connection: faster than any rate here, however busy the machine is."""
    one = f"GET {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {key}\r\n"
    with socket.create_connection(("127.0.0.1", s.http), timeout=30, source_address=(address, 0)) as c:
        c.sendall(f"{one}\r\n".encode() * (count - 1) + f"{one}Connection: close\r\n\r\n".encode())
        said = b""
        while data := c.recv(65536):
            said += data
    answers = [part.split(b"\r\n\r\n")[0].decode().lower() for part in said.split(b"HTTP/1.1 ")[1:]]
    return [(int(head[:3]), head.partition("retry-after: ")[2].split("\r\n")[0] or None) for head in answers]


def is_open(c):
    """As far as was heard of it."""
    c.setblocking(False)
    try:
        return c.recv(1) != b""
    except BlockingIOError:
        return True
    except OSError:
        return False


def open_ones(s, n, address, stay):
    """n connections to the MQTT port that say nothing, of which so many stay: those."""
    tried = [socket.create_connection(("127.0.0.1", s.mqtt), timeout=30, source_address=(address, 0)) for _ in range(n)]

    def left():
        still = [c for c in tried if is_open(c)]
        expect(len(still), stay, f"connections of {address}")
        return still
    eventually(left)
    time.sleep(0.3)
    return left()


def connections():
    s = Server("--connections-per-address", "20", "--connections-per-user", "2", "--connections-per-app", "6", "--connect-rate-per-device", "3")
    held = open_ones(s, 30, "127.0.0.2", 20)
    refused = metric(s, "kith_limit_connection")
    assert refused >= 10, refused
    status, headers = http(s, "/healthz", "127.0.0.2")
    expect((status, headers["retry-after"], headers["content-type"]), (429, "1", "application/problem+json"), "HTTP is told")
    expect(http(s, "/healthz", "127.0.0.3")[0], 200, "another address is not touched")
    for c in held[:5]:
        c.close()
    eventually(lambda: expect(http(s, "/healthz", "127.0.0.2")[0], 200, "there is room again"))
    for c in held:
        c.close()

    token = {d: s.token("ann", d) for d in ("a", "b", "c")}
    a, b = Client(s.mqtt, "a", token["a"]), Client(s.mqtt, "b", token["b"])
    expect((a.connack.reason, b.connack.reason), (0, 0))
    expect(Client(s.mqtt, "c", token["c"]).connack.reason, 0x97, "a third device of the user")
    expect(Client(s.mqtt, "c", token["c"], version=4).connack.reason, 3, "by 3.1.1")
    again = Client(s.mqtt, "b", token["b"])
    expect(again.connack.reason, 0, "a device takes its own place")
    a.disconnect()
    eventually(lambda: expect(Client(s.mqtt, "c", token["c"]).connack.reason, 0, "when one has gone"))
    again, hasty = s.token("eve", "d"), []
    while 0x97 not in hasty and len(hasty) < 60:
        hasty.append(Client(s.mqtt, "d", again).connack.reason)
    assert hasty[0] == 0 and 0x97 in hasty, f"a device that comes again and again: {hasty}"
    others = [Client(s.mqtt, "x", s.token(f"user{i}", "x")) for i in range(7)]
    expect([o.connack.reason for o in others][-1], 0x97, "connections of the app")
    assert others[0].connack.reason == 0, "the app's limit is not the user's"
    s.close()


def publish_all(c, n):
    for i in range(n):
        c.publish_begin("conversations/ab/messages", {"id": f"{c.version}-{c.name}-{i}", "body": str(i)}, packet=i + 1)
    return [c.wait(PUBACK).reason for _ in range(n)]


def client(s, user, device, version, keep_alive=1):
    """Who is not read for a while because it is slowed is not silent."""
    c = Client(s.mqtt, device, s.token(user, device), version=version, keep_alive=keep_alive)
    c.name = device
    return c


def stored(s, prefix):
    found, cursor = [], 0
    while items := s.call("GET", f"/v1/conversations/ab/messages?after={cursor}&limit=200")[1]["items"]:
        found += [m["id"] for m in items if m["id"].startswith(prefix)]
        cursor = items[-1]["seq"]
    return found


def rates():
    s = Server("--rate", "40", "--rate-per-device", "30", "--rate-per-address", "200")
    key = s.key
    for who in ("ann", "bob"):
        s.call("PUT", f"/v1/users/{who}", {})
    s.call("PUT", "/v1/conversations/ab", {"type": "group", "members": ["ann", "bob", "cid"]})
    # 3.1.1 cannot be told: it is slowed, and all of it is stored
    slow = client(s, "ann", "old", 4)
    begun = time.monotonic()
    expect(publish_all(slow, 75), [0] * 75)
    took = time.monotonic() - begun
    assert took > 1.0, f"75 messages at 30 a second took {took:.2f} s"
    slow.ping()
    expect(len(stored(s, "4-old-")), 75, "each once")
    # 5.0 is told
    told = client(s, "bob", "new", 5, keep_alive=60)
    reasons = publish_all(told, 200)
    expect(sorted(set(reasons)), [0, 0x97])
    expect(len(stored(s, "5-new-")), reasons.count(0), "what was refused is not stored")
    time.sleep(1.1)
    expect(told.publish("conversations/ab/messages", {"body": "later"}).reason, 0)
    token = s.token("cid", "web")
    got = many(s, "/v1/users/cid/conversations", "127.0.0.7", 100, token)
    expect((len(got), got[0], got[-1][0]), (100, (200, None), 429), "HTTP of a device")
    got = many(s, "/v1/users/cid", "127.0.0.9", 400)
    expect((len(got), got[0], got[-1][0]), (400, (401, None), 429), "an address, whoever it says it is")
    assert int(got[-1][1]) >= 1
    expect(http(s, "/v1/users/cid", "127.0.0.8", key)[0], 200)
    assert metric(s, "kith_limit_slowed") > 0
    s.close()


def one_connection():
    s = Server("--message-rate", "50", "--byte-rate", "64")
    s.call("PUT", "/v1/conversations/ab", {"type": "group", "members": ["ann", "bob"]})
    for version in (4, 5):
        c = client(s, "ann", f"m{version}", version)
        begun = time.monotonic()
        expect(publish_all(c, 130), [0] * 130, "none is refused")
        took = time.monotonic() - begun
        assert took > 1.3, f"130 messages at 50 a second took {took:.2f} s"
        expect(len(stored(s, f"{version}-m{version}-")), 130)
        c.drop()
    other = client(s, "bob", "quick", 5, keep_alive=60)
    def wide(device):
        """How many were answered before another connection's was."""
        begun = time.monotonic()
        c = client(s, "ann", device, 5)
        for i in range(8):
            c.publish_begin("conversations/ab/messages", {"id": f"{device}-{i}", "body": "x" * 30000}, packet=i + 1)
        expect(other.publish("conversations/ab/messages", {"body": "quick"}).reason, 0)
        early = c.arrived(PUBACK)
        expect([p.reason for p in early] + [c.wait(PUBACK).reason for _ in range(8 - len(early))], [0] * 8)
        took = time.monotonic() - begun
        assert took > 1.5, f"240 kB at 64 KiB a second took {took:.2f} s"
        c.ping()
        return len(early)
    assert any(wide(f"wide{i}") < 8 for i in range(3)), "another connection is not slowed"
    s.close()


def alive(c):
    """Is it still open after a moment?"""
    c.settimeout(0.3)
    try:
        return c.recv(1) != b""
    except TimeoutError:
        return True
    except OSError:
        return False


def networks():
    """An IPv6 subscriber is a /64, whatever address of it comes; who connects is told apart behind a proxy."""
    s = Server("--proxy-protocol", "--connections-per-address", "3")
    opened = {}
    for address in ("2001:db8:1:2::1", "2001:db8:1:2::2", "2001:db8:1:2:ffff::3", "2001:db8:1:2::4", "2001:db8:1:3::1", "192.0.2.1", "192.0.2.2"):
        opened[address] = socket.create_connection(("127.0.0.1", s.mqtt), timeout=30)
        opened[address].sendall(header(address))
    # one of its four, whichever the shards came to last
    def refused_ones():
        refused = [a for a, c in opened.items() if not is_open(c)]
        expect([a[:13] for a in refused], ["2001:db8:1:2:"], "three of one /64")
        return refused
    eventually(refused_ones)
    time.sleep(0.3)
    refused = refused_ones()
    next(c for a, c in opened.items() if a not in refused).close()

    def room():
        c = socket.create_connection(("127.0.0.1", s.mqtt), timeout=30)
        c.sendall(header("2001:db8:1:2::9"))
        assert alive(c), "there is room again"
    eventually(room)
    s.close()


def bytes_of_many():
    """A user's bytes, by MQTT and by HTTP, from one connection or several."""
    s = Server("--byte-rate-per-user", "64")
    s.call("PUT", "/v1/conversations/ab", {"type": "group", "members": ["ann", "bob"]})
    token = s.token("ann", "web")
    big, answers, begun = {"body": "x" * 30000}, [], time.monotonic()
    while 429 not in answers and len(answers) < 100:
        answers.append(s.call("POST", "/v1/conversations/ab/messages", big, key=token)[0])
    expect((answers[:2], answers[-1]), ([201, 201], 429), f"HTTP: {answers}")
    most = 65536 + 65536 * (time.monotonic() - begun) + 30000
    assert 30000 * answers.count(201) <= most, f"HTTP: {answers}"
    expect(s.call("POST", "/v1/conversations/ab/messages", big, key=s.token("bob", "web"))[0], 201, "another user")
    time.sleep(1.5)
    devices, begun = [client(s, "ann", f"p{i}", 5) for i in range(2)], time.monotonic()
    for i in range(4):
        for d in devices:
            d.publish_begin("conversations/ab/messages", {"id": f"{d.name}-{i}", **big}, packet=i + 1)
    expect([d.wait(PUBACK).reason for d in devices for _ in range(4)], [0] * 8, "MQTT is slowed")
    took = time.monotonic() - begun
    assert took > 1.5, f"240 kB of one user at 64 KiB a second took {took:.2f} s"
    s.close()


faults = []


def guarded(part):
    try:
        part()
    except BaseException as e:
        faults.append(e)
        raise


parts = [threading.Thread(target=guarded, args=(part,)) for part in (connections, networks, bytes_of_many, rates, one_connection)]
for t in parts:
    t.start()
for t in parts:
    t.join()
if faults:
    raise faults[0]
