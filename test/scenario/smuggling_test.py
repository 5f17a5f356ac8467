"""Whoever reads a connection differently from the one in front of it can be made to see requests that nobody sent. What is framed wrongly gets one refusal and the end of the connection,
never a second answer, however it is cut into segments; what is unusual but well formed is answered, and what follows it, too. http_test.py has the plainer cases."""
import re, socket

from harness import Server, expect
from lanes import both

STATUS = re.compile(rb"HTTP/1\.1 (\d\d\d) ")
SEGMENT_MAX = 600  # bytes of a case that is also sent one by one


class Probe:
    def __init__(self, s):
        self.s, self.auth = s, f"Authorization: Bearer {s.key}\r\n".encode()
        self.hidden = b"PUT /v1/users/smuggled HTTP/1.1\r\nHost: x\r\n" + self.auth + b"Content-Length: 2\r\n\r\n{}"
        self.wrong = []

    def put(self, *more, body=b"{}", line=b"PUT /v1/users/carrier HTTP/1.1", host=b"Host: x\r\n"):
        return line + b"\r\n" + host + self.auth + b"".join(m + b"\r\n" for m in more) + b"\r\n" + body

    def exchange(self, data, one_by_one):
        """(the statuses answered, whether the server closed)."""
        c = socket.create_connection(("127.0.0.1", self.s.http), timeout=30)
        c.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        said = b""
        try:
            for piece in ([data[i:i + 1] for i in range(len(data))] if one_by_one else [data]):
                c.sendall(piece)
        except (BrokenPipeError, ConnectionResetError):
            pass
        closed = False
        try:
            while len(STATUS.findall(said)) < 2 and not closed:
                more = c.recv(65536)
                said, closed = said + more, not more
        except ConnectionResetError:
            closed = True
        except TimeoutError:
            pass
        c.close()
        return [int(n) for n in STATUS.findall(said)], closed

    def ways(self, data):
        return (False, True) if len(data) <= SEGMENT_MAX else (False,)

    def refused(self, what, data, *statuses):
        for one_by_one in self.ways(data):
            got, closed = self.exchange(data + self.hidden, one_by_one)
            if len(got) != 1 or got[0] not in (statuses or (400,)) or not closed:
                self.wrong.append(f"{what!r}{' byte by byte' if one_by_one else ''}: {got}, {'closed' if closed else 'left open'}")

    def taken(self, what, data, *statuses):
        """It is answered, and what follows it is a request of its own."""
        for one_by_one in self.ways(data):
            got, _ = self.exchange(data + b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n", one_by_one)
            if len(got) != 2 or got[0] not in (statuses or (200, 201)) or got[1] != 200:
                self.wrong.append(f"{what!r}{' byte by byte' if one_by_one else ''}: {got}, expected it and the next one to be answered")


CHUNKS = b"2\r\n{}\r\n0\r\n\r\n"


def codings(p):
    """Transfer-Encoding in disguises that one reader sees through and another does not."""
    for line in (b"Transfer-Encoding: chunked\0", b"Transfer-Encoding:\0chunked", b"Transfer-Encoding: ch\0unked", b"\0Transfer-Encoding: chunked", b"Transfer\0-Encoding: chunked",
                 b"Transfer-Encoding\t: chunked", b"Transfer-Encoding\xa0: chunked", b"Transfer-Encoding\r: chunked", b"Transfer-Encoding: chunked\x0b", b"Transfer-Encoding: chunked\x0c",
                 b"Transfer-Encoding: chunked\r", b"X: y\rTransfer-Encoding: chunked", b"X: y\nTransfer-Encoding: chunked", b"Transfer-Encoding: \"chunked\"",
                 b"Transfer-Encoding: chunked;q=1", b"Transfer-Encoding:", b"Transfer-Encoding: ,chunked", b"Transfer-Encoding: chunked,", b"Transfer-Encoding: chunked, identity",
                 b"Transfer-Encoding: xchunked", b"Transfer-Encoding: chunkedx", b"Transfer-Encoding: chunked, chunked", b"Transfer-Encoding: \xc4\x8dhunked",
                 b"Transfer-Encoding: cow\r\nTransfer-Encoding: chunked", b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity", b"Transfer-Encoding:\r\n chunked"):
        p.refused(line, p.put(line, body=CHUNKS))
        p.refused((line, "and a length"), p.put(line, b"Content-Length: 2", body=CHUNKS))
    for line in (b"Transfer-Encoding: identity, chunked", b"Transfer-Encoding: gzip, chunked"):
        p.refused(line, p.put(line, body=CHUNKS), 400, 501)
    p.refused("1.0", p.put(b"Transfer-Encoding: chunked", body=CHUNKS, line=b"PUT /v1/users/carrier HTTP/1.0"))
    for line in (b"Transfer-Encoding:\tchunked", b"transfer-encoding: CHUNKED", b"Transfer-Encoding:chunKed"):
        p.taken(line, p.put(line, body=CHUNKS))


def lengths(p):
    for value in (b"2\0", b"2;", b"2.0", b"2e0", b"18446744073709551618", b"18446744073709551617", b"-0", b"+0", b"2\x0b", b"2\x0c", b"\xd9\xa2", b"2,", b"2_0", b'"2"', b"2h", b"2 ;", b"2\r", b"2 \n",
                  b"0b10", b"2 2", b"\xef\xbc\x92"):
        p.refused((b"length", value), p.put(b"Content-Length: " + value))
    for line in (b"Content-Length\t: 2", b"Content-Length\xa0: 2", b"Content-Length\0: 2", b"Content-Length 2", b"Content-Length: 2\nX: y", b"X: y\nContent-Length: 2"):
        p.refused(line, p.put(line))
    for value in (b"4294967298", b"9223372036854775810"):
        p.refused((b"length", value), p.put(b"Content-Length: " + value), 400, 413)
    for value in (b"02", b" 2 ", b"0000000000000000000002"):
        p.taken((b"length", value), p.put(b"Content-Length:" + value))


def chunks(p):
    te = b"Transfer-Encoding: chunked"
    for body in (b"2 \r\n{}\r\n0\r\n\r\n", b"2\n{}\r\n0\r\n\r\n", b"2\r{}\r\n0\r\n\r\n", b"2\rX{}\r\n0\r\n\r\n", b"2\r\n{}\n0\r\n\r\n", b"2\r\n{}XX0\r\n\r\n", b"2\r\n{}\rX0\r\n\r\n", b"2\r\n{}X\n0\r\n\r\n",
                 b"2\r\n{}\r\n0\n\n", b"2\r\n{}\r\n0\r\n\n", b"2\r\n{}\r\n0\n\r\n", b"2\r\n{}\r\n0\r\n\rX", b"2\r\n{}\r0\r\n\r\n", b"+2\r\n{}\r\n0\r\n\r\n", b" 2\r\n{}\r\n0\r\n\r\n", b"\t2\r\n{}\r\n0\r\n\r\n",
                 b"2\t\r\n{}\r\n0\r\n\r\n", b"2;\n{}\r\n0\r\n\r\n", b"2;a\nb\r\n{}\r\n0\r\n\r\n", b"2;a\rb\r\n{}\r\n0\r\n\r\n", b'2;a="\r\n"\r\n{}\r\n0\r\n\r\n', b"2;a=\0\r\n{}\r\n0\r\n\r\n", b"2\0\r\n{}\r\n0\r\n\r\n",
                 b"2_\r\n{}\r\n0\r\n\r\n", b"FFFFFFFFFFFFFFFF\r\n{}\r\n0\r\n\r\n", b"10000000000000002\r\n{}\r\n0\r\n\r\n", b"2;" + b"x" * 300000 + b"\r\n{}\r\n0\r\n\r\n",
                 b"2\r\n{}\r\n-0\r\n\r\n", b"2\r\r\n{}\r\n0\r\n\r\n", b"2\r\n{}\r\n\r\n0\r\n\r\n", b"2,2\r\n{}\r\n0\r\n\r\n", b"2\r\n{}\r\n0\r\n\0\r\n",
                 # trailers are lines, too
                 b"2\r\n{}\r\n0\r\nGET /healthz HTTP/1.1\r\n\r\n", b"2\r\n{}\r\n0\r\na b: c\r\n\r\n", b"2\r\n{}\r\n0\r\nx: y\r\n folded\r\n\r\n", b"2\r\n{}\r\n0\r\nnocolon\r\n\r\n", b"2\r\n{}\r\n0\r\nx: y\n\r\n",
                 b"2\r\n{}\r\n0\r\nx: y\0\r\n\r\n", b"2\r\n{}\r\n0\r\nx : y\r\n\r\n", b"2\r\n{}\r\n0\r\n: v\r\n\r\n", b"2\r\n{}\r\n0\r\n\tx: v\r\n\r\n"):
        p.refused((b"chunks", body[:60]), p.put(te, body=body), 400)
    for size in (b"FFFFFFFFFFFFFFFE", b"7FFFFFFFFFFFFFFF", b"100000002"):
        p.refused((b"a chunk of", size), p.put(te, body=size + b"\r\n{}\r\n0\r\n\r\n"), 400, 413)
    for trailers in (b"x: y\r\n" * 20000, b"x: " + b"y" * 100000 + b"\r\n"):
        p.refused("trailers without end", p.put(te, body=b"2\r\n{}\r\n0\r\n" + trailers + b"\r\n"), 400, 431)
    for body in (b"2\r\n{}\r\n00\r\n\r\n", b"0000000000000000000002\r\n{}\r\n0\r\n\r\n", b"2 ;a=b\r\n{}\r\n0\r\n\r\n", b'2;a="b;c"\r\n{}\r\n0;d\r\n\r\n', b"1;a\r\n{\r\n1;b\r\n}\r\n0\r\n\r\n", b"1\r\n \r\n" * 20000 + CHUNKS,
                 b"2\r\n{}\r\n0\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\nHost: y\r\n\r\n"):
        p.taken((b"chunks", body[:60]), p.put(te, body=body))


def request_lines(p):
    length = b"Content-Length: 2"
    for line in (b"\nPUT /v1/users/carrier HTTP/1.1", b"\rPUT /v1/users/carrier HTTP/1.1", b"PUT  /v1/users/carrier HTTP/1.1", b"PUT /v1/users/carrier  HTTP/1.1", b"PUT /v1/users/carrier HTTP/1.1 ",
                 b"PUT /v1/users/carrier HTTP/1.1\r", b"PUT /v1/users/carrier HTTP/1.10", b"PUT /v1/users/carrier HTTP/01.1", b"PUT /v1/users/carrier http/1.1", b"PUT /v1/users/carrier HTTP/1.1x",
                 b"PUT /v1/users/carrier HTTP/1.", b"PUT /v1/users/carrier HTTP/11", b"PUT /v1/users/carrier HTTP /1.1", b"PUT /v1/users/carrier HTTP/1,1", b"PUT /v1/users/carrier ICE/1.1", b"PUT /v1/users/carrier HXXP/1.1",
                 b"PUT /v1/users/carrier\x7f HTTP/1.1", b"PUT /v1/users/carrier\0 HTTP/1.1", b"PUT /v1/users/carrier\x01 HTTP/1.1", b"PUT /v1/users/carrier\rX: HTTP/1.1", b"PUT * HTTP/1.1",
                 b"OPTIONS * HTTP/1.1", b"CONNECT x:80 HTTP/1.1", b"PUT http:///v1/users/carrier HTTP/1.1", b"PUT http://a b/v1/users/carrier HTTP/1.1", b"PUT http://a@b/v1/users/carrier HTTP/1.1",
                 b"PUT ftp://x/v1/users/carrier HTTP/1.1", b"PUT /v1/users/carrier?\xff HTTP/1.1"):
        p.refused(line, p.put(length, line=line))
    for line in (b" PUT /v1/users/carrier HTTP/1.1", b"\0PUT /v1/users/carrier HTTP/1.1", b"PUT\t/v1/users/carrier HTTP/1.1", b"put /v1/users/carrier HTTP/1.1", b"Put /v1/users/carrier HTTP/1.1",
                 b"PUTT /v1/users/carrier HTTP/1.1", b"PU /v1/users/carrier HTTP/1.1", b"PUT/v1/users/carrier HTTP/1.1", b"\xef\xbb\xbfPUT /v1/users/carrier HTTP/1.1"):
        p.refused(line, p.put(length, line=line), 400, 501)  # 501: a method that it does not know
    for line in (b"PUT /v1/users/carrier\tHTTP/1.1", b"PUT /v1/users/carrier HTTP/2.0", b"PUT /v1/users/carrier HTTP/0.9"):
        p.refused(line, p.put(length, line=line), 400, 505)
    for line in (b"PUT /v1/users/carrier HTTP/1.2", b"\r\nPUT /v1/users/carrier HTTP/1.1", b"PUT http://x/v1/users/carrier HTTP/1.1"):
        p.taken(line, p.put(length, line=line))


def fields(p):
    length = b"Content-Length: 2"
    for host in (b"", b"Host: a b\r\n", b"Host: x, y\r\n", b"Host: a@b\r\n", b"Host : x\r\n", b"Host: x\n", b"Host: x/y\r\n", b"Host: x?y\r\n", b"Host: x#y\r\n", b"Host: x:y\r\n", b"Host: [::1\r\n",
                 b"Host: \xff\r\n", b"Host: x\0\r\n", b"Host: x\x7f\r\n", b"Host: x\r\nhost: x\r\n", b"\tHost: x\r\n", b" Host: x\r\n", b"Host: x\\y\r\n"):
        p.refused(host, p.put(length, host=host))
    for host in (b"hOST: x\r\n", b"Host:x\r\n", b"Host: [::1]:80\r\n", b"Host:\r\n"):
        p.taken(host, p.put(length, host=host))
    for line in (b"X: a\x01b", b"X: a\x7fb", b"X: a\x1fb", b"X(a): b", b"X\x80: b", b'X"y: b', b"X@: a", b"X[]: a", b"{X}: a", b"X/Y: a", b"X\\: a", b"=X: a", b"X;: a", b"X,Y: a", b"X<>: a", b"X?: a", b"X\x7f: a",
                 b"X\tY: a", b"X\0: a", b"X: a\nb: c", b"X: a\n", b"X: a\r\n\n", b"X: a\r\n\rX", b"X: a\r\n\r", b"X: a\r\n\tb"):
        p.refused(line, p.put(length, line))
    for line in (b"X: \xff", b"X:", b"X: a\tb", b"X!#$%&'*+-.^_`|~: a", b"X: " + b"y" * 7000):
        p.taken(line, p.put(length, line))
    p.refused("a head without end", p.put(length, *[b"X: " + b"y" * 1000] * 60), 431)
    for line in (b"Connection: keep-alive, close", b"Upgrade: h2c\r\nConnection: Upgrade, HTTP2-Settings\r\nHTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA"):
        got, closed = p.exchange(p.put(length, line) + p.hidden, False)
        if len(got) != 1 or got[0] not in (200, 201) or not closed:
            p.wrong.append(f"{line!r}: {got}, {closed}")


def story(s):
    p = Probe(s)
    for part in (codings, lengths, chunks, request_lines, fields):
        part(p)
    assert not p.wrong, "\n  ".join([f"{len(p.wrong)} are read otherwise:", *p.wrong])
    expect(s.call("GET", "/v1/users/smuggled")[0], 404, "nothing was smuggled")


def which_host():
    """The target's host counts, whatever the header says: it is the one that is checked."""
    s = Server("--hosts", "app.example")
    p = Probe(s)
    for target, host, statuses in ((b"http://app.example/healthz", b"evil.example", (200, 400)), (b"http://evil.example/healthz", b"app.example", (400, 403)), (b"/healthz", b"app.example", (200,)),
                                   (b"/healthz", b"evil.example", (403,)), (b"http://app.example@evil.example/healthz", b"app.example", (400,)), (b"//app.example/healthz", b"evil.example", (403, 404)),
                                   (b"http://app.example:80/healthz", b"app.example", (200,)), (b"/healthz", b"app.example:99", (200,)), (b"/healthz", b"APP.example", (200,)),
                                   (b"/healthz", b"app.example.", (200, 403)), (b"/healthz", b"app.example\r\nX-Forwarded-Host: evil.example", (200,))):
        got, _ = p.exchange(b"GET " + target + b" HTTP/1.1\r\nHost: " + host + b"\r\nConnection: close\r\n\r\n", False)
        expect((len(got), got[0] in statuses), (1, True), f"{target} for {host}: {got}")
    s.close()


both(story)
which_host()
