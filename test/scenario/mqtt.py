"""A small MQTT client for tests: 3.1.1 and 5.0, QoS 0 and 1, packet by packet, so that a test can also misbehave."""
import json, socket, struct, time

from patience import PATIENCE

CONNECT, CONNACK, PUBLISH, PUBACK, PUBREC, PUBREL, PUBCOMP, SUBSCRIBE, SUBACK, UNSUBSCRIBE, UNSUBACK, PINGREQ, PINGRESP, DISCONNECT = *range(1, 15),
ONE, TWO, FOUR, VAR, TEXT, PAIR = "one", "two", "four", "var", "text", "pair"
PROPERTIES = {0x01: ("payload_format", ONE), 0x02: ("message_expiry", FOUR), 0x03: ("content_type", TEXT), 0x08: ("response_topic", TEXT), 0x09: ("correlation", TEXT),
              0x0b: ("subscription_id", VAR), 0x11: ("session_expiry", FOUR), 0x12: ("assigned_client_id", TEXT), 0x13: ("server_keep_alive", TWO),
              0x15: ("auth_method", TEXT), 0x16: ("auth_data", TEXT), 0x17: ("problem_info", ONE), 0x18: ("will_delay", FOUR), 0x19: ("response_info", ONE),
              0x1a: ("response_information", TEXT), 0x1c: ("server_reference", TEXT), 0x1f: ("reason", TEXT), 0x21: ("receive_maximum", TWO),
              0x22: ("alias_maximum", TWO), 0x23: ("alias", TWO), 0x24: ("maximum_qos", ONE), 0x25: ("retain_available", ONE), 0x26: ("user", PAIR),
              0x27: ("maximum_packet", FOUR), 0x28: ("wildcards", ONE), 0x29: ("subscription_ids", ONE), 0x2a: ("shared", ONE)}
NAMES = {name: (code, kind) for code, (name, kind) in PROPERTIES.items()}


class Closed(Exception):
    """The server closed the connection."""


def var(n):
    out = b""
    while True:
        n, digit = n >> 7, n & 127
        out += bytes([digit | (128 if n else 0)])
        if not n:
            return out


def text(s):
    s = s if isinstance(s, bytes) else s.encode()
    return struct.pack(">H", len(s)) + s


def properties(**values):
    out = b""
    for name, value in values.items():
        if value is None:
            continue
        code, kind = NAMES[name]
        form = {ONE: lambda v: bytes([v]), TWO: lambda v: struct.pack(">H", v), FOUR: lambda v: struct.pack(">I", v), VAR: var, TEXT: text,
                PAIR: lambda v: text(v[0]) + text(v[1])}[kind]
        out += bytes([code]) + form(value)
    return var(len(out)) + out


def frame(kind, flags, body):
    return bytes([kind << 4 | flags]) + var(len(body)) + body


class Reader:
    def __init__(self, data):
        self.data, self.at = data, 0

    def take(self, n):
        assert self.at + n <= len(self.data), "a packet that is too short"
        self.at += n
        return self.data[self.at - n:self.at]

    def one(self):
        return self.take(1)[0]

    def two(self):
        return struct.unpack(">H", self.take(2))[0]

    def text(self):
        return self.take(self.two()).decode()

    def var(self):
        n = shift = 0
        while True:
            b = self.one()
            n, shift = n | (b & 127) << shift, shift + 7
            if not b & 128:
                return n

    def properties(self):
        out, end = {}, self.var()
        end += self.at
        while self.at < end:
            name, kind = PROPERTIES[self.one()]
            out[name] = {ONE: self.one, TWO: self.two, FOUR: lambda: struct.unpack(">I", self.take(4))[0], VAR: self.var, TEXT: self.text,
                         PAIR: lambda: (self.text(), self.text())}[kind]()
        return out

    def rest(self):
        return self.take(len(self.data) - self.at)

    def left(self):
        return len(self.data) - self.at


class Packet:
    def __init__(self, kind, flags, body, version):
        r = Reader(body)
        self.kind, self.flags, self.properties, self.reason, self.packet = kind, flags, {}, 0, None
        if kind == CONNACK:
            self.present, self.reason = bool(r.one() & 1), r.one()
            if version == 5:
                self.properties = r.properties()
        elif kind == PUBLISH:
            self.dup, self.qos, self.retain = bool(flags & 8), flags >> 1 & 3, bool(flags & 1)
            self.topic = r.text()
            self.packet = r.two() if self.qos else None
            if version == 5:
                self.properties = r.properties()
            self.payload = r.rest()
        elif kind in (PUBACK, PUBREC, PUBREL, PUBCOMP, SUBACK, UNSUBACK):
            self.packet = r.two()
            if kind < SUBSCRIBE and r.left():
                self.reason = r.one()
            if version == 5 and (kind > SUBSCRIBE or r.left()):
                self.properties = r.properties()
            self.codes = list(r.rest())
        elif kind == DISCONNECT and r.left():
            self.reason = r.one()
            if r.left():
                self.properties = r.properties()
        self.words = self.properties.get("reason", "")

    def json(self):
        return json.loads(self.payload)


class Client:
    """Connects at once; `connack` says how it went. Nothing is acknowledged but by ack() or receive()."""

    def __init__(self, port, device, token, version=5, clean=False, expiry=86400, keep_alive=60, receive_maximum=None, maximum_packet=None, connect=True,
                 problem_info=None, will=None, will_options=None, alias_maximum=None, seconds=PATIENCE, via=None):
        """via: a socket, or what acts as one, that is connected already."""
        self.version, self.buffer, self.next_packet, self.waiting = version, b"", 1, []
        self.socket = via or socket.create_connection(("127.0.0.1", port), timeout=seconds)
        if not via:
            self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if not connect:
            return
        more = dict(will_options or {})
        flags = 0x80 | 0x40 | (2 if clean else 0) | (4 if will else 0) | more.pop("qos", 0) << 3 | (0x20 if more.pop("retain", False) else 0)
        body = text("MQTT") + bytes([version, flags]) + struct.pack(">H", keep_alive)
        if version == 5:
            body += properties(session_expiry=expiry, receive_maximum=receive_maximum, maximum_packet=maximum_packet, problem_info=problem_info, alias_maximum=alias_maximum)
        body += text(device)
        if will:
            body += (properties(**more) if version == 5 else b"") + text(will[0]) + text(will[1])
        self.send(CONNECT, 0, body + text("user") + text(token))
        self.connack = self.wait(CONNACK, seconds)

    def send(self, kind, flags, body):
        self.socket.sendall(frame(kind, flags, body))

    def raw(self, data):
        self.socket.sendall(data)

    def read(self, seconds=PATIENCE):
        """The next packet, None after `seconds` without one; Closed when there will be none."""
        until = time.time() + seconds
        while True:
            if len(self.buffer) >= 2:
                n = shift = 0
                for i in range(1, min(5, len(self.buffer))):
                    n, shift = n | (self.buffer[i] & 127) << shift, shift + 7
                    if not self.buffer[i] & 128:
                        if len(self.buffer) < 1 + i + n:
                            break
                        first, body = self.buffer[0], self.buffer[1 + i:1 + i + n]
                        self.buffer = self.buffer[1 + i + n:]
                        return Packet(first >> 4, first & 15, body, self.version)
            left = until - time.time()
            if left <= 0:
                return None
            self.socket.settimeout(left)
            try:
                data = self.socket.recv(65536)
            except (TimeoutError, BlockingIOError):
                return None
            except OSError as e:
                raise Closed(str(e))
            if not data:
                raise Closed("end of stream")
            self.buffer += data

    def wait(self, kind, seconds=PATIENCE):
        """The next packet of that kind; PUBLISHes that come before it are kept for receive()."""
        for i, p in enumerate(self.waiting):
            if p.kind == kind:
                return self.waiting.pop(i)
        until = time.time() + seconds
        while time.time() < until:
            p = self.read(until - time.time())
            if p is None:
                break
            if p.kind == kind:
                return p
            self.waiting.append(p)
        raise AssertionError(f"no packet of type {kind} in {seconds} s")

    def arrived(self, kind):
        """All of that kind that have come by now; others are kept for receive()."""
        out = []
        while p := self.read(0.01):
            (out if p.kind == kind else self.waiting).append(p)
        return out

    def identify(self):
        self.next_packet = self.next_packet % 65535 + 1
        return self.next_packet

    def publish_begin(self, topic, message, qos=1, dup=False, retain=False, packet=None, **props):
        payload = message if isinstance(message, bytes) else json.dumps(message).encode()
        packet = packet or (self.identify() if qos else None)
        body = text(topic) + (struct.pack(">H", packet) if qos else b"") + (properties(**props) if self.version == 5 else b"") + payload
        self.send(PUBLISH, (8 if dup else 0) | qos << 1 | (1 if retain else 0), body)
        return packet

    def publish(self, topic, message, qos=1, seconds=PATIENCE, **more):
        """Its PUBACK (QoS 1)."""
        packet = self.publish_begin(topic, message, qos, **more)
        if not qos:
            return None
        ack = self.wait(PUBACK, seconds)
        assert ack.packet == packet, f"PUBACK of {ack.packet}, expected {packet}"
        return ack

    def subscribe(self, *filters, qos=1, **props):
        """The SUBACK's codes."""
        packet = self.identify()
        body = struct.pack(">H", packet) + (properties(**props) if self.version == 5 else b"")
        self.send(SUBSCRIBE, 2, body + b"".join(text(f) + bytes([qos]) for f in filters))
        ack = self.wait(SUBACK)
        assert ack.packet == packet
        return ack.codes

    def unsubscribe(self, *filters):
        packet = self.identify()
        self.send(UNSUBSCRIBE, 2, struct.pack(">H", packet) + (b"\0" if self.version == 5 else b"") + b"".join(map(text, filters)))
        ack = self.wait(UNSUBACK)
        assert ack.packet == packet
        return ack.codes

    def ack(self, p, reason=None):
        if p.qos:
            self.send(PUBACK, 0, struct.pack(">H", p.packet) + (bytes([reason]) if reason else b""))

    def message(self, seconds=PATIENCE, ack=True):
        """The next PUBLISH; None when none comes."""
        for i, p in enumerate(self.waiting):
            if p.kind == PUBLISH:
                self.waiting.pop(i)
                break
        else:
            until = time.time() + seconds
            while True:
                p = self.read(max(0, until - time.time()))
                if p is None:
                    return None
                if p.kind == PUBLISH:
                    break
                self.waiting.append(p)
        if ack:
            self.ack(p)
        return p

    def messages(self, count=None, seconds=PATIENCE, quiet=0.5, ack=True, topic=None):
        """`count` PUBLISHes (whose topic ends so), or all until it has been quiet."""
        out, until = [], time.time() + seconds
        while (count is None or len(out) < count) and time.time() < until:
            p = self.message(quiet if count is None else until - time.time(), ack)
            if p is None:
                break
            if topic is None or p.topic.endswith(topic):
                out.append(p)
        return out

    def exactly(self, count, quiet=0.4, **more):
        """`count` PUBLISHes, however long they take, and none behind them."""
        return self.messages(count, **more) + self.messages(quiet=quiet, **more)

    def ping(self):
        self.send(PINGREQ, 0, b"")
        return self.wait(PINGRESP)

    def ended(self, seconds=PATIENCE):
        """Waits for the end: the DISCONNECT that came before it, or None."""
        last, until = None, time.time() + seconds
        try:
            while time.time() < until:
                p = self.read(until - time.time())
                if p and p.kind == DISCONNECT:
                    last = p
        except Closed:
            return last
        raise AssertionError(f"the connection is open after {seconds} s")

    def disconnect(self, reason=0, **props):
        try:
            self.send(DISCONNECT, 0, bytes([reason]) + properties(**props) if self.version == 5 and (reason or props) else b"")
        except OSError:
            pass
        self.socket.close()

    def drop(self):
        """Goes without a word."""
        self.socket.close()
