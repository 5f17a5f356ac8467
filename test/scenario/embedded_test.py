"""Pages that are in the program: whole, typed and tagged; the demo's under --dev only; and what the demo's page is given is given to no other page, name or method."""
import http.client, os, subprocess, sys, tempfile

import harness
from harness import Server, eventually, expect

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path.insert(0, os.path.join(ROOT, "test", "web"))
from browser import Dev  # noqa: E402  (it starts no browser)


def ask(port, method, path, body=None, **headers):
    c = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    c.putrequest(method, path, skip_host="Host" in headers)
    for name, value in headers.items():
        c.putheader(name.replace("_", "-"), value)
    if body is not None:
        c.putheader("Content-Length", str(len(body)))
    c.endheaders(body)
    answer = c.getresponse()
    got = answer.status, answer.headers, answer.read()
    c.close()
    return got


def every_file(port):
    """Each is served at its place, byte by byte; a browser that has it is told so."""
    files = subprocess.check_output(["sh", os.path.join(ROOT, "tool", "sources"), "pages"], text=True).split()
    wheres = subprocess.check_output([os.path.join(ROOT, "tool", "pages"), "--where", *files], text=True, cwd=ROOT).split()
    for file, where in zip(files, wheres):
        status, headers, body = ask(port, "GET", "/" + where)
        expect((status, body == open(os.path.join(ROOT, file), "rb").read()), (200, True), where)
        kind = {"html": "text/html; charset=utf-8", "js": "text/javascript; charset=utf-8", "css": "text/css; charset=utf-8", "svg": "image/svg+xml"}
        expect(headers["Content-Type"], kind[where.rsplit(".", 1)[1]], where)
        policy = headers["Content-Security-Policy"]
        assert all(p in policy for p in ("default-src 'self'", "frame-ancestors 'none'", "base-uri 'none'")) and "unsafe" not in policy, policy
        expect([headers[n] for n in ("Cache-Control", "X-Content-Type-Options", "Referrer-Policy")], ["no-cache", "nosniff", "no-referrer"])
        expect(ask(port, "HEAD", "/" + where)[1]["Content-Length"], str(len(body)))
        for tag in headers["ETag"], 'W/"x", W/' + headers["ETag"]:
            status, again, nothing = ask(port, "GET", "/" + where, If_None_Match=tag)
            expect((status, nothing, again["ETag"]), (304, b"", headers["ETag"]))
        expect(ask(port, "GET", "/" + where, If_None_Match='"of before"')[0], 200)
    return wheres


def the_demo(port):
    expect(ask(port, "GET", "/")[2], ask(port, "GET", "/demo/index.html")[2])
    expect(ask(port, "GET", "/demo")[2], ask(port, "GET", "/demo/")[2])
    expect(ask(port, "GET", "/favicon.ico")[1]["Content-Type"], "image/svg+xml")
    status, headers, _ = ask(port, "POST", "/")
    expect((status, headers["Allow"]), (405, "GET, HEAD"))
    for none in "/demo/none", "/demo%2Findex.html", "/demo/../console", "/web/demo/index.html", "/demo/index.html/":
        expect(ask(port, "GET", none)[0], 404, none)


def tokens(port, key):
    path, own = "/demo/api/users/ann/tokens?device=ann-tab", f"http://127.0.0.1:{port}"
    status, _, said = ask(port, "POST", path, Origin=own)
    expect(status, 201, said)
    for site in "same-site", "cross-site", "none":
        expect(ask(port, "POST", path, Origin=own, Sec_Fetch_Site=site)[0], 403, site)
    for origin in "http://evil.example", f"http://localhost:{port}", "http://127.0.0.1:1", "http://127.0.0.1", "null", own + ".evil.example":
        expect(ask(port, "POST", path, Origin=origin)[0], 403, origin)
        expect(ask(port, "POST", path, Origin=origin, Sec_Fetch_Site="same-origin")[0], 403, origin)
    expect(ask(port, "POST", path)[0], 403, "who is no page asks with a key")
    expect(ask(port, "POST", path, Host="evil.example", Origin="http://evil.example")[0], 403, "a name that was bound to this address")
    expect(ask(port, "POST", "/demo/api/users/ann/tokens?device=a%22b", Origin=own)[0], 422)
    expect(ask(port, "POST", "/demo/api/users/ann/tokens", Origin=own)[0], 422)
    trigger = "/demo/api/notifications?what=like&to=ann&actor=bob"
    expect(ask(port, "POST", trigger, Origin=own)[0], 202)
    expect(ask(port, "POST", trigger, Origin="http://evil.example")[0], 403)
    expect(ask(port, "POST", trigger)[0], 403)
    for wrong in ("what=like&to=a%22b&actor=bob", "what=like&to=ann&actor=", "what=all&to=ann&actor=bob", "to=ann&actor=bob"):
        expect(ask(port, "POST", "/demo/api/notifications?" + wrong, Origin=own)[0], 422, wrong)
    assert ask(port, "POST", path, b'{"device":"other"}', Origin=own)[0] in (401, 422)
    for method, other in (("PUT", "users/ann"), ("GET", "users/ann/mailbox"), ("DELETE", "users/ann"), ("POST", "conversations/ann-bob/messages"), ("GET", "users/ann/export")):
        expect(ask(port, method, "/demo/api/" + other, Origin=own)[0], 404, other)
    expect(ask(port, "GET", "/demo/api/items/none/journey", Sec_Fetch_Site="cross-site")[0], 403)
    expect(ask(port, "GET", "/demo/api/items/none/journey")[0], 403)
    expect(ask(port, "GET", "/demo/api/items/none/journey", Sec_Fetch_Site="same-origin")[0], 404)
    assert key.encode() not in b"".join(ask(port, "GET", p)[2] for p in ("/", "/demo/app.js"))


dev = Dev("--shards", "2", "--cors-origin", "*")
port = int(dev.url.rsplit(":", 1)[1])
wheres = every_file(port)
the_demo(port)
tokens(port, dev.key)
dev.close()

# without --dev there is neither, and the rest of the pages is there
s = Server("--shards", "1", "--hosts", "chat.example")
for where in wheres:
    expect(ask(s.http, "GET", "/" + where)[0], 404 if where.startswith("demo/") else 200, where)
for gone in "/", "/demo", "/demo/", "/demo/api/users/ann/tokens":
    expect(ask(s.http, "GET", gone)[0], 404, gone)
expect(ask(s.http, "POST", "/demo/api/users/ann/tokens?device=x", Origin=f"http://127.0.0.1:{s.http}")[0], 404)
s.close()

# strangers get so much, and are told when there will be more
dev = Dev("--shards", "1", "--strangers-memory", "1")
port = int(dev.url.rsplit(":", 1)[1])
largest = max(wheres, key=lambda where: len(ask(port, "GET", "/" + where)[2]))
for _ in range(400):
    status, headers, _ = ask(port, "GET", "/" + largest)
    if status != 200:
        break
expect((status, headers["Retry-After"]), (503, "1"), "no more memory for strangers")
dev.close()
print(f"{len(wheres)} files")
