"""Two brokers are told the same by the same clients: kith with its plain channels, and mosquitto. What each client receives must be the same. Random programs from a seed: several
clients of both versions subscribe, publish with every QoS, retain, leave with and without a word, leave wills, and come back to their sessions.

Where mosquitto is not of the standard's opinion, or has a choice that it leaves open, the comparison is told so: see `comparable`."""
import atexit, os, random, shutil, socket, struct, subprocess, sys, tempfile, time

import peers
from harness import Server
from mqtt import (CONNACK, CONNECT, DISCONNECT, FOUR, ONE, PAIR, PINGREQ, PINGRESP, PROPERTIES, PUBACK, PUBLISH, SUBACK, SUBSCRIBE, TEXT, TWO, UNSUBACK, UNSUBSCRIBE, VAR, Reader, frame,
                  properties, text, var)
from ports import free_port

PUBREC, PUBREL, PUBCOMP = 5, 6, 7
PROGRAMS, STEPS = int(os.environ.get("TWINS_PROGRAMS", "10")), 40
TOPICS = ("a", "a/b", "a/b/c", "b", "a/", "/a", "a//b", "c/b")
FILTERS = ("a", "a/#", "+/b", "#", "+", "a/+/c", "/+", "a/+", "+/+", "b")
USER, IDENTIFIER = 0x26, 0x0B
# Of a PUBLISH: payload format, content type, response topic, correlation, user properties twice.
PROPS = (b"\x01\x01", b"\x03" + text("text/x"), b"\x08" + text("re/ply"), b"\x09" + text("corr"), b"\x26" + text("k") + text("v"), b"\x26" + text("k") + text("w"), b"\x26" + text("a") + text(""))
WAIT = 30     # seconds for an answer
PATIENCE = 20  # for messages that may come by a longer way than those that were sent after them


def matches(filter, topic):
    f, t = filter.split("/"), topic.split("/")
    for i, level in enumerate(f):
        if level == "#":
            return True
        if i >= len(t) or (level != "+" and level != t[i]):
            return False
    return len(f) == len(t)


class Party:
    """One client at one broker: says a packet, answers what QoS wants, and keeps what came."""

    def __init__(self, port, name, version):
        self.port, self.name, self.version, self.socket, self.packet = port, name, version, None, 0
        self.came = []

    def next(self):
        self.packet = self.packet % 60000 + 1
        return struct.pack(">H", self.packet)

    def connect(self, clean, expiry, will):
        self.socket, self.buffer, self.heard = socket.create_connection(("127.0.0.1", self.port), timeout=WAIT), b"", []
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        flags, rest = 2 if clean else 0, text(self.name)
        if will:
            topic, payload, qos, retain = will
            flags |= 4 | qos << 3 | (0x20 if retain else 0)
            rest += (b"\0" if self.version == 5 else b"") + text(topic) + text(payload)
        body = text("MQTT") + bytes([self.version, flags]) + struct.pack(">H", 600) + (properties(session_expiry=expiry) if self.version == 5 else b"") + rest
        self.socket.sendall(frame(CONNECT, 0, body))
        r = Reader(self.until(CONNACK))
        return "connected", r.one() & 1, r.one()

    def until(self, kind, packet=None):
        """The body of the next packet of that kind."""
        end = time.time() + WAIT
        while True:
            for i, (k, body) in enumerate(self.heard):
                if k == kind and (packet is None or body[:2] == packet):
                    del self.heard[i]
                    return body
            if time.time() > end:
                raise AssertionError(f"{self.name}: no packet of type {kind}")
            self.hear()

    def hear(self):
        try:
            data = self.socket.recv(65536)
        except TimeoutError:
            raise AssertionError(f"{self.name}: silence")
        if not data:
            raise AssertionError(f"{self.name}: the broker ended the connection")
        self.buffer += data
        while len(self.buffer) >= 2:
            n = shift = 0
            at = 1
            while at < len(self.buffer):
                n, shift, at = n | (self.buffer[at] & 127) << shift, shift + 7, at + 1
                if not self.buffer[at - 1] & 128:
                    break
            else:
                return
            if len(self.buffer) < at + n:
                return
            first, body, self.buffer = self.buffer[0], self.buffer[at:at + n], self.buffer[at + n:]
            self.take(first >> 4, first & 15, body)

    def listen(self, seconds):
        self.socket.settimeout(seconds)
        try:
            self.hear()
        except AssertionError:
            pass
        self.socket.settimeout(WAIT)

    def take(self, kind, flags, body):
        if kind == PUBLISH:
            r = Reader(body)
            topic, qos = r.text(), flags >> 1 & 3
            packet = r.take(2) if qos else None
            told = self.told(r) if self.version == 5 else ()
            if not topic.startswith("sync/"):
                self.came.append((topic, r.rest().decode(), qos, flags & 1, told))
            else:
                self.synced = r.rest().decode()
            if qos:
                self.socket.sendall(frame(PUBACK if qos == 1 else PUBREC, 0, packet))
        elif kind == PUBREL:
            self.socket.sendall(frame(PUBCOMP, 0, body[:2]))
        elif kind == PUBREC:
            if len(body) < 3 or body[2] < 0x80:
                self.socket.sendall(frame(PUBREL, 2, body[:2]))
            else:
                self.heard.append((PUBCOMP, body))
        else:
            self.heard.append((kind, body))

    def told(self, r):
        """A PUBLISH's properties: user properties in their order, the others by their codes; subscription identifiers last."""
        out, end = [], r.var()
        end += r.at
        while r.at < end:
            code = r.one()
            kind = PROPERTIES[code][1]
            value = {ONE: r.one, TWO: r.two, FOUR: lambda: struct.unpack(">I", r.take(4))[0], VAR: r.var, TEXT: r.text, PAIR: lambda: (r.text(), r.text())}[kind]()
            out.append((code, value))
        names = [v for c, v in out if c == USER]
        return tuple(sorted(x for x in out if x[0] not in (USER, IDENTIFIER))), tuple(names), tuple(sorted(v for c, v in out if c == IDENTIFIER))

    def subscribe(self, filter, qos, options, identifier):
        packet = self.next()
        props = properties(subscription_id=identifier or None) if self.version == 5 else b""
        self.socket.sendall(frame(SUBSCRIBE, 2, packet + props + text(filter) + bytes([qos | (options if self.version == 5 else 0)])))
        return "subscribed", self.until(SUBACK, packet)[-1]

    def unsubscribe(self, filter):
        packet = self.next()
        self.socket.sendall(frame(UNSUBSCRIBE, 2, packet + (b"\0" if self.version == 5 else b"") + text(filter)))
        self.until(UNSUBACK, packet)
        return ("unsubscribed",)

    def publish(self, topic, payload, qos, retain, told):
        packet = self.next() if qos else b""
        self.socket.sendall(frame(PUBLISH, qos << 1 | (1 if retain else 0), text(topic) + packet + (var(len(told)) + told if self.version == 5 else b"") + payload.encode()))
        if qos:
            self.until(PUBACK if qos == 1 else PUBCOMP, packet)
        return ("published",)

    def sync(self, mark):
        """What was under way before this has arrived, but for what is stored on the way."""
        self.synced = None
        self.socket.sendall(frame(SUBSCRIBE, 2, self.next() + (b"\0" if self.version == 5 else b"") + text("sync/" + self.name) + b"\0"))
        self.until(SUBACK)
        self.socket.sendall(frame(PUBLISH, 0, text("sync/" + self.name) + (b"\0" if self.version == 5 else b"") + mark.encode()))
        end = time.time() + WAIT
        while self.synced != mark:
            assert time.time() < end, f"{self.name}: not in step"
            self.hear()
        self.socket.sendall(frame(PINGREQ, 0, b""))
        self.until(PINGRESP)

    def leave(self, word):
        if word:
            self.socket.sendall(frame(DISCONNECT, 0, b""))
        else:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()
        self.socket = None
        return ("left",)


class Twins:
    def __init__(self, ports, seed):
        self.random, self.seed, self.said, self.marks = random.Random(seed), seed, [], 0
        self.names = [f"t{seed}x{i}" for i in range(3)]
        self.versions = [self.random.choice((4, 5)) for _ in self.names]
        self.parties = [[Party(port, n, v) for n, v in zip(self.names, self.versions)] for port in ports]
        self.filters = [{} for _ in self.names]  # of the session
        self.kept, self.away, self.count, self.prefix = [False] * 3, [True] * 3, 0, f"s{seed}/"

    def step(self):
        r, i = self.random, self.random.randrange(3)
        if self.away[i]:
            clean, expiry = r.random() < 0.4, r.choice((0, 600))
            will = (self.prefix + r.choice(TOPICS), f"will{self.count}", r.randrange(3), r.random() < 0.3) if r.random() < 0.3 else None
            self.count += 1
            if clean or not self.kept[i]:
                self.filters[i] = {}
            self.kept[i] = expiry > 0 if self.versions[i] == 5 else not clean
            self.away[i] = False
            return "connect", i, clean, expiry, will
        act = r.choices(("publish", "subscribe", "unsubscribe", "leave"), (6, 4, 1, 1))[0]
        if act == "publish":
            self.count += 1
            return act, i, self.prefix + r.choice(TOPICS), f"m{self.count}" if r.random() < 0.9 else "", r.randrange(3), r.random() < 0.3, b"".join(p for p in PROPS if r.random() < 0.3)
        if act == "subscribe":
            k, qos = r.randrange(len(FILTERS)), r.randrange(3)
            filter, options = self.prefix + FILTERS[k], (0, 4, 8, 16, 32)[(self.seed + k) % 5]  # mosquitto does not take other options for a filter that it has
            self.filters[i][filter] = qos
            return act, i, filter, qos, options, (self.seed + k) % 4
        if act == "unsubscribe":
            filter = r.choice([*self.filters[i], self.prefix + r.choice(FILTERS)])
            self.filters[i].pop(filter, None)
            return act, i, filter
        self.away[i] = True
        word = r.random() < 0.5
        if not self.kept[i]:
            self.filters[i] = {}
        return act, i, word

    def comparable(self, i, came):
        """Of overlapping filters a broker may send one message or several, with one of their QoS."""
        out = set()
        for topic, payload, qos, retain, told in came:
            several = sum(matches(f, topic) for f in self.filters[i]) > 1
            out.add((topic, payload, *((None, None, told[:2]) if several else (qos, retain, told))))
        return out

    def run(self):
        for _ in range(STEPS):
            act, i, *args = self.step()
            self.said.append((act, i, *args))
            answers = [getattr(side[i], act)(*args) for side in self.parties]
            assert answers[0] == answers[1], f"answers {answers}"
            if act == "leave" or act == "publish" and args[-2]:
                time.sleep(0.05)  # a will, or what is retained, is on the way to its place
            self.marks += 1
            for n in range(3):
                if self.away[n]:
                    continue
                for side in self.parties:
                    side[n].sync(f"{self.marks}")
                until = time.time() + PATIENCE
                while (came := self.both(n, act == "connect" and n == i))[0] != came[1] and time.time() < until:
                    for side in self.parties:
                        side[n].listen(0.02)
                one, other = came
                assert one == other, f"{self.names[n]} (MQTT {self.versions[n]}): kith only {sorted(one - other, key=str)}, mosquitto only {sorted(other - one, key=str)}; its filters {self.filters[n]}"
                for side in self.parties:
                    side[n].came = []

    def both(self, n, returned):
        """What came to client n on either side. Whether QoS 0 waits for who is away is open."""
        return [self.comparable(n, [m for m in side[n].came if m[2] or not returned]) for side in self.parties]

    def close(self):
        for side in self.parties:
            for p in side:
                if p.socket:
                    p.leave(True)


class Mosquitto:
    def __init__(self):
        program = shutil.which("mosquitto") or "/usr/sbin/mosquitto"
        if not os.path.exists(program):
            peers.skip("mosquitto is not installed; tool/setup.sh --bench does it")
        self.folder = tempfile.mkdtemp(prefix="kith-twin-")
        self.port = free_port()
        with open(os.path.join(self.folder, "conf"), "w") as f:
            f.write(f"listener {self.port} 127.0.0.1\nallow_anonymous true\npersistence false\n")
        self.process = subprocess.Popen([program, "-c", f.name], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        atexit.register(self.close)
        for _ in range(100):
            try:
                return socket.create_connection(("127.0.0.1", self.port)).close()
            except OSError:
                time.sleep(0.05)

    def close(self):
        self.process.terminate()
        self.process.wait()
        shutil.rmtree(self.folder, ignore_errors=True)


def main():
    other, s = Mosquitto(), Server("--dev", "--shards", "2")
    seeds = [int(a) for a in sys.argv[1:]] or range(1, PROGRAMS + 1)
    for seed in seeds:
        twins = Twins((s.mqtt, other.port), seed)
        try:
            twins.run()
        except AssertionError as e:
            raise AssertionError(f"seed {seed}: {e}\n" + "\n".join(map(str, twins.said[-40:]))) from e
        twins.close()
    s.close()


main()
