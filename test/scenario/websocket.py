"""A small WebSocket client for tests (RFC 6455), frame by frame, so that a test can also misbehave. It acts as a socket of what binary frames carry."""
import base64, hashlib, os, socket, struct, time

from harness import PATIENCE

TEXT, BINARY, CLOSE, PING, PONG = 1, 2, 8, 9, 10
GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


class Refused(Exception):
    """The server did not upgrade: status, headers (lower case), body."""

    def __init__(self, status, headers, body):
        super().__init__(f"{status} {body!r}")
        self.status, self.headers, self.body = status, headers, body


def mask(key, data):
    n = len(data)
    if not n:
        return b""
    return (int.from_bytes(data, "big") ^ int.from_bytes((key * (n // 4 + 1))[:n], "big")).to_bytes(n, "big")


def frame(opcode, payload=b"", fin=True, masked=True, rsv=0, key=b"\x12\x34\x56\x78"):
    n = len(payload)
    head = bytes([(0x80 if fin else 0) | rsv << 4 | opcode])
    bit = 0x80 if masked else 0
    head += bytes([bit | n]) if n < 126 else bytes([bit | 126]) + struct.pack(">H", n) if n < 65536 else bytes([bit | 127]) + struct.pack(">Q", n)
    return head + (key + mask(key, payload) if masked else payload)


class WebSocket:
    def __init__(self, port, path="/mqtt", protocol="mqtt", headers=None, via=None, seconds=PATIENCE, early=b"", answers_before=0):
        self.raw = via or socket.create_connection(("127.0.0.1", port), timeout=seconds)
        self.data, self.payload, self.closed, self.seconds = b"", b"", None, seconds
        key = base64.b64encode(os.urandom(16))
        lines = {"Host": f"127.0.0.1:{port}", "Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13",
                 "Sec-WebSocket-Key": key.decode(), "Sec-WebSocket-Protocol": protocol, **(headers or {})}
        head = f"GET {path} HTTP/1.1\r\n" + "".join(f"{n}: {v}\r\n" for n, v in lines.items() if v is not None) + "\r\n"
        self.raw.sendall(head.encode() + early)
        for _ in range(answers_before):  # to requests that went ahead of it
            self.body(self.answer()[1])
        self.status, self.headers = self.answer()
        if self.status != 101:
            body = self.body(self.headers)
            self.raw.close()
            raise Refused(self.status, self.headers, body)
        assert self.headers["sec-websocket-accept"] == base64.b64encode(hashlib.sha1(key + GUID).digest()).decode(), self.headers

    def answer(self):
        while b"\r\n\r\n" not in self.data and self.more():
            pass
        head, _, self.data = self.data.partition(b"\r\n\r\n")
        first, *lines = head.decode().split("\r\n")
        return int(first.split()[1]), {n.lower(): v.strip() for n, _, v in (line.partition(":") for line in lines)}

    def body(self, headers):
        n = int(headers.get("content-length", 0))
        while len(self.data) < n and self.more():
            pass
        out, self.data = self.data[:n], self.data[n:]
        return out

    def more(self):
        """False: the server has closed the connection."""
        try:
            data = self.raw.recv(65536)
        except ConnectionError:
            return False
        self.data += data
        return bool(data)

    def send(self, opcode, payload=b"", **how):
        self.raw.sendall(frame(opcode, payload, **how))

    def read(self, seconds=PATIENCE):
        """The next frame, (opcode, payload); None: the connection is closed. TimeoutError when none comes."""
        until = time.time() + seconds
        while True:
            if len(self.data) >= 2:
                assert self.data[0] & 0x70 == 0 and self.data[1] & 0x80 == 0, "reserved bits, or a mask: " + self.data[:2].hex()
                n, at = self.data[1] & 127, 2
                if n > 125:
                    at = 4 if n == 126 else 10
                    n = int.from_bytes(self.data[2:at], "big") if len(self.data) >= at else 1 << 62
                if len(self.data) >= at + n:
                    opcode, fin, payload = self.data[0] & 15, self.data[0] & 0x80, self.data[at:at + n]
                    assert fin, "the server has no need of fragments"
                    self.data = self.data[at + n:]
                    return opcode, payload
            left = until - time.time()
            if left <= 0:
                raise TimeoutError(f"no frame in {seconds} s")
            self.raw.settimeout(left)
            if not self.more():
                return None

    def closes(self, seconds=PATIENCE):
        """Reads to the end: the code of the close frame, None when there was none."""
        code = None
        while True:
            got = self.read(seconds)
            if got is None:
                return code
            if got[0] == CLOSE:
                assert code is None, "two close frames"
                code = struct.unpack(">H", got[1][:2])[0] if got[1] else 1005

    # as a socket of bytes
    def sendall(self, data):
        self.send(BINARY, data)

    def settimeout(self, seconds):
        self.seconds = seconds

    def recv(self, n):
        while not self.payload:
            got = self.read(self.seconds)
            if got is None:
                return b""
            opcode, payload = got
            if opcode == CLOSE:
                self.closed = struct.unpack(">H", payload[:2])[0] if payload else 1005
                return b""
            assert opcode in (BINARY, PONG), f"a frame of kind {opcode}"
            if opcode == BINARY:
                self.payload = payload
        out, self.payload = self.payload[:n], self.payload[n:]
        return out

    def close(self):
        self.raw.close()
