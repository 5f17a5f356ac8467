"""The document at /openapi.json is valid, lint-free, as wide as the routes, and true: every operation is called for its success and for its problems.
The harness checks each answer against the document; here is seen to it that nothing was left out."""
import base64
import glob
import hashlib
import hmac
import http.client
import json
import os
import re
import socket
import subprocess

import answers
from answers import DOCUMENT, METHODS, jsonschema
from harness import Server, expect, eventually

TOP = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..")


def source(path):
    with open(os.path.join(TOP, path), encoding="utf-8") as f:
        return f.read()


# ---- the document by itself
def walk(node, at="#"):
    yield at, node
    for key, child in node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ():
        yield from walk(child, f"{at}/{key}")


def schemas(node=DOCUMENT):
    """Every schema: the named ones, and those of parameters, headers and bodies, with all inside of them."""
    for at, n in walk(node):
        if "/schemas/" in at or "/schema" in at:
            if isinstance(n, dict) and ("type" in n or "properties" in n):
                yield at, n


FREE = {"Metadata"}  # objects that hold what the app wants; Data, Media and Key hold any JSON value
MAPS = {"reactions", "columns", "templates", "data", "workflows"}


def check_document():
    for at, n in walk(DOCUMENT):
        if isinstance(n, dict) and isinstance(n.get("$ref"), str):
            answers.resolve(n)  # KeyError: the reference leads nowhere
    for name, schema in DOCUMENT["components"]["schemas"].items():
        jsonschema.Draft202012Validator.check_schema(schema)
        if schema is not True and "description" not in schema and "oneOf" not in schema and not set(schema.get("properties", {})):
            raise AssertionError(f"the schema {name} says nothing of itself")
    closed = 0
    for at, n in schemas():
        name = at.split("/")[-1]
        if "object" in n.get("type", ()) and name not in FREE | MAPS and not at.endswith("/properties"):
            expect(n.get("additionalProperties"), False, f"{at} is closed")
            closed += 1
    expect(closed > 40, True, "closed objects were found")
    seen = set()
    for path, item in DOCUMENT["paths"].items():
        for method, op in item.items():
            where = f"{method} {path}"
            expect(method in METHODS, True, where)
            expect(op["operationId"] in seen, False, where + ": its operationId is its own")
            seen.add(op["operationId"])
            given = [(p["in"], p["name"]) for p in map(answers.resolve, op.get("parameters", []))]
            expect(sorted(n for i, n in given if i == "path"), sorted(re.findall(r"{(\w+)}", path)), where + ": path parameters")
            expect(len(set(given)), len(given), where + ": each parameter once")
            for s, answer in op["responses"].items():
                content = answers.resolve(answer).get("content", {})
                expect(bool(content), s not in ("101", "204"), f"{where} {s}: a body")
                if int(s) >= 400:
                    a_page_too = ["text/html"] if (path, method, s) == ("/v1/unsubscribe/{token}", "get", "404") else []
                    expect(list(content), ["application/problem+json", *a_page_too], f"{where} {s}")
            open_to_all = op.get("security") == []
            expect("401" in op["responses"], not open_to_all, where + ": 401")


def check_routes():
    """Every `struct route` is in the document, and the other way round. A path may be joined of macros and strings."""
    served = set()
    for file in sorted(f for f in glob.glob(os.path.join(TOP, "src", "*", "*.c")) if not f.endswith("_test.c")):
        text = source(os.path.relpath(file, TOP))
        macros = dict(re.findall(r'^#define (\w+) "([^"]*)"', text, re.M))
        for method, parts in re.findall(r'{\s*"(GET|PUT|POST|PATCH|DELETE)",\s*((?:\w+|"[^"]*")(?:\s+(?:\w+|"[^"]*"))*)\s*,', text):
            path = "".join(p[1:-1] if p[0] == '"' else macros[p] for p in re.findall(r'"[^"]*"|\w+', parts))
            served.add((method, path))
        declared = len(re.findall(r"\b(?:SCOPE_\w+|[RW]), TOKEN_(?:NEVER|SELF|ANY), SPECIAL_", text))
        expect(len(re.findall(r'{\s*"(?:GET|PUT|POST|PATCH|DELETE)",', text)) >= declared, True, file)
    said = {(m.upper(), p) for p, item in DOCUMENT["paths"].items() for m in item}
    expect(sorted(served - said), [], "served and not in the document")
    expect(sorted(said - served), [], "in the document and not served")
    expect(len(said) > 40, True)


def check_problems():
    """The codes, and which status has which, are those of surface.h."""
    table = {f"/problems/{c}": int(s) for c, s in re.findall(r'X\(\w+, "([\w-]+)", (\d+),', source("src/surface/surface.h"))}
    expect(sorted(DOCUMENT["components"]["schemas"]["Problem"]["properties"]["type"]["enum"]), sorted(table))
    for answer in DOCUMENT["components"]["responses"].values():
        schema = answer["content"]["application/problem+json"]["schema"]["allOf"][1]["properties"]
        status = schema["status"]["const"]
        expect(sorted(schema["type"]["enum"]), sorted(c for c, s in table.items() if s == status), f"the codes of {status}")


def lint():
    done = subprocess.run([os.path.join(TOP, "tool", "lint-openapi")], capture_output=True, text=True, timeout=200)
    print(done.stdout + done.stderr, end="")
    if done.returncode == 77:
        print("SKIPPED: the linter of the OpenAPI document; the rest is checked")
        return
    expect(done.returncode, 0, "the document is lint-free")


check_document()
check_routes()
check_problems()
lint()

# ---- the server, operation by operation
s = Server("--shards", "2", start=False)
with open(s.dir + "/providers.json", "w") as f:
    json.dump({"providers": [{"name": "mx", "channel": "email", "host": "localhost", "port": 9, "from": "no-reply@example.com", "public_url": "https://kith.example"}]}, f)
s.options += ("--providers", s.dir + "/providers.json")
s.start()
s.make_key()
called = {}  # operation: statuses seen


def call(method, path, body=None, key=None, headers=None):
    status, said = s.call(method, path, body, key, headers)
    op = answers.operation(method, path)[1]
    if op:
        called.setdefault(op["operationId"], set()).add(status)
    return status, said


def ok(status, method, path, body=None, **more):
    got, said = call(method, path, body, **more)
    expect(got, status, f"{method} {path}: {said}")
    return said


def refused(status, code, method, path, body=None, field=None, **more):
    got, said = call(method, path, body, **more)
    expect((got, said.get("type"), said.get("field")), (status, "/problems/" + code, field), f"{method} {path}: {said}")


def raw(text):
    """What the server says to these bytes: (status, headers, problem), checked as an answer to no operation."""
    with socket.create_connection(("127.0.0.1", s.http), timeout=20) as c:
        c.sendall(text)
        answer = http.client.HTTPResponse(c)
        answer.begin()
        said = json.loads(answer.read())
        answers.check_no_operation("raw", "", answer.status, answer.headers.get("Content-Type"), said, answer.status == 405)
        return answer.status, answer.headers, said


status, said = call("GET", "/openapi.json", headers={"Authorization": ""})
expect((status, said == DOCUMENT), (200, True), "the document that is served is the one in docs; was it built again?")
expect(ok(200, "GET", "/healthz", headers={"Authorization": ""}), {"status": "ok"})
expect(ok(200, "GET", "/readyz", headers={"Authorization": ""}), {"status": "ready"})

UPGRADE = {"Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13", "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==", "Sec-WebSocket-Protocol": "mqtt"}


def upgrade(status, **changed):
    """GET /mqtt by a client that leaves the header Connection as it is."""
    c = http.client.HTTPConnection("127.0.0.1", s.http, timeout=20)
    c.request("GET", "/mqtt", headers={**UPGRADE, **{k.replace("_", "-"): v for k, v in changed.items()}})
    answer = c.getresponse()
    text = answer.read()
    expect(answer.status, status, f"{changed}: {text}")
    answers.check("GET", "/mqtt", None, answer.status, answer.headers, json.loads(text) if text else text)
    called.setdefault("openWebSocket", set()).add(status)
    c.close()


upgrade(101)
upgrade(400, Sec_WebSocket_Key="short")
upgrade(400, Sec_WebSocket_Protocol="chat")
upgrade(403, Origin="https://evil.example")
upgrade(426, Sec_WebSocket_Version="8")
upgrade(426, Upgrade="h2c")
expect(b"kith_http_requests" in ok(200, "GET", "/metrics"), True)

# users
ANN = {"name": "Ann", "avatar": "https://example.org/ann.png", "locale": "pt-BR", "timezone": "Europe/Berlin", "email": "ann@example.org", "metadata": {"team": [1, {"x": None}]}}
made = ok(201, "PUT", "/v1/users/ann", ANN)
expect({k: made[k] for k in ANN}, ANN)
expect("email" in ok(200, "PUT", "/v1/users/ann", {"email": None}), False, "null clears")
expect(ok(200, "GET", "/v1/users/ann")["name"], "Ann", "absent stays")
for who in ("bob", "cid", "dan", "eve"):
    ok(201, "PUT", f"/v1/users/{who}", {"name": who.title()})
refused(400, "unknown-field", "PUT", "/v1/users/ann", {"nome": "x"}, "nome")
refused(400, "unknown-field", "PUT", "/v1/users/ann", {"x" + "\u00e9" * 40: 1}, "x" + "\u00e9" * 29)  # cut between characters
refused(400, "wrong-type", "PUT", "/v1/users/ann", {"name": 5}, "name")
refused(400, "wrong-type", "PUT", "/v1/users/ann", [])
refused(400, "malformed", "PUT", "/v1/users/ann", b"{")
refused(400, "malformed", "PUT", "/v1/users/ann")
refused(413, "too-large", "PUT", "/v1/users/ann", {"name": "x" * 257}, "name")
refused(422, "invalid-value", "PUT", "/v1/users/ann", {"email": "nobody"}, "email")
refused(422, "invalid-value", "PUT", "/v1/users/a%20b", {}, "id")
# what is wrong is said so that it can be put right
for words, said in ((b"\xff{}", "it is not UTF-8"), (b"[" * 66 + b"]" * 66, "it is nested deeper than 64"), (b"{\"a\": 1e999}", "a number in it"), (b"\xef\xbb\xbf{}", "byte order mark"),
                    (b"{\"a\": \"\\x\"}", "an escape"), (b"{\"a\": \"\n\"}", "a control character"), (b"{\"a", "does not end"), (b"{\"a\": 1,}", "missing, wrong or too much")):
    assert said in s.call("PUT", "/v1/users/ann", words)[1]["detail"], (words, s.call("PUT", "/v1/users/ann", words))
expect(s.call("POST", "/v1/users/ann/tokens", {"device": "d", "tll": "1h"})[1]["detail"], "this field is not known here; known: device, ttl")
refused(422, "invalid-value", "GET", "/v1/users/ann?user=a%20b", field="user")
refused(404, "not-found", "GET", "/v1/users/nobody")
refused(404, "not-found", "GET", "/v1/users/nobody/export")

# tokens and devices
tokens = {w: ok(201, "POST", f"/v1/users/{w}/tokens", {"device": w + "-1", "ttl": "2h"})["token"] for w in ("ann", "bob", "cid", "dan", "eve")}
ann, bob, cid, dan, eve = (tokens[w] for w in ("ann", "bob", "cid", "dan", "eve"))
refused(422, "invalid-value", "POST", "/v1/users/ann/tokens", {}, "device")
refused(422, "invalid-value", "POST", "/v1/users/ann/tokens", {"device": "d", "ttl": "366d"}, "ttl")
refused(400, "wrong-type", "POST", "/v1/users/ann/tokens", {"device": 1}, "device")
refused(403, "forbidden", "POST", "/v1/users/ann/tokens", {"device": "d"}, key=ann)
refused(401, "unauthorized", "POST", "/v1/users/ann/tokens", {"device": "d"}, headers={"Authorization": "Bearer nonsense"})
expect(sorted(ok(200, "GET", "/v1/users/ann", key=bob)), ["avatar", "id", "name"], "what others see")
PUSH = {"webpush": {"endpoint": "https://push.example.org/1", "keys": {"p256dh": "B" + "A" * 86, "auth": "A" * 22}}}
expect(ok(201, "PUT", "/v1/users/ann/devices/tab", {"push": PUSH}, key=ann), {"id": "tab", "push": True})
expect(ok(200, "PUT", "/v1/users/ann/devices/tab", {}), {"id": "tab", "push": True}, "absent stays")
for ends in (None, 1800000000000):  # JSON.stringify of a browser's PushSubscription has it
    expect(ok(200, "PUT", "/v1/users/ann/devices/tab", {"push": {"webpush": {**PUSH["webpush"], "expirationTime": ends}}}), {"id": "tab", "push": True})
expect(ok(200, "PUT", "/v1/users/ann/devices/tab")["push"], True)
expect(ok(200, "PUT", "/v1/users/ann/devices/tab", {"push": {"fcm": {"token": "t"}}})["push"], True)
expect(ok(200, "PUT", "/v1/users/ann/devices/tab", {"push": None})["push"], False, "null clears")
refused(400, "unknown-field", "PUT", "/v1/users/ann/devices/tab", {"push": {"pigeon": {}}}, "push.pigeon")
refused(400, "unknown-field", "PUT", "/v1/users/ann/devices/tab", {"push": {"apns": {"token": "t", "more": 1}}}, "push.apns.more")
expect(ok(200, "PUT", "/v1/users/ann/devices/tab", {"push": {"apns": {"token": "00fcFC13"}}})["push"], True)
for field, push in (("push.apns.token", {"apns": {"token": "00fc1"}}), ("push.apns.token", {"apns": {"token": "xy"}}), ("push.fcm.token", {"fcm": {"token": "a b"}}), ("push.fcm.token", {"fcm": {"token": ""}}),
                    ("push.webpush.endpoint", {"webpush": {**PUSH["webpush"], "endpoint": "http://push.example.org/1"}}), ("push.webpush.endpoint", {"webpush": {**PUSH["webpush"], "endpoint": "https:///1"}}),
                    ("push.webpush.keys.p256dh", {"webpush": {**PUSH["webpush"], "keys": {"p256dh": "A" * 87, "auth": "A" * 22}}}),
                    ("push.webpush.keys.p256dh", {"webpush": {**PUSH["webpush"], "keys": {"p256dh": "B" * 86, "auth": "A" * 22}}}),
                    ("push.webpush.keys.auth", {"webpush": {**PUSH["webpush"], "keys": {"p256dh": "B" + "A" * 86, "auth": "A" * 20}}})):
    refused(422, "invalid-value", "PUT", "/v1/users/ann/devices/tab", {"push": push}, field)
refused(422, "invalid-value", "PUT", "/v1/users/ann/devices/tab", {"push": {}}, "push")
refused(422, "invalid-value", "PUT", "/v1/users/ann/devices/tab", {"push": {"webpush": {"endpoint": "https://x.example"}}}, "push.webpush.keys")
refused(403, "forbidden", "PUT", "/v1/users/ann/devices/tab", {}, key=bob)
expect([d["id"] for d in ok(200, "GET", "/v1/users/ann/devices", key=ann)["items"]], ["ann-1", "tab"])
one = ok(200, "GET", "/v1/users/ann/devices?limit=1")
expect([d["id"] for d in ok(200, "GET", f"/v1/users/ann/devices?limit=1&cursor={one['next']}")["items"]], ["tab"])
refused(404, "not-found", "GET", "/v1/users/nobody/devices")
SINGLE = {"identity_key": "aWQ", "registration_id": 7, "signed_prekey": {"id": 1, "key": "c2s", "signature": "c2ln"}}
LAST = {"kem_last_resort": {"id": 9}, "key_package_last_resort": "bGFzdA"}
K = "/v1/users/ann/keys/"
refused(422, "invalid-value", "PUT", K + "tab", {"one_time_keys": ["x"]}, "identity_key")
expect(ok(201, "PUT", K + "tab", {**SINGLE, **LAST, "one_time_keys": [{"id": 2}], "kem_one_time_keys": ["k1"], "key_packages": ["p1", "p2"]}, key=ann),
       {"device": "tab", "one_time_keys": 1, "kem_one_time_keys": 1, "key_packages": 2})
ok(201, "PUT", K + "ann-1", {"identity_key": "b25l"}, key=ann)
refused(422, "invalid-value", "PUT", K + "tab", {"identity_key": None}, "identity_key")
refused(422, "limit-reached", "PUT", K + "tab", {"key_packages": list(range(201))}, "key_packages")
refused(413, "too-large", "PUT", K + "tab", {"identity_key": "x" * 9000}, "identity_key")
claim = lambda **more: {b.pop("device"): b for b in ok(200, "POST", K + "claim", key=bob, **more)["items"]}
expect(claim(body={"devices": ["tab", "tab", "other"]}), {"tab": {**SINGLE, "one_time_key": {"id": 2}, "kem_one_time_key": "k1", "key_package": "p1"}}, "one bundle a device")
expect(claim(), {"ann-1": {"identity_key": "b25l"}, "tab": {**SINGLE, "kem_last_resort": {"id": 9}, "key_package": "p2"}}, "each is handed out once")
expect(claim(body={"devices": ["tab"]}), {"tab": {**SINGLE, **LAST}}, "the last resorts stay")
expect(ok(200, "PUT", K + "tab", {"one_time_keys": ["n1", "n2"], "registration_id": None})["one_time_keys"], 2)
s.kill()
s.start()
expect(ok(200, "PUT", K + "tab", {}), {"device": "tab", "one_time_keys": 2, "kem_one_time_keys": 0, "key_packages": 0}, "absent stays, also after kill -9")
expect("registration_id" in claim(body={"devices": ["tab"]})["tab"], False, "null clears")
refused(422, "invalid-value", "POST", K + "claim", {"devices": ["no id"]}, "devices")
refused(404, "not-found", "POST", "/v1/users/nobody/keys/claim", {})
ok(204, "DELETE", "/v1/users/ann/devices/tab", key=ann)
ok(204, "DELETE", "/v1/users/ann/devices/tab")
refused(403, "forbidden", "DELETE", "/v1/users/ann/devices/ann-1", key=bob)

# relations
for rel in ("follows", "blocks", "mutes"):
    for other in ("dan", "eve"):
        expect(ok(201, "PUT", f"/v1/users/bob/{rel}/{other}", key=bob), {"id": other})
        ok(200, "PUT", f"/v1/users/bob/{rel}/{other}")
    if rel == "follows":
        eventually(lambda: expect(ok(200, "GET", "/v1/users/dan/followers", key=dan)["items"], [{"id": "bob"}]))
    page = ok(200, "GET", f"/v1/users/bob/{rel}?limit=1", key=bob)
    expect(page["items"], [{"id": "eve"}], "newest first")
    expect(ok(200, "GET", f"/v1/users/bob/{rel}?limit=1&cursor={page['next']}"), {"items": [{"id": "dan"}], "next": None})
    refused(422, "invalid-value", "GET", f"/v1/users/bob/{rel}?limit=201", field="limit")
    refused(400, "malformed", "GET", f"/v1/users/bob/{rel}?cursor=x", field="cursor")
    refused(410, "gone", "GET", f"/v1/users/bob/{rel}?cursor=1-1", field="cursor")
    refused(403, "forbidden", "GET", f"/v1/users/bob/{rel}", key=ann)
    refused(404, "not-found", "GET", f"/v1/users/nobody/{rel}")
    refused(422, "invalid-value", "PUT", f"/v1/users/bob/{rel}/bob", field="other")
    for other in ("dan", "eve", "eve"):
        ok(204, "DELETE", f"/v1/users/bob/{rel}/{other}", key=bob)
expect(ok(200, "GET", "/v1/users/bob/blocks")["items"], [])
refused(404, "not-found", "GET", "/v1/users/nobody/followers")
refused(410, "gone", "GET", "/v1/users/dan/followers?cursor=1-1", field="cursor")

# topics
expect(ok(201, "PUT", "/v1/topics/news/users/ann"), {"id": "ann"})
ok(200, "PUT", "/v1/topics/news/users/ann")
expect(ok(200, "POST", "/v1/topics/news/users", {"add": ["ann", "bob"], "remove": ["cid"]}), {"added": 1, "removed": 0})
expect(ok(200, "GET", "/v1/topics/news"), {"id": "news", "count": 2})
page = ok(200, "GET", "/v1/topics/news/users?limit=1")
rest = ok(200, "GET", f"/v1/topics/news/users?limit=1&cursor={page['next']}")
expect((sorted(u["id"] for u in page["items"] + rest["items"]), rest["next"]), (["ann", "bob"], None))
ok(201, "PUT", "/v1/topics/sport/users/ann")
expect(ok(200, "GET", "/v1/users/ann/topics", key=ann), {"items": [{"id": "sport"}, {"id": "news"}], "next": None})
for key, method, path in ((ann, "PUT", "/v1/topics/news/users/ann"), (ann, "DELETE", "/v1/topics/news/users/ann"), (ann, "POST", "/v1/topics/news/users"), (ann, "GET", "/v1/topics/news"),
                          (ann, "GET", "/v1/topics/news/users"), (bob, "GET", "/v1/users/ann/topics")):
    refused(403, "forbidden", method, path, {"add": ["ann"]} if method == "POST" else None, key=key)
ok(204, "DELETE", "/v1/topics/sport/users/ann")
ok(204, "DELETE", "/v1/topics/sport/users/ann")
refused(404, "not-found", "GET", "/v1/users/nobody/topics")
refused(400, "unknown-field", "POST", "/v1/topics/news/users", {"plus": []}, "plus")
refused(422, "invalid-value", "POST", "/v1/topics/news/users", {"add": ["a b"]}, "add")
refused(422, "invalid-value", "POST", "/v1/topics/news/users", {}, "add")
refused(422, "invalid-value", "POST", "/v1/topics/news/users", {"add": ["ann"], "remove": ["ann"]}, "remove")
refused(422, "limit-reached", "POST", "/v1/topics/news/users", {"add": [f"u{i}" for i in range(1001)]}, "add")
refused(410, "gone", "GET", "/v1/topics/news/users?cursor=1-1", field="cursor")
refused(410, "gone", "GET", "/v1/users/ann/topics?cursor=1-1", field="cursor")
refused(422, "invalid-value", "GET", "/v1/topics/a%20b", field="topic")

# notifications
N = "/v1/notifications"
LIKE = {"workflow": "like", "to": {"users": ["bob", "cid"]}, "actor": "ann", "object": "photo-1", "data": {"post": "Lake"}}
ok(201, "PUT", "/v1/workflows/like", {"channels": ["inapp"], "templates": {"en": {"title": "{actor} liked {post}", "body": "{count}"}}, "group_by": "object"})
expect(ok(202, "POST", N, {"id": "t1", **LIKE}), {"id": "t1", "recipients": 2})
expect(ok(202, "POST", N, {"id": "t1", **LIKE})["id"], "t1", "the same again")
eventually(lambda: expect([(n["id"], n["title"], n["body"], n["actors"]) for n in ok(200, "GET", "/v1/users/bob/notifications", key=bob)["items"]],
                          [("t1", "Ann liked Lake", "1", {"count": 1, "newest": ["ann"]})]))
ok(202, "POST", N, {**LIKE, "to": {"users": ["bob"]}, "actor": "dan", "send_at": None}, headers={"Idempotency-Key": "n1"})


def grouped():
    page = ok(200, "GET", "/v1/users/bob/notifications?state=unseen&limit=1")
    expect((page["items"][0]["actors"], page["next"], page["counts"]), ({"count": 2, "newest": ["dan", "ann"]}, None, {"unseen": 1, "unread": 1}))


eventually(grouped)
for mark, body, counts in (("seen", {"upto": "t1"}, (0, 1)), ("read", {"ids": ["t1", "none"]}, (0, 0)), ("clicked", {"ids": ["t1"]}, (0, 0)), ("archived", {"ids": ["t1"]}, (0, 0))):
    expect(ok(200, "POST", f"/v1/users/bob/notifications/{mark}", body, key=bob), {"changed": 1, "counts": dict(zip(("unseen", "unread"), counts))})
    refused(422, "invalid-value", "POST", f"/v1/users/bob/notifications/{mark}", {}, "ids", key=bob)
    refused(404, "not-found", "POST", f"/v1/users/bob/notifications/{mark}", {"upto": "none"}, "upto", key=bob)
    refused(403, "forbidden", "POST", f"/v1/users/bob/notifications/{mark}", {"ids": []}, key=ann)
expect(ok(200, "GET", "/v1/users/bob/notifications?state=archived")["items"][0]["id"], "t1")
refused(422, "invalid-value", "GET", "/v1/users/bob/notifications?state=new", field="state")
many = ok(202, "POST", N + "/batch", {"items": [{"id": "t2", **LIKE, "collapse_key": "k"}, {"workflow": "none", "to": {"everyone": True}}, {"workflow": "like", "to": {"users": []}}]})["items"]
expect([many[0]["id"], many[1]["type"], many[2]["type"]], ["t2", "/problems/not-found", "/problems/invalid-value"])
for field, change in (("to", {"to": {}}), ("to", {"to": {"everyone": False}}), ("expires_at", {"expires_at": "2020-01-01T00:00:00Z"}), ("send_at", {"send_at": "soon"}), ("data", {"data": {}})):
    refused(422, "invalid-value", "POST", N, {**LIKE, **change}, field)
refused(404, "not-found", "POST", N, {**LIKE, "workflow": "none"}, "workflow")
refused(409, "conflict", "POST", N, {**LIKE, "id": "t1", "object": "other"}, "id")
refused(413, "too-large", "POST", N, {**LIKE, "data": {"x": "x" * 17000}}, "data")
refused(400, "unknown-field", "POST", N, {**LIKE, "text": "x"}, "text")
refused(403, "forbidden", "POST", N, LIKE, key=ann)
refused(413, "too-large", "POST", N + "/batch", {"items": [LIKE] * 1001}, "items")
eventually(lambda: expect([ok(200, "GET", N + "/t1")[k] for k in ("recipients", "delivered", "state")], [2, 2, "sent"]))
why = ok(200, "GET", N + "/t1/why/bob")
expect([d["decision"] for d in why["items"]], ["delivered", "seen", "read", "clicked", "archived"])
expect("reason" in ok(200, "GET", N + "/t1/why/eve"), True, "nothing was decided")
refused(404, "not-found", "GET", N + "/none")
refused(404, "not-found", "GET", N + "/none/why/bob")
later = ok(202, "POST", N, {**LIKE, "to": {"topic": "news"}, "send_at": "2099-01-01T00:00:00.000Z"})["id"]
ok(204, "DELETE", f"{N}/{later}")
ok(204, "DELETE", f"{N}/{later}")
eventually(lambda: expect(ok(200, "GET", f"{N}/{later}")["state"], "cancelled"))
ok(202, "POST", N, {**LIKE, "to": {"followers_of": "dan"}})
notes = [e["notification"] for e in ok(200, "GET", "/v1/users/bob/mailbox?limit=200", key=bob)["items"] if e["type"] == "notification"]
expect([n["marked"] for n in notes if "marked" in n], ["seen", "read", "clicked", "archived"])
ok(202, "POST", N, {**LIKE, "to": {"users": ["cid"]}, "object": "photo-2"})
ok(204, "DELETE", N + "/" + ok(202, "POST", N, {**LIKE, "to": {"users": ["cid"]}, "object": "photo-3"})["id"])

# conversations
G = "/v1/conversations/g"
group = ok(201, "PUT", G, {"type": "group", "name": "G", "members": ["bob", "cid"], "metadata": {"a": 1}, "disappear_after": "7d", "history": "all"}, key=ann)
expect((group["member_count"], group["disappear_after"], group["history"], group["metadata"]), (3, "7d", "all", {"a": 1}))
group = ok(200, "PUT", G, {"name": None, "metadata": None, "disappear_after": None})
expect([k for k in ("name", "metadata", "disappear_after") if k in group], [], "null clears")
ok(200, "PUT", G, {"name": "G"})
expect(ok(200, "GET", G, key=bob)["name"], "G")
refused(400, "unknown-field", "PUT", G, {"colour": "red"}, "colour")
refused(400, "wrong-type", "PUT", G, {"members": "bob"}, "members")
refused(403, "forbidden", "PUT", G, {"name": "H"}, key=bob)
refused(404, "not-found", "PUT", G, {"name": "H"}, key=eve)
refused(404, "not-found", "GET", G, key=eve)
refused(409, "conflict", "PUT", G, {"type": "channel"}, "type")
refused(413, "too-large", "PUT", G, {"name": "x" * 257}, "name")
refused(422, "invalid-value", "PUT", "/v1/conversations/new", {}, "type")
refused(422, "invalid-value", "PUT", "/v1/conversations/new", {"type": "club"}, "type")
refused(422, "invalid-value", "PUT", G, {"disappear_after": "soon"}, "disappear_after")
refused(422, "limit-reached", "PUT", "/v1/conversations/new", {"type": "group", "members": [f"u{i}" for i in range(1025)]}, "members")
ok(201, "PUT", "/v1/conversations/ab", {"type": "direct", "members": ["ann", "bob"]})
ok(201, "PUT", "/v1/conversations/ch", {"type": "channel", "members": ["bob"]}, key=ann)

# members
expect(ok(201, "PUT", G + "/members/dan", {"role": "admin"}, key=ann), {"user": "dan", "role": "admin"})
expect(ok(200, "PUT", G + "/members/dan", {"role": "member"}, key=ann)["role"], "member")
expect(ok(200, "PUT", G + "/members/dan")["role"], "member")
page = ok(200, "GET", G + "/members?limit=3", key=bob)
rest = ok(200, "GET", f"{G}/members?cursor={page['next']}")
expect(sorted(m["user"] for m in page["items"] + rest["items"]), ["ann", "bob", "cid", "dan"])
refused(400, "unknown-field", "PUT", G + "/members/dan", {"rule": "admin"}, "rule")
refused(422, "invalid-value", "PUT", G + "/members/dan", {"role": "king"}, "role")
refused(403, "forbidden", "PUT", G + "/members/eve", {}, key=bob)
refused(403, "forbidden", "DELETE", G + "/members/ann", key=bob)
refused(404, "not-found", "PUT", G + "/members/eve", {}, key=eve)
refused(404, "not-found", "DELETE", "/v1/conversations/none/members/eve")
refused(404, "not-found", "GET", "/v1/conversations/none/members")
refused(400, "malformed", "GET", G + "/members?cursor=x", field="cursor")
refused(410, "gone", "GET", G + "/members?cursor=1-1", field="cursor")
refused(409, "conflict", "PUT", "/v1/conversations/ab/members/cid", {})
refused(409, "conflict", "DELETE", "/v1/conversations/ab/members/bob")
ok(204, "DELETE", G + "/members/dan", key=dan)
ok(204, "DELETE", G + "/members/dan", key=dan)

# messages
M = G + "/messages"
full = ok(201, "POST", M, {"id": "m1", "body": "hi", "data": {"k": [1, 2.5, None]}, "media": [{"url": "https://example.org/1"}, "m2"], "mentions": ["bob"]}, key=ann)
expect((full["seq"], full["from"], full["data"]["k"]), (1, "ann", [1, 2.5, None]))
expect(ok(201, "POST", M, {"id": "m1", "body": "hi", "data": {"k": [1, 2.5, None]}, "media": [{"url": "https://example.org/1"}, "m2"], "mentions": ["bob"]}, key=ann), full)
ok(201, "POST", M, {"id": "m2", "from": "bob", "body": "", "reply_to": "m1"})
ok(201, "POST", M, {"id": "m3", "ciphertexts": [{"user": "bob", "device": "bob-1", "data": "eA=="}, {"user": "ann", "device": "ann-1", "data": "eQ=="}]}, key=cid)
ok(201, "POST", M, {"data": None}, key=ann, headers={"Idempotency-Key": "k1"})
expect(ok(200, "GET", M + "/m3", key=bob)["ciphertexts"], [{"user": "bob", "device": "bob-1", "data": "eA=="}])
expect("ciphertexts" in ok(200, "GET", M + "/m3", key=cid), False)
expect(len(ok(200, "GET", M + "/m3")["ciphertexts"]), 2)
refused(400, "unknown-field", "POST", M, {"text": "x"}, "text", key=ann)
refused(400, "malformed", "POST", M, b"\xff", key=ann)
refused(401, "unauthorized", "POST", M, {"body": "x"}, headers={"Authorization": ""})
refused(403, "forbidden", "POST", M, {"body": "x", "from": "bob"}, "from", key=ann)
refused(403, "not-a-member", "POST", M, {"body": "x", "from": "eve"}, "from")
refused(403, "forbidden", "POST", "/v1/conversations/ch/messages", {"body": "x"}, key=bob)
refused(404, "not-found", "POST", M, {"body": "x"}, key=eve)
refused(409, "conflict", "POST", M, {"id": "m1", "body": "other"}, "id", key=ann)
refused(413, "too-large", "POST", M, {"body": "x" * 65537}, "body", key=ann)
refused(413, "too-large", "POST", M, {"body": "x" * 40000, "data": "y" * 40000}, key=ann)
refused(422, "invalid-value", "POST", M, {}, "body", key=ann)
refused(422, "invalid-value", "POST", M, {"body": "x"}, "from")
refused(422, "invalid-value", "POST", M, {"body": "x", "reply_to": "none"}, "reply_to", key=ann)
refused(422, "invalid-value", "POST", M, {"body": "x", "id": "no id"}, "id", key=ann)
refused(422, "invalid-value", "POST", M, {"ciphertexts": [{"user": "bob"}]}, "ciphertexts", key=ann)
expect([m["seq"] for m in ok(200, "GET", M, key=bob)["items"]], [4, 3, 2, 1])
page = ok(200, "GET", M + "?after=1&limit=2")
expect([m["seq"] for m in page["items"]], [2, 3])
expect([m["seq"] for m in ok(200, "GET", f"{M}?cursor={page['next']}")["items"]], [4])
expect([m["seq"] for m in ok(200, "GET", M + "?before=3")["items"]], [2, 1])
refused(400, "malformed", "GET", M + "?before=x", field="before")
refused(400, "malformed", "GET", M + "?cursor=x", field="cursor")
refused(410, "gone", "GET", M + "?cursor=a1-1", field="cursor")
refused(422, "invalid-value", "GET", M + "?before=1&after=1", field="after")
refused(422, "invalid-value", "GET", M + "?limit=0", field="limit")
refused(404, "not-found", "GET", M, key=eve)
refused(404, "not-found", "GET", M + "/none", key=bob)
expect([m["id"] for m in ok(200, "GET", M + "/m1/replies", key=bob)["items"]], ["m2"])
refused(404, "not-found", "GET", M + "/none/replies")
refused(410, "gone", "GET", M + "/m1/replies?cursor=b1-1", field="cursor")
edited = ok(200, "PATCH", M + "/m1", {"body": "ho", "media": None}, key=ann)
expect((edited["body"], "media" in edited, "edited_at" in edited), ("ho", False, True))
refused(400, "unknown-field", "PATCH", M + "/m1", {"from": "bob"}, "from", key=ann)
refused(403, "forbidden", "PATCH", M + "/m1", {"body": "x"}, key=bob)
refused(404, "not-found", "PATCH", M + "/none", {"body": "x"}, key=ann)
refused(422, "invalid-value", "PATCH", M + "/m1", {"body": None, "data": None}, "body", key=ann)
ok(200, "PATCH", M + "/m1", {"data": "y" * 40000}, key=ann)
refused(413, "too-large", "PATCH", M + "/m1", {"body": "x" * 40000}, key=ann)
THUMB = M + "/m1/reactions/%F0%9F%91%8D"
expect(ok(201, "PUT", THUMB, key=bob), {"message": "m1", "user": "bob", "emoji": "\U0001F44D"})
ok(200, "PUT", THUMB + "?user=bob")
ok(201, "PUT", M + "/m1/reactions/%22", key=cid)
expect(ok(200, "GET", M + "/m1")["reactions"], {"\U0001F44D": 1, '"': 1})
refused(422, "invalid-value", "PUT", THUMB, field="user")
refused(422, "invalid-value", "PUT", M + "/m1/reactions/" + "x" * 65, field="emoji", key=bob)
refused(404, "not-found", "PUT", M + "/none/reactions/x", key=bob)
ok(204, "DELETE", THUMB, key=bob)
ok(204, "DELETE", THUMB, key=bob)
refused(404, "not-found", "DELETE", M + "/none/reactions/x", key=bob)
refused(403, "forbidden", "DELETE", M + "/m1", key=bob)
refused(404, "not-found", "DELETE", M + "/none", key=ann)
ok(204, "DELETE", M + "/m1", key=ann)
ok(204, "DELETE", M + "/m1", key=ann)
expect(sorted(ok(200, "GET", M + "/m1", key=bob)), ["conversation", "deleted_at", "id", "seq"])

# receipts, typing, presence
expect(ok(200, "POST", G + "/receipts", {"read": 3}, key=bob), {"user": "bob", "delivered": 3, "read": 3})
refused(400, "unknown-field", "POST", G + "/receipts", {"seen": 3}, "seen", key=bob)
refused(400, "wrong-type", "POST", G + "/receipts", {"read": 1.5}, "read", key=bob)
refused(404, "not-found", "POST", G + "/receipts", {"read": 3}, key=eve)
refused(422, "invalid-value", "POST", G + "/receipts", {"read": 99}, "read", key=bob)
refused(422, "invalid-value", "POST", G + "/receipts", {"read": 1}, "user")
refused(422, "invalid-value", "POST", G + "/receipts", {}, "read", key=bob)
page = ok(200, "GET", G + "/receipts?limit=1", key=ann)
expect(page["items"], [{"user": "bob", "delivered": 3, "read": 3}], "newest readers first")
expect(len(ok(200, "GET", f"{G}/receipts?cursor={page['next']}")["items"]), 2)
refused(404, "not-found", "GET", G + "/receipts", key=eve)
refused(410, "gone", "GET", G + "/receipts?cursor=1-1", field="cursor")
ok(204, "POST", G + "/typing", key=bob)
ok(204, "POST", G + "/typing?user=bob")
refused(422, "invalid-value", "POST", G + "/typing", field="user")
refused(404, "not-found", "POST", G + "/typing", key=eve)
ok(204, "PUT", "/v1/users/bob/presence", {"online": True}, key=bob)
refused(422, "invalid-value", "PUT", "/v1/users/bob/presence", {}, "online", key=bob)
refused(400, "wrong-type", "PUT", "/v1/users/bob/presence", {"online": 1}, "online", key=bob)
refused(403, "forbidden", "PUT", "/v1/users/bob/presence", {"online": True}, key=ann)

# channel rules, and sessions
P = "/v1/users/ann/preferences"
expect(ok(200, "GET", P, key=ann), {"workflows": {}})
wishes = ok(200, "PUT", P, {"workflows": {"likes": {"push": False}, "*": {"email": False}}, "quiet_hours": {"from": "22:00", "to": "07:30", "days": ["sun", "mon"]},
                            "paused_until": "2100-01-01T00:00:00.000Z"}, key=ann)
expect(ok(200, "GET", P), wishes)
expect(ok(200, "PUT", P, {"workflows": None, "quiet_hours": None, "paused_until": None}), {"workflows": {}})
refused(422, "invalid-value", "PUT", P, {"quiet_hours": {"from": "22:00", "to": "22:00"}}, "quiet_hours.to")
refused(400, "unknown-field", "PUT", P, {"workflows": {"likes": {"fax": True}}}, "workflows.likes.fax")
refused(403, "forbidden", "GET", P, key=bob)
refused(404, "not-found", "GET", "/v1/users/nobody/preferences")
H = "/v1/webhooks/ops"
hook = ok(201, "PUT", H, {"url": "https://example.com/", "events": ["*"]})
expect(ok(200, "GET", H), hook)
expect(ok(200, "PUT", H, {"events": ["message.created"], "rotate_secret": True})["events"], ["message.created"])
expect(ok(200, "GET", "/v1/webhooks")["items"], [{"id": "ops", "url": "https://example.com/", "events": ["message.created"]}])
refused(422, "invalid-value", "PUT", H, {"url": "http://example.com/"}, "url")
refused(403, "forbidden", "GET", H, key=ann)
refused(404, "not-found", "GET", "/v1/webhooks/none")
ok(204, "DELETE", H)
# nobody sends to iPhones here: what is for one is given up, and can be sent again
ok(201, "PUT", "/v1/workflows/ring", {"channels": ["push"], "templates": {"en": {"title": "ring"}}})
ok(201, "PUT", "/v1/users/bob/devices/ringing", {"push": {"apns": {"token": "00fc13"}}})
ok(202, "POST", "/v1/notifications", {"workflow": "ring", "to": {"users": ["bob"]}})
eventually(lambda: expect([x["reason"] for x in ok(200, "GET", "/v1/dead-letters")["items"]], ["no provider of this channel is configured"]))
letter = f"/v1/dead-letters/{ok(200, 'GET', '/v1/dead-letters')['items'][0]['id']}/retry"
refused(403, "forbidden", "POST", letter, key=bob)
expect(ok(202, "POST", letter)["state"], "sending")
refused(404, "not-found", "POST", "/v1/dead-letters/none/retry")
refused(422, "invalid-value", "GET", "/v1/dead-letters?limit=0", field="limit")
refused(403, "forbidden", "GET", "/v1/dead-letters", key=bob)
W = "/v1/workflows/likes"
likes = ok(201, "PUT", W, {"channels": ["inapp", "email"], "templates": {"en": {"title": "{actor} liked {object}", "html": "<b>{note}</b>"}}, "priority": "high",
                           "data": {"note": "text"}, "group_by": ["object", "data.note"], "digest": {"window": "1h", "first_at_once": True}, "cap": {"count": 2, "per": "day"},
                           "escalate": [{"after": "10m", "to": "push"}], "expires_after": "7d", "relevance": {"mode": "learned", "explore": 0.1}})
expect(ok(200, "PUT", W, {"group_by": None, "relevance": "learned"})["relevance"], "learned")
expect("group_by" in ok(200, "GET", W), False)
expect(ok(200, "GET", "/v1/workflows")["items"][0]["id"], "likes")
expect(ok(200, "POST", W + "/preview", {"locale": "de", "data": {"note": "<3", "actor": "Zo"}, "object": "it"})["templates"]["html"], "<b>&lt;3</b>")
refused(422, "invalid-value", "PUT", W, {"channels": ["fax"]}, "channels")
refused(400, "unknown-field", "PUT", W, {"chanels": []}, "chanels")
refused(404, "not-found", "GET", "/v1/workflows/none")
refused(404, "not-found", "POST", "/v1/workflows/none/preview", {})
refused(403, "forbidden", "PUT", W, {}, key=ann)
refused(400, "malformed", "GET", "/v1/workflows?cursor=x", field="cursor")
refused(410, "gone", "GET", "/v1/workflows?cursor=1-1-a", field="cursor")
ok(204, "DELETE", W)

ok(201, "PUT", "/v1/channel-rules/r", {"topic": "news/#", "publish": False, "subscribe": "*"})
ok(200, "PUT", "/v1/channel-rules/r", {"publish": ["ann"]})
expect(ok(200, "GET", "/v1/channel-rules/r"), {"id": "r", "topic": "news/#", "publish": ["ann"], "subscribe": True})
expect(ok(200, "GET", "/v1/channel-rules"), {"items": [{"id": "r", "topic": "news/#", "publish": ["ann"], "subscribe": True}], "next": None})
refused(422, "invalid-value", "PUT", "/v1/channel-rules/r", {"topic": "$SYS/#"}, "topic")
refused(400, "wrong-type", "PUT", "/v1/channel-rules/r", {"publish": 1}, "publish")
refused(404, "not-found", "GET", "/v1/channel-rules/none")
refused(403, "forbidden", "PUT", "/v1/channel-rules/r", {"topic": "a"}, key=ann)
ok(204, "DELETE", "/v1/channel-rules/r")
expect(ok(200, "GET", "/v1/sessions"), {"items": [], "next": None})
refused(400, "malformed", "GET", "/v1/sessions?cursor=x", field="cursor")
expect(ok(200, "GET", "/v1/doctor")["status"] in ("ok", "warning"), True)
expect(set(ok(200, "GET", "/v1/slow?limit=3")), {"items", "causes", "slow", "done", "since"})
refused(422, "invalid-value", "GET", "/v1/slow?limit=0", field="limit")
refused(403, "forbidden", "GET", "/v1/doctor", key=bob)
expect(len(ok(200, "GET", "/v1/push/key", key=bob)["webpush"]), 87, "65 bytes")
refused(401, "unauthorized", "GET", "/v1/push/key", key="none")
flow = ok(200, "GET", "/v1/flow")
expect(len(flow["partitions"]), 64)
refused(400, "malformed", "GET", "/v1/flow?since=x", field="since")
refused(403, "forbidden", "GET", "/v1/flow", key=bob)
expect(ok(200, "GET", "/v1/users/ann/sessions")["items"], [])
refused(404, "not-found", "GET", "/v1/users/nobody/sessions")
refused(422, "invalid-value", "GET", "/v1/users/a%20b/sessions", field="id")
refused(403, "forbidden", "GET", "/v1/users/bob/sessions", key=bob)
ok(204, "DELETE", "/v1/sessions/none?user=ann")
refused(422, "invalid-value", "DELETE", "/v1/sessions/none?user=a%20b", field="user")

# what a user has of it: every kind of entry comes to pass
ok(200, "PUT", "/v1/users/bob/conversations/g", {"muted_until": "2099-01-01T00:00:00.000Z", "archived": True}, key=bob)
row = [r for r in ok(200, "GET", "/v1/users/bob/conversations", key=bob)["items"] if r["id"] == "g"][0]
expect((row["muted_until"], row["archived"], row["read"]), ("2099-01-01T00:00:00.000Z", True, 3))
expect(ok(200, "PUT", "/v1/users/bob/conversations/g", {"muted_until": None, "archived": None}), {"id": "g", "archived": False})
page = ok(200, "GET", "/v1/users/bob/conversations?limit=1")
expect(len(ok(200, "GET", f"/v1/users/bob/conversations?cursor={page['next']}")["items"]), 2)
ok(201, "PUT", "/v1/conversations/journeys", {"type": "group", "members": ["ann", "bob"]})
ok(201, "POST", "/v1/conversations/journeys/messages", {"id": "where", "from": "ann", "body": "x"})
expect(ok(200, "GET", "/v1/items/where/journey")["conversation"], "journeys")
refused(404, "not-found", "GET", "/v1/items/nowhere/journey", field="conversation")
refused(422, "invalid-value", "GET", "/v1/items/where/journey?conversation=%20", field="conversation")
refused(403, "forbidden", "GET", "/v1/items/where/journey", key=bob)
refused(400, "unknown-field", "PUT", "/v1/users/bob/conversations/g", {"pinned": True}, "pinned")
refused(404, "not-found", "PUT", "/v1/users/bob/conversations/none", {})
refused(422, "invalid-value", "PUT", "/v1/users/bob/conversations/g", {"muted_until": "tomorrow"}, "muted_until")
refused(400, "malformed", "GET", "/v1/users/bob/conversations?cursor=x", field="cursor")
refused(410, "gone", "GET", "/v1/users/bob/conversations?cursor=1-1-g", field="cursor")
refused(403, "forbidden", "GET", "/v1/users/bob/conversations", key=ann)
ok(204, "DELETE", G + "/members/cid", key=ann)


def entries(who, key):
    found, cursor = [], ""
    while cursor is not None:
        page = ok(200, "GET", f"/v1/users/{who}/mailbox?limit=5" + (f"&cursor={cursor}" if cursor else ""), key=key)
        found, cursor = found + page["items"], page["next"]
    return found


def every_kind():
    found = {(e["type"], e["event"]) for e in entries("ann", ann) + entries("cid", None)}
    kinds = [("conversation", "created"), ("conversation", "deleted"), ("message", "created"), ("message", "deleted"), ("message", "updated"),
             ("notification", "created"), ("notification", "deleted"), ("notification", "updated"), ("receipt", "updated")]
    expect(sorted(found), kinds)


eventually(every_kind)
refused(400, "malformed", "GET", "/v1/users/ann/mailbox?cursor=x", field="cursor")
refused(410, "gone", "GET", "/v1/users/ann/mailbox?cursor=1-1", field="cursor")
refused(403, "forbidden", "GET", "/v1/users/ann/mailbox", key=bob)
refused(401, "unauthorized", "GET", "/v1/users/ann/mailbox", headers={"Authorization": "Basic eDp5"})


# the stream: its events are entries of the mailbox, and go on after the last one seen
def stream(after=None, by_query=False):
    c = http.client.HTTPConnection("127.0.0.1", s.http, timeout=20)
    headers = {} if by_query else {"Authorization": "Bearer " + ann}
    if after:
        headers["Last-Event-ID"] = after
    c.request("GET", "/v1/users/ann/stream" + ("?access_token=" + ann if by_query else ""), headers=headers)
    answer = c.getresponse()
    expect((answer.status, answer.headers["Content-Type"]), (200, "text/event-stream"))
    called.setdefault("streamMailbox", set()).add(200)
    return c, answer


def events(answer, n):
    found, event = [], {}
    while len(found) < n:
        line = answer.readline().decode().rstrip("\n")
        if line and not line.startswith(":"):
            name, value = line.split(": ", 1)
            event[name] = value
        elif event:
            entry = json.loads(event["data"])
            expect(answers.faults(DOCUMENT["components"]["schemas"]["MailboxEntry"], entry), [], "an event")
            expect((event["id"], event["event"]), (entry["cursor"], entry["type"]))
            found.append(entry)
            event = {}
    return found


c, answer = stream()
ok(201, "POST", M, {"id": "s1", "body": "live"}, key=bob)
ok(201, "POST", M, {"id": "s2", "body": "live"}, key=bob)
got = events(answer, 2)
expect([e["message"]["id"] for e in got], ["s1", "s2"])
c.close()
c, answer = stream(got[0]["cursor"], True)
expect(events(answer, 1)[0]["message"]["id"], "s2")
c.close()
refused(400, "malformed", "GET", "/v1/users/ann/stream", field="Last-Event-ID", headers={"Last-Event-ID": "x"})
refused(410, "gone", "GET", "/v1/users/ann/stream", field="Last-Event-ID", headers={"Last-Event-ID": "1-1"})
refused(403, "forbidden", "GET", "/v1/users/ann/stream", key=bob)
refused(401, "unauthorized", "GET", "/v1/users/ann/mailbox?access_token=" + ann, headers={"Authorization": ""})

# blocks
ok(201, "PUT", "/v1/users/ann/blocks/bob", key=ann)
eventually(lambda: refused(403, "blocked", "POST", "/v1/conversations/ab/messages", {"body": "x"}, key=bob))
expect(sorted(ok(200, "GET", M + "/s1", key=ann)), ["conversation", "hidden", "id", "seq"])

# keys without the scope, what reaches no operation, and what is not well-formed
from harness import KITH
reader = subprocess.check_output([KITH, "key", "create", "--data", s.data, "--name", "r", "--app", "demo", "--scope", "read"], text=True).strip()
eventually(lambda: ok(200, "GET", "/v1/users/ann", key=reader))
refused(403, "forbidden", "PUT", "/v1/users/ann", {}, key=reader)
refused(403, "forbidden", "GET", "/metrics", key=reader)
refused(403, "forbidden", "GET", "/metrics", key=ann)
expect(call("GET", "/v1/nothing")[0], 404)
expect(call("DELETE", "/v1/users/ann/mailbox")[0], 405)
status, headers, said = raw(b"PATCH /v1/users/ann HTTP/1.1\r\nHost: x\r\n\r\n")
expect((status, headers["Allow"]), (405, "PUT, GET, HEAD, DELETE"))
expect(raw(b"NONSENSE\r\n\r\n")[0] in (400, 501), True)
expect(raw(b"GET /healthz HTTP/1.1\r\n\r\n")[0], 400, "no Host")
expect(raw(b"GET /" + b"x" * 17000 + b" HTTP/1.1\r\nHost: x\r\n\r\n")[0], 414)
expect(raw(b"GET /healthz HTTP/1.1\r\nHost: x\r\nX: " + b"x" * 17000 + b"\r\n\r\n")[0], 431)
expect(raw(b"PUT /v1/users/ann HTTP/1.1\r\nHost: x\r\nContent-Length: 1048577\r\n\r\n")[0], 413)

# a link in a mail, as docs/format/outward.md says
with open(s.data + "/keys/unsubscribe.key") as f:
    key = base64.urlsafe_b64decode(f.read().strip() + "=")
token = b"\x01\x04demo\x03ann\x04news"
link = "/v1/unsubscribe/" + base64.urlsafe_b64encode(token + hmac.new(key, token, hashlib.sha256).digest()).decode().rstrip("=")
for method in ("GET", "POST"):
    assert b"<bdi>news</bdi>" in ok(200, method, link, headers={"Authorization": ""})
    refused(404, "not-found", method, link + "x", headers={"Authorization": ""})
expect(ok(200, "GET", "/v1/users/ann/preferences")["workflows"]["news"], {"email": False})

# the end of a user
export = ok(200, "GET", "/v1/users/ann/export")
expect((export["user"]["name"], export["blocks"], sorted(p["id"] for p in export["conversations"])), ("Ann", ["bob"], ["ab", "ch", "g", "journeys"]))
refused(403, "forbidden", "DELETE", "/v1/users/ann", key=ann)
ok(204, "DELETE", "/v1/users/ann")
ok(204, "DELETE", "/v1/users/ann")
refused(404, "not-found", "GET", "/v1/users/ann")
refused(401, "unauthorized", "GET", "/v1/users/ann", key=ann)

# a caller that asks too often is told when to come back; the answer's headers are checked with it
slow = Server("--shards", "1", "--rate", "1", "--rate-burst", "2")
statuses = [slow.call("GET", "/v1/users/ann")[0] for _ in range(4)]
expect((statuses[0], statuses[-1]), (404, 429))
slow.close()

# nothing was left out
operations = {op["operationId"]: op for item in DOCUMENT["paths"].values() for op in item.values()}
for name, op in operations.items():
    good = {int(x) for x in op["responses"] if int(x) < 300}
    expect(sorted(good - called.get(name, set())), [], f"{name}: successes that never came")
print(f"{len(operations)} operations, {sum(map(len, called.values()))} kinds of answers")
s.close()
