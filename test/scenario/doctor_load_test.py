"""The doctor names the first cause of what was slow under load: neighbours that take the core, a message to thousands of devices, a storm of TLS
handshakes, tables that take nothing, one conversation into which all write. The rest: doctor_test.py.

Runs alone: it makes the load that it wants named, and takes whole cores for it."""
import json, multiprocessing, os, socket, ssl, struct, subprocess, threading, time

import certificate, faults, harness, mqtt
from faults import FaultyServer, judge, prefer, slow, steady
from harness import Server, expect
from mqtt import PUBACK, Client


def spin(until, core):
    os.sched_setaffinity(0, {core})
    try:
        os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(2))   # if we may: they take the core and do not give it back
    except PermissionError:
        pass
    n = 0
    while time.monotonic() < until:
        n += 1


def pin(s, core):
    for thread in os.listdir(f"/proc/{s.process.pid}/task"):
        os.sched_setaffinity(int(thread), {core})


# ---- busy neighbours on the server's core
def cpu_taken():
    s = prefer(Server("--shards", "1"))
    core = max(os.sched_getaffinity(0))
    pin(s, core)
    load, bursts = steady(s, 4), []
    time.sleep(0.7)
    for _ in range(4):
        began = time.monotonic()
        neighbours = [multiprocessing.Process(target=spin, args=(began + 0.25, core)) for _ in range(3)]
        for n in neighbours:
            n.start()
        for n in neighbours:
            n.join()
        bursts.append((began, time.monotonic()))
        time.sleep(0.4)
    load.wait(30)
    time.sleep(0.2)
    judge("cpu", slow(s)["items"], bursts, "cpu_taken", least=10)
    s.close()


# ---- a message to 10,000 members, of whom 3,000 devices are connected, while others write to each other
def fan_out():
    s, began = prefer(Server("--shards", "1")), time.monotonic()   # no message is sent before the wide ones
    wide = subprocess.Popen([harness.KITH, "bench", "channel", "--http", f"127.0.0.1:{s.http}", "--mqtt", f"127.0.0.1:{s.mqtt}", "--key", s.key, "--members", "10000",
                             "--connected", "3000", "--messages", "24", "--warmup", "0", "--rate", "8"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    connected = lambda: next(float(l.split()[-1]) for l in s.call("GET", "/metrics")[1].decode().splitlines() if l.startswith("kith_sessions "))
    harness.eventually(lambda: expect(connected() >= 3000, True), 60)
    load = steady(s, 3, rate=60, pairs=4)
    wide.wait(60)
    ended = time.monotonic()
    load.wait(30)
    items = [i for i in slow(s)["items"] if i["what"] == "message"]   # to make ten thousand people members is wide, too
    hit = judge("fan-out", items, [(began, ended)], "fan_out", least=5)
    assert any(i["cause"]["evidence"].get("devices", 0) >= 500 for i in hit), hit[0]
    s.close()


# ---- hundreds of TLS handshakes at once, while others write to each other
def hello(context):
    """What a TLS client says first."""
    out = ssl.MemoryBIO()
    try:
        context.wrap_bio(ssl.MemoryBIO(), out).do_handshake()
    except ssl.SSLWantReadError:
        return out.read()


def handshake_storm():
    s = Server(start=False)
    cert, key = certificate.make(s.dir, kind="rsa:4096")   # some milliseconds each
    s.options = ("--shards", "1", "--mqtts", "127.0.0.1:0", "--tls-cert", cert, "--tls-key", key)
    s.start()
    s.make_key()
    prefer(s)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    hellos = [hello(context) for _ in range(100)]
    load, storms = steady(s, 4, rate=100), []
    time.sleep(0.7)
    for _ in range(4):
        sockets = [socket.create_connection(("127.0.0.1", s.mqtts)) for _ in hellos]
        began = time.monotonic()
        for c, h in zip(sockets, hellos):
            c.sendall(h)
        for c in sockets:
            c.settimeout(10)
            c.recv(1)
        storms.append((began, time.monotonic()))
        for c in sockets:
            c.close()
        time.sleep(0.3)
    load.wait(30)
    time.sleep(0.2)
    judge("handshakes", [i for i in slow(s)["items"] if i["what"] == "message"], storms, "handshake_storm", least=10)
    s.close()


# ---- RocksDB's disk takes little, and memory is full of what waits for it
def tables_stall():
    s = FaultyServer("disk", "--memory", "1", "--shards", "1")
    load = steady(s, 5, rate=300, pairs=50, payload=3000)
    time.sleep(0.7)
    s.inject.ask(faults.TABLES_US, 300000)
    began = time.monotonic()
    backup = subprocess.Popen([harness.KITH, "backup", "--data", s.data, os.path.join(s.dir, "copy")], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)   # it flushes the tables
    backup.wait(60)
    s.inject.ask(faults.TABLES_US, 0)
    ended = time.monotonic() + 0.2
    load.wait(60)
    time.sleep(0.2)
    judge("tables", [i for i in slow(s)["items"] if i["what"] == "message"], [(began, ended)], "tables_stall", least=10)
    s.close()


# ---- all write into one conversation, faster than it is applied
def hot_conversation():
    s = prefer(Server("--shards", "1"))
    users = [f"u{i}" for i in range(16)]
    s.call("PUT", "/v1/conversations/hot", {"type": "group", "members": users})
    writers = [Client(s.mqtt, u + "d", s.token(u, u + "d")) for u in users]
    load, began, n = steady(s, 3, rate=60, pairs=4), time.monotonic(), 0
    while time.monotonic() < began + 2:
        for c in writers:
            topic = mqtt.text("conversations/hot/messages")
            c.raw(b"".join(mqtt.frame(mqtt.PUBLISH, 2, topic + struct.pack(">H", i) + b"\0" + json.dumps({"id": f"h{n + i}", "body": "x"}).encode()) for i in range(1, 301)))
            n += 300
        for c in writers:
            while c.wait(PUBACK, 20).packet != 300:
                pass
    ended = time.monotonic()
    load.wait(30)
    time.sleep(0.2)
    hit = judge("hot", slow(s)["items"], [(began, ended)], "hot_conversation", least=10)
    assert any(i["cause"]["evidence"].get("conversation") == "hot" for i in hit), hit[0]
    s.close()


for story in (cpu_taken, fan_out, handshake_storm, tables_stall, hot_conversation):
    began = time.time()
    story()
    print(f"{story.__name__}: {time.time() - began:.1f} s", flush=True)
