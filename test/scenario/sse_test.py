"""The live stream: resumed by Last-Event-ID, kept alive by heartbeats, ended with what it was opened by, and never waited for.

Runs early: heartbeats are 15 seconds apart."""
import datetime, json, socket, subprocess, threading, time

import harness
from harness import Server, expect, eventually
from lanes import both


class Refused(Exception):
    pass


class Stream:
    """GET /v1/users/{user}/stream. events() are what came; the connection stays open until close()."""

    def __init__(self, s, user, token=None, last=None, query="", buffer=None, method="GET"):
        self.socket = socket.socket()
        if buffer:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
        self.socket.settimeout(30)
        self.socket.connect(("127.0.0.1", s.http))
        lines = [f"{method} /v1/users/{user}/stream{query} HTTP/1.1", "Host: 127.0.0.1", "Accept: text/event-stream"]
        lines += [f"Authorization: Bearer {token}"] if token else []
        lines += [f"Last-Event-ID: {last}"] if last else []
        self.socket.sendall(("\r\n".join(lines) + "\r\n\r\n").encode())
        self.data = b""
        while b"\r\n\r\n" not in self.data:
            got = self.socket.recv(4096)
            assert got, self.data
            self.data += got
        head, self.data = self.data.split(b"\r\n\r\n", 1)
        self.status = int(head.split()[1])
        self.headers = {k.lower(): v.strip() for k, v in (l.split(":", 1) for l in head.decode().split("\r\n")[1:])}
        self.pings, self.last = 0, last
        if self.status != 200:
            while len(self.data) < int(self.headers.get("content-length", 0)):
                self.data += self.socket.recv(4096)
            raise Refused(self.status, json.loads(self.data)["type"])

    def event(self, seconds=30):
        """(id, name, data) of the next event; None when none comes in time; EOFError at the end."""
        until = time.time() + seconds
        while True:
            while b"\n\n" in self.data:
                block, self.data = self.data.split(b"\n\n", 1)
                fields = [l.split(":", 1) for l in block.decode().split("\n") if l]
                self.pings += sum(name == "" for name, _ in fields)
                got = {name: value.strip() for name, value in fields if name}
                if got:
                    return got["id"], got["event"], json.loads(got["data"])
            left = until - time.time()
            if left <= 0:
                return None
            self.socket.settimeout(left)
            try:
                got = self.socket.recv(65536)
            except TimeoutError:
                return None
            if not got:
                raise EOFError
            self.data += got

    def bodies(self, count=None, seconds=30, quiet=0.4):
        out = []
        while count is None or len(out) < count:
            e = self.event(quiet if count is None else seconds)
            if e is None:
                break
            if e[1] == "message":
                out.append(e[2]["message"]["body"])
                self.last = e[0]
        return out

    def ended(self, seconds=30):
        until = time.time() + seconds
        try:
            while time.time() < until:
                self.event(until - time.time())
        except (EOFError, ConnectionResetError):
            return
        raise AssertionError(f"the stream is open after {seconds} s")

    def close(self):
        self.socket.close()


def refusal(*args, **more):
    try:
        Stream(*args, **more)
    except Refused as e:
        return e.args
    raise AssertionError("the stream was opened")


def post(s, *bodies, **more):
    for b in bodies:
        expect(s.call("POST", "/v1/conversations/ab/messages", {"from": "ann", "body": b, **more})[0], 201)


def resume(s):
    token = s.token("bob", "b1")
    live = Stream(s, "bob", token)
    expect((live.headers["content-type"], live.headers["cache-control"]), ("text/event-stream", "no-cache"))
    post(s, "one", "two", "three")
    seen = [live.event() for _ in range(3)]
    for ident, name, data in seen:
        expect((data["cursor"], name, data["type"], data["event"], data["message"]["conversation"]), (ident, "message", "message", "created", "ab"))
    expect([d["message"]["body"] for _, _, d in seen], ["one", "two", "three"])
    expect([e for e in s.call("GET", "/v1/users/bob/mailbox")[1]["items"] if e["type"] == "message"], [d for _, _, d in seen], "the same as the mailbox has")
    by_key = Stream(s, "bob", s.key, last=seen[0][0])
    expect(by_key.bodies(2), ["two", "three"], "after the event named, in order")
    post(s, "four")
    for x in (live, by_key):
        expect(x.bodies(1), ["four"], "two streams of one user both go on")
    live.close()
    expect("kith-cursor" in by_key.headers, False, "of who goes on it is known")
    silent = Stream(s, "bob", token)
    silent.close()
    post(s, "five")
    again = Stream(s, "bob", token, last=silent.headers["kith-cursor"])
    expect(again.bodies(1), ["five"], "what came after a stream that ended before its first event")
    again.close()
    again = Stream(s, "bob", token, last=live.last)
    expect(again.bodies(1), ["five"], "what came meanwhile")
    s.kill()
    s.start()
    again.ended()
    again = Stream(s, "bob", token, last=again.last)
    expect(again.bodies(quiet=0.3), [], "nothing twice after kill -9")
    again.close()
    post(s, "six")
    s.stop()
    s.start()
    again = Stream(s, "bob", token, last=again.last)
    expect(again.bodies(1), ["six"], "after a clean stop")
    again.close()
    again = Stream(s, "bob", token, last=seen[0][0])
    expect(again.bodies(5), ["two", "three", "four", "five", "six"])
    expect(s.call("DELETE", "/v1/conversations/ab/messages/" + seen[1][2]["message"]["id"])[0], 204)
    name, data = again.event()[1:]
    expect((name, data["event"], "body" in data["message"]), ("message", "deleted", False))
    again.close()
    for last, want in (("nonsense", (400, "/problems/malformed")), ("x" * 300, (400, "/problems/malformed")), ("0-0", (410, "/problems/gone"))):
        expect(refusal(s, "bob", token, last=last), want, last[:20])
    return seen[0][0]


def access(s):
    token, ann = s.token("bob", "b1"), s.token("ann", "a1")
    by_query = Stream(s, "bob", query="?access_token=" + token)
    post(s, "by query")
    expect(by_query.bodies(1), ["by query"])
    by_query.close()
    expect(s.call("GET", "/v1/users/bob/mailbox?access_token=" + token, headers={"Authorization": ""})[0], 401, "the stream only")
    expect(refusal(s, "bob"), (401, "/problems/unauthorized"))
    expect(refusal(s, "bob", query="?access_token=nonsense"), (401, "/problems/unauthorized"))
    expect(refusal(s, "bob", ann), (403, "/problems/forbidden"), "another's")
    expect(token in open(s.log.name).read(), False, "the token is not logged")
    sealed = Stream(s, "bob", token)
    post(s, "sealed", ciphertexts=[{"user": "bob", "device": "b1", "data": "Yg=="}, {"user": "bob", "device": "b2", "data": "Yw=="}])
    expect(sealed.event()[2]["message"]["ciphertexts"], [{"user": "bob", "device": "b1", "data": "Yg=="}], "the asking device's")
    sealed.close()


def endings(s):
    """A stream ends with the token, device, key or user that opened it, and others go on."""
    key = subprocess.check_output([harness.KITH, "key", "create", "--data", s.data, "--name", "short", "--app", "demo", "--scope", "read"], text=True).strip()
    made = s.call("POST", "/v1/users/bob/tokens", {"device": "brief", "ttl": "3s"})[1]
    phone, tablet = s.token("bob", "phone"), s.token("bob", "tablet")
    brief, of_key, of_phone, of_tablet, of_all = (Stream(s, "bob", t) for t in (made["token"], key, phone, tablet, s.key))
    until = datetime.datetime.fromisoformat(made["expires_at"]).timestamp()
    brief.ended()
    assert -0.01 <= time.time() - until < 15, "ended by the token's expiry"
    expect(subprocess.run([harness.KITH, "key", "revoke", "--data", s.data, "short"], capture_output=True).returncode, 0)
    of_key.ended()
    expect(refusal(s, "bob", key)[0], 401)
    expect(s.call("DELETE", "/v1/users/bob/devices/phone")[0], 204)
    of_phone.ended()
    expect(refusal(s, "bob", phone)[0], 401)
    post(s, "for who is left")
    for x in (of_tablet, of_all):
        expect(x.bodies(1), ["for who is left"])
    gone = s.token("gone", "g1")
    of_gone = Stream(s, "gone", gone)
    expect(s.call("DELETE", "/v1/users/gone")[0], 204)
    of_gone.ended()
    of_tablet.close()
    of_all.close()


def restored(s, old):
    """After a restore the positions are others: an event of before names none of them."""
    expect(subprocess.run([harness.KITH, "backup", "--data", s.data, s.dir + "/copy"], capture_output=True).returncode, 0)
    s.stop()
    expect(subprocess.run([harness.KITH, "restore", s.dir + "/copy", "--data", s.dir + "/again"], capture_output=True).returncode, 0)
    s.data = s.dir + "/again"
    s.start()
    token = s.token("bob", "b1")
    expect(refusal(s, "bob", token, last=old), (410, "/problems/gone"))
    fresh = Stream(s, "bob", token)
    post(s, "anew")
    expect(fresh.bodies(1), ["anew"])
    fresh.close()


def slow_reader(s):
    """Who takes nothing is closed after the idle timeout, costs the server next to nothing until then, and loses nothing."""
    token = s.token("bob", "slow")
    slow, steady = Stream(s, "bob", token, buffer=1 << 17), Stream(s, "bob", token)
    got = []
    reader = threading.Thread(target=lambda: got.extend(b[:4] for b in steady.bodies(150)))
    reader.start()
    sent = [f"{i:04}" for i in range(150)]
    writing = time.time()
    post(s, *[n + "x" * 50000 for n in sent])
    reader.join()
    expect(got, sent, "who reads has all")
    out = []
    eventually(lambda: expect(open_now(s), 2, "the slow one is closed"))
    assert time.time() - writing >= 2, "not before its time"
    slow.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
    try:
        while len(out) < 150:
            out += [b[:4] for b in slow.bodies(1, 2)]
        raise AssertionError("the slow stream had room for all: it was never slow")
    except (EOFError, ConnectionResetError):
        pass
    post(s, "last")
    expect(steady.bodies(1), ["last"], "a quiet reader is not slow")
    expect(out, sent[:len(out)])
    def resumed():
        began = time.time()
        rest = Stream(s, "bob", token, last=slow.last)
        expect([b[:4] for b in rest.bodies(150 - len(out) + 1)], sent[len(out):] + ["last"], "resumed where it was")
        rest.close()
        return time.time() - began
    assert any(resumed() < 5 for _ in range(3)), "what waits is written as fast as it is taken"
    steady.close()


def open_now(s):
    """Connections open now, the one that asks among them."""
    return int([l.split()[-1] for l in s.call("GET", "/metrics")[1].decode().splitlines() if l.startswith("kith_connections ")][0])


def heartbeat():
    s = Server()
    try:
        s.call("PUT", "/v1/users/bob", {})
        quiet = [Stream(s, "bob", s.key) for _ in range(3)]
        time.sleep(0.7)
        quiet.append(Stream(s, "bob", s.key))
        for x in quiet:
            expect(x.event(0.2), None)
            expect(x.pings, 1, "the comment at the beginning")
        until = time.time() + 17
        for x in quiet:
            expect(x.event(max(0.1, until - time.time())), None)
        eventually(lambda: expect([(x.event(0.1), x.pings) for x in quiet], [(None, 2)] * len(quiet), "a comment each 15 seconds"), 10)
    except Exception as e:
        faults.append(e)
    s.close()


def story(s):
    s.call("PUT", "/v1/conversations/ab", {"type": "direct", "members": ["ann", "bob"]})
    old = resume(s)
    access(s)
    endings(s)
    slow_reader(s)
    restored(s, old)


faults = []
beside = threading.Thread(target=heartbeat)
beside.start()
both(story, "--http-idle-timeout", "2s")
beside.join()
if faults:
    raise faults[0]
