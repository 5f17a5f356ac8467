"""Too much load: what matters least is refused first, with Retry-After; what was sent by MQTT is stored, acknowledged and delivered all the same.

Runs alone: it counts how often each of four requests is refused while one load comes and goes."""
import json, subprocess, threading, time, urllib.error, urllib.request
import harness
from harness import Server, expect
from mqtt import Client


def ask(s, method, path, body=None):
    """(status, Retry-After or None, problem or None)"""
    request = urllib.request.Request(f"http://127.0.0.1:{s.http}{path}", None if body is None else json.dumps(body).encode(), {"Authorization": "Bearer " + s.key}, method=method)
    try:
        with urllib.request.urlopen(request, timeout=20) as a:
            return a.status, None, None
    except urllib.error.HTTPError as e:
        with e:
            return e.code, e.headers.get("Retry-After"), json.load(e).get("type")


def fill(s, done):
    done.append(subprocess.run([harness.KITH, "bench", "fill", "--http", f"127.0.0.1:{s.http}", "--mqtt", f"127.0.0.1:{s.mqtt}", "--key", s.key, "--json", "--messages", "6000",
                                "--conversations", "2000"], capture_output=True, text=True))


s = Server("--memory", "1", "--shards", "1")
try:
    s.call("PUT", "/v1/conversations/ab", {"type": "direct", "members": ["ann", "bob"]})
    device = Client(s.mqtt, "d", s.token("bob", "d"))
    device.subscribe("users/bob/#")
    s.call("POST", "/v1/conversations/ab/messages", {"id": "m0", "from": "ann", "body": "x"})
    asks = {"typing": ("POST", "/v1/conversations/ab/typing?user=ann"), "list": ("GET", "/v1/conversations/ab/messages"), "one": ("GET", "/v1/conversations/ab"),
            "write": ("PUT", "/v1/users/ann", {})}
    for name, what in asks.items():
        assert ask(s, *what)[0] < 300, f"{name} when there is no load: {ask(s, *what)}"
    done, seen = [], {name: [] for name in asks}
    filling = threading.Thread(target=fill, args=(s, done))
    filling.start()
    while filling.is_alive():
        said = {name: ask(s, *what) for name, what in asks.items()}
        for name, a in said.items():
            seen[name].append(a)
        time.sleep(0.01)
    result = json.loads(done[0].stdout)
    expect((result["valid"], result["refused"], result["messages"]), (True, 0, 6000), "what came by MQTT")
    for name in ("typing", "list", "write"):
        refused = [a for a in seen[name] if a[0] == 503]
        assert refused, f"{name} was never refused in {len(seen[name])} tries"
        for a in refused:
            assert a[2] == "/problems/overloaded" and int(a[1]) >= 1, a
    expect({a[0] for a in seen["one"]}, {200}, "one thing is always read")
    counts = [sum(a[0] == 503 for a in seen[name]) for name in ("typing", "list", "write")]
    # they are asked one after the other, while the load moves
    assert min(counts[:2]) * 1.3 + 3 >= counts[2], f"typing, lists, writes refused {counts} times: the least important first"
    metrics = s.call("GET", "/metrics")[1].decode()
    assert next(int(line.split()[1]) for line in metrics.splitlines() if line.startswith("kith_limit_shed_total")) >= sum(counts)
    harness.eventually(lambda: expect([ask(s, *what)[0] < 300 for what in asks.values()], [True] * 4, "when it is over"))
    expect([m.json()["id"] for m in device.messages(1, topic="/messages")], ["m0"])
finally:
    s.close()
