"""`kith bench`, small: QoS 2 as a client, fan-out over a plain topic, the storm after a kill; and that what is lost is told."""
import json, os, socket, subprocess

import harness
from harness import Server, expect


def bench(s, scenario, *options, broker="mqtt"):
    status, said = s.tool("bench", scenario, "--json", "--broker", broker, "--mqtt", f"127.0.0.1:{s.mqtt}", "--http", f"127.0.0.1:{s.http}", "--key", s.key, *options)
    return status, json.loads(said)


def one_to_one(s):
    for broker in ("mqtt", "kith"):
        status, said = bench(s, "one-to-one", "--qos", "2", "--inflight", "4", "--pairs", "5", "--duration", "0.5", "--warmup", "0", broker=broker)
        expect((status, said["valid"], said["delivered_per_s"] > 10), (0, True, True), said)


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


def usage(s):
    expect(s.tool("bench", "fanout", "--broker", "kith", "--key", "k")[0], 2, "fanout drives plain topics only")
    expect(s.tool("bench", "one-to-one", "--qos", "3", "--key", "k")[0], 2, "there is no QoS 3")


def port():
    """One that is the same after the start; listeners' options said again replace the harness's."""
    with socket.socket() as a:
        a.bind(("127.0.0.1", 0))
        return a.getsockname()[1]


s = Server("--dev", "--shards", "2", "--http", f"127.0.0.1:{port()}", "--mqtt", f"127.0.0.1:{port()}")
try:
    for part in (one_to_one, fanout, usage, storm):
        part(s)
except BaseException:
    print(s.said()[-3000:])
    s.process.kill()
    raise
s.close()
