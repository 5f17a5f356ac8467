"""The doctor names the first cause of what was slow: a disk whose sync takes 200 ms now and then, a stopped process, a lock that is held, a device that
does not read, a client that sends the same again and again, a clock that jumps; and alarms about nothing on a healthy server. Faults are real: libraries
preloaded into the server (test/inject), signals, clients that misbehave. CPU, fan-out, handshakes and the tables: doctor_load_test.py.

Runs alone: it makes the faults that it wants named, and those of a neighbour would be named too."""
import json, os, re, signal, struct, subprocess, time

import faults, harness, mqtt
from faults import FaultyServer, judge, prefer, slow, steady
from harness import Server, eventually, expect
from mqtt import PUBACK, Client

BURST = 250  # PUBLISHes under way, of one connection
NAMES = {"disk_sync", "cpu_taken", "stopped", "tables_stall", "fan_out", "hot_conversation", "slow_reader", "handshake_storm", "lock", "clock_jump", "client_retries",
         "shard_busy", "load", "unknown"}


def doctor(s, *args):
    """What the command says, as JSON: it asks the server through the data folder."""
    done = subprocess.run([harness.KITH, "doctor", "--data", s.data, "--json", *args], capture_output=True, text=True, timeout=60)
    assert done.returncode in (0, 1), done
    said = json.loads(done.stdout)
    expect(done.returncode, int(said["status"] == "critical"), "the exit status")
    return said


def check_of(s, name):
    return next(c for c in s.call("GET", "/v1/doctor")[1]["checks"] if c["check"] == name)


# ---- a healthy server under a moderate load: nothing is alarming, but for neighbours who take the cores of this machine
def healthy():
    s = prefer(Server())
    load = steady(s, 2, rate=300)
    load.wait(30)
    status, said = s.call("GET", "/v1/doctor")
    bad = [c for c in said["checks"] if c["status"] != "ok" and (c["check"] != "file-system" or "memory" not in c["words"])]
    causes = {c["code"] for c in said["causes"]}
    excused = bad and {c["check"] for c in bad} <= {"slow-requests", "core-waits", "locks", "stops"} and "cpu_taken" in causes
    print(f"healthy: {said['status']}, {said['causes']}{', the machine is busy' if excused else ''}")
    assert not bad or excused, bad
    assert said["status"] == "ok" or bad or "lies in memory" in said["words"], said["words"]
    # a key without the scope
    reader = subprocess.check_output([harness.KITH, "key", "create", "--data", s.data, "--name", "r", "--app", "demo", "--scope", "read"], text=True).strip()
    expect(s.call("GET", "/v1/slow", key=reader)[0], 403)
    expect(s.call("GET", "/v1/doctor", key=reader)[0], 403)
    # the command, by the data folder and over HTTP
    said = doctor(s)
    expect({c["check"] for c in said["checks"]} >= {"disk-speed", "disk-space", "cores", "memory", "descriptors", "kernel", "slow-requests", "log-disk"}, True)
    assert said["server"]["pid"] == s.process.pid
    status, text = s.tool("doctor", "--http", f"127.0.0.1:{s.http}", "--key", s.key)
    assert status == 0 and "slow-requests" in text and "disk-speed" not in text, text
    status, text = s.tool("doctor", "--http", f"127.0.0.1:{s.http}", "--key", reader)
    assert status == 1 and "operate" in text, text
    s.close()
    # without a server
    status, text = s.tool("doctor", "--data", s.data)
    assert status == 0 and "no server runs" in text and "disk-speed" in text, text
    assert not os.path.exists(s.data), "the doctor left something behind"


def settings_that_hurt():
    s = Server(start=False)
    path = os.path.join(s.dir, "kith.yaml")
    with open(path, "w") as f:
        f.write("memory: 900000\nshards: 64\nconnections-max: 16000000\nrate: 2\nproxy-protocol: true\nhttp: 0.0.0.0:8080\n")
    status, text = s.tool("doctor", "--data", s.data, "--config", path)
    expect(status, 1, text)
    for word in ("critical  memory", "warning   shards", "connections-max is 16000000", "warning   rate-burst", "warning   proxy-protocol"):
        assert word in text, (word, text)
    with open(path, "w") as f:
        f.write("memori: 1\n")
    expect(s.tool("doctor", "--data", s.data, "--config", path)[0], 2)


# ---- a disk whose sync takes 200 ms now and then
def slow_disk():
    s = FaultyServer("disk")
    load = steady(s, 4)
    time.sleep(0.7)
    for _ in range(4):
        s.inject.once(faults.LOG_SYNC_US, 200000)
        time.sleep(0.4)
    load.wait(30)
    hit = judge("disk", slow(s)["items"], s.inject.done(), "disk_sync", least=20)
    found = hit[0]["cause"]
    assert found["evidence"]["event"] == "commit" and found["evidence"]["sync_ms"] >= 195 and "to sync" in found["words"], found
    # another app's key sees that there were slow ones, and nothing of whose they are
    other = subprocess.check_output([harness.KITH, "key", "create", "--data", s.data, "--name", "o", "--app", "other", "--scope", "operate"], text=True).strip()
    theirs = s.call("GET", "/v1/slow", key=other)[1]
    expect(theirs["slow"] >= len(hit) and theirs["causes"][0]["code"], "disk_sync")
    for item in theirs["items"]:
        expect(item["app"], None, "another app's")
        assert not {"id", "conversation", "user", "device"} & set(item), item
    assert hit[0]["conversation"] not in json.dumps(theirs), "a conversation of another app is named"
    status, text = s.tool("doctor", "--data", s.data)
    assert "disk_sync" in text and "The disk took 20" in text, text
    s.close()


# ---- the process is stopped, and goes on
def stopped():
    s = prefer(Server())
    load, stops = steady(s, 3), []
    time.sleep(0.7)
    for _ in range(4):
        began = time.monotonic()
        s.process.send_signal(signal.SIGSTOP)
        time.sleep(0.25)
        s.process.send_signal(signal.SIGCONT)
        stops.append((began, time.monotonic()))
        time.sleep(0.3)
    load.wait(30)
    time.sleep(0.2)
    s.process.send_signal(signal.SIGSTOP)
    status, text = s.tool("doctor", "--data", s.data)   # it says so, and does not wait for ever
    s.process.send_signal(signal.SIGCONT)
    assert status == 1 and f"process {s.process.pid}, does not answer: it is stopped" in text, text
    judge("stopped", slow(s)["items"], stops, "stopped", least=10)
    check = check_of(s, "stops")
    assert check["evidence"]["events"] >= 3, check
    s.close()


# ---- somebody holds a lock
def lock_held():
    s = FaultyServer("lock")
    load = steady(s, 3, rate=300)
    time.sleep(0.7)
    for _ in range(4):
        s.inject.once(faults.LOCK_US, 200000)
        time.sleep(0.3)
    load.wait(30)
    judge("lock", slow(s)["items"], s.inject.done(), "lock", least=10)
    s.inject.ask(faults.LOCK_US, -1)
    eventually(lambda: expect(s.inject.asked(faults.LOCK_US), 0))
    s.close()


# ---- a device that does not read: its own deliveries are late, and nobody else's
def stalled_reader():
    s = prefer(Server())
    s.call("PUT", "/v1/conversations/ab", {"type": "direct", "members": ["ann", "bob"]})
    bob, ann = Client(s.mqtt, "bobs", s.token("bob", "bobs"), receive_maximum=2000), Client(s.mqtt, "anns", s.token("ann", "anns"))
    bob.subscribe("users/bob/#")
    body = "x" * 60000
    began = time.monotonic()
    for i in range(150):
        ann.publish("conversations/ab/messages", {"id": f"m{i}", "body": body})
    time.sleep(1)
    ended = time.monotonic()
    expect(len(bob.messages(150, seconds=20, topic="/messages")), 150)
    time.sleep(1.2)
    items = [i for i in slow(s)["items"] if i["what"] == "device" and i.get("device") == "bobs"]
    hit = judge("reader", items, [(began, ended)], "slow_reader", least=5)
    assert hit[0]["user"] == "bob" and hit[0]["app"] == "demo", hit[0]
    assert check_of(s, "readers")["evidence"]["events"] > 0
    s.close()


# ---- a client that sends the same again and again, on several connections, as fast as it is answered
def retries():
    s = prefer(Server("--shards", "1"))
    s.call("PUT", "/v1/conversations/ab", {"type": "direct", "members": ["ann", "bob"]})
    anns = [Client(s.mqtt, f"ann{i}", s.token("ann", f"ann{i}")) for i in range(20)]
    anns[0].publish("conversations/ab/messages", {"id": "once", "body": "hello"})
    same = mqtt.text("conversations/ab/messages"), b"\0" + json.dumps({"id": "once", "body": "hello"}).encode()
    burst = b"".join(mqtt.frame(mqtt.PUBLISH, 2, same[0] + struct.pack(">H", i) + same[1]) for i in range(1, BURST + 1))
    load = steady(s, 3, rate=60, pairs=4)
    time.sleep(0.5)
    began = time.monotonic()
    while time.monotonic() < began + 2:
        for c in anns:
            c.raw(burst)
        for c in anns:
            while c.wait(PUBACK, 10).packet != BURST:
                pass
    ended = time.monotonic()
    load.wait(30)
    time.sleep(0.3)
    check = check_of(s, "retries")
    assert check["status"] == "warning" and "the user ann" in check["words"], check
    hit = judge("retries", slow(s)["items"], [(began, ended)], "client_retries", least=20)
    assert any("The user ann sent" in i["cause"]["words"] for i in hit), hit[0]
    s.close()


# ---- a wall clock that jumps: nothing waits by that clock, so messages go on; what is late by it (a device reads again after a jump) is the clock's
def clock_jump():
    s = FaultyServer("clock")
    s.call("PUT", "/v1/conversations/ab", {"type": "direct", "members": ["ann", "bob"]})
    bob, ann = Client(s.mqtt, "bobs", s.token("bob", "bobs"), receive_maximum=2000), Client(s.mqtt, "anns", s.token("ann", "anns"))
    bob.subscribe("users/bob/#")
    load = steady(s, 2)
    for i in range(120):
        ann.publish("conversations/ab/messages", {"id": f"m{i}", "body": "x" * 60000})
    began = time.monotonic() - 3600
    s.inject.ask(faults.CLOCK_MS, 3600000)
    time.sleep(0.2)
    expect(len(bob.messages(120, seconds=20, topic="/messages")), 120)
    s.inject.ask(faults.CLOCK_MS, 0)
    load.wait(30)
    time.sleep(1.2)
    check = check_of(s, "clock-jumps")
    expect((check["status"], check["evidence"]["events"]), ("warning", 2), check)
    jumped = int(re.search(r"by ([+-]\d+) ms", check["words"]).group(1))
    assert abs(abs(jumped) - 3600000) < 1000, check
    late = [i for i in slow(s)["items"] if i["what"] == "device" and i.get("device") == "bobs" and i["took_ms"] > 3000000]
    judge("clock", late, [(began, time.monotonic())], "clock_jump", least=5)
    messages = [i for i in slow(s)["items"] if i["what"] == "message" and i["took_ms"] > 1000]
    assert not messages, messages[:2]
    s.close()


for story in (healthy, settings_that_hurt, slow_disk, stopped, lock_held, stalled_reader, retries, clock_jump):
    began = time.time()
    story()
    print(f"{story.__name__}: {time.time() - began:.1f} s", flush=True)
