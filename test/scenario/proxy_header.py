"""Headers of the PROXY protocol, version 2."""
import socket, struct

SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"
LOCAL = SIGNATURE + b"\x20\x00\0\0"


def header(address="10.1.2.3", command=0x21, family=None, more=b"", length=None):
    six = ":" in address
    kind = socket.AF_INET6 if six else socket.AF_INET
    body = socket.inet_pton(kind, address) + socket.inet_pton(kind, "::1" if six else "127.0.0.1") + struct.pack(">HH", 40000, 8080) + more
    return SIGNATURE + bytes([command, family or (0x21 if six else 0x11)]) + struct.pack(">H", len(body) if length is None else length) + body
