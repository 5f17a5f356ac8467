"""Webhooks: where an app's own servers hear of what happens: their shape, their secrets and how one takes another's place."""
import subprocess

import harness
from harness import Server, eventually, expect

s = Server("--shards", "2")
H = "/v1/webhooks/ops"


def ok(status, method, path, body=None, **more):
    got, said = s.call(method, path, body, **more)
    expect(got, status, f"{method} {path}: {said}")
    return said


def refused(status, field, body, path=H):
    got, said = s.call("PUT", path, body)
    expect((got, said.get("field", "")), (status, field), f"{body}: {said}")
    assert len(said["detail"]) > 15, said


refused(422, "url", {"events": ["*"]})
expect(s.call("GET", H)[0], 404)
made = ok(201, "PUT", H, {"url": "https://example.com/hook?x=1", "events": ["notification.read", "notification.sent"]})
assert made["secret"].startswith("whsec_") and len(made["secret"]) > 40, made
expect({k: v for k, v in made.items() if k != "secret"}, {"id": "ops", "url": "https://example.com/hook?x=1", "events": ["notification.sent", "notification.read"]})
expect(ok(200, "GET", H), made)
expect(ok(200, "PUT", H, {}), made, "absent fields stay, the secret too")
expect(ok(200, "PUT", H, {"events": ["*"]})["events"], ["*"])
expect(ok(200, "PUT", H, {"events": ["message.created"], "url": "https://example.com"}), {**made, "events": ["message.created"], "url": "https://example.com"})
expect(ok(200, "PUT", H, {"events": None, "rotate_secret": False})["events"], ["*"])
rotated = ok(200, "PUT", H, {"rotate_secret": True})
assert rotated["secret"] != made["secret"] and rotated["old_secret_until"] > "2020", rotated
expect(ok(200, "GET", H), rotated)
for url in ("http://example.com/", "ftp://example.com/", "https://", "https:///x", "https://a b/", "https://user@example.com/", "https://example.com/#x", "https://example.com:0/",
            "https://example.com:65536/", "https://example.com:x/", "https://ex\u00e4mple.com/", "https://example.com/\n", "https://[::1", "example.com", "", "http://127.0.0.1:8080/",
            "https://example.com\\@other/", "https://[::1]x/"):
    refused(422, "url", {"url": url})
for url in ("https://example.com:8443/a/b?c=d&e=%20", "https://[2001:db8::1]:444/", "https://10.0.0.1/", "https://a_b.example"):
    expect(ok(200, "PUT", H, {"url": url})["url"], url)
for status, field, body in ((400, "x", {"x": 1}), (400, "url", {"url": None}), (400, "url", {"url": 1}), (413, "url", {"url": "https://example.com/" + "x" * 2048}), (400, "events", {"events": "*"}),
                            (422, "events", {"events": []}), (422, "events", {"events": ["notification.lost"]}), (400, "events", {"events": [1]}), (400, "rotate_secret", {"rotate_secret": "yes"}),
                            (400, "secret", {"secret": "whsec_x"})):
    refused(status, field, body)

# a list shows no secrets; an app has so many
for i in range(31):
    ok(201, "PUT", f"/v1/webhooks/h{i}", {"url": f"https://example.com/{i}"})
refused(422, "", {"url": "https://example.com/"}, "/v1/webhooks/one-more")
first = ok(200, "GET", "/v1/webhooks?limit=20")
rest = ok(200, "GET", "/v1/webhooks?limit=20&cursor=" + first["next"])
expect([w["id"] for w in first["items"] + rest["items"]], [f"h{i}" for i in range(30, -1, -1)] + ["ops"])
expect((rest["next"], any("secret" in w for w in first["items"])), (None, False))
for i in range(31):
    ok(204, "DELETE", f"/v1/webhooks/h{i}")
ok(204, "DELETE", "/v1/webhooks/h0")

# who may, and what a death leaves
ok(201, "PUT", "/v1/users/ann", {})
token = s.token("ann", "phone")
for method, path, body in (("GET", H, None), ("PUT", H, {}), ("DELETE", H, None), ("GET", "/v1/webhooks", None)):
    expect(s.call(method, path, body, key=token)[0], 403, f"{method} with a device's token")
before = ok(200, "GET", H)
s.kill()
s.start()
expect(ok(200, "GET", H), before)
expect(len(ok(200, "GET", "/v1/webhooks")["items"]), 1)
s.stop()
s.check()

# --dev takes those of private networks without TLS, and no others
dev = Server("--dev")
for i, url in enumerate(("http://127.0.0.1:8080/hook", "http://localhost/hook", "http://10.1.2.3/", "http://172.31.0.1/", "http://app:3000/x", "http://[::1]:80/", "http://hooks.internal/")):
    status, said = dev.call("PUT", H, {"url": url})
    expect(status, 200 if i else 201, said)
for url in ("http://127.0.0.1.example.com/", "http://172.32.0.1/", "http://1721.1.1.1/", "http://8.8.8.8/", "http://example.com", "http://[2001:db8::1]/", "http://internal.example/"):
    expect(dev.call("PUT", H, {"url": url})[0], 422, url)
dev.close()
print("webhooks: all as promised")
