"""Traces by OTLP: a collector gets the journey of an item as one trace, with its stages, its relay and the devices; whatever the collector does, the server does not care; it works
under --confine. What is sent is read by OpenTelemetry's own protobuf definitions, where they can be had.

Runs early: a collector is waited for."""
import http.server, json, re, subprocess, sys, threading, time, urllib.request

import harness, mqtt, peers
from harness import Server, eventually, expect


class Collector:
    """Answers as it is told to; keeps what it took."""

    def __init__(self, port=0):
        self.status, self.headers, self.answer, self.taken, self.refused, self.delay = 200, {}, b"{}", [], 0, 0
        collector = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"]))
                expect((self.path, self.headers["Content-Type"]), ("/v1/traces", "application/json"))
                time.sleep(collector.delay)
                if collector.status == 200:
                    collector.taken.append(json.loads(body))
                else:
                    collector.refused += 1
                self.send_response(collector.status)
                for name, value in collector.headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(collector.answer)))
                self.end_headers()
                self.wfile.write(collector.answer)

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", port), Handler)
        self.port = self.server.server_address[1]
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def spans(self):
        return [span for request in list(self.taken) for of in request["resourceSpans"] for scope in of["scopeSpans"] for span in scope["spans"]]

    def close(self):
        self.server.shutdown()
        self.server.server_close()


def attributes(span):
    return {a["key"]: next(iter(a["value"].values())) for a in span.get("attributes", [])}


def counts(s):
    text = s.call("GET", "/metrics")[1].decode()
    return {name: int(re.search(rf"^kith_export_{name}_total (\d+)", text, re.M).group(1)) for name in ("spans", "dropped", "failures")}


def post(s, message):
    expect(s.call("POST", "/v1/conversations/ab/messages", {"id": message, "from": "ann", "body": "words that are nobody's business"})[0], 201)


print("An item is a trace: the record, its stages, its relay, the device")
collector = Collector()
s = Server("--shards", "2", "--otlp", f"http://127.0.0.1:{collector.port}/v1/traces", "--confine", "try")
for user in ("ann", "bob"):
    s.call("PUT", f"/v1/users/{user}", {})
expect(s.call("PUT", "/v1/conversations/ab", {"type": "direct", "members": ["ann", "bob"]})[0], 201)
phone = mqtt.Client(s.mqtt, "phone", s.token("bob", "phone"))
phone.subscribe("users/bob/#")
post(s, "m-one")
expect(len(phone.messages(1, topic="/messages")), 1)


def of(item):
    trace = {span["traceId"] for span in collector.spans() if attributes(span).get("messaging.message.id") == item}
    return [span for span in collector.spans() if span["traceId"] in trace]


def whole():
    spans = of("m-one")
    assert any(e["name"] == "acknowledged by device" for span in spans for e in span.get("events", [])), [span["name"] for span in spans]
    return spans


spans = eventually(whole)
expect(len({span["traceId"] for span in spans}), 1)
expect(all(re.fullmatch("[0-9a-f]{32}", span["traceId"]) and re.fullmatch("[0-9a-f]{16}", span["spanId"]) for span in spans), True)
expect(len({span["spanId"] for span in spans}), len(spans), "span ids")
roots = [span for span in spans if "parentSpanId" not in span]
expect([span["name"] for span in roots], ["record"])
said = attributes(roots[0])
expect((said["messaging.system"], said["messaging.destination.name"], said["messaging.operation.name"], said["kith.app"]), ("kith", "ab", "publish", "demo"))
ids = {span["spanId"]: span for span in spans}
relays = [span for span in spans if span["name"] == "relay"]
expect(relays and all(ids[relay["parentSpanId"]] is roots[0] for relay in relays), True, "relays are children of the record")
for parent in roots + relays:
    children = [span["name"] for span in spans if span.get("parentSpanId") == parent["spanId"] and span["name"] != "relay"]
    expect(children, ["admit", "durable", "apply", "write"])
for span in spans:
    begun, ended = int(span["startTimeUnixNano"]), int(span["endTimeUnixNano"])
    expect(begun <= ended and abs(ended / 1e9 - time.time()) < 60, True, "times")
    if "parentSpanId" in span:
        expect(begun >= int(ids[span["parentSpanId"]]["startTimeUnixNano"]), True, "a child begins after its parent")
written = [(e["name"], attributes(e)["enduser.id"], attributes(e)["kith.device"]) for span in spans for e in span.get("events", []) if "device" in e["name"]]
expect(sorted(written), [("acknowledged by device", "bob", "phone"), ("written to device", "bob", "phone")])
resource = {a["key"]: a["value"]["stringValue"] for a in collector.taken[0]["resourceSpans"][0]["resource"]["attributes"]}
expect((resource["service.name"], resource["service.version"]), ("kith", s.tool("version")[1].split()[1]))
expect("nobody's business" in json.dumps(collector.taken), False, "content is sent")

print("An exemplar of /metrics leads to its trace")
request = urllib.request.Request(f"http://127.0.0.1:{s.http}/metrics", headers={"Authorization": "Bearer " + s.key, "Accept": "application/openmetrics-text"})
named = set(re.findall(r'trace_id="([0-9a-f]{32})"', urllib.request.urlopen(request).read().decode()))
expect(bool(named & {span["traceId"] for span in collector.spans()}), True)

print("Under --confine")
status = open(f"/proc/{s.process.pid}/status").read()
expect("Seccomp:\t2" in status or "not confined" in s.said(), True)

print("A collector that has no time is asked again, and gets everything")
before = counts(s)
collector.status, collector.headers = 503, {"Retry-After": "1"}
post(s, "m-two")
eventually(lambda: expect(collector.refused >= 1, True))
collector.status = 200
eventually(lambda: expect(len(of("m-two")) >= 5, True))
after = counts(s)
expect((after["dropped"], after["failures"] > before["failures"], after["spans"] > before["spans"]), (0, True, True))

print("What it refuses for good is dropped, and counted; so is what it takes and throws away")
collector.status, collector.headers = 400, {}
post(s, "m-three")
eventually(lambda: expect(counts(s)["dropped"] >= 5, True))
collector.status, collector.answer = 200, b'{"partialSuccess":{"rejectedSpans":"3","errorMessage":"no"}}'
before = counts(s)
post(s, "m-four")
eventually(lambda: expect(counts(s)["dropped"] - before["dropped"] >= 3, True))  # of each request
collector.answer = b"{}"

print("A collector that is gone, or does not answer, costs the server nothing")
collector.delay = 30
best = 9
post(s, "m-five")
time.sleep(3.5)
for i in range(20):
    begun = time.perf_counter()
    post(s, f"while-{i}")
    best = min(best, time.perf_counter() - begun)
expect(best < 0.5, True, "requests")
collector.close()
collector.delay = 0
post(s, "m-six")
began = time.time()
s.stop()
expect(time.time() - began < 20, True, "the stop waits for the collector")
s.lines()

print("What is not to be sent to is said before anything begins")
for url in ("https://127.0.0.1/v1/traces", "127.0.0.1:4318", "http://", "http://user@host/", "http://a b/"):
    done = subprocess.run([harness.KITH, "serve", "--data", s.data, "--otlp", url], capture_output=True, text=True, timeout=20)
    expect((done.returncode, "--otlp" in done.stderr), (2, True), url)

print("Without journeys there is nothing to send, which is said; figures go on")
s = Server("--otlp", "http://127.0.0.1:9/v1/traces", "--journeys", "off")
expect([line["level"] for line in s.lines() if "--journeys is off" in line["message"]], ["warning"])
expect(s.call("PUT", "/v1/users/ann", {})[0], 201)
expect((b"kith_records_applied_total" in s.call("GET", "/metrics")[1], b"kith_export_" in s.call("GET", "/metrics")[1]), (True, False))
s.close()

try:
    home = peers.pip("opentelemetry-proto", "1.27.0", "opentelemetry.proto.trace.v1.trace_pb2")
    check = """
import json, site, sys
site.addsitedir(sys.argv[1])
import base64
from google.protobuf import json_format
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
for request in json.load(sys.stdin):
    for of in request["resourceSpans"]:
        for scope in of["scopeSpans"]:
            for span in scope["spans"]:
                for key in ("traceId", "spanId", "parentSpanId"):  # OTLP's one difference from protobuf's JSON: hex
                    if key in span:
                        span[key] = base64.b64encode(bytes.fromhex(span[key])).decode()
    json_format.ParseDict(request, ExportTraceServiceRequest())
print("read")
"""
    done = subprocess.run([sys.executable, "-c", check, home], input=json.dumps(collector.taken), capture_output=True, text=True, timeout=60)
    expect(done.stdout.strip(), "read", done.stderr[-2000:])
    print("OpenTelemetry's own definitions read every request, and know every field")
except peers.Missing as why:
    print(f"skipped: {why}")
print("ok")
