"""End-to-end encryption by the libraries that people use: libsignal's sessions begin with bundles that kith handed out, an MLS group's commits keep the order of the conversation,
the data folder holds no plaintext, and no one-time key is handed out twice, whatever happens in between."""
import base64, os, threading, time
from http.client import HTTPException

import peers
from harness import Server, expect, eventually
from lanes import both

SIGNAL, MLS = ("@signalapp/libsignal-client@0.103.0",), ("ts-mls@1.6.4", "@noble/hashes@2.0.1", "@noble/curves@2.0.1")
SECRET, OPEN = "the-secret-that-no-server-reads", "what-is-said-in-the-open"


class Household:
    """Devices, each a process, and the server that they are told of again after each of its starts."""

    def __init__(self, s, script, home, *names):
        self.s, self.all = s, {}
        for name in names:
            user, device = name.split("/")
            self.all[name] = peers.Device(script, home, user=user, device=device, token=s.token(user, device))
        self.here()

    def here(self):
        for d in self.all.values():
            d.begin("server", port=self.s.http)
        for d in self.all.values():
            d.end()

    def __getitem__(self, name):
        return self.all[name]

    def together(self, act, names=None, **args):
        """All at the same time: {name: answer}."""
        names = names or list(self.all)
        for n in names:
            self.all[n].begin(act, **{k: v(n) if callable(v) else v for k, v in args.items()})
        said = {n: self.all[n].line() for n in names}
        return {n: self.all[n].value(a) for n, a in said.items()}

    def close(self):
        for d in self.all.values():
            d.close()


def on_disk(s, text):
    """The files of the data folder that hold it, as it is or in base64 at any of its three alignments."""
    raw, looks = text.encode(), []
    for pad in range(3):
        looks.append(base64.b64encode(b"\0" * pad + raw)[4 if pad else 0:-4])
    found = set()
    for folder, _, files in os.walk(s.data):
        for name in files:
            with open(os.path.join(folder, name), "rb") as f:
                data = f.read()
            if raw in data or any(look in data for look in looks):
                found.add(name)
    return found


# ---- two people, three devices ----
def arrives(device, *want):
    """What the device decrypts, in order, once it is all there."""
    got = []

    def all_there():
        got.extend(device.do("receive"))
        assert len(got) >= len(want), got
    eventually(all_there)
    expect([m["text"] for m in got], list(want), device.name)
    return got


def signal_story(s):
    home = Household(s, "signal.mjs", signal, "ann/phone", "ann/laptop", "bob/phone")
    ann, laptop, bob = home["ann/phone"], home["ann/laptop"], home["bob/phone"]
    s.call("PUT", "/v1/conversations/ab", {"type": "direct", "members": ["ann", "bob"]})
    stored = home.together("publish", first=100, count=3)
    expect({(a["one_time_keys"], a["kem_one_time_keys"]) for a in stored.values()}, {(3, 3)})
    s.kill()
    s.start()
    home.here()
    expect(ann.do("begin", user="bob"), [{"device": "phone", "one_time": 100, "kem": 100}], "after kill -9")
    expect(ann.do("begin", user="ann", devices=["laptop"]), [{"device": "laptop", "one_time": 100, "kem": 100}])
    everyone = [["bob", "phone"], ["ann", "laptop"]]
    first = ann.do("send", conversation="ab", id="m1", text=SECRET + " 1", to=everyone)
    expect((first["seq"], first["types"]), (1, [3, 3]), "the first carries the handshake")
    arrives(bob, SECRET + " 1")
    arrives(laptop, SECRET + " 1")
    expect(bob.do("state")["kem_used"], [100])
    # Bob answers both of Ann's devices; with her laptop he begins a session himself.
    expect(bob.do("begin", user="ann", devices=["laptop", "phone"]), [{"device": "laptop", "one_time": 101, "kem": 101}, {"device": "phone", "one_time": 100, "kem": 100}])
    bob.do("send", conversation="ab", id="m2", text=SECRET + " 2", to=[["ann", "phone"], ["ann", "laptop"]])
    arrives(ann, SECRET + " 2")
    arrives(laptop, SECRET + " 2")
    for n in range(3, 9):
        sender, to, readers = (ann, everyone, (bob, laptop)) if n % 2 else (bob, [["ann", "phone"], ["ann", "laptop"]], (ann, laptop))
        if n == 5:
            s.kill()
            s.start()
            home.here()
        sent = sender.do("send", conversation="ab", id=f"m{n}", text=f"{SECRET} {n}", to=to)
        expect(sent["seq"], n)
        for reader in readers:
            arrives(reader, f"{SECRET} {n}")
    expect(ann.do("send", conversation="ab", id="m9", text=SECRET + " 9", to=[["bob", "phone"]])["types"], [2], "a session that both sides know needs no handshake")
    arrives(bob, SECRET + " 9")
    history = s.call("GET", "/v1/conversations/ab/messages?after=0", key=s.token("bob", "phone"))[1]["items"]
    expect([[(c["user"], c["device"]) for c in m.get("ciphertexts", [])] for m in history], [[("bob", "phone")] if m["from"] == "ann" else [] for m in history], "its own only")
    last_resort(s, home)
    home.close()
    s.call("POST", "/v1/conversations/ab/messages", {"id": "open", "from": "ann", "body": OPEN})
    s.stop()
    assert on_disk(s, OPEN), "the search finds what is there"
    expect(on_disk(s, SECRET), set(), "files with plaintext")
    assert SECRET not in s.said()
    s.start()


def last_resort(s, home):
    """When the one-time keys have run out, a session begins all the same; what is put afterwards is handed out again."""
    ann, bob = home["ann/phone"], home["bob/phone"]
    expect([ann.do("begin", user="bob")[0] for _ in range(3)], [{"device": "phone", "one_time": 101, "kem": 101}, {"device": "phone", "one_time": 102, "kem": 102},
                                                                {"device": "phone", "one_time": None, "kem": 9999}])
    ann.do("forget", user="bob", device="phone")
    bob.do("forget", user="ann", device="phone")
    ann.do("begin", user="bob")
    expect(ann.do("send", conversation="ab", id="m10", text=SECRET + " 10", to=[["bob", "phone"]])["types"], [3])
    arrives(bob, SECRET + " 10")
    expect(bob.do("state")["kem_used"][-1], 9999)
    expect(bob.do("publish", first=200, count=2)["one_time_keys"], 2)
    expect(ann.do("begin", user="bob"), [{"device": "phone", "one_time": 200, "kem": 200}])


# ---- a group ----
def agreed(home, names, epoch):
    """All have the same epoch with the same secret, and the commits that they applied are one list."""
    seen = home.together("status", names)
    assert all(seen.values()), f"not all have joined: {seen}"
    expect({(a["epoch"], a["pending"]) for a in seen.values()}, {(epoch, None)})
    expect(len({a["authenticator"] for a in seen.values()}), 1, "one secret")
    longest = max((a["log"] for a in seen.values()), key=len)
    for name, a in seen.items():
        expect(a["log"], longest[len(longest) - len(a["log"]):], f"{name} applied the same commits in the same order")
    return longest


def settle(s, home, names, last):
    """Receives until each has seen the conversation's message `last`: {name: (texts, won, lost)}."""
    out = {n: ([], [], []) for n in names}
    for _ in range(300):
        for n, got in home.together("receive", names, group="team").items():
            for kept, more in zip(out[n], (got["texts"], got["won"], got["lost"])):
                kept.extend(more)
        if all(last(out[n]) for n in names):
            return out
        time.sleep(0.05)
    raise AssertionError(f"never all there: {out}")


def mls_story(s):
    names = ["ann/phone", "bob/phone", "cid/phone", "dee/phone"]
    home = Household(s, "mls.mjs", mls, *names)
    home.together("publish", count=2)
    s.call("PUT", "/v1/conversations/team", {"type": "group", "members": ["ann", "bob", "cid", "dee"]})
    ann = home["ann/phone"]
    ann.do("create", group="team")
    first = ann.do("commit", id="add", add=["bob", "cid"])
    settle(s, home, names[:1], lambda got: got[1])
    settle(s, home, names[1:3], lambda got: True)
    eventually(lambda: (home.together("receive", names[:3], group="team"), agreed(home, names[:3], 1)))
    ann.do("send", id="hello", text=SECRET)
    got = settle(s, home, names[1:3], lambda got: got[0])
    expect([[t[2] for t in got[n][0]] for n in names[1:3]], [[SECRET]] * 2)
    # Two commits for one epoch: bob adds dee while ann and cid renew their keys. One of them counts.
    claimed, round_, epoch = [first[:1]], 0, 1
    waiting = {"ann/phone", "bob/phone", "cid/phone"}
    while waiting:
        round_ += 1
        if round_ == 2:
            s.kill()
            s.start()
            home.here()
        made = home.together("commit", sorted(waiting), id=lambda n: f"r{round_}-{n[:3]}", add=lambda n: ["dee"] if n == "bob/phone" else [])
        claimed.append(made.get("bob/phone", []))
        got = settle(s, home, sorted(waiting), lambda got: got[1] or got[2])
        won = [n for n in waiting if got[n][1]]
        expect((len(won), sum(len(got[n][2]) for n in waiting)), (1, len(waiting) - 1), "one commit an epoch counts; the others lose, and nothing else")
        waiting -= set(won)
        epoch += 1
        eventually(lambda: (home.together("receive", names[:3], group="team"), agreed(home, names[:3], epoch)))
    eventually(lambda: (home.together("receive", group="team"), agreed(home, names, epoch)))
    packages = [p for some in claimed for p in some]
    expect(len(set(packages)), len(packages), "key packages are handed out once, then the last resort")
    # Everyone speaks at once; everyone hears the same in the same order.
    home.together("send", id=lambda n: "said-by-" + n[:3], text=lambda n: f"{SECRET} of {n}")
    heard = settle(s, home, names, lambda got: len(got[0]) == 3)
    order = sorted({tuple(t) for n in names for t in heard[n][0]})
    expect(len(order), 4)
    for n in names:
        expect([tuple(t) for t in heard[n][0]], [t for t in order if t[1] != n[:3]], n)
    log = agreed(home, names, epoch)
    expect([e for _, e in log], list(range(len(log))), "no epoch twice, none left out")
    home.close()
    s.stop()
    expect(on_disk(s, SECRET), set(), "files with plaintext")
    s.start()


# ---- one-time keys, once ----
def once(s):
    """Eight claim at the same time, and the server is killed again and again: what was handed out never comes again."""
    count, devices = 150, ("d1", "d2")
    for d in devices:
        keys = {"identity_key": "ik", "one_time_keys": [f"{d}-ec-{i}" for i in range(count)], "kem_one_time_keys": [f"{d}-kem-{i}" for i in range(count)],
                "key_packages": [f"{d}-kp-{i}" for i in range(count)], "kem_last_resort": "last-kem", "key_package_last_resort": "last-kp"}
        expect(s.call("PUT", f"/v1/users/kim/keys/{d}", keys)[0], 201)
    handed, lock, up, done = [], threading.Lock(), threading.Event(), threading.Event()
    token = s.token("eve", "e1")

    def claim():
        while not done.is_set():
            up.wait()
            try:
                status, answer = s.call("POST", "/v1/users/kim/keys/claim", {}, key=token)
            except (OSError, HTTPException):
                continue  # killed before it answered: nobody got these
            assert status == 200, answer
            with lock:
                handed.extend(answer["items"])
                if any("one_time_key" not in b for b in answer["items"]):
                    done.set()
    up.set()
    threads = [threading.Thread(target=claim) for _ in range(8)]
    for t in threads:
        t.start()
    for wait in (0.02, 0.03, 0.05):
        time.sleep(wait)
        up.clear()
        s.kill()
        s.start()
        up.set()
    done.wait(20)
    done.set()
    for t in threads:
        t.join()
    for field, last in (("one_time_key", None), ("kem_one_time_key", "last-kem"), ("key_package", "last-kp")):
        got = [b[field] for b in handed if field in b]
        expect(len(got), len(set(got)), f"{field}: handed out twice")
        assert len(got) > count, f"{field}: only {len(got)} were handed out"
        if last:
            at = {"last-kem": "kem_last_resort", "last-kp": "key_package_last_resort"}[last]
            expect({b.get(at) for b in handed if field not in b}, {last})


def put_again(s):
    """A device whose PUT was not answered puts the same again; one that names a key twice has one."""
    c = s.call
    keys = lambda first: {"identity_key": "ik", "one_time_keys": [{"id": i} for i in range(first, first + 200)], "kem_one_time_keys": ["q", "r", "q"], "kem_last_resort": "last"}
    claim = lambda: c("POST", "/v1/users/lea/keys/claim", {"devices": ["d"]})[1]["items"][0]
    answer = c("PUT", "/v1/users/lea/keys/d", keys(0))[1]
    expect((answer["one_time_keys"], answer["kem_one_time_keys"]), (200, 2))
    expect([claim()["one_time_key"]["id"] for _ in range(3)], [0, 1, 2])
    s.kill()
    s.start()
    answer = c("PUT", "/v1/users/lea/keys/d", keys(0))[1]
    expect((answer["one_time_keys"], answer["kem_one_time_keys"]), (197, 0), "what was handed out is not taken again")
    one = claim()
    expect((one["one_time_key"]["id"], one["kem_last_resort"]), (3, "last"))
    for first in range(0, 1000, 50):
        c("PUT", "/v1/users/lea/keys/d", keys(first))
        claim()
    expect(c("PUT", "/v1/users/lea/keys/d", keys(900))[1]["one_time_keys"], 198, "those of long ago, too")
    expect(c("DELETE", "/v1/users/lea/devices/d")[0], 204)
    expect(c("PUT", "/v1/users/lea/keys/d", keys(0))[1]["one_time_keys"], 200, "another device of this name has other keys")


both(once)
both(put_again)
try:
    signal = peers.npm(*SIGNAL)
    both(signal_story)
except peers.Missing as e:
    print("skipped: sessions by libsignal:", e)
try:
    mls = peers.npm(*MLS)
    both(mls_story)
except peers.Missing as e:
    print("skipped: groups by MLS:", e)
