"""Standard error of a server: each line is one JSON object with its time, level and message, from the first to the last; what happens is said once, what happens often is counted.

Runs early: some lines come once in ten seconds."""
import json, os, signal, socket, subprocess, threading, time

import faults, harness, mqtt
from harness import Server, eventually, expect


def of(s, words):
    return [line for line in s.lines() if words in line["message"]]


print("A life: it serves, has recovered, drains, has stopped")
s = Server("--shards", "2", "--rate", "5", "--message-rate", "5", data=os.path.join(Server(start=False).dir, 'a "quoted" \\ folder'))
serving = of(s, "serving")[0]
expect((serving["level"], serving["http"], serving["mqtt"], serving["data"], serving["shards"], serving["partitions"]), ("info", s.http, s.mqtt, s.data, 2, 64))
expect(serving["version"], s.tool("version")[1].split()[1])
eventually(lambda: expect(len(of(s, "recovered")), 1))
expect((of(s, "recovered")[0]["records"], of(s, "recovered")[0]["ms"] < 60000), (0, True))
for line in s.lines():
    expect(abs(time.time() - time.mktime(time.strptime(line["time"][:19], "%Y-%m-%dT%H:%M:%S")) + time.timezone) < 300, True, line["time"])

print("A limit that is hit a hundred times is one line, and what comes after it another, ten seconds later")
statuses = []
for i in range(100):
    statuses.append(s.call("GET", "/v1/users/nobody")[0])
expect(statuses.count(429) >= 60, True)
eventually(lambda: expect(len(of(s, "refused by a rate")), 1))
time.sleep(0.7)
lines = of(s, "refused by a rate")
expect((len(lines), lines[0]["level"], lines[0]["counter"], 1 <= lines[0]["times"] <= 100), (1, "warning", "limit_rate", True))

print("What was slow is said, with its cause, and nobody's name")
faults.prefer(s)  # or a neighbour on the core would be the cause
CAUSES = {"stopped"} if faults.alone else {"stopped", "cpu_taken"}
time.sleep(1.2)
phone = mqtt.Client(s.mqtt, "slow-phone", s.token("slow-ann", "slow-phone"))
time.sleep(1.2)
began = time.time()
expect(s.call("PUT", "/v1/conversations/slow-talk", {"type": "group", "members": ["slow-ann"]})[0], 201)
quick = time.time() - began < 0.2
expect(of(s, "slow") == [] or not quick, True, "nothing was slow")


def while_stopped(act):
    """The line about what was asked of a server that stood still for 0.6 s."""
    before = len(of(s, "slow"))
    stopped_by_us = lambda: [line for line in of(s, "slow")[before:] if line["cause"] in CAUSES]
    s.process.send_signal(signal.SIGSTOP)
    stopped = threading.Timer(0.6, s.process.send_signal, (signal.SIGCONT,))
    stopped.start()
    act()
    stopped.join()
    eventually(lambda: expect(len(stopped_by_us()) > 0, True))
    return stopped_by_us()[0]


for act in (lambda: expect(phone.publish("conversations/slow-talk/messages", {"body": "slow-words"}).reason, 0),
            lambda: expect(s.call("PUT", "/v1/users/slow-bob", {})[0], 201)):  # on a connection of its own, made meanwhile
    slow = while_stopped(act)
    expect((slow["level"], slow["took_ms"] >= 300, slow["cause"] in CAUSES), ("warning", True, True), slow)
    expect("slow-" in json.dumps(slow), False, "names")

print("It drains and stops")
s.process.send_signal(signal.SIGHUP)
eventually(lambda: expect(len(of(s, "nothing to read again")), 1))
time.sleep(1)
for user in ("ann", "bob"):
    eventually(lambda: expect(s.call("PUT", f"/v1/users/{user}", {})[0] in (200, 201), True))
    time.sleep(0.3)
phone = mqtt.Client(s.mqtt, "phone", s.token("bob", "phone"))
s.stop()
expect([line["message"].split(":")[0] for line in s.lines()][-2:], ["draining", "stopped"])
expect(of(s, "draining")[0]["connections"] >= 1, True)

print("After a crash it says what it read again")
s.start()
eventually(lambda: expect(len(of(s, "recovered")), 2))
expect(s.call("PUT", "/v1/users/cid", {})[0], 201)
s.kill()
s.start()
eventually(lambda: expect(len(of(s, "recovered")), 3))
expect(of(s, "recovered")[-1]["records"] >= 1, True)

print("What ends a start is a line too: a door that is taken, a folder that another serves")
taken = socket.create_server(("127.0.0.1", 0))
for options, words in ((("--http", f"127.0.0.1:{taken.getsockname()[1]}", "--data", s.data + "2"), "in use"), (("--http", "127.0.0.1:0", "--data", s.data), s.data)):
    done = subprocess.run([harness.KITH, "serve", "--mqtt", "127.0.0.1:0", *options], capture_output=True, text=True, timeout=30)
    said = [json.loads(line) for line in done.stderr.splitlines()]
    expect((done.returncode, said[-1]["level"], words in said[-1]["message"]), (1, "fatal", True), said)

print("A folder whose name is no UTF-8 does not make a line that is no JSON")
odd = os.path.join(os.fsencode(s.dir), b"\xff\xfe folder")
done = subprocess.Popen([harness.KITH, "serve", "--data", odd, "--http", "127.0.0.1:0", "--mqtt", "127.0.0.1:0"], stderr=subprocess.PIPE)
said = [json.loads(done.stderr.readline().decode()) for _ in range(4)]
expect([line["data"].endswith("?? folder") for line in said if line["message"] == "serving"], [True])
done.terminate()
done.communicate(timeout=20)

print("Out of descriptors: said, and not for each who knocks")
s.stop()
s.start()
pid = s.process.pid
open_now = len(os.listdir(f"/proc/{pid}/fd"))
subprocess.run(["prlimit", f"--pid={pid}", f"--nofile={open_now}:"], check=True)
knocking = [socket.create_connection(("127.0.0.1", s.http)) for _ in range(4)]
eventually(lambda: expect(len(of(s, "could not be taken")), 1))
time.sleep(1)
expect(len(of(s, "could not be taken")), 1)
subprocess.run(["prlimit", f"--pid={pid}", "--nofile=1024:"], check=True)
for k in knocking:
    k.close()
eventually(lambda: expect(s.call("GET", "/healthz")[0], 200))
s.close()
print("ok")
