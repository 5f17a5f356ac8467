"""MQTT and SSE clients that people have, as they are, through a network that breaks and a server that is killed: each connects with a device token, follows its user, sends with QoS 1,
comes back by itself and has everything in order; and one that was away for long finds its session.

A client is a process of test/peers: `connect`, `subscribe FILTER`, `send TOPIC PAYLOAD` and `received` are its lines; it answers each with one line of JSON."""
import json, os, shutil, socket, subprocess, sys, threading

import harness, peers
from harness import Server, eventually, expect

VERSIONS = ("4", "5")


class Relay:
    """A network between the clients and the server: one port that stays while the server's changes, and that can be cut."""

    def __init__(self, port):
        self.port_behind, self.open, self.lock = port, set(), threading.Lock()
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            try:
                near = self.listener.accept()[0]
            except OSError:
                return
            try:
                far = socket.create_connection(("127.0.0.1", self.port_behind))
            except OSError:
                near.close()
                continue
            with self.lock:
                self.open |= {near, far}
            for a, b in ((near, far), (far, near)):
                threading.Thread(target=self.carry, args=(a, b), daemon=True).start()

    def carry(self, a, b):
        try:
            while data := a.recv(65536):
                b.sendall(data)
        except OSError:
            pass
        for s in (a, b):
            with self.lock:
                self.open.discard(s)
            try:
                s.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    def cut(self):
        with self.lock:
            ends, self.open = self.open, set()
        for s in ends:
            try:
                s.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    def close(self):
        self.listener.close()
        self.cut()


class Peer:
    def __init__(self, name, command, **environment):
        self.name = name
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env={**os.environ, **environment})

    def do(self, *words):
        self.process.stdin.write(" ".join(words) + "\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError(f"{self.name} ended at `{' '.join(words)[:60]}`")
        return json.loads(line)["value"]

    def has(self, *ids):
        """Exactly these came, in this order; again is allowed, as QoS 1 is."""
        def all_there():
            seen = []
            for m in self.do("received"):
                if m["item"]["id"] not in seen:
                    seen.append(m["item"]["id"])
            assert seen == list(ids), f"{self.name}: {seen}, expected {list(ids)}"
        eventually(all_there, 15)

    def close(self):
        self.process.stdin.close()
        expect(self.process.wait(timeout=20), 0, self.name)
        self.process.stdout.close()


def compiled():
    """The program on Paho C, beside the other things that are built."""
    out = os.path.join(os.path.dirname(harness.KITH), "peers-paho")
    source = os.path.join(peers.SCRIPTS, "on_paho.c")
    if not os.path.exists(out) or os.path.getmtime(out) < os.path.getmtime(source):
        done = subprocess.run(["cc", "-O1", "-Wall", "-Wextra", "-o", out, source, "-lpaho-mqtt3a", "-lpthread"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        if done.returncode and "MQTTAsync.h" in done.stdout:
            raise peers.Missing("Paho C: libpaho-mqtt-dev is not installed; tool/setup.sh --test does it")
        assert done.returncode == 0, done.stdout
    return out


def kinds():
    """(name, command, environment) of each client that can be had here."""
    script = lambda name: os.path.join(peers.SCRIPTS, name)
    for name, get in (("Paho Python 1.6", lambda: ([sys.executable, script("on_paho.py")], {"PYTHONPATH": peers.pip("paho-mqtt", "1.6.1", "paho.mqtt.client")})),
                      ("Paho Python 2", lambda: ([sys.executable, script("on_paho.py")], {"PYTHONPATH": peers.pip("paho-mqtt", "2.1.0", "paho.mqtt.client")})),
                      ("Paho C", lambda: ([compiled()], {})), ("MQTT.js", lambda: (["node", script("mqttjs.mjs")], {"PEER_HOME": peers.npm("mqtt@5.16.0")}))):
        try:
            yield (name, *get())
        except peers.Missing as e:
            print(f"skipped: {name}: {e}")


class Story:
    """One client's; those of all run at the same time, and meet where the network breaks or the server dies."""

    def __init__(self, s, relay, together, name, command, environment, version, n):
        self.s, self.relay, self.together, self.user, self.conversation = s, relay, together, f"u{n}", f"c{n}"
        self.name, self.environment = f"{name}, MQTT {version}", environment
        s.call("PUT", f"/v1/conversations/{self.conversation}", {"type": "direct", "members": [self.user, "bob"]})
        self.command = [*command, str(relay.port), version, self.user, "phone", s.token(self.user, "phone")]

    def post(self, *ids):
        for i in ids:
            expect(self.s.call("POST", f"/v1/conversations/{self.conversation}/messages", {"id": i, "from": "bob", "body": i})[0], 201)

    def send(self, peer, *ids):
        for i in ids:
            expect(peer.do("send", f"conversations/{self.conversation}/messages", json.dumps({"id": i, "body": i})), "sent", self.name)

    def tell(self):
        peer = Peer(self.name, self.command, **self.environment)
        expect(peer.do("connect"), {"present": False}, self.name)
        expect(peer.do("subscribe", f"users/{self.user}/#"), [1], self.name)
        self.send(peer, "a1", "a2", "a3")
        peer.has("a1", "a2", "a3")
        self.post("b1", "b2")
        peer.has("a1", "a2", "a3", "b1", "b2")
        self.together.wait()  # the network is cut
        self.together.wait()
        self.post("b3")
        self.send(peer, "a4")
        peer.has("a1", "a2", "a3", "b1", "b2", "b3", "a4")
        self.together.wait()  # the server is killed
        self.together.wait()
        self.post("b4")
        peer.has("a1", "a2", "a3", "b1", "b2", "b3", "a4", "b4")
        self.send(peer, "a5")
        peer.close()
        self.post(*[f"c{i}" for i in range(30)])
        peer = Peer(self.name, self.command, **self.environment)
        expect(peer.do("connect"), {"present": True}, f"{self.name}: its session")
        # a5 is there again if the client left before it had acknowledged its own message
        eventually(lambda: expect([m["item"]["id"] for m in peer.do("received") if m["item"]["id"] != "a5"], [f"c{i}" for i in range(30)], self.name), 15)
        peer.close()
        history = self.s.call("GET", f"/v1/conversations/{self.conversation}/messages?after=0")[1]["items"]
        expect([m["id"] for m in history], ["a1", "a2", "a3", "b1", "b2", "b3", "a4", "b4", "a5"] + [f"c{i}" for i in range(30)], self.name)


class Listening:
    """EventSource: live, and by its Last-Event-ID without a gap."""

    def __init__(self, s, relay, together):
        self.s, self.together, self.name = s, together, "EventSource"
        self.home = peers.npm("eventsource@3.0.7")
        s.call("PUT", "/v1/conversations/es", {"type": "direct", "members": ["eve", "bob"]})
        self.url = f"http://127.0.0.1:{relay.port}/v1/users/eve/stream?access_token={s.token('eve', 'tab')}"

    def post(self, *ids):
        for i in ids:
            expect(self.s.call("POST", "/v1/conversations/es/messages", {"id": i, "from": "bob", "body": i})[0], 201)

    def tell(self):
        peer = Peer(self.name, ["node", os.path.join(peers.SCRIPTS, "eventsource.mjs"), self.url], PEER_HOME=self.home)
        expect(peer.do("connect"), "open")
        self.post("e1", "e2")
        peer.has("e1", "e2")
        self.together.wait()
        self.together.wait()
        self.post("e3")
        peer.has("e1", "e2", "e3")
        self.together.wait()
        self.together.wait()
        self.post("e4", "e5")
        peer.has("e1", "e2", "e3", "e4", "e5")
        expect(peer.do("opened") >= 3, True, "it came back by itself")
        expect(len(peer.do("received")), 5, "nothing twice")
        peer.close()


def by_curl(s):
    """The commands that people try first."""
    if not shutil.which("curl"):
        print("skipped: curl is not installed")
        return
    base = f"http://127.0.0.1:{s.http}"
    curl = lambda *args: subprocess.run(["curl", "-sS", "-H", f"Authorization: Bearer {s.key}", *args], capture_output=True, text=True, timeout=20)
    s.call("PUT", "/v1/conversations/curl", {"type": "direct", "members": ["cat", "bob"]})
    listen = subprocess.Popen(["curl", "-sSN", "--max-time", "10", f"{base}/v1/users/cat/stream?access_token={s.token('cat', 'term')}"], stdout=subprocess.PIPE, text=True)
    expect(listen.stdout.readline(), ": kith\n")
    said = curl("-f", "--json", '{"from":"bob","body":"by curl"}', f"{base}/v1/conversations/curl/messages")
    expect((said.returncode, json.loads(said.stdout)["body"]), (0, "by curl"), said.stderr)
    lines = iter(listen.stdout.readline, "")
    data = next(l for l in lines if l.startswith("data:"))
    expect(json.loads(data[5:])["message"]["body"], "by curl")
    listen.terminate()
    listen.wait()
    listen.stdout.close()
    for args, want in ((("-X", "PUT", "-d", '{"name":"Cat"}', f"{base}/v1/users/cat"), "200"), (("-T", "-", f"{base}/v1/users/cat"), None), (("-I", f"{base}/v1/users/cat"), "200"),
                       (("--http1.0", f"{base}/v1/users/cat"), "200"), (("-H", "Transfer-Encoding: chunked", "-X", "PUT", "-d", '{"name":"Kat"}', f"{base}/v1/users/cat"), "200"),
                       (("--compressed", f"{base}/v1/users/cat"), "200"), (("-H", "Expect: 100-continue", "-X", "PUT", "-d", '{"name":"Cat"}', f"{base}/v1/users/cat"), "200"),
                       (("--http2", f"{base}/v1/users/cat"), "200")):
        if want:
            expect(curl("-o", os.devnull, "-w", "%{http_code}", *args).stdout[-3:], want, " ".join(args[:-1]))
    upload = subprocess.run(["curl", "-sS", "-H", f"Authorization: Bearer {s.key}", "-T", "-", "-w", "%{http_code}", f"{base}/v1/users/cat"], input='{"name":"Cat"}', capture_output=True, text=True, timeout=20)
    expect(upload.stdout[-3:], "200", "an upload from a pipe is chunked")


def main():
    s = Server("--shards", "2")
    mqtt, http = Relay(s.mqtt), Relay(s.http)
    together, faults = threading.Barrier(1), []
    stories = []
    for name, command, environment in list(kinds()):
        for version in VERSIONS:
            stories.append(lambda barrier, args=(name, command, environment, version, len(stories)): Story(s, mqtt, barrier, *args))
    try:
        peers.npm("eventsource@3.0.7")
        stories.append(lambda barrier: Listening(s, http, barrier))
    except peers.Missing as e:
        print("skipped:", e)
    together = threading.Barrier(len(stories) + 1, timeout=60)

    def tell(story):
        try:
            story.tell()
        except Exception as e:
            faults.append(f"{story.name}: {type(e).__name__}: {e}")
            together.abort()
    threads = [threading.Thread(target=tell, args=(make(together),)) for make in stories]
    for t in threads:
        t.start()
    try:
        together.wait()
        mqtt.cut()
        http.cut()
        together.wait()
        together.wait()
        s.kill()
        s.start()
        mqtt.port_behind, http.port_behind = s.mqtt, s.http
        together.wait()
    except threading.BrokenBarrierError:
        pass
    for t in threads:
        t.join()
    assert not faults, "\n".join(sorted(faults, key=lambda f: "BrokenBarrier" in f))
    for r in (mqtt, http):
        r.close()
    by_curl(s)
    s.close()


main()
