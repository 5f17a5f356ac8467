"""Stories that every client tells in the same way, all at the same time: on a network that is cut and with a server that is killed. clients_test.py and browser_test.py bring the clients.

A client is something with do(words): `connect`, `subscribe FILTER QOS`, `send QOS TOPIC PAYLOAD` and `received` are what it understands; it answers each with one value."""
import json, os, socket, subprocess, threading, time

from harness import eventually, expect

PATIENCE = 60  # seconds, for who answers nothing

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


class Client:
    def has(self, *ids):
        """Exactly these came, in this order; again is allowed, as QoS 1 is."""
        def all_there():
            seen = []
            for m in self.do("received"):
                if m["item"]["id"] not in seen:
                    seen.append(m["item"]["id"])
            assert seen == list(ids), f"{self.name}: {seen}, expected {list(ids)}"
        eventually(all_there)


class Peer(Client):
    """A process of test/peers: its lines are words, and lines of JSON come back."""
    running = set()

    def __init__(self, name, command, **environment):
        self.name = name
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env={**os.environ, **environment})
        Peer.running.add(self.process)

    def do(self, *words):
        self.process.stdin.write(" ".join(words) + "\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError(f"{self.name} ended at `{' '.join(words)[:60]}`")
        return json.loads(line)["value"]

    def close(self):
        self.process.stdin.close()
        expect(self.process.wait(timeout=20), 0, self.name)
        Peer.running.discard(self.process)
        self.process.stdout.close()


class Story:
    """One client's; those of all run at the same time, and meet where the network breaks or the server dies."""

    def __init__(self, s, together, name, n, client):
        """client(name, user, device, token) starts one."""
        self.s, self.together, self.name, self.user, self.conversation = s, together, name, f"u{n}", f"c{n}"
        s.call("PUT", f"/v1/conversations/{self.conversation}", {"type": "direct", "members": [self.user, "bob"]})
        token = s.token(self.user, "phone")
        self.client = lambda: client(name, self.user, "phone", token)

    def post(self, *ids):
        for i in ids:
            expect(self.s.call("POST", f"/v1/conversations/{self.conversation}/messages", {"id": i, "from": "bob", "body": i})[0], 201)

    def send(self, peer, *ids):
        for i in ids:
            expect(peer.do("send", "1", f"conversations/{self.conversation}/messages", json.dumps({"id": i, "body": i})), "sent", self.name)

    def tell(self):
        peer = self.client()
        expect(peer.do("connect"), {"present": False}, self.name)
        expect(peer.do("subscribe", f"users/{self.user}/#", "1"), [1], self.name)
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
        peer = self.client()
        expect(peer.do("connect"), {"present": True}, f"{self.name}: its session")
        # a5 is there again if the client left before it had acknowledged its own message
        eventually(lambda: expect([m["item"]["id"] for m in peer.do("received") if m["item"]["id"] != "a5"], [f"c{i}" for i in range(30)], self.name))
        peer.close()
        history = self.s.call("GET", f"/v1/conversations/{self.conversation}/messages?after=0")[1]["items"]
        expect([m["id"] for m in history], ["a1", "a2", "a3", "b1", "b2", "b3", "a4", "b4", "a5"] + [f"c{i}" for i in range(30)], self.name)


class Crowd:
    """A plain channel with a member on each client: what any of them publishes at QoS 2 comes to all once, and from each in its order, whatever happens on the way."""
    ROUNDS, EACH = 3, 4

    def __init__(self, s, together, name, n, client, size):
        self.together, self.name, self.n, self.size = together, name, n, size
        token = s.token(f"u{n}", "crowd")
        self.client = lambda: client(name, f"u{n}", "crowd", token)

    def tell(self):
        peer = self.client()
        expect(peer.do("connect"), {"present": False}, self.name)
        expect(peer.do("subscribe", "crowd/+", "2"), [2], self.name)
        for round in range(self.ROUNDS):
            self.together.wait()  # all listen; the network is cut, or the server killed, while they speak
            for i in range(self.EACH):
                expect(peer.do("send", "2", f"crowd/{self.n}", json.dumps({"id": f"{self.n}-{round}-{i}"})), "sent", self.name)
            self.together.wait()
        want = {(n, round, i) for n in range(self.size) for round in range(self.ROUNDS) for i in range(self.EACH)}

        def all_there():
            came = [tuple(map(int, m["item"]["id"].split("-"))) for m in peer.do("received")]
            assert set(came) >= want, f"{self.name}: missing {sorted(want - set(came))}"
            expect(len(came), len(want), f"{self.name}: more than once")
            for n in range(self.size):
                expect([c for c in came if c[0] == n], sorted(c for c in want if c[0] == n), f"{self.name}: out of order")
        eventually(all_there)
        peer.close()


class Listening:
    """EventSource: live, and by its Last-Event-ID without a gap."""

    def __init__(self, s, together, name, n, client):
        """client(name, path of the stream) starts one."""
        self.s, self.together, self.name, self.user, self.conversation = s, together, name, f"u{n}", f"c{n}"
        s.call("PUT", f"/v1/conversations/{self.conversation}", {"type": "direct", "members": [self.user, "bob"]})
        path = f"/v1/users/{self.user}/stream?access_token={s.token(self.user, 'tab')}"
        self.client = lambda: client(name, path)

    def post(self, *ids):
        for i in ids:
            expect(self.s.call("POST", f"/v1/conversations/{self.conversation}/messages", {"id": i, "from": "bob", "body": i})[0], 201)

    def tell(self):
        peer = self.client()
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


def cut(relays):
    for relay, _ in relays:
        relay.cut()


def restart(s, relays):
    s.kill()
    s.start()
    for relay, listener in relays:
        relay.port_behind = listener()


def meet(s, relays, together):
    """The network is cut once when all have come to that point, and the server killed at the next."""
    together.wait()
    cut(relays)
    together.wait()
    together.wait()
    restart(s, relays)
    together.wait()


def amid(s, relays, together):
    """The same, while they speak; the first round is undisturbed."""
    for act in (lambda: None, lambda: cut(relays), lambda: restart(s, relays)):
        together.wait()
        act()
        together.wait()


def tell_all(s, relays, makers, happens=meet):
    """makers: what makes a story, given (the server, the barrier, its number). relays: (relay, the server's listener) each."""
    together, faults = threading.Barrier(len(makers) + 1, timeout=PATIENCE), []

    def tell(story):
        try:
            story.tell()
        except Exception as e:
            faults.append(f"{story.name}: {type(e).__name__}: {e}")
            together.abort()
    threads = [threading.Thread(target=tell, args=(make(s, together, n),)) for n, make in enumerate(makers)]
    for t in threads:
        t.start()
    try:
        happens(s, relays, together)
    except threading.BrokenBarrierError:
        pass
    until = time.time() + PATIENCE
    for t in threads:
        t.join(max(0, until - time.time()))
    for process in Peer.running.copy():  # who waits for one of these waits no longer
        process.kill()
    for t in threads:
        t.join()
    assert not faults, "\n".join(sorted(faults, key=lambda f: "BrokenBarrier" in f))
