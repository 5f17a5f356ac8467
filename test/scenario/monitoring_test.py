"""docs/operate: the alert rules are right (promtool), each fires when it should and none on a healthy server; every series that rules and dashboard name is at a live /metrics; Prometheus
itself scrapes it, and answers each query of the dashboard; the commands of monitoring.md run.

Runs early: Prometheus takes its time."""
import json, os, re, shutil, subprocess, sys, tempfile, time, urllib.parse, urllib.request

import harness, mqtt, peers, promtool
from harness import Server, eventually, expect
from ports import free_port

DOCS = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "docs", "operate")
RULES = os.path.join(DOCS, "alerts.yml")
DASHBOARD = os.path.join(DOCS, "grafana", "kith.json")
rules = open(RULES).read()
dashboard = json.load(open(DASHBOARD))
ALERTS = sorted(set(re.findall(r"- alert: (\w+)", rules)))
L = '{job="kith",instance="a"}'


def labelled(name, **labels):
    return name + "{" + ",".join(f'{k}="{v}"' for k, v in {"job": "kith", "instance": "a", **labels}.items()) + "}"


# A healthy server, by the minute: 10 messages a second, each delivered in time.
HEALTHY = {
    labelled("up"): "1x{MINUTES}",
    labelled("kith_messages_accepted_total"): "0+600x{MINUTES}",
    labelled("kith_messages_failed_total"): "0x{MINUTES}",
    labelled("kith_stage_seconds_bucket", stage="delivered", le="0.268435456", shard="0"): "0+600x{MINUTES}",
    labelled("kith_stage_seconds_count", stage="delivered", shard="0"): "0+600x{MINUTES}",
    labelled("kith_stage_seconds_bucket", stage="commit", le="0.002097152", shard="log"): "0+600x{MINUTES}",
    labelled("kith_stage_seconds_bucket", stage="commit", le="0.268435456", shard="log"): "0+600x{MINUTES}",
    labelled("kith_stage_seconds_bucket", stage="commit", le="+Inf", shard="log"): "0+600x{MINUTES}",
    labelled("kith_disk_full"): "0x{MINUTES}",
    labelled("kith_disk_free_bytes", of="data"): "500000000000-1000000x{MINUTES}",
    labelled("kith_disk_size_bytes", of="data"): "1000000000000x{MINUTES}",
    labelled("kith_log_lag_records"): "40x{MINUTES}",
    labelled("kith_apply_lag_records"): "10x{MINUTES}",
    labelled("kith_relays_waiting"): "12x{MINUTES}",
    labelled("kith_senders_held_back"): "0x{MINUTES}",
    labelled("kith_limit_shed_total"): "0x{MINUTES}",
    labelled("kith_connections"): "5000x{MINUTES}",
    labelled("kith_connections_max"): "100000x{MINUTES}",
    labelled("process_open_fds"): "5100x{MINUTES}",
    labelled("process_max_fds"): "100600x{MINUTES}",
    labelled("process_start_time_seconds"): "1700000000x{MINUTES}",
    labelled("kith_events_total", kind="clock"): "0x{MINUTES}",
    labelled("kith_events_total", kind="stopped"): "0x{MINUTES}",
    labelled("kith_events_total", kind="run_delay"): "0+1x{MINUTES}",
    labelled("kith_export_dropped_total"): "0x{MINUTES}",
}
# Name; what is otherwise, from minute 100 on unless said; minute: alerts that fire then (of windows: the windows).
CASES = [
    ("healthy for four days", {}, {60: {}, 5880: {}}),
    ("one message in fifty fails, then none", {labelled("kith_messages_failed_total"): "0x100 12+12x120 1452x600"},
     {102: {}, 160: {"KithAcceptanceBudgetBurn": ["1h", "6h", "1d", "3d"]}, 235: {"KithAcceptanceBudgetBurn": ["6h", "1d", "3d"]}, 500: {"KithAcceptanceBudgetBurn": ["3d"]}}),
    ("one in a hundred and fifty fails for days", {labelled("kith_messages_failed_total"): "0+4x{MINUTES}"},
     {240: {"KithAcceptanceBudgetBurn": ["6h", "1d", "3d"]}, 5880: {"KithAcceptanceBudgetBurn": ["6h", "1d", "3d"]}}),
    ("a restart refuses a few of a quiet server's messages", {labelled("kith_messages_accepted_total"): "0+2x{MINUTES}", labelled("kith_messages_failed_total"): "0x100 5x5900"}, {103: {}, 150: {}}),
    ("a fifth of the deliveries is late", {labelled("kith_stage_seconds_bucket", stage="delivered", le="0.268435456", shard="0"): "0+600x100 60480+480x500"},
     {102: {}, 170: {"KithDeliveryBudgetBurn": ["1h", "6h", "1d", "3d"]}}),
    ("down", {labelled("up"): "1x100 0x10"}, {100: {}, 103: {"KithDown": []}}),
    ("the disk is full", {labelled("kith_disk_full"): "0x100 1x50"}, {99: {}, 102: {"KithDiskFull": []}}),
    ("the disk fills within a day", {labelled("kith_disk_free_bytes", of="data"): "240000000000-200000000x{MINUTES}"}, {100: {"KithDiskFullSoon": []}}),
    ("little is left of the disk", {labelled("kith_disk_free_bytes", of="data"): "40000000000x{MINUTES}"}, {10: {"KithDiskNearlyFull": []}}),
    ("the log lags", {labelled("kith_log_lag_records"): "40x100 50000x100"}, {100: {}, 106: {"KithLogLag": []}}),
    ("apply lags", {labelled("kith_apply_lag_records"): "40x100 50000x100"}, {100: {}, 106: {"KithLogLag": []}}),
    ("relays wait", {labelled("kith_relays_waiting"): "40x100 50000x100"}, {105: {}, 115: {"KithRelaysWait": []}}),
    ("senders are held back", {labelled("kith_senders_held_back"): "0x100 1x100"}, {100: {}, 105: {"KithSendersHeldBack": []}}),
    ("load is shed", {labelled("kith_limit_shed_total"): "0x100 100+100x100"}, {101: {}, 110: {"KithLoadShed": []}}),
    ("many connections", {labelled("kith_connections"): "95000x{MINUTES}"}, {10: {"KithConnectionsNearLimit": []}}),
    ("many descriptors", {labelled("process_open_fds"): "95000x{MINUTES}"}, {10: {"KithDescriptorsNearLimit": []}}),
    ("it restarts again and again", {labelled("process_start_time_seconds"): "1700000000x100 1700006000+300x20"}, {100: {}, 110: {"KithRestarts": []}}),
    ("it was restarted once", {labelled("process_start_time_seconds"): "1700000000x100 1700006000x100"}, {105: {}}),
    ("the clock jumps", {labelled("kith_events_total", kind="clock"): "0x100 1x100"}, {100: {}, 103: {"KithClockJumped": []}, 130: {}}),
    ("it stands still", {labelled("kith_events_total", kind="stopped"): "0x100 1+1x100"}, {100: {}, 110: {"KithStoodStill": []}}),
    ("others have the core", {labelled("kith_events_total", kind="run_delay"): "0+60x{MINUTES}"}, {5: {}, 25: {"KithCoreTaken": []}}),
    ("the disk is slow", {labelled("kith_stage_seconds_bucket", stage="commit", le="0.002097152", shard="log"): "0+300x{MINUTES}"}, {25: {"KithSlowDisk": []}}),
    ("traces are dropped", {labelled("kith_export_dropped_total"): "0x100 5+5x100"}, {100: {}, 105: {"KithTracesDropped": []}}),
]


def rules_as_tests(long):
    """What promtool reads, in JSON, which is YAML too. Days are looked at more seldom than minutes."""
    tests = []
    for name, otherwise, firing in CASES:
        if (max(firing) > 1000) != long:
            continue
        minutes = str(max(firing) + 10)
        series = [{"series": k, "values": v.replace("{MINUTES}", minutes)} for k, v in {**HEALTHY, **otherwise}.items()]
        checks = []
        for minute, alerts in firing.items():
            samples = [{"labels": f'{{alertname="{alert}", window="{w}"}}' if w else f'{{alertname="{alert}"}}', "value": 1} for alert, windows in alerts.items() for w in windows or [None]]
            checks.append({"expr": 'count by (alertname, window) (ALERTS{alertstate="firing"})', "eval_time": f"{minute}m", "exp_samples": samples})
        tests.append({"name": name, "interval": "1m", "input_series": series, "promql_expr_test": checks})
    return {"rule_files": [os.path.abspath(RULES)], "evaluation_interval": "60m" if long else "1m", "tests": tests}


def queries():
    """(title, expression) of all that the dashboard asks for."""
    for panel in dashboard["panels"]:
        for target in panel.get("targets", []):
            yield panel["title"], target["expr"]
    for note in dashboard["annotations"]["list"]:
        yield note["name"], note["expr"]


def named(text):
    return set(re.findall(r"\b(?:kith|process)_[a-z_]+\b", re.sub(r'"[^"]*"', "", text)))


def rendered(expression):
    for name, value in {"$__rate_interval": "10s", "$job": ".*", "$instance": ".*", "$datasource": "x"}.items():
        expression = expression.replace(name, value)
    assert "$" not in expression, expression
    return expression


def traffic(s):
    for user in ("ann", "bob"):
        s.call("PUT", f"/v1/users/{user}", {})
    s.call("PUT", "/v1/conversations/ab", {"type": "direct", "members": ["ann", "bob"]})
    phone = mqtt.Client(s.mqtt, "phone", s.token("bob", "phone"))
    phone.subscribe("users/bob/#")
    return phone


def talk(s, phone, n):
    for i in range(n):
        expect(s.call("POST", "/v1/conversations/ab/messages", {"from": "ann", "body": "hello"})[0], 201)
    phone.messages(n, topic="/messages")


def ask(port, path, **query):
    with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}?{urllib.parse.urlencode(query)}", timeout=10) as answer:
        return json.load(answer)["data"]


print("The dashboard is one: each panel has its place, and its queries a data source that is chosen")
expect(len({p["id"] for p in dashboard["panels"]}), len(dashboard["panels"]))
cells = set()
for p in dashboard["panels"]:
    g = p["gridPos"]
    mine = {(x, y) for x in range(g["x"], g["x"] + g["w"]) for y in range(g["y"], g["y"] + g["h"])}
    expect((g["x"] + g["w"] <= 24, bool(mine & cells)), (True, False), p["title"])
    cells |= mine
    expect(all(t["datasource"]["uid"] == "${datasource}" for t in p.get("targets", [])), True)
expect([v["name"] for v in dashboard["templating"]["list"]], ["datasource", "job", "instance"])

print("Every series that rules and dashboard name is there")
collector = free_port()  # nobody is there: its counters are
s = Server("--shards", "2", "--otlp", f"http://127.0.0.1:{collector}/v1/traces")
phone = traffic(s)
talk(s, phone, 20)
time.sleep(1.5)
text = s.call("GET", "/metrics")[1].decode()
there = {re.match(r"\w+", line).group(0) for line in text.splitlines() if not line.startswith("#")}
for where, names in (("alerts.yml", named(rules)), ("kith.json", set().union(*(named(q) for _, q in queries())))):
    expect(names - there, set(), where)
    expect(len(names) > 15, True, where)

tests = set().union(*(alerts for _, _, firing in CASES for alerts in firing.values()))
expect(set(ALERTS) - tests, set(), "alerts that no test sees firing")
try:
    tool, prometheus = promtool.find(), promtool.find("prometheus")
except peers.Missing as why:
    s.close()
    peers.skip(f"{why}")

print(f"promtool: the rules are rules, and each of {len(ALERTS)} alerts fires when it should, and not else")
status, said = promtool.run(tool, "check", "rules", RULES)
expect(status, 0, said)
here = tempfile.mkdtemp(prefix="kith-monitoring-")
for long in (False, True):
    with open(os.path.join(here, "tests.yml"), "w") as f:
        json.dump(rules_as_tests(long), f)
    status, said = promtool.run(tool, "test", "rules", os.path.join(here, "tests.yml"))
    expect(status, 0, said[:4000])

print("Prometheus scrapes it with exemplars, and answers every query of the dashboard")
shutil.copy(RULES, here)
with open(os.path.join(here, "live.yml"), "w") as f:
    json.dump({"global": {"scrape_interval": "1s", "evaluation_interval": "1s"}, "rule_files": ["alerts.yml"],
               "scrape_configs": [{"job_name": "kith", "authorization": {"credentials": s.key}, "static_configs": [{"targets": [f"127.0.0.1:{s.http}"]}]}]}, f)
port = free_port()
live = subprocess.Popen([prometheus, "--config.file", os.path.join(here, "live.yml"), "--storage.tsdb.path", os.path.join(here, "tsdb"), "--web.listen-address", f"127.0.0.1:{port}",
                         "--enable-feature=exemplar-storage", "--log.level=error"], stdout=subprocess.DEVNULL, stderr=open(os.path.join(here, "said"), "w"))
try:
    def scraped():
        try:
            assert float(ask(port, "/api/v1/query", query="min(count_over_time(up[1m]) * up)")["result"][0]["value"][1]) >= 4
        except (OSError, IndexError) as e:
            raise AssertionError(e)
    for _ in range(5):
        talk(s, phone, 3)
        time.sleep(0.8)
    eventually(scraped)
    empty = []
    for title, expression in queries():
        if not ask(port, "/api/v1/query", query=rendered(expression))["result"] and "> 0" not in expression:
            empty.append((title, expression))
    expect(empty, [], "queries without an answer")
    groups = ask(port, "/api/v1/rules")["groups"]
    expect({(rule["name"], rule["lastError"]) for group in groups for rule in group["rules"] if rule.get("lastError")}, set())
    expect([a["labels"]["alertname"] for a in ask(port, "/api/v1/alerts")["alerts"] if a["state"] == "firing"], [], "a healthy server")
    found = ask(port, "/api/v1/query_exemplars", query='kith_stage_seconds_bucket{stage="accepted"}', start=time.time() - 60, end=time.time() + 5)
    expect(bool(found) and all(re.fullmatch("[0-9a-f]{32}", e["labels"]["trace_id"]) for of in found for e in of["exemplars"]), True, "exemplars")
finally:
    live.terminate()
    live.wait(timeout=20)
s.close()

print("The commands of monitoring.md")
page = open(os.path.join(DOCS, "monitoring.md")).read()
bins = os.path.join(here, "bin")
os.mkdir(bins)
for name, path in (("kith", os.path.abspath(harness.KITH)), ("promtool", tool)):
    os.symlink(path, os.path.join(bins, name))
ports = {p: str(free_port()) for p in sorted(set(re.findall(r"127\.0\.0\.1:(\d+)", page)))}
for p, other in ports.items():
    page = page.replace(f"127.0.0.1:{p}", f"127.0.0.1:{other}")
script = "set -e\n"
blocks = re.findall(r"^```(sh|yaml)\n(.*?)^```$", page, re.M | re.S)
expect([kind for kind, _ in blocks], ["sh", "yaml", "sh", "sh", "yaml", "sh"])
serve = f"kith serve --data kith-data --http 127.0.0.1:{ports['8080']} --mqtt 127.0.0.1:{ports['1883'] if '1883' in ports else free_port()} 2>/dev/null &\nfirst=$!\nsleep 1.5\n"
for i, (kind, text) in enumerate(blocks):
    if kind == "yaml":
        name = re.match(r"# (\S+)\n", text).group(1)
        script += f"cat > {name} <<'END'\n{text}END\n"
    else:
        script += text
    if i == 0:
        script += serve
    if "--otlp" in text:
        script += "traced=$!\nsleep 1\nkill $traced; wait $traced\n"
script += "kill $first; wait $first\necho all done\n"
done = subprocess.run(["sh", "-c", script], cwd=here, env={**os.environ, "PATH": bins + ":" + os.environ["PATH"]}, capture_output=True, text=True, timeout=90)
expect(done.returncode, 0, done.stdout[-2000:] + done.stderr[-2000:])
expect("SUCCESS" in done.stdout and "serving" in done.stdout and done.stdout.rstrip().endswith("all done"), True, done.stdout)
shutil.rmtree(here)
print("ok")
