"""Connections that come, break off and misbehave at random while devices, keys and users are taken away under them: the server stays up, keeps what it
acknowledged, and stops cleanly. TURMOIL_SEED repeats a run."""
import json, os, random, socket, struct, subprocess, threading, time

import harness
from harness import Server, expect
from mqtt import CONNECT, PUBLISH, SUBSCRIBE, Client, Closed, frame, text

SECONDS = 6
SEED = int(os.environ.get("TURMOIL_SEED", time.time_ns() % 1000000))
s = Server("--shards", "2", "--http-idle-timeout", "2s", "--http-header-timeout", "1s", "--http-body-timeout", "1s")
s.call("PUT", "/v1/conversations/ab", {"type": "group", "members": [f"u{i}" for i in range(6)]})
until = time.time() + SECONDS
done, tokens, faults = {}, {}, []


def token(r, user, device):
    if (user, device) not in tokens or r.random() < 0.02:
        tokens[user, device] = s.call("POST", f"/v1/users/{user}/tokens", {"device": device, "ttl": r.choice(["1s", "1h", "1h"])})[1]["token"]
    return tokens[user, device]


def some_request(r):
    head = f"Host: x\r\nAuthorization: Bearer {s.key}\r\n"
    user, body = f"u{r.randrange(6)}", json.dumps({"from": f"u{r.randrange(6)}", "body": "x" * r.randrange(1, 3000)})
    return r.choice([b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n", f"GET /v1/users/{user}/stream HTTP/1.1\r\n{head}\r\n".encode(), r.randbytes(r.randrange(1, 50)),
                     f"GET /v1/users/{user}/mailbox?limit=200 HTTP/1.1\r\n{head}\r\n".encode(), f"GET /v1/users/u1/stream?access_token={token(r, 'u1', 'd1')} HTTP/1.1\r\nHost: x\r\n\r\n".encode(),
                     f"POST /v1/conversations/ab/messages HTTP/1.1\r\n{head}Content-Length: {len(body)}\r\n\r\n{body}".encode()])


def http(r):
    with socket.create_connection(("127.0.0.1", s.http), timeout=3) as c:
        data = b"".join(some_request(r) for _ in range(r.randrange(1, 7)))
        c.sendall(data[:r.randrange(1, len(data) + 1)] if r.random() < 0.3 else data)
        how = r.randrange(5)
        if how == 1:
            c.shutdown(socket.SHUT_WR)
        if how == 2:  # closing resets
            c.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        c.settimeout(0.3)
        for _ in range(8 if how > 2 else 0):
            if not c.recv(100000):
                break


def mqtt_hasty(r, user, device):
    """All in one write, or a part of it, without waiting for CONNACK."""
    version = r.choice([4, 5])
    none = b"\0" if version == 5 else b""
    data = frame(CONNECT, 0, text("MQTT") + bytes([version, 0xC0 | r.choice([0, 2])]) + b"\0\5" + none + text(device) + text("u") + text(token(r, user, device)))
    for i in range(r.randrange(20)):
        data += frame(PUBLISH, 2, text("conversations/ab/messages") + struct.pack(">H", i + 1) + none + b'{"body":"z"}')
    data += frame(SUBSCRIBE, 2, b"\0\7" + none + text(f"users/{user}/#") + b"\1")
    c = Client(s.mqtt, device, "", version, connect=False)
    c.raw(data if r.random() < 0.7 else data[:r.randrange(1, len(data))])
    c.read(r.random() * 0.1)
    c.drop()


def mqtt(r):
    user, device = f"u{r.randrange(6)}", f"d{r.randrange(2)}"
    if r.random() < 0.3:
        return mqtt_hasty(r, user, device)
    c = Client(s.mqtt, device, token(r, user, device), r.choice([4, 5, 5]), r.random() < 0.3, r.choice([None, 0, 1, 1000]), r.choice([0, 1, 60]), r.choice([None, 1, 5]), r.choice([None, 250]))
    try:
        for act in r.choices(range(6), k=0 if c.connack.reason else r.randrange(12)):
            if act == 0:
                c.subscribe(f"users/{user}/#", qos=r.choice([0, 1]))
            elif act == 1:
                name = f"m{r.getrandbits(60)}"
                if c.publish("conversations/ab/messages", {"id": name, "body": "y"}).reason == 0 and c.version == 5:
                    acknowledged.append(name)
            elif act == 2:
                c.messages(quiet=0.02, seconds=0.2, ack=r.random() < 0.7)
            elif act == 3:
                c.ping()
            elif act == 4:
                c.publish_begin("conversations/ab/typing", b"", qos=0)
            elif r.random() < 0.1:
                c.raw(r.randbytes(20))
        if r.random() < 0.5:
            c.disconnect()
    finally:
        c.drop()


def authority(r):
    act = r.randrange(3)
    if act == 0:
        s.call("DELETE", f"/v1/users/u{r.randrange(5)}/devices/d{r.randrange(2)}")
    elif act == 1:
        name = f"k{r.getrandbits(40)}"
        key = subprocess.check_output([harness.KITH, "key", "create", "--data", s.data, "--name", name, "--app", "demo", "--scope", "all"], text=True).strip()
        c = Client(s.mqtt, "backend", key)
        revoke = subprocess.Popen([harness.KITH, "key", "revoke", "--data", s.data, name])
        for _ in range(30):
            c.publish_begin("conversations/ab/messages", {"from": "u0", "body": "x"})
        revoke.wait()
    else:
        s.call("DELETE", "/v1/users/u5")
        s.call("PUT", "/v1/conversations/ab", {"type": "group", "members": ["u5"]})
    time.sleep(0.1)


def worker(number, act):
    r = random.Random(SEED * 100 + number)
    while time.time() < until and s.process.poll() is None:
        done[act.__name__] = done.get(act.__name__, 0) + 1
        try:
            act(r)
        except (Closed, OSError, AssertionError, KeyError, IndexError, UnicodeDecodeError, json.JSONDecodeError, subprocess.CalledProcessError):
            pass  # what a broken connection does to its client is not the matter here
        except Exception as e:
            faults.append(e)
            return


acknowledged = []
threads = [threading.Thread(target=worker, args=item) for item in enumerate([http, http, mqtt, mqtt, mqtt, authority])]
for t in threads:
    t.start()
for t in threads:
    t.join()
print(f"seed {SEED}: {done}, {len(acknowledged)} acknowledged")
if faults:
    raise faults[0]
expect(s.process.poll(), None, open(s.log.name).read()[-3000:])
assert all(done.get(n, 0) > 1 for n in ("http", "mqtt", "authority")) and acknowledged, done
for name in acknowledged:
    expect(s.call("GET", f"/v1/conversations/ab/messages/{name}")[0], 200, name)
s.stop()
check = subprocess.run([harness.KITH, "check", "--data", s.data], capture_output=True, text=True)
expect(check.returncode, 0, check.stderr)
s.close()
