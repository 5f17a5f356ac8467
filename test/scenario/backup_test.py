"""Backups while serving under load: what was acknowledged before one began is in it, its state is sound, cursors of before a restore are stale.
KITH_BACKUP_ROUNDS (default 2): backups under load.

Runs early: twenty seconds."""
import os, shutil, signal, subprocess, threading, time

from harness import KITH, Server, expect
from load import MEMBERS, USERS, Load
from mqtt import Client

ROUNDS = int(os.environ.get("KITH_BACKUP_ROUNDS", "2"))
BIG = "x" * 40000


def refuse(s, *args):
    status, said = s.tool(*args)
    expect(status, 1, f"kith {' '.join(args)}: {said}")
    return said


def restored(s, backup, acked):
    """A server on what the backup holds."""
    data = backup + ".restored"
    status, said = s.tool("restore", backup, "--data", data)
    assert status == 0, said
    s.check(backup)
    s.check(data)
    r = Server(*s.options, data=data)
    r.key = s.key       # keys are in the backup
    return r


def reckon(s, backup, acked, cursor):
    r = restored(s, backup, acked)
    try:
        for c in MEMBERS:
            items, after = [], 0
            while page := r.call("GET", f"/v1/conversations/{c}/messages?after={after}&limit=200")[1]["items"]:
                items += page
                after = page[-1]["seq"]
            expect([m["seq"] for m in items], list(range(1, len(items) + 1)), f"{c}: seq")
            lost = {m for at, m in acked if at == c} - {m["id"] for m in items}
            assert not lost, f"{c}: acknowledged before the backup began and not in it: {sorted(lost)[:5]}"
            last = items[-1]["id"] if items else None
            for u in MEMBERS[c]:      # what was under way between partitions arrived too
                row = [i for i in r.call("GET", f"/v1/users/{u}/conversations")[1]["items"] if i["id"] == c][0]
                expect(row["last"] and row["last"]["id"], last, f"{u}: the last of {c}")
        status, said = r.call("GET", f"/v1/users/u0/mailbox?cursor={cursor}")
        expect((status, said.get("type")), (410, "/problems/gone"), "a cursor of before the restore")
        expect(r.call("GET", "/v1/users/u0/mailbox")[0], 200)
        c = Client(r.mqtt, "u0-get", r.token("u0", "u0-get"))
        assert c.connack.present, "the session is not in the backup"
        c.disconnect()
        expect(r.call("POST", "/v1/conversations/group/messages", {"id": "new", "from": "u0", "body": "x"})[0], 201)
        r.stop()
        r.check()
    finally:
        if r.process.poll() is None:
            r.kill()
        r.close()


def story(s):
    load = Load(s, pause=0.001).start()
    stop = threading.Event()

    def big():      # so that the log moves on while it is copied
        n = 0
        while not stop.is_set():
            n += 1
            s.call("POST", "/v1/conversations/direct/messages", {"id": f"big{n}", "from": "u0", "body": BIG})
    threading.Thread(target=big, daemon=True).start()
    time.sleep(1)
    cursor = s.call("GET", "/v1/users/u0/mailbox?limit=1")[1]["next"]
    taken = []
    for n in range(ROUNDS):
        to = os.path.join(s.dir, f"backup{n}")
        if n == 1:
            os.mkdir(to)     # an empty folder will do
        with load.lock:
            acked = set(load.acked)
        status, said = s.tool("backup", "--data", s.data, to)
        assert status == 0, said
        taken.append((to, acked))
        time.sleep(0.3)
    stop.set()
    print(f"--shards {s.options[1]}:", load.reckon())
    # what must be refused, with nothing changed
    assert "exist" in refuse(s, "backup", "--data", s.data, taken[0][0])
    assert "exist" in refuse(s, "restore", taken[0][0], "--data", s.data)
    s.call("GET", "/healthz")
    assert "not a backup" in refuse(s, "restore", s.dir, "--data", os.path.join(s.dir, "none"))
    assert not os.path.exists(os.path.join(s.dir, "none"))
    for to, acked in taken:
        reckon(s, to, acked, cursor)
    # one more while nothing serves, and one that a stop overtakes
    s.stop()
    to = os.path.join(s.dir, "quiet")
    expect(s.tool("backup", "--data", s.data, to)[0], 0)
    reckon(s, to, load.acked, cursor)
    s.start()
    late = subprocess.Popen([KITH, "backup", "--data", s.data, os.path.join(s.dir, "late")], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    time.sleep(0.02)
    s.stop()
    if late.wait(timeout=20) == 0:
        s.check(os.path.join(s.dir, "late"))
    # a restore that did not finish is no data folder
    shutil.rmtree(os.path.join(s.dir, "late"), ignore_errors=True)
    half = os.path.join(s.dir, "half")
    p = subprocess.Popen([KITH, "restore", to, "--data", half], stdout=subprocess.DEVNULL)
    while not os.path.exists(half) and p.poll() is None:
        time.sleep(0.001)
    p.send_signal(signal.SIGKILL)
    if p.wait() != 0:
        assert not os.path.exists(os.path.join(half, "meta")), "a half-made restore looks like a whole one"


for shards in ("1", "2"):
    s = Server("--shards", shards)
    try:
        story(s)
    except BaseException:
        print(f"--shards {shards}:", s.said()[-3000:])
        if s.process.poll() is None:
            s.kill()
        raise
    s.close()
