"""kill -9 in the middle of a fan-out to 10,000 (a topic whose inboxes merge it, one whose members are gone through, and all named in one trigger): nobody is missed, nobody
is told twice, totals are right. Then one writer a person: eight connections at once, one person; groups, caps and digests are exact.
KITH_FANOUT: how many (default 10,000). KITH_SEED: the moments."""
import json
import os
import random
import socket
import threading
import time

import mqtt
from harness import Server, eventually, expect

MANY = int(os.environ.get("KITH_FANOUT", "10000"))
DEVICES = 120
SEED = int(os.environ.get("KITH_SEED", str(int(time.time()))))
dice = random.Random(SEED)
PEOPLE = [f"p{n}" for n in range(MANY)]
s = Server("--shards", "2")


def workflow(id, **more):
    status, said = s.call("PUT", f"/v1/workflows/{id}", {"channels": ["inapp"], "templates": {"en": {"title": "{actor} " + id}}, **more})
    assert status in (200, 201), said


class Pipe:
    """One connection; many requests are under way on it at once."""

    def __init__(self):
        self.socket = socket.create_connection(("127.0.0.1", s.http), timeout=30)
        self.file = self.socket.makefile("rb")

    def ask(self, requests):
        """[(method, path, body)] -> [(status, JSON)], in their order."""
        out = []
        for at in range(0, len(requests), 40):
            text = b""
            for method, path, body in requests[at:at + 40]:
                data = b"" if body is None else json.dumps(body).encode()
                text += (f"{method} {path} HTTP/1.1\r\nHost: 127.0.0.1:{s.http}\r\nAuthorization: Bearer {s.key}\r\nContent-Length: {len(data)}\r\n"
                         f"Content-Type: application/json\r\n\r\n").encode() + data
            self.socket.sendall(text)
            out += [self.answer() for _ in requests[at:at + 40]]
        return out

    def answer(self):
        status, length = int(self.file.readline().split()[1]), 0
        while (line := self.file.readline().strip()):
            if line.lower().startswith(b"content-length:"):
                length = int(line.split(b":")[1])
        return status, json.loads(self.file.read(length) or b"null")


def totals(id):
    status, said = s.call("GET", f"/v1/notifications/{id}")
    expect(status, 200, said)
    return said


def devices():
    out = []
    for n in range(DEVICES):
        name = PEOPLE[n * (MANY // DEVICES)]
        out.append((name, s.token(name, "d")))
    return out


def connect(tokens):
    clients = {}
    for name, token in tokens:
        c = clients[name] = mqtt.Client(s.mqtt, "d", token, clean=False)
        c.subscribe(f"users/{name}/#")
    return clients


def fan_out(id, workflow, to):
    """Told until it is accepted: a kill before the 202 leaves open whether it was, and the same id happens once."""
    body = {"id": id, "workflow": workflow, "to": to, "actor": "ann"}
    pipe = Pipe()
    data = json.dumps(body).encode()
    pipe.socket.sendall(f"POST /v1/notifications HTTP/1.1\r\nHost: 127.0.0.1:{s.http}\r\nAuthorization: Bearer {s.key}\r\nContent-Length: {len(data)}\r\n\r\n".encode() + data)
    if dice.random() < 0.7:
        expect(pipe.answer()[0], 202)
    time.sleep(dice.uniform(0, 0.06))
    s.kill()
    s.start()
    status, said = s.call("POST", "/v1/notifications", body)
    expect((status, said["id"]), (202, id))


def kills():
    pipe = Pipe()
    workflow("wide")
    workflow("through", channels=["inapp", "push"])
    workflow("named", channels=["inapp"], group_by="object")
    for at in range(0, MANY, 1000):
        expect(pipe.ask([("POST", "/v1/topics/all/users", {"add": PEOPLE[at:at + 1000]})])[0][0], 200)
    tokens = devices()
    clients = connect(tokens)
    sent = {"k-wide": ("wide", {"topic": "all"}), "k-through": ("through", {"topic": "all"}), "k-named": ("named", {"users": PEOPLE})}
    for id, (flow, to) in sent.items():
        fan_out(id, flow, to)
    for c in clients.values():
        c.drop()
    clients = connect(tokens)

    def all_told():
        for id in sent:
            said = totals(id)
            expect((said["recipients"], said["delivered"], said["failed"]), (MANY, MANY, 0), id)
    eventually(all_told)
    everyone(sent)
    connected(clients, sent)
    for c in clients.values():
        c.drop()


def everyone(sent):
    """Each inbox has each of them once, and counts them."""
    each = Pipe().ask([("GET", f"/v1/users/{name}/notifications", None) for name in PEOPLE])
    for name, (status, said) in zip(PEOPLE, each):
        expect(status, 200, name)
        expect(sorted(n["id"] for n in said["items"]), sorted(sent), name)
        expect(said["counts"], {"unseen": len(sent), "unread": len(sent)}, name)


def connected(clients, sent):
    """A device's session goes on over the kills: each comes, and none a second time that was acknowledged. Their mailbox has each once."""
    mailboxes = Pipe().ask([("GET", f"/v1/users/{name}/mailbox?limit=200", None) for name in clients])
    for name, (status, said) in zip(clients, mailboxes):
        told = [e["notification"]["id"] for e in said["items"] if e["type"] == "notification" and e["event"] == "created"]
        expect(sorted(told), sorted(sent), f"mailbox of {name}")
    for name, c in clients.items():
        waiting = [json.loads(p.payload) for p in c.messages(seconds=0.02, quiet=0.005)]
        ids = [m["id"] for m in waiting if m["event"] == "created"]
        assert len(ids) == len(set(ids)), f"{name} is told twice: {ids}"


def one_writer():
    workflow("grouped", group_by="object")
    workflow("capped", cap={"count": 10, "per": "day"})
    workflow("collected", digest={"window": "2s", "first_at_once": True})
    each, threads = 24, 8
    fails = []

    def push(n):
        try:
            pipe = Pipe()
            asks = []
            for k in range(each):
                for flow in ("grouped", "capped", "collected"):
                    asks.append(("POST", "/v1/notifications", {"workflow": flow, "to": {"users": ["one"]}, "actor": f"a{n}-{k}", "object": "o"}))
            ids.extend((a[2]["workflow"], said["id"]) for a, (status, said) in zip(asks, pipe.ask(asks)) if status == 202)
        except Exception as e:
            fails.append(repr(e))

    ids = []
    at = [threading.Thread(target=push, args=(n,)) for n in range(threads)]
    for t in at:
        t.start()
    for t in at:
        t.join()
    expect(fails, [])
    expect(len(ids), 3 * each * threads, "accepted")

    def settled():
        items = s.call("GET", "/v1/users/one/notifications?limit=200")[1]
        rows = {flow: [n for n in items["items"] if n["workflow"] == flow] for flow in ("grouped", "capped", "collected")}
        expect([n["actors"]["count"] for n in rows["grouped"]], [each * threads], "one group of all")
        expect(len(rows["capped"]), 10, "the cap")
        expect(sum(n["actors"]["count"] for n in rows["collected"]), each * threads, "digests lose none and repeat none")
        expect(rows["collected"][-1]["actors"]["count"], 1, "the first at once")
        count = 1 + 10 + len(rows["collected"])
        expect((len(items["items"]), items["counts"]), (count, {"unseen": count, "unread": count}))
    eventually(settled)
    capped = Pipe().ask([("GET", f"/v1/notifications/{id}/why/one", None) for flow, id in ids if flow == "capped"])
    said = ["capped" in [d["decision"] for d in answer["items"]] for _, answer in capped]
    expect(said.count(False), 10, "why says which left")


try:
    kills()
    one_writer()
    s.stop()
    s.check()
except BaseException:
    print(f"seed {SEED}:", s.said()[-2000:], f"kept: {s.dir}")
    raise
s.close()
