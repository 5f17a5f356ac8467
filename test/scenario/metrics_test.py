"""/metrics in both of its forms, each read by programs that others wrote: promtool, and the OpenMetrics parser of prometheus_client. What it counts is what was done; nobody is named;
it is small and quick."""
import re, sys, time, urllib.request

import mqtt, peers, promtool
from harness import KITH, Server, expect

OPEN = "application/openmetrics-text; version=1.0.0; charset=utf-8"
PLAIN = "text/plain; version=0.0.4; charset=utf-8"


def scrape(s, accept=None):
    """(content type, text)"""
    request = urllib.request.Request(f"http://127.0.0.1:{s.http}/metrics", headers={"Authorization": "Bearer " + s.key, **({"Accept": accept} if accept else {})})
    with urllib.request.urlopen(request, timeout=20) as answer:
        return answer.headers["Content-Type"], answer.read().decode()


def samples(text):
    """{name with labels: value}"""
    return {line.partition(" # ")[0].rpartition(" ")[0]: float(line.partition(" # ")[0].rpartition(" ")[2]) for line in text.splitlines() if not line.startswith("#")}


s = Server("--shards", "2")
print("Some people talk, over HTTP, MQTT and a stream")
for user in ("secret-ann", "secret-bob"):
    expect(s.call("PUT", f"/v1/users/{user}", {})[0], 201)
expect(s.call("PUT", "/v1/conversations/secret-talk", {"type": "direct", "members": ["secret-ann", "secret-bob"]})[0], 201)
bob = mqtt.Client(s.mqtt, "secret-phone", s.token("secret-bob", "secret-phone"))
bob.subscribe("users/secret-bob/#")
MESSAGES = 40
for i in range(MESSAGES):
    expect(s.call("POST", "/v1/conversations/secret-talk/messages", {"id": f"secret-{i}", "from": "secret-ann", "body": "secret words"})[0], 201)
expect(len(bob.messages(MESSAGES, topic="/messages")), MESSAGES)
expect(s.call("POST", "/v1/conversations/secret-talk/messages", {"from": "nobody", "body": "x"})[0] >= 400, True)

print("Who asks for OpenMetrics gets it; others get Prometheus' older form")
for accept, want in ((None, PLAIN), ("*/*", PLAIN), ("text/plain", PLAIN), ("application/openmetrics-text", OPEN), ("application/openmetrics-text;q=0", PLAIN),
                     ("text/plain;q=0.9, application/openmetrics-text;q=0.5", PLAIN), ("application/json", PLAIN),
                     ("application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,text/plain;version=0.0.4;q=0.5,*/*;q=0.1", OPEN)):
    expect(scrape(s, accept)[0], want, f"Accept: {accept}")

time.sleep(1.6)  # gauges are up to a second old
plain, text = scrape(s)[1], scrape(s, "application/openmetrics-text")[1]
print("Both end where they end, and name the same samples")
for t in (plain, text):
    expect(t.endswith("# EOF\n"), True)
    expect("secret" in t, False, "somebody is named")
expect({name for name in set(samples(plain)) ^ set(samples(text)) if "kith_stage_seconds" not in name}, set())

print("It counts what was done")
now = samples(text)
expect(now["kith_messages_accepted_total"], MESSAGES)
expect(now["kith_messages_refused_total"], 1)
expect(now["kith_messages_delivered_total"] >= MESSAGES, True)
expect(now['kith_connections_by_protocol{protocol="mqtt"}'], 1)
expect(now["kith_sessions"], 1)
expect(now["kith_records_appended_total"] >= now["kith_messages_accepted_total"], True)
expect(now["kith_apply_lag_records"], 0)
expect(now['kith_memory_bytes{owner="state"}'] > 0 and now['kith_memory_bytes{owner="connections"}'] > 0, True)
expect(now['kith_disk_free_bytes{of="data"}'] > 0 and now['kith_disk_size_bytes{of="log"}'] > 0, True)
expect(abs(now["process_start_time_seconds"] - time.time()) < 120, True, "start time")
expect(0 < now["process_cpu_seconds_total"] < 60, True, "cpu")
expect(10 < now["process_open_fds"] < 400 <= now["process_max_fds"], True, "descriptors")
expect(now["process_resident_memory_bytes"] > 1 << 20, True)
version = s.tool("version")[1].split()[1]
expect(now[f'kith_build_info{{version="{version}"}}'], 1)
expect("kith_stage_seconds_count" in text, True)

print("A bucket names a trace that is in it, and only when OpenMetrics is asked for")
exemplars = re.findall(r'le="([0-9.+Inf]+)"} \d+ # {trace_id="([0-9a-f]{32})"} ([0-9.]+) ([0-9.]+)$', text, re.M)
expect(len(exemplars) >= 5, True, "exemplars")
for le, trace, took, at in exemplars:
    expect(float(took) <= float(le) and abs(float(at) - time.time()) < 120, True, (le, took, at))
expect("trace_id" in plain, False)

print("Labels are few: no series but of shards, stages and fixed words")
labels = {}
for name in now:
    for label, value in re.findall(r'(\w+)="([^"]*)"', name):
        labels.setdefault(label, set()).add(value)
expect(set(labels) - {"stage", "shard", "le", "protocol", "owner", "of", "version", "kind", "quantile", "channel", "outcome"}, set(), "labels")
expect(labels["shard"], {"0", "1", "log"})
print(f"  {len(now)} series, {len(text)} bytes")
expect(len(now) < 700, True, "series of two shards")

print("It is quick: the best of 30, with the way there and back")
best = 9.9
for _ in range(30):
    begun = time.perf_counter()
    scrape(s)
    best = min(best, time.perf_counter() - begun)
print(f"  {best * 1000:.2f} ms")
expect(best < (0.002 if "san" not in KITH else 0.02), True, "slow")

try:
    tool = promtool.find()
    print("promtool finds nothing")
    expect(promtool.run(tool, "check", "metrics", text=plain), (0, ""), "promtool")
    broken = plain.replace("# HELP kith_connections Connections open now.\n", "").replace("kith_sessions", "kithSessions")
    status, said = promtool.run(tool, "check", "metrics", text=broken)
    expect(status != 0 and "kith_connections" in said and "kithSessions" in said, True, "promtool finds what is wrong")
except peers.Missing as why:
    print(f"skipped: {why}")
try:
    home = peers.pip("prometheus_client", "0.21.1", "prometheus_client.openmetrics.parser")
    sys.path.insert(0, home)
    from prometheus_client.openmetrics import parser
    from prometheus_client.parser import text_string_to_metric_families as older
    print("The parsers of prometheus_client read both")
    families = {f.name: f for f in parser.text_string_to_metric_families(text)}
    expect(families["kith_messages_accepted"].type, "counter")
    expect(families["kith_stage_seconds"].unit, "seconds")
    expect(families["kith_build"].type, "info")
    expect(any(x.exemplar for x in families["kith_stage_seconds"].samples), True, "exemplars")
    expect({f.name: f.type for f in older(plain)}["kith_stage_seconds"], "histogram")
except peers.Missing as why:
    print(f"skipped: {why}")
s.close()
print("ok")
