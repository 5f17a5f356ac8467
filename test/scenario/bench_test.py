"""`kith bench`, small: QoS 2 as a client, fan-out over a plain topic, notifications, the storm after a kill; and that what is lost is told."""
import json, os, subprocess

import harness, usual_stack
from harness import Server, eventually, expect
from ports import free_port


def bench(s, scenario, *options, broker="mqtt", http=None, mqtt=None):
    done = subprocess.run([harness.KITH, "bench", scenario, "--json", "--broker", broker, "--mqtt", f"127.0.0.1:{mqtt or s.mqtt}", "--http", f"127.0.0.1:{http or s.http}", "--key", s.key,
                           *options], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=120)
    assert done.stdout.startswith("{"), done.stderr
    return done.returncode, json.loads(done.stdout)


def one_to_one(s):
    """What is stored is never lost, however fast it comes. A plain channel drops what its subscriber cannot read as fast, and counts it: each that is lost is one of those."""
    run = lambda *options, **more: bench(s, "one-to-one", "--qos", "2", "--pairs", "5", "--duration", "0.5", "--warmup", "0", *options, **more)
    for broker, pace in (("kith", ()), ("mqtt", ("--rate", "1000"))):
        status, said = run("--inflight", "4", *pace, broker=broker)
        expect((status, said["valid"], said["lost"], said["delivered_per_s"] > 10), (0, True, 0, True), said)
    dropped = lambda: next(int(line.split()[1]) for line in s.call("GET", "/metrics")[1].decode().splitlines() if line.startswith("kith_channel_messages_dropped_total "))

    def counted(*options):
        before = dropped()
        status, said = run(*options, broker="mqtt")
        lost = dropped() - before
        expect([said[what] for what in ("lost", "repeated", "reordered", "refused", "connections_lost")], [lost, 0, 0, 0, 0], said)
        expect((status, said["valid"]), (int(lost > 0), lost == 0), said)
        return lost
    counted("--inflight", "4")
    eventually(lambda: expect(counted("--inflight", "200", "--payload", "20000") > 0, True, "more than it can read"))


def fanout(s):
    for qos, shape in (("0", ("--window", "16")), ("1", ("--rate", "200")), ("2", ("--publishers", "3", "--version", "4"))):
        status, said = bench(s, "fanout", "--qos", qos, "--subscribers", "20", "--duration", "0.5", "--warmup", "0.1", *shape)
        expect((status, said["valid"], said["lost"], said["delivered_per_s"] > 500), (0, True, 0, True), said)


def storm(s):
    run = subprocess.Popen([os.path.abspath(harness.KITH), "bench", "storm", "--json", "--devices", "200", "--mqtt", f"127.0.0.1:{s.mqtt}", "--http", f"127.0.0.1:{s.http}",
                            "--key", s.key], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    said = run.stderr.readline()
    assert said.startswith("kith: kill the server"), said + run.stderr.read()
    s.kill()
    s.start()
    out, err = run.communicate(timeout=60)
    got = json.loads(out)
    expect((run.returncode, got["valid"], got["stored"], got["lost"]), (0, True, 600, 0), got)


NOTIFY = ("--devices", "20", "--batch", "5", "--connections", "2", "--inflight", "4", "--warmup", "0.1", "--seconds", "0.3")


def notify(s):
    """Each notification reaches its one device, the devices of a topic, those of everybody in it, once; and is in the inboxes of people who are away."""
    for fanout, shape in (("1", ()), ("5", ("--qos", "1", "--rate", "2000")), ("20", ("--batch", "1"))):
        status, said = bench(s, "notify", *NOTIFY, "--fanout", fanout, *shape, broker="kith")
        expect((status, said["valid"], said["lost"], said["others"], said["delivered_per_s"] > 200), (0, True, 0, 0, True), said)
    status, said = bench(s, "notify-topic", "--people", "2500", "--triggers", "3", "--sample", "50", broker="kith")
    expect((status, said["valid"], said["recipients"], said["wrong"]), (0, True, 2500, 0), said)


def notify_peer(s):
    """Another stack is driven by the same program; what it loses, repeats or refuses makes the run none."""
    stack = usual_stack.UsualStack()
    run = lambda *options: bench(s, "notify", "--peer", "socketio", *NOTIFY, *options, broker="kith", http=stack.port, mqtt=stack.port)
    for fanout, shape in (("1", ()), ("10", ("--rate", "2000")), ("20", ())):
        status, said = run("--fanout", fanout, *shape)
        expect((status, said["valid"], said["lost"], said["delivered_per_s"] > 200), (0, True, 0, True), said)
    expect(stack.pongs, 60, "each device answered the ping")
    stack.drops, stack.repeats, stack.refuses = 30, 41, 53
    status, said = run("--fanout", "1", "--rate", "1000", "--patience", "0.3")
    expect((status, said["valid"], said["repeated"] > 0, said["lost"] > said["refused"] > 0), (1, False, True, True), said)
    stack.close()


def usage(s):
    expect(s.tool("bench", "notify", "--devices", "10", "--fanout", "3", "--key", "k")[0], 2, "devices are whole topics")
    expect(s.tool("bench", "notify", "--peer", "mqtt", "--key", "k")[0], 2, "there is one peer")
    expect(s.tool("bench", "fanout", "--broker", "kith", "--key", "k")[0], 2, "fanout drives plain topics only")
    expect(s.tool("bench", "one-to-one", "--qos", "3", "--key", "k")[0], 2, "there is no QoS 3")


# The same after the next start; listeners' options said again replace the harness's.
s = Server("--dev", "--shards", "2", "--http", f"127.0.0.1:{free_port()}", "--mqtt", f"127.0.0.1:{free_port()}")
try:
    for part in (one_to_one, fanout, notify, notify_peer, usage, storm):
        part(s)
except BaseException:
    print(s.said()[-3000:])
    s.process.kill()
    raise
s.close()
