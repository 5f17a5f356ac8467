"""HTTP/1.1 byte by byte: what is framed in two ways is refused, limits and times hold, pipelined answers keep their order, and every refusal says why."""
import email.utils, json, socket, threading, time

from harness import Server, expect, eventually
from lanes import both


class Wire:
    """A connection whose requests are written by hand."""

    def __init__(self, s, seconds=30):
        self.s, self.data = s, b""
        self.socket = socket.create_connection(("127.0.0.1", s.http), timeout=seconds)

    def send(self, data):
        try:
            self.socket.sendall(data)
        except (BrokenPipeError, ConnectionResetError):
            pass  # what the server answered before it closed is still read
        return self

    def more(self):
        got = self.socket.recv(65536)
        if not got:
            raise EOFError(self.data[:200])
        self.data += got

    def answer(self, head_only=False):
        """(status, headers, body) of the next answer; JSON decoded."""
        while b"\r\n\r\n" not in self.data:
            self.more()
        head, self.data = self.data.split(b"\r\n\r\n", 1)
        lines = head.decode().split("\r\n")
        assert lines[0].startswith("HTTP/1.1 "), lines[0]
        headers = {k.lower(): v.strip() for k, v in (l.split(":", 1) for l in lines[1:])}
        status = int(lines[0].split()[1])
        n = 0 if head_only or status in (100, 204) else int(headers["content-length"])
        while len(self.data) < n:
            self.more()
        body, self.data = self.data[:n], self.data[n:]
        return status, headers, json.loads(body) if "json" in headers.get("content-type", "") and body else body

    def closed(self):
        try:
            while True:
                self.more()
        except ConnectionResetError:
            return True
        except EOFError:
            return not self.data


def lines(*of, body=b""):
    return "\r\n".join(of).encode() + b"\r\n\r\n" + body


def put_user(s, user, more=(), body=b"{}", length=True):
    return lines(f"PUT /v1/users/{user} HTTP/1.1", "Host: x", f"Authorization: Bearer {s.key}", *([f"Content-Length: {len(body)}"] if length else []), *more, body=body)


def is_problem(answer, status, code=None):
    got, headers, body = answer
    expect((got, headers.get("content-type")), (status, "application/problem+json"), str(body))
    expect(body["status"], status)
    assert body["type"].startswith("/problems/") and body["title"] and body["detail"], body
    if code:
        expect(body["type"], "/problems/" + code)
    return headers, body


HEALTH = b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"


def pipelining(s):
    w = Wire(s)
    users = [f"p{i}" for i in range(60)]
    w.send(b"".join(put_user(s, u, body=json.dumps({"name": u}).encode()) + lines(f"GET /v1/users/{u} HTTP/1.1", "Host: x", f"Authorization: Bearer {s.key}") for u in users))
    for u in users:
        expect((w.answer()[0], w.answer()[2]["name"]), (201, u), "in order")
    w.send(b"\r\n\r\n" + HEALTH + HEALTH[:20])
    expect(w.answer()[0], 200, "empty lines before a request")
    w.send(HEALTH[20:] + lines("GET /healthz HTTP/1.1", "Host: x", "Connection: close") + HEALTH)
    expect(w.answer()[0], 200)
    status, headers, _ = w.answer()
    expect((status, headers.get("connection"), w.closed()), (200, "close", True), "the last one is the last one")
    many, w = 8000, Wire(s)
    resident = memory(s)
    writer = threading.Thread(target=w.send, args=(HEALTH * many,))
    writer.start()
    time.sleep(0.4)
    assert memory(s) - resident < 40 << 20, "what is pipelined waits with the client"
    for _ in range(many):
        expect(w.answer()[0], 200)
    writer.join()
    half = Wire(s)
    half.send(put_user(s, "half") + HEALTH)
    half.socket.shutdown(socket.SHUT_WR)
    expect((half.answer()[0], half.answer()[0], half.closed()), (201, 200, True), "who has said all still hears the answers")
    half = Wire(s)
    half.send(HEALTH + HEALTH[:9])
    half.socket.shutdown(socket.SHUT_WR)
    expect((half.answer()[0], half.closed()), (200, True))


def memory(s):
    return int([l.split()[-1] for l in s.call("GET", "/metrics")[1].decode().splitlines() if l.startswith("kith_resident_bytes ")][0])


def chunked(s):
    w = Wire(s)
    te = ["Transfer-Encoding: chunked"]
    for body in (b"2\r\n{}\r\n0\r\n\r\n", b"1\r\n{\r\n1\r\n}\r\n0\r\n\r\n", b"2;a=b;c\r\n{}\r\n0\r\nTrailer: x\r\n\r\n", b"00002\r\n{}\r\n0\r\n\r\n"):
        w.send(put_user(s, "chunky", te, body, False))
        expect(w.answer()[0] in (200, 201), True, body)
    name = "n" * 100
    text = json.dumps({"name": name}).encode()
    head = put_user(s, "chunky", te, b"", False)
    for piece in [head] + [b"%x\r\n%c\r\n" % (1, c) for c in text] + [b"0\r\n\r\n"]:
        w.send(piece)
    expect(w.answer()[2]["name"], name)
    w.send(HEALTH)
    expect(w.answer()[0], 200, "the connection goes on")
    for body in (b"zz\r\n{}\r\n0\r\n\r\n", b"-2\r\n{}\r\n", b"0x2\r\n{}\r\n0\r\n\r\n", b"2\r\n{}0\r\n\r\n", b"2\r\n{}xx\r\n0\r\n\r\n", b"\r\n{}\r\n", b"ffffffffffffffff2\r\n{}\r\n", b";\r\n{}\r\n"):
        w = Wire(s).send(put_user(s, "bad-chunk", te, body, False) + HEALTH)
        is_problem(w.answer(), 400)
        expect(w.closed(), True, body)


def smuggling(s):
    """Framing that two readers could take in two ways ends the connection, and nothing behind it is a request."""
    hidden = put_user(s, "smuggled")
    for what, more, body, statuses in (
            ("both lengths", ["Content-Length: 4", "Transfer-Encoding: chunked"], b"0\r\n\r\n", (400,)), ("and the other way round", ["Transfer-Encoding: chunked", "Content-Length: 4"], b"0\r\n\r\n", (400,)),
            ("two lengths", ["Content-Length: 2", "Content-Length: 2"], b"{}", (400,)), ("two other lengths", ["Content-Length: 0", "Content-Length: 2"], b"{}", (400,)),
            ("a list of lengths", ["Content-Length: 2, 2"], b"{}", (400,)), ("a signed length", ["Content-Length: +2"], b"{}", (400,)), ("a negative length", ["Content-Length: -2"], b"{}", (400,)),
            ("a hex length", ["Content-Length: 0x2"], b"{}", (400,)), ("an empty length", ["Content-Length: "], b"{}", (400,)),
            ("a length beyond numbers", ["Content-Length: 99999999999999999999999"], b"{}", (400, 413)), ("identity", ["Transfer-Encoding: identity"], b"{}", (400, 501)),
            ("gzip", ["Transfer-Encoding: gzip, chunked"], b"0\r\n\r\n", (400, 501)), ("chunked twice", ["Transfer-Encoding: chunked", "Transfer-Encoding: chunked"], b"0\r\n\r\n", (400, 501)),
            ("chunked, chunked", ["Transfer-Encoding: chunked, chunked"], b"0\r\n\r\n", (400, 501)), ("not quite chunked", ["Transfer-Encoding: xchunked"], b"0\r\n\r\n", (400, 501)),
            ("a vertical tab", ["Transfer-Encoding: \x0bchunked"], b"0\r\n\r\n", (400, 501)), ("a blank before the colon", ["Transfer-Encoding : chunked"], b"0\r\n\r\n", (400,)),
            ("a folded line", ["X: a", " Transfer-Encoding: chunked"], b"0\r\n\r\n", (400,)), ("a folded length", ["Content-Length:", " 2"], b"{}", (400,)),
            ("a header without a name", [": x"], b"", (400,)), ("a header without a colon", ["nonsense"], b"", (400,)), ("a blank in a name", ["a b: c"], b"", (400,)),
            ("a zero in a value", ["X: a\0b"], b"", (400,)), ("two hosts", ["Host: y"], b"", (400,)), ("a bare return", ["X: a\rY: b"], b"", (400,))):
        w = Wire(s).send(put_user(s, "carrier", more, body, False) + hidden)
        status = w.answer()
        assert status[0] in statuses, f"{what}: {status}"
        is_problem(status, status[0])
        expect((w.closed(), what), (True, what))
    expect(s.call("GET", "/v1/users/smuggled")[0], 404, "and nothing was smuggled")
    w = Wire(s).send(lines("GET /healthz HTTP/1.1", "Host: x", f"Content-Length: {len(hidden)}", body=hidden) + HEALTH)
    expect((w.answer()[0], w.answer()[0]), (400, 200), "a GET's body is a body")
    expect(s.call("GET", "/v1/users/smuggled")[0], 404)


def heads(s):
    for head, statuses in ((lines("GET /healthz HTTP/1.1"), (400,)), (b"NONSENSE\r\n\r\n", (400, 501)), (b"GET\r\n\r\n", (400, 501)), (b"GET /healthz\r\n\r\n", (400, 505)),
                           (lines("GET healthz HTTP/1.1", "Host: x"), (400,)), (lines("GET /healthz HTTP/3.0", "Host: x"), (400, 505)), (lines("PRI * HTTP/2.0"), (400, 501, 505)),
                           (lines("BREW /healthz HTTP/1.1", "Host: x"), (400, 501)), (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\0" * 20, (400, 501)),
                           (lines("GET /%zz HTTP/1.1", "Host: x"), (400,)), (lines("GET /%00 HTTP/1.1", "Host: x"), (400,)), (lines("GET /%ff HTTP/1.1", "Host: x"), (400,)),
                           (lines("GET /healthz?a=%q HTTP/1.1", "Host: x"), (400,)), (lines("GET /healthz HTTP/1.1", "Host: x", "Expect: tea"), (417,)),
                           (b"GET /" + b"x" * 20000 + b" HTTP/1.1\r\nHost: x\r\n\r\n", (414,)), (lines("GET /healthz HTTP/1.1", "Host: x", "X: " + "x" * 20000), (431,)),
                           (lines("GET /healthz HTTP/1.1", "Host: x", *[f"X{i}: x" for i in range(100)]), (431,)), (lines("GET /healthz HTTP/1.1", "Host: x", "x" * 20000), (400, 431))):
        w = Wire(s).send(head)
        got = w.answer()
        assert got[0] in statuses, (head[:60], got)
        is_problem(got, got[0])
        expect(w.closed(), True)
    w = Wire(s).send(b"GET /healthz HTTP/1.0\r\n\r\n")
    expect((w.answer()[0], w.closed()), (200, True), "HTTP/1.0 closes")
    w = Wire(s).send(lines("GET http://x/healthz HTTP/1.1", "Host: x") + lines("GET /healthz?x=1#y HTTP/1.1", "Host: x"))
    expect([w.answer()[0] for _ in range(2)], [200, 200], "absolute form; a query")
    for i in range(len(HEALTH)):
        w.send(HEALTH[i:i + 1])
    expect(w.answer()[0], 200, "byte by byte")


def bodies(s):
    """1 MiB of a request; 64 KiB of a message. Too much is said while it is still being sent."""
    big = 1 << 20
    w = Wire(s).send(put_user(s, "big", [f"Content-Length: {big + 1}"], b"", False))
    is_problem(w.answer(), 413, "too-large")
    expect(w.closed(), True)
    w = Wire(s).send(put_user(s, "big", [f"Content-Length: {3 * big}"], b" " * (3 * big), False))
    is_problem(w.answer(), 413, "too-large")
    expect(w.closed(), True)
    w = Wire(s).send(put_user(s, "big", ["Transfer-Encoding: chunked"], (b"10000\r\n" + b" " * 0x10000 + b"\r\n") * 40, False))
    is_problem(w.answer(), 413, "too-large")
    expect(w.closed(), True)
    w = Wire(s).send(put_user(s, "big", body=b"{}" + b" " * (big - 2)))
    expect(w.answer()[0], 201, "just as much as may be")
    s.call("PUT", "/v1/conversations/ab", {"type": "direct", "members": ["ann", "bob"]})
    status, answer = s.call("POST", "/v1/conversations/ab/messages", {"from": "ann", "body": "x" * 65000})
    expect(status, 201)
    status, answer = s.call("POST", "/v1/conversations/ab/messages", {"from": "ann", "body": "x" * 66000})
    expect((status, answer["type"]), (413, "/problems/too-large"))


def expecting(s):
    w = Wire(s).send(put_user(s, "patient", ["Expect: 100-continue", "Content-Length: 2"], b"", False))
    expect(w.answer()[0], 100)
    w.send(b"{}")
    expect(w.answer()[0], 201)
    w.send(put_user(s, "patient", ["Expect: 100-Continue"]))
    status = w.answer()[0]
    expect((w.answer() if status == 100 else (status,))[0], 200, "not waited for")
    w.send(put_user(s, "patient", ["Expect: 100-continue", "Content-Length: 9999999"], b"", False))
    is_problem(w.answer(), 413)


def methods(s):
    auth = f"Authorization: Bearer {s.key}"
    s.call("PUT", "/v1/users/ann", {"name": "Ann"})
    w = Wire(s)
    for path in ("/healthz", "/v1/users/ann", "/v1/users/ann/mailbox"):
        w.send(lines(f"GET {path} HTTP/1.1", "Host: x", auth) + lines(f"HEAD {path} HTTP/1.1", "Host: x", auth))
        get, head = w.answer(), w.answer(head_only=True)
        for answer in get, head:
            said = email.utils.parsedate_to_datetime(answer[1].pop("date")).timestamp()
            assert abs(time.time() - said) < 30, "each answer tells the time"
        expect((head[0], head[1]), (200, get[1]), "HEAD is GET without the body")
    w.send(lines("HEAD /v1/users/nobody HTTP/1.1", "Host: x", auth) + HEALTH)
    expect((w.answer(head_only=True)[0], w.answer()[0]), (404, 200))
    for method, path, allow in (("OPTIONS", "/v1/users/ann", {"GET", "HEAD", "PUT", "DELETE"}), ("POST", "/healthz", {"GET", "HEAD"}), ("PATCH", "/v1/users/ann/tokens", {"POST"}),
                                ("DELETE", "/v1/conversations/ab/messages", {"GET", "HEAD", "POST"}), ("HEAD", "/v1/users/ann/tokens", {"POST"})):
        w.send(lines(f"{method} {path} HTTP/1.1", "Host: x", auth))
        got = w.answer(head_only=method == "HEAD")
        expect((got[0], set(got[1]["allow"].split(", "))), (405, allow), f"{method} {path}")
    for path in ("/", "/v1", "/v1/", "/v1/users", "/v1/users/ann/", "/v1/users/ann/nonsense", "/v2/users/ann", "//v1/users/ann", "/v1/users/ann/mailbox/x", "/V1/users/ann"):
        w.send(lines(f"GET {path} HTTP/1.1", "Host: x", auth))
        is_problem(w.answer(), 404, "not-found")
    w.send(lines("GET /v1/users/%61nn HTTP/1.1", "Host: x", auth))
    expect(w.answer()[2]["name"], "Ann", "an escaped letter is that letter")
    for user in ("a%2Fb", "a%20b", "x" * 65, "%C3%A4"):
        w.send(lines(f"GET /v1/users/{user} HTTP/1.1", "Host: x", auth))
        is_problem(w.answer(), 422, "invalid-value")
    w.send(lines("GET /v1/users/ann HTTP/1.1", "Host: x"))
    headers, _ = is_problem(w.answer(), 401, "unauthorized")
    expect(headers["www-authenticate"], "Bearer")
    for bad in ("Basic YTpi", "Bearer", "Bearer ", s.key, "Bearer " + s.key + " x"):
        w.send(lines("GET /v1/users/ann HTTP/1.1", "Host: x", "Authorization: " + bad))
        is_problem(w.answer(), 401, "unauthorized")
    w.send(lines("GET /v1/users/ann HTTP/1.1", "Host: x", "authorization: bearer " + s.key))
    expect(w.answer()[0], 200, "names and schemes ignore case")


def json_bodies(s):
    c = s.call
    put = lambda text: c("PUT", "/v1/users/json", text)
    for text, code in ((b"{", "malformed"), (b"{}x", "malformed"), (b"{}{}", "malformed"), (b"nul", "malformed"), (b"{'name':1}", "malformed"), (b'{"name":"a",}', "malformed"),
                       (b'{"name":"\xff"}', "malformed"), (b'{"name":"\xc0\xaf"}', "malformed"), (b'{"name":"\xed\xa0\x80"}', "malformed"), (b'{"name":"\\ud800"}', "malformed"),
                       (b'{"name":"a\nb"}', "malformed"), (b'{"name":NaN}', "malformed"), (b'{"metadata":{"a":01}}', "malformed"), (b"\xff\xfe{\0}\0", "malformed"), (b"/**/{}", "malformed"),
                       (b"[" * 5000, "malformed"), (b'{"metadata":' + b'{"a":' * 70 + b"1" + b"}" * 71, "malformed"), (b"[]", "wrong-type"), (b"null", "wrong-type"), (b'"x"', "wrong-type"),
                       (b'{"name":1}', "wrong-type"), (b'{"metadata":[]}', "wrong-type"), (b'{"nonsense":1}', "unknown-field"), (b'{"na\\u006de":"a","x":1}', "unknown-field")):
        status, answer = put(text)
        expect((status, answer["type"]), (400, "/problems/" + code), repr(text[:40]))
    status, answer = put(b'{"name":"a","name":"b"}')
    expect((status, answer.get("field")), (400, "name"), "a name twice")
    expect(put(b'{"nonsense":1}')[1]["field"], "nonsense")
    expect(c("GET", "/v1/users/json")[0], 404, "nothing was stored")
    expect(put(b' \t\r\n{"na\\u006de":"\\ud83d\\udc4d \\u00e4","metadata":{"a":[1,1.5e3,true,null,{"b":"c"}]}}\n')[0], 201)
    expect(c("GET", "/v1/users/json")[1]["name"], "\U0001F44D \u00e4")
    expect(put(b'{"metadata":' + b'{"a":' * 20 + b"1" + b"}" * 21)[0], 200)
    expect(c("POST", "/v1/conversations/ab/messages", b"")[0] in (400, 422), True, "nothing where something is needed")


def idempotency(s):
    c = s.call
    c("PUT", "/v1/conversations/ab", {"type": "direct", "members": ["ann", "bob"]})
    post = lambda message, key: c("POST", "/v1/conversations/ab/messages", message, headers={"Idempotency-Key": key})
    first = post({"from": "ann", "body": "once"}, "k1")
    expect(first[0], 201)
    for _ in range(3):
        expect(post({"from": "ann", "body": "once"}, "k1"), first, "the same again gives the first answer")
    for other in ({"from": "ann", "body": "twice"}, {"from": "bob", "body": "once"}):
        status, answer = post(other, "k1")
        expect((status, answer["type"]), (409, "/problems/conflict"))
    expect(post({"from": "ann", "body": "once"}, "k2")[1]["seq"], first[1]["seq"] + 1, "another key is another message")
    s.kill()
    s.start()
    expect(post({"from": "ann", "body": "once"}, "k1"), first, "after kill -9")
    both_at_once = []
    threads = [threading.Thread(target=lambda: both_at_once.append(post({"from": "ann", "body": "race"}, "k3"))) for _ in range(4)]
    for x in threads:
        x.start()
    for x in threads:
        x.join()
    expect([a for a in both_at_once if a != both_at_once[0]], [], "at the same time, too")


def story(s):
    for part in (pipelining, chunked, smuggling, heads, bodies, expecting, methods, json_bodies, idempotency):
        part(s)


# ---- time, and what is configured ----
def timeouts():
    s = Server("--http-header-timeout", "1s", "--http-body-timeout", "1s", "--http-idle-timeout", "3s")
    ends = {}

    def drip(name, head, piece, status):
        w = Wire(s).send(head)
        began = time.time()
        w.socket.settimeout(0.25)
        while time.time() - began < 25:
            try:
                w.more()
            except TimeoutError:
                w.send(piece)
            except (EOFError, ConnectionResetError):
                break
        ends[name] = (time.time() - began, int(w.data.split()[1]) if w.data else None, status)

    body = put_user(s, "slow", ["Content-Length: 1000"], b"", False)
    late = {"head": (b"GET /healthz HTTP/1.1\r\nHost: ", b"x", 408), "body": (body, b" ", 408), "nothing": (b"", b"", None), "lines": (b"", b"\r\n", None),
            "after an answer": (HEALTH, b"", 200), "half": (HEALTH[:10], b"", 408)}
    try:
        threads = [threading.Thread(target=drip, args=(name, *args)) for name, args in late.items()]
        for x in threads:
            x.start()
        for x in threads:
            x.join()
        for name, (seconds, status, want) in ends.items():
            least, most = {"head": (0.9, 20), "half": (0.9, 20), "nothing": (0.9, 20), "body": (1.4, 20)}.get(name, (2.9, 20))
            assert least <= seconds <= most, f"{name}: ended after {seconds:.1f} s"
            expect(status, want, name)
    except Exception as e:
        faults.append(e)
    s.close()


def cors():
    s = Server("--cors-origin", "https://app.example, https://two.example:8443", "--hosts", "app.example, other.example", "--rate", "1", "--rate-burst", "5")
    w = Wire(s)
    ask = lambda *more, host="app.example", path="/v1/users/ann", method="GET": w.send(lines(f"{method} {path} HTTP/1.1", f"Host: {host}", *more)) and w.answer()
    got = ask("Origin: https://app.example", "Access-Control-Request-Method: PUT", "Access-Control-Request-Headers: authorization", method="OPTIONS")
    expect((got[0], got[1]["access-control-allow-origin"]), (204, "https://app.example"))
    assert {"GET", "PUT", "DELETE"} <= set(got[1]["access-control-allow-methods"].split(", ")), got
    assert "authorization" in got[1]["access-control-allow-headers"].lower(), got
    expect(ask(method="OPTIONS", path="/v1/nonsense")[0], 404)
    expect(got[1]["vary"], "Origin")
    for origin, allowed in (("https://app.example", "https://app.example"), ("https://two.example:8443", "https://two.example:8443"), ("http://app.example", None),
                            ("https://app.example.evil", None), ("https://two.example", None), ("null", None)):
        got = ask(f"Origin: {origin}")
        expect((got[0], got[1].get("access-control-allow-origin"), got[1].get("vary")), (401, allowed, "Origin"), "on refusals too: " + origin)
    expect(ask()[1].get("access-control-allow-origin"), None, "nobody asked")
    for host, status in (("app.example", 200), ("other.example:8080", 200), ("localhost:1", 200), ("127.0.0.1", 200), ("[::1]:80", 200), ("evil.example", 403), ("app.example.evil", 403), ("", 403)):
        expect(ask(host=host, path="/healthz")[0], status, host)
    w.send(lines(f"GET /v1/users/ann/stream?access_token={s.token('ann', 'a1')} HTTP/1.1", "Host: app.example", "Origin: https://app.example"))
    while b"\n\n" not in w.data:
        w.more()
    assert b"Access-Control-Allow-Origin: https://app.example\r\n" in w.data, w.data
    w = Wire(s)
    seen = [ask(f"Authorization: Bearer {s.key}") for _ in range(8)]
    expect((seen[0][0], seen[-1][0]), (200, 429), "--rate: each shard counts for itself, so on one connection")
    headers, _ = is_problem(seen[-1], 429, "rate-limited")
    expect(int(headers["retry-after"]) >= 1, True)
    s.close()


faults = []
beside = threading.Thread(target=timeouts)
beside.start()
both(story)
cors()
beside.join()
if faults:
    raise faults[0]
