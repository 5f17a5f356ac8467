"""A load that remembers: MQTT 5 senders with ids of their own, recipients with kept sessions, and at the end the reckoning.

Every sender publishes to a direct conversation, a group and a channel, several PUBLISHes under way, and notes what was acknowledged. When the
connection ends it connects again and sends once more, with the same id, what was not. Every recipient acknowledges what it gets, in one session
that outlives the server. reckon() then asks: was every acknowledged message delivered to every recipient once (again only with DUP), in the order
of its conversation without a gap; is it stored once; was every session there again."""
import json, random, threading, time

from mqtt import Client, Closed, PUBACK, PUBLISH

USERS = [f"u{i}" for i in range(6)]
MEMBERS = {"direct": USERS[:2], "group": USERS[:4], "channel": USERS}
SENDERS = {"u0": ["direct", "group"], "u1": ["direct", "channel"], "u2": ["group", "channel"], "u3": ["group", "channel"]}
WINDOW = 8


class Load:
    def __init__(self, server, pause=0.002, temporary=(0x89, 0x8b)):
        self.server, self.pause, self.temporary = server, pause, temporary   # reasons after which a PUBLISH is sent again
        self.up = threading.Event()      # the server is meant to be there
        self.sending, self.ending = threading.Event(), threading.Event()
        self.acked, self.refused, self.wrong = set(), [], []
        self.got = {u: [] for u in USERS}    # (conversation, seq, id, dup) as they came
        self.connects = {u: 0 for u in USERS}
        self.waiting = {}                    # by sender: what has no PUBACK yet
        self.lock = threading.Lock()
        for c, members in MEMBERS.items():
            status, said = server.call("PUT", f"/v1/conversations/{c}", {"type": c, "members": members})
            assert status == 201, said
        for u in SENDERS:
            server.call("PUT", f"/v1/conversations/channel/members/{u}", {"role": "admin"})   # who may post there
        self.tokens = {}
        for u in USERS:                      # a session is from now on: it must be there before the first message
            c = Client(server.mqtt, u + "-get", self.token(u, "get"), clean=True)
            assert c.subscribe(f"users/{u}/#") == [1]
            c.disconnect()
        self.up.set()
        self.threads = [threading.Thread(target=self.guard, args=(self.receive, u), daemon=True) for u in USERS]
        self.threads += [threading.Thread(target=self.guard, args=(self.send, u), daemon=True) for u in SENDERS]

    def token(self, user, use):
        if (user, use) not in self.tokens:
            self.tokens[user, use] = self.server.token(user, f"{user}-{use}")
        return self.tokens[user, use]

    def start(self):
        for u in SENDERS:
            self.token(u, "send")
        self.sending.set()
        for t in self.threads:
            t.start()
        return self

    def guard(self, what, user):
        try:
            what(user)
        except Exception as e:
            self.wrong.append(f"{what.__name__} {user}: {e!r}")
            raise

    def connect(self, user, use, **more):
        """A connection, as soon as the server takes one; None when the load is ending."""
        while not self.ending.is_set():
            if self.up.wait(0.1):
                try:
                    c = Client(self.server.mqtt, f"{user}-{use}", self.token(user, use), **more)
                    if c.connack.reason == 0:
                        return c
                    assert c.connack.reason in (0x88, 0x89, 0x8b), f"CONNACK {c.connack.reason:#x}: {c.connack.words}"
                except (OSError, Closed):
                    pass
                except AssertionError as e:
                    if "no packet" not in str(e):
                        raise
            time.sleep(0.02)
        return None

    # ---- senders ----
    def send(self, user):
        n, client, dice = 0, None, random.Random(user)
        waiting = self.waiting[user] = {}    # id -> (conversation, body)
        while not self.ending.is_set() and (self.sending.is_set() or waiting):
            try:
                if client is None:
                    client = self.connect(user, "send", clean=True)
                    if client is None:
                        break
                    packets = {}
                    for mid, (conversation, body) in waiting.items():
                        packets[self.publish(client, mid, conversation, body)] = mid
                while self.sending.is_set() and len(waiting) < WINDOW:
                    n += 1
                    mid, conversation, body = f"{user}.{n}", dice.choice(SENDERS[user]), "x" * dice.randrange(1, 400)
                    waiting[mid] = (conversation, body)
                    packets[self.publish(client, mid, conversation, body)] = mid
                    time.sleep(self.pause)
                p = client.read(1)
                if p and p.kind == PUBACK:
                    mid = packets.pop(p.packet)
                    conversation, body = waiting.pop(mid)
                    with self.lock:
                        if p.reason < 0x80:
                            self.acked.add((conversation, mid))
                        else:
                            self.refused.append((p.reason, p.words, conversation, mid))
                    if p.reason >= 0x80:     # not stored: it is sent again, later
                        assert p.reason in self.temporary, f"refused for good: {p.reason:#x} {p.words}"
                        waiting[mid] = (conversation, body)
                        time.sleep(0.05)
                        packets[self.publish(client, mid, conversation, body)] = mid
            except (OSError, Closed):
                client = None

    @staticmethod
    def publish(client, mid, conversation, body):
        return client.publish_begin(f"conversations/{conversation}/messages", {"id": mid, "body": body})

    # ---- recipients ----
    def receive(self, user):
        client = None
        while not self.ending.is_set():
            try:
                if client is None:
                    client = self.connect(user, "get", clean=False, receive_maximum=64)
                    if client is None:
                        break
                    if not client.connack.present:
                        self.wrong.append(f"{user}: the session was gone at connection {self.connects[user] + 1}")
                    self.connects[user] += 1
                p = client.message(0.2, ack=False)
                if p is None:
                    continue
                if p.topic.endswith("/messages"):
                    m = json.loads(p.payload)
                    if m["event"] == "created":
                        self.got[user].append((m["conversation"], m["seq"], m["id"], p.dup))
                client.ack(p)
            except (OSError, Closed):
                client = None
        if client:
            client.drop()

    # ---- the reckoning ----
    def down(self):
        self.up.clear()

    def stored(self, conversation, key=None):
        items, after = [], 0
        while True:
            status, said = self.server.call("GET", f"/v1/conversations/{conversation}/messages?after={after}&limit=200", key=key)
            assert status == 200, said
            items += said["items"]
            if not said["items"] or not said.get("next"):
                return items
            after = items[-1]["seq"]

    def settle(self, seconds=30):
        """Senders end when all of theirs is acknowledged, recipients when they have all that is stored."""
        self.sending.clear()
        for t in self.threads[len(USERS):]:
            t.join(seconds)
            assert not self.wrong, self.wrong
            assert not t.is_alive(), f"{t.name} still waits for {[(u, list(w)) for u, w in self.waiting.items()]}; {len(self.acked)} acknowledged; refused: {self.refused[-5:]}"
        self.lists = {c: self.stored(c) for c in MEMBERS}
        until = time.time() + seconds
        while time.time() < until and not self.wrong:
            if all(len({m[2] for m in self.got[u]}) >= self.due(u) for u in USERS):
                break
            time.sleep(0.1)
        time.sleep(0.2)
        self.ending.set()
        for t in self.threads:
            t.join(10)

    def due(self, user):
        return sum(len(self.lists[c]) for c in MEMBERS if user in MEMBERS[c])

    def reckon(self):
        self.settle()
        assert not self.wrong, self.wrong
        for c, items in self.lists.items():
            seqs, ids = [m["seq"] for m in items], [m["id"] for m in items]
            assert seqs == list(range(1, len(items) + 1)), f"{c}: seq has gaps: {seqs[:20]}..."
            assert len(set(ids)) == len(ids), f"{c}: stored twice: {sorted(i for i in ids if ids.count(i) > 1)[:5]}"
            lost = {m for at, m in self.acked if at == c} - set(ids)
            assert not lost, f"{c}: acknowledged and not stored: {sorted(lost)[:5]}"
        again = 0
        for u in USERS:
            again += self.reckon_user(u)
        return {"acknowledged": len(self.acked), "delivered": sum(map(len, self.got.values())), "again": again, "connections": sum(self.connects.values())}

    def reckon_user(self, user):
        first, again = {c: [] for c in MEMBERS}, 0
        seen = {}
        for conversation, seq, mid, dup in self.got[user]:
            if (conversation, mid) in seen:
                assert dup, f"{user}: {conversation}/{mid} was delivered again without DUP"
                assert seen[conversation, mid] == seq, f"{user}: {conversation}/{mid} had seq {seen[conversation, mid]}, now {seq}"
                again += 1
                continue
            seen[conversation, mid] = seq
            first[conversation].append((seq, mid))
        for c, members in MEMBERS.items():
            want = [(m["seq"], m["id"]) for m in self.lists[c]] if user in members else []
            if first[c] != want:
                lost = [m for m in want if m not in first[c]]
                raise AssertionError(f"{user}: {c}: {len(want)} stored, {len(first[c])} delivered; first differences: "
                                     f"{[(g, w) for g, w in zip(first[c], want) if g != w][:3]}; not delivered: {lost[:5]}")
        return again
