"""The PROXY protocol, version 2, before HTTP and MQTT: whose connection it is, is what the header says; a connection without one is closed."""
import json, signal, socket, time

from harness import Server, eventually, expect
from mqtt import Client
from proxy_header import LOCAL, SIGNATURE, header

GET = b"GET /healthz HTTP/1.1\r\nHost: h\r\n\r\n"


def connect(port, first, slowly=False):
    c = socket.create_connection(("127.0.0.1", port), timeout=10)
    c.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    for part in ([bytes([b]) for b in first] if slowly else [first]):
        c.sendall(part)
    return c


def status(c, ask=GET):
    """Of the answer; 0: closed without one."""
    try:
        if ask:
            c.sendall(ask)
        data = c.recv(65536)
    except ConnectionError:
        return 0
    return int(data.split()[1]) if data else 0


s = Server("--proxy-protocol", "--connections-per-address", "2", "--tls-handshake-timeout", "2s", "--shards", "2")

# calls go through a header of their own
body = json.dumps({"device": "ann1"}).encode()
c = connect(s.http, header("10.9.9.9"))
c.sendall(f"POST /v1/users/ann/tokens HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer {s.key}\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body)
token = json.loads(c.recv(65536).partition(b"\r\n\r\n")[2])["token"]
c.close()

# taken: both families, TLVs, LOCAL, header and request in one piece, byte by byte
for first in (header(), header("2001:db8::7"), header(more=b"\x04\0\4abcd"), header(more=b"\x04\x01\xf9" + b"x" * 505), LOCAL, SIGNATURE + b"\x20\x11\0\x0c" + b"x" * 12):
    c = connect(s.http, first)
    expect(status(c), 200, first.hex())
    expect(status(c), 200, "only the first has a header")
    c.close()
expect(status(connect(s.http, header() + GET), b""), 200)
expect(status(connect(s.http, header("10.4.4.4") + GET, slowly=True), b""), 200)
for version in (4, 5):
    m = Client(0, "ann1", token, version=version, via=connect(s.mqtt, header("10.5.5.5", more=b"\x03\0\1x")))
    expect(m.connack.reason, 0)
    m.ping()
    m.disconnect()

# the address that the header names is the one that limits count
a = [connect(s.http, header("10.7.7.7")) for _ in range(2)]
expect([status(c) for c in a], [200, 200])
expect(status(connect(s.http, header("10.7.7.7")), b""), 429, "a third of 10.7.7.7")
b = connect(s.http, header("10.7.7.8"))
expect(status(b), 200, "another's first")
six = [connect(s.http, header(f"2001:db8:1:2::{i}")) for i in range(2)]
expect([status(c) for c in six], [200, 200])
expect(status(connect(s.http, header("2001:db8:1:2:3::3")), b""), 429, "a third of that /64")
for c in a + six:
    c.close()
eventually(lambda: expect(status(connect(s.http, header("10.7.7.7"))), 200, "when they have gone"))

# closed: no header, a wrong one, one of version 1, one that is too long
for first in (GET, b"PROXY TCP4 10.1.2.3 127.0.0.1 40000 8080\r\n" + GET, header(command=0x22) + GET, header(command=0x11) + GET, header(family=0x12) + GET,
              header(family=0x21) + GET, header(length=521) + GET, SIGNATURE[:11] + b"x", b"\x10\x1e\0\4MQTT"):
    for port in (s.http, s.mqtt):
        expect(status(connect(port, first), b""), 0, first[:20].hex())

s.process.send_signal(signal.SIGHUP)  # nothing to read again, and no end either
eventually(lambda: expect("nothing to read again" in s.said(), True))

# half a header is waited for as long as --tls-handshake-timeout says
c, began = connect(s.http, header()[:20]), time.time()
expect(c.recv(1), b"")
expect(1 < time.time() - began < 9, True, f"closed after {time.time() - began:.1f} s")

c = connect(s.http, header("10.6.6.6"))
c.sendall(f"GET /metrics HTTP/1.1\r\nHost: h\r\nConnection: close\r\nAuthorization: Bearer {s.key}\r\n\r\n".encode())
c.settimeout(30)
said = b""
while part := c.recv(65536):
    said += part
refused = int(said.partition(b"\nkith_proxy_refused_total ")[2].split()[0])
expect(refused, 18, "each wrong header is counted")
s.close()
